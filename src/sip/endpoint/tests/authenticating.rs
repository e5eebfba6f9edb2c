//! Digest, as the one who asks and as the one who is asked.

use super::calling::reply;
use crate::config::{DigestAlgorithm, Login, Trunk};
use crate::sip::digest::{Asked, Challenge};
use crate::sip::endpoint::testing::{self, Bench, STRANGER, request, trunk};
use crate::sip::message::{Request, Response};
use crate::sip::{DialogId, ListenerId, OutgoingInvite, Ways};

fn login(password: &str) -> Login {
    Login { username: "pbx1".into(), password: password.to_owned().into() }
}

/// An INVITE as long as real ones are.
fn invite(branch: &str, call_id: &str, cseq: u32) -> String {
    let line = format!("X-Long: {}\r\nContent-Type", "x".repeat(200));
    testing::invite(branch, call_id, cseq).replacen("Content-Type", &line, 1)
}

/// A trunk without fixed addresses.
fn roaming() -> Trunk {
    let mut trunk = trunk("roaming", &["acc1"], "192.0.2.77/32");
    trunk.auth = Some(login("s3cret").into());
    trunk
}

/// The INVITE `branch` with an answer to the challenge at `position` of `response`, used `nc` times.
fn answered(response: &Response, position: usize, password: &str, branch: &str) -> String {
    let value = response.headers.get_all("WWW-Authenticate").nth(position).expect("a challenge");
    let challenge = Challenge::parse(value).expect("our own writing");
    let asked = Asked { method: "INVITE", uri: "sip:1000@192.0.2.10", body: b"v=0\r\n" };
    let line = format!("Authorization: {}\r\nContent-Type", challenge.answer(&login(password), &asked, "c"));
    invite(branch, "c1", 2).replace("Content-Type", &line)
}

fn challenged(bench: &mut Bench, branch: &str) -> Response {
    bench.receive_from(STRANGER, &invite(branch, "c1", 1));
    bench.response()
}

#[test]
fn sip_093_an_unknown_invite_gets_one_challenge_an_algorithm_the_preferred_first_and_no_state() {
    let mut bench = Bench::with(roaming());
    let response = challenged(&mut bench, "a");
    assert_eq!(response.code, 401);
    let challenges: Vec<&str> = response.headers.get_all("WWW-Authenticate").collect();
    assert_eq!(challenges.len(), 3);
    for (challenge, algorithm) in challenges.iter().zip(["SHA-256", "SHA-512-256", "MD5"]) {
        assert!(challenge.starts_with("Digest realm=\"trunkstream\", nonce=\""), "{challenge}");
        assert!(challenge.ends_with(&format!(", algorithm={algorithm}, qop=\"auth\"")), "{challenge}");
    }
    bench.wait(60_000);
    assert!(bench.sent.is_empty() && bench.endpoint.counts().is_idle(), "stateless");
    for (method, branch) in [("ACK", "b"), ("OPTIONS", "b"), ("CANCEL", "a")] {
        bench.receive_from(STRANGER, &request(method, branch, "c1", 1, ""));
    }
    assert!(bench.sent.is_empty(), "never challenged");
    bench.receive_from(STRANGER, &request("REGISTER", "d", "c1", 1, ""));
    assert_eq!(bench.said(), ["403"], "never challenged either");
}

#[test]
fn sip_015_a_challenge_is_at_most_twice_as_long_as_what_asked_for_it() {
    let mut bench = Bench::with(roaming());
    let short = testing::invite("a", "c1", 1);
    bench.receive_from(STRANGER, &short);
    let response = bench.response();
    let said = crate::sip::wire::write_response(&response).len();
    assert!(said <= 2 * short.len(), "{said} bytes for {}", short.len());
    assert!(response.headers.get("WWW-Authenticate").is_some_and(|value| value.contains("SHA-256")));
}

#[test]
fn sip_093_right_credentials_of_any_algorithm_place_the_call_and_its_dialog_is_not_challenged() {
    for position in 0..3 {
        let mut bench = Bench::with(roaming());
        let response = challenged(&mut bench, "a");
        let again = answered(&response, position, "s3cret", "b");
        bench.receive_from(STRANGER, &again);
        assert_eq!((bench.said(), bench.happened()), (vec!["100".to_owned()], vec!["Invite".to_owned()]));
        bench.receive_from(STRANGER, &again);
        assert_eq!(bench.said(), ["100"], "a copy ends in the transaction");
        bench.receive_from(STRANGER, &request("CANCEL", "b", "c1", 2, ""));
        assert_eq!(
            (bench.said(), bench.happened()),
            (vec!["200".into(), "487".into()], vec!["Cancelled".into(), "Ended".to_owned()])
        );
    }
}

#[test]
fn sip_091_every_wrong_answer_looks_the_same() {
    let mut bench = Bench::with(roaming());
    let first = challenged(&mut bench, "a");
    let other_user = answered(&first, 0, "s3cret", "b").replace("username=\"pbx1\"", "username=\"pbx2\"");
    let wrong =
        [answered(&first, 0, "guess", "b"), answered(&first, 2, "guess", "b"), other_user, invite("b", "c1", 2)];
    for attempt in wrong {
        bench.receive_from(STRANGER, &attempt);
        let response = bench.response();
        let plain = |response: &Response| {
            let values = response.headers.get_all("WWW-Authenticate");
            values.map(|value| value.split("nonce=\"").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!((response.code, plain(&response)), (401, plain(&first)));
        assert!(response.headers.get_all("WWW-Authenticate").all(|value| !value.contains("stale")));
    }
    bench.receive_from(STRANGER, &answered(&first, 0, "guess", "c"));
    bench.receive_from(STRANGER, &answered(&first, 0, "s3cret", "d"));
    assert_eq!((bench.said(), bench.happened()), (Vec::<String>::new(), Vec::new()), "the sixth and later: silence");
}

#[test]
fn sip_093_an_answer_is_taken_once_and_an_old_nonce_is_stale() {
    let mut bench = Bench::with(roaming());
    let response = challenged(&mut bench, "a");
    bench.receive_from(STRANGER, &answered(&response, 0, "s3cret", "b"));
    assert_eq!(bench.said(), ["100"]);
    // The same answer in another call: whoever recorded it has no password.
    let replayed = answered(&response, 0, "s3cret", "c").replace("Call-ID: c1", "Call-ID: c2");
    bench.receive_from(STRANGER, &replayed);
    let again = bench.response();
    assert!(
        again.code == 401 && again.headers.get("WWW-Authenticate").is_some_and(|value| value.contains("stale=true"))
    );
    bench.wait(61_000);
    let late = answered(&again, 2, "s3cret", "d").replace("Call-ID: c1", "Call-ID: c3");
    bench.receive_from(STRANGER, &late);
    let fresh = bench.response();
    assert!(fresh.headers.get("WWW-Authenticate").is_some_and(|value| value.contains("stale=true")));
    bench.receive_from(STRANGER, &answered(&fresh, 2, "s3cret", "e").replace("Call-ID: c1", "Call-ID: c4"));
    assert_eq!(bench.said(), ["100"]);
}

#[test]
fn sip_093_a_source_whose_credentials_were_right_is_not_limited() {
    let mut bench = Bench::with(roaming());
    for n in 0..20 {
        let name = |text: String, part: &str| text.replace("Call-ID: c1", &format!("Call-ID: {part}{n}"));
        bench.receive_from(STRANGER, &name(invite(&format!("a{n}"), "c1", 1), "x"));
        let response = bench.response();
        bench.receive_from(STRANGER, &name(answered(&response, 0, "s3cret", &format!("b{n}")), "x"));
        assert_eq!(bench.said(), ["100"], "call {n}");
    }
}

#[test]
fn sip_093_nodes_with_one_key_take_each_others_nonces() {
    let bench = || {
        let mut bench = Bench::with(roaming());
        bench.endpoint.set_digest("pbx.example", &DigestAlgorithm::ALL, Some([7; 32]));
        bench.endpoint.set_wall_clock(bench.now, 1_800_000_000);
        bench
    };
    let (mut here, mut there) = (bench(), bench());
    let response = challenged(&mut here, "a");
    there.receive_from(STRANGER, &answered(&response, 0, "s3cret", "b"));
    assert_eq!(there.said(), ["100"]);
    let mut elsewhere = Bench::with(roaming());
    elsewhere.endpoint.set_digest("pbx.example", &DigestAlgorithm::ALL, Some([8; 32]));
    elsewhere.receive_from(STRANGER, &answered(&response, 0, "s3cret", "b"));
    assert!(elsewhere.response().headers.get("WWW-Authenticate").is_some_and(|value| value.contains("stale=true")));
}

#[test]
fn sip_093_listed_sources_are_not_challenged() {
    let mut listed = roaming();
    let network = "198.51.100.0/24".parse().expect("a network");
    (listed.allow, listed.sources) =
        (vec![network], vec![crate::config::Source { transport: None, network, port: None }]);
    let mut bench = Bench::with(listed);
    bench.receive(&invite("a", "c1", 1));
    assert_eq!(bench.said(), ["100"]);
}

const CALLEE: &str = "203.0.113.5:5060";

/// A call of ours with credentials, or without.
fn calling(login: Option<Login>) -> (Bench, DialogId, Request) {
    let mut bench = Bench::new();
    let call = OutgoingInvite {
        listener: ListenerId(0),
        target: CALLEE.parse().expect("an address"),
        request_uri: "sip:1000@203.0.113.5".into(),
        from: "<sip:0806@192.0.2.10>".into(),
        to: "<sip:1000@203.0.113.5>".into(),
        headers: vec![("X-UUI".into(), "7".into())],
        sdp: Some(b"v=0\r\n".to_vec()),
        ways: Ways { login: login.map(Into::into), ..Ways::default() },
    };
    let dialog = bench.endpoint.invite(bench.now, call);
    bench.drain();
    let (_, invite) = bench.request();
    (bench, dialog, invite)
}

fn last_request(bench: &mut Bench) -> Request {
    let (_, request) = bench.request();
    request
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers.get(name).unwrap_or_default()
}

/// Whether a request's credentials are those of `pbx1` with this password.
fn proves(request: &Request, name: &str, password: &str) -> bool {
    let credentials = request.headers.get(name).and_then(crate::sip::digest::Credentials::parse);
    credentials.is_some_and(|own| own.are_of(&login(password), request.method.as_str(), &request.body))
}

#[test]
fn sip_094_a_407_is_answered_once_with_the_topmost_supported_challenge() {
    let (mut bench, _, first) = calling(Some(login("s3cret")));
    let ask = "Proxy-Authenticate: Basic realm=\"x\"\r\nProxy-Authenticate: Digest realm=\"x\", nonce=\"n0\", algorithm=SHA3\r\n\
               Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", algorithm=SHA-256, qop=\"auth\"\r\n\
               Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", algorithm=MD5, qop=\"auth\"";
    bench.receive_from(CALLEE, &reply(&first, 407, "t1", ask));
    assert_eq!(bench.sent.len(), 2, "ACK and INVITE");
    let again = last_request(&mut bench);
    assert!(proves(&again, "Proxy-Authorization", "s3cret"));
    assert!(header(&again, "Proxy-Authorization").contains("algorithm=SHA-256, "), "{again:?}");
    assert_eq!((header(&first, "CSeq"), header(&again, "CSeq")), ("1 INVITE", "2 INVITE"));
    for same in ["Call-ID", "From", "To", "X-UUI", "Content-Type"] {
        assert_eq!(header(&first, same), header(&again, same), "{same}");
    }
    assert!(header(&first, "Via") != header(&again, "Via") && first.body == again.body && first.uri == again.uri);
    bench.receive_from(CALLEE, &reply(&again, 407, "t2", &ask.replace("n1", "n2")));
    assert_eq!((bench.said(), bench.happened()), (vec!["ACK".to_owned()], vec!["Rejected".into(), "Ended".to_owned()]));
}

#[test]
fn sip_094_one_stale_nonce_is_forgiven_and_a_proxy_and_its_pbx_may_both_ask() {
    let (mut bench, _, first) = calling(Some(login("s3cret")));
    let proxy = "Proxy-Authenticate: Digest realm=\"proxy\", nonce=\"p1\", qop=\"auth\"";
    bench.receive_from(CALLEE, &reply(&first, 407, "t1", proxy));
    let second = last_request(&mut bench);
    let ask = |nonce: &str, rest: &str| {
        format!("WWW-Authenticate: Digest realm=\"pbx\", nonce=\"{nonce}\"{rest}, qop=\"auth-int\"")
    };
    bench.receive_from(CALLEE, &reply(&second, 401, "t2", &ask("n1", "")));
    let third = last_request(&mut bench);
    assert!(proves(&third, "Authorization", "s3cret") && proves(&third, "Proxy-Authorization", "s3cret"));
    assert!(header(&third, "Authorization").contains("qop=auth-int"), "{third:?}");
    bench.receive_from(CALLEE, &reply(&third, 401, "t3", &ask("n2", ", stale=TRUE")));
    let fourth = last_request(&mut bench);
    assert_eq!(header(&fourth, "CSeq"), "4 INVITE");
    assert!(header(&fourth, "Authorization").contains("nonce=\"n2\""));
    bench.receive_from(CALLEE, &reply(&fourth, 401, "t4", &ask("n3", ", stale=true")));
    assert_eq!(bench.said(), ["ACK"], "once");
}

#[test]
fn sip_094_without_credentials_and_for_basic_a_challenge_is_a_refusal() {
    let digest = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\"";
    for (own, ask) in
        [(None, digest), (Some(login("x")), "WWW-Authenticate: Basic realm=\"pbx\""), (Some(login("x")), "")]
    {
        let (mut bench, _, first) = calling(own);
        bench.receive_from(CALLEE, &reply(&first, 401, "t1", ask));
        assert_eq!(
            (bench.said(), bench.happened()),
            (vec!["ACK".to_owned()], vec!["Rejected".into(), "Ended".to_owned()])
        );
    }
}

#[test]
fn sip_094_a_cancelled_invite_is_not_sent_again() {
    let (mut bench, dialog, first) = calling(Some(login("s3cret")));
    bench.receive_from(CALLEE, &reply(&first, 180, "t1", ""));
    bench.endpoint.cancel(bench.now, dialog, Vec::new());
    bench.drain();
    bench.said();
    bench.receive_from(
        CALLEE,
        &reply(&first, 401, "t1", "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n\", qop=\"auth\""),
    );
    assert_eq!(bench.said(), ["ACK"]);
    assert_eq!(bench.happened(), ["Provisional", "Rejected", "Ended"]);
}

#[test]
fn sip_094_reinvite_and_bye_are_sent_again_too() {
    let ask = "WWW-Authenticate: Digest realm=\"pbx\", nonce=\"n1\", qop=\"auth\"";
    let (mut bench, dialog, first) = calling(Some(login("s3cret")));
    bench.receive_from(CALLEE, &reply(&first, 200, "t1", "Content-Type: application/sdp\r\n\r\nv=0\r\n"));
    bench.sent.clear();
    assert!(bench.endpoint.reinvite(bench.now, dialog, Some(b"v=1".to_vec())));
    bench.drain();
    let reinvite = last_request(&mut bench);
    bench.receive_from(CALLEE, &reply(&reinvite, 401, "", ask));
    let again = last_request(&mut bench);
    assert!(proves(&again, "Authorization", "s3cret") && header(&again, "CSeq") == "3 INVITE");
    bench.receive_from(CALLEE, &reply(&again, 200, "", "Content-Type: application/sdp\r\n\r\nv=0\r\n"));
    assert_eq!(header(&last_request(&mut bench), "CSeq"), "3 ACK");
    assert_eq!(bench.happened(), ["Answered", "ReinviteAnswered"]);
    assert!(bench.endpoint.bye(bench.now, dialog, Vec::new()));
    bench.drain();
    let bye = last_request(&mut bench);
    bench.receive_from(CALLEE, &reply(&bye, 407, "", &ask.replace("WWW-", "Proxy-")));
    let again = last_request(&mut bench);
    assert!(proves(&again, "Proxy-Authorization", "s3cret") && header(&again, "CSeq") == "5 BYE");
    assert!(bench.happened().is_empty(), "not over yet");
    bench.receive_from(CALLEE, &reply(&again, 200, "", ""));
    assert_eq!(bench.happened(), ["Ended"]);
}
