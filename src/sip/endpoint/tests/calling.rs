//! Calls that go out.

use crate::sip::endpoint::testing::Bench;
use crate::sip::message::{Request, phrase};
use crate::sip::{DialogId, Event, ListenerId, OutgoingInvite, Reason, Trunks, Ways};

/// A response to a request of ours.
pub fn reply(request: &Request, code: u16, tag: &str, rest: &str) -> String {
    let header = |name| request.headers.get(name).unwrap_or_default();
    let to = if tag.is_empty() { header("To").to_owned() } else { format!("{};tag={tag}", header("To")) };
    let (lines, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
    let lines = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
    format!(
        "SIP/2.0 {code} {}\r\nVia: {};received=192.0.2.10\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
         Contact: <sip:callee@203.0.113.5:5080>\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        phrase(code),
        header("Via"),
        header("From"),
        header("Call-ID"),
        header("CSeq"),
        body.len()
    )
}

pub const CALLEE: &str = "203.0.113.5:5060";
pub const SDP: &str = "Content-Type: application/sdp\r\n\r\nv=0\r\n";

/// A bench that knows no trunk, as the test PBX has none, and its call.
pub fn calling(sdp: Option<&[u8]>) -> (Bench, DialogId, Request) {
    let mut bench = Bench::new();
    bench.endpoint.set_trunks(Trunks::default());
    let dialog = bench.endpoint.invite(
        bench.now,
        OutgoingInvite {
            listener: ListenerId(0),
            target: CALLEE.parse().expect("an address"),
            request_uri: "sip:1000@203.0.113.5".into(),
            from: "\"Lab\" <sip:0806@192.0.2.10>".into(),
            to: "<sip:1000@203.0.113.5>".into(),
            headers: vec![("X-UUI".into(), "7".into())],
            sdp: sdp.map(<[u8]>::to_vec),
            ways: Ways::default(),
        },
    );
    bench.drain();
    let (to, invite) = bench.request();
    assert_eq!(to.to_string(), CALLEE);
    (bench, dialog, invite)
}

/// A call that was answered; its dialog and the INVITE.
pub fn up() -> (Bench, DialogId, Request) {
    let (mut bench, dialog, invite) = calling(Some(b"v=0"));
    bench.receive_from(CALLEE, &reply(&invite, 200, "t1", SDP));
    assert_eq!((bench.said(), bench.happened()), (vec!["ACK".to_owned()], vec!["Answered".to_owned()]));
    (bench, dialog, invite)
}

/// A request of the callee in the dialog of `invite`.
pub fn from_callee(invite: &Request, method: &str, cseq: u32, rest: &str) -> String {
    let header = |name| invite.headers.get(name).unwrap_or_default();
    let (lines, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
    let lines = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
    format!(
        "{method} sip:192.0.2.10:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.5;branch=z9hG4bK{method}{cseq}\r\n\
         From: {};tag=t1\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        header("To"),
        header("From"),
        header("Call-ID"),
        body.len()
    )
}

fn sent_at(bench: &mut Bench, what: &str, until_ms: u128) -> Vec<u128> {
    let mut times = Vec::new();
    while bench.elapsed() < until_ms {
        bench.wait(100);
        times.extend(bench.said().iter().filter(|said| *said == what).map(|_| bench.elapsed()));
    }
    times
}

#[test]
fn timer_a_doubles_and_timer_b_gives_up_at_32_s() {
    let (mut bench, _, _) = calling(Some(b"v=0"));
    assert_eq!(sent_at(&mut bench, "INVITE", 40_000), [500, 1500, 3500, 7500, 15_500, 31_500]);
    let Event::Rejected { code, phrase, .. } = &bench.events[0] else { panic!("not rejected") };
    assert_eq!((*code, phrase.as_str()), (408, "Request Timeout"));
    assert_eq!(bench.happened(), ["Rejected", "Ended"]);
    bench.wait(40_000);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn an_answered_call_sends_one_ack_and_the_same_again_for_each_copy_of_the_200() {
    let (mut bench, _, invite) = calling(Some(b"v=0"));
    assert_eq!(
        (invite.headers.get("x-uui"), invite.headers.get("Supported")),
        (Some("7"), Some("100rel, timer, replaces, norefersub, uui"))
    );
    bench.receive_from(CALLEE, &reply(&invite, 100, "", ""));
    bench.receive_from(CALLEE, &reply(&invite, 180, "t1", ""));
    let ok = reply(&invite, 200, "t1", &format!("Record-Route: <sip:203.0.113.8;lr>, <sip:203.0.113.7;lr>\r\n{SDP}"));
    bench.receive_from(CALLEE, &ok);
    let first = bench.request();
    assert_eq!(
        (first.0.to_string().as_str(), first.1.uri.as_str()),
        ("203.0.113.7:5060", "sip:callee@203.0.113.5:5080")
    );
    let routes: Vec<_> = first.1.headers.get_all("Route").collect();
    assert_eq!(routes, ["<sip:203.0.113.7;lr>", "<sip:203.0.113.8;lr>"], "SIP-050: reversed");
    assert_eq!(first.1.headers.get("CSeq"), Some("1 ACK"));
    assert_ne!(first.1.headers.get("Via"), invite.headers.get("Via"));
    bench.receive_from(CALLEE, &ok);
    assert_eq!(bench.request(), first);
    bench.wait(33_000);
    bench.receive_from(CALLEE, &ok);
    assert_eq!(bench.request(), first, "after timer M too");
    assert_eq!(bench.happened(), ["Provisional", "Answered"]);
}

#[test]
fn a_refused_call_acks_in_its_transaction_and_again_for_copies() {
    let (mut bench, _, invite) = calling(Some(b"v=0"));
    let busy = reply(&invite, 486, "t1", "Reason: Q.850;cause=17");
    bench.receive_from(CALLEE, &busy);
    let (_, ack) = bench.request();
    assert_eq!(ack.headers.get("Via"), invite.headers.get("Via"));
    assert!(ack.headers.get("To").is_some_and(|to| to.ends_with(";tag=t1")));
    bench.receive_from(CALLEE, &busy);
    assert_eq!(bench.said(), ["ACK"]);
    let Event::Rejected { code: 486, reasons, .. } = &bench.events[0] else { panic!("not rejected") };
    assert_eq!(*reasons, [Reason::q850(17)]);
    assert_eq!(bench.happened(), ["Rejected", "Ended"]);
}

#[test]
fn sip_056_a_fork_that_answers_too_gets_ack_and_bye() {
    let (mut bench, _, invite) = up();
    let fork = reply(&invite, 200, "t2", SDP);
    bench.receive_from(CALLEE, &fork);
    let (_, bye) = bench.sent.last().cloned().map(|(to, _)| (to, bench.request().1)).expect("a BYE");
    assert_eq!(bye.method.as_str(), "BYE");
    assert!(bye.headers.get("To").is_some_and(|to| to.ends_with(";tag=t2")));
    bench.receive_from(CALLEE, &fork);
    assert_eq!(bench.said(), ["ACK"]);
    bench.receive_from(CALLEE, &reply(&bye, 200, "", ""));
    assert_eq!((bench.happened(), bench.endpoint.counts().dialogs), (Vec::<String>::new(), 1));
}

#[test]
fn cancel_waits_for_a_provisional_and_has_the_invites_branch() {
    let (mut bench, dialog, invite) = calling(Some(b"v=0"));
    assert!(bench.endpoint.cancel(bench.now, dialog, vec![Reason::q850(16)]));
    bench.drain();
    assert!(bench.sent.is_empty());
    bench.receive_from(CALLEE, &reply(&invite, 180, "t1", ""));
    let (_, cancel) = bench.request();
    assert_eq!((cancel.method.as_str(), cancel.headers.get("CSeq")), ("CANCEL", Some("1 CANCEL")));
    assert_eq!(cancel.headers.get("Via"), invite.headers.get("Via"));
    assert_eq!(cancel.headers.get("Reason"), Some("Q.850;cause=16"));
    assert!(!bench.endpoint.cancel(bench.now, dialog, Vec::new()));
    bench.receive_from(CALLEE, &reply(&cancel, 200, "t1", ""));
    bench.receive_from(CALLEE, &reply(&invite, 487, "t1", ""));
    assert_eq!(
        (bench.said(), bench.happened()),
        (vec!["ACK".to_owned()], vec!["Provisional".into(), "Rejected".into(), "Ended".into()])
    );
}

#[test]
fn a_200_that_crosses_our_cancel_gets_ack_and_bye() {
    let (mut bench, dialog, invite) = calling(Some(b"v=0"));
    bench.receive_from(CALLEE, &reply(&invite, 180, "t1", ""));
    bench.endpoint.cancel(bench.now, dialog, vec![Reason::q850(16)]);
    bench.receive_from(CALLEE, &reply(&invite, 200, "t1", SDP));
    let bye = bench.sent.last().cloned();
    assert_eq!(bench.said(), ["CANCEL", "ACK", "BYE"]);
    let Some((_, crate::sip::message::Message::Request(bye))) = bye else { panic!("no BYE") };
    bench.receive_from(CALLEE, &reply(&bye, 200, "", ""));
    assert_eq!(bench.happened(), ["Provisional", "Ended"]);
}

#[test]
fn a_call_without_final_response_ends_64_t1_after_its_cancel() {
    let (mut bench, dialog, invite) = calling(Some(b"v=0"));
    bench.receive_from(CALLEE, &reply(&invite, 180, "t1", ""));
    bench.wait(120_000);
    bench.endpoint.bye(bench.now, dialog, Vec::new());
    bench.wait(32_000);
    assert_eq!(bench.happened(), ["Provisional", "Rejected", "Ended"]);
    bench.said();
    bench.receive_from(CALLEE, &reply(&invite, 200, "t1", SDP));
    assert_eq!(bench.said(), ["ACK", "BYE"], "an answer after all");
    bench.wait(70_000);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn a_call_without_offer_puts_its_answer_into_the_ack() {
    let (mut bench, dialog, invite) = calling(None);
    let ok = reply(&invite, 200, "t1", SDP);
    bench.receive_from(CALLEE, &ok);
    bench.receive_from(CALLEE, &ok);
    assert!(bench.sent.is_empty());
    assert!(bench.endpoint.answer(bench.now, dialog, Some(b"v=9".to_vec())));
    bench.drain();
    assert_eq!(bench.request().1.body, b"v=9");
    bench.receive_from(CALLEE, &ok);
    assert_eq!(bench.request().1.body, b"v=9");
    assert_eq!(bench.happened(), ["Answered"]);
}

#[test]
fn the_callee_may_hang_up_ask_and_reinvite_without_a_trunk() {
    let (mut bench, dialog, invite) = up();
    bench.receive_from(CALLEE, &from_callee(&invite, "INFO", 1, "Content-Type: text/x\r\n\r\nhi"));
    bench.receive_from(CALLEE, &from_callee(&invite, "INVITE", 2, SDP));
    assert!(bench.endpoint.answer(bench.now, dialog, Some(b"v=2".to_vec())));
    bench.drain();
    assert_eq!(bench.said(), ["100", "200"]);
    bench.receive_from(CALLEE, &from_callee(&invite, "ACK", 2, ""));
    bench.receive_from(CALLEE, &from_callee(&invite, "BYE", 3, ""));
    assert_eq!(bench.happened(), ["Info", "Reinvite", "Acknowledged", "Bye", "Ended"]);
    assert_eq!(bench.said(), ["200", "487"], "the BYE, and the INFO that nobody answered");
    bench.receive_from(
        CALLEE,
        &from_callee(&invite, "INVITE", 1, SDP).replace(";tag=t1", "").replace("To: ", "To: <sip:x>,"),
    );
    assert_eq!(bench.happened(), [""; 0]);
}

#[test]
fn sip_073_a_reinvite_that_met_theirs_is_tried_again_after_2_to_4_s() {
    let (mut bench, dialog, _) = up();
    assert!(bench.endpoint.reinvite(bench.now, dialog, Some(b"v=3".to_vec())));
    assert!(!bench.endpoint.reinvite(bench.now, dialog, None));
    bench.drain();
    let (to, first) = bench.request();
    assert_eq!((to.to_string().as_str(), first.headers.get("CSeq")), ("203.0.113.5:5080", Some("2 INVITE")));
    bench.receive_from(CALLEE, &reply(&first, 491, "", ""));
    bench.said();
    bench.wait(2099);
    assert_eq!(bench.said(), [""; 0]);
    bench.wait(1901);
    let second = bench.sent.iter().find_map(|(_, message)| match message {
        crate::sip::message::Message::Request(request) => Some(request.clone()),
        crate::sip::message::Message::Response(_) => None,
    });
    let second = second.expect("tried again");
    assert_eq!((second.headers.get("CSeq"), second.body.as_slice()), (Some("3 INVITE"), &b"v=3"[..]));
    bench.sent.clear();
    bench.receive_from(CALLEE, &reply(&second, 200, "", SDP));
    assert_eq!((bench.said(), bench.happened()), (vec!["ACK".to_owned()], vec!["ReinviteAnswered".to_owned()]));
}

#[test]
fn a_reinvite_refused_with_481_ends_the_call_and_with_488_does_not() {
    let (mut bench, dialog, _) = up();
    for (code, expected) in [(488, vec!["ReinviteRejected"]), (481, vec!["ReinviteRejected"])] {
        bench.endpoint.reinvite(bench.now, dialog, Some(b"v=3".to_vec()));
        bench.drain();
        let (_, request) = bench.request();
        bench.receive_from(CALLEE, &reply(&request, code, "", ""));
        assert_eq!(bench.happened(), expected);
    }
    assert_eq!(bench.said(), ["ACK", "BYE"]);
}

#[test]
fn sip_042_a_reinvite_without_final_response_is_forgotten_with_its_call() {
    let (mut bench, dialog, _) = up();
    bench.endpoint.reinvite(bench.now, dialog, None);
    bench.drain();
    let (_, request) = bench.request();
    bench.receive_from(CALLEE, &reply(&request, 100, "", ""));
    bench.endpoint.bye(bench.now, dialog, Vec::new());
    bench.wait(70_000);
    assert!(bench.endpoint.counts().is_idle(), "{:?}", bench.endpoint.counts());
}

#[test]
fn timer_e_doubles_to_t2_and_timer_f_gives_up_at_32_s() {
    let (mut bench, dialog, _) = up();
    assert!(bench.endpoint.info(bench.now, dialog, "application/dtmf-relay", b"Signal=1".to_vec()));
    assert_eq!(
        sent_at(&mut bench, "INFO", 40_000)[1..],
        [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500]
    );
    assert!(matches!(bench.events[0], Event::InfoAnswered { code: 408, .. }));
}

#[test]
fn a_bye_nobody_answers_ends_the_dialog_after_32_s() {
    let (mut bench, dialog, _) = up();
    assert!(bench.endpoint.bye(bench.now, dialog, Vec::new()));
    assert_eq!(bench.happened(), [""; 0]);
    bench.wait(32_000);
    assert_eq!(bench.happened(), ["Ended"]);
    bench.wait(40_000);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn sip_002_an_oversize_request_is_sent_and_counted() {
    let (mut bench, _, _) = calling(Some(&[b'x'; 1300]));
    let count = bench.endpoint.take_counters().into_iter().find(|count| count.metric.name == "sip_oversize_udp_total");
    assert_eq!(count.map(|count| count.by), Some(1));
}
