//! A PBX, the bridge, its bots and the network between them, in virtual time: [`World::step`] goes to the next wake-up.

pub mod bot;
pub mod bridge;
pub mod link;
pub mod pbx;
pub mod raw;
pub mod sound;
pub mod text;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::Value;
use trunkstream::call::StreamInput;
use trunkstream::call::timeline::{CallRecord, StreamRecord};
use trunkstream::config::Config;
use trunkstream::stream::SocketEnd;

use bot::{Bots, FromBot, Socket};
use bridge::Bridge;
use link::{Link, Parcel};
use pbx::{PBX, Pbx, Phone, Plan};
use raw::{Got, RAW};
use text::Rtp;

/// What the bridge's configuration says beside the usual.
#[derive(Debug, Clone)]
pub struct Scene {
    pub sip: String,
    pub media: String,
    pub limits: String,
    pub account: String,
    pub trunk: String,
    /// The steps of flow `bot`, which starts with `talk`.
    pub steps: String,
    pub seed: u64,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            sip: String::new(),
            media: String::new(),
            limits: "max_calls = 100".into(),
            account: "max_streams = 100".into(),
            trunk: String::new(),
            steps: voicebot("talk", "ws://bot.test:9001/media?sample-rate=8000", ""),
            seed: 1,
        }
    }
}

/// The text of a voicebot step.
pub fn voicebot(name: &str, url: &str, more: &str) -> String {
    format!("[flow.step.{name}]\napplet = \"voicebot\"\nurl = \"{url}\"\n{more}\n")
}

impl Scene {
    pub fn steps(steps: &[String]) -> Self {
        Self { steps: steps.concat(), ..Self::default() }
    }

    /// The usual voicebot step with these settings.
    pub fn talk(more: &str) -> Self {
        Self::steps(&[voicebot("talk", "ws://bot.test:9001/media?sample-rate=8000", more)])
    }

    fn config(&self) -> Config {
        let Self { sip, media, limits, account, trunk, steps, .. } = self;
        let text = format!(
            "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n{sip}\n\
             [media]\nlisten_address = \"192.0.2.10\"\nrtp_ports = \"10000-29999\"\n{media}\n\
             [limits]\n{limits}\n\
             [[account]]\nsid = \"acc1\"\n{account}\n[[account]]\nsid = \"acc2\"\n\
             [[trunk]]\nname = \"lab\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n{trunk}\n\
             [[number]]\nnumber = \"1000\"\naccount = \"acc1\"\nflow = \"bot\"\n\
             [[flow]]\nid = \"bot\"\nstart = \"talk\"\n{steps}\n"
        );
        load(&text)
    }
}

fn load(text: &str) -> Config {
    Config::from_toml("story.toml", text, Some("192.0.2.10".parse().expect("an address")))
        .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"))
}

fn pbx_config() -> Config {
    let text = Scene::default().config_text_of_pbx();
    load(&text)
}

impl Scene {
    fn config_text_of_pbx(&self) -> String {
        format!(
            "[sip]\nlisten = [\"udp:{PBX}\"]\n[media]\nlisten_address = \"198.51.100.1\"\nrtp_ports = \"40000-49999\"\n\
             [[account]]\nsid = \"pbx\"\n[[trunk]]\nname = \"bridge\"\naccount = \"pbx\"\nallow = [\"192.0.2.0/24\"]\n\
             [[number]]\nnumber = \"1\"\naccount = \"pbx\"\nflow = \"bot\"\n\
             [[flow]]\nid = \"bot\"\nstart = \"talk\"\n{}\n",
            self.steps
        )
    }
}

/// See the module.
pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub pbx: Pbx,
    pub bridge: Bridge,
    pub bots: Bots,
    pub link: Link,
    /// What the raw caller received.
    pub raw: Vec<Got>,
    /// Every RTP packet as it left the bridge, and where to.
    pub tap: Vec<(Instant, SocketAddr, Rtp)>,
    /// Whom the bridge ever sent anything.
    pub told: BTreeSet<IpAddr>,
    /// What waits at the bridge while its process stands still.
    waiting: Vec<Parcel>,
}

impl World {
    pub fn new(scene: &Scene) -> Self {
        #[allow(clippy::disallowed_methods)] // a starting point for virtual time
        let now = Instant::now();
        let bridge = Bridge::new(now, &scene.config(), scene.seed);
        Self {
            now,
            start: now,
            pbx: Pbx::new(&pbx_config(), bridge.address, scene.seed),
            bridge,
            bots: Bots::new(),
            link: Link::new(scene.seed),
            raw: Vec::new(),
            tap: Vec::new(),
            told: BTreeSet::new(),
            waiting: Vec::new(),
        }
    }

    /// Milliseconds since the story began.
    pub fn ms(&self) -> u64 {
        self.since(self.start)
    }

    pub fn since(&self, moment: Instant) -> u64 {
        u64::try_from((self.now - moment).as_millis()).expect("a story is short")
    }

    fn next(&self) -> Option<Instant> {
        let rest = [self.pbx.next(), self.bridge.next(), self.link.next()];
        let bots = self.bots.next().map(|at| self.bridge.asleep_until.map_or(at, |until| at.max(until)));
        rest.into_iter().chain([bots]).flatten().min()
    }

    /// Goes to the next wake-up, at most to `end`; false when there was none before it.
    pub fn step(&mut self, end: Instant) -> bool {
        let Some(next) = self.next().filter(|next| *next <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(next);
        let now = self.now;
        self.bridge.asleep_until = self.bridge.asleep_until.filter(|until| *until > now);
        let awake = self.bridge.asleep_until.is_none();
        while let Some(parcel) = self.link.arrived(now) {
            self.deliver(now, parcel, awake);
        }
        if awake {
            self.bridge.wake(now);
            for parcel in std::mem::take(&mut self.waiting) {
                self.bridge.datagram(now, parcel);
            }
            self.carry();
            while let Some((id, act)) = self.bots.arrived(now) {
                let input = match &act {
                    FromBot::Opened => StreamInput::Opened,
                    FromBot::DialFailed(failure) => StreamInput::DialFailed(failure.clone()),
                    FromBot::Text(text) => StreamInput::Text(text),
                    FromBot::Closed(end) => StreamInput::Closed(end.clone()),
                };
                self.bridge.stream(now, id, input);
                self.carry();
            }
        }
        self.pbx.wake(now);
        self.carry();
        true
    }

    fn deliver(&mut self, now: Instant, parcel: Parcel, awake: bool) {
        if parcel.to == RAW.parse().expect("an address") {
            let text = String::from_utf8_lossy(&parcel.bytes).into_owned();
            self.raw.push(Got { text });
        } else if parcel.to.ip() != self.bridge.address.ip() {
            self.pbx.datagram(now, &parcel);
        } else if awake || !parcel.is_sip() {
            // RTP waits in its socket by itself.
            self.bridge.datagram(now, parcel);
        } else {
            self.waiting.push(parcel);
        }
        self.carry();
    }

    /// What bridge and PBX want sent goes on its way.
    fn carry(&mut self) {
        let now = self.now;
        for parcel in self.bridge.datagrams.drain(..) {
            self.told.insert(parcel.to.ip());
            if !parcel.is_sip() && parcel.from.port() % 2 == 0 {
                self.tap.push((now, parcel.to, Rtp::read(&parcel.bytes)));
            }
            self.link.send(now, parcel);
        }
        for parcel in self.pbx.datagrams.drain(..) {
            self.link.send(now, parcel);
        }
        for (id, what) in std::mem::take(&mut self.bridge.to_bots) {
            self.bots.told(now, id, what);
        }
    }

    /// Lets `ms` milliseconds pass.
    pub fn run(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while self.step(end) {}
    }

    /// Lets time pass until `what` is so; the story has failed if that takes more than `limit_ms`.
    pub fn until(&mut self, limit_ms: u64, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_millis(limit_ms);
        while !is_so(self) {
            let in_time = self.step(end);
            assert!(in_time, "not within {limit_ms} ms: {what}\n{}", self.ladder());
        }
    }

    /// The SIP messages so far, for a story that failed.
    pub fn ladder(&self) -> String {
        let rung = |rung: &link::Rung| format!("{:?} {} {}\n", rung.at - self.start, rung.from, rung.line);
        self.link.ladder.iter().map(rung).collect()
    }

    /// Places a call and lets it be; the phone's number.
    pub fn dial(&mut self, plan: Plan) -> usize {
        let phone = self.pbx.dial(self.now, plan);
        self.pbx.drain(self.now);
        self.carry();
        phone
    }

    /// A call as usual, placed and answered; the phone's number.
    pub fn call(&mut self) -> usize {
        let plan = self.pbx.plan();
        self.call_with(plan)
    }

    pub fn call_with(&mut self, plan: Plan) -> usize {
        let phone = self.dial(plan);
        self.until(5000, "answered", |world| world.pbx.phones[phone].answered.is_some());
        phone
    }

    pub fn phone(&mut self, phone: usize) -> &mut Phone {
        &mut self.pbx.phones[phone]
    }

    pub fn hang_up(&mut self, phone: usize) {
        self.pbx.hang_up(self.now, phone);
        self.pbx.drain(self.now);
        self.carry();
    }

    /// The caller gives up before the answer.
    pub fn cancel(&mut self, phone: usize) {
        let dialog = self.pbx.phones[phone].dialog;
        self.pbx.endpoint.cancel(self.now, dialog, Vec::new());
        self.pbx.drain(self.now);
        self.carry();
    }

    /// A digit by SIP INFO.
    pub fn info(&mut self, phone: usize, content_type: &str, body: &str) {
        let dialog = self.pbx.phones[phone].dialog;
        assert!(self.pbx.endpoint.info(self.now, dialog, content_type, body.as_bytes().to_vec()));
        self.pbx.drain(self.now);
        self.carry();
    }

    /// Sends a re-INVITE where the dialog allows one.
    pub fn try_reinvite(&mut self, phone: usize, offer: Option<text::Offer>) -> bool {
        let sent = self.pbx.reinvite(self.now, phone, offer);
        self.pbx.drain(self.now);
        self.carry();
        sent
    }

    /// Sends a re-INVITE and waits for its answer.
    pub fn reinvite(&mut self, phone: usize, offer: Option<text::Offer>) {
        let before = self.pbx.phones[phone].reinvites.len();
        assert!(self.try_reinvite(phone, offer), "no re-INVITE was possible");
        self.until(5000, "an answer to the re-INVITE", |world| world.pbx.phones[phone].reinvites.len() > before);
        self.run(5);
    }

    /// The `n`th stream that was dialled.
    pub fn bot(&self, n: usize) -> &Socket {
        &self.bots.sockets[n]
    }

    pub fn bot_says(&mut self, n: usize, message: &Value) {
        let id = self.bots.sockets[n].id;
        self.bots.say(self.now, id, message);
    }

    /// The bot sends audio.
    pub fn bot_plays(&mut self, n: usize, pcm: &[i16]) {
        self.bot_says(n, &bot::media(pcm));
    }

    pub fn bot_marks(&mut self, n: usize, name: &str) {
        self.bot_says(n, &serde_json::json!({"event": "mark", "mark": {"name": name}}));
    }

    pub fn bot_clears(&mut self, n: usize) {
        self.bot_says(n, &serde_json::json!({"event": "clear"}));
    }

    pub fn bot_closes(&mut self, n: usize, code: u16) {
        self.bot_ends(n, SocketEnd::Close { code: Some(code), reason: String::new() });
    }

    pub fn bot_ends(&mut self, n: usize, end: SocketEnd) {
        let id = self.bots.sockets[n].id;
        self.bots.close(self.now, id, end);
    }

    /// The bridge's process stands still for `ms` milliseconds.
    pub fn stall(&mut self, ms: u64) {
        self.bridge.asleep_until = Some(self.now + Duration::from_millis(ms));
        self.run(ms);
    }

    /// The bridge shuts down (OPS-031).
    pub fn shut_down(&mut self) {
        self.bridge.shut_down(self.now);
        self.carry();
    }

    /// The records so far; waits for the first `count`.
    pub fn records(&mut self, count: usize) -> &[CallRecord] {
        self.until(80_000, "records", |world| world.bridge.records.len() >= count);
        &self.bridge.records
    }

    /// The only record.
    pub fn record(&mut self) -> CallRecord {
        let records = self.records(1);
        assert_eq!(records.len(), 1, "one record a call");
        records[0].clone()
    }

    /// Waits for the bridge to hang up on `phone`; why.
    pub fn bye(&mut self, phone: usize) -> String {
        self.until(80_000, "a BYE of the bridge", |world| world.pbx.phones[phone].bye.is_some());
        let (_, reasons) = self.pbx.phones[phone].bye.clone().expect("just seen");
        reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Waits for the bridge to refuse `phone`: code and reason.
    pub fn refusal(&mut self, phone: usize) -> (u16, String) {
        self.until(80_000, "a refusal", |world| world.pbx.phones[phone].refused.is_some());
        let refused = self.pbx.phones[phone].refused.clone().expect("just seen");
        (refused.code, refused.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    /// How the only call's only stream ended: status, by whom.
    pub fn stream(&mut self) -> StreamRecord {
        let mut streams = self.record().streams;
        assert_eq!(streams.len(), 1, "one stream");
        streams.remove(0)
    }

    /// A datagram from anywhere to the RTP port of the only call, or the port after it.
    pub fn inject(&mut self, from: &str, port: u16, bytes: Vec<u8>) {
        let to = SocketAddr::new(self.bridge.address.ip(), port);
        let from = from.parse().expect("an address");
        self.link.send(self.now, Parcel { from, to, bytes });
    }

    /// Packets that left for `phone`.
    pub fn sent_to(&self, phone: usize) -> Vec<(Instant, &Rtp)> {
        let port = self.pbx.phones[phone].port;
        self.tap.iter().filter(|(_, to, _)| to.port() == port).map(|(at, _, packet)| (*at, packet)).collect()
    }

    /// What holds in every story: each bot heard `connected`, `start`, then messages counted without a gap and nothing
    /// after `stop`; each RTP stream of ours has every sequence number once, in order.
    fn assert_sound(&self) {
        for socket in self.bots.sockets.iter().filter(|socket| !socket.heard.is_empty()) {
            let (connected, numbered) = socket.heard.split_first().expect("messages");
            assert_eq!(connected.1.to_string(), r#"{"event":"connected"}"#);
            assert_eq!(numbered[0].1["event"], "start");
            for (n, (_, message)) in numbered.iter().enumerate() {
                assert_eq!(message["sequence_number"], (n + 1).to_string(), "{message}");
                assert!(message["event"] != "stop" || n + 1 == numbered.len(), "messages after stop");
            }
        }
        let mut streams: HashMap<u32, u16> = HashMap::new();
        for (_, _, packet) in &self.tap {
            let before = streams.insert(packet.ssrc, packet.sequence);
            assert!(before.is_none_or(|before| packet.sequence == before.wrapping_add(1)), "{}", packet.sequence);
        }
    }

    /// Hangs up what is up and looks that nothing is left anywhere: every call that began has one record, its places are
    /// given back, and 35 s later no transaction and no dialog is remembered.
    pub fn ends_clean(mut self) {
        for phone in 0..self.pbx.phones.len() {
            if self.pbx.phones[phone].is_up() {
                self.hang_up(phone);
            }
        }
        self.until(120_000, "all calls over", |world| world.bridge.calls() == 0);
        self.run(70_000);
        self.assert_sound();
        assert_eq!(self.bridge.records.len(), self.bridge.begun, "one record for each call");
        assert_eq!(self.bridge.directory.calls(), 0, "every place is given back");
        assert!(self.bridge.endpoint.counts().is_idle(), "{:?}", self.bridge.endpoint.counts());
        assert!(self.bridge.endpoint.poll_timeout().is_none());
    }
}
