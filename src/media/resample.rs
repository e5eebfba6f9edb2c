//! Sample rates, one to another. The home of `rubato`.
//!
//! `Fft` over 10 ms in two blocks: 2.5 ms of delay, −0.26 dB at 3.4 kHz, images below −140 dB.

use rubato::audioadapter_buffers::direct::SequentialSlice;
use rubato::{Fft, FixedSync, Resampler as _, WindowFunction};

use crate::base::pcm::SampleRate;

/// What is converted at a time.
const CHUNK_MS: u32 = 10;
const SUB_CHUNKS: usize = 2;

/// Converts a stream of samples from one rate to another. Its state runs on from call to call.
pub struct Resampler {
    fft: Box<Fft<f32>>,
    input: Vec<f32>,
    output: Vec<f32>,
    /// Samples that wait for the rest of their chunk.
    waiting: usize,
}

impl Resampler {
    /// From `from` to `to`; `None` where they are equal and nothing is to be done.
    #[must_use]
    pub fn new(from: SampleRate, to: SampleRate) -> Option<Self> {
        if from == to {
            return None;
        }
        let (hz_in, hz_out) = (from.hz() as usize, to.hz() as usize);
        let (chunk_in, chunk_out) = (from.samples(CHUNK_MS), to.samples(CHUNK_MS));
        let fft = Fft::new_custom(hz_in, hz_out, chunk_in, SUB_CHUNKS, 1, WindowFunction::Hann, FixedSync::Input)
            .expect("rates are of SampleRate and the chunk is not empty");
        Some(Self { fft: Box::new(fft), input: vec![0.0; chunk_in], output: vec![0.0; chunk_out], waiting: 0 })
    }

    /// Converts `audio` and appends the result to `out`. For every whole 10 ms in, 10 ms come out; a rest waits for the
    /// next call. Saturates.
    pub fn process(&mut self, audio: &[i16], out: &mut Vec<i16>) {
        for sample in audio {
            self.input[self.waiting] = f32::from(*sample);
            self.waiting += 1;
            if self.waiting == self.input.len() {
                self.waiting = 0;
                self.chunk(out);
            }
        }
    }

    fn chunk(&mut self, out: &mut Vec<i16>) {
        let (frames_in, frames_out) = (self.input.len(), self.output.len());
        let input = SequentialSlice::new(&self.input[..], 1, frames_in).expect("one channel of its own length");
        let mut output =
            SequentialSlice::new_mut(&mut self.output[..], 1, frames_out).expect("one channel of its own length");
        self.fft.process_into_buffer(&input, &mut output, None).expect("a whole chunk in, room for a whole chunk out");
        // A float is cast to an integer with saturation.
        out.extend(self.output.iter().map(|sample| sample.round() as i16));
    }

    /// Forgets what it has heard: the tail of a cleared message is not played.
    pub fn reset(&mut self) {
        self.fft.reset();
        self.waiting = 0;
    }
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resampler({} in, {} out)", self.input.len(), self.output.len())
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn sine(rate: SampleRate, hz: f64, peak: f64, ms: u32) -> Vec<i16> {
        let step = TAU * hz / f64::from(rate.hz());
        (0..rate.samples(ms)).map(|n| (peak * (step * n as f64).sin()) as i16).collect()
    }

    fn rms(audio: &[i16]) -> f64 {
        (audio.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / audio.len() as f64).sqrt()
    }

    const PAIRS: [(SampleRate, SampleRate); 6] = [
        (SampleRate::Hz8000, SampleRate::Hz16000),
        (SampleRate::Hz8000, SampleRate::Hz24000),
        (SampleRate::Hz8000, SampleRate::Hz48000),
        (SampleRate::Hz16000, SampleRate::Hz8000),
        (SampleRate::Hz24000, SampleRate::Hz8000),
        (SampleRate::Hz16000, SampleRate::Hz24000),
    ];

    #[test]
    fn equal_rates_need_no_resampler() {
        assert!(Resampler::new(SampleRate::Hz8000, SampleRate::Hz8000).is_none());
    }

    #[test]
    fn a_sine_keeps_its_level_and_has_no_click_whatever_the_pieces() {
        for (from, to) in PAIRS {
            for piece_ms in [10, 20, 30] {
                let mut resampler = Resampler::new(from, to).expect("two rates");
                let (input, mut output) = (sine(from, 1004.0, 10_000.0, 600), Vec::new());
                for piece in input.chunks(from.samples(piece_ms)) {
                    let before = output.len();
                    resampler.process(piece, &mut output);
                    assert_eq!(output.len() - before, to.samples(piece_ms));
                }
                let steady = &output[to.samples(20)..];
                let level = 20.0 * (rms(steady) / (10_000.0 / 2_f64.sqrt())).log10();
                assert!(level.abs() < 0.1, "{from:?} to {to:?}: {level} dB");
                let slope = 10_000.0 * TAU * 1004.0 / f64::from(to.hz()) + 4.0;
                let steepest = steady.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max();
                assert!(f64::from(steepest.unwrap_or(0)) <= slope, "{from:?} to {to:?}: a step of {steepest:?}");
            }
        }
    }

    #[test]
    fn telephone_band_passes_and_delay_is_under_5_ms() {
        for (from, to) in PAIRS {
            let mut resampler = Resampler::new(from, to).expect("two rates");
            let mut output = Vec::new();
            resampler.process(&sine(from, 3400.0, 10_000.0, 400), &mut output);
            let level = 20.0 * (rms(&output[to.samples(20)..]) / (10_000.0 / 2_f64.sqrt())).log10();
            assert!(level.abs() < 0.5, "{from:?} to {to:?}: {level} dB at 3400 Hz");
            let first = output.iter().position(|sample| sample.abs() > 5000).expect("sound");
            assert!(first < to.samples(5), "{from:?} to {to:?}: sound after {first} samples");
        }
    }

    #[test]
    fn full_scale_saturates_and_odd_pieces_lose_nothing() {
        let mut resampler = Resampler::new(SampleRate::Hz8000, SampleRate::Hz16000).expect("two rates");
        let square: Vec<i16> = (0..8000).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let mut output = Vec::new();
        for piece in square.chunks(37) {
            resampler.process(piece, &mut output);
        }
        assert_eq!(output.len(), 16_000);
        assert!(output.contains(&i16::MAX) && output.contains(&i16::MIN));
    }

    #[test]
    fn a_reset_drops_the_tail() {
        let mut resampler = Resampler::new(SampleRate::Hz16000, SampleRate::Hz8000).expect("two rates");
        let mut output = Vec::new();
        resampler.process(&sine(SampleRate::Hz16000, 1000.0, 20_000.0, 20), &mut output);
        resampler.reset();
        output.clear();
        resampler.process(&[0; 320], &mut output);
        assert!(output.iter().all(|sample| *sample == 0));
    }
}
