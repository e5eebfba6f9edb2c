//! `Replaces` (RFC 3891): a new call that takes the place of one that is up.

use std::fmt;

use super::message::Headers;
use super::syntax::Params;

/// The call that is to be replaced, as its receiver sees it: `to_tag` is the receiver's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Call-ID.
    pub call_id: String,
    /// The receiver's tag.
    pub to_tag: String,
    /// The other side's tag.
    pub from_tag: String,
    /// Only a call that nobody answered yet may be replaced.
    pub early_only: bool,
}

/// A `Replaces` that cannot be read, or more than one: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent a Replaces that cannot be read, or more than one")]
pub struct BadReplaces;

impl Replaces {
    /// Of a dialog by its Call-ID and tags.
    #[must_use]
    pub fn new(call_id: &str, to_tag: &str, from_tag: &str) -> Self {
        Self {
            call_id: call_id.to_owned(),
            to_tag: to_tag.to_owned(),
            from_tag: from_tag.to_owned(),
            early_only: false,
        }
    }

    /// What an INVITE's headers say.
    ///
    /// # Errors
    /// [`BadReplaces`], where a message says more than one or something else (RFC 3891 section 3).
    pub fn read(headers: &Headers) -> Result<Option<Self>, BadReplaces> {
        match headers.list("Replaces").as_slice() {
            [] if headers.has("Replaces") => Err(BadReplaces),
            [] => Ok(None),
            [value] => Self::parse(value).map(Some).ok_or(BadReplaces),
            [_, _, ..] => Err(BadReplaces),
        }
    }

    fn parse(value: &str) -> Option<Self> {
        let (call_id, params) = value.split_once(';')?;
        let params = Params::parse(params)?;
        let (call_id, tag) = (call_id.trim(), |name| params.value(name).filter(|tag| !tag.is_empty()));
        if call_id.is_empty() || call_id.contains(char::is_whitespace) {
            return None;
        }
        let early_only = params.has("early-only");
        Some(Self { early_only, ..Self::new(call_id, tag("to-tag")?, tag("from-tag")?) })
    }

    /// Whether this is the other side's tag; an RFC 2543 peer without one is written as `0`.
    #[must_use]
    pub fn is_from(&self, remote_tag: &str) -> bool {
        self.from_tag == remote_tag || (remote_tag.is_empty() && self.from_tag == "0")
    }
}

impl fmt::Display for Replaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call_id, to_tag, from_tag, early_only } = self;
        let early_only = if *early_only { ";early-only" } else { "" };
        write!(f, "{call_id};to-tag={to_tag};from-tag={from_tag}{early_only}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Result<Option<Replaces>, BadReplaces> {
        let mut headers = Headers::new();
        lines.iter().for_each(|line| headers.push("replaces", *line));
        Replaces::read(&headers)
    }

    #[test]
    fn sip_105_replaces_is_call_id_and_two_tags_in_any_order() {
        let own = Replaces::new("1@h", "a", "b");
        assert_eq!(read(&["1@h ; From-Tag=b;to-tag=a;x=y"]), Ok(Some(own.clone())));
        assert_eq!(
            read(&["1@h;early-only;to-tag=a;from-tag=b"]),
            Ok(Some(Replaces { early_only: true, ..own.clone() }))
        );
        assert_eq!(read(&[&own.to_string()]), Ok(Some(own)));
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn sip_105_two_of_them_or_half_of_one_is_bad() {
        let good = "1@h;to-tag=a;from-tag=b";
        for bad in [&[good, good][..], &["1@h;to-tag=a;from-tag=b,2@h;to-tag=a;from-tag=b"], &["1@h;to-tag=a"], &[""]] {
            assert_eq!(read(bad), Err(BadReplaces), "{bad:?}");
        }
        assert_eq!(read(&["1@h"]), Err(BadReplaces));
    }

    #[test]
    fn sip_105_a_peer_without_a_tag_is_written_as_0() {
        assert!(Replaces::new("1", "a", "0").is_from("") && Replaces::new("1", "a", "0").is_from("0"));
        assert!(!Replaces::new("1", "a", "b").is_from(""));
    }

    proptest! {
        #[test]
        fn sip_016_no_replaces_panics(value in "\\PC{0,30}") {
            let _ = read(&[&value]);
        }
    }
}
