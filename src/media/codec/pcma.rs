//! G.711 A-law: `PCMA/8000` (RFC 3551, 4.5.14), by the formulas of ITU-T G.191.

use super::table::{Law, table};
use crate::base::rtp_format::{self, RtpFormat};

/// The codec.
pub struct Pcma;

static DECODE: [i16; 256] = table!(256, code => expand(code as u8));
/// The formula looks at the upper 12 bits only: a table of 4 KiB stays in the cache where one of 64 does not.
static ENCODE: [u8; 4096] = table!(4096, upper => compress(((upper as u16) << 4) as i16));

impl Law for Pcma {
    const FORMAT: RtpFormat = rtp_format::PCMA;

    fn expand(code: u8) -> i16 {
        DECODE[usize::from(code)]
    }

    fn compress(sample: i16) -> u8 {
        ENCODE[usize::from(sample as u16 >> 4)]
    }
}

/// `alaw_expand`: even bits inverted, half a step added, leading one in all segments but the first.
const fn expand(code: u8) -> i16 {
    let inverted = code ^ 0x55;
    let segment = (inverted >> 4) & 7;
    let mantissa = (((inverted & 0x0F) as i16) << 4) + 8;
    let magnitude = if segment == 0 { mantissa } else { (mantissa + 0x100) << (segment - 1) };
    if inverted & 0x80 == 0 { -magnitude } else { magnitude }
}

/// `alaw_compress`: one's complement for negative samples, 12 bits, segment and mantissa, even bits inverted.
const fn compress(sample: i16) -> u8 {
    let magnitude = if sample < 0 { !sample >> 4 } else { sample >> 4 };
    let code = if magnitude < 32 {
        magnitude as u8
    } else {
        // Bit 5 begins segment 2.
        let segment = 15 - magnitude.leading_zeros() as u8 - 3;
        segment << 4 | ((magnitude >> (segment - 1)) & 0x0F) as u8
    };
    if sample >= 0 { (code | 0x80) ^ 0x55 } else { code ^ 0x55 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_035_all_256_codes_decode_exactly() {
        for (code, value) in
            [(0xD5, 8), (0xD4, 24), (0xC5, 264), (0xF5, 528), (0x80, 5504), (0xAA, 32_256), (0x2A, -32_256)]
        {
            assert_eq!(DECODE[code], value, "{code:#x}");
        }
        for code in 0..=255_u8 {
            assert_eq!(DECODE[usize::from(code)], audio_codec_algorithms::decode_alaw(code), "{code:#x}");
            assert_eq!(Pcma::compress(DECODE[usize::from(code)]), code);
        }
    }

    /// G.191 `alaw_compress`, as the Recommendation tells it: count the segment down until the mantissa has 5 bits.
    fn g191(sample: i16) -> u8 {
        let mut ix = i32::from(if sample < 0 { !sample } else { sample }) >> 4;
        if ix > 15 {
            let mut exponent = 1;
            while ix > 16 + 15 {
                ix >>= 1;
                exponent += 1;
            }
            ix -= 16;
            ix += exponent << 4;
        }
        if sample >= 0 {
            ix |= 0x80;
        }
        (ix ^ 0x55) as u8
    }

    #[test]
    fn rtp_035_all_65536_samples_encode_by_g191() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(Pcma::compress(sample), g191(sample), "{sample}");
        }
    }
}
