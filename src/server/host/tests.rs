//! Judgement over made-up hosts.

use super::*;

const FILE: &str = "[sip]\nlisten = [\"udp:10.0.0.5:5060\"]\nadvertised_address = \"203.0.113.10\"\n\
    [media]\nlisten_address = \"10.0.0.5\"\nrtp_ports = \"10000-29999\"\n[limits]\nmax_calls = 1000\n\
    [[account]]\nsid = \"acc1\"\n[[trunk]]\nname = \"pbx\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n\
    [[number]]\nnumber = \"*\"\naccount = \"acc1\"\nflow = \"bot\"\n\
    [[flow]]\nid = \"bot\"\nstart = \"talk\"\n[flow.step.talk]\napplet = \"voicebot\"\nurl = \"wss://bot.example/x\"\n";

fn config(from: &str, to: &str) -> Config {
    Config::from_toml("t", &FILE.replacen(from, to, 1), None).unwrap()
}

fn good_host() -> Host {
    Host {
        ephemeral: Some(32_768..=60_999),
        open_files: Some(131_072),
        sip_buffer: Some(SIP_RECEIVE_BUFFER),
        rtp_buffer: Some(RTP_RECEIVE_BUFFER),
        clock_source: Some("tsc".into()),
        clock_kept: true,
        conntrack_max: Some(262_144),
        bot_hosts: 1,
        ..Host::default()
    }
}

/// The only finding that is not ok.
fn trouble(config: &Config, host: &Host) -> (Severity, String) {
    let found: Vec<Finding> = judge(config, host).into_iter().filter(|f| f.severity != Severity::Ok).collect();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(!found[0].advice.is_empty());
    (found[0].severity, found[0].text.clone())
}

#[test]
fn a_host_as_documented_is_ready() {
    let found = judge(&config("", ""), &good_host());
    assert!(found.iter().all(|finding| finding.severity == Severity::Ok), "{found:#?}");
}

#[test]
fn ops_001_a_private_address_told_to_a_public_trunk_is_a_warning() {
    let config = config("advertised_address = \"203.0.113.10\"", "allow_private = true");
    let found: Vec<Finding> =
        judge(&config, &good_host()).into_iter().filter(|f| f.severity == Severity::Warn).collect();
    assert_eq!(found.len(), 2, "SIP and RTP");
    assert!(found[0].text.contains("trunk pbx cannot reach"), "{found:?}");
}

#[test]
fn ops_005_a_range_inside_the_ephemeral_ports_is_fine_only_when_reserved() {
    let config = config("10000-29999", "40000-59999");
    let mut host = good_host();
    assert!(trouble(&config, &host).1.contains("overlap net.ipv4.ip_local_port_range"));
    host.reserved = port_list("8080,40000-49999,50000-59999");
    assert!(judge(&config, &host).iter().all(|finding| finding.severity == Severity::Ok));
    host.reserved = port_list("40000-59998");
    assert!(trouble(&config, &host).1.contains("59999 may be taken"));
}

#[test]
fn ops_005_fewer_than_three_ports_a_call_is_a_warning() {
    let config = config("10000-29999", "10000-12989");
    assert_eq!(
        trouble(&config, &good_host()),
        (Severity::Warn, "RTP ports 10000-12989 are 2990 for 1000 calls at once".into())
    );
}

#[test]
fn ops_007_ops_022_each_shortage_of_the_host_is_told_with_its_remedy() {
    type Harm = fn(&mut Host);
    let harms: [(Harm, Severity, &str); 11] = [
        (|host| host.unusable_tls = Some("sip.pem: no certificate".into()), Severity::Fail, "SIP over TLS: sip.pem"),
        (|host| host.open_files = Some(1024), Severity::Warn, "open files: 1024 allowed, 1000 calls need 3128"),
        (|host| host.sip_buffer = Some(212_992), Severity::Warn, "SIP receive buffer: 208 KiB granted of 4096 KiB"),
        (|host| host.rtp_buffer = None, Severity::Warn, "RTP receive buffer: cannot be tried"),
        (|host| host.clock_source = Some("hpet".into()), Severity::Warn, "clock source hpet"),
        (|host| host.clock_kept = false, Severity::Warn, "no time service found"),
        (
            |host| host.conntrack_max = Some(4096),
            Severity::Warn,
            "connection tracking: 4096 entries, 1000 calls need 8000",
        ),
        (
            |host| host.unbindable = vec![("SIP udp:10.0.0.5:5060".into(), "in use".into())],
            Severity::Fail,
            "SIP udp:10.0.0.5:5060 cannot be opened: in use",
        ),
        (|host| host.busy_rtp_ports = 3, Severity::Warn, "RTP ports 10000-29999: 3 are in use by others"),
        (|host| host.busy_rtp_ports = 20_000, Severity::Fail, "RTP ports 10000-29999: none can be opened"),
        (
            |host| host.unresolvable = vec![("flow.bot.step.talk.url".into(), "bot.example".into())],
            Severity::Fail,
            "flow.bot.step.talk.url: bot.example has no address",
        ),
    ];
    for (harm, severity, text) in harms {
        let mut host = good_host();
        harm(&mut host);
        let found = trouble(&config("", ""), &host);
        assert!(found.0 == severity && found.1.starts_with(text), "{text}: {found:?}");
    }
}

#[test]
fn media_threads_that_may_not_go_first_are_told_where_that_is_wanted() {
    let wanted = config("rtp_ports", "realtime_priority = 50\nrtp_ports");
    let refused = Host { realtime_refused: Some("not permitted".into()), ..good_host() };
    let found = trouble(&wanted, &refused);
    assert_eq!(
        found,
        (Severity::Warn, "media threads may not run under SCHED_FIFO, priority 50: not permitted".into())
    );
    let quiet = |config: &Config, host: &Host| judge(config, host).iter().all(|found| found.severity == Severity::Ok);
    assert!(quiet(&wanted, &good_host()) && quiet(&config("", ""), &refused));
}

#[test]
fn a_file_that_takes_no_call_is_told_so() {
    let config = Config::from_toml("t", "[limits]\nmax_calls = 10", Some("203.0.113.10".parse().unwrap())).unwrap();
    let found = judge(&config, &good_host());
    assert!(found.iter().any(|finding| finding.text.starts_with("no trunk")));
    assert!(found.iter().any(|finding| finding.text.starts_with("no number")));
}

#[test]
fn the_host_of_a_bot_url_is_read_without_its_credentials() {
    for (url, expected) in [
        ("wss://bot.example/x?y=1", Some(("bot.example", 443))),
        ("ws://user:p@ss@bot.example:9001/x", Some(("bot.example", 9001))),
        ("ws://[::1]:9001", Some(("::1", 9001))),
        ("https://[2001:db8::1]/x", Some(("2001:db8::1", 443))),
        ("ws://:80/", None),
        ("bot.example", None),
        ("ws://bot.example:x", None),
    ] {
        let found = host_and_port(url);
        assert_eq!(found.as_ref().map(|(host, port)| (host.as_str(), *port)), expected, "{url}");
    }
}

#[test]
fn this_very_host_can_be_read() {
    let file =
        FILE.replace("10.0.0.5", "127.0.0.1").replace("wss://bot.example", "ws://127.0.0.1").replace("29999", "10009");
    let config = Config::from_toml("t", &file, None).unwrap();
    let host = Host::read(&config);
    assert!(host.open_files.is_some() && host.sip_buffer.is_some());
    assert_eq!((host.bot_hosts, host.unresolvable.len()), (1, 0));
}

#[test]
fn a_trunk_elsewhere_cannot_reach_a_loopback_listener() {
    let config = config("udp:10.0.0.5", "udp:127.0.0.1");
    assert!(trouble(&config, &good_host()).1.starts_with("trunk pbx is elsewhere"));
}
