//! `POST /trace`: a capture of one call, as it happens (OPS-026). Only for this machine.

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::mpsc;

use super::AdminState;
use crate::base::pii::MaskedNumber;

/// How long a trace goes on where it is not said, in seconds.
const DEFAULT_SECONDS: u32 = 60;
/// At most a day, so that a forgotten one ends.
pub const MOST_SECONDS: u32 = 86_400;

/// Which calls are meant.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// The one with this SIP Call-ID.
    CallId(String),
    /// The one with this `call_sid`.
    CallSid(String),
    /// Those from this number.
    From(String),
    /// Those to this number.
    Number(String),
    /// Those of this trunk.
    Trunk(String),
}

/// Numbers are masked.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CallId(id) => write!(f, "Call-ID {id}"),
            Self::CallSid(sid) => write!(f, "call_sid {sid}"),
            Self::From(number) => write!(f, "calls from {}", MaskedNumber(number)),
            Self::Number(number) => write!(f, "calls to {}", MaskedNumber(number)),
            Self::Trunk(trunk) => write!(f, "trunk {trunk}"),
        }
    }
}

/// Numbers are masked here too.
impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is asked for: the body of the request, one JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// Which calls: one key, `call_id`, `call_sid`, `from`, `number` or `trunk`.
    pub of: Selection,
    /// How long, in seconds; 0 is what is held now. A call known by its id ends the trace when it ends.
    #[serde(default = "default_seconds")]
    pub for_seconds: u32,
    /// With RTP and RTCP.
    #[serde(default)]
    pub rtp: bool,
    /// With credentials, keys, digits and the values of X- headers.
    #[serde(default)]
    pub unmasked: bool,
    /// Nothing is written now: RTP of these calls is held from now on, for as long.
    #[serde(default)]
    pub arm: bool,
}

fn default_seconds() -> u32 {
    DEFAULT_SECONDS
}

/// Why there is no trace.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TraceRefusal {
    /// The peer is elsewhere.
    #[error("traces are for this machine only: run `trunkstream trace` here, or through ssh")]
    NotLocal,
    /// The body is no request.
    #[error("the request is wrong: {0}")]
    Request(String),
    /// There is no such call or trunk.
    #[error("{0}")]
    Unknown(String),
    /// The configuration says no.
    #[error("unmasked traces are off: `allow_unmasked = true` in [trace] allows them")]
    Masked,
    /// Nothing is held.
    #[error("traces are off: signalling_kibibytes in [trace] is 0")]
    Off,
    /// Too many at once.
    #[error("{0} traces are under way, which is all there may be")]
    Busy(usize),
}

impl TraceRefusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotLocal | Self::Masked => StatusCode::FORBIDDEN,
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::Off => StatusCode::CONFLICT,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// Who makes traces.
pub trait Traces: Send + Sync {
    /// Begins a trace: the parts of a pcapng capture as they come. Dropping the receiver ends it.
    ///
    /// # Errors
    /// Why there is none.
    fn open(&self, request: TraceRequest) -> Result<mpsc::Receiver<Vec<u8>>, TraceRefusal>;
}

/// Answers with the capture, or with one line that says why not.
pub async fn trace(
    State(state): State<AdminState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    body: Bytes,
) -> Response {
    let opened = read(peer, &body).and_then(|request| state.traces.open(request));
    match opened {
        Ok(parts) => {
            let parts = futures_util::stream::unfold(parts, async |mut parts: mpsc::Receiver<Vec<u8>>| {
                parts.recv().await.map(|part| (Ok::<_, Infallible>(part), parts))
            });
            ([(header::CONTENT_TYPE, "application/x-pcapng")], Body::from_stream(parts)).into_response()
        }
        Err(refusal) => {
            tracing::warn!(%peer, %refusal, "trace refused");
            (refusal.status(), format!("{refusal}\n")).into_response()
        }
    }
}

fn read(peer: SocketAddr, body: &[u8]) -> Result<TraceRequest, TraceRefusal> {
    if !peer.ip().to_canonical().is_loopback() {
        return Err(TraceRefusal::NotLocal);
    }
    let request: TraceRequest =
        serde_json::from_slice(body).map_err(|error| TraceRefusal::Request(error.to_string()))?;
    if request.for_seconds > MOST_SECONDS {
        return Err(TraceRefusal::Request(format!("for_seconds is at most {MOST_SECONDS}")));
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(peer: &str, body: &str) -> Result<TraceRequest, TraceRefusal> {
        read(peer.parse().expect("an address"), body.as_bytes())
    }

    #[test]
    fn ops_026_a_trace_is_for_this_machine_alone_and_bounded_in_time() {
        let body = r#"{"of":{"call_id":"c1"}}"#;
        let request = asked("127.0.0.1:9", body).expect("a request");
        assert_eq!((request.of, request.for_seconds), (Selection::CallId("c1".into()), 60));
        assert!(!request.rtp && !request.unmasked && !request.arm);
        assert!(asked("[::1]:9", body).is_ok() && asked("[::ffff:127.0.0.1]:9", body).is_ok());
        for stranger in ["192.0.2.1:9", "[2001:db8::1]:9", "10.0.0.1:9"] {
            assert_eq!(asked(stranger, body).err(), Some(TraceRefusal::NotLocal));
        }
        let long = asked("127.0.0.1:9", r#"{"of":{"trunk":"t"},"for_seconds":86401}"#);
        assert!(long.is_err_and(|refusal| refusal.to_string().contains("at most 86400")));
    }

    #[test]
    fn a_wrong_request_is_answered_with_what_is_wrong() {
        for (body, word) in
            [("", "EOF"), (r#"{"of":{"call":"c"}}"#, "call"), (r#"{"of":{"call_id":"c"},"rpt":true}"#, "rpt")]
        {
            let refusal = asked("127.0.0.1:9", body).expect_err("it is wrong");
            assert!(refusal.to_string().contains(word), "{refusal}");
            assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
        }
    }

    #[test]
    fn a_number_that_is_asked_for_is_not_logged() {
        assert_eq!(Selection::From("+4930123456".into()).to_string(), "calls from +xxxxxxxx56");
    }
}
