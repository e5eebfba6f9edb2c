//! The caller's audio, cut into chunks of `media_chunk_ms`.

use std::time::Duration;

use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch;

/// One chunk, ready for a media message.
pub(super) struct Chunk<'a> {
    /// From 1, +1 each.
    pub number: u64,
    /// Whole milliseconds from the stream's start to the first sample; counts samples.
    pub timestamp_ms: u64,
    /// PCM16LE mono.
    pub pcm: &'a [u8],
}

/// Gathers samples until a chunk is full.
pub(super) struct Chunker {
    rate: SampleRate,
    /// Bytes of a full chunk.
    full: usize,
    pcm: Vec<u8>,
    number: u64,
    /// Samples from the stream's start to the first of `pcm`.
    position: u64,
    /// Samples skipped while `pcm` was half full; they lie behind it.
    skipped: u64,
}

impl Chunker {
    /// Chunks of `chunk_ms` milliseconds, at least 1.
    pub(super) fn new(rate: SampleRate, chunk_ms: u32) -> Self {
        let full = rate.samples(chunk_ms.max(1)) * 2;
        Self { rate, full, pcm: Vec::with_capacity(full), number: 1, position: 0, skipped: 0 }
    }

    /// Reads ahead what [`Self::fill`] needs.
    pub(super) fn prefetch(&self) {
        touch((self.pcm.last().copied(), self.position));
    }

    /// Takes samples off the front of `pcm`; true when a chunk is complete, to be sent and then passed by [`Self::advance`].
    pub(super) fn fill(&mut self, pcm: &mut &[i16]) -> bool {
        let room = (self.full - self.pcm.len()) / 2;
        let (taken, rest) = pcm.split_at(room.min(pcm.len()));
        let old = self.pcm.len();
        self.pcm.resize(old + taken.len() * 2, 0);
        for (bytes, sample) in self.pcm[old..].chunks_exact_mut(2).zip(taken) {
            bytes.copy_from_slice(&sample.to_le_bytes());
        }
        *pcm = rest;
        self.pcm.len() == self.full
    }

    /// What the chunk under way still lacks.
    pub(super) fn lacks(&self) -> Duration {
        let samples = (self.full - self.pcm.len()) as u64 / 2;
        Duration::from_nanos(samples * 1_000_000_000 / u64::from(self.rate.hz()))
    }

    /// What has been gathered; `None` when that is nothing.
    pub(super) fn chunk(&self) -> Option<Chunk<'_>> {
        let timestamp_ms = self.rate.ms(self.position);
        (!self.pcm.is_empty()).then_some(Chunk { number: self.number, timestamp_ms, pcm: &self.pcm })
    }

    /// Begins the next chunk.
    pub(super) fn advance(&mut self) {
        self.number += 1;
        self.position += self.pcm.len() as u64 / 2 + self.skipped;
        self.skipped = 0;
        self.pcm.clear();
    }

    /// `ms` of the caller's time were skipped because the bridge stood still. A half-full chunk keeps its timestamp and is
    /// filled up with what follows; the next one jumps.
    pub(super) fn skip(&mut self, ms: u32) {
        let samples = self.rate.samples(1) as u64 * u64::from(ms);
        if self.pcm.is_empty() {
            self.position += samples;
        } else {
            self.skipped += samples;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunker: &mut Chunker, mut pcm: &[i16]) -> Vec<(u64, u64, usize)> {
        let mut chunks = Vec::new();
        while chunker.fill(&mut pcm) {
            chunks.extend(chunker.chunk().map(|chunk| (chunk.number, chunk.timestamp_ms, chunk.pcm.len())));
            chunker.advance();
        }
        chunks
    }

    #[test]
    fn chunks_are_exact_whatever_comes_in() {
        let mut chunker = Chunker::new(SampleRate::Hz8000, 100);
        assert_eq!(cut(&mut chunker, &[1; 799]), []);
        assert_eq!(cut(&mut chunker, &[1; 1]), [(1, 0, 1600)]);
        assert_eq!(cut(&mut chunker, &[1; 1700]), [(2, 100, 1600), (3, 200, 1600)]);
        assert_eq!(
            chunker.chunk().map(|chunk| (chunk.number, chunk.timestamp_ms, chunk.pcm.len())),
            Some((4, 300, 200))
        );
    }

    #[test]
    fn samples_are_little_endian() {
        let mut chunker = Chunker::new(SampleRate::Hz8000, 1);
        cut(&mut chunker, &[0x0102, -2]);
        assert_eq!(chunker.chunk().map(|chunk| chunk.pcm.to_vec()), Some(vec![2, 1, 0xfe, 0xff]));
    }

    #[test]
    fn a_stall_moves_the_next_timestamp_and_never_a_chunk_s_length() {
        let mut chunker = Chunker::new(SampleRate::Hz16000, 20);
        chunker.skip(5);
        assert_eq!(cut(&mut chunker, &[0; 480]), [(1, 5, 640)]);
        chunker.skip(300);
        assert_eq!(cut(&mut chunker, &[0; 480]), [(2, 25, 640), (3, 345, 640)]);
    }
}
