//! Any order of SIP messages, commands and waits against the endpoint: its transactions and dialogs promise one final
//! response each, one end for each call, and nothing left when all is quiet.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use trunkstream::base::random::Random;
use trunkstream::config::Config;
use trunkstream::sip::message::{Message, Response};
use trunkstream::sip::{
    DialogId, Endpoint, EndpointConfig, Event, InfoAnswer, ListenerId, OutgoingInvite, Reason, Rejection, Trunks, Ways,
    wire,
};

use crate::input::Input;

const CONFIG: &str = "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n[media]\nlisten_address = \"192.0.2.10\"\n\
    [[account]]\nsid = \"acc1\"\n[[trunk]]\nname = \"pbx\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n";
const PEER: ([u8; 4], u16) = ([198, 51, 100, 1], 5060);
const STRANGER: ([u8; 4], u16) = ([203, 0, 113, 9], 5060);
const METHODS: [&str; 12] =
    ["INVITE", "ACK", "BYE", "CANCEL", "INFO", "UPDATE", "OPTIONS", "NOTIFY", "PRACK", "REFER", "SUBSCRIBE", "FOO"];
/// Codes the peer answers our requests with.
const CODES: [u16; 12] = [100, 180, 183, 200, 202, 302, 401, 408, 422, 481, 491, 503];
/// Waits, in milliseconds.
const WAITS: [u64; 6] = [1, 100, 600, 5_000, 33_000, 61_000];
/// Header lines that a message may have beside the usual ones.
const EXTRAS: [&str; 8] = [
    "",
    "Require: 100rel\r\n",
    "Supported: timer, 100rel\r\nSession-Expires: 90;refresher=uac\r\n",
    "Expires: 2\r\n",
    "RAck: 1 1 INVITE\r\n",
    "Session-Expires: 1\r\nSupported: timer\r\n",
    "Event: refer\r\nSubscription-State: terminated\r\n",
    "Replaces: c0;to-tag=a;from-tag=peer\r\n",
];

/// The endpoint, and what it has said.
struct Bench {
    endpoint: Endpoint,
    now: Instant,
    /// Messages of ours, the newest last: what the peer answers to.
    requests: Vec<String>,
    finals: HashMap<String, u16>,
    /// Our tag of the newest INVITE.
    tag: String,
    dialogs: Vec<DialogId>,
    ended: Vec<DialogId>,
    /// Once everything is forgotten, the same branch is another transaction.
    round: u32,
}

impl Bench {
    fn new() -> Self {
        let config = Config::from_toml("f.toml", CONFIG, None).expect("a good configuration");
        let trunks = Trunks::new(config.trunks.clone());
        let endpoint = Endpoint::new(EndpointConfig::from(&config.sip), trunks, Random::from_number(1));
        Self {
            endpoint,
            now: Instant::now(),
            requests: Vec::new(),
            finals: HashMap::new(),
            tag: "none".into(),
            dialogs: Vec::new(),
            ended: Vec::new(),
            round: 0,
        }
    }

    fn receive(&mut self, from: ([u8; 4], u16), bytes: &[u8]) {
        self.endpoint.handle_datagram(self.now, ListenerId(0), SocketAddr::from(from), bytes);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let parsed = wire::parse(&transmit.bytes).expect("our own writing is SIP");
            assert_eq!(parsed.flaw, None);
            match parsed.message {
                Message::Response(response) if transmit.to == SocketAddr::from(PEER) => self.note(&response),
                Message::Response(_) => {}
                Message::Request(_) => self.requests.push(String::from_utf8_lossy(&transmit.bytes).into_owned()),
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            let dialog = event.dialog();
            match event {
                Event::Invite { .. } => self.dialogs.push(dialog),
                Event::Ended { .. } => self.ended.push(dialog),
                _ => {}
            }
        }
    }

    /// All final responses of one transaction are the same.
    fn note(&mut self, response: &Response) {
        let header = |name| response.headers.get(name).unwrap_or_default();
        if header("CSeq").ends_with("INVITE")
            && let Some(tag) = header("To").split(";tag=").nth(1)
        {
            tag.clone_into(&mut self.tag);
        }
        if response.code >= 200 {
            let key = [header("Via"), header("CSeq"), header("Call-ID")].concat();
            let first = *self.finals.entry(key).or_insert(response.code);
            assert_eq!(first, response.code, "two final responses to one request");
        }
    }

    fn wait(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(when) = self.endpoint.poll_timeout().filter(|when| *when <= end) {
            self.now = self.now.max(when);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.round += u32::from(ms > 30_000);
    }

    fn command(&mut self, number: u8, dialog: DialogId) {
        let (endpoint, now) = (&mut self.endpoint, self.now);
        match number {
            0 => endpoint.ring(now, dialog),
            1 => endpoint.progress(now, dialog, 183, Some(b"v=0".to_vec())),
            2 | 3 => endpoint.answer(now, dialog, Some(b"v=0".to_vec())),
            4 => endpoint.reject(now, dialog, Rejection::new(480)),
            5 => endpoint.answer_info(now, dialog, InfoAnswer::Ok),
            6 => endpoint.bye(now, dialog, vec![Reason::q850(16)]),
            7 => endpoint.reinvite(now, dialog, Some(b"v=1".to_vec())),
            8 => endpoint.info(now, dialog, "text/plain", b"x".to_vec()),
            _ => endpoint.cancel(now, dialog, Vec::new()),
        };
        self.drain();
    }

    fn call_out(&mut self) {
        let call = OutgoingInvite {
            listener: ListenerId(0),
            target: SocketAddr::from(PEER),
            request_uri: "sip:1@198.51.100.1".into(),
            from: "<sip:2@192.0.2.10>".into(),
            to: "<sip:1@198.51.100.1>".into(),
            headers: Vec::new(),
            sdp: Some(b"v=0".to_vec()),
            ways: Ways::default(),
        };
        let dialog = self.endpoint.invite(self.now, call);
        self.dialogs.push(dialog);
        self.drain();
    }

    /// The peer's answer to one of our requests.
    fn answer(&mut self, which: u8, code: u16, extra: &str) {
        let Some(request) = self.requests.iter().rev().nth(usize::from(which) % 8) else { return };
        let lines = request.split("\r\n\r\n").next().unwrap_or_default().lines().skip(1);
        let copied: String = lines
            .filter(|line| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let to = request.lines().find(|line| line.starts_with("To:")).unwrap_or("To: <sip:x>");
        let tag = if to.contains(";tag=") { "" } else { ";tag=peer" };
        let text = format!(
            "SIP/2.0 {code} X\r\n{copied}{to}{tag}\r\nContact: <sip:1@198.51.100.1>\r\n{extra}Content-Length: 0\r\n\r\n"
        );
        self.receive(PEER, text.as_bytes());
    }
}

/// A request of the peer: outside any dialog, or in the one our newest tag names.
fn request(bench: &Bench, input: &mut Input<'_>) -> String {
    let method = METHODS[usize::from(input.u8()) % METHODS.len()];
    let (choice, cseq) = (input.u8(), u32::from(input.u8() % 6) + 1);
    let branch = match method {
        "ACK" | "CANCEL" => "INVITE",
        method => method,
    };
    let tag = if choice & 1 == 0 { String::new() } else { format!(";tag={}", bench.tag) };
    let body = if choice & 2 == 0 { "" } else { "v=0\r\n" };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    let extra = EXTRAS[usize::from(choice >> 5)];
    format!(
        "{method} sip:1000@192.0.2.10 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bK{branch}{}x{cseq}r{};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:0806@198.51.100.1>;tag=peer\r\nTo: <sip:1000@192.0.2.10>{tag}\r\nCall-ID: c{}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:0806@198.51.100.1:5060>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
        choice >> 2 & 3,
        bench.round,
        choice >> 4 & 1,
        body.len()
    )
}

/// SIP messages, commands and timeouts in any order.
///
/// # Panics
/// A promise is broken.
pub fn sip_dialogs(octets: &[u8]) {
    let (mut bench, mut input) = (Bench::new(), Input(octets));
    for _ in 0..200 {
        if input.is_empty() {
            break;
        }
        match input.u8() % 16 {
            0..=5 => {
                let text = request(&bench, &mut input);
                bench.receive(PEER, text.as_bytes());
            }
            6..=9 => {
                let (number, which) = (input.u8() % 10, usize::from(input.u8()));
                if let Some(dialog) = bench.dialogs.get(which % bench.dialogs.len().max(1)).copied() {
                    bench.command(number, dialog);
                }
            }
            10 | 11 => {
                let (which, code) = (input.u8(), CODES[usize::from(input.u8()) % CODES.len()]);
                let extra = EXTRAS[usize::from(input.u8()) % EXTRAS.len()];
                bench.answer(which, code, extra);
            }
            12 => bench.wait(WAITS[usize::from(input.u8()) % WAITS.len()]),
            13 => bench.call_out(),
            14 => {
                let text = request(&bench, &mut input);
                bench.receive(STRANGER, text.as_bytes());
            }
            _ => {
                let noise = input.take(40);
                bench.receive(PEER, noise);
            }
        }
    }
    for dialog in bench.dialogs.clone() {
        [4, 9, 6].into_iter().for_each(|number| bench.command(number, dialog));
    }
    bench.wait(400_000);
    let counts = bench.endpoint.counts();
    assert!(counts.is_idle(), "something is left: {counts:?}");
    assert!(bench.endpoint.poll_timeout().is_none(), "a timer is left");
    bench.dialogs.sort_unstable();
    bench.ended.sort_unstable();
    assert_eq!(bench.ended, bench.dialogs, "each call ends once");
}
