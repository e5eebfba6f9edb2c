//! Any order of messages, commands and waits: one final response each, and nothing left in the end.

use std::collections::HashMap;

use proptest::prelude::*;

use crate::sip::endpoint::testing::{Bench, STRANGER, in_dialog, invite, request};
use crate::sip::message::{CSeq, Message};
use crate::sip::{DialogId, InfoAnswer, Reason, Rejection};

#[derive(Debug, Clone)]
enum Step {
    Receive { method: usize, branch: u8, cseq: u32, call: u8, sdp: bool },
    Command { command: u8, call: u8 },
    Wait(u64),
    Garbage(Vec<u8>),
}

const METHODS: [&str; 9] = ["INVITE", "ACK", "BYE", "CANCEL", "INFO", "UPDATE", "OPTIONS", "NOTIFY", "FOO"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..METHODS.len(), 0..6_u8, 1..6_u32, 0..3_u8, any::<bool>())
            .prop_map(|(method, branch, cseq, call, sdp)| Step::Receive { method, branch, cseq, call, sdp }),
        4 => (0..10_u8, 0..3_u8).prop_map(|(command, call)| Step::Command { command, call }),
        2 => prop_oneof![Just(100_u64), Just(600), Just(5000), Just(33_000)].prop_map(Step::Wait),
        1 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Step::Garbage),
    ]
}

/// Call 0 is outside any dialog; 1 and 2 are in the dialog our last To tag names.
fn text(method: &str, branch: u8, cseq: u32, (call, tag): (u8, &str), sdp: bool) -> String {
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
    match (call, method) {
        (0, "INVITE") => invite(&branch, "c1", cseq),
        (0, _) => request(method, &branch, "c1", cseq, rest),
        _ => in_dialog(method, &branch, cseq, tag, rest),
    }
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
        8 => endpoint.refer(now, dialog, super::referring::refer()),
        _ => endpoint.info(now, dialog, "text/plain", b"x".to_vec()),
    };
    bench.drain();
}

/// Each transaction's final status, by top Via and CSeq: all copies must agree.
fn note_finals(bench: &mut Bench, finals: &mut HashMap<String, u16>, tag: &mut String) -> Result<(), TestCaseError> {
    for (_, message) in bench.sent.drain(..) {
        let Message::Response(response) = message else { continue };
        let header = |name| response.headers.get(name).unwrap_or_default().to_owned();
        let is_invite = CSeq::parse(&header("CSeq")).is_some_and(|cseq| cseq.method.as_str() == "INVITE");
        if is_invite && let Some(own) = header("To").split(";tag=").nth(1) {
            own.clone_into(tag);
        }
        if response.code >= 200 {
            let first = *finals.entry(header("Via") + &header("CSeq") + &header("Call-ID")).or_insert(response.code);
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
        let (mut finals, mut tag, mut round) = (HashMap::new(), "none".to_owned(), 0);
        let mut known = Vec::new();
        for step in steps {
            match step {
                Step::Receive { method, branch, cseq, call, sdp } => {
                    let message = text(METHODS[method], branch, cseq, (call, &tag), sdp);
                    // Once a transaction is forgotten the same branch may be answered anew: it is another one then.
                    bench.receive(&message.replace("z9hG4bK", &format!("z9hG4bK{round}")));
                    bench.receive_from(STRANGER, &message);
                }
                Step::Command { command: number, call } => {
                    if let Some(dialog) = known.get(usize::from(call)) {
                        command(&mut bench, number, *dialog);
                    }
                }
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
            note_finals(&mut bench, &mut finals, &mut tag)?;
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
