//! What is remembered of each source, in memory that does not grow however many there are (SIP-015, SIP-042).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use crate::base::random::Random;

/// Sets of places; with [`WAYS`] of them each, 4096 sources.
const SETS: usize = 1024;
/// Places that one source may have.
const WAYS: usize = 4;

#[derive(Debug)]
struct Place<T> {
    source: IpAddr,
    seen: Instant,
    kept: T,
}

/// A table of sources. Each may stand in four places, which follow from its address and a secret; where others have them,
/// the one that was seen longest ago gives way. A source costs the same with an empty table as in a flood of a million.
#[derive(Debug)]
pub struct Sources<T> {
    secret: u64,
    places: Vec<Option<Place<T>>>,
}

impl<T> Sources<T> {
    /// An empty table.
    pub fn new(random: &mut Random) -> Self {
        Self { secret: random.u64(), places: Vec::new() }
    }

    /// What is kept of `source`, `fresh` where nothing is.
    pub fn entry(&mut self, now: Instant, source: IpAddr, fresh: impl FnOnce() -> T) -> &mut T {
        let source = network(source);
        if self.places.is_empty() {
            self.places.resize_with(SETS * WAYS, || None);
        }
        let mut hasher = DefaultHasher::new();
        (self.secret, source).hash(&mut hasher);
        let first = hasher.finish() as usize % SETS * WAYS;
        let set = &mut self.places[first..first + WAYS];
        let own = set.iter().position(|place| place.as_ref().is_some_and(|place| place.source == source));
        let age = |place: &Option<Place<T>>| place.as_ref().map(|place| place.seen);
        let at = own.or_else(|| (0..WAYS).min_by_key(|at| age(&set[*at]))).unwrap_or(0);
        if own.is_none() {
            set[at] = None;
        }
        let place = set[at].get_or_insert_with(|| Place { source, seen: now, kept: fresh() });
        place.seen = now;
        &mut place.kept
    }

    /// Everything that is kept.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().flatten().map(|place| &place.kept)
    }
}

/// The source that an address counts as: IPv6 by its /64, which is one customer's.
pub fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[test]
    fn sip_015_a_million_spoofed_sources_leave_as_much_memory_as_four_thousand() {
        let (start, mut sources) = (Instant::now(), Sources::new(&mut Random::from_number(1)));
        let source = |n: u32| IpAddr::from(Ipv4Addr::from_bits(n));
        for n in 0..1_000_000 {
            let now = start + Duration::from_nanos(n.into());
            *sources.entry(now, source(n), || 0) += 1;
        }
        assert_eq!(sources.places.capacity(), SETS * WAYS);
        let kept = sources.iter().count();
        assert!(kept <= SETS * WAYS && kept > SETS * WAYS * 9 / 10, "{kept}");
        let last = start + Duration::from_secs(1);
        *sources.entry(last, source(1_000_000), || 0) += 1;
        assert_eq!(*sources.entry(last, source(1_000_000), || 0), 1, "one that is there is found again");
    }

    #[test]
    fn the_source_seen_longest_ago_gives_way() {
        let (start, mut sources) = (Instant::now(), Sources::new(&mut Random::from_number(7)));
        let busy = IpAddr::from([192, 0, 2, 1]);
        for n in 0..200_000_u32 {
            let now = start + Duration::from_millis(n.into());
            *sources.entry(now, busy, || 0) += 1;
            sources.entry(now, Ipv4Addr::from_bits(n).into(), || 0);
        }
        assert_eq!(
            *sources.entry(start, busy, || 0),
            200_000,
            "a flood of others does not make us forget who is there"
        );
    }

    #[test]
    fn sip_091_an_ipv6_network_and_a_mapped_address_are_one_source() {
        let same = |a: &str, b: &str| network(a.parse().expect("ip")) == network(b.parse().expect("ip"));
        assert!(same("2001:db8::1", "2001:db8::2") && same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1") && !same("192.0.2.1", "192.0.2.2"));
    }
}
