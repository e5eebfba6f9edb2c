//! The place of one call on its shard.

use std::net::UdpSocket;
use std::rc::Rc;
use std::time::Instant;

use crate::call::{Call, Scratch};
use crate::net::datagrams::{ArrivalClock, Datagrams};
use crate::net::rtp_socket::{Lease, Reader};
use crate::server::carrier::{Attached, Outgoing};
use crate::server::trace::Traced;

/// A call and its sockets.
pub(super) struct Slot {
    pub call: Call,
    pub rtp: UdpSocket,
    pub rtcp: Rc<tokio::net::UdpSocket>,
    pub _hears_rtcp: Attached,
    /// After the sockets: a port rests once nothing is bound to it.
    pub _lease: Lease,
    /// By number; a call has one at a time, and a second while the first one closes.
    pub streams: Vec<(u32, Outgoing)>,
    pub reader: Reader,
    pub traced: Traced,
}

impl Slot {
    pub fn stream(&mut self, number: u32) -> Option<&mut Outgoing> {
        self.streams.iter_mut().find(|(of, _)| *of == number).map(|(_, stream)| stream)
    }

    pub fn close_stream(&mut self, number: u32, code: u16) {
        if let Some(position) = self.streams.iter().position(|(of, _)| *of == number)
            && let (_, Outgoing::Open(writer)) = self.streams.swap_remove(position)
        {
            writer.close(code);
        }
    }
}

/// What a call waits for, apart from the call itself so that a tick touches only the calls that are due.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Due {
    pub send: Option<Instant>,
    pub receive: Option<Instant>,
    pub timer: Option<Instant>,
    /// Pings of its bot.
    pub pings: Option<Instant>,
    pub settling: bool,
}

impl Due {
    /// The earliest; a call that settles is looked at on every tick, so `always` stands for it.
    pub fn first(&self, always: Instant) -> Option<Instant> {
        if self.settling {
            return Some(always);
        }
        [self.send, self.receive, self.timer, self.pings].into_iter().flatten().min()
    }
}

/// What every call of the shard borrows.
pub(super) struct Buffers {
    pub scratch: Scratch,
    pub datagrams: Datagrams,
    /// When what is read had arrived.
    pub arrivals: ArrivalClock,
    /// An RTCP packet.
    pub report: Vec<u8>,
    /// The calls that are due in a tick.
    pub due: Vec<usize>,
}
