//! What the peer asks inside a dialog.

use crate::sip::endpoint::testing::{Bench, in_dialog, invite, request, tag_of};
use crate::sip::{DialogId, Event, InfoAnswer, Reason, Rejection};

const SDP: &str = "Content-Type: application/sdp\r\n\r\nv=0\r\n";

fn code(bench: &mut Bench, text: &str) -> u16 {
    bench.receive(text);
    bench.response().code
}

#[test]
fn sip_039_unknown_dialogs_get_481_and_a_lower_cseq_500() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    assert_eq!(code(&mut bench, &in_dialog("BYE", "b1", 2, "other", "")), 481);
    assert_eq!(code(&mut bench, &in_dialog("BYE", "b2", 2, &tag, "").replace("tag=peer", "tag=else")), 481);
    assert_eq!(code(&mut bench, &request("BYE", "b3", "c1", 2, "")), 481);
    assert_eq!(code(&mut bench, &in_dialog("INFO", "i1", 9, &tag, "")), 200, "a gap is fine");
    assert_eq!(code(&mut bench, &in_dialog("INFO", "i2", 8, &tag, "")), 500);
    bench.receive(&in_dialog("ACK", "b4", 2, "other", ""));
    assert!(bench.sent.is_empty());
}

#[test]
fn sip_040_a_bye_again_is_answered_from_its_transaction_and_a_new_one_gets_481() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    let bye = in_dialog("BYE", "b1", 2, &tag, "Reason: Q.850;cause=16\r\nX-Last: 1");
    assert_eq!((code(&mut bench, &bye), code(&mut bench, &bye)), (200, 200));
    let Event::Bye { reasons, headers, .. } = &bench.events[0] else { panic!("no BYE") };
    assert_eq!((reasons.as_slice(), headers.get("x-last")), (&[Reason::q850(16)][..], Some("1")));
    assert_eq!(bench.happened(), ["Bye", "Ended"]);
    assert_eq!(code(&mut bench, &in_dialog("BYE", "b2", 3, &tag, "")), 481);
    assert_eq!(code(&mut bench, &in_dialog("INFO", "b3", 4, &tag, "")), 481);
    bench.wait(70_000);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn sip_040_byes_that_cross_each_other_both_get_200() {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    assert!(bench.endpoint.bye(bench.now, dialog, Vec::new()));
    bench.drain();
    let (_, ours) = bench.request();
    assert_eq!(code(&mut bench, &in_dialog("BYE", "b1", 2, &tag, "")), 200);
    assert_eq!(bench.happened(), ["Ended"]);
    bench.receive(&super::calling::reply(&ours, 481, "", ""));
    assert_eq!(bench.happened(), [""; 0]);
    bench.wait(6000);
    assert_eq!(bench.said(), [""; 0], "481 ends ours");
}

#[test]
fn sip_070_a_reinvite_is_answered_and_its_ack_awaited() {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    bench.receive(&in_dialog("INVITE", "r1", 2, &tag, SDP));
    assert!(matches!(&bench.events[0], Event::Reinvite { sdp: Some(_), .. }));
    bench.endpoint.answer(bench.now, dialog, Some(b"v=1".to_vec()));
    bench.drain();
    let response = bench.response();
    assert_eq!((response.code, tag_of(&response, "To")), (200, tag.clone()));
    assert_eq!(response.headers.get("Contact"), Some("<sip:192.0.2.10:5060;transport=udp>"));
    bench.wait(500);
    assert_eq!(bench.said(), ["200"]);
    bench.receive(&in_dialog("ACK", "r2", 2, &tag, ""));
    assert_eq!(bench.happened(), ["Reinvite", "Acknowledged"]);
    bench.wait(40_000);
    assert_eq!(bench.said(), [""; 0]);
}

#[test]
fn sip_071_the_ack_of_a_reinvite_without_offer_brings_the_answer() {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    bench.receive(&in_dialog("INVITE", "r1", 2, &tag, ""));
    assert!(matches!(&bench.events[0], Event::Reinvite { sdp: None, .. }));
    bench.endpoint.answer(bench.now, dialog, Some(b"v=1".to_vec()));
    bench.drain();
    assert_eq!(code(&mut bench, &in_dialog("INVITE", "r3", 3, &tag, SDP)), 491, "our offer is open (SIP-076)");
    assert_eq!(code(&mut bench, &in_dialog("UPDATE", "u3", 4, &tag, SDP)), 491);
    bench.receive(&in_dialog("ACK", "r2", 2, &tag, SDP));
    assert!(matches!(bench.events.last(), Some(Event::Acknowledged { sdp: Some(_), .. })));
}

fn retry_after(bench: &mut Bench, text: &str) -> u32 {
    bench.receive(text);
    let response = bench.response();
    assert_eq!(response.code, 500);
    response.headers.get("Retry-After").and_then(|seconds| seconds.parse().ok()).expect("seconds")
}

#[test]
fn sip_072_requests_that_meet_an_open_one_are_turned_away() {
    let mut bench = Bench::new();
    bench.invited();
    bench.said();
    bench.receive(&invite("a", "c1", 1));
    let dialog = DialogId(0);
    bench.endpoint.ring(bench.now, dialog);
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    assert!(retry_after(&mut bench, &in_dialog("INVITE", "r1", 2, &tag, SDP)) <= 10);
    assert!(retry_after(&mut bench, &in_dialog("UPDATE", "u1", 3, &tag, SDP)) <= 10);
    assert_eq!(code(&mut bench, &in_dialog("UPDATE", "u2", 4, &tag, "")), 200, "target refresh in the early dialog");
    bench.endpoint.answer(bench.now, dialog, None);
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    bench.receive(&in_dialog("UPDATE", "u3", 5, &tag, SDP));
    assert!(matches!(bench.events.last(), Some(Event::Update { sdp: Some(_), .. })));
    assert!(retry_after(&mut bench, &in_dialog("UPDATE", "u4", 6, &tag, "")) <= 10);
    assert!(retry_after(&mut bench, &in_dialog("INVITE", "r4", 7, &tag, SDP)) <= 10);
    assert!(bench.endpoint.answer(bench.now, dialog, Some(b"v=1".to_vec())));
    bench.drain();
    assert_eq!((bench.response().body.as_slice(), bench.endpoint.counts().dialogs), (&b"v=1"[..], 1));
    assert!(bench.endpoint.reinvite(bench.now, dialog, None));
    assert_eq!(code(&mut bench, &in_dialog("INVITE", "r5", 8, &tag, SDP)), 491);
    assert_eq!(code(&mut bench, &in_dialog("UPDATE", "u5", 9, &tag, SDP)), 491);
    assert_eq!(code(&mut bench, &in_dialog("UPDATE", "u6", 10, &tag, "")), 200);
}

#[test]
fn sip_074_sip_077_a_refused_reinvite_leaves_the_session_and_the_target_as_they_are() {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    bench.receive(&in_dialog("INVITE", "r1", 2, &tag, SDP).replace("0806@198.51.100.1:5060", "0806@198.51.100.9:5090"));
    let rejection = Rejection { warning: Some((305, "no codec".into())), ..Rejection::new(488) };
    assert!(bench.endpoint.reject(bench.now, dialog, rejection));
    bench.drain();
    assert_eq!(bench.response().headers.get("Warning"), Some("305 192.0.2.10 \"no codec\""));
    assert_eq!(bench.happened(), ["Reinvite"]);
    bench.endpoint.bye(bench.now, dialog, Vec::new());
    bench.drain();
    assert_eq!(bench.request().0.to_string(), "198.51.100.1:5060", "SIP-077");
}

#[test]
fn sip_050_an_accepted_reinvite_and_an_update_refresh_the_target() {
    for (method, sdp) in [("INVITE", SDP), ("UPDATE", "")] {
        let mut bench = Bench::new();
        let (dialog, tag) = bench.answered();
        bench.receive(
            &in_dialog(method, "r1", 2, &tag, sdp).replace("0806@198.51.100.1:5060", "0806@198.51.100.9:5090"),
        );
        bench.endpoint.answer(bench.now, dialog, None);
        bench.receive(&in_dialog("ACK", "k2", 2, &tag, ""));
        bench.endpoint.bye(bench.now, dialog, Vec::new());
        bench.drain();
        let (to, bye) = bench.request();
        assert_eq!((to.to_string().as_str(), bye.uri.as_str()), ("198.51.100.9:5090", "sip:0806@198.51.100.9:5090"));
    }
}

#[test]
fn sip_076_a_reinvite_before_the_ack_proves_that_the_2xx_arrived() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.answer(bench.now, dialog, Some(b"v=0".to_vec()));
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    bench.receive(&in_dialog("INVITE", "r1", 2, &tag, SDP));
    assert_eq!(bench.happened(), ["Acknowledged", "Reinvite"]);
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    bench.wait(40_000);
    assert_eq!((bench.said(), bench.happened()), (vec!["100".to_owned()], Vec::<String>::new()));
}

#[test]
fn sip_037_a_cancelled_reinvite_gets_487_and_the_call_goes_on() {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    bench.receive(&in_dialog("INVITE", "r1", 2, &tag, SDP));
    bench.said();
    bench.receive(&in_dialog("CANCEL", "r1", 2, &tag, ""));
    assert_eq!(bench.said(), ["200", "487"]);
    assert!(!bench.endpoint.answer(bench.now, dialog, None));
    assert_eq!((bench.happened(), bench.endpoint.counts().dialogs), (vec!["Reinvite".to_owned()], 1));
}

#[test]
fn bye_while_a_reinvite_waits_answers_both() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    bench.receive(&in_dialog("INVITE", "r1", 2, &tag, SDP));
    bench.said();
    bench.receive(&in_dialog("BYE", "b1", 3, &tag, ""));
    assert_eq!(bench.said(), ["200", "487"]);
}

#[test]
fn info_with_a_body_waits_for_its_answer_and_without_one_gets_200() {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    assert_eq!(code(&mut bench, &in_dialog("INFO", "i1", 2, &tag, "")), 200);
    let body = "Content-Type: application/dtmf-relay\r\n\r\nSignal=5\r\n";
    for (number, answer, expected) in
        [(3, InfoAnswer::Ok, 200), (4, InfoAnswer::UnsupportedMediaType, 415), (5, InfoAnswer::BadEvent, 469)]
    {
        let info = in_dialog("INFO", &format!("i{number}"), number, &tag, body);
        bench.receive(&info);
        bench.receive(&info);
        assert_eq!(bench.said(), [""; 0]);
        let Some(Event::Info { content_type, body, .. }) = bench.events.pop() else { panic!("no INFO") };
        assert_eq!((content_type.as_deref(), body.as_slice()), (Some("application/dtmf-relay"), &b"Signal=5\r\n"[..]));
        assert!(bench.endpoint.answer_info(bench.now, dialog, answer));
        bench.drain();
        assert_eq!(bench.response().code, expected);
    }
    assert!(!bench.endpoint.answer_info(bench.now, dialog, InfoAnswer::Ok));
    assert_eq!(code(&mut bench, &request("INFO", "o", "c9", 1, "")), 481);
}

#[test]
fn notify_without_a_subscription_is_refused_and_the_call_goes_on() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    assert_eq!(code(&mut bench, &in_dialog("NOTIFY", "n1", 2, &tag, "Event: talk")), 489);
    assert_eq!(code(&mut bench, &in_dialog("NOTIFY", "n2", 3, &tag, "o: refer;id=1")), 481);
    assert_eq!(code(&mut bench, &request("NOTIFY", "n3", "c9", 1, "Event: presence")), 489);
    assert_eq!(code(&mut bench, &in_dialog("OPTIONS", "n5", 5, &tag, "")), 200);
    assert_eq!(bench.endpoint.counts().dialogs, 1);
}

#[test]
fn sip_106_a_refer_of_the_peer_gets_405_in_and_outside_of_a_call_and_the_call_goes_on() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    let to = "Refer-To: <sip:2000@203.0.113.1>";
    bench.receive(&in_dialog("REFER", "n4", 2, &tag, to));
    let response = bench.response();
    assert_eq!(response.code, 405);
    assert!(response.headers.get("Allow").is_some_and(|allowed| !allowed.contains("REFER")));
    assert_eq!(code(&mut bench, &request("REFER", "n5", "c9", 1, to)), 405);
    assert_eq!(bench.happened(), [""; 0]);
    assert_eq!(code(&mut bench, &in_dialog("BYE", "n6", 3, &tag, "")), 200);
}

#[test]
fn sip_042_a_reinvite_of_ours_with_a_provisional_and_no_final_ends_with_its_dialog() {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    assert!(bench.endpoint.reinvite(bench.now, dialog, Some(b"v=1".to_vec())));
    bench.drain();
    let (_, reinvite) = bench.request();
    let header = |name: &str| reinvite.headers.get(name).unwrap_or_default().to_owned();
    let trying = format!(
        "SIP/2.0 100 Trying\r\nVia: {}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {}\r\n\r\n",
        header("Via"),
        header("From"),
        header("To"),
        header("Call-ID"),
        header("CSeq")
    );
    bench.receive(&trying);
    bench.receive(&in_dialog("BYE", "bye", 2, &tag, ""));
    assert_eq!(bench.endpoint.counts().invite_clients, 1, "it may still be answered");
    bench.wait(100_000);
    assert!(bench.endpoint.counts().is_idle(), "{:?}", bench.endpoint.counts());
}
