//! Keeps the certificates of SIP over TLS fresh: read again when a file changes, and on SIGHUP (SIP-114).

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::net::sip_tls::SipTls;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Runs for ever. A file that is no good leaves what was read before in use.
pub async fn keep(tls: Arc<SipTls>) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => return warn!(%error, "SIGHUP cannot be heard: a new certificate needs a restart"),
    };
    loop {
        let told = tokio::select! {
            _ = look.tick() => false,
            Some(()) = hangup.recv() => true,
        };
        let tls = tls.clone();
        match tokio::task::spawn_blocking(move || tls.reload(told)).await {
            Ok(Ok(true)) => info!("the certificates of SIP over TLS were read again"),
            Ok(Ok(false)) => {}
            Ok(Err(error)) => error!(%error, "the new certificate of SIP over TLS cannot be used; the old one stays"),
            Err(_) => return,
        }
    }
}
