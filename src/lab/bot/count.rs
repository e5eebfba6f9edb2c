//! Checks the bridge's counting: order, `sequence_number`, `chunk`, `timestamp`.

use serde_json::Value;

use crate::base::pcm::SampleRate;
use crate::lab::bot::message::{Media, number};

/// What the next message has to say.
#[derive(Debug, Default)]
pub(super) struct Count {
    stage: Stage,
    sequence_number: u64,
    chunk: u64,
    samples: u64,
    skipped_ms: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Stage {
    #[default]
    Opened,
    Connected,
    Started,
    Stopped,
}

impl Count {
    /// Looks at a message other than media; what is wrong with it.
    pub(super) fn event(&mut self, name: &str, message: &Value) -> Option<String> {
        let (before, after) = match name {
            "connected" => (Stage::Opened, Stage::Connected),
            "start" => (Stage::Connected, Stage::Started),
            "stop" => (Stage::Started, Stage::Stopped),
            _ => (Stage::Started, Stage::Started),
        };
        let stage = std::mem::replace(&mut self.stage, after);
        if stage != before {
            return Some(format!("{name} came in the wrong place"));
        }
        if name == "connected" {
            let only = message.as_object().is_some_and(|keys| keys.len() == 1);
            return (!only).then(|| "connected carries more than \"event\"".into());
        }
        self.sequence(number(&message["sequence_number"]))
    }

    /// Looks at a media message with this many samples at `rate`; what is wrong with it.
    pub(super) fn media(&mut self, media: &Media<'_>, samples: usize, rate: SampleRate) -> Option<String> {
        if self.stage != Stage::Started {
            return Some("media came before start or after stop".into());
        }
        let sequence = self.sequence(media.sequence_number);
        self.chunk += 1;
        let expected = self.skipped_ms + rate.ms(self.samples);
        self.samples += samples as u64;
        if sequence.is_some() {
            return sequence;
        }
        if media.chunk != Some(self.chunk) {
            return Some(format!("chunk {:?} where {} was due", media.chunk, self.chunk));
        }
        let told = media.timestamp.unwrap_or_default();
        if told == expected && media.timestamp.is_some() {
            return None;
        }
        self.skipped_ms += told.saturating_sub(expected);
        Some(format!("timestamp {:?} where {expected} was due", media.timestamp))
    }

    fn sequence(&mut self, told: Option<u64>) -> Option<String> {
        self.sequence_number += 1;
        let due = self.sequence_number;
        (told != Some(due)).then(|| format!("sequence_number {told:?} where {due} was due"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn media(sequence_number: u64, chunk: u64, timestamp: u64) -> Media<'static> {
        let some = (Some(sequence_number), Some(chunk), Some(timestamp));
        Media { sequence_number: some.0, chunk: some.1, timestamp: some.2, payload: "".into() }
    }

    fn started() -> Count {
        let mut count = Count::default();
        assert_eq!(count.event("connected", &json!({"event": "connected"})), None);
        assert_eq!(count.event("start", &json!({"sequence_number": "1"})), None);
        count
    }

    #[test]
    fn a_stream_in_order_has_no_faults() {
        let mut count = started();
        assert_eq!(count.media(&media(2, 1, 0), 800, SampleRate::Hz8000), None);
        assert_eq!(count.event("dtmf", &json!({"sequence_number": "3"})), None);
        assert_eq!(count.media(&media(4, 2, 100), 800, SampleRate::Hz8000), None);
        assert_eq!(count.event("stop", &json!({"sequence_number": "5"})), None);
    }

    #[test]
    fn gaps_and_jumps_are_told_once() {
        let mut count = started();
        assert!(
            count.media(&media(2, 1, 40), 800, SampleRate::Hz8000).is_some_and(|fault| fault.contains("timestamp"))
        );
        assert_eq!(count.media(&media(3, 2, 140), 800, SampleRate::Hz8000), None);
        assert!(count.media(&media(4, 4, 240), 800, SampleRate::Hz8000).is_some_and(|fault| fault.contains("chunk")));
        assert!(count.event("mark", &json!({"sequence_number": 9})).is_some());
        assert!(count.event("connected", &json!({"event": "connected"})).is_some());
    }
}
