//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 it ran and the answer is no, 2 wrong arguments or configuration.
#![allow(clippy::disallowed_methods)] // commands talk to the world

pub mod bot;
pub mod call;
mod callee;
mod capture;
pub mod check;
pub mod demo;
mod logging;
mod loopback;
pub mod replay;
mod secret;
pub mod serve;
pub mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, Problem};
use crate::flow::Flows;

/// SIP-to-WebSocket media bridge: a PBX trunks a call to it, the caller talks to an AgentStream voicebot.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 110,
    after_help = "Begin with `trunkstream demo`: a whole call on this machine, in ten seconds.\n\
                  Then `trunkstream call sip:NUMBER@HOST` and `trunkstream bot` stand in for a PBX and a bot,\n\
                  `trunkstream replay call.pcap` plays a captured call again.\n\
                  Your own file: `trunkstream check --config config/trunkstream.toml`, then `trunkstream serve --config …`.\n\n\
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
    Call(Box<call::CallArgs>),
    /// A captured call through the media path again: what was lost, what was mended, what the bot hears
    Replay(replay::ReplayArgs),
    /// What happened to one call: SIP, and RTP if asked, from the running bridge as a pcapng capture
    Trace(trace::TraceArgs),
    /// A test bot: take AgentStream connections and print what comes
    Bot(bot::BotArgs),
}

/// Runs the program.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve { config } => serve::run(&config),
        Command::Check { config } => Ok(check::run(&config, &flow_problems)),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Call(arguments) => call::run(*arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
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
    let config = check::load(file, &flow_problems)?;
    let flows =
        flows(&config).map_err(|problems| problems.iter().map(|problem| format!("{problem}\n")).collect::<String>())?;
    Ok((config, flows))
}

/// The checked flows of a configuration.
///
/// # Errors
/// Every problem found.
pub fn flows(config: &Config) -> Result<Flows, Vec<Problem>> {
    checked(&config.flows)
}

/// Every problem of flows as written.
#[must_use]
pub fn flow_problems(flows: &[config::Flow]) -> Vec<Problem> {
    checked(flows).err().unwrap_or_default()
}

fn checked(flows: &[config::Flow]) -> Result<Flows, Vec<Problem>> {
    crate::flow::graph::check(flows, &|url| {
        crate::stream::StreamUrl::parse(url).map(drop).map_err(|error| error.to_string())
    })
}
