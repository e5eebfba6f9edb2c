//! TLS of our connections: certificates are verified against the system's roots and, per flow or for SIP, a configured authority.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, crypto};

/// Connectors made once at start: no disk is read while calls are up.
#[derive(Clone)]
pub struct TlsConnectors {
    system: TlsConnector,
    by_authority: HashMap<PathBuf, TlsConnector>,
    insecure: TlsConnector,
}

impl TlsConnectors {
    /// Connectors for the system's roots and each additional authority (PEM file).
    ///
    /// # Errors
    /// A file that cannot be read or holds no certificate, by name.
    pub fn new<'a>(authorities: impl Iterator<Item = &'a Path>) -> io::Result<Self> {
        let roots = system_roots();
        let mut by_authority = HashMap::new();
        for path in authorities {
            let mut roots = roots.clone();
            add_authority(&mut roots, path)?;
            by_authority.insert(path.to_owned(), connector(Some(roots)));
        }
        Ok(Self { system: connector(Some(roots)), by_authority, insecure: connector(None) })
    }

    /// The connector for a dial.
    #[must_use]
    pub fn connector(&self, authority: Option<&Path>, insecure: bool) -> &TlsConnector {
        if insecure {
            return &self.insecure;
        }
        authority.and_then(|path| self.by_authority.get(path)).unwrap_or(&self.system)
    }
}

/// The system's authorities.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Adds the authorities of a PEM file.
pub(super) fn add_authority(roots: &mut RootCertStore, path: &Path) -> io::Result<()> {
    let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()));
    let mut added = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        added += 1;
    }
    if added == 0 { Err(wrong("no certificate in the file".into())) } else { Ok(()) }
}

fn connector(roots: Option<RootCertStore>) -> TlsConnector {
    let config = client(roots, None).expect("without a certificate of ours nothing can be wrong with it");
    TlsConnector::from(Arc::new(config))
}

/// What connections of ours are made with: `roots` are the authorities, any certificate will do where `None`; `own` is
/// what we show when we are asked.
pub(super) fn client(roots: Option<RootCertStore>, own: Option<Identity>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("the ring provider supports the default protocol versions");
    let config = match roots {
        Some(roots) => config.with_root_certificates(roots),
        None => config.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
    };
    match own {
        Some((chain, key)) => config.with_client_auth_cert(chain, key),
        None => Ok(config.with_no_client_auth()),
    }
}

/// A certificate, those between it and its authority, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Accepts every certificate: only for hosts that a flow names in `insecure_hosts`, and loudly, and for a test PBX that is told so.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
