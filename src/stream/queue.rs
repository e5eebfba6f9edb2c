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

enum Item {
    Audio(Vec<i16>),
    Mark(Value),
}

/// More audio than the queue takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The FIFO. Marks stand behind audio only: one with nothing before it never enters.
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// Samples of the first item that were handed out.
    head: usize,
    /// Samples not handed out.
    samples: usize,
    marks: usize,
    /// Half a sample, waiting for the other half.
    spare: Option<u8>,
    /// Samples handed out since the last mark was passed.
    since_mark: u64,
    /// Samples that may wait.
    cap: usize,
    /// Messages up to this many samples share an item, so that tiny ones cost no more memory than large ones.
    small: usize,
}

impl Queue {
    pub(super) fn new(rate: SampleRate, cap_ms: u32) -> Self {
        let (cap, small) = (rate.samples(cap_ms), rate.samples(20));
        Self { items: VecDeque::new(), head: 0, samples: 0, marks: 0, spare: None, since_mark: 0, cap, small }
    }

    /// Reads ahead the next 20 ms.
    pub(super) fn prefetch(&self) {
        if let Some(Item::Audio(audio)) = self.items.front() {
            touch_slice(&audio[self.head.min(audio.len())..], self.small);
        }
    }

    /// Samples waiting.
    pub(super) fn samples(&self) -> usize {
        self.samples
    }

    /// Whether a mark waits behind audio.
    pub(super) fn has_marks(&self) -> bool {
        self.marks > 0
    }

    /// Whether part of a message has been handed out and part has not.
    fn is_inside_message(&self) -> bool {
        self.head > 0
    }

    /// Appends PCM16LE. Over the cap it is dropped whole; the samples that follow stay aligned all the same.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let held = self.spare.map_or(0, |_| 1);
        let added = (held + bytes.len()) / 2;
        let spare = ((held + bytes.len()) % 2 == 1).then(|| bytes.last().copied().or(self.spare)).flatten();
        if self.samples + added > self.cap {
            self.spare = spare;
            return Err(Full);
        }
        if added > 0 {
            self.append(bytes, added);
        }
        self.spare = spare;
        Ok(())
    }

    fn append(&mut self, bytes: &[u8], added: usize) {
        let (joined, whole) = match self.spare {
            Some(low) => (Some(i16::from_le_bytes([low, bytes[0]])), &bytes[1..]),
            None => (None, bytes),
        };
        if !matches!(self.items.back(), Some(Item::Audio(audio)) if audio.len() + added <= self.small) {
            self.items.push_back(Item::Audio(Vec::with_capacity(added)));
        }
        if let Some(Item::Audio(audio)) = self.items.back_mut() {
            audio.extend(joined);
            audio.extend(whole.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
        }
        self.samples += added;
    }

    /// Appends a mark; there must be audio before it.
    pub(super) fn push_mark(&mut self, name: Value) {
        debug_assert!(self.samples > 0);
        self.items.push_back(Item::Mark(name));
        self.marks += 1;
    }

    /// Moves up to `wanted` samples to `out` and the marks reached by them to `passed`; returns the number of samples.
    pub(super) fn take(&mut self, wanted: usize, out: &mut Vec<i16>, passed: &mut Vec<Mark>) -> usize {
        let wanted = wanted.min(self.samples);
        let mut left = wanted;
        while let Some(front) = self.items.front_mut() {
            match front {
                Item::Mark(name) => {
                    passed.push(Mark { name: std::mem::take(name), cleared_at: None });
                    self.marks -= 1;
                    self.since_mark = 0;
                }
                Item::Audio(_) if left == 0 => break,
                Item::Audio(audio) => {
                    let end = audio.len().min(self.head + left);
                    out.extend_from_slice(&audio[self.head..end]);
                    left -= end - self.head;
                    self.since_mark += (end - self.head) as u64;
                    self.head = end;
                    if end < audio.len() {
                        break;
                    }
                    self.head = 0;
                }
            }
            self.items.pop_front();
        }
        self.samples -= wanted;
        self.release();
        wanted
    }

    /// Drops what `scope` says, the half sample included; marks go to `overtaken`.
    pub(super) fn clear(&mut self, scope: ClearScope, overtaken: &mut Vec<Mark>) {
        let playing = match scope {
            ClearScope::AfterCurrentMessage if self.is_inside_message() => self.items.pop_front(),
            ClearScope::All | ClearScope::AfterCurrentMessage => None,
        };
        for item in self.items.drain(..) {
            if let Item::Mark(name) = item {
                overtaken.push(Mark { name, cleared_at: Some(self.since_mark) });
                self.since_mark = 0;
            }
        }
        self.spare = None;
        self.marks = 0;
        self.samples = 0;
        match playing {
            Some(Item::Audio(audio)) => {
                self.samples = audio.len() - self.head;
                self.items.push_back(Item::Audio(audio));
            }
            Some(Item::Mark(_)) | None => (self.head, self.since_mark) = (0, 0),
        }
        self.release();
    }

    /// Nothing will follow: drops marks, the half sample and trailing digital silence.
    pub(super) fn seal(&mut self) {
        self.items.retain(|item| matches!(item, Item::Audio(_)));
        self.marks = 0;
        self.spare = None;
        while let Some(Item::Audio(audio)) = self.items.pop_back() {
            let start = if self.items.is_empty() { self.head } else { 0 };
            let Some(last) = audio[start..].iter().rposition(|sample| *sample != 0) else {
                self.samples -= audio.len() - start;
                continue;
            };
            let kept = &audio[..=start + last];
            self.samples -= audio.len() - kept.len();
            self.items.push_back(Item::Audio(kept.to_vec()));
            return;
        }
        self.head = 0;
    }

    /// Gives the memory of a burst back once it was played or cleared.
    fn release(&mut self) {
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
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
    use super::*;

    fn held(queue: &Queue) -> usize {
        let bytes = |item: &Item| match item {
            Item::Audio(audio) => audio.capacity() * 2,
            Item::Mark(_) => 0,
        };
        queue.items.capacity() * size_of::<Item>() + queue.items.iter().map(bytes).sum::<usize>()
    }

    fn burst(message: usize) -> Queue {
        let mut queue = Queue::new(SampleRate::Hz8000, 120_000);
        for _ in 0..1_600_000 / message {
            queue.push(&vec![7; message]).expect("100 s fit");
        }
        assert_eq!(queue.samples(), 800_000);
        queue
    }

    #[test]
    fn a_burst_of_100_s_costs_at_most_twice_its_size_and_nothing_after_it_was_played_or_cleared() {
        for message in [2, 320, 3200, 1_600_000] {
            let mut queue = burst(message);
            assert!(held(&queue) <= 3_200_000, "{message}: {}", held(&queue));
            while queue.take(160, &mut Vec::new(), &mut Vec::new()) > 0 {}
            assert_eq!(held(&queue), 0);
            let mut queue = burst(message);
            queue.clear(ClearScope::All, &mut Vec::new());
            assert_eq!(held(&queue), 0);
        }
    }

    #[test]
    fn sealing_inside_the_last_message_keeps_what_was_handed_out_out() {
        let mut queue = Queue::new(SampleRate::Hz8000, 120_000);
        queue.push(&[1, 0, 2, 0, 3, 0, 0, 0]).expect("fits");
        let mut out = Vec::new();
        queue.take(2, &mut out, &mut Vec::new());
        queue.seal();
        assert_eq!(queue.samples(), 1);
        queue.take(9, &mut out, &mut Vec::new());
        assert_eq!(out, [1, 2, 3]);
    }
}
