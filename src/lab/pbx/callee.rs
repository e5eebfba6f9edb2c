//! Whom a test call goes to: a SIP URI, its address, and whether anybody is there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::config::{Destination, DestinationHost, DestinationTransport, Login, Transport, Trunk};
use crate::sip::uri::{Host, Scheme, UriError};
use crate::sip::{Target, Uri, Way, Ways, ways};

/// How long "nobody listens here" may take to come back: it comes from the host itself, or not at all.
const REFUSAL: Duration = Duration::from_millis(60);

/// How long a connection may take.
const CONNECTED: Duration = Duration::from_secs(5);

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
    #[error("{0:?} cannot be called: expected sip:NUMBER@HOST[:PORT], perhaps with ;transport=tcp or tls, or sips:")]
    Transport(String),
    /// The host has no address.
    #[error("{0} has no address: DNS knows no NAPTR, SRV, A or AAAA record that leads to one")]
    Host(String),
    /// The host answered that nobody listens.
    #[error("nobody listens at {0}:{1} (connection refused): is the bridge running, and on this address and port?")]
    Refused(&'static str, SocketAddr),
    /// The system does not let us send there.
    #[error("cannot send to {0}:{1}: {2}")]
    Unreachable(&'static str, SocketAddr, io::Error),
}

/// Whom to call.
#[derive(Debug, Clone)]
pub struct Callee {
    /// Request-URI and To.
    pub uri: String,
    /// Where the INVITE goes.
    pub address: SocketAddr,
    /// By what.
    pub transport: Transport,
    /// The host as the URI names it: what a certificate must be for.
    pub host: String,
    /// What may be done to get the call through.
    pub ways: Ways,
}

impl Callee {
    /// A callee at an address that is known, over UDP.
    #[must_use]
    pub fn at(uri: &str, address: SocketAddr) -> Self {
        let (uri, host) = (uri.to_owned(), address.ip().to_string());
        Self { uri, address, transport: Transport::Udp, host, ways: Ways::default() }
    }

    /// A callee that may be at any of these addresses, tried in turn; `None` where there is none.
    #[must_use]
    pub fn at_one_of(place: &Place, addresses: &[SocketAddr], login: Option<Arc<Login>>) -> Option<Self> {
        let (first, others) = addresses.split_first()?;
        let others = others.iter().map(|target| Way { target: *target, request_uri: place.uri.clone() });
        let ways = Ways { others: others.collect(), login, ..Ways::default() };
        let host = match &place.destination.host {
            DestinationHost::Ip(ip) => ip.to_string(),
            DestinationHost::Name(name) => name.clone(),
        };
        Some(Self { ways, transport: place.transport, host, ..Self::at(&place.uri, *first) })
    }

    /// Who has `number` behind a trunk whose destinations are at `targets`; `None` where there are none.
    #[must_use]
    pub fn through(trunk: &Trunk, targets: &[Target], number: &str) -> Option<Self> {
        let (first, ways) = ways(trunk, targets, number)?;
        Some(Self { ways, ..Self::at(&first.request_uri, first.target) })
    }
}

/// Where a callee is, as a SIP URI says it.
#[derive(Debug)]
pub struct Place {
    /// The URI.
    pub uri: String,
    /// Its host and port. Over TCP and TLS the port is always there, so that only addresses are asked for.
    pub destination: Destination,
    /// How it is spoken to.
    pub transport: Transport,
}

impl Place {
    /// Reads `sip:1000@host:5060`, `1000@host` or `host`.
    ///
    /// # Errors
    /// Anything but a SIP URI for UDP, TCP or TLS, and a number without a host.
    pub fn parse(text: &str) -> Result<Self, CalleeError> {
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
        let Some((host, transport)) = uri.host.as_ref().zip(transport_of(&uri)) else {
            return Err(CalleeError::Transport(text.to_owned()));
        };
        let host = match host {
            Host::Ip(ip) => DestinationHost::Ip(*ip),
            Host::Name(name) => DestinationHost::Name(name.clone()),
        };
        let port = uri.port.or_else(|| transport.is_reliable().then(|| transport.default_port()));
        let named = uri.param("transport").filter(|_| transport == Transport::Udp);
        let destination = Destination { host, port, transport: named.map(|_| DestinationTransport::Udp) };
        Ok(Self { uri: full, destination, transport })
    }
}

/// `sips:` is TLS whatever the parameter says (RFC 3261 section 26.2.2); without one it is UDP.
fn transport_of(uri: &Uri) -> Option<Transport> {
    let named = match uri.param("transport") {
        Some(name) => Transport::parse(name)?,
        None => Transport::Udp,
    };
    match uri.scheme {
        Scheme::Sip => Some(named),
        Scheme::Sips => Some(Transport::Tls),
        Scheme::Tel | Scheme::Other(_) => None,
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
    look().map_err(|error| CalleeError::Unreachable("ip", peer, error))
}

/// Sends a keep-alive, which no SIP server answers with a complaint, and waits a moment for the host to say that nobody
/// listens. Silence is fine: it is what firewalls and most servers say.
///
/// # Errors
/// The host said so, or the system lets nothing through.
pub async fn probe(local: IpAddr, callee: &Callee) -> Result<(), CalleeError> {
    let peer = callee.address;
    let unreachable = |error| CalleeError::Unreachable(callee.transport.param(), peer, error);
    let refused = || CalleeError::Refused(callee.transport.param(), peer);
    if callee.transport.is_reliable() {
        return match timeout(CONNECTED, TcpStream::connect(peer)).await {
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(refused()),
            Ok(Err(error)) => Err(unreachable(error)),
            Ok(Ok(_)) => Ok(()),
            Err(_) => Err(unreachable(io::ErrorKind::TimedOut.into())),
        };
    }
    let socket = UdpSocket::bind((local, 0)).await.map_err(unreachable)?;
    socket.connect(peer).await.map_err(unreachable)?;
    socket.send(b"\r\n\r\n").await.map_err(unreachable)?;
    match timeout(REFUSAL, socket.recv(&mut [0; 64])).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Err(refused()),
        Ok(Err(error)) => Err(unreachable(error)),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String), String> {
        let place = Place::parse(text).map_err(|error| error.to_string())?;
        Ok((place.uri, place.destination.to_string()))
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
    fn sip_114_the_transport_is_the_uris() {
        for (text, transport, destination) in [
            ("sip:1000@127.0.0.1;transport=tcp", Transport::Tcp, "127.0.0.1:5060"),
            ("sip:1000@[::1];transport=tls", Transport::Tls, "[::1]:5061"),
            ("sips:1000@127.0.0.1:5071;transport=tcp", Transport::Tls, "127.0.0.1:5071"),
        ] {
            let place = Place::parse(text).expect("a callee");
            assert_eq!((place.transport, place.destination.to_string().as_str()), (transport, destination), "{text}");
            let callee = Callee::at_one_of(&place, &["[::1]:5061".parse().expect("an address")], None);
            assert!(callee.is_some_and(|callee| callee.transport == transport && !callee.host.contains('[')));
        }
    }

    #[test]
    fn what_cannot_be_called_is_refused_with_what_was_expected() {
        for text in ["tel:+123", "sip:1000@127.0.0.1;transport=sctp", "im:a@127.0.0.1"] {
            let error = parse(text).expect_err("no transport of ours");
            assert!(error.contains("transport=tcp"), "{error}");
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
        let at = |address, transport| Callee { transport, ..Callee::at("", address) };
        let closed = UdpSocket::bind((local, 0)).await.and_then(|socket| socket.local_addr()).expect("a port");
        for transport in Transport::ALL {
            let told = probe(local, &at(closed, transport)).await;
            assert!(matches!(told, Err(CalleeError::Refused(_, peer)) if peer == closed), "{transport:?}");
        }
        let open = UdpSocket::bind((local, 0)).await.expect("a port");
        assert!(probe(local, &at(open.local_addr().expect("bound"), Transport::Udp)).await.is_ok());
        assert_eq!(local_address(closed).expect("a route"), local);
    }
}
