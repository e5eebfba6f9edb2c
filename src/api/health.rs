//! `/healthz` and `/readyz`: the same truth as OPTIONS tells (OPS-030).

use axum::extract::State;
use axum::http::StatusCode;

use super::AdminState;

/// The process is alive.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// 200 when calls are taken, 503 and the reason when not.
pub async fn readyz(State(state): State<AdminState>) -> (StatusCode, &'static str) {
    if state.directory.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if state.directory.is_lagging() {
        (StatusCode::SERVICE_UNAVAILABLE, "the media clock lags\n")
    } else if !state.directory.has_room() {
        (StatusCode::SERVICE_UNAVAILABLE, "limits.max_calls is reached\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
