//! The packets that are held, in the order of their audio, and the memory of those that were.

use std::collections::VecDeque;

use super::Arrival;
use crate::base::prefetch::{touch, touch_slice};

/// Packets held at most.
pub const PACKETS: usize = 128;

/// A packet that waits.
#[derive(Debug)]
pub struct Held {
    /// Where its audio begins, on the clock of the buffer.
    pub position: i64,
    /// Its length.
    pub ticks: i64,
    /// Extended sequence number.
    pub sequence: u64,
    /// Which decoder it is for.
    pub decoder: u8,
    /// The encoded audio.
    pub payload: Vec<u8>,
}

impl Held {
    /// Where its audio ends.
    pub fn end(&self) -> i64 {
        self.position + self.ticks
    }
}

/// See the module.
#[derive(Debug)]
pub struct Queue {
    held: VecDeque<Held>,
    spare: Vec<Vec<u8>>,
}

impl Queue {
    pub fn new() -> Self {
        Self { held: VecDeque::with_capacity(8), spare: Vec::with_capacity(8) }
    }

    /// Reads ahead the packet at the front.
    pub fn prefetch(&self) {
        touch(self.spare.last().map(Vec::capacity));
        if let Some(held) = self.held.front() {
            touch_slice(&held.payload, held.payload.len());
        }
    }

    pub fn front(&self) -> Option<&Held> {
        self.held.front()
    }

    pub fn back(&self) -> Option<&Held> {
        self.held.back()
    }

    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Holds a packet whose audio begins at `position`, after those that begin there as well.
    pub fn hold(&mut self, position: i64, arrival: &Arrival<'_>) {
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(arrival.payload);
        let ticks = i64::from(arrival.ticks);
        let packet = Held { position, ticks, sequence: arrival.sequence, decoder: arrival.decoder, payload };
        let after = self.held.iter().rposition(|held| held.position <= position).map_or(0, |index| index + 1);
        self.held.insert(after, packet);
    }

    pub fn pop(&mut self) -> Option<Held> {
        self.held.pop_front()
    }

    /// Keeps the memory of a packet that is done with.
    pub fn reuse(&mut self, held: Held) {
        self.spare.push(held.payload);
    }

    /// Drops the packet at the front; whether there was one.
    pub fn drop_front(&mut self) -> bool {
        self.pop().map(|held| self.reuse(held)).is_some()
    }

    /// Drops the packets that begin at `position` or later; how many.
    pub fn drop_from(&mut self, position: i64) -> u64 {
        let kept = self.held.partition_point(|held| held.position < position);
        let dropped = self.held.len() - kept;
        for held in self.held.drain(kept..) {
            self.spare.push(held.payload);
        }
        dropped as u64
    }

    /// Moves all that is held.
    pub fn shift(&mut self, by: i64) {
        self.held.iter_mut().for_each(|held| held.position += by);
    }
}
