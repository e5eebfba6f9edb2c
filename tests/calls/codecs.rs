//! Calls in the codecs beyond G.711, there and back, and what is sent while the bot is quiet.

use std::time::Instant;

use trunkstream::base::rtp_format::{G722, L16, L16_WIDE, OPUS, RtpFormat};

use super::world::pbx::Plan;
use super::world::sound::{assert_follows, sine_of, speech, tone};
use super::world::text::{DIGITS, Offer, PCMA, PCMU, Rtp};
use super::world::{Scene, World, voicebot};

const CODECS: [(RtpFormat, (u8, &str), &str); 4] = [
    (G722, (9, "G722/8000"), "telephone-event/8000"),
    (OPUS, (107, "opus/48000/2"), "telephone-event/48000"),
    (L16_WIDE, (98, "L16/16000"), "telephone-event/16000"),
    (L16, (99, "L16/8000"), "telephone-event/8000"),
];

/// A bridge with a bot of `rate` that echoes, whose trunk takes every codec.
fn world(rate: u32) -> World {
    let url = format!("ws://bot.test/media?sample-rate={rate}");
    let trunk = r#"codecs = ["L16", "opus", "G722", "PCMU", "PCMA"]"#.to_owned();
    let mut world = World::new(&Scene { trunk, ..Scene::steps(&[voicebot("talk", &url, "")]) });
    world.bots.manner = super::world::bot::Manner::Echo;
    world
}

fn call(world: &mut World, codecs: &[(u8, &'static str)]) -> usize {
    let plan = world.pbx.plan();
    let offer = plan.offer.as_ref().map(|offer| offer.codecs(codecs));
    world.call_with(Plan { offer, ..plan })
}

/// One SSRC, no gap in numbers or time, `ticks` for every 20 ms.
fn assert_even(packets: &[(Instant, &Rtp)], ticks: u32) {
    assert!(packets.len() > 50);
    for pair in packets.windows(2) {
        assert_eq!((pair[1].0 - pair[0].0).as_micros(), 20_000);
        assert_follows(pair[0].1, pair[1].1, ticks);
    }
}

#[test]
fn sdp_004_a_tone_goes_to_the_bot_and_back_in_every_codec_at_every_rate_of_the_bot() {
    for (format, map, events) in CODECS {
        for rate in [8_000, 16_000, 24_000] {
            let mut world = world(rate);
            let phone = call(&mut world, &[map, (101, events)]);
            world.phone(phone).say(tone(1000.0, 8000, 4000));
            world.run(4000);
            let bot = world.bot(0).audio();
            let (amplitude, noise) = sine_of(1000.0, rate, &bot[rate as usize..3 * rate as usize]);
            let name = format.encoding_name;
            assert!((amplitude - 16_000.0).abs() < 1500.0 && noise > 20.0, "{name}, {rate}: {amplitude} {noise}");
            let ear = world.phone(phone).ear_in(&format, map.0);
            let own = if format == L16 { 8000 } else { 16_000 };
            let (amplitude, noise) = sine_of(1000.0, own, &ear[own as usize..3 * own as usize]);
            assert!((amplitude - 16_000.0).abs() < 2500.0 && noise > 18.0, "{name}, {rate}: {amplitude} {noise}");
            assert_even(&world.sent_to(phone), format.clock_rate / 50);
            world.hang_up(phone);
            let media = world.record().media;
            assert_eq!((media.codec, media.lost, media.late, media.discarded), (Some(name), 0, 0, 0));
            world.ends_clean();
        }
    }
}

#[test]
fn sdp_006_digits_arrive_on_the_clock_of_the_codec() {
    for (format, map, events) in CODECS {
        let mut world = world(16_000);
        let phone = call(&mut world, &[map, (101, events)]);
        world.run(500);
        assert!(world.phone(phone).media.send_digits("5"));
        world.run(500);
        let digits: Vec<_> = world.bot(0).events("dtmf").map(|event| event["dtmf"].clone()).collect();
        assert_eq!(digits.len(), 1, "{}: {digits:?}", format.encoding_name);
        assert_eq!(
            (&digits[0]["digit"], &digits[0]["duration"]),
            (&"5".into(), &"100".into()),
            "{}",
            format.encoding_name
        );
        world.ends_clean();
    }
}

#[test]
fn sdp_012_from_8000_to_48000_in_mid_call_the_bots_stream_has_no_hole() {
    let mut world = world(16_000);
    let phone = call(&mut world, &[PCMU, DIGITS]);
    world.phone(phone).say(tone(1000.0, 8000, 6000));
    world.run(2000);
    let opus = [(107, "opus/48000/2"), PCMU, (102, "telephone-event/48000")];
    world.reinvite(phone, Some(Offer::new(40_000).then("sendrecv").codecs(&opus)));
    let answer = world.phone(phone).reinvites[0].clone().expect("accepted");
    assert_eq!(answer.payload_types, [107, 102]);
    world.run(2000);
    let parts: Vec<usize> = world.bot(0).events("media").map(|media| super::world::bot::samples(media).len()).collect();
    assert!(parts.iter().all(|samples| *samples == 1600), "{parts:?}");
    assert!((39..=41).contains(&parts.len()), "{} parts of 100 ms in 4 s", parts.len());
    let (sent, change) = (world.sent_to(phone), |packet: &Rtp| packet.payload_type == 107);
    let first = sent.iter().position(|(_, packet)| change(packet)).expect("Opus is sent");
    assert_even(&sent[..first], 160);
    assert_even(&sent[first..], 960);
    assert!(sent[first].1.ssrc != sent[first - 1].1.ssrc, "RFC 3550, 5.2: another clock is another source");
    assert_eq!(sent[first].1.sequence, sent[first - 1].1.sequence.wrapping_add(1));
    let bot = world.bot(0).audio();
    let (amplitude, noise) = sine_of(1000.0, 16_000, &bot[bot.len() - 16_000..]);
    assert!((amplitude - 16_000.0).abs() < 1500.0 && noise > 20.0, "{amplitude} {noise}");
    world.hang_up(phone);
    assert_eq!(world.record().media.codec, Some("opus"));
    world.ends_clean();
}

#[test]
fn sdp_004_the_offers_order_decides_unless_the_trunk_names_codecs_and_l16_has_to_be_named() {
    let offered = [(98, "L16/16000"), (107, "opus/48000/2"), (9, "G722/8000"), PCMU, PCMA];
    for (trunk, chosen) in [
        ("", 107),
        (r#"codecs = ["PCMA", "G722"]"#, 8),
        (r#"codecs = ["g722", "opus"]"#, 9),
        (r#"codecs = ["L16"]"#, 98),
    ] {
        let mut world = World::new(&Scene { trunk: trunk.into(), ..Scene::default() });
        let phone = call(&mut world, &offered);
        assert_eq!(world.phone(phone).sdp.clone().expect("an answer").payload_types, [chosen], "{trunk}");
        world.run(500);
        world.ends_clean();
    }
}

#[test]
fn rtp_032_idle_tx_none_sends_while_the_bot_speaks_and_200_ms_longer() {
    let mut world = World::new(&Scene { trunk: r#"idle_tx = "none""#.into(), ..Scene::default() });
    let phone = world.call();
    world.run(2000);
    let opening = world.sent_to(phone).len();
    assert_eq!(opening, 10, "RTP-010: the way is opened");
    let began = world.now;
    world.bot_plays(0, &speech(0, 1000));
    world.run(3000);
    let sent = world.sent_to(phone);
    assert_eq!(sent.len(), opening + 50 + 10);
    let (before, after) = (&sent[opening - 1], &sent[opening]);
    assert!(after.1.marker && after.0 >= began);
    let gap = u32::try_from((after.0 - before.0).as_millis()).expect("a short gap");
    assert_eq!(after.1.timestamp.wrapping_sub(before.1.timestamp), gap * 8, "the clock ran on");
    assert_eq!(after.1.sequence, before.1.sequence.wrapping_add(1));
    world.ends_clean();
}

#[test]
fn rtp_032_idle_tx_cn_sends_comfort_noise_where_the_peer_offers_it() {
    for (codecs, noise) in [(&[PCMU, (13, "CN/8000"), DIGITS][..], true), (&[PCMU, DIGITS], false)] {
        let mut world = World::new(&Scene { trunk: r#"idle_tx = "cn""#.into(), ..Scene::default() });
        let phone = call(&mut world, codecs);
        world.run(2200);
        let sent = world.sent_to(phone);
        let comfort = sent.iter().filter(|(_, packet)| packet.payload_type == 13).count();
        let expected = if noise { (10..=11, 10) } else { (0..=0, sent.len()) };
        assert!(expected.0.contains(&comfort) && sent.len() - comfort == expected.1, "{comfort} of {}", sent.len());
        world.ends_clean();
    }
}
