//! TCP and TLS: which connection a message takes, what is not sent again, what is closed.

use std::net::SocketAddr;
use std::time::Duration;

use super::super::testing::{Bench, STRANGER, in_dialog, invite, request, tag_of, trunk};
use crate::config::{Source, Transport, Trunk};
use crate::sip::message::{Message, Request, Response};
use crate::sip::wire::{self, Flaw};
use crate::sip::{ConnectionId, DialogId, Event, ListenerId, Origin, OutgoingInvite, Reason, Transmit};

const TCP: ListenerId = ListenerId(1);
const TLS: ListenerId = ListenerId(2);
/// The peer's end of its connection.
const EPHEMERAL: &str = "198.51.100.1:43210";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn origin(listener: ListenerId, source: &str, connection: u64) -> Origin {
    Origin { listener, source: address(source), connection: Some(ConnectionId(connection)), has_certificate: false }
}

/// As the peer writes it for this listener.
fn by(listener: ListenerId, text: &str) -> String {
    text.replace("SIP/2.0/UDP", &format!("SIP/2.0/{}", Transport::ALL[listener.0].name()))
}

/// A bench that keeps how messages go.
struct Streams {
    bench: Bench,
    transmits: Vec<Transmit>,
}

impl Streams {
    fn with(trunk: Trunk) -> Self {
        Self { bench: Bench::with(trunk), transmits: Vec::new() }
    }

    fn new() -> Self {
        Self::with(trunk("pbx", &["acc1"], "198.51.100.0/24"))
    }

    fn receive(&mut self, origin: Origin, text: &str) {
        self.bench.endpoint.handle_framed(self.bench.now, origin, by(origin.listener, text).as_bytes(), None);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.bench.endpoint.poll_transmit() {
            self.transmits.push(transmit);
        }
        while let Some(event) = self.bench.endpoint.poll_event() {
            self.bench.events.push(event);
        }
    }

    fn wait(&mut self, ms: u64) {
        let end = self.bench.now + Duration::from_millis(ms);
        while let Some(when) = self.bench.endpoint.poll_timeout().filter(|when| *when <= end) {
            self.bench.now = self.bench.now.max(when);
            self.bench.endpoint.handle_timeout(self.bench.now);
            self.drain();
        }
        self.bench.now = end;
    }

    fn lost(&mut self, origin: Origin) {
        self.bench.endpoint.handle_lost(self.bench.now, &origin);
        self.drain();
    }

    /// Takes what was sent: each by its method or code.
    fn said(&mut self) -> Vec<String> {
        let name = |transmit: Transmit| {
            String::from_utf8_lossy(&transmit.bytes).split(' ').nth(0).map(|first| {
                if first == "SIP/2.0" {
                    String::from_utf8_lossy(&transmit.bytes[8..11]).into_owned()
                } else {
                    first.to_owned()
                }
            })
        };
        self.transmits.drain(..).filter_map(name).collect()
    }

    /// Takes the last message that was sent.
    fn last(&mut self) -> (Transmit, Message) {
        let transmit = self.transmits.drain(..).next_back().expect("something was sent");
        let message = wire::parse(&transmit.bytes).expect("our own writing is SIP").message;
        (transmit, message)
    }

    fn response(&mut self) -> (Transmit, Response) {
        match self.last() {
            (transmit, Message::Response(response)) => (transmit, response),
            (_, other) => panic!("{other:?}"),
        }
    }

    fn request(&mut self) -> (Transmit, Request) {
        match self.last() {
            (transmit, Message::Request(request)) => (transmit, request),
            (_, other) => panic!("{other:?}"),
        }
    }

    /// A call by this way, answered and acknowledged; its dialog and our tag.
    fn answered(&mut self, origin: Origin, invite: &str) -> (DialogId, String) {
        self.receive(origin, invite);
        let dialog = self.bench.events.last().expect("an event").dialog();
        assert!(self.bench.endpoint.answer(self.bench.now, dialog, Some(b"v=0".to_vec())));
        self.drain();
        let tag = tag_of(&self.response().1, "To");
        self.receive(origin, &in_dialog("ACK", "ack1", 1, &tag, ""));
        self.transmits.clear();
        self.bench.events.clear();
        (dialog, tag)
    }

    fn bye(&mut self, dialog: DialogId) -> (Transmit, Request) {
        assert!(self.bench.endpoint.bye(self.bench.now, dialog, vec![Reason::q850(16)]));
        self.drain();
        self.request()
    }
}

#[test]
fn sip_021_a_response_takes_the_connection_of_its_request_and_knows_where_to_open_another() {
    let mut streams = Streams::new();
    streams.receive(origin(TCP, EPHEMERAL, 7), &request("OPTIONS", "o1", "o", 1, ""));
    let (transmit, response) = streams.response();
    assert_eq!((response.code, transmit.listener, transmit.connection), (200, TCP, Some(ConnectionId(7))));
    assert_eq!(transmit.to, address("198.51.100.1:5060"), "the port of sent-by");
    assert!(response.headers.get("Via").is_some_and(|via| via.contains("rport=43210")));
}

#[test]
fn sip_033_a_2xx_is_sent_again_over_tcp_too() {
    let mut streams = Streams::new();
    streams.receive(origin(TCP, EPHEMERAL, 1), &invite("a", "c1", 1));
    let dialog = streams.bench.events.last().expect("an event").dialog();
    assert!(streams.bench.endpoint.answer(streams.bench.now, dialog, Some(b"v=0".to_vec())));
    streams.drain();
    assert_eq!(streams.said(), ["100", "200"]);
    streams.wait(3600);
    assert_eq!(streams.said(), ["200", "200", "200"], "after T1, 2 T1, 4 T1");
    streams.wait(30_000);
    assert_eq!(streams.said().last().map(String::as_str), Some("BYE"), "no ACK at all (SIP-034)");
}

#[test]
fn timers_a_e_and_g_are_off_and_d_i_j_and_k_are_0_over_tcp() {
    let mut streams = Streams::new();
    // G: a refusal is sent once; H ends it. J: a copy of an OPTIONS is a new one.
    streams.receive(
        origin(TCP, EPHEMERAL, 1),
        &invite("a", "c1", 1).replace("CSeq: 1 INVITE", "CSeq: 1 INVITE\r\nRequire: x"),
    );
    assert_eq!(streams.said(), ["420"]);
    streams.wait(31_000);
    assert_eq!(streams.said(), [""; 0]);
    streams.receive(origin(TCP, EPHEMERAL, 1), &request("OPTIONS", "o1", "o", 1, ""));
    streams.wait(2000);
    assert_eq!(streams.bench.endpoint.counts().servers, 0, "J is 0, H has fired");
    // E: our BYE is sent once; F ends it.
    let (dialog, _) = streams.answered(origin(TCP, EPHEMERAL, 1), &invite("b", "c1", 1));
    assert!(streams.bench.endpoint.bye(streams.bench.now, dialog, Vec::new()));
    streams.drain();
    streams.wait(31_000);
    assert_eq!(streams.said(), ["BYE"]);
    streams.wait(1001);
    assert!(matches!(streams.bench.events.last(), Some(Event::Ended { .. })));
    // A: our INVITE is sent once; B ends it.
    let call = OutgoingInvite {
        listener: TCP,
        target: address("198.51.100.1:5060"),
        request_uri: "sip:1@198.51.100.1;transport=tcp".into(),
        from: "<sip:a@192.0.2.10>".into(),
        to: "<sip:1@198.51.100.1>".into(),
        headers: Vec::new(),
        sdp: None,
        ways: Default::default(),
    };
    streams.bench.endpoint.invite(streams.bench.now, call);
    streams.drain();
    streams.wait(32_001);
    assert_eq!(streams.said(), ["INVITE"]);
    assert!(streams.bench.events.iter().any(|event| matches!(event, Event::Rejected { code: 408, .. })));
}

#[test]
fn sip_114_requests_of_ours_take_the_peers_connection_and_say_so() {
    for (listener, contact, via) in [
        (TCP, "<sip:192.0.2.10:5060;transport=tcp>", "SIP/2.0/TCP 192.0.2.10:5060;"),
        (TLS, "<sip:192.0.2.10:5061;transport=tls>", "SIP/2.0/TLS 192.0.2.10:5061;"),
    ] {
        let mut streams = Streams::new();
        streams.receive(origin(listener, EPHEMERAL, 1), &invite("x", "c0", 1));
        assert!(streams.bench.endpoint.ring(streams.bench.now, streams.bench.events[0].dialog()));
        streams.drain();
        assert_eq!(streams.response().1.headers.get("Contact"), Some(contact));
        let (dialog, tag) = streams.answered(origin(listener, EPHEMERAL, 1), &invite("a", "c1", 1));
        // The peer lost its connection and speaks by another one.
        streams.receive(origin(listener, "198.51.100.1:43999", 2), &in_dialog("OPTIONS", "o2", 2, &tag, ""));
        let (transmit, bye) = streams.bye(dialog);
        assert_eq!((transmit.listener, transmit.connection), (listener, Some(ConnectionId(2))));
        assert_eq!(transmit.to, address("198.51.100.1:5060"), "where its Contact is, should that be lost too");
        assert!(bye.headers.get("Via").is_some_and(|line| line.starts_with(via)), "{bye:?}");
    }
}

#[test]
fn sip_052_a_contact_at_another_address_gets_a_connection_of_its_own() {
    let mut streams = Streams::new();
    let text = invite("a", "c1", 1).replace("<sip:0806@198.51.100.1:5060>", "<sip:0806@198.51.100.2;transport=tls>");
    let (dialog, _) = streams.answered(origin(TLS, EPHEMERAL, 1), &text);
    let (transmit, _) = streams.bye(dialog);
    assert_eq!((transmit.connection, transmit.to), (None, address("198.51.100.2:5061")));
}

#[test]
fn a_contact_that_asks_for_udp_gets_udp_but_what_came_encrypted_stays_so() {
    let contact = "<sip:0806@198.51.100.1:5060;transport=udp>";
    for (listener, expected, via) in [(TCP, ListenerId(0), "SIP/2.0/UDP"), (TLS, TLS, "SIP/2.0/TLS")] {
        let mut streams = Streams::new();
        let text = invite("a", "c1", 1).replace("<sip:0806@198.51.100.1:5060>", contact);
        let (dialog, _) = streams.answered(origin(listener, EPHEMERAL, 1), &text);
        let (transmit, bye) = streams.bye(dialog);
        assert_eq!(transmit.listener, expected);
        assert!(bye.headers.get("Via").is_some_and(|line| line.starts_with(via)));
    }
}

#[test]
fn sip_114_a_sips_invite_gets_a_sips_contact() {
    let mut streams = Streams::new();
    let text = invite("a", "c1", 1).replace("INVITE sip:1000", "INVITE sips:1000").replace("<sip:0806", "<sips:0806");
    streams.receive(origin(TLS, EPHEMERAL, 1), &text);
    let dialog = streams.bench.events[0].dialog();
    assert!(streams.bench.endpoint.answer(streams.bench.now, dialog, Some(b"v=0".to_vec())));
    streams.drain();
    assert_eq!(streams.response().1.headers.get("Contact"), Some("<sips:192.0.2.10:5061;transport=tls>"));
}

#[test]
fn sip_022_a_record_route_with_a_transport_comes_back_unchanged_and_is_the_way() {
    let mut streams = Streams::new();
    let route = "<sip:198.51.100.9:5062;transport=tcp;r2=on;lr;ftag=x>";
    let text = invite("a", "c1", 1).replace("Contact:", &format!("Record-Route: {route}\r\nContact:"));
    streams.receive(origin(TCP, EPHEMERAL, 1), &text);
    let dialog = streams.bench.events[0].dialog();
    assert!(streams.bench.endpoint.answer(streams.bench.now, dialog, Some(b"v=0".to_vec())));
    streams.drain();
    let (_, response) = streams.response();
    assert_eq!(response.headers.get("Record-Route"), Some(route));
    let tag = tag_of(&response, "To");
    streams.receive(origin(TCP, EPHEMERAL, 1), &in_dialog("ACK", "k", 1, &tag, ""));
    let (transmit, _) = streams.bye(dialog);
    assert_eq!((transmit.connection, transmit.to), (None, address("198.51.100.9:5062")));
}

#[test]
fn sip_036_a_lost_connection_is_opened_anew_for_our_requests_and_fails_them_when_it_cannot_be() {
    let mut streams = Streams::new();
    let (dialog, _) = streams.answered(origin(TCP, EPHEMERAL, 1), &invite("a", "c1", 1));
    streams.receive(origin(TCP, EPHEMERAL, 1), &invite("b", "c2", 1));
    let (transmit, _) = streams.bye(dialog);
    streams.bench.events.clear();
    streams.lost(Origin { listener: TLS, ..origin(TCP, EPHEMERAL, 1) });
    streams.lost(origin(TCP, EPHEMERAL, 9));
    assert_eq!((streams.said(), streams.bench.events.len()), (Vec::new(), 0), "others' connections");
    streams.lost(origin(TCP, EPHEMERAL, 1));
    let (again, bye) = streams.request();
    assert_eq!((bye.method.as_str(), again.connection, again.to), ("BYE", None, transmit.to), "by one of ours");
    streams.lost(origin(TCP, &transmit.to.to_string(), 2));
    assert!(matches!(streams.bench.events.as_slice(), [Event::Ended { dialog: ended }] if *ended == dialog));
    assert_eq!(streams.bench.endpoint.counts().dialogs, 1, "the other call, whose INVITE waits for us, stays");
}

#[test]
fn sip_036_a_call_of_ours_that_finds_no_connection_is_refused_with_503_and_no_headers() {
    let mut streams = Streams::new();
    let target = address("198.51.100.1:5061");
    let (from, to) = ("<sip:a@192.0.2.10>".into(), "<sips:1@198.51.100.1>".into());
    let request_uri = "sips:1@198.51.100.1".into();
    let call = OutgoingInvite {
        listener: TLS,
        target,
        request_uri,
        from,
        to,
        headers: Vec::new(),
        sdp: None,
        ways: Default::default(),
    };
    streams.bench.endpoint.invite(streams.bench.now, call);
    streams.lost(origin(TLS, &target.to_string(), 1));
    let [Event::Rejected { code: 503, headers, .. }, Event::Ended { .. }] = streams.bench.events.as_slice() else {
        panic!("{:?}", streams.bench.events)
    };
    assert_eq!(headers.iter().count(), 0);
    assert_eq!(streams.bench.endpoint.counts().invite_clients, 0);
}

#[test]
fn sip_015_a_stranger_gets_one_refusal_and_its_connection_is_closed() {
    let mut streams = Streams::new();
    streams.receive(origin(TCP, STRANGER, 4), &invite("a", "c1", 1));
    assert_eq!(streams.response().1.code, 403);
    assert_eq!(streams.bench.endpoint.poll_close(), Some(ConnectionId(4)));
    streams.receive(origin(TCP, STRANGER, 5), &request("OPTIONS", "o", "o", 1, ""));
    assert_eq!(streams.said(), [""; 0]);
    assert_eq!(streams.bench.endpoint.poll_close(), Some(ConnectionId(5)), "without a word");
    streams.receive(origin(TCP, EPHEMERAL, 6), &request("OPTIONS", "p", "p", 1, ""));
    assert_eq!(streams.bench.endpoint.poll_close(), None);
}

#[test]
fn sip_004_a_stream_that_cannot_be_cut_is_answered_and_closed() {
    for (flaw, code) in [(Flaw::NoContentLength, 400), (Flaw::TooLarge, 513)] {
        let mut streams = Streams::new();
        let text = by(TCP, &request("OPTIONS", "o", "o", 1, ""));
        let now = streams.bench.now;
        streams.bench.endpoint.handle_framed(now, origin(TCP, EPHEMERAL, 3), text.as_bytes(), Some(flaw));
        streams.drain();
        let (transmit, response) = streams.response();
        assert_eq!(
            (response.code, response.phrase, transmit.connection),
            (code, flaw.to_string(), Some(ConnectionId(3)))
        );
        assert_eq!(streams.bench.endpoint.poll_close(), Some(ConnectionId(3)));
    }
}

#[test]
fn sip_090_a_trunk_may_be_one_of_tls_or_of_a_port() {
    let limited = |source: Source, client_certificate: bool| {
        let usual = trunk("pbx", &["acc1"], "198.51.100.0/24");
        Streams::with(Trunk { sources: vec![source], client_certificate, ..usual })
    };
    let network = "198.51.100.0/24".parse().expect("a network");
    let tls = Source { transport: Some(Transport::Tls), network, port: None };
    let code = |mut streams: Streams, origin: Origin| {
        streams.receive(origin, &invite("a", "c1", 1));
        streams.response().1.code
    };
    assert_eq!(code(limited(tls, false), origin(TCP, EPHEMERAL, 1)), 403);
    assert_eq!(code(limited(tls, false), origin(TLS, EPHEMERAL, 1)), 100);
    assert_eq!(code(limited(tls, true), origin(TLS, EPHEMERAL, 1)), 403, "no certificate");
    let certain = Origin { has_certificate: true, ..origin(TLS, EPHEMERAL, 1) };
    assert_eq!(code(limited(tls, true), certain), 100);
    let port = Source { transport: None, network, port: Some(43_210) };
    assert_eq!(code(limited(port, false), origin(TCP, EPHEMERAL, 1)), 100);
    assert_eq!(code(limited(port, false), origin(TCP, "198.51.100.1:43211", 1)), 403);
}

#[test]
fn sip_002_a_request_too_long_for_udp_goes_by_tcp_where_the_peer_has_it() {
    let network = "198.51.100.0/24".parse().expect("a network");
    let any = Source { transport: None, network, port: None };
    let tcp = Source { transport: Some(Transport::Tcp), ..any };
    for (sources, listener, via) in [(vec![any], ListenerId(0), "SIP/2.0/UDP"), (vec![any, tcp], TCP, "SIP/2.0/TCP")] {
        let usual = trunk("pbx", &["acc1"], "198.51.100.0/24");
        let mut streams = Streams::with(Trunk { sources, ..usual });
        let source = Origin::datagram(ListenerId(0), address("198.51.100.1:5060"));
        streams.receive(source, &invite("a", "c1", 1));
        let dialog = streams.bench.events[0].dialog();
        assert!(streams.bench.endpoint.answer(streams.bench.now, dialog, Some(b"v=0".to_vec())));
        streams.drain();
        let tag = tag_of(&streams.response().1, "To");
        streams.receive(source, &in_dialog("ACK", "k", 1, &tag, ""));
        assert!(streams.bench.endpoint.info(streams.bench.now, dialog, "text/plain", vec![b'x'; 200]));
        streams.drain();
        assert_eq!(streams.request().0.listener, ListenerId(0), "short enough");
        assert!(streams.bench.endpoint.info(streams.bench.now, dialog, "text/plain", vec![b'x'; 1300]));
        streams.drain();
        let (transmit, info) = streams.request();
        assert_eq!((transmit.listener, transmit.to), (listener, address("198.51.100.1:5060")));
        assert!(info.headers.get("Via").is_some_and(|line| line.starts_with(via)));
        let counts = streams.bench.endpoint.take_counters();
        let oversize = counts.iter().any(|count| count.metric.name == "sip_oversize_udp_total");
        assert_eq!(oversize, listener == ListenerId(0));
    }
}

#[test]
fn a_connection_is_needed_while_a_call_is_up_by_it() {
    let mut streams = Streams::new();
    let (dialog, _) = streams.answered(origin(TCP, EPHEMERAL, 1), &invite("a", "c1", 1));
    assert!(streams.bench.endpoint.needs(ConnectionId(1)) && !streams.bench.endpoint.needs(ConnectionId(2)));
    let (_, bye) = streams.bye(dialog);
    let ok = by(TCP, &wire_ok(&bye));
    streams.receive(origin(TCP, EPHEMERAL, 1), &ok);
    assert!(!streams.bench.endpoint.needs(ConnectionId(1)));
}

fn wire_ok(request: &Request) -> String {
    String::from_utf8(wire::write_response(&Response::to(request, 200, ""))).expect("text")
}
