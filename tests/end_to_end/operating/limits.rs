//! Limits as an operator meets them: the refusal says which one it was, for which trunk and peer, and what to change
//! (SIP-096).

use std::time::Duration;

use crate::bot::Port;
use crate::bridge::{Bridge, NUMBER, Setup};
use crate::http::get;
use crate::phone::Phone;
use crate::within;

/// Whether `/metrics` has a line that begins with all of a series and ends with this value.
async fn counts(bridge: &Bridge, name: &str, labels: &[&str], value: &str) -> bool {
    let (_, page) = get(bridge.admin, "/metrics").await;
    let is_it = |line: &&str| {
        line.starts_with(name)
            && labels.iter().all(|label| line.contains(label))
            && line.ends_with(&format!(" {value}"))
    };
    page.lines().any(|line| is_it(&line))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_096_a_trunk_above_its_calls_a_minute_is_told_so_with_its_key() {
    let port = Port::open().await;
    let mut setup = Setup::to(&port.url("/media"));
    setup.trunk.push_str("\nmax_calls_per_minute = 1");
    let bridge = Bridge::start(&setup).await;
    let mut first = Phone::new(bridge.sip).await;
    let (answer, _bot) = tokio::join!(first.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200);
    let refused = Phone::new(bridge.sip).await.call(NUMBER).await;
    assert_eq!(refused.verdict(), (480, "Q.850;cause=42"));
    assert!(refused.header("Retry-After").is_some());
    let told = bridge.logged("call refused").await;
    for part in ["trunk=lab", "peer=127.0.0.1", "reason=\"trunk_call_rate\"", "max_calls_per_minute of the [[trunk]]"] {
        assert!(told.replace("trunk=\"lab\"", "trunk=lab").contains(part), "{part}: {told}");
    }
    let labels = ["reason=\"trunk_call_rate\"", "code=\"480\"", "trunk=\"lab\""];
    assert!(counts(&bridge, "trunkstream_calls_refused_total", &labels, "1").await);
    assert!(counts(&bridge, "trunkstream_limit", &["max_calls_per_minute", "trunk=\"lab\""], "1").await);
    assert_eq!(first.request("BYE").await.code(), 200, "the call that is up is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_096_a_node_without_a_free_rtp_port_says_503_to_calls_and_probes_until_one_has_rested() {
    let port = Port::open().await;
    let mut setup = Setup::to(&port.url("/media"));
    (setup.rtp, setup.limits) = ((30_100, 30_103), "max_calls = 10".to_owned());
    let bridge = Bridge::start(&setup).await;
    let mut calls = Vec::new();
    for _ in 0..2 {
        let mut phone = Phone::new(bridge.sip).await;
        let (answer, bot) = tokio::join!(phone.call(NUMBER), port.bot());
        assert_eq!(answer.code(), 200);
        calls.push((phone, bot));
    }
    let refused = Phone::new(bridge.sip).await.call(NUMBER).await;
    assert_eq!(refused.start, "SIP/2.0 503 Service Unavailable");
    let told = bridge.logged("call refused").await;
    assert!(told.contains("media.rtp_ports"), "{told}");
    within(5, "probes are told", async {
        while Phone::new(bridge.sip).await.request("OPTIONS").await.code() != 503 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(get(bridge.admin, "/readyz").await.0, 503);
    for (mut phone, _bot) in calls {
        assert_eq!(phone.request("BYE").await.code(), 200, "calls that are up are served");
    }
}
