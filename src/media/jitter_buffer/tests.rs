//! The buffer between a sender and the call's clock, in virtual time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use proptest::prelude::*;

use super::*;
use crate::base::random::Random;
use crate::media::rtp::sequence::{Placement, Sequence};

pub const SETTINGS: Settings = Settings { delay: DELAY, fill: Fill::Silence, noise_seed: 1 };
const DELAY: JitterDelay =
    JitterDelay { start: Duration::from_millis(40), min: Duration::from_millis(20), max: Duration::from_millis(120) };

/// A packet of a sender whose every sample tells its number.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at_ms: f64,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    /// Number of its first sample, and how many.
    first: u32,
    ticks: u32,
}

/// A stream of `count` packets of `ptime` ms, sent in time.
fn stream(count: u32, ptime: u32) -> Vec<Sent> {
    (0..count)
        .map(|n| {
            let first = n * ptime * 8;
            let timestamp = first.wrapping_sub(1600);
            let sequence = (n as u16).wrapping_sub(5);
            Sent { at_ms: f64::from(n * ptime), sequence, timestamp, marker: n == 0, first, ticks: ptime * 8 }
        })
        .collect()
}

/// A sample's value; never 0, which is silence.
fn value(number: u32) -> i16 {
    match number % 64_000 {
        number @ 0..32_000 => number as i16 + 1,
        number => -((number - 32_000) as i16) - 1,
    }
}

#[derive(Default)]
struct Listener {
    sequence: Option<Sequence>,
}

impl Player for Listener {
    fn decode(&mut self, _decoder: u8, payload: &[u8], out: &mut Vec<i16>) {
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().expect("four octets"));
        out.extend((word(0)..word(0) + word(4)).map(value));
    }

    fn conceal(&mut self, _decoder: u8, _samples: usize, _out: &mut Vec<i16>) -> bool {
        false
    }

    fn recover(&mut self, _decoder: u8, _next: &[u8], _samples: usize, _out: &mut Vec<i16>) -> bool {
        false
    }

    fn missing_between(&self, after: u64, before: u64) -> u64 {
        self.sequence.as_ref().map_or(0, |sequence| sequence.missing_between(after, before))
    }
}

struct Rig {
    start: Instant,
    buffer: JitterBuffer,
    listener: Listener,
    /// What was pulled, from the first pull on.
    out: Vec<i16>,
    pulls_ms: Vec<f64>,
}

impl Rig {
    fn new() -> Self {
        let buffer = JitterBuffer::new(8000, SampleRate::Hz8000, SETTINGS);
        Self { start: Instant::now(), buffer, listener: Listener::default(), out: Vec::new(), pulls_ms: Vec::new() }
    }

    fn at(&self, ms: f64) -> Instant {
        self.start + Duration::from_secs_f64(ms / 1000.0)
    }

    fn take(&mut self, sent: &Sent) {
        let placement = match &mut self.listener.sequence {
            Some(sequence) => sequence.observe(sent.sequence),
            none => {
                *none = Some(Sequence::new(0, sent.sequence));
                Placement::Ahead((1 << 16) + u64::from(sent.sequence))
            }
        };
        let (Placement::Ahead(sequence) | Placement::Earlier(sequence)) = placement else { return };
        let payload = [sent.first.to_be_bytes(), sent.ticks.to_be_bytes()].concat();
        let Sent { timestamp, marker, ticks, .. } = *sent;
        let arrival = Arrival { sequence, timestamp, marker, ticks, decoder: 0, payload: &payload };
        self.buffer.insert(self.at(sent.at_ms), &arrival);
    }

    fn pull(&mut self, ms: f64) {
        let before = self.out.len();
        self.buffer.pull(self.at(ms), &mut self.listener, &mut self.out);
        assert_eq!(self.out.len() - before, 160, "exactly 20 ms");
        self.pulls_ms.push(ms);
    }

    /// Plays `sent` against a clock that ticks at `phase`, `phase` + 20 … until `end` ms.
    fn run(mut self, sent: &[Sent], phase: f64, end: u32) -> Self {
        let mut sent = sent.to_vec();
        sent.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
        let mut waiting = sent.iter().peekable();
        for tick in 0.. {
            let now = phase + f64::from(tick) * 20.0;
            while let Some(packet) = waiting.next_if(|packet| packet.at_ms <= now) {
                self.take(packet);
            }
            if now > f64::from(end) {
                return self;
            }
            self.pull(now);
        }
        self
    }

    /// When the sample of this number was pulled: the first of some that are as they were sent.
    fn heard_ms(&self, number: u32) -> Option<f64> {
        let sent: Vec<i16> = (number..number + 40).map(value).collect();
        self.out.windows(40).position(|heard| heard == sent).map(|index| self.pulls_ms[index / 160])
    }

    /// From the first sound to the last.
    fn sound(&self) -> &[i16] {
        let first = self.out.iter().position(|sample| *sample != 0).unwrap_or(0);
        let last = self.out.iter().rposition(|sample| *sample != 0).map_or(0, |index| index + 1);
        &self.out[first..last]
    }

    /// Without what fades out after the last packet.
    fn sound_of(&self, samples: usize) -> &[i16] {
        &self.sound()[..samples.min(self.sound().len())]
    }
}

fn all(samples: u32) -> Vec<i16> {
    (0..samples).map(value).collect()
}

#[test]
fn rtp_007_before_the_first_packet_there_is_silence() {
    let rig = Rig::new().run(&[], 0.0, 100);
    assert_eq!(rig.out, [0; 6 * 160]);
}

#[test]
fn rtp_020_a_stream_begins_with_the_start_delay_to_the_nearest_tick_whatever_the_phase() {
    for phase in 0..20 {
        let mut sent = stream(20, 20);
        sent.iter_mut().for_each(|packet| packet.at_ms += 100.0);
        let rig = Rig::new().run(&sent, f64::from(phase) + 0.5, 600);
        let delay = rig.heard_ms(0).expect("the first sample") - 100.0;
        assert!((30.0..50.0).contains(&delay), "phase {phase}: {delay} ms");
    }
}

#[test]
fn rtp_022_every_packet_size_comes_out_whole_and_in_order() {
    for ptime in [5, 10, 15, 20, 30, 40, 60, 100, 200] {
        let count = 2000 / ptime;
        let rig = Rig::new().run(&stream(count, ptime), 3.0, 2400);
        let samples = count * ptime * 8;
        assert_eq!(rig.sound_of(samples as usize), all(samples), "{ptime} ms");
        assert_eq!(rig.buffer.counts(), Counts::default(), "{ptime} ms");
    }
}

#[test]
fn sdp_007_sizes_may_change_from_packet_to_packet() {
    let mut random = Random::from_number(5);
    let (mut sent, mut first) = (Vec::new(), 0);
    for sequence in 0..200 {
        let ticks = 8 * (5 + random.below(196));
        // A packet goes out when its last sample has been taken in.
        let at_ms = f64::from(first + ticks) / 8.0 - 200.0;
        sent.push(Sent { at_ms, sequence, timestamp: first, marker: false, first, ticks });
        first += ticks;
    }
    // The first packets go before the clock starts: they come at once, and the delay begins there.
    sent.iter_mut().for_each(|packet| packet.at_ms += 200.0);
    sent[0].ticks = sent[0].ticks.max(8);
    let rig = Rig::new().run(&sent, 1.0, first / 8 + 500);
    let late = rig.buffer.counts().late;
    assert!(rig.buffer.counts().discarded == 0 && late <= 3, "{:?}", rig.buffer.counts());
}

#[test]
fn rtp_022_jitter_and_reordering_within_the_depth_change_nothing() {
    for seed in 0..20 {
        let mut random = Random::from_number(seed);
        let mut sent = stream(300, 20);
        sent[1..].iter_mut().for_each(|packet| packet.at_ms += f64::from(random.below(40_000)) / 1000.0);
        let rig = Rig::new().run(&sent, 7.0, 6200);
        assert_eq!(rig.buffer.counts(), Counts::default());
        assert_eq!(rig.sound_of(48_000), all(48_000));
    }
}

#[test]
fn rtp_022_a_first_packet_that_is_overtaken_is_still_first() {
    let mut sent = stream(50, 20);
    sent[0].at_ms = 21.0;
    let rig = Rig::new().run(&sent, 0.0, 1200);
    assert_eq!(rig.sound_of(8000), all(8000));
}

#[test]
fn rtp_021_lost_packets_are_concealed_and_counted_and_what_follows_keeps_its_place() {
    let mut sent = stream(100, 20);
    for lost in [80, 51, 50, 20] {
        sent.remove(lost);
    }
    let rig = Rig::new().run(&sent, 5.0, 2200);
    let (sound, whole) = (rig.sound_of(16_000), all(16_000));
    let second_half = |packet: &usize| packet * 160 + 80..(packet + 1) * 160;
    let lost: Vec<_> = (0..100).filter(|packet| sound[second_half(packet)] != whole[second_half(packet)]).collect();
    assert_eq!(lost, [20, 50, 51, 80], "the first half of what follows may overlap with what was concealed");
    assert_eq!(rig.buffer.concealed_ms(), 80);
    assert!(sound[20 * 160..21 * 160].iter().all(|sample| *sample > 0), "no silence");
    assert_eq!((rig.buffer.counts().late, rig.buffer.counts().discarded), (0, 0));
}

#[test]
fn rtp_021_a_late_packet_is_dropped_counted_and_was_concealed() {
    let mut sent = stream(50, 20);
    sent[10].at_ms += 61.0;
    let rig = Rig::new().run(&sent, 0.0, 1200);
    assert_eq!((rig.buffer.counts().late, rig.buffer.concealed_ms()), (1, 20));
    assert_eq!(rig.sound_of(8000)[11 * 160 + 80..], all(8000)[11 * 160 + 80..]);
}

/// 1 s of sound, a pause of `pause` ms in which the numbers do not move, 1 s of sound.
fn with_pause(pause: u32) -> Vec<Sent> {
    let mut sent = stream(100, 20);
    for packet in &mut sent[50..] {
        packet.at_ms += f64::from(pause);
        packet.timestamp = packet.timestamp.wrapping_add(pause * 8);
    }
    sent[50].marker = true;
    sent
}

#[test]
fn rtp_006_a_pause_without_comfort_noise_is_no_loss_and_keeps_its_length() {
    for pause in [100, 800, 3000, 100_000] {
        let rig = Rig::new().run(&with_pause(pause), 4.0, 2300 + pause);
        let heard = (rig.heard_ms(7960), rig.heard_ms(8000));
        let (Some(last), Some(next)) = heard else { panic!("{heard:?}") };
        // From one frame to the next it is 20 ms; a frame of the start delay is given up in the pause (RTP-020).
        assert_eq!(next - last, f64::from(pause) + 20.0 - 20.0, "{pause} ms");
        assert_eq!(rig.buffer.counts(), Counts::default(), "{pause} ms");
    }
}

#[test]
fn rtp_006_after_comfort_noise_there_is_silence_at_once() {
    let sent = with_pause(800);
    let mut rig = Rig::new();
    for tick in 0..50 {
        rig.take(&sent[tick as usize]);
        rig.pull(f64::from(tick) * 20.0);
    }
    rig.listener.sequence.as_mut().map(|sequence| sequence.observe(45));
    rig.buffer.note_quiet(Some((1 << 16) + (1 << 16) + 45));
    for tick in 50..60 {
        rig.pull(f64::from(tick) * 20.0);
    }
    assert_eq!(rig.sound(), all(8000), "no repeated frame after the last");
}

#[test]
fn rtp_005_the_marker_alone_resets_nothing() {
    let mut sent = stream(100, 20);
    sent.iter_mut().for_each(|packet| packet.marker = true);
    let rig = Rig::new().run(&sent, 4.0, 2200);
    assert_eq!(rig.sound_of(16_000), all(16_000));
}

#[test]
fn rtp_024_after_a_stall_only_the_newest_is_played_and_no_delay_remains() {
    for phase in [0.0, 9.0, 19.0] {
        let mut sent = stream(300, 20);
        sent[100..200].iter_mut().for_each(|packet| packet.at_ms = 3999.9 + f64::from(packet.sequence) / 1e4);
        let rig = Rig::new().run(&sent, phase, 6200);
        let discarded = rig.buffer.counts().discarded;
        assert!((90..100).contains(&discarded), "{discarded} of 100 discarded");
        for number in [220, 250, 299] {
            let delay = rig.heard_ms(number * 160).expect("live sound") - f64::from(number * 20);
            assert!((20.0..=80.0).contains(&delay), "{number}: {delay} ms");
        }
    }
}

#[test]
fn rtp_024_a_burst_at_the_start_does_not_become_delay() {
    let mut sent = stream(100, 20);
    sent[..30].iter_mut().for_each(|packet| packet.at_ms = 600.0);
    let rig = Rig::new().run(&sent, 1.0, 2300);
    let delay = rig.heard_ms(50 * 160).expect("live sound") - 1000.0;
    assert!((20.0..=80.0).contains(&delay), "{delay} ms");
}

#[test]
fn rtp_024_nobody_listens_for_a_while_and_hears_the_newest_then() {
    let (sent, mut rig) = (stream(100, 20), Rig::new());
    sent[..60].iter().for_each(|packet| rig.take(packet));
    assert!(rig.buffer.queue.len() <= 13);
    for (tick, packet) in (60..).zip(&sent[60..]) {
        rig.pull(f64::from(tick) * 20.0 - 1.0);
        rig.take(packet);
    }
    let delay = rig.heard_ms(70 * 160).expect("live sound") - 1400.0;
    assert!((20.0..=80.0).contains(&delay), "{delay} ms");
}

#[test]
fn rtp_003_timestamps_that_jump_begin_anew_without_a_gap() {
    for jump in [-3_000_000_i32, -8000, 40_000, 1_000_000_000] {
        let mut sent = stream(100, 20);
        for packet in &mut sent[50..] {
            packet.timestamp = packet.timestamp.wrapping_add_signed(jump);
        }
        let rig = Rig::new().run(&sent, 1.0, 2300);
        let missing = rig.sound_of(16_000).iter().zip(all(16_000)).filter(|(heard, sent)| *heard != sent).count();
        assert!(missing == 0, "{jump}: {missing} samples out of place");
    }
}

#[test]
fn rtp_003_another_source_goes_on_where_the_first_ends() {
    let sent = stream(100, 20);
    let mut rig = Rig::new();
    for (tick, packet) in (0..).zip(&sent) {
        if tick == 50 {
            rig.buffer.new_source();
        }
        let timestamp = if tick < 50 { packet.timestamp } else { packet.timestamp ^ 0x5555_5555 };
        rig.take(&Sent { timestamp: timestamp.wrapping_add(if tick < 50 { 0 } else { (tick - 50) * 160 }), ..*packet });
        rig.pull(f64::from(tick) * 20.0 + 3.0);
    }
    let heard = rig.sound();
    assert_eq!(heard[..8000], all(8000));
}

#[test]
fn our_own_stall_is_skipped_and_not_played_late() {
    let sent = stream(200, 20);
    let mut rig = Rig::new();
    for (tick, packet) in (0..).zip(&sent[..100]) {
        rig.take(packet);
        rig.pull(f64::from(tick) * 20.0);
    }
    rig.buffer.skip(rig.at(2980.0), 1000);
    sent[100..150].iter().for_each(|packet| rig.take(packet));
    for (tick, packet) in (150..).zip(&sent[150..]) {
        rig.take(packet);
        rig.pull(f64::from(tick) * 20.0);
    }
    let delay = rig.heard_ms(180 * 160).expect("live sound") - 3600.0;
    assert_eq!(delay, 40.0, "as before the stall");
}

proptest! {
    #[test]
    fn rtp_022_nothing_a_sender_does_breaks_the_clock(
        packets in proptest::collection::vec((any::<u16>(), any::<u32>(), any::<bool>(), 1_u32..1600, 0_u32..90), 0..120),
        steady in any::<bool>(),
    ) {
        let mut rig = Rig::new();
        let (mut now, mut next) = (0.0, 0.0);
        for (n, (sequence, timestamp, marker, ticks, wait)) in packets.into_iter().enumerate() {
            let sequence = if steady { n as u16 } else { sequence % 200 };
            let timestamp = if marker { timestamp } else { timestamp % 20_000 };
            now += f64::from(wait);
            while next <= now {
                rig.pull(next);
                next += 20.0;
            }
            rig.take(&Sent { at_ms: now, sequence, timestamp, marker, first: 1, ticks });
            if n % 17 == 0 { rig.buffer.new_source(); }
            if n % 23 == 0 { rig.buffer.note_quiet(None); }
            prop_assert!(rig.buffer.queue.len() <= PACKETS);
        }
        (0..20).for_each(|n| rig.pull(next + 20.0 * f64::from(n)));
    }
}
