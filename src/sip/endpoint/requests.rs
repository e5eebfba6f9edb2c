//! A datagram arrives: who sent it, is it readable, which transaction has it, what may be asked (SIP-003 to SIP-014,
//! SIP-037, SIP-038, SIP-090).

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use tracing::{debug, info, warn};

use super::Endpoint;
use crate::base::pii::MaskedNumber;
use crate::config::Trunk;
use crate::sip::access::News;
use crate::sip::event::{Event, Rejection, Why};
use crate::sip::incoming::{Arrival, Incoming, stateless_tag};
use crate::sip::invite::{Pending, State};
use crate::sip::message::{ALLOW, Message, Method, Request, Response, supported};
use crate::sip::proxy::{self, Named};
use crate::sip::reason::Reason;
use crate::sip::session_timer::lists;
use crate::sip::transaction::{AckFate, NewServer, ServerFacts, TransactionId};
use crate::sip::trunk::trunk_names;
use crate::sip::uri::Uri;
use crate::sip::wire::{self, Flaw};
use crate::sip::{ListenerId, Origin, body, outline};

/// Who did what wrong, where the code alone tells.
fn because(code: u16) -> Why {
    let text = match code {
        400 => "the peer sent no Contact or Request-URI that can be used",
        405 => "the peer used a method that is not served here",
        415 => "the peer sent a body that is not SDP, or an encoded one",
        422 => "the peer wants a session interval below min_se_seconds",
        420 => "the peer requires extensions that this version has not",
        481 => "the peer speaks of a dialog that is not here",
        482 => "the peer sent a request twice, by two ways: it was forked or went in a circle",
        489 => "the peer notifies of an event that nobody subscribed to",
        491 => "the peer asks while another request of the same dialog waits",
        501 => "the peer used a method that nobody defined",
        _ => "the request cannot be served now",
    };
    Why { label: "sip", text }
}

/// A server transaction just opened.
pub(super) struct Opened {
    pub transaction: TransactionId,
    pub to_tag: String,
}

impl Endpoint {
    /// A datagram came in on `listener` from `from`.
    pub fn handle_datagram(&mut self, now: Instant, listener: ListenerId, from: SocketAddr, bytes: &[u8]) {
        if !wire::is_keepalive(bytes) {
            self.handle_message(now, Origin::datagram(listener, from), bytes, None);
        }
    }

    /// A message came; `cut` is what was wrong where a stream could not be cut. `true` where its source is known.
    pub(super) fn handle_message(&mut self, now: Instant, origin: Origin, bytes: &[u8], cut: Option<Flaw>) -> bool {
        let Origin { listener, source: from, connection, .. } = origin;
        let transport = self.transport_of(listener);
        outline::log("received", from, bytes);
        let trunks = self.trunks.from(transport, &origin);
        let is_response = wire::first_word(bytes).starts_with(b"SIP/");
        let known = !trunks.is_empty()
            || self.config.proxies.have(from.ip())
            || self.usages.know(from.ip())
            || (is_response && self.transactions.has_clients());
        let arrival = Arrival { transport, listener, connection, source: from, peer: from.ip(), force_rport: true };
        if !known {
            self.refuse_stranger(now, arrival, bytes);
            return false;
        }
        match wire::parse(bytes) {
            Err(_) => {
                debug!(source = %from, bytes = bytes.len(), "a datagram is no SIP");
                self.out.counters.malformed("not_sip");
            }
            Ok(parsed) => match parsed.message {
                Message::Request(mut request) => {
                    let (peer, trunks) = self.peer(from.ip(), trunks, &mut request);
                    let force_rport = trunks.is_empty() || trunks.iter().any(|trunk| trunk.force_rport);
                    let arrival = Arrival { peer, force_rport, ..arrival };
                    self.handle_request(now, arrival, &trunks, (request, cut.or(parsed.flaw)));
                }
                Message::Response(response) if cut.or(parsed.flaw).is_none() => self.handle_response(now, response),
                Message::Response(_) => self.out.counters.malformed("response"),
            },
        }
        true
    }

    /// Who sent a request, and by which trunks: behind a trusted proxy whom its header names (SIP-092).
    fn peer(&self, source: IpAddr, trunks: Vec<Arc<Trunk>>, request: &mut Request) -> (IpAddr, Vec<Arc<Trunk>>) {
        let named = proxy::take_peer(&self.config.proxies.peer_header, &mut request.headers);
        match named {
            _ if !self.config.proxies.have(source) => (source, trunks),
            Named::Nobody => (source, trunks),
            Named::Peer(peer) => (peer, self.trunks.at(peer)),
            Named::Unreadable => {
                info!(%source, header = self.config.proxies.peer_header, "a trusted proxy does not name one address");
                (source, Vec::new())
            }
        }
    }

    fn refuse_stranger(&mut self, now: Instant, arrival: Arrival, bytes: &[u8]) {
        if self.may_authenticate(bytes) {
            return self.authenticate(now, arrival, bytes);
        }
        match self.told.news(now, arrival.peer) {
            Some(News::Source) => {
                let word = wire::first_word(bytes);
                let method = String::from_utf8_lossy(&word[..word.len().min(16)]);
                let behind_proxy = (arrival.peer != arrival.source.ip()).then(|| tracing::field::display(arrival.peer));
                warn!(source = %arrival.source, peer = behind_proxy, ?method, "SIP from a source without a trunk: 403, then silence; if it is your PBX, its address belongs into allow of a [[trunk]]");
            }
            Some(News::TooMany) => {
                warn!("SIP from more sources without a trunk: for this minute they are only counted")
            }
            None => {}
        }
        match self.strangers.answer(now, arrival, bytes) {
            None => self.out.counters.rejected("dropped"),
            Some((response, path)) => {
                self.out.counters.rejected("403");
                self.out.send(path, &wire::write_response(&response));
            }
        }
    }

    pub(super) fn handle_request(
        &mut self,
        now: Instant,
        arrival: Arrival,
        trunks: &[Arc<Trunk>],
        (request, flaw): (Request, Option<Flaw>),
    ) {
        self.out.counters.received(request.method.as_str());
        let incoming = match Incoming::read(request, flaw, arrival) {
            Ok(incoming) => incoming,
            Err(unserved) => {
                let (phrase, answered) = (&unserved.why.phrase, unserved.answer.is_some());
                info!(source = %arrival.source, why = phrase, answered, "a SIP request cannot be served");
                self.out.counters.malformed(phrase);
                if let Some((response, path)) = unserved.answer {
                    self.send_stateless(path, response);
                }
                return;
            }
        };
        let is_ack = incoming.request.method == Method::ACK;
        if let Some(facts) = self.transactions.server(&incoming.key(&incoming.request.method)) {
            let fate = self.transactions.handle_request(now, facts.id, is_ack, &mut self.out);
            if fate == AckFate::ForUser {
                self.handle_ack(now, &incoming);
            }
        } else if is_ack {
            self.handle_ack(now, &incoming);
        } else if incoming.request.method == Method::CANCEL {
            self.handle_cancel(now, &incoming);
        } else if trunks.is_empty() && incoming.to.tag().is_none() && !self.is_probe(&incoming) {
            // A peer that we know from a dialog only, or that a proxy names and no trunk has.
            let bytes = wire::write_request(&incoming.request);
            self.refuse_stranger(now, arrival, &bytes);
        } else if incoming.to.tag().is_none() && !self.source_rates.admit(now, arrival.peer) {
            self.refuse_flood(&incoming);
        } else if let Some(rejection) = self.inspect(&incoming) {
            self.refuse(now, &incoming, &rejection);
        } else if incoming.to.tag().is_some() {
            self.handle_in_dialog(now, incoming);
        } else {
            self.handle_out_of_dialog(now, incoming, trunks);
        }
    }

    /// A trusted proxy asks for itself whether we are there.
    fn is_probe(&self, incoming: &Incoming) -> bool {
        let source = incoming.arrival.source.ip();
        incoming.request.method == Method::OPTIONS
            && incoming.arrival.peer == source
            && self.config.proxies.have(source)
    }

    /// Method, merged copies, extensions (RFC 3261 section 8.2.1 and 8.2.2), in the order of the RFC.
    fn inspect(&mut self, incoming: &Incoming) -> Option<Rejection> {
        let method = &incoming.request.method;
        match method {
            Method::Other(_) => return Some(Rejection::new(501)),
            known if !ALLOW.split(", ").any(|allowed| allowed == known.as_str()) => return Some(Rejection::new(405)),
            _ => {}
        }
        let merged = |key| self.transactions.is_merged(key) || self.usages.is_merged(key);
        if incoming.merge_key().as_ref().is_some_and(merged) {
            return Some(Rejection::new(482));
        }
        if let Some(rejection) = Self::misplaced_replaces(incoming) {
            return Some(rejection);
        }
        let wants_timer = lists(&incoming.request.headers, "Require", "timer");
        let unsupported = incoming.unsupported(!wants_timer || self.session_settings(incoming).is_on());
        if !unsupported.is_empty() {
            let rejection = Rejection { headers: vec![("Unsupported", unsupported.join(", "))], ..Rejection::new(420) };
            return Some(if *method == Method::INVITE { rejection.reason(Reason::q850(127)) } else { rejection });
        }
        None
    }

    fn handle_out_of_dialog(&mut self, now: Instant, incoming: Incoming, trunks: &[Arc<Trunk>]) {
        if self.is_full() {
            let rejection = self.unavailable(super::TABLES_FULL);
            return self.refuse(now, &incoming, &rejection);
        }
        match incoming.request.method {
            Method::INVITE => self.handle_new_invite(now, incoming, trunks),
            Method::OPTIONS => self.handle_options(now, &incoming),
            Method::NOTIFY => {
                let code = Self::notify_code(&incoming);
                self.refuse(now, &incoming, &Rejection::new(code));
            }
            _ => self.refuse(now, &incoming, &Rejection::new(481)),
        }
    }

    /// Nobody subscribed to anything here: 481 for an event we know of (RFC 3515), 489 for any other (RFC 6665).
    pub(super) fn notify_code(incoming: &Incoming) -> u16 {
        let event = incoming.request.headers.get("Event").unwrap_or_default();
        let package = event.split(';').next().unwrap_or_default().trim();
        if package.eq_ignore_ascii_case("refer") { 481 } else { 489 }
    }

    /// OPTIONS outside a dialog (SIP-097).
    fn handle_options(&mut self, now: Instant, incoming: &Incoming) {
        if let super::Availability::Unavailable(why) = self.availability {
            let rejection = Rejection { reasons: Vec::new(), ..self.unavailable(why) };
            return self.refuse(now, incoming, &rejection);
        }
        let opened = self.open(incoming, None);
        let response = self.capabilities(incoming, &opened.to_tag);
        self.respond(now, opened.transaction, response);
    }

    /// Answers without state what an address sends too fast; what it has in dialogs goes on (SIP-015, SIP-096).
    fn refuse_flood(&mut self, incoming: &Incoming) {
        let is_probe = incoming.request.method == Method::OPTIONS;
        let tag = stateless_tag(&[&incoming.call_id, incoming.from.tag().unwrap_or_default()]);
        if is_probe && self.availability == super::Availability::Available {
            let response = self.capabilities(incoming, &tag);
            return self.send_stateless(incoming.path, response);
        }
        let rejection = self.unavailable(super::SOURCE_TOO_FAST);
        self.explain(incoming, &rejection);
        let agent = self.shown(incoming.arrival.listener, incoming.arrival.source.ip()).ip();
        self.send_stateless(incoming.path, Self::refusal(&incoming.request, &tag, agent, &rejection));
    }

    /// 200 to OPTIONS: what we can do (RFC 3261 section 11.2).
    pub(super) fn capabilities(&mut self, incoming: &Incoming, to_tag: &str) -> Response {
        let extensions = supported(self.session_settings(incoming).is_on());
        let response = Response::to(&incoming.request, 200, to_tag).with("Allow", ALLOW).with("Supported", extensions);
        response.with("Accept", "application/sdp").with("Accept-Encoding", "identity")
    }

    /// Opens the server transaction of a request; `to_tag` is the tag its responses must have, minted where `None`.
    pub(super) fn open(&mut self, incoming: &Incoming, to_tag: Option<String>) -> Opened {
        let to_tag = to_tag.unwrap_or_else(|| self.mint_tag());
        let method = &incoming.request.method;
        let transaction = self.transactions.open_server(NewServer {
            key: incoming.key(method),
            merge: incoming.merge_key().filter(|_| *method != Method::CANCEL),
            path: incoming.path,
            to_tag: to_tag.clone(),
            is_invite: *method == Method::INVITE,
        });
        Opened { transaction, to_tag }
    }

    /// Refuses a request in a transaction of its own, or without one where there are too many.
    pub(super) fn refuse(&mut self, now: Instant, incoming: &Incoming, rejection: &Rejection) {
        let agent = self.shown(incoming.arrival.listener, incoming.arrival.source.ip()).ip();
        self.explain(incoming, rejection);
        if self.is_full() {
            let tag = stateless_tag(&[&incoming.call_id, incoming.from.tag().unwrap_or_default()]);
            return self.send_stateless(incoming.path, Self::refusal(&incoming.request, &tag, agent, rejection));
        }
        let opened = self.open(incoming, None);
        let response = Self::refusal(&incoming.request, &opened.to_tag, agent, rejection);
        self.respond(now, opened.transaction, response);
    }

    /// A refusal is never silent: an operator reads here why a request of a trunk got nowhere.
    fn explain(&mut self, incoming: &Incoming, rejection: &Rejection) {
        let code = rejection.code;
        let Why { label, text } = rejection.why.unwrap_or_else(|| because(code));
        let (call_id, source, method) = (&incoming.call_id, incoming.arrival.source, incoming.request.method.as_str());
        if incoming.request.method == Method::INVITE && incoming.to.tag().is_none() {
            let peer = incoming.arrival.peer;
            let trunk = trunk_names(&self.trunks.at(peer));
            self.out.counters.refused(code, label, &trunk);
            let to = Uri::parse(&incoming.request.uri).map(|uri| uri.number()).unwrap_or_default();
            let unsupported = rejection.headers.iter().find(|(name, _)| *name == "Unsupported");
            let unsupported = unsupported.map(|(_, tags)| tags.as_str());
            warn!(%call_id, %source, %peer, trunk, to = %MaskedNumber(&to), code, reason = label, why = text, unsupported, "call refused");
        } else if incoming.request.method == Method::REFER {
            info!(%call_id, %source, code, "the peer asks us to call somebody else (REFER), which is not done: let it transfer the call itself");
        } else {
            debug!(%call_id, %source, method, code, why = text, "request refused");
        }
    }

    fn is_full(&self) -> bool {
        self.transactions.servers() >= self.limits.servers
    }

    /// 415 for a body that is not understood (SIP-012).
    pub(super) fn unsupported_body(error: body::BodyError) -> Rejection {
        let headers = match error {
            body::BodyError::Type => Vec::new(),
            body::BodyError::Encoding => vec![("Accept-Encoding", "identity".to_owned())],
        };
        Rejection { headers, ..Rejection::new(415) }.reason(Reason::q850(79))
    }

    /// CANCEL (SIP-037): it has its target's branch, and its answer has the target's tag.
    fn handle_cancel(&mut self, now: Instant, incoming: &Incoming) {
        let Some(facts) = self.transactions.server(&incoming.key(&Method::INVITE)) else {
            return self.refuse(now, incoming, &Rejection::new(481));
        };
        let opened = self.open(incoming, Some(facts.to_tag.clone()));
        self.respond(now, opened.transaction, Response::to(&incoming.request, 200, &facts.to_tag));
        if facts.is_proceeding {
            self.cancel_invite(now, &facts, Reason::parse_all(incoming.request.headers.get_all("Reason")));
        }
    }

    fn cancel_invite(&mut self, now: Instant, facts: &ServerFacts, reasons: Vec<Reason>) {
        let Some((id, usage)) = facts.dialog.and_then(|id| Some((id, self.usages.get(id)?))) else { return };
        let is_target = |pending: &Pending| pending.transaction == facts.id;
        match &mut usage.state {
            State::Answering(answering) if is_target(&answering.invite) => {
                let response = Response::to(&answering.invite.request, 487, &facts.to_tag);
                self.respond(now, facts.id, response);
                self.raise(Event::Cancelled { dialog: id, reasons });
                self.end(now, id, false);
            }
            State::Confirmed(_) => {
                if let Some(waiting) = usage.waiting.take_if(|waiting| is_target(&waiting.pending)) {
                    let response = Response::to(&waiting.pending.request, 487, &facts.to_tag);
                    self.respond(now, facts.id, response);
                }
            }
            State::Answering(_) | State::Calling(_) | State::Leaving | State::Gone { .. } => {}
        }
    }
}
