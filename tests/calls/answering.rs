//! Between INVITE and ACK: lost and repeated messages, a caller that gives up, copies of one call.

use std::time::Duration;

use super::world::bot::Pickup;
use super::world::raw::RawCall;
use super::world::text::Offer;
use super::world::{Scene, World};

/// Milliseconds between the copies of the 200 to the INVITE.
fn intervals_of_the_200(world: &World) -> Vec<u128> {
    let is_answer = |text: &str| text.starts_with("SIP/2.0 200") && text.contains("CSeq: 1 INVITE");
    let times: Vec<_> = world.link.ladder.iter().filter(|rung| is_answer(&rung.text)).map(|rung| rung.at).collect();
    times.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect()
}

#[test]
fn sip_033_a_lost_200_is_resent_at_t1_2t1_4t1_until_the_ack() {
    let mut world = World::new(&Scene::default());
    world.link.lose_sip("SIP/2.0 200", 3);
    let phone = world.call();
    world.run(10_000);
    assert_eq!(intervals_of_the_200(&world), [500, 1000, 2000]);
    assert_eq!(world.bots.sockets.len(), 1);
    assert!(world.phone(phone).is_up());
    world.ends_clean();
}

#[test]
fn sip_033_a_lost_ack_is_asked_for_by_another_200_and_the_call_goes_on() {
    let mut world = World::new(&Scene::default());
    world.link.lose_sip("ACK", 2);
    let phone = world.call();
    world.run(40_000);
    assert_eq!(intervals_of_the_200(&world), [500, 1000]);
    assert!(world.phone(phone).is_up());
    world.ends_clean();
}

#[test]
fn sip_034_without_any_ack_the_call_ends_after_32_s_with_sip_408_and_the_stream_has_failed() {
    let mut world = World::new(&Scene::default());
    world.link.lose_sip("ACK", usize::MAX);
    let phone = world.call();
    let answered = world.phone(phone).answered.expect("answered") - Duration::from_millis(3);
    assert_eq!(world.bye(phone), "SIP;cause=408;text=\"ACK timeout\"");
    let (bye, _) = world.phone(phone).bye.clone().expect("a BYE");
    assert_eq!((bye - answered).as_millis(), 32_003);
    assert_eq!(intervals_of_the_200(&world)[..4], [500, 1000, 2000, 4000]);
    let record = world.record();
    assert_eq!((record.end.by, record.end.why), ("bridge", "ack_timeout"));
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("failed", "NA"));
    assert_eq!(stream.error.as_deref(), Some("ack timeout"));
    assert_eq!(world.bot(0).last("stop")["stop"]["reason"], "callended");
    world.ends_clean();
}

#[test]
fn sip_031_lost_provisionals_bring_the_invite_again_and_still_one_stream() {
    let mut world = World::new(&Scene::default());
    world.bots.plan.push_back(Pickup::After(Duration::from_secs(3)));
    world.link.lose_sip("SIP/2.0 1", 4);
    world.call();
    assert_eq!(world.link.count(super::world::pbx::PBX.parse().unwrap(), "INVITE"), 3, "0, 500 and 1500 ms");
    assert_eq!((world.bots.sockets.len(), world.bridge.begun), (1, 1));
    world.ends_clean();
}

#[test]
fn sip_037_a_cancel_before_the_answer_gets_487_and_the_dial_is_given_up() {
    let mut world = World::new(&Scene::default());
    world.bots.plan.push_back(Pickup::Never);
    let phone = world.dial(world.pbx.plan());
    world.run(2000);
    world.cancel(phone);
    assert_eq!(world.refusal(phone).0, 487);
    world.run(20);
    assert!(world.bot(0).closed.is_some() && world.bot(0).opened.is_none(), "the socket is closed");
    let record = world.record();
    assert_eq!((record.end.by, record.end.why, record.end.sip_code), ("caller", "cancelled", Some(487)));
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by, stream.duration.as_str()), ("cancelled", "user", "0"));
    assert_eq!(record.talk_ms, 0);
    world.ends_clean();
}

#[test]
fn sip_037_a_cancel_that_crosses_the_200_is_answered_and_the_callers_bye_ends_the_call() {
    let mut world = World::new(&Scene::default());
    let phone = world.dial(world.pbx.plan());
    let bridge = world.bridge.address;
    world.until(1000, "a 200 on its way", |world| world.link.count(bridge, "SIP/2.0 200") == 1);
    world.cancel(phone);
    world.run(1000);
    assert!(world.phone(phone).refused.is_none(), "no 487 after a 200");
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("completed", "user"));
    assert_eq!(world.record().end.why, "caller_hangup");
    world.ends_clean();
}

#[test]
fn sip_041_an_invite_whose_expires_passes_gets_487() {
    let mut world = World::new(&Scene::default());
    world.bots.plan.push_back(Pickup::Never);
    let plan = world.pbx.plan().header("Expires", "4");
    let phone = world.dial(plan);
    assert_eq!(world.refusal(phone).0, 487);
    assert_eq!(world.ms(), 4006);
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("cancelled", "user"));
    world.ends_clean();
}

#[test]
fn sip_031_a_retransmitted_invite_is_one_stream_before_and_after_the_answer() {
    let mut world = World::new(&Scene::default());
    let mut call = RawCall::new("again");
    let invite = call.request("INVITE", "", &Offer::new(50_000).text());
    for _ in 0..3 {
        world.raw_send(&invite);
        world.run(10);
    }
    let ok = world.raw_wait("SIP/2.0 200", 1000);
    call.take_tag(&ok);
    world.raw_send(&invite);
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    world.run(100);
    world.raw_send(&invite);
    world.run(1000);
    assert_eq!((world.bots.sockets.len(), world.bridge.begun), (1, 1));
    let bye = {
        call.cseq += 1;
        call.request("BYE", "", "")
    };
    world.raw_send(&bye);
    world.run(50);
    world.ends_clean();
}

#[test]
fn sip_038_a_copy_by_another_way_gets_482_also_after_the_call_and_opens_no_stream() {
    let mut world = World::new(&Scene::default());
    let offer = Offer::new(50_000).text();
    let mut call = RawCall::new("forked");
    let (invite, copy) = (call.request("INVITE", "", &offer), call.request("INVITE", "", &offer));
    world.raw_send(&invite);
    world.run(1);
    world.raw_send(&copy);
    let refused = world.raw_wait("SIP/2.0 482", 100);
    assert_eq!(refused.line(), "SIP/2.0 482 Loop Detected");
    let ok = world.raw_wait("SIP/2.0 200", 1000);
    call.take_tag(&ok);
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    world.run(500);
    call.cseq += 1;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.raw_wait("SIP/2.0 200", 100);
    world.run(20_000);
    let late = {
        let mut late = RawCall::new("forked");
        late.request("OPTIONS", "", "");
        late.request("x", "", "");
        late.request("INVITE", "", &offer)
    };
    world.raw_send(&late);
    world.raw_wait("SIP/2.0 482", 100);
    assert_eq!((world.bots.sockets.len(), world.bridge.begun), (1, 1));
    world.ends_clean();
}

#[test]
fn sip_076_a_reinvite_before_the_ack_proves_that_the_200_arrived() {
    let mut world = World::new(&Scene::default());
    let mut call = RawCall::new("hasty");
    let offer = Offer { address: "198.51.100.2".into(), ..Offer::new(50_000) };
    let invite = call.request("INVITE", "", &offer.text());
    world.raw_send(&invite);
    let ok = world.raw_wait("SIP/2.0 200", 1000);
    call.take_tag(&ok);
    call.cseq += 1;
    let reinvite = call.request("INVITE", "", &offer.then("sendonly").text());
    world.raw_send(&reinvite);
    let ok = world.raw_wait("SIP/2.0 200", 400);
    assert!(ok.body().contains("a=recvonly"), "{}", ok.text);
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    world.run(40_000);
    assert_eq!(world.bridge.calls(), 1, "the missing first ACK does not end the call");
    call.cseq += 1;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.ends_clean();
}
