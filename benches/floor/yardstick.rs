//! The yardstick: a bridge as it is usually written on tokio, and as this one is not.
//!
//! A task a call, a tokio socket and a `tokio::time::interval` a call, tokio-tungstenite as it comes (128 KiB buffers),
//! `serde_json` for every message. It does what the raw loop does not: it decodes, chunks, queues and encodes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use audio_codec_algorithms::{decode_ulaw, encode_ulaw};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UdpSocket};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::{Failure, told};

/// Samples of 20 ms and octets of 100 ms at 8 kHz.
const PACKET: usize = 160;
const CHUNK: usize = 1600;

struct Call {
    rtp: UdpSocket,
    caller: SocketAddr,
    bot: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// PCM16LE of the caller that is not a whole chunk yet.
    heard: Vec<u8>,
    /// What the bot said and the caller has not heard.
    spoken: VecDeque<i16>,
    chunks: u64,
    sequence: u16,
}

/// Sets the calls up as it is told, says its ports on standard output, and runs until its input ends.
pub fn run(bot: &str) -> Result<bool, Failure> {
    let callers = told::callers()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut calls = Vec::new();
        for caller in callers {
            let call = Call::open(caller, bot).await?;
            println!("{}", call.rtp.local_addr()?.port());
            calls.push(tokio::spawn(call.run()));
        }
        told::end_with_input();
        for call in calls {
            call.await??;
        }
        Ok(true)
    })
}

impl Call {
    async fn open(caller: SocketAddr, bot: &str) -> Result<Self, Failure> {
        let rtp = UdpSocket::bind("127.0.0.1:0").await?;
        let (mut bot, _) = connect_async(format!("ws://{bot}/media?sample-rate=8000")).await?;
        bot.send(Message::text(json!({"event": "connected"}).to_string())).await?;
        let start = json!({
            "event": "start", "sequence_number": "1", "stream_sid": "yardstick",
            "start": {"media_format": {"sample_rate": "8000"}},
        });
        bot.send(Message::text(start.to_string())).await?;
        Ok(Self { rtp, caller, bot, heard: Vec::new(), spoken: VecDeque::new(), chunks: 0, sequence: 0 })
    }

    async fn run(mut self) -> Result<(), std::io::Error> {
        let mut interval = tokio::time::interval(Duration::from_millis(20));
        let mut datagram = [0; 2048];
        loop {
            tokio::select! {
                _ = interval.tick() => self.speak().await?,
                received = self.rtp.recv_from(&mut datagram) => {
                    let (length, _) = received?;
                    self.hear(&datagram[..length]).await?;
                }
                message = self.bot.next() => match message {
                    Some(Ok(Message::Text(text))) => self.queue(text.as_str()),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Err(std::io::Error::other("the bot is gone")),
                },
            }
        }
    }

    /// 20 ms to the caller, silence where the bot has said nothing.
    async fn speak(&mut self) -> Result<(), std::io::Error> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut packet = Vec::with_capacity(12 + PACKET);
        packet.extend_from_slice(&[0x80, 0]);
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&(u32::from(self.sequence) * PACKET as u32).to_be_bytes());
        packet.extend_from_slice(&u32::from(self.caller.port()).to_be_bytes());
        packet.extend((0..PACKET).map(|_| encode_ulaw(self.spoken.pop_front().unwrap_or(0))));
        self.rtp.send_to(&packet, self.caller).await.map(drop)
    }

    /// A packet of the caller; every fifth completes a message.
    async fn hear(&mut self, datagram: &[u8]) -> Result<(), std::io::Error> {
        let samples = datagram.iter().skip(12).map(|code| decode_ulaw(*code));
        self.heard.extend(samples.flat_map(i16::to_le_bytes));
        while self.heard.len() >= CHUNK {
            let chunk: Vec<u8> = self.heard.drain(..CHUNK).collect();
            self.chunks += 1;
            let message = json!({
                "event": "media",
                "sequence_number": (self.chunks + 1).to_string(),
                "stream_sid": "yardstick",
                "media": {
                    "chunk": self.chunks.to_string(),
                    "timestamp": ((self.chunks - 1) * 100).to_string(),
                    "payload": base64_simd::STANDARD.encode_to_string(&chunk),
                },
            });
            self.bot.send(Message::text(message.to_string())).await.map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    fn queue(&mut self, text: &str) {
        let Ok(message) = serde_json::from_str::<Value>(text) else { return };
        let Some(payload) = message["media"]["payload"].as_str() else { return };
        let Ok(pcm) = base64_simd::STANDARD.decode_to_vec(payload) else { return };
        self.spoken.extend(pcm.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
    }
}
