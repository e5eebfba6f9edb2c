//! Bridge to bot: order, numbers, chunks, digits, stop.

use super::*;

#[test]
fn connected_is_exactly_one_key_and_start_follows() {
    let mut world = World::connecting(settings());
    assert_eq!(world.session.poll_message(), None);
    world.session.handle_opened(world.now);
    assert_eq!(world.session.poll_message().as_deref(), Some(r#"{"event":"connected"}"#));
    let start = &world.messages()[0];
    assert_eq!((&start["event"], &start["sequence_number"]), (&json!("start"), &json!("1")));
    assert_eq!(start["start"]["media_format"]["bit_rate"], "128kbps");
}

#[test]
fn the_rate_and_its_bit_rate_are_the_stream_s() {
    for (rate, hz, kbps) in [(SampleRate::Hz16000, "16000", "256kbps"), (SampleRate::Hz24000, "24000", "384kbps")] {
        let mut world = World::connecting(StreamSettings { sample_rate: rate, ..settings() });
        world.session.handle_opened(world.now);
        let format = &world.messages()[1]["start"]["media_format"];
        assert_eq!((&format["sample_rate"], &format["bit_rate"]), (&json!(hz), &json!(kbps)));
    }
}

#[test]
fn a_chunk_is_exactly_media_chunk_ms_and_the_last_may_be_shorter() {
    let mut world = World::new();
    world.session.push_audio(&[7; 1590]);
    world.session.push_audio(&[7; 20]);
    world.session.stop(world.now, StopReason::Stopped);
    let messages = world.messages();
    let seen: Vec<_> = messages[..3]
        .iter()
        .map(|message| {
            let media = &message["media"];
            let mut payload = Vec::new();
            assert!(super::super::base64::decode(media["payload"].as_str().expect("text"), &mut payload));
            (media["chunk"].clone(), media["timestamp"].clone(), payload.len())
        })
        .collect();
    assert_eq!(seen, [(json!(1), json!("0"), 1600), (json!(2), json!("100"), 1600), (json!(3), json!("200"), 20)]);
    assert_eq!(messages[3]["stop"]["reason"], "stopped");
    assert_eq!(messages.len(), 4);
}

#[test]
fn a_stall_makes_the_timestamp_jump_and_leaves_the_play_out_alone() {
    let mut world = World::new();
    world.bot_speaks(200, 5);
    world.session.push_audio(&[7; 800]);
    world.session.skip(400);
    world.session.push_audio(&[7; 800]);
    let stamps: Vec<_> = world.messages().iter().map(|message| message["media"]["timestamp"].clone()).collect();
    assert_eq!(stamps, ["0", "500"]);
    assert_eq!(world.session.report().stalled_ms, 400);
    assert_eq!(world.packets(220), 200);
}

#[test]
fn audio_and_digits_before_start_and_after_stop_are_not_sent() {
    let mut world = World::connecting(settings());
    world.session.push_audio(&[7; 8000]);
    world.session.dtmf('1', 100);
    world.session.skip(100);
    assert!(world.messages().is_empty());
    world.session.handle_opened(world.now);
    world.session.push_audio(&[7; 800]);
    assert_eq!(world.messages()[2]["media"]["timestamp"], "0");
    world.session.stop(world.now, StopReason::CallEnded);
    world.session.push_audio(&[7; 8000]);
    world.session.dtmf('1', 100);
    world.bot_marks("late");
    world.session.stop(world.now, StopReason::CallEnded);
    let messages = world.messages();
    assert_eq!(messages.len(), 1, "nothing after stop");
    assert_eq!(messages[0]["stop"]["reason"], "callended");
}

#[test]
fn a_digit_is_one_of_sixteen_and_its_duration_a_string() {
    let mut world = World::new();
    for digit in ['0', '*', '#', 'd', 'E', 'é'] {
        world.session.dtmf(digit, 120);
    }
    let digits: Vec<_> = world.messages().iter().map(|message| message["dtmf"].clone()).collect();
    let expected = ["0", "*", "#", "D"].map(|digit| json!({"duration": "120", "digit": digit}));
    assert_eq!(digits, expected);
}

#[test]
fn a_stream_that_only_listens_sends_no_digits_and_discards_what_the_bot_says() {
    let mut world = World::with(StreamSettings { bidirectional: false, ..settings() });
    world.session.dtmf('1', 100);
    world.bot_speaks(200, 5);
    world.bot_marks("m");
    world.bot_clears();
    assert_eq!(world.packets(200), 0);
    assert!(world.messages().is_empty());
    assert_eq!(world.dropped("unidirectional"), 3);
}

#[test]
fn an_idle_stream_costs_less_than_8_kib() {
    let chunk = SampleRate::Hz24000.samples(100) * 2;
    assert!(size_of::<StreamSession>() + chunk < 8 * 1024, "{}", size_of::<StreamSession>());
}
