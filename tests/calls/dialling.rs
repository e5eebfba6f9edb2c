//! Bots that cannot be reached: what the PBX is answered, what the record says, where the flow goes on.

use std::time::Duration;

use trunkstream::call::outcome::DialFailure;

use super::world::bot::Pickup;
use super::world::{Scene, World, voicebot};

fn fails(failure: DialFailure) -> Pickup {
    Pickup::Fails(Duration::from_millis(30), failure)
}

#[test]
fn sip_120_each_failed_dial_has_its_code_cause_and_error_before_the_answer() {
    let unreachable = (502, "Q.850;cause=38", false);
    let busy = (480, "Q.850;cause=42", true);
    let rows = [
        (DialFailure::Dns("bot.test: no address".into()), unreachable, "DNS: bot.test: no address"),
        (DialFailure::Connect("Connection refused".into()), unreachable, "Connection refused"),
        (DialFailure::Tls("expired".into()), unreachable, "TLS: expired"),
        (DialFailure::Handshake("no 101".into()), unreachable, "handshake: no 101"),
        (DialFailure::Http(401), unreachable, "HTTP 401"),
        (DialFailure::Http(403), unreachable, "HTTP 403"),
        (DialFailure::Http(404), unreachable, "HTTP 404"),
        (DialFailure::Http(500), unreachable, "HTTP 500"),
        (DialFailure::Http(429), busy, "HTTP 429"),
        (DialFailure::Http(503), busy, "HTTP 503"),
    ];
    for (failure, (code, reason, retry), error) in rows {
        let mut world = World::new(&Scene::default());
        world.bots.plan.push_back(fails(failure.clone()));
        let phone = world.dial(world.pbx.plan());
        assert_eq!(world.refusal(phone), (code, reason.to_owned()), "{failure:?}");
        let refused = world.phone(phone).refused.clone().expect("refused");
        assert_eq!(refused.headers.has("Retry-After"), retry, "{failure:?}");
        let stream = world.stream();
        assert_eq!((stream.status, stream.disconnected_by, stream.duration.as_str()), ("failed", "NA", "0"));
        assert_eq!(stream.error, Some(format!("3009 failed to establish ws conn {error}")));
        world.ends_clean();
    }
}

#[test]
fn sip_120_a_dial_that_fails_after_the_answer_ends_the_call_with_its_cause() {
    for (failure, reason) in [
        (DialFailure::Connect("refused".into()), "Q.850;cause=38"),
        (DialFailure::Http(429), "Q.850;cause=42"),
        (DialFailure::Timeout(10), "Q.850;cause=102"),
    ] {
        let mut world = World::new(&Scene::talk("answer_mode = \"immediate\""));
        world.bots.plan.push_back(Pickup::Fails(Duration::from_secs(1), failure));
        let phone = world.call();
        assert_eq!(world.bye(phone), reason);
        world.ends_clean();
    }
}

#[test]
fn sip_061_a_bot_without_a_handshake_is_504_after_10_s() {
    let mut world = World::new(&Scene::default());
    world.bots.otherwise = Pickup::Never;
    let phone = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(phone), (504, "Q.850;cause=102".into()));
    assert!((10_000..10_050).contains(&world.ms()), "{}", world.ms());
    let error = world.stream().error;
    assert_eq!(error.as_deref(), Some("3009 failed to establish ws conn no handshake within 10 s"));
    world.ends_clean();
}

#[test]
fn sip_061_the_answer_deadline_of_15_s_bounds_everything() {
    let steps =
        [voicebot("talk", "ws://first.test/", "next = \"second\""), voicebot("second", "ws://second.test/", "")];
    let mut world = World::new(&Scene::steps(&steps));
    world.bots.otherwise = Pickup::Never;
    let phone = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(phone), (504, "Q.850;cause=102".into()));
    assert!((15_000..15_050).contains(&world.ms()), "{}", world.ms());
    assert!(world.bot(1).closed.is_some_and(|_| world.bot(1).opened.is_none()), "the second dial is given up");
    let record = world.record();
    let ends: Vec<_> = record.streams.iter().map(|stream| (stream.status, stream.disconnected_by)).collect();
    assert_eq!(ends, [("failed", "NA"), ("failed", "NA")]);
    assert_eq!(record.end.why, "answer_timeout");
    world.ends_clean();
}

#[test]
fn the_flow_goes_on_after_a_failed_dial_and_the_second_bot_answers_the_call() {
    let steps =
        [voicebot("talk", "ws://first.test/", "on_error = \"second\""), voicebot("second", "ws://second.test/", "")];
    let mut world = World::new(&Scene::steps(&steps));
    world.bots.plan.push_back(fails(DialFailure::Http(500)));
    let phone = world.call();
    world.run(500);
    assert_eq!(world.bot(1).dial.url.host(), "second.test");
    assert_eq!(world.link.count(world.bridge.address, "SIP/2.0 180"), 1, "it rings once");
    world.bot_closes(1, 1000);
    assert_eq!(world.bye(phone), "Q.850;cause=16", "the first failure is forgotten");
    let record = world.record();
    assert_eq!((record.streams[0].status, record.streams[1].status), ("failed", "completed"));
    assert_eq!((record.streams[0].step.as_str(), record.streams[1].step.as_str()), ("talk", "second"));
    world.ends_clean();
}

#[test]
fn on_error_leads_to_a_step_of_its_own_and_a_good_end_to_next() {
    let steps = [
        voicebot("talk", "ws://bot.test/", "next = \"done\"\non_error = \"sorry\""),
        "[flow.step.done]\napplet = \"hangup\"\ncause = 16\n".to_owned(),
        "[flow.step.sorry]\napplet = \"hangup\"\ncause = 31\nsip_code = 480\n".to_owned(),
    ];
    let mut world = World::new(&Scene::steps(&steps));
    world.bots.plan.push_back(fails(DialFailure::Http(500)));
    let phone = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(phone), (480, "Q.850;cause=31".into()));
    let lost = world.call();
    world.bot_closes(1, 1011);
    assert_eq!(world.bye(lost), "Q.850;cause=31");
    let good = world.call();
    world.bot_closes(2, 1000);
    assert_eq!(world.bye(good), "Q.850;cause=16");
    world.ends_clean();
}

#[test]
fn sip_060_the_last_failure_is_answered_when_no_bot_takes_the_call() {
    let steps =
        [voicebot("talk", "ws://first.test/", "next = \"second\""), voicebot("second", "ws://second.test/", "")];
    let mut world = World::new(&Scene::steps(&steps));
    world.bots.plan.extend([fails(DialFailure::Http(429)), fails(DialFailure::Connect("refused".into()))]);
    let phone = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(phone), (502, "Q.850;cause=38".into()));
    world.ends_clean();
}

#[test]
fn after_the_caller_has_gone_each_step_is_walked_at_most_once_and_none_is_dialled() {
    let steps = [
        voicebot("talk", "ws://first.test/", "next = \"second\""),
        voicebot("second", "ws://second.test/", "next = \"talk\""),
    ];
    let mut world = World::new(&Scene::steps(&steps));
    let phone = world.call();
    world.run(1000);
    world.hang_up(phone);
    let record = world.record();
    let streams: Vec<_> =
        record.streams.iter().map(|stream| (stream.step.as_str(), stream.status, stream.disconnected_by)).collect();
    assert_eq!(streams, [("talk", "completed", "user"), ("second", "cancelled", "user")]);
    assert_eq!(world.bots.sockets.len(), 1);
    world.ends_clean();
}

#[test]
fn a_caller_gone_during_the_second_dial_cancels_that_stream_only() {
    let steps =
        [voicebot("talk", "ws://first.test/", "next = \"second\""), voicebot("second", "ws://second.test/", "")];
    let mut world = World::new(&Scene::steps(&steps));
    let phone = world.call();
    world.bots.otherwise = Pickup::Never;
    world.run(500);
    world.bot_closes(0, 1000);
    world.run(500);
    assert_eq!(world.bots.sockets.len(), 2);
    world.hang_up(phone);
    let record = world.record();
    let ends: Vec<_> = record.streams.iter().map(|stream| (stream.status, stream.disconnected_by)).collect();
    assert_eq!(ends, [("completed", "bot"), ("cancelled", "user")]);
    assert!(world.bot(1).closed.is_some());
    world.ends_clean();
}

#[test]
fn the_dial_has_the_whole_url_its_credentials_and_the_steps_deadline() {
    let url = "wss://user:secret@bot.test:9443/a%2Fb?sample-rate=8000&k=v%20w";
    let mut world = World::new(&Scene::steps(&[voicebot("talk", url, "connect_timeout_seconds = 4")]));
    let phone = world.call();
    let dial = &world.bot(0).dial;
    assert_eq!(dial.url.path_and_query(), "/a%2Fb?sample-rate=8000&k=v%20w");
    assert!(dial.url.is_tls() && dial.url.authorization().is_some() && !dial.insecure);
    assert_eq!((dial.deadline, dial.url.port()), (Duration::from_secs(4), 9443));
    world.hang_up(phone);
    let shown = world.stream().stream_url;
    assert!(!shown.contains("secret") && !shown.contains("user"), "{shown}");
    world.ends_clean();
}
