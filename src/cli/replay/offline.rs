//! A captured stream through media session and stream in virtual time.

use std::iter::from_fn;
use std::time::{Duration, Instant};

use crate::base::id::{AccountSid, CallSid, StreamSid};
use crate::base::pcm::SampleRate;
use crate::base::random::Random;
use crate::cli::loopback::{ACCOUNT, NUMBERS};
use crate::config::Dtmf;
use crate::lab::capture::Take;
use crate::lab::pbx::open_settings;
use crate::media::{MediaEvent, MediaFormat, MediaReport, MediaSession, MediaSettings};
use crate::stream::{ClearMarks, ClearScope, DialectSettings, StopReason, StreamReport, StreamSession, StreamSettings};

/// Caller audio is taken in frames of this length.
const FRAME: Duration = Duration::from_millis(20);
/// From the first packet to the first frame: what the bridge's 5 ms grid makes of it at worst.
const PHASE: Duration = Duration::from_millis(5);
/// The call goes on for this long after the last packet: buffers play out, the last digit ends.
const AFTERWARDS: Duration = Duration::from_millis(500);
/// Milliseconds in a media message.
const CHUNK_MS: u32 = 100;

/// What came of a replay.
pub(super) struct Played {
    /// The rate of `heard`.
    pub(super) rate: SampleRate,
    /// What the bot hears, from the first packet on.
    pub(super) heard: Vec<i16>,
    /// Digits in order.
    pub(super) digits: String,
    /// Their lengths in milliseconds.
    pub(super) digit_durations_ms: Vec<u32>,
    pub(super) media: MediaReport,
    pub(super) bot: StreamReport,
}

/// Plays `take` as a call whose bot wants `rate`. The same on every run.
pub(super) fn play(take: &Take, rate: SampleRate) -> Played {
    let start = Instant::now();
    let mut random = Random::from_number(1);
    let mut session = session(start, take, rate, &mut random);
    let mut stream = StreamSession::new(stream_settings(rate, &mut random));
    stream.handle_opened(start);
    let (mut heard, mut digits, mut digit_durations_ms) = (Vec::new(), String::new(), Vec::new());
    let (mut waiting, mut elapsed) = (take.packets.iter().peekable(), PHASE);
    while elapsed < take.length() + AFTERWARDS {
        let now = start + elapsed;
        while let Some(packet) = waiting.next_if(|packet| packet.at <= elapsed) {
            session.handle_rtp(start + packet.at, take.from, &packet.bytes);
        }
        if session.poll_timeout().is_some_and(|due| due <= now) {
            session.handle_timeout(now);
        }
        let frame = heard.len();
        session.pull(now, &mut heard);
        stream.push_audio(&heard[frame..]);
        for event in from_fn(|| session.poll_event()) {
            if let MediaEvent::Dtmf { digit, duration_ms, .. } = event {
                stream.dtmf(digit, duration_ms);
                digits.push(digit);
                digit_durations_ms.push(duration_ms);
            }
        }
        from_fn(|| stream.poll_message()).for_each(drop);
        elapsed += FRAME;
    }
    stream.stop(start + elapsed, StopReason::CallEnded);
    Played { rate, heard, digits, digit_durations_ms, media: session.report(start + elapsed), bot: stream.report() }
}

fn session(now: Instant, take: &Take, rate: SampleRate, random: &mut Random) -> MediaSession {
    let settings = MediaSettings { dtmf_mute: true, dtmf: Dtmf { inband: true, at_start: false }, ..open_settings() };
    let format = MediaFormat {
        remote: take.from,
        remote_rtcp: take.from,
        rtcp_mux: true,
        format: take.format,
        payload_type: take.payload_type,
        telephone_event: take.telephone_event,
        comfort_noise: take.comfort_noise,
        ptime_ms: 20,
        send: true,
        receive: true,
        held: false,
    };
    let mut session = MediaSession::new(now, settings, random);
    session.set_format(now, &format, true);
    session.set_stream_rate(rate);
    session
}

fn stream_settings(rate: SampleRate, random: &mut Random) -> StreamSettings {
    StreamSettings {
        stream_sid: StreamSid::mint(random),
        call_sid: CallSid::mint(random),
        account_sid: AccountSid::parse(ACCOUNT.1).expect("letters and a digit are an account sid"),
        from: NUMBERS.0.to_owned(),
        to: NUMBERS.1.to_owned(),
        custom_parameters: Vec::new(),
        sample_rate: rate,
        chunk_ms: CHUNK_MS,
        dialect: DialectSettings::default(),
        extensions: false,
        binary_media: false,
        bidirectional: true,
        queue_ms: 60_000,
        drain_ms: 0,
        clear_scope: ClearScope::All,
        clear_marks: ClearMarks::Echo,
    }
}
