//! Non-INVITE server transaction (RFC 3261 section 17.2.2).
//!
//! ```text
//!  Trying ── 1xx ──► Proceeding ── 200-699 ──► Completed ── J ──► Terminated
//!     └──────────────── 200-699 ──────────────────▲
//!  request again: Trying ignores it, the others resend the last response
//! ```

use super::{Context, Timer};

/// The machine.
#[derive(Debug)]
pub struct Server(State);

#[derive(Debug)]
enum State {
    /// Nothing answered yet.
    Trying,
    /// A provisional response was given.
    Proceeding { response: Vec<u8> },
    /// A final response was given.
    Completed { response: Vec<u8> },
    /// Over.
    Terminated,
}

impl Server {
    /// Starts with a new request.
    pub const fn new() -> Self {
        Self(State::Trying)
    }

    /// The same request again.
    pub fn handle_request(&mut self, context: &mut Context) {
        match &self.0 {
            State::Proceeding { response } | State::Completed { response } => context.resend(response),
            State::Trying | State::Terminated => {}
        }
    }

    /// A response from the user; `false` where a final one was given before.
    pub fn respond(&mut self, context: &mut Context, code: u16, response: Vec<u8>) -> bool {
        match self.0 {
            State::Trying | State::Proceeding { .. } => {
                context.send(&response);
                self.0 = if code < 200 {
                    State::Proceeding { response }
                } else {
                    context.arm(Timer::J, context.wait_for_copies(context.timing.timeout()));
                    State::Completed { response }
                };
                true
            }
            State::Completed { .. } | State::Terminated => false,
        }
    }

    /// Whether it is over.
    pub const fn is_terminated(&self) -> bool {
        matches!(self.0, State::Terminated)
    }

    /// A timer fired.
    pub fn handle_timer(&mut self, timer: Timer) {
        match (&self.0, timer) {
            (State::Completed { .. }, Timer::J) => self.0 = State::Terminated,
            (State::Trying | State::Proceeding { .. } | State::Completed { .. } | State::Terminated, _) => {}
        }
    }
}
