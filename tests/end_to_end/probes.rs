//! Strangers with the tools they really use, and the probe that operators use: sipsak's OPTIONS, and the scanners of
//! sipvicious, which find nothing and lock nobody out (SIP-091, SIP-097).

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::bot::Port;
use crate::bridge::{Bridge, NUMBER, Setup};
use crate::phone::Phone;
use crate::within;

/// The PBX's address: the scanners, which choose their own, have another.
const PBX: &str = "127.0.0.5";

/// Runs a tool to its end, which `timeout` sees to.
async fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output());
    within(70, "the tool ends", run).await.expect("no panic").expect("the tool is installed: `make test` sees to it")
}

fn sipsak(bridge: &Bridge) -> Command {
    let mut command = Command::new("timeout");
    command.args(["20", "sipsak", "-v", "-s", &format!("sip:probe@{}", bridge.sip)]);
    command
}

/// A tool of sipvicious.
fn scanner(tool: &str) -> Command {
    let python = std::env::var_os("PIPECAT_PYTHON")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python"), PathBuf::from);
    let program = python.with_file_name(format!("sipvicious_{tool}"));
    assert!(program.exists(), "{} is missing: `make test` sets it up in .venv", program.display());
    let mut command = Command::new("timeout");
    command.arg("60").arg(program);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_097_sipsak_finds_the_node_up_and_down_again_when_it_drains() {
    let port = Port::open().await;
    let bridge = Bridge::start(&Setup::to(&port.url("/media"))).await;
    let found = run(sipsak(&bridge)).await;
    assert_eq!(found.status.code(), Some(0), "{}", String::from_utf8_lossy(&found.stdout));
    let mut caller = Phone::new(bridge.sip).await;
    let (answer, _bot) = tokio::join!(caller.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200);
    bridge.terminate();
    bridge.logged("draining").await;
    let refused = run(sipsak(&bridge)).await;
    let said = String::from_utf8_lossy(&refused.stdout).into_owned() + &String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() != Some(0) && said.contains("503"), "{:?} {said}", refused.status);
    assert_eq!(caller.request("BYE").await.code(), 200);
}

/// The value of a series of the bridge's metrics.
async fn metric(bridge: &Bridge, series: &str) -> f64 {
    let (_, page) = crate::http::get(bridge.admin, "/metrics").await;
    let line = page.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("no {series}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_091_sipvicious_finds_nothing_and_a_known_trunk_calls_all_the_while() {
    let port = Port::open().await;
    let mut setup = Setup::to(&port.url("/media"));
    setup.trunk = "allow = [\"127.0.0.5/32\"]".to_owned();
    let bridge = Bridge::start(&setup).await;
    let (host, at) = (bridge.sip.ip().to_string(), bridge.sip.port().to_string());
    let arguments: [(&str, Vec<&str>); 4] = [
        ("svmap", vec!["-p", &at, &host]),
        ("svmap", vec!["-m", "INVITE", "-p", &at, &host]),
        ("svwar", vec!["-e100-140", "-m", "REGISTER", "--force", "-p", &at, &host]),
        ("svcrack", vec!["-u", "100", "-r", "1000-1040", "-p", &at, &host]),
    ];
    let mut scans = Vec::new();
    for (tool, arguments) in arguments {
        let mut command = scanner(tool);
        command.args(arguments);
        scans.push((tool, tokio::spawn(run(command))));
    }
    let mut calls = 0;
    while calls < 5 || scans.iter().any(|(_, scan)| !scan.is_finished()) {
        let mut caller = Phone::at(&format!("{PBX}:0"), bridge.sip).await;
        let (answer, _bot) = tokio::join!(caller.call(NUMBER), port.bot());
        assert_eq!(answer.code(), 200, "the trunk is not locked out");
        assert_eq!(caller.request("BYE").await.code(), 200);
        calls += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for (tool, scan) in scans {
        let output = scan.await.expect("no panic");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains(&format!("{host}:{at} ")) && !said.contains("| reqauth"),
            "{tool} found something:\n{said}"
        );
        assert!(!said.contains("password is") && !said.contains("Trunkstream"), "{tool} found something:\n{said}");
    }
    assert!(metric(&bridge, "sip_source_rejects_total{action=\"dropped\"}").await >= 4.0, "they were there");
    assert_eq!(metric(&bridge, "sip_source_rejects_total{action=\"403\"}").await, 0.0, "and were told nothing");
}
