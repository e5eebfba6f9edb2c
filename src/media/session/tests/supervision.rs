//! Is anybody there?

use super::*;

#[test]
fn rtp_042_no_rtp_is_warned_about_and_then_reported_once() {
    let mut world = World::new();
    world.silence(9_960);
    assert_eq!(world.events(), []);
    world.silence(60);
    assert_eq!(world.events(), [MediaEvent::NoRtpYet]);
    world.silence(50_000);
    assert_eq!(world.events(), [MediaEvent::RtpTimeout]);
    world.silence(90_000);
    assert_eq!(world.events(), []);
}

#[test]
fn rtp_042_sixty_seconds_after_the_last_packet_the_stream_is_missing_but_not_on_hold() {
    let mut world = World::new();
    world.speak(1000, 0x90);
    world.silence(59_000);
    assert!(!world.events().contains(&MediaEvent::RtpTimeout));
    let now = world.now();
    world.session.set_format(now, &MediaFormat { held: true, send: false, ..pcmu() }, false);
    world.silence(120_000);
    assert_eq!(world.events(), []);
    let now = world.now();
    world.session.set_format(now, &pcmu(), false);
    world.silence(59_900);
    assert_eq!(world.events(), []);
    world.silence(200);
    assert_eq!(world.events(), [MediaEvent::RtpTimeout]);
}

#[test]
fn rtp_042_rtcp_is_life_where_comfort_noise_is_negotiated() {
    for (comfort_noise, alive) in [(Some(13), true), (None, false)] {
        let mut world = World::with(settings(), &MediaFormat { comfort_noise, ..pcmu() });
        world.speak(100, 0x90);
        world.events();
        for _ in 0..8 {
            world.silence(10_000);
            let (now, from) = (world.now(), "192.0.2.10:40001".parse().expect("an address"));
            world.session.handle_rtcp(now, from, &[0x80, 201, 0, 1, 0, 0, 0, 1]);
        }
        assert_eq!(world.events().is_empty(), alive);
    }
}

#[test]
fn rtp_016_before_an_answer_nobody_is_heard() {
    let start = Instant::now();
    let mut session = MediaSession::new(start, settings(), &mut Random::from_number(1));
    session.handle_rtp(start, peer(), &[0x80; 172]);
    let mut out = Vec::new();
    assert_eq!(session.packet(start, &[], &mut out), None);
    assert_eq!(session.report(start).source_rejects, 1);
}
