//! The bot is done and the caller goes to somebody else: REFER and 302, and what becomes of the call.

use super::world::raw::{Got, RawCall};
use super::world::sound::assert_even;
use super::world::text::Offer;
use super::world::{Scene, World, voicebot};

const REPORT: &str = "ws://report.test:9001/?sample-rate=8000";

/// A flow whose bot is followed by a connect step with these settings; `sorry` and `done` are bots that may follow.
fn scene(connect: &str) -> Scene {
    let mut steps = vec![
        voicebot("talk", "ws://bot.test:9001/media?sample-rate=8000", "next = \"agent\""),
        format!("[flow.step.agent]\napplet = \"connect\"\n{connect}\n"),
    ];
    for step in ["sorry", "busy", "done"] {
        if connect.contains(&format!("\"{step}\"")) {
            steps.push(voicebot(step, REPORT, ""));
        }
    }
    Scene::steps(&steps)
}

const REFER: &str = "mode = \"refer\"\nto = \"2000\"\non_no_answer = \"sorry\"\non_not_dialed = \"busy\"";

/// A call whose bot has closed: the REFER as the PBX got it.
fn referred(scene: &Scene) -> (World, RawCall, Got) {
    let mut world = World::new(scene);
    let call = world.raw_call("transfer", &Offer { address: "198.51.100.2".into(), ..Offer::new(41_000) }.text());
    world.run(200);
    world.bot_closes(0, 1000);
    let refer = world.raw_wait("REFER", 2000);
    (world, call, refer)
}

fn answer(world: &mut World, request: &Got, code: u16, more: &str) {
    let header = |name| request.header(name).unwrap_or_default();
    let names = ["Via", "From", "To", "Call-ID", "CSeq"];
    let lines: String = names.map(|name| format!("{name}: {}\r\n", header(name))).concat();
    world.raw_send(&format!("SIP/2.0 {code} X\r\n{lines}{more}Content-Length: 0\r\n\r\n"));
    world.run(20);
}

fn notify(world: &mut World, call: &mut RawCall, state: &str, fragment: &str) {
    call.cseq += 1;
    let more = format!("Event: refer\r\nSubscription-State: {state}\r\nContent-Type: message/sipfrag\r\n");
    let notify = call.request("NOTIFY", &more, fragment);
    world.raw_send(&notify);
    world.raw_wait("SIP/2.0 200", 1000);
}

fn hang_up(world: &mut World, call: &mut RawCall) {
    call.cseq += 1;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.raw_wait("SIP/2.0 200", 1000);
}

/// The PBX answers the bridge's BYE; its Reason.
fn bye(world: &mut World, limit_ms: u64) -> String {
    world.until(limit_ms, "a BYE", |world| !world.raw_got("BYE").is_empty());
    let bye = world.raw_got("BYE")[0].clone();
    answer(world, &bye, 200, "");
    bye.header("Reason").unwrap_or_default().to_owned()
}

#[test]
fn sip_103_a_transfer_that_succeeds_ends_with_our_bye_after_1_s_unless_the_peer_hangs_up() {
    let (mut world, mut call, refer) = referred(&scene(REFER));
    answer(&mut world, &refer, 202, "");
    notify(&mut world, &mut call, "active", "SIP/2.0 100 Trying");
    notify(&mut world, &mut call, "terminated", "SIP/2.0 200 OK");
    let succeeded = world.now;
    assert_eq!(bye(&mut world, 1500), "Q.850;cause=16");
    assert!((980..=1040).contains(&world.since(succeeded)), "{}", world.since(succeeded));
    let record = world.record();
    assert_eq!((record.end.by, record.end.why), ("bridge", "transferred"));
    let transfer = &record.transfers[0];
    assert_eq!((transfer.step.as_str(), transfer.mode, transfer.outcome), ("agent", "refer", "succeeded"));
    assert_eq!(transfer.to, "xxxx");
    world.ends_clean();

    let (mut world, mut call, refer) = referred(&scene(REFER));
    answer(&mut world, &refer, 202, "");
    hang_up(&mut world, &mut call);
    let record = world.record();
    assert_eq!((record.end.by, record.end.why, record.transfers[0].outcome), ("caller", "transferred", "succeeded"));
    world.ends_clean();
}

#[test]
fn sip_102_refer_sub_false_is_success_without_notify() {
    let (mut world, _, refer) = referred(&scene(REFER));
    answer(&mut world, &refer, 200, "Refer-Sub: false\r\n");
    assert_eq!(bye(&mut world, 1500), "Q.850;cause=16");
    assert_eq!(world.record().end.why, "transferred");
    world.ends_clean();
}

#[test]
fn sip_103_a_refused_transfer_goes_to_on_not_dialed_and_media_never_stops() {
    let (mut world, mut call, refer) = referred(&scene(REFER));
    answer(&mut world, &refer, 603, "");
    world.until(500, "the next bot", |world| world.bots.sockets.len() == 2 && world.bot(1).opened.is_some());
    world.run(1000);
    let sent: Vec<_> = world.tap.iter().map(|(at, _, packet)| (*at, packet)).collect();
    assert!(sent.len() > 50);
    assert_even(&sent);
    hang_up(&mut world, &mut call);
    let record = world.record();
    assert_eq!((record.transfers[0].outcome, record.transfers[0].sip_code), ("failed", Some(603)));
    let steps: Vec<_> = record.streams.iter().map(|stream| stream.step.as_str()).collect();
    assert_eq!(steps, ["talk", "busy"]);
    world.ends_clean();
}

#[test]
fn sip_103_a_target_that_does_not_take_the_call_leads_to_on_no_answer() {
    for (state, fragment, code) in
        [("terminated", "SIP/2.0 486 Busy Here", Some(486)), ("terminated;reason=timeout", "SIP/2.0 180 Ringing", None)]
    {
        let (mut world, mut call, refer) = referred(&scene(REFER));
        answer(&mut world, &refer, 202, "");
        notify(&mut world, &mut call, state, fragment);
        world.until(3000, "the next bot", |world| world.bots.sockets.len() == 2 && world.bot(1).opened.is_some());
        hang_up(&mut world, &mut call);
        let record = world.record();
        assert_eq!((record.transfers[0].outcome, record.transfers[0].sip_code), ("failed", code), "{fragment}");
        assert_eq!(record.streams[1].step, "sorry");
        world.ends_clean();
    }
}

#[test]
fn sip_103_without_a_failure_branch_the_call_ends_with_the_targets_cause() {
    let (mut world, mut call, refer) = referred(&scene("mode = \"refer\"\nto = \"2000\""));
    answer(&mut world, &refer, 202, "");
    notify(&mut world, &mut call, "terminated", "SIP/2.0 486 Busy Here");
    assert_eq!(bye(&mut world, 500), "Q.850;cause=17");
    world.ends_clean();
}

#[test]
fn sip_103_the_peer_has_refer_timeout_seconds_and_its_silence_in_them_is_no_rtp_timeout() {
    let mut scene = scene(&format!("{REFER}\nrefer_timeout_seconds = 20"));
    scene.media = "rtp_start_timeout_seconds = 2\nrtp_timeout_seconds = 5".into();
    let (mut world, mut call, refer) = referred(&scene);
    answer(&mut world, &refer, 202, "");
    let accepted = world.now;
    world.until(25_000, "the next bot", |world| world.bots.sockets.len() == 2);
    assert!((19_900..20_100).contains(&world.since(accepted)), "{}", world.since(accepted));
    assert_eq!(bye(&mut world, 6000), "Q.850;cause=102;text=\"media timeout\"", "from now on silence counts again");
    call.cseq += 1;
    assert_eq!(world.record().end.why, "rtp_timeout");
    world.ends_clean();
}

#[test]
fn sip_101_the_next_agent_gets_the_callers_uui_and_the_flows_headers_in_the_uri() {
    let mut world = World::new(&scene("mode = \"refer\"\nto = \"2000\"\ncustom_params = \"queue=gold&lang=e%26n\""));
    let mut call = RawCall::new("uui");
    let body = Offer { address: "198.51.100.2".into(), ..Offer::new(41_000) }.text();
    let invite = call.request("INVITE", "User-to-User: 00FA080102;encoding=hex\r\n", &body);
    world.raw_send(&invite);
    let ok = world.raw_wait("SIP/2.0 200", 5000);
    call.take_tag(&ok);
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    world.run(50);
    world.bot_closes(0, 1000);
    let refer = world.raw_wait("REFER", 2000);
    assert_eq!(
        refer.header("Refer-To"),
        Some("<sip:2000@198.51.100.2?User-to-User=00FA080102%3Bencoding%3Dhex&X-queue=gold&X-lang=e%26n>")
    );
    answer(&mut world, &refer, 405, "");
    bye(&mut world, 500);
    world.ends_clean();
}

#[test]
fn hdr_025_the_flows_own_uui_goes_as_the_trunk_wants_it() {
    let mut scene = scene("mode = \"refer\"\nto = \"sip:agents@203.0.113.9:5070\"\nuui = \"J1\"");
    scene.trunk = "uui_send_pd = \"04\"\nuui_send_x = true".into();
    let (mut world, _, refer) = referred(&scene);
    let expected = "<sip:agents@203.0.113.9:5070?User-to-User=044A31%3Bencoding%3Dhex&X-UUI=J1>";
    assert_eq!(refer.header("Refer-To"), Some(expected));
    answer(&mut world, &refer, 405, "");
    bye(&mut world, 500);
    world.ends_clean();
}

#[test]
fn a_caller_who_hangs_up_during_a_transfer_has_cancelled_it() {
    let (mut world, mut call, refer) = referred(&scene(REFER));
    hang_up(&mut world, &mut call);
    answer(&mut world, &refer, 481, "");
    let record = world.record();
    assert_eq!((record.end.why, record.transfers[0].outcome), ("caller_hangup", "cancelled"));
    world.ends_clean();
}

#[test]
fn what_follows_a_transfer_runs_without_the_caller() {
    let (mut world, mut call, refer) = referred(&scene(&format!("{REFER}\non_end = \"done\"")));
    answer(&mut world, &refer, 202, "");
    notify(&mut world, &mut call, "terminated", "SIP/2.0 200 OK");
    bye(&mut world, 1500);
    let record = world.record();
    let last = record.streams.last().expect("streams");
    assert_eq!((last.step.as_str(), last.status, record.end.why), ("done", "cancelled", "transferred"));
    assert_eq!(world.bots.sockets.len(), 1, "no bot is dialled for nobody");
    world.ends_clean();
}

#[test]
fn sip_107_an_unanswered_call_is_redirected_with_its_uui_in_the_contact() {
    let steps =
        ["[flow.step.talk]\napplet = \"connect\"\nmode = \"redirect\"\nto = \"2000\"\nuui = \"J1\"\n".to_owned()];
    let mut world = World::new(&Scene::steps(&steps));
    let plan = world.pbx.plan();
    let phone = world.dial(plan);
    assert_eq!(world.refusal(phone).0, 302);
    let refused = world.phone(phone).refused.clone().expect("refused");
    let contact = refused.headers.get_all("Contact").collect::<Vec<_>>();
    assert_eq!(contact, ["<sip:2000@198.51.100.1?User-to-User=004A31%3Bencoding%3Dhex>"]);
    let record = world.record();
    assert_eq!((record.end.why, record.end.sip_code), ("redirected", Some(302)));
    assert_eq!((record.transfers[0].mode, record.transfers[0].outcome), ("redirect", "succeeded"));
    world.ends_clean();
}

#[test]
fn sip_107_an_answered_call_cannot_be_redirected_and_goes_on() {
    let mut world = World::new(&scene("mode = \"redirect\"\nto = \"2000\"\non_not_dialed = \"sorry\""));
    let phone = world.call();
    world.bot_closes(0, 1000);
    world.until(2000, "the next bot", |world| world.bots.sockets.len() == 2);
    world.run(100);
    world.hang_up(phone);
    assert_eq!(world.record().transfers[0].outcome, "failed");
    world.ends_clean();
}

#[test]
fn sip_100_a_flow_may_begin_with_a_transfer_the_call_is_answered_for_it() {
    let steps = ["[flow.step.talk]\napplet = \"connect\"\nmode = \"refer\"\nto = \"2000\"\n".to_owned()];
    let mut world = World::new(&Scene::steps(&steps));
    let body = Offer { address: "198.51.100.2".into(), ..Offer::new(41_000) }.text();
    let mut call = RawCall::new("first");
    let invite = call.request("INVITE", "", &body);
    world.raw_send(&invite);
    let ok = world.raw_wait("SIP/2.0 200", 1000);
    world.run(300);
    assert!(world.raw_got("REFER").is_empty(), "the ACK comes first");
    call.take_tag(&ok);
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    let refer = world.raw_wait("REFER", 500);
    answer(&mut world, &refer, 202, "");
    hang_up(&mut world, &mut call);
    assert_eq!(world.record().end.why, "transferred");
    world.ends_clean();
}
