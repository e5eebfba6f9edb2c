//! Whether a bot's speech has another sample rate than the stream: 16 kHz audio on an 8 kHz stream is heard at half its speed.
//!
//! Voices that are played at a wrong rate have a pitch, formants and syllables that no voice has. All three are measured in the
//! first seconds of speech, as they are played, 20 ms at a time; a score of them decides, and what does not move like speech
//! (tones, music) is left alone. The weights are logistic regressions on synthetic voices of five languages, band-limited,
//! brighter and duller, at all pairs of rates. In doubt nothing is said.

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
/// Steps of a level that is kept, to the doubling of power.
const LEVEL_STEPS: f32 = 256.0;
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

/// A logistic discriminant of what was measured.
struct Weights {
    pitch: f32,
    movement: f32,
    lags: [f32; LAGS],
    spread: [f32; LAGS],
    constant: f32,
}

/// Slower than it was spoken, at streams of 8 and 16 kHz.
const SLOW: Weights = Weights {
    pitch: -1.5948,
    movement: -11.5950,
    lags: [2.5833, -8.0975, -3.7440, 0.4973, 1.8279, 2.3293, 1.7534, 1.6178, 2.0235, 2.3418, 0.7751, -1.0514],
    spread: [
        -2.9636, 5.5096, -17.2472, -26.3753, -9.3613, 17.3746, 17.0822, 2.1506, -6.1920, 3.5089, -0.9722, -14.3034,
    ],
    constant: 33.2202,
};
/// Twice as fast, at 16 kHz.
const DOUBLE: Weights = Weights {
    pitch: 1.6879,
    movement: -6.4193,
    lags: [5.9702, -4.8443, -3.4655, -2.2883, -1.7217, -1.4620, 2.5726, 4.2396, 3.1965, 0.6584, 0.2067, 2.1272],
    spread: [
        -4.7723, 36.9929, -46.6330, -20.7663, 10.2083, -2.5470, 9.1726, 14.4827, -9.1512, -5.4821, -2.1968, -1.6519,
    ],
    constant: 0.9436,
};
/// Three times as fast, at 24 kHz.
const TRIPLE: Weights = Weights {
    pitch: 1.6102,
    movement: -4.7212,
    lags: [-1.9209, -6.8523, -4.7284, -3.5064, 0.3222, 6.8441, 6.3760, 0.6579, -1.9796, -0.0911, 0.4767, 2.2950],
    spread: [-0.4441, 5.0329, -21.5928, -10.7596, 12.9269, 2.9117, -4.2452, 1.2210, -1.5559, 1.6149, -3.4468, 2.3664],
    constant: 2.5041,
};
/// What a score is at least.
const LEAST: f32 = 3.0;
/// Speech moves within these bounds; held tones and most music move less.
const SLOW_MOVEMENT: std::ops::RangeInclusive<f32> = 0.38..=0.95;
const FAST_MOVEMENT: std::ops::RangeInclusive<f32> = 0.50..=2.60;
/// What moves less than this may be a melody, and melodies leap; the middle half of a speaker's pitches is within an octave.
const LIVELY: f32 = 0.5;
const PITCH_RANGE: f32 = 0.9;
/// Slowed speech is not higher than this, and sped-up speech not lower, in log2 of Hz.
const SLOW_PITCH: f32 = 7.25;
const FAST_PITCH: f32 = 7.0;

/// What was measured in a stretch of speech.
#[derive(Debug)]
struct Features {
    /// Median, and the span of the middle half, in log2 of Hz.
    pitch: f32,
    pitch_range: f32,
    /// Mean step of the smoothed level from hop to hop, in log2 of power.
    movement: f32,
    /// Mean and standard deviation of the autocorrelation: where the formants are, and how far they move.
    lags: [f32; LAGS],
    spread: [f32; LAGS],
}

/// What is known about the rate of a bot's speech. It costs memory from the bot's first audio until it is known.
#[derive(Debug, Default)]
pub(super) enum Suspicion {
    /// The bot has not spoken.
    #[default]
    Silent,
    /// It is listened to.
    Listening(Box<Detective>),
    /// It was heard, or is not listened to.
    Over,
}

impl Suspicion {
    /// Audio has come from the bot of a stream of `rate`.
    pub(super) fn begin(&mut self, rate: SampleRate) {
        if let Self::Silent = self {
            *self = Self::Listening(Box::new(Detective::new(rate)));
        }
    }

    /// The next of the bot's audio, as it is played. Some, once, where its rate is known to be wrong.
    pub(super) fn hear(&mut self, samples: &[i16]) -> Option<WrongRate> {
        let Self::Listening(detective) = self else { return None };
        let verdict = detective.hear(samples);
        if verdict.is_some() || detective.is_done() {
            *self = Self::Over;
        }
        verdict
    }
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
    /// Levels of the hops so far, in 1/256 of log2.
    levels: [u16; MOST],
    /// How often each period was found.
    periods: [u8; PITCH_LAGS.end],
    pitched: usize,
    lags: [f32; LAGS],
    squares: [f32; LAGS],
    mean: f32,
    active: usize,
    pause: usize,
    hops: usize,
}

impl Detective {
    fn new(rate: SampleRate) -> Self {
        Self {
            rate,
            window: [0; WINDOW],
            filled: 0,
            slow: [0; PITCH_WINDOW],
            sum: 0,
            summed: 0,
            levels: [0; MOST],
            periods: [0; PITCH_LAGS.end],
            pitched: 0,
            lags: [0.0; LAGS],
            squares: [0.0; LAGS],
            mean: 0.0,
            active: 0,
            pause: 0,
            hops: 0,
        }
    }

    /// Whether nothing more will be found.
    fn is_done(&self) -> bool {
        self.active >= DECIDE_AT[1] || self.hops >= MOST
    }

    fn hear(&mut self, samples: &[i16]) -> Option<WrongRate> {
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
        let whole = dot(&self.window, &self.window);
        let level = whole * 256.0 / WINDOW as f32;
        let is_active = level >= AUDIBLE && level >= FLOOR * self.mean;
        self.pause = if is_active { 0 } else { self.pause + 1 };
        if self.is_done() || self.pause > PAUSE_MOST || (self.hops == 0 && !is_active) {
            return None;
        }
        self.levels[self.hops] = ((level + 1.0).log2() * LEVEL_STEPS) as u16;
        self.hops += 1;
        self.mean += (level - self.mean) / self.hops as f32;
        if !is_active {
            return None;
        }
        self.active += 1;
        if let Some(period) = self.period() {
            self.periods[period] += 1;
            self.pitched += 1;
            for (lag, (sum, squares)) in self.lags.iter_mut().zip(&mut self.squares).enumerate() {
                let likeness = dot(&self.window[..WINDOW - lag - 1], &self.window[lag + 1..]) / whole;
                *sum += likeness;
                *squares += likeness * likeness;
            }
        }
        if DECIDE_AT.contains(&self.active) { self.decide() } else { None }
    }

    /// The period of the last 80 ms in samples of 2 kHz, where they have one.
    fn period(&self) -> Option<usize> {
        let now = &self.slow[PITCH_WINDOW / 2..];
        let energy = dot(now, now);
        let mut likeness = [0.0; PITCH_LAGS.end];
        let (half, first) = (PITCH_WINDOW / 2, PITCH_LAGS.start);
        let mut energy_then = dot(&self.slow[half - first..][..half], &self.slow[half - first..][..half]);
        for lag in PITCH_LAGS {
            let then = &self.slow[half - lag..][..half];
            likeness[lag] = dot(then, now) / (energy * energy_then + 1.0).sqrt();
            // The next lag looks at one sample more at the front and one less at the end.
            let (enters, leaves) = (self.slow[half - lag.min(half - 1) - 1], self.slow[PITCH_WINDOW - lag - 1]);
            energy_then += dot(&[enters], &[enters]) - dot(&[leaves], &[leaves]);
        }
        let best = likeness.iter().copied().fold(0.0, f32::max);
        let enough = (FIRST_LAG * best).max(PERIODIC);
        let is_peak = |lag: &usize| {
            likeness[*lag] > enough && likeness[*lag] >= likeness[lag - 1] && likeness[*lag] >= likeness[lag + 1]
        };
        (PITCH_LAGS.start + 1..PITCH_LAGS.end - 1).find(is_peak)
    }

    fn decide(&self) -> Option<WrongRate> {
        let features = self.features()?;
        let is_melody = features.movement < LIVELY && features.pitch_range > PITCH_RANGE;
        let slow = SLOW_MOVEMENT.contains(&features.movement) && features.pitch <= SLOW_PITCH && !is_melody;
        let fast = FAST_MOVEMENT.contains(&features.movement) && features.pitch >= FAST_PITCH;
        let (slower, faster) = match self.rate {
            SampleRate::Hz8000 => (Some(&SLOW), None),
            SampleRate::Hz16000 => (Some(&SLOW), Some(&DOUBLE)),
            SampleRate::Hz24000 => (None, Some(&TRIPLE)),
            SampleRate::Hz48000 => (None, None),
        };
        let score = |weights: Option<&Weights>| weights.map_or(0.0, |weights| weights.score(&features));
        let (slower, faster) = (score(slower), score(faster));
        if slow && slower >= LEAST.max(faster) {
            Some(WrongRate::Higher)
        } else if fast && faster >= LEAST.max(slower) {
            Some(WrongRate::Lower)
        } else {
            None
        }
    }

    fn features(&self) -> Option<Features> {
        if self.pitched < PITCHED_MIN {
            return None;
        }
        let count = self.pitched as f32;
        let lags = self.lags.map(|sum| sum / count);
        let spread = std::array::from_fn(|lag| (self.squares[lag] / count - lags[lag] * lags[lag]).max(0.0).sqrt());
        let (quarter, pitch, three) = (self.pitch_at(25), self.pitch_at(50), self.pitch_at(75));
        Some(Features { pitch, pitch_range: three - quarter, movement: self.movement(), lags, spread })
    }

    /// The pitch that this share of all is not above, in log2 of Hz.
    fn pitch_at(&self, percent: usize) -> f32 {
        let mut below = (self.pitched - 1) * percent / 100;
        let lowest_first = (PITCH_LAGS).rev();
        let period = lowest_first.into_iter().find(|period| {
            let here = usize::from(self.periods[*period]);
            let found = below < here;
            below = below.saturating_sub(here);
            found
        });
        (2000.0 / period.unwrap_or(PITCH_LAGS.end) as f32).log2()
    }

    fn movement(&self) -> f32 {
        let (mut before, mut last, mut sum) = ([0.0; 2], None, 0.0);
        for (n, level) in self.levels[..self.hops].iter().enumerate() {
            let level = ((f32::from(*level) / LEVEL_STEPS).exp2() + FLOOR * self.mean).log2();
            if n >= 2 {
                let smooth = (before[0] + 2.0 * before[1] + level) / 4.0;
                sum += last.map_or(0.0, |last: f32| (smooth - last).abs());
                last = Some(smooth);
            }
            before = [before[1], level];
        }
        sum / self.hops as f32
    }
}

impl Weights {
    fn score(&self, features: &Features) -> f32 {
        let sum = |weights: &[f32; LAGS], values: &[f32; LAGS]| -> f32 {
            weights.iter().zip(values).map(|(weight, value)| weight * value).sum()
        };
        let Features { pitch, movement, lags, spread, .. } = features;
        self.pitch * pitch
            + self.movement * movement
            + sum(&self.lags, lags)
            + sum(&self.spread, spread)
            + self.constant
    }
}

/// Samples here are 12 bits long: the sum of a window fits.
fn dot(one: &[i16], other: &[i16]) -> f32 {
    one.iter().zip(other).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>() as f32
}

#[cfg(test)]
#[path = "wrong_rate_tests.rs"]
mod tests;
