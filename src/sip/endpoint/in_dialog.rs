//! Requests of the peer inside a dialog: BYE, re-INVITE, UPDATE, INFO, OPTIONS, NOTIFY (SIP-039, SIP-040, SIP-070 to
//! SIP-077).

use std::time::Instant;

use tracing::debug;

use super::Endpoint;
use crate::base::pii::MaskedNumber;
use crate::sip::event::{Event, InfoAnswer, Rejection};
use crate::sip::incoming::Incoming;
use crate::sip::invite::{Pending, State, Waiting, WaitingBy};
use crate::sip::message::{Method, Response};
use crate::sip::reason::Reason;
use crate::sip::uri::NameAddr;
use crate::sip::{DialogId, body, dialog};

/// INFOs of one dialog that wait for `answer_info` at once.
const MAX_INFOS: usize = 32;

impl Endpoint {
    pub(super) fn handle_in_dialog(&mut self, now: Instant, incoming: Incoming) {
        let found = self.usages.find(&incoming);
        let Some((id, usage)) = found.and_then(|id| Some((id, self.usages.get(id)?))) else {
            return self.refuse(now, &incoming, &Rejection::new(481));
        };
        if let Some(notify) = Self::awaited_notify(usage, &incoming) {
            return self.handle_notify(now, id, &incoming, &notify);
        }
        match (&usage.state, &incoming.request.method) {
            (State::Leaving | State::Gone { left_by_us: true }, &Method::BYE) => {
                self.accept_plain(now, &incoming);
                return self.end(now, id, true);
            }
            // Late, it is answered all the same (RFC 3262 section 3).
            (State::Leaving | State::Gone { .. }, &Method::PRACK) => return self.handle_prack(now, id, incoming),
            (State::Leaving | State::Gone { .. }, _) => return self.refuse(now, &incoming, &Rejection::new(481)),
            (State::Answering(_) | State::Calling(_) | State::Confirmed(_), _) => {}
        }
        if !usage.dialog.accept_cseq(incoming.cseq) {
            return self.refuse(now, &incoming, &Rejection::new(500));
        }
        usage.dialog.heard(&incoming.arrival);
        match incoming.request.method {
            Method::BYE => self.handle_bye(now, id, &incoming),
            Method::INVITE => self.handle_reinvite(now, id, incoming),
            Method::UPDATE => self.handle_update(now, id, incoming),
            Method::PRACK => self.handle_prack(now, id, incoming),
            Method::INFO => self.handle_info(now, id, incoming),
            Method::OPTIONS => {
                let opened = self.open(&incoming, None);
                let response = self.capabilities(&incoming, "");
                self.respond(now, opened.transaction, response);
            }
            _ => self.refuse(now, &incoming, &Rejection::new(Self::notify_code(&incoming))),
        }
    }

    /// 200 without more.
    pub(super) fn accept_plain(&mut self, now: Instant, incoming: &Incoming) {
        let opened = self.open(incoming, None);
        self.respond(now, opened.transaction, Response::to(&incoming.request, 200, ""));
    }

    fn handle_bye(&mut self, now: Instant, id: DialogId, incoming: &Incoming) {
        self.accept_plain(now, incoming);
        // RFC 3261 section 15.1.2: an INVITE that still waits gets 487.
        self.refuse_invite(now, id);
        let headers = incoming.request.headers.clone();
        let reasons = Reason::parse_all(headers.get_all("Reason"));
        self.left_after_refer(id);
        self.raise(Event::Bye { dialog: id, reasons, headers });
        self.end(now, id, false);
    }

    fn handle_reinvite(&mut self, now: Instant, id: DialogId, incoming: Incoming) {
        if let Some(rejection) = self.reinvite_obstacle(now, id, &incoming) {
            return self.refuse(now, &incoming, &rejection);
        }
        let sdp = body::sdp(&incoming.request.headers, &incoming.request.body).ok().flatten();
        let opened = self.open(&incoming, None);
        self.transactions.assign(opened.transaction, id);
        self.respond(now, opened.transaction, Response::to(&incoming.request, 100, ""));
        let pending = Pending { transaction: opened.transaction, request: incoming.request };
        self.wait_for_answer(id, pending, WaitingBy::Reinvite, sdp);
    }

    /// Why a re-INVITE cannot be served now (SIP-072, SIP-076); an outstanding ACK may be taken as received.
    fn reinvite_obstacle(&mut self, now: Instant, id: DialogId, incoming: &Incoming) -> Option<Rejection> {
        let usage = self.usages.get(id)?;
        let pending = match &usage.state {
            State::Answering(_) => return Some(self.soon()),
            State::Calling(_) => true,
            State::Confirmed(_) if usage.waiting.is_some() => return Some(self.soon()),
            State::Confirmed(confirmed) => {
                let ours = confirmed.reinvite.as_ref().is_some_and(|reinvite| reinvite.transaction.is_some());
                ours || confirmed.owed_ack.is_some() || confirmed.unacknowledged.as_ref().is_some_and(|a| a.offered)
            }
            State::Leaving | State::Gone { .. } => return Some(Rejection::new(481)),
        };
        if pending {
            return Some(Rejection::new(491));
        }
        if let Err(error) = body::sdp(&incoming.request.headers, &incoming.request.body) {
            return Some(Self::unsupported_body(error));
        }
        if dialog::contact(&incoming.request.headers).is_err() {
            return Some(Rejection::new(400));
        }
        let settings = self.usages.get(id)?.settings;
        if let Some(rejection) = Self::too_brief(&settings, &incoming.request.headers) {
            return Some(rejection);
        }
        if self.usages.get(id)?.confirmed()?.unacknowledged.is_some() {
            self.acknowledged(now, id, None);
        }
        // A BYE that waited for that ACK is out now.
        self.usages.get(id)?.confirmed().is_none().then(|| Rejection::new(481))
    }

    pub(super) fn wait_for_answer(&mut self, id: DialogId, pending: Pending, by: WaitingBy, sdp: Option<Vec<u8>>) {
        let Some(usage) = self.usages.get(id) else { return };
        usage.learn_methods(&pending.request.headers);
        usage.waiting = Some(Waiting { pending, by, had_offer: sdp.is_some() });
        self.raise(match by {
            WaitingBy::Invite | WaitingBy::Reinvite => Event::Reinvite { dialog: id, sdp },
            WaitingBy::Update | WaitingBy::Prack => Event::Update { dialog: id, sdp },
        });
    }

    fn handle_update(&mut self, now: Instant, id: DialogId, incoming: Incoming) {
        let sdp = match body::sdp(&incoming.request.headers, &incoming.request.body) {
            Ok(sdp) => sdp,
            Err(error) => return self.refuse(now, &incoming, &Self::unsupported_body(error)),
        };
        if dialog::contact(&incoming.request.headers).is_err() {
            return self.refuse(now, &incoming, &Rejection::new(400));
        }
        let brief = self.usages.get(id).and_then(|usage| Self::too_brief(&usage.settings, &incoming.request.headers));
        if let Some(rejection) = brief.or_else(|| self.update_obstacle(id, sdp.is_some())) {
            return self.refuse(now, &incoming, &rejection);
        }
        let opened = self.open(&incoming, None);
        if sdp.is_some() {
            let pending = Pending { transaction: opened.transaction, request: incoming.request };
            return self.wait_for_answer(id, pending, WaitingBy::Update, sdp);
        }
        let Some(usage) = self.usages.get(id) else { return };
        let headers = &incoming.request.headers;
        usage.dialog.refresh_target(headers);
        usage.learn_methods(headers);
        if let Some(identity) = headers.get("P-Asserted-Identity").and_then(|value| NameAddr::parse(value).ok()) {
            debug!(dialog = id.number(), with = %MaskedNumber(&identity.uri.number()), "connected to another party");
        }
        let (is_early, response) = (usage.confirmed().is_none(), Self::in_call(usage, &incoming.request, 200));
        let response = if is_early { response } else { self.agree_session(now, id, headers, response) };
        self.respond(now, opened.transaction, response);
    }

    /// Why an UPDATE, or an offer in a PRACK, cannot be served now (RFC 3311 section 5.2).
    pub(super) fn update_obstacle(&mut self, id: DialogId, has_offer: bool) -> Option<Rejection> {
        let usage = self.usages.get(id)?;
        let (our_offer_open, their_offer_open) = match &usage.state {
            // An offer in the INVITE is answered early only by a reliable provisional response; without one there is
            // nothing to update before ours is answered.
            State::Answering(_) => {
                let reliable = usage.reliable.as_ref().filter(|reliable| reliable.described);
                (reliable.is_some_and(|reliable| reliable.offering), reliable.is_none())
            }
            State::Calling(calling) => {
                let answered = usage.early_sdp.is_some() && usage.owed_prack.is_none();
                (calling.had_offer && !answered, !calling.had_offer && !answered)
            }
            State::Confirmed(confirmed) => {
                let ours = confirmed.reinvite.as_ref().is_some_and(|reinvite| reinvite.transaction.is_some());
                let offered = confirmed.unacknowledged.as_ref().is_some_and(|answer| answer.offered);
                (ours || offered, confirmed.owed_ack.is_some())
            }
            State::Leaving | State::Gone { .. } => return Some(Rejection::new(481)),
        };
        let waiting = usage.waiting.as_ref().map(|waiting| waiting.by);
        let updating = matches!(waiting, Some(WaitingBy::Update | WaitingBy::Prack));
        if updating || (has_offer && (their_offer_open || waiting.is_some())) {
            return Some(self.soon());
        }
        (has_offer && our_offer_open).then(|| Rejection::new(491))
    }

    fn handle_info(&mut self, now: Instant, id: DialogId, incoming: Incoming) {
        let headers = &incoming.request.headers;
        let package = headers.get("Info-Package").map(str::to_owned);
        if body::check_encoding(headers).is_err() {
            return self.refuse(now, &incoming, &Self::unsupported_body(body::BodyError::Encoding));
        }
        if incoming.request.body.is_empty() {
            return match package {
                None => self.accept_plain(now, &incoming),
                Some(_) => self.refuse(now, &incoming, &unknown_package()),
            };
        }
        let content_type = headers.get("Content-Type").map(str::to_owned);
        let opened = self.open(&incoming, None);
        let Some(usage) = self.usages.get(id) else { return };
        let body = incoming.request.body.clone();
        let pending = Pending { transaction: opened.transaction, request: incoming.request };
        if usage.infos.len() >= MAX_INFOS {
            let response = Response::to(&pending.request, 500, "");
            self.respond(now, pending.transaction, response);
            return;
        }
        usage.infos.push_back(pending);
        self.raise(Event::Info { dialog: id, content_type, package, body });
    }

    /// Answers the oldest INFO that waits.
    pub fn answer_info(&mut self, now: Instant, dialog: DialogId, answer: InfoAnswer) -> bool {
        let Some(pending) = self.usages.get(dialog).and_then(|usage| usage.infos.pop_front()) else { return false };
        let rejection = match answer {
            InfoAnswer::Ok => {
                return self.respond(now, pending.transaction, Response::to(&pending.request, 200, ""));
            }
            InfoAnswer::UnsupportedMediaType => Rejection {
                headers: vec![("Accept", "application/dtmf-relay, application/dtmf".to_owned())],
                ..Rejection::new(415)
            },
            InfoAnswer::BadEvent => unknown_package(),
        };
        let agent = std::net::Ipv4Addr::UNSPECIFIED.into(); // only a Warning would show it
        let response = Self::refusal(&pending.request, "", agent, &rejection);
        self.respond(now, pending.transaction, response)
    }
}

/// 469: no Info-Package was asked for (RFC 6086 section 4.2.2).
fn unknown_package() -> Rejection {
    Rejection { headers: vec![("Recv-Info", String::new())], ..Rejection::new(469) }
}
