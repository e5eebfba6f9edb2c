//! The messages of AgentStream as a bot meets them: read leniently, written plainly.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};

/// One text message from the bridge.
pub(super) enum Incoming<'a> {
    /// Sound; everything needed to check the bridge's counting stands beside it.
    Media(Media<'a>),
    /// Any other event.
    Event {
        /// The value of `event`.
        name: String,
        /// The whole message.
        message: Value,
    },
    /// No JSON object with a text `event`.
    Unreadable,
}

/// A media message.
pub(super) struct Media<'a> {
    pub(super) sequence_number: Option<u64>,
    pub(super) chunk: Option<u64>,
    pub(super) timestamp: Option<u64>,
    pub(super) payload: Cow<'a, str>,
}

#[derive(serde::Deserialize)]
struct MediaMessage<'a> {
    event: &'a str,
    #[serde(default)]
    sequence_number: Value,
    #[serde(borrow)]
    media: MediaBody<'a>,
}

#[derive(serde::Deserialize)]
struct MediaBody<'a> {
    #[serde(default)]
    chunk: Value,
    #[serde(default)]
    timestamp: Value,
    #[serde(borrow)]
    payload: Cow<'a, str>,
}

/// Reads a text message.
pub(super) fn read(text: &str) -> Incoming<'_> {
    if let Ok(message) = serde_json::from_str::<MediaMessage<'_>>(text)
        && message.event == "media"
    {
        return Incoming::Media(Media {
            sequence_number: number(&message.sequence_number),
            chunk: number(&message.media.chunk),
            timestamp: number(&message.media.timestamp),
            payload: message.media.payload,
        });
    }
    let Ok(message) = serde_json::from_str::<Value>(text) else { return Incoming::Unreadable };
    match message.get("event").and_then(Value::as_str) {
        Some(name) => Incoming::Event { name: name.to_owned(), message },
        None => Incoming::Unreadable,
    }
}

/// A whole number, written as JSON number or as decimal text.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The text at `pointer` (RFC 6901); empty where there is none.
pub(super) fn text_at<'a>(message: &'a Value, pointer: &str) -> &'a str {
    message.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The custom parameters of a `start` message in the order in which they came; empty where they cannot be read.
pub(super) fn custom_parameters(text: &str) -> Vec<(String, Value)> {
    #[derive(serde::Deserialize)]
    struct Start {
        start: Parameters,
    }
    #[derive(serde::Deserialize)]
    struct Parameters {
        custom_parameters: InOrder,
    }
    serde_json::from_str::<Start>(text).map(|start| start.start.custom_parameters.0).unwrap_or_default()
}

/// A JSON object's members as they came: `serde_json::Value` sorts them.
struct InOrder(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = InOrder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(InOrder(members))
            }
        }
        input.deserialize_map(Members)
    }
}

/// A media message around `payload`, which is base64.
pub(super) fn media(stream_sid: &str, payload: &str) -> String {
    json!({"event": "media", "stream_sid": stream_sid, "media": {"payload": payload}}).to_string()
}

/// A media message with these samples.
pub(super) fn media_of(stream_sid: &str, samples: &[i16]) -> String {
    let octets: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    media(stream_sid, &base64_simd::STANDARD.encode_to_string(&octets))
}

/// A mark.
pub(super) fn mark(stream_sid: &str, name: &str) -> String {
    json!({"event": "mark", "stream_sid": stream_sid, "mark": {"name": name}}).to_string()
}

/// A clear.
pub(super) fn clear(stream_sid: &str) -> String {
    json!({"event": "clear", "stream_sid": stream_sid}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_message_is_read_with_numbers_as_numbers_or_as_text() {
        for text in [
            r#"{"event":"media","sequence_number":"2","stream_sid":"a","media":{"chunk":1,"timestamp":"100","payload":"AAA="}}"#,
            r#"{"event":"media","sequence_number":2,"stream_sid":"a","media":{"chunk":"1","timestamp":100,"payload":"AAA="}}"#,
        ] {
            let Incoming::Media(media) = read(text) else { panic!("{text} is media") };
            assert_eq!((media.sequence_number, media.chunk, media.timestamp), (Some(2), Some(1), Some(100)));
            assert_eq!(media.payload, "AAA=");
        }
    }

    #[test]
    fn custom_parameters_keep_their_order() {
        let text = r#"{"event":"start","start":{"custom_parameters":{"b":"1","a":"2"},"from":""}}"#;
        assert_eq!(custom_parameters(text), [("b".to_owned(), "1".into()), ("a".to_owned(), "2".into())]);
        assert!(custom_parameters(r#"{"start":{"custom_parameters":null}}"#).is_empty());
    }

    #[test]
    fn anything_else_is_an_event_or_unreadable_and_never_a_panic() {
        assert!(matches!(read(r#"{"event":"connected"}"#), Incoming::Event { name, .. } if name == "connected"));
        assert!(matches!(read(r#"{"event":"media"}"#), Incoming::Event { name, .. } if name == "media"));
        for text in ["", "null", "[]", "{", r#"{"event":7}"#, "\u{0}"] {
            assert!(matches!(read(text), Incoming::Unreadable), "{text:?}");
        }
    }
}
