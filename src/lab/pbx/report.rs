//! What became of a test call.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::heard::Heard;
use super::statistics::Spread;
use crate::sip::causes::{LegResult, result_of};
use crate::sip::{Reason, ReasonProtocol};

/// A call from INVITE to its end.
#[derive(Debug)]
pub struct CallReport {
    /// How it ended.
    pub outcome: Outcome,
    /// From INVITE to 200.
    pub setup: Option<Duration>,
    /// From INVITE to its end.
    pub length: Duration,
    /// Its media, where it was answered.
    pub media: Option<MediaSummary>,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Answered; we hung up, and the peer confirmed it.
    HungUp,
    /// Answered; the peer hung up, for these reasons.
    PeerHungUp(Vec<Reason>),
    /// Answered; our BYE was not answered in time.
    ByeUnanswered,
    /// Answered with a session description that cannot be used.
    AnswerUnusable(String),
    /// Refused.
    Refused {
        /// Status code.
        code: u16,
        /// Reason phrase.
        phrase: String,
        /// Why, as the peer says.
        reasons: Vec<Reason>,
    },
    /// Nobody sent a single response.
    NoResponse(Duration),
    /// There were responses, but no final one.
    NoAnswer(Duration),
    /// Our own side could not go on: no socket.
    Failed(String),
}

impl Outcome {
    /// Answered, and ended by us or by the peer without a fault.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        let clean =
            |reason: &Reason| reason.protocol != ReasonProtocol::Q850 || reason.cause.is_none_or(|cause| cause == 16);
        match self {
            Self::HungUp => true,
            Self::PeerHungUp(reasons) => reasons.iter().all(clean),
            Self::ByeUnanswered | Self::AnswerUnusable(_) | Self::Refused { .. } => false,
            Self::NoResponse(_) | Self::NoAnswer(_) | Self::Failed(_) => false,
        }
    }

    /// What it means to whoever had it placed; `None` where it was answered, or not placed at all.
    #[must_use]
    pub fn result(&self) -> Option<LegResult> {
        match self {
            Self::Refused { code, reasons, .. } => Some(result_of(*code, reasons)),
            Self::NoResponse(_) | Self::NoAnswer(_) => Some(LegResult::NoAnswer),
            Self::HungUp | Self::PeerHungUp(_) | Self::ByeUnanswered => None,
            Self::AnswerUnusable(_) | Self::Failed(_) => None,
        }
    }

    /// What to look at, where experience says.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        let Self::Refused { code, .. } = self else {
            let silent = matches!(self, Self::NoResponse(_));
            return silent.then_some("is the address right, does a firewall drop UDP, does the bridge run?");
        };
        match code {
            400 => Some("the bridge wants exactly one X-Exotel-AccountSid (see --account)"),
            401 | 407 => {
                Some("credentials are asked for: --user and --password, or auth of the trunk; or they are wrong")
            }
            403 => Some("the bridge needs a [[trunk]] that allows this machine, and --account naming an account of it"),
            404 => Some("the bridge has no [[number]] for this user part in this account (number = \"*\" takes any)"),
            480 => Some("the account's max_streams is reached, or the bot says it is busy"),
            484 => Some("the URI needs a user part: sip:NUMBER@HOST"),
            488 => Some("no codec in common (see --pt), or the media address is not allowed"),
            500 => Some("the bridge's log says what went wrong"),
            502 => Some("the bridge could not connect to the bot: is it running, is the flow's url right?"),
            503 => Some("the bridge is full, or drains before it stops"),
            504 => Some("the bot did not finish the WebSocket handshake in time"),
            _ => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("answered; we hung up"),
            Self::PeerHungUp(reasons) => write!(f, "answered; the other side hung up{}", Because(reasons)),
            Self::ByeUnanswered => f.write_str("answered; our BYE was not answered"),
            Self::AnswerUnusable(why) => write!(f, "answered, but its SDP cannot be used: {why}"),
            Self::Refused { code, phrase, reasons } => write!(f, "refused: {code} {phrase}{}", Because(reasons)),
            Self::NoResponse(wait) => write!(f, "no response at all within {:.1} s", wait.as_secs_f64()),
            Self::NoAnswer(wait) => write!(f, "not answered within {:.1} s, cancelled", wait.as_secs_f64()),
            Self::Failed(why) => write!(f, "not placed: {why}"),
        }
    }
}

struct Because<'a>(&'a [Reason]);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        if texts.is_empty() { Ok(()) } else { write!(f, " ({})", texts.join(", ")) }
    }
}

/// The media of an answered call.
#[derive(Debug)]
pub struct MediaSummary {
    /// When the 200 came.
    pub answered: Instant,
    /// When the first packet was due.
    pub started: Instant,
    /// When the sockets were closed.
    pub ended: Instant,
    /// Our address.
    pub local: SocketAddr,
    /// Where RTP went.
    pub remote: SocketAddr,
    /// The codec's name and payload type.
    pub codec: (&'static str, u8),
    /// The crypto suite of SRTP.
    pub srtp: Option<&'static str>,
    /// Packets sent, those lost on purpose included.
    pub sent: u64,
    /// Packets lost on purpose.
    pub dropped: u64,
    /// How late our own packets left: how busy this machine was.
    pub lateness: Spread,
    /// Digits were to be sent, and the peer takes no telephone-events.
    pub digits_refused: bool,
    /// What came back.
    pub heard: Heard,
}

impl MediaSummary {
    /// The summary as aligned lines.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let heard = &self.heard;
        let lost = super::statistics::percent(heard.lost(), heard.lost() + heard.received());
        let after = |at: Option<Instant>| match at {
            Some(at) => format!("{} ms", at.saturating_duration_since(self.answered).as_millis()),
            None => "never".to_owned(),
        };
        let ssrcs: Vec<String> = heard.ssrcs().iter().map(|ssrc| format!("{ssrc:08x}")).collect();
        let mut sent = format!("{} packets", self.sent);
        if self.dropped > 0 {
            sent.push_str(&format!(", {} of them lost on purpose", self.dropped));
        }
        let mut received = format!("{} packets, {} lost ({lost:.1} %)", heard.received(), heard.lost());
        if heard.duplicate() > 0 {
            received.push_str(&format!(", {} more than once", heard.duplicate()));
        }
        let srtp = self.srtp.map(|suite| format!(", encrypted with {suite}")).unwrap_or_default();
        vec![
            ("codec", format!("{}, payload type {}{srtp}", self.codec.0, self.codec.1)),
            ("address", format!("{} here, {} there", self.local, self.remote)),
            ("sent", sent),
            ("received", received),
            ("sender", if ssrcs.is_empty() { "none".to_owned() } else { format!("SSRC {}", ssrcs.join(", ")) }),
            ("pacing", format!("interval error {}", heard.pacing())),
            (
                "first packet",
                format!("{} after the answer, first sound {}", after(heard.first_packet()), after(heard.first_sound())),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> Outcome {
        let reasons = vec![Reason::q850(21)];
        Outcome::Refused { code, phrase: "Forbidden".into(), reasons }
    }

    #[test]
    fn normal_is_a_bye_of_ours_or_a_clear_cause_of_theirs() {
        assert!(Outcome::HungUp.is_normal());
        assert!(Outcome::PeerHungUp(vec![]).is_normal());
        assert!(Outcome::PeerHungUp(vec![Reason::q850(16)]).is_normal());
        assert!(!Outcome::PeerHungUp(vec![Reason::q850(38)]).is_normal());
        assert!(!refused(403).is_normal() && !Outcome::ByeUnanswered.is_normal());
    }

    #[test]
    fn an_outcome_says_what_came_and_what_to_look_at() {
        assert_eq!(refused(403).to_string(), "refused: 403 Forbidden (Q.850;cause=21)");
        assert!(refused(403).hint().is_some_and(|hint| hint.contains("[[trunk]]") && hint.contains("--account")));
        assert_eq!(refused(603).hint(), None);
        let silent = Outcome::NoResponse(Duration::from_secs(32));
        assert_eq!(silent.to_string(), "no response at all within 32.0 s");
        assert!(silent.hint().is_some() && Outcome::HungUp.hint().is_none());
    }
}
