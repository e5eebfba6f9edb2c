//! Opus: `opus/48000/2` (RFC 6716, RFC 7587). The home of `audiopus`.
//!
//! Both ways run at 16 kHz, one channel: what speech has, and what wideband bots take as it is. The RTP clock is 48 kHz
//! whatever a coder runs at, and SDP says two channels whatever is sent; a stereo packet is mixed to one.

use audiopus::coder::{Decoder as OpusDecoder, Encoder as OpusEncoder};
use audiopus::packet::{Packet, nb_samples};
use audiopus::{Application, Bitrate, Channels, MutSignals, SampleRate as OpusRate, Signal};

use super::{Codec, Decoder, Encoder};
use crate::base::pcm::SampleRate;
use crate::base::rtp_format::{self, RtpFormat};

/// Bits a second, what is repeated for lost packets included.
const BITRATE: i32 = 32_000;
/// Of 10: the CPU's part in the sound.
const COMPLEXITY: u8 = 4;
/// Loss that the encoder reckons with, in percent; above 0 it repeats each frame small in the one after.
const EXPECTED_LOSS: u8 = 10;
/// Octets in a packet of ours at most; 60 ms at `BITRATE` are 240.
const PAYLOAD_MAX: usize = 800;
/// Samples in 2.5 ms, the unit of all lengths.
const STEP: usize = 40;
/// Samples in the 20 ms that are concealed at a time.
const FRAME: usize = 8 * STEP;

/// The codec.
pub struct Opus;

struct Receive(OpusDecoder);

struct Transmit(OpusEncoder);

impl Codec for Opus {
    fn format(&self) -> RtpFormat {
        rtp_format::OPUS
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::Hz16000
    }

    fn ticks(&self, payload: &[u8]) -> u32 {
        samples(payload, OpusRate::Hz48000) as u32
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        let decoder =
            OpusDecoder::new(OpusRate::Hz16000, Channels::Mono).expect("a rate and channels that libopus has");
        Box::new(Receive(decoder))
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Transmit(encoder().expect("settings that libopus has")))
    }
}

fn encoder() -> audiopus::Result<OpusEncoder> {
    let mut encoder = OpusEncoder::new(OpusRate::Hz16000, Channels::Mono, Application::Voip)?;
    encoder.set_bitrate(Bitrate::BitsPerSecond(BITRATE))?;
    encoder.set_complexity(COMPLEXITY)?;
    encoder.set_signal(Signal::Voice)?;
    encoder.set_inband_fec(true)?;
    encoder.set_packet_loss_perc(EXPECTED_LOSS)?;
    encoder.set_dtx(false)?;
    Ok(encoder)
}

/// How many samples of `rate` are in `payload`; 0 where it is none of Opus.
fn samples(payload: &[u8], rate: OpusRate) -> usize {
    Packet::try_from(payload).and_then(|packet| nb_samples(packet, rate)).unwrap_or(0)
}

impl Receive {
    /// Appends exactly `count` samples; false, and nothing appended, where libopus refuses.
    fn append(&mut self, payload: Option<&[u8]>, count: usize, repeated: bool, out: &mut Vec<i16>) -> bool {
        let start = out.len();
        out.resize(start + count, 0);
        let packet = payload.map(Packet::try_from).transpose();
        let decoded = packet.and_then(|packet| {
            let signals = MutSignals::try_from(&mut out[start..])?;
            self.0.decode(packet, signals, repeated)
        });
        if decoded.is_err() {
            out.truncate(start);
        }
        decoded.is_ok()
    }
}

impl Decoder for Receive {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        let count = samples(payload, OpusRate::Hz16000);
        if !self.append(Some(payload), count, false, out) {
            self.conceal(count, out);
        }
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<i16>) -> bool {
        let end = out.len() + samples;
        while out.len() < end {
            let count = (end - out.len()).min(FRAME).next_multiple_of(STEP);
            if !self.append(None, count, false, out) {
                out.resize(end, 0);
            }
        }
        out.truncate(end);
        true
    }

    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        samples.is_multiple_of(STEP) && repeats_the_one_before(next) && self.append(Some(next), samples, true, out)
    }
}

impl Encoder for Transmit {
    /// A length that no Opus frame has gives an empty payload.
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + PAYLOAD_MAX, 0);
        let written = self.0.encode(pcm, &mut out[start..]).unwrap_or(0);
        out.truncate(start + written);
    }
}

/// Whether a packet carries the frame before it once more: the LBRR flag of either channel (RFC 6716, 3.1 and 4.2.3).
fn repeats_the_one_before(packet: &[u8]) -> bool {
    let Some(toc) = packet.first() else { return false };
    let (configuration, stereo, code) = (toc >> 3, toc & 4 != 0, toc & 3);
    // SILK frames of 20 ms in an Opus frame: that many VAD flags come before the LBRR flag. CELT alone repeats nothing.
    let frames = match configuration {
        0..=11 => (configuration % 4).max(1),
        12..=15 => 1,
        _ => return false,
    };
    let first = match code {
        0 | 1 => packet.get(1),
        // The length of the first of two frames, in one octet or two.
        2 => packet.get(if packet.get(1).is_some_and(|length| *length >= 252) { 3 } else { 2 }),
        _ => None,
    };
    first.is_some_and(|flags| {
        let flag = |shift: u8| flags.checked_shr(u32::from(shift)).is_some_and(|rest| rest & 1 != 0);
        flag(7 - frames) || (stereo && flag(6 - 2 * frames))
    })
}
