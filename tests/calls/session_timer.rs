//! Session timers (RFC 4028): calls that go on because one side says so, and calls that died unseen.

use super::world::bot::Manner;
use super::world::raw::{Got, RawCall};
use super::world::sound::{assert_even, find, speech};
use super::world::text::Offer;
use super::world::{Scene, World};

#[test]
fn sip_082_sip_083_a_call_of_ten_minutes_is_refreshed_by_either_side_and_its_media_never_notices() {
    for (wish, refresher) in [("90;refresher=uac", "the PBX"), ("90;refresher=uas", "the bridge")] {
        let mut world = World::new(&Scene::default());
        world.bots.manner = Manner::Echo;
        let plan = world.pbx.plan().header("Session-Expires", wish);
        let phone = world.call_with(plan);
        world.run(600_000);
        let words = speech(0, 1000);
        world.phone(phone).say(words.clone());
        world.run(2000);
        let (pbx, bridge) = (super::world::pbx::PBX.parse().expect("an address"), world.bridge.address);
        let updates = [world.link.count(pbx, "UPDATE"), world.link.count(bridge, "UPDATE")];
        assert_eq!(updates, if refresher == "the PBX" { [13, 0] } else { [0, 13] }, "every 45 s");
        assert_even(&world.sent_to(phone));
        assert!(find(&world.phone(phone).ear(), &words).is_some());
        assert!(world.phone(phone).is_up());
        world.hang_up(phone);
        assert_eq!(world.record().end.why, "caller_hangup");
        world.ends_clean();
    }
}

/// The raw caller sends no RTP.
fn patient(trunk: &str) -> World {
    World::new(&Scene { media: "rtp_timeout_seconds = 3600".into(), trunk: trunk.into(), ..Scene::default() })
}

/// An answered call of the raw caller with these header lines in its INVITE; the 200.
fn raw_call(world: &mut World, lines: &str) -> (RawCall, Offer, Got) {
    let offer = Offer { address: "198.51.100.2".into(), ..Offer::new(50_000) };
    let mut call = RawCall::new("timer");
    let invite = call.request("INVITE", lines, &offer.text());
    world.raw_send(&invite);
    let ok = world.raw_wait("SIP/2.0 200", 5000);
    call.take_tag(&ok);
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    (call, offer, ok)
}

#[test]
fn sip_083_a_caller_that_does_not_refresh_is_hung_up_on_before_the_interval_ends() {
    let mut world = patient("");
    let (.., ok) = raw_call(&mut world, "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n");
    assert_eq!(ok.header("Session-Expires"), Some("90;refresher=uac"));
    let before = world.ms();
    let bye = world.raw_wait("BYE", 70_000);
    assert!((59_900..60_100).contains(&(world.ms() - before)), "90 s but for a third: {}", world.ms() - before);
    assert_eq!(bye.header("Reason"), Some("Q.850;cause=102;text=\"session timer expired\""));
    world.raw_send(&bye.response(200, "", ""));
    let record = world.record();
    assert_eq!((record.end.by, record.end.why, record.end.q850), ("bridge", "session_expired", Some(102)));
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("completed", "NA"));
    assert_eq!(world.bot(0).last("stop")["stop"]["reason"], "callended");
    world.ends_clean();
}

#[test]
fn sip_082_a_refresh_by_reinvite_repeats_our_sdp_and_media_follows_an_answer_that_moves() {
    let mut world = patient("");
    let (_, offer, ok) = raw_call(&mut world, "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n");
    let reinvite = world.raw_wait("INVITE", 46_000);
    assert_eq!(reinvite.body(), ok.body(), "word for word, o= version too");
    assert_eq!(reinvite.header("Session-Expires"), Some("90;refresher=uac"));
    world.raw_send(&reinvite.response(200, "Session-Expires: 90;refresher=uac\r\n", &offer.text()));
    world.raw_wait("ACK", 100);
    world.run(1000);
    let packets: Vec<_> = world.tap.iter().map(|(at, _, packet)| (*at, packet)).collect();
    assert_even(&packets);
    assert_eq!(world.tap.last().expect("RTP").1.port(), 50_000);
    let reinvite = world.raw_wait("INVITE", 46_000);
    assert_eq!(reinvite.body(), ok.body());
    let moved = Offer { port: 50_200, ..offer.then("sendrecv") };
    world.raw_send(&reinvite.response(200, "Session-Expires: 90;refresher=uac\r\n", &moved.text()));
    world.raw_wait("ACK", 100);
    world.run(100);
    assert_eq!(world.tap.last().expect("RTP").1.port(), 50_200);
    // The caller has died: the refresh gets no answer.
    let reinvite = world.raw_wait("INVITE", 46_000);
    world.raw_wait("BYE", 20_000);
    assert!(reinvite.header("CSeq").is_some_and(|cseq| cseq.starts_with('3')));
    assert_eq!(world.record().end.why, "session_expired");
    world.ends_clean();
}

#[test]
fn sip_073_a_refresh_that_meets_the_callers_reinvite_is_tried_again_and_both_get_through() {
    let mut world = patient("");
    let (mut call, offer, _) = raw_call(&mut world, "Supported: timer\r\nSession-Expires: 90;refresher=uas\r\n");
    let first = world.raw_wait("INVITE", 46_000);
    world.raw_send(&first.response(491, "", ""));
    call.cseq += 1;
    let theirs = call.request("INVITE", "Supported: timer\r\n", &offer.then("sendonly").text());
    world.raw_send(&theirs);
    let answer = world.raw_wait("SIP/2.0 200", 100);
    assert!(answer.body().contains("a=recvonly"));
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    let second = world.raw_wait("INVITE", 2100);
    assert!(second.body().contains("a=recvonly"), "the description as it is now");
    world.raw_send(&second.response(200, "Session-Expires: 90;refresher=uac\r\n", &offer.then("sendonly").text()));
    world.raw_wait("ACK", 100);
    call.cseq += 1;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.raw_wait("SIP/2.0 200", 100);
    world.ends_clean();
}

#[test]
fn sip_080_too_brief_an_interval_is_422_and_no_call_begins() {
    let mut world = patient("min_se_seconds = 300");
    let mut call = RawCall::new("brief");
    let invite = call.request("INVITE", "Supported: timer\r\nSession-Expires: 299\r\n", &Offer::new(50_000).text());
    world.raw_send(&invite);
    assert_eq!(world.raw_wait("SIP/2.0 422", 100).header("Min-SE"), Some("300"));
    assert_eq!(world.bridge.begun, 0);
    world.run(40_000);
    world.ends_clean();
}

#[test]
fn sip_084_a_trunk_that_always_wants_a_timer_asks_a_caller_that_knows_none_and_refreshes_by_itself() {
    let mut world = patient("session_timer = \"always\"\nsession_expires_seconds = 120");
    let (.., ok) = raw_call(&mut world, "Allow: INVITE, ACK, BYE, UPDATE\r\n");
    assert_eq!((ok.header("Session-Expires"), ok.header("Require")), (Some("120;refresher=uas"), None));
    for _ in 0..3 {
        let update = world.raw_wait("UPDATE", 61_000);
        world.raw_send(&update.response(200, "", ""));
    }
    let update = world.raw_wait("UPDATE", 61_000);
    world.raw_send(&update.response(481, "", ""));
    let bye = world.raw_wait("BYE", 100);
    assert!(bye.text.contains("Reason: SIP;cause=481"), "{}", bye.text);
    assert_eq!(world.record().end.why, "session_expired");
    world.ends_clean();
}
