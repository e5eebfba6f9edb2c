//! A shard: one media thread, its clock, and the calls that live on it for their whole lives.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use slab::Slab;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tracing::{debug, error, warn};

use crate::base::id::AccountSid;
use crate::base::metric;
use crate::base::random::Random;
use crate::call::directory::{CallSlot, Directory};
use crate::call::outcome::Failure;
use crate::call::timeline::CallRecord;
use crate::call::{Call, CallSettings, Output, Scratch, Setup, SipCommand, StreamInput};
use crate::config::Trunk;
use crate::flow::Graph;
use crate::net::rtp_socket::{self, Reader, RtpPorts, RtpSockets, drain};
use crate::net::tls::TlsConnectors;
use crate::net::websocket::Outgoing;
use crate::server::carrier::{Dialling, Place, carry};
use crate::server::clock::{LagWatch, MediaClock, Tick};
use crate::sip::{DialogId, Event, IncomingInvite, Reason};
use crate::stream::SocketEnd;

/// Text frames that may wait for a bot that does not read; about 10 s of media, then the stream has failed.
const FRAMES_WAITING: usize = 600;
/// Rounds in which the thread's WebSockets are served after a tick; each serves up to 61 of them.
const STREAM_ROUNDS: usize = 4;
/// RTCP is looked at this often.
const RTCP_EVERY: Duration = Duration::from_secs(1);

/// What reaches a shard from other threads.
pub enum ShardInput {
    /// A call that was admitted to this shard.
    Invite(Box<Admitted>),
    /// Something happened in a dialog of this shard.
    Sip(Event),
    /// End every call now (OPS-031).
    ShutDown,
    /// Nothing comes any more.
    Stop,
}

/// An admitted call on its way to its shard.
pub struct Admitted {
    /// The dialog.
    pub dialog: DialogId,
    /// The INVITE.
    pub invite: Box<IncomingInvite>,
    /// The trunk.
    pub trunk: Arc<Trunk>,
    /// The account.
    pub account: AccountSid,
    /// The flow.
    pub graph: Arc<Graph>,
    /// Its place.
    pub slot: CallSlot,
}

/// What a shard shares with the rest of the node.
#[derive(Clone)]
pub struct Surroundings {
    /// RTP ports.
    pub ports: Arc<RtpPorts>,
    /// The address that SDP shows to peers outside the local networks.
    pub advertised: IpAddr,
    /// The address RTP is bound to.
    pub listen: IpAddr,
    /// Settings of every call.
    pub settings: Arc<CallSettings>,
    /// Admission.
    pub directory: Arc<Directory>,
    /// TLS towards bots.
    pub tls: TlsConnectors,
    /// Commands to the SIP endpoint.
    pub sip: mpsc::UnboundedSender<(DialogId, SipCommand)>,
    /// Finished calls.
    pub records: mpsc::UnboundedSender<CallRecord>,
}

struct Slot {
    call: Call,
    sockets: RtpSockets,
    streams: HashMap<u32, mpsc::Sender<Outgoing>>,
    reader: Reader,
}

/// What a call waits for, apart from the call itself so that a tick touches only the calls that are due.
#[derive(Debug, Clone, Copy, Default)]
struct Due {
    send: Option<Instant>,
    receive: Option<Instant>,
    timer: Option<Instant>,
    rtcp: Option<Instant>,
    settling: bool,
}

impl Due {
    /// The earliest; a call that settles is looked at on every tick, so `always` stands for it.
    fn first(&self, always: Instant) -> Option<Instant> {
        if self.settling {
            return Some(always);
        }
        [self.send, self.receive, self.timer, self.rtcp].into_iter().flatten().min()
    }
}

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
    buffers: Buffers,
    dialling: Rc<Cell<usize>>,
    this: Weak<RefCell<Shard>>,
}

/// What every call of the shard borrows.
struct Buffers {
    scratch: Scratch,
    datagram: Vec<u8>,
    /// The calls that are due in a tick.
    due: Vec<usize>,
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
                buffers: Buffers { scratch: Scratch::default(), datagram: vec![0; 65_536], due: Vec::new() },
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
                ShardInput::Sip(event) => shard.handle_sip(event),
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
        let sockets = match self.around.ports.open_marked(trunk.media_dscp) {
            Ok(sockets) => sockets,
            Err(error) => {
                error!(call_id = %invite.call_id, %error, "call refused: no RTP port");
                let rejection = Failure::NoRtpPort.rejection(5 + self.random.below(11));
                metric::CALLS_REFUSED.add_with(1, &[("reason", "no_rtp_port".into()), ("code", "503".into())]);
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
            rtp_port: sockets.port,
            media_address,
            settings: self.around.settings.clone(),
            directory: self.around.directory.clone(),
            slot,
            random: self.random.fork(),
            clock_epoch: self.epoch,
        };
        let Ok(call) = catch_unwind(AssertUnwindSafe(|| Call::new(now, SystemTime::now(), setup))) else {
            metric::CALL_PANICS.add(1);
            let _ = self.around.sip.send((dialog, SipCommand::Reject(Failure::Internal.rejection(0))));
            return;
        };
        let key = self.calls.insert(Slot { call, sockets, streams: HashMap::new(), reader: Reader::default() });
        self.dues.resize(self.dues.len().max(key + 1), Due::default());
        self.firsts.resize(self.dues.len(), None);
        self.dues[key] = Due { rtcp: Some(now + RTCP_EVERY), ..Due::default() };
        self.by_dialog.insert(dialog, key);
        self.settle(key);
    }

    fn handle_sip(&mut self, event: Event) {
        let Some(key) = self.by_dialog.get(&event.dialog()).copied() else {
            debug!(?event, "an event of a call that is over");
            return;
        };
        self.with(key, |call, now| call.handle_sip(now, event));
    }

    pub(super) fn handle_stream(&mut self, key: usize, dialog: DialogId, stream: u32, input: StreamInput<'_>) {
        if self.by_dialog.get(&dialog) == Some(&key) {
            self.with(key, |call, now| call.handle_stream(now, stream, input));
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
        self.guarded(key, |slot, _| act(&mut slot.call, now));
    }

    /// A fault of ours: the call is ended on every side, the others go on.
    fn bury(&mut self, key: usize) {
        let mut slot = self.calls.remove(key);
        self.dues[key] = Due::default();
        if let Ok(record) = catch_unwind(AssertUnwindSafe(|| slot.call.faulted(Instant::now()))) {
            let _ = self.around.records.send(record);
        }
        let dialog = slot.call.dialog();
        self.by_dialog.remove(&dialog);
        metric::CALL_PANICS.add(1);
        slot.call.span().in_scope(|| error!("a fault of the bridge ended this call; the others go on"));
        let _ = self.around.sip.send((dialog, SipCommand::Reject(Failure::Internal.rejection(0))));
        let _ = self.around.sip.send((dialog, SipCommand::Bye(vec![Reason::q850(41)])));
        for sender in slot.streams.values() {
            let _ = sender.try_send(Outgoing::Close(1011));
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
                    let (sender, receiver) = mpsc::channel(FRAMES_WAITING);
                    slot.streams.insert(stream, sender);
                    let place = Place { shard: self.this.clone(), key, dialog: slot.call.dialog(), stream };
                    let (tls, span) = (self.around.tls.clone(), slot.call.span().clone());
                    let dialling = Dialling::begin(&self.dialling);
                    tokio::task::spawn_local(carry(place, *dial, tls, receiver, span, dialling));
                }
                Output::StreamText { stream, text } => self.send_text(key, stream, text),
                Output::CloseStream { stream, code } => {
                    if let Some(sender) = slot.streams.remove(&stream) {
                        let _ = sender.try_send(Outgoing::Close(code));
                    }
                }
                Output::Rtcp { mux, to, packet } => {
                    let socket = if mux { &slot.sockets.rtp } else { &slot.sockets.rtcp };
                    let _ = socket.send_to(&packet, to);
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

    fn note_due(&mut self, key: usize) {
        let due = &mut self.dues[key];
        *due = match self.calls.get(key) {
            Some(Slot { call, .. }) => Due {
                send: call.next_send(),
                receive: call.next_receive(),
                timer: call.next_timer(),
                rtcp: due.rtcp,
                settling: call.is_settling(),
            },
            None => Due::default(),
        };
        self.firsts[key] = due.first(self.epoch);
    }

    fn send_text(&mut self, key: usize, stream: u32, text: String) {
        let slot = &mut self.calls[key];
        let Some(sender) = slot.streams.get(&stream) else { return };
        if let Err(mpsc::error::TrySendError::Full(_)) = sender.try_send(Outgoing::Text(text)) {
            slot.call
                .span()
                .in_scope(|| warn!(waiting = FRAMES_WAITING, "the bot does not read, its stream is given up"));
            slot.streams.remove(&stream);
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

    /// One tick: first every packet that is due leaves, then the sockets are read and the audio passed on.
    fn tick(&mut self, tick: Tick) {
        metric::MEDIA_TICK_LATE.record(tick.late.as_secs_f64() * 1000.0);
        if let Some(lags) = self.lag.note(tick) {
            self.around.directory.note_lag(lags);
            warn!(lags, "the media clock: new calls are refused while it lags");
        }
        let now = tick.at;
        let is_due = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= now);
        let mut due = std::mem::take(&mut self.buffers.due);
        due.clear();
        due.extend((0..self.firsts.len()).filter(|key| is_due(self.firsts[*key])));
        for key in &due {
            if is_due(self.dues[*key].send) {
                self.send(*key, now);
            }
        }
        for key in &due {
            let Due { receive, timer, rtcp, settling, .. } = self.dues[*key];
            if is_due(receive) || settling {
                self.receive(*key, now);
            }
            if is_due(timer) {
                self.guarded(*key, |slot, _| slot.call.handle_timeout(now));
            }
            if is_due(rtcp) {
                self.dues[*key].rtcp = Some(now + RTCP_EVERY);
                self.receive_rtcp(*key, now);
            }
        }
        self.buffers.due = due;
    }

    /// Runs `act` on a call with the shard's buffers, then does what the call wants done. A panic ends this call alone.
    fn guarded(&mut self, key: usize, act: impl FnOnce(&mut Slot, &mut Buffers)) {
        let Some(slot) = self.calls.get_mut(key) else { return };
        let buffers = &mut self.buffers;
        let outcome = catch_unwind(AssertUnwindSafe(|| act(slot, buffers)));
        match outcome {
            Ok(()) if slot.call.has_output() => self.settle(key),
            Ok(()) => self.note_due(key),
            Err(_) => self.bury(key),
        }
    }

    /// What a call waits for after a packet has left: nothing else has changed, unless it has something to say.
    fn note_sent(&mut self, key: usize) {
        let Some(Slot { call, .. }) = self.calls.get(key) else { return };
        let due = &mut self.dues[key];
        due.send = call.next_send();
        self.firsts[key] = due.first(self.epoch);
    }

    fn send(&mut self, key: usize, now: Instant) {
        let Some(Slot { call, sockets, .. }) = self.calls.get_mut(key) else { return };
        let buffers = &mut self.buffers;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            call.send_packets(now, &mut buffers.scratch, |packet, to| {
                if let Err(error) = rtp_socket::send(&sockets.rtp, packet, to)
                    && error.kind() != io::ErrorKind::ConnectionRefused
                {
                    debug!(%to, %error, "RTP packet not sent");
                }
            });
        }));
        match outcome {
            Ok(()) if call.has_output() => self.settle(key),
            Ok(()) => self.note_sent(key),
            Err(_) => self.bury(key),
        }
    }

    fn receive(&mut self, key: usize, now: Instant) {
        self.guarded(key, |Slot { call, sockets, reader, .. }, buffers| {
            let everything = call.reads_everything(now);
            reader.read(&sockets.rtp, &mut buffers.datagram, everything, |from, packet| {
                call.handle_packet(now, from, packet);
            });
            if call.receive_due(now) {
                call.take_audio(now, &mut buffers.scratch);
            }
        });
    }

    fn receive_rtcp(&mut self, key: usize, now: Instant) {
        self.guarded(key, |Slot { call, sockets, .. }, buffers| {
            drain(&sockets.rtcp, &mut buffers.datagram, |from, packet| call.handle_rtcp(now, from, packet));
        });
    }
}
