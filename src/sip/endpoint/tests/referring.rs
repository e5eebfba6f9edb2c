//! Transfers we ask for, and every way they end.

use std::time::Duration;

use super::calling::reply;
use crate::sip::endpoint::testing::{Bench, in_dialog, tag_of};
use crate::sip::message::Request;
use crate::sip::{DialogId, Event, Refer, ReferFailure, ReferTarget};

pub fn refer() -> Refer {
    let to = ReferTarget::new("sip:2000@198.51.100.1").expect("a URI");
    Refer { to: to.header("User-to-User", "0048;encoding=hex"), timeout: Duration::from_secs(60) }
}

/// An answered call whose REFER is out.
fn referring() -> (Bench, DialogId, String, Request) {
    let mut bench = Bench::new();
    let (dialog, tag) = bench.answered();
    assert!(bench.endpoint.refer(bench.now, dialog, refer()));
    bench.drain();
    let (_, request) = bench.request();
    (bench, dialog, tag, request)
}

/// The same, accepted.
fn accepted() -> (Bench, DialogId, String, Request) {
    let (mut bench, dialog, tag, request) = referring();
    bench.receive(&reply(&request, 202, "", ""));
    assert_eq!(bench.happened(), [""; 0]);
    (bench, dialog, tag, request)
}

/// A NOTIFY and the code it gets.
fn notify(bench: &mut Bench, tag: &str, cseq: u32, state: &str, fragment: &str) -> u16 {
    let rest = format!(
        "Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag;version=2.0\r\n\r\n{fragment}\r\n"
    );
    bench.receive(&in_dialog("NOTIFY", &format!("n{cseq}"), cseq, tag, &rest));
    bench.response().code
}

fn failure(bench: &mut Bench) -> ReferFailure {
    match bench.events.drain(..).next_back() {
        Some(Event::ReferFailed { failure, .. }) => failure,
        other => panic!("no failure but {other:?}"),
    }
}

#[test]
fn sip_100_a_refer_has_one_refer_to_referred_by_contact_and_norefersub() {
    let (_, _, tag, request) = referring();
    let all = |name| request.headers.get_all(name).collect::<Vec<_>>();
    assert_eq!(all("Refer-To"), ["<sip:2000@198.51.100.1?User-to-User=0048%3Bencoding%3Dhex>"]);
    assert_eq!(all("Referred-By"), ["<sip:1000@192.0.2.10>"]);
    assert_eq!(all("Contact"), ["<sip:192.0.2.10:5060;transport=udp>"]);
    assert_eq!(all("Supported"), ["norefersub"]);
    assert_eq!((request.uri.as_str(), all("CSeq")), ("sip:0806@198.51.100.1:5060", vec!["1 REFER"]));
    assert!(request.headers.get("From").is_some_and(|from| from.ends_with(&format!("tag={tag}"))));
}

#[test]
fn sip_102_notifies_are_answered_and_tell_progress_then_success() {
    for code in [200, 202] {
        let (mut bench, _, tag, request) = referring();
        bench.receive(&reply(&request, code, "", ""));
        assert_eq!(notify(&mut bench, &tag, 2, "active;expires=60", "SIP/2.0 100 Trying"), 200);
        assert_eq!(notify(&mut bench, &tag, 3, "active", "SIP/2.0 180 Ringing"), 200);
        assert_eq!(bench.happened(), ["ReferProgress", "ReferProgress"]);
        assert_eq!(notify(&mut bench, &tag, 4, "terminated;reason=noresource", "SIP/2.0 200 OK"), 200);
        assert_eq!(bench.happened(), ["ReferSucceeded"]);
        bench.receive(&in_dialog("BYE", "b1", 5, &tag, ""));
        assert_eq!(bench.happened(), ["Bye", "Ended"]);
        bench.wait(70_000);
        assert!(bench.endpoint.counts().is_idle());
    }
}

#[test]
fn sip_102_a_notify_may_come_before_the_response_to_the_refer() {
    let (mut bench, _, tag, request) = referring();
    assert_eq!(notify(&mut bench, &tag, 2, "terminated", "SIP/2.0 200 OK"), 200);
    assert_eq!(bench.happened(), ["ReferSucceeded"]);
    bench.receive(&reply(&request, 202, "", ""));
    assert_eq!(bench.happened(), [""; 0]);
}

#[test]
fn sip_102_a_bye_after_the_2xx_is_success_and_before_it_is_not() {
    let (mut bench, _, tag, _) = accepted();
    bench.receive(&in_dialog("BYE", "b1", 2, &tag, ""));
    assert_eq!(bench.happened(), ["ReferSucceeded", "Bye", "Ended"]);
    let (mut bench, _, tag, request) = referring();
    bench.receive(&in_dialog("BYE", "b1", 2, &tag, ""));
    assert_eq!(bench.happened(), ["Bye", "Ended"]);
    bench.receive(&reply(&request, 202, "", ""));
    assert_eq!(bench.happened(), [""; 0], "nothing follows Ended");
}

#[test]
fn sip_102_refer_sub_false_is_success_on_2xx() {
    let (mut bench, _, _, request) = referring();
    bench.receive(&reply(&request, 200, "", "Refer-Sub: FALSE"));
    assert_eq!(bench.happened(), ["ReferSucceeded"]);
    let (mut bench, _, _, request) = referring();
    bench.receive(&reply(&request, 202, "", "Refer-Sub: true"));
    assert_eq!(bench.happened(), [""; 0]);
}

#[test]
fn sip_102_a_subscription_that_ends_without_a_result_has_failed_after_2_s() {
    let (mut bench, _, tag, _) = accepted();
    assert_eq!(notify(&mut bench, &tag, 2, "terminated;reason=timeout", "SIP/2.0 100 Trying"), 200);
    bench.wait(1990);
    assert_eq!(bench.happened(), ["ReferProgress"]);
    bench.wait(20);
    assert_eq!(failure(&mut bench), ReferFailure::Silent);
    let (mut bench, _, tag, _) = accepted();
    notify(&mut bench, &tag, 2, "terminated", "");
    bench.wait(1000);
    bench.receive(&in_dialog("BYE", "b1", 3, &tag, ""));
    assert_eq!(bench.happened(), ["ReferSucceeded", "Bye", "Ended"], "the BYE was on its way");
}

#[test]
fn sip_103_every_failure_is_told_once_and_the_dialog_goes_on() {
    let (mut bench, dialog, tag, request) = referring();
    bench.receive(&reply(&request, 603, "", ""));
    assert_eq!(failure(&mut bench), ReferFailure::Refused(603));
    assert_eq!(notify(&mut bench, &tag, 2, "terminated", "SIP/2.0 200 OK"), 200, "it belongs to the old REFER");
    assert_eq!(bench.happened(), [""; 0]);
    assert!(bench.endpoint.refer(bench.now, dialog, refer()), "another one may be tried");
    bench.drain();
    let (_, again) = bench.request();
    bench.receive(&reply(&again, 202, "", ""));
    assert_eq!(notify(&mut bench, &tag, 3, "terminated", "SIP/2.0 486 Busy Here"), 200);
    assert_eq!(failure(&mut bench), ReferFailure::Reported(486));
    bench.wait(70_000);
    assert_eq!(bench.happened(), [""; 0]);
    assert!(bench.endpoint.bye(bench.now, dialog, Vec::new()));
}

#[test]
fn sip_103_no_answer_is_a_refusal_and_no_result_within_the_timeout_a_failure() {
    let (mut bench, _, _, _) = referring();
    bench.wait(31_990);
    assert_eq!(bench.happened(), [""; 0]);
    bench.wait(20);
    assert_eq!(failure(&mut bench), ReferFailure::Refused(408));
    let (mut bench, dialog, tag, _) = accepted();
    notify(&mut bench, &tag, 2, "active", "SIP/2.0 180 Ringing");
    assert!(!bench.endpoint.refer(bench.now, dialog, refer()), "one at a time");
    bench.events.clear();
    bench.wait(59_990);
    assert_eq!(bench.happened(), [""; 0]);
    bench.wait(20);
    assert_eq!(failure(&mut bench), ReferFailure::TimedOut);
}

#[test]
fn sip_100_a_refer_waits_for_the_ack_of_our_200() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    assert!(!bench.endpoint.refer(bench.now, dialog, refer()), "not answered");
    bench.endpoint.answer(bench.now, dialog, Some(b"v=0".to_vec()));
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    assert!(bench.endpoint.refer(bench.now, dialog, refer()));
    assert!(!bench.endpoint.refer(bench.now, dialog, refer()), "one at a time");
    bench.drain();
    assert_eq!(bench.said(), [""; 0]);
    bench.receive(&in_dialog("ACK", "ack1", 1, &tag, ""));
    assert_eq!(bench.said(), ["REFER"]);
}

#[test]
fn sip_102_notifies_after_the_bye_still_get_200_and_unasked_ones_481() {
    let (mut bench, dialog, tag, _) = accepted();
    let other = "Event: refer;id=77\r\nSubscription-State: active\r\n\r\nSIP/2.0 200 OK\r\n";
    bench.receive(&in_dialog("NOTIFY", "x1", 2, &tag, other));
    assert_eq!(bench.response().code, 481);
    assert!(bench.endpoint.bye(bench.now, dialog, Vec::new()));
    bench.drain();
    let (_, bye) = bench.request();
    assert_eq!(notify(&mut bench, &tag, 3, "active", "SIP/2.0 180 Ringing"), 200);
    bench.receive(&reply(&bye, 200, "", ""));
    assert_eq!(notify(&mut bench, &tag, 4, "terminated", "SIP/2.0 200 OK"), 200);
    assert_eq!(bench.happened(), ["Ended"]);
    bench.wait(70_000);
    assert!(bench.endpoint.counts().is_idle());
}
