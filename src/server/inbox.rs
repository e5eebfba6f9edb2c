//! Datagrams between the SIP sockets and the task that handles them: what may begin a call waits in a queue of its own, so
//! that health probes and calls that are up are served while a thousand INVITEs wait (SIP-096, SIP-097).
//!
//! CANCEL waits with INVITE, for it must not overtake the one it belongs to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;

use crate::sip::{ListenerId, wire};

/// Datagrams that may wait in each queue; UDP's own retransmissions bring again what finds it full.
const WAITING: usize = 4096;

/// A datagram as it came.
pub struct Datagram {
    /// On which socket.
    pub listener: ListenerId,
    /// From where.
    pub from: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Drops {
    calls: AtomicU64,
    other: AtomicU64,
}

/// Where sockets put datagrams.
#[derive(Clone)]
pub struct Sender {
    calls: mpsc::Sender<Datagram>,
    other: mpsc::Sender<Datagram>,
    drops: Arc<Drops>,
}

/// Where the task takes them.
pub struct Receiver {
    calls: mpsc::Receiver<Datagram>,
    other: mpsc::Receiver<Datagram>,
    drops: Arc<Drops>,
}

/// Both ends.
#[must_use]
pub fn open() -> (Sender, Receiver) {
    let ((calls, calls_waiting), (other, other_waiting)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
    let drops = Arc::new(Drops::default());
    let sender = Sender { calls, other, drops: drops.clone() };
    (sender, Receiver { calls: calls_waiting, other: other_waiting, drops })
}

impl Sender {
    /// Puts a datagram into its queue, or counts it where that is full; `false` where nobody takes them any more.
    pub fn put(&self, datagram: Datagram) -> bool {
        let (queue, dropped) = match wire::first_word(&datagram.bytes) {
            b"INVITE" | b"CANCEL" => (&self.calls, &self.drops.calls),
            _ => (&self.other, &self.drops.other),
        };
        match queue.try_send(datagram) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                dropped.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

impl Receiver {
    /// The next datagram; what cannot begin a call comes first. Safe to drop and call again.
    pub async fn recv(&mut self) -> Option<Datagram> {
        tokio::select! {
            biased;
            Some(datagram) = self.other.recv() => Some(datagram),
            datagram = self.calls.recv() => datagram,
        }
    }

    /// Takes how many were dropped, by queue.
    pub fn take_drops(&self) -> [(&'static str, u64); 2] {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        [("calls", take(&self.drops.calls)), ("other", take(&self.drops.other))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(text: &str) -> Datagram {
        let from = SocketAddr::from(([198, 51, 100, 1], 5060));
        Datagram { listener: ListenerId(0), from, bytes: text.as_bytes().to_vec() }
    }

    #[tokio::test]
    async fn sip_097_options_and_bye_go_past_a_thousand_invites_and_cancel_does_not() {
        let (sender, mut receiver) = open();
        for number in 0..1000 {
            assert!(sender.put(datagram(&format!("INVITE sip:{number}@h SIP/2.0"))));
        }
        for method in ["CANCEL", "OPTIONS", "BYE", "SIP/2.0"] {
            assert!(sender.put(datagram(&format!("{method} x"))));
        }
        let mut order = Vec::new();
        for _ in 0..1004 {
            let datagram = receiver.recv().await.expect("a datagram");
            order.push(String::from_utf8_lossy(wire::first_word(&datagram.bytes)).into_owned());
        }
        assert_eq!(order[..3], ["OPTIONS", "BYE", "SIP/2.0"]);
        assert!(order[3..1003].iter().all(|word| word == "INVITE"));
        assert_eq!(order[1003], "CANCEL");
    }

    #[tokio::test]
    async fn sip_042_a_full_queue_drops_and_counts_and_the_other_goes_on() {
        let (sender, mut receiver) = open();
        for number in 0..WAITING + 10 {
            sender.put(datagram(&format!("INVITE sip:{number}@h SIP/2.0")));
        }
        assert!(sender.put(datagram("BYE sip:a@h SIP/2.0")));
        assert_eq!(receiver.take_drops(), [("calls", 10), ("other", 0)]);
        assert_eq!(receiver.take_drops(), [("calls", 0), ("other", 0)]);
        let first = receiver.recv().await.expect("a datagram");
        assert_eq!(wire::first_word(&first.bytes), b"BYE");
        drop(receiver);
        assert!(!sender.put(datagram("OPTIONS sip:h SIP/2.0")), "nobody takes them");
    }
}
