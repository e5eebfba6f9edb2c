//! What a body says: its SDP, taken out of multipart where needed (RFC 3261 section 8.2.3, RFC 5621, SIP-012).

use super::message::Headers;
use super::syntax::Params;

/// Why a body is refused with 415.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// A type that must be understood and is not.
    #[error("the peer sent a body of a type that is not supported")]
    Type,
    /// A Content-Encoding other than identity.
    #[error("the peer sent a body in an encoding that is not supported")]
    Encoding,
}

/// Parts of one multipart body that are looked at.
const MAX_PARTS: usize = 16;

/// The SDP in a body; `Ok(None)` where there is none and nothing else that must be understood.
pub fn sdp(headers: &Headers, body: &[u8]) -> Result<Option<Vec<u8>>, BodyError> {
    if body.is_empty() {
        return Ok(None);
    }
    check_encoding(headers)?;
    let Some(content_type) = headers.get("Content-Type") else {
        // Content-Type is mandatory, but an SDP without it cannot be mistaken.
        return if body.starts_with(b"v=0") { Ok(Some(body.to_vec())) } else { Err(BodyError::Type) };
    };
    let (media_type, params) = media_type(content_type);
    if media_type == "application/sdp" {
        return Ok(Some(body.to_vec()));
    }
    if media_type.starts_with("multipart/") {
        let params = Params::parse(params).unwrap_or_default();
        return params.value("boundary").map_or(Err(BodyError::Type), |boundary| multipart(body, boundary));
    }
    if is_optional(headers) { Ok(None) } else { Err(BodyError::Type) }
}

/// Refuses every Content-Encoding but identity.
pub fn check_encoding(headers: &Headers) -> Result<(), BodyError> {
    let identity = |item: &str| item.eq_ignore_ascii_case("identity");
    if headers.list("Content-Encoding").into_iter().all(identity) { Ok(()) } else { Err(BodyError::Encoding) }
}

/// `type/subtype` in lower case without spaces, and the parameters behind it.
fn media_type(content_type: &str) -> (String, &str) {
    let (name, params) = content_type.split_once(';').unwrap_or((content_type, ""));
    (name.split_whitespace().collect::<String>().to_ascii_lowercase(), params)
}

fn is_optional(headers: &Headers) -> bool {
    let disposition = headers.get("Content-Disposition").unwrap_or_default();
    let (_, params) = disposition.split_once(';').unwrap_or((disposition, ""));
    let params = Params::parse(params).unwrap_or_default();
    params.value("handling").is_some_and(|handling| handling.eq_ignore_ascii_case("optional"))
}

fn multipart(body: &[u8], boundary: &str) -> Result<Option<Vec<u8>>, BodyError> {
    let mut found = None;
    for part in parts(body, boundary).into_iter().take(MAX_PARTS) {
        let (headers, content) = split_part(part);
        let (name, _) = media_type(headers.get("Content-Type").unwrap_or("text/plain"));
        match name.as_str() {
            "application/sdp" if found.is_none() => found = Some(content.to_vec()),
            // `handling` is `required` where it is not given (RFC 5621 section 4).
            _ if is_optional(&headers) => {}
            _ => return Err(BodyError::Type),
        }
    }
    Ok(found)
}

/// The bytes between delimiter lines.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}");
    let (mut parts, mut begun, mut at) = (Vec::new(), None, 0);
    while at < body.len() {
        let end = body[at..].iter().position(|b| *b == b'\n').map_or(body.len(), |offset| at + offset + 1);
        let text = body[at..end].trim_ascii_end();
        if let Some(rest) = text.strip_prefix(delimiter.as_bytes()).filter(|rest| matches!(*rest, b"" | b"--")) {
            if let Some(begin) = begun {
                parts.push(without_line_end(&body[begin..at]));
            }
            begun = rest.is_empty().then_some(end);
            if begun.is_none() {
                return parts;
            }
        }
        at = end;
    }
    // No closing delimiter: the last part runs to the end.
    parts.extend(begun.map(|begin| &body[begin..]));
    parts
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn split_part(part: &[u8]) -> (Headers, &[u8]) {
    let mut rest = part;
    match super::wire::read_headers(&mut rest) {
        Ok(headers) => (headers, rest),
        Err(_) => (Headers::new(), &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(content_type: &str) -> Headers {
        let mut headers = Headers::new();
        headers.push("c", content_type);
        headers
    }

    const MIXED: &str = "preamble\r\n--b1\r\nContent-Type: application/SDP\r\n\r\nv=0\r\ns=-\r\n--b1\r\nContent-Type: \
                         application/isup;version=x\r\nContent-Disposition: signal;handling=HANDLING\r\n\r\nx\r\n--b1--\r\n";

    #[test]
    fn sip_012_sdp_is_taken_out_of_multipart_beside_optional_parts() {
        let headers = typed("multipart/mixed;boundary=\"b1\"");
        let optional = MIXED.replace("HANDLING", "optional");
        assert_eq!(sdp(&headers, optional.as_bytes()), Ok(Some(b"v=0\r\ns=-".to_vec())));
        let required = MIXED.replace("HANDLING", "required");
        assert_eq!(sdp(&headers, required.as_bytes()), Err(BodyError::Type));
    }

    #[test]
    fn sip_012_types_and_encodings_that_are_not_understood_are_refused() {
        assert_eq!(sdp(&typed("Application / SDP ; x=y"), b"v=0"), Ok(Some(b"v=0".to_vec())));
        assert_eq!(sdp(&typed("text/plain"), b"hello"), Err(BodyError::Type));
        assert_eq!(sdp(&Headers::new(), b"v=0\r\n"), Ok(Some(b"v=0\r\n".to_vec())));
        assert_eq!(sdp(&typed("text/plain"), b""), Ok(None));
        let mut zipped = typed("application/sdp");
        zipped.push("Content-Encoding", "gzip");
        assert_eq!(sdp(&zipped, b"v=0"), Err(BodyError::Encoding));
        let mut optional = typed("text/plain");
        optional.push("Content-Disposition", "icon;handling=optional");
        assert_eq!(sdp(&optional, b"x"), Ok(None));
    }
}
