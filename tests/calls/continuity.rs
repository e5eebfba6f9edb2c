//! The stream's time: one chunk each 100 ms whatever the network does, and what a stall of our own leaves behind.

use std::time::Duration;

use serde_json::Value;

use super::world::bot::{Manner, samples};
use super::world::link::{Parcel, Weather};
use super::world::pbx::{Mouth, Plan};
use super::world::sound::{find, speech};
use super::world::text::{PCMU, Rtp};
use super::world::{Scene, World};

fn stamp(media: &Value) -> u64 {
    media["media"]["timestamp"].as_str().expect("a string").parse().expect("milliseconds")
}

/// RTP-007: chunks counted without a gap, timestamps that count samples, each as late as its audio is long, and no later
/// than a buffer and a tick.
fn assert_continuous(world: &World, slack_ms: u64) {
    let bot = world.bot(0);
    let opened = bot.opened.expect("open");
    let chunks: Vec<_> = bot.heard.iter().filter(|(_, message)| message["event"] == "media").collect();
    for (n, (at, chunk)) in chunks.iter().enumerate() {
        let n = n as u64;
        assert_eq!(chunk["media"]["chunk"], n + 1);
        assert_eq!((stamp(chunk), samples(chunk).len()), (100 * n, 800));
        let elapsed = u64::try_from((*at - opened).as_millis()).expect("short");
        let due = 100 * (n + 1);
        assert!(
            (due.saturating_sub(20)..=due + slack_ms).contains(&elapsed),
            "chunk {} came after {elapsed} ms",
            n + 1
        );
    }
}

#[test]
fn rtp_007_the_stream_is_continuous_over_loss_jitter_and_silence() {
    for (weather, seed) in
        [(Weather::FAIR, 1), (Weather::rough(10, 0), 2), (Weather::rough(0, 60), 3), (Weather::rough(20, 120), 4)]
    {
        let mut world = World::new(&Scene { seed, ..Scene::default() });
        let phone = world.call();
        world.link.rtp = weather;
        world.phone(phone).say(speech(0, 4000));
        world.run(5000);
        world.phone(phone).mouth = Mouth::Shut;
        world.run(5000);
        world.phone(phone).say(speech(0, 2000));
        world.run(5000);
        assert!(world.bot(0).count("media") >= 149);
        assert_continuous(&world, 25);
        world.ends_clean();
    }
}

#[test]
fn rtp_006_a_pause_without_packets_is_silence_and_no_loss() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(2000);
    for _ in 0..10 {
        // DTX: the sequence goes on, the timestamp jumps.
        world.phone(phone).mouth = Mouth::Shut;
        world.run(700);
        world.phone(phone).media.skip_packets(35);
        world.phone(phone).say(speech(0, 300));
        world.run(300);
    }
    world.hang_up(phone);
    let media = world.record().media;
    assert_eq!((media.lost, media.duplicate, media.malformed), (0, 0, 0));
    world.ends_clean();
}

#[test]
fn rtp_022_lost_late_and_double_packets_are_counted_and_what_came_adds_up() {
    let mut world = World::new(&Scene { seed: 9, ..Scene::default() });
    let phone = world.call();
    world.link.rtp = Weather { twice: 3, ..Weather::rough(5, 30) };
    world.phone(phone).say(speech(0, 20_000));
    world.run(20_000);
    world.link.rtp = Weather::FAIR;
    world.run(1000);
    let said = world.phone(phone).said.len() as u64;
    world.hang_up(phone);
    let media = world.record().media;
    let arrived = media.packets_received - media.duplicate;
    assert!((said - 3..=said).contains(&(arrived + media.lost)), "{said} said, {arrived} came, {} lost", media.lost);
    assert!((30..=70).contains(&media.lost), "5 % of 1000: {}", media.lost);
    assert!((10..=50).contains(&media.duplicate), "3 % of 1000: {}", media.duplicate);
    assert!(media.concealed_ms >= 20 * (media.lost - 5) && media.jitter_max_ms > 1.0);
    assert!(media.jitter_mean_ms <= media.jitter_max_ms && media.packets_sent >= 1049);
    world.ends_clean();
}

#[test]
fn rtp_003_another_ssrc_of_the_same_source_is_heard_at_once() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(1000);
    world.phone(phone).mouth = Mouth::Shut;
    world.run(20);
    let words = speech(0, 1000);
    let (from, to) = ("198.51.100.1:40000".parse().unwrap(), world.phone(phone).sdp.clone().unwrap().address);
    let octets: Vec<u8> = {
        let mut out = Vec::new();
        let codec = trunkstream::media::codec::of_format(&trunkstream::base::rtp_format::PCMU).expect("PCMU");
        codec.encoder().encode(&words, &mut out);
        out
    };
    for (n, payload) in octets.chunks(160).enumerate() {
        let n = u16::try_from(n).expect("few");
        let packet = Rtp {
            marker: n == 0,
            payload_type: 0,
            sequence: 60_000_u16.wrapping_add(n),
            timestamp: 4_294_967_000_u32.wrapping_add(160 * u32::from(n)),
            ssrc: 0xABCD_EF01,
            payload: payload.to_vec(),
        };
        world.link.send(world.now, Parcel { from, to, bytes: packet.write() });
        world.run(20);
    }
    world.run(500);
    assert!(find(&world.bot(0).audio(), &words).is_some(), "timestamps wrap on the way");
    assert_continuous(&world, 25);
    world.hang_up(phone);
    let media = world.record().media;
    assert_eq!((media.ssrc_changes, media.lost), (1, 0));
    world.ends_clean();
}

#[test]
fn rtp_011_a_stranger_who_sends_to_our_port_is_neither_heard_nor_sent_to() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(1000);
    let to = world.phone(phone).sdp.clone().unwrap().address;
    for n in 0..100_u16 {
        let packet = Rtp {
            marker: false,
            payload_type: 0,
            sequence: n,
            timestamp: 160 * u32::from(n),
            ssrc: 1,
            payload: vec![0; 160],
        };
        world.link.send(world.now, Parcel { from: "203.0.113.66:4000".parse().unwrap(), to, bytes: packet.write() });
        world.run(20);
    }
    world.run(40);
    assert!(world.bot(0).audio().iter().all(|sample| *sample == 0));
    assert!(world.tap.iter().all(|(_, to, _)| to.ip() == "198.51.100.1".parse::<std::net::IpAddr>().unwrap()));
    world.hang_up(phone);
    assert_eq!(world.record().media.source_rejects, 100);
    world.ends_clean();
}

/// How long an utterance takes to the bot and back.
fn echo_delay(world: &mut World, phone: usize) -> u64 {
    let (began, before) = (world.now, world.phone(phone).heard.len());
    let words = speech(0, 400);
    world.phone(phone).say(words.clone());
    world.run(1200);
    let ear: Vec<i16> =
        world.phone(phone).heard[before..].iter().flat_map(|(_, packet)| super::world::pbx::decode(packet)).collect();
    let at = find(&ear, &words[480..]).expect("an echo");
    let heard = world.phone(phone).heard[before + at / 160].0;
    u64::try_from((heard - began).as_millis()).expect("short") - 60
}

#[test]
fn rtp_030_a_stall_of_500_ms_makes_both_clocks_jump_and_leaves_no_delay_behind() {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let phone = world.call();
    world.run(2000);
    let before = echo_delay(&mut world, phone);
    let (chunks, packets) = (world.bot(0).count("media"), world.sent_to(phone).len());
    world.stall(500);
    world.run(1000);
    let sent = world.sent_to(phone);
    assert_eq!(sent[packets].0, sent[packets + 2].0, "three packets leave back to back");
    let jump =
        sent.windows(2).map(|pair| pair[1].1.timestamp.wrapping_sub(pair[0].1.timestamp)).max().expect("packets");
    assert!((400 * 8..=480 * 8).contains(&jump), "the RTP timestamp jumps by {} ms", jump / 8);
    assert!(sent.windows(2).all(|pair| pair[1].1.sequence == pair[0].1.sequence.wrapping_add(1)));
    let stamps: Vec<u64> = world.bot(0).events("media").skip(chunks - 1).map(stamp).collect();
    let leap = stamps.windows(2).map(|pair| pair[1] - pair[0] - 100).max().expect("chunks");
    assert!((400..=480).contains(&leap), "media.timestamp jumps by {leap} ms");
    let after = echo_delay(&mut world, phone);
    // An echo never pauses: where the burst of three drained the queue, the start threshold is 40 ms higher (RTP-073).
    assert!(after <= before + 45, "{before} ms before, {after} ms after");
    let last = world.bot(0).heard.iter().rfind(|(_, message)| message["event"] == "media").expect("media");
    let elapsed = u64::try_from((last.0 - world.bot(0).opened.expect("open")).as_millis()).expect("short");
    assert!(elapsed.abs_diff(stamp(&last.1) + 100) <= 45, "{elapsed} ms, stamped {}", stamp(&last.1));
    world.hang_up(phone);
    let record = world.record();
    assert!((400..=480).contains(&record.stalled_ms), "{}", record.stalled_ms);
    // The caller was silent: what was caught up with towards the bot beyond what was sent was skipped at once.
    let figures = record.streams[0].figures.as_ref().expect("figures");
    assert_eq!((figures.stalled_ms, leap), (record.stalled_ms, record.stalled_ms), "both clocks by the same");
    assert!(record.send_late_max_ms >= 400.0);
    world.ends_clean();
}

#[test]
fn rtp_030_many_stalls_do_not_add_up_to_delay() {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let phone = world.call();
    world.run(2000);
    let before = echo_delay(&mut world, phone);
    for stall in [90, 500, 140, 61, 300, 250, 500, 120, 80, 400] {
        world.stall(stall);
        world.run(1037);
    }
    let after = echo_delay(&mut world, phone);
    assert!(after <= before + 145, "the start threshold goes from 60 to 200 ms at most: {before}, {after}");
    world.ends_clean();
}

#[test]
fn rtp_030_a_stall_of_120_ms_loses_no_word_and_its_delay_goes_in_the_next_pause() {
    for wait in 0..20 {
        let mut world = World::new(&Scene::default());
        world.bots.manner = Manner::Echo;
        let phone = world.call();
        world.run(2000);
        let before = echo_delay(&mut world, phone);
        let words = speech(0, 1000);
        world.phone(phone).say(words.clone());
        world.run(300 + 7 * wait);
        world.stall(115);
        world.run(2000);
        assert!(find(&world.bot(0).audio(), &words).is_some(), "the bot hears every sample, stall after {wait}");
        let after = echo_delay(&mut world, phone);
        assert!(after <= before + 45, "{before} ms before, {after} ms after");
        world.hang_up(phone);
        let record = world.record();
        let stalled = record.streams[0].figures.as_ref().expect("figures").stalled_ms;
        assert!(record.stalled_ms >= 40 && stalled == record.stalled_ms, "{stalled}, {}", record.stalled_ms);
        world.ends_clean();
    }
}

#[test]
fn rtp_024_a_burst_after_a_network_stall_is_not_replayed_late() {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let phone = world.call();
    world.run(2000);
    let before = echo_delay(&mut world, phone);
    world.link.rtp.delay = Duration::from_secs(2);
    world.run(1900);
    world.link.rtp = Weather::FAIR;
    world.run(3000);
    let after = echo_delay(&mut world, phone);
    assert!(after <= before + 100, "{before} ms before, {after} ms after");
    assert_continuous(&world, 25);
    world.ends_clean();
}

#[test]
fn sip_036_five_percent_loss_and_40_ms_jitter_on_everything_and_calls_survive() {
    for seed in 0..12 {
        let mut world = World::new(&Scene { seed, ..Scene::default() });
        world.bots.manner = Manner::Echo;
        world.link.sip = Weather::rough(5, 40);
        world.link.rtp = Weather::rough(5, 40);
        let plan = world.pbx.plan();
        let offer = plan.offer.as_ref().map(|offer| offer.codecs(&[PCMU]));
        let phone = world.dial(Plan { offer, ..plan });
        world.until(20_000, "an answer", |world| world.pbx.phones[phone].answered.is_some());
        world.phone(phone).say(speech(0, 8000));
        world.run(10_000);
        assert!(world.phone(phone).is_up(), "seed {seed}\n{}", world.ladder());
        assert_continuous(&world, 25);
        assert_eq!(world.bots.sockets.len(), 1);
        world.hang_up(phone);
        let record = world.record();
        assert_eq!((record.end.why, record.streams[0].status), ("caller_hangup", "completed"), "seed {seed}");
        assert!(record.media.packets_received + record.media.lost + 60 >= world.phone(phone).said.len() as u64);
        world.ends_clean();
    }
}

#[test]
fn rtp_044_a_records_json_has_every_figure_and_no_number_in_clear() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(1000);
    world.hang_up(phone);
    let record = serde_json::to_value(world.record()).expect("plain data");
    let media = record["media"].as_object().expect("an object");
    for key in [
        "codec",
        "packets_received",
        "bytes_received",
        "packets_sent",
        "bytes_sent",
        "lost",
        "late",
        "duplicate",
        "discarded",
        "concealed_ms",
        "jitter_buffer_ms",
        "jitter_buffer_max_ms",
        "frames_inserted",
        "frames_removed",
        "jitter_max_ms",
        "jitter_mean_ms",
        "ssrc_changes",
        "source_rejects",
        "dtmf_digits",
        "malformed",
        "unknown_payload_type",
        "remote",
        "source",
        "peer",
    ] {
        assert!(media.contains_key(key), "{key}");
    }
    let figures = record["streams"][0]["figures"].as_object().expect("an object");
    assert!(figures.contains_key("underruns") && figures.contains_key("queue_max_ms"));
    assert!(record["send_late_max_ms"].is_number() && record["stalled_ms"] == 0);
    assert_eq!(media["bytes_received"], media["packets_received"].as_u64().expect("a count") * 160);
    assert!(!record.to_string().contains("8061234567"), "{record}");
    world.ends_clean();
}
