//! What the bridge adds: from a packet of the caller to the message with its audio, and from a bot's message to its packet.

use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use trunkstream::base::pcm::SampleRate;
use trunkstream::base::random::Random;
use trunkstream::call::CLOCK_STEP;
use trunkstream::lab::pbx::{Impairment, Link};
use trunkstream::media::codec::{Codec, Pcmu};

use crate::line::{Bridge, FRAME, Setup, Telephone, says};

const RATE: SampleRate = SampleRate::Hz8000;
const CALLS: u64 = 50;
/// Frames that a caller says in a call: 20 s.
const FRAMES: usize = 1000;
/// A caller speaks this many frames and is quiet for as many.
const TURN: usize = 25;
/// A frame is known by its value: of the last 400 ms no two are alike, in a turn or in a pause.
const ALIKE: usize = 20;
/// µ-law codes of a turn's frames; a pause has the 15 smallest positive ones and then negative ones.
const LOUD: u8 = 0x80;
const QUIET: [u8; 2] = [0xF0, 0x70];

/// A distribution, in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Distribution {
    pub what: String,
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    pub count: usize,
}

impl Distribution {
    fn of(what: String, mut delays: Vec<f64>) -> Self {
        delays.sort_by(f64::total_cmp);
        let at = |share: f64| delays.get((delays.len() as f64 * share) as usize).or(delays.last()).copied();
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| at(share).unwrap_or(f64::NAN));
        Self { what, p50, p99, max, count: delays.len() }
    }
}

/// From the arrival of a packet to the message that its last sample completes. Nothing is lost; each packet is late by up to
/// `jitter_ms`. 50 calls, each with its own place on the media clock, 20 s each.
pub fn to_bot(chunk_ms: u32, jitter_ms: u64) -> Distribution {
    let what = format!("caller to bot, {chunk_ms} ms chunks, {jitter_ms} ms jitter");
    Distribution::of(what, (1..=CALLS).flat_map(|seed| one_to_bot(chunk_ms, jitter_ms, seed)).collect())
}

fn one_to_bot(chunk_ms: u32, jitter_ms: u64, seed: u64) -> Vec<f64> {
    let start = Instant::now();
    let mut random = Random::from_number(seed);
    let mut bridge = Bridge::new(start, &Setup { codec: &Pcmu, stream_rate: RATE, chunk_ms, seed });
    let impairment = Impairment { loss_percent: 0.0, jitter: Duration::from_millis(jitter_ms) };
    let (mut line, mut telephone) = (Link::new(impairment, random.fork()), Telephone::new(&Pcmu));
    let begin = start + Duration::from_micros(u64::from(random.below(20_000)));
    let values = values();
    let (mut now, mut said, mut delays) = (start, 0, Vec::new());
    while said < FRAMES {
        while begin + FRAME * said as u32 <= now {
            telephone.say(begin + FRAME * said as u32, &[values[said]; 160], &mut line);
            said += 1;
        }
        bridge.tick(now, &mut line, |_| {});
        while let Some(text) = bridge.stream.poll_message() {
            // The frame that the message ends with is the latest one of its value. It came when it was said: lateness on
            // the line is not the bridge's doing, but waiting for it is.
            let last = last_sample(&text);
            let known = said.saturating_sub(ALIKE)..said;
            let frame = last.and_then(|last| known.rev().find(|frame| values[*frame] == last));
            delays.extend(frame.map(|frame| (now - (begin + FRAME * frame as u32)).as_secs_f64() * 1000.0));
        }
        now += CLOCK_STEP;
    }
    delays
}

/// The level of each frame.
fn values() -> Vec<i16> {
    let mut decoder = Pcmu.decoder();
    let mut level = |code: u8| {
        let mut sample = Vec::new();
        decoder.decode(&[code], &mut sample);
        sample[0]
    };
    let code = |n: usize| match (n / TURN % 2, (n % TURN) as u8) {
        (0, n) => LOUD + n,
        (_, n @ 0..15) => QUIET[0] + n,
        (_, n) => QUIET[1] + n - 15,
    };
    (0..=FRAMES).map(|n| level(code(n))).collect()
}

fn last_sample(text: &str) -> Option<i16> {
    let message: Value = serde_json::from_str(text).ok()?;
    let pcm = base64_simd::STANDARD.decode_to_vec(message["media"]["payload"].as_str()?).ok()?;
    let [.., low, high] = pcm[..] else { return None };
    Some(i16::from_le_bytes([low, high]))
}

/// From the first message of a turn of the bot to the packet with its first sample: `message_ms` a message, in real time.
/// 2000 turns, each at its own place on the media clock.
pub fn to_caller(message_ms: u32) -> Distribution {
    let start = Instant::now();
    let mut random = Random::from_number(u64::from(message_ms));
    let mut bridge = Bridge::new(start, &Setup { codec: &Pcmu, stream_rate: RATE, chunk_ms: 100, seed: 1 });
    let mut line = Link::new(Impairment::default(), random.fork());
    let message = says(&vec![1; RATE.samples(message_ms) * 2]);
    let mut delays = Vec::new();
    let mut now = start;
    for _ in 0..2000 {
        let begin = now + Duration::from_micros(u64::from(random.below(20_000)));
        let (mut sent, mut heard) = (0, None);
        // A turn of 200 ms, and a pause that makes the next one a new sentence.
        while now < begin + Duration::from_millis(1000) {
            while sent * message_ms < 200 && begin + Duration::from_millis(u64::from(sent * message_ms)) <= now {
                let at = begin + Duration::from_millis(u64::from(sent * message_ms));
                bridge.stream.handle_text(at, &message);
                sent += 1;
            }
            bridge.tick(now, &mut line, |packet| {
                heard = heard.or((!packet.audio.is_empty()).then_some(now));
            });
            while bridge.stream.poll_message().is_some() {}
            now += CLOCK_STEP;
        }
        delays.extend(heard.map(|heard: Instant| (heard - begin).as_secs_f64() * 1000.0));
    }
    Distribution::of(format!("bot to RTP, {message_ms} ms messages"), delays)
}
