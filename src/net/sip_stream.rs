//! SIP's TCP and TLS connections: accepted, opened where a message needs one, found again for the next (SIP-004, SIP-021,
//! SIP-114). Each is a task of its own; what they bring comes to one place, in the order of each connection.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::{debug, info, warn};

use super::sip_connection::Connection;
use super::sip_tcp;
use super::sip_tls::SipTls;
use crate::base::metric;
use crate::config::{Listener, Streams};
use crate::sip::wire::Flaw;
use crate::sip::{ConnectionId, ListenerId, Origin, Transmit};

/// Events that may wait; then connections are not read from.
const EVENTS_WAITING: usize = 1024;
/// Messages that may wait to be written to one connection; one more, and it is closed.
const MESSAGES_WAITING: usize = 256;
/// Refused connections are told of this often at most.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// After an error of the listening socket, for example without free file descriptors.
const AFTER_ERROR: Duration = Duration::from_millis(100);

/// What happened on a connection.
#[derive(Debug)]
pub enum StreamEvent {
    /// A peer opened one; what is to be written goes into the queue.
    Opened(Origin, mpsc::Sender<Vec<u8>>),
    /// A message came; `flaw` where it could not be cut off and nothing more will come.
    Message {
        /// From where.
        origin: Origin,
        /// The message, or what there is of it.
        bytes: Vec<u8>,
        /// What is wrong.
        flaw: Option<Flaw>,
    },
    /// Nothing has come for a while: it may be closed.
    Idle(Origin),
    /// It is over, or one of ours could not be opened.
    Lost(Origin),
}

/// Every SIP connection of a node.
pub struct SipStreams {
    shared: Arc<Shared>,
    /// By listener; none where it is UDP's.
    listeners: HashMap<ListenerId, Listener>,
    accepting: Vec<AbortHandle>,
    open: HashMap<ConnectionId, (Origin, mpsc::Sender<Vec<u8>>)>,
    by_peer: HashMap<(ListenerId, SocketAddr), ConnectionId>,
    names: HashMap<SocketAddr, String>,
}

/// What every connection's task has.
struct Shared {
    limits: Streams,
    dscp: u8,
    tls: Option<Arc<SipTls>>,
    events: mpsc::Sender<StreamEvent>,
    next: AtomicU64,
    places: Mutex<Places>,
}

/// Connections that peers have.
#[derive(Default)]
struct Places {
    by_listener: HashMap<ListenerId, usize>,
    by_source: HashMap<(ListenerId, IpAddr), usize>,
    told: Option<Instant>,
}

/// A connection's place; free again when it is dropped.
struct Place {
    shared: Arc<Shared>,
    listener: ListenerId,
    source: IpAddr,
}

impl SipStreams {
    /// No connection yet; events come from the receiver, each to be given to [`SipStreams::note`] first.
    #[must_use]
    pub fn new(limits: Streams, dscp: u8, tls: Option<Arc<SipTls>>) -> (Self, mpsc::Receiver<StreamEvent>) {
        let (events, received) = mpsc::channel(EVENTS_WAITING);
        let (next, places) = (AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { limits, dscp, tls, events, next, places });
        let (open, by_peer, names, accepting) = (HashMap::new(), HashMap::new(), HashMap::new(), Vec::new());
        (Self { shared, listeners: HashMap::new(), accepting, open, by_peer, names }, received)
    }

    /// Takes connections on a TCP or TLS listener; where it is bound.
    ///
    /// # Errors
    /// The system's.
    pub fn listen(&mut self, id: ListenerId, listener: Listener) -> io::Result<SocketAddr> {
        let socket = sip_tcp::listen(listener.bind, self.shared.dscp)?;
        let bound = socket.local_addr()?;
        let task = tokio::spawn(accept(self.shared.clone(), socket, id, listener.transport.is_secure()));
        self.accepting.push(task.abort_handle());
        self.dial_from(id, listener);
        Ok(bound)
    }

    /// Opens connections for a listener that takes none itself.
    pub fn dial_from(&mut self, id: ListenerId, listener: Listener) {
        self.listeners.insert(id, listener);
    }

    /// The name that the certificate of a TLS peer must have, and that it is asked for by; without one its address.
    pub fn set_name(&mut self, peer: SocketAddr, name: String) {
        self.names.insert(peer, name);
    }

    /// Keeps the table true; gives the event back where the endpoint has to know.
    pub fn note(&mut self, event: StreamEvent) -> Option<StreamEvent> {
        match event {
            StreamEvent::Opened(origin, queue) => {
                self.enter(origin, queue);
                None
            }
            StreamEvent::Lost(origin) => {
                // What we closed ourselves, or were told of before, is no news.
                let known = origin.connection.is_some_and(|id| self.open.contains_key(&id));
                self.forget(origin);
                known.then_some(event)
            }
            StreamEvent::Message { .. } | StreamEvent::Idle(_) => Some(event),
        }
    }

    /// Sends a message: by its connection, else by one to its address, opened where there is none. A peer that does not
    /// read loses its connection.
    pub fn send(&mut self, transmit: Transmit) {
        let Transmit { listener, to, connection, bytes } = transmit;
        let there = connection.filter(|id| self.open.contains_key(id));
        let id = there.or_else(|| self.by_peer.get(&(listener, to)).copied());
        let id = match id {
            Some(id) => id,
            None => match self.connect(listener, to) {
                Some(id) => id,
                None => return,
            },
        };
        let full = self.open.get(&id).is_some_and(|(_, queue)| queue.try_send(bytes).is_err());
        if full {
            warn!(peer = %to, "a SIP connection does not take what is sent to it and is closed");
            closed("slow_reader");
            self.close(id);
        }
    }

    /// Closes a connection after what is queued.
    pub fn close(&mut self, connection: ConnectionId) {
        if let Some((origin, _)) = self.open.get(&connection) {
            self.forget(*origin);
        }
    }

    fn connect(&mut self, id: ListenerId, to: SocketAddr) -> Option<ConnectionId> {
        let listener = *self.listeners.get(&id)?;
        let secure = listener.transport.is_secure();
        let connection = self.shared.mint();
        // A TLS peer that we connect to has shown its certificate before anything of it is read.
        let origin = Origin { listener: id, source: to, connection: Some(connection), has_certificate: secure };
        let (queue, messages) = mpsc::channel(MESSAGES_WAITING);
        self.enter(origin, queue);
        let name = secure.then(|| self.names.get(&to).cloned().unwrap_or_else(|| to.ip().to_string()));
        tokio::spawn(dial(self.shared.clone(), origin, listener.bind.ip(), name, messages));
        Some(connection)
    }

    fn enter(&mut self, origin: Origin, queue: mpsc::Sender<Vec<u8>>) {
        let Some(id) = origin.connection else { return };
        self.by_peer.insert((origin.listener, origin.source), id);
        self.open.insert(id, (origin, queue));
        metric::SIP_CONNECTIONS.set(self.open.len() as f64);
    }

    fn forget(&mut self, origin: Origin) {
        let Some(id) = origin.connection else { return };
        self.open.remove(&id);
        if self.by_peer.get(&(origin.listener, origin.source)) == Some(&id) {
            self.by_peer.remove(&(origin.listener, origin.source));
        }
        metric::SIP_CONNECTIONS.set(self.open.len() as f64);
    }
}

impl Drop for SipStreams {
    fn drop(&mut self) {
        for task in &self.accepting {
            task.abort();
        }
    }
}

impl Shared {
    fn mint(&self) -> ConnectionId {
        ConnectionId(self.next.fetch_add(1, Ordering::Relaxed))
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection; else the word for why there is none, and whether it is time to tell.
    fn admit(self: &Arc<Self>, listener: ListenerId, source: IpAddr) -> Result<Place, (&'static str, bool)> {
        let mut places = self.places();
        let of_listener = places.by_listener.get(&listener).copied().unwrap_or_default();
        let of_source = places.by_source.get(&(listener, source)).copied().unwrap_or_default();
        let full = of_listener >= self.limits.max_connections;
        if full || of_source >= self.limits.max_per_source {
            let tell = places.told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
            if tell {
                places.told = Some(Instant::now());
            }
            return Err((if full { "listener_full" } else { "source_full" }, tell));
        }
        places.by_listener.insert(listener, of_listener + 1);
        places.by_source.insert((listener, source), of_source + 1);
        Ok(Place { shared: self.clone(), listener, source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut places = self.shared.places();
        if let Some(count) = places.by_listener.get_mut(&self.listener) {
            *count -= 1;
        }
        let source = (self.listener, self.source);
        if let Some(count) = places.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                places.by_source.remove(&source);
            }
        }
    }
}

fn closed(reason: &'static str) {
    metric::SIP_CONNECTIONS_CLOSED.add_with(1, &[("reason", reason.to_owned())]);
}

async fn accept(shared: Arc<Shared>, socket: TcpListener, listener: ListenerId, secure: bool) {
    loop {
        let (stream, source) = match socket.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a SIP connection cannot be accepted");
                tokio::time::sleep(AFTER_ERROR).await;
                continue;
            }
        };
        match shared.admit(listener, source.ip()) {
            Ok(place) => drop(tokio::spawn(serve(place, stream, source, secure))),
            Err((why, tell)) => {
                closed(why);
                if tell {
                    warn!(%source, why, "a SIP connection is closed at once: raise sip.max_connections or sip.max_connections_per_source where that is a PBX");
                }
            }
        }
    }
}

/// A peer's connection, from its first byte to its last.
async fn serve(place: Place, stream: TcpStream, source: SocketAddr, secure: bool) {
    let shared = &place.shared;
    let origin = Origin { listener: place.listener, source, connection: Some(shared.mint()), has_certificate: false };
    if let Err(error) = sip_tcp::watch(&stream, shared.limits.patience) {
        return debug!(%source, %error, "a SIP connection was gone at once");
    }
    if !secure {
        return carry(shared, origin, stream).await;
    }
    let Some(acceptor) = shared.tls.as_ref().and_then(|tls| tls.acceptor()) else { return };
    match timeout(shared.limits.patience, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let has_certificate = stream.get_ref().1.peer_certificates().is_some();
            carry(shared, Origin { has_certificate, ..origin }, stream).await;
        }
        Ok(Err(error)) => {
            closed("tls");
            info!(%source, %error, "a TLS handshake for SIP failed");
        }
        Err(_) => {
            closed("tls");
            info!(%source, "a TLS handshake for SIP was not completed in time");
        }
    }
}

async fn carry<S>(shared: &Arc<Shared>, origin: Origin, stream: S)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let (queue, messages) = mpsc::channel(MESSAGES_WAITING);
    if shared.events.send(StreamEvent::Opened(origin, queue)).await.is_ok() {
        exchange(shared, origin, stream, messages).await;
    }
}

async fn exchange<S>(shared: &Arc<Shared>, origin: Origin, stream: S, messages: mpsc::Receiver<Vec<u8>>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let connection = Connection { origin, limits: shared.limits, events: shared.events.clone() };
    let end = connection.run(stream, messages).await;
    closed(end.label());
    debug!(peer = %origin.source, why = end.label(), "a SIP connection ended");
}

/// A connection of ours: `name` is the one to verify, where it is TLS.
async fn dial(
    shared: Arc<Shared>,
    origin: Origin,
    from: IpAddr,
    name: Option<String>,
    messages: mpsc::Receiver<Vec<u8>>,
) {
    let opened = timeout(shared.limits.patience, open(&shared, from, origin.source, name)).await;
    let error = match opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(Opened::Tcp(stream)) => return exchange(&shared, origin, stream, messages).await,
        Ok(Opened::Tls(stream)) => return exchange(&shared, origin, *stream, messages).await,
        Err(error) => error,
    };
    closed("unreachable");
    warn!(peer = %origin.source, %error, "no SIP connection to the peer: what was to be sent to it is lost");
    let _ = shared.events.send(StreamEvent::Lost(origin)).await;
}

enum Opened {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

async fn open(shared: &Shared, from: IpAddr, to: SocketAddr, name: Option<String>) -> io::Result<Opened> {
    let stream = sip_tcp::connect(from, to, shared.dscp).await?;
    sip_tcp::watch(&stream, shared.limits.patience)?;
    let Some(name) = name else { return Ok(Opened::Tcp(stream)) };
    let name = ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let Some(tls) = &shared.tls else { return Err(io::ErrorKind::Unsupported.into()) };
    Ok(Opened::Tls(Box::new(tls.connector().connect(name, stream).await?)))
}
