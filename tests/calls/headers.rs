//! What of an INVITE reaches the bot: custom parameters and the caller's number.

use serde_json::Value;

use super::world::pbx::Plan;
use super::world::raw::RawCall;
use super::world::text::Offer;
use super::world::{Scene, World, voicebot};

/// The start message of a call with these headers.
fn start(scene: &Scene, from: &'static str, headers: &[(&str, &str)]) -> Value {
    let mut world = World::new(scene);
    let mut plan = Plan { from, ..world.pbx.plan() };
    for (name, value) in headers {
        plan = plan.header(name, value);
    }
    world.call_with(plan);
    let start = world.bot(0).start().clone();
    world.ends_clean();
    start
}

const FROM: &str = "\"Ann\" <sip:+918061234567@198.51.100.1>";

#[test]
fn hdr_010_x_headers_become_custom_parameters_as_spelled_and_reserved_ones_do_not() {
    let headers = [
        ("X-Custom-Header", "SalesBot"),
        ("x-uui", "abc;encoding=ascii"),
        ("X-Quoted", "\"a \\\"b\\\"\""),
        ("X-Empty", ""),
        ("X-Exotel-Secret", "1"),
        ("X-Veen-Secret", "1"),
        ("X-Genesys-Id", "1"),
        ("X-Long", &"9".repeat(46)),
        ("X-Custom-Header", "second"),
        ("Subject", "no"),
    ];
    let start = start(&Scene::default(), FROM, &headers);
    let parameters = start["custom_parameters"].as_object().expect("an object").clone();
    let pairs: Vec<_> = parameters.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
    let mut expected = vec![("Custom-Header", "SalesBot"), ("UUI", "abc"), ("Quoted", "a \"b\""), ("Empty", "")];
    let mut pairs = pairs;
    pairs.sort_unstable();
    expected.sort_unstable();
    assert_eq!(pairs, expected);
}

#[test]
fn hdr_014_and_015_the_record_names_headers_that_did_not_reach_the_bot_and_why_without_values() {
    let mut world = World::new(&Scene::default());
    let plan = world.pbx.plan().header("X-Genesys-Id", "77").header("X-Long", &"9".repeat(46)).header("X-A", "1");
    let phone = world.call_with(plan);
    world.hang_up(phone);
    let record = world.record().clone();
    let names: Vec<_> =
        record.headers_omitted.iter().map(|left_out| (left_out.header.as_str(), left_out.why)).collect();
    assert_eq!(names, [("X-Genesys-Id", "denied"), ("X-Long", "value_too_long")]);
    let text = serde_json::to_string(&record).expect("JSON");
    assert!(!text.contains("9999"), "{text}");
    world.ends_clean();
}

#[test]
fn hdr_016_url_parameters_join_and_win_on_the_same_key() {
    let url = "ws://bot.test/?sample-rate=8000&Campaign=url%20one&lang=hi+IN";
    let headers = [("X-Campaign", "header"), ("X-Other", "o")];
    let steps = || Scene::steps(&[voicebot("talk", url, "")]);
    let parameters = &start(&steps(), FROM, &headers)["custom_parameters"];
    assert_eq!((&parameters["Campaign"], &parameters["lang"]), (&"url one".into(), &"hi IN".into()));
    assert_eq!(parameters["Other"], "o");
    assert!(parameters.get("sample-rate").is_none(), "a control parameter");
    let header_first = Scene { trunk: "header_merge = \"header_first\"".into(), ..steps() };
    assert_eq!(start(&header_first, FROM, &headers)["custom_parameters"]["Campaign"], "header");
}

#[test]
fn hdr_020_user_to_user_is_the_uui_where_there_is_no_x_uui() {
    let hex = ("User-to-User", "00436C69656E74;encoding=hex;purpose=isdn-uui");
    assert_eq!(start(&Scene::default(), FROM, &[hex])["custom_parameters"]["UUI"], "Client");
    let both = [hex, ("X-UUI", "first")];
    assert_eq!(start(&Scene::default(), FROM, &both)["custom_parameters"]["UUI"], "first");
}

#[test]
fn sip_111_the_caller_is_the_asserted_identity_of_a_trusted_trunk_only() {
    let identity = ("P-Asserted-Identity", "<sip:ann@pbx>, <tel:+91-22-5550100>");
    let trusted = Scene { trunk: "trusted = true".into(), ..Scene::default() };
    assert_eq!(start(&trusted, FROM, &[identity])["from"], "sip:+91225550100");
    assert_eq!(start(&Scene::default(), FROM, &[identity])["from"], "sip:+918061234567");
}

#[test]
fn sip_111_a_withheld_number_is_anonymous_unless_the_trunk_delivers_it() {
    let identity = ("P-Asserted-Identity", "<sip:+912255550100@pbx>");
    let trusted = |more: &str| Scene { trunk: format!("trusted = true\n{more}"), ..Scene::default() };
    let private = [identity, ("Privacy", "id")];
    assert_eq!(start(&trusted(""), FROM, &private)["from"], "sip:anonymous");
    assert_eq!(start(&trusted("deliver_private = true"), FROM, &private)["from"], "sip:+912255550100");
    let anonymous = "\"Anonymous\" <sip:anonymous@anonymous.invalid>";
    assert_eq!(start(&Scene::default(), anonymous, &[])["from"], "sip:anonymous");
}

#[test]
fn hdr_018_headers_of_a_later_request_change_nothing() {
    let steps =
        [voicebot("talk", "ws://first.test/", "next = \"second\""), voicebot("second", "ws://second.test/", "")];
    let mut world = World::new(&Scene::steps(&steps));
    let offer = Offer::new(50_000);
    let mut call = RawCall::new("hdr18");
    let invite = call.request("INVITE", "X-Key: first\r\n", &offer.text());
    world.raw_send(&invite);
    let ok = world.raw_wait("SIP/2.0 200", 500);
    call.take_tag(&ok);
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    world.run(100);
    call.cseq += 1;
    let reinvite = call.request("INVITE", "X-Key: second\r\n", &offer.then("sendrecv").text());
    world.raw_send(&reinvite);
    world.raw_wait("SIP/2.0 200", 500);
    let ack = call.request("ACK", "", "");
    world.raw_send(&ack);
    world.bot_closes(0, 1000);
    world.run(500);
    assert_eq!(world.bot(1).start()["custom_parameters"]["Key"], "first");
    call.cseq += 1;
    let bye = call.request("BYE", "", "");
    world.raw_send(&bye);
    world.ends_clean();
}
