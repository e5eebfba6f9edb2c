//! The signalling path: reading an INVITE, and what the endpoint does for one, from the datagram to the event and back.
//!
//! The endpoint is the real one, with one trunk; its clock is the bench's own and runs 2 ms ahead for each call, so that
//! transactions end and dialogs are forgotten as they would be at 500 calls a second. What the PBX says is written outside
//! the timing.
#![allow(missing_docs, clippy::disallowed_methods)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use trunkstream::base::random::Random;
use trunkstream::config::{Config, Listener, Transport, Trunk};
use trunkstream::sip::{DialogId, Endpoint, EndpointConfig, Event, ListenerId, Trunks, wire};

const PBX: &str = "198.51.100.7:5060";
const STRANGER: &str = "203.0.113.99:5060";
const ANSWER: &[u8] = b"v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n\
    m=audio 10000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
    a=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n";

fn trunk() -> Arc<Trunk> {
    let text = "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n[media]\nlisten_address = \"192.0.2.10\"\n\
                [[account]]\nsid = \"acc1\"\n\
                [[trunk]]\nname = \"pbx\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n";
    let config = Config::from_toml("bench.toml", text, None).expect("a good configuration");
    config.trunks[0].clone()
}

/// An INVITE as a PBX sends it, about 900 bytes; with `long`, 2.5 kB as it comes through an SBC: more hops, more
/// headers, more codecs. `number` is in what a transaction and a dialog are told apart by.
fn invite(number: u64, long: bool) -> String {
    let mut text = format!(
        "INVITE sip:+918069990000@192.0.2.10:5060;user=phone SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-{number:016x};rport\r\n"
    );
    if long {
        for hop in 1..4 {
            let _ = write!(
                text,
                "Via: SIP/2.0/UDP 10.20.{hop}.11:5060;branch=z9hG4bK{hop:0>40};received=10.20.{hop}.11\r\n"
            );
            let _ = write!(text, "Record-Route: <sip:10.20.{hop}.11:5060;lr;ftag=as5d1f2c{hop};did=7c1.{hop}e4>\r\n");
        }
    }
    let _ = write!(
        text,
        "Max-Forwards: 68\r\n\
         From: \"Asha Rao\" <sip:08061234567@198.51.100.7;user=phone>;tag=as{number:08x}\r\n\
         To: <sip:+918069990000@192.0.2.10;user=phone>\r\n\
         Call-ID: {number:032x}@198.51.100.7\r\n\
         CSeq: 102 INVITE\r\n\
         Contact: <sip:08061234567@198.51.100.7:5060;transport=udp>\r\n\
         User-Agent: PBX 20.5.0\r\n\
         Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, SUBSCRIBE, NOTIFY, INFO, PUBLISH, MESSAGE\r\n\
         Supported: replaces, timer\r\n\
         X-Exotel-AccountSid: acc1\r\n\
         X-UUI: 6f726465723d3438313531363233;encoding=hex\r\n"
    );
    if long {
        text.push_str(
            "P-Asserted-Identity: \"Asha Rao\" <sip:+918061234567@198.51.100.7;user=phone>\r\nPrivacy: none\r\n",
        );
        text.push_str("Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\nDate: Mon, 02 Mar 2026 10:15:00 GMT\r\n");
        for header in 1..11 {
            let _ = write!(
                text,
                "X-Customer-Field-{header}: value {header} of a customer's record, as the queue knew it\r\n"
            );
        }
    }
    let formats = if long { "0 8 9 18 3 97 98 101" } else { "0 8 101" };
    let mut sdp = format!(
        "v=0\r\no=root 1821 1821 IN IP4 198.51.100.7\r\ns=call\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
         m=audio 14732 RTP/AVP {formats}\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    );
    if long {
        sdp.push_str("a=rtpmap:9 G722/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:3 GSM/8000\r\n");
        sdp.push_str("a=rtpmap:97 iLBC/8000\r\na=fmtp:97 mode=20\r\na=rtpmap:98 speex/8000\r\na=rtcp:14733\r\n");
    }
    sdp.push_str("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n");
    let _ = write!(text, "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
    text
}

/// Stands where our tag will be.
const TAG: &str = "0123456789abcdef";

/// ACK of the 2xx (CSeq 102) or BYE (CSeq 103) of the same call.
fn in_dialog(method: &str, cseq: u32, number: u64) -> String {
    format!(
        "{method} sip:192.0.2.10:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK-{method}-{number:016x};rport\r\n\
         Max-Forwards: 70\r\n\
         From: \"Asha Rao\" <sip:08061234567@198.51.100.7;user=phone>;tag=as{number:08x}\r\n\
         To: <sip:+918069990000@192.0.2.10;user=phone>;tag={TAG}\r\n\
         Call-ID: {number:032x}@198.51.100.7\r\nCSeq: {cseq} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

/// What the PBX says in one call.
struct Script {
    invite: Vec<u8>,
    ack: Vec<u8>,
    bye: Vec<u8>,
}

impl Script {
    fn new(number: u64) -> Self {
        let [ack, bye] =
            [("ACK", 102), ("BYE", 103)].map(|(method, cseq)| in_dialog(method, cseq, number).into_bytes());
        Self { invite: invite(number, false).into_bytes(), ack, bye }
    }

    /// Writes our tag, taken from the 200, into ACK and BYE.
    fn learn(&mut self, answer: &[u8]) {
        let tag = our_tag(answer);
        for datagram in [&mut self.ack, &mut self.bye] {
            let at = find(datagram, TAG.as_bytes());
            datagram[at..at + TAG.len()].copy_from_slice(tag);
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> usize {
    text.windows(what.len()).position(|window| window == what).expect("it is there")
}

/// The tag in the To of one of our responses.
fn our_tag(response: &[u8]) -> &[u8] {
    let to = &response[find(response, b"\r\nTo:")..];
    let tag = &to[find(to, b";tag=") + 5..];
    &tag[..find(tag, b"\r\n")]
}

/// An endpoint and its clock.
struct Server {
    endpoint: Endpoint,
    now: Instant,
    /// The last datagram it sent.
    said: Vec<u8>,
}

impl Server {
    fn new() -> Self {
        let config = EndpointConfig {
            listeners: vec![Listener {
                transport: Transport::Udp,
                bind: address("10.9.9.9:5060"),
                advertised: address("192.0.2.10:5060"),
            }],
            local_nets: vec!["10.0.0.0/8".parse().expect("a network")],
            proxies: Default::default(),
            user_agent: Some("Trunkstream".into()),
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            unknown_source_per_minute: 5,
        };
        let endpoint = Endpoint::new(config, Trunks::new(vec![trunk()]), Random::from_number(1));
        Self { endpoint, now: Instant::now(), said: Vec::new() }
    }

    fn receive(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.endpoint.handle_datagram(self.now, ListenerId(0), from, datagram);
    }

    /// Takes what is to be sent and what happened; how many datagrams, and the last event.
    fn drain(&mut self) -> (usize, Option<Event>) {
        let (mut sent, mut last) = (0, None);
        while let Some(transmit) = self.endpoint.poll_transmit() {
            (self.said, sent) = (transmit.bytes, sent + 1);
        }
        while let Some(event) = self.endpoint.poll_event() {
            last = Some(event);
        }
        (sent, last)
    }

    /// An INVITE to its event, 100 sent.
    fn invited(&mut self, datagram: &[u8]) -> DialogId {
        self.receive(address(PBX), datagram);
        match self.drain() {
            (1, Some(Event::Invite { dialog, .. })) => dialog,
            other => panic!("an INVITE became {other:?}"),
        }
    }

    /// 180, 200, ACK, BYE, 200, and the timers of 2 ms.
    fn rest_of_call(&mut self, dialog: DialogId, script: &mut Script) {
        assert!(self.endpoint.ring(self.now, dialog));
        assert!(self.endpoint.answer(self.now, dialog, Some(ANSWER.to_vec())));
        assert_eq!(self.drain().0, 2);
        script.learn(&self.said);
        self.receive(address(PBX), &script.ack);
        self.receive(address(PBX), &script.bye);
        let (sent, last) = self.drain();
        assert!(matches!((sent, &last), (1, Some(Event::Ended { .. }))), "BYE became {sent} datagrams and {last:?}");
        self.now += Duration::from_millis(2);
        self.endpoint.handle_timeout(self.now);
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn parse(criterion: &mut Criterion) {
    for long in [false, true] {
        let datagram = invite(1, long);
        criterion.bench_function(&format!("parse an INVITE of {} bytes", datagram.len()), |bencher| {
            bencher.iter(|| black_box(wire::parse(black_box(datagram.as_bytes()))).is_ok());
        });
    }
}

fn endpoint(criterion: &mut Criterion) {
    let (mut server, mut calls) = (Server::new(), 0);
    let mut next_script = move || {
        calls += 1;
        Script::new(calls)
    };
    criterion.bench_function("an INVITE to its event and 100", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut taken = Duration::ZERO;
            for _ in 0..rounds {
                let mut script = next_script();
                let start = Instant::now();
                let dialog = server.invited(&script.invite);
                taken += start.elapsed();
                server.rest_of_call(dialog, &mut script);
            }
            taken
        });
    });
    criterion.bench_function("a whole call: INVITE, 100, 180, 200, ACK, BYE, 200", |bencher| {
        let call = |script: &mut Script| {
            let dialog = server.invited(&script.invite);
            server.rest_of_call(dialog, script);
        };
        bencher.iter_batched_ref(&mut next_script, call, BatchSize::SmallInput);
    });
    let script = next_script();
    server.invited(&script.invite);
    criterion.bench_function("a copy of an INVITE that is being worked on", |bencher| {
        bencher.iter(|| {
            server.receive(address(PBX), &script.invite);
            assert_eq!(server.drain().0, 1);
        });
    });
}

fn strangers(criterion: &mut Criterion) {
    let (mut server, datagram) = (Server::new(), invite(1, false));
    criterion.bench_function("an INVITE from nobody we know: 403", |bencher| {
        bencher.iter(|| {
            server.now += Duration::from_secs(13);
            server.receive(address(STRANGER), datagram.as_bytes());
            assert_eq!(server.drain().0, 1);
        });
    });
    criterion.bench_function("one of too many from nobody we know: silence", |bencher| {
        (0..5).for_each(|_| server.receive(address(STRANGER), datagram.as_bytes()));
        server.drain();
        bencher.iter(|| {
            server.receive(address(STRANGER), datagram.as_bytes());
            assert_eq!(server.drain().0, 0);
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(50);
    targets = parse, endpoint, strangers
}
criterion_main!(benches);
