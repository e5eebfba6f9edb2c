//! What the bridge answers over HTTP: the admin listener's route table.
#![allow(clippy::disallowed_methods)] // the admin socket is opened here

pub mod health;
pub mod metrics;
pub mod trace;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::call::directory::Directory;
use trace::Traces;

/// What the resources read.
#[derive(Clone)]
pub struct AdminState {
    directory: Arc<Directory>,
    metrics: PrometheusHandle,
    traces: Arc<dyn Traces>,
}

/// Serves the admin listener; returns the address bound.
///
/// # Errors
/// The address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    metrics: PrometheusHandle,
    directory: Arc<Directory>,
    traces: Arc<dyn Traces>,
) -> io::Result<(SocketAddr, JoinHandle<()>)> {
    let routes = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/trace", post(trace::trace))
        .with_state(AdminState { directory, metrics, traces })
        .into_make_service_with_connect_info::<SocketAddr>();
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the admin listener ended");
        }
    });
    Ok((bound, serving))
}
