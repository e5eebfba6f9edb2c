//! Requests of ours that the peer challenges: 401 and 407 (SIP-094, RFC 8760 section 2.4).

use std::sync::Arc;
use std::time::Instant;

use super::Endpoint;
use crate::config::Login;
use crate::sip::DialogId;
use crate::sip::dialog;
use crate::sip::digest::{Asked, Challenge, Credentials};
use crate::sip::invite::{Cancel, State, UsageTimer};
use crate::sip::message::{Request, Response};
use crate::sip::transaction::{Owner, Purpose, Sent, TransactionId, branch};

impl Endpoint {
    /// Sends a challenged request again with credentials, once a nonce and once more where that was stale; whether it did.
    pub(super) fn answer_challenge(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        owner: Owner,
        response: &Response,
    ) -> bool {
        let (asks, answers) = match response.code {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return false,
        };
        let Some(Sent { request, path, stale }) = self.transactions.sent(transaction) else { return false };
        let (mut request, was_stale) = (request.clone(), stale);
        let Some(login) = self.login_of(owner, path.to.ip()) else { return false };
        // The topmost that we can do: its sender prefers it.
        let Some(challenge) = response.headers.get_all(asks).find_map(Challenge::parse) else { return false };
        let given: Vec<_> = request.headers.get_all(answers).filter_map(Credentials::parse).collect();
        let earlier = given.iter().find(|given| given.realm == challenge.realm);
        let again = earlier.is_none_or(|earlier| challenge.stale && !was_stale && earlier.nonce != challenge.nonce);
        if !again || !self.may_repeat(owner) {
            return false;
        }
        let stale = was_stale || earlier.is_some();
        let number = self.next_cseq(owner, dialog::cseq_of(response));
        let (cnonce, new_branch) = (self.random.hex(8), self.mint_branch());
        repeat(&mut request, number, &new_branch);
        request.headers.take(answers);
        for other in given.iter().filter(|given| given.realm != challenge.realm) {
            request.headers.push(answers, other.to_string());
        }
        let asked = Asked { method: request.method.as_str(), uri: &request.uri, body: &request.body };
        let credentials = challenge.answer(&login, &asked, &cnonce);
        request.headers.push(answers, credentials.to_string());
        let new = self.transactions.open_client(now, path, request, owner, &mut self.out);
        self.transactions.note_stale(new, stale);
        self.replace_transaction(now, owner, new, number);
        true
    }

    /// The credentials for a request: those its call or registration was placed with, else those of the peer's trunk.
    fn login_of(&mut self, owner: Owner, peer: std::net::IpAddr) -> Option<Arc<Login>> {
        let own = match owner.purpose {
            Purpose::Alone(request) => self.alone.get(&request).and_then(|alone| alone.login.clone()),
            _ => self.usages.get(owner.dialog).and_then(|usage| usage.login.clone()),
        };
        own.or_else(|| self.trunks.at(peer).iter().find_map(|trunk| trunk.auth.clone()))
    }

    /// An INVITE that is being taken back is not sent again.
    fn may_repeat(&mut self, owner: Owner) -> bool {
        match (owner.purpose, self.usages.get(owner.dialog).map(|usage| &usage.state)) {
            (Purpose::Invite, Some(State::Calling(calling))) => calling.cancel == Cancel::No,
            (Purpose::Invite, _) | (Purpose::Cancel, _) => false,
            _ => true,
        }
    }

    fn next_cseq(&mut self, owner: Owner, used: u32) -> u32 {
        match owner.purpose {
            // A fork's dialog is not kept, and a request alone counts for itself.
            Purpose::ForkBye | Purpose::Alone(_) => used + 1,
            _ => self.usages.get(owner.dialog).map_or(used + 1, |usage| usage.dialog.next_cseq()),
        }
    }

    fn replace_transaction(&mut self, now: Instant, owner: Owner, new: TransactionId, number: u32) {
        let Some(usage) = self.usages.get(owner.dialog) else { return };
        match (owner.purpose, &mut usage.state) {
            (Purpose::Invite, State::Calling(calling)) => {
                (calling.transaction, calling.cseq) = (new, number);
                if let Some(no_response) = calling.plan.call.ways.no_response {
                    self.usages.arm(owner.dialog, UsageTimer::NoResponse, now + no_response);
                }
            }
            (Purpose::Reinvite, State::Confirmed(confirmed)) => {
                if let Some(reinvite) = &mut confirmed.reinvite {
                    reinvite.transaction = Some(new);
                }
            }
            _ => {}
        }
    }

    /// The login that requests within a call are answered with.
    pub(super) fn set_login(&mut self, id: DialogId, login: Option<Arc<Login>>) {
        if let Some(usage) = self.usages.get(id) {
            usage.login = login;
        }
    }
}

/// Gives a request a new CSeq and a new branch (RFC 3261 section 22.2); Call-ID and From stay.
pub(super) fn repeat(request: &mut Request, number: u32, new_branch: &str) {
    let old = branch(&request.headers).unwrap_or_default();
    let via = request.headers.get("Via").unwrap_or_default().replace(&old, new_branch);
    request.headers.replace_first("Via", via);
    request.headers.replace_first("CSeq", format!("{number} {}", request.method.as_str()));
}
