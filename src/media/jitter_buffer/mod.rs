//! The jitter buffer: packets in as they come, 20 ms of sound out at every tick of the call's clock (RTP-007).
//!
//! `position` is that clock in ticks: those of RTP, or samples where those are fewer (Opus). A talkspurt is anchored when its first packet comes: its timestamp is given the
//! position that will be played at the target delay. From then on timestamps alone say where a packet belongs. What is
//! missing at its time is concealed; what comes after its time is late. The delay changes by whole frames of 20 ms, so that
//! packets stay in line with pulls: `delay` says when, `splice` where it is not heard.

mod correction;
mod delay;
mod playing;
mod queue;
mod splice;

use std::time::{Duration, Instant};

use delay::Delay;
use queue::{Held, PACKETS, Queue};
use splice::Moment;

use super::comfort_noise::ComfortNoise;
use super::concealment::Concealment;
use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch;
use crate::config::{Fill, JitterDelay};

/// What one `pull` yields.
const FRAME: Duration = Duration::from_millis(20);
/// A hole longer than this may begin a new talkspurt with the delay of a first packet.
const HOLE_MS: i64 = 60;
/// A timestamp this much above the greatest delay is not believed.
const LEAD_MS: i64 = 80;
/// A burst at the start of a time line is over after this many pulls.
const BURST_PULLS: u8 = 50;
/// When nobody has pulled for longer, what has gathered is not played late. A clock that catches up stays below it.
const UNHEARD: Duration = Duration::from_millis(140);
/// After a stall of our own this many pulls are not learned from: what is late then was not late on the line.
const OWN_STALL_PULLS: u32 = 10;

/// How the buffer is to behave.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long packets are kept.
    pub delay: JitterDelay,
    /// What is heard where there is nothing.
    pub fill: Fill,
    /// What the noise begins with.
    pub noise_seed: u32,
}

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

    /// As [`Decoder::conceal`](super::codec::Decoder::conceal).
    fn conceal(&mut self, decoder: u8, samples: usize, out: &mut Vec<i16>) -> bool;

    /// As [`Decoder::recover`](super::codec::Decoder::recover).
    fn recover(&mut self, decoder: u8, next: &[u8], samples: usize, out: &mut Vec<i16>) -> bool;

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
    /// Frames put in to have more delay, while there was sound.
    pub inserted: u64,
    /// Frames taken out to have less, while there was sound.
    pub removed: u64,
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
    /// RTP ticks in one of ours.
    rtp_ticks: u32,
    frame: i64,
    delay: Delay,
    moment: Moment,
    /// What the next `pull` begins with.
    position: i64,
    last_pull: Option<Instant>,
    last_arrival: Option<Instant>,
    /// Pulls until arrivals are learned from again.
    own_stall: u32,
    /// Timestamp and position of one and the same sample.
    anchor: Option<(u32, i64)>,
    queue: Queue,
    /// Decoded samples from `position` on.
    leftover: Vec<i16>,
    concealment: Concealment,
    comfort: ComfortNoise,
    hole: Hole,
    /// The sequence number from which on a dry buffer means silence: comfort noise, a digit, a pause (RTP-006, RTP-062).
    quiet_from: Option<u64>,
    /// Not 0 until something has been played since the last anchor: pulls that a burst may last.
    fresh: u8,
    /// Arrival and position of the fastest packet of the time line until something of it is played.
    fastest: Option<(Instant, i64)>,
    /// The time line begins after an outage or with more than may be kept: what is too old is not played.
    outage: bool,
    /// The last packet came at once after the one before.
    in_burst: bool,
    /// Sequence number of the newest packet and the end of its audio.
    newest: Option<(u64, i64)>,
    /// Sequence number of the newest packet that was decoded, and its decoder.
    played: Option<u64>,
    decoder: u8,
    counts: Counts,
}

impl JitterBuffer {
    /// For a codec of `clock_rate` Hz whose samples have `rate`.
    #[must_use]
    pub fn new(clock_rate: u32, rate: SampleRate, settings: Settings) -> Self {
        let rtp_ticks = (clock_rate / rate.hz()).max(1);
        let ticks_per_ms = i64::from(clock_rate / rtp_ticks / 1000);
        let frame = FRAME.as_millis() as i64 * ticks_per_ms;
        Self {
            ticks_per_ms,
            samples_per_tick: (rate.hz() / clock_rate).max(1) as usize,
            rtp_ticks,
            frame,
            delay: Delay::new(settings.delay, ticks_per_ms, frame),
            moment: Moment::default(),
            position: 0,
            last_pull: None,
            last_arrival: None,
            own_stall: 0,
            anchor: None,
            queue: Queue::new(),
            leftover: Vec::new(),
            concealment: Concealment::new(rate),
            comfort: ComfortNoise::new(settings.fill, settings.noise_seed),
            hole: Hole::default(),
            quiet_from: None,
            fresh: BURST_PULLS,
            fastest: None,
            outage: false,
            in_burst: false,
            newest: None,
            played: None,
            decoder: 0,
            counts: Counts::default(),
        }
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

    /// The delay that is aimed at, and the greatest that was, in milliseconds.
    #[must_use]
    pub fn target_ms(&self) -> (u32, u32) {
        let ms = |ticks: i64| (ticks / self.ticks_per_ms) as u32;
        (ms(self.delay.target()), ms(self.delay.target_max()))
    }

    /// How long what arrives now will wait: what there is, or else what is aimed at.
    #[must_use]
    pub fn waiting_time(&self) -> Duration {
        let ticks = self.delay.present().unwrap_or_else(|| self.delay.target()).max(0);
        Duration::from_micros((ticks * 1000 / self.ticks_per_ms) as u64)
    }

    /// What is heard where there is nothing.
    pub fn comfort(&mut self) -> &mut ComfortNoise {
        &mut self.comfort
    }

    /// Reads ahead what [`Self::insert`] and [`Self::pull`] need.
    pub fn prefetch(&self) {
        touch((self.position, self.last_pull, self.last_arrival, self.newest, self.played, self.counts));
        touch((self.anchor, self.leftover.len(), self.own_stall, self.delay.present()));
        self.queue.prefetch();
        self.concealment.prefetch();
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
        let arrival = &Arrival { ticks: arrival.ticks / self.rtp_ticks, ..*arrival };
        let ticks = i64::from(arrival.ticks);
        let ahead = self.newest.is_none_or(|(newest, _)| arrival.sequence > newest);
        let mut position = self.place(arrival.timestamp);
        if ahead && position.is_none_or(|position| self.begins_anew(now, position, arrival)) {
            position = Some(self.begin(now, position));
        }
        let Some(mut position) = position else { return };
        if !ahead && self.newest.is_some_and(|(_, end)| position >= end) {
            // Sent before the newest and to be played after it: one of the two numbers is wrong.
            self.counts.discarded += 1;
            return;
        }
        self.observe(now, position, ticks);
        if ahead && position < self.position {
            position += self.wait_for(position);
        }
        if position + ticks <= self.position || self.played.is_some_and(|played| arrival.sequence <= played) {
            if self.own_stall == OWN_STALL_PULLS {
                // It was in time, we were not.
                self.counts.discarded += 1;
            } else {
                self.counts.late += 1;
                self.hole.late += ticks;
            }
            return;
        }
        if ahead {
            self.anchor = Some((arrival.timestamp, position));
            self.newest = Some((arrival.sequence, position + ticks));
        }
        if self.queue.len() >= PACKETS {
            self.drop_front();
        }
        self.queue.hold(position, arrival);
        // What our own clock is behind has come in time.
        let unheard = self.ticks(UNHEARD);
        let slack = self.backlog() + self.frame - self.since_pull(now).min(unheard);
        if slack > self.delay.max() + self.frame {
            // A burst, or a line that has become faster by more than jitter could: what was learned does not hold.
            self.delay.restart();
            self.outage = true;
            self.drop_backlog(slack - self.delay.max());
        }
    }

    /// Where a timestamp belongs, by the anchor.
    fn place(&self, timestamp: u32) -> Option<i64> {
        let (anchor, position) = self.anchor?;
        Some(position + i64::from(timestamp.wrapping_sub(anchor) as i32) / i64::from(self.rtp_ticks))
    }

    /// Whether a packet at the front of its sequence cannot belong where its timestamp says.
    fn begins_anew(&self, now: Instant, position: i64, arrival: &Arrival<'_>) -> bool {
        let Some((newest, end)) = self.newest else { return true };
        // The sender's timestamps have jumped back, or forward by more than time has passed and packets have been lost.
        let lost = (arrival.sequence - newest - 1) as i64 * i64::from(arrival.ticks);
        let lead = position - self.position;
        let too_far = position - end - lost > self.frame && lead > self.delay.max() + LEAD_MS * self.ticks_per_ms;
        if position < end - self.frame || too_far {
            return true;
        }
        if self.hole.ticks == 0 || !self.queue.is_empty() || !self.leftover.is_empty() {
            return false;
        }
        // After a stall of the network that no delay can bridge.
        if self.hole.ticks > self.delay.max() && position < self.position {
            return true;
        }
        // After a pause of the sender, where its delay does not fit any more.
        let quiet = lost == 0 || self.quiet_from.is_some_and(|quiet| quiet > newest);
        let paused = arrival.marker || (quiet && self.hole.ticks > HOLE_MS * self.ticks_per_ms);
        let off = position - self.first_position(now);
        position > end && paused && (off < -self.frame || off > 2 * self.frame)
    }

    /// A time line begins with a packet that the one before, if there was one, would have had at `position`. Where it is now.
    fn begin(&mut self, now: Instant, position: Option<i64>) -> i64 {
        self.outage = self.hole.ticks > self.delay.max() && position.is_some_and(|position| position < self.position);
        self.fresh = BURST_PULLS;
        self.delay.restart();
        let first = self.first_position(now);
        self.make_room(first);
        self.fastest = (self.queue.is_empty() && self.leftover.is_empty()).then_some((now, first));
        first
    }

    /// The position that is played at the tick nearest to the target delay from now.
    fn first_position(&self, now: Instant) -> i64 {
        // Where our own clock is behind, the pulls that it will catch up with come before any that this packet can wait for.
        let since = self.since_pull(now);
        let behind = (since - 1).max(0) / self.frame;
        let wait = (behind + 1) * self.frame - since;
        let frames = (self.delay.target() - wait + self.frame / 2).div_euclid(self.frame);
        // What came while we stood still may have had its time already.
        let frames = if since < 0 { frames } else { frames.max(0) };
        let due = self.position + (behind + frames) * self.frame;
        // What is held of an older source is played out first, if it is not much.
        let held_until = self.queue.back().map_or_else(|| self.decoded_until(), Held::end);
        if held_until - due <= self.frame { due.max(held_until) } else { due }
    }

    /// Where what is decoded already ends.
    fn decoded_until(&self) -> i64 {
        self.position + (self.leftover.len() / self.samples_per_tick) as i64
    }

    /// A time line begins at `first`: what is held of the one before and would be played from then on gives way.
    fn make_room(&mut self, first: i64) {
        let room = self.decoded_until() > first;
        if room {
            self.leftover.truncate((first - self.position).max(0) as usize * self.samples_per_tick);
        }
        let dropped = self.queue.drop_from(first);
        self.counts.discarded += dropped;
        if room || dropped > 0 {
            self.concealment.break_off();
        }
    }

    /// From the last pull to `now`; below 0 where that time has been skipped.
    fn since_pull(&self, now: Instant) -> i64 {
        let Some(last) = self.last_pull else { return self.frame };
        now.checked_duration_since(last).map_or_else(|| -self.ticks(last - now), |since| self.ticks(since))
    }

    /// Learns from an arrival, unless our own clock is late, which says nothing about the network.
    fn observe(&mut self, now: Instant, position: i64, ticks: i64) {
        let since_arrival = self.last_arrival.replace(now).map(|last| self.ticks(now.saturating_duration_since(last)));
        self.in_burst = since_arrival.is_some_and(|since| since < ticks / 4);
        if let Some((at, fastest)) = self.fastest
            && position - fastest > self.ticks(now.saturating_duration_since(at))
        {
            self.fastest = Some((now, position));
        }
        let since_pull = self.since_pull(now);
        if self.last_pull.is_some() && self.own_stall == 0 && since_pull <= self.frame {
            let slack = ((position - self.position).div_euclid(self.frame) + 1) * self.frame - since_pull;
            self.delay.observe(slack, ticks, !self.in_burst);
        }
    }

    /// A packet has come after its time, and nothing follows it yet: where that is to be learned from, all is played that
    /// much later from now on, and it is not lost. By how much.
    fn wait_for(&mut self, position: i64) -> i64 {
        let frames = (self.position - position + self.frame - 1) / self.frame;
        if frames > self.delay.lacking() || !self.leftover.is_empty() {
            return 0;
        }
        self.shift(frames * self.frame);
        self.hole.late += frames * self.frame;
        frames * self.frame
    }

    /// Nobody could listen for `ms`: that much is not played.
    pub fn skip(&mut self, now: Instant, ms: u32) {
        self.position += i64::from(ms) * self.ticks_per_ms;
        self.last_pull = Some(now);
        self.own_stall = OWN_STALL_PULLS;
        self.leftover.clear();
        self.concealment.forget();
        self.drop_passed();
    }

    fn ticks(&self, duration: Duration) -> i64 {
        (duration.as_secs() as i64 * 1_000_000 + i64::from(duration.subsec_micros())) * self.ticks_per_ms / 1000
    }
}

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod drift_tests;
#[cfg(test)]
mod tests;
