//! Another call takes the place of this one: attended transfer by the peer (RFC 3891, SIP-105). The dialog changes; the
//! call, its bot and what that still has to say stay.

use std::time::Instant;

use tracing::info;

use crate::call::outcome::Failure;
use crate::call::{Call, Output, SipCommand};
use crate::sip::{DialogId, Event, IncomingInvite, Rejection, Why};

fn refused(code: u16, text: &'static str) -> Box<Rejection> {
    Box::new(Rejection { why: Some(Why { label: "replaces", text }), ..Rejection::new(code) })
}

impl Call {
    /// The refusal of an INVITE that is to replace a call that has ended.
    #[must_use]
    pub fn gone() -> Box<Rejection> {
        refused(603, "the peer wants to replace a call that has just ended")
    }

    /// `invite` is to take the place of the call's dialog: it is answered, media moves to where its SDP says.
    ///
    /// # Errors
    /// The refusal of the INVITE; this call goes on unchanged.
    pub fn replace(&mut self, now: Instant, dialog: DialogId, invite: &IncomingInvite) -> Result<(), Box<Rejection>> {
        self.may_be_replaced_by(invite)?;
        let signalling = &self.settings.signalling;
        let mut leg = self.leg.successor(dialog, invite, &self.trunk, signalling, &mut self.random);
        let offered = self.span.in_scope(|| leg.take_offer(invite));
        offered.map_err(|failure: Failure| {
            let why =
                Why { label: "offer_refused", text: "the offer of the call that is to replace another cannot be used" };
            Box::new(Rejection { why: Some(why), ..failure.rejection(0) })
        })?;
        self.span.in_scope(
            || info!(call_id = %invite.call_id, source = %invite.source, "call replaced: it goes on in another dialog"),
        );
        let sdp = leg.answer().flatten();
        self.replaced = Some(Box::new(std::mem::replace(&mut self.leg, leg)));
        self.replaced_by.push(invite.call_id.clone());
        self.outputs.push_back(Output::Sip(SipCommand::Answer { sdp }));
        self.apply_media(now, true);
        Ok(())
    }

    fn may_be_replaced_by(&self, invite: &IncomingInvite) -> Result<(), Box<Rejection>> {
        let is_up = self.timeline.answered.is_some() && self.end.by.is_empty() && !self.caller_gone && !self.over;
        if !is_up || invite.replaces != Some(self.leg.dialog()) {
            return Err(Self::gone());
        }
        let same_trunk = invite.trunk_candidates.iter().any(|trunk| trunk.name == self.trunk.name);
        let account = |value: &str| value.trim() == self.account.as_str();
        if !same_trunk || !invite.headers.get_all("X-Exotel-AccountSid").all(account) {
            return Err(refused(403, "the call that is to be replaced is of another trunk or account"));
        }
        if self.replaced.is_some() || self.is_being_transferred() {
            return Err(refused(491, "the call that is to be replaced is being replaced or transferred already"));
        }
        Ok(())
    }

    /// Something happened in a dialog that is not, or no longer, the call's.
    pub(super) fn note_replaced(&mut self, event: &Event) {
        let is_old = self.replaced.as_ref().is_some_and(|leg| leg.dialog() == event.dialog());
        if is_old && matches!(event, Event::Ended { .. }) {
            self.replaced = None; // there is no way back
        }
    }

    /// The INVITE that was to replace the call was taken back before its 200 went out.
    pub(super) fn return_to_replaced(&mut self, now: Instant) {
        if let Some(leg) = self.replaced.take() {
            self.leg = *leg;
            self.replaced_by.pop();
            self.span.in_scope(|| info!("the call that was to replace this one was given up"));
            self.apply_media(now, true);
        }
    }
}
