//! Calls beside each other, and what is left of a call whose other end is silent.

use super::world::bot::Manner;
use super::world::pbx::Plan;
use super::world::raw::RawCall;
use super::world::sound::{find, speech, tone};
use super::world::text::Offer;
use super::world::{Scene, World};

#[test]
fn twelve_calls_at_once_each_hear_their_own_echo() {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let phones: Vec<usize> = (0..12)
        .map(|_| {
            let plan = world.pbx.plan();
            world.run(7);
            world.dial(plan)
        })
        .collect();
    world.run(1000);
    let words = speech(0, 3000);
    for phone in &phones {
        world.phone(*phone).say(words[*phone * 160..].iter().copied());
    }
    world.run(4000);
    for phone in &phones {
        let own = &words[*phone * 160..];
        assert!(find(&world.phone(*phone).ear(), own).is_some(), "phone {phone}");
    }
    let mut sids: Vec<String> = world.bots.sockets.iter().map(|bot| bot.start()["stream_sid"].to_string()).collect();
    sids.sort();
    sids.dedup();
    assert_eq!(sids.len(), 12);
    world.ends_clean();
}

#[test]
fn ops_031_while_the_node_drains_live_calls_are_served_and_new_ones_get_503() {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let phone = world.call();
    world.bridge.directory.drain();
    let late = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(late), (503, "Q.850;cause=42".into()));
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly")));
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly").then("sendrecv")));
    world.info(phone, "application/dtmf", "5");
    world.phone(phone).say(speech(0, 500));
    world.run(1000);
    assert!(find(&world.phone(phone).ear(), &speech(0, 500)).is_some());
    assert_eq!((world.bot(0).digits().as_str(), world.phone(phone).infos.as_slice()), ("5", &[200][..]));
    world.ends_clean();
}

#[test]
fn a_bye_that_nobody_answers_is_resent_and_the_record_comes_after_32_s() {
    let mut world = World::new(&Scene { account: "max_streams = 1".into(), ..Scene::default() });
    let phone = world.call();
    world.run(500);
    world.link.lose(|parcel| parcel.is_sip() && parcel.to.port() == 5060 && parcel.start_line().starts_with("BYE"));
    world.bot_closes(0, 1000);
    let closed = world.now;
    world.run(1000);
    assert_eq!(world.bridge.records.len(), 0);
    world.link.lose_nothing();
    world.link.lose_sip("SIP/2.0 200", usize::MAX);
    world.until(40_000, "the record", |world| world.bridge.records.len() == 1);
    assert!((32_000..32_100).contains(&world.since(closed)), "{}", world.since(closed));
    assert_eq!(world.link.count(world.bridge.address, "BYE"), 11, "0, 0.5, 1.5, 3.5, then every 4 s");
    let record = world.record();
    assert!(record.duration_ms < 700, "the call ended when we hung up: {}", record.duration_ms);
    world.link.lose_nothing();
    world.phone(phone).ended = Some(closed);
    world.ends_clean();
}

#[test]
fn a_bot_that_closes_before_the_ack_ends_the_call_when_the_ack_is_there() {
    let mut world = World::new(&Scene::default());
    world.link.lose_sip("ACK", 2);
    let phone = world.dial(world.pbx.plan());
    world.until(1000, "the bot", |world| world.bots.sockets.first().is_some_and(|bot| bot.opened.is_some()));
    world.bot_closes(0, 1000);
    assert_eq!(world.bye(phone), "Q.850;cause=16");
    let (bye, _) = world.phone(phone).bye.clone().expect("a BYE");
    let after = (bye - world.bot(0).opened.expect("open")).as_millis();
    assert!((1500..1520).contains(&after), "RFC 3261 section 15: with the third 200's ACK, not after {after} ms");
    assert_eq!(world.record().end.why, "flow_ended");
    world.ends_clean();
}

#[test]
fn a_bot_that_closes_and_an_ack_that_never_comes_end_the_call_after_32_s() {
    let mut world = World::new(&Scene::default());
    world.link.lose_sip("ACK", usize::MAX);
    let phone = world.dial(world.pbx.plan());
    world.until(1000, "the bot", |world| world.bots.sockets.first().is_some_and(|bot| bot.opened.is_some()));
    world.bot_closes(0, 1000);
    world.bye(phone);
    let record = world.record();
    assert_eq!((record.end.why, record.streams[0].status), ("flow_ended", "completed"));
    world.ends_clean();
}

#[test]
fn sip_040_byes_that_cross_end_the_call_once() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    world.bot_closes(0, 1000);
    let bridge = world.bridge.address;
    world.until(100, "our BYE on its way", |world| world.link.count(bridge, "BYE") == 1);
    world.hang_up(phone);
    world.run(1000);
    assert_eq!(world.record().streams.len(), 1);
    world.ends_clean();
}

#[test]
fn sip_076_a_reinvite_before_the_answer_in_the_ack_is_491() {
    let mut world = World::new(&Scene::default());
    let mut call = RawCall::new("late");
    let invite = call.request("INVITE", "", "");
    world.raw_send(&invite);
    let ok = world.raw_wait("SIP/2.0 200", 500);
    assert!(ok.body().contains("a=sendrecv"));
    call.take_tag(&ok);
    call.cseq += 1;
    let reinvite = call.request("INVITE", "x: y\r\n", &Offer::new(50_000).text());
    world.raw_send(&reinvite);
    world.raw_wait("SIP/2.0 491", 100);
    call.cseq -= 1;
    let ack = call.request("ACK", "", &Offer { address: "198.51.100.2".into(), ..Offer::new(50_000) }.text());
    world.raw_send(&ack);
    world.run(1000);
    assert!(world.tap.len() > 45);
    call.cseq += 2;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.raw_wait("SIP/2.0 200", 100);
    world.ends_clean();
}

#[test]
fn sdp_007_a_new_ptime_in_a_reinvite_is_followed_without_a_break() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    world.bot_plays(0, &speech(0, 3000));
    world.run(1000);
    world.reinvite(phone, Some(Offer { ptime: 40, ..Offer::new(40_000).then("sendrecv") }));
    world.run(3000);
    assert!(find(&world.phone(phone).ear(), &speech(0, 3000)).is_some());
    for pair in world.sent_to(phone).windows(2) {
        let ticks = u32::try_from(pair[0].1.payload.len()).expect("short");
        super::world::sound::assert_follows(pair[0].1, pair[1].1, ticks);
        assert_eq!((pair[1].0 - pair[0].0).as_millis(), u128::from(ticks / 8));
    }
    world.ends_clean();
}

#[test]
fn a_trunk_with_a_preference_of_its_own_is_answered_in_it() {
    let mut world = World::new(&Scene { trunk: "codecs = [\"PCMA\", \"PCMU\"]".into(), ..Scene::default() });
    let phone = world.call();
    assert_eq!(world.phone(phone).sdp.clone().expect("an answer").payload_types, [8, 101]);
    let plan = world.pbx.plan();
    let late = plan.offer.clone();
    let other = world.call_with(Plan { offer: None, late_answer: late, ..plan });
    assert_eq!(world.phone(other).sdp.clone().expect("an offer").payload_types, [8, 0, 101]);
    world.ends_clean();
}

#[test]
fn media_chunk_ms_of_20_reaches_the_bot_every_20_ms() {
    let mut world = World::new(&Scene::talk("media_chunk_ms = 20"));
    let phone = world.call();
    world.phone(phone).say(tone(440.0, 8000, 2000));
    world.run(2000);
    let chunks: Vec<_> = world.bot(0).heard.iter().filter(|(_, message)| message["event"] == "media").collect();
    assert!(chunks.len() >= 98);
    let settled = &chunks[20..];
    assert!(settled.windows(2).all(|pair| (pair[1].0 - pair[0].0).as_millis() == 20));
    assert!(chunks.iter().all(|(_, chunk)| super::world::bot::samples(chunk).len() == 160));
    world.ends_clean();
}
