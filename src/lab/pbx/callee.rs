//! Whom a test call goes to: a SIP URI, its address, and whether anybody is there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::sip::Uri;
use crate::sip::uri::{Host, Scheme, UriError};

/// SIP's port where the URI names none.
const DEFAULT_PORT: u16 = 5060;
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
    #[error("{0} has no address: {1}")]
    Host(String, io::Error),
    /// The host answered that nobody listens.
    #[error("nobody listens at udp:{0} (connection refused): is the bridge running, and on this address and port?")]
    Refused(SocketAddr),
    /// The system does not let us send there.
    #[error("cannot send to udp:{0}: {1}")]
    Unreachable(SocketAddr, io::Error),
}

/// Whom to call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callee {
    /// Request-URI and To.
    pub uri: String,
    /// Where the INVITE goes.
    pub address: SocketAddr,
}

impl Callee {
    /// Reads `sip:1000@host:5060`, `1000@host` or `host`, and looks the host up.
    ///
    /// # Errors
    /// Anything but a SIP URI for UDP, a number without a host, and a host without address.
    pub async fn resolve(text: &str) -> Result<Self, CalleeError> {
        // A resolver would take 1000 for the IPv4 address 0.0.3.232.
        let bare = text.strip_prefix("sip:").unwrap_or(text);
        if !bare.is_empty() && bare.chars().all(|c| c.is_ascii_digit() || "+*#-".contains(c)) {
            return Err(CalleeError::Number(bare.to_owned()));
        }
        let full = if text.contains(':') && text.split(':').next().is_some_and(|scheme| !scheme.contains(['@', '.'])) {
            text.to_owned()
        } else {
            format!("sip:{text}")
        };
        let uri = Uri::parse(&full).map_err(|error| CalleeError::Uri(text.to_owned(), error))?;
        let udp = uri.param("transport").is_none_or(|transport| transport.eq_ignore_ascii_case("udp"));
        let Some(host) = uri.host.as_ref().filter(|_| uri.scheme == Scheme::Sip && udp) else {
            return Err(CalleeError::Transport(text.to_owned()));
        };
        let port = uri.port.unwrap_or(DEFAULT_PORT);
        let address = match host {
            Host::Ip(ip) => SocketAddr::new(*ip, port),
            Host::Name(name) => look_up(name, port).await.map_err(|error| CalleeError::Host(name.clone(), error))?,
        };
        Ok(Self { uri: full, address })
    }
}

/// The host's first IPv4 address, else its first address.
async fn look_up(name: &str, port: u16) -> io::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = lookup_host((name, port)).await?.collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
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

    async fn resolve(text: &str) -> Result<(String, SocketAddr), String> {
        let callee = Callee::resolve(text).await.map_err(|error| error.to_string())?;
        Ok((callee.uri, callee.address))
    }

    #[tokio::test]
    async fn a_callee_is_a_sip_uri_with_or_without_its_scheme_and_port() {
        for (text, uri, address) in [
            ("sip:1000@127.0.0.1:5070", "sip:1000@127.0.0.1:5070", "127.0.0.1:5070"),
            ("1000@192.0.2.1", "sip:1000@192.0.2.1", "192.0.2.1:5060"),
            ("1000@192.0.2.1:5080", "sip:1000@192.0.2.1:5080", "192.0.2.1:5080"),
            ("192.0.2.1:5080", "sip:192.0.2.1:5080", "192.0.2.1:5080"),
            ("sip:1000@[2001:db8::1]", "sip:1000@[2001:db8::1]", "[2001:db8::1]:5060"),
            ("sip:1000@127.0.0.1;transport=UDP", "sip:1000@127.0.0.1;transport=UDP", "127.0.0.1:5060"),
        ] {
            assert_eq!(resolve(text).await, Ok((uri.to_owned(), address.parse().expect("an address"))), "{text}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_called_is_refused_with_what_was_expected() {
        for text in ["tel:+123", "sips:1000@127.0.0.1", "sip:1000@127.0.0.1;transport=tcp"] {
            let error = resolve(text).await.expect_err("not over UDP");
            assert!(error.contains("SIP over UDP only"), "{error}");
        }
        let error = resolve("sip:1000@").await.expect_err("no host");
        assert!(error.contains("sip:NUMBER@HOST"), "{error}");
    }

    #[tokio::test]
    async fn a_number_alone_is_not_taken_for_an_address() {
        for text in ["1000", "sip:1000", "+911234567890", "*98"] {
            let error = resolve(text).await.expect_err("no host");
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
