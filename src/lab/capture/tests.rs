//! Captures made up here: streams, calls with SIP, and what cannot be replayed.

use std::sync::Arc;

use super::*;
use crate::base::random::Random;
use crate::base::rtp_format::{PCMA, PCMU};
use crate::media::rtp::packet::{Datagram, Packet};

/// A pcap of raw IP, made of UDP datagrams.
#[derive(Default)]
struct File(Vec<u8>);

impl File {
    fn new() -> Self {
        let words = [0xA1B2_C3D4u32, 0x0004_0002, 0, 0, 65_535, 101];
        Self(words.iter().flat_map(|word| word.to_le_bytes()).collect())
    }

    fn udp(
        mut self,
        ms: u32,
        (from, from_port): ([u8; 4], u16),
        (to, to_port): ([u8; 4], u16),
        payload: &[u8],
    ) -> Self {
        let length = (payload.len() + 8) as u16;
        let mut packet = vec![0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0];
        packet.extend(from.iter().chain(&to));
        packet.extend([from_port, to_port, length, 0].iter().flat_map(|word| word.to_be_bytes()));
        packet.extend(payload);
        let head = [7 + ms / 1000, ms % 1000 * 1000, packet.len() as u32, packet.len() as u32];
        self.0.extend(head.iter().flat_map(|word| word.to_le_bytes()));
        self.0.extend(packet);
        self
    }

    /// Audio from `from` to `to`: a packet every 20 ms.
    fn talk(mut self, from: ([u8; 4], u16), to: ([u8; 4], u16), payload_type: u8, sequences: &[u16]) -> Self {
        for (sequence, ms) in sequences.iter().zip((0..).step_by(20)) {
            let packet = rtp(payload_type, *sequence, u32::from(*sequence) * 160, &[0xD5; 160]);
            self = self.udp(ms, from, to, &packet);
        }
        self
    }

    fn sip(self, ms: u32, from: ([u8; 4], u16), to: ([u8; 4], u16), text: &str, sdp: &str) -> Self {
        let message = format!("{text}\r\nCall-ID: 1\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len());
        self.udp(ms, from, to, message.as_bytes())
    }

    fn read(&self) -> Result<Capture, CaptureError> {
        Capture::read(Path::new("call.pcap"), &self.0)
    }

    fn take(&self, choice: Choice) -> Result<Take, String> {
        self.read().and_then(|capture| capture.take(choice)).map_err(|error| error.to_string())
    }
}

fn rtp(payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet { marker: false, payload_type, sequence, timestamp, ssrc: 0xABCD, payload }.write(&mut bytes);
    bytes
}

const PHONE: ([u8; 4], u16) = ([192, 0, 2, 10], 40_000);
const BRIDGE: ([u8; 4], u16) = ([192, 0, 2, 20], 20_000);
const PBX_SIP: ([u8; 4], u16) = ([192, 0, 2, 9], 5060);
const BRIDGE_SIP: ([u8; 4], u16) = ([192, 0, 2, 20], 5060);

fn sdp(address: [u8; 4], port: u16, formats: &str, attributes: &str) -> String {
    let address = std::net::Ipv4Addr::from(address);
    format!(
        "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {port} {formats}\r\n{attributes}"
    )
}

fn number(number: usize) -> Choice {
    Choice { stream: Some(number), ..Choice::default() }
}

#[test]
fn of_two_streams_the_caller_s_is_that_of_the_invite_s_sender() {
    let both = File::new().talk(BRIDGE, PHONE, 0, &[1, 2, 3, 4]).talk(PHONE, BRIDGE, 8, &[1, 2, 3, 4]);
    let said = both.take(Choice::default()).expect_err("whose call is it?");
    assert!(said.starts_with("call.pcap: 2 RTP streams") && said.contains("--stream N"), "{said}");
    assert!(
        said.contains("1  192.0.2.20:20000 -> 192.0.2.10:40000, 0.1 s, payload type 0 × 4, SSRC 0000abcd"),
        "{said}"
    );
    let offer = sdp(PHONE.0, PHONE.1, "RTP/AVP 8", "");
    let call = both.sip(0, PBX_SIP, BRIDGE_SIP, "INVITE sip:1000@192.0.2.20 SIP/2.0", &offer);
    let take = call.take(Choice::default()).expect("the caller's");
    assert_eq!((take.number, take.format, take.from.port()), (2, PCMA, 40_000));
    assert_eq!(call.take(number(1)).expect("the other").format, PCMU);
    assert!(call.take(number(3)).is_err_and(|said| said.contains("no stream 3")));
    let nobody = Choice { ssrc: Some(1), ..Choice::default() };
    assert!(call.take(nobody).is_err_and(|said| said.contains("no SSRC 00000001")));
}

#[test]
fn payload_types_mean_what_sip_says_else_what_is_static_else_what_they_look_like() {
    let mut file = File::new().talk(PHONE, BRIDGE, 0, &[1, 2, 3]);
    for (step, ms) in (1..=4u16).zip((60..).step_by(20)) {
        let duration = (step * 320).to_be_bytes();
        file = file.udp(ms, PHONE, BRIDGE, &rtp(110, 3 + step, 480, &[5, 10, duration[0], duration[1]]));
    }
    let take = file.take(Choice::default()).expect("a call");
    assert_eq!(
        (take.format, take.payload_type, take.telephone_event),
        (PCMU, 0, Some((110, 16_000))),
        "20 ms are 320 ticks"
    );
    assert_eq!((take.counts.audio, take.counts.event, take.counts.lost), (3, 4, 0));
    let dynamic = File::new().talk(PHONE, BRIDGE, 98, &[1, 2, 3]);
    assert!(
        dynamic
            .take(Choice::default())
            .is_err_and(|said| said.contains("stream 1, packet 1") && said.contains("--codec"))
    );
    let told = Choice { codec: Some(PCMA), ..Choice::default() };
    assert_eq!(dynamic.take(told).map(|take| (take.format, take.payload_type)), Ok((PCMA, 98)));
    let answer =
        sdp(BRIDGE.0, BRIDGE.1, "RTP/AVP 98 13", "a=rtpmap:98 pcma/8000\r\na=rtpmap:99 telephone-event/8000\r\n");
    let described = dynamic.sip(0, BRIDGE_SIP, PBX_SIP, "SIP/2.0 200 OK", &answer);
    assert_eq!(described.take(Choice::default()).map(|take| take.format), Ok(PCMA));
}

#[test]
fn what_cannot_be_decoded_is_named_with_file_stream_and_packet() {
    let g729 = File::new().talk(PHONE, BRIDGE, 18, &[1, 2, 3]);
    let said = g729.take(Choice::default()).expect_err("not ours");
    assert!(said.starts_with("call.pcap: stream 1, packet 1: payload type 18 is G729"), "{said}");
    let answer = sdp(BRIDGE.0, BRIDGE.1, "RTP/SAVP 0", "");
    let srtp = File::new().talk(PHONE, BRIDGE, 0, &[1, 2, 3]).sip(0, BRIDGE_SIP, PBX_SIP, "SIP/2.0 200 OK", &answer);
    assert!(srtp.take(Choice::default()).is_err_and(|said| said.contains("encrypted")));
    let silent = File::new().udp(0, PBX_SIP, BRIDGE_SIP, b"hello");
    let said = silent.take(Choice::default()).expect_err("no RTP");
    assert_eq!(said, "call.pcap: no RTP in it: 1 packets, of them 1 UDP datagrams");
}

#[test]
fn a_file_that_ends_early_is_used_up_to_there_with_a_warning() {
    let mut file = File::new().talk(PHONE, BRIDGE, 0, &[1, 2, 3, 4, 5]);
    file.0.truncate(file.0.len() - 10);
    let capture = file.read().expect("four packets");
    assert_eq!((capture.frames, capture.streams[0].payload_types[&0]), (4, 4));
    assert_eq!(capture.warnings(), ["the file ends within packet 5; what came before is used"]);
}

#[test]
fn a_playback_keeps_timing_losses_copies_and_order_and_numbers_anew() {
    let mut file = File::new().talk(PHONE, BRIDGE, 8, &[9, 11, 10, 10, 13]);
    for (step, ms) in (1..=3u16).zip((100..).step_by(20)) {
        let duration = (step * 320).to_be_bytes();
        file = file.udp(ms, PHONE, BRIDGE, &rtp(110, 13 + step, 2240, &[5, 10, duration[0], duration[1]]));
    }
    let take = Arc::new(file.take(Choice::default()).expect("a call"));
    let spoken = Spoken { payload_type: 8, telephone_event: Some((101, 8_000)) };
    let mut playback = Playback::new(take, spoken, Random::from_number(1));
    let (mut out, mut seen) = (Vec::new(), Vec::new());
    assert!(playback.poll(Duration::ZERO, &mut out) && !playback.poll(Duration::from_millis(19), &mut Vec::new()));
    loop {
        let Datagram::Rtp(packet) = Datagram::read(&out) else { panic!("RTP") };
        seen.push((packet.sequence, packet.timestamp, packet.payload_type, packet.ssrc, packet.payload.to_vec()));
        let Some(due) = playback.poll_timeout() else { break };
        assert!(playback.poll(due, &mut out));
    }
    let steps: Vec<u16> = seen.iter().map(|packet| packet.0.wrapping_sub(seen[0].0)).collect();
    assert_eq!(steps, [0, 2, 1, 1, 4, 5, 6, 7]);
    assert!(seen.iter().all(|packet| packet.3 == seen[0].3 && packet.3 != 0xABCD), "one SSRC, not the captured one");
    assert_eq!(seen[4].1.wrapping_sub(seen[0].1), 4 * 160);
    assert_eq!(
        (seen[0].2, seen[5].2, &seen[5].4[..]),
        (8, 101, &[5, 10, 0, 160][..]),
        "160 ticks of 8 kHz for 320 of 16 kHz"
    );
    assert_eq!(playback.sent(), 8);
}
