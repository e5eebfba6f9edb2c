//! TLS for SIP: our certificate towards peers, whose file may change while we run, and theirs towards us (SIP-114).

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::tls;
use crate::config;

/// Acceptor and connector, and what they were made of.
pub struct SipTls {
    files: Option<config::Tls>,
    made: Mutex<Made>,
}

#[derive(Clone)]
struct Made {
    acceptor: Option<TlsAcceptor>,
    connector: TlsConnector,
    changed: Vec<Option<SystemTime>>,
}

impl SipTls {
    /// Reads certificate, key and authorities.
    ///
    /// # Errors
    /// A file that cannot be read or does not hold what it should, by name.
    pub fn new(files: &config::Tls) -> io::Result<Self> {
        Ok(Self { made: Mutex::new(make(files)?), files: Some(files.clone()) })
    }

    /// For connections of ours alone: peers are verified against the system's authorities and `authority`, or not at all
    /// where `insecure` (a test PBX); `own` are the files of the certificate that we show when asked, and its key.
    ///
    /// # Errors
    /// As [`SipTls::new`].
    pub fn dialling(authority: Option<&Path>, insecure: bool, own: Option<(&Path, &Path)>) -> io::Result<Self> {
        let mut roots = tls::system_roots();
        if let Some(path) = authority {
            tls::add_authority(&mut roots, path)?;
        }
        let identity = own.map(|(certificate, key)| identity(certificate, key)).transpose()?;
        let client = tls::client(Some(roots).filter(|_| !insecure), identity);
        let client = client.map_err(|error| wrong(own.map_or(Path::new(""), |(certificate, _)| certificate), error))?;
        let connector = TlsConnector::from(Arc::new(client));
        Ok(Self { files: None, made: Mutex::new(Made { acceptor: None, connector, changed: Vec::new() }) })
    }

    /// Reads the files again: where one of them has changed, or in any case. Whether they were read. Connections that are
    /// up stay as they are.
    ///
    /// # Errors
    /// As [`SipTls::new`]; what was read before stays in use, and the files are not looked at again until they change.
    pub fn reload(&self, in_any_case: bool) -> io::Result<bool> {
        let Some(files) = &self.files else { return Ok(false) };
        let changed = times(files);
        if !in_any_case && self.lock().changed == changed {
            return Ok(false);
        }
        self.lock().changed = changed;
        let made = make(files)?;
        *self.lock() = made;
        Ok(true)
    }

    /// For connections of peers; none without a certificate of ours.
    #[must_use]
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.lock().acceptor.clone()
    }

    /// For connections to peers.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        self.lock().connector.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn times(files: &config::Tls) -> Vec<Option<SystemTime>> {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    let files = [Some(&files.certificate), Some(&files.key), files.authority.as_ref(), files.client_authority.as_ref()];
    files.into_iter().flatten().map(|path| modified(path)).collect()
}

fn make(files: &config::Tls) -> io::Result<Made> {
    let changed = times(files);
    let provider = Arc::new(crypto::ring::default_provider());
    let (chain, key) = identity(&files.certificate, &files.key)?;
    let of_pair = |error| wrong(&files.certificate, format!("with {}: {error}", files.key.display()));
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the ring provider supports TLS 1.2 and 1.3");
    let server = match &files.client_authority {
        None => server.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            tls::add_authority(&mut roots, path)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.allow_unauthenticated().build().map_err(|error| wrong(path, error))?;
            server.with_client_cert_verifier(verifier)
        }
    };
    let server = server.with_single_cert(chain.clone(), key.clone_key()).map_err(of_pair)?;
    let mut roots = tls::system_roots();
    if let Some(path) = &files.authority {
        tls::add_authority(&mut roots, path)?;
    }
    let client = tls::client(Some(roots), Some((chain, key))).map_err(of_pair)?;
    let (server, client) = (Arc::new(server), Arc::new(client));
    Ok(Made { acceptor: Some(TlsAcceptor::from(server)), connector: TlsConnector::from(client), changed })
}

fn identity(certificate: &Path, key: &Path) -> io::Result<tls::Identity> {
    let chain = certificates(certificate)?;
    Ok((chain, PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error))?))
}

fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(path, error))?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(path, error))?;
    if chain.is_empty() { Err(wrong(path, "no certificate in the file")) } else { Ok(chain) }
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;

    fn written(folder: &Path) -> config::Tls {
        let own = rcgen::generate_simple_self_signed(vec!["sip.example".into()]).expect("a certificate");
        let (certificate, key) = (folder.join("sip.pem"), folder.join("sip.key"));
        std::fs::write(&certificate, own.cert.pem()).expect("a file");
        std::fs::write(&key, own.signing_key.serialize_pem()).expect("a file");
        config::Tls { certificate, key, authority: None, client_authority: None }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("trunkstream-sip-tls-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn sip_114_changed_files_are_read_again_and_bad_ones_leave_what_was() {
        let folder = folder("reload");
        let files = written(&folder);
        let tls = SipTls::new(&files).expect("good files");
        assert!(!tls.reload(false).expect("nothing has changed"));
        let age = |path: &Path, seconds| {
            let file = std::fs::File::options().write(true).open(path).expect("a file");
            file.set_modified(SystemTime::now() + Duration::from_secs(seconds)).expect("a time");
        };
        written(&folder);
        age(&files.certificate, 10);
        assert!(tls.reload(false).expect("good files"));
        assert!(!tls.reload(false).expect("nothing has changed"));
        assert!(tls.reload(true).expect("asked for"));
        std::fs::write(&files.certificate, "no certificate").expect("a file");
        age(&files.certificate, 20);
        let error = tls.reload(false).expect_err("a bad file").to_string();
        assert!(error.contains("sip.pem"), "{error}");
        assert!(!tls.reload(false).expect("told once") && tls.acceptor().is_some());
        std::fs::remove_dir_all(folder).expect("our folder");
    }

    #[test]
    fn a_certificate_with_the_key_of_another_is_refused_by_name() {
        let (one, other) = (folder("one"), folder("other"));
        let files = config::Tls { key: written(&other).key, ..written(&one) };
        let error = SipTls::new(&files).err().expect("they do not belong together").to_string();
        assert!(error.contains("sip.pem") && error.contains("sip.key"), "{error}");
        for folder in [one, other] {
            std::fs::remove_dir_all(folder).expect("our folder");
        }
    }
}
