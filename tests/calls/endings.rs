//! How calls end: by the caller, by the bot, by a limit, by ourselves; what the PBX and the record are told.

use std::time::Duration;

use trunkstream::stream::SocketEnd;

use super::world::pbx::Mouth;
use super::world::sound::{find, is_silent, payloads, speech, tone};
use super::world::{Scene, World, voicebot};

#[test]
fn rtp_079_a_bot_that_closes_1000_is_heard_to_its_end_then_the_call_ends_with_cause_16() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    let goodbye = speech(0, 1500);
    world.bot_plays(0, &goodbye);
    world.bot_plays(0, &vec![0; 8 * 1000]);
    world.bot_closes(0, 1000);
    let closed = world.now;
    assert_eq!(world.bye(phone), "Q.850;cause=16");
    let took = world.since(closed);
    assert!((1500..1550).contains(&took), "the goodbye lasts 1500 ms, the silence behind it is skipped: {took}");
    let ear = world.phone(phone).ear();
    assert!(find(&ear, &goodbye).is_some(), "not a sample is cut");
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by, stream.error), ("completed", "bot", None));
    assert_eq!(world.record().end.why, "flow_ended");
    world.ends_clean();
}

#[test]
fn rtp_079_the_next_step_comes_when_the_first_bot_was_heard_to_its_end() {
    let steps = [
        voicebot("talk", "ws://first.test/?sample-rate=8000", "next = \"second\""),
        voicebot("second", "ws://second.test/?sample-rate=16000", ""),
    ];
    let mut world = World::new(&Scene::steps(&steps));
    let phone = world.call();
    world.bot_plays(0, &speech(0, 1000));
    world.bot_closes(0, 1000);
    world.run(900);
    assert_eq!(world.bots.sockets.len(), 1);
    world.until(200, "the second dial", |world| world.bots.sockets.len() == 2);
    world.run(1000);
    assert_eq!(world.bot(1).start()["media_format"]["sample_rate"], "16000");
    assert_ne!(world.bot(0).start()["stream_sid"], world.bot(1).start()["stream_sid"]);
    assert_eq!(world.bot(0).start()["call_sid"], world.bot(1).start()["call_sid"]);
    world.bot_plays(1, &tone(1000.0, 16_000, 500));
    world.bot_closes(1, 1000);
    assert_eq!(world.bye(phone), "Q.850;cause=16");
    super::world::sound::assert_even(&world.sent_to(phone));
    assert_eq!(world.record().streams.len(), 2);
    world.ends_clean();
}

/// How the PBX and the record see this end of the bot's socket.
fn ended_by(end: SocketEnd) -> (String, &'static str, &'static str, bool) {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    world.bot_plays(0, &speech(0, 3000));
    world.run(100);
    world.bot_ends(0, end);
    let ended = world.now;
    let reason = world.bye(phone);
    let stream = world.stream();
    let at_once = world.since(ended) < 100;
    assert_eq!(at_once, stream.status == "failed", "the queue is played out after a normal end only");
    world.ends_clean();
    (reason, stream.status, stream.disconnected_by, stream.error.is_some())
}

#[test]
fn sip_120_each_way_a_bot_can_end_has_its_cause_status_and_error() {
    let close = |code| SocketEnd::Close { code: Some(code), reason: "why".into() };
    let completed = |cause: u16| (format!("Q.850;cause={cause}"), "completed", "bot", false);
    let failed = |cause: u16| (format!("Q.850;cause={cause}"), "failed", "bot", true);
    let rows = [
        (SocketEnd::Close { code: None, reason: String::new() }, completed(16)),
        (SocketEnd::Eof, completed(16)),
        (SocketEnd::Reset, completed(16)),
        (close(1001), completed(41)),
        (close(1012), completed(41)),
        (close(1013), completed(41)),
        (close(1002), failed(111)),
        (close(1003), failed(111)),
        (close(1007), failed(111)),
        (close(1009), failed(111)),
        (close(1008), failed(38)),
        (close(1011), failed(38)),
        (SocketEnd::MidFrame, failed(41)),
        (SocketEnd::PingsMissed, failed(41)),
        (SocketEnd::Tls("bad record".into()), failed(41)),
        (SocketEnd::Oversize, failed(111)),
    ];
    for (end, expected) in rows {
        assert_eq!(ended_by(end.clone()), expected, "{end:?}");
    }
}

#[test]
fn rtp_043_the_longest_conversation_ends_with_stopped_and_cause_102() {
    let mut world = World::new(&Scene::talk("max_duration_seconds = 5"));
    let phone = world.call();
    assert_eq!(world.bye(phone), "Q.850;cause=102");
    let opened = world.bot(0).opened.expect("open");
    assert!((5000..5025).contains(&world.since(opened)), "{}", world.since(opened));
    assert_eq!(world.bot(0).last("stop")["stop"]["reason"], "stopped");
    assert_eq!(world.bot(0).closed.map(|(_, code)| code), Some(1000));
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("completed", "NA"));
    assert_eq!((stream.disposition, stream.duration.as_str()), (Some("max_duration"), "5"));
    world.ends_clean();
}

#[test]
fn rtp_043_after_the_longest_conversation_the_flow_goes_on() {
    let steps = [
        voicebot("talk", "ws://first.test/", "max_duration_seconds = 2\nnext = \"second\""),
        voicebot("second", "ws://second.test/", ""),
    ];
    let mut world = World::new(&Scene::steps(&steps));
    let phone = world.call();
    world.run(3000);
    assert!(world.phone(phone).is_up() && world.bot(1).opened.is_some());
    world.bot_closes(1, 1000);
    assert_eq!(world.bye(phone), "Q.850;cause=16", "what counts is how the last bot ended");
    world.ends_clean();
}

#[test]
fn rtp_042_no_rtp_for_20_s_ends_the_call_with_cause_102() {
    let mut world = World::new(&Scene { media: "rtp_timeout_seconds = 20".into(), ..Scene::default() });
    let phone = world.call();
    world.run(5000);
    world.phone(phone).mouth = Mouth::Shut;
    let last = world.now;
    assert_eq!(world.bye(phone), "Q.850;cause=102;text=\"media timeout\"");
    assert!((19_950..20_050).contains(&world.since(last)), "{}", world.since(last));
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("completed", "user"));
    assert_eq!(stream.detailed_status, Some("rtp_timeout"));
    assert_eq!(world.bot(0).last("stop")["stop"]["reason"], "callended");
    assert_eq!(world.record().end.why, "rtp_timeout");
    world.ends_clean();
}

#[test]
fn rtp_042_rtp_that_never_begins_is_only_warned_about_at_first_and_ends_the_call_after_60_s() {
    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan();
    let phone = world.dial(plan);
    world.phone(phone).mouth = Mouth::Shut;
    world.run(59_000);
    assert!(world.phone(phone).is_up());
    assert_eq!(world.bye(phone), "Q.850;cause=102;text=\"media timeout\"");
    world.ends_clean();
}

#[test]
fn ops_031_a_shutdown_ends_live_calls_with_cause_41_and_refuses_unanswered_ones() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.bots.plan.push_back(super::world::bot::Pickup::Never);
    let waiting = world.dial(world.pbx.plan());
    world.run(1000);
    world.shut_down();
    assert_eq!(world.bye(phone), "Q.850;cause=41");
    assert_eq!(world.refusal(waiting), (503, "Q.850;cause=41".into()));
    let records = world.records(2).to_vec();
    let live = records.iter().find(|record| record.answered_after_ms.is_some()).expect("the live call");
    assert_eq!((live.streams[0].status, live.streams[0].disconnected_by), ("completed", "NA"));
    let late = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(late).0, 503);
    world.ends_clean();
}

#[test]
fn a_hangup_step_first_refuses_with_its_code_or_its_causes() {
    for (settings, expected) in [
        ("cause = 17\nsip_code = 486", (486, "Q.850;cause=17")),
        ("sip_code = 603", (603, "Q.850;cause=16")),
        ("cause = 1", (404, "Q.850;cause=1")),
        ("cause = 38", (503, "Q.850;cause=38")),
    ] {
        let steps = format!("[flow.step.talk]\napplet = \"hangup\"\n{settings}\n");
        let mut world = World::new(&Scene::steps(&[steps]));
        let phone = world.dial(world.pbx.plan());
        assert_eq!(world.refusal(phone), (expected.0, expected.1.to_owned()), "{settings}");
        assert!(world.bots.sockets.is_empty());
        world.ends_clean();
    }
}

#[test]
fn a_hangup_step_after_the_answer_hangs_up_with_its_cause() {
    let steps = [
        voicebot("talk", "ws://bot.test/", "next = \"bye\""),
        "[flow.step.bye]\napplet = \"hangup\"\ncause = 31\nsip_code = 480\n".to_owned(),
    ];
    let mut world = World::new(&Scene::steps(&steps));
    let phone = world.call();
    world.run(200);
    world.bot_closes(0, 1000);
    assert_eq!(world.bye(phone), "Q.850;cause=31");
    assert_eq!(world.record().end.why, "hangup");
    world.ends_clean();
}

#[test]
fn rtp_079_a_caller_who_hangs_up_while_the_bots_last_words_play_ends_them_at_once() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.bot_plays(0, &speech(0, 10_000));
    world.bot_closes(0, 1000);
    world.run(2000);
    world.hang_up(phone);
    world.run(10);
    let heard = world.tap.len();
    let stream = world.stream();
    assert_eq!((stream.status, stream.disconnected_by), ("completed", "bot"), "the bot had closed before");
    world.run(1000);
    assert_eq!(world.tap.len(), heard);
    world.ends_clean();
}

#[test]
fn rtp_078_what_the_bot_sends_after_the_hangup_is_ignored() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(500);
    world.bot_plays(0, &speech(0, 500));
    world.bot_marks(0, "late");
    world.run(100);
    world.hang_up(phone);
    world.bot_plays(0, &speech(0, 500));
    world.run(1000);
    assert!(world.bot(0).marks().is_empty(), "no mark after stop");
    assert_eq!(world.bot(0).heard.last().expect("stop").1["event"], "stop");
    world.ends_clean();
}

#[test]
fn rtp_040_the_last_rtcp_packet_leaves_with_the_hangup_and_none_after_it() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(10_000);
    let reports = world.phone(phone).reports;
    assert!((1..=4).contains(&reports), "every 5 s, times 0.5 to 1.5: {reports}");
    world.hang_up(phone);
    world.run(20_000);
    assert_eq!(world.phone(phone).reports, reports + 1);
    let record = world.record();
    assert!(record.media.peer.is_some_and(|peer| peer.lost == 0), "{:?}", record.media.peer);
    world.ends_clean();
}

#[test]
fn silence_is_heard_when_nobody_speaks_and_the_ssrc_stays() {
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(3000);
    let sent = world.sent_to(phone);
    assert!(sent.iter().all(|(_, packet)| is_silent(packet)) && !payloads(sent.iter().map(|(_, p)| *p)).is_empty());
    assert!(sent[0].1.marker && sent.iter().skip(1).all(|(_, packet)| !packet.marker));
    assert!(world.now - sent.last().expect("packets").0 < Duration::from_millis(20));
    world.ends_clean();
}
