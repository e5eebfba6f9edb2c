//! Base64 both ways (RFC 4648 section 4). The home of `base64-simd`.

use base64_simd::{Out, STANDARD, forgiving_decode_inplace};

/// Appends `bytes` to `text`, standard alphabet, padded.
pub(super) fn encode(bytes: &[u8], text: &mut String) {
    STANDARD.encode_append(bytes, text);
}

/// Reads padded base64 that fits into `bytes`; `None` for anything else, which [`decode`] may still read.
pub(super) fn decode_exact<'a>(text: &str, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
    let fits = text.len().div_ceil(4) * 3 <= bytes.len();
    fits.then(|| STANDARD.decode(text.as_bytes(), Out::from_slice(bytes)).ok()).flatten().map(|decoded| &*decoded)
}

/// Reads standard base64 to `bytes`, which is emptied first; padding may be missing or short, ASCII white space may stand
/// anywhere. False for anything else.
pub(super) fn decode(text: &str, bytes: &mut Vec<u8>) -> bool {
    bytes.clear();
    if STANDARD.decode_append(text, bytes).is_ok() {
        return true;
    }
    let mut bare = text.trim_ascii_end();
    for _ in 0..2 {
        bare = bare.strip_suffix('=').unwrap_or(bare).trim_ascii_end();
    }
    bytes.clear();
    bytes.extend_from_slice(bare.as_bytes());
    let length = forgiving_decode_inplace(bytes).map(|decoded| decoded.len()).ok();
    bytes.truncate(length.unwrap_or(0));
    length.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<Vec<u8>> {
        let mut bytes = vec![9];
        decode(text, &mut bytes).then_some(bytes)
    }

    #[test]
    fn encoding_appends_and_pads() {
        let mut text = String::from("x");
        encode(&[0, 1, 2, 3], &mut text);
        assert_eq!(text, "xAAECAw==");
    }

    #[test]
    fn what_fits_is_read_in_place_and_what_does_not_or_is_odd_is_left_to_the_other() {
        let mut room = [0; 6];
        assert_eq!(decode_exact("AAECAw==", &mut room), Some(&[0, 1, 2, 3][..]));
        assert_eq!(decode_exact("", &mut room), Some(&[][..]));
        for text in ["AAECAw", "AAECAwQFBgcI", "AAE!", "AA\nEC"] {
            assert_eq!(decode_exact(text, &mut room), None, "{text:?}");
        }
    }

    #[test]
    fn padding_and_white_space_are_optional() {
        for text in ["AAECAw==", "AAECAw=", "AAECAw", "AA\nEC Aw==\r\n", " AAECAw= =\t"] {
            assert_eq!(decoded(text), Some(vec![0, 1, 2, 3]), "{text:?}");
        }
        assert_eq!(decoded(""), Some(vec![]));
    }

    #[test]
    fn rtp_070_anything_else_is_refused() {
        for text in ["A", "AA-_", "AAE!", "AAECA===", "AA==EC", "\u{e9}AAA"] {
            assert_eq!(decoded(text), None, "{text:?}");
        }
    }
}
