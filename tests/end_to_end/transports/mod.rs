//! SIP over TCP and TLS, over IPv6, through NAT, and with another vendor's phone.

mod ipv6;
mod nat;
mod phones;
mod streams;
mod tls;

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::bridge::{directory, trunkstream};

/// An authority of our own, and what it has signed; all PEM, in a directory that goes with it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let authority = Self { issuer, directory: directory() };
        std::fs::write(authority.file(), authority.issuer.pem()).expect("target/tmp can be written");
        authority
    }

    /// The authority's own certificate.
    fn file(&self) -> PathBuf {
        self.directory.join("authority.pem")
    }

    /// A certificate for `name`, and its key.
    fn sign(&self, name: &str) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let (file, key_file) = (self.directory.join("own.pem"), self.directory.join("own.key"));
        std::fs::write(&file, certificate.pem()).expect("target/tmp can be written");
        std::fs::write(&key_file, key.serialize_pem()).expect("target/tmp can be written");
        (file, key_file)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// `trunkstream call` with these arguments: whether it was content, and what it printed.
async fn call(arguments: &[&str]) -> (bool, String) {
    let mut command = trunkstream(&[&["call"], arguments].concat());
    let run = tokio::task::spawn_blocking(move || command.output().expect("the binary starts"));
    let output = crate::within(30, "the call is over", run).await.expect("no panic");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.success(), text)
}

/// Whether a command is there; a test that needs it fails with what to type where it is not.
fn needs(command: &str, package: &str) {
    let there =
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|folder| Path::new(folder).join(command).exists());
    assert!(there, "{command} is missing: sudo apt-get install -y {package}");
}
