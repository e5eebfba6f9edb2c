//! What the tests of this module share: a trunk, an endpoint in virtual time, and a peer that writes its own datagrams.
#![allow(clippy::disallowed_methods, clippy::missing_panics_doc)] // a starting point for virtual time

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::random::Random;
use crate::config::{Config, Listener, Proxies, Transport, Trunk};
use crate::sip::message::{Message, Request, Response};
use crate::sip::{DialogId, Endpoint, EndpointConfig, Event, ListenerId, Trunks, wire};

/// A trunk with the defaults of the configuration, but no header is denied.
pub fn trunk(name: &str, accounts: &[&str], allow: &str) -> Trunk {
    let tables: String = accounts.iter().map(|sid| format!("[[account]]\nsid = {sid:?}\n")).collect();
    let text = format!(
        "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n[media]\nlisten_address = \"192.0.2.10\"\n{tables}\
         [[trunk]]\nname = {name:?}\naccounts = {accounts:?}\nallow = [{allow:?}]\nheader_deny = []\ndtmf_mute = false\n"
    );
    let config = Config::from_toml("t.toml", &text, None).expect("a good configuration");
    Trunk::clone(&config.trunks[0])
}

/// One listener of each transport, in the order of [`Transport::ALL`].
fn listener(transport: Transport) -> Listener {
    let port = transport.default_port();
    Listener { transport, bind: ([10, 9, 9, 9], port).into(), advertised: ([192, 0, 2, 10], port).into() }
}

/// The peer's address.
pub const PEER: &str = "198.51.100.1:5060";
/// A trusted proxy, without a trunk of its own.
pub const PROXY: &str = "192.0.2.53:5060";
const PROXY_NET: &str = "192.0.2.53/32";
/// A source without a trunk.
pub const STRANGER: &str = "203.0.113.99:5060";

/// An endpoint, a clock, and everything it said.
pub struct Bench {
    pub endpoint: Endpoint,
    pub now: Instant,
    start: Instant,
    /// Datagrams not looked at yet.
    pub sent: Vec<(SocketAddr, Message)>,
    /// Events not looked at yet.
    pub events: Vec<Event>,
}

impl Bench {
    pub fn new() -> Self {
        Self::with(trunk("pbx", &["acc1"], "198.51.100.0/24"))
    }

    pub fn with(trunk: Trunk) -> Self {
        let config = EndpointConfig {
            listeners: Transport::ALL.map(listener).to_vec(),
            local_nets: vec!["10.0.0.0/8".parse().expect("a network")],
            proxies: Proxies {
                networks: vec![PROXY_NET.parse().expect("a network")],
                peer_header: "X-Real-Peer".into(),
            },
            user_agent: Some("Trunkstream/test".into()),
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            unknown_source_per_minute: 5,
        };
        let endpoint = Endpoint::new(config, Trunks::new(vec![Arc::new(trunk)]), Random::from_number(1));
        let now = Instant::now();
        Self { endpoint, now, start: now, sent: Vec::new(), events: Vec::new() }
    }

    /// A datagram from `from`.
    pub fn receive_from(&mut self, from: &str, text: &str) {
        self.endpoint.handle_datagram(self.now, ListenerId(0), from.parse().expect("an address"), text.as_bytes());
        self.drain();
    }

    /// A datagram from the peer.
    pub fn receive(&mut self, text: &str) {
        self.receive_from(PEER, text);
    }

    /// Collects what the endpoint wants sent and says.
    pub fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let parsed = wire::parse(&transmit.bytes).expect("our own writing is SIP");
            assert_eq!(parsed.flaw, None);
            self.sent.push((transmit.to, parsed.message));
        }
        while let Some(event) = self.endpoint.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets `ms` milliseconds pass, waking at each deadline.
    pub fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(when) = self.endpoint.poll_timeout().filter(|when| *when <= end) {
            self.now = self.now.max(when);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    /// Milliseconds since the start.
    pub fn elapsed(&self) -> u128 {
        (self.now - self.start).as_millis()
    }

    /// Takes the status codes and methods sent so far.
    pub fn said(&mut self) -> Vec<String> {
        let name = |message: &Message| match message {
            Message::Request(request) => request.method.as_str().to_owned(),
            Message::Response(response) => response.code.to_string(),
        };
        self.sent.drain(..).map(|(_, message)| name(&message)).collect()
    }

    /// Takes what was sent, which must end with a response.
    pub fn response(&mut self) -> Response {
        match self.sent.drain(..).next_back() {
            Some((_, Message::Response(response))) => response,
            other => panic!("no response but {other:?}"),
        }
    }

    /// Takes what was sent, which must end with a request.
    pub fn request(&mut self) -> (SocketAddr, Request) {
        match self.sent.drain(..).next_back() {
            Some((to, Message::Request(request))) => (to, request),
            other => panic!("no request but {other:?}"),
        }
    }

    /// Takes the events so far by name.
    pub fn happened(&mut self) -> Vec<String> {
        let name = |event: Event| format!("{event:?}").split([' ', '{']).next().unwrap_or_default().to_owned();
        self.events.drain(..).map(name).collect()
    }

    /// Takes an INVITE with SDP from the peer; its dialog.
    pub fn invited(&mut self) -> DialogId {
        self.receive(&invite("a", "c1", 1));
        let dialog = self.events.last().expect("an event").dialog();
        self.events.clear();
        dialog
    }

    /// A call with SDP, answered and acknowledged; its dialog and our tag.
    pub fn answered(&mut self) -> (DialogId, String) {
        let dialog = self.invited();
        assert!(self.endpoint.answer(self.now, dialog, Some(b"v=0".to_vec())));
        self.drain();
        let tag = tag_of(&self.response(), "To");
        self.receive(&in_dialog("ACK", "ack1", 1, &tag, ""));
        self.sent.clear();
        self.events.clear();
        (dialog, tag)
    }
}

/// The tag of a header.
pub fn tag_of(response: &Response, name: &str) -> String {
    response.headers.get(name).and_then(|to| to.split(";tag=").nth(1)).unwrap_or_default().to_owned()
}

/// A request outside a dialog.
pub fn request(method: &str, branch: &str, call_id: &str, cseq: u32, rest: &str) -> String {
    let body = rest.split("\r\n\r\n").nth(1).map_or("", |body| body);
    let lines = rest.split("\r\n\r\n").next().unwrap_or_default();
    let lines = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
    format!(
        "{method} sip:1000@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK{branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"A\" <sip:0806@198.51.100.1>;tag=peer\r\nTo: <sip:1000@192.0.2.10>\r\n\
         Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:0806@198.51.100.1:5060>\r\n{lines}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An INVITE with an offer.
pub fn invite(branch: &str, call_id: &str, cseq: u32) -> String {
    request("INVITE", branch, call_id, cseq, "Content-Type: application/sdp\r\n\r\nv=0\r\n")
}

/// A request in dialog `c1`.
pub fn in_dialog(method: &str, branch: &str, cseq: u32, our_tag: &str, rest: &str) -> String {
    request(method, branch, "c1", cseq, rest)
        .replace("To: <sip:1000@192.0.2.10>", &format!("To: <sip:1000@192.0.2.10>;tag={our_tag}"))
}
