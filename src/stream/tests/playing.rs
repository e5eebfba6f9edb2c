//! When bot audio is heard: threshold, underruns, marks, clear, hold.

use super::*;

#[test]
fn playing_starts_at_60_ms_of_audio() {
    let mut world = World::new();
    world.bot_speaks(40, 5);
    assert_eq!(world.packets(20), 0);
    world.bot_speaks(20, 5);
    assert_eq!(world.packets(60), 60);
}

#[test]
fn playing_starts_60_ms_after_the_first_byte() {
    let mut world = World::new();
    world.bot_speaks(20, 5);
    world.pass(10);
    world.bot_speaks(20, 5);
    assert_eq!(world.packets(40), 0, "at 10 and 30 ms");
    world.pass(9);
    assert_eq!(world.pull().len(), 0, "at 59 ms");
    world.pass(1);
    assert_eq!(world.packets(60), 40);
}

#[test]
fn playing_starts_at_once_when_a_mark_follows_the_audio() {
    let mut world = World::new();
    world.bot_speaks(20, 5);
    world.bot_marks("m");
    assert_eq!(world.packet().len(), PACKET);
    assert_eq!(world.marks(), ["m"]);
}

#[test]
fn playing_starts_at_once_when_the_close_follows_the_audio() {
    let mut world = World::new();
    world.bot_speaks(30, 5);
    world.bot_closes();
    assert_eq!(world.packets(40), 30);
    assert!(world.end().is_some());
}

#[test]
fn rtp_073_an_underrun_is_silence_at_once_then_the_raised_threshold() {
    let mut world = World::new();
    world.bot_speaks(60, 5);
    assert_eq!(world.packets(80), 60, "dry at 60 ms");
    world.pass(220);
    world.bot_speaks(80, 5);
    assert_eq!(world.session.report().underruns, 1, "240 ms after it ran dry");
    assert_eq!(world.packet().len(), 0, "80 ms is less than 100");
    world.bot_speaks(20, 5);
    assert_eq!(world.packets(100), 100);
}

#[test]
fn rtp_073_audio_after_300_ms_is_a_new_sentence_and_no_underrun() {
    let mut world = World::new();
    world.bot_speaks(60, 5);
    world.packets(80);
    world.pass(281);
    world.bot_speaks(60, 5);
    assert_eq!(world.session.report().underruns, 0);
    assert_eq!(world.packets(60), 60, "the threshold is still 60 ms");
}

#[test]
fn the_threshold_stops_at_200_ms_and_falls_again() {
    let mut world = World::new();
    for _ in 0..10 {
        world.bot_speaks(200, 5);
        assert_eq!(world.packets(220), 200);
    }
    assert_eq!(world.session.report().underruns, 9);
    world.bot_speaks(180, 5);
    assert_eq!(world.packet().len(), 0);
    world.bot_clears();
    world.pass(70_000);
    world.bot_speaks(60, 5);
    assert_eq!(world.packets(60), 60);
}

#[test]
fn real_time_with_120_ms_of_jitter_settles() {
    let mut world = World::new();
    let mut random = Random::from_number(5);
    let mut arrivals: Vec<u64> = (0..1000).map(|n| n * 20 + u64::from(random.below(120))).collect();
    for n in 1..arrivals.len() {
        arrivals[n] = arrivals[n].max(arrivals[n - 1]);
    }
    let start = world.now;
    let mut next = 0;
    while next < arrivals.len() {
        while next < arrivals.len() && start + Duration::from_millis(arrivals[next]) <= world.now {
            world.bot_speaks(20, 5);
            next += 1;
        }
        world.packet();
    }
    world.packets(400);
    assert_eq!(world.played, 1000 * PACKET);
    assert!(world.session.report().underruns <= 4, "{}", world.session.report().underruns);
}

#[test]
fn rtp_071_a_remainder_joins_the_next_message_across_marks() {
    let mut world = World::new();
    world.bot_speaks(70, 5);
    world.bot_marks("a");
    world.bot_speaks(70, 6);
    world.bot_marks("b");
    assert_eq!(world.packets(140), 140);
    assert_eq!(world.played, 140 * 8);
    assert!(world.heard.iter().all(|sample| *sample != 0), "a gap");
    assert_eq!(world.marks(), ["a", "b"]);
}

#[test]
fn rtp_071_a_remainder_is_padded_only_when_nothing_follows() {
    let mut world = World::new();
    world.bot_speaks(70, 5);
    world.packets(60);
    assert_eq!(world.packet().len(), 80);
    assert_eq!(world.packet().len(), 0);
}

#[test]
fn rtp_075_a_mark_returns_when_its_last_sample_was_sent() {
    let mut world = World::new();
    world.bot_speaks(50, 5);
    world.bot_marks("at 50 ms");
    world.bot_speaks(50, 5);
    world.bot_marks("at 100 ms");
    world.packets(40);
    assert!(world.marks().is_empty());
    world.pull();
    assert!(world.marks().is_empty(), "pulled, not yet sent");
    world.session.sent(world.now);
    assert_eq!(world.marks(), ["at 50 ms"]);
    world.pass(20);
    world.packets(20);
    assert!(world.marks().is_empty());
    world.packets(20);
    assert_eq!(world.marks(), ["at 100 ms"]);
}

#[test]
fn rtp_075_behind_a_resampler_a_mark_waits_for_the_packet_that_its_last_sample_leaves_in() {
    let mut world = World::new();
    world.session.set_playout_delay(20);
    for (ms, name) in [(17, "leaves in the first"), (3, "begins in the first, leaves in the second"), (20, "last")] {
        world.bot_speaks(ms, 5);
        world.bot_marks(name);
    }
    world.packets(20);
    assert_eq!(world.marks(), ["leaves in the first"]);
    world.packets(20);
    assert_eq!(world.marks(), ["begins in the first, leaves in the second"]);
    world.bot_marks("behind the last");
    assert!(world.marks().is_empty(), "its audio is still on its way");
    world.packets(20);
    assert_eq!(world.marks(), ["last", "behind the last"]);
    world.bot_speaks(20, 5);
    world.bot_closes();
    world.packets(20);
    assert_eq!(world.end(), None, "the end of the word is still on its way");
    world.packets(20);
    assert!(world.end().is_some());
}

#[test]
fn rtp_075_a_mark_with_nothing_queued_returns_at_once() {
    let mut world = World::new();
    world.bot_marks("a");
    assert_eq!(world.marks(), ["a"]);
    world.bot_speaks(20, 5);
    world.pass(60);
    world.pull();
    world.bot_marks("b");
    assert!(world.marks().is_empty(), "its audio is pulled and not yet sent");
    world.session.sent(world.now);
    assert_eq!(world.marks(), ["b"]);
}

#[test]
fn rtp_075_equal_names_each_return_and_numbers_have_no_gap() {
    let mut world = World::new();
    for _ in 0..3 {
        world.bot_speaks(20, 5);
        world.bot_marks("same");
    }
    world.packets(60);
    let numbers: Vec<_> = world.messages().iter().map(|message| message["sequence_number"].clone()).collect();
    assert_eq!(numbers, ["2", "3", "4"]);
}

#[test]
fn rtp_076_a_clear_silences_the_next_packet_and_rtp_077_returns_the_marks() {
    let mut world = World::new();
    world.bot_speaks(100, 5);
    world.bot_marks("a");
    world.bot_bytes(&[5; 1601]);
    world.bot_marks("b");
    world.packets(40);
    world.bot_clears();
    assert_eq!(world.marks(), ["a", "b"]);
    assert!(world.session.take_cleared());
    assert!(!world.session.take_cleared());
    assert_eq!(world.packets(200), 0);
    world.bot_speaks(100, 6);
    world.bot_marks("c");
    assert_eq!(world.packet(), [6; PACKET], "the half sample is gone too");
    world.packets(80);
    assert_eq!(world.marks(), ["c"]);
    assert_eq!((world.session.report().clears, world.session.report().underruns), (1, 0));
}

#[test]
fn rtp_076_after_current_message_lets_the_message_being_played_finish() {
    let mut world = World::with(StreamSettings { clear_scope: ClearScope::AfterCurrentMessage, ..settings() });
    world.bot_speaks(100, 5);
    world.bot_marks("a");
    world.bot_speaks(100, 6);
    world.packets(40);
    world.bot_clears();
    assert_eq!(world.marks(), ["a"]);
    assert_eq!(world.packets(200), 60);
    assert!(world.heard.iter().all(|sample| *sample != 6));
    world.bot_speaks(100, 7);
    world.bot_clears();
    assert_eq!(world.packets(200), 0, "a message not begun is dropped");
}

#[test]
fn rtp_077_marks_can_be_dropped_by_a_clear() {
    let mut world = World::with(StreamSettings { clear_marks: ClearMarks::Drop, ..settings() });
    world.bot_speaks(100, 5);
    world.bot_marks("a");
    world.bot_clears();
    world.bot_marks("b");
    assert_eq!(world.marks(), ["b"]);
}

#[test]
fn played_ms_appears_only_with_extensions() {
    for (extensions, expected) in [(false, Value::Null), (true, json!("40"))] {
        let mut world = World::with(StreamSettings { extensions, ..settings() });
        world.bot_speaks(100, 5);
        world.bot_marks("a");
        world.packets(40);
        world.bot_clears();
        assert_eq!(world.messages()[0]["mark"]["played_ms"], expected);
    }
}

#[test]
fn sdp_011_on_hold_audio_and_marks_wait() {
    let mut world = World::new();
    world.bot_speaks(100, 5);
    world.bot_marks("a");
    world.packets(40);
    world.session.set_paused(world.now, true);
    assert_eq!(world.packets(5000), 0);
    world.bot_speaks(100, 6);
    assert!(world.messages().is_empty());
    world.session.set_paused(world.now, false);
    assert_eq!(world.packets(60), 60);
    assert_eq!(world.marks(), ["a"]);
    assert_eq!(world.packets(120), 100);
    assert_eq!(world.session.report().underruns, 0);
}

#[test]
fn sdp_011_a_clear_on_hold_returns_its_marks_after_it() {
    let mut world = World::new();
    world.bot_speaks(100, 5);
    world.bot_marks("a");
    world.session.set_paused(world.now, true);
    world.bot_clears();
    world.bot_marks("b");
    assert!(world.marks().is_empty());
    world.session.set_paused(world.now, false);
    assert_eq!(world.marks(), ["a", "b"]);
}

#[test]
fn a_packet_that_was_skipped_plays_nothing_twice() {
    let mut world = World::new();
    world.bot_pcm(&(1..=800).collect::<Vec<i16>>());
    world.bot_marks("m");
    world.pull();
    world.packets(100);
    assert_eq!(world.heard[..800], (1..=800).collect::<Vec<i16>>());
    assert_eq!(world.marks(), ["m"]);
}
