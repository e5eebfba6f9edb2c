//! INVITEs that take the place of calls.

use super::calling::reply;
use crate::sip::endpoint::testing::{Bench, in_dialog, invite, request, tag_of};
use crate::sip::{Availability, Event};

/// An INVITE of another dialog with these header lines.
fn replacing(branch: &str, lines: &str) -> String {
    invite(branch, &format!("c-{branch}"), 1).replace("Content-Type:", &format!("{lines}Content-Type:"))
}

fn code(bench: &mut Bench, text: &str) -> u16 {
    bench.receive(text);
    bench.response().code
}

#[test]
fn sip_105_the_new_call_gets_its_200_then_the_old_one_its_bye() {
    let mut bench = Bench::new();
    let (old, tag) = bench.answered();
    bench.endpoint.set_availability(Availability::Unavailable(super::super::TOO_FAST));
    bench.receive(&replacing("r1", &format!("Replaces: c1;to-tag={tag};from-tag=peer\r\nRequire: replaces\r\n")));
    assert_eq!(bench.said(), ["100"], "also where no new call would be taken");
    let Some(Event::Invite { dialog, invite }) = bench.events.pop() else { panic!("no INVITE") };
    assert_eq!(invite.replaces, Some(old));
    assert!(bench.endpoint.answer(bench.now, dialog, Some(b"v=0".to_vec())));
    bench.drain();
    let (_, bye) = bench.request();
    assert_eq!((bye.method.as_str(), bye.headers.get("Call-ID")), ("BYE", Some("c1")));
    assert_eq!(bye.headers.get("Reason"), Some("Q.850;cause=16;text=\"replaced\""));
    bench.receive(&reply(&bye, 200, "", ""));
    assert_eq!(bench.events.pop().map(|event| event.dialog()), Some(old));
}

#[test]
fn sip_105_what_cannot_be_replaced_is_refused_by_the_rfcs_code_and_nothing_changes() {
    let mut bench = Bench::new();
    let (_, tag) = bench.answered();
    let good = format!("Replaces: c1;to-tag={tag};from-tag=peer");
    for (n, (lines, expected)) in [
        (format!("{good};early-only\r\n"), 486),
        (format!("{good}\r\n{good}\r\n"), 400),
        ("Replaces: c1;to-tag=x\r\n".to_owned(), 400),
        (good.replace("c1", "c9") + "\r\n", 481),
        (good.replace("peer", "other") + "\r\n", 481),
        (good.replace(&tag, "other") + "\r\n", 481),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(code(&mut bench, &replacing(&format!("r{n}"), &lines)), expected, "{lines}");
    }
    assert_eq!(code(&mut bench, &request("OPTIONS", "o1", "c3", 1, &good)), 400);
    assert_eq!(code(&mut bench, &in_dialog("UPDATE", "u1", 2, &tag, &good)), 400);
    assert_eq!(bench.happened(), [""; 0]);
    assert_eq!(code(&mut bench, &in_dialog("BYE", "b1", 3, &tag, "")), 200);
    assert_eq!(code(&mut bench, &replacing("r9", &format!("{good}\r\n"))), 603);
}

#[test]
fn sip_105_a_call_that_nobody_answered_is_not_replaced() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.ring(bench.now, dialog);
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    let lines = format!("Replaces: c1;to-tag={tag};from-tag=peer\r\n");
    assert_eq!(code(&mut bench, &replacing("r1", &lines)), 481);
}

#[test]
fn sip_105_a_replacement_that_is_refused_or_cancelled_leaves_the_old_call_as_it_is() {
    let mut bench = Bench::new();
    let (old, tag) = bench.answered();
    let invite = replacing("r1", &format!("Replaces: c1;to-tag={tag};from-tag=peer\r\n"));
    bench.receive(&invite);
    let new = bench.events.pop().expect("an INVITE").dialog();
    bench.receive(&request("CANCEL", "r1", "c-r1", 1, ""));
    assert_eq!(bench.said(), ["100", "200", "487"]);
    assert!(!bench.endpoint.answer(bench.now, new, None));
    bench.drain();
    assert_eq!(bench.said(), [""; 0]);
    assert!(bench.endpoint.bye(bench.now, old, Vec::new()), "it is still up");
}

#[test]
fn sip_014_extensions_that_are_there_are_listed_and_may_be_required() {
    let mut bench = Bench::new();
    bench.receive(&request("OPTIONS", "o1", "c3", 1, "Require: Replaces, uui, norefersub"));
    let response = bench.response();
    assert_eq!(
        (response.code, response.headers.get("Supported")),
        (200, Some("100rel, timer, replaces, norefersub, uui"))
    );
    bench.receive(&request("OPTIONS", "o2", "c4", 1, "Require: uui, sec-agree"));
    assert_eq!(bench.response().headers.get("Unsupported"), Some("sec-agree"));
}
