//! Five ways in which bots send the same 20 s, and an odd one: how often their audio runs dry, how long the holes are, and
//! whether a sample is missing, doubled or out of place.

use std::f64::consts::TAU;
use std::time::{Duration, Instant};

use serde::Serialize;
use trunkstream::base::pcm::SampleRate;
use trunkstream::base::random::Random;
use trunkstream::call::CLOCK_STEP;
use trunkstream::lab::pbx::{Impairment, Link};
use trunkstream::media::codec::{Codec, Pcmu};

use crate::line::{Bridge, FRAME_MS, Sent, Setup, says};

const RATE: SampleRate = SampleRate::Hz8000;
/// What a bot says: a tone of this frequency and peak, this long.
const HZ: f64 = 250.0;
const PEAK: f64 = 10_000.0;
const SPEECH_MS: u32 = 20_000;
/// Half a step of µ-law at that peak.
const LARGEST_ROUNDING: u16 = 256;

/// A way to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// 20 ms every 20 ms.
    RealTime,
    /// Everything at once, 2 s a message.
    Burst,
    /// 100 ms a message, a tenth too slowly.
    NineTenths,
    /// 20 ms a message, each late by 0 to 120 ms, in order.
    Jittered,
    /// 2200 bytes a message, in real time.
    Bytes2200,
    /// 1 to 3999 bytes a message, most of them no whole number of samples or packets, in real time.
    OddSizes,
}

/// All of them.
pub const PATTERNS: [Pattern; 6] =
    [Pattern::RealTime, Pattern::Burst, Pattern::NineTenths, Pattern::Jittered, Pattern::Bytes2200, Pattern::OddSizes];

/// What the caller heard of a bot.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub bot: &'static str,
    /// As the stream's report counts them (RTP-073).
    pub underruns: u64,
    /// Holes between the first sample and the last.
    pub gaps: usize,
    pub gap_ms: f64,
    /// Steps between two samples that the tone does not have.
    pub clicks: usize,
    /// Samples sent and never heard, or heard and never sent.
    pub lost: usize,
    /// From the first message to its first packet.
    pub start_ms: f64,
    pub queue_max_ms: u64,
}

impl Pattern {
    pub fn name(self) -> &'static str {
        match self {
            Self::RealTime => "real time, 20 ms",
            Self::Burst => "burst",
            Self::NineTenths => "0.9 of real time, 100 ms",
            Self::Jittered => "jitter 0-120 ms, 20 ms",
            Self::Bytes2200 => "2200-byte messages",
            Self::OddSizes => "odd sizes",
        }
    }

    /// When each part of `bytes` is sent.
    fn schedule(self, bytes: &[u8], random: &mut Random) -> Vec<(Duration, Vec<u8>)> {
        let real_time = |at: usize| Duration::from_secs_f64(at as f64 / 2.0 / f64::from(RATE.hz()));
        let (mut sent, mut at, mut last) = (Vec::new(), 0, Duration::ZERO);
        while at < bytes.len() {
            let (length, when) = match self {
                Self::RealTime => (320, real_time(at)),
                Self::Burst => (32_000, Duration::ZERO),
                Self::NineTenths => (1600, real_time(at).mul_f64(1.0 / 0.9)),
                Self::Jittered => (320, real_time(at) + Duration::from_micros(u64::from(random.below(120_000)))),
                Self::Bytes2200 => (2200, real_time(at)),
                Self::OddSizes => (1 + random.below(3999) as usize, real_time(at)),
            };
            let end = bytes.len().min(at + length);
            last = last.max(when);
            sent.push((last, bytes[at..end].to_vec()));
            at = end;
        }
        sent
    }
}

/// The worst of ten calls, column by column; clicks and lost samples are those of all.
pub fn worst(pattern: Pattern) -> Outcome {
    let calls = (1..=10).map(|seed| play(pattern, seed));
    let worse = |a: Outcome, b: Outcome| Outcome {
        bot: a.bot,
        underruns: a.underruns.max(b.underruns),
        gaps: a.gaps.max(b.gaps),
        gap_ms: a.gap_ms.max(b.gap_ms),
        clicks: a.clicks + b.clicks,
        lost: a.lost + b.lost,
        start_ms: a.start_ms.max(b.start_ms),
        queue_max_ms: a.queue_max_ms.max(b.queue_max_ms),
    };
    calls.reduce(worse).expect("ten calls")
}

/// Plays `pattern` through a bridge.
pub fn play(pattern: Pattern, seed: u64) -> Outcome {
    let start = Instant::now();
    let mut random = Random::from_number(seed);
    let mut bridge = Bridge::new(start, &Setup { codec: &Pcmu, stream_rate: RATE, chunk_ms: 100, seed });
    let mut line = Link::new(Impairment::default(), random.fork());
    let tone = tone();
    let bytes: Vec<u8> = tone.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let begin = start + Duration::from_micros(1_000_000 + u64::from(random.below(20_000)));
    let mut schedule = pattern.schedule(&bytes, &mut random).into_iter().peekable();
    let mut hearing = Hearing::default();
    let mut now = start;
    while hearing.quiet_packets < 100 || schedule.peek().is_some() {
        while let Some((_, part)) = schedule.next_if(|(when, _)| begin + *when <= now) {
            bridge.stream.handle_text(now, &says(&part));
        }
        bridge.tick(now, &mut line, |sent| {
            hearing.hear(now, sent.audio);
            assert!(is_same(sent), "what leaves is what was pulled");
        });
        while bridge.stream.poll_message().is_some() {}
        now += CLOCK_STEP;
    }
    let report = bridge.stream.report();
    Outcome {
        bot: pattern.name(),
        underruns: report.underruns,
        gaps: hearing.gaps,
        gap_ms: hearing.gap_samples as f64 * 1000.0 / f64::from(RATE.hz()),
        clicks: clicks(&hearing.audio),
        lost: tone.len().abs_diff(hearing.audio.len()),
        start_ms: hearing.first.map_or(f64::INFINITY, |first| (first - begin).as_secs_f64() * 1000.0),
        queue_max_ms: report.queue_max_ms,
    }
}

/// What has been heard, packet by packet.
#[derive(Default)]
struct Hearing {
    audio: Vec<i16>,
    first: Option<Instant>,
    /// Silent samples since the last audio; a gap once audio follows.
    hole: usize,
    gaps: usize,
    gap_samples: usize,
    quiet_packets: u32,
}

impl Hearing {
    fn hear(&mut self, now: Instant, audio: &[i16]) {
        self.quiet_packets = if audio.is_empty() { self.quiet_packets + 1 } else { 0 };
        if !audio.is_empty() {
            self.first.get_or_insert(now);
            self.gaps += usize::from(self.hole > 0 && !self.audio.is_empty());
            self.gap_samples += if self.audio.is_empty() { 0 } else { self.hole };
            self.hole = 0;
            self.audio.extend_from_slice(audio);
        }
        self.hole += RATE.samples(FRAME_MS) - audio.len();
    }
}

/// Whether the RTP payload is the audio, filled up with silence, but for the rounding of µ-law.
fn is_same(sent: &Sent<'_>) -> bool {
    let mut decoded = Vec::new();
    Pcmu.decoder().decode(sent.payload, &mut decoded);
    let audio = sent.audio.iter().copied().chain(std::iter::repeat(0));
    let differs = |(heard, said): (&i16, i16)| heard.abs_diff(said) > LARGEST_ROUNDING;
    decoded.len() == RATE.samples(FRAME_MS) && !decoded.iter().zip(audio).any(differs)
}

fn tone() -> Vec<i16> {
    let step = TAU * HZ / f64::from(RATE.hz());
    (0..RATE.samples(SPEECH_MS)).map(|n| (PEAK * (step * n as f64).sin()).round() as i16).collect()
}

/// Places where the tone bends more than it can: a missing or doubled sample, an exchanged byte. Silence between two parts is
/// no click, what stands on its two sides must fit together.
fn clicks(audio: &[i16]) -> usize {
    let sharpest = PEAK * (TAU * HZ / f64::from(RATE.hz())).powi(2) + 4.0;
    let bend = |part: &[i16]| f64::from(i32::from(part[0]) - 2 * i32::from(part[1]) + i32::from(part[2]));
    audio.windows(3).filter(|part| bend(part).abs() > sharpest).count()
}
