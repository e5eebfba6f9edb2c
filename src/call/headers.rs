//! SIP headers → `custom_parameters` (HDR-010 to HDR-016, HDR-020 to HDR-024).

use crate::call::user_to_user::{self, Decoded};
use crate::config::{HeaderRules, Trunk};
use crate::sip::uri::escape_header;
use crate::sip::{Headers, diversion};

/// Custom parameters in the order received, and what did not become one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Key and value, keys unique.
    pub parameters: Vec<(String, String)>,
    /// Header name and why it was left out.
    pub omitted: Vec<(String, Omitted)>,
}

/// Why a header did not become a custom parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omitted {
    /// It came before under the same name (HDR-013).
    Duplicate,
    /// Over `header_value_max_bytes` (HDR-014).
    ValueTooLong,
    /// Over `header_max_keys` or `header_total_max_bytes`.
    TooMany,
    /// Control characters in the value (HDR-012).
    ControlCharacter,
    /// On the deny list (HDR-015).
    Denied,
    /// A URL parameter of the same name stands before it (HDR-016).
    UrlWins,
}

impl Omitted {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Duplicate, Self::ValueTooLong, Self::TooMany, Self::ControlCharacter, Self::Denied, Self::UrlWins];

    /// One word for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::ValueTooLong => "value_too_long",
            Self::TooMany => "too_many",
            Self::ControlCharacter => "control_character",
            Self::Denied => "denied",
            Self::UrlWins => "url_wins",
        }
    }
}

struct Candidate {
    header: String,
    key: String,
    value: String,
    bytes: usize,
    allowed: bool,
}

/// The standard headers that the trunk exposes, with their values (HDR-027): nothing that a caller withholds, and no
/// identity that a peer asserts without being trusted (SIP-111).
#[must_use]
pub fn exposed(headers: &Headers, trunk: &Trunk, withheld: bool) -> Vec<(&'static str, String)> {
    let value = |name: &str| match name {
        "P-Asserted-Identity" if withheld || !trunk.trusted => String::new(),
        "Diversion" => diversion::public_diversions(headers).join(", "),
        "History-Info" => diversion::public_history(headers).join(", "),
        name => headers.get_all(name).collect::<Vec<_>>().join(", "),
    };
    let all = trunk.headers.expose.iter().map(|name| (*name, value(name)));
    all.filter(|(_, value)| !value.is_empty()).collect()
}

/// The query parameter `SIPCustomHeader` of requests about a call: a JSON object of its parameters, percent-encoded
/// (HDR-017); `None` where there are none.
#[must_use]
pub fn sip_custom_header(parameters: &[(String, String)]) -> Option<String> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let pairs: Vec<String> = parameters.iter().map(|(key, value)| quoted(key) + ":" + &quoted(value)).collect();
    (!pairs.is_empty()).then(|| format!("SIPCustomHeader={}", escape_header(&format!("{{{}}}", pairs.join(",")))))
}

/// Maps the headers of an initial INVITE: raw name as received, value unfolded and trimmed. `exposed` come before them.
pub fn map<'a>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    exposed: Vec<(&'static str, String)>,
    rules: &HeaderRules,
) -> Mapped {
    let mut mapped = Mapped::default();
    let mut candidates: Vec<Candidate> = Vec::new();
    for (name, value) in exposed {
        match text(value.as_bytes()) {
            Some(value) => candidates.push(Candidate::exposed(name, value)),
            None => mapped.omitted.push((name.to_owned(), Omitted::ControlCharacter)),
        }
    }
    let mut user_to_user = None;
    for (name, raw) in headers {
        let standard_uui = name.eq_ignore_ascii_case("User-to-User");
        if !standard_uui && !is_application_header(name) {
            continue;
        }
        let Some(value) = text(raw) else {
            mapped.omitted.push((name.to_owned(), Omitted::ControlCharacter));
            continue;
        };
        if standard_uui {
            user_to_user = user_to_user.or_else(|| user_to_user::first_understood(&value, rules));
            continue;
        }
        let allowed = matches_any(&rules.allow, name);
        if !allowed && matches_any(&rules.deny, name) {
            mapped.omitted.push((name.to_owned(), Omitted::Denied));
            continue;
        }
        let candidate = Candidate::new(name, value, allowed, rules);
        if candidates.iter().any(|earlier| earlier.key.eq_ignore_ascii_case(&candidate.key)) {
            mapped.omitted.push((name.to_owned(), Omitted::Duplicate));
        } else {
            candidates.push(candidate);
        }
    }
    add_user_to_user(&mut candidates, user_to_user, rules);
    admit(&mut mapped, candidates, rules);
    mapped
}

/// The parameters a bot gets: headers and the URL's query; on the same key the URL wins, or the header where
/// `header_first` says so (HDR-016).
#[must_use]
pub fn merge(headers: &[(String, String)], url: &[(String, String)], header_first: bool) -> Mapped {
    let (first, second) = if header_first { (headers, url) } else { (url, headers) };
    let mut merged = Mapped::default();
    for (key, value) in first.iter().chain(second) {
        if merged.parameters.iter().any(|(earlier, _)| earlier == key) {
            merged.omitted.push((key.clone(), Omitted::UrlWins));
        } else {
            merged.parameters.push((key.clone(), value.clone()));
        }
    }
    merged
}

impl Candidate {
    fn exposed(name: &str, value: String) -> Self {
        Self { header: name.to_owned(), key: name.to_owned(), bytes: value.len(), value, allowed: false }
    }

    fn new(name: &str, value: String, allowed: bool, rules: &HeaderRules) -> Self {
        let key = if name.eq_ignore_ascii_case("X-UUI") { "UUI".to_owned() } else { name[2..].to_owned() };
        let value = user_to_user::unquote(&value).unwrap_or(value);
        let bytes = value.len();
        let mut candidate = Self { header: name.to_owned(), key, value, bytes, allowed };
        if candidate.key == "UUI" {
            let decoded = user_to_user::extension_header(&candidate.value, rules);
            (candidate.value, candidate.bytes) = (decoded.text, decoded.bytes);
        }
        candidate
    }
}

/// `UUI` is `X-UUI`, else the first understood `User-to-User`, else `X-User-to-User` (HDR-020).
fn add_user_to_user(candidates: &mut Vec<Candidate>, standard: Option<Decoded>, rules: &HeaderRules) {
    let ucid = standard.as_ref().and_then(|decoded| decoded.ucid.clone());
    let has = |candidates: &[Candidate], key: &str| candidates.iter().any(|candidate| candidate.key == key);
    if !has(candidates, "UUI") {
        let extension = candidates.iter().find(|candidate| candidate.key.eq_ignore_ascii_case("User-to-User"));
        let fallback = || extension.map(|candidate| user_to_user::extension_header(&candidate.value, rules));
        if let Some(decoded) = standard.or_else(fallback) {
            candidates.push(Candidate {
                header: "User-to-User".into(),
                key: "UUI".into(),
                value: decoded.text,
                bytes: decoded.bytes,
                allowed: false,
            });
        }
    }
    if let Some(ucid) = ucid.filter(|_| !has(candidates, "UCID")) {
        let bytes = ucid.len();
        candidates.push(Candidate {
            header: "User-to-User".into(),
            key: "UCID".into(),
            value: ucid,
            bytes,
            allowed: false,
        });
    }
}

/// Takes what fits the limits, allow-listed names first; the order received stays (HDR-014).
fn admit(mapped: &mut Mapped, candidates: Vec<Candidate>, rules: &HeaderRules) {
    let (mut keys, mut bytes) = (0, 0);
    let mut verdicts: Vec<Result<(), Omitted>> = vec![Ok(()); candidates.len()];
    for pass in [true, false] {
        for (candidate, verdict) in candidates.iter().zip(&mut verdicts).filter(|(c, _)| c.allowed == pass) {
            let size = candidate.key.len() + candidate.bytes;
            *verdict = if candidate.bytes > rules.value_max_bytes {
                Err(Omitted::ValueTooLong)
            } else if keys + 1 > rules.max_keys || bytes + size > rules.total_max_bytes {
                Err(Omitted::TooMany)
            } else {
                (keys, bytes) = (keys + 1, bytes + size);
                Ok(())
            };
        }
    }
    for (candidate, verdict) in candidates.into_iter().zip(verdicts) {
        match verdict {
            Ok(()) => mapped.parameters.push((candidate.key, candidate.value)),
            Err(why) => mapped.omitted.push((candidate.header, why)),
        }
    }
}

/// An `X-` header that is not the platform's own (HDR-005, HDR-010).
fn is_application_header(name: &str) -> bool {
    let Some(rest) = name.get(..2).filter(|x| x.eq_ignore_ascii_case("x-")).and_then(|_| name.get(2..)) else {
        return false;
    };
    let begins = |prefix: &str| rest.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    !rest.is_empty() && !begins("Exotel-") && !begins("Veen-")
}

/// UTF-8, else ISO-8859-1; HT becomes a space, other control characters refuse the value (HDR-012).
fn text(raw: &[u8]) -> Option<String> {
    let text = match std::str::from_utf8(raw) {
        Ok(text) => text.replace('\t', " "),
        Err(_) => raw.iter().map(|octet| if *octet == b'\t' { ' ' } else { char::from(*octet) }).collect(),
    };
    (!text.chars().any(char::is_control)).then(|| text.trim().to_owned())
}

fn matches_any(globs: &[String], name: &str) -> bool {
    globs.iter().any(|glob| matches_glob(&glob.to_ascii_lowercase(), &name.to_ascii_lowercase()))
}

/// `*` stands for any run of characters.
fn matches_glob(glob: &str, name: &str) -> bool {
    let Some((head, tail)) = glob.split_once('*') else { return glob == name };
    let Some(mut rest) = name.strip_prefix(head) else { return false };
    if !tail.contains('*') {
        return rest.ends_with(tail);
    }
    loop {
        if matches_glob(tail, rest) {
            return true;
        }
        let mut chars = rest.chars();
        if chars.next().is_none() {
            return false;
        }
        rest = chars.as_str();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::config::{PdStrip, UuiEncoding};

    pub(crate) fn rules() -> HeaderRules {
        HeaderRules {
            allow: vec![],
            deny: ["X-Genesys-*", "X-FS-*", "X-Asterisk-*"].map(str::to_owned).into(),
            value_max_bytes: 45,
            max_keys: 25,
            total_max_bytes: 800,
            header_first: false,
            uui_default_encoding: UuiEncoding::Auto,
            pd_strip: PdStrip::Auto,
            uui_avaya: false,
            expose: vec![],
        }
    }

    fn mapped(headers: &[(&str, &[u8])]) -> Mapped {
        map(headers.iter().copied(), Vec::new(), &rules())
    }

    fn pairs(mapped: &Mapped) -> Vec<(&str, &str)> {
        mapped.parameters.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn hdr_010_the_key_is_the_spelling_received_and_uui_is_always_uui() {
        let got =
            mapped(&[("X-Custom-Header", b"SalesBot"), ("x-caMPaign", b"7"), ("x-uui", b"abc"), ("Subject", b"no")]);
        assert_eq!(pairs(&got), [("Custom-Header", "SalesBot"), ("caMPaign", "7"), ("UUI", "abc")]);
    }

    #[test]
    fn hdr_011_values_are_verbatim_quoted_ones_are_unquoted_empty_stays() {
        let got =
            mapped(&[("X-A", b"a%20b, c;d"), ("X-B", b"\"say \\\"hi\\\"\""), ("X-C", b""), ("X-D", b"\"a\" \"b\"")]);
        assert_eq!(pairs(&got), [("A", "a%20b, c;d"), ("B", "say \"hi\""), ("C", ""), ("D", "\"a\" \"b\"")]);
    }

    #[test]
    fn hdr_012_latin_1_is_read_and_control_characters_drop_the_header() {
        let got = mapped(&[("X-L", b"caf\xe9"), ("X-T", b"a\tb"), ("X-Z", b"a\x07b"), ("X-U", "caf\u{e9}".as_bytes())]);
        assert_eq!(pairs(&got), [("L", "caf\u{e9}"), ("T", "a b"), ("U", "caf\u{e9}")]);
        assert_eq!(got.omitted, [("X-Z".to_owned(), Omitted::ControlCharacter)]);
    }

    #[test]
    fn hdr_013_the_first_of_a_repeated_header_wins() {
        let got = mapped(&[("X-A", b"1"), ("x-a", b"2")]);
        assert_eq!(pairs(&got), [("A", "1")]);
        assert_eq!(got.omitted, [("x-a".to_owned(), Omitted::Duplicate)]);
    }

    #[test]
    fn hdr_014_over_a_limit_a_header_is_omitted_whole_never_cut() {
        let (fits, over) = ([b'a'; 45], [b'a'; 46]);
        let got = mapped(&[("X-A", &fits), ("X-B", &over)]);
        assert_eq!(pairs(&got), [("A", "a".repeat(45).as_str())]);
        assert_eq!(got.omitted, [("X-B".to_owned(), Omitted::ValueTooLong)]);
        let many: Vec<String> = (0..30).map(|n| format!("X-N{n}")).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|name| (name.as_str(), &b"1"[..])).collect();
        let got = mapped(&many);
        assert_eq!((got.parameters.len(), got.omitted.len()), (25, 5));
    }

    #[test]
    fn hdr_014_allow_listed_names_are_taken_first_against_the_limits() {
        let rules = HeaderRules { allow: vec!["X-Genesys-Id".into()], max_keys: 1, ..rules() };
        let headers: [(&str, &[u8]); 2] = [("X-A", b"1"), ("X-Genesys-Id", b"2")];
        assert_eq!(pairs(&map(headers.into_iter(), Vec::new(), &rules)), [("Genesys-Id", "2")]);
    }

    #[test]
    fn hdr_005_and_015_platform_and_infrastructure_headers_never_reach_the_bot() {
        let got = mapped(&[
            ("X-Exotel-AccountSid", b"acc1"),
            ("x-veen-foo", b"1"),
            ("X-Genesys-Conn", b"1"),
            ("X-FS-Support", b"1"),
            ("X-", b"1"),
        ]);
        assert!(got.parameters.is_empty(), "{got:?}");
    }

    #[test]
    fn hdr_016_the_url_wins_unless_the_trunk_says_header_first() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let (headers, url) = ([pair("a", "header"), pair("h", "1")], [pair("a", "url"), pair("u", "2")]);
        assert_eq!(pairs(&merge(&headers, &url, false)), [("a", "url"), ("u", "2"), ("h", "1")]);
        assert_eq!(pairs(&merge(&headers, &url, true)), [("a", "header"), ("h", "1"), ("u", "2")]);
    }

    #[test]
    fn hdr_020_uui_comes_from_x_uui_then_user_to_user_then_x_user_to_user() {
        let (own, standard, other) =
            (("X-UUI", &b"own"[..]), ("User-to-User", &b"4869;encoding=hex"[..]), ("X-User-to-User", &b"third"[..]));
        assert_eq!(pairs(&mapped(&[standard, own])), [("UUI", "own")]);
        assert_eq!(pairs(&mapped(&[other, standard])), [("User-to-User", "third"), ("UUI", "Hi")]);
        assert_eq!(pairs(&mapped(&[other])), [("User-to-User", "third"), ("UUI", "third")]);
    }

    /// What a trunk with this `expose_headers` shows.
    fn shown(expose: &[&'static str], trusted: bool, withheld: bool) -> Mapped {
        let mut trunk = crate::sip::endpoint::testing::trunk("pbx", &["acc1"], "10.0.0.0/8");
        (trunk.trusted, trunk.headers.expose, trunk.headers.value_max_bytes) = (trusted, expose.to_vec(), 100);
        let mut headers = Headers::new();
        headers.push("i", "call-1");
        headers.push("X-Call-ID", "forged");
        headers.push("diversion", "<sip:2@h>;reason=no-answer");
        headers.push("Diversion", "<sip:3@h>");
        headers.push("P-Asserted-Identity", "<sip:7@h>");
        headers.push("History-Info", "<sip:2@h?Privacy=history>;index=1, <sip:3@h>;index=1.1");
        headers.push("Subject", "a, b");
        headers.push("Authorization", "secret");
        map(headers.iter(), exposed(&headers, &trunk, withheld), &trunk.headers)
    }

    #[test]
    fn hdr_027_chosen_standard_headers_become_parameters_under_their_own_names() {
        assert_eq!(pairs(&shown(&[], true, false)), [("Call-ID", "forged")]);
        let all = shown(&["Call-ID", "Diversion", "History-Info", "Subject", "P-Asserted-Identity"], true, false);
        assert_eq!(
            pairs(&all),
            [
                ("Call-ID", "call-1"),
                ("Diversion", "<sip:2@h>;reason=no-answer, <sip:3@h>"),
                ("History-Info", "<sip:3@h>;index=1.1"),
                ("Subject", "a, b"),
                ("P-Asserted-Identity", "<sip:7@h>"),
            ]
        );
        assert_eq!(all.omitted, [("X-Call-ID".to_owned(), Omitted::Duplicate)]);
    }

    #[test]
    fn hdr_027_a_withheld_or_unproven_identity_is_not_exposed() {
        assert!(!pairs(&shown(&["P-Asserted-Identity"], true, true)).iter().any(|(key, _)| key.starts_with("P-")));
        assert!(!pairs(&shown(&["P-Asserted-Identity"], false, false)).iter().any(|(key, _)| key.starts_with("P-")));
    }

    #[test]
    fn hdr_017_the_parameters_are_one_query_parameter_of_json() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let query = sip_custom_header(&[pair("Custom-Header", "SalesBot"), pair("UUI", "a\"&\u{e9}")]);
        let expected =
            "SIPCustomHeader=%7B%22Custom-Header%22%3A%22SalesBot%22%2C%22UUI%22%3A%22a%5C%22%26%C3%A9%22%7D";
        assert_eq!(query.as_deref(), Some(expected));
        assert_eq!(sip_custom_header(&[]), None);
    }

    #[test]
    fn globs_match_any_run() {
        assert!(matches_glob("x-fs-*", "x-fs-support"));
        assert!(matches_glob("x-*-id-*", "x-a-id-b"));
        assert!(!matches_glob("x-fs-*", "x-f"));
    }
}
