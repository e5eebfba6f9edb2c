//! Whole calls.

use std::time::Instant;

use trunkstream::sip::{DialogId, Event, InfoAnswer, Reason};

use super::world::{Link, Side, World};

const SDP: &[u8] = b"v=0\r\n";

/// A callee that takes everything: answers calls and re-INVITEs after ringing, and INFOs at once.
fn agreeable(side: &mut Side, now: Instant, from: usize) {
    for position in from..side.events.len() {
        let dialog = side.events[position].dialog();
        match side.events[position] {
            Event::Invite { .. } => {
                side.endpoint.ring(now, dialog);
                side.endpoint.answer(now, dialog, Some(SDP.to_vec()));
            }
            Event::Reinvite { .. } | Event::Update { .. } => {
                side.endpoint.answer(now, dialog, Some(SDP.to_vec()));
            }
            Event::Info { .. } => {
                side.endpoint.answer_info(now, dialog, InfoAnswer::Ok);
            }
            _ => {}
        }
    }
}

/// Runs with both sides agreeable.
fn run(world: &mut World, seconds: u64) {
    let (mut caller_seen, mut callee_seen) = (world.caller.events.len(), world.callee.events.len());
    world.run(seconds, |caller, callee, now| {
        agreeable(caller, now, caller_seen);
        agreeable(callee, now, callee_seen);
        (caller_seen, callee_seen) = (caller.events.len(), callee.events.len());
    });
}

fn callee_dialog(world: &World) -> DialogId {
    world.callee.events.first().map(Event::dialog).expect("the call arrived")
}

#[test]
fn a_call_over_a_clean_link_is_set_up_held_and_taken_down() {
    let mut world = World::new(Link::default(), 1);
    let dialog = world.call();
    run(&mut world, 1);
    assert_eq!(world.caller.happened(), ["Provisional", "Answered"]);
    let theirs = callee_dialog(&world);
    assert_eq!(world.callee.happened(), ["Invite", "Acknowledged"]);
    assert!(world.caller.endpoint.reinvite(world.now, dialog, Some(SDP.to_vec())));
    assert!(world.caller.endpoint.info(world.now, dialog, "application/dtmf-relay", b"Signal=1".to_vec()));
    run(&mut world, 1);
    assert_eq!(world.callee.happened(), ["Reinvite", "Info", "Acknowledged"]);
    assert_eq!(world.caller.happened(), ["ReinviteAnswered", "InfoAnswered"]);
    assert!(world.callee.endpoint.reinvite(world.now, theirs, Some(SDP.to_vec())));
    run(&mut world, 1);
    assert_eq!(world.caller.happened(), ["Reinvite", "Acknowledged"]);
    assert!(world.callee.endpoint.bye(world.now, theirs, vec![Reason::q850(16)]));
    run(&mut world, 1);
    assert_eq!(world.callee.happened(), ["ReinviteAnswered", "Ended"]);
    let Some(Event::Bye { reasons, .. }) = world.caller.events.first() else { panic!("no BYE") };
    assert_eq!(*reasons, [Reason::q850(16)]);
    run(&mut world, 100);
    assert!(world.caller.endpoint.counts().is_idle() && world.callee.endpoint.counts().is_idle());
}

#[test]
fn sip_073_reinvites_that_cross_are_both_answered_in_the_end() {
    let mut world = World::new(Link::default(), 2);
    let dialog = world.call();
    run(&mut world, 1);
    let theirs = callee_dialog(&world);
    world.caller.events.clear();
    world.callee.events.clear();
    assert!(world.caller.endpoint.reinvite(world.now, dialog, Some(SDP.to_vec())));
    assert!(world.callee.endpoint.reinvite(world.now, theirs, Some(SDP.to_vec())));
    run(&mut world, 10);
    for side in [&mut world.caller, &mut world.callee] {
        let mut happened = side.happened();
        happened.sort_unstable();
        assert_eq!(happened, ["Acknowledged", "Reinvite", "ReinviteAnswered"]);
    }
}

#[test]
fn a_call_that_is_taken_back_while_it_rings_ends_on_both_sides() {
    let mut world = World::new(Link::default(), 3);
    let dialog = world.call();
    let mut rung = false;
    world.run(1, |_, callee, now| {
        if let (Some(Event::Invite { dialog, .. }), false) = (callee.events.last(), rung) {
            rung = callee.endpoint.ring(now, *dialog);
        }
    });
    world.caller.endpoint.cancel(world.now, dialog, vec![Reason::sip(200)]);
    world.run(1, |_, _, _| ());
    assert_eq!(world.callee.happened(), ["Invite", "Cancelled", "Ended"]);
    assert_eq!(world.caller.happened(), ["Provisional", "Rejected", "Ended"]);
}

#[test]
fn sip_063_sip_082_early_answers_and_refreshes_survive_a_link_that_loses_repeats_and_reorders() {
    for seed in 0..40 {
        let wish = if seed % 2 == 0 { "300;refresher=uac" } else { "300;refresher=uas" };
        let mut world = World::new(Link { loss: 15, copies: 20, jitter_ms: 300 }, 2000 + seed * 2);
        let dialog = world.call_with(&[("Require", "100rel"), ("Session-Expires", wish)]);
        let mut begun = false;
        world.run(2000, |_, callee, now| {
            if let (Some(Event::Invite { dialog, .. }), false) = (callee.events.last(), begun) {
                let dialog = *dialog;
                begun = callee.endpoint.progress(now, dialog, 183, Some(SDP.to_vec()))
                    && callee.endpoint.answer(now, dialog, Some(SDP.to_vec()));
            }
        });
        let (caller, callee) = (world.caller.happened(), world.callee.happened());
        assert_eq!(caller.iter().filter(|event| *event == "Answered").count(), 1, "seed {seed}: {caller:?}");
        assert_eq!(callee, ["Invite", "Acknowledged"], "seed {seed}");
        assert_eq!([&world.caller, &world.callee].map(|side| side.endpoint.counts().dialogs), [1, 1], "seed {seed}");
        // The callee forgets the call: whoever refreshes, the caller notices.
        world.callee = World::new(Link::default(), seed).callee;
        run(&mut world, 400);
        assert!(!world.caller.endpoint.bye(world.now, dialog, Vec::new()));
        let ends = world.caller.happened();
        assert_eq!(ends, ["SessionExpired", "Ended"], "seed {seed}");
        assert!(world.caller.endpoint.counts().is_idle(), "seed {seed}");
    }
}

#[test]
fn calls_survive_a_link_that_loses_repeats_and_reorders() {
    for seed in 0..60 {
        let link = Link { loss: 30, copies: 20, jitter_ms: 300 };
        let mut world = World::new(link, 1000 + seed * 2);
        let dialog = world.call();
        run(&mut world, 40);
        let names = |side: &Side| side.events.iter().map(|e| format!("{e:?}")).collect::<Vec<_>>();
        let count = |side: &Side, name: &str| names(side).iter().filter(|event| event.starts_with(name)).count();
        assert_eq!(count(&world.caller, "Answered"), 1, "seed {seed}: {:?}", names(&world.caller));
        assert_eq!(count(&world.callee, "Invite "), 1, "seed {seed}");
        assert_eq!(count(&world.callee, "Acknowledged"), 1, "seed {seed}");
        assert!(world.caller.endpoint.info(world.now, dialog, "text/plain", b"x".to_vec()));
        run(&mut world, 40);
        assert_eq!(count(&world.callee, "Info "), 1, "seed {seed}");
        assert!(world.caller.endpoint.bye(world.now, dialog, Vec::new()));
        run(&mut world, 120);
        for side in [&world.caller, &world.callee] {
            assert_eq!(count(side, "Ended"), 1, "seed {seed}");
            assert!(side.endpoint.counts().is_idle(), "seed {seed}: {:?}", side.endpoint.counts());
        }
    }
}
