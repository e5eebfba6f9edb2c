//! One SIP socket of the test PBX, its endpoint, and the task that moves datagrams, events and commands between them.

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::ladder::{Direction, Ladder};
use super::plan::LineSink;
use crate::base::random::Random;
use crate::config::{self, Config, Listener, Transport, Trunk};
use crate::net::sip_stream::{SipStreams, StreamEvent};
use crate::net::sip_tls::SipTls;
use crate::sip::{
    DialogId, Endpoint, EndpointConfig, Event, InfoAnswer, ListenerId, OutgoingInvite, Reason, Rejection, Trunks,
};

/// A line has one listener.
const LISTENER: ListenerId = ListenerId(0);
/// The largest datagram.
const DATAGRAM: usize = 65_535;
/// Receive buffer asked for, bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
/// RFC 3261's timers, as they come.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);
const T4: Duration = Duration::from_secs(5);

/// Where a line is and who watches it.
#[derive(Clone)]
pub struct LineSettings {
    /// Our address; the system chooses the port.
    pub address: IpAddr,
    /// What is spoken.
    pub transport: Transport,
    /// For TLS: whom to believe.
    pub tls: Option<Arc<SipTls>>,
    /// For TLS: the callee, and the name that its certificate must have.
    pub names: Vec<(SocketAddr, String)>,
    /// Where the SIP ladder is drawn; nowhere when `None`. For one call at a time.
    pub ladder: Option<LineSink>,
    /// Seeds tags, branches and Call-IDs.
    pub seed: u64,
}

impl LineSettings {
    /// Of a line over UDP.
    #[must_use]
    pub const fn udp(address: IpAddr, ladder: Option<LineSink>, seed: u64) -> Self {
        Self { address, transport: Transport::Udp, tls: None, names: Vec::new(), ladder, seed }
    }
}

/// A line that calls can be placed over; dropping it hangs nothing up.
pub struct Line {
    commands: mpsc::UnboundedSender<Command>,
    address: SocketAddr,
    up: Arc<AtomicUsize>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

enum Command {
    Invite { invite: Box<OutgoingInvite>, events: mpsc::UnboundedSender<Event>, dialog: oneshot::Sender<DialogId> },
    Cancel(DialogId),
    Bye(DialogId),
    Remark(String),
}

impl Line {
    /// Opens a socket and starts the line on the current tokio runtime.
    ///
    /// # Errors
    /// The address is not ours.
    pub fn open(settings: &LineSettings) -> io::Result<Self> {
        let (socket, address, streams) = open(settings)?;
        let (commands, inputs) = mpsc::unbounded_channel();
        let up = Arc::new(AtomicUsize::new(0));
        let driver = Driver {
            endpoint: Endpoint::new(
                endpoint_config(settings.transport, address),
                anybody(),
                Random::from_number(settings.seed),
            ),
            socket,
            streams,
            calls: HashMap::new(),
            up: up.clone(),
            ladder: settings.ladder.clone().map(|print| (Ladder::default(), print)),
            started: None,
        };
        let task = tokio::spawn(driver.run(inputs));
        Ok(Self { commands, address, up, stop: watch::Sender::new(false), task })
    }

    /// Our SIP address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls that are answered and have not ended.
    #[must_use]
    pub fn up(&self) -> usize {
        self.up.load(Ordering::Relaxed)
    }

    /// Draws a line that is no message into the ladder.
    pub fn remark(&self, text: &str) {
        self.command(Command::Remark(text.to_owned()));
    }

    /// Every call hangs up, or is cancelled, and no more are placed.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Completes when [`Self::stop`] is called.
    pub(super) async fn stopped(&self) {
        // The sender lives as long as the line: waiting cannot fail.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// Lets what is under way be sent and closes the socket.
    pub async fn close(self) {
        drop(self.commands);
        let _ = self.task.await;
    }

    /// Places a call; `None` where the line has failed.
    pub(super) async fn invite(
        &self,
        to: SocketAddr,
        mut invite: OutgoingInvite,
    ) -> Option<(DialogId, mpsc::UnboundedReceiver<Event>)> {
        (invite.listener, invite.target) = (LISTENER, to);
        let (events, received) = mpsc::unbounded_channel();
        let (dialog, placed) = oneshot::channel();
        self.command(Command::Invite { invite: Box::new(invite), events, dialog });
        Some((placed.await.ok()?, received))
    }

    pub(super) fn cancel(&self, dialog: DialogId) {
        self.command(Command::Cancel(dialog));
    }

    pub(super) fn bye(&self, dialog: DialogId) {
        self.command(Command::Bye(dialog));
    }

    fn command(&self, command: Command) {
        // A line that has failed answers nothing; its calls see their events end.
        let _ = self.commands.send(command);
    }
}

type Streams = (SipStreams, mpsc::Receiver<StreamEvent>);

/// The UDP socket, or none: then the connections; and our address.
fn open(settings: &LineSettings) -> io::Result<(Option<UdpSocket>, SocketAddr, Streams)> {
    let (mut streams, events) = SipStreams::new(config::Streams::default(), 0, settings.tls.clone());
    for (peer, name) in &settings.names {
        streams.set_name(*peer, name.clone());
    }
    let bind = SocketAddr::new(settings.address, 0);
    if settings.transport.is_reliable() {
        let listener = Listener { transport: settings.transport, bind, advertised: bind };
        let address = streams.listen(LISTENER, listener)?;
        return Ok((None, address, (streams, events)));
    }
    let socket = std::net::UdpSocket::bind(bind)?;
    socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let address = socket.local_addr()?;
    Ok((Some(socket), address, (streams, events)))
}

fn endpoint_config(transport: Transport, address: SocketAddr) -> EndpointConfig {
    EndpointConfig {
        listeners: vec![Listener { transport, bind: address, advertised: address }],
        local_nets: Vec::new(),
        proxies: Default::default(),
        user_agent: Some(concat!("trunkstream-pbx/", env!("CARGO_PKG_VERSION")).to_owned()),
        t1: T1,
        t2: T2,
        t4: T4,
        unknown_source_per_minute: 0,
    }
}

/// Whoever we have called may send requests back, from wherever.
fn anybody() -> Trunks {
    const TEXT: &str = r#"
        sip.listen = ["udp:127.0.0.1:5060"]
        media.listen_address = "127.0.0.1"
        account = [{ sid = "pbx", max_streams = 1 }]
        trunk = [{ name = "peer", account = "pbx", allow = ["0.0.0.0/0", "::/0"] }]
    "#;
    let config = Config::from_toml("test PBX", TEXT, None);
    let trunks: Vec<Arc<Trunk>> = config.expect("a text that does not change is right or wrong for good").trunks;
    Trunks::new(trunks)
}

/// The task behind a line.
struct Driver {
    endpoint: Endpoint,
    /// UDP's; over TCP and TLS there are only connections.
    socket: Option<UdpSocket>,
    streams: Streams,
    /// Who waits for a dialog's events, and whether it is up.
    calls: HashMap<DialogId, (mpsc::UnboundedSender<Event>, bool)>,
    up: Arc<AtomicUsize>,
    ladder: Option<(Ladder, LineSink)>,
    /// When the first call was placed: the ladder's zero.
    started: Option<Instant>,
}

impl Driver {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        // Before it has been found writable once, tokio's `try_send_to` sends nothing.
        if let Some(socket) = &self.socket {
            let _ = socket.writable().await;
        }
        let mut datagram = vec![0; DATAGRAM];
        loop {
            self.drain();
            let due = self.endpoint.poll_timeout();
            tokio::select! {
                received = receive(self.socket.as_ref(), &mut datagram) => {
                    // An error is an ICMP complaint about an earlier datagram: the transaction's timers see to it.
                    let Ok((length, from)) = received else { continue };
                    let now = Instant::now();
                    self.draw(now, Direction::In, &datagram[..length]);
                    self.endpoint.handle_datagram(now, LISTENER, from, &datagram[..length]);
                }
                Some(event) = self.streams.1.recv() => self.on_stream(event),
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = at(due) => self.endpoint.handle_timeout(Instant::now()),
            }
        }
    }

    fn on_stream(&mut self, event: StreamEvent) {
        let now = Instant::now();
        match self.streams.0.note(event) {
            Some(StreamEvent::Message { origin, bytes, flaw }) => {
                self.draw(now, Direction::In, &bytes);
                self.endpoint.handle_framed(now, origin, &bytes, flaw);
            }
            Some(StreamEvent::Lost(origin)) => self.endpoint.handle_lost(now, &origin),
            // A test call is over before a connection has been idle for long.
            Some(StreamEvent::Idle(_) | StreamEvent::Opened(..)) | None => {}
        }
    }

    fn obey(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Invite { invite, events, dialog } => {
                self.started.get_or_insert(now);
                let id = self.endpoint.invite(now, *invite);
                self.calls.insert(id, (events, false));
                let _ = dialog.send(id);
            }
            Command::Cancel(dialog) => drop(self.endpoint.cancel(now, dialog, Vec::new())),
            Command::Bye(dialog) => drop(self.endpoint.bye(now, dialog, vec![Reason::q850(16)])),
            Command::Remark(text) => {
                if let (Some((_, print)), Some(started)) = (&self.ladder, self.started) {
                    print(&Ladder::remark(now.saturating_duration_since(started), &text));
                }
            }
        }
    }

    /// Sends and tells what the endpoint wants sent and told.
    fn drain(&mut self) {
        loop {
            let (transmit, event) = (self.endpoint.poll_transmit(), self.endpoint.poll_event());
            if transmit.is_none() && event.is_none() {
                return;
            }
            if let Some(transmit) = transmit {
                self.draw(Instant::now(), Direction::Out, &transmit.bytes);
                match &self.socket {
                    // A full send buffer is a lost datagram; SIP sends again.
                    Some(socket) => drop(socket.try_send_to(&transmit.bytes, transmit.to)),
                    None => self.streams.0.send(transmit),
                }
            }
            if let Some(event) = event {
                self.tell(event);
            }
        }
    }

    /// Hands an event to its call; what no call wants is answered here.
    fn tell(&mut self, event: Event) {
        let (now, dialog) = (Instant::now(), event.dialog());
        match &event {
            Event::Invite { .. } | Event::Reinvite { .. } | Event::Update { .. } => {
                self.endpoint.reject(now, dialog, Rejection::new(488));
                return;
            }
            Event::Info { .. } => {
                self.endpoint.answer_info(now, dialog, InfoAnswer::Ok);
                return;
            }
            _ => {}
        }
        let answered = matches!(event, Event::Answered { .. });
        let ended = matches!(event, Event::Ended { .. });
        let Some((events, up)) = self.calls.get_mut(&dialog) else { return };
        if answered && !std::mem::replace(up, true) {
            self.up.fetch_add(1, Ordering::Relaxed);
        }
        let _ = events.send(event);
        if ended && *up {
            self.up.fetch_sub(1, Ordering::Relaxed);
        }
        if ended {
            self.calls.remove(&dialog);
        }
    }

    fn draw(&mut self, now: Instant, direction: Direction, bytes: &[u8]) {
        if let (Some((ladder, print)), Some(started)) = (&mut self.ladder, self.started) {
            print(&ladder.message(now.saturating_duration_since(started), direction, bytes));
        }
    }
}

/// The next datagram; never one where there is no UDP.
async fn receive(socket: Option<&UdpSocket>, datagram: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(datagram).await,
        None => pending().await,
    }
}

/// Waits until `due`; for ever where there is nothing to wait for.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}
