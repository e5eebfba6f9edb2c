//! A limit on how often something may happen: bursts up to a size, and no more than that in a period in the long run.
//!
//! Not a crate's: those read a clock of their own, and this one lives in virtual time.

use std::time::{Duration, Instant};

/// A bucket that begins full and is filled evenly, once in its period. What is in it is counted in time: a token is what
/// one of `size` takes of the period.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    period: Duration,
    token: Duration,
    level: Duration,
    filled: Option<Instant>,
}

impl TokenBucket {
    /// `size` a second; 0 is any number.
    #[must_use]
    pub fn per_second(size: u32) -> Self {
        Self::new(size, Duration::from_secs(1))
    }

    /// `size` a minute; 0 is any number.
    #[must_use]
    pub fn per_minute(size: u32) -> Self {
        Self::new(size, Duration::from_secs(60))
    }

    fn new(size: u32, period: Duration) -> Self {
        let token = if size == 0 { Duration::ZERO } else { period / size };
        Self { period, token, level: period, filled: None }
    }

    /// Takes one token; `false` where there is none.
    pub fn take(&mut self, now: Instant) -> bool {
        self.level = self.level(now);
        self.filled = Some(now);
        let left = self.level.checked_sub(self.token);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }

    /// Whether one would be refused now.
    #[must_use]
    pub fn is_empty(&self, now: Instant) -> bool {
        self.level(now) < self.token
    }

    fn level(&self, now: Instant) -> Duration {
        let passed = self.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        self.level.saturating_add(passed).min(self.period)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    #[test]
    fn sip_096_a_bucket_gives_a_burst_then_its_rate() {
        let (start, mut bucket) = (Instant::now(), TokenBucket::per_minute(6));
        let mut at = |seconds: u64| bucket.take(start + Duration::from_secs(seconds));
        assert_eq!((0..8).map(|_| at(0)).filter(|taken| *taken).count(), 6);
        assert_eq!([at(9), at(10), at(10), at(20)], [false, true, false, true], "one in ten seconds");
        assert_eq!((0..100).filter(|_| at(3600)).count(), 6, "an hour fills no more than the bucket");
    }

    #[test]
    fn a_bucket_of_none_is_no_limit() {
        let (start, mut bucket) = (Instant::now(), TokenBucket::per_second(0));
        assert!((0..1000).all(|_| bucket.take(start)) && !bucket.is_empty(start));
    }
}
