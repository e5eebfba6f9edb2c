//! RTP and RTCP on neighbouring ports that the system has free.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// How often a pair, or a range, is looked for.
const ATTEMPTS: usize = 200;
/// Receive buffer of an RTP socket, bytes.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// An RTP socket on an even port and an RTCP socket on the next (RFC 3550, 11), both non-blocking.
pub(super) fn pair(address: IpAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    for _ in 0..ATTEMPTS {
        let rtp = UdpSocket::bind((address, 0))?;
        let port = rtp.local_addr()?.port();
        if port % 2 != 0 || port == u16::MAX {
            continue;
        }
        let Ok(rtcp) = UdpSocket::bind((address, port + 1)) else { continue };
        socket2::SockRef::from(&rtp).set_recv_buffer_size(RECEIVE_BUFFER)?;
        rtp.set_nonblocking(true)?;
        rtcp.set_nonblocking(true)?;
        return Ok((rtp, rtcp));
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no pair of neighbouring UDP ports is free"))
}

/// The first of `count` UDP ports in a row that are free now; it is even.
///
/// # Errors
/// There is no such row, or `address` is not ours.
pub fn free_ports(address: IpAddr, count: u16) -> io::Result<u16> {
    let free = |port| UdpSocket::bind(SocketAddr::new(address, port)).is_ok();
    for _ in 0..ATTEMPTS {
        let first = UdpSocket::bind((address, 0))?.local_addr()?.port() & !1;
        if first.checked_add(count).is_some_and(|end| (first..end).all(free)) {
            return Ok(first);
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no {count} UDP ports in a row are free")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_is_on_an_even_port_and_rtcp_on_the_next() {
        let (rtp, rtcp) = pair([127, 0, 0, 1].into()).expect("free ports");
        let [rtp, rtcp] = [rtp, rtcp].map(|socket| socket.local_addr().expect("bound").port());
        assert_eq!((rtp % 2, rtcp), (0, rtp + 1));
        assert_eq!(free_ports([127, 0, 0, 1].into(), 20).expect("free ports") % 2, 0);
    }
}
