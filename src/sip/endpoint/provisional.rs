//! Provisional responses of both sides, reliable ones and their PRACK (RFC 3262, SIP-041, SIP-062, SIP-063).

use std::time::{Duration, Instant};

use super::Endpoint;
use super::answering::in_dialog;
use super::session::push_sdp;
use crate::sip::event::{Event, Rejection};
use crate::sip::incoming::Incoming;
use crate::sip::invite::{Pending, State, Usage, UsageTimer, WaitingBy};
use crate::sip::message::{ALLOW, Method, Response, supported};
use crate::sip::reason::Reason;
use crate::sip::reliable::{self, OwedPrack, RAck, TAG, Unpracked};
use crate::sip::transaction::{Owner, Purpose};
use crate::sip::{DialogId, body, dialog, wire};

/// How often a 18x is repeated (RFC 3261 section 13.3.1.1).
const REPEAT_PROVISIONAL: Duration = Duration::from_secs(60);

impl Endpoint {
    /// Sends 180 without SDP, repeated every 60 s until the final response (SIP-041).
    pub fn ring(&mut self, now: Instant, dialog: DialogId) -> bool {
        self.progress(now, dialog, 180, None)
    }

    /// Sends a 101 to 199, repeated every 60 s until another or the final response. Where they are reliable it waits for
    /// the PRACK of the one before, and the first SDP is the answer, or the offer to an INVITE without one.
    pub fn progress(&mut self, now: Instant, dialog: DialogId, code: u16, sdp: Option<Vec<u8>>) -> bool {
        let Some(usage) = self.usages.get(dialog) else { return false };
        let State::Answering(answering) = &mut usage.state else { return false };
        if !(101..=199).contains(&code) {
            return false;
        }
        if let Some(reliable) = &mut usage.reliable {
            return match (&reliable.held, &reliable.unpracked) {
                (Some(_), _) => false,
                (None, Some(_)) => reliable.wait(code, sdp),
                (None, None) => self.send_reliable(now, dialog, code, sdp),
            };
        }
        // An offer of ours would get no answer before the ACK.
        let sdp = sdp.filter(|_| answering.had_offer);
        answering.provisional = Some((code, sdp.clone()));
        let transaction = answering.invite.transaction;
        let response = in_dialog(&usage.dialog, &answering.invite.request, code).with_sdp(sdp);
        self.usages.arm(dialog, UsageTimer::RepeatProvisional, now + REPEAT_PROVISIONAL);
        self.respond(now, transaction, response)
    }

    pub(super) fn repeat_provisional(&mut self, now: Instant, id: DialogId) {
        let Some(usage) = self.usages.get(id) else { return };
        if let State::Answering(answering) = &mut usage.state
            && let Some((code, sdp)) = answering.provisional.take()
        {
            self.progress(now, id, code, sdp);
        }
    }

    /// Sends a provisional response until its PRACK, at T1, doubling without an upper limit (RFC 3262 section 3).
    fn send_reliable(&mut self, now: Instant, id: DialogId, code: u16, sdp: Option<Vec<u8>>) -> bool {
        let timing = self.timing_of(id);
        let Some(usage) = self.usages.get(id) else { return false };
        let (State::Answering(answering), Some(reliable)) = (&mut usage.state, &mut usage.reliable) else {
            return false;
        };
        let sdp = sdp.filter(|_| !reliable.described);
        if sdp.is_some() {
            (reliable.described, reliable.offering) = (true, !answering.had_offer);
            usage.local_sdp.clone_from(&sdp);
        }
        let (has_sdp, rseq) = (sdp.is_some(), reliable.number());
        answering.provisional = Some((code, None));
        let (transaction, request) = (answering.invite.transaction, &answering.invite.request);
        let cseq = dialog::cseq_in(&request.headers);
        let response = in_dialog(&usage.dialog, request, code)
            .with("Require", TAG)
            .with("RSeq", rseq.to_string())
            .with("Allow", ALLOW)
            .with("Supported", supported(usage.settings.is_on()))
            .with_sdp(sdp);
        let response = self.signed(response);
        let Some(path) = self.transactions.server_path(transaction) else { return false };
        if !self.transactions.respond(now, transaction, &response, &mut self.out) {
            return false;
        }
        let (rack, interval) = (RAck { rseq, cseq }, timing.t1);
        let unpracked = Unpracked { rack, response: wire::write_response(&response), path, interval, has_sdp };
        if let Some(reliable) = self.usages.get(id).and_then(|usage| usage.reliable.as_mut()) {
            reliable.unpracked = Some(unpracked);
        }
        self.usages.arm(id, UsageTimer::RepeatProvisional, now + REPEAT_PROVISIONAL);
        self.usages.arm(id, UsageTimer::ResendProvisional, now + interval);
        self.usages.arm(id, UsageTimer::NoPrack, now + timing.timeout());
        true
    }

    pub(super) fn resend_provisional(&mut self, now: Instant, id: DialogId) {
        let Some(reliable) = self.usages.get(id).and_then(|usage| usage.reliable.as_mut()) else { return };
        let Some(unpracked) = &mut reliable.unpracked else { return };
        unpracked.interval *= 2;
        self.out.resend(unpracked.path, &unpracked.response);
        let when = now + unpracked.interval;
        self.usages.arm(id, UsageTimer::ResendProvisional, when);
    }

    /// No PRACK within 64·T1: the INVITE is refused (RFC 3262 section 3).
    pub(super) fn no_prack(&mut self, now: Instant, id: DialogId) {
        let Some(State::Answering(_)) = self.usages.get(id).map(|usage| &usage.state) else { return };
        self.out.counters.timed_out("prack");
        self.raise(Event::PrackTimeout { dialog: id });
        self.reject(now, id, Rejection::new(504).reason(Reason::q850(102).text("PRACK timeout")));
    }

    /// PRACK: the provisional response it names has arrived; an offer in it is answered in its 200 (SIP-063).
    pub(super) fn handle_prack(&mut self, now: Instant, id: DialogId, incoming: Incoming) {
        let Some(rack) = RAck::read(&incoming.request.headers) else {
            return self.refuse(now, &incoming, &Rejection::new(400));
        };
        let sdp = match body::sdp(&incoming.request.headers, &incoming.request.body) {
            Ok(sdp) => sdp,
            Err(error) => return self.refuse(now, &incoming, &Self::unsupported_body(error)),
        };
        let Some(usage) = self.usages.get(id) else { return };
        let is_late = matches!(usage.state, State::Leaving | State::Gone { .. });
        let reliable = usage.reliable.as_mut();
        let Some(answers) = reliable.and_then(|r| r.take(rack).map(|_| std::mem::take(&mut r.offering))) else {
            return self.refuse(now, &incoming, &Rejection::new(481));
        };
        self.usages.disarm(id, UsageTimer::ResendProvisional);
        self.usages.disarm(id, UsageTimer::NoPrack);
        if is_late || (sdp.is_none() && !answers) {
            self.accept_plain(now, &incoming);
        } else if answers {
            self.accept_plain(now, &incoming);
            self.raise(Event::Pracked { dialog: id, sdp });
        } else {
            self.handle_offer_in_prack(now, id, incoming, sdp);
        }
        self.after_prack(now, id);
    }

    fn handle_offer_in_prack(&mut self, now: Instant, id: DialogId, incoming: Incoming, sdp: Option<Vec<u8>>) {
        if let Some(rejection) = self.update_obstacle(id, true) {
            return self.refuse(now, &incoming, &rejection);
        }
        let opened = self.open(&incoming, None);
        let pending = Pending { transaction: opened.transaction, request: incoming.request };
        self.wait_for_answer(id, pending, WaitingBy::Prack, sdp);
    }

    /// Sends what waited for a PRACK and for the answer to the offer in it: the 2xx, else the next provisional response.
    pub(super) fn after_prack(&mut self, now: Instant, id: DialogId) {
        let Some(usage) = self.usages.get(id) else { return };
        let (State::Answering(_), None, Some(reliable)) = (&usage.state, &usage.waiting, &mut usage.reliable) else {
            return;
        };
        if reliable.unpracked.is_some() {
            return;
        }
        if let Some(held) = reliable.held.take() {
            self.confirm(now, id, held.sdp);
            if let Some(reasons) = held.hangup {
                self.bye(now, id, reasons);
            }
        } else if let Some((code, sdp)) = reliable.waiting.pop_front() {
            self.send_reliable(now, id, code, sdp);
        }
    }

    /// A 101 to 199 to our INVITE: its SDP, or `None` where it is a copy or out of order. A reliable one gets its PRACK, or
    /// waits for our answer to the offer in it.
    pub(super) fn take_provisional(
        &mut self,
        now: Instant,
        id: DialogId,
        response: &Response,
    ) -> Option<Option<Vec<u8>>> {
        let sdp = body::sdp(&response.headers, &response.body).ok().flatten();
        let (tag, usage) = (dialog::remote_tag(response), self.usages.get(id)?);
        let State::Calling(calling) = &usage.state else { return None };
        let (cseq, had_offer) = (calling.cseq, calling.had_offer);
        let Some(rseq) = reliable::rseq(response).filter(|_| !tag.is_empty()) else {
            return Some(sdp.filter(|_| had_offer));
        };
        if !usage.numbers.accept(&tag, rseq) {
            return None;
        }
        let is_first = usage.early_sdp.is_none();
        if let Some(sdp) = sdp.as_ref().filter(|_| is_first) {
            usage.early_sdp = Some((tag.clone(), sdp.clone()));
        }
        let mut dialog = usage.dialog.clone();
        if dialog.remote_tag != tag {
            dialog.establish(response);
        }
        let owed = OwedPrack { rack: RAck { rseq, cseq }, dialog: Box::new(dialog) };
        if is_first && sdp.is_some() && !had_offer {
            usage.owed_prack = Some(owed);
        } else {
            self.send_prack(now, id, &owed, None);
        }
        Some(sdp)
    }

    /// Answers the offer of a reliable provisional response in its PRACK.
    pub(super) fn answer_provisional(&mut self, now: Instant, id: DialogId, sdp: Option<Vec<u8>>) -> bool {
        let Some(usage) = self.usages.get(id) else { return false };
        let Some(owed) = usage.owed_prack.take() else { return false };
        usage.local_sdp.clone_from(&sdp);
        self.send_prack(now, id, &owed, sdp);
        true
    }

    fn send_prack(&mut self, now: Instant, id: DialogId, owed: &OwedPrack, sdp: Option<Vec<u8>>) {
        let branch = self.mint_branch();
        let Some(cseq) = self.usages.get(id).map(|usage| usage.dialog.next_cseq()) else { return };
        let mut request = owed.dialog.request(Method::PRACK, cseq, &branch);
        request.headers.push("RAck", owed.rack.to_string());
        self.sign(&mut request);
        push_sdp(&mut request, sdp);
        let owner = Owner { dialog: id, purpose: Purpose::Prack };
        let path = self.way(owed.dialog.next_hop(), owed.dialog.next_transport(), &mut request);
        self.transactions.open_client(now, path, request, owner, &mut self.out);
    }

    /// The SDP of a 2xx to our INVITE, and whether its ACK goes at once. What a reliable provisional response of the same
    /// callee brought is the answer; a late offer that came in one is not answered twice.
    pub(super) fn settle_early(
        usage: &mut Usage,
        tag: &str,
        sdp: Option<Vec<u8>>,
        had_offer: bool,
    ) -> (Option<Vec<u8>>, bool) {
        match usage.early_sdp.take().filter(|(sender, _)| sender == tag) {
            Some((_, early)) => (had_offer.then_some(early), true),
            None => {
                let at_once = had_offer || sdp.is_none();
                (sdp, at_once)
            }
        }
    }
}
