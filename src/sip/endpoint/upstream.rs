//! The destinations of trunks: which are up, where a call goes first, where we are registered (SIP-055, SIP-098, OPS-035).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::{info, warn};

use super::Endpoint;
use super::alone::{Alone, Errand, Question};
use crate::config::Trunk;
use crate::sip::event::{OutgoingInvite, Redirects, Way, Ways};
use crate::sip::keepalive::{Health, Keepalive, Step};
use crate::sip::message::{Method, Response};
use crate::sip::registration::{News, Registration};
use crate::sip::{DialogId, ListenerId, dialog};

/// Where a destination of a trunk is: what RFC 3263 made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host[:port]` as the configuration has it, for Request-URIs.
    pub host: String,
    /// The next hop.
    pub address: SocketAddr,
}

/// A call through a trunk.
#[derive(Debug, Clone)]
pub struct TrunkCall {
    /// The trunk's name.
    pub trunk: String,
    /// Whom to call: the user part of Request-URI and To.
    pub number: String,
    /// Who calls: the user part of From.
    pub from: String,
    /// Further header lines.
    pub headers: Vec<(String, String)>,
    /// The offer.
    pub sdp: Option<Vec<u8>>,
}

/// Why a call cannot go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotPlaced {
    /// No such trunk, or it has no `destinations`.
    #[error("the configuration has no trunk of that name with destinations")]
    NoTrunk,
    /// No name of a destination could be resolved.
    #[error("no destination of the trunk has an address: DNS knows none of them")]
    Unresolved,
}

/// What is known of a trunk that calls go out by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrunkState {
    /// Its name.
    pub trunk: String,
    /// Whether a destination answers; `None` where nobody asks or none answered yet.
    pub up: Option<bool>,
    /// Whether we are registered; `None` where we do not.
    pub registered: Option<bool>,
}

/// A trunk with destinations.
pub(super) struct Upstream {
    trunk: Arc<Trunk>,
    targets: Vec<(Target, Option<Keepalive>)>,
    registration: Option<Registration>,
    /// Call-ID and From tag of every REGISTER.
    identity: (String, String),
}

impl Upstream {
    /// The worst state that any call would meet: up where any destination is.
    fn up(&self) -> Option<bool> {
        let healths = self.targets.iter().filter_map(|(_, keepalive)| keepalive.as_ref()).map(Keepalive::health);
        let healths: Vec<Health> = healths.collect();
        if healths.contains(&Health::Up) {
            return Some(true);
        }
        (!healths.is_empty() && healths.iter().all(|health| *health == Health::Down)).then_some(false)
    }

    /// The targets in the order in which a call tries them: those that are down last (SIP-098).
    fn in_order(&self) -> Vec<Target> {
        let is_down = |keepalive: &Option<Keepalive>| keepalive.as_ref().is_some_and(|k| k.health() == Health::Down);
        let (down, others): (Vec<_>, Vec<_>) = self.targets.iter().partition(|(_, keepalive)| is_down(keepalive));
        others.into_iter().chain(down).map(|(target, _)| target.clone()).collect()
    }
}

/// Where a call to `number` through `trunk` goes first, and what may be done after that; `None` without targets.
#[must_use]
pub fn ways(trunk: &Trunk, targets: &[Target], number: &str) -> Option<(Way, Ways)> {
    let way = |target: &Target| Way { target: target.address, request_uri: format!("sip:{number}@{}", target.host) };
    let (first, others) = targets.split_first()?;
    let host = |target: &Target| {
        let port = target.host.rfind(':').filter(|at| !target.host[*at..].contains(']'));
        (target.host[..port.unwrap_or(target.host.len())].to_owned(), target.address)
    };
    let redirects = Redirects { hosts: targets.iter().map(host).collect(), networks: trunk.allow.clone() };
    let no_response = Some(trunk.outgoing.no_response);
    let login = trunk.auth.clone();
    Some((way(first), Ways { others: others.iter().map(way).collect(), no_response, login, redirects }))
}

impl Endpoint {
    /// Says where the destinations of a trunk are, the preferred first; whether there is such a trunk. What is known of
    /// those that stay is kept.
    pub fn set_targets(&mut self, now: Instant, trunk: &str, targets: Vec<Target>) -> bool {
        let Some(trunk) = self.trunks.iter().find(|known| known.name == trunk).cloned() else { return false };
        let at = self.upstreams.iter().position(|upstream| upstream.trunk.name == trunk.name).unwrap_or_else(|| {
            let registration = trunk.outgoing.register.as_ref().map(|own| Registration::new(now, own.expires));
            let identity = (self.random.hex(16), self.random.hex(8));
            self.upstreams.push(Upstream { trunk: trunk.clone(), targets: Vec::new(), registration, identity });
            self.upstreams.len() - 1
        });
        let reachable = targets.into_iter().filter(|target| self.listener_for(target.address).is_some());
        let targets: Vec<Target> = reachable.collect();
        let upstream = &mut self.upstreams[at];
        let outgoing = &trunk.outgoing;
        let mut old = std::mem::take(&mut upstream.targets);
        let known = |target: Target| {
            let kept = old.iter_mut().find(|(known, _)| known.address == target.address).and_then(|(_, k)| k.take());
            let new = || outgoing.keepalive.map(|interval| Keepalive::new(now, interval, outgoing.no_response));
            (target, kept.or_else(new))
        };
        upstream.targets = targets.into_iter().map(known).collect();
        upstream.trunk = trunk;
        self.look_after_upstreams(now);
        true
    }

    /// Places a call through a trunk: to the first of its destinations that is not down, and on from there.
    ///
    /// # Errors
    /// There is no such trunk, or nothing is known of where it leads.
    pub fn call(&mut self, now: Instant, call: TrunkCall) -> Result<DialogId, NotPlaced> {
        let upstream = self.upstreams.iter().find(|upstream| upstream.trunk.name == call.trunk);
        let upstream = upstream.ok_or(NotPlaced::NoTrunk)?;
        let placed = ways(&upstream.trunk, &upstream.in_order(), &call.number);
        let (way, ways) = placed.ok_or(NotPlaced::Unresolved)?;
        let listener = self.listener_for(way.target).ok_or(NotPlaced::Unresolved)?;
        let shown = self.shown(listener, way.target.ip());
        let invite = OutgoingInvite {
            listener,
            target: way.target,
            from: format!("<sip:{}@{shown}>", call.from),
            to: format!("<{}>", way.request_uri),
            request_uri: way.request_uri,
            headers: call.headers,
            sdp: call.sdp,
            ways,
        };
        Ok(self.invite(now, invite))
    }

    /// The targets of a trunk, and the listener that each is spoken to from.
    #[must_use]
    pub fn targets(&self, trunk: &str) -> Vec<(ListenerId, SocketAddr)> {
        let upstream = self.upstream_of(trunk).map(|at| self.upstreams[at].in_order());
        let targets = upstream.into_iter().flatten().map(|target| target.address);
        targets.filter_map(|address| Some((self.listener_for(address)?, address))).collect()
    }

    /// What is known of every trunk with destinations.
    #[must_use]
    pub fn trunk_states(&self, now: Instant) -> Vec<TrunkState> {
        let state = |upstream: &Upstream| TrunkState {
            trunk: upstream.trunk.name.clone(),
            up: upstream.up(),
            registered: upstream.registration.as_ref().map(|registration| registration.is_registered(now)),
        };
        self.upstreams.iter().map(state).collect()
    }

    /// Takes every registration back.
    pub fn unregister(&mut self, now: Instant) {
        for at in 0..self.upstreams.len() {
            if self.upstreams[at].registration.as_mut().is_some_and(|own| own.unregister(now)) {
                self.send_register(now, at, 0);
            }
        }
    }

    /// Whether a registration is still being taken back.
    #[must_use]
    pub fn is_unregistering(&self) -> bool {
        self.upstreams.iter().any(|upstream| upstream.registration.as_ref().is_some_and(|own| !own.is_gone()))
    }

    pub(super) fn upstream_timeout(&self) -> Option<Instant> {
        let own = |upstream: &Upstream| {
            let keepalives = upstream.targets.iter().filter_map(|(_, keepalive)| keepalive.as_ref());
            let asked = keepalives.map(Keepalive::poll_timeout).min();
            let has_target = !upstream.targets.is_empty();
            let registered = upstream.registration.as_ref().filter(|_| has_target).and_then(Registration::poll_timeout);
            [asked, registered].into_iter().flatten().min()
        };
        self.upstreams.iter().filter_map(own).min()
    }

    pub(super) fn look_after_upstreams(&mut self, now: Instant) {
        for at in 0..self.upstreams.len() {
            for target in 0..self.upstreams[at].targets.len() {
                let step = self.upstreams[at].targets[target].1.as_mut().and_then(|own| own.handle_timeout(now));
                match step {
                    Some(Step::Ask) => self.send_options(now, at, target),
                    Some(Step::WentDown) => self.tell_health(at, target, "does not answer OPTIONS"),
                    None => {}
                }
            }
            if self.upstreams[at].targets.is_empty() {
                continue; // DNS knows of no registrar yet
            }
            if let Some(expires) = self.upstreams[at].registration.as_mut().and_then(|own| own.handle_timeout(now)) {
                self.send_register(now, at, expires);
            }
        }
    }

    fn send_options(&mut self, now: Instant, at: usize, target: usize) {
        let identity = (self.random.hex(16), self.mint_tag(), 1);
        let Upstream { trunk, targets, .. } = &self.upstreams[at];
        let Target { host, address } = targets[target].0.clone();
        let errand = Errand::Keepalive { trunk: trunk.name.clone(), target: address };
        let alone = Alone { errand, login: trunk.auth.clone() };
        let Some(listener) = self.listener_for(address) else { return };
        let own = self.shown(listener, address.ip());
        let question = Question {
            method: Method::OPTIONS,
            target: address,
            request_uri: format!("sip:{host}"),
            from_to: (format!("<sip:{own}>"), format!("<sip:{host}>")),
            identity,
            headers: vec![("Accept", "application/sdp".to_owned())],
        };
        self.ask(now, question, alone);
    }

    /// The contact that we register.
    fn contact_of(&self, at: usize) -> Option<(String, SocketAddr)> {
        let upstream = &self.upstreams[at];
        let target = upstream.in_order().first()?.address;
        let own = self.shown(self.listener_for(target)?, target.ip());
        let user = &upstream.trunk.outgoing.register.as_ref()?.user;
        Some((format!("sip:{user}@{own};transport=udp"), target))
    }

    fn send_register(&mut self, now: Instant, at: usize, expires: u32) {
        let Some((contact, target)) = self.contact_of(at) else { return };
        let Upstream { trunk, registration, identity, .. } = &mut self.upstreams[at];
        let (Some(own), Some(registration)) = (&trunk.outgoing.register, registration) else { return };
        let record = format!("<sip:{}@{}>", own.user, own.domain);
        let alone = Alone { errand: Errand::Register { trunk: trunk.name.clone() }, login: trunk.auth.clone() };
        let question = Question {
            method: Method::REGISTER,
            target,
            request_uri: format!("sip:{}", own.domain),
            from_to: (record.clone(), record),
            identity: (identity.0.clone(), identity.1.clone(), registration.next_cseq()),
            headers: vec![
                ("Contact", format!("<{contact}>")),
                ("Expires", expires.to_string()),
                ("Supported", "path".to_owned()),
            ],
        };
        self.ask(now, question, alone);
    }

    pub(super) fn register_answered(&mut self, now: Instant, trunk: &str, response: &Response) {
        let Some(at) = self.upstream_of(trunk) else { return };
        let contact = self.contact_of(at).map(|(contact, _)| contact).unwrap_or_default();
        let cseq = dialog::cseq_of(response);
        let Some(registration) = self.upstreams[at].registration.as_mut() else { return };
        let was = registration.is_registered(now);
        let news = registration.handle_response(now, response, (&contact, cseq), &mut self.random);
        self.tell_registration(now, trunk, (was, news), Some(response.code));
    }

    pub(super) fn register_unanswered(&mut self, now: Instant, trunk: &str) {
        let Some(at) = self.upstream_of(trunk) else { return };
        let Some(registration) = self.upstreams[at].registration.as_mut() else { return };
        let was = registration.is_registered(now);
        let news = registration.handle_silence(now, &mut self.random);
        self.tell_registration(now, trunk, (was, news), None);
    }

    fn tell_registration(&mut self, now: Instant, trunk: &str, (was, news): (bool, News), code: Option<u16>) {
        match news {
            News::Registered(time) if !was => info!(trunk, expires_s = time.as_secs(), "registered"),
            News::Registered(_) => {}
            // 423: again at once.
            News::Nothing => self.look_after_upstreams(now),
            News::Failed(wait) => {
                warn!(
                    trunk,
                    code,
                    again_in_s = wait.as_secs(),
                    "not registered: the registrar refuses or does not answer; see auth and register of the trunk"
                );
            }
            News::Gone => info!(trunk, code, "unregistered"),
        }
    }

    pub(super) fn target_answered(&mut self, now: Instant, trunk: &str, address: SocketAddr, code: u16) {
        let Some(at) = self.upstream_of(trunk) else { return };
        let Some(target) = self.upstreams[at].targets.iter().position(|(own, _)| own.address == address) else {
            return;
        };
        if self.upstreams[at].targets[target].1.as_mut().is_some_and(|own| own.handle_response(now, code)) {
            self.tell_health(at, target, &format!("answers OPTIONS with {code}"));
        }
    }

    pub(super) fn target_unreachable(&mut self, now: Instant, address: SocketAddr) {
        for at in 0..self.upstreams.len() {
            for target in 0..self.upstreams[at].targets.len() {
                let (own, keepalive) = &mut self.upstreams[at].targets[target];
                let same = own.address == address;
                if same && keepalive.as_mut().is_some_and(|keepalive| keepalive.handle_unreachable(now)) {
                    self.tell_health(at, target, "cannot be reached");
                }
            }
        }
    }

    fn upstream_of(&self, trunk: &str) -> Option<usize> {
        self.upstreams.iter().position(|upstream| upstream.trunk.name == trunk)
    }

    fn tell_health(&self, at: usize, target: usize, why: &str) {
        let upstream = &self.upstreams[at];
        let (trunk, (Target { address, .. }, keepalive)) = (&upstream.trunk.name, &upstream.targets[target]);
        let trunk_up = upstream.up();
        match keepalive.as_ref().map(Keepalive::health) {
            Some(Health::Up) => info!(trunk, %address, trunk_up, why, "a destination is up"),
            Some(Health::Down) => warn!(trunk, %address, trunk_up, why, "a destination is down: calls try it last"),
            Some(Health::Unknown) | None => {}
        }
    }
}
