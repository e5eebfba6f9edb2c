//! Where calls of ours go through a trunk, and how the trunk is looked after.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::Trunk;

/// What a trunk says of calls out (SIP-055, SIP-098, OPS-035).
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Where calls go, the preferred first; empty where none go out.
    pub destinations: Vec<Destination>,
    /// A destination that says nothing at all for this long is given up.
    pub no_response: Duration,
    /// OPTIONS are sent this often, half as often while the destination is down; `None` is never.
    pub keepalive: Option<Duration>,
    /// We register there.
    pub register: Option<Register>,
}

/// One place where calls go, as it is written: what it resolves to is found by RFC 3263.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// An address, or a name in lower case.
    pub host: DestinationHost,
    /// Without one, DNS tells (SRV), or it is 5060.
    pub port: Option<u16>,
    /// Without one, DNS tells (NAPTR), or it is UDP.
    pub transport: Option<DestinationTransport>,
}

/// See [`Destination::host`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DestinationHost {
    /// An address.
    Ip(IpAddr),
    /// A name.
    Name(String),
}

/// How a destination is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DestinationTransport {
    /// `transport=udp`
    Udp,
}

impl Trunk {
    /// Networks that the media of a call from `peer` may come from beside the address in its SDP: the trunk's own, or the
    /// peer itself where a trunk that lists no address has none (RTP-011).
    #[must_use]
    pub fn media_sources(&self, peer: IpAddr) -> Vec<IpNet> {
        if self.media_allow.is_empty() { vec![IpNet::from(peer.to_canonical())] } else { self.media_allow.clone() }
    }
}

impl fmt::Display for Destination {
    /// `host[:port]`, as a SIP URI has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            DestinationHost::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]")?,
            DestinationHost::Ip(ip) => write!(f, "{ip}")?,
            DestinationHost::Name(name) => f.write_str(name)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Our registration at a PBX that insists on one (OPS-035).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// The user part of the address of record.
    pub user: String,
    /// The domain: Request-URI of the REGISTER, host of the address of record.
    pub domain: String,
    /// How long a registration is asked for.
    pub expires: Duration,
}
