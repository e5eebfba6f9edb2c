//! Whom a test call goes to: a SIP URI, its address, and whether anybody is there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::config::{Destination, DestinationHost, DestinationTransport, Login, Trunk};
use crate::sip::uri::{Host, Scheme, UriError};
use crate::sip::{Target, Uri, Way, Ways, ways};

/// How long "nobody listens here" may take to come back: it comes from the host itself, or not at all.
const REFUSAL: Duration = Duration::from_millis(60);

/// A callee that cannot be called.
#[derive(Debug, Error)]
pub enum CalleeError {
    /// No SIP URI.
    #[error("{0:?} is no SIP URI ({1}); expected sip:NUMBER@HOST[:PORT]")]
    Uri(String, UriError),
    /// A number without a host.
    #[error(
        "{0:?} is a number; whose? Say where the bridge or PBX is: sip:{0}@HOST[:PORT], here perhaps sip:{0}@127.0.0.1"
    )]
    Number(String),
    /// Another scheme or transport.
    #[error("{0:?} cannot be called: SIP over UDP only, as sip:NUMBER@HOST[:PORT]")]
    Transport(String),
    /// The host has no address.
    #[error("{0} has no address: DNS knows no NAPTR, SRV, A or AAAA record that leads to one")]
    Host(String),
    /// The host answered that nobody listens.
    #[error("nobody listens at udp:{0} (connection refused): is the bridge running, and on this address and port?")]
    Refused(SocketAddr),
    /// The system does not let us send there.
    #[error("cannot send to udp:{0}: {1}")]
    Unreachable(SocketAddr, io::Error),
}

/// Whom to call.
#[derive(Debug, Clone)]
pub struct Callee {
    /// Request-URI and To.
    pub uri: String,
    /// Where the INVITE goes.
    pub address: SocketAddr,
    /// What may be done to get the call through.
    pub ways: Ways,
}

impl Callee {
    /// A callee at an address that is known.
    #[must_use]
    pub fn at(uri: &str, address: SocketAddr) -> Self {
        Self { uri: uri.to_owned(), address, ways: Ways::default() }
    }

    /// A callee that may be at any of these addresses, tried in turn; `None` where there is none.
    #[must_use]
    pub fn at_one_of(uri: &str, addresses: &[SocketAddr], login: Option<Arc<Login>>) -> Option<Self> {
        let (first, others) = addresses.split_first()?;
        let others = others.iter().map(|target| Way { target: *target, request_uri: uri.to_owned() });
        let ways = Ways { others: others.collect(), login, ..Ways::default() };
        Some(Self { ways, ..Self::at(uri, *first) })
    }

    /// Who has `number` behind a trunk whose destinations are at `targets`; `None` where there are none.
    #[must_use]
    pub fn through(trunk: &Trunk, targets: &[Target], number: &str) -> Option<Self> {
        let (first, ways) = ways(trunk, targets, number)?;
        Some(Self { ways, ..Self::at(&first.request_uri, first.target) })
    }

    /// Reads `sip:1000@host:5060`, `1000@host` or `host`: the URI, and where that is.
    ///
    /// # Errors
    /// Anything but a SIP URI for UDP, and a number without a host.
    pub fn parse(text: &str) -> Result<(String, Destination), CalleeError> {
        // A resolver would take 1000 for the IPv4 address 0.0.3.232.
        let bare = text.strip_prefix("sip:").unwrap_or(text);
        if is_number(bare) {
            return Err(CalleeError::Number(bare.to_owned()));
        }
        let full = if text.contains(':') && text.split(':').next().is_some_and(|scheme| !scheme.contains(['@', '.'])) {
            text.to_owned()
        } else {
            format!("sip:{text}")
        };
        let uri = Uri::parse(&full).map_err(|error| CalleeError::Uri(text.to_owned(), error))?;
        let transport = uri.param("transport").map(str::to_ascii_lowercase);
        let udp = transport.as_deref().is_none_or(|transport| transport == "udp");
        let Some(host) = uri.host.as_ref().filter(|_| uri.scheme == Scheme::Sip && udp) else {
            return Err(CalleeError::Transport(text.to_owned()));
        };
        let host = match host {
            Host::Ip(ip) => DestinationHost::Ip(*ip),
            Host::Name(name) => DestinationHost::Name(name.clone()),
        };
        Ok((full, Destination { host, port: uri.port, transport: transport.map(|_| DestinationTransport::Udp) }))
    }
}

/// Whether `text` is a number as people dial it.
#[must_use]
pub fn is_number(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || "+*#-".contains(c))
}

/// Our address towards `peer`, by the system's routes. Nothing is sent.
///
/// # Errors
/// No route.
pub fn local_address(peer: SocketAddr) -> Result<IpAddr, CalleeError> {
    let any = if peer.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
    let look = || {
        let socket = std::net::UdpSocket::bind((any, 0))?;
        socket.connect(peer)?;
        Ok(socket.local_addr()?.ip())
    };
    look().map_err(|error| CalleeError::Unreachable(peer, error))
}

/// Sends a keep-alive, which no SIP server answers with a complaint, and waits a moment for the host to say that nobody
/// listens. Silence is fine: it is what firewalls and most servers say.
///
/// # Errors
/// The host said so, or the system lets nothing through.
pub async fn probe(local: IpAddr, peer: SocketAddr) -> Result<(), CalleeError> {
    let unreachable = |error| CalleeError::Unreachable(peer, error);
    let socket = UdpSocket::bind((local, 0)).await.map_err(unreachable)?;
    socket.connect(peer).await.map_err(unreachable)?;
    socket.send(b"\r\n\r\n").await.map_err(unreachable)?;
    match timeout(REFUSAL, socket.recv(&mut [0; 64])).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(CalleeError::Refused(peer)),
        Ok(Err(error)) => Err(unreachable(error)),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String), String> {
        let (uri, destination) = Callee::parse(text).map_err(|error| error.to_string())?;
        Ok((uri, destination.to_string()))
    }

    #[test]
    fn a_callee_is_a_sip_uri_with_or_without_its_scheme_and_port() {
        for (text, uri, destination) in [
            ("sip:1000@127.0.0.1:5070", "sip:1000@127.0.0.1:5070", "127.0.0.1:5070"),
            ("1000@192.0.2.1", "sip:1000@192.0.2.1", "192.0.2.1"),
            ("1000@PBX.example:5080", "sip:1000@PBX.example:5080", "pbx.example:5080"),
            ("192.0.2.1:5080", "sip:192.0.2.1:5080", "192.0.2.1:5080"),
            ("sip:1000@[2001:db8::1]", "sip:1000@[2001:db8::1]", "[2001:db8::1]"),
            ("sip:1000@127.0.0.1;transport=UDP", "sip:1000@127.0.0.1;transport=UDP", "127.0.0.1"),
        ] {
            assert_eq!(parse(text), Ok((uri.to_owned(), destination.to_owned())), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_what_was_expected() {
        for text in ["tel:+123", "sips:1000@127.0.0.1", "sip:1000@127.0.0.1;transport=tcp"] {
            let error = parse(text).expect_err("not over UDP");
            assert!(error.contains("SIP over UDP only"), "{error}");
        }
        let error = parse("sip:1000@").expect_err("no host");
        assert!(error.contains("sip:NUMBER@HOST"), "{error}");
    }

    #[test]
    fn a_number_alone_is_not_taken_for_an_address() {
        for text in ["1000", "sip:1000", "+911234567890", "*98"] {
            let error = parse(text).expect_err("no host");
            let number = text.trim_start_matches("sip:");
            assert!(error.contains(&format!("sip:{number}@HOST")), "{error}");
        }
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_told_at_once() {
        let local = IpAddr::from([127, 0, 0, 1]);
        let closed = UdpSocket::bind((local, 0)).await.and_then(|socket| socket.local_addr()).expect("a port");
        assert!(matches!(probe(local, closed).await, Err(CalleeError::Refused(peer)) if peer == closed));
        let open = UdpSocket::bind((local, 0)).await.expect("a port");
        assert!(probe(local, open.local_addr().expect("bound")).await.is_ok());
        assert_eq!(local_address(closed).expect("a route"), local);
    }
}
