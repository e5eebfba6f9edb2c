//! A session between a caller and a bot, in virtual time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use std::time::Duration;

use super::*;
use crate::base::rtp_format::PCMU;
use crate::config::{Fill, IdleTx, JitterDelay, MediaNat};
use crate::media::report::MediaReport;
use crate::media::rtp::packet::{Datagram, Packet};
use crate::media::telephone_event::{Event, code_of};

mod bad_input;
mod codecs;
mod copies;
mod idle;
mod protected;
mod receiving;
mod sending;
mod supervision;

const PEER: &str = "192.0.2.10:40000";

fn peer() -> SocketAddr {
    PEER.parse().expect("an address")
}

fn settings() -> MediaSettings {
    MediaSettings {
        nat: MediaNat::Auto,
        media_acl: Vec::new(),
        relearn_after_silence: false,
        dtmf_mute: true,
        dtmf: crate::config::Dtmf::default(),
        idle_tx: IdleTx::Silence,
        hold_audio_pass: false,
        rtp_timeout: Duration::from_secs(60),
        rtp_start_timeout: Duration::from_secs(10),
        jitter_delay: JitterDelay::default(),
        fill: Fill::Silence,
    }
}

fn pcmu() -> MediaFormat {
    MediaFormat {
        remote: peer(),
        remote_rtcp: "192.0.2.10:40001".parse().expect("an address"),
        rtcp_mux: false,
        format: PCMU,
        payload_type: 0,
        telephone_event: Some((101, 8000)),
        comfort_noise: None,
        ptime_ms: 20,
        send: true,
        receive: true,
        held: false,
    }
}

struct World {
    start: Instant,
    ms: u64,
    session: MediaSession,
    /// The caller's next sequence number and timestamp.
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    heard: Vec<i16>,
}

impl World {
    fn with(settings: MediaSettings, format: &MediaFormat) -> Self {
        let start = Instant::now();
        let mut session = MediaSession::new(start, settings, &mut Random::from_number(4));
        assert!(session.set_format(start, format, true));
        Self { start, ms: 0, session, sequence: 65_000, timestamp: 0, ssrc: 1, heard: Vec::new() }
    }

    fn new() -> Self {
        Self::with(settings(), &pcmu())
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_millis(self.ms)
    }

    fn receive(&mut self, payload_type: u8, payload: &[u8]) {
        let Self { sequence, timestamp, ssrc, .. } = *self;
        self.receive_packet(&Packet { marker: false, payload_type, sequence, timestamp, ssrc, payload });
        self.sequence = sequence.wrapping_add(1);
    }

    fn receive_packet(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        packet.write(&mut bytes);
        self.session.handle_rtp(self.now(), peer(), &bytes);
    }

    fn tick(&mut self) {
        let now = self.now();
        self.session.pull(now, &mut self.heard);
        self.ms += 20;
        self.timestamp = self.timestamp.wrapping_add(160);
        if self.session.poll_timeout().is_some_and(|deadline| deadline <= self.now()) {
            self.session.handle_timeout(self.now());
        }
    }

    /// The caller speaks for `ms`: its samples are those of `code`.
    fn speak(&mut self, ms: u64, code: u8) {
        for _ in 0..ms / 20 {
            self.receive(0, &[code; 160]);
            self.tick();
        }
    }

    fn silence(&mut self, ms: u64) {
        (0..ms / 20).for_each(|_| self.tick());
    }

    /// A digit of 100 ms, with or without audio beside it.
    fn press(&mut self, digit: char, beside: Option<u8>) {
        let (code, began) = (code_of(digit).expect("a digit"), self.timestamp);
        for step in 1..=7_u16 {
            let event = Event { code, end: step >= 5, duration: step.min(5) * 160 };
            let Self { sequence, ssrc, .. } = *self;
            let payload = event.octets();
            let packet =
                Packet { marker: step == 1, payload_type: 101, sequence, timestamp: began, ssrc, payload: &payload };
            self.receive_packet(&packet);
            self.sequence = sequence.wrapping_add(1);
            if let Some(code) = beside {
                self.receive(0, &[code; 160]);
            }
            self.tick();
        }
    }

    fn events(&mut self) -> Vec<MediaEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn report(&self) -> MediaReport {
        self.session.report(self.now())
    }

    fn send(&mut self, audio: &[i16]) -> Option<(SocketAddr, Vec<u8>)> {
        let mut out = Vec::new();
        let to = self.session.packet(self.now(), audio, &mut out);
        self.ms += 20;
        to.map(|to| (to, out))
    }
}

fn read(bytes: &[u8]) -> Packet<'_> {
    match Datagram::read(bytes) {
        Datagram::Rtp(packet) => packet,
        other => panic!("no RTP: {other:?}"),
    }
}

fn digits(events: &[MediaEvent]) -> String {
    let digit = |event: &MediaEvent| match event {
        MediaEvent::Dtmf { digit, .. } => Some(*digit),
        _ => None,
    };
    events.iter().filter_map(digit).collect()
}
