//! What the two laws of G.711 share: an octet a sample, a table each way, nothing carried over.

use std::marker::PhantomData;

use super::{Codec, Decoder, Encoder};
use crate::base::pcm::SampleRate;
use crate::base::rtp_format::RtpFormat;

/// A table of that many entries, made when the program is compiled.
macro_rules! table {
    ($length:literal, $n:ident => $entry:expr) => {{
        let mut table = [0; $length];
        let mut $n = 0;
        while $n < $length {
            table[$n] = $entry;
            $n += 1;
        }
        table
    }};
}
pub(super) use table;

/// A companding law.
pub trait Law: Sync + Send + 'static {
    /// Its name in SDP.
    const FORMAT: RtpFormat;

    /// The sample that `code` stands for.
    fn expand(code: u8) -> i16;

    /// The code nearest to `sample` by the law's own rules.
    fn compress(sample: i16) -> u8;
}

/// Stateless both ways.
struct Tables<L>(PhantomData<L>);

impl<L: Law> Codec for L {
    fn format(&self) -> RtpFormat {
        L::FORMAT
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::Hz8000
    }

    fn ticks(&self, payload: &[u8]) -> u32 {
        payload.len() as u32
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Tables::<L>(PhantomData))
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Tables::<L>(PhantomData))
    }
}

impl<L: Law> Decoder for Tables<L> {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        out.extend(payload.iter().map(|code| L::expand(*code)));
    }
}

impl<L: Law> Encoder for Tables<L> {
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        out.extend(pcm.iter().map(|sample| L::compress(*sample)));
    }
}
