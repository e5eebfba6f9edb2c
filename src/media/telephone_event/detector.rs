//! Telephone-events to digits: one digit for each press, whatever the sender makes of the end packets (RTP-050 to RTP-056).

use std::time::{Duration, Instant};

use super::{Event, SEGMENT, digit_of};
use crate::media::rtp::packet::Packet;

/// An identity is forgotten this long after its last packet (RTP-053).
const IDENTITY_LASTS: Duration = Duration::from_millis(500);
/// An open event that is silent this long has ended (RTP-054).
const SILENCE: Duration = Duration::from_millis(200);
/// Audio that resumes ends an event that has been silent this long, at least (RTP-054).
const RESUMED: Duration = Duration::from_millis(100);
/// How far after an event's span the timestamp of a copy of its end may lie (RTP-052).
const END_COPY_MS: u32 = 40;
/// Events that have ended and may be repeated by payloads of several events.
const PAST: usize = 4;

/// A digit that has ended, or begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digit {
    /// `0`–`9`, `*`, `#`, `A`–`D`.
    pub digit: char,
    /// Its length in milliseconds.
    pub duration_ms: u32,
    /// When its first packet came.
    pub began: Instant,
}

/// Up to two digits: a packet may end an event and be one itself.
pub type Digits = [Option<Digit>; 2];

/// The last event: open, or done and remembered for its redundancy.
#[derive(Debug, Clone, Copy)]
struct Current {
    ssrc: u32,
    timestamp: u32,
    code: u8,
    sequence: u16,
    /// When its last packet came.
    last: Instant,
    began: Instant,
    /// Duration of its earlier segments, and of the present one, in ticks.
    base: u32,
    duration: u16,
    done: bool,
    /// Between its last two packets.
    interval: Duration,
}

/// A packet's part that is being looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    /// Not the first event of its payload.
    follows: bool,
    event: Event,
}

/// Finds digits in the telephone-events of one call.
#[derive(Debug)]
pub struct Detector {
    /// Ticks a second.
    clock_rate: u32,
    current: Option<Current>,
    past: [Option<Current>; PAST],
    /// Digits are told when they begin, with their length so far.
    pub at_start: bool,
    /// Events that are no digits.
    pub ignored: u64,
}

impl Detector {
    /// For events of a clock of `clock_rate` Hz.
    #[must_use]
    pub fn new(clock_rate: u32) -> Self {
        Self { clock_rate: clock_rate.max(1000), current: None, past: [None; PAST], at_start: false, ignored: 0 }
    }

    /// The clock of the events from now on, in Hz.
    pub fn set_clock_rate(&mut self, clock_rate: u32) {
        self.clock_rate = clock_rate.max(1000);
    }

    /// Whether an event has begun and not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open().is_some()
    }

    fn open(&self) -> Option<&Current> {
        self.current.as_ref().filter(|current| !current.done)
    }

    /// A telephone-event packet has come. `ended` is called for each digit that has ended by it, or begun
    /// with `at_start`, in order.
    pub fn handle(&mut self, now: Instant, packet: &Packet<'_>, mut ended: impl FnMut(Digit)) {
        let several = packet.payload.len() >= 2 * super::EVENT_LEN;
        let mut timestamp = packet.timestamp;
        for (index, event) in Event::read(packet.payload).enumerate() {
            let seen = Seen {
                ssrc: packet.ssrc,
                sequence: packet.sequence,
                timestamp,
                marker: packet.marker && index == 0,
                follows: index > 0,
                event,
            };
            // Several events in a payload follow one another in time (RFC 4733, 2.5.1.5).
            timestamp = timestamp.wrapping_add(u32::from(event.duration));
            if digit_of(event.code).is_none() {
                self.ignored += 1;
            } else if !(several && self.repeats_past(now, &seen)) {
                self.take(now, &seen).into_iter().flatten().for_each(&mut ended);
            }
        }
    }

    fn take(&mut self, now: Instant, seen: &Seen) -> Digits {
        let fell_silent = self.handle_timeout(now);
        let [first, second] = match self.current.as_mut() {
            None => self.begin(now, seen),
            Some(current) => match current.relate(now, seen, self.clock_rate) {
                Relation::Redundant => [None, None],
                Relation::Extended => [self.end_if(seen.event.end), None],
                Relation::Separate => self.begin(now, seen),
            },
        };
        if fell_silent.is_some() { [fell_silent, first.or(second)] } else { [first, second] }
    }

    /// Ends the open event, its own end packets being lost, and begins another.
    fn begin(&mut self, now: Instant, seen: &Seen) -> Digits {
        let before = self.end_if(true);
        if let Some(done) = self.current {
            self.past.rotate_right(1);
            self.past[0] = Some(done);
        }
        self.current = Some(Current {
            ssrc: seen.ssrc,
            timestamp: seen.timestamp,
            code: seen.event.code,
            sequence: seen.sequence,
            last: now,
            began: now,
            base: 0,
            duration: seen.event.duration,
            done: false,
            interval: Duration::ZERO,
        });
        let begun = self.current.filter(|_| self.at_start).and_then(|current| current.digit(self.clock_rate));
        [before, begun.or(self.end_if(seen.event.end))]
    }

    fn end_if(&mut self, end: bool) -> Option<Digit> {
        let clock_rate = self.clock_rate;
        let current = self.current.as_mut().filter(|current| end && !current.done)?;
        current.done = true;
        let told = self.at_start;
        current.digit(clock_rate).filter(|_| !told)
    }

    /// Whether a payload of several events says again what has ended before the current one.
    fn repeats_past(&self, now: Instant, seen: &Seen) -> bool {
        seen.event.end
            && self.past.iter().flatten().any(|past| past.is_named_by(seen) && past.is_fresh(now))
            && !self.current.is_some_and(|current| current.is_named_by(seen))
    }

    /// Audio has come: an event whose packets have stopped has ended.
    pub fn handle_audio(&mut self, now: Instant) -> Option<Digit> {
        let open = self.open()?;
        let patience = (open.interval * 3).clamp(RESUMED, SILENCE);
        let silent = now.saturating_duration_since(open.last) >= patience;
        self.end_if(silent)
    }

    /// When an open event ends by silence.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.open().map(|open| open.last + SILENCE)
    }

    /// Ends an open event that has been silent long enough.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Digit> {
        let silent = self.poll_timeout().is_some_and(|deadline| now >= deadline);
        self.end_if(silent)
    }
}

/// What a packet is to the current event.
enum Relation {
    /// Nothing new.
    Redundant,
    /// Part of it.
    Extended,
    /// Another event.
    Separate,
}

impl Current {
    fn is_named_by(&self, seen: &Seen) -> bool {
        (self.ssrc, self.timestamp, self.code) == (seen.ssrc, seen.timestamp, seen.event.code)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) <= IDENTITY_LASTS
    }

    fn relate(&mut self, now: Instant, seen: &Seen, clock_rate: u32) -> Relation {
        let event = seen.event;
        let newer = seen.follows || is_after(seen.sequence, self.sequence);
        let reused = self.done && !event.end && seen.marker && newer;
        if self.is_named_by(seen) && self.is_fresh(now) && !reused {
            self.note(now, seen, newer);
            self.duration = if self.done { self.duration } else { self.duration.max(event.duration) };
            return if self.done { Relation::Redundant } else { Relation::Extended };
        }
        if self.is_next_segment(seen) {
            self.note(now, seen, newer);
            self.base += u32::from(SEGMENT);
            (self.timestamp, self.duration) = (seen.timestamp, event.duration);
            return Relation::Extended;
        }
        if self.is_end_copy(now, seen, clock_rate) {
            self.note(now, seen, newer);
            self.duration = self.duration.max(event.duration);
            return if self.done { Relation::Redundant } else { Relation::Extended };
        }
        // A packet of an older event, overtaken by this one.
        let overtaken = !newer && self.ssrc == seen.ssrc && self.is_fresh(now);
        if overtaken { Relation::Redundant } else { Relation::Separate }
    }

    /// The next segment of a long event: 0xFFFF ticks on, without an end in between (RTP-055).
    fn is_next_segment(&self, seen: &Seen) -> bool {
        let next = self.timestamp.wrapping_add(u32::from(SEGMENT));
        !self.done && (self.ssrc, self.code, next) == (seen.ssrc, seen.event.code, seen.timestamp)
    }

    /// A copy of the end whose timestamp the sender has changed (RTP-052).
    fn is_end_copy(&self, now: Instant, seen: &Seen, clock_rate: u32) -> bool {
        let event = seen.event;
        let span = u32::from(self.duration.max(event.duration)) + clock_rate / 1000 * END_COPY_MS;
        event.end
            && (self.ssrc, self.code) == (seen.ssrc, event.code)
            && seen.timestamp.wrapping_sub(self.timestamp) <= span
            && (!self.done || event.duration == self.duration)
            && self.is_fresh(now)
    }

    fn note(&mut self, now: Instant, seen: &Seen, newer: bool) {
        if newer && !self.done {
            self.interval = now.saturating_duration_since(self.last);
        }
        if newer {
            self.sequence = seen.sequence;
        }
        self.last = now;
    }

    fn digit(&self, clock_rate: u32) -> Option<Digit> {
        let ticks = u64::from(self.base) + u64::from(self.duration);
        let duration_ms = (ticks * 1000 / u64::from(clock_rate)) as u32;
        digit_of(self.code).map(|digit| Digit { digit, duration_ms, began: self.began })
    }
}

/// Serial number arithmetic modulo 2^16 (RFC 1982).
fn is_after(sequence: u16, other: u16) -> bool {
    sequence != other && sequence.wrapping_sub(other) < 0x8000
}
