//! Sound to speak and ways to look at what was heard.

use std::f64::consts::TAU;
use std::time::Instant;

use trunkstream::base::random::Random;

use super::pbx::decode;
use super::text::Rtp;

/// Samples that G.711 of `payload_type` carries without a change: random codes but 0x7F, which µ-law does not return.
pub fn speech(payload_type: u8, ms: usize) -> Vec<i16> {
    let mut random = Random::from_number(7);
    let mut payload = vec![0; ms * 8];
    random.fill(&mut payload);
    payload.iter_mut().filter(|code| **code == 0x7F).for_each(|code| *code = 0x7E);
    decode(&Rtp { marker: false, payload_type, sequence: 0, timestamp: 0, ssrc: 0, payload })
}

/// A sine of half the full scale.
pub fn tone(hz: f64, rate: u32, ms: u32) -> Vec<i16> {
    let sample = |n: u32| (16_000.0 * (TAU * hz * f64::from(n) / f64::from(rate)).sin()) as i16;
    (0..rate / 1000 * ms).map(sample).collect()
}

/// Amplitude of a sine in `samples`, and how far below it everything else is, in dB.
pub fn sine_of(hz: f64, rate: u32, samples: &[i16]) -> (f64, f64) {
    let count = samples.len() as f64;
    let project = |wave: fn(f64) -> f64| {
        let sum: f64 =
            samples.iter().enumerate().map(|(n, s)| f64::from(*s) * wave(TAU * hz * n as f64 / f64::from(rate))).sum();
        2.0 * sum / count
    };
    let (sine, cosine) = (project(f64::sin), project(f64::cos));
    let amplitude = sine.hypot(cosine);
    let rest = |(n, sample): (usize, &i16)| {
        let angle = TAU * hz * n as f64 / f64::from(rate);
        (f64::from(*sample) - sine * angle.sin() - cosine * angle.cos()).powi(2)
    };
    let noise = samples.iter().enumerate().map(rest).sum::<f64>() / count;
    (amplitude, 10.0 * (amplitude * amplitude / 2.0 / noise.max(1e-9)).log10())
}

/// Where `needle` stands in `hay`.
pub fn find<T: PartialEq>(hay: &[T], needle: &[T]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// The payloads of packets, one after the other.
pub fn payloads<'a>(packets: impl IntoIterator<Item = &'a Rtp>) -> Vec<u8> {
    packets.into_iter().flat_map(|packet| packet.payload.clone()).collect()
}

/// Whether this is G.711 silence.
pub fn is_silent(packet: &Rtp) -> bool {
    packet.payload.iter().all(|code| matches!(code, 0xFF | 0xD5))
}

/// One SSRC, sequence numbers without a gap, timestamps that count samples, one packet every 20 ms on the dot.
pub fn assert_even(packets: &[(Instant, &Rtp)]) {
    for pair in packets.windows(2) {
        let ((at, before), (next_at, after)) = (&pair[0], &pair[1]);
        assert_eq!((*next_at - *at).as_micros(), 20_000, "packet {}", after.sequence);
        assert_follows(before, after, 160);
    }
}

/// `after` is the next packet of the stream, `ticks` later.
pub fn assert_follows(before: &Rtp, after: &Rtp, ticks: u32) {
    assert_eq!(after.ssrc, before.ssrc);
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert_eq!(after.timestamp.wrapping_sub(before.timestamp), ticks, "packet {}", after.sequence);
}
