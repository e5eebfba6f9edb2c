//! Bytes to message and back (RFC 3261 sections 7 and 18.3): unfolds, forgives what can be forgiven, names the rest.

use super::message::{Headers, Message, Method, Request, Response, Value};
use super::syntax;

/// Header lines a message may have.
const MAX_HEADERS: usize = 512;

/// Why bytes are no SIP message at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The first line is neither a request line nor a status line.
    #[error("the peer's first line is not SIP")]
    NotSip,
    /// More header lines than we keep.
    #[error("the peer sent more than {MAX_HEADERS} header lines")]
    TooManyHeaders,
}

/// What is wrong with a message that could be taken apart all the same; a request gets the code and phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Spaces or brackets where the request line has none.
    #[error("Bad Request Line")]
    StartLine,
    /// A version other than SIP/2.0.
    #[error("Version Not Supported")]
    Version,
    /// Content-Length is no number, or there are several that differ.
    #[error("Bad Content-Length")]
    ContentLength,
    /// The body is shorter than Content-Length (SIP-003).
    #[error("Incomplete Body")]
    ShortBody,
    /// There is no Content-Length, which a stream cannot be cut without (SIP-004).
    #[error("Missing Content-Length")]
    NoContentLength,
    /// The header lines or the body are longer than we take (SIP-004).
    #[error("Message Too Large")]
    TooLarge,
}

impl Flaw {
    /// The status code that answers it.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Version => 505,
            Self::TooLarge => 513,
            Self::StartLine | Self::ContentLength | Self::ShortBody | Self::NoContentLength => 400,
        }
    }
}

/// A message and the first thing wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The message.
    pub message: Message,
    /// What is wrong with it, if anything.
    pub flaw: Option<Flaw>,
}

/// Whether a datagram only keeps a NAT binding alive: CR, LF and NUL bytes, or a STUN message (SIP-005).
#[must_use]
pub fn is_keepalive(datagram: &[u8]) -> bool {
    let blank = datagram.iter().all(|b| matches!(b, b'\r' | b'\n' | 0));
    let stun = datagram.len() >= 20 && datagram[0] < 4 && datagram[4..8] == [0x21, 0x12, 0xa4, 0x42];
    blank || stun
}

/// Reads one datagram.
pub fn parse(datagram: &[u8]) -> Result<Parsed, WireError> {
    let start = datagram.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(datagram.len());
    let (first, mut rest) = line(&datagram[start..]);
    let (start_line, start_flaw) = StartLine::parse(first)?;
    let headers = read_headers(&mut rest)?;
    let (body, body_flaw) = cut_body(&headers, rest);
    let message = match start_line {
        StartLine::Request { method, uri } => Message::Request(Request { method, uri, headers, body: body.to_vec() }),
        StartLine::Status { code, phrase } => {
            Message::Response(Response { code, phrase, headers, body: body.to_vec() })
        }
    };
    Ok(Parsed { message, flaw: start_flaw.or(body_flaw) })
}

/// The method of a request or `SIP/2.0` of a response, read from the first line alone (SIP-090).
#[must_use]
pub fn first_word(datagram: &[u8]) -> &[u8] {
    let start = datagram.iter().position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(datagram.len());
    let (first, _) = line(&datagram[start..]);
    first.split(|b| *b == b' ').next().unwrap_or_default()
}

/// The length of the body that the header block `head`, first line and empty line included, announces.
pub(super) fn announced_length(head: &[u8]) -> Result<usize, Flaw> {
    let (_, mut rest) = line(head);
    let headers = read_headers(&mut rest).map_err(|_| Flaw::TooLarge)?;
    content_length(&headers)?.ok_or(Flaw::NoContentLength)
}

/// Cuts the first line off: without its line end, and what follows.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match bytes.iter().position(|b| *b == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &bytes[bytes.len()..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

enum StartLine {
    Request { method: Method, uri: String },
    Status { code: u16, phrase: String },
}

impl StartLine {
    fn parse(line: &[u8]) -> Result<(Self, Option<Flaw>), WireError> {
        let text = Value::from_bytes(line);
        let text = text.as_str();
        if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/")) {
            return Ok((Self::status(text).ok_or(WireError::NotSip)?, None));
        }
        let trimmed = text.trim_end();
        let (method, rest) = trimmed.split_once(' ').ok_or(WireError::NotSip)?;
        let (uri, version) = rest.rsplit_once(' ').ok_or(WireError::NotSip)?;
        let sip = version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("SIP/"));
        if !syntax::is_token(method) || !sip {
            return Err(WireError::NotSip);
        }
        let spaced = uri.is_empty() || uri.contains([' ', '\t', '<', '>']) || trimmed != text;
        let flaw = match (version.eq_ignore_ascii_case("SIP/2.0"), spaced) {
            (false, _) => Some(Flaw::Version),
            (true, true) => Some(Flaw::StartLine),
            (true, false) => None,
        };
        Ok((Self::Request { method: Method::parse(method), uri: uri.trim().to_owned() }, flaw))
    }

    fn status(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        words.next().filter(|version| version.eq_ignore_ascii_case("SIP/2.0"))?;
        let digits = words.next().filter(|digits| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit()))?;
        let code = digits.parse().ok().filter(|code| (100..=699).contains(code))?;
        Some(Self::Status { code, phrase: words.next().unwrap_or_default().trim().to_owned() })
    }
}

/// Reads header lines up to the empty one, leaving `rest` at the body. Lines without a name are skipped (SIP-009).
pub(super) fn read_headers(rest: &mut &[u8]) -> Result<Headers, WireError> {
    let mut headers = Headers::new();
    for _ in 0..MAX_HEADERS {
        let (first, mut after) = line(rest);
        if first.is_empty() {
            *rest = after;
            return Ok(headers);
        }
        let mut unfolded = first.to_vec();
        while matches!(after.first(), Some(b' ' | b'\t')) {
            let (more, next) = line(after);
            unfolded.truncate(unfolded.trim_ascii_end().len());
            unfolded.push(b' ');
            unfolded.extend_from_slice(more.trim_ascii());
            after = next;
        }
        push_line(&mut headers, &unfolded);
        *rest = after;
    }
    Err(WireError::TooManyHeaders)
}

fn push_line(headers: &mut Headers, unfolded: &[u8]) {
    let Some(colon) = unfolded.iter().position(|b| *b == b':') else { return };
    let Ok(name) = std::str::from_utf8(unfolded[..colon].trim_ascii()) else { return };
    if syntax::is_token(name) {
        let value: Vec<u8> = unfolded[colon + 1..].iter().map(|&b| if b == b'\r' { b' ' } else { b }).collect();
        headers.push(name, Value::from_bytes(value.trim_ascii()));
    }
}

/// Content-Length, where it stands there.
fn content_length(headers: &Headers) -> Result<Option<usize>, Flaw> {
    let mut length = None;
    for value in headers.get_all("Content-Length") {
        let number = Some(value).filter(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()));
        match number.and_then(|v| v.parse::<usize>().ok()) {
            Some(number) if length.is_none_or(|earlier| earlier == number) => length = Some(number),
            _ => return Err(Flaw::ContentLength),
        }
    }
    Ok(length)
}

/// The body by Content-Length: the rest of the datagram where there is none, what follows it discarded (SIP-003).
fn cut_body<'a>(headers: &Headers, rest: &'a [u8]) -> (&'a [u8], Option<Flaw>) {
    match content_length(headers) {
        Err(flaw) => (rest, Some(flaw)),
        Ok(None) => (rest, None),
        Ok(Some(length)) if length <= rest.len() => (&rest[..length], None),
        Ok(Some(_)) => (rest, Some(Flaw::ShortBody)),
    }
}

/// Writes a request, Content-Length last.
#[must_use]
pub fn write_request(request: &Request) -> Vec<u8> {
    let start = format!("{} {} SIP/2.0\r\n", request.method.as_str(), request.uri);
    write(&start, &request.headers, &request.body)
}

/// Writes a response, Content-Length last.
#[must_use]
pub fn write_response(response: &Response) -> Vec<u8> {
    write(&format!("SIP/2.0 {} {}\r\n", response.code, response.phrase), &response.headers, &response.body)
}

/// Writes either kind.
#[must_use]
pub fn write_message(message: &Message) -> Vec<u8> {
    match message {
        Message::Request(request) => write_request(request),
        Message::Response(response) => write_response(response),
    }
}

fn write(start: &str, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(768 + body.len());
    bytes.extend_from_slice(start.as_bytes());
    for (name, value) in headers.iter() {
        if super::message::long_name(name).eq_ignore_ascii_case("Content-Length") {
            continue;
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b": ");
        // A line end inside a value would start a header of its own.
        bytes.extend(value.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend_from_slice(body);
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(text: &str) -> (Request, Option<Flaw>) {
        match parse(text.as_bytes()).expect("SIP") {
            Parsed { message: Message::Request(request), flaw } => (request, flaw),
            Parsed { message: Message::Response(_), .. } => panic!("a response"),
        }
    }

    #[test]
    fn sip_008_folded_lines_and_space_around_the_colon() {
        let (request, flaw) =
            request("\r\nOPTIONS sip:a@b SIP/2.0\r\nSubject  :  one\r\n  two \r\n\tthree\nX-A:\n\r\nbody");
        assert_eq!(flaw, None);
        assert_eq!(request.headers.get("s"), Some("one two three"));
        assert_eq!(request.headers.get("x-a"), Some(""));
        assert_eq!(request.body, b"body");
    }

    #[test]
    fn sip_003_the_body_ends_at_content_length() {
        let (longer, flaw) = request("INFO sip:a SIP/2.0\r\nl: 2\r\n\r\nabXX");
        assert_eq!((longer.body.as_slice(), flaw), (&b"ab"[..], None));
        assert_eq!(request("INFO sip:a SIP/2.0\r\nl: 5\r\n\r\nab").1, Some(Flaw::ShortBody));
        assert_eq!(request("INFO sip:a SIP/2.0\r\nl: -5\r\n\r\nab").1, Some(Flaw::ContentLength));
        assert_eq!(request("INFO sip:a SIP/2.0\r\nl: 2\r\nContent-Length: 1\r\n\r\nab").1, Some(Flaw::ContentLength));
    }

    #[test]
    fn start_lines_with_odd_spaces_brackets_or_versions_are_flawed() {
        for bad in ["INVITE <sip:a@b> SIP/2.0", "INVITE  sip:a@b SIP/2.0", "INVITE sip:a@b; lr SIP/2.0"] {
            assert_eq!(request(&format!("{bad}\r\n\r\n")).1, Some(Flaw::StartLine), "{bad}");
        }
        assert_eq!(request("OPTIONS sip:a@b SIP/7.0\r\n\r\n").1.map(Flaw::code), Some(505));
        assert_eq!(request("OPTIONS sip:a@b sip/2.0\r\n\r\n").1, None);
        for not_sip in ["", "GET / HTTP/1.1\r\n", "SIP/2.0 4294967301 x\r\n", "SIP/2.0 99 x\r\n", "x"] {
            assert_eq!(parse(not_sip.as_bytes()), Err(WireError::NotSip), "{not_sip}");
        }
    }

    #[test]
    fn latin1_values_keep_their_bytes_and_read_as_text() {
        let parsed = parse(b"OPTIONS sip:a SIP/2.0\r\nSubject: M\xfcller\r\n\r\n").expect("SIP");
        let Message::Request(request) = &parsed.message else { panic!("a response") };
        assert_eq!(request.headers.get("Subject"), Some("M\u{fc}ller"));
        assert!(write_request(request).windows(7).any(|w| w == b"M\xfcller\r"));
    }

    #[test]
    fn a_line_end_in_a_value_cannot_make_a_header() {
        let mut headers = Headers::new();
        headers.push("X-A", "1\r\nRoute: <sip:evil>");
        let request = Request { method: Method::INFO, uri: "sip:a".into(), headers, body: Vec::new() };
        assert!(!String::from_utf8_lossy(&write_request(&request)).contains("\nRoute"));
    }

    #[test]
    fn sip_005_keepalives_are_crlf_nul_and_stun() {
        assert!(is_keepalive(b"\r\n\r\n") && is_keepalive(&[0, 0, 0, 0]) && is_keepalive(b""));
        let stun = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        assert!(is_keepalive(&stun) && !is_keepalive(b"OPTIONS sip:a SIP/2.0\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn sip_016_no_bytes_panic_and_what_is_written_reads_the_same(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..300),
                "(INVITE|SIP/2\\.0|BYE) (200|sip:[a-z@;=?%<> ]{0,9}) (SIP/2\\.0|OK)\r\n([ A-Za-z:;,<>\"=\\\\\t\u{80}-\u{ff}]{0,12}\r?\n){0,6}(\r\n)?.{0,9}"
                    .prop_map(String::into_bytes),
            ]
        ) {
            let _ = (is_keepalive(&bytes), first_word(&bytes));
            if let Ok(first) = parse(&bytes) {
                let written = write_message(&first.message);
                let second = parse(&written).expect("our own writing is SIP");
                prop_assert_eq!(write_message(&second.message), written);
            }
        }
    }
}
