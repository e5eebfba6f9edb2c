//! GET, as an operator's probe does it.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::within;

/// Status and body.
pub async fn get(server: SocketAddr, path: &str) -> (u16, String) {
    within(5, path, async {
        let mut stream = TcpStream::connect(server).await.expect("the admin listener listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("a request is written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer in UTF-8");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
        (status, body.to_owned())
    })
    .await
}
