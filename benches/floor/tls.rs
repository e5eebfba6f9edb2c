//! An authority and a bot's certificate, made for one run.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use trunkstream::lab::bot::BotTls;

use crate::{Failure, process};

/// PEM files: what the bot shows, and the authority the flow names in `ca_file`.
pub struct Certificates {
    pub bot: BotTls,
    pub authority: PathBuf,
}

impl Certificates {
    /// A certificate for 127.0.0.1 from an authority that no system knows.
    pub fn new() -> Result<Self, Failure> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &authority)?;
        let write = |name: &str, text: String| -> Result<PathBuf, Failure> {
            let path = process::scratch(name)?;
            std::fs::write(&path, text)?;
            Ok(path)
        };
        let bot =
            BotTls { certificate: write("bot.pem", certificate.pem())?, key: write("bot.key", key.serialize_pem())? };
        Ok(Self { bot, authority: write("authority.pem", authority.pem())? })
    }
}
