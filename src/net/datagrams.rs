//! Several datagrams with one system call, each with the time of its arrival as the kernel saw it.
//!
//! The standard library and the crates in use read one datagram a call and tell no time. That is all that is done here:
//! `recvmmsg(2)` and `SO_TIMESTAMPNS` of `socket(7)`.
#![allow(unsafe_code)] // two system calls without a safe binding; the reasons stand beside them

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant, SystemTime};

/// Datagrams read at once.
pub const AT_ONCE: usize = 8;
/// Bytes of one; a longer one is cut off. 200 ms of 16 kHz linear PCM are 6412.
const LENGTH: usize = 8 * 1024;
/// A stamp that is further from a read than this was made by a clock that has been set since.
const PLAUSIBLE: Duration = Duration::from_millis(150);

/// Room for what is read.
pub struct Datagrams {
    octets: Box<[[u8; LENGTH]; AT_ONCE]>,
    from: [libc::sockaddr_in6; AT_ONCE],
    control: [Control; AT_ONCE],
    headers: [libc::mmsghdr; AT_ONCE],
}

/// One control message with a `timespec`, aligned as `cmsghdr` wants it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    header: libc::cmsghdr,
    stamp: libc::timespec,
}

/// One datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Its source.
    pub from: SocketAddr,
    /// What is in it.
    pub octets: &'a [u8],
    /// When it arrived, since 1970.
    pub arrived: Option<Duration>,
}

/// Asks the kernel for a stamp with every datagram.
///
/// # Errors
/// The system's.
pub fn stamp(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open; the value is an int that lives across the call, and the length is its size.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Default for Datagrams {
    fn default() -> Self {
        // SAFETY: all-zero is a value of each: numbers, and pointers that are set before the kernel sees them.
        let (from, control, headers) = unsafe { mem::zeroed() };
        Self { octets: Box::new([[0; LENGTH]; AT_ONCE]), from, control, headers }
    }
}

impl Datagrams {
    /// Reads at most `most` datagrams of those that wait, at most [`AT_ONCE`]; how many there were.
    ///
    /// # Errors
    /// `WouldBlock` where none waits; an ICMP error of an earlier send; others of the system.
    pub fn read(&mut self, socket: &UdpSocket, most: usize) -> io::Result<usize> {
        let most = most.min(AT_ONCE);
        let mut parts = [libc::iovec { iov_base: ptr::null_mut(), iov_len: LENGTH }; AT_ONCE];
        for (index, part) in parts.iter_mut().enumerate().take(most) {
            part.iov_base = self.octets[index].as_mut_ptr().cast();
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.from[index]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.control[index]).cast();
            header.msg_controllen = mem::size_of::<Control>() as _;
        }
        // SAFETY: each of the `most` headers points at a name, one part and a control message of the lengths it says, all of
        // which live and are nobody else's until the call returns. A null time-out waits for nothing on a non-blocking socket.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                most as libc::c_uint,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// A datagram of those last read; `None` where its source is no IP address.
    pub fn datagram(&self, index: usize) -> Option<Datagram<'_>> {
        let (header, control) = (&self.headers[index], &self.control[index]);
        let stamped = header.msg_hdr.msg_controllen >= mem::size_of::<libc::cmsghdr>()
            && control.header.cmsg_level == libc::SOL_SOCKET
            && control.header.cmsg_type == libc::SO_TIMESTAMPNS;
        let part = |seconds: libc::time_t| u64::try_from(seconds).unwrap_or(0);
        let arrived = stamped.then(|| {
            Duration::from_secs(part(control.stamp.tv_sec)) + Duration::from_nanos(part(control.stamp.tv_nsec))
        });
        let length = (header.msg_len as usize).min(LENGTH);
        Some(Datagram { from: address(&self.from[index])?, octets: &self.octets[index][..length], arrived })
    }
}

/// The address that the kernel wrote.
fn address(from: &libc::sockaddr_in6) -> Option<SocketAddr> {
    let port = u16::from_be(from.sin6_port);
    match libc::c_int::from(from.sin6_family) {
        // `sockaddr_in` has its four octets where `sockaddr_in6` has the flow.
        libc::AF_INET => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(from.sin6_flowinfo.to_ne_bytes())), port)),
        libc::AF_INET6 => Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(from.sin6_addr.s6_addr)), port)),
        _ => None,
    }
}

/// Puts stamps, which count from 1970, on the clock that is never set.
#[derive(Debug)]
pub struct ArrivalClock {
    now: Instant,
    /// The time of day at `now`, and what it would be had the clock not been set before.
    times_of_day: [Duration; 2],
    /// How long ago the last one before `now` was.
    since_last: Duration,
}

impl Default for ArrivalClock {
    fn default() -> Self {
        Self::new(Instant::now(), SystemTime::now())
    }
}

impl ArrivalClock {
    /// Looks at both clocks; to be called before each round of reading. Nothing is paced by the one that can be set: it only
    /// says how long ago a stamp was made (OPS-024).
    pub fn look(&mut self) {
        self.set(Instant::now(), SystemTime::now());
    }

    fn new(now: Instant, time_of_day: SystemTime) -> Self {
        let time_of_day = since_1970(time_of_day);
        Self { now, times_of_day: [time_of_day; 2], since_last: Duration::ZERO }
    }

    /// See [`Self::look`].
    fn set(&mut self, now: Instant, time_of_day: SystemTime) {
        self.since_last = now.saturating_duration_since(self.now);
        let (time_of_day, expected) = (since_1970(time_of_day), self.times_of_day[0] + self.since_last);
        // As long as nobody sets the clock the two are the same.
        let kept = if time_of_day.abs_diff(expected) < PLAUSIBLE / 10 { time_of_day } else { expected };
        (self.now, self.times_of_day) = (now, [time_of_day, kept]);
    }

    /// When a datagram arrived; `now` where that cannot be told.
    #[must_use]
    pub fn instant(&self, stamp: Option<Duration>) -> Instant {
        let Some(stamp) = stamp else { return self.now };
        let oldest = PLAUSIBLE + self.since_last;
        let place = |time_of_day: Duration| match time_of_day.checked_sub(stamp) {
            Some(ago) if ago <= oldest => self.now.checked_sub(ago),
            Some(_) => None,
            None => Some(self.now + (stamp - time_of_day)).filter(|at| *at <= self.now + PLAUSIBLE),
        };
        self.times_of_day.into_iter().find_map(place).unwrap_or(self.now)
    }
}

fn since_1970(time_of_day: SystemTime) -> Duration {
    time_of_day.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(address: &str) -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind((address, 0)).expect("a free port");
        let (from, to) = (bind(), bind());
        stamp(&to).expect("stamps");
        to.set_nonblocking(true).expect("not blocking");
        (from, to)
    }

    fn read(datagrams: &mut Datagrams, socket: &UdpSocket, most: usize) -> usize {
        datagrams.read(socket, most).unwrap_or_else(|error| {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            0
        })
    }

    #[test]
    fn datagrams_come_with_source_and_arrival_in_their_order() {
        for host in ["127.0.0.1", "::1"] {
            let (from, to) = pair(host);
            let mut datagrams = Datagrams::default();
            let before = since_1970(SystemTime::now());
            for number in 0..11_u8 {
                from.send_to(&vec![number; usize::from(number) * 100], to.local_addr().expect("bound")).expect("sent");
            }
            let mut seen = Vec::new();
            // Each read sets its headers anew: a short address or no stamp before does not shorten the next.
            for (most, expected) in [(3, 3), (99, 8), (8, 0)] {
                assert_eq!(read(&mut datagrams, &to, most), expected, "{host}");
                for index in 0..expected {
                    let Datagram { from: source, octets, arrived } = datagrams.datagram(index).expect("an address");
                    assert_eq!(source, from.local_addr().expect("bound"));
                    let arrived = arrived.expect("a stamp");
                    assert!(arrived >= before && arrived <= since_1970(SystemTime::now()), "{arrived:?}");
                    seen.push((octets.len(), arrived));
                }
            }
            assert_eq!(
                seen.iter().map(|(length, _)| *length).collect::<Vec<_>>(),
                (0..11).map(|n| n * 100).collect::<Vec<_>>()
            );
            assert!(seen.is_sorted_by_key(|(_, arrived)| *arrived), "{seen:?}");
        }
    }

    #[test]
    fn without_stamps_a_datagram_has_no_arrival_and_a_long_one_is_cut_off() {
        let (from, to) =
            (UdpSocket::bind("127.0.0.1:0").expect("a port"), UdpSocket::bind("127.0.0.1:0").expect("a port"));
        from.send_to(&[7; 9000], to.local_addr().expect("bound")).expect("sent");
        let mut datagrams = Datagrams::default();
        assert_eq!(read(&mut datagrams, &to, 1), 1);
        let datagram = datagrams.datagram(0).expect("an address");
        assert_eq!((datagram.arrived, datagram.octets), (None, &[7; LENGTH][..]));
    }

    #[test]
    fn ops_024_stamps_are_told_on_the_clock_that_is_never_set() {
        let (start, day) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let ms = Duration::from_millis;
        let mut clock = ArrivalClock::new(start, day);
        let stamp = |after: Duration| Some(since_1970(day + after));
        clock.set(start + ms(100), day + ms(100));
        assert_eq!(clock.instant(stamp(ms(37))), start + ms(37));
        assert_eq!(clock.instant(stamp(ms(101))), start + ms(101), "it came while others were read");
        assert_eq!(clock.instant(None), start + ms(100));
        // Slewed by 500 ppm.
        clock.set(start + ms(105), day + ms(105) + Duration::from_micros(3));
        assert_eq!(clock.instant(stamp(ms(105))), start + ms(105) - Duration::from_micros(3));
        clock.set(start + ms(108), day + ms(108));
        // Set back by an hour at 107 ms: stamps of both times are in the socket.
        let hour = Duration::from_secs(3600);
        clock.set(start + ms(110), day + ms(110) - hour);
        assert_eq!(clock.instant(Some(since_1970(day + ms(108) - hour))), start + ms(108));
        assert_eq!(clock.instant(stamp(ms(90))), start + ms(90));
        // Of neither.
        assert_eq!(clock.instant(stamp(hour * 7)), start + ms(110));
    }

    #[test]
    fn after_a_stall_of_the_process_stamps_of_that_time_are_believed() {
        let (start, day) = (Instant::now(), SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let mut clock = ArrivalClock::new(start, day);
        clock.set(start + Duration::from_secs(2), day + Duration::from_secs(2));
        let stamp = Some(since_1970(day + Duration::from_millis(300)));
        assert_eq!(clock.instant(stamp), start + Duration::from_millis(300));
    }
}
