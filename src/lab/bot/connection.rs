//! One connection: TCP, TLS, the upgrade request; then the session.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::lab::bot::session::Session;
use crate::lab::bot::settings::{BotEvent, BotMode, BotTls};
use crate::lab::bot::{BotError, Shared};

/// How long TLS and the upgrade may take.
const UPGRADE_LIMIT: Duration = Duration::from_secs(10);
/// The largest message that is read.
const LARGEST_MESSAGE: usize = 8 << 20;

/// What a WebSocket runs over: TCP or TLS.
pub(super) trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// A WebSocket over either.
pub(super) type Socket = WebSocketStream<Box<dyn Wire>>;

/// Serves one connection to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    number: u64,
    stream: TcpStream,
    peer: SocketAddr,
    mut stopped: watch::Receiver<bool>,
) {
    shared.tally.open.fetch_add(1, Ordering::Relaxed);
    let _ = stream.set_nodelay(true);
    let upgraded = tokio::select! {
        upgraded = open(&shared, number, stream, peer) => upgraded,
        _ = stopped.changed() => Err("the bot was stopped before the upgrade".into()),
    };
    match upgraded {
        Ok(socket) => Session::new(&shared, number, socket).run(stopped).await,
        Err(why) => shared.print(number, &format!("not opened: {why}")),
    }
    shared.tally.open.fetch_sub(1, Ordering::Relaxed);
}

/// TLS where it is asked for, then the upgrade.
async fn open(shared: &Shared, number: u64, stream: TcpStream, peer: SocketAddr) -> Result<Socket, String> {
    if shared.settings.mode == BotMode::Slow {
        let delay = shared.settings.delay;
        shared.print(number, &format!("{peer} connected, and waits {} ms", delay.as_millis()));
        shared.write_journal(number, "accepted", &[]);
        tokio::time::sleep(delay).await;
    }
    let secured = timeout(UPGRADE_LIMIT, secure(shared, stream)).await;
    let wire = secured.map_err(|_| "TLS took too long".to_owned())??;
    let upgraded = timeout(UPGRADE_LIMIT, upgrade(shared, number, wire, peer)).await;
    upgraded.map_err(|_| "no upgrade request came".to_owned())?
}

async fn secure(shared: &Shared, stream: TcpStream) -> Result<Box<dyn Wire>, String> {
    match &shared.tls {
        Some(acceptor) => {
            let secured = acceptor.accept(stream).await;
            Ok(Box::new(secured.map_err(|error| format!("TLS: {error}"))?))
        }
        None => Ok(Box::new(stream)),
    }
}

/// Reads the upgrade request, notes it, and answers 101 or, in mode refuse, an error.
async fn upgrade(shared: &Shared, number: u64, wire: Box<dyn Wire>, peer: SocketAddr) -> Result<Socket, String> {
    let refusal = (shared.settings.mode == BotMode::Refuse)
        .then(|| StatusCode::from_u16(shared.settings.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE));
    #[allow(clippy::result_large_err)] // tungstenite's own signature
    let answer = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        note(shared, number, request, peer);
        let Some(status) = refusal else { return Ok(response) };
        shared.write_journal(number, "refused", &[("status", status.as_u16().into())]);
        let mut refused = ErrorResponse::new(Some(format!("{status}\n")));
        *refused.status_mut() = status;
        Err(refused)
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .write_buffer_size(0)
        .max_message_size(Some(LARGEST_MESSAGE))
        .max_frame_size(Some(LARGEST_MESSAGE));
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(wire, answer, Some(config)).await;
    accepted.map_err(|error| match refusal {
        Some(status) => format!("refused with {status}"),
        None => error.to_string(),
    })
}

/// Prints, journals and tells what was asked for; of `Authorization` only the scheme.
fn note(shared: &Shared, number: u64, request: &Request, peer: SocketAddr) {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut headers = Map::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let shown = match name.as_str() {
            "authorization" => value.split(' ').next().unwrap_or_default().to_owned(),
            _ => value.into_owned(),
        };
        match headers.get_mut(name.as_str()) {
            Some(Value::String(earlier)) => *earlier = format!("{earlier}, {shown}"),
            _ => drop(headers.insert(name.as_str().to_owned(), shown.into())),
        }
    }
    let authorization = headers.get("authorization").and_then(Value::as_str).unwrap_or("none");
    shared.print(number, &format!("open  GET {path:?} from {peer}, authorization: {authorization:?}"));
    shared.write_journal(number, "open", &[("path", path.into()), ("headers", headers.into())]);
    shared.tell(&BotEvent::Opened { connection: number, path });
}

/// The TLS side of a wss bot.
pub(super) fn acceptor(tls: &BotTls) -> Result<TlsAcceptor, BotError> {
    let bad = |path: &std::path::Path, reason: String| BotError::Tls { path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(&tls.certificate)
        .and_then(Iterator::collect)
        .map_err(|error| bad(&tls.certificate, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| bad(&tls.key, error.to_string()))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| bad(&tls.certificate, error.to_string()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
