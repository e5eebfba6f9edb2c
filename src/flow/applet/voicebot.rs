//! `voicebot`: the caller talks to a bot over a WebSocket, both ways, until one of them ends it.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Applet, Outcome, UrlCheck, Wrong};

/// The settings of `voicebot`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The bot's address, ws:// or wss://; `?sample-rate=8000|16000|24000` picks the stream's rate (default 8000), other
    /// query keys reach the bot as custom parameters.
    #[schemars(example = &"wss://bot.example.com/media?sample-rate=16000")]
    url: String,
    /// When the call is answered: `on_stream` rings until the bot is connected, `early_media` opens the caller's ear
    /// meanwhile (183 with SDP), `immediate` answers at once. Default: on_stream.
    #[serde(default)]
    answer_mode: AnswerMode,
    /// Caller audio in one message to the bot, 20, 40, 60 or 100 ms. Default: 100.
    #[serde(default = "defaults::media_chunk_ms")]
    media_chunk_ms: u32,
    /// How long both attempts to reach the bot may take together, 1 to 60 s. Default: 10.
    #[serde(default = "defaults::connect_timeout_seconds")]
    connect_timeout_seconds: u32,
    /// How long the conversation may last, 1 to 86400 s; then the flow goes on. Default: 3600.
    #[serde(default = "defaults::max_duration_seconds")]
    max_duration_seconds: u32,
    /// PEM file with certificate authorities that are trusted for this bot beside the system's. Default: none.
    #[serde(default)]
    #[schemars(example = &"/etc/trunkstream/bot-ca.pem")]
    ca_file: Option<PathBuf>,
    /// Host names, exactly as in `url`, whose certificate is not verified. For laboratories. Default: none.
    #[serde(default)]
    insecure_hosts: Vec<String>,
    /// JSON types of numbers in messages to the bot: `mixed` as the platform sends them (`chunk` a number, the rest
    /// strings), all `strings`, or all `numbers`. Default: mixed.
    #[serde(default)]
    number_style: NumberStyle,
    /// Text of `media_format.encoding` in the start message. Default: base64.
    #[serde(default = "defaults::media_encoding")]
    media_encoding: String,
    /// Text of `media_format.bit_rate` in the start message. Default: from the sample rate, `128kbps` at 8000 Hz.
    #[serde(default)]
    #[schemars(example = &"16")]
    media_bit_rate: Option<String>,
    /// Messages beyond AgentStream: `played_ms` on marks after a clear, hold and resume, quality. Default: false.
    #[serde(default)]
    extensions: bool,
    /// Raw PCM in binary frames from the bot is played. Default: false.
    #[serde(default)]
    binary_media: bool,
    /// Bot audio that may wait to be played, 60 to 3600 s; what comes on top is dropped. Default: 120.
    #[serde(default = "defaults::queue_seconds")]
    queue_seconds: u32,
    /// Bot audio still played after the bot closed the stream, 0 to 3600 s. Default: 30.
    #[serde(default = "defaults::drain_on_close_seconds")]
    drain_on_close_seconds: u32,
    /// What `clear` drops: `all` audio not yet sent, or what comes `after_current_message`. Default: all.
    #[serde(default)]
    clear_scope: ClearScope,
    /// What `clear` does to marks that wait in the queue: `echo` them at once or `drop` them. Default: echo.
    #[serde(default)]
    clear_marks: ClearMarks,
    /// The step after the bot closed or the stream was stopped. Default: the flow ends.
    #[serde(default)]
    #[schemars(example = &"connect")]
    next: Option<String>,
    /// The step after the bot failed or could not be reached. Default: the one of `next`.
    #[serde(default)]
    #[schemars(example = &"hangup")]
    on_error: Option<String>,
}

mod defaults {
    pub(super) const fn media_chunk_ms() -> u32 {
        100
    }
    pub(super) const fn connect_timeout_seconds() -> u32 {
        10
    }
    pub(super) const fn max_duration_seconds() -> u32 {
        3600
    }
    pub(super) fn media_encoding() -> String {
        "base64".to_owned()
    }
    pub(super) const fn queue_seconds() -> u32 {
        120
    }
    pub(super) const fn drain_on_close_seconds() -> u32 {
        30
    }
}

/// When a call whose flow starts with the bot is answered (SIP-060).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnswerMode {
    /// 180, then 200 when the bot is connected.
    #[default]
    OnStream,
    /// 183 with SDP, then 200 when the bot is connected; 180 where the caller offers no SDP and takes none before the 200.
    EarlyMedia,
    /// 200 at once.
    Immediate,
}

/// JSON types of numbers in messages to the bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumberStyle {
    /// As the platform sends them.
    #[default]
    Mixed,
    /// Strings only.
    Strings,
    /// Numbers only.
    Numbers,
}

/// What `clear` drops (RTP-076).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClearScope {
    /// Everything that was not sent yet.
    #[default]
    All,
    /// The message being played is finished.
    AfterCurrentMessage,
}

/// What `clear` does to marks in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClearMarks {
    /// They are returned at once, in order.
    #[default]
    Echo,
    /// They are never returned.
    Drop,
}

/// A checked `voicebot` step.
#[derive(Clone, PartialEq, Eq)]
pub struct Voicebot {
    /// The bot's address as written, credentials included: not for logs.
    pub url: String,
    /// When the call is answered.
    pub answer_mode: AnswerMode,
    /// Caller audio in one message: 20, 40, 60 or 100 ms.
    pub chunk_ms: u32,
    /// Bound of both attempts to connect together.
    pub connect_timeout: Duration,
    /// Bound of the conversation.
    pub max_duration: Duration,
    /// Certificate authorities beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Hosts whose certificate is not verified.
    pub insecure_hosts: Vec<String>,
    /// JSON types of numbers.
    pub number_style: NumberStyle,
    /// Text of `media_format.encoding`.
    pub encoding: String,
    /// Text of `media_format.bit_rate`; `None`: from the sample rate.
    pub bit_rate: Option<String>,
    /// Messages beyond AgentStream.
    pub extensions: bool,
    /// Raw PCM in binary frames is played.
    pub binary_media: bool,
    /// Bot audio that may wait, at least 60 s.
    pub queue: Duration,
    /// Bot audio still played after the bot closed.
    pub drain: Duration,
    /// What `clear` drops.
    pub clear_scope: ClearScope,
    /// What `clear` does to marks.
    pub clear_marks: ClearMarks,
    /// The step after a normal end.
    pub next: Option<String>,
    /// The step after a failure; `None`: as `next`.
    pub on_error: Option<String>,
}

impl std::fmt::Debug for Voicebot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { url, answer_mode, chunk_ms, next, on_error, .. } = self;
        f.debug_struct("Voicebot")
            .field("url", &crate::base::pii::Pii(url))
            .field("answer_mode", answer_mode)
            .field("chunk_ms", chunk_ms)
            .field("next", next)
            .field("on_error", on_error)
            .finish_non_exhaustive()
    }
}

impl Applet for Voicebot {
    const NAME: &'static str = "voicebot";
    type Settings = Settings;

    fn check(settings: Settings, url: UrlCheck<'_>) -> Result<Self, Vec<Wrong>> {
        let wrong = faults(&settings, url);
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            url: settings.url,
            answer_mode: settings.answer_mode,
            chunk_ms: settings.media_chunk_ms,
            connect_timeout: seconds(settings.connect_timeout_seconds),
            max_duration: seconds(settings.max_duration_seconds),
            ca_file: settings.ca_file,
            insecure_hosts: settings.insecure_hosts,
            number_style: settings.number_style,
            encoding: settings.media_encoding,
            bit_rate: settings.media_bit_rate,
            extensions: settings.extensions,
            binary_media: settings.binary_media,
            queue: seconds(settings.queue_seconds),
            drain: seconds(settings.drain_on_close_seconds),
            clear_scope: settings.clear_scope,
            clear_marks: settings.clear_marks,
            next: settings.next,
            on_error: settings.on_error,
        })
    }

    fn transitions(&self) -> Vec<(&'static str, &str)> {
        let set = [("next", self.next.as_deref()), ("on_error", self.on_error.as_deref())];
        set.into_iter().filter_map(|(key, target)| Some((key, target?))).collect()
    }

    fn after(&self, outcome: Outcome) -> Option<&str> {
        match outcome {
            Outcome::Next => self.next.as_deref(),
            Outcome::Error | Outcome::NoAnswer | Outcome::NotDialed => {
                self.on_error.as_deref().or(self.next.as_deref())
            }
        }
    }

    fn needs_caller(&self) -> bool {
        false // it ends at once as cancelled, and the steps after it hear of that
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// Everything that is wrong with the values and their combination.
fn faults(settings: &Settings, url: UrlCheck<'_>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut fault = |key: &str, message: String| wrong.push(Wrong::new(key, message));
    let scheme = settings.url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
    if ["ws", "wss"].contains(&scheme.as_str()) {
        url(&settings.url).unwrap_or_else(|message| fault("url", message));
    } else {
        fault("url", "must start with ws:// or wss://".to_owned());
    }
    if ![20, 40, 60, 100].contains(&settings.media_chunk_ms) {
        let message = format!("{} is not a chunk length; expected 20, 40, 60 or 100", settings.media_chunk_ms);
        fault("media_chunk_ms", message);
    }
    for (key, value, range) in [
        ("connect_timeout_seconds", settings.connect_timeout_seconds, 1..=60),
        ("max_duration_seconds", settings.max_duration_seconds, 1..=86_400),
        ("queue_seconds", settings.queue_seconds, 60..=3600),
        ("drain_on_close_seconds", settings.drain_on_close_seconds, 0..=3600),
    ] {
        if !range.contains(&value) {
            fault(key, format!("{value} is out of range; expected {} to {} seconds", range.start(), range.end()));
        }
    }
    let host = |c: char| c.is_alphanumeric() || "-_.:[]".contains(c);
    if let Some(name) = settings.insecure_hosts.iter().find(|name| name.is_empty() || !name.chars().all(host)) {
        fault("insecure_hosts", format!("`{name}` is not a host name; expected exact names, no patterns and no ports"));
    }
    for (key, set) in [("ca_file", settings.ca_file.is_some()), ("insecure_hosts", !settings.insecure_hosts.is_empty())]
    {
        if set && scheme == "ws" {
            fault(key, "has no meaning for a ws:// url; expected with wss:// only".to_owned());
        }
    }
    if settings.media_encoding.is_empty() {
        fault("media_encoding", "is empty; expected a text such as base64 or audio/x-raw".to_owned());
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Voicebot, Vec<Wrong>> {
        crate::flow::settings::read(toml::from_str(text).expect("TOML"), &|url| {
            if url.contains("bad") { Err("the bot's URL is bad".to_owned()) } else { Ok(()) }
        })
    }

    fn only_fault(text: &str) -> Wrong {
        let mut wrong = read(text).expect_err(text);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        wrong.remove(0)
    }

    #[test]
    fn a_url_is_enough_and_the_rest_is_what_the_platform_does() {
        let bot = read(r#"url = "ws://127.0.0.1:9001/media?sample-rate=8000""#).expect("valid");
        assert_eq!((bot.chunk_ms, bot.answer_mode, bot.number_style), (100, AnswerMode::OnStream, NumberStyle::Mixed));
        assert_eq!((bot.connect_timeout.as_secs(), bot.max_duration.as_secs()), (10, 3600));
        assert_eq!((bot.queue.as_secs(), bot.drain.as_secs()), (120, 30));
        assert_eq!((bot.clear_scope, bot.clear_marks), (ClearScope::All, ClearMarks::Echo));
        assert_eq!(
            (bot.encoding.as_str(), bot.bit_rate, bot.extensions, bot.binary_media),
            ("base64", None, false, false)
        );
        assert_eq!((bot.next, bot.on_error, bot.ca_file, bot.insecure_hosts), (None, None, None, Vec::new()));
    }

    #[test]
    fn a_failed_bot_goes_to_on_error_and_without_it_to_next() {
        let both = read("url = \"wss://a\"\nnext = \"x\"\non_error = \"y\"").unwrap();
        assert_eq!((both.after(Outcome::Next), both.after(Outcome::Error)), (Some("x"), Some("y")));
        let one = read("url = \"wss://a\"\nnext = \"x\"").unwrap();
        assert_eq!(one.after(Outcome::Error), Some("x"));
    }

    #[test]
    fn each_wrong_value_names_its_key_and_what_was_expected() {
        for (text, key, expected) in [
            ("url = \"https://a/url\"", "url", "ws:// or wss://"),
            ("url = \"wss://bad\"", "url", "the bot's URL is bad"),
            ("url = 5", "url", "expected a string"),
            ("", "url", "ws:// or wss://"),
            ("url = \"ws://a\"\nmedia_chunk_ms = 30", "media_chunk_ms", "20, 40, 60 or 100"),
            ("url = \"ws://a\"\nmedia_chunk_ms = \"20\"", "media_chunk_ms", "expected u32"),
            ("url = \"ws://a\"\nqueue_seconds = 59", "queue_seconds", "60 to 3600"),
            ("url = \"ws://a\"\nmax_duration_seconds = -1", "max_duration_seconds", "-1"),
            ("url = \"ws://a\"\nanswer_mode = \"early\"", "answer_mode", "`on_stream`, `early_media`, `immediate`"),
            ("url = \"ws://a\"\nca_file = \"ca.pem\"", "ca_file", "wss://"),
            ("url = \"wss://a\"\ninsecure_hosts = [\"*.a\"]", "insecure_hosts", "no patterns"),
            ("url = \"wss://a\"\ninsecure_hosts = [1]", "insecure_hosts", "expected a string"),
            ("url = \"ws://a\"\nurl2 = 1", "url2", "unknown setting `url2`, expected one of `url`"),
        ] {
            let wrong = only_fault(text);
            assert_eq!(wrong.key, key, "{wrong:?}");
            assert!(wrong.message.contains(expected), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn credentials_in_the_url_are_not_printed() {
        let bot = read("url = \"wss://user:secret@a\"").unwrap();
        assert!(!format!("{bot:?}").contains("secret"));
    }
}
