//! How much bot audio must wait before it is played: more where it ran dry lately, less again when it did not.

use std::time::{Duration, Instant};

const LOWEST_MS: u32 = 60;
const HIGHEST_MS: u32 = 200;
const RAISE_MS: u32 = 40;
const LOWER_MS: u32 = 20;
const LOWER_EVERY: Duration = Duration::from_secs(10);

/// The start threshold: 60 ms, +40 ms an underrun up to 200 ms, -20 ms for each 10 s without one.
pub(super) struct Threshold {
    ms: u32,
    changed: Option<Instant>,
}

impl Threshold {
    pub(super) fn new() -> Self {
        Self { ms: LOWEST_MS, changed: None }
    }

    /// An underrun was counted.
    pub(super) fn raise(&mut self, now: Instant) {
        self.ms = (self.at(now).as_millis() as u32 + RAISE_MS).min(HIGHEST_MS);
        self.changed = Some(now);
    }

    /// The threshold now: both the audio that starts playing and the longest wait for it.
    pub(super) fn at(&mut self, now: Instant) -> Duration {
        while let Some(changed) = self.changed
            && now.saturating_duration_since(changed) >= LOWER_EVERY
        {
            self.ms = self.ms.saturating_sub(LOWER_MS).max(LOWEST_MS);
            self.changed = (self.ms > LOWEST_MS).then(|| changed + LOWER_EVERY);
        }
        Duration::from_millis(u64::from(self.ms))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    #[test]
    fn it_rises_by_40_ms_to_200_and_falls_by_20_every_10_s_to_60() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut threshold = Threshold::new();
        let ms = |threshold: &mut Threshold, s| threshold.at(at(s)).as_millis();
        assert_eq!(ms(&mut threshold, 0), 60);
        for (s, expected) in [(0, 100), (1, 140), (2, 180), (3, 200), (4, 200)] {
            threshold.raise(at(s));
            assert_eq!(ms(&mut threshold, s), expected);
        }
        assert_eq!(ms(&mut threshold, 13), 200);
        assert_eq!(ms(&mut threshold, 14), 180);
        assert_eq!(ms(&mut threshold, 34), 140);
        assert_eq!(ms(&mut threshold, 9999), 60);
    }
}
