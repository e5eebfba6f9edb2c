//! SRTP and SRTCP with the keys of offer and answer (RFC 3711). The home of `webrtc-srtp`.
//!
//! The crate reads packets before it authenticates them, remembers every SSRC it meets, and takes SRTCP that says of
//! itself that it is not encrypted. So what comes from the network is looked at here first: the header as far as the
//! payload, the lengths, the E bit; and each SSRC has a context of its own, kept once a packet of it was authentic.
//! It takes no buffer to write to: each packet, in or out, costs five allocations in it (`tests/allocation.rs` counts).

use webrtc_srtp::Error as CrateError;
use webrtc_srtp::context::Context;
use webrtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::base::srtp::{MasterKey, SrtpKeys, SrtpSuite};

/// Packets that may come this much behind the newest (RFC 3711, 3.3.2: at least 64).
const REPLAY_WINDOW: usize = 128;
/// SSRCs of a peer that are remembered.
const STREAMS: usize = 16;
/// Octets of a fixed RTP header.
const RTP_HEADER_LEN: usize = 12;
/// Octets of an SRTCP packet that carries nothing: header with SSRC, E and index, tag.
const SRTCP_MIN_LEN: usize = 8 + 4 + 10;

/// Why a packet was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unprotected {
    /// Not RTP or RTCP, or too short to be protected.
    #[error("the peer's packet is no SRTP")]
    Malformed,
    /// Its tag is not that of the peer's key.
    #[error("the peer's packet is not authentic")]
    NotAuthentic,
    /// It came before, or is older than the window.
    #[error("the peer's packet is a replay")]
    Replay,
}

/// Protection of one call's media: our key one way, the peer's the other.
pub struct Srtp {
    keys: SrtpKeys,
    sending: Context,
    receiving: Receiving,
    /// The peer's key before a re-INVITE: its packets are still on their way (RFC 4568, 7.1.4).
    previous: Option<Receiving>,
}

impl Srtp {
    /// Protection with `keys`, from the beginning: no packet was sent or received with them.
    #[must_use]
    pub fn new(keys: &SrtpKeys) -> Self {
        let receiving = Receiving::new(keys.suite, &keys.receive);
        Self { keys: keys.clone(), sending: context(keys.suite, &keys.send), receiving, previous: None }
    }

    /// Offer and answer agreed on `keys` anew. A key that stays goes on where it is: its packets are counted on
    /// (RFC 3711, 3.3.1), so nothing is ever encrypted twice alike.
    pub fn rekey(&mut self, keys: &SrtpKeys) {
        if (keys.suite, &keys.send) != (self.keys.suite, &self.keys.send) {
            self.sending = context(keys.suite, &keys.send);
        }
        if (keys.suite, &keys.receive) != (self.keys.suite, &self.keys.receive) {
            let receiving = Receiving::new(keys.suite, &keys.receive);
            self.previous = Some(std::mem::replace(&mut self.receiving, receiving));
        }
        self.keys = keys.clone();
    }

    /// The suite in use.
    #[must_use]
    pub fn suite(&self) -> SrtpSuite {
        self.keys.suite
    }

    /// Encrypts the RTP packet in `packet` and adds its tag.
    pub fn protect_rtp(&mut self, packet: &mut Vec<u8>) {
        replace(packet, |plain| self.sending.encrypt_rtp(plain));
    }

    /// Encrypts the compound RTCP packet in `packet` and adds index and tag.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>) {
        replace(packet, |plain| self.sending.encrypt_rtcp(plain));
    }

    /// Authenticates and decrypts an RTP packet.
    ///
    /// # Errors
    /// [`Unprotected`]: nothing of the packet may be used, nor who sent it (RTP-014).
    pub fn unprotect_rtp(&mut self, packet: &[u8]) -> Result<impl AsRef<[u8]> + use<>, Unprotected> {
        let ssrc = rtp_ssrc(packet).ok_or(Unprotected::Malformed)?;
        self.unprotect(|peer| peer.rtp.open(ssrc, |context| context.decrypt_rtp(packet)))
    }

    /// Authenticates and decrypts a compound RTCP packet.
    ///
    /// # Errors
    /// [`Unprotected`]: nothing of the packet may be used.
    pub fn unprotect_rtcp(&mut self, packet: &[u8]) -> Result<impl AsRef<[u8]> + use<>, Unprotected> {
        let ssrc = rtcp_ssrc(packet)?;
        self.unprotect(|peer| peer.rtcp.open(ssrc, |context| context.decrypt_rtcp(packet)))
    }

    fn unprotect<T>(&mut self, open: impl Fn(&mut Receiving) -> Result<T, Unprotected>) -> Result<T, Unprotected> {
        let opened = open(&mut self.receiving);
        match (&opened, &mut self.previous) {
            (Err(Unprotected::NotAuthentic), Some(previous)) => open(previous),
            (Ok(_), previous) => {
                *previous = None;
                opened
            }
            (Err(_), _) => opened,
        }
    }
}

impl std::fmt::Debug for Srtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Srtp({})", self.keys.suite.name())
    }
}

/// What comes under one key of the peer.
struct Receiving {
    rtp: Streams,
    rtcp: Streams,
}

impl Receiving {
    fn new(suite: SrtpSuite, key: &MasterKey) -> Self {
        let streams = || Streams { suite, key: key.clone(), known: Vec::new() };
        Self { rtp: streams(), rtcp: streams() }
    }
}

/// The SSRCs of which a packet was authentic, the latest last.
struct Streams {
    suite: SrtpSuite,
    key: MasterKey,
    known: Vec<(u32, Context)>,
}

impl Streams {
    /// Lets `decrypt` try with the context of `ssrc`. One that was made for a packet that is not authentic is forgotten
    /// with it: strangers can neither fill the memory nor move a replay window.
    fn open<T>(
        &mut self,
        ssrc: u32,
        decrypt: impl FnOnce(&mut Context) -> Result<T, CrateError>,
    ) -> Result<T, Unprotected> {
        if let Some(place) = self.known.iter().rposition(|(known, _)| *known == ssrc) {
            let plain = decrypt(&mut self.known[place].1).map_err(|error| reason(&error))?;
            self.known[place..].rotate_left(1);
            return Ok(plain);
        }
        let mut context = context(self.suite, &self.key);
        let plain = decrypt(&mut context).map_err(|error| reason(&error))?;
        if self.known.len() == STREAMS {
            self.known.remove(0);
        }
        self.known.push((ssrc, context));
        Ok(plain)
    }
}

fn context(suite: SrtpSuite, key: &MasterKey) -> Context {
    let profile = match suite {
        SrtpSuite::HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        SrtpSuite::HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
    };
    let (key, salt) = key.key_and_salt();
    let (rtp, rtcp) = (srtp_replay_protection(REPLAY_WINDOW), srtcp_replay_protection(REPLAY_WINDOW));
    Context::new(key, salt, profile, Some(rtp), Some(rtcp)).expect("both suites take 16 octets of key and 14 of salt")
}

fn reason(error: &CrateError) -> Unprotected {
    match error {
        CrateError::SrtpSsrcDuplicated(..) | CrateError::SrtcpSsrcDuplicated(..) => Unprotected::Replay,
        CrateError::RtpFailedToVerifyAuthTag | CrateError::RtcpFailedToVerifyAuthTag => Unprotected::NotAuthentic,
        _ => Unprotected::Malformed,
    }
}

/// Puts what `protect` makes of a packet in its place. What cannot be protected is not sent: the packet is emptied.
fn replace<T: AsRef<[u8]>>(packet: &mut Vec<u8>, protect: impl FnOnce(&[u8]) -> Result<T, CrateError>) {
    let protected = protect(packet);
    packet.clear();
    if let Ok(protected) = protected {
        packet.extend_from_slice(protected.as_ref());
    }
}

/// The SSRC of an RTP packet whose header ends within it, where the crate ends it too.
fn rtp_ssrc(packet: &[u8]) -> Option<u32> {
    let first = *packet.first().filter(|first| **first >> 6 == 2)?;
    let csrcs = 4 * usize::from(first & 0x0F);
    let after = packet.get(RTP_HEADER_LEN + csrcs..)?;
    if first & 0x10 != 0 {
        let profile = u16::from_be_bytes([*after.first()?, *after.get(1)?]);
        let length = 4 * usize::from(u16::from_be_bytes([*after.get(2)?, *after.get(3)?]));
        let elements = after.get(4..4 + length)?;
        match profile {
            0xBEDE => walk(elements, |rest| (rest[0] >> 4 != 15).then_some(2 + usize::from(rest[0] & 0x0F)))?,
            0x1000 => walk(elements, |rest| Some(2 + usize::from(*rest.get(1)?)))?,
            _ => {}
        }
    }
    Some(u32::from_be_bytes(packet[8..12].try_into().ok()?))
}

/// Goes through the elements of a header extension (RFC 8285): octets of 0 are padding, `length` tells how long one is.
fn walk(elements: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Option<()> {
    let mut rest = elements;
    while let Some(first) = rest.first() {
        let step = if *first == 0 { 1 } else { length(rest)? };
        rest = rest.get(step..)?;
    }
    Some(())
}

/// The SSRC of an SRTCP packet that is encrypted and long enough.
fn rtcp_ssrc(packet: &[u8]) -> Result<u32, Unprotected> {
    if packet.len() < SRTCP_MIN_LEN || packet[0] >> 6 != 2 {
        return Err(Unprotected::Malformed);
    }
    // UNENCRYPTED_SRTCP is never agreed on, so E is set; the crate would take the packet without looking at its tag.
    if packet[packet.len() - 14] & 0x80 == 0 {
        return Err(Unprotected::NotAuthentic);
    }
    Ok(u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]))
}

#[cfg(test)]
#[path = "srtp_tests.rs"]
mod tests;
