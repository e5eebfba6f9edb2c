//! RTP streams of a capture: found by their sequence numbers, counted as a receiver with endless patience would.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use super::UdpDatagram;
use super::description::Signalling;
use crate::media::rtp::packet::{Datagram, Packet};

/// A sequence number at most this far ahead of the last continues it.
const NEAR: u16 = 100;
/// This many continued numbers make a stream of what no session description announces.
const CONTINUED: u32 = 2;

/// What one address sends to another, whichever SSRCs it has.
#[derive(Debug, Clone, PartialEq)]
pub struct RtpStream {
    /// From 1, in order of appearance.
    pub number: usize,
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// In order of appearance.
    pub ssrcs: Vec<u32>,
    /// How many packets there are of each payload type.
    pub payload_types: BTreeMap<u8, usize>,
    /// When its first packet came, from the first packet of the capture.
    pub begin: Duration,
    /// When its last came.
    pub end: Duration,
    /// Its packets among the datagrams of the capture.
    pub(super) members: Vec<usize>,
}

/// What came of a stream's packets on their way, and what they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// RTP packets captured, copies included.
    pub packets: u64,
    /// Of these, packets of the codec.
    pub audio: u64,
    /// Telephone-events.
    pub event: u64,
    /// Comfort noise.
    pub noise: u64,
    /// Of other payload types.
    pub other: u64,
    /// Sequence numbers missing between the first and the last of each SSRC (RFC 3550, A.3).
    pub lost: u64,
    /// Packets whose SSRC and sequence number came before.
    pub duplicate: u64,
    /// Packets behind a higher sequence number of their SSRC, copies not counted.
    pub reordered: u64,
    /// Distinct SSRCs.
    pub ssrcs: u64,
}

/// A pair of addresses on its way to become a stream.
#[derive(Default)]
struct Candidate {
    datagrams: u32,
    ssrcs: Vec<u32>,
    last: HashMap<u32, u16>,
    continued: u32,
    payload_types: BTreeMap<u8, usize>,
    members: Vec<usize>,
}

impl Candidate {
    fn look(&mut self, place: usize, datagram: &[u8]) {
        match Datagram::read(datagram) {
            Datagram::Rtp(packet) => self.take(place, &packet),
            // Both may share a port with RTP.
            Datagram::Rtcp | Datagram::Stun | Datagram::Dtls => return,
            Datagram::Malformed => {}
        }
        self.datagrams += 1;
    }

    fn take(&mut self, place: usize, packet: &Packet<'_>) {
        match self.last.insert(packet.ssrc, packet.sequence) {
            None => self.ssrcs.push(packet.ssrc),
            Some(last) if packet.sequence.wrapping_sub(last) <= NEAR => self.continued += 1,
            Some(_) => {}
        }
        *self.payload_types.entry(packet.payload_type).or_default() += 1;
        self.members.push(place);
    }

    /// Nearly everything looks like RTP and its numbers go on; what SIP announces is believed.
    fn is_stream(&self, announced: bool) -> bool {
        let looks = self.members.len() * 10 >= self.datagrams as usize * 8;
        let goes_on = self.continued >= CONTINUED && self.continued as usize * 2 >= self.members.len();
        !self.members.is_empty() && looks && (announced || goes_on)
    }
}

/// The RTP streams among `datagrams`.
pub(super) fn find(datagrams: &[UdpDatagram], signalling: &Signalling) -> Vec<RtpStream> {
    let mut order: Vec<(SocketAddr, SocketAddr)> = Vec::new();
    let mut candidates: HashMap<(SocketAddr, SocketAddr), Candidate> = HashMap::new();
    for (place, datagram) in datagrams.iter().enumerate() {
        let key = (datagram.from, datagram.to);
        let candidate = candidates.entry(key).or_insert_with(|| {
            order.push(key);
            Candidate::default()
        });
        candidate.look(place, &datagram.payload);
    }
    let streams = order.into_iter().filter_map(|key| {
        let candidate = candidates.remove(&key)?;
        candidate.is_stream(signalling.line_of(key.0, key.1).is_some()).then_some((key, candidate))
    });
    let stream = |(number, ((from, to), candidate)): (usize, ((SocketAddr, SocketAddr), Candidate))| {
        let Candidate { ssrcs, payload_types, members, .. } = candidate;
        let at = |place: Option<&usize>| place.and_then(|place| datagrams.get(*place)).map_or(Duration::ZERO, |d| d.at);
        let (begin, end) = (at(members.first()), at(members.last()));
        RtpStream { number: number + 1, from, to, ssrcs, payload_types, begin, end, members }
    };
    streams.enumerate().map(stream).collect()
}

/// The numbers of one SSRC.
#[derive(Default)]
struct Numbers {
    /// Without wrap-around, from 2^32 on.
    highest: Option<u64>,
    seen: BTreeSet<u64>,
}

impl Numbers {
    /// The packet's number without wrap-around.
    fn extend(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else { return (1 << 32) + u64::from(sequence) };
        highest.saturating_add_signed(i64::from(sequence.wrapping_sub(highest as u16).cast_signed()))
    }
}

/// Counts the packets of a stream in order of arrival. `kind` names the count that a payload type belongs to.
pub(super) fn count<'a>(
    packets: impl Iterator<Item = Packet<'a>>,
    kind: impl Fn(&mut Counts, u8) -> &mut u64,
) -> Counts {
    let (mut counts, mut numbers): (Counts, HashMap<u32, Numbers>) = (Counts::default(), HashMap::new());
    for packet in packets {
        counts.packets += 1;
        *kind(&mut counts, packet.payload_type) += 1;
        let of_ssrc = numbers.entry(packet.ssrc).or_default();
        let number = of_ssrc.extend(packet.sequence);
        if !of_ssrc.seen.insert(number) {
            counts.duplicate += 1;
        } else if of_ssrc.highest.is_some_and(|highest| number < highest) {
            counts.reordered += 1;
        }
        of_ssrc.highest = of_ssrc.highest.max(Some(number));
    }
    counts.ssrcs = numbers.len() as u64;
    let missing = |numbers: &Numbers| {
        let span = numbers.seen.last().zip(numbers.seen.first()).map_or(0, |(last, first)| last - first + 1);
        span - numbers.seen.len() as u64
    };
    counts.lost = numbers.values().map(missing).sum();
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ssrc: u32, sequence: u16) -> Packet<'static> {
        Packet { marker: false, payload_type: 0, sequence, timestamp: 0, ssrc, payload: &[0xFF; 160] }
    }

    fn datagrams(packets: impl Iterator<Item = Vec<u8>>) -> Vec<UdpDatagram> {
        let (from, to) = (([192, 0, 2, 10], 40000).into(), ([192, 0, 2, 20], 20000).into());
        let datagram = |(number, payload)| UdpDatagram {
            number,
            at: Duration::from_millis(20) * number as u32,
            from,
            to,
            payload,
        };
        (1u64..).zip(packets).map(datagram).collect()
    }

    fn rtp(ssrc: u32, sequences: &[u16]) -> Vec<UdpDatagram> {
        datagrams(sequences.iter().map(|sequence| {
            let mut bytes = Vec::new();
            packet(ssrc, *sequence).write(&mut bytes);
            bytes
        }))
    }

    #[test]
    fn a_stream_is_what_goes_on_in_sequence() {
        let found = find(&rtp(7, &[65_534, 65_535, 0, 1]), &Signalling::default());
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].number, &found[0].ssrcs[..], found[0].payload_types[&0]), (1, &[7][..], 4));
        assert_eq!((found[0].begin, found[0].end), (Duration::from_millis(20), Duration::from_millis(80)));
        assert!(find(&rtp(7, &[1, 30_000, 7, 20_000, 40_000]), &Signalling::default()).is_empty(), "chance");
        let dns = (0..9u8).map(|n| vec![n, 0x81, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert!(find(&datagrams(dns), &Signalling::default()).is_empty());
    }

    #[test]
    fn rtp_002_losses_copies_and_overtakings_are_counted_over_the_wrap_and_by_ssrc() {
        let numbers = [(1, 65_534), (1, 0), (1, 65_535), (2, 9), (1, 0), (1, 3), (2, 12)];
        let counts =
            count(numbers.into_iter().map(|(ssrc, number)| packet(ssrc, number)), |counts, _| &mut counts.audio);
        let expected =
            Counts { packets: 7, audio: 7, lost: 2 + 2, duplicate: 1, reordered: 1, ssrcs: 2, ..Counts::default() };
        assert_eq!(counts, expected);
    }
}
