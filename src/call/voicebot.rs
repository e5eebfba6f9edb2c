//! A voicebot step: its bot is dialled, streams, and ends; the flow goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::base::id::StreamSid;
use crate::base::metric;
use crate::base::pcm::SampleRate;
use crate::call::directory::StreamSlot;
use crate::call::headers;
use crate::call::outcome::{DialFailure, Failure, cause_of_close, stream_end};
use crate::call::record::export_measured;
use crate::call::timeline::{StreamRecord, ms};
use crate::call::turns::Turns;
use crate::call::{Call, Dial, Output, StreamInput, Timer};
use crate::flow::Outcome;
use crate::flow::applet::voicebot::{self as applet, AnswerMode, Voicebot};
use crate::media::MediaSession;
use crate::stream::{
    ClearMarks, ClearScope, DialectSettings, DisconnectedBy, NumberStyle, Status, StopReason, StreamEnd, StreamEvent,
    StreamReport, StreamSession, StreamSettings, StreamUrl,
};

/// One stream of a call, from the dial to its end.
pub(super) struct Bot {
    number: u32,
    step: String,
    settings: Arc<Voicebot>,
    url: StreamUrl,
    sid: StreamSid,
    session: StreamSession,
    turns: Turns,
    dialed: Instant,
    opened: Option<Instant>,
    _slot: StreamSlot,
}

impl Bot {
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn prefetch_send(&self) {
        self.session.prefetch_send();
    }

    pub(super) fn prefetch_receive(&self) {
        self.session.prefetch_receive();
    }

    /// The flow's step.
    pub(super) fn step(&self) -> &str {
        &self.step
    }

    /// Where the bot is.
    pub(super) fn url(&self) -> &StreamUrl {
        &self.url
    }

    pub(super) fn pull(&mut self, now: Instant, samples: usize, out: &mut Vec<i16>, media: &mut MediaSession) {
        if self.session.take_cleared() {
            media.clear_playout();
        }
        self.session.set_playout_delay(media.playout_delay());
        let received = self.session.pull(now, samples, out).received;
        self.turns.handle_pulled(out, received);
    }

    /// The packet with the pulled samples is on its way.
    pub(super) fn sent(&mut self, now: Instant) {
        self.session.sent(now);
        self.turns.handle_sent(now);
    }

    /// 20 ms of the caller, whose end arrived at `arrived`.
    pub(super) fn push_audio(&mut self, now: Instant, arrived: Instant, pcm: &[i16]) {
        self.turns.handle_caller(arrived, pcm);
        let before = self.session.chunks_sent();
        self.session.push_audio(pcm);
        if self.session.chunks_sent() > before {
            self.turns.handle_written(now, self.session.is_chunk_empty());
        }
    }

    /// Caller audio that the chunk under way still lacks; `None` where nothing is sent to the bot.
    pub(super) fn chunk_lacks(&self) -> Option<Duration> {
        self.session.chunk_lacks()
    }

    pub(super) fn skip(&mut self, ms: u32) {
        self.session.skip(ms);
    }

    pub(super) fn dtmf(&mut self, digit: char, duration_ms: u32) {
        self.session.dtmf(digit, duration_ms);
    }

    pub(super) fn set_paused(&mut self, now: Instant, paused: bool) {
        self.session.set_paused(now, paused);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.session.poll_timeout()
    }

    /// The bot has said something.
    fn hear(&mut self, now: Instant, tell: impl FnOnce(&mut StreamSession)) {
        tell(&mut self.session);
        if self.session.is_cleared() {
            self.turns.handle_clear(now);
        }
    }

    /// How the session says that it ended.
    fn verdict(&mut self) -> Option<StreamEnd> {
        std::iter::from_fn(|| self.session.poll_event()).find_map(|event| match event {
            StreamEvent::Ended(end) => Some(end),
            StreamEvent::Started
            | StreamEvent::BotStopNote
            | StreamEvent::Tolerated { .. }
            | StreamEvent::WrongRate(_)
            | StreamEvent::Draining { .. } => None,
        })
    }

    /// Whether a deadline of the session passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        let due = self.session.poll_timeout().is_some_and(|deadline| deadline <= now);
        if due {
            self.session.handle_timeout(now);
        }
        due
    }
}

impl Call {
    /// Starts a voicebot step; an outcome where it ends at once.
    pub(super) fn start_bot(&mut self, now: Instant, step: String, settings: Arc<Voicebot>) -> Option<Outcome> {
        let url = match StreamUrl::parse(&settings.url) {
            Ok(url) => url,
            Err(error) => {
                self.span.in_scope(|| warn!(%step, %error, "the step's URL cannot be used"));
                self.remember(Failure::FlowInvalid);
                return Some(Outcome::Error);
            }
        };
        if self.caller_gone {
            self.note_unstarted(&step, &url, "cancelled", "user", None);
            return Some(Outcome::Next);
        }
        let slot = match self.directory.open_stream(&self.account) {
            Ok(slot) => slot,
            Err(failure) => {
                self.span
                    .in_scope(|| warn!(%step, account = %self.account, "the account has max_streams streams open"));
                self.note_unstarted(&step, &url, "failed", "NA", Some("Streaming_call_throttled"));
                self.remember(failure);
                return Some(Outcome::Error);
            }
        };
        self.dial_bot(now, step, settings, url, slot);
        None
    }

    fn dial_bot(&mut self, now: Instant, step: String, settings: Arc<Voicebot>, url: StreamUrl, slot: StreamSlot) {
        self.streams_opened += 1;
        let sid = StreamSid::mint(&mut self.random);
        let insecure = settings.insecure_hosts.iter().any(|host| host.eq_ignore_ascii_case(url.host()));
        let dial =
            Dial { url: url.clone(), deadline: settings.connect_timeout, ca_file: settings.ca_file.clone(), insecure };
        let mut session = StreamSession::new(self.stream_settings(&settings, &url, sid.clone()));
        session.set_paused(now, self.timeline.answered.is_some() && !self.leg.may_send());
        self.span.record("stream_sid", sid.as_str());
        self.span.in_scope(|| info!(%step, url = %url, "dialling the bot"));
        if self.timeline.answered.is_none() {
            match settings.answer_mode {
                AnswerMode::Immediate => self.answer(now),
                AnswerMode::OnStream => self.ring(now),
                AnswerMode::EarlyMedia => self.open_early_media(now),
            }
        }
        let (number, turns) = (self.streams_opened, Turns::new(now));
        let bot = Bot { number, step, settings, url, sid, session, turns, dialed: now, opened: None, _slot: slot };
        self.media.set_stream_rate(bot.url.sample_rate());
        self.bot = Some(Box::new(bot));
        self.outputs.push_back(Output::OpenStream { stream: number, dial: Box::new(dial) });
    }

    fn stream_settings(&self, settings: &Voicebot, url: &StreamUrl, stream_sid: StreamSid) -> StreamSettings {
        let merged = headers::merge(&self.parameters, url.parameters(), self.trunk.headers.header_first);
        for (key, _) in &merged.omitted {
            self.span.in_scope(|| info!(%key, "a header and a URL parameter share a key; one wins"));
        }
        StreamSettings {
            stream_sid,
            call_sid: self.sid.clone(),
            account_sid: self.account.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            custom_parameters: merged.parameters,
            sample_rate: url.sample_rate(),
            chunk_ms: settings.chunk_ms,
            bidirectional: true,
            dialect: dialect(settings),
            extensions: settings.extensions,
            binary_media: settings.binary_media,
            queue_ms: whole_ms(settings.queue),
            drain_ms: whole_ms(settings.drain),
            clear_scope: match settings.clear_scope {
                applet::ClearScope::All => ClearScope::All,
                applet::ClearScope::AfterCurrentMessage => ClearScope::AfterCurrentMessage,
            },
            clear_marks: match settings.clear_marks {
                applet::ClearMarks::Echo => ClearMarks::Echo,
                applet::ClearMarks::Drop => ClearMarks::Drop,
            },
        }
    }

    /// The bot's WebSocket did something. Inputs of a stream that is over are ignored.
    pub fn handle_stream(&mut self, now: Instant, stream: u32, input: StreamInput<'_>) {
        if self.over {
            return;
        }
        let Some(bot) = self.bot.as_deref_mut().filter(|bot| bot.number == stream) else { return };
        match input {
            StreamInput::Opened => {
                bot.opened = Some(now);
                bot.turns = Turns::new(now);
                bot.session.handle_opened(now);
                self.bot_opened(now);
            }
            StreamInput::DialFailed(failure) => self.dial_failed(now, &failure),
            StreamInput::Text(text) => bot.hear(now, |session| session.handle_text(now, text)),
            StreamInput::Binary(bytes) => bot.hear(now, |session| session.handle_binary(now, bytes)),
            StreamInput::Closed(end) => bot.session.handle_closed(now, end),
        }
        self.drain_bot(now);
    }

    fn bot_opened(&mut self, now: Instant) {
        let Some(bot) = self.bot.as_deref() else { return };
        let connect_ms = ms(now.saturating_duration_since(bot.dialed));
        metric::STREAM_CONNECT.record(connect_ms as f64);
        self.span.in_scope(|| info!(step = %bot.step, connect_ms, "bot connected"));
        self.timers.set(Timer::MaxDuration, now + bot.settings.max_duration);
        self.answer(now);
    }

    fn dial_failed(&mut self, now: Instant, failure: &DialFailure) {
        let Some(mut bot) = self.bot.take() else { return };
        metric::STREAM_CONNECT_FAILURES.add_with(1, &[("class", failure.label().to_owned())]);
        let error = format!("3009 failed to establish ws conn {failure}");
        self.span.in_scope(|| warn!(step = %bot.step, url = %bot.url, %error, "the bot could not be connected"));
        self.remember(failure.failure());
        self.note_stream(&mut bot, now, Ending { error: Some(error), ..Ending::new("failed", "NA") }, false);
        drop(bot);
        let step = self.engine.finished(Outcome::Error);
        self.run(now, step);
    }

    /// Remembers why the flow may end unanswered; the cause of a BYE is the last failure's.
    fn remember(&mut self, failure: Failure) {
        self.cause = failure.bye_cause();
        self.remembered = Some(failure);
    }

    /// Carries what the session wants done.
    pub(super) fn drain_bot(&mut self, now: Instant) {
        let Some(bot) = self.bot.as_deref_mut() else { return };
        while let Some(text) = bot.session.poll_message() {
            self.outputs.push_back(Output::StreamText { stream: bot.number, text });
        }
        while let Some(measured) = bot.turns.poll_measured() {
            self.span.in_scope(|| export_measured(&self.flow, &bot.step, bot.url.host(), &measured));
        }
        while let Some(event) = self.bot.as_deref_mut().and_then(|bot| bot.session.poll_event()) {
            match event {
                StreamEvent::Tolerated { what, first } => {
                    metric::STREAM_TOLERATED.add_with(1, &[("what", what.to_owned())]);
                    if first {
                        self.span.in_scope(|| {
                            warn!(what, "the bot sent something unusual; it is put up with, told once a call")
                        });
                    }
                }
                StreamEvent::WrongRate(wrong) => self.note_wrong_rate(wrong),
                StreamEvent::Ended(end) => return self.bot_ended(now, &end),
                StreamEvent::Draining { ms } => {
                    self.timers.clear(Timer::MaxDuration);
                    self.span.in_scope(|| info!(queued_ms = ms, "the bot closed, what it said is still played"));
                }
                StreamEvent::Started | StreamEvent::BotStopNote => {}
            }
        }
    }

    fn bot_ended(&mut self, now: Instant, end: &StreamEnd) {
        let Some(mut bot) = self.bot.take() else { return };
        self.flush_bot(&mut bot);
        self.timers.clear(Timer::MaxDuration);
        let failed = end.status == Status::Failed;
        if failed {
            self.cause = Failure::BotLost(end.code).bye_cause();
        } else {
            self.cause = cause_of_close(end.code);
        }
        let ending = Ending {
            error: end.error.clone(),
            close_code: end.code,
            ..Ending::new(word(end.status), by(end.disconnected_by))
        };
        self.note_stream(&mut bot, now, ending, true);
        drop(bot);
        let step = self.engine.finished(if failed { Outcome::Error } else { Outcome::Next });
        self.run(now, step);
    }

    pub(super) fn max_duration(&mut self, now: Instant) {
        let Some(mut bot) = self.bot.take() else { return };
        bot.session.stop(now, StopReason::Stopped);
        self.flush_bot(&mut bot);
        self.cause = 102;
        let (status, by) = stream_end("max_duration");
        let ending = Ending { disposition: Some("max_duration"), ..Ending::new(status, by) };
        self.note_stream(&mut bot, now, ending, true);
        drop(bot);
        let step = self.engine.finished(Outcome::Next);
        self.run(now, step);
    }

    /// Ends the stream because the call ends; `detail` is `None` for the caller's hang-up. Whether there was one.
    pub(super) fn close_bot(&mut self, now: Instant, detail: Option<&'static str>) -> bool {
        let Some(mut bot) = self.bot.take() else { return false };
        self.timers.clear(Timer::MaxDuration);
        let started = bot.opened.is_some();
        if started {
            bot.session.stop(now, StopReason::CallEnded);
        }
        // A bot that had closed, and was only still heard, has ended the stream itself.
        let verdict = bot.verdict().filter(|_| started);
        self.flush_bot(&mut bot);
        let (status, by) = match detail {
            None => verdict.map_or(stream_end("cancelled"), |end| (word(end.status), by(end.disconnected_by))),
            Some("shutdown" | "hold_timeout" | "session_expired") if !started => ("failed", "NA"),
            Some(why) => stream_end(why),
        };
        let error = (status == "failed").then(|| detail.unwrap_or_default().replace('_', " "));
        self.note_stream(&mut bot, now, Ending { error, detail, ..Ending::new(status, by) }, started);
        true
    }

    /// Sends what the session still has to say and closes its socket.
    fn flush_bot(&mut self, bot: &mut Bot) {
        while let Some(text) = bot.session.poll_message() {
            self.outputs.push_back(Output::StreamText { stream: bot.number, text });
        }
        self.outputs.push_back(Output::CloseStream { stream: bot.number, code: 1000 });
        self.set_stream_rate(SampleRate::Hz8000);
    }

    fn note_stream(&mut self, bot: &mut Bot, now: Instant, ending: Ending, started: bool) {
        let seconds = bot.opened.map_or(0, |opened| now.saturating_duration_since(opened).as_secs());
        let labels = [("status", ending.status.to_owned()), ("by", ending.by.to_owned())];
        metric::STREAMS.add_with(1, &labels);
        bot.turns.finish();
        while let Some(measured) = bot.turns.poll_measured() {
            self.span.in_scope(|| export_measured(&self.flow, &bot.step, bot.url.host(), &measured));
        }
        let figures = started.then(|| bot.session.report());
        if let Some(figures) = &figures {
            export(figures);
        }
        self.span.in_scope(|| {
            info!(step = %bot.step, status = ending.status, by = ending.by, error = ending.error, close_code = ending.close_code, seconds, "stream ended");
        });
        self.streams.push(StreamRecord {
            step: bot.step.clone(),
            stream_sid: bot.sid.to_string(),
            stream_url: bot.url.to_string(),
            status: ending.status,
            disconnected_by: ending.by,
            error: ending.error,
            detailed_status: ending.detail,
            disposition: ending.disposition,
            close_code: ending.close_code,
            duration: seconds.to_string(),
            connect_ms: bot.opened.map(|opened| ms(opened.saturating_duration_since(bot.dialed))),
            figures,
            turns: started.then(|| bot.turns.report()),
        });
    }

    fn note_unstarted(
        &mut self,
        step: &str,
        url: &StreamUrl,
        status: &'static str,
        by: &'static str,
        detail: Option<&'static str>,
    ) {
        metric::STREAMS.add_with(1, &[("status", status.to_owned()), ("by", by.to_owned())]);
        self.streams.push(StreamRecord {
            step: step.to_owned(),
            stream_sid: String::new(),
            stream_url: url.to_string(),
            status,
            disconnected_by: by,
            error: None,
            detailed_status: detail,
            disposition: None,
            close_code: None,
            duration: "0".into(),
            connect_ms: None,
            figures: None,
            turns: None,
        });
    }
}

/// How a stream ended, in the words of its record.
struct Ending {
    status: &'static str,
    by: &'static str,
    error: Option<String>,
    detail: Option<&'static str>,
    disposition: Option<&'static str>,
    close_code: Option<u16>,
}

impl Ending {
    fn new(status: &'static str, by: &'static str) -> Self {
        Self { status, by, error: None, detail: None, disposition: None, close_code: None }
    }
}

fn export(figures: &StreamReport) {
    metric::STREAM_UNDERRUNS.add(figures.underruns);
    metric::STREAM_QUEUE.record(figures.queue_max_ms as f64);
    for (reason, count) in &figures.dropped {
        metric::STREAM_DROPPED.add_with(*count, &[("reason", (*reason).to_owned())]);
    }
}

fn dialect(settings: &Voicebot) -> DialectSettings {
    DialectSettings {
        number_style: match settings.number_style {
            applet::NumberStyle::Mixed => NumberStyle::Mixed,
            applet::NumberStyle::Strings => NumberStyle::Strings,
            applet::NumberStyle::Numbers => NumberStyle::Numbers,
        },
        encoding: settings.encoding.clone(),
        bit_rate: settings.bit_rate.clone(),
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Completed => "completed",
        Status::Failed => "failed",
        Status::Cancelled => "cancelled",
    }
}

fn by(disconnected_by: DisconnectedBy) -> &'static str {
    match disconnected_by {
        DisconnectedBy::User => "user",
        DisconnectedBy::Bot => "bot",
        DisconnectedBy::Na => "NA",
    }
}

fn whole_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
