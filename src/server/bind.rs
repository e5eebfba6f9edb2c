//! What to do when an address cannot be bound.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

/// Which socket it was to be: `ss` lists each kind by its own letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `ss -u`
    Udp,
    /// `ss -t`
    Tcp,
}

/// The error with the configuration key that names the address, and what an operator does about it.
pub fn explained(key: &str, address: SocketAddr, transport: Transport, error: &Error) -> anyhow::Error {
    match advice(address.port(), transport, error.kind()) {
        Some(advice) => anyhow::anyhow!("{key}: {address} cannot be opened: {error}\n  -> {advice}"),
        None => anyhow::anyhow!("{key}: {address} cannot be opened: {error}"),
    }
}

fn advice(port: u16, transport: Transport, kind: ErrorKind) -> Option<String> {
    let letter = if transport == Transport::Udp { 'u' } else { 't' };
    match kind {
        ErrorKind::AddrInUse => Some(format!(
            "another program has this port, maybe another Trunkstream: `ss -ln{letter}p 'sport = :{port}'` as root names \
             it; stop it, or choose another port"
        )),
        ErrorKind::AddrNotAvailable => {
            Some("no network interface of this machine has this address: `ip address` lists those there are".to_owned())
        }
        ErrorKind::PermissionDenied => Some(
            "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= of the systemd unit); or choose one above"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_bound_is_named_with_its_key_and_what_to_do() {
        let address = SocketAddr::from(([10, 0, 0, 5], 5060));
        let said = |kind: ErrorKind, transport| explained("sip.listen", address, transport, &kind.into()).to_string();
        let taken = said(ErrorKind::AddrInUse, Transport::Udp);
        assert!(taken.starts_with("sip.listen: 10.0.0.5:5060 cannot be opened: "), "{taken}");
        assert!(taken.contains("ss -lnup 'sport = :5060'"), "{taken}");
        assert!(said(ErrorKind::AddrInUse, Transport::Tcp).contains("ss -lntp"));
        assert!(said(ErrorKind::AddrNotAvailable, Transport::Udp).contains("ip address"));
        assert!(said(ErrorKind::PermissionDenied, Transport::Tcp).contains("CAP_NET_BIND_SERVICE"));
        assert!(!said(ErrorKind::OutOfMemory, Transport::Tcp).contains("->"));
    }
}
