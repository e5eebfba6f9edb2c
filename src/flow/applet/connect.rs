//! `connect`: hands the caller to somebody else. For now by the peer's own means: a transfer (REFER) of an answered call,
//! or a redirection (302) of one that is not answered yet.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Applet, Outcome, UrlCheck, Wrong};

/// Bytes of User-to-User data that ISDN carries beside its protocol discriminator (RFC 7434 section 3.1).
const UUI_BYTES: usize = 128;
/// Custom headers of one call (HDR-019).
const CUSTOM_HEADERS: usize = 3;
/// Their names and values together.
const CUSTOM_BYTES: usize = 200;

/// The settings of `connect`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whom the caller is handed to: a number of the peer's own, or a SIP URI `sip:user@host`.
    #[schemars(example = &"2000")]
    to: String,
    /// How: `refer` answers the call and asks the peer to transfer it, `redirect` tells the peer of an unanswered call
    /// where to call instead. Calls of the bridge's own are not there yet.
    #[schemars(example = &"refer")]
    mode: String,
    /// User-to-User text for the next agent, 128 bytes at most; empty is none. Default: what the call came with.
    #[serde(default)]
    #[schemars(example = &"order-4711")]
    uui: Option<String>,
    /// Headers for the next agent: `name=value&name=value` becomes `X-name: value`, at most 3 and 200 bytes together,
    /// percent-encoded where a value has `&`, `%` or `+`. Default: none.
    #[serde(default)]
    #[schemars(example = &"queue=gold&lang=en")]
    custom_params: Option<String>,
    /// How long the peer may take to say what became of a transfer, 1 to 300 s; then it has failed. Default: 60.
    #[serde(default = "refer_timeout_seconds")]
    refer_timeout_seconds: u32,
    /// The step after the caller was handed over; it runs without the caller. Default: the flow ends.
    #[serde(default)]
    #[schemars(example = &"hangup")]
    on_end: Option<String>,
    /// The step after the target did not take the call. Default: the one of `on_not_dialed`.
    #[serde(default)]
    #[schemars(example = &"hangup")]
    on_no_answer: Option<String>,
    /// The step after the peer refused to call the target. Default: the one of `on_no_answer`.
    #[serde(default)]
    #[schemars(example = &"hangup")]
    on_not_dialed: Option<String>,
}

const fn refer_timeout_seconds() -> u32 {
    60
}

/// Who is to get the call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A number without visual separators, at the peer.
    Number(String),
    /// A `sip:` or `sips:` URI with user and host, without headers.
    Uri(String),
}

/// How the caller gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// REFER in the answered call (SIP-100).
    Refer,
    /// 302 in place of an answer (SIP-107).
    Redirect,
}

/// A checked `connect` step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connect {
    /// Who gets the call.
    pub to: Destination,
    /// How.
    pub mode: Mode,
    /// User-to-User text; `None`: what the call came with.
    pub uui: Option<String>,
    /// Names without `X-`, and values (HDR-019).
    pub custom_params: Vec<(String, String)>,
    /// How long the result of a transfer is waited for.
    pub refer_timeout: Duration,
    /// The step after the caller was handed over.
    pub on_end: Option<String>,
    /// The step after the target did not take the call.
    pub on_no_answer: Option<String>,
    /// The step after the peer did not call the target.
    pub on_not_dialed: Option<String>,
}

impl Applet for Connect {
    const NAME: &'static str = "connect";
    type Settings = Settings;

    fn check(settings: Settings, _url: UrlCheck<'_>) -> Result<Self, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let mut fault = |key: &str, message: String| wrong.push(Wrong::new(key, message));
        let to = destination(&settings.to).map_err(|message| fault("to", message)).ok();
        let mode = mode(&settings.mode).map_err(|message| fault("mode", message)).ok();
        let params = settings.custom_params.as_deref().unwrap_or_default();
        let params = custom_params(params).map_err(|message| fault("custom_params", message)).ok();
        if let Some(uui) = &settings.uui
            && (uui.len() > UUI_BYTES || uui.chars().any(char::is_control))
        {
            fault("uui", format!("expected at most {UUI_BYTES} bytes of text, found {} bytes", uui.len()));
        }
        if !(1..=300).contains(&settings.refer_timeout_seconds) {
            let message = format!("{} is out of range; expected 1 to 300 seconds", settings.refer_timeout_seconds);
            fault("refer_timeout_seconds", message);
        }
        let (Some(to), Some(mode), Some(custom_params), true) = (to, mode, params, wrong.is_empty()) else {
            return Err(wrong);
        };
        Ok(Self {
            to,
            mode,
            uui: settings.uui,
            custom_params,
            refer_timeout: Duration::from_secs(settings.refer_timeout_seconds.into()),
            on_end: settings.on_end,
            on_no_answer: settings.on_no_answer,
            on_not_dialed: settings.on_not_dialed,
        })
    }

    fn transitions(&self) -> Vec<(&'static str, &str)> {
        let set = [
            ("on_end", self.on_end.as_deref()),
            ("on_no_answer", self.on_no_answer.as_deref()),
            ("on_not_dialed", self.on_not_dialed.as_deref()),
        ];
        set.into_iter().filter_map(|(key, target)| Some((key, target?))).collect()
    }

    fn after(&self, outcome: Outcome) -> Option<&str> {
        match outcome {
            Outcome::Next => self.on_end.as_deref(),
            Outcome::NoAnswer => self.on_no_answer.as_deref().or(self.on_not_dialed.as_deref()),
            Outcome::Error | Outcome::NotDialed => self.on_not_dialed.as_deref().or(self.on_no_answer.as_deref()),
        }
    }

    fn needs_caller(&self) -> bool {
        true
    }
}

fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "refer" => Ok(Mode::Refer),
        "redirect" => Ok(Mode::Redirect),
        other => Err(format!(
            "`{other}` is not there yet: connect cannot place calls of its own; expected `refer` or `redirect`"
        )),
    }
}

/// Reads `to`: a number, or `sip:user@host` with port and parameters.
fn destination(text: &str) -> Result<Destination, String> {
    let expected = || format!("expected a number, or a URI such as sip:agents@pbx.example, found `{text}`");
    let number: String = text.chars().filter(|c| !"-.() ".contains(*c)).collect();
    let digits = number.strip_prefix('+').unwrap_or(&number);
    if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || "*#".contains(c)) {
        return Ok(Destination::Number(number));
    }
    let (scheme, rest) = text.split_once(':').ok_or_else(expected)?;
    let (user, place) = rest.split_once('@').ok_or_else(expected)?;
    let (host, params) = place.split_once(';').unwrap_or((place, ""));
    let of = |extra: &'static str| move |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    let is_sip = scheme.eq_ignore_ascii_case("sip") || scheme.eq_ignore_ascii_case("sips");
    let is_user = !user.is_empty() && user.chars().all(of("-_.!~*'()&=+$,;/"));
    let is_params =
        params.is_empty() || params.split(';').all(|param| !param.is_empty() && param.chars().all(of("-_.!~*+=")));
    if is_sip && is_user && is_host(host) && is_params && !params.contains(";=") && !params.starts_with('=') {
        Ok(Destination::Uri(text.to_owned()))
    } else {
        Err(expected())
    }
}

/// `name`, `192.0.2.1` or `[2001:db8::1]`, each with or without `:port`.
fn is_host(text: &str) -> bool {
    let at = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[at..].split_once(':') {
        Some((rest, port)) => (&text[..at + rest.len()], Some(port)),
        None => (text, None),
    };
    let name = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let is_name = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(name),
    };
    is_name && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0) && !port.starts_with('+'))
}

/// Reads `name=value&name=value` (HDR-019). A value that could break out of its header is refused, not cleaned.
///
/// # Errors
/// What is wrong, and what was expected.
pub fn custom_params(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs: Vec<(String, String)> = text
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect::<Result<_, String>>()?;
    if pairs.len() > CUSTOM_HEADERS {
        return Err(format!("expected at most {CUSTOM_HEADERS} headers, found {}", pairs.len()));
    }
    for (n, (name, value)) in pairs.iter().enumerate() {
        if !(1..=32).contains(&name.len()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(format!("`{name}` is no name; expected 1 to 32 of A-Z a-z 0-9 -"));
        }
        let begins = |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        if begins("Exotel-") || begins("Veen-") {
            return Err(format!("`{name}` is reserved: names that begin with Exotel- or Veen- are the platform's"));
        }
        if value.chars().any(char::is_control) {
            return Err(format!("the value of `{name}` has control characters; expected printable text"));
        }
        if pairs[..n].iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            return Err(format!("`{name}` is there twice; expected each name once"));
        }
    }
    let bytes: usize = pairs.iter().map(|(name, value)| "X-".len() + name.len() + value.len()).sum();
    if bytes > CUSTOM_BYTES {
        return Err(format!("expected at most {CUSTOM_BYTES} bytes with the X- of each name, found {bytes}"));
    }
    Ok(pairs)
}

fn decoded(text: &str) -> Result<String, String> {
    let spaced = text.replace('+', " ");
    let bytes = percent_encoding::percent_decode_str(&spaced).decode_utf8();
    bytes.map(|text| text.trim().to_owned()).map_err(|_| format!("`{text}` is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Connect, Vec<Wrong>> {
        crate::flow::settings::read(toml::from_str(text).expect("TOML"), &|_| Ok(()))
    }

    #[test]
    fn a_number_and_a_mode_are_enough() {
        let connect = read("to = \"+91 (80) 6123-4567\"\nmode = \"refer\"").expect("valid");
        assert_eq!(connect.to, Destination::Number("+918061234567".into()));
        assert_eq!((connect.mode, connect.refer_timeout.as_secs(), connect.uui), (Mode::Refer, 60, None));
        let uri = "sip:agents@[2001:db8::1]:5080;transport=tcp;lr";
        let connect = read(&format!("to = \"{uri}\"\nmode = \"redirect\"")).expect("valid");
        assert_eq!((connect.to, connect.mode), (Destination::Uri(uri.into()), Mode::Redirect));
    }

    #[test]
    fn a_caller_who_was_not_handed_over_goes_where_the_flow_says() {
        let both = "to = \"1\"\nmode = \"refer\"\non_end = \"e\"\non_no_answer = \"n\"\non_not_dialed = \"d\"";
        let both = read(both).expect("valid");
        let ways = [Outcome::Next, Outcome::NoAnswer, Outcome::NotDialed].map(|outcome| both.after(outcome));
        assert_eq!(ways, [Some("e"), Some("n"), Some("d")]);
        let one = read("to = \"1\"\nmode = \"refer\"\non_no_answer = \"n\"").expect("valid");
        let ways = [Outcome::Next, Outcome::NoAnswer, Outcome::NotDialed].map(|outcome| one.after(outcome));
        assert_eq!(ways, [None, Some("n"), Some("n")]);
    }

    #[test]
    fn each_wrong_value_names_its_key_and_what_was_expected() {
        for (text, key, expected) in [
            ("to = \"1\"\nmode = \"bridge\"", "mode", "not there yet"),
            ("to = \"1\"", "mode", "is missing"),
            ("to = \"sip:trunk\"\nmode = \"refer\"", "to", "sip:agents@pbx.example"),
            ("to = \"tel:100\"\nmode = \"refer\"", "to", "a number"),
            ("to = \"sip:a@h?X=1\"\nmode = \"refer\"", "to", "a number"),
            ("to = \"sip:a@h>\"\nmode = \"refer\"", "to", "a number"),
            ("to = \"sip:a@h:99999\"\nmode = \"refer\"", "to", "a number"),
            ("to = \"+\"\nmode = \"refer\"", "to", "a number"),
            ("to = \"1\"\nmode = \"refer\"\nrefer_timeout_seconds = 0", "refer_timeout_seconds", "1 to 300"),
            ("to = \"1\"\nmode = \"refer\"\nuui = \"a\\nb\"", "uui", "128 bytes"),
            ("to = \"1\"\nmode = \"refer\"\nurl = \"x\"", "url", "unknown setting"),
        ] {
            let wrong = read(text).expect_err(text);
            assert!(
                wrong.len() == 1 && wrong[0].key == key && wrong[0].message.contains(expected),
                "{text}: {wrong:?}"
            );
        }
        let long = format!("to = \"1\"\nmode = \"refer\"\nuui = \"{}\"", "u".repeat(129));
        assert_eq!(read(&long).expect_err("too long")[0].key, "uui");
    }

    #[test]
    fn hdr_019_custom_params_are_three_headers_and_200_bytes_at_most() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let read = custom_params("param1=value1&q=a%26b+c&e=");
        assert_eq!(read, Ok(vec![pair("param1", "value1"), pair("q", "a&b c"), pair("e", "")]));
        assert_eq!(custom_params(""), Ok(Vec::new()));
        let full = format!("a={}", "v".repeat(197));
        assert!(custom_params(&full).is_ok() && custom_params(&format!("{full}v")).is_err());
        for (bad, why) in [
            ("a=1&b=2&c=3&d=4", "at most 3"),
            ("a=1%0d%0aVia: x", "control characters"),
            ("a%0d%0aVia=1", "is no name"),
            ("exotel-AccountSid=1", "reserved"),
            ("Veen-x=1", "reserved"),
            ("a_b=1", "is no name"),
            ("=1", "is no name"),
            ("a=1&A=2", "twice"),
            ("a=%ff", "UTF-8"),
        ] {
            let error = custom_params(bad).expect_err(bad);
            assert!(error.contains(why), "{bad}: {error}");
        }
        assert!(custom_params(&format!("{}=1", "n".repeat(33))).is_err());
    }
}
