//! Attended transfer by the peer: an INVITE with Replaces takes the call over, the bot does not notice (SIP-105).

use trunkstream::sip::ListenerId;

use super::world::link::Parcel;
use super::world::pbx::decode;
use super::world::raw::{Got, RAW, RawCall};
use super::world::sound::{find, speech};
use super::world::text::{Offer, Rtp};
use super::world::{Scene, World};

fn offer(port: u16) -> String {
    Offer { address: "198.51.100.2".into(), ..Offer::new(port) }.text()
}

fn replaces(call: &RawCall) -> String {
    format!("Replaces: {};to-tag={};from-tag=raw\r\n", call.call_id, call.tag.as_deref().expect("a tag"))
}

/// What an INVITE of `call_id` with these header lines gets, 100 aside.
fn invite(world: &mut World, call_id: &str, lines: &str, body: &str) -> (RawCall, Got) {
    let mut call = RawCall::new(call_id);
    let invite = call.request("INVITE", lines, body);
    world.raw.clear();
    world.raw_send(&invite);
    let is_final = |got: &Got| got.line().starts_with("SIP/2.0") && !got.line().starts_with("SIP/2.0 1");
    world.until(1000, "a final response", |world| world.raw.iter().any(is_final));
    let got = world.raw.iter().find(|got| is_final(got)).expect("just seen").clone();
    call.take_tag(&got);
    if got.line().starts_with("SIP/2.0 200") {
        let ack = call.request("ACK", "", "");
        world.raw_send(&ack);
        world.run(20);
    }
    (call, got)
}

fn answer_bye(world: &mut World) {
    let bye = world.raw_got("BYE").last().map(|got| (*got).clone()).expect("a BYE");
    let lines = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines: String = lines.map(|name| format!("{name}: {}\r\n", bye.header(name).unwrap_or_default())).concat();
    world.raw_send(&format!("SIP/2.0 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"));
    world.run(20);
}

fn hang_up(world: &mut World, call: &mut RawCall) {
    call.cseq += 1;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.raw_wait("SIP/2.0 200", 1000);
}

#[test]
fn sip_105_the_bots_stream_and_queue_go_on_and_media_moves_to_the_new_dialog() {
    let mut world = World::new(&Scene::default());
    let old = world.raw_call("old", &offer(41_000));
    let words = speech(0, 3000);
    world.bot_plays(0, &words);
    world.bot_marks(0, "said");
    world.run(1000);
    let (mut new, ok) = invite(&mut world, "new", &replaces(&old), &offer(42_000));
    assert_eq!(ok.line(), "SIP/2.0 200 OK");
    let moved = world.tap.len();
    world.until(500, "the BYE of the old dialog", |world| !world.raw_got("BYE").is_empty());
    let bye = world.raw_got("BYE")[0].clone();
    assert_eq!(bye.header("Call-ID"), Some("old"));
    assert_eq!(bye.header("Reason"), Some("Q.850;cause=16;text=\"replaced\""));
    answer_bye(&mut world);
    world.run(3000);
    assert_eq!(world.bots.sockets.len(), 1);
    assert_eq!(world.bot(0).marks(), ["said"]);
    let ear: Vec<i16> = world.tap.iter().flat_map(|(_, _, packet)| decode(packet)).collect();
    assert!(find(&ear, &words).is_some(), "not a sample is lost");
    assert!(world.tap[moved..].iter().all(|(_, to, _)| to.port() == 42_000), "to the new address at once");
    for n in 0..25_u16 {
        let packet =
            Rtp { sequence: n, timestamp: u32::from(n) * 160, payload: vec![0x2A; 160], ssrc: 99, ..first(&world) };
        world.inject("198.51.100.2:42000", 10_000, packet.write());
        world.run(20);
    }
    assert!(world.bot(0).audio().iter().any(|sample| *sample != 0), "the new party is heard");
    hang_up(&mut world, &mut new);
    let record = world.record();
    assert_eq!((record.call_id.as_str(), record.replaced_by.as_slice()), ("old", &["new".to_owned()][..]));
    assert_eq!((record.streams.len(), record.end.why), (1, "caller_hangup"));
    world.ends_clean();
}

fn first(world: &World) -> Rtp {
    world.tap[0].2.clone()
}

#[test]
fn sip_105_a_late_offer_may_replace_too_media_moves_with_the_ack() {
    let mut world = World::new(&Scene::default());
    let old = world.raw_call("old", &offer(41_000));
    let mut new = RawCall::new("new");
    let invite = new.request("INVITE", &replaces(&old), "");
    world.raw_send(&invite);
    let ok = world.raw_wait("SIP/2.0 200", 1000);
    assert!(ok.body().contains("m=audio 10000"), "the same port: {}", ok.body());
    new.take_tag(&ok);
    let ack = new.request("ACK", "", &offer(42_000));
    world.raw_send(&ack);
    world.until(500, "the BYE of the old dialog", |world| !world.raw_got("BYE").is_empty());
    answer_bye(&mut world);
    let moved = world.tap.len();
    world.run(500);
    assert!(world.tap.len() > moved + 20 && world.tap[moved..].iter().all(|(_, to, _)| to.port() == 42_000));
    hang_up(&mut world, &mut new);
    world.ends_clean();
}

#[test]
fn sip_105_only_the_same_trunk_and_account_may_replace_a_call() {
    let scene = Scene {
        trunk: "[[trunk]]\nname = \"other\"\naccount = \"acc2\"\nallow = [\"203.0.113.0/24\"]".into(),
        ..Scene::default()
    };
    let mut world = World::new(&scene);
    let mut old = world.raw_call("old", &offer(41_000));
    let text = RawCall::new("foreign").request("INVITE", &replaces(&old), &offer(42_000));
    let foreign = Parcel {
        from: "203.0.113.7:5060".parse().expect("an address"),
        to: world.bridge.address,
        bytes: text.as_bytes().to_vec(),
    };
    world.link.send(world.now, foreign);
    world.run(100);
    assert!(world.ladder().contains("SIP/2.0 403"), "{}", world.ladder());
    let stranger = RawCall::new("account").request("INVITE", &replaces(&old), &offer(42_000)).replace("acc1", "acc2");
    world.raw_send(&stranger);
    assert_eq!(world.raw_wait("SIP/2.0 403", 500).line(), "SIP/2.0 403 Forbidden");
    world.run(500);
    assert!(world.tap.last().expect("packets").1.port() == 41_000, "the call goes on");
    hang_up(&mut world, &mut old);
    world.ends_clean();
}

#[test]
fn sip_105_an_offer_that_cannot_be_used_is_refused_and_the_call_goes_on() {
    let mut world = World::new(&Scene::default());
    let mut old = world.raw_call("old", &offer(41_000));
    let body = offer(42_000).replace("0 8 101", "18").replace("PCMU", "G729");
    let (_, refused) = invite(&mut world, "new", &replaces(&old), &body);
    assert_eq!(refused.line(), "SIP/2.0 488 Not Acceptable Here");
    world.run(300);
    assert!(world.raw_got("BYE").is_empty());
    hang_up(&mut world, &mut old);
    world.ends_clean();
}

#[test]
fn sip_105_a_replacement_cancelled_in_the_last_moment_leaves_the_call_where_it_was() {
    let mut world = World::new(&Scene::default());
    let mut old = world.raw_call("old", &offer(41_000));
    let invite = RawCall::new("new").request("INVITE", &replaces(&old), &offer(42_000));
    let cancel =
        invite.split("Replaces").next().expect("a head").replace("INVITE", "CANCEL") + "Content-Length: 0\r\n\r\n";
    let from = RAW.parse().expect("an address");
    // Both are there before the call has answered.
    for text in [invite, cancel] {
        world.bridge.endpoint.handle_datagram(world.now, ListenerId(0), from, text.as_bytes());
    }
    world.bridge.wake(world.now);
    world.run(500);
    let said: Vec<_> = world.raw.iter().map(Got::line).filter(|line| line.contains("487")).collect();
    assert_eq!(said.len(), 1);
    assert!(world.raw_got("BYE").is_empty() && world.tap.last().expect("packets").1.port() == 41_000);
    let ack = RawCall::new("new").request("ACK", "", "");
    world.raw_send(&ack);
    hang_up(&mut world, &mut old);
    assert_eq!(world.record().replaced_by, [""; 0]);
    world.ends_clean();
}
