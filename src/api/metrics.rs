//! `/metrics`: Prometheus text.

use std::sync::OnceLock;

use axum::extract::State;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::AdminState;
use crate::base::metric::{self, Kind, METRICS};

/// Milliseconds: from a late tick to a slow bot.
const BUCKETS_MS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0, 5000.0, 30_000.0];

/// Mean opinion scores: fine where calls are.
const BUCKETS_MOS: &[f64] = &[1.0, 2.0, 2.5, 3.0, 3.3, 3.6, 3.8, 4.0, 4.1, 4.2, 4.3, 4.4, 4.5];
/// Percent of packets.
const BUCKETS_PERCENT: &[f64] = &[0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0];
/// Seconds that a caller waits for a bot.
const BUCKETS_SECONDS: &[f64] =
    &[0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 10.0, 30.0];

/// The buckets of a histogram, by the unit at the end of its name.
fn buckets(name: &str) -> &'static [f64] {
    match name {
        name if name.ends_with("_mos") => BUCKETS_MOS,
        name if name.ends_with("_percent") => BUCKETS_PERCENT,
        name if name.ends_with("_seconds") => BUCKETS_SECONDS,
        _ => BUCKETS_MS,
    }
}

/// What writes the page.
pub type Recorder = PrometheusHandle;

/// The process's recorder, installed once; every metric is described.
pub fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let mut builder = PrometheusBuilder::new();
        for histogram in METRICS.iter().filter(|metric| metric.kind == Kind::Histogram) {
            let matcher = Matcher::Full(histogram.name.to_owned());
            builder = builder
                .set_buckets_for_metric(matcher, buckets(histogram.name))
                .expect("the list of buckets is not empty");
        }
        let handle = builder.install_recorder().expect("no other recorder is installed in this process");
        metric::describe();
        handle
    };
    RECORDER.get_or_init(install).clone()
}

/// All metrics, with help texts.
pub async fn metrics(State(state): State<AdminState>) -> String {
    state.metrics.run_upkeep();
    state.metrics.render()
}
