//! When a call's packets are due: absolute deadlines, never drifting, never hoarding a backlog (RTP-030).

use std::time::{Duration, Instant};

use crate::call::CLOCK_STEP;

/// What one direction carries a step: 20 ms towards the bot, the packet time towards the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    next: Instant,
    step: Duration,
}

/// How late packets left: in steps of a quarter of a millisecond, so that it costs no allocation (RTP-044).
#[derive(Debug, Clone)]
pub struct Lateness {
    buckets: [u32; Self::BUCKETS],
    count: u32,
    max: Duration,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { buckets: [0; Self::BUCKETS], count: 0, max: Duration::ZERO }
    }
}

impl Lateness {
    const BUCKETS: usize = 64;
    const WIDTH: Duration = Duration::from_micros(250);

    /// A packet left this long after its deadline.
    pub fn note(&mut self, late: Duration) {
        let bucket = (late.as_micros() / Self::WIDTH.as_micros()) as usize;
        self.buckets[bucket.min(Self::BUCKETS - 1)] += 1;
        self.count += 1;
        self.max = self.max.max(late);
    }

    /// The worst.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// What 99 of 100 packets stayed below, at most 0.25 ms too high; the worst where that is beyond 16 ms.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let wanted = u64::from(self.count) * 99 / 100;
        let mut seen = 0;
        let below = self.buckets[..Self::BUCKETS - 1].iter().position(|count| {
            seen += u64::from(*count);
            seen > wanted || seen == u64::from(self.count)
        });
        below.map_or(self.max, |bucket| (Self::WIDTH * (bucket as u32 + 1)).min(self.max))
    }
}

/// How many steps to take now, and how many to skip because the process stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Due {
    /// Steps to take.
    pub take: u32,
    /// Steps whose time is gone.
    pub skip: u32,
}

impl Pace {
    /// At most this many packets leave back to back after a late wake (RTP-030).
    pub const MAX_BACK_TO_BACK: u32 = 3;
    /// So many frames of the caller's audio are taken at once: they wait at the socket, and nobody hears that they come
    /// together. As much as the jitter buffer keeps by default.
    pub const MAX_CAUGHT_UP: u32 = 6;

    /// A pace whose first deadline is `first`.
    #[must_use]
    pub fn new(first: Instant, step: Duration) -> Self {
        Self { next: first, step }
    }

    /// The next deadline.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.next
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> Duration {
        self.step
    }

    /// Changes the step from the next deadline on.
    pub fn set_step(&mut self, step: Duration) {
        self.step = step;
    }

    /// Moves the next deadline, and with it those that follow.
    pub fn set_next(&mut self, next: Instant) {
        self.next = next;
    }

    /// Takes every step that is due at `now` and sets the next deadline beyond it. For what is sent.
    pub fn advance(&mut self, now: Instant) -> Due {
        self.take(now, Self::MAX_BACK_TO_BACK)
    }

    /// As [`Self::advance`] for what is received: the process stood still, the caller did not.
    pub fn catch_up(&mut self, now: Instant) -> Due {
        self.take(now, Self::MAX_CAUGHT_UP)
    }

    /// The deadlines of the steps that were just taken: those before the next.
    pub fn taken(&self, due: Due) -> impl Iterator<Item = Instant> + use<> {
        let Self { next, step } = *self;
        (1..=due.take).rev().map(move |back| next.checked_sub(step * back).unwrap_or(next))
    }

    /// Skips the steps that are due at `now` but for the latest `most`. How many.
    pub fn skip(&mut self, now: Instant, most: u32) -> u32 {
        let Due { skip, .. } = Self { ..*self }.take(now, most);
        self.next += self.step * skip;
        skip
    }

    /// Takes the steps that are due at `now`, the latest `most` of them, and sets the next deadline beyond it.
    pub fn take(&mut self, now: Instant, most: u32) -> Due {
        let mut due = 0;
        while self.next <= now {
            self.next += self.step;
            due += 1;
        }
        let take = due.min(most);
        Due { take, skip: due - take }
    }
}

/// The media clock's grid as a call sees it, and how the call finds its place on it.
///
/// Sending keeps the place it got at the answer. Taking caller audio moves with the first packet, before any of it has gone
/// to the bot, to the grid point on which that has just arrived, so that packets wait for at most one tick. It moves once
/// more, later or earlier, where those after it show that the first was out of line. Both together are at most a frame,
/// so that the bot's stream is never further behind its clock (RTP-007).
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    epoch: Instant,
    /// Ticks that the pace is later than at first.
    moved: usize,
    arrivals: [u8; 4],
    settled: bool,
}

impl Grid {
    /// Arrivals looked at before the place is kept.
    const ARRIVALS: u8 = 10;
    /// Of them so many, the first among them, come on the place or the tick before it where it is a good one.
    const IN_LINE: u8 = 3;
    /// Ticks that a pace is later in the end at most: a frame.
    const LATEST: usize = 4;

    /// A grid with its origin.
    #[must_use]
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, moved: 0, arrivals: [0; 4], settled: false }
    }

    /// The first grid point at or after `now`.
    #[must_use]
    pub fn align(&self, now: Instant) -> Instant {
        let step = CLOCK_STEP.as_nanos();
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        let ahead = (step - since % step) % step;
        now + Duration::from_nanos(u64::try_from(ahead).unwrap_or(0))
    }

    /// Whether arrivals are still being looked at.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        !self.settled
    }

    /// A packet was found on the tick `now`: where the pace whose next deadline is `next` moves that to, if it does.
    pub fn arrived(&mut self, now: Instant, next: Instant) -> Option<Instant> {
        if self.settled {
            return None;
        }
        let (phase, place) = (self.phase(now), self.phase(next));
        self.arrivals[phase] += 1;
        let seen = self.arrivals.iter().sum::<u8>();
        self.settled = seen >= Self::ARRIVALS;
        if !self.settled {
            return (seen == 1).then(|| self.place(next, phase));
        }
        // Packets that come at the very edge of a tick are found on it and on the one before.
        let in_line = self.arrivals[place] + self.arrivals[(place + 3) % 4];
        let busiest = (0..4).max_by_key(|phase| self.arrivals[*phase]).unwrap_or(place);
        (in_line < Self::IN_LINE).then(|| self.place(next, busiest))
    }

    /// `next` on another phase.
    fn place(&mut self, next: Instant, phase: usize) -> Instant {
        let before = self.moved;
        let later = before + (phase + 4 - self.phase(next)) % 4;
        self.moved = if later > Self::LATEST { later - 4 } else { later };
        let ticks = |ticks: usize| CLOCK_STEP * u32::try_from(ticks).unwrap_or(0);
        (next + ticks(self.moved)).checked_sub(ticks(before)).unwrap_or(next)
    }

    fn phase(&self, at: Instant) -> usize {
        let ticks = at.saturating_duration_since(self.epoch).as_nanos() / CLOCK_STEP.as_nanos();
        usize::try_from(ticks % 4).unwrap_or(0)
    }
}

#[cfg(test)]
#[path = "pacing_tests.rs"]
mod stories;
#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(20);

    #[test]
    fn rtp_044_the_lateness_of_99_of_100_packets_is_told_beside_the_worst() {
        let mut lateness = Lateness::default();
        assert_eq!((lateness.p99(), lateness.max()), (Duration::ZERO, Duration::ZERO));
        for n in 0..1000_u64 {
            lateness.note(Duration::from_micros(if n < 995 { 600 } else { 9_000 }));
        }
        assert_eq!((lateness.p99(), lateness.max()), (Duration::from_micros(750), Duration::from_millis(9)));
        for _ in 0..20 {
            lateness.note(Duration::from_millis(40));
        }
        assert_eq!(lateness.p99(), Duration::from_millis(40), "beyond the last step it is the worst");
    }

    #[test]
    fn rtp_030_deadlines_are_absolute_however_late_the_wakes() {
        let start = Instant::now();
        let mut pace = Pace::new(start, STEP);
        let mut taken = 0;
        for tick in 0..1000_u32 {
            let late = Duration::from_micros(u64::from(tick % 7) * 900);
            taken += pace.advance(start + STEP * tick + late).take;
        }
        assert_eq!(taken, 1000);
        assert_eq!(pace.next(), start + STEP * 1000);
    }

    #[test]
    fn rtp_030_a_stall_sends_three_and_skips_the_rest() {
        let start = Instant::now();
        let mut pace = Pace::new(start, STEP);
        let due = pace.advance(start + Duration::from_millis(500));
        assert_eq!(due, Due { take: 3, skip: 23 });
        assert_eq!(pace.advance(start + Duration::from_millis(510)), Due::default());
        assert_eq!(pace.advance(start + Duration::from_millis(520)), Due { take: 1, skip: 0 });
    }

    #[test]
    fn rtp_024_a_stall_of_120_ms_loses_nothing_of_the_caller() {
        let start = Instant::now();
        let mut pace = Pace::new(start, STEP);
        assert_eq!(pace.catch_up(start + Duration::from_millis(119)), Due { take: 6, skip: 0 });
        assert_eq!(pace.catch_up(start + Duration::from_millis(120)), Due { take: 1, skip: 0 });
        assert_eq!(pace.catch_up(start + Duration::from_millis(640)), Due { take: 6, skip: 20 });
    }

    #[test]
    fn deadlines_are_put_on_the_grid() {
        let epoch = Instant::now();
        let grid = Grid::new(epoch);
        let at = |us| epoch + Duration::from_micros(us);
        assert_eq!(grid.align(at(0)), at(0));
        assert_eq!(grid.align(at(1)), at(5_000));
        assert_eq!(grid.align(at(10_000)), at(10_000));
    }

    /// Packets found so many milliseconds after the origin, the first deadline after it; how far it moved each time.
    fn moves(found: &[u64], first: u64) -> Vec<i64> {
        let epoch = Instant::now();
        let at = |ms| epoch + Duration::from_millis(ms);
        let (mut grid, mut pace) = (Grid::new(epoch), Pace::new(at(first), STEP));
        let mut moves = Vec::new();
        for found in found {
            pace.catch_up(at(*found - 1));
            let before = pace.next();
            if let Some(next) = grid.arrived(at(*found), before) {
                pace.set_next(next);
                moves.push((next - epoch).as_millis() as i64 - (before - epoch).as_millis() as i64);
            }
        }
        assert!(!grid.is_settling());
        assert_eq!(grid.arrived(epoch, epoch), None, "the place is chosen once");
        moves
    }

    #[test]
    fn caller_audio_is_taken_on_the_tick_on_which_it_arrives_from_the_first_packet_on() {
        for (first, shift) in [(200, 15), (205, 10), (210, 5), (215, 0)] {
            let found: Vec<u64> = (0..12).map(|packet| 215 + 20 * packet).collect();
            assert_eq!(moves(&found, first), [shift], "due at {first}");
        }
    }

    #[test]
    fn caller_audio_that_arrives_at_the_edge_of_a_tick_moves_nothing() {
        for early in [0, 5] {
            let found: Vec<u64> =
                (0..12).map(|packet| 215 + 20 * packet - if packet % 2 == 1 { 5 } else { early }).collect();
            assert_eq!(moves(&found, 200).len(), 1, "{found:?}");
            let found: Vec<u64> =
                (0..12).map(|packet| 210 + 20 * packet + if packet % 2 == 1 { 5 } else { early }).collect();
            assert_eq!(moves(&found, 200).len(), 1, "{found:?}");
        }
    }

    #[test]
    fn caller_audio_whose_first_packet_was_out_of_line_moves_once_more() {
        let found: Vec<u64> = [230].into_iter().chain((1..12).map(|packet| 215 + 20 * packet)).collect();
        assert_eq!(moves(&found, 200), [10, 5]);
        let found: Vec<u64> = [235].into_iter().chain((1..12).map(|packet| 205 + 20 * packet)).collect();
        assert_eq!(moves(&found, 200), [15, -10], "the first was slow");
    }

    #[test]
    fn rtp_007_all_moves_together_are_at_most_a_frame() {
        for (first, one, rest) in (0..64).map(|n| (5 * (n % 4), 5 * (n / 4 % 4), 5 * (n / 16))) {
            let found: Vec<u64> = [220 + one].into_iter().chain((1..12).map(|n| 220 + rest + 20 * n)).collect();
            let moved: i64 = moves(&found, 200 + first).iter().sum();
            assert!((0..=20).contains(&moved), "{first} {one} {rest}: {moved}");
        }
    }
}
