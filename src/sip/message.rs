//! SIP messages: headers in the order and spelling received, requests, responses. The home of `rsip`.

use super::syntax;

/// A request method: one that `rsip` knows, or any other token. Compared with case (RFC 3261 section 7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// A method of an RFC.
    Known(rsip::Method),
    /// A token that no RFC we know defines.
    Other(String),
}

macro_rules! methods {
    ($($constant:ident $variant:ident;)*) => {
        impl Method {
            $(
                #[doc = stringify!($constant)]
                pub const $constant: Self = Self::Known(rsip::Method::$variant);
            )*

            /// The method named `text`, exactly.
            #[must_use]
            pub fn parse(text: &str) -> Self {
                match text {
                    $(stringify!($constant) => Self::$constant,)*
                    other => Self::Other(other.to_owned()),
                }
            }

            /// The method as the wire has it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::Known(rsip::Method::$variant) => stringify!($constant),)*
                    Self::Other(text) => text,
                }
            }
        }
    };
}

methods! {
    ACK Ack; BYE Bye; CANCEL Cancel; INFO Info; INVITE Invite; MESSAGE Message; NOTIFY Notify; OPTIONS Options;
    PRACK PRack; PUBLISH Publish; REFER Refer; REGISTER Register; SUBSCRIBE Subscribe; UPDATE Update;
}

/// Methods that are served (SIP-013), as `Allow` lists them.
pub const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, NOTIFY";

/// Extensions that are implemented (SIP-014), as `Supported` lists them.
pub const SUPPORTED: [&str; 5] = ["100rel", "timer", "replaces", "norefersub", "uui"];

/// The value of `Supported`; towards a peer with which there are no session timers `timer` is not in it.
#[must_use]
pub fn supported(timer: bool) -> String {
    let tags = SUPPORTED.into_iter().filter(|tag| timer || *tag != "timer");
    tags.collect::<Vec<_>>().join(", ")
}

/// The standard reason phrase of `code` (RFC 3261 section 21).
#[must_use]
pub fn phrase(code: u16) -> String {
    use rsip::StatusCode;
    match StatusCode::from(code) {
        StatusCode::OK => "OK".to_owned(),
        StatusCode::RequestUriTooLong => "Request-URI Too Long".to_owned(),
        StatusCode::UnsupportedUriScheme => "Unsupported URI Scheme".to_owned(),
        StatusCode::CallTransactionDoesNotExist => "Call/Transaction Does Not Exist".to_owned(),
        StatusCode::ServerTimeOut => "Server Time-out".to_owned(),
        StatusCode::NotAcceptableGlobal => "Not Acceptable".to_owned(),
        StatusCode::Other(..) => "Unknown".to_owned(),
        named => words(&format!("{named:?}")),
    }
}

fn words(camel_case: &str) -> String {
    camel_case.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push(' ');
        }
        text.push(c);
        text
    })
}

/// A header's value: trimmed, unfolded, bytes as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// UTF-8, as SIP wants it.
    Text(String),
    /// Other bytes, read as ISO-8859-1 where text is asked for.
    Latin1 {
        /// The bytes received.
        raw: Vec<u8>,
        /// The same as text.
        text: String,
    },
}

impl Value {
    /// The value of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Latin1 { raw: bytes.to_vec(), text: bytes.iter().map(|&b| char::from(b)).collect() },
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Text(text) | Self::Latin1 { text, .. } => text,
        }
    }

    /// As received.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Latin1 { raw, .. } => raw,
        }
    }

    /// The same value with `suffix` appended.
    #[must_use]
    pub fn with_suffix(&self, suffix: &str) -> Self {
        match self {
            Self::Text(text) => Self::Text(format!("{text}{suffix}")),
            Self::Latin1 { raw, text } => {
                Self::Latin1 { raw: [raw, suffix.as_bytes()].concat(), text: format!("{text}{suffix}") }
            }
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// Header lines in their order. Names compare without case, and compact forms equal the long ones (SIP-007).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Value)>);

impl Headers {
    /// No headers.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Every line: name in the spelling received, value unfolded and trimmed.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// The first line named `name`, as text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values(name).next().map(Value::as_str)
    }

    /// Every line named `name`, in order, as text; comma-joined values stay joined.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.values(name).map(Value::as_str)
    }

    /// The items of every line named `name`, comma-joined and repeated alike, in order (SIP-008).
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.get_all(name).flat_map(syntax::list).collect()
    }

    /// Whether a line is named `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// Every value of `name`, with its bytes.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &Value> {
        let name = long_name(name);
        self.0.iter().filter(move |(own, _)| long_name(own).eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// Appends a line.
    pub fn push(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Appends every line of `other` that is named `name`.
    pub fn copy(&mut self, other: &Self, name: &str) {
        self.0.extend(other.values(name).map(|value| (name.to_owned(), value.clone())));
    }

    /// Takes out every line named `name`; their values.
    pub fn take(&mut self, name: &str) -> Vec<Value> {
        let name = long_name(name);
        let taken = self.0.extract_if(.., |(own, _)| long_name(own).eq_ignore_ascii_case(name));
        taken.map(|(_, value)| value).collect()
    }

    /// Replaces the value of the first line named `name`.
    pub fn replace_first(&mut self, name: &str, value: impl Into<Value>) {
        let name = long_name(name);
        if let Some(line) = self.0.iter_mut().find(|(own, _)| long_name(own).eq_ignore_ascii_case(name)) {
            line.1 = value.into();
        }
    }
}

/// The long name of a compact one (RFC 3261 section 7.3.3 and the IANA registry); any other name as it is.
#[must_use]
pub fn long_name(name: &str) -> &str {
    let &[letter] = name.as_bytes() else { return name };
    match letter.to_ascii_lowercase() {
        b'a' => "Accept-Contact",
        b'b' => "Referred-By",
        b'c' => "Content-Type",
        b'd' => "Request-Disposition",
        b'e' => "Content-Encoding",
        b'f' => "From",
        b'i' => "Call-ID",
        b'j' => "Reject-Contact",
        b'k' => "Supported",
        b'l' => "Content-Length",
        b'm' => "Contact",
        b'o' => "Event",
        b'r' => "Refer-To",
        b's' => "Subject",
        b't' => "To",
        b'u' => "Allow-Events",
        b'v' => "Via",
        b'x' => "Session-Expires",
        b'y' => "Identity",
        _ => name,
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Request-URI as received.
    pub uri: String,
    /// Header lines.
    pub headers: Headers,
    /// Body, cut to Content-Length.
    pub body: Vec<u8>,
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code, 100 to 699.
    pub code: u16,
    /// Reason phrase.
    pub phrase: String,
    /// Header lines.
    pub headers: Headers,
    /// Body, cut to Content-Length.
    pub body: Vec<u8>,
}

/// Either kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A request.
    Request(Request),
    /// A response.
    Response(Response),
}

impl Response {
    /// The answer `code` to `request`: Via, From, Call-ID and CSeq verbatim; To with `to_tag` where it has none and
    /// this is no 100; Timestamp in a 100 (RFC 3261 section 8.2.6, SIP-022).
    #[must_use]
    pub fn to(request: &Request, code: u16, to_tag: &str) -> Self {
        let mut headers = Headers::new();
        for name in ["Via", "From"] {
            headers.copy(&request.headers, name);
        }
        if let Some(to) = request.headers.values("To").next() {
            let tagged = super::uri::NameAddr::parse(to.as_str()).is_ok_and(|to| to.tag().is_some());
            let add = code != 100 && !tagged && !to_tag.is_empty();
            headers.push("To", if add { to.with_suffix(&format!(";tag={to_tag}")) } else { to.clone() });
        }
        for name in ["Call-ID", "CSeq"] {
            headers.copy(&request.headers, name);
        }
        if code == 100 {
            headers.copy(&request.headers, "Timestamp");
        }
        Self { code, phrase: phrase(code), headers, body: Vec::new() }
    }

    /// Sets the body and its type.
    #[must_use]
    pub fn with_sdp(mut self, sdp: Option<Vec<u8>>) -> Self {
        if let Some(sdp) = sdp {
            self.headers.push("Content-Type", "application/sdp");
            self.body = sdp;
        }
        self
    }

    /// Appends a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.headers.push(name, value);
        self
    }
}

/// A CSeq header: number and method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    /// Sequence number, below 2³¹.
    pub number: u32,
    /// Method.
    pub method: Method,
}

impl CSeq {
    /// Reads `4711 INVITE`; `None` where the number is not below 2³¹ or the method no token (SIP-009).
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (number, method) = value.trim().split_once([' ', '\t'])?;
        let method = method.trim();
        if !number.bytes().all(|b| b.is_ascii_digit()) || !syntax::is_token(method) {
            return None;
        }
        let number = number.parse().ok().filter(|&number: &u32| number < 1 << 31)?;
        Some(Self { number, method: Method::parse(method) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_are_those_of_the_rfc() {
        for (code, expected) in [
            (100, "Trying"),
            (180, "Ringing"),
            (200, "OK"),
            (408, "Request Timeout"),
            (481, "Call/Transaction Does Not Exist"),
            (487, "Request Terminated"),
            (488, "Not Acceptable Here"),
            (503, "Service Unavailable"),
            (504, "Server Time-out"),
        ] {
            assert_eq!(phrase(code), expected);
        }
    }

    #[test]
    fn sip_006_methods_compare_with_case() {
        assert_eq!(Method::parse("INVITE"), Method::INVITE);
        assert_eq!(Method::parse("invite"), Method::Other("invite".into()));
        assert_eq!(Method::PRACK.as_str(), "PRACK");
    }

    #[test]
    fn sip_007_compact_and_odd_case_names_are_the_long_ones() {
        let mut headers = Headers::new();
        headers.push("I", "call-1");
        headers.push("x-UUI", "7");
        assert_eq!(headers.get("call-id"), Some("call-1"));
        assert_eq!(headers.get("X-Uui"), Some("7"));
        assert_eq!(headers.iter().next(), Some(("I", "call-1".as_bytes())));
    }

    #[test]
    fn sip_009_cseq_is_below_2_to_31() {
        assert_eq!(CSeq::parse("2147483647  INVITE").map(|cseq| cseq.number), Some(2_147_483_647));
        for bad in ["2147483648 INVITE", "36893488147419103232 INVITE", "-1 INVITE", "1", "1 IN VITE", "+1 BYE"] {
            assert_eq!(CSeq::parse(bad), None, "{bad}");
        }
    }
}
