//! What a caller hears: the packets of one call counted, timed, and laid out by their timestamps.
//!
//! This is a measuring instrument: no jitter buffer, no concealment. What did not come stays silent.

use std::fmt;
use std::time::{Duration, Instant};

use super::statistics::Spread;
use crate::base::pcm::SampleRate;
use crate::media::codec::{Codec, Decoder};
use crate::media::rtp::packet::{Datagram, Packet};

/// The longest recording, in samples: one hour at 8 kHz. What comes later is counted, not kept.
const LONGEST: usize = 8_000 * 3_600;
/// Louder than this is sound: above what G.711 makes of silence.
const SOUND: u16 = 64;
/// A timestamp that is further ahead of the sound so far is taken for a new beginning, in samples: ten seconds at 8 kHz.
const JUMP: usize = 80_000;

/// The receiving side of one call, all figures since its begin.
pub struct Heard {
    payload_type: u8,
    codec: &'static dyn Codec,
    decoder: Box<dyn Decoder>,
    recording: bool,
    stream: Option<Stream>,
    ssrcs: Vec<u32>,
    received: u64,
    duplicate: u64,
    /// Lost packets of earlier streams.
    lost_before: u64,
    errors: Vec<Duration>,
    first_packet: Option<Instant>,
    first_sound: Option<Instant>,
    samples: Vec<i16>,
    /// Where in the recording each packet begins, and when it came.
    arrivals: Vec<(usize, Instant)>,
    scratch: Vec<i16>,
}

/// The packets of one SSRC.
#[derive(Debug, Clone, Copy)]
struct Stream {
    ssrc: u32,
    /// Sequence numbers without wrap-around, from 2^16 so that early ones are not negative.
    first: u64,
    highest: u64,
    /// Bit n: `highest - n` has come.
    window: u64,
    received: u64,
    /// The packet before this one in order of arrival: number, timestamp, time.
    last: (u64, u32, Instant),
    /// The timestamp that stands at `base` in the recording.
    first_timestamp: u32,
    base: usize,
}

impl Heard {
    /// Hears `codec` under `payload_type`; keeps the sound where `recording`.
    #[must_use]
    pub fn new(codec: &'static dyn Codec, payload_type: u8, recording: bool) -> Self {
        Self {
            payload_type,
            codec,
            decoder: codec.decoder(),
            recording,
            stream: None,
            ssrcs: Vec::new(),
            received: 0,
            duplicate: 0,
            lost_before: 0,
            errors: Vec::new(),
            first_packet: None,
            first_sound: None,
            samples: Vec::new(),
            arrivals: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// A datagram has come to the RTP port at `arrival`.
    pub fn handle_rtp(&mut self, arrival: Instant, datagram: &[u8]) {
        let Datagram::Rtp(packet) = Datagram::read(datagram) else { return };
        let Some(sequence) = self.admit(arrival, &packet) else {
            self.duplicate += 1;
            return;
        };
        self.received += 1;
        self.first_packet.get_or_insert(arrival);
        if packet.payload_type == self.payload_type {
            self.time(arrival, sequence, &packet);
            self.keep(arrival, &packet);
        }
    }

    /// The packet's number without wrap-around; `None` where it came before.
    fn admit(&mut self, arrival: Instant, packet: &Packet<'_>) -> Option<u64> {
        let Some(stream) = self.stream.as_mut().filter(|stream| stream.ssrc == packet.ssrc) else {
            self.begin(arrival, packet);
            return Some((1 << 16) + u64::from(packet.sequence));
        };
        let ahead = i64::from(packet.sequence.wrapping_sub(stream.highest as u16) as i16);
        let sequence = stream.highest.saturating_add_signed(ahead);
        if ahead > 0 {
            stream.window = stream.window.checked_shl(ahead as u32).unwrap_or(0) | 1;
            stream.highest = sequence;
        } else {
            let bit = 1u64.checked_shl(ahead.unsigned_abs() as u32)?;
            if stream.window & bit != 0 {
                return None;
            }
            stream.window |= bit;
            stream.first = stream.first.min(sequence);
        }
        stream.received += 1;
        Some(sequence)
    }

    /// The first packet of a stream.
    fn begin(&mut self, arrival: Instant, packet: &Packet<'_>) {
        self.lost_before += self.stream.map_or(0, |stream| stream.lost());
        let first = (1 << 16) + u64::from(packet.sequence);
        self.stream = Some(Stream {
            ssrc: packet.ssrc,
            first,
            highest: first,
            window: 1,
            received: 1,
            last: (first, packet.timestamp, arrival),
            first_timestamp: packet.timestamp,
            base: self.samples.len(),
        });
        if !self.ssrcs.contains(&packet.ssrc) {
            self.ssrcs.push(packet.ssrc);
        }
    }

    /// How much the time since the packet before is not what their timestamps say.
    fn time(&mut self, arrival: Instant, sequence: u64, packet: &Packet<'_>) {
        let clock = u64::from(self.codec.format().clock_rate);
        let Some(stream) = &mut self.stream else { return };
        let (number, timestamp, at) = stream.last;
        if sequence == number + 1 {
            let ticks = u64::from(packet.timestamp.wrapping_sub(timestamp));
            let expected = Duration::from_nanos(ticks * 1_000_000_000 / clock);
            self.errors.push(arrival.saturating_duration_since(at).abs_diff(expected));
        }
        if sequence >= number {
            stream.last = (sequence, packet.timestamp, arrival);
        }
    }

    /// Lays the packet's sound where its timestamp says.
    fn keep(&mut self, arrival: Instant, packet: &Packet<'_>) {
        self.scratch.clear();
        self.decoder.decode(packet.payload, &mut self.scratch);
        if self.first_sound.is_none() && self.scratch.iter().any(|sample| sample.unsigned_abs() > SOUND) {
            self.first_sound = Some(arrival);
        }
        let Some(stream) = self.stream.as_mut().filter(|_| self.recording) else { return };
        let (rate, clock) = (self.codec.sample_rate().hz(), self.codec.format().clock_rate);
        let ticks = i64::from(packet.timestamp.wrapping_sub(stream.first_timestamp).cast_signed());
        let ahead = (ticks * i64::from(rate) / i64::from(clock)) as isize;
        let place = stream.base.checked_add_signed(ahead);
        let place = match place {
            Some(place) if place > self.samples.len() + JUMP => {
                (stream.first_timestamp, stream.base) = (packet.timestamp, self.samples.len());
                Some(self.samples.len())
            }
            place => place,
        };
        let Some(place) = place.filter(|place| place + self.scratch.len() <= LONGEST) else { return };
        if self.samples.len() < place + self.scratch.len() {
            self.samples.resize(place + self.scratch.len(), 0);
        }
        self.samples[place..place + self.scratch.len()].copy_from_slice(&self.scratch);
        self.arrivals.push((place, arrival));
    }

    /// Packets that came, each once.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that came again.
    #[must_use]
    pub fn duplicate(&self) -> u64 {
        self.duplicate
    }

    /// Sequence numbers that never came.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_before + self.stream.map_or(0, |stream| stream.lost())
    }

    /// The senders, in order of appearance.
    #[must_use]
    pub fn ssrcs(&self) -> &[u32] {
        &self.ssrcs
    }

    /// By how much intervals between neighbouring packets were not those of their timestamps.
    #[must_use]
    pub fn pacing(&self) -> Spread {
        Spread::of(self.errors.iter().copied())
    }

    /// The same one by one, for a pacing over many calls.
    #[must_use]
    pub fn interval_errors(&self) -> &[Duration] {
        &self.errors
    }

    /// When the first packet came.
    #[must_use]
    pub fn first_packet(&self) -> Option<Instant> {
        self.first_packet
    }

    /// When the first packet came that is not silence.
    #[must_use]
    pub fn first_sound(&self) -> Option<Instant> {
        self.first_sound
    }

    /// The rate of the recording: the codec's.
    #[must_use]
    pub fn rate(&self) -> SampleRate {
        self.codec.sample_rate()
    }

    /// The recording; empty where none was wanted.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        &self.samples
    }

    /// When sample `place` of the recording was heard: the median packet sets the clock. `None` before the first.
    #[must_use]
    pub fn heard_at(&self, place: usize) -> Option<Instant> {
        let rate = u64::from(self.codec.sample_rate().hz());
        let span = |samples: usize| Duration::from_nanos(samples as u64 * 1_000_000_000 / rate);
        let &(first, at) = self.arrivals.first()?;
        // Each packet's guess at when the first one came, from an instant before all of them.
        let early = at.checked_sub(Duration::from_secs(3_600))?;
        let guess = |&(place, at): &(usize, Instant)| {
            (at.saturating_duration_since(early) + span(first)).saturating_sub(span(place))
        };
        let median = Spread::of(self.arrivals.iter().map(guess)).p50;
        Some((early + median + span(place)) - span(first))
    }
}

impl Stream {
    fn lost(&self) -> u64 {
        (self.highest - self.first + 1).saturating_sub(self.received)
    }
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Heard({} packets, {} samples)", self.received, self.samples.len())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // one reading of the clock as the start of virtual time
mod tests {
    use super::*;
    use crate::media::codec::Pcmu;

    struct Sender {
        start: Instant,
        heard: Heard,
    }

    impl Sender {
        fn new() -> Self {
            Self { start: Instant::now(), heard: Heard::new(&Pcmu, 0, true) }
        }

        /// Packet `number` of a stream that begins just before both counters wrap, heard at `ms`.
        fn packet(&mut self, ssrc: u32, number: u16, ms: u64) {
            let sequence = 65_534u16.wrapping_add(number);
            let timestamp = (u32::MAX - 100).wrapping_add(u32::from(number) * 160);
            let payload = [0x80 + number as u8; 160];
            let packet = Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload: &payload };
            let mut bytes = Vec::new();
            packet.write(&mut bytes);
            self.heard.handle_rtp(self.start + Duration::from_millis(ms), &bytes);
        }
    }

    #[test]
    fn losses_and_copies_are_counted_across_the_wrap() {
        let mut sender = Sender::new();
        for number in [0, 1, 2, 2, 4, 6, 5, 9] {
            sender.packet(7, number, u64::from(number) * 20);
        }
        let heard = &sender.heard;
        assert_eq!((heard.received(), heard.duplicate(), heard.lost()), (7, 1, 3));
        assert_eq!(heard.ssrcs(), [7]);
    }

    #[test]
    fn what_is_lost_stays_silent_and_the_rest_stands_where_its_timestamp_says() {
        let mut sender = Sender::new();
        for number in [0, 2, 1, 4] {
            sender.packet(7, number, u64::from(number) * 20);
        }
        let samples = sender.heard.samples();
        assert_eq!(samples.len(), 800);
        assert!(samples[480..640].iter().all(|&sample| sample == 0));
        let firsts: Vec<i16> = [0, 160, 320, 640].iter().map(|&place| samples[place]).collect();
        assert!(firsts.windows(2).all(|pair| pair[0] > pair[1]), "µ-law codes from 0x80 on fall: {firsts:?}");
    }

    #[test]
    fn pacing_is_the_error_of_the_interval_and_only_between_neighbours() {
        let mut sender = Sender::new();
        for (number, ms) in [(0, 0), (1, 20), (2, 43), (3, 60), (5, 200)] {
            sender.packet(7, number, ms);
        }
        let errors: Vec<u128> = sender.heard.interval_errors().iter().map(Duration::as_millis).collect();
        assert_eq!(errors, [0, 3, 3]);
        assert_eq!(sender.heard.pacing().max, Duration::from_millis(3));
    }

    #[test]
    fn another_ssrc_is_noted_and_recorded_behind_the_first() {
        let mut sender = Sender::new();
        sender.packet(7, 0, 0);
        sender.packet(7, 2, 40);
        sender.packet(8, 9, 60);
        let heard = &sender.heard;
        assert_eq!((heard.ssrcs(), heard.lost(), heard.samples().len()), (&[7, 8][..], 1, 640));
    }

    #[test]
    fn the_clock_of_the_recording_is_the_median_packet_s() {
        let mut sender = Sender::new();
        for (number, ms) in [(0, 9), (1, 20), (2, 40), (3, 60), (4, 99)] {
            sender.packet(7, number, ms);
        }
        let at = sender.heard.heard_at(320).expect("packets came");
        assert_eq!(at, sender.start + Duration::from_millis(40));
    }

    #[test]
    fn first_sound_is_the_first_packet_that_is_not_silence() {
        let (start, mut heard) = (Instant::now(), Heard::new(&Pcmu, 0, false));
        for (number, code) in [(0u16, 0xFF), (1, 0xFE), (2, 0x80)] {
            let payload = [code; 160];
            let (timestamp, ssrc) = (u32::from(number) * 160, 1);
            let packet =
                Packet { marker: false, payload_type: 0, sequence: number, timestamp, ssrc, payload: &payload };
            let mut bytes = Vec::new();
            packet.write(&mut bytes);
            heard.handle_rtp(start + Duration::from_millis(u64::from(number)), &bytes);
        }
        assert_eq!(heard.first_packet(), Some(start));
        assert_eq!(heard.first_sound(), Some(start + Duration::from_millis(2)));
        assert!(heard.samples().is_empty(), "no recording was wanted");
    }
}
