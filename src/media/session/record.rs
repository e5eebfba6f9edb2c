//! What a session has to show for itself: the media record and the estimate of its quality.

use std::time::{Duration, Instant};

use super::MediaSession;
use crate::media::report::MediaReport;
use crate::media::rtp::quality::{Path, Received};
use crate::media::rtp::source::Source;

impl MediaSession {
    /// The media record so far.
    #[must_use]
    pub fn report(&self, _now: Instant) -> MediaReport {
        let sent = self.outbound.sent();
        let buffer = self.inbound.buffer_counts();
        let clock_rate = self.outbound.clock_rate();
        let (jitter_max_ms, jitter_mean_ms) = self.inbound.reception.jitter.max_and_mean_ms(clock_rate);
        let counts = &self.counts;
        let quality = self.quality.estimate(self.received(), self.path());
        MediaReport {
            codec: self.format.as_ref().map(|format| format.format.encoding_name),
            srtp: self.srtp.as_ref().map(|srtp| srtp.suite().name()),
            remote: self.source.as_ref().map(Source::target),
            source: self.source.as_ref().and_then(Source::locked),
            packets_received: counts.packets,
            bytes_received: counts.octets,
            packets_sent: sent.packets,
            bytes_sent: sent.octets,
            lost: self.inbound.reception.lost(),
            late: buffer.late,
            duplicate: self.inbound.duplicates,
            discarded: buffer.discarded + self.inbound.discarded,
            malformed: counts.malformed,
            stun: counts.stun,
            dtls: counts.dtls,
            implausible: counts.implausible,
            unknown_payload_type: counts.unknown_payload_type,
            source_rejects: counts.source_rejects,
            srtp_not_authentic: counts.not_authentic,
            srtp_replays: counts.replays,
            concealed_ms: buffer.concealed_ms,
            jitter_buffer_ms: buffer.target_ms,
            jitter_buffer_max_ms: buffer.target_max_ms,
            frames_inserted: buffer.inserted,
            frames_removed: buffer.removed,
            jitter_max_ms,
            jitter_mean_ms,
            ssrc_changes: self.inbound.reception.ssrc_changes,
            dtmf_digits: self.arbiter.reported,
            events_ignored: self.inbound.detector.ignored,
            rtcp_received: counts.rtcp,
            rtcp_malformed: counts.rtcp_malformed,
            peer: self.reports.peer,
            loss_percent: quality.map(|quality| quality.loss_percent),
            r_factor: quality.map(|quality| quality.r_factor),
            mos: quality.map(|quality| quality.mos),
            mos_min: quality.map(|quality| quality.mos_min),
            mos_mean: quality.map(|quality| quality.mos_mean),
        }
    }

    /// A window of the estimate has ended.
    pub(super) fn note_quality(&mut self, now: Instant) {
        let (received, path) = (self.received(), self.path());
        self.quality.observe(now, received, path);
    }

    fn received(&self) -> Received {
        let (buffer, reception) = (self.inbound.buffer_counts(), &self.inbound.reception);
        let unplayed = buffer.late + buffer.discarded;
        Received { packets: self.counts.packets, lost: reception.lost(), unplayed, gaps: reception.gaps() }
    }

    /// The caller's codec and the delay of its voice: half the round trip where it is known, a packet, the buffer.
    fn path(&self) -> Path {
        let format = self.format.as_ref();
        let round_trip_ms = self.reports.peer.and_then(|peer| peer.rtt_ms).unwrap_or(0.0);
        let packet = Duration::from_millis(format.map_or(20, |format| u64::from(format.ptime_ms)));
        Path {
            encoding_name: format.map_or("", |format| format.format.encoding_name),
            delay: Duration::from_secs_f64(round_trip_ms / 2000.0) + packet + self.inbound.playout_delay(),
        }
    }
}
