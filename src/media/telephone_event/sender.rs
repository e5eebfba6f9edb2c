//! Digits to telephone-events (RTP-063, RFC 4733, 2.5.1).

use std::collections::VecDeque;

use super::{Event, code_of};

/// How long a tone is.
const TONE_MS: u32 = 100;
/// How long the pause after it is.
const GAP_MS: u32 = 100;
/// Copies of the end packet after the first.
const END_COPIES: u32 = 2;

/// What goes out at one packet time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing {
    /// Nothing of ours: audio.
    Idle,
    /// Silence, between two digits.
    Gap,
    /// An event packet.
    Event {
        /// M: the first of its event.
        first: bool,
        /// How many ticks ago the event began: its timestamp is that much before now.
        ago: u32,
        /// The payload.
        event: Event,
    },
}

/// Digits on their way out, one packet at each packet time.
#[derive(Debug)]
pub struct Sender {
    /// Ticks a second.
    clock_rate: u32,
    queue: VecDeque<u8>,
    /// The digit being sent: its code, and the ticks since it began.
    sending: Option<(u8, u32)>,
}

impl Sender {
    /// For events of a clock of `clock_rate` Hz.
    #[must_use]
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate, queue: VecDeque::new(), sending: None }
    }

    /// Queues `digits`; characters that are no digits are left out.
    pub fn queue(&mut self, digits: &str) {
        self.queue.extend(digits.chars().filter_map(code_of));
    }

    /// Whether anything is left to send.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sending.is_none() && self.queue.is_empty()
    }

    /// What goes out now, for a packet of `ticks`.
    pub fn next(&mut self, ticks: u32) -> Outgoing {
        let (tone, gap) = (self.clock_rate / 1000 * TONE_MS, self.clock_rate / 1000 * GAP_MS);
        if self.sending.is_some_and(|(_, ago)| ago >= tone.next_multiple_of(ticks) + gap) {
            self.sending = None;
        }
        if self.sending.is_none() {
            self.sending = self.queue.pop_front().map(|code| (code, 0));
        }
        let Some((code, ago)) = &mut self.sending else { return Outgoing::Idle };
        let (code, began) = (*code, *ago);
        *ago += ticks;
        let last_end = tone.next_multiple_of(ticks) + (END_COPIES - 1) * ticks;
        if began > last_end {
            return Outgoing::Gap;
        }
        let duration = (began + ticks).min(tone);
        let event = Event { code, end: duration == tone, duration: duration as u16 };
        Outgoing::Event { first: began == 0, ago: began, event }
    }
}
