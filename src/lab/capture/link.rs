//! From a frame to its UDP datagram: link layers, VLAN tags, IPv4 and IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const NULL: u32 = 0;
const ETHERNET: u32 = 1;
/// Raw IP; 12 and 14 are what some systems wrote for it.
const RAW: [u32; 5] = [101, 12, 14, 228, 229];
const LOOP: u32 = 108;
const LINUX_COOKED: u32 = 113;
const LINUX_COOKED_V2: u32 = 276;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86DD;
/// IEEE 802.1Q, 802.1ad, and the number used before that.
const VLAN: [u16; 3] = [0x8100, 0x88A8, 0x9100];
const UDP: u8 = 17;
/// Hop-by-hop options, routing, destination options (RFC 8200, 4).
const EXTENSIONS: [u8; 3] = [0, 43, 60];
const FRAGMENT: u8 = 44;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried<'a> {
    /// A whole UDP datagram.
    Udp { from: SocketAddr, to: SocketAddr, payload: &'a [u8] },
    /// A UDP datagram of which the capture kept only the beginning.
    Cut,
    /// A part of an IP packet; they are not put together.
    Fragment,
    /// TCP, ARP, and everything else.
    Other,
    /// A link layer that is not read.
    UnknownLink,
}

/// Tells what `bytes` on link layer `link` carry. Never panics.
pub(super) fn carried(link: u32, bytes: &[u8]) -> Carried<'_> {
    let packet = match link {
        ETHERNET => tagged(bytes, 12),
        LINUX_COOKED => tagged(bytes, 14),
        LINUX_COOKED_V2 => word(bytes, 0).zip(bytes.get(20..)),
        NULL | LOOP => bytes.get(4..).and_then(by_version),
        raw if RAW.contains(&raw) => by_version(bytes),
        _ => return Carried::UnknownLink,
    };
    match packet {
        Some((IPV4, packet)) => ipv4(packet),
        Some((IPV6, packet)) => ipv6(packet),
        _ => None,
    }
    .unwrap_or(Carried::Other)
}

/// The protocol number at `at`, behind any VLAN tags, and what follows it.
fn tagged(bytes: &[u8], mut at: usize) -> Option<(u16, &[u8])> {
    while VLAN.contains(&word(bytes, at)?) {
        at += 4;
    }
    Some((word(bytes, at)?, bytes.get(at + 2..)?))
}

fn by_version(packet: &[u8]) -> Option<(u16, &[u8])> {
    match packet.first()? >> 4 {
        4 => Some((IPV4, packet)),
        6 => Some((IPV6, packet)),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn ipv4(packet: &[u8]) -> Option<Carried<'_>> {
    let header: &[u8; 20] = packet.first_chunk()?;
    if header[9] != UDP {
        return None;
    }
    if word(packet, 6)? & 0x3FFF != 0 {
        return Some(Carried::Fragment);
    }
    let address = |at: usize| Some(IpAddr::from(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?)));
    udp(packet.get(usize::from(header[0] & 0x0F) * 4..)?, address(12)?, address(16)?)
}

fn ipv6(packet: &[u8]) -> Option<Carried<'_>> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let address = |at: usize| Some(IpAddr::from(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?)));
    let (mut next, mut rest) = (header[6], &packet[40..]);
    while EXTENSIONS.contains(&next) {
        let length = (usize::from(*rest.get(1)?) + 1) * 8;
        (next, rest) = (*rest.first()?, rest.get(length..)?);
    }
    match next {
        UDP => udp(rest, address(8)?, address(24)?),
        FRAGMENT if rest.first() == Some(&UDP) => Some(Carried::Fragment),
        _ => None,
    }
}

/// The UDP length counts, not the frame's: short Ethernet frames are filled up.
fn udp(datagram: &[u8], from: IpAddr, to: IpAddr) -> Option<Carried<'_>> {
    let length = usize::from(word(datagram, 4)?);
    if length < 8 {
        return None;
    }
    let Some(payload) = datagram.get(8..length) else { return Some(Carried::Cut) };
    let (from, to) = (SocketAddr::new(from, word(datagram, 0)?), SocketAddr::new(to, word(datagram, 2)?));
    Some(Carried::Udp { from, to, payload })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYLOAD: [u8; 3] = [1, 2, 3];

    fn udp_datagram() -> Vec<u8> {
        [&[0x9C, 0x40, 0x4E, 0x20, 0, 11, 0, 0][..], &PAYLOAD].concat()
    }

    fn ipv4_packet(fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x46, 0, 0, 35, 0, 1, (fragment >> 8) as u8, fragment as u8, 64, UDP, 0, 0];
        packet.extend([192, 0, 2, 10, 192, 0, 2, 20]);
        packet.extend([1, 1, 1, 0]); // options
        packet.extend(udp_datagram());
        packet
    }

    fn ipv6_packet() -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 19, 0, 64];
        packet.extend([0; 15].iter().chain(&[1]).chain(&[0; 15]).chain(&[2]));
        packet.extend([UDP, 0, 1, 4, 0, 0, 0, 0]); // hop-by-hop options
        packet.extend(udp_datagram());
        packet
    }

    fn ports_and_payload(carried: Carried<'_>) -> Option<(String, String, &[u8])> {
        let Carried::Udp { from, to, payload } = carried else { return None };
        Some((from.to_string(), to.to_string(), payload))
    }

    #[test]
    fn a_datagram_is_found_on_every_link_layer_and_behind_vlan_tags() {
        let ethernet =
            |tags: &[u8], kind: u16, packet: &[u8]| [&[2; 12][..], tags, &kind.to_be_bytes(), packet, &[0; 9]].concat();
        let cooked_v2 = |kind: u16, packet: &[u8]| [&kind.to_be_bytes()[..], &[0; 18], packet].concat();
        let (v4, v6) = (ipv4_packet(0x4000), ipv6_packet());
        for (link, bytes, ipv6) in [
            (ETHERNET, ethernet(&[], IPV4, &v4), false),
            (ETHERNET, ethernet(&[0x81, 0, 0, 7], IPV4, &v4), false),
            (ETHERNET, ethernet(&[0x88, 0xA8, 0, 7, 0x81, 0, 0, 8], IPV6, &v6), true),
            (LINUX_COOKED, [&[0; 14][..], &IPV4.to_be_bytes(), &v4].concat(), false),
            (LINUX_COOKED_V2, cooked_v2(IPV6, &v6), true),
            (NULL, [&[2, 0, 0, 0][..], &v4].concat(), false),
            (LOOP, [&[0, 0, 0, 24][..], &v6].concat(), true),
            (101, v4.clone(), false),
            (229, v6.clone(), true),
        ] {
            let found = ports_and_payload(carried(link, &bytes));
            let expected = if ipv6 { ("[::1]:40000", "[::2]:20000") } else { ("192.0.2.10:40000", "192.0.2.20:20000") };
            let expected = (expected.0.to_owned(), expected.1.to_owned(), &PAYLOAD[..]);
            assert_eq!(found, Some(expected), "link layer {link}");
        }
    }

    #[test]
    fn fragments_and_cut_datagrams_are_told_from_what_is_not_udp() {
        assert_eq!(carried(101, &ipv4_packet(0x2000)), Carried::Fragment, "more follow");
        assert_eq!(carried(101, &ipv4_packet(0x0010)), Carried::Fragment, "it follows another");
        let whole = ipv4_packet(0);
        assert_eq!(carried(101, &whole[..whole.len() - 1]), Carried::Cut);
        let mut tcp = whole.clone();
        tcp[9] = 6;
        assert_eq!(carried(101, &tcp), Carried::Other);
        assert_eq!(carried(105, &whole), Carried::UnknownLink);
    }

    proptest! {
        #[test]
        fn no_frame_makes_the_reader_panic(link in 0..300u32, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = carried(link, &bytes);
            let _ = carried(101, &[&[0x45][..], &bytes].concat());
            let _ = carried(101, &[&[0x60][..], &bytes].concat());
        }
    }
}
