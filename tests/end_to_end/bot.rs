//! A bot's side of the WebSocket, raw enough to see each octet of the upgrade and to misbehave in every way.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::within;

/// A port that bots are called on.
pub struct Port {
    listener: TcpListener,
    /// Its address.
    pub address: SocketAddr,
}

impl Port {
    /// A port of its own.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        Self { listener, address }
    }

    /// `ws://` and `path`.
    pub fn url(&self, path: &str) -> String {
        format!("ws://{}{path}", self.address)
    }

    /// Waits for a connection.
    pub async fn connection(&self) -> TcpStream {
        within(10, "the bridge connects", self.listener.accept()).await.expect("a connection").0
    }

    /// Whether nobody is waiting to be let in.
    pub async fn is_quiet(&self) -> bool {
        let moment = std::time::Duration::from_millis(400);
        tokio::time::timeout(moment, self.listener.accept()).await.is_err()
    }

    /// Takes a connection and its upgrade.
    pub async fn bot(&self) -> Bot<TcpStream> {
        let upgrade = Upgrade::read(self.connection().await).await;
        upgrade.accept().await
    }
}

/// The request for an upgrade, not answered yet.
pub struct Upgrade<S> {
    stream: S,
    /// The head of the request as it came.
    pub head: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Upgrade<S> {
    /// Reads to the blank line.
    pub async fn read(mut stream: S) -> Self {
        let mut head = Vec::new();
        within(5, "an upgrade request", async {
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a whole request"));
            }
        })
        .await;
        Self { stream, head: String::from_utf8(head).expect("ASCII") }
    }

    /// GET and its target.
    pub fn request_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// 101.
    pub async fn accept(self) -> Bot<S> {
        let key = derive_accept_key(self.header("Sec-WebSocket-Key").expect("a key").as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
        );
        let mut stream = self.stream;
        stream.write_all(answer.as_bytes()).await.expect("the bridge listens");
        Bot { socket: WebSocketStream::from_raw_socket(stream, Role::Server, None).await }
    }

    /// Any other answer.
    pub async fn refuse(mut self, status: &str) {
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.stream.write_all(answer.as_bytes()).await.expect("the bridge listens");
        let _ = self.stream.shutdown().await;
    }
}

/// A bot on an open stream.
pub struct Bot<S> {
    /// The WebSocket.
    pub socket: WebSocketStream<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Bot<S> {
    /// Waits for a message that `wanted` picks; what comes before is dropped.
    pub async fn wait_for<T>(&mut self, what: &str, mut wanted: impl FnMut(&Message) -> Option<T>) -> T {
        within(10, what, async {
            loop {
                match self.socket.next().await {
                    Some(Ok(message)) => {
                        if let Some(found) = wanted(&message) {
                            return found;
                        }
                    }
                    other => panic!("{what}: the stream ended with {other:?}"),
                }
            }
        })
        .await
    }

    /// Waits for an event of this name.
    pub async fn event(&mut self, name: &str) -> Value {
        self.wait_for(name, |message| {
            let value: Value = serde_json::from_str(message.to_text().ok()?).ok()?;
            (value["event"] == name).then_some(value)
        })
        .await
    }

    /// Sends one JSON message.
    pub async fn say(&mut self, message: Value) {
        self.send(Message::text(message.to_string())).await;
    }

    /// Sends a frame.
    pub async fn send(&mut self, message: Message) {
        within(5, "the bridge reads", self.socket.send(message)).await.expect("the bridge takes it");
    }

    /// Speaks for `ms` at once, in messages of 100 ms at 8 kHz.
    pub async fn speak(&mut self, ms: usize) {
        // 1,600 octets in which nothing is silence.
        let payload = base64_simd::STANDARD.encode_to_string([0x20; 1_600]);
        for _ in 0..ms / 100 {
            self.say(json!({"event": "media", "media": {"payload": payload}})).await;
        }
    }

    /// Asks to be told when what was said so far has been played.
    pub async fn mark(&mut self, name: &str) {
        self.say(json!({"event": "mark", "mark": {"name": name}})).await;
    }

    /// The code of the bridge's close frame; everything before it is dropped.
    pub async fn closed(&mut self) -> Option<u16> {
        self.wait_for("a close frame", |message| match message {
            Message::Close(frame) => Some(frame.as_ref().map(|frame| frame.code.into())),
            _ => None,
        })
        .await
    }
}
