//! TCP: what may come on a connection, and what ends it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use trunkstream::lab::bot::{Bot as EchoBot, BotMode, BotSettings};

use super::call;
use crate::bridge::{Bridge, NUMBER, Setup, free_address, next};
use crate::http::get;
use crate::within;

struct Tcp {
    bridge: Bridge,
    address: SocketAddr,
    _bot: EchoBot,
}

impl Tcp {
    /// A bridge that takes TCP from 127.0.0.1 alone, with these lines of `[sip]`.
    async fn start(sip: &str) -> Self {
        let bot = EchoBot::start(BotSettings::new(BotMode::Echo)).await.expect("a port");
        let address = free_address();
        let mut setup = Setup::to(&bot.url("/media"));
        setup.listen = vec![format!("tcp:{address}")];
        setup.sip = sip.to_owned();
        setup.trunk = "allow = [\"127.0.0.1\"]".to_owned();
        Self { bridge: Bridge::start(&setup).await, address, _bot: bot }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("the bridge listens")
    }

    async fn connect_from(&self, host: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{host}:0").parse().expect("an address")).expect("loopback");
        socket.connect(self.address).await.expect("the bridge listens")
    }

    /// The value of a line of /metrics that begins so.
    async fn metric(&self, line: &str) -> u64 {
        let (_, page) = get(self.bridge.admin, "/metrics").await;
        let found = page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
        found.unwrap_or_default()
    }
}

fn options(length: &str) -> String {
    let id = next();
    format!(
        "OPTIONS sip:ping@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:5999;branch=z9hG4bK{id}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:a@127.0.0.1>;tag=1\r\nTo: <sip:ping@127.0.0.1>\r\nCall-ID: o{id}\r\n\
         CSeq: 1 OPTIONS\r\n{length}\r\n"
    )
}

const EMPTY: &str = "Content-Length: 0\r\n";

/// Reads until the text holds `count` times `what`.
async fn read(stream: &mut TcpStream, what: &str, count: usize) -> String {
    let mut text = String::new();
    within(10, what, async {
        while text.matches(what).count() < count {
            let mut bytes = [0; 4096];
            let length = stream.read(&mut bytes).await.expect("the connection is up");
            assert!(length > 0, "closed after {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    })
    .await;
    text
}

/// Reads to the end; what came.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    within(10, "the bridge closes", stream.read_to_end(&mut bytes)).await.expect("in order");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_004_a_connection_carries_messages_in_any_pieces_and_sip_005_its_keepalives() {
    let tcp = Tcp::start("").await;
    let mut stream = tcp.connect().await;
    let together = format!("\r\n{}{}", options(EMPTY), options("l: 3\r\n")) + "abc";
    stream.write_all(together.as_bytes()).await.expect("taken");
    read(&mut stream, "SIP/2.0 200 OK", 2).await;
    for piece in options(EMPTY).as_bytes().chunks(97) {
        stream.write_all(piece).await.expect("taken");
        stream.flush().await.expect("taken");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer = read(&mut stream, "SIP/2.0 200 OK", 1).await;
    assert!(answer.contains("Via: SIP/2.0/TCP 127.0.0.1:5999") && answer.contains("Content-Length: 0"), "{answer}");
    stream.write_all(b"\r\n\r\n").await.expect("taken");
    let mut pong = [0; 2];
    within(5, "a line end", stream.read_exact(&mut pong)).await.expect("it is up");
    assert_eq!(&pong, b"\r\n");
    assert_eq!(tcp.metric("sip_connections ").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_004_what_cannot_be_cut_is_answered_and_the_connection_closed() {
    let tcp = Tcp::start("max_header_bytes = 2048\nmax_body_bytes = 2048").await;
    let long = format!("X-Long: {}\r\n{EMPTY}", "x".repeat(3000));
    for (length, code) in [("", "400 Missing Content-Length"), ("Content-Length: 2049\r\n", "513"), (&long, "513")] {
        let mut stream = tcp.connect().await;
        stream.write_all(options(length).as_bytes()).await.expect("taken");
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(&format!("SIP/2.0 {code}")), "{code}: {answer}");
    }
    for other in ["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}"] {
        let mut stream = tcp.connect().await;
        stream.write_all(other.as_bytes()).await.expect("taken");
        assert_eq!(rest(&mut stream).await, "");
    }
    // The bridge counts a connection when the other side has left it too.
    within(5, "five are counted", async {
        while tcp.metric("sip_connections_closed_total{reason=\"bad_message\"}").await < 5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_004_a_message_that_does_not_end_and_too_many_connections_are_not_waited_for() {
    let tcp = Tcp::start("connection_patience_seconds = 1\nmax_connections_per_source = 2").await;
    let (mut slow, mut patient) = (tcp.connect().await, tcp.connect().await);
    slow.write_all(&options(EMPTY).as_bytes()[..50]).await.expect("taken");
    let began = Instant::now();
    let mut third = tcp.connect().await;
    assert_eq!(rest(&mut third).await, "", "two are enough");
    // A byte now and then does not make it a message.
    let dripping = async {
        while slow.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    within(10, "the slow one is given up", dripping).await;
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    patient.write_all(options(EMPTY).as_bytes()).await.expect("taken");
    read(&mut patient, "200 OK", 1).await;
    assert_eq!(tcp.metric("sip_connections_closed_total{reason=\"slow_message\"}").await, 1);
    assert_eq!(tcp.metric("sip_connections_closed_total{reason=\"source_full\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_015_a_stranger_is_refused_once_and_its_connection_is_closed() {
    let tcp = Tcp::start("").await;
    let mut stranger = tcp.connect_from("127.0.0.2").await;
    stranger.write_all(options(EMPTY).replace("OPTIONS", "INVITE").as_bytes()).await.expect("taken");
    let answer = rest(&mut stranger).await;
    assert!(answer.starts_with("SIP/2.0 403 "), "{answer}");
    tcp.bridge.logged("SIP from a source without a trunk").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_114_a_call_over_tcp_is_up_and_hung_up_over_its_connection() {
    let tcp = Tcp::start("").await;
    let uri = format!("sip:{NUMBER}@{};transport=tcp", tcp.address);
    let (well, said) = call(&[&uri, "--duration", "1"]).await;
    assert!(well && said.contains("answered; we hung up"), "{said}");
    assert!(tcp.bridge.record(1).await["answered_after_ms"].is_u64(), "{said}");
    assert_eq!(tcp.metric("sip_retransmissions_total").await, 0);
}
