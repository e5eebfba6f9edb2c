//! Digits in SIP INFO bodies (RTP-058).

use super::{code_of, digit_of};

/// What is assumed where a body does not say how long.
const DEFAULT_MS: u32 = 160;

/// The body is neither `application/dtmf-relay` nor `application/dtmf`: 415.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent an INFO of content type {0:?}, which carries no digits")]
pub struct UnsupportedInfo(pub String);

/// The digit and its length in milliseconds. `None` where the type is known and the body holds no digit: still a 200.
pub fn parse_info(content_type: &str, body: &[u8]) -> Result<Option<(char, u32)>, UnsupportedInfo> {
    let body = String::from_utf8_lossy(body);
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "application/dtmf-relay" => Ok(relay(&body)),
        "application/dtmf" if body.contains('=') => Ok(relay(&body)),
        "application/dtmf" => Ok(signal(&body).map(|digit| (digit, DEFAULT_MS))),
        _ => Err(UnsupportedInfo(content_type.chars().take(64).collect())),
    }
}

/// `Signal=5`, `Duration=160`, in any case, any order, any line ends.
fn relay(body: &str) -> Option<(char, u32)> {
    let value_of = |name: &str| {
        body.split(['\r', '\n'])
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    let digit = signal(value_of("signal")?)?;
    let duration = value_of("duration").and_then(|value| value.parse().ok()).unwrap_or(DEFAULT_MS);
    Some((digit, duration))
}

/// A digit, or the event code of `*`, `#` or a letter.
fn signal(text: &str) -> Option<char> {
    let text = text.trim();
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        (Some(digit), None) => code_of(digit).and_then(digit_of),
        _ => text.parse().ok().filter(|code| (10..16).contains(code)).and_then(digit_of),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rtp_058_relay_bodies_as_they_occur() {
        for (body, digit, ms) in [
            ("Signal=5\r\nDuration=160\r\n", '5', 160),
            ("Signal= *\r\nDuration= 250\r\n", '*', 250),
            ("signal=11\nDURATION=100", '#', 100),
            ("Duration=90\r\nSignal = 10", '*', 90),
            ("SIGNAL=d", 'D', DEFAULT_MS),
            ("Signal=0\r\nDuration=long", '0', DEFAULT_MS),
        ] {
            assert_eq!(parse_info("application/dtmf-relay", body.as_bytes()), Ok(Some((digit, ms))), "{body:?}");
        }
    }

    #[test]
    fn rtp_058_plain_bodies_are_one_character() {
        assert_eq!(parse_info("Application/DTMF; charset=utf-8", b" 7\r\n"), Ok(Some(('7', DEFAULT_MS))));
        assert_eq!(parse_info("application/dtmf", b"#"), Ok(Some(('#', DEFAULT_MS))));
        assert_eq!(parse_info("application/dtmf", b"Signal=3\r\nDuration=80"), Ok(Some(('3', 80))));
    }

    #[test]
    fn rtp_058_no_digit_is_no_error_and_another_type_is() {
        for body in ["", "Signal=", "Signal=16", "Signal=x", "Duration=5"] {
            assert_eq!(parse_info("application/dtmf-relay", body.as_bytes()), Ok(None), "{body:?}");
        }
        assert!(parse_info("text/plain", b"5").is_err());
        assert!(parse_info("", b"5").is_err());
    }

    proptest! {
        #[test]
        fn rtp_058_no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_info("application/dtmf-relay", &body);
            let _ = parse_info("application/dtmf", &body);
        }
    }
}
