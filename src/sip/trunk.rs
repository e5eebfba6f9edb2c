//! Which peers may call us, and as which account (SIP-090, HDR-001, HDR-002).

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::id::AccountSid;
use crate::config::{Source, Transport, Trunk};

use super::Origin;

/// The trunks, in configuration order. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub struct Trunks(Arc<[Arc<Trunk>]>);

impl Trunks {
    /// These trunks.
    #[must_use]
    pub fn new(trunks: Vec<Arc<Trunk>>) -> Self {
        Self(trunks.into())
    }

    /// All of them, in configuration order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Trunk>> {
        self.0.iter()
    }

    /// Every trunk that takes signalling by `transport` from there (SIP-090).
    #[must_use]
    pub fn from(&self, transport: Transport, origin: &Origin) -> Vec<Arc<Trunk>> {
        let takes = |trunk: &&Arc<Trunk>| {
            let proven = !trunk.client_certificate || (transport.is_secure() && origin.has_certificate);
            proven && trunk.sources.iter().any(|source| source.has(transport, origin.source))
        };
        self.0.iter().filter(takes).cloned().collect()
    }

    /// Whether a trunk says that there is SIP over TCP at this address (SIP-002).
    #[must_use]
    pub fn offer_tcp(&self, ip: IpAddr) -> bool {
        let tcp =
            |source: &Source| source.transport == Some(Transport::Tcp) && source.network.contains(&ip.to_canonical());
        self.0.iter().any(|trunk| trunk.sources.iter().any(tcp))
    }

    /// Every trunk whose `allow` has `source`.
    #[must_use]
    pub fn at(&self, source: IpAddr) -> Vec<Arc<Trunk>> {
        self.matching(source).cloned().collect()
    }

    /// Whether any trunk's `allow` has `source`.
    #[must_use]
    pub fn know(&self, source: IpAddr) -> bool {
        self.matching(source).next().is_some()
    }

    fn matching(&self, source: IpAddr) -> impl Iterator<Item = &Arc<Trunk>> {
        let source = source.to_canonical();
        self.0.iter().filter(move |trunk| trunk.allow.iter().any(|net| net.contains(&source)))
    }
}

/// The names of these trunks, for log and metric: mostly one, several where they share a source.
#[must_use]
pub fn trunk_names(trunks: &[Arc<Trunk>]) -> String {
    let names: Vec<&str> = trunks.iter().map(|trunk| trunk.name.as_str()).collect();
    names.join(",")
}

/// Why no trunk and account take the call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrunkRefusal {
    /// No account header, and no candidate takes its only account without one: 403.
    #[error("the PBX sent no X-Exotel-AccountSid, and its trunk does not make that optional")]
    Missing,
    /// An account that no candidate may call for: 403.
    #[error("the PBX named account {0} in X-Exotel-AccountSid, for which its trunk may not call")]
    Unknown(AccountSid),
    /// Two different values: 400.
    #[error("the PBX sent two different X-Exotel-AccountSid")]
    TwoValues,
    /// A value that no account can have: 400.
    #[error("the PBX sent an X-Exotel-AccountSid that no account can have")]
    Invalid,
}

/// The trunk and account of a call: the first of `candidates` that may call for the account its headers name.
pub fn choose<'a>(
    candidates: &[Arc<Trunk>],
    account_header: impl IntoIterator<Item = &'a str>,
) -> Result<(Arc<Trunk>, AccountSid), TrunkRefusal> {
    let mut named: Option<AccountSid> = None;
    for value in account_header {
        let sid = AccountSid::parse(value).ok_or(TrunkRefusal::Invalid)?;
        if named.as_ref().is_some_and(|earlier| *earlier != sid) {
            return Err(TrunkRefusal::TwoValues);
        }
        named = Some(sid);
    }
    let Some(sid) = named else {
        return candidates.iter().find_map(only_account).ok_or(TrunkRefusal::Missing);
    };
    match candidates.iter().find(|trunk| trunk.accounts.contains(&sid)) {
        Some(trunk) => Ok((Arc::clone(trunk), sid)),
        None => Err(TrunkRefusal::Unknown(sid)),
    }
}

fn only_account(trunk: &Arc<Trunk>) -> Option<(Arc<Trunk>, AccountSid)> {
    match trunk.accounts.as_slice() {
        [sid] if trunk.account_header_optional => Some((Arc::clone(trunk), sid.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::endpoint::testing::trunk;

    fn candidates() -> Vec<Arc<Trunk>> {
        let mut optional = trunk("b", &["acc3"], "10.0.0.0/8");
        optional.account_header_optional = true;
        vec![Arc::new(trunk("a", &["acc1", "acc2"], "10.0.0.0/8")), Arc::new(optional)]
    }

    #[test]
    fn sip_090_a_trunk_is_found_by_its_source_networks() {
        let trunks = Trunks::new(candidates());
        assert_eq!(trunks.at("10.1.2.3".parse().expect("ip")).len(), 2);
        assert!(trunks.know("::ffff:10.1.2.3".parse().expect("ip")));
        assert!(!trunks.know("192.0.2.1".parse().expect("ip")));
    }

    #[test]
    fn hdr_002_the_trunk_is_the_one_whose_accounts_match() {
        let chosen = |values: &[&str]| {
            choose(&candidates(), values.iter().copied()).map(|(t, a)| (t.name.clone(), a.to_string()))
        };
        assert_eq!(chosen(&[" acc2 "]), Ok(("a".into(), "acc2".into())));
        assert_eq!(chosen(&["acc3", "acc3"]), Ok(("b".into(), "acc3".into())));
        assert_eq!(chosen(&[]), Ok(("b".into(), "acc3".into())));
        assert!(matches!(chosen(&["ACC1"]), Err(TrunkRefusal::Unknown(_))));
        assert_eq!(chosen(&["acc1", "acc2"]), Err(TrunkRefusal::TwoValues));
        assert_eq!(chosen(&["a b"]), Err(TrunkRefusal::Invalid));
        assert_eq!(choose(&candidates()[..1], []).map(|_| ()), Err(TrunkRefusal::Missing));
    }
}
