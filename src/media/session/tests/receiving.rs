//! Towards the bot.

use proptest::prelude::*;

use super::*;
use crate::base::rtp_format::PCMA;
use crate::media::event::DtmfSource;

#[test]
fn rtp_035_g711_comes_through_bit_exact_at_8_khz() {
    for (format, payload_type) in [(PCMU, 0), (PCMA, 8)] {
        let mut world = World::with(settings(), &MediaFormat { format, payload_type, ..pcmu() });
        let codes: Vec<u8> = (0..16_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        for packet in codes.chunks(160) {
            world.receive(payload_type, packet);
            world.tick();
        }
        world.silence(100);
        let mut expected = Vec::new();
        codec::of_format(&format).expect("a codec").decoder().decode(&codes, &mut expected);
        assert_eq!(world.heard[2 * 160..][..16_000], expected, "two ticks of delay, then every sample");
        let report = world.report();
        assert_eq!(
            (report.packets_received, report.bytes_received, report.lost, report.concealed_ms),
            (100, 16_000, 0, 0)
        );
    }
}

#[test]
fn rtp_007_every_pull_is_20_ms_at_the_streams_rate() {
    for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000] {
        let mut world = World::new();
        world.session.set_stream_rate(rate);
        world.silence(100);
        world.speak(200, 0x90);
        world.silence(300);
        assert_eq!(world.heard.len(), rate.samples(600));
        let middle = &world.heard[rate.samples(200)..rate.samples(300)];
        assert!(middle.iter().all(|sample| (15_900..16_300).contains(sample)), "{rate:?}: {:?}", &middle[..4]);
    }
}

#[test]
fn rtp_001_garbage_other_payload_types_and_strangers_are_counted_and_dropped() {
    let mut world = World::new();
    let now = world.now();
    world.session.handle_rtp(now, peer(), b"hello");
    world.receive(97, &[0; 4]);
    world.receive(0, &[]);
    world.receive(0, &[0; 1601]);
    world.session.handle_rtp(now, "203.0.113.5:40000".parse().expect("an address"), &[0x80; 172]);
    let report = world.report();
    assert_eq!((report.malformed, report.unknown_payload_type, report.source_rejects), (1, 1, 1));
    assert_eq!((report.implausible, report.discarded), (2, 0));
}

#[test]
fn rtp_002_the_first_packet_is_heard_without_waiting_for_a_second() {
    let mut world = World::new();
    world.receive(0, &[0x80; 160]);
    world.silence(100);
    assert_eq!(world.heard[320..480], [32_124; 160]);
}

#[test]
fn rtp_003_another_ssrc_is_followed_at_once() {
    let mut world = World::new();
    world.speak(400, 0x90);
    (world.ssrc, world.sequence, world.timestamp) = (2, 7, 1_000_000);
    world.speak(400, 0x91);
    world.silence(40);
    let report = world.report();
    assert_eq!((report.ssrc_changes, report.lost, report.concealed_ms, report.discarded), (1, 0, 0, 0));
    assert!(world.heard[320..].iter().all(|sample| *sample != 0), "no break");
    assert!(world.events().contains(&MediaEvent::SsrcChanged));
}

#[test]
fn rtp_003_of_two_interleaved_ssrcs_the_newer_is_heard_until_it_stops() {
    let mut world = World::new();
    world.speak(200, 0x90);
    let both = |world: &mut World, codes: &[(u32, u8)]| {
        for (ssrc, code) in codes {
            world.ssrc = *ssrc;
            world.receive(0, &[*code; 160]);
        }
        world.tick();
    };
    (0..10).for_each(|_| both(&mut world, &[(1, 0x90), (2, 0x80)]));
    let from = world.heard.len();
    (0..10).for_each(|_| both(&mut world, &[(1, 0x90), (2, 0x80)]));
    assert!(world.heard[from..].iter().all(|sample| *sample == 32_124), "never the older, never a mixture");
    world.silence(220);
    world.ssrc = 1;
    world.speak(200, 0x90);
    assert_eq!(world.report().ssrc_changes, 2, "the older, silent for more than 200 ms, is new again");
}

#[test]
fn rtp_004_events_of_another_ssrc_and_base_do_not_disturb_the_audio() {
    let mut world = World::with(MediaSettings { dtmf_mute: false, ..settings() }, &pcmu());
    for n in 0..50_u16 {
        world.receive(0, &[0x90; 160]);
        if (10..20).contains(&n) {
            let payload = Event { code: 3, end: n >= 17, duration: 160 * (n.min(17) - 10) }.octets();
            let sequence = 30_000 + n.min(17);
            world.receive_packet(&Packet {
                marker: n == 10,
                payload_type: 101,
                sequence,
                timestamp: 99,
                ssrc: 77,
                payload: &payload,
            });
        }
        world.tick();
    }
    let report = world.report();
    assert_eq!(
        (report.lost, report.ssrc_changes, report.duplicate, report.concealed_ms, report.dtmf_digits),
        (0, 0, 0, 0, 1)
    );
    assert!(world.heard[320..].iter().all(|sample| *sample != 0));
}

#[test]
fn rtp_006_comfort_noise_is_silence_and_no_loss() {
    let mut world = World::with(settings(), &MediaFormat { comfort_noise: Some(13), ..pcmu() });
    world.speak(200, 0x90);
    world.receive(13, &[70]);
    world.silence(800);
    world.speak(200, 0x90);
    world.silence(60);
    let report = world.report();
    assert_eq!((report.lost, report.concealed_ms), (0, 0));
    let sound = world.heard.iter().filter(|sample| **sample != 0).count();
    assert_eq!(sound, 20 * 160 + 160, "all that was said, and one frame that fades out after the last packet");
}

#[test]
fn rtp_006_where_noise_is_wanted_comfort_noise_is_as_loud_as_the_sender_says() {
    let settings = MediaSettings { fill: Fill::Noise, ..settings() };
    let mut world = World::with(settings, &MediaFormat { comfort_noise: Some(13), ..pcmu() });
    world.speak(400, 0x90);
    world.receive(13, &[40]);
    world.silence(800);
    let gap = &world.heard[world.heard.len() - 20 * 160..];
    let power = gap.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / gap.len() as f64;
    let level = 20.0 * (power.sqrt() / 32_768.0).log10();
    assert!((level + 40.0).abs() < 1.0, "{level} dBov");
    assert_eq!(world.report().concealed_ms, 0);
}

#[test]
fn rtp_007_on_hold_there_is_noise_where_noise_is_wanted() {
    let hold = MediaFormat { send: false, held: true, ..pcmu() };
    let mut world = World::with(MediaSettings { fill: Fill::Noise, ..settings() }, &hold);
    world.speak(200, 0x90);
    assert!(world.heard.iter().any(|sample| *sample != 0) && world.heard.iter().all(|sample| sample.abs() < 100));
}

#[test]
fn rtp_020_the_record_tells_the_delay_that_is_aimed_at_and_the_greatest() {
    let mut world = World::new();
    assert_eq!((world.report().jitter_buffer_ms, world.report().jitter_buffer_max_ms), (40, 40));
    world.speak(3000, 0xFF);
    let report = world.report();
    assert_eq!((report.jitter_buffer_ms, report.jitter_buffer_max_ms, report.frames_removed), (20, 40, 1));
}

#[test]
fn rtp_056_a_digit_is_reported_when_it_ends() {
    let mut world = World::new();
    world.speak(200, 0x90);
    world.press('5', None);
    world.speak(200, 0x90);
    let expected = MediaEvent::Dtmf { digit: '5', duration_ms: 100, source: DtmfSource::Rtp };
    assert!(world.events().contains(&expected));
    assert_eq!((world.report().dtmf_digits, world.report().lost, world.report().concealed_ms), (1, 0, 0));
}

#[test]
fn rtp_062_the_gap_an_event_makes_is_silence_and_never_a_repeated_frame() {
    let mut world = World::with(MediaSettings { dtmf_mute: false, ..settings() }, &pcmu());
    world.speak(200, 0x90);
    world.press('5', None);
    world.speak(200, 0x90);
    world.silence(40);
    let sound = world.heard.iter().filter(|sample| **sample != 0).count();
    assert_eq!(sound, 20 * 160);
}

#[test]
fn rtp_062_audio_beside_a_digit_is_muted_while_it_lasts() {
    let mut world = World::new();
    world.speak(400, 0x90);
    world.press('5', Some(0x80));
    world.speak(400, 0x90);
    assert!(world.heard.iter().all(|sample| *sample != 32_124), "nothing of the tone");
    assert!(world.heard.last().is_some_and(|sample| *sample != 0), "speech is back");
    let mut open = World::with(MediaSettings { dtmf_mute: false, ..settings() }, &pcmu());
    open.speak(400, 0x90);
    open.press('5', Some(0x80));
    open.silence(60);
    assert!(open.heard.contains(&32_124), "unless the trunk wants it");
}

#[test]
fn rtp_054_an_event_without_end_is_ended_by_the_timeout() {
    let mut world = World::new();
    world.receive(101, &Event { code: 1, end: false, duration: 480 }.octets());
    assert_eq!(world.session.poll_timeout(), Some(world.now() + Duration::from_millis(200)));
    world.silence(220);
    assert_eq!(digits(&world.events()), "1");
}

#[test]
fn rtp_059_info_counts_until_an_event_has_been_seen() {
    let mut world = World::new();
    let now = world.now();
    world.session.info_digit(now, '1', 160);
    world.silence(1000);
    world.press('2', None);
    let now = world.now();
    world.session.info_digit(now, '2', 160);
    world.session.info_digit(now, '3', 160);
    assert_eq!(digits(&world.events()), "12");
}

#[test]
fn sdp_011_music_on_hold_does_not_reach_the_bot_unless_wanted() {
    for (pass, heard) in [(false, false), (true, true)] {
        let hold = MediaFormat { send: false, held: true, ..pcmu() };
        let mut world = World::with(MediaSettings { hold_audio_pass: pass, ..settings() }, &hold);
        world.speak(200, 0x90);
        assert_eq!(world.heard.iter().any(|sample| *sample != 0), heard);
    }
}

#[test]
fn sdp_012_the_decoder_follows_the_payload_type_packet_by_packet() {
    let mut world = World::new();
    world.speak(200, 0x80);
    let now = world.now();
    world.session.set_format(now, &MediaFormat { format: PCMA, payload_type: 8, ..pcmu() }, false);
    let before = read(&world.send(&[]).expect("a packet").1).timestamp;
    world.ms -= 20;
    world.speak(40, 0x80);
    for _ in 0..5 {
        world.receive(8, &[0x2A; 160]);
        world.tick();
    }
    world.silence(20);
    let loud: Vec<i16> = world.heard[320..].chunks(160).map(|frame| frame[0]).collect();
    assert_eq!(loud, [&[32_124; 12][..], &[-32_256; 4]].concat());
    assert_eq!((world.report().codec, world.report().unknown_payload_type), (Some("PCMA"), 0));
    let next = world.send(&[]).expect("a packet").1;
    assert_eq!((read(&next).timestamp, read(&next).payload_type), (before.wrapping_add(160), 8));
}

proptest! {
    #[test]
    fn rtp_001_no_packet_makes_the_session_panic(
        packets in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..200), 0_u8..8, 0_u64..50), 0..60),
    ) {
        let mut world = World::with(settings(), &MediaFormat { comfort_noise: Some(13), ..pcmu() });
        for (mut bytes, kind, wait) in packets {
            if let [first, second, ..] = &mut bytes[..] {
                (*first, *second) = match kind {
                    0 => (*first, *second),
                    1 => (0x80, 200 + (*second & 7)),
                    2 | 3 => (0x80, 101),
                    4 => (0x80, 13),
                    _ => (0x80, 0),
                };
            }
            let now = world.now();
            world.session.handle_rtp(now, peer(), &bytes);
            world.session.handle_rtcp(now, "192.0.2.10:40001".parse().expect("an address"), &bytes);
            world.session.pull(now, &mut world.heard);
            world.ms += wait;
            world.session.handle_timeout(world.now());
        }
    }
}

#[test]
fn rtp_002_a_sender_that_restarts_with_other_numbers_goes_on_after_one_packet() {
    let mut world = World::new();
    world.speak(400, 0x90);
    (world.sequence, world.timestamp) = (world.sequence.wrapping_add(20_000), 900_000_000);
    world.speak(400, 0x90);
    world.silence(40);
    let report = world.report();
    assert_eq!((report.ssrc_changes, report.lost, report.discarded, report.late), (0, 0, 1, 0));
    let silent = world.heard[320..].iter().filter(|sample| **sample == 0).count();
    assert!(silent <= 160, "{silent} samples of silence");
}
