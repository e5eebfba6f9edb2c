//! The bot's WebSocket: dialled with one retry inside one deadline, then read and written at once until it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, timeout};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header::AUTHORIZATION};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tracing::{debug, warn};

use crate::call::outcome::DialFailure;
use crate::call::{Dial, StreamInput};
use crate::net::frame_boundary::Watched;
use crate::net::tls::TlsConnectors;
use crate::stream::SocketEnd;

/// The largest message a bot may send, bytes.
pub const MAX_MESSAGE: usize = 8 * 1024 * 1024;
/// Own pings; two without an answer are the end.
const PING_EVERY: Duration = Duration::from_secs(20);
/// The pause before the one retry: a bot that restarts is back by then.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// After this much of a bot that sends faster than we read, everybody else on the thread has a turn. Bytes.
const READ_TURN: usize = 32 * 1024;
/// How long the bot may take to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// How often a write that does not get on looks whether anybody still wants it to.
const STUCK_LOOK: Duration = Duration::from_secs(1);

/// A byte stream to a bot, plain or TLS.
trait Transport: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Transport for T {}

/// A bot's WebSocket after the upgrade.
pub struct BotSocket {
    socket: WebSocketStream<Watched<Box<dyn Transport>>>,
    at_boundary: Arc<AtomicBool>,
}

/// What the call sends.
#[derive(Debug)]
pub enum Outgoing {
    /// A text frame.
    Text(String),
    /// A close frame; nothing follows.
    Close(u16),
}

/// Dials a bot: TCP, TLS and the upgrade, twice at most, within `dial.deadline` in total.
///
/// # Errors
/// The last attempt's failure; [`DialFailure::Timeout`] when the deadline passed.
pub async fn dial(dial: &Dial, tls: &TlsConnectors) -> Result<BotSocket, DialFailure> {
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

async fn attempt(dial: &Dial, tls: &TlsConnectors) -> Result<BotSocket, DialFailure> {
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
    let (watched, at_boundary) = Watched::new(transport);
    let (socket, _) = client_async_with_config(request, watched, Some(config())).await.map_err(upgrade_failure)?;
    Ok(BotSocket { socket, at_boundary })
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

/// Reads and writes until the socket is gone; `on_input` gets every message and, last, [`StreamInput::Closed`].
/// Reading never waits for writing: a bot that sends while it does not read still gets its `clear` through.
pub async fn run(bot: BotSocket, outgoing: mpsc::Receiver<Outgoing>, mut on_input: impl FnMut(StreamInput<'_>)) {
    let BotSocket { socket, at_boundary } = bot;
    let (mut sink, mut stream) = socket.split();
    let unanswered = AtomicU8::new(0);
    let read = async {
        let mut taken = 0;
        loop {
            if taken >= READ_TURN {
                taken = 0;
                tokio::task::yield_now().await;
            }
            let message = stream.next().await;
            taken += message.as_ref().and_then(|message| message.as_ref().ok()).map_or(0, Message::len);
            match message {
                Some(Ok(Message::Text(text))) => on_input(StreamInput::Text(&text)),
                Some(Ok(Message::Binary(bytes))) => on_input(StreamInput::Binary(&bytes)),
                Some(Ok(Message::Pong(_))) => unanswered.store(0, Ordering::Relaxed),
                Some(Ok(Message::Close(frame))) => return closed(frame),
                Some(Ok(Message::Ping(_) | Message::Frame(_))) => {}
                Some(Err(error)) => return lost(&error, &at_boundary, &unanswered),
                None => return ended(&at_boundary, &unanswered),
            }
        }
    };
    let write = write(&mut sink, outgoing, &unanswered);
    let (end, reading_ended) = {
        tokio::pin!(read, write);
        tokio::select! {
            end = &mut read => (end, true),
            outcome = &mut write => match outcome {
                WriteEnd::PingsMissed => (SocketEnd::PingsMissed, false),
                // What the bot sent is read to the end before there is a verdict.
                WriteEnd::Failed => (read.await, true),
                WriteEnd::Closed => (timeout(CLOSE_WAIT, read).await.unwrap_or(SocketEnd::Eof), true),
                WriteEnd::Abandoned => return,
            },
        }
    };
    on_input(StreamInput::Closed(end.clone()));
    if end == SocketEnd::Oversize {
        let frame = CloseFrame { code: CloseCode::Size, reason: "message over 8 MiB".into() };
        let _ = timeout(CLOSE_WAIT, sink.send(Message::Close(Some(frame)))).await;
    } else if reading_ended {
        let _ = timeout(CLOSE_WAIT, sink.close()).await;
    }
}

enum WriteEnd {
    /// Our close frame is out.
    Closed,
    /// The socket takes nothing more.
    Failed,
    /// Two pings were not answered.
    PingsMissed,
    /// The bot does not read, and the call has no more to do with it.
    Abandoned,
}

async fn write(
    sink: &mut (impl SinkExt<Message, Error = Error> + Unpin),
    mut outgoing: mpsc::Receiver<Outgoing>,
    unanswered: &AtomicU8,
) -> WriteEnd {
    let mut pings = interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = outgoing.recv() => match message {
                Some(Outgoing::Text(text)) => Message::Text(text.into()),
                Some(Outgoing::Close(code)) => {
                    let frame = CloseFrame { code: code.into(), reason: "".into() };
                    let _ = timeout(CLOSE_WAIT, sink.send(Message::Close(Some(frame)))).await;
                    return WriteEnd::Closed;
                }
                None => return WriteEnd::Closed,
            },
            _ = pings.tick() => {
                if unanswered.fetch_add(1, Ordering::Relaxed) >= 2 {
                    return WriteEnd::PingsMissed;
                }
                Message::Ping(Vec::new().into())
            }
        };
        match send(sink, message, &outgoing).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                debug!(%error, "the bot's WebSocket takes nothing more");
                return WriteEnd::Failed;
            }
            None => return WriteEnd::Abandoned,
        }
    }
}

/// Sends one message; `None` where the bot does not read and nobody is left who would wait for it.
async fn send(
    sink: &mut (impl SinkExt<Message, Error = Error> + Unpin),
    message: Message,
    outgoing: &mpsc::Receiver<Outgoing>,
) -> Option<Result<(), Error>> {
    let sending = sink.send(message);
    tokio::pin!(sending);
    loop {
        match timeout(STUCK_LOOK, &mut sending).await {
            Ok(sent) => return Some(sent),
            Err(_) if outgoing.is_closed() => return None,
            Err(_) => {}
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> SocketEnd {
    match frame {
        Some(frame) => SocketEnd::Close { code: Some(frame.code.into()), reason: frame.reason.to_string() },
        None => SocketEnd::Close { code: None, reason: String::new() },
    }
}

fn ended(at_boundary: &AtomicBool, unanswered: &AtomicU8) -> SocketEnd {
    if !at_boundary.load(Ordering::Relaxed) {
        SocketEnd::MidFrame
    } else if unanswered.load(Ordering::Relaxed) > 0 {
        SocketEnd::PingsMissed
    } else {
        SocketEnd::Eof
    }
}

fn lost(error: &Error, at_boundary: &AtomicBool, unanswered: &AtomicU8) -> SocketEnd {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => ended(at_boundary, unanswered),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => ended(at_boundary, unanswered),
        Error::Io(error) => match (error.kind(), ended(at_boundary, unanswered)) {
            (io::ErrorKind::InvalidData, _) => SocketEnd::Tls(error.to_string()),
            (io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe, SocketEnd::Eof) => SocketEnd::Reset,
            (_, end) => end,
        },
        Error::Capacity(CapacityError::MessageTooLong { .. }) => SocketEnd::Oversize,
        Error::Utf8(reason) => SocketEnd::Close { code: Some(1007), reason: reason.clone() },
        other => SocketEnd::Close { code: Some(1002), reason: other.to_string() },
    }
}
