//! What the configuration file may say: the shipped files load, every wrong one is refused with file, line and key.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use trunkstream::config::{Config, Problem, reference};

const SHIPPED: &str = include_str!("../config/trunkstream.toml");

fn load(text: &str) -> Result<Config, Vec<Problem>> {
    Config::from_toml("t.toml", text, Some("192.0.2.7".parse().unwrap()))
}

/// The shipped file with one text replaced.
fn with(from: &str, to: &str) -> String {
    assert!(SHIPPED.contains(from), "{from}");
    SHIPPED.replacen(from, to, 1)
}

/// The problems as an operator reads them, `line key: message`.
fn problems(text: &str) -> Vec<String> {
    let found = load(text).err().unwrap_or_default();
    found.iter().map(|p| format!("{} {}: {}", p.place.line, p.key, p.message)).collect()
}

#[test]
fn the_shipped_file_loads_with_every_default() {
    let config = load(SHIPPED).unwrap();
    assert_eq!(config.sip.listeners[0].bind, "127.0.0.1:5060".parse().unwrap());
    assert_eq!(config.sip.listeners[0].advertised, "127.0.0.1:5060".parse().unwrap());
    assert_eq!((config.media.first_port, config.media.last_port), (10_000, 29_999));
    assert_eq!(config.media.advertised_address, "127.0.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(config.media.rtp_timeout, Duration::from_secs(60));
    assert_eq!((config.sip.dscp, config.media.dscp), (24, 46));
    assert_eq!(config.limits.max_calls, 2000);
    assert_eq!(config.limits.drain_timeout, Duration::from_secs(600));
    assert_eq!(config.admin, Some("127.0.0.1:9090".parse().unwrap()));
    assert_eq!(config.accounts[0].max_streams, 1000);
    let trunk = &config.trunks[0];
    assert_eq!((trunk.name.as_str(), trunk.accounts[0].as_str()), ("lab", "acc1"));
    assert_eq!(trunk.media_allow, trunk.allow);
    assert!(trunk.force_rport && trunk.dtmf_mute && !trunk.account_header_optional && trunk.hold_timeout.is_none());
    assert_eq!((trunk.headers.value_max_bytes, trunk.headers.max_keys, trunk.headers.total_max_bytes), (45, 25, 800));
    assert!(trunk.headers.deny.iter().any(|glob| glob == "X-Genesys-*"));
    let step = &config.flows[0].steps[0];
    assert_eq!((step.name.as_str(), step.applet.as_str(), step.place.line), ("talk", "voicebot", 22));
    assert_eq!(step.lines.get("url"), Some(&24));
    assert_eq!(step.settings.keys().collect::<Vec<_>>(), ["url"]);
    assert_eq!((config.flows[0].start.as_str(), config.flows[0].place.line), ("talk", 19));
}

#[test]
fn the_shipped_file_is_at_most_20_settings() {
    let settings = SHIPPED.lines().filter(|line| line.contains(" = ") && !line.starts_with(['#', '[']));
    assert!(settings.count() <= 20);
}

#[test]
fn an_empty_file_is_the_defaults() {
    let config = load("").unwrap();
    assert_eq!(config.sip.listeners[0].advertised, "192.0.2.7:5060".parse().unwrap());
    assert_eq!(config.media.advertised_address, "192.0.2.7".parse::<IpAddr>().unwrap());
    assert!(config.admin.is_none());
}

/// (what is replaced, by what, `line key: beginning of the message`)
const WRONG: &[(&str, &str, &str)] = &[
    // syntax, unknown keys, types, ranges
    ("[media]", "[media", "3 syntax: "),
    ("sid = \"acc1\"", "sid = \"acc1\"\nsid = \"b\"", "10 syntax: duplicate key"),
    ("rtp_ports", "rtp_port", "5 media.rtp_port: unknown key; did you mean `rtp_ports`?"),
    ("[admin]", "[admni]", "6 admni: unknown key; did you mean `admin`?"),
    (
        "max_streams = 1000",
        "streams = 1",
        "10 account.acc1.streams: unknown key; expected one of sid, max_streams, enabled",
    ),
    ("name = \"lab\"", "name = \"lab\"\nalow = []", "13 trunk.lab.alow: unknown key; did you mean `allow`?"),
    (
        "max_streams = 1000",
        "max_streams = \"many\"",
        "10 account.acc1.max_streams: expected a whole number, found the text \"many\"",
    ),
    (
        "max_streams = 1000",
        "max_streams = 0",
        "10 account.acc1.max_streams: expected a whole number from 1 to 1000000, found 0",
    ),
    (
        "max_streams = 1000",
        "max_streams = 1.5",
        "10 account.acc1.max_streams: expected a whole number, found the number 1.5",
    ),
    ("max_streams = 1000", "enabled = 1", "10 account.acc1.enabled: expected true or false, found the number 1"),
    ("[\"udp:127.0.0.1:5060\"]", "\"udp:127.0.0.1:5060\"", "2 sip.listen: expected a list: [\"…\"], found the text"),
    ("[[trunk]]", "[trunk]", "11 trunk: expected a list of tables: [[trunk]], found a table"),
    (
        "[media]",
        "t1_milliseconds = 50\n[media]",
        "3 sip.t1_milliseconds: expected a whole number from 200 to 10000, found 50",
    ),
    ("[media]", "dscp = 64\n[media]", "3 sip.dscp: expected a whole number from 0 to 63, found 64"),
    (
        "[admin]",
        "dscp = 99999999999999999999\n[admin]",
        "6 media.dscp: expected a whole number from 0 to 63, found a number far too large",
    ),
    (
        "[admin]",
        "port_quarantine_seconds = 5\n[admin]",
        "6 media.port_quarantine_seconds: expected a whole number from 10 to 600",
    ),
    (
        "account = \"acc1\"",
        "account = \"acc1\"\nmedia_nat = \"of\"",
        "14 trunk.lab.media_nat: expected one of \"off\", \"auto\", \"on\", found \"of\"",
    ),
    // addresses
    ("udp:127.0.0.1:5060", "ws:127.0.0.1:5060", "2 sip.listen: SIP over ws is not available in this version"),
    (
        "udp:127.0.0.1:5060",
        "udp:::1:5060",
        "2 sip.listen: expected \"udp:ADDRESS:PORT\", \"tcp:…\" or \"tls:…\", an IPv6 address in brackets: ",
    ),
    (
        "\"udp:127.0.0.1:5060\"",
        "\"udp:127.0.0.1:5060\", \"udp:0.0.0.0:5060\"",
        "2 sip.listen: 0.0.0.0:5060 is listened on twice",
    ),
    ("[\"udp:127.0.0.1:5060\"]", "[]", "2 sip.listen: expected at least one listener"),
    (
        "udp:127.0.0.1:5060",
        "udp:10.0.0.5:5060",
        "2 sip.listen: 10.0.0.5 is private and peers outside cannot reach it: expected sip.advertised_address",
    ),
    (
        "listen_address = \"127.0.0.1\"",
        "listen_address = \"192.168.0.2\"",
        "4 media.listen_address: 192.168.0.2 is private",
    ),
    (
        "listen_address = \"127.0.0.1\"",
        "listen_address = \"localhost\"",
        "4 media.listen_address: expected an IP address, found \"localhost\"",
    ),
    (
        "[media]",
        "advertised_address = \"example.com\"\n[media]",
        "3 sip.advertised_address: expected an IP address, found \"example.com\"",
    ),
    (
        "[media]",
        "advertised_address = \"0.0.0.0\"\n[media]",
        "3 sip.advertised_address: 0.0.0.0 is no address that a peer can send to",
    ),
    (
        "[media]",
        "advertised_address = \"2001:db8::1\"\n[media]",
        "3 sip.advertised_address: expected an address of the same IP version as sip.listen",
    ),
    (
        "[admin]",
        "advertised_address = \"203.0.113.1:9\"\n[admin]",
        "6 media.advertised_address: expected an IP address without a port",
    ),
    ("10000-29999", "10001-29999", "5 media.rtp_ports: expected an even first port, found 10001"),
    ("10000-29999", "10000-10002", "5 media.rtp_ports: expected at least 4 ports"),
    ("10000-29999", "10000-70000", "5 media.rtp_ports: expected \"FIRST-LAST\""),
    ("10000-29999", "5000-6999", "5 media.rtp_ports: expected a range without the SIP port 5060"),
    ("127.0.0.1:9090", "9090", "7 admin.listen: expected an IP address and a port"),
    (
        "[media]",
        "local_nets = [\"10.0.0.1/8\"]\n[media]",
        "3 sip.local_nets: 10.0.0.1/8 has bits set behind the mask; expected 10.0.0.0/8",
    ),
    (
        "[media]",
        "trusted_proxies = [\"0.0.0.0/0\"]\n[media]",
        "3 sip.trusted_proxies: 0.0.0.0/0 is everybody, and anybody could name any peer",
    ),
    (
        "[media]",
        "proxy_peer_header = \"Via\"\n[media]",
        "3 sip.proxy_peer_header: expected a header name that begins with X-, found \"Via\"",
    ),
    // tenants
    ("sid = \"acc1\"", "sid = \"a b\"", "9 account.a b.sid: expected 1 to 64 of A-Z a-z 0-9 _ . -"),
    ("sid = \"acc1\"", "", "8 account[1].sid: is missing, for example \"acc1\""),
    ("[[trunk]]", "[[account]]\nsid = \"acc1\"\n[[trunk]]", "12 account.acc1.sid: account acc1 is there twice"),
    (
        "account = \"acc1\"\nallow",
        "account = \"acc2\"\nallow",
        "13 trunk.lab.account: there is no account acc2; did you mean \"acc1\"?",
    ),
    ("account = \"acc1\"\nallow", "allow", "11 trunk.lab.account: is missing: expected account"),
    (
        "account = \"acc1\"\nallow",
        "account = \"acc1\"\naccounts = [\"acc1\"]\nallow",
        "14 trunk.lab.accounts: expected either account or accounts, found both",
    ),
    ("account = \"acc1\"\nallow", "accounts = []\nallow", "13 trunk.lab.accounts: expected at least one account"),
    (
        "account = \"acc1\"\nallow",
        "accounts = [\n\"acc1\",\n\"nobody\"]\nallow",
        "15 trunk.lab.accounts: there is no account nobody; expected one of acc1",
    ),
    ("name = \"lab\"", "name = \"a-lab\"", "12 trunk.a-lab.name: expected 1 to 16 of A-Z a-z 0-9 _"),
    ("allow = [\"127.0.0.0/8\"]", "", "11 trunk.lab.allow: is missing, for example [\"198.51.100.0/24\"]"),
    ("allow = [\"127.0.0.0/8\"]", "allow = []", "14 trunk.lab.allow: expected at least one network"),
    (
        "allow = [\"127.0.0.0/8\"]",
        "allow = [\"127.0.0.0/8\",\n\"pbx.example\"]",
        "15 trunk.lab.allow: expected a network ADDRESS/BITS or an address, found \"pbx.example\"",
    ),
    (
        "[[number]]",
        "codecs = [\"g729\"]\n[[number]]",
        "15 trunk.lab.codecs: expected one of PCMU, PCMA, G722, opus, L16, found \"g729\"",
    ),
    ("[[number]]", "header_allow = [\"X Y\"]\n[[number]]", "15 trunk.lab.header_allow: expected a header name"),
    (
        "[[number]]",
        "[[trunk]]\nname = \"lab\"\naccount = \"acc1\"\nallow = [\"::1\"]\n[[number]]",
        "16 trunk.lab.name: trunk lab is there twice",
    ),
    (
        "[[number]]",
        "[[trunk]]\nname = \"two\"\naccount = \"acc1\"\nallow = [\"127.0.0.0/8\"]\n[[number]]",
        "18 trunk.two.allow: 127.0.0.0/8 calls for account acc1 on trunk lab too",
    ),
    ("number = \"1000\"", "number = \"\"", "16 number[1].number: expected a number such as \"1000\", or \"*\""),
    ("flow = \"bot\"", "flow = \"bat\"", "18 number.1000.flow: there is no flow bat; did you mean \"bot\"?"),
    (
        "[[flow]]",
        "[[number]]\nnumber = \"+1-000\"\naccount = \"acc1\"\nflow = \"bot\"\n[[flow]]",
        "20 number.+1-000.number: account acc1 has the number 1000 twice",
    ),
    ("start = \"talk\"", "start = \"tolk\"", "21 flow.bot.start: there is no step tolk; did you mean \"talk\"?"),
    ("applet = \"voicebot\"", "", "22 flow.bot.step.talk.applet: is missing, for example \"voicebot\""),
    ("applet = \"voicebot\"", "applet = 7", "23 flow.bot.step.talk.applet: expected the name of an applet"),
    // the rest
    (
        "[admin]",
        "rtp_start_timeout_seconds = 90\n[admin]",
        "6 media.rtp_start_timeout_seconds: expected at most rtp_timeout_seconds, 60, found 90",
    ),
    (
        "[admin]",
        "jitter_buffer_start_milliseconds = 130\n[admin]",
        "3 media.jitter_buffer_max_milliseconds: expected at least jitter_buffer_start_milliseconds, 130, found 120",
    ),
    (
        "[admin]",
        "jitter_buffer_min_milliseconds = 60\n[admin]",
        "6 media.jitter_buffer_min_milliseconds: expected at most jitter_buffer_start_milliseconds, 40, found 60",
    ),
    (
        "[admin]",
        "jitter_buffer_max_milliseconds = 301\n[admin]",
        "6 media.jitter_buffer_max_milliseconds: expected a whole number from 20 to 300, found 301",
    ),
    ("[admin]", "fill = \"music\"\n[admin]", "6 media.fill: expected one of \"silence\", \"noise\", found \"music\""),
    (
        "[media]",
        "t1_milliseconds = 9000\n[media]",
        "1 sip.t2_milliseconds: expected at least t1_milliseconds, 9000, found 4000",
    ),
    ("[[account]]", "[log]\nfilter = \"loud\"\n[[account]]", "9 log.filter: expected LEVEL or TARGET=LEVEL"),
    (
        "[[account]]",
        "[log]\nformat = \"xml\"\n[[account]]",
        "9 log.format: expected one of \"text\", \"json\", found \"xml\"",
    ),
    (
        "[[account]]",
        "[limits]\nmax_calls = 0\n[[account]]",
        "9 limits.max_calls: expected a whole number from 1 to 32000, found 0",
    ),
];

#[test]
fn every_wrong_file_is_refused_with_line_and_key() {
    let mut failed = String::new();
    for (from, to, expected) in WRONG {
        let found = problems(&with(from, to));
        if found.len() != 1 || !found[0].starts_with(expected) {
            let _ = writeln!(failed, "{from:?} -> {to:?}\n  expected {expected}\n  found    {found:?}");
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn a_problem_prints_as_file_line_key_and_message() {
    let found = load(&with("rtp_ports", "rtp_prots")).unwrap_err();
    assert_eq!(found[0].to_string(), "t.toml:5: media.rtp_prots: unknown key; did you mean `rtp_ports`?");
}

#[test]
fn all_problems_are_told_at_once() {
    let text = SHIPPED
        .replacen("rtp_ports", "rtp_port", 1)
        .replacen("127.0.0.0/8", "127.0.0.0/33", 1)
        .replacen("max_streams = 1000", "max_streams = true", 1)
        .replacen("flow = \"bot\"", "flow = \"other\"", 1)
        .replacen("127.0.0.1:9090", "nowhere", 1);
    let lines: Vec<usize> = load(&text).unwrap_err().iter().map(|problem| problem.place.line).collect();
    assert_eq!(lines, [5, 7, 10, 14, 18]);
}

#[test]
fn problems_of_flows_are_told_in_the_same_round_and_each_once() {
    let text = SHIPPED
        .replacen("127.0.0.0/8", "127.0.0.0/33", 1)
        .replacen("start = \"talk\"", "start = \"walk\"", 1)
        .replacen("ws://", "http://", 1);
    let found = Config::from_toml_with("t.toml", &text, None, &trunkstream::cli::flow_problems).unwrap_err();
    let keys: Vec<&str> = found.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["trunk.lab.allow", "flow.bot.start", "flow.bot.step.talk.url"], "{found:#?}");
}

#[test]
fn the_reference_shows_no_range_that_a_check_refuses() {
    let text = fresh_reference();
    assert!(!text.contains("65535"), "a range of the type instead of the setting");
    assert!(text.contains("1 to 127.\n#cause") && text.contains("300 to 699.\n#sip_code"), "{text}");
}

#[test]
fn an_unreadable_account_does_not_accuse_those_who_name_it() {
    let found = problems(&with("sid = \"acc1\"", "sid = 7"));
    assert_eq!(found, ["9 account[1].sid: expected text in quotes, found the number 7"]);
}

#[test]
fn hdr_002_the_optional_account_header_needs_a_trunk_with_one_account() {
    let two = with("[[trunk]]", "[[account]]\nsid = \"acc2\"\n[[trunk]]").replacen(
        "account = \"acc1\"\nallow",
        "accounts = [\"acc1\", \"acc2\"]\naccount_header = \"optional\"\nallow",
        1,
    );
    assert!(problems(&two)[0].starts_with("16 trunk.lab.account_header: \"optional\" needs a trunk with one account"));
    assert!(load(&two.replacen("[\"acc1\", \"acc2\"]", "[\"acc2\"]", 1)).is_ok());
}

#[test]
fn one_source_may_stand_in_two_trunks_when_their_accounts_differ() {
    let second = "[[account]]\nsid = \"acc2\"\n[[trunk]]\nname = \"two\"\naccount = \"acc2\"\nallow = [\"127.0.0.0/8\"]\n[[number]]";
    assert_eq!(load(&with("[[number]]", second)).unwrap().trunks.len(), 2);
}

#[test]
fn one_number_may_belong_to_two_accounts() {
    let text = with(
        "[[flow]]",
        "[[account]]\nsid = \"acc2\"\n[[number]]\nnumber = \"+1000\"\naccount = \"acc2\"\nflow = \"bot\"\n[[flow]]",
    );
    let numbers: Vec<String> = load(&text).unwrap().numbers.into_iter().map(|number| number.number).collect();
    assert_eq!(numbers, ["1000", "1000"]);
}

#[test]
fn ops_001_the_advertised_address_serves_media_too_unless_media_has_its_own() {
    let nat = with("[\"udp:127.0.0.1:5060\"]", "[\"udp:10.0.0.5:5060\"]\nadvertised_address = \"203.0.113.10:15060\"")
        .replacen("listen_address = \"127.0.0.1\"", "listen_address = \"10.0.0.5\"", 1);
    let config = load(&nat).unwrap();
    assert_eq!(config.sip.listeners[0].advertised, "203.0.113.10:15060".parse().unwrap());
    assert_eq!(config.media.advertised_address, "203.0.113.10".parse::<IpAddr>().unwrap());
    let own = nat.replacen("[admin]", "advertised_address = \"203.0.113.11\"\n[admin]", 1);
    assert_eq!(load(&own).unwrap().media.advertised_address, "203.0.113.11".parse::<IpAddr>().unwrap());
}

#[test]
fn ops_001_a_private_address_is_told_only_where_the_file_allows_it() {
    let private = SHIPPED.replace("127.0.0.1:5060", "10.0.0.5:5060").replacen(
        "_address = \"127.0.0.1\"",
        "_address = \"10.0.0.5\"",
        1,
    );
    assert_eq!(load(&private).unwrap_err().len(), 2);
    let allowed = private.replacen("[media]", "allow_private = true\n[media]", 1);
    assert_eq!(load(&allowed).unwrap().sip.listeners[0].advertised, "10.0.0.5:5060".parse().unwrap());
}

#[test]
fn ops_001_an_unspecified_address_takes_the_route_s_source() {
    let any = with("udp:127.0.0.1:5060", "udp:0.0.0.0:5060");
    assert_eq!(load(&any).unwrap().sip.listeners[0].advertised, "192.0.2.7:5060".parse().unwrap());
    let found = Config::from_toml("t.toml", &any, None).unwrap_err();
    assert!(found[0].to_string().starts_with("t.toml:2: sip.listen: 0.0.0.0 takes the address of the default route"));
}

#[test]
fn ops_003_a_peer_elsewhere_is_never_told_loopback() {
    let stranger = SHIPPED.replace("127.0.0.0/8", "198.51.100.0/24").replace("udp:127.0.0.1", "udp:0.0.0.0");
    let found = problems(&stranger);
    assert!(
        found[0].starts_with("4 media.listen_address: callers elsewhere cannot send media to 127.0.0.1"),
        "{found:?}"
    );
}

#[test]
fn ops_005_the_call_limit_follows_from_the_port_range() {
    let few = load(&with("10000-29999", "10000-10299")).unwrap();
    assert_eq!(few.limits.max_calls, 100);
    let said = with("10000-29999", "10000-10299").replacen("[[account]]", "[limits]\nmax_calls = 140\n[[account]]", 1);
    assert_eq!(load(&said).unwrap().limits.max_calls, 140);
}

#[test]
fn a_default_that_cannot_serve_is_pinned_to_its_section() {
    let found = Config::from_toml("t.toml", "[log]\n[sip]\n", None).unwrap_err();
    let found: Vec<String> = found.iter().map(|p| format!("{} {}", p.place.line, p.key)).collect();
    assert_eq!(found, ["1 media.listen_address", "2 sip.listen"]);
}

#[test]
fn ops_001_an_ipv6_listener_is_told_in_its_own_family() {
    let text = with("\"udp:127.0.0.1:5060\"", "\"udp:0.0.0.0:5060\", \"udp:[2001:db8::5]:5060\"");
    let told: Vec<String> = load(&text).unwrap().sip.listeners.iter().map(|l| l.advertised.to_string()).collect();
    assert_eq!(told, ["192.0.2.7:5060", "[2001:db8::5]:5060"]);
}

/// The reference as generated from this build.
fn fresh_reference() -> String {
    let applets: Vec<_> =
        trunkstream::flow::graph::reference().into_iter().map(|one| (one.applet, one.schema)).collect();
    reference::toml(&applets)
}

#[test]
fn the_reference_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/reference.toml");
    let fresh = fresh_reference();
    if std::env::var_os("TRUNKSTREAM_BLESS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let shipped = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(shipped == fresh, "config/reference.toml is stale: TRUNKSTREAM_BLESS=1 cargo test --test config writes it");
}

#[test]
fn the_reference_says_nothing_until_uncommented_and_loads_then() {
    let text = fresh_reference();
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')));
    assert!(text.lines().all(|line| line.chars().count() <= 120 || !line.starts_with("# ")), "a line is too wide");
    let uncommented: String = text
        .lines()
        .filter(|line| line.starts_with('#') && !line.starts_with("# "))
        .map(|line| format!("{}\n", &line[1..]))
        .collect();
    let flows = &trunkstream::cli::flow_problems;
    let config = Config::from_toml_with("reference.toml", &uncommented, None, flows);
    let config = config.unwrap_or_else(|problems| panic!("{problems:#?}\n{uncommented}"));
    assert_eq!((config.accounts.len(), config.trunks.len(), config.numbers.len()), (1, 1, 1));
}

#[test]
fn every_key_of_the_reference_has_a_text() {
    let text = fresh_reference();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2) {
        let bare = pair[1].starts_with('#') && !pair[1].starts_with("# ") && !pair[1].starts_with("#applet");
        assert!(!bare || pair[0].starts_with("# "), "{} has no text above it", pair[1]);
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,300}") {
        let _ = load(&text);
    }

    #[test]
    fn no_damage_to_a_good_file_panics(at in 0usize..600, cut in 0usize..40, put in "[\\[\\]=\".#a-z0-9\n{},-]{0,12}") {
        let start = (at.min(SHIPPED.len()), (at + cut).min(SHIPPED.len()));
        let damaged = format!("{}{put}{}", &SHIPPED[..start.0], &SHIPPED[start.1..]);
        if let Err(problems) = load(&damaged) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.place.line >= 1 && !problem.message.is_empty()));
        }
    }

    #[test]
    fn any_value_at_any_key_is_taken_or_refused(
        key in prop::sample::select(vec!["listen", "listen_address", "rtp_ports", "sid", "allow", "number", "flow", "start", "account", "name"]),
        value in prop_oneof![
            Just("-1".to_owned()), Just("1e400".to_owned()), Just("[[[]]]".to_owned()), Just("{a = {b = 1}}".to_owned()),
            Just("1979-05-27".to_owned()), Just("nan".to_owned()), "\"[-a-z0-9:./+*\\[\\]]{0,20}\"",
        ],
    ) {
        let line = SHIPPED.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        let _ = load(&SHIPPED.replace(line, &format!("{key} = {value}")));
    }
}
