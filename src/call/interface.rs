//! What goes into a call and what comes out of it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::base::id::AccountSid;
use crate::base::random::Random;
use crate::call::directory::{CallSlot, Directory};
use crate::call::outcome::DialFailure;
use crate::call::timeline::CallRecord;
use crate::config::{Config, Fill, JitterDelay, Trunk};
use crate::flow::Graph;
use crate::sip::{DialogId, IncomingInvite, InfoAnswer, Reason, Refer, Rejection};
use crate::stream::{SocketEnd, StreamUrl};

/// Everything a call is made of.
pub struct Setup {
    /// The SIP dialog.
    pub dialog: DialogId,
    /// The INVITE as admitted.
    pub invite: Box<IncomingInvite>,
    /// The trunk it came by.
    pub trunk: Arc<Trunk>,
    /// The account it is for.
    pub account: AccountSid,
    /// The flow that its number points at.
    pub graph: Arc<Graph>,
    /// Our RTP port.
    pub rtp_port: u16,
    /// The address that SDP shows to this peer.
    pub media_address: IpAddr,
    /// Settings shared by all calls.
    pub settings: Arc<CallSettings>,
    /// Admission of streams.
    pub directory: Arc<Directory>,
    /// The call's place; given back when the call is gone.
    pub slot: CallSlot,
    /// The call's own randomness.
    pub random: Random,
    /// The origin of the media clock's grid.
    pub clock_epoch: Instant,
}

/// Settings shared by all calls of a node.
#[derive(Debug, Clone)]
pub struct CallSettings {
    /// An unanswered call ends after this (SIP-061).
    pub answer_deadline: Duration,
    /// No RTP for this long ends a call (RTP-042).
    pub rtp_timeout: Duration,
    /// No first RTP for this long is warned about.
    pub rtp_start_timeout: Duration,
    /// How long the jitter buffer keeps packets (RTP-020).
    pub jitter_delay: JitterDelay,
    /// What the bot hears where nothing comes (RTP-007).
    pub fill: Fill,
    /// Our signalling addresses, refused in `c=` (SDP-014).
    pub signalling: Vec<SocketAddr>,
}

impl From<&Config> for CallSettings {
    fn from(config: &Config) -> Self {
        let addresses = config.sip.listeners.iter().flat_map(|listener| [listener.bind, listener.advertised]);
        Self {
            answer_deadline: config.sip.answer_deadline,
            rtp_timeout: config.media.rtp_timeout,
            rtp_start_timeout: config.media.rtp_start_timeout,
            jitter_delay: config.media.jitter_delay,
            fill: config.media.fill,
            signalling: addresses.collect(),
        }
    }
}

/// What a call wants done. `stream` counts the call's streams from 1.
#[derive(Debug)]
pub enum Output {
    /// Tell the SIP endpoint.
    Sip(SipCommand),
    /// Dial a bot; the answer is [`StreamInput::Opened`] or [`StreamInput::DialFailed`].
    OpenStream {
        /// Its number.
        stream: u32,
        /// Where and how.
        dial: Box<Dial>,
    },
    /// Send a text frame.
    StreamText {
        /// Its number.
        stream: u32,
        /// One JSON message.
        text: String,
    },
    /// Close with this code once all text is sent, or abort a dial that is under way.
    CloseStream {
        /// Its number.
        stream: u32,
        /// RFC 6455 close code.
        code: u16,
    },
    /// Send an RTCP packet, from the RTP port where both share it (RFC 5761).
    Rtcp {
        /// RTP and RTCP share a port.
        mux: bool,
        /// The peer's RTCP address.
        to: SocketAddr,
        /// A compound packet.
        packet: Vec<u8>,
    },
    /// The call's record; the last but one output.
    Record(Box<CallRecord>),
    /// Nothing follows: drop the call and its ports.
    Over,
}

/// A command to the SIP endpoint about the call's dialog.
#[derive(Debug)]
pub enum SipCommand {
    /// A 180 or 183.
    Progress {
        /// Status code, 101 to 199.
        code: u16,
        /// The body.
        sdp: Option<Vec<u8>>,
    },
    /// 200 to the pending INVITE or re-INVITE.
    Answer {
        /// The body.
        sdp: Option<Vec<u8>>,
    },
    /// A refusal of the pending INVITE or re-INVITE.
    Reject(Rejection),
    /// 200 to the pending UPDATE or PRACK.
    AnswerUpdate {
        /// The body.
        sdp: Option<Vec<u8>>,
    },
    /// A refusal of the offer in the pending UPDATE or PRACK.
    RejectUpdate(Rejection),
    /// The answer to an INFO.
    AnswerInfo(InfoAnswer),
    /// BYE with these reasons.
    Bye(Vec<Reason>),
    /// REFER, once the dialog may carry one.
    Refer(Box<Refer>),
}

/// How to reach a bot.
#[derive(Debug, Clone)]
pub struct Dial {
    /// Where, with credentials.
    pub url: StreamUrl,
    /// For both attempts together.
    pub deadline: Duration,
    /// An additional certificate authority, PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate is not verified; only for hosts the flow names.
    pub insecure: bool,
}

/// What a bot's WebSocket did.
#[derive(Debug)]
pub enum StreamInput<'a> {
    /// The upgrade succeeded.
    Opened,
    /// No attempt succeeded.
    DialFailed(DialFailure),
    /// A text frame.
    Text(&'a str),
    /// A binary frame.
    Binary(&'a [u8]),
    /// The socket is gone.
    Closed(SocketEnd),
}

/// Buffers of a media thread that its calls borrow: the packet path allocates nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    /// One packet or frame of sound.
    pub pcm: Vec<i16>,
    /// One RTP packet.
    pub packet: Vec<u8>,
}
