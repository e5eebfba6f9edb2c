//! The words that SDP and media share about SRTP: suites and keys (RFC 3711, RFC 4568 section 6.2).

use std::fmt;

/// Octets of a master key with its salt: 16 and 14.
pub const MASTER_KEY_LEN: usize = 30;

/// A crypto suite. Both encrypt with AES-128 in counter mode; they differ in the tag of an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpSuite {
    /// `AES_CM_128_HMAC_SHA1_80`: 10 octets of tag.
    HmacSha1_80,
    /// `AES_CM_128_HMAC_SHA1_32`: 4 octets of tag; RTCP has 10 all the same.
    HmacSha1_32,
}

impl SrtpSuite {
    /// All suites, in our order of preference (SDP-018).
    pub const ALL: [Self; 2] = [Self::HmacSha1_80, Self::HmacSha1_32];

    /// The name in `a=crypto`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// The suite of that name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name().eq_ignore_ascii_case(name))
    }
}

/// A master key and its salt. Does not print.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; MASTER_KEY_LEN]);

impl MasterKey {
    /// The key of these octets, the salt last.
    #[must_use]
    pub const fn new(octets: [u8; MASTER_KEY_LEN]) -> Self {
        Self(octets)
    }

    /// All octets, the salt last: for the wire.
    #[must_use]
    pub const fn octets(&self) -> &[u8; MASTER_KEY_LEN] {
        &self.0
    }

    /// Key and salt.
    #[must_use]
    pub fn key_and_salt(&self) -> (&[u8], &[u8]) {
        self.0.split_at(16)
    }
}

/// Keys never show in a log (SDP-018).
impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// What both sides encrypt with; each has a key of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The suite, the same both ways.
    pub suite: SrtpSuite,
    /// What we encrypt with.
    pub send: MasterKey,
    /// What the peer encrypts with.
    pub receive: MasterKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sdp_018_a_key_does_not_print() {
        let key = MasterKey::new([0x5A; MASTER_KEY_LEN]);
        let keys = SrtpKeys { suite: SrtpSuite::HmacSha1_80, send: key.clone(), receive: key };
        let text = format!("{keys:?}");
        assert!(!text.contains("5A") && !text.contains("90") && text.contains("MasterKey(..)"), "{text}");
    }

    #[test]
    fn sdp_018_suites_have_their_names_of_the_rfc() {
        for suite in SrtpSuite::ALL {
            assert_eq!(SrtpSuite::of_name(&suite.name().to_lowercase()), Some(suite));
        }
        assert_eq!(SrtpSuite::of_name("F8_128_HMAC_SHA1_80"), None);
    }
}
