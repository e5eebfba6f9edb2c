//! Every message of `sip-fixtures/rfc4475`, with its verdict: what our endpoint answers it with (SIP-016).
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use trunkstream::base::id::AccountSid;
use trunkstream::base::random::Random;
use trunkstream::config::{HeaderRules, Listener, MediaNat, PdStrip, RouteOn, SipTimers, Trunk, UuiEncoding};
use trunkstream::sip::{Endpoint, EndpointConfig, Event, ListenerId, Trunks};

#[derive(Deserialize)]
struct Verdict {
    file: String,
    verdict: String,
    why: String,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-fixtures/rfc4475")
}

fn verdicts() -> BTreeMap<String, Verdict> {
    let text = std::fs::read_to_string(fixtures().join("verdicts.toml")).expect("verdicts.toml is readable");
    toml::from_str(&text).expect("verdicts.toml is a table of verdicts")
}

#[test]
fn sip_016_every_torture_message_gets_its_verdict() {
    let mut wrong = Vec::new();
    let verdicts = verdicts();
    for (name, expected) in &verdicts {
        let datagram = std::fs::read(fixtures().join(&expected.file)).expect("the message is readable");
        let verdict = judge(&datagram);
        if verdict != expected.verdict {
            wrong.push(format!("{name}: {verdict} instead of {} ({})", expected.verdict, expected.why));
        }
    }
    assert!(!verdicts.is_empty(), "no verdicts");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_message_file_has_a_verdict() {
    let listed: Vec<String> = verdicts().into_values().map(|verdict| verdict.file).collect();
    for entry in std::fs::read_dir(fixtures()).expect("the folder is readable") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(!name.ends_with(".dat") || listed.contains(&name), "{name} has no verdict");
    }
}

/// The first answer that is not 100; `invite` where the call was handed up; `drop` for silence.
fn judge(datagram: &[u8]) -> String {
    let now = Instant::now();
    let mut endpoint = endpoint();
    endpoint.handle_datagram(now, ListenerId(0), ([127, 0, 0, 1], 5062).into(), datagram);
    if let Some(Event::Invite { .. }) = endpoint.poll_event() {
        return "invite".to_owned();
    }
    let codes = std::iter::from_fn(|| endpoint.poll_transmit())
        .filter_map(|transmit| String::from_utf8_lossy(&transmit.bytes).get(8..11).map(str::to_owned));
    codes.into_iter().find(|code| code != "100").unwrap_or_else(|| "drop".to_owned())
}

fn endpoint() -> Endpoint {
    let address = ([127, 0, 0, 1], 5060).into();
    let config = EndpointConfig {
        listeners: vec![Listener { bind: address, advertised: address }],
        local_nets: Vec::new(),
        user_agent: None,
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        unknown_source_per_minute: 5,
    };
    Endpoint::new(config, Trunks::new(vec![Arc::new(trunk())]), Random::from_number(7))
}

fn trunk() -> Trunk {
    let allow = vec!["127.0.0.0/8".parse().expect("a network")];
    Trunk {
        name: "lab".to_owned(),
        accounts: AccountSid::parse("acc1").into_iter().collect(),
        media_allow: allow.clone(),
        allow,
        account_header_optional: false,
        force_rport: true,
        nat_contact_fix: false,
        codecs: None,
        strict_media_acl: false,
        media_nat: MediaNat::Auto,
        trusted: false,
        deliver_private: false,
        dtmf_mute: false,
        hold_audio_pass: false,
        hold_timeout: None,
        route_on: RouteOn::Ruri,
        number_prefixes: Vec::new(),
        country_code: None,
        sip_codes: Default::default(),
        timers: SipTimers::default(),
        media_dscp: None,
        headers: HeaderRules {
            allow: Vec::new(),
            deny: Vec::new(),
            value_max_bytes: 45,
            max_keys: 25,
            total_max_bytes: 800,
            header_first: false,
            uui_default_encoding: UuiEncoding::Auto,
            pd_strip: PdStrip::Auto,
            uui_avaya: false,
        },
    }
}
