//! Sources without a trunk: a few small answers a minute, then silence (SIP-015, SIP-091).

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::incoming::{Arrival, Incoming, stateless_tag};
use super::message::{Message, Response};
use super::sources::{Sources, network};
use super::transaction::Path;
use super::wire;
use crate::base::random::Random;
use crate::base::token_bucket::TokenBucket;

const MINUTE: Duration = Duration::from_secs(60);
/// Answers a second to all of them together: a flood with forged addresses is not passed on.
const ANSWERS_PER_SECOND: u32 = 100;
/// An answer is at most this many times as long as the request.
const AMPLIFICATION: usize = 2;

/// What scanners call themselves in `User-Agent`, in lower case; as far as that they do not lie.
const SCANNERS: [&[u8]; 10] = [
    b"friendly-scanner",
    b"friendly-request",
    b"sipvicious",
    b"sundayddr",
    b"sip-scan",
    b"sipcli",
    b"sipptk",
    b"pplsip",
    b"vaxsipuseragent",
    b"iwar",
];
/// Of a request, this much is searched for their names.
const SEARCHED: usize = 2048;

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

/// A minute of a source, and the answers in it.
#[derive(Debug, Clone, Copy)]
struct Answered {
    start: Instant,
    answers: u32,
}

/// Counts the answers given to each unknown source.
#[derive(Debug)]
pub struct Strangers {
    per_minute: u32,
    sources: Sources<Answered>,
    all: TokenBucket,
    /// Makes our tags differ from those of other nodes.
    salt: String,
}

impl Strangers {
    /// Allows `per_minute` answers to each source.
    pub fn new(per_minute: u32, random: &mut Random) -> Self {
        let all = TokenBucket::per_second(ANSWERS_PER_SECOND);
        Self { per_minute, sources: Sources::new(random), all, salt: random.hex(8) }
    }

    /// The stateless 403 for an INVITE or REGISTER from an unknown source, to that source only; `None` where silence is
    /// the answer: any other method, responses, what is malformed, what a scanner sends, and everything over a limit.
    pub fn answer(&mut self, now: Instant, arrival: Arrival, datagram: &[u8]) -> Option<(Response, Path)> {
        let wanted = matches!(wire::first_word(datagram), b"INVITE" | b"REGISTER");
        if !wanted || !self.admit(now, arrival.peer, datagram) {
            return None;
        }
        let parsed = wire::parse(datagram).ok()?;
        let Message::Request(request) = parsed.message else { return None };
        let incoming = Incoming::read(request, parsed.flaw, arrival).ok()?;
        let tag = stateless_tag(&[&self.salt, &incoming.call_id, incoming.from.tag().unwrap_or_default()]);
        let response = Response::to(&incoming.request, 403, &tag);
        let may_leave = self.may_leave(now, wire::write_response(&response).len(), datagram.len());
        may_leave.then(|| (response, arrival.way_back()))
    }

    /// Whether `source` may have an answer to `datagram`, 403 or 401; it counts as one. What a scanner sends has none.
    pub fn admit(&mut self, now: Instant, source: IpAddr, datagram: &[u8]) -> bool {
        !is_scanner(datagram) && self.count(now, source) && !self.all.is_empty(now)
    }

    /// Whether an answer of `length` bytes to a datagram of `asked` bytes may leave now.
    pub fn may_leave(&mut self, now: Instant, length: usize, asked: usize) -> bool {
        is_small(length, asked) && self.all.take(now)
    }

    /// Sources that are remembered, and those of them that have had all their answers of this minute.
    pub fn counts(&self, now: Instant) -> (usize, usize) {
        let current = |answered: &&Answered| now.saturating_duration_since(answered.start) < MINUTE;
        let over = |answered: &Answered| usize::from(answered.answers > self.per_minute);
        self.sources.iter().filter(current).fold((0, 0), |(all, full), answered| (all + 1, full + over(answered)))
    }

    /// One more answer to `source`: whether that is within its limit.
    fn count(&mut self, now: Instant, source: IpAddr) -> bool {
        let answered = self.sources.entry(now, source, || Answered { start: now, answers: 0 });
        if now.saturating_duration_since(answered.start) >= MINUTE {
            *answered = Answered { start: now, answers: 0 };
        }
        answered.answers = answered.answers.saturating_add(1);
        answered.answers <= self.per_minute
    }
}

/// Whether an answer of `length` bytes is in proportion to a request of `asked` bytes (SIP-015).
pub fn is_small(length: usize, asked: usize) -> bool {
    length <= AMPLIFICATION * asked
}

/// Whether a request says that a scanner sent it.
fn is_scanner(datagram: &[u8]) -> bool {
    let head = datagram[..datagram.len().min(SEARCHED)].to_ascii_lowercase();
    let lines = head.split(|octet| *octet == b'\n').take_while(|line| line.trim_ascii() != b"");
    let mut agents = lines.filter(|line| line.starts_with(b"user-agent"));
    agents.any(|line| SCANNERS.iter().any(|name| line.windows(name.len()).any(|window| window == *name)))
}

/// How fast new requests of each source of a trunk may come (SIP-015).
#[derive(Debug)]
pub struct SourceRates {
    per_second: u32,
    sources: Sources<TokenBucket>,
}

impl SourceRates {
    /// At most `per_second` of each; 0 is any number.
    pub fn new(per_second: u32, random: &mut Random) -> Self {
        Self { per_second, sources: Sources::new(random) }
    }

    /// Other limits from now on.
    pub fn limit(&mut self, per_second: u32, random: &mut Random) {
        *self = Self::new(per_second, random);
    }

    /// Whether one more request of `source` may come now.
    pub fn admit(&mut self, now: Instant, source: IpAddr) -> bool {
        let per_second = self.per_second;
        per_second == 0 || self.sources.entry(now, source, || TokenBucket::per_second(per_second)).take(now)
    }

    /// Sources that are remembered, and those of them whose next request would be refused.
    pub fn counts(&self, now: Instant) -> (usize, usize) {
        let over = |bucket: &TokenBucket| usize::from(bucket.is_empty(now));
        self.sources.iter().fold((0, 0), |(all, full), bucket| (all + 1, full + over(bucket)))
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

    #[test]
    fn sip_091_a_scanner_is_known_by_its_user_agent_and_nowhere_else() {
        for agent in ["friendly-scanner", "SIPVicious", "sipcli/v1.8", "VaxSIPUserAgent/3.1"] {
            assert!(is_scanner(format!("INVITE sip:1@h SIP/2.0\r\nUser-Agent: {agent}\r\n\r\n").as_bytes()), "{agent}");
        }
        for other in
            ["Subject: friendly-scanner\r\n\r\n", "User-Agent: PBX\r\n\r\nUser-Agent: sipcli", "User-Agent:", ""]
        {
            assert!(!is_scanner(format!("INVITE sip:sipcli@h SIP/2.0\r\n{other}").as_bytes()), "{other}");
        }
    }

    #[test]
    fn sip_015_one_busy_source_takes_nothing_from_another() {
        let (now, mut random) = (Instant::now(), Random::from_number(1));
        let mut rates = SourceRates::new(10, &mut random);
        let busy = IpAddr::from([198, 51, 100, 1]);
        assert_eq!((0..1000).filter(|_| rates.admit(now, busy)).count(), 10);
        assert!(rates.admit(now, [198, 51, 100, 2].into()));
        assert_eq!(rates.counts(now), (2, 1));
        assert!(rates.admit(now + Duration::from_millis(100), busy));
    }
}
