//! What one stream is opened with.

use crate::base::id::{AccountSid, CallSid, StreamSid};
use crate::base::pcm::SampleRate;
use crate::stream::dialect::DialectSettings;

/// Everything that a stream knows before its first message. Holds personal data, so it has no `Debug`.
#[derive(Clone)]
pub struct StreamSettings {
    /// `stream_sid` on every message after `connected`.
    pub stream_sid: StreamSid,
    /// `start.call_sid`, `stop.call_sid`.
    pub call_sid: CallSid,
    /// `start.account_sid`, `stop.account_sid`.
    pub account_sid: AccountSid,
    /// `start.from` (HDR-004).
    pub from: String,
    /// `start.to` (HDR-004).
    pub to: String,
    /// `start.custom_parameters`, in this order; keys are unique (HDR-010 to HDR-016).
    pub custom_parameters: Vec<(String, String)>,
    /// The rate of both directions.
    pub sample_rate: SampleRate,
    /// Milliseconds in a media message to the bot.
    pub chunk_ms: u32,
    /// How the JSON looks.
    pub dialect: DialectSettings,
    /// `played_ms` on cleared marks, `hold` and `resume` events.
    pub extensions: bool,
    /// Binary frames are PCM16LE for the caller.
    pub binary_media: bool,
    /// False for a stream that only listens: media, marks and clears of the bot are discarded, no dtmf is sent.
    pub bidirectional: bool,
    /// Milliseconds of bot audio that may wait; at least 60 000 always fit.
    pub queue_ms: u32,
    /// Milliseconds that queued audio may play after the bot's close, at most 30 000 (RTP-079).
    pub drain_ms: u32,
    /// What a clear drops (RTP-076).
    pub clear_scope: ClearScope,
    /// What becomes of marks that a clear overtakes (RTP-077).
    pub clear_marks: ClearMarks,
}

/// What a clear drops (RTP-076).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClearScope {
    /// Everything that has not been sent yet.
    #[default]
    All,
    /// The message being played is played to its end.
    AfterCurrentMessage,
}

/// What becomes of marks that a clear overtakes (RTP-077).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClearMarks {
    /// They are returned at once, in order.
    #[default]
    Echo,
    /// They are forgotten.
    Drop,
}
