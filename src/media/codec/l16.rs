//! Linear PCM of 16 bits in network byte order: `L16/16000` and `L16/8000`, one channel (RFC 3551, 4.5.11).

use super::{Codec, Decoder, Encoder};
use crate::base::pcm::SampleRate;
use crate::base::rtp_format::{self, RtpFormat};

/// The codec at one of its rates; every sample comes out as it went in.
pub struct L16 {
    format: RtpFormat,
    rate: SampleRate,
}

impl L16 {
    /// At 16 kHz.
    pub const WIDE: Self = Self { format: rtp_format::L16_WIDE, rate: SampleRate::Hz16000 };
    /// At 8 kHz.
    pub const NARROW: Self = Self { format: rtp_format::L16, rate: SampleRate::Hz8000 };
}

/// Stateless both ways.
struct Swap;

impl Codec for L16 {
    fn format(&self) -> RtpFormat {
        self.format
    }

    fn sample_rate(&self) -> SampleRate {
        self.rate
    }

    fn ticks(&self, payload: &[u8]) -> u32 {
        if payload.len().is_multiple_of(2) { (payload.len() / 2) as u32 } else { 0 }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Swap)
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Swap)
    }
}

impl Decoder for Swap {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        out.extend(payload.as_chunks().0.iter().map(|octets| i16::from_be_bytes(*octets)));
    }
}

impl Encoder for Swap {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.extend(pcm.iter().flat_map(|sample| sample.to_be_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3551_4_5_11_the_most_significant_octet_is_first_and_nothing_changes() {
        let all: Vec<i16> = (i16::MIN..=i16::MAX).collect();
        for codec in [L16::WIDE, L16::NARROW] {
            let (mut payload, mut back) = (Vec::new(), Vec::new());
            codec.encoder().encode(&all, &mut payload);
            assert_eq!((&payload[..2], payload.len()), (&[0x80, 0x00][..], 131_072));
            codec.decoder().decode(&payload, &mut back);
            assert_eq!(back, all);
        }
    }

    #[test]
    fn a_payload_with_half_a_sample_has_no_length() {
        assert_eq!([640, 641, 0].map(|octets| L16::WIDE.ticks(&vec![1; octets])), [320, 0, 0]);
    }
}
