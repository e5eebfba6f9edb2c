//! The floor: what the system calls of a call cost by themselves, beside what the bridge costs, in one run.
//!
//! The system under test runs alone on the first core, callers and bots on the second. First it is `raw`, a loop that
//! makes the system calls and nothing else (`raw.rs`), then it is `trunkstream serve`. Both get the same callers
//! (`callers.rs`: G.711, 20 ms) and the same echo bots (the library's own). Measured over a window of steady calls:
//! CPU time of the process, its resident memory per call, and how far the interval between two RTP packets of a call
//! is from 20 ms, by the kernel's arrival time stamps (`arrival.rs`).
//!
//! `CALLS` (500) and `SECONDS` (20) change the size. The last line is `ratio N.NN`; the exit code is 1 where the ratio
//! is over 1.5, the memory over 64 KiB a call, or the p99 more than 1 ms over the raw loop's.
#![allow(clippy::disallowed_methods)] // a bench has sockets, processes and a clock

mod arrival;
mod callers;
mod process;
mod raw;
mod sip;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use callers::Callers;
use process::{Process, Usage};
use trunkstream::lab::bot::{Bot, BotCounters, BotMode, BotSettings};

/// Calls are set up at this rate.
const CALLS_PER_SECOND: u32 = 50;
/// Between the last answer and the window.
const SETTLE: Duration = Duration::from_secs(3);
/// The gates.
const MOST_RATIO: f64 = 1.5;
const MOST_KIB_PER_CALL: f64 = 64.0;
const MOST_P99_OVER_RAW: f64 = 1.0;
/// Above this p99 of the raw loop, in ms, the machine is too noisy to judge pacing.
const NOISY: f64 = 1.5;

type Failure = Box<dyn std::error::Error>;

/// The size of a run.
#[derive(Clone, Copy)]
struct Size {
    calls: u32,
    window: Duration,
}

/// What one run came to.
struct Figures {
    name: &'static str,
    cpu_us_per_call_second: f64,
    kib_per_call: f64,
    /// |interval - 20 ms| in ms at 50, 99 and 99.9 %.
    interval_error: [f64; 3],
    rtp_per_call_second: f64,
    media_per_call_second: f64,
    bot_faults: u64,
    lost_calls: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["pin", core, program, ref rest @ ..] => process::pin_and_become(core, program, rest),
        ["raw", bot] => raw::run(bot),
        ref other if other.contains(&"--bench") => measure(),
        _ => {
            println!("floor: run it by `cargo bench --bench floor`");
            Ok(true)
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("floor: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Both systems, one after the other, and the verdict.
fn measure() -> Result<bool, Failure> {
    let number = |name: &str, default: u32| match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}={text} is not a whole number")),
        Err(_) => Ok(default),
    };
    let calls = number("CALLS", 500)?.max(1);
    let size = Size { calls, window: Duration::from_secs(number("SECONDS", 20)?.max(1).into()) };
    let [system_core, load_core] = process::two_cores()?;
    if system_core == load_core {
        println!("only one core: callers and bots share it with the system under test");
    }
    process::pin(load_core)?;
    process::raise_descriptor_limit()?;
    println!("{calls} calls, G.711, 20 ms, 100 ms chunks, window {} s, one run", size.window.as_secs());
    print_head();
    let raw = run_raw(size, system_core)?;
    print_line(&raw);
    let bridge = run_bridge(size, system_core)?;
    print_line(&bridge);
    Ok(judge(&raw, &bridge))
}

/// The raw loop under load.
fn run_raw(size: Size, core: usize) -> Result<Figures, Failure> {
    let bots = Bots::start()?;
    let mut system = Process::start_raw(core, bots.bot.address())?;
    std::thread::sleep(Duration::from_secs(1));
    let idle = system.usage()?;
    let mut callers = Callers::new(size.calls)?;
    let ports = system.exchange_ports(&callers.addresses()?)?;
    callers.talk_to(ports.into_iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
    let figures = window("raw system calls", size, &mut callers, &system, idle, &bots)?;
    system.end()?;
    Ok(figures)
}

/// The bridge under load.
fn run_bridge(size: Size, core: usize) -> Result<Figures, Failure> {
    let bots = Bots::start()?;
    let sip = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let system = Process::start_bridge(core, &config(sip, bots.bot.address(), size.calls)?)?;
    let mut callers = Callers::new(size.calls)?;
    let measured = (|| {
        callers.wait_for_bridge(sip, || system.usage().map(drop))?;
        std::thread::sleep(Duration::from_secs(1));
        let idle = system.usage()?;
        callers.call(sip, CALLS_PER_SECOND)?;
        let figures = window("trunkstream", size, &mut callers, &system, idle, &bots)?;
        callers.hang_up()?;
        Ok(figures)
    })();
    let log = system.log().display().to_string();
    system.end()?;
    measured.map_err(|failure: Failure| format!("{failure} (its log is {log})").into())
}

/// Lets the calls settle, then measures over the window.
fn window(
    name: &'static str,
    size: Size,
    callers: &mut Callers,
    system: &Process,
    idle: Usage,
    bots: &Bots,
) -> Result<Figures, Failure> {
    callers.run_until(Instant::now() + SETTLE)?;
    let (before, heard_before) = (system.usage()?, bots.bot.counters());
    callers.start_recording();
    let started = Instant::now();
    callers.run_until(started + size.window)?;
    let (after, heard) = (system.usage()?, bots.bot.counters());
    let mut recorded = callers.stop_recording();
    let calls = f64::from(size.calls);
    let call_seconds = calls * started.elapsed().as_secs_f64();
    Ok(Figures {
        name,
        cpu_us_per_call_second: (after.cpu - before.cpu).as_secs_f64() * 1e6 / call_seconds,
        kib_per_call: (after.resident_kib as f64 - idle.resident_kib as f64) / calls,
        interval_error: recorded.percentiles_ms([0.5, 0.99, 0.999]),
        rtp_per_call_second: recorded.packets as f64 / call_seconds,
        media_per_call_second: (heard.media_messages - heard_before.media_messages) as f64 / call_seconds,
        bot_faults: heard.faults,
        lost_calls: callers.lost(),
    })
}

/// The table's head.
fn print_head() {
    println!(
        "\n{:<18}{:>14}{:>10}{:>28}{:>10}{:>8}",
        "", "CPU us per", "RSS KiB", "RTP interval error, ms", "RTP back", "media"
    );
    println!(
        "{:<18}{:>14}{:>10}{:>10}{:>9}{:>9}{:>10}{:>8}",
        "", "call-second", "per call", "p50", "p99", "p99.9", "per s", "per s"
    );
}

/// One line of it.
fn print_line(figures: &Figures) {
    let Figures { name, cpu_us_per_call_second: cpu, kib_per_call: memory, .. } = figures;
    let (rtp, media) = (figures.rtp_per_call_second, figures.media_per_call_second);
    let [p50, p99, p999] = figures.interval_error;
    println!("{name:<18}{cpu:>14.0}{memory:>10.1}{p50:>10.2}{p99:>9.2}{p999:>9.2}{rtp:>10.2}{media:>8.2}");
}

/// Whether every gate holds; says which do not.
fn judge(raw: &Figures, bridge: &Figures) -> bool {
    let ratio = bridge.cpu_us_per_call_second / raw.cpu_us_per_call_second;
    let (raw_p99, p99) = (raw.interval_error[1], bridge.interval_error[1]);
    let noisy = raw_p99 > NOISY;
    let mut failures = Vec::new();
    let mut gate = |holds: bool, text: String| {
        if !holds {
            failures.push(text)
        }
    };
    for figures in [raw, bridge] {
        let whole = (49.0..=51.0).contains(&figures.rtp_per_call_second) && figures.media_per_call_second >= 9.5;
        gate(whole, format!("{}: the load was not carried whole", figures.name));
        gate(figures.lost_calls == 0, format!("{}: {} calls lost", figures.name, figures.lost_calls));
        gate(figures.bot_faults == 0, format!("{}: the bots saw {} faults", figures.name, figures.bot_faults));
    }
    gate(ratio <= MOST_RATIO, format!("ratio {ratio:.2} is over {MOST_RATIO}"));
    gate(
        bridge.kib_per_call <= MOST_KIB_PER_CALL,
        format!("{:.1} KiB per call is over {MOST_KIB_PER_CALL}", bridge.kib_per_call),
    );
    gate(
        noisy || p99 <= raw_p99 + MOST_P99_OVER_RAW,
        format!("p99 {p99:.2} ms is more than 1 ms over the raw loop's {raw_p99:.2}"),
    );
    println!();
    if noisy {
        println!("noisy machine: the raw loop's own p99 is {raw_p99:.2} ms, so the pacing is not judged");
    }
    failures.iter().for_each(|failure| println!("FAILED: {failure}"));
    println!("ratio {ratio:.2}");
    failures.is_empty()
}

/// The echo bots, on a runtime of their own.
struct Bots {
    bot: Bot,
    _runtime: tokio::runtime::Runtime,
}

impl Bots {
    fn start() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let bot = runtime.block_on(Bot::start(BotSettings::new(BotMode::Echo)))?;
        debug_assert_eq!(bot.counters(), BotCounters::default());
        Ok(Self { bot, _runtime: runtime })
    }
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The configuration the bridge is measured with.
fn config(sip: SocketAddr, bot: SocketAddr, calls: u32) -> Result<String, Failure> {
    let admin = free_port()?;
    Ok(format!(
        r#"[sip]
listen = ["udp:{sip}"]
[media]
listen_address = "127.0.0.1"
rtp_ports = "20000-29999"
[admin]
listen = "127.0.0.1:{admin}"
[[account]]
sid = "acc1"
max_streams = {}
[[trunk]]
name = "lab"
account = "acc1"
allow = ["127.0.0.0/8"]
[[number]]
number = "1000"
account = "acc1"
flow = "bot"
[[flow]]
id = "bot"
start = "talk"
[flow.step.talk]
applet = "voicebot"
url = "ws://{bot}/media?sample-rate=8000"
"#,
        calls + 10
    ))
}
