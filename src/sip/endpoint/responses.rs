//! Responses to requests of ours, and requests that nobody answered.

use std::time::Instant;

use super::Endpoint;
use crate::sip::event::Event;
use crate::sip::invite::{State, Usage};
use crate::sip::message::{CSeq, Headers, Method, Response};
use crate::sip::transaction::{Owner, Purpose};
use crate::sip::uri::NameAddr;
use crate::sip::{DialogId, body, dialog};

impl Endpoint {
    pub(super) fn handle_response(&mut self, now: Instant, response: Response) {
        self.out.counters.received(&format!("{}xx", response.code / 100));
        let Some(transaction) = self.transactions.client(&response) else {
            return self.handle_stray(now, response);
        };
        let Some(owner) = self.transactions.handle_response(now, transaction, &response, &mut self.out) else {
            return;
        };
        if self.answer_challenge(now, transaction, owner, &response) {
            return;
        }
        match owner.purpose {
            Purpose::Alone(request) => self.alone_answered(now, request, &response),
            Purpose::Invite => self.invite_answered(now, owner.dialog, response),
            Purpose::Reinvite => self.reinvite_answered(now, owner.dialog, &response),
            Purpose::Bye if response.code >= 200 => self.end(now, owner.dialog, true),
            Purpose::Info if response.code >= 200 => self.info_answered(owner.dialog, response.code),
            Purpose::Refer(cseq) if response.code >= 200 => self.refer_answered(now, owner.dialog, cseq, &response),
            Purpose::Refresh => self.refresh_answered(now, owner.dialog, &response),
            Purpose::Bye | Purpose::Info | Purpose::Refer(_) | Purpose::Cancel | Purpose::ForkBye | Purpose::Prack => {}
        }
    }

    /// A 2xx to an INVITE whose transaction is over still gets its ACK (RFC 6026 section 7.2, SIP-056); one that comes
    /// after we gave the call up gets a BYE as well.
    fn handle_stray(&mut self, now: Instant, response: Response) {
        let is_invite = response.headers.get("CSeq").and_then(CSeq::parse).is_some_and(|c| c.method == Method::INVITE);
        let from = response.headers.get("From").and_then(|from| NameAddr::parse(from).ok());
        let id = from.as_ref().and_then(NameAddr::tag).and_then(|tag| self.usages.by_local_tag(tag));
        let Some((id, usage)) = id.and_then(|id| Some((id, self.usages.get(id)?))) else { return };
        if !is_invite || !(200..300).contains(&response.code) {
            return;
        }
        if matches!(usage.state, State::Calling(_)) {
            // A destination that was given up answers after all, while another one is tried.
            return self.leave_fork(now, id, &response);
        }
        let acked = usage.ack_for(dialog::cseq_of(&response), &dialog::remote_tag(&response)).is_some();
        if usage.is_caller && (acked || usage.is_gone()) {
            self.invite_accepted(now, id, response);
        }
    }

    fn reinvite_answered(&mut self, now: Instant, id: DialogId, response: &Response) {
        match response.code {
            ..=199 => {}
            200..=299 => self.reinvite_accepted(now, id, response),
            491 if self.postpone_reinvite(now, id) => {}
            300.. => self.reinvite_refused(now, id, response.code, &response.headers),
        }
    }

    fn reinvite_accepted(&mut self, now: Instant, id: DialogId, response: &Response) {
        let cseq = dialog::cseq_of(response);
        let Some(usage) = self.usages.get(id) else { return };
        if let Some(ack) = usage.ack_for(cseq, &dialog::remote_tag(response)) {
            return self.out.resend(ack.path, &ack.bytes);
        }
        if usage.confirmed().is_some_and(|confirmed| confirmed.owed_ack == Some(cseq)) {
            return; // a copy of the 2xx whose ACK waits for our answer
        }
        usage.dialog.refresh_target(&response.headers);
        let sdp = body::sdp(&response.headers, &response.body).ok().flatten();
        let ours = match usage.confirmed() {
            Some(confirmed) => confirmed.reinvite.take().and_then(|reinvite| reinvite.sdp),
            // The dialog is being left: only the ACK is owed.
            None => return self.send_ack(now, id, cseq, None),
        };
        let had_offer = ours.is_some();
        if had_offer {
            usage.local_sdp = ours;
        }
        self.session_accepted(now, id, &response.headers);
        self.acknowledge(now, id, cseq, had_offer || sdp.is_none());
        self.raise(Event::ReinviteAnswered { dialog: id, sdp });
    }

    /// The session goes on, except where the peer knows no such dialog or does not answer (RFC 3261 section 12.2.1.2).
    fn reinvite_refused(&mut self, now: Instant, id: DialogId, code: u16, headers: &Headers) {
        let Some(confirmed) = self.usages.get(id).and_then(Usage::confirmed) else { return };
        if confirmed.reinvite.take().is_some_and(|reinvite| reinvite.is_refresh) {
            return self.refresh_refused(now, id, code, headers);
        }
        self.raise(Event::ReinviteRejected { dialog: id, code });
        if matches!(code, 408 | 481) {
            self.send_bye(now, id, &[crate::sip::Reason::sip(code)]);
        }
    }

    pub(super) fn request_timed_out(&mut self, now: Instant, owner: Owner) {
        self.request_failed(now, owner, 408);
    }

    /// A request of ours has no answer: `code` is 408 where none came in time, 503 where the peer cannot be reached
    /// (RFC 3261 section 8.1.3.1).
    pub(super) fn request_failed(&mut self, now: Instant, owner: Owner, code: u16) {
        let id = owner.dialog;
        match owner.purpose {
            Purpose::Alone(request) => self.alone_timed_out(now, request),
            Purpose::Invite => self.invite_failed(now, id, code),
            Purpose::Reinvite => self.reinvite_refused(now, id, code, &Headers::new()),
            Purpose::Refresh => self.end_session(now, id, Some(code)),
            Purpose::Bye => self.end(now, id, true),
            Purpose::Info => self.info_answered(id, code),
            Purpose::Refer(cseq) => self.refer_unanswered(id, cseq),
            Purpose::Cancel | Purpose::ForkBye | Purpose::Prack => {}
        }
    }

    fn info_answered(&mut self, id: DialogId, code: u16) {
        if self.usages.get(id).is_some_and(|usage| !usage.is_gone()) {
            self.raise(Event::InfoAnswered { dialog: id, code });
        }
    }
}
