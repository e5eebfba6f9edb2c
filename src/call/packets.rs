//! The packet path of a call: RTP out, caller audio in, nothing allocated, locked or logged between events.

use std::net::SocketAddr;
use std::time::Instant;

use tracing::{info, warn};

use crate::base::metric;
use crate::base::prefetch::touch;
use crate::call::intake::Reading;
use crate::call::timeline::ms;
use crate::call::{Call, FRAME, Output, REPORTS_LOOK, Scratch, Timer};
use crate::media::MediaEvent;

/// [`FRAME`] in milliseconds.
const FRAME_MS: u32 = FRAME.as_millis() as u32;
/// Mean magnitude that passes for silence: about -50 dBov.
const QUIET: u64 = 100;

/// Whether the caller pauses.
fn is_quiet(audio: &[i16]) -> bool {
    let sum: u64 = audio.iter().map(|sample| u64::from(sample.unsigned_abs())).sum();
    sum <= QUIET * audio.len() as u64
}

impl Call {
    /// When caller audio is to be taken: [`Call::take_audio`].
    pub fn next_receive(&self) -> Option<Instant> {
        self.receive.map(|intake| intake.due())
    }

    /// The socket is about to be read for [`Call::handle_packet`]; `None` where nothing of it is wanted. What is over the
    /// time that may be caught up with is skipped here.
    pub fn begin_reading(&mut self, now: Instant) -> Option<Reading> {
        let settling = self.is_settling();
        let intake = self.receive.as_mut()?;
        if let Some((frames, ended)) = intake.skip(now) {
            let skipped = u32::try_from(ms(FRAME * frames)).unwrap_or(u32::MAX);
            self.media.skip_received(ended, skipped);
            if let Some(bot) = &mut self.bot {
                bot.skip(skipped);
            }
            self.owed_ms = (self.owed_ms - i64::from(skipped)).max(-i64::from(FRAME_MS));
        }
        Some(intake.begin_reading(now, settling))
    }

    /// A datagram came to the call's RTP port at `arrived`. Frames that ended before then are taken first. True where it was
    /// the peer's media: only that shows when packets arrive.
    pub fn handle_packet(&mut self, arrived: Instant, from: SocketAddr, packet: &[u8], scratch: &mut Scratch) -> bool {
        while let Some(at) = self.receive.as_mut().and_then(|intake| intake.take_before(arrived)) {
            self.take_frame(at, scratch);
        }
        let heard = self.media.handle_rtp(arrived, from, packet);
        if heard
            && let Some(intake) = &mut self.receive
            && let Some(next) = self.grid.arrived(self.grid.align(arrived), intake.next_frame())
        {
            intake.set_next_frame(next);
        }
        heard
    }

    /// Reads ahead what [`Call::send_packets`] needs, but for the bot's part.
    pub fn prefetch_send(&self) {
        touch((self.send, self.stalled_ms, self.outputs.len()));
        self.media.prefetch_send();
        touch(self.bot.as_ref().map(|bot| bot.number()));
    }

    /// Reads ahead the bot's part of it, which is found by way of the other.
    pub fn prefetch_bot(&self) {
        if let Some(bot) = &self.bot {
            bot.prefetch_send();
        }
    }

    /// Reads ahead what [`Call::handle_packet`] and [`Call::take_audio`] need.
    pub fn prefetch_receive(&self) {
        touch((self.receive.map(|intake| intake.due()), self.outputs.len()));
        self.media.prefetch_receive();
        if let Some(bot) = &self.bot {
            bot.prefetch_receive();
        }
    }

    /// Sends what is due: `transmit` gets each RTP packet and where it goes.
    pub fn send_packets(&mut self, now: Instant, scratch: &mut Scratch, mut transmit: impl FnMut(&[u8], SocketAddr)) {
        let Some(pace) = self.send.as_mut() else { return };
        self.lateness.note(now.saturating_duration_since(pace.next()));
        let due = pace.advance(now);
        let step = pace.step();
        for _ in 0..due.take {
            self.send_one(now, scratch, &mut transmit);
        }
        if due.skip > 0 {
            self.media.skip_packets(due.skip);
            let skipped = ms(step * due.skip);
            self.stalled_ms += skipped;
            self.owed_ms += i64::try_from(skipped).unwrap_or(0);
        }
    }

    pub(super) fn send_one(
        &mut self,
        now: Instant,
        scratch: &mut Scratch,
        transmit: &mut impl FnMut(&[u8], SocketAddr),
    ) {
        scratch.pcm.clear();
        let wanted = self.media.packet_samples();
        if let Some(bot) = &mut self.bot
            && self.media.may_send()
        {
            bot.pull(now, wanted, &mut scratch.pcm, &mut self.media);
        }
        if let Some(to) = self.media.packet(now, &scratch.pcm, &mut scratch.packet) {
            transmit(&scratch.packet, to);
        }
        if let Some(bot) = &mut self.bot {
            bot.sent(now);
            self.drain_bot(now);
        }
    }

    /// Passes on the caller's audio that is due; called when the socket has been emptied.
    pub fn take_audio(&mut self, now: Instant, scratch: &mut Scratch) {
        while let Some(at) = self.receive.as_mut().and_then(|intake| intake.take(now)) {
            self.take_frame(at, scratch);
        }
        self.drain_media(now);
        if self.bot.is_some() {
            self.drain_bot(now);
        }
        self.gather(now);
    }

    /// The frame that ended at `at`. More of the caller is caught up with after a stall than is sent to the caller; a bot
    /// that answers all it hears would be later by the difference from then on, so that is skipped where the caller pauses.
    fn take_frame(&mut self, at: Instant, scratch: &mut Scratch) {
        scratch.pcm.clear();
        self.media.pull(at, &mut scratch.pcm);
        let Some(bot) = &mut self.bot else { return };
        if self.owed_ms >= i64::from(FRAME_MS) && is_quiet(&scratch.pcm) {
            self.owed_ms -= i64::from(FRAME_MS);
            bot.skip(FRAME_MS);
        } else {
            bot.push_audio(at, self.media.received_until(at), &scratch.pcm);
        }
    }

    /// Says when audio is taken next.
    fn gather(&mut self, now: Instant) {
        let each_by_itself = self.grid.is_settling() || self.media.is_attentive();
        let lacking = self.bot.as_ref().filter(|_| !each_by_itself).and_then(|bot| bot.chunk_lacks());
        let Some(intake) = &mut self.receive else { return };
        if self.media.digit_ends().is_some() {
            intake.attend(now);
        }
        intake.gather(now, lacking);
    }

    pub(super) fn drain_media(&mut self, now: Instant) {
        while let Some(event) = self.media.poll_event() {
            match event {
                MediaEvent::Dtmf { digit, duration_ms, source } => {
                    metric::DTMF.add_with(1, &[("source", format!("{source:?}").to_lowercase())]);
                    self.span.in_scope(|| info!(duration_ms, ?source, "digit received"));
                    if let Some(bot) = &mut self.bot {
                        bot.dtmf(digit, duration_ms);
                    }
                }
                MediaEvent::NoRtpYet => self.span.in_scope(|| {
                    warn!("no RTP from the caller yet: look at the SDP address, NAT and firewalls between the PBX and this host");
                }),
                MediaEvent::RtpTimeout => self.rtp_timeout(now),
                MediaEvent::SourceLocked(source) => self.span.in_scope(|| info!(%source, "RTP source locked")),
                MediaEvent::SsrcChanged => self.span.in_scope(|| info!("RTP sender changed its SSRC")),
            }
        }
    }

    /// Sends the reports that are due (RTP-040) and waits for the next.
    pub(super) fn send_reports(&mut self, now: Instant) {
        let mut packet = Vec::new();
        while let Some(to) = self.media.poll_rtcp(now, &mut packet) {
            self.outputs.push_back(Output::Rtcp { mux: self.leg.rtcp_mux(), to, packet: std::mem::take(&mut packet) });
        }
        let next = self.media.next_report().filter(|next| *next > now);
        self.timers.set(Timer::Reports, next.unwrap_or(now + REPORTS_LOOK));
    }
}
