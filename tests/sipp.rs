//! Real SIPp against the real binary over real sockets, with a real bot: every scenario of the group `fast`.
//!
//! The scenarios, what each proves and how to run one by hand stand in sip-fixtures/README.md.

use std::process::Command;

#[test]
fn every_fast_sipp_scenario_passes() {
    let output = Command::new("sip-fixtures/run.sh")
        .args(["--bridge", env!("CARGO_BIN_EXE_trunkstream"), "fast"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("sip-fixtures/run.sh runs: `make test` installs what it needs");
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}{}", String::from_utf8_lossy(&output.stderr));
    let summary =
        report.lines().rev().find(|line| line.contains(" passed, ")).expect("a line that counts the scenarios");
    let passed: usize = summary.split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
    assert!(output.status.success(), "{summary}");
    assert!(passed >= 100, "only {passed} scenarios ran");
}
