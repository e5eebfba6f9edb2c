//! The SIP task: sockets → endpoint → shards, and back. It owns the endpoint; nobody locks it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant as Deadline, sleep_until};
use tracing::{debug, info, trace, warn};

use crate::base::metric;
use crate::base::random::Random;
use crate::call::admission::{self, Admission, Refused};
use crate::call::directory::Directory;
use crate::call::timeline::masked;
use crate::call::{Call, SipCommand};
use crate::flow::Flows;
use crate::net::reach;
use crate::net::rtp_socket::RtpPorts;
use crate::net::sip_stream::{SipStreams, StreamEvent};
use crate::server::calls_out::{CallsOut, TrunkCommand};
use crate::server::inbox::{self, Datagram};
use crate::server::memory::{self, MemoryWatch};
use crate::server::shard::{Admitted, ShardInput};
use crate::server::trace::Trace;
use crate::sip::trunk::trunk_names;
use crate::sip::{Availability, DialogId, Endpoint, Event, IncomingInvite, ListenerId, Rejection, Transmit};

/// Gauges and counters are exported this often.
const EXPORT_EVERY: Duration = Duration::from_secs(1);

/// Everything the task owns.
pub struct SipTask {
    /// The protocol.
    pub endpoint: Endpoint,
    /// The UDP listeners' sockets.
    pub sockets: HashMap<ListenerId, Arc<UdpSocket>>,
    /// The TCP and TLS listeners, and what happens on their connections.
    pub streams: (SipStreams, mpsc::Receiver<StreamEvent>),
    /// Commands from calls.
    pub commands: mpsc::UnboundedReceiver<(DialogId, SipCommand)>,
    /// Calls out, and where they go.
    pub calls_out: CallsOut,
    /// The shards.
    pub shards: Vec<mpsc::UnboundedSender<ShardInput>>,
    /// Admission.
    pub directory: Arc<Directory>,
    /// Call flows.
    pub flows: Flows,
    /// For Retry-After.
    pub random: Random,
    /// Who looks on, and the addresses and transports it is shown for the listeners.
    pub trace: Trace,
    /// See `trace`.
    pub shown: Vec<(SocketAddr, &'static str)>,
    /// Whether the process has grown too large for new calls.
    pub memory: MemoryWatch,
    /// Whether there are ports for new calls.
    pub ports: Arc<RtpPorts>,
}

impl SipTask {
    /// Runs until every sender of commands is gone.
    pub async fn run(mut self) {
        let (sender, mut datagrams) = inbox::open();
        for (listener, socket) in &self.sockets {
            tokio::spawn(read(socket.clone(), *listener, sender.clone()));
        }
        let mut owners: HashMap<DialogId, usize> = HashMap::new();
        self.export();
        let mut export_at = Instant::now() + EXPORT_EVERY;
        loop {
            let wake = self.endpoint.poll_timeout().map_or(export_at, |timeout| timeout.min(export_at));
            tokio::select! {
                Some(datagram) = datagrams.recv() => {
                    self.note_availability();
                    let Datagram { listener, from, bytes } = datagram;
                    self.note_sip(false, listener, from, &bytes);
                    self.endpoint.handle_datagram(Instant::now(), listener, from, &bytes);
                }
                Some(event) = self.streams.1.recv() => {
                    self.note_availability();
                    self.on_stream(event);
                }
                command = self.commands.recv() => match command {
                    Some((dialog, command)) => self.command(dialog, command),
                    None => return,
                },
                Some(command) = self.calls_out.next() => self.trunk_command(command),
                () = sleep_until(Deadline::from_std(wake)) => self.endpoint.handle_timeout(Instant::now()),
            }
            self.drain(&mut owners).await;
            if !self.endpoint.is_unregistering() {
                self.calls_out.note_unregistered();
            }
            if Instant::now() >= export_at {
                export_at = Instant::now() + EXPORT_EVERY;
                self.export();
                note_drops(&datagrams);
            }
        }
    }

    /// What a connection brought.
    fn on_stream(&mut self, event: StreamEvent) {
        let now = Instant::now();
        match self.streams.0.note(event) {
            Some(StreamEvent::Message { origin, bytes, flaw }) => {
                self.note_sip(false, origin.listener, origin.source, &bytes);
                self.endpoint.handle_framed(now, origin, &bytes, flaw);
            }
            Some(StreamEvent::Lost(origin)) => self.endpoint.handle_lost(now, &origin),
            Some(StreamEvent::Idle(origin)) => {
                if let Some(connection) = origin.connection.filter(|id| !self.endpoint.needs(*id)) {
                    self.streams.0.close(connection);
                }
            }
            Some(StreamEvent::Opened(..)) | None => {}
        }
    }

    fn note_availability(&mut self) {
        let closed = self.directory.closed().map(|closed| Availability::Unavailable(closed.why()));
        self.endpoint.set_availability(closed.unwrap_or(Availability::Available));
    }

    fn command(&mut self, dialog: DialogId, command: SipCommand) {
        let now = Instant::now();
        let done = match command {
            SipCommand::Progress { code, sdp } => self.endpoint.progress(now, dialog, code, sdp),
            SipCommand::Answer { sdp } => self.endpoint.answer(now, dialog, sdp),
            SipCommand::Reject(rejection) => self.endpoint.reject(now, dialog, rejection),
            SipCommand::AnswerUpdate { sdp } => self.endpoint.answer_update(now, dialog, sdp),
            SipCommand::RejectUpdate(rejection) => self.endpoint.reject_update(now, dialog, rejection),
            SipCommand::AnswerInfo(answer) => self.endpoint.answer_info(now, dialog, answer),
            SipCommand::Bye(reasons) => self.endpoint.bye(now, dialog, reasons),
            SipCommand::Refer(refer) => self.endpoint.refer(now, dialog, *refer),
        };
        if !done {
            debug!(?dialog, "a command came after its dialog had ended");
        }
    }

    fn trunk_command(&mut self, command: TrunkCommand) {
        let now = Instant::now();
        match command {
            TrunkCommand::Targets { trunk, targets } => drop(self.endpoint.set_targets(now, &trunk, targets)),
            TrunkCommand::Call { call, events, placed } => {
                self.look_for(&call.trunk);
                let result = self.endpoint.call(now, call);
                match result {
                    Ok(dialog) => self.calls_out.add(dialog, events),
                    Err(error) => info!(%error, "a call out is not placed"),
                }
                let _ = placed.send(result);
            }
            TrunkCommand::Unreachable(address) => self.endpoint.handle_unreachable(now, address),
            TrunkCommand::Unregister(done) => {
                self.endpoint.unregister(now);
                self.calls_out.unregister(done);
            }
        }
    }

    /// Asks the network whether the destinations of a trunk are there at all: it says no sooner than a timer does.
    fn look_for(&self, trunk: &str) {
        for (listener, target) in self.endpoint.targets(trunk) {
            let local = self.sockets.get(&listener).and_then(|socket| socket.local_addr().ok());
            let (Some(local), told) = (local, self.calls_out.sender()) else { continue };
            tokio::spawn(async move {
                if reach::is_refused(local.ip(), target).await {
                    let _ = told.send(TrunkCommand::Unreachable(target));
                }
            });
        }
    }

    async fn drain(&mut self, owners: &mut HashMap<DialogId, usize>) {
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit() {
                self.transmit(transmit).await;
            }
            while let Some(connection) = self.endpoint.poll_close() {
                self.streams.0.close(connection);
            }
            let Some(event) = self.endpoint.poll_event() else { return };
            let Some(event) = self.calls_out.tell(event) else { continue };
            match event {
                Event::Invite { dialog, invite } => match invite.replaces {
                    Some(old) => self.replace(dialog, invite, owners.get(&old).copied(), owners),
                    None => self.admit(dialog, invite, owners),
                },
                event => {
                    let dialog = event.dialog();
                    let shard = if matches!(event, Event::Ended { .. }) {
                        owners.remove(&dialog)
                    } else {
                        owners.get(&dialog).copied()
                    };
                    if let Some(shard) = shard {
                        let _ = self.shards[shard].send(ShardInput::Sip(event));
                    }
                }
            }
        }
    }

    /// For traces.
    fn note_sip(&self, outgoing: bool, listener: ListenerId, peer: SocketAddr, message: &[u8]) {
        if let Some((own, transport)) = self.shown.get(listener.0) {
            self.trace.sip(outgoing, *own, peer, transport, message);
        }
    }

    async fn transmit(&mut self, transmit: Transmit) {
        self.note_sip(true, transmit.listener, transmit.to, &transmit.bytes);
        let Some(socket) = self.sockets.get(&transmit.listener) else { return self.streams.0.send(transmit) };
        // State is not dropped because one send failed: timers end the transaction (SIP-036).
        if let Err(error) = socket.send_to(&transmit.bytes, transmit.to).await {
            debug!(to = %transmit.to, %error, "SIP message not sent");
            self.endpoint.handle_unreachable(Instant::now(), transmit.to);
        }
    }

    fn admit(&mut self, dialog: DialogId, invite: Box<IncomingInvite>, owners: &mut HashMap<DialogId, usize>) {
        let (now, call_id, source, peer) = (Instant::now(), invite.call_id.clone(), invite.source, invite.peer);
        let to = masked(&invite.request_uri.number());
        match admission::judge(now, &self.directory, &self.flows, &invite) {
            Ok(Admission { trunk, account, graph, slot }) => {
                let shard = slot.shard;
                owners.insert(dialog, shard);
                let admitted = Admitted { dialog, invite, trunk, account, graph, slot };
                let _ = self.shards[shard].send(ShardInput::Invite(Box::new(admitted)));
            }
            Err(refused) => {
                let rejection = refused.rejection(5 + self.random.below(11));
                let (reason, code, Refused { trunk, why, .. }) = (refused.failure.label(), rejection.code, &refused);
                let labels = [("reason", reason.to_owned()), ("code", code.to_string()), ("trunk", trunk.clone())];
                metric::CALLS_REFUSED.add_with(1, &labels);
                warn!(%call_id, %source, %peer, trunk, to, code, reason, why, "call refused");
                self.endpoint.reject(now, dialog, rejection);
            }
        }
    }

    /// An INVITE that is to take the place of a call goes to that call's shard.
    fn replace(
        &mut self,
        dialog: DialogId,
        invite: Box<IncomingInvite>,
        shard: Option<usize>,
        owners: &mut HashMap<DialogId, usize>,
    ) {
        match shard {
            Some(shard) => {
                owners.insert(dialog, shard);
                let _ = self.shards[shard].send(ShardInput::Replace(dialog, invite));
            }
            None => {
                let rejection = Call::gone();
                refuse_replacement(&invite, &rejection);
                self.endpoint.reject(Instant::now(), dialog, *rejection);
            }
        }
    }

    fn look_at_memory(&mut self) {
        let Some(resident) = memory::resident() else { return };
        metric::RESIDENT_MEMORY.set(resident as f64);
        if let Some(short) = self.memory.note(resident) {
            self.directory.note_memory(short);
            let [resident_mib, limit_mib] = [Some(resident), self.memory.limit()].map(|bytes| bytes.map(|b| b >> 20));
            warn!(short, resident_mib, limit_mib, "memory: new calls are refused while it is short");
        }
    }

    fn look_at_ports(&mut self) {
        let short = self.ports.free() == 0;
        if self.directory.note_ports(short) {
            warn!(short, "media.rtp_ports: new calls are refused while no pair is free");
        }
    }

    fn export(&mut self) {
        self.look_at_memory();
        self.look_at_ports();
        for (kind, all, at_limit) in self.endpoint.sources(Instant::now()) {
            for (state, count) in [("all", all), ("at_limit", at_limit)] {
                let labels = [("kind", kind.to_owned()), ("state", state.to_owned())];
                metric::SIP_SOURCES.set_with(count as f64, &labels);
            }
        }
        for count in self.endpoint.take_counters() {
            count.metric.add_with(count.by, &count.labels);
        }
        let now = Instant::now();
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.endpoint.set_wall_clock(now, unix.as_secs());
        for state in self.endpoint.trunk_states(now) {
            let labels = [("trunk", state.trunk)];
            for (metric, value) in [(&metric::TRUNK_UP, state.up), (&metric::TRUNK_REGISTERED, state.registered)] {
                value.into_iter().for_each(|value| metric.set_with(f64::from(u8::from(value)), &labels));
            }
        }
        let counts = self.endpoint.counts();
        metric::SIP_DIALOGS.set(counts.dialogs as f64);
        let kinds = [
            ("invite_server", counts.invite_servers),
            ("server", counts.servers),
            ("invite_client", counts.invite_clients),
            ("client", counts.clients),
        ];
        for (kind, count) in kinds {
            metric::SIP_TRANSACTIONS.set_with(count as f64, &[("type", kind.to_owned())]);
        }
        trace!(?counts, "SIP tables");
    }
}

/// A refusal is one line and one count.
pub(super) fn refuse_replacement(invite: &IncomingInvite, rejection: &Rejection) {
    let (code, why) = (rejection.code, rejection.why.map_or("", |why| why.text));
    let trunk = trunk_names(&invite.trunk_candidates);
    let labels = [("reason", "replaces".to_owned()), ("code", code.to_string()), ("trunk", trunk.clone())];
    metric::CALLS_REFUSED.add_with(1, &labels);
    warn!(call_id = %invite.call_id, source = %invite.source, peer = %invite.peer, trunk, code, reason = "replaces", why, "call refused");
}

/// Tells of datagrams that found their queue full: whoever sent them hears nothing and sends again.
fn note_drops(datagrams: &inbox::Receiver) {
    for (queue, count) in datagrams.take_drops().into_iter().filter(|(_, count)| *count > 0) {
        metric::SIP_QUEUE_DROPS.add_with(count, &[("queue", queue.to_owned())]);
        warn!(
            queue,
            count,
            "SIP comes faster than it can be handled, datagrams were dropped: lower limits.max_requests_per_second_per_source, or add a node"
        );
    }
}

async fn read(socket: Arc<UdpSocket>, listener: ListenerId, datagrams: inbox::Sender) {
    let mut buffer = vec![0; 65_536];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((length, from)) => {
                let datagram = Datagram { listener, from, bytes: buffer[..length].to_vec() };
                if !datagrams.put(datagram) {
                    return;
                }
            }
            Err(error) => info!(%error, "the SIP socket reports an error"),
        }
    }
}
