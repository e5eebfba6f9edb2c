//! The media of one test call: a packet every packet time at absolute deadlines, and everything that comes back.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

use super::heard::Heard;
use super::impairment::Link;
use super::plan::{CallPlan, Sound};
use super::report::MediaSummary;
use super::statistics::Spread;
use crate::base::random::Random;
use crate::config::{Fill, IdleTx, JitterDelay, MediaNat};
use crate::lab::capture::{Playback, Spoken};
use crate::media::codec;
use crate::media::{MediaFormat, MediaSession, MediaSettings, Srtp};
use crate::sdp::Negotiated;

/// The longest datagram looked at.
const DATAGRAM: usize = 2_048;
/// The caller never hangs up for lack of RTP.
const NEVER: Duration = Duration::from_secs(86_400);

/// A caller on the line.
pub(super) struct Talk {
    session: MediaSession,
    /// Around the session, so that what is heard can be measured in clear.
    srtp: Option<Srtp>,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    link: Link,
    heard: Heard,
    sound: Sound,
    playback: Option<Playback>,
    /// Digits that are still to be pressed.
    digits: String,
    digits_at: Duration,
    digits_refused: bool,
    format: MediaFormat,
    answered: Instant,
    started: Instant,
    ticks: u32,
    lateness: Vec<Duration>,
    /// What has happened and was not told yet.
    notes: VecDeque<String>,
    buffers: Buffers,
}

/// Kept from packet to packet.
#[derive(Default)]
struct Buffers {
    audio: Vec<i16>,
    packet: Vec<u8>,
    datagram: Vec<u8>,
}

impl Talk {
    /// The media of a call that was answered at `answered` with `negotiated`; `None` for a codec that is not ours.
    pub(super) fn new(
        answered: Instant,
        plan: &CallPlan,
        negotiated: &Negotiated,
        (rtp, rtcp): (UdpSocket, UdpSocket),
        random: &mut Random,
    ) -> Option<Self> {
        let started = Instant::now();
        let format = media_format(negotiated);
        let codec = codec::of_format(&format.format)?;
        let mut session = MediaSession::new(started, open_settings(), random);
        session.set_format(started, &format, true);
        let spoken = Spoken { payload_type: format.payload_type, telephone_event: format.telephone_event };
        let playback = plan.capture.clone().map(|take| Playback::new(take, spoken, random.fork()));
        Some(Self {
            session,
            srtp: negotiated.srtp.as_ref().map(Srtp::new),
            rtp,
            rtcp,
            link: Link::new(plan.impairment, random.fork()),
            heard: Heard::new(codec, format.payload_type, plan.record),
            sound: plan.sound.clone(),
            playback,
            digits: plan.digits.clone(),
            digits_at: plan.digits_at,
            digits_refused: false,
            format,
            answered,
            started,
            ticks: 0,
            lateness: Vec::new(),
            notes: VecDeque::new(),
            buffers: Buffers { datagram: vec![0; DATAGRAM], ..Buffers::default() },
        })
    }

    /// Waits for the next thing to do and does it. May be dropped while it waits.
    pub(super) async fn step(&mut self) {
        let waiting = [self.link.poll_timeout(), self.playback_due()];
        let due = waiting.into_iter().flatten().fold(self.due(), Instant::min);
        tokio::select! {
            _ = self.rtp.readable() => self.receive(),
            _ = self.rtcp.readable() => self.receive_rtcp(),
            () = tokio::time::sleep_until(due.into()) => self.send(),
        }
    }

    /// The next thing that is worth a line in the ladder.
    pub(super) fn poll_note(&mut self) -> Option<String> {
        self.notes.pop_front()
    }

    /// When the next packet leaves.
    fn due(&self) -> Instant {
        self.started + Duration::from_millis(u64::from(self.format.ptime_ms)) * self.ticks
    }

    /// When the next captured packet leaves.
    fn playback_due(&self) -> Option<Instant> {
        Some(self.started + self.playback.as_ref()?.poll_timeout()?)
    }

    fn receive(&mut self) {
        while let Ok((length, from)) = self.rtp.try_recv_from(&mut self.buffers.datagram) {
            let now = Instant::now();
            let datagram = &mut self.buffers.datagram;
            let Some(length) = unprotected(self.srtp.as_mut(), datagram, length, false) else { continue };
            let datagram = &self.buffers.datagram[..length];
            let (packet, sound) = (self.heard.first_packet(), self.heard.first_sound());
            self.heard.handle_rtp(now, datagram);
            if packet.is_none() && self.heard.first_packet().is_some() {
                self.notes.push_back(format!("· first RTP from {from} ·"));
            }
            if sound.is_none() && self.heard.first_sound().is_some() {
                self.notes.push_back("· first sound ·".to_owned());
            }
            self.session.handle_rtp(now, from, datagram);
        }
    }

    fn receive_rtcp(&mut self) {
        while let Ok((length, from)) = self.rtcp.try_recv_from(&mut self.buffers.datagram) {
            let datagram = &mut self.buffers.datagram;
            let Some(length) = unprotected(self.srtp.as_mut(), datagram, length, true) else { continue };
            self.session.handle_rtcp(Instant::now(), from, &self.buffers.datagram[..length]);
        }
    }

    /// Sends what is due; a caller that comes late sends all it has missed.
    fn send(&mut self) {
        let now = Instant::now();
        while self.due() <= now {
            if self.playback.is_none() {
                self.lateness.push(now - self.due());
                self.send_packet(now);
            }
            self.play_out(now);
            self.ticks += 1;
        }
        self.send_captured(now);
        while let Some((to, packet)) = self.link.poll(now) {
            let _ = self.rtp.try_send_to(&packet, to);
        }
        if let Some(to) = self.session.poll_rtcp(now, &mut self.buffers.packet) {
            self.send_report(to);
        }
        self.session.handle_timeout(now);
        while self.session.poll_event().is_some() {}
    }

    fn send_packet(&mut self, now: Instant) {
        if !self.digits.is_empty() && self.due() >= self.started + self.digits_at {
            let digits = std::mem::take(&mut self.digits);
            self.digits_refused = !self.session.send_digits(&digits);
            self.notes.push_back(format!("· digits {digits} as telephone-events ·"));
        }
        let samples = self.session.packet_samples();
        self.buffers.audio.resize(samples, 0);
        self.sound.fill(self.ticks as usize * samples, &mut self.buffers.audio);
        if let Some(to) = self.session.packet(now, &self.buffers.audio, &mut self.buffers.packet) {
            if let Some(srtp) = &mut self.srtp {
                srtp.protect_rtp(&mut self.buffers.packet);
            }
            self.link.push(now, to, &self.buffers.packet);
        }
    }

    /// The session's own play-out has to move on; what it plays is of no interest here.
    fn play_out(&mut self, now: Instant) {
        self.buffers.audio.clear();
        self.session.pull(now, &mut self.buffers.audio);
    }

    fn send_captured(&mut self, now: Instant) {
        while let Some(due) = self.playback_due().filter(|due| *due <= now) {
            let Some(playback) = &mut self.playback else { return };
            if playback.poll(now - self.started, &mut self.buffers.packet) {
                self.lateness.push(now - due);
                self.link.push(now, self.format.remote, &self.buffers.packet);
            }
        }
    }

    fn send_report(&mut self, to: SocketAddr) {
        if let Some(srtp) = &mut self.srtp {
            srtp.protect_rtcp(&mut self.buffers.packet);
        }
        let _ = self.rtcp.try_send_to(&self.buffers.packet, to);
    }

    /// The end of the call: RTCP BYE, and what there was.
    pub(super) fn finish(mut self) -> io::Result<MediaSummary> {
        let now = Instant::now();
        self.receive();
        if let Some(to) = self.session.goodbye(now, &mut self.buffers.packet) {
            self.send_report(to);
        }
        let report = self.session.report(now);
        Ok(MediaSummary {
            answered: self.answered,
            started: self.started,
            ended: now,
            local: self.rtp.local_addr()?,
            remote: report.remote.unwrap_or(self.format.remote),
            codec: (self.format.format.encoding_name, self.format.payload_type),
            sent: report.packets_sent + self.playback.as_ref().map_or(0, Playback::sent),
            srtp: self.srtp.as_ref().map(|srtp| srtp.suite().name()),
            dropped: self.link.dropped(),
            lateness: Spread::of(self.lateness),
            digits_refused: self.digits_refused,
            heard: self.heard,
        })
    }
}

/// Puts what a datagram says in clear in its place; its length then. `None` where it is not the peer's.
fn unprotected(srtp: Option<&mut Srtp>, datagram: &mut [u8], length: usize, rtcp: bool) -> Option<usize> {
    let Some(srtp) = srtp else { return Some(length) };
    let packet = &datagram[..length];
    let plain = if rtcp {
        srtp.unprotect_rtcp(packet).ok()?.as_ref().to_vec()
    } else {
        srtp.unprotect_rtp(packet).ok()?.as_ref().to_vec()
    };
    datagram[..plain.len()].copy_from_slice(&plain);
    Some(plain.len())
}

/// Sources are taken as they come: a test PBX does not defend itself.
#[must_use]
pub fn open_settings() -> MediaSettings {
    MediaSettings {
        nat: MediaNat::On,
        media_acl: Vec::new(),
        relearn_after_silence: false,
        dtmf_mute: false,
        dtmf: crate::config::Dtmf::default(),
        idle_tx: IdleTx::Silence,
        hold_audio_pass: true,
        rtp_timeout: NEVER,
        rtp_start_timeout: NEVER,
        jitter_delay: JitterDelay::default(),
        fill: Fill::Silence,
    }
}

fn media_format(negotiated: &Negotiated) -> MediaFormat {
    MediaFormat {
        remote: negotiated.remote,
        remote_rtcp: negotiated.remote_rtcp,
        rtcp_mux: negotiated.rtcp_mux,
        format: negotiated.format,
        payload_type: negotiated.payload_type,
        telephone_event: negotiated.telephone_event.map(|event| (event.payload_type, event.clock_rate)),
        comfort_noise: negotiated.comfort_noise,
        ptime_ms: negotiated.ptime_ms,
        send: negotiated.send,
        receive: negotiated.receive,
        held: negotiated.held,
    }
}
