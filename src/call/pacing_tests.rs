//! A caller, a media thread that is not always on time, and the media of a call between them, in virtual time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use super::*;
use crate::base::random::Random;
use crate::call::FRAME;
use crate::config::{Dtmf, Fill, IdleTx, JitterDelay, MediaNat};
use crate::media::codec::{Codec, Pcmu};
use crate::media::rtp::packet::Packet;
use crate::media::{MediaFormat, MediaReport, MediaSession, MediaSettings};

const CALLER: &str = "192.0.2.10:4000";

/// When packets come, in microseconds after the caller began to speak.
type Line = fn(number: u64, random: &mut Random) -> u64;

fn perfect(number: u64, _random: &mut Random) -> u64 {
    number * 20_000
}

/// Mostly on time to 3 ms, one of 100 late by up to 15 ms.
fn busy(number: u64, random: &mut Random) -> u64 {
    number * 20_000 + u64::from(if random.below(100) == 0 { random.below(15_000) } else { random.below(3_000) })
}

/// The first five come at once, when the fifth was due.
fn slow_to_begin(number: u64, _random: &mut Random) -> u64 {
    number.max(4) * 20_000
}

struct Thread {
    media: MediaSession,
    grid: Grid,
    receive: Pace,
    out: Vec<i16>,
    pulled: usize,
    skipped: u32,
}

impl Thread {
    fn new(epoch: Instant, random: &mut Random) -> Self {
        let mut media = MediaSession::new(epoch, settings(), random);
        assert!(media.set_format(epoch, &format(), true));
        let (grid, receive) = (Grid::new(epoch), Pace::new(epoch + FRAME, FRAME));
        Self { media, grid, receive, out: Vec::new(), pulled: 0, skipped: 0 }
    }

    /// As `Call::handle_packet`.
    fn handle_packet(&mut self, now: Instant, packet: &[u8]) {
        self.media.handle_rtp(now, CALLER.parse().expect("an address"), packet);
        if let Some(next) = self.grid.arrived(now, self.receive.next()) {
            self.receive.set_next(next);
        }
    }

    /// As `Call::take_audio`.
    fn take_audio(&mut self, now: Instant) {
        let due = self.receive.catch_up(now);
        if due.skip > 0 {
            self.media.skip_received(now, 20 * due.skip);
            self.skipped += due.skip;
        }
        for deadline in self.receive.taken(due) {
            self.out.clear();
            self.media.pull(deadline, &mut self.out);
            self.pulled += self.out.len();
        }
    }
}

/// A call of `ms` milliseconds; `stall`: in how many of 1000 ticks the thread then stands still for 20 to 115 ms.
fn call(seed: u64, ms: u64, line: Line, stall: u32) -> MediaReport {
    let mut random = Random::from_number(seed);
    let epoch = Instant::now();
    let mut thread = Thread::new(epoch, &mut random);
    let begin = 100_000 + u64::from(random.below(20_000));
    let mut arrivals: Vec<_> = (0..ms / 20).map(|number| (begin + line(number, &mut random), number)).collect();
    arrivals.sort_unstable();
    let mut waiting = arrivals.into_iter().peekable();
    let (mut tick, mut packet) = (0_u64, Vec::new());
    while tick < ms / 5 {
        let now = epoch + CLOCK_STEP * tick as u32;
        if thread.grid.is_settling() || thread.receive.next() <= now {
            while let Some((_, number)) = waiting.next_if(|(at, _)| *at <= tick * 5000) {
                let (sequence, timestamp) = (number as u16, number as u32 * 160);
                Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 7, payload: &[0x10; 160] }
                    .write(&mut packet);
                thread.handle_packet(now, &packet);
            }
            thread.take_audio(now);
        }
        tick += if random.below(1000) < stall { u64::from(4 + random.below(20)) } else { 1 };
    }
    assert_eq!(thread.skipped, 0, "seed {seed}");
    assert!(thread.pulled.abs_diff(ms as usize * 8) <= 1200, "seed {seed}: the bot's stream is continuous");
    thread.media.report(epoch + Duration::from_millis(ms))
}

fn settings() -> MediaSettings {
    MediaSettings {
        nat: MediaNat::Auto,
        media_acl: Vec::new(),
        dtmf_mute: true,
        hold_audio_pass: false,
        rtp_timeout: Duration::from_secs(60),
        rtp_start_timeout: Duration::from_secs(10),
        jitter_delay: JitterDelay::default(),
        fill: Fill::Silence,
        dtmf: Dtmf::default(),
        idle_tx: IdleTx::Silence,
        relearn_after_silence: false,
    }
}

fn format() -> MediaFormat {
    let remote = CALLER.parse().expect("an address");
    MediaFormat {
        remote,
        remote_rtcp: remote,
        rtcp_mux: true,
        format: Pcmu.format(),
        payload_type: 0,
        telephone_event: None,
        comfort_noise: None,
        ptime_ms: 20,
        send: true,
        receive: true,
        held: false,
    }
}

fn lost(report: &MediaReport) -> (u64, u64, u64) {
    (report.late, report.discarded, report.concealed_ms)
}

#[test]
fn rtp_020_on_a_perfect_line_no_frame_is_put_in_or_taken_out_of_speech_whatever_the_phase() {
    for seed in 0..100 {
        let report = call(seed, 5000, perfect, 0);
        assert_eq!((lost(&report), report.frames_inserted, report.frames_removed), ((0, 0, 0), 0, 0), "seed {seed}");
    }
}

#[test]
fn rtp_020_a_busy_machine_at_either_end_loses_nothing_and_puts_nothing_in() {
    for seed in 0..100 {
        let report = call(seed, 20_000, busy, 3);
        assert_eq!((lost(&report), report.frames_inserted), ((0, 0, 0), 0), "seed {seed}");
        // From 40 ms to 20; one more where the first packet was out of line and the place on the grid has moved twice.
        assert!(report.frames_removed <= 2 && report.jitter_buffer_ms <= 20, "seed {seed}: {report:?}");
    }
}

#[test]
fn rtp_024_a_small_burst_at_the_start_is_played_whole() {
    for seed in 0..100 {
        let report = call(seed, 2000, slow_to_begin, 0);
        assert_eq!((lost(&report), report.frames_inserted), ((0, 0, 0), 0), "seed {seed}");
    }
}
