//! INVITE client transaction (RFC 3261 section 17.1.1 with RFC 6026 section 7.2).
//!
//! ```text
//!  INVITE sent, A: resend                B: time-out to the user ──► Terminated
//!  Calling ── 1xx ──► Proceeding
//!     │                   │
//!     ├────── 2xx ────────┴──► Accepted ── M ──► Terminated     (every 2xx goes to the user, who sends the ACK)
//!     └──── 300-699, ACK ────► Completed ── D ─► Terminated     (300-699 again: ACK again)
//! ```

use std::time::Duration;

use super::{Context, ResponseFate, Timer};

/// The machine; keeps the INVITE for sending it again.
#[derive(Debug)]
pub struct InviteClient(State);

#[derive(Debug)]
enum State {
    /// No response yet.
    Calling { invite: Vec<u8>, interval: Duration },
    /// A provisional response came.
    Proceeding,
    /// A non-2xx final came; has its ACK.
    Completed { ack: Vec<u8> },
    /// A 2xx came.
    Accepted,
    /// Over.
    Terminated,
}

impl InviteClient {
    /// Sends the INVITE.
    pub fn new(context: &mut Context, invite: Vec<u8>) -> Self {
        context.send(&invite);
        if !context.is_reliable() {
            context.arm(Timer::A, context.timing.t1);
        }
        context.arm(Timer::B, context.timing.timeout());
        Self(State::Calling { invite, interval: context.timing.t1 })
    }

    /// A response; `ack` builds the ACK of a non-2xx final.
    pub fn handle_response(&mut self, context: &mut Context, code: u16, ack: impl FnOnce() -> Vec<u8>) -> ResponseFate {
        match &self.0 {
            State::Calling { .. } | State::Proceeding => {
                context.disarm(Timer::A);
                context.disarm(Timer::B);
                self.0 = match code {
                    ..=199 => State::Proceeding,
                    200..=299 => {
                        context.arm(Timer::M, context.timing.timeout());
                        State::Accepted
                    }
                    300.. => {
                        let ack = ack();
                        context.send(&ack);
                        context.arm(Timer::D, context.wait_for_copies(context.timing.wait_for_copies()));
                        State::Completed { ack }
                    }
                };
                ResponseFate::ForUser
            }
            State::Completed { ack } => {
                if code >= 300 {
                    context.resend(ack);
                }
                ResponseFate::Absorbed
            }
            State::Accepted if (200..300).contains(&code) => ResponseFate::ForUser,
            State::Accepted | State::Terminated => ResponseFate::Absorbed,
        }
    }

    /// Whether a CANCEL may be sent now: a provisional came and no final (RFC 3261 section 9.1).
    pub const fn is_proceeding(&self) -> bool {
        matches!(self.0, State::Proceeding)
    }

    /// Gives the call up where no final response came.
    pub fn abandon(&mut self) {
        if matches!(self.0, State::Calling { .. } | State::Proceeding) {
            self.0 = State::Terminated;
        }
    }

    /// The connection is gone before any response. The INVITE goes by another one where there is one to try (`again`), else
    /// it is over: `true`. After a provisional response the peer has the INVITE, and opens a connection for its answer.
    pub fn handle_lost(&mut self, context: &mut Context, again: bool) -> bool {
        let State::Calling { invite, .. } = &self.0 else { return false };
        if again {
            context.resend(invite);
            return false;
        }
        context.disarm(Timer::B);
        self.0 = State::Terminated;
        true
    }

    /// Whether it is over.
    pub const fn is_terminated(&self) -> bool {
        matches!(self.0, State::Terminated)
    }

    /// A timer fired; `true` where no response came at all.
    pub fn handle_timer(&mut self, context: &mut Context, timer: Timer) -> bool {
        match (&mut self.0, timer) {
            (State::Calling { invite, interval }, Timer::A) => {
                context.resend(invite);
                *interval *= 2;
                context.arm(Timer::A, *interval);
                false
            }
            (State::Calling { .. }, Timer::B) => {
                context.disarm(Timer::A);
                self.0 = State::Terminated;
                true
            }
            (State::Completed { .. }, Timer::D) | (State::Accepted, Timer::M) => {
                self.0 = State::Terminated;
                false
            }
            (
                State::Calling { .. }
                | State::Proceeding
                | State::Completed { .. }
                | State::Accepted
                | State::Terminated,
                _,
            ) => false,
        }
    }
}
