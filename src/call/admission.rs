//! Who is this, whom does it call, and is there room: what becomes of a new INVITE before there is a call.

use std::sync::Arc;
use std::time::Instant;

use crate::base::id::AccountSid;
use crate::call::directory::{CallSlot, Directory};
use crate::call::outcome::Failure;
use crate::call::timeline::masked;
use crate::config::Trunk;
use crate::flow::{Flows, Graph};
use crate::sip::trunk::{choose, trunk_names};
use crate::sip::uri::normalise_number;
use crate::sip::{IncomingInvite, Rejection, TrunkRefusal, called};

/// A call that may begin.
#[derive(Debug)]
pub struct Admission {
    /// The trunk it came by.
    pub trunk: Arc<Trunk>,
    /// The account it is for.
    pub account: AccountSid,
    /// The flow that its number points at.
    pub graph: Arc<Graph>,
    /// Its place.
    pub slot: CallSlot,
}

/// A call that may not begin.
#[derive(Debug)]
pub struct Refused {
    /// The row of the failure table.
    pub failure: Failure,
    /// The trunk's own code for this failure (SIP-121).
    pub sip_code: Option<u16>,
    /// The trunk by name; all those that it could have been, where it is not clear which.
    pub trunk: String,
    /// For the log only: the caller is not told (HDR-002).
    pub why: String,
}

impl Refused {
    /// The response; `retry_after` in seconds is used where the row asks for one.
    #[must_use]
    pub fn rejection(&self, retry_after: u32) -> Rejection {
        let rejection = self.failure.rejection(retry_after);
        Rejection { code: self.sip_code.unwrap_or(rejection.code), ..rejection }
    }
}

/// Judges an INVITE: trunk and account (HDR-001, HDR-002), number (HDR-003), the trunk's rate, then room on the node
/// (SIP-096).
///
/// # Errors
/// [`Refused`] with the first thing that stands in the way.
pub fn judge(
    now: Instant,
    directory: &Arc<Directory>,
    flows: &Flows,
    invite: &IncomingInvite,
) -> Result<Admission, Refused> {
    let headers = invite.headers.get_all("X-Exotel-AccountSid");
    let (trunk, account) = choose(&invite.trunk_candidates, headers).map_err(|refusal| {
        let failure = match refusal {
            TrunkRefusal::TwoValues | TrunkRefusal::Invalid => Failure::AccountInvalid,
            TrunkRefusal::Missing | TrunkRefusal::Unknown(_) => Failure::AccountForbidden,
        };
        let trunk = trunk_names(&invite.trunk_candidates);
        Refused { failure, sip_code: None, trunk, why: refusal.to_string() }
    })?;
    let refused = |failure: Failure, why: String| {
        let (sip_code, trunk) = (failure.own_code(&trunk), trunk.name.clone());
        Refused { failure, sip_code, trunk, why }
    };
    let numbers = spellings(&called(invite, trunk.route_on), &trunk);
    let flow = directory.route_first(&account, &numbers).map_err(|failure| {
        let why = unrouted(&failure, &trunk, &account, numbers.first().map_or("", String::as_str));
        refused(failure, why)
    })?;
    let missing = || refused(Failure::FlowInvalid, format!("flow {flow} does not exist"));
    let graph = flows.flow(flow).ok_or_else(missing)?;
    let no_room = |failure: Failure| {
        let why = failure.limit().unwrap_or(failure.label()).to_owned();
        refused(failure, why)
    };
    directory.admit_by(now, &trunk).map_err(no_room)?;
    let slot = directory.admit().map_err(no_room)?;
    Ok(Admission { trunk, account, graph, slot })
}

/// Why a called number leads nowhere, for the log.
fn unrouted(failure: &Failure, trunk: &Trunk, account: &AccountSid, number: &str) -> String {
    let place = trunk.route_on.place();
    match failure {
        Failure::AccountForbidden => format!("the PBX called for account {account}, which is disabled"),
        Failure::NumberIncomplete => format!("the PBX called no number: {place} has no user part"),
        _ => format!("the PBX called {}, which no [[number]] of account {account} is", masked(number)),
    }
}

/// How the called number may stand in the configuration: as it came, without the trunk's prefix, and each of them in the
/// national and the international form of the trunk's country (HDR-003).
fn spellings(called: &str, trunk: &Trunk) -> Vec<String> {
    let number = normalise_number(called);
    let mut spellings = vec![number.clone()];
    let bare = trunk.number_prefixes.iter().filter_map(|prefix| number.strip_prefix(prefix.as_str()));
    spellings.extend(bare.filter(|bare| !bare.is_empty()).map(normalise_number));
    let Some(country) = &trunk.country_code else { return spellings };
    for number in spellings.clone() {
        if let Some(rest) = number.strip_prefix('0') {
            spellings.push(format!("{country}{rest}"));
        }
        if let Some(rest) = number.strip_prefix(country.as_str()) {
            spellings.push(format!("0{rest}"));
        }
    }
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::endpoint::testing::trunk;

    #[test]
    fn hdr_003_the_log_says_which_number_leads_nowhere_masked_and_when_there_is_none() {
        let (trunk, account) = (trunk("pbx", &["acc1"], "10.0.0.0/8"), AccountSid::parse("acc1").expect("a sid"));
        let said = |failure, number| unrouted(&failure, &trunk, &account, number);
        let unknown = said(Failure::NumberUnknown, "08061234567");
        assert_eq!(unknown, "the PBX called xxxxxxxxx67, which no [[number]] of account acc1 is");
        let none = said(Failure::NumberIncomplete, "");
        assert_eq!(none, "the PBX called no number: the Request-URI has no user part");
        assert!(said(Failure::AccountForbidden, "1").contains("account acc1, which is disabled"));
    }

    #[test]
    fn hdr_003_a_number_is_found_without_its_prefix_and_in_both_forms_of_its_country() {
        let plain = trunk("a", &["acc1"], "10.0.0.0/8");
        assert_eq!(spellings("+91 806-1", &plain), ["918061"]);
        let number_prefixes = vec!["9".to_owned()];
        let trunk = Trunk { number_prefixes, country_code: Some("91".into()), ..plain };
        assert_eq!(spellings("908061", &trunk), ["908061", "08061", "918061"]);
        assert_eq!(spellings("+918061", &trunk), ["918061", "18061", "08061"]);
        assert_eq!(spellings("", &trunk), [""]);
    }
}
