//! The bridge without sockets, threads and clock: endpoint, admission and calls, carried as the SIP task and a media
//! thread carry them.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use trunkstream::base::random::Random;
use trunkstream::call::admission::{self, Admission};
use trunkstream::call::directory::Directory;
use trunkstream::call::timeline::CallRecord;
use trunkstream::call::{
    CLOCK_STEP, Call, CallSettings, Dial, Output, Reading, Scratch, Setup, SipCommand, StreamInput,
};
use trunkstream::config::Config;
use trunkstream::flow::Flows;
use trunkstream::sip::{Availability, DialogId, Endpoint, EndpointConfig, Event, IncomingInvite, ListenerId, Trunks};

use super::link::Parcel;

const DATAGRAMS_AT_ONCE: usize = 64;
const RTCP_EVERY: Duration = Duration::from_millis(100);

/// A stream of a call: which call, and its number there.
pub type StreamId = (usize, u32);

/// What the bridge wants of a bot.
#[derive(Debug)]
pub enum ToBot {
    Dial(Box<Dial>),
    Text(String),
    Close(u16),
}

/// When a call is due for what, as the media thread keeps it.
#[derive(Debug, Clone, Copy, Default)]
struct Due {
    send: Option<Instant>,
    receive: Option<Instant>,
    timer: Option<Instant>,
    rtcp: Option<Instant>,
    settling: bool,
}

struct Line {
    call: Call,
    port: u16,
    /// What waits at the socket, with its arrival.
    rtp: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
    rtcp: VecDeque<(SocketAddr, Vec<u8>)>,
    open: HashSet<u32>,
    reader: Reader,
    due: Due,
    record: Option<CallRecord>,
}

/// See the module.
pub struct Bridge {
    pub endpoint: Endpoint,
    pub directory: Arc<Directory>,
    pub flows: Flows,
    settings: Arc<CallSettings>,
    random: Random,
    pub address: SocketAddr,
    media_address: IpAddr,
    epoch: Instant,
    last_tick: Instant,
    /// The process stands still until then.
    pub asleep_until: Option<Instant>,
    lines: BTreeMap<usize, Line>,
    by_dialog: HashMap<DialogId, usize>,
    owners: HashSet<DialogId>,
    commands: VecDeque<(DialogId, SipCommand)>,
    scratch: Scratch,
    /// Calls that began.
    pub begun: usize,
    /// Records of the calls that are over, in the order of their ends.
    pub records: Vec<CallRecord>,
    /// Datagrams that want out.
    pub datagrams: Vec<Parcel>,
    /// What bots are told.
    pub to_bots: Vec<(StreamId, ToBot)>,
}

impl Bridge {
    pub fn new(now: Instant, config: &Config, seed: u64) -> Self {
        let flows = trunkstream::cli::flows(config).unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut random = Random::from_number(seed);
        let listener = config.sip.listeners[0];
        let settings = CallSettings::from(config);
        let trunks = Trunks::new(config.trunks.clone());
        let mut endpoint = Endpoint::new(EndpointConfig::from(&config.sip), trunks, random.fork());
        endpoint.limit_call_rate(config.limits.max_calls_per_second);
        endpoint.limit_source_rate(config.limits.max_requests_per_second_per_source);
        Self {
            endpoint,
            directory: Arc::new(Directory::new(config.limits.max_calls, &config.accounts, &config.numbers, 2)),
            flows,
            settings: Arc::new(settings),
            random,
            address: listener.bind,
            media_address: config.media.advertised_address,
            epoch: now,
            last_tick: now,
            asleep_until: None,
            lines: BTreeMap::new(),
            by_dialog: HashMap::new(),
            owners: HashSet::new(),
            commands: VecDeque::new(),
            scratch: Scratch::default(),
            begun: 0,
            records: Vec::new(),
            datagrams: Vec::new(),
            to_bots: Vec::new(),
        }
    }

    /// Calls that are not over.
    pub fn calls(&self) -> usize {
        self.lines.len()
    }

    /// When it wants to be woken.
    pub fn next(&self) -> Option<Instant> {
        let lines = self.lines.values().filter_map(|line| {
            let Due { send, receive, timer, settling, .. } = line.due;
            if settling {
                return Some(self.last_tick + CLOCK_STEP);
            }
            let rtcp = line.due.rtcp.filter(|_| !line.rtcp.is_empty());
            [send, receive, timer, rtcp].into_iter().flatten().min().map(|at| self.grid_after(at))
        });
        let first = lines.chain(self.endpoint.poll_timeout()).min()?;
        Some(self.asleep_until.map_or(first, |until| first.max(until)))
    }

    /// The tick on which a wake for `at` happens.
    fn grid_after(&self, at: Instant) -> Instant {
        let steps = at.saturating_duration_since(self.epoch).as_nanos().div_ceil(CLOCK_STEP.as_nanos());
        let at = self.epoch + CLOCK_STEP * u32::try_from(steps).expect("a story is short");
        at.max(self.last_tick + CLOCK_STEP)
    }

    /// Timers of SIP, and the media clock's tick if a new grid point has passed.
    pub fn wake(&mut self, now: Instant) {
        let steps = now.saturating_duration_since(self.epoch).as_nanos() / CLOCK_STEP.as_nanos();
        let at = self.epoch + CLOCK_STEP * u32::try_from(steps).expect("a story is short");
        if at > self.last_tick {
            self.last_tick = at;
            self.tick(at);
        }
        if self.endpoint.poll_timeout().is_some_and(|timeout| timeout <= now) {
            self.endpoint.handle_timeout(now);
        }
        self.drain(now);
    }

    pub fn datagram(&mut self, now: Instant, parcel: Parcel) {
        let Parcel { from, to, bytes } = parcel;
        if to == self.address {
            let closed = self.directory.closed().map(|closed| Availability::Unavailable(closed.why()));
            self.endpoint.set_availability(closed.unwrap_or(Availability::Available));
            self.endpoint.handle_datagram(now, ListenerId(0), from, &bytes);
            return self.drain(now);
        }
        for line in self.lines.values_mut() {
            if to.port() == line.port {
                line.rtp.push_back((now, from, bytes));
                return;
            } else if to.port() == line.port + 1 {
                line.rtcp.push_back((from, bytes));
                return;
            }
        }
    }

    pub fn stream(&mut self, now: Instant, (key, stream): StreamId, input: StreamInput<'_>) {
        if let Some(line) = self.lines.get_mut(&key) {
            line.call.handle_stream(now, stream, input);
            self.settle(key);
        }
        self.drain(now);
    }

    pub fn shut_down(&mut self, now: Instant) {
        self.directory.drain();
        for key in self.keys() {
            self.lines.get_mut(&key).expect("a call").call.shut_down(now);
            self.settle(key);
        }
        self.drain(now);
    }

    fn keys(&self) -> Vec<usize> {
        self.lines.keys().copied().collect()
    }

    /// Carries between endpoint and calls until neither has anything to say.
    fn drain(&mut self, now: Instant) {
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit() {
                self.datagrams.push(Parcel { from: self.address, to: transmit.to, bytes: transmit.bytes });
            }
            if let Some(event) = self.endpoint.poll_event() {
                self.event(now, event);
            } else if let Some((dialog, command)) = self.commands.pop_front() {
                self.command(now, dialog, command);
            } else {
                return;
            }
        }
    }

    fn command(&mut self, now: Instant, dialog: DialogId, command: SipCommand) {
        match command {
            SipCommand::Progress { code, sdp } => self.endpoint.progress(now, dialog, code, sdp),
            SipCommand::Answer { sdp } => self.endpoint.answer(now, dialog, sdp),
            SipCommand::Reject(rejection) => self.endpoint.reject(now, dialog, rejection),
            SipCommand::AnswerUpdate { sdp } => self.endpoint.answer_update(now, dialog, sdp),
            SipCommand::RejectUpdate(rejection) => self.endpoint.reject_update(now, dialog, rejection),
            SipCommand::AnswerInfo(answer) => self.endpoint.answer_info(now, dialog, answer),
            SipCommand::Bye(reasons) => self.endpoint.bye(now, dialog, reasons),
            SipCommand::Refer(refer) => self.endpoint.refer(now, dialog, *refer),
        };
    }

    fn event(&mut self, now: Instant, event: Event) {
        let dialog = event.dialog();
        let event = match event {
            Event::Invite { dialog, invite } if invite.replaces.is_some() => return self.replace(now, dialog, &invite),
            Event::Invite { dialog, invite } => return self.admit(now, dialog, invite),
            event => event,
        };
        let owned = if matches!(event, Event::Ended { .. }) {
            self.owners.remove(&dialog)
        } else {
            self.owners.contains(&dialog)
        };
        if let Some(key) = self.by_dialog.get(&dialog).copied().filter(|_| owned) {
            self.receive(key, now);
            self.lines.get_mut(&key).expect("a call").call.handle_sip(now, event);
            self.settle(key);
        }
    }

    fn admit(&mut self, now: Instant, dialog: DialogId, invite: Box<IncomingInvite>) {
        match admission::judge(now, &self.directory, &self.flows, &invite) {
            Ok(admission) => {
                self.owners.insert(dialog);
                self.begin(now, dialog, invite, admission);
            }
            Err(refused) => {
                let rejection = refused.rejection(5 + self.random.below(11));
                self.endpoint.reject(now, dialog, rejection);
            }
        }
    }

    fn replace(&mut self, now: Instant, dialog: DialogId, invite: &IncomingInvite) {
        let old = invite.replaces.expect("asked before");
        let key = self.by_dialog.get(&old).copied().filter(|_| self.owners.contains(&old));
        let line = key.and_then(|key| self.lines.get_mut(&key));
        match line.map_or(Err(Call::gone()), |line| line.call.replace(now, dialog, invite)) {
            Ok(()) => {
                let key = key.expect("a call");
                self.owners.insert(dialog);
                self.by_dialog.insert(dialog, key);
                self.settle(key);
            }
            Err(rejection) => {
                self.endpoint.reject(now, dialog, *rejection);
            }
        }
    }

    fn begin(&mut self, now: Instant, dialog: DialogId, invite: Box<IncomingInvite>, admission: Admission) {
        let Admission { trunk, account, graph, slot } = admission;
        let key = self.begun;
        self.begun += 1;
        let port = 10_000 + 2 * u16::try_from(key).expect("few calls");
        let setup = Setup {
            dialog,
            invite,
            trunk,
            account,
            graph,
            rtp_port: port,
            media_address: self.media_address,
            settings: self.settings.clone(),
            directory: self.directory.clone(),
            slot,
            random: self.random.fork(),
            clock_epoch: self.epoch,
        };
        let call = Call::new(now, SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000), setup);
        let line = Line {
            call,
            port,
            rtp: VecDeque::new(),
            rtcp: VecDeque::new(),
            open: HashSet::new(),
            reader: Reader::default(),
            due: Due { rtcp: Some(now + RTCP_EVERY), ..Due::default() },
            record: None,
        };
        self.lines.insert(key, line);
        self.by_dialog.insert(dialog, key);
        self.settle(key);
    }

    /// Does what a call wants done; the order of its outputs is checked on the way.
    fn settle(&mut self, key: usize) {
        while let Some(output) = self.lines.get_mut(&key).and_then(|line| line.call.poll_output()) {
            let line = self.lines.get_mut(&key).expect("a call");
            assert!(line.record.is_none() || matches!(output, Output::Over), "{output:?} after the record");
            match output {
                Output::Sip(command) => self.commands.push_back((line.call.dialog(), command)),
                Output::OpenStream { stream, dial } => {
                    assert!(line.open.insert(stream), "stream {stream} is dialled twice");
                    self.to_bots.push(((key, stream), ToBot::Dial(dial)));
                }
                Output::StreamText { stream, text } => {
                    assert!(line.open.contains(&stream), "{text} after the close of stream {stream}");
                    self.to_bots.push(((key, stream), ToBot::Text(text)));
                }
                Output::CloseStream { stream, code } => {
                    line.open.remove(&stream);
                    self.to_bots.push(((key, stream), ToBot::Close(code)));
                }
                Output::Rtcp { mux, to, packet } => {
                    let from = SocketAddr::new(self.media_address, line.port + u16::from(!mux));
                    self.datagrams.push(Parcel { from, to, bytes: packet });
                }
                Output::Record(record) => line.record = Some(*record),
                Output::Over => {
                    let mut line = self.lines.remove(&key).expect("a call");
                    self.by_dialog.remove(&line.call.dialog());
                    assert!(line.call.poll_output().is_none(), "an output after Over");
                    self.records.push(line.record.take().expect("a record before Over"));
                    return;
                }
            }
        }
        if let Some(line) = self.lines.get_mut(&key) {
            line.due = Due {
                send: line.call.next_send(),
                receive: line.call.next_receive(),
                timer: line.call.next_timer(),
                rtcp: line.due.rtcp,
                settling: line.call.is_settling(),
            };
        }
    }

    /// First every packet that is due leaves, then every call's socket is read and its audio passed on.
    fn tick(&mut self, at: Instant) {
        let is_due = |moment: Option<Instant>| moment.is_some_and(|moment| moment <= at);
        for key in self.keys() {
            if is_due(self.lines[&key].due.send) {
                let line = self.lines.get_mut(&key).expect("a call");
                let from = SocketAddr::new(self.media_address, line.port);
                line.call.send_packets(at, &mut self.scratch, |packet, to| {
                    self.datagrams.push(Parcel { from, to, bytes: packet.to_vec() });
                });
                self.settle(key);
            }
        }
        for key in self.keys() {
            let due = self.lines[&key].due;
            if is_due(due.receive) || due.settling {
                self.receive(key, at);
            }
            if is_due(due.timer) {
                self.with(key, |line| line.call.handle_timeout(at));
            }
            if is_due(due.rtcp) {
                self.with(key, |line| {
                    line.due.rtcp = Some(at + RTCP_EVERY);
                    for (from, packet) in line.rtcp.drain(..) {
                        line.call.handle_rtcp(at, from, &packet);
                    }
                });
            }
        }
    }

    fn with(&mut self, key: usize, act: impl FnOnce(&mut Line)) {
        if let Some(line) = self.lines.get_mut(&key) {
            act(line);
            self.settle(key);
        }
    }

    fn receive(&mut self, key: usize, at: Instant) {
        let Some(line) = self.lines.get_mut(&key) else { return };
        let Some(reading) = line.call.begin_reading(at) else { return };
        let (limit, mut own) = (line.reader.limit(reading), 0);
        for _ in 0..DATAGRAMS_AT_ONCE * reading.packets as usize {
            if own == limit {
                break;
            }
            let Some((arrived, from, packet)) = line.rtp.pop_front() else { break };
            own += usize::from(line.call.handle_packet(arrived, from, &packet, &mut self.scratch));
        }
        line.reader.odd = own != reading.packets as usize;
        if reading.due {
            line.call.take_audio(at, &mut self.scratch);
        }
        self.settle(key);
    }
}

/// How many datagrams of the caller the server's socket reader takes: those expected, as mostly they come, and all of them
/// where the last look found something else, and every few times.
#[derive(Default)]
struct Reader {
    since_look: u8,
    odd: bool,
}

impl Reader {
    const LOOK_EVERY: u8 = 8;

    fn limit(&mut self, reading: Reading) -> usize {
        self.since_look += 1;
        let look = reading.everything || self.odd || self.since_look >= Self::LOOK_EVERY;
        let limit = if look { usize::MAX } else { reading.packets as usize };
        if look {
            self.since_look = 0;
        }
        limit
    }
}
