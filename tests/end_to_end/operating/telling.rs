//! What a node tells: `/metrics`, one record a call, one span a call, and nothing that is personal.

use serde_json::Value;
use trunkstream::base::metric::{Kind, METRICS};

use crate::bot::Port;
use crate::bridge::{Bridge, NUMBER, Setup};
use crate::http::get;
use crate::phone::{CALLER, Phone};
use crate::within;

/// What the PBX says of the customer.
const UUI: &str = "customer-4711-gold";
/// What the bot's operator keeps to himself.
const PASSWORD: &str = "pa55word";

/// Two calls, one after the other, one hung up by each side.
async fn two_calls(log: &str) -> Bridge {
    let port = Port::open().await;
    let mut setup = Setup::to(&format!("ws://user:{PASSWORD}@{}/media", port.address));
    setup.log = log.to_owned();
    let bridge = Bridge::start(&setup).await;
    for by_bot in [false, true] {
        let mut phone = Phone::new(bridge.sip).await;
        let headers = format!("X-UUI: {UUI}\r\n");
        let (answer, mut bot) = tokio::join!(phone.call_with(NUMBER, &headers), port.bot());
        assert_eq!(answer.code(), 200);
        assert_eq!(bot.event("start").await["start"]["custom_parameters"]["UUI"], UUI);
        bot.event("media").await;
        if by_bot {
            bot.socket.close(None).await.expect("open until now");
            assert_eq!(phone.hung_up().await, "Q.850;cause=16");
        } else {
            assert_eq!(phone.request("BYE").await.code(), 200);
            assert_eq!(bot.event("stop").await["stop"]["reason"], "callended");
        }
    }
    bridge
}

/// The value of the sample that begins with `name`.
fn value(page: &str, name: &str) -> Option<f64> {
    let line = page.lines().find(|line| line.starts_with(name))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_038_metrics_have_help_texts_and_count_calls() {
    let bridge = two_calls("").await;
    bridge.record(2).await;
    assert_eq!(get(bridge.admin, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(bridge.admin, "/readyz").await, (200, "ready\n".to_owned()));
    // The SIP task exports once a second; its counts are awaited.
    let page = within(5, "the SIP task's counters", async {
        loop {
            let (status, page) = get(bridge.admin, "/metrics").await;
            assert_eq!(status, 200);
            if value(&page, "sip_messages_received_total{message=\"BYE\"").is_some_and(|count| count >= 1.0) {
                return page;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    let typed: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(typed.len() >= 12, "{page}");
    for name in &typed {
        assert!(page.contains(&format!("# HELP {name} ")), "{name} has no help text\n{page}");
    }
    for (why, count) in [("caller_hangup", 1.0), ("flow_ended", 1.0)] {
        let found = page.lines().find(|line| {
            line.starts_with("trunkstream_calls_total")
                && line.contains(&format!("why=\"{why}\""))
                && line.contains("lab")
        });
        let found = found.and_then(|line| line.rsplit(' ').next()).and_then(|count| count.parse().ok());
        assert_eq!(found, Some(count), "{why}\n{page}");
    }
    assert_eq!(value(&page, "trunkstream_calls_active"), Some(0.0), "{page}");
    assert!(value(&page, "rtp_packets_sent_total").is_some_and(|count| count > 0.0), "{page}");
    assert!(value(&page, "stream_connect_milliseconds_count").is_some_and(|count| count >= 2.0), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_038_every_metric_is_there_before_the_first_call_and_at_zero() {
    let bridge = Bridge::start(&Setup::to("ws://127.0.0.1:9/media")).await;
    let (_, page) = get(bridge.admin, "/metrics").await;
    for metric in METRICS {
        let series = |line: &&str| line.strip_prefix(metric.name).is_some_and(|rest| rest.starts_with([' ', '{', '_']));
        let found: Vec<&str> = page.lines().filter(series).collect();
        assert!(!found.is_empty(), "{} is not there\n{page}", metric.name);
        let counts = found.iter().filter(|line| !line.contains("le=") && metric.kind == Kind::Counter);
        assert!(counts.clone().all(|line| line.ends_with(" 0")), "{:?}", counts.collect::<Vec<_>>());
    }
    for series in [
        "trunkstream_calls_total{trunk=\"lab\",account=\"acc1\",outcome=\"answered\",why=\"caller_hangup\"}",
        "trunkstream_calls_refused_total{reason=\"draining\",code=\"503\",trunk=\"lab\"}",
        "stream_active{account=\"acc1\"}",
        "header_omitted_total{reason=\"denied\"}",
    ] {
        assert_eq!(value(&page, series), Some(0.0), "{series}\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_096_short_of_memory_the_node_refuses_new_calls_and_says_so_everywhere() {
    let mut setup = Setup::to("ws://127.0.0.1:9/media");
    setup.limits = "max_memory_mebibytes = 1".to_owned();
    let bridge = Bridge::start(&setup).await;
    bridge.logged("memory: new calls are refused").await;
    let mut phone = Phone::new(bridge.sip).await;
    let refused = phone.call(NUMBER).await;
    assert_eq!((refused.start.as_str(), refused.verdict().1), ("SIP/2.0 503 Service Unavailable", "Q.850;cause=42"));
    assert_eq!(Phone::new(bridge.sip).await.request("OPTIONS").await.code(), 503);
    let reason = "limits.max_memory_mebibytes is reached";
    assert_eq!(get(bridge.admin, "/readyz").await, (503, format!("{reason}\n")));
    assert!(bridge.logged("call refused").await.contains(reason));
    let refused = "trunkstream_calls_refused_total{reason=\"memory\",code=\"503\",trunk=\"lab\"}";
    within(5, "the refusal is counted", async {
        while value(&get(bridge.admin, "/metrics").await.1, refused) != Some(1.0) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtp_044_the_record_file_has_one_line_a_call_with_figures_and_nothing_personal() {
    let mut bridge = two_calls("").await;
    bridge.record(2).await;
    bridge.terminate();
    assert_eq!(bridge.exited().await.code(), Some(0));
    let text = bridge.records();
    let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.len(), 2, "{text}");
    for (record, why) in records.iter().zip(["caller_hangup", "flow_ended"]) {
        assert_eq!(record["end"]["why"], why);
        assert_eq!(record["media"]["codec"], "PCMU");
        assert!(record["media"]["packets_sent"].as_u64().is_some_and(|count| count >= 4), "{record}");
        for figure in ["lost", "late", "duplicate", "concealed_ms", "jitter_max_ms", "ssrc_changes", "source_rejects"] {
            assert!(record["media"][figure].is_number(), "{figure} in {record}");
        }
        for figure in ["underruns", "queue_max_ms", "chunks_sent"] {
            assert!(record["streams"][0]["figures"][figure].is_number(), "{figure} in {record}");
        }
        assert_eq!((&record["from"], &record["to"]), (&"xxxxxxxxx10".into(), &"xxxxxxxxx67".into()));
    }
    for secret in [CALLER, NUMBER, UUI, PASSWORD] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_116_the_text_log_has_one_span_a_call_and_nothing_personal() {
    let bridge = two_calls("").await;
    let records = [bridge.record(1).await, bridge.record(2).await];
    let log = bridge.log();
    for record in &records {
        let sid = record["call_sid"].as_str().expect("a string");
        let of_call: Vec<&String> = log.iter().filter(|line| line.contains(&format!("call{{call_sid={sid}"))).collect();
        for step in ["call begins", "dialling the bot", "bot connected", "call answered", "stream ended", "call ends"] {
            assert_eq!(of_call.iter().filter(|line| line.contains(step)).count(), 1, "{step}: {of_call:#?}");
        }
        let call_id = record["call_id"].as_str().expect("a string");
        assert!(of_call.iter().all(|line| line.contains(call_id)), "{of_call:#?}");
    }
    let ends = log.iter().filter(|line| line.contains("trunkstream::call_record: call record: answered after "));
    assert!(ends.clone().all(|line| line.contains("; PCMU, RTP received 0 lost 0") && !line.contains('{')), "{log:#?}");
    assert_eq!(ends.count(), 2, "{log:#?}");
    let log = log.join("\n");
    for secret in [CALLER, NUMBER, UUI, PASSWORD] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_116_at_debug_each_sip_message_is_one_line_and_still_nothing_personal() {
    let mut bridge = two_calls("filter = \"info,trunkstream::sip=debug\"").await;
    bridge.terminate();
    bridge.exited().await;
    let log = bridge.log();
    let of_sip = |what: &str, message: &str| {
        let wanted = |line: &&String| line.contains(what) && line.contains(&format!("sip=\"{message}\""));
        log.iter().filter(wanted).count()
    };
    for (what, message) in
        [("SIP received", "INVITE"), ("SIP received", "ACK"), ("SIP sent", "200 INVITE"), ("SIP sent", "100 INVITE")]
    {
        assert_eq!(of_sip(what, message), 2, "{what} {message}\n{log:#?}");
    }
    assert_eq!((of_sip("SIP received", "BYE"), of_sip("SIP sent", "BYE")), (1, 1), "{log:#?}");
    let lines = log.iter().filter(|line| line.contains("SIP received"));
    assert!(lines.clone().all(|line| line.contains("call_id=\"call-") && line.contains("peer=127.0.0.1:")), "{log:#?}");
    for secret in [CALLER, NUMBER, UUI, PASSWORD] {
        assert!(log.iter().all(|line| !line.contains(secret)), "{secret} in {log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_json_log_is_one_object_a_line_with_its_call() {
    let mut bridge = two_calls("format = \"json\"").await;
    bridge.terminate();
    bridge.exited().await;
    let log = bridge.log();
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let begins: Vec<&Value> = lines.iter().filter(|line| line["message"] == "call begins").collect();
    assert_eq!(begins.len(), 2, "{log:#?}");
    for line in begins {
        assert_eq!((&line["level"], &line["span"]["name"]), (&"INFO".into(), &"call".into()), "{line}");
        assert!(line["span"]["call_sid"].as_str().is_some_and(|sid| sid.len() == 32), "{line}");
    }
    let of_calls = ["call answered", "bot connected", "call ends"];
    for line in lines.iter().filter(|line| of_calls.iter().any(|message| line["message"] == *message)) {
        assert!(line["span"]["call_sid"].is_string(), "{line}");
    }
    let records = lines.iter().filter(|line| line["target"] == "trunkstream::call_record");
    let records: Vec<&Value> = records.inspect(|line| assert_eq!(line["message"], "call record")).collect();
    let written: Vec<Value> = bridge.records().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(records.iter().map(|line| &line["record"]).collect::<Vec<_>>(), written.iter().collect::<Vec<_>>());
    assert!(records.iter().all(|line| line["timestamp"].is_string() && line["level"] == "INFO"), "{records:#?}");
    assert!(log.iter().all(|line| !line.contains(UUI) && !line.contains(CALLER)), "{log:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_025_a_full_disk_stops_the_record_file_and_no_call() {
    let port = Port::open().await;
    let mut setup = Setup::to(&port.url("/media"));
    setup.records = Some("/dev/full".into());
    let bridge = Bridge::start(&setup).await;
    for call in 1..=2 {
        let mut phone = Phone::new(bridge.sip).await;
        let (answer, _bot) = tokio::join!(phone.call(NUMBER), port.bot());
        assert_eq!(answer.code(), 200);
        assert_eq!(phone.request("BYE").await.code(), 200);
        bridge.logged_times("trunkstream::call_record", call).await;
    }
    let told = bridge.log().iter().filter(|line| line.contains("call records cannot be written")).count();
    assert_eq!(told, 1, "once, not with every call");
}
