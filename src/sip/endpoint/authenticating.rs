//! Peers without a fixed address say who they are: 401 to the INVITEs of sources that no trunk lists, where a trunk has
//! credentials, and what comes back (SIP-091, SIP-093, RFC 8760). Without state until the credentials are right.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, info, warn};

use super::Endpoint;
use crate::base::random::Random;
use crate::config::{DigestAlgorithm, Trunk};
use crate::sip::access::{News, is_small};
use crate::sip::digest::nonce::{Key, Nonces, Verdict};
use crate::sip::digest::{Algorithm, Challenge, Credentials, Qop};
use crate::sip::incoming::{Arrival, Incoming, stateless_tag};
use crate::sip::message::{Message, Method, Response};
use crate::sip::wire;

/// A peer whose credentials were right is not limited for this long.
const VOUCHED_FOR: Duration = Duration::from_secs(3600);
/// Peers remembered so; the others are limited like strangers.
const MAX_VOUCHED: usize = 4096;

/// What is needed to judge credentials.
pub(super) struct Authentication {
    realm: String,
    /// Offered, the preferred first (RFC 8760 section 2.3).
    algorithms: Vec<DigestAlgorithm>,
    nonces: Nonces,
    /// Peers whose credentials were right, and until when that counts.
    vouched: HashMap<IpAddr, Instant>,
}

impl Authentication {
    pub(super) fn new(random: &mut Random) -> Self {
        let mut key = Key::default();
        random.fork().fill(&mut key);
        let algorithms = DigestAlgorithm::ALL.to_vec();
        Self { realm: "trunkstream".to_owned(), algorithms, nonces: Nonces::new(key), vouched: HashMap::new() }
    }

    fn is_vouched(&self, now: Instant, peer: IpAddr) -> bool {
        self.vouched.get(&peer).is_some_and(|until| *until > now)
    }

    fn vouch(&mut self, now: Instant, peer: IpAddr) {
        if self.vouched.len() >= MAX_VOUCHED {
            self.vouched.retain(|_, until| *until > now);
        }
        if self.vouched.len() < MAX_VOUCHED {
            self.vouched.insert(peer, now + VOUCHED_FOR);
        }
    }
}

/// What a peer's credentials are worth.
enum Judged {
    /// Right, for these trunks.
    Right(Vec<Arc<Trunk>>),
    /// There are none.
    Missing,
    /// Right, but with a nonce that cannot be taken (any more).
    Stale,
    /// Wrong.
    Wrong,
}

impl Endpoint {
    /// The realm and algorithms of our challenges, and the key that signs their nonces where every node of a cluster shall
    /// know them.
    pub fn set_digest(&mut self, realm: &str, algorithms: &[DigestAlgorithm], key: Option<Key>) {
        realm.clone_into(&mut self.authentication.realm);
        algorithms.clone_into(&mut self.authentication.algorithms);
        if let Some(key) = key {
            self.authentication.nonces = Nonces::new(key);
        }
    }

    /// Says what time it is, in seconds since 1970: for nodes that share a key.
    pub fn set_wall_clock(&mut self, now: Instant, unix_seconds: u64) {
        self.authentication.nonces.set_clock(now, unix_seconds);
    }

    /// Whether a source without a trunk may show credentials with this datagram.
    pub(super) fn may_authenticate(&self, bytes: &[u8]) -> bool {
        wire::first_word(bytes) == b"INVITE" && self.trunks.iter().any(|trunk| trunk.auth.is_some())
    }

    /// An INVITE from a source without a trunk: on with it where its credentials are right, else the same challenge for all.
    pub(super) fn authenticate(&mut self, now: Instant, arrival: Arrival, bytes: &[u8]) {
        let free = self.authentication.is_vouched(now, arrival.peer) || self.strangers.admit(now, arrival.peer, bytes);
        let parsed = wire::parse(bytes).ok().filter(|_| free);
        let Some((request, flaw)) = parsed.and_then(|parsed| match parsed.message {
            Message::Request(request) => Some((request, parsed.flaw)),
            Message::Response(_) => None,
        }) else {
            return self.out.counters.rejected("dropped");
        };
        let Ok(incoming) = Incoming::read(request.clone(), flaw, arrival) else {
            return self.out.counters.rejected("dropped");
        };
        match self.judge(now, &incoming) {
            Judged::Right(trunks) => {
                debug!(source = %arrival.source, call_id = %incoming.call_id, "credentials are right");
                self.authentication.vouch(now, arrival.peer);
                self.handle_request(now, arrival, &trunks, (request, flaw));
            }
            Judged::Missing => self.challenge(now, &incoming, false, bytes.len()),
            Judged::Stale => self.challenge(now, &incoming, true, bytes.len()),
            Judged::Wrong => {
                self.authentication.vouched.remove(&arrival.peer);
                if self.told.news(now, arrival.peer).is_some() {
                    warn!(source = %arrival.source, call_id = %incoming.call_id, "an INVITE brought credentials of no trunk: 401; its user name and password must be those of auth of a [[trunk]], by digest with qop");
                }
                self.challenge(now, &incoming, false, bytes.len());
            }
        }
    }

    fn judge(&mut self, now: Instant, incoming: &Incoming) -> Judged {
        let Authentication { realm, nonces, .. } = &mut self.authentication;
        let values = incoming.request.headers.get_all("Authorization");
        let Some(given) = values.filter_map(Credentials::parse).find(|given| given.realm == *realm) else {
            return Judged::Missing;
        };
        let verdict = nonces.check(now, incoming.arrival.peer, &given.nonce);
        // Every login is tried, so that the time it takes does not tell which names there are.
        let is_right = |trunk: &&Arc<Trunk>| {
            let login = trunk.auth.as_ref();
            login.is_some_and(|login| given.are_of(login, Method::INVITE.as_str(), &incoming.request.body))
        };
        let trunks: Vec<Arc<Trunk>> = self.trunks.iter().filter(is_right).cloned().collect();
        match (&given.protection, verdict) {
            (None, _) => Judged::Wrong,
            (Some(_), _) if trunks.is_empty() => Judged::Wrong,
            (Some(protection), Verdict::Good) if nonces.note(now, &given.nonce, protection.nc) => Judged::Right(trunks),
            (Some(_), Verdict::Good | Verdict::Stale | Verdict::Foreign) => Judged::Stale,
        }
    }

    /// 401 without state, to the source of the packet: one challenge an algorithm, the preferred first, as many as twice the
    /// request has room for, so that nobody is flooded through us (SIP-015); a real INVITE has room for all. The limits of
    /// other answers to strangers are its limits too.
    fn challenge(&mut self, now: Instant, incoming: &Incoming, stale: bool, asked: usize) {
        let Incoming { arrival, call_id, .. } = incoming;
        if self.told.news(now, arrival.peer) == Some(News::Source) {
            info!(source = %arrival.source, %call_id, "an INVITE from a source without a trunk is asked for credentials");
        }
        let branch = incoming.via.branch().unwrap_or_default();
        let tag = stateless_tag(&[call_id, incoming.from.tag().unwrap_or_default(), branch]);
        let Authentication { realm, nonces, algorithms, .. } = &mut self.authentication;
        let nonce = nonces.mint(now, arrival.peer, &mut self.random);
        let response = |algorithms: &[DigestAlgorithm]| {
            let mut response = Response::to(&incoming.request, 401, &tag);
            for algorithm in algorithms.iter().copied().map(Algorithm::from) {
                let (realm, nonce, qop) = (realm.clone(), nonce.clone(), Some(Qop::Auth));
                let challenge = Challenge { realm, nonce, opaque: None, algorithm, qop, stale };
                response.headers.push("WWW-Authenticate", challenge.to_string());
            }
            wire::write_response(&response)
        };
        let mut bytes = response(algorithms);
        for fewer in (1..algorithms.len()).rev() {
            if !is_small(bytes.len(), asked) {
                bytes = response(&algorithms[..fewer]);
            }
        }
        let vouched = self.authentication.is_vouched(now, arrival.peer) && is_small(bytes.len(), asked);
        if !vouched && !self.strangers.may_leave(now, bytes.len(), asked) {
            return self.out.counters.rejected("dropped");
        }
        self.out.counters.rejected("401");
        self.out.send(arrival.way_back(), &bytes);
    }
}
