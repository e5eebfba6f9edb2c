//! The media record of a call (RTP-044).

use std::net::SocketAddr;

use serde::Serialize;

/// What was received, sent, lost and mended. All counts are since the session began.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct MediaReport {
    /// Encoding name of the codec in use.
    pub codec: Option<&'static str>,
    /// The crypto suite of SRTP; none is plain RTP.
    pub srtp: Option<&'static str>,
    /// Where media goes to.
    pub remote: Option<SocketAddr>,
    /// Where media comes from, once locked.
    pub source: Option<SocketAddr>,
    /// RTP packets of accepted sources, readable and of a negotiated payload type.
    pub packets_received: u64,
    /// Their payload octets.
    pub bytes_received: u64,
    /// RTP packets sent.
    pub packets_sent: u64,
    /// Their payload octets.
    pub bytes_sent: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Packets that came after their slot had been played.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets that were dropped to get rid of delay, or were of a superseded SSRC or a doubtful sequence.
    pub discarded: u64,
    /// Datagrams that are no RTP and nothing else that is known.
    pub malformed: u64,
    /// STUN messages on the RTP port.
    pub stun: u64,
    /// DTLS records on the RTP port.
    pub dtls: u64,
    /// Packets that are empty, or longer than their payload type can be.
    pub implausible: u64,
    /// Packets of a payload type that was not negotiated.
    pub unknown_payload_type: u64,
    /// Datagrams from sources that may not speak here.
    pub source_rejects: u64,
    /// RTP and RTCP packets whose SRTP tag is wrong or missing.
    pub srtp_not_authentic: u64,
    /// SRTP packets that came before.
    pub srtp_replays: u64,
    /// Milliseconds filled for packets that were lost or late.
    pub concealed_ms: u64,
    /// The delay that the jitter buffer aims at, in milliseconds (RTP-020).
    pub jitter_buffer_ms: u32,
    /// The greatest that it has aimed at.
    pub jitter_buffer_max_ms: u32,
    /// Frames of 20 ms that the jitter buffer put into sound, to have more delay or to follow the sender's clock (RTP-023).
    pub frames_inserted: u64,
    /// Frames that it took out of sound.
    pub frames_removed: u64,
    /// Greatest interarrival jitter (RFC 3550, A.8).
    pub jitter_max_ms: f64,
    /// Mean of the same.
    pub jitter_mean_ms: f64,
    /// Changes of the sender's SSRC.
    pub ssrc_changes: u64,
    /// Digits reported.
    pub dtmf_digits: u64,
    /// Telephone-events that are no digits.
    pub events_ignored: u64,
    /// RTCP packets that were read.
    pub rtcp_received: u64,
    /// RTCP packets that could not be read.
    pub rtcp_malformed: u64,
    /// What the peer last reported about our stream.
    pub peer: Option<PeerReport>,
    /// Share of the caller's packets that was not played: lost, late or discarded.
    pub loss_percent: Option<f64>,
    /// How the caller sounds to the bot by the E-model (ITU-T G.107), 0 to 93.2; none where nothing came.
    pub r_factor: Option<f64>,
    /// The same as a mean opinion score, 1 to 4.5.
    pub mos: Option<f64>,
    /// The score of the worst 5 s.
    pub mos_min: Option<f64>,
    /// Mean of the scores of each 5 s.
    pub mos_mean: Option<f64>,
}

/// The peer's view of our stream, by its last RTCP report (RTP-041).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct PeerReport {
    /// Packets it has missed.
    pub lost: u32,
    /// Percentage lost since its previous report.
    pub loss_percent: f64,
    /// Interarrival jitter it sees, in milliseconds.
    pub jitter_ms: f64,
    /// Round trip in milliseconds, once one of its reports answered one of ours.
    pub rtt_ms: Option<f64>,
}
