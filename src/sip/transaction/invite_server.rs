//! INVITE server transaction (RFC 3261 section 17.2.1 with RFC 6026 section 7.1).
//!
//! ```text
//!            INVITE / 100 at once
//!  INVITE ──┐     │      ┌── 1xx from the user
//!  resend   ▼     ▼      ▼
//!  1xx ── Proceeding ────────────── 2xx ──────► Accepted ── L ──► Terminated
//!             │                                 INVITE: absorbed   ACK: passed on
//!             │ 300-699
//!             ▼
//!  INVITE, G: resend ── Completed ── H ─────────────────────────► Terminated
//!                          │ ACK
//!                          ▼
//!                      Confirmed ── I ──────────────────────────► Terminated
//! ```

use std::time::Duration;

use super::{Context, Timer};

/// The machine; its datagrams go where its context says.
#[derive(Debug)]
pub struct InviteServer(State);

#[derive(Debug)]
enum State {
    /// Waiting for the user; has the last provisional response.
    Proceeding { provisional: Option<Vec<u8>> },
    /// A non-2xx final is sent until the ACK comes.
    Completed { response: Vec<u8>, interval: Duration },
    /// The ACK came.
    Confirmed,
    /// A 2xx was sent; the user sends it again until the ACK comes.
    Accepted,
    /// Over.
    Terminated,
}

/// What an ACK that matched the transaction means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckFate {
    /// It ended or repeated the transaction's own exchange.
    Absorbed,
    /// It belongs to a 2xx: the user's business.
    ForUser,
}

impl InviteServer {
    /// Starts with a new INVITE.
    pub const fn new() -> Self {
        Self(State::Proceeding { provisional: None })
    }

    /// The same INVITE again.
    pub fn handle_invite(&mut self, context: &mut Context) {
        match &self.0 {
            State::Proceeding { provisional: Some(response) } | State::Completed { response, .. } => {
                context.resend(response);
            }
            State::Proceeding { provisional: None } | State::Confirmed | State::Accepted | State::Terminated => {}
        }
    }

    /// An ACK with the INVITE's branch.
    pub fn handle_ack(&mut self, context: &mut Context) -> AckFate {
        match self.0 {
            State::Completed { .. } => {
                context.disarm(Timer::G);
                context.disarm(Timer::H);
                context.arm(Timer::I, context.wait_for_copies(context.timing.t4));
                self.0 = State::Confirmed;
                AckFate::Absorbed
            }
            State::Accepted => AckFate::ForUser,
            State::Proceeding { .. } | State::Confirmed | State::Terminated => AckFate::Absorbed,
        }
    }

    /// A response from the user; `false` where a final one was given before.
    pub fn respond(&mut self, context: &mut Context, code: u16, response: Vec<u8>) -> bool {
        let State::Proceeding { provisional } = &mut self.0 else { return false };
        context.send(&response);
        match code {
            ..=199 => *provisional = Some(response),
            200..=299 => {
                context.arm(Timer::L, context.timing.timeout());
                self.0 = State::Accepted;
            }
            300.. => {
                if !context.is_reliable() {
                    context.arm(Timer::G, context.timing.t1);
                }
                context.arm(Timer::H, context.timing.timeout());
                self.0 = State::Completed { response, interval: context.timing.t1 };
            }
        }
        true
    }

    /// Whether the user has not given a final response yet.
    pub const fn is_proceeding(&self) -> bool {
        matches!(self.0, State::Proceeding { .. })
    }

    /// Whether it is over.
    pub const fn is_terminated(&self) -> bool {
        matches!(self.0, State::Terminated)
    }

    /// A timer fired; `true` where the ACK never came.
    pub fn handle_timer(&mut self, context: &mut Context, timer: Timer) -> bool {
        match (&mut self.0, timer) {
            (State::Completed { response, interval }, Timer::G) => {
                context.resend(response);
                *interval = context.timing.next_interval(*interval);
                context.arm(Timer::G, *interval);
                false
            }
            (State::Completed { .. }, Timer::H) => {
                self.0 = State::Terminated;
                context.disarm(Timer::G);
                true
            }
            (State::Confirmed, Timer::I) | (State::Accepted, Timer::L) => {
                self.0 = State::Terminated;
                false
            }
            (
                State::Proceeding { .. }
                | State::Completed { .. }
                | State::Confirmed
                | State::Accepted
                | State::Terminated,
                _,
            ) => false,
        }
    }
}
