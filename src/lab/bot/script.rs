//! What each mode says, and when: no socket here.

use std::collections::VecDeque;
use std::time::Duration;

use crate::base::pcm::SampleRate;
use crate::lab::bot::message;
use crate::lab::bot::settings::{BotMode, BotSettings};
use crate::lab::speech::{Speech, Tone};

/// How much sound one message of the bot's own carries.
const MESSAGE_MS: u32 = 100;
/// How long the greeting is.
const GREETING_MS: u32 = 2_000;
/// How much sound `flood` sends at once.
const FLOOD_MS: u32 = 200_000;
/// A mark stands after every so much of the flood.
const FLOOD_MARK_MS: u32 = 50_000;
/// The seed of the bot's voice.
const VOICE: u32 = 2;

/// Something to send.
#[derive(Debug, PartialEq)]
pub(super) enum Say {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A mark of this name.
    Mark(String),
}

/// The bot's part in one stream.
pub(super) struct Script {
    mode: BotMode,
    marks: bool,
    clear_on_dtmf: bool,
    stream_sid: String,
    rate: SampleRate,
    tone: Tone,
    said: u64,
    out: VecDeque<Say>,
}

impl Script {
    /// A part that begins with the `start` message.
    pub(super) fn new(settings: &BotSettings, stream_sid: String, rate: SampleRate) -> Self {
        let tone = Tone::new(rate, 440.0, 8_192);
        let (mode, marks, clear_on_dtmf) = (settings.mode, settings.marks, settings.clear_on_dtmf);
        Self { mode, marks, clear_on_dtmf, stream_sid, rate, tone, said: 0, out: VecDeque::new() }
    }

    /// The next thing to send.
    pub(super) fn next(&mut self) -> Option<Say> {
        self.out.pop_front()
    }

    /// The stream's id.
    pub(super) fn stream_sid(&self) -> &str {
        &self.stream_sid
    }

    /// How often [`Script::tick`] wants to be called from `start` on.
    pub(super) fn period(&self) -> Option<Duration> {
        matches!(self.mode, BotMode::Tone).then(|| Duration::from_millis(u64::from(MESSAGE_MS)))
    }

    /// The stream has started.
    pub(super) fn started(&mut self) {
        match self.mode {
            BotMode::Greet => self.greet(),
            BotMode::Flood => self.flood(),
            BotMode::Tone => self.tick(),
            BotMode::Echo | BotMode::Record | BotMode::Slow | BotMode::Refuse | BotMode::Drop | BotMode::Garbage => {}
        }
    }

    /// A media message came; its payload is valid base64.
    pub(super) fn media(&mut self, payload: &str) {
        match self.mode {
            BotMode::Echo | BotMode::Slow | BotMode::Drop => self.play(message::media(&self.stream_sid, payload)),
            BotMode::Garbage => {
                let piece = garbage(self.said, &self.stream_sid);
                self.out.push_back(piece);
                self.play(message::media(&self.stream_sid, payload));
            }
            BotMode::Tone | BotMode::Greet | BotMode::Record | BotMode::Refuse | BotMode::Flood => {}
        }
    }

    /// A digit came.
    pub(super) fn dtmf(&mut self) {
        if self.clear_on_dtmf {
            self.out.push_back(Say::Text(message::clear(&self.stream_sid)));
            if self.mode == BotMode::Greet {
                self.greet();
            }
        }
    }

    /// The next message of a sound in real time is due.
    pub(super) fn tick(&mut self) {
        let samples = self.tone.take(self.rate.samples(MESSAGE_MS));
        self.play(message::media_of(&self.stream_sid, &samples));
    }

    fn play(&mut self, media: String) {
        self.out.push_back(Say::Text(media));
        self.said += 1;
        if self.marks {
            self.out.push_back(Say::Mark(format!("{}-{}", self.mode.name(), self.said)));
        }
    }

    fn greet(&mut self) {
        for samples in greeting(self.rate).chunks(self.rate.samples(MESSAGE_MS)) {
            self.play(message::media_of(&self.stream_sid, samples));
        }
        self.out.push_back(Say::Mark("greeting".into()));
    }

    fn flood(&mut self) {
        for played in (MESSAGE_MS..=FLOOD_MS).step_by(MESSAGE_MS as usize) {
            self.tick();
            if played.is_multiple_of(FLOOD_MARK_MS) {
                self.out.push_back(Say::Mark(format!("flood-{}", played / 1000)));
            }
        }
        self.out.push_back(Say::Text(message::clear(&self.stream_sid)));
        (0..1_000 / MESSAGE_MS).for_each(|_| self.tick());
        self.out.push_back(Say::Mark("end".into()));
    }
}

/// The greeting of mode greet: the same two seconds of synthetic speech at every rate.
#[must_use]
pub fn greeting(rate: SampleRate) -> Vec<i16> {
    Speech::new(rate, VOICE).take(rate.samples(GREETING_MS))
}

/// One piece of what no bot should send, by turns.
fn garbage(turn: u64, stream_sid: &str) -> Say {
    const TEXTS: [&str; 14] = [
        "not JSON at all",
        "{\"event\":",
        "null",
        "[]",
        "{}",
        "{\"event\":7}",
        "{\"Event\":\"media\"}",
        "{\"event\":\"media\"}",
        "{\"event\":\"media\",\"media\":{\"payload\":\"***\"}}",
        "{\"event\":\"media\",\"media\":{\"payload\":7}}",
        "{\"event\":\"mark\"}",
        "{\"event\":\"mark\",\"mark\":null}",
        "{\"event\":\"unheard-of\",\"stream_sid\":null}",
        "",
    ];
    let turn = (turn % (TEXTS.len() as u64 + 4)) as usize;
    match turn.checked_sub(TEXTS.len()) {
        None => Say::Text(TEXTS[turn].into()),
        Some(0) => Say::Binary(vec![0x55; 320]),
        Some(1) => Say::Binary(message::clear(stream_sid).replace("clear", "unheard-of").into_bytes()),
        Some(2) => Say::Text(format!("{{\"event\":\"unheard-of\",\"padding\":\"{}\"}}", "x".repeat(100_000))),
        Some(_) => Say::Text(message::media(stream_sid, &"*".repeat(100_000))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(mode: BotMode, act: impl Fn(&mut Script)) -> Vec<Say> {
        let settings = BotSettings { clear_on_dtmf: true, ..BotSettings::new(mode) };
        let mut script = Script::new(&settings, "abc".into(), SampleRate::Hz8000);
        act(&mut script);
        std::iter::from_fn(|| script.next()).collect()
    }

    #[test]
    fn echo_sends_the_payload_it_got() {
        let out = said(BotMode::Echo, |script| script.media("AAEC"));
        let expected = r#"{"event":"media","stream_sid":"abc","media":{"payload":"AAEC"}}"#;
        assert_eq!(out, [Say::Text(expected.into())]);
    }

    #[test]
    fn greet_is_twenty_messages_and_a_mark_and_starts_over_after_a_clear() {
        let out = said(BotMode::Greet, |script| {
            script.started();
            script.dtmf();
        });
        assert_eq!(out.len(), 43);
        assert_eq!(out[20], Say::Mark("greeting".into()));
        assert_eq!(out[21], Say::Text(message::clear("abc")));
    }

    #[test]
    fn flood_is_200_s_then_clear_then_a_second_and_the_end() {
        let out = said(BotMode::Flood, Script::started);
        assert_eq!(out.len(), 2000 + 4 + 1 + 10 + 1);
        assert_eq!(out[2004], Say::Text(message::clear("abc")));
        assert_eq!(out.last(), Some(&Say::Mark("end".into())));
    }

    #[test]
    fn garbage_comes_round_with_every_kind() {
        let out = said(BotMode::Garbage, |script| (0..18).for_each(|_| script.media("AAEC")));
        assert_eq!(out.iter().filter(|say| matches!(say, Say::Binary(_))).count(), 2);
        assert!(out.iter().any(|say| matches!(say, Say::Text(text) if text.len() > 100_000)));
    }
}
