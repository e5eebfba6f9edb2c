//! RTP packets, read and written (RFC 3550, 5.1). The home of `rtp-rs`.

use rtp_rs::{RtpPacketBuilder, RtpReader, Seq};

/// Octets in a header without CSRCs and extension.
pub const HEADER_LEN: usize = 12;

/// An RTP packet that has been checked: version, lengths and padding are right (RTP-001).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// A hint at the start of a talkspurt, or of a telephone-event (RTP-005).
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Plus one for each packet, modulo 2^16.
    pub sequence: u16,
    /// In ticks of the payload's clock, modulo 2^32.
    pub timestamp: u32,
    /// Who sends.
    pub ssrc: u32,
    /// Without CSRCs, extension and padding.
    pub payload: &'a [u8],
}

/// What a datagram on an RTP port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// Media.
    Rtp(Packet<'a>),
    /// RTCP: second octet 192 to 223 (RFC 5761, 4).
    Rtcp,
    /// A STUN message: first octet 0 to 3 (RFC 7983, 7).
    Stun,
    /// A DTLS record: first octet 20 to 63 (RFC 7983, 7).
    Dtls,
    /// Nothing we know.
    Malformed,
}

impl<'a> Datagram<'a> {
    /// Tells what `bytes` are. Never panics.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Self {
        match (bytes.first(), bytes.get(1)) {
            (Some(0..=3), _) if bytes.len() >= 20 => Self::Stun,
            (Some(20..=63), _) => Self::Dtls,
            (Some(0x80..=0xBF), Some(192..=223)) => Self::Rtcp,
            _ => RtpReader::new(bytes).map_or(Self::Malformed, |reader| Self::Rtp(Packet::from_reader(&reader))),
        }
    }
}

impl<'a> Packet<'a> {
    fn from_reader(reader: &RtpReader<'a>) -> Self {
        Self {
            marker: reader.mark(),
            payload_type: reader.payload_type(),
            sequence: reader.sequence_number().into(),
            timestamp: reader.timestamp(),
            ssrc: reader.ssrc(),
            payload: reader.payload(),
        }
    }

    /// Writes the packet to `out`, which is cleared first.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_header(out);
        out.extend_from_slice(self.payload);
    }

    /// Writes the header alone to `out`, which is cleared first; the payload is to be appended.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(HEADER_LEN, 0);
        RtpPacketBuilder::new()
            .marked(self.marker)
            .payload_type(self.payload_type & 0x7F)
            .sequence(Seq::from(self.sequence))
            .timestamp(self.timestamp)
            .ssrc(self.ssrc)
            .build_into(out)
            .expect("a header of 12 octets fits 12 octets and has a payload type of 7 bits");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(payload: &[u8]) -> Packet<'_> {
        Packet { marker: true, payload_type: 101, sequence: 65_535, timestamp: 0xFFFF_FFF0, ssrc: 0xDEAD_BEEF, payload }
    }

    #[test]
    fn a_packet_is_read_as_it_was_written() {
        let mut bytes = vec![1, 2, 3];
        packet(&[7; 160]).write(&mut bytes);
        assert_eq!(bytes.len(), 172);
        assert_eq!(bytes[..4], [0x80, 0x80 | 101, 0xFF, 0xFF]);
        assert_eq!(Datagram::read(&bytes), Datagram::Rtp(packet(&[7; 160])));
    }

    #[test]
    fn rtp_001_csrcs_extension_and_padding_are_taken_off() {
        let mut bytes = Vec::new();
        packet(&[]).write(&mut bytes);
        bytes[0] = 0x80 | 0x20 | 0x10 | 2; // padding, extension, two CSRCs
        bytes.extend([0; 8]);
        bytes.extend([0xBE, 0xDE, 0, 1, 9, 9, 9, 9]);
        bytes.extend([5, 6, 7]);
        bytes.extend([0, 0, 3]);
        assert_eq!(Datagram::read(&bytes), Datagram::Rtp(packet(&[5, 6, 7])));
        *bytes.last_mut().expect("padding") = 200;
        assert_eq!(Datagram::read(&bytes), Datagram::Malformed, "more padding than packet");
        *bytes.last_mut().expect("padding") = 0;
        assert_eq!(Datagram::read(&bytes), Datagram::Malformed, "padding of nothing");
    }

    #[test]
    fn rtp_001_what_is_too_short_or_of_another_version_is_no_rtp() {
        for bytes in [&[][..], &[0x80], &[0x80; 11], &[0x40; 12], &[0x8F; 12], &[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(Datagram::read(bytes), Datagram::Malformed, "{bytes:?}");
        }
    }

    #[test]
    fn rtp_001_rtcp_stun_and_dtls_on_the_rtp_port_are_known() {
        assert_eq!(Datagram::read(&[0x80, 200, 0, 6]), Datagram::Rtcp);
        assert_eq!(Datagram::read(&[0xA1, 223, 0, 6]), Datagram::Rtcp);
        let mut binding = [0; 20];
        binding[1] = 1;
        assert_eq!(Datagram::read(&binding), Datagram::Stun);
        assert_eq!(Datagram::read(&[22, 0xFE, 0xFD, 0]), Datagram::Dtls, "a ClientHello");
        assert_eq!(Datagram::read(&[64; 20]), Datagram::Malformed, "a TURN channel");
    }

    proptest! {
        #[test]
        fn rtp_001_no_datagram_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), first in 0x80_u8..0xC0) {
            let _ = Datagram::read(&bytes);
            let mut bytes = bytes;
            if let Some(octet) = bytes.first_mut() { *octet = first; }
            let _ = Datagram::read(&bytes);
        }
    }
}
