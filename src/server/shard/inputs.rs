//! What reaches a shard, and what it shares with the rest of the node.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::base::id::AccountSid;
use crate::call::directory::{CallSlot, Directory};
use crate::call::timeline::CallRecord;
use crate::call::{CallSettings, SipCommand};
use crate::config::Trunk;
use crate::flow::Graph;
use crate::net::rtp_socket::RtpPorts;
use crate::net::tls::TlsConnectors;
use crate::server::trace::Trace;
use crate::sip::{DialogId, Event, IncomingInvite};

/// What reaches a shard from other threads.
pub enum ShardInput {
    /// A call that was admitted to this shard.
    Invite(Box<Admitted>),
    /// An INVITE that is to take the place of a call of this shard.
    Replace(DialogId, Box<IncomingInvite>),
    /// Something happened in a dialog of this shard.
    Sip(Event),
    /// A trace wants copies of a call's packets, or no more.
    Copy {
        /// The call's dialog.
        dialog: DialogId,
        /// Wanted.
        on: bool,
    },
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
    /// Who looks on.
    pub trace: Trace,
    /// Finished calls.
    pub records: mpsc::UnboundedSender<CallRecord>,
}
