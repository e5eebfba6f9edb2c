//! Where media may go (SDP-014).

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The addresses that a peer may name for its media.
#[derive(Debug, Clone, Default)]
pub struct AddressRules {
    /// Our own signalling addresses: never a target of media.
    pub signalling: Vec<SocketAddr>,
    /// Loopback targets are allowed: the peer itself calls from loopback.
    pub allow_loopback: bool,
    /// Only these networks, where the trunk says so (`strict_media_acl`).
    pub strict: Option<Vec<IpNet>>,
}

/// What is wrong with an address that a peer named for its media (SDP-014).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Not an address: a host name, or garbage.
    #[error("`{0}` is not an IP address")]
    NotAnAddress(String),
    /// Our socket is of the other address family.
    #[error("{0} is of another address family than ours")]
    Family(IpAddr),
    /// A group or broadcast address.
    #[error("{0} is not a unicast address")]
    NotUnicast(IpAddr),
    /// A loopback address from a peer that is not on loopback.
    #[error("{0} is a loopback address")]
    Loopback(IpAddr),
    /// 0.0.0.0 or `::` without anything being on hold.
    #[error("{0} is unspecified and nothing is on hold")]
    Unspecified(IpAddr),
    /// One of our own sockets.
    #[error("{0} is our own address")]
    OurOwn(SocketAddr),
    /// Outside the trunk's media networks, and the trunk is strict.
    #[error("{0} is outside the trunk's media networks")]
    OutsideAcl(IpAddr),
}

impl AddressRules {
    /// Checks a target of media that is not unspecified; `ours` is where we receive.
    pub(super) fn check(&self, target: SocketAddr, ours: SocketAddr) -> Result<(), AddressFault> {
        let ip = target.ip();
        if ip.is_ipv4() != ours.is_ipv4() {
            return Err(AddressFault::Family(ip));
        }
        if ip.is_multicast() || ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
            return Err(AddressFault::NotUnicast(ip));
        }
        if ip.to_canonical().is_loopback() && !self.allow_loopback {
            return Err(AddressFault::Loopback(ip));
        }
        if target == ours || self.signalling.contains(&target) {
            return Err(AddressFault::OurOwn(target));
        }
        match &self.strict {
            Some(nets) if !nets.iter().any(|net| net.contains(&ip)) => Err(AddressFault::OutsideAcl(ip)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "192.0.2.1:14002";

    fn check(rules: &AddressRules, target: &str) -> Result<(), AddressFault> {
        rules.check(target.parse().expect("an address"), OURS.parse().expect("an address"))
    }

    #[test]
    fn sdp_014_only_unicast_targets_of_the_peer_are_taken() {
        let rules = AddressRules { signalling: vec!["192.0.2.1:5060".parse().unwrap()], ..AddressRules::default() };
        assert_eq!(check(&rules, "198.51.100.7:4000"), Ok(()));
        assert!(matches!(check(&rules, "224.2.1.1:4000"), Err(AddressFault::NotUnicast(_))));
        assert!(matches!(check(&rules, "255.255.255.255:4000"), Err(AddressFault::NotUnicast(_))));
        assert!(matches!(check(&rules, "127.0.0.1:4000"), Err(AddressFault::Loopback(_))));
        assert!(matches!(check(&rules, "192.0.2.1:5060"), Err(AddressFault::OurOwn(_))));
        assert!(matches!(check(&rules, OURS), Err(AddressFault::OurOwn(_))));
        assert_eq!(check(&rules, "192.0.2.1:14004"), Ok(()), "a neighbour on the same machine is not us");
        assert!(matches!(check(&rules, "[2001:db8::1]:4000"), Err(AddressFault::Family(_))));
    }

    #[test]
    fn sdp_014_loopback_is_for_peers_on_loopback_and_strict_trunks_keep_to_their_networks() {
        let rules = AddressRules {
            allow_loopback: true,
            strict: Some(vec!["127.0.0.0/8".parse().unwrap(), "198.51.100.0/24".parse().unwrap()]),
            ..AddressRules::default()
        };
        assert_eq!(check(&rules, "127.0.0.1:4000"), Ok(()));
        assert_eq!(check(&rules, "198.51.100.9:4000"), Ok(()));
        assert!(matches!(check(&rules, "203.0.113.9:4000"), Err(AddressFault::OutsideAcl(_))));
    }
}
