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
/// A locked source that was silent this long can be learned anew where the trunk says so (RTP-013).
const SILENCE: Duration = Duration::from_secs(10);
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
    ///    +---- c= or m= changed ----+--10 s of silence, then two in a row of its SSRC from the ACL--> Locked
    /// ```
    Learning {
        candidates: [Option<Candidate>; CANDIDATES],
    },
    Locked {
        source: SocketAddr,
    },
}

/// Where media of a trunk may come from.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Whether it may come from elsewhere than the SDP says (RTP-011).
    pub nat: MediaNat,
    /// The trunk's media networks.
    pub acl: Vec<IpNet>,
    /// A source that went silent may come back from elsewhere in `acl` (RTP-013).
    pub relearn_after_silence: bool,
}

/// The addresses of one session.
#[derive(Debug)]
pub struct Source {
    rules: Rules,
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
    /// The last valid packet of the locked source: when, and whose.
    heard: (Instant, u32),
    /// A source that may be the silent one, elsewhere.
    returning: Option<Candidate>,
}

impl Source {
    /// The SDP says `sdp` and `rtcp`; learning begins.
    #[must_use]
    pub fn new(now: Instant, rules: Rules, sdp: SocketAddr, rtcp: (SocketAddr, bool)) -> Self {
        Self {
            rules,
            sdp,
            target: sdp,
            state: State::Learning { candidates: Default::default() },
            window_ends: now + WINDOW,
            previous: None,
            previous_rests_until: now,
            rtcp_sdp: rtcp.0,
            rtcp_target: rtcp.0,
            rtcp_mux: rtcp.1,
            heard: (now, 0),
            returning: None,
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
            State::Locked { source } => from == source || self.displaces(now, from) || self.may_return(now, from),
            State::Learning { .. } => Some(from) == self.previous || self.is_allowed(from),
        }
    }

    /// RTP-011.
    fn is_allowed(&self, from: SocketAddr) -> bool {
        match self.rules.nat {
            MediaNat::Off => from == self.sdp,
            MediaNat::Auto | MediaNat::On => from.ip() == self.sdp.ip() || self.is_in_acl(from),
        }
    }

    fn is_in_acl(&self, from: SocketAddr) -> bool {
        self.rules.acl.iter().any(|net| net.contains(&from.ip()))
    }

    /// The SDP's own address, within the window (RTP-012).
    fn displaces(&self, now: Instant, from: SocketAddr) -> bool {
        from == self.sdp && now <= self.window_ends
    }

    /// The locked source has gone, and `from` is where it could have gone to (RTP-013).
    fn may_return(&self, now: Instant, from: SocketAddr) -> bool {
        self.rules.relearn_after_silence
            && self.rules.nat != MediaNat::Off
            && now.saturating_duration_since(self.heard.0) >= SILENCE
            && self.is_in_acl(from)
    }

    /// An RTP packet has come from `from`.
    pub fn admit(&mut self, now: Instant, from: SocketAddr, probe: Probe) -> Verdict {
        if !self.may_speak(now, from) {
            return Verdict::Rejected;
        }
        if !probe.plausible {
            return Verdict::Accepted;
        }
        let displaces = self.displaces(now, from);
        // Packets of the source before are on their way still, or never were from where media may come from now.
        let old = Some(from) == self.previous && (now < self.previous_rests_until || !self.is_allowed(from));
        match &mut self.state {
            State::Locked { source } if *source == from => {
                self.heard = (now, probe.ssrc);
                Verdict::Accepted
            }
            // The lock is displaced, once: then the source is the SDP's.
            State::Locked { .. } if displaces => self.lock(now, from, probe),
            State::Locked { .. } => self.come_back(now, from, probe),
            State::Learning { .. } if old => Verdict::Accepted,
            State::Learning { candidates } => {
                if is_second(candidates, from, probe) {
                    self.lock(now, from, probe)
                } else {
                    Verdict::Accepted
                }
            }
        }
    }

    /// A packet from elsewhere while the locked source is silent: two in a row with its SSRC, and media follows.
    fn come_back(&mut self, now: Instant, from: SocketAddr, probe: Probe) -> Verdict {
        if probe.ssrc != self.heard.1 {
            return Verdict::Rejected;
        }
        let follows = self.returning.as_ref().is_some_and(|candidate| candidate.is_followed_by(from, probe));
        if !follows {
            self.returning = Some(Candidate { source: from, ssrc: probe.ssrc, sequence: probe.sequence });
            return Verdict::Rejected;
        }
        self.target = from;
        self.lock(now, from, probe)
    }

    fn lock(&mut self, now: Instant, source: SocketAddr, probe: Probe) -> Verdict {
        // After the window the target stays what the SDP says; we only stop listening to others.
        if now <= self.window_ends {
            self.target = source;
        }
        (self.previous, self.returning) = (None, None);
        self.heard = (now, probe.ssrc);
        self.state = State::Locked { source };
        Verdict::Locked
    }

    /// Whether an RTCP packet from `from` may be read; it came to the RTP port where `on_rtp_port` says so (RTP-015).
    #[must_use]
    pub fn may_report(&self, now: Instant, from: SocketAddr, on_rtp_port: bool) -> bool {
        if on_rtp_port {
            return self.may_speak(now, from);
        }
        if self.rtcp_mux {
            return false;
        }
        match self.locked() {
            _ if self.rules.nat == MediaNat::Off => from == self.rtcp_sdp,
            Some(source) => source.ip() == from.ip(),
            None => from.ip() == self.rtcp_sdp.ip(),
        }
    }

    /// A report that was readable, and with SRTP authentic, came from `from` to the RTCP port. RTCP's own tuple is learned
    /// from the RTP source's address only, and never moves RTP (RTP-015).
    pub fn reported(&mut self, from: SocketAddr) {
        if self.rules.nat != MediaNat::Off && self.locked().is_some_and(|source| source.ip() == from.ip()) {
            self.rtcp_target = from;
        }
    }
}

impl Candidate {
    fn is_followed_by(&self, source: SocketAddr, probe: Probe) -> bool {
        self.source == source && self.ssrc == probe.ssrc && probe.sequence == self.sequence.wrapping_add(1)
    }
}

/// Whether the packet follows on one that its source has sent before; if not, it is remembered.
fn is_second(candidates: &mut [Option<Candidate>; CANDIDATES], source: SocketAddr, probe: Probe) -> bool {
    let known = candidates.iter().position(|candidate| {
        candidate.as_ref().is_some_and(|candidate| candidate.source == source && candidate.ssrc == probe.ssrc)
    });
    let follows = known
        .and_then(|index| candidates[index].as_ref())
        .is_some_and(|candidate| candidate.is_followed_by(source, probe));
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
