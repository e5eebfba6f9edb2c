//! The configuration: `raw` (what the file says) becomes `Config` (what cannot be wrong) in `resolve`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::id::AccountSid;

mod headers;
mod login;
mod outgoing;
mod raw;
pub mod reference;
mod report;
mod resolve;
mod shape;
mod timers;
mod trace;
mod transport;
mod value;

pub use headers::{HeaderRules, PdStrip, UuiEncoding, UuiSending};
pub use login::{Digest, DigestAlgorithm, Login, SecretSource, UnreadSecret};
pub use outgoing::{Destination, DestinationHost, DestinationTransport, Outgoing, Register};
pub use resolve::PORTS_PER_CALL;
pub use timers::{SessionTimer, SessionTimerMode, SipTimers};
pub use trace::Trace;
pub use transport::{Listener, Source, Streams, Tls, Transport};
pub use value::{FAILURES, is_private, normalise_number};

/// Judges flows as written: every problem with their graphs and their applets' settings.
pub type FlowCheck<'a> = &'a dyn Fn(&[Flow]) -> Vec<Problem>;

/// The whole configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// SIP listeners and timers.
    pub sip: Sip,
    /// RTP addresses, ports and supervision.
    pub media: Media,
    /// The admin listener (`/healthz /readyz /metrics`); none when not configured.
    pub admin: Option<SocketAddr>,
    /// Node-wide limits.
    pub limits: Limits,
    /// What is logged and how.
    pub log: Log,
    /// Traces of single calls.
    pub trace: Trace,
    /// Accounts by file order; sids are unique.
    pub accounts: Vec<Account>,
    /// Trunks by file order; names are unique and no (source, account) pair stands in two.
    pub trunks: Vec<Arc<Trunk>>,
    /// Called numbers, normalised; (account, number) is unique.
    pub numbers: Vec<Number>,
    /// Call flows as written; `flow::graph` checks them.
    pub flows: Vec<Flow>,
    /// This machine's own address towards the default route: what a peer inside `local_nets` is told where the bind
    /// address is unspecified.
    pub route_source: Option<IpAddr>,
    /// Secrets that stand elsewhere and were not read yet.
    pub secrets: Vec<UnreadSecret>,
}

impl Config {
    /// Reads and checks a configuration file's text. `file` is its name in problems; `route_source` the address that
    /// the default route leaves from, told to peers where the bind address is unspecified (OPS-001).
    ///
    /// # Errors
    /// Every problem found, in the order of the file.
    pub fn from_toml(file: &str, text: &str, route_source: Option<IpAddr>) -> Result<Self, Vec<Problem>> {
        Self::from_toml_with(file, text, route_source, &|_| Vec::new())
    }

    /// The same, with `flows` judging the flows that could be read, so that an operator sees everything in one round.
    ///
    /// # Errors
    /// Every problem found, those of `flows` included, in the order of the file.
    pub fn from_toml_with(
        file: &str,
        text: &str,
        route_source: Option<IpAddr>,
        flows: FlowCheck<'_>,
    ) -> Result<Self, Vec<Problem>> {
        let mut report = report::Report::new(file, text);
        let config = shape::read(text, &mut report).map(|raw| resolve::resolve(&raw, route_source, &mut report));
        let of_flows = config.as_ref().map_or_else(Vec::new, |config| flows(&config.flows));
        of_flows.into_iter().for_each(|problem| report.found(problem));
        report.finish()?;
        Ok(config.expect("a text that could not be read has a problem"))
    }
}

/// `[sip]`
#[derive(Debug, Clone)]
pub struct Sip {
    /// Where SIP is taken.
    pub listeners: Vec<Listener>,
    /// Peers in these networks see the bind address, all others the advertised one (OPS-001).
    pub local_nets: Vec<IpNet>,
    /// Who may name the peer in its stead (SIP-092).
    pub proxies: Proxies,
    /// `Server` and `User-Agent`; `None` hides them (SIP-023).
    pub user_agent: Option<String>,
    /// RFC 3261 T1, at least 200 ms.
    pub t1: Duration,
    /// RFC 3261 T2, at least 1 s.
    pub t2: Duration,
    /// RFC 3261 T4, at least 1 s.
    pub t4: Duration,
    /// An unanswered call ends with 504 after this (SIP-061).
    pub answer_deadline: Duration,
    /// 403 answers to one unknown source in a minute; silence above (SIP-091).
    pub unknown_source_per_minute: u32,
    /// How peers without a fixed address say who they are (SIP-093).
    pub digest: Digest,
    /// DSCP of signalling, 0 to 63 (RTP-034).
    pub dscp: u8,
    /// Bounds of TCP and TLS connections (SIP-004).
    pub streams: Streams,
    /// Certificates of TLS listeners and connections; none without a TLS listener (SIP-114).
    pub tls: Option<Tls>,
}

/// Proxies that stand before us and say who calls (SIP-092).
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// Their addresses.
    pub networks: Vec<IpNet>,
    /// The header in which they name the peer.
    pub peer_header: String,
}

impl Proxies {
    /// Whether `source` is one.
    #[must_use]
    pub fn have(&self, source: IpAddr) -> bool {
        let source = source.to_canonical();
        self.networks.iter().any(|network| network.contains(&source))
    }
}

/// `[media]`
#[derive(Debug, Clone)]
pub struct Media {
    /// The address RTP sockets bind to.
    pub listen_address: IpAddr,
    /// What `c=` and `o=` show to peers outside `sip.local_nets`.
    pub advertised_address: IpAddr,
    /// Lowest RTP port, even.
    pub first_port: u16,
    /// Highest port of the range, inclusive.
    pub last_port: u16,
    /// How long a released port pair rests (RTP-016).
    pub port_quarantine: Duration,
    /// Media threads; 0 is one per core.
    pub shards: usize,
    /// Priority of media threads under `SCHED_FIFO`, 1 to 99; 0 is off.
    pub realtime_priority: u8,
    /// DSCP of RTP, 0 to 63 (RTP-034).
    pub dscp: u8,
    /// No RTP for this long ends the call (RTP-042).
    pub rtp_timeout: Duration,
    /// No first RTP for this long is warned about (RTP-042).
    pub rtp_start_timeout: Duration,
    /// How long packets are kept for order and evenness (RTP-020).
    pub jitter_delay: JitterDelay,
    /// What is heard where nothing comes (RTP-007).
    pub fill: Fill,
}

/// How long the jitter buffer keeps packets (RTP-020): `min` ≤ `start` ≤ `max`, in whole milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JitterDelay {
    /// Until the line is known.
    pub start: Duration,
    /// At least.
    pub min: Duration,
    /// At most.
    pub max: Duration,
}

impl Default for JitterDelay {
    fn default() -> Self {
        Self { start: Duration::from_millis(40), min: Duration::from_millis(20), max: Duration::from_millis(120) }
    }
}

/// What is heard in gaps, on hold and in pauses (RTP-007).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Digital silence.
    Silence,
    /// Comfort noise.
    Noise,
}

impl Media {
    /// Ports in the range, RTP and RTCP.
    #[must_use]
    pub fn port_count(&self) -> usize {
        usize::from(self.last_port.saturating_sub(self.first_port)) + 1
    }
}

/// `[limits]`
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls at once on this node; above: 503.
    pub max_calls: usize,
    /// New calls a second on this node; above: 503. 0 is any number (SIP-096).
    pub max_calls_per_second: u32,
    /// New requests a second from one address of a trunk; above: 503 without state. 0 is any number (SIP-015).
    pub max_requests_per_second_per_source: u32,
    /// Bytes of the process in RAM; above: 503. `None` is any amount (SIP-096).
    pub max_memory: Option<u64>,
    /// How long live calls may go on after SIGTERM (OPS-031).
    pub drain_timeout: Duration,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// `text` or `json` lines.
    pub format: LogFormat,
    /// A `tracing` filter: `info`, `trunkstream=debug`, …
    pub filter: String,
    /// Where call records are appended, one JSON object a line; they are logged too.
    pub call_records: Option<PathBuf>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// `[[account]]`
#[derive(Debug, Clone)]
pub struct Account {
    /// What `X-Exotel-AccountSid` names.
    pub sid: AccountSid,
    /// Open streams at once.
    pub max_streams: usize,
    /// A disabled account's calls are refused with 403.
    pub enabled: bool,
}

/// `[[trunk]]`: a peer that may call us.
#[derive(Debug, Clone)]
pub struct Trunk {
    /// `[A-Za-z0-9_]{1,16}`.
    pub name: String,
    /// The accounts it may call for, at least one.
    pub accounts: Vec<AccountSid>,
    /// Sources of its signalling that need no credentials.
    pub sources: Vec<Source>,
    /// The networks of `sources`.
    pub allow: Vec<IpNet>,
    /// Only over TLS, and with a client certificate of `sip.tls_client_ca_file`.
    pub client_certificate: bool,
    /// What it says from elsewhere, and we say when it asks.
    pub auth: Option<Arc<Login>>,
    /// Calls out.
    pub outgoing: Outgoing,
    /// Sources of its media; `allow` where not configured (RTP-011).
    pub media_allow: Vec<IpNet>,
    /// New calls a minute; above: 480. 0 is any number (SIP-096).
    pub max_calls_per_minute: u32,
    /// `account_header = "optional"`: a call without the header takes the trunk's only account (HDR-002).
    pub account_header_optional: bool,
    /// A missing `rport` counts as present (SIP-021).
    pub force_rport: bool,
    /// In-dialog requests go to the source address when the Contact is private and there is no Record-Route (SIP-052).
    pub nat_contact_fix: bool,
    /// Codecs in our order of preference; `None` follows the offer with all but L16 (SDP-004).
    pub codecs: Option<Vec<String>>,
    /// Refuse SDP addresses outside `media_allow` (SDP-014).
    pub strict_media_acl: bool,
    /// RTP-011.
    pub media_nat: MediaNat,
    /// A locked source that went silent may be learned anew (RTP-013).
    pub relearn_after_silence: bool,
    /// SDP-015.
    pub srtp: SrtpPolicy,
    /// SRTP keys may stand in signalling that is not encrypted (SDP-018).
    pub allow_sdes_cleartext: bool,
    /// P-Asserted-Identity and Remote-Party-ID of this trunk are believed (SIP-111).
    pub trusted: bool,
    /// Withheld numbers reach the bot all the same (SIP-111).
    pub deliver_private: bool,
    /// Mute tones sent beside telephone-events (RTP-062).
    pub dtmf_mute: bool,
    /// How digits are found and told.
    pub dtmf: Dtmf,
    /// What is sent while the bot is quiet (RTP-032).
    pub idle_tx: IdleTx,
    /// Music on hold reaches the bot (SDP-011).
    pub hold_audio_pass: bool,
    /// A hold longer than this ends the call; `None` is never (SDP-011).
    pub hold_timeout: Option<Duration>,
    /// Where the called number is (HDR-003).
    pub route_on: RouteOn,
    /// Prefixes of called numbers that may be taken off (HDR-003).
    pub number_prefixes: Vec<String>,
    /// Country code of national called numbers.
    pub country_code: Option<String>,
    /// Other SIP codes for unanswered calls, by the failure's word (SIP-121).
    pub sip_codes: BTreeMap<String, u16>,
    /// RFC 3261 T1, T2 and T4 for this peer.
    pub timers: SipTimers,
    /// 18x go reliably to callers that only support it, too (SIP-062).
    pub reliable_provisionals: bool,
    /// RFC 4028 with this peer (SIP-080).
    pub session_timer: SessionTimer,
    /// DSCP of its media, 0 to 63; `None` is the node's (RTP-034).
    pub media_dscp: Option<u8>,
    /// How X- headers become custom parameters.
    pub headers: HeaderRules,
    /// How User-to-User is sent.
    pub uui_sending: UuiSending,
}

/// `dtmf_report` and `inband_dtmf` of a trunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dtmf {
    /// A digit is told when it begins, not when it ends (RTP-056).
    pub at_start: bool,
    /// Tones in the audio are digits where telephone-events are not negotiated and no INFO has come (RTP-060).
    pub inband: bool,
}

/// Which address of an INVITE has the called number (HDR-003, SIP-112).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteOn {
    /// The Request-URI.
    Ruri,
    /// To.
    To,
    /// What was dialled first: the last Diversion, else the first of History-Info, else the Request-URI.
    Diversion,
}

impl RouteOn {
    /// Its name, for people.
    #[must_use]
    pub const fn place(self) -> &'static str {
        match self {
            Self::Ruri => "the Request-URI",
            Self::To => "To",
            Self::Diversion => "Diversion",
        }
    }
}

/// When media may come from an address other than the SDP's (RTP-011).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaNat {
    /// Only the exact SDP address and port.
    Off,
    /// The SDP address at any port, or the trunk's media networks.
    Auto,
    /// As `auto`; kept for symmetry with trunks known to be behind NAT.
    On,
}

/// Whether media is encrypted (SDP-015).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrtpPolicy {
    /// Never: RTP/SAVP is refused.
    #[default]
    Off,
    /// Where the peer's offer says RTP/SAVP.
    Optional,
    /// Always: an offer without keys is refused.
    Required,
}

/// What is sent to the caller while the bot is quiet (RTP-032).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleTx {
    /// Packets of silence.
    Silence,
    /// Comfort noise where negotiated, else silence.
    ComfortNoise,
    /// Nothing.
    Nothing,
}

/// `[[number]]`: a called number and its flow.
#[derive(Debug, Clone)]
pub struct Number {
    /// Normalised digits, or `*` for the account's default.
    pub number: String,
    /// Its account.
    pub account: AccountSid,
    /// Its flow's id.
    pub flow: String,
}

/// `[[flow]]` as written.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Unique id.
    pub id: String,
    /// Name of the first step.
    pub start: String,
    /// Steps by name.
    pub steps: Vec<Step>,
    /// Where it stands in the file.
    pub place: Place,
}

/// One step of a flow as written: the applet reads its own settings.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its name, unique in the flow.
    pub name: String,
    /// The applet's wire name: `voicebot`, `hangup`, …
    pub applet: String,
    /// Every other key of the table.
    pub settings: toml::Table,
    /// The line of each key in `settings`.
    pub lines: BTreeMap<String, usize>,
    /// Where the step stands in the file.
    pub place: Place,
}

/// A place in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as the operator named it.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
}

/// Something wrong in the configuration: where, which key, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {key}: {message}", place.file, place.line)]
pub struct Problem {
    /// File and line.
    pub place: Place,
    /// The key's full path: `trunk.lab.allow`, `flow.bot.step.talk.url`.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
}
