//! `trunkstream bot`: a test bot for people who set up a bridge or a PBX.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::base::pcm::SampleRate;
use crate::lab::bot::{self, BotMode, BotSettings, BotTls};

/// Run a test bot: a WebSocket server that speaks AgentStream
///
/// It prints what it receives: the start message with every custom parameter, digits, marks, stop, and once a second how
/// much sound came and how loud it was. Lines that begin with "!" say where a message was out of order.
/// Point a flow's voicebot step at it and call the number: url = "ws://127.0.0.1:9001/media?sample-rate=8000"
///
/// It runs until Ctrl-C and then exits with 0; 1 where it cannot listen.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    trunkstream bot                                        echo on 127.0.0.1:9001\n  \
    trunkstream bot --mode greet --clear-on-dtmf           a greeting that a digit starts over\n  \
    trunkstream bot --mode record --wav heard.wav          what does the caller sound like?\n  \
    trunkstream bot --mode refuse --status 401             does the call fail the way it should?\n  \
    trunkstream bot --hangup-after-ms 5000 --close-code 1011")]
pub struct BotArgs {
    /// Address and port to listen on; port 0 takes a free one and prints it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
    /// What the bot does
    #[arg(long, default_value = "echo", value_parser = modes())]
    mode: BotMode,
    /// Sample rate of the bot's own sound and WAV file, in Hz: 8000, 16000, 24000 [default: what start says]
    #[arg(long, value_name = "HZ", value_parser = rate)]
    rate: Option<SampleRate>,
    /// Hang up this long after start
    #[arg(long, value_name = "MS")]
    hangup_after_ms: Option<u64>,
    /// Close code to hang up with; 1005 sends a close without code, 1006 cuts TCP without a close
    #[arg(long, value_name = "CODE", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1000..=4999))]
    close_code: u16,
    /// Mode slow: how long to wait before answering the upgrade
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    delay_ms: u64,
    /// Mode refuse: the HTTP status
    #[arg(long, value_name = "STATUS", default_value_t = 503, value_parser = clap::value_parser!(u16).range(300..=599))]
    status: u16,
    /// Mode drop: how long after start to cut the connection
    #[arg(long, value_name = "MS", default_value_t = 3_000)]
    after_ms: u64,
    /// Send a mark after every media message
    #[arg(long)]
    marks: bool,
    /// Send clear on every digit (in mode greet the greeting starts over)
    #[arg(long)]
    clear_on_dtmf: bool,
    /// Write what the bot heard as WAV; a second connection writes NAME-2.wav, and so on
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// Write what the bot received except media as JSON lines
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Certificate chain for wss, PEM
    #[arg(long, value_name = "PEM", requires = "key")]
    cert: Option<PathBuf>,
    /// Private key for wss, PEM
    #[arg(long, value_name = "PEM", requires = "cert")]
    key: Option<PathBuf>,
    /// Print only the address
    #[arg(long, short)]
    quiet: bool,
}

/// The modes with a line of help each.
fn modes() -> impl TypedValueParser<Value = BotMode> {
    let values = BotMode::ALL.iter().map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(values).try_map(|name| name.parse::<BotMode>())
}

pub(super) fn rate(text: &str) -> Result<SampleRate, String> {
    let rate = text.parse().ok().and_then(SampleRate::from_hz);
    rate.filter(|rate| rate.hz() <= 24_000).ok_or_else(|| "a stream has 8000, 16000 or 24000 Hz".into())
}

/// Runs the bot until Ctrl-C or SIGTERM.
///
/// # Errors
/// An address it cannot listen on, a file it cannot write, a certificate it cannot use.
pub fn run(args: BotArgs) -> anyhow::Result<ExitCode> {
    let scheme = if args.cert.is_some() { "wss" } else { "ws" };
    let mode = args.mode.name();
    let settings = settings(args);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
        let (ready, listening) = oneshot::channel();
        let shutdown = async move {
            if let Ok(address) = listening.await {
                println!("bot ({mode}) listens on {scheme}://{address}");
            }
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        };
        bot::run(settings, ready, shutdown).await.map_err(|error| anyhow!(error))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn settings(args: BotArgs) -> BotSettings {
    let print: bot::LineSink = Arc::new(|line: &str| println!("{line}"));
    BotSettings {
        listen: args.listen,
        mode: args.mode,
        rate: args.rate,
        hangup_after: args.hangup_after_ms.map(Duration::from_millis),
        close_code: args.close_code,
        delay: Duration::from_millis(args.delay_ms),
        status: args.status,
        after: Duration::from_millis(args.after_ms),
        marks: args.marks,
        clear_on_dtmf: args.clear_on_dtmf,
        wav: args.wav,
        journal: args.journal,
        tls: args.cert.zip(args.key).map(|(certificate, key)| BotTls { certificate, key }),
        print: (!args.quiet).then_some(print),
        observer: None,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(line: &str) -> Result<BotSettings, clap::Error> {
        let command = BotArgs::augment_args(Command::new("bot"));
        let matches = command.try_get_matches_from(line.split(' '))?;
        BotArgs::from_arg_matches(&matches).map(settings)
    }

    #[test]
    fn every_mode_is_known_by_its_name_and_others_are_refused() {
        for (mode, name, _) in BotMode::ALL {
            assert_eq!(parse(&format!("bot --mode {name}")).expect("a mode").mode, mode);
        }
        for wrong in
            ["bot --mode loud", "bot --rate 11025", "bot --status 200", "bot --cert a.pem", "bot --close-code 1"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
