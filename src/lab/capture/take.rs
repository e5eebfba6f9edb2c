//! One stream of a capture, ready to be decoded or sent: its packets, its codec, its telephone-events.

use std::net::SocketAddr;
use std::time::Duration;

use super::stream::{self, Counts, RtpStream};
use super::{Capture, CaptureError, Meaning, UdpDatagram};
use crate::base::rtp_format::RtpFormat;
use crate::media::codec;
use crate::media::rtp::packet::{Datagram, Packet};

/// Comfort noise (RFC 3551, 4.5).
const COMFORT_NOISE: u8 = 13;
/// The first dynamic payload type.
const FIRST_DYNAMIC: u8 = 96;
/// Clock rates that telephone-events come with, in Hz.
const EVENT_CLOCKS: [u32; 5] = [8_000, 16_000, 24_000, 32_000, 48_000];
/// The last event code that is a key or flash (RFC 4733, 3.2).
const LAST_KEY: u8 = 16;
/// Static payload types that are not ours (RFC 3551, 6).
const FOREIGN: [(u8, &str); 6] =
    [(3, "GSM"), (4, "G723"), (9, "G722"), (11, "L16 at 44.1 kHz"), (15, "G728"), (18, "G729")];

/// Which stream is meant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Choice {
    /// By its number.
    pub stream: Option<usize>,
    /// By an SSRC; only its packets are taken then.
    pub ssrc: Option<u32>,
    /// The codec, where the capture does not tell it.
    pub codec: Option<RtpFormat>,
}

/// One stream of a capture.
#[derive(Debug, Clone)]
pub struct Take {
    /// Its number in the capture.
    pub number: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Its codec.
    pub format: RtpFormat,
    /// The codec's payload type.
    pub payload_type: u8,
    /// Payload type and clock rate in Hz of telephone-events.
    pub telephone_event: Option<(u8, u32)>,
    /// Payload type of comfort noise.
    pub comfort_noise: Option<u8>,
    /// In order of arrival.
    pub packets: Vec<TakenPacket>,
    /// What they are, and what became of them on their way.
    pub counts: Counts,
}

/// An RTP packet of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenPacket {
    /// Its number in the file.
    pub number: u64,
    /// When it came, from the stream's first packet.
    pub at: Duration,
    /// As it was captured.
    pub bytes: Vec<u8>,
}

impl Take {
    /// From its first packet to its last.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.packets.last().map_or(Duration::ZERO, |packet| packet.at)
    }
}

impl TakenPacket {
    /// Its header and payload; `None` for what is no RTP.
    #[must_use]
    pub fn rtp(&self) -> Option<Packet<'_>> {
        rtp(&self.bytes)
    }
}

fn rtp(bytes: &[u8]) -> Option<Packet<'_>> {
    match Datagram::read(bytes) {
        Datagram::Rtp(packet) => Some(packet),
        Datagram::Rtcp | Datagram::Stun | Datagram::Dtls | Datagram::Malformed => None,
    }
}

/// What is wrong with a stream, in words.
type Reason = String;

impl Capture {
    /// Takes the stream that `choice` means; without one the only stream, or that of the first INVITE's sender.
    ///
    /// # Errors
    /// There is no such stream, it is not clear which one is meant, or its sound cannot be decoded.
    pub fn take(&self, choice: Choice) -> Result<Take, CaptureError> {
        let stream = self.chosen(choice)?;
        let mut members: Vec<&UdpDatagram> = stream.members.iter().map(|place| &self.datagrams[*place]).collect();
        if let Some(ssrc) = choice.ssrc {
            members.retain(|datagram| rtp(&datagram.payload).is_some_and(|packet| packet.ssrc == ssrc));
        }
        let types = Types { capture: self, stream, packets: &members };
        let told = types.tell(choice.codec);
        let first = members.first().map_or(0, |datagram| datagram.number);
        let (payload_type, format) = told.map_err(|reason| CaptureError::Undecodable {
            path: self.path.clone(),
            number: stream.number,
            packet: first,
            reason,
        })?;
        let telephone_event = types.telephone_event(format.clock_rate);
        let comfort_noise = types.comfort_noise();
        let begin = members.first().map_or(Duration::ZERO, |datagram| datagram.at);
        let counts =
            stream::count(
                members.iter().filter_map(|datagram| rtp(&datagram.payload)),
                |counts, number| match number {
                    number if number == payload_type => &mut counts.audio,
                    number if Some(number) == telephone_event.map(|event| event.0) => &mut counts.event,
                    number if Some(number) == comfort_noise => &mut counts.noise,
                    _ => &mut counts.other,
                },
            );
        let packet = |datagram: &&UdpDatagram| TakenPacket {
            number: datagram.number,
            at: datagram.at - begin,
            bytes: datagram.payload.clone(),
        };
        let packets = members.iter().map(packet).collect();
        let (number, from) = (stream.number, stream.from);
        Ok(Take { number, from, format, payload_type, telephone_event, comfort_noise, packets, counts })
    }

    fn chosen(&self, choice: Choice) -> Result<&RtpStream, CaptureError> {
        let no = |wanted: String| CaptureError::NoSuchStream { path: self.path.clone(), wanted, list: self.list() };
        let by_number = |number: &usize| self.streams.iter().find(|stream| stream.number == *number);
        match (choice.stream, choice.ssrc) {
            (Some(number), ssrc) => {
                let found = by_number(&number).ok_or_else(|| no(format!("stream {number}")))?;
                let has = ssrc.is_none_or(|ssrc| found.ssrcs.contains(&ssrc));
                has.then_some(found).ok_or_else(|| no(format!("SSRC {:08x} in stream {number}", ssrc.unwrap_or(0))))
            }
            (None, Some(ssrc)) => {
                let found = self.streams.iter().find(|stream| stream.ssrcs.contains(&ssrc));
                found.ok_or_else(|| no(format!("SSRC {ssrc:08x}")))
            }
            (None, None) => {
                let senders: Vec<SocketAddr> = self.streams.iter().map(|stream| stream.from).collect();
                let only = (self.streams.len() == 1).then_some(0).or_else(|| self.signalling.caller(&senders));
                only.map(|place| &self.streams[place]).ok_or_else(|| CaptureError::Ambiguous {
                    path: self.path.clone(),
                    count: self.streams.len(),
                    list: self.list(),
                })
            }
        }
    }
}

/// The payload types of a stream: what SIP says, what is static, what their packets look like.
struct Types<'a> {
    capture: &'a Capture,
    stream: &'a RtpStream,
    packets: &'a [&'a UdpDatagram],
}

impl<'a> Types<'a> {
    fn described(&self, payload_type: u8) -> Option<&'a Meaning> {
        self.capture.signalling.line_of(self.stream.from, self.stream.to)?.meaning(payload_type)
    }

    fn of(&self, payload_type: u8) -> impl Iterator<Item = (Duration, Packet<'a>)> {
        let packets = self.packets.iter().filter_map(|datagram| Some((datagram.at, rtp(&datagram.payload)?)));
        packets.filter(move |(_, packet)| packet.payload_type == payload_type)
    }

    /// Payload type and codec of the sound: the one with the most packets that is no event and no noise.
    fn tell(&self, told: Option<RtpFormat>) -> Result<(u8, RtpFormat), Reason> {
        let line = self.capture.signalling.line_of(self.stream.from, self.stream.to);
        if line.is_some_and(|line| line.encrypted) {
            return Err("it is SRTP: the sound is encrypted".to_owned());
        }
        let sound = self.stream.payload_types.iter().filter(|(number, _)| !self.is_beside(**number));
        let mut sound: Vec<(u8, usize)> = sound.map(|(number, count)| (*number, *count)).collect();
        sound.sort_by_key(|(number, count)| (self.format(*number).is_none(), std::cmp::Reverse(*count)));
        let &(payload_type, _) = sound.first().ok_or("it holds telephone-events or comfort noise only")?;
        match told.or_else(|| self.format(payload_type)) {
            Some(format) => Ok((payload_type, format)),
            None => Err(self.unknown(payload_type)),
        }
    }

    /// Which of our codecs a payload type is.
    fn format(&self, payload_type: u8) -> Option<RtpFormat> {
        let described = self.described(payload_type);
        codec::formats().into_iter().find(|format| match described {
            Some(meaning) => meaning.is(format.encoding_name) && meaning.clock_rate == format.clock_rate,
            None => format.is_static() && format.payload_type == payload_type,
        })
    }

    fn unknown(&self, payload_type: u8) -> Reason {
        let ours: Vec<String> = codec::formats().iter().map(|format| format.encoding_name.to_lowercase()).collect();
        let ours = ours.join(", ");
        let foreign = FOREIGN.iter().find(|(number, _)| *number == payload_type).map(|(_, name)| (*name).to_owned());
        let described = self.described(payload_type).map(|meaning| format!("{}/{}", meaning.name, meaning.clock_rate));
        match described.or(foreign) {
            Some(name) => format!("payload type {payload_type} is {name}, which is not decoded here (only {ours})"),
            None => format!(
                "no SIP message in the capture says what payload type {payload_type} is; say it with --codec ({ours})"
            ),
        }
    }

    /// Telephone-events and comfort noise go beside the sound.
    fn is_beside(&self, payload_type: u8) -> bool {
        match self.described(payload_type) {
            Some(meaning) => meaning.is("telephone-event") || meaning.is("CN"),
            None => payload_type == COMFORT_NOISE || self.looks_like_events(payload_type),
        }
    }

    /// Four octets each, keys only, and one timestamp for several packets (RFC 4733, 2.3).
    fn looks_like_events(&self, payload_type: u8) -> bool {
        let mut timestamps: Vec<u32> = self.of(payload_type).map(|(_, packet)| packet.timestamp).collect();
        let packets = timestamps.len();
        timestamps.sort_unstable();
        timestamps.dedup();
        let is_event = |packet: &Packet<'_>| matches!(packet.payload, [code, flags, _, _] if *code <= LAST_KEY && flags & 0x40 == 0);
        payload_type >= FIRST_DYNAMIC
            && timestamps.len() < packets
            && self.of(payload_type).all(|(_, packet)| is_event(&packet))
    }

    /// Payload type and clock of the telephone-events; where SIP names several, the ones that came.
    fn telephone_event(&self, audio_clock: u32) -> Option<(u8, u32)> {
        let numbers = || self.stream.payload_types.keys().copied();
        let described = numbers().find_map(|number| {
            let meaning = self.described(number).filter(|meaning| meaning.is("telephone-event"))?;
            Some((number, meaning.clock_rate))
        });
        described.or_else(|| {
            let number =
                numbers().find(|number| self.described(*number).is_none() && self.looks_like_events(*number))?;
            Some((number, self.event_clock(number).unwrap_or(audio_clock)))
        })
    }

    fn comfort_noise(&self) -> Option<u8> {
        let is_noise = |number: &u8| match self.described(*number) {
            Some(meaning) => meaning.is("CN"),
            None => *number == COMFORT_NOISE,
        };
        self.stream.payload_types.keys().copied().find(is_noise)
    }

    /// The clock that events seem to be measured with: how their durations grow while time goes on.
    fn event_clock(&self, payload_type: u8) -> Option<u32> {
        let events: Vec<_> =
            self.of(payload_type).filter_map(|(at, packet)| Some((at, packet.timestamp, duration(&packet)?))).collect();
        let mut rates: Vec<f64> = events
            .windows(2)
            .filter(|pair| pair[0].1 == pair[1].1 && pair[0].2 < pair[1].2 && pair[0].0 < pair[1].0)
            .map(|pair| f64::from(pair[1].2 - pair[0].2) / (pair[1].0 - pair[0].0).as_secs_f64())
            .collect();
        rates.sort_by(f64::total_cmp);
        let median = *rates.get(rates.len() / 2)?;
        EVENT_CLOCKS.into_iter().min_by(|one, other| {
            let off = |clock: u32| (f64::from(clock) / median).ln().abs();
            off(*one).total_cmp(&off(*other))
        })
    }
}

/// The duration field of a telephone-event.
fn duration(packet: &Packet<'_>) -> Option<u16> {
    Some(u16::from_be_bytes(*packet.payload.get(2..)?.first_chunk()?))
}
