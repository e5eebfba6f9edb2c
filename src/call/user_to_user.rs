//! User-to-User (RFC 7433, RFC 7434): what the key `UUI` holds.

use crate::config::{HeaderRules, PdStrip, UuiEncoding, UuiSending};

/// Octets of data in one User-to-User beside the discriminator (RFC 7434 section 3.1).
const SENT_BYTES: usize = 128;

/// A decoded value: what the bot gets, and the bytes it counts for against the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// What is delivered as `UUI`.
    pub text: String,
    /// Bytes after decoding (HDR-014).
    pub bytes: usize,
    /// Avaya's universal call id, hex, where `uui_avaya` found one.
    pub ucid: Option<String>,
    /// The value said hex and was not; delivered as it came.
    pub malformed: bool,
}

/// What the caller's side gave along, for whoever gets the call next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `User-to-User` as received: what is binary in it stays so.
    pub header: Option<String>,
    /// What the bot got as `UUI`.
    pub text: Option<String>,
}

/// Why text does not become User-to-User.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// More than ISDN carries.
    #[error("it has more than {SENT_BYTES} bytes")]
    TooLong,
    /// The trunk's `uui_send_ascii_only`.
    #[error("it has characters beyond ASCII, and the trunk has uui_send_ascii_only")]
    NotAscii,
}

/// Text as a `User-to-User` value (HDR-025): upper-case hex behind the trunk's protocol discriminator.
///
/// # Errors
/// [`Unsendable`]; nothing is cut off.
pub fn encoded(text: &str, rules: UuiSending) -> Result<String, Unsendable> {
    if text.len() > SENT_BYTES {
        return Err(Unsendable::TooLong);
    }
    if rules.ascii_only && !text.is_ascii() {
        return Err(Unsendable::NotAscii);
    }
    let octets: Vec<u8> = rules.discriminator.into_iter().chain(text.bytes()).collect();
    Ok(format!("{};encoding=hex", to_hex(&octets)))
}

impl Given {
    /// The headers that hand it on: `User-to-User` as it came, else from the text, and `X-UUI` where the trunk wants it.
    ///
    /// # Errors
    /// [`Unsendable`] where the text cannot be sent; then no header is.
    pub fn headers(&self, rules: UuiSending) -> Result<Vec<(&'static str, String)>, Unsendable> {
        let text = self.text.as_deref().filter(|text| !text.is_empty());
        let value = match (&self.header, text) {
            (Some(header), _) => Some(header.clone()),
            (None, Some(text)) => Some(encoded(text, rules)?),
            (None, None) => None,
        };
        let x_uui = text.filter(|_| rules.x_uui).map(str::to_owned);
        let all = [("User-to-User", value), ("X-UUI", x_uui)];
        Ok(all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
    }
}

/// One element of the header: its data and parameters.
#[derive(Debug, Default)]
struct Element<'a> {
    data: String,
    quoted: bool,
    encoding: Option<&'a str>,
    purpose: Option<&'a str>,
    content: Option<&'a str>,
    pd: bool,
}

/// The first element of a `User-to-User` value that is understood (HDR-020, HDR-021).
#[must_use]
pub fn first_understood(value: &str, rules: &HeaderRules) -> Option<Decoded> {
    split_outside_quotes(value, ',').find_map(|element| decode(&Element::parse(element)?, rules))
}

/// `X-UUI` and `X-User-to-User`: text as it is, unless it says `;encoding=…` (HDR-022).
#[must_use]
pub fn extension_header(value: &str, rules: &HeaderRules) -> Decoded {
    Element::parse(value)
        .filter(|element| element.encoding.is_some())
        .and_then(|element| decode(&element, rules))
        .unwrap_or_else(|| plain(value.to_owned()))
}

impl<'a> Element<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split_outside_quotes(text, ';');
        let data = parts.next()?.trim();
        let unquoted = unquote(data);
        let mut element = Self { quoted: unquoted.is_some(), ..Self::default() };
        element.data = unquoted.unwrap_or_else(|| data.to_owned());
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "encoding" => element.encoding = Some(value),
                "purpose" => element.purpose = Some(value),
                "content" => element.content = Some(value),
                "pd" => element.pd = true,
                _ => {}
            }
        }
        (!element.data.is_empty()).then_some(element)
    }

    fn is_isdn(&self) -> bool {
        let isdn = |value: Option<&str>| value.is_some_and(|value| value.eq_ignore_ascii_case("isdn-uui"));
        isdn(self.purpose) || isdn(self.content)
    }

    fn has_known_package(&self) -> bool {
        let known =
            |value: &str| value.eq_ignore_ascii_case("isdn-uui") || value.eq_ignore_ascii_case("isdn-interwork");
        self.purpose.is_none_or(known) && self.content.is_none_or(known)
    }

    fn is_hex(&self, default: UuiEncoding) -> Option<bool> {
        match self.encoding {
            Some(encoding) if encoding.eq_ignore_ascii_case("hex") => Some(true),
            Some(encoding) if encoding.eq_ignore_ascii_case("ascii") => Some(false),
            Some(_) => None,
            None => Some(match default {
                UuiEncoding::Hex => true,
                UuiEncoding::Text => false,
                UuiEncoding::Auto => {
                    self.purpose.is_some() || self.content.is_some() || (!self.quoted && looks_like_hex(&self.data))
                }
            }),
        }
    }
}

fn decode(element: &Element<'_>, rules: &HeaderRules) -> Option<Decoded> {
    if !element.has_known_package() {
        return None;
    }
    if !element.is_hex(rules.uui_default_encoding)? {
        return Some(plain(element.data.clone()));
    }
    let Some(octets) = from_hex(&element.data) else {
        return Some(Decoded { malformed: true, ..plain(element.data.clone()) });
    };
    let body = if strips_discriminator(element, &octets, rules.pd_strip) { &octets[1..] } else { &octets[..] };
    if rules.uui_avaya
        && let Some(decoded) = avaya(body)
    {
        return Some(decoded);
    }
    Some(match printable(body) {
        Some(text) => Decoded { bytes: body.len(), ..plain(text) },
        None => Decoded { bytes: octets.len(), ..plain(element.data.clone()) },
    })
}

fn strips_discriminator(element: &Element<'_>, octets: &[u8], rule: PdStrip) -> bool {
    let Some((first, rest)) = octets.split_first() else { return false };
    match rule {
        PdStrip::Always => true,
        PdStrip::Never => false,
        PdStrip::Auto => {
            (element.is_isdn() && !element.pd)
                || (*first < 0x20 && !rest.is_empty() && printable(rest).is_some())
                || (*first < 0x20 && !element.pd && matches!(rest.first(), Some(0xC8 | 0xFA)))
        }
    }
}

/// Avaya shared UUI: type, length, value; `C8` is application text, `FA` the UCID (HDR-024).
fn avaya(mut octets: &[u8]) -> Option<Decoded> {
    let (mut text, mut ucid) = (None, None);
    while let [kind, length, rest @ ..] = octets {
        let (value, next) = rest.split_at_checked(usize::from(*length))?;
        match kind {
            0xC8 => text = printable(value),
            0xFA => ucid = Some(to_hex(value)),
            _ => {}
        }
        octets = next;
    }
    if text.is_none() && ucid.is_none() {
        return None;
    }
    let text = text.unwrap_or_default();
    Some(Decoded { bytes: text.len(), ucid, ..plain(text) })
}

fn plain(text: String) -> Decoded {
    Decoded { bytes: text.len(), text, ucid: None, malformed: false }
}

fn printable(octets: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(octets).ok()?;
    (!text.chars().any(char::is_control)).then(|| text.to_owned())
}

fn looks_like_hex(data: &str) -> bool {
    (data.starts_with("00") || data.starts_with("04")) && data.len() >= 4 && from_hex(data).is_some()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn to_hex(octets: &[u8]) -> String {
    use std::fmt::Write;
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02X}");
        text
    })
}

/// The inside of a value that is wholly one quoted-string, `\x` unescaped (HDR-011).
#[must_use]
pub fn unquote(value: &str) -> Option<String> {
    let inside = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
    Some(text)
}

fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        } else {
            return c == separator && !quoted;
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::headers::tests::rules;

    fn uui(value: &str) -> Option<String> {
        first_understood(value, &rules()).map(|decoded| decoded.text)
    }

    #[test]
    fn hdr_021_data_is_a_token_or_a_quoted_string_with_parameters_in_any_order() {
        assert_eq!(uui("123456").as_deref(), Some("123456"));
        assert_eq!(uui("\"a;b,c\"").as_deref(), Some("a;b,c"));
        assert_eq!(uui("48656C6C6F;purpose=isdn-uui;pd=4;encoding=hex").as_deref(), Some("Hello"));
        assert_eq!(uui("48656c6c6f ; encoding=HEX;pd=4").as_deref(), Some("Hello"));
    }

    #[test]
    fn hdr_021_elements_of_an_unknown_encoding_or_package_are_passed_over() {
        assert_eq!(uui("abc;encoding=base64, 4869;encoding=hex").as_deref(), Some("Hi"));
        assert_eq!(uui("abc;purpose=secret;encoding=hex"), None);
    }

    #[test]
    fn hdr_021_without_encoding_hex_is_taken_by_its_look_only_with_a_discriminator() {
        assert_eq!(uui("0448656C6C6F").as_deref(), Some("Hello"));
        assert_eq!(uui("0048656C6C6F").as_deref(), Some("Hello"));
        assert_eq!(uui("9876543210").as_deref(), Some("9876543210"));
    }

    #[test]
    fn hdr_022_binary_data_survives_as_its_hex() {
        assert_eq!(uui("00FA080001000A5B2C1D3E;encoding=hex").as_deref(), Some("00FA080001000A5B2C1D3E"));
        let odd = first_understood("ABC;encoding=hex", &rules()).expect("an element");
        assert_eq!((odd.text.as_str(), odd.malformed), ("ABC", true));
    }

    #[test]
    fn hdr_023_the_discriminator_goes_for_isdn_uui_without_pd_and_stays_with_it() {
        assert_eq!(uui("0448656C6C6F;encoding=hex;purpose=isdn-uui").as_deref(), Some("Hello"));
        assert_eq!(uui("48656C6C6F;encoding=hex;purpose=isdn-uui;pd=4").as_deref(), Some("Hello"));
        let never = HeaderRules { pd_strip: PdStrip::Never, ..rules() };
        let kept = first_understood("0448656C6C6F;encoding=hex", &never).expect("an element");
        assert_eq!(kept.text, "0448656C6C6F");
    }

    #[test]
    fn hdr_024_avaya_shared_uui_gives_text_and_ucid() {
        let avaya = HeaderRules { uui_avaya: true, ..rules() };
        let value = "00C80548656C6C6FFA080001000A5B2C1D3E;encoding=hex";
        let decoded = first_understood(value, &avaya).expect("an element");
        assert_eq!(decoded.text, "Hello");
        assert_eq!(decoded.ucid.as_deref(), Some("0001000A5B2C1D3E"));
    }

    const SENDING: UuiSending = UuiSending { discriminator: Some(0), x_uui: false, ascii_only: false };

    #[test]
    fn hdr_025_text_is_sent_as_upper_case_hex_behind_the_trunks_discriminator() {
        let with = |discriminator| encoded("J\u{e9}", UuiSending { discriminator, ..SENDING });
        assert_eq!(with(Some(0)).as_deref(), Ok("004AC3A9;encoding=hex"));
        assert_eq!(with(Some(4)).as_deref(), Ok("044AC3A9;encoding=hex"));
        assert_eq!(with(None).as_deref(), Ok("4AC3A9;encoding=hex"));
        assert_eq!(encoded("J\u{e9}", UuiSending { ascii_only: true, ..SENDING }), Err(Unsendable::NotAscii));
        assert!(encoded(&"a".repeat(128), SENDING).is_ok());
        assert_eq!(encoded(&"a".repeat(129), SENDING), Err(Unsendable::TooLong));
    }

    #[test]
    fn hdr_025_what_is_sent_is_read_back_as_it_was() {
        let sent = encoded("order-4711", SENDING).expect("sendable");
        assert_eq!(uui(&sent).as_deref(), Some("order-4711"));
    }

    #[test]
    fn hdr_025_what_came_goes_on_as_it_came_and_as_x_uui_where_the_trunk_wants_it() {
        let given = Given { header: Some("00FA08;encoding=hex".into()), text: Some("00FA08".into()) };
        assert_eq!(given.headers(SENDING), Ok(vec![("User-to-User", "00FA08;encoding=hex".to_owned())]));
        let text = Given { header: None, text: Some("Hi".into()) };
        let both = text.headers(UuiSending { x_uui: true, ..SENDING });
        assert_eq!(both, Ok(vec![("User-to-User", "004869;encoding=hex".to_owned()), ("X-UUI", "Hi".to_owned())]));
        assert_eq!(Given::default().headers(UuiSending { x_uui: true, ..SENDING }), Ok(Vec::new()));
        let empty = Given { header: None, text: Some(String::new()) };
        assert_eq!(empty.headers(SENDING), Ok(Vec::new()));
    }

    #[test]
    fn x_uui_is_text_unless_it_says_hex() {
        assert_eq!(extension_header("04-abc;x=1", &rules()).text, "04-abc;x=1");
        assert_eq!(extension_header("48656C6C6F;encoding=hex", &rules()).text, "Hello");
    }
}
