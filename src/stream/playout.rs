//! When the bot's audio is heard: start threshold, underruns, marks, clear, hold (RTP-070 to RTP-077).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch;
use crate::stream::arrivals::Arrivals;
use crate::stream::queue::{Full, Mark, Queue, take_front};
use crate::stream::settings::{ClearMarks, ClearScope, StreamSettings};
use crate::stream::threshold::Threshold;

/// Audio that comes this soon after the queue ran dry makes it an underrun (RTP-073).
const UNDERRUN_WINDOW: Duration = Duration::from_millis(300);
/// This much audio always fits.
const LOWEST_CAP_MS: u32 = 60_000;
/// Bytes of marks that may wait to be returned, each counted with its overhead.
const MARKS_CAP: usize = 1 << 20;
const MARK_OVERHEAD: usize = 64;

/// What [`pull`](crate::stream::StreamSession::pull) gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulled {
    /// Samples appended; the rest of the packet is silence.
    pub played: usize,
    /// Whether the bot is heard in this packet.
    pub playing: bool,
    /// When the last of these samples was received.
    pub received: Option<Instant>,
}

/// Nothing waits, or too little yet, or it is being played.
enum Phase {
    /// Nothing waits. `dry_at` is when the queue ran dry in the middle of playing.
    Silent {
        dry_at: Option<Instant>,
    },
    /// Below the threshold, since the first byte at `since`.
    Waiting {
        since: Instant,
    },
    Playing,
}

/// Bot audio on its way to the caller.
pub(super) struct Playout {
    rate: SampleRate,
    queue: Queue,
    arrivals: Arrivals,
    phase: Phase,
    threshold: Threshold,
    /// Marks whose last sample leaves with the packet that was handed out and not sent yet, and with the one after it.
    passed: [Vec<Mark>; 2],
    /// Packets until all that was handed out has left.
    in_flight: usize,
    /// Samples by which the resampler behind us is late, less than a packet.
    delay: usize,
    /// Marks to be returned now.
    due: VecDeque<Mark>,
    /// Bytes of all marks held.
    marks_held: usize,
    paused: bool,
    /// The bot has closed: nothing will follow.
    sealed: bool,
    clear_scope: ClearScope,
    clear_marks: ClearMarks,
    underruns: u64,
    played: u64,
    most: usize,
}

impl Playout {
    pub(super) fn new(settings: &StreamSettings) -> Self {
        Self {
            rate: settings.sample_rate,
            queue: Queue::new(settings.sample_rate, settings.queue_ms.max(LOWEST_CAP_MS), settings.clear_scope),
            arrivals: Arrivals::default(),
            phase: Phase::Silent { dry_at: None },
            threshold: Threshold::new(),
            passed: Default::default(),
            in_flight: 0,
            delay: 0,
            due: VecDeque::new(),
            marks_held: 0,
            paused: false,
            sealed: false,
            clear_scope: settings.clear_scope,
            clear_marks: settings.clear_marks,
            underruns: 0,
            played: 0,
            most: 0,
        }
    }

    /// Reads ahead what [`Self::pull`] needs.
    pub(super) fn prefetch(&self) {
        touch((self.played, self.in_flight, self.due.len(), self.most));
        self.queue.prefetch();
        self.arrivals.prefetch();
    }

    /// Times the audio ran dry in mid-speech.
    pub(super) fn underruns(&self) -> u64 {
        self.underruns
    }

    /// Milliseconds handed out so far.
    pub(super) fn played_ms(&self) -> u64 {
        self.rate.ms(self.played)
    }

    /// Milliseconds waiting.
    pub(super) fn queued_ms(&self) -> u64 {
        self.rate.ms(self.queue.samples() as u64)
    }

    /// Most milliseconds that waited.
    pub(super) fn most_ms(&self) -> u64 {
        self.rate.ms(self.most as u64)
    }

    /// Whether everything was heard: nothing waits and nothing is on its way.
    pub(super) fn is_over(&self) -> bool {
        self.queue.samples() == 0 && self.in_flight == 0
    }

    /// Bot audio arrived: PCM16LE, any length.
    pub(super) fn push(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Full> {
        let before = self.queue.samples();
        self.queue.push(bytes)?;
        self.arrivals.push(now, self.queue.samples() - before);
        self.most = self.most.max(self.queue.samples());
        if self.queue.samples() > 0
            && let Phase::Silent { dry_at } = self.phase
        {
            if dry_at.is_some_and(|dry_at| now.saturating_duration_since(dry_at) <= UNDERRUN_WINDOW) {
                self.underruns += 1;
                self.threshold.raise(now);
            }
            self.phase = Phase::Waiting { since: now };
        }
        Ok(())
    }

    /// A mark arrived: it waits for the last sample before it. False where too many wait.
    pub(super) fn push_mark(&mut self, name: Value) -> bool {
        let weight = weight(&name);
        if self.marks_held + weight > MARKS_CAP {
            return false;
        }
        self.marks_held += weight;
        let mark = Mark { name, cleared_at: None };
        match self.in_flight {
            _ if self.queue.samples() > 0 => self.queue.push_mark(mark.name),
            0 => self.due.push_back(mark),
            packets => self.passed[packets - 1].push(mark),
        }
        true
    }

    /// Appends the next packet's bot audio to `out`, at most `wanted` samples.
    pub(super) fn pull(&mut self, now: Instant, wanted: usize, out: &mut Vec<i16>) -> Pulled {
        if self.paused || !self.is_playing(now) {
            return Pulled::default();
        }
        let (passed, delay) = (&mut self.passed, self.delay);
        let played = self.queue.take(wanted, out, |mark, place| passed[usize::from(place + delay > wanted)].push(mark));
        if played < wanted {
            self.phase = Phase::Silent { dry_at: Some(now) };
        }
        if played > 0 {
            self.in_flight = 1 + usize::from(played + delay > wanted);
        }
        self.played += played as u64;
        Pulled { played, playing: played > 0, received: self.arrivals.take(played) }
    }

    /// Playing starts at the threshold, at the end of the wait for it, or at once when nothing will follow soon: the bot
    /// set a mark behind the audio or closed.
    fn is_playing(&mut self, now: Instant) -> bool {
        match self.phase {
            Phase::Silent { .. } => false,
            Phase::Playing => true,
            Phase::Waiting { since } => {
                let threshold = self.threshold.at(now);
                let ready = self.sealed
                    || self.queue.has_marks()
                    || self.queue.samples() >= self.rate.samples(threshold.as_millis() as u32)
                    || now.saturating_duration_since(since) >= threshold;
                if ready {
                    self.phase = Phase::Playing;
                }
                ready
            }
        }
    }

    /// The packet last pulled was handed to the socket: the marks it reached are due.
    pub(super) fn sent(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.due.extend(self.passed[0].drain(..));
        self.passed.swap(0, 1);
    }

    /// What is handed out leaves `samples` later than it is handed out, less than a packet: the resampler's delay. Marks wait
    /// for their last sample itself (RTP-075).
    pub(super) fn set_delay(&mut self, samples: usize) {
        self.delay = samples;
    }

    /// Drops what has not been handed out. Marks overtaken are due at once, in order, or forgotten.
    pub(super) fn clear(&mut self) {
        let mut overtaken = Vec::new();
        self.queue.clear(self.clear_scope, &mut overtaken);
        self.arrivals.truncate(self.queue.samples());
        self.due.extend(self.passed.iter_mut().flat_map(|marks| marks.drain(..)));
        match self.clear_marks {
            ClearMarks::Echo => self.due.extend(overtaken),
            ClearMarks::Drop => self.marks_held -= overtaken.iter().map(|mark| weight(&mark.name)).sum::<usize>(),
        }
        if self.queue.samples() == 0 {
            self.phase = Phase::Silent { dry_at: None };
        }
    }

    /// A mark to be returned now. None while the caller holds the line (SDP-011).
    pub(super) fn poll_mark(&mut self) -> Option<Mark> {
        if self.paused {
            return None;
        }
        let mark = take_front(&mut self.due)?;
        self.marks_held -= weight(&mark.name);
        Some(mark)
    }

    /// Hold and resume: while paused nothing is handed out and no mark is returned (SDP-011).
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.paused = paused;
        if let Phase::Silent { dry_at } = &mut self.phase {
            *dry_at = None;
        }
    }

    /// The bot closed: what waits is played without further waiting, trailing digital silence is not.
    pub(super) fn seal(&mut self) {
        self.queue.seal();
        self.drop_marks();
        self.sealed = true;
    }

    /// The end: nothing is heard any more.
    pub(super) fn drop_all(&mut self) {
        self.queue.clear(ClearScope::All, &mut Vec::new());
        self.arrivals.truncate(0);
        self.drop_marks();
        self.in_flight = 0;
        self.phase = Phase::Silent { dry_at: None };
    }

    fn drop_marks(&mut self) {
        self.passed = Default::default();
        self.due = VecDeque::new();
        self.marks_held = 0;
    }
}

/// Bytes that a mark may cost while it waits.
fn weight(name: &Value) -> usize {
    MARK_OVERHEAD + name.as_str().map_or(0, str::len)
}
