//! What the bot says, read leniently: keys in any case, `camelCase`, wrong types, missing, null, garbage. Nothing is fatal.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What a bot's message asks for.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming<'a> {
    /// Base64 audio.
    Media(Cow<'a, str>),
    /// A string, number or boolean to be returned as it is.
    Mark(Value),
    /// Silence, now.
    Clear,
    /// The bot is about to close.
    Stop,
    /// One of our own events echoed back.
    Echo,
    /// Nothing that could be used; the oddities say why.
    Nothing,
}

macro_rules! oddities {
    ($($(#[$doc:meta])* $id:ident $word:literal;)*) => {
        /// Something wrong with a bot's message that is put up with: `stream_tolerated_total{what}`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Oddity {
            $($(#[$doc])* $id,)*
        }

        /// Every word that `stream_tolerated_total{what}` may have.
        pub const ODDITIES: &[&str] = &[$($word),*];

        impl Oddity {
            /// The word in logs, metrics and the call record.
            pub(super) fn word(self) -> &'static str {
                match self {
                    $(Self::$id => $word,)*
                }
            }

            /// Whether it cost a message that was meant to be heard or returned: `stream_dropped_messages_total{reason}`.
            pub(super) fn drops_message(self) -> bool {
                matches!(
                    self,
                    Self::PayloadMissing
                        | Self::Base64
                        | Self::MarkNameMissing
                        | Self::BinaryMedia
                        | Self::QueueFull
                        | Self::MarksFull
                        | Self::Unidirectional
                )
            }
        }
    };
}

oddities! {
    /// The message is no JSON object.
    Garbage "garbage";
    /// Something follows the JSON object.
    TrailingText "trailing_text";
    /// `event` is missing or no string.
    EventMissing "event_missing";
    /// An event that does not exist.
    UnknownEvent "unknown_event";
    /// A key that does not exist.
    UnknownKey "unknown_key";
    /// A key or event in camelCase or odd case.
    Spelling "spelling";
    /// `stream_sid` is missing or no string.
    StreamSid "stream_sid";
    /// One of our own events echoed back.
    Echo "echo";
    /// `media.payload` is missing or no string.
    PayloadMissing "payload_missing";
    /// `media.payload` is not base64.
    Base64 "base64";
    /// A payload with half a sample.
    OddBytes "odd_bytes";
    /// A payload outside 3200 to 100 000 bytes or no multiple of 320 (RTP-070).
    PayloadSize "payload_size";
    /// `mark.name` is missing or no string, number or boolean.
    MarkNameMissing "mark_name_missing";
    /// JSON in a binary frame.
    JsonInBinary "json_in_binary";
    /// Audio in a binary frame.
    BinaryMedia "binary_media";
    /// More audio than may wait (RTP-072).
    QueueFull "queue_full";
    /// More marks than may wait.
    MarksFull "marks_full";
    /// Media, mark or clear on a stream that only listens.
    Unidirectional "unidirectional";
}

/// Audio exactly as documented: the message that comes all the time. What differs from it in any way is read leniently.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Documented<'a> {
    event: &'a str,
    #[serde(rename = "stream_sid")]
    _stream_sid: &'a str,
    #[serde(rename = "sequence_number", default)]
    _sequence_number: IgnoredAny,
    #[serde(borrow)]
    media: Audio<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Audio<'a> {
    payload: &'a str,
    #[serde(rename = "chunk", default)]
    _chunk: IgnoredAny,
    #[serde(rename = "timestamp", default)]
    _timestamp: IgnoredAny,
}

/// Reads one message; `note` hears of every oddity in it.
pub(super) fn read<'a>(text: &'a str, note: &mut impl FnMut(Oddity)) -> Incoming<'a> {
    match serde_json::from_str(text) {
        Ok(Documented { event: "media", media, .. }) => Incoming::Media(Cow::Borrowed(media.payload)),
        _ => read_leniently(text, note),
    }
}

fn read_leniently<'a>(text: &'a str, note: &mut impl FnMut(Oddity)) -> Incoming<'a> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = serde_json::Deserializer::from_str(text);
    let Ok(Lenient::Object(fields)) = Lenient::deserialize(&mut reader) else {
        note(Oddity::Garbage);
        return Incoming::Nothing;
    };
    if reader.end().is_err() {
        note(Oddity::TrailingText);
    }
    fields.note(note);
    interpret(*fields, note)
}

fn interpret<'a>(fields: Fields<'a>, note: &mut impl FnMut(Oddity)) -> Incoming<'a> {
    let Lenient::Text(event) = &fields.event else {
        note(Oddity::EventMissing);
        return Incoming::Nothing;
    };
    let lower = event.trim().to_ascii_lowercase();
    if lower != *event {
        note(Oddity::Spelling);
    }
    match lower.as_str() {
        "media" => match inner(fields.media, note).map(|media| media.payload) {
            Some(Lenient::Text(payload)) => Incoming::Media(payload),
            _ => missing(Oddity::PayloadMissing, note),
        },
        "mark" => match inner(fields.mark, note).map(|mark| mark.name) {
            Some(Lenient::Text(name)) => Incoming::Mark(Value::String(name.into_owned())),
            Some(Lenient::Scalar(name)) => Incoming::Mark(name),
            _ => missing(Oddity::MarkNameMissing, note),
        },
        "clear" => Incoming::Clear,
        "stop" => Incoming::Stop,
        "dtmf" | "start" | "connected" => Incoming::Echo,
        _ => missing(Oddity::UnknownEvent, note),
    }
}

fn missing<'a>(what: Oddity, note: &mut impl FnMut(Oddity)) -> Incoming<'a> {
    note(what);
    Incoming::Nothing
}

fn inner<'a>(value: Lenient<'a>, note: &mut impl FnMut(Oddity)) -> Option<Fields<'a>> {
    let Lenient::Object(fields) = value else { return None };
    if fields.respelled {
        note(Oddity::Spelling);
    }
    Some(*fields)
}

/// Any JSON value; only what can matter is kept, so that a hostile one costs no memory.
#[derive(Default)]
enum Lenient<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Scalar(Value),
    Object(Box<Fields<'a>>),
}

/// The keys that matter, wherever they stand.
#[derive(Default)]
struct Fields<'a> {
    event: Lenient<'a>,
    media: Lenient<'a>,
    payload: Lenient<'a>,
    mark: Lenient<'a>,
    name: Lenient<'a>,
    stream_sid: Lenient<'a>,
    respelled: bool,
    unknown: bool,
}

/// The keys that a message may carry; not all are read.
const KEYS: [&str; 12] = [
    "event",
    "media",
    "payload",
    "mark",
    "name",
    "stream_sid",
    "sequence_number",
    "start",
    "stop",
    "dtmf",
    "clear",
    "connected",
];

/// The key that `text` spells, case and underscores aside: `streamSid`, `StreamSID`, `Payload`.
fn known_key(text: &str) -> Option<&'static str> {
    fn letters(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    let exact = KEYS.into_iter().find(|key| *key == text);
    exact.or_else(|| KEYS.into_iter().find(|key| letters(key).eq(letters(text))))
}

impl<'a> Fields<'a> {
    fn note(&self, note: &mut impl FnMut(Oddity)) {
        if self.respelled {
            note(Oddity::Spelling);
        }
        if self.unknown {
            note(Oddity::UnknownKey);
        }
        if !matches!(self.stream_sid, Lenient::Text(_)) {
            note(Oddity::StreamSid);
        }
    }

    /// Where the value of the properly spelled `key` is kept.
    fn place(&mut self, key: &str) -> Option<&mut Lenient<'a>> {
        match key {
            "event" => Some(&mut self.event),
            "media" => Some(&mut self.media),
            "payload" => Some(&mut self.payload),
            "mark" => Some(&mut self.mark),
            "name" => Some(&mut self.name),
            "stream_sid" => Some(&mut self.stream_sid),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Lenient<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Lenient<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Lenient::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Lenient::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Lenient::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Lenient::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Lenient::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Lenient::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Lenient::Absent)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Lenient::Absent)
    }

    /// Of several spellings of a key the proper one counts.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = Box::<Fields<'de>>::default();
        while let Some(Key(text)) = entries.next_key()? {
            let key = known_key(&text);
            fields.unknown |= key.is_none();
            fields.respelled |= key.is_some_and(|key| key != text);
            let Some(place) = key.and_then(|key| fields.place(key)) else {
                entries.next_value::<IgnoredAny>()?;
                continue;
            };
            let value = entries.next_value()?;
            if key == Some(&text) || matches!(place, Lenient::Absent) {
                *place = value;
            }
        }
        Ok(Lenient::Object(fields))
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(AnyValue)? {
            Lenient::Text(key) => Ok(Self(key)),
            _ => Ok(Self(Cow::Borrowed(""))),
        }
    }
}
/// The text of a binary frame that holds a JSON object.
pub(super) fn json_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    let starts_as_object = text.trim_ascii_start().starts_with('{');
    (starts_as_object && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_message_is_read_the_short_way_exactly_as_the_lenient_way() {
        let media =
            |inner: &str, outer: &str| format!(r#"{{"event":"media","stream_sid":"s",{outer}"media":{{{inner}}}}}"#);
        let payload = r#""payload":"AAEC""#;
        for text in [
            media(payload, ""),
            media(payload, r#""sequence_number":"3","#),
            media(payload, r#""sequence_number":3,"#),
            media(r#""chunk":1,"timestamp":"20","payload":"AAEC""#, ""),
            media(r#""Payload":"AAEC""#, ""),
            media(r#""payload":"AA\/C""#, ""),
            media(payload, r#""sequenceNumber":3,"#),
            media(payload, r#""stream_sid":7,"#),
            media(r#""payload":null"#, ""),
            media("", ""),
            media(payload, "") + "x",
            r#"{"event":"Media","stream_sid":"s","media":{"payload":"AAEC"}}"#.into(),
            r#"{"event":"mark","stream_sid":"s","media":{"payload":"AAEC"}}"#.into(),
        ] {
            let (mut short, mut lenient) = (Vec::new(), Vec::new());
            let read_short = read(&text, &mut |what| short.push(what));
            let read_long = read_leniently(&text, &mut |what| lenient.push(what));
            assert_eq!((read_short, short), (read_long, lenient), "{text}");
        }
    }
}
