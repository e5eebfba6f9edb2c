//! Towards the caller: PCM to packets (RTP-031 to RTP-033).

use std::time::Instant;

use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch;
use crate::base::random::Random;
use crate::config::IdleTx;
use crate::media::codec::{Codec, Encoder, Pcmu};
use crate::media::format::MediaFormat;
use crate::media::resample::Resampler;
use crate::media::rtp::packet::Packet;
use crate::media::rtp::rtcp::Sent;
use crate::media::telephone_event::{Outgoing, Sender};

/// Silence is sent for this long after a start, a new format and the last sound, whatever is sent while idle: it opens the
/// way through NAT (RTP-010).
const HANGOVER_MS: u32 = 200;
/// Comfort noise is repeated after this.
const NOISE_EVERY_MS: u32 = 200;
/// The noise we announce, in dB below overload: a quiet room (RFC 3389 section 3.1).
const NOISE_LEVEL: u8 = 65;

/// Packets of silence after which the resampler holds nothing but silence.
const SETTLED: u32 = 3;
/// The delay of a resampler in microseconds.
const RESAMPLER_DELAY_US: usize = 2_500;

/// What goes out when there is nothing to say.
enum Idle {
    /// Silence, as audio.
    Silence,
    /// A packet of comfort noise, of this payload type.
    Noise(u8),
    /// No packet.
    Nothing,
}

/// Sending half of a session.
pub struct Outbound {
    random: Random,
    codec: &'static dyn Codec,
    encoder: Box<dyn Encoder>,
    payload_type: u8,
    ptime_ms: u32,
    stream_rate: SampleRate,
    resampler: Option<Resampler>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// The next packet comes after a gap: M is set.
    gap: bool,
    idle_tx: IdleTx,
    noise_payload_type: Option<u8>,
    /// Milliseconds since the last sound, or since the start.
    quiet_ms: u32,
    /// Payload type and clock of telephone-events.
    events: Option<(u8, u32)>,
    digits: Sender,
    packets: u64,
    octets: u64,
    /// Packets of silence in a row.
    silent: u32,
    /// Samples on their way to the resampler and to the encoder.
    input: Vec<i16>,
    samples: Vec<i16>,
}

impl Outbound {
    /// SSRC, sequence and timestamp begin at random (RTP-031).
    pub fn new(idle_tx: IdleTx, mut random: Random) -> Self {
        Self {
            codec: &Pcmu,
            encoder: Pcmu.encoder(),
            payload_type: 0,
            ptime_ms: 20,
            stream_rate: SampleRate::Hz8000,
            resampler: None,
            ssrc: random.u32(),
            // Under 2^15, so that SRTP's rollover counter begins right.
            sequence: random.u16() >> 1,
            timestamp: random.u32(),
            gap: true,
            idle_tx,
            noise_payload_type: None,
            quiet_ms: 0,
            events: None,
            digits: Sender::new(8000),
            packets: 0,
            octets: 0,
            silent: SETTLED,
            input: Vec::new(),
            samples: Vec::new(),
            random,
        }
    }

    pub fn set_format(&mut self, format: &MediaFormat, codec: &'static dyn Codec) {
        if codec.format().clock_rate != self.codec.format().clock_rate {
            // Timestamps of two clocks cannot be told apart within one SSRC (RFC 3550, 5.2).
            (self.ssrc, self.timestamp) = (self.random.u32(), self.random.u32());
            self.gap = true;
        }
        if codec.format() != self.codec.format() {
            self.encoder = codec.encoder();
        }
        if codec.sample_rate() != self.codec.sample_rate() {
            self.resampler = Resampler::new(self.stream_rate, codec.sample_rate());
        }
        self.codec = codec;
        self.payload_type = format.payload_type;
        self.ptime_ms = u32::from(codec.format().packet_time(format.ptime_ms));
        if format.telephone_event != self.events {
            self.digits = Sender::new(format.telephone_event.map_or(self.clock_rate(), |(_, clock_rate)| clock_rate));
        }
        self.events = format.telephone_event;
        self.noise_payload_type = format.comfort_noise;
        self.quiet_ms = 0;
    }

    pub fn set_stream_rate(&mut self, rate: SampleRate) {
        self.stream_rate = rate;
        self.resampler = Resampler::new(rate, self.codec.sample_rate());
        self.silent = SETTLED;
    }

    /// Reads ahead what [`Self::packet`] needs.
    pub fn prefetch(&self) {
        touch((self.ssrc, self.sequence, self.packets, self.resampler.is_some()));
        touch((self.digits.is_idle(), self.samples.first().copied()));
    }

    pub fn clock_rate(&self) -> u32 {
        self.codec.format().clock_rate
    }

    pub fn sent(&self) -> Sent {
        Sent { ssrc: self.ssrc, timestamp: self.timestamp, packets: self.packets, octets: self.octets }
    }

    pub fn packet_samples(&self) -> usize {
        self.stream_rate.samples(self.ptime_ms)
    }

    /// Samples at the stream's rate by which the resampler is late.
    pub fn delay(&self) -> usize {
        self.resampler.as_ref().map_or(0, |_| self.stream_rate.hz() as usize / 1000 * RESAMPLER_DELAY_US / 1000)
    }

    /// Writes the next packet to `out`; false where nothing is sent and only time goes on.
    pub fn packet(&mut self, _now: Instant, audio: &[i16], may_send: bool, out: &mut Vec<u8>) -> bool {
        let timestamp = self.timestamp;
        let ticks = self.ticks();
        self.timestamp = timestamp.wrapping_add(ticks);
        if !may_send {
            self.gap = true;
            self.quiet_ms = 0;
            self.clear();
            return false;
        }
        let (sequence, ssrc) = (self.sequence, self.ssrc);
        let header =
            |marker, payload_type, timestamp| Packet { marker, payload_type, sequence, timestamp, ssrc, payload: &[] };
        match (self.digits.next(ticks), self.events) {
            (Outgoing::Event { first, ago, event }, Some((payload_type, _))) => {
                header(first, payload_type, timestamp.wrapping_sub(ago)).write_header(out);
                out.extend_from_slice(&event.octets());
                // Audio after the event is a new talkspurt.
                self.gap = true;
                self.quiet_ms = 0;
                self.clear();
            }
            (step, _) => {
                let audio = if step == Outgoing::Idle { audio } else { &[] };
                match self.idle(audio) {
                    Idle::Silence => {
                        header(self.gap, self.payload_type, timestamp).write_header(out);
                        self.gap = false;
                        self.encode(audio, out);
                    }
                    Idle::Noise(payload_type) => {
                        header(false, payload_type, timestamp).write_header(out);
                        out.push(NOISE_LEVEL);
                        self.gap = true;
                    }
                    Idle::Nothing => {
                        self.gap = true;
                        return false;
                    }
                }
            }
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.octets += (out.len() - crate::media::rtp::packet::HEADER_LEN) as u64;
        true
    }

    /// What goes out where `audio` is empty; `Silence` where it is not.
    fn idle(&mut self, audio: &[i16]) -> Idle {
        if !audio.is_empty() {
            self.quiet_ms = 0;
            return Idle::Silence;
        }
        let quiet_ms = self.quiet_ms;
        self.quiet_ms = quiet_ms.saturating_add(self.ptime_ms);
        let Some(idle_ms) = quiet_ms.checked_sub(HANGOVER_MS) else { return Idle::Silence };
        match (self.idle_tx, self.noise_payload_type) {
            (IdleTx::Silence, _) | (IdleTx::ComfortNoise, None) => Idle::Silence,
            (IdleTx::ComfortNoise, Some(payload_type)) if idle_ms % NOISE_EVERY_MS < self.ptime_ms => {
                Idle::Noise(payload_type)
            }
            (IdleTx::ComfortNoise, Some(_)) | (IdleTx::Nothing, _) => Idle::Nothing,
        }
    }

    /// Appends one packet time of `audio`, filled up with silence, to `out`.
    fn encode(&mut self, audio: &[i16], out: &mut Vec<u8>) {
        let wanted = self.packet_samples();
        let audio = &audio[..audio.len().min(wanted)];
        self.silent = if audio.is_empty() { self.silent.saturating_add(1) } else { 0 };
        let samples = self.codec.sample_rate().samples(self.ptime_ms);
        self.samples.clear();
        match &mut self.resampler {
            Some(resampler) if self.silent <= SETTLED => {
                self.input.clear();
                self.input.extend_from_slice(audio);
                self.input.resize(wanted, 0);
                resampler.process(&self.input, &mut self.samples);
            }
            Some(_) => {}
            None => self.samples.extend_from_slice(audio),
        }
        self.samples.resize(samples, 0);
        self.encoder.encode(&self.samples, out);
    }

    fn ticks(&self) -> u32 {
        self.clock_rate() / 1000 * self.ptime_ms
    }

    pub fn skip(&mut self, count: u32) {
        self.timestamp = self.timestamp.wrapping_add(self.ticks().wrapping_mul(count));
        self.gap |= count > 0;
    }

    pub fn clear(&mut self) {
        // Reset once: a hold or a digit clears at every packet.
        if let Some(resampler) = self.resampler.as_mut().filter(|_| self.silent < SETTLED) {
            resampler.reset();
        }
        self.silent = SETTLED;
    }

    pub fn send_digits(&mut self, digits: &str) -> bool {
        let negotiated = self.events.is_some();
        if negotiated {
            self.digits.queue(digits);
        }
        negotiated
    }

    pub fn is_sending_digits(&self) -> bool {
        !self.digits.is_idle()
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbound({} of {} ms, {} packets)", self.codec.format().encoding_name, self.ptime_ms, self.packets)
    }
}
