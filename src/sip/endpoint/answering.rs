//! Calls that come in: INVITE, 18x, 2xx until its ACK, refusals (RFC 3261 section 13.3, SIP-031 to SIP-041).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Availability, Endpoint, TABLES_FULL, TOO_FAST};
use crate::config::Trunk;
use crate::sip::dialog::{self, Dialog};
use crate::sip::event::{Event, IncomingInvite, InviteBody, Rejection, Why};
use crate::sip::incoming::Incoming;
use crate::sip::invite::{Confirmed, Pending, State, Unacknowledged, Usage, UsageTimer, Waiting};
use crate::sip::message::{ALLOW, Request, Response, SUPPORTED};
use crate::sip::reason::Reason;
use crate::sip::uri::Uri;
use crate::sip::{DialogId, body, wire};

/// How often a 18x is repeated (RFC 3261 section 13.3.1.1).
const REPEAT_PROVISIONAL: Duration = Duration::from_secs(60);

impl Endpoint {
    pub(super) fn handle_new_invite(&mut self, now: Instant, incoming: Incoming, trunks: &[Arc<Trunk>]) {
        let replaces = match self.replaced_by(&incoming) {
            Ok(replaces) => replaces,
            Err(rejection) => return self.refuse(now, &incoming, &rejection),
        };
        // What takes the place of another call needs no place of its own.
        if replaces.is_none()
            && let Some(why) = self.no_room(now)
        {
            let rejection = self.unavailable(why);
            return self.refuse(now, &incoming, &rejection);
        }
        let sdp = match body::sdp(&incoming.request.headers, &incoming.request.body) {
            Ok(sdp) => sdp,
            Err(error) => return self.refuse(now, &incoming, &Self::unsupported_body(error)),
        };
        let (Ok(_), Ok(request_uri)) = (dialog::contact(&incoming.request.headers), Uri::parse(&incoming.request.uri))
        else {
            return self.refuse(now, &incoming, &Rejection::new(400));
        };
        let opened = self.open(&incoming, None);
        self.respond(now, opened.transaction, Response::to(&incoming.request, 100, ""));
        let source = incoming.arrival.source;
        let shown = self.shown(incoming.arrival.listener, source.ip());
        let nat_contact_fix = trunks.iter().any(|trunk| trunk.nat_contact_fix);
        let dialog = Dialog::answering(&incoming, &opened.to_tag, shown, nat_contact_fix);
        let merge = incoming.merge_key();
        let invite = Box::new(IncomingInvite {
            source,
            peer: incoming.arrival.peer,
            listener: incoming.arrival.listener,
            call_id: incoming.call_id,
            request_uri,
            from: incoming.from,
            to: incoming.to,
            local_tag: opened.to_tag,
            headers: incoming.request.headers.clone(),
            body: sdp.map_or(InviteBody::None, InviteBody::Sdp),
            our_address: shown.ip(),
            peer_is_local: self.is_local(incoming.arrival.peer),
            trunk_candidates: trunks.to_vec(),
            replaces,
        });
        let expires = expires(&incoming.request);
        let had_offer = invite.body != InviteBody::None;
        let pending = Pending { transaction: opened.transaction, request: incoming.request };
        let mut usage = Usage::answering(dialog, pending, had_offer, merge);
        usage.replaces = replaces;
        let id = self.usages.insert(usage);
        self.transactions.assign(opened.transaction, id);
        self.set_login(id, trunks.iter().find_map(|trunk| trunk.auth.clone()));
        if let Some(expires) = expires {
            self.usages.arm(id, UsageTimer::Expires, now + expires);
        }
        self.raise(Event::Invite { dialog: id, invite });
    }

    /// What stands in the way of one more call (SIP-096).
    fn no_room(&mut self, now: Instant) -> Option<Why> {
        match self.availability {
            Availability::Unavailable(why) => Some(why),
            Availability::Available if self.usages.len() >= self.limits.dialogs => Some(TABLES_FULL),
            Availability::Available => (!self.call_rate.admit(now)).then_some(TOO_FAST),
        }
    }

    /// Sends 180 without SDP, repeated every 60 s until the final response (SIP-041).
    pub fn ring(&mut self, now: Instant, dialog: DialogId) -> bool {
        self.progress(now, dialog, 180, None)
    }

    /// Sends a 101 to 199, repeated every 60 s until another or the final response.
    pub fn progress(&mut self, now: Instant, dialog: DialogId, code: u16, sdp: Option<Vec<u8>>) -> bool {
        let Some(usage) = self.usages.get(dialog) else { return false };
        let State::Answering(answering) = &mut usage.state else { return false };
        if !(101..=199).contains(&code) {
            return false;
        }
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

    /// Answers what waits: 200 to the INVITE, re-INVITE or UPDATE of the peer, or the ACK that carries our answer to an
    /// offer in a 2xx. A 200 to an INVITE is sent again until its ACK.
    pub fn answer(&mut self, now: Instant, dialog: DialogId, sdp: Option<Vec<u8>>) -> bool {
        let Some(usage) = self.usages.get(dialog) else { return false };
        match &mut usage.state {
            State::Answering(answering) => {
                let invite = std::mem::replace(&mut answering.invite.request, empty_request());
                let (transaction, had_offer) = (answering.invite.transaction, answering.had_offer);
                usage.state = State::Confirmed(Box::default());
                self.usages.disarm_all(dialog);
                let waiting =
                    Waiting { pending: Pending { transaction, request: invite }, is_update: false, had_offer };
                let accepted = self.accept(now, dialog, waiting, (sdp, true));
                self.leave_replaced(now, dialog);
                accepted
            }
            State::Confirmed(confirmed) => {
                if let Some(waiting) = confirmed.waiting.take() {
                    self.accept(now, dialog, waiting, (sdp, false))
                } else if let Some(cseq) = confirmed.owed_ack.take() {
                    self.send_ack(now, dialog, cseq, sdp);
                    true
                } else {
                    false
                }
            }
            State::Calling(_) | State::Leaving | State::Gone { .. } => false,
        }
    }

    /// Sends the 200; `is_initial` is whether it confirms the dialog.
    fn accept(
        &mut self,
        now: Instant,
        id: DialogId,
        waiting: Waiting,
        (sdp, is_initial): (Option<Vec<u8>>, bool),
    ) -> bool {
        let request = &waiting.pending.request;
        let cseq = request.headers.get("CSeq").and_then(crate::sip::message::CSeq::parse).map_or(0, |cseq| cseq.number);
        let offered = !waiting.had_offer && sdp.is_some();
        let Some(usage) = self.usages.get(id) else { return false };
        if !is_initial {
            usage.dialog.refresh_target(&request.headers);
        }
        let response = in_dialog(&usage.dialog, request, 200).with("Allow", ALLOW).with("Supported", SUPPORTED);
        let response = response.with_sdp(sdp);
        let transaction = waiting.pending.transaction;
        if waiting.is_update {
            return self.respond(now, transaction, response);
        }
        let response = self.signed(response);
        let Some(path) = self.transactions.server_path(transaction) else { return false };
        if !self.transactions.respond(now, transaction, &response, &mut self.out) {
            return false;
        }
        let timing = self.timing_of(id);
        let interval = timing.t1;
        let response = wire::write_response(&response);
        let unacknowledged = Unacknowledged { cseq, response, path, interval, offered, is_initial };
        if let Some(confirmed) = self.usages.get(id).and_then(Usage::confirmed) {
            confirmed.unacknowledged = Some(unacknowledged);
        }
        self.usages.arm(id, UsageTimer::ResendAnswer, now + interval);
        self.usages.arm(id, UsageTimer::NoAck, now + timing.timeout());
        true
    }

    pub(super) fn resend_answer(&mut self, now: Instant, id: DialogId) {
        let timing = self.timing_of(id);
        let Some(Confirmed { unacknowledged: Some(answer), .. }) = self.usages.get(id).and_then(Usage::confirmed)
        else {
            return;
        };
        answer.interval = timing.next_interval(answer.interval);
        self.out.resend(answer.path, &answer.response);
        let when = now + answer.interval;
        self.usages.arm(id, UsageTimer::ResendAnswer, when);
    }

    /// No ACK within 64·T1: the dialog is confirmed and the session ends (RFC 3261 section 13.3.1.4, SIP-034).
    pub(super) fn no_ack(&mut self, now: Instant, id: DialogId) {
        let Some(confirmed) = self.usages.get(id).and_then(Usage::confirmed) else { return };
        confirmed.unacknowledged = None;
        let wanted = confirmed.hangup.take();
        self.usages.disarm(id, UsageTimer::ResendAnswer);
        self.out.counters.timed_out("ack");
        if let Some(reasons) = wanted {
            self.send_bye(now, id, &reasons);
        } else {
            self.send_bye(now, id, &[Reason::sip(408).text("ACK timeout")]);
            self.raise(Event::AckTimeout { dialog: id });
        }
    }

    /// An ACK that no transaction absorbed: it belongs to a 2xx with its CSeq, or to nothing (SIP-035).
    pub(super) fn handle_ack(&mut self, now: Instant, incoming: &Incoming) {
        let Some(id) = self.usages.find(incoming) else { return };
        let Some(confirmed) = self.usages.get(id).and_then(Usage::confirmed) else { return };
        if confirmed.unacknowledged.as_ref().is_some_and(|answer| answer.cseq == incoming.cseq) {
            let sdp = body::sdp(&incoming.request.headers, &incoming.request.body).ok().flatten();
            self.acknowledged(now, id, sdp);
        }
    }

    /// Our 2xx has arrived.
    pub(super) fn acknowledged(&mut self, now: Instant, id: DialogId, sdp: Option<Vec<u8>>) {
        let Some(confirmed) = self.usages.get(id).and_then(Usage::confirmed) else { return };
        confirmed.unacknowledged = None;
        let wanted = confirmed.hangup.take();
        self.usages.disarm(id, UsageTimer::ResendAnswer);
        self.usages.disarm(id, UsageTimer::NoAck);
        self.raise(Event::Acknowledged { dialog: id, sdp });
        match wanted {
            Some(reasons) => self.send_bye(now, id, &reasons),
            None => self.send_wanted_refer(now, id),
        }
    }

    /// Refuses what waits: the INVITE (the dialog ends), the re-INVITE or the UPDATE (the session goes on, SIP-074).
    pub fn reject(&mut self, now: Instant, dialog: DialogId, rejection: Rejection) -> bool {
        let Some(usage) = self.usages.get(dialog) else { return false };
        let (agent, tag) = (usage.dialog.shown.ip(), usage.dialog.local_tag.clone());
        let is_final = (300..=699).contains(&rejection.code);
        match &mut usage.state {
            State::Answering(answering) if is_final => {
                let response = Self::refusal(&answering.invite.request, &tag, agent, &rejection);
                let transaction = answering.invite.transaction;
                self.respond(now, transaction, response);
                self.end(now, dialog, false);
                true
            }
            State::Confirmed(confirmed) if is_final => {
                let Some(waiting) = confirmed.waiting.take() else { return false };
                let response = Self::refusal(&waiting.pending.request, &tag, agent, &rejection);
                self.respond(now, waiting.pending.transaction, response)
            }
            State::Answering(_) | State::Confirmed(_) | State::Calling(_) | State::Leaving | State::Gone { .. } => {
                false
            }
        }
    }

    pub(super) fn invite_expired(&mut self, now: Instant, id: DialogId) {
        if self.refuse_invite(now, id) {
            self.raise(Event::Expired { dialog: id });
            self.end(now, id, false);
        }
    }

    /// Sends 487 to an INVITE that has no final response.
    pub(super) fn refuse_invite(&mut self, now: Instant, id: DialogId) -> bool {
        let Some(usage) = self.usages.get(id) else { return false };
        let State::Answering(answering) = &usage.state else { return false };
        let response = Response::to(&answering.invite.request, 487, &usage.dialog.local_tag);
        let transaction = answering.invite.transaction;
        self.respond(now, transaction, response)
    }
}

/// A response that forms or refreshes the dialog: Record-Route verbatim, our Contact (SIP-022, SIP-053).
pub(super) fn in_dialog(dialog: &Dialog, request: &Request, code: u16) -> Response {
    let mut response = Response::to(request, code, &dialog.local_tag);
    response.headers.copy(&request.headers, "Record-Route");
    response.with("Contact", dialog.contact())
}

fn empty_request() -> Request {
    let (uri, headers) = (String::new(), crate::sip::Headers::new());
    Request { method: crate::sip::message::Method::INVITE, uri, headers, body: Vec::new() }
}

/// `Expires` in seconds; none where it is missing, unreadable or 0.
fn expires(request: &Request) -> Option<Duration> {
    let seconds: u32 = request.headers.get("Expires")?.trim().parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}
