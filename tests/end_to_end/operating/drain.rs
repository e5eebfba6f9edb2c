//! SIGTERM: nothing new begins, what lives goes on, and the process ends when it is alone (OPS-030 to OPS-032).

use std::time::Duration;

use crate::bot::Port;
use crate::bridge::{Bridge, NUMBER, Setup};
use crate::http::get;
use crate::phone::Phone;
use crate::within;

/// The status line that PBXs take a peer out of service on, letter for letter.
const UNAVAILABLE: &str = "SIP/2.0 503 Service Unavailable";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_030_ops_031_a_draining_node_refuses_what_is_new_lets_what_lives_finish_and_ends() {
    let port = Port::open().await;
    let mut bridge = Bridge::start(&Setup::to(&port.url("/media"))).await;
    let mut caller = Phone::new(bridge.sip).await;
    let (answer, mut bot) = tokio::join!(caller.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200);
    assert_eq!(Phone::new(bridge.sip).await.request("OPTIONS").await.start, "SIP/2.0 200 OK");
    bridge.terminate();
    bridge.logged("draining").await;

    let options = Phone::new(bridge.sip).await.request("OPTIONS").await;
    assert_eq!(options.start, UNAVAILABLE);
    let refused = Phone::new(bridge.sip).await.call(NUMBER).await;
    assert_eq!(refused.start, UNAVAILABLE);
    let told = bridge.logged("call refused").await;
    assert!(told.contains("reason=\"draining\" why=\"the node drains\""), "{told}");
    assert!(told.contains("to=xxxxxxxxx67") && !told.contains("headers"), "{told}");
    let seconds: u32 = refused.header("Retry-After").and_then(|value| value.parse().ok()).expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(get(bridge.admin, "/readyz").await, (503, "the node drains\n".to_owned()));
    assert_eq!(get(bridge.admin, "/healthz").await.0, 200);

    // The live call goes on: the bot still hears, and a mark behind what it says still returns.
    bot.event("media").await;
    bot.speak(300).await;
    bot.mark("still here").await;
    assert_eq!(bot.event("mark").await["mark"]["name"], "still here");
    assert_eq!(caller.request("BYE").await.code(), 200);
    assert_eq!(bot.event("stop").await["stop"]["reason"], "callended");
    let status = bridge.exited().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(bridge.records().lines().count(), 1, "a refused call has no record of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_031_a_second_sigterm_ends_live_calls_now_with_cause_41() {
    let port = Port::open().await;
    let mut bridge = Bridge::start(&Setup::to(&port.url("/media"))).await;
    let mut caller = Phone::new(bridge.sip).await;
    let (answer, mut bot) = tokio::join!(caller.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200);
    bridge.terminate();
    bridge.logged("draining").await;
    bridge.terminate();
    assert_eq!(caller.hung_up().await, "Q.850;cause=41");
    assert_eq!(bot.event("stop").await["stop"]["reason"], "callended");
    assert_eq!(bot.closed().await, Some(1000));
    assert_eq!(bridge.exited().await.code(), Some(0));
    let record: serde_json::Value = serde_json::from_str(bridge.records().trim_end()).expect("one record");
    assert_eq!((&record["end"]["why"], &record["end"]["q850"]), (&"shutdown".into(), &41.into()));
    assert_eq!(record["streams"][0]["Status"], "completed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_031_a_caller_that_has_died_delays_the_end_by_moments_only_and_its_call_is_on_record() {
    let port = Port::open().await;
    let mut setup = Setup::to(&port.url("/media"));
    setup.limits = "drain_timeout_seconds = 1".to_owned();
    let mut bridge = Bridge::start(&setup).await;
    let mut caller = Phone::new(bridge.sip).await;
    let (answer, _bot) = tokio::join!(caller.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200);
    bridge.terminate();
    let bye = caller.unanswered("BYE").await;
    assert_eq!(bye.header("Reason"), Some("Q.850;cause=41"), "the drain limit has the same cause");
    assert_eq!(bridge.exited().await.code(), Some(0));
    assert_eq!(bridge.records().lines().count(), 1, "{}", bridge.records());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_ends_at_once() {
    let mut bridge = Bridge::start(&Setup::to("ws://127.0.0.1:9/media")).await;
    bridge.terminate();
    let status = tokio::time::timeout(Duration::from_secs(3), bridge.exited()).await.expect("at once");
    assert_eq!(status.code(), Some(0));
    within(1, "its port is free again", tokio::net::UdpSocket::bind(bridge.sip)).await.expect("free");
}
