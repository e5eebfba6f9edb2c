//! `/healthz` and `/readyz`: the same truth as OPTIONS tells (OPS-030).

use axum::extract::State;
use axum::http::StatusCode;

use super::AdminState;

/// The process is alive.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 when calls are taken, 503 and the reason when not.
pub async fn readyz(State(state): State<AdminState>) -> (StatusCode, String) {
    match state.directory.closed() {
        Some(closed) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", closed.why().text)),
        None => (StatusCode::OK, "ready\n".to_owned()),
    }
}
