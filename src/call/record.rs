//! What is told of a call at its end: the record and the metrics.

use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use crate::base::metric;
use crate::base::pcm::SampleRate;
use crate::call::timeline::{CallEnd, CallRecord, OmittedHeader, StationRecord, masked};
use crate::call::turns::Measured;
use crate::call::{Call, Output, headers};
use crate::media::MediaReport;
use crate::sip::{Headers, Station, stations};
use crate::stream::WrongRate;

/// Names of headers in one record and one log line: an INVITE may have hundreds.
const HEADERS_ON_RECORD: usize = 50;
/// Stations of a call in its record.
const STATIONS_ON_RECORD: usize = 10;

impl Call {
    /// The dialog is gone, or the node no longer waits for that: the call is over and on record as it stands.
    pub fn finish(&mut self, now: Instant) {
        if self.over {
            return;
        }
        self.close_bot(now, None);
        self.close_transfer(now);
        self.over = true;
        (self.send, self.receive) = (None, None);
        let record = self.record(now);
        self.export(&record);
        self.outputs.push_back(Output::Record(Box::new(record)));
        self.outputs.push_back(Output::Over);
    }

    /// A fault of ours ends the call: its record all the same.
    pub fn faulted(&mut self, now: Instant) -> CallRecord {
        let end = CallEnd { by: "bridge", why: "internal", ..CallEnd::default() };
        self.note_end(now, end);
        let record = self.record(now);
        self.export(&record);
        record
    }

    pub(super) fn record(&self, now: Instant) -> CallRecord {
        CallRecord {
            call_sid: self.sid.to_string(),
            call_id: self.leg.call_id().to_owned(),
            replaced_by: self.replaced_by.clone(),
            trunk: self.trunk.name.clone(),
            account: self.account.to_string(),
            from: masked(&self.from),
            to: masked(&self.to),
            diverted: self.diverted.clone(),
            direction: "incoming",
            flow: self.flow.clone(),
            began_unix: self.timeline.began_unix(),
            ringing_after_ms: self.timeline.after_invite_ms(self.timeline.rang),
            answered_after_ms: self.timeline.after_invite_ms(self.timeline.answered),
            talk_ms: self.timeline.talk_ms(now),
            duration_ms: self.timeline.after_invite_ms(self.timeline.ended.or(Some(now))).unwrap_or(0),
            end: self.end.clone(),
            headers_omitted: self.headers_omitted.clone(),
            streams: self.streams.clone(),
            transfers: self.transfers.clone(),
            media: self.media.report(now),
            stalled_ms: self.stalled_ms,
            send_late_max_ms: self.lateness.max().as_secs_f64() * 1000.0,
            send_late_p99_ms: self.lateness.p99().as_secs_f64() * 1000.0,
        }
    }

    pub(super) fn export(&self, record: &CallRecord) {
        let outcome = if record.answered_after_ms.is_some() { "answered" } else { "unanswered" };
        let labels = [
            ("trunk", record.trunk.clone()),
            ("account", record.account.clone()),
            ("outcome", outcome.to_owned()),
            ("why", record.end.why.to_owned()),
        ];
        metric::CALLS.add_with(1, &labels);
        metric::MEDIA_STALLED.add(record.stalled_ms);
        export_media(&record.media);
    }

    /// Where the call has been before (SIP-112).
    pub(super) fn stations(headers: &Headers) -> Vec<StationRecord> {
        let record = |station: Station| StationRecord {
            header: station.header,
            number: masked(&station.number),
            reason: station.reason,
        };
        stations(headers).into_iter().take(STATIONS_ON_RECORD).map(record).collect()
    }

    /// Headers that do not reach the bot, by name: what the trunk's `header_deny` takes out in one line, every other with a
    /// warning of its own (HDR-014, HDR-015).
    pub(super) fn note_omitted(&mut self, omitted: Vec<(String, headers::Omitted)>) {
        let mut denied = Vec::new();
        for (header, why) in omitted {
            metric::HEADERS_OMITTED.add_with(1, &[("reason", why.label().to_owned())]);
            match why {
                headers::Omitted::Denied => denied.push(header.clone()),
                _ => self.span.in_scope(|| warn!(header, why = why.label(), "header is not passed to the bot")),
            }
            if self.headers_omitted.len() < HEADERS_ON_RECORD {
                self.headers_omitted.push(OmittedHeader { header, why: why.label() });
            }
        }
        if !denied.is_empty() {
            let headers = denied[..denied.len().min(HEADERS_ON_RECORD)].join(", ");
            self.span.in_scope(|| info!(headers, "headers not passed to the bot: header_deny lists them"));
        }
    }

    pub(super) fn note_wrong_rate(&self, wrong: WrongRate) {
        let Some(bot) = &self.bot else { return };
        let (step, url) = (bot.step(), bot.url());
        let rate = url.sample_rate().hz();
        let labels =
            [("bot_host", url.host().to_owned()), ("rate", rate.to_string()), ("sounds", wrong.word().to_owned())];
        metric::STREAM_WRONG_RATE.add_with(1, &labels);
        self.span.in_scope(|| {
            warn!(step, %url, stream_rate = rate, sounds = wrong.word(), "the bot's speech has another sample rate than the stream: let it send what start.media_format says, or set sample-rate in its URL");
        });
    }

    /// The rate of the stream that is open, or 8 kHz.
    pub(super) fn set_stream_rate(&mut self, rate: SampleRate) {
        self.media.set_stream_rate(rate);
    }
}

fn export_media(media: &MediaReport) {
    metric::RTP_RECEIVED.add(media.packets_received);
    metric::RTP_SENT.add(media.packets_sent);
    metric::RTP_LOST.add(media.lost);
    metric::RTP_LATE.add(media.late);
    metric::RTP_DUPLICATE.add(media.duplicate);
    let discarded = [
        ("delay", media.discarded),
        ("malformed", media.malformed),
        ("payload_type", media.unknown_payload_type),
        ("implausible", media.implausible),
        ("stun", media.stun),
        ("dtls", media.dtls),
    ];
    for (reason, count) in discarded {
        metric::RTP_DISCARDED.add_with(count, &[("reason", reason.to_owned())]);
    }
    for (reason, count) in [("not_authentic", media.srtp_not_authentic), ("replay", media.srtp_replays)] {
        metric::SRTP_REJECTED.add_with(count, &[("reason", reason.to_owned())]);
    }
    metric::RTCP_RECEIVED.add(media.rtcp_received);
    metric::RTCP_MALFORMED.add(media.rtcp_malformed);
    metric::RTP_SOURCE_REJECTS.add(media.source_rejects);
    metric::RTP_SSRC_CHANGES.add(media.ssrc_changes);
    metric::RTP_CONCEALED.add(media.concealed_ms);
    if media.packets_received > 0 {
        metric::RTP_JITTER.record(media.jitter_mean_ms);
    }
    media.loss_percent.into_iter().for_each(|loss| metric::RTP_LOSS.record(loss));
    media.mos.into_iter().for_each(|mos| metric::RTP_MOS.record(mos));
    media.mos_min.into_iter().for_each(|mos| metric::RTP_MOS_MIN.record(mos));
    if let Some(peer) = &media.peer {
        metric::RTP_PEER_LOSS.record(peer.loss_percent);
        metric::RTP_PEER_JITTER.record(peer.jitter_ms);
        peer.rtt_ms.into_iter().for_each(|rtt| metric::RTP_ROUND_TRIP.record(rtt));
    }
}

/// A turn or a `clear` of a step's bot becomes metrics, and a line for those who look closely.
pub(super) fn export_measured(flow: &str, step: &str, bot_host: &str, measured: &Measured) {
    let labels = |key, value: &str| {
        [
            ("flow", flow.to_owned()),
            ("step", step.to_owned()),
            ("bot_host", bot_host.to_owned()),
            (key, value.to_owned()),
        ]
    };
    let seconds = |ms: u64| Duration::from_millis(ms).as_secs_f64();
    match measured {
        Measured::Turn(turn) => {
            debug!(?turn, step, "turn");
            if let Some(response) = &turn.response {
                let parts = [
                    ("whole", response.response_ms),
                    ("uplink", response.uplink_ms),
                    ("bot", response.bot_ms),
                    ("playout", response.playout_ms),
                ];
                for (part, ms) in parts {
                    metric::TURN_RESPONSE.record_with(seconds(ms), &labels("part", part));
                }
            }
            if let Some(ms) = turn.barge_in_ms {
                metric::BARGE_IN.record_with(seconds(ms), &labels("from", "caller"));
            }
        }
        Measured::Cleared(took) => metric::BARGE_IN.record_with(took.as_secs_f64(), &labels("from", "clear")),
    }
}
