//! Stories in virtual time: a bot, a stream, and a clock that ticks a packet at a time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

mod ending;
mod from_bot;
mod playing;
mod properties;
mod to_bot;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::base::id::{AccountSid, CallSid, StreamSid};
use crate::base::pcm::SampleRate;
use crate::base::random::Random;
use crate::stream::*;

/// Samples in a packet of 20 ms at 8 kHz.
const PACKET: usize = 160;

fn settings() -> StreamSettings {
    let mut random = Random::from_number(1);
    StreamSettings {
        stream_sid: StreamSid::mint(&mut random),
        call_sid: CallSid::mint(&mut random),
        account_sid: AccountSid::parse("acc1").expect("valid"),
        from: "sip:100".into(),
        to: "200".into(),
        custom_parameters: Vec::new(),
        sample_rate: SampleRate::Hz8000,
        chunk_ms: 100,
        dialect: DialectSettings::default(),
        extensions: false,
        binary_media: false,
        bidirectional: true,
        queue_ms: 120_000,
        drain_ms: 30_000,
        clear_scope: ClearScope::All,
        clear_marks: ClearMarks::Echo,
    }
}

/// A started stream, its bot and its caller.
struct World {
    session: StreamSession,
    now: Instant,
    /// Bot audio as the caller hears it, silence included.
    heard: Vec<i16>,
    /// Samples of bot audio among it.
    played: usize,
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: StreamSettings) -> Self {
        let mut world = Self::connecting(settings);
        world.session.handle_opened(world.now);
        assert_eq!(world.events(), [StreamEvent::Started]);
        assert_eq!(world.messages().len(), 2);
        world
    }

    fn connecting(settings: StreamSettings) -> Self {
        Self { session: StreamSession::new(settings), now: Instant::now(), heard: Vec::new(), played: 0 }
    }

    /// The bot sends this text.
    fn bot(&mut self, text: &str) {
        self.session.handle_text(self.now, text);
    }

    /// The bot sends `bytes` of PCM.
    fn bot_bytes(&mut self, bytes: &[u8]) {
        let mut payload = String::new();
        super::base64::encode(bytes, &mut payload);
        self.bot(&json!({"event": "media", "stream_sid": "x", "media": {"payload": payload}}).to_string());
    }

    /// The bot sends `samples`.
    fn bot_pcm(&mut self, samples: &[i16]) {
        self.bot_bytes(&samples.iter().flat_map(|sample| sample.to_le_bytes()).collect::<Vec<_>>());
    }

    /// The bot speaks for `ms` milliseconds: samples of the value `level`.
    fn bot_speaks(&mut self, ms: usize, level: i16) {
        self.bot_pcm(&vec![level; ms * 8]);
    }

    fn bot_marks(&mut self, name: impl Into<Value>) {
        self.bot(&json!({"event": "mark", "stream_sid": "x", "mark": {"name": name.into()}}).to_string());
    }

    fn bot_clears(&mut self) {
        self.bot(r#"{"event":"clear","stream_sid":"x"}"#);
    }

    fn bot_closes(&mut self) {
        self.session.handle_closed(self.now, SocketEnd::Close { code: Some(1000), reason: String::new() });
    }

    /// A packet is pulled and sent; then 20 ms pass. Returns its bot audio.
    fn packet(&mut self) -> Vec<i16> {
        let packet = self.pull();
        self.session.sent(self.now);
        self.pass(20);
        packet
    }

    fn pull(&mut self) -> Vec<i16> {
        let mut packet = Vec::new();
        let pulled = self.session.pull(self.now, PACKET, &mut packet);
        assert_eq!(pulled.played, packet.len());
        assert_eq!(pulled.playing, !packet.is_empty());
        self.played += packet.len();
        self.heard.extend(&packet);
        self.heard.resize(self.heard.len() + PACKET - packet.len(), 0);
        packet
    }

    /// Packets for `ms` milliseconds; returns the milliseconds of bot audio in them.
    fn packets(&mut self, ms: usize) -> usize {
        (0..ms / 20).map(|_| self.packet().len()).sum::<usize>() / 8
    }

    fn pass(&mut self, ms: u64) {
        self.now += Duration::from_millis(ms);
        self.session.handle_timeout(self.now);
    }

    fn messages(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.session.poll_message())
            .map(|text| serde_json::from_str(&text).expect("what we write is JSON"))
            .collect()
    }

    /// Names of the marks returned since this was last asked.
    fn marks(&mut self) -> Vec<Value> {
        let is_mark = |message: &Value| message["event"] == "mark";
        self.messages().into_iter().filter(is_mark).map(|message| message["mark"]["name"].clone()).collect()
    }

    fn events(&mut self) -> Vec<StreamEvent> {
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    /// How the stream ended, if it has since this was last asked.
    fn end(&mut self) -> Option<StreamEnd> {
        self.events().into_iter().find_map(|event| match event {
            StreamEvent::Ended(end) => Some(end),
            _ => None,
        })
    }

    fn tolerated(&self, what: &str) -> u64 {
        self.session.report().tolerated.get(what).copied().unwrap_or(0)
    }

    fn dropped(&self, what: &str) -> u64 {
        self.session.report().dropped.get(what).copied().unwrap_or(0)
    }
}
