//! The messages to the bot, and the dialects that write them: one dialect, one file.

mod exotel;

pub(super) use exotel::write;

use serde_json::Value;

use crate::stream::chunk::Chunk;
use crate::stream::event::StopReason;

/// How the JSON looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialectSettings {
    /// Which numbers are JSON strings.
    pub number_style: NumberStyle,
    /// `media_format.encoding`: "base64", or "audio/x-raw" as newer documentation has it.
    pub encoding: String,
    /// `media_format.bit_rate`; `None` is the rate times 16 / 1000 and "kbps".
    pub bit_rate: Option<String>,
}

impl Default for DialectSettings {
    fn default() -> Self {
        Self { number_style: NumberStyle::default(), encoding: "base64".into(), bit_rate: None }
    }
}

/// Which of `sequence_number`, `chunk`, `timestamp`, `duration` and `sample_rate` are JSON strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NumberStyle {
    /// All but `chunk`, as most bots were written for.
    #[default]
    Mixed,
    /// All.
    Strings,
    /// None.
    Numbers,
}

/// A message to the bot.
pub(super) enum Outgoing<'a> {
    /// The upgrade succeeded.
    Connected,
    /// Who calls whom, and the format.
    Start,
    /// The caller's audio.
    Media(Chunk<'a>),
    /// The caller pressed a key.
    Dtmf { digit: char, duration_ms: u32 },
    /// The bot's mark comes back. `played_ms` (an extension) is there where a clear overtook it.
    Mark { name: &'a Value, played_ms: Option<u64> },
    /// The last message.
    Stop(StopReason),
    /// Extension: the caller holds the line.
    Hold,
    /// Extension: the caller is back.
    Resume,
}

impl Outgoing<'_> {
    /// Whether it takes a `sequence_number`.
    pub(super) fn is_numbered(&self) -> bool {
        match self {
            Self::Connected | Self::Hold | Self::Resume => false,
            Self::Start | Self::Media(_) | Self::Dtmf { .. } | Self::Mark { .. } | Self::Stop(_) => true,
        }
    }
}
