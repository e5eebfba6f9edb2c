//! Sockets: SIP over UDP, TCP and TLS, RTP ports, the bot's WebSocket. Everything that touches the network or its clock.
#![allow(clippy::disallowed_methods)] // this is where sockets are opened

pub mod datagrams;
pub mod dns;
pub mod frame_boundary;
pub mod reach;
pub mod rtp_socket;
mod sip_connection;
pub mod sip_stream;
mod sip_tcp;
pub mod sip_tls;
pub mod sip_udp;
pub mod tls;
pub mod websocket;

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

/// A non-blocking UDP socket with its DSCP (0 to 63) and receive buffer; returns the buffer granted in bytes.
fn udp(address: SocketAddr, dscp: u8, receive_buffer: usize) -> io::Result<(std::net::UdpSocket, usize)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    let class = u32::from(dscp) << 2;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(class)?;
    } else {
        socket.set_tos_v4(class)?;
    }
    socket.set_recv_buffer_size(receive_buffer)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    let granted = socket.recv_buffer_size()?;
    Ok((socket.into(), granted))
}
