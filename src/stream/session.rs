//! One stream of one call: what is said to the bot, and what becomes of what it says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::base::prefetch::touch;
use crate::stream::base64;
use crate::stream::chunk::Chunker;
use crate::stream::dialect::{Outgoing, write};
use crate::stream::ending::{SocketEnd, Status, StreamEnd};
use crate::stream::event::{StopReason, StreamEvent};
use crate::stream::incoming::{Incoming, Oddity, json_text, read};
use crate::stream::playout::{Playout, Pulled};
use crate::stream::queue::take_front;
use crate::stream::report::StreamReport;
use crate::stream::settings::StreamSettings;
use crate::stream::wrong_rate::Suspicion;

/// Longest time that queued audio plays after the bot's close (RTP-079).
const LONGEST_DRAIN_MS: u32 = 30_000;
/// Messages of bots are best 100 ms or longer (RTP-070); the figure that bots are told, 3200 bytes, is that at 16 kHz.
const RECOMMENDED_MIN_MS: u32 = 100;
/// And at most this long, in bytes of PCM.
const RECOMMENDED_MAX: usize = 100_000;
const RECOMMENDED_MULTIPLE: usize = 320;
/// Messages up to this many bytes need no buffer that stays. 100 ms at 24 kHz are 4800.
const ROOM: usize = 4800;
/// The largest buffer for a message that is kept for the next one, in bytes.
const KEPT_BYTES: usize = 8192;

/// ```text
/// Connecting --opened--> Started --bot closed, audio left--> Draining --played--> Stopped
///      |                    |---- stop(): our stop message --> Stopping --closed--> Stopped
///      '--- failed          '---- bot closed or was lost --------------------------> Stopped
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// No WebSocket yet; what the bot says is kept.
    Connecting,
    /// `start` was queued.
    Started,
    /// The bot has closed; its last words are played.
    Draining { until: Instant, end: StreamEnd },
    /// `stop` was queued; the bot is not heard any more, and nothing is sent.
    Stopping,
    /// Over.
    Stopped,
}

/// AgentStream without a WebSocket. Feed it (`handle_*`, `push_audio`, `pull` …), then drain `poll_message`, `poll_event`
/// and `poll_close` until they are empty.
pub struct StreamSession {
    settings: StreamSettings,
    state: State,
    /// The last `sequence_number` given.
    sequence: u64,
    chunker: Chunker,
    playout: Playout,
    /// The PCM of a message, kept for the memory it has.
    decoded: Vec<u8>,
    outgoing: VecDeque<String>,
    events: VecDeque<StreamEvent>,
    close: Option<u16>,
    cleared: bool,
    held: bool,
    /// Whether the bot's first speech has the stream's rate.
    suspicion: Suspicion,
    report: StreamReport,
}

impl StreamSession {
    /// A stream whose WebSocket is being opened.
    #[must_use]
    pub fn new(settings: StreamSettings) -> Self {
        Self {
            state: State::Connecting,
            sequence: 0,
            chunker: Chunker::new(settings.sample_rate, settings.chunk_ms),
            playout: Playout::new(&settings),
            decoded: Vec::new(),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            close: None,
            cleared: false,
            held: false,
            suspicion: Suspicion::default(),
            report: StreamReport::default(),
            settings,
        }
    }

    /// Reads ahead what [`Self::pull`] needs.
    pub fn prefetch_send(&self) {
        touch((self.cleared, self.outgoing.len(), self.events.len(), self.sequence));
        self.playout.prefetch();
    }

    /// Reads ahead what [`Self::push_audio`] needs.
    pub fn prefetch_receive(&self) {
        touch((self.outgoing.len(), self.events.len()));
        self.chunker.prefetch();
    }

    /// The upgrade succeeded: `connected` and `start` go out. Where the stream was stopped meanwhile, only a close does.
    pub fn handle_opened(&mut self, _now: Instant) {
        if self.state == State::Stopped {
            self.close = Some(1000);
        }
        if self.state != State::Connecting {
            return;
        }
        self.state = State::Started;
        self.say(&Outgoing::Connected);
        self.say(&Outgoing::Start);
        if self.held && self.settings.extensions {
            self.say(&Outgoing::Hold);
        }
        self.events.push_back(StreamEvent::Started);
        self.return_marks();
    }

    /// A text frame of the bot.
    pub fn handle_text(&mut self, now: Instant, text: &str) {
        if !self.is_listening() {
            return;
        }
        self.report.messages_received += 1;
        let message = read(text, &mut |what| tolerate(&mut self.report, &mut self.events, what));
        self.obey(now, message);
    }

    /// A binary frame of the bot: JSON is taken as text; audio only where the settings say so.
    pub fn handle_binary(&mut self, now: Instant, bytes: &[u8]) {
        if !self.is_listening() {
            return;
        }
        if let Some(text) = json_text(bytes) {
            self.tolerate(Oddity::JsonInBinary);
            return self.handle_text(now, text);
        }
        self.report.messages_received += 1;
        if !self.settings.binary_media {
            self.tolerate(Oddity::BinaryMedia);
        } else if self.may_speak() {
            self.speak(now, bytes);
        }
    }

    /// The WebSocket is gone.
    pub fn handle_closed(&mut self, now: Instant, socket: SocketEnd) {
        match self.state {
            State::Connecting => self.end(StreamEnd::never_connected(&describe(&socket))),
            State::Started => self.bot_gone(now, socket),
            State::Stopping => self.state = State::Stopped,
            State::Draining { .. } | State::Stopped => {}
        }
    }

    fn bot_gone(&mut self, now: Instant, socket: SocketEnd) {
        self.outgoing.clear();
        if socket == SocketEnd::Oversize {
            self.close = Some(1009);
        }
        let end = StreamEnd::from(socket);
        self.playout.seal();
        if end.status == Status::Failed || self.playout.is_over() {
            return self.end(end);
        }
        self.events.push_back(StreamEvent::Draining { ms: self.playout.queued_ms() });
        let longest = self.settings.drain_ms.min(LONGEST_DRAIN_MS);
        self.state = State::Draining { until: now + Duration::from_millis(u64::from(longest)), end };
    }

    /// Caller audio at the stream's rate, any amount; complete chunks become media messages.
    pub fn push_audio(&mut self, pcm: &[i16]) {
        if self.state != State::Started {
            return;
        }
        let mut rest = pcm;
        while self.chunker.fill(&mut rest) {
            self.send_chunk();
        }
    }

    /// Caller audio that the chunk under way still lacks; `None` where none is taken.
    #[must_use]
    pub fn chunk_lacks(&self) -> Option<Duration> {
        (self.state == State::Started).then(|| self.chunker.lacks())
    }

    /// `ms` of the caller's time were skipped because the bridge's own process stood still: the timestamps jump.
    pub fn skip(&mut self, ms: u32) {
        if self.state == State::Started {
            self.chunker.skip(ms);
            self.report.stalled_ms += u64::from(ms);
        }
    }

    /// The caller pressed a key: one of `0-9 * # A-D`; anything else is not sent.
    pub fn dtmf(&mut self, digit: char, duration_ms: u32) {
        let digit = digit.to_ascii_uppercase();
        let is_key = matches!(digit, '0'..='9' | '*' | '#' | 'A'..='D');
        if self.state == State::Started && self.settings.bidirectional && is_key {
            self.report.digits_sent += 1;
            self.say(&Outgoing::Dtmf { digit, duration_ms });
        }
    }

    /// We end the stream: the last part of a chunk, `stop`, then close 1000. The bot's audio is dropped.
    pub fn stop(&mut self, _now: Instant, reason: StopReason) {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Connecting => self.end(match reason {
                StopReason::CallEnded => StreamEnd::cancelled(),
                StopReason::Stopped => StreamEnd::stopped(),
            }),
            State::Started => {
                self.send_chunk();
                self.say(&Outgoing::Stop(reason));
                self.close = Some(1000);
                self.end(match reason {
                    StopReason::CallEnded => StreamEnd::caller(),
                    StopReason::Stopped => StreamEnd::stopped(),
                });
                self.state = State::Stopping;
            }
            State::Draining { end, .. } => self.end(end),
            before @ (State::Stopping | State::Stopped) => self.state = before,
        }
    }

    /// The next text frame to send.
    pub fn poll_message(&mut self) -> Option<String> {
        take_front(&mut self.outgoing)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<StreamEvent> {
        take_front(&mut self.events)
    }

    /// The code to close the WebSocket with, once, after the last message was taken.
    pub fn poll_close(&mut self) -> Option<u16> {
        if self.outgoing.is_empty() { self.close.take() } else { None }
    }

    /// Appends bot audio for the next packet of `samples` samples to `out`; the rest of the packet is silence. Called once
    /// per packet, at its deadline.
    pub fn pull(&mut self, now: Instant, samples: usize, out: &mut Vec<i16>) -> Pulled {
        match self.state {
            State::Started | State::Draining { .. } => {
                let start = out.len();
                let pulled = self.playout.pull(now, samples, out);
                self.judge_rate(&out[start..]);
                pulled
            }
            State::Connecting | State::Stopping | State::Stopped => Pulled::default(),
        }
    }

    /// The first speech that is played shows whether it has the stream's rate.
    fn judge_rate(&mut self, played: &[i16]) {
        if let Some(wrong) = self.suspicion.hear(played) {
            self.report.wrong_rate = Some(wrong.word());
            self.events.push_back(StreamEvent::WrongRate(wrong));
        }
    }

    /// What is pulled leaves `samples` samples later than it is pulled, less than a packet: the delay of the resampler behind
    /// this. Marks wait for it (RTP-075).
    pub fn set_playout_delay(&mut self, samples: usize) {
        self.playout.set_delay(samples);
    }

    /// The packet with the last pulled samples was handed to the socket (or could not be): marks it reached go back.
    pub fn sent(&mut self, _now: Instant) {
        self.playout.sent();
        self.return_marks();
        if let State::Draining { end, .. } = &self.state
            && self.playout.is_over()
        {
            let end = end.clone();
            self.end(end);
        }
    }

    /// Media messages so far.
    #[must_use]
    pub fn chunks_sent(&self) -> u64 {
        self.report.chunks_sent
    }

    /// Whether all caller audio so far is in media messages.
    #[must_use]
    pub fn is_chunk_empty(&self) -> bool {
        self.chunker.chunk().is_none()
    }

    /// Whether a clear came that [`Self::take_cleared`] has not been asked about.
    #[must_use]
    pub fn is_cleared(&self) -> bool {
        self.cleared
    }

    /// Whether a clear came since this was last asked: the resampler's tail goes too (RTP-076).
    pub fn take_cleared(&mut self) -> bool {
        std::mem::take(&mut self.cleared)
    }

    /// The caller holds the line, or is back: bot audio and marks wait meanwhile (SDP-011).
    pub fn set_paused(&mut self, _now: Instant, paused: bool) {
        if self.held == paused {
            return;
        }
        self.held = paused;
        self.playout.set_paused(paused);
        if self.settings.extensions && self.state == State::Started {
            self.say(if paused { &Outgoing::Hold } else { &Outgoing::Resume });
        }
        self.return_marks();
    }

    /// When [`Self::handle_timeout`] wants to be called: the end of the time that a closed bot's audio may play.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Draining { until, .. } => Some(until),
            State::Connecting | State::Started | State::Stopping | State::Stopped => None,
        }
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Draining { until, end } = &self.state
            && *until <= now
        {
            let end = end.clone();
            self.end(end);
        }
    }

    /// What the stream did so far.
    #[must_use]
    pub fn report(&self) -> StreamReport {
        StreamReport {
            played_ms: self.playout.played_ms(),
            underruns: self.playout.underruns(),
            queue_max_ms: self.playout.most_ms(),
            ..self.report.clone()
        }
    }

    /// Whether what the bot says still counts.
    fn is_listening(&self) -> bool {
        matches!(self.state, State::Connecting | State::Started)
    }

    fn obey(&mut self, now: Instant, message: Incoming<'_>) {
        match message {
            Incoming::Media(payload) if self.may_speak() => {
                let mut room = [0; ROOM];
                if let Some(pcm) = base64::decode_exact(&payload, &mut room) {
                    return self.speak(now, pcm);
                }
                let mut pcm = std::mem::take(&mut self.decoded);
                if base64::decode(&payload, &mut pcm) {
                    self.speak(now, &pcm);
                } else {
                    self.tolerate(Oddity::Base64);
                }
                self.decoded = if pcm.capacity() <= KEPT_BYTES { pcm } else { Vec::new() };
            }
            Incoming::Mark(name) if self.may_speak() => self.mark(name),
            Incoming::Clear if self.may_speak() => {
                self.report.clears += 1;
                self.playout.clear();
                self.cleared = true;
                self.return_marks();
            }
            Incoming::Stop => self.events.push_back(StreamEvent::BotStopNote),
            Incoming::Echo => self.tolerate(Oddity::Echo),
            Incoming::Media(_) | Incoming::Mark(_) | Incoming::Clear | Incoming::Nothing => {}
        }
    }

    /// False, and counted, on a stream that only listens.
    fn may_speak(&mut self) -> bool {
        if !self.settings.bidirectional {
            self.tolerate(Oddity::Unidirectional);
        }
        self.settings.bidirectional
    }

    fn speak(&mut self, now: Instant, pcm: &[u8]) {
        self.report.media_received += 1;
        self.report.bytes_received += pcm.len() as u64;
        if pcm.len() % 2 == 1 {
            self.tolerate(Oddity::OddBytes);
        }
        let least = self.settings.sample_rate.samples(RECOMMENDED_MIN_MS) * 2;
        if !(least..=RECOMMENDED_MAX).contains(&pcm.len()) || !pcm.len().is_multiple_of(RECOMMENDED_MULTIPLE) {
            self.tolerate(Oddity::PayloadSize);
        }
        self.suspicion.begin(self.settings.sample_rate);
        if self.playout.push(now, pcm).is_err() {
            self.tolerate(Oddity::QueueFull);
        }
    }

    fn mark(&mut self, name: Value) {
        self.report.marks_received += 1;
        if !self.playout.push_mark(name) {
            self.tolerate(Oddity::MarksFull);
        }
        self.return_marks();
    }

    /// Returns the marks that are due; before `start` and while the line is held they wait.
    fn return_marks(&mut self) {
        while self.state == State::Started
            && let Some(mark) = self.playout.poll_mark()
        {
            self.report.marks_sent += 1;
            let rate = self.settings.sample_rate;
            let played_ms = mark.cleared_at.filter(|_| self.settings.extensions).map(|samples| rate.ms(samples));
            self.say(&Outgoing::Mark { name: &mark.name, played_ms });
        }
    }

    fn send_chunk(&mut self) {
        if let Some(chunk) = self.chunker.chunk() {
            self.sequence += 1;
            self.report.chunks_sent += 1;
            self.report.messages_sent += 1;
            self.outgoing.push_back(write(&self.settings, self.sequence, &Outgoing::Media(chunk)));
            self.chunker.advance();
        }
    }

    fn say(&mut self, message: &Outgoing<'_>) {
        self.sequence += u64::from(message.is_numbered());
        self.report.messages_sent += 1;
        self.outgoing.push_back(write(&self.settings, self.sequence, message));
    }

    fn end(&mut self, end: StreamEnd) {
        self.playout.drop_all();
        self.state = State::Stopped;
        self.events.push_back(StreamEvent::Ended(end));
    }

    fn tolerate(&mut self, what: Oddity) {
        tolerate(&mut self.report, &mut self.events, what);
    }
}

fn tolerate(report: &mut StreamReport, events: &mut VecDeque<StreamEvent>, what: Oddity) {
    let count = report.tolerated.entry(what.word()).or_default();
    *count += 1;
    events.push_back(StreamEvent::Tolerated { what: what.word(), first: *count == 1 });
    if what.drops_message() {
        *report.dropped.entry(what.word()).or_default() += 1;
    }
}

fn describe(socket: &SocketEnd) -> String {
    StreamEnd::from(socket.clone()).error.unwrap_or_else(|| "connection closed".into())
}
