//! Towards the caller: PCM to packets (RTP-031 to RTP-033).

use std::time::Instant;

use crate::base::pcm::SampleRate;
use crate::base::prefetch::touch;
use crate::base::random::Random;
use crate::media::codec::{Codec, Encoder, Pcmu};
use crate::media::format::MediaFormat;
use crate::media::resample::Resampler;
use crate::media::rtp::packet::Packet;
use crate::media::rtp::rtcp::Sent;
use crate::media::telephone_event::{Outgoing, Sender};

/// Packets of silence after which the resampler holds nothing but silence.
const SETTLED: u32 = 3;

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
    event_payload_type: Option<u8>,
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
    pub fn new(mut random: Random) -> Self {
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
            event_payload_type: None,
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
        self.ptime_ms = (u32::from(format.ptime_ms) / 10 * 10).clamp(10, 60);
        let (event_payload_type, event_clock) = format.telephone_event.unzip();
        if event_payload_type != self.event_payload_type {
            self.digits = Sender::new(event_clock.unwrap_or(self.clock_rate()));
        }
        self.event_payload_type = event_payload_type;
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

    /// Writes the next packet to `out`; false where nothing is sent and only time goes on.
    pub fn packet(&mut self, _now: Instant, audio: &[i16], may_send: bool, out: &mut Vec<u8>) -> bool {
        let timestamp = self.timestamp;
        let ticks = self.ticks();
        self.timestamp = timestamp.wrapping_add(ticks);
        if !may_send {
            self.gap = true;
            self.clear();
            return false;
        }
        let header = |marker, payload_type, timestamp| Packet {
            marker,
            payload_type,
            sequence: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            payload: &[],
        };
        match (self.digits.next(ticks), self.event_payload_type) {
            (Outgoing::Event { first, ago, event }, Some(payload_type)) => {
                header(first, payload_type, timestamp.wrapping_sub(ago)).write_header(out);
                out.extend_from_slice(&event.octets());
                // Audio after the event is a new talkspurt.
                self.gap = true;
                self.clear();
            }
            (step, _) => {
                header(self.gap, self.payload_type, timestamp).write_header(out);
                self.gap = false;
                self.encode(if step == Outgoing::Idle { audio } else { &[] }, out);
            }
        }
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        self.octets += (out.len() - crate::media::rtp::packet::HEADER_LEN) as u64;
        true
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
        let negotiated = self.event_payload_type.is_some();
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
