//! Where a call has been before it came here: Diversion (RFC 5806) and History-Info (RFC 7044), SIP-112.

use super::message::Headers;
use super::uri::NameAddr;

/// One station of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Station {
    /// The header that tells of it.
    pub header: &'static str,
    /// The number that was called there, not normalised.
    pub number: String,
    /// Why it was left: `no-answer`, `unconditional`, … of Diversion, the SIP code of History-Info.
    pub reason: Option<String>,
}

/// The number that was dialled first: the last Diversion, else the first entry of History-Info.
#[must_use]
pub fn first_called(headers: &Headers) -> Option<String> {
    let diverted = readable(headers.list("Diversion")).last();
    let number = |address: NameAddr| Some(address.uri.number()).filter(|number| !number.is_empty());
    diverted.or_else(|| readable(public_history(headers)).next()).and_then(number)
}

/// Every station that may be known: Diversion, the latest first, then History-Info, the earliest first.
#[must_use]
pub fn stations(headers: &Headers) -> Vec<Station> {
    let diversions = readable(headers.list("Diversion")).map(|address| Station {
        header: "Diversion",
        reason: address.param("reason").map(str::to_owned),
        number: address.uri.number(),
    });
    let history = readable(public_history(headers)).map(|address| Station {
        header: "History-Info",
        reason: cause(&address),
        number: address.uri.number(),
    });
    diversions.chain(history).collect()
}

/// The entries of History-Info that are not private (RFC 7044 section 10.1), as received.
#[must_use]
pub fn public_history(headers: &Headers) -> Vec<&str> {
    let hides = |value: &str| value.split([';', ',']).any(|word| is_history_private(word.trim()));
    if headers.get_all("Privacy").any(hides) {
        return Vec::new();
    }
    let is_public = |entry: &&str| {
        let privacy = NameAddr::parse(entry).ok().map(|address| address.uri.header("Privacy"));
        // What cannot be read cannot be known to be public.
        privacy.is_some_and(|privacy| privacy.is_none_or(|value| !hides(&value)))
    };
    headers.list("History-Info").into_iter().filter(is_public).collect()
}

/// The values of Diversion whose number may be shown (RFC 5806 section 3), as received.
#[must_use]
pub fn public_diversions(headers: &Headers) -> Vec<&str> {
    let is_public = |value: &&str| {
        let address = NameAddr::parse(value).ok();
        let privacy = address.as_ref().map(|address| address.param("privacy").unwrap_or("off"));
        privacy.is_some_and(|privacy| !["full", "uri"].iter().any(|hides| hides.eq_ignore_ascii_case(privacy)))
    };
    headers.list("Diversion").into_iter().filter(is_public).collect()
}

fn is_history_private(word: &str) -> bool {
    ["history", "header", "session"].iter().any(|private| private.eq_ignore_ascii_case(word))
}

/// The `cause` of the URI (RFC 4458), else that of the Reason escaped into it.
fn cause(address: &NameAddr) -> Option<String> {
    let escaped = || {
        let reason = address.uri.header("Reason")?;
        super::Reason::parse_all([reason.as_str()]).into_iter().find_map(|reason| reason.cause)
    };
    address.uri.param("cause").map(str::to_owned).or_else(|| escaped().map(|cause| cause.to_string()))
}

fn readable<'a>(values: Vec<&'a str>) -> impl Iterator<Item = NameAddr> + 'a {
    values.into_iter().filter_map(|value| NameAddr::parse(value).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        lines.iter().for_each(|(name, value)| headers.push(name, *value));
        headers
    }

    fn told(lines: &[(&str, &str)]) -> Vec<(&'static str, String, Option<String>)> {
        stations(&headers(lines)).into_iter().map(|s| (s.header, s.number, s.reason)).collect()
    }

    const DIVERSION: (&str, &str) =
        ("Diversion", "<sip:2@h>;reason=no-answer, <tel:+91-3>;reason=unconditional;counter=1");
    const HISTORY: (&str, &str) =
        ("History-Info", "<sip:4@h?Reason=SIP%3Bcause%3D302>;index=1,<sip:5@h;cause=486>;index=1.1;rc=1");

    #[test]
    fn sip_112_diversion_and_history_info_tell_where_a_call_has_been() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            told(&[HISTORY, DIVERSION]),
            [
                ("Diversion", "2".to_owned(), some("no-answer")),
                ("Diversion", "+913".to_owned(), some("unconditional")),
                ("History-Info", "4".to_owned(), some("302")),
                ("History-Info", "5".to_owned(), some("486")),
            ]
        );
        assert!(told(&[("Diversion", "nonsense"), ("History-Info", "<sip:")]).is_empty());
    }

    #[test]
    fn sip_112_private_entries_of_history_info_are_dropped() {
        let entry = ("History-Info", "<sip:4@h?Reason=SIP&Privacy=history>;index=1, <sip:5@h?privacy=none>;index=1.1");
        assert_eq!(told(&[entry]), [("History-Info", "5".to_owned(), None)]);
        for privacy in ["history", "id; history", "session"] {
            assert!(told(&[HISTORY, ("Privacy", privacy)]).is_empty(), "{privacy}");
        }
        assert_eq!(told(&[HISTORY, ("Privacy", "id")]).len(), 2);
    }

    #[test]
    fn sip_112_a_diversion_says_itself_whether_it_may_be_shown() {
        let lines = [("Diversion", "<sip:2@h>;privacy=full, <sip:3@h>;privacy=Name"), ("Diversion", "nonsense")];
        assert_eq!(public_diversions(&headers(&lines)), ["<sip:3@h>;privacy=Name"]);
    }

    #[test]
    fn sip_112_the_number_dialled_first_is_the_last_diversion_else_the_first_of_the_history() {
        assert_eq!(first_called(&headers(&[HISTORY, DIVERSION])).as_deref(), Some("+913"));
        assert_eq!(first_called(&headers(&[HISTORY])).as_deref(), Some("4"));
        assert_eq!(first_called(&headers(&[("Diversion", "<sip:h>")])), None);
        assert_eq!(first_called(&headers(&[])), None);
    }

    proptest! {
        #[test]
        fn sip_016_no_diversion_and_no_history_panics(value in "\\PC{0,40}") {
            let headers = headers(&[("Diversion", &value), ("History-Info", &value), ("Privacy", &value)]);
            let _ = (stations(&headers), first_called(&headers));
        }
    }
}
