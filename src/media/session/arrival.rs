//! What comes from the network: told apart, checked, counted, passed on (RTP-001, RTP-011 to RTP-015).

use std::net::SocketAddr;
use std::time::Instant;

use super::MediaSession;
use super::copies::Seen;
use super::inbound::{Found, Kind};
use crate::media::event::MediaEvent;
use crate::media::rtp::packet::{Datagram, Packet};
use crate::media::rtp::rtcp::Read;
use crate::media::rtp::source::{Probe, Verdict};
use crate::media::rtp::srtp::Unprotected;

/// What is counted here and not further down.
#[derive(Debug, Default)]
pub struct Counts {
    pub packets: u64,
    pub octets: u64,
    pub malformed: u64,
    pub stun: u64,
    pub dtls: u64,
    pub implausible: u64,
    pub unknown_payload_type: u64,
    pub source_rejects: u64,
    pub not_authentic: u64,
    pub replays: u64,
    pub rtcp: u64,
    pub rtcp_malformed: u64,
}

impl MediaSession {
    /// A datagram has come to the RTP port. True where it was the peer's media; with SRTP, authentic.
    pub fn handle_rtp(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) -> bool {
        let seen = Seen { at: now, outgoing: false, peer: from, rtcp_port: false, packet };
        if self.copies.is_some() && self.srtp.is_none() {
            self.copy(seen, false);
        }
        let may_speak = self.source.as_ref().is_some_and(|source| source.may_speak(now, from));
        if !may_speak {
            self.counts.source_rejects += 1;
            return false;
        }
        match self.srtp {
            Some(_) => self.handle_protected(seen),
            None => self.handle_datagram(now, from, packet),
        }
    }

    /// RTP is authenticated and decrypted before anything else (RTP-014); what is not RTP is told apart as without SRTP.
    fn handle_protected(&mut self, seen: Seen<'_>) -> bool {
        let Seen { at: now, peer: from, packet, .. } = seen;
        // Padding and its count are encrypted, so what looks malformed may be RTP.
        let may_be_rtp = matches!(Datagram::read(packet), Datagram::Rtp(_) | Datagram::Malformed);
        let Some(srtp) = self.srtp.as_mut().filter(|_| may_be_rtp) else {
            return self.handle_datagram(now, from, packet);
        };
        match srtp.unprotect_rtp(packet) {
            Ok(plain) => {
                self.copy(Seen { packet: plain.as_ref(), ..seen }, false);
                self.handle_datagram(now, from, plain.as_ref())
            }
            Err(why) => {
                self.copy(seen, true);
                self.count_unprotected(why);
                false
            }
        }
    }

    fn count_unprotected(&mut self, why: Unprotected) {
        match why {
            Unprotected::Malformed => self.counts.malformed += 1,
            Unprotected::NotAuthentic => self.counts.not_authentic += 1,
            Unprotected::Replay => self.counts.replays += 1,
        }
    }

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) -> bool {
        match Datagram::read(packet) {
            Datagram::Rtp(rtp) => return self.handle_media(now, from, &rtp),
            Datagram::Rtcp => {
                self.handle_report(Seen { at: now, outgoing: false, peer: from, rtcp_port: false, packet });
            }
            Datagram::Stun => self.counts.stun += 1,
            Datagram::Dtls => self.counts.dtls += 1,
            Datagram::Malformed => self.counts.malformed += 1,
        }
        false
    }

    fn handle_media(&mut self, now: Instant, from: SocketAddr, packet: &Packet<'_>) -> bool {
        let kind = self.inbound.kind(packet);
        let plausible = kind.is_plausible(packet);
        let probe = Probe { ssrc: packet.ssrc, sequence: packet.sequence, plausible };
        match self.source.as_mut().map_or(Verdict::Rejected, |source| source.admit(now, from, probe)) {
            Verdict::Rejected => {
                self.counts.source_rejects += 1;
                return false;
            }
            Verdict::Locked => self.events.push_back(MediaEvent::SourceLocked(from)),
            Verdict::Accepted => {}
        }
        if kind == Kind::Unknown {
            self.counts.unknown_payload_type += 1;
            return false;
        }
        self.counts.packets += 1;
        self.counts.octets += packet.payload.len() as u64;
        self.supervision.heard(now);
        if !plausible {
            self.counts.implausible += 1;
            return false;
        }
        let Self { inbound, arbiter, events, .. } = self;
        inbound.handle(now, kind, packet, &mut |event| match event {
            Found::Event => arbiter.see_rtp(),
            Found::Digit(digit) => events.extend(arbiter.rtp(now, digit)),
            Found::SsrcChanged => events.push_back(MediaEvent::SsrcChanged),
        });
        true
    }

    /// A datagram has come to the RTCP port.
    pub fn handle_rtcp(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        let seen = Seen { at: now, outgoing: false, peer: from, rtcp_port: true, packet };
        if self.copies.is_some() && self.srtp.is_none() {
            self.copy(seen, false);
        }
        let admitted = self.source.as_ref().is_some_and(|source| source.may_report(now, from, false));
        if !admitted {
            self.counts.source_rejects += 1;
        } else if self.handle_report(seen)
            && let Some(source) = &mut self.source
        {
            source.reported(from);
        }
    }

    /// Reads a compound RTCP packet; false where it was none, or with SRTP not the peer's.
    fn handle_report(&mut self, seen: Seen<'_>) -> bool {
        let Some(srtp) = &mut self.srtp else { return self.read_report(seen.at, seen.packet) };
        match srtp.unprotect_rtcp(seen.packet) {
            Ok(plain) => {
                self.copy(Seen { packet: plain.as_ref(), ..seen }, false);
                return self.read_report(seen.at, plain.as_ref());
            }
            Err(Unprotected::Malformed) => self.counts.rtcp_malformed += 1,
            Err(why) => self.count_unprotected(why),
        }
        self.copy(seen, true);
        false
    }

    fn read_report(&mut self, now: Instant, packet: &[u8]) -> bool {
        let (ssrc, clock_rate) = (self.outbound.sent().ssrc, self.outbound.clock_rate());
        if self.reports.read(now, packet, ssrc, clock_rate) == Read::Malformed {
            self.counts.rtcp_malformed += 1;
            return false;
        }
        self.counts.rtcp += 1;
        // With comfort noise a silent sender is alive as long as it reports (RTP-042).
        if self.format.as_ref().is_some_and(|format| format.comfort_noise.is_some()) {
            self.supervision.heard_rtcp(now);
        }
        true
    }
}
