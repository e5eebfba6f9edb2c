//! What the endpoint counts until somebody asks: plain numbers, so that no recorder is needed here.

use std::collections::BTreeMap;

use crate::base::metric::{self, Metric};

/// Growth of one counter since it was last taken.
#[derive(Debug, Clone)]
pub struct Count {
    /// Which counter.
    pub metric: &'static Metric,
    /// Its labels.
    pub labels: Vec<(&'static str, String)>,
    /// By how much it grew.
    pub by: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Received,
    Sent,
    Retransmissions,
    Timeouts,
    Rejected,
    Malformed,
    Oversize,
    Refused,
}

impl What {
    /// The metric and the name of its label.
    const fn metric(self) -> (&'static Metric, &'static str) {
        match self {
            Self::Received => (&metric::SIP_RECEIVED, "message"),
            Self::Sent => (&metric::SIP_SENT, "message"),
            Self::Retransmissions => (&metric::SIP_RETRANSMISSIONS, ""),
            Self::Timeouts => (&metric::SIP_TRANSACTION_TIMEOUTS, "kind"),
            Self::Rejected => (&metric::SIP_REJECTED, "action"),
            Self::Malformed => (&metric::SIP_MALFORMED, "reason"),
            Self::Oversize => (&metric::SIP_OVERSIZE, ""),
            Self::Refused => (&metric::CALLS_REFUSED, "code"),
        }
    }
}

/// The counters of one endpoint.
#[derive(Debug, Default)]
pub struct Counters(BTreeMap<(What, String), u64>);

impl Counters {
    /// A message came in: its method, or its status class (`2xx`).
    pub(super) fn received(&mut self, message: &str) {
        // Method names come from the wire: those nobody defined share one label.
        let known = message.ends_with("xx")
            || !matches!(super::message::Method::parse(message), super::message::Method::Other(_));
        self.add(What::Received, if known { message } else { "other" });
    }

    /// A message went out: its method or status code.
    pub(super) fn sent(&mut self, message: &str) {
        self.add(What::Sent, message);
    }

    /// A message went out again.
    pub(super) fn retransmitted(&mut self) {
        self.add(What::Retransmissions, "");
    }

    /// A transaction of this kind ended without the peer's answer.
    pub(super) fn timed_out(&mut self, kind: &str) {
        self.add(What::Timeouts, kind);
    }

    /// A datagram from a source without a trunk was answered (`403`) or dropped (`dropped`).
    pub(super) fn rejected(&mut self, action: &str) {
        self.add(What::Rejected, action);
    }

    /// A datagram could not be read.
    pub(super) fn malformed(&mut self, reason: &str) {
        self.add(What::Malformed, reason);
    }

    /// A new INVITE was refused before anybody else saw it.
    pub(super) fn refused(&mut self, code: u16, reason: &str, trunk: &str) {
        self.add(What::Refused, &format!("{code} {reason} {trunk}"));
    }

    /// A request of ours was over 1300 bytes (SIP-002).
    pub(super) fn oversize(&mut self) {
        self.add(What::Oversize, "");
    }

    fn add(&mut self, what: What, label: &str) {
        *self.0.entry((what, label.to_owned())).or_default() += 1;
    }

    /// Takes everything counted since the last time.
    pub(super) fn take(&mut self) -> Vec<Count> {
        std::mem::take(&mut self.0)
            .into_iter()
            .map(|((what, label), by)| {
                let (metric, name) = what.metric();
                let labels = match name {
                    "" => Vec::new(),
                    "code" => {
                        let words = ["code", "reason", "trunk"].into_iter().zip(label.splitn(3, ' '));
                        words.map(|(name, word)| (name, word.to_owned())).collect()
                    }
                    name => vec![(name, label)],
                };
                Count { metric, labels, by }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_taken_once_and_unknown_methods_share_a_label() {
        let mut counters = Counters::default();
        for method in ["INVITE", "JUNK1", "JUNK2", "2xx"] {
            counters.received(method);
        }
        let labels: Vec<_> = counters.take().into_iter().map(|count| (count.labels[0].1.clone(), count.by)).collect();
        assert_eq!(labels, [("2xx".into(), 1), ("INVITE".into(), 1), ("other".into(), 2)]);
        assert!(counters.take().is_empty());
    }
}
