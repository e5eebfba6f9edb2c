//! Calls through trunks: which destination, the next one, redirections; keepalive and registration.

use std::net::SocketAddr;

use super::calling::reply;
use crate::config::Trunk;
use crate::sip::endpoint::testing::{Bench, trunk};
use crate::sip::message::{Message, Request};
use crate::sip::{Event, NotPlaced, Target, TrunkCall, TrunkState};

const FIRST: &str = "198.51.100.1:5060";
const SECOND: &str = "198.51.100.2:5070";

/// A trunk that calls out, looked after or not.
fn outgoing(keepalive: bool, register: bool) -> Trunk {
    let text = format!(
        "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n[media]\nlisten_address = \"192.0.2.10\"\n[[account]]\nsid = \"acc1\"\n\
         [[trunk]]\nname = \"pbx\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n\
         auth = {{ username = \"bridge\", password = \"s3cret\" }}\n\
         destinations = [\"sip:pbx.example\"]\nkeepalive_seconds = {}\n{}",
        if keepalive { 30 } else { 0 },
        if register { "register = { expires_seconds = 100 }\n" } else { "" }
    );
    let config = crate::config::Config::from_toml("t.toml", &text, None).expect("a good configuration");
    Trunk::clone(&config.trunks[0])
}

fn targets() -> Vec<Target> {
    let target =
        |(host, address): (&str, &str)| Target { host: host.into(), address: address.parse().expect("an address") };
    [("pbx.example", FIRST), ("other.example:5070", SECOND)].map(target).to_vec()
}

fn bench(keepalive: bool, register: bool) -> Bench {
    let mut bench = Bench::with(outgoing(keepalive, register));
    assert!(bench.endpoint.set_targets(bench.now, "pbx", targets()));
    bench.drain();
    bench
}

fn call(bench: &mut Bench) -> Result<crate::sip::DialogId, NotPlaced> {
    let call = TrunkCall {
        trunk: "pbx".into(),
        number: "1000".into(),
        from: "0806".into(),
        headers: vec![("X-UUI".into(), "7".into())],
        sdp: Some(b"v=0\r\n".to_vec()),
    };
    let placed = bench.endpoint.call(bench.now, call);
    bench.drain();
    placed
}

/// The requests sent since, with where they went.
fn requests(bench: &mut Bench) -> Vec<(String, Request)> {
    let request = |(to, message): (SocketAddr, Message)| match message {
        Message::Request(request) => Some((to.to_string(), request)),
        Message::Response(_) => None,
    };
    bench.sent.drain(..).filter_map(request).collect()
}

fn invites(bench: &mut Bench) -> Vec<(String, String)> {
    let all = requests(bench).into_iter().filter(|(_, request)| request.method.as_str() == "INVITE");
    all.map(|(to, request)| (to, request.uri)).collect()
}

#[test]
fn sip_055_a_call_goes_to_the_next_destination_on_503_with_the_same_call_id_and_a_new_branch() {
    let mut bench = bench(false, false);
    call(&mut bench).expect("placed");
    let (to, first) = bench.request();
    assert_eq!((to.to_string().as_str(), first.uri.as_str()), (FIRST, "sip:1000@pbx.example"));
    bench.receive_from(FIRST, &reply(&first, 180, "early", ""));
    bench.receive_from(FIRST, &reply(&first, 503, "t1", ""));
    let sent = requests(&mut bench);
    assert_eq!((sent[0].0.as_str(), sent[0].1.method.as_str()), (FIRST, "ACK"));
    let (to, second) = &sent[1];
    assert_eq!((to.as_str(), second.uri.as_str()), (SECOND, "sip:1000@other.example:5070"));
    let header = |request: &Request, name: &str| request.headers.get(name).unwrap_or_default().to_owned();
    for same in ["Call-ID", "From", "To", "CSeq", "X-UUI"] {
        assert_eq!(header(&first, same), header(second, same), "{same}");
    }
    assert_ne!(header(&first, "Via"), header(second, "Via"));
    bench.receive_from(FIRST, &reply(&first, 503, "t1", ""));
    assert_eq!(bench.said(), ["ACK"], "a copy of the 503 gets its ACK again");
    bench.receive_from(SECOND, &reply(second, 200, "t2", "Content-Type: application/sdp\r\n\r\nv=0\r\n"));
    assert_eq!(
        (bench.said(), bench.happened()),
        (vec!["ACK".to_owned()], vec!["Provisional".into(), "Answered".to_owned()])
    );
}

#[test]
fn sip_055_silence_counts_after_6_s_and_the_last_destination_ends_the_call() {
    let mut bench = bench(false, false);
    call(&mut bench).expect("placed");
    bench.sent.clear();
    bench.wait(5999);
    assert!(invites(&mut bench).iter().all(|(to, _)| to == FIRST));
    bench.wait(1);
    assert_eq!(invites(&mut bench), [(SECOND.to_owned(), "sip:1000@other.example:5070".to_owned())]);
    bench.wait(6000);
    assert!(matches!(bench.events[0], Event::Rejected { code: 408, .. }));
    assert_eq!(bench.happened(), ["Rejected", "Ended"]);
    bench.wait(70_000);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn sip_055_a_provisional_stops_the_clock_and_icmp_moves_on_at_once() {
    let mut bench = bench(false, false);
    call(&mut bench).expect("placed");
    let (_, first) = bench.request();
    bench.receive_from(FIRST, &reply(&first, 100, "", ""));
    bench.wait(20_000);
    bench.endpoint.handle_unreachable(bench.now, FIRST.parse().expect("an address"));
    bench.drain();
    assert!(invites(&mut bench).is_empty(), "it has answered: an old complaint");

    call(&mut bench).expect("placed");
    bench.sent.clear();
    bench.endpoint.handle_unreachable(bench.now, FIRST.parse().expect("an address"));
    bench.drain();
    assert_eq!(invites(&mut bench).len(), 1);
    bench.endpoint.handle_unreachable(bench.now, SECOND.parse().expect("an address"));
    bench.drain();
    assert_eq!(bench.happened(), [""; 0], "SIP-036: without another destination its timers end it");
}

#[test]
fn sip_056_a_destination_that_answers_after_it_was_given_up_gets_ack_and_bye() {
    let mut bench = bench(false, false);
    call(&mut bench).expect("placed");
    let (_, first) = bench.request();
    bench.wait(6000);
    let (_, second) = bench.request();
    bench.receive_from(FIRST, &reply(&first, 200, "late", "Content-Type: application/sdp\r\n\r\nv=0\r\n"));
    assert_eq!(bench.said(), ["ACK", "BYE"]);
    bench.receive_from(SECOND, &reply(&second, 200, "t2", "Content-Type: application/sdp\r\n\r\nv=0\r\n"));
    assert_eq!(bench.happened(), ["Answered"]);
}

#[test]
fn a_call_that_is_taken_back_goes_nowhere_else() {
    let mut bench = bench(false, false);
    let dialog = call(&mut bench).expect("placed");
    let (_, first) = bench.request();
    assert!(bench.endpoint.bye(bench.now, dialog, Vec::new()));
    bench.receive_from(FIRST, &reply(&first, 503, "t1", ""));
    assert_eq!((bench.said(), bench.happened()), (vec!["ACK".to_owned()], vec!["Rejected".into(), "Ended".to_owned()]));
}

#[test]
fn sip_106_a_3xx_is_followed_by_q_and_only_to_hosts_and_networks_of_the_trunk() {
    let mut bench = bench(false, false);
    call(&mut bench).expect("placed");
    let (_, first) = bench.request();
    let moved = |contacts: &str| reply(&first, 302, "t1", "").replace("<sip:callee@203.0.113.5:5080>", contacts);
    let contacts = "<sip:9@evil.example>, <sip:9@203.0.113.5>, <sip:2000@198.51.100.7:5090>;q=0.2, <sip:2001@Other.Example>;q=0.7, \
                    <sip:2002@198.51.100.8;transport=tcp>, <tel:+123>";
    bench.receive_from(FIRST, &moved(contacts));
    let sent = requests(&mut bench);
    let (to, second) = &sent[1];
    assert_eq!((to.as_str(), second.uri.as_str()), (SECOND, "sip:2001@Other.Example"));
    assert_eq!(second.headers.get("CSeq"), Some("2 INVITE"));
    bench.receive_from(SECOND, &reply(second, 503, "t2", ""));
    let (to, third) = bench.request();
    assert_eq!((to.to_string().as_str(), third.uri.as_str()), ("198.51.100.7:5090", "sip:2000@198.51.100.7:5090"));
    bench.receive_from("198.51.100.7:5090", &reply(&third, 301, "t3", ""));
    let Event::Rejected { code: 301, .. } = &bench.events[0] else {
        panic!("203.0.113.5 is allowed: {:?}", bench.events)
    };
}

#[test]
fn sip_106_redirections_in_a_circle_end() {
    let mut bench = bench(false, false);
    call(&mut bench).expect("placed");
    for n in 0..=5 {
        let (to, invite) = bench.request();
        let moved =
            reply(&invite, 302, &format!("t{n}"), "").replace("<sip:callee@203.0.113.5:5080>", "<sip:1@198.51.100.9>");
        bench.receive_from(&to.to_string(), &moved);
    }
    assert_eq!(bench.happened(), ["Rejected", "Ended"]);
}

#[test]
fn a_call_without_trunk_destinations_or_addresses_is_not_placed() {
    let mut bench = Bench::with(outgoing(false, false));
    assert_eq!(call(&mut bench), Err(NotPlaced::NoTrunk));
    assert!(bench.endpoint.set_targets(bench.now, "pbx", Vec::new()));
    assert_eq!(call(&mut bench), Err(NotPlaced::Unresolved));
    assert!(!bench.endpoint.set_targets(bench.now, "other", targets()));
    let plain = trunk("plain", &["acc1"], "198.51.100.0/24");
    assert!(plain.outgoing.destinations.is_empty() && plain.outgoing.register.is_none());
}

/// Answers every OPTIONS of `from` with `code`.
fn answer_options(bench: &mut Bench, from: &str, code: u16) {
    for (to, options) in requests(bench).into_iter().filter(|(_, request)| request.method.as_str() == "OPTIONS") {
        if to == from {
            bench.receive_from(from, &reply(&options, code, "t", ""));
        }
    }
}

#[test]
fn sip_098_options_say_which_destination_is_up_and_calls_try_those_that_are_down_last() {
    let mut bench = bench(true, false);
    let state = |bench: &Bench| bench.endpoint.trunk_states(bench.now)[0].clone();
    assert_eq!(state(&bench), TrunkState { trunk: "pbx".into(), up: None, registered: None });
    let asked: Vec<_> = requests(&mut bench);
    assert_eq!(
        asked.iter().map(|(to, request)| (to.as_str(), request.uri.as_str())).collect::<Vec<_>>(),
        [(FIRST, "sip:pbx.example"), (SECOND, "sip:other.example:5070")]
    );
    bench.receive_from(SECOND, &reply(&asked[1].1, 404, "t", ""));
    assert_eq!(state(&bench).up, Some(true), "any answer");
    bench.wait(6000);
    bench.sent.clear();
    call(&mut bench).expect("placed");
    assert_eq!(invites(&mut bench)[0].0, SECOND, "the first does not answer");
    bench.wait(24_000);
    answer_options(&mut bench, SECOND, 503);
    assert_eq!(state(&bench).up, Some(false));
    bench.sent.clear();
    bench.wait(60_000);
    answer_options(&mut bench, FIRST, 200);
    assert_eq!(state(&bench).up, Some(true));
    assert!(bench.endpoint.set_targets(bench.now, "pbx", targets()));
    assert_eq!(state(&bench).up, Some(true), "what is known of those that stay is kept");
}

#[test]
fn ops_035_register_is_challenged_refreshed_and_taken_back() {
    let mut bench = bench(false, true);
    let (to, first) = bench.request();
    assert_eq!((to.to_string().as_str(), first.uri.as_str()), (FIRST, "sip:pbx.example"));
    let header = |request: &Request, name: &str| request.headers.get(name).unwrap_or_default().to_owned();
    assert_eq!(header(&first, "To"), "<sip:bridge@pbx.example>");
    assert_eq!(header(&first, "Contact"), "<sip:bridge@192.0.2.10:5060;transport=udp>");
    assert_eq!((header(&first, "Expires"), header(&first, "Supported")), ("100".into(), "path".into()));
    bench.receive_from(
        FIRST,
        &reply(&first, 401, "t", "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\""),
    );
    let (_, second) = bench.request();
    assert!(header(&second, "Authorization").contains("username=\"bridge\""));
    assert_eq!((header(&first, "Call-ID"), header(&second, "CSeq")), (header(&second, "Call-ID"), "2 REGISTER".into()));
    let contacts = "<sip:x@203.0.113.1>;expires=9, <sip:bridge@192.0.2.10:5060;transport=udp>;expires=60";
    let ok = |request: &Request| reply(request, 200, "t", "").replace("<sip:callee@203.0.113.5:5080>", contacts);
    bench.receive_from(FIRST, &ok(&second));
    let registered = |bench: &Bench| bench.endpoint.trunk_states(bench.now)[0].registered;
    assert_eq!(registered(&bench), Some(true));
    bench.wait(29_000);
    assert!(requests(&mut bench).is_empty());
    bench.wait(26_000);
    let (_, refresh) = bench.request();
    assert_eq!(header(&refresh, "CSeq"), "3 REGISTER");
    bench.receive_from(FIRST, &ok(&refresh));
    bench.endpoint.unregister(bench.now);
    bench.drain();
    let (_, last) = bench.request();
    assert_eq!((header(&last, "Expires"), header(&last, "CSeq")), ("0".into(), "4 REGISTER".into()));
    assert!(bench.endpoint.is_unregistering());
    bench.receive_from(FIRST, &reply(&last, 200, "t", ""));
    assert!(!bench.endpoint.is_unregistering() && registered(&bench) == Some(false));
    bench.wait(200_000);
    assert!(requests(&mut bench).is_empty() && bench.endpoint.counts().is_idle());
}
