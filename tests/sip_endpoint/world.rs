//! A caller, a callee, and a seeded link between them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkstream::base::random::Random;
use trunkstream::config::{Config, Listener, Transport, Trunk};
use trunkstream::sip::{DialogId, Endpoint, EndpointConfig, Event, ListenerId, OutgoingInvite, Trunks, Ways};

/// What the link does to each datagram: percentages, and a delay of 10 ms to `jitter` more.
#[derive(Debug, Clone, Copy, Default)]
pub struct Link {
    pub loss: u32,
    pub copies: u32,
    pub jitter_ms: u32,
}

/// One side: an endpoint and what it has said.
pub struct Side {
    pub endpoint: Endpoint,
    pub events: Vec<Event>,
    address: SocketAddr,
}

impl Side {
    fn new(address: [u8; 4], trunks: Trunks, seed: u64) -> Self {
        let address = (address, 5060).into();
        let config = EndpointConfig {
            listeners: vec![Listener { transport: Transport::Udp, bind: address, advertised: address }],
            local_nets: Vec::new(),
            proxies: Default::default(),
            user_agent: None,
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            unknown_source_per_minute: 5,
        };
        Self { endpoint: Endpoint::new(config, trunks, Random::from_number(seed)), events: Vec::new(), address }
    }

    /// Takes the names of the events so far.
    pub fn happened(&mut self) -> Vec<String> {
        let name = |event: Event| format!("{event:?}").split([' ', '{']).next().unwrap_or_default().to_owned();
        self.events.drain(..).map(name).collect()
    }
}

/// Both sides, the datagrams between them, and the time.
pub struct World {
    pub caller: Side,
    pub callee: Side,
    pub now: Instant,
    link: Link,
    random: Random,
    flying: Vec<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
}

impl World {
    pub fn new(link: Link, seed: u64) -> Self {
        Self {
            caller: Side::new([198, 51, 100, 1], Trunks::default(), seed),
            callee: Side::new([198, 51, 100, 2], Trunks::new(vec![trunk()]), seed + 1),
            now: Instant::now(),
            link,
            random: Random::from_number(seed),
            flying: Vec::new(),
        }
    }

    /// Places a call with an offer.
    pub fn call(&mut self) -> DialogId {
        self.call_with(&[])
    }

    /// The same with these headers.
    pub fn call_with(&mut self, headers: &[(&str, &str)]) -> DialogId {
        let invite = OutgoingInvite {
            listener: ListenerId(0),
            target: self.callee.address,
            request_uri: "sip:1000@198.51.100.2".into(),
            from: "<sip:0806@198.51.100.1>".into(),
            to: "<sip:1000@198.51.100.2>".into(),
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            sdp: Some(b"v=0\r\n".to_vec()),
            ways: Ways::default(),
        };
        let dialog = self.caller.endpoint.invite(self.now, invite);
        self.collect();
        dialog
    }

    /// Puts what both sides want sent on the link, and keeps their events.
    pub fn collect(&mut self) {
        for side in [&mut self.caller, &mut self.callee] {
            while let Some(transmit) = side.endpoint.poll_transmit() {
                let copies = if self.random.below(100) < self.link.copies { 2 } else { 1 };
                for _ in 0..copies {
                    if self.random.below(100) >= self.link.loss {
                        let delay = 10 + self.random.below(self.link.jitter_ms + 1);
                        let when = self.now + Duration::from_millis(delay.into());
                        self.flying.push((when, side.address, transmit.to, transmit.bytes.clone()));
                    }
                }
            }
            while let Some(event) = side.endpoint.poll_event() {
                side.events.push(event);
            }
        }
    }

    /// Lets `seconds` pass; `react` sees both sides after each thing that happens.
    pub fn run(&mut self, seconds: u64, mut react: impl FnMut(&mut Side, &mut Side, Instant)) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            react(&mut self.caller, &mut self.callee, self.now);
            self.collect();
            let arrival = self.flying.iter().map(|(when, ..)| *when).min();
            let timers = [&self.caller, &self.callee].into_iter().filter_map(|side| side.endpoint.poll_timeout()).min();
            let Some(next) = arrival.into_iter().chain(timers).min().filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.deliver();
            self.caller.endpoint.handle_timeout(self.now);
            self.callee.endpoint.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = self.flying.drain(..).partition(|(when, ..)| *when <= now);
        self.flying = later;
        for (_, from, to, bytes) in due {
            let side = if to == self.caller.address { &mut self.caller } else { &mut self.callee };
            side.endpoint.handle_datagram(now, ListenerId(0), from, &bytes);
        }
    }
}

fn trunk() -> Arc<Trunk> {
    let text = "[sip]\nlisten = [\"udp:198.51.100.2:5060\"]\n[media]\nlisten_address = \"198.51.100.2\"\n\
                [[account]]\nsid = \"acc1\"\n\
                [[trunk]]\nname = \"lab\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n";
    Config::from_toml("t.toml", text, None).expect("a good configuration").trunks[0].clone()
}
