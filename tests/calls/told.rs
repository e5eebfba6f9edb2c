//! What a call leaves behind for the operator: its record.

use std::time::Duration;

use trunkstream::call::outcome::DialFailure;
use trunkstream::stream::SocketEnd;

use super::world::bot::Pickup;
use super::world::{Scene, World, voicebot};

#[test]
fn sip_110_the_record_has_every_reason_as_it_was_on_the_wire() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    world.hang_up(phone);
    assert_eq!(world.record().end.reasons, ["Q.850;cause=16"]);
    world.ends_clean();
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.bot_closes(0, 1011);
    assert_eq!(world.bye(phone), "Q.850;cause=38");
    assert_eq!(world.record().end.reasons, ["Q.850;cause=38"]);
    world.ends_clean();
}

/// Every SIP message that the bridge sent in a story, in one text.
fn sent(world: &World) -> String {
    let own = world.link.ladder.iter().filter(|rung| rung.from == world.bridge.address);
    own.map(|rung| rung.text.as_str()).collect()
}

#[test]
fn sip_113_nothing_internal_is_in_any_message_of_ours() {
    let bot = "wss://user:secret@bot.internal:9001/media?token=hidden&sample-rate=8000";
    let failures = [
        DialFailure::Dns("bot.internal: no such host".into()),
        DialFailure::Connect("10.1.2.3:9001: refused".into()),
        DialFailure::Tls("bot.internal: bad certificate".into()),
        DialFailure::Http(401),
        DialFailure::Timeout(10),
    ];
    let mut texts = String::new();
    for failure in failures {
        let mut world = World::new(&Scene::steps(&[voicebot("talk", bot, "")]));
        world.bots.plan.push_back(Pickup::Fails(Duration::from_millis(5), failure));
        let phone = world.dial(world.pbx.plan());
        world.refusal(phone);
        texts += &sent(&world);
        world.ends_clean();
    }
    for end in [1000, 1008, 1011] {
        let mut world = World::new(&Scene::steps(&[voicebot("talk", bot, "")]));
        let phone = world.call();
        let reason = "panic at 10.1.2.3 in bot.internal".to_owned();
        world.bot_ends(0, SocketEnd::Close { code: Some(end), reason });
        world.bye(phone);
        texts += &sent(&world);
        world.ends_clean();
    }
    let mut world = World::new(&Scene::default());
    let offer = super::world::text::Offer::new(40_000).codecs(&[(18, "G729/8000")]);
    let phone = world.dial(super::world::pbx::Plan { offer: Some(offer), ..world.pbx.plan() });
    world.refusal(phone);
    texts += &sent(&world);
    world.ends_clean();
    assert!(texts.contains("502 Bad Gateway") && texts.contains("BYE ") && texts.contains("Warning"), "{texts}");
    for inner in ["internal", "secret", "hidden", "9001", "10.1.2.3", "P-Asserted-Identity", "talk", "acc1"] {
        assert!(!texts.contains(inner), "{inner} in\n{texts}");
    }
}

#[test]
fn sip_112_the_record_has_the_stations_of_a_diverted_call_with_their_numbers_masked() {
    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan().header("Diversion", "<sip:08061234567@pbx>;reason=no-answer");
    let plan = plan.header("History-Info", "<sip:5551234567@h?Privacy=history>;index=1, <sip:1000200030@h>;index=1.1");
    let phone = world.call_with(plan);
    world.hang_up(phone);
    let told: Vec<_> = world.record().diverted.into_iter().map(|s| (s.header, s.number, s.reason)).collect();
    assert_eq!(
        told,
        [
            ("Diversion", "xxxxxxxxx67".to_owned(), Some("no-answer".to_owned())),
            ("History-Info", "xxxxxxxx30".to_owned(), None),
        ]
    );
    world.ends_clean();
}

#[test]
fn sdp_011_a_hold_that_is_too_long_closes_the_stream_with_the_bye() {
    let mut world = World::new(&Scene { trunk: "hold_timeout_seconds = 20".into(), ..Scene::default() });
    let phone = world.call();
    let hold = super::world::text::Offer::new(40_000).then("sendonly");
    world.reinvite(phone, Some(hold));
    assert_eq!(world.bye(phone), "Q.850;cause=102;text=\"hold timeout\"");
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("completed", "NA"));
    assert_eq!((stream.detailed_status, stream.error), (Some("hold_timeout"), None));
    world.ends_clean();
}

#[test]
fn sip_121_a_trunk_has_its_own_code_for_a_failure() {
    for (trunk, code) in [("", 502), ("sip_codes = [\"bot_unreachable=486\"]", 486)] {
        let mut world = World::new(&Scene { trunk: trunk.into(), ..Scene::default() });
        let failure = DialFailure::Connect("refused".into());
        world.bots.plan.push_back(Pickup::Fails(Duration::from_millis(5), failure));
        let phone = world.dial(world.pbx.plan());
        assert_eq!(world.refusal(phone), (code, "Q.850;cause=38".to_owned()));
        assert_eq!(world.record().end.sip_code, Some(code));
        world.ends_clean();
    }
}
