//! Calls that come and go leave nothing behind: every table is empty, and the allocator's own count is where it was
//! (SIP-042). Endpoint, calls and directory in virtual time: 10 calls a second, each up for 500 ms; every fifth is taken
//! back before the answer, or to a number that is not there. A debug build makes fewer of them.
#![allow(unsafe_code, clippy::disallowed_methods)] // an allocator; a starting point for virtual time

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use trunkstream::base::random::Random;
use trunkstream::call::directory::Directory;
use trunkstream::call::{Call, CallSettings, Output, Scratch, Setup, SipCommand, StreamInput, admission};
use trunkstream::config::Config;
use trunkstream::flow::Flows;
use trunkstream::media::rtp::packet::Packet;
use trunkstream::sip::{DialogId, Endpoint, EndpointConfig, Event, IncomingInvite, ListenerId, Trunks};

/// Counts the bytes that this thread has.
struct Counting;

thread_local! {
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn add(bytes: usize, sign: i64) {
    BYTES.set(BYTES.get() + sign * i64::try_from(bytes).unwrap_or(i64::MAX));
}

// SAFETY: every call goes to the system's allocator unchanged; the counter neither allocates nor has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size(), 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        add(layout.size(), -1);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(layout.size(), -1);
        add(size, 1);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls that count, after [`WARM`] that come five times as fast: every table has more room then than it will need.
const CALLS: u32 = if cfg!(debug_assertions) { 3_000 } else { 50_000 };
const WARM: u32 = 2_500;
const FRAME: Duration = Duration::from_millis(20);
/// A new call begins so often …
const EVERY: Duration = Duration::from_millis(100);
const EVERY_WARM: Duration = Duration::from_millis(20);
/// … and lasts so long.
const LASTS: Duration = Duration::from_millis(500);
const PBX: &str = "198.51.100.2:5060";
const MEDIA: &str = "198.51.100.2:4000";

struct Live {
    call: Call,
    number: u32,
    answered: Option<(Instant, String)>,
    gone: bool,
    sequence: u16,
}

struct Node {
    endpoint: Endpoint,
    directory: Arc<Directory>,
    flows: Flows,
    settings: Arc<CallSettings>,
    random: Random,
    scratch: Scratch,
    datagram: Vec<u8>,
    calls: BTreeMap<DialogId, Live>,
    start: Instant,
    now: Instant,
    number: u32,
    records: u32,
    refused: u32,
}

impl Node {
    fn new() -> Self {
        let text = "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n[media]\nlisten_address = \"192.0.2.10\"\n\
            [[account]]\nsid = \"acc1\"\n[[trunk]]\nname = \"lab\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n\
            [[number]]\nnumber = \"1000\"\naccount = \"acc1\"\nflow = \"bot\"\n[[flow]]\nid = \"bot\"\nstart = \"talk\"\n\
            [flow.step.talk]\napplet = \"voicebot\"\nurl = \"ws://bot.test/media\"\n";
        let config = Config::from_toml("t.toml", text, None).expect("a good configuration");
        let settings = CallSettings::from(&config);
        let trunks = Trunks::new(config.trunks.clone());
        let mut endpoint = Endpoint::new(EndpointConfig::from(&config.sip), trunks, Random::from_number(1));
        endpoint.limit_source_rate(config.limits.max_requests_per_second_per_source);
        let now = Instant::now();
        Self {
            endpoint,
            directory: Arc::new(Directory::new(100, &config.accounts, &config.numbers, 1)),
            flows: trunkstream::cli::flows(&config).expect("a flow"),
            settings: Arc::new(settings),
            random: Random::from_number(2),
            scratch: Scratch::default(),
            datagram: Vec::with_capacity(256),
            calls: BTreeMap::new(),
            start: now,
            now,
            number: 0,
            records: 0,
            refused: 0,
        }
    }

    fn receive(&mut self, text: &str) {
        let from: SocketAddr = PBX.parse().expect("an address");
        self.endpoint.handle_datagram(self.now, ListenerId(0), from, text.as_bytes());
        self.drain();
    }

    /// Carries between endpoint and calls until neither has anything to say.
    fn drain(&mut self) {
        loop {
            if let Some(transmit) = self.endpoint.poll_transmit() {
                self.heard(&String::from_utf8_lossy(&transmit.bytes));
            } else if let Some(event) = self.endpoint.poll_event() {
                let dialog = event.dialog();
                match event {
                    Event::Invite { invite, .. } => self.begin(dialog, invite),
                    event => {
                        if let Some(live) = self.calls.get_mut(&dialog) {
                            live.call.handle_sip(self.now, event);
                        }
                    }
                }
                self.settle(dialog);
            } else {
                return;
            }
        }
    }

    /// The PBX acknowledges every final answer to an INVITE.
    fn heard(&mut self, text: &str) {
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let is_final = text.starts_with("SIP/2.0 ") && !text.starts_with("SIP/2.0 1");
        if !is_final || header("CSeq: ") != "1 INVITE" {
            return;
        }
        let number: u32 = header("Call-ID: ").parse().expect("a number");
        let tag = header("To: ").split(";tag=").nth(1).unwrap_or_default().to_owned();
        let ok = text.starts_with("SIP/2.0 200");
        let branch = if ok { format!("ack{number}") } else { format!("INVITE{number}") };
        self.receive(&request("ACK", &branch, number, 1, &tag));
        let (now, live) = (self.now, self.calls.values_mut().find(|live| live.number == number));
        if let Some(live) = live.filter(|_| ok) {
            live.answered = Some((now, tag));
        }
    }

    fn begin(&mut self, dialog: DialogId, invite: Box<IncomingInvite>) {
        let number = invite.call_id.parse().expect("a number");
        let admission = match admission::judge(self.now, &self.directory, &self.flows, &invite) {
            Ok(admission) => admission,
            Err(refused) => {
                self.refused += 1;
                self.endpoint.reject(self.now, dialog, refused.rejection(7));
                return;
            }
        };
        let setup = Setup {
            dialog,
            invite,
            trunk: admission.trunk,
            account: admission.account,
            graph: admission.graph,
            rtp_port: 10_000,
            media_address: "192.0.2.10".parse().expect("an address"),
            settings: self.settings.clone(),
            directory: self.directory.clone(),
            slot: admission.slot,
            random: self.random.fork(),
            clock_epoch: self.start,
        };
        let call = Call::new(self.now, SystemTime::UNIX_EPOCH, setup);
        self.calls.insert(dialog, Live { call, number, answered: None, gone: false, sequence: 0 });
    }

    /// Does what a call wants done. A call that is to be taken back never sees its bot.
    fn settle(&mut self, dialog: DialogId) {
        while let Some(live) = self.calls.get_mut(&dialog) {
            let Some(output) = live.call.poll_output() else { return };
            match output {
                Output::Sip(command) => self.command(dialog, command),
                Output::OpenStream { stream, .. } if live.number % 5 != 1 => {
                    live.call.handle_stream(self.now, stream, StreamInput::Opened);
                }
                Output::Record(_) => self.records += 1,
                Output::Over => drop(self.calls.remove(&dialog)),
                _ => {}
            }
        }
    }

    fn command(&mut self, dialog: DialogId, command: SipCommand) {
        let now = self.now;
        match command {
            SipCommand::Progress { code, sdp } => self.endpoint.progress(now, dialog, code, sdp),
            SipCommand::Answer { sdp } => self.endpoint.answer(now, dialog, sdp),
            SipCommand::Reject(rejection) => self.endpoint.reject(now, dialog, rejection),
            SipCommand::AnswerUpdate { sdp } => self.endpoint.answer_update(now, dialog, sdp),
            SipCommand::RejectUpdate(rejection) => self.endpoint.reject_update(now, dialog, rejection),
            SipCommand::Refer(refer) => self.endpoint.refer(now, dialog, *refer),
            SipCommand::AnswerInfo(answer) => self.endpoint.answer_info(now, dialog, answer),
            SipCommand::Bye(reasons) => self.endpoint.bye(now, dialog, reasons),
        };
    }

    /// 20 ms of every call, and what the PBX does meanwhile.
    fn frame(&mut self) {
        let dialogs: Vec<DialogId> = self.calls.keys().copied().collect();
        for dialog in dialogs {
            self.media(dialog);
            self.settle(dialog);
            self.drain();
            self.hang_up(dialog);
        }
        self.now += FRAME;
        self.pass(self.now);
    }

    fn media(&mut self, dialog: DialogId) {
        let (now, from) = (self.now, MEDIA.parse().expect("an address"));
        let Some(live) = self.calls.get_mut(&dialog) else { return };
        if live.answered.is_some() {
            let (sequence, timestamp) = (live.sequence, u32::from(live.sequence) * 160);
            let packet = Packet {
                marker: false,
                payload_type: 0,
                sequence,
                timestamp,
                ssrc: live.number,
                payload: &[0xd5; 160],
            };
            packet.write(&mut self.datagram);
            live.sequence += 1;
            live.call.handle_packet(now, from, &self.datagram, &mut self.scratch);
        }
        if live.call.send_due(now) {
            live.call.send_packets(now, &mut self.scratch, |_, _| {});
        }
        if live.call.begin_reading(now).is_some_and(|reading| reading.due) {
            live.call.take_audio(now, &mut self.scratch);
        }
        if live.call.next_timer().is_some_and(|due| due <= now) {
            live.call.handle_timeout(now);
        }
    }

    /// BYE after 500 ms, CANCEL of every fifth that still rings.
    fn hang_up(&mut self, dialog: DialogId) {
        let now = self.now;
        let Some(live) = self.calls.get_mut(&dialog).filter(|live| !live.gone) else { return };
        let number = live.number;
        match &live.answered {
            Some((since, tag)) if now - *since >= LASTS => {
                let bye = request("BYE", &format!("bye{number}"), number, 2, tag);
                live.gone = true;
                self.receive(&bye);
            }
            None if number % 5 == 1 => {
                live.gone = true;
                self.receive(&request("CANCEL", &format!("INVITE{number}"), number, 1, ""));
            }
            Some(_) | None => {}
        }
    }

    /// The endpoint's timers up to `until`.
    fn pass(&mut self, until: Instant) {
        while let Some(when) = self.endpoint.poll_timeout().filter(|when| *when <= until) {
            self.endpoint.handle_timeout(when);
            self.drain();
        }
    }

    /// `count` calls, one `every` so often, then silence until everything is forgotten.
    fn churn(&mut self, count: u32, every: Duration) {
        let mut next = self.now;
        for _ in 0..count {
            while self.now < next {
                self.frame();
            }
            next += every;
            self.number += 1;
            self.receive(&request("INVITE", &format!("INVITE{}", self.number), self.number, 1, ""));
        }
        while !self.calls.is_empty() {
            self.frame();
        }
        self.now += Duration::from_secs(120);
        self.pass(self.now);
        drop(self.endpoint.take_counters());
    }
}

/// A request of call `number`; every tenth goes to nobody's number.
fn request(method: &str, branch: &str, number: u32, cseq: u32, tag: &str) -> String {
    let sdp =
        "v=0\r\no=- 1 1 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let (kind, body) = if method == "INVITE" { ("Content-Type: application/sdp\r\n", sdp) } else { ("", "") };
    let user = if number.is_multiple_of(10) { "2000" } else { "1000" };
    let tag = if tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    format!(
        "{method} sip:{user}@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP {PBX};branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:100@198.51.100.2>;tag=a{number}\r\nTo: <sip:{user}@192.0.2.10>{tag}\r\nCall-ID: {number}\r\n\
         CSeq: {cseq} {method}\r\nContact: <sip:100@{PBX}>\r\nX-Exotel-AccountSid: acc1\r\n{kind}\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn sip_042_calls_that_come_and_go_leave_empty_tables_and_the_memory_there_was() {
    let mut node = Node::new();
    node.churn(WARM, EVERY_WARM);
    let before = BYTES.get();
    node.churn(CALLS, EVERY);
    let growth = BYTES.get() - before;
    println!("{CALLS} calls: {growth} bytes more than before, of {before}; {} refused", node.refused);
    assert_eq!(node.records + node.refused, WARM + CALLS, "each call has its record or its refusal");
    assert_eq!(node.refused, (WARM + CALLS) / 10);
    assert!(node.endpoint.counts().is_idle(), "{:?}", node.endpoint.counts());
    assert_eq!((node.directory.calls(), node.endpoint.poll_timeout()), (0, None));
    assert_eq!(growth, 0, "bytes are kept for calls that are over");
}
