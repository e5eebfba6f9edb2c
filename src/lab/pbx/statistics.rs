//! Percentiles of durations, and how they print.

use std::fmt;
use std::time::Duration;

/// Median, 99th percentile and greatest of some durations (nearest rank); all zero where there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many there were.
    pub count: usize,
    /// Half of them are not above it.
    pub p50: Duration,
    /// 99 of 100 are not above it.
    pub p99: Duration,
    /// The greatest.
    pub max: Duration,
}

impl Spread {
    /// The spread of `values`.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = Duration>) -> Self {
        let mut values: Vec<Duration> = values.into_iter().collect();
        values.sort_unstable();
        let rank = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Self {
            count: values.len(),
            p50: rank(50).unwrap_or_default(),
            p99: rank(99).unwrap_or_default(),
            max: rank(100).unwrap_or_default(),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms", ms(self.p50), ms(self.p99), ms(self.max))
    }
}

/// `duration` in milliseconds.
#[must_use]
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// `part` of `whole` in percent; 0 of nothing.
#[must_use]
pub fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let spread = Spread::of((1..=200).rev().map(Duration::from_millis));
        let [p50, p99, max] = [100, 198, 200].map(Duration::from_millis);
        assert_eq!(spread, Spread { count: 200, p50, p99, max });
        let one = Spread::of([Duration::from_millis(7)]);
        assert_eq!((one.p50, one.p99, one.max), (one.max, one.max, Duration::from_millis(7)));
        assert_eq!(Spread::of([]), Spread::default());
    }

    #[test]
    fn a_spread_prints_in_milliseconds() {
        let spread = Spread::of([Duration::from_micros(250), Duration::from_micros(1500)]);
        assert_eq!(spread.to_string(), "p50 0.25 ms, p99 1.50 ms, max 1.50 ms");
        assert!((percent(1, 8) - 12.5).abs() < f64::EPSILON && percent(1, 0) == 0.0);
    }
}
