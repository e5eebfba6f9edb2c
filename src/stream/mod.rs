//! AgentStream, no WebSocket: what the bridge and a bot say to each other, and when the bot's audio is heard.
//!
//! A bot sends speech in bursts, in real time with jitter, or a little ahead; the caller must hear it without gaps, and
//! `clear` must silence it at once. [`StreamSession`] is that conversation; [`StreamUrl`] says where the bot is.
//! Emit strictly, read leniently: whatever a bot sends, the call goes on.

mod arrivals;
mod base64;
mod chunk;
mod dialect;
mod ending;
mod event;
mod incoming;
mod playout;
mod queue;
mod report;
mod session;
mod settings;
mod target;
mod threshold;
mod wrong_rate;

pub use dialect::{DialectSettings, NumberStyle};
pub use ending::{DisconnectedBy, SocketEnd, Status, StreamEnd};
pub use event::{StopReason, StreamEvent};
pub use incoming::ODDITIES;
pub use playout::Pulled;
pub use report::StreamReport;
pub use session::StreamSession;
pub use settings::{ClearMarks, ClearScope, StreamSettings};
pub use target::{StreamUrl, StreamUrlError};
pub use wrong_rate::WrongRate;

#[cfg(test)]
mod tests;
