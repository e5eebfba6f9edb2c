//! Changes of the delay while sound is being played: frame by frame, or all that is too much at once.

use std::time::Instant;

use super::{JitterBuffer, Player, UNHEARD, splice};

impl JitterBuffer {
    /// Gets rid of delay that has gathered while nobody listened or nothing came.
    pub(super) fn watch_delay(&mut self, now: Instant) {
        let paused = self.last_pull.is_some_and(|last| now.saturating_duration_since(last) > UNHEARD);
        self.last_pull = Some(now);
        self.own_stall = self.own_stall.saturating_sub(1);
        self.delay.tick();
        self.settle(now);
        let due = self.queue.front().is_some_and(|held| held.position <= self.position);
        let begins = self.fresh > 0 && due;
        if due {
            // As long as a burst comes in, what it brings is not played late.
            self.fresh = if self.in_burst { self.fresh.saturating_sub(1) } else { 0 };
            self.fastest = None;
        }
        if (paused || (begins && self.outage)) && self.backlog() > self.delay.target() + self.frame {
            self.drop_backlog(self.backlog() - self.delay.target());
        }
    }

    /// Nothing of the time line has been played, so that moving it costs nothing: it is to begin when its fastest packet has
    /// waited for the delay that is aimed at. The first may have been slow, and the clock of pulls may have moved since.
    fn settle(&mut self, now: Instant) {
        let (Some((at, fastest)), Some(front)) = (self.fastest, self.queue.front()) else { return };
        let Some(waited) = now.checked_duration_since(at) else {
            // A pull that our clock catches up with: it was due before the packet had come.
            return self.shift(self.frame);
        };
        let slack = fastest - self.position + self.ticks(waited);
        let off = slack - self.delay.target();
        let frames = (off.abs() + self.frame / 2 - 1) / self.frame * off.signum();
        let by = frames.min((front.position - self.position).max(0) / self.frame) * self.frame;
        self.shift(-by);
        // What was seen of the delay was against the clock as it was.
        self.delay.restart();
        self.delay.observe(slack - by, 0, false);
    }

    /// Brings the delay nearer to what it should be by a frame, where that is heard least. Whether it has appended one.
    pub(super) fn correct_delay(&mut self, player: &mut impl Player, out: &mut Vec<i16>) -> bool {
        let (spare, lacking) = (self.delay.has_spare(), self.delay.lacking() > 0);
        if !spare && !lacking {
            self.moment.reset();
        } else if self.hole.ticks > 0 {
            if self.leftover.is_empty() {
                self.correct_in_hole(spare);
            }
        } else if spare {
            self.remove_frame(player);
        } else if self.leftover.is_empty() && self.queue.front().is_some_and(|held| held.position <= self.position) {
            return self.insert_frame(out);
        }
        false
    }

    /// What is filled becomes longer, or, where it is silence, shorter.
    fn correct_in_hole(&mut self, spare: bool) {
        let silent = self.is_silent();
        let next = self.queue.front().map_or(i64::MAX, |held| held.position);
        if !spare {
            self.shift(self.frame);
            self.hole.late += if silent { 0 } else { self.frame };
        } else if silent && next >= self.position + self.frame {
            self.shift(-self.frame);
        }
    }

    fn remove_frame(&mut self, player: &mut impl Player) {
        let samples = self.frame as usize * self.samples_per_tick;
        self.decode_ahead(2 * samples, player);
        let Some(frames) = self.leftover.get_mut(..2 * samples) else { return };
        // Both are to be quiet: a word that begins in the second is to begin as it was spoken.
        let level = splice::level(&frames[..samples]).max(splice::level(&frames[samples..]));
        if self.moment.may_remove(level, self.delay.is_excessive(), || splice::repeats(frames)) {
            splice::overlap(frames);
            self.leftover.drain(..samples);
            self.shift(-self.frame);
            self.counts.removed += 1;
        }
    }

    fn insert_frame(&mut self, out: &mut Vec<i16>) -> bool {
        let come = self.moment.may_insert(self.concealment.level());
        if come {
            self.concealment.fill(self.frame as usize * self.samples_per_tick, out);
            self.shift(self.frame);
            self.position += self.frame;
            self.counts.inserted += 1;
        }
        come
    }

    /// All that is held, and all that comes, is played `by` ticks later.
    pub(super) fn shift(&mut self, by: i64) {
        self.queue.shift(by);
        self.delay.shift(by);
        if let Some((_, position)) = &mut self.anchor {
            *position += by;
        }
        if let Some((_, position)) = &mut self.fastest {
            *position += by;
        }
        if let Some((_, end)) = &mut self.newest {
            *end += by;
        }
    }

    /// From what is played next to the start of the newest packet, in ticks.
    pub(super) fn backlog(&self) -> i64 {
        self.queue.back().map_or(0, |newest| newest.position - self.position)
    }

    /// Moves what is held forward by the whole frames of `excess`; what has its time in the past then is dropped.
    pub(super) fn drop_backlog(&mut self, excess: i64) {
        let by = excess.max(0) / self.frame * self.frame;
        self.shift(-by);
        self.leftover.clear();
        self.concealment.break_off();
        self.hole.late += if self.hole.ticks > 0 { by } else { 0 };
        self.drop_passed();
    }

    pub(super) fn drop_passed(&mut self) {
        while self.queue.front().is_some_and(|held| held.end() <= self.position) {
            self.drop_front();
        }
    }

    pub(super) fn drop_front(&mut self) {
        self.counts.discarded += u64::from(self.queue.drop_front());
    }
}
