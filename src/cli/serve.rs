//! `trunkstream serve`: the bridge as a service.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::server::Bridge;

/// Runs until SIGTERM or SIGINT, drains, and returns.
///
/// # Errors
/// Something could not be bound or started.
pub fn run(file: &Path) -> anyhow::Result<ExitCode> {
    let (config, flows) = match super::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("{problems}");
            eprintln!("trunkstream: not started: {} must be mended first", file.display());
            return Ok(ExitCode::from(2));
        }
    };
    super::logging::start(config.log.format, &config.log.filter);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        info!(version = env!("CARGO_PKG_VERSION"), config = %file.display(), "trunkstream starts");
        let bridge = Bridge::start(config, flows).await?;
        if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
            warn!(%error, "the service manager could not be told that we are ready");
        }
        told_to_stop(&mut terminate, &mut interrupt).await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        bridge.drain(told_to_stop(&mut terminate, &mut interrupt)).await;
        Ok(ExitCode::SUCCESS)
    })
}

async fn told_to_stop(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
