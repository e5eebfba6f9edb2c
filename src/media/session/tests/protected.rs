//! SRTP in a session (SDP-018, RTP-014).

use super::*;
use crate::base::srtp::{MASTER_KEY_LEN, MasterKey, SrtpKeys, SrtpSuite};
use crate::media::rtp::srtp::Srtp;

pub(super) fn keys(send: u8, receive: u8) -> SrtpKeys {
    let key = |octet| MasterKey::new([octet; MASTER_KEY_LEN]);
    SrtpKeys { suite: SrtpSuite::HmacSha1_80, send: key(send), receive: key(receive) }
}

/// A session under SRTP and the peer's end of it.
fn world() -> (World, Srtp) {
    let mut world = World::new();
    world.session.set_srtp(Some(&keys(1, 2)));
    (world, Srtp::new(&keys(2, 1)))
}

impl World {
    fn protected(&mut self, srtp: &mut Srtp, payload: &[u8]) -> Vec<u8> {
        let Self { sequence, timestamp, ssrc, .. } = *self;
        let mut bytes = Vec::new();
        Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload }.write(&mut bytes);
        srtp.protect_rtp(&mut bytes);
        self.sequence = sequence.wrapping_add(1);
        bytes
    }

    fn speak_protected(&mut self, srtp: &mut Srtp, ms: u64, code: u8) {
        for _ in 0..ms / 20 {
            let bytes = self.protected(srtp, &[code; 160]);
            self.session.handle_rtp(self.now(), peer(), &bytes);
            self.tick();
        }
    }
}

#[test]
fn sdp_018_speech_is_heard_and_sent_through_srtp_over_the_wrap_of_the_numbers() {
    let (mut world, mut caller) = world();
    world.sequence = 32_000;
    world.speak_protected(&mut caller, 1000, 0x80);
    let middle = &world.heard[world.heard.len() / 2..];
    assert!(middle.iter().all(|sample| *sample == middle[0]) && middle[0] != 0, "not noise");
    for n in 0..5 {
        let (to, bytes) = world.send(&[8031; 160]).expect("sending");
        assert_eq!((to, bytes.len()), (peer(), 182));
        let plain = caller.unprotect_rtp(&bytes).expect("authentic").as_ref().to_vec();
        assert_eq!(read(&plain).payload, [read(&plain).payload[0]; 160], "packet {n}");
        assert_ne!(read(&bytes).payload[..160], *read(&plain).payload);
    }
    let report = world.report();
    assert_eq!((report.packets_received, report.lost, report.srtp_not_authentic), (50, 0, 0));
    assert_eq!(report.srtp, Some("AES_CM_128_HMAC_SHA1_80"));
}

#[test]
fn rtp_014_packets_that_are_not_authentic_are_not_heard_and_lock_nothing() {
    let (mut world, mut caller) = world();
    let mut stranger = Srtp::new(&keys(9, 1));
    world.speak_protected(&mut stranger, 1000, 0x80);
    world.speak(1000, 0x80);
    assert!(world.heard.iter().all(|sample| *sample == 0));
    let report = world.report();
    assert_eq!((report.srtp_not_authentic, report.packets_received, report.source), (100, 0, None));
    world.speak_protected(&mut caller, 200, 0x80);
    assert_eq!(world.report().source, Some(peer()));
    assert!(world.heard[world.heard.len() - 160..].iter().all(|sample| *sample != 0));
}

#[test]
fn rfc_3711_3_3_2_a_replayed_packet_is_dropped_and_counted() {
    let (mut world, mut caller) = world();
    let packets: Vec<_> = (0..20).map(|_| world.protected(&mut caller, &[0x80; 160])).collect();
    for bytes in &packets {
        world.session.handle_rtp(world.now(), peer(), bytes);
        world.session.handle_rtp(world.now(), peer(), bytes);
        world.tick();
    }
    world.silence(400);
    world.heard.clear();
    for bytes in &packets {
        world.session.handle_rtp(world.now(), peer(), bytes);
        world.tick();
    }
    assert!(world.heard.iter().all(|sample| *sample == 0));
    let report = world.report();
    assert_eq!((report.srtp_replays, report.packets_received, report.duplicate), (40, 20, 0));
}

#[test]
fn rtp_040_reports_go_out_encrypted_and_only_authentic_ones_are_read() {
    let (mut world, mut caller) = world();
    world.speak_protected(&mut caller, 4000, 0x80);
    let (rtcp, mut out) = ("192.0.2.10:40001".parse().expect("an address"), Vec::new());
    assert_eq!(world.session.poll_rtcp(world.now(), &mut out), Some(rtcp));
    let plain = caller.unprotect_rtcp(&out).expect("authentic").as_ref().to_vec();
    assert_eq!((plain[1], plain.len() + 14), (201, out.len()));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let mut protected = report.to_vec();
    caller.protect_rtcp(&mut protected);
    let elsewhere = "192.0.2.10:50001".parse().expect("an address");
    world.session.handle_rtcp(world.now(), elsewhere, &report);
    world.session.handle_rtcp(world.now(), elsewhere, &[&report[..], &[0; 14]].concat());
    assert_eq!((world.report().rtcp_malformed, world.report().srtp_not_authentic), (1, 1));
    assert_eq!(world.session.goodbye(world.now(), &mut out), Some(rtcp), "RTP-014: moved by authentic reports only");
    world.session.handle_rtcp(world.now(), elsewhere, &protected);
    assert_eq!(world.report().rtcp_received, 1);
    assert_eq!(world.session.goodbye(world.now(), &mut out), Some(elsewhere));
    let goodbye = caller.unprotect_rtcp(&out).expect("authentic").as_ref().to_vec();
    assert!(goodbye.windows(2).any(|octets| octets == [0x81, 203]));
}

#[test]
fn sdp_018_new_keys_in_a_call_take_over_and_the_stream_goes_on() {
    let (mut world, mut caller) = world();
    world.speak_protected(&mut caller, 500, 0x80);
    let (_, before) = world.send(&[0; 160]).expect("sending");
    world.session.set_srtp(Some(&keys(3, 4)));
    assert!(world.session.set_format(world.now(), &pcmu(), true));
    world.speak_protected(&mut caller, 40, 0x80);
    let mut after = Srtp::new(&keys(4, 3));
    world.speak_protected(&mut after, 500, 0x80);
    let (_, bytes) = world.send(&[0; 160]).expect("sending");
    assert!(caller.unprotect_rtp(&before).is_ok() && caller.unprotect_rtp(&bytes).is_err());
    let plain = after.unprotect_rtp(&bytes).expect("authentic").as_ref().to_vec();
    let (before, plain) = (read(&before), read(&plain));
    assert_eq!((plain.ssrc, plain.sequence), (before.ssrc, before.sequence.wrapping_add(1)));
    let report = world.report();
    assert_eq!((report.srtp_not_authentic, report.lost, report.source), (0, 0, Some(peer())));
}

#[test]
fn sdp_018_padding_and_telephone_events_come_through() {
    let (mut world, mut caller) = world();
    let mut bytes = Vec::new();
    let event = Event { code: 5, end: true, duration: 800 }.octets();
    Packet { marker: true, payload_type: 101, sequence: 9, timestamp: 0, ssrc: 1, payload: &event }.write(&mut bytes);
    bytes.extend([0, 0, 0, 4]);
    bytes[0] |= 0x20;
    caller.protect_rtp(&mut bytes);
    world.session.handle_rtp(world.now(), peer(), &bytes);
    world.silence(600);
    assert_eq!(digits(&world.events()), "5");
}
