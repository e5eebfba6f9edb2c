//! Where media may come from and goes to: learning and locking (RTP-010 to RTP-015).
//!
//! Media goes to the SDP's address until a source is learned: the first that sends two packets of consecutive sequence
//! within 5 s, from the SDP's address or the trunk's media networks. Then the tuple is fixed. Nothing else moves it, least
//! of all a flood of packets (CVE-2017-14099).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::config::MediaNat;

/// How long a source can be learned after our answer.
const WINDOW: Duration = Duration::from_secs(5);
/// How long after a change of address the old source cannot be learned again: its packets are still on their way.
const OLD_SOURCE_REST: Duration = Duration::from_secs(1);
/// Sources in the running for the lock.
const CANDIDATES: usize = 4;

/// The packet by which a source shows itself.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Who sends.
    pub ssrc: u32,
    /// Its sequence number.
    pub sequence: u16,
    /// Payload type negotiated, size plausible.
    pub plausible: bool,
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Read it.
    Accepted,
    /// Read it; its source is locked from now on.
    Locked,
    /// Drop it, without any reply.
    Rejected,
}

#[derive(Debug)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    sequence: u16,
}

#[derive(Debug)]
enum State {
    /// ```text
    /// Learning --two in a row--> Locked --SDP's address sends within the window--> Locked, for good
    ///    ^                          |
    ///    +---- c= or m= changed ----+
    /// ```
    Learning {
        candidates: [Option<Candidate>; CANDIDATES],
    },
    Locked {
        source: SocketAddr,
    },
}

/// The addresses of one session.
#[derive(Debug)]
pub struct Source {
    nat: MediaNat,
    acl: Vec<IpNet>,
    sdp: SocketAddr,
    target: SocketAddr,
    state: State,
    window_ends: Instant,
    /// The source before a change of address: heard until the new one is locked (SDP-012).
    previous: Option<SocketAddr>,
    previous_rests_until: Instant,
    rtcp_sdp: SocketAddr,
    rtcp_target: SocketAddr,
    rtcp_mux: bool,
}

impl Source {
    /// The SDP says `sdp` and `rtcp`; learning begins.
    #[must_use]
    pub fn new(now: Instant, nat: MediaNat, acl: Vec<IpNet>, sdp: SocketAddr, rtcp: (SocketAddr, bool)) -> Self {
        Self {
            nat,
            acl,
            sdp,
            target: sdp,
            state: State::Learning { candidates: Default::default() },
            window_ends: now + WINDOW,
            previous: None,
            previous_rests_until: now,
            rtcp_sdp: rtcp.0,
            rtcp_target: rtcp.0,
            rtcp_mux: rtcp.1,
        }
    }

    /// A new offer or answer says `sdp` and `rtcp`. Learning begins again where `changed` says that `c=` or `m=` did
    /// change (RTP-013). A hold by `0.0.0.0` keeps everything, so that resuming restores it (SDP-010).
    pub fn renegotiate(&mut self, now: Instant, sdp: SocketAddr, rtcp: (SocketAddr, bool), changed: bool) {
        if sdp.ip().is_unspecified() {
            return;
        }
        if rtcp.0 != self.rtcp_sdp {
            (self.rtcp_sdp, self.rtcp_target) = (rtcp.0, rtcp.0);
        }
        self.rtcp_mux = rtcp.1;
        if !changed {
            return;
        }
        self.previous = self.locked().or(self.previous);
        self.state = State::Learning { candidates: Default::default() };
        self.window_ends = now + WINDOW;
        self.previous_rests_until = now;
        if sdp != self.sdp {
            (self.sdp, self.target) = (sdp, sdp);
            self.previous_rests_until = now + OLD_SOURCE_REST;
        }
    }

    /// Where RTP goes to.
    #[must_use]
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Where RTCP goes to.
    #[must_use]
    pub fn rtcp_target(&self) -> SocketAddr {
        if self.rtcp_mux { self.target } else { self.rtcp_target }
    }

    /// The locked source.
    #[must_use]
    pub fn locked(&self) -> Option<SocketAddr> {
        match self.state {
            State::Locked { source } => Some(source),
            State::Learning { .. } => None,
        }
    }

    /// Whether a packet from `from` could be media of this call at all.
    #[must_use]
    pub fn may_speak(&self, now: Instant, from: SocketAddr) -> bool {
        match self.state {
            // Once the SDP's own address has displaced a lock, nothing else can.
            State::Locked { source } => from == source || (from == self.sdp && now <= self.window_ends),
            State::Learning { .. } => Some(from) == self.previous || self.is_allowed(from),
        }
    }

    /// RTP-011.
    fn is_allowed(&self, from: SocketAddr) -> bool {
        match self.nat {
            MediaNat::Off => from == self.sdp,
            MediaNat::Auto | MediaNat::On => {
                from.ip() == self.sdp.ip() || self.acl.iter().any(|net| net.contains(&from.ip()))
            }
        }
    }

    /// An RTP packet has come from `from`.
    pub fn admit(&mut self, now: Instant, from: SocketAddr, probe: Probe) -> Verdict {
        if !self.may_speak(now, from) {
            return Verdict::Rejected;
        }
        if !probe.plausible {
            return Verdict::Accepted;
        }
        // Packets of the source before are on their way still, or never were from where media may come from now.
        let old = Some(from) == self.previous && (now < self.previous_rests_until || !self.is_allowed(from));
        match &mut self.state {
            State::Locked { source } if *source == from => Verdict::Accepted,
            // The SDP's own address, within the window: the lock is displaced, once.
            State::Locked { .. } => self.lock(now, from),
            State::Learning { .. } if old => Verdict::Accepted,
            State::Learning { candidates } => {
                if is_second(candidates, from, probe) {
                    self.lock(now, from)
                } else {
                    Verdict::Accepted
                }
            }
        }
    }

    fn lock(&mut self, now: Instant, source: SocketAddr) -> Verdict {
        // After the window the target stays what the SDP says; we only stop listening to others.
        if now <= self.window_ends {
            self.target = source;
        }
        self.previous = None;
        self.state = State::Locked { source };
        Verdict::Locked
    }

    /// An RTCP packet has come from `from`, on the RTP port where `on_rtp_port` says so. True where it may be read.
    /// Its own tuple is learned from the RTP source's address only; RTP is never moved (RTP-015).
    pub fn admit_rtcp(&mut self, now: Instant, from: SocketAddr, on_rtp_port: bool) -> bool {
        if on_rtp_port {
            return self.may_speak(now, from);
        }
        if self.rtcp_mux {
            return false;
        }
        if self.nat == MediaNat::Off {
            return from == self.rtcp_sdp;
        }
        match self.locked() {
            Some(source) if source.ip() == from.ip() => {
                self.rtcp_target = from;
                true
            }
            Some(_) => false,
            None => from.ip() == self.rtcp_sdp.ip(),
        }
    }
}

/// Whether the packet follows on one that its source has sent before; if not, it is remembered.
fn is_second(candidates: &mut [Option<Candidate>; CANDIDATES], source: SocketAddr, probe: Probe) -> bool {
    let known = candidates.iter().position(|candidate| {
        candidate.as_ref().is_some_and(|candidate| candidate.source == source && candidate.ssrc == probe.ssrc)
    });
    let follows = known
        .and_then(|index| candidates[index].as_ref())
        .is_some_and(|candidate| probe.sequence == candidate.sequence.wrapping_add(1));
    let index = known.or_else(|| candidates.iter().position(Option::is_none)).unwrap_or_else(|| {
        candidates.rotate_left(1);
        CANDIDATES - 1
    });
    candidates[index] = Some(Candidate { source, ssrc: probe.ssrc, sequence: probe.sequence });
    follows
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
