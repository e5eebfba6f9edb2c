//! The network between a PBX and the bridge: delay, jitter (and so disorder), loss, duplicates, all from one seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use trunkstream::base::random::Random;

/// A datagram on its way.
#[derive(Debug, Clone)]
pub struct Parcel {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
}

impl Parcel {
    pub fn is_sip(&self) -> bool {
        self.from.port() == 5060
    }

    /// The start line of a SIP message.
    pub fn start_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        text.lines().next().unwrap_or_default().to_owned()
    }
}

/// What happens to datagrams of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    pub delay: Duration,
    /// Up to this much is added to each datagram's delay.
    pub jitter: Duration,
    /// Per cent.
    pub loss: u32,
    /// Per cent that arrive twice.
    pub twice: u32,
}

impl Weather {
    pub const FAIR: Self = Self { delay: Duration::from_millis(3), jitter: Duration::ZERO, loss: 0, twice: 0 };

    pub fn rough(loss: u32, jitter_ms: u64) -> Self {
        Self { jitter: Duration::from_millis(jitter_ms), loss, twice: 1, ..Self::FAIR }
    }
}

/// A SIP message as it left.
#[derive(Debug, Clone)]
pub struct Rung {
    pub at: Instant,
    pub from: SocketAddr,
    pub line: String,
    pub text: String,
}

type Thief = Box<dyn FnMut(&Parcel) -> bool>;

/// See the module.
pub struct Link {
    random: Random,
    pub sip: Weather,
    pub rtp: Weather,
    thieves: Vec<Thief>,
    sky: BTreeMap<(Instant, u64), Parcel>,
    serial: u64,
    /// Every SIP message that was sent, lost ones included.
    pub ladder: Vec<Rung>,
}

impl Link {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::from_number(seed),
            sip: Weather::FAIR,
            rtp: Weather::FAIR,
            thieves: Vec::new(),
            sky: BTreeMap::new(),
            serial: 0,
            ladder: Vec::new(),
        }
    }

    /// Whatever `takes` says true to is lost from now on.
    pub fn lose(&mut self, takes: impl FnMut(&Parcel) -> bool + 'static) {
        self.thieves.push(Box::new(takes));
    }

    /// The next `count` SIP messages whose start line begins with `start` are lost.
    pub fn lose_sip(&mut self, start: &'static str, count: usize) {
        let mut left = count;
        self.lose(move |parcel| {
            let taken = left > 0 && parcel.is_sip() && parcel.start_line().starts_with(start);
            left -= usize::from(taken);
            taken
        });
    }

    /// Nothing is lost on purpose any more.
    pub fn lose_nothing(&mut self) {
        self.thieves.clear();
    }

    pub fn send(&mut self, now: Instant, parcel: Parcel) {
        if parcel.is_sip() {
            let text = String::from_utf8_lossy(&parcel.bytes).into_owned();
            self.ladder.push(Rung { at: now, from: parcel.from, line: parcel.start_line(), text });
        }
        let weather = if parcel.is_sip() { self.sip } else { self.rtp };
        let stolen = self.thieves.iter_mut().any(|takes| takes(&parcel));
        if stolen || self.random.below(100) < weather.loss {
            return;
        }
        if self.random.below(100) < weather.twice {
            self.fly(now, weather, parcel.clone());
        }
        self.fly(now, weather, parcel);
    }

    fn fly(&mut self, now: Instant, weather: Weather, parcel: Parcel) {
        let jitter_us = u32::try_from(weather.jitter.as_micros()).unwrap_or(u32::MAX);
        let extra = Duration::from_micros(u64::from(self.random.below(jitter_us + 1)));
        self.serial += 1;
        self.sky.insert((now + weather.delay + extra, self.serial), parcel);
    }

    /// A datagram that has arrived.
    pub fn arrived(&mut self, now: Instant) -> Option<Parcel> {
        let first = self.sky.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    pub fn next(&self) -> Option<Instant> {
        self.sky.first_key_value().map(|((at, _), _)| *at)
    }

    /// How many messages from `from` began with `start`.
    pub fn count(&self, from: SocketAddr, start: &str) -> usize {
        self.ladder.iter().filter(|rung| rung.from == from && rung.line.starts_with(start)).count()
    }
}
