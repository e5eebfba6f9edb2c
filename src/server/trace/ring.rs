//! The latest packets, in a bounded number of octets: signalling of known sources, of strangers, and media, each for itself.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::call::Copied;

/// What an entry costs beside its octets, about.
const ENTRY_COST: usize = 160;
/// Of the memory for signalling, one part in so many is for sources that no trunk lists: a scan cannot displace calls.
const STRANGERS_PART: usize = 5;

/// What a packet is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A SIP message; encrypted on the wire or not.
    Sip {
        /// `UDP`, `TCP`, `TLS`.
        transport: &'static str,
    },
    /// A packet of a call's media.
    Media {
        /// Its call, by Call-ID.
        call_id: Arc<str>,
        /// What it is.
        copied: Copied,
        /// It is encrypted on the wire, and not here.
        decrypted: bool,
    },
}

/// A packet that passed.
#[derive(Clone)]
pub struct Entry {
    /// Counts up, over all rings.
    pub number: u64,
    /// When it was read or sent.
    pub at: SystemTime,
    /// We sent it.
    pub outgoing: bool,
    /// Our address.
    pub local: SocketAddr,
    /// The other one.
    pub peer: SocketAddr,
    /// What it is.
    pub kind: Kind,
    /// The message, or what follows the UDP header.
    pub bytes: Box<[u8]>,
}

impl Entry {
    fn cost(&self) -> usize {
        self.bytes.len() + ENTRY_COST
    }

    /// Whether it is SIP.
    pub fn is_sip(&self) -> bool {
        matches!(self.kind, Kind::Sip { .. })
    }
}

/// Entries up to a number of octets; the oldest go first.
#[derive(Default)]
struct Ring {
    budget: usize,
    used: usize,
    entries: VecDeque<Arc<Entry>>,
    /// The number of the latest entry that had to go.
    gone: u64,
}

impl Ring {
    fn with(budget: usize) -> Self {
        Self { budget, ..Self::default() }
    }

    fn push(&mut self, entry: Entry) {
        self.used += entry.cost();
        self.entries.push_back(Arc::new(entry));
        while self.used > self.budget
            && let Some(oldest) = self.entries.pop_front()
        {
            self.used -= oldest.cost();
            self.gone = oldest.number;
        }
    }

    fn after(&self, number: u64) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.range(self.entries.partition_point(|entry| entry.number <= number)..)
    }
}

/// Which ring a packet goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shelf {
    /// Signalling of a peer that a trunk or a list of proxies has.
    Known,
    /// Signalling of anybody else.
    Stranger,
    /// Media.
    Media,
}

/// The three rings.
pub struct Rings {
    latest: u64,
    shelves: [Ring; 3],
}

impl Rings {
    /// Rings of so many octets.
    pub fn new(signalling: usize, media: usize) -> Self {
        let strangers = signalling / STRANGERS_PART;
        let shelves = [Ring::with(signalling - strangers), Ring::with(strangers), Ring::with(media)];
        Self { latest: 0, shelves }
    }

    /// Keeps a packet; its number is given here.
    pub fn push(&mut self, shelf: Shelf, mut entry: Entry) {
        self.latest += 1;
        entry.number = self.latest;
        let place = match shelf {
            Shelf::Known => 0,
            Shelf::Stranger => 1,
            Shelf::Media => 2,
        };
        self.shelves[place].push(entry);
    }

    /// The number of the latest entry.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// What came after `number`, in order, and whether some of it is gone.
    pub fn after(&self, number: u64) -> (Vec<Arc<Entry>>, bool) {
        let mut entries: Vec<_> = self.shelves.iter().flat_map(|ring| ring.after(number)).cloned().collect();
        entries.sort_unstable_by_key(|entry| entry.number);
        (entries, self.shelves.iter().any(|ring| ring.gone > number))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// An entry of SIP from 192.0.2.10 to us.
    pub fn sip(text: &str) -> Entry {
        Entry {
            number: 0,
            at: SystemTime::UNIX_EPOCH,
            outgoing: false,
            local: ([203, 0, 113, 10], 5060).into(),
            peer: ([192, 0, 2, 10], 5062).into(),
            kind: Kind::Sip { transport: "UDP" },
            bytes: text.as_bytes().into(),
        }
    }

    fn texts(rings: &Rings, after: u64) -> Vec<String> {
        rings.after(after).0.iter().map(|entry| String::from_utf8_lossy(&entry.bytes).into_owned()).collect()
    }

    #[test]
    fn ops_026_the_oldest_go_when_the_octets_are_used_up_and_strangers_displace_no_call() {
        let mut rings = Rings::new(5 * 1000, 0);
        rings.push(Shelf::Known, sip("call"));
        (0..50).for_each(|scan| rings.push(Shelf::Stranger, sip(&format!("scan {scan}"))));
        let kept = texts(&rings, 0);
        assert_eq!(kept.first().map(String::as_str), Some("call"));
        assert_eq!(kept.last().map(String::as_str), Some("scan 49"));
        assert!(kept.len() < 10, "{kept:?}");
        (0..50).for_each(|call| rings.push(Shelf::Known, sip(&format!("call {call}"))));
        assert!(!texts(&rings, 0).contains(&"call".to_owned()));
        let used: usize = rings.shelves.iter().map(|ring| ring.used).sum();
        assert!(used <= 5000, "{used}");
    }

    #[test]
    fn a_reader_gets_what_came_since_in_order_and_is_told_when_it_was_too_slow() {
        let mut rings = Rings::new(100_000, 1000);
        rings.push(Shelf::Known, sip("one"));
        rings.push(Shelf::Stranger, sip("two"));
        rings.push(Shelf::Known, sip("three"));
        assert_eq!(texts(&rings, 0), ["one", "two", "three"]);
        assert_eq!(texts(&rings, 1), ["two", "three"]);
        assert_eq!((rings.latest(), rings.after(3).0.len(), rings.after(3).1), (3, 0, false));
        (0..10).for_each(|_| rings.push(Shelf::Media, sip(&"x".repeat(100))));
        assert!(rings.after(3).1, "some media is gone");
        assert!(!rings.after(rings.latest()).1);
    }

    #[test]
    fn a_packet_larger_than_the_memory_is_not_kept() {
        let mut rings = Rings::new(0, 0);
        rings.push(Shelf::Known, sip("message"));
        assert!(rings.after(0).0.is_empty());
    }
}
