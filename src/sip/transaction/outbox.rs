//! Messages on their way out.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::config::Transport;
use crate::sip::counters::Counters;
use crate::sip::event::Transmit;
use crate::sip::{ConnectionId, ListenerId, outline, wire};

/// A request of ours above this goes over UDP where the peer offers nothing else, and is counted (SIP-002). Bytes.
pub const OVERSIZE: usize = 1300;

/// Which socket, and which peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// What the socket speaks.
    pub transport: Transport,
    /// Our socket.
    pub listener: ListenerId,
    /// The peer.
    pub to: SocketAddr,
    /// The connection, while it is there; a new one goes to `to`.
    pub connection: Option<ConnectionId>,
}

/// Datagrams waiting to be sent, and what was counted on the way.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: VecDeque<Transmit>,
    pub counters: Counters,
}

impl Outbox {
    /// Queues a message for the first time.
    pub fn send(&mut self, path: Path, bytes: &[u8]) {
        outline::log("sent", path.to, bytes);
        let first = wire::first_word(bytes);
        let is_response = first.starts_with(b"SIP/");
        let label = if is_response { bytes.get(8..11).unwrap_or_default() } else { first };
        self.counters.sent(&String::from_utf8_lossy(label));
        if !is_response && bytes.len() > OVERSIZE && path.transport == Transport::Udp {
            self.counters.oversize();
        }
        self.push(path, bytes);
    }

    /// Queues a message again.
    pub fn resend(&mut self, path: Path, bytes: &[u8]) {
        outline::log("sent again", path.to, bytes);
        self.counters.retransmitted();
        self.push(path, bytes);
    }

    fn push(&mut self, Path { listener, to, connection, .. }: Path, bytes: &[u8]) {
        self.queue.push_back(Transmit { listener, to, connection, bytes: bytes.to_vec() });
    }

    /// The next datagram.
    pub fn pop(&mut self) -> Option<Transmit> {
        self.queue.pop_front()
    }
}
