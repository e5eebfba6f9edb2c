//! Bot audio and marks waiting to be spoken: one strictly ordered FIFO. A message is never a frame.

use std::collections::VecDeque;

use serde_json::Value;

use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch_slice;
use crate::stream::settings::ClearScope;

/// A mark on its way back to the bot.
#[derive(Debug, PartialEq)]
pub(super) struct Mark {
    /// Its name, of the JSON type the bot chose.
    pub name: Value,
    /// Samples between the mark before it (or the start) and this one that were handed out when a clear overtook it.
    pub cleared_at: Option<u64>,
}

/// More audio than the queue takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The FIFO: a byte stream in blocks, and where its marks stand. Marks stand behind audio only: one with nothing before it
/// never enters. Positions count samples since the stream began, dropped ones left out.
pub(super) struct Queue {
    /// All are full but the last.
    blocks: VecDeque<Vec<i16>>,
    /// Emptied blocks for what comes next.
    idle: Vec<Vec<i16>>,
    /// Samples in a full block.
    block: usize,
    /// Samples of the first block that were handed out.
    head: usize,
    /// Samples not handed out.
    samples: usize,
    /// The position of the next sample to be handed out.
    position: u64,
    /// Marks by the position behind their last sample.
    marks: VecDeque<(u64, Value)>,
    /// Where the last mark stood.
    last_mark: u64,
    messages: Messages,
    /// Half a sample, waiting for the other half.
    half: Option<u8>,
    /// Samples that may wait.
    cap: usize,
}

/// Where messages end, for a clear that lets the one being played finish (RTP-076). Small ones in a row are taken together, so
/// that tiny ones cost no more memory than large ones.
struct Messages {
    is_kept: bool,
    /// Where the message being played begins.
    playing_from: u64,
    ends: VecDeque<u64>,
    /// Where the last one begins; none where the next one stands for itself.
    joinable_from: Option<u64>,
    /// Samples that may be taken together.
    small: u64,
}

/// Milliseconds in a block: what most bots send at a time, and little enough to keep.
const BLOCK_MS: u32 = 100;
/// Blocks kept for what comes next: a bot that sends in real time needs no other.
const IDLE_BLOCKS: usize = 2;
/// Digital silence: A-law, which many a recording went through, has no 0 but +8 and -8.
const SILENCE: [i16; 3] = [0, 8, -8];

impl Queue {
    /// Holds `cap_ms` of audio. `scope` is what [`Self::clear`] will be asked for.
    pub(super) fn new(rate: SampleRate, cap_ms: u32, scope: ClearScope) -> Self {
        let messages = Messages {
            is_kept: scope == ClearScope::AfterCurrentMessage,
            playing_from: 0,
            ends: VecDeque::new(),
            joinable_from: None,
            small: rate.samples(20) as u64,
        };
        Self {
            blocks: VecDeque::new(),
            idle: Vec::new(),
            block: rate.samples(BLOCK_MS),
            head: 0,
            samples: 0,
            position: 0,
            marks: VecDeque::new(),
            last_mark: 0,
            messages,
            half: None,
            cap: rate.samples(cap_ms),
        }
    }

    /// Reads ahead the next 20 ms.
    pub(super) fn prefetch(&self) {
        if let Some(block) = self.blocks.front() {
            touch_slice(&block[self.head.min(block.len())..], self.block / 5);
        }
    }

    /// Samples waiting.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// Whether a mark waits behind audio.
    pub(super) fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// The position behind the last sample.
    fn end(&self) -> u64 {
        self.position + self.samples as u64
    }

    /// Appends PCM16LE. Over the cap it is dropped whole; the samples that follow stay aligned all the same.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let held = usize::from(self.half.is_some());
        let added = (held + bytes.len()) / 2;
        let half = ((held + bytes.len()) % 2 == 1).then(|| bytes.last().copied().or(self.half)).flatten();
        let fits = self.samples + added <= self.cap;
        if fits && added > 0 {
            self.messages.begin(self.position, self.end(), added as u64);
            self.append(bytes);
        }
        self.half = half;
        if fits { Ok(()) } else { Err(Full) }
    }

    fn append(&mut self, bytes: &[u8]) {
        let (joined, mut rest) = match (self.half, bytes) {
            (Some(low), [high, rest @ ..]) => (Some(i16::from_le_bytes([low, *high])), rest),
            (_, bytes) => (None, bytes),
        };
        if let Some(sample) = joined {
            self.last_block().push(sample);
            self.samples += 1;
        }
        while rest.len() >= 2 {
            let limit = self.block;
            let block = self.last_block();
            let (part, left) = rest.split_at((rest.len() / 2).min(limit - block.len()) * 2);
            block.extend(part.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
            self.samples += part.len() / 2;
            rest = left;
        }
    }

    /// A block with room for a sample.
    fn last_block(&mut self) -> &mut Vec<i16> {
        if self.blocks.back().is_none_or(|block| block.len() == self.block) {
            let block = self.idle.pop().unwrap_or_else(|| Vec::with_capacity(self.block));
            self.blocks.push_back(block);
        }
        self.blocks.back_mut().expect("a block was there or has just been added")
    }

    /// Appends a mark; there must be audio before it.
    pub(super) fn push_mark(&mut self, name: Value) {
        debug_assert!(self.samples > 0);
        self.marks.push_back((self.end(), name));
        self.messages.joinable_from = None;
    }

    /// Moves up to `wanted` samples to `out` and returns how many. `reached` gets each mark whose last sample is among them,
    /// with the number of samples moved up to that one.
    pub(super) fn take(&mut self, wanted: usize, out: &mut Vec<i16>, mut reached: impl FnMut(Mark, usize)) -> usize {
        let wanted = wanted.min(self.samples);
        let mut left = wanted;
        while left > 0
            && let Some(block) = self.blocks.front()
        {
            let end = block.len().min(self.head + left);
            out.extend_from_slice(&block[self.head..end]);
            left -= end - self.head;
            self.head = end;
            if end == block.len() {
                self.head = 0;
                let block = self.blocks.pop_front();
                self.keep(block);
            }
        }
        let before = self.position;
        self.samples -= wanted;
        self.position += wanted as u64;
        while self.marks.front().is_some_and(|(at, _)| *at <= self.position)
            && let Some((at, name)) = take_front(&mut self.marks)
        {
            self.last_mark = at;
            reached(Mark { name, cleared_at: None }, (at - before) as usize);
        }
        self.messages.pass(self.position);
        wanted
    }

    /// Keeps an emptied block for what comes next, or gives its memory back, and that of a burst.
    fn keep(&mut self, block: Option<Vec<i16>>) {
        if let Some(mut block) = block.filter(|_| self.idle.len() < IDLE_BLOCKS) {
            block.clear();
            self.idle.push(block);
        }
        if self.blocks.is_empty() && self.blocks.capacity() > 2 * IDLE_BLOCKS {
            self.blocks = VecDeque::new();
        }
    }

    /// Drops what `scope` says, the half sample included; marks go to `overtaken`.
    pub(super) fn clear(&mut self, scope: ClearScope, overtaken: &mut Vec<Mark>) {
        let kept = match scope {
            ClearScope::All => 0,
            ClearScope::AfterCurrentMessage => self.messages.rest(self.position),
        };
        let mut since_mark = self.position - self.last_mark;
        if kept == 0 || self.has_marks() {
            self.last_mark = self.position;
        }
        let told = |(_, name)| Mark { name, cleared_at: Some(std::mem::take(&mut since_mark)) };
        overtaken.extend(self.marks.drain(..).map(told));
        self.marks = VecDeque::new();
        self.half = None;
        self.truncate(kept);
        self.messages.cut(self.end());
    }

    /// Keeps the next `kept` samples and drops the rest.
    fn truncate(&mut self, kept: usize) {
        while self.samples > kept {
            let start = if self.blocks.len() == 1 { self.head } else { 0 };
            let Some(block) = self.blocks.back_mut() else { break };
            let cut = (block.len() - start).min(self.samples - kept);
            self.samples -= cut;
            block.truncate(block.len() - cut);
            if block.len() == start {
                let block = self.blocks.pop_back();
                self.keep(block);
            }
        }
        if self.blocks.is_empty() {
            self.head = 0;
        }
    }

    /// Nothing will follow: drops marks, the half sample and trailing digital silence.
    pub(super) fn seal(&mut self) {
        self.marks = VecDeque::new();
        self.half = None;
        let backwards = self.blocks.iter().rev().flat_map(|block| block.iter().rev()).take(self.samples);
        let silent = backwards.take_while(|sample| SILENCE.contains(sample)).count();
        self.truncate(self.samples - silent);
    }
}

impl Messages {
    /// A message of `added` samples begins at `end`, where audio ends; all before `position` has been handed out.
    fn begin(&mut self, position: u64, end: u64, added: u64) {
        if !self.is_kept {
            return;
        }
        if end == position {
            self.playing_from = position;
            self.joinable_from = None;
        }
        match (self.joinable_from, self.ends.back_mut()) {
            (Some(from), Some(last)) if end + added - from <= self.small => *last = end + added,
            _ => {
                self.ends.push_back(end + added);
                self.joinable_from = Some(end);
            }
        }
    }

    /// All before `position` has been handed out.
    fn pass(&mut self, position: u64) {
        while let Some(end) = self.ends.front().filter(|end| **end <= position) {
            self.playing_from = *end;
            take_front(&mut self.ends);
        }
    }

    /// What is left of a message that has been begun.
    fn rest(&self, position: u64) -> usize {
        let end = self.ends.front().filter(|_| position > self.playing_from);
        end.map_or(0, |end| (end - position) as usize)
    }

    /// Audio ends at `end` now.
    fn cut(&mut self, end: u64) {
        self.ends.retain(|message| *message <= end);
        self.joinable_from = None;
    }
}

/// Pops the front; an emptied list gives the memory of a burst back.
pub(super) fn take_front<T>(list: &mut VecDeque<T>) -> Option<T> {
    const KEPT: usize = 16;
    let front = list.pop_front();
    if list.is_empty() && list.capacity() > KEPT {
        *list = VecDeque::new();
    }
    front
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn held(queue: &Queue) -> usize {
        let blocks = queue.blocks.iter().chain(&queue.idle);
        queue.blocks.capacity() * size_of::<Vec<i16>>() + blocks.map(|block| block.capacity() * 2).sum::<usize>()
    }

    fn burst(message: usize) -> Queue {
        let mut queue = Queue::new(SampleRate::Hz8000, 120_000, ClearScope::All);
        for _ in 0..1_600_000 / message {
            queue.push(&vec![7; message]).expect("100 s fit");
        }
        assert_eq!(queue.samples(), 800_000);
        queue
    }

    #[test]
    fn a_burst_of_100_s_costs_little_more_than_its_size_and_next_to_nothing_after_it_was_played_or_cleared() {
        for message in [2, 320, 3200, 1_600_000] {
            let mut queue = burst(message);
            assert!(held(&queue) <= 1_700_000, "{message}: {}", held(&queue));
            while queue.take(160, &mut Vec::new(), |_, _| {}) > 0 {}
            assert!(held(&queue) <= 3_400, "{message}: {}", held(&queue));
            let mut queue = burst(message);
            queue.clear(ClearScope::All, &mut Vec::new());
            assert!(held(&queue) <= 3_400, "{message}: {}", held(&queue));
        }
    }

    #[test]
    fn what_comes_in_real_time_needs_no_new_memory() {
        let (mut queue, mut out) = (Queue::new(SampleRate::Hz8000, 120_000, ClearScope::All), Vec::with_capacity(800));
        queue.push(&[7; 1600]).expect("fits");
        let mut known: Vec<*const i16> = Vec::new();
        for _ in 0..100 {
            queue.push(&[7; 1600]).expect("fits");
            known.extend(queue.blocks.iter().map(|block| block.as_ptr()));
            out.clear();
            assert_eq!((0..5).map(|_| queue.take(160, &mut out, |_, _| {})).sum::<usize>(), 800);
        }
        known.sort();
        known.dedup();
        assert!(known.len() <= IDLE_BLOCKS + 1, "{} blocks", known.len());
    }

    #[test]
    fn rtp_075_a_mark_is_told_with_its_place_in_the_packet() {
        let mut queue = Queue::new(SampleRate::Hz8000, 120_000, ClearScope::All);
        for length in [2 * 161, 2 * 100, 2 * 59, 2 * 900] {
            queue.push(&vec![7; length]).expect("fits");
            queue.push_mark(length.into());
        }
        let mut places = Vec::new();
        for packet in 0..8 {
            queue.take(160, &mut Vec::new(), |mark, place| places.push((packet, place, mark.name)));
        }
        let expected = [(1, 1, 322), (1, 101, 200), (1, 160, 118), (7, 100, 1800)];
        assert_eq!(places, expected.map(|(packet, place, name)| (packet, place, name.into())));
    }

    #[test]
    fn rtp_079_sealing_inside_the_last_message_keeps_what_was_handed_out_out() {
        let mut queue = Queue::new(SampleRate::Hz8000, 120_000, ClearScope::All);
        queue.push(&[1, 1, 2, 1, 3, 1, 0, 0]).expect("fits");
        let mut out = Vec::new();
        queue.take(2, &mut out, |_, _| {});
        queue.seal();
        assert_eq!(queue.samples(), 1);
        queue.take(9, &mut out, |_, _| {});
        assert_eq!(out, [0x101, 0x102, 0x103]);
        queue.push(&[0; 8]).expect("fits");
        queue.take(1, &mut out, |_, _| {});
        queue.seal();
        assert_eq!(queue.samples(), 0, "nothing but silence is left");
    }

    #[test]
    fn rtp_079_the_silence_of_a_law_is_trailing_silence_too() {
        let mut queue = Queue::new(SampleRate::Hz8000, 120_000, ClearScope::All);
        let samples = [500, 8, -8, 9i16].into_iter().chain([8, -8].into_iter().cycle().take(4000));
        queue.push(&samples.flat_map(i16::to_le_bytes).collect::<Vec<_>>()).expect("fits");
        queue.seal();
        assert_eq!(queue.samples(), 4);
    }

    proptest! {
        /// Beside the plainest model: a list of samples, each with the number of its message.
        #[test]
        fn rtp_076_a_clear_after_the_current_message_leaves_the_rest_of_that_message_and_nothing_else(
            steps in vec((0u8..6, 161usize..900), 1..60),
        ) {
            let scope = ClearScope::AfterCurrentMessage;
            let mut queue = Queue::new(SampleRate::Hz8000, 120_000, scope);
            let (mut model, mut playing) = (VecDeque::new(), None);
            for (number, (what, size)) in (1i16..).zip(steps) {
                match what {
                    0..=2 => {
                        queue.push(&number.to_le_bytes().repeat(size)).expect("fits");
                        model.extend(vec![number; size]);
                    }
                    3..=4 => {
                        let mut out = Vec::new();
                        queue.take(size, &mut out, |_, _| {});
                        let expected: Vec<i16> = model.drain(..size.min(model.len())).collect();
                        playing = expected.last().copied().or(playing);
                        prop_assert_eq!(out, expected);
                    }
                    _ => {
                        queue.clear(scope, &mut Vec::new());
                        model.retain(|sample| Some(*sample) == playing);
                    }
                }
                prop_assert_eq!(queue.samples(), model.len());
            }
        }
    }
}
