//! What is sent while the bot is quiet (RTP-032).

use super::*;
use crate::config::IdleTx;

fn world(idle_tx: IdleTx, comfort_noise: Option<u8>) -> World {
    World::with(MediaSettings { idle_tx, ..settings() }, &MediaFormat { comfort_noise, ..pcmu() })
}

/// Payload types of the packets of `ms` without anything to say; `None` where none was sent.
fn quiet(world: &mut World, ms: u64) -> Vec<Option<u8>> {
    (0..ms / 20).map(|_| world.send(&[]).map(|(_, packet)| read(&packet).payload_type)).collect()
}

#[test]
fn rtp_032_silence_goes_on_for_ever() {
    assert_eq!(quiet(&mut world(IdleTx::Silence, Some(13)), 1000), [Some(0); 50]);
}

#[test]
fn rtp_032_none_sends_nothing_after_200_ms_and_the_clock_runs_on() {
    let mut world = world(IdleTx::Nothing, Some(13));
    assert_eq!(quiet(&mut world, 200), [Some(0); 10], "the way through NAT is opened all the same");
    assert_eq!(quiet(&mut world, 1000), [None; 50]);
    let first = world.send(&[900; 160]).expect("a packet").1;
    assert!(read(&first).marker, "a new talkspurt");
    assert_eq!(quiet(&mut world, 200), [Some(0); 10]);
    assert_eq!(quiet(&mut world, 3000), [None; 150]);
    let second = world.send(&[900; 160]).expect("a packet").1;
    let (first, second) = (read(&first), read(&second));
    assert!(second.marker);
    assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 160 * (1 + 10 + 150));
    assert_eq!(second.sequence.wrapping_sub(first.sequence), 11, "what is not sent has no number");
    assert!(!read(&world.send(&[900; 160]).expect("a packet").1).marker);
}

#[test]
fn rtp_032_comfort_noise_begins_the_pause_and_comes_again_every_200_ms() {
    for (ptime_ms, count) in [(10, 20), (20, 10), (30, 7), (60, 4)] {
        let format = MediaFormat { comfort_noise: Some(13), ptime_ms, ..pcmu() };
        let mut world = World::with(MediaSettings { idle_tx: IdleTx::ComfortNoise, ..settings() }, &format);
        let audio = vec![900; usize::from(ptime_ms) * 8];
        world.send(&audio);
        (0..count).for_each(|_| assert_eq!(read(&world.send(&[]).expect("a packet").1).payload_type, 0));
        let idle: Vec<_> = (0..6000 / u32::from(ptime_ms)).map(|_| world.send(&[]).map(|(_, packet)| packet)).collect();
        assert!(idle[0].is_some(), "{ptime_ms} ms");
        let noise: Vec<_> = idle.iter().flatten().map(|packet| read(packet)).collect();
        assert!((29..=31).contains(&noise.len()), "{ptime_ms} ms: {} in 6 s", noise.len());
        assert!(noise.iter().all(|packet| packet.payload_type == 13 && packet.payload == [65] && !packet.marker));
        for pair in noise.windows(2) {
            let apart = pair[1].timestamp.wrapping_sub(pair[0].timestamp) / 8;
            assert!(apart.abs_diff(200) < u32::from(ptime_ms).max(1), "{ptime_ms} ms: {apart} ms");
            assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        }
        let audio = world.send(&audio).expect("a packet").1;
        assert!(read(&audio).marker && read(&audio).payload_type == 0);
    }
}

#[test]
fn rtp_032_without_comfort_noise_in_the_answer_there_is_silence() {
    assert_eq!(quiet(&mut world(IdleTx::ComfortNoise, None), 1000), [Some(0); 50]);
}

#[test]
fn rtp_010_a_new_target_gets_packets_also_while_the_bot_is_quiet() {
    let mut world = world(IdleTx::Nothing, None);
    quiet(&mut world, 1000);
    let now = world.now();
    let moved = MediaFormat { remote: "192.0.2.11:40000".parse().expect("an address"), ..pcmu() };
    world.session.set_format(now, &moved, true);
    assert_eq!(quiet(&mut world, 220), [[Some(0); 10].as_slice(), &[None]].concat());
}

#[test]
fn rtp_063_digits_are_sent_in_the_midst_of_nothing() {
    let mut world = world(IdleTx::Nothing, None);
    quiet(&mut world, 1000);
    assert!(world.session.send_digits("7"));
    let sent = quiet(&mut world, 600);
    assert_eq!(sent.iter().filter(|packet| **packet == Some(101)).count(), 7, "five, and two more ends");
    assert_eq!(sent.last(), Some(&None));
}
