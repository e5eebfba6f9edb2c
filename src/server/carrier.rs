//! Carries a bot's WebSocket beside its call, on the call's thread.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use tokio::sync::oneshot;
use tracing::{Instrument, Span};

use crate::call::{Dial, StreamInput};
use crate::net::tls::TlsConnectors;
use crate::net::websocket::{self, Writer};
use crate::server::shard::Shard;
use crate::sip::DialogId;

/// Where a stream's inputs go.
pub(super) struct Place {
    pub shard: Weak<RefCell<Shard>>,
    pub key: usize,
    pub dialog: DialogId,
    pub stream: u32,
}

impl Place {
    fn tell(&self, input: StreamInput<'_>) {
        if let Some(shard) = self.shard.upgrade() {
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
            if let Some(shard) = place.shard.upgrade() {
                shard.borrow_mut().stream_opened(&place, writer);
            }
            reader.run(|input| place.tell(input)).await;
        }
        Err(failure) => place.tell(StreamInput::DialFailed(failure)),
    }
}
