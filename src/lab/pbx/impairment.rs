//! A bad link: some packets are lost, the others come late by a random time. The same on every run with the same seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::base::random::Random;

/// How bad a link is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Impairment {
    /// Share of packets that are lost, in percent, 0 to 100.
    pub loss_percent: f64,
    /// Each packet waits between nothing and this long, all waits being equally likely; over a packet time they overtake.
    pub jitter: Duration,
}

/// A packet on its way: when it arrives, its number, where it goes, its octets.
type Waiting = (Instant, u64, SocketAddr, Vec<u8>);

/// Packets on their way over an impaired link.
#[derive(Debug)]
pub struct Link {
    impairment: Impairment,
    random: Random,
    waiting: BinaryHeap<Reverse<Waiting>>,
    count: u64,
    dropped: u64,
}

impl Link {
    /// A link that is empty.
    #[must_use]
    pub fn new(impairment: Impairment, random: Random) -> Self {
        Self { impairment, random, waiting: BinaryHeap::new(), count: 0, dropped: 0 }
    }

    /// Puts a packet on the link at `now`.
    pub fn push(&mut self, now: Instant, to: SocketAddr, packet: &[u8]) {
        self.count += 1;
        if self.share() * 100.0 < self.impairment.loss_percent {
            self.dropped += 1;
            return;
        }
        let wait = self.impairment.jitter.mul_f64(self.share());
        self.waiting.push(Reverse((now + wait, self.count, to, packet.to_vec())));
    }

    /// The next packet that has arrived by `now`.
    pub fn poll(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        let due = self.poll_timeout().is_some_and(|due| due <= now);
        let Reverse((_, _, to, packet)) = if due { self.waiting.pop()? } else { return None };
        Some((to, packet))
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.peek().map(|Reverse((due, ..))| *due)
    }

    /// Packets lost so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A random number from 0 to just under 1.
    fn share(&mut self) -> f64 {
        f64::from(self.random.u32()) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // one reading of the clock as the start of virtual time
mod tests {
    use super::*;

    /// Sends 10,000 packets 20 ms apart; for each that arrives its number and how late it was.
    fn arrivals(loss_percent: f64, jitter_ms: u64) -> Vec<(u32, Duration)> {
        let impairment = Impairment { loss_percent, jitter: Duration::from_millis(jitter_ms) };
        let mut link = Link::new(impairment, Random::from_number(3));
        let (start, to) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], 9)));
        for number in 0..10_000u32 {
            link.push(start + Duration::from_millis(20) * number, to, &number.to_be_bytes());
        }
        let mut arrived = Vec::new();
        while let Some(due) = link.poll_timeout() {
            let (_, packet) = link.poll(due).expect("it is due");
            let number = u32::from_be_bytes(packet.try_into().expect("four octets"));
            arrived.push((number, due - (start + Duration::from_millis(20) * number)));
        }
        assert_eq!(link.dropped() as usize + arrived.len(), 10_000);
        arrived
    }

    #[test]
    fn a_perfect_link_delivers_everything_at_once_and_in_order() {
        let arrived = arrivals(0.0, 0);
        assert!(arrived.iter().zip(0..).all(|(&(number, late), n)| number == n && late.is_zero()));
        assert_eq!(arrived.len(), 10_000);
    }

    #[test]
    fn loss_and_jitter_are_as_asked_and_the_same_on_every_run() {
        let arrived = arrivals(5.0, 60);
        assert!((9_400..9_600).contains(&arrived.len()), "{} arrived", arrived.len());
        let most = arrived.iter().map(|(_, late)| late.as_millis()).max();
        assert!((55..=60).contains(&most.unwrap_or(0)), "late by at most {most:?} ms");
        assert!(arrived.windows(2).any(|pair| pair[0].0 > pair[1].0), "60 ms of jitter overtakes 20 ms packets");
        assert_eq!(arrived, arrivals(5.0, 60));
        assert!(arrivals(100.0, 0).is_empty());
    }

    #[test]
    fn nothing_arrives_before_its_time() {
        let impairment = Impairment { loss_percent: 0.0, jitter: Duration::from_millis(50) };
        let mut link = Link::new(impairment, Random::from_number(1));
        let now = Instant::now();
        link.push(now, SocketAddr::from(([127, 0, 0, 1], 9)), b"x");
        let due = link.poll_timeout().expect("a packet is under way");
        assert_eq!(link.poll(due - Duration::from_nanos(1)), None);
        assert!(link.poll(due).is_some() && link.poll_timeout().is_none());
    }
}
