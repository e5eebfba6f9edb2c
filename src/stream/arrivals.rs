//! When the audio that waits was received: the bot's answer is timed by its message, not by its turn in the queue.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::prefetch::touch;

/// Messages of a burst that come within this time share an entry.
const TOGETHER: Duration = Duration::from_millis(5);

/// Moments of receipt of the samples in a queue, in the queue's order.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Samples, and when the first of them came.
    waiting: VecDeque<(usize, Instant)>,
}

impl Arrivals {
    /// `samples` more wait.
    pub(super) fn push(&mut self, now: Instant, samples: usize) {
        match self.waiting.back_mut() {
            Some((count, at)) if now.saturating_duration_since(*at) < TOGETHER => *count += samples,
            _ if samples > 0 => self.waiting.push_back((samples, now)),
            _ => {}
        }
    }

    /// Reads ahead what [`Self::take`] needs.
    pub(super) fn prefetch(&self) {
        touch(self.waiting.front().copied());
    }

    /// `samples` are handed out; when the last of them came.
    pub(super) fn take(&mut self, samples: usize) -> Option<Instant> {
        let (mut left, mut last) = (samples, None);
        while left > 0
            && let Some((count, at)) = self.waiting.front_mut()
        {
            last = Some(*at);
            let part = left.min(*count);
            (*count, left) = (*count - part, left - part);
            if *count == 0 {
                self.waiting.pop_front();
            }
        }
        last
    }

    /// All but the first `kept` samples are dropped.
    pub(super) fn truncate(&mut self, kept: usize) {
        let mut before = 0;
        self.waiting.retain_mut(|(count, _)| {
            let room = kept - before;
            *count = (*count).min(room);
            before += *count;
            *count > 0
        });
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    #[test]
    fn samples_keep_the_moment_they_came_through_taking_and_clearing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut arrivals = Arrivals::default();
        arrivals.push(at(0), 160);
        arrivals.push(at(4), 160);
        arrivals.push(at(20), 160);
        assert_eq!(arrivals.take(160), Some(at(0)));
        assert_eq!(arrivals.take(170), Some(at(20)), "the last of a packet counts");
        arrivals.push(at(40), 160);
        arrivals.truncate(100);
        assert_eq!((arrivals.take(160), arrivals.take(160)), (Some(at(20)), None));
        arrivals.push(at(60), 0);
        assert_eq!(arrivals.take(1), None);
    }

    #[test]
    fn a_burst_costs_one_entry_however_many_messages_it_is_of() {
        let start = Instant::now();
        let mut arrivals = Arrivals::default();
        (0..5000).for_each(|_| arrivals.push(start, 160));
        assert_eq!(arrivals.waiting.len(), 1);
        assert_eq!(arrivals.take(5000 * 160), Some(start));
        assert!(arrivals.waiting.is_empty());
    }
}
