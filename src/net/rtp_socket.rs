//! RTP ports: pairs picked at random, even for RTP and odd for RTCP, resting after use (RTP-016).

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::net::{SendFlags, sendto};

use crate::base::metric;
use crate::base::random::Random;
use crate::net::datagrams::{self, Datagram, Datagrams};

/// A flood on one port stays that call's trouble: this many datagrams are read for each packet of a call that is expected.
pub const DATAGRAMS_AT_ONCE: usize = 64;
/// Receive buffer asked for a call's RTP. Bytes.
pub const RECEIVE_BUFFER: usize = 256 * 1024;

/// The node's RTP ports.
#[derive(Debug)]
pub struct RtpPorts {
    address: IpAddr,
    dscp: u8,
    quarantine: Duration,
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    free: Vec<u16>,
    resting: VecDeque<(Instant, u16)>,
    in_use: usize,
    random: Random,
}

/// A bound pair of sockets.
#[derive(Debug)]
pub struct RtpSockets {
    /// Even port.
    pub rtp: UdpSocket,
    /// The next port.
    pub rtcp: UdpSocket,
    /// Both ports; to be dropped after the sockets.
    pub lease: Lease,
}

/// A pair of ports in use; they rest when it is dropped (RTP-016).
#[derive(Debug)]
pub struct Lease {
    /// The RTP port.
    pub port: u16,
    ports: Arc<RtpPorts>,
}

impl RtpPorts {
    /// Ports `first` (even) to `last` of `address`.
    #[must_use]
    pub fn new(address: IpAddr, range: (u16, u16), quarantine: Duration, dscp: u8, random: Random) -> Self {
        let (first, last) = range;
        let free = (first..last).step_by(2).collect();
        let pool = Pool { free, resting: VecDeque::new(), in_use: 0, random };
        Self { address, dscp, quarantine, pool: Mutex::new(pool) }
    }

    /// Binds a pair at random.
    ///
    /// # Errors
    /// `AddrInUse` when no pair of the range can be bound; other errors of the system as they are.
    pub fn open(self: &Arc<Self>) -> io::Result<RtpSockets> {
        self.open_marked(None)
    }

    /// The same with a DSCP of its own; `None` is the node's (RTP-034).
    ///
    /// # Errors
    /// As [`RtpPorts::open`].
    pub fn open_marked(self: &Arc<Self>, dscp: Option<u8>) -> io::Result<RtpSockets> {
        let dscp = dscp.unwrap_or(self.dscp);
        for _ in 0..64 {
            let Some(port) = self.take() else { break };
            match self.bind(port, dscp) {
                Ok((rtp, rtcp)) => return Ok(RtpSockets { rtp, rtcp, lease: Lease { port, ports: self.clone() } }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => self.rest(port),
                Err(error) => {
                    self.rest(port);
                    return Err(error);
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::AddrInUse, "no RTP port pair is free in media.rtp_ports"))
    }

    /// Pairs bound now.
    pub fn in_use(&self) -> usize {
        self.pool().in_use
    }

    fn bind(&self, port: u16, dscp: u8) -> io::Result<(UdpSocket, UdpSocket)> {
        let (rtp, _) = super::udp(SocketAddr::new(self.address, port), dscp, RECEIVE_BUFFER)?;
        datagrams::stamp(&rtp)?;
        let (rtcp, _) = super::udp(SocketAddr::new(self.address, port + 1), dscp, 16 * 1024)?;
        Ok((rtp, rtcp))
    }

    /// Pairs that a call could have now.
    pub fn free(&self) -> usize {
        self.rested().free.len()
    }

    /// The pool, the ports in it that have rested long enough free again.
    fn rested(&self) -> std::sync::MutexGuard<'_, Pool> {
        let mut pool = self.pool();
        let now = Instant::now();
        while let Some((since, port)) = pool.resting.front().copied()
            && now.duration_since(since) >= self.quarantine
        {
            pool.resting.pop_front();
            pool.free.push(port);
        }
        pool
    }

    fn take(&self) -> Option<u16> {
        let mut pool = self.rested();
        let count = u32::try_from(pool.free.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return None;
        }
        let position = pool.random.below(count) as usize;
        let port = pool.free.swap_remove(position);
        pool.in_use += 1;
        metric::RTP_PORTS_IN_USE.set(pool.in_use as f64);
        Some(port)
    }

    fn rest(&self, port: u16) {
        let mut pool = self.pool();
        pool.resting.push_back((Instant::now(), port));
        pool.in_use -= 1;
        metric::RTP_PORTS_IN_USE.set(pool.in_use as f64);
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.ports.rest(self.port);
    }
}

/// Reads a call's socket with one system call where as many packets come as are expected, as they mostly do: the look
/// whether there are more is taken only when the last one found something else, and every few times.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader {
    since_look: u8,
    odd: bool,
}

impl Reader {
    /// A sender whose clock is fast by 1 % brings one packet more in 100.
    const LOOK_EVERY: u8 = 24;

    /// Reads the `expected` packets, or everything there is where `look` asks for it. `take` says whether a datagram was the
    /// call's own: what strangers send is read away beside it, so that they cannot keep the caller waiting.
    pub fn read(
        &mut self,
        socket: &UdpSocket,
        datagrams: &mut Datagrams,
        (expected, look): (usize, bool),
        mut take: impl FnMut(&Datagram<'_>) -> bool,
    ) {
        self.since_look += 1;
        let look = look || self.odd || self.since_look >= Self::LOOK_EVERY;
        let most = DATAGRAMS_AT_ONCE * expected;
        let found = read(socket, datagrams, (if look { most } else { expected }, most), &mut take);
        self.odd = found != expected;
        if look {
            self.since_look = 0;
        }
    }
}

/// Sends one datagram: the system call itself, without the C library's cancellation points, as reading does.
///
/// # Errors
/// The system's.
pub fn send(socket: &UdpSocket, packet: &[u8], to: SocketAddr) -> io::Result<()> {
    sendto(socket, packet, SendFlags::empty(), &to)?;
    Ok(())
}

/// Reads until `wanted` datagrams were the call's own, `most` were read, or no more are there; how many were its own.
fn read(
    socket: &UdpSocket,
    datagrams: &mut Datagrams,
    (wanted, most): (usize, usize),
    take: &mut impl FnMut(&Datagram<'_>) -> bool,
) -> usize {
    let (mut found, mut seen) = (0, 0);
    while found < wanted && seen < most {
        let asked = (wanted - found).min(most - seen).min(datagrams::AT_ONCE);
        match datagrams.read(socket, asked) {
            Ok(count) => {
                seen += count;
                found += (0..count).filter(|index| datagrams.datagram(*index).is_some_and(|one| take(&one))).count();
                if count < asked {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // An ICMP error of an earlier send: the next read brings the next datagram.
            Err(_) => seen += 1,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(quarantine: Duration) -> Arc<RtpPorts> {
        let range = (41_200, 41_207);
        Arc::new(RtpPorts::new([127, 0, 0, 1].into(), range, quarantine, 46, Random::from_number(1)))
    }

    #[test]
    fn rtp_016_pairs_are_even_and_odd_and_rest_after_use() {
        let ports = ports(Duration::from_secs(10));
        let pairs: Vec<_> = (0..4).map(|_| ports.open().expect("a free pair")).collect();
        for pair in &pairs {
            assert_eq!(pair.lease.port % 2, 0);
            assert_eq!(pair.rtp.local_addr().expect("bound").port(), pair.lease.port);
            assert_eq!(pair.rtcp.local_addr().expect("bound").port(), pair.lease.port + 1);
        }
        assert_eq!(ports.open().expect_err("all taken").kind(), io::ErrorKind::AddrInUse);
        drop(pairs);
        assert_eq!(ports.in_use(), 0);
        assert_eq!(ports.open().expect_err("all resting").kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn rtp_034_a_trunk_may_mark_its_media_otherwise_than_the_node() {
        let mark = |socket: &UdpSocket| socket2::SockRef::from(socket).tos_v4().expect("readable") >> 2;
        let ports = Arc::new(RtpPorts::new(
            [127, 0, 0, 1].into(),
            (41_210, 41_217),
            Duration::from_secs(10),
            46,
            Random::from_number(1),
        ));
        let (usual, own) = (ports.open().expect("a pair"), ports.open_marked(Some(34)).expect("a pair"));
        assert_eq!([mark(&usual.rtp), mark(&usual.rtcp), mark(&own.rtp), mark(&own.rtcp)], [46, 46, 34, 34]);
    }

    #[test]
    fn a_rested_pair_is_used_again() {
        let ports = ports(Duration::ZERO);
        for _ in 0..9 {
            drop(ports.open().expect("a free pair"));
        }
    }

    #[test]
    fn rtp_016_late_packets_of_strangers_are_read_away_beside_the_calls_own() {
        let ports = ports(Duration::ZERO);
        let (caller, stranger) = (ports.open().expect("a free pair"), ports.open().expect("a free pair"));
        let to = ports.open().expect("a free pair");
        let target = to.rtp.local_addr().expect("bound");
        let (mut reader, mut datagrams, mut own) = (Reader::default(), Datagrams::default(), 0);
        for round in 1..=100 {
            (0..5).for_each(|_| super::send(&stranger.rtp, b"flood", target).expect("sent"));
            super::send(&caller.rtp, b"voice", target).expect("sent");
            reader.read(&to.rtp, &mut datagrams, (1, false), |datagram| {
                own += usize::from(datagram.octets == b"voice");
                datagram.octets == b"voice"
            });
            assert_eq!(own, round, "the caller's packet is not kept waiting");
        }
    }

    #[test]
    fn a_reader_takes_as_many_packets_as_are_expected_and_all_when_it_is_behind() {
        let ports = ports(Duration::ZERO);
        let (from, to) = (ports.open().expect("a free pair"), ports.open().expect("a free pair"));
        let target = to.rtp.local_addr().expect("bound");
        let send = |count: usize| (0..count).for_each(|_| super::send(&from.rtp, b"packet", target).expect("sent"));
        let (mut reader, mut datagrams) = (Reader::default(), Datagrams::default());
        let mut read = |expected, look| {
            let mut found = 0;
            reader.read(&to.rtp, &mut datagrams, (expected, look), |_| {
                found += 1;
                true
            });
            found
        };
        send(1);
        assert_eq!(read(1, false), 1);
        assert_eq!(read(1, false), 0, "nothing came");
        send(2);
        assert_eq!(read(1, false), 2, "after a packet was late, everything is read");
        send(3);
        assert_eq!(read(1, true), 3);
        assert_eq!(read(1, false), 0);
        send(5);
        assert_eq!(read(5, false), 5);
        send(7);
        assert_eq!([read(5, false), read(5, false)], [5, 2], "a packet that is left over is read the next time");
        assert_eq!(read(1, false), 0);
        send(20);
        assert_eq!((0..Reader::LOOK_EVERY).map(|_| read(1, false)).sum::<usize>(), 20, "a backlog does not last");
        send(70);
        assert_eq!([read(1, true), read(1, true)], [DATAGRAMS_AT_ONCE, 6], "a flood stays this call's trouble");
    }
}
