//! A call from the INVITE to the BYE, and what both ends hear of each other.

use std::time::Duration;

use super::world::bot::{Manner, Pickup};
use super::world::sound::{assert_even, find, is_silent, payloads, sine_of, speech, tone};
use super::world::text::{DIGITS, Offer, PCMA};
use super::world::{Scene, World, voicebot};

#[test]
fn sip_060_a_call_rings_is_answered_when_the_bot_is_connected_and_ends_with_the_callers_bye() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    let (rung, answered) = (world.phone(phone).ringing.expect("a 180"), world.phone(phone).answered.expect("a 200"));
    let opened = world.bot(0).opened.expect("a bot");
    assert!((rung - world.start) < Duration::from_millis(200), "SIP-031: within 200 ms");
    assert_eq!(answered - opened, Duration::from_millis(3), "the 200 leaves when the bot is connected");
    world.run(1000);
    world.hang_up(phone);
    let record = world.record();
    assert_eq!((record.end.by, record.end.why, record.end.q850), ("caller", "caller_hangup", Some(16)));
    assert_eq!((record.ringing_after_ms, record.answered_after_ms), (Some(0), Some(41)));
    let lines: Vec<String> = world.link.ladder.iter().map(|rung| rung.line.clone()).collect();
    let expected = ["INVITE", "SIP/2.0 100", "SIP/2.0 180", "SIP/2.0 200", "ACK", "BYE", "SIP/2.0 200"];
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    assert!(lines.iter().zip(expected).all(|(line, start)| line.starts_with(start)), "{lines:?}");
    world.ends_clean();
}

#[test]
fn the_start_message_says_who_calls_whom_and_in_what_format() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(300);
    world.hang_up(phone);
    let record = world.record();
    let bot = world.bot(0);
    assert_eq!(bot.heard[0].1.to_string(), r#"{"event":"connected"}"#);
    assert_eq!(bot.heard[1].1["event"], "start");
    let start = bot.start();
    assert_eq!((&start["from"], &start["to"]), (&"sip:08061234567".into(), &"1000".into()));
    assert_eq!(start["account_sid"], "acc1");
    assert_eq!(start["call_sid"], record.call_sid.as_str());
    assert_eq!(start["stream_sid"], record.streams[0].stream_sid.as_str());
    assert_eq!(start["media_format"]["sample_rate"], "8000");
    assert_eq!(start["custom_parameters"].to_string(), "{}");
    world.ends_clean();
}

#[test]
fn a_caller_gone_is_told_to_the_bot_with_the_last_part_of_its_audio_and_a_close_1000() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(1030);
    world.hang_up(phone);
    world.run(10);
    let bot = world.bot(0);
    let (last, message) = bot.heard.last().expect("messages");
    assert_eq!(message["stop"]["reason"], "callended");
    assert_eq!(bot.closed, Some((*last, 1000)));
    let sequence = bot.heard.iter().skip(1).map(|(_, message)| message["sequence_number"].as_str().unwrap().to_owned());
    let expected = (1..bot.heard.len()).map(|number| number.to_string());
    assert!(sequence.eq(expected), "one counter over everything, without a gap");
    let parts: Vec<usize> = bot.events("media").map(|media| super::world::bot::samples(media).len()).collect();
    assert!(parts.iter().rev().skip(1).all(|samples| *samples == 800), "{parts:?}");
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by, stream.duration.as_str()), ("completed", "user", "1"));
    world.ends_clean();
}

/// Four seconds of every code there and back.
fn echo_is_bit_exact(payload_type: u8, codecs: &[(u8, &'static str)]) {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let plan = world.pbx.plan();
    let offer = plan.offer.as_ref().map(|offer| offer.codecs(codecs));
    let phone = world.call_with(super::world::pbx::Plan { offer, ..plan });
    world.run(500);
    let (first, began) = (world.phone(phone).said.len(), world.now);
    world.phone(phone).say(speech(payload_type, 4000));
    world.run(5000);
    let said = payloads(&world.phone(phone).said[first..first + 200]);
    let heard: Vec<_> = world.phone(phone).heard.clone();
    assert!(heard.iter().all(|(_, packet)| packet.payload_type == payload_type));
    let at = find(&payloads(heard.iter().map(|(_, packet)| packet)), &said).expect("every octet came back");
    let delay = heard[at / 160].0 - began;
    assert!(delay < Duration::from_millis(200), "reorder buffer 40, chunk 100, packet 20: not {delay:?}");
    assert_even(&world.sent_to(phone));
    assert!(heard.iter().take(10).all(|(_, packet)| is_silent(packet)), "RTP-032: silence is sent while nobody speaks");
    world.ends_clean();
}

#[test]
fn rtp_035_an_echo_at_8_khz_is_bit_exact_in_pcmu() {
    echo_is_bit_exact(0, &[super::world::text::PCMU, DIGITS]);
}

#[test]
fn rtp_035_an_echo_at_8_khz_is_bit_exact_in_pcma() {
    echo_is_bit_exact(8, &[PCMA, DIGITS]);
}

#[test]
fn a_16_and_a_24_khz_stream_carry_a_tone_there_and_back() {
    for (rate, bits) in [(16_000, "256kbps"), (24_000, "384kbps")] {
        let url = format!("ws://bot.test/media?sample-rate={rate}");
        let mut world = World::new(&Scene::steps(&[voicebot("talk", &url, "")]));
        world.bots.manner = Manner::Echo;
        let phone = world.call();
        world.phone(phone).say(tone(1000.0, 8000, 4000));
        world.run(4000);
        let format = &world.bot(0).start()["media_format"];
        assert_eq!((&format["sample_rate"], &format["bit_rate"]), (&rate.to_string().into(), &bits.into()));
        let heard_by_bot = world.bot(0).audio();
        assert!(
            world.bot(0).events("media").all(|media| super::world::bot::samples(media).len() == rate as usize / 10)
        );
        let (amplitude, noise) = sine_of(1000.0, rate, &heard_by_bot[rate as usize..3 * rate as usize]);
        assert!((amplitude - 16_000.0).abs() < 500.0 && noise > 33.0, "{rate}: {amplitude} {noise}");
        let ear = world.phone(phone).ear();
        let (amplitude, noise) = sine_of(1000.0, 8000, &ear[8000..24_000]);
        assert!((amplitude - 16_000.0).abs() < 900.0 && noise > 30.0, "{rate}: {amplitude} {noise}");
        world.ends_clean();
    }
}

#[test]
fn sip_060_immediate_answers_before_the_bot_is_there_and_sends_silence_meanwhile() {
    let mut world = World::new(&Scene::talk("answer_mode = \"immediate\""));
    world.bots.plan.push_back(Pickup::After(Duration::from_secs(3)));
    let phone = world.call();
    assert_eq!(world.ms(), 6, "one round trip");
    assert_eq!(world.phone(phone).ringing, None);
    world.run(2000);
    assert_eq!(world.bot(0).opened, None);
    assert!((100..=101).contains(&world.sent_to(phone).len()), "50 packets a second from the answer on");
    world.run(2000);
    assert_eq!(world.bot(0).last("media")["media"]["timestamp"], "900", "one second of it");
    assert_even(&world.sent_to(phone));
    world.ends_clean();
}

#[test]
fn sip_064_media_flows_both_ways_from_the_first_20_ms_after_the_answer() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    let answered = world.phone(phone).answered.expect("answered") - Duration::from_millis(3);
    world.run(300);
    let first = world.sent_to(phone)[0].0;
    assert!(first - answered <= Duration::from_millis(20), "{:?}", first - answered);
    let opened = world.bot(0).opened.expect("open");
    let chunk = world.bot(0).heard[2].0 - opened;
    assert!(chunk <= Duration::from_millis(125), "100 ms of audio and a frame: {chunk:?}");
    world.ends_clean();
}

#[test]
fn sdp_013_a_late_offer_is_made_in_the_200_and_media_waits_for_the_ack() {
    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan();
    let late = plan.offer.clone();
    world.link.lose_sip("ACK", 1);
    let phone = world.call_with(super::world::pbx::Plan { offer: None, late_answer: late, ..plan });
    let sdp = world.phone(phone).sdp.clone().expect("an offer");
    assert_eq!((sdp.payload_types.as_slice(), sdp.direction.as_str()), (&[0, 8, 9, 111, 101, 96][..], "sendrecv"));
    assert!(sdp.text.contains("a=ptime:20"));
    world.run(400);
    assert!(world.tap.is_empty(), "RTP does not go before the answer is known");
    world.run(1000);
    assert!(world.sent_to(phone).len() > 40, "the 200 was resent, the ACK came, media flows");
    world.ends_clean();
}

#[test]
fn sdp_013_an_ack_without_the_answer_ends_the_call_with_sip_488() {
    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan();
    let phone = world.dial(super::world::pbx::Plan { offer: None, late_answer: None, ..plan });
    assert_eq!(world.bye(phone), "SIP;cause=488");
    assert!(world.tap.is_empty());
    assert_eq!(world.bot(0).closed.map(|(_, code)| code), Some(1000));
    world.ends_clean();
}

#[test]
fn sdp_007_packets_have_the_peers_ptime_whatever_it_sends() {
    for ptime in [10_u16, 30, 40, 60] {
        let mut world = World::new(&Scene::default());
        world.bots.manner = Manner::Echo;
        let plan = world.pbx.plan();
        let offer = plan.offer.clone().map(|offer| Offer { ptime, ..offer });
        let phone = world.call_with(super::world::pbx::Plan { offer, ..plan });
        world.run(500);
        world.phone(phone).say(speech(0, 1000));
        world.run(2000);
        let sent = world.sent_to(phone);
        assert!(sent.windows(2).all(|pair| (pair[1].0 - pair[0].0).as_millis() == u128::from(ptime)));
        assert!(sent.iter().all(|(_, packet)| packet.payload.len() == usize::from(ptime) * 8));
        let octets = payloads(sent.iter().map(|(_, packet)| *packet));
        let spoken = |packet: &&super::world::text::Rtp| !is_silent(packet);
        let said = payloads(world.pbx.phones[phone].said.iter().filter(spoken));
        assert!(find(&octets, &said).is_some(), "{ptime}: the echo has no gap");
        world.ends_clean();
    }
}
