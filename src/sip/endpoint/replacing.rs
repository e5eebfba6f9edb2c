//! Calls that take the place of others: INVITE with Replaces (RFC 3891, SIP-105).

use std::time::Instant;

use super::Endpoint;
use crate::sip::event::{Rejection, Why};
use crate::sip::incoming::Incoming;
use crate::sip::invite::State;
use crate::sip::message::Method;
use crate::sip::reason::Reason;
use crate::sip::{DialogId, Replaces};

fn refused(code: u16, text: &'static str) -> Box<Rejection> {
    Box::new(Rejection { why: Some(Why { label: "replaces", text }), ..Rejection::new(code) })
}

impl Endpoint {
    /// 400 to a request that is no INVITE and names a call to replace (section 3).
    pub(super) fn misplaced_replaces(incoming: &Incoming) -> Option<Rejection> {
        let request = &incoming.request;
        (request.method != Method::INVITE && request.headers.has("Replaces"))
            .then(|| *refused(400, "the peer sent Replaces in a request that is no INVITE"))
    }

    /// The answered call whose place an INVITE takes; none where it says nothing of the kind.
    ///
    /// # Errors
    /// The refusal, by section 3: 400, 481, 486, 603.
    pub(super) fn replaced_by(&mut self, incoming: &Incoming) -> Result<Option<DialogId>, Box<Rejection>> {
        let replaces = Replaces::read(&incoming.request.headers);
        let replaces = replaces.map_err(|_| refused(400, "the peer sent a Replaces that cannot be read, or two"))?;
        let Some(replaces) = replaces else { return Ok(None) };
        let unknown = || refused(481, "the peer wants to replace a call that is not here");
        let id = self.usages.by_local_tag(&replaces.to_tag).ok_or_else(unknown)?;
        let usage = self.usages.get(id).ok_or_else(unknown)?;
        if usage.dialog.call_id != replaces.call_id || !replaces.is_from(&usage.dialog.remote_tag) {
            return Err(unknown());
        }
        match usage.state {
            State::Confirmed(_) if replaces.early_only => {
                Err(refused(486, "the peer wants to replace a call only while it is not answered, and it is"))
            }
            State::Confirmed(_) => Ok(Some(id)),
            // An early dialog may be replaced on the side that called only.
            State::Answering(_) | State::Calling(_) => Err(unknown()),
            State::Leaving | State::Gone { .. } => {
                Err(refused(603, "the peer wants to replace a call that has just ended"))
            }
        }
    }

    /// The new call `id` has its 200: the one it replaces is hung up.
    pub(super) fn leave_replaced(&mut self, now: Instant, id: DialogId) {
        if let Some(old) = self.usages.get(id).and_then(|usage| usage.replaces.take()) {
            self.bye(now, old, vec![Reason::q850(16).text("replaced")]);
        }
    }
}
