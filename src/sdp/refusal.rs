//! Why a description is not accepted, and the Warning that tells the peer (RFC 3261 section 20.43).

use super::crypto::CryptoFault;
use super::rules::AddressFault;
use super::session::DescriptionError;

/// Why an offer or answer was refused. Nothing has changed: a running session goes on as it was (SIP-074).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is not a session description.
    #[error("the peer's session description cannot be read: {0}")]
    Malformed(#[from] DescriptionError),
    /// The description has no m-line at all (SDP-003).
    #[error("the peer's session description has no m-line")]
    NoMedia,
    /// No m-line is audio: T.38 or video alone (SDP-016).
    #[error("the peer offered no audio")]
    NoAudio,
    /// Every audio line has port 0.
    #[error("the peer switched its audio off with port 0")]
    Disabled,
    /// The transport is none of RTP/AVP, RTP/AVPF, RTP/SAVP and RTP/SAVPF (SDP-015).
    #[error("the peer wants audio over {0}; only RTP/AVP, RTP/AVPF and, with `srtp`, RTP/SAVP are spoken here")]
    Profile(String),
    /// SRTP is off on this trunk (SDP-015).
    #[error("the peer wants audio over {0} and the trunk's `srtp` is \"off\"")]
    SrtpOff(String),
    /// SRTP is required on this trunk and the peer does not offer it (SDP-015).
    #[error("the peer's audio is not encrypted and the trunk's `srtp` is \"required\"")]
    SrtpRequired,
    /// Keys would cross the network readable for all (SDP-018).
    #[error(
        "the peer wants SRTP, whose keys stand in SIP messages that are not encrypted: use SIP over TLS, or set \
         `allow_sdes_cleartext` where the network between is trusted"
    )]
    KeysInClear,
    /// None of the peer's keys can be used (SDP-018).
    #[error("the peer's SRTP keys cannot be used: {0}")]
    Crypto(#[from] CryptoFault),
    /// None of the peer's codecs is ours (SDP-004).
    #[error("none of the peer's codecs is enabled here (it listed {0})")]
    NoCodec(String),
    /// The audio line has no `c=`, on its own or on session level.
    #[error("the peer gave no c= line for its audio")]
    NoConnection,
    /// Media may not go to that address (SDP-014).
    #[error("the peer's media address is refused: {0}")]
    Address(#[from] AddressFault),
    /// Media may not go to that port (SDP-014).
    #[error("the peer's media port {0} is below 1024")]
    Port(u16),
    /// An answer came although nothing was offered (RFC 3264 section 4).
    #[error("the peer sent an answer, but there is no offer of ours that waits for one")]
    NoOffer,
}

impl Refusal {
    /// The code and text of the Warning header that goes with 488 (SDP-003, SIP-074): 304 media type not available,
    /// 305 incompatible media format, 399 anything else.
    #[must_use]
    pub const fn warning(&self) -> (u16, &'static str) {
        match self {
            Self::NoMedia | Self::NoAudio | Self::Disabled => (304, "Media type not available"),
            Self::Profile(_) | Self::NoCodec(_) | Self::SrtpOff(_) | Self::SrtpRequired => {
                (305, "Incompatible media format")
            }
            Self::KeysInClear => (399, "SRTP keys in unencrypted signalling"),
            Self::Crypto(_) => (399, "No usable crypto attribute"),
            Self::Malformed(_) => (399, "Malformed session description"),
            Self::NoConnection => (399, "No connection address"),
            Self::Address(_) => (399, "Media address not allowed"),
            Self::Port(_) => (399, "Media port not allowed"),
            Self::NoOffer => (399, "Answer without offer"),
        }
    }
}
