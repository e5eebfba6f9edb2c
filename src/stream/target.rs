//! Where the bot is: a ws or wss URL, checked once.

use std::fmt;

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use crate::base::pcm::SampleRate;
use crate::stream::base64;

const LONGEST_URL: usize = 2048;
const LONGEST_QUERY: usize = 800;
const MOST_PARAMETERS: usize = 25;
/// The bridge's own query key; it is not a custom parameter (HDR-016).
const SAMPLE_RATE_KEY: &str = "sample-rate";

/// A bot's URL. It cannot hold a bad one; `Display` and `Debug` show neither credentials nor query values.
#[derive(Clone)]
pub struct StreamUrl {
    tls: bool,
    host: String,
    port: u16,
    path_and_query: String,
    authorization: Option<SecretString>,
    sample_rate: SampleRate,
    parameters: Vec<(String, String)>,
}

/// What is wrong with a bot's URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamUrlError {
    /// Over 2048 characters.
    #[error("the URL has {0} characters, at most {LONGEST_URL} are allowed")]
    TooLong(usize),
    /// A space, a control character or one outside ASCII.
    #[error("the URL has the character {0:?}, which must be percent-encoded")]
    Character(char),
    /// Neither ws nor wss.
    #[error("the URL must begin with ws:// or wss://")]
    Scheme,
    /// No host, or one that is no name or address.
    #[error("the URL's host {0:?} is no host name or IP address")]
    Host(String),
    /// Not 1 to 65535. Not shown: it may be part of a badly written password.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// RFC 6455 section 3 forbids it.
    #[error("the URL has a fragment (#), which a WebSocket URL must not have")]
    Fragment,
    /// Percent-decoding did not give UTF-8.
    #[error("the URL's query parameter {0:?} is not UTF-8 after percent-decoding")]
    NotUtf8(String),
    /// Not 8000, 16000 or 24000, or given twice.
    #[error("sample-rate must be 8000, 16000 or 24000 and given once, not {0:?}")]
    SampleRate(String),
    /// Over 800 characters.
    #[error("the URL's query has {0} characters, at most {LONGEST_QUERY} are allowed")]
    QueryTooLong(usize),
    /// Over 25 custom parameters.
    #[error("the URL has {0} custom parameters, at most {MOST_PARAMETERS} are allowed")]
    TooManyParameters(usize),
}

impl StreamUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it, in words for the flow's author.
    pub fn parse(text: &str) -> Result<Self, StreamUrlError> {
        let text = text.trim_ascii();
        if text.len() > LONGEST_URL {
            return Err(StreamUrlError::TooLong(text.chars().count()));
        }
        if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(StreamUrlError::Character(bad));
        }
        let (tls, rest) = scheme(text)?;
        if rest.contains('#') {
            return Err(StreamUrlError::Fragment);
        }
        let (authority, path_and_query) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (userinfo, host_and_port) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let (host, port) = split_port(host_and_port)?;
        let query = path_and_query.split_once('?').map_or("", |(_, query)| query);
        let (sample_rate, parameters) = parameters(query)?;
        Ok(Self {
            tls,
            host: checked_host(host)?,
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            path_and_query: rooted(path_and_query),
            authorization: userinfo.map(basic),
            sample_rate,
            parameters,
        })
    }

    /// Whether it is `wss`.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host name or address, an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 80 or 443 where the URL has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header: IPv6 in brackets, the port unless it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let port = match (self.tls, self.port) {
            (true, 443) | (false, 80) => String::new(),
            (_, port) => format!(":{port}"),
        };
        format!("{open}{}{close}{port}", self.host)
    }

    /// Path and query exactly as configured, for the request line; "/" stands in for an empty path.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// `Basic …` from the URL's userinfo (RFC 7617).
    #[must_use]
    pub fn authorization(&self) -> Option<SecretString> {
        self.authorization.clone()
    }

    /// The stream's rate: `sample-rate`, or 8000.
    #[must_use]
    pub fn sample_rate(&self) -> SampleRate {
        self.sample_rate
    }

    /// Custom parameters, decoded, in order, without `sample-rate`; of equal keys the first (HDR-016).
    #[must_use]
    pub fn parameters(&self) -> &[(String, String)] {
        &self.parameters
    }
}

impl fmt::Display for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, query) = self.path_and_query.split_once('?').unwrap_or((&self.path_and_query, ""));
        write!(f, "{}://{}{path}", if self.tls { "wss" } else { "ws" }, self.authority())?;
        for (position, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let shown = if key == SAMPLE_RATE_KEY { value } else { "…" };
            write!(f, "{}{key}={shown}", if position == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for StreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn scheme(text: &str) -> Result<(bool, &str), StreamUrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(StreamUrlError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "ws" => Ok((false, rest)),
        "wss" => Ok((true, rest)),
        _ => Err(StreamUrlError::Scheme),
    }
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), StreamUrlError> {
    let after_bracket = match text.rfind(']') {
        Some(bracket) => bracket + 1,
        None if text.starts_with('[') => text.len(),
        None => 0,
    };
    let Some(colon) = text[after_bracket..].find(':').map(|colon| after_bracket + colon) else {
        return Ok((text, None));
    };
    let digits = &text[colon + 1..];
    let port = digits.parse().ok().filter(|port| *port > 0 && digits.bytes().all(|digit| digit.is_ascii_digit()));
    port.map(|port| (&text[..colon], Some(port))).ok_or(StreamUrlError::Port)
}

fn checked_host(host: &str) -> Result<String, StreamUrlError> {
    let bad = || StreamUrlError::Host(host.into());
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or_else(bad)?;
        return address.parse::<std::net::Ipv6Addr>().map(|_| address.into()).map_err(|_| bad());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_name = (1..=253).contains(&host.len()) && host.bytes().all(allowed) && !host.starts_with(['.', '-']);
    is_name.then(|| host.to_ascii_lowercase()).ok_or_else(bad)
}

fn rooted(path_and_query: &str) -> String {
    let root = if path_and_query.starts_with('/') { "" } else { "/" };
    format!("{root}{path_and_query}")
}

fn basic(userinfo: &str) -> SecretString {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let mut credentials: Vec<u8> = percent_decode_str(user).collect();
    credentials.push(b':');
    credentials.extend(percent_decode_str(password));
    let mut text = String::from("Basic ");
    base64::encode(&credentials, &mut text);
    text.into()
}

fn parameters(query: &str) -> Result<(SampleRate, Vec<(String, String)>), StreamUrlError> {
    if query.len() > LONGEST_QUERY {
        return Err(StreamUrlError::QueryTooLong(query.len()));
    }
    let (mut rate, mut parameters) = (None, Vec::<(String, String)>::new());
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decoded(key, key)?, decoded(value, key)?);
        if key == SAMPLE_RATE_KEY {
            let read = stream_rate(&value).filter(|read| rate.is_none_or(|rate| rate == *read));
            rate = Some(read.ok_or(StreamUrlError::SampleRate(value))?);
        } else if parameters.iter().all(|(known, _)| *known != key) {
            parameters.push((key, value));
        }
    }
    if parameters.len() > MOST_PARAMETERS {
        return Err(StreamUrlError::TooManyParameters(parameters.len()));
    }
    Ok((rate.unwrap_or(SampleRate::Hz8000), parameters))
}

fn stream_rate(text: &str) -> Option<SampleRate> {
    match text {
        "8000" => Some(SampleRate::Hz8000),
        "16000" => Some(SampleRate::Hz16000),
        "24000" => Some(SampleRate::Hz24000),
        _ => None,
    }
}

fn decoded(text: &str, key: &str) -> Result<String, StreamUrlError> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.map(Into::into).map_err(|_| StreamUrlError::NotUtf8(key.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn url(text: &str) -> StreamUrl {
        StreamUrl::parse(text).expect("a good URL")
    }

    #[test]
    fn path_and_query_stay_as_they_were_written() {
        let url = url("wss://Bot.example.com:8443/a%20b//c?sample-rate=16000&key1=va%2Flue+1&&x&key1=2");
        assert_eq!(url.path_and_query(), "/a%20b//c?sample-rate=16000&key1=va%2Flue+1&&x&key1=2");
        assert_eq!((url.is_tls(), url.host(), url.port()), (true, "bot.example.com", 8443));
        assert_eq!(url.sample_rate(), SampleRate::Hz16000);
        let parameters = [("key1", "va/lue 1"), ("x", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(url.parameters(), parameters);
    }

    #[test]
    fn port_path_and_rate_have_defaults() {
        let (plain, tls) = (url("ws://127.0.0.1"), url("WSS://h?sample-rate=24000"));
        assert_eq!((plain.port(), plain.path_and_query(), plain.sample_rate()), (80, "/", SampleRate::Hz8000));
        assert_eq!(
            (tls.port(), tls.path_and_query(), tls.sample_rate()),
            (443, "/?sample-rate=24000", SampleRate::Hz24000)
        );
        assert_eq!((plain.authority(), tls.authority()), ("127.0.0.1".into(), "h".into()));
        let six = url("ws://[::1]:9001/m");
        assert_eq!((six.host(), six.authority()), ("::1", "[::1]:9001".into()));
    }

    #[test]
    fn userinfo_becomes_basic_and_shows_nowhere() {
        let url = url("wss://us%40er:p%3Ass@h/media?token=secret&sample-rate=8000");
        let header = url.authorization().expect("credentials");
        assert_eq!(header.expose_secret(), "Basic dXNAZXI6cDpzcw==");
        assert_eq!(url.to_string(), "wss://h/media?token=…&sample-rate=8000");
        assert_eq!(format!("{url:?}"), url.to_string());
        assert_eq!(url.path_and_query(), "/media?token=secret&sample-rate=8000");
        assert!(super::StreamUrl::parse("ws://h/@x:y").expect("no userinfo").authorization().is_none());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("http://h/", "ws://"),
            ("h/media", "ws://"),
            ("ws://", "host"),
            ("ws://h:0/", "port"),
            ("ws://h:+80/", "port"),
            ("ws://h:99999/", "port"),
            ("ws://a b/", "percent-encoded"),
            ("ws://h/é", "percent-encoded"),
            ("ws://h/a\r\nX: y", "percent-encoded"),
            ("ws://ho%20st/", "host"),
            ("ws://[::1/", "host"),
            ("ws://[1.2.3.4]/", "host"),
            ("ws://h/#x", "fragment"),
            ("ws://h/?a=%ff", "UTF-8"),
            ("ws://h/?sample-rate=44100", "8000, 16000 or 24000"),
            ("ws://h/?sample-rate=48000", "8000, 16000 or 24000"),
            ("ws://h/?sample-rate=", "8000, 16000 or 24000"),
            ("ws://h/?sample-rate=8000&sample-rate=16000", "given once"),
        ] {
            let error = StreamUrl::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn limits_are_25_parameters_800_of_query_and_2048_in_all() {
        let keys = |count: usize| (0..count).map(|n| format!("k{n}=v&")).collect::<String>();
        assert_eq!(url(&format!("ws://h/?sample-rate=8000&{}", keys(25))).parameters().len(), 25);
        let error = |text: &str| StreamUrl::parse(text).expect_err("over a limit");
        assert_eq!(error(&format!("ws://h/?{}", keys(26))), StreamUrlError::TooManyParameters(26));
        url(&format!("ws://h/?k={}", "x".repeat(798)));
        assert_eq!(error(&format!("ws://h/?k={}", "x".repeat(799))), StreamUrlError::QueryTooLong(801));
        url(&format!("ws://h/{}", "x".repeat(2041)));
        assert_eq!(error(&format!("ws://h/{}", "x".repeat(2042))), StreamUrlError::TooLong(2049));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(ws|wss|\\PC)://\\PC{0,40}(\\?\\PC{0,40})?", garbage in any::<String>()) {
            let _ = StreamUrl::parse(&garbage);
            if let Ok(url) = StreamUrl::parse(&text) {
                prop_assert!(url.path_and_query().starts_with('/'));
                prop_assert!(url.port() > 0 && !url.host().is_empty());
            }
        }
    }
}
