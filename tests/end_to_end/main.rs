//! End to end: the real binary, real sockets on loopback, and bots and callers that do not share its code where that
//! matters. Every test starts its own bridge on ports of its own, and every wait is bounded.
#![allow(clippy::disallowed_methods)] // sockets, processes and clocks are what these tests are made of

mod bot;
mod bridge;
mod calls_out;
mod http;
mod kamailio;
mod operating;
mod phone;
mod pipecat;
mod probes;
mod transports;
mod websocket;

use std::time::Duration;

/// Waits at most `seconds` for what should come at once; two busy cores are allowed for.
async fn within<T>(seconds: u64, what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(seconds), wait).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {seconds} s"),
    }
}
