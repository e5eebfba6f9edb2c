//! One SIP connection, TCP or TLS: what it brings is cut into messages, what is queued is written (SIP-004, SIP-005).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout, timeout_at};

use super::sip_stream::StreamEvent;
use crate::config::Streams;
use crate::sip::Origin;
use crate::sip::framing::{Frame, FrameLimits, Framer};

/// Bytes read at a time.
const READ: usize = 16 * 1024;
/// After our last word the peer's is waited for this long, so that it does not meet a closed door and lose ours.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ended; the word is the metric's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The peer closed it.
    Peer,
    /// It broke.
    Broken,
    /// A message was begun and not completed in time.
    SlowMessage,
    /// What was written was not taken in time.
    SlowReader,
    /// It brought what is no SIP.
    BadMessage,
    /// We closed it.
    Ours,
}

impl End {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Broken => "broken",
            Self::SlowMessage => "slow_message",
            Self::SlowReader => "slow_reader",
            Self::BadMessage => "bad_message",
            Self::Ours => "ours",
        }
    }
}

/// What a connection needs besides its stream.
pub(super) struct Connection {
    pub origin: Origin,
    pub limits: Streams,
    pub events: mpsc::Sender<StreamEvent>,
}

impl Connection {
    /// Reads and writes until one side ends it. When the queue is closed what is in it is written, and then it ends.
    pub(super) async fn run<S>(self, stream: S, mut queue: mpsc::Receiver<Vec<u8>>) -> End
    where
        S: AsyncRead + AsyncWrite,
    {
        let (mut reader, mut writer) = split(stream);
        let keepalive = Notify::new();
        let writing = write(&mut writer, &mut queue, &keepalive, self.limits.patience);
        tokio::pin!(writing);
        let end = tokio::select! {
            end = self.read(&mut reader, &keepalive) => end,
            end = &mut writing => return self.part(reader, end).await,
        };
        // Whoever sends learns of it after what was read before, answers that, and lets go of the queue.
        self.tell(StreamEvent::Lost(self.origin)).await;
        let _ = timeout(self.limits.patience, &mut writing).await;
        self.part(reader, end).await
    }

    /// Our side is closed: the peer may do so too.
    async fn part<S: AsyncRead + AsyncWrite>(&self, mut reader: ReadHalf<S>, end: End) -> End {
        if matches!(end, End::Ours | End::BadMessage) {
            let mut rest = vec![0; READ];
            let _ =
                timeout(LINGER, async { while reader.read(&mut rest).await.is_ok_and(|length| length > 0) {} }).await;
        }
        self.tell(StreamEvent::Lost(self.origin)).await;
        end
    }

    async fn tell(&self, event: StreamEvent) {
        // Nobody listens when the bridge ends.
        let _ = self.events.send(event).await;
    }

    async fn read<S: AsyncRead>(&self, reader: &mut ReadHalf<S>, keepalive: &Notify) -> End {
        let limits = FrameLimits { header: self.limits.max_header, body: self.limits.max_body };
        let (mut framer, mut bytes) = (Framer::new(limits), vec![0; READ]);
        // When the message that has begun must be complete.
        let mut complete_by: Option<Instant> = None;
        loop {
            let until = complete_by.unwrap_or_else(|| Instant::now() + self.limits.idle);
            let length = match timeout_at(until, reader.read(&mut bytes)).await {
                Ok(Ok(0)) => return End::Peer,
                Ok(Ok(length)) => length,
                Ok(Err(_)) => return End::Broken,
                Err(_) if complete_by.is_some() => return End::SlowMessage,
                Err(_) => {
                    self.tell(StreamEvent::Idle(self.origin)).await;
                    continue;
                }
            };
            framer.handle_bytes(&bytes[..length]);
            let mut whole = false;
            while let Some(frame) = framer.poll_frame() {
                whole = true;
                match frame {
                    Frame::KeepAlive => keepalive.notify_one(),
                    Frame::Message(bytes) => self.message(bytes, None).await,
                    Frame::Broken { message, flaw } => {
                        self.message(message, Some(flaw)).await;
                        return End::BadMessage;
                    }
                }
            }
            complete_by = match (framer.is_partial(), complete_by) {
                (false, _) => None,
                (true, Some(until)) if !whole => Some(until),
                (true, _) => Some(Instant::now() + self.limits.patience),
            };
        }
    }

    async fn message(&self, bytes: Vec<u8>, flaw: Option<crate::sip::wire::Flaw>) {
        self.tell(StreamEvent::Message { origin: self.origin, bytes, flaw }).await;
    }
}

async fn write<S: AsyncWrite>(
    writer: &mut WriteHalf<S>,
    queue: &mut mpsc::Receiver<Vec<u8>>,
    keepalive: &Notify,
    patience: Duration,
) -> End {
    loop {
        let bytes = tokio::select! {
            message = queue.recv() => message,
            () = keepalive.notified() => Some(b"\r\n".to_vec()),
        };
        let written = match &bytes {
            Some(bytes) => timeout(patience, whole(writer, bytes)).await,
            None => timeout(patience, writer.shutdown()).await,
        };
        match (written, bytes) {
            (Ok(Ok(())), Some(_)) => {}
            (Ok(_), None) => return End::Ours,
            (Ok(Err(_)), Some(_)) => return End::Broken,
            (Err(_), _) => return End::SlowReader,
        }
    }
}

/// TLS keeps what it has encrypted until it is flushed.
async fn whole<S: AsyncWrite>(writer: &mut WriteHalf<S>, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}
