//! HEP version 3, the capture protocol of Homer and its kin: a message as a row of chunks.
//!
//! A packet is `HEP3`, its length, and chunks: vendor 0, type, length with these six octets, contents; all big-endian.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use super::ring::Entry;

/// The longest packet: its length has 16 bits, and UDP carries no more.
const MOST: usize = 65_000;
/// `IPPROTO_UDP` and `IPPROTO_TCP` in chunk 2.
const UDP: u8 = 17;
const TCP: u8 = 6;
/// Chunk 11: SIP.
const SIP: u8 = 1;

/// A SIP message as a HEP packet of agent `capture_id`; `call_id` is what the collector groups by. None where it is too
/// long for a datagram.
pub fn packet(entry: &Entry, message: &[u8], transport: &str, call_id: &str, capture_id: u32) -> Option<Vec<u8>> {
    let (from, to) = if entry.outgoing { (entry.local, entry.peer) } else { (entry.peer, entry.local) };
    let mut out = b"HEP3\0\0".to_vec();
    addresses(&mut out, from, to);
    chunk(&mut out, 2, &[if transport == "UDP" { UDP } else { TCP }]);
    chunk(&mut out, 7, &from.port().to_be_bytes());
    chunk(&mut out, 8, &to.port().to_be_bytes());
    let at = entry.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    chunk(&mut out, 9, &u32::try_from(at.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
    chunk(&mut out, 10, &at.subsec_micros().to_be_bytes());
    chunk(&mut out, 11, &[SIP]);
    chunk(&mut out, 12, &capture_id.to_be_bytes());
    chunk(&mut out, 15, message);
    if !call_id.is_empty() {
        chunk(&mut out, 17, call_id.as_bytes());
    }
    let length = u16::try_from(out.len()).ok().filter(|_| out.len() <= MOST)?;
    out[4..6].copy_from_slice(&length.to_be_bytes());
    Some(out)
}

/// Family 2 and chunks 3 and 4, or family 10 and chunks 5 and 6.
fn addresses(out: &mut Vec<u8>, from: SocketAddr, to: SocketAddr) {
    match (from.ip().to_canonical(), to.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            chunk(out, 1, &[2]);
            chunk(out, 3, &from.octets());
            chunk(out, 4, &to.octets());
        }
        (from, to) => {
            let octets = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            chunk(out, 1, &[10]);
            chunk(out, 5, &octets(from));
            chunk(out, 6, &octets(to));
        }
    }
}

fn chunk(out: &mut Vec<u8>, kind: u16, contents: &[u8]) {
    let length = u16::try_from(6 + contents.len()).unwrap_or(u16::MAX);
    out.extend([0, 0]);
    out.extend(kind.to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend_from_slice(contents);
}

#[cfg(test)]
mod tests {
    use super::super::ring::tests::sip;
    use super::*;

    /// The chunks of a packet by type.
    fn chunks(packet: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut rest = &packet[6..];
        let mut chunks = Vec::new();
        while rest.len() >= 6 {
            let length = usize::from(u16::from_be_bytes([rest[4], rest[5]]));
            chunks.push((u16::from_be_bytes([rest[2], rest[3]]), rest[6..length].to_vec()));
            rest = &rest[length..];
        }
        chunks
    }

    #[test]
    fn ops_026_a_hep_packet_has_its_length_and_the_chunks_of_its_message() {
        let mut entry = sip("OPTIONS sip:h SIP/2.0\r\n\r\n");
        entry.at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        let packet = packet(&entry, &entry.bytes, "UDP", "c1", 2001).expect("it is short");
        assert_eq!(&packet[..4], b"HEP3");
        assert_eq!(usize::from(u16::from_be_bytes([packet[4], packet[5]])), packet.len());
        let found = chunks(&packet);
        let of = |kind: u16| found.iter().find(|(found, _)| *found == kind).map(|(_, contents)| contents.as_slice());
        assert_eq!((of(1), of(2), of(11)), (Some(&[2][..]), Some(&[17][..]), Some(&[1][..])));
        assert_eq!((of(3), of(4)), (Some(&[192, 0, 2, 10][..]), Some(&[203, 0, 113, 10][..])));
        assert_eq!((of(7), of(8)), (Some(&5062u16.to_be_bytes()[..]), Some(&5060u16.to_be_bytes()[..])));
        assert_eq!(of(9), Some(&1_700_000_000u32.to_be_bytes()[..]));
        assert_eq!(of(10), Some(&123_456u32.to_be_bytes()[..]));
        assert_eq!((of(12), of(15), of(17)), (Some(&2001u32.to_be_bytes()[..]), Some(&*entry.bytes), Some(&b"c1"[..])));
    }

    #[test]
    fn ipv6_has_chunks_of_its_own_and_what_is_too_long_is_not_sent() {
        let mut entry = sip("x");
        entry.peer = "[2001:db8::1]:5060".parse().expect("an address");
        (entry.local, entry.outgoing) = ("[2001:db8::2]:5060".parse().expect("an address"), true);
        let sent = packet(&entry, &entry.bytes, "TLS", "", 1).expect("it is short");
        let kinds: Vec<u16> = chunks(&sent).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [1, 5, 6, 2, 7, 8, 9, 10, 11, 12, 15]);
        assert_eq!(packet(&entry, &vec![0; 65_000], "UDP", "", 1), None);
    }
}
