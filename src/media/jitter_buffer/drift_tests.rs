//! Clocks that differ, and lines that get worse and better: minutes of sound in virtual time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::tests::SETTINGS;
use super::*;
use crate::base::random::Random;

/// Something to hear: the sample of each number.
type Sound = fn(u64) -> i16;

fn tone(number: u64) -> i16 {
    (7000.0 * (TAU * 437.0 * number as f64 / 8000.0).sin()) as i16
}

/// Syllables of 300 ms with 120 ms between them, three partials over a fundamental that moves.
fn speech(number: u64) -> i16 {
    let at = (number % 3360) as f64 / 8000.0;
    let loudness = if at < 0.3 { (at / 0.3 * TAU / 2.0).sin() } else { 0.0 };
    let angle = TAU * (at * 140.0 + 3.0 * (at * 9.0).sin());
    let voice = angle.sin() + 0.6 * (2.0 * angle).sin() + 0.3 * (5.0 * angle).sin();
    (loudness * voice * 5000.0) as i16
}

/// Writes down what is decoded, and finds nothing lost.
struct Ear {
    sound: Sound,
    decoded: Vec<u64>,
}

impl Player for Ear {
    fn decode(&mut self, _decoder: u8, payload: &[u8], out: &mut Vec<i16>) {
        let number = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().expect("eight octets"));
        self.decoded.push(number(0));
        out.extend((number(0)..number(0) + number(8)).map(self.sound));
    }

    fn conceal(&mut self, _decoder: u8, _samples: usize, _out: &mut Vec<i16>) -> bool {
        false
    }

    fn recover(&mut self, _decoder: u8, _next: &[u8], _samples: usize, _out: &mut Vec<i16>) -> bool {
        false
    }

    fn missing_between(&self, _after: u64, _before: u64) -> u64 {
        0
    }
}

/// A sender of 20 ms packets, a line, and the buffer at its end.
struct Line {
    start: Instant,
    buffer: JitterBuffer,
    ear: Ear,
    /// Arrival in ms and number of packets that are on their way, the next one last.
    coming: Vec<(f64, u64)>,
    sent: u64,
    pulls: u64,
    out: Vec<i16>,
    steepest: i32,
    last: i16,
}

impl Line {
    fn new(sound: Sound) -> Self {
        Self::with(sound, SETTINGS)
    }

    fn with(sound: Sound, settings: Settings) -> Self {
        Self {
            start: Instant::now(),
            buffer: JitterBuffer::new(8000, SampleRate::Hz8000, settings),
            ear: Ear { sound, decoded: Vec::new() },
            coming: Vec::new(),
            sent: 0,
            pulls: 0,
            out: Vec::new(),
            steepest: 0,
            last: 0,
        }
    }

    fn at(&self, ms: f64) -> Instant {
        self.start + Duration::from_secs_f64(ms / 1000.0)
    }

    /// Sends `count` packets, one each `interval` ms, late by what `late` says; pulls every 20 ms meanwhile.
    fn run(&mut self, count: u64, interval: f64, mut late: impl FnMut(u64) -> Option<f64>) -> &mut Self {
        for _ in 0..count {
            let leaves = self.sent as f64 * interval;
            if let Some(late) = late(self.sent) {
                self.coming.push((leaves + late, self.sent));
                self.coming.sort_by(|one, other| other.0.total_cmp(&one.0));
            }
            self.sent += 1;
            self.listen(leaves);
        }
        self
    }

    fn listen(&mut self, until: f64) {
        loop {
            let pull = self.pulls as f64 * 20.0 + 3.0;
            match self.coming.last() {
                Some((arrival, number)) if *arrival <= pull.min(until) => {
                    self.arrive(*arrival, *number);
                    self.coming.pop();
                }
                _ if pull <= until => self.pull(pull),
                _ => return,
            }
        }
    }

    fn arrive(&mut self, ms: f64, number: u64) {
        let payload = [(number * 160).to_be_bytes(), 160_u64.to_be_bytes()].concat();
        let timestamp = (number as u32).wrapping_mul(160).wrapping_sub(90_000);
        let arrival = Arrival { sequence: number, timestamp, marker: false, ticks: 160, decoder: 0, payload: &payload };
        self.buffer.insert(self.at(ms), &arrival);
    }

    fn pull(&mut self, ms: f64) {
        self.out.clear();
        self.buffer.pull(self.at(ms), &mut self.ear, &mut self.out);
        assert_eq!(self.out.len(), 160, "exactly 20 ms");
        for sample in &self.out {
            self.steepest = self.steepest.max((i32::from(*sample) - i32::from(self.last)).abs());
            self.last = *sample;
        }
        self.pulls += 1;
    }

    /// The delay that packets have had lately, in ms.
    fn delay(&self) -> f64 {
        self.buffer.waiting_time().as_secs_f64() * 1000.0
    }

    fn target(&self) -> u32 {
        self.buffer.target_ms().0
    }
}

#[test]
fn rtp_023_clocks_300_ppm_apart_for_an_hour_keep_the_delay_in_its_band_without_a_click() {
    for (name, sound) in [("tone", tone as Sound), ("speech", speech)] {
        let slope = (0..3360).map(|n| (i32::from(sound(n + 1)) - i32::from(sound(n))).abs()).max().expect("samples");
        for ppm in [-300.0, 300.0] {
            let mut line = Line::new(sound);
            line.run(1000, 20.0 * (1.0 + ppm * 1e-6), |_| Some(0.0));
            for _ in 1..180 {
                line.run(1000, 20.0 * (1.0 + ppm * 1e-6), |_| Some(0.0));
                assert!((5.0..=45.0).contains(&line.delay()), "{name}, {ppm} ppm: {} ms", line.delay());
            }
            let Counts { late, discarded, concealed, inserted, removed } = line.buffer.counts();
            assert_eq!((late, discarded, concealed), (0, 0, 0), "{name}, {ppm} ppm");
            // 1080 ms in an hour are 54 frames; two more at the start.
            let (wanted, other) = if ppm > 0.0 { (inserted, removed) } else { (removed, inserted) };
            assert!((52..=57).contains(&wanted) && other <= 2, "{name}, {ppm} ppm: {inserted} in, {removed} out");
            assert!(line.steepest <= slope + slope / 2, "{name}, {ppm} ppm: a step of {}", line.steepest);
        }
    }
}

#[test]
fn rtp_020_without_jitter_the_delay_falls_to_the_least_by_a_frame_in_two_seconds_at_most() {
    let mut line = Line::new(speech);
    line.run(20, 20.0, |_| Some(0.0));
    assert!((30.0..50.0).contains(&line.delay()), "at the start: {} ms", line.delay());
    line.run(480, 20.0, |_| Some(0.0));
    assert!((20.0..25.0).contains(&line.delay()), "after 10 s: {} ms", line.delay());
    assert_eq!((line.target(), line.buffer.counts().removed, line.buffer.counts().late), (20, 1, 0));
}

#[test]
fn rtp_020_a_delay_that_is_to_stay_is_not_touched_while_the_line_is_good() {
    let forty = Duration::from_millis(40);
    let settings = Settings { delay: JitterDelay { start: forty, min: forty, max: forty }, ..SETTINGS };
    for offset in 0..20 {
        let mut line = Line::with(speech, settings);
        line.run(1000, 20.0, |number| Some(f64::from(offset) + (number % 3) as f64));
        let Counts { late, inserted, removed, .. } = line.buffer.counts();
        assert_eq!((late, inserted, removed), (0, 0, 0), "arrivals {offset} ms after the tick");
    }
}

#[test]
fn rtp_020_late_packets_raise_the_delay_within_two_seconds_and_it_falls_by_20_ms_in_2_s() {
    let mut random = Random::from_number(3);
    let mut line = Line::new(speech);
    line.run(1000, 20.0, |_| Some(0.0));
    line.run(100, 20.0, |_| Some(f64::from(random.below(80))));
    assert!((60..=80).contains(&line.target()), "{} ms", line.target());
    let late = line.buffer.counts().late;
    assert!(late <= 8, "{late} late before it was known");
    line.run(900, 20.0, |_| Some(f64::from(random.below(80))));
    assert!(line.buffer.counts().late - late <= 12, "{} of 900 late afterwards", line.buffer.counts().late - late);
    assert!((70.0..=100.0).contains(&line.delay()), "{} ms", line.delay());
    let mut before = line.delay();
    for _ in 0..15 {
        line.run(100, 20.0, |_| Some(0.0));
        assert!(line.delay() >= before - 20.5, "from {before} to {} ms in 2 s", line.delay());
        before = line.delay();
    }
    assert!((18.0..=40.0).contains(&line.delay()), "{} ms, 30 s later", line.delay());
}

#[test]
fn rtp_020_a_rare_late_packet_raises_nothing() {
    let mut line = Line::new(speech);
    line.run(3010, 20.0, |n| Some(if n % 150 == 149 { 70.0 } else { 0.0 }));
    assert_eq!((line.target(), line.buffer.counts().late), (20, 20));
    assert!(line.delay() < 30.0, "{} ms", line.delay());
}

#[test]
fn rtp_020_the_greatest_delay_is_not_passed_whatever_the_jitter() {
    let mut random = Random::from_number(9);
    let mut line = Line::new(speech);
    line.run(3000, 20.0, |_| Some(f64::from(random.below(400))));
    assert_eq!(line.target(), 120);
    assert!(line.delay() <= 145.0 && line.buffer.counts().late > 500, "{} ms", line.delay());
}

#[test]
fn rtp_020_a_line_that_becomes_slower_or_faster_for_good_is_followed() {
    for step in [40.0, 80.0, 110.0, 300.0] {
        let mut line = Line::new(speech);
        line.run(1000, 20.0, |_| Some(0.0));
        line.run(500, 20.0, |_| Some(step));
        let late = line.buffer.counts().late;
        assert!(late <= 20, "{step} ms: {late} late");
        line.run(1500, 20.0, |_| Some(step));
        assert_eq!(line.buffer.counts().late, late, "{step} ms");
        assert!((10.0..=45.0).contains(&line.delay()), "{step} ms slower: {} ms", line.delay());
        line.run(10, 20.0, |_| Some(0.0));
        assert!(line.delay() <= 140.0, "never above the greatest: {} ms", line.delay());
        line.run(2490, 20.0, |_| Some(0.0));
        assert!((15.0..=45.0).contains(&line.delay()), "{step} ms faster: {} ms", line.delay());
    }
}

#[test]
fn rtp_024_stalls_of_any_length_leave_no_delay_behind() {
    for stall in [30_u64, 60, 100, 140, 200, 500, 2000] {
        let mut line = Line::new(speech);
        line.run(1000, 20.0, |_| Some(0.0));
        let (from, until) = (1000, 1000 + stall / 20);
        line.run(1000, 20.0, |n| {
            let held = (from..until).contains(&n);
            Some(if held { (until - n) as f64 * 20.0 } else { 0.0 })
        });
        assert!((15.0..=45.0).contains(&line.delay()), "{stall} ms: {} ms", line.delay());
        let Counts { late, discarded, .. } = line.buffer.counts();
        assert!(late + discarded <= stall / 20, "{stall} ms: {late} late, {discarded} discarded");
    }
}

#[test]
fn rtp_024_a_burst_that_takes_its_time_is_not_played_late_either() {
    for each in [0.1, 0.5, 2.0, 4.0] {
        let mut line = Line::new(speech);
        line.run(1000, 20.0, |_| Some(0.0));
        line.run(300, 20.0, |n| Some((2000.0 - (n - 1000) as f64 * (20.0 - each)).max(0.0)));
        assert!((15.0..=65.0).contains(&line.delay()), "{each} ms apart: {} ms", line.delay());
        line.run(300, 20.0, |_| Some(0.0));
        assert!((15.0..=45.0).contains(&line.delay()), "{each} ms apart, later: {} ms", line.delay());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn rtp_022_whatever_the_line_does_packets_are_heard_in_order_once_and_the_delay_is_bounded(
        fates in proptest::collection::vec((0_u8..100, 0_u16..60, 0_u16..400), 50..400),
        loss in 0_u8..50,
        wild in 0_u8..40,
    ) {
        let mut line = Line::new(speech);
        let fates = |n: u64| {
            let (chance, usual, rare) = fates[n as usize % fates.len()];
            let late = if chance >= 100 - wild { rare } else { usual };
            (chance >= loss).then_some(f64::from(late))
        };
        for _ in 0..20 {
            line.run(50, 20.0, fates);
            prop_assert!(line.buffer.queue.len() <= PACKETS);
            prop_assert!(line.buffer.backlog() <= 140 * 8);
            prop_assert!((20..=120).contains(&line.target()));
        }
        prop_assert!(line.ear.decoded.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", line.ear.decoded);
        let played = line.ear.decoded.len() as u64;
        let Counts { late, discarded, .. } = line.buffer.counts();
        let held = (line.buffer.queue.len() + line.coming.len()) as u64;
        let sent = (0..1000).filter(|n| fates(*n).is_some()).count() as u64;
        prop_assert_eq!(played + late + discarded + held, sent, "each is played, late, discarded or waiting");
    }
}
