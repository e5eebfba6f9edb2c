//! RFC 3261 without sockets: datagrams and commands go in, datagrams and events come out.
//!
//! A stream is cut into messages by [`framing`]; from there on a message is a message.
//! A datagram meets the files in this order: [`wire`] (bytes to message), [`via`] (where the answer goes),
//! [`trunk`] (who may call), `transaction` (retransmissions end here), `dialog` and `invite` (what the call is doing),
//! [`Endpoint`] (which owns them all).

mod access;
pub mod body;
pub mod causes;
pub mod counters;
mod dialog;
pub mod digest;
pub mod diversion;
pub mod endpoint;
pub mod event;
pub mod framing;
pub mod identity;
mod incoming;
mod invite;
mod keepalive;
pub mod locate;
pub mod message;
mod outline;
mod proxy;
pub mod reason;
pub mod refer;
mod registration;
mod reliable;
pub mod replaces;
mod session_timer;
mod sources;
mod syntax;
mod transaction;
pub mod trunk;
pub mod uri;
pub mod via;
pub mod wire;

use std::net::SocketAddr;

pub use diversion::{Station, stations};
pub use endpoint::{Availability, Counts, Endpoint, EndpointConfig, NotPlaced, Target, TrunkCall, TrunkState, ways};
pub use event::{
    Event, IncomingInvite, InfoAnswer, InviteBody, OutgoingInvite, Redirects, Rejection, Transmit, Way, Ways, Why,
};
pub use identity::{Caller, called, caller};
pub use message::Headers;
pub use reason::{Reason, ReasonProtocol};
pub use refer::{Refer, ReferFailure, ReferTarget};
pub use replaces::Replaces;
pub use trunk::{TrunkRefusal, Trunks};
pub use uri::{NameAddr, Uri};

/// Which of the endpoint's listeners: an index into [`EndpointConfig::listeners`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub usize);

/// One TCP or TLS connection; whoever opens or accepts it gives the number, and never twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The listener whose socket, or whose connection, it came by.
    pub listener: ListenerId,
    /// Its source.
    pub source: SocketAddr,
    /// The connection; `None` for a datagram.
    pub connection: Option<ConnectionId>,
    /// The peer proved who it is by a client certificate.
    pub has_certificate: bool,
}

impl Origin {
    /// Of a datagram.
    #[must_use]
    pub const fn datagram(listener: ListenerId, source: SocketAddr) -> Self {
        Self { listener, source, connection: None, has_certificate: false }
    }
}

/// One INVITE dialog of an endpoint; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId(u64);

impl DialogId {
    /// The dialog of what is in none.
    pub(crate) const NONE: Self = Self(u64::MAX);

    /// The dialog's number within its endpoint, for logs.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

/// One request of an endpoint outside a dialog; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(u64);
