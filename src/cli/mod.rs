//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 it ran and the answer is no, 2 wrong arguments or configuration.
#![allow(clippy::disallowed_methods)] // commands talk to the world

pub mod bot;
pub mod call;
pub mod check;
pub mod demo;
pub mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, LogFormat, Problem};
use crate::flow::Flows;

/// SIP-to-WebSocket media bridge: a PBX trunks a call to it, the caller talks to an AgentStream voicebot.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 110,
    after_help = "Begin with `trunkstream demo`: a whole call on this machine, in ten seconds.\n\
                  Then `trunkstream check --config config/trunkstream.toml` and `trunkstream serve …` with your own file.\n\n\
                  Exit codes: 0 done · 1 it ran and the answer is no · 2 wrong arguments or configuration"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the bridge until SIGTERM, then drain: new calls get 503, live ones finish
    Serve {
        /// Configuration file (see config/trunkstream.toml, config/reference.toml)
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Read a configuration and look at this host, without starting anything
    Check {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// One call on free loopback ports: caller, bridge and bot in this process, over real sockets
    Demo(demo::DemoArgs),
    /// A test PBX: place calls, play and record audio, press digits, print the SIP ladder
    Call(call::CallArgs),
    /// A test bot: take AgentStream connections and print what comes
    Bot(bot::BotArgs),
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve { config } => serve::run(&config),
        Command::Check { config } => Ok(check::run(&config, &|config| flows(config).err().unwrap_or_default())),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Call(arguments) => call::run(arguments),
        Command::Bot(arguments) => bot::run(arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("trunkstream: {error:#}");
        ExitCode::from(1)
    })
}

/// Reads a configuration and checks its flows; all problems at once.
///
/// # Errors
/// Every problem found.
pub fn load(file: &std::path::Path) -> Result<(Config, Flows), String> {
    let config = check::load(file, &|config| flows(config).err().unwrap_or_default())?;
    let flows =
        flows(&config).map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
    Ok((config, flows))
}

/// The checked flows of a configuration.
///
/// # Errors
/// Every problem found.
pub fn flows(config: &Config) -> Result<Flows, Vec<Problem>> {
    crate::flow::graph::check(&config.flows, &|url| {
        crate::stream::StreamUrl::parse(url).map(drop).map_err(|error| error.to_string())
    })
}

/// Below info the WebSocket library writes what it sends as it stands: Authorization, numbers, headers. No filter turns
/// that on.
fn is_discreet(metadata: &tracing::Metadata<'_>) -> bool {
    let talkative = ["tungstenite", "tokio_tungstenite"].iter().any(|library| metadata.target().starts_with(library));
    !talkative || *metadata.level() <= tracing::Level::INFO
}

/// Starts logging to standard error.
fn start_logging(format: LogFormat, filter: &str) {
    use tracing_subscriber::layer::{Layer, SubscriberExt};
    use tracing_subscriber::util::SubscriberInitExt;
    use tracing_subscriber::{EnvFilter, filter::filter_fn};
    let filter = EnvFilter::try_from_env("TRUNKSTREAM_LOG").unwrap_or_else(|_| EnvFilter::new(filter));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let _ = tracing_subscriber::registry().with(filter).with(lines.with_filter(filter_fn(is_discreet))).try_init();
}
