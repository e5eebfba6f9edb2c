//! Every message of `sip-fixtures/rfc4475`, with its verdict: what our endpoint answers it with (SIP-016).
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use trunkstream::base::random::Random;
use trunkstream::config::{Config, Listener, Transport, Trunk};
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
        listeners: vec![Listener { transport: Transport::Udp, bind: address, advertised: address }],
        local_nets: Vec::new(),
        proxies: Default::default(),
        user_agent: None,
        t1: Duration::from_millis(500),
        t2: Duration::from_secs(4),
        t4: Duration::from_secs(5),
        unknown_source_per_minute: 5,
    };
    Endpoint::new(config, Trunks::new(vec![trunk()]), Random::from_number(7))
}

fn trunk() -> Arc<Trunk> {
    let text = "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[media]\nlisten_address = \"127.0.0.1\"\n\
                [[account]]\nsid = \"acc1\"\n[[trunk]]\nname = \"lab\"\naccount = \"acc1\"\nallow = [\"127.0.0.0/8\"]\n";
    Config::from_toml("t.toml", text, None).expect("a good configuration").trunks[0].clone()
}
