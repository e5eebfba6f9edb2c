//! The words that SDP and the codecs share: an RTP payload format's name, clock and number (RFC 3551).

/// An audio payload format, as `a=rtpmap` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RtpFormat {
    /// Encoding name in its registered spelling: `PCMU`, `PCMA`, `G722`, `opus`, `L16`. Compared without case.
    pub encoding_name: &'static str,
    /// RTP clock rate in Hz (8000 for G.722 although it samples at 16 kHz).
    pub clock_rate: u32,
    /// Channels as `a=rtpmap` has them: 2 for Opus whatever is sent (RFC 7587 section 7).
    pub channels: u8,
    /// The static payload type, or the dynamic one that we propose in an offer.
    pub payload_type: u8,
    /// The packet times it is sent in, ms, in rising order.
    pub packet_ms: &'static [u16],
    /// What our `a=fmtp` says of it; empty for none.
    pub parameters: &'static str,
}

impl RtpFormat {
    /// Whether `payload_type` is a static assignment of RFC 3551, valid without `a=rtpmap`.
    #[must_use]
    pub const fn is_static(&self) -> bool {
        self.payload_type < 96
    }

    /// The longest packet time of ours that is not above `wanted_ms`, else the shortest (SDP-007).
    #[must_use]
    pub fn packet_time(&self, wanted_ms: u16) -> u16 {
        let fitting = self.packet_ms.iter().rev().find(|ms| **ms <= wanted_ms);
        fitting.or(self.packet_ms.first()).copied().unwrap_or(20)
    }
}

/// Packet times that we send where nothing speaks against them (SDP-007).
const EVERY: &[u16] = &[10, 20, 30, 40, 60];

const fn plain(encoding_name: &'static str, clock_rate: u32, payload_type: u8) -> RtpFormat {
    RtpFormat { encoding_name, clock_rate, channels: 1, payload_type, packet_ms: EVERY, parameters: "" }
}

/// G.711 µ-law.
pub const PCMU: RtpFormat = plain("PCMU", 8000, 0);
/// G.711 A-law.
pub const PCMA: RtpFormat = plain("PCMA", 8000, 8);
/// G.722: 16 kHz on a clock of 8000 (RFC 3551, 4.5.2).
pub const G722: RtpFormat = plain("G722", 8000, 9);
/// Opus. There is no frame of 30 ms (RFC 6716, 2.1.4). We hear 16 kHz and can use what a packet repeats of the one before.
pub const OPUS: RtpFormat = RtpFormat {
    channels: 2,
    packet_ms: &[10, 20, 40, 60],
    parameters: "maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1",
    ..plain("opus", 48_000, 111)
};
/// Linear PCM of 16 bits at 16 kHz (RFC 3551, 4.5.11). 60 ms would not fit into a datagram of Ethernet.
pub const L16_WIDE: RtpFormat = RtpFormat { packet_ms: &[10, 20, 30, 40], ..plain("L16", 16_000, 118) };
/// Linear PCM of 16 bits at 8 kHz (RFC 3551, 4.5.11).
pub const L16: RtpFormat = plain("L16", 8000, 119);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdp_007_the_packet_time_is_the_nearest_lower_that_the_codec_has() {
        for (format, wanted, expected) in [
            (PCMU, 30, 30),
            (PCMU, 5, 10),
            (PCMU, 200, 60),
            (OPUS, 30, 20),
            (OPUS, 60, 60),
            (L16_WIDE, 60, 40),
            (L16, 60, 60),
        ] {
            assert_eq!(format.packet_time(wanted), expected, "{} of {wanted} ms", format.encoding_name);
        }
    }

    #[test]
    fn the_longest_packet_of_l16_fits_into_a_datagram_of_ethernet() {
        for format in [L16_WIDE, L16] {
            let longest = format.packet_ms.last().map(|ms| u32::from(*ms) * format.clock_rate / 1000 * 2);
            assert!(longest.is_some_and(|octets| octets + 12 + 28 <= 1500 - 20), "{longest:?}, with room for SRTP");
        }
    }
}
