//! TCP sockets for SIP: options, and what finds out that the other end is gone (SIP-114).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// A silent connection is asked after this whether the other end is there, and again after each …
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// … of these, so often.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Listens on `address` with signalling DSCP.
///
/// # Errors
/// The system's.
pub fn listen(address: SocketAddr, dscp: u8) -> io::Result<TcpListener> {
    let socket = socket(address, dscp)?;
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Connects from the address that a listener has, any where it has all of them.
///
/// # Errors
/// The system's.
pub async fn connect(from: IpAddr, to: SocketAddr, dscp: u8) -> io::Result<TcpStream> {
    let socket = socket(to, dscp)?;
    if !from.is_unspecified() {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

/// Messages leave at once, and an end that is gone without a word is noticed: when nothing comes by keepalive, when
/// something is sent after `patience` without an acknowledgement.
///
/// # Errors
/// The system's.
pub fn watch(stream: &TcpStream, patience: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = stream.as_fd();
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, KEEPALIVE_AFTER)?;
    sockopt::set_tcp_keepintvl(socket, KEEPALIVE_EVERY)?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    let milliseconds = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(socket, milliseconds)?)
}

fn socket(address: SocketAddr, dscp: u8) -> io::Result<TcpSocket> {
    let class = dscp << 2;
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv4() {
        sockopt::set_ip_tos(&socket, class)?;
    } else {
        sockopt::set_ipv6_tclass(&socket, class.into())?;
    }
    Ok(socket)
}
