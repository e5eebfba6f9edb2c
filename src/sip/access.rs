//! Sources without a trunk: a few small answers a minute, then silence (SIP-015, SIP-091).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::incoming::{Arrival, Incoming, stateless_tag};
use super::message::{Message, Response};
use super::transaction::Path;
use super::wire;
use crate::base::random::Random;

const MINUTE: Duration = Duration::from_secs(60);
/// Sources remembered at once; more of them are not answered at all.
const MAX_SOURCES: usize = 4096;

/// How fast new calls may come: a bucket that holds the calls of one second and is filled at that rate (SIP-096).
#[derive(Debug)]
pub struct CallRate {
    per_second: f64,
    tokens: f64,
    filled: Option<Instant>,
}

impl CallRate {
    /// At most `per_second`; 0 is any number.
    pub fn new(per_second: u32) -> Self {
        Self { per_second: per_second.into(), tokens: per_second.into(), filled: None }
    }

    /// Whether one more call may come now.
    pub fn admit(&mut self, now: Instant) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let passed = self.filled.map_or(Duration::ZERO, |filled| now.saturating_duration_since(filled));
        self.filled = Some(now);
        self.tokens = (self.tokens + passed.as_secs_f64() * self.per_second).min(self.per_second);
        let room = self.tokens >= 1.0;
        if room {
            self.tokens -= 1.0;
        }
        room
    }
}

/// Sources told of in a minute, so that a scan of a thousand addresses does not fill the log.
const TOLD_PER_MINUTE: usize = 20;

/// What the operator is told of a source without a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// The first datagram of this source in a minute.
    Source,
    /// There are too many to name in this minute.
    TooMany,
}

/// Which sources without a trunk were told of in this minute.
#[derive(Debug, Default)]
pub struct Told {
    start: Option<Instant>,
    sources: Vec<IpAddr>,
    too_many: bool,
}

impl Told {
    /// A datagram of a source without a trunk: what of it is news.
    pub fn news(&mut self, now: Instant, source: IpAddr) -> Option<News> {
        if self.start.is_none_or(|start| now.saturating_duration_since(start) >= MINUTE) {
            *self = Self { start: Some(now), ..Self::default() };
        }
        let source = network(source);
        if self.sources.contains(&source) {
            return None;
        }
        if self.sources.len() < TOLD_PER_MINUTE {
            self.sources.push(source);
            return Some(News::Source);
        }
        (!std::mem::replace(&mut self.too_many, true)).then_some(News::TooMany)
    }
}

/// Counts the answers given to each unknown source.
#[derive(Debug)]
pub struct Strangers {
    per_minute: u32,
    /// Start of the minute and answers in it. An IPv6 source is its /64.
    sources: HashMap<IpAddr, (Instant, u32)>,
    /// Makes our tags differ from those of other nodes.
    salt: String,
}

impl Strangers {
    /// Allows `per_minute` answers to each source.
    pub fn new(per_minute: u32, random: &mut Random) -> Self {
        Self { per_minute, sources: HashMap::new(), salt: random.hex(8) }
    }

    /// The stateless 403 for a request from an unknown source, to that source only; `None` where silence is the answer:
    /// OPTIONS, ACK, responses, what is malformed, and everything over the limit.
    pub fn answer(&mut self, now: Instant, arrival: Arrival, datagram: &[u8]) -> Option<(Response, Path)> {
        let first = wire::first_word(datagram);
        let silent = [&b"OPTIONS"[..], b"ACK"].contains(&first) || first.starts_with(b"SIP/");
        if silent || !self.admit(now, arrival.peer) {
            return None;
        }
        let parsed = wire::parse(datagram).ok()?;
        let Message::Request(request) = parsed.message else { return None };
        let incoming = Incoming::read(request, parsed.flaw, arrival).ok()?;
        let tag = stateless_tag(&[&self.salt, &incoming.call_id, incoming.from.tag().unwrap_or_default()]);
        Some((Response::to(&incoming.request, 403, &tag), arrival.way_back()))
    }

    /// Whether one more answer goes to this source.
    pub fn admit(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = network(source);
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.sources.retain(|_, (start, _)| now.saturating_duration_since(*start) < MINUTE);
            if self.sources.len() >= MAX_SOURCES {
                return false;
            }
        }
        let (start, answers) = self.sources.entry(source).or_insert((now, 0));
        if now.saturating_duration_since(*start) >= MINUTE {
            (*start, *answers) = (now, 0);
        }
        *answers += 1;
        *answers <= self.per_minute
    }
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;

    #[test]
    fn sip_091_a_source_is_told_of_once_a_minute_and_a_scan_in_one_line() {
        let (start, mut told) = (Instant::now(), Told::default());
        let source = |n: u8| IpAddr::from([203, 0, 113, n]);
        assert_eq!(told.news(start, source(1)), Some(News::Source));
        assert_eq!(told.news(start, source(1)), None);
        let scan: Vec<_> = (2..=200).filter_map(|n| told.news(start, source(n))).collect();
        assert_eq!(scan.iter().filter(|news| **news == News::Source).count(), TOLD_PER_MINUTE - 1);
        assert_eq!(scan.last(), Some(&News::TooMany));
        assert_eq!(told.news(start + MINUTE, source(1)), Some(News::Source));
    }
}
