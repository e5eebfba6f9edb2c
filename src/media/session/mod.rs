//! The media of one call: RTP in becomes PCM, PCM becomes RTP out.

mod inbound;
mod outbound;
mod supervision;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use inbound::Inbound;
use outbound::Outbound;
use supervision::Supervision;

use super::codec;
use super::event::MediaEvent;
use super::format::{MediaFormat, MediaSettings};
use super::report::MediaReport;
use super::rtp::packet::{Datagram, Packet};
use super::rtp::rtcp::{Read, Reports};
use super::rtp::source::{Probe, Source, Verdict};
use super::telephone_event::Arbiter;
use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch;
use crate::base::random::Random;

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
/// `handle_rtp`, `pull` and `packet` neither lock nor log, and allocate nothing once warm.
#[derive(Debug)]
pub struct MediaSession {
    settings: MediaSettings,
    format: Option<MediaFormat>,
    source: Option<Source>,
    inbound: Inbound,
    outbound: Outbound,
    reports: Reports,
    arbiter: Arbiter,
    supervision: Supervision,
    events: VecDeque<MediaEvent>,
    counts: Counts,
}

/// What is counted here and not further down.
#[derive(Debug, Default)]
struct Counts {
    packets: u64,
    octets: u64,
    malformed: u64,
    unknown_payload_type: u64,
    source_rejects: u64,
    rtcp_malformed: u64,
}

impl MediaSession {
    /// A session that knows no format yet: it hears nothing and sends nothing. The stream's rate is 8 kHz.
    #[must_use]
    pub fn new(now: Instant, settings: MediaSettings, random: &mut Random) -> Self {
        Self {
            inbound: Inbound::new(settings.reorder_buffer),
            outbound: Outbound::new(random.fork()),
            reports: Reports::new(now, random.fork()),
            supervision: Supervision::new(settings.rtp_start_timeout, settings.rtp_timeout),
            settings,
            format: None,
            source: None,
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
                let acl = self.settings.media_acl.clone();
                self.source = Some(Source::new(now, self.settings.nat, acl, format.remote, rtcp));
            }
        }
        self.inbound.set_format(format, codec);
        self.inbound.silent = !format.receive || (format.held && !self.settings.hold_audio_pass);
        self.outbound.set_format(format, codec);
        self.arbiter.negotiated = format.telephone_event.is_some();
        self.reports.start(now);
        self.supervision.expect_rtp(now, format.receive && !format.held);
        self.format = Some(format.clone());
        true
    }

    /// The rate of what `pull` yields and `packet` takes. 8 kHz with G.711 needs no conversion.
    pub fn set_stream_rate(&mut self, rate: SampleRate) {
        self.inbound.set_stream_rate(rate);
        self.outbound.set_stream_rate(rate);
    }

    /// A datagram has come to the RTP port.
    pub fn handle_rtp(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        let may_speak = self.source.as_ref().is_some_and(|source| source.may_speak(now, from));
        if !may_speak {
            self.counts.source_rejects += 1;
            return;
        }
        match Datagram::read(packet) {
            Datagram::Rtp(rtp) => self.handle_media(now, from, &rtp),
            Datagram::Rtcp => self.read_rtcp(now, packet),
            Datagram::Stun => {}
            Datagram::Malformed => self.counts.malformed += 1,
        }
    }

    fn handle_media(&mut self, now: Instant, from: SocketAddr, packet: &Packet<'_>) {
        let kind = self.inbound.kind(packet);
        let probe = Probe { ssrc: packet.ssrc, sequence: packet.sequence, plausible: kind.is_plausible(packet) };
        match self.source.as_mut().map_or(Verdict::Rejected, |source| source.admit(now, from, probe)) {
            Verdict::Rejected => {
                self.counts.source_rejects += 1;
                return;
            }
            Verdict::Locked => self.events.push_back(MediaEvent::SourceLocked(from)),
            Verdict::Accepted => {}
        }
        if kind == inbound::Kind::Unknown {
            self.counts.unknown_payload_type += 1;
            return;
        }
        self.counts.packets += 1;
        self.counts.octets += packet.payload.len() as u64;
        self.supervision.heard(now);
        let Self { inbound, arbiter, events, .. } = self;
        inbound.handle(now, kind, packet, &mut |event| match event {
            inbound::Found::Event => arbiter.see_rtp(),
            inbound::Found::Digit(digit) => events.extend(arbiter.rtp(now, digit)),
            inbound::Found::SsrcChanged => events.push_back(MediaEvent::SsrcChanged),
        });
    }

    /// A datagram has come to the RTCP port.
    pub fn handle_rtcp(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        let admitted = self.source.as_mut().is_some_and(|source| source.admit_rtcp(now, from, false));
        if admitted {
            self.read_rtcp(now, packet);
        } else {
            self.counts.source_rejects += 1;
        }
    }

    fn read_rtcp(&mut self, now: Instant, packet: &[u8]) {
        let (ssrc, clock_rate) = (self.outbound.sent().ssrc, self.outbound.clock_rate());
        match self.reports.read(now, packet, ssrc, clock_rate) {
            // With comfort noise a silent sender is alive as long as it reports (RTP-042).
            Read::Understood if self.format.as_ref().is_some_and(|format| format.comfort_noise.is_some()) => {
                self.supervision.heard_rtcp(now);
            }
            Read::Understood => {}
            Read::Malformed => self.counts.rtcp_malformed += 1,
        }
    }

    /// Appends exactly 20 ms of the caller's audio at the stream's rate to `out`. To be called every 20 ms: it is the clock
    /// of the reorder buffer.
    pub fn pull(&mut self, now: Instant, out: &mut Vec<i16>) {
        self.inbound.pull(now, self.settings.dtmf_mute, out);
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

    /// Builds the next packet from `audio`, silence where that is short, in `out`, which is cleared first. `None`: nothing
    /// may be sent now; the sequence stays, the timestamp goes on (RTP-033).
    pub fn packet(&mut self, now: Instant, audio: &[i16], out: &mut Vec<u8>) -> Option<SocketAddr> {
        out.clear();
        let to = self.target();
        self.outbound.packet(now, audio, to.is_some(), out).then_some(to).flatten()
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
    }

    /// The next thing to tell.
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        self.events.pop_front()
    }

    /// Writes a report to `out` where one is due, and says where it goes. To be asked now and then: [`Self::poll_timeout`]
    /// does not wake for it.
    pub fn poll_rtcp(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.rtcp_target()?;
        self.reports.is_due(now).then(|| {
            let sent = self.outbound.sent();
            self.reports.write(now, &sent, &mut self.inbound.reception, false, out);
            to
        })
    }

    /// Writes the last report, with BYE, to `out`, and says where it goes.
    pub fn goodbye(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let to = self.rtcp_target()?;
        let sent = self.outbound.sent();
        self.reports.write(now, &sent, &mut self.inbound.reception, true, out);
        Some(to)
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

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(digit) = self.inbound.detector.handle_timeout(now) {
            self.events.extend(self.arbiter.rtp(now, digit));
        }
        self.events.extend(self.supervision.handle_timeout(now));
    }

    /// The media record so far.
    #[must_use]
    pub fn report(&self, _now: Instant) -> MediaReport {
        let sent = self.outbound.sent();
        let buffer = self.inbound.buffer_counts();
        let clock_rate = self.outbound.clock_rate();
        let (jitter_max_ms, jitter_mean_ms) = self.inbound.reception.jitter.max_and_mean_ms(clock_rate);
        MediaReport {
            codec: self.format.as_ref().map(|format| format.format.encoding_name),
            remote: self.source.as_ref().map(Source::target),
            source: self.source.as_ref().and_then(Source::locked),
            packets_received: self.counts.packets,
            bytes_received: self.counts.octets,
            packets_sent: sent.packets,
            bytes_sent: sent.octets,
            lost: self.inbound.reception.lost(),
            late: buffer.late,
            duplicate: self.inbound.duplicates,
            discarded: buffer.discarded + self.inbound.discarded,
            malformed: self.counts.malformed,
            unknown_payload_type: self.counts.unknown_payload_type,
            source_rejects: self.counts.source_rejects,
            concealed_ms: buffer.concealed_ms,
            jitter_max_ms,
            jitter_mean_ms,
            ssrc_changes: self.inbound.reception.ssrc_changes,
            dtmf_digits: self.arbiter.reported,
            events_ignored: self.inbound.detector.ignored,
            rtcp_malformed: self.counts.rtcp_malformed,
            peer: self.reports.peer,
        }
    }
}

fn can_be_sent_to(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified()
}

#[cfg(test)]
mod tests;
