//! A bot and a small bridge on loopback: what each mode does on the wire.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::base::pcm::SampleRate;

struct Bridge {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Bridge {
    async fn open(bot: &Bot) -> Self {
        let (socket, _) = connect_async(bot.url("/media?sample-rate=8000")).await.expect("the bot upgrades");
        let mut bridge = Self { socket };
        bridge.send(json!({"event": "connected"})).await;
        let start = json!({"stream_sid": "ab", "call_sid": "cd", "account_sid": "acc1", "from": "1", "to": "2",
            "custom_parameters": {"UUI": "7"},
            "media_format": {"encoding": "base64", "sample_rate": "8000", "bit_rate": "128kbps"}});
        bridge.send(json!({"event": "start", "sequence_number": "1", "stream_sid": "ab", "start": start})).await;
        bridge
    }

    async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("the bot reads");
    }

    async fn media(&mut self, n: u64, payload: &str) {
        let media = json!({"chunk": n, "timestamp": ((n - 1) * 100).to_string(), "payload": payload});
        self.send(
            json!({"event": "media", "sequence_number": (n + 1).to_string(), "stream_sid": "ab", "media": media}),
        )
        .await;
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        timeout(Duration::from_secs(5), self.socket.next()).await.expect("the bot says something within 5 s")
    }

    async fn json(&mut self) -> Value {
        let message = self.next().await.expect("the stream is open").expect("the frame is whole");
        serde_json::from_str(message.to_text().expect("it is text")).expect("it is JSON")
    }

    async fn hang_up(mut self) {
        let frame = CloseFrame { code: 1000.into(), reason: "".into() };
        self.socket.close(Some(frame)).await.expect("the bot takes the close");
        while let Some(Ok(_)) = self.next().await {}
    }
}

fn payload(seed: u8) -> String {
    base64_simd::STANDARD.encode_to_string((0..1600u32).map(|n| (n as u8).wrapping_mul(seed)).collect::<Vec<u8>>())
}

#[tokio::test]
async fn echo_is_bit_exact_and_everything_is_told() {
    let scratch = std::env::temp_dir().join(format!("trunkstream-bot-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a scratch folder");
    let printed = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&printed);
    let print: LineSink = Arc::new(move |line: &str| sink.lock().expect("one writer").push(line.to_owned()));
    let settings = BotSettings {
        journal: Some(scratch.join("journal")),
        wav: Some(scratch.join("heard.wav")),
        print: Some(print),
        marks: true,
        ..BotSettings::new(BotMode::Echo)
    };
    let bot = Bot::start(settings).await.expect("the bot starts");
    let mut bridge = Bridge::open(&bot).await;
    for n in 1..=3 {
        bridge.media(n, &payload(n as u8)).await;
        assert_eq!(bridge.json().await["media"]["payload"], payload(n as u8));
        assert_eq!(bridge.json().await["mark"]["name"], format!("echo-{n}"));
    }
    bridge.send(json!({"event": "dtmf", "sequence_number": "5", "dtmf": {"digit": "5", "duration": "120"}})).await;
    bridge.hang_up().await;
    while bot.counters().open > 0 {
        tokio::task::yield_now().await;
    }
    let counters = bot.counters();
    assert_eq!((counters.media_bytes, counters.digits, counters.faults), (4800, 1, 0));
    assert_eq!(bot.starts()[0]["start"]["custom_parameters"]["UUI"], "7");
    bot.stop().await;
    assert_eq!(crate::lab::wav::read_8khz(&scratch.join("heard.wav")).expect("a WAV").len(), 2400);
    let journal = std::fs::read_to_string(scratch.join("journal")).expect("a journal");
    let lines: Vec<Value> = journal.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["open", "connected", "start", "dtmf", "closed"]);
    assert_eq!((&lines[0]["path"], &lines[4]["code"]), (&json!("/media?sample-rate=8000"), &json!(1000)));
    assert!(printed.lock().expect("one reader").iter().any(|line| line == "#1 dtmf  \"5\" for 120 ms"));
    let _ = std::fs::remove_dir_all(scratch);
}

#[tokio::test]
async fn greet_bursts_two_seconds_and_a_mark_and_clears_on_a_digit() {
    let settings = BotSettings { clear_on_dtmf: true, ..BotSettings::new(BotMode::Greet) };
    let bot = Bot::start(settings).await.expect("the bot starts");
    let mut bridge = Bridge::open(&bot).await;
    let mut heard = Vec::new();
    for _ in 0..20 {
        let message = bridge.json().await;
        let payload = message["media"]["payload"].as_str().expect("media").to_owned();
        heard.extend(base64_simd::STANDARD.decode_to_vec(payload).expect("base64"));
    }
    let spoken: Vec<u8> = greeting(SampleRate::Hz8000).iter().flat_map(|sample| sample.to_le_bytes()).collect();
    assert_eq!(heard, spoken);
    assert_eq!(bridge.json().await["mark"]["name"], "greeting");
    bridge.send(json!({"event": "dtmf", "sequence_number": "2", "dtmf": {"digit": "5"}})).await;
    assert_eq!(bridge.json().await["event"], "clear");
    bot.stop().await;
}

#[tokio::test]
async fn refuse_answers_with_the_status() {
    let bot =
        Bot::start(BotSettings { status: 401, ..BotSettings::new(BotMode::Refuse) }).await.expect("the bot starts");
    let refused = connect_async(bot.url("/")).await.expect_err("the upgrade is refused");
    assert!(matches!(refused, Error::Http(response) if response.status() == 401));
    bot.stop().await;
}

#[tokio::test]
async fn drop_cuts_in_the_middle_of_a_frame_and_a_hang_up_has_its_code() {
    let after = Duration::from_millis(50);
    let bot = Bot::start(BotSettings { after, ..BotSettings::new(BotMode::Drop) }).await.expect("the bot starts");
    let mut bridge = Bridge::open(&bot).await;
    assert!(bridge.next().await.expect("an end").is_err());
    bot.stop().await;

    let settings = BotSettings { hangup_after: Some(after), close_code: 1011, ..BotSettings::new(BotMode::Record) };
    let bot = Bot::start(settings).await.expect("the bot starts");
    let mut bridge = Bridge::open(&bot).await;
    let closed = bridge.next().await.expect("a close").expect("a whole frame");
    assert!(matches!(closed, Message::Close(Some(frame)) if u16::from(frame.code) == 1011));
    bot.stop().await;
}

#[tokio::test]
async fn wss_works_with_a_certificate_of_ones_own() {
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

    let scratch = std::env::temp_dir().join(format!("trunkstream-bot-tls-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).expect("a scratch folder");
    let own = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    std::fs::write(scratch.join("cert.pem"), own.cert.pem()).expect("a file");
    std::fs::write(scratch.join("key.pem"), own.signing_key.serialize_pem()).expect("a file");
    let tls = BotTls { certificate: scratch.join("cert.pem"), key: scratch.join("key.pem") };
    let bot = Bot::start(BotSettings { tls: Some(tls), ..BotSettings::new(BotMode::Echo) }).await.expect("it starts");
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(bot.address()).await.expect("the bot listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    let (mut socket, _) = tokio_tungstenite::client_async("ws://localhost/media", stream).await.expect("the upgrade");
    socket.send(Message::text("{\"event\":\"connected\"}")).await.expect("the bot reads");
    socket.close(None).await.expect("the bot reads");
    bot.stop().await;
    let _ = std::fs::remove_dir_all(scratch);
}

#[tokio::test]
async fn odd_input_is_counted_and_harms_nothing() {
    let bot = Bot::start(BotSettings::new(BotMode::Garbage)).await.expect("the bot starts");
    let mut bridge = Bridge::open(&bot).await;
    for text in ["", "{", "null", "{\"event\":\"start\"}", "{\"event\":\"media\",\"media\":{\"payload\":\"*\"}}"] {
        bridge.socket.send(Message::text(text)).await.expect("the bot reads");
    }
    bridge.socket.send(Message::binary(vec![0; 320])).await.expect("the bot reads");
    bridge.media(1, &payload(1)).await;
    let mut echoed = false;
    while !echoed {
        let message = bridge.next().await.expect("open").expect("whole");
        echoed = message.to_text().is_ok_and(|text| text.contains(&payload(1)));
    }
    assert!(bot.counters().faults >= 5);
    bridge.hang_up().await;
    bot.stop().await;
}
