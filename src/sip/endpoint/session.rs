//! Requests of ours inside a dialog: BYE, re-INVITE, INFO, and the ACK of a 2xx.

use std::time::{Duration, Instant};

use super::Endpoint;
use crate::sip::DialogId;
use crate::sip::dialog::Dialog;
use crate::sip::invite::{Cancel, Reinvite, SentAck, State, Usage, UsageTimer};
use crate::sip::message::{ALLOW, Method, Request};
use crate::sip::reason::Reason;
use crate::sip::transaction::{Owner, Purpose, TransactionId};
use crate::sip::wire;

/// How often a re-INVITE that met theirs is tried.
const MAX_ATTEMPTS: u32 = 5;

impl Endpoint {
    /// Hangs up. Before the ACK of the first 2xx the BYE waits for it, at most 64·T1 (RFC 3261 section 15); a call of
    /// ours that nobody answered yet is cancelled; one of theirs that we did not answer is for `reject`.
    /// `Ended` comes with the BYE's answer.
    pub fn bye(&mut self, now: Instant, dialog: DialogId, reasons: Vec<Reason>) -> bool {
        let Some(usage) = self.usages.get(dialog) else { return false };
        match &mut usage.state {
            State::Calling(_) => self.cancel(now, dialog, reasons),
            State::Confirmed(confirmed) => {
                if confirmed.unacknowledged.as_ref().is_some_and(|answer| answer.is_initial) {
                    confirmed.hangup = Some(reasons);
                } else {
                    self.send_bye(now, dialog, &reasons);
                }
                true
            }
            State::Answering(_) => {
                let held = usage.reliable.as_mut().and_then(|reliable| reliable.held.as_mut());
                held.map(|held| held.hangup = Some(reasons)).is_some()
            }
            State::Leaving | State::Gone { .. } => false,
        }
    }

    /// Sends BYE and waits for its final response.
    pub(super) fn send_bye(&mut self, now: Instant, id: DialogId, reasons: &[Reason]) {
        let Some(usage) = self.usages.get(id) else { return };
        let owed = usage.confirmed().and_then(|confirmed| confirmed.owed_ack.take());
        if let Some(cseq) = owed {
            self.send_ack(now, id, cseq, None);
        }
        let Some(usage) = self.usages.get(id) else { return };
        let pending = usage.take_pending();
        usage.state = State::Leaving;
        self.refuse_pending(now, pending);
        self.usages.disarm_all(id);
        self.send_in_dialog(now, id, (Method::BYE, Purpose::Bye), |request| push_reasons(request, reasons));
    }

    /// Builds a request in the dialog, lets `finish` complete it, and sends it in a transaction.
    pub(super) fn send_in_dialog(
        &mut self,
        now: Instant,
        id: DialogId,
        (method, purpose): (Method, Purpose),
        finish: impl FnOnce(&mut Request),
    ) -> Option<TransactionId> {
        let branch = self.mint_branch();
        let usage = self.usages.get(id)?;
        let cseq = usage.dialog.next_cseq();
        let mut request = usage.dialog.request(method, cseq, &branch);
        let (hop, transport) = (usage.dialog.next_hop(), usage.dialog.next_transport());
        if [Method::INVITE, Method::UPDATE].contains(&request.method) {
            request.headers.push("Allow", ALLOW);
            if usage.settings.is_on() {
                request.headers.push("Supported", "timer");
            }
            Self::push_session(&usage.settings, usage.session, false, &mut request);
        }
        self.sign(&mut request);
        finish(&mut request);
        let path = self.way(hop, transport, &mut request);
        let owner = Owner { dialog: id, purpose };
        Some(self.transactions.open_client(now, path, request, owner, &mut self.out))
    }

    /// With our `User-Agent` header.
    pub(super) fn sign(&self, request: &mut Request) {
        if let Some(name) = &self.config.user_agent {
            request.headers.push("User-Agent", name.as_str());
        }
    }

    /// Sends the ACK of a 2xx and remembers it for copies of that 2xx.
    pub(super) fn send_ack(&mut self, _now: Instant, id: DialogId, cseq: u32, sdp: Option<Vec<u8>>) {
        let Some(dialog) = self.usages.get(id).map(|usage| usage.dialog.clone()) else { return };
        self.send_ack_in(id, &dialog, cseq, sdp);
    }

    /// The same in `dialog`, which may be a fork of the call's own.
    pub(super) fn send_ack_in(&mut self, id: DialogId, dialog: &Dialog, cseq: u32, sdp: Option<Vec<u8>>) {
        let branch = self.mint_branch();
        let mut request = dialog.request(Method::ACK, cseq, &branch);
        push_sdp(&mut request, sdp);
        let path = self.way(dialog.next_hop(), dialog.next_transport(), &mut request);
        let bytes = wire::write_request(&request);
        self.out.send(path, &bytes);
        if let Some(usage) = self.usages.get(id) {
            usage.remember_ack(SentAck { cseq, remote_tag: dialog.remote_tag.clone(), path, bytes });
        }
    }

    /// Sends a re-INVITE; `false` also while an offer of either side is open. One that meets theirs is tried again
    /// (SIP-073).
    pub fn reinvite(&mut self, now: Instant, dialog: DialogId, sdp: Option<Vec<u8>>) -> bool {
        let Some(usage) = self.usages.get(dialog) else { return false };
        let waits = usage.waiting.is_some();
        let free = usage.confirmed().is_some_and(|confirmed| !waits && confirmed.is_free());
        if free {
            self.send_reinvite(now, dialog, (sdp, 1), false);
        }
        free
    }

    /// Sends a re-INVITE for the `attempts`th time.
    pub(super) fn send_reinvite(
        &mut self,
        now: Instant,
        id: DialogId,
        (sdp, attempts): (Option<Vec<u8>>, u32),
        is_refresh: bool,
    ) {
        let body = sdp.clone();
        let transaction =
            self.send_in_dialog(now, id, (Method::INVITE, Purpose::Reinvite), |request| push_sdp(request, body));
        let Some(usage) = self.usages.get(id) else { return };
        usage.last_reinvite = transaction;
        if let Some(confirmed) = usage.confirmed() {
            confirmed.reinvite = Some(Reinvite { transaction, sdp, attempts, is_refresh });
        }
    }

    /// Our re-INVITE got 491: whether it will be tried again (SIP-073).
    pub(super) fn postpone_reinvite(&mut self, now: Instant, id: DialogId) -> bool {
        let wait = self.after_glare(id);
        let Some(confirmed) = self.usages.get(id).and_then(Usage::confirmed) else { return false };
        let Some(reinvite) = confirmed.reinvite.as_mut().filter(|reinvite| reinvite.attempts < MAX_ATTEMPTS) else {
            return false;
        };
        reinvite.transaction = None;
        self.usages.arm(id, UsageTimer::RetryReinvite, now + wait);
        true
    }

    pub(super) fn retry_reinvite(&mut self, now: Instant, id: DialogId) {
        let Some(usage) = self.usages.get(id) else { return };
        let (waits, current) = (usage.waiting.is_some(), usage.local_sdp.clone());
        let Some(confirmed) = usage.confirmed() else { return };
        if waits || confirmed.unacknowledged.is_some() {
            return self.usages.arm(id, UsageTimer::RetryReinvite, now + Duration::from_secs(1));
        }
        if let Some(Reinvite { sdp, attempts, is_refresh, .. }) = confirmed.reinvite.take() {
            // What met it may have changed the session: a refresh says it as it is now.
            let sdp = if is_refresh { current } else { sdp };
            self.send_reinvite(now, id, (sdp, attempts + 1), is_refresh);
        }
    }

    /// Sends INFO; `InfoAnswered` follows.
    pub fn info(&mut self, now: Instant, dialog: DialogId, content_type: &str, body: Vec<u8>) -> bool {
        if self.usages.get(dialog).and_then(Usage::confirmed).is_none() {
            return false;
        }
        let sent = self.send_in_dialog(now, dialog, (Method::INFO, Purpose::Info), |request| {
            request.headers.push("Content-Type", content_type);
            request.body = body;
        });
        sent.is_some()
    }

    /// Takes our unanswered INVITE back: CANCEL now, or with the first provisional response (RFC 3261 section 9.1).
    pub fn cancel(&mut self, now: Instant, dialog: DialogId, reasons: Vec<Reason>) -> bool {
        let Some(usage) = self.usages.get(dialog) else { return false };
        let State::Calling(calling) = &mut usage.state else { return false };
        if calling.cancel != Cancel::No {
            return false;
        }
        calling.cancel = Cancel::Wanted(reasons);
        self.send_wanted_cancel(now, dialog);
        true
    }

    pub(super) fn send_wanted_cancel(&mut self, now: Instant, id: DialogId) {
        let Some(usage) = self.usages.get(id) else { return };
        let State::Calling(calling) = &mut usage.state else { return };
        let Cancel::Wanted(reasons) = &calling.cancel else { return };
        let Some((mut request, path)) = self.transactions.cancel_of(calling.transaction) else { return };
        push_reasons(&mut request, reasons);
        calling.cancel = Cancel::Sent(reasons.clone());
        let owner = Owner { dialog: id, purpose: Purpose::Cancel };
        self.transactions.open_client(now, path, request, owner, &mut self.out);
        let limit = now + self.timing_of(id).timeout();
        self.usages.arm(id, UsageTimer::NoFinal, limit);
    }
}

pub(super) fn push_sdp(request: &mut Request, sdp: Option<Vec<u8>>) {
    if let Some(sdp) = sdp {
        request.headers.push("Content-Type", "application/sdp");
        request.body = sdp;
    }
}

fn push_reasons(request: &mut Request, reasons: &[Reason]) {
    for reason in reasons {
        request.headers.push("Reason", reason.to_string());
    }
}
