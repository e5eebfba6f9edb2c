//! TLS: a call whose keys nobody reads, client certificates, and a certificate that is replaced while calls are up.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use trunkstream::lab::bot::{Bot as EchoBot, BotMode, BotSettings};

use super::{Authority, call};
use crate::bridge::{Bridge, NUMBER, Setup, free_address};
use crate::within;

struct Tls {
    bridge: Bridge,
    address: SocketAddr,
    authority: Authority,
    _bot: EchoBot,
}

impl Tls {
    async fn start(sip: &str, trunk: &str) -> Self {
        let (bot, authority) =
            (EchoBot::start(BotSettings::new(BotMode::Echo)).await.expect("a port"), Authority::new());
        let ((certificate, key), address) = (authority.sign("127.0.0.1"), free_address());
        let mut setup = Setup::to(&bot.url("/media"));
        setup.listen = vec![format!("tls:{address}")];
        setup.sip = format!("tls_certificate_file = {certificate:?}\ntls_key_file = {key:?}\n{sip}");
        setup.sip = setup.sip.replace("AUTHORITY", &format!("{:?}", authority.file()));
        setup.trunk = trunk.to_owned();
        Self { bridge: Bridge::start(&setup).await, address, authority, _bot: bot }
    }

    async fn call(&self, more: &[&str]) -> (bool, String) {
        let uri = format!("sip:{NUMBER}@{};transport=tls", self.address);
        call(&[&[uri.as_str(), "--duration", "1"], more].concat()).await
    }

    /// The certificate that the bridge shows.
    async fn shown(&self) -> CertificateDer<'static> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority.file()).expect("PEM")).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.address).await.expect("the bridge listens");
        let name = ServerName::from(self.address.ip());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("believed");
        stream.get_ref().1.peer_certificates().expect("a certificate")[0].clone().into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sdp_018_srtp_keys_may_stand_in_sdp_over_tls_and_not_over_udp() {
    let tls = Tls::start("", "allow = [\"127.0.0.1\"]\nsrtp = \"required\"").await;
    let file = tls.authority.file().display().to_string();
    let (well, said) = tls.call(&["--ca", &file, "--srtp"]).await;
    assert!(well && said.contains("answered; we hung up"), "{said}");
    assert!(tls.bridge.record(1).await["answered_after_ms"].is_u64(), "{said}");
    let (well, said) = call(&[&format!("sip:{NUMBER}@{}", tls.bridge.sip), "--duration", "1", "--srtp"]).await;
    assert!(!well && said.contains("488"), "{said}");
    let (well, said) = tls.call(&["--srtp"]).await;
    assert!(!well, "nobody knows its authority: {said}");
    let (well, said) = tls.call(&["--srtp", "--insecure"]).await;
    assert!(well, "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_114_a_trunk_may_ask_for_a_client_certificate() {
    let trunk = "allow = [\"tls:127.0.0.1\"]\nclient_certificate = true";
    let tls = Tls::start("tls_client_ca_file = AUTHORITY", trunk).await;
    let file = tls.authority.file().display().to_string();
    let (well, said) = tls.call(&["--ca", &file]).await;
    assert!(!well && said.contains("403"), "{said}");
    tls.bridge.logged("SIP from a source without a trunk").await;
    let (certificate, key) = tls.authority.sign("pbx.example");
    let [certificate, key] = [certificate, key].map(|file| file.display().to_string());
    let (well, said) = tls.call(&["--ca", &file, "--cert", &certificate, "--key", &key]).await;
    assert!(well && said.contains("answered; we hung up"), "{said}");
    let stranger = Authority::new();
    let (certificate, key) = stranger.sign("pbx.example");
    let [certificate, key] = [certificate, key].map(|file| file.display().to_string());
    let (well, said) = tls.call(&["--ca", &file, "--cert", &certificate, "--key", &key]).await;
    assert!(!well, "another authority's: {said}");
    tls.bridge.logged("a TLS handshake for SIP failed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_114_a_new_certificate_is_shown_after_its_file_changed() {
    let tls = Tls::start("", "allow = [\"127.0.0.1\"]").await;
    let first = tls.shown().await;
    let (certificate, _) = tls.authority.sign("127.0.0.1");
    let file = std::fs::File::options().write(true).open(certificate).expect("it is there");
    file.set_modified(SystemTime::now() + Duration::from_secs(5)).expect("ours");
    tls.bridge.hang_up();
    tls.bridge.logged("the certificates of SIP over TLS were read again").await;
    let second = within(5, "a handshake", tls.shown()).await;
    assert_ne!(first, second);
}
