//! `/metrics`: Prometheus text.

use std::sync::OnceLock;

use axum::extract::State;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::AdminState;
use crate::base::metric::{self, Kind, METRICS};

/// Milliseconds: from a late tick to a slow bot.
const BUCKETS_MS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 250.0, 1000.0, 5000.0, 30_000.0];

/// The process's recorder, installed once; every metric is described.
pub fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let mut builder = PrometheusBuilder::new();
        for histogram in METRICS.iter().filter(|metric| metric.kind == Kind::Histogram) {
            let matcher = Matcher::Full(histogram.name.to_owned());
            builder = builder.set_buckets_for_metric(matcher, BUCKETS_MS).expect("the list of buckets is not empty");
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
