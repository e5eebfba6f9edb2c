//! Octets as they come from peers, bots and files: nothing panics, and what is counted adds up.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use trunkstream::base::id::{AccountSid, CallSid, StreamSid};
use trunkstream::base::pcm::SampleRate;
use trunkstream::base::random::Random;
use trunkstream::base::rtp_format::{PCMA, PCMU};
use trunkstream::lab::capture::{Capture, Choice};
use trunkstream::lab::pbx::open_settings;
use trunkstream::media::rtp::packet::{Datagram, Packet};
use trunkstream::media::{MediaEvent, MediaFormat, MediaSession};
use trunkstream::sdp::{AddressRules, LocalMedia, Negotiation};
use trunkstream::sip::wire;
use trunkstream::stream::{ClearMarks, ClearScope, DialectSettings, SocketEnd, StreamSession, StreamSettings};

use crate::input::Input;

pub fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10], 40_000))
}

/// A call with PCMU, telephone-events on 101 and comfort noise on 13.
pub fn session(now: Instant) -> MediaSession {
    let format = MediaFormat {
        remote: peer(),
        remote_rtcp: peer(),
        rtcp_mux: true,
        format: PCMU,
        payload_type: 0,
        telephone_event: Some((101, 8000)),
        comfort_noise: Some(13),
        ptime_ms: 20,
        send: true,
        receive: true,
        held: false,
    };
    let mut session = MediaSession::new(now, open_settings(), &mut Random::from_number(1));
    session.set_format(now, &format, true);
    session
}

/// A started stream that takes binary media.
pub fn stream(now: Instant) -> StreamSession {
    let mut random = Random::from_number(1);
    let mut stream = StreamSession::new(StreamSettings {
        stream_sid: StreamSid::mint(&mut random),
        call_sid: CallSid::mint(&mut random),
        account_sid: AccountSid::parse("acc1").expect("an account"),
        from: "sip:100".into(),
        to: "200".into(),
        custom_parameters: Vec::new(),
        sample_rate: SampleRate::Hz8000,
        chunk_ms: 100,
        dialect: DialectSettings::default(),
        extensions: true,
        binary_media: true,
        bidirectional: true,
        queue_ms: 120_000,
        drain_ms: 30_000,
        clear_scope: ClearScope::All,
        clear_marks: ClearMarks::Echo,
    });
    stream.handle_opened(now);
    stream
}

/// Datagrams on the RTP port, each with its length before it; a frame is taken now and then.
pub fn rtp(octets: &[u8]) {
    let (mut now, mut input, mut datagrams) = (Instant::now(), Input(octets), 0);
    let (mut session, mut pcm) = (session(now), Vec::new());
    while !input.is_empty() {
        let (length, wait) = (usize::from(input.u8()), u64::from(input.u8()));
        now += Duration::from_millis(wait);
        session.handle_rtp(now, peer(), input.take(length));
        datagrams += 1;
        session.handle_timeout(now);
        pcm.clear();
        session.pull(now, &mut pcm);
        assert_eq!(pcm.len(), 160, "RTP-007: 20 ms at every pull");
    }
    let report = session.report(now);
    let told = report.packets_received + report.malformed + report.unknown_payload_type + report.source_rejects;
    assert!(told <= datagrams, "{told} of {datagrams}");
}

/// Datagrams on the RTCP port, and reports of ours in between.
pub fn rtcp(octets: &[u8]) {
    let (mut now, mut input, mut out) = (Instant::now(), Input(octets), Vec::new());
    let mut session = session(now);
    while !input.is_empty() {
        let length = usize::from(input.u8());
        now += Duration::from_millis(700);
        session.handle_rtcp(now, peer(), input.take(length));
        session.packet(now, &[0; 160], &mut out);
        session.poll_rtcp(now, &mut out);
        let _ = session.report(now);
    }
}

/// Telephone-events and audio of one sender in any order: digits are keys, and no more of them than packets.
pub fn telephone_event(octets: &[u8]) {
    let (mut now, mut input, mut digits, mut events) = (Instant::now(), Input(octets), 0u32, 0u32);
    let (mut session, mut bytes, mut pcm, mut sequence) = (session(now), Vec::new(), Vec::new(), 0u16);
    while !input.is_empty() {
        let (kind, payload) = (input.u8(), input.take(4));
        now += Duration::from_millis(u64::from(kind >> 2));
        sequence = sequence.wrapping_add(u16::from(kind & 3));
        let payload_type = if kind & 0x80 == 0 { 101 } else { 0 };
        events += u32::from(payload_type == 101);
        let timestamp = u32::from(input.u8()) * 80;
        Packet { marker: kind & 0x40 != 0, payload_type, sequence, timestamp, ssrc: 7, payload }.write(&mut bytes);
        session.handle_rtp(now, peer(), &bytes);
        session.handle_timeout(now);
        pcm.clear();
        session.pull(now, &mut pcm);
        while let Some(event) = session.poll_event() {
            if let MediaEvent::Dtmf { digit, .. } = event {
                assert!("0123456789*#ABCD".contains(digit), "{digit:?} is no key");
                digits += 1;
            }
        }
    }
    assert!(digits <= events, "{digits} digits of {events} packets");
}

/// Text and binary frames of a bot, split at NUL.
pub fn stream_json(octets: &[u8]) {
    let mut now = Instant::now();
    let (mut stream, mut pcm) = (stream(now), Vec::new());
    for frame in octets.split(|octet| *octet == 0) {
        now += Duration::from_millis(20);
        match std::str::from_utf8(frame) {
            Ok(text) => stream.handle_text(now, text),
            Err(_) => stream.handle_binary(now, frame),
        }
        pcm.clear();
        stream.pull(now, 160, &mut pcm);
        assert!(pcm.len() <= 160, "no more than was asked for");
        stream.sent(now);
        while stream.poll_message().is_some() {}
        while stream.poll_event().is_some() {}
    }
    stream.handle_closed(now, SocketEnd::Oversize);
    let _ = (stream.report(), stream.poll_close());
}

/// One datagram on the SIP port.
pub fn sip_wire(octets: &[u8]) {
    let _ = (wire::is_keepalive(octets), wire::first_word(octets));
    let _ = wire::parse(octets);
}

/// Offers, split at NUL, in one dialog: whatever is answered can be read by an offerer of ours.
pub fn sdp(octets: &[u8]) {
    let rules = AddressRules { signalling: Vec::new(), allow_loopback: true, strict: None };
    let local = LocalMedia {
        address: [192, 0, 2, 1].into(),
        port: 10_000,
        formats: vec![PCMU, PCMA],
        prefer_ours: false,
        telephone_event: true,
        comfort_noise: true,
        ptime_ms: 20,
        rules,
    };
    let mut negotiation = Negotiation::new(local.clone(), 1);
    let mut offerer = Negotiation::new(LocalMedia { address: [192, 0, 2, 2].into(), ..local }, 2);
    for offer in octets.split(|octet| *octet == 0) {
        let before = negotiation.current().cloned();
        match negotiation.answer(offer) {
            Ok((answer, negotiated)) => {
                assert!(answer.starts_with(b"v=0\r\n"), "an answer is a session description");
                assert_eq!(negotiation.current(), Some(&negotiated));
            }
            Err(_) => assert_eq!(negotiation.current(), before.as_ref(), "SIP-074: a refused offer changes nothing"),
        }
        let _ = offerer.offer();
        let _ = offerer.accept(offer);
    }
}

/// A capture file.
pub fn pcap(octets: &[u8]) {
    let Ok(capture) = Capture::read(Path::new("fuzz.pcap"), octets) else { return };
    for stream in &capture.streams {
        let choice = Choice { stream: Some(stream.number), ssrc: None, codec: Some(PCMU) };
        let Ok(take) = capture.take(choice) else { continue };
        let packets = take.packets.len() as u64;
        assert_eq!(take.counts.packets, packets);
        assert!(take.packets.iter().all(|packet| matches!(Datagram::read(&packet.bytes), Datagram::Rtp(_))));
    }
    let _ = (capture.list(), capture.warnings());
}
