//! The INVITE usage of a dialog: what the call is doing, and the table of all calls.
//!
//! ```text
//!  INVITE in  ──► Answering ── 2xx ──► Confirmed ── BYE out ──► Leaving ── its final ──► Gone ── 64·T1 ──► forgotten
//!  INVITE out ──► Calling ──── 2xx ──────▲  └─────── BYE in ────────────────────────────►▲
//!                    └──────────── no 2xx: refused, cancelled, timed out ────────────────┘
//! ```

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dialog::Dialog;
use super::event::{OutgoingInvite, Redirects, Way};
use super::message::{Headers, Request};
use super::reason::Reason;
use super::refer::Referrals;
use super::reliable::{Numbers, OwedPrack, Reliable};
use super::session_timer::Session;
use super::transaction::{MergeKey, Path, TransactionId};
use super::{DialogId, incoming::Incoming};
use crate::base::timer::TimerTable;
use crate::config::{Login, SessionTimer};

/// Why a call wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UsageTimer {
    /// When the INVITE's `Expires` has passed.
    Expires,
    /// When a 18x is a minute old: send it again (SIP-041).
    RepeatProvisional,
    /// When no ACK for our 2xx came: send it again (SIP-033).
    ResendAnswer,
    /// When no ACK for our 2xx came at all (SIP-034).
    NoAck,
    /// When no PRACK for our reliable provisional response came: send it again (SIP-062).
    ResendProvisional,
    /// When no PRACK for it came at all.
    NoPrack,
    /// When our re-INVITE that met theirs may be tried again (SIP-073).
    RetryReinvite,
    /// When the result of our REFER is overdue (SIP-102).
    Refer,
    /// When the session is to be refreshed (SIP-082).
    Refresh,
    /// When nobody has refreshed the session (SIP-083).
    SessionExpires,
    /// When no final response followed our CANCEL.
    NoFinal,
    /// When a destination of our call said nothing at all (SIP-055).
    NoResponse,
    /// When nothing of the dialog can come any more.
    Forget,
}

impl UsageTimer {
    const ALL: [Self; 13] = [
        Self::Expires,
        Self::RepeatProvisional,
        Self::ResendAnswer,
        Self::NoAck,
        Self::ResendProvisional,
        Self::NoPrack,
        Self::RetryReinvite,
        Self::Refresh,
        Self::SessionExpires,
        Self::Refer,
        Self::NoFinal,
        Self::NoResponse,
        Self::Forget,
    ];
}

/// A request of the peer that waits for our final response.
#[derive(Debug)]
pub struct Pending {
    pub transaction: TransactionId,
    pub request: Request,
}

/// What a call is doing.
#[derive(Debug)]
pub enum State {
    /// Their INVITE has no final response yet.
    Answering(Answering),
    /// Our INVITE has no final response yet.
    Calling(Calling),
    /// Answered.
    Confirmed(Box<Confirmed>),
    /// Our BYE waits for its final response.
    Leaving,
    /// Over. A BYE that crossed ours still gets its 200 (SIP-040).
    Gone { left_by_us: bool },
}

/// See [`State::Answering`].
#[derive(Debug)]
pub struct Answering {
    pub invite: Pending,
    pub had_offer: bool,
    /// The last 101 to 199: code and SDP.
    pub provisional: Option<(u16, Option<Vec<u8>>)>,
}

/// See [`State::Calling`].
#[derive(Debug)]
pub struct Calling {
    pub transaction: TransactionId,
    pub cseq: u32,
    pub had_offer: bool,
    pub cancel: Cancel,
    pub plan: Box<Plan>,
}

/// What was asked for, and what is left to try.
#[derive(Debug)]
pub struct Plan {
    pub call: OutgoingInvite,
    /// Where it may go next.
    pub ways: VecDeque<Way>,
    pub redirects: Redirects,
    /// How often it was redirected.
    pub redirected: u32,
}

impl Plan {
    /// Everything is left to try.
    pub fn new(mut call: OutgoingInvite) -> Box<Self> {
        let ways = std::mem::take(&mut call.ways.others).into();
        let redirects = std::mem::take(&mut call.ways.redirects);
        Box::new(Self { call, ways, redirects, redirected: 0 })
    }
}

/// Whether our INVITE is being taken back.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancel {
    /// No.
    No,
    /// As soon as a provisional response allows it.
    Wanted(Vec<Reason>),
    /// The CANCEL is out.
    Sent(Vec<Reason>),
}

/// See [`State::Confirmed`].
#[derive(Debug, Default)]
pub struct Confirmed {
    /// Our 2xx without ACK.
    pub unacknowledged: Option<Unacknowledged>,
    /// Our re-INVITE.
    pub reinvite: Option<Reinvite>,
    /// Our UPDATE that refreshes the session.
    pub refresh: Option<TransactionId>,
    /// CSeq of our INVITE whose 2xx brought an offer: the ACK waits for our answer.
    pub owed_ack: Option<u32>,
    /// The BYE waits for the ACK (RFC 3261 section 15).
    pub hangup: Option<Vec<Reason>>,
}

/// Their offer or question within the dialog.
#[derive(Debug)]
pub struct Waiting {
    pub pending: Pending,
    pub by: WaitingBy,
    pub had_offer: bool,
}

/// What it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitingBy {
    /// The INVITE that opens the dialog.
    Invite,
    /// A re-INVITE.
    Reinvite,
    /// An UPDATE.
    Update,
    /// The PRACK of a reliable provisional response.
    Prack,
}

/// A 2xx that is sent until its ACK comes.
#[derive(Debug)]
pub struct Unacknowledged {
    pub cseq: u32,
    pub response: Vec<u8>,
    pub path: Path,
    pub interval: Duration,
    /// It carried our offer: the answer comes in the ACK.
    pub offered: bool,
    /// It answered the initial INVITE.
    pub is_initial: bool,
}

/// Our re-INVITE, on its way or waiting to be tried again.
#[derive(Debug)]
pub struct Reinvite {
    /// None while it waits.
    pub transaction: Option<TransactionId>,
    pub sdp: Option<Vec<u8>>,
    pub attempts: u32,
    /// It refreshes the session: nobody asked for it.
    pub is_refresh: bool,
}

/// An ACK that was sent, for the next copy of its 2xx (SIP-056).
#[derive(Debug)]
pub struct SentAck {
    pub cseq: u32,
    pub remote_tag: String,
    pub path: Path,
    pub bytes: Vec<u8>,
}

/// ACKs remembered in one dialog, forks included.
const MAX_ACKS: usize = 8;

/// One call: its dialog and what it is doing.
#[derive(Debug)]
pub struct Usage {
    pub dialog: Dialog,
    pub state: State,
    /// Their re-INVITE, UPDATE or PRACK with an offer, or without one in a re-INVITE.
    pub waiting: Option<Waiting>,
    /// Their INFO requests, oldest first.
    pub infos: VecDeque<Pending>,
    /// We sent the INVITE: the Call-ID is ours.
    pub is_caller: bool,
    /// Answers challenges of requests in the dialog (SIP-094).
    pub login: Option<Arc<Login>>,
    /// Our REFERs.
    pub referrals: Referrals,
    /// The call that this one takes the place of, until it is answered.
    pub replaces: Option<DialogId>,
    /// Our provisional responses, where they are reliable.
    pub reliable: Option<Box<Reliable>>,
    /// Numbers of the peer's reliable provisional responses.
    pub numbers: Numbers,
    /// SDP of the first of them that had any, and the To tag of its sender.
    pub early_sdp: Option<(String, Vec<u8>)>,
    /// A PRACK that waits for our answer.
    pub owed_prack: Option<OwedPrack>,
    /// What the trunk wants of session timers.
    pub settings: SessionTimer,
    /// How often the peer wanted a longer session interval.
    pub wants_longer: u32,
    /// The session timer that was agreed on.
    pub session: Option<Session>,
    /// The peer allows UPDATE.
    pub peer_updates: bool,
    /// The transaction of our last re-INVITE.
    pub last_reinvite: Option<TransactionId>,
    /// Our last description that was part of an offer and its answer.
    pub local_sdp: Option<Vec<u8>>,
    acks: VecDeque<SentAck>,
    merge: Option<MergeKey>,
}

impl Usage {
    /// A call that came in.
    pub fn answering(dialog: Dialog, invite: Pending, had_offer: bool, settings: SessionTimer) -> Self {
        let state = State::Answering(Answering { invite, had_offer, provisional: None });
        Self::new(dialog, state, false, settings)
    }

    /// A call that goes out.
    pub fn calling(dialog: Dialog, calling: Calling, settings: SessionTimer) -> Self {
        Self::new(dialog, State::Calling(calling), true, settings)
    }

    fn new(dialog: Dialog, state: State, is_caller: bool, settings: SessionTimer) -> Self {
        Self {
            dialog,
            state,
            waiting: None,
            infos: VecDeque::new(),
            is_caller,
            login: None,
            referrals: Referrals::default(),
            replaces: None,
            reliable: None,
            numbers: Numbers::default(),
            early_sdp: None,
            owed_prack: None,
            settings,
            wants_longer: 0,
            session: None,
            peer_updates: false,
            last_reinvite: None,
            local_sdp: None,
            acks: VecDeque::new(),
            merge: None,
        }
    }

    /// Notes what a merged copy of its INVITE would share (SIP-038).
    pub fn merged_by(mut self, merge: Option<MergeKey>) -> Self {
        self.merge = merge;
        self
    }

    /// Takes from the peer's `Allow` whether it is refreshed by UPDATE; without one it stays as it was.
    pub fn learn_methods(&mut self, headers: &Headers) {
        if headers.has("Allow") {
            self.peer_updates = headers.list("Allow").contains(&"UPDATE");
        }
    }

    /// The confirmed state.
    pub fn confirmed(&mut self) -> Option<&mut Confirmed> {
        match &mut self.state {
            State::Confirmed(confirmed) => Some(confirmed),
            State::Answering(_) | State::Calling(_) | State::Leaving | State::Gone { .. } => None,
        }
    }

    /// Whether its `Ended` has been raised.
    pub const fn is_gone(&self) -> bool {
        matches!(self.state, State::Gone { .. })
    }

    /// Takes every request of the peer that waits, and whether each is an INVITE.
    pub fn take_pending(&mut self) -> Vec<Pending> {
        let mut pending: Vec<_> = self.infos.drain(..).collect();
        pending.extend(self.waiting.take().map(|waiting| waiting.pending));
        pending
    }

    /// Remembers an ACK.
    pub fn remember_ack(&mut self, ack: SentAck) {
        if self.acks.len() == MAX_ACKS {
            self.acks.pop_front();
        }
        self.acks.push_back(ack);
    }

    /// The ACK sent for a 2xx with this CSeq and tag.
    pub fn ack_for(&self, cseq: u32, remote_tag: &str) -> Option<&SentAck> {
        self.acks.iter().find(|ack| ack.cseq == cseq && ack.remote_tag == remote_tag)
    }
}

/// Every call of an endpoint.
#[derive(Debug, Default)]
pub struct Usages {
    next_id: u64,
    by_id: HashMap<DialogId, Usage>,
    by_local_tag: HashMap<String, DialogId>,
    invites: HashMap<MergeKey, DialogId>,
    /// Peers with a dialog: they may speak in it even after their trunk was taken off the configuration.
    peers: HashMap<IpAddr, usize>,
    timers: TimerTable<(DialogId, UsageTimer)>,
}

impl Usages {
    /// The id that the next call gets.
    pub const fn next_id(&self) -> DialogId {
        DialogId(self.next_id)
    }

    /// Adds a call.
    pub fn insert(&mut self, usage: Usage) -> DialogId {
        let id = self.next_id();
        self.next_id += 1;
        self.by_local_tag.insert(usage.dialog.local_tag.clone(), id);
        if let Some(merge) = &usage.merge {
            self.invites.insert(merge.clone(), id);
        }
        *self.peers.entry(usage.dialog.peer.to.ip()).or_default() += 1;
        self.by_id.insert(id, usage);
        id
    }

    /// A call by id.
    pub fn get(&mut self, id: DialogId) -> Option<&mut Usage> {
        self.by_id.get_mut(&id)
    }

    /// The call a request belongs to: by Call-ID and both tags (SIP-035).
    pub fn find(&self, incoming: &Incoming) -> Option<DialogId> {
        let id = *self.by_local_tag.get(incoming.to.tag()?)?;
        let dialog = &self.by_id.get(&id)?.dialog;
        let same = dialog.call_id == incoming.call_id && dialog.remote_tag == incoming.from.tag().unwrap_or_default();
        same.then_some(id)
    }

    /// The call with this tag of ours.
    pub fn by_local_tag(&self, tag: &str) -> Option<DialogId> {
        self.by_local_tag.get(tag).copied()
    }

    /// Whether this INVITE opened a call that is remembered (SIP-038).
    pub fn is_merged(&self, key: &MergeKey) -> bool {
        self.invites.contains_key(key)
    }

    /// Whether a call's INVITE came from or went to this address.
    pub fn know(&self, ip: IpAddr) -> bool {
        self.peers.contains_key(&ip)
    }

    /// Drops a call.
    pub fn forget(&mut self, id: DialogId) {
        let Some(usage) = self.by_id.remove(&id) else { return };
        self.by_local_tag.remove(&usage.dialog.local_tag);
        if let Some(merge) = usage.merge {
            self.invites.remove(&merge);
        }
        self.leave_peer(usage.dialog.peer.to.ip());
        self.disarm_all(id);
    }

    fn leave_peer(&mut self, ip: IpAddr) {
        if let Some(count) = self.peers.get_mut(&ip) {
            *count -= 1;
            if *count == 0 {
                self.peers.remove(&ip);
            }
        }
    }

    /// A call of ours goes elsewhere.
    pub fn move_peer(&mut self, id: DialogId, peer: Path) {
        let Some(usage) = self.by_id.get_mut(&id) else { return };
        let old = std::mem::replace(&mut usage.dialog.peer, peer).to.ip();
        *self.peers.entry(peer.to.ip()).or_default() += 1;
        self.leave_peer(old);
    }

    /// Calls of ours to this address that have no final response.
    pub fn calling(&self, address: SocketAddr) -> Vec<DialogId> {
        let calls = self.by_id.iter().filter(|(_, usage)| matches!(usage.state, State::Calling(_)));
        calls.filter(|(_, usage)| usage.dialog.peer.to == address).map(|(id, _)| *id).collect()
    }

    /// Whether a timer of a call is armed.
    pub fn is_armed(&self, id: DialogId, timer: UsageTimer) -> bool {
        self.timers.is_set((id, timer))
    }

    /// Arms a timer of a call.
    pub fn arm(&mut self, id: DialogId, timer: UsageTimer, when: Instant) {
        self.timers.set((id, timer), when);
    }

    /// Disarms a timer of a call.
    pub fn disarm(&mut self, id: DialogId, timer: UsageTimer) {
        self.timers.clear((id, timer));
    }

    /// Disarms every timer of a call.
    pub fn disarm_all(&mut self, id: DialogId) {
        for timer in UsageTimer::ALL {
            self.timers.clear((id, timer));
        }
    }

    /// The earliest deadline.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// One timer whose time has come.
    pub fn expired(&mut self, now: Instant) -> Option<(DialogId, UsageTimer)> {
        self.timers.expired(now)
    }

    /// Where the peers of calls that are not over are.
    pub fn peers(&self) -> impl Iterator<Item = &Path> {
        self.by_id.values().filter(|usage| !usage.is_gone()).map(|usage| &usage.dialog.peer)
    }

    /// Calls that are not over.
    pub fn alive(&self) -> usize {
        self.by_id.values().filter(|usage| !usage.is_gone()).count()
    }

    /// Calls that are remembered, over or not.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }
}
