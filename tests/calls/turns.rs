//! Turns: who waited how long for whom, as the wire saw it.

use std::time::{Duration, Instant};

use trunkstream::call::turns::{Response, TurnReport};

use super::world::link::Weather;
use super::world::sound::{is_silent, tone};
use super::world::{Scene, World, voicebot};

/// Departure of the first packet of the bot after `since` that is no silence, and of the last.
fn heard(world: &World, since: Instant) -> (Instant, Instant) {
    let loud = world.tap.iter().filter(|(at, _, packet)| *at >= since && !is_silent(packet));
    let times: Vec<Instant> = loud.map(|(at, _, _)| *at).collect();
    (times[0], times[times.len() - 1])
}

/// Ends the call: the turns of its only stream.
fn report(mut world: World, phone: usize) -> TurnReport {
    world.run(400);
    world.hang_up(phone);
    let turns = world.stream().turns.expect("the stream started");
    world.ends_clean();
    turns
}

/// The media message in which the caller's last tone reached the bot.
fn told(world: &World) -> Instant {
    let loud = |(at, message): &(Instant, serde_json::Value)| {
        let is_media = message["event"] == "media";
        (is_media && super::world::bot::samples(message).iter().any(|s| s.abs() > 4000)).then_some(*at)
    };
    world.bot(0).heard.iter().filter_map(loud).next_back().expect("the tone reached the bot")
}

fn near(what: &str, told_ms: u64, from: Instant, to: Instant) {
    let true_ms = (to - from).as_millis() as u64;
    assert!(told_ms.abs_diff(true_ms) <= 20, "{what}: {told_ms} ms, truly {true_ms} ms");
}

#[test]
fn rtp_025_a_turns_parts_are_those_of_the_wire_within_20_ms() {
    for (chunk_ms, thinks_ms, sample_rate, seed) in
        [(20, 700, 8000, 1), (100, 350, 8000, 2), (40, 90, 16_000, 3), (100, 1500, 16_000, 4)]
    {
        let url = format!("ws://bot.test:9001/media?sample-rate={sample_rate}");
        let steps = vec![voicebot("talk", &url, &format!("media_chunk_ms = {chunk_ms}"))];
        let mut world = World::new(&Scene { seed, ..Scene::steps(&steps) });
        let phone = world.call();
        world.run(1000 + 7 * seed);
        world.phone(phone).say(tone(400.0, 8000, 900));
        let began = world.now;
        world.until(2000, "all said", |world| {
            world.now > began + Duration::from_millis(200) && world.pbx.phones[phone].said.last().is_some_and(is_silent)
        });
        let ended = world.now - Duration::from_millis(20);
        world.run(thinks_ms);
        let told = told(&world);
        let answered = world.now;
        world.bot_plays(0, &tone(300.0, sample_rate, 40));
        world.run(500);
        world.bot_plays(0, &tone(300.0, sample_rate, 40));
        world.run(300);
        let (first, _) = heard(&world, answered);
        let turns = report(world, phone);
        assert_eq!((turns.count, turns.answered), (1, 1), "{chunk_ms}: {turns:?}");
        let Response { response_ms, uplink_ms, bot_ms, playout_ms } = turns.list[0].response.expect("an answer");
        assert_eq!(response_ms, uplink_ms + bot_ms + playout_ms);
        near("response", response_ms, ended, first);
        near("uplink", uplink_ms, ended, told);
        near("bot", bot_ms, told, answered);
        near("playout", playout_ms, answered, first);
        assert!(playout_ms >= 60, "40 ms of audio wait for the start threshold: {playout_ms}");
    }
}

#[test]
fn rtp_025_a_bot_that_streams_silence_in_real_time_answers_with_its_first_sound() {
    let mut world = World::new(&Scene::talk("media_chunk_ms = 20"));
    let phone = world.call();
    world.run(500);
    world.phone(phone).say(tone(400.0, 8000, 600));
    let begins = world.now;
    let mut answered = begins;
    for message in 0..150 {
        let sound = if (60..100).contains(&message) { tone(300.0, 8000, 20) } else { vec![0; 160] };
        world.bot_plays(0, &sound);
        if message == 60 {
            answered = world.now;
        }
        world.run(20);
    }
    let (first, _) = heard(&world, begins);
    let turns = report(world, phone);
    let response = turns.list[0].response.expect("an answer");
    near("response", response.response_ms, begins + Duration::from_millis(600), first);
    near("playout", response.playout_ms, answered, first);
}

#[test]
fn rtp_025_with_jitter_the_split_still_adds_up_to_what_the_caller_waited() {
    for seed in 0..8 {
        let mut world = World::new(&Scene { seed, ..Scene::talk("media_chunk_ms = 20") });
        let phone = world.call();
        world.link.rtp = Weather::rough(2, 15);
        world.run(500);
        let begins = world.now;
        world.phone(phone).say(tone(400.0, 8000, 600));
        world.run(1100);
        let answered = world.now;
        world.bot_plays(0, &tone(300.0, 8000, 500));
        world.run(800);
        let (first, _) = heard(&world, answered);
        let turns = report(world, phone);
        let response = turns.list[0].response.expect("an answer");
        let truly = (first - begins).as_millis() as u64 - 600;
        assert!(response.response_ms.abs_diff(truly) <= 60, "seed {seed}: {} of {truly} ms", response.response_ms);
        near("playout", response.playout_ms, answered, first);
    }
}

#[test]
fn rtp_076_a_barge_in_is_timed_from_the_callers_onset_and_from_the_clear() {
    let mut world = World::new(&Scene::talk("media_chunk_ms = 20"));
    let phone = world.call();
    world.run(500);
    world.bot_plays(0, &tone(300.0, 8000, 10_000));
    world.run(2000);
    let onset = world.now;
    world.phone(phone).say(tone(400.0, 8000, 1000));
    world.run(330);
    world.bot_clears(0);
    let cleared = world.now;
    world.run(1500);
    let (_, last) = heard(&world, onset);
    world.bot_plays(0, &tone(300.0, 8000, 500));
    world.run(1000);
    let turns = report(world, phone);
    assert_eq!((turns.count, turns.answered), (1, 1), "{turns:?}");
    near("barge-in", turns.list[0].barge_in_ms.expect("the bot gave way"), onset, last);
    let clear = turns.clear_ms.expect("a clear of a speaking bot").max;
    assert!(clear <= 20 && last <= cleared + Duration::from_millis(20), "{clear} ms");
}

#[test]
fn a_call_in_which_nobody_speaks_has_no_turns() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(1000);
    world.bot_plays(0, &tone(300.0, 8000, 1000));
    world.run(2000);
    assert_eq!(report(world, phone), TurnReport::default());
}
