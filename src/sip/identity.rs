//! Who is calling: P-Asserted-Identity, Remote-Party-ID or From, and whether it may be shown (SIP-111; RFC 3325, 3323).

use super::diversion::first_called;
use super::uri::{Host, Scheme};
use super::{Headers, IncomingInvite, NameAddr};
use crate::config::RouteOn;

/// The caller as the bot may know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The calling number, not normalised; `anonymous` where withheld.
    pub number: String,
    /// Display name; none where withheld.
    pub display_name: Option<String>,
    /// The caller asked for privacy and `deliver_private` is off.
    pub withheld: bool,
}

/// The called number where the trunk has it (HDR-003, SIP-112): user part or `tel:` digits, not normalised.
#[must_use]
pub fn called(invite: &IncomingInvite, route_on: RouteOn) -> String {
    match route_on {
        RouteOn::Ruri => invite.request_uri.number(),
        RouteOn::To => invite.to.uri.number(),
        RouteOn::Diversion => first_called(&invite.headers).unwrap_or_else(|| invite.request_uri.number()),
    }
}

/// Chooses the caller's identity. `trusted`: the trunk's asserted identities are believed; `deliver_private`: withheld
/// numbers are delivered all the same.
#[must_use]
pub fn caller(invite: &IncomingInvite, trusted: bool, deliver_private: bool) -> Caller {
    let remote_party = trusted.then(|| calling_party(&invite.headers)).flatten();
    let identity =
        trusted.then(|| asserted(&invite.headers)).flatten().or(remote_party).unwrap_or_else(|| invite.from.clone());
    if is_private(invite) && !deliver_private {
        return Caller { number: "anonymous".to_owned(), display_name: None, withheld: true };
    }
    Caller { number: identity.uri.number(), display_name: identity.display_name, withheld: false }
}

/// The first asserted identity that is a telephone number, else the first.
fn asserted(headers: &Headers) -> Option<NameAddr> {
    let all: Vec<_> = readable(headers, "P-Asserted-Identity").collect();
    let is_number = |identity: &&NameAddr| identity.uri.scheme == Scheme::Tel || is_phone(identity);
    all.iter().find(is_number).or_else(|| all.first()).cloned()
}

fn is_phone(identity: &NameAddr) -> bool {
    identity.uri.param("user").is_some_and(|user| user.eq_ignore_ascii_case("phone"))
}

/// The Remote-Party-ID of the calling party; `party` is `calling` in a request where it is not given.
fn calling_party(headers: &Headers) -> Option<NameAddr> {
    readable(headers, "Remote-Party-ID")
        .find(|identity| identity.param("party").is_none_or(|party| party.eq_ignore_ascii_case("calling")))
}

fn readable<'a>(headers: &'a Headers, name: &str) -> impl Iterator<Item = NameAddr> + 'a {
    headers.list(name).into_iter().filter_map(|value| NameAddr::parse(value).ok())
}

fn is_private(invite: &IncomingInvite) -> bool {
    let privacy = |word: &str| word.eq_ignore_ascii_case("id") || word.eq_ignore_ascii_case("user");
    let asked =
        invite.headers.get_all("Privacy").flat_map(|value| value.split([';', ','])).any(|word| privacy(word.trim()));
    let party = calling_party(&invite.headers);
    let party = party.as_ref().and_then(|party| party.param("privacy")).unwrap_or_default();
    let from = &invite.from.uri;
    let anonymous_host = from.host == Some(Host::Name("anonymous.invalid".to_owned()));
    let anonymous_user = from.user.as_deref().is_some_and(|user| user.eq_ignore_ascii_case("anonymous"));
    asked || ["full", "uri"].iter().any(|word| party.eq_ignore_ascii_case(word)) || (anonymous_host && anonymous_user)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{InviteBody, ListenerId, Uri};

    fn invite(from: &str, lines: &[(&str, &str)]) -> IncomingInvite {
        let mut headers = Headers::new();
        for (name, value) in lines {
            headers.push(name, *value);
        }
        IncomingInvite {
            source: ([192, 0, 2, 1], 5060).into(),
            peer: [192, 0, 2, 1].into(),
            listener: ListenerId(0),
            transport: crate::config::Transport::Udp,
            call_id: "c".into(),
            request_uri: Uri::parse("sip:1000@h").expect("valid"),
            from: NameAddr::parse(from).expect("valid"),
            to: NameAddr::parse("sip:1000@h").expect("valid"),
            local_tag: "l".into(),
            headers,
            body: InviteBody::None,
            our_address: [192, 0, 2, 2].into(),
            peer_is_local: false,
            trunk_candidates: Vec::new(),
            replaces: None,
            reliable_provisionals: false,
        }
    }

    const FROM: &str = "\"A\" <sip:0806@h>;tag=1";
    const PAI: (&str, &str) = ("P-Asserted-Identity", "\"B, x\" <sip:joe@h>, <tel:+91-22>");
    const RPID: (&str, &str) = ("Remote-Party-ID", "<sip:9@h>;party=called, <sip:7@h>;party=calling;privacy=off");

    #[test]
    fn sip_111_a_trusted_trunk_asserts_the_caller_and_tel_wins() {
        assert_eq!(caller(&invite(FROM, &[PAI, RPID]), true, false).number, "+9122");
        assert_eq!(caller(&invite(FROM, &[RPID]), true, false).number, "7");
        let from = caller(&invite(FROM, &[PAI, RPID]), false, false);
        assert_eq!((from.number.as_str(), from.display_name.as_deref()), ("0806", Some("A")));
    }

    #[test]
    fn hdr_003_the_called_number_is_where_the_trunk_says() {
        let mut invite = invite(FROM, &[("Diversion", "<sip:2@h>;reason=no-answer, <tel:+91-3>;reason=unconditional")]);
        invite.to = NameAddr::parse("<sip:4@h>").expect("valid");
        assert_eq!(called(&invite, RouteOn::Ruri), "1000");
        assert_eq!(called(&invite, RouteOn::To), "4");
        assert_eq!(called(&invite, RouteOn::Diversion), "+913");
        invite.headers = Headers::new();
        assert_eq!(called(&invite, RouteOn::Diversion), "1000");
        invite.headers.push("History-Info", "<sip:5@h>;index=1, <sip:1000@h>;index=1.1");
        assert_eq!(called(&invite, RouteOn::Diversion), "5");
    }

    #[test]
    fn sip_111_withheld_numbers_are_anonymous_unless_delivered() {
        for lines in [&[PAI, ("Privacy", "critical; id")][..], &[("Remote-Party-ID", "<sip:7@h>;privacy=full")]] {
            let hidden = caller(&invite(FROM, lines), true, false);
            assert_eq!((hidden.number.as_str(), hidden.withheld), ("anonymous", true));
        }
        assert!(caller(&invite("<sip:anonymous@anonymous.invalid>;tag=1", &[]), false, false).withheld);
        assert_eq!(caller(&invite(FROM, &[PAI, ("Privacy", "id")]), true, true).number, "+9122");
        assert!(!caller(&invite(FROM, &[("Privacy", "none")]), true, false).withheld);
    }
}
