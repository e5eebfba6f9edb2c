//! `trunkstream replay` over every capture in `pcap/`: what it prints as JSON is what `pcap/expect.toml` and
//! `pcap/calls.toml` say. And its exit codes, its errors, and a live replay against a bot.
#![allow(missing_docs, clippy::disallowed_methods)] // runs the binary

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use trunkstream::base::pcm::SampleRate;
use trunkstream::lab::bot::{Bot, BotMode, BotSettings};
use trunkstream::lab::wav;

/// The call goes on for this long after the last packet.
const AFTERWARDS_MS: u64 = 500;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcap")
}

fn capture(name: &str) -> String {
    folder().join(name).display().to_string()
}

fn expectations(file: &str) -> BTreeMap<String, toml::Table> {
    let text = std::fs::read_to_string(folder().join(file)).expect("a table of captures");
    toml::from_str(&text).expect("tables")
}

fn trunkstream(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trunkstream")).args(arguments).output().expect("the binary starts")
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("trunkstream-replay-{}-{name}", std::process::id()))
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The report of a replay that goes well.
fn report(arguments: &[&str]) -> Value {
    let (code, out, err) = said(&trunkstream(&[&["replay", "--json"], arguments].concat()));
    assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}: {out}");
    serde_json::from_str(&out).expect("JSON")
}

/// Compares figures of a report, named by JSON pointers, with those of a table.
fn compare(name: &str, report: &Value, expected: &toml::Table, pairs: &[(&str, &str)]) {
    for (pointer, key) in pairs {
        let found = report.pointer(pointer).unwrap_or_else(|| panic!("{name}: no {pointer} in {report}"));
        let expected = serde_json::to_value(expected.get(*key)).expect("JSON");
        assert_eq!(*found, expected, "{name}: {pointer}");
    }
}

const DIGITS: [(&str, &str); 2] = [("/digits", "digits"), ("/digit_durations_ms", "digit_durations_ms")];
const EVENTS: [(&str, &str); 2] = [("/event_payload_type", "event_payload_type"), ("/event_clock", "event_clock")];

#[test]
fn rtp_001_a_replay_of_every_capture_tells_what_the_capture_holds() {
    let expectations = expectations("expect.toml");
    assert!(expectations.len() >= 30, "only {} captures", expectations.len());
    for (name, expected) in &expectations {
        let file = capture(expected["file"].as_str().expect("a name"));
        let told: &[&str] = if expected["payload_type"].as_integer() == Some(111) { &["--codec", "opus"] } else { &[] };
        let report = report(&[&[file.as_str()], told].concat());
        // Tones are as long as the frames they were found in say.
        let is_inband = expected.get("inband").is_some_and(|inband| inband.as_bool() == Some(true));
        compare(name, &report, expected, if is_inband { &DIGITS[..1] } else { &DIGITS });
        let counts = [
            ("/frames", "packets"),
            ("/wire/packets", "packets"),
            ("/wire/audio", "audio_packets"),
            ("/wire/event", "event_packets"),
            ("/wire/noise", "noise_packets"),
            ("/wire/lost", "lost"),
            ("/wire/reordered", "reordered"),
            ("/wire/ssrcs", "ssrcs"),
            ("/arrival_ms", "arrival_ms"),
            ("/payload_type", "payload_type"),
            ("/media/packets_received", "packets"),
            ("/media/lost", "lost"),
        ];
        compare(name, &report, expected, &counts);
        // Copies of a telephone-event's last packet may share one number: they repeat the event, not the sound.
        compare(name, &report, expected, &[("/wire/duplicate", "duplicates")]);
        if expected["event_packets"].as_integer() > Some(0) {
            compare(name, &report, expected, &EVENTS);
        }
        let ssrc_changes = expected.get("ssrc_changes").and_then(toml::Value::as_integer).unwrap_or(0);
        assert_eq!(report["media"]["ssrc_changes"], ssrc_changes, "{name}");
        // The bot's stream is continuous, whatever the network did.
        let arrival_ms = report["arrival_ms"].as_u64().expect("a number");
        let heard_ms = report["heard_ms"].as_u64().expect("a number");
        assert!(heard_ms.abs_diff(arrival_ms + AFTERWARDS_MS) <= 20, "{name}: {heard_ms} ms heard");
        assert_eq!(report["bot"]["chunks_sent"], heard_ms.div_ceil(100), "{name}");
        assert_eq!(report["bot"]["digits_sent"], report["media"]["dtmf_digits"], "{name}");
    }
}

#[test]
fn a_capture_of_a_whole_call_yields_the_caller_s_stream_and_the_other_on_demand() {
    for (name, expected) in &expectations("calls.toml") {
        let file = capture(expected["file"].as_str().expect("a name"));
        let report = report(&[&file]);
        compare(name, &report, expected, &DIGITS);
        let counts = [
            ("/frames", "frames"),
            ("/stream", "stream"),
            ("/wire/packets", "packets"),
            ("/wire/event", "event_packets"),
            ("/wire/lost", "lost"),
            ("/payload_type", "payload_type"),
            ("/media/packets_received", "packets"),
            ("/media/lost", "lost"),
            ("/event_payload_type", "event_payload_type"),
        ];
        compare(name, &report, expected, &counts);
        let streams = report["streams"].as_array().expect("streams");
        assert_eq!(Some(streams.len() as i64), expected["streams"].as_integer(), "{name}");
        for stream in streams {
            let (number, ssrc) = (stream["number"].to_string(), stream["ssrcs"][0].as_str().expect("an SSRC"));
            for choice in [["--stream", number.as_str()], ["--ssrc", ssrc]] {
                let chosen = self::report(&[&[file.as_str()], &choice[..]].concat());
                assert_eq!((&chosen["stream"], &chosen["wire"]["packets"]), (&stream["number"], &stream["packets"]));
            }
        }
    }
}

#[test]
fn a_replay_is_the_same_on_every_run_and_writes_what_the_bot_hears() {
    let file = capture("speech_pcmu_20ms.pcap");
    let wavs = [scratch("one.wav"), scratch("two.wav")];
    let [one, two] = wavs.each_ref().map(|wav| {
        let mut report = report(&[&file, "--wav", &wav.display().to_string()]);
        report["wav"] = Value::Null;
        report
    });
    assert_eq!(one, two);
    let [heard, again] = wavs.each_ref().map(|wav| wav::read_8khz(wav).expect("a WAV file"));
    assert_eq!(heard, again);
    assert_eq!(heard.len() as u64, one["heard_ms"].as_u64().expect("a number") * 8);
    let loud = heard.iter().filter(|sample| sample.unsigned_abs() > 1000).count();
    assert!(loud > 8_000, "{loud} loud samples in six seconds of speech");
    let wide = report(&[&file, "--rate", "16000", "--wav", &wavs[0].display().to_string()]);
    assert_eq!((&wide["sample_rate"], &wide["heard_ms"]), (&Value::from(SampleRate::Hz16000.hz()), &one["heard_ms"]));
    wavs.iter().for_each(|wav| drop(std::fs::remove_file(wav)));
}

#[test]
fn what_cannot_be_replayed_is_exit_code_2_with_file_and_reason() {
    let file = capture("call_two_ways.pcapng");
    let readme = capture("README.md");
    let plain = capture("speech_pcmu_20ms.pcap");
    for (arguments, words) in [
        (vec!["/nowhere/at/all.pcap"], "/nowhere/at/all.pcap: cannot be read"),
        (vec![&readme], "expected a pcap or pcapng capture"),
        (vec![&file, "--stream", "3"], "no stream 3; it holds"),
        (vec![&file, "--ssrc", "1"], "no SSRC 00000001"),
        (vec![&plain, "--wav", "/nowhere/at/all.wav"], "/nowhere/at/all.wav"),
        (vec![&plain, "--bot", "http://127.0.0.1/"], "http"),
        (vec![&plain, "--codec", "g729"], "pcmu"),
    ] {
        let (code, out, err) = said(&trunkstream(&[&["replay"], &arguments[..]].concat()));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
}

#[test]
fn a_replay_for_people_names_stream_codec_losses_and_digits() {
    let (code, out, err) = said(&trunkstream(&["replay", &capture("call_two_ways.pcapng")]));
    assert_eq!(code, Some(0), "{err}");
    for words in [
        "1  192.0.2.20:20000 -> 192.0.2.10:40000",
        "Stream 2 through the media path",
        "PCMA, payload type 8; telephone-event 96 at 8000 Hz",
        "0 lost, 0 late, 0 twice",
        "4 (100 ms), 2 (100 ms)",
    ] {
        assert!(out.contains(words), "{words}\n{out}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_replay_calls_a_bot_which_hears_the_captured_caller() {
    let bot = Bot::start(BotSettings::new(BotMode::Echo)).await.expect("a port");
    let url = bot.url("/media?sample-rate=8000");
    let arguments = ["replay", "--json", &capture("dtmf_16k_clock.pcap"), "--bot", &url].map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || trunkstream(&arguments.each_ref().map(String::as_str)));
    let (code, out, err) = said(&output.await.expect("it ends"));
    assert_eq!(code, Some(0), "{err}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    let live = &report["live"];
    assert_eq!(live["normal"], true, "{live}");
    assert_eq!(live["media"]["packets_received"], report["wire"]["packets"], "every captured packet, and no other");
    assert_eq!((&live["media"]["lost"], &live["media"]["dtmf_digits"]), (&Value::from(0), &Value::from(2)));
    assert_eq!(live["bot"]["Status"], "completed");
    let counters = bot.counters();
    assert_eq!((counters.starts, counters.digits, counters.faults), (1, 2, 0));
    // The captured 1.7 s, and what the caller stays on for afterwards.
    assert!(counters.media_bytes > 16_000 * 17 / 10, "{} octets of sound", counters.media_bytes);
    assert!(live["caller"]["first_sound_ms"].as_f64().is_some_and(|ms| ms < 2_000.0), "{live}");
    bot.stop().await;
}

#[test]
fn a_bot_that_is_not_there_is_exit_code_1_with_the_refusal() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let url = format!("ws://{closed}/media");
    let (code, out, err) = said(&trunkstream(&["replay", &capture("speech_pcmu_20ms.pcap"), "--bot", &url]));
    assert_eq!(code, Some(1), "{err}");
    assert!(out.contains("refused: 502") && out.contains("is it running"), "{out}");
}
