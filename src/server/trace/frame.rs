//! Ethernet, IP and UDP around a packet, as if it had been captured: what a dissector needs to see.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Of our side and of the other: locally administered addresses.
const MAC_OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MAC_THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 2];
const UDP: u8 = 17;
const HOPS: u8 = 64;
/// What a UDP datagram over IPv4 holds at most; what is longer is cut there.
pub const MOST: usize = 65_507;

/// The frame of `payload` between our `local` and the `peer`.
pub fn udp(local: SocketAddr, peer: SocketAddr, outgoing: bool, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(MOST)];
    let (local, peer) = one_family(local, peer);
    let (from, to) = if outgoing { (local, peer) } else { (peer, local) };
    let (ours, theirs) = if outgoing { (MAC_OURS, MAC_THEIRS) } else { (MAC_THEIRS, MAC_OURS) };
    let mut frame = [theirs, ours].concat();
    let datagram = datagram(from, to, payload);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            frame.extend([0x08, 0x00]);
            frame.extend(ipv4(from, to, datagram.len()));
        }
        (from, to) => {
            frame.extend([0x86, 0xDD]);
            frame.extend(ipv6(v6(from), v6(to), datagram.len()));
        }
    }
    frame.extend(datagram);
    frame
}

/// Both of the same IP version: an unspecified address of ours takes that of the peer.
fn one_family(local: SocketAddr, peer: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (local, peer) = (plain(local), plain(peer));
    if local.is_ipv4() == peer.is_ipv4() || !local.ip().is_unspecified() {
        return (local, peer);
    }
    let any = if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    (SocketAddr::new(any, local.port()), peer)
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The UDP header, its checksum over the pseudo header (RFC 768; RFC 8200 section 8.1), and the payload.
fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut datagram = Vec::with_capacity(8 + payload.len());
    for half in [from.port(), to.port(), length, 0] {
        datagram.extend(half.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    let mut pseudo = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => [from.octets(), to.octets()].concat(),
        (from, to) => [v6(from).octets(), v6(to).octets()].concat(),
    };
    pseudo.extend([0, UDP]);
    pseudo.extend(length.to_be_bytes());
    // A sum of nought is written as its complement: 0 means that there is none.
    let sum = match checksum(sum(&pseudo) + sum(&datagram)) {
        0 => u16::MAX,
        sum => sum,
    };
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    datagram
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, length: usize) -> Vec<u8> {
    let total = u16::try_from(20 + length).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = vec![0x45, 0, total[0], total[1], 0, 0, 0x40, 0, HOPS, UDP, 0, 0];
    header.extend(from.octets());
    header.extend(to.octets());
    let sum = checksum(sum(&header));
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, length[0], length[1], UDP, HOPS];
    header.extend(from.octets());
    header.extend(to.octets());
    header
}

/// The sum of 16-bit words (RFC 1071), not folded yet.
fn sum(octets: &[u8]) -> u32 {
    let word = |pair: &[u8]| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    octets.chunks(2).map(word).sum()
}

fn checksum(mut sum: u32) -> u16 {
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_frame_has_the_addresses_lengths_and_checksums_of_its_packet() {
        let frame = udp(address("203.0.113.10:5060"), address("192.0.2.1:5062"), false, b"hi!");
        assert_eq!(frame.len(), 14 + 20 + 8 + 3);
        assert_eq!((&frame[12..14], frame[14], frame[23]), (&[8, 0][..], 0x45, UDP));
        assert_eq!(frame[26..34], [192, 0, 2, 1, 203, 0, 113, 10]);
        assert_eq!(frame[34..40], [0x13, 0xC6, 0x13, 0xC4, 0, 11]);
        assert_eq!(checksum(sum(&frame[14..34])), 0, "RFC 1071: the sum over a header with its checksum is nought");
        let pseudo = [&frame[26..34], &[0, UDP, 0, 11]].concat();
        assert_eq!(checksum(sum(&pseudo) + sum(&frame[34..])), 0);
    }

    #[test]
    fn ipv6_and_mapped_addresses_and_an_unspecified_one_of_ours_make_a_frame_of_one_family() {
        let frame = udp(address("[::]:5060"), address("[2001:db8::1]:5062"), true, b"");
        assert_eq!((&frame[12..14], frame[14], frame[20], frame.len()), (&[0x86, 0xDD][..], 0x60, UDP, 62));
        let pseudo = [&frame[22..54], &[0, UDP, 0, 8]].concat();
        assert_eq!(checksum(sum(&pseudo) + sum(&frame[54..])), 0);
        let mapped = udp(address("[::]:5060"), address("[::ffff:192.0.2.1]:5062"), true, b"");
        assert_eq!((&mapped[12..14], &mapped[26..34]), (&[8, 0][..], &[0, 0, 0, 0, 192, 0, 2, 1][..]));
    }

    #[test]
    fn what_no_datagram_holds_is_cut() {
        let frame = udp(address("203.0.113.10:5061"), address("192.0.2.1:5062"), false, &vec![7; 70_000]);
        assert_eq!(frame.len(), 14 + 20 + 8 + MOST);
        assert_eq!(frame[16..18], 65_535u16.to_be_bytes());
    }
}
