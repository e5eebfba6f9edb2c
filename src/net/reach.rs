//! Whether anybody is at an address, as far as the network says so at once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long a complaint may take: it comes from the peer's host or a router close by, or not at all.
const PATIENCE: Duration = Duration::from_millis(250);

/// Sends a keepalive (RFC 5626 section 3.5.1), which no SIP server answers with a complaint; whether the network says that
/// nobody is there (ICMP unreachable, no route). A socket that serves many peers is not told; this one serves one.
pub async fn is_refused(local: IpAddr, peer: SocketAddr) -> bool {
    let asked = async {
        let socket = UdpSocket::bind((local, 0)).await?;
        socket.connect(peer).await?;
        socket.send(b"\r\n\r\n").await?;
        socket.recv(&mut [0; 64]).await
    };
    matches!(timeout(PATIENCE, asked).await, Ok(Err(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sip_055_a_port_where_nobody_listens_is_told_and_silence_is_not() {
        let local = IpAddr::from([127, 0, 0, 1]);
        let address = |socket: &UdpSocket| socket.local_addr().expect("bound");
        let closed = address(&UdpSocket::bind((local, 0)).await.expect("a port"));
        assert!(is_refused(local, closed).await);
        let open = UdpSocket::bind((local, 0)).await.expect("a port");
        assert!(!is_refused(local, address(&open)).await);
    }
}
