//! Many test calls at a rate, and what became of them together.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};

use super::call::place;
use super::line::Line;
use super::plan::{CallPlan, LineSink};
use super::report::{CallReport, Outcome};
use super::statistics::{Spread, percent};
use crate::base::random::Random;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// How many calls, how fast.
#[derive(Clone)]
pub struct LoadPlan {
    /// Calls to place.
    pub calls: u32,
    /// Calls a second.
    pub rate: f64,
    /// What each does.
    pub call: CallPlan,
    /// Seeds every call's SSRC, session id and impairment.
    pub seed: u64,
}

/// What became of many calls.
#[derive(Debug, Default)]
pub struct LoadReport {
    /// Calls placed.
    pub calls: u32,
    /// Calls answered.
    pub answered: u32,
    /// Calls answered and ended without a fault.
    pub normal: u32,
    /// The others, by what became of them.
    pub failures: BTreeMap<String, u32>,
    /// What to look at, one for each kind of failure.
    pub hints: BTreeMap<String, &'static str>,
    setups: Vec<Duration>,
    sent: u64,
    received: u64,
    lost: u64,
    /// Packets received a second, one of each call.
    rates: Vec<f64>,
    errors: Vec<Duration>,
    lateness: Duration,
}

/// Places the calls and waits for the last to end; `print` gets a line a second.
pub async fn run(line: Arc<Line>, plan: LoadPlan, print: Option<LineSink>) -> LoadReport {
    let begin = Instant::now();
    let (mut open, mut report) = (JoinSet::new(), LoadReport::default());
    let (mut random, call) = (Random::from_number(plan.seed), Arc::new(plan.call));
    let mut progress = interval(PROGRESS);
    progress.set_missed_tick_behavior(MissedTickBehavior::Skip);
    progress.tick().await;
    let mut stopped = false;
    while (report.calls < plan.calls && !stopped) || !open.is_empty() {
        let next = begin + Duration::from_secs_f64(f64::from(report.calls) / plan.rate);
        tokio::select! {
            () = sleep_until(next.into()), if report.calls < plan.calls && !stopped => {
                report.calls += 1;
                let (line, call, random) = (line.clone(), call.clone(), random.fork());
                open.spawn(async move { place(&line, &call, random).await });
            }
            Some(ended) = open.join_next() => match ended {
                Ok(ended) => report.add(&ended),
                Err(error) => report.fail(&Outcome::Failed(error.to_string())),
            },
            () = line.stopped(), if !stopped => stopped = true,
            _ = progress.tick() => if let Some(print) = &print {
                print(&report.progress(begin.elapsed(), plan.calls, line.up()));
            },
        }
    }
    report
}

impl LoadReport {
    /// Every call was answered and ended without a fault.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.normal == self.calls
    }

    fn progress(&self, elapsed: Duration, wanted: u32, up: usize) -> String {
        let failed: u32 = self.failures.values().sum();
        format!(
            "{:>6} s   placed {:>6} of {wanted}   up {up:>6}   ended well {:>6}   failed {failed:>6}",
            elapsed.as_secs(),
            self.calls,
            self.normal
        )
    }

    fn add(&mut self, call: &CallReport) {
        if let Some(setup) = call.setup {
            self.answered += 1;
            self.setups.push(setup);
        }
        if let Some(media) = &call.media {
            let heard = &media.heard;
            self.sent += media.sent;
            self.received += heard.received();
            self.lost += heard.lost();
            self.lateness = self.lateness.max(media.lateness.p99);
            self.errors.extend_from_slice(heard.interval_errors());
            let span = heard.first_packet().map(|first| media.ended.saturating_duration_since(first).as_secs_f64());
            self.rates.push(span.filter(|span| *span > 0.0).map_or(0.0, |span| heard.received() as f64 / span));
        }
        if call.outcome.is_normal() {
            self.normal += 1;
        } else {
            self.fail(&call.outcome);
        }
    }

    fn fail(&mut self, outcome: &Outcome) {
        let kind = outcome.to_string();
        if let Some(hint) = outcome.hint() {
            self.hints.insert(kind.clone(), hint);
        }
        *self.failures.entry(kind).or_default() += 1;
    }

    /// The report as an aligned table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "  {name:<22}{value}");
        };
        row("calls", self.calls.to_string());
        row("answered", format!("{} ({:.1} %)", self.answered, percent(self.answered.into(), self.calls.into())));
        row("ended well", self.normal.to_string());
        for (kind, count) in &self.failures {
            row("failed", format!("{count} x {kind}"));
        }
        for hint in self.hints.values() {
            row("", format!("-> {hint}"));
        }
        if self.answered > 0 {
            row("setup time", Spread::of(self.setups.iter().copied()).to_string());
            let rates = || self.rates.iter().copied();
            let mean = rates().sum::<f64>() / self.rates.len().max(1) as f64;
            let (least, most) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
            row("RTP per call", format!("{mean:.1} packets/s received, {least:.1} to {most:.1}"));
            row("RTP in all", format!("{} sent, {} received", self.sent, self.received));
            let share = percent(self.lost, self.lost + self.received);
            row("lost", format!("{} packets ({share:.3} %)", self.lost));
            row("interval error", Spread::of(self.errors.iter().copied()).to_string());
            row("our own lateness", format!("p99 {:.2} ms in the worst call", super::statistics::ms(self.lateness)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Reason;

    fn call(outcome: Outcome, setup_ms: Option<u64>) -> CallReport {
        CallReport { outcome, setup: setup_ms.map(Duration::from_millis), length: Duration::ZERO, media: None }
    }

    #[test]
    fn failures_are_counted_by_what_became_of_them_with_one_hint_each() {
        let mut report = LoadReport { calls: 4, ..LoadReport::default() };
        report.add(&call(Outcome::HungUp, Some(12)));
        report.add(&call(Outcome::PeerHungUp(vec![Reason::q850(38)]), Some(14)));
        for _ in 0..2 {
            let reasons = vec![Reason::q850(42)];
            report.add(&call(Outcome::Refused { code: 503, phrase: "Service Unavailable".into(), reasons }, None));
        }
        assert_eq!((report.answered, report.normal, report.is_clean()), (2, 1, false));
        let table = report.table();
        assert!(table.contains("2 x refused: 503 Service Unavailable (Q.850;cause=42)"), "{table}");
        assert_eq!(table.matches("->").count(), 1, "{table}");
        assert!(table.contains("p50 12.00 ms, p99 14.00 ms"), "{table}");
    }

    #[test]
    fn calls_that_all_end_well_are_a_clean_run() {
        let mut report = LoadReport { calls: 1, ..LoadReport::default() };
        report.add(&call(Outcome::HungUp, Some(1)));
        assert!(report.is_clean());
    }
}
