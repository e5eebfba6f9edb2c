//! Calls that come in: INVITE, 18x, 2xx until its ACK, refusals (RFC 3261 section 13.3, SIP-031 to SIP-041).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Availability, Endpoint, TABLES_FULL, TOO_FAST};
use crate::config::Trunk;
use crate::sip::dialog::{self, Dialog};
use crate::sip::event::{Event, IncomingInvite, InviteBody, Rejection, Why};
use crate::sip::incoming::Incoming;
use crate::sip::invite::{Confirmed, Pending, State, Unacknowledged, Usage, UsageTimer, Waiting, WaitingBy};
use crate::sip::message::{ALLOW, Headers, Request, Response, supported};
use crate::sip::reason::Reason;
use crate::sip::reliable::{self, Held, Reliable};
use crate::sip::transaction::TransactionId;
use crate::sip::uri::Uri;
use crate::sip::{DialogId, body, wire};

/// The first RSeq is at most this (RFC 3262 section 3).
const MAX_FIRST_RSEQ: u32 = (1 << 31) - 1;

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
        let own = Self::presumed_trunk(trunks, &incoming.request.headers);
        let settings = own.map_or(self.session_timer, |trunk| trunk.session_timer);
        if let Some(rejection) = Self::too_brief(&settings, &incoming.request.headers) {
            return self.refuse(now, &incoming, &rejection);
        }
        let is_reliable = is_reliable(own, &incoming.request.headers);
        let opened = self.open(&incoming, None);
        self.respond(now, opened.transaction, Response::to(&incoming.request, 100, ""));
        let shown = self.shown(incoming.arrival.listener, incoming.arrival.source.ip());
        let nat_contact_fix = trunks.iter().any(|trunk| trunk.nat_contact_fix);
        let dialog = Dialog::answering(&incoming, &opened.to_tag, shown, nat_contact_fix);
        let merge = incoming.merge_key();
        let invite = Box::new(IncomingInvite {
            source: incoming.arrival.source,
            peer: incoming.arrival.peer,
            listener: incoming.arrival.listener,
            transport: incoming.arrival.transport,
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
            reliable_provisionals: is_reliable,
        });
        let (expires, had_offer) = (expires(&incoming.request), invite.body != InviteBody::None);
        let pending = Pending { transaction: opened.transaction, request: incoming.request };
        let usage = Usage::answering(dialog, pending, had_offer, settings).merged_by(merge);
        let id = self.begin_call(usage, &invite);
        self.transactions.assign(opened.transaction, id);
        self.set_login(id, trunks.iter().find_map(|trunk| trunk.auth.clone()));
        if let Some(expires) = expires {
            self.usages.arm(id, UsageTimer::Expires, now + expires);
        }
        self.raise(Event::Invite { dialog: id, invite });
    }

    /// The call of an INVITE, with what that said of it.
    fn begin_call(&mut self, mut usage: Usage, invite: &IncomingInvite) -> DialogId {
        usage.replaces = invite.replaces;
        usage.learn_methods(&invite.headers);
        let first = 1 + self.random.below(MAX_FIRST_RSEQ);
        usage.reliable = invite.reliable_provisionals.then(|| Box::new(Reliable::new(first)));
        self.usages.insert(usage)
    }

    /// What stands in the way of one more call (SIP-096).
    fn no_room(&mut self, now: Instant) -> Option<Why> {
        match self.availability {
            Availability::Unavailable(why) => Some(why),
            Availability::Available if self.usages.len() >= self.limits.dialogs => Some(TABLES_FULL),
            Availability::Available => (!self.call_rate.take(now)).then_some(TOO_FAST),
        }
    }

    /// Answers what waits: 200 to the INVITE, re-INVITE or UPDATE of the peer, or the ACK or PRACK that carries our answer
    /// to an offer in a response. A 200 to an INVITE is sent again until its ACK; while a reliable provisional response
    /// with SDP has no PRACK it waits (SIP-063).
    pub fn answer(&mut self, now: Instant, dialog: DialogId, sdp: Option<Vec<u8>>) -> bool {
        let Some(usage) = self.usages.get(dialog) else { return false };
        match &mut usage.state {
            State::Answering(_) => {
                let Some(reliable) = usage.reliable.as_mut().filter(|r| r.holds_answer() || usage.waiting.is_some())
                else {
                    return self.confirm(now, dialog, sdp);
                };
                let is_first = reliable.held.is_none();
                reliable.held.get_or_insert(Held { sdp, hangup: None });
                is_first
            }
            State::Calling(_) => self.answer_provisional(now, dialog, sdp),
            State::Confirmed(confirmed) => {
                if let Some(waiting) = usage.waiting.take() {
                    self.accept(now, dialog, waiting, sdp)
                } else if let Some(cseq) = confirmed.owed_ack.take() {
                    usage.local_sdp.clone_from(&sdp);
                    self.send_ack(now, dialog, cseq, sdp);
                    true
                } else {
                    self.answer_provisional(now, dialog, sdp)
                }
            }
            State::Leaving | State::Gone { .. } => false,
        }
    }

    /// Answers the offer of an UPDATE or PRACK, before the call is answered and after.
    pub fn answer_update(&mut self, now: Instant, dialog: DialogId, sdp: Option<Vec<u8>>) -> bool {
        let is_update = |waiting: &mut Waiting| matches!(waiting.by, WaitingBy::Update | WaitingBy::Prack);
        let waiting = self.usages.get(dialog).and_then(|usage| usage.waiting.take_if(is_update));
        let Some(waiting) = waiting else { return false };
        let answered = self.accept(now, dialog, waiting, sdp);
        self.after_prack(now, dialog);
        answered
    }

    /// Refuses the offer of an UPDATE or PRACK; the session goes on (SIP-074).
    pub fn reject_update(&mut self, now: Instant, dialog: DialogId, rejection: Rejection) -> bool {
        let is_update = |waiting: &mut Waiting| matches!(waiting.by, WaitingBy::Update | WaitingBy::Prack);
        let Some(usage) = self.usages.get(dialog) else { return false };
        let (agent, tag) = (usage.dialog.shown.ip(), usage.dialog.local_tag.clone());
        let Some(waiting) = usage.waiting.take_if(is_update) else { return false };
        let response = Self::refusal(&waiting.pending.request, &tag, agent, &rejection);
        let refused = self.respond(now, waiting.pending.transaction, response);
        self.after_prack(now, dialog);
        refused
    }

    /// Sends the 200 to the INVITE; its SDP is left out where a reliable provisional response has carried it.
    pub(super) fn confirm(&mut self, now: Instant, id: DialogId, sdp: Option<Vec<u8>>) -> bool {
        let Some(usage) = self.usages.get(id) else { return false };
        let State::Answering(answering) = &mut usage.state else { return false };
        let request = std::mem::replace(&mut answering.invite.request, empty_request());
        let (transaction, had_offer) = (answering.invite.transaction, answering.had_offer);
        usage.state = State::Confirmed(Box::default());
        let described = usage.reliable.as_mut().is_some_and(|reliable| {
            reliable.waiting.clear();
            reliable.described
        });
        self.usages.disarm_all(id);
        let pending = Pending { transaction, request };
        let waiting = Waiting { pending, by: WaitingBy::Invite, had_offer };
        let accepted = self.accept(now, id, waiting, sdp.filter(|_| !described));
        self.leave_replaced(now, id);
        accepted
    }

    /// Sends the 200 to a request that waits.
    fn accept(&mut self, now: Instant, id: DialogId, waiting: Waiting, sdp: Option<Vec<u8>>) -> bool {
        let (request, transaction) = (&waiting.pending.request, waiting.pending.transaction);
        let (cseq, offered) = (dialog::cseq_in(&request.headers), !waiting.had_offer && sdp.is_some());
        let Some(usage) = self.usages.get(id) else { return false };
        if matches!(waiting.by, WaitingBy::Reinvite | WaitingBy::Update) {
            usage.dialog.refresh_target(&request.headers);
        }
        if sdp.is_some() {
            usage.local_sdp.clone_from(&sdp);
        }
        let is_early = usage.confirmed().is_none();
        let response = Self::in_call(usage, request, 200);
        let response = match waiting.by {
            WaitingBy::Prack => response,
            WaitingBy::Update if is_early => response,
            WaitingBy::Invite | WaitingBy::Reinvite | WaitingBy::Update => {
                self.agree_session(now, id, &request.headers, response)
            }
        };
        let response = response.with_sdp(sdp);
        match waiting.by {
            WaitingBy::Update | WaitingBy::Prack => self.respond(now, transaction, response),
            WaitingBy::Invite | WaitingBy::Reinvite => {
                let is_initial = waiting.by == WaitingBy::Invite;
                self.send_answer(now, id, transaction, response, (cseq, offered, is_initial))
            }
        }
    }

    /// A 2xx within the call: what we can do stands in it (SIP-014).
    pub(super) fn in_call(usage: &Usage, request: &Request, code: u16) -> Response {
        let response = in_dialog(&usage.dialog, request, code).with("Allow", ALLOW);
        response.with("Supported", supported(usage.settings.is_on()))
    }

    /// Sends a 200 to an INVITE until its ACK (RFC 3261 section 13.3.1.4).
    fn send_answer(
        &mut self,
        now: Instant,
        id: DialogId,
        transaction: TransactionId,
        response: Response,
        (cseq, offered, is_initial): (u32, bool, bool),
    ) -> bool {
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
            State::Confirmed(_) if is_final => {
                let Some(waiting) = usage.waiting.take() else { return false };
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

/// Whether provisional responses to this INVITE are sent reliably (SIP-062).
fn is_reliable(trunk: Option<&Arc<Trunk>>, invite: &Headers) -> bool {
    let (is_supported, is_required) = reliable::wanted(invite);
    is_required || (is_supported && trunk.is_some_and(|trunk| trunk.reliable_provisionals))
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
