//! Any order of messages, commands and waits: one final response each, and nothing left in the end.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::calling::reply;
use crate::sip::endpoint::testing::{Bench, PEER, STRANGER, in_dialog, invite, request};
use crate::sip::message::{CSeq, Message, Method, Request};
use crate::sip::{DialogId, InfoAnswer, ListenerId, OutgoingInvite, Reason, Rejection};

#[derive(Debug, Clone)]
enum Step {
    Receive {
        method: usize,
        branch: u8,
        cseq: u32,
        call: u8,
        sdp: bool,
        extensions: usize,
    },
    Command {
        command: u8,
        call: u8,
    },
    /// To the `request`th last request of ours.
    Reply {
        request: usize,
        code: usize,
        tag: u8,
        sdp: bool,
        extensions: usize,
    },
    Invite {
        sdp: bool,
    },
    Wait(u64),
    Garbage(Vec<u8>),
}

const CODES: [u16; 14] = [100, 180, 183, 183, 183, 200, 200, 200, 405, 408, 422, 481, 491, 500];

const METHODS: [&str; 10] = ["INVITE", "ACK", "BYE", "CANCEL", "INFO", "UPDATE", "PRACK", "OPTIONS", "NOTIFY", "FOO"];

/// What an INVITE or UPDATE says of extensions.
const EXTENSIONS: [&str; 6] = [
    "",
    "Require: 100rel\r\n",
    "Supported: 100rel, timer\r\nAllow: UPDATE\r\nSession-Expires: 90;refresher=uas\r\n",
    "Require: 100rel, timer\r\nSession-Expires: 90;refresher=uac\r\n",
    "Session-Expires: 91\r\n",
    "Supported: timer\r\nSession-Expires: 60\r\n",
];

fn step() -> impl Strategy<Value = Step> {
    let extensions = 0..EXTENSIONS.len();
    prop_oneof![
        6 => (0..METHODS.len(), 0..6_u8, 1..6_u32, 0..3_u8, any::<bool>(), extensions.clone())
            .prop_map(|(method, branch, cseq, call, sdp, extensions)| {
                Step::Receive { method, branch, cseq, call, sdp, extensions }
            }),
        4 => (0..13_u8, 0..3_u8).prop_map(|(command, call)| Step::Command { command, call }),
        3 => (0..4_usize, 0..CODES.len(), 0..2_u8, any::<bool>(), extensions)
            .prop_map(|(request, code, tag, sdp, extensions)| Step::Reply { request, code, tag, sdp, extensions }),
        1 => any::<bool>().prop_map(|sdp| Step::Invite { sdp }),
        3 => prop_oneof![Just(100_u64), Just(600), Just(5000), Just(33_000), Just(46_000)].prop_map(Step::Wait),
        1 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Step::Garbage),
    ]
}

/// What the peer has learned of us.
#[derive(Default)]
struct Heard {
    /// Each transaction's final status, by top Via and CSeq: all copies must agree.
    finals: HashMap<String, u16>,
    /// Our tag in the last response to an INVITE.
    tag: String,
    /// What a PRACK of our last reliable provisional response says.
    rack: String,
    /// Our requests but ACK, oldest first.
    requests: Vec<Request>,
    /// What our PRACKs acknowledge, with the callee's tag: each at most once.
    pracks: HashSet<String>,
}

/// Call 0 is outside any dialog; 1 and 2 are in the dialog our last To tag names.
fn text(method: &str, branch: u8, cseq: u32, (call, heard): (u8, &Heard), (sdp, extensions): (bool, usize)) -> String {
    let notified = "Event: refer\r\nSubscription-State: active\r\n\r\nSIP/2.0 200 OK";
    let rest = if method == "NOTIFY" {
        notified
    } else if sdp {
        "Content-Type: application/sdp\r\n\r\nv=0\r\n"
    } else {
        ""
    };
    let branch = format!("{method}{branch}x{cseq}");
    // ACK of a refusal and CANCEL share the INVITE's branch.
    let branch = branch.replace("ACK", "INVITE").replace("CANCEL", "INVITE");
    let text = match (call, method) {
        (0, "INVITE") if sdp => invite(&branch, "c1", cseq),
        (0, _) => request(method, &branch, "c1", cseq, rest),
        _ => in_dialog(method, &branch, cseq, &heard.tag, rest),
    };
    let more = match method {
        "INVITE" | "UPDATE" => EXTENSIONS[extensions].to_owned(),
        "PRACK" => format!("RAck: {}\r\n", heard.rack),
        _ => String::new(),
    };
    text.replace("Max-Forwards", &format!("{more}Max-Forwards"))
}

/// A response of the peer; some provisional ones are reliable, numbered as they come.
fn answer(request: &Request, code: u16, tag: u8, sdp: bool, (extensions, rseq): (usize, usize)) -> String {
    let reliable = if (101..200).contains(&code) && extensions > 2 {
        format!("Require: 100rel\r\nRSeq: {rseq}")
    } else {
        String::new()
    };
    let session = ["", "Session-Expires: 90;refresher=uas", "Session-Expires: 90;refresher=uac", "Min-SE: 120"];
    let session = if code < 200 { "Allow: UPDATE" } else { session[extensions % 4] };
    let lines: Vec<_> = [reliable.as_str(), session].into_iter().filter(|line| !line.is_empty()).collect();
    let body = if sdp { "\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n" } else { "" };
    let to_is_tagged = request.headers.get("To").is_some_and(|to| to.contains("tag="));
    let tag = if to_is_tagged || code == 100 { String::new() } else { format!("t{tag}") };
    reply(request, code, &tag, &format!("{}{body}", lines.join("\r\n")))
}

fn command(bench: &mut Bench, command: u8, dialog: DialogId) {
    let (endpoint, now) = (&mut bench.endpoint, bench.now);
    match command {
        0 => endpoint.ring(now, dialog),
        1 => endpoint.progress(now, dialog, 183, Some(b"v=0".to_vec())),
        2 | 3 => endpoint.answer(now, dialog, Some(b"v=0".to_vec())),
        4 => endpoint.reject(now, dialog, Rejection::new(486)),
        5 => endpoint.answer_info(now, dialog, InfoAnswer::Ok),
        6 => endpoint.bye(now, dialog, vec![Reason::q850(16)]),
        7 => endpoint.reinvite(now, dialog, Some(b"v=1".to_vec())),
        8 => endpoint.answer_update(now, dialog, Some(b"v=2".to_vec())),
        9 => endpoint.reject_update(now, dialog, Rejection::new(488)),
        10 => endpoint.cancel(now, dialog, Vec::new()),
        11 => endpoint.refer(now, dialog, super::referring::refer()),
        _ => endpoint.info(now, dialog, "text/plain", b"x".to_vec()),
    };
    bench.drain();
}

fn call_out(bench: &mut Bench, sdp: bool) -> DialogId {
    let call = OutgoingInvite {
        listener: ListenerId(0),
        target: PEER.parse().expect("an address"),
        request_uri: "sip:1000@198.51.100.1".into(),
        from: "<sip:0806@192.0.2.10>".into(),
        to: "<sip:1000@198.51.100.1>".into(),
        headers: Vec::new(),
        sdp: sdp.then(|| b"v=0".to_vec()),
        ways: Default::default(),
    };
    let dialog = bench.endpoint.invite(bench.now, call);
    bench.drain();
    dialog
}

/// Notes what was sent.
fn note_sent(bench: &mut Bench, heard: &mut Heard) -> Result<(), TestCaseError> {
    for (_, message) in bench.sent.drain(..) {
        let response = match message {
            Message::Response(response) => response,
            Message::Request(request) => {
                let header = |name| request.headers.get(name).unwrap_or_default();
                let copy = heard.requests.iter().any(|old| old.headers.get("Via") == Some(header("Via")));
                if request.method == Method::PRACK && !copy {
                    let what = format!("{} {} {}", header("RAck"), header("To"), header("Call-ID"));
                    prop_assert!(heard.pracks.insert(what.clone()), "acknowledged twice: {}", what);
                }
                if request.method != Method::ACK && !copy {
                    heard.requests.push(request);
                }
                continue;
            }
        };
        let header = |name| response.headers.get(name).unwrap_or_default().to_owned();
        let cseq = CSeq::parse(&header("CSeq")).filter(|cseq| cseq.method == Method::INVITE);
        if let Some(cseq) = cseq
            && let Some(own) = header("To").split(";tag=").nth(1)
        {
            own.clone_into(&mut heard.tag);
            if response.headers.has("RSeq") {
                heard.rack = format!("{} {} INVITE", header("RSeq"), cseq.number);
            }
        }
        if response.code >= 200 {
            let key = header("Via") + &header("CSeq") + &header("Call-ID");
            let first = *heard.finals.entry(key).or_insert(response.code);
            prop_assert_eq!(first, response.code, "two finals");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn sip_042_one_final_each_and_every_table_is_empty_in_the_end(steps in proptest::collection::vec(step(), 1..40)) {
        let mut bench = Bench::new();
        let (mut heard, mut round, mut rseq) = (Heard { tag: "none".into(), ..Heard::default() }, 0, 0);
        let mut known = Vec::new();
        for step in steps {
            match step {
                Step::Receive { method, branch, cseq, call, sdp, extensions } => {
                    let message = text(METHODS[method], branch, cseq, (call, &heard), (sdp, extensions));
                    // Once a transaction is forgotten the same branch may be answered anew: it is another one then.
                    bench.receive(&message.replace("z9hG4bK", &format!("z9hG4bK{round}")));
                    bench.receive_from(STRANGER, &message);
                }
                Step::Command { command: number, call } => {
                    if let Some(dialog) = known.get(usize::from(call)) {
                        command(&mut bench, number, *dialog);
                    }
                }
                Step::Reply { request, code, tag, sdp, extensions } => {
                    if let Some(request) = heard.requests.iter().rev().nth(request) {
                        rseq += usize::from(!sdp);
                        bench.receive(&answer(request, CODES[code], tag, sdp, (extensions, rseq)));
                    }
                }
                Step::Invite { sdp } => known.push(call_out(&mut bench, sdp)),
                Step::Wait(ms) => {
                    bench.wait(ms);
                    round += usize::from(ms > 30_000);
                }
                Step::Garbage(bytes) => bench.receive(&String::from_utf8_lossy(&bytes)),
            }
            for event in &bench.events {
                if !known.contains(&event.dialog()) {
                    known.push(event.dialog());
                }
            }
            bench.sent.retain(|(to, _)| to.to_string() != STRANGER);
            note_sent(&mut bench, &mut heard)?;
        }
        for dialog in &known {
            command(&mut bench, 4, *dialog);
            command(&mut bench, 6, *dialog);
        }
        bench.wait(300_000);
        prop_assert!(bench.endpoint.counts().is_idle(), "{:?}", bench.endpoint.counts());
        prop_assert_eq!(bench.endpoint.poll_timeout(), None);
        let mut ended: Vec<_> =
            bench.events.iter().filter(|event| matches!(event, crate::sip::Event::Ended { .. })).map(|e| e.dialog()).collect();
        ended.sort_unstable();
        known.sort_unstable();
        prop_assert_eq!(ended, known, "each dialog ends once");
    }
}
