//! Digits: by telephone-event, by INFO, both at once, and while the bot speaks.

use super::world::link::Weather;
use super::world::pbx::Plan;
use super::world::sound::{find, speech, tone};
use super::world::text::{PCMA, PCMU};
use super::world::{Scene, World};

#[test]
fn rtp_056_telephone_events_are_told_in_order_once_each_with_their_length() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(200);
    assert!(world.phone(phone).media.send_digits("159#*0DD"));
    world.run(3000);
    assert_eq!(world.bot(0).digits(), "159#*0DD");
    for event in world.bot(0).events("dtmf") {
        assert_eq!(event["dtmf"]["duration"], "100", "milliseconds, a string");
    }
    world.hang_up(phone);
    let record = world.record();
    assert_eq!(record.media.dtmf_digits, 8);
    assert_eq!(record.streams[0].figures.as_ref().expect("figures").digits_sent, 8);
    world.ends_clean();
}

#[test]
fn rtp_056_a_digit_is_told_when_it_ends() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(200);
    let pressed = world.now;
    world.phone(phone).media.send_digits("5");
    world.until(1000, "the digit", |world| world.bot(0).count("dtmf") == 1);
    let took = world.since(pressed);
    assert!((100..150).contains(&took), "100 ms of tone and its end: {took}");
    world.ends_clean();
}

#[test]
fn rtp_052_every_digit_once_at_10_percent_loss_25_ms_jitter_and_duplicates() {
    for seed in 0..20 {
        let mut world = World::new(&Scene { seed, ..Scene::default() });
        let phone = world.call();
        world.link.rtp = Weather { twice: 5, ..Weather::rough(10, 25) };
        world.phone(phone).media.send_digits("1122334455");
        world.run(4000);
        assert_eq!(world.bot(0).digits(), "1122334455", "seed {seed}");
        world.ends_clean();
    }
}

#[test]
fn rtp_061_digits_leave_playback_queue_and_marks_alone() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(200);
    let words = speech(0, 2000);
    world.bot_plays(0, &words);
    world.bot_marks(0, "end");
    world.run(400);
    world.phone(phone).media.send_digits("42");
    world.run(600);
    assert_eq!((world.bot(0).digits().as_str(), world.bot(0).marks().len()), ("42", 0), "told while the bot speaks");
    world.run(2000);
    assert_eq!(world.bot(0).marks(), ["end"]);
    assert!(find(&world.phone(phone).ear(), &words).is_some());
    world.ends_clean();
}

#[test]
fn rtp_062_a_digit_leaves_silence_of_its_length_and_the_stream_in_time() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.phone(phone).say(tone(400.0, 8000, 3000));
    world.run(1000);
    world.phone(phone).media.send_digits("5");
    world.run(1500);
    let heard = world.bot(0).audio();
    let loud: Vec<bool> = heard.chunks(160).map(|frame| frame.iter().any(|sample| sample.abs() > 8000)).collect();
    let first = loud.iter().position(|loud| *loud).expect("the tone");
    let gap = loud[first..].iter().position(|loud| !loud).expect("the digit") + first;
    let silent = loud[gap..].iter().position(|loud| *loud).expect("the tone again");
    assert!((5..=14).contains(&silent), "100 ms of digit, its end, its gap: {silent} frames");
    world.hang_up(phone);
    assert_eq!(world.record().media.lost, 0, "a digit is no loss");
    world.ends_clean();
}

/// A call whose offer has no telephone-event.
fn without_events(world: &mut World) -> usize {
    let plan = world.pbx.plan();
    let offer = plan.offer.as_ref().map(|offer| offer.codecs(&[PCMU, PCMA]));
    world.call_with(Plan { offer, ..plan })
}

#[test]
fn rtp_058_info_digits_are_told_and_answered_200() {
    let mut world = World::new(&Scene::default());
    let phone = without_events(&mut world);
    for (content_type, body) in [
        ("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"),
        ("application/dtmf-relay", "signal= 11\nduration=80\n"),
        ("Application/DTMF", "*"),
    ] {
        world.info(phone, content_type, body);
        world.run(500);
    }
    assert_eq!(world.bot(0).digits(), "5#*");
    assert_eq!(world.bot(0).events("dtmf").next().expect("5")["dtmf"]["duration"], "160");
    world.info(phone, "application/json", "{}");
    world.run(500);
    assert_eq!(world.phone(phone).infos, [200, 200, 200, 415]);
    world.ends_clean();
}

#[test]
fn rtp_059_info_counts_where_events_are_negotiated_but_never_seen() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.info(phone, "application/dtmf-relay", "Signal=7\r\nDuration=100\r\n");
    world.run(500);
    assert_eq!(world.bot(0).digits(), "7");
    world.phone(phone).media.send_digits("8");
    world.run(500);
    world.info(phone, "application/dtmf-relay", "Signal=9\r\nDuration=100\r\n");
    world.run(500);
    assert_eq!(world.bot(0).digits(), "78", "once events come, INFO is answered and not told");
    assert_eq!(world.phone(phone).infos, [200, 200]);
    world.ends_clean();
}

#[test]
fn rtp_059_a_digit_by_both_ways_is_one_whichever_comes_first() {
    for info_after_ms in [0, 60, 130, 200] {
        let mut world = World::new(&Scene::default());
        let phone = world.call();
        world.phone(phone).media.send_digits("5");
        world.run(info_after_ms);
        world.info(phone, "application/dtmf-relay", "Signal=5\r\nDuration=100\r\n");
        world.run(1000);
        assert_eq!(world.bot(0).digits(), "5", "INFO after {info_after_ms} ms");
        world.ends_clean();
    }
}

/// 100 ms of the key's two tones, each of a quarter of the full scale.
fn key_tones(low: f64, high: f64) -> Vec<i16> {
    let (low, high) = (tone(low, 8000, 100), tone(high, 8000, 100));
    low.iter().zip(&high).map(|(low, high)| low / 2 + high / 2).collect()
}

#[test]
fn rtp_060_tones_are_told_as_digits_only_where_asked_for_and_nothing_else_brings_them() {
    for (trunk, events, info, digits) in [
        ("inband_dtmf = \"auto\"", false, false, "15"),
        ("", false, false, ""),
        ("inband_dtmf = \"auto\"", true, false, ""),
        ("inband_dtmf = \"auto\"", false, true, "9"),
    ] {
        let mut world = World::new(&Scene { trunk: trunk.into(), ..Scene::default() });
        let phone = if events { world.call() } else { without_events(&mut world) };
        world.run(300);
        if info {
            world.info(phone, "application/dtmf", "9");
            world.run(500);
        }
        for (low, high) in [(697.0, 1209.0), (770.0, 1336.0)] {
            world.phone(phone).say(key_tones(low, high));
            world.run(400);
        }
        assert_eq!(world.bot(0).digits(), digits, "{trunk} {events} {info}");
        if digits == "15" {
            let loud = world.bot(0).audio().iter().filter(|sample| sample.abs() > 1000).count();
            assert!(loud < 2 * 8 * 30, "RTP-062: {loud} samples of the tones are heard");
            let ms: u32 =
                world.bot(0).last("dtmf")["dtmf"]["duration"].as_str().and_then(|ms| ms.parse().ok()).expect("ms");
            assert!(ms.abs_diff(100) <= 10, "{ms}");
        }
        world.ends_clean();
    }
}

#[test]
fn rtp_056_a_digit_is_told_once_when_it_begins_where_the_trunk_says_so() {
    let mut world = World::new(&Scene { trunk: "dtmf_report = \"start\"".into(), ..Scene::default() });
    let phone = world.call();
    world.run(200);
    let pressed = world.now;
    world.phone(phone).media.send_digits("55#");
    world.until(1000, "the digit", |world| world.bot(0).count("dtmf") == 1);
    assert!(world.since(pressed) <= 50, "before its 100 ms are over: {}", world.since(pressed));
    world.run(2000);
    assert_eq!(world.bot(0).digits(), "55#");
    world.ends_clean();
    for seed in 0..10 {
        let scene = Scene { seed, trunk: "dtmf_report = \"start\"".into(), ..Scene::default() };
        let mut world = World::new(&scene);
        let phone = world.call();
        world.link.rtp = Weather { twice: 5, ..Weather::rough(10, 25) };
        world.phone(phone).media.send_digits("1122334455");
        world.run(4000);
        assert_eq!(world.bot(0).digits(), "1122334455", "seed {seed}");
        world.ends_clean();
    }
}
