//! SIP: addresses as they come, and the endpoint under any order of messages, commands and waits.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use trunkstream::base::random::Random;
use trunkstream::config::{Config, Listener, Transport, Trunk};
use trunkstream::sip::message::{CSeq, Message};
use trunkstream::sip::uri::Host;
use trunkstream::sip::via::Via;
use trunkstream::sip::{
    DialogId, Endpoint, EndpointConfig, Event, InfoAnswer, ListenerId, NameAddr, Reason, Rejection, Trunks, Uri, wire,
};

use crate::input::Input;
use crate::peers::peer;

const METHODS: [&str; 10] = ["INVITE", "ACK", "BYE", "CANCEL", "INFO", "UPDATE", "OPTIONS", "NOTIFY", "PRACK", "FOO"];
/// Milliseconds of a wait: within T1, beyond it, beyond T2, beyond 64·T1.
const WAITS: [u64; 4] = [100, 600, 5000, 33_000];
/// Longer than everything that a dialog may wait for.
const END: Duration = Duration::from_secs(300);

/// A URI, an address in a header, a Via, a host: what can be read says the same of itself when it is read again.
pub fn uri(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    if let Ok(uri) = Uri::parse(&text) {
        let _ = (uri.decoded_user(), uri.number(), uri.param("transport"), uri.has_headers());
        let again = Uri::parse(uri.raw()).expect("what was read can be read");
        assert_eq!((uri.user.as_ref(), uri.number()), (again.user.as_ref(), again.number()));
    }
    if let Ok(address) = NameAddr::parse(&text) {
        let _ = (address.tag(), address.param("x"), address.raw());
    }
    if let Some(via) = Via::parse(&text) {
        let _ = (via.branch(), via.sent_by(), via.has_rport());
        let target = via.response_target(peer(), true);
        assert_eq!(target, peer(), "SIP-021: with rport the answer goes to the source");
    }
    if let Some((host, _)) = Host::parse_with_port(&text) {
        let written = host.to_string();
        assert_eq!(Host::parse(&written).map(|host| host.to_string()), Some(written));
    }
}

/// An endpoint, its clock, and what it has promised so far.
struct World {
    endpoint: Endpoint,
    now: Instant,
    /// The tag that it gave the call.
    tag: String,
    /// Final answers by transaction.
    finals: HashMap<String, u16>,
    dialogs: Vec<DialogId>,
    ended: Vec<DialogId>,
    /// Transactions of long ago may be answered anew: branches of each round are others.
    round: u32,
}

fn trunk() -> Arc<Trunk> {
    static TRUNK: OnceLock<Arc<Trunk>> = OnceLock::new();
    let text = "[sip]\nlisten = [\"udp:192.0.2.1:5060\"]\n[media]\nlisten_address = \"192.0.2.1\"\n[[account]]\nsid = \"acc1\"\n\
                [[trunk]]\nname = \"pbx\"\naccount = \"acc1\"\nallow = [\"192.0.2.10\"]\n";
    let read = || Config::from_toml("fuzz.toml", text, None).expect("a configuration").trunks[0].clone();
    TRUNK.get_or_init(read).clone()
}

impl World {
    fn new() -> Self {
        let address: SocketAddr = ([192, 0, 2, 1], 5060).into();
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
        let endpoint = Endpoint::new(config, Trunks::new(vec![trunk()]), Random::from_number(1));
        let (dialogs, ended) = (Vec::new(), Vec::new());
        Self { endpoint, now: Instant::now(), tag: "none".into(), finals: HashMap::new(), dialogs, ended, round: 0 }
    }

    fn receive(&mut self, datagram: &[u8]) {
        self.endpoint.handle_datagram(self.now, ListenerId(0), peer(), datagram);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let parsed = wire::parse(&transmit.bytes).expect("our own writing is SIP");
            assert_eq!(parsed.flaw, None);
            if let Message::Response(response) = parsed.message {
                let header = |name| response.headers.get(name).unwrap_or_default().to_owned();
                let is_invite = CSeq::parse(&header("CSeq")).is_some_and(|cseq| cseq.method.as_str() == "INVITE");
                if is_invite && let Some(tag) = header("To").split(";tag=").nth(1) {
                    tag.clone_into(&mut self.tag);
                }
                let key = header("Via") + &header("CSeq") + &header("Call-ID") + &header("From");
                if response.code >= 200 {
                    let first = *self.finals.entry(key).or_insert(response.code);
                    assert_eq!(first, response.code, "one final response a transaction");
                }
            }
        }
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Ended { dialog } => self.ended.push(dialog),
                Event::Invite { dialog, .. } => self.dialogs.push(dialog),
                _ => {}
            }
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(when) = self.endpoint.poll_timeout().filter(|when| *when <= end) {
            self.now = self.now.max(when);
            self.endpoint.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn command(&mut self, number: u8, dialog: DialogId) {
        let (endpoint, now) = (&mut self.endpoint, self.now);
        match number % 9 {
            0 => endpoint.ring(now, dialog),
            1 => endpoint.progress(now, dialog, 183, Some(b"v=0".to_vec())),
            2 | 3 => endpoint.answer(now, dialog, Some(b"v=0".to_vec())),
            4 => endpoint.reject(now, dialog, Rejection::new(486)),
            5 => endpoint.answer_info(now, dialog, InfoAnswer::Ok),
            6 => endpoint.bye(now, dialog, vec![Reason::q850(16)]),
            7 => endpoint.reinvite(now, dialog, Some(b"v=1".to_vec())),
            _ => endpoint.info(now, dialog, "text/plain", b"x".to_vec()),
        };
        self.drain();
    }

    /// A request of the peer, in its call or outside.
    fn request(&self, method: &str, choice: u8, more: &str) -> String {
        let (branch, cseq, inside, sdp) = (choice & 3, 1 + (choice >> 2 & 3), choice & 0x10 != 0, choice & 0x20 != 0);
        // ACK of a refusal and CANCEL share the INVITE's branch.
        let own = if matches!(method, "ACK" | "CANCEL") { "INVITE" } else { method };
        let tag = if inside { format!(";tag={}", self.tag) } else { String::new() };
        let (kind, body) = if sdp { ("Content-Type: application/sdp\r\n", "v=0\r\n") } else { ("", "") };
        format!(
            "{method} sip:1000@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{}{own}{branch}x{cseq}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:0806@192.0.2.10>;tag=peer\r\nTo: <sip:1000@192.0.2.1>{tag}\r\nCall-ID: c1\r\n\
             CSeq: {cseq} {method}\r\nContact: <sip:0806@192.0.2.10>\r\n{kind}{more}Content-Length: {}\r\n\r\n{body}",
            peer(),
            self.round,
            body.len()
        )
    }
}

/// Messages, commands and waits in any order: one final response a transaction, every dialog ends once, and nothing is
/// left when all timers have run.
pub fn sip_endpoint(octets: &[u8]) {
    let (mut world, mut input) = (World::new(), Input(octets));
    while !input.is_empty() {
        match input.u8() {
            step @ 0..=149 => {
                let method = METHODS[usize::from(step) % METHODS.len()];
                let text = world.request(method, input.u8(), "");
                world.receive(text.as_bytes());
            }
            150..=209 => {
                let (number, call) = (input.u8(), usize::from(input.u8()));
                if let Some(dialog) = world.dialogs.get(call % 4).copied() {
                    world.command(number, dialog);
                }
            }
            step @ 210..=239 => {
                let ms = WAITS[usize::from(step) % WAITS.len()];
                world.wait(Duration::from_millis(ms));
                world.round += u32::from(ms > 30_000);
            }
            step @ 240..=247 => {
                // A header line of the fuzzer's own.
                let length = usize::from(input.u8()) % 40;
                let line = String::from_utf8_lossy(input.take(length)).replace(['\r', '\n'], "");
                let own = world.round;
                // Whatever it changes, its transaction is none of the others'.
                world.round = own + 1_000_000;
                let text = world.request(METHODS[usize::from(step - 240)], 0, &format!("{line}\r\n"));
                world.round = own;
                world.endpoint.handle_datagram(world.now, ListenerId(0), peer(), text.as_bytes());
                world.finals.retain(|key, _| !key.contains("z9hG4bK1000"));
                world.drain();
                world.finals.retain(|key, _| !key.contains("z9hG4bK1000"));
            }
            _ => {
                let length = usize::from(input.u8());
                let garbage = input.take(length);
                world.receive(garbage);
            }
        }
    }
    for dialog in world.dialogs.clone() {
        world.command(4, dialog);
        world.command(6, dialog);
    }
    world.wait(END);
    assert!(world.endpoint.counts().is_idle(), "{:?}", world.endpoint.counts());
    assert_eq!(world.endpoint.poll_timeout(), None);
    world.ended.sort_unstable();
    assert_eq!(world.ended, world.dialogs, "each dialog ends once");
}
