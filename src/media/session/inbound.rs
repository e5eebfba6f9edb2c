//! Towards the bot: packets to 20 ms frames.

use std::time::{Duration, Instant};

use super::PACKET_MAX_MS;
use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch;
use crate::media::codec::{Codec, Decoder};
use crate::media::format::{MediaFormat, MediaSettings};
use crate::media::inband_dtmf::{self, InbandDtmf};
use crate::media::jitter_buffer::{Arrival, JitterBuffer, Player, Settings};
use crate::media::resample::Resampler;
use crate::media::rtp::packet::Packet;
use crate::media::rtp::reception::{Heard, Reception};
use crate::media::telephone_event::{Detector, Digit, EVENT_LEN};

/// What one `pull` yields.
const FRAME_MS: u32 = 20;

/// What a packet is, by its payload type (RTP-004: before anything else).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Audio for the decoder of this number, this many ticks long.
    Audio { decoder: u8, ticks: u32, ticks_max: u32 },
    /// A telephone-event.
    Event,
    /// Comfort noise.
    ComfortNoise,
    /// A payload type that was not negotiated.
    Unknown,
}

impl Kind {
    /// Negotiated, and of a size that such a packet can have (RTP-012).
    pub fn is_plausible(self, packet: &Packet<'_>) -> bool {
        match self {
            Self::Audio { ticks, ticks_max, .. } => (1..=ticks_max).contains(&ticks),
            Self::Event => packet.payload.len() >= EVENT_LEN,
            Self::ComfortNoise => !packet.payload.is_empty(),
            Self::Unknown => false,
        }
    }
}

/// What a packet brought.
pub enum Found {
    /// A telephone-event.
    Event,
    /// A digit has ended.
    Digit(Digit),
    /// Another SSRC speaks.
    SsrcChanged,
}

/// A payload type and its decoder.
struct Decoding {
    payload_type: u8,
    codec: &'static dyn Codec,
    decoder: Box<dyn Decoder>,
}

/// All codecs of the call so far: packets of the one before are still on their way after a re-INVITE (SDP-012).
#[derive(Default)]
struct Decoders(Vec<Decoding>);

/// Receiving half of a session.
#[derive(Debug)]
pub struct Inbound {
    buffering: Settings,
    decoders: Decoders,
    codec_rate: SampleRate,
    clock_rate: u32,
    event_payload_type: Option<u8>,
    noise_payload_type: Option<u8>,
    buffer: JitterBuffer,
    /// When the newest audio packet came.
    last_arrival: Option<Instant>,
    /// What buffers of other clocks have counted.
    counts_before: BufferCounts,
    stream_rate: SampleRate,
    resampler: Option<Resampler>,
    /// A frame at the codec's rate on its way to the resampler.
    frame: Vec<i16>,
    /// Caller audio is not to be heard: hold, or the peer may not send.
    pub silent: bool,
    /// Audio beside a digit is muted until then.
    muted_until: Option<Instant>,
    pub reception: Reception,
    pub detector: Detector,
    /// Looks for digits in the audio, where nothing else brings them (RTP-060).
    tones: Option<Box<InbandDtmf>>,
    pub duplicates: u64,
    pub discarded: u64,
}

/// What the jitter buffer has counted, in milliseconds where it is time.
#[derive(Debug, Clone, Copy, Default)]
pub struct BufferCounts {
    pub late: u64,
    pub discarded: u64,
    pub concealed_ms: u64,
    pub inserted: u64,
    pub removed: u64,
    pub target_ms: u32,
    pub target_max_ms: u32,
}

impl Inbound {
    pub fn new(settings: &MediaSettings, noise_seed: u32) -> Self {
        let (clock_rate, rate) = (8000, SampleRate::Hz8000);
        let buffering = Settings { delay: settings.jitter_delay, fill: settings.fill, noise_seed };
        Self {
            buffering,
            decoders: Decoders::default(),
            codec_rate: rate,
            clock_rate,
            event_payload_type: None,
            noise_payload_type: None,
            buffer: JitterBuffer::new(clock_rate, rate, buffering),
            last_arrival: None,
            counts_before: BufferCounts::default(),
            stream_rate: rate,
            resampler: None,
            frame: Vec::new(),
            silent: true,
            muted_until: None,
            reception: Reception::default(),
            detector: Detector::new(clock_rate),
            tones: None,
            duplicates: 0,
            discarded: 0,
        }
    }

    pub fn set_format(&mut self, format: &MediaFormat, codec: &'static dyn Codec) {
        self.decoders.add(format.payload_type, codec);
        let (clock_rate, rate) = (codec.format().clock_rate, codec.sample_rate());
        if (clock_rate, rate) != (self.clock_rate, self.codec_rate) {
            self.counts_before = self.buffer_counts();
            (self.clock_rate, self.codec_rate) = (clock_rate, rate);
            self.buffer = JitterBuffer::new(clock_rate, rate, self.buffering);
            self.resampler = Resampler::new(rate, self.stream_rate);
        }
        self.noise_payload_type = format.comfort_noise;
        let (event_payload_type, event_clock) = format.telephone_event.unzip();
        self.detector.set_clock_rate(event_clock.unwrap_or(clock_rate));
        self.event_payload_type = event_payload_type;
    }

    /// Whether digits are looked for in the audio. A change of the codec's rate begins anew.
    pub fn listens_for_tones(&self) -> bool {
        self.tones.is_some()
    }

    pub fn listen_for_tones(&mut self, wanted: bool, at_start: bool) {
        let rate = self.codec_rate;
        let kept = self.tones.take().filter(|tones| tones.rate() == rate);
        self.tones = wanted.then(|| kept.unwrap_or_else(|| Box::new(InbandDtmf::new(rate, at_start))));
    }

    pub fn set_stream_rate(&mut self, rate: SampleRate) {
        self.stream_rate = rate;
        self.resampler = Resampler::new(self.codec_rate, rate);
    }

    /// How long a packet waits in the buffer.
    pub fn playout_delay(&self) -> Duration {
        self.buffer.waiting_time()
    }

    pub fn buffer_counts(&self) -> BufferCounts {
        let (before, counts) = (self.counts_before, self.buffer.counts());
        let (target_ms, target_max_ms) = self.buffer.target_ms();
        BufferCounts {
            late: before.late + counts.late,
            discarded: before.discarded + counts.discarded,
            concealed_ms: before.concealed_ms + self.buffer.concealed_ms(),
            inserted: before.inserted + counts.inserted,
            removed: before.removed + counts.removed,
            target_ms,
            target_max_ms: target_max_ms.max(before.target_max_ms),
        }
    }

    /// Reads ahead what [`Self::handle`] and [`Self::pull`] need.
    pub fn prefetch(&self) {
        touch((self.silent, self.muted_until, self.discarded, self.clock_rate));
        touch((self.detector.ignored, self.detector.is_open()));
        touch(self.decoders.0.last().map(|decoding| decoding.payload_type));
        touch((self.reception.ssrc_changes, self.reception.lost(), self.reception.jitter.ticks()));
        self.buffer.prefetch();
    }

    pub fn kind(&self, packet: &Packet<'_>) -> Kind {
        let payload_type = Some(packet.payload_type);
        if payload_type == self.event_payload_type {
            return Kind::Event;
        }
        if payload_type == self.noise_payload_type {
            return Kind::ComfortNoise;
        }
        let ticks_max = self.clock_rate / 1000 * PACKET_MAX_MS;
        self.decoders.find(packet.payload_type).map_or(Kind::Unknown, |(decoder, codec)| Kind::Audio {
            decoder,
            ticks: codec.ticks(packet.payload),
            ticks_max,
        })
    }

    pub fn handle(&mut self, now: Instant, kind: Kind, packet: &Packet<'_>, found: &mut impl FnMut(Found)) {
        match kind {
            Kind::Audio { decoder, ticks, .. } if kind.is_plausible(packet) => {
                self.detector.handle_audio(now).into_iter().for_each(|digit| found(Found::Digit(digit)));
                self.handle_audio(now, (decoder, ticks), packet, found);
            }
            Kind::Event => {
                found(Found::Event);
                self.detector.handle(now, packet, |digit| found(Found::Digit(digit)));
                // What comes while the event lasts is played after its wait, and up to a frame after that.
                self.muted_until = Some(now + self.buffer.waiting_time() + Duration::from_millis(u64::from(FRAME_MS)));
                let sequence = self.reception.hear_other(packet);
                self.buffer.note_quiet(sequence);
            }
            Kind::ComfortNoise => {
                self.buffer.comfort().describe(packet.payload);
                let sequence = self.reception.hear_other(packet);
                self.buffer.note_quiet(sequence);
            }
            Kind::Audio { .. } | Kind::Unknown => self.discarded += 1,
        }
    }

    fn handle_audio(&mut self, now: Instant, of: (u8, u32), packet: &Packet<'_>, found: &mut impl FnMut(Found)) {
        let sequence = match self.reception.hear(now, packet) {
            Heard::Play(sequence) => sequence,
            Heard::PlayRestarted(sequence) => {
                self.buffer.new_source();
                sequence
            }
            Heard::PlayNewSsrc(sequence) => {
                self.buffer.new_source();
                found(Found::SsrcChanged);
                sequence
            }
            Heard::Duplicate => {
                self.duplicates += 1;
                return;
            }
            Heard::Discard => {
                self.discarded += 1;
                return;
            }
        };
        self.reception.jitter.observe(now, packet.timestamp, self.clock_rate);
        self.last_arrival = Some(now);
        let Packet { timestamp, marker, payload, .. } = *packet;
        self.buffer.insert(now, &Arrival { sequence, timestamp, marker, ticks: of.1, decoder: of.0, payload });
    }

    /// Appends 20 ms at the stream's rate to `out`. A digit in the audio that has ended, or begun.
    pub fn pull(&mut self, now: Instant, dtmf_mute: bool, out: &mut Vec<i16>) -> Option<Digit> {
        let Self { buffer, decoders, reception, resampler, frame, tones, .. } = self;
        let mut player = Playing { decoders, reception };
        let start = out.len();
        let digit = self.detector.is_open() || self.muted_until.is_some_and(|until| now < until);
        let silent = self.silent;
        let quieten = |buffer: &mut JitterBuffer, tone: bool, audio: &mut [i16]| {
            if silent {
                buffer.comfort().replace(audio);
            } else if dtmf_mute && (digit || tone) {
                audio.fill(0);
            }
        };
        let Some(resampler) = resampler else {
            buffer.pull(now, &mut player, out);
            let (found, tone) = hear_tones(tones, now, &out[start..]);
            quieten(buffer, tone, &mut out[start..]);
            return found;
        };
        frame.clear();
        buffer.pull(now, &mut player, frame);
        let (found, tone) = hear_tones(tones, now, frame);
        quieten(buffer, tone, frame);
        resampler.process(frame, out);
        out.resize(start + self.stream_rate.samples(FRAME_MS), 0);
        found
    }

    pub fn received_until(&self, now: Instant) -> Instant {
        let (ahead, behind) = self.buffer.delay();
        self.last_arrival.and_then(|last| last.checked_sub(ahead)).map_or(now, |last| (last + behind).min(now))
    }

    pub fn skip(&mut self, now: Instant, ms: u32) {
        self.buffer.skip(now, ms);
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
    }
}

/// The digit that `frame` ends or begins, and whether it is part of one.
fn hear_tones(tones: &mut Option<Box<InbandDtmf>>, now: Instant, frame: &[i16]) -> (Option<Digit>, bool) {
    let Some(tones) = tones else { return (None, false) };
    let (found, is_tone) = tones.hear(frame);
    let digit = found.map(|inband_dtmf::Found { digit, duration_ms }| {
        let length = Duration::from_millis(u64::from(duration_ms));
        Digit { digit, duration_ms, began: now.checked_sub(length).unwrap_or(now) }
    });
    (digit, is_tone)
}

struct Playing<'a> {
    decoders: &'a mut Decoders,
    reception: &'a Reception,
}

impl Player for Playing<'_> {
    fn decode(&mut self, decoder: u8, payload: &[u8], out: &mut Vec<i16>) {
        if let Some(decoding) = self.decoders.0.get_mut(usize::from(decoder)) {
            decoding.decoder.decode(payload, out);
        }
    }

    fn conceal(&mut self, decoder: u8, samples: usize, out: &mut Vec<i16>) -> bool {
        let decoding = self.decoders.0.get_mut(usize::from(decoder));
        decoding.is_some_and(|decoding| decoding.decoder.conceal(samples, out))
    }

    fn recover(&mut self, decoder: u8, next: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        let decoding = self.decoders.0.get_mut(usize::from(decoder));
        decoding.is_some_and(|decoding| decoding.decoder.recover(next, samples, out))
    }

    fn missing_between(&self, after: u64, before: u64) -> u64 {
        self.reception.missing_between(after, before)
    }
}

impl Decoders {
    /// A payload type keeps its meaning for the whole call (SDP-005); the latest of a number counts all the same.
    fn add(&mut self, payload_type: u8, codec: &'static dyn Codec) {
        let known = self
            .0
            .last()
            .is_some_and(|last| last.payload_type == payload_type && last.codec.format() == codec.format());
        if !known {
            // Only the codec before this one can still be on its way. Numbers of decoders do not move while held: the
            // list only grows, by one for each change of codec, of which a call has few.
            self.0.push(Decoding { payload_type, codec, decoder: codec.decoder() });
        }
    }

    /// The decoder of a payload type that runs on the clock of the present codec.
    fn find(&self, payload_type: u8) -> Option<(u8, &'static dyn Codec)> {
        let present = self.0.last()?.codec;
        let index = self.0.iter().rposition(|decoding| decoding.payload_type == payload_type)?;
        let codec = self.0[index].codec;
        let same_clock =
            codec.format().clock_rate == present.format().clock_rate && codec.sample_rate() == present.sample_rate();
        same_clock.then_some((u8::try_from(index).ok()?, codec))
    }
}

impl std::fmt::Debug for Decoders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|decoding| decoding.payload_type)).finish()
    }
}
