//! Bot to bridge: one story per row of the table of what is put up with.

use super::*;

#[test]
fn rtp_070_sizes_seen_in_the_field_all_play_without_a_gap() {
    let mut world = World::new();
    let sizes = [320, 640, 1600, 1920, 2200, 3200, 4800, 8000, 16000, 32000];
    for (number, size) in sizes.iter().enumerate() {
        world.bot_pcm(&vec![number as i16 + 1; size / 2]);
    }
    let total: usize = sizes.iter().sum::<usize>() / 2;
    world.packets(total / 8 + 40);
    assert_eq!(world.played, total);
    assert!(world.heard[..total].iter().all(|sample| *sample != 0), "a gap");
    assert!(world.tolerated("payload_size") > 0);
}

#[test]
fn rtp_070_the_odd_byte_waits_for_the_next_message() {
    let mut world = World::new();
    let bytes: Vec<u8> = (0..640u32).map(|n| (n % 251) as u8).collect();
    for part in [&bytes[..161], &bytes[161..162], &bytes[162..163], &bytes[163..163], &bytes[163..]] {
        world.bot_bytes(part);
    }
    world.pass(60);
    world.packets(60);
    let expected: Vec<i16> = bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
    assert_eq!(world.heard[..320], expected);
    assert_eq!(world.played, 320);
    assert_eq!(world.tolerated("odd_bytes"), 4);
}

#[test]
fn rtp_070_bad_base64_drops_that_message_and_warns_once() {
    let mut world = World::new();
    world.bot(r#"{"event":"media","stream_sid":"x","media":{"payload":"!!!!"}}"#);
    world.bot(r#"{"event":"media","stream_sid":"x","media":{"payload":"A-_A"}}"#);
    let tolerated = |first| StreamEvent::Tolerated { what: "base64", first };
    assert_eq!(world.events(), [tolerated(true), tolerated(false)]);
    assert_eq!(world.dropped("base64"), 2);
    world.bot_speaks(100, 5);
    assert_eq!(world.packets(200), 100);
}

#[test]
fn base64_without_padding_or_with_white_space_or_escapes_is_audio() {
    let mut world = World::new();
    for payload in ["/wD/AA==", "/wD/AA", r"\/wD\n\/AA=\r\n=", "/wD/\\tAA="] {
        world.bot(&format!(r#"{{"event":"media","media":{{"payload":"{payload}"}}}}"#));
    }
    world.pass(60);
    assert_eq!(world.packet(), [255; 8]);
}

#[test]
fn keys_and_events_in_any_spelling_are_read() {
    let mut world = World::new();
    for text in [
        r#"{"Event":"Mark","StreamSid":"x","Mark":{"Name":"a"}}"#,
        r#"{"event":"MARK ","streamSid":"x","sequenceNumber":"1","mark":{"name":"b","x":[1,{}]}}"#,
        r#"{"extra":{"deep":[[[]]]},"event":"mark","sequence_number":null,"stream_sid":7,"mark":{"NAME":"x","name":"c"}}"#,
        "\u{feff} {\"event\":\"mark\",\"mark\":{\"name\":\"d\"}} trailing",
    ] {
        world.bot(text);
    }
    assert_eq!(world.marks(), ["a", "b", "c", "d"]);
    assert!(world.tolerated("spelling") >= 3);
    for what in ["unknown_key", "trailing_text"] {
        assert_eq!(world.tolerated(what), 1, "{what}");
    }
    assert_eq!(world.tolerated("stream_sid"), 2);
}

#[test]
fn a_documented_message_is_nothing_to_tolerate() {
    let mut world = World::new();
    world.bot(r#"{"event":"mark","sequence_number":15,"stream_sid":"x","mark":{"name":"a"}}"#);
    world.bot_speaks(200, 5);
    world.bot_clears();
    assert!(world.session.report().tolerated.is_empty(), "{:?}", world.session.report());
}

#[test]
fn missing_null_wrong_and_unknown_is_ignored_and_counted() {
    let mut world = World::new();
    for (text, what) in [
        ("", "garbage"),
        ("hello", "garbage"),
        ("[1]", "garbage"),
        ("null", "garbage"),
        (r#"{"event":"media""#, "garbage"),
        ("{}", "event_missing"),
        (r#"{"event":null}"#, "event_missing"),
        (r#"{"event":["media"]}"#, "event_missing"),
        (r#"{"event":"playback"}"#, "unknown_event"),
        (r#"{"event":"media"}"#, "payload_missing"),
        (r#"{"event":"media","media":null}"#, "payload_missing"),
        (r#"{"event":"media","media":"AAAA"}"#, "payload_missing"),
        (r#"{"event":"media","media":{"payload":[0,1]}}"#, "payload_missing"),
        (r#"{"event":"mark"}"#, "mark_name_missing"),
        (r#"{"event":"mark","mark":{"name":null}}"#, "mark_name_missing"),
        (r#"{"event":"mark","mark":{"name":{"a":1}}}"#, "mark_name_missing"),
    ] {
        let before = world.tolerated(what);
        world.bot(text);
        assert_eq!(world.tolerated(what), before + 1, "{text}");
    }
    assert!(world.messages().is_empty());
    assert_eq!(world.end(), None);
}

#[test]
fn hostile_depth_and_width_are_garbage_and_no_panic() {
    let mut world = World::new();
    world.bot(&"[".repeat(100_000));
    world.bot(&format!("{}1{}", r#"{"mark":"#.repeat(50_000), "}".repeat(50_000)));
    world.bot(&format!(r#"{{"event":"mark","x":{}{},"mark":{{"name":1}}}}"#, "[".repeat(60_000), "]".repeat(60_000)));
    assert_eq!(world.tolerated("garbage"), 2);
    assert_eq!(world.marks(), [json!(1)]);
}

#[test]
fn a_mark_name_keeps_its_json_type() {
    let mut world = World::new();
    for name in [json!(""), json!(42), json!(-1.5), json!(true), json!("é\u{1F600}\"\\\n"), json!("")] {
        world.bot_marks(name.clone());
        assert_eq!(world.marks(), [name]);
    }
}

#[test]
fn our_own_events_echoed_back_are_ignored() {
    let mut world = World::new();
    world.bot(r#"{"event":"connected"}"#);
    world.bot(r#"{"event":"start","sequence_number":"1","stream_sid":"x","start":{}}"#);
    world.bot(r#"{"event":"dtmf","stream_sid":"x","dtmf":{"digit":"5"}}"#);
    assert_eq!(world.tolerated("echo"), 3);
    assert!(world.messages().is_empty());
}

#[test]
fn a_stop_is_a_note_and_nothing_else() {
    let mut world = World::new();
    world.bot_speaks(100, 5);
    world.bot(r#"{"event":"stop","stream_sid":"x"}"#);
    assert!(world.events().contains(&StreamEvent::BotStopNote));
    world.bot_speaks(100, 5);
    assert_eq!(world.packets(300), 200);
}

#[test]
fn what_comes_before_start_is_queued() {
    let mut world = World::connecting(settings());
    world.bot_marks("early");
    world.bot_speaks(100, 5);
    world.bot_marks("late");
    assert_eq!(world.packets(100), 0);
    assert!(world.messages().is_empty());
    world.session.handle_opened(world.now);
    let events: Vec<_> = world.messages().iter().map(|message| message["event"].clone()).collect();
    assert_eq!(events, ["connected", "start", "mark"]);
    assert_eq!(world.packets(100), 100);
    assert_eq!(world.marks(), ["late"]);
}

#[test]
fn json_in_a_binary_frame_is_accepted_and_audio_only_where_allowed() {
    let mut world = World::new();
    world.session.handle_binary(world.now, br#" {"event":"mark","stream_sid":"x","mark":{"name":"a"}}"#);
    assert_eq!(world.marks(), ["a"]);
    world.session.handle_binary(world.now, &[5; 1600]);
    world.session.handle_binary(world.now, b"{not json");
    assert_eq!((world.tolerated("json_in_binary"), world.dropped("binary_media")), (1, 2));
    assert_eq!(world.packets(200), 0);

    let mut world = World::with(StreamSettings { binary_media: true, ..settings() });
    world.session.handle_binary(world.now, &[5; 1600]);
    world.session.handle_binary(world.now, b"{\0{\0{\0{\0");
    assert_eq!(world.packets(120), 100);
    assert_eq!(world.played, 804);
}

#[test]
fn rtp_072_over_the_cap_the_newest_message_is_dropped_whole() {
    let mut world = World::with(StreamSettings { queue_ms: 1_000, ..settings() });
    for _ in 0..6 {
        world.bot_speaks(10_000, 5);
    }
    assert_eq!(world.dropped("queue_full"), 0, "60 s always fit");
    world.bot_speaks(20, 9);
    world.bot_speaks(20, 9);
    world.bot_marks("end");
    let full: Vec<_> = world
        .events()
        .into_iter()
        .filter(|event| matches!(event, StreamEvent::Tolerated { what: "queue_full", .. }))
        .collect();
    assert_eq!(full.len(), 2);
    assert_eq!(world.packets(60_100), 60_000);
    assert!(world.heard.iter().all(|sample| *sample != 9));
    assert_eq!(world.marks(), ["end"], "marks and clears still get through");
    assert_eq!(world.session.report().queue_max_ms, 60_000);
}

#[test]
fn rtp_072_a_dropped_message_of_odd_length_does_not_turn_the_bytes_that_follow_into_noise() {
    let mut world = World::with(StreamSettings { queue_ms: 60_000, ..settings() });
    world.bot_speaks(60_000, 5);
    world.bot_bytes(&[0x22; 321]);
    world.bot_clears();
    world.bot_speaks(60_000, 5);
    world.bot_bytes(&[0x11; 321]);
    world.packets(20);
    world.bot_bytes(&[0x11; 319]);
    assert_eq!(world.dropped("queue_full"), 2);
    world.packets(60_040);
    assert_eq!(world.heard.iter().filter(|sample| **sample == 0x1111).count(), 160);
}

#[test]
fn marks_without_end_are_bounded() {
    let mut world = World::new();
    world.bot_speaks(1000, 5);
    let name = "n".repeat(1000);
    for _ in 0..2000 {
        world.bot_marks(name.as_str());
    }
    assert!(world.dropped("marks_full") > 900);
    world.bot_clears();
    assert_eq!(world.marks().len() as u64 + world.dropped("marks_full"), 2000);
    world.bot_marks("again");
    assert_eq!(world.marks(), ["again"]);
}

#[test]
fn rtp_078_media_after_our_stop_is_ignored() {
    let mut world = World::new();
    world.bot_speaks(1000, 5);
    world.bot_marks("pending");
    world.packets(100);
    world.session.stop(world.now, StopReason::CallEnded);
    world.bot_speaks(1000, 5);
    world.bot_clears();
    assert_eq!(world.packets(200), 0);
    let messages = world.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["event"], "stop", "pending marks are not echoed");
}
