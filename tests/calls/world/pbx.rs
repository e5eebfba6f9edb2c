//! The PBX: a second endpoint as the caller, and a phone a call: what it says, what it hears.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use trunkstream::base::random::Random;
use trunkstream::base::rtp_format::{self, RtpFormat};
use trunkstream::base::srtp::{MasterKey, SrtpKeys, SrtpSuite};
use trunkstream::config::{Config, Fill, IdleTx, JitterDelay, MediaNat};
use trunkstream::media::codec::of_format;
use trunkstream::media::{MediaFormat, MediaSession, MediaSettings, Srtp};
use trunkstream::sip::{
    DialogId, Endpoint, EndpointConfig, Event, Headers, ListenerId, OutgoingInvite, Reason, Rejection, Trunks, Ways,
};

use super::link::Parcel;
use super::text::{Offer, Rtp, Sdp};

pub const PBX: &str = "198.51.100.1:5060";
const PACKET: Duration = Duration::from_millis(20);

/// What a call is placed with.
#[derive(Debug, Clone)]
pub struct Plan {
    pub number: &'static str,
    pub from: &'static str,
    pub headers: Vec<(String, String)>,
    /// `None`: the offer is left to the bridge.
    pub offer: Option<Offer>,
    /// What is answered to the bridge's offer; `None` is an ACK without SDP.
    pub late_answer: Option<Offer>,
}

impl Plan {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

/// A final refusal as the PBX saw it.
#[derive(Debug, Clone)]
pub struct Refused {
    pub code: u16,
    pub phrase: String,
    pub reasons: Vec<Reason>,
    pub headers: Headers,
}

/// What a phone says.
#[derive(Debug)]
pub enum Mouth {
    /// These samples, then silence.
    Says(VecDeque<i16>),
    /// No packets at all.
    Shut,
}

/// One call of the PBX.
pub struct Phone {
    pub dialog: DialogId,
    pub port: u16,
    pub plan: Plan,
    pub ringing: Option<Instant>,
    /// Every 101 to 199.
    pub provisionals: Vec<u16>,
    pub answered: Option<Instant>,
    pub refused: Option<Refused>,
    /// When the bridge hung up, and why.
    pub bye: Option<(Instant, Vec<Reason>)>,
    pub ended: Option<Instant>,
    /// When it gave the call up because nobody refreshed it.
    pub expired: Option<Instant>,
    /// What re-INVITEs got.
    pub reinvites: Vec<Result<Sdp, u16>>,
    pub infos: Vec<u16>,
    /// Re-INVITEs of the bridge.
    pub refreshes: Vec<Option<Sdp>>,
    /// The bridge's last SDP.
    pub sdp: Option<Sdp>,
    pub media: MediaSession,
    /// Around `media`, so that stories see packets in clear.
    pub srtp: Option<Srtp>,
    /// Packets that were not the bridge's.
    pub unreadable: usize,
    pub mouth: Mouth,
    next_packet: Option<Instant>,
    /// Every packet sent, before the network.
    pub said: Vec<Rtp>,
    /// Every packet that arrived on the RTP port.
    pub heard: Vec<(Instant, Rtp)>,
    /// RTCP packets that arrived.
    pub reports: usize,
    packet: Vec<u8>,
}

impl Phone {
    /// `samples` are said from the next packet on.
    pub fn say(&mut self, samples: impl IntoIterator<Item = i16>) {
        match &mut self.mouth {
            Mouth::Says(queue) => queue.extend(samples),
            Mouth::Shut => self.mouth = Mouth::Says(samples.into_iter().collect()),
        }
    }

    pub fn is_up(&self) -> bool {
        self.answered.is_some() && self.ended.is_none()
    }

    /// What was heard, decoded, packet after packet as they came.
    pub fn ear(&self) -> Vec<i16> {
        let mut out = Vec::new();
        self.heard.iter().for_each(|(_, packet)| out.extend(decode(packet)));
        out
    }

    /// What was heard in `format` under `payload_type`, by one decoder, at its rate.
    pub fn ear_in(&self, format: &RtpFormat, payload_type: u8) -> Vec<i16> {
        let (mut decoder, mut out) = (of_format(format).expect("a codec").decoder(), Vec::new());
        let packets = self.heard.iter().filter(|(_, packet)| packet.payload_type == payload_type);
        packets.for_each(|(_, packet)| decoder.decode(&packet.payload, &mut out));
        out
    }

    /// The PBX has heard from the bridge where media goes: from now on it talks.
    fn settle(&mut self, now: Instant, sdp: Sdp, own: &Offer) {
        let format = sdp.format().unwrap_or(rtp_format::PCMU);
        let digits = sdp.payload_types.contains(&101).then_some((101, format.clock_rate));
        let mut rtcp = sdp.address;
        rtcp.set_port(rtcp.port() + 1);
        let format = MediaFormat {
            remote: sdp.address,
            remote_rtcp: rtcp,
            rtcp_mux: false,
            format,
            payload_type: sdp.payload_types.first().copied().unwrap_or(0),
            telephone_event: digits,
            comfort_noise: None,
            ptime_ms: 20,
            send: own.direction.starts_with("send"),
            receive: true,
            held: false,
        };
        self.media.set_format(now, &format, false);
        match (&mut self.srtp, keys(&own.crypto, &sdp)) {
            (Some(srtp), Some(keys)) => srtp.rekey(&keys),
            (srtp, keys) => *srtp = keys.map(|keys| Srtp::new(&keys)),
        }
        self.sdp = Some(sdp);
        self.port = own.port;
        self.next_packet.get_or_insert(now);
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Parcel>) {
        while let Some(due) = self.next_packet.filter(|due| *due <= now) {
            self.next_packet = Some(due + PACKET);
            let Mouth::Says(queue) = &mut self.mouth else { continue };
            let count = queue.len().min(160);
            let samples: Vec<i16> = queue.drain(..count).collect();
            if let Some(to) = self.media.packet(now, &samples, &mut self.packet) {
                self.said.push(Rtp::read(&self.packet));
                if let Some(srtp) = &mut self.srtp {
                    srtp.protect_rtp(&mut self.packet);
                }
                out.push(Parcel { from: here(self.port), to, bytes: self.packet.clone() });
            }
            if let Some(to) = self.media.poll_rtcp(now, &mut self.packet) {
                if let Some(srtp) = &mut self.srtp {
                    srtp.protect_rtcp(&mut self.packet);
                }
                out.push(Parcel { from: here(self.port + 1), to, bytes: self.packet.clone() });
            }
        }
    }

    /// An RTP or RTCP packet in clear; `None` where it is not the bridge's.
    fn open(&mut self, bytes: &[u8], rtcp: bool) -> Option<Vec<u8>> {
        let plain = match &mut self.srtp {
            None => Some(bytes.to_vec()),
            Some(srtp) if rtcp => srtp.unprotect_rtcp(bytes).ok().map(|plain| plain.as_ref().to_vec()),
            Some(srtp) => srtp.unprotect_rtp(bytes).ok().map(|plain| plain.as_ref().to_vec()),
        };
        self.unreadable += usize::from(plain.is_none());
        plain
    }

    fn hang_up(&mut self, now: Instant) {
        self.ended.get_or_insert(now);
        self.next_packet = None;
    }
}

/// The samples of a packet; a digit has none.
pub fn decode(packet: &Rtp) -> Vec<i16> {
    let format = match packet.payload_type {
        0 => rtp_format::PCMU,
        8 => rtp_format::PCMA,
        _ => return Vec::new(),
    };
    let mut out = Vec::new();
    of_format(&format).expect("G.711").decoder().decode(&packet.payload, &mut out);
    out
}

/// The keys of a call whose PBX wrote `own` and whose bridge wrote `sdp`: those of the same tag.
fn keys(own: &[String], sdp: &Sdp) -> Option<SrtpKeys> {
    let read = |value: &str| {
        let mut words = value.split(' ');
        let (tag, suite) = (words.next()?.to_owned(), SrtpSuite::of_name(words.next()?)?);
        let key = words.next()?.strip_prefix("inline:")?;
        let octets = base64_simd::STANDARD.decode_to_vec(key).ok()?.try_into().ok()?;
        Some((tag, suite, MasterKey::new(octets)))
    };
    let ours: Vec<_> = own.iter().filter_map(|value| read(value)).collect();
    sdp.crypto().into_iter().filter_map(read).find_map(|(tag, suite, receive)| {
        let (.., send) = ours.iter().find(|(known, other, _)| (known, *other) == (&tag, suite))?;
        Some(SrtpKeys { suite, send: send.clone(), receive })
    })
}

fn here(port: u16) -> SocketAddr {
    SocketAddr::new(PBX.parse::<SocketAddr>().expect("an address").ip(), port)
}

/// See the module.
pub struct Pbx {
    pub endpoint: Endpoint,
    bridge: SocketAddr,
    random: Random,
    pub phones: Vec<Phone>,
    by_dialog: HashMap<DialogId, usize>,
    pub datagrams: Vec<Parcel>,
}

impl Pbx {
    pub fn new(config: &Config, bridge: SocketAddr, seed: u64) -> Self {
        let mut random = Random::from_number(seed ^ 0xBB);
        let endpoint =
            Endpoint::new(EndpointConfig::from(&config.sip), Trunks::new(config.trunks.clone()), random.fork());
        Self { endpoint, bridge, random, phones: Vec::new(), by_dialog: HashMap::new(), datagrams: Vec::new() }
    }

    /// A plan with an offer of PCMU, PCMA and digits on the next free port.
    pub fn plan(&self) -> Plan {
        let port = 40_000 + 10 * u16::try_from(self.phones.len()).expect("few phones");
        let offer = Offer::new(port);
        Plan {
            number: "1000",
            from: "<sip:08061234567@198.51.100.1>",
            headers: vec![("X-Exotel-AccountSid".into(), "acc1".into())],
            late_answer: Some(offer.clone()),
            offer: Some(offer),
        }
    }

    pub fn dial(&mut self, now: Instant, plan: Plan) -> usize {
        let uri = format!("sip:{}@{}", plan.number, self.bridge);
        let dialog = self.endpoint.invite(
            now,
            OutgoingInvite {
                listener: ListenerId(0),
                target: self.bridge,
                to: format!("<{uri}>"),
                request_uri: uri,
                from: plan.from.into(),
                headers: plan.headers.clone(),
                sdp: plan.offer.as_ref().map(|offer| offer.text().into_bytes()),
                ways: Ways::default(),
            },
        );
        let settings = MediaSettings {
            nat: MediaNat::Auto,
            media_acl: Vec::new(),
            relearn_after_silence: false,
            dtmf_mute: false,
            dtmf: trunkstream::config::Dtmf::default(),
            idle_tx: IdleTx::Silence,
            hold_audio_pass: false,
            rtp_timeout: Duration::from_secs(9999),
            rtp_start_timeout: Duration::from_secs(9999),
            jitter_delay: JitterDelay::default(),
            fill: Fill::Silence,
        };
        let own = plan.offer.as_ref().or(plan.late_answer.as_ref());
        let phone = Phone {
            dialog,
            port: own.map_or(40_000, |offer| offer.port),
            media: MediaSession::new(now, settings, &mut self.random),
            plan,
            ringing: None,
            provisionals: Vec::new(),
            answered: None,
            refused: None,
            bye: None,
            ended: None,
            expired: None,
            reinvites: Vec::new(),
            infos: Vec::new(),
            refreshes: Vec::new(),
            sdp: None,
            srtp: None,
            unreadable: 0,
            mouth: Mouth::Says(VecDeque::new()),
            next_packet: None,
            said: Vec::new(),
            heard: Vec::new(),
            reports: 0,
            packet: Vec::new(),
        };
        self.phones.push(phone);
        self.by_dialog.insert(dialog, self.phones.len() - 1);
        self.phones.len() - 1
    }

    pub fn hang_up(&mut self, now: Instant, phone: usize) {
        self.endpoint.bye(now, self.phones[phone].dialog, vec![Reason::q850(16)]);
        self.phones[phone].hang_up(now);
    }

    /// Sends a re-INVITE with this offer, or without one; then the plan's `late_answer` answers.
    /// False where the dialog allows none now.
    pub fn reinvite(&mut self, now: Instant, phone: usize, offer: Option<Offer>) -> bool {
        let phone = &mut self.phones[phone];
        let sdp = offer.as_ref().map(|offer| offer.text().into_bytes());
        let sent = self.endpoint.reinvite(now, phone.dialog, sdp);
        if sent {
            if offer.is_some() {
                phone.plan.late_answer.clone_from(&offer);
            }
            phone.plan.offer = offer;
        }
        sent
    }

    pub fn next(&self) -> Option<Instant> {
        self.phones.iter().filter_map(|phone| phone.next_packet).chain(self.endpoint.poll_timeout()).min()
    }

    pub fn wake(&mut self, now: Instant) {
        if self.endpoint.poll_timeout().is_some_and(|timeout| timeout <= now) {
            self.endpoint.handle_timeout(now);
        }
        for phone in &mut self.phones {
            phone.tick(now, &mut self.datagrams);
        }
        self.drain(now);
    }

    pub fn datagram(&mut self, now: Instant, parcel: &Parcel) {
        if parcel.to.port() == 5060 {
            self.endpoint.handle_datagram(now, ListenerId(0), parcel.from, &parcel.bytes);
            return self.drain(now);
        }
        for phone in &mut self.phones {
            if parcel.to.port() == phone.port {
                let Some(bytes) = phone.open(&parcel.bytes, false) else { continue };
                phone.heard.push((now, Rtp::read(&bytes)));
                phone.media.handle_rtp(now, parcel.from, &bytes);
            } else if parcel.to.port() == phone.port + 1 {
                let Some(bytes) = phone.open(&parcel.bytes, true) else { continue };
                phone.reports += 1;
                phone.media.handle_rtcp(now, parcel.from, &bytes);
            }
            while phone.media.poll_event().is_some() {}
        }
    }

    pub fn drain(&mut self, now: Instant) {
        loop {
            while let Some(transmit) = self.endpoint.poll_transmit() {
                let from = PBX.parse().expect("an address");
                self.datagrams.push(Parcel { from, to: transmit.to, bytes: transmit.bytes });
            }
            let Some(event) = self.endpoint.poll_event() else { return };
            self.event(now, event);
        }
    }

    fn event(&mut self, now: Instant, event: Event) {
        let Some(index) = self.by_dialog.get(&event.dialog()).copied() else { return };
        let phone = &mut self.phones[index];
        match event {
            Event::Provisional { dialog, code, sdp } => {
                phone.ringing.get_or_insert(now);
                phone.provisionals.push(code);
                let Some(sdp) = sdp.map(|sdp| Sdp::read(&sdp)) else { return };
                if let Some(answer) = Self::follow(now, phone, sdp) {
                    self.endpoint.answer(now, dialog, answer);
                }
            }
            Event::Answered { dialog, sdp, .. } => {
                phone.answered = Some(now);
                let Some(sdp) = sdp.map(|sdp| Sdp::read(&sdp)) else {
                    assert!(phone.sdp.is_some(), "neither the 200 nor a response before it had SDP");
                    return;
                };
                if let Some(answer) = Self::follow(now, phone, sdp) {
                    self.endpoint.answer(now, dialog, answer);
                }
            }
            Event::ReinviteAnswered { dialog, sdp } => {
                let sdp = Sdp::read(&sdp.expect("a 200 with SDP"));
                phone.reinvites.push(Ok(sdp.clone()));
                if let Some(answer) = Self::follow(now, phone, sdp) {
                    self.endpoint.answer(now, dialog, answer);
                }
            }
            Event::Rejected { code, phrase, reasons, headers, .. } => {
                phone.refused = Some(Refused { code, phrase, reasons, headers });
            }
            Event::ReinviteRejected { code, .. } => phone.reinvites.push(Err(code)),
            Event::InfoAnswered { code, .. } => phone.infos.push(code),
            Event::Bye { reasons, .. } => {
                phone.bye = Some((now, reasons));
                phone.hang_up(now);
            }
            Event::Ended { .. } => phone.hang_up(now),
            Event::SessionExpired { .. } => phone.expired = Some(now),
            Event::Reinvite { dialog, sdp } => {
                // A refresh: the same description again.
                phone.refreshes.push(sdp.map(|sdp| Sdp::read(&sdp)));
                let own = phone.plan.late_answer.as_ref().map(|offer| offer.text().into_bytes());
                self.endpoint.answer(now, dialog, own);
            }
            Event::Update { dialog, .. } => {
                self.endpoint.reject_update(now, dialog, Rejection::new(488));
            }
            Event::Invite { .. }
            | Event::Acknowledged { .. }
            | Event::Cancelled { .. }
            | Event::Info { .. }
            | Event::Pracked { .. }
            | Event::PrackTimeout { .. }
            | Event::AckTimeout { .. }
            | Event::ReferProgress { .. }
            | Event::ReferSucceeded { .. }
            | Event::ReferFailed { .. }
            | Event::Expired { .. } => panic!("the bridge does not call: {event:?}"),
        }
    }

    /// Media follows an answer of the bridge; an offer of the bridge gets the ACK's body.
    fn follow(now: Instant, phone: &mut Phone, sdp: Sdp) -> Option<Option<Vec<u8>>> {
        if let Some(offer) = phone.plan.offer.clone() {
            phone.settle(now, sdp, &offer);
            return None;
        }
        let answer = phone.plan.late_answer.clone();
        match &answer {
            Some(answer) => phone.settle(now, sdp, answer),
            None => phone.sdp = Some(sdp),
        }
        Some(answer.map(|answer| answer.text().into_bytes()))
    }
}
