//! Conversations frame by frame, in virtual time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use proptest::prelude::*;

use super::*;

const LOUD: [i16; 160] = [4000; 160];
const QUIET: [i16; 160] = [0; 160];
/// Caller audio is played this long after it arrived.
const BUFFER_MS: u64 = 40;

struct Talk {
    start: Instant,
    /// Milliseconds since.
    at: u64,
    turns: Turns,
    measured: Vec<Measured>,
    /// Frames since the last chunk, and in a chunk.
    held: u64,
    chunk: u64,
}

impl Talk {
    fn new(chunk_ms: u64) -> Self {
        let start = Instant::now();
        Self { start, at: 100, turns: Turns::new(start), measured: Vec::new(), held: 0, chunk: chunk_ms / 20 }
    }

    fn moment(&self, at: u64) -> Instant {
        self.start + Duration::from_millis(at)
    }

    /// 20 ms: whether the caller speaks, and when the bot's audio in the packet was received.
    fn frame(&mut self, caller: bool, bot: Option<u64>) {
        self.turns.handle_pulled(if bot.is_some() { &LOUD } else { &QUIET }, bot.map(|at| self.moment(at)));
        self.turns.handle_sent(self.moment(self.at));
        self.turns.handle_caller(self.moment(self.at - BUFFER_MS), if caller { &LOUD } else { &QUIET });
        self.held += 1;
        if self.held == self.chunk {
            self.held = 0;
            self.turns.handle_written(self.moment(self.at), true);
        }
        self.measured.extend(std::iter::from_fn(|| self.turns.poll_measured()));
        self.at += 20;
    }

    fn frames(&mut self, count: usize, caller: bool, bot: Option<u64>) {
        (0..count).for_each(|_| self.frame(caller, bot));
    }

    fn end(mut self) -> TurnReport {
        self.turns.finish();
        self.turns.report()
    }
}

fn whole(turn: &Turn) -> Option<u64> {
    turn.response.map(|response| response.response_ms)
}

#[test]
fn a_turn_is_split_into_uplink_bot_and_playout_that_add_up() {
    let mut talk = Talk::new(100);
    talk.frames(15, false, None);
    talk.frames(47, true, None);
    let last = talk.at - 20 - BUFFER_MS;
    // Three frames into a chunk the caller ends, two later it is written.
    let written = last + BUFFER_MS + 60;
    talk.frames(40, false, None);
    let received = talk.at - 65;
    let heard = talk.at;
    talk.frames(20, false, Some(received));
    let report = talk.end();
    assert_eq!((report.count, report.answered), (1, 1));
    let response = Response {
        response_ms: heard - last,
        uplink_ms: written - last,
        bot_ms: received - written,
        playout_ms: heard - received,
    };
    assert_eq!(report.list[0].response, Some(response));
    assert_eq!(report.list[0].caller_ended_ms, last);
    assert_eq!(report.playout_ms, Some(Spread { p50: 65, p95: 65, max: 65 }));
}

#[test]
fn a_bot_that_answers_within_the_hangover_has_answered() {
    let mut talk = Talk::new(20);
    talk.frames(30, true, None);
    talk.frames(4, false, None);
    let received = talk.at - 10;
    talk.frames(30, false, Some(received));
    assert_eq!(talk.measured.len(), 1);
    assert_eq!(whole(&talk.end().list[0]), Some(140), "40 ms of buffer and five frames");
}

#[test]
fn a_bot_that_speaks_into_the_caller_has_not_answered() {
    let mut talk = Talk::new(20);
    talk.frames(30, true, None);
    talk.frames(3, false, None);
    let received = talk.at - 10;
    talk.frames(3, false, Some(received));
    talk.frames(20, true, Some(received));
    talk.frames(30, false, Some(received));
    let report = talk.end();
    assert_eq!((report.count, report.answered), (1, 0));
}

#[test]
fn what_was_received_before_the_caller_spoke_is_no_answer() {
    let mut talk = Talk::new(20);
    let greeting = talk.at - 50;
    talk.frames(50, false, Some(greeting));
    talk.frames(20, true, Some(greeting));
    talk.frames(40, false, Some(greeting));
    talk.frames(20, false, None);
    talk.frames(20, false, Some(greeting));
    talk.frames(20, false, None);
    let received = talk.at - 5;
    let ended = 100 + 69 * 20 - BUFFER_MS;
    let heard = talk.at;
    talk.frames(20, false, Some(received));
    let report = talk.end();
    assert_eq!((report.count, whole(&report.list[0])), (1, Some(heard - ended)));
    assert_eq!(report.list[0].barge_in_ms, None, "the bot outlasted the caller: it was not interrupted");
}

#[test]
fn a_barge_in_lasts_from_the_callers_onset_to_the_bots_last_audible_packet() {
    let mut talk = Talk::new(20);
    let greeting = talk.at - 50;
    talk.frames(50, false, Some(greeting));
    let onset = talk.at - BUFFER_MS - 20;
    talk.frames(20, true, Some(greeting));
    talk.turns.handle_clear(talk.moment(talk.at - 20));
    let last = talk.at - 20;
    talk.frames(5, true, None);
    let ended = talk.at - 20 - BUFFER_MS;
    talk.frames(5, false, None);
    let (received, heard) = (talk.at - 30, talk.at);
    talk.frames(40, false, Some(received));
    assert!(talk.measured.contains(&Measured::Cleared(Duration::ZERO)));
    let report = talk.end();
    assert_eq!(report.list.len(), 1);
    assert_eq!(report.list[0].barge_in_ms, Some(last - onset));
    assert_eq!(whole(&report.list[0]), Some(heard - ended), "new words after a clear are the answer, without a pause");
    assert_eq!(report.clear_ms, Some(Spread { p50: 0, p95: 0, max: 0 }));
}

#[test]
fn after_2_s_without_an_answer_the_next_words_are_another_turn() {
    let mut talk = Talk::new(20);
    for _ in 0..3 {
        talk.frames(20, true, None);
        talk.frames(60, false, None);
    }
    talk.frames(120, false, None);
    talk.frames(20, true, None);
    let report = talk.end();
    assert_eq!((report.count, report.answered), (2, 0));
    assert_eq!(report.list[0].caller_ended_ms, 100 + (80 * 2 + 19) * 20 - BUFFER_MS);
}

#[test]
fn two_hundred_turns_are_listed_and_all_are_counted() {
    let mut talk = Talk::new(20);
    for _ in 0..220 {
        talk.frames(5, true, None);
        talk.frames(15, false, None);
        let received = talk.at - 10;
        talk.frames(5, false, Some(received));
        talk.frames(15, false, None);
    }
    assert_eq!(talk.measured.len(), 220);
    let report = talk.end();
    assert_eq!((report.count, report.answered, report.list.len()), (220, 220, 200));
}

#[test]
fn medians_are_of_values_that_occurred() {
    assert_eq!(Spread::of([].into_iter()), None);
    assert_eq!(Spread::of([7].into_iter()), Some(Spread { p50: 7, p95: 7, max: 7 }));
    assert_eq!(Spread::of((1..=100).rev()), Some(Spread { p50: 50, p95: 95, max: 100 }));
}

proptest! {
    #[test]
    fn whatever_is_said_and_cleared_the_parts_of_a_response_add_up(
        frames in proptest::collection::vec((any::<bool>(), 0_u8..4, 1_usize..20, 0_u64..400, any::<bool>()), 1..60),
        chunk in 1_u64..6,
    ) {
        let mut talk = Talk::new(chunk * 20);
        for (caller, bot, count, ago, clear) in frames {
            let received = (bot == 0).then(|| talk.at.saturating_sub(ago));
            talk.frames(count, caller, received);
            if clear {
                talk.turns.handle_clear(talk.moment(talk.at));
            }
        }
        let now = talk.at;
        let report = talk.end();
        prop_assert!(report.answered <= report.count);
        for turn in &report.list {
            prop_assert!(turn.caller_began_ms <= turn.caller_ended_ms && turn.caller_ended_ms <= now);
            if let Some(Response { response_ms, uplink_ms, bot_ms, playout_ms }) = turn.response {
                prop_assert_eq!(uplink_ms + bot_ms + playout_ms, response_ms);
            }
        }
    }
}
