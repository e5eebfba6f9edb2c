//! When an RTP packet arrived, by the kernel's time stamp: the reader may be late without spoiling the figure.
#![allow(unsafe_code)] // SO_TIMESTAMPNS has no safe binding: one setsockopt and one read of what recvmsg filled in

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use socket2::{MaybeUninitSlice, MsgHdrMut, SockRef};

const SOL_SOCKET: c_int = 1;
/// `SO_TIMESTAMPNS` and `SCM_TIMESTAMPNS`: the same number, on every architecture Rust's tier 1 has for Linux.
const SO_TIMESTAMPNS: c_int = 35;
/// `struct cmsghdr` of a 64-bit system: length, level, type; then a timespec of two 64-bit numbers.
const CONTROL: usize = 64;

unsafe extern "C" {
    fn setsockopt(socket: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
}

/// Asks for a time stamp with every datagram.
pub fn stamp(socket: &UdpSocket) -> io::Result<()> {
    let on: c_int = 1;
    // SAFETY: the descriptor is open, the value is a c_int that lives across the call, the length is its size.
    let done = unsafe { setsockopt(socket.as_raw_fd(), SOL_SOCKET, SO_TIMESTAMPNS, (&raw const on).cast(), 4) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[repr(align(8))]
struct Control([MaybeUninit<u8>; CONTROL]);

/// One datagram's length and arrival in ns since 1970; `None` when nothing is waiting.
pub fn receive(socket: &UdpSocket, packet: &mut [u8; 2048]) -> io::Result<Option<(usize, u64)>> {
    let mut control = Control([MaybeUninit::new(0); CONTROL]);
    // SAFETY: the octets are initialised and the slice is only ever written with octets.
    let buffer = unsafe { &mut *(packet.as_mut_slice() as *mut [u8] as *mut [MaybeUninit<u8>]) };
    let mut buffers = [MaybeUninitSlice::new(buffer)];
    let mut message = MsgHdrMut::new().with_buffers(&mut buffers).with_control(&mut control.0);
    let length = match SockRef::from(socket).recvmsg(&mut message, 0) {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    };
    let filled = message.control_len();
    // SAFETY: every octet was initialised above; the kernel wrote octets over some.
    let octets = control.0.map(|octet| unsafe { octet.assume_init() });
    read(&octets[..filled.min(CONTROL)])
        .map(|arrival| Some((length, arrival)))
        .ok_or_else(|| io::Error::other("the kernel gave no time stamp"))
}

/// Reads the one control message.
fn read(control: &[u8]) -> Option<u64> {
    let number = |at: usize| Some(u64::from_ne_bytes(control.get(at..at + 8)?.try_into().ok()?));
    let kind = c_int::from_ne_bytes(control.get(12..16)?.try_into().ok()?);
    (kind == SO_TIMESTAMPNS).then_some(())?;
    Some(number(16)? * 1_000_000_000 + number(24)?)
}
