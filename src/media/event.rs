//! What a media session has to tell.

use std::fmt;
use std::net::SocketAddr;

/// How a digit came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DtmfSource {
    /// A telephone-event (RFC 4733).
    Rtp,
    /// A SIP INFO.
    Info,
    /// Tones in the audio (RTP-060).
    Inband,
}

/// Something happened in the media of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum MediaEvent {
    /// A digit has ended, or begun where that was asked for (RTP-056). Playback is not touched by it (RTP-061).
    Dtmf {
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        digit: char,
        /// Its length in milliseconds, so far where it has only begun; 0 where only its first packet came.
        duration_ms: u32,
        /// How it came.
        source: DtmfSource,
    },
    /// The peer may send and has not begun to within `rtp_start_timeout` (RTP-042).
    NoRtpYet,
    /// No valid RTP for `rtp_timeout` (RTP-042).
    RtpTimeout,
    /// Media comes from and goes to this address now (RTP-012).
    SourceLocked(SocketAddr),
    /// The sender has another SSRC (RTP-003).
    SsrcChanged,
}

/// Digits do not show: they may be card numbers and PINs (RTP-064).
impl fmt::Debug for MediaEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dtmf { duration_ms, source, .. } => write!(f, "Dtmf {{ digit: x, {duration_ms} ms, {source:?} }}"),
            Self::NoRtpYet => f.write_str("NoRtpYet"),
            Self::RtpTimeout => f.write_str("RtpTimeout"),
            Self::SourceLocked(source) => write!(f, "SourceLocked({source})"),
            Self::SsrcChanged => f.write_str("SsrcChanged"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_064_a_digit_does_not_print() {
        let event = MediaEvent::Dtmf { digit: '7', duration_ms: 120, source: DtmfSource::Rtp };
        assert_eq!(format!("{event:?}"), "Dtmf { digit: x, 120 ms, Rtp }");
    }
}
