//! Live calls and what is admitted: the node's call limit, each account's streams, each shard's load.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::base::id::AccountSid;
use crate::base::metric;
use crate::base::token_bucket::TokenBucket;
use crate::call::outcome::{Closed, Failure};
use crate::config::{Account, Number, Trunk};
use crate::sip::uri::normalise_number;

/// Counts shared by the SIP task and all media threads; every method is safe from any of them.
#[derive(Debug)]
pub struct Directory {
    max_calls: usize,
    calls: AtomicUsize,
    draining: AtomicBool,
    lagging: AtomicUsize,
    short_of_memory: AtomicBool,
    short_of_ports: AtomicBool,
    /// By trunk, from its first call on.
    call_rates: Mutex<HashMap<String, TokenBucket>>,
    accounts: HashMap<AccountSid, AccountEntry>,
    shards: Vec<AtomicUsize>,
}

#[derive(Debug)]
struct AccountEntry {
    enabled: bool,
    max_streams: usize,
    open: Arc<AtomicUsize>,
    numbers: HashMap<String, String>,
}

/// A place on a shard; given back when dropped.
#[derive(Debug)]
pub struct CallSlot {
    directory: Arc<Directory>,
    /// The media thread that owns the call.
    pub shard: usize,
}

/// An open stream of an account; given back when dropped.
#[derive(Debug)]
pub struct StreamSlot {
    account: AccountSid,
    open: Arc<AtomicUsize>,
}

impl Directory {
    /// A directory for `shards` media threads.
    #[must_use]
    pub fn new(max_calls: usize, accounts: &[Account], numbers: &[Number], shards: usize) -> Self {
        let accounts = accounts.iter().map(|account| (account.sid.clone(), AccountEntry::new(account, numbers)));
        Self {
            max_calls,
            calls: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            lagging: AtomicUsize::new(0),
            short_of_memory: AtomicBool::new(false),
            short_of_ports: AtomicBool::new(false),
            call_rates: Mutex::default(),
            accounts: accounts.collect(),
            shards: (0..shards.max(1)).map(|_| AtomicUsize::new(0)).collect(),
        }
    }

    /// Admits one more call to the least loaded shard.
    ///
    /// # Errors
    /// [`Failure::Overloaded`] while the node is [closed](Directory::closed).
    pub fn admit(self: &Arc<Self>) -> Result<CallSlot, Failure> {
        if let Some(closed) = self.closed() {
            return Err(Failure::Overloaded(closed));
        }
        let limit = self.max_calls;
        let taken =
            self.calls.fetch_update(Ordering::AcqRel, Ordering::Acquire, |calls| (calls < limit).then_some(calls + 1));
        if taken.is_err() {
            return Err(Failure::Overloaded(Closed::Full));
        }
        let load = |shard: &usize| self.shards[*shard].load(Ordering::Acquire);
        let shard = (0..self.shards.len()).min_by_key(load).unwrap_or(0);
        self.shards[shard].fetch_add(1, Ordering::AcqRel);
        metric::CALLS_ACTIVE.set(self.calls() as f64);
        Ok(CallSlot { directory: self.clone(), shard })
    }

    /// Notes one more call of `trunk`.
    ///
    /// # Errors
    /// [`Failure::TrunkTooFast`] where its `max_calls_per_minute` is exceeded.
    pub fn admit_by(&self, now: Instant, trunk: &Trunk) -> Result<(), Failure> {
        if trunk.max_calls_per_minute == 0 {
            return Ok(());
        }
        let mut rates = self.call_rates.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || TokenBucket::per_minute(trunk.max_calls_per_minute);
        let rate = rates.entry(trunk.name.clone()).or_insert_with(fresh);
        if rate.take(now) { Ok(()) } else { Err(Failure::TrunkTooFast) }
    }

    /// The flow of `called` in `account`: the exact number first, else the account's `*`.
    ///
    /// # Errors
    /// [`Failure::AccountForbidden`] for an unknown or disabled account, [`Failure::NumberIncomplete`] for an empty
    /// number, [`Failure::NumberUnknown`] where nothing matches.
    pub fn route(&self, account: &AccountSid, called: &str) -> Result<&str, Failure> {
        self.route_first(account, &[normalise_number(called)])
    }

    /// The same for a number with several spellings, normalised, the likeliest first.
    ///
    /// # Errors
    /// As [`Directory::route`].
    pub fn route_first(&self, account: &AccountSid, called: &[String]) -> Result<&str, Failure> {
        let entry = self.accounts.get(account).filter(|entry| entry.enabled).ok_or(Failure::AccountForbidden)?;
        let flow = called.iter().find_map(|number| entry.numbers.get(number)).or_else(|| entry.numbers.get("*"));
        match flow {
            Some(flow) => Ok(flow),
            None if called.iter().all(String::is_empty) => Err(Failure::NumberIncomplete),
            None => Err(Failure::NumberUnknown),
        }
    }

    /// Opens one more stream of `account`.
    ///
    /// # Errors
    /// [`Failure::Throttled`] at the account's `max_streams`.
    pub fn open_stream(&self, account: &AccountSid) -> Result<StreamSlot, Failure> {
        let entry = self.accounts.get(account).ok_or(Failure::AccountForbidden)?;
        let limit = entry.max_streams;
        entry
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < limit).then_some(open + 1))
            .map_err(|_| Failure::Throttled)?;
        let slot = StreamSlot { account: account.clone(), open: entry.open.clone() };
        slot.export();
        Ok(slot)
    }

    /// Calls up now.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// Why no new call is taken; `None` where one more would be admitted.
    pub fn closed(&self) -> Option<Closed> {
        Closed::ALL.into_iter().find(|closed| match closed {
            Closed::Draining => self.draining.load(Ordering::Acquire),
            Closed::Lagging => self.lagging.load(Ordering::Acquire) > 0,
            Closed::Memory => self.short_of_memory.load(Ordering::Acquire),
            Closed::Ports => self.short_of_ports.load(Ordering::Acquire),
            Closed::Full => self.calls() >= self.max_calls,
        })
    }

    /// A media thread has begun or ceased to wake too late: while any does, no new call is taken (SIP-096).
    pub fn note_lag(&self, lags: bool) {
        if lags {
            self.lagging.fetch_add(1, Ordering::AcqRel);
        } else {
            self.lagging.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The process has reached, or has left, `limits.max_memory_mebibytes`: above it no new call is taken (SIP-096).
    pub fn note_memory(&self, short: bool) {
        self.short_of_memory.store(short, Ordering::Release);
    }

    /// Whether no pair of RTP ports is free: without one no new call is taken (SIP-096). True where that is news.
    pub fn note_ports(&self, short: bool) -> bool {
        self.short_of_ports.swap(short, Ordering::AcqRel) != short
    }

    /// Refuses every new call from now on (OPS-031).
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }
}

impl AccountEntry {
    fn new(account: &Account, numbers: &[Number]) -> Self {
        let own = numbers.iter().filter(|number| number.account == account.sid);
        Self {
            enabled: account.enabled,
            max_streams: account.max_streams,
            open: Arc::default(),
            numbers: own.map(|number| (number.number.clone(), number.flow.clone())).collect(),
        }
    }
}

impl Drop for CallSlot {
    fn drop(&mut self) {
        self.directory.shards[self.shard].fetch_sub(1, Ordering::AcqRel);
        self.directory.calls.fetch_sub(1, Ordering::AcqRel);
        metric::CALLS_ACTIVE.set(self.directory.calls() as f64);
    }
}

impl StreamSlot {
    fn export(&self) {
        let open = self.open.load(Ordering::Acquire) as f64;
        metric::STREAMS_ACTIVE.set_with(open, &[("account", self.account.to_string())]);
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
        self.export();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(max_calls: usize, max_streams: usize) -> Arc<Directory> {
        let sid = AccountSid::parse("acc1").expect("a sid");
        let accounts = [Account { sid: sid.clone(), max_streams, enabled: true }];
        let number =
            |number: &str, flow: &str| Number { number: number.into(), account: sid.clone(), flow: flow.into() };
        Arc::new(Directory::new(max_calls, &accounts, &[number("1000", "bot"), number("*", "any")], 2))
    }

    #[test]
    fn sip_096_calls_above_the_limit_are_refused_until_one_ends() {
        let directory = directory(2, 1);
        let first = directory.admit().expect("room");
        let second = directory.admit().expect("room");
        assert_ne!(first.shard, second.shard, "calls are spread over the shards");
        assert_eq!(directory.admit().err(), Some(Failure::Overloaded(Closed::Full)));
        drop(first);
        assert!(directory.admit().is_ok());
    }

    #[test]
    fn an_account_at_max_streams_is_throttled_and_others_are_not() {
        let directory = directory(9, 1);
        let sid = AccountSid::parse("acc1").expect("a sid");
        let held = directory.open_stream(&sid).expect("room");
        assert_eq!(directory.open_stream(&sid).err(), Some(Failure::Throttled));
        drop(held);
        assert!(directory.open_stream(&sid).is_ok());
    }

    #[test]
    fn hdr_003_any_spelling_of_a_number_finds_its_flow_else_the_default() {
        let directory = directory(9, 1);
        let sid = AccountSid::parse("acc1").expect("a sid");
        for spelling in ["1000", "+1000", "10-00", "001000"] {
            assert_eq!(directory.route(&sid, spelling), Ok("bot"), "{spelling}");
        }
        assert_eq!(directory.route(&sid, "2000"), Ok("any"));
        let other = AccountSid::parse("other").expect("a sid");
        assert_eq!(directory.route(&other, "1000"), Err(Failure::AccountForbidden));
    }

    #[test]
    fn sip_096_a_node_whose_media_clock_lags_admits_nothing_until_it_is_in_time_again() {
        let directory = directory(9, 1);
        directory.note_lag(true);
        assert_eq!(directory.admit().err(), Some(Failure::Overloaded(Closed::Lagging)));
        directory.note_lag(false);
        assert!(directory.admit().is_ok());
    }

    #[test]
    fn sip_096_a_node_short_of_memory_admits_nothing_until_it_has_room_again() {
        let directory = directory(9, 1);
        directory.note_memory(true);
        assert_eq!(directory.admit().err(), Some(Failure::Overloaded(Closed::Memory)));
        directory.note_memory(false);
        assert!(directory.admit().is_ok());
    }

    #[test]
    fn sip_096_a_node_without_a_free_rtp_port_admits_nothing_until_one_has_rested() {
        let directory = directory(9, 1);
        assert_eq!([directory.note_ports(true), directory.note_ports(true)], [true, false]);
        assert_eq!(directory.admit().err(), Some(Failure::Overloaded(Closed::Ports)));
        assert!(directory.note_ports(false));
        assert!(directory.admit().is_ok());
    }

    #[test]
    #[allow(clippy::disallowed_methods)] // a starting point for virtual time
    fn sip_096_each_trunk_has_its_own_calls_a_minute() {
        let (directory, now) = (directory(9, 1), Instant::now());
        let limited = |name: &str, max_calls_per_minute| Trunk {
            max_calls_per_minute,
            ..crate::sip::endpoint::testing::trunk(name, &["acc1"], "198.51.100.0/24")
        };
        let (slow, other, free) = (limited("slow", 2), limited("other", 2), limited("free", 0));
        let admitted = |trunk: &Trunk, seconds: u64| {
            let now = now + std::time::Duration::from_secs(seconds);
            (0..5).filter(|_| directory.admit_by(now, trunk).is_ok()).count()
        };
        assert_eq!([admitted(&slow, 0), admitted(&other, 0), admitted(&free, 0)], [2, 2, 5]);
        assert_eq!([admitted(&slow, 29), admitted(&slow, 30), admitted(&slow, 120)], [0, 1, 2]);
    }

    #[test]
    fn ops_031_a_draining_node_admits_nothing() {
        let directory = directory(9, 1);
        directory.drain();
        assert_eq!(directory.admit().err(), Some(Failure::Overloaded(Closed::Draining)));
    }
}
