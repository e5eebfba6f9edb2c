//! What a stream did, for the call record.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counts of one stream. Milliseconds count audio, not time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct StreamReport {
    /// Messages written, all events.
    pub messages_sent: u64,
    /// Messages read, all events and garbage.
    pub messages_received: u64,
    /// Media messages to the bot.
    pub chunks_sent: u64,
    /// Media messages of the bot with readable audio.
    pub media_received: u64,
    /// Their PCM bytes.
    pub bytes_received: u64,
    /// Bot audio handed out for sending.
    pub played_ms: u64,
    /// Times the bot's audio ran dry in mid-speech (RTP-073).
    pub underruns: u64,
    /// Most bot audio that waited.
    pub queue_max_ms: u64,
    /// Messages of the bot that were dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// What was put up with, by what.
    pub tolerated: BTreeMap<&'static str, u64>,
    /// Marks of the bot.
    pub marks_received: u64,
    /// Marks returned.
    pub marks_sent: u64,
    /// Clears of the bot.
    pub clears: u64,
    /// Digits sent.
    pub digits_sent: u64,
    /// The bot's audio sounds like a `higher` or `lower` sample rate than the stream's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrong_rate: Option<&'static str>,
    /// Milliseconds skipped because the bridge's own process stood still.
    pub stalled_ms: u64,
}
