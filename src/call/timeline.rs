//! What happened when in a call: the source of its record.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::base::pii::MaskedNumber;
use crate::call::turns::TurnReport;
use crate::media::MediaReport;
use crate::stream::StreamReport;

/// Moments of a call, on the monotonic clock.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// Wall clock of the INVITE.
    pub began: SystemTime,
    /// The INVITE.
    pub invited: Instant,
    /// 180 or 183 sent.
    pub rang: Option<Instant>,
    /// 200 sent.
    pub answered: Option<Instant>,
    /// BYE or final refusal, whichever way it went.
    pub ended: Option<Instant>,
}

/// The record of one call, written at its end as one JSON object. Numbers are masked; times are milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct CallRecord {
    /// The call's id, as in `start.call_sid`.
    pub call_sid: String,
    /// The SIP Call-ID.
    pub call_id: String,
    /// Call-IDs of the calls that took this one's place, in order (RFC 3891): the bot's stream went on in them.
    pub replaced_by: Vec<String>,
    /// Trunk name.
    pub trunk: String,
    /// Account sid.
    pub account: String,
    /// Caller, masked.
    pub from: String,
    /// Called number, masked.
    pub to: String,
    /// Where the call has been before, by Diversion and History-Info; 10 entries at most.
    pub diverted: Vec<StationRecord>,
    /// `incoming`.
    pub direction: &'static str,
    /// The flow's id.
    pub flow: String,
    /// Seconds since 1970 of the INVITE, with milliseconds.
    pub began_unix: f64,
    /// INVITE → 180 or 183.
    pub ringing_after_ms: Option<u64>,
    /// INVITE → 200.
    pub answered_after_ms: Option<u64>,
    /// 200 → end; 0 for a call that was never answered.
    pub talk_ms: u64,
    /// INVITE → end.
    pub duration_ms: u64,
    /// How it ended.
    pub end: CallEnd,
    /// Headers of the INVITE that did not reach the bot, 50 at most.
    pub headers_omitted: Vec<OmittedHeader>,
    /// One entry a stream, in order.
    pub streams: Vec<StreamRecord>,
    /// One entry a transfer or redirection that was tried, in order.
    pub transfers: Vec<TransferRecord>,
    /// Figures of the audio path.
    pub media: MediaReport,
    /// Milliseconds skipped because the bridge's own process stood still.
    pub stalled_ms: u64,
    /// Worst wait of one RTP packet beyond its time, in ms.
    pub send_late_max_ms: f64,
    /// What 99 of 100 packets stayed below, in ms.
    pub send_late_p99_ms: f64,
}

/// Who ended a call and with what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CallEnd {
    /// `caller`, `bridge` or, before the end, empty.
    pub by: &'static str,
    /// The final SIP response where the call was not answered.
    pub sip_code: Option<u16>,
    /// Q.850 cause sent or received.
    pub q850: Option<u16>,
    /// Every `Reason` sent or received, as on the wire, other protocols than Q.850 included (SIP-110).
    pub reasons: Vec<String>,
    /// One word: `flow_ended`, `caller_hangup`, `cancelled`, `rtp_timeout`, `ack_timeout`, …
    pub why: &'static str,
}

/// A header that did not become a custom parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OmittedHeader {
    /// Its name as received; never its value.
    pub header: String,
    /// `denied`, `value_too_long`, `duplicate`, …
    pub why: &'static str,
}

/// A number that was called before this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StationRecord {
    /// `Diversion` or `History-Info`.
    pub header: &'static str,
    /// The number, masked.
    pub number: String,
    /// Why it was left: the reason of Diversion, the SIP code of History-Info.
    pub reason: Option<String>,
}

/// One try to hand the caller to somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransferRecord {
    /// The flow's step.
    pub step: String,
    /// The target, its number masked.
    pub to: String,
    /// `refer` or `redirect`.
    pub mode: &'static str,
    /// `succeeded`, `failed`, or `cancelled` where the caller hung up before the result.
    pub outcome: &'static str,
    /// The code that refused the REFER or ended the call to the target; 302 of a redirection.
    pub sip_code: Option<u16>,
    /// REFER → result.
    pub after_ms: u64,
}

/// One stream of a call.
#[derive(Debug, Clone, Serialize)]
pub struct StreamRecord {
    /// The flow's step.
    pub step: String,
    /// The stream's id.
    #[serde(rename = "StreamSID")]
    pub stream_sid: String,
    /// The bot's URL without credentials.
    #[serde(rename = "StreamUrl")]
    pub stream_url: String,
    /// `completed`, `failed` or `cancelled`.
    #[serde(rename = "Status")]
    pub status: &'static str,
    /// `user`, `bot` or `NA`.
    #[serde(rename = "DisconnectedBy")]
    pub disconnected_by: &'static str,
    /// What went wrong, in words.
    #[serde(rename = "Error", skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// `Streaming_call_throttled`, `rtp_timeout`, …
    #[serde(rename = "DetailedStatus", skip_serializing_if = "Option::is_none")]
    pub detailed_status: Option<&'static str>,
    /// `max_duration` where that ended it.
    #[serde(rename = "Disposition", skip_serializing_if = "Option::is_none")]
    pub disposition: Option<&'static str>,
    /// The WebSocket close code where the bot sent one; a bot that just goes away sends none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub close_code: Option<u16>,
    /// Whole seconds from `start` to the end.
    #[serde(rename = "Duration")]
    pub duration: String,
    /// First dial → upgrade.
    pub connect_ms: Option<u64>,
    /// Figures of the stream, where it started.
    pub figures: Option<StreamReport>,
    /// Who waited how long for whom, where the stream started.
    pub turns: Option<TurnReport>,
}

impl Timeline {
    /// A timeline that begins with the INVITE.
    #[must_use]
    pub fn new(now: Instant, wall: SystemTime) -> Self {
        Self { began: wall, invited: now, rang: None, answered: None, ended: None }
    }

    /// Milliseconds from the INVITE to `moment`.
    #[must_use]
    pub fn after_invite_ms(&self, moment: Option<Instant>) -> Option<u64> {
        moment.map(|moment| ms(moment.saturating_duration_since(self.invited)))
    }

    /// Milliseconds from the answer to the end, or to `now`.
    #[must_use]
    pub fn talk_ms(&self, now: Instant) -> u64 {
        let end = self.ended.unwrap_or(now);
        self.answered.map_or(0, |answered| ms(end.saturating_duration_since(answered)))
    }

    /// Seconds since 1970 of the INVITE.
    #[must_use]
    pub fn began_unix(&self) -> f64 {
        let since = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        (since.as_secs_f64() * 1000.0).round() / 1000.0
    }
}

/// A duration in whole milliseconds.
#[must_use]
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A number as records and logs show it.
#[must_use]
pub fn masked(number: &str) -> String {
    MaskedNumber(number.strip_prefix("sip:").unwrap_or(number)).to_string()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    #[test]
    fn talk_time_counts_from_the_answer_and_is_zero_without_one() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timeline = Timeline::new(start, SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
        assert_eq!((timeline.talk_ms(at(900)), timeline.began_unix()), (0, 1.5));
        timeline.answered = Some(at(200));
        assert_eq!(timeline.talk_ms(at(900)), 700);
        timeline.ended = Some(at(500));
        assert_eq!(timeline.talk_ms(at(900)), 300);
        assert_eq!(timeline.after_invite_ms(timeline.answered), Some(200));
    }
}
