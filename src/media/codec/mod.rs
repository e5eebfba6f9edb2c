//! Codecs: one file each, one line in `CODECS` each.

mod g722;
mod l16;
mod opus;
mod pcma;
mod pcmu;
mod table;

pub use g722::G722;
pub use l16::L16;
pub use opus::Opus;
pub use pcma::Pcma;
pub use pcmu::Pcmu;

use crate::base::pcm::SampleRate;
use crate::base::rtp_format::RtpFormat;

/// All codecs, in our order of preference.
pub const CODECS: &[&dyn Codec] = &[&Pcmu, &Pcma, &G722, &Opus, &L16::WIDE, &L16::NARROW];

/// An audio codec. A call has its own [`Decoder`] and [`Encoder`] of it.
pub trait Codec: Sync {
    /// Its name and RTP clock.
    fn format(&self) -> RtpFormat;

    /// The rate of its samples; not always that of its RTP clock (G.722: 16 kHz and 8000).
    fn sample_rate(&self) -> SampleRate;

    /// How long `payload` is, in ticks of the RTP clock; 0 where it cannot be decoded.
    fn ticks(&self, payload: &[u8]) -> u32;

    /// A decoder at the start of a stream.
    fn decoder(&self) -> Box<dyn Decoder>;

    /// An encoder at the start of a stream.
    fn encoder(&self) -> Box<dyn Encoder>;
}

/// Payloads to samples; keeps what the codec carries from one packet to the next.
pub trait Decoder: Send {
    /// Appends the samples of `payload` to `out`.
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>);

    /// Appends `samples` samples in place of audio that never came, by the codec's own concealment; false, and nothing
    /// appended, where it has none.
    fn conceal(&mut self, _samples: usize, _out: &mut Vec<i16>) -> bool {
        false
    }

    /// Appends the `samples` samples of the lost packet before `next` from what `next` carries of it; false, and nothing
    /// appended, where it carries nothing.
    fn recover(&mut self, _next: &[u8], _samples: usize, _out: &mut Vec<i16>) -> bool {
        false
    }
}

/// Samples to payloads; keeps what the codec carries from one packet to the next.
pub trait Encoder: Send {
    /// Appends `pcm`, encoded, to `out`.
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>);
}

/// The formats of all codecs, in our order of preference.
#[must_use]
pub fn formats() -> Vec<RtpFormat> {
    CODECS.iter().map(|codec| codec.format()).collect()
}

/// The codec of `format`, by encoding name (without case) and clock rate.
#[must_use]
pub fn of_format(format: &RtpFormat) -> Option<&'static dyn Codec> {
    CODECS.iter().copied().find(|codec| {
        let ours = codec.format();
        ours.encoding_name.eq_ignore_ascii_case(format.encoding_name) && ours.clock_rate == format.clock_rate
    })
}

#[cfg(test)]
mod tests;
