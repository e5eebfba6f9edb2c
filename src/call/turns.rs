//! Turns of a conversation as the wire saw them: how long the caller waited for the bot, and which part of the way took how
//! long; and how fast the bot fell silent when the caller spoke over it.
//!
//! ```text
//! caller  ▁▃▅▇▅▃▁ last speech arrives ──uplink──▶ written to the WebSocket
//! bot                                                     ──bot──▶ first message of the answer ──playout──▶ first audible RTP
//! ```
//! Everything is measured here, on arrival and departure; nothing is asked of the bot. What counts as speech is energy
//! ([`VoiceActivity`]).

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::call::timeline::ms;
use crate::media::{Activity, VoiceActivity, is_audible};

/// Turns that are listed one by one, and values that medians are taken of. Later ones are in the metrics.
const LISTED: usize = 200;
/// A bot that is not audible for this long has stopped speaking.
const BOT_PAUSE: Duration = Duration::from_millis(200);
/// A caller who speaks again after this long has begun a new turn, though nobody answered the one before.
const PATIENCE: Duration = Duration::from_secs(2);
/// What the caller's frames are long.
const FRAME: Duration = Duration::from_millis(20);

/// One turn: the caller spoke. Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// From the stream's start to the caller's first speech.
    pub caller_began_ms: u64,
    /// And to the last.
    pub caller_ended_ms: u64,
    /// What the bot answered; none where it did not, or spoke before the caller had ended.
    #[serde(flatten)]
    pub response: Option<Response>,
    /// Where the caller began while the bot spoke: from there to the bot's last audible packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barge_in_ms: Option<u64>,
}

/// The wait for an answer. The three parts add up to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Response {
    /// End of the caller's speech to the bot's first audible packet.
    pub response_ms: u64,
    /// Of that: until the last speech was written to the WebSocket; jitter buffer and chunk.
    pub uplink_ms: u64,
    /// From there until the answer's first audible audio was received.
    pub bot_ms: u64,
    /// From there until it left in a packet.
    pub playout_ms: u64,
}

/// All turns of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TurnReport {
    /// Times the caller spoke.
    pub count: u64,
    /// Times the bot answered.
    pub answered: u64,
    /// Over the turns listed: the whole wait and its parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_ms: Option<Spread>,
    /// See [`Response`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uplink_ms: Option<Spread>,
    /// See [`Response`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot_ms: Option<Spread>,
    /// See [`Response`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub playout_ms: Option<Spread>,
    /// See [`Turn`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub barge_in_ms: Option<Spread>,
    /// From each `clear` of a speaking bot to its last audible packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clear_ms: Option<Spread>,
    /// The first 200.
    pub list: Vec<Turn>,
}

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// Median.
    pub p50: u64,
    /// 95 of 100 are not above it.
    pub p95: u64,
    /// The greatest.
    pub max: u64,
}

impl Spread {
    /// The spread of `values`; `None` where there are none.
    fn of(values: impl Iterator<Item = u64>) -> Option<Self> {
        let mut values: Vec<u64> = values.collect();
        values.sort_unstable();
        let at = |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self { p50: at(50)?, p95: at(95)?, max: at(100)? })
    }
}

/// What has just been measured, for metrics and log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    /// A turn is over.
    Turn(Turn),
    /// A speaking bot was cleared: this long until its last audible packet.
    Cleared(Duration),
}

/// The caller's voice. Instants are those of arrival.
#[derive(Debug)]
struct Caller {
    gate: VoiceActivity,
    /// Some of the last speech has not been written.
    unwritten: bool,
    /// When all of it had been written.
    written: Instant,
}

/// The bot's voice, as its packets leave.
#[derive(Debug, Default)]
struct Speaker {
    /// The packet being made is audible, and the answer in it was received then.
    leaving: Option<Instant>,
    /// Speaks, and when its last audible packet left.
    speaking: Option<Instant>,
    /// Its last `clear` while it spoke.
    cleared: Option<Instant>,
}

/// A turn that is not over.
#[derive(Debug)]
struct Open {
    began: Instant,
    ended: Instant,
    /// First audible packet of the bot since, and when its audio was received.
    answer: Option<(Instant, Instant)>,
    /// The bot spoke when it began, and has not stopped.
    over_bot: bool,
    barge_in: Option<Duration>,
}

/// See the module.
#[derive(Debug)]
pub struct Turns {
    start: Instant,
    caller: Caller,
    bot: Speaker,
    open: Option<Open>,
    turn: Option<Turn>,
    clear: Option<Duration>,
    count: u64,
    answered: u64,
    list: Vec<Turn>,
    clears: Vec<Duration>,
}

impl Turns {
    /// The turns of a stream that starts at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            start: now,
            caller: Caller { gate: VoiceActivity::default(), unwritten: false, written: now },
            bot: Speaker::default(),
            open: None,
            turn: None,
            clear: None,
            count: 0,
            answered: 0,
            list: Vec::new(),
            clears: Vec::new(),
        }
    }

    /// 20 ms of the caller's audio, whose end arrived at `arrived`.
    pub fn handle_caller(&mut self, arrived: Instant, frame: &[i16]) {
        match self.caller.gate.hear(frame) {
            Activity::Onset => {
                self.begin(arrived);
                self.goes_on(arrived);
            }
            Activity::Speech => self.goes_on(arrived),
            Activity::End => self.caller_ended(),
            Activity::Silence | Activity::Pause => {}
        }
    }

    /// Caller audio was written to the WebSocket: `whole` where that is all of it, not all but the last frame.
    pub fn handle_written(&mut self, now: Instant, whole: bool) {
        let last_is_speech = self.caller.gate.is_voiced();
        if self.caller.unwritten && (whole || !last_is_speech) {
            (self.caller.unwritten, self.caller.written) = (false, now);
        }
    }

    /// The bot's part of the next packet, and when it was received.
    pub fn handle_pulled(&mut self, samples: &[i16], received: Option<Instant>) {
        self.bot.leaving = received.filter(|_| is_audible(samples));
    }

    /// That packet has left.
    pub fn handle_sent(&mut self, now: Instant) {
        let Some(received) = self.bot.leaving.take() else {
            if self.bot.speaking.is_some_and(|last| now.saturating_duration_since(last) >= BOT_PAUSE) {
                self.bot_stopped();
            }
            return;
        };
        let new_words = self.bot.cleared.is_some_and(|cleared| received > cleared);
        if new_words {
            self.bot_stopped();
        }
        if self.bot.speaking.replace(now).is_none() {
            self.bot_began(now, received);
        }
    }

    /// The bot has sent `clear`.
    pub fn handle_clear(&mut self, now: Instant) {
        if self.bot.speaking.is_some() {
            self.bot.cleared.get_or_insert(now);
        }
    }

    /// The next thing measured.
    pub fn poll_measured(&mut self) -> Option<Measured> {
        if self.turn.is_none() && self.clear.is_none() {
            return None;
        }
        self.turn.take().map(Measured::Turn).or_else(|| self.clear.take().map(Measured::Cleared))
    }

    /// The stream is over: an open turn ends as it stands. To be polled afterwards.
    pub fn finish(&mut self) {
        self.bot_stopped();
        if let Some(open) = self.open.take() {
            self.close(open, None);
        }
    }

    /// All turns so far.
    #[must_use]
    pub fn report(&self) -> TurnReport {
        let part =
            |of: fn(&Response) -> u64| Spread::of(self.list.iter().filter_map(|turn| turn.response.as_ref().map(of)));
        TurnReport {
            count: self.count,
            answered: self.answered,
            response_ms: part(|response| response.response_ms),
            uplink_ms: part(|response| response.uplink_ms),
            bot_ms: part(|response| response.bot_ms),
            playout_ms: part(|response| response.playout_ms),
            barge_in_ms: Spread::of(self.list.iter().filter_map(|turn| turn.barge_in_ms)),
            clear_ms: Spread::of(self.clears.iter().map(|clear| ms(*clear))),
            list: self.list.clone(),
        }
    }

    fn begin(&mut self, arrived: Instant) {
        let began = arrived.checked_sub(FRAME * VoiceActivity::ONSET_FRAMES).unwrap_or(arrived);
        if let Some(open) = self.open.take_if(|open| began.saturating_duration_since(open.ended) > PATIENCE) {
            self.close(open, None);
        }
        let over_bot = self.bot.speaking.is_some();
        let open = Open { began, ended: arrived, answer: None, over_bot, barge_in: None };
        self.open.get_or_insert(open);
    }

    fn goes_on(&mut self, arrived: Instant) {
        self.caller.unwritten = true;
        let ended = arrived.checked_sub(self.caller.gate.trailing()).unwrap_or(arrived);
        self.open.iter_mut().for_each(|open| open.ended = ended);
    }

    fn caller_ended(&mut self) {
        // Whoever went on speaking after the bot had begun was not answered but interrupted.
        if let Some(open) = self.open.take_if(|open| open.answer.is_some()) {
            let answer = open.answer.filter(|(heard, _)| *heard >= open.ended);
            self.close(open, answer);
        }
    }

    fn bot_began(&mut self, now: Instant, received: Instant) {
        // What was received before the caller spoke is no answer.
        let Some(open) = self.open.as_mut().filter(|open| received >= open.began) else { return };
        if self.caller.gate.is_speaking() {
            open.answer.get_or_insert((now, received));
        } else if let Some(open) = self.open.take() {
            self.close(open, Some((now, received)));
        }
    }

    fn bot_stopped(&mut self) {
        let (Some(last), cleared) = (self.bot.speaking.take(), self.bot.cleared.take()) else { return };
        if let Some(cleared) = cleared {
            let took = last.saturating_duration_since(cleared);
            self.clear = Some(took);
            if self.clears.len() < LISTED {
                self.clears.push(took);
            }
        }
        if let Some(open) = self.open.as_mut().filter(|open| open.over_bot) {
            // A bot that has outlasted the caller was not interrupted.
            let gave_way = cleared.is_some() || self.caller.gate.is_speaking() || open.ended >= last;
            open.over_bot = false;
            open.barge_in = gave_way.then(|| last.saturating_duration_since(open.began));
        }
    }

    fn close(&mut self, open: Open, answer: Option<(Instant, Instant)>) {
        let since_start = |moment: Instant| ms(moment.saturating_duration_since(self.start));
        let ended = open.ended;
        let response = answer.map(|(heard, received)| {
            let written = if self.caller.unwritten { heard } else { self.caller.written.max(ended).min(heard) };
            let received = received.max(written).min(heard);
            let between = |from: Instant, to: Instant| ms(to.saturating_duration_since(from));
            // Whole milliseconds of each part, cut at the same moments, so that they add up.
            let (uplink, bot, whole) = (between(ended, written), between(ended, received), between(ended, heard));
            Response { response_ms: whole, uplink_ms: uplink, bot_ms: bot - uplink, playout_ms: whole - bot }
        });
        let turn = Turn {
            caller_began_ms: since_start(open.began),
            caller_ended_ms: since_start(ended),
            response,
            barge_in_ms: open.barge_in.map(ms),
        };
        self.count += 1;
        self.answered += u64::from(response.is_some());
        if self.list.len() < LISTED {
            self.list.push(turn.clone());
        }
        self.turn = Some(turn);
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
