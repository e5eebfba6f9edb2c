//! `[trace]`

use std::net::SocketAddr;

/// What is kept of signalling and media, so that one call can be looked at (OPS-026).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Bytes of SIP that are held; 0 holds none, and nothing can be traced.
    pub signalling_bytes: usize,
    /// Bytes of RTP and RTCP that are held of calls traced with them.
    pub rtp_bytes: usize,
    /// What is masked may be asked for.
    pub allow_unmasked: bool,
    /// A collector of HEP version 3 over UDP.
    pub hep: Option<SocketAddr>,
    /// Our id there.
    pub hep_capture_id: u32,
}
