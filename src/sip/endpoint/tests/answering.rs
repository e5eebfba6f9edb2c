//! Calls that come in.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{SipTimers, Trunk};
use crate::sip::endpoint::testing::{Bench, in_dialog, invite, request, tag_of, trunk};
use crate::sip::message::Message;
use crate::sip::{Event, Reason, Rejection, Trunks};

/// When each datagram with this code or method left, in milliseconds since the call.
fn times(bench: &mut Bench, what: &str, until_ms: u64) -> Vec<u128> {
    let mut times = Vec::new();
    let start = bench.elapsed();
    while bench.elapsed() - start < u128::from(until_ms) {
        bench.wait(100);
        times.extend(bench.said().iter().filter(|said| *said == what).map(|_| bench.elapsed() - start));
    }
    times
}

#[test]
fn sip_031_100_at_once_and_copies_of_the_invite_get_the_last_provisional() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.receive(&invite("a", "c1", 1));
    assert_eq!(bench.said(), ["100", "100"]);
    assert!(bench.endpoint.ring(bench.now, dialog));
    bench.receive(&invite("a", "c1", 1));
    assert_eq!(bench.said(), ["180", "180"]);
    assert!(bench.events.is_empty());
}

#[test]
fn sip_032_a_refusal_is_sent_on_timer_g_until_timer_h_at_32_s() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    assert!(bench.endpoint.reject(bench.now, dialog, Rejection::new(486).reason(Reason::q850(17))));
    bench.drain();
    assert_eq!(bench.happened(), ["Ended"]);
    assert_eq!(bench.response().headers.get("Reason"), Some("Q.850;cause=17"));
    let expected = [500, 1500, 3500, 7500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(times(&mut bench, "486", 70_000), expected);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn sip_032_the_ack_of_a_refusal_stops_it_and_copies_are_absorbed_for_t4() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.reject(bench.now, dialog, Rejection::new(486));
    bench.drain();
    let ack = invite("a", "c1", 1).replace("INVITE", "ACK");
    bench.receive(&ack);
    bench.receive(&ack);
    bench.receive(&invite("a", "c1", 1));
    assert_eq!(bench.said(), ["100", "486"]);
    assert_eq!(times(&mut bench, "486", 40_000), [0; 0]);
    assert!(!bench.endpoint.reject(bench.now, dialog, Rejection::new(486)));
}

#[test]
fn sip_033_the_core_sends_the_2xx_at_t1_doubling_to_t2_and_copies_of_the_invite_are_absorbed() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    assert!(bench.endpoint.answer(bench.now, dialog, Some(b"v=0".to_vec())));
    bench.drain();
    assert_eq!(bench.response().body, b"v=0");
    bench.receive(&invite("a", "c1", 1));
    assert_eq!(bench.said(), [""; 0]);
    assert_eq!(times(&mut bench, "200", 12_000), [500, 1500, 3500, 7500, 11_500]);
}

#[test]
fn a_trunk_has_its_own_t1_and_t2_and_other_peers_have_the_nodes() {
    let mut bench = Bench::new();
    let [t1, t2, t4] = [200, 1000, 1000].map(Duration::from_millis);
    let quick = Trunk { timers: SipTimers { t1, t2, t4 }, ..trunk("quick", &["acc1"], "198.51.100.0/24") };
    bench.endpoint.set_trunks(Trunks::new(vec![Arc::new(quick)]));
    let dialog = bench.invited();
    bench.endpoint.answer(bench.now, dialog, Some(b"v=0".to_vec()));
    bench.drain();
    bench.said();
    assert_eq!(times(&mut bench, "200", 4000), [200, 600, 1400, 2400, 3400]);
    bench.wait(64 * 200 - 4000);
    assert_eq!(bench.request().1.method.as_str(), "BYE", "no ACK for 64 T1");
}

#[test]
fn sip_034_without_an_ack_bye_with_reason_408_after_32_s() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.answer(bench.now, dialog, None);
    bench.wait(31_900);
    bench.said();
    bench.wait(100);
    let (to, bye) = bench.request();
    assert_eq!((bye.method.as_str(), to.to_string().as_str()), ("BYE", "198.51.100.1:5060"));
    assert_eq!(bye.headers.get("Reason"), Some("SIP;cause=408;text=\"ACK timeout\""));
    assert_eq!(bench.happened(), ["AckTimeout"]);
    assert!(!bench.endpoint.bye(bench.now, dialog, Vec::new()), "it is out already");
    bench.wait(32_000);
    assert_eq!(bench.happened(), ["Ended"]);
    bench.wait(32_000);
    assert!(bench.endpoint.counts().is_idle());
}

#[test]
fn sip_035_the_ack_is_matched_by_dialog_and_cseq_and_counts_once() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.answer(bench.now, dialog, None);
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    for wrong in [in_dialog("ACK", "x", 2, &tag, ""), in_dialog("ACK", "x", 1, "other", "")] {
        bench.receive(&wrong);
    }
    assert_eq!(bench.happened(), [""; 0]);
    // From a sloppy peer the ACK may come with the INVITE's own branch.
    bench.receive(&in_dialog("ACK", "a", 1, &tag, "Content-Type: application/sdp\r\n\r\nv=0\r\n"));
    bench.receive(&in_dialog("ACK", "y", 1, &tag, ""));
    let Some(Event::Acknowledged { sdp, .. }) = bench.events.first() else { panic!("no ACK") };
    assert_eq!((sdp.as_deref(), bench.events.len()), (Some(&b"v=0\r\n"[..]), 1));
    assert_eq!(times(&mut bench, "200", 40_000), [0; 0]);
}

#[test]
fn sip_037_cancel_before_the_final_gets_200_and_the_invite_487() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.ring(bench.now, dialog);
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    bench.receive(&request("CANCEL", "a", "c1", 1, "Reason: SIP;cause=200;text=\"elsewhere\", Q.850;cause=26"));
    let tags: Vec<_> = bench
        .sent
        .drain(..)
        .map(|(_, message)| match message {
            Message::Response(response) => (response.code, tag_of(&response, "To")),
            Message::Request(request) => panic!("{request:?}"),
        })
        .collect();
    assert_eq!(tags, [(200, tag.clone()), (487, tag)]);
    let Event::Cancelled { reasons, .. } = &bench.events[0] else { panic!("not cancelled") };
    assert_eq!(*reasons, [Reason::sip(200).text("elsewhere"), Reason::q850(26)]);
    assert_eq!(bench.happened(), ["Cancelled", "Ended"]);
    assert!(!bench.endpoint.answer(bench.now, dialog, None));
}

#[test]
fn sip_037_cancel_after_the_final_gets_200_and_nothing_else() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.answer(bench.now, dialog, None);
    bench.drain();
    bench.said();
    bench.receive(&request("CANCEL", "a", "c1", 1, ""));
    assert_eq!((bench.said(), bench.happened()), (vec!["200".to_owned()], Vec::<String>::new()));
}

#[test]
fn sip_037_cancel_that_overtakes_its_invite_gets_481() {
    let mut bench = Bench::new();
    bench.receive(&request("CANCEL", "a", "c1", 1, ""));
    bench.receive(&invite("a", "c1", 1));
    assert_eq!((bench.said(), bench.happened()), (vec!["481".to_owned(), "100".into()], vec!["Invite".to_owned()]));
}

#[test]
fn sip_041_a_18x_is_repeated_every_minute_and_expires_ends_the_wait_with_487() {
    let mut bench = Bench::new();
    bench.receive(&invite("a", "c1", 1).replace("Max-Forwards", "Expires: 150\r\nMax-Forwards"));
    let dialog = bench.events[0].dialog();
    bench.events.clear();
    bench.endpoint.progress(bench.now, dialog, 183, Some(b"v=0".to_vec()));
    bench.drain();
    assert_eq!(bench.response().body, b"v=0");
    assert_eq!(times(&mut bench, "183", 149_000), [60_000, 120_000]);
    bench.wait(1000);
    assert_eq!(bench.said(), ["487"]);
    assert_eq!(bench.happened(), ["Expired", "Ended"]);
}

#[test]
fn a_bye_of_ours_waits_for_the_ack_and_carries_its_reasons() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.answer(bench.now, dialog, None);
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    assert!(bench.endpoint.bye(bench.now, dialog, vec![Reason::q850(16), Reason::sip(200)]));
    bench.drain();
    assert_eq!(bench.said(), [""; 0]);
    bench.receive(&in_dialog("ACK", "k", 1, &tag, ""));
    let (_, bye) = bench.request();
    assert_eq!(bye.headers.get_all("Reason").collect::<Vec<_>>(), ["Q.850;cause=16", "SIP;cause=200"]);
    assert_eq!(bye.headers.get("User-Agent"), Some("Trunkstream/test"));
    bench.receive(&super::calling::reply(&bye, 200, "", ""));
    assert_eq!(bench.happened(), ["Acknowledged", "Ended"]);
}

#[test]
fn a_bye_of_ours_without_any_ack_leaves_after_32_s() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.answer(bench.now, dialog, None);
    bench.endpoint.bye(bench.now, dialog, vec![Reason::q850(16)]);
    bench.wait(32_000);
    assert_eq!(bench.request().1.headers.get("Reason"), Some("Q.850;cause=16"));
    assert_eq!(bench.happened(), [""; 0]);
}

#[test]
fn a_refusal_may_carry_retry_after_warning_and_more() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    let rejection = Rejection {
        retry_after: Some(9),
        warning: Some((305, "no \"codec\"".into())),
        headers: vec![("X-A", "1\r\nRoute: x".into())],
        ..Rejection::new(488)
    };
    bench.endpoint.reject(bench.now, dialog, rejection);
    bench.drain();
    let response = bench.response();
    assert_eq!(response.headers.get("Retry-After"), Some("9"));
    assert_eq!(response.headers.get("Warning"), Some("305 192.0.2.10 \"no 'codec'\""));
    assert!(!response.headers.has("Route"));
}

#[test]
fn bye_before_the_answer_ends_the_call_and_the_invite_gets_487() {
    let mut bench = Bench::new();
    let dialog = bench.invited();
    bench.endpoint.ring(bench.now, dialog);
    bench.drain();
    let tag = tag_of(&bench.response(), "To");
    bench.receive(&in_dialog("BYE", "b", 2, &tag, "Reason: Q.850;cause=16"));
    assert_eq!(bench.said(), ["200", "487"]);
    assert_eq!(bench.happened(), ["Bye", "Ended"]);
}
