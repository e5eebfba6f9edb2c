//! RTCP: our reports, and what the peer's say (RFC 3550, 6). The home of `rtcp` and `webrtc-util`.

use std::time::{Duration, Instant};

use rtcp::goodbye::Goodbye;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use webrtc_util::marshal::{Marshal, Unmarshal};

use super::reception::Reception;
use crate::base::random::Random;
use crate::media::report::PeerReport;

/// Mean time between two reports; the first comes after half of it (RTP-040).
const INTERVAL: Duration = Duration::from_secs(5);
/// Octets of the common header.
const HEADER_LEN: usize = 4;

/// What we have sent so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sent {
    /// Our SSRC.
    pub ssrc: u32,
    /// RTP timestamp of now.
    pub timestamp: u32,
    /// Packets, over all.
    pub packets: u64,
    /// Payload octets, over all.
    pub octets: u64,
}

/// What a peer's packet was good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// It was RTCP.
    Understood,
    /// It was not, or not wholly.
    Malformed,
}

/// Sends and reads reports.
#[derive(Debug)]
pub struct Reports {
    started: Instant,
    random: Random,
    cname: String,
    due: Option<Instant>,
    packets_at_last: u64,
    /// Middle of the NTP time of the peer's last sender report, and when it came.
    peer_sender_report: Option<(u32, Instant)>,
    /// What the peer last said about our stream.
    pub peer: Option<PeerReport>,
}

impl Reports {
    /// Reports of one call. The CNAME is random (RFC 7022).
    #[must_use]
    pub fn new(now: Instant, mut random: Random) -> Self {
        let cname = random.hex(12);
        Self { started: now, random, cname, due: None, packets_at_last: 0, peer_sender_report: None, peer: None }
    }

    /// Arms the first report, 2.5 s × 0.5–1.5 from now, unless armed.
    pub fn start(&mut self, now: Instant) {
        if self.due.is_none() {
            self.due = Some(now + self.jittered(INTERVAL / 2));
        }
    }

    fn jittered(&mut self, interval: Duration) -> Duration {
        interval / 2 + interval * self.random.below(1000) / 1000
    }

    /// When the next report is due; none before the first format.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.due
    }

    /// Whether a report is due; if so, the next is armed.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self.due.is_some_and(|due| now >= due);
        if due {
            self.due = Some(now + self.jittered(INTERVAL));
        }
        due
    }

    /// Writes a compound packet to `out`, which is cleared first: SR where we have sent since the last one, else RR; SDES;
    /// BYE where `goodbye`.
    pub fn write(&mut self, now: Instant, sent: &Sent, reception: &mut Reception, goodbye: bool, out: &mut Vec<u8>) {
        out.clear();
        let reports: Vec<_> = self.reception_report(now, reception).into_iter().collect();
        if sent.packets > self.packets_at_last {
            self.packets_at_last = sent.packets;
            let report = SenderReport {
                ssrc: sent.ssrc,
                ntp_time: self.ntp_time(now),
                rtp_time: sent.timestamp,
                packet_count: sent.packets as u32,
                octet_count: sent.octets as u32,
                reports,
                ..SenderReport::default()
            };
            append(&report, out);
        } else {
            append(&ReceiverReport { ssrc: sent.ssrc, reports, ..ReceiverReport::default() }, out);
        }
        let item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: self.cname.clone().into() };
        append(
            &SourceDescription { chunks: vec![SourceDescriptionChunk { source: sent.ssrc, items: vec![item] }] },
            out,
        );
        if goodbye {
            // With a reason of three letters the packet needs no padding.
            append(&Goodbye { sources: vec![sent.ssrc], reason: "end".into() }, out);
        }
    }

    fn reception_report(&self, now: Instant, reception: &mut Reception) -> Option<ReceptionReport> {
        let jitter = reception.jitter.ticks();
        let (ssrc, sequence) = reception.current()?;
        let (last_sender_report, arrived) = self.peer_sender_report.unzip();
        Some(ReceptionReport {
            ssrc,
            fraction_lost: sequence.take_fraction_lost(),
            total_lost: sequence.lost().min(0x7F_FFFF) as u32,
            last_sequence_number: sequence.highest(),
            jitter,
            last_sender_report: last_sender_report.unwrap_or(0),
            delay: arrived.map_or(0, |arrived| short(now.saturating_duration_since(arrived))),
        })
    }

    /// NTP time without a wall clock: since the session began, plus a second (RFC 3550, 6.4.1).
    fn ntp_time(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.started) + Duration::from_secs(1);
        (elapsed.as_secs() << 32) | ((u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000)
    }

    /// Reads a compound packet about our stream `ssrc` of `clock_rate` Hz. A BYE ends nothing (RTP-041). Never panics.
    pub fn read(&mut self, now: Instant, packet: &[u8], ssrc: u32, clock_rate: u32) -> Read {
        let mut rest = packet;
        while !rest.is_empty() {
            let Some((one, after)) = split(rest) else { return Read::Malformed };
            if self.read_one(now, one, ssrc, clock_rate) == Read::Malformed {
                return Read::Malformed;
            }
            rest = after;
        }
        if packet.is_empty() { Read::Malformed } else { Read::Understood }
    }

    fn read_one(&mut self, now: Instant, mut packet: &[u8], ssrc: u32, clock_rate: u32) -> Read {
        let reports = match packet[1] {
            200 => SenderReport::unmarshal(&mut packet).map(|report| {
                self.peer_sender_report = Some(((report.ntp_time >> 16) as u32, now));
                report.reports
            }),
            201 => ReceiverReport::unmarshal(&mut packet).map(|report| report.reports),
            203 => Goodbye::unmarshal(&mut packet).map(|_| Vec::new()),
            // SDES, APP, feedback, extended reports: nothing in them is of use here.
            192..=223 => return Read::Understood,
            _ => return Read::Malformed,
        };
        let Ok(reports) = reports else { return Read::Malformed };
        if let Some(report) = reports.iter().find(|report| report.ssrc == ssrc) {
            self.peer = Some(self.peer_report(now, report, clock_rate));
        }
        Read::Understood
    }

    fn peer_report(&self, now: Instant, report: &ReceptionReport, clock_rate: u32) -> PeerReport {
        let passed = ((self.ntp_time(now) >> 16) as u32)
            .wrapping_sub(report.last_sender_report)
            .checked_sub(report.delay)
            .filter(|_| report.last_sender_report != 0);
        // What says more than a minute is not a round trip but an error.
        let rtt = passed.map(|passed| f64::from(passed) * 1000.0 / 65_536.0).filter(|ms| *ms < 60_000.0);
        PeerReport {
            lost: report.total_lost,
            loss_percent: f64::from(report.fraction_lost) * 100.0 / 256.0,
            jitter_ms: f64::from(report.jitter) * 1000.0 / f64::from(clock_rate.max(1)),
            rtt_ms: rtt.or(self.peer.and_then(|peer| peer.rtt_ms)),
        }
    }
}

/// In 65536ths of a second, the middle of an NTP time.
fn short(duration: Duration) -> u32 {
    (duration.as_micros() * 65_536 / 1_000_000) as u32
}

/// The first packet of a compound one, and the rest.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])) * 4 + HEADER_LEN;
    (bytes[0] >> 6 == 2).then(|| bytes.split_at_checked(length))?
}

fn append(packet: &impl Marshal, out: &mut Vec<u8>) {
    let bytes =
        packet.marshal().expect("one report, one chunk with a short name, one source: all within RTCP's limits");
    out.extend_from_slice(&bytes);
}

#[cfg(test)]
#[path = "rtcp_tests.rs"]
mod tests;
