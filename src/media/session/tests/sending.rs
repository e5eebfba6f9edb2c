//! Towards the caller.

use super::*;
use crate::base::rtp_format::PCMA;

#[test]
fn rtp_031_sequence_and_timestamp_run_on_and_the_first_packet_has_m() {
    let mut world = World::new();
    let (to, first) = world.send(&[1000; 160]).expect("a packet");
    let (_, second) = world.send(&[1000; 160]).expect("a packet");
    let (first, second) = (read(&first), read(&second));
    assert_eq!((to, first.payload_type, first.payload.len()), (peer(), 0, 160));
    assert!(first.marker && !second.marker && first.sequence < 0x8000);
    assert_eq!(second.sequence, first.sequence.wrapping_add(1));
    assert_eq!((second.timestamp.wrapping_sub(first.timestamp), second.ssrc), (160, first.ssrc));
    let (other_ssrc, mut other) = (first.ssrc, Random::from_number(5));
    let mut session = MediaSession::new(world.start, settings(), &mut other);
    session.set_format(world.start, &pcmu(), true);
    let mut out = Vec::new();
    session.packet(world.start, &[], &mut out);
    assert_ne!(read(&out).ssrc, other_ssrc);
}

#[test]
fn rtp_032_silence_is_sent_when_the_bot_is_quiet_or_short() {
    let mut world = World::new();
    assert_eq!(read(&world.send(&[]).expect("a packet").1).payload, [0xFF; 160]);
    let (_, packet) = world.send(&[32_124; 60]).expect("a packet");
    assert_eq!((&read(&packet).payload[..60], &read(&packet).payload[60..]), (&[0x80; 60][..], &[0xFF; 100][..]));
    let mut world = World::with(settings(), &MediaFormat { format: PCMA, payload_type: 8, ..pcmu() });
    assert_eq!(read(&world.send(&[]).expect("a packet").1).payload, [0xD5; 160]);
}

#[test]
fn rtp_033_on_hold_nothing_is_sent_and_the_clock_runs_on() {
    let mut world = World::new();
    let before = world.send(&[5; 160]).expect("a packet").1;
    let hold = MediaFormat { send: false, held: true, ..pcmu() };
    let now = world.now();
    world.session.set_format(now, &hold, false);
    (0..10).for_each(|_| assert_eq!(world.send(&[5; 160]), None));
    let now = world.now();
    world.session.set_format(now, &pcmu(), false);
    let after = world.send(&[5; 160]).expect("a packet").1;
    let (before, after) = (read(&before), read(&after));
    assert_eq!(after.sequence, before.sequence.wrapping_add(1));
    assert_eq!(after.timestamp, before.timestamp.wrapping_add(11 * 160));
    assert!(after.marker && after.ssrc == before.ssrc);
}

#[test]
fn sdp_010_a_hold_by_0_0_0_0_stops_rtp_and_rtcp_and_the_resume_restores_both() {
    let mut world = World::new();
    world.speak(100, 0x90);
    let (mut out, now) = (Vec::new(), world.now());
    let hold = MediaFormat { remote: "0.0.0.0:40000".parse().expect("an address"), held: true, ..pcmu() };
    world.session.set_format(now, &hold, true);
    assert_eq!(world.send(&[5; 160]), None);
    assert_eq!(world.session.poll_rtcp(now + Duration::from_secs(60), &mut out), None);
    world.session.set_format(now, &pcmu(), true);
    assert_eq!(world.send(&[5; 160]).map(|(to, _)| to), Some(peer()));
    assert!(world.session.poll_rtcp(now + Duration::from_secs(60), &mut out).is_some());
}

#[test]
fn rtp_030_skipped_packets_jump_the_timestamp_and_set_m() {
    let mut world = World::new();
    let first = world.send(&[]).expect("a packet").1;
    world.session.skip_packets(3);
    let second = world.send(&[]).expect("a packet").1;
    let (first, second) = (read(&first), read(&second));
    assert_eq!(
        (second.timestamp.wrapping_sub(first.timestamp), second.sequence),
        (640, first.sequence.wrapping_add(1))
    );
    assert!(second.marker);
}

#[test]
fn sdp_007_packets_have_the_ptime_at_every_stream_rate() {
    for ptime_ms in [10, 20, 30, 40, 60] {
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000] {
            let mut world = World::with(settings(), &MediaFormat { ptime_ms, ..pcmu() });
            world.session.set_stream_rate(rate);
            let samples = world.session.packet_samples();
            assert_eq!(samples, rate.samples(u32::from(ptime_ms)));
            let mut payload = Vec::new();
            for _ in 0..10 {
                let packet = world.send(&vec![15_996; samples]).expect("a packet").1;
                payload.extend_from_slice(read(&packet).payload);
            }
            assert_eq!(payload.len(), usize::from(ptime_ms) * 80);
            assert!(payload[80..].iter().all(|code| (0x8F..=0x91).contains(code)), "{ptime_ms} ms at {rate:?}");
        }
    }
}

#[test]
fn clearing_the_queue_drops_the_tail_in_the_resampler() {
    let mut world = World::new();
    world.session.set_stream_rate(SampleRate::Hz16000);
    world.send(&[20_000; 320]);
    world.session.clear_playout();
    assert_eq!(read(&world.send(&[]).expect("a packet").1).payload, [0xFF; 160]);
    world.send(&[20_000; 320]);
    assert_ne!(read(&world.send(&[]).expect("a packet").1).payload, [0xFF; 160], "without it the tail is played");
}

#[test]
fn rtp_063_digits_are_sent_in_place_of_audio_and_heard_by_another_session() {
    let (mut sender, mut receiver) = (World::new(), World::new());
    assert!(sender.session.send_digits("15#"));
    let mut audio = 0;
    for _ in 0..40 {
        let packet = sender.send(&[1000; 160]).expect("a packet").1;
        let now = receiver.now();
        receiver.session.handle_rtp(now, peer(), &packet);
        receiver.tick();
        audio += usize::from(read(&packet).payload_type == 0 && read(&packet).payload != [0xFF; 160]);
    }
    assert_eq!(digits(&receiver.events()), "15#");
    assert_eq!((audio, receiver.report().lost), (40 - 30, 0), "200 ms for each digit, then audio");
    assert!(!sender.session.is_sending_digits());
    let mut without = World::with(settings(), &MediaFormat { telephone_event: None, ..pcmu() });
    assert!(!without.session.send_digits("1"));
}

#[test]
fn rtp_040_reports_go_to_the_rtcp_port_and_a_goodbye_ends_them() {
    let mut world = World::new();
    world.speak(100, 0x90);
    world.send(&[]);
    let mut out = Vec::new();
    assert_eq!(world.session.poll_rtcp(world.now(), &mut out), None);
    let later = world.now() + Duration::from_secs(4);
    let to = world.session.poll_rtcp(later, &mut out);
    assert_eq!((to.map(|to| to.port()), out[1]), (Some(40_001), 200));
    assert_eq!(world.session.goodbye(later, &mut out).map(|to| to.port()), Some(40_001));
    assert_eq!(out[out.len() - 11], 203);
}
