//! How it ends: drain, failure, stop.

use super::*;

fn close(code: u16) -> SocketEnd {
    SocketEnd::Close { code: Some(code), reason: "why".into() }
}

#[test]
fn rtp_079_after_a_normal_close_what_waits_is_played_to_its_last_sample() {
    for end in [close(1000), close(1001), close(1012), close(1013), SocketEnd::Eof, SocketEnd::Reset] {
        let mut world = World::new();
        world.bot_speaks(1000, 5);
        world.bot_marks("nobody hears this");
        world.session.handle_closed(world.now, end);
        assert!(world.events().contains(&StreamEvent::Draining { ms: 1000 }));
        assert_eq!(world.packets(980), 980);
        assert_eq!(world.end(), None);
        world.pull();
        assert_eq!(world.end(), None, "the last packet is not sent yet");
        world.session.sent(world.now);
        let end = world.end().expect("played to the end");
        assert_eq!((end.status, end.disconnected_by), (Status::Completed, DisconnectedBy::Bot));
        assert!(world.messages().is_empty());
        assert_eq!(world.session.poll_close(), None);
    }
}

#[test]
fn rtp_079_trailing_digital_silence_is_not_played() {
    let mut world = World::new();
    world.bot_speaks(100, 5);
    world.bot_speaks(50, 0);
    world.bot_speaks(100, 6);
    world.bot_pcm(&[[6; 400], [0; 400]].concat());
    world.bot_marks("m");
    world.bot_speaks(10_000, 0);
    world.bot_bytes(&[0; 3]);
    world.packets(20);
    world.bot_closes();
    assert_eq!(world.packets(1000), 280);
    assert!(world.end().is_some());
}

#[test]
fn rtp_079_with_nothing_but_silence_left_it_ends_at_once() {
    let mut world = World::new();
    world.bot_speaks(5000, 0);
    world.packets(100);
    world.bot_closes();
    assert!(world.end().is_some());
    assert_eq!(world.packets(100), 0);
}

#[test]
fn rtp_079_the_drain_is_bounded() {
    for (drain_ms, bound) in [(2_000, 2_000), (60_000, 30_000), (0, 0)] {
        let mut world = World::with(StreamSettings { drain_ms, ..settings() });
        world.bot_speaks(50_000, 5);
        world.bot_closes();
        let until = world.session.poll_timeout().expect("a bound");
        assert_eq!(until - world.now, Duration::from_millis(bound));
        world.now = until;
        world.session.handle_timeout(world.now);
        assert_eq!(world.end().map(|end| end.status), Some(Status::Completed));
        assert_eq!(world.packets(100), 0);
        assert_eq!(world.session.poll_timeout(), None);
    }
}

#[test]
fn rtp_079_on_hold_the_bound_still_ends_the_drain() {
    let mut world = World::new();
    world.bot_speaks(1000, 5);
    world.session.set_paused(world.now, true);
    world.bot_closes();
    world.packets(29_980);
    assert_eq!(world.end(), None);
    world.packets(40);
    assert!(world.end().is_some());
}

#[test]
fn after_a_failure_the_play_out_is_skipped() {
    let failures = [SocketEnd::MidFrame, SocketEnd::PingsMissed, SocketEnd::Tls("x".into()), SocketEnd::Oversize];
    for end in failures.into_iter().chain([1002, 1003, 1007, 1008, 1009, 1011].map(close)) {
        let mut world = World::new();
        world.bot_speaks(1000, 5);
        world.packets(100);
        world.session.handle_closed(world.now, end);
        let end = world.end().expect("at once");
        assert_eq!((end.status, end.disconnected_by), (Status::Failed, DisconnectedBy::Bot));
        assert!(end.error.is_some());
        assert_eq!(world.packets(100), 0);
    }
}

#[test]
fn a_message_over_8_mib_is_answered_with_close_1009() {
    let mut world = World::new();
    world.session.push_audio(&[1; 800]);
    world.session.handle_closed(world.now, SocketEnd::Oversize);
    assert_eq!(world.session.poll_close(), Some(1009));
    assert_eq!(world.session.poll_close(), None);
}

#[test]
fn the_caller_s_hangup_drops_the_queue_says_stop_and_closes_1000() {
    let mut world = World::new();
    world.bot_speaks(1000, 5);
    world.packets(100);
    world.session.push_audio(&[1; 80]);
    world.session.stop(world.now, StopReason::CallEnded);
    assert_eq!(world.end(), Some(StreamEnd::caller()));
    assert_eq!(world.packets(100), 0);
    assert_eq!(world.session.poll_close(), None, "stop comes first");
    let events: Vec<_> = world.messages().iter().map(|message| message["event"].clone()).collect();
    assert_eq!(events, ["media", "stop"]);
    assert_eq!((world.session.poll_close(), world.session.poll_close()), (Some(1000), None));
    for end in [SocketEnd::MidFrame, close(1011)] {
        world.session.handle_closed(world.now, end);
        assert_eq!(world.end(), None, "anything afterwards is put up with");
    }
}

#[test]
fn a_time_limit_is_completed_by_nobody_and_says_stopped() {
    let mut world = World::new();
    world.session.stop(world.now, StopReason::Stopped);
    assert_eq!(world.end(), Some(StreamEnd::stopped()));
    assert_eq!(world.messages()[0]["stop"]["reason"], "stopped");
}

#[test]
fn a_hangup_during_the_drain_ends_it_and_the_bot_s_close_stays_the_verdict() {
    let mut world = World::new();
    world.bot_speaks(1000, 5);
    world.bot_closes();
    world.events();
    world.session.stop(world.now, StopReason::CallEnded);
    assert_eq!(world.end().map(|end| end.disconnected_by), Some(DisconnectedBy::Bot));
    assert!(world.messages().is_empty());
    assert_eq!(world.session.poll_close(), None);
}

#[test]
fn a_hangup_before_the_start_is_cancelled_by_the_user() {
    let mut world = World::connecting(settings());
    world.session.stop(world.now, StopReason::CallEnded);
    assert_eq!(world.end(), Some(StreamEnd::cancelled()));
    world.session.handle_opened(world.now);
    assert!(world.messages().is_empty());
    assert_eq!(world.session.poll_close(), Some(1000), "it opened too late");
}

#[test]
fn a_socket_lost_before_the_start_never_connected() {
    let mut world = World::connecting(settings());
    world.session.handle_closed(world.now, SocketEnd::Tls("unknown issuer".into()));
    let error = world.end().and_then(|end| end.error).expect("failed");
    assert_eq!(error, "3009 failed to establish ws conn TLS error: unknown issuer");
}
