//! What a trace does not show unless it is asked for: credentials, keys, digits, the values of X- headers (SIP-116).
//!
//! Every octet that is masked becomes `x`, or 255 in a telephone-event, so that lengths stay true. Where a header's
//! contents are not known to be harmless they are masked: names of parameters are listed here that are shown, not those
//! that are not.

/// The mark of a masked octet.
const MASK: u8 = b'x';
/// The event of a masked digit: none is registered under this code.
const MASKED_EVENT: u8 = 255;
/// Parameters of credentials that are none themselves, and that a refused login is explained by.
const SHOWN_PARAMETERS: [&str; 6] = ["realm", "algorithm", "qop", "nc", "stale", "uri"];
/// Schemes of credentials; what follows another than the first is masked whole.
const SCHEMES: [&str; 5] = ["Digest", "Basic", "Bearer", "NTLM", "Negotiate"];
/// Headers inside a URI that are signalling, not data.
const SHOWN_URI_HEADERS: [&str; 4] = ["replaces", "reason", "privacy", "require"];
/// The one X- header that routes: the log shows its value too.
const SHOWN_EXTENSION: &str = "x-exotel-accountsid";

/// What is done with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Credentials,
    Whole,
    Addresses,
}

/// What is done with the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    /// SDP and what stands beside it: keys are masked.
    Plain,
    /// `Signal=5`.
    DtmfRelay,
    /// Everything.
    Whole,
}

/// Masks a SIP message in place; whether anything was. Never panics, whatever the octets are.
pub fn sip(bytes: &mut [u8]) -> bool {
    let before = bytes.to_vec();
    let lines = lines(bytes);
    let (head, tail) = lines.split_at(lines.iter().position(|line| line.is_empty()).unwrap_or(lines.len()));
    let body = body_rule(bytes, head);
    if let Some(first) = head.first() {
        let first = first.clone();
        apply(bytes, Rule::Addresses, &first.collect::<Vec<_>>());
    }
    headers(bytes, head.get(1..).unwrap_or_default());
    match body {
        Body::Plain => {
            tail.iter().for_each(|line| keys(&mut bytes[line.clone()]));
            // Header lines in a body: message/sipfrag, message/sip.
            headers_of_fragment(bytes, tail);
        }
        Body::DtmfRelay => tail.iter().for_each(|line| signal(&mut bytes[line.clone()])),
        Body::Whole => tail.iter().for_each(|line| whole(&mut bytes[line.clone()])),
    }
    bytes != before
}

/// Masks the digits in an RTP packet's payload in place.
pub fn event(bytes: &mut [u8]) {
    let start = payload_start(bytes).unwrap_or(bytes.len().min(12));
    let payload = &mut bytes[start..];
    if payload.len().is_multiple_of(4) {
        // Telephone-events (RFC 4733): end, volume and duration stay.
        payload.chunks_mut(4).for_each(|event| event[0] = MASKED_EVENT);
    } else {
        payload.fill(MASKED_EVENT);
    }
}

/// Takes the S out of `RTP/SAVP` in the `m=` lines of a message, in place; whether there was one. Dissectors go by it, and
/// would take for encrypted what stands decrypted beside the message.
pub fn profile(bytes: &mut [u8]) -> bool {
    let mut found = false;
    for line in lines(bytes) {
        let line = &mut bytes[line];
        let secure = line.windows(5).position(|word| word.eq_ignore_ascii_case(b"/SAVP"));
        let Some(at) = secure.filter(|_| line.starts_with(b"m=")).map(|slash| slash + 1) else { continue };
        let end = line[at..].iter().position(|octet| *octet == b' ').map_or(line.len(), |space| at + space);
        // The length stays: a blank more stands behind it.
        line[at..end].rotate_left(1);
        line[end - 1] = b' ';
        found = true;
    }
    found
}

/// Where the payload begins, behind CSRCs and the header extension.
fn payload_start(bytes: &[u8]) -> Option<usize> {
    let first = *bytes.first()?;
    let mut start = 12 + 4 * usize::from(first & 0x0F);
    if first & 0x10 != 0 {
        let words = u16::from_be_bytes([*bytes.get(start + 2)?, *bytes.get(start + 3)?]);
        start += 4 + 4 * usize::from(words);
    }
    (start <= bytes.len()).then_some(start)
}

type Line = std::ops::Range<usize>;

/// The lines of a message, without what ends them: LF, CR LF, or a CR alone, which some take for a line end.
fn lines(bytes: &[u8]) -> Vec<Line> {
    let (mut lines, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        let width = match (bytes[at], bytes.get(at + 1)) {
            (b'\r', Some(b'\n')) => 2,
            (b'\r' | b'\n', _) => 1,
            _ => 0,
        };
        if width > 0 {
            lines.push(start..at);
            start = at + width;
        }
        at += width.max(1);
    }
    if start < bytes.len() {
        lines.push(start..bytes.len());
    }
    lines
}

/// The name of a header line, in lower case, and where its value begins.
fn name_of(bytes: &[u8], line: &Line) -> Option<(String, usize)> {
    let text = &bytes[line.clone()];
    let colon = text.iter().position(|octet| *octet == b':')?;
    let name = String::from_utf8_lossy(text[..colon].trim_ascii()).to_lowercase();
    Some((name, line.start + colon + 1))
}

fn rule_of(name: &str) -> Rule {
    match name {
        "authorization" | "proxy-authorization" | "authentication-info" | "proxy-authentication-info" => {
            Rule::Credentials
        }
        SHOWN_EXTENSION => Rule::Addresses,
        "user-to-user" => Rule::Whole,
        name if name.starts_with("x-") => Rule::Whole,
        _ => Rule::Addresses,
    }
}

/// Masks header lines; a folded line belongs to the one before it.
fn headers(bytes: &mut [u8], lines: &[Line]) {
    let mut current: Option<(Rule, Vec<usize>)> = None;
    for line in lines {
        if folded(bytes, line) {
            if let Some((_, places)) = &mut current {
                places.extend(line.clone());
            }
            continue;
        }
        if let Some((rule, places)) = current.take() {
            apply(bytes, rule, &places);
        }
        current = Some(match name_of(bytes, line) {
            Some((name, value)) => (rule_of(&name), (value..line.end).collect()),
            None => (Rule::Addresses, line.clone().collect()),
        });
    }
    if let Some((rule, places)) = current {
        apply(bytes, rule, &places);
    }
}

fn folded(bytes: &[u8], line: &Line) -> bool {
    bytes[line.clone()].first().is_some_and(|first| matches!(first, b' ' | b'\t'))
}

/// The same for lines of a body, of which most are no headers.
fn headers_of_fragment(bytes: &mut [u8], lines: &[Line]) {
    let mut secret: Option<(Rule, Vec<usize>)> = None;
    for line in lines {
        if folded(bytes, line) {
            if let Some((_, places)) = &mut secret {
                places.extend(line.clone());
            }
            continue;
        }
        if let Some((rule, places)) = secret.take() {
            apply(bytes, rule, &places);
        }
        let named = name_of(bytes, line).map(|(name, value)| (rule_of(&name), value));
        secret =
            named.filter(|(rule, _)| *rule != Rule::Addresses).map(|(rule, value)| (rule, (value..line.end).collect()));
    }
    if let Some((rule, places)) = secret {
        apply(bytes, rule, &places);
    }
}

/// Masks the octets at `places`, a value, by `rule`.
fn apply(bytes: &mut [u8], rule: Rule, places: &[usize]) {
    let value: Vec<u8> = places.iter().map(|place| bytes[*place]).collect();
    let hidden = match rule {
        Rule::Credentials => credentials(&value),
        Rule::Whole => vec![true; value.len()],
        Rule::Addresses => uri_headers(&value),
    };
    for (place, _) in places.iter().zip(hidden).filter(|(_, hidden)| *hidden) {
        if !bytes[*place].is_ascii_whitespace() {
            bytes[*place] = MASK;
        }
    }
}

/// Which octets of credentials are hidden: all after another scheme than Digest, else the values of parameters that are
/// not listed as harmless.
fn credentials(value: &[u8]) -> Vec<bool> {
    let mut hidden = vec![true; value.len()];
    let start = value.iter().position(|octet| !octet.is_ascii_whitespace()).unwrap_or(value.len());
    let length = value[start..].iter().position(|octet| octet.is_ascii_whitespace()).unwrap_or(value.len() - start);
    let scheme = &value[start..start + length];
    let is = |name: &str| scheme.eq_ignore_ascii_case(name.as_bytes());
    // A word in a scheme's place that is none may be the secret itself.
    let bare = !SCHEMES.iter().any(|name| is(name));
    if !bare {
        hidden[..start + length].fill(false);
        if !is("Digest") {
            return hidden;
        }
    }
    let mut at = if bare { 0 } else { start + length };
    while at < value.len() {
        let Some(equals) = value[at..].iter().position(|octet| *octet == b'=').map(|found| at + found) else { break };
        let name = String::from_utf8_lossy(&value[at..equals]);
        let name = name.trim_matches(|c: char| c.is_whitespace() || c == ',').to_lowercase();
        let end = end_of_parameter(value, equals + 1);
        // A name that holds anything but a name is a value in disguise.
        if name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-') {
            hidden[at..=equals].fill(false);
            if SHOWN_PARAMETERS.contains(&name.as_str()) {
                hidden[equals + 1..end].fill(false);
            }
        }
        for place in equals + 1..end {
            hidden[place] &= value[place] != b'"';
        }
        at = end;
    }
    hidden
}

/// Where a parameter's value that begins at `at` ends: behind its closing quote, or before the comma.
fn end_of_parameter(value: &[u8], at: usize) -> usize {
    let start =
        value[at..].iter().position(|octet| !octet.is_ascii_whitespace()).map_or(value.len(), |found| at + found);
    let quoted = value.get(start) == Some(&b'"');
    let mut place = start + usize::from(quoted);
    while let Some(octet) = value.get(place) {
        match octet {
            b'\\' if quoted => place += 1,
            b'"' if quoted => return place + 1,
            b',' if !quoted => return place,
            _ => {}
        }
        place += 1;
    }
    value.len()
}

/// Which octets are values of headers inside a URI: `<sip:a@b?User-to-User=…&X-Order=…>` (RFC 3261 section 19.1.1).
fn uri_headers(value: &[u8]) -> Vec<bool> {
    let mut hidden = vec![false; value.len()];
    let mut inside: Option<bool> = None;
    let mut name = 0;
    for (at, octet) in value.iter().enumerate() {
        match octet {
            b'>' | b' ' | b'\t' | b'"' => inside = None,
            b'?' if inside.is_none() => (inside, name) = (Some(false), at + 1),
            b'&' if inside.is_some() => (inside, name) = (Some(false), at + 1),
            b'=' if inside == Some(false) => {
                let name = String::from_utf8_lossy(&value[name..at]).to_lowercase();
                inside = if SHOWN_URI_HEADERS.contains(&name.as_str()) { None } else { Some(true) };
                // What follows in this URI is looked at all the same.
                if inside.is_none() {
                    let rest = value[at..].iter().position(|octet| matches!(octet, b'&' | b'>' | b' ' | b','));
                    if rest.is_some_and(|rest| value[at + rest] == b'&') {
                        inside = Some(false);
                    }
                }
            }
            _ => hidden[at] = inside == Some(true),
        }
    }
    hidden
}

/// How the body is to be read, by the head.
fn body_rule(bytes: &[u8], head: &[Line]) -> Body {
    let value = |names: [&str; 2]| {
        let found = head.iter().filter_map(|line| name_of(bytes, line).map(|(name, value)| (name, value..line.end)));
        let mut found = found.filter(|(name, _)| names.contains(&name.as_str()));
        found.next().map(|(_, value)| String::from_utf8_lossy(&bytes[value]).trim().to_lowercase())
    };
    let encoded = value(["content-encoding", "e"]).is_some_and(|encoding| encoding != "identity");
    let content = value(["content-type", "c"]).unwrap_or_default();
    let is_info = head.first().is_some_and(|line| bytes[line.clone()].starts_with(b"INFO "));
    match () {
        () if content.starts_with("application/dtmf-relay") && !encoded => Body::DtmfRelay,
        () if encoded || is_info || content.contains("dtmf") || content.contains("kpml") => Body::Whole,
        () => Body::Plain,
    }
}

/// `Signal=5`: what stands behind the sign; any other line than `Duration=` whole.
fn signal(line: &mut [u8]) {
    let text = String::from_utf8_lossy(line).trim_start().to_lowercase();
    match line.iter().position(|octet| *octet == b'=') {
        Some(_) if text.starts_with("duration") => {}
        Some(equals) if text.starts_with("signal") => whole(&mut line[equals + 1..]),
        _ => whole(line),
    }
}

fn whole(octets: &mut [u8]) {
    octets.iter_mut().filter(|octet| !octet.is_ascii_whitespace()).for_each(|octet| *octet = MASK);
}

/// Masks the keys in a line of SDP: `a=crypto:1 SUITE inline:KEY`, `k=`, `a=key-mgmt`, `a=ice-pwd`.
fn keys(line: &mut [u8]) {
    // One character an octet, so that places in it are places in the line.
    let text: String =
        line.iter().map(|octet| if octet.is_ascii() { octet.to_ascii_lowercase() as char } else { '?' }).collect();
    if text.starts_with("a=crypto:") {
        // Tag and suite are shown, what is behind them is the key and what belongs to it.
        let mut at = b"a=crypto:".len();
        for (number, word) in text[at..].split(char::is_whitespace).enumerate() {
            let end = (at + word.len()).min(line.len());
            let suite = ["aes_", "aead_", "f8_"].iter().any(|begin| word.starts_with(begin));
            let shown = (number == 0 && word.bytes().all(|octet| octet.is_ascii_digit()))
                || (suite && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_'));
            if !shown {
                whole(&mut line[at.min(end)..end]);
            }
            at = end + 1;
        }
    } else if text.starts_with("k=") {
        whole(&mut line[2..]);
    } else if text.starts_with("a=key-mgmt:") || text.starts_with("a=ice-pwd:") {
        let start = line.iter().position(|octet| *octet == b':').map_or(0, |colon| colon + 1);
        whole(&mut line[start..]);
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
