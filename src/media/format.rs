//! What the session is told: the negotiated format and the call's settings.

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::rtp_format::RtpFormat;
use crate::config::{Dtmf, Fill, IdleTx, JitterDelay, MediaNat};

/// What offer and answer have agreed on.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaFormat {
    /// The peer's RTP address by its SDP; unspecified while it holds with `c=0.0.0.0`.
    pub remote: SocketAddr,
    /// The peer's RTCP address by its SDP.
    pub remote_rtcp: SocketAddr,
    /// RTP and RTCP share one port (RFC 5761).
    pub rtcp_mux: bool,
    /// The audio format, one of [`codec::formats`](super::codec::formats).
    pub format: RtpFormat,
    /// Its payload type in this call, 0 to 127.
    pub payload_type: u8,
    /// Payload type and clock rate in Hz of telephone-events, where negotiated.
    pub telephone_event: Option<(u8, u32)>,
    /// Payload type of comfort noise, where negotiated.
    pub comfort_noise: Option<u8>,
    /// Milliseconds in a packet we send: a multiple of 10, 10 to 60.
    pub ptime_ms: u16,
    /// We may send.
    pub send: bool,
    /// The peer may send.
    pub receive: bool,
    /// The peer has put us on hold (SDP-010, SDP-011).
    pub held: bool,
}

/// What does not change during a call.
#[derive(Debug, Clone)]
pub struct MediaSettings {
    /// Whether media may come from elsewhere than the SDP says (RTP-011).
    pub nat: MediaNat,
    /// The networks it may then come from.
    pub media_acl: Vec<IpNet>,
    /// A source that has been silent for 10 s may come back from elsewhere in `media_acl`, by its SSRC (RTP-013).
    pub relearn_after_silence: bool,
    /// Audio beside telephone-events and digits in the audio are muted (RTP-062).
    pub dtmf_mute: bool,
    /// When digits are told, and whether they are looked for in the audio.
    pub dtmf: Dtmf,
    /// What is sent while there is nothing to say (RTP-032).
    pub idle_tx: IdleTx,
    /// Music on hold is let through (SDP-011).
    pub hold_audio_pass: bool,
    /// No valid RTP for this long: [`RtpTimeout`](super::MediaEvent::RtpTimeout).
    pub rtp_timeout: Duration,
    /// No first RTP for this long: [`NoRtpYet`](super::MediaEvent::NoRtpYet).
    pub rtp_start_timeout: Duration,
    /// How long packets are kept for order and evenness (RTP-020).
    pub jitter_delay: JitterDelay,
    /// What is heard where nothing comes (RTP-007).
    pub fill: Fill,
}
