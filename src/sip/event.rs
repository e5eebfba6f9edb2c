//! What goes in and out of the endpoint besides datagrams: events, and the arguments of commands.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::incoming::stateless_tag;
use super::{ConnectionId, DialogId, Headers, ListenerId, NameAddr, Reason, ReferFailure, Uri};
use crate::config::{Login, Transport, Trunk};

/// A message to be sent from a listener's socket (SIP-001), or over a connection of that listener: `connection` while it
/// is there, else one to `to`, opened where there is none (SIP-021, SIP-114).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// Which socket.
    pub listener: ListenerId,
    /// Where to.
    pub to: SocketAddr,
    /// By which connection; always `None` from a UDP listener.
    pub connection: Option<ConnectionId>,
    /// The message.
    pub bytes: Vec<u8>,
}

/// The arguments of `Endpoint::invite`.
#[derive(Debug, Clone)]
pub struct OutgoingInvite {
    /// The socket to call from.
    pub listener: ListenerId,
    /// The next hop.
    pub target: SocketAddr,
    /// Request-URI.
    pub request_uri: String,
    /// From without tag: `"Name" <sip:…>`.
    pub from: String,
    /// To without tag.
    pub to: String,
    /// Further header lines.
    pub headers: Vec<(String, String)>,
    /// The offer; without one the answerer makes it, and `Endpoint::answer` sends our answer in the ACK.
    pub sdp: Option<Vec<u8>>,
    /// What else may be done to get it through.
    pub ways: Ways,
}

/// What may be done to get a call through, besides asking its target; by default nothing.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// Where it goes in turn when its target cannot be reached, says nothing, or answers 503 (SIP-055).
    pub others: Vec<Way>,
    /// Who says nothing at all for this long is given up; 64·T1 where this is not given.
    pub no_response: Option<Duration>,
    /// Answers challenges (SIP-094).
    pub login: Option<Arc<Login>>,
    /// Where a 3xx may send it.
    pub redirects: Redirects,
}

/// One place where a call may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The next hop.
    pub target: SocketAddr,
    /// Request-URI.
    pub request_uri: String,
}

/// Where a 3xx may send a call: nowhere by default.
#[derive(Debug, Clone, Default)]
pub struct Redirects {
    /// Hosts, and where they are.
    pub hosts: Vec<(String, SocketAddr)>,
    /// Networks.
    pub networks: Vec<IpNet>,
}

/// Why we refuse, for our own log and metrics; the peer is not told (SIP-095).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Why {
    /// One word, for the metric.
    pub label: &'static str,
    /// What stands in the way, for the log.
    pub text: &'static str,
}

/// A final refusal; its phrase is the standard one (SIP-095).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejection {
    /// 300 to 699.
    pub code: u16,
    /// `Reason` values.
    pub reasons: Vec<Reason>,
    /// `Retry-After`, seconds.
    pub retry_after: Option<u32>,
    /// `Warning`: code (RFC 3261 section 20.43) and text.
    pub warning: Option<(u16, String)>,
    /// Further header lines.
    pub headers: Vec<(&'static str, String)>,
    /// For us; `None` where the code says it all.
    pub why: Option<Why>,
}

impl Rejection {
    /// A refusal with nothing but its code.
    #[must_use]
    pub fn new(code: u16) -> Self {
        Self { code, ..Self::default() }
    }

    /// The same with a `Reason`.
    #[must_use]
    pub fn reason(mut self, reason: Reason) -> Self {
        self.reasons.push(reason);
        self
    }
}

/// How an INFO is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InfoAnswer {
    /// 200
    Ok,
    /// 415, with `Accept` of the DTMF types.
    UnsupportedMediaType,
    /// 469: an Info-Package that we did not ask for (RFC 6086).
    BadEvent,
}

/// A call that came in.
#[derive(Debug, Clone)]
pub struct IncomingInvite {
    /// Source of the packet.
    pub source: SocketAddr,
    /// Who calls: the source, or whom a trusted proxy names (SIP-092).
    pub peer: IpAddr,
    /// The socket it came in on.
    pub listener: ListenerId,
    /// What it came by.
    pub transport: Transport,
    /// Call-ID.
    pub call_id: String,
    /// Request-URI.
    pub request_uri: Uri,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// Our tag of the dialog.
    pub local_tag: String,
    /// Every header line.
    pub headers: Headers,
    /// The offer, if there is one.
    pub body: InviteBody,
    /// The signalling address shown to this peer.
    pub our_address: IpAddr,
    /// Whether the peer is in `local_nets`.
    pub peer_is_local: bool,
    /// Every trunk whose `allow` has the peer, in configuration order.
    pub trunk_candidates: Vec<Arc<Trunk>>,
    /// The answered call whose place it is to take (RFC 3891): no new call begins. Whether this peer may do so is for the
    /// receiver of the event to say; `answer` hangs the other one up.
    pub replaces: Option<DialogId>,
    /// 101 to 199 are sent reliably: one may carry our offer where the INVITE had none, and the first one has to (SIP-062).
    pub reliable_provisionals: bool,
}

impl IncomingInvite {
    /// What both tags look like in a log: short hashes, by which log lines of several machines can be matched (SIP-116).
    #[must_use]
    pub fn tag_hashes(&self) -> (String, String) {
        let short = |tag: &str| stateless_tag(&[tag])[..8].to_owned();
        (short(self.from.tag().unwrap_or_default()), short(&self.local_tag))
    }
}

/// An INVITE's body, multipart taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InviteBody {
    /// None: our 200 must carry the offer.
    None,
    /// An offer.
    Sdp(Vec<u8>),
}

/// What happened in a dialog. `Ended` is the last one of each.
#[derive(Debug, Clone)]
pub enum Event {
    /// A new call; its 100 is queued. Answer with `answer` or `reject`.
    Invite {
        /// Its dialog.
        dialog: DialogId,
        /// What it said.
        invite: Box<IncomingInvite>,
    },
    /// A re-INVITE: `answer` (without `sdp` in it: with a fresh offer) or `reject`. A CANCEL may take it back silently.
    Reinvite {
        /// Its dialog.
        dialog: DialogId,
        /// The offer, if there is one.
        sdp: Option<Vec<u8>>,
    },
    /// An UPDATE or PRACK with an offer: `answer_update` or `reject_update` at once (SIP-075).
    Update {
        /// Its dialog.
        dialog: DialogId,
        /// The offer; always there.
        sdp: Option<Vec<u8>>,
    },
    /// The first ACK of a 2xx of ours, or other proof that it arrived (SIP-076).
    Acknowledged {
        /// Its dialog.
        dialog: DialogId,
        /// The answer, where our 2xx carried the offer.
        sdp: Option<Vec<u8>>,
    },
    /// The PRACK of a reliable provisional response that carried our offer.
    Pracked {
        /// Its dialog.
        dialog: DialogId,
        /// The answer; none where the peer left it out.
        sdp: Option<Vec<u8>>,
    },
    /// No PRACK came for a reliable provisional response within 64·T1; the INVITE is refused with 504 (SIP-062).
    PrackTimeout {
        /// Its dialog.
        dialog: DialogId,
    },
    /// The caller took the call back before our final answer; 200 and 487 are queued.
    Cancelled {
        /// Its dialog.
        dialog: DialogId,
        /// The CANCEL's reasons.
        reasons: Vec<Reason>,
    },
    /// The peer hung up; 200 is queued.
    Bye {
        /// Its dialog.
        dialog: DialogId,
        /// The BYE's reasons.
        reasons: Vec<Reason>,
        /// The BYE's header lines.
        headers: Headers,
    },
    /// An INFO with a body: `answer_info`.
    Info {
        /// Its dialog.
        dialog: DialogId,
        /// Content-Type.
        content_type: Option<String>,
        /// Info-Package (RFC 6086).
        package: Option<String>,
        /// The body.
        body: Vec<u8>,
    },
    /// No ACK came for our 2xx within 64·T1; BYE is queued (SIP-034).
    AckTimeout {
        /// Its dialog.
        dialog: DialogId,
    },
    /// The INVITE's `Expires` passed before a final answer; 487 is queued (SIP-041).
    Expired {
        /// Its dialog.
        dialog: DialogId,
    },
    /// The session timer ran out, or a refresh of ours failed; BYE is queued (SIP-082, SIP-083).
    SessionExpired {
        /// Its dialog.
        dialog: DialogId,
        /// The BYE's reasons.
        reasons: Vec<Reason>,
    },
    /// Our call: a 101 to 199. Where our INVITE had no offer, SDP in it is one: `answer` puts our answer into the PRACK.
    Provisional {
        /// Its dialog.
        dialog: DialogId,
        /// Status code.
        code: u16,
        /// Its SDP.
        sdp: Option<Vec<u8>>,
    },
    /// Our call was answered. The ACK is queued, except where our INVITE had no offer: then `answer` sends it.
    Answered {
        /// Its dialog.
        dialog: DialogId,
        /// The answer, also one that a reliable provisional response brought; or the offer where ours carried none and
        /// no provisional response brought it.
        sdp: Option<Vec<u8>>,
        /// The 200's header lines.
        headers: Headers,
    },
    /// Our call was refused, or timed out (code 408).
    Rejected {
        /// Its dialog.
        dialog: DialogId,
        /// Status code, 300 to 699.
        code: u16,
        /// Reason phrase.
        phrase: String,
        /// `Reason` values.
        reasons: Vec<Reason>,
        /// The response's header lines; none after a time-out.
        headers: Headers,
    },
    /// Our re-INVITE was answered, also one that refreshed the session with our last description; the ACK as with
    /// `Answered`.
    ReinviteAnswered {
        /// Its dialog.
        dialog: DialogId,
        /// The answer, or the offer where ours carried none.
        sdp: Option<Vec<u8>>,
    },
    /// Our re-INVITE was refused; the session goes on, except after 408 and 481.
    ReinviteRejected {
        /// Its dialog.
        dialog: DialogId,
        /// Status code.
        code: u16,
    },
    /// Our INFO was answered.
    InfoAnswered {
        /// Its dialog.
        dialog: DialogId,
        /// Status code; 408 after a time-out.
        code: u16,
    },
    /// Our REFER: its target has answered with a provisional response.
    ReferProgress {
        /// Its dialog.
        dialog: DialogId,
        /// Status code, 100 to 199.
        code: u16,
    },
    /// Our REFER: the target has the call; the peer hangs up, or it is for us to do so (SIP-103).
    ReferSucceeded {
        /// Its dialog.
        dialog: DialogId,
    },
    /// Our REFER: the target has not; this call goes on.
    ReferFailed {
        /// Its dialog.
        dialog: DialogId,
        /// Why.
        failure: ReferFailure,
    },
    /// The dialog is over. After our BYE this comes with the BYE's answer or time-out.
    Ended {
        /// Its dialog.
        dialog: DialogId,
    },
}

impl Event {
    /// The dialog it happened in.
    #[must_use]
    pub const fn dialog(&self) -> DialogId {
        match self {
            Self::Invite { dialog, .. }
            | Self::Reinvite { dialog, .. }
            | Self::Update { dialog, .. }
            | Self::Acknowledged { dialog, .. }
            | Self::Pracked { dialog, .. }
            | Self::PrackTimeout { dialog }
            | Self::SessionExpired { dialog, .. }
            | Self::Cancelled { dialog, .. }
            | Self::Bye { dialog, .. }
            | Self::Info { dialog, .. }
            | Self::AckTimeout { dialog }
            | Self::Expired { dialog }
            | Self::Provisional { dialog, .. }
            | Self::Answered { dialog, .. }
            | Self::Rejected { dialog, .. }
            | Self::ReinviteAnswered { dialog, .. }
            | Self::ReinviteRejected { dialog, .. }
            | Self::InfoAnswered { dialog, .. }
            | Self::ReferProgress { dialog, .. }
            | Self::ReferSucceeded { dialog }
            | Self::ReferFailed { dialog, .. }
            | Self::Ended { dialog } => *dialog,
        }
    }
}
