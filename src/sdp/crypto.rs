//! Keys of SRTP in SDP: `a=crypto` (RFC 4568, SDP-015, SDP-018).

use std::net::SocketAddr;

use crate::base::random::Random;
use crate::base::srtp::{MASTER_KEY_LEN, MasterKey, SrtpKeys, SrtpSuite};
use crate::config::SrtpPolicy;

use super::refusal::Refusal;
use super::session::MediaLine;

/// One `a=crypto` line that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crypto {
    /// Its number, 1 to 9 digits; the answer repeats it.
    pub tag: u32,
    /// The suite.
    pub suite: SrtpSuite,
    /// The key of whoever wrote the line.
    pub key: MasterKey,
}

/// What is wrong with the `a=crypto` lines of a description. Keys are no part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoFault {
    /// There is none.
    #[error("there is no a=crypto line")]
    Missing,
    /// It is not written as RFC 4568 section 9.1 has it.
    #[error("the a=crypto line cannot be read")]
    Syntax,
    /// Neither AES_CM_128_HMAC_SHA1_80 nor _32.
    #[error("the suite is neither AES_CM_128_HMAC_SHA1_80 nor AES_CM_128_HMAC_SHA1_32")]
    Suite,
    /// Not one key of 30 octets in base64.
    #[error("the key is not 30 octets in base64")]
    Key,
    /// Several keys, or one with a master key identifier.
    #[error("master key identifiers are not supported")]
    KeyIdentifier,
    /// `UNENCRYPTED_SRTP` and its like, or one that is not known and must be (RFC 4568 section 6.3).
    #[error("a session parameter asks for less protection, or for something unknown")]
    Parameter,
    /// An answer that repeats none of the lines offered.
    #[error("the answer takes none of the keys that were offered")]
    NotOffered,
}

impl Crypto {
    /// Reads the value of `a=crypto`: `TAG SUITE inline:KEY[|LIFETIME][|MKI:LENGTH] [PARAMETER …]`.
    pub(super) fn parse(value: &str) -> Result<Self, CryptoFault> {
        let mut fields = value.split_ascii_whitespace();
        let mut next = || fields.next().ok_or(CryptoFault::Syntax);
        let (tag, suite, key) = (next()?, next()?, next()?);
        let digits = (1..=9).contains(&tag.len()) && tag.bytes().all(|octet| octet.is_ascii_digit());
        let tag = tag.parse().ok().filter(|_| digits).ok_or(CryptoFault::Syntax)?;
        let suite = SrtpSuite::of_name(suite).ok_or(CryptoFault::Suite)?;
        let key = inline_key(key)?;
        if fields.all(is_harmless) { Ok(Self { tag, suite, key }) } else { Err(CryptoFault::Parameter) }
    }

    /// The value of `a=crypto`.
    pub(super) fn value(&self) -> String {
        let key = base64_simd::STANDARD.encode_to_string(self.key.octets());
        format!("{} {} inline:{key}", self.tag, self.suite.name())
    }
}

/// Reads `inline:KEY|2^20|1:4`. The lifetime is passed over: no call sends 2^31 packets.
fn inline_key(text: &str) -> Result<MasterKey, CryptoFault> {
    let method = text.get(..7).filter(|method| method.eq_ignore_ascii_case("inline:"));
    let text = &text[method.ok_or(CryptoFault::Syntax)?.len()..];
    let mut parts = text.split('|');
    let key = parts.next().unwrap_or_default();
    if text.contains(';') || parts.any(|part| part.contains(':')) {
        return Err(CryptoFault::KeyIdentifier);
    }
    let octets = base64_simd::STANDARD.decode_to_vec(key.as_bytes()).map_err(|_| CryptoFault::Key)?;
    let octets: [u8; MASTER_KEY_LEN] = octets.try_into().map_err(|_| CryptoFault::Key)?;
    Ok(MasterKey::new(octets))
}

/// Whether a session parameter changes nothing for us: a hint for the replay window, a key derivation rate of none, and
/// what its writer marked as optional (RFC 4568 sections 6.3.6, 6.3.1, 6.3.7).
fn is_harmless(parameter: &str) -> bool {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    match name.to_ascii_uppercase().as_str() {
        "WSH" => true,
        "KDR" => value == "0",
        name => name.starts_with('-'),
    }
}

/// Our side of it, for the dialog's life.
#[derive(Debug, Default)]
pub(super) struct Sdes {
    policy: SrtpPolicy,
    /// Keys may stand in our descriptions: the signalling is encrypted, or the trunk does not mind.
    keys_allowed: bool,
    random: Option<Random>,
    own: Option<OwnKey>,
    /// The lines of our last offer.
    offered: Vec<Crypto>,
}

/// The key that we answered with, and what it was for.
#[derive(Debug, PartialEq, Eq)]
struct OwnKey {
    peer: Crypto,
    remote: SocketAddr,
    key: MasterKey,
}

impl Sdes {
    pub(super) fn new(policy: SrtpPolicy, keys_allowed: bool, random: Random) -> Self {
        Self { policy, keys_allowed, random: Some(random), own: None, offered: Vec::new() }
    }

    /// What an offer's audio line means for SRTP: `None` is plain RTP (SDP-015).
    pub(super) fn judge_offer(&self, line: MediaLine<'_>) -> Result<Option<Crypto>, Refusal> {
        let secure = is_secure(line)?;
        match (secure, self.policy) {
            (false, SrtpPolicy::Off | SrtpPolicy::Optional) => return Ok(None),
            (false, SrtpPolicy::Required) if line.attribute("crypto").is_none() => return Err(Refusal::SrtpRequired),
            (true, SrtpPolicy::Off) => return Err(Refusal::SrtpOff(line.profile().to_owned())),
            (false, SrtpPolicy::Required) | (true, SrtpPolicy::Optional | SrtpPolicy::Required) => {}
        }
        if !self.keys_allowed {
            return Err(Refusal::KeysInClear);
        }
        Ok(Some(choose(line)?))
    }

    /// What an answer's audio line means for SRTP: both keys, or plain RTP.
    pub(super) fn judge_answer(&self, line: MediaLine<'_>) -> Result<Option<SrtpKeys>, Refusal> {
        if !is_secure(line)? && line.attribute("crypto").is_none() {
            return if self.offered.is_empty() { Ok(None) } else { Err(Refusal::SrtpRequired) };
        }
        let taken = choose(line)?;
        let same = |ours: &&Crypto| (ours.tag, ours.suite) == (taken.tag, taken.suite);
        let ours = self.offered.iter().find(same).ok_or(CryptoFault::NotOffered)?;
        Ok(Some(SrtpKeys { suite: ours.suite, send: ours.key.clone(), receive: taken.key }))
    }

    /// Our line in the answer to `peer`, whose media goes to `remote`; none for plain RTP. Our key stays as long as neither changes: who
    /// listens elsewhere, or with another key, cannot know how many packets were encrypted before (RFC 4568, 7.1.4).
    pub(super) fn answer(&mut self, peer: Option<Crypto>, remote: SocketAddr) -> Option<(Crypto, SrtpKeys)> {
        let before = self.own.take();
        let peer = peer?;
        let known = before.filter(|own| own.peer == peer && own.remote == remote).map(|own| own.key);
        let key = known.unwrap_or_else(|| self.new_key());
        self.own = Some(OwnKey { peer: peer.clone(), remote, key: key.clone() });
        let keys = SrtpKeys { suite: peer.suite, send: key.clone(), receive: peer.key };
        Some((Crypto { tag: peer.tag, suite: peer.suite, key }, keys))
    }

    /// Whether we may offer what the policy asks for.
    pub(super) fn check_offer(&self) -> Result<(), Refusal> {
        let impossible = self.policy == SrtpPolicy::Required && !self.keys_allowed;
        if impossible { Err(Refusal::KeysInClear) } else { Ok(()) }
    }

    /// The transport of a first offer of ours.
    pub(super) fn profile(&self) -> &'static str {
        if self.policy == SrtpPolicy::Required { "RTP/SAVP" } else { "RTP/AVP" }
    }

    /// The lines of an offer over `profile`, each with a key that was never used: whoever answers may be somebody new.
    pub(super) fn offer(&mut self, profile: &str) -> Vec<Crypto> {
        let wanted = self.policy == SrtpPolicy::Required || (profile.contains("SAVP") && self.keys_allowed);
        let suites = SrtpSuite::ALL.into_iter().zip(1..).filter(|_| wanted);
        self.offered = suites.map(|(suite, tag)| Crypto { tag, suite, key: self.new_key() }).collect();
        self.own = None;
        self.offered.clone()
    }

    fn new_key(&mut self) -> MasterKey {
        let random = self.random.as_mut().expect("a policy other than off comes with randomness");
        let mut octets = [0; MASTER_KEY_LEN];
        random.fill(&mut octets);
        MasterKey::new(octets)
    }
}

/// Whether the line's transport is SRTP's; others than RTP's are refused (SDP-015).
fn is_secure(line: MediaLine<'_>) -> Result<bool, Refusal> {
    let is = |profiles: [&str; 2]| profiles.iter().any(|profile| line.profile().eq_ignore_ascii_case(profile));
    if is(["RTP/AVP", "RTP/AVPF"]) {
        Ok(false)
    } else if is(["RTP/SAVP", "RTP/SAVPF"]) {
        Ok(true)
    } else {
        Err(Refusal::Profile(line.profile().to_owned()))
    }
}

/// The line to use: of our first suite if there is one, else the first that can be used. Otherwise what is wrong with
/// the first.
fn choose(line: MediaLine<'_>) -> Result<Crypto, CryptoFault> {
    let mut fault = None;
    let mut usable: Vec<Crypto> = Vec::new();
    for value in line.attributes("crypto") {
        match Crypto::parse(value) {
            Ok(crypto) => usable.push(crypto),
            Err(wrong) => fault = fault.or(Some(wrong)),
        }
    }
    let best = SrtpSuite::ALL.iter().find_map(|suite| usable.iter().find(|crypto| crypto.suite == *suite));
    best.cloned().ok_or(fault.unwrap_or(CryptoFault::Missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

    #[test]
    fn rfc_4568_9_1_a_line_is_read_and_written() {
        let text = format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}");
        let crypto = Crypto::parse(&text).expect("a usable line");
        assert_eq!((crypto.tag, crypto.suite), (1, SrtpSuite::HmacSha1_80));
        assert_eq!(crypto.value(), text);
        assert!(!format!("{crypto:?}").contains("WVNf"));
        for more in ["|2^20", "|2^31 WSH=64", "|1048576 -FEC_ORDER=FEC_SRTP KDR=0"] {
            assert_eq!(Crypto::parse(&format!("{text}{more}")), Ok(crypto.clone()), "{more}");
        }
    }

    #[test]
    fn sdp_018_what_weakens_the_protection_or_cannot_be_done_is_refused() {
        let line = |rest: &str| Crypto::parse(&format!("1 AES_CM_128_HMAC_SHA1_32 inline:{rest}"));
        for parameter in
            ["UNENCRYPTED_SRTP", "UNENCRYPTED_SRTCP", "unauthenticated_srtp", "KDR=1", "FEC_ORDER=SRTP_FEC", "NEW=1"]
        {
            assert_eq!(line(&format!("{KEY} {parameter}")), Err(CryptoFault::Parameter), "{parameter}");
        }
        assert_eq!(line(&format!("{KEY}|2^20|1:4")), Err(CryptoFault::KeyIdentifier));
        assert_eq!(line(&format!("{KEY}|1:4")), Err(CryptoFault::KeyIdentifier));
        assert_eq!(line(&format!("{KEY}|2^20|1:4;inline:{KEY}|2^20|2:4")), Err(CryptoFault::KeyIdentifier));
        for key in ["", "AAAA", &KEY[..39], "!!!!", &format!("{KEY}AAAA")] {
            assert_eq!(line(key), Err(CryptoFault::Key), "{key}");
        }
    }

    #[test]
    fn rfc_4568_9_1_what_is_no_line_is_refused() {
        for text in [
            String::new(),
            "1".into(),
            "1 AES_CM_128_HMAC_SHA1_80".into(),
            format!("x AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("+1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1234567890 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 outline:{KEY}"),
            "1 AES_CM_128_HMAC_SHA1_80 inlineé:".into(),
        ] {
            assert_eq!(Crypto::parse(&text), Err(CryptoFault::Syntax), "{text}");
        }
        let other = format!("1 AEAD_AES_256_GCM inline:{KEY}");
        assert_eq!(Crypto::parse(&other), Err(CryptoFault::Suite));
    }
}
