//! Session timers (RFC 4028), and our own requests that meet theirs.

use super::calling::{CALLEE, SDP, from_callee, reply, up};
use crate::config::{SessionTimer, SessionTimerMode, Trunk};
use crate::sip::endpoint::testing::{Bench, in_dialog, invite, request, tag_of, trunk};
use crate::sip::message::{Message, Request, Response};
use crate::sip::{DialogId, Event, ListenerId, OutgoingInvite, Reason};

const USUAL: SessionTimer = SessionTimer { mode: SessionTimerMode::Supported, expires_s: 1800, min_s: 90 };
const ALWAYS: SessionTimer = SessionTimer { mode: SessionTimerMode::Always, ..USUAL };
const ANSWER: &[u8] = b"v=0 o=us 1 1";

fn bench(session_timer: SessionTimer) -> Bench {
    Bench::with(Trunk { session_timer, ..trunk("pbx", &["acc1"], "198.51.100.0/24") })
}

/// Answers an INVITE with these header lines; the 200, the dialog and our tag.
fn answered(bench: &mut Bench, lines: &str) -> (Response, DialogId, String) {
    bench.receive(&invite("a", "c1", 1).replace("Max-Forwards", &format!("{lines}\r\nMax-Forwards")));
    let dialog = bench.events[0].dialog();
    assert!(bench.endpoint.answer(bench.now, dialog, Some(ANSWER.to_vec())));
    bench.drain();
    let response = bench.response();
    let tag = tag_of(&response, "To");
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    bench.events.clear();
    (response, dialog, tag)
}

/// The only request sent meanwhile.
fn asked(bench: &mut Bench) -> Request {
    let sent: Vec<_> = bench.sent.drain(..).collect();
    match sent.as_slice() {
        [(_, Message::Request(request))] => request.clone(),
        other => panic!("not one request: {other:?}"),
    }
}

const OURS: &str = "Supported: timer\r\nAllow: INVITE, UPDATE\r\nSession-Expires: 90;refresher=uas";
const THEIRS: &str = "k: timer\r\nx: 90;refresher=uac";

#[test]
fn sip_080_an_interval_below_the_minimum_gets_422_and_the_next_try_is_taken() {
    let mut bench = bench(SessionTimer { min_s: 120, ..USUAL });
    bench.receive(
        &invite("a", "c1", 1).replace("Max-Forwards", "Supported: timer\r\nSession-Expires: 60\r\nMax-Forwards"),
    );
    let refused = bench.response();
    assert_eq!((refused.code, refused.headers.get("Min-SE"), bench.events.len()), (422, Some("120"), 0));
    let retry = invite("b", "c1", 2).replace("Max-Forwards", "k: timer\r\nx: 120\r\nMin-SE: 120\r\nMax-Forwards");
    bench.receive(&retry);
    assert_eq!(bench.happened(), ["Invite"]);
}

#[test]
fn sip_080_sip_081_the_2xx_says_what_was_agreed_and_who_refreshes() {
    for (lines, expected) in [
        (THEIRS, (Some("90;refresher=uac"), Some("timer"))),
        (OURS, (Some("90;refresher=uas"), Some("timer"))),
        ("Supported: timer\r\nSession-Expires: 7200", (Some("1800;refresher=uac"), Some("timer"))),
        ("Session-Expires: 600", (Some("600;refresher=uas"), None)),
        ("Supported: timer", (None, None)),
        ("X-Nothing: 1", (None, None)),
    ] {
        let (response, ..) = answered(&mut bench(USUAL), lines);
        assert_eq!((response.headers.get("Session-Expires"), response.headers.get("Require")), expected, "{lines}");
        assert_eq!(response.headers.get("Supported"), Some("100rel, timer, replaces, norefersub, uui"));
    }
}

#[test]
fn sip_014_a_trunk_without_session_timers_does_not_support_them() {
    let off = SessionTimer { mode: SessionTimerMode::Off, ..USUAL };
    let (response, ..) = answered(&mut bench(off), "Supported: timer\r\nSession-Expires: 60");
    assert_eq!(
        (response.headers.get("Session-Expires"), response.headers.get("Supported")),
        (None, Some("100rel, replaces, norefersub, uui"))
    );
    let mut bench = bench(off);
    bench.receive(&invite("a", "c1", 1).replace("Max-Forwards", "Require: timer\r\nMax-Forwards"));
    let refused = bench.response();
    assert_eq!((refused.code, refused.headers.get("Unsupported")), (420, Some("timer")));
}

#[test]
fn sip_082_as_refresher_we_send_update_at_half_the_interval_and_its_2xx_restarts_the_timer() {
    let mut bench = bench(USUAL);
    answered(&mut bench, OURS);
    for _ in 0..4 {
        bench.wait(44_999);
        assert!(bench.sent.is_empty());
        bench.wait(1);
        let update = asked(&mut bench);
        assert_eq!((update.method.as_str(), update.body.len()), ("UPDATE", 0));
        assert_eq!(update.headers.get("Session-Expires"), Some("90;refresher=uac"));
        assert_eq!((update.headers.get("Supported"), update.headers.has("Contact")), (Some("timer"), true));
        bench.receive(&reply(&update, 200, "", "Require: timer\r\nSession-Expires: 90;refresher=uac"));
    }
    assert!(bench.events.is_empty());
}

#[test]
fn sip_082_without_update_we_send_a_reinvite_with_the_sdp_as_it_was() {
    for allow in ["Allow: INVITE, ACK, BYE", "X-No: allow"] {
        let mut bench = bench(USUAL);
        answered(&mut bench, &OURS.replace("Allow: INVITE, UPDATE", allow));
        bench.wait(45_000);
        let reinvite = asked(&mut bench);
        assert_eq!((reinvite.method.as_str(), reinvite.body.as_slice()), ("INVITE", ANSWER));
        assert_eq!(reinvite.headers.get("Session-Expires"), Some("90;refresher=uac"));
        bench.receive(&reply(&reinvite, 200, "", &format!("Session-Expires: 90;refresher=uac\r\n{SDP}")));
        assert_eq!((bench.said(), bench.happened()), (vec!["ACK".to_owned()], vec!["ReinviteAnswered".to_owned()]));
        bench.wait(45_000);
        assert_eq!(asked(&mut bench).body, ANSWER);
    }
}

#[test]
fn sip_082_a_peer_that_says_update_and_means_not_gets_a_reinvite() {
    let mut bench = bench(USUAL);
    answered(&mut bench, OURS);
    bench.wait(45_000);
    let update = asked(&mut bench);
    bench.receive(&reply(&update, 405, "", ""));
    assert_eq!(asked(&mut bench).method.as_str(), "INVITE");
}

#[test]
fn sip_082_408_481_and_silence_end_the_call_with_bye() {
    for (code, after_ms) in [(Some(408), 0), (Some(481), 0), (None, 15_000)] {
        let mut bench = bench(USUAL);
        answered(&mut bench, OURS);
        bench.wait(45_000);
        let update = asked(&mut bench);
        if let Some(code) = code {
            bench.receive(&reply(&update, code, "", ""));
        }
        // Without an answer the session ends before timer F does: 90 s but for a third.
        bench.wait(after_ms);
        let (_, bye) = bench.request();
        let expected = [
            Some("Q.850;cause=102;text=\"session timer expired\"".to_owned()),
            code.map(|c| Reason::sip(c).to_string()),
        ];
        let reasons: Vec<_> = bye.headers.get_all("Reason").map(str::to_owned).collect();
        assert_eq!((bye.method.as_str(), reasons), ("BYE", expected.into_iter().flatten().collect()));
        assert_eq!(bench.happened(), ["SessionExpired"]);
        bench.receive(&reply(&bye, 481, "", ""));
        assert_eq!(bench.happened(), ["Ended"]);
        bench.wait(70_000);
        assert!(bench.endpoint.counts().is_idle());
    }
}

#[test]
fn sip_082_a_422_brings_the_refresh_again_with_the_larger_interval() {
    let mut bench = bench(USUAL);
    answered(&mut bench, OURS);
    bench.wait(45_000);
    let update = asked(&mut bench);
    bench.receive(&reply(&update, 422, "", "Min-SE: 300"));
    bench.wait(0);
    let again = asked(&mut bench);
    let said = ["Session-Expires", "Min-SE"].map(|name| again.headers.get(name));
    assert_eq!(said, [Some("300;refresher=uac"), Some("300")]);
    bench.receive(&reply(&again, 200, "", "Session-Expires: 300;refresher=uac"));
    bench.wait(149_999);
    assert!(bench.sent.is_empty());
    bench.wait(1);
    assert_eq!(asked(&mut bench).method.as_str(), "UPDATE");
}

#[test]
fn sip_082_any_other_refusal_is_tried_again_and_the_session_ends_when_none_is_accepted() {
    let mut bench = bench(USUAL);
    answered(&mut bench, OURS);
    bench.wait(45_000);
    let update = asked(&mut bench);
    bench.receive(&reply(&update, 500, "", "Retry-After: 7 (busy)"));
    bench.wait(6999);
    assert!(bench.sent.is_empty());
    bench.wait(1);
    let update = asked(&mut bench);
    bench.receive(&reply(&update, 500, "", ""));
    bench.wait(7999);
    assert!(bench.sent.is_empty());
    bench.wait(1);
    assert_eq!(asked(&mut bench).method.as_str(), "BYE", "at 60 s");
    assert_eq!(bench.happened(), ["SessionExpired"]);
}

#[test]
fn sip_083_where_the_peer_refreshes_each_refresh_restarts_the_timer_and_none_ends_the_call() {
    let mut bench = bench(USUAL);
    let (.., tag) = answered(&mut bench, THEIRS);
    for n in 0..3 {
        bench.wait(59_000);
        let lines = format!("{THEIRS}\r\nAllow: UPDATE");
        bench.receive(&in_dialog("UPDATE", &format!("u{n}"), 2 + n, &tag, &lines));
        let refreshed = bench.response();
        assert_eq!((refreshed.code, refreshed.headers.get("Session-Expires")), (200, Some("90;refresher=uac")));
        assert_eq!(refreshed.headers.get("Require"), Some("timer"));
    }
    bench.wait(59_999);
    assert!(bench.sent.is_empty() && bench.events.is_empty());
    bench.wait(1);
    let bye = asked(&mut bench);
    assert_eq!(bye.headers.get("Reason"), Some("Q.850;cause=102;text=\"session timer expired\""));
    let Event::SessionExpired { reasons, .. } = &bench.events[0] else { panic!("not expired") };
    assert_eq!(*reasons, [Reason::q850(102).text("session timer expired")]);
}

#[test]
fn sip_083_a_reinvite_refreshes_too_and_a_refresh_that_is_too_brief_gets_422() {
    let mut bench = bench(USUAL);
    let (_, dialog, tag) = answered(&mut bench, THEIRS);
    bench.wait(50_000);
    for (method, rest) in [("UPDATE", String::new()), ("INVITE", format!("\r\n{SDP}"))] {
        let lines = format!("Supported: timer\r\nSession-Expires: 89{rest}");
        bench.receive(&in_dialog(method, &format!("{method}1"), 2, &tag, &lines));
        let refused = bench.response();
        assert_eq!((refused.code, refused.headers.get("Min-SE")), (422, Some("90")));
    }
    bench.receive(&in_dialog("ACK", "INVITE1", 2, &tag, ""));
    bench.receive(&in_dialog("INVITE", "r2", 3, &tag, &format!("{THEIRS}\r\n{SDP}")));
    assert!(bench.endpoint.answer(bench.now, dialog, Some(ANSWER.to_vec())));
    bench.drain();
    assert_eq!(bench.response().headers.get("Session-Expires"), Some("90;refresher=uac"));
    bench.receive(&in_dialog("ACK", "k3", 3, &tag, ""));
    bench.wait(59_000);
    assert!(bench.sent.is_empty());
    bench.wait(1000);
    assert_eq!(asked(&mut bench).method.as_str(), "BYE");
}

#[test]
fn sip_083_a_2xx_without_session_expires_stops_the_timer() {
    let mut bench = bench(USUAL);
    answered(&mut bench, OURS);
    bench.wait(45_000);
    let update = asked(&mut bench);
    bench.receive(&reply(&update, 200, "", ""));
    bench.wait(7_200_000);
    assert!(bench.sent.is_empty() && bench.events.is_empty());
}

#[test]
fn sip_083_the_refresher_may_change_with_a_refresh() {
    let mut bench = bench(USUAL);
    answered(&mut bench, OURS);
    bench.wait(45_000);
    let update = asked(&mut bench);
    bench.receive(&reply(&update, 200, "", "Session-Expires: 120;refresher=uas"));
    bench.wait(87_999);
    assert!(bench.sent.is_empty(), "from now on it is theirs");
    bench.wait(1);
    assert_eq!(asked(&mut bench).method.as_str(), "BYE", "120 s but for 32");
}

#[test]
fn sip_084_always_asks_a_peer_without_support_and_refreshes_it_ourselves() {
    let mut bench = bench(ALWAYS);
    let (response, ..) = answered(&mut bench, "Allow: UPDATE");
    assert_eq!(response.headers.get("Session-Expires"), Some("1800;refresher=uas"));
    for _ in 0..3 {
        bench.wait(900_000);
        let update = asked(&mut bench);
        bench.receive(&reply(&update, 200, "", ""));
    }
    bench.wait(900_000);
    let update = asked(&mut bench);
    bench.wait(31_999);
    bench.sent.clear();
    bench.wait(1);
    assert_eq!((update.method.as_str(), bench.request().1.method.as_str()), ("UPDATE", "BYE"), "timer F");
}

/// A call of ours to a trunk with these settings; the INVITE.
fn calling(settings: SessionTimer) -> (Bench, Request) {
    let mut bench = bench(settings);
    bench.endpoint.invite(
        bench.now,
        OutgoingInvite {
            listener: ListenerId(0),
            target: "198.51.100.1:5060".parse().expect("an address"),
            request_uri: "sip:1000@198.51.100.1".into(),
            from: "<sip:0806@192.0.2.10>".into(),
            to: "<sip:1000@198.51.100.1>".into(),
            headers: vec![("X-UUI".into(), "7".into())],
            sdp: Some(ANSWER.to_vec()),
            ways: Default::default(),
        },
    );
    bench.drain();
    let invite = asked(&mut bench);
    (bench, invite)
}

#[test]
fn sip_084_our_invite_asks_for_a_timer_where_the_trunk_always_wants_one() {
    let said =
        |invite: &Request| ["Supported", "Session-Expires"].map(|name| invite.headers.get(name).map(str::to_owned));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(said(&calling(USUAL).1), [text("100rel, timer, replaces, norefersub, uui"), None]);
    assert_eq!(said(&calling(ALWAYS).1), [text("100rel, timer, replaces, norefersub, uui"), text("1800")]);
    let off = SessionTimer { mode: SessionTimerMode::Off, ..USUAL };
    assert_eq!(said(&calling(off).1), [text("100rel, replaces, norefersub, uui"), None]);
}

#[test]
fn sip_082_our_invite_is_tried_again_after_422_with_a_new_cseq_and_branch() {
    let (mut bench, first) = calling(ALWAYS);
    bench.receive(&reply(&first, 422, "t1", "Min-SE: 3600"));
    let Some((_, Message::Request(second))) = bench.sent.last().cloned() else { panic!("nothing sent") };
    assert_eq!(bench.said(), ["ACK", "INVITE"]);
    let header = |request: &Request, name| request.headers.get(name).map(str::to_owned);
    for name in ["Call-ID", "From", "To", "X-UUI", "Contact", "Content-Type"] {
        assert_eq!(header(&first, name), header(&second, name), "{name}");
    }
    assert_ne!(header(&first, "Via"), header(&second, "Via"));
    let said = ["CSeq", "Session-Expires", "Min-SE"].map(|name| second.headers.get(name));
    assert_eq!(said, [Some("2 INVITE"), Some("3600"), Some("3600")]);
    assert_eq!(second.body, first.body);
    bench.receive(&reply(
        &second,
        200,
        "t1",
        &format!("Session-Expires: 3600;refresher=uac\r\nAllow: UPDATE\r\n{SDP}"),
    ));
    assert_eq!(bench.request().1.headers.get("CSeq"), Some("2 ACK"));
    assert_eq!(bench.happened(), ["Answered"]);
    bench.wait(1_800_000);
    assert_eq!(asked(&mut bench).method.as_str(), "UPDATE");
}

#[test]
fn a_422_that_asks_for_nothing_longer_or_again_and_again_is_a_refusal() {
    let (mut bench, first) = calling(ALWAYS);
    bench.receive(&reply(&first, 422, "t1", "Min-SE: 90"));
    assert_eq!((bench.said(), bench.happened()), (vec!["ACK".to_owned()], vec!["Rejected".to_owned(), "Ended".into()]));
    let (mut bench, mut invite) = calling(ALWAYS);
    for min_se in 1801..1804 {
        bench.receive(&reply(&invite, 422, "t1", &format!("Min-SE: {min_se}")));
        invite = bench.request().1;
    }
    bench.receive(&reply(&invite, 422, "t1", "Min-SE: 1900"));
    assert_eq!(bench.happened(), ["Rejected", "Ended"]);
}

#[test]
fn sip_073_a_refresh_that_met_theirs_is_tried_again_within_2_s_where_the_call_id_is_not_ours() {
    for allow in ["Allow: UPDATE", "Allow: INVITE"] {
        let mut waits = Vec::new();
        for _ in 0..20 {
            let mut bench = bench(USUAL);
            answered(&mut bench, &OURS.replace("Allow: INVITE, UPDATE", allow));
            // Each answer draws a tag: so the bench's seeded chance is another one each time.
            for n in 0..waits.len() {
                bench.receive(&request("OPTIONS", &format!("o{n}"), "other", 1, ""));
            }
            bench.sent.clear();
            bench.wait(45_000);
            let first = asked(&mut bench);
            bench.receive(&reply(&first, 491, "", ""));
            bench.sent.clear();
            let before = bench.elapsed();
            bench.wait(0);
            while bench.sent.is_empty() {
                bench.wait(1);
            }
            let again = asked(&mut bench);
            assert_eq!((&again.method, &again.body), (&first.method, &first.body));
            waits.push(bench.elapsed() - before);
        }
        assert!(waits.iter().all(|wait| *wait <= 2000 && wait % 10 == 0), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
    }
}

#[test]
fn sip_072_a_refresh_waits_for_the_peers_own_exchange() {
    let mut bench = bench(USUAL);
    let (_, dialog, tag) = answered(&mut bench, OURS);
    bench.receive(&in_dialog("INVITE", "r1", 2, &tag, SDP));
    bench.wait(45_500);
    assert_eq!(bench.said(), ["100"]);
    bench.endpoint.answer(bench.now, dialog, Some(ANSWER.to_vec()));
    bench.receive(&in_dialog("ACK", "k2", 2, &tag, ""));
    assert_eq!(bench.said(), ["200"]);
    // The re-INVITE said nothing of timers and not that it knows them: there is none any more.
    bench.wait(3_600_000);
    assert!(bench.sent.is_empty());
}

#[test]
fn sip_072_their_requests_that_meet_our_reinvite_get_491_and_a_second_update_500() {
    let (mut bench, dialog, invite) = up();
    assert!(bench.endpoint.reinvite(bench.now, dialog, Some(b"v=3".to_vec())));
    bench.drain();
    let (_, reinvite) = bench.request();
    let ask = |bench: &mut Bench, method: &str, cseq: u32, rest: &str| {
        bench.receive_from(CALLEE, &from_callee(&invite, method, cseq, rest));
        bench.said()
    };
    assert_eq!(ask(&mut bench, "INVITE", 1, SDP), ["491"]);
    assert_eq!(ask(&mut bench, "UPDATE", 2, SDP), ["491"]);
    assert_eq!(ask(&mut bench, "UPDATE", 3, ""), ["200"], "a refresh of theirs meets no offer");
    bench.receive_from(CALLEE, &reply(&reinvite, 200, "", SDP));
    bench.said();
    assert_eq!(ask(&mut bench, "UPDATE", 4, SDP), [""; 0], "it waits for our answer");
    for (method, cseq, rest) in [("UPDATE", 5, SDP), ("UPDATE", 6, ""), ("INVITE", 7, SDP)] {
        bench.receive_from(CALLEE, &from_callee(&invite, method, cseq, rest));
        let refused = bench.response();
        assert_eq!((refused.code, refused.headers.has("Retry-After")), (500, true), "{method} {cseq}");
    }
    assert!(!bench.endpoint.reinvite(bench.now, dialog, None), "nor may ours meet it");
    assert!(bench.endpoint.answer_update(bench.now, dialog, Some(b"v=4".to_vec())));
    bench.drain();
    assert_eq!(bench.response().headers.get("CSeq"), Some("4 UPDATE"));
}
