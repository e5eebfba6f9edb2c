//! The files under deploy/ say what they are documented to say.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn deployed(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `key=value` and `key = value` lines; a key may stand several times.
fn settings(name: &str) -> BTreeMap<String, Vec<String>> {
    let mut settings: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let text = deployed(name);
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    for (key, value) in lines.filter_map(|line| line.split_once('=')) {
        let key = key.trim().trim_start_matches('-');
        settings.entry(key.to_owned()).or_default().push(value.trim().to_owned());
    }
    settings
}

fn assert_has(name: &str, wanted: &[(&str, &str)]) {
    let settings = settings(name);
    for (key, value) in wanted {
        let found = settings.get(*key).is_some_and(|values| values.iter().any(|found| found == value));
        assert!(found, "{name}: {key} is {:?}, not {value:?}", settings.get(*key));
    }
}

fn number(name: &str, key: &str) -> u64 {
    settings(name)[key][0].parse().expect("a number")
}

#[test]
fn ops_020_the_unit_is_ready_when_sockets_are_bound_comes_back_after_a_fault_and_may_drain() {
    let unit = "trunkstream.service";
    assert_has(unit, &[("Type", "notify"), ("Restart", "on-failure"), ("KillMode", "mixed"), ("DynamicUser", "yes")]);
    assert!(number(unit, "LimitNOFILE") >= 131_072);
    assert!(number(unit, "TasksMax") >= 4096);
    let config = trunkstream::config::Config::from_toml("t", include_str!("../config/trunkstream.toml"), None);
    let drain = config.expect("the shipped file loads").limits.drain_timeout.as_secs();
    assert!(number(unit, "TimeoutStopSec") > drain, "systemd does not kill what still drains");
}

#[test]
fn ops_021_the_unit_takes_from_the_service_what_it_does_not_need() {
    let yes = [
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "ProtectKernelTunables",
        "ProtectKernelModules",
        "ProtectKernelLogs",
        "ProtectControlGroups",
        "RestrictNamespaces",
        "LockPersonality",
        "MemoryDenyWriteExecute",
    ];
    let unit = "trunkstream.service";
    assert_has(unit, &yes.map(|key| (key, "yes")));
    assert_has(
        unit,
        &[
            ("ProtectSystem", "strict"),
            ("CapabilityBoundingSet", ""),
            ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX AF_NETLINK"),
            ("SystemCallFilter", "@system-service"),
            ("UMask", "0027"),
        ],
    );
    assert!(settings(unit)["LoadCredential"][0].starts_with("trunkstream.toml:"));
}

#[test]
fn ops_022_the_kernel_settings_hold_bursts_and_keep_the_rtp_ports_free() {
    let file = "90-trunkstream.conf";
    for (key, least) in [
        ("net.core.rmem_max", 8_388_608),
        ("net.core.wmem_max", 8_388_608),
        ("net.core.rmem_default", 1_048_576),
        ("net.core.netdev_max_backlog", 10_000),
        ("net.netfilter.nf_conntrack_max", 4 * 2 * 2000),
    ] {
        assert!(number(file, key) >= least, "{key}");
    }
    assert!(trunkstream::net::sip_udp::RECEIVE_BUFFER as u64 <= number(file, "net.core.rmem_max"));
    let config = trunkstream::config::Config::from_toml("t", include_str!("../config/trunkstream.toml"), None);
    let media = config.expect("the shipped file loads").media;
    let ports = format!("{}-{}", media.first_port, media.last_port);
    assert_has(file, &[("net.ipv4.ip_local_reserved_ports", &ports)]);
}
