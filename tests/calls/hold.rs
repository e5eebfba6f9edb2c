//! Hold in all its forms: who hears what meanwhile, and how the call goes on after it.

use trunkstream::stream::SocketEnd;

use super::world::bot::Manner;
use super::world::pbx::Mouth;
use super::world::sound::{assert_even, assert_follows, find, is_silent, speech, tone};
use super::world::text::Offer;
use super::world::{Scene, World};

/// The three ways to hold: the offer, and the direction answered.
fn holds(offer: &Offer) -> [(Offer, &'static str); 4] {
    let by_address = Offer { address: "0.0.0.0".into(), ..offer.then("sendrecv") };
    let old_and_new = Offer { address: "0.0.0.0".into(), ..offer.then("sendonly") };
    [
        (offer.then("sendonly"), "recvonly"),
        (offer.then("inactive"), "inactive"),
        (by_address, "sendrecv"),
        (old_and_new, "recvonly"),
    ]
}

#[test]
fn sdp_010_rtp_033_rtp_stops_on_hold_and_goes_on_after_it_without_a_gap_in_sequence() {
    for (hold, direction) in holds(&Offer::new(40_000)) {
        let mut world = World::new(&Scene::default());
        let phone = world.call();
        world.run(1000);
        let answered = world.phone(phone).sdp.clone().expect("an answer");
        world.reinvite(phone, Some(hold.clone()));
        let held = world.phone(phone).reinvites[0].clone().expect("hold is accepted");
        assert_eq!(held.direction, direction, "SDP-009");
        assert_eq!(held.address, answered.address, "SDP-008: our real address");
        world.run(50);
        let before = world.sent_to(phone).len();
        world.run(5000);
        assert_eq!(world.sent_to(phone).len(), before, "{direction}: nothing is sent");
        let resume = Offer { address: "198.51.100.1".into(), ..hold.then("sendrecv") };
        world.reinvite(phone, Some(resume));
        world.run(1000);
        let sent = world.sent_to(phone);
        let (last, first) = (&sent[before - 1], &sent[before]);
        let elapsed = u32::try_from((first.0 - last.0).as_millis()).expect("short") * 8;
        assert_follows(last.1, first.1, elapsed);
        assert!(first.1.marker && first.0 > last.0 + std::time::Duration::from_secs(5));
        assert_even(&sent[..before]);
        assert_even(&sent[before..]);
        world.ends_clean();
    }
}

#[test]
fn sdp_011_the_bot_hears_silence_on_hold_and_its_stream_goes_on_in_time() {
    for (hold, _) in holds(&Offer::new(40_000)) {
        let mut world = World::new(&Scene::default());
        let phone = world.call();
        world.phone(phone).say(tone(1000.0, 8000, 10_000));
        world.run(2000);
        world.reinvite(phone, Some(hold.clone()));
        // A PBX that plays music while it holds, even where it said that it would not send.
        world.run(3000);
        let heard = world.bot(0).audio();
        assert!(heard[heard.len() - 16_000..].iter().all(|sample| *sample == 0), "the last two seconds");
        let stamp: u64 = world.bot(0).last("media")["media"]["timestamp"].as_str().unwrap().parse().unwrap();
        let elapsed = world.since(world.bot(0).opened.expect("open"));
        assert!((elapsed - 300..elapsed).contains(&(stamp + 100)), "{stamp} after {elapsed} ms");
        assert!(world.bot(0).closed.is_none());
        world.reinvite(phone, Some(Offer { address: "198.51.100.1".into(), ..hold.then("sendrecv") }));
        world.run(1000);
        let heard = world.bot(0).audio();
        assert!(heard[heard.len() - 1600..].iter().any(|sample| *sample > 10_000), "the caller is heard again");
        world.ends_clean();
    }
}

#[test]
fn sdp_011_music_on_hold_reaches_the_bot_where_the_trunk_says_so() {
    let mut world = World::new(&Scene { trunk: "hold_audio = \"pass\"".into(), ..Scene::default() });
    let phone = world.call();
    world.phone(phone).say(tone(1000.0, 8000, 10_000));
    world.run(1000);
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly")));
    world.run(2000);
    let heard = world.bot(0).audio();
    assert!(heard[heard.len() - 1600..].iter().any(|sample| *sample > 10_000));
    world.ends_clean();
}

#[test]
fn sdp_011_queued_audio_and_its_marks_wait_for_the_end_of_the_hold() {
    for (hold, direction) in holds(&Offer::new(40_000)) {
        let mut world = World::new(&Scene::default());
        let phone = world.call();
        world.run(500);
        let words = speech(0, 2000);
        world.bot_plays(0, &words);
        world.bot_marks(0, "said");
        world.run(600);
        world.reinvite(phone, Some(hold.clone()));
        world.bot_marks(0, "later");
        world.run(5000);
        assert!(world.bot(0).marks().is_empty(), "{direction}: no mark while paused");
        world.reinvite(phone, Some(Offer { address: "198.51.100.1".into(), ..hold.then("sendrecv") }));
        world.run(1200);
        assert!(world.bot(0).marks().is_empty(), "600 ms were heard, 1400 are to come");
        world.run(400);
        assert_eq!(world.bot(0).marks(), ["said", "later"]);
        let ear = world.phone(phone).ear();
        assert!(find(&ear, &words).is_some(), "{direction}: not a sample is lost");
        world.ends_clean();
    }
}

#[test]
fn sdp_011_a_clear_on_hold_drops_the_queue_and_its_marks_come_back_after_the_hold() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.bot_plays(0, &speech(0, 2000));
    world.bot_marks(0, "said");
    world.run(300);
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly")));
    world.bot_clears(0);
    world.run(1000);
    assert!(world.bot(0).marks().is_empty());
    let before = world.sent_to(phone).len();
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly").then("sendrecv")));
    world.run(500);
    assert_eq!(world.bot(0).marks(), ["said"]);
    assert!(world.sent_to(phone)[before..].iter().all(|(_, packet)| is_silent(packet)));
    world.ends_clean();
}

#[test]
fn sdp_011_a_hold_longer_than_its_limit_ends_the_call() {
    let mut world = World::new(&Scene { trunk: "hold_timeout_seconds = 30".into(), ..Scene::default() });
    let phone = world.call();
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly")));
    let held = world.now;
    world.run(20_000);
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly").then("inactive")));
    assert_eq!(world.bye(phone), "Q.850;cause=102;text=\"hold timeout\"");
    assert!((29_900..30_100).contains(&world.since(held)), "from the first hold on: {}", world.since(held));
    assert_eq!(world.record().end.why, "hold_timeout");
    world.ends_clean();
}

#[test]
fn sdp_011_a_hold_that_ends_in_time_leaves_no_limit_behind() {
    let mut world = World::new(&Scene { trunk: "hold_timeout_seconds = 30".into(), ..Scene::default() });
    let phone = world.call();
    let hold = Offer::new(40_000).then("sendonly");
    world.reinvite(phone, Some(hold.clone()));
    world.run(20_000);
    world.reinvite(phone, Some(hold.then("sendrecv")));
    world.run(60_000);
    assert!(world.phone(phone).is_up());
    world.ends_clean();
}

#[test]
fn rtp_042_the_rtp_timeout_rests_on_hold_and_counts_anew_after_it() {
    let mut world = World::new(&Scene { media: "rtp_timeout_seconds = 20".into(), ..Scene::default() });
    let phone = world.call();
    world.run(1000);
    let hold = Offer::new(40_000).then("inactive");
    world.reinvite(phone, Some(hold.clone()));
    world.phone(phone).mouth = Mouth::Shut;
    world.run(90_000);
    assert!(world.phone(phone).is_up());
    world.reinvite(phone, Some(hold.then("sendrecv")));
    let resumed = world.now;
    assert_eq!(world.bye(phone), "Q.850;cause=102;text=\"media timeout\"");
    assert!((19_900..20_100).contains(&world.since(resumed)), "{}", world.since(resumed));
    world.ends_clean();
}

#[test]
fn a_call_that_begins_on_hold_rings_and_speaks_after_the_resume() {
    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan();
    let offer = plan.offer.clone().map(|offer| Offer { direction: "sendonly", ..offer });
    let phone = world.call_with(super::world::pbx::Plan { offer: offer.clone(), ..plan });
    world.run(3000);
    assert!(world.sent_to(phone).is_empty());
    world.bots.manner = Manner::Echo;
    world.reinvite(phone, offer.map(|offer| offer.then("sendrecv")));
    world.phone(phone).say(speech(0, 1000));
    world.run(2000);
    assert!(find(&world.phone(phone).ear(), &speech(0, 1000)).is_some());
    world.ends_clean();
}

#[test]
fn a_peer_that_only_listens_hears_the_bot_and_is_silence_to_it() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.reinvite(phone, Some(Offer::new(40_000).then("recvonly")));
    assert_eq!(world.phone(phone).reinvites[0].clone().expect("accepted").direction, "sendonly");
    world.bot_plays(0, &speech(0, 500));
    world.run(1000);
    assert!(find(&world.phone(phone).ear(), &speech(0, 500)).is_some());
    world.run(70_000);
    assert!(world.phone(phone).is_up(), "RTP-042: no RTP is missing where none may come");
    world.ends_clean();
}

#[test]
fn a_bot_that_closes_while_the_caller_holds_is_heard_after_the_hold() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    let words = speech(0, 1000);
    world.bot_plays(0, &words);
    world.run(300);
    let hold = Offer::new(40_000).then("sendonly");
    world.reinvite(phone, Some(hold.clone()));
    world.bot_ends(0, SocketEnd::Eof);
    world.run(5000);
    assert!(world.phone(phone).is_up(), "its last words are still to be heard");
    world.reinvite(phone, Some(hold.then("sendrecv")));
    assert_eq!(world.bye(phone), "Q.850;cause=16");
    assert!(find(&world.phone(phone).ear(), &words).is_some());
    world.ends_clean();
}
