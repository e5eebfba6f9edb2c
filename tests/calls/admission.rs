//! Who may call, and when there is no room.

use super::world::bot::Pickup;
use super::world::link::Parcel;
use super::world::pbx::Plan;
use super::world::raw::RawCall;
use super::world::text::Offer;
use super::world::{Scene, World};

/// Retry-After of a refusal, in seconds.
fn retry_after(world: &mut World, phone: usize) -> Option<u32> {
    let refused = world.phone(phone).refused.clone().expect("a refusal");
    refused.headers.get("Retry-After").map(|seconds| seconds.parse().expect("seconds"))
}

#[test]
fn an_account_at_max_streams_gets_480_with_retry_after_and_the_record_says_throttled() {
    for mode in ["on_stream", "immediate"] {
        let scene = Scene { account: "max_streams = 1".into(), ..Scene::talk(&format!("answer_mode = \"{mode}\"")) };
        let mut world = World::new(&scene);
        let first = world.call();
        world.run(500);
        let second = world.dial(world.pbx.plan());
        assert_eq!(world.refusal(second), (480, "Q.850;cause=42".into()), "{mode}");
        assert!(retry_after(&mut world, second).is_some_and(|seconds| (5..=15).contains(&seconds)));
        let stream = world.stream();
        assert_eq!((stream.status, stream.disconnected_by), ("failed", "NA"));
        assert_eq!(stream.detailed_status, Some("Streaming_call_throttled"));
        assert!(world.phone(first).is_up());
        world.hang_up(first);
        world.run(100);
        let third = world.call();
        assert!(world.phone(third).is_up(), "the place is free again");
        world.ends_clean();
    }
}

#[test]
fn sip_095_a_node_at_max_calls_answers_503_service_unavailable_with_retry_after() {
    let mut world = World::new(&Scene { limits: "max_calls = 2".into(), ..Scene::default() });
    let (first, second) = (world.call(), world.call());
    let third = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(third), (503, "Q.850;cause=42".into()));
    assert_eq!(world.phone(third).refused.clone().expect("refused").phrase, "Service Unavailable");
    assert!(retry_after(&mut world, third).is_some_and(|seconds| (5..=15).contains(&seconds)));
    world.run(1000);
    assert!(world.phone(first).is_up() && world.phone(second).is_up(), "calls that are up go on");
    world.hang_up(first);
    world.run(100);
    let fourth = world.call();
    assert!(world.phone(fourth).is_up());
    world.ends_clean();
}

#[test]
fn sip_096_calls_that_come_at_once_share_the_room_that_there_is() {
    let mut world = World::new(&Scene { limits: "max_calls = 3".into(), ..Scene::default() });
    world.bots.otherwise = Pickup::After(std::time::Duration::from_secs(2));
    for _ in 0..8 {
        let plan = world.pbx.plan();
        world.dial(plan);
    }
    world.run(5000);
    let up = world.pbx.phones.iter().filter(|phone| phone.is_up()).count();
    let refused = world.pbx.phones.iter().filter(|phone| phone.refused.as_ref().is_some_and(|r| r.code == 503)).count();
    assert_eq!((up, refused), (3, 5));
    world.ends_clean();
}

/// Number, headers, code, reason.
type Row = (&'static str, &'static [(&'static str, &'static str)], u16, &'static str);

#[test]
fn hdr_002_refusals_by_account_and_number_have_their_codes_and_causes() {
    let rows: [Row; 7] = [
        ("1000", &[], 403, "Q.850;cause=21"),
        ("1000", &[("X-Exotel-AccountSid", "nobody")], 403, "Q.850;cause=21"),
        ("1000", &[("X-Exotel-AccountSid", "acc2")], 403, "Q.850;cause=21"),
        ("1000", &[("X-Exotel-AccountSid", "acc1"), ("x-exotel-accountsid", "acc2")], 400, "Q.850;cause=41"),
        ("1000", &[("X-Exotel-AccountSid", "a b")], 400, "Q.850;cause=41"),
        ("2000", &[("X-Exotel-AccountSid", "acc1")], 404, "Q.850;cause=1"),
        ("+", &[("X-Exotel-AccountSid", "acc1")], 484, "Q.850;cause=28"),
    ];
    let mut phrases = Vec::new();
    for (number, headers, code, reason) in rows {
        let mut world = World::new(&Scene::default());
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let plan = Plan { number, headers, ..world.pbx.plan() };
        let phone = world.dial(plan);
        assert_eq!(world.refusal(phone), (code, reason.to_owned()), "{number} {code}");
        let refused = world.phone(phone).refused.clone().expect("refused");
        phrases.extend((code == 403).then_some(refused.phrase));
        assert_eq!((world.bridge.begun, world.bots.sockets.len()), (0, 0));
        world.ends_clean();
    }
    phrases.dedup();
    assert_eq!(phrases, ["Forbidden"], "the same text for all three");
}

#[test]
fn hdr_001_any_spelling_of_header_and_number_reaches_the_flow() {
    for (number, name) in
        [("+1000", "x-EXOTEL-accountsid"), ("10-00", "X-Exotel-AccountSid"), ("%31000", "X-EXOTEL-ACCOUNTSID")]
    {
        let mut world = World::new(&Scene::default());
        let plan = Plan { number, headers: vec![(name.into(), "  acc1 ".into())], ..world.pbx.plan() };
        let phone = world.call_with(plan);
        assert!(world.phone(phone).is_up(), "{number}");
        world.ends_clean();
    }
}

#[test]
fn sip_091_a_source_without_a_trunk_gets_five_403_a_minute_and_then_silence() {
    let mut world = World::new(&Scene::default());
    for call in 0..20 {
        let text = RawCall::new(&format!("stranger{call}")).request("INVITE", "", &Offer::new(50_000).text());
        let from = "203.0.113.9:5060".parse().expect("an address");
        world.link.send(world.now, Parcel { from, to: world.bridge.address, bytes: text.into_bytes() });
        world.run(500);
    }
    assert_eq!(world.link.count(world.bridge.address, "SIP/2.0 403"), 5);
    assert_eq!(world.link.ladder.iter().filter(|rung| rung.from == world.bridge.address).count(), 5, "no 100 either");
    assert_eq!(world.bridge.begun, 0);
    world.ends_clean();
}

#[test]
fn sdp_003_g729_only_is_488_with_warning_305_and_no_bot_is_dialled() {
    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan();
    let offer = plan.offer.as_ref().map(|offer| offer.codecs(&[(18, "G729/8000")]));
    let phone = world.dial(Plan { offer, ..plan });
    assert_eq!(world.refusal(phone), (488, "Q.850;cause=65".into()));
    let refused = world.phone(phone).refused.clone().expect("refused");
    let warning = refused.headers.get("Warning").expect("a Warning");
    assert!(warning.starts_with("305 192.0.2.10 \""), "{warning}");
    assert!(world.bots.sockets.is_empty());
    assert_eq!(world.record().end.why, "offer_refused");
    world.ends_clean();
}

#[test]
fn sdp_003_an_offer_that_is_no_sdp_is_488_and_a_body_that_is_none_is_415() {
    let mut world = World::new(&Scene::default());
    let invite = RawCall::new("garbage").request("INVITE", "", "v=0\r\nnonsense");
    world.raw_send(&invite);
    world.raw_wait("SIP/2.0 488", 200);
    let invite = RawCall::new("xml").request("INVITE", "Content-Type: application/xml\r\n", "<a/>");
    world.raw_send(&invite);
    let refused = world.raw_wait("SIP/2.0 415", 200);
    assert_eq!(refused.header("Accept"), Some("application/sdp"));
    world.ends_clean();
}

#[test]
fn sip_014_a_required_extension_is_refused_with_420_and_cause_127() {
    let mut world = World::new(&Scene::default());
    let invite = RawCall::new("rel").request(
        "INVITE",
        "Require: sec-agree, timer, precondition\r\n",
        &Offer::new(50_000).text(),
    );
    world.raw_send(&invite);
    let refused = world.raw_wait("SIP/2.0 420", 200);
    assert_eq!(refused.header("Unsupported"), Some("sec-agree, precondition"));
    assert_eq!(refused.header("Reason"), Some("Q.850;cause=127"));
    assert_eq!(world.bridge.begun, 0);
    world.ends_clean();
}

#[test]
fn sip_097_options_is_200_with_room_and_503_without() {
    let mut world = World::new(&Scene { limits: "max_calls = 1".into(), ..Scene::default() });
    let options = RawCall::new("o1").request("OPTIONS", "", "");
    world.raw_send(&options);
    world.raw_wait("SIP/2.0 200", 50);
    let phone = world.call();
    let options = RawCall::new("o2").request("OPTIONS", "", "");
    world.raw_send(&options);
    assert_eq!(world.raw_wait("SIP/2.0 503", 50).line(), "SIP/2.0 503 Service Unavailable");
    world.hang_up(phone);
    world.run(100);
    let options = RawCall::new("o3").request("OPTIONS", "", "");
    world.raw_send(&options);
    world.raw_wait("SIP/2.0 200", 50);
    world.ends_clean();
}
