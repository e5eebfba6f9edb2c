//! The media clock of a shard: a tick every 5 ms at absolute deadlines.
//!
//! Two ways to wait for the same grid. While a bot is being dialled the thread waits for sockets as well, by timerfd
//! and epoll. Otherwise it just sleeps to the next grid point: what a socket brings between two ticks would not leave
//! before the next tick anyway, and one wake-up for all calls is cheaper than one for each message.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::call::CLOCK_STEP;

/// Ticks on a grid that never drifts.
pub struct MediaClock {
    timer: AsyncFd<OwnedFd>,
    epoch: Instant,
    /// `epoch` as the kernel counts it, nanoseconds of `CLOCK_MONOTONIC`.
    epoch_ns: i128,
    /// The last grid point told, in steps since `epoch`.
    last: u64,
}

/// One wake-up: the newest grid point that has passed, and how late the wake is.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// The grid point.
    pub at: Instant,
    /// Time from the oldest grid point that passed since the wake before to this wake: 5 ms more for each one missed.
    pub late: Duration,
}

impl MediaClock {
    /// Starts a clock; its first tick is one step from now.
    ///
    /// # Errors
    /// The system's, when no timer can be made.
    pub fn start() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let step = Timespec { tv_sec: 0, tv_nsec: CLOCK_STEP.subsec_nanos().into() };
        let (epoch, now) = (Instant::now(), clock_gettime(rustix::time::ClockId::Monotonic));
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: step, it_value: step })?;
        // SAFETY: an `OwnedFd` is one open descriptor that nobody else closes, for as long as `AsyncFd` holds it.
        #[allow(unsafe_code)] // the constructor tokio offers for descriptors
        let timer = unsafe { AsyncFd::register(timer)? };
        let epoch_ns = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
        Ok(Self { timer, epoch, epoch_ns, last: 0 })
    }

    /// The grid's origin.
    #[must_use]
    pub fn epoch(&self) -> Instant {
        self.epoch
    }

    /// Waits for the next grid point and lets the thread's tasks run meanwhile. Safe to drop and call again.
    ///
    /// # Errors
    /// The system's, when the timer cannot be read.
    pub async fn wait(&mut self) -> io::Result<Tick> {
        loop {
            let mut ready = self.timer.readable().await?;
            let mut expirations = [0_u8; 8];
            match rustix::io::read(self.timer.get_ref(), &mut expirations) {
                Ok(_) => {
                    if let Some(tick) = self.tick() {
                        return Ok(tick);
                    }
                }
                Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Begins again after a rest: the grid points that passed meanwhile were not wanted.
    pub fn resume(&mut self) {
        let _ = self.tick();
    }

    /// Sleeps to the next grid point; the thread does nothing else.
    pub fn sleep(&mut self) -> Tick {
        loop {
            if let Some(tick) = self.tick() {
                return tick;
            }
            let step = i128::from(CLOCK_STEP.subsec_nanos());
            let deadline = self.epoch_ns + i128::from(self.last + 1) * step;
            let at = |part: i128| i64::try_from(part).unwrap_or(i64::MAX);
            let until = Timespec { tv_sec: at(deadline / 1_000_000_000), tv_nsec: at(deadline % 1_000_000_000) };
            // A signal may end the sleep early; the loop sleeps on.
            let _ = clock_nanosleep_absolute(ClockId::Monotonic, &until);
        }
    }

    /// The newest grid point, once.
    fn tick(&mut self) -> Option<Tick> {
        let now = Instant::now();
        let step = CLOCK_STEP.as_nanos();
        let steps = u64::try_from(now.saturating_duration_since(self.epoch).as_nanos() / step).unwrap_or(u64::MAX);
        if steps <= self.last {
            return None;
        }
        let grid = |steps: u64| self.epoch + Duration::from_nanos(u64::from(CLOCK_STEP.subsec_nanos()) * steps);
        let (due, at) = (grid(self.last + 1), grid(steps));
        self.last = steps;
        Some(Tick { at, late: now.saturating_duration_since(due) })
    }
}

/// A wake this late is no accident of scheduling any more …
const TOO_LATE: Duration = Duration::from_millis(40);
/// … when it lasts (SIP-096).
const LAG_LASTS: Duration = Duration::from_secs(1);

/// Watches whether a thread wakes too late all the time.
#[derive(Debug, Default)]
pub struct LagWatch {
    since: Option<Instant>,
    lags: bool,
}

impl LagWatch {
    /// A wake: whether the thread begins (`true`) or ceases (`false`) to lag.
    pub fn note(&mut self, tick: Tick) -> Option<bool> {
        self.since = (tick.late > TOO_LATE).then(|| self.since.unwrap_or(tick.at));
        let lags = self.since.is_some_and(|since| tick.at.saturating_duration_since(since) >= LAG_LASTS);
        (std::mem::replace(&mut self.lags, lags) != lags).then_some(lags)
    }

    /// The thread rests: whether it ceases to lag.
    pub fn rest(&mut self) -> bool {
        std::mem::take(self).lags
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_096_a_thread_lags_when_each_wake_of_a_second_is_over_40_ms_late() {
        let (start, mut watch) = (Instant::now(), LagWatch::default());
        let mut note = |ms: u64, late_ms: u64| {
            watch.note(Tick { at: start + Duration::from_millis(ms), late: Duration::from_millis(late_ms) })
        };
        assert_eq!([note(0, 50), note(900, 60), note(950, 5), note(1000, 41)], [None; 4], "a wake in time resets it");
        assert_eq!([note(1900, 45), note(2000, 45), note(2100, 45)], [None, Some(true), None]);
        assert_eq!([note(2105, 1), note(2110, 1)], [Some(false), None]);
        assert_eq!([note(3000, 50), note(4000, 50)], [None, Some(true)]);
        assert_eq!([watch.rest(), watch.rest()], [true, false], "a thread without calls does not lag for ever");
    }

    #[tokio::test]
    async fn a_wake_is_as_late_as_the_oldest_step_it_missed() {
        let mut clock = MediaClock::start().expect("a timer");
        while clock.epoch().elapsed() < CLOCK_STEP * 6 {
            std::hint::spin_loop();
        }
        let tick = clock.wait().await.expect("a tick");
        assert!(tick.late >= CLOCK_STEP * 5 && tick.at >= clock.epoch() + CLOCK_STEP * 6, "{tick:?}");
        while clock.epoch().elapsed() < CLOCK_STEP * 40 {
            std::hint::spin_loop();
        }
        clock.resume();
        let late = clock.wait().await.expect("a tick").late;
        assert!(late < CLOCK_STEP * 20, "after a rest nothing was missed: {late:?}");
    }

    #[tokio::test]
    async fn both_ways_to_wait_tell_each_point_of_one_grid_once() {
        let mut clock = MediaClock::start().expect("a timer");
        let mut last = clock.epoch();
        for count in 0..12 {
            let tick = if count % 3 == 0 { clock.sleep() } else { clock.wait().await.expect("a tick") };
            let offset = tick.at.duration_since(clock.epoch());
            assert_eq!(offset.as_micros() % CLOCK_STEP.as_micros(), 0);
            assert!(tick.at > last, "a point is told once");
            assert!(tick.late < Duration::from_millis(500));
            last = tick.at;
        }
    }
}
