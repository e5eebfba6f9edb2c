//! Streams, and by which transport requests of ours go (RFC 3261 section 18, SIP-002, SIP-004, SIP-114).

use std::time::Instant;

use std::net::SocketAddr;

use super::Endpoint;
use crate::config::Transport;
use crate::sip::message::Request;
use crate::sip::transaction::{OVERSIZE, Path};
use crate::sip::wire::{self, Flaw};
use crate::sip::{ConnectionId, ListenerId, Origin};

impl Endpoint {
    /// A message that `framing` cut off a stream; `flaw` where it could not be cut. A stream that cannot be cut, and one
    /// of a source without a trunk, is closed (`poll_close`) when what there is to answer has been sent.
    pub fn handle_framed(&mut self, now: Instant, origin: Origin, bytes: &[u8], flaw: Option<Flaw>) {
        let known = self.handle_message(now, origin, bytes, flaw);
        if !known || flaw.is_some() {
            self.closing.extend(origin.connection);
        }
    }

    /// A connection is over, or could not be opened. Requests that went by the peer's own are sent again by one of ours;
    /// those that went by ours fail as if they were answered with 503. What we owe the peer stays, and its timers end it
    /// (SIP-036).
    pub fn handle_lost(&mut self, now: Instant, origin: &Origin) {
        for owner in self.transactions.handle_lost(now, origin, &mut self.out) {
            self.request_failed(now, owner, 503);
        }
    }

    /// The next connection to close, after everything that `poll_transmit` gave for it.
    pub fn poll_close(&mut self) -> Option<ConnectionId> {
        self.closing.pop_front()
    }

    /// Whether a call that is up came by this connection.
    #[must_use]
    pub fn needs(&self, connection: ConnectionId) -> bool {
        self.usages.peers().any(|peer| peer.connection == Some(connection))
    }

    /// What a listener speaks.
    pub(super) fn transport_of(&self, listener: ListenerId) -> Transport {
        self.config.listeners.get(listener.0).map_or(Transport::Udp, |listener| listener.transport)
    }

    /// The way from a listener to a peer, over whatever connection there is.
    pub(super) fn path_to(&self, listener: ListenerId, to: SocketAddr) -> Path {
        Path { transport: self.transport_of(listener), listener, to, connection: None }
    }

    /// The way of `request` to `hop`: by `wanted`, where the next hop names a transport; by TCP, where it is too long for
    /// UDP and the peer has TCP (SIP-002); else as everything before it. Via is made to match.
    pub(super) fn way(&self, hop: Path, wanted: Option<Transport>, request: &mut Request) -> Path {
        let wanted = wanted.or_else(|| self.too_long_for_udp(&hop, request).then_some(Transport::Tcp));
        let Some(transport) = wanted.filter(|transport| *transport != hop.transport) else { return hop };
        let fits = |own: &crate::config::Listener| own.transport == transport && own.bind.is_ipv4() == hop.to.is_ipv4();
        let Some(listener) = self.config.listeners.iter().position(fits).map(ListenerId) else { return hop };
        let via = request.headers.get("Via").unwrap_or_default();
        let params = via.split_once(';').map_or("", |(_, params)| params);
        let shown = self.shown(listener, hop.to.ip());
        let via = format!("SIP/2.0/{} {shown};{params}", transport.name());
        request.headers.replace_first("Via", via);
        Path { transport, listener, to: hop.to, connection: None }
    }

    fn too_long_for_udp(&self, hop: &Path, request: &Request) -> bool {
        hop.transport == Transport::Udp
            && self.trunks.offer_tcp(hop.to.ip())
            && wire::write_request(request).len() > OVERSIZE
    }
}
