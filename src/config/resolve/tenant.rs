//! Accounts, trunks, numbers and flows, and what they say of each other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::base::id::AccountSid;
use crate::config::raw;
use crate::config::report::{Report, nearest};
use crate::config::{
    Account, Dtmf, Flow, HeaderRules, IdleTx, MediaNat, Number, PdStrip, RouteOn, SessionTimer, SessionTimerMode,
    SipTimers, SrtpPolicy, Step, Trunk, UuiEncoding, UuiSending, value,
};
use crate::config::{Source, Transport};

use super::{each, one, outgoing};

const SID: &str = "expected 1 to 64 of A-Z a-z 0-9 _ . -";

fn sid(text: &str) -> Result<AccountSid, String> {
    AccountSid::parse(text).ok_or_else(|| format!("{SID}, found \"{text}\""))
}

pub(super) fn accounts(raw: &[raw::Account], report: &mut Report) -> Vec<Account> {
    let mut accounts: Vec<Account> = Vec::new();
    for (i, account) in raw.iter().enumerate() {
        let path = format!("account[{i}].sid");
        let Some(sid) = one(&path, &account.sid, sid, report) else { continue };
        if accounts.iter().any(|other| other.sid == sid) {
            report.wrong(&path, format!("account {sid} is there twice"));
        }
        accounts.push(Account { sid, max_streams: account.max_streams, enabled: account.enabled });
    }
    accounts
}

/// Reads the name of an account that must exist; silent where the accounts themselves could not all be read.
fn reference(path: &str, text: &str, accounts: &[Account], report: &mut Report) -> Option<AccountSid> {
    let sid = one(path, text, sid, report)?;
    if accounts.iter().any(|account| account.sid == sid) {
        return Some(sid);
    }
    if !report.is_wrong("account") {
        let hint = hint(sid.as_str(), accounts.iter().map(|account| account.sid.as_str()));
        report.wrong(path, format!("there is no account {sid}{hint}"));
    }
    None
}

fn hint<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    if let Some(near) = nearest(word, known.clone()) {
        return format!("; did you mean \"{near}\"?");
    }
    match known.take(10).collect::<Vec<_>>() {
        none if none.is_empty() => "; there is none at all".to_owned(),
        some => format!("; expected one of {}", some.join(", ")),
    }
}

pub(super) fn trunks(raw: &raw::Raw, accounts: &[Account], report: &mut Report) -> Vec<Arc<Trunk>> {
    let mut trunks: Vec<Arc<Trunk>> = Vec::new();
    let mut users = HashSet::new();
    let mut pairs: HashMap<(Source, AccountSid), String> = HashMap::new();
    for (i, own) in raw.trunk.iter().enumerate() {
        let path = format!("trunk[{i}]");
        let mut trunk = trunk(&path, own, accounts, report);
        trunk.timers = timers(&path, own, &raw.sip, report);
        trunk.session_timer = session_timer(&path, own, &raw.sip, report);
        if !trunk.name.is_empty() && trunks.iter().any(|other| other.name == trunk.name) {
            report.wrong(&format!("{path}.name"), format!("trunk {} is there twice", trunk.name));
        }
        let own = trunk.sources.iter().flat_map(|net| trunk.accounts.iter().map(|sid| (*net, sid.clone())));
        for (net, sid) in own.collect::<HashSet<_>>() {
            if let Some(other) = pairs.insert((net, sid.clone()), trunk.name.clone()) {
                let message =
                    format!("{net} calls for account {sid} on trunk {other} too; expected each pair on one trunk");
                report.wrong(&format!("{path}.allow"), message);
            }
        }
        for sid in trunk.auth.iter().flat_map(|_| &trunk.accounts) {
            let username = trunk.auth.as_ref().map(|login| login.username.clone());
            if !users.insert((username, sid.clone())) {
                report.wrong(&format!("{path}.auth.username"), format!("another trunk has it for account {sid} too"));
            }
        }
        trunks.push(Arc::new(trunk));
    }
    trunks
}

fn trunk(path: &str, raw: &raw::Trunk, accounts: &[Account], report: &mut Report) -> Trunk {
    let name = one(&format!("{path}.name"), &raw.name, value::trunk_name, report).unwrap_or_default();
    let auth = outgoing::auth(path, raw.auth.as_ref(), report);
    let outgoing = outgoing::outgoing(path, raw, report);
    let sources = sources(&format!("{path}.allow"), raw, report);
    let allow: Vec<IpNet> = sources.iter().map(|source| source.network).collect();
    let media_allow = raw.media_allow.as_ref().map(|nets| networks(&format!("{path}.media_allow"), nets, report));
    let codecs = raw.codecs.as_ref().map(|codecs| self::codecs(&format!("{path}.codecs"), codecs, report));
    let code = raw.country_code.as_ref();
    let country_code = code.and_then(|code| one(&format!("{path}.country_code"), code, value::country_code, report));
    let accounts = trunk_accounts(path, raw, accounts, report);
    let optional = account_header_optional(path, raw, &accounts, report);
    Trunk {
        name,
        accounts,
        auth,
        outgoing,
        media_allow: media_allow.unwrap_or_else(|| allow.clone()),
        allow,
        sources,
        client_certificate: raw.client_certificate,
        max_calls_per_minute: raw.max_calls_per_minute,
        account_header_optional: optional,
        force_rport: raw.force_rport,
        nat_contact_fix: raw.nat_contact_fix,
        codecs,
        strict_media_acl: raw.strict_media_acl,
        media_nat: media_nat(raw.media_nat),
        relearn_after_silence: raw.relearn_after_silence,
        srtp: match raw.srtp {
            raw::Srtp::Off => SrtpPolicy::Off,
            raw::Srtp::Optional => SrtpPolicy::Optional,
            raw::Srtp::Required => SrtpPolicy::Required,
        },
        allow_sdes_cleartext: raw.allow_sdes_cleartext,
        trusted: raw.trusted,
        deliver_private: raw.deliver_private,
        dtmf_mute: raw.dtmf_mute,
        dtmf: Dtmf {
            at_start: matches!(raw.dtmf_report, raw::DtmfReport::Start),
            inband: matches!(raw.inband_dtmf, raw::InbandDtmf::Auto),
        },
        idle_tx: idle_tx(raw.idle_tx),
        hold_audio_pass: matches!(raw.hold_audio, raw::HoldAudio::Pass),
        hold_timeout: Some(raw.hold_timeout_seconds).filter(|s| *s > 0).map(|s| Duration::from_secs(u64::from(s))),
        route_on: match raw.route_on {
            raw::RouteOn::Ruri => RouteOn::Ruri,
            raw::RouteOn::To => RouteOn::To,
            raw::RouteOn::Diversion => RouteOn::Diversion,
        },
        number_prefixes: each(&format!("{path}.number_prefixes"), &raw.number_prefixes, value::number_prefix, report),
        country_code,
        sip_codes: each(&format!("{path}.sip_codes"), &raw.sip_codes, value::sip_code, report).into_iter().collect(),
        timers: SipTimers::default(),
        reliable_provisionals: raw.reliable_provisionals,
        session_timer: SessionTimer::default(),
        media_dscp: raw.media_dscp,
        headers: headers(path, raw, report),
        uui_sending: uui_sending(raw),
    }
}

fn media_nat(raw: raw::MediaNat) -> MediaNat {
    match raw {
        raw::MediaNat::Off => MediaNat::Off,
        raw::MediaNat::Auto => MediaNat::Auto,
        raw::MediaNat::On => MediaNat::On,
    }
}

fn idle_tx(raw: raw::IdleTx) -> IdleTx {
    match raw {
        raw::IdleTx::Silence => IdleTx::Silence,
        raw::IdleTx::Cn => IdleTx::ComfortNoise,
        raw::IdleTx::None => IdleTx::Nothing,
    }
}

/// The trunk's own timers, the node's where it has none.
fn timers(path: &str, raw: &raw::Trunk, sip: &raw::Sip, report: &mut Report) -> SipTimers {
    let or = |own: Option<u32>, usual: u32| Duration::from_millis(u64::from(own.unwrap_or(usual)));
    let timers = SipTimers {
        t1: or(raw.t1_milliseconds, sip.t1_milliseconds),
        t2: or(raw.t2_milliseconds, sip.t2_milliseconds),
        t4: or(raw.t4_milliseconds, sip.t4_milliseconds),
    };
    let own = raw.t1_milliseconds.is_some() || raw.t2_milliseconds.is_some();
    if own && timers.t2 < timers.t1 {
        report.wrong(&format!("{path}.t2_milliseconds"), "expected at least t1_milliseconds");
    }
    timers
}

/// The trunk's own session timer, the node's where it has none.
fn session_timer(path: &str, raw: &raw::Trunk, sip: &raw::Sip, report: &mut Report) -> SessionTimer {
    let mode = match raw.session_timer.unwrap_or(sip.session_timer) {
        raw::SessionTimer::Supported => SessionTimerMode::Supported,
        raw::SessionTimer::Always => SessionTimerMode::Always,
        raw::SessionTimer::Off => SessionTimerMode::Off,
    };
    let expires_s = raw.session_expires_seconds.unwrap_or(sip.session_expires_seconds);
    let min_s = raw.min_se_seconds.unwrap_or(sip.min_se_seconds);
    let own = raw.session_expires_seconds.is_some() || raw.min_se_seconds.is_some();
    if own && min_s > expires_s {
        let message = format!("expected at most session_expires_seconds, {expires_s}, found {min_s}");
        report.wrong(&format!("{path}.min_se_seconds"), message);
    }
    SessionTimer { mode, expires_s, min_s }
}

/// Whom it takes signalling from (SIP-090).
fn sources(path: &str, raw: &raw::Trunk, report: &mut Report) -> Vec<Source> {
    let sources = match &raw.allow {
        Some(texts) => each(path, texts, value::source, report),
        None if raw.auth.is_some() || !raw.destinations.is_empty() => return Vec::new(),
        None => {
            report.wrong(path, "is missing, for example [\"198.51.100.0/24\"]; or give auth or destinations");
            return Vec::new();
        }
    };
    if sources.is_empty() {
        report.wrong(path, "expected at least one network or address, for example [\"198.51.100.0/24\"]");
    }
    let clear = |source: &Source| source.transport.is_some_and(|transport| transport != Transport::Tls);
    if raw.client_certificate && sources.iter().any(clear) {
        report.wrong(path, "expected only \"tls:\" sources, or none named: client_certificate = true asks for TLS");
    }
    sources
}

fn networks(path: &str, texts: &[String], report: &mut Report) -> Vec<IpNet> {
    let networks = each(path, texts, value::network, report);
    if networks.is_empty() {
        report.wrong(path, "expected at least one network or address, for example [\"198.51.100.0/24\"]");
    }
    networks
}

fn account_header_optional(path: &str, raw: &raw::Trunk, accounts: &[AccountSid], report: &mut Report) -> bool {
    let optional = matches!(raw.account_header, raw::AccountHeader::Optional);
    if optional && accounts.len() > 1 {
        let message = "\"optional\" needs a trunk with one account: with several only the header tells which";
        report.wrong(&format!("{path}.account_header"), message);
    }
    optional
}

/// Networks without credentials; none are needed where credentials say who calls, or nobody does.
fn codecs(path: &str, texts: &[String], report: &mut Report) -> Vec<String> {
    let codecs = each(path, texts, value::codec, report);
    if codecs.is_empty() {
        report.wrong(path, format!("expected at least one of {}", value::CODECS.join(", ")));
    }
    if (1..codecs.len()).any(|i| codecs[..i].contains(&codecs[i])) {
        report.wrong(path, "expected each codec once");
    }
    codecs
}

fn trunk_accounts(path: &str, raw: &raw::Trunk, accounts: &[Account], report: &mut Report) -> Vec<AccountSid> {
    let (single, several) = (format!("{path}.account"), format!("{path}.accounts"));
    match (&raw.account, &raw.accounts) {
        (Some(text), None) => reference(&single, text, accounts, report).into_iter().collect(),
        (None, Some(texts)) => {
            let names = texts.iter().enumerate();
            let sids: Vec<AccountSid> =
                names.filter_map(|(i, text)| reference(&format!("{several}[{i}]"), text, accounts, report)).collect();
            if texts.is_empty() {
                report.wrong(&several, "expected at least one account");
            }
            if (1..sids.len()).any(|i| sids[..i].contains(&sids[i])) {
                report.wrong(&several, "expected each account once");
            }
            sids
        }
        (Some(_), Some(_)) => {
            report.wrong(&several, "expected either account or accounts, found both");
            Vec::new()
        }
        (None, None) => {
            if !report.is_wrong(&several) {
                report.wrong(&single, "is missing: expected account = \"SID\" or accounts = [\"SID\", …]");
            }
            Vec::new()
        }
    }
}

fn headers(path: &str, raw: &raw::Trunk, report: &mut Report) -> HeaderRules {
    HeaderRules {
        allow: each(&format!("{path}.header_allow"), &raw.header_allow, value::header_pattern, report),
        deny: each(&format!("{path}.header_deny"), &raw.header_deny, value::header_pattern, report),
        value_max_bytes: raw.header_value_max_bytes,
        max_keys: raw.header_max_keys,
        total_max_bytes: raw.header_total_max_bytes,
        header_first: matches!(raw.header_merge, raw::HeaderMerge::HeaderFirst),
        uui_default_encoding: match raw.uui_default_encoding {
            raw::UuiEncoding::Auto => UuiEncoding::Auto,
            raw::UuiEncoding::Hex => UuiEncoding::Hex,
            raw::UuiEncoding::Text => UuiEncoding::Text,
        },
        pd_strip: match raw.pd_strip {
            raw::PdStrip::Auto => PdStrip::Auto,
            raw::PdStrip::Always => PdStrip::Always,
            raw::PdStrip::Never => PdStrip::Never,
        },
        uui_avaya: raw.uui_avaya,
        expose: each(&format!("{path}.expose_headers"), &raw.expose_headers, value::exposed_header, report),
    }
}

fn uui_sending(raw: &raw::Trunk) -> UuiSending {
    let discriminator = match raw.uui_send_pd {
        raw::UuiSendPd::UserSpecific => Some(0x00),
        raw::UuiSendPd::Ia5 => Some(0x04),
        raw::UuiSendPd::None => None,
    };
    UuiSending { discriminator, x_uui: raw.uui_send_x, ascii_only: raw.uui_send_ascii_only }
}

pub(super) fn numbers(raw: &[raw::Number], accounts: &[Account], flows: &[Flow], report: &mut Report) -> Vec<Number> {
    let mut seen = HashSet::new();
    let mut numbers = Vec::new();
    for (i, raw) in raw.iter().enumerate() {
        let path = format!("number[{i}]");
        let number = one(&format!("{path}.number"), &raw.number, value::number, report);
        let account = reference(&format!("{path}.account"), &raw.account, accounts, report);
        if raw.flow.is_empty() {
            report.wrong(&format!("{path}.flow"), "expected the id of a flow");
        } else if !flows.iter().any(|flow| flow.id == raw.flow) && !report.is_wrong("flow") {
            let hint = hint(&raw.flow, flows.iter().map(|flow| flow.id.as_str()));
            report.wrong(&format!("{path}.flow"), format!("there is no flow {}{hint}", raw.flow));
        }
        let (Some(number), Some(account)) = (number, account) else { continue };
        if !seen.insert((account.clone(), number.clone())) {
            report.wrong(&format!("{path}.number"), format!("account {account} has the number {number} twice"));
        }
        numbers.push(Number { number, account, flow: raw.flow.clone() });
    }
    numbers
}

pub(super) fn flows(raw: &[raw::Flow], report: &mut Report) -> Vec<Flow> {
    let mut flows: Vec<Flow> = Vec::new();
    for (i, raw) in raw.iter().enumerate() {
        let path = format!("flow[{i}]");
        let id = format!("{path}.id");
        if raw.id.trim().is_empty() {
            report.wrong(&id, "expected the flow's name");
        } else if flows.iter().any(|other| other.id == raw.id) {
            report.wrong(&id, format!("flow {} is there twice", raw.id));
        }
        if raw.step.is_empty() {
            report.wrong(&format!("{path}.step"), "expected at least one step: [flow.step.NAME]");
        }
        let mut steps: Vec<Step> = raw.step.iter().map(|(name, table)| step(&path, name, table, report)).collect();
        steps.sort_by_key(|step| step.place.line);
        let start = format!("{path}.start");
        if !raw.step.is_empty() && !raw.step.contains_key(&raw.start) {
            let hint = hint(&raw.start, raw.step.keys().map(String::as_str));
            report.wrong(&start, format!("there is no step {}{hint}", raw.start));
        }
        flows.push(Flow { id: raw.id.clone(), start: raw.start.clone(), steps, place: report.place(&path) });
    }
    flows
}

fn step(flow: &str, name: &str, table: &toml::Table, report: &mut Report) -> Step {
    let path = format!("{flow}.step.{name}");
    let key = format!("{path}.applet");
    let applet = match table.get("applet") {
        Some(toml::Value::String(applet)) if !applet.is_empty() => applet.clone(),
        Some(_) => {
            report.wrong(&key, "expected the name of an applet, for example \"voicebot\"");
            String::new()
        }
        None => {
            report.wrong(&key, "is missing, for example \"voicebot\"");
            String::new()
        }
    };
    let mut settings = table.clone();
    settings.remove("applet");
    let lines: BTreeMap<String, usize> =
        settings.keys().map(|key| (key.clone(), report.place(&format!("{path}.{key}")).line)).collect();
    Step { name: name.to_owned(), applet, settings, lines, place: report.place(&path) }
}
