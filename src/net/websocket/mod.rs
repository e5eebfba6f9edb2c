//! The bot's WebSocket: dialled with one retry inside one deadline, then read and written until it ends.

mod link;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub use link::{Full, MESSAGES_WAITING, Reader, Writer};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header::AUTHORIZATION};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tracing::{debug, warn};

use crate::call::Dial;
use crate::call::outcome::DialFailure;
use crate::net::frame_boundary::Watched;
use crate::net::tls::TlsConnectors;

/// The largest message a bot may send, bytes.
pub const MAX_MESSAGE: usize = 8 * 1024 * 1024;
/// The pause before the one retry: a bot that restarts is back by then.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// A byte stream to a bot, plain or TLS.
trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// The bytes of a bot.
type BotStream = Watched<Box<dyn Transport>>;

/// Dials a bot: TCP, TLS and the upgrade, twice at most, within `dial.deadline` in total.
///
/// # Errors
/// The last attempt's failure; [`DialFailure::Timeout`] when the deadline passed.
pub async fn dial(dial: &Dial, tls: &TlsConnectors) -> Result<(Writer, Reader), DialFailure> {
    let both = async {
        match attempt(dial, tls).await {
            Ok(socket) => Ok(socket),
            Err(failure) => {
                debug!(url = %dial.url, %failure, "first attempt failed, trying once more");
                tokio::time::sleep(RETRY_AFTER).await;
                attempt(dial, tls).await
            }
        }
    };
    timeout(dial.deadline, both).await.unwrap_or(Err(DialFailure::Timeout(dial.deadline.as_secs())))
}

async fn attempt(dial: &Dial, tls: &TlsConnectors) -> Result<(Writer, Reader), DialFailure> {
    let request = request(dial)?;
    let tcp = connect(dial.url.host(), dial.url.port()).await?;
    let transport: Box<dyn Transport> = if dial.url.is_tls() {
        if dial.insecure {
            warn!(url = %dial.url, "the bot's certificate is NOT verified: its host is in insecure_hosts");
        }
        let name = ServerName::try_from(dial.url.host().to_owned()).map_err(|e| DialFailure::Tls(e.to_string()))?;
        let connector = tls.connector(dial.ca_file.as_deref(), dial.insecure);
        Box::new(connector.connect(name, tcp).await.map_err(|e| DialFailure::Tls(e.to_string()))?)
    } else {
        Box::new(tcp)
    };
    let watched = Watched::new(transport);
    let (socket, _) = client_async_with_config(request, watched, Some(config())).await.map_err(upgrade_failure)?;
    Ok(link::ends(socket, dial.url.is_tls(), Instant::now()))
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_MESSAGE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE))
}

/// GET with the configured path and query as they stand; credentials only in `Authorization`.
fn request(dial: &Dial) -> Result<Request, DialFailure> {
    let scheme = if dial.url.is_tls() { "wss" } else { "ws" };
    let uri = format!("{scheme}://{}{}", dial.url.authority(), dial.url.path_and_query());
    let mut request = uri.into_client_request().map_err(|error| DialFailure::Handshake(error.to_string()))?;
    if let Some(authorization) = dial.url.authorization() {
        let mut value = HeaderValue::from_str(authorization.expose_secret())
            .map_err(|_| DialFailure::Handshake("the URL's credentials cannot stand in a header".into()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, DialFailure> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = match host.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => tokio::net::lookup_host((host, port))
            .await
            .map_err(|error| DialFailure::Dns(format!("{host}: {error}")))?
            .collect(),
    };
    let mut last = DialFailure::Dns(format!("{host}: no address"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => last = DialFailure::Connect(error.to_string()),
        }
    }
    Err(last)
}

fn upgrade_failure(error: Error) -> DialFailure {
    match error {
        Error::Http(response) => DialFailure::Http(response.status().as_u16()),
        Error::Io(error) => DialFailure::Connect(error.to_string()),
        other => DialFailure::Handshake(other.to_string()),
    }
}
