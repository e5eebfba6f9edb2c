//! Copies of the packets of a call that is traced, as they are without encryption (OPS-026).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::MediaSession;
use crate::media::rtp::packet::{Datagram, HEADER_LEN};

/// Copies that wait to be taken; more are not made.
const WAITING: usize = 256;
/// The first payload type that has no meaning of its own (RFC 3551, section 3).
const FIRST_DYNAMIC: u8 = 96;

/// What a copied packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// RTP whose payload is the call's audio, or of a type that is known to everybody.
    Audio,
    /// RTP of another payload type: digits, or what may be digits.
    Event,
    /// RTCP.
    Rtcp,
    /// Neither: STUN, DTLS, noise.
    Other,
    /// It could not be decrypted and stands as it came.
    Encrypted,
}

/// A packet of a call, copied.
#[derive(Clone, PartialEq, Eq)]
pub struct PacketCopy {
    /// When it was read or built.
    pub at: Instant,
    /// We send it.
    pub outgoing: bool,
    /// Where it came from or goes to.
    pub peer: SocketAddr,
    /// Our side is the RTCP port, not the RTP port.
    pub rtcp_port: bool,
    /// What it is.
    pub kind: Copied,
    /// It is SRTP or SRTCP on the wire, and stands here decrypted.
    pub decrypted: bool,
    /// The packet.
    pub bytes: Vec<u8>,
}

/// Neither speech nor digits show.
impl std::fmt::Debug for PacketCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PacketCopy({:?}, {} bytes, outgoing: {})", self.kind, self.bytes.len(), self.outgoing)
    }
}

/// A packet that is to be copied, as its place in the path knows it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub at: Instant,
    pub outgoing: bool,
    pub peer: SocketAddr,
    pub rtcp_port: bool,
    pub packet: &'a [u8],
}

impl MediaSession {
    /// Begins or ends to copy packets; what waits is dropped at the end.
    pub fn set_copying(&mut self, on: bool) {
        match (on, &self.copies) {
            (true, None) => self.copies = Some(Box::default()),
            (true, Some(_)) => {}
            (false, _) => self.copies = None,
        }
    }

    /// Whether packets are copied.
    #[must_use]
    pub fn is_copying(&self) -> bool {
        self.copies.is_some()
    }

    /// The next copy.
    pub fn poll_copy(&mut self) -> Option<PacketCopy> {
        self.copies.as_mut()?.pop_front()
    }

    /// Copies a packet, where the call is traced. `encrypted`: it could not be decrypted.
    pub(super) fn copy(&mut self, seen: Seen<'_>, encrypted: bool) {
        let audio = self.format.as_ref().map(|format| format.payload_type);
        let decrypted = self.srtp.is_some() && !encrypted;
        let Some(copies) = self.copies.as_mut().filter(|copies| copies.len() < WAITING) else { return };
        let Seen { at, outgoing, peer, rtcp_port, packet } = seen;
        let kind = if encrypted { Copied::Encrypted } else { kind(packet, audio) };
        copies.push_back(PacketCopy { at, outgoing, peer, rtcp_port, kind, decrypted, bytes: packet.to_vec() });
    }
}

/// What a packet is, in a call whose audio has this payload type.
fn kind(packet: &[u8], audio: Option<u8>) -> Copied {
    match Datagram::read(packet) {
        Datagram::Rtp(rtp) if rtp.payload_type < FIRST_DYNAMIC || Some(rtp.payload_type) == audio => Copied::Audio,
        Datagram::Rtp(_) => Copied::Event,
        Datagram::Rtcp => Copied::Rtcp,
        // What looks like RTP but for its padding may be a digit all the same.
        Datagram::Malformed if packet.len() > HEADER_LEN && packet[0] >> 6 == 2 => Copied::Event,
        Datagram::Malformed | Datagram::Stun | Datagram::Dtls => Copied::Other,
    }
}

/// What is kept until it is taken.
pub(super) type Copies = VecDeque<PacketCopy>;
