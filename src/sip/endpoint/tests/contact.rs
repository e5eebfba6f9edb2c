//! Which socket we use with a peer, and what we call ourselves to it.

use std::sync::Arc;
use std::time::Duration;

use crate::base::random::Random;
use crate::config::Listener;
use crate::sip::endpoint::testing::{Bench, in_dialog, request, tag_of, trunk};
use crate::sip::{Endpoint, EndpointConfig, ListenerId, Trunks};

const SDP: &str = "Content-Type: application/sdp\r\n\r\nv=0\r\n";

#[test]
fn sip_001_what_belongs_to_a_peer_leaves_from_the_socket_that_it_talks_to() {
    let listener = |port| {
        let address = ([192, 0, 2, 10], port).into();
        Listener { transport: crate::config::Transport::Udp, bind: address, advertised: address }
    };
    let config = EndpointConfig {
        listeners: vec![listener(5060), listener(5070)],
        local_nets: Vec::new(),
        proxies: Default::default(),
        user_agent: None,
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        unknown_source_per_minute: 5,
    };
    let trunks = Trunks::new(vec![Arc::new(trunk("pbx", &["acc1"], "198.51.100.0/24"))]);
    let mut endpoint = Endpoint::new(config, trunks, Random::from_number(1));
    let now = Bench::new().now;
    let second = ListenerId(1);
    let peer = "198.51.100.1:5060".parse().expect("an address");
    endpoint.handle_datagram(now, second, peer, request("INVITE", "a", "c1", 1, SDP).as_bytes());
    let dialog = endpoint.poll_event().expect("the INVITE").dialog();
    assert!(endpoint.ring(now, dialog) && endpoint.answer(now, dialog, None));
    let mut tag = String::new();
    let mut sent = 0;
    while let Some(transmit) = endpoint.poll_transmit() {
        assert_eq!(transmit.listener, second);
        let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
        tag = text
            .split("\r\nTo: ")
            .nth(1)
            .and_then(|to| to.split(";tag=").nth(1))
            .map_or(tag, |tag| tag[..16].to_owned());
        sent += 1;
    }
    assert_eq!(sent, 3, "100, 180 and 200");
    endpoint.handle_datagram(now, second, peer, in_dialog("ACK", "k", 1, &tag, "").as_bytes());
    assert!(endpoint.bye(now, dialog, Vec::new()));
    let bye = endpoint.poll_transmit().expect("our BYE");
    assert!(bye.bytes.starts_with(b"BYE ") && bye.listener == second);
    assert!(String::from_utf8_lossy(&bye.bytes).contains("Via: SIP/2.0/UDP 192.0.2.10:5070;"));
}

#[test]
fn sip_053_our_contact_is_the_same_in_180_200_and_the_answers_to_reinvite_and_update() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    let mut contacts = Vec::new();
    let mut note = |bench: &mut Bench| {
        let response = bench.response();
        contacts.push(response.headers.get("Contact").expect("a Contact").to_owned());
        tag_of(&response, "To")
    };
    bench.endpoint.ring(bench.now, dialog);
    bench.drain();
    note(&mut bench);
    bench.endpoint.answer(bench.now, dialog, None);
    bench.drain();
    let tag = note(&mut bench);
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    for (method, branch, cseq) in [("INVITE", "r", 2), ("UPDATE", "u", 3)] {
        bench.receive(&in_dialog(method, branch, cseq, &tag, SDP));
        assert!(bench.endpoint.answer(bench.now, dialog, Some(b"v=0".to_vec())));
        bench.drain();
        note(&mut bench);
        if method == "INVITE" {
            bench.receive(&in_dialog("ACK", "k2", cseq, &tag, ""));
        }
    }
    assert_eq!(contacts, ["<sip:192.0.2.10:5060;transport=udp>"; 4]);
}

#[test]
fn sip_054_a_request_in_a_dialog_may_name_our_contact_or_our_listening_address() {
    for target in ["sip:192.0.2.10:5060;transport=udp", "sip:10.9.9.9:5060", "sip:1000@10.9.9.9", "sip:192.0.2.10"] {
        let mut bench = Bench::new();
        let (_, tag) = bench.answered();
        let bye = in_dialog("BYE", "b", 2, &tag, "").replace("BYE sip:1000@192.0.2.10 ", &format!("BYE {target} "));
        assert!(bye.starts_with(&format!("BYE {target} ")));
        bench.receive(&bye);
        assert_eq!(bench.response().code, 200, "{target}");
    }
}
