//! Whether a destination is there: OPTIONS every so often (SIP-098).
//!
//! ```text
//!  Unknown ── any answer but 408, 503, 504, 505 ──► Up ──┐   asked every interval
//!     └────── those, or none in time ──► Down ◄──────────┘   asked half as often
//! ```

use std::time::{Duration, Instant};

/// What is known of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not asked yet.
    Unknown,
    /// It answers.
    Up,
    /// It does not, or says that it cannot.
    Down,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send OPTIONS.
    Ask,
    /// Nothing came in time: it went down.
    WentDown,
}

/// The questions to one destination.
#[derive(Debug, Clone)]
pub struct Keepalive {
    interval: Duration,
    no_response: Duration,
    health: Health,
    /// When the question that is open counts as not answered.
    late: Option<Instant>,
    next: Instant,
}

impl Keepalive {
    /// Asks now, then every `interval`; who says nothing for `no_response` is down.
    #[must_use]
    pub const fn new(now: Instant, interval: Duration, no_response: Duration) -> Self {
        Self { interval, no_response, health: Health::Unknown, late: None, next: now }
    }

    /// What is known.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// A final response with this code came; whether the destination's health changed.
    pub fn handle_response(&mut self, now: Instant, code: u16) -> bool {
        self.learn(now, if matches!(code, 408 | 503..=505) { Health::Down } else { Health::Up })
    }

    /// It cannot be reached while a question is open; whether its health changed.
    pub fn handle_unreachable(&mut self, now: Instant) -> bool {
        self.late.is_some() && self.learn(now, Health::Down)
    }

    /// When to call `handle_timeout` at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.late.map_or(self.next, |late| late.min(self.next))
    }

    /// What is to be done now.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Step> {
        if self.late.is_some_and(|late| late <= now) {
            return self.learn(now, Health::Down).then_some(Step::WentDown);
        }
        if self.next > now {
            return None;
        }
        self.next = now + self.interval();
        self.late = Some(now + self.no_response);
        Some(Step::Ask)
    }

    fn learn(&mut self, now: Instant, health: Health) -> bool {
        self.late = None;
        let changed = std::mem::replace(&mut self.health, health) != health;
        if changed {
            self.next = now + self.interval();
        }
        changed
    }

    fn interval(&self) -> Duration {
        match self.health {
            Health::Unknown | Health::Up => self.interval,
            Health::Down => self.interval * 2,
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn asked(start: Instant) -> Keepalive {
        let mut keepalive = Keepalive::new(start, INTERVAL, Duration::from_secs(6));
        assert_eq!(keepalive.handle_timeout(start), Some(Step::Ask));
        keepalive
    }

    #[test]
    fn sip_098_any_response_is_up_except_408_503_504_and_505() {
        for code in [200, 302, 401, 403, 404, 405, 481, 500, 501, 502, 603] {
            let mut keepalive = asked(Instant::now());
            assert!(keepalive.handle_response(Instant::now(), code) && keepalive.health() == Health::Up, "{code}");
        }
        for code in [408, 503, 504, 505] {
            let mut keepalive = asked(Instant::now());
            assert!(keepalive.handle_response(Instant::now(), code) && keepalive.health() == Health::Down, "{code}");
        }
    }

    #[test]
    fn sip_098_a_destination_is_asked_every_30_s_and_every_60_s_while_it_is_down() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut keepalive = asked(start);
        assert!(keepalive.handle_response(start, 200));
        assert_eq!((keepalive.handle_timeout(at(29)), keepalive.poll_timeout()), (None, at(30)));
        assert_eq!(keepalive.handle_timeout(at(30)), Some(Step::Ask));
        assert_eq!(keepalive.handle_timeout(at(36)), Some(Step::WentDown));
        assert_eq!((keepalive.handle_timeout(at(95)), keepalive.poll_timeout()), (None, at(96)));
        assert_eq!(keepalive.handle_timeout(at(96)), Some(Step::Ask));
        assert_eq!(keepalive.handle_timeout(at(102)), None, "down as before");
        assert_eq!(keepalive.poll_timeout(), at(156));
        assert!(keepalive.handle_response(at(110), 404), "a late answer is one");
        assert_eq!(keepalive.poll_timeout(), at(140));
        assert!(!keepalive.handle_unreachable(at(111)), "nothing is asked: an old complaint");
    }
}
