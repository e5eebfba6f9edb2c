//! Nonces that say themselves when and for whom they were made, signed, so that any node with the same key can check them;
//! and which of them were used how often, so that no answer is taken twice (SIP-093).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use sha2::digest::Digest as _;

use crate::base::random::Random;

/// How long a nonce may be answered.
pub const LIFETIME: Duration = Duration::from_secs(60);
/// A node whose clock is this much behind still takes the nonces of another.
const CLOCKS_APART: u64 = 5;
/// Nonces in use that are remembered; above, a nonce counts as too old.
const MAX_IN_USE: usize = 16_384;
/// Octets of the signature.
const SIGNATURE: usize = 16;

/// The key that signs nonces.
pub type Key = [u8; 32];

/// The key that a text of any length makes.
#[must_use]
pub fn key_of(text: &str) -> Key {
    Sha256::digest(text.as_bytes()).into()
}

/// What a nonce that came back is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Ours, for this peer, in time.
    Good,
    /// Ours, but too old or made for another address: a new one is due, with `stale=true`.
    Stale,
    /// Nobody made it who has our key.
    Foreign,
}

/// Makes and checks nonces: seconds, salt and signature, all hex.
pub struct Nonces {
    key: Key,
    /// An instant and the wall-clock time then, in seconds since 1970.
    clock: Option<(Instant, u64)>,
    /// The highest count seen with a nonce, and when that is forgotten.
    used: HashMap<String, (u32, Instant)>,
}

impl Nonces {
    /// Nonces signed with `key`.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self { key, clock: None, used: HashMap::new() }
    }

    /// Says what time it is, in seconds since 1970: nodes that share a key need the same time.
    pub fn set_clock(&mut self, now: Instant, unix_seconds: u64) {
        self.clock = Some((now, unix_seconds));
    }

    /// A new nonce for `peer`.
    pub fn mint(&mut self, now: Instant, peer: IpAddr, random: &mut Random) -> String {
        let mut text = format!("{:010x}{}", self.seconds(now), random.hex(8));
        let signature = self.sign(&text, peer);
        let _ = signature.iter().try_for_each(|octet| write!(text, "{octet:02x}"));
        text
    }

    /// Whether `nonce` may be answered by `peer` now.
    pub fn check(&mut self, now: Instant, peer: IpAddr, nonce: &str) -> Verdict {
        let seconds = self.seconds(now);
        let Some((text, given)) = nonce.split_at_checked(26) else { return Verdict::Foreign };
        let Some(made) = text.get(..10).and_then(|text| u64::from_str_radix(text, 16).ok()) else {
            return Verdict::Foreign;
        };
        if self.verify(text, peer, given).is_none() {
            // One that was made for another address is no better than a made-up one, but a roaming peer may ask again.
            return Verdict::Foreign;
        }
        let in_time = made <= seconds + CLOCKS_APART && seconds.saturating_sub(made) <= LIFETIME.as_secs();
        if in_time { Verdict::Good } else { Verdict::Stale }
    }

    /// Notes that `nonce` was answered with count `nc`; `false` where that count, or a higher one, was there before.
    pub fn note(&mut self, now: Instant, nonce: &str, nc: u32) -> bool {
        if let Some((last, _)) = self.used.get_mut(nonce) {
            let higher = nc > *last;
            *last = nc.max(*last);
            return higher;
        }
        if self.used.len() >= MAX_IN_USE {
            self.used.retain(|_, (_, until)| *until > now);
        }
        let room = self.used.len() < MAX_IN_USE;
        if room {
            let until = now + LIFETIME + Duration::from_secs(2 * CLOCKS_APART);
            self.used.insert(nonce.to_owned(), (nc, until));
        }
        room
    }

    fn seconds(&mut self, now: Instant) -> u64 {
        let (then, seconds) = *self.clock.get_or_insert((now, 0));
        seconds + now.saturating_duration_since(then).as_secs()
    }

    fn mac(&self, text: &str, peer: IpAddr) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        mac.update(text.as_bytes());
        mac.update(peer.to_canonical().to_string().as_bytes());
        mac
    }

    fn sign(&self, text: &str, peer: IpAddr) -> [u8; SIGNATURE] {
        let whole = self.mac(text, peer).finalize().into_bytes();
        std::array::from_fn(|at| whole[at])
    }

    /// Compares in constant time.
    fn verify(&self, text: &str, peer: IpAddr, given: &str) -> Option<()> {
        let octet = |at: usize| u8::from_str_radix(given.get(2 * at..2 * at + 2)?, 16).ok();
        let octets: Vec<u8> = (0..SIGNATURE).map(octet).collect::<Option<_>>()?;
        (given.len() == 2 * SIGNATURE).then_some(())?;
        self.mac(text, peer).verify_truncated_left(&octets).ok()
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Nonces({} in use)", self.used.len())
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

    #[test]
    fn sip_093_any_node_with_the_key_checks_a_nonce_and_one_with_another_key_does_not() {
        let (now, mut random) = (Instant::now(), Random::from_number(1));
        let [mut here, mut there, mut elsewhere] = [[1; 32], [1; 32], [2; 32]].map(Nonces::new);
        for node in [&mut here, &mut there, &mut elsewhere] {
            node.set_clock(now, 1_800_000_000);
        }
        let nonce = here.mint(now, PEER, &mut random);
        assert_ne!(nonce, here.mint(now, PEER, &mut random));
        assert_eq!(there.check(now, PEER, &nonce), Verdict::Good);
        assert_eq!(elsewhere.check(now, PEER, &nonce), Verdict::Foreign);
        assert_eq!(there.check(now, "198.51.100.2".parse().expect("ip"), &nonce), Verdict::Foreign);
        for changed in [nonce.replacen('0', "1", 1), nonce[1..].to_owned(), format!("{nonce}0")] {
            assert_eq!(here.check(now, PEER, &changed), Verdict::Foreign, "{changed}");
        }
    }

    #[test]
    fn sip_093_a_nonce_is_stale_after_its_time_and_no_count_is_taken_twice() {
        let (now, mut random, mut nonces) = (Instant::now(), Random::from_number(1), Nonces::new([1; 32]));
        let nonce = nonces.mint(now, PEER, &mut random);
        assert_eq!(nonces.check(now + LIFETIME, PEER, &nonce), Verdict::Good);
        assert_eq!(nonces.check(now + LIFETIME + Duration::from_secs(1), PEER, &nonce), Verdict::Stale);
        let counts: Vec<bool> = [1, 1, 3, 2, 3, 4].into_iter().map(|nc| nonces.note(now, &nonce, nc)).collect();
        assert_eq!(counts, [true, false, true, false, false, true]);
    }

    #[test]
    fn sip_042_nonces_in_use_are_bounded_and_forgotten() {
        let (now, mut nonces) = (Instant::now(), Nonces::new([1; 32]));
        for n in 0..MAX_IN_USE {
            assert!(nonces.note(now, &n.to_string(), 1));
        }
        assert!(!nonces.note(now, "one more", 1));
        assert!(nonces.note(now + 2 * LIFETIME, "one more", 1));
        assert_eq!(nonces.used.len(), 1);
    }

    proptest! {
        #[test]
        fn sip_016_no_text_passes_for_a_nonce(text in "[0-9a-f\u{e9}g]{0,80}") {
            prop_assert_eq!(Nonces::new([1; 32]).check(Instant::now(), PEER, &text), Verdict::Foreign);
        }
    }
}
