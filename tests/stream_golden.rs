//! The documented JSON, byte for byte: whole conversations against hand-written files.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use std::time::Instant;

use trunkstream::base::id::{AccountSid, CallSid, StreamSid};
use trunkstream::base::pcm::SampleRate;
use trunkstream::base::random::Random;
use trunkstream::stream::{
    ClearMarks, ClearScope, DialectSettings, NumberStyle, StopReason, StreamSession, StreamSettings,
};

fn settings() -> StreamSettings {
    let mut random = Random::from_number(1);
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    StreamSettings {
        stream_sid: StreamSid::mint(&mut random),
        call_sid: CallSid::mint(&mut random),
        account_sid: AccountSid::parse("acc1").expect("valid"),
        from: "sip:08061234509".into(),
        to: "01512340321".into(),
        custom_parameters: vec![pair("UUI", "4242"), pair("Custom-Header", "SalesBot"), pair("key1", r#"a "b" \ é"#)],
        sample_rate: SampleRate::Hz8000,
        chunk_ms: 1,
        dialect: DialectSettings::default(),
        extensions: false,
        binary_media: false,
        bidirectional: true,
        queue_ms: 120_000,
        drain_ms: 30_000,
        clear_scope: ClearScope::All,
        clear_marks: ClearMarks::Echo,
    }
}

/// The golden file with this stream's identifiers in it.
fn expected(golden: &str, settings: &StreamSettings) -> String {
    golden.replace("<stream_sid>", settings.stream_sid.as_str()).replace("<call_sid>", settings.call_sid.as_str())
}

fn written(session: &mut StreamSession) -> String {
    std::iter::from_fn(|| session.poll_message()).map(|message| message + "\n").collect()
}

/// connected, start, media, dtmf, mark, stop.
fn conversation(settings: StreamSettings) -> String {
    let now = Instant::now();
    let mut session = StreamSession::new(settings);
    session.handle_opened(now);
    session.push_audio(&[0, 1, 2, 3, 4, 5, 6, 7, -1, -2, -3, -4]);
    session.push_audio(&[32767, -32768, 256, 0]);
    session.dtmf('5', 120);
    session.handle_text(now, r#"{"event":"mark","stream_sid":"x","mark":{"name":"greeting done"}}"#);
    session.handle_text(now, r#"{"event":"mark","stream_sid":"x","mark":{"name":7}}"#);
    session.push_audio(&[1, 2, 3]);
    session.stop(now, StopReason::CallEnded);
    assert_eq!(session.poll_close(), None, "not before the messages are out");
    let text = written(&mut session);
    assert_eq!(session.poll_close(), Some(1000));
    text
}

#[test]
fn number_style_mixed_is_what_bots_were_written_for() {
    assert_eq!(conversation(settings()), expected(include_str!("golden/mixed.txt"), &settings()));
}

#[test]
fn number_style_strings_quotes_the_chunk_too() {
    let dialect = DialectSettings { number_style: NumberStyle::Strings, ..DialectSettings::default() };
    let conversation = conversation(StreamSettings { dialect, ..settings() });
    assert_eq!(conversation, expected(include_str!("golden/strings.txt"), &settings()));
}

#[test]
fn number_style_numbers_quotes_none() {
    let dialect = DialectSettings { number_style: NumberStyle::Numbers, ..DialectSettings::default() };
    let conversation = conversation(StreamSettings { dialect, ..settings() });
    assert_eq!(conversation, expected(include_str!("golden/numbers.txt"), &settings()));
}

#[test]
fn extensions_and_texts_of_the_format_appear_only_where_asked_for() {
    let now = Instant::now();
    let settings = StreamSettings {
        extensions: true,
        sample_rate: SampleRate::Hz16000,
        from: String::new(),
        to: String::new(),
        custom_parameters: Vec::new(),
        dialect: DialectSettings {
            encoding: "audio/x-raw".into(),
            bit_rate: Some("16".into()),
            ..DialectSettings::default()
        },
        ..settings()
    };
    let mut session = StreamSession::new(settings.clone());
    session.handle_opened(now);
    let silence = "A".repeat(1280 * 4 / 3 + 1);
    for name in ["first", "second"] {
        session.handle_text(now, &format!(r#"{{"event":"media","media":{{"payload":"{silence}"}}}}"#));
        session.handle_text(now, &format!(r#"{{"event":"mark","mark":{{"name":"{name}"}}}}"#));
    }
    session.pull(now, 320, &mut Vec::new());
    session.sent(now);
    session.handle_text(now, r#"{"event":"clear"}"#);
    session.set_paused(now, true);
    session.set_paused(now, false);
    session.stop(now, StopReason::Stopped);
    assert_eq!(written(&mut session), expected(include_str!("golden/extensions.txt"), &settings));
}
