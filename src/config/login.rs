//! Names and passwords, and where those stand that are not in the file.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::SecretString;

use super::{Config, Place, Problem};

/// A user name and its password (RFC 7616). Neither is logged.
#[derive(Clone)]
pub struct Login {
    /// Who.
    pub username: String,
    /// The password; empty until [`Config::read_secrets`] where it stands elsewhere.
    pub password: SecretString,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

/// How peers without a fixed address say who they are (SIP-093).
#[derive(Debug, Clone)]
pub struct Digest {
    /// What the challenge names.
    pub realm: String,
    /// What nonces are signed with, on every node of a cluster the same; `None` is a random one for each process.
    pub key: Option<SecretString>,
    /// What is offered, the preferred first; at least one.
    pub algorithms: Vec<DigestAlgorithm>,
}

/// A hash function of digest authentication (RFC 8760).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// `SHA-256`
    Sha256,
    /// `SHA-512-256`
    Sha512_256,
    /// `MD5`
    Md5,
}

impl DigestAlgorithm {
    /// All of them, the strongest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha512_256, Self::Md5];

    /// As the wire has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA-256",
            Self::Sha512_256 => "SHA-512-256",
            Self::Md5 => "MD5",
        }
    }
}

/// Where a secret stands that is not in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// `env:NAME`: an environment variable.
    Env(String),
    /// `file:PATH`: a file; the line end at its end does not count.
    File(PathBuf),
}

/// Whose secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretOwner {
    /// The password of the trunk at this position.
    Trunk(usize),
    /// `sip.digest_key`
    DigestKey,
}

/// A secret that is still to be read.
#[derive(Debug, Clone)]
pub struct UnreadSecret {
    pub(super) owner: SecretOwner,
    pub(super) source: SecretSource,
    /// The key that names it, and where that stands.
    pub(super) key: String,
    pub(super) place: Place,
}

impl SecretSource {
    /// Reads `env:NAME` or `file:PATH`; `None` where the text is the secret itself.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let env = text.strip_prefix("env:").map(|name| Self::Env(name.to_owned()));
        env.or_else(|| text.strip_prefix("file:").map(|path| Self::File(path.into())))
    }
}

impl Config {
    /// Reads the secrets that stand in the environment or in files, by `read`, which says what is wrong where it cannot.
    ///
    /// # Errors
    /// Every secret that cannot be read or is empty.
    pub fn read_secrets(
        &mut self,
        read: &dyn Fn(&SecretSource) -> Result<SecretString, String>,
    ) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        for UnreadSecret { owner, source, key, place } in std::mem::take(&mut self.secrets) {
            match read(&source) {
                Ok(secret) => self.fill(owner, secret),
                Err(message) => problems.push(Problem { place, key, message }),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn fill(&mut self, owner: SecretOwner, secret: SecretString) {
        match owner {
            SecretOwner::DigestKey => self.sip.digest.key = Some(secret),
            SecretOwner::Trunk(position) => {
                if let Some(login) = self.trunks.get_mut(position).and_then(|trunk| Arc::make_mut(trunk).auth.as_mut())
                {
                    Arc::make_mut(login).password = secret;
                }
            }
        }
    }
}
