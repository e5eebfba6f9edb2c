//! Who is no part of a call sends to its ports: never heard, never answered (RTP-010 to RTP-016).

use super::world::bot::Manner;
use super::world::sound::{find, speech};
use super::world::text::{Offer, Rtp};
use super::world::{Scene, World};

/// The first call's ports at the bridge.
const RTP: u16 = 10_000;
const RTCP: u16 = 10_001;
/// Neither the SDP's address nor of the trunk's networks.
const STRANGER: &str = "203.0.113.66:40000";
/// Of the trunk's networks, not in the SDP.
const GATEWAY: &str = "198.51.100.77:30000";

fn loud(ssrc: u32, sequence: u16) -> Vec<u8> {
    let timestamp = u32::from(sequence) * 160;
    Rtp { marker: false, payload_type: 0, sequence, timestamp, ssrc, payload: vec![0x80; 160] }.write()
}

/// `count` packets from `from`, one each `every_ms`, numbers from `first` on.
fn flood(world: &mut World, from: &str, (first, count): (u16, u16), every_ms: u64) {
    for sequence in first..first + count {
        world.inject(from, RTP, loud(0xBAD, sequence));
        world.inject(from, RTCP, vec![0x80, 201, 0, 1, 0, 0, 0x0B, 0xAD]);
        world.run(every_ms);
    }
}

fn echo(scene: &Scene) -> World {
    let mut world = World::new(scene);
    world.bots.manner = Manner::Echo;
    world
}

#[test]
fn rtp_011_a_stranger_who_sends_first_and_floods_later_is_not_heard_and_gets_no_packet() {
    for nat in ["off", "auto", "on"] {
        let mut world = echo(&Scene { trunk: format!("media_nat = \"{nat}\""), ..Scene::default() });
        let phone = world.dial(world.pbx.plan());
        flood(&mut world, STRANGER, (0, 50), 1);
        world.until(5000, "answered", |world| world.pbx.phones[phone].answered.is_some());
        flood(&mut world, STRANGER, (50, 500), 1);
        let words = speech(0, 3000);
        world.phone(phone).say(words.clone());
        flood(&mut world, STRANGER, (600, 4000), 1);
        world.run(1000);
        assert!(find(&world.phone(phone).ear(), &words).is_some(), "{nat}: the caller's own words, whole");
        assert!(!world.told.contains(&"203.0.113.66".parse().unwrap()), "{nat}: {:?}", world.told);
        world.hang_up(phone);
        let media = world.record().media;
        assert_eq!(media.source, Some("198.51.100.1:40000".parse().unwrap()), "{nat}");
        assert!(media.source_rejects >= 8000 && media.ssrc_changes == 0 && media.lost == 0, "{nat}: {media:?}");
        world.ends_clean();
    }
}

#[test]
fn rtp_010_media_goes_to_the_sdps_address_before_anything_came_from_there() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.phone(phone).mouth = super::world::pbx::Mouth::Shut;
    world.run(1000);
    assert!(world.sent_to(phone).len() >= 45);
    world.hang_up(phone);
    world.ends_clean();
}

#[test]
fn rtp_012_the_sdps_own_address_takes_the_lock_from_a_gateway_once_and_keeps_it() {
    let mut world = echo(&Scene::default());
    let phone = world.call();
    world.phone(phone).mouth = super::world::pbx::Mouth::Shut;
    flood(&mut world, GATEWAY, (0, 20), 20);
    let gateway = GATEWAY.parse().unwrap();
    assert_eq!(world.tap.last().map(|(_, to, _)| *to), Some(gateway), "the gateway is followed");
    let words = speech(0, 2000);
    world.phone(phone).say(words.clone());
    world.run(200);
    let before = world.tap.len();
    flood(&mut world, GATEWAY, (100, 400), 10);
    assert!(world.tap[before..].iter().all(|(_, to, _)| to.port() == 40_000), "it does not come back");
    assert!(find(&world.phone(phone).ear(), &words[160 * 5..]).is_some());
    world.hang_up(phone);
    assert!(world.record().media.source_rejects >= 390);
    world.ends_clean();
}

#[test]
fn rtp_012_after_five_seconds_nothing_moves_a_lock() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(6000);
    flood(&mut world, GATEWAY, (0, 2000), 2);
    assert!(world.tap.iter().all(|(_, to, _)| to.port() == 40_000));
    world.hang_up(phone);
    world.ends_clean();
}

/// A caller whose NAT gives it another address in mid-call: `after_ms` of silence, then the same stream from there.
fn moved(world: &mut World, phone: usize, after_ms: u64) {
    world.run(1000);
    let last = world.pbx.phones[phone].said.last().cloned().expect("packets");
    world.phone(phone).mouth = super::world::pbx::Mouth::Shut;
    world.run(after_ms);
    for n in 1..=50 {
        let sequence = last.sequence.wrapping_add(n);
        let timestamp = last.timestamp.wrapping_add(160 * u32::from(n));
        world.inject(GATEWAY, RTP, Rtp { sequence, timestamp, ..last.clone() }.write());
        world.run(20);
    }
}

#[test]
fn rtp_013_a_source_is_found_again_after_10_s_of_silence_only_where_the_trunk_says_so() {
    for (trunk, after_ms, found) in [
        ("", 11_000, false),
        ("relearn_after_silence = true", 9000, false),
        ("relearn_after_silence = true", 11_000, true),
        ("relearn_after_silence = true\nmedia_allow = [\"192.0.2.0/24\"]", 11_000, false),
    ] {
        let mut world = World::new(&Scene { trunk: trunk.into(), ..Scene::default() });
        let phone = world.call();
        moved(&mut world, phone, after_ms);
        let target = world.tap.last().map(|(_, to, _)| *to).expect("packets");
        assert_eq!(target == GATEWAY.parse().unwrap(), found, "{trunk} {after_ms}");
        world.hang_up(phone);
        let media = world.record().media;
        assert_eq!(media.source_rejects, if found { 1 } else { 50 }, "{trunk} {after_ms}");
        world.ends_clean();
    }
}

#[test]
fn rtp_013_a_new_address_in_a_reinvite_is_learned_anew_and_a_flood_from_the_old_network_does_not_hinder_it() {
    let mut world = echo(&Scene::default());
    let phone = world.call();
    world.run(500);
    world.reinvite(phone, Some(Offer { port: 41_000, ..Offer::new(40_000).then("sendrecv") }));
    flood(&mut world, STRANGER, (0, 100), 1);
    let words = speech(0, 1000);
    world.phone(phone).say(words.clone());
    world.run(2500);
    assert!(find(&world.phone(phone).ear(), &words).is_some());
    world.hang_up(phone);
    assert_eq!(world.record().media.source, Some("198.51.100.1:41000".parse().unwrap()));
    world.ends_clean();
}

#[test]
fn rtp_015_rtcp_of_strangers_is_not_read_and_moves_nothing() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(3000);
    for _ in 0..200 {
        world.inject("203.0.113.66:40001", RTCP, vec![0x80, 201, 0, 1, 0, 0, 0, 1]);
        world.inject("198.51.100.77:40001", RTCP, vec![0x81, 203, 0, 1, 0, 0, 0, 1]);
        world.run(50);
    }
    assert!(world.phone(phone).reports >= 1 && world.phone(phone).is_up());
    assert!(
        !world.told.contains(&"203.0.113.66".parse().unwrap())
            && !world.told.contains(&"198.51.100.77".parse().unwrap())
    );
    world.hang_up(phone);
    assert_eq!(world.record().media.source_rejects, 400);
    world.ends_clean();
}

#[test]
fn rtp_001_stun_dtls_and_garbage_from_the_caller_itself_are_counted_by_kind_and_not_heard() {
    let mut world = echo(&Scene::default());
    let phone = world.call();
    let words = speech(0, 2000);
    world.phone(phone).say(words.clone());
    let caller = "198.51.100.1:40000";
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
    for _ in 0..50 {
        world.inject(caller, RTP, binding.clone());
        world.inject(caller, RTP, [&[22, 0xFE, 0xFD][..], &[0; 60]].concat());
        world.inject(caller, RTP, vec![0x80; 7]);
        world.inject(caller, RTP, Rtp { payload_type: 96, ..Rtp::read(&loud(5, 9)) }.write());
        world.inject(caller, RTP, Rtp { payload: vec![0x80; 5000], ..Rtp::read(&loud(5, 9)) }.write());
        world.inject("198.51.100.1:40001", RTCP, vec![0x80, 200, 0, 99]);
        world.run(20);
    }
    world.run(2500);
    assert!(find(&world.phone(phone).ear(), &words).is_some(), "the speech is whole");
    world.hang_up(phone);
    let media = world.record().media;
    assert_eq!((media.stun, media.dtls, media.malformed), (50, 50, 50), "{media:?}");
    assert_eq!((media.unknown_payload_type, media.implausible, media.rtcp_malformed), (50, 50, 50), "{media:?}");
    assert_eq!((media.ssrc_changes, media.source_rejects), (0, 0));
    world.ends_clean();
}
