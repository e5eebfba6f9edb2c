//! Every metric from the first scrape: a counter that appears with its first event has no rate for it, and a query for one
//! that is not there yet looks like a mistake.

use crate::base::metric::{self, METRICS, Metric};
use crate::call::headers::Omitted;
use crate::call::outcome::{DialFailure, TABLE};
use crate::config::Config;
use crate::sip::message::ALLOW;
use crate::stream::ODDITIES;

/// Metrics with one label, and the label's values that are known.
const ONE_LABEL: &[(Metric, &str, &[&str])] = &[
    (metric::SIP_RECEIVED, "message", &["1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "other"]),
    (
        metric::SIP_SENT,
        "message",
        &["BYE", "100", "180", "200", "403", "404", "480", "487", "488", "500", "502", "503", "504"],
    ),
    (metric::SIP_TRANSACTION_TIMEOUTS, "kind", &["ack", "invite_server", "client"]),
    (metric::SIP_QUEUE_DROPS, "queue", &["calls", "other"]),
    (metric::SIP_SOURCES, "kind", &[]),
    (metric::SIP_REJECTED, "action", &["401", "403", "dropped"]),
    (metric::SIP_MALFORMED, "reason", &["not_sip", "response"]),
    (metric::SIP_TRANSACTIONS, "type", &["invite_server", "server", "invite_client", "client"]),
    (metric::RTP_DISCARDED, "reason", &["delay", "malformed", "payload_type"]),
    (metric::STREAM_CONNECT_FAILURES, "class", &DialFailure::LABELS),
    (metric::STREAM_TOLERATED, "what", ODDITIES),
    (metric::STREAM_DROPPED, "reason", &["payload_missing", "base64", "queue_full"]),
    (metric::TRACE_DROPPED, "where", &["shard", "reader", "hep"]),
    (metric::DTMF, "source", &["rtp", "info"]),
];

/// How streams end.
const STREAM_ENDS: [(&str, &str); 5] =
    [("completed", "user"), ("completed", "bot"), ("failed", "bot"), ("failed", "NA"), ("cancelled", "user")];

/// How most calls end.
const CALL_ENDS: [(&str, &str); 4] = [
    ("answered", "caller_hangup"),
    ("answered", "flow_ended"),
    ("answered", "rtp_timeout"),
    ("unanswered", "cancelled"),
];

/// Makes every metric exist, at zero; those with labels with the label values that are known.
pub fn register(config: &Config) {
    let mut labelled =
        vec![metric::STREAMS, metric::CALLS, metric::CALLS_REFUSED, metric::STREAMS_ACTIVE, metric::LIMITS];
    for metric in [metric::TRUNK_UP, metric::TRUNK_REGISTERED] {
        // Nobody asked yet, or ever: neither up nor down.
        config.trunks.iter().for_each(|trunk| metric.set_with(f64::NAN, &[("trunk", trunk.name.clone())]));
        labelled.push(metric);
    }
    for (metric, label, values) in ONE_LABEL {
        values.iter().for_each(|value| metric.register(&[(label, (*value).to_owned())]));
        labelled.push(*metric);
    }
    ALLOW.split(", ").for_each(|method| metric::SIP_RECEIVED.register(&[("message", method.to_owned())]));
    Omitted::ALL.iter().for_each(|why| metric::HEADERS_OMITTED.register(&[("reason", why.label().to_owned())]));
    labelled.push(metric::HEADERS_OMITTED);
    for (reason, code) in refusals() {
        for trunk in &config.trunks {
            let labels = [("reason", reason.to_owned()), ("code", code.to_string()), ("trunk", trunk.name.clone())];
            metric::CALLS_REFUSED.register(&labels);
        }
    }
    for (status, by) in STREAM_ENDS {
        metric::STREAMS.register(&[("status", status.to_owned()), ("by", by.to_owned())]);
    }
    for account in &config.accounts {
        metric::STREAMS_ACTIVE.register(&[("account", account.sid.to_string())]);
    }
    register_calls(config);
    register_limits(config);
    let is_labelled = |metric: &&Metric| labelled.iter().any(|other| other.name == metric.name);
    METRICS.iter().filter(|metric| !is_labelled(metric)).for_each(|metric| metric.register(&[]));
}

/// The limits beside what counts against them.
fn register_limits(config: &Config) {
    let limits = &config.limits;
    let of_node = [
        ("limits.max_calls", limits.max_calls as f64),
        ("limits.max_calls_per_second", limits.max_calls_per_second.into()),
        ("limits.max_requests_per_second_per_source", limits.max_requests_per_second_per_source.into()),
        ("limits.max_memory_mebibytes", (limits.max_memory.unwrap_or_default() >> 20) as f64),
        ("sip.unknown_source_answers_per_minute", config.sip.unknown_source_per_minute.into()),
    ];
    let limit = |name: &str, value: f64, label: &'static str, of: &str| {
        metric::LIMITS.set_with(value, &[("limit", name.to_owned()), (label, of.to_owned())]);
    };
    for (name, value) in of_node {
        metric::LIMITS.set_with(value, &[("limit", name.to_owned())]);
    }
    for trunk in &config.trunks {
        limit("max_calls_per_minute", trunk.max_calls_per_minute.into(), "trunk", &trunk.name);
    }
    for account in &config.accounts {
        limit("max_streams", account.max_streams as f64, "account", account.sid.as_str());
    }
}

fn register_calls(config: &Config) {
    for trunk in &config.trunks {
        for account in &trunk.accounts {
            for (outcome, why) in CALL_ENDS {
                metric::CALLS.register(&[
                    ("trunk", trunk.name.clone()),
                    ("account", account.to_string()),
                    ("outcome", outcome.to_owned()),
                    ("why", why.to_owned()),
                ]);
            }
        }
    }
}

/// Rows of the failure table that are no reason of a refused call: they are counted as `sip`, by another metric, or as the
/// failure to connect the bot.
const COUNTED_ELSEWHERE: [&str; 8] = [
    "unknown_source",
    "body_type",
    "extension_required",
    "cancelled",
    "expired",
    "bot_lost",
    "bot_protocol",
    "bot_fault",
];

/// Reason and code of every refusal of the failure table, and of what the SIP layer refuses most.
fn refusals() -> Vec<(&'static str, u16)> {
    let rows = TABLE.iter().filter(|row| !COUNTED_ELSEWHERE.contains(&row.name));
    let rows = rows.filter_map(|row| Some((row.name, row.before?.code)));
    rows.chain([400, 415, 420, 422, 482].map(|code| ("sip", code))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_that_a_trunk_may_recode_is_there_from_the_start() {
        let refusals = refusals();
        // A stream that is lost before the answer is told as the failure to connect it was.
        for name in crate::config::FAILURES.iter().filter(|name| **name != "bot_lost") {
            assert!(refusals.iter().any(|(reason, _)| reason == name), "{name}");
        }
    }
}
