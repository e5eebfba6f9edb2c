//! What may be asked, and by whom.

use crate::sip::endpoint::testing::{Bench, PEER, PROXY, STRANGER, in_dialog, invite, request, tag_of};
use crate::sip::{Availability, Event, InviteBody, Rejection, Why};

const DRAINING: Why = Why { label: "draining", text: "the node drains" };

fn ask(bench: &mut Bench, text: &str) -> crate::sip::message::Response {
    bench.receive(text);
    bench.response()
}

#[test]
fn sip_091_a_stranger_gets_five_403_a_minute_then_silence() {
    let mut bench = Bench::new();
    for attempt in 0..8 {
        bench.receive_from(STRANGER, &invite(&format!("s{attempt}"), &format!("c{attempt}"), 1));
    }
    assert_eq!(bench.said(), ["403"; 5]);
    bench.wait(60_000);
    assert_eq!(bench.said(), [""; 0], "stateless: nothing is sent again (SIP-015)");
    let attempt = invite("s9", "c9", 1);
    bench.receive_from(STRANGER, &attempt);
    assert_eq!(bench.sent[0].0.to_string(), STRANGER);
    let written = crate::sip::wire::write_message(&bench.sent[0].1).len();
    assert!(written <= attempt.len(), "{written} bytes for {}: no amplification", attempt.len());
    let first = bench.response();
    bench.receive_from(STRANGER, &attempt);
    assert_eq!(first, bench.response(), "the same copy gets the same tag");
    assert!(bench.events.is_empty() && bench.endpoint.counts().is_idle());
}

#[test]
fn sip_091_options_acks_and_responses_of_strangers_are_dropped() {
    let mut bench = Bench::new();
    for method in ["OPTIONS", "ACK"] {
        bench.receive_from(STRANGER, &request(method, "s", "c", 1, ""));
    }
    bench.receive_from(STRANGER, "SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\n\r\n");
    bench.receive_from(STRANGER, "\r\n\r\n");
    assert!(bench.sent.is_empty());
    let dropped = bench.endpoint.take_counters().iter().map(|count| count.by).sum::<u64>();
    assert_eq!(dropped, 3, "keepalives are not even counted (SIP-005)");
}

#[test]
fn sip_091_via_maddr_cannot_send_a_strangers_403_elsewhere() {
    let mut bench = Bench::new();
    bench.receive_from(STRANGER, &invite("s", "c", 1).replace(";rport", ";maddr=198.51.100.77"));
    assert_eq!(bench.sent[0].0.to_string(), STRANGER);
}

#[test]
fn sip_013_unknown_methods_get_501_and_known_ones_405_with_allow() {
    let mut bench = Bench::new();
    assert_eq!(ask(&mut bench, &request("FOO", "a", "c1", 1, "")).code, 501);
    for method in ["REGISTER", "SUBSCRIBE", "MESSAGE", "PUBLISH", "REFER"] {
        let response = ask(&mut bench, &request(method, method, method, 1, ""));
        assert_eq!(response.code, 405, "{method}");
        assert_eq!(
            response.headers.get("Allow"),
            Some("INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, NOTIFY")
        );
    }
}

#[test]
fn sip_014_require_lists_exactly_the_unsupported_tags() {
    let mut bench = Bench::new();
    let rest = "k: timer\r\nRequire: sec-agree, 100rel, Timer\r\nRequire: precondition\r\nProxy-Require: x";
    let response = ask(&mut bench, &request("INVITE", "a", "c1", 1, rest));
    assert_eq!((response.code, response.headers.get("Unsupported")), (420, Some("sec-agree, precondition")));
    assert_eq!(response.headers.get("Reason"), Some("Q.850;cause=127"));
    assert_eq!(ask(&mut bench, &request("OPTIONS", "b", "c2", 1, "Proxy-Require: x")).code, 200);
    assert_eq!(bench.happened(), [""; 0]);
    assert_eq!(ask(&mut bench, &request("CANCEL", "c", "c3", 1, "Require: x")).code, 481);
}

#[test]
fn sip_003_a_body_shorter_than_content_length_gets_400_without_state() {
    let mut bench = Bench::new();
    let response = ask(&mut bench, &invite("a", "c1", 1).replace("Content-Length: 5", "Content-Length: 50"));
    assert_eq!((response.code, response.phrase.as_str()), (400, "Incomplete Body"));
    assert!(bench.endpoint.counts().is_idle());
    bench.receive(&invite("a", "c1", 1).replace("INVITE", "ACK").replace("Content-Length: 5", "Content-Length: 50"));
    assert!(bench.sent.is_empty(), "an ACK is never answered (SIP-035)");
}

#[test]
fn sip_009_malformed_mandatory_headers_get_400_and_optional_ones_do_no_harm() {
    let mut bench = Bench::new();
    for (good, bad) in [
        ("CSeq: 1 INVITE", "CSeq: 1 BYE"),
        ("CSeq: 1 INVITE", "CSeq: 2147483648 INVITE"),
        ("Call-ID: c1\r\n", ""),
        ("Max-Forwards: 70", "Max-Forwards: many"),
        ("From: \"A\"", "From: \"A"),
        ("sip:1000@192.0.2.10 SIP", "sip:10%0000@192.0.2.10 SIP"),
        ("Contact: <sip:0806@198.51.100.1:5060>", "Contact: <sip:0806@"),
    ] {
        assert_eq!(ask(&mut bench, &invite("a", "c1", 1).replacen(good, bad, 1)).code, 400, "{bad}");
    }
    let odd = invite("x", "cx", 1)
        .replace("Max-Forwards: 70", "Max-Forwards: 0\r\nDate: never\r\nAllow: ;;\r\nno colon\r\nWarning: x");
    assert_eq!(ask(&mut bench, &odd).code, 100);
    let other = request("OPTIONS", "y", "cy", 1, "").replacen("sip:1000@192.0.2.10", "mailto:a@b", 1);
    assert_eq!(ask(&mut bench, &other).code, 416);
}

#[test]
fn sip_007_a_wholly_compact_invite_works() {
    let mut bench = Bench::new();
    let mut text = invite("a", "c1", 1);
    for (long, short) in [
        ("Via", "v"),
        ("From", "f"),
        ("To", "t"),
        ("Call-ID", "i"),
        ("Contact", "m"),
        ("Content-Type", "c"),
        ("Content-Length", "l"),
    ] {
        text = text.replace(&format!("\n{long}:"), &format!("\n{short} :"));
    }
    bench.receive(&text);
    assert_eq!(bench.happened(), ["Invite"]);
    assert_eq!(bench.response().headers.get("Call-ID"), Some("c1"));
}

#[test]
fn sip_012_a_body_that_is_not_sdp_gets_415() {
    let mut bench = Bench::new();
    let response = ask(&mut bench, &request("INVITE", "a", "c1", 1, "Content-Type: text/plain\r\n\r\nhi"));
    assert_eq!((response.code, response.headers.get("Accept")), (415, Some("application/sdp")));
    let zipped = "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n\r\nhi";
    let response = ask(&mut bench, &request("INVITE", "b", "c2", 1, zipped));
    assert_eq!((response.code, response.headers.get("Accept-Encoding")), (415, Some("identity")));
}

#[test]
fn sip_022_responses_copy_via_record_route_and_timestamp_verbatim() {
    let mut bench = Bench::new();
    let routes = "Record-Route: <sip:198.51.100.2;lr=on;ftag=x;did=1.2;r2=on;transport=udp>, <sip:p.example;lr>\r\n\
                  Record-Route: <sip:third;lr>\r\nTimestamp: 54.2\r\nVia: SIP/2.0/TCP c ; branch=1, SIP/2.0/UDP d";
    bench.receive(&request("INVITE", "a", "c1", 1, routes));
    let trying = bench.response();
    assert_eq!((trying.code, trying.headers.get("Timestamp")), (100, Some("54.2")));
    assert_eq!(tag_of(&trying, "To"), "");
    let dialog = bench.events[0].dialog();
    bench.endpoint.ring(bench.now, dialog);
    bench.drain();
    let ringing = bench.response();
    let all: Vec<_> = ringing.headers.get_all("Via").collect();
    assert_eq!(all[0], "SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKa;received=198.51.100.1;rport=5060");
    assert_eq!(all[1], "SIP/2.0/TCP c ; branch=1, SIP/2.0/UDP d");
    let all: Vec<_> = ringing.headers.get_all("Record-Route").collect();
    assert_eq!(all[0], "<sip:198.51.100.2;lr=on;ftag=x;did=1.2;r2=on;transport=udp>, <sip:p.example;lr>");
    assert_eq!(all[1], "<sip:third;lr>");
    assert_eq!(ringing.headers.get("Contact"), Some("<sip:192.0.2.10:5060;transport=udp>"));
    assert_eq!(tag_of(&ringing, "To").len(), 16);
}

#[test]
fn sip_038_a_merged_copy_gets_482_as_long_as_the_call_and_32_s_after() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    assert_eq!(ask(&mut bench, &invite("other", "c1", 1)).code, 482);
    bench.endpoint.reject(bench.now, dialog, Rejection::new(486));
    bench.drain();
    bench.receive(&invite("a", "c1", 1).replace("INVITE", "ACK"));
    bench.wait(31_000);
    assert_eq!(ask(&mut bench, &invite("third", "c1", 1)).code, 482);
    assert_eq!(ask(&mut bench, &request("OPTIONS", "o1", "c2", 1, "")).code, 200);
    assert_eq!(ask(&mut bench, &request("OPTIONS", "o2", "c2", 1, "")).code, 482);
    bench.wait(40_000);
    assert_eq!(ask(&mut bench, &invite("fourth", "c1", 1)).code, 100);
    assert_eq!(bench.happened(), ["Ended", "Invite"]);
}

#[test]
fn sip_097_options_say_what_we_can_do_and_503_while_draining() {
    let mut bench = Bench::new();
    let response =
        ask(&mut bench, &request("OPTIONS", "a", "c1", 1, "").replace("Max-Forwards: 70", "Max-Forwards: 0"));
    assert_eq!((response.code, response.headers.get("Accept")), (200, Some("application/sdp")));
    let told = ["Supported", "Server"].map(|name| response.headers.get(name));
    assert_eq!(told, [Some("100rel, timer, replaces, norefersub, uui"), Some("Trunkstream/test")]);
    bench.endpoint.set_availability(Availability::Unavailable(DRAINING));
    let response = ask(&mut bench, &request("OPTIONS", "b", "c2", 1, ""));
    assert_eq!((response.code, response.phrase.as_str()), (503, "Service Unavailable"));
    assert_eq!(ask(&mut bench, &in_dialog("OPTIONS", "c", 3, "unknown", "")).code, 481);
}

#[test]
fn sip_095_while_draining_new_calls_get_503_and_calls_that_are_up_go_on() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    bench.endpoint.set_availability(Availability::Unavailable(DRAINING));
    let response = ask(&mut bench, &invite("b", "c2", 1));
    assert_eq!((response.code, response.phrase.as_str()), (503, "Service Unavailable"));
    let seconds: u32 = response.headers.get("Retry-After").and_then(|s| s.parse().ok()).expect("seconds");
    assert!((5..=15).contains(&seconds));
    assert_eq!(ask(&mut bench, &in_dialog("BYE", "bye", 2, &tag, "")).code, 200);
}

#[test]
fn ops_001_local_peers_see_the_bind_address_all_others_the_advertised_one() {
    let mut bench = Bench::with(crate::sip::endpoint::testing::trunk("any", &["acc1"], "0.0.0.0/0"));
    for (from, ours, local) in [("10.1.1.1:5060", "10.9.9.9", true), (PEER, "192.0.2.10", false)] {
        bench.receive_from(from, &invite(from, from, 1));
        let crate::sip::Event::Invite { invite, .. } = bench.events.pop().expect("an event") else { panic!("no call") };
        assert_eq!((invite.our_address.to_string().as_str(), invite.peer_is_local), (ours, local));
        assert_eq!(invite.body, InviteBody::Sdp(b"v=0\r\n".to_vec()));
        assert_eq!(invite.trunk_candidates[0].name, "any");
    }
}

#[test]
fn sip_030_rfc_2543_requests_match_without_a_cookie() {
    let mut bench = Bench::new();
    let old = invite("a", "c1", 1).replace(";branch=z9hG4bKa;rport", "").replace(";tag=peer", "");
    bench.receive(&old);
    bench.receive(&old);
    assert_eq!(bench.said(), ["100", "100"]);
    assert_eq!(bench.happened(), ["Invite"]);
    bench.receive(&old.replace("INVITE", "CANCEL"));
    assert_eq!(bench.said(), ["200", "487"]);
    bench.receive(&old.replace("INVITE", "ACK"));
    bench.wait(4000);
    assert_eq!(bench.said(), [""; 0], "the ACK stopped the 487");
}

#[test]
fn sip_042_full_tables_refuse_without_state_and_serve_what_is_up() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    bench.endpoint.limits = crate::sip::endpoint::Limits { dialogs: 2, servers: 4 };
    assert_eq!(ask(&mut bench, &invite("b", "c2", 1)).code, 100);
    assert_eq!(ask(&mut bench, &invite("c", "c3", 1)).code, 503, "too many calls");
    assert_eq!(ask(&mut bench, &request("FOO", "d", "c4", 1, "")).code, 501);
    for number in 0..20 {
        let response = ask(&mut bench, &request("OPTIONS", &format!("o{number}"), &format!("o{number}"), 1, ""));
        assert_eq!((response.code, tag_of(&response, "To").len()), (503, 16), "too many transactions");
        assert_eq!(ask(&mut bench, &in_dialog("BYE", &format!("x{number}"), 2, "unknown", "")).code, 481);
    }
    let counts = bench.endpoint.counts();
    assert_eq!((counts.dialogs, counts.invite_servers + counts.servers), (2, 4));
    let counted = bench.endpoint.take_counters();
    let refused = counted.iter().filter(|count| count.labels.contains(&("reason", "sip_tables".to_owned())));
    assert_eq!(refused.map(|count| count.by).sum::<u64>(), 1);
    assert_eq!(ask(&mut bench, &in_dialog("BYE", "bye", 2, &tag, "")).code, 200);
}

#[test]
fn sip_091_every_source_has_its_own_limit_and_an_ipv6_network_is_one_source() {
    let mut bench = Bench::new();
    for number in 0..7 {
        bench.receive_from(
            &format!("[2001:db8::{number}]:5060"),
            &invite(&format!("s{number}"), &format!("c{number}"), 1),
        );
    }
    assert_eq!(bench.said(), ["403"; 5]);
    bench.receive_from("203.0.113.98:5060", &invite("t", "t", 1));
    assert_eq!(bench.said(), ["403"]);
}

#[test]
fn sip_116_a_call_that_the_endpoint_refuses_is_counted_with_its_code() {
    let mut bench = Bench::new();
    bench.endpoint.set_availability(Availability::Unavailable(DRAINING));
    bench.receive(&invite("a", "c1", 1));
    bench.receive(&request("OPTIONS", "b", "c2", 1, ""));
    assert_eq!(bench.said().len(), 2);
    let counts = bench.endpoint.take_counters();
    let refused: Vec<_> =
        counts.iter().filter(|count| count.metric.name == "trunkstream_calls_refused_total").collect();
    assert_eq!(refused.len(), 1, "an OPTIONS is no call");
    let labels =
        [("code", "503"), ("reason", "draining"), ("trunk", "pbx")].map(|(name, value)| (name, value.to_owned()));
    assert_eq!(refused[0].labels, labels);
}

#[test]
fn sip_096_calls_above_the_rate_get_503_and_the_bucket_fills_again() {
    let mut bench = Bench::new();
    bench.endpoint.limit_call_rate(2);
    let attempt = |bench: &mut Bench, n: u32| {
        bench.receive(&invite(&format!("r{n}"), &format!("rate{n}"), 1));
        bench.said()
    };
    let codes: Vec<_> = (0..3).flat_map(|n| attempt(&mut bench, n)).collect();
    assert_eq!(codes, ["100", "100", "503"]);
    bench.receive(&request("OPTIONS", "o", "o", 1, ""));
    assert_eq!(bench.said(), ["200"], "a burst does not take the node out of the PBX's routing");
    bench.wait(500);
    bench.said();
    assert_eq!(attempt(&mut bench, 4), ["100"]);
}

#[test]
fn sip_092_behind_a_trusted_proxy_the_peer_is_whom_its_header_names_and_the_bot_never_sees_the_header() {
    let mut bench = Bench::new();
    let from = |n: u32, peer: &str| {
        let invite = request("INVITE", &format!("p{n}"), &format!("p{n}"), 1, &format!("{peer}X-UUI: 1"));
        invite.replace("SIP/2.0/UDP 198.51.100.1:5060", "SIP/2.0/UDP 192.0.2.53:5060")
    };
    bench.receive_from(PROXY, &from(1, "X-Real-Peer: 198.51.100.7:5062\r\n"));
    assert_eq!(
        bench.sent.drain(..).map(|(to, _)| to.to_string()).collect::<Vec<_>>(),
        [PROXY],
        "answers go to the proxy"
    );
    let Some(Event::Invite { invite, .. }) = bench.events.pop() else { panic!("no call") };
    assert_eq!((invite.source.to_string().as_str(), invite.peer.to_string().as_str()), (PROXY, "198.51.100.7"));
    assert_eq!(invite.trunk_candidates.len(), 1);
    assert!(!invite.headers.has("X-Real-Peer") && invite.headers.has("X-UUI"));

    for (n, peer) in ["", "X-Real-Peer: 203.0.113.99\r\n", "X-Real-Peer: 198.51.100.7\r\nX-Real-Peer: 198.51.100.8\r\n"]
        .into_iter()
        .enumerate()
    {
        bench.receive_from(PROXY, &from(10 + n as u32, peer));
        assert_eq!((bench.said(), bench.happened()), (vec!["403".to_owned()], vec![]), "{peer:?}");
    }
}

#[test]
fn sip_092_nobody_but_a_trusted_proxy_names_a_peer() {
    let mut bench = Bench::new();
    let forged = request("INVITE", "f", "f", 1, "X-Real-Peer: 198.51.100.7");
    bench.receive_from(STRANGER, &forged);
    assert_eq!(bench.said(), ["403"]);
    bench.receive(&request("INVITE", "g", "g", 1, "X-Real-Peer: 203.0.113.99"));
    let Some(Event::Invite { invite, .. }) = bench.events.pop() else { panic!("no call") };
    assert_eq!(invite.peer, invite.source.ip());
    assert!(!invite.headers.has("X-Real-Peer"), "it is nobody's business but the proxy's");
}

#[test]
fn sip_092_a_trusted_proxy_may_ask_whether_we_are_there() {
    let mut bench = Bench::new();
    bench.receive_from(PROXY, &request("OPTIONS", "o", "o", 1, ""));
    assert_eq!(bench.said(), ["200"]);
    bench.receive_from(PROXY, &request("OPTIONS", "q", "q", 1, "X-Real-Peer: 203.0.113.99"));
    assert!(bench.said().is_empty());
}
