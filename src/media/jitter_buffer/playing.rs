//! Sound out: packets, what is left of them, and what fills the holes between them.

use std::time::Instant;

use super::queue::Held;
use super::{JitterBuffer, Player};
use crate::media::concealment;

impl JitterBuffer {
    /// Appends exactly 20 ms to `out`.
    pub fn pull(&mut self, now: Instant, player: &mut impl Player, out: &mut Vec<i16>) {
        self.watch_delay(now);
        if self.correct_delay(player, out) {
            return;
        }
        let end = self.position + self.frame;
        while self.position < end {
            if !self.leftover.is_empty() {
                self.play_leftover(end, out);
                continue;
            }
            match self.queue.front().map(|held| (held.position, held.sequence)) {
                Some((position, _)) if position <= self.position => self.play_packet(end, player, out),
                Some((position, sequence)) => {
                    self.expect_silence_before(sequence, player);
                    self.fill(position.min(end) - self.position, player, out);
                }
                None => self.fill(end - self.position, player, out),
            }
        }
    }

    fn play_leftover(&mut self, end: i64, out: &mut Vec<i16>) {
        let wanted = (end - self.position) as usize * self.samples_per_tick;
        let count = wanted.min(self.leftover.len());
        out.extend(self.leftover.drain(..count));
        self.position += (count / self.samples_per_tick) as i64;
    }

    /// Decodes the packet at the front, from the sample that is due; what is beyond `end` is left over.
    fn play_packet(&mut self, end: i64, player: &mut impl Player, out: &mut Vec<i16>) {
        let Some(held) = self.queue.pop() else { return };
        let passed = self.position - held.position;
        if passed >= held.ticks {
            self.counts.discarded += 1;
        } else {
            let start = out.len();
            self.decode(&held, player, out);
            let passed = passed as usize * self.samples_per_tick;
            if passed > 0 {
                out.drain(start..start + passed);
            }
            self.concealment.resume(&mut out[start..]);
            let due = ((end - self.position) as usize * self.samples_per_tick).min(out.len() - start);
            self.leftover.extend_from_slice(&out[start + due..]);
            self.concealment.heard(&out[start..]);
            out.truncate(start + due);
            self.position += (due / self.samples_per_tick) as i64;
        }
        self.queue.reuse(held);
    }

    /// Appends all samples of a packet.
    fn decode(&mut self, held: &Held, player: &mut impl Player, out: &mut Vec<i16>) {
        if self.hole.ticks > 0 {
            self.close_hole(held, player);
        }
        self.played = self.played.max(Some(held.sequence));
        self.decoder = held.decoder;
        let start = out.len();
        player.decode(held.decoder, &held.payload, out);
        out.resize(start + held.ticks as usize * self.samples_per_tick, 0);
    }

    /// Decodes packets before their time, as long as they follow without a hole, until `samples` are at hand.
    pub(super) fn decode_ahead(&mut self, samples: usize, player: &mut impl Player) {
        while self.leftover.len() < samples {
            let end = self.position + (self.leftover.len() / self.samples_per_tick) as i64;
            if self.queue.front().is_none_or(|held| held.position != end) {
                return;
            }
            let Some(held) = self.queue.pop() else { return };
            let mut leftover = std::mem::take(&mut self.leftover);
            let start = leftover.len();
            self.decode(&held, player, &mut leftover);
            self.concealment.resume(&mut leftover[start..]);
            self.concealment.heard(&leftover[start..]);
            self.leftover = leftover;
            self.queue.reuse(held);
        }
    }

    /// Audio again: what was filled for lost and late packets is counted, a pause of the sender is not.
    fn close_hole(&mut self, next: &Held, player: &impl Player) {
        let hole = std::mem::take(&mut self.hole);
        let missing = self.played.map_or(0, |played| player.missing_between(played, next.sequence));
        let lost = missing as i64 * next.ticks + hole.late;
        self.counts.concealed += hole.ticks.min(lost) as u64;
        if hole.ticks >= self.fade() {
            // From silence: at once where the sender has paused, gently where sound was cut off.
            if lost == 0 { self.concealment.close() } else { self.concealment.break_off() }
        }
    }

    /// The next packet is later and nothing is missing before it: the sender has paused (RTP-006).
    fn expect_silence_before(&mut self, sequence: u64, player: &impl Player) {
        let complete = self.played.is_some_and(|played| player.missing_between(played, sequence) == 0);
        if complete && self.hole.ticks == 0 {
            self.quiet_from = self.quiet_from.max(Some(sequence));
        }
    }

    /// Whether a hole is silence by now: nothing is missing as far as is known, or it is too long to be concealed.
    pub(super) fn is_silent(&self) -> bool {
        let quiet = self.quiet_from.is_some_and(|quiet| self.played.is_none_or(|played| quiet > played));
        quiet || self.hole.ticks >= self.fade()
    }

    fn fade(&self) -> i64 {
        concealment::FADE_MS as i64 * self.ticks_per_ms
    }

    /// Fills at most `ticks`, at least one; some more may be left over.
    fn fill(&mut self, ticks: i64, player: &mut impl Player, out: &mut Vec<i16>) {
        let Some(played) = self.played else {
            self.comfort.fill(ticks as usize * self.samples_per_tick, out);
            self.position += ticks;
            return;
        };
        let filled = if self.is_silent() {
            self.comfort.fill(ticks as usize * self.samples_per_tick, out);
            ticks
        } else {
            self.conceal(ticks, played, player, out)
        };
        self.hole.ticks += filled;
        self.position += filled;
    }

    /// Fills up to `ticks` for a packet that is missing: by what the next one carries of it, by the codec's own
    /// concealment, or by ours. How much.
    fn conceal(&mut self, ticks: i64, played: u64, player: &mut impl Player, out: &mut Vec<i16>) -> i64 {
        let (start, mut ticks) = (out.len(), ticks);
        if let Some(next) = self.queue.front() {
            let before = next.position - next.ticks - self.position;
            let samples = next.ticks as usize * self.samples_per_tick;
            let lost = before >= 0 && before < ticks && player.missing_between(played, next.sequence) > 0;
            if lost && before == 0 && player.recover(next.decoder, &next.payload, samples, out) {
                self.concealment.heard(&out[start..]);
                let due = ticks as usize * self.samples_per_tick;
                self.leftover.extend(out.drain(start + due..));
                self.hole.ticks += next.ticks - ticks;
                return ticks;
            }
            ticks = if lost && before > 0 { before } else { ticks };
        }
        let samples = ticks as usize * self.samples_per_tick;
        if player.conceal(self.decoder, samples, out) {
            self.fade_out(&mut out[start..]);
            self.concealment.heard(&out[start..]);
        } else {
            self.concealment.fill(samples, out);
        }
        ticks
    }

    /// A codec's own concealment is heard as long as ours: its last third falls to silence.
    fn fade_out(&self, audio: &mut [i16]) {
        let fade = self.fade() * self.samples_per_tick as i64;
        let from = self.hole.ticks * self.samples_per_tick as i64;
        for (n, sample) in audio.iter_mut().enumerate() {
            let left = (fade - from - n as i64).max(0);
            if left < fade / 3 {
                *sample = (i64::from(*sample) * left * 3 / fade) as i16;
            }
        }
    }
}
