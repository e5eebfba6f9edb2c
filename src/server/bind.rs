//! Binds the SIP listeners; says what to do when an address cannot be bound.

use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

use crate::config;
use crate::net::sip_stream::{SipStreams, StreamEvent};
use crate::net::sip_tls::SipTls;
use crate::net::sip_udp;
use crate::sip::ListenerId;

/// Where SIP is taken.
pub struct SipSockets {
    /// Where each listener is bound, in the listeners' order.
    pub addresses: Vec<SocketAddr>,
    /// UDP.
    pub sockets: HashMap<ListenerId, Arc<UdpSocket>>,
    /// TCP and TLS.
    pub streams: (SipStreams, mpsc::Receiver<StreamEvent>),
    /// The certificates of TLS.
    pub tls: Option<Arc<SipTls>>,
}

/// Binds every SIP listener.
///
/// # Errors
/// An address that cannot be bound, a certificate that cannot be read, by name.
pub fn sip(config: &config::Sip) -> anyhow::Result<SipSockets> {
    let tls = config.tls.as_ref().map(SipTls::new).transpose().context("SIP over TLS")?.map(Arc::new);
    let mut streams = SipStreams::new(config.streams, config.dscp, tls.clone());
    let (mut addresses, mut sockets) = (Vec::new(), HashMap::new());
    for (index, listener) in config.listeners.iter().enumerate() {
        let (id, address) = (ListenerId(index), listener.bind);
        let bound = if listener.transport.is_reliable() {
            streams.0.listen(id, *listener).map_err(|error| explained("sip.listen", address, Transport::Tcp, &error))?
        } else {
            let socket = sip_udp::bind(address, config.dscp)
                .map_err(|error| explained("sip.listen", address, Transport::Udp, &error))?;
            let socket = Arc::new(UdpSocket::from_std(socket)?);
            let bound = socket.local_addr()?;
            sockets.insert(id, socket);
            bound
        };
        addresses.push(bound);
    }
    Ok(SipSockets { addresses, sockets, streams, tls })
}

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
