//! What a call leaves behind for the operator: its record.

use std::time::Duration;

use trunkstream::call::outcome::DialFailure;

use super::world::bot::Pickup;
use super::world::{Scene, World};

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
