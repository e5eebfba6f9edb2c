//! A bot's WebSocket after the upgrade: the call writes to it at once, a task reads from it until it ends.
//!
//! Both ends live on the call's thread. What the socket does not take now waits in a bounded queue, and the task writes it
//! when the socket is ready again. Reading never waits for writing: a bot that sends while it does not read still gets its
//! `clear` through.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_util::{Sink, SinkExt, Stream};
use tokio::time::{timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tracing::debug;

use super::BotStream;
use crate::call::StreamInput;
use crate::stream::SocketEnd;

/// Messages that may wait for a bot that does not read; about 10 s of media.
pub const MESSAGES_WAITING: usize = 600;
/// Own pings; two without an answer are the end.
const PING_EVERY: Duration = Duration::from_secs(20);
/// After this much of a bot that sends faster than we read, everybody else on the thread has a turn. Bytes.
const READ_TURN: usize = 32 * 1024;
/// How long the bot may take to read what was sent before our close frame and to answer that.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// The bot does not read: [`MESSAGES_WAITING`] wait.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

/// The writing end. Dropping it closes the WebSocket with 1001.
pub struct Writer(Rc<RefCell<Link>>);

/// The reading end, to be run until it returns.
pub struct Reader(Rc<RefCell<Link>>);

struct Link {
    socket: WebSocketStream<BotStream>,
    /// TLS keeps what it has encrypted until it is flushed.
    tls: bool,
    waiting: VecDeque<Message>,
    /// The socket is full, or was: the task writes what waits.
    blocked: bool,
    /// The socket takes nothing more; what the bot sent is still read.
    write_failed: bool,
    /// Close with this code once everything is written.
    close: Option<u16>,
    /// The task knows that the end is wanted.
    closing: bool,
    /// The close frame is written.
    closed: bool,
    next_ping: Instant,
    /// Pings in a row without an answer.
    unanswered: u8,
    /// The reading task's.
    waker: Option<Waker>,
}

/// What the task found.
enum Step {
    Message(Message),
    /// The call wants the end.
    Closing,
    End(SocketEnd),
}

/// Both ends of a socket after the upgrade.
pub(super) fn ends(socket: WebSocketStream<BotStream>, tls: bool, now: Instant) -> (Writer, Reader) {
    let link = Rc::new(RefCell::new(Link {
        socket,
        tls,
        waiting: VecDeque::new(),
        blocked: false,
        write_failed: false,
        close: None,
        closing: false,
        closed: false,
        next_ping: now + PING_EVERY,
        unanswered: 0,
        waker: None,
    }));
    (Writer(link.clone()), Reader(link))
}

impl Writer {
    /// Writes a text frame, or lets it wait for those before it.
    ///
    /// # Errors
    /// [`Full`] when the bot has not read for too long.
    pub fn send(&self, text: String) -> Result<(), Full> {
        let mut link = self.0.borrow_mut();
        if link.waiting.len() >= MESSAGES_WAITING {
            return Err(Full);
        }
        link.write(Message::Text(text.into()));
        Ok(())
    }

    /// Closes with `code` after what has been sent.
    pub fn close(&self, code: u16) {
        let mut link = self.0.borrow_mut();
        link.close.get_or_insert(code);
        link.wake();
    }

    /// Pings where it is time to; to be called about once a second.
    pub fn look(&self, now: Instant) {
        let mut link = self.0.borrow_mut();
        if now < link.next_ping {
            return;
        }
        link.next_ping = now + PING_EVERY;
        link.unanswered += 1;
        if link.unanswered > 2 {
            link.wake();
        } else {
            link.write(Message::Ping(Vec::new().into()));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close(1001);
    }
}

impl Link {
    fn write(&mut self, message: Message) {
        if self.write_failed || self.close.is_some() {
            return;
        }
        if self.blocked {
            self.waiting.push_back(message);
            return;
        }
        // Nobody is woken by this context: where the socket is full, the task takes over.
        let mut context = Context::from_waker(Waker::noop());
        if self.write_now(message, &mut context).is_pending() {
            self.blocked = true;
            self.wake();
        }
    }

    /// Hands `message` to the socket; pending where part of it is still to be written.
    fn write_now(&mut self, message: Message, context: &mut Context<'_>) -> Poll<()> {
        let mut socket = Pin::new(&mut self.socket);
        let written = match socket.as_mut().start_send(message) {
            Ok(()) if self.tls => socket.poll_flush(context),
            Ok(()) => socket.poll_ready(context),
            Err(error) => Poll::Ready(Err(error)),
        };
        written.map(|outcome| self.note_written(outcome))
    }

    fn note_written(&mut self, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            debug!(%error, "the bot's WebSocket takes nothing more");
            self.write_failed = true;
            self.waiting.clear();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Writes what waits; pending while the socket is full.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.blocked {
            let Poll::Ready(outcome) = Pin::new(&mut self.socket).poll_flush(context) else { return Poll::Pending };
            self.note_written(outcome);
            self.blocked = false;
            while !self.blocked
                && let Some(message) = self.waiting.pop_front()
            {
                self.blocked = self.write_now(message, context).is_pending();
            }
        }
        Poll::Ready(())
    }

    fn poll_step(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
        if self.unanswered > 2 {
            return Poll::Ready(Step::End(SocketEnd::PingsMissed));
        }
        if self.close.is_some() && !self.closing {
            self.closing = true;
            return Poll::Ready(Step::Closing);
        }
        if self.poll_write(context).is_ready()
            && let Some(code) = self.close.filter(|_| !self.closed)
        {
            self.closed = true;
            let frame = CloseFrame { code: code.into(), reason: "".into() };
            self.blocked = self.write_now(Message::Close(Some(frame)), context).is_pending();
        }
        Pin::new(&mut self.socket).poll_next(context).map(|next| match next {
            Some(Ok(Message::Close(frame))) => Step::End(closed(frame)),
            Some(Ok(message)) => Step::Message(message),
            Some(Err(error)) => Step::End(self.lost(&error)),
            None => Step::End(self.ended()),
        })
    }

    fn ended(&self) -> SocketEnd {
        if !self.socket.get_ref().at_boundary() {
            SocketEnd::MidFrame
        } else if self.unanswered > 0 {
            SocketEnd::PingsMissed
        } else {
            SocketEnd::Eof
        }
    }

    fn lost(&self, error: &Error) -> SocketEnd {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => self.ended(),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => self.ended(),
            Error::Io(error) => match (error.kind(), self.ended()) {
                (io::ErrorKind::InvalidData, _) => SocketEnd::Tls(error.to_string()),
                (io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe, SocketEnd::Eof) => SocketEnd::Reset,
                (_, end) => end,
            },
            Error::Capacity(CapacityError::MessageTooLong { .. }) => SocketEnd::Oversize,
            Error::Utf8(reason) => SocketEnd::Close { code: Some(1007), reason: reason.clone() },
            other => SocketEnd::Close { code: Some(1002), reason: other.to_string() },
        }
    }
}

impl Reader {
    /// Reads, and writes what waits, until the socket is gone; `on_input` gets every message and, last,
    /// [`StreamInput::Closed`].
    pub async fn run(self, mut on_input: impl FnMut(StreamInput<'_>)) {
        let end = self.read(&mut on_input).await;
        on_input(StreamInput::Closed(end.clone()));
        let answer = async {
            match &end {
                SocketEnd::PingsMissed => {}
                SocketEnd::Oversize => {
                    let frame = CloseFrame { code: CloseCode::Size, reason: "message over 8 MiB".into() };
                    let _ = poll_fn(|context| self.poll_with(context, Some(&frame))).await;
                }
                _ => {
                    let _ = poll_fn(|context| self.poll_with(context, None)).await;
                }
            }
        };
        let _ = timeout(CLOSE_WAIT, answer).await;
    }

    /// Closes the socket, with `frame` where it is ours to say why.
    fn poll_with(&self, context: &mut Context<'_>, frame: Option<&CloseFrame>) -> Poll<Result<(), Error>> {
        let mut link = self.0.borrow_mut();
        if let Some(frame) = frame.filter(|_| !std::mem::replace(&mut link.closed, true)) {
            let _ = Pin::new(&mut link.socket).start_send(Message::Close(Some(frame.clone())));
        }
        link.socket.poll_close_unpin(context)
    }

    async fn read(&self, on_input: &mut impl FnMut(StreamInput<'_>)) -> SocketEnd {
        let mut taken = 0;
        let mut give_up = None;
        loop {
            if taken >= READ_TURN {
                taken = 0;
                tokio::task::yield_now().await;
            }
            let step = poll_fn(|context| self.0.borrow_mut().poll_step(context));
            let step = match give_up {
                None => step.await,
                Some(at) => timeout_at(at, step).await.unwrap_or(Step::End(SocketEnd::Eof)),
            };
            match step {
                Step::Message(message) => {
                    taken += message.len();
                    self.pass_on(message, on_input);
                }
                Step::Closing => give_up = Some(tokio::time::Instant::now() + CLOSE_WAIT),
                Step::End(end) => return end,
            }
        }
    }

    fn pass_on(&self, message: Message, on_input: &mut impl FnMut(StreamInput<'_>)) {
        match message {
            Message::Text(text) => on_input(StreamInput::Text(&text)),
            Message::Binary(bytes) => on_input(StreamInput::Binary(&bytes)),
            Message::Pong(_) => self.0.borrow_mut().unanswered = 0,
            Message::Ping(_) | Message::Close(_) | Message::Frame(_) => {}
        }
    }
}

fn closed(frame: Option<CloseFrame>) -> SocketEnd {
    match frame {
        Some(frame) => SocketEnd::Close { code: Some(frame.code.into()), reason: frame.reason.to_string() },
        None => SocketEnd::Close { code: None, reason: String::new() },
    }
}
