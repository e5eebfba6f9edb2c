//! What the file says, key by key: the doc comments here are the text of config/reference.toml, the defaults its values.
//!
//! A key that must be given is marked `x-required`, one that stands instead of another `x-instead-of`; the shape check
//! and the reference read both marks, the ranges and the defaults from the schema, so that each stands here only.

mod trunk;

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, generate::SchemaSettings};
use serde::{Deserialize, Serialize};

pub(super) use trunk::{
    AccountHeader, Auth, DtmfReport, HeaderMerge, HoldAudio, IdleTx, InbandDtmf, MediaNat, PdStrip, Register, RouteOn,
    Srtp, Trunk, UuiEncoding, UuiSendPd,
};

/// The whole file.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub sip: Sip,
    pub media: Media,
    pub admin: Admin,
    pub limits: Limits,
    pub log: Log,
    pub trace: Trace,
    pub account: Vec<Account>,
    pub trunk: Vec<Trunk>,
    pub number: Vec<Number>,
    pub flow: Vec<Flow>,
}

/// The schema of the whole file, without references.
pub(super) fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<Raw>()
}

/// SIP: where calls come in, and what peers are told about where we are.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sip {
    /// Sockets that take SIP: "udp:ADDRESS:PORT", "tcp:ADDRESS:PORT", "tls:ADDRESS:PORT", an IPv6 address in brackets
    /// (`udp:[::1]:5060`). UDP is 5060 by custom, TLS 5061.
    pub listen: Vec<String>,
    /// The address that Via, Contact and SDP show to peers outside `local_nets`: the public address of a machine behind
    /// 1:1 NAT. An IP address, with ":PORT" where the port is mapped too. Default: the address listened on; for 0.0.0.0
    /// the address that the default route leaves from. The port holds for UDP and TCP; TLS is told with its own. A private address is not shown unless `allow_private` says so.
    #[schemars(example = &"203.0.113.10")]
    pub advertised_address: Option<String>,
    /// Listen on a private address without `advertised_address`: right where every trunk is in the same network.
    pub allow_private: bool,
    /// Peers in these networks (VPN, VPC peering, this machine) are shown the address listened on, not the advertised one.
    pub local_nets: Vec<String>,
    /// Networks or addresses of proxies of yours that stand before the bridge (Kamailio, OpenSIPS). What they send is judged
    /// by the address in `proxy_peer_header`: that is matched against `allow` of the trunks. A proxy must set the header
    /// itself, in place of what came to it. Without the header the proxy is the peer; its OPTIONS are always answered.
    #[schemars(example = ["10.0.0.4"])]
    pub trusted_proxies: Vec<String>,
    /// The header in which a trusted proxy names the address it has the request from, "ADDRESS" or "ADDRESS:PORT". It never
    /// reaches the bot, whoever sent it.
    pub proxy_peer_header: String,
    /// `Server` and `User-Agent` header; "" hides them. Default: trunkstream/VERSION.
    #[schemars(example = &"trunkstream")]
    pub user_agent: Option<String>,
    /// RFC 3261 timer T1: the round trip estimate; the first retransmission comes after it.
    #[schemars(range(min = 200, max = 10_000))]
    pub t1_milliseconds: u32,
    /// RFC 3261 timer T2: the longest interval between retransmissions. Not below T1.
    #[schemars(range(min = 1000, max = 60_000))]
    pub t2_milliseconds: u32,
    /// RFC 3261 timer T4: how long a message may live in the network.
    #[schemars(range(min = 1000, max = 60_000))]
    pub t4_milliseconds: u32,
    /// Session timers (RFC 4028): the peer, or the bridge, refreshes a call every half interval; a call that is not
    /// refreshed has died unseen and ends.
    pub session_timer: SessionTimer,
    /// The session interval asked for, and the longest accepted: what a peer asks above it is cut to it.
    #[schemars(range(min = 90, max = 86_400))]
    pub session_expires_seconds: u32,
    /// The shortest session interval accepted; a caller that asks for less gets 422. Not above `session_expires_seconds`.
    #[schemars(range(min = 90, max = 86_400))]
    pub min_se_seconds: u32,
    /// A call that nothing has answered by then ends with 504.
    #[schemars(range(min = 1, max = 180))]
    pub answer_deadline_seconds: u32,
    /// 403 (or 401, see `digest_realm`) answers to one source without a trunk in a minute; above it there is silence.
    #[schemars(range(min = 0, max = 6000))]
    pub unknown_source_answers_per_minute: u32,
    /// Realm of the digest challenge that sources without a trunk get where a trunk has `auth`; on every node the same.
    pub digest_realm: String,
    /// What the nonces of those challenges are signed with: a text of 16 characters or more, `env:NAME` or `file:PATH`. On
    /// every node the same, where several stand behind one address. Default: a random one for each process.
    #[schemars(example = &"env:TRUNKSTREAM_DIGEST_KEY")]
    pub digest_key: Option<String>,
    /// Algorithms of those challenges, the preferred first: "SHA-256", "SHA-512-256", "MD5". Some PBXs look at the first alone.
    pub digest_algorithms: Vec<String>,
    /// DSCP of signalling packets: 24 is CS3, 40 is CS5, 0 marks nothing.
    #[schemars(range(min = 0, max = 63))]
    pub dscp: u8,
    /// Certificate of this node for SIP over TLS (PEM), with those between it and its authority; needed by a "tls:"
    /// listener. Read again when the file changes, and on SIGHUP.
    #[schemars(example = &"/etc/trunkstream/sip.pem")]
    pub tls_certificate_file: Option<String>,
    /// Its private key (PEM).
    #[schemars(example = &"/etc/trunkstream/sip.key")]
    pub tls_key_file: Option<String>,
    /// Authorities of peers that we connect to over TLS (PEM), besides those of the system.
    #[schemars(example = &"/etc/trunkstream/peers.pem")]
    pub tls_ca_file: Option<String>,
    /// Authorities of client certificates (PEM). Peers are then asked for one, and one by another authority is refused;
    /// `client_certificate` of a trunk says whether it may be missing.
    #[schemars(example = &"/etc/trunkstream/clients.pem")]
    pub tls_client_ca_file: Option<String>,
    /// Connections that peers have to one TCP or TLS listener; one more is closed at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections: usize,
    /// Connections that one address has to one listener; one more is closed at once.
    #[schemars(range(min = 1, max = 100_000))]
    pub max_connections_per_source: usize,
    /// A connection that has been silent for this long is closed, unless a call that is up came by it.
    #[schemars(range(min = 10, max = 86_400))]
    pub connection_idle_seconds: u32,
    /// A message on a connection that has begun, a TLS handshake and a connection of ours must be complete by then, and
    /// what is written must be taken.
    #[schemars(range(min = 1, max = 60))]
    pub connection_patience_seconds: u32,
    /// Bytes of a message on a connection before its body; a longer one gets 513, and the connection is closed.
    #[schemars(range(min = 2048, max = 1_048_576))]
    pub max_header_bytes: usize,
    /// Bytes of its body; a longer one likewise.
    #[schemars(range(min = 2048, max = 16_777_216))]
    pub max_body_bytes: usize,
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listen: vec!["udp:0.0.0.0:5060".into()],
            advertised_address: None,
            allow_private: false,
            local_nets: vec!["127.0.0.0/8".into(), "::1/128".into()],
            trusted_proxies: Vec::new(),
            proxy_peer_header: "X-Real-Peer".into(),
            user_agent: None,
            t1_milliseconds: 500,
            t2_milliseconds: 4000,
            t4_milliseconds: 5000,
            session_timer: SessionTimer::Supported,
            session_expires_seconds: 1800,
            min_se_seconds: 90,
            answer_deadline_seconds: 15,
            unknown_source_answers_per_minute: 5,
            digest_realm: "trunkstream".into(),
            digest_key: None,
            digest_algorithms: ["SHA-256", "SHA-512-256", "MD5"].map(String::from).to_vec(),
            dscp: 24,
            tls_certificate_file: None,
            tls_key_file: None,
            tls_ca_file: None,
            tls_client_ca_file: None,
            max_connections: 1000,
            max_connections_per_source: 100,
            connection_idle_seconds: 300,
            connection_patience_seconds: 10,
            max_header_bytes: 65_536,
            max_body_bytes: 262_144,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SessionTimer {
    /// where the peer asks for them
    Supported,
    /// asked for in every call; a peer that has none is refreshed by the bridge
    Always,
    /// never
    Off,
}

/// RTP: addresses, ports and supervision.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Media {
    /// The address that RTP sockets bind to.
    pub listen_address: String,
    /// The address that SDP shows to peers outside `sip.local_nets`. Default: `sip.advertised_address`, else as there.
    #[schemars(example = &"203.0.113.10")]
    pub advertised_address: Option<String>,
    /// RTP and RTCP ports, "FIRST-LAST", FIRST even. A call takes two and a released pair rests, so count three ports for
    /// each of `limits.max_calls`. Keep the range outside net.ipv4.ip_local_port_range (32768 to 60999 as Linux ships).
    pub rtp_ports: String,
    /// How long a released port pair rests before another call may have it.
    #[schemars(range(min = 10, max = 600))]
    pub port_quarantine_seconds: u32,
    /// Media threads; 0 is one per core.
    #[schemars(range(min = 0, max = 1024))]
    pub threads: usize,
    /// Priority of the media threads under SCHED_FIFO: they go before everything ordinary, so that packets leave in time on
    /// a loaded machine too. 0 is off. Needs CAP_SYS_NICE or LimitRTPRIO; without them it is warned about, and calls go on.
    #[schemars(range(min = 0, max = 99))]
    pub realtime_priority: u8,
    /// DSCP of RTP and RTCP packets: 46 is EF, 0 marks nothing.
    #[schemars(range(min = 0, max = 63))]
    pub dscp: u8,
    /// A call without any valid RTP for this long ends, unless it is on hold.
    #[schemars(range(min = 1, max = 3600))]
    pub rtp_timeout_seconds: u32,
    /// No first RTP packet for this long after the answer is warned about. Not above `rtp_timeout_seconds`.
    #[schemars(range(min = 1, max = 3600))]
    pub rtp_start_timeout_seconds: u32,
    /// How long a packet is kept at the start of a call, to bring it into order and to even out its arrival before the
    /// bot hears it. It then follows the line between the next two: up at once, down by 20 ms in 2 s.
    #[schemars(range(min = 20, max = 300))]
    pub jitter_buffer_start_milliseconds: u32,
    /// … at least. Not above `jitter_buffer_start_milliseconds`. All three the same: a delay that stays.
    #[schemars(range(min = 20, max = 300))]
    pub jitter_buffer_min_milliseconds: u32,
    /// … at most. Not below `jitter_buffer_start_milliseconds`.
    #[schemars(range(min = 20, max = 300))]
    pub jitter_buffer_max_milliseconds: u32,
    /// What the bot hears where the caller's side sends nothing: in gaps, on hold, in the pauses of a sender that
    /// suppresses silence.
    pub fill: Fill,
}

impl Default for Media {
    fn default() -> Self {
        Self {
            listen_address: "0.0.0.0".into(),
            advertised_address: None,
            rtp_ports: "10000-29999".into(),
            port_quarantine_seconds: 10,
            threads: 0,
            realtime_priority: 0,
            dscp: 46,
            rtp_timeout_seconds: 60,
            rtp_start_timeout_seconds: 10,
            jitter_buffer_start_milliseconds: 40,
            jitter_buffer_min_milliseconds: 20,
            jitter_buffer_max_milliseconds: 120,
            fill: Fill::Silence,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fill {
    /// digital silence
    Silence,
    /// quiet noise, as loud as the sender's comfort noise packets say
    Noise,
}

/// The operator's own HTTP listener. Keep it private.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    /// "ADDRESS:PORT" of /healthz, /readyz, /metrics and, for this machine, /trace. Default: no listener.
    #[schemars(example = &"127.0.0.1:9090")]
    pub listen: Option<String>,
}

/// What this node takes on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Calls at once; one more is refused with 503. Default: a third of the ports in `media.rtp_ports`, at most 2000.
    #[schemars(range(min = 1, max = 32_000), example = 2000)]
    pub max_calls: Option<usize>,
    /// How long live calls may go on after SIGTERM.
    #[schemars(range(min = 0, max = 86_400))]
    pub drain_timeout_seconds: u32,
    /// New calls a second on this node, with bursts of as many; one more gets 503. 0 is any number.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_calls_per_second: u32,
    /// New requests a second from one address of a trunk, with bursts of as many; one more gets 503, and an OPTIONS its
    /// answer, without anything being remembered: one peer cannot fill the tables of all. 0 is any number.
    #[schemars(range(min = 0, max = 100_000))]
    pub max_requests_per_second_per_source: u32,
    /// Memory of the process in RAM; while it has more, new calls get 503 and live ones go on. 0 is any amount.
    #[schemars(range(min = 0, max = 1_048_576))]
    pub max_memory_mebibytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_calls: None,
            max_calls_per_second: 0,
            max_requests_per_second_per_source: 500,
            max_memory_mebibytes: 0,
            drain_timeout_seconds: 600,
        }
    }
}

/// What is logged and how.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged: "info", "warn", "info,trunkstream::sip=debug".
    pub filter: String,
    /// A file to which each ended call's record is appended, one JSON object a line. Default: records are only logged.
    #[schemars(example = &"/var/log/trunkstream/calls.jsonl")]
    pub call_records: Option<String>,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".into(), call_records: None }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogFormat {
    /// for people
    Text,
    /// for machines
    Json,
}

/// Traces of single calls: `trunkstream trace`, and `POST /trace` of the admin listener, from this machine only.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Trace {
    /// Memory that holds the latest SIP messages, so that a call can be looked at after it went wrong; a fifth of it is kept
    /// for those of sources that no trunk lists. 0 holds none, and no call can be traced.
    #[schemars(range(min = 0, max = 1_048_576))]
    pub signalling_kibibytes: u32,
    /// Memory for the latest RTP and RTCP of calls that are traced with them; taken only while there are such.
    #[schemars(range(min = 0, max = 4_194_304))]
    pub rtp_kibibytes: u32,
    /// Credentials, SRTP keys, digits and the values of X- headers and User-to-User may be asked for (`--unmasked`).
    pub allow_unmasked: bool,
    /// A collector that gets every SIP message, masked, by HEP version 3 over UDP: "ADDRESS:PORT". Default: none.
    #[schemars(example = &"127.0.0.1:9060")]
    pub hep: Option<String>,
    /// The capture agent's id at the collector.
    #[schemars(range(min = 0, max = 4_294_967_295_u32))]
    pub hep_capture_id: u32,
}

impl Default for Trace {
    fn default() -> Self {
        Self {
            signalling_kibibytes: 4096,
            rtp_kibibytes: 16_384,
            allow_unmasked: false,
            hep: None,
            hep_capture_id: 2001,
        }
    }
}

/// An account: whose bots and numbers these are. One table each.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Account {
    /// Its name as `X-Exotel-AccountSid` gives it, 1 to 64 of `A-Z a-z 0-9 _ . -`.
    #[schemars(example = &"acc1", extend("x-required" = true))]
    pub sid: String,
    /// Bot streams at once; one more is refused.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_streams: usize,
    /// A disabled account's calls are refused with 403.
    pub enabled: bool,
}

impl Default for Account {
    fn default() -> Self {
        Self { sid: String::new(), max_streams: 100, enabled: true }
    }
}

/// A called number and the flow that takes its calls. One table each.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Number {
    /// The number; a leading + or 00 and the separators - . ( ) and blank do not count. "*" takes every other number of
    /// the account.
    #[schemars(example = &"1000", extend("x-required" = true))]
    pub number: String,
    /// Whose number it is.
    #[schemars(example = &"acc1", extend("x-required" = true))]
    pub account: String,
    /// The flow's id.
    #[schemars(example = &"bot", extend("x-required" = true))]
    pub flow: String,
}

/// A flow: what happens to a call, step by step. One table each.
#[derive(Debug, Default, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Flow {
    /// Its name.
    #[schemars(example = &"bot", extend("x-required" = true))]
    pub id: String,
    /// The step a call begins with.
    #[schemars(example = &"voicebot", extend("x-required" = true))]
    pub start: String,
    /// Its steps by name; each names its applet, and the applet knows the other keys.
    #[schemars(with = "BTreeMap<String, BTreeMap<String, serde_json::Value>>")]
    pub step: BTreeMap<String, toml::Table>,
}
