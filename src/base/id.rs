//! Identifiers: 32 lower-case hex digits where we mint them, checked text where others do.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::random::Random;

macro_rules! minted {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Mints a new one: 16 random octets as 32 lower-case hex digits.
            pub fn mint(random: &mut Random) -> Self {
                Self(random.hex(16).into())
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

minted!(
    /// One call, for its whole life: `start.call_sid`, the log span, the call record.
    CallSid
);
minted!(
    /// One WebSocket stream of a call: `stream_sid`.
    StreamSid
);
minted!(
    /// One SIP dialog of a call.
    LegSid
);

/// An account: `X-Exotel-AccountSid`, 1 to 64 of `[A-Za-z0-9_.-]`, case-sensitive (HDR-001).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccountSid(Arc<str>);

impl AccountSid {
    /// Reads an account sid; `None` where it is empty, too long or has a character outside the set.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        ((1..=64).contains(&text.len()) && text.chars().all(allowed)).then(|| Self(text.into()))
    }

    /// The sid as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AccountSid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| "an account sid is 1 to 64 of A-Z a-z 0-9 _ . -".to_owned())
    }
}

impl From<AccountSid> for String {
    fn from(sid: AccountSid) -> Self {
        sid.0.as_ref().to_owned()
    }
}

impl fmt::Display for AccountSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AccountSid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_sid_is_32_lower_case_hex_digits() {
        let sid = CallSid::mint(&mut Random::from_number(3));
        assert_eq!(sid.as_str().len(), 32);
        assert!(sid.as_str().chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')));
    }

    #[test]
    fn hdr_001_an_account_sid_is_trimmed_and_checked() {
        assert_eq!(AccountSid::parse(" acc1 ").map(|sid| sid.to_string()), Some("acc1".into()));
        for bad in ["", "a b", "a\u{e9}", "a/b", &"x".repeat(65)] {
            assert!(AccountSid::parse(bad).is_none(), "{bad:?}");
        }
    }
}
