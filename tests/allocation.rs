//! The packet path of a call allocates nothing once it is warm (RTP-036): a counting allocator looks on, in virtual time.
//!
//! What allocates by design and is counted here: a media message to the bot is a `String`, one allocation a chunk; a
//! message of the bot is read into its parts and its audio kept until it is played, at most six. With SRTP the crate that
//! encrypts makes a context and a buffer for each packet: five allocations, each way, whatever its size. Left out are RTCP, digits and
//! whatever else the call's timers bring, and the WebSocket itself.
#![allow(unsafe_code, clippy::disallowed_methods)] // an allocator; a starting point for virtual time

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use trunkstream::base::random::Random;
use trunkstream::base::srtp::{MASTER_KEY_LEN, MasterKey, SrtpKeys, SrtpSuite};
use trunkstream::call::directory::Directory;
use trunkstream::call::{Call, CallSettings, Output, Scratch, Setup, StreamInput, admission};
use trunkstream::config::Config;
use trunkstream::media::Srtp;
use trunkstream::media::codec::{CODECS, Codec};
use trunkstream::media::rtp::packet::Packet;
use trunkstream::sip::{Endpoint, EndpointConfig, Event, ListenerId, Trunks};

/// Counts what each thread allocates: tests run beside each other.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; the counter neither allocates nor has a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `act` runs, added to `count`.
fn counted<T>(count: &mut u64, act: impl FnOnce() -> T) -> T {
    let before = ALLOCATIONS.get();
    let result = act();
    *count += ALLOCATIONS.get() - before;
    result
}

const CALLER: &str = "198.51.100.2:4000";
const STEP: Duration = Duration::from_millis(5);
const FRAME: Duration = Duration::from_millis(20);
const WARM: u32 = 500;
const TICKS: u32 = 1000;
/// Allocations for a message of the bot: its two objects, the event's name, the PCM, and the queue's part with its audio.
const FROM_BOT: u64 = 6;
/// And for the label under which a message below 100 ms is counted (RTP-070).
const ODD_SIZE: u64 = 2;
/// Allocations of `webrtc-srtp` for a packet, in or out.
const SRTP: u64 = 5;

/// Frames of the caller's sound, said again and again.
const FRAMES: usize = 50;

/// What the call is made with.
#[derive(Clone, Copy)]
struct Plan {
    codec: &'static dyn Codec,
    srtp: bool,
    stream_hz: u32,
    chunk_ms: u32,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { codec, srtp, stream_hz, chunk_ms } = self;
        let (format, rate) = (codec.format(), codec.sample_rate().hz());
        write!(f, "{} at {rate} Hz, SRTP {srtp}, stream of {stream_hz} Hz, {chunk_ms} ms", format.encoding_name)
    }
}

/// What each part of the path has allocated.
#[derive(Debug, Default, PartialEq)]
struct Count {
    /// `Call::handle_packet`: `MediaSession::handle_rtp`.
    received: u64,
    /// `Call::take_audio`: `MediaSession::pull`, `StreamSession::push_audio`; the messages are among it.
    heard: u64,
    /// `Call::send_packets`: `StreamSession::pull`, `MediaSession::packet`.
    spoken: u64,
    /// `Call::handle_stream` with a media message of the bot.
    from_bot: u64,
    /// Messages to the bot.
    messages: u64,
    /// RTP packets to the caller that were not silence.
    audible: u64,
}

/// A call that is up, with an echoing bot.
struct Line {
    call: Call,
    plan: Plan,
    now: Instant,
    scratch: Scratch,
    datagram: Vec<u8>,
    /// What the caller says, encoded.
    payloads: Vec<Vec<u8>>,
    /// What the caller encrypts with.
    srtp: Option<Srtp>,
    sequence: u16,
    /// What the bot heard and will say.
    echoes: Vec<String>,
}

/// A sound that is never the same for long, in packets of 20 ms.
fn payloads(codec: &dyn Codec) -> Vec<Vec<u8>> {
    let (mut encoder, samples) = (codec.encoder(), codec.sample_rate().samples(20));
    let frame = |n: usize| {
        let pcm: Vec<i16> = (0..samples).map(|k| ((n * samples + k) * (37 + n) % 9000) as i16).collect();
        let mut payload = Vec::new();
        encoder.encode(&pcm, &mut payload);
        payload
    };
    (0..FRAMES).map(frame).collect()
}

/// The caller's: the key of `A`s in its offer. It listens to nothing.
fn keys() -> SrtpKeys {
    let key = || MasterKey::new([0; MASTER_KEY_LEN]);
    SrtpKeys { suite: SrtpSuite::HmacSha1_80, send: key(), receive: key() }
}

fn config(plan: Plan) -> Config {
    let Plan { codec, srtp, stream_hz, chunk_ms } = plan;
    let (codec, srtp) = (codec.format().encoding_name, if srtp { "required" } else { "off" });
    let text = format!(
        "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n[media]\nlisten_address = \"192.0.2.10\"\n\
         [[account]]\nsid = \"acc1\"\n[[trunk]]\nname = \"lab\"\naccount = \"acc1\"\nallow = [\"198.51.100.0/24\"]\n\
         codecs = [\"{codec}\"]\nsrtp = \"{srtp}\"\nallow_sdes_cleartext = true\n\
         [[number]]\nnumber = \"1000\"\naccount = \"acc1\"\nflow = \"bot\"\n[[flow]]\nid = \"bot\"\nstart = \"talk\"\n\
         [flow.step.talk]\napplet = \"voicebot\"\nurl = \"ws://bot.test/media?sample-rate={stream_hz}\"\n\
         media_chunk_ms = {chunk_ms}\n"
    );
    Config::from_toml("allocation.toml", &text, None).expect("a configuration")
}

fn invite(plan: Plan) -> String {
    let format = plan.codec.format();
    let (payload_type, encoding, clock) = (format.payload_type, format.encoding_name, format.clock_rate);
    let channels = if format.channels == 2 { "/2" } else { "" };
    let (profile, crypto) = match plan.srtp {
        true => ("RTP/SAVP", format!("a=crypto:1 {} inline:{}\r\n", SrtpSuite::HmacSha1_80.name(), "A".repeat(40))),
        false => ("RTP/AVP", String::new()),
    };
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\n\
         m=audio 4000 {profile} {payload_type}\r\n{crypto}\
         a=rtpmap:{payload_type} {encoding}/{clock}{channels}\r\na=ptime:20\r\n"
    );
    format!(
        "INVITE sip:1000@192.0.2.10 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.2;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:100@198.51.100.2>;tag=a\r\nTo: <sip:1000@192.0.2.10>\r\nCall-ID: allocation\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:100@198.51.100.2>\r\nX-Exotel-AccountSid: acc1\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A call made of what the INVITE says; nothing of it has been done yet.
fn admitted(now: Instant, plan: Plan) -> Call {
    let config = config(plan);
    let flows = trunkstream::cli::flows(&config).expect("a flow");
    let directory = Arc::new(Directory::new(10, &config.accounts, &config.numbers, 1));
    let settings = CallSettings::from(&config);
    let trunks = Trunks::new(config.trunks.clone());
    let mut endpoint = Endpoint::new(EndpointConfig::from(&config.sip), trunks, Random::from_number(1));
    let caller = "198.51.100.2:5060".parse().expect("an address");
    endpoint.handle_datagram(now, ListenerId(0), caller, invite(plan).as_bytes());
    let Some(Event::Invite { dialog, invite }) = endpoint.poll_event() else { panic!("no INVITE event") };
    let admission = admission::judge(now, &directory, &flows, &invite).expect("admitted");
    let setup = Setup {
        dialog,
        invite,
        trunk: admission.trunk,
        account: admission.account,
        graph: admission.graph,
        rtp_port: 10_000,
        media_address: "192.0.2.10".parse().expect("an address"),
        settings: Arc::new(settings),
        directory,
        slot: admission.slot,
        random: Random::from_number(2),
        clock_epoch: now,
    };
    Call::new(now, SystemTime::UNIX_EPOCH, setup)
}

impl Line {
    fn new(plan: Plan) -> Self {
        let now = Instant::now();
        let mut line = Self {
            call: admitted(now, plan),
            plan,
            now,
            scratch: Scratch::default(),
            datagram: Vec::with_capacity(2048),
            payloads: payloads(plan.codec),
            srtp: plan.srtp.then(|| Srtp::new(&keys())),
            sequence: 0,
            echoes: Vec::new(),
        };
        line.drain(&mut Count::default());
        line.call.handle_stream(now, 1, StreamInput::Opened);
        line.drain(&mut Count::default());
        line
    }

    /// Does what the call wants done: media messages become the bot's echo.
    fn drain(&mut self, count: &mut Count) {
        while let Some(output) = self.call.poll_output() {
            if let Output::StreamText { text, .. } = output
                && text.contains("\"event\":\"media\"")
            {
                count.messages += 1;
                self.echoes.push(text);
            }
        }
    }

    /// 20 ms: a packet each way, the bot's echo, the timers.
    fn frame(&mut self, count: &mut Count) {
        let Self { sequence, plan, .. } = *self;
        let format = plan.codec.format();
        let (payload_type, timestamp) = (format.payload_type, u32::from(sequence).wrapping_mul(format.clock_rate / 50));
        let payload = &self.payloads[usize::from(sequence) % FRAMES];
        Packet { marker: false, payload_type, sequence, timestamp, ssrc: 7, payload }.write(&mut self.datagram);
        if let Some(srtp) = &mut self.srtp {
            srtp.protect_rtp(&mut self.datagram);
        }
        self.sequence = sequence.wrapping_add(1);
        let from: SocketAddr = CALLER.parse().expect("an address");
        let end = self.now + FRAME;
        let (now, call, datagram, scratch) = (self.now, &mut self.call, &self.datagram, &mut self.scratch);
        counted(&mut count.received, || call.handle_packet(now, from, datagram, scratch));
        while self.now < end {
            self.step(count);
            self.now += STEP;
        }
    }

    /// One tick of the media clock, in the order of a media thread.
    fn step(&mut self, count: &mut Count) {
        let (now, mut audible) = (self.now, 0);
        let (call, scratch) = (&mut self.call, &mut self.scratch);
        if call.send_due(now) {
            counted(&mut count.spoken, || {
                call.send_packets(now, scratch, |packet, _| {
                    audible += u64::from(packet[12..].iter().any(|octet| *octet != packet[12]));
                });
            });
        }
        count.audible += audible;
        if call.begin_reading(now).is_some_and(|reading| reading.due) {
            counted(&mut count.heard, || call.take_audio(now, scratch));
        }
        if call.next_timer().is_some_and(|due| due <= now) {
            call.handle_timeout(now);
        }
        self.drain(count);
        for text in std::mem::take(&mut self.echoes) {
            counted(&mut count.from_bot, || self.call.handle_stream(now, 1, StreamInput::Text(&text)));
        }
        self.drain(count);
    }
}

/// A thousand frames of a warm call.
fn measured(plan: Plan) -> Count {
    let mut line = Line::new(plan);
    (0..WARM).for_each(|_| line.frame(&mut Count::default()));
    let mut count = Count::default();
    (0..TICKS).for_each(|_| line.frame(&mut count));
    count
}

fn assert_path_is_free_of_allocations(plan: Plan) {
    let count = measured(plan);
    let messages = u64::from(TICKS * 20 / plan.chunk_ms);
    assert_eq!(count.messages, messages, "{plan:?}: the bot hears everything");
    assert!(count.audible >= u64::from(TICKS) * 9 / 10, "{plan:?}: the caller hears the bot: {count:?}");
    let srtp = if plan.srtp { SRTP * u64::from(TICKS) } else { 0 };
    assert_eq!((count.received, count.spoken), (srtp, srtp), "{plan:?}: the packet path allocates: {count:?}");
    assert!(count.heard <= messages, "{plan:?}: more than one allocation a chunk: {count:?}");
    let each = if plan.chunk_ms < 100 { FROM_BOT + ODD_SIZE } else { FROM_BOT };
    assert!(
        count.from_bot <= each * messages,
        "{plan:?}: more than {each} allocations a message of the bot: {count:?}"
    );
}

const PCMU: Plan = Plan { codec: &trunkstream::media::codec::Pcmu, srtp: false, stream_hz: 8000, chunk_ms: 100 };

#[test]
fn rtp_036_a_warm_call_allocates_nothing_but_the_text_of_a_chunk_whatever_the_codec_and_the_stream() {
    for codec in CODECS {
        for stream_hz in [8000, 16_000, 24_000] {
            assert_path_is_free_of_allocations(Plan { codec: *codec, stream_hz, ..PCMU });
        }
    }
}

#[test]
fn rtp_036_srtp_allocates_five_times_a_packet_and_no_more() {
    assert_path_is_free_of_allocations(Plan { srtp: true, ..PCMU });
    assert_path_is_free_of_allocations(Plan { srtp: true, codec: &trunkstream::media::codec::G722, ..PCMU });
}

#[test]
fn rtp_036_short_chunks_allocate_their_text_alone() {
    assert_path_is_free_of_allocations(Plan { chunk_ms: 20, ..PCMU });
}
