//! `trunkstream replay`: a captured call through the media path again, offline or live against a bot.

mod live;
mod offline;
mod report;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::base::pcm::SampleRate;
use crate::lab::capture::{Capture, Take};
use crate::lab::wav;
use crate::stream::StreamUrl;
use report::Report;

/// Play a capture's RTP through the media path, and tell what the bot hears
///
/// Reads pcap and pcapng, finds the RTP streams, takes the caller's, and plays it in virtual time: jitter buffer,
/// concealment, codec, digits and chunks as in a call, faster than real time and the same on every run. With --bot it is
/// a real call, in real time: a caller that sends the capture, a bridge in this process, and your bot.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    trunkstream replay call.pcap                              what was lost, late, concealed; which digits\n  \
    trunkstream replay call.pcapng --wav heard.wav            what did the bot hear?\n  \
    trunkstream replay call.pcap --stream 2 --json            the other direction, as JSON\n  \
    trunkstream replay call.pcap --bot ws://127.0.0.1:9001/media\n\n\
    Exit codes: 0 it was played (and the call ended well) · 1 not so · 2 wrong arguments, or nothing to play in the file")]
pub struct ReplayArgs {
    /// A pcap or pcapng capture
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    capture: super::capture::CaptureArgs,
    /// Call this bot with it, in real time: ws:// or wss://
    #[arg(long, value_name = "URL", value_parser = bot_url)]
    bot: Option<String>,
    /// Write what the bot hears
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// Sample rate towards the bot, in Hz: 8000, 16000, 24000 [default: 8000; with --bot what its URL says]
    #[arg(long, value_name = "HZ", value_parser = super::bot::rate, conflicts_with = "bot")]
    rate: Option<SampleRate>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

fn bot_url(text: &str) -> Result<String, String> {
    StreamUrl::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Replays and prints the report.
///
/// # Errors
/// A socket that cannot be opened, a file that cannot be written.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let (capture, take) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("trunkstream: {error}");
            return Ok(ExitCode::from(2));
        }
    };
    let rate = args.rate.or_else(|| Some(StreamUrl::parse(args.bot.as_deref()?).ok()?.sample_rate()));
    let played = offline::play(&take, rate.unwrap_or(SampleRate::Hz8000));
    if let Some(path) = &args.wav {
        wav::write(path, played.rate, &played.heard)?;
    }
    let mut report = Report::new(&capture, &take, &played, args.wav.as_deref());
    if !args.json {
        report.print_offline();
    }
    if let Some(url) = &args.bot {
        let call = live::call(take, url, !args.json)?;
        if !args.json {
            call.print();
        }
        report.live = Some(call);
    }
    if args.json {
        // Whoever reads it may stop half way.
        let _ = writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Everything that can be wrong before anything is played.
fn prepare(args: &ReplayArgs) -> anyhow::Result<(Capture, Take)> {
    let capture = Capture::open(&args.file)?;
    let take = capture.take(args.capture.choice())?;
    args.wav.as_deref().map(wav::probe).transpose()?;
    Ok((capture, take))
}
