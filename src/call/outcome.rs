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
    /// `limits.max_calls` is reached.
    Full,
}

impl Closed {
    /// All of them, the gravest first.
    pub const ALL: [Self; 4] = [Self::Draining, Self::Lagging, Self::Memory, Self::Full];

    /// For metric and log.
    #[must_use]
    pub const fn why(self) -> Why {
        let (label, text) = match self {
            Self::Draining => ("draining", "the node drains"),
            Self::Lagging => ("lagging", "the media clock lags: the machine is too slow for its calls"),
            Self::Memory => ("memory", "limits.max_memory_mebibytes is reached"),
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

/// A row: response code and Q.850 cause before the answer, Q.850 cause of the BYE after it.
struct Row {
    code: u16,
    cause: u16,
    bye_cause: u16,
    retry_after: bool,
}

const fn row(code: u16, cause: u16, bye_cause: u16) -> Row {
    Row { code, cause, bye_cause, retry_after: false }
}

impl Failure {
    fn row(&self) -> Row {
        match self {
            Self::AccountForbidden => row(403, 21, 21),
            Self::AccountInvalid => row(400, 41, 41),
            Self::NumberUnknown => row(404, 1, 1),
            Self::NumberIncomplete => row(484, 28, 28),
            Self::FlowInvalid | Self::Internal => row(500, 41, 41),
            Self::Throttled | Self::BotBusy => Row { retry_after: true, ..row(480, 42, 42) },
            Self::Overloaded(_) | Self::NoRtpPort => Row { retry_after: true, ..row(503, 42, 42) },
            Self::OfferRefused(..) => row(488, 65, 65),
            Self::BotUnreachable => row(502, 38, 38),
            Self::BotTimeout | Self::AnswerTimeout => row(504, 102, 102),
            Self::BotLost(Some(1002 | 1003 | 1007 | 1009)) => row(502, 38, 111),
            Self::BotLost(Some(1008 | 1011)) => row(502, 38, 38),
            Self::BotLost(_) => row(502, 38, 41),
        }
    }

    /// The response to an INVITE that is not answered. `retry_after` in seconds is used where the row asks for one.
    #[must_use]
    pub fn rejection(&self, retry_after: u32) -> Rejection {
        let row = self.row();
        Rejection {
            code: row.code,
            reasons: vec![Reason::q850(row.cause)],
            retry_after: row.retry_after.then_some(retry_after),
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
        self.row().bye_cause
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
mod tests {
    use super::*;

    fn answer(failure: &Failure) -> (u16, Option<u16>, bool) {
        let rejection = failure.rejection(7);
        (rejection.code, rejection.reasons[0].cause, rejection.retry_after == Some(7))
    }

    #[test]
    fn sip_120_each_row_answers_as_the_table_says() {
        let rows = [
            (Failure::AccountForbidden, (403, Some(21), false)),
            (Failure::AccountInvalid, (400, Some(41), false)),
            (Failure::NumberUnknown, (404, Some(1), false)),
            (Failure::NumberIncomplete, (484, Some(28), false)),
            (Failure::FlowInvalid, (500, Some(41), false)),
            (Failure::Throttled, (480, Some(42), true)),
            (Failure::Overloaded(Closed::Full), (503, Some(42), true)),
            (Failure::NoRtpPort, (503, Some(42), true)),
            (Failure::OfferRefused(305, "no codec"), (488, Some(65), false)),
            (DialFailure::Dns(String::new()).failure(), (502, Some(38), false)),
            (DialFailure::Tls(String::new()).failure(), (502, Some(38), false)),
            (DialFailure::Http(401).failure(), (502, Some(38), false)),
            (DialFailure::Http(404).failure(), (502, Some(38), false)),
            (DialFailure::Http(500).failure(), (502, Some(38), false)),
            (DialFailure::Http(503).failure(), (480, Some(42), true)),
            (DialFailure::Http(429).failure(), (480, Some(42), true)),
            (DialFailure::Timeout(10).failure(), (504, Some(102), false)),
            (Failure::AnswerTimeout, (504, Some(102), false)),
            (Failure::Internal, (500, Some(41), false)),
        ];
        for (failure, expected) in rows {
            assert_eq!(answer(&failure), expected, "{failure:?}");
        }
    }

    #[test]
    fn sip_120_a_lost_bot_ends_an_answered_call_with_the_tables_cause() {
        for (code, cause) in [(None, 41), (Some(1002), 111), (Some(1009), 111), (Some(1008), 38), (Some(1011), 38)] {
            assert_eq!(Failure::BotLost(code).bye_cause(), cause, "{code:?}");
        }
    }

    #[test]
    fn sip_122_a_code_becomes_the_cause_of_rfc_3398() {
        let codes =
            [400, 403, 404, 405, 415, 408, 410, 420, 480, 481, 484, 486, 500, 501, 502, 503, 504, 600, 603, 604];
        let causes = [41, 21, 1, 63, 79, 102, 22, 127, 18, 41, 28, 17, 41, 79, 38, 41, 102, 17, 21, 1];
        assert_eq!(codes.map(cause_of_sip_code), causes);
    }

    #[test]
    fn sip_121_every_failure_that_a_trunk_may_recode_is_a_row() {
        let rows = [
            Failure::NumberUnknown,
            Failure::NumberIncomplete,
            Failure::FlowInvalid,
            Failure::Throttled,
            Failure::OfferRefused(305, ""),
            Failure::BotUnreachable,
            Failure::BotBusy,
            Failure::BotTimeout,
            Failure::BotLost(None),
            Failure::AnswerTimeout,
        ];
        assert_eq!(rows.map(|row| row.label()), crate::config::FAILURES);
    }

    #[test]
    fn sip_121_no_failure_answers_busy_or_decline() {
        for failure in
            [Failure::Throttled, Failure::BotUnreachable, Failure::Overloaded(Closed::Full), Failure::BotTimeout]
        {
            assert!(!matches!(failure.rejection(1).code, 486 | 603));
        }
    }
}
