//! Deadlines by name: what wakes a state machine, and why.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Instant;

/// Keyed deadlines. Setting a key again moves it; each key fires once.
#[derive(Debug, Clone)]
pub struct TimerTable<K> {
    by_key: HashMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
    /// The first of `by_time`: asked for far more often than changed.
    next: Option<Instant>,
}

impl<K> Default for TimerTable<K> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), by_time: BTreeSet::new(), next: None }
    }
}

impl<K: Copy + Eq + Hash + Ord> TimerTable<K> {
    /// Arms `key` for `when`, replacing its earlier deadline.
    pub fn set(&mut self, key: K, when: Instant) {
        self.clear(key);
        self.by_key.insert(key, when);
        self.by_time.insert((when, key));
        self.note_next();
    }

    /// Disarms `key`; nothing happens where it was not armed.
    pub fn clear(&mut self, key: K) {
        if let Some(when) = self.by_key.remove(&key) {
            self.by_time.remove(&(when, key));
            self.note_next();
        }
    }

    fn note_next(&mut self) {
        self.next = self.by_time.first().map(|(when, _)| *when);
    }

    /// Whether `key` is armed.
    pub fn is_set(&self, key: K) -> bool {
        self.by_key.contains_key(&key)
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Takes one key whose deadline is at or before `now`, earliest first.
    pub fn expired(&mut self, now: Instant) -> Option<K> {
        self.next.filter(|when| *when <= now)?;
        let (_, key) = *self.by_time.first()?;
        self.clear(key);
        Some(key)
    }

    /// How many deadlines are armed.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether nothing is armed.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_key_fires_once_at_its_last_deadline_earliest_first() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = TimerTable::default();
        timers.set('a', at(30));
        timers.set('b', at(20));
        timers.set('a', at(10));
        timers.set('c', at(15));
        timers.clear('c');
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.expired(at(9)), None);
        assert_eq!(timers.expired(at(25)), Some('a'));
        assert_eq!(timers.expired(at(25)), Some('b'));
        assert_eq!(timers.expired(at(99)), None);
        assert!(timers.is_empty());
    }
}
