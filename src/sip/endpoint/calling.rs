//! Calls that go out: INVITE and what comes of it (RFC 3261 sections 13.1, 13.2 and 9.1).

use std::time::Instant;

use super::Endpoint;
use super::session::push_sdp;
use crate::config::SessionTimerMode;
use crate::sip::dialog::{self, Dialog};
use crate::sip::event::{Event, OutgoingInvite};
use crate::sip::invite::{Calling, Cancel, Plan, State, Usage, UsageTimer};
use crate::sip::message::{ALLOW, Method, Response, phrase, supported};
use crate::sip::reason::Reason;
use crate::sip::transaction::{Owner, Purpose, TransactionId};
use crate::sip::{DialogId, Headers, body};

impl Endpoint {
    /// Places a call. `Provisional`, `Answered` or `Rejected` follow.
    pub fn invite(&mut self, now: Instant, call: OutgoingInvite) -> DialogId {
        let (call_id, tag) = (self.random.hex(16), self.mint_tag());
        let path = self.path_to(call.listener, call.target);
        let shown = self.shown(call.listener, call.target.ip());
        let mut dialog = Dialog::calling(&call_id, &tag, &call.from, &call.to, shown, path);
        dialog.aim(&call.request_uri);
        let (id, cseq) = (self.usages.next_id(), dialog.next_cseq());
        let transaction = self.open_invite(now, id, &dialog, &call, cseq);
        let (login, no_response) = (call.ways.login.clone(), call.ways.no_response);
        let (settings, local_sdp) = (self.session_settings_to(call.target.ip()), call.sdp.clone());
        let calling =
            Calling { transaction, cseq, had_offer: call.sdp.is_some(), cancel: Cancel::No, plan: Plan::new(call) };
        let mut usage = Usage::calling(dialog, calling, settings);
        usage.local_sdp = local_sdp;
        let id = self.usages.insert(usage);
        self.set_login(id, login);
        if let Some(no_response) = no_response {
            self.usages.arm(id, UsageTimer::NoResponse, now + no_response);
        }
        id
    }

    /// Sends the INVITE of a call in a transaction of its own.
    pub(super) fn open_invite(
        &mut self,
        now: Instant,
        id: DialogId,
        dialog: &Dialog,
        call: &OutgoingInvite,
        cseq: u32,
    ) -> TransactionId {
        let branch = self.mint_branch();
        let mut request = dialog.request(Method::INVITE, cseq, &branch);
        request.headers.push("Allow", ALLOW);
        let settings = self.session_settings_to(call.target.ip());
        request.headers.push("Supported", supported(settings.is_on()));
        Self::push_session(&settings, None, settings.mode == SessionTimerMode::Always, &mut request);
        self.sign(&mut request);
        for (name, value) in &call.headers {
            request.headers.push(name, value.as_str());
        }
        push_sdp(&mut request, call.sdp.clone());
        let path = self.way(dialog.peer, None, &mut request);
        let owner = Owner { dialog: id, purpose: Purpose::Invite };
        self.transactions.open_client(now, path, request, owner, &mut self.out)
    }

    /// A response to our INVITE.
    pub(super) fn invite_answered(&mut self, now: Instant, id: DialogId, response: Response) {
        match response.code {
            ..=199 => self.invite_progressed(now, id, &response),
            200..=299 => self.invite_accepted(now, id, response),
            300.. => self.invite_refused(now, id, response),
        }
    }

    fn invite_progressed(&mut self, now: Instant, id: DialogId, response: &Response) {
        let Some(usage) = self.usages.get(id) else { return };
        if !matches!(usage.state, State::Calling(_)) {
            return;
        }
        if usage.dialog.remote_tag.is_empty() && !dialog::remote_tag(response).is_empty() {
            usage.dialog.establish(response);
        }
        usage.learn_methods(&response.headers);
        self.usages.disarm(id, UsageTimer::NoResponse);
        self.send_wanted_cancel(now, id);
        if response.code > 100
            && let Some(sdp) = self.take_provisional(now, id, response)
        {
            self.raise(Event::Provisional { dialog: id, code: response.code, sdp });
        }
    }

    /// The first 2xx confirms the dialog, a copy gets its ACK again, one with another tag is a fork (SIP-056).
    pub(super) fn invite_accepted(&mut self, now: Instant, id: DialogId, response: Response) {
        let tag = dialog::remote_tag(&response);
        let Some(usage) = self.usages.get(id) else { return };
        if let Some(ack) = usage.ack_for(dialog::cseq_of(&response), &tag) {
            return self.out.resend(ack.path, &ack.bytes);
        }
        let State::Calling(calling) = &mut usage.state else {
            let waits = usage.confirmed().is_some_and(|confirmed| confirmed.owed_ack.is_some());
            if usage.dialog.remote_tag != tag || !waits {
                self.leave_fork(now, id, &response);
            }
            return; // else a copy of the 2xx whose ACK waits for our answer
        };
        let (cseq, had_offer) = (calling.cseq, calling.had_offer);
        let cancelled = match std::mem::replace(&mut calling.cancel, Cancel::No) {
            Cancel::No => None,
            Cancel::Wanted(reasons) | Cancel::Sent(reasons) => Some(reasons),
        };
        usage.dialog.establish(&response);
        usage.state = State::Confirmed(Box::default());
        let sdp = body::sdp(&response.headers, &response.body).ok().flatten();
        let (sdp, at_once) = Self::settle_early(usage, &tag, sdp, had_offer);
        self.usages.disarm_all(id);
        if let Some(reasons) = cancelled {
            // The 200 crossed our CANCEL: the call is up, and ends at once.
            self.send_ack(now, id, cseq, None);
            return self.send_bye(now, id, &reasons);
        }
        self.acknowledge(now, id, cseq, at_once);
        self.session_accepted(now, id, &response.headers);
        self.raise(Event::Answered { dialog: id, sdp, headers: response.headers });
    }

    /// Sends the ACK, or leaves it to `answer`, which has to put our answer into it.
    pub(super) fn acknowledge(&mut self, now: Instant, id: DialogId, cseq: u32, at_once: bool) {
        if at_once {
            self.send_ack(now, id, cseq, None);
        } else if let Some(confirmed) = self.usages.get(id).and_then(Usage::confirmed) {
            confirmed.owed_ack = Some(cseq);
        }
    }

    /// ACK and BYE to a second callee that answered, or to one that answered too late.
    pub(super) fn leave_fork(&mut self, now: Instant, id: DialogId, response: &Response) {
        let branch = self.mint_branch();
        let Some(usage) = self.usages.get(id) else { return };
        let mut fork = usage.dialog.clone();
        fork.establish(response);
        let cseq = dialog::cseq_of(response);
        self.send_ack_in(id, &fork, cseq, None);
        let mut bye = fork.request(Method::BYE, cseq + 1, &branch);
        self.sign(&mut bye);
        let owner = Owner { dialog: id, purpose: Purpose::ForkBye };
        let path = self.way(fork.next_hop(), fork.next_transport(), &mut bye);
        self.transactions.open_client(now, path, bye, owner, &mut self.out);
    }

    /// A refusal counts, unless another destination is to be tried (SIP-055) or the call is redirected.
    fn invite_refused(&mut self, now: Instant, id: DialogId, response: Response) {
        let Some(usage) = self.usages.get(id) else { return };
        if !matches!(usage.state, State::Calling(_)) {
            return;
        }
        let elsewhere = match response.code {
            300..=399 => self.follow(now, id, &response),
            503 => self.try_next(now, id, "answered 503"),
            _ => self.retry_longer(now, id, &response),
        };
        if !elsewhere {
            let reasons = Reason::parse_all(response.headers.get_all("Reason"));
            let Response { code, phrase, headers, .. } = response;
            self.raise(Event::Rejected { dialog: id, code, phrase, reasons, headers });
            self.end(now, id, false);
        }
    }

    /// No response to our INVITE at all.
    pub(super) fn invite_timed_out(&mut self, now: Instant, id: DialogId) {
        self.invite_failed(now, id, 408);
    }

    /// The same for another cause, in a code of ours.
    pub(super) fn invite_failed(&mut self, now: Instant, id: DialogId, code: u16) {
        let Some(usage) = self.usages.get(id) else { return };
        if matches!(usage.state, State::Calling(_)) && !self.try_next(now, id, "does not answer") {
            let (phrase, headers) = (phrase(code), Headers::new());
            self.raise(Event::Rejected { dialog: id, code, phrase, reasons: Vec::new(), headers });
            self.end(now, id, false);
        }
    }

    /// A destination said nothing at all for as long as its trunk waits: timer B, shortened (SIP-055).
    pub(super) fn no_response(&mut self, now: Instant, id: DialogId) {
        self.give_up(now, id);
    }

    /// No final response within 64·T1 of our CANCEL: the call counts as cancelled (RFC 3261 section 9.1).
    pub(super) fn no_final(&mut self, now: Instant, id: DialogId) {
        self.give_up(now, id);
        self.usages.disarm(id, UsageTimer::NoFinal);
    }

    fn give_up(&mut self, now: Instant, id: DialogId) {
        let Some(usage) = self.usages.get(id) else { return };
        if let State::Calling(calling) = &usage.state {
            let transaction = calling.transaction;
            self.transactions.abandon(transaction);
            self.out.counters.timed_out("invite_client");
            self.invite_timed_out(now, id);
        }
    }
}
