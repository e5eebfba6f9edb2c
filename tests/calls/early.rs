//! Before the 200: early media, and provisional responses that must arrive.

use std::time::Duration;

use trunkstream::call::outcome::DialFailure;

use super::world::bot::{Manner, Pickup};
use super::world::pbx::{Mouth, Plan};
use super::world::sound::{assert_even, find, speech};
use super::world::text::Offer;
use super::world::{Scene, World};

/// A bridge with early media whose bot picks up after `seconds`.
fn early(seconds: u64) -> World {
    let mut world = World::new(&Scene::talk("answer_mode = \"early_media\""));
    world.bots.plan.push_back(Pickup::After(Duration::from_secs(seconds)));
    world
}

fn reliable(world: &World) -> Plan {
    world.pbx.plan().header("Require", "100rel")
}

#[test]
fn sip_060_early_media_is_a_183_with_sdp_and_rtp_at_once_and_the_200_changes_nothing_of_it() {
    for is_reliable in [false, true] {
        let mut world = early(3);
        world.bots.manner = Manner::Echo;
        let plan = if is_reliable { reliable(&world) } else { world.pbx.plan() };
        let phone = world.dial(plan);
        world.until(100, "a 183", |world| !world.pbx.phones[phone].provisionals.is_empty());
        world.run(2000);
        let before = world.sent_to(phone).len();
        assert!((95..=105).contains(&before), "SIP-064: {before} packets before the 200");
        assert!(world.phone(phone).answered.is_none() && world.phone(phone).provisionals == [183]);
        let first = world.phone(phone).sdp.clone().expect("SDP in the 183");
        world.until(2000, "the 200", |world| world.pbx.phones[phone].answered.is_some());
        world.phone(phone).say(speech(0, 1000));
        world.run(2000);
        assert_even(&world.sent_to(phone));
        assert_eq!(world.phone(phone).sdp.as_ref(), Some(&first));
        assert!(find(&world.phone(phone).ear(), &speech(0, 1000)).is_some());
        world.hang_up(phone);
        let record = world.record();
        assert!(record.ringing_after_ms < record.answered_after_ms, "{record:?}");
        world.ends_clean();
    }
}

#[test]
fn sip_060_a_late_offer_has_early_media_only_where_the_183_is_reliable() {
    let mut world = early(2);
    let phone = world.dial(Plan { offer: None, ..world.pbx.plan() });
    world.run(1000);
    assert_eq!(world.phone(phone).provisionals, [180]);
    assert!(world.tap.is_empty());
    world.until(2000, "the 200", |world| world.pbx.phones[phone].answered.is_some());
    world.ends_clean();

    let mut world = early(2);
    let phone = world.dial(Plan { offer: None, ..reliable(&world) });
    world.run(1000);
    assert_eq!(world.phone(phone).provisionals, [183]);
    let heard = world.sent_to(phone).len();
    assert!((44..=52).contains(&heard), "SDP-013: from the PRACK with the answer on, {heard}");
    world.until(2000, "the 200", |world| world.pbx.phones[phone].answered.is_some());
    world.run(500);
    assert_even(&world.sent_to(phone));
    world.ends_clean();
}

#[test]
fn sip_062_a_reliable_180_to_an_invite_without_offer_carries_ours_and_no_media_before_the_200() {
    let mut world = World::new(&Scene::default());
    world.bots.plan.push_back(Pickup::After(Duration::from_secs(2)));
    let phone = world.dial(Plan { offer: None, ..reliable(&world) });
    world.run(1500);
    assert_eq!(world.phone(phone).provisionals, [180]);
    assert!(world.phone(phone).sdp.is_some() && world.tap.is_empty(), "SIP-065");
    world.until(1000, "the 200", |world| world.pbx.phones[phone].answered.is_some());
    world.run(1000);
    assert!(world.sent_to(phone).len() > 40);
    world.ends_clean();
}

#[test]
fn sip_062_ringing_and_prack_survive_a_line_that_loses_them() {
    let mut world = World::new(&Scene::default());
    world.bots.plan.push_back(Pickup::After(Duration::from_secs(6)));
    world.link.lose_sip("SIP/2.0 180", 2);
    let phone = world.dial(reliable(&world));
    world.run(1300);
    assert!(world.phone(phone).ringing.is_none());
    world.link.lose_sip("PRACK", 1);
    world.until(1000, "ringing", |world| world.pbx.phones[phone].ringing.is_some());
    world.until(6000, "answered", |world| world.pbx.phones[phone].answered.is_some());
    assert_eq!(world.phone(phone).provisionals, [180], "each counts once");
    world.ends_clean();
}

#[test]
fn sip_063_without_any_prack_the_200_never_leaves_and_the_call_ends_with_504() {
    let mut world = early(1);
    world.link.lose_sip("PRACK", usize::MAX);
    let phone = world.dial(reliable(&world));
    assert_eq!(world.refusal(phone), (504, "Q.850;cause=102;text=\"PRACK timeout\"".to_owned()));
    assert_eq!(world.ms() / 100, 320);
    let record = world.record();
    assert_eq!((record.end.by, record.end.why, record.end.sip_code), ("bridge", "prack_timeout", Some(504)));
    assert_eq!((record.talk_ms, record.answered_after_ms), (0, None));
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("failed", "NA"));
    let sent = world.tap.len();
    world.link.lose_nothing();
    world.run(1000);
    assert_eq!(world.tap.len(), sent, "no RTP after the refusal");
    world.ends_clean();
}

#[test]
fn sip_060_early_media_ends_with_a_refusal_or_a_cancel() {
    let mut world = World::new(&Scene::talk("answer_mode = \"early_media\""));
    let failure = DialFailure::Connect("refused".into());
    world.bots.plan.push_back(Pickup::Fails(Duration::from_secs(1), failure));
    let phone = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(phone), (502, "Q.850;cause=38".to_owned()));
    let sent = world.tap.len();
    world.run(1000);
    assert!(sent >= 45 && world.tap.len() == sent, "{sent}");
    world.ends_clean();

    let mut world = early(9);
    let phone = world.dial(world.pbx.plan());
    world.run(1000);
    world.cancel(phone);
    assert_eq!(world.refusal(phone).0, 487);
    let sent = world.tap.len();
    world.run(1000);
    assert!(sent >= 45 && world.tap.len() == sent, "{sent}");
    world.ends_clean();
}

#[test]
fn rtp_042_a_caller_need_not_speak_before_the_200_and_must_after_it() {
    let scene = Scene {
        media: "rtp_timeout_seconds = 3\nrtp_start_timeout_seconds = 2".into(),
        ..Scene::talk("answer_mode = \"early_media\"")
    };
    let mut world = World::new(&scene);
    world.bots.plan.push_back(Pickup::After(Duration::from_secs(8)));
    let phone = world.dial(world.pbx.plan());
    world.phone(phone).mouth = Mouth::Shut;
    world.until(8100, "the 200", |world| world.pbx.phones[phone].answered.is_some());
    let answered = world.ms();
    assert_eq!(world.bye(phone), "Q.850;cause=102;text=\"media timeout\"");
    assert!((2950..3100).contains(&(world.ms() - answered)), "{}", world.ms() - answered);
    world.ends_clean();
}

#[test]
fn sip_075_an_update_after_a_reliable_183_moves_early_media_and_the_200_follows() {
    let mut world = early(2);
    let offer = Offer { address: "198.51.100.2".into(), ..Offer::new(50_000) };
    let mut call = super::world::raw::RawCall::new("moved");
    let invite = call.request("INVITE", "Require: 100rel\r\n", &offer.text());
    world.raw_send(&invite);
    let session = world.raw_wait("SIP/2.0 183", 100);
    call.take_tag(&session);
    let rseq = session.header("RSeq").expect("a number").to_owned();
    call.cseq = 2;
    let prack = call.request("PRACK", &format!("RAck: {rseq} 1 INVITE\r\n"), "");
    world.raw_send(&prack);
    world.raw_wait("SIP/2.0 200", 10);
    world.run(500);
    call.cseq = 3;
    let update = call.request("UPDATE", "", &Offer { port: 50_100, ..offer.then("sendrecv") }.text());
    world.raw_send(&update);
    assert!(world.raw_wait("SIP/2.0 200", 10).body().contains("m=audio"));
    world.run(100);
    assert_eq!(world.tap.last().expect("RTP").1.port(), 50_100);
    call.cseq = 4;
    let fax =
        "v=0\r\no=pbx 42 3 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\nm=image 50004 udptl t38\r\n";
    let update = call.request("UPDATE", "", fax);
    world.raw_send(&update);
    world.raw_wait("SIP/2.0 488", 10);
    let answer = world.raw_wait("SIP/2.0 200", 2000);
    assert_eq!((answer.header("CSeq"), answer.body()), (Some("1 INVITE"), ""));
    call.cseq = 1;
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    world.run(500);
    assert_eq!(world.tap.last().expect("RTP").1.port(), 50_100);
    call.cseq = 5;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.raw_wait("SIP/2.0 200", 100);
    world.ends_clean();
}

#[test]
fn sip_063_a_prack_that_answers_our_offer_with_nothing_useful_ends_the_call_with_488() {
    for answer in [None, Some(Offer::new(40_000).codecs(&[(18, "G729/8000")]))] {
        let mut world = early(2);
        let phone = world.dial(Plan { offer: None, late_answer: answer, ..reliable(&world) });
        assert_eq!(world.refusal(phone), (488, "Q.850;cause=65".to_owned()));
        world.ends_clean();
    }
}
