//! Transactions: which message belongs to which exchange (RFC 3261 section 17), and the table that holds them all.
//! Retransmissions begin and end here.

mod client;
mod invite_client;
mod invite_server;
mod key;
mod outbox;
mod server;
mod timing;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use client::Client;
use invite_client::InviteClient;
pub use invite_server::AckFate;
use invite_server::InviteServer;
use key::same_branch;
pub use key::{MergeKey, ServerKey, branch};
pub use outbox::{OVERSIZE, Outbox, Path};
use server::Server;
pub use timing::{Timer, Timing, Timings};

use super::message::{CSeq, Method, Request, Response};
use super::{DialogId, Origin, RequestId, Trunks, wire};
use crate::base::timer::TimerTable;

/// One transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(u64);

/// What a machine may do while it handles an input: send on its path, arm and disarm its timers.
pub struct Context<'a> {
    now: Instant,
    id: TransactionId,
    path: Path,
    timing: &'a Timing,
    timers: &'a mut TimerTable<(TransactionId, Timer)>,
    out: &'a mut Outbox,
}

impl Context<'_> {
    fn send(&mut self, bytes: &[u8]) {
        self.out.send(self.path, bytes);
    }

    fn resend(&mut self, bytes: &[u8]) {
        self.out.resend(self.path, bytes);
    }

    /// Whether nothing need be sent again: timers A, E and G stay off (RFC 3261 section 17).
    fn is_reliable(&self) -> bool {
        self.path.transport.is_reliable()
    }

    /// How long copies are waited for: `over_udp`, or not at all where none can come (timers D, I, J and K).
    fn wait_for_copies(&self, over_udp: Duration) -> Duration {
        if self.is_reliable() { Duration::ZERO } else { over_udp }
    }

    fn arm(&mut self, timer: Timer, after: Duration) {
        self.timers.set((self.id, timer), self.now + after);
    }

    fn disarm(&mut self, timer: Timer) {
        self.timers.clear((self.id, timer));
    }
}

/// What a response means to the user of a client transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseFate {
    /// A copy, or too late.
    Absorbed,
    /// News.
    ForUser,
}

/// Whose client transaction it is, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    pub dialog: DialogId,
    pub purpose: Purpose,
}

/// What a request of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new call.
    Invite,
    /// A re-INVITE.
    Reinvite,
    /// Taking our INVITE back.
    Cancel,
    /// Hanging up.
    Bye,
    /// Hanging up a fork that answered too.
    ForkBye,
    /// INFO.
    Info,
    /// A request outside a dialog; the owner's dialog is [`DialogId::NONE`].
    Alone(RequestId),
    /// REFER, by its CSeq number.
    Refer(u32),
    /// Acknowledging a reliable provisional response.
    Prack,
    /// Refreshing the session by UPDATE.
    Refresh,
}

struct ServerSlot {
    key: ServerKey,
    merge: Option<MergeKey>,
    path: Path,
    to_tag: String,
    dialog: Option<DialogId>,
    machine: ServerMachine,
}

enum ServerMachine {
    Invite(InviteServer),
    Other(Server),
}

struct ClientSlot {
    key: (String, String),
    path: Path,
    owner: Owner,
    /// As it was sent: a challenge is answered with it, a CANCEL or ACK is made of it.
    request: Box<Request>,
    /// A stale nonce of ours was answered in it.
    stale: bool,
    machine: ClientMachine,
}

enum ClientMachine {
    Invite(InviteClient),
    Other(Client),
}

/// What the table knows of a request of ours.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// As it was sent.
    pub request: &'a Request,
    /// Where to.
    pub path: Path,
    /// It answered a challenge that said that the nonce before was stale.
    pub stale: bool,
}

/// What the table knows of a server transaction.
#[derive(Debug, Clone)]
pub struct ServerFacts {
    /// Its id.
    pub id: TransactionId,
    /// The To tag of its responses.
    pub to_tag: String,
    /// The dialog it belongs to.
    pub dialog: Option<DialogId>,
    /// Whether it waits for a final response.
    pub is_proceeding: bool,
}

/// A new server transaction.
pub struct NewServer {
    pub key: ServerKey,
    pub merge: Option<MergeKey>,
    pub path: Path,
    pub to_tag: String,
    pub is_invite: bool,
}

/// Every transaction of an endpoint.
pub struct Transactions {
    timings: Timings,
    next_id: u64,
    timers: TimerTable<(TransactionId, Timer)>,
    servers: HashMap<TransactionId, ServerSlot>,
    server_keys: HashMap<ServerKey, TransactionId>,
    merges: HashMap<MergeKey, TransactionId>,
    clients: HashMap<TransactionId, ClientSlot>,
    client_keys: HashMap<(String, String), TransactionId>,
}

impl Transactions {
    /// An empty table.
    pub fn new(timings: Timings) -> Self {
        Self {
            timings,
            next_id: 0,
            timers: TimerTable::default(),
            servers: HashMap::new(),
            server_keys: HashMap::new(),
            merges: HashMap::new(),
            clients: HashMap::new(),
            client_keys: HashMap::new(),
        }
    }

    /// T1 and what follows from it, for this peer.
    pub fn timing_of(&self, peer: IpAddr) -> Timing {
        *self.timings.of(peer)
    }

    /// Other trunks from now on; timers that run go on.
    pub fn set_trunks(&mut self, trunks: &Trunks) {
        self.timings.set_trunks(trunks.iter());
    }

    fn mint(&mut self) -> TransactionId {
        self.next_id += 1;
        TransactionId(self.next_id)
    }

    /// The server transaction with this key.
    pub fn server(&self, key: &ServerKey) -> Option<ServerFacts> {
        let id = *self.server_keys.get(key)?;
        let slot = self.servers.get(&id)?;
        let is_proceeding = match &slot.machine {
            ServerMachine::Invite(machine) => machine.is_proceeding(),
            ServerMachine::Other(_) => false,
        };
        Some(ServerFacts { id, to_tag: slot.to_tag.clone(), dialog: slot.dialog, is_proceeding })
    }

    /// Whether another branch of the same request is being served (SIP-038).
    pub fn is_merged(&self, key: &MergeKey) -> bool {
        self.merges.contains_key(key)
    }

    /// A request that matched server transaction `id` came: again, or its ACK.
    pub fn handle_request(&mut self, now: Instant, id: TransactionId, is_ack: bool, out: &mut Outbox) -> AckFate {
        let Some(slot) = self.servers.get_mut(&id) else { return AckFate::Absorbed };
        let (timings, timers) = (&self.timings, &mut self.timers);
        let timing = timings.of(slot.path.to.ip());
        let mut context = Context { now, id, path: slot.path, timing, timers, out };
        match &mut slot.machine {
            ServerMachine::Invite(machine) if is_ack => return machine.handle_ack(&mut context),
            ServerMachine::Invite(machine) => machine.handle_invite(&mut context),
            ServerMachine::Other(machine) => machine.handle_request(&mut context),
        }
        AckFate::Absorbed
    }

    /// Opens a server transaction.
    pub fn open_server(&mut self, new: NewServer) -> TransactionId {
        let id = self.mint();
        let machine = if new.is_invite {
            ServerMachine::Invite(InviteServer::new())
        } else {
            ServerMachine::Other(Server::new())
        };
        self.server_keys.insert(new.key.clone(), id);
        if let Some(merge) = &new.merge {
            self.merges.insert(merge.clone(), id);
        }
        let NewServer { key, merge, path, to_tag, .. } = new;
        self.servers.insert(id, ServerSlot { key, merge, path, to_tag, dialog: None, machine });
        id
    }

    /// Says which dialog a server transaction belongs to.
    pub fn assign(&mut self, id: TransactionId, dialog: DialogId) {
        if let Some(slot) = self.servers.get_mut(&id) {
            slot.dialog = Some(dialog);
        }
    }

    /// Sends a response in server transaction `id`; `false` where it has its final one.
    pub fn respond(&mut self, now: Instant, id: TransactionId, response: &Response, out: &mut Outbox) -> bool {
        let Some(slot) = self.servers.get_mut(&id) else { return false };
        let (timings, timers) = (&self.timings, &mut self.timers);
        let timing = timings.of(slot.path.to.ip());
        let mut context = Context { now, id, path: slot.path, timing, timers, out };
        let bytes = wire::write_response(response);
        match &mut slot.machine {
            ServerMachine::Invite(machine) => machine.respond(&mut context, response.code, bytes),
            ServerMachine::Other(machine) => machine.respond(&mut context, response.code, bytes),
        }
    }

    /// Where the responses of server transaction `id` go.
    pub fn server_path(&self, id: TransactionId) -> Option<Path> {
        self.servers.get(&id).map(|slot| slot.path)
    }

    /// Sends `request` in a new client transaction; its top Via has a branch of its own.
    pub fn open_client(
        &mut self,
        now: Instant,
        path: Path,
        request: Request,
        owner: Owner,
        out: &mut Outbox,
    ) -> TransactionId {
        let id = self.mint();
        let bytes = wire::write_request(&request);
        let key = (branch(&request.headers).unwrap_or_default(), request.method.as_str().to_owned());
        let (timings, timers) = (&self.timings, &mut self.timers);
        let timing = timings.of(path.to.ip());
        let mut context = Context { now, id, path, timing, timers, out };
        let machine = if request.method == Method::INVITE {
            ClientMachine::Invite(InviteClient::new(&mut context, bytes))
        } else {
            ClientMachine::Other(Client::new(&mut context, bytes))
        };
        self.client_keys.insert(key.clone(), id);
        self.clients.insert(id, ClientSlot { key, path, owner, request: Box::new(request), stale: false, machine });
        id
    }

    /// The request of client transaction `id`.
    pub fn sent(&self, id: TransactionId) -> Option<Sent<'_>> {
        let slot = self.clients.get(&id)?;
        Some(Sent { request: &slot.request, path: slot.path, stale: slot.stale })
    }

    /// Notes whether a stale nonce was answered on the way to client transaction `id`.
    pub fn note_stale(&mut self, id: TransactionId, stale: bool) {
        if let Some(slot) = self.clients.get_mut(&id) {
            slot.stale = stale;
        }
    }

    /// The client transaction a response belongs to (RFC 3261 section 17.1.3).
    pub fn client(&self, response: &Response) -> Option<TransactionId> {
        let cseq = CSeq::parse(response.headers.get("CSeq")?)?;
        let key = (branch(&response.headers)?, cseq.method.as_str().to_owned());
        self.client_keys.get(&key).copied()
    }

    /// Whether any request of ours may still be answered.
    pub fn has_clients(&self) -> bool {
        !self.clients.is_empty()
    }

    /// A response for client transaction `id`; its owner where it is news.
    pub fn handle_response(
        &mut self,
        now: Instant,
        id: TransactionId,
        response: &Response,
        out: &mut Outbox,
    ) -> Option<Owner> {
        let slot = self.clients.get_mut(&id)?;
        let (timings, timers) = (&self.timings, &mut self.timers);
        let timing = timings.of(slot.path.to.ip());
        let mut context = Context { now, id, path: slot.path, timing, timers, out };
        let fate = match &mut slot.machine {
            ClientMachine::Invite(machine) => machine.handle_response(&mut context, response.code, || {
                let to = response.headers.values("To").next();
                wire::write_request(&same_branch(&slot.request, Method::ACK, to))
            }),
            ClientMachine::Other(machine) => machine.handle_response(&mut context, response.code),
        };
        (fate == ResponseFate::ForUser).then_some(slot.owner)
    }

    /// The CANCEL of INVITE client transaction `id` and its path, where one may be sent now.
    pub fn cancel_of(&self, id: TransactionId) -> Option<(Request, Path)> {
        let slot = self.clients.get(&id)?;
        match &slot.machine {
            ClientMachine::Invite(machine) if machine.is_proceeding() => {
                Some((same_branch(&slot.request, Method::CANCEL, None), slot.path))
            }
            ClientMachine::Invite(_) | ClientMachine::Other(_) => None,
        }
    }

    /// The INVITE of client transaction `id`.
    pub fn invite_of(&self, id: TransactionId) -> Option<&Request> {
        let slot = self.clients.get(&id)?;
        matches!(slot.machine, ClientMachine::Invite(_)).then_some(&*slot.request)
    }

    /// Ends INVITE client transaction `id` without a final response.
    pub fn abandon(&mut self, id: TransactionId) {
        if let Some(ClientSlot { machine: ClientMachine::Invite(machine), .. }) = self.clients.get_mut(&id) {
            machine.abandon();
        }
        self.sweep(id);
    }

    /// The connection `origin` is over, or could not be opened. A request that waits for an answer and went by the peer's
    /// own connection is sent again by one of ours; where it was one of ours, the transaction is over, and this is its
    /// owner (RFC 3261 section 17.1.4).
    pub fn handle_lost(&mut self, now: Instant, origin: &Origin, out: &mut Outbox) -> Vec<Owner> {
        let (timings, timers) = (&self.timings, &mut self.timers);
        let here = |path: &Path| path.transport.is_reliable() && path.listener == origin.listener;
        let mut failed = Vec::new();
        for (id, slot) in self.clients.iter_mut().filter(|(_, slot)| here(&slot.path)) {
            let theirs = slot.path.connection.is_some() && slot.path.connection == origin.connection;
            if theirs {
                slot.path.connection = None;
            } else if slot.path.connection.is_some() || slot.path.to != origin.source {
                continue;
            }
            let timing = timings.of(slot.path.to.ip());
            let mut context = Context { now, id: *id, path: slot.path, timing, timers, out };
            let over = match &mut slot.machine {
                ClientMachine::Invite(machine) => machine.handle_lost(&mut context, theirs),
                ClientMachine::Other(machine) => machine.handle_lost(&mut context, theirs),
            };
            if over {
                failed.push((*id, slot.owner));
            }
        }
        failed.iter().for_each(|(id, _)| self.sweep(*id));
        failed.into_iter().map(|(_, owner)| owner).collect()
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Handles one expired timer: `None` where none is, `Some(Some(owner))` where a request of ours timed out.
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) -> Option<Option<Owner>> {
        let (id, timer) = self.timers.expired(now)?;
        let (timings, timers) = (&self.timings, &mut self.timers);
        let mut owner = None;
        if let Some(slot) = self.servers.get_mut(&id) {
            let timing = timings.of(slot.path.to.ip());
            let mut context = Context { now, id, path: slot.path, timing, timers, out };
            match &mut slot.machine {
                ServerMachine::Invite(machine) => {
                    if machine.handle_timer(&mut context, timer) {
                        context.out.counters.timed_out("invite_server");
                    }
                }
                ServerMachine::Other(machine) => machine.handle_timer(timer),
            }
        } else if let Some(slot) = self.clients.get_mut(&id) {
            let timing = timings.of(slot.path.to.ip());
            let mut context = Context { now, id, path: slot.path, timing, timers, out };
            let (timed_out, kind) = match &mut slot.machine {
                ClientMachine::Invite(machine) => (machine.handle_timer(&mut context, timer), "invite_client"),
                ClientMachine::Other(machine) => (machine.handle_timer(&mut context, timer), "client"),
            };
            if timed_out {
                context.out.counters.timed_out(kind);
                owner = Some(slot.owner);
            }
        }
        self.sweep(id);
        Some(owner)
    }

    /// Drops transaction `id` where it is over.
    fn sweep(&mut self, id: TransactionId) {
        let over = |slot: &ServerSlot| match &slot.machine {
            ServerMachine::Invite(machine) => machine.is_terminated(),
            ServerMachine::Other(machine) => machine.is_terminated(),
        };
        if self.servers.get(&id).is_some_and(over)
            && let Some(slot) = self.servers.remove(&id)
        {
            self.server_keys.remove(&slot.key);
            if let Some(merge) = slot.merge {
                self.merges.remove(&merge);
            }
        }
        let over = |slot: &ClientSlot| match &slot.machine {
            ClientMachine::Invite(machine) => machine.is_terminated(),
            ClientMachine::Other(machine) => machine.is_terminated(),
        };
        if self.clients.get(&id).is_some_and(over)
            && let Some(slot) = self.clients.remove(&id)
        {
            self.client_keys.remove(&slot.key);
        }
    }

    /// How many server and client transactions are alive: INVITE server, other server, INVITE client, other client.
    pub fn counts(&self) -> [usize; 4] {
        let invites = |slot: &&ServerSlot| matches!(slot.machine, ServerMachine::Invite(_));
        let calls = |slot: &&ClientSlot| matches!(slot.machine, ClientMachine::Invite(_));
        let (invite_servers, invite_clients) =
            (self.servers.values().filter(invites).count(), self.clients.values().filter(calls).count());
        [invite_servers, self.servers.len() - invite_servers, invite_clients, self.clients.len() - invite_clients]
    }

    /// How many server transactions are alive.
    pub fn servers(&self) -> usize {
        self.servers.len()
    }
}
