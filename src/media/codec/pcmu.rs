//! G.711 µ-law: `PCMU/8000` (RFC 3551, 4.5.14), by the formulas of ITU-T G.191.

use super::table::{Law, table};
use crate::base::rtp_format::{self, RtpFormat};

/// The codec.
pub struct Pcmu;

static DECODE: [i16; 256] = table!(256, code => expand(code as u8));
/// The formula looks at the upper 14 bits only: a table of 16 KiB stays in the cache where one of 64 does not.
static ENCODE: [u8; 16384] = table!(16384, upper => compress(((upper as u16) << 2) as i16));

impl Law for Pcmu {
    const FORMAT: RtpFormat = rtp_format::PCMU;

    fn expand(code: u8) -> i16 {
        DECODE[usize::from(code)]
    }

    fn compress(sample: i16) -> u8 {
        ENCODE[usize::from(sample as u16 >> 2)]
    }
}

/// `ulaw_expand`: the step of the segment, less the bias of 33, in 14 bits; then to 16.
const fn expand(code: u8) -> i16 {
    let inverted = !code;
    let segment = (inverted >> 4) & 7;
    let mantissa = (inverted & 0x0F) as i16;
    let magnitude = (((mantissa << 1) + 33) << segment) - 33;
    let signed = if inverted & 0x80 == 0 { magnitude } else { -magnitude };
    signed << 2
}

/// `ulaw_compress`: one's complement for negative samples, 14 bits, bias 33, saturated at segment 8.
const fn compress(sample: i16) -> u8 {
    let biased = if sample < 0 { (!sample >> 2) + 33 } else { (sample >> 2) + 33 };
    let magnitude = if biased > 0x1FFF { 0x1FFF } else { biased };
    // Segment 1 begins at 33: bit 5 is the highest that is set.
    let segment = (15 - magnitude.leading_zeros() as i16 - 5) + 1;
    let high = 8 - segment;
    let low = 0x0F - ((magnitude >> segment) & 0x0F);
    let code = (high << 4 | low) as u8;
    if sample >= 0 { code | 0x80 } else { code }
}

#[cfg(test)]
mod tests {
    use super::super::Codec as _;
    use super::*;

    #[test]
    fn rtp_035_all_256_codes_decode_exactly() {
        // G.711, table 2: the decoder output values of the positive half, in 14 bits.
        for (code, value) in [(0xFF, 0), (0xFE, 2), (0xF0, 30), (0xEF, 33), (0xE0, 93), (0xDF, 99)] {
            assert_eq!(DECODE[code], value * 4, "{code:#x}");
        }
        assert_eq!((DECODE[0x80], DECODE[0x00]), (32_124, -32_124));
        for code in 0..=255_u8 {
            assert_eq!(DECODE[usize::from(code)], audio_codec_algorithms::decode_ulaw(code), "{code:#x}");
            assert_eq!(DECODE[usize::from(code)], -DECODE[usize::from(code ^ 0x80)]);
        }
    }

    #[test]
    fn rtp_035_every_code_but_negative_zero_comes_back() {
        for code in 0..=255_u8 {
            let back = Pcmu::compress(DECODE[usize::from(code)]);
            assert_eq!(back, if code == 0x7F { 0xFF } else { code });
        }
    }

    #[test]
    fn rtp_035_all_65536_samples_are_within_one_code_of_another_encoder() {
        let mut differing = 0;
        for sample in i16::MIN..=i16::MAX {
            let (ours, theirs) = (Pcmu::compress(sample), audio_codec_algorithms::encode_ulaw(sample));
            let order = |code: u8| if code & 0x80 == 0 { i16::from(code) } else { 255 - i16::from(code & 0x7F) };
            assert!((order(ours) - order(theirs)).abs() <= 1, "{sample}: {ours:#x} and {theirs:#x}");
            differing += u32::from(ours != theirs);
        }
        assert!(differing <= 508, "{differing} samples differ");
    }

    #[test]
    fn rtp_035_the_encoder_saturates() {
        let mut codes = Vec::new();
        Pcmu.encoder().encode(&[i16::MAX, i16::MIN, 32_124, -32_124, 0, -1], &mut codes);
        assert_eq!(codes, [0x80, 0x00, 0x80, 0x00, 0xFF, 0x7F]);
    }
}
