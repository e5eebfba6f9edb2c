//! Carries what a call hears beside its packets, on the call's thread: its bot's WebSocket, and RTCP.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use tokio::net::UdpSocket;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{Instrument, Span};

use crate::call::{Dial, StreamInput};
use crate::net::tls::TlsConnectors;
use crate::net::websocket::{self, Writer};
use crate::server::shard::Shard;
use crate::sip::DialogId;

/// Where a call lives.
#[derive(Clone)]
pub(super) struct Home {
    pub shard: Weak<RefCell<Shard>>,
    pub key: usize,
    pub dialog: DialogId,
}

/// Where a stream's inputs go.
pub(super) struct Place {
    pub home: Home,
    pub stream: u32,
}

impl Place {
    fn tell(&self, input: StreamInput<'_>) {
        if let Some(shard) = self.home.shard.upgrade() {
            shard.borrow_mut().handle_stream(self, input);
        }
    }
}

/// The writing end of a stream, as the shard keeps it.
pub(super) enum Outgoing {
    /// Its bot is being dialled; dropping this gives that up.
    Dialling { _given_up: oneshot::Sender<()> },
    /// Its bot listens.
    Open(Writer),
}

/// A task that ends when this is dropped.
pub(super) struct Attached(JoinHandle<()>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Hears RTCP as it comes: a round trip is measured by when it came (RFC 3550, 6.4.1).
pub(super) fn hear_rtcp(home: Home, socket: Rc<UdpSocket>) -> Attached {
    Attached(tokio::task::spawn_local(async move {
        while socket.readable().await.is_ok() {
            let Some(shard) = home.shard.upgrade() else { return };
            shard.borrow_mut().receive_rtcp(&home, &socket);
            // A flood on one port leaves the thread to everybody else.
            tokio::task::yield_now().await;
        }
    }))
}

/// A dial under way, counted until it is dropped.
pub(super) struct Dialling(Rc<Cell<usize>>);

impl Dialling {
    pub fn begin(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Dialling {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Dials a bot and carries its WebSocket until it ends. A call that gives up while dialling drops the sender.
pub(super) async fn carry(
    place: Place,
    dial: Dial,
    tls: TlsConnectors,
    given_up: oneshot::Receiver<()>,
    span: Span,
    dialling: Dialling,
) {
    let dialled = tokio::select! {
        dialled = websocket::dial(&dial, &tls).instrument(span) => dialled,
        _ = given_up => return,
    };
    drop(dialling);
    match dialled {
        Ok((writer, reader)) => {
            if let Some(shard) = place.home.shard.upgrade() {
                shard.borrow_mut().stream_opened(&place, writer);
            }
            reader.run(|input| place.tell(input)).await;
        }
        Err(failure) => place.tell(StreamInput::DialFailed(failure)),
    }
}
