//! A test bot: a WebSocket server that answers AgentStream the way a voicebot would, or the way it should not.
//!
//! `trunkstream bot` runs it from the command line; `trunkstream demo` and the tests run it in their own process.
#![allow(clippy::disallowed_methods)] // a test bot has sockets, a clock and files of its own

mod connection;
mod count;
mod journal;
mod message;
mod print;
mod script;
mod session;
mod settings;

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use journal::Journal;
pub use script::greeting;
pub use settings::{BotEvent, BotMode, BotSettings, BotTls, LineSink, Observer};

/// Connections that are served at the same time; more are closed at once.
const MOST_CONNECTIONS: usize = 10_000;
/// `start` messages that are remembered.
const MOST_STARTS: usize = 1_000;

/// A test bot that cannot start.
#[derive(Debug, Error)]
pub enum BotError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The journal cannot be created.
    #[error("cannot write the journal {path}: {error}")]
    Journal {
        /// The journal's name.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The certificate or the key cannot be used.
    #[error("cannot use {path} for TLS: {reason}")]
    Tls {
        /// The PEM file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// How much a bot has seen so far, over all its connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BotCounters {
    /// TCP connections accepted.
    pub connections: u64,
    /// Connections that are open now.
    pub open: u64,
    /// `start` messages received.
    pub starts: u64,
    /// Media messages received.
    pub media_messages: u64,
    /// Octets of sound received.
    pub media_bytes: u64,
    /// Marks that came back.
    pub marks: u64,
    /// Digits received.
    pub digits: u64,
    /// Messages that were unreadable or out of order in place, `sequence_number`, `chunk` or `timestamp`.
    pub faults: u64,
}

/// What every connection of one bot shares.
struct Shared {
    settings: BotSettings,
    tls: Option<TlsAcceptor>,
    journal: Option<Journal>,
    starts: Mutex<VecDeque<String>>,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    connections: AtomicU64,
    open: AtomicU64,
    starts: AtomicU64,
    media_messages: AtomicU64,
    media_bytes: AtomicU64,
    marks: AtomicU64,
    digits: AtomicU64,
    faults: AtomicU64,
}

impl Shared {
    fn new(settings: BotSettings) -> Result<Self, BotError> {
        let tls = settings.tls.as_ref().map(connection::acceptor).transpose()?;
        let create = |path: &PathBuf| {
            let journal = Journal::create(path, Instant::now());
            journal.map_err(|error| BotError::Journal { path: path.clone(), error })
        };
        let journal = settings.journal.as_ref().map(create).transpose()?;
        Ok(Self { settings, tls, journal, starts: Mutex::default(), tally: Tally::default() })
    }

    fn print(&self, connection: u64, line: &str) {
        if let Some(print) = &self.settings.print {
            print(&format!("#{connection} {line}"));
        }
    }

    fn write_journal(&self, connection: u64, event: &str, more: &[(&str, Value)]) {
        if let Some(journal) = &self.journal {
            journal.write(connection, event, more);
        }
    }

    fn write_message(&self, connection: u64, event: &str, text: &str) {
        if let Some(journal) = &self.journal {
            journal.write_message(connection, event, text);
        }
    }

    fn tell(&self, event: &BotEvent<'_>) {
        if let Some(observer) = &self.settings.observer {
            observer(event);
        }
    }

    fn remember_start(&self, start: &str) {
        self.tally.starts.fetch_add(1, Ordering::Relaxed);
        let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
        if starts.len() < MOST_STARTS {
            starts.push_back(start.to_owned());
        }
    }
}

/// A test bot that runs in this process until it is stopped or let go.
pub struct Bot {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Bot {
    /// Starts a bot on the current tokio runtime; it listens when this returns.
    ///
    /// # Errors
    /// An address it cannot listen on, a journal it cannot write, a certificate it cannot use.
    pub async fn start(settings: BotSettings) -> Result<Self, BotError> {
        let shared = Arc::new(Shared::new(settings)?);
        let wanted = shared.settings.listen;
        let listen_error = |error| BotError::Listen { address: wanted, error };
        let listener = TcpListener::bind(wanted).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, Arc::clone(&shared), stopped));
        Ok(Self { address, shared, stop, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of `path` at this bot, for example `/media?sample-rate=8000`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}{path}", self.address)
    }

    /// The `start` messages it has received, oldest first, letter for letter.
    #[must_use]
    pub fn start_texts(&self) -> Vec<String> {
        self.shared.starts.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The `start` messages it has received, oldest first.
    #[must_use]
    pub fn starts(&self) -> Vec<Value> {
        self.start_texts().iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
    }

    /// How much it has seen so far.
    #[must_use]
    pub fn counters(&self) -> BotCounters {
        let Tally { connections, open, starts, media_messages, media_bytes, marks, digits, faults } =
            &self.shared.tally;
        let [connections, open, starts, media_messages] =
            [connections, open, starts, media_messages].map(|count| count.load(Ordering::Relaxed));
        let [media_bytes, marks, digits, faults] =
            [media_bytes, marks, digits, faults].map(|count| count.load(Ordering::Relaxed));
        BotCounters { connections, open, starts, media_messages, media_bytes, marks, digits, faults }
    }

    /// Closes every connection with 1001 and waits until the files are written.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        let _ = self.task.await;
    }
}

/// Runs a bot until `shutdown` resolves; `ready` is told where it listens.
///
/// # Errors
/// As [`Bot::start`].
pub async fn run(
    settings: BotSettings,
    ready: oneshot::Sender<SocketAddr>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), BotError> {
    let bot = Bot::start(settings).await?;
    let _ = ready.send(bot.address());
    shutdown.await;
    bot.stop().await;
    Ok(())
}

/// Takes connections until `stopped` says so, then waits for those that are open.
async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if open.len() < MOST_CONNECTIONS => {
                    let number = shared.tally.connections.fetch_add(1, Ordering::Relaxed) + 1;
                    open.spawn(connection::serve(Arc::clone(&shared), number, stream, peer, stopped.clone()));
                }
                Ok(_) => {}
                // Out of descriptors: those that end give some back.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            },
            Some(_) = open.join_next() => {}
            _ = stopped.changed() => break,
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

#[cfg(test)]
mod tests;
