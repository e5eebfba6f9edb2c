//! re-INVITE and UPDATE besides hold: no-ops, new targets, new codecs, and offers that cannot be.

use super::world::bot::Manner;
use super::world::raw::RawCall;
use super::world::sound::{assert_even, assert_follows, find, payloads, speech};
use super::world::text::{DIGITS, Offer, PCMA, PCMU};
use super::world::{Scene, World};

#[test]
fn sip_070_a_reinvite_with_the_same_sdp_changes_nothing_in_media() {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let phone = world.call();
    let words = speech(0, 4000);
    world.phone(phone).say(words.clone());
    world.run(1000);
    let first = world.phone(phone).sdp.clone().expect("an answer");
    for _ in 0..5 {
        world.reinvite(phone, Some(Offer::new(40_000)));
        world.run(500);
    }
    world.run(2000);
    for answer in &world.phone(phone).reinvites {
        assert_eq!(answer.as_ref().map(|sdp| sdp.text.as_str()), Ok(first.text.as_str()), "SDP-008: word for word");
    }
    assert_even(&world.sent_to(phone));
    assert!(find(&world.phone(phone).ear(), &words).is_some(), "the echo has no gap");
    assert_eq!(world.bots.sockets.len(), 1);
    world.hang_up(phone);
    assert_eq!(world.record().media.ssrc_changes, 0);
    world.ends_clean();
}

#[test]
fn sdp_012_a_new_port_gets_the_very_next_packet_and_ssrc_and_sequence_go_on() {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let phone = world.call();
    world.run(1000);
    let moved = Offer { port: 41_000, ..Offer::new(40_000).then("sendrecv") };
    let before = world.tap.len();
    world.reinvite(phone, Some(moved));
    let answer = world.phone(phone).reinvites[0].clone().expect("accepted");
    assert_eq!(answer.address, world.phone(phone).sdp.clone().expect("sdp").address, "we keep our port");
    world.phone(phone).say(speech(0, 1000));
    world.run(2000);
    let packets: Vec<_> = world.tap.iter().map(|(at, _, packet)| (*at, packet)).collect();
    assert_even(&packets);
    let old: Vec<_> = world.tap[before..].iter().filter(|(_, to, _)| to.port() == 40_000).collect();
    assert!(old.len() <= 1, "only what left before the re-INVITE arrived: {}", old.len());
    assert!(find(&world.phone(phone).ear(), &speech(0, 1000)).is_some(), "heard from and at the new port");
    world.hang_up(phone);
    let media = world.record().media;
    assert_eq!((media.source, media.source_rejects), (Some("198.51.100.1:41000".parse().unwrap()), 0));
    world.ends_clean();
}

#[test]
fn sdp_012_a_change_from_pcmu_to_pcma_keeps_ssrc_sequence_and_timestamps() {
    let mut world = World::new(&Scene::default());
    world.bots.manner = Manner::Echo;
    let phone = world.call();
    world.run(1000);
    world.reinvite(phone, Some(Offer::new(40_000).then("sendrecv").codecs(&[PCMA, PCMU, DIGITS])));
    assert_eq!(world.phone(phone).reinvites[0].clone().expect("accepted").payload_types, [8, 101]);
    world.phone(phone).say(speech(8, 1000));
    world.run(2000);
    let sent = world.sent_to(phone);
    assert_even(&sent);
    let change = sent.iter().position(|(_, packet)| packet.payload_type == 8).expect("PCMA is sent");
    assert!(sent[..change].iter().all(|(_, packet)| packet.payload_type == 0));
    assert!(sent[change..].iter().all(|(_, packet)| packet.payload_type == 8));
    let said: Vec<_> = world.pbx.phones[phone].said.iter().filter(|packet| packet.payload_type == 8).cloned().collect();
    let spoken = said.iter().position(|packet| packet.payload.iter().any(|code| *code != 0xD5)).expect("speech");
    let heard = payloads(sent.iter().map(|(_, packet)| *packet));
    assert!(find(&heard, &payloads(&said[spoken..spoken + 50])).is_some(), "bit-exact in the new codec");
    world.hang_up(phone);
    assert_eq!(world.record().media.codec, Some("PCMA"));
    world.ends_clean();
}

#[test]
fn sip_071_a_reinvite_without_sdp_gets_a_fresh_offer_also_on_hold() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly")));
    world.run(500);
    let before = world.sent_to(phone).len();
    world.phone(phone).plan.late_answer = Some(Offer { version: 3, ..Offer::new(40_000).codecs(&[PCMU, DIGITS]) });
    world.reinvite(phone, None);
    let offer = world.phone(phone).reinvites[1].clone().expect("a 200");
    assert_eq!((offer.payload_types.as_slice(), offer.direction.as_str()), (&[0, 8, 9, 111, 101, 96][..], "sendrecv"));
    world.run(1000);
    let sent = world.sent_to(phone);
    assert!(sent.len() > before + 40, "the answer in the ACK ended the hold");
    assert_eq!(sent[before - 1].1.ssrc, sent[before].1.ssrc);
    assert!(world.phone(phone).is_up());
    world.ends_clean();
}

/// A raw call whose media goes to a port of its own.
fn raw_call(world: &mut World, call_id: &str) -> (RawCall, Offer) {
    let offer = Offer { address: "198.51.100.2".into(), ..Offer::new(50_000) };
    (world.raw_call(call_id, &offer.text()), offer)
}

fn hang_up(mut world: World, mut call: RawCall) {
    call.cseq += 1;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.raw_wait("SIP/2.0 200", 100);
    world.ends_clean();
}

const T38: &str = "v=0\r\no=pbx 42 2 IN IP4 198.51.100.2\r\ns=-\r\nc=IN IP4 198.51.100.2\r\nt=0 0\r\n\
                   m=image 50004 udptl t38\r\na=T38FaxVersion:0\r\n";

#[test]
fn sdp_016_t38_is_488_with_a_warning_and_the_call_goes_on_as_it_was() {
    let mut world = World::new(&Scene::default());
    let (mut call, _) = raw_call(&mut world, "fax");
    world.run(1000);
    call.cseq += 1;
    let reinvite = call.request("INVITE", "", T38);
    world.raw_send(&reinvite);
    let refused = world.raw_wait("SIP/2.0 488", 200);
    assert!(refused.header("Warning").is_some_and(|warning| warning.starts_with("304 ")), "{}", refused.text);
    let branch = |text: &str| text.split("branch=").nth(1).unwrap().split(';').next().unwrap().to_owned();
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack.replace(&branch(&ack), &branch(&reinvite)));
    world.run(2000);
    let packets: Vec<_> = world.tap.iter().map(|(at, _, packet)| (*at, packet)).collect();
    assert_even(&packets);
    assert!(packets.len() >= 150 && world.bot(0).closed.is_none());
    hang_up(world, call);
}

#[test]
fn sdp_016_an_image_line_next_to_audio_is_refused_with_port_0_and_audio_is_answered() {
    let mut world = World::new(&Scene::default());
    let (mut call, offer) = raw_call(&mut world, "both");
    call.cseq += 1;
    let both = Offer { more: "m=image 50004 udptl t38\r\n", ..offer.then("sendrecv") };
    let reinvite = call.request("INVITE", "", &both.text());
    world.raw_send(&reinvite);
    let ok = world.raw_wait("SIP/2.0 200", 200);
    assert!(
        ok.body().contains("m=audio 10000 RTP/AVP 0 101") && ok.body().contains("m=image 0 udptl t38"),
        "{}",
        ok.text
    );
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    world.run(100);
    hang_up(world, call);
}

#[test]
fn sip_075_an_update_with_sdp_is_answered_at_once_and_holds_and_one_without_is_a_refresh() {
    let mut world = World::new(&Scene::default());
    let (mut call, offer) = raw_call(&mut world, "update");
    world.run(500);
    call.cseq += 1;
    let refresh = call.request("UPDATE", "", "");
    world.raw_send(&refresh);
    assert_eq!(world.raw_wait("SIP/2.0 200", 10).body(), "");
    call.cseq += 1;
    let hold = call.request("UPDATE", "", &offer.then("sendonly").text());
    world.raw_send(&hold);
    assert!(world.raw_wait("SIP/2.0 200", 10).body().contains("a=recvonly"));
    let before = world.tap.len();
    world.run(1000);
    assert_eq!(world.tap.len(), before);
    call.cseq += 1;
    let resume = call.request("UPDATE", "", &offer.then("sendonly").then("sendrecv").text());
    world.raw_send(&resume);
    assert!(world.raw_wait("SIP/2.0 200", 10).body().contains("a=sendrecv"));
    world.run(1000);
    assert!(world.tap.len() > before + 40);
    assert_follows(&world.tap[before].2, &world.tap[before + 1].2, 160);
    hang_up(world, call);
}

#[test]
fn sip_075_an_update_before_the_answer_is_answered_at_once_and_the_200_follows_it() {
    let mut world = World::new(&Scene::default());
    world.bots.plan.push_back(super::world::bot::Pickup::After(std::time::Duration::from_secs(2)));
    let offer = Offer { address: "198.51.100.2".into(), ..Offer::new(50_000) };
    let mut call = RawCall::new("early");
    let invite = call.request("INVITE", "", &offer.text());
    world.raw_send(&invite);
    let ringing = world.raw_wait("SIP/2.0 180", 100);
    call.take_tag(&ringing);
    call.cseq += 1;
    let update = call.request("UPDATE", "", &Offer { port: 50_100, ..offer.then("sendrecv") }.text());
    world.raw_send(&update);
    let answer = world.raw_wait("SIP/2.0", 10);
    // The INVITE's offer has no answer yet: RFC 3311 section 5.2 asks for 500 with Retry-After.
    assert!(answer.line().starts_with("SIP/2.0 500") && answer.header("Retry-After").is_some(), "{}", answer.text);
    world.raw_wait("SIP/2.0 200", 3000);
    call.cseq -= 1;
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    call.cseq += 1;
    world.run(500);
    assert_eq!(world.tap.last().expect("RTP").1, "198.51.100.2:50000".parse().unwrap());
    hang_up(world, call);
}

#[test]
fn sip_072_a_second_reinvite_while_one_is_open_is_500_or_491_and_the_call_lives() {
    let mut world = World::new(&Scene::default());
    let (mut call, offer) = raw_call(&mut world, "double");
    call.cseq += 1;
    let without = call.request("INVITE", "", "");
    world.raw_send(&without);
    let ok = world.raw_wait("SIP/2.0 200", 100);
    assert!(ok.body().contains("RTP/AVP 0 8 9 111 101 96"));
    call.cseq += 1;
    let update = call.request("UPDATE", "x: y\r\n", &offer.then("sendrecv").text());
    world.raw_send(&update);
    world.raw_wait("SIP/2.0 491", 100);
    call.cseq -= 1;
    let ack = call.request("ACK", "", &offer.then("sendrecv").text());
    world.raw_send(&ack);
    world.run(500);
    call.cseq += 1;
    assert_eq!(world.bridge.calls(), 1);
    hang_up(world, call);
}

#[test]
fn sip_039_a_request_of_an_older_cseq_is_500_and_of_an_unknown_dialog_481() {
    let mut world = World::new(&Scene::default());
    let (mut call, _) = raw_call(&mut world, "order");
    call.cseq = 7;
    let info = call.request("INFO", "Content-Type: application/dtmf\r\n", "5");
    world.raw_send(&info);
    world.raw_wait("SIP/2.0 200", 100);
    call.cseq = 6;
    let old = call.request("INFO", "Content-Type: application/dtmf\r\n", "5");
    world.raw_send(&old);
    world.raw_wait("SIP/2.0 500", 100);
    let mut stranger = RawCall::new("unknown");
    stranger.tag = Some("nobody".into());
    let bye = stranger.request("BYE", "", "");
    world.raw_send(&bye);
    world.raw_wait("SIP/2.0 481", 100);
    call.cseq = 7;
    hang_up(world, call);
}
