//! One call in virtual time: the bridge's media and stream, paced as a media thread paces them, and a caller with an ear.

use std::time::{Duration, Instant};

use serde_json::json;
use trunkstream::base::id::{AccountSid, CallSid, StreamSid};
use trunkstream::base::pcm::SampleRate;
use trunkstream::base::random::Random;
use trunkstream::call::CLOCK_STEP;
use trunkstream::call::pacing::{Grid, Pace};
use trunkstream::config::{Dtmf, Fill, IdleTx, JitterDelay, MediaNat};
use trunkstream::lab::pbx::Link;
use trunkstream::media::codec::{Codec, Encoder};
use trunkstream::media::rtp::packet::{HEADER_LEN, Packet};
use trunkstream::media::{MediaFormat, MediaSession, MediaSettings};
use trunkstream::stream::{ClearMarks, ClearScope, DialectSettings, StreamSession, StreamSettings};

/// What a packet carries, both ways.
pub const FRAME: Duration = Duration::from_millis(20);
pub const FRAME_MS: u32 = 20;
const CALLER: &str = "192.0.2.10:4000";
const PAYLOAD_TYPE: u8 = 96;

/// What a call is made of.
#[derive(Clone, Copy)]
pub struct Setup {
    pub codec: &'static dyn Codec,
    /// The rate of the bot's audio.
    pub stream_rate: SampleRate,
    /// Milliseconds in a media message to the bot.
    pub chunk_ms: u32,
    pub seed: u64,
}

/// A packet on its way to the caller.
pub struct Sent<'a> {
    /// Its encoded audio.
    pub payload: &'a [u8],
    /// The bot's audio in it, before resampler and codec; shorter than the packet where the bot is silent.
    pub audio: &'a [i16],
}

/// The bridge's side of an answered call whose bot is connected.
pub struct Bridge {
    pub media: MediaSession,
    pub stream: StreamSession,
    grid: Grid,
    receive: Pace,
    send: Pace,
    audio: Vec<i16>,
    packet: Vec<u8>,
}

impl Bridge {
    /// Answered at `now`, on a media clock that began then.
    pub fn new(now: Instant, setup: &Setup) -> Self {
        let mut random = Random::from_number(setup.seed);
        let mut media = MediaSession::new(now, media_settings(), &mut random);
        assert!(media.set_format(now, &media_format(setup.codec), true), "a codec of the list");
        media.set_stream_rate(setup.stream_rate);
        let mut stream = StreamSession::new(stream_settings(setup, &mut random));
        stream.handle_opened(now);
        let send = now + CLOCK_STEP * random.below(4);
        Self {
            media,
            stream,
            grid: Grid::new(now),
            receive: Pace::new(now + FRAME, FRAME),
            send: Pace::new(send, FRAME),
            audio: Vec::new(),
            packet: Vec::new(),
        }
    }

    /// One tick of the media clock, every 5 ms: first the packet that is due leaves, then the socket is read and the
    /// caller's audio passed on.
    pub fn tick(&mut self, now: Instant, line: &mut Link, mut sent: impl FnMut(&Sent<'_>)) {
        for _ in 0..self.send.advance(now).take {
            self.audio.clear();
            if self.stream.take_cleared() {
                self.media.clear_playout();
            }
            self.stream.set_playout_delay(self.media.playout_delay());
            self.stream.pull(now, self.media.packet_samples(), &mut self.audio);
            if self.media.packet(now, &self.audio, &mut self.packet).is_some() {
                sent(&Sent { payload: &self.packet[HEADER_LEN..], audio: &self.audio });
            }
            self.stream.sent(now);
        }
        if self.grid.is_settling() || self.receive.next() <= now {
            self.read(now, line);
        }
        let due = self.receive.catch_up(now);
        for deadline in self.receive.taken(due) {
            self.audio.clear();
            self.media.pull(deadline, &mut self.audio);
            self.stream.push_audio(&self.audio);
        }
        while self.media.poll_event().is_some() {}
        while self.stream.poll_event().is_some() {}
    }

    fn read(&mut self, now: Instant, line: &mut Link) {
        while let Some((from, packet)) = line.poll(now) {
            self.media.handle_rtp(now, from, &packet);
            if let Some(next) = self.grid.arrived(now, self.receive.next()) {
                self.receive.set_next(next);
            }
        }
    }
}

/// The caller's telephone: frames of samples become RTP packets on the line.
pub struct Telephone {
    encoder: Box<dyn Encoder>,
    ticks: u32,
    sequence: u16,
    timestamp: u32,
    payload: Vec<u8>,
    packet: Vec<u8>,
}

impl Telephone {
    pub fn new(codec: &dyn Codec) -> Self {
        let ticks = codec.format().clock_rate / 1000 * FRAME_MS;
        let (payload, packet) = (Vec::new(), Vec::new());
        Self { encoder: codec.encoder(), ticks, sequence: 1000, timestamp: 77_777, payload, packet }
    }

    /// Says 20 ms.
    pub fn say(&mut self, now: Instant, frame: &[i16], line: &mut Link) {
        self.payload.clear();
        self.encoder.encode(frame, &mut self.payload);
        let (sequence, timestamp) = (self.sequence, self.timestamp);
        Packet { marker: false, payload_type: PAYLOAD_TYPE, sequence, timestamp, ssrc: 7, payload: &self.payload }
            .write(&mut self.packet);
        line.push(now, CALLER.parse().expect("an address"), &self.packet);
        self.sequence = sequence.wrapping_add(1);
        self.timestamp = timestamp.wrapping_add(self.ticks);
    }
}

fn media_settings() -> MediaSettings {
    MediaSettings {
        nat: MediaNat::Auto,
        media_acl: Vec::new(),
        dtmf_mute: true,
        hold_audio_pass: false,
        rtp_timeout: Duration::from_secs(60),
        rtp_start_timeout: Duration::from_secs(10),
        jitter_delay: JitterDelay::default(),
        fill: Fill::Silence,
        dtmf: Dtmf::default(),
        idle_tx: IdleTx::Silence,
        relearn_after_silence: false,
    }
}

fn media_format(codec: &dyn Codec) -> MediaFormat {
    let remote = CALLER.parse().expect("an address");
    MediaFormat {
        remote,
        remote_rtcp: remote,
        rtcp_mux: true,
        format: codec.format(),
        payload_type: PAYLOAD_TYPE,
        telephone_event: None,
        comfort_noise: None,
        ptime_ms: 20,
        send: true,
        receive: true,
        held: false,
    }
}

fn stream_settings(setup: &Setup, random: &mut Random) -> StreamSettings {
    StreamSettings {
        stream_sid: StreamSid::mint(random),
        call_sid: CallSid::mint(random),
        account_sid: AccountSid::parse("quality").expect("a sid"),
        from: "sip:100".into(),
        to: "200".into(),
        custom_parameters: Vec::new(),
        sample_rate: setup.stream_rate,
        chunk_ms: setup.chunk_ms,
        dialect: DialectSettings::default(),
        extensions: false,
        binary_media: false,
        bidirectional: true,
        queue_ms: 120_000,
        drain_ms: 30_000,
        clear_scope: ClearScope::All,
        clear_marks: ClearMarks::Echo,
    }
}

/// A bot's media message.
pub fn says(pcm: &[u8]) -> String {
    let payload = base64_simd::STANDARD.encode_to_string(pcm);
    json!({"event": "media", "stream_sid": "x", "media": {"payload": payload}}).to_string()
}
