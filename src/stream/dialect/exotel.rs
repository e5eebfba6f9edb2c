//! The dialect `exotel`: snake_case, field order as documented, no key beside the documented ones.

use std::fmt::Write;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::stream::base64;
use crate::stream::chunk::Chunk;
use crate::stream::dialect::{NumberStyle, Outgoing};
use crate::stream::event::StopReason;
use crate::stream::settings::StreamSettings;

/// Writes `message` with the number `sequence`, where it takes one.
pub(in crate::stream) fn write(settings: &StreamSettings, sequence: u64, message: &Outgoing<'_>) -> String {
    let style = settings.dialect.number_style;
    let body = match message {
        Outgoing::Media(chunk) => return media(settings, sequence, chunk),
        Outgoing::Connected => return json(&Bare { event: "connected" }),
        Outgoing::Hold => return json(&Unnumbered { event: "hold", stream_sid: settings.stream_sid.as_str() }),
        Outgoing::Resume => return json(&Unnumbered { event: "resume", stream_sid: settings.stream_sid.as_str() }),
        Outgoing::Start => Body::Start(start(settings)),
        Outgoing::Dtmf { digit, duration_ms } => {
            Body::Dtmf(Dtmf { duration: number(style, u64::from(*duration_ms)), digit: *digit })
        }
        Outgoing::Mark { name, played_ms } => {
            Body::Mark(Mark { name, played_ms: played_ms.map(|ms| number(style, ms)) })
        }
        Outgoing::Stop(reason) => Body::Stop(stop(settings, *reason)),
    };
    json(&Numbered {
        event: body.event(),
        sequence_number: number(style, sequence),
        stream_sid: settings.stream_sid.as_str(),
        body,
    })
}

fn json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("strings, numbers and maps with string keys always serialise")
}

/// The one message on the packet path: a fixed template, the payload encoded straight into it.
fn media(settings: &StreamSettings, sequence: u64, chunk: &Chunk<'_>) -> String {
    const FIXED: usize = 200;
    let (quote, chunk_quote) = match settings.dialect.number_style {
        NumberStyle::Mixed => ("\"", ""),
        NumberStyle::Strings => ("\"", "\""),
        NumberStyle::Numbers => ("", ""),
    };
    let mut text = String::with_capacity(FIXED + chunk.pcm.len().div_ceil(3) * 4);
    let (sid, number, timestamp) = (settings.stream_sid.as_str(), chunk.number, chunk.timestamp_ms);
    let _ =
        write!(text, r#"{{"event":"media","sequence_number":{quote}{sequence}{quote},"stream_sid":"{sid}","media":{{"#);
    let _ =
        write!(text, r#""chunk":{chunk_quote}{number}{chunk_quote},"timestamp":{quote}{timestamp}{quote},"payload":""#);
    base64::encode(chunk.pcm, &mut text);
    text.push_str(r#""}}"#);
    text
}

/// A number as the style wants it. `media.chunk`, the exception of `mixed`, is written by the template.
fn number(style: NumberStyle, value: u64) -> Number {
    match style {
        NumberStyle::Mixed | NumberStyle::Strings => Number::Text(value.to_string()),
        NumberStyle::Numbers => Number::Plain(value),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Plain(u64),
}

#[derive(Serialize)]
struct Bare {
    event: &'static str,
}

#[derive(Serialize)]
struct Unnumbered<'a> {
    event: &'static str,
    stream_sid: &'a str,
}

#[derive(Serialize)]
struct Numbered<'a> {
    event: &'static str,
    sequence_number: Number,
    stream_sid: &'a str,
    #[serde(flatten)]
    body: Body<'a>,
}

/// The object beside the common fields, under the event's own name.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Body<'a> {
    Start(Start<'a>),
    Dtmf(Dtmf),
    Mark(Mark<'a>),
    Stop(Stop<'a>),
}

impl Body<'_> {
    fn event(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Dtmf(_) => "dtmf",
            Self::Mark(_) => "mark",
            Self::Stop(_) => "stop",
        }
    }
}

#[derive(Serialize)]
struct Start<'a> {
    stream_sid: &'a str,
    call_sid: &'a str,
    account_sid: &'a str,
    from: &'a str,
    to: &'a str,
    custom_parameters: Ordered<'a>,
    media_format: MediaFormat<'a>,
}

#[derive(Serialize)]
struct MediaFormat<'a> {
    encoding: &'a str,
    sample_rate: Number,
    bit_rate: String,
}

#[derive(Serialize)]
struct Dtmf {
    duration: Number,
    digit: char,
}

#[derive(Serialize)]
struct Mark<'a> {
    name: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    played_ms: Option<Number>,
}

#[derive(Serialize)]
struct Stop<'a> {
    call_sid: &'a str,
    account_sid: &'a str,
    reason: &'static str,
}

/// A JSON object in the order of the list.
struct Ordered<'a>(&'a [(String, String)]);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

fn start(settings: &StreamSettings) -> Start<'_> {
    let rate = settings.sample_rate.hz();
    let bit_rate = settings.dialect.bit_rate.clone();
    Start {
        stream_sid: settings.stream_sid.as_str(),
        call_sid: settings.call_sid.as_str(),
        account_sid: settings.account_sid.as_str(),
        from: &settings.from,
        to: &settings.to,
        custom_parameters: Ordered(&settings.custom_parameters),
        media_format: MediaFormat {
            encoding: &settings.dialect.encoding,
            sample_rate: number(settings.dialect.number_style, u64::from(rate)),
            bit_rate: bit_rate.unwrap_or_else(|| format!("{}kbps", rate * 16 / 1000)),
        },
    }
}

fn stop(settings: &StreamSettings, reason: StopReason) -> Stop<'_> {
    Stop {
        call_sid: settings.call_sid.as_str(),
        account_sid: settings.account_sid.as_str(),
        reason: match reason {
            StopReason::CallEnded => "callended",
            StopReason::Stopped => "stopped",
        },
    }
}
