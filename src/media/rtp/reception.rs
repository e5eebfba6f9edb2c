//! Who is heard: SSRCs, their sequence and jitter, and the choice between two of them (RFC 3550, 8.2).

use std::time::{Duration, Instant};

use super::packet::Packet;
use super::sequence::{Placement, Sequence};

/// A superseded SSRC that has been silent this long may come back (RTP-003).
const SUPERSEDED_SILENCE: Duration = Duration::from_millis(200);
/// Superseded SSRCs that are remembered.
const SUPERSEDED: usize = 4;

/// What to do with an audio packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Play it, at this extended sequence number.
    Play(u64),
    /// Play it: its sender has restarted, with other numbers. The time line goes on.
    PlayRestarted(u64),
    /// Play it: another SSRC speaks now. The time line goes on.
    PlayNewSsrc(u64),
    /// It came before.
    Duplicate,
    /// Its SSRC has been superseded, or its sequence is in doubt.
    Discard,
}

/// The stream that is heard now and the sums of all before it.
#[derive(Debug, Default)]
pub struct Reception {
    current: Option<Stream>,
    superseded: [Option<(u32, Instant)>; SUPERSEDED],
    epoch: u32,
    lost_before: u64,
    gaps_before: u64,
    /// Changes of SSRC.
    pub ssrc_changes: u64,
    /// Interarrival jitter.
    pub jitter: Jitter,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    last: Instant,
    sequence: Sequence,
}

impl Reception {
    /// An audio packet has come.
    pub fn hear(&mut self, now: Instant, packet: &Packet<'_>) -> Heard {
        let Some(stream) = &mut self.current else {
            return Heard::Play(self.begin(now, packet));
        };
        if stream.ssrc == packet.ssrc {
            stream.last = now;
            return match stream.sequence.observe(packet.sequence) {
                Placement::Ahead(number) | Placement::Earlier(number) => Heard::Play(number),
                Placement::Duplicate => Heard::Duplicate,
                Placement::Suspect => Heard::Discard,
                Placement::Restart => Heard::PlayRestarted(self.begin(now, packet)),
            };
        }
        let left = (stream.ssrc, stream.last);
        if self.is_superseded(now, packet.ssrc) {
            return Heard::Discard;
        }
        self.supersede(left);
        self.ssrc_changes += 1;
        Heard::PlayNewSsrc(self.begin(now, packet))
    }

    /// A packet that is not audio has come; its extended number where it belongs to the audio's sequence.
    pub fn hear_other(&mut self, packet: &Packet<'_>) -> Option<u64> {
        let stream = self.current.as_mut().filter(|stream| stream.ssrc == packet.ssrc)?;
        stream.sequence.observe_other(packet.sequence)
    }

    fn begin(&mut self, now: Instant, packet: &Packet<'_>) -> u64 {
        (self.lost_before, self.gaps_before) = (self.lost(), self.gaps());
        self.epoch += 1;
        self.jitter.restart();
        let sequence = Sequence::new(self.epoch, packet.sequence);
        self.current = Some(Stream { ssrc: packet.ssrc, last: now, sequence });
        (u64::from(self.epoch) << 32) + (1 << 16) + u64::from(packet.sequence)
    }

    fn is_superseded(&mut self, now: Instant, ssrc: u32) -> bool {
        let Some(entry) = self.superseded.iter_mut().find(|entry| entry.is_some_and(|(other, _)| other == ssrc)) else {
            return false;
        };
        let silent = entry.is_some_and(|(_, last)| now.saturating_duration_since(last) >= SUPERSEDED_SILENCE);
        *entry = if silent { None } else { Some((ssrc, now)) };
        !silent
    }

    fn supersede(&mut self, left: (u32, Instant)) {
        self.superseded.rotate_right(1);
        self.superseded[0] = Some(left);
    }

    /// Packets that never came, of all SSRCs.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_before + self.current.as_ref().map_or(0, |stream| stream.sequence.lost())
    }

    /// Gaps in the numbers, of all SSRCs.
    #[must_use]
    pub fn gaps(&self) -> u64 {
        self.gaps_before + self.current.as_ref().map_or(0, |stream| stream.sequence.gaps())
    }

    /// How many packets between two extended numbers have not come.
    #[must_use]
    pub fn missing_between(&self, after: u64, before: u64) -> u64 {
        self.current.as_ref().map_or(0, |stream| stream.sequence.missing_between(after, before))
    }

    /// SSRC and sequence of the stream that is heard now.
    pub fn current(&mut self) -> Option<(u32, &mut Sequence)> {
        self.current.as_mut().map(|stream| (stream.ssrc, &mut stream.sequence))
    }
}

/// Interarrival jitter (RFC 3550, A.8), in ticks.
#[derive(Debug, Default)]
pub struct Jitter {
    /// Arrival and timestamp of the last packet.
    last: Option<(Instant, u32)>,
    now: f64,
    max: f64,
    sum: f64,
    count: u64,
}

impl Jitter {
    /// A packet of `timestamp` ticks of a clock of `clock_rate` Hz has come.
    pub fn observe(&mut self, now: Instant, timestamp: u32, clock_rate: u32) {
        if let Some((last, before)) = self.last {
            let arrived = now.saturating_duration_since(last).as_secs_f64() * f64::from(clock_rate);
            let sent = f64::from(timestamp.wrapping_sub(before) as i32);
            let difference = (arrived - sent).abs();
            // A jump of more than a second is a new time line, not jitter.
            if difference < f64::from(clock_rate) {
                self.now += (difference - self.now) / 16.0;
                self.max = self.max.max(self.now);
                self.sum += self.now;
                self.count += 1;
            }
        }
        self.last = Some((now, timestamp));
    }

    fn restart(&mut self) {
        self.last = None;
    }

    /// Jitter now, in ticks.
    #[must_use]
    pub fn ticks(&self) -> u32 {
        self.now as u32
    }

    /// Greatest and mean jitter in milliseconds, of a clock of `clock_rate` Hz.
    #[must_use]
    pub fn max_and_mean_ms(&self, clock_rate: u32) -> (f64, f64) {
        let per_ms = f64::from(clock_rate.max(1000)) / 1000.0;
        let mean = if self.count == 0 { 0.0 } else { self.sum / self.count as f64 };
        (self.max / per_ms, mean / per_ms)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    fn packet(ssrc: u32, sequence: u16) -> Packet<'static> {
        Packet { marker: false, payload_type: 0, sequence, timestamp: 0, ssrc, payload: &[0; 160] }
    }

    #[test]
    fn rtp_003_three_that_take_turns_make_three_changes_and_no_more() {
        let start = Instant::now();
        let mut reception = Reception::default();
        for turn in 0..100_u16 {
            for ssrc in 1..=3 {
                reception.hear(start + Duration::from_millis(20 * u64::from(turn)), &packet(ssrc, turn));
            }
        }
        assert_eq!(reception.ssrc_changes, 2, "from 1 to 2 to 3");
        assert_eq!(reception.current().map(|(ssrc, _)| ssrc), Some(3));
    }

    #[test]
    fn rtp_003_a_superseded_ssrc_comes_back_after_200_ms_of_silence() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut reception = Reception::default();
        reception.hear(at(0), &packet(1, 1));
        assert!(matches!(reception.hear(at(20), &packet(2, 1)), Heard::PlayNewSsrc(_)));
        assert_eq!(reception.hear(at(199), &packet(1, 2)), Heard::Discard);
        assert_eq!(reception.hear(at(398), &packet(1, 3)), Heard::Discard, "silent for 199 ms only");
        assert!(matches!(reception.hear(at(598), &packet(1, 4)), Heard::PlayNewSsrc(_)));
    }

    #[test]
    fn rtp_002_a_restart_is_no_change_of_ssrc_and_losses_before_it_stay_counted() {
        let start = Instant::now();
        let mut reception = Reception::default();
        for sequence in [1, 3, 20_000] {
            reception.hear(start, &packet(1, sequence));
        }
        assert!(matches!(reception.hear(start, &packet(1, 20_001)), Heard::PlayRestarted(_)));
        assert_eq!((reception.lost(), reception.ssrc_changes), (1, 0));
    }

    #[test]
    fn rtp_044_jitter_is_that_of_the_rfc_and_a_jump_of_the_clock_is_none() {
        let start = Instant::now();
        let mut jitter = Jitter::default();
        jitter.observe(start, 0, 8000);
        jitter.observe(start + Duration::from_millis(36), 160, 8000);
        let (max, mean) = jitter.max_and_mean_ms(8000);
        assert!((max - 1.0).abs() < 1e-9 && (mean - 1.0).abs() < 1e-9, "a sixteenth of 16 ms: {max} {mean}");
        jitter.observe(start + Duration::from_millis(56), 1_000_000, 8000);
        assert_eq!(jitter.max_and_mean_ms(8000), (max, mean));
    }
}
