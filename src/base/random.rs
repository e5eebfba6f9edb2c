//! Randomness that comes in as an argument: one seeded generator per owner.

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, RngExt, SeedableRng, TryRng};

/// A cryptographically strong generator, seeded from outside so that a story in virtual time repeats exactly.
///
/// Its 320 bytes lie apart: whoever owns it is used far more often than it.
pub struct Random(Box<StdRng>);

impl Random {
    /// A generator whose whole output follows from `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Box::new(StdRng::from_seed(seed)))
    }

    /// A generator seeded by the operating system; for the modules that may touch it.
    ///
    /// # Errors
    /// The system has no randomness to give.
    pub fn from_system() -> std::io::Result<Self> {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed).map_err(std::io::Error::other)?;
        Ok(Self::from_seed(seed))
    }

    /// A generator for tests and simulations: repeatable from one number.
    #[must_use]
    pub fn from_number(seed: u64) -> Self {
        Self(Box::new(StdRng::seed_from_u64(seed)))
    }

    /// An independent generator, for handing to an owner on another thread.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        let mut seed = [0; 32];
        self.fill(&mut seed);
        Self::from_seed(seed)
    }

    /// Fills `bytes` with random octets.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A random 16-bit number.
    pub fn u16(&mut self) -> u16 {
        self.0.random()
    }

    /// A random 32-bit number.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A random 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number in `0..bound`; `bound` is at least 1.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0.random_range(0..bound.max(1))
    }

    /// `octets` random octets as lower-case hex.
    pub fn hex(&mut self, octets: usize) -> String {
        (0..octets).fold(String::with_capacity(octets * 2), |mut text, _| {
            use std::fmt::Write;
            let octet: u8 = self.0.random();
            let _ = write!(text, "{octet:02x}");
            text
        })
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Random::from_number(7), Random::from_number(7));
        assert_eq!(a.hex(16), b.hex(16));
        assert_eq!(a.fork().u64(), b.fork().u64());
        assert_ne!(a.u64(), a.u64());
    }

    #[test]
    fn hex_has_two_digits_an_octet() {
        assert_eq!(Random::from_number(1).hex(16).len(), 32);
    }
}
