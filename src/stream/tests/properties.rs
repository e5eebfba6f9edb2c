//! Properties: nothing that a bot sends panics, loses a byte, loses a mark or skips a number.

use std::collections::VecDeque;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What happens to a stream.
#[derive(Debug, Clone)]
enum Step {
    Bytes(usize),
    Mark,
    Clear,
    Packets(usize),
    Pass(u64),
    Hold(bool),
    Caller(usize),
    Digit,
    Resampler(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0usize..6000).prop_map(Step::Bytes),
        1 => (300_000usize..500_000).prop_map(Step::Bytes),
        6 => Just(Step::Mark),
        2 => Just(Step::Clear),
        12 => (1usize..20).prop_map(Step::Packets),
        4 => (0u64..400).prop_map(Step::Pass),
        2 => any::<bool>().prop_map(Step::Hold),
        4 => (0usize..3000).prop_map(Step::Caller),
        1 => Just(Step::Digit),
        1 => (0usize..80).prop_map(Step::Resampler),
    ]
}

/// The stream beside the plainest model of its play-out: a line of bytes. Bytes are numbered, so that any loss, repetition
/// or exchange shows; none is 0, so that silence shows too.
struct Model {
    world: World,
    waiting: VecDeque<u8>,
    written: usize,
    heard: usize,
    cleared: usize,
    dropped: usize,
    marks_written: u64,
    marks_returned: u64,
    last_number: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            world: World::with(StreamSettings { queue_ms: 60_000, ..settings() }),
            waiting: VecDeque::new(),
            written: 0,
            heard: 0,
            cleared: 0,
            dropped: 0,
            marks_written: 0,
            marks_returned: 0,
            last_number: 1,
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Bytes(count) => self.speak(count),
            Step::Mark => {
                self.world.bot_marks(self.marks_written);
                self.marks_written += 1;
            }
            Step::Clear => {
                self.world.bot_clears();
                self.cleared += self.waiting.len();
                self.waiting.clear();
            }
            Step::Packets(count) => (0..count).for_each(|_| self.packet()),
            Step::Pass(ms) => self.world.pass(ms),
            Step::Hold(held) => self.world.session.set_paused(self.world.now, held),
            Step::Caller(count) => self.world.session.push_audio(&vec![1; count]),
            Step::Digit => self.world.session.dtmf('5', 100),
            Step::Resampler(delay) => self.world.session.set_playout_delay(delay),
        }
        self.read();
    }

    fn speak(&mut self, count: usize) {
        let bytes: Vec<u8> = (self.written..self.written + count).map(|n| (n % 255) as u8 + 1).collect();
        self.written += count;
        let refused = self.world.dropped("queue_full");
        self.world.bot_bytes(&bytes);
        if self.world.dropped("queue_full") == refused {
            return self.waiting.extend(bytes);
        }
        let half = if self.waiting.len() % 2 == 1 { self.waiting.pop_back() } else { None };
        let lost: Vec<u8> = half.into_iter().chain(bytes).collect();
        let kept = if lost.len() % 2 == 1 { lost.last() } else { None };
        self.waiting.extend(kept);
        self.dropped += lost.len() - usize::from(kept.is_some());
    }

    fn packet(&mut self) {
        for sample in self.world.packet() {
            let expected = (self.waiting.pop_front(), self.waiting.pop_front());
            let [low, high] = sample.to_le_bytes();
            assert_eq!(expected, (Some(low), Some(high)));
            self.heard += 2;
        }
    }

    /// Numbers have no gap and marks come in order, each once.
    fn read(&mut self) {
        for message in self.world.messages() {
            self.last_number += 1;
            assert_eq!(message["sequence_number"], self.last_number.to_string());
            if message["event"] == "mark" {
                assert_eq!(message["mark"]["name"], self.marks_returned);
                self.marks_returned += 1;
            }
        }
    }

    fn finish(&mut self) {
        self.take(&Step::Hold(false));
        self.take(&Step::Pass(500));
        self.take(&Step::Packets(self.waiting.len() / (PACKET * 2) + 20));
        assert!(self.waiting.len() <= 1, "{} bytes were never heard", self.waiting.len());
        assert_eq!(self.written, self.heard + self.cleared + self.dropped + self.waiting.len());
        assert_eq!(self.marks_returned, self.marks_written);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn bytes_in_are_bytes_heard_and_dropped_and_cleared_and_marks_return_in_order_once(steps in vec(step(), 0..80)) {
        let mut model = Model::new();
        for step in &steps {
            model.take(step);
        }
        model.finish();
    }

    #[test]
    fn any_text_and_any_bytes_are_survived(texts in vec(any::<String>(), 0..8), bytes in vec(any::<u8>(), 0..400)) {
        let mut world = World::with(StreamSettings { binary_media: true, ..settings() });
        for text in &texts {
            world.bot(text);
            world.bot(&json!({"event": text, "media": {"payload": text}, "mark": {"name": text}}).to_string());
            world.bot(&json!({"event": "media", text: 1, "media": {"payload": text}}).to_string());
        }
        world.session.handle_binary(world.now, &bytes);
        world.packets(200);
        prop_assert_eq!(world.end(), None);
    }

    #[test]
    fn any_cut_of_a_real_message_is_survived(cut in 0usize..80, byte in any::<u8>()) {
        let message = br#"{"event":"media","stream_sid":"x","media":{"payload":"AAECAwQFBgcICQ=="}}"#;
        let mut changed = message.to_vec();
        changed[cut % message.len()] = byte;
        let mut world = World::new();
        world.session.handle_binary(world.now, &message[..cut.min(message.len())]);
        world.session.handle_binary(world.now, &changed);
        world.bot(&String::from_utf8_lossy(&changed));
        prop_assert_eq!(world.end(), None);
    }
}
