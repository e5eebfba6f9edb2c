//! Codecs: one file each, one line in `CODECS` each.

mod pcma;
mod pcmu;

pub use pcma::Pcma;
pub use pcmu::Pcmu;

use crate::base::pcm::SampleRate;
use crate::base::rtp_format::RtpFormat;

/// All codecs, in our order of preference.
pub const CODECS: &[&dyn Codec] = &[&Pcmu, &Pcma];

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
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_in_the_list_and_found_by_its_format() {
        let listed: Vec<_> = formats().iter().map(|format| format.encoding_name.to_ascii_lowercase()).collect();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/media/codec");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("the folder")
            .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
            .filter(|stem| stem != "mod")
            .collect();
        files.sort();
        let mut sorted = listed.clone();
        sorted.sort();
        assert_eq!(files, sorted);
        for format in formats() {
            assert_eq!(of_format(&format).map(|codec| codec.format()), Some(format));
        }
    }

    #[test]
    fn rtp_032_silence_is_ff_in_pcmu_and_d5_in_pcma() {
        for (codec, code) in [(&Pcmu as &dyn Codec, 0xFF), (&Pcma, 0xD5)] {
            let mut payload = Vec::new();
            codec.encoder().encode(&[0; 160], &mut payload);
            assert_eq!(payload, [code; 160]);
        }
    }
}
