//! `trunkstream demo`: caller, bridge and bot in one process, one call between them over real sockets, and its story.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::call::row;
use super::loopback::{self, ACCOUNT, LOCALHOST, NUMBERS, Setup};
use crate::base::pcm::SampleRate;
use crate::base::random::Random;
use crate::base::rtp_format::PCMU;
use crate::config::LogFormat;
use crate::lab::bot::{Bot, BotCounters, BotEvent, BotMode, BotSettings};
use crate::lab::pbx::align::{Comparison, compare};
use crate::lab::pbx::statistics::ms;
use crate::lab::pbx::{
    CallPlan, CallReport, Callee, Impairment, Ladder, Line, LineSettings, LineSink, MediaSummary, Sound, place,
};
use crate::lab::speech::Speech;
use crate::lab::wav;
use crate::media::codec;

/// What the INVITE carries for the bot.
const HEADERS: [(&str, &str); 3] = [ACCOUNT, ("X-UUI", "customer=42;lang=en"), ("X-Custom-Header", "premium-support")];
/// What the caller presses.
const DIGITS: &str = "159#";
/// How long it speaks, ms.
const SPEECH_MS: u32 = 4_000;
/// How long after the answer it begins.
const BEFORE_SPEECH: Duration = Duration::from_millis(300);
/// Then it waits, and presses the digits.
const BEFORE_DIGITS: Duration = Duration::from_millis(300);
/// The digits take 800 ms; then the last of them has time to reach the bot.
const AFTER_DIGITS: Duration = Duration::from_millis(1_500);
/// The whole call at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the bridge may take to notice that the call has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// A caller that was this late has had too little of the machine to judge others.
const STALLED: Duration = Duration::from_millis(15);

/// Make one call on this machine and tell its story
///
/// Starts a bot that echoes, a bridge and a caller in this process, on free loopback ports and over real sockets. The
/// caller says four seconds of synthetic speech and presses 1 5 9 #; what comes back must be what it said, sample by
/// sample. Takes about seven seconds and needs no configuration.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 all is well · 1 something is not, and the last lines say what · 2 wrong arguments"
)]
pub struct DemoArgs {
    /// Write what the caller heard
    #[arg(long, value_name = "WAV", default_value = "trunkstream-demo.wav")]
    out: PathBuf,
    /// Show the bridge's log as well
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the demo.
///
/// # Errors
/// A socket that cannot be opened, a file that cannot be written.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    if let Err(error) = wav::probe(&args.out) {
        eprintln!("trunkstream: {error}");
        return Ok(ExitCode::from(2));
    }
    if args.verbose {
        super::logging::start(LogFormat::Text, "info");
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("no runtime")?;
    let sound = Sound {
        samples: Speech::new(SampleRate::Hz8000, 1).take(SampleRate::Hz8000.samples(SPEECH_MS)).into(),
        after: BEFORE_SPEECH,
        again: false,
    };
    let story = runtime.block_on(play(&sound))?;
    let all_is_well = story.tell(&sound, &args.out)?;
    Ok(if all_is_well { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// What the bot was told, other than media.
type Messages = Arc<Mutex<Vec<(String, Value)>>>;

/// What happened.
struct Story {
    call: CallReport,
    messages: Vec<(String, Value)>,
    counters: BotCounters,
}

/// Starts everything, makes the call, stops everything.
async fn play(sound: &Sound) -> anyhow::Result<Story> {
    let messages = Messages::default();
    let bot = start_bot(messages.clone()).await?;
    let url = bot.url("/media?sample-rate=8000&flow=demo");
    let (bridge, callee) = loopback::start(&Setup { command: "demo", url: &url, ..Setup::default() }).await?;
    println!("One call on this machine, over real sockets: a caller, the bridge, and a bot that echoes.\n");
    row("caller", "speaks for 4 s, presses 1 5 9 #, hangs up");
    row("bridge", &callee.uri);
    row("bot", &url);
    println!("\nThe call (seconds since the INVITE)\n");
    let plan = plan(callee, sound.clone());
    // The caller has a thread of its own: it measures, and shares no runtime with what it measures.
    let caller = tokio::task::spawn_blocking(move || caller(&plan));
    let call = caller.await.context("the caller ended early")??;
    bridge.drain(tokio::time::sleep(LAST_WORDS)).await;
    let counters = bot.counters();
    bot.stop().await;
    let messages = std::mem::take(&mut *messages.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Story { call, messages, counters })
}

async fn start_bot(messages: Messages) -> anyhow::Result<Bot> {
    let observer = move |event: &BotEvent<'_>| {
        if let BotEvent::Message { event, message, .. } = event {
            messages.lock().unwrap_or_else(PoisonError::into_inner).push(((*event).to_owned(), (*message).clone()));
        }
    };
    let settings = BotSettings { observer: Some(Arc::new(observer)), ..BotSettings::new(BotMode::Echo) };
    Bot::start(settings).await.context("the bot does not start")
}

fn plan(callee: Callee, sound: Sound) -> CallPlan {
    CallPlan {
        callee,
        from: NUMBERS.0.to_owned(),
        headers: HEADERS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        digits: DIGITS.to_owned(),
        digits_at: sound.end() + BEFORE_DIGITS,
        duration: sound.end() + BEFORE_DIGITS + AFTER_DIGITS,
        sound,
        capture: None,
        patience: PATIENCE,
        formats: vec![PCMU],
        srtp: false,
        impairment: Impairment::default(),
        record: true,
    }
}

fn caller(plan: &CallPlan) -> io::Result<CallReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let print: LineSink = Arc::new(|line: &str| println!("{line}"));
        let seed = u64::from(std::process::id());
        let line = Line::open(&LineSettings::udp(LOCALHOST, Some(print), seed))?;
        println!("{}", Ladder::head(("caller", line.address()), ("bridge", plan.callee.address)));
        let report = place(&line, plan, Random::from_number(seed)).await;
        line.close().await;
        Ok(report)
    })
}

impl Story {
    /// Prints what happened; whether all is well.
    fn tell(&self, sound: &Sound, out: &Path) -> anyhow::Result<bool> {
        let start = self.messages.iter().find(|(event, _)| event == "start").map(|(_, message)| message);
        println!("\nWhat the bot was told first: the start event\n");
        match start {
            Some(start) => println!("{}", indented(&serde_json::to_string_pretty(start)?)),
            None => println!("  nothing: no stream was started"),
        }
        println!("\nWhat the bot heard\n");
        let digits = self.digits();
        row("digits", if digits.is_empty() { "none" } else { &digits });
        let BotCounters { media_messages, media_bytes, faults, .. } = self.counters;
        let heard_ms = SampleRate::Hz8000.ms(media_bytes / 2);
        row("media", &format!("{media_messages} messages, {:.1} s of sound", heard_ms as f64 / 1000.0));
        row(
            "order",
            &if faults == 0 {
                "every message in its place".to_owned()
            } else {
                format!("{faults} faults in order or form")
            },
        );
        println!("\nWhat the caller heard\n");
        let mut faults = self.faults(start, &digits);
        match &self.call.media {
            Some(media) => faults.extend(listen(media, sound, out)),
            None => row("sound", "none: the call was not answered"),
        }
        println!();
        if faults.is_empty() {
            println!("All is well: the call, its headers, its digits and its sound went through unchanged.");
        }
        for fault in &faults {
            println!("NOT WELL: {fault}");
        }
        Ok(faults.is_empty())
    }

    /// The digits that the bot saw, in order.
    fn digits(&self) -> String {
        let digits = self.messages.iter().filter(|(event, _)| event == "dtmf");
        let digits = digits.filter_map(|(_, message)| message.pointer("/dtmf/digit").and_then(Value::as_str));
        digits.collect::<Vec<_>>().join(" ")
    }

    /// What is not as it should be, sound aside.
    fn faults(&self, start: Option<&Value>, digits: &str) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.call.outcome.is_normal() {
            faults.push(format!("the call: {}", self.call.outcome));
        }
        let parameters = start.and_then(|start| start.pointer("/start/custom_parameters")).and_then(Value::as_object);
        for (name, value) in &HEADERS[1..] {
            let arrived = parameters.is_some_and(|all| all.values().any(|found| found.as_str() == Some(*value)));
            if !arrived {
                faults.push(format!("the bot was not told {name}: {value}"));
            }
        }
        if digits.replace(' ', "") != DIGITS {
            faults.push(format!("the caller pressed {DIGITS}, the bot saw {digits:?}"));
        }
        if self.counters.faults > 0 {
            faults.push(format!("{} messages to the bot were out of order or form", self.counters.faults));
        }
        faults
    }
}

/// Compares what came back with what was said, writes it down, and tells; what is wrong with it.
fn listen(media: &MediaSummary, sound: &Sound, out: &Path) -> Vec<String> {
    let (heard, mut faults) = (&media.heard, Vec::new());
    for (name, value) in media.lines().into_iter().filter(|(name, _)| *name != "first packet") {
        row(name, &value);
    }
    if heard.lost() > 0 || heard.ssrcs().len() != 1 {
        faults.push(format!(
            "{} packets were lost on their way back, from {} senders",
            heard.lost(),
            heard.ssrcs().len()
        ));
    }
    let found = compare(&as_g711(&sound.samples), heard.samples());
    let delay = found.as_ref().and_then(|found| Some(heard.heard_at(found.offset)? - (media.started + sound.after)));
    if let Some(delay) = delay {
        row(
            "delay",
            &format!(
                "{:.0} ms from the caller over bridge and bot back to the caller, 100 ms of it chunking",
                ms(delay)
            ),
        );
    }
    match wav::write(out, SampleRate::Hz8000, heard.samples()) {
        Ok(()) => row("recording", &format!("{}, {:.1} s", out.display(), heard.samples().len() as f64 / 8000.0)),
        Err(error) => faults.push(format!("the recording: {error}")),
    }
    match &found {
        Some(found) if found.is_intact() => {
            let total = found.total;
            row("sound", &format!("intact: all {total} samples of the speech came back exactly as they were said"));
        }
        Some(found) => {
            row(
                "sound",
                &format!("NOT intact: {} of {} samples differ or are missing", found.total - found.exact, found.total),
            );
            describe(found);
            faults.push(format!("the sound is not intact{}", blame(media)));
        }
        None => {
            row("sound", "the speech is not in what was heard");
            faults.push(format!("the sound did not come back{}", blame(media)));
        }
    }
    faults
}

/// Where the sound deviates.
fn describe(found: &Comparison) {
    if found.gain_db.abs() > 0.1 {
        row("", &format!("the speech is {:+.1} dB louder than it was said", found.gain_db));
    }
    for deviation in &found.deviations {
        row("", &format!("{} of the speech", deviation.describe(SampleRate::Hz8000)));
    }
}

/// A machine that stood still is named: the bridge cannot send what it was not given.
fn blame(media: &MediaSummary) -> String {
    let most = media.lateness.max;
    if most < STALLED {
        return String::new();
    }
    format!("; this machine is busy: the caller itself was up to {:.0} ms late", ms(most))
}

/// What is left of `samples` after G.711.
fn as_g711(samples: &[i16]) -> Vec<i16> {
    let Some(codec) = codec::of_format(&PCMU) else { return samples.to_vec() };
    let (mut codes, mut decoded) = (Vec::new(), Vec::new());
    codec.encoder().encode(samples, &mut codes);
    codec.decoder().decode(&codes, &mut decoded);
    decoded
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_after_g711_is_what_it_was_to_the_ear_and_no_longer_changes() {
        let speech = Speech::new(SampleRate::Hz8000, 1).take(8_000);
        let once = as_g711(&speech);
        assert_eq!(as_g711(&once), once);
        assert!(compare(&once, &speech).is_some_and(|found| found.correlation > 0.99));
    }
}
