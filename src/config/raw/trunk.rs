//! What the file says of a trunk.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SessionTimer;

/// A trunk: a peer that may call us, and for whom. One table each; several may list the same source when their accounts
/// differ.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Trunk {
    /// Its name in logs and metrics, 1 to 16 of `A-Z a-z 0-9 _`.
    #[schemars(example = &"lab", extend("x-required" = true))]
    pub name: String,
    /// The account it calls for. Give this or `accounts`.
    #[schemars(example = &"acc1")]
    pub account: Option<String>,
    /// The accounts it calls for, where there are several; a call's `X-Exotel-AccountSid` picks one.
    #[schemars(example = ["acc1", "acc2"], extend("x-instead-of" = "account"))]
    pub accounts: Option<Vec<String>>,
    /// Networks or addresses that its signalling comes from. With "udp:", "tcp:" or "tls:" before one only what comes by
    /// that, with ":PORT" behind it only what comes from that port; an IPv6 network then stands in brackets. Where "tcp:"
    /// is listed, requests of ours that are too long for UDP go there by TCP. Required, except where `auth` or
    /// `destinations` is given.
    #[schemars(example = ["198.51.100.0/24"])]
    pub allow: Option<Vec<String>>,
    /// Only over TLS, and only with a client certificate of one of the authorities in `sip.tls_client_ca_file`.
    pub client_certificate: bool,
    /// Digest credentials: `{ username = "NAME", password = "SECRET" }`, the password as it is, `env:NAME` (an environment
    /// variable) or `file:PATH`. With them the trunk's calls may come from anywhere; those from `allow` need none. They
    /// also answer when the peer asks us: for calls out, REGISTER and what we send within calls.
    #[schemars(example = Auth::example())]
    pub auth: Option<Auth>,
    /// Where calls out go, the preferred first: "sip:HOST[:PORT]", the others in turn when one is down or overloaded. A name
    /// without port is looked up by RFC 3263: NAPTR, SRV with priority and weight, A and AAAA.
    #[schemars(example = ["sip:pbx.example:5060;transport=udp"])]
    pub destinations: Vec<String>,
    /// A destination that says nothing at all for this long is given up, and the next one is tried.
    #[schemars(range(min = 1, max = 32))]
    pub no_response_seconds: u32,
    /// OPTIONS are sent to each destination this often, half as often while it is down; 0 is never.
    #[schemars(range(min = 0, max = 3600))]
    pub keepalive_seconds: u32,
    /// Register at the PBX, where it insists: `{ user = "NAME", domain = "pbx.example", expires_seconds = 600 }`. It goes to the
    /// first destination; `user` is that of `auth` and `domain` the host of the destination where not given.
    #[schemars(example = Register::example())]
    pub register: Option<Register>,
    /// Networks that its media may come from. Default: the networks of `allow`.
    #[schemars(example = ["198.51.100.0/24"])]
    pub media_allow: Option<Vec<String>>,
    /// New calls a minute by this trunk, with bursts of as many; one more gets 480. 0 is any number.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max_calls_per_minute: u32,
    /// Whether a call must carry `X-Exotel-AccountSid`.
    pub account_header: AccountHeader,
    /// Answers go to the port a request came from, also without `rport` in its Via (RFC 3581).
    pub force_rport: bool,
    /// Requests within a call go to the address its INVITE came from when its Contact is private and no proxy is between.
    pub nat_contact_fix: bool,
    /// Codecs in our order of preference: "PCMU", "PCMA", "G722", "opus", "L16". Default: all but L16, in the order of the
    /// offer. Without them here an offer that names Opus first gets it: it sounds best on bad lines, and costs many times
    /// the CPU of the others.
    #[schemars(example = ["G722", "PCMA", "PCMU"])]
    pub codecs: Option<Vec<String>>,
    /// Refuse offers whose media address is outside `media_allow`.
    pub strict_media_acl: bool,
    /// Whether media may come from elsewhere than SDP says.
    pub media_nat: MediaNat,
    /// A source of media that has been silent for 10 s may come back from another address of `media_allow`, by its SSRC.
    pub relearn_after_silence: bool,
    /// Whether media is encrypted (SRTP with keys in SDP, RFC 4568).
    pub srtp: Srtp,
    /// Keys of SRTP may cross the network in SIP that is not encrypted, by UDP or TCP. Where the network between is trusted.
    pub allow_sdes_cleartext: bool,
    /// P-Asserted-Identity and Remote-Party-ID of this trunk are believed.
    pub trusted: bool,
    /// Withheld caller numbers reach the bot all the same.
    pub deliver_private: bool,
    /// Tones sent beside telephone-events are silenced towards the bot.
    pub dtmf_mute: bool,
    /// When the bot is told of a digit.
    pub dtmf_report: DtmfReport,
    /// Whether digits are looked for in the audio itself.
    pub inband_dtmf: InbandDtmf,
    /// What the caller is sent while the bot is quiet.
    pub idle_tx: IdleTx,
    /// What the bot hears while the caller's side holds the call.
    pub hold_audio: HoldAudio,
    /// A hold longer than this ends the call; 0 is never.
    #[schemars(range(min = 0, max = 86_400))]
    pub hold_timeout_seconds: u32,
    /// Which address the called number is taken from.
    pub route_on: RouteOn,
    /// Prefixes that this peer puts before called numbers, for an outside line for example; taken off where the number is
    /// not known with it.
    #[schemars(example = ["9"])]
    pub number_prefixes: Vec<String>,
    /// Country code of national numbers: with "91", 08061234567 and +918061234567 are the same called number.
    #[schemars(example = &"91")]
    pub country_code: Option<String>,
    /// Other SIP codes for unanswered calls, "REASON=CODE": the reason as the metric trunkstream_calls_refused_total names it.
    #[schemars(example = ["throttled=486"])]
    pub sip_codes: Vec<String>,
    /// RFC 3261 timer T1 for this peer. Default: `sip.t1_milliseconds`.
    #[schemars(range(min = 200, max = 10_000), example = &500)]
    pub t1_milliseconds: Option<u32>,
    /// RFC 3261 timer T2 for this peer. Default: `sip.t2_milliseconds`.
    #[schemars(range(min = 1000, max = 60_000), example = &4000)]
    pub t2_milliseconds: Option<u32>,
    /// RFC 3261 timer T4 for this peer. Default: `sip.t4_milliseconds`.
    #[schemars(range(min = 1000, max = 60_000), example = &5000)]
    pub t4_milliseconds: Option<u32>,
    /// 180 and 183 are sent reliably (RFC 3262) to callers that support it, not only to those that require it. For trunks
    /// that lose early media or ringing otherwise.
    pub reliable_provisionals: bool,
    /// Session timers (RFC 4028) with this peer. Default: `sip.session_timer`.
    #[schemars(example = SessionTimer::Always)]
    pub session_timer: Option<SessionTimer>,
    /// The session interval asked for, and the longest accepted. Default: `sip.session_expires_seconds`.
    #[schemars(range(min = 90, max = 86_400), example = &1800)]
    pub session_expires_seconds: Option<u32>,
    /// The shortest session interval accepted; less gets 422. Default: `sip.min_se_seconds`.
    #[schemars(range(min = 90, max = 86_400), example = &90)]
    pub min_se_seconds: Option<u32>,
    /// DSCP of RTP and RTCP packets to this peer. Default: `media.dscp`.
    #[schemars(range(min = 0, max = 63), example = &46)]
    pub media_dscp: Option<u8>,
    /// Header patterns (`*` is any text) that always become custom parameters and are taken first against the limits.
    pub header_allow: Vec<String>,
    /// Header patterns that never become custom parameters: what the peer's own machines add.
    pub header_deny: Vec<String>,
    /// A header value longer than this is left out whole; of User-to-User the decoded bytes count. 45 is the platform's
    /// limit, not that of ISDN, which carries 128 octets and a protocol discriminator (some networks 32).
    #[schemars(range(min = 1, max = 8192))]
    pub header_value_max_bytes: usize,
    /// Custom parameters at most.
    #[schemars(range(min = 0, max = 1000))]
    pub header_max_keys: usize,
    /// Keys and values together.
    #[schemars(range(min = 0, max = 65_536))]
    pub header_total_max_bytes: usize,
    /// Who wins when a header and the bot URL's query have the same key.
    pub header_merge: HeaderMerge,
    /// What a User-to-User value without `encoding` is.
    pub uui_default_encoding: UuiEncoding,
    /// Whether the protocol discriminator, the first octet of User-to-User, is taken off.
    pub pd_strip: PdStrip,
    /// Avaya's shared User-to-User is taken apart into `UUI` and `UCID`.
    pub uui_avaya: bool,
    /// The protocol discriminator, the first octet of User-to-User that we send: many peers take one octet off unseen.
    pub uui_send_pd: UuiSendPd,
    /// X-UUI goes out beside User-to-User, as text.
    pub uui_send_x: bool,
    /// User-to-User with characters beyond ASCII is not sent: Genesys Cloud cannot read it.
    pub uui_send_ascii_only: bool,
    /// Standard headers that become custom parameters under their own names, within the limits above: "Diversion",
    /// "P-Asserted-Identity", "History-Info", "Call-ID", "Subject", "Alert-Info". What a caller withholds stays withheld.
    #[schemars(example = ["Diversion", "Call-ID"])]
    pub expose_headers: Vec<String>,
}

/// Digest credentials.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct Auth {
    /// The user name.
    #[schemars(example = &"pbx1", extend("x-required" = true))]
    #[serde(default)]
    pub username: String,
    /// The password, or where it stands.
    #[schemars(example = &"env:PBX1_PASSWORD", extend("x-required" = true))]
    #[serde(default)]
    pub password: String,
}

impl Auth {
    fn example() -> Self {
        Self { username: "pbx1".into(), password: "env:PBX1_PASSWORD".into() }
    }
}

/// Our registration at a PBX.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Register {
    /// User part of the address of record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its domain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// How long a registration is asked for.
    #[schemars(range(min = 60, max = 86_400))]
    pub expires_seconds: u32,
}

impl Default for Register {
    fn default() -> Self {
        Self { user: None, domain: None, expires_seconds: 600 }
    }
}

impl Register {
    fn example() -> Self {
        Self { user: Some("bridge".into()), ..Self::default() }
    }
}

/// Headers that PBXs and SBCs add for themselves (HDR-015).
const INFRASTRUCTURE_HEADERS: [&str; 10] = [
    "X-Genesys-*",
    "X-FS-*",
    "X-Asterisk-*",
    "X-Cisco-*",
    "X-Avaya-*",
    "X-Nokia-*",
    "X-Oracle-*",
    "X-Real-*",
    "X-Src-*",
    "X-Sipp-*",
];

impl Default for Trunk {
    fn default() -> Self {
        Self {
            name: String::new(),
            account: None,
            accounts: None,
            allow: None,
            client_certificate: false,
            auth: None,
            destinations: Vec::new(),
            no_response_seconds: 6,
            keepalive_seconds: 30,
            register: None,
            media_allow: None,
            max_calls_per_minute: 0,
            account_header: AccountHeader::Required,
            force_rport: true,
            nat_contact_fix: false,
            codecs: None,
            strict_media_acl: false,
            media_nat: MediaNat::Auto,
            relearn_after_silence: false,
            srtp: Srtp::Off,
            allow_sdes_cleartext: false,
            trusted: false,
            deliver_private: false,
            dtmf_mute: true,
            dtmf_report: DtmfReport::End,
            inband_dtmf: InbandDtmf::Off,
            idle_tx: IdleTx::Silence,
            hold_audio: HoldAudio::Silence,
            hold_timeout_seconds: 0,
            route_on: RouteOn::Ruri,
            number_prefixes: Vec::new(),
            country_code: None,
            sip_codes: Vec::new(),
            t1_milliseconds: None,
            t2_milliseconds: None,
            t4_milliseconds: None,
            reliable_provisionals: false,
            session_timer: None,
            session_expires_seconds: None,
            min_se_seconds: None,
            media_dscp: None,
            header_allow: Vec::new(),
            header_deny: INFRASTRUCTURE_HEADERS.map(String::from).to_vec(),
            header_value_max_bytes: 45,
            header_max_keys: 25,
            header_total_max_bytes: 800,
            header_merge: HeaderMerge::UrlFirst,
            uui_default_encoding: UuiEncoding::Auto,
            pd_strip: PdStrip::Auto,
            uui_avaya: false,
            uui_send_pd: UuiSendPd::UserSpecific,
            uui_send_x: false,
            uui_send_ascii_only: false,
            expose_headers: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum AccountHeader {
    /// a call without it is refused with 403
    Required,
    /// a call without it takes the trunk's only account
    Optional,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum MediaNat {
    /// only from the exact address and port
    Off,
    /// from that address at any port, and from `media_allow`
    Auto,
    /// as auto
    On,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Srtp {
    /// never; calls that want it are refused
    Off,
    /// where the caller's side wants RTP/SAVP
    Optional,
    /// always; calls without it are refused
    Required,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum DtmfReport {
    /// when it has ended, with its length
    End,
    /// when it begins, with its length so far
    Start,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum InbandDtmf {
    /// never
    Off,
    /// in calls without telephone-events, until a digit comes by SIP INFO
    Auto,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum RouteOn {
    /// the Request-URI
    Ruri,
    /// To
    To,
    /// what was dialled first: the last Diversion, else the first of History-Info, else the Request-URI
    Diversion,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum IdleTx {
    /// packets of silence: they keep NAT, firewalls and the PBX's own timers content
    Silence,
    /// comfort noise (RFC 3389), five packets a second, where the peer offers it; else silence
    Cn,
    /// nothing after the first 200 ms: for peers that expect discontinuous sending
    None,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum HoldAudio {
    /// nothing
    Silence,
    /// the music on hold
    Pass,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum HeaderMerge {
    /// the URL: it was set by the flow's owner
    UrlFirst,
    /// the header
    HeaderFirst,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum UuiEncoding {
    /// decided by its look
    Auto,
    /// hex, as RFC 7434 has it
    Hex,
    /// text
    Text,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum PdStrip {
    /// decided by purpose, `pd` and look
    Auto,
    /// taken off
    Always,
    /// kept
    Never,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub(in crate::config) enum UuiSendPd {
    /// user-specific
    #[serde(rename = "00")]
    UserSpecific,
    /// IA5 characters
    #[serde(rename = "04")]
    Ia5,
    /// no discriminator
    #[serde(rename = "none")]
    None,
}
