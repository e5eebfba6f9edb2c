//! One stream: reads what the bridge sends, says what the script says, ends as it is told.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::base::pcm::SampleRate;
use crate::lab::bot::Shared;
use crate::lab::bot::connection::Socket;
use crate::lab::bot::count::Count;
use crate::lab::bot::message::{self, Incoming, Media, number, text_at};
use crate::lab::bot::print::{self, Meter};
use crate::lab::bot::script::{Say, Script};
use crate::lab::bot::settings::{BotEvent, BotMode};
use crate::lab::wav::WavWriter;

/// How long one message may take to be sent, and a close to be answered.
const SEND_LIMIT: Duration = Duration::from_secs(10);
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// The bridge closes after `stop`; the bot itself closes when that does not happen.
const AFTER_STOP: Duration = Duration::from_secs(5);
/// Marks whose way back is timed.
const MOST_MARKS: usize = 1_000;
/// Faults that are printed for one stream; more are only counted.
const MOST_FAULTS: u64 = 20;

/// One stream between bridge and bot.
pub(super) struct Session<'a> {
    shared: &'a Shared,
    number: u64,
    socket: Socket,
    script: Option<Script>,
    rate: SampleRate,
    wav: Option<WavWriter>,
    count: Count,
    meter: Meter,
    marks: VecDeque<(String, Instant)>,
    media_messages: u64,
    media_bytes: u64,
    faults: u64,
    due: Due,
}

/// What is to happen when, if nothing else does before.
#[derive(Default)]
struct Due {
    tick: Option<Instant>,
    cut: Option<Instant>,
    hangup: Option<Instant>,
}

impl Due {
    fn next(&self) -> Option<Instant> {
        [self.tick, self.cut, self.hangup].into_iter().flatten().min()
    }
}

/// How a stream ends.
enum End {
    /// The bridge closed, with this code.
    Closed(Option<u16>),
    /// The connection is gone without a close.
    Lost(String),
    /// The bot closes with this code.
    HangUp(u16),
    /// The bot cuts in the middle of a frame.
    Cut,
}

impl<'a> Session<'a> {
    pub(super) fn new(shared: &'a Shared, number: u64, socket: Socket) -> Self {
        Self {
            shared,
            number,
            socket,
            script: None,
            rate: shared.settings.rate.unwrap_or(SampleRate::Hz8000),
            wav: None,
            count: Count::default(),
            meter: Meter::new(Instant::now()),
            marks: VecDeque::new(),
            media_messages: 0,
            media_bytes: 0,
            faults: 0,
            due: Due::default(),
        }
    }

    /// Runs the stream to its end and writes down how it ended.
    pub(super) async fn run(mut self, mut stopped: watch::Receiver<bool>) {
        let end = loop {
            let due = self.due.next();
            let step = tokio::select! {
                message = self.socket.next() => self.received(message).await,
                () = sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => self.timed_out().await,
                _ = stopped.changed() => Err(End::HangUp(1001)),
            };
            if let Err(end) = step {
                break end;
            }
        };
        let (code, how) = self.finish(end).await;
        if let Some(line) = self.meter.line(Instant::now()) {
            self.shared.print(self.number, &line);
        }
        if let Some(Err(error)) = self.wav.take().map(WavWriter::finish) {
            self.shared.print(self.number, &error.to_string());
        }
        let (media_messages, media_bytes) = (self.media_messages, self.media_bytes);
        let heard = format!("{media_messages} media messages, {media_bytes} octets of sound");
        self.shared.print(self.number, &format!("closed {how}; {heard}, {} faults", self.faults));
        let totals = [
            ("code", code.into()),
            ("media_messages", media_messages.into()),
            ("media_bytes", media_bytes.into()),
            ("faults", self.faults.into()),
            ("how", how.into()),
        ];
        self.shared.write_journal(self.number, "closed", &totals);
        self.shared.tell(&BotEvent::Closed { connection: self.number, code, media_messages, media_bytes });
    }

    async fn received(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        match message {
            Some(Ok(Message::Text(text))) => self.text(text.as_str()),
            Some(Ok(Message::Binary(octets))) => {
                self.fault("a binary frame");
                self.shared.write_journal(self.number, "binary", &[("bytes", octets.len().into())]);
            }
            Some(Ok(Message::Close(frame))) => return Err(End::Closed(frame.map(|frame| frame.code.into()))),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => return Err(End::Lost(error.to_string())),
            None => return Err(End::Lost("connection ended".into())),
        }
        self.say().await
    }

    async fn timed_out(&mut self) -> Result<(), End> {
        let now = Instant::now();
        let past = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if past(self.due.cut) {
            return Err(End::Cut);
        }
        if past(self.due.hangup) {
            return Err(End::HangUp(self.shared.settings.close_code));
        }
        if past(self.due.tick)
            && let Some(script) = &mut self.script
        {
            script.tick();
            self.due.tick = self.due.tick.zip(script.period()).map(|(due, period)| due + period);
        }
        self.say().await
    }

    /// Sends what the script has to say.
    async fn say(&mut self) -> Result<(), End> {
        while let Some(say) = self.script.as_mut().and_then(Script::next) {
            let message = match say {
                Say::Text(text) => Message::text(text),
                Say::Binary(octets) => Message::binary(octets),
                Say::Mark(name) => {
                    let text = message::mark(self.stream_sid(), &name);
                    if self.marks.len() < MOST_MARKS {
                        self.marks.push_back((name, Instant::now()));
                    }
                    Message::text(text)
                }
            };
            match timeout(SEND_LIMIT, self.socket.send(message)).await {
                // After a failed write what the bridge sent is still read to its end: the reader has the last word.
                Ok(Ok(()) | Err(_)) => {}
                Err(_) => return Err(End::Lost("the bridge does not read".into())),
            }
        }
        Ok(())
    }

    fn stream_sid(&self) -> &str {
        self.script.as_ref().map_or("", Script::stream_sid)
    }

    fn text(&mut self, text: &str) {
        match message::read(text) {
            Incoming::Media(media) => self.media(&media),
            Incoming::Event { name, message } => self.event(&name, &message, text),
            Incoming::Unreadable => {
                let shown = print::clipped(text);
                self.fault(&format!("unreadable: {shown:?}"));
                self.shared.write_journal(self.number, "unreadable", &[("text", shown.into())]);
            }
        }
    }

    fn media(&mut self, media: &Media<'_>) {
        let Ok(octets) = base64_simd::STANDARD.decode_to_vec(media.payload.as_bytes()) else {
            return self.fault("media whose payload is not base64");
        };
        let samples: Vec<i16> = octets.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        self.media_messages += 1;
        self.media_bytes += octets.len() as u64;
        self.shared.tally.media_messages.fetch_add(1, Ordering::Relaxed);
        self.shared.tally.media_bytes.fetch_add(octets.len() as u64, Ordering::Relaxed);
        if let Some(fault) = self.count.media(media, samples.len(), self.rate) {
            self.fault(&fault);
        }
        if let Some(script) = &mut self.script {
            script.media(&media.payload);
        }
        if self.shared.settings.print.is_some()
            && let Some(line) = self.meter.add(Instant::now(), &samples)
        {
            self.shared.print(self.number, &line);
        }
        self.shared.tell(&BotEvent::Media { connection: self.number, samples: &samples });
        if let Some(Err(error)) = self.wav.as_mut().map(|wav| wav.append(&samples)) {
            self.shared.print(self.number, &error.to_string());
            self.wav = None;
        }
    }

    fn event(&mut self, name: &str, message: &Value, text: &str) {
        for line in print::event(name, message, text) {
            self.shared.print(self.number, &line);
        }
        self.shared.write_message(self.number, name, text);
        if let Some(fault) = self.count.event(name, message) {
            self.fault(&fault);
        }
        match name {
            "start" => self.started(message, text),
            "dtmf" => {
                self.shared.tally.digits.fetch_add(1, Ordering::Relaxed);
                self.script.iter_mut().for_each(Script::dtmf);
            }
            "mark" => self.mark_back(text_at(message, "/mark/name")),
            "stop" => {
                self.due = Due { hangup: Some(Instant::now() + AFTER_STOP), ..Due::default() };
            }
            _ => {}
        }
        self.shared.tell(&BotEvent::Message { connection: self.number, event: name, message, text });
    }

    fn started(&mut self, message: &Value, text: &str) {
        self.shared.remember_start(text);
        if self.script.is_some() {
            return;
        }
        let settings = &self.shared.settings;
        let told = number(&message["start"]["media_format"]["sample_rate"]).and_then(|hz| u32::try_from(hz).ok());
        let rate = settings.rate.or_else(|| SampleRate::from_hz(told?)).unwrap_or(SampleRate::Hz8000);
        self.rate = rate;
        let now = Instant::now();
        let mut script = Script::new(settings, text_at(message, "/stream_sid").to_owned(), rate);
        script.started();
        self.due = Due {
            tick: script.period().map(|period| now + period),
            cut: (settings.mode == BotMode::Drop).then(|| now + settings.after),
            hangup: settings.hangup_after.map(|after| now + after),
        };
        self.script = Some(script);
        self.wav = settings.wav.as_ref().and_then(|path| self.open_wav(path.clone()));
    }

    /// The first connection writes the file itself, the second `NAME-2.wav`, and so on.
    fn open_wav(&self, mut path: PathBuf) -> Option<WavWriter> {
        if self.number > 1 {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            path.set_file_name(format!("{stem}-{}.wav", self.number));
        }
        WavWriter::create(&path, self.rate).map_err(|error| self.shared.print(self.number, &error.to_string())).ok()
    }

    fn mark_back(&mut self, name: &str) {
        self.shared.tally.marks.fetch_add(1, Ordering::Relaxed);
        let Some(place) = self.marks.iter().position(|(sent, _)| sent == name) else { return };
        if let Some((name, sent)) = self.marks.remove(place) {
            let line = format!("      {name:?} took {} ms", sent.elapsed().as_millis());
            self.shared.print(self.number, &line);
        }
    }

    fn fault(&mut self, what: &str) {
        self.faults += 1;
        self.shared.tally.faults.fetch_add(1, Ordering::Relaxed);
        if self.faults <= MOST_FAULTS {
            self.shared.print(self.number, &format!("!     {what}"));
        }
    }

    /// Ends the connection the way `end` says; the code the bridge sent, and a word on how it went.
    async fn finish(&mut self, end: End) -> (Option<u16>, String) {
        match end {
            End::Closed(code) => {
                let _ = timeout(CLOSE_LIMIT, async { while let Some(Ok(_)) = self.socket.next().await {} }).await;
                (code, format!("by the bridge with {}", code.map_or("no code".into(), |code| code.to_string())))
            }
            End::Lost(why) => (None, format!("without a close ({why})")),
            End::HangUp(1006) => (None, "by the bot without a close frame".into()),
            End::HangUp(code) => {
                let frame = (code != 1005).then(|| CloseFrame { code: code.into(), reason: "".into() });
                let _ = timeout(SEND_LIMIT, self.socket.close(frame)).await;
                let reply = timeout(CLOSE_LIMIT, self.answer_to_close()).await.unwrap_or_default();
                (reply, format!("by the bot with {code}"))
            }
            End::Cut => {
                let _ = self.socket.flush().await;
                let wire = self.socket.get_mut();
                // A text frame that announces 4096 octets and breaks off after 24.
                let _ = wire.write_all(b"\x81\x7e\x10\x00{\"event\":\"media\",\"media\"").await;
                let _ = wire.flush().await;
                (None, "by the bot in the middle of a frame".into())
            }
        }
    }

    /// Reads on until the bridge's own close: media that was on its way is still counted.
    async fn answer_to_close(&mut self) -> Option<u16> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(Message::Text(text))) => self.text(text.as_str()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return None,
            }
        }
    }
}
