//! Calls out, and what else is asked of trunks: the way to the SIP task, and the way back.

use std::collections::HashMap;
use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};

use crate::sip::{DialogId, Event, NotPlaced, Target, TrunkCall};

/// What others want of trunks. A call that was placed is answered, taken back and hung up by its dialog, as any other.
#[derive(Debug)]
pub enum TrunkCommand {
    /// Where the destinations of a trunk are.
    Targets {
        /// Its name.
        trunk: String,
        /// In the order in which they are tried.
        targets: Vec<Target>,
    },
    /// Place a call.
    Call {
        /// Through which trunk, to whom.
        call: TrunkCall,
        /// Hears what happens in it; nobody listening any more does not end it.
        events: mpsc::UnboundedSender<Event>,
        /// Its dialog, or why there is none.
        placed: oneshot::Sender<Result<DialogId, NotPlaced>>,
    },
    /// Nobody is at this address.
    Unreachable(SocketAddr),
    /// Take registrations back, and say when that is done.
    Unregister(oneshot::Sender<()>),
}

/// The SIP task's end.
pub struct CallsOut {
    commands: mpsc::UnboundedReceiver<TrunkCommand>,
    own: mpsc::UnboundedSender<TrunkCommand>,
    /// Waits until every registration is taken back.
    unregistered: Option<oneshot::Sender<()>>,
    /// Who listens to calls.
    placed: HashMap<DialogId, mpsc::UnboundedSender<Event>>,
}

impl CallsOut {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, mpsc::UnboundedSender<TrunkCommand>) {
        let (own, commands) = mpsc::unbounded_channel();
        (Self { commands, own: own.clone(), unregistered: None, placed: HashMap::new() }, own)
    }

    /// The next command.
    pub async fn next(&mut self) -> Option<TrunkCommand> {
        self.commands.recv().await
    }

    /// For what the task finds out itself.
    #[must_use]
    pub fn sender(&self) -> mpsc::UnboundedSender<TrunkCommand> {
        self.own.clone()
    }

    /// A call was placed; `events` listens.
    pub fn add(&mut self, dialog: DialogId, events: mpsc::UnboundedSender<Event>) {
        self.placed.insert(dialog, events);
    }

    /// Tells an event to whoever placed its call; gives it back where nobody did.
    pub fn tell(&mut self, event: Event) -> Option<Event> {
        let dialog = event.dialog();
        let Some(events) = self.placed.get(&dialog) else { return Some(event) };
        let ended = matches!(event, Event::Ended { .. });
        let _ = events.send(event);
        if ended {
            self.placed.remove(&dialog);
        }
        None
    }

    /// Registrations are being taken back.
    pub fn unregister(&mut self, done: oneshot::Sender<()>) {
        self.unregistered = Some(done);
    }

    /// Every registration is taken back.
    pub fn note_unregistered(&mut self) {
        self.unregistered.take().map(|done| done.send(()));
    }
}
