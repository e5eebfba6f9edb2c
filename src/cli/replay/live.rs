//! A captured stream in a real call: a caller that sends it, a bridge in this process, a bot anywhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::report::{plain, print_media};
use crate::base::random::Random;
use crate::cli::call::row;
use crate::cli::loopback::{self, ACCOUNT, LOCALHOST, NUMBERS, Setup};
use crate::lab::capture::Take;
use crate::lab::pbx::{CallPlan, CallReport, Callee, Impairment, Ladder, Line, LineSettings, LineSink, Sound, place};

/// The bot may take this long to be reached.
const PATIENCE: Duration = Duration::from_secs(20);
/// The caller stays on for this long after the last packet, to hear what the bot has to say.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// How long the bridge may take to notice that the call has ended.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What came of the call.
#[derive(Debug, Serialize)]
pub(super) struct LiveCall {
    /// How it ended, in words.
    outcome: String,
    /// Answered, and ended without a fault.
    normal: bool,
    /// From INVITE to 200.
    setup_ms: Option<f64>,
    /// What the bridge received and mended, as in the offline report.
    media: Value,
    /// The stream between bridge and bot: how it ended, and its figures.
    bot: Value,
    /// What the caller heard of the bot.
    caller: Option<CallerHeard>,
    #[serde(skip)]
    report: CallReport,
}

#[derive(Debug, Serialize)]
struct CallerHeard {
    packets: u64,
    lost: u64,
    /// From the answer to the bot's first sound.
    first_sound_ms: Option<f64>,
}

/// Calls the bot at `url`; the SIP ladder is printed where `aloud`.
pub(super) fn call(take: Take, url: &str, aloud: bool) -> anyhow::Result<LiveCall> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("no runtime")?;
    let records = Records::new();
    let report = runtime.block_on(async {
        let codec = Some(take.format.encoding_name);
        let (bridge, callee) =
            loopback::start(&Setup { command: "replay", url, codec, records: Some(&records.0) }).await?;
        let plan = plan(callee, take);
        // The caller has a thread of its own: it measures, and shares no runtime with what it measures.
        let report =
            tokio::task::spawn_blocking(move || caller(&plan, aloud)).await.context("the caller ended early")?;
        bridge.drain(tokio::time::sleep(LAST_WORDS)).await;
        anyhow::Ok(report?)
    })?;
    let record = records.read();
    let part = |pointer: &str| record.pointer(pointer).cloned().unwrap_or(Value::Null);
    let caller = report.media.as_ref().map(|media| CallerHeard {
        packets: media.heard.received(),
        lost: media.heard.lost(),
        first_sound_ms: media.heard.first_sound().map(|at| (at - media.answered).as_secs_f64() * 1e3),
    });
    Ok(LiveCall {
        outcome: report.outcome.to_string(),
        normal: report.outcome.is_normal(),
        setup_ms: report.setup.map(|setup| setup.as_secs_f64() * 1e3),
        media: part("/media"),
        bot: part("/streams/0"),
        caller,
        report,
    })
}

fn plan(callee: Callee, take: Take) -> CallPlan {
    CallPlan {
        callee,
        from: NUMBERS.0.to_owned(),
        headers: vec![(ACCOUNT.0.to_owned(), ACCOUNT.1.to_owned())],
        sound: Sound::silence(),
        duration: take.length() + AFTERWARDS,
        formats: vec![take.format],
        capture: Some(Arc::new(take)),
        digits: String::new(),
        digits_at: Duration::ZERO,
        patience: PATIENCE,
        srtp: false,
        impairment: Impairment::default(),
        record: false,
    }
}

fn caller(plan: &CallPlan, aloud: bool) -> io::Result<CallReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let print: LineSink = Arc::new(|line: &str| println!("{line}"));
        let seed = u64::from(std::process::id());
        let line = Line::open(&LineSettings::udp(LOCALHOST, aloud.then_some(print), seed))?;
        if aloud {
            println!("\n{}", Ladder::head(("caller", line.address()), ("bridge", plan.callee.address)));
        }
        let report = place(&line, plan, Random::from_number(seed)).await;
        line.close().await;
        Ok(report)
    })
}

impl LiveCall {
    /// Whether the call went as a call should.
    pub(super) fn is_good(&self) -> bool {
        self.normal
    }

    pub(super) fn print(&self) {
        println!("\nThe call\n");
        row("call", &self.outcome);
        if let Some(hint) = self.report.outcome.hint() {
            row("", &format!("-> {hint}"));
        }
        println!("\nWhat the bridge received\n");
        print_media(&self.media);
        println!("\nThe bot\n");
        let text = |name: &str| self.bot.get(name).and_then(Value::as_str).unwrap_or("-");
        row("stream", &format!("{}, ended by {}", text("Status"), text("DisconnectedBy")));
        for (name, value) in self.bot.get("figures").and_then(Value::as_object).into_iter().flatten() {
            if !value.is_object() || value.as_object().is_some_and(|counts| !counts.is_empty()) {
                row(&name.replace('_', " "), &plain(value));
            }
        }
        println!("\nWhat the caller heard\n");
        for (name, value) in self.report.media.iter().flat_map(|media| media.lines()) {
            row(name, &value);
        }
    }
}

/// A file for the call record, gone with this value.
struct Records(PathBuf);

impl Records {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("trunkstream-replay-{}.jsonl", std::process::id())))
    }

    /// The last record; nothing where there is none.
    fn read(&self) -> Value {
        let text = std::fs::read_to_string(&self.0).unwrap_or_default();
        text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null)
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        let _ = std::fs::remove_file(path);
    }
}
