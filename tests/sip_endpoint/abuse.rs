//! What the node gives to those it owes nothing: never more than they spent (SIP-015), never much (SIP-091), and nothing of
//! what others are owed (SIP-096).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use trunkstream::base::random::Random;
use trunkstream::config::Config;
use trunkstream::sip::message::{Message, Method};
use trunkstream::sip::{Endpoint, EndpointConfig, Event, ListenerId, Trunks, wire};

const TRUNK: [u8; 4] = [198, 51, 100, 7];

/// An endpoint for one trunk, and its clock.
struct Node {
    endpoint: Endpoint,
    now: Instant,
    next_source: u32,
}

/// What one message cost.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    datagrams: usize,
    bytes_in: usize,
    bytes_out: usize,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.datagrams += other.datagrams;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }

    fn ratio(self) -> f64 {
        self.bytes_out as f64 / self.bytes_in.max(1) as f64
    }
}

impl Node {
    fn new() -> Self {
        Self::with("")
    }

    /// Every unknown INVITE is asked for credentials.
    fn with_digest() -> Self {
        Self::with(
            "[[trunk]]\nname = \"roaming\"\naccount = \"acc1\"\nauth = { username = \"pbx1\", password = \"s3cret\" }\n",
        )
    }

    fn with(further: &str) -> Self {
        let text = "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n[media]\nlisten_address = \"192.0.2.10\"\n\
                    [[account]]\nsid = \"acc1\"\n\
                    [[trunk]]\nname = \"lab\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n";
        let config = Config::from_toml("t.toml", &[text, further].concat(), None).expect("a good configuration");
        let trunks = Trunks::new(config.trunks.clone());
        let mut endpoint = Endpoint::new(EndpointConfig::from(&config.sip), trunks, Random::from_number(7));
        endpoint.limit_source_rate(config.limits.max_requests_per_second_per_source);
        Self { endpoint, now: Instant::now(), next_source: 0 }
    }

    /// One message of `source`, and everything that is ever sent because of it.
    fn spend(&mut self, source: IpAddr, message: &[u8]) -> Cost {
        let from = SocketAddr::new(source, 5060);
        self.endpoint.handle_datagram(self.now, ListenerId(0), from, message);
        let mut cost = Cost { datagrams: 0, bytes_in: message.len(), bytes_out: 0 };
        while let Some(transmit) = self.endpoint.poll_transmit() {
            assert_eq!(transmit.to, from, "to the packet's source only");
            cost.datagrams += 1;
            cost.bytes_out += transmit.bytes.len();
        }
        cost
    }

    /// One message of a source that was never seen before, a second after the last.
    fn stranger(&mut self, message: &[u8]) -> Cost {
        self.now += Duration::from_secs(1);
        self.next_source += 1;
        let source = Ipv4Addr::from_bits(0x0b00_0000 + self.next_source);
        self.spend(source.into(), message)
    }

    fn wait(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        while let Some(when) = self.endpoint.poll_timeout().filter(|when| *when <= end) {
            self.now = self.now.max(when);
            self.endpoint.handle_timeout(self.now);
        }
        self.now = end;
    }
}

fn request(method: &str, number: u32, rest: &str) -> String {
    let sdp = "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let (kind, body) = if method == "INVITE" { ("Content-Type: application/sdp\r\n", sdp) } else { ("", "") };
    format!(
        "{method} sip:1000@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.9:5060;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:100@203.0.113.9>;tag={number}\r\nTo: <sip:1000@192.0.2.10>\r\n\
         Call-ID: {number}@203.0.113.9\r\nCSeq: 1 {method}\r\nContact: <sip:100@203.0.113.9:5060>\r\n{rest}{kind}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The shortest INVITE there can be, in compact form: the best that an attacker finds.
fn shortest_invite(number: u32) -> String {
    format!("INVITE sip:a SIP/2.0\nv:SIP/2.0/UDP h\nf:<sip:a>\nt:<sip:a>\ni:{number}\nCSeq:1 INVITE\n\n")
}

/// RFC 4475's messages, those of `sip-fixtures/raw`, and noise.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-fixtures");
    let mut messages = Vec::new();
    for (part, ending) in [("rfc4475", "dat"), ("raw", "txt")] {
        let files = std::fs::read_dir(folder.join(part)).expect("the folder is readable");
        for file in files.map(|file| file.expect("an entry").path()) {
            if file.extension().is_some_and(|found| found == ending) {
                messages.push(std::fs::read(file).expect("the file is readable"));
            }
        }
    }
    assert!(messages.len() > 60, "{}", messages.len());
    let mut random = Random::from_number(3);
    for length in 0..300 {
        let mut noise = vec![0; length];
        random.fill(&mut noise);
        messages.push(noise);
        messages.push([b"INVITE sip:a@b SIP/2.0\r\n", messages.last().expect("noise").as_slice()].concat());
    }
    messages
}

/// Whether a message may be answered: a whole INVITE or REGISTER.
fn is_answerable(message: &[u8]) -> bool {
    match wire::parse(message).map(|parsed| parsed.message) {
        Ok(Message::Request(request)) => matches!(request.method, Method::INVITE | Method::REGISTER),
        Ok(Message::Response(_)) | Err(_) => false,
    }
}

#[test]
fn sip_015_a_stranger_gets_less_than_it_sends_and_nothing_for_garbage() {
    assert_no_amplification(Node::new(), 1.0);
}

#[test]
fn sip_015_a_challenge_is_never_more_than_twice_what_asked_for_it() {
    assert_no_amplification(Node::with_digest(), 2.0);
}

fn assert_no_amplification(mut node: Node, most: f64) {
    let (mut garbage, mut refused) = (Cost::default(), Cost::default());
    for message in corpus() {
        let cost = node.stranger(&message);
        assert!(cost.datagrams <= 1, "one answer at most");
        if is_answerable(&message) {
            assert!(cost.ratio() <= 2.0, "{cost:?}: {}", String::from_utf8_lossy(&message));
            refused.add(cost);
        } else {
            assert_eq!(cost.bytes_out, 0, "{}", String::from_utf8_lossy(&message));
            garbage.add(cost);
        }
    }
    for number in 0..200 {
        refused.add(node.stranger(request("INVITE", number, "").as_bytes()));
        refused.add(node.stranger(request("REGISTER", number, "").as_bytes()));
        let cost = node.stranger(shortest_invite(number).as_bytes());
        assert!(cost.ratio() <= 2.0, "{cost:?}");
        refused.add(cost);
        let probe = node.stranger(request("OPTIONS", number, "").as_bytes());
        assert_eq!(probe.bytes_out, 0, "OPTIONS of strangers are not answered");
        garbage.add(probe);
    }
    println!("garbage {garbage:?} ratio {:.2}, refused {refused:?} ratio {:.2}", garbage.ratio(), refused.ratio());
    assert!(refused.datagrams > 400 && refused.ratio() <= most, "{refused:?} {}", refused.ratio());
    node.wait(120);
    assert!(node.endpoint.poll_transmit().is_none(), "nothing is sent again");
    assert!(node.endpoint.counts().is_idle(), "nothing is remembered: {:?}", node.endpoint.counts());
}

#[test]
fn sip_091_scanners_and_methods_that_no_pbx_begins_with_meet_silence() {
    let scan = "User-Agent: friendly-scanner\r\n";
    for mut node in [Node::new(), Node::with_digest()] {
        for (method, rest) in
            [("INVITE", scan), ("REGISTER", scan), ("OPTIONS", ""), ("BYE", ""), ("INFO", ""), ("FOO", "")]
        {
            assert_eq!(node.stranger(request(method, 1, rest).as_bytes()).bytes_out, 0, "{method}");
        }
        assert_eq!(node.stranger(request("INVITE", 2, "User-Agent: PBX\r\n").as_bytes()).datagrams, 1);
    }
}

#[test]
fn sip_015_a_flood_from_forged_addresses_is_answered_100_times_a_second_and_a_trunk_calls_meanwhile() {
    for node in [Node::new(), Node::with_digest()] {
        assert_flood_is_bounded(node);
    }
}

fn assert_flood_is_bounded(mut node: Node) {
    let (mut flood, start) = (Cost::default(), node.now);
    let invite = request("INVITE", 1, "");
    for number in 0..40_000_u32 {
        node.now = start + Duration::from_micros(50 * u64::from(number));
        flood.add(node.spend(Ipv4Addr::from_bits(0x0c00_0000 + number).into(), invite.as_bytes()));
        if number % 4000 == 0 {
            let cost = node.spend(TRUNK.into(), request("INVITE", 1_000_000 + number, "").as_bytes());
            assert_eq!(cost.datagrams, 1, "100");
            assert!(matches!(node.endpoint.poll_event(), Some(Event::Invite { .. })), "the trunk's call comes through");
        }
    }
    assert!((100..=300).contains(&flood.datagrams), "two seconds: {flood:?}");
    let [(_, remembered, _), _] = node.endpoint.sources(node.now);
    assert!(remembered <= 4096, "{remembered}");
}

#[test]
fn sip_096_a_trunk_that_floods_is_refused_without_state_and_its_calls_go_on() {
    let mut node = Node::new();
    let mut over = Cost::default();
    for number in 0..2000 {
        let cost = node.spend(TRUNK.into(), request("INVITE", number, "").as_bytes());
        if number >= 500 {
            assert_eq!(cost.datagrams, 1);
            over.add(cost);
        }
    }
    assert!(over.ratio() <= 2.0, "{over:?} {}", over.ratio());
    let counts = node.endpoint.counts();
    assert_eq!((counts.invite_servers, counts.dialogs), (500, 500), "what is over the limit is not remembered");
    let cost = node.spend(TRUNK.into(), request("OPTIONS", 9999, "").as_bytes());
    assert_eq!((cost.datagrams, node.endpoint.counts().servers), (1, 0), "probes are answered all the same");
    let cost = node.spend(TRUNK.into(), request("CANCEL", 7, "").as_bytes());
    assert_eq!(cost.datagrams, 2, "200 to the CANCEL, 487 to its INVITE");
    let other = [198, 51, 100, 8];
    assert_eq!(node.spend(other.into(), request("INVITE", 5000, "").as_bytes()).datagrams, 1);
    assert_eq!(node.endpoint.counts().dialogs, 500, "one was taken back, one of another address has come");
    let [_, (kind, _, at_limit)] = node.endpoint.sources(node.now);
    assert_eq!((kind, at_limit), ("trunk", 1));
}
