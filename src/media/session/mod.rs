//! The media of one call: RTP in becomes PCM, PCM becomes RTP out.

mod arrival;
mod copies;
mod inbound;
mod outbound;
mod record;
mod supervision;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use arrival::Counts;
pub use copies::{Copied, PacketCopy};
use copies::{Copies, Seen};
use inbound::Inbound;
use outbound::Outbound;
use supervision::Supervision;

use super::codec;
use super::event::MediaEvent;
use super::format::{MediaFormat, MediaSettings};
use super::rtp::quality::Quality;
use super::rtp::rtcp::Reports;
use super::rtp::source::{Rules, Source};
use super::rtp::srtp::Srtp;
use super::telephone_event::Arbiter;
use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch;
use crate::base::random::Random;
use crate::base::srtp::SrtpKeys;

/// The longest audio in a packet that is plausible, in milliseconds (SDP-007).
const PACKET_MAX_MS: u32 = 200;

/// RTP and sound of one call.
///
/// - something came: [`handle_rtp`](Self::handle_rtp), [`handle_rtcp`](Self::handle_rtcp),
///   [`info_digit`](Self::info_digit), [`handle_timeout`](Self::handle_timeout)
/// - every 20 ms: [`pull`](Self::pull) caller audio; every ptime: [`packet`](Self::packet)
/// - commands: [`set_format`](Self::set_format), [`set_stream_rate`](Self::set_stream_rate),
///   [`send_digits`](Self::send_digits), [`clear_playout`](Self::clear_playout)
/// - to be drained: [`poll_event`](Self::poll_event), [`poll_rtcp`](Self::poll_rtcp)
///
/// `handle_rtp`, `pull` and `packet` neither lock nor log, and allocate nothing once warm; with SRTP they allocate what
/// `webrtc-srtp` does, five times a packet.
#[derive(Debug)]
pub struct MediaSession {
    settings: MediaSettings,
    format: Option<MediaFormat>,
    source: Option<Source>,
    /// On its own, so that a call without it pays a look at a pointer.
    srtp: Option<Box<Srtp>>,
    /// Of a call that is traced; the others pay a look at a pointer.
    copies: Option<Box<Copies>>,
    inbound: Inbound,
    outbound: Outbound,
    reports: Reports,
    quality: Quality,
    arbiter: Arbiter,
    supervision: Supervision,
    events: VecDeque<MediaEvent>,
    counts: Counts,
}

impl MediaSession {
    /// A session that knows no format yet: it hears nothing and sends nothing. The stream's rate is 8 kHz.
    #[must_use]
    pub fn new(now: Instant, settings: MediaSettings, random: &mut Random) -> Self {
        Self {
            outbound: Outbound::new(settings.idle_tx, random.fork()),
            reports: Reports::new(now, random.fork()),
            inbound: Inbound::new(&settings, random.u32()),
            supervision: Supervision::new(settings.rtp_start_timeout, settings.rtp_timeout),
            settings,
            format: None,
            source: None,
            srtp: None,
            copies: None,
            quality: Quality::default(),
            arbiter: Arbiter::default(),
            events: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// Offer and answer have agreed on `format`; the first time and at each re-INVITE. `media_changed`: `c=` or `m=` differ
    /// from before, so sources are learned anew (RTP-013). SSRC, sequence and timestamp go on for the same clock
    /// (SDP-012). A format that is none of ours leaves everything as it is and answers false.
    pub fn set_format(&mut self, now: Instant, format: &MediaFormat, media_changed: bool) -> bool {
        let Some(codec) = codec::of_format(&format.format) else { return false };
        let rtcp = (format.remote_rtcp, format.rtcp_mux);
        match &mut self.source {
            Some(source) => source.renegotiate(now, format.remote, rtcp, media_changed),
            None => {
                let MediaSettings { nat, relearn_after_silence, .. } = self.settings;
                let rules = Rules { nat, acl: self.settings.media_acl.clone(), relearn_after_silence };
                self.source = Some(Source::new(now, rules, format.remote, rtcp));
            }
        }
        self.inbound.set_format(format, codec);
        self.inbound.silent = !format.receive || (format.held && !self.settings.hold_audio_pass);
        self.outbound.set_format(format, codec);
        self.arbiter.negotiated = format.telephone_event.is_some();
        self.inbound.detector.at_start = self.settings.dtmf.at_start;
        self.listen_for_tones();
        self.reports.start(now);
        self.quality.start(now);
        self.supervision.expect_rtp(now, format.receive && !format.held);
        self.format = Some(format.clone());
        true
    }

    /// What offer and answer have agreed on for SRTP, before [`set_format`](Self::set_format). A key that stays goes on where
    /// it is; `None` is plain RTP.
    pub fn set_srtp(&mut self, keys: Option<&SrtpKeys>) {
        match (&mut self.srtp, keys) {
            (Some(srtp), Some(keys)) => srtp.rekey(keys),
            (srtp, keys) => *srtp = keys.map(|keys| Box::new(Srtp::new(keys))),
        }
    }

    /// Silence of the peer counts from now on: until now there was a reason for it.
    pub fn expect_rtp_again(&mut self, now: Instant) {
        self.supervision.start_over(now);
    }

    /// The rate of what `pull` yields and `packet` takes. 8 kHz with G.711 needs no conversion.
    pub fn set_stream_rate(&mut self, rate: SampleRate) {
        self.inbound.set_stream_rate(rate);
        self.outbound.set_stream_rate(rate);
    }

    /// Appends exactly 20 ms of the caller's audio at the stream's rate to `out`. To be called every 20 ms: it is the clock
    /// of the jitter buffer.
    pub fn pull(&mut self, now: Instant, out: &mut Vec<i16>) {
        if let Some(digit) = self.inbound.pull(now, self.settings.dtmf_mute, out) {
            self.events.extend(self.arbiter.inband(now, digit));
        }
        if self.quality.is_due(now) {
            self.note_quality(now);
        }
    }

    /// Whether every frame is wanted at its time: digits are told when they begin, or are looked for in the audio (RTP-060).
    #[must_use]
    pub fn is_attentive(&self) -> bool {
        self.settings.dtmf.at_start || self.inbound.listens_for_tones()
    }

    fn listen_for_tones(&mut self) {
        let wanted = self.settings.dtmf.inband && self.arbiter.wants_inband();
        self.inbound.listen_for_tones(wanted, self.settings.dtmf.at_start);
    }

    /// When the end of what `pull` last yielded had arrived, as far as packets of an even pace tell; `now` at the latest.
    #[must_use]
    pub fn received_until(&self, now: Instant) -> Instant {
        self.inbound.received_until(now)
    }

    /// Our own process stood still: `ms` of received time are not played.
    pub fn skip_received(&mut self, now: Instant, ms: u32) {
        self.inbound.skip(now, ms);
    }

    /// How many samples at the stream's rate the next packet takes.
    #[must_use]
    pub fn packet_samples(&self) -> usize {
        self.outbound.packet_samples()
    }

    /// Samples at the stream's rate that the next packet leaves for the one after it: the resampler's delay.
    #[must_use]
    pub fn playout_delay(&self) -> usize {
        self.outbound.delay()
    }

    /// Builds the next packet from `audio`, silence where that is short, in `out`, which is cleared first. `None`: nothing
    /// may be sent now; the sequence stays, the timestamp goes on (RTP-033).
    pub fn packet(&mut self, now: Instant, audio: &[i16], out: &mut Vec<u8>) -> Option<SocketAddr> {
        out.clear();
        let to = self.target();
        let to = self.outbound.packet(now, audio, to.is_some(), out).then_some(to).flatten()?;
        if self.copies.is_some() {
            self.copy(Seen { at: now, outgoing: true, peer: to, rtcp_port: false, packet: out }, false);
        }
        if let Some(srtp) = &mut self.srtp {
            srtp.protect_rtp(out);
        }
        Some(to)
    }

    /// Reads ahead what [`Self::packet`] needs.
    pub fn prefetch_send(&self) {
        self.outbound.prefetch();
        touch((self.events.len(), self.format.as_ref().map(|format| (format.send, format.remote))));
        touch(self.source.as_ref().map(Source::target));
    }

    /// Reads ahead what [`Self::handle_rtp`] and [`Self::pull`] need.
    pub fn prefetch_receive(&self) {
        touch((self.counts.packets, self.events.len()));
        touch(self.source.as_ref().map(|source| (source.locked(), source.target())));
        self.inbound.prefetch();
    }

    /// Whether packets may go to the peer: a format is agreed and it does not hold us (SDP-011).
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.target().is_some()
    }

    fn target(&self) -> Option<SocketAddr> {
        let may_send = self.format.as_ref().is_some_and(|format| format.send && !format.remote.ip().is_unspecified());
        self.source.as_ref().filter(|_| may_send).map(Source::target).filter(can_be_sent_to)
    }

    /// `count` packets are not sent because it is too late for them: the timestamp jumps (RTP-030).
    pub fn skip_packets(&mut self, count: u32) {
        self.outbound.skip(count);
    }

    /// What is still on its way through the resampler is dropped: the queue has been cleared.
    pub fn clear_playout(&mut self) {
        self.outbound.clear();
    }

    /// Sends digits as telephone-events in place of audio (RTP-063). False where telephone-events are not negotiated.
    pub fn send_digits(&mut self, digits: &str) -> bool {
        self.outbound.send_digits(digits)
    }

    /// Whether digits are still being sent.
    #[must_use]
    pub fn is_sending_digits(&self) -> bool {
        self.outbound.is_sending_digits()
    }

    /// A digit has come by SIP INFO; reported unless it comes by RTP as well (RTP-059).
    pub fn info_digit(&mut self, now: Instant, digit: char, duration_ms: u32) {
        self.events.extend(self.arbiter.info(now, digit, duration_ms));
        self.listen_for_tones();
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        self.events.pop_front()
    }

    /// When [`Self::poll_rtcp`] next has a report; [`Self::poll_timeout`] does not wake for it.
    #[must_use]
    pub fn next_report(&self) -> Option<Instant> {
        self.reports.next()
    }

    /// Writes a report to `out` where one is due, and says where it goes.
    pub fn poll_rtcp(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.rtcp_target()?;
        self.reports.is_due(now).then(|| {
            self.write_report(now, false, out);
            to
        })
    }

    /// Writes the last report, with BYE, to `out`, and says where it goes.
    pub fn goodbye(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.rtcp_target()?;
        self.write_report(now, true, out);
        Some(to)
    }

    fn write_report(&mut self, now: Instant, goodbye: bool, out: &mut Vec<u8>) {
        let sent = self.outbound.sent();
        self.reports.write(now, &sent, &mut self.inbound.reception, goodbye, out);
        if self.copies.is_some()
            && let Some(peer) = self.rtcp_target()
        {
            let rtcp_port = !self.format.as_ref().is_some_and(|format| format.rtcp_mux);
            self.copy(Seen { at: now, outgoing: true, peer, rtcp_port, packet: out }, false);
        }
        if let Some(srtp) = &mut self.srtp {
            srtp.protect_rtcp(out);
        }
    }

    fn rtcp_target(&self) -> Option<SocketAddr> {
        let held_by_address = self.format.as_ref()?.remote.ip().is_unspecified();
        self.source.as_ref().filter(|_| !held_by_address).map(Source::rtcp_target).filter(can_be_sent_to)
    }

    /// When a digit that is under way ends unless more of it comes.
    #[must_use]
    pub fn digit_ends(&self) -> Option<Instant> {
        self.inbound.detector.poll_timeout()
    }

    /// When `handle_timeout` wants to be called: the end of a digit, a missing stream.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.digit_ends().into_iter().chain(self.supervision.poll_timeout()).min()
    }

    /// The call is answered: a caller that did not speak before has its time-outs from now on (RTP-042).
    pub fn answered(&mut self, now: Instant) {
        self.supervision.answered(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(digit) = self.inbound.detector.handle_timeout(now) {
            self.events.extend(self.arbiter.rtp(now, digit));
        }
        self.events.extend(self.supervision.handle_timeout(now));
    }
}

fn can_be_sent_to(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified()
}

#[cfg(test)]
mod tests;
