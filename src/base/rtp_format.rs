//! The words that SDP and the codecs share: an RTP payload format's name, clock and number (RFC 3551).

/// An audio payload format, as `a=rtpmap` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RtpFormat {
    /// Encoding name in its registered spelling: `PCMU`, `PCMA`, `G722`, `opus`, `L16`. Compared without case.
    pub encoding_name: &'static str,
    /// RTP clock rate in Hz (8000 for G.722 although it samples at 16 kHz).
    pub clock_rate: u32,
    /// Channels.
    pub channels: u8,
    /// The static payload type, or the dynamic one that we propose in an offer.
    pub payload_type: u8,
}

impl RtpFormat {
    /// Whether `payload_type` is a static assignment of RFC 3551, valid without `a=rtpmap`.
    #[must_use]
    pub const fn is_static(&self) -> bool {
        self.payload_type < 96
    }
}

/// G.711 µ-law.
pub const PCMU: RtpFormat = RtpFormat { encoding_name: "PCMU", clock_rate: 8000, channels: 1, payload_type: 0 };
/// G.711 A-law.
pub const PCMA: RtpFormat = RtpFormat { encoding_name: "PCMA", clock_rate: 8000, channels: 1, payload_type: 8 };
