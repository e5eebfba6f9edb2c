//! Whether a bot's speech has another sample rate than the stream: 16 kHz audio on an 8 kHz stream is heard at half its speed.
//!
//! Voices that are played at a wrong rate have a pitch, formants and syllables that no voice has. All three are measured in the
//! first seconds of speech, as they are played, 20 ms at a time; a linear score of them decides, and what does not move like
//! speech (tones, music) is left alone. The weights are a discriminant fitted to synthetic voices of five languages, at all
//! pairs of rates. In doubt nothing is said.

use crate::base::pcm::SampleRate;

/// What is analysed: 8 kHz, in hops of 20 ms.
const HOP: usize = 160;
/// Two hops are a window for the formants; 80 ms at 2 kHz one for the pitch.
const WINDOW: usize = 2 * HOP;
const PITCH_WINDOW: usize = 160;
/// Lags of the autocorrelation that shows the formants: up to 2 ms.
const LAGS: usize = 12;
/// Lags of the pitch at 2 kHz: 500 to 25 Hz.
const PITCH_LAGS: std::ops::Range<usize> = 4..81;
/// How like itself a voice is after one period, at least.
const PERIODIC: f32 = 0.5;
/// The first lag that is this near to the best is the period, not a multiple of it.
const FIRST_LAG: f32 = 0.88;
/// Hops of speech after which it is decided, and once more.
const DECIDE_AT: [usize; 2] = [100, 200];
/// Of those at least this many have a pitch.
const PITCHED_MIN: usize = 25;
/// Hops looked at, at most; and of a pause.
const MOST: usize = 500;
const PAUSE_MOST: usize = 15;
/// Mean square that can be speech, −50 dBFS, and its share of the mean.
const AUDIBLE: f32 = 10_800.0;
const FLOOR: f32 = 0.0052;

/// What the audio of a bot sounds like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongRate {
    /// It has a higher rate than the stream: it plays too slowly.
    Higher,
    /// It has a lower rate than the stream: it plays too fast.
    Lower,
}

impl WrongRate {
    /// The word in log, metric and call record.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Higher => "higher",
            Self::Lower => "lower",
        }
    }
}

/// A linear discriminant of median pitch (log2 of Hz), movement of the level and autocorrelation.
struct Weights {
    pitch: f32,
    movement: f32,
    lags: [f32; LAGS],
    constant: f32,
    least: f32,
}

const HIGHER: Weights = Weights {
    pitch: -0.2072,
    movement: -1.5375,
    lags: [1.7782, -1.9233, -0.4380, 0.4957, 0.4980, 0.6346, 0.3048, 0.1611, 0.1455, -0.1901, -0.2583, 0.0017],
    constant: 2.05,
    least: 0.4,
};
const LOWER: Weights = Weights {
    pitch: 0.3605,
    movement: -0.5372,
    lags: [0.6229, -1.0338, -1.2861, -0.2454, 1.1694, -1.1108, -0.6028, 0.9789, 0.2441, 0.1921, -0.1314, 0.3947],
    constant: -2.0966,
    least: 0.5,
};
/// Slowed speech moves within these bounds; music and held tones move less, right speech moves more.
const SLOW_MOVEMENT: std::ops::RangeInclusive<f32> = 0.40..=0.84;
const FAST_MOVEMENT: std::ops::RangeInclusive<f32> = 0.70..=1.60;
/// Melodies leap; the middle half of a speaker's pitches is within an octave.
const PITCH_RANGE: f32 = 0.9;
/// Sped-up speech is not lower than this, in log2 of Hz.
const FAST_PITCH: f32 = 7.0;

/// What was measured in a stretch of speech.
#[derive(Debug)]
struct Features {
    pitch: f32,
    pitch_range: f32,
    movement: f32,
    lags: [f32; LAGS],
}

/// Listens to one stream until it knows, or has heard enough.
#[derive(Debug)]
pub(super) struct Detective {
    rate: SampleRate,
    /// 8 kHz, divided by 16 so that sums fit 32 bits; `filled` of the last hop.
    window: [i16; WINDOW],
    filled: usize,
    slow: [i16; PITCH_WINDOW],
    /// Sum of the samples that become the next one.
    sum: i32,
    summed: usize,
    levels: Vec<f32>,
    pitches: Vec<f32>,
    lags: [f32; LAGS],
    mean: f32,
    active: usize,
    pause: usize,
    hops: usize,
}

impl Detective {
    pub(super) fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            window: [0; WINDOW],
            filled: 0,
            slow: [0; PITCH_WINDOW],
            sum: 0,
            summed: 0,
            levels: Vec::with_capacity(DECIDE_AT[1] * 2),
            pitches: Vec::with_capacity(DECIDE_AT[1]),
            lags: [0.0; LAGS],
            mean: 0.0,
            active: 0,
            pause: 0,
            hops: 0,
        }
    }

    /// Whether nothing more will be found.
    pub(super) fn is_done(&self) -> bool {
        self.active >= DECIDE_AT[1] || self.hops >= MOST
    }

    /// The next of the bot's audio. Some where its rate is known to be wrong.
    pub(super) fn hear(&mut self, samples: &[i16]) -> Option<WrongRate> {
        let per_sample = (self.rate.hz() / SampleRate::Hz8000.hz()) as usize;
        let mut verdict = None;
        for sample in samples {
            self.sum += i32::from(*sample);
            self.summed += 1;
            if self.summed < per_sample {
                continue;
            }
            self.window[HOP + self.filled] = (self.sum / (16 * per_sample as i32)) as i16;
            (self.sum, self.summed, self.filled) = (0, 0, self.filled + 1);
            if self.filled == HOP {
                verdict = verdict.or(self.hop());
                self.window.copy_within(HOP.., 0);
                self.filled = 0;
            }
        }
        verdict
    }

    fn hop(&mut self) -> Option<WrongRate> {
        self.slow.copy_within(HOP / 4.., 0);
        let quarters =
            self.window[HOP..].chunks_exact(4).map(|four| (four.iter().map(|s| i32::from(*s)).sum::<i32>() / 4) as i16);
        self.slow[PITCH_WINDOW - HOP / 4..].iter_mut().zip(quarters).for_each(|(slow, four)| *slow = four);
        let level = dot(&self.window, &self.window) * 256.0 / WINDOW as f32;
        let is_active = level >= AUDIBLE && level >= FLOOR * self.mean;
        self.pause = if is_active { 0 } else { self.pause + 1 };
        if self.is_done() || self.pause > PAUSE_MOST || (self.levels.is_empty() && !is_active) {
            return None;
        }
        self.hops += 1;
        self.mean += (level - self.mean) / self.hops as f32;
        self.levels.push(level);
        if !is_active {
            return None;
        }
        self.active += 1;
        if let Some(pitch) = self.pitch() {
            self.pitches.push(pitch);
            let whole = dot(&self.window, &self.window);
            for (lag, sum) in self.lags.iter_mut().enumerate() {
                *sum += dot(&self.window[..WINDOW - lag - 1], &self.window[lag + 1..]) / whole;
            }
        }
        if DECIDE_AT.contains(&self.active) { self.decide() } else { None }
    }

    /// Pitch of the last 80 ms in log2 of Hz, where they have one.
    fn pitch(&self) -> Option<f32> {
        let now = &self.slow[PITCH_WINDOW / 2..];
        let energy = dot(now, now);
        let mut likeness = [0.0; PITCH_LAGS.end];
        for lag in PITCH_LAGS {
            let then = &self.slow[PITCH_WINDOW / 2 - lag..PITCH_WINDOW - lag];
            likeness[lag] = dot(then, now) / (energy * dot(then, then) + 1.0).sqrt();
        }
        let best = likeness.iter().copied().fold(0.0, f32::max);
        let enough = (FIRST_LAG * best).max(PERIODIC);
        let is_peak = |lag: &usize| {
            likeness[*lag] > enough && likeness[*lag] >= likeness[lag - 1] && likeness[*lag] >= likeness[lag + 1]
        };
        let lag = (PITCH_LAGS.start + 1..PITCH_LAGS.end - 1).find(is_peak)?;
        Some((2000.0 / lag as f32).log2())
    }

    fn decide(&self) -> Option<WrongRate> {
        let features = self.features()?;
        let slow =
            HIGHER.fits(&features) && SLOW_MOVEMENT.contains(&features.movement) && features.pitch_range <= PITCH_RANGE;
        let fast = LOWER.fits(&features) && FAST_MOVEMENT.contains(&features.movement) && features.pitch >= FAST_PITCH;
        match self.rate {
            SampleRate::Hz8000 | SampleRate::Hz16000 if slow => Some(WrongRate::Higher),
            SampleRate::Hz16000 | SampleRate::Hz24000 | SampleRate::Hz48000 if fast => Some(WrongRate::Lower),
            _ => None,
        }
    }

    fn features(&self) -> Option<Features> {
        if self.pitches.len() < PITCHED_MIN {
            return None;
        }
        let mut pitches = self.pitches.clone();
        pitches.sort_by(f32::total_cmp);
        let at = |percent: usize| pitches[(pitches.len() - 1) * percent / 100];
        let levels: Vec<f32> = self.levels.iter().map(|level| (level + FLOOR * self.mean).log2()).collect();
        let smooth = levels.windows(3).map(|three| (three[0] + 2.0 * three[1] + three[2]) / 4.0);
        let moves = smooth.clone().zip(smooth.skip(1)).map(|(a, b)| (b - a).abs());
        Some(Features {
            pitch: at(50),
            pitch_range: at(75) - at(25),
            movement: moves.sum::<f32>() / levels.len() as f32,
            lags: self.lags.map(|sum| sum / self.pitches.len() as f32),
        })
    }
}

impl Weights {
    fn fits(&self, features: &Features) -> bool {
        self.score(features) >= self.least
    }

    fn score(&self, features: &Features) -> f32 {
        let lags: f32 = self.lags.iter().zip(&features.lags).map(|(weight, lag)| weight * lag).sum();
        self.pitch * features.pitch + self.movement * features.movement + lags + self.constant
    }
}

/// Samples here are 12 bits long: the sum of a window fits.
fn dot(one: &[i16], other: &[i16]) -> f32 {
    one.iter().zip(other).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>() as f32
}

#[cfg(test)]
#[path = "wrong_rate_tests.rs"]
mod tests;
