//! How a stream ends: what the bot did, what the record says of it, and the cause the PBX is given.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::{Talk, verdict};
use crate::bridge::Bridge;
use crate::phone::Phone;
use crate::within;

/// The BYE's Reason; status, `DisconnectedBy` and `Error` of the only stream.
async fn told(phone: &mut Phone, bridge: &Bridge) -> (String, String) {
    let reason = phone.hung_up().await;
    let stream = bridge.stream().await;
    let (status, by, error) = verdict(&stream);
    (reason, format!("{status}/{by} {error}").trim_end().to_owned())
}

fn both(reason: &str, verdict: &str) -> (String, String) {
    (reason.to_owned(), verdict.to_owned())
}

fn close(code: u16, reason: &str) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_1000_is_answered_and_the_flow_goes_on_to_a_normal_bye() {
    let Talk { bridge, mut phone, mut bot, .. } = Talk::begin().await;
    bot.send(close(1000, "bye")).await;
    assert_eq!(bot.closed().await, Some(1000));
    let end = within(5, "the end of the TCP stream", bot.socket.next()).await;
    assert!(end.is_none(), "nothing follows a close: {end:?}");
    assert_eq!(told(&mut phone, &bridge).await, both("Q.850;cause=16", "completed/bot"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_1001_is_completed_with_cause_41() {
    let Talk { bridge, mut phone, mut bot, .. } = Talk::begin().await;
    bot.send(close(1001, "restart")).await;
    assert_eq!(told(&mut phone, &bridge).await, both("Q.850;cause=41", "completed/bot"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_1011_is_failed_with_code_and_reason_in_the_record() {
    let Talk { bridge, mut phone, mut bot, .. } = Talk::begin().await;
    bot.send(close(1011, "no model")).await;
    assert_eq!(told(&mut phone, &bridge).await, both("Q.850;cause=38", "failed/bot 1011 no model"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_is_played_to_its_end_before_the_bye() {
    let Talk { bridge, mut phone, mut bot, .. } = Talk::begin().await;
    bot.speak(1_000).await;
    bot.send(close(1000, "")).await;
    let began = Instant::now();
    assert_eq!(told(&mut phone, &bridge).await, both("Q.850;cause=16", "completed/bot"));
    let seconds = began.elapsed().as_secs_f64();
    assert!((0.9..1.3).contains(&seconds), "{seconds}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_at_a_message_boundary_is_a_bot_that_returned() {
    let Talk { bridge, mut phone, bot, .. } = Talk::begin().await;
    // Closing with linger 0 sends RST.
    socket2::SockRef::from(bot.socket.get_ref()).set_linger(Some(Duration::ZERO)).expect("a TCP socket");
    drop(bot);
    assert_eq!(told(&mut phone, &bridge).await, both("Q.850;cause=16", "completed/bot"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_end_at_a_message_boundary_is_a_bot_that_returned() {
    let Talk { bridge, mut phone, mut bot, .. } = Talk::begin().await;
    bot.socket.get_mut().shutdown().await.expect("open until now");
    assert_eq!(told(&mut phone, &bridge).await, both("Q.850;cause=16", "completed/bot"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tcp_end_in_the_middle_of_a_frame_is_a_bot_that_was_lost() {
    let Talk { bridge, mut phone, mut bot, .. } = Talk::begin().await;
    let stream = bot.socket.get_mut();
    // Text, final, 100 octets long, of which five come.
    stream.write_all(&[0x81, 100, b'{', b'"', b'e', b'v', b'e']).await.expect("open until now");
    stream.shutdown().await.expect("open until now");
    let (reason, verdict) = told(&mut phone, &bridge).await;
    assert_eq!(reason, "Q.850;cause=41");
    assert_eq!(verdict, "failed/bot connection lost in the middle of a message");
}

/// The whole frames of a client, unmasked (RFC 6455, 5.2): opcode and payload.
fn frames(mut octets: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = octets {
        let (extended, length) = match (second & 0x7F, rest) {
            (126, [high, low, ..]) => (2, usize::from(u16::from_be_bytes([*high, *low]))),
            (short, _) => (0, usize::from(short)),
        };
        let Some((mask, rest)) = rest.get(extended..).and_then(|rest| rest.split_first_chunk::<4>()) else { break };
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let unmasked = payload.iter().zip(mask.iter().cycle()).map(|(octet, mask)| octet ^ mask);
        frames.push((first & 0x0F, unmasked.collect()));
        octets = rest;
    }
    frames
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_nine_mebibytes_is_closed_with_1009() {
    let Talk { bridge, mut phone, bot, .. } = Talk::begin().await;
    let (mut reading, mut writing) = tokio::io::split(bot.socket.into_inner());
    // The frame's header, then as much of it as the bridge takes.
    let flood = async {
        let mut header = vec![0x81, 127];
        header.extend((9u64 << 20).to_be_bytes());
        let _ = writing.write_all(&header).await;
        while writing.write_all(&[b' '; 65_536]).await.is_ok() {}
    };
    let mut read = Vec::new();
    let seen = tokio::io::AsyncReadExt::read_to_end(&mut reading, &mut read);
    let (told, (), _) = within(10, "the end", async { tokio::join!(told(&mut phone, &bridge), flood, seen) }).await;
    assert_eq!(told, both("Q.850;cause=111", "failed/bot 1009 message larger than 8 MiB"));
    let code = frames(&read)
        .into_iter()
        .find_map(|(opcode, payload)| (opcode == 8).then(|| u16::from_be_bytes([payload[0], payload[1]])));
    assert_eq!(code, Some(1009), "{} octets", read.len());
}
