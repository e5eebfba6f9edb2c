//! Every message of `sip-fixtures/rfc4475` and `sip-fixtures/rfc5118`, with its verdict: what our endpoint answers it with (SIP-016).
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

/// RFC 4475, and the same for IPv6.
const COLLECTIONS: [&str; 2] = ["rfc4475", "rfc5118"];

fn fixtures(collection: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sip-fixtures").join(collection)
}

fn verdicts(collection: &str) -> BTreeMap<String, Verdict> {
    let text = std::fs::read_to_string(fixtures(collection).join("verdicts.toml")).expect("verdicts.toml is readable");
    toml::from_str(&text).expect("verdicts.toml is a table of verdicts")
}

fn message(collection: &str, file: &str) -> Vec<u8> {
    std::fs::read(fixtures(collection).join(file)).expect("the message is readable")
}

/// Messages of a collection whose verdict is another.
fn wrong(collection: &str) -> Vec<String> {
    let judged = |(name, expected): (String, Verdict)| {
        let verdict = judge(&message(collection, &expected.file));
        let said = format!("{name}: {verdict} instead of {} ({})", expected.verdict, expected.why);
        (verdict != expected.verdict).then_some(said)
    };
    verdicts(collection).into_iter().filter_map(judged).collect()
}

#[test]
fn sip_016_every_torture_message_gets_its_verdict() {
    assert_eq!(verdicts("rfc4475").len(), 49);
    assert_eq!(wrong("rfc4475"), [""; 0]);
}

#[test]
fn sip_016_sip_115_every_torture_message_for_ipv6_gets_its_verdict() {
    assert_eq!(verdicts("rfc5118").len(), 12);
    assert_eq!(wrong("rfc5118"), [""; 0]);
}

#[test]
fn sip_016_a_to_tag_makes_the_tortuous_invite_one_of_an_unknown_dialog_and_no_hops_left_is_no_fault() {
    let bytes = message("rfc4475", "wsinv.dat");
    let text = String::from_utf8(bytes).expect("it is text");
    let tagged = text.replacen("= value7", "= value7 ; TAG\r\n = 18181818n", 1);
    assert_ne!(text, tagged, "its To has a parameter to stand behind");
    assert_eq!((judge(text.as_bytes()).as_str(), judge(tagged.as_bytes()).as_str()), ("invite", "481"));
    assert_eq!(judge(&message("rfc4475", "zeromf.dat")), "200", "an endpoint forwards nothing");
}

#[test]
fn every_message_file_has_a_verdict() {
    for collection in COLLECTIONS {
        let listed: Vec<String> = verdicts(collection).into_values().map(|verdict| verdict.file).collect();
        for entry in std::fs::read_dir(fixtures(collection)).expect("the folder is readable") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            assert!(!name.ends_with(".dat") || listed.contains(&name), "{name} has no verdict");
        }
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
