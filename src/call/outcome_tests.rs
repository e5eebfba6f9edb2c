//! The failure table against what uses it (SIP-120, SIP-121).

use super::*;

fn answer(failure: &Failure) -> (u16, Option<u16>, bool) {
    let rejection = failure.rejection(7);
    (rejection.code, rejection.reasons[0].cause, rejection.retry_after == Some(7))
}

#[test]
fn sip_120_each_row_answers_as_the_table_says() {
    let rows = [
        (Failure::AccountForbidden, (403, Some(21), false)),
        (Failure::AccountInvalid, (400, Some(41), false)),
        (Failure::NumberUnknown, (404, Some(1), false)),
        (Failure::NumberIncomplete, (484, Some(28), false)),
        (Failure::FlowInvalid, (500, Some(41), false)),
        (Failure::Throttled, (480, Some(42), true)),
        (Failure::TrunkTooFast, (480, Some(42), true)),
        (Failure::Overloaded(Closed::Full), (503, Some(42), true)),
        (Failure::NoRtpPort, (503, Some(42), true)),
        (Failure::OfferRefused(305, "no codec"), (488, Some(65), false)),
        (DialFailure::Dns(String::new()).failure(), (502, Some(38), false)),
        (DialFailure::Tls(String::new()).failure(), (502, Some(38), false)),
        (DialFailure::Http(401).failure(), (502, Some(38), false)),
        (DialFailure::Http(404).failure(), (502, Some(38), false)),
        (DialFailure::Http(500).failure(), (502, Some(38), false)),
        (DialFailure::Http(503).failure(), (480, Some(42), true)),
        (DialFailure::Http(429).failure(), (480, Some(42), true)),
        (DialFailure::Timeout(10).failure(), (504, Some(102), false)),
        (Failure::AnswerTimeout, (504, Some(102), false)),
        (Failure::Internal, (500, Some(41), false)),
    ];
    for (failure, expected) in rows {
        assert_eq!(answer(&failure), expected, "{failure:?}");
    }
}

#[test]
fn sip_120_a_lost_bot_ends_an_answered_call_with_the_tables_cause() {
    for (code, cause) in [(None, 41), (Some(1002), 111), (Some(1009), 111), (Some(1008), 38), (Some(1011), 38)] {
        assert_eq!(Failure::BotLost(code).bye_cause(), cause, "{code:?}");
    }
}

#[test]
fn sip_122_a_code_becomes_the_cause_of_rfc_3398() {
    let codes = [400, 403, 404, 405, 415, 408, 410, 420, 480, 481, 484, 486, 500, 501, 502, 503, 504, 600, 603, 604];
    let causes = [41, 21, 1, 63, 79, 102, 22, 127, 18, 41, 28, 17, 41, 79, 38, 41, 102, 17, 21, 1];
    assert_eq!(codes.map(cause_of_sip_code), causes);
    assert_eq!([None, Some(486)].map(cause_of_transfer), [102, 17]);
}

#[test]
fn sip_121_every_failure_that_a_trunk_may_recode_is_a_row() {
    let rows = [
        Failure::NumberUnknown,
        Failure::NumberIncomplete,
        Failure::FlowInvalid,
        Failure::Throttled,
        Failure::TrunkTooFast,
        Failure::OfferRefused(305, ""),
        Failure::BotUnreachable,
        Failure::BotBusy,
        Failure::BotTimeout,
        Failure::BotLost(None),
        Failure::AnswerTimeout,
    ];
    assert_eq!(rows.map(|row| row.label()), crate::config::FAILURES);
}

#[test]
fn sip_121_no_failure_answers_busy_or_decline() {
    for failure in [Failure::Throttled, Failure::BotUnreachable, Failure::Overloaded(Closed::Full), Failure::BotTimeout]
    {
        assert!(!matches!(failure.rejection(1).code, 486 | 603));
    }
}

#[test]
fn sip_120_every_failure_has_a_row_and_every_name_is_one_of_its_own() {
    let closed = Closed::ALL.map(Failure::Overloaded);
    let codes = [None, Some(1002), Some(1008), Some(4000)].map(Failure::BotLost);
    let others = [
        Failure::AccountForbidden,
        Failure::AccountInvalid,
        Failure::NumberUnknown,
        Failure::NumberIncomplete,
        Failure::FlowInvalid,
        Failure::Throttled,
        Failure::TrunkTooFast,
        Failure::NoRtpPort,
        Failure::OfferRefused(305, ""),
        Failure::BotUnreachable,
        Failure::BotBusy,
        Failure::BotTimeout,
        Failure::AnswerTimeout,
        Failure::Internal,
    ];
    for failure in closed.into_iter().chain(codes).chain(others) {
        assert!(failure.rejection(7).code == failure.row().before.expect("an answer").code, "{failure:?}");
    }
    let mut names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TABLE.len());
}

#[test]
fn sip_095_what_speaks_for_the_whole_node_is_503_with_retry_after_and_nothing_else_is() {
    let node = [
        "draining",
        "lagging",
        "memory",
        "max_calls",
        "rtp_ports",
        "no_rtp_port",
        "call_rate",
        "source_rate",
        "sip_tables",
    ];
    for row in TABLE {
        let answer = row.before.is_some_and(|answer| answer.code == 503 && answer.retry_after);
        assert_eq!(answer, node.contains(&row.name), "{}", row.name);
    }
}

#[test]
fn sip_096_each_refusal_for_want_of_room_names_a_key_that_changes_it() {
    use crate::sip::endpoint::{SOURCE_TOO_FAST, TABLES_FULL, TOO_FAST};
    let reference = crate::config::reference::toml(&[]);
    let closed = Closed::ALL.into_iter().filter(|closed| *closed != Closed::Draining).map(|closed| closed.why().text);
    let own = [Failure::Throttled, Failure::TrunkTooFast, Failure::NoRtpPort];
    let own = own.iter().filter_map(Failure::limit);
    let of_sip = [SOURCE_TOO_FAST, TABLES_FULL, TOO_FAST].map(|why| why.text);
    for text in closed.chain(own).chain(of_sip) {
        let mut words = text.split(|c: char| !(c.is_alphanumeric() || "._".contains(c)));
        let key = words.find(|word| word.contains('_')).unwrap_or_else(|| panic!("{text}: no key"));
        let name = key.rsplit('.').next().unwrap_or(key);
        assert!(reference.contains(&format!("#{name} = ")), "{text}: {name} is no key of the configuration");
    }
}
