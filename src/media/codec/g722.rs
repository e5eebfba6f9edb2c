//! G.722 at 64 kbit/s: `G722/8000` (RFC 3551, 4.5.2), wideband, by ITU-T G.722, clauses 3 to 6.
//!
//! It samples at 16 kHz and its RTP clock runs at 8000 all the same: an octet holds two samples and lasts one tick. A pair
//! of mirror filters splits the sound at 4 kHz; of each band the difference to what is predicted is sent, of the lower in
//! 6 bits, of the upper in 2. All is in whole numbers, so every implementation gives the same octets. Ours writes where it
//! is told to and allocates nothing (RTP-036).

use super::{Codec, Decoder, Encoder};
use crate::base::pcm::SampleRate;
use crate::base::rtp_format::{self, RtpFormat};

/// The codec.
pub struct G722;

/// Quantiser of the lower band: decision levels (LL6, Table 9), for a scale factor of 4096.
const LEVELS: [i32; 29] = [
    35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714, 786, 858, 940, 1023, 1121, 1219, 1339,
    1458, 1612, 1765, 1980, 2195, 2557, 2919,
];
/// Its output by the 6 bits that are sent (QQ6), for a scale factor of 32768.
const LOWER_6: [i32; 64] = [
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576,
    -7856, -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040,
    -728, 24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
];
/// And by the upper 4 of them (QQ4): the predictors of both ends follow these.
const LOWER_4: [i32; 16] =
    [0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0];
/// How each of the 4 bits moves the logarithm of the scale factor (WL).
const LOWER_MOVES: [i32; 16] = [-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60];
/// Output of the upper band's quantiser (QQ2), and what moves its scale factor (WH).
const UPPER: [i32; 4] = [-7408, -1616, 7408, 1616];
const UPPER_MOVES: [i32; 4] = [798, -214, 798, -214];
/// Its one decision level.
const UPPER_LEVEL: i32 = 564;
/// 2^(n/32), in 1/2048 (ILB): from the logarithm of the scale factor to itself.
const POWERS: [i32; 32] = [
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834, 2896, 2960, 3025,
    3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
];
/// Every other coefficient of the mirror filters; the rest are the same backwards (Table 11).
const MIRROR: [i32; 12] = [3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11];

/// Saturates to 16 bits, as each operation of the Recommendation does.
fn limit(value: i32) -> i32 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX))
}

/// Two poles and six zeroes, which both ends adapt alike (block 4).
#[derive(Default)]
struct Predictor {
    /// What is expected next, and the part of the zeroes in it.
    expected: i32,
    by_zeroes: i32,
    poles: [i32; 2],
    zeroes: [i32; 6],
    /// The differences so far, the latest first.
    differences: [i32; 6],
    /// The latest reconstructed sample.
    sample: i32,
    /// Differences with the part of the zeroes: their signs move the poles.
    partial: [i32; 2],
}

impl Predictor {
    fn update(&mut self, difference: i32) {
        let alike = |one: i32, other: i32| (one < 0) == (other < 0);
        let sample = limit(self.expected + difference);
        let partial = limit(self.by_zeroes + difference);
        let ([first, second], [before, earlier]) = (self.poles, self.partial);
        let turn = limit(first << 2);
        let turn = if alike(partial, before) { (-turn).min(i32::from(i16::MAX)) } else { turn };
        let moved = if alike(partial, earlier) { 128 } else { -128 };
        let second = ((turn >> 7) + moved + ((second * 32512) >> 15)).clamp(-12288, 12288);
        let moved = if alike(partial, before) { 192 } else { -192 };
        let bound = 15360 - second;
        let first = (moved + ((first * 32640) >> 15)).clamp(-bound, bound);
        let step = if difference == 0 { 0 } else { 128 };
        for (zero, past) in self.zeroes.iter_mut().zip(&self.differences) {
            let moved = if alike(*past, difference) { step } else { -step };
            *zero = limit(moved + ((*zero * 32640) >> 15));
        }
        self.differences.copy_within(..5, 1);
        self.differences[0] = difference;
        let weighed = |weight: i32, value: i32| (weight * limit(2 * value)) >> 15;
        let by_poles = limit(weighed(first, sample) + weighed(second, self.sample));
        let by_zeroes = self.zeroes.iter().zip(&self.differences).map(|(zero, past)| weighed(*zero, *past)).sum();
        self.by_zeroes = limit(by_zeroes);
        self.expected = limit(by_poles + self.by_zeroes);
        (self.sample, self.partial, self.poles) = (sample, [partial, before], [first, second]);
    }
}

/// The quantiser's scale factor (block 3).
struct Scale {
    factor: i32,
    logarithm: i32,
    most: i32,
    shift: i32,
}

impl Scale {
    fn follow(&mut self, by: i32) {
        self.logarithm = (((self.logarithm * 127) >> 7) + by).clamp(0, self.most);
        let (power, shift) = (POWERS[(self.logarithm >> 6 & 31) as usize], self.shift - (self.logarithm >> 11));
        self.factor = if shift < 0 { power << -shift } else { power >> shift } << 2;
    }
}

/// One band at either end.
struct Band {
    predictor: Predictor,
    scale: Scale,
}

impl Band {
    fn lower() -> Self {
        let scale = Scale { factor: 32, logarithm: 0, most: 18432, shift: 8 };
        Self { predictor: Predictor::default(), scale }
    }

    fn upper() -> Self {
        let scale = Scale { factor: 8, logarithm: 0, most: 22528, shift: 10 };
        Self { predictor: Predictor::default(), scale }
    }

    /// The difference that a quantiser's output stands for.
    fn difference(&self, output: i32) -> i32 {
        (self.scale.factor * output) >> 15
    }

    /// The sample that is expected and that `output` makes of it.
    fn sample(&self, output: i32) -> i32 {
        (self.predictor.expected + self.difference(output)).clamp(-16384, 16383)
    }

    fn follow(&mut self, output: i32, by: i32) {
        let difference = self.difference(output);
        self.scale.follow(by);
        self.predictor.update(difference);
    }

    /// Goes on after the 6 bits `code`.
    fn follow_lower(&mut self, code: usize) {
        self.follow(LOWER_4[code >> 2], LOWER_MOVES[code >> 2]);
    }

    /// Goes on after the 2 bits `code`.
    fn follow_upper(&mut self, code: usize) {
        self.follow(UPPER[code], UPPER_MOVES[code]);
    }

    /// The difference of `sample` to what is expected: whether it is negative, and its size in one's complement.
    fn against(&self, sample: i32) -> (bool, i32) {
        let error = limit(sample - self.predictor.expected);
        (error < 0, if error < 0 { !error } else { error })
    }
}

/// The last 24 samples on their way through the mirror filters, pair by pair.
#[derive(Default)]
struct Mirror([[i32; 2]; 12]);

impl Mirror {
    /// Takes a pair; the sums over the one and the other of all pairs.
    fn step(&mut self, pair: [i32; 2]) -> [i32; 2] {
        self.0.copy_within(1.., 0);
        self.0[11] = pair;
        let taps = MIRROR.iter().zip(MIRROR.iter().rev()).zip(&self.0);
        taps.fold([0; 2], |[first, second], ((forward, backward), pair)| {
            [first + forward * pair[0], second + backward * pair[1]]
        })
    }
}

/// Both bands and the filter that joins or parts them.
struct Bands {
    lower: Band,
    upper: Band,
    mirror: Mirror,
}

impl Bands {
    fn new() -> Self {
        Self { lower: Band::lower(), upper: Band::upper(), mirror: Mirror::default() }
    }
}

struct Receive(Bands);

struct Transmit(Bands);

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
        Box::new(Receive(Bands::new()))
    }

    fn encoder(&self) -> Box<dyn Encoder> {
        Box::new(Transmit(Bands::new()))
    }
}

impl Decoder for Receive {
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) {
        let Bands { lower, upper, mirror } = &mut self.0;
        out.reserve(2 * payload.len());
        for octet in payload {
            let (low, high) = (usize::from(octet & 0x3F), usize::from(octet >> 6));
            let (low_sample, high_sample) = (lower.sample(LOWER_6[low]), upper.sample(UPPER[high]));
            lower.follow_lower(low);
            upper.follow_upper(high);
            let [second, first] = mirror.step([low_sample + high_sample, low_sample - high_sample]);
            out.extend_from_slice(&[first, second].map(|sum| limit(sum >> 11) as i16));
        }
    }
}

impl Encoder for Transmit {
    /// A sample without its pair is left out: packets have whole milliseconds.
    fn encode(&mut self, pcm: &[i16], out: &mut Vec<u8>) {
        let Bands { lower, upper, mirror } = &mut self.0;
        out.extend(pcm.as_chunks::<2>().0.iter().map(|pair| {
            let [one, other] = mirror.step(pair.map(i32::from));
            let low = quantise_lower(lower, (other + one) >> 14);
            let high = quantise_upper(upper, (other - one) >> 14);
            lower.follow_lower(low);
            upper.follow_upper(high);
            (high << 6 | low) as u8
        }));
    }
}

/// The 6 bits for `sample` (block 1L): 30 sizes of either sign; 0 to 3 are not sent, so that no octet is all zero.
fn quantise_lower(band: &Band, sample: i32) -> usize {
    let (negative, size) = band.against(sample);
    let passed = LEVELS.partition_point(|level| (level * band.scale.factor) >> 12 <= size);
    match (negative, passed) {
        (false, passed) => 61 - passed,
        (true, passed @ 0..=1) => 63 - passed,
        (true, passed) => 33 - passed,
    }
}

/// The 2 bits for `sample` (block 1H): two sizes of either sign.
fn quantise_upper(band: &Band, sample: i32) -> usize {
    let (negative, size) = band.against(sample);
    let large = size >= (UPPER_LEVEL * band.scale.factor) >> 12;
    if negative { usize::from(!large) } else { 2 + usize::from(!large) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers as random as these sounds need them.
    fn numbers() -> impl FnMut() -> u32 {
        let mut state = 1_u32;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        }
    }

    /// FNV-1a, to tell long results apart.
    fn digest(octets: impl IntoIterator<Item = u8>) -> u64 {
        octets
            .into_iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, octet| (hash ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3))
    }

    #[test]
    fn rtp_035_g722_encodes_noise_of_all_levels_and_full_scale_squares_bit_exactly() {
        let mut next = numbers();
        let noise = [0, 4, 8, 12, 2].into_iter().flat_map(|quieter| vec![quieter; 4000]);
        let mut pcm: Vec<i16> = noise.map(|quieter| (next() >> 16) as i16 >> quieter).collect();
        for period in [1, 2, 3, 8, 50, 700] {
            pcm.extend((0..4000).map(|n| if n / period % 2 == 0 { i16::MAX } else { i16::MIN }));
        }
        let (mut encoder, mut payload) = (G722.encoder(), Vec::new());
        pcm.chunks(320).for_each(|frame| encoder.encode(frame, &mut payload));
        assert_eq!(payload[..8], [0x92, 0x20, 0x84, 0x20, 0x84, 0x20, 0x87, 0x0A]);
        // What FFmpeg 5.1 makes of the same samples.
        assert_eq!((payload.len(), digest(payload)), (22_000, 0x5030_08A1_7C65_14D1));
    }

    #[test]
    fn rtp_035_g722_decodes_any_octets_bit_exactly() {
        let mut next = numbers();
        (0..20_000).for_each(|_| {
            next();
        });
        let payload: Vec<u8> = (0..8000).map(|_| (next() >> 24) as u8).collect();
        let (mut decoder, mut heard) = (G722.decoder(), Vec::new());
        payload.chunks(160).for_each(|packet| decoder.decode(packet, &mut heard));
        assert_eq!(heard[..8], [-1, 0, 0, -1, -1, 0, -1, -2]);
        let octets = heard.iter().flat_map(|sample| sample.to_le_bytes());
        assert_eq!((heard.len(), digest(octets)), (16_000, 0x89DE_67FA_F407_6B0D), "FFmpeg 5.1 hears something else");
    }
}
