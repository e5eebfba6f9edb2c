//! What a stream tells the call, and why the call ends it.

use crate::stream::ending::StreamEnd;
use crate::stream::wrong_rate::WrongRate;

/// Why we end the stream: `stop.reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// The call is over.
    CallEnded,
    /// The call goes on without the stream.
    Stopped,
}

/// What a stream tells the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// `connected` and `start` are queued.
    Started,
    /// The bot says that it is about to close.
    BotStopNote,
    /// Something was wrong with a message and was put up with.
    Tolerated {
        /// The label of `stream_tolerated_total`.
        what: &'static str,
        /// The first of its kind in this stream: worth a warning.
        first: bool,
    },
    /// The bot's speech has another sample rate than the stream. Told once.
    WrongRate(WrongRate),
    /// The bot closed in order; this much of its audio is played before `Ended`.
    Draining {
        /// Milliseconds.
        ms: u64,
    },
    /// The last event.
    Ended(StreamEnd),
}
