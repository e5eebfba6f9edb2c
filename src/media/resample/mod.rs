//! Sample rates, one to another.
//!
//! Between rates of which one is twice or three times the other, which is all that telephony and most bots need, `Nyquist`
//! costs a fifth of what a transform does. `Block`, on `rubato`, is for the rest.

mod block;
mod nyquist;

use block::Block;
use nyquist::Nyquist;

use crate::base::pcm::SampleRate;

/// What is converted at a time.
const CHUNK_MS: u32 = 10;

/// Converts a stream of samples from one rate to another. Its state runs on from call to call.
pub struct Resampler {
    converter: Converter,
    /// Samples in a chunk.
    chunk: usize,
    /// Samples that wait for the rest of their chunk.
    waiting: Vec<i16>,
}

enum Converter {
    Nyquist(Nyquist),
    Block(Box<Block>),
}

impl Resampler {
    /// From `from` to `to`; `None` where they are equal and nothing is to be done.
    #[must_use]
    pub fn new(from: SampleRate, to: SampleRate) -> Option<Self> {
        if from == to {
            return None;
        }
        let converter = match Nyquist::new(from, to) {
            Some(nyquist) => Converter::Nyquist(nyquist),
            None => Converter::Block(Box::new(Block::new(from, to))),
        };
        let chunk = from.samples(CHUNK_MS);
        Some(Self { converter, chunk, waiting: Vec::with_capacity(chunk) })
    }

    /// Converts `audio` and appends the result to `out`. For every whole 10 ms in, 10 ms come out; a rest waits for the
    /// next call. Saturates.
    pub fn process(&mut self, mut audio: &[i16], out: &mut Vec<i16>) {
        if !self.waiting.is_empty() {
            let (now, later) = audio.split_at(audio.len().min(self.chunk - self.waiting.len()));
            self.waiting.extend_from_slice(now);
            audio = later;
            if self.waiting.len() < self.chunk {
                return;
            }
            self.converter.chunk(&self.waiting, out);
            self.waiting.clear();
        }
        let chunks = audio.chunks_exact(self.chunk);
        self.waiting.extend_from_slice(chunks.remainder());
        chunks.for_each(|chunk| self.converter.chunk(chunk, out));
    }

    /// Forgets what it has heard: the tail of a cleared message is not played.
    pub fn reset(&mut self) {
        self.waiting.clear();
        match &mut self.converter {
            Converter::Nyquist(nyquist) => nyquist.reset(),
            Converter::Block(block) => block.reset(),
        }
    }
}

impl Converter {
    /// Converts one whole chunk.
    fn chunk(&mut self, audio: &[i16], out: &mut Vec<i16>) {
        match self {
            Self::Nyquist(nyquist) => nyquist.chunk(audio, out),
            Self::Block(block) => block.chunk(audio, out),
        }
    }
}

/// The nearest sample, saturated. Adding 1.5 * 2^23 leaves the integer in the low bits of a float; `f32::round` would be a
/// call for each sample.
fn sample(value: f32) -> i16 {
    const INTEGER: f32 = 12_582_912.0;
    (value.clamp(-32_768.0, 32_767.0) + INTEGER).to_bits() as i16
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resampler({} samples at a time)", self.chunk)
    }
}

#[cfg(test)]
mod tests;
