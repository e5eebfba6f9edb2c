//! URIs and addresses: `sip:`, `sips:`, `tel:` (RFC 3261 section 19.1, RFC 3966), kept verbatim beside what they say.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::syntax::{self, Params};

/// Why a URI or an address cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// No `scheme:`.
    #[error("the peer sent a URI without a scheme")]
    Scheme,
    /// White space, control bytes, brackets or quotes inside, or an escape that is none.
    #[error("the peer sent a URI with a character that must not stand there")]
    Character,
    /// No host, or one that is neither a name nor an address.
    #[error("the peer sent a URI with a bad host or port")]
    Host,
    /// Parameters that cannot be read.
    #[error("the peer sent bad parameters")]
    Params,
    /// An open quote or bracket, or text behind the address.
    #[error("the peer sent a malformed address")]
    Address,
}

/// A URI's scheme; compared without case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`
    Tel,
    /// Any other, in lower case.
    Other(String),
}

/// A URI's host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// An address literal; IPv6 in brackets on the wire.
    Ip(IpAddr),
    /// A name in lower case; the endpoint cannot resolve it.
    Name(String),
}

impl Host {
    /// Reads `name`, `192.0.2.1` or `[2001:db8::1]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            return ipv6(inner.strip_suffix(']')?).map(|ip| Self::Ip(ip.into()));
        }
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Some(Self::Ip(ip));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        (!text.is_empty() && text.bytes().all(allowed)).then(|| Self::Name(text.to_ascii_lowercase()))
    }

    /// Splits `host[:port]` and reads both; port 0 counts as none (some rewriting firewalls write it).
    #[must_use]
    pub fn parse_with_port(text: &str) -> Option<(Self, Option<u16>)> {
        let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
        match text[after_bracket..].find(':').map(|at| at + after_bracket) {
            None => Some((Self::parse(text.trim())?, None)),
            Some(colon) => {
                let digits = text[colon + 1..].trim();
                let port: u16 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
                Some((Self::parse(text[..colon].trim())?, Some(port).filter(|&port| port != 0)))
            }
        }
    }

    /// The address, where it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// A URI: what it says, and its text as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    raw: String,
    /// Scheme.
    pub scheme: Scheme,
    /// User part as received, without the password; for `tel:` the number as received.
    pub user: Option<String>,
    /// Host; none in `tel:` and unknown schemes.
    pub host: Option<Host>,
    /// Port, where given.
    pub port: Option<u16>,
    params: Params,
    has_headers: bool,
}

impl Uri {
    /// Reads a URI that stands alone: a Request-URI, or what is inside `<…>`.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        check_characters(text)?;
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        if scheme.is_empty() || !scheme.bytes().all(plain) {
            return Err(UriError::Scheme);
        }
        match scheme.to_ascii_lowercase().as_str() {
            "sip" => Self::sip(text, Scheme::Sip, rest),
            "sips" => Self::sip(text, Scheme::Sips, rest),
            "tel" => Self::tel(text, rest),
            other => Ok(Self::bare(text, Scheme::Other(other.to_owned()))),
        }
    }

    fn bare(raw: &str, scheme: Scheme) -> Self {
        let (user, host, port) = (None, None, None);
        Self { raw: raw.to_owned(), scheme, user, host, port, params: Params::default(), has_headers: false }
    }

    fn sip(raw: &str, scheme: Scheme, rest: &str) -> Result<Self, UriError> {
        let (user, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo.split(':').next().unwrap_or_default().to_owned()), rest),
            None => (None, rest),
        };
        let (rest, has_headers) = rest.split_once('?').map_or((rest, false), |(before, _)| (before, true));
        let (hostport, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = Host::parse_with_port(hostport).ok_or(UriError::Host)?;
        let params = Params::parse(params).ok_or(UriError::Params)?;
        Ok(Self { user, host: Some(host), port, params, has_headers, ..Self::bare(raw, scheme) })
    }

    fn tel(raw: &str, rest: &str) -> Result<Self, UriError> {
        let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
        let dialable = |b: u8| b.is_ascii_hexdigit() || b"+-.()*#%".contains(&b);
        if number.is_empty() || !number.bytes().all(dialable) {
            return Err(UriError::Character);
        }
        let params = Params::parse(params).ok_or(UriError::Params)?;
        Ok(Self { user: Some(number.to_owned()), params, ..Self::bare(raw, Scheme::Tel) })
    }

    /// The URI as received, byte for byte.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The value of URI parameter `name`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.value(name)
    }

    /// Whether URI parameter `name` is present.
    #[must_use]
    pub fn has_param(&self, name: &str) -> bool {
        self.params.has(name)
    }

    /// Whether headers follow a `?`, which no Request-URI may have.
    #[must_use]
    pub const fn has_headers(&self) -> bool {
        self.has_headers
    }

    /// The value of header `name` behind the `?`, unescaped (RFC 3261 section 19.1.1).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let (_, headers) = self.raw.split_once('?').filter(|_| self.has_headers)?;
        let mut pairs = headers.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(key, _)| decode(key).eq_ignore_ascii_case(name)).map(|(_, value)| decode(value))
    }

    /// The user part with its percent-escapes decoded once (SIP-011).
    #[must_use]
    pub fn decoded_user(&self) -> Option<String> {
        self.user.as_deref().map(decode)
    }

    /// The dialled or dialling number: the decoded user part of a `sip:` URI up to its first `;` (SIP-010), the digits
    /// of a `tel:` URI without visual separators; empty where there is none.
    #[must_use]
    pub fn number(&self) -> String {
        let user = self.user.as_deref().unwrap_or_default();
        let number = decode(user.split(';').next().unwrap_or_default());
        match self.scheme {
            Scheme::Tel => number.chars().filter(|c| !"-.()".contains(*c)).collect(),
            Scheme::Sip | Scheme::Sips | Scheme::Other(_) => number,
        }
    }
}

fn check_characters(text: &str) -> Result<(), UriError> {
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let fine = match byte {
            0..=b' ' | 0x7f | b'<' | b'>' | b'"' => false,
            b'%' => escaped(bytes, at).is_some_and(|octet| octet >= 0x20 && octet != 0x7f),
            _ => true,
        };
        if !fine {
            return Err(UriError::Character);
        }
    }
    Ok(())
}

/// An IPv6 address. RFC 3261's grammar derives a third colon before an IPv4 part, by mistake; it is borne (RFC 5118, 4.10).
fn ipv6(text: &str) -> Option<Ipv6Addr> {
    text.parse().ok().or_else(|| {
        let (before, last) = text.split_once(":::")?;
        last.parse::<Ipv4Addr>().ok()?;
        format!("{before}::{last}").parse().ok()
    })
}

fn escaped(bytes: &[u8], at: usize) -> Option<u8> {
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()
}

/// What stands unescaped in the names and values of a URI's headers: RFC 3261's `unreserved`.
const UNRESERVED: &percent_encoding::AsciiSet =
    &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'!').remove(b'~').remove(b'*');

/// `text` as the name or value of a URI's header.
#[must_use]
pub fn escape_header(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, UNRESERVED).to_string()
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// A number in the one form in which numbers compare: separators `-.()` and spaces gone, a leading `+` or `00` gone.
#[must_use]
pub fn normalise_number(number: &str) -> String {
    let bare: String = number.chars().filter(|c| !"-.() ".contains(*c)).collect();
    let national = bare.strip_prefix('+').or_else(|| bare.strip_prefix("00")).unwrap_or(&bare);
    national.to_owned()
}

/// A From, To, Contact, Route or identity value: display name, URI and header parameters (RFC 3261 section 20.10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    /// Unquoted; `None` where missing or empty.
    pub display_name: Option<String>,
    /// The address.
    pub uri: Uri,
    params: Params,
    raw: String,
}

impl NameAddr {
    /// Reads `"Name" <uri>;params`, `Name <uri>`, `<uri>` or a bare `uri;params`, whose parameters are the header's.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        let text = text.trim();
        let (name, rest) = if text.starts_with('"') {
            let (name, rest) = syntax::quoted(text).ok_or(UriError::Address)?;
            (name, rest.trim_start().strip_prefix('<').ok_or(UriError::Address)?)
        } else if let Some((name, rest)) = text.split_once('<') {
            if name.contains(['"', '>']) {
                return Err(UriError::Address);
            }
            (name.trim().to_owned(), rest)
        } else {
            return Self::bare(text);
        };
        let (uri, after) = rest.split_once('>').ok_or(UriError::Address)?;
        let params = match after.trim() {
            "" => "",
            after => after.strip_prefix(';').ok_or(UriError::Address)?,
        };
        Self::assemble(text, Some(name).filter(|name| !name.is_empty()), uri, params)
    }

    fn bare(text: &str) -> Result<Self, UriError> {
        let host_at = text.find('@').unwrap_or(0);
        let (uri, params) = match text[host_at..].find(';') {
            Some(at) => (&text[..host_at + at], &text[host_at + at + 1..]),
            None => (text, ""),
        };
        if uri[host_at..].contains([',', '?']) {
            return Err(UriError::Address); // RFC 3261 section 20.10: such a URI must stand in brackets
        }
        Self::assemble(text, None, uri.trim_end(), params)
    }

    fn assemble(raw: &str, display_name: Option<String>, uri: &str, params: &str) -> Result<Self, UriError> {
        let params = Params::parse(params).ok_or(UriError::Params)?;
        Ok(Self { display_name, uri: Uri::parse(uri)?, params, raw: raw.to_owned() })
    }

    /// The `tag` parameter; empty counts as none.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.param("tag").filter(|tag| !tag.is_empty())
    }

    /// The value of header parameter `name`.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.value(name)
    }

    /// The value as received.
    #[must_use]
    pub fn raw(&self) -> &str {
        &self.raw
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(uri: &str) -> String {
        Uri::parse(uri).expect(uri).number()
    }

    #[test]
    fn sip_115_a_third_colon_before_an_ipv4_part_is_borne_and_no_other() {
        let host = |text: &str| Host::parse(text).map(|host| host.to_string());
        assert_eq!(host("[2001:db8:::192.0.2.1]"), host("[2001:db8::192.0.2.1]"));
        assert!(host("[2001:db8::192.0.2.1]").is_some());
        for wrong in
            ["[2001:db8:::1]", "[2001:db8::::192.0.2.1]", "[2001::db8:::192.0.2.1]", "[2001:db8:::192.0.2.256]"]
        {
            assert_eq!(host(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sip_010_numbers_come_from_sip_sips_and_tel() {
        assert_eq!(number("sip:+911234@pbx.example;user=phone"), "+911234");
        assert_eq!(number("SIPS:1000:secret@10.0.0.1"), "1000");
        assert_eq!(number("tel:+1-201-555-0123;phone-context=x"), "+12015550123");
        assert_eq!(number("sip:1000;phone-context=+91;npdi@h"), "1000");
        assert_eq!(number("sip:10.0.0.1"), "");
    }

    #[test]
    fn sip_011_the_user_part_is_decoded_once_and_the_text_is_kept() {
        let uri = Uri::parse("sip:%2B91%20%2523@h").expect("valid");
        assert_eq!(uri.decoded_user().as_deref(), Some("+91 %23"));
        assert_eq!(uri.raw(), "sip:%2B91%20%2523@h");
        for bad in ["sip:a%00b@h", "sip:a b@h", "sip:a%4@h", "sip:a\u{1}@h", "sip:a%0d@h"] {
            assert_eq!(Uri::parse(bad), Err(UriError::Character), "{bad}");
        }
    }

    #[test]
    fn headers_behind_the_question_mark_are_unescaped() {
        let uri = Uri::parse("sip:a@h;lr?Reason=SIP%3Bcause%3D302&privacy=history&x").expect("a URI");
        assert_eq!(uri.header("reason").as_deref(), Some("SIP;cause=302"));
        assert_eq!((uri.header("Privacy").as_deref(), uri.header("X").as_deref()), (Some("history"), Some("")));
        assert_eq!((uri.header("y"), Uri::parse("sip:a@h").expect("a URI").header("x")), (None, None));
    }

    #[test]
    fn hosts_are_names_ipv4_and_bracketed_ipv6() {
        let uri = Uri::parse("sip:a@[2001:db8::1]:5070;lr").expect("valid");
        assert_eq!((uri.host.and_then(|h| h.ip()), uri.port), (Some("2001:db8::1".parse().expect("ip")), Some(5070)));
        assert_eq!(Uri::parse("sip:a@Host.Example").expect("valid").host, Some(Host::Name("host.example".into())));
        assert_eq!(Uri::parse("sip:a@h:0").expect("valid").port, None);
        for bad in ["sip:", "sip:a@", "sip:a@h:99999", "sip:a@[::1", "sip:a@h:x", "noscheme", "sip:a@b/c"] {
            assert!(Uri::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sip_010_display_names_in_every_form() {
        let read = |text: &str| NameAddr::parse(text).expect(text);
        assert_eq!(read(r#""A \"B\", C" <sip:a@h>;tag=1"#).display_name.as_deref(), Some("A \"B\", C"));
        assert_eq!(read("J\u{fc}rg M <sip:a@h> ; tag = 2").tag(), Some("2"));
        assert_eq!(read("\"caller\"<sip:a@h;lr>;tag=3").display_name.as_deref(), Some("caller"));
        let bare = read("sip:+1@h:5070;user=phone;tag=4");
        assert_eq!((bare.tag(), bare.uri.raw(), bare.param("user")), (Some("4"), "sip:+1@h:5070", Some("phone")));
        assert_eq!(read("tel:+123;tag=5").tag(), Some("5"));
        for bad in ["\"open <sip:a@h>", "<sip:a@h", "<sip:a@h> x", "sip:a@h?x=y", "<sip:a@h>;;x", ""] {
            assert!(NameAddr::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_compare_in_their_normal_form() {
        for same in ["+91 (22) 123-4.5", "0091221234 5", "912212345"] {
            assert_eq!(normalise_number(same), "912212345");
        }
        assert_eq!(normalise_number("1000"), "1000");
    }

    proptest! {
        #[test]
        fn sip_016_no_text_panics(text in "(sip:|tel:|\"|<)?[a-z0-9@:;=%<>\"\\[\\]., \u{e9}?]{0,30}") {
            if let Ok(uri) = Uri::parse(&text) {
                let _ = (uri.number(), uri.decoded_user());
                prop_assert_eq!(uri.raw(), text.as_str());
            }
            let _ = NameAddr::parse(&text);
            let _ = normalise_number(&text);
        }
    }
}
