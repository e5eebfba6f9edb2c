//! How long packets are kept: learned from how much later than the fastest the slow ones come (RTP-020).
//!
//! All is told by the *slack* of packets: the time from arrival to the pull that takes their first sample, below 0 where
//! they are late. The slack of the fastest is the delay there is. How far the slow ones stay below it is the delay that is
//! needed; the slowest of 2 s is forgiven, since a rare hole costs a bot less than lasting delay. What is needed is
//! remembered for 8 s. Drift of clocks is in the slack as well: it moves away until a frame is put in or taken out.

use crate::config::JitterDelay;

/// Pulls in a window of observations: 2 s.
const WINDOW_PULLS: u32 = 100;
/// Arrivals a window has at least before the next begins: a sender that pauses is not forgotten.
const WINDOW_ARRIVALS: u32 = 10;
/// Windows before the present one that count.
const WINDOWS: usize = 3;
/// Frames of audio that have been observed before the start delay is left.
const EVIDENCE_FRAMES: i64 = 50;
/// Pulls between two frames taken out: 2 s.
const SHRINK_PULLS: u32 = 100;
/// Beyond every slack there can be.
const NONE: i64 = 1 << 40;

/// The delay there is, and the one there should be. In ticks of the RTP clock.
#[derive(Debug)]
pub struct Delay {
    frame: i64,
    start: i64,
    min: i64,
    max: i64,
    target: i64,
    target_max: i64,
    present: Window,
    past: [Window; WINDOWS],
    /// What the past windows come to.
    past_sum: Window,
    pulls: u32,
    pulls_since_shrink: u32,
    observed: i64,
}

/// What was observed for a while.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// Greatest slack.
    fastest: i64,
    /// Least slack, and the one after it.
    slowest: [i64; 2],
    arrivals: u32,
}

impl Window {
    const EMPTY: Self = Self { fastest: -NONE, slowest: [NONE; 2], arrivals: 0 };

    fn shift(&mut self, by: i64) {
        self.fastest += by;
        self.slowest.iter_mut().for_each(|slack| *slack += by);
    }
}

impl Delay {
    /// Between the bounds of `delay`, for a clock of `ticks_per_ms` and frames of `frame` ticks.
    pub fn new(delay: JitterDelay, ticks_per_ms: i64, frame: i64) -> Self {
        let ticks = |duration: std::time::Duration| duration.as_millis() as i64 * ticks_per_ms;
        let (start, min, max) = (ticks(delay.start), ticks(delay.min), ticks(delay.max));
        Self {
            frame,
            start,
            min,
            max,
            target: start,
            target_max: start,
            present: Window::EMPTY,
            past: [Window::EMPTY; WINDOWS],
            past_sum: Window::EMPTY,
            pulls: 0,
            pulls_since_shrink: SHRINK_PULLS,
            observed: 0,
        }
    }

    /// What the delay should be: of the fastest packets, from their arrival to the pull that takes them.
    pub fn target(&self) -> i64 {
        self.target
    }

    /// The greatest that `target` has been.
    pub fn target_max(&self) -> i64 {
        self.target_max
    }

    /// The greatest that `target` may be.
    pub fn max(&self) -> i64 {
        self.max
    }

    /// The delay there is; none before the first packets and after a new time line.
    pub fn present(&self) -> Option<i64> {
        let fastest = self.present.fastest.max(self.past_sum.fastest);
        (fastest > -NONE / 2).then_some(fastest)
    }

    /// A packet of `ticks` with this slack. Of packets that come in one burst only the first is an `arrival` of its own:
    /// the others were as late as it because of it.
    pub fn observe(&mut self, slack: i64, ticks: i64, arrival: bool) {
        self.present.fastest = self.present.fastest.max(slack);
        self.observed += ticks;
        let delay = self.present.fastest.max(self.past_sum.fastest);
        // Beyond what may be waited for it is a stall of the network, and no delay would have helped.
        if arrival && delay - slack <= self.max + self.frame {
            let [slowest, next] = &mut self.present.slowest;
            if slack < *slowest {
                (*slowest, *next) = (slack, *slowest);
            } else if slack < *next {
                *next = slack;
            }
            self.present.arrivals += 1;
        }
        let floor = if self.observed < EVIDENCE_FRAMES * self.frame { self.start } else { self.min };
        self.target = self.needed().clamp(floor, self.max);
        self.target_max = self.target_max.max(self.target);
    }

    /// How far the slow packets stay behind the fastest.
    fn needed(&self) -> i64 {
        let slow = self.present.slowest[1].min(self.past_sum.slowest[1]);
        let fastest = self.present.fastest.max(self.past_sum.fastest);
        if slow > NONE / 2 { 0 } else { fastest - slow }
    }

    /// A frame is pulled.
    pub fn tick(&mut self) {
        self.pulls_since_shrink += 1;
        self.pulls += 1;
        if self.pulls >= WINDOW_PULLS && self.present.arrivals >= WINDOW_ARRIVALS {
            self.past.rotate_right(1);
            self.past[0] = std::mem::replace(&mut self.present, Window::EMPTY);
            self.sum_up();
            self.pulls = 0;
        }
    }

    fn sum_up(&mut self) {
        self.past_sum = self.past.iter().fold(Window::EMPTY, |sum, window| Window {
            fastest: sum.fastest.max(window.fastest),
            slowest: [sum.slowest[0].min(window.slowest[0]), sum.slowest[1].min(window.slowest[1])],
            arrivals: 0,
        });
    }

    /// All that is held, and all that comes, will be played `by` ticks later.
    pub fn shift(&mut self, by: i64) {
        self.past.iter_mut().chain([&mut self.present, &mut self.past_sum]).for_each(|window| window.shift(by));
        if by < 0 {
            self.pulls_since_shrink = 0;
        }
    }

    /// Another time line begins. What is needed is as before; what there is has to be seen.
    pub fn restart(&mut self) {
        (self.present, self.past_sum) = (Window::EMPTY, Window::EMPTY);
        self.past = [Window::EMPTY; WINDOWS];
    }

    /// How many frames are to be put in.
    pub fn lacking(&self) -> i64 {
        let Some(present) = self.present() else { return 0 };
        // Drift may take a quarter of a frame of the least there should be before a frame is put in.
        let known = self.past_sum.fastest > -NONE / 2 || self.present.arrivals >= WINDOW_ARRIVALS;
        let least = if known { self.min - self.frame / 4 - self.slop() } else { 0 };
        let wanted = self.needed().min(self.max).max(least);
        let lacking = wanted - present;
        // Less than an eighth of a frame is not worth a frame.
        if lacking > self.frame / 8 { (lacking + self.frame - 1) / self.frame } else { 0 }
    }

    /// How far a delay that is to stay (`min` and `max` are one) may be off before it is corrected: nobody wants it exact to
    /// the millisecond, but its frames untouched.
    fn slop(&self) -> i64 {
        if self.min == self.max { self.frame } else { 0 }
    }

    /// Whether there is more than there may be, or so much that one frame less is not enough.
    pub fn is_excessive(&self) -> bool {
        self.present().is_some_and(|present| present > self.max || present - self.frame > self.target + self.frame)
    }

    /// Whether a frame may be taken out now.
    pub fn has_spare(&self) -> bool {
        let Some(present) = self.present() else { return false };
        let after = present - self.frame;
        after + self.frame / 8 >= self.target + self.slop()
            && after >= self.needed().min(self.max)
            && self.pulls_since_shrink >= SHRINK_PULLS
            && self.observed >= EVIDENCE_FRAMES * self.frame
    }
}
