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
use super::message::Request;
use super::reason::Reason;
use super::refer::Referrals;
use super::transaction::{MergeKey, Path, TransactionId};
use super::{DialogId, incoming::Incoming};
use crate::base::timer::TimerTable;
use crate::config::Login;

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
    /// When our re-INVITE that met theirs may be tried again (SIP-073).
    RetryReinvite,
    /// When the result of our REFER is overdue (SIP-102).
    Refer,
    /// When no final response followed our CANCEL.
    NoFinal,
    /// When a destination of our call said nothing at all (SIP-055).
    NoResponse,
    /// When nothing of the dialog can come any more.
    Forget,
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
    /// Their re-INVITE or UPDATE.
    pub waiting: Option<Waiting>,
    /// Our 2xx without ACK.
    pub unacknowledged: Option<Unacknowledged>,
    /// Our re-INVITE.
    pub reinvite: Option<Reinvite>,
    /// CSeq of our INVITE whose 2xx brought an offer: the ACK waits for our answer.
    pub owed_ack: Option<u32>,
    /// The BYE waits for the ACK (RFC 3261 section 15).
    pub hangup: Option<Vec<Reason>>,
}

/// Their offer or question in a confirmed dialog.
#[derive(Debug)]
pub struct Waiting {
    pub pending: Pending,
    pub is_update: bool,
    pub had_offer: bool,
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
    acks: VecDeque<SentAck>,
    merge: Option<MergeKey>,
}

impl Usage {
    /// A call that came in.
    pub fn answering(dialog: Dialog, invite: Pending, had_offer: bool, merge: Option<MergeKey>) -> Self {
        let state = State::Answering(Answering { invite, had_offer, provisional: None });
        let (infos, acks, referrals) = (VecDeque::new(), VecDeque::new(), Referrals::default());
        Self { dialog, state, infos, is_caller: false, login: None, referrals, replaces: None, acks, merge }
    }

    /// A call that goes out.
    pub fn calling(dialog: Dialog, calling: Calling) -> Self {
        let state = State::Calling(calling);
        let (infos, acks, referrals) = (VecDeque::new(), VecDeque::new(), Referrals::default());
        Self { dialog, state, infos, is_caller: true, login: None, referrals, replaces: None, acks, merge: None }
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
        if let Some(confirmed) = self.confirmed() {
            pending.extend(confirmed.waiting.take().map(|waiting| waiting.pending));
        }
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
        use UsageTimer::{
            Expires, Forget, NoAck, NoFinal, NoResponse, Refer, RepeatProvisional, ResendAnswer, RetryReinvite,
        };
        for timer in
            [Expires, RepeatProvisional, ResendAnswer, NoAck, RetryReinvite, Refer, NoFinal, NoResponse, Forget]
        {
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

    /// Calls that are not over.
    pub fn alive(&self) -> usize {
        self.by_id.values().filter(|usage| !usage.is_gone()).count()
    }

    /// Calls that are remembered, over or not.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }
}
