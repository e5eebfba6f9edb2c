//! Sound to test with: synthetic speech and tones, the same samples on every run.

use std::f64::consts::TAU;

use crate::base::pcm::SampleRate;

/// Formant centre frequencies of five vowels, in Hz (Peterson and Barney's averages for adult male voices, rounded).
const VOWELS: [[f64; 3]; 5] = [
    [730.0, 1090.0, 2440.0],
    [270.0, 2290.0, 3010.0],
    [570.0, 840.0, 2410.0],
    [530.0, 1840.0, 2480.0],
    [300.0, 870.0, 2240.0],
];
/// How wide each formant is, in Hz.
const BANDWIDTHS: [f64; 3] = [90.0, 110.0, 170.0];
/// How strong each formant is beside the first.
const STRENGTHS: [f64; 3] = [1.0, 0.5, 0.25];
/// Length of a syllable, in seconds; its last fifth is a pause.
const SYLLABLE: f64 = 0.25;
/// Loudest harmonic sum, in sample units: about -12 dBFS at the peaks.
const PEAK: f64 = 8_000.0;
/// Highest harmonic, in Hz: what a telephone line carries.
const BAND_END: f64 = 3_400.0;

/// A voice that says vowels: harmonics of a moving pitch under three moving formants, four syllables a second.
#[derive(Debug, Clone)]
pub struct Speech {
    rate: f64,
    seed: u32,
    position: u64,
    phase: f64,
    gains: Vec<f64>,
}

/// Samples between two looks at the formants, as a share of a second.
const CONTROL_STEPS: f64 = 200.0;

impl Speech {
    /// A voice at `rate`; another `seed` says other vowels at another pitch.
    #[must_use]
    pub fn new(rate: SampleRate, seed: u32) -> Self {
        Self { rate: f64::from(rate.hz()), seed, position: 0, phase: 0.0, gains: Vec::new() }
    }

    /// The next `samples` samples.
    #[must_use]
    pub fn take(&mut self, samples: usize) -> Vec<i16> {
        (0..samples).map(|_| self.sample()).collect()
    }

    /// One sample: pitch and formants are looked at 200 times a second, the phase moves with every sample.
    fn sample(&mut self) -> i16 {
        let time = self.position as f64 / self.rate;
        if self.position.is_multiple_of((self.rate / CONTROL_STEPS) as u64) {
            self.set_gains(time);
        }
        self.position += 1;
        self.phase = (self.phase + self.pitch(time) / self.rate).fract();
        let sum: f64 =
            self.gains.iter().zip(1u32..).map(|(gain, n)| gain * (TAU * self.phase * f64::from(n)).sin()).sum();
        (sum * PEAK * loudness(time)) as i16
    }

    /// The voice's fundamental, in Hz: 100 to 150, gliding.
    fn pitch(&self, time: f64) -> f64 {
        110.0 + f64::from(self.seed % 5) * 8.0 + 12.0 * (TAU * 0.6 * time).sin()
    }

    /// The harmonics' strengths at `time`: the vowel of this syllable, gliding into the next.
    fn set_gains(&mut self, time: f64) {
        let syllable = time / SYLLABLE;
        let (now, next) = (self.vowel(syllable as u64), self.vowel(syllable as u64 + 1));
        let glide = ((syllable.fract() - 0.6) / 0.4).max(0.0);
        let pitch = self.pitch(time);
        let gain = |frequency: f64| -> f64 {
            (0..3)
                .map(|i| {
                    let centre = now[i] + (next[i] - now[i]) * glide;
                    STRENGTHS[i] / (1.0 + ((frequency - centre) / BANDWIDTHS[i]).powi(2))
                })
                .sum()
        };
        self.gains.clear();
        let harmonics = (BAND_END / pitch) as u32;
        self.gains.extend((1..=harmonics).map(|n| 0.08 / f64::from(n) + gain(pitch * f64::from(n)) * 0.7));
        let total: f64 = self.gains.iter().sum();
        self.gains.iter_mut().for_each(|gain| *gain /= total * 0.5);
    }

    fn vowel(&self, syllable: u64) -> [f64; 3] {
        let mixed = (syllable.wrapping_mul(7) + u64::from(self.seed).wrapping_mul(3)) ^ (syllable / 3);
        VOWELS[(mixed % 5) as usize]
    }
}

/// The loudness within a syllable: up in 30 ms, down in 50 ms, then a pause.
fn loudness(time: f64) -> f64 {
    let within = time % SYLLABLE;
    let (up, down, end) = (0.03, 0.05, SYLLABLE * 0.8);
    (within / up).min((end - within) / down).clamp(0.0, 1.0)
}

/// A sine that goes on where it stopped.
#[derive(Debug, Clone)]
pub struct Tone {
    step: f64,
    phase: f64,
    amplitude: f64,
}

impl Tone {
    /// A sine of `hz` at `rate` with peaks of `amplitude`.
    #[must_use]
    pub fn new(rate: SampleRate, hz: f64, amplitude: i16) -> Self {
        Self { step: hz / f64::from(rate.hz()), phase: 0.0, amplitude: f64::from(amplitude) }
    }

    /// The next `samples` samples.
    #[must_use]
    pub fn take(&mut self, samples: usize) -> Vec<i16> {
        let next = |_| {
            let sample = (TAU * self.phase).sin() * self.amplitude;
            self.phase = (self.phase + self.step).fract();
            sample as i16
        };
        (0..samples).map(next).collect()
    }
}

/// Loudness of `samples` in dB below a full-scale square wave; `-infinity` for silence and for no samples.
#[must_use]
pub fn dbfs(samples: &[i16]) -> f64 {
    let squares: f64 = samples.iter().map(|&sample| f64::from(sample).powi(2)).sum();
    10.0 * (squares / samples.len().max(1) as f64 / f64::from(i16::MAX).powi(2)).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_is_the_same_on_every_run_and_whatever_the_pieces() {
        let whole = Speech::new(SampleRate::Hz8000, 1).take(8000);
        let mut voice = Speech::new(SampleRate::Hz8000, 1);
        let pieces: Vec<i16> = [1, 159, 840, 7000].into_iter().flat_map(|n| voice.take(n)).collect();
        assert_eq!(whole, pieces);
        assert_ne!(whole, Speech::new(SampleRate::Hz8000, 2).take(8000));
    }

    #[test]
    fn speech_is_loud_enough_to_hear_and_never_clips() {
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000] {
            let samples = Speech::new(rate, 3).take(rate.samples(2000));
            let level = dbfs(&samples);
            assert!((-32.0..-10.0).contains(&level), "{level} dBFS at {rate:?}");
            assert!(samples.iter().all(|sample| sample.unsigned_abs() < 32_000));
        }
    }

    #[test]
    fn speech_pauses_between_syllables() {
        let samples = Speech::new(SampleRate::Hz8000, 1).take(4000);
        assert!(samples[1640..1980].iter().all(|&sample| sample == 0));
    }

    #[test]
    fn a_tone_has_its_frequency_and_level() {
        let tone = Tone::new(SampleRate::Hz8000, 1000.0, 16_384).take(8000);
        assert!((dbfs(&tone) + 9.03).abs() < 0.05, "{}", dbfs(&tone));
        assert_eq!(tone[0], tone[8]);
        assert_eq!(dbfs(&[0; 80]), f64::NEG_INFINITY);
    }
}
