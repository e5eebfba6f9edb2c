//! Calls whose media is encrypted with keys from SDP.

use trunkstream::base::srtp::{MASTER_KEY_LEN, MasterKey, SrtpKeys, SrtpSuite};
use trunkstream::media::Srtp;

use super::world::bot::Manner;
use super::world::link::Weather;
use super::world::pbx::Plan;
use super::world::sound::{find, speech};
use super::world::text::Offer;
use super::world::{Scene, World};

const KEY_80: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const KEY_32: &str = "7 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";
const OTHER_KEY: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:MTIzNDU2Nzg5QUJDREUwMTIzNDU2Nzg5QUJjZGVm";

fn scene(srtp: &str, cleartext: bool) -> Scene {
    Scene { trunk: format!("srtp = \"{srtp}\"\nallow_sdes_cleartext = {cleartext}"), ..Scene::default() }
}

/// A call with this offer in the place of the usual one.
fn plan(world: &World, change: impl Fn(&Offer) -> Offer) -> Plan {
    let plan = world.pbx.plan();
    Plan { offer: plan.offer.as_ref().map(change), ..plan }
}

fn echo(srtp: &str) -> World {
    let mut world = World::new(&scene(srtp, true));
    world.bots.manner = Manner::Echo;
    world
}

#[test]
fn sdp_018_a_call_is_encrypted_both_ways_and_both_ends_understand_each_other() {
    for (srtp, key) in [("optional", KEY_80), ("required", KEY_80), ("required", KEY_32)] {
        let mut world = echo(srtp);
        let plan = plan(&world, |offer| offer.encrypted(key));
        let phone = world.call_with(plan);
        let words = speech(0, 2000);
        world.phone(phone).say(words.clone());
        world.run(8000);
        assert!(find(&world.phone(phone).ear(), &words).is_some(), "every sample came back");
        assert!(world.phone(phone).reports > 0, "RTCP too");
        let tag = if key == KEY_80 { 10 } else { 4 };
        assert!(world.tap.iter().all(|(.., packet)| packet.payload.len() == 160 + tag));
        let heard: Vec<_> = world.phone(phone).heard.iter().map(|(_, packet)| packet.payload.clone()).collect();
        let sent = world.tap.iter().map(|(.., packet)| &packet.payload[..160]);
        assert!(sent.zip(&heard).all(|(cipher, plain)| cipher != plain.as_slice()), "not readable on the wire");
        world.hang_up(phone);
        let media = world.record().media;
        assert_eq!(media.srtp, key.split(' ').nth(1));
        assert_eq!((media.srtp_not_authentic, media.srtp_replays, media.rtcp_malformed), (0, 0, 0));
        assert!(media.rtcp_received > 0 && media.peer.is_some());
        world.ends_clean();
    }
}

#[test]
fn rtp_014_with_a_wrong_key_nothing_is_heard_and_every_packet_is_counted() {
    let mut world = echo("required");
    let plan = plan(&world, |offer| offer.encrypted(KEY_80));
    let phone = world.call_with(plan);
    let key = |octet| MasterKey::new([octet; MASTER_KEY_LEN]);
    world.phone(phone).srtp =
        Some(Srtp::new(&SrtpKeys { suite: SrtpSuite::HmacSha1_80, send: key(1), receive: key(2) }));
    world.phone(phone).say(speech(0, 2000));
    world.run(3000);
    assert!(world.bot(0).audio().iter().all(|sample| *sample == 0), "the bot hears silence");
    assert!(world.phone(phone).heard.is_empty() && world.phone(phone).unreadable > 100);
    world.hang_up(phone);
    let media = world.record().media;
    assert!(media.srtp_not_authentic >= 140, "{media:?}");
    assert!(media.packets_received <= 1 && media.source.is_none(), "at most what was said before the keys were wrong");
    world.ends_clean();
}

#[test]
fn rfc_3711_3_3_2_replayed_packets_are_dropped_and_counted_and_the_speech_is_whole() {
    let mut world = echo("required");
    world.link.rtp = Weather { twice: 100, ..Weather::FAIR };
    let plan = plan(&world, |offer| offer.encrypted(KEY_80));
    let phone = world.call_with(plan);
    let words = speech(0, 1000);
    world.phone(phone).say(words.clone());
    world.run(3000);
    assert!(world.phone(phone).unreadable > 100, "the phone meets the bridge's packets twice too");
    assert!(find(&world.phone(phone).ear(), &words).is_some());
    world.hang_up(phone);
    let media = world.record().media;
    assert!(media.srtp_replays >= 140 && media.duplicate == 0 && media.lost == 0, "{media:?}");
    world.ends_clean();
}

#[test]
fn sdp_018_a_new_key_in_a_reinvite_loses_no_word_in_either_direction() {
    let mut world = echo("optional");
    let plan = plan(&world, |offer| offer.encrypted(KEY_80));
    let phone = world.call_with(plan);
    let first = world.phone(phone).sdp.clone().expect("an answer");
    let words = speech(0, 3000);
    world.phone(phone).say(words.clone());
    world.run(1500);
    world.reinvite(phone, Some(Offer::new(40_000).then("sendrecv").encrypted(OTHER_KEY)));
    world.run(4000);
    let answer = world.phone(phone).reinvites[0].clone().expect("accepted");
    assert_ne!(answer.crypto(), first.crypto(), "a key of the peer's own gets a new one of ours");
    assert!(find(&world.phone(phone).ear(), &words).is_some());
    world.reinvite(phone, Some(Offer::new(40_000).then("sendrecv").encrypted(OTHER_KEY)));
    assert_eq!(world.phone(phone).reinvites[1].clone().expect("accepted").text, answer.text, "SDP-008");
    world.hang_up(phone);
    let media = world.record().media;
    assert_eq!((media.srtp_not_authentic, media.lost, media.ssrc_changes), (0, 0, 0));
    world.ends_clean();
}

#[test]
fn sdp_013_a_trunk_that_requires_srtp_offers_it_itself() {
    let mut world = echo("required");
    let late =
        Offer::new(40_000).encrypted("2 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj");
    let plan = Plan { offer: None, late_answer: Some(late), ..world.pbx.plan() };
    let phone = world.call_with(plan);
    let offer = world.phone(phone).sdp.clone().expect("an offer");
    assert!(offer.text.contains("RTP/SAVP 0 8 9 111 101 96") && offer.crypto().len() == 2, "{}", offer.text);
    world.run(500);
    let words = speech(0, 1000);
    world.phone(phone).say(words.clone());
    world.run(2500);
    assert!(find(&world.phone(phone).ear(), &words).is_some());
    world.hang_up(phone);
    assert_eq!(world.record().media.srtp, Some("AES_CM_128_HMAC_SHA1_32"));
    world.ends_clean();
}

#[test]
fn sdp_015_what_a_trunk_does_not_want_is_488_with_a_warning_that_says_why() {
    for (srtp, cleartext, encrypted, warning) in [
        ("off", true, true, "305 "),
        ("required", true, false, "305 "),
        ("optional", false, true, "399 "),
        ("required", false, true, "399 "),
    ] {
        let mut world = World::new(&scene(srtp, cleartext));
        let plan = plan(&world, |offer| if encrypted { offer.encrypted(KEY_80) } else { offer.clone() });
        let phone = world.dial(plan);
        assert_eq!(world.refusal(phone).0, 488, "{srtp} {cleartext}");
        let headers = world.phone(phone).refused.clone().expect("refused").headers;
        assert!(headers.get("Warning").is_some_and(|value| value.starts_with(warning)), "{srtp} {headers:?}");
        world.ends_clean();
    }
    let mut world = World::new(&scene("required", false));
    let phone = world.dial(Plan { offer: None, ..world.pbx.plan() });
    assert_eq!(world.refusal(phone).0, 488, "no offer of ours either");
    world.ends_clean();
}

#[test]
fn sdp_015_best_effort_is_answered_in_clear_unless_the_trunk_requires_srtp() {
    for (srtp, suite) in [("off", None), ("optional", None), ("required", Some("AES_CM_128_HMAC_SHA1_80"))] {
        let mut world = echo(srtp);
        let plan = plan(&world, |offer| Offer { profile: "RTP/AVP", ..offer.encrypted(KEY_80) });
        let phone = world.call_with(plan);
        let words = speech(0, 1000);
        world.phone(phone).say(words.clone());
        world.run(2500);
        let answer = world.phone(phone).sdp.clone().expect("an answer");
        assert!(answer.text.contains("RTP/AVP ") && answer.crypto().len() == usize::from(suite.is_some()));
        assert!(find(&world.phone(phone).ear(), &words).is_some(), "{srtp}");
        world.hang_up(phone);
        assert_eq!(world.record().media.srtp, suite);
        world.ends_clean();
    }
}
