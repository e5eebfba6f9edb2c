//! When the caller's audio is taken: several frames together where they would otherwise wait in a chunk for the bot.
//!
//! A packet that has come is the kernel's until somebody needs it. For a bot that gets 100 ms at a time nobody needs it
//! before the chunk is full, so five packets are read at once and five frames are taken at once, each at its own time:
//! the audio, its delay and all that is measured are the same, and a call's memory is fetched once instead of five times.

use std::time::{Duration, Instant};

use crate::call::FRAME;
use crate::call::pacing::Pace;

/// Frames that are taken together at most.
const TOGETHER_MAX: u32 = 5;
/// After a digit every frame is taken at its time for this long: more digits may follow, and each is told at once (RTP-061).
const ATTENTION: Duration = Duration::from_secs(1);

/// What is to be read from a call's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Packets that are to be expected.
    pub packets: u32,
    /// Everything that waits is wanted: arrivals are being learned, or the process has stood still (RTP-030).
    pub everything: bool,
    /// Audio is to be taken afterwards.
    pub due: bool,
}

/// The times at which frames of 20 ms are taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intake {
    pace: Pace,
    /// Frames that are taken together.
    together: u32,
    /// When they are.
    due: Instant,
    attentive_until: Option<Instant>,
}

impl Intake {
    /// The first frame is due at `first`.
    pub fn new(first: Instant) -> Self {
        Self { pace: Pace::new(first, FRAME), together: 1, due: first, attentive_until: None }
    }

    /// When audio is to be taken.
    pub fn due(&self) -> Instant {
        self.due
    }

    /// When the next frame ends.
    pub fn next_frame(&self) -> Instant {
        self.pace.next()
    }

    /// The next frame ends at `next`, and those after it follow that.
    pub fn set_next_frame(&mut self, next: Instant) {
        self.pace.set_next(next);
        self.due = next + FRAME * (self.together - 1);
    }

    /// Frames that a process that stood still does not take: what is over the usual number and [`Pace::MAX_CAUGHT_UP`]. How
    /// many, where there are any, and when the last of them ended. Before the socket is read: what waits there finds the
    /// clock where it is.
    pub fn skip(&mut self, now: Instant) -> Option<(u32, Instant)> {
        let frames = self.pace.skip(now, self.together - 1 + Pace::MAX_CAUGHT_UP);
        (frames > 0).then(|| (frames, self.pace.next().checked_sub(FRAME).unwrap_or(now)))
    }

    /// The socket is about to be read.
    pub fn begin_reading(&self, now: Instant, settling: bool) -> Reading {
        let behind = now.saturating_duration_since(self.due);
        Reading { packets: self.together, everything: settling || behind >= FRAME, due: self.due <= now }
    }

    /// Takes one frame that ended before `arrived`, so that packets and frames keep their order.
    pub fn take_before(&mut self, arrived: Instant) -> Option<Instant> {
        let at = self.pace.next();
        let takes = self.together > 1 && at < arrived;
        takes.then(|| {
            self.pace.take(at, 1);
            at
        })
    }

    /// Takes the next frame if it is due, and says when it ended.
    pub fn take(&mut self, now: Instant) -> Option<Instant> {
        let at = self.pace.next();
        (at <= now).then(|| {
            self.pace.take(at, 1);
            at
        })
    }

    /// A digit is being sent, or the like: every frame counts by itself for a while.
    pub fn attend(&mut self, now: Instant) {
        self.attentive_until = Some(now + ATTENTION);
    }

    /// Audio was taken: when it is taken next. `lacking` is what a chunk for the bot still lacks, where one is filled.
    pub fn gather(&mut self, now: Instant, lacking: Option<Duration>) {
        let lacking = lacking.filter(|_| self.attentive_until.is_none_or(|until| until <= now));
        let frames = lacking.map_or(1, |lacking| lacking.as_micros().div_ceil(FRAME.as_micros()));
        self.together = u32::try_from(frames).unwrap_or(TOGETHER_MAX).clamp(1, TOGETHER_MAX);
        self.due = self.pace.next() + FRAME * (self.together - 1);
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    const CHUNK: Option<Duration> = Some(Duration::from_millis(100));

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn taken(intake: &mut Intake, now: Instant) -> Vec<Instant> {
        std::iter::from_fn(|| intake.take(now)).collect()
    }

    #[test]
    fn frames_of_a_chunk_are_taken_together_each_at_its_own_time() {
        let start = Instant::now();
        let mut intake = Intake::new(at(start, 20));
        assert_eq!(intake.due(), at(start, 20));
        intake.gather(at(start, 0), CHUNK);
        assert_eq!(intake.due(), at(start, 100));
        let reading = intake.begin_reading(at(start, 100), false);
        assert_eq!(reading, Reading { packets: 5, everything: false, due: true });
        assert_eq!(intake.take_before(at(start, 15)), None, "the first packet came before the first frame ended");
        assert_eq!(intake.take_before(at(start, 35)), Some(at(start, 20)));
        assert_eq!(intake.take_before(at(start, 35)), None);
        assert_eq!(taken(&mut intake, at(start, 100)), [40, 60, 80, 100].map(|ms| at(start, ms)));
        assert_eq!(intake.next_frame(), at(start, 120));
    }

    #[test]
    fn a_chunk_of_any_length_is_waited_for_but_no_longer_than_100_ms() {
        let start = Instant::now();
        let mut intake = Intake::new(at(start, 20));
        for (lacking_ms, due_ms) in [(20, 20), (21, 40), (90, 100), (100, 100), (1000, 100), (0, 20)] {
            intake.gather(start, Some(Duration::from_millis(lacking_ms)));
            assert_eq!(intake.due(), at(start, due_ms), "{lacking_ms} ms are lacking");
        }
        intake.gather(start, None);
        assert_eq!(intake.due(), at(start, 20), "without a bot every frame counts by itself");
    }

    #[test]
    fn rtp_061_while_digits_come_each_frame_is_taken_at_its_time() {
        let start = Instant::now();
        let mut intake = Intake::new(at(start, 20));
        intake.attend(start);
        intake.gather(at(start, 999), CHUNK);
        assert_eq!(intake.due(), at(start, 20));
        intake.gather(at(start, 1000), CHUNK);
        assert_eq!(intake.due(), at(start, 100));
    }

    #[test]
    fn rtp_024_a_stall_skips_what_is_over_the_usual_number_and_120_ms() {
        let start = Instant::now();
        let mut intake = Intake::new(at(start, 20));
        intake.gather(start, CHUNK);
        assert_eq!(intake.skip(at(start, 219)), None, "late by less than a stall");
        assert_eq!(intake.begin_reading(at(start, 219), false), Reading { packets: 5, everything: true, due: true });
        assert_eq!(intake.take_before(at(start, 30)), Some(at(start, 20)));
        let mut intake = Intake::new(at(start, 20));
        intake.gather(start, CHUNK);
        assert_eq!(intake.skip(at(start, 600)), Some((20, at(start, 400))));
        assert_eq!(intake.skip(at(start, 600)), None, "once");
        assert_eq!(intake.take_before(at(start, 405)), None, "came in the time that is skipped");
        assert_eq!(intake.take_before(at(start, 430)), Some(at(start, 420)));
        assert_eq!(taken(&mut intake, at(start, 600)).len(), 9);
    }
}
