//! The offer/answer model (RFC 3264) for one audio stream.

use std::net::{IpAddr, SocketAddr};

use crate::base::random::Random;
use crate::base::rtp_format::RtpFormat;
use crate::base::srtp::SrtpKeys;
use crate::config::SrtpPolicy;

use super::crypto::{Crypto, Sdes};
use super::direction::Direction;
use super::formats::{self, Meaning};
use super::refusal::Refusal;
use super::rules::{AddressFault, AddressRules};
use super::session::{self, AudioLine, Description, MediaLine, WrittenFormat, WrittenLine};

/// The first dynamic payload type (RFC 3551 section 6).
const FIRST_DYNAMIC: u8 = 96;
/// Where telephone events go in an offer of ours, if the number is free (SDP-013).
const EVENTS: u8 = 101;

/// Our side of a call's media, fixed for the dialog's life.
#[derive(Debug, Clone)]
pub struct LocalMedia {
    /// What `c=` and `o=` show: the advertised address (SDP-008).
    pub address: IpAddr,
    /// Our RTP port; RTCP is one above.
    pub port: u16,
    /// Our codecs in order of preference; the order of our offers.
    pub formats: Vec<RtpFormat>,
    /// An answer takes the first of `formats` that was offered instead of the offer's first (SDP-004).
    pub prefer_ours: bool,
    /// telephone-event is offered and answered (SDP-006).
    pub telephone_event: bool,
    /// Comfort noise is answered when offered (SDP-004); it is never offered.
    pub comfort_noise: bool,
    /// `a=ptime` of our descriptions and what we send when the peer does not say, ms.
    pub ptime_ms: u16,
    /// Where the peer's media may be.
    pub rules: AddressRules,
}

/// telephone-event as agreed (RFC 4733).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Its payload type.
    pub payload_type: u8,
    /// Its clock, Hz: the audio codec's.
    pub clock_rate: u32,
}

/// What both sides agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Where RTP goes. While the peer holds by 0.0.0.0 it is the address from before (SDP-010).
    pub remote: SocketAddr,
    /// Where RTCP goes (SDP-017).
    pub remote_rtcp: SocketAddr,
    /// RTP and RTCP share one port (RFC 5761).
    pub rtcp_mux: bool,
    /// The codec: the entry of [`LocalMedia::formats`] that matched.
    pub format: RtpFormat,
    /// The codec's number in this call.
    pub payload_type: u8,
    /// Telephone events; `None`: digits come by INFO or in the audio.
    pub telephone_event: Option<TelephoneEvent>,
    /// The payload type of comfort noise (RFC 3389).
    pub comfort_noise: Option<u8>,
    /// What we send: 10, 20, 30, 40 or 60 ms (SDP-007).
    pub ptime_ms: u16,
    /// What RTP and RTCP are encrypted with; `None` is plain RTP (SDP-018).
    pub srtp: Option<SrtpKeys>,
    /// We may send.
    pub send: bool,
    /// The peer may send.
    pub receive: bool,
    /// The peer put us on hold: it does not listen (SDP-010).
    pub held: bool,
    /// The peer's description is not the one before; `false` is a no-op (SIP-070). A peer that changes its media but
    /// forgets to raise its `o=` version has changed.
    pub changed: bool,
    /// Target, codec or keys are not those before (SDP-012): media sources are learned anew (RTP-013). Hold alone is not
    /// such a change. `true` for the first description.
    pub media_changed: bool,
}

/// One dialog's negotiation: our session id and version, our last description and the peer's.
#[derive(Debug)]
pub struct Negotiation {
    local: LocalMedia,
    sdes: Sdes,
    session_id: u64,
    /// 0 until a description of ours was written.
    version: u64,
    lines: Vec<WrittenLine>,
    remote: Option<Description>,
    current: Option<Negotiated>,
    /// Every payload type either side gave a meaning in this call (RFC 3264 section 8.3.2).
    meanings: Vec<Meaning>,
    awaiting_answer: bool,
}

/// An audio line of the peer that can be used.
struct Acceptable {
    /// Its position among the m-lines.
    index: usize,
    profile: String,
    direction: Direction,
    mux_offered: bool,
    formats: Vec<Meaning>,
    payload: Meaning,
    telephone_event: Option<Meaning>,
    comfort_noise: Option<Meaning>,
    /// In an offer the peer's key that is taken, then ours that answers it.
    crypto: Option<Crypto>,
    negotiated: Negotiated,
}

/// What a description of the peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Offer,
    Answer,
}

impl Negotiation {
    /// A dialog's negotiation before its first description. `session_id` is the number in `o=`; its top bit is
    /// dropped, for peers that read it as a signed number.
    #[must_use]
    pub fn new(local: LocalMedia, session_id: u64) -> Self {
        Self {
            local,
            sdes: Sdes::default(),
            session_id: session_id & (u64::MAX >> 1),
            version: 0,
            lines: Vec::new(),
            remote: None,
            current: None,
            meanings: Vec::new(),
            awaiting_answer: false,
        }
    }

    /// The same with SRTP as `policy` says (SDP-015). `keys_allowed`: keys may stand in our descriptions, because the
    /// signalling is encrypted or the trunk does not mind (SDP-018). They are drawn from `random`.
    #[must_use]
    pub fn with_srtp(self, policy: SrtpPolicy, keys_allowed: bool, random: Random) -> Self {
        Self { sdes: Sdes::new(policy, keys_allowed, random), ..self }
    }

    /// Answers `offer`: the answer's bytes and what was agreed (RFC 3264 section 6).
    ///
    /// # Errors
    /// [`Refusal`] when no audio of the offer can be used; nothing has changed then (SIP-074).
    pub fn answer(&mut self, offer: &[u8]) -> Result<(Vec<u8>, Negotiated), Refusal> {
        let description = Description::parse(offer)?;
        let mut audio = self.first_acceptable(&description, Side::Offer)?;
        let keyed = self.sdes.answer(audio.crypto.take(), audio.negotiated.remote);
        (audio.crypto, audio.negotiated.srtp) = keyed.unzip();
        if audio.mux_offered {
            audio.negotiated.rtcp_mux = true;
            audio.negotiated.remote_rtcp = audio.negotiated.remote;
        }
        let lines = description.lines().enumerate();
        let lines =
            lines.map(|(index, line)| if index == audio.index { self.answered(&audio) } else { line.refused() });
        let lines = lines.collect();
        let negotiated = self.agree(description, audio);
        Ok((self.publish(lines), negotiated))
    }

    /// Whether an offer of ours can be what the trunk asks for.
    ///
    /// # Errors
    /// [`Refusal::KeysInClear`] where SRTP is required and keys may not be written.
    pub fn check_offer(&self) -> Result<(), Refusal> {
        self.sdes.check_offer()
    }

    /// An offer of ours: every codec, `sendrecv`, our real address, whatever the hold state (SDP-013, SIP-071).
    ///
    /// Lines of earlier descriptions stay in their place with port 0, since a description never loses an m-line
    /// (RFC 3264 section 8).
    pub fn offer(&mut self) -> Vec<u8> {
        let offered = self.offered_formats();
        let mut lines = self.lines.clone();
        let slot = lines.iter().position(|line| matches!(line, WrittenLine::Audio(_)));
        let profile = match slot.map(|slot| &lines[slot]) {
            Some(WrittenLine::Audio(audio)) => audio.profile.clone(),
            _ => self.sdes.profile().to_owned(),
        };
        let crypto = self.sdes.offer(&profile);
        let audio = self.audio_line(profile, &offered, Direction::SendRecv, false);
        let audio = WrittenLine::Audio(AudioLine { crypto, ..audio });
        match slot {
            Some(slot) => lines[slot] = audio,
            None => lines.push(audio),
        }
        offered.into_iter().for_each(|meaning| remember(&mut self.meanings, meaning));
        self.awaiting_answer = true;
        self.publish(lines)
    }

    /// Takes the peer's answer to our last offer.
    ///
    /// # Errors
    /// [`Refusal`] when the answer cannot be used; what was agreed before still stands.
    pub fn accept(&mut self, answer: &[u8]) -> Result<Negotiated, Refusal> {
        if !self.awaiting_answer {
            return Err(Refusal::NoOffer);
        }
        let description = Description::parse(answer)?;
        let audio = self.first_acceptable(&description, Side::Answer)?;
        Ok(self.agree(description, audio))
    }

    /// Takes the answer to our last description, which was offered again as it was (RFC 4028 section 7.4).
    ///
    /// # Errors
    /// As [`Negotiation::accept`].
    pub fn accept_again(&mut self, answer: &[u8]) -> Result<Negotiated, Refusal> {
        let awaited = std::mem::replace(&mut self.awaiting_answer, true);
        let accepted = self.accept(answer);
        self.awaiting_answer = awaited && accepted.is_err();
        accepted
    }

    /// What was agreed last.
    #[must_use]
    pub const fn current(&self) -> Option<&Negotiated> {
        self.current.as_ref()
    }

    /// The first audio line that can be used (SDP-002).
    fn first_acceptable(&self, description: &Description, side: Side) -> Result<Acceptable, Refusal> {
        let mut refusal = None;
        for (index, line) in description.lines().enumerate() {
            if !line.is_audio() {
                refusal.get_or_insert(Refusal::NoAudio);
                continue;
            }
            match self.consider(index, line, side) {
                Ok(audio) => return Ok(audio),
                // The first audio line's reason tells most; lines that are no audio or switched off tell least.
                Err(reason) if matches!(refusal, None | Some(Refusal::NoAudio | Refusal::Disabled)) => {
                    refusal = Some(reason);
                }
                Err(_) => {}
            }
        }
        Err(refusal.unwrap_or(Refusal::NoMedia))
    }

    /// Whether this audio line can be used, and how.
    fn consider(&self, index: usize, line: MediaLine<'_>, side: Side) -> Result<Acceptable, Refusal> {
        if line.port() == 0 {
            return Err(Refusal::Disabled);
        }
        let (crypto, srtp) = match side {
            Side::Offer => (self.sdes.judge_offer(line)?, None),
            Side::Answer => (None, self.sdes.judge_answer(line)?),
        };
        let formats = formats::formats(line);
        let (format, payload) = formats::choose(&formats, &self.local.formats, self.local.prefer_ours)
            .ok_or_else(|| Refusal::NoCodec(line.formats().to_owned()))?;
        let payload = payload.clone();
        let beside = |wanted: bool, name: &str, parameters| {
            let found = formats.iter().find(|meaning| wanted && meaning.is_named(name, payload.clock_rate))?;
            Some(Meaning { name: name.to_owned(), channels: 1, parameters, ..found.clone() })
        };
        let telephone_event = beside(self.local.telephone_event, formats::TELEPHONE_EVENT, formats::DIGITS);
        let comfort_noise = beside(self.local.comfort_noise, "CN", "");
        let target = self.target(line)?;
        let direction = line.direction();
        let listening = direction.receives() && !target.on_hold;
        let negotiated = Negotiated {
            remote: target.rtp,
            remote_rtcp: target.rtcp,
            rtcp_mux: false,
            format,
            payload_type: payload.payload_type,
            telephone_event: telephone_event
                .as_ref()
                .map(|event| TelephoneEvent { payload_type: event.payload_type, clock_rate: event.clock_rate }),
            comfort_noise: comfort_noise.as_ref().map(|noise| noise.payload_type),
            ptime_ms: formats::packet_time(line, &format, self.local.ptime_ms),
            srtp,
            send: listening,
            receive: direction.sends(),
            held: !listening,
            changed: true,
            media_changed: true,
        };
        Ok(Acceptable {
            index,
            profile: line.profile().to_owned(),
            direction,
            mux_offered: line.attribute("rtcp-mux").is_some(),
            formats,
            payload,
            telephone_event,
            comfort_noise,
            crypto,
            negotiated,
        })
    }

    /// Where the line wants its media (SDP-010, SDP-014).
    fn target(&self, line: MediaLine<'_>) -> Result<Target, Refusal> {
        let text = line.connection().ok_or(Refusal::NoConnection)?;
        let ip: IpAddr = text.parse().map_err(|_| AddressFault::NotAnAddress(text.to_owned()))?;
        if line.port() < 1024 {
            return Err(Refusal::Port(line.port()));
        }
        let rtp = SocketAddr::new(ip, line.port());
        if ip.is_unspecified() {
            if self.current.is_none() && line.direction().receives() {
                return Err(AddressFault::Unspecified(ip).into());
            }
            // Hold in the manner of RFC 2543: what was agreed before is the target again when the hold ends.
            let (rtp, rtcp) = self.current.as_ref().map_or((rtp, rtp), |before| (before.remote, before.remote_rtcp));
            return Ok(Target { rtp, rtcp, on_hold: true });
        }
        let ours = SocketAddr::new(self.local.address, self.local.port);
        self.local.rules.check(rtp, ours)?;
        let named = line.attribute("rtcp").and_then(|value| rtcp_target(value, ip));
        let allowed = named.filter(|rtcp| rtcp.port() >= 1024 && self.local.rules.check(*rtcp, ours).is_ok());
        let rtcp = allowed.unwrap_or_else(|| SocketAddr::new(ip, rtp.port().saturating_add(1)));
        Ok(Target { rtp, rtcp, on_hold: false })
    }

    /// Our answer to the audio line that is used: one codec, telephone-event, comfort noise (SDP-004).
    fn answered(&self, audio: &Acceptable) -> WrittenLine {
        let codec = Meaning::of(&audio.negotiated.format, audio.payload.payload_type);
        let beside = [&audio.comfort_noise, &audio.telephone_event].into_iter().flatten().cloned();
        let formats: Vec<_> = std::iter::once(codec).chain(beside).collect();
        let (direction, mux) = (audio.direction.answered(), audio.negotiated.rtcp_mux);
        let line = self.audio_line(audio.profile.clone(), &formats, direction, mux);
        WrittenLine::Audio(AudioLine { crypto: audio.crypto.iter().cloned().collect(), ..line })
    }

    fn audio_line(&self, profile: String, formats: &[Meaning], direction: Direction, rtcp_mux: bool) -> AudioLine {
        AudioLine {
            port: self.local.port,
            profile,
            formats: formats
                .iter()
                .map(|meaning| WrittenFormat {
                    payload_type: meaning.payload_type,
                    rtpmap: meaning.rtpmap(),
                    fmtp: meaning.parameters,
                })
                .collect(),
            ptime_ms: self.local.ptime_ms,
            direction,
            rtcp_mux,
            crypto: Vec::new(),
        }
    }

    /// Every codec of ours and telephone-event at each of their clocks, with the numbers they have in this call.
    fn offered_formats(&self) -> Vec<Meaning> {
        let mut offered: Vec<Meaning> = Vec::new();
        let mut add = |wanted: Meaning| offered.extend(self.numbered(wanted, &offered));
        self.local.formats.iter().for_each(|format| add(Meaning::of(format, format.payload_type)));
        if self.local.telephone_event {
            let mut clocks: Vec<u32> = Vec::new();
            for format in &self.local.formats {
                if !clocks.contains(&format.clock_rate) {
                    clocks.push(format.clock_rate);
                    add(Meaning::telephone_event(EVENTS, format.clock_rate));
                }
            }
        }
        offered
    }

    /// `wanted` under the number it has in this call: a dynamic number never changes its meaning (SDP-005). `None`
    /// when all numbers are taken.
    fn numbered(&self, wanted: Meaning, offered: &[Meaning]) -> Option<Meaning> {
        if wanted.payload_type < FIRST_DYNAMIC {
            return Some(wanted);
        }
        let taken = |number: u8| self.meanings.iter().chain(offered).any(|meaning| meaning.payload_type == number);
        let known = self.meanings.iter().find(|meaning| {
            meaning.same_encoding(&wanted) && offered.iter().all(|other| other.payload_type != meaning.payload_type)
        });
        let number = known.map(|meaning| meaning.payload_type).or_else(|| {
            std::iter::once(wanted.payload_type).chain(FIRST_DYNAMIC..=127).find(|number| !taken(*number))
        })?;
        Some(Meaning { payload_type: number, ..wanted })
    }

    /// The peer's description is now the one in force.
    fn agree(&mut self, description: Description, audio: Acceptable) -> Negotiated {
        let Acceptable { formats, mut negotiated, .. } = audio;
        negotiated.changed = self.remote.as_ref() != Some(&description);
        negotiated.media_changed = self.current.as_ref().is_none_or(|before| {
            (before.remote, before.format, before.payload_type, &before.srtp)
                != (negotiated.remote, negotiated.format, negotiated.payload_type, &negotiated.srtp)
        });
        formats.into_iter().for_each(|meaning| remember(&mut self.meanings, meaning));
        self.remote = Some(description);
        self.awaiting_answer = false;
        self.current = Some(negotiated.clone());
        negotiated
    }

    /// Writes a description of ours; the version goes up exactly when it differs from the last one (SDP-008).
    fn publish(&mut self, lines: Vec<WrittenLine>) -> Vec<u8> {
        if self.version == 0 || self.lines != lines {
            self.version += 1;
        }
        self.lines = lines;
        session::description(self.session_id, self.version, self.local.address, &self.lines)
    }
}

/// Where a line wants its media.
struct Target {
    rtp: SocketAddr,
    rtcp: SocketAddr,
    /// The address is unspecified.
    on_hold: bool,
}

/// Reads `a=rtcp:53020` or `a=rtcp:53020 IN IP4 126.16.64.4` (RFC 3605 section 2.1).
fn rtcp_target(value: &str, media: IpAddr) -> Option<SocketAddr> {
    let mut fields = value.split_whitespace();
    let port = fields.next()?.parse().ok()?;
    match fields.nth(2) {
        Some(address) => Some(SocketAddr::new(address.parse().ok()?, port)),
        None => Some(SocketAddr::new(media, port)),
    }
}

/// Keeps the latest meaning of a number.
fn remember(meanings: &mut Vec<Meaning>, meaning: Meaning) {
    match meanings.iter_mut().find(|known| known.payload_type == meaning.payload_type) {
        Some(known) => *known = meaning,
        None => meanings.push(meaning),
    }
}
