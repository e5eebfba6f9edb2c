//! From the INVITE to the upgrade: what the request says, what is tried twice, and what the PBX is told.

use std::time::Instant;

use super::verdict;
use crate::bot::{Port, Upgrade};
use crate::bridge::{Bridge, NUMBER, Setup};
use crate::phone::{Message, Phone};

/// Characters that RFC 3986 allows and that sloppy URL libraries rewrite: none of them may be touched.
const ODD: &str =
    "/a%2Fb/./c//d;v=1/~x!$'()*+,:@-%7e?sample-rate=8000&k=%20+%2F%2f&&empty=&=nameless&plain&q=?/:@!$'()*,;&";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn path_and_query_arrive_unmodified_and_nothing_is_offered_that_bots_choke_on() {
    let port = Port::open().await;
    let bridge = Bridge::start(&Setup::to(&port.url(ODD))).await;
    let mut phone = Phone::new(bridge.sip).await;
    let (answer, upgrade) = tokio::join!(phone.call(NUMBER), async {
        let upgrade = Upgrade::read(port.connection().await).await;
        let head = upgrade.head.clone();
        (head, upgrade.request_line().to_owned(), upgrade.header("Host").map(str::to_owned), upgrade.accept().await)
    });
    let (head, request_line, host, mut bot) = upgrade;
    assert_eq!(answer.code(), 200);
    assert_eq!(request_line, format!("GET {ODD} HTTP/1.1"));
    assert_eq!(host, Some(port.address.to_string()));
    for absent in
        ["origin:", "permessage-deflate", "sec-websocket-extensions", "sec-websocket-protocol", "authorization:"]
    {
        assert!(!head.to_ascii_lowercase().contains(absent), "{absent}\n{head}");
    }
    let start = bot.event("start").await;
    assert_eq!(start["start"]["custom_parameters"]["k"], "  //", "{start}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_travel_as_basic_authorization_and_are_shown_nowhere() {
    const LOGIN: [&str; 4] = ["bot-user", "s%C3%A9cr%40t", "sécr@t", "Ym90LXVzZXI6c8OpY3JAdA=="];
    let port = Port::open().await;
    let url = format!("ws://{}:{}@{}/media?token=t0ken", LOGIN[0], LOGIN[1], port.address);
    let mut setup = Setup::to(&url);
    setup.log = r#"filter = "trace,tungstenite=trace""#.to_owned();
    let bridge = Bridge::start(&setup).await;
    let mut phone = Phone::new(bridge.sip).await;
    let (answer, mut bot) = tokio::join!(phone.call(NUMBER), async {
        // The first attempt fails: what is said about that is in the log too.
        let upgrade = Upgrade::read(port.connection().await).await;
        assert_eq!(upgrade.header("Authorization"), Some(format!("Basic {}", LOGIN[3]).as_str()));
        assert_eq!(upgrade.request_line(), "GET /media?token=t0ken HTTP/1.1");
        assert_eq!(upgrade.head.matches(LOGIN[0]).count(), 0, "{}", upgrade.head);
        upgrade.refuse("500 Internal Server Error").await;
        port.bot().await
    });
    assert_eq!(answer.code(), 200);
    bot.event("start").await;
    phone.request("BYE").await;
    let record = bridge.record(1).await.to_string();
    let log = bridge.log().join("\n");
    for secret in LOGIN.iter().chain(&["t0ken"]) {
        assert!(!record.contains(secret), "{secret} in {record}");
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    let shown = format!("ws://{}/media?token=…", port.address);
    assert!(record.contains(&shown) && log.contains(&shown), "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_refuses_the_first_attempt_and_takes_the_second_has_the_call() {
    let port = Port::open().await;
    let bridge = Bridge::start(&Setup::to(&port.url("/media"))).await;
    let mut phone = Phone::new(bridge.sip).await;
    let (answer, mut bot) = tokio::join!(phone.call(NUMBER), async {
        Upgrade::read(port.connection().await).await.refuse("500 Internal Server Error").await;
        port.bot().await
    });
    assert_eq!(answer.code(), 200);
    assert_eq!(bot.event("start").await["sequence_number"], "1");
    assert_eq!(phone.request("BYE").await.code(), 200);
    assert_eq!(verdict(&bridge.stream().await), ("completed", "user", ""));
}

/// Calls a bot that treats both attempts alike; what the PBX was told and the stream's `Error`.
async fn refused(status: Option<&str>) -> (Message, String) {
    let port = Port::open().await;
    let bridge = Bridge::start(&Setup::to(&port.url("/media"))).await;
    let mut phone = Phone::new(bridge.sip).await;
    let (answer, ()) = tokio::join!(phone.call(NUMBER), async {
        for _ in 0..2 {
            let stream = port.connection().await;
            match status {
                Some(status) => Upgrade::read(stream).await.refuse(status).await,
                None => drop(stream),
            }
        }
    });
    assert!(port.is_quiet().await, "there is exactly one retry");
    let stream = bridge.stream().await;
    assert_eq!((stream["Status"].as_str(), stream["DisconnectedBy"].as_str()), (Some("failed"), Some("NA")));
    (answer, stream["Error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_cuts_the_connection_is_tried_exactly_twice_and_the_pbx_gets_502() {
    let (answer, error) = refused(None).await;
    assert_eq!(answer.verdict(), (502, "Q.850;cause=38"));
    assert!(error.starts_with("3009 failed to establish ws conn "), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_401_is_502_because_the_pbx_did_nothing_wrong() {
    let (answer, error) = refused(Some("401 Unauthorized")).await;
    assert_eq!(answer.verdict(), (502, "Q.850;cause=38"));
    assert_eq!(error, "3009 failed to establish ws conn HTTP 401");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_503_is_480_with_retry_after() {
    let (answer, error) = refused(Some("503 Service Unavailable")).await;
    assert_eq!(answer.verdict(), (480, "Q.850;cause=42"));
    let seconds: u32 = answer.header("Retry-After").and_then(|value| value.parse().ok()).expect("seconds");
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(error, "3009 failed to establish ws conn HTTP 503");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_listens_is_502_and_says_so() {
    let port = Port::open().await;
    let url = port.url("/media");
    drop(port);
    let bridge = Bridge::start(&Setup::to(&url)).await;
    let answer = Phone::new(bridge.sip).await.call(NUMBER).await;
    assert_eq!(answer.verdict(), (502, "Q.850;cause=38"));
    let stream = bridge.stream().await;
    let (_, _, error) = verdict(&stream);
    assert!(error.starts_with("3009 failed to establish ws conn ") && error.contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_never_upgrades_is_given_up_at_the_deadline_without_a_retry() {
    let port = Port::open().await;
    let bridge = Bridge::start(&Setup::to(&port.url("/media")).with("connect_timeout_seconds = 1")).await;
    let mut phone = Phone::new(bridge.sip).await;
    let began = Instant::now();
    let (answer, stalled) = tokio::join!(phone.call(NUMBER), port.connection());
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(answer.verdict(), (504, "Q.850;cause=102"));
    assert!((1.0..1.6).contains(&seconds), "{seconds}");
    assert!(port.is_quiet().await, "there is no retry after the deadline");
    let stream = bridge.stream().await;
    assert_eq!(verdict(&stream), ("failed", "NA", "3009 failed to establish ws conn no handshake within 1 s"));
    drop(stalled);
}
