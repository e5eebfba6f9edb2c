//! The failure table, in one place: what happened → SIP response before the answer, BYE after it, and what the
//! stream reports. 486 and 603 never appear on their own: they stop route-advance on common gateways (SIP-121).

use crate::config::Trunk;
use crate::sip::{Reason, Rejection, Why};

/// Why the node takes no new call; the same words in OPTIONS' log line, `/readyz`, log and metric (OPS-030, SIP-096).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    /// It was told to stop (OPS-031).
    Draining,
    /// A media thread wakes too late.
    Lagging,
    /// `limits.max_memory_mebibytes` is reached.
    Memory,
    /// No pair of RTP ports is free.
    Ports,
    /// `limits.max_calls` is reached.
    Full,
}

impl Closed {
    /// All of them, the gravest first.
    pub const ALL: [Self; 5] = [Self::Draining, Self::Lagging, Self::Memory, Self::Ports, Self::Full];

    /// For metric and log.
    #[must_use]
    pub const fn why(self) -> Why {
        let (label, text) = match self {
            Self::Draining => ("draining", "the node drains"),
            Self::Lagging => {
                ("lagging", "the media clock lags: the machine is too slow for its calls, lower limits.max_calls")
            }
            Self::Memory => ("memory", "limits.max_memory_mebibytes is reached"),
            Self::Ports => ("rtp_ports", "every port of media.rtp_ports is in use or rests"),
            Self::Full => ("max_calls", "limits.max_calls is reached"),
        };
        Why { label, text }
    }
}

/// Why a call, or a step of its flow, did not go as wished. One variant per row of the table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// `X-Exotel-AccountSid` missing, unknown, not on this trunk, or disabled: one answer for all (HDR-002).
    AccountForbidden,
    /// Two different account headers, or one that is no account sid.
    AccountInvalid,
    /// The called number has no flow in this account.
    NumberUnknown,
    /// The request has no called number.
    NumberIncomplete,
    /// The flow cannot start.
    FlowInvalid,
    /// The account's `max_streams` is reached.
    Throttled,
    /// The trunk's `max_calls_per_minute` is exceeded.
    TrunkTooFast,
    /// The node takes no new call.
    Overloaded(Closed),
    /// No RTP port is free.
    NoRtpPort,
    /// No common codec, or an offer that cannot be answered: warning code and text (RFC 3261 §20.43).
    OfferRefused(u16, &'static str),
    /// DNS, connection, TLS, or an HTTP refusal of the bot.
    BotUnreachable,
    /// The bot answered 429 or 503 to the upgrade.
    BotBusy,
    /// The bot did not finish the handshake in time.
    BotTimeout,
    /// The stream was lost, or closed with a protocol error; the close code where there was one.
    BotLost(Option<u16>),
    /// The INVITE was not answered within `answer_deadline_seconds`.
    AnswerTimeout,
    /// A fault of the bridge.
    Internal,
}

/// The response to an INVITE that is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// 400 to 699.
    pub code: u16,
    /// Q.850 cause in `Reason`.
    pub cause: Option<u16>,
    /// With `Retry-After`.
    pub retry_after: bool,
}

/// What becomes of an answered call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It cannot happen then.
    Never,
    /// The peer has hung up.
    Gone,
    /// Only what was asked for is refused: the call goes on.
    GoesOn,
    /// The flow goes on; where it ends the BYE has this Q.850 cause.
    Flow(u16),
    /// BYE with this Q.850 cause.
    Bye(u16),
    /// BYE with this cause of protocol SIP.
    ByeSip(u16),
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// One word: what metric, log and record call it, and `sip_codes` of a trunk.
    pub name: &'static str,
    /// What has happened.
    pub when: &'static str,
    /// Before the answer; `None` where it cannot happen then.
    pub before: Option<Answer>,
    /// After the answer.
    pub after: After,
    /// `Status` and `DisconnectedBy` of the stream; `None` where there is none.
    pub stream: Option<(&'static str, &'static str)>,
}

impl Row {
    /// An unanswered call is refused; cause 0 is none.
    const fn refused(name: &'static str, code: u16, cause: u16, when: &'static str) -> Self {
        let cause = if cause == 0 { None } else { Some(cause) };
        let before = Some(Answer { code, cause, retry_after: false });
        Self { name, when, before, after: After::Never, stream: None }
    }

    /// The same, and the peer may come again soon.
    const fn later(name: &'static str, code: u16, cause: u16, when: &'static str) -> Self {
        let before = Some(Answer { code, cause: Some(cause), retry_after: true });
        Self { before, ..Self::refused(name, code, cause, when) }
    }

    /// It happens to answered calls only.
    const fn answered(name: &'static str, after: After, when: &'static str) -> Self {
        Self { name, when, before: None, after, stream: None }
    }

    const fn after(self, after: After) -> Self {
        Self { after, ..self }
    }

    const fn stream(self, status: &'static str, by: &'static str) -> Self {
        Self { stream: Some((status, by)), ..self }
    }

    /// The row of this name.
    #[must_use]
    pub fn of(name: &str) -> Option<&'static Self> {
        TABLE.iter().find(|row| row.name == name)
    }
}

/// The failure table (SIP-120). A row is named by at least one story in `tests/calls/failures.rs`.
pub const TABLE: &[Row] = &[
    Row::refused("unknown_source", 403, 0, "the source is on no trunk: limited, then silence"),
    Row::refused("account_forbidden", 403, 21, "the account is missing, unknown, not on this trunk, or disabled"),
    Row::refused("account_invalid", 400, 41, "two different account headers, or one that is no account sid"),
    Row::refused("number_unknown", 404, 1, "the called number has no flow in this account"),
    Row::refused("number_incomplete", 484, 28, "the request has no called number"),
    Row::refused("flow_invalid", 500, 41, "the flow cannot start").after(After::Flow(41)),
    Row::later("throttled", 480, 42, "the account's max_streams is reached")
        .after(After::Flow(42))
        .stream("failed", "NA"),
    Row::later("trunk_call_rate", 480, 42, "calls come faster than the trunk's max_calls_per_minute"),
    Row::later("draining", 503, 42, "the node was told to stop"),
    Row::later("lagging", 503, 42, "a media thread wakes too late"),
    Row::later("memory", 503, 42, "limits.max_memory_mebibytes is reached"),
    Row::later("max_calls", 503, 42, "limits.max_calls is reached"),
    Row::later("rtp_ports", 503, 42, "every pair of media.rtp_ports is in use or rests"),
    Row::later("no_rtp_port", 503, 42, "no RTP port can be bound for this call"),
    Row::later("call_rate", 503, 42, "calls come faster than limits.max_calls_per_second"),
    Row::later("source_rate", 503, 42, "one address sends more than limits.max_requests_per_second_per_source"),
    Row::later("sip_tables", 503, 42, "too many SIP dialogs or transactions are open"),
    Row::refused("offer_refused", 488, 65, "no common codec, or an offer that cannot be answered").after(After::GoesOn),
    Row::refused("body_type", 415, 79, "the body is not SDP, or encoded"),
    Row::refused("extension_required", 420, 127, "Require names an extension that is not supported"),
    Row::refused(
        "bot_unreachable",
        502,
        38,
        "DNS, connection, TLS or handshake of the bot fails, or it refuses with HTTP",
    )
    .after(After::Flow(38))
    .stream("failed", "NA"),
    Row::later("bot_busy", 480, 42, "the bot answers 429 or 503 to the upgrade")
        .after(After::Flow(42))
        .stream("failed", "NA"),
    Row::refused("bot_timeout", 504, 102, "the bot does not finish the handshake in time")
        .after(After::Flow(102))
        .stream("failed", "NA"),
    Row::refused("answer_timeout", 504, 102, "nothing answered within answer_deadline_seconds").stream("failed", "NA"),
    Row::refused("prack_timeout", 504, 102, "no PRACK of a reliable 18x").stream("failed", "NA"),
    Row::refused("cancelled", 487, 0, "CANCEL").stream("cancelled", "user"),
    Row::refused("expired", 487, 0, "Expires of the INVITE").stream("cancelled", "user"),
    Row::answered("caller_hangup", After::Gone, "the caller hangs up").stream("completed", "user"),
    Row::answered("bot_closed", After::Flow(16), "the bot closes 1000 or 1005, or ends at a message boundary (1006)")
        .stream("completed", "bot"),
    Row::answered("bot_going_away", After::Flow(41), "the bot closes 1001, 1012 or 1013").stream("completed", "bot"),
    Row::refused("bot_lost", 502, 38, "the bot is lost: in mid-frame, two pings missed")
        .after(After::Flow(41))
        .stream("failed", "bot"),
    Row::refused("bot_protocol", 502, 38, "the bot closes 1002, 1003, 1007 or 1009, or breaks the protocol")
        .after(After::Flow(111))
        .stream("failed", "bot"),
    Row::refused("bot_fault", 502, 38, "the bot closes 1008 or 1011").after(After::Flow(38)).stream("failed", "bot"),
    Row::answered("rtp_timeout", After::Bye(102), "no RTP for media.rtp_timeout_seconds").stream("completed", "user"),
    Row::answered("hold_timeout", After::Bye(102), "a hold is longer than hold_timeout_seconds")
        .stream("completed", "NA"),
    Row::answered("ack_timeout", After::ByeSip(408), "no ACK of our 200").stream("failed", "NA"),
    Row::answered("ack_without_answer", After::ByeSip(488), "the ACK has no answer to our offer"),
    Row::answered("session_expired", After::Bye(102), "nobody refreshes the session within its interval")
        .stream("completed", "NA"),
    Row::answered("refer_failed", After::Flow(102), "the transfer fails; where a SIP code says why, its cause")
        .stream("completed", "bot"),
    Row::answered("max_duration", After::Flow(102), "the step's max_duration_seconds").stream("completed", "NA"),
    Row::refused("shutdown", 503, 41, "the drain limit has passed").after(After::Bye(41)).stream("completed", "NA"),
    Row::refused("internal", 500, 41, "a fault of the bridge").after(After::Bye(41)).stream("failed", "NA"),
];

impl Failure {
    /// Its row of the table.
    #[must_use]
    pub fn row(&self) -> &'static Row {
        let name = match self {
            Self::BotLost(Some(1002 | 1003 | 1007 | 1009)) => "bot_protocol",
            Self::BotLost(Some(1008 | 1011)) => "bot_fault",
            _ => self.label(),
        };
        Row::of(name).expect("a test sees that each failure has a row")
    }

    /// The response to an INVITE that is not answered. `retry_after` in seconds is used where the row asks for one.
    #[must_use]
    pub fn rejection(&self, retry_after: u32) -> Rejection {
        let Answer { code, cause, retry_after: later } = self.row().before.expect("a failure refuses unanswered calls");
        Rejection {
            code,
            reasons: cause.map(Reason::q850).into_iter().collect(),
            retry_after: later.then_some(retry_after),
            warning: match self {
                Self::OfferRefused(code, text) => Some((*code, (*text).to_owned())),
                _ => None,
            },
            headers: Vec::new(),
            why: None,
        }
    }

    /// The code that the trunk wants for it instead (SIP-121).
    #[must_use]
    pub fn own_code(&self, trunk: &Trunk) -> Option<u16> {
        trunk.sip_codes.get(self.label()).copied()
    }

    /// The Q.850 cause of the BYE that ends an answered call.
    #[must_use]
    pub fn bye_cause(&self) -> u16 {
        match self.row() {
            Row { after: After::Flow(cause) | After::Bye(cause), .. } => *cause,
            Row { before, .. } => before.and_then(|answer| answer.cause).unwrap_or(16),
        }
    }

    /// One word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::AccountForbidden => "account_forbidden",
            Self::AccountInvalid => "account_invalid",
            Self::NumberUnknown => "number_unknown",
            Self::NumberIncomplete => "number_incomplete",
            Self::FlowInvalid => "flow_invalid",
            Self::Throttled => "throttled",
            Self::TrunkTooFast => "trunk_call_rate",
            Self::Overloaded(closed) => closed.why().label,
            Self::NoRtpPort => "no_rtp_port",
            Self::OfferRefused(..) => "offer_refused",
            Self::BotUnreachable => "bot_unreachable",
            Self::BotBusy => "bot_busy",
            Self::BotTimeout => "bot_timeout",
            Self::BotLost(_) => "bot_lost",
            Self::AnswerTimeout => "answer_timeout",
            Self::Internal => "internal",
        }
    }

    /// What stands in the way of the call, with the key that changes it, where it is a limit of ours.
    #[must_use]
    pub fn limit(&self) -> Option<&'static str> {
        match self {
            Self::Overloaded(closed) => Some(closed.why().text),
            Self::Throttled => Some("max_streams of the [[account]] is reached"),
            Self::TrunkTooFast => Some("calls come faster than max_calls_per_minute of the [[trunk]]"),
            Self::NoRtpPort => Some("no port of media.rtp_ports can be bound"),
            _ => None,
        }
    }
}

/// The cause of the BYE that follows when a bot ended its stream in order.
#[must_use]
pub fn cause_of_close(code: Option<u16>) -> u16 {
    let name = if matches!(code, Some(1001 | 1012 | 1013)) { "bot_going_away" } else { "bot_closed" };
    match Row::of(name).map(|row| row.after) {
        Some(After::Flow(cause)) => cause,
        _ => 16,
    }
}

/// The cause of the BYE where the flow ends after a transfer that failed with `code`, or without one.
#[must_use]
pub fn cause_of_transfer(code: Option<u16>) -> u16 {
    match Row::of("refer_failed").map(|row| row.after) {
        Some(After::Flow(cause)) => code.map_or(cause, cause_of_sip_code),
        _ => 16,
    }
}

/// `Status` and `DisconnectedBy` of a stream that ends because the call does, for this reason.
#[must_use]
pub fn stream_end(why: &str) -> (&'static str, &'static str) {
    Row::of(why).and_then(|row| row.stream).unwrap_or(("failed", "NA"))
}

/// The SIP code for a Q.850 cause that a `hangup` step gives an unanswered call (RFC 3398 §8.2.6.1).
#[must_use]
pub fn sip_code_of_cause(cause: u16) -> u16 {
    match cause {
        1..=3 | 26 => 404,
        17 => 486,
        18 => 408,
        21 | 55 | 57 | 87 => 403,
        22 => 410,
        27 => 502,
        28 => 484,
        29 | 79 => 501,
        34 | 38 | 41 | 42 | 47 | 58 | 88 => 503,
        65 | 70 => 488,
        102 => 504,
        111 | 127 => 500,
        _ => 480,
    }
}

/// The Q.850 cause for the SIP code that ended another call (RFC 3398 §7.2.4.1).
#[must_use]
pub fn cause_of_sip_code(code: u16) -> u16 {
    match code {
        401 | 402 | 403 | 407 | 603 => 21,
        404 | 604 => 1,
        405 => 63,
        406 | 415 | 501 => 79,
        408 | 504 => 102,
        410 => 22,
        413 | 414 | 416 | 420 | 421 => 127,
        480 => 18,
        484 => 28,
        486 | 600 => 17,
        502 => 38,
        _ => 41,
    }
}

/// Why a bot could not be connected; the text stands in the stream's `Error` after `3009 failed to establish ws conn`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DialFailure {
    /// The name has no address.
    #[error("DNS: {0}")]
    Dns(String),
    /// Refused or unreachable.
    #[error("{0}")]
    Connect(String),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// The upgrade was answered with this HTTP status.
    #[error("HTTP {0}")]
    Http(u16),
    /// The answer to the upgrade was no WebSocket handshake.
    #[error("handshake: {0}")]
    Handshake(String),
    /// The time for TCP, TLS and upgrade ran out.
    #[error("no handshake within {0} s")]
    Timeout(u64),
}

impl DialFailure {
    /// Every word of [`DialFailure::label`].
    pub const LABELS: [&'static str; 6] = ["dns", "connect", "tls", "http", "handshake", "timeout"];

    /// The row of the failure table.
    #[must_use]
    pub fn failure(&self) -> Failure {
        match self {
            Self::Http(429 | 503) => Failure::BotBusy,
            Self::Timeout(_) => Failure::BotTimeout,
            Self::Dns(_) | Self::Connect(_) | Self::Tls(_) | Self::Http(_) | Self::Handshake(_) => {
                Failure::BotUnreachable
            }
        }
    }

    /// One word for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::Http(_) => "http",
            Self::Handshake(_) => "handshake",
            Self::Timeout(_) => "timeout",
        }
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
