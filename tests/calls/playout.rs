//! What the bot says and when it is heard: thresholds, underruns, marks, clear, limits.

use std::time::{Duration, Instant};

use serde_json::json;

use super::world::sound::{assert_even, find, is_silent, speech, tone};
use super::world::{Scene, World};

/// Packets to the phone that are not silence, and when they left.
fn spoken(world: &World) -> Vec<(Instant, Vec<u8>)> {
    let loud = world.tap.iter().filter(|(_, _, packet)| !is_silent(packet));
    loud.map(|(at, _, packet)| (*at, packet.payload.clone())).collect()
}

#[test]
fn rtp_075_a_mark_comes_back_with_the_packet_of_the_last_sample_before_it() {
    let mut world = World::new(&Scene::default());
    world.call();
    world.run(500);
    for (name, ms) in [("a", 200), ("b", 200), ("c", 55), ("d", 45)] {
        world.bot_plays(0, &speech(0, ms));
        world.bot_marks(0, name);
    }
    world.run(1000);
    assert_eq!(world.bot(0).marks(), ["a", "b", "c", "d"]);
    let packets = spoken(&world);
    assert_eq!(packets.len(), 25, "RTP-071: remainders are joined across marks");
    let marks: Vec<Instant> =
        world.bot(0).heard.iter().filter(|(_, message)| message["event"] == "mark").map(|(at, _)| *at).collect();
    let expected: Vec<Instant> = [9, 19, 22, 24].iter().map(|packet| packets[*packet].0).collect();
    assert_eq!(marks, expected);
    for mark in world.bot(0).events("mark") {
        assert_eq!(mark["stream_sid"], world.bot(0).start()["stream_sid"]);
    }
    world.ends_clean();
}

#[test]
fn rtp_075_a_mark_behind_nothing_comes_back_at_once_and_names_may_repeat() {
    let mut world = World::new(&Scene::default());
    world.call();
    world.run(500);
    let asked = world.now;
    for name in ["x", "x", ""] {
        world.bot_marks(0, name);
    }
    world.run(2);
    assert_eq!(world.bot(0).marks(), ["x", "x", ""]);
    assert!(world.bot(0).when("mark") - asked <= Duration::from_millis(1));
    world.ends_clean();
}

#[test]
fn rtp_076_077_a_clear_is_silent_within_one_packet_and_returns_the_marks_in_order() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    for name in ["one", "two", "three"] {
        world.bot_plays(0, &speech(0, 1000));
        world.bot_marks(0, name);
    }
    world.run(1500);
    assert_eq!(world.bot(0).marks(), ["one"]);
    world.bot_clears(0);
    let cleared = world.now;
    world.run(1);
    assert_eq!(world.bot(0).marks(), ["one", "two", "three"]);
    world.run(1000);
    let late = spoken(&world).iter().filter(|(at, _)| *at > cleared).count();
    assert!(late <= 1, "{late} packets after the clear");
    let words = speech(0, 500);
    world.bot_plays(0, &words);
    world.bot_marks(0, "four");
    world.run(1000);
    assert_eq!(world.bot(0).marks().last().map(String::as_str), Some("four"), "what comes after plays as ever");
    assert!(find(&world.phone(phone).ear(), &words).is_some());
    assert_even(&world.sent_to(phone));
    world.ends_clean();
}

#[test]
fn rtp_076_a_clear_drops_the_tail_of_the_resampler_too() {
    let steps = [super::world::voicebot("talk", "ws://bot.test/?sample-rate=16000", "")];
    let mut world = World::new(&Scene::steps(&steps));
    world.call();
    world.run(500);
    world.bot_plays(0, &tone(1000.0, 16_000, 2000));
    world.run(510);
    world.bot_clears(0);
    let cleared = world.now;
    world.run(500);
    assert!(spoken(&world).iter().filter(|(at, _)| *at > cleared).count() <= 1);
    world.ends_clean();
}

#[test]
fn rtp_071_two_messages_of_any_size_are_heard_without_a_gap_between_them() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    let words = speech(0, 3000);
    let mut rest = words.as_slice();
    for size in [1, 79, 160, 161, 800, 7, 4000, 333].into_iter().cycle() {
        let (part, left) = rest.split_at(size.min(rest.len()));
        world.bot_plays(0, part);
        rest = left;
        if rest.is_empty() {
            break;
        }
    }
    world.run(4000);
    assert!(find(&world.phone(phone).ear(), &words).is_some());
    world.ends_clean();
}

#[test]
fn rtp_073_little_audio_waits_60_ms_for_more_and_enough_does_not() {
    for (ms, wait) in [(20, 60..=85), (40, 60..=85), (60, 0..=25), (1000, 0..=25)] {
        let mut world = World::new(&Scene::default());
        world.call();
        world.run(503);
        let said = world.now;
        world.bot_plays(0, &speech(0, ms));
        world.run(1500);
        let first = (spoken(&world)[0].0 - said).as_millis();
        assert!(wait.contains(&first), "{ms} ms of audio began after {first} ms");
        world.ends_clean();
    }
}

#[test]
fn rtp_073_an_underrun_is_counted_when_more_comes_within_300_ms_and_raises_the_threshold() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    world.bot_plays(0, &speech(0, 100));
    world.run(300);
    world.bot_plays(0, &speech(0, 60));
    let said = world.now;
    world.run(1000);
    let again = spoken(&world).iter().find(|(at, _)| *at > said).expect("heard").0;
    assert!((100..=125).contains(&(again - said).as_millis()), "60 + 40 ms: {:?}", again - said);
    world.bot_plays(0, &speech(0, 100));
    world.run(2000);
    world.hang_up(phone);
    let figures = world.stream().figures.expect("figures");
    assert_eq!(figures.underruns, 1, "a pause of a second is none");
    assert_eq!((figures.played_ms, figures.media_received), (260, 3));
    world.ends_clean();
}

#[test]
fn rtp_072_the_queue_takes_120_s_and_drops_the_newest_message_whole() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(100);
    for _ in 0..13 {
        world.bot_plays(0, &speech(0, 10_000));
    }
    world.bot_marks(0, "end");
    world.run(1000);
    world.bot_clears(0);
    world.run(100);
    assert_eq!(world.bot(0).marks(), ["end"], "clear and mark always get through");
    world.hang_up(phone);
    let figures = world.stream().figures.expect("figures");
    assert_eq!(figures.queue_max_ms, 120_000);
    assert_eq!(figures.dropped.values().sum::<u64>(), 1);
    world.ends_clean();
}

#[test]
fn what_a_bot_writes_wrongly_is_put_up_with_and_counted() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    let wrong = [
        json!({"event": "media", "media": {"payload": "!!"}}),
        json!({"event": "media"}),
        json!({"event": "nonsense"}),
        json!({"event": "dtmf", "dtmf": {"digit": "5"}}),
        json!([1, 2]),
        json!({"event": "start"}),
    ];
    for message in &wrong {
        world.bot_says(0, message);
    }
    world.bot_says(0, &json!({"event": "mark", "mark": {"name": 5}, "streamSid": null}));
    world.run(500);
    assert_eq!(world.bot(0).last("mark")["mark"]["name"], 5, "the same JSON type");
    assert!(world.phone(phone).is_up());
    world.hang_up(phone);
    let figures = world.stream().figures.expect("figures");
    assert!(figures.tolerated.values().sum::<u64>() >= 4, "{:?}", figures.tolerated);
    world.ends_clean();
}
