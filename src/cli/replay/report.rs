//! What a replay tells: for people line by line, for programs as JSON.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::live::LiveCall;
use super::offline::Played;
use crate::cli::call::row;
use crate::lab::capture::{Capture, Counts, Passed, Take};
use crate::media::MediaReport;
use crate::stream::StreamReport;

/// Figures of the media report that have a line of their own; the others are shown by their names.
const TOLD: [&str; 12] = [
    "codec",
    "remote",
    "source",
    "packets_received",
    "lost",
    "late",
    "duplicate",
    "discarded",
    "concealed_ms",
    "jitter_max_ms",
    "jitter_mean_ms",
    "ssrc_changes",
];

/// A replay from file to bot.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    file: PathBuf,
    /// Packets in the file, of all kinds.
    frames: u64,
    passed: Passed,
    warnings: Vec<String>,
    streams: Vec<Stream>,
    /// The number of the stream that was played.
    stream: usize,
    codec: &'static str,
    payload_type: u8,
    event_payload_type: Option<u8>,
    event_clock: Option<u32>,
    /// What the capture holds, whoever receives it.
    wire: Counts,
    /// From the stream's first packet to its last.
    arrival_ms: u64,
    /// What the media path made of it.
    media: MediaReport,
    digits: String,
    digit_durations_ms: Vec<u32>,
    /// What the bot was told.
    bot: StreamReport,
    heard_ms: u64,
    sample_rate: u32,
    wav: Option<PathBuf>,
    /// The call, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) live: Option<LiveCall>,
    #[serde(skip)]
    list: String,
}

/// An RTP stream of the file.
#[derive(Debug, Serialize)]
struct Stream {
    number: usize,
    from: String,
    to: String,
    ssrcs: Vec<String>,
    packets: usize,
    payload_types: Vec<u8>,
}

impl Report {
    pub(super) fn new(capture: &Capture, take: &Take, played: &Played, wav: Option<&Path>) -> Self {
        let streams = capture.streams.iter().map(|stream| Stream {
            number: stream.number,
            from: stream.from.to_string(),
            to: stream.to.to_string(),
            ssrcs: stream.ssrcs.iter().map(|ssrc| format!("{ssrc:08x}")).collect(),
            packets: stream.payload_types.values().sum(),
            payload_types: stream.payload_types.keys().copied().collect(),
        });
        let (event_payload_type, event_clock) = take.telephone_event.unzip();
        Self {
            file: capture.path.clone(),
            frames: capture.frames,
            passed: capture.passed.clone(),
            warnings: capture.warnings(),
            streams: streams.collect(),
            stream: take.number,
            codec: take.format.encoding_name,
            payload_type: take.payload_type,
            event_payload_type,
            event_clock,
            wire: take.counts.clone(),
            arrival_ms: u64::try_from(take.length().as_millis()).unwrap_or(u64::MAX),
            media: played.media.clone(),
            digits: played.digits.clone(),
            digit_durations_ms: played.digit_durations_ms.clone(),
            bot: played.bot.clone(),
            heard_ms: played.rate.ms(played.heard.len() as u64),
            sample_rate: played.rate.hz(),
            wav: wav.map(Path::to_owned),
            live: None,
            list: capture.list(),
        }
    }

    /// Whether sound came through, and the call, if there was one, went well.
    pub(super) fn is_good(&self) -> bool {
        self.media.packets_received > 0 && self.live.as_ref().is_none_or(LiveCall::is_good)
    }

    pub(super) fn print_offline(&self) {
        println!("RTP streams in {} ({} packets)\n\n{}\n", self.file.display(), self.frames, self.list);
        println!("Stream {} through the media path, in virtual time\n", self.stream);
        let events = self.event_payload_type.zip(self.event_clock);
        let events =
            events.map_or(String::new(), |(number, clock)| format!("; telephone-event {number} at {clock} Hz"));
        row("codec", &format!("{}, payload type {}{events}", self.codec, self.payload_type));
        row("captured", &captured(&self.wire, self.arrival_ms));
        print_media(&serde_json::to_value(&self.media).unwrap_or_default());
        let keys = self.digits.chars().zip(&self.digit_durations_ms).map(|(digit, ms)| format!("{digit} ({ms} ms)"));
        let keys: Vec<String> = keys.collect();
        row("digits", if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }.as_str());
        let (heard, chunks) = (self.heard_ms as f64 / 1e3, self.bot.chunks_sent);
        row("bot hears", &format!("{heard:.2} s at {} Hz, in {chunks} media messages", self.sample_rate));
        if let Some(wav) = &self.wav {
            row("recording", &wav.display().to_string());
        }
        for warning in &self.warnings {
            row("note", warning);
        }
    }
}

fn captured(wire: &Counts, arrival_ms: u64) -> String {
    let Counts { packets, event, noise, other, lost, duplicate, reordered, ssrcs, .. } = wire;
    let mut text = format!("{packets} packets in {:.2} s", arrival_ms as f64 / 1e3);
    for (count, what) in [(event, "telephone-events"), (noise, "comfort noise"), (other, "of other payload types")] {
        if *count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    text.push_str(&format!("; {lost} lost, {duplicate} twice, {reordered} out of order"));
    if *ssrcs > 1 {
        text.push_str(&format!(", {ssrcs} SSRCs"));
    }
    text
}

/// A media report line by line; `Value` as it stands in a call record.
pub(super) fn print_media(media: &Value) {
    let Some(figures) = media.as_object() else { return row("media", "none") };
    let count = |name: &str| figures.get(name).and_then(Value::as_u64).unwrap_or(0);
    let ms = |name: &str| figures.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let [received, lost, late, duplicate, discarded] =
        ["packets_received", "lost", "late", "duplicate", "discarded"].map(count);
    row("received", &format!("{received} packets; {lost} lost, {late} late, {duplicate} twice, {discarded} discarded"));
    row("concealed", &format!("{} ms", count("concealed_ms")));
    row("jitter", &format!("mean {:.1} ms, max {:.1} ms", ms("jitter_mean_ms"), ms("jitter_max_ms")));
    row("SSRC changes", &count("ssrc_changes").to_string());
    let nothing = |value: &Value| value.is_null() || value.as_f64() == Some(0.0);
    for (name, value) in figures.iter().filter(|(name, value)| !TOLD.contains(&name.as_str()) && !nothing(value)) {
        row(&name.replace('_', " "), &plain(value));
    }
}

/// A figure as people read it: fractions with two digits.
pub(super) fn plain(value: &Value) -> String {
    match value.as_f64().filter(|_| value.is_f64()) {
        Some(fraction) => format!("{fraction:.2}"),
        None => value.to_string(),
    }
}
