//! Non-INVITE client transaction (RFC 3261 section 17.1.2).
//!
//! ```text
//!  request sent, E: resend, doubling to T2      F: time-out to the user ──► Terminated
//!  Trying ── 1xx ──► Proceeding (E: resend each T2)
//!     └── 200-699 ──────┴──► Completed ── K ──► Terminated
//! ```

use std::time::Duration;

use super::{Context, ResponseFate, Timer};

/// The machine; keeps the request for sending it again.
#[derive(Debug)]
pub struct Client(State);

#[derive(Debug)]
enum State {
    /// No response yet.
    Trying { request: Vec<u8>, interval: Duration },
    /// A provisional response came.
    Proceeding { request: Vec<u8> },
    /// A final response came.
    Completed,
    /// Over.
    Terminated,
}

impl Client {
    /// Sends the request.
    pub fn new(context: &mut Context, request: Vec<u8>) -> Self {
        context.send(&request);
        if !context.is_reliable() {
            context.arm(Timer::E, context.timing.t1);
        }
        context.arm(Timer::F, context.timing.timeout());
        Self(State::Trying { request, interval: context.timing.t1 })
    }

    /// A response.
    pub fn handle_response(&mut self, context: &mut Context, code: u16) -> ResponseFate {
        match &mut self.0 {
            State::Trying { request, .. } | State::Proceeding { request } => {
                self.0 = if code < 200 {
                    State::Proceeding { request: std::mem::take(request) }
                } else {
                    context.disarm(Timer::E);
                    context.disarm(Timer::F);
                    context.arm(Timer::K, context.wait_for_copies(context.timing.t4));
                    State::Completed
                };
                ResponseFate::ForUser
            }
            State::Completed | State::Terminated => ResponseFate::Absorbed,
        }
    }

    /// The connection is gone. The request goes by another one where there is one to try (`again`), else it is over: `true`.
    pub fn handle_lost(&mut self, context: &mut Context, again: bool) -> bool {
        let (State::Trying { request, .. } | State::Proceeding { request }) = &self.0 else { return false };
        if again {
            context.resend(request);
            return false;
        }
        context.disarm(Timer::F);
        self.0 = State::Terminated;
        true
    }

    /// Whether it is over.
    pub const fn is_terminated(&self) -> bool {
        matches!(self.0, State::Terminated)
    }

    /// A timer fired; `true` where no final response came.
    pub fn handle_timer(&mut self, context: &mut Context, timer: Timer) -> bool {
        match (&mut self.0, timer) {
            (State::Trying { request, interval }, Timer::E) => {
                context.resend(request);
                *interval = context.timing.next_interval(*interval);
                context.arm(Timer::E, *interval);
                false
            }
            (State::Proceeding { request }, Timer::E) => {
                context.resend(request);
                context.arm(Timer::E, context.timing.t2);
                false
            }
            (State::Trying { .. } | State::Proceeding { .. }, Timer::F) => {
                context.disarm(Timer::E);
                self.0 = State::Terminated;
                true
            }
            (State::Completed, Timer::K) => {
                self.0 = State::Terminated;
                false
            }
            (State::Trying { .. } | State::Proceeding { .. } | State::Completed | State::Terminated, _) => false,
        }
    }
}
