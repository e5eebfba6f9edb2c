//! Timers A to M (RFC 3261 section 17, table 4; L and M of RFC 6026), all derived from T1, T2 and T4.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::{SipTimers, Trunk};

/// Why a transaction wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Timer {
    /// When no response to our INVITE came: send it again.
    A,
    /// When no response to our INVITE came at all: give up.
    B,
    /// When no more copies of a non-2xx final to our INVITE are expected.
    D,
    /// When no final response to our request came: send it again.
    E,
    /// When no final response to our request came at all: give up.
    F,
    /// When no ACK came for our non-2xx final: send it again.
    G,
    /// When no ACK came for our non-2xx final at all: give up.
    H,
    /// When no more copies of the ACK are expected.
    I,
    /// When no more copies of a request are expected.
    J,
    /// When no more copies of a final response are expected.
    K,
    /// When no more copies of an INVITE that got a 2xx are expected.
    L,
    /// When no more 2xx to our INVITE are expected.
    M,
}

/// The three times everything else follows from.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Round-trip estimate.
    pub t1: Duration,
    /// Longest interval between copies of non-INVITE requests and INVITE responses.
    pub t2: Duration,
    /// Longest life of a message in the network.
    pub t4: Duration,
}

impl From<SipTimers> for Timing {
    fn from(SipTimers { t1, t2, t4 }: SipTimers) -> Self {
        Self { t1, t2, t4 }
    }
}

/// The times for each peer: its trunk's, or the node's.
#[derive(Debug, Clone)]
pub struct Timings {
    usual: Timing,
    of_networks: Vec<(IpNet, Timing)>,
}

impl Timings {
    /// `usual` for every peer.
    pub fn new(usual: Timing) -> Self {
        Self { usual, of_networks: Vec::new() }
    }

    /// Takes the times of these trunks for the networks they list; the first that lists a peer has it.
    pub fn set_trunks<'a>(&mut self, trunks: impl Iterator<Item = &'a Arc<Trunk>>) {
        let of_trunk = |trunk: &'a Arc<Trunk>| trunk.allow.iter().map(|net| (*net, trunk.timers.into()));
        self.of_networks = trunks.flat_map(of_trunk).collect();
    }

    /// The times for `peer`.
    pub fn of(&self, peer: IpAddr) -> &Timing {
        let peer = peer.to_canonical();
        let own = self.of_networks.iter().find(|(network, _)| network.contains(&peer));
        own.map_or(&self.usual, |(_, timing)| timing)
    }
}

impl Timing {
    /// 64·T1: timers B, F, H, J, L and M.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.t1 * 64
    }

    /// Timer D over UDP: at least 32 s.
    #[must_use]
    pub fn wait_for_copies(&self) -> Duration {
        self.timeout().max(Duration::from_secs(32))
    }

    /// The interval after `interval`: doubled, at most T2.
    #[must_use]
    pub fn next_interval(&self, interval: Duration) -> Duration {
        (interval * 2).min(self.t2)
    }
}
