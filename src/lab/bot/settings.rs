//! What a test bot is told to do.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::base::pcm::SampleRate;

/// How a test bot behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BotMode {
    /// Every media payload goes back as it came, at once, bit for bit.
    Echo,
    /// A 440 Hz tone in real time.
    Tone,
    /// Two seconds of synthetic speech in one burst, then a mark `greeting`; listens afterwards.
    Greet,
    /// Listens only.
    Record,
    /// Waits before it looks at the upgrade request, then echoes.
    Slow,
    /// Answers the upgrade request with an HTTP error.
    Refuse,
    /// Echoes, then cuts the connection in the middle of a frame.
    Drop,
    /// Bad JSON, bad base64, binary frames, 100 kB messages; echoes in between.
    Garbage,
    /// 200 s of audio at once with marks in it, then clear, then one more second and a mark `end`.
    Flood,
}

impl BotMode {
    /// Every mode with its name on the command line and what it is for.
    pub const ALL: [(Self, &'static str, &'static str); 9] = [
        (Self::Echo, "echo", "send back every media payload as it came, at once"),
        (Self::Tone, "tone", "play 440 Hz in real time"),
        (Self::Greet, "greet", "play a 2 s greeting in one burst, then a mark \"greeting\"; then listen"),
        (Self::Record, "record", "listen only (see --wav)"),
        (Self::Slow, "slow", "wait --delay-ms before answering the upgrade, then echo"),
        (Self::Refuse, "refuse", "answer the upgrade with HTTP --status"),
        (Self::Drop, "drop", "echo, then cut the connection in the middle of a frame after --after-ms"),
        (Self::Garbage, "garbage", "send bad JSON, bad base64, binary frames and 100 kB messages between echoes"),
        (Self::Flood, "flood", "send 200 s of audio at once with marks, then clear, 1 s more and a mark \"end\""),
    ];

    /// The mode's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(mode, ..)| *mode == self).map_or("", |(_, name, _)| name)
    }
}

impl FromStr for BotMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name, _)| *name == text);
        found.map(|(mode, ..)| *mode).ok_or_else(|| format!("there is no bot mode {text:?}"))
    }
}

/// Where printed lines go; the line has no line end.
pub type LineSink = Arc<dyn Fn(&str) + Send + Sync>;
/// Who else wants to know what the bot sees; called on the bot's task, must not block.
pub type Observer = Arc<dyn Fn(&BotEvent<'_>) + Send + Sync>;

/// What a test bot does and where it writes what it saw.
#[derive(Clone)]
pub struct BotSettings {
    /// Where it listens; port 0 is any free one.
    pub listen: SocketAddr,
    /// How it behaves.
    pub mode: BotMode,
    /// The rate of its own audio and its WAV file; by default `start.media_format.sample_rate`.
    pub rate: Option<SampleRate>,
    /// It hangs up this long after `start`.
    pub hangup_after: Option<Duration>,
    /// The close code it hangs up with; 1005 is a close frame without code, 1006 cuts TCP without one.
    pub close_code: u16,
    /// `slow`: how long it waits before it reads the upgrade request.
    pub delay: Duration,
    /// `refuse`: the HTTP status.
    pub status: u16,
    /// `drop`: how long after `start` it cuts.
    pub after: Duration,
    /// A mark after every media message it sends.
    pub marks: bool,
    /// A `clear` on every digit; in mode greet the greeting again after it.
    pub clear_on_dtmf: bool,
    /// What it heard, as WAV; a second connection writes `NAME-2.wav`, and so on.
    pub wav: Option<PathBuf>,
    /// What it received except media, as JSON lines.
    pub journal: Option<PathBuf>,
    /// Certificate chain and key: it speaks wss.
    pub tls: Option<BotTls>,
    /// Where it prints what it receives; nowhere when `None`.
    pub print: Option<LineSink>,
    /// Who else is told.
    pub observer: Option<Observer>,
}

impl BotSettings {
    /// A quiet bot on a free port of 127.0.0.1.
    #[must_use]
    pub fn new(mode: BotMode) -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            mode,
            rate: None,
            hangup_after: None,
            close_code: 1000,
            delay: Duration::from_secs(3),
            status: 503,
            after: Duration::from_secs(3),
            marks: false,
            clear_on_dtmf: false,
            wav: None,
            journal: None,
            tls: None,
            print: None,
            observer: None,
        }
    }
}

impl fmt::Debug for BotSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BotSettings").field("listen", &self.listen).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// PEM files of a wss bot.
#[derive(Debug, Clone)]
pub struct BotTls {
    /// The certificate, and its chain if there is one.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What a bot saw, told as it happens. Connections are numbered from 1.
#[derive(Debug)]
pub enum BotEvent<'a> {
    /// A bridge asked for the upgrade.
    Opened {
        /// Which connection.
        connection: u64,
        /// Path and query as they came.
        path: &'a str,
    },
    /// A message other than media.
    Message {
        /// Which connection.
        connection: u64,
        /// `event` of the message.
        event: &'a str,
        /// The whole message.
        message: &'a Value,
        /// The same, letter for letter.
        text: &'a str,
    },
    /// A media message's sound.
    Media {
        /// Which connection.
        connection: u64,
        /// The samples at the stream's rate.
        samples: &'a [i16],
    },
    /// The connection is gone.
    Closed {
        /// Which connection.
        connection: u64,
        /// The close code the bridge sent; `None` where it sent none.
        code: Option<u16>,
        /// Media messages received.
        media_messages: u64,
        /// Octets of sound received.
        media_bytes: u64,
    },
}
