//! Digits as tones in the audio (RTP-060): Goertzel filters at the eight frequencies of Q.23 within the limits of Q.24.
//!
//! Windows of 20 ms, one every 10 ms. A window that is mostly one low and one high tone is a candidate; from the phase
//! between two of them comes the exact frequency, from which the limits follow. Three candidates in a row are a digit, three
//! others its end: tones from 40 ms on count and those under 26 ms never do, 10 ms without tone are bridged and 40 ms end it.

use std::f32::consts::{PI, TAU};

use crate::base::pcm::SampleRate;

const LOW: usize = 4;
/// Q.23, in Hz: the low group, then the high one.
const TONES: [f32; 8] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];
const KEYS: [[char; 4]; LOW] = [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
/// From window to window, in ms, and how many of these a window is long.
const HOP_MS: u32 = 10;
const HOPS: usize = 2;
/// Share of a window's energy that is in the two tones, at least.
const PURE: f32 = 0.65;
/// And before their exact frequency is known.
const PURE_AT_FIRST: f32 = 0.3;
/// Of the other tones of a group against the strongest.
const OTHERS: f32 = 0.25;
/// How far a frequency may be off: Q.24 wants 1.5 % taken and 3.5 % refused.
const OFF: f32 = 0.023;
/// High against low tone: Q.24's +4 and −8 dB, with room for what each tone leaks into the other's filter.
const TWIST: std::ops::RangeInclusive<f32> = 0.1..=3.5;
/// Mean square of the weakest tone: −36 dBm0.
const WEAKEST: f32 = 67_000.0;
/// Second harmonics, as voices have them: share of their tone.
const HARMONIC: f32 = 0.1;
/// What the high tone leaks into the low one's second harmonic, which lies beside it.
const LEAK: f32 = 0.15;
/// Candidates in a row that make a digit: all but the first have a frequency.
const SURE: u8 = 2;
/// Windows in a row without it that end it.
const GONE: u8 = 3;

/// A digit that has begun or ended, as the detector was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// `0`–`9`, `*`, `#`, `A`–`D`.
    pub digit: char,
    /// Its length so far, within 10 ms.
    pub duration_ms: u32,
}

/// What a window holds at the tones' frequencies.
#[derive(Debug, Clone, Copy, Default)]
struct Spectrum {
    /// Phasors with the phase of the window's end.
    phasors: [(f32, f32); 8],
    /// Mean square of each tone if it has its nominal frequency, and of everything.
    tones: [f32; 8],
    whole: f32,
}

/// A window's key: the numbers of its low and of its high tone.
type Key = (usize, usize);

/// A digit that is heard.
#[derive(Debug, Clone, Copy)]
struct Pressed {
    key: Key,
    windows: u32,
    missing: u8,
}

/// See the module.
#[derive(Debug)]
pub struct InbandDtmf {
    rate: SampleRate,
    at_start: bool,
    window: Vec<i16>,
    before: Spectrum,
    candidate: Option<Key>,
    /// Windows in a row with this candidate.
    run: u32,
    /// Windows in a row whose frequencies were right.
    sure: u8,
    pressed: Option<Pressed>,
}

impl InbandDtmf {
    /// For audio of `rate`; digits are told when they begin or, `at_start` being false, when they have ended.
    #[must_use]
    pub fn new(rate: SampleRate, at_start: bool) -> Self {
        let window = vec![0; rate.samples(HOP_MS) * HOPS];
        Self { rate, at_start, window, before: Spectrum::default(), candidate: None, run: 0, sure: 0, pressed: None }
    }

    /// The rate it was made for.
    #[must_use]
    pub fn rate(&self) -> SampleRate {
        self.rate
    }

    /// The next 20 ms. What was found, and whether they are a tone and not for other ears.
    pub fn hear(&mut self, frame: &[i16]) -> (Option<Found>, bool) {
        let (mut found, mut is_tone) = (None, false);
        let hop = self.rate.samples(HOP_MS);
        for part in frame.chunks_exact(hop) {
            self.window.copy_within(hop.., 0);
            let end = self.window.len() - hop;
            self.window[end..].copy_from_slice(part);
            let (heard, tone) = self.look();
            found = found.or(heard);
            is_tone |= tone;
        }
        (found, is_tone)
    }

    fn look(&mut self) -> (Option<Found>, bool) {
        let spectrum = Spectrum::of(&self.window, self.rate);
        let key = spectrum.candidate();
        let is_sure = key.is_some() && key == self.candidate && self.is_key(&spectrum);
        self.run = if key == self.candidate { self.run + 1 } else { 1 };
        self.sure = if is_sure { self.sure + 1 } else { 0 };
        (self.before, self.candidate) = (spectrum, key);
        let found = self.press(key);
        let is_tone = is_sure
            || self.pressed.is_some_and(|pressed| pressed.missing == 0)
            || key.is_some_and(|key| spectrum.share(key) >= PURE);
        (found, is_tone)
    }

    /// Begins, goes on with or ends a digit.
    fn press(&mut self, key: Option<Key>) -> Option<Found> {
        let mut ended = None;
        if let Some(pressed) = &mut self.pressed {
            if key == Some(pressed.key) {
                pressed.windows += 1 + u32::from(std::mem::take(&mut pressed.missing));
            } else {
                pressed.missing += 1;
            }
        }
        let begins = key.filter(|_| self.sure >= SURE && self.pressed.is_none_or(|pressed| key != Some(pressed.key)));
        if self.pressed.is_some_and(|pressed| pressed.missing >= GONE) || begins.is_some() {
            ended = self.pressed.take();
        }
        if let Some(key) = begins {
            self.pressed = Some(Pressed { key, windows: self.run, missing: 0 });
        }
        let told = if self.at_start { self.pressed.filter(|_| begins.is_some()) } else { ended };
        told.map(|pressed| Found {
            digit: KEYS[pressed.key.0][pressed.key.1],
            // A window counts from about a third of its length on.
            duration_ms: pressed.windows * HOP_MS - HOP_MS / 2,
        })
    }

    /// Whether this window and the one before are two tones within the limits.
    fn is_key(&self, spectrum: &Spectrum) -> bool {
        let Some((low, high)) = self.candidate else { return false };
        let (off_low, off_high) = (self.off(spectrum, low), self.off(spectrum, LOW + high));
        if off_low.abs() > OFF * TONES[low] || off_high.abs() > OFF * TONES[LOW + high] {
            return false;
        }
        let within = |window: &Spectrum| {
            let low_tone = window.tones[low] / seen_share(off_low);
            let high_tone = window.tones[LOW + high] / seen_share(off_high);
            low_tone + high_tone >= PURE * window.whole
                && TWIST.contains(&(high_tone / low_tone))
                && low_tone.min(high_tone) >= WEAKEST
        };
        within(spectrum) && within(&self.before) && self.has_no_harmonics(spectrum, low, LOW + high)
    }

    /// How many Hz a tone is off, by its phase against the window before: within ±50.
    fn off(&self, spectrum: &Spectrum, tone: usize) -> f32 {
        let ((re, im), (re_before, im_before)) = (spectrum.phasors[tone], self.before.phasors[tone]);
        let turned = (im * re_before - re * im_before).atan2(re * re_before + im * im_before);
        let seconds = HOP_MS as f32 / 1000.0;
        let off = turned - TAU * (TONES[tone] * seconds).fract();
        (off - TAU * (off / TAU).round()) / (TAU * seconds)
    }

    fn has_no_harmonics(&self, spectrum: &Spectrum, low: usize, high: usize) -> bool {
        let second =
            |tone: usize| mean_square(goertzel(&self.window, [2.0 * TONES[tone]], self.rate)[0], self.window.len());
        let (low_tone, high_tone) = (spectrum.tones[low], spectrum.tones[high]);
        second(low) <= HARMONIC * low_tone + LEAK * high_tone && second(high) <= HARMONIC * high_tone
    }
}

impl Spectrum {
    fn of(window: &[i16], rate: SampleRate) -> Self {
        let sum: i64 = window.iter().map(|sample| i64::from(*sample).pow(2)).sum();
        let whole = sum as f32 / window.len() as f32;
        if whole < WEAKEST {
            return Self { whole, ..Self::default() };
        }
        let phasors = goertzel(window, TONES, rate);
        Self { phasors, tones: phasors.map(|phasor| mean_square(phasor, window.len())), whole }
    }

    /// The two tones that this may be.
    fn candidate(&self) -> Option<Key> {
        let key = (strongest(&self.tones[..LOW])?, strongest(&self.tones[LOW..])?);
        (self.share(key) >= PURE_AT_FIRST).then_some(key)
    }

    fn share(&self, (low, high): Key) -> f32 {
        (self.tones[low] + self.tones[LOW + high]) / self.whole
    }
}

/// The tone that is far above the others of its group.
fn strongest(group: &[f32]) -> Option<usize> {
    let best = (0..group.len()).max_by(|a, b| group[*a].total_cmp(&group[*b]))?;
    let alone = (0..group.len()).all(|other| other == best || group[other] < OTHERS * group[best]);
    (alone && group[best] > 0.0).then_some(best)
}

/// The share of a tone's power that a filter of 20 ms sees which it misses by `off` Hz.
fn seen_share(off: f32) -> f32 {
    let x = PI * off * (HOPS as f32 * HOP_MS as f32 / 1000.0);
    if x.abs() < 0.01 { 1.0 } else { (x.sin() / x).powi(2) }
}

fn mean_square((re, im): (f32, f32), samples: usize) -> f32 {
    2.0 * (re * re + im * im) / (samples as f32).powi(2)
}

/// Goertzel's recursion for several frequencies at once.
fn goertzel<const N: usize>(window: &[i16], hz: [f32; N], rate: SampleRate) -> [(f32, f32); N] {
    let angles = hz.map(|hz| TAU * hz / rate.hz() as f32);
    let turns = angles.map(|angle| 2.0 * angle.cos());
    let (mut last, mut before) = ([0.0; N], [0.0; N]);
    for sample in window {
        let sample = f32::from(*sample);
        for tone in 0..N {
            let next = sample + turns[tone] * last[tone] - before[tone];
            (before[tone], last[tone]) = (last[tone], next);
        }
    }
    std::array::from_fn(|tone| {
        let (sin, cos) = angles[tone].sin_cos();
        (last[tone] - cos * before[tone], sin * before[tone])
    })
}

#[cfg(test)]
#[path = "inband_dtmf_tests.rs"]
mod tests;
