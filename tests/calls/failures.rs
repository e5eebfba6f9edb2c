//! The failure table, row by row: what the PBX is answered before the answer, what the BYE says after it, and what the
//! record says of the stream (SIP-120). The last test looks that no row is missing here.

use std::time::Duration;

use trunkstream::call::outcome::{After, Answer, DialFailure, Failure, Row, TABLE};
use trunkstream::stream::SocketEnd;

use super::world::bot::Pickup;
use super::world::link::Parcel;
use super::world::pbx::{Mouth, Plan};
use super::world::raw::RawCall;
use super::world::text::Offer;
use super::world::{Scene, World, voicebot};

fn row(name: &str) -> &'static Row {
    Row::of(name).unwrap_or_else(|| panic!("the table has no row {name}"))
}

/// The row's answer as the raw caller sees it.
fn answered_as(world: &mut World, row: &Row) {
    let Answer { code, cause, retry_after } = row.before.expect("an answer");
    let got = world.raw_wait(&format!("SIP/2.0 {code}"), 20_000);
    let expected = cause.map(|cause| format!("Q.850;cause={cause}"));
    assert_eq!(got.header("Reason"), expected.as_deref(), "{}", row.name);
    assert_eq!(got.header("Retry-After").is_some(), retry_after, "{}", row.name);
}

/// The PBX's call is refused as the row says.
fn refused_as(world: &mut World, phone: usize, row: &Row) {
    let Answer { code, cause, retry_after } = row.before.expect("an answer");
    let expected = cause.map(|cause| format!("Q.850;cause={cause}")).unwrap_or_default();
    let (got, reason) = world.refusal(phone);
    assert_eq!((got, without_text(&reason)), (code, expected), "{}", row.name);
    let refused = world.phone(phone).refused.clone().expect("refused");
    let seconds = refused.headers.get("Retry-After").map(|text| text.parse().expect("seconds"));
    assert_eq!(seconds.is_some(), retry_after, "{}", row.name);
    assert!(seconds.is_none_or(|seconds: u32| (5..=15).contains(&seconds)), "{}: {seconds:?}", row.name);
}

/// A Reason without its text.
fn without_text(reason: &str) -> String {
    reason.split(';').take(2).collect::<Vec<_>>().join(";")
}

/// What the BYE says.
fn reason_of(row: &Row) -> String {
    match row.after {
        After::Flow(cause) | After::Bye(cause) => format!("Q.850;cause={cause}"),
        After::ByeSip(cause) => format!("SIP;cause={cause}"),
        After::Never | After::Gone | After::GoesOn => panic!("{}: there is no BYE", row.name),
    }
}

/// The PBX's call is hung up as the row says.
fn ended_as(world: &mut World, phone: usize, row: &Row) {
    let reason = world.bye(phone);
    assert_eq!(without_text(&reason), reason_of(row), "{}: {reason}", row.name);
}

/// The only stream ended as the row says.
fn streamed_as(world: &mut World, row: &Row) {
    let stream = world.stream();
    assert_eq!(Some((stream.status, stream.disconnected_by)), row.stream, "{}", row.name);
}

fn scene(limits: &str, trunk: &str) -> Scene {
    Scene { limits: limits.into(), trunk: trunk.into(), ..Scene::default() }
}

#[test]
fn sip_120_accounts_and_numbers() {
    let account = |value: &str| vec![("X-Exotel-AccountSid".to_owned(), value.to_owned())];
    let two = [account("acc1"), account("acc2")].concat();
    for (row, number, headers) in [
        (row("account_forbidden"), "1000", Vec::new()),
        (row("account_forbidden"), "1000", account("nobody")),
        (row("account_invalid"), "1000", two),
        (row("number_unknown"), "2000", account("acc1")),
        (row("number_incomplete"), "+", account("acc1")),
    ] {
        let mut world = World::new(&Scene::default());
        let plan = Plan { number, headers, ..world.pbx.plan() };
        let phone = world.dial(plan);
        refused_as(&mut world, phone, row);
        world.ends_clean();
    }
}

#[test]
fn sip_120_a_source_on_no_trunk() {
    let mut world = World::new(&Scene::default());
    let text = RawCall::new("stranger").request("INVITE", "", &Offer::new(50_000).text());
    let from = "203.0.113.9:5060".parse().expect("an address");
    world.link.send(world.now, Parcel { from, to: world.bridge.address, bytes: text.into_bytes() });
    world.run(1000);
    let code = row("unknown_source").before.expect("an answer").code;
    assert_eq!(world.link.count(world.bridge.address, &format!("SIP/2.0 {code}")), 1);
    world.ends_clean();
}

#[test]
fn sip_120_a_flow_that_is_not_there() {
    let mut world = World::new(&Scene::default());
    world.bridge.flows = trunkstream::flow::Flows::default();
    let phone = world.dial(world.pbx.plan());
    refused_as(&mut world, phone, row("flow_invalid"));
    world.ends_clean();
}

#[test]
fn sip_096_each_limit_refuses_the_next_call_and_what_is_up_goes_on() {
    type Close = fn(&mut World);
    let cases: [(&str, Scene, Close); 8] = [
        ("draining", Scene::default(), |world| world.bridge.directory.drain()),
        ("lagging", Scene::default(), |world| world.bridge.directory.note_lag(true)),
        ("memory", Scene::default(), |world| world.bridge.directory.note_memory(true)),
        ("rtp_ports", Scene::default(), |world| assert!(world.bridge.directory.note_ports(true))),
        ("max_calls", scene("max_calls = 1", ""), |_| {}),
        ("call_rate", scene("max_calls_per_second = 1", ""), |_| {}),
        ("source_rate", scene("max_requests_per_second_per_source = 1", ""), |_| {}),
        ("trunk_call_rate", scene("", "max_calls_per_minute = 1"), |_| {}),
    ];
    let rows =
        ["draining", "lagging", "memory", "rtp_ports", "max_calls", "call_rate", "source_rate", "trunk_call_rate"];
    for (name, scene, close) in cases {
        assert!(rows.contains(&name));
        let mut world = World::new(&scene);
        let first = world.call();
        close(&mut world);
        let second = world.dial(world.pbx.plan());
        refused_as(&mut world, second, row(name));
        world.reinvite(first, Some(Offer::new(40_000).then("sendonly")));
        world.run(1000);
        assert!(world.phone(first).is_up(), "{name}: in-dialog requests are served");
        world.hang_up(first);
        world.run(100);
        assert_eq!(world.bridge.calls(), 0, "{name}: the BYE is served");
        world.ends_clean();
    }
}

#[test]
fn sip_120_a_full_account() {
    let mut world = World::new(&Scene { account: "max_streams = 1".into(), ..Scene::default() });
    world.call();
    let second = world.dial(world.pbx.plan());
    refused_as(&mut world, second, row("throttled"));
    streamed_as(&mut world, row("throttled"));
    world.ends_clean();
}

#[test]
fn sip_120_an_offer_that_cannot_be_answered_is_refused_and_a_call_that_is_up_goes_on() {
    let row = row("offer_refused");
    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan();
    let offer = plan.offer.as_ref().map(|offer| offer.codecs(&[(18, "G729/8000")]));
    let phone = world.dial(Plan { offer, ..plan });
    refused_as(&mut world, phone, row);
    let phone = world.call();
    world.reinvite(phone, Some(Offer::new(40_000).codecs(&[(18, "G729/8000")])));
    assert_eq!(row.after, After::GoesOn);
    world.run(1000);
    assert!(world.phone(phone).is_up());
    world.ends_clean();
}

#[test]
fn sip_120_bodies_and_extensions_that_are_not_understood() {
    let mut world = World::new(&Scene::default());
    let invite = RawCall::new("xml").request("INVITE", "Content-Type: application/xml\r\n", "<a/>");
    world.raw_send(&invite);
    answered_as(&mut world, row("body_type"));
    let invite = RawCall::new("ext").request("INVITE", "Require: precondition\r\n", &Offer::new(50_000).text());
    world.raw_send(&invite);
    answered_as(&mut world, row("extension_required"));
    world.ends_clean();
}

#[test]
fn sip_120_a_bot_that_cannot_be_connected_before_and_after_the_answer() {
    let unreachable = [
        DialFailure::Dns("no address".into()),
        DialFailure::Connect("refused".into()),
        DialFailure::Tls("expired".into()),
        DialFailure::Handshake("no 101".into()),
        DialFailure::Http(401),
        DialFailure::Http(404),
        DialFailure::Http(500),
    ];
    let rows = unreachable.map(|failure| (row("bot_unreachable"), failure)).into_iter().chain([
        (row("bot_busy"), DialFailure::Http(429)),
        (row("bot_busy"), DialFailure::Http(503)),
        (row("bot_timeout"), DialFailure::Timeout(10)),
    ]);
    for (row, failure) in rows {
        for mode in ["on_stream", "immediate"] {
            let mut world = World::new(&Scene::talk(&format!("answer_mode = \"{mode}\"")));
            world.bots.plan.push_back(Pickup::Fails(Duration::from_millis(30), failure.clone()));
            let phone = world.dial(world.pbx.plan());
            match mode {
                "immediate" => ended_as(&mut world, phone, row),
                _ => refused_as(&mut world, phone, row),
            }
            streamed_as(&mut world, row);
            world.ends_clean();
        }
    }
}

#[test]
fn sip_120_nothing_answers_in_time() {
    let row = row("answer_timeout");
    let mut world = World::new(&Scene { sip: "answer_deadline_seconds = 5".into(), ..Scene::default() });
    world.bots.otherwise = Pickup::Never;
    let phone = world.dial(world.pbx.plan());
    refused_as(&mut world, phone, row);
    streamed_as(&mut world, row);
    world.ends_clean();
}

#[test]
fn sip_120_the_caller_gives_up_or_hangs_up() {
    for (row, plan) in [(row("cancelled"), None), (row("expired"), Some(("Expires", "2")))] {
        let mut world = World::new(&Scene::default());
        world.bots.otherwise = Pickup::Never;
        let usual = world.pbx.plan();
        let phone = world.dial(plan.into_iter().fold(usual, |usual, (name, value)| usual.header(name, value)));
        world.run(1000);
        if plan.is_none() {
            world.cancel(phone);
        }
        refused_as(&mut world, phone, row);
        streamed_as(&mut world, row);
        world.ends_clean();
    }
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.run(1000);
    world.hang_up(phone);
    assert_eq!(row("caller_hangup").after, After::Gone);
    streamed_as(&mut world, row("caller_hangup"));
    world.ends_clean();
}

#[test]
fn sip_120_each_end_of_the_bot() {
    let close = |code| SocketEnd::Close { code: Some(code), reason: "why".into() };
    let (closed, away, lost) = (row("bot_closed"), row("bot_going_away"), row("bot_lost"));
    let (protocol, fault) = (row("bot_protocol"), row("bot_fault"));
    for (row, end) in [
        (closed, close(1000)),
        (closed, SocketEnd::Close { code: None, reason: String::new() }),
        (closed, SocketEnd::Eof),
        (closed, SocketEnd::Reset),
        (away, close(1001)),
        (away, close(1012)),
        (away, close(1013)),
        (lost, SocketEnd::MidFrame),
        (lost, SocketEnd::PingsMissed),
        (lost, close(4000)),
        (protocol, close(1002)),
        (protocol, close(1003)),
        (protocol, close(1007)),
        (protocol, SocketEnd::Oversize),
        (fault, close(1008)),
        (fault, close(1011)),
    ] {
        let mut world = World::new(&Scene::default());
        let phone = world.call();
        world.run(500);
        world.bot_ends(0, end);
        ended_as(&mut world, phone, row);
        streamed_as(&mut world, row);
        world.ends_clean();
    }
}

#[test]
fn sip_120_the_flow_goes_on_where_the_table_says_so() {
    let steps =
        [voicebot("talk", "ws://first.test/", "next = \"second\""), voicebot("second", "ws://second.test/", "")];
    type Happen = fn(&mut World);
    let cases: [(&Row, Happen); 3] = [
        (row("bot_closed"), |world| world.bot_closes(0, 1000)),
        (row("bot_lost"), |world| world.bot_ends(0, SocketEnd::MidFrame)),
        (row("bot_fault"), |world| world.bot_closes(0, 1011)),
    ];
    for (row, happen) in cases {
        assert!(matches!(row.after, After::Flow(_)));
        let mut world = World::new(&Scene::steps(&steps));
        let phone = world.call();
        world.run(500);
        happen(&mut world);
        world.run(1000);
        assert!(world.phone(phone).is_up() && world.bots.sockets.len() == 2, "{}", row.name);
        world.ends_clean();
    }
}

#[test]
fn sip_120_media_that_stops_a_hold_that_lasts_and_the_longest_conversation() {
    let mut world = World::new(&Scene { media: "rtp_timeout_seconds = 20".into(), ..Scene::default() });
    let phone = world.call();
    world.run(1000);
    world.phone(phone).mouth = Mouth::Shut;
    ended_as(&mut world, phone, row("rtp_timeout"));
    streamed_as(&mut world, row("rtp_timeout"));
    world.ends_clean();

    let mut world = World::new(&scene("", "hold_timeout_seconds = 20"));
    let phone = world.call();
    world.reinvite(phone, Some(Offer::new(40_000).then("sendonly")));
    ended_as(&mut world, phone, row("hold_timeout"));
    streamed_as(&mut world, row("hold_timeout"));
    world.ends_clean();

    let mut world = World::new(&Scene::talk("max_duration_seconds = 5"));
    let phone = world.call();
    ended_as(&mut world, phone, row("max_duration"));
    streamed_as(&mut world, row("max_duration"));
    world.ends_clean();
}

#[test]
fn sip_120_an_ack_that_never_comes_or_brings_no_answer() {
    let mut world = World::new(&Scene::default());
    world.link.lose_sip("ACK", usize::MAX);
    let phone = world.call();
    ended_as(&mut world, phone, row("ack_timeout"));
    streamed_as(&mut world, row("ack_timeout"));
    world.ends_clean();

    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan();
    let phone = world.dial(Plan { offer: None, late_answer: None, ..plan });
    ended_as(&mut world, phone, row("ack_without_answer"));
    world.ends_clean();
}

#[test]
fn sip_120_a_prack_that_never_comes() {
    let row = row("prack_timeout");
    let mut world = World::new(&Scene::talk("answer_mode = \"early_media\""));
    world.bots.plan.push_back(Pickup::After(Duration::from_secs(1)));
    world.link.lose_sip("PRACK", usize::MAX);
    let phone = world.dial(world.pbx.plan().header("Require", "100rel"));
    refused_as(&mut world, phone, row);
    streamed_as(&mut world, row);
    world.ends_clean();
}

#[test]
fn sip_120_a_session_that_nobody_refreshes() {
    let row = row("session_expired");
    let mut world = World::new(&Scene { media: "rtp_timeout_seconds = 3600".into(), ..Scene::default() });
    let mut call = RawCall::new("timer");
    let offer = Offer { address: "198.51.100.2".into(), ..Offer::new(50_000) };
    let invite = call.request("INVITE", "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n", &offer.text());
    world.raw_send(&invite);
    call.take_tag(&world.raw_wait("SIP/2.0 200", 5000));
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    let bye = world.raw_wait("BYE", 70_000);
    assert_eq!(bye.header("Reason").map(without_text), Some(reason_of(row)));
    world.raw_send(&bye.response(200, "", ""));
    streamed_as(&mut world, row);
    world.ends_clean();
}

#[test]
fn sip_120_a_transfer_that_fails() {
    let row = row("refer_failed");
    let steps = [
        voicebot("talk", "ws://first.test/", "next = \"agent\""),
        "[flow.step.agent]\napplet = \"connect\"\nmode = \"refer\"\nto = \"2000\"\nrefer_timeout_seconds = 20\n".into(),
    ];
    for (code, cause) in [(None, reason_of(row)), (Some(486), "Q.850;cause=17".to_owned())] {
        let mut world = World::new(&Scene::steps(&steps));
        let offer = Offer { address: "198.51.100.2".into(), ..Offer::new(50_000) };
        world.raw_call("transfer", &offer.text());
        world.run(200);
        world.bot_closes(0, 1000);
        let refer = world.raw_wait("REFER", 2000);
        world.raw_send(&refer.response(code.unwrap_or(202), "", ""));
        let bye = world.raw_wait("BYE", 30_000);
        assert_eq!(bye.header("Reason").map(without_text), Some(cause), "{code:?}");
        world.raw_send(&bye.response(200, "", ""));
        streamed_as(&mut world, row);
        world.ends_clean();
    }
}

#[test]
fn sip_120_a_shutdown() {
    let row = row("shutdown");
    let mut world = World::new(&Scene::default());
    let phone = world.call();
    world.bots.plan.push_back(Pickup::Never);
    let waiting = world.dial(world.pbx.plan());
    world.run(1000);
    world.shut_down();
    ended_as(&mut world, phone, row);
    refused_as(&mut world, waiting, row);
    let live =
        world.records(2).iter().find(|record| record.answered_after_ms.is_some()).cloned().expect("the live call");
    assert_eq!(Some((live.streams[0].status, live.streams[0].disconnected_by)), row.stream);
    world.ends_clean();
}

/// Real sockets and real faults are met in `tests/end_to_end/operating`; the row is what they are answered with there.
#[test]
fn sip_120_no_port_and_a_fault_of_ours() {
    for (row, failure) in [(row("no_rtp_port"), Failure::NoRtpPort), (row("internal"), Failure::Internal)] {
        let (answer, rejection) = (row.before.expect("an answer"), failure.rejection(9));
        assert_eq!((rejection.code, rejection.reasons[0].cause), (answer.code, answer.cause), "{}", row.name);
        assert_eq!(rejection.retry_after, answer.retry_after.then_some(9));
    }
    assert_eq!(row("internal").after, After::Bye(Failure::Internal.bye_cause()));
}

#[test]
fn sip_121_a_trunk_has_codes_of_its_own_for_what_may_be_recoded() {
    let own = "max_calls_per_minute = 1\nsip_codes = [\"trunk_call_rate=486\", \"number_unknown=604\"]";
    let mut world = World::new(&scene("", own));
    world.call();
    let second = world.dial(world.pbx.plan());
    assert_eq!(world.refusal(second), (486, "Q.850;cause=42".into()));
    let plan = Plan { number: "2000", ..world.pbx.plan() };
    let third = world.dial(plan);
    assert_eq!(world.refusal(third), (604, "Q.850;cause=1".into()));
    world.ends_clean();
}

#[test]
fn sip_120_each_row_is_named_by_a_test() {
    let tests = [include_str!("failures.rs"), include_str!("../../src/sip/endpoint/tests/requests.rs")].concat();
    let missing: Vec<_> = TABLE.iter().filter(|row| !tests.contains(&format!("\"{}\"", row.name))).collect();
    assert!(missing.is_empty(), "rows without a story: {missing:?}");
}
