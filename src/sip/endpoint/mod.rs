//! The endpoint: owns transactions and calls, and turns datagrams and commands into datagrams and events.
//!
//! The verbs, as everywhere in this crate: `new`; `handle_datagram` and `handle_timeout`, where something happened;
//! commands (`answer`, `bye`, …), where somebody wants something; `poll_transmit`, `poll_event` and `poll_timeout`, to be
//! drained after each of the others; `poll_close` besides, where there are connections. A command returns `false`, and does nothing, where the dialog is gone or in no
//! state for it.

mod alone;
mod answering;
mod authenticating;
mod calling;
mod challenged;
mod failover;
mod in_dialog;
mod provisional;
mod referring;
mod refresh;
mod replacing;
mod requests;
mod responses;
mod routing;
mod session;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use alone::Alone;
use authenticating::Authentication;
use upstream::Upstream;
pub use upstream::{NotPlaced, Target, TrunkCall, TrunkState, ways};

use super::access::{SourceRates, Strangers, Told};
use super::counters::Count;
use super::event::{Event, Rejection, Transmit, Why};
use super::invite::{UsageTimer, Usages};
use super::message::{ALLOW, Request, Response};
use super::transaction::{Outbox, Timing, Timings, TransactionId, Transactions};
use super::trunk::Trunks;
use super::via::COOKIE;
use super::{ConnectionId, DialogId, ListenerId, RequestId};
use crate::base::random::Random;
use crate::base::token_bucket::TokenBucket;
use crate::config;

/// How much is kept at once (SIP-042).
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Calls, remembered ones included; a new one above this gets 503.
    dialogs: usize,
    /// Server transactions; above this, what would be refused is refused statelessly, and so is every request that is
    /// not in a dialog.
    servers: usize,
}

/// What is kept at once has reached its limits.
pub const TABLES_FULL: Why = Why {
    label: "sip_tables",
    text: "too many SIP dialogs or transactions are open: lower limits.max_calls_per_second",
};
/// One address sends more than the others are to suffer from.
pub const SOURCE_TOO_FAST: Why = Why {
    label: "source_rate",
    text: "this address sends more new requests than limits.max_requests_per_second_per_source",
};
/// New calls come faster than the node takes them.
pub const TOO_FAST: Why = Why { label: "call_rate", text: "calls come faster than limits.max_calls_per_second" };

const LIMITS: Limits = Limits { dialogs: 40_000, servers: 100_000 };

/// What an endpoint needs to know.
#[derive(Debug, Clone)]
pub struct EndpointConfig {
    /// Its sockets; a [`ListenerId`] is an index into them.
    pub listeners: Vec<config::Listener>,
    /// Peers in these networks see the bind address, all others the advertised one (OPS-001).
    pub local_nets: Vec<IpNet>,
    /// Who may name the peer in its stead (SIP-092).
    pub proxies: config::Proxies,
    /// `Server` and `User-Agent`; `None` hides them.
    pub user_agent: Option<String>,
    /// RFC 3261 T1.
    pub t1: Duration,
    /// RFC 3261 T2.
    pub t2: Duration,
    /// RFC 3261 T4.
    pub t4: Duration,
    /// 403 answers to one unknown source in a minute (SIP-091).
    pub unknown_source_per_minute: u32,
}

impl From<&config::Sip> for EndpointConfig {
    fn from(sip: &config::Sip) -> Self {
        Self {
            listeners: sip.listeners.clone(),
            local_nets: sip.local_nets.clone(),
            proxies: sip.proxies.clone(),
            user_agent: sip.user_agent.clone(),
            t1: sip.t1,
            t2: sip.t2,
            t4: sip.t4,
            unknown_source_per_minute: sip.unknown_source_per_minute,
        }
    }
}

/// Whether new calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Yes.
    Available,
    /// Draining or overloaded: OPTIONS and new INVITEs get 503 (SIP-095).
    Unavailable(Why),
}

/// What is alive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// INVITE server transactions.
    pub invite_servers: usize,
    /// Other server transactions.
    pub servers: usize,
    /// INVITE client transactions.
    pub invite_clients: usize,
    /// Other client transactions.
    pub clients: usize,
    /// Dialogs whose `Ended` is still to come.
    pub dialogs: usize,
    /// Ended dialogs that are remembered for late copies.
    pub remembered: usize,
}

impl Counts {
    /// Whether nothing is alive and nothing remembered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        *self == Self::default()
    }
}

/// A SIP user agent without sockets; see the module.
pub struct Endpoint {
    config: EndpointConfig,
    trunks: Trunks,
    random: Random,
    session_timer: config::SessionTimer,
    availability: Availability,
    limits: Limits,
    transactions: Transactions,
    usages: Usages,
    strangers: Strangers,
    authentication: Authentication,
    alone: HashMap<RequestId, Alone>,
    next_request: u64,
    upstreams: Vec<Upstream>,
    told: Told,
    call_rate: TokenBucket,
    source_rates: SourceRates,
    out: Outbox,
    events: VecDeque<Event>,
    closing: VecDeque<ConnectionId>,
}

impl Endpoint {
    /// An endpoint that takes calls from `trunks`.
    #[must_use]
    pub fn new(config: EndpointConfig, trunks: Trunks, mut random: Random) -> Self {
        let timing = Timing { t1: config.t1, t2: config.t2, t4: config.t4 };
        let mut transactions = Transactions::new(Timings::new(timing));
        transactions.set_trunks(&trunks);
        Self {
            strangers: Strangers::new(config.unknown_source_per_minute, &mut random),
            authentication: Authentication::new(&mut random),
            alone: HashMap::new(),
            next_request: 0,
            upstreams: Vec::new(),
            told: Told::default(),
            call_rate: TokenBucket::per_second(0),
            source_rates: SourceRates::new(0, &mut random),
            config,
            trunks,
            random,
            session_timer: config::SessionTimer::default(),
            availability: Availability::Available,
            limits: LIMITS,
            transactions,
            usages: Usages::default(),
            out: Outbox::default(),
            events: VecDeque::new(),
            closing: VecDeque::new(),
        }
    }

    /// Says whether new calls are taken; what is up goes on (OPS-031).
    pub fn set_availability(&mut self, availability: Availability) {
        self.availability = availability;
    }

    /// Takes at most this many new calls a second, 503 to the others (SIP-096); 0 is any number.
    pub fn limit_call_rate(&mut self, per_second: u32) {
        self.call_rate = TokenBucket::per_second(per_second);
    }

    /// Takes at most this many new requests a second of each address of a trunk (SIP-015); 0 is any number.
    pub fn limit_source_rate(&mut self, per_second: u32) {
        self.source_rates.limit(per_second, &mut self.random);
    }

    /// Replaces the trunks; what is up goes on.
    pub fn set_trunks(&mut self, trunks: Trunks) {
        self.transactions.set_trunks(&trunks);
        self.trunks = trunks;
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call `handle_timeout` at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = [self.transactions.poll_timeout(), self.usages.poll_timeout(), self.upstream_timeout()];
        own.into_iter().flatten().min()
    }

    /// Handles every timer whose time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(timed_out) = self.transactions.handle_timeout(now, &mut self.out) {
            if let Some(owner) = timed_out {
                self.request_timed_out(now, owner);
            }
        }
        while let Some((id, timer)) = self.usages.expired(now) {
            match timer {
                UsageTimer::Expires => self.invite_expired(now, id),
                UsageTimer::RepeatProvisional => self.repeat_provisional(now, id),
                UsageTimer::ResendAnswer => self.resend_answer(now, id),
                UsageTimer::NoAck => self.no_ack(now, id),
                UsageTimer::ResendProvisional => self.resend_provisional(now, id),
                UsageTimer::NoPrack => self.no_prack(now, id),
                UsageTimer::RetryReinvite => self.retry_reinvite(now, id),
                UsageTimer::Refer => self.refer_overdue(now, id),
                UsageTimer::Refresh => self.refresh(now, id),
                UsageTimer::SessionExpires => self.end_session(now, id, None),
                UsageTimer::NoFinal => self.no_final(now, id),
                UsageTimer::NoResponse => self.no_response(now, id),
                UsageTimer::Forget => self.forget(id),
            }
        }
        self.look_after_upstreams(now);
    }

    /// What is alive now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let [invite_servers, servers, invite_clients, clients] = self.transactions.counts();
        let dialogs = self.usages.alive();
        let remembered = self.usages.len() - dialogs;
        Counts { invite_servers, servers, invite_clients, clients, dialogs, remembered }
    }

    /// Sources that the limits count, by kind: `stranger` or `trunk`; all that are remembered, and those at their limit.
    #[must_use]
    pub fn sources(&self, now: Instant) -> [(&'static str, usize, usize); 2] {
        let (strangers, silenced) = self.strangers.counts(now);
        let (known, slowed) = self.source_rates.counts(now);
        [("stranger", strangers, silenced), ("trunk", known, slowed)]
    }

    /// Takes what was counted since the last time.
    pub fn take_counters(&mut self) -> Vec<Count> {
        self.out.counters.take()
    }

    /// The listener that a request to `peer` leaves from: the first of its IP version.
    /// The UDP listener for requests of ours to `peer`.
    fn listener_for(&self, peer: SocketAddr) -> Option<ListenerId> {
        let fits =
            |own: &config::Listener| own.transport == config::Transport::Udp && own.bind.is_ipv4() == peer.is_ipv4();
        self.config.listeners.iter().position(fits).map(ListenerId)
    }

    /// The address that a peer is shown (OPS-001): the bind address inside `local_nets` where it is one, else the
    /// advertised one.
    fn shown(&self, listener: ListenerId, peer: IpAddr) -> SocketAddr {
        let Some(own) = self.config.listeners.get(listener.0) else { return SocketAddr::new(peer, 0) };
        if self.is_local(peer) && !own.bind.ip().is_unspecified() { own.bind } else { own.advertised }
    }

    fn is_local(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.config.local_nets.iter().any(|net| net.contains(&peer))
    }

    /// The timers for a call's peer.
    fn timing_of(&mut self, id: DialogId) -> Timing {
        let peer = self.usages.get(id).map_or(Ipv4Addr::UNSPECIFIED.into(), |usage| usage.dialog.peer.to.ip());
        self.transactions.timing_of(peer)
    }

    fn mint_branch(&mut self) -> String {
        format!("{COOKIE}{}", self.random.hex(12))
    }

    fn mint_tag(&mut self) -> String {
        self.random.hex(8)
    }

    /// `Retry-After` of 0 to 10 s, for requests that met another one (SIP-072).
    fn soon(&mut self) -> Rejection {
        Rejection { retry_after: Some(self.random.below(11)), ..Rejection::new(500) }
    }

    /// 503 with `Retry-After` of 5 to 15 s (SIP-095).
    fn unavailable(&mut self, why: Why) -> Rejection {
        let retry_after = Some(5 + self.random.below(11));
        Rejection { retry_after, why: Some(why), ..Rejection::new(503) }.reason(super::Reason::q850(42))
    }

    /// Sends a response in a server transaction.
    fn respond(&mut self, now: Instant, transaction: TransactionId, response: Response) -> bool {
        let response = self.signed(response);
        self.transactions.respond(now, transaction, &response, &mut self.out)
    }

    /// With our `Server` header.
    fn signed(&self, response: Response) -> Response {
        match &self.config.user_agent {
            Some(name) if response.code != 100 => response.with("Server", name.as_str()),
            Some(_) | None => response,
        }
    }

    /// The response that refuses `request`.
    fn refusal(request: &Request, to_tag: &str, agent: IpAddr, rejection: &Rejection) -> Response {
        let mut response = Response::to(request, rejection.code, to_tag);
        for reason in &rejection.reasons {
            response.headers.push("Reason", reason.to_string());
        }
        if let Some(seconds) = rejection.retry_after {
            response.headers.push("Retry-After", seconds.to_string());
        }
        if let Some((code, text)) = &rejection.warning {
            let text = text.replace(['"', '\\'], "'");
            response.headers.push("Warning", format!("{code} {agent} \"{text}\""));
        }
        for (name, value) in &rejection.headers {
            response.headers.push(name, value.as_str());
        }
        match rejection.code {
            405 | 501 => response.with("Allow", ALLOW),
            415 if !response.headers.has("Accept") => response.with("Accept", "application/sdp"),
            _ => response,
        }
    }

    /// Sends a message outside any transaction.
    fn send_stateless(&mut self, path: super::transaction::Path, response: Response) {
        let response = self.signed(response);
        self.out.send(path, &super::wire::write_response(&response));
    }

    /// Raises an event.
    fn raise(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Ends a dialog: everything of the peer that waits is answered, `Ended` is raised, and the dialog is remembered for
    /// late copies.
    fn end(&mut self, now: Instant, id: DialogId, left_by_us: bool) {
        let Some(usage) = self.usages.get(id) else { return };
        if usage.is_gone() {
            return;
        }
        let pending = usage.take_pending();
        usage.state = super::invite::State::Gone { left_by_us };
        self.refuse_pending(now, pending);
        self.usages.disarm_all(id);
        let until = now + self.timing_of(id).timeout();
        self.usages.arm(id, UsageTimer::Forget, until);
        self.raise(Event::Ended { dialog: id });
    }

    /// Drops a dialog, and a re-INVITE in it that has got provisional responses only.
    fn forget(&mut self, id: DialogId) {
        let open = self.usages.get(id).and_then(|usage| usage.last_reinvite);
        if let Some(transaction) = open.filter(|open| self.transactions.cancel_of(*open).is_some()) {
            self.transactions.abandon(transaction);
        }
        self.usages.forget(id);
    }

    /// Answers what the peer asked in a dialog that ends (RFC 3261 section 15.1.2).
    fn refuse_pending(&mut self, now: Instant, pending: Vec<super::invite::Pending>) {
        for request in pending {
            let response = Response::to(&request.request, 487, "");
            self.respond(now, request.transaction, response);
        }
    }
}
