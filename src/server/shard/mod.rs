//! A shard: one media thread, its clock, and the calls that live on it for their whole lives.

mod inputs;
mod slot;
mod tick;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant, SystemTime};

pub use inputs::{Admitted, ShardInput, Surroundings};
use slab::Slab;
use slot::{Buffers, Due, Slot};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tracing::{debug, error, warn};

use crate::base::metric;
use crate::base::random::Random;
use crate::call::outcome::Failure;
use crate::call::{Call, Output, Scratch, Setup, SipCommand, StreamInput};
use crate::net::datagrams::{ArrivalClock, Datagrams};
use crate::net::rtp_socket::{Reader, RtpSockets};
use crate::net::websocket::{Full, MESSAGES_WAITING, Writer};
use crate::server::carrier::{Dialling, Home, Outgoing, Place, carry, hear_rtcp};
use crate::server::clock::{LagWatch, MediaClock};
use crate::server::priority;
use crate::server::sip_task::refuse_replacement;
use crate::sip::{DialogId, Event, IncomingInvite, Reason};
use crate::stream::SocketEnd;

/// Rounds in which the thread's WebSockets are served after a tick; each serves up to 61 of them.
const STREAM_ROUNDS: usize = 4;
/// Whether a bot is to be pinged is looked at this often.
const PINGS_LOOK: Duration = Duration::from_secs(1);

pub(super) struct Shard {
    calls: Slab<Slot>,
    dues: Vec<Due>,
    /// The earliest of each call's dues: all that a tick looks at of a call that is not due.
    firsts: Vec<Option<Instant>>,
    by_dialog: HashMap<DialogId, usize>,
    around: Surroundings,
    random: Random,
    epoch: Instant,
    lag: LagWatch,
    lateness: metrics::Histogram,
    buffers: Buffers,
    dialling: Rc<Cell<usize>>,
    this: Weak<RefCell<Shard>>,
}

/// Runs a shard on the calling thread until [`ShardInput::Stop`].
///
/// # Errors
/// The system's, when the thread's runtime or clock cannot be made.
pub fn run(
    inputs: mpsc::UnboundedReceiver<ShardInput>,
    around: Surroundings,
    random: Random,
    ready: impl FnOnce(),
) -> io::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().on_thread_start(priority::lower).build()?;
    LocalSet::new().block_on(&runtime, async move {
        let clock = MediaClock::start()?;
        let shard = Rc::new_cyclic(|this| {
            RefCell::new(Shard {
                calls: Slab::new(),
                dues: Vec::new(),
                firsts: Vec::new(),
                by_dialog: HashMap::new(),
                around,
                random,
                epoch: clock.epoch(),
                lag: LagWatch::default(),
                lateness: metric::MEDIA_TICK_LATE.histogram(),
                buffers: Buffers {
                    scratch: Scratch::default(),
                    datagrams: Datagrams::default(),
                    arrivals: ArrivalClock::default(),
                    report: vec![0; 65_536],
                    due: Vec::new(),
                },
                dialling: Rc::default(),
                this: this.clone(),
            })
        });
        ready();
        work(&shard, clock, inputs).await
    })
}

async fn work(
    shard: &RefCell<Shard>,
    mut clock: MediaClock,
    mut inputs: mpsc::UnboundedReceiver<ShardInput>,
) -> io::Result<()> {
    loop {
        let (calls, dialling) = shard.borrow().load();
        let mut next = if calls == 0 {
            // Nothing is up: no tick is needed until something comes, and none was missed then.
            shard.borrow_mut().rest();
            let input = inputs.recv().await;
            clock.resume();
            input.or(Some(ShardInput::Stop))
        } else if dialling {
            tokio::select! {
                biased;
                tick = clock.wait() => {
                    shard.borrow_mut().tick(tick?);
                    None
                }
                input = inputs.recv() => input.or(Some(ShardInput::Stop)),
            }
        } else {
            let tick = clock.sleep();
            shard.borrow_mut().tick(tick);
            None
        };
        // Signalling before streams: what a bot does after the caller's BYE comes after it.
        while let Some(input) = next.take().or_else(|| inputs.try_recv().ok()) {
            let mut shard = shard.borrow_mut();
            match input {
                ShardInput::Invite(admitted) => shard.begin(*admitted),
                ShardInput::Replace(dialog, invite) => shard.replace(dialog, &invite),
                ShardInput::Sip(event) => shard.handle_sip(event),
                ShardInput::Copy { dialog, on } => shard.set_copying(dialog, on),
                ShardInput::ShutDown => shard.shut_down(),
                ShardInput::Stop => {
                    shard.finish();
                    return Ok(());
                }
            }
        }
        run_streams().await;
    }
}

/// Lets every WebSocket that is ready read and write: the thread's other tasks run, and the sockets are asked.
async fn run_streams() {
    for _ in 0..STREAM_ROUNDS {
        tokio::task::yield_now().await;
    }
}

impl Shard {
    /// Calls, and whether a bot is being dialled.
    fn load(&self) -> (usize, bool) {
        (self.calls.len(), self.dialling.get() > 0)
    }

    fn begin(&mut self, admitted: Admitted) {
        let Admitted { dialog, invite, trunk, account, graph, slot } = admitted;
        let now = Instant::now();
        let opened = self.around.ports.open_marked(trunk.media_dscp);
        let opened = opened.and_then(|RtpSockets { rtp, rtcp, lease }| Ok((rtp, UdpSocket::from_std(rtcp)?, lease)));
        let (rtp, rtcp, lease) = match opened {
            Ok(sockets) => sockets,
            Err(error) => {
                let failure = Failure::NoRtpPort;
                let rejection = failure.rejection(5 + self.random.below(11));
                let (reason, code, trunk) = (failure.label(), rejection.code, &trunk.name);
                error!(call_id = %invite.call_id, peer = %invite.peer, trunk, code, reason, why = failure.limit(), %error, "call refused");
                let labels = [("reason", reason.to_owned()), ("code", code.to_string()), ("trunk", trunk.clone())];
                metric::CALLS_REFUSED.add_with(1, &labels);
                let _ = self.around.sip.send((dialog, SipCommand::Reject(rejection)));
                return;
            }
        };
        let local = invite.peer_is_local;
        let media_address = match (local, self.around.listen) {
            (false, _) => self.around.advertised,
            (true, listen) if listen.is_unspecified() => invite.our_address,
            (true, listen) => listen,
        };
        let setup = Setup {
            dialog,
            invite,
            trunk,
            account,
            graph,
            rtp_port: lease.port,
            media_address,
            settings: self.around.settings.clone(),
            directory: self.around.directory.clone(),
            slot,
            random: self.random.fork(),
            clock_epoch: self.epoch,
        };
        let (call_id, trunk, shard) = (setup.invite.call_id.clone(), setup.trunk.name.clone(), setup.slot.shard);
        let local = SocketAddr::new(media_address, setup.rtp_port);
        let Ok(mut call) = catch_unwind(AssertUnwindSafe(|| Call::new(now, SystemTime::now(), setup))) else {
            metric::CALL_PANICS.add(1);
            let _ = self.around.sip.send((dialog, SipCommand::Reject(Failure::Internal.rejection(0))));
            return;
        };
        let traced = self.around.trace.begins(&mut call, &call_id, &trunk, shard, local);
        let entry = self.calls.vacant_entry();
        let (key, rtcp) = (entry.key(), Rc::new(rtcp));
        let hears_rtcp = hear_rtcp(Home { shard: self.this.clone(), key, dialog }, rtcp.clone());
        let (streams, reader) = (Vec::new(), Reader::default());
        entry.insert(Slot { call, rtp, rtcp, _hears_rtcp: hears_rtcp, _lease: lease, streams, reader, traced });
        self.dues.resize(self.dues.len().max(key + 1), Due::default());
        self.firsts.resize(self.dues.len(), None);
        self.dues[key] = Due { pings: Some(now + PINGS_LOOK), ..Due::default() };
        self.by_dialog.insert(dialog, key);
        self.settle(key);
    }

    fn handle_sip(&mut self, event: Event) {
        let Some(key) = self.by_dialog.get(&event.dialog()).copied() else {
            // Not the event itself: its SDP may hold keys (SDP-018).
            debug!(dialog = event.dialog().number(), "an event of a call that is over");
            return;
        };
        // What the caller said before: a BYE ends it, an answer to a hold may change where it comes from.
        self.receive(key, Instant::now());
        let ended = matches!(event, Event::Ended { .. }).then(|| event.dialog());
        self.with(key, |call, now| call.handle_sip(now, event));
        if let Some(dialog) = ended {
            self.by_dialog.remove(&dialog);
        }
    }

    /// The call goes on in another dialog. The old one stays known until it has ended.
    fn replace(&mut self, dialog: DialogId, invite: &IncomingInvite) {
        let mut refusal = Some(Call::gone());
        if let Some(key) = invite.replaces.and_then(|old| self.by_dialog.get(&old).copied()) {
            self.by_dialog.insert(dialog, key);
            self.with(key, |call, now| refusal = call.replace(now, dialog, invite).err());
        }
        if let Some(rejection) = refusal {
            self.by_dialog.remove(&dialog);
            refuse_replacement(invite, &rejection);
            let _ = self.around.sip.send((dialog, SipCommand::Reject(*rejection)));
        }
    }

    fn set_copying(&mut self, dialog: DialogId, on: bool) {
        if let Some(key) = self.by_dialog.get(&dialog) {
            self.calls[*key].call.set_copying(on);
        }
    }

    /// Whether the call of `home` still lives there.
    fn is_home(&self, home: &Home) -> bool {
        self.calls.get(home.key).is_some_and(|slot| slot.call.dialog() == home.dialog)
    }

    pub(super) fn stream_opened(&mut self, place: &Place, writer: Writer) {
        // A call that has given the stream up meanwhile drops the writer.
        if self.is_home(&place.home)
            && let Some(stream) = self.calls[place.home.key].stream(place.stream)
        {
            *stream = Outgoing::Open(writer);
            self.handle_stream(place, StreamInput::Opened);
        }
    }

    pub(super) fn handle_stream(&mut self, place: &Place, input: StreamInput<'_>) {
        if self.is_home(&place.home) {
            self.with(place.home.key, |call, now| call.handle_stream(now, place.stream, input));
        }
    }

    fn shut_down(&mut self) {
        let keys: Vec<usize> = self.calls.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.with(key, |call, now| call.shut_down(now));
        }
    }

    /// Puts what has not ended on record.
    fn finish(&mut self) {
        let keys: Vec<usize> = self.calls.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.with(key, |call, now| call.finish(now));
        }
    }

    /// Lets a call take an input.
    fn with(&mut self, key: usize, act: impl FnOnce(&mut Call, Instant)) {
        let now = Instant::now();
        self.guarded(key, |slot, _| act(&mut slot.call, now), Self::note_due);
    }

    /// A fault of ours: the call is ended on every side, the others go on.
    fn bury(&mut self, key: usize) {
        let mut slot = self.calls.remove(key);
        (self.dues[key], self.firsts[key]) = (Due::default(), None);
        if let Ok(record) = catch_unwind(AssertUnwindSafe(|| slot.call.faulted(Instant::now()))) {
            let _ = self.around.records.send(record);
        }
        let dialog = slot.call.dialog();
        self.by_dialog.remove(&dialog);
        metric::CALL_PANICS.add(1);
        slot.call.span().in_scope(|| error!("a fault of the bridge ended this call; the others go on"));
        let _ = self.around.sip.send((dialog, SipCommand::Reject(Failure::Internal.rejection(0))));
        let _ = self.around.sip.send((dialog, SipCommand::Bye(vec![Reason::q850(41)])));
        for (_, stream) in &slot.streams {
            if let Outgoing::Open(writer) = stream {
                writer.close(1011);
            }
        }
    }

    /// Does what the call wants done and notes when it wants to be woken.
    fn settle(&mut self, key: usize) {
        while let Some(output) = self.calls.get_mut(key).and_then(|slot| slot.call.poll_output()) {
            let slot = &mut self.calls[key];
            match output {
                Output::Sip(command) => {
                    let _ = self.around.sip.send((slot.call.dialog(), command));
                }
                Output::OpenStream { stream, dial } => {
                    let (given_up, receiver) = oneshot::channel();
                    slot.streams.push((stream, Outgoing::Dialling { _given_up: given_up }));
                    let home = Home { shard: self.this.clone(), key, dialog: slot.call.dialog() };
                    let place = Place { home, stream };
                    let (tls, span) = (self.around.tls.clone(), slot.call.span().clone());
                    let dialling = Dialling::begin(&self.dialling);
                    tokio::task::spawn_local(carry(place, *dial, tls, receiver, span, dialling));
                }
                Output::StreamText { stream, text } => self.send_text(key, stream, text),
                Output::CloseStream { stream, code } => slot.close_stream(stream, code),
                Output::Rtcp { mux, to, packet } => {
                    let _ = if mux { slot.rtp.send_to(&packet, to) } else { slot.rtcp.try_send_to(&packet, to) };
                }
                Output::Record(record) => {
                    let _ = self.around.records.send(*record);
                }
                Output::Over => {
                    let slot = self.calls.remove(key);
                    (self.dues[key], self.firsts[key]) = (Due::default(), None);
                    self.by_dialog.remove(&slot.call.dialog());
                    return;
                }
            }
        }
        self.note_due(key);
    }

    fn send_text(&mut self, key: usize, stream: u32, text: String) {
        let slot = &mut self.calls[key];
        let Some(Outgoing::Open(writer)) = slot.stream(stream) else { return };
        if writer.send(text) == Err(Full) {
            slot.close_stream(stream, 1008);
            slot.call
                .span()
                .in_scope(|| warn!(waiting = MESSAGES_WAITING, "the bot does not read, its stream is given up"));
            let reason = "the bot does not read what it is sent".to_owned();
            slot.call.handle_stream(
                Instant::now(),
                stream,
                StreamInput::Closed(SocketEnd::Close { code: Some(1008), reason }),
            );
        }
    }

    /// No calls, no ticks: a thread that rests does not lag (SIP-096).
    fn rest(&mut self) {
        if self.lag.rest() {
            self.around.directory.note_lag(false);
        }
    }
}
