//! wss: whose certificate is believed, and how loudly it is not looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::server::TlsStream;

use super::verdict;
use crate::bot::{Bot, Port, Upgrade};
use crate::bridge::{Bridge, NUMBER, Setup, directory};
use crate::phone::Phone;

/// A bot behind TLS: its certificate is for `localhost`, from an authority that no system knows.
struct SecurePort {
    port: Port,
    acceptor: TlsAcceptor,
    directory: PathBuf,
    authority: PathBuf,
}

impl SecurePort {
    async fn open() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("key and certificate fit");
        let directory = directory();
        let file = directory.join("authority.pem");
        std::fs::write(&file, authority.pem()).expect("target/tmp can be written");
        Self { port: Port::open().await, acceptor: TlsAcceptor::from(Arc::new(config)), directory, authority: file }
    }

    fn url(&self, host: &str) -> String {
        format!("wss://{host}:{}/media", self.port.address.port())
    }

    async fn bot(&self) -> Bot<TlsStream<TcpStream>> {
        let stream = self.acceptor.accept(self.port.connection().await).await.expect("the certificate is believed");
        Upgrade::read(stream).await.accept().await
    }

    /// Shows the certificate to one who will not believe it.
    async fn disbelieved(&self) {
        assert!(self.acceptor.accept(self.port.connection().await).await.is_err(), "it should not be believed");
    }
}

impl Drop for SecurePort {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn ca_file(authority: &Path) -> String {
    format!("ca_file = {authority:?}")
}

/// A certificate that must not be believed: the PBX gets 502 after two attempts.
async fn refused(port: &SecurePort, setup: &Setup) {
    let bridge = Bridge::start(setup).await;
    let mut phone = Phone::new(bridge.sip).await;
    let (answer, ()) = tokio::join!(phone.call(NUMBER), async {
        port.disbelieved().await;
        port.disbelieved().await;
    });
    assert_eq!(answer.verdict(), (502, "Q.850;cause=38"));
    assert!(port.port.is_quiet().await, "there is exactly one retry");
    let stream = bridge.stream().await;
    let (status, by, error) = verdict(&stream);
    assert_eq!((status, by), ("failed", "NA"));
    assert!(error.contains("3009 failed to establish ws conn TLS"), "{error}");
}

/// A certificate that is good enough: the call is up and heard over TLS.
async fn accepted(port: &SecurePort, setup: &Setup) -> Bridge {
    let bridge = Bridge::start(setup).await;
    let mut phone = Phone::new(bridge.sip).await;
    let (answer, mut bot) = tokio::join!(phone.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200);
    bot.event("media").await;
    assert_eq!(phone.request("BYE").await.code(), 200);
    assert_eq!(bot.event("stop").await["stop"]["reason"], "callended");
    assert_eq!(bot.closed().await, Some(1000));
    bridge
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let port = SecurePort::open().await;
    refused(&port, &Setup::to(&port.url("localhost"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_for_another_name_is_refused_although_its_authority_is_known() {
    let port = SecurePort::open().await;
    refused(&port, &Setup::to(&port.url("127.0.0.1")).with(&ca_file(&port.authority))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_of_the_flows_own_authority_is_accepted() {
    let port = SecurePort::open().await;
    let bridge = accepted(&port, &Setup::to(&port.url("localhost")).with(&ca_file(&port.authority))).await;
    assert!(!bridge.log().join("\n").contains("NOT verified"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insecure_host_is_accepted_with_any_certificate_and_said_so_aloud() {
    let port = SecurePort::open().await;
    let bridge = accepted(&port, &Setup::to(&port.url("localhost")).with(r#"insecure_hosts = ["localhost"]"#)).await;
    let warning = bridge.logged("NOT verified").await;
    assert!(warning.contains("WARN"), "{warning}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_insecure_host_is_only_the_one_that_is_named() {
    let port = SecurePort::open().await;
    refused(&port, &Setup::to(&port.url("localhost")).with(r#"insecure_hosts = ["127.0.0.1", "host"]"#)).await;
}
