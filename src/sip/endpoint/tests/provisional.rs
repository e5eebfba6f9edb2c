//! Reliable provisional responses (RFC 3262), ours and theirs.

use super::calling::{CALLEE, SDP, calling, from_callee, reply};
use crate::config::Trunk;
use crate::sip::endpoint::testing::{Bench, in_dialog, invite, request, tag_of, trunk};
use crate::sip::message::{Message, Response};
use crate::sip::{DialogId, Event, Reason, Rejection};

const ANSWER: &[u8] = b"v=0";

/// An INVITE that says `Require` or `Supported: 100rel`; its dialog.
fn invited_with(bench: &mut Bench, header: &str, text: &str) -> DialogId {
    bench.receive(&text.replace("Max-Forwards", &format!("{header}: timer, 100rel\r\nMax-Forwards")));
    bench.sent.clear();
    bench.events.drain(..).next_back().expect("an INVITE").dialog()
}

fn required(bench: &mut Bench) -> DialogId {
    invited_with(bench, "Require", &invite("a", "c1", 1))
}

fn late(bench: &mut Bench) -> DialogId {
    invited_with(bench, "Require", &request("INVITE", "a", "c1", 1, ""))
}

/// Sends a reliable provisional response; it, its number and our tag.
fn progress(bench: &mut Bench, dialog: DialogId, code: u16, sdp: Option<&[u8]>) -> (Response, u32, String) {
    assert!(bench.endpoint.progress(bench.now, dialog, code, sdp.map(<[u8]>::to_vec)));
    bench.drain();
    described(bench)
}

fn described(bench: &mut Bench) -> (Response, u32, String) {
    let response = bench.response();
    assert_eq!(response.headers.get("Require"), Some("100rel"));
    let rseq = response.headers.get("RSeq").and_then(|rseq| rseq.parse().ok()).expect("a number");
    let tag = tag_of(&response, "To");
    (response, rseq, tag)
}

fn prack(branch: &str, cseq: u32, tag: &str, rseq: u32, body: &str) -> String {
    let body = if body.is_empty() { String::new() } else { format!("\r\nContent-Type: application/sdp\r\n\r\n{body}") };
    in_dialog("PRACK", branch, cseq, tag, &format!("RAck: {rseq} 1 INVITE{body}"))
}

#[test]
fn sip_062_a_required_18x_is_sent_at_t1_doubling_without_the_t2_cap_until_its_prack() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (ringing, rseq, tag) = progress(&mut bench, dialog, 180, None);
    assert!((1..1 << 31).contains(&rseq) && ringing.headers.has("Contact"));
    assert_eq!(ringing.headers.get("Supported"), Some("100rel, timer, replaces, norefersub, uui"));
    let mut times = Vec::new();
    while bench.elapsed() < 20_000 {
        bench.wait(100);
        times.extend(bench.said().iter().map(|said| (said.clone(), bench.elapsed())));
    }
    assert_eq!(times, [500, 1500, 3500, 7500, 15_500].map(|ms| ("180".to_owned(), ms)));
    bench.receive(&prack("p1", 2, &tag, rseq, ""));
    assert_eq!(bench.said(), ["200"]);
    bench.wait(39_000);
    assert_eq!(bench.said(), [""; 0]);
    bench.wait(1000);
    let (again, next, _) = described(&mut bench);
    assert_eq!((again.code, next), (180, rseq + 1), "SIP-041: after 60 s, with a number of its own");
}

#[test]
fn sip_062_without_a_prack_for_64_t1_the_invite_gets_504() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    progress(&mut bench, dialog, 180, None);
    bench.wait(31_999);
    assert_eq!((bench.said().last().map(String::as_str), bench.happened()), (Some("180"), Vec::new()));
    bench.wait(1);
    let refused = bench.response();
    assert_eq!((refused.code, refused.headers.get("Reason")), (504, Some("Q.850;cause=102;text=\"PRACK timeout\"")));
    assert_eq!(bench.happened(), ["PrackTimeout", "Ended"]);
    bench.wait(70_000);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn sip_062_supported_alone_is_not_reliable_except_where_the_trunk_says_so() {
    for (wanted, header, expected) in
        [(false, "Supported", false), (true, "Supported", true), (true, "X-Other", false), (false, "Require", true)]
    {
        let own = trunk("pbx", &["acc1"], "198.51.100.0/24");
        let mut bench = Bench::with(Trunk { reliable_provisionals: wanted, ..own });
        bench.receive(&invite("a", "c1", 1).replace("Max-Forwards", &format!("{header}: 100rel\r\nMax-Forwards")));
        let Event::Invite { dialog, invite } = &bench.events[0] else { panic!("no INVITE") };
        assert_eq!(invite.reliable_provisionals, expected, "{wanted} {header}");
        let dialog = *dialog;
        assert!(bench.sent.drain(..).all(|(_, message)| match message {
            Message::Response(trying) => trying.code == 100 && !trying.headers.has("RSeq"),
            Message::Request(_) => false,
        }));
        bench.endpoint.ring(bench.now, dialog);
        bench.drain();
        assert_eq!(bench.response().headers.has("RSeq"), expected, "{wanted} {header}");
    }
}

#[test]
fn sip_063_a_prack_with_the_wrong_rack_is_answered_481_and_one_without_400() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (_, rseq, tag) = progress(&mut bench, dialog, 180, None);
    let mut cseq = 1;
    let mut answer = |bench: &mut Bench, rack: &str| {
        cseq += 1;
        bench.receive(&in_dialog("PRACK", &format!("p{cseq}"), cseq, &tag, rack));
        bench.response().code
    };
    assert_eq!(answer(&mut bench, &format!("RAck: {} 1 INVITE", rseq + 1)), 481);
    assert_eq!(answer(&mut bench, &format!("RAck: {rseq} 2 INVITE")), 481);
    assert_eq!(answer(&mut bench, &format!("RAck: {rseq} 1 UPDATE")), 400);
    assert_eq!(answer(&mut bench, ""), 400);
    bench.wait(600);
    assert_eq!(bench.said(), ["180"], "none of them counts");
    assert_eq!(answer(&mut bench, &format!("RAck: {rseq} 1 INVITE")), 200);
    assert_eq!(answer(&mut bench, &format!("RAck: {rseq} 1 INVITE")), 481, "each counts once");
    bench.receive(&in_dialog("PRACK", "other", 2, "other", &format!("RAck: {rseq} 1 INVITE")));
    assert_eq!(bench.response().code, 481);
}

#[test]
fn sip_063_a_second_reliable_response_waits_for_the_prack_of_the_first() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (_, rseq, tag) = progress(&mut bench, dialog, 180, None);
    assert!(bench.endpoint.progress(bench.now, dialog, 183, Some(ANSWER.to_vec())));
    bench.drain();
    assert_eq!(bench.said(), [""; 0]);
    bench.receive(&prack("p1", 2, &tag, rseq, ""));
    let (session, next, _) = described(&mut bench);
    assert_eq!((session.code, next, session.body.as_slice()), (183, rseq + 1, ANSWER));
    bench.receive(&prack("p2", 3, &tag, rseq, ""));
    assert_eq!(bench.response().code, 481, "the first one's number again");
}

#[test]
fn sip_063_the_2xx_waits_for_the_prack_of_a_response_with_sdp_and_has_none_itself() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (_, rseq, tag) = progress(&mut bench, dialog, 183, Some(ANSWER));
    assert!(bench.endpoint.answer(bench.now, dialog, Some(ANSWER.to_vec())));
    assert!(!bench.endpoint.answer(bench.now, dialog, None), "it is on its way");
    assert!(!bench.endpoint.ring(bench.now, dialog));
    bench.wait(400);
    assert_eq!(bench.said(), [""; 0]);
    bench.receive(&prack("p1", 2, &tag, rseq, ""));
    let answer = bench.response();
    assert_eq!((answer.code, answer.headers.get("CSeq"), answer.body.len()), (200, Some("1 INVITE"), 0));
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    assert_eq!(bench.happened(), ["Acknowledged"]);
}

#[test]
fn sip_063_a_2xx_need_not_wait_for_a_response_without_sdp_and_its_late_prack_gets_200() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (_, rseq, tag) = progress(&mut bench, dialog, 180, None);
    bench.endpoint.progress(bench.now, dialog, 183, Some(ANSWER.to_vec()));
    assert!(bench.endpoint.answer(bench.now, dialog, Some(ANSWER.to_vec())));
    bench.drain();
    assert_eq!(bench.response().body, ANSWER, "the 183 that waited was never sent");
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    bench.wait(40_000);
    assert_eq!(bench.said(), [""; 0], "the 180 is not sent again");
    bench.receive(&prack("p1", 2, &tag, rseq, ""));
    bench.receive(&prack("p2", 3, &tag, rseq, ""));
    assert_eq!(bench.said(), ["200", "481"]);
}

#[test]
fn sip_063_a_refusal_need_not_wait_and_a_prack_after_it_gets_200() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (_, rseq, tag) = progress(&mut bench, dialog, 183, Some(ANSWER));
    assert!(bench.endpoint.reject(bench.now, dialog, Rejection::new(480)));
    bench.drain();
    assert_eq!((bench.said(), bench.happened()), (vec!["480".to_owned()], vec!["Ended".to_owned()]));
    bench.receive(&prack("p1", 2, &tag, rseq, "v=0\r\n"));
    bench.receive(&prack("p2", 3, &tag, rseq + 1, ""));
    assert_eq!(bench.said(), ["200", "481"]);
    bench.wait(70_000);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn a_call_that_is_hung_up_while_its_2xx_waits_is_answered_and_gets_its_bye() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (_, rseq, tag) = progress(&mut bench, dialog, 183, Some(ANSWER));
    bench.endpoint.answer(bench.now, dialog, None);
    assert!(bench.endpoint.bye(bench.now, dialog, vec![Reason::q850(16)]));
    bench.receive(&prack("p1", 2, &tag, rseq, ""));
    assert_eq!(bench.said(), ["200", "200"]);
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    assert_eq!(bench.request().1.headers.get("Reason"), Some("Q.850;cause=16"));
}

#[test]
fn sip_063_an_offer_in_the_prack_is_answered_in_its_200_and_the_2xx_waits_for_that() {
    for refused in [false, true] {
        let mut bench = Bench::new();
        let dialog = required(&mut bench);
        let (_, rseq, tag) = progress(&mut bench, dialog, 183, Some(ANSWER));
        bench.endpoint.answer(bench.now, dialog, None);
        bench.receive(&prack("p1", 2, &tag, rseq, "v=1\r\n"));
        assert!(matches!(&bench.events[0], Event::Update { sdp: Some(sdp), .. } if sdp == b"v=1\r\n"));
        bench.receive(&in_dialog("UPDATE", "u1", 3, &tag, SDP));
        assert_eq!(bench.said(), ["500"], "SIP-072: the offer in the PRACK has no answer yet");
        if refused {
            assert!(bench.endpoint.reject_update(bench.now, dialog, Rejection::new(488)));
        } else {
            assert!(bench.endpoint.answer_update(bench.now, dialog, Some(b"v=2".to_vec())));
        }
        bench.drain();
        let answers = bench.sent.drain(..).map(|(_, message)| match message {
            Message::Response(response) => {
                (response.code, response.headers.get("CSeq").unwrap_or_default().to_owned(), response.body)
            }
            Message::Request(request) => panic!("{request:?}"),
        });
        let (code, body) = if refused { (488, Vec::new()) } else { (200, b"v=2".to_vec()) };
        let expected = [(code, "2 PRACK".to_owned(), body), (200, "1 INVITE".to_owned(), Vec::new())];
        assert_eq!(answers.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn sip_063_an_offer_in_the_prack_of_a_response_without_sdp_comes_too_early() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (_, rseq, tag) = progress(&mut bench, dialog, 180, None);
    bench.receive(&prack("p1", 2, &tag, rseq, "v=1\r\n"));
    assert_eq!((bench.response().code, bench.happened()), (500, Vec::new()));
}

#[test]
fn sdp_013_a_late_offer_goes_out_in_the_183_and_its_prack_brings_the_answer() {
    let mut bench = Bench::new();
    let dialog = late(&mut bench);
    let (session, rseq, tag) = progress(&mut bench, dialog, 183, Some(b"v=7"));
    assert_eq!(session.body, b"v=7");
    bench.endpoint.answer(bench.now, dialog, None);
    bench.receive(&in_dialog("UPDATE", "u1", 2, &tag, SDP));
    assert_eq!(bench.said(), ["491"], "SIP-072: our offer is open");
    bench.receive(&prack("p1", 3, &tag, rseq, "v=8\r\n"));
    assert!(matches!(&bench.events[0], Event::Pracked { sdp: Some(sdp), .. } if sdp == b"v=8\r\n"));
    assert_eq!(bench.response().body.len(), 0, "the 200 to the INVITE has no SDP any more");
    bench.receive(&in_dialog("INVITE", "r1", 4, &tag, SDP));
    assert_eq!(bench.said(), ["100"], "nothing of ours is open: SIP-076");
}

#[test]
fn an_unreliable_18x_never_carries_an_offer() {
    let mut bench = Bench::new();
    bench.receive(&request("INVITE", "a", "c1", 1, ""));
    let dialog = bench.events[0].dialog();
    bench.endpoint.progress(bench.now, dialog, 183, Some(b"v=7".to_vec()));
    bench.drain();
    assert_eq!(bench.response().body.len(), 0);
}

#[test]
fn sip_072_an_update_with_an_offer_is_served_once_a_reliable_response_has_answered_the_invites() {
    let mut bench = Bench::new();
    let dialog = required(&mut bench);
    let (_, rseq, tag) = progress(&mut bench, dialog, 183, Some(ANSWER));
    bench.receive(&prack("p1", 2, &tag, rseq, ""));
    bench.said();
    bench.receive(&in_dialog("UPDATE", "u1", 3, &tag, SDP));
    assert_eq!(bench.happened(), ["Update"]);
    assert!(bench.endpoint.answer(bench.now, dialog, None), "the 200 to the INVITE waits for it");
    assert!(bench.endpoint.answer_update(bench.now, dialog, Some(b"v=9".to_vec())));
    bench.drain();
    assert_eq!(bench.said(), ["200", "200"]);
}

// What follows is our own INVITE.

fn ringing(invite: &crate::sip::message::Request, rseq: u32, tag: &str, rest: &str) -> String {
    reply(invite, 183, tag, &format!("Require: 100rel\r\nRSeq: {rseq}\r\n{rest}"))
}

#[test]
fn sip_062_each_reliable_18x_is_pracked_in_order_and_gaps_and_copies_are_not() {
    let (mut bench, _, invite) = calling(Some(b"v=0"));
    assert_eq!(invite.headers.get("Supported"), Some("100rel, timer, replaces, norefersub, uui"));
    let route = "Record-Route: <sip:203.0.113.7;lr>\r\n";
    bench.receive_from(CALLEE, &ringing(&invite, 500, "t1", route));
    let (to, prack) = bench.request();
    assert_eq!((to.to_string().as_str(), prack.method.as_str()), ("203.0.113.7:5060", "PRACK"));
    assert_eq!((prack.uri.as_str(), prack.headers.get("CSeq")), ("sip:callee@203.0.113.5:5080", Some("2 PRACK")));
    assert_eq!(prack.headers.get("RAck"), Some("500 1 INVITE"));
    assert!(prack.headers.get("To").is_some_and(|to| to.ends_with(";tag=t1")));
    bench.receive_from(CALLEE, &reply(&prack, 200, "", ""));
    for wrong in [500, 502, 499] {
        bench.receive_from(CALLEE, &ringing(&invite, wrong, "t1", route));
    }
    assert_eq!((bench.said(), bench.happened()), (Vec::<String>::new(), vec!["Provisional".to_owned()]));
    bench.receive_from(CALLEE, &ringing(&invite, 501, "t1", route));
    assert_eq!(bench.request().1.headers.get("RAck"), Some("501 1 INVITE"));
    bench.receive_from(CALLEE, &ringing(&invite, 9, "t2", ""));
    let (to, fork) = bench.request();
    assert_eq!((to.to_string().as_str(), fork.headers.get("RAck")), ("203.0.113.5:5080", Some("9 1 INVITE")));
    assert!(fork.headers.get("To").is_some_and(|to| to.ends_with(";tag=t2")), "each callee counts for itself");
    bench.receive_from(CALLEE, &reply(&invite, 180, "t1", "RSeq: 502"));
    assert_eq!(bench.said(), [""; 0], "not required: not acknowledged");
}

#[test]
fn sip_062_sdp_in_a_reliable_18x_is_the_answer_and_that_of_the_2xx_is_not() {
    let (mut bench, _, invite) = calling(Some(b"v=0"));
    bench.receive_from(CALLEE, &ringing(&invite, 1, "t1", "Content-Type: application/sdp\r\n\r\nv=5\r\n"));
    assert!(matches!(&bench.events[0], Event::Provisional { sdp: Some(sdp), .. } if sdp == b"v=5\r\n"));
    bench.receive_from(CALLEE, &from_callee(&invite, "UPDATE", 1, SDP));
    assert!(matches!(bench.events[1], Event::Update { .. }), "offer and answer have met: RFC 3311 section 5.1");
    bench.endpoint.answer_update(bench.now, bench.events[1].dialog(), Some(b"v=6".to_vec()));
    bench.receive_from(CALLEE, &reply(&invite, 200, "t1", ""));
    assert!(matches!(&bench.events[2], Event::Answered { sdp: Some(sdp), .. } if sdp == b"v=5\r\n"));
    assert_eq!(bench.said(), ["PRACK", "200", "ACK"]);
}

#[test]
fn sip_062_an_offer_in_a_reliable_18x_is_answered_in_its_prack_and_not_in_the_ack() {
    let (mut bench, dialog, invite) = calling(None);
    let offer = ringing(&invite, 1, "t1", "Content-Type: application/sdp\r\n\r\nv=5\r\n");
    bench.receive_from(CALLEE, &offer);
    bench.receive_from(CALLEE, &offer);
    assert_eq!((bench.said(), bench.happened()), (Vec::<String>::new(), vec!["Provisional".to_owned()]));
    assert!(bench.endpoint.answer(bench.now, dialog, Some(b"v=6".to_vec())));
    assert!(!bench.endpoint.answer(bench.now, dialog, Some(b"v=6".to_vec())));
    bench.drain();
    let (_, prack) = bench.request();
    assert_eq!((prack.method.as_str(), prack.body.as_slice()), ("PRACK", &b"v=6"[..]));
    bench.receive_from(CALLEE, &reply(&invite, 200, "t1", ""));
    let (_, ack) = bench.request();
    assert_eq!((ack.method.as_str(), ack.body.len()), ("ACK", 0));
    assert!(matches!(&bench.events[0], Event::Answered { sdp: None, .. }));
}
