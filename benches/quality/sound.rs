//! Speech from a caller through the bridge to an echo bot and back, over lines of all kinds; and what it is judged against.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;
use trunkstream::base::pcm::SampleRate;
use trunkstream::base::random::Random;
use trunkstream::call::CLOCK_STEP;
use trunkstream::lab::pbx::{Impairment, Link};
use trunkstream::lab::wav;
use trunkstream::media::codec::{CODECS, Codec};
use trunkstream::stream::StreamSession;

use crate::Failure;
use crate::line::{Bridge, FRAME, FRAME_MS, Setup, Telephone};
use crate::voice::Voice;

const LOSSES: [u32; 6] = [0, 1, 3, 5, 10, 20];
const JITTERS_MS: [u64; 3] = [0, 20, 60];
/// Lines of each kind: another one loses other packets.
const LINES: u64 = 2;
/// The kind that a gate is about has more: which packets are lost moves the PESQ of a recording by 0.25, and a mean over three
/// voices is to be known to 0.04.
const GATE_LOSS: u32 = 5;
const GATE_LINES: u64 = 14;
/// What the bridge sends to bots by default.
const CHUNK_MS: u32 = 100;
/// The call goes on for this long after the last word, so that it is heard.
const TAIL: Duration = Duration::from_millis(1500);

/// One recording of what the caller heard.
#[derive(Serialize)]
pub struct Take {
    codec: String,
    /// Hz of the codec, and of the recording.
    rate: u32,
    voice: String,
    line: u64,
    /// `bridge`; `reference`: the codec twice, no network; `silence`: the same, lost packets are silence.
    way: &'static str,
    loss_percent: u32,
    jitter_ms: u64,
    file: String,
    /// What the bridge's media report says.
    concealed_ms: u64,
    late: u64,
    /// What its stream report says.
    underruns: u64,
}

/// A codec over a line.
struct Condition<'a> {
    codec: &'static dyn Codec,
    voice: &'a Voice,
    line: u64,
    loss_percent: u32,
    jitter_ms: u64,
}

/// Every codec of the list, every voice, every line; recordings go to `folder`. Half of the codecs on a thread each.
pub fn record(folder: &Path, voices: &[Voice]) -> Result<Vec<Take>, Failure> {
    let halves = CODECS.chunks(CODECS.len().div_ceil(2));
    std::thread::scope(|scope| {
        let threads: Vec<_> = halves.map(|codecs| scope.spawn(|| record_half(folder, codecs, voices))).collect();
        let takes = threads.into_iter().map(|thread| thread.join().expect("a thread that does not panic"));
        takes.collect::<Result<Vec<_>, _>>().map(|halves| halves.into_iter().flatten().collect())
    })
}

fn record_half(folder: &Path, codecs: &[&'static dyn Codec], voices: &[Voice]) -> Result<Vec<Take>, Failure> {
    let mut takes = Vec::new();
    for codec in codecs {
        for voice in voices {
            let at = |line, loss_percent, jitter_ms| Condition { codec: *codec, voice, line, loss_percent, jitter_ms };
            takes.push(at(1, 0, 0).keep(folder, "reference", twice)?);
            for loss in LOSSES {
                let lines = if loss == GATE_LOSS { GATE_LINES } else { LINES };
                for line in 1..=lines {
                    if loss > 0 {
                        takes.push(at(line, loss, 0).keep(folder, "silence", twice)?);
                    }
                    for jitter in JITTERS_MS.into_iter().filter(|jitter| line <= LINES || *jitter == 0) {
                        takes.push(at(line, loss, jitter).keep(folder, "bridge", through_the_bridge)?);
                    }
                }
            }
        }
    }
    Ok(takes)
}

/// What came of one condition.
#[derive(Default)]
struct Heard {
    audio: Vec<i16>,
    concealed_ms: u64,
    late: u64,
    underruns: u64,
}

impl Condition<'_> {
    fn rate(&self) -> SampleRate {
        self.codec.sample_rate()
    }

    /// The codec with its rate where another of the same name is in the list.
    fn codec_name(&self) -> String {
        let name = self.codec.format().encoding_name;
        let same = CODECS.iter().filter(|codec| codec.format().encoding_name == name).count();
        if same > 1 { format!("{name}-{}", self.rate().hz() / 1000) } else { name.to_owned() }
    }

    /// The same packets are lost whatever the codec; another voice, line or share has other losses.
    fn link(&self) -> Link {
        let jitter = Duration::from_millis(self.jitter_ms);
        let impairment = Impairment { loss_percent: f64::from(self.loss_percent), jitter };
        let seed = (self.voice.number * 100 + self.line) * 100 + u64::from(self.loss_percent);
        Link::new(impairment, Random::from_number(seed))
    }

    fn keep(&self, folder: &Path, way: &'static str, run: fn(&Self) -> Heard) -> Result<Take, Failure> {
        let heard = run(self);
        let Self { line, loss_percent, jitter_ms, .. } = *self;
        let (codec, voice) = (self.codec_name(), self.voice.name.clone());
        let file = format!("{codec}_{voice}_{way}_line{line}_loss{loss_percent}_jitter{jitter_ms}.wav");
        wav::write(&folder.join(&file), self.rate(), &heard.audio)?;
        let Heard { concealed_ms, late, underruns, .. } = heard;
        let rate = self.rate().hz();
        Ok(Take { codec, rate, voice, line, way, loss_percent, jitter_ms, file, concealed_ms, late, underruns })
    }
}

/// The codec twice, without any network: the best that two legs can be. What the line loses is silence.
fn twice(condition: &Condition<'_>) -> Heard {
    let Condition { codec, voice, .. } = condition;
    let (mut line, mut now) = (condition.link(), Instant::now());
    let (mut first, mut second) = (Telephone::new(*codec), codec.encoder());
    let (mut ear, mut last_ear) = (codec.decoder(), codec.decoder());
    let (mut once, mut payload, mut heard) = (Vec::new(), Vec::new(), Heard::default());
    for frame in voice.frames(condition.rate()) {
        first.say(now, &frame, &mut line);
        once.clear();
        match line.poll(now) {
            Some((_, packet)) => ear.decode(&packet[trunkstream::media::rtp::packet::HEADER_LEN..], &mut once),
            None => once.resize(frame.len(), 0),
        }
        payload.clear();
        second.encode(&once, &mut payload);
        last_ear.decode(&payload, &mut heard.audio);
        now += FRAME;
    }
    heard
}

/// Caller, bridge, echo bot, bridge, caller. The line is bad towards the bridge alone: what the caller's own telephone
/// makes of a bad line is not the bridge's doing.
fn through_the_bridge(condition: &Condition<'_>) -> Heard {
    let Condition { codec, voice, .. } = condition;
    let stream_rate = condition.rate().min(SampleRate::Hz16000);
    let setup = Setup { codec: *codec, stream_rate, chunk_ms: CHUNK_MS, seed: voice.number };
    let start = Instant::now();
    let mut bridge = Bridge::new(start, &setup);
    let (mut line, mut telephone, mut ear) = (condition.link(), Telephone::new(*codec), codec.decoder());
    let frames: Vec<_> = voice.frames(condition.rate()).collect();
    let phase = Duration::from_micros(u64::from(Random::from_number(voice.number).below(20_000)));
    let mut heard = Heard::default();
    let (mut now, mut said) = (start, 0);
    let end = start + FRAME * frames.len() as u32 + TAIL;
    while now < end {
        while said < frames.len() && start + phase + FRAME * said as u32 <= now {
            telephone.say(start + phase + FRAME * said as u32, &frames[said], &mut line);
            said += 1;
        }
        bridge.tick(now, &mut line, |sent| ear.decode(sent.payload, &mut heard.audio));
        echo(now, &mut bridge.stream);
        now += CLOCK_STEP;
    }
    let report = bridge.media.report(now);
    let underruns = bridge.stream.report().underruns;
    Heard { concealed_ms: report.concealed_ms, late: report.late, underruns, ..heard }
}

/// The bot sends back what it hears, as it is.
fn echo(now: Instant, stream: &mut StreamSession) {
    while let Some(text) = stream.poll_message() {
        let message: Value = serde_json::from_str(&text).expect("the bridge writes JSON");
        if message["event"] == "media" {
            stream.handle_text(now, &text);
        }
    }
}

/// Frames of 20 ms of a voice.
impl Voice {
    fn frames(&self, rate: SampleRate) -> impl Iterator<Item = Vec<i16>> {
        let length = rate.samples(FRAME_MS);
        self.at(rate).chunks_exact(length).map(<[i16]>::to_vec)
    }
}
