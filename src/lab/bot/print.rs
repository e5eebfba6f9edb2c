//! What a bot prints: one line for each thing that happened, for people to read.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::bot::message::{custom_parameters, text_at};
use crate::lab::speech::dbfs;

/// The lines about a message other than media. What came over the wire is quoted, so that it cannot steer a terminal.
pub(super) fn event(name: &str, message: &Value, text: &str) -> Vec<String> {
    match name {
        "start" => start(message, text),
        "dtmf" => {
            let (digit, duration) = (text_at(message, "/dtmf/digit"), message["dtmf"]["duration"].to_string());
            vec![format!("dtmf  {digit:?} for {} ms", duration.trim_matches('"'))]
        }
        "mark" => vec![format!("mark  {} is back", message["mark"]["name"])],
        "stop" => vec![format!("stop  {:?}", text_at(message, "/stop/reason"))],
        "connected" => vec!["connected".into()],
        _ => vec![format!("{name:?} {}", clipped(text))],
    }
}

/// The `start` message: who calls whom, the format, every custom parameter under each other.
fn start(message: &Value, text: &str) -> Vec<String> {
    let mut lines = vec![format!("start stream_sid {:?}", text_at(message, "/stream_sid"))];
    for key in ["call_sid", "account_sid", "from", "to"] {
        lines.push(format!("      {key:<12} {:?}", text_at(&message["start"], &format!("/{key}"))));
    }
    let format = |key| text_at(&message["start"]["media_format"], key).to_owned();
    lines.push(format!("      {:<12} {:?}", "sample_rate", format("/sample_rate")));
    lines.push(format!("      {:<12} {:?}, {:?}", "encoding", format("/encoding"), format("/bit_rate")));
    let parameters = custom_parameters(text);
    lines.push(format!("      custom_parameters: {}", parameters.len()));
    let width = parameters.iter().map(|(key, _)| format!("{key:?}").len()).max().unwrap_or_default();
    for (key, value) in parameters {
        let key = format!("{key:?}");
        lines.push(format!("        {key:<width$} = {value}"));
    }
    lines
}

/// At most 200 characters of `text`.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Media between two counter lines.
pub(super) struct Meter {
    since: Instant,
    messages: u64,
    samples: Vec<i16>,
}

impl Meter {
    /// An empty meter.
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, messages: 0, samples: Vec::new() }
    }

    /// Adds a message's samples; a line when a second is over.
    pub(super) fn add(&mut self, now: Instant, samples: &[i16]) -> Option<String> {
        self.messages += 1;
        // A second of speech says how loud it is; more than that would let a flood grow here.
        let room = 48_000usize.saturating_sub(self.samples.len());
        self.samples.extend_from_slice(&samples[..samples.len().min(room)]);
        (now.duration_since(self.since) >= Duration::from_secs(1)).then(|| self.line(now)).flatten()
    }

    /// What has come since the last line; `None` where nothing has.
    pub(super) fn line(&mut self, now: Instant) -> Option<String> {
        let messages = std::mem::take(&mut self.messages);
        let level = dbfs(&self.samples);
        let level = if level.is_finite() { format!("{level:.1} dBFS") } else { "silence".into() };
        let line = format!("media {messages} messages, {} samples, {level}", self.samples.len());
        self.samples.clear();
        self.since = now;
        (messages > 0).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn start_shows_every_custom_parameter_aligned_and_quoted() {
        let message = json!({"event": "start", "stream_sid": "s", "start": {"from": "1", "to": "2",
            "custom_parameters": {"UUI": "a\u{1b}[2J", "Longer-Header": "b"}}});
        let lines = event("start", &message, &message.to_string()).join("\n");
        assert!(lines.contains("\"UUI\"           = \"a\\u001b[2J\""), "{lines}");
        assert!(lines.contains("\"Longer-Header\" = \"b\""), "{lines}");
    }

    #[test]
    fn events_with_missing_or_odd_fields_are_printed_all_the_same() {
        for name in ["connected", "start", "dtmf", "mark", "stop", "unheard-of"] {
            for message in [json!({}), json!([]), json!({"start": 7, "dtmf": null, "mark": "x", "stop": []})] {
                assert!(!event(name, &message, &message.to_string()).is_empty());
            }
        }
        assert_eq!(event("dtmf", &json!({"dtmf": {"digit": "5", "duration": "120"}}), ""), ["dtmf  \"5\" for 120 ms"]);
    }

    #[test]
    fn the_meter_speaks_once_a_second() {
        let start = Instant::now();
        let mut meter = Meter::new(start);
        assert_eq!(meter.add(start, &[0; 800]), None);
        let line = meter.add(start + Duration::from_secs(1), &[0; 800]);
        assert_eq!(line.as_deref(), Some("media 2 messages, 1600 samples, silence"));
        assert_eq!(meter.line(start), None);
    }
}
