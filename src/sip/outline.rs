//! What a log shows of a SIP message at debug: which it is, of which call, and the peer. Nothing else of it is printed, so
//! neither numbers nor credentials can be.

use std::net::SocketAddr;

use tracing::{Level, debug, enabled};

/// Of an identifier from the wire, at most this many octets are shown.
const SHOWN: usize = 128;

/// A message in short: `INVITE` or `200 INVITE`, and its Call-ID.
#[derive(Debug, PartialEq, Eq)]
struct Outline {
    message: String,
    call_id: String,
}

impl Outline {
    /// Reads no more than the first line, CSeq and Call-ID; what is not there is empty.
    fn of(bytes: &[u8]) -> Self {
        let mut lines = bytes.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let first = lines.next().unwrap_or_default();
        let (mut call_id, mut method) = (String::new(), String::new());
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some(colon) = line.iter().position(|octet| *octet == b':') else { continue };
            let (name, value) = (line[..colon].trim_ascii_end(), &line[colon + 1..]);
            if name.eq_ignore_ascii_case(b"Call-ID") || name.eq_ignore_ascii_case(b"i") {
                call_id = shown(value.trim_ascii());
            } else if name.eq_ignore_ascii_case(b"CSeq") {
                method = value.split(|octet| *octet == b' ').next_back().map(shown).unwrap_or_default();
            }
        }
        let message = match first.strip_prefix(b"SIP/2.0 ") {
            Some(rest) => format!("{} {method}", shown(&rest[..rest.len().min(3)])),
            None => shown(first.split(|octet| *octet == b' ').next().unwrap_or_default()),
        };
        Self { message, call_id }
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned()
}

/// One line at debug of a message that came, went or went again; nothing is read where nobody listens.
pub(super) fn log(what: &'static str, peer: SocketAddr, bytes: &[u8]) {
    if enabled!(Level::DEBUG) {
        let Outline { message, call_id } = Outline::of(bytes);
        debug!(%peer, sip = message, call_id, bytes = bytes.len(), "SIP {what}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(text: &str) -> (String, String) {
        let Outline { message, call_id } = Outline::of(text.as_bytes());
        (message, call_id)
    }

    #[test]
    fn sip_116_a_message_is_told_by_method_or_code_and_call_id_alone() {
        let invite =
            "INVITE sip:4711@h SIP/2.0\r\nAuthorization: Digest x\r\ni: c1@h\r\nCSeq: 7 INVITE\r\n\r\nCSeq: 8 BYE";
        assert_eq!(outline(invite), ("INVITE".into(), "c1@h".into()));
        let ok = "SIP/2.0 200 OK\r\nCALL-ID : c2\r\nCSeq: 7  INVITE\r\n\r\n";
        assert_eq!(outline(ok), ("200 INVITE".into(), "c2".into()));
    }

    #[test]
    fn what_is_no_sip_has_an_outline_too() {
        for text in ["", "\r\n", ":", "SIP/2.0 ", "SIP/2.0 2", "\u{0}\u{7f}", "CSeq"] {
            let _ = outline(text);
        }
        assert_eq!(outline(&"x".repeat(5000)).0.len(), SHOWN);
    }
}
