//! Digest authentication (RFC 7616, for SIP RFC 8760): challenges, credentials, and the digest between them (SIP-093,
//! SIP-094). Basic is neither asked for nor answered. What has state, nonces, is in [`nonce`].

pub mod nonce;
#[cfg(test)]
mod tests;

use std::fmt;

use md5::Md5;
use secrecy::ExposeSecret;
use sha2::digest::Digest as _;
use sha2::{Sha256, Sha512_256};
use subtle::ConstantTimeEq;

use super::syntax;
use crate::config::{DigestAlgorithm as Hash, Login};

/// What digests are made by: a hash function, and whether its key is made of the nonces too (`-sess`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm {
    hash: Hash,
    session: bool,
}

/// What is meant where nothing is said.
const MD5: Algorithm = Algorithm { hash: Hash::Md5, session: false };

impl From<Hash> for Algorithm {
    fn from(hash: Hash) -> Self {
        Self { hash, session: false }
    }
}

impl Algorithm {
    fn parse(text: &str) -> Option<Self> {
        let session = text.len() > 5 && text.is_char_boundary(text.len() - 5);
        let (base, session) = match text.split_at(if session { text.len() - 5 } else { 0 }) {
            (base, suffix) if suffix.eq_ignore_ascii_case("-sess") => (base, true),
            _ => (text, false),
        };
        let hash = Hash::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(base))?;
        Some(Self { hash, session })
    }

    /// The hash of `parts` joined by colons, in lower-case hex.
    fn hex(self, parts: &[&[u8]]) -> String {
        match self.hash {
            Hash::Sha256 => hex(&Sha256::digest(parts.join(&b':'))),
            Hash::Sha512_256 => hex(&Sha512_256::digest(parts.join(&b':'))),
            Hash::Md5 => hex(&Md5::digest(parts.join(&b':'))),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.hash.name(), if self.session { "-sess" } else { "" })
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::with_capacity(octets.len() * 2), |mut text, octet| {
        use fmt::Write;
        let _ = write!(text, "{octet:02x}"); // writing to a String does not fail
        text
    })
}

/// What is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qop {
    /// Method and URI.
    Auth,
    /// The body too.
    AuthInt,
}

impl Qop {
    const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::AuthInt => "auth-int",
        }
    }
}

/// A `WWW-Authenticate` or `Proxy-Authenticate` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Whose passwords are asked for.
    pub realm: String,
    /// Theirs, for one or several requests.
    pub nonce: String,
    /// To be sent back as it is.
    pub opaque: Option<String>,
    /// How to digest.
    pub algorithm: Algorithm,
    /// `auth` where it is offered, else `auth-int`; `None` is RFC 2069's way.
    pub qop: Option<Qop>,
    /// The credentials were right, but their nonce is too old.
    pub stale: bool,
}

impl Challenge {
    /// Reads a challenge; `None` where it is not Digest, or asks for what we cannot do.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let fields = Fields::parse(value)?;
        let algorithm = fields.get("algorithm").map_or(Some(MD5), Algorithm::parse)?;
        let offered = |name: &str| fields.get("qop").is_some_and(|list| syntax::list(list).any(|qop| qop == name));
        let qop = match fields.get("qop") {
            None => None,
            Some(_) if offered("auth") => Some(Qop::Auth),
            Some(_) if offered("auth-int") => Some(Qop::AuthInt),
            Some(_) => return None,
        };
        Some(Self {
            realm: fields.get("realm")?.to_owned(),
            nonce: fields.get("nonce")?.to_owned(),
            opaque: fields.get("opaque").map(str::to_owned),
            algorithm,
            qop,
            stale: fields.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        })
    }

    /// The credentials that answer it for request `asked`; `cnonce` is ours, and its nonce is used for the first time.
    #[must_use]
    pub fn answer(&self, login: &Login, asked: &Asked, cnonce: &str) -> Credentials {
        let mut credentials = Credentials {
            username: login.username.clone(),
            realm: self.realm.clone(),
            nonce: self.nonce.clone(),
            uri: asked.uri.to_owned(),
            response: String::new(),
            algorithm: self.algorithm,
            opaque: self.opaque.clone(),
            protection: self.qop.map(|qop| Protection { qop, cnonce: cnonce.to_owned(), nc: 1 }),
            cnonce: (self.algorithm.session && self.qop.is_none()).then(|| cnonce.to_owned()),
        };
        credentials.response = credentials.digest(login, asked);
        credentials
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest realm={}, nonce={}", quoted(&self.realm), quoted(&self.nonce))?;
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quoted(opaque))?;
        }
        if self.stale {
            f.write_str(", stale=true")?;
        }
        write!(f, ", algorithm={}", self.algorithm)?;
        self.qop.map_or(Ok(()), |qop| write!(f, ", qop=\"{}\"", qop.name()))
    }
}

/// The request that credentials are for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its Request-URI, or what its sender took for it.
    pub uri: &'a str,
    /// Its body, for `auth-int`.
    pub body: &'a [u8],
}

/// `qop` and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// What is protected.
    pub qop: Qop,
    /// The client's nonce.
    pub cnonce: String,
    /// How often the nonce was used, this time included.
    pub nc: u32,
}

/// An `Authorization` or `Proxy-Authorization` value.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Who asks.
    pub username: String,
    /// In which realm.
    pub realm: String,
    /// The challenge's nonce.
    pub nonce: String,
    /// What its sender took for the Request-URI.
    pub uri: String,
    response: String,
    algorithm: Algorithm,
    opaque: Option<String>,
    /// None in RFC 2069's way.
    pub protection: Option<Protection>,
    /// The client's nonce where there is no `qop` to bring it.
    cnonce: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials(realm {:?}, {})", self.realm, self.algorithm)
    }
}

impl Credentials {
    /// Reads credentials; `None` where they are not Digest, or something is missing or unknown.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let fields = Fields::parse(value)?;
        let text = |name: &str| fields.get(name).map(str::to_owned);
        let protection = match fields.get("qop") {
            None => None,
            Some(qop) => Some(Protection {
                qop: [Qop::Auth, Qop::AuthInt].into_iter().find(|known| known.name().eq_ignore_ascii_case(qop))?,
                cnonce: text("cnonce")?,
                nc: fields.get("nc").filter(|nc| nc.len() == 8).and_then(|nc| u32::from_str_radix(nc, 16).ok())?,
            }),
        };
        Some(Self {
            username: text("username")?,
            realm: text("realm")?,
            nonce: text("nonce")?,
            uri: text("uri")?,
            response: text("response")?,
            algorithm: fields.get("algorithm").map_or(Some(MD5), Algorithm::parse)?,
            opaque: text("opaque"),
            cnonce: text("cnonce").filter(|_| protection.is_none()),
            protection,
        })
    }

    /// Whether they were made with this login for this method and body. Takes the same time for every answer.
    #[must_use]
    pub fn are_of(&self, login: &Login, method: &str, body: &[u8]) -> bool {
        let asked = Asked { method, uri: &self.uri, body };
        let expected = self.digest(login, &asked);
        let given = self.response.to_ascii_lowercase();
        let same_name = self.username.as_bytes().ct_eq(login.username.as_bytes());
        bool::from(expected.as_bytes().ct_eq(given.as_bytes()) & same_name)
    }

    /// RFC 7616 section 3.4.1.
    fn digest(&self, login: &Login, asked: &Asked) -> String {
        let hex = |parts: &[&[u8]]| self.algorithm.hex(parts);
        let (nonce, cnonce) = (self.nonce.as_bytes(), self.cnonce().as_bytes());
        let secret = login.password.expose_secret().as_bytes();
        let mut key = hex(&[login.username.as_bytes(), self.realm.as_bytes(), secret]);
        if self.algorithm.session {
            key = hex(&[key.as_bytes(), nonce, cnonce]);
        }
        let (method, uri) = (asked.method.as_bytes(), asked.uri.as_bytes());
        let what = match self.protection.as_ref().map(|protection| protection.qop) {
            Some(Qop::AuthInt) => hex(&[method, uri, hex(&[asked.body]).as_bytes()]),
            Some(Qop::Auth) | None => hex(&[method, uri]),
        };
        match &self.protection {
            None => hex(&[key.as_bytes(), nonce, what.as_bytes()]),
            Some(Protection { qop, nc, .. }) => {
                let nc = format!("{nc:08x}");
                hex(&[key.as_bytes(), nonce, nc.as_bytes(), cnonce, qop.name().as_bytes(), what.as_bytes()])
            }
        }
    }

    fn cnonce(&self) -> &str {
        let alone = || self.cnonce.as_deref().unwrap_or_default();
        self.protection.as_ref().map_or_else(alone, |protection| &protection.cnonce)
    }
}

impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (username, realm, nonce) = (quoted(&self.username), quoted(&self.realm), quoted(&self.nonce));
        write!(f, "Digest username={username}, realm={realm}, nonce={nonce}, uri={}", quoted(&self.uri))?;
        write!(f, ", response=\"{}\", algorithm={}", self.response, self.algorithm)?;
        if !self.cnonce().is_empty() {
            write!(f, ", cnonce={}", quoted(self.cnonce()))?;
        }
        if let Some(opaque) = &self.opaque {
            write!(f, ", opaque={}", quoted(opaque))?;
        }
        match &self.protection {
            Some(protection) => write!(f, ", qop={}, nc={:08x}", protection.qop.name(), protection.nc),
            None => Ok(()),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `name=value` pairs behind the word `Digest`; names compare without case, values are unquoted.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn parse(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once([' ', '\t'])?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let pair = |item: &str| {
            let (name, value) = item.split_once('=')?;
            let value = value.trim();
            let value = match syntax::quoted(value) {
                Some((content, rest)) => rest.trim().is_empty().then_some(content)?,
                None if value.contains('"') => return None,
                None => value.to_owned(),
            };
            Some((name.trim().to_owned(), value))
        };
        syntax::list(rest).map(pair).collect::<Option<_>>().map(Self)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}
