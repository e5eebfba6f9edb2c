//! What is heard in place of a packet that did not come (RTP-021): the last pitch periods again, after ITU-T G.711,
//! Appendix I.
//!
//! The pitch is looked for when a hole opens, so sound that comes in time costs one copy into a ring. One period is
//! repeated for 10 ms, then two, then three, so that it does not buzz; after 10 ms the sound falls by a fifth each 10 ms
//! and has gone after 60. Where periods join they overlap by a quarter, and so does the sound that returns. The
//! Appendix delays all sound by 3.75 ms to smooth the first joint; here a ramp takes up the difference and nothing waits.

use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch_slice;

/// The past that is kept, in samples at 8 kHz: three of the longest periods and a quarter.
const HISTORY: usize = 390;
/// The pitch is looked for between 200 and 66 Hz: periods in samples at 8 kHz.
const PITCH_MIN: usize = 40;
/// … the longest.
const PITCH_MAX: usize = 120;
/// What is usually heard at a time, in samples at 8 kHz.
const FRAME_SAMPLES: usize = 160;
/// How much of the past is compared with what lies a period before it, in ms.
const COMPARED_MS: usize = 20;
/// So long the sound keeps its level, and at each such step another period is repeated.
const STEP_MS: usize = 10;
/// After this there is silence.
pub const FADE_MS: usize = 60;
/// The overlap of the sound that returns grows by this for each further step of the hole …
const OVERLAP_STEP_MS: usize = 4;
/// … up to this.
const OVERLAP_MAX_MS: usize = 10;

/// The end of what was heard, and how much of the hole after it has been filled.
#[derive(Debug)]
pub struct Concealment {
    samples_per_ms: usize,
    /// A ring; in order of time from `at` on.
    past: Box<[i16]>,
    at: usize,
    /// Samples since the hole began.
    filled: usize,
    /// What comes next does not follow from the past, though nothing was filled.
    broken: bool,
    synthesis: Synthesis,
}

/// How the past is being repeated.
#[derive(Debug, Default, Clone, Copy)]
struct Synthesis {
    period: usize,
    /// Periods in the loop, and where in it the next sample is.
    periods: usize,
    offset: usize,
    /// Where the shorter loop before this one is, and how many samples it still overlaps.
    before: usize,
    overlap: usize,
    /// What the first sample of the loop lacks to follow smoothly.
    gap: f32,
}

impl Concealment {
    /// For audio of `rate`. Allocates all it will ever need.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        let samples_per_ms = rate.samples(1);
        Self {
            samples_per_ms,
            past: vec![0; HISTORY * samples_per_ms / 8].into_boxed_slice(),
            at: 0,
            filled: 0,
            broken: false,
            synthesis: Synthesis::default(),
        }
    }

    /// Reads ahead what [`Self::heard`] needs.
    pub fn prefetch(&self) {
        touch_slice(&self.past[self.at.min(self.past.len())..], FRAME_SAMPLES);
    }

    /// `audio` was heard. A hole has ended, or none is open.
    pub fn heard(&mut self, audio: &[i16]) {
        let size = self.past.len();
        let tail = &audio[audio.len().saturating_sub(size)..];
        let first = tail.len().min(size - self.at);
        self.past[self.at..self.at + first].copy_from_slice(&tail[..first]);
        self.past[..tail.len() - first].copy_from_slice(&tail[first..]);
        self.at = (self.at + tail.len()) % size;
        self.close();
    }

    /// The hole has ended with sound that needs no joint: the sender had paused.
    pub fn close(&mut self) {
        self.filled = 0;
        self.broken = false;
    }

    /// Sound has been left out: what comes next does not follow from what was heard.
    pub fn break_off(&mut self) {
        self.broken = true;
    }

    /// Forgets the past: what follows is silence until audio is heard.
    pub fn forget(&mut self) {
        self.past.fill(0);
        self.close();
    }

    /// Mean magnitude of the last 20 ms that were heard.
    #[must_use]
    pub fn level(&self) -> u32 {
        let (size, count) = (self.past.len(), COMPARED_MS * self.samples_per_ms);
        let sum: u32 =
            (1..=count).map(|back| u32::from(self.past[(self.at + size - back) % size].unsigned_abs())).sum();
        sum / count as u32
    }

    /// Appends `samples` samples to `out` in place of audio that did not come.
    pub fn fill(&mut self, samples: usize, out: &mut Vec<i16>) {
        let left = (FADE_MS * self.samples_per_ms).saturating_sub(self.filled);
        let audible = samples.min(left);
        for _ in 0..audible {
            let sample = self.next_sample();
            out.push(sample as i16);
        }
        out.resize(out.len() + samples - audible, 0);
        self.filled = self.filled.saturating_add(samples - audible);
    }

    /// `audio` is the first after the hole: its beginning overlaps with what would have gone on in the hole.
    pub fn resume(&mut self, audio: &mut [i16]) {
        if self.filled == 0 && !self.broken {
            return;
        }
        let filled_steps = self.filled / (STEP_MS * self.samples_per_ms);
        let further = filled_steps.saturating_sub(1) * OVERLAP_STEP_MS * self.samples_per_ms;
        let first = self.next_sample();
        let overlap = (self.synthesis.period / 4 + further).min(OVERLAP_MAX_MS * self.samples_per_ms).min(audio.len());
        let mut old = first;
        for (n, sample) in audio[..overlap].iter_mut().enumerate() {
            let share = (n + 1) as f32 / (overlap + 1) as f32;
            *sample = (f32::from(*sample) * share + old * (1.0 - share)) as i16;
            old = self.next_sample();
        }
        self.close();
    }

    fn next_sample(&mut self) -> f32 {
        if self.filled == 0 {
            self.begin();
        }
        let step = STEP_MS * self.samples_per_ms;
        let position = self.filled;
        self.filled += 1;
        if position >= FADE_MS * self.samples_per_ms {
            return 0.0;
        }
        if position == step || position == 2 * step {
            self.synthesis.lengthen();
        }
        let gain = match position.checked_sub(step) {
            None => 1.0,
            Some(beyond) => 1.0 - beyond as f32 / ((FADE_MS - STEP_MS) * self.samples_per_ms) as f32,
        };
        let ramp = self.synthesis.period / 4;
        let gap = self.synthesis.gap * ramp.saturating_sub(position) as f32 / ramp as f32;
        let sample = self.synthesis.next_sample(&self.past) + gap;
        sample.clamp(f32::from(i16::MIN), f32::from(i16::MAX)) * gain
    }

    /// The hole opens: puts the past in order and finds its pitch.
    fn begin(&mut self) {
        self.past.rotate_left(self.at);
        self.at = 0;
        let period = find_pitch(&self.past, self.samples_per_ms);
        let end = self.past.len();
        let gap = f32::from(self.past[end - 1]) - f32::from(self.past[end - 1 - period]);
        self.synthesis = Synthesis { period, periods: 1, gap, ..Synthesis::default() };
    }
}

impl Synthesis {
    /// Repeats one period more from here on: the same phase, a period further back.
    fn lengthen(&mut self) {
        self.periods += 1;
        (self.before, self.overlap) = (self.offset, self.period / 4);
    }

    fn next_sample(&mut self, past: &[i16]) -> f32 {
        let mut sample = looped(past, self.periods * self.period, self.period / 4, self.offset);
        self.offset = (self.offset + 1) % (self.periods * self.period);
        if self.overlap > 0 {
            let shorter = (self.periods - 1) * self.period;
            let share = self.overlap as f32 / (self.period / 4 + 1) as f32;
            sample += (looped(past, shorter, self.period / 4, self.before) - sample) * share;
            self.before = (self.before + 1) % shorter;
            self.overlap -= 1;
        }
        sample
    }
}

/// A sample of the loop over the last `length` samples; its end overlaps with what comes before its beginning.
fn looped(past: &[i16], length: usize, quarter: usize, offset: usize) -> f32 {
    let begin = past.len() - length;
    let sample = f32::from(past[begin + offset]);
    match offset.checked_sub(length - quarter) {
        None => sample,
        Some(beyond) => {
            let share = (beyond + 1) as f32 / (quarter + 1) as f32;
            let other = f32::from(past[begin + offset - length]);
            sample + (other - sample) * share
        }
    }
}

/// The lag at which the end of `past` is most like what lies before it: first roughly at 4 kHz, then exactly.
fn find_pitch(past: &[i16], samples_per_ms: usize) -> usize {
    let (shortest, longest) = (PITCH_MIN * samples_per_ms / 8, PITCH_MAX * samples_per_ms / 8);
    let coarse = samples_per_ms / 4;
    let window = COMPARED_MS * samples_per_ms;
    let rough = best_lag(past, (shortest..=longest).step_by(coarse), window, coarse);
    let near = rough.saturating_sub(coarse - 1).max(shortest)..=(rough + coarse - 1).min(longest);
    best_lag(past, near, window, 1)
}

fn best_lag(past: &[i16], lags: impl Iterator<Item = usize>, window: usize, step: usize) -> usize {
    let mut best = (f32::MIN, PITCH_MIN);
    for lag in lags {
        let recent = &past[past.len() - window..];
        let earlier = &past[past.len() - window - lag..past.len() - lag];
        let (mut product, mut energy) = (0.0, 1.0);
        for (one, other) in recent.iter().zip(earlier).step_by(step) {
            let (one, other) = (f32::from(*one), f32::from(*other));
            product += one * other;
            energy += other * other;
        }
        let likeness = product * product.abs() / energy;
        if likeness > best.0 {
            best = (likeness, lag);
        }
    }
    best.1
}

#[cfg(test)]
#[path = "concealment_tests.rs"]
mod tests;
