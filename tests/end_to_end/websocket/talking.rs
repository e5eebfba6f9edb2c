//! While the stream is up: pings, marks and clears, and a bot that stops reading.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use trunkstream::base::random::Random;
use trunkstream::base::rtp_format::PCMU;
use trunkstream::lab::bot::{Bot as EchoBot, BotMode, BotSettings};
use trunkstream::lab::pbx::{CallPlan, CallReport, Callee, Impairment, Line, LineSettings, Sound, place};

use super::{Talk, verdict};
use crate::bot::Port;
use crate::bridge::{ACCOUNT, Bridge, NUMBER, Setup};
use crate::phone::Phone;
use crate::within;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_is_answered_at_once_with_its_own_words() {
    let Talk { bridge: _bridge, phone: _phone, mut bot, .. } = Talk::begin().await;
    for words in ["one", "", "three"] {
        let began = Instant::now();
        bot.send(Message::Ping(words.as_bytes().to_vec().into())).await;
        let pong = bot.wait_for("a pong", |message| match message {
            Message::Pong(words) => Some(words.clone()),
            _ => None,
        });
        assert_eq!(pong.await, words.as_bytes());
        assert!(began.elapsed() < Duration::from_millis(80), "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtp_075_a_mark_behind_two_seconds_in_a_burst_returns_when_they_have_been_played() {
    let Talk { bridge: _bridge, phone: _phone, mut bot, start } = Talk::begin().await;
    let began = Instant::now();
    bot.speak(2_000).await;
    bot.mark("played").await;
    let mark = bot.event("mark").await;
    let late = began.elapsed().as_secs_f64() - 2.0;
    assert_eq!((&mark["mark"]["name"], &mark["stream_sid"]), (&json!("played"), &start["stream_sid"]));
    assert!(late.abs() < 0.1, "the mark came {late} s beside its time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtp_077_clear_returns_the_marks_it_passes_at_once_and_in_order() {
    let Talk { bridge: _bridge, phone: _phone, mut bot, .. } = Talk::begin().await;
    bot.speak(3_000).await;
    bot.mark("first").await;
    bot.speak(3_000).await;
    bot.mark("second").await;
    let began = Instant::now();
    bot.say(json!({"event": "clear"})).await;
    for name in ["first", "second"] {
        assert_eq!(bot.event("mark").await["mark"]["name"], name);
    }
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    // What comes after plays as ever.
    let began = Instant::now();
    bot.speak(300).await;
    bot.mark("after").await;
    assert_eq!(bot.event("mark").await["mark"]["name"], "after");
    assert!(began.elapsed() > Duration::from_millis(240), "{:?}", began.elapsed());
}

/// A call of three seconds to an echo, by a caller that measures.
async fn measured_call(bridge: &Bridge, number: &str) -> CallReport {
    let address = "127.0.0.1".parse().expect("an address");
    let line = Line::open(&LineSettings::udp(address, None, 1)).expect("a port");
    let plan = CallPlan {
        callee: Callee::at(&format!("sip:{number}@{}", bridge.sip), bridge.sip),
        from: "0911".to_owned(),
        headers: vec![("X-Exotel-AccountSid".to_owned(), ACCOUNT.to_owned())],
        sound: Sound::silence(),
        capture: None,
        digits: String::new(),
        digits_at: Duration::ZERO,
        duration: Duration::from_secs(3),
        patience: Duration::from_secs(10),
        formats: vec![PCMU],
        srtp: false,
        impairment: Impairment::default(),
        record: false,
    };
    let report = place(&line, &plan, Random::from_number(7)).await;
    line.close().await;
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bot_that_does_not_read_is_given_up_and_another_call_does_not_notice() {
    const OTHER: &str = "1001";
    let port = Port::open().await;
    let echo = EchoBot::start(BotSettings::new(BotMode::Echo)).await.expect("a port");
    let bridge = Bridge::start(&Setup::to(&port.url("/media")).and(OTHER, &echo.url("/media"), "")).await;
    let mut phone = Phone::new(bridge.sip).await;
    let (answer, mut bot) = tokio::join!(phone.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200);
    bot.event("start").await;
    let (other, reason) = tokio::join!(measured_call(&bridge, OTHER), async {
        // Marks come back at once when nothing is queued. This bot sends and sends and reads none of them.
        let name = "m".repeat(60_000);
        let flood = async { while bot.socket.feed(mark(&name)).await.is_ok() {} };
        tokio::select! {
            reason = phone.hung_up() => reason,
            () = flood => panic!("the bridge closed before it hung up"),
        }
    });
    assert_eq!(reason, "Q.850;cause=38");
    assert_eq!(other.outcome.to_string(), "answered; we hung up");
    let heard = other.media.expect("answered").heard;
    assert_eq!((heard.lost(), heard.ssrcs().len()), (0, 1));
    assert!((145..=152).contains(&heard.received()), "{}", heard.received());
    let record = bridge.record(1).await;
    let (status, by, error) = verdict(&record["streams"][0]);
    assert_eq!((status, by), ("failed", "bot"));
    assert!(error.contains("does not read"), "{error}");
    // The connection does not outlive its call, although the bot still reads nothing.
    within(5, "the bridge lets go of the connection", async { while bot.socket.send(mark("x")).await.is_ok() {} })
        .await;
}

fn mark(name: &str) -> Message {
    Message::text(json!({"event": "mark", "mark": {"name": name}}).to_string())
}
