//! Traces of single calls (OPS-026): what is held, what is armed, and who follows it.
//!
//! The SIP task shows every message, which is kept in a bounded ring. A shard shows the packets of armed calls, by a
//! bounded channel, so that it never waits; one task puts them beside. Whoever traces reads from the rings, and is behind
//! by a moment, so that what is known of a call is there before its first message is judged.

mod follow;
mod frame;
mod hep;
mod mask;
mod pcapng;
mod ring;
mod selection;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::base::metric;
use crate::call::{Call, PacketCopy};
use crate::config::{self, Config};
use crate::server::shard::ShardInput;
use crate::sip::DialogId;
use ring::{Entry, Kind, Rings, Shelf};
use selection::{Chosen, Identity};

/// Copies that may be on their way from the shards.
const COPIES_WAITING: usize = 4096;
/// Ended calls of which is known who they were.
const ENDED_KNOWN: usize = 4096;

/// A node's traces; every clone is the same.
#[derive(Clone)]
pub struct Trace(Arc<Shared>);

struct Shared {
    config: config::Trace,
    /// Whose signalling is not a stranger's.
    known: Vec<IpNet>,
    /// Networks by trunk.
    trunks: HashMap<String, Vec<IpNet>>,
    rings: Mutex<Rings>,
    calls: Mutex<Calls>,
    copies: mpsc::Sender<Entry>,
    /// Where calls live; set once they do.
    shards: Mutex<Vec<mpsc::UnboundedSender<ShardInput>>>,
}

/// Who is up, who was, and whose media is wanted.
#[derive(Default)]
struct Calls {
    live: HashMap<DialogId, Live>,
    by_call_id: HashMap<Arc<str>, DialogId>,
    ended: VecDeque<Identity>,
    arms: Vec<(u64, Chosen)>,
    arms_made: u64,
    /// Traces under way.
    followers: usize,
}

struct Live {
    identity: Identity,
    shard: usize,
    armed: bool,
}

impl Trace {
    /// Nothing held yet; and the tasks that work for it from now on.
    pub fn start(config: &Config) -> (Self, Vec<JoinHandle<()>>) {
        let (copies, received) = mpsc::channel(COPIES_WAITING);
        let of_trunks = config.trunks.iter().flat_map(|trunk| &trunk.allow);
        let shared = Shared {
            config: config.trace,
            known: of_trunks.chain(&config.sip.proxies.networks).copied().collect(),
            trunks: config.trunks.iter().map(|trunk| (trunk.name.clone(), trunk.allow.clone())).collect(),
            rings: Mutex::new(Rings::new(config.trace.signalling_bytes, config.trace.rtp_bytes)),
            calls: Mutex::default(),
            copies,
            shards: Mutex::default(),
        };
        let trace = Self(Arc::new(shared));
        let mut tasks = vec![tokio::spawn(trace.clone().collect(received))];
        tasks.extend(config.trace.hep.map(|collector| tokio::spawn(trace.clone().export(collector))));
        (trace, tasks)
    }

    /// Says where calls live.
    pub fn set_shards(&self, shards: Vec<mpsc::UnboundedSender<ShardInput>>) {
        *self.0.shards.lock().unwrap_or_else(PoisonError::into_inner) = shards;
    }

    /// A SIP message has come or leaves. `transport`: `UDP`, `TCP`, `TLS`; the message is not encrypted here.
    pub fn sip(&self, outgoing: bool, local: SocketAddr, peer: SocketAddr, transport: &'static str, message: &[u8]) {
        // Keepalives are no messages (SIP-005).
        if self.0.config.signalling_bytes == 0 || message.len() <= 4 {
            return;
        }
        let address = peer.ip().to_canonical();
        let known = self.0.known.iter().any(|network| network.contains(&address));
        let kind = Kind::Sip { transport };
        let entry = Entry { number: 0, at: SystemTime::now(), outgoing, local, peer, kind, bytes: message.into() };
        self.rings().push(if known { Shelf::Known } else { Shelf::Stranger }, entry);
    }

    /// A call has been admitted and lives on `shard`; its RTP has the address `local`. What is given back belongs to the
    /// call and goes with it.
    pub fn begins(&self, call: &mut Call, call_id: &str, trunk: &str, shard: usize, local: SocketAddr) -> Traced {
        let (from, to) = call.numbers();
        let identity = Identity {
            call_id: call_id.into(),
            call_sid: call.sid().to_string(),
            trunk: trunk.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        };
        let (dialog, call_id) = (call.dialog(), identity.call_id.clone());
        let mut calls = self.calls();
        let armed = calls.arms.iter().any(|(_, chosen)| chosen.is(&identity));
        calls.by_call_id.insert(call_id.clone(), dialog);
        calls.live.insert(dialog, Live { identity, shard, armed });
        drop(calls);
        call.set_copying(armed);
        Traced { trace: self.clone(), dialog, call_id, local }
    }

    /// Wants the media of what is `chosen` until [`Trace::disarm`].
    fn arm(&self, chosen: Chosen) -> u64 {
        let mut calls = self.calls();
        calls.arms_made += 1;
        let number = calls.arms_made;
        calls.arms.push((number, chosen));
        self.settle(&mut calls);
        number
    }

    fn disarm(&self, number: u64) {
        let mut calls = self.calls();
        calls.arms.retain(|(other, _)| *other != number);
        self.settle(&mut calls);
    }

    /// Tells the shards of calls whose media is wanted now, or no more.
    fn settle(&self, calls: &mut Calls) {
        let shards = self.0.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let Calls { live, arms, .. } = calls;
        for (dialog, call) in live {
            let armed = arms.iter().any(|(_, chosen)| chosen.is(&call.identity));
            if armed != call.armed
                && let Some(shard) = shards.get(call.shard)
            {
                call.armed = armed;
                let _ = shard.send(ShardInput::Copy { dialog: *dialog, on: armed });
            }
        }
    }

    /// Who has, or had, this Call-ID.
    fn known(&self, call_id: &str) -> Option<Identity> {
        let calls = self.calls();
        let live = calls.by_call_id.get(call_id).and_then(|dialog| calls.live.get(dialog)).map(|live| &live.identity);
        live.or_else(|| calls.ended.iter().rev().find(|call| *call.call_id == *call_id)).cloned()
    }

    fn is_live(&self, call_id: &str) -> bool {
        self.calls().by_call_id.contains_key(call_id)
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.0.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What ties a live call to the traces.
pub struct Traced {
    trace: Trace,
    dialog: DialogId,
    call_id: Arc<str>,
    local: SocketAddr,
}

impl Traced {
    /// Passes on the copies that the call has made; never waits.
    pub fn take(&self, call: &mut Call) {
        while let Some(copy) = call.poll_copy() {
            if self.trace.0.copies.try_send(self.entry(copy)).is_err() {
                metric::TRACE_DROPPED.add_with(1, &[("where", "shard".to_owned())]);
            }
        }
    }

    fn entry(&self, copy: PacketCopy) -> Entry {
        let PacketCopy { at, outgoing, peer, rtcp_port, kind, decrypted, bytes } = copy;
        let local = SocketAddr::new(self.local.ip(), self.local.port() + u16::from(rtcp_port));
        Entry {
            number: 0,
            at: SystemTime::now()
                .checked_sub(Instant::now().saturating_duration_since(at))
                .unwrap_or(SystemTime::UNIX_EPOCH),
            outgoing,
            local,
            peer,
            kind: Kind::Media { call_id: self.call_id.clone(), copied: kind, decrypted },
            bytes: bytes.into(),
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let mut calls = self.trace.calls();
        if calls.by_call_id.get(&self.call_id) == Some(&self.dialog) {
            calls.by_call_id.remove(&self.call_id);
        }
        if let Some(live) = calls.live.remove(&self.dialog) {
            if calls.ended.len() == ENDED_KNOWN {
                calls.ended.pop_front();
            }
            calls.ended.push_back(live.identity);
        }
    }
}

/// The address that frames show for ours: as bound, or as peers are told where that is none in particular.
pub fn shown(bound: SocketAddr, told: IpAddr) -> SocketAddr {
    if bound.ip().is_unspecified() { SocketAddr::new(told, bound.port()) } else { bound }
}
