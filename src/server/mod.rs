//! The stage: starts the shards, the SIP task and the admin listener, and drains them.
#![allow(clippy::disallowed_methods)] // clocks and threads start here

mod bind;
pub mod calls_out;
mod carrier;
mod certificates;
pub mod clock;
pub mod host;
mod inbox;
pub mod kernel_drops;
pub mod locate;
mod memory;
pub mod priority;
pub mod records;
mod series;
pub mod shard;
pub mod sip_task;
mod trace;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::api;
use crate::base::random::Random;
use crate::call::CallSettings;
use crate::call::directory::Directory;
use crate::config::{Config, Digest, Listener};
use crate::flow::{Flows, StepKind};
use crate::net::rtp_socket::RtpPorts;
use crate::net::tls::TlsConnectors;
use crate::server::bind::{SipSockets, Transport};
use crate::server::calls_out::{CallsOut, TrunkCommand};
use crate::server::memory::MemoryWatch;
use crate::server::records::RecordWriter;
use crate::server::shard::{ShardInput, Surroundings};
use crate::server::sip_task::SipTask;
use crate::server::trace::Trace;
use crate::sip::digest::nonce;
use crate::sip::{Endpoint, EndpointConfig, Trunks};

/// How often a draining node looks whether its calls have ended.
const DRAIN_LOOK: Duration = Duration::from_millis(50);
/// After the last BYE the node waits this long for its answer.
const LAST_WORDS: Duration = Duration::from_millis(1500);

/// A running bridge.
pub struct Bridge {
    directory: Arc<Directory>,
    shards: Vec<mpsc::UnboundedSender<ShardInput>>,
    threads: Vec<std::thread::JoinHandle<()>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    record_writer: tokio::task::JoinHandle<()>,
    trunk_commands: mpsc::UnboundedSender<TrunkCommand>,
    drain_timeout: Duration,
    /// Where SIP is taken, in the listeners' order.
    pub sip_addresses: Vec<SocketAddr>,
    /// The admin listener, where there is one.
    pub admin_address: Option<SocketAddr>,
}

impl Bridge {
    /// Binds every socket, starts every thread, and takes calls.
    ///
    /// # Errors
    /// An address that cannot be bound or a certificate that cannot be read, by name.
    pub async fn start(config: Config, flows: Flows) -> anyhow::Result<Self> {
        let metrics = api::metrics::recorder();
        host::warn_of_small_buffers();
        series::register(&config);
        let mut random = Random::from_system().context("no randomness from the system")?;
        let shard_count = shard_count(config.media.shards);
        let max_calls = config.limits.max_calls;
        let directory = Arc::new(Directory::new(max_calls, &config.accounts, &config.numbers, shard_count));
        let SipSockets { addresses: sip_addresses, sockets, streams, tls } = bind::sip(&config.sip)?;
        let (commands, command_inputs) = mpsc::unbounded_channel();
        let (records, record_writer) = RecordWriter::start(&config.log).await?;
        let (trace, mut tasks) = Trace::start(&config);
        let ports = rtp_ports(&config, random.fork());
        let around = Surroundings {
            ports: ports.clone(),
            advertised: config.media.advertised_address,
            listen: config.media.listen_address,
            settings: Arc::new(CallSettings::from(&config)),
            directory: directory.clone(),
            tls: TlsConnectors::new(certificate_authorities(&flows)).context("a flow's ca_file")?,
            sip: commands,
            trace: trace.clone(),
            records,
        };
        let (shards, threads) = start_shards(shard_count, config.media.realtime_priority, around, &mut random)?;
        trace.set_shards(shards.clone());
        let endpoint = open_endpoint(&config, &sip_addresses, random.fork());
        let (calls_out, trunk_commands) = CallsOut::new();
        tasks.push(tokio::spawn(locate::keep_told(config.trunks.clone(), trunk_commands.clone(), random.fork())));
        let task = SipTask {
            endpoint,
            sockets,
            streams,
            commands: command_inputs,
            calls_out,
            shards: shards.clone(),
            directory: directory.clone(),
            flows,
            random,
            shown: shown_addresses(&config, &sip_addresses),
            trace: trace.clone(),
            memory: MemoryWatch::new(config.limits.max_memory),
            ports,
        };
        tasks.extend([tokio::spawn(task.run()), tokio::spawn(kernel_drops::watch(config.media.clone()))]);
        tasks.extend(tls.map(|tls| tokio::spawn(certificates::keep(tls))));
        let admin_address = serve_admin(config.admin, metrics, directory.clone(), (trace, &mut tasks)).await?;
        info!(?sip_addresses, ?admin_address, shards = shard_count, max_calls, "ready for calls");
        Ok(Self {
            directory,
            shards,
            threads,
            tasks,
            record_writer,
            trunk_commands,
            drain_timeout: config.limits.drain_timeout,
            sip_addresses,
            admin_address,
        })
    }

    /// Refuses new calls, lets live ones finish, and ends what is left at the deadline or when `hurry` completes
    /// (OPS-031). Returns when every thread has stopped.
    pub async fn drain(self, hurry: impl Future<Output = ()>) {
        self.directory.drain();
        let calls = self.directory.calls();
        info!(calls, limit_s = self.drain_timeout.as_secs(), "draining: new calls are refused, live ones go on");
        tokio::select! {
            () = self.emptied() => {}
            () = tokio::time::sleep(self.drain_timeout) => warn!("the drain limit has passed, ending what is left"),
            () = hurry => warn!("told again to stop, ending what is left"),
        }
        if self.directory.calls() > 0 {
            for shard in &self.shards {
                let _ = shard.send(ShardInput::ShutDown);
            }
            let _ = tokio::time::timeout(LAST_WORDS, self.emptied()).await;
        }
        let (done, unregistered) = oneshot::channel();
        if self.trunk_commands.send(TrunkCommand::Unregister(done)).is_ok() {
            let _ = tokio::time::timeout(LAST_WORDS, unregistered).await;
        }
        self.stop().await;
    }

    /// Where calls out are asked for.
    #[must_use]
    pub fn trunk_commands(&self) -> mpsc::UnboundedSender<TrunkCommand> {
        self.trunk_commands.clone()
    }

    /// Live calls.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.directory.calls()
    }

    async fn emptied(&self) {
        while self.directory.calls() > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        // The last answer leaves before the sockets close.
        tokio::time::sleep(DRAIN_LOOK).await;
    }

    async fn stop(self) {
        for shard in &self.shards {
            let _ = shard.send(ShardInput::Stop);
        }
        drop(self.shards);
        let threads = self.threads;
        let _ = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
        // The shards were the last to have anything to record: the writer ends when it has written that.
        let _ = tokio::time::timeout(LAST_WORDS, self.record_writer).await;
        for task in self.tasks {
            task.abort();
        }
        info!("stopped");
    }
}

/// Every authority that a flow names, each once.
fn certificate_authorities(flows: &Flows) -> impl Iterator<Item = &Path> {
    let steps = flows.iter().flat_map(|graph| graph.steps());
    steps.filter_map(|(_, kind)| match kind {
        StepKind::Voicebot(settings) => settings.ca_file.as_deref(),
        StepKind::Connect(_) | StepKind::Hangup(_) => None,
    })
}

fn shard_count(configured: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if configured == 0 { cores() } else { configured }
}

/// The endpoint's settings; a listener bound to port 0 gets the port the system chose.
fn endpoint_config(config: &Config, bound: &[SocketAddr]) -> EndpointConfig {
    let mut endpoint = EndpointConfig::from(&config.sip);
    for (listener, bound) in endpoint.listeners.iter_mut().zip(bound) {
        listener.bind.set_port(bound.port());
        if listener.advertised.port() == 0 {
            listener.advertised.set_port(bound.port());
        }
    }
    endpoint
}

/// The endpoint, with everything that the configuration says of it.
fn open_endpoint(config: &Config, bound: &[SocketAddr], random: Random) -> Endpoint {
    let trunks = Trunks::new(config.trunks.clone());
    let mut endpoint = Endpoint::new(endpoint_config(config, bound), trunks, random);
    endpoint.limit_call_rate(config.limits.max_calls_per_second);
    endpoint.limit_source_rate(config.limits.max_requests_per_second_per_source);
    let Digest { realm, key, algorithms } = &config.sip.digest;
    endpoint.set_digest(realm, algorithms, key.as_ref().map(|key| nonce::key_of(key.expose_secret())));
    endpoint
}

/// The admin listener, where one is wanted; its address.
async fn serve_admin(
    wanted: Option<SocketAddr>,
    metrics: api::metrics::Recorder,
    directory: Arc<Directory>,
    (trace, tasks): (Trace, &mut Vec<tokio::task::JoinHandle<()>>),
) -> anyhow::Result<Option<SocketAddr>> {
    let Some(address) = wanted else { return Ok(None) };
    let served = api::serve(address, metrics, directory, Arc::new(trace)).await;
    let explained = |error: io::Error| bind::explained("admin.listen", address, Transport::Tcp, &error);
    let (address, serving) = served.map_err(explained)?;
    tasks.push(serving);
    Ok(Some(address))
}

/// What traces show of the listeners: the address and the transport.
fn shown_addresses(config: &Config, bound: &[SocketAddr]) -> Vec<(SocketAddr, &'static str)> {
    let listeners = config.sip.listeners.iter().zip(bound);
    let shown = |bound: &SocketAddr, listener: &Listener| trace::shown(*bound, listener.advertised.ip());
    listeners.map(|(listener, bound)| (shown(bound, listener), listener.transport.name())).collect()
}

fn rtp_ports(config: &Config, random: Random) -> Arc<RtpPorts> {
    let media = &config.media;
    let range = (media.first_port, media.last_port);
    Arc::new(RtpPorts::new(media.listen_address, range, media.port_quarantine, media.dscp, random))
}

type Shards = (Vec<mpsc::UnboundedSender<ShardInput>>, Vec<std::thread::JoinHandle<()>>);

fn start_shards(count: usize, priority: u8, around: Surroundings, random: &mut Random) -> anyhow::Result<Shards> {
    let (mut senders, mut threads) = (Vec::new(), Vec::new());
    let (started, starts) = std::sync::mpsc::channel();
    for number in 0..count {
        let (sender, inputs) = mpsc::unbounded_channel();
        let (around, random, started) = (around.clone(), random.fork(), started.clone());
        let run = move || {
            priority::raise(priority);
            if let Err(error) = shard::run(inputs, around, random, || started.send(()).unwrap_or(())) {
                tracing::error!(%error, "a media thread ended");
            }
        };
        let thread = std::thread::Builder::new().name(format!("media-{number}")).spawn(run)?;
        senders.push(sender);
        threads.push(thread);
    }
    drop(started);
    let ready = starts.iter().take(count).count();
    anyhow::ensure!(ready == count, "only {ready} of {count} media threads started");
    Ok((senders, threads))
}
