//! The reorder buffer: packets in as they come, 20 ms of sound out at every tick of the call's clock (RTP-007).
//!
//! `position` is that clock in RTP ticks. A talkspurt is anchored when its first packet comes: its timestamp is given the
//! position that will be played `depth` later. From then on timestamps alone say where a packet belongs. What is missing
//! at its time is concealed; what comes after its time is late. Depth is fixed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::concealment::Concealment;
use crate::base::pcm::SampleRate;
use crate::base::prefetch::{touch, touch_slice};

/// What one `pull` yields.
const FRAME: Duration = Duration::from_millis(20);
/// A hole longer than this may begin a new talkspurt with the delay of a first packet.
const HOLE_MS: i64 = 60;
/// Delay above the depth that is put up with.
const EXCESS_MS: i64 = 80;
/// … for this long.
const EXCESS_LASTS_MS: i64 = 1000;
/// Delay above the depth that is never reached: a burst keeps its newest part (RTP-024).
const BURST_MS: i64 = 200;
/// Packets held at most.
const PACKETS: usize = 64;

/// An audio packet on its way into the buffer.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Extended sequence number.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Talkspurt start, as a hint.
    pub marker: bool,
    /// Length in ticks of the RTP clock, more than 0.
    pub ticks: u32,
    /// Which decoder it is for; handed back with the payload.
    pub decoder: u8,
    /// The encoded audio.
    pub payload: &'a [u8],
}

/// What the buffer asks of others while it plays.
pub trait Player {
    /// Appends the samples of `payload` to `out`.
    fn decode(&mut self, decoder: u8, payload: &[u8], out: &mut Vec<i16>);

    /// How many packets between two extended sequence numbers never came.
    fn missing_between(&self, after: u64, before: u64) -> u64;
}

/// What went wrong, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came after their slot.
    pub late: u64,
    /// Packets dropped to get rid of delay.
    pub discarded: u64,
    /// Ticks filled for packets that were lost or late.
    pub concealed: u64,
}

#[derive(Debug)]
struct Held {
    position: i64,
    ticks: i64,
    sequence: u64,
    decoder: u8,
    payload: Vec<u8>,
}

/// Time without audio since the last audio.
#[derive(Debug, Default)]
struct Hole {
    ticks: i64,
    /// Of packets that came too late for it.
    late: i64,
}

/// See the module.
#[derive(Debug)]
pub struct JitterBuffer {
    ticks_per_ms: i64,
    samples_per_tick: usize,
    depth: Duration,
    /// What the next `pull` begins with.
    position: i64,
    last_pull: Option<Instant>,
    /// Timestamp and position of one and the same sample.
    anchor: Option<(u32, i64)>,
    held: VecDeque<Held>,
    spare: Vec<Vec<u8>>,
    /// Decoded samples from `position` on.
    leftover: Vec<i16>,
    concealment: Concealment,
    hole: Hole,
    /// The sequence number from which on a dry buffer means silence: comfort noise, a digit, a pause (RTP-006, RTP-062).
    quiet_from: Option<u64>,
    /// Nothing has been played since the last anchor or pause of the reader.
    fresh: bool,
    /// Sequence number of the newest packet and the end of its audio.
    newest: Option<(u64, i64)>,
    played: Option<u64>,
    /// Ticks for which the delay has been in excess.
    excess: i64,
    counts: Counts,
}

impl JitterBuffer {
    /// For a codec of `clock_rate` Hz whose samples have `rate`.
    #[must_use]
    pub fn new(clock_rate: u32, rate: SampleRate, depth: Duration) -> Self {
        Self {
            ticks_per_ms: i64::from(clock_rate / 1000),
            samples_per_tick: (rate.hz() / clock_rate).max(1) as usize,
            depth,
            position: 0,
            last_pull: None,
            anchor: None,
            held: VecDeque::with_capacity(8),
            spare: Vec::with_capacity(8),
            leftover: Vec::new(),
            concealment: Concealment::new(rate),
            hole: Hole::default(),
            quiet_from: None,
            fresh: true,
            newest: None,
            played: None,
            excess: 0,
            counts: Counts::default(),
        }
    }

    /// Reads ahead what [`Self::insert`] and [`Self::pull`] need.
    pub fn prefetch(&self) {
        touch((self.position, self.newest, self.played, self.excess, self.counts));
        touch((self.last_pull, self.leftover.len(), self.spare.last().map(Vec::capacity)));
        if let Some(held) = self.held.front() {
            touch_slice(&held.payload, held.payload.len());
        }
        self.concealment.prefetch();
    }

    /// What went wrong so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The counts in milliseconds where they are ticks.
    #[must_use]
    pub fn concealed_ms(&self) -> u64 {
        self.counts.concealed / self.ticks_per_ms as u64
    }

    /// How much of what has come lies after what `pull` last yielded; or, where nothing does, how long nothing has come.
    #[must_use]
    pub fn delay(&self) -> (Duration, Duration) {
        let ticks = self.newest.map_or(0, |(_, end)| end - self.position);
        let ms = |ticks: i64| Duration::from_millis((ticks.max(0) / self.ticks_per_ms) as u64);
        (ms(ticks), ms(-ticks))
    }

    /// Another SSRC speaks: its first packet is anchored anew. What is held is still played.
    pub fn new_source(&mut self) {
        self.anchor = None;
    }

    /// A packet without audio has come: the gap it makes is silence, not loss. `sequence` where it belongs to the audio's.
    pub fn note_quiet(&mut self, sequence: Option<u64>) {
        let after_newest = self.newest.map(|(newest, _)| newest + 1);
        self.quiet_from = self.quiet_from.max(sequence.or(after_newest));
    }

    /// Takes a packet.
    pub fn insert(&mut self, now: Instant, arrival: &Arrival<'_>) {
        let ticks = i64::from(arrival.ticks);
        let ahead = self.newest.is_none_or(|(newest, _)| arrival.sequence > newest);
        let mut position = self.place(arrival.timestamp);
        if ahead && position.is_none_or(|position| self.begins_anew(now, position, arrival)) {
            position = Some(self.first_position(now));
            self.fresh = true;
        }
        let Some(position) = position else { return };
        if position + ticks <= self.position || self.played.is_some_and(|played| arrival.sequence <= played) {
            self.counts.late += 1;
            self.hole.late += ticks;
            return;
        }
        if ahead {
            self.anchor = Some((arrival.timestamp, position));
            self.newest = Some((arrival.sequence, position + ticks));
        }
        self.hold(position, arrival);
        if self.backlog() > self.depth_ticks() + BURST_MS * self.ticks_per_ms {
            self.drop_backlog();
        }
    }

    /// Where a timestamp belongs, by the anchor.
    fn place(&self, timestamp: u32) -> Option<i64> {
        let (anchor, position) = self.anchor?;
        Some(position + i64::from(timestamp.wrapping_sub(anchor) as i32))
    }

    /// Whether a packet at the front of its sequence cannot belong where its timestamp says.
    fn begins_anew(&self, now: Instant, position: i64, arrival: &Arrival<'_>) -> bool {
        let frame = self.frame_ticks();
        let Some((newest, end)) = self.newest else { return true };
        // The sender's timestamps have jumped back, or forward by more than time has passed and packets have been lost.
        let lost = (arrival.sequence - newest - 1) as i64 * i64::from(arrival.ticks);
        let lead = position - self.position;
        let too_far = position - end - lost > frame && lead > self.depth_ticks() + EXCESS_MS * self.ticks_per_ms;
        if position < end - frame || too_far {
            return true;
        }
        // After a pause of the sender, where its delay does not fit any more.
        let dry = self.held.is_empty() && self.leftover.is_empty() && self.hole.ticks > 0;
        let paused = arrival.marker || self.hole.ticks > HOLE_MS * self.ticks_per_ms;
        dry && paused && (position - self.first_position(now)).abs() > frame
    }

    /// The position that is played at the first tick that is at least `depth` from now.
    fn first_position(&self, now: Instant) -> i64 {
        let next_pull = self.last_pull.map_or(now, |last| (last + FRAME).max(now));
        let wait = (now + self.depth).saturating_duration_since(next_pull);
        let frames = wait.as_micros().div_ceil(FRAME.as_micros()) as i64;
        let due = self.position + frames * self.frame_ticks();
        // What is held of an older source is played out first, if it is not much.
        let held_until = self.held.back().map_or(due, |held| held.position + held.ticks);
        if held_until - due <= self.frame_ticks() { due.max(held_until) } else { due }
    }

    fn hold(&mut self, position: i64, arrival: &Arrival<'_>) {
        if self.held.len() >= PACKETS {
            self.drop_front();
        }
        let mut payload = self.spare.pop().unwrap_or_default();
        payload.clear();
        payload.extend_from_slice(arrival.payload);
        let ticks = i64::from(arrival.ticks);
        let packet = Held { position, ticks, sequence: arrival.sequence, decoder: arrival.decoder, payload };
        let after = self.held.iter().rposition(|held| held.position <= position).map_or(0, |index| index + 1);
        self.held.insert(after, packet);
    }

    /// Appends exactly 20 ms to `out`.
    pub fn pull(&mut self, now: Instant, player: &mut impl Player, out: &mut Vec<i16>) {
        self.watch_delay(now);
        let end = self.position + self.frame_ticks();
        while self.position < end {
            if !self.leftover.is_empty() {
                self.play_leftover(end, out);
                continue;
            }
            match self.held.front().map(|held| (held.position, held.sequence)) {
                Some((position, _)) if position <= self.position => self.play_packet(end, player, out),
                Some((position, sequence)) => {
                    self.expect_silence_before(sequence, player);
                    self.fill(position.min(end) - self.position, out);
                }
                None => self.fill(end - self.position, out),
            }
        }
    }

    /// Gets rid of delay that lasts, or that has gathered while nobody listened.
    fn watch_delay(&mut self, now: Instant) {
        let paused = self.last_pull.is_none_or(|last| now.saturating_duration_since(last) > FRAME * 5);
        self.last_pull = Some(now);
        if paused && self.backlog() > self.depth_ticks() + self.frame_ticks() {
            self.drop_backlog();
        }
        let due = self.held.front().is_some_and(|held| held.position <= self.position);
        if self.backlog() <= self.depth_ticks() + EXCESS_MS * self.ticks_per_ms {
            self.excess = 0;
            self.fresh &= !due;
            return;
        }
        self.excess += self.frame_ticks();
        if (self.fresh && due) || self.excess > EXCESS_LASTS_MS * self.ticks_per_ms {
            self.drop_backlog();
            self.fresh = false;
        }
    }

    /// From what is played next to the start of the newest packet, in ticks.
    fn backlog(&self) -> i64 {
        self.held.back().map_or(0, |newest| newest.position - self.position)
    }

    /// Moves what is held forward, so that the newest packet is played `depth` from now; what it overtakes is dropped.
    fn drop_backlog(&mut self) {
        let frame = self.frame_ticks();
        let by = (self.backlog() - self.depth_ticks()).max(0) / frame * frame;
        for held in &mut self.held {
            held.position -= by;
        }
        if let Some((_, position)) = &mut self.anchor {
            *position -= by;
        }
        if let Some((_, end)) = &mut self.newest {
            *end -= by;
        }
        self.leftover.clear();
        self.excess = 0;
        self.drop_passed();
    }

    fn drop_passed(&mut self) {
        while self.held.front().is_some_and(|held| held.position + held.ticks <= self.position) {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(held) = self.held.pop_front() {
            self.counts.discarded += 1;
            self.spare.push(held.payload);
        }
    }

    fn play_leftover(&mut self, end: i64, out: &mut Vec<i16>) {
        let wanted = (end - self.position) as usize * self.samples_per_tick;
        let count = wanted.min(self.leftover.len());
        out.extend(self.leftover.drain(..count));
        self.position += (count / self.samples_per_tick) as i64;
    }

    /// Decodes the packet at the front, from the sample that is due; what is beyond `end` is left over.
    fn play_packet(&mut self, end: i64, player: &mut impl Player, out: &mut Vec<i16>) {
        let Some(held) = self.held.pop_front() else { return };
        let passed = self.position - held.position;
        if passed >= held.ticks {
            self.counts.discarded += 1;
        } else {
            self.close_hole(&held, player);
            self.played = self.played.max(Some(held.sequence));
            let start = out.len();
            player.decode(held.decoder, &held.payload, out);
            out.resize(start + held.ticks as usize * self.samples_per_tick, 0);
            self.concealment.heard(&out[start..]);
            out.drain(start..start + passed as usize * self.samples_per_tick);
            let due = ((end - self.position) as usize * self.samples_per_tick).min(out.len() - start);
            self.leftover.extend_from_slice(&out[start + due..]);
            out.truncate(start + due);
            self.position += (due / self.samples_per_tick) as i64;
        }
        self.spare.push(held.payload);
    }

    /// Audio again: what was filled for lost and late packets is counted, a pause of the sender is not.
    fn close_hole(&mut self, next: &Held, player: &impl Player) {
        let hole = std::mem::take(&mut self.hole);
        if hole.ticks > 0 {
            let missing = self.played.map_or(0, |played| player.missing_between(played, next.sequence));
            let lost = missing as i64 * next.ticks + hole.late;
            self.counts.concealed += hole.ticks.min(lost) as u64;
        }
    }

    /// The next packet is later and nothing is missing before it: the sender has paused (RTP-006).
    fn expect_silence_before(&mut self, sequence: u64, player: &impl Player) {
        let complete = self.played.is_some_and(|played| player.missing_between(played, sequence) == 0);
        if complete && self.hole.ticks == 0 {
            self.quiet_from = self.quiet_from.max(Some(sequence));
        }
    }

    fn fill(&mut self, ticks: i64, out: &mut Vec<i16>) {
        let samples = ticks as usize * self.samples_per_tick;
        let quiet = self.quiet_from.is_some_and(|quiet| self.played.is_none_or(|played| quiet > played));
        if quiet || self.played.is_none() {
            out.resize(out.len() + samples, 0);
        } else {
            self.concealment.fill(samples, out);
        }
        self.hole.ticks += if self.played.is_some() { ticks } else { 0 };
        self.position += ticks;
    }

    /// Nobody could listen for `ms`: that much is not played.
    pub fn skip(&mut self, now: Instant, ms: u32) {
        self.position += i64::from(ms) * self.ticks_per_ms;
        self.last_pull = Some(now);
        self.leftover.clear();
        self.concealment.forget();
        self.drop_passed();
    }

    fn frame_ticks(&self) -> i64 {
        FRAME.as_millis() as i64 * self.ticks_per_ms
    }

    fn depth_ticks(&self) -> i64 {
        self.depth.as_millis() as i64 * self.ticks_per_ms
    }
}

#[cfg(test)]
#[path = "jitter_buffer_tests.rs"]
mod tests;
