//! What is heard in place of a packet that did not come: the last frame again, fading to silence in 60 ms (RTP-021).

use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch_slice;

/// How much of the past is repeated.
const FRAME_MS: u32 = 20;
/// After this there is silence.
const FADE_MS: u32 = 60;

/// The end of what was heard, and how much of the hole after it has been filled.
#[derive(Debug)]
pub struct Concealment {
    /// The last samples heard, at most one frame.
    last: Vec<i16>,
    frame: usize,
    fade: usize,
    /// Samples since the hole began.
    filled: usize,
}

impl Concealment {
    /// For audio of `rate`. Allocates all it will ever need.
    #[must_use]
    pub fn new(rate: SampleRate) -> Self {
        let frame = rate.samples(FRAME_MS);
        Self { last: Vec::with_capacity(frame), frame, fade: rate.samples(FADE_MS), filled: 0 }
    }

    /// Reads ahead what [`Self::heard`] needs.
    pub fn prefetch(&self) {
        touch_slice(&self.last, self.frame);
    }

    /// `audio` was heard: a hole has ended, or none is open.
    pub fn heard(&mut self, audio: &[i16]) {
        let tail = &audio[audio.len().saturating_sub(self.frame)..];
        let kept = (self.frame - tail.len()).min(self.last.len());
        self.last.drain(..self.last.len() - kept);
        self.last.extend_from_slice(tail);
        self.filled = 0;
    }

    /// Forgets the past: what follows is silence until audio is heard.
    pub fn forget(&mut self) {
        self.last.clear();
        self.filled = 0;
    }

    /// Appends `samples` samples to `out` in place of audio that did not come.
    pub fn fill(&mut self, samples: usize, out: &mut Vec<i16>) {
        let faded = if self.last.is_empty() { 0 } else { samples.min(self.fade.saturating_sub(self.filled)) };
        out.extend((self.filled..self.filled + faded).map(|position| {
            let sample = i32::from(self.last[position % self.last.len()]);
            (sample * (self.fade - position) as i32 / self.fade as i32) as i16
        }));
        out.resize(out.len() + samples - faded, 0);
        self.filled = self.filled.saturating_add(samples);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_021_the_last_frame_fades_out_in_60_ms_then_silence() {
        let mut concealment = Concealment::new(SampleRate::Hz8000);
        concealment.heard(&[1000; 40]);
        concealment.heard(&[6000; 160]);
        let mut out = Vec::new();
        for _ in 0..5 {
            concealment.fill(160, &mut out);
        }
        assert_eq!(out.len(), 800);
        assert_eq!((out[0], out[240], out[479]), (6000, 3000, 12));
        assert!(out[..480].windows(2).all(|pair| pair[0] >= pair[1]), "never louder again");
        assert!(out[480..].iter().all(|sample| *sample == 0));
    }

    #[test]
    fn rtp_021_with_no_past_there_is_silence_and_short_packets_make_up_a_frame() {
        let mut concealment = Concealment::new(SampleRate::Hz8000);
        let mut out = Vec::new();
        concealment.fill(160, &mut out);
        assert_eq!(out, [0; 160]);
        for value in 1..=6 {
            concealment.heard(&[value * 1000; 40]);
        }
        out.clear();
        concealment.fill(160, &mut out);
        assert_eq!(out[0], 3000, "the last 20 ms began with the third packet");
    }
}
