//! Whether somebody speaks: the energy of a frame against the noise around it. Integers only, some ten nanoseconds a frame.

use std::time::Duration;

/// A quarter of a frame.
const QUARTER: Duration = Duration::from_millis(5);
/// Frames in a row that make an onset: a click is none.
const ONSET: u8 = 3;
/// Frames without voice after which speech has ended: longer than a stop consonant, shorter than a breath.
const HANGOVER: u8 = 10;
/// Mean square of a frame that can be heard: −50 dBFS, in units of [`energy`].
const AUDIBLE: u32 = 169;
/// How far above the noise a voice is: 10 dB.
const OVER_NOISE: u32 = 10;
/// Noise is never believed to be louder than this, −30 dBFS.
const NOISE_MAX: u32 = 16_800;

/// What a frame is to the speech around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Nobody speaks.
    Silence,
    /// Speech has begun, [`VoiceActivity::ONSET_FRAMES`] frames ago, this one included.
    Onset,
    /// It goes on.
    Speech,
    /// It may have ended, or go on.
    Pause,
    /// It ended with the last frame that was speech.
    End,
}

/// An energy gate with an adaptive noise floor, for frames of 20 ms.
#[derive(Debug, Clone, Default)]
pub struct VoiceActivity {
    /// Mean square of the noise; `None` until something was heard.
    noise: Option<u32>,
    speaking: bool,
    /// The last frame was voice, and how many of its quarters at the end were none.
    voiced: bool,
    trailing: u8,
    /// Frames in a row that speak against the present state.
    against: u8,
}

impl VoiceActivity {
    /// How many frames an onset takes to be believed.
    pub const ONSET_FRAMES: u32 = ONSET as u32;

    /// The next frame.
    pub fn hear(&mut self, frame: &[i16]) -> Activity {
        let voiced = self.exceeds_noise(energy(frame));
        self.voiced = voiced;
        self.trailing = if voiced { self.trailing_quarters(frame) } else { 0 };
        self.against = if voiced == self.speaking { 0 } else { self.against + 1 };
        match (self.speaking, voiced) {
            (false, true) if self.against == ONSET => {
                (self.speaking, self.against) = (true, 0);
                Activity::Onset
            }
            (true, false) if self.against == HANGOVER => {
                (self.speaking, self.against) = (false, 0);
                Activity::End
            }
            (false, _) => Activity::Silence,
            (true, true) => Activity::Speech,
            (true, false) => Activity::Pause,
        }
    }

    /// Whether somebody speaks, pauses included.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Whether the last frame was voice.
    #[must_use]
    pub fn is_voiced(&self) -> bool {
        self.voiced
    }

    /// How much of the last frame came after its speech: a multiple of 5 ms.
    #[must_use]
    pub fn trailing(&self) -> Duration {
        QUARTER * u32::from(self.trailing)
    }

    fn trailing_quarters(&self, frame: &[i16]) -> u8 {
        let quarters = frame.rchunks((frame.len() / 4).max(1)).take(3);
        quarters.take_while(|quarter| !self.is_over_noise(energy(quarter))).count() as u8
    }

    fn exceeds_noise(&mut self, energy: u32) -> bool {
        if energy == 0 {
            // Digital silence says nothing about the line.
            return false;
        }
        let noise = self.noise.unwrap_or(energy).min(NOISE_MAX);
        // Down within a pause between syllables, up over seconds.
        let moved = if energy < noise { noise - (noise - energy).div_ceil(4) } else { noise + noise / 64 + 1 };
        self.noise = Some(moved.min(NOISE_MAX));
        self.is_over_noise(energy)
    }

    fn is_over_noise(&self, energy: u32) -> bool {
        energy >= AUDIBLE && energy >= self.noise.unwrap_or(0).saturating_mul(OVER_NOISE)
    }
}

/// Whether `samples` can be heard: −50 dBFS or more.
#[must_use]
pub fn is_audible(samples: &[i16]) -> bool {
    energy(samples) >= AUDIBLE
}

/// Mean square, of samples without their three lowest bits: so that it fits 32 bits.
fn energy(samples: &[i16]) -> u32 {
    const AT_ONCE: usize = 128;
    let square = |sample: &i16| (i32::from(*sample) >> 3).pow(2) as u32;
    let sum: u64 = samples.chunks(AT_ONCE).map(|part| u64::from(part.iter().map(square).sum::<u32>())).sum();
    (sum / samples.len().max(1) as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::pcm::SampleRate;
    use crate::base::random::Random;
    use crate::lab::speech::{Speech, Tone};

    fn noise(random: &mut Random, peak: u32, samples: usize) -> Vec<i16> {
        (0..samples).map(|_| (i32::from(random.u16()) - 32_768) * peak as i32 / 32_768).map(|s| s as i16).collect()
    }

    fn frames_until(gate: &mut VoiceActivity, wanted: Activity, mut frame: impl FnMut() -> Vec<i16>) -> usize {
        (1..=200).find(|_| gate.hear(&frame()) == wanted).unwrap_or_else(|| panic!("{wanted:?} within 4 s"))
    }

    #[test]
    fn speech_over_line_noise_begins_within_60_ms_and_ends_200_ms_after_its_last_frame() {
        for (rate, level) in [(SampleRate::Hz8000, 0), (SampleRate::Hz8000, 300), (SampleRate::Hz16000, 300)] {
            let (mut random, mut gate) = (Random::from_number(3), VoiceActivity::default());
            let samples = rate.samples(20);
            for _ in 0..100 {
                assert_eq!(gate.hear(&noise(&mut random, level, samples)), Activity::Silence, "{level}");
            }
            let mut tone = Tone::new(rate, 300.0, 8000);
            assert_eq!(frames_until(&mut gate, Activity::Onset, || tone.take(samples)), 3);
            let mut voice = Speech::new(rate, 1);
            for _ in 0..100 {
                assert!(matches!(gate.hear(&voice.take(samples)), Activity::Speech | Activity::Pause));
            }
            assert_eq!(gate.hear(&tone.take(samples)), Activity::Speech);
            assert_eq!(frames_until(&mut gate, Activity::End, || noise(&mut random, level, samples)), 10);
            assert!(!gate.is_speaking());
        }
    }

    #[test]
    fn the_end_of_speech_is_known_to_5_ms() {
        let mut gate = VoiceActivity::default();
        for spoken in [160, 120, 80, 40] {
            let frame: Vec<i16> = (0..160).map(|n| if n < spoken { 8000 } else { 0 }).collect();
            gate.hear(&frame);
            let quiet = (160 - spoken) / 40 * 5;
            assert_eq!(gate.trailing(), Duration::from_millis(quiet), "{spoken} samples of speech");
        }
    }

    #[test]
    fn a_click_is_no_onset() {
        let mut gate = VoiceActivity::default();
        for turn in 0..50 {
            let frame = if turn % 5 < 2 { [9000; 160] } else { [0; 160] };
            assert_eq!(gate.hear(&frame), Activity::Silence);
        }
    }

    #[test]
    fn steady_noise_up_to_minus_40_dbfs_becomes_the_floor_within_6_s() {
        let (mut random, mut gate) = (Random::from_number(5), VoiceActivity::default());
        for _ in 0..50 {
            gate.hear(&noise(&mut random, 20, 160));
        }
        let voiced = (0..300).filter(|_| gate.hear(&noise(&mut random, 560, 160)) != Activity::Silence).count();
        assert!(voiced < 300 && !gate.is_speaking(), "{voiced}");
    }

    #[test]
    fn the_loudest_samples_do_not_overflow() {
        assert_eq!(energy(&[i16::MIN; 480]), 4096 * 4096);
        assert_eq!((energy(&[]), is_audible(&[])), (0, false));
        assert!(is_audible(&[105; 160]) && !is_audible(&[95; 160]));
    }
}
