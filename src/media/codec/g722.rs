//! G.722 at 64 kbit/s: `G722/8000` (RFC 3551, 4.5.2), wideband. The home of `ezk-g722`.
//!
//! It samples at 16 kHz and its RTP clock runs at 8000 all the same: an octet holds two samples and lasts one tick.

use ezk_g722::libg722::{Bitrate, decoder, encoder};

use super::{Codec, Decoder, Encoder};
use crate::base::pcm::SampleRate;
use crate::base::rtp_format::{self, RtpFormat};

/// The codec.
pub struct G722;

/// The predictors of both bands and the receive filter.
struct Receive(decoder::Decoder);

/// The predictors of both bands and the transmit filter.
struct Transmit(encoder::Encoder);

impl Codec for G722 {
    fn format(&self) -> RtpFormat {
        rtp_format::G722
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::Hz16000
    }

    fn ticks(&self, payload: &[u8]) -> u32 {
        payload.len() as u32
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Receive(decoder::Decoder::new(Bitrate::Mode1_64000, false, false)))
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Transmit(encoder::Encoder::new(Bitrate::Mode1_64000, false, false)))
    }
}

impl Decoder for Receive {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        out.extend(self.0.decode(payload));
    }
}

impl Encoder for Transmit {
    /// A sample without its pair is left out: packets have whole milliseconds.
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.extend(self.0.encode(&pcm[..pcm.len() / 2 * 2]));
    }
}
