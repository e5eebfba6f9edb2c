//! The sockets that take SIP over UDP (SIP-001).

use std::io;
use std::net::SocketAddr;

use tracing::warn;

/// Receive buffer asked for: a burst of INVITEs must not be lost (OPS-022). Bytes.
pub const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;

/// Binds a SIP socket with signalling DSCP.
///
/// # Errors
/// The system's.
pub fn bind(address: SocketAddr, dscp: u8) -> io::Result<std::net::UdpSocket> {
    let (socket, granted) = super::udp(address, dscp, RECEIVE_BUFFER)?;
    if granted < RECEIVE_BUFFER {
        warn!(%address, granted, wanted = RECEIVE_BUFFER, "small SIP receive buffer: raise net.core.rmem_max");
    }
    Ok(socket)
}
