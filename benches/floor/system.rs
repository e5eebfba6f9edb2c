//! The systems that are measured, each with its callers and bots, and the window in which that is done.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use trunkstream::lab::bot::{Bot, BotMode, BotSettings};

use crate::Failure;
use crate::callers::Callers;
use crate::figures::Figures;
use crate::process::{self, Process, Usage};
use crate::sound::percentiles_ms;
use crate::tls::Certificates;

/// Calls are set up at this rate.
const CALLS_PER_SECOND: u32 = 50;
/// Between the last answer and the window.
const SETTLE: Duration = Duration::from_secs(3);

/// Who is measured.
#[derive(Clone, Copy, PartialEq)]
pub enum System {
    /// The system calls and nothing else.
    Raw,
    /// A bridge as usually written.
    Yardstick,
    /// The bridge.
    Bridge(Setting),
}

/// How the bridge is set.
#[derive(Clone, Copy, PartialEq)]
pub struct Setting {
    /// The stream's rate, Hz.
    pub rate: u32,
    /// wss instead of ws.
    pub tls: bool,
    /// `media_chunk_ms`.
    pub chunk_ms: u32,
    /// `media.threads`; 0 is one per core.
    pub threads: usize,
    /// `media.realtime_priority`; 0 is none.
    pub realtime: u8,
}

impl Default for Setting {
    fn default() -> Self {
        Self { rate: 8000, tls: false, chunk_ms: 100, threads: 0, realtime: 0 }
    }
}

/// What is run: a system under a number of calls.
#[derive(Clone, Copy, PartialEq)]
pub struct Load {
    pub system: System,
    pub calls: u32,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setting { rate, tls, chunk_ms, threads, realtime } = match self.system {
            System::Raw => return f.write_str("raw system calls"),
            System::Yardstick => return f.write_str("plain tokio"),
            System::Bridge(setting) => setting,
        };
        let usual = Setting::default();
        f.write_str("trunkstream")?;
        let mut more = Vec::new();
        more.extend((rate != usual.rate).then(|| format!("{} kHz", rate / 1000)));
        more.extend(tls.then(|| "wss".to_owned()));
        more.extend((chunk_ms != usual.chunk_ms).then(|| format!("{chunk_ms} ms")));
        more.extend((threads != usual.threads).then(|| format!("{threads} shards")));
        more.extend((realtime != usual.realtime).then(|| "FIFO".to_owned()));
        if more.is_empty() { Ok(()) } else { write!(f, " {}", more.join(" ")) }
    }
}

/// Who runs where.
#[derive(Clone)]
pub struct Cores {
    pub system: Vec<usize>,
    pub load: Vec<usize>,
}

impl Cores {
    /// The system alone on the first core, callers and bots on the second; all on one where there is only one.
    pub fn apart(cores: &[usize]) -> Self {
        let load = cores.get(1).unwrap_or(&cores[0]);
        Self { system: vec![cores[0]], load: vec![*load] }
    }

    /// The system on two cores, callers and bots on the others, or on the same two where there are no others.
    pub fn two(cores: &[usize]) -> Self {
        let (system, others) = cores.split_at(cores.len().min(2));
        let load = if others.is_empty() { system } else { others };
        Self { system: system.to_vec(), load: load.to_vec() }
    }

    /// Whether load and system share cores.
    pub fn shared(&self) -> bool {
        self.load.iter().any(|core| self.system.contains(core))
    }
}

/// A system with its calls up.
pub struct Running {
    load: Load,
    cores: usize,
    idle: Usage,
    pub system: Process,
    pub callers: Callers,
    bots: Bots,
}

impl Running {
    /// Starts it, sets the calls up, and lets them settle.
    pub fn start(load: Load, cores: &Cores) -> Result<Self, Failure> {
        process::pin(&cores.load)?;
        match load.system {
            System::Raw => Self::start_own("raw", load, cores),
            System::Yardstick => Self::start_own("yardstick", load, cores),
            System::Bridge(setting) => Self::start_bridge(setting, load, cores),
        }
    }

    fn start_own(role: &str, load: Load, cores: &Cores) -> Result<Self, Failure> {
        let bots = Bots::start(None)?;
        let mut system = Process::start_own(&cores.system, role, &[&bots.bot.address().to_string()])?;
        std::thread::sleep(Duration::from_secs(1));
        let idle = system.usage()?;
        let mut callers = Callers::new(load.calls)?;
        let ports = system.exchange_ports(&callers.addresses()?)?;
        callers.talk_to(ports.into_iter().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        callers.run_until(Instant::now() + SETTLE)?;
        Ok(Self { load, cores: cores.system.len(), idle, system, callers, bots })
    }

    fn start_bridge(setting: Setting, load: Load, cores: &Cores) -> Result<Self, Failure> {
        let certificates = setting.tls.then(Certificates::new).transpose()?;
        let bots = Bots::start(certificates.as_ref())?;
        // Before the bridge's ports are chosen, which the callers could otherwise take.
        let mut callers = Callers::new(load.calls)?;
        let sip = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = config(setting, sip, &bots.bot, certificates.as_ref(), load.calls)?;
        let system = Process::start_bridge(&cores.system, &config)?;
        let idle = (|| {
            callers.wait_for_bridge(sip, || system.usage().map(drop))?;
            std::thread::sleep(Duration::from_secs(1));
            let idle = system.usage()?;
            callers.call(sip, CALLS_PER_SECOND)?;
            callers.run_until(Instant::now() + SETTLE)?;
            Ok(idle)
        })();
        let log = system.log().display().to_string();
        let idle = idle.map_err(|failure: Failure| format!("{failure} (its log is {log})"))?;
        Ok(Self { load, cores: cores.system.len(), idle, system, callers, bots })
    }

    /// Measures for a while.
    pub fn measure(&mut self, window: Duration) -> Result<Figures, Failure> {
        let (before, heard_before) = (self.system.usage()?, self.bots.bot.counters());
        self.callers.start_recording();
        let started = Instant::now();
        self.callers.run_until(started + window)?;
        let (after, heard) = (self.system.usage()?, self.bots.bot.counters());
        let mut recorded = self.callers.stop_recording();
        let seconds = started.elapsed().as_secs_f64();
        let calls = f64::from(self.load.calls);
        let call_seconds = calls * seconds;
        let busiest = after.media.iter().zip(&before.media).map(|(after, before)| after.saturating_sub(*before)).max();
        let cost = |cpu: Duration| cpu.as_secs_f64() * 1e6 / call_seconds;
        Ok(Figures {
            name: self.load.to_string(),
            calls: self.load.calls,
            cpu_us_per_call_second: cost(after.cpu.saturating_sub(before.cpu)),
            busiest_us_per_call_second: busiest.map_or(f64::NAN, cost),
            kib_per_call: (after.resident_kib as f64 - self.idle.resident_kib as f64) / calls,
            interval_error: recorded.error_ms([0.5, 0.99, 0.999]),
            rtp_per_call_second: recorded.packets as f64 / (self.callers.noted() as f64 * seconds),
            share: recorded.share(),
            media_per_call_second: (heard.media_messages - heard_before.media_messages) as f64 / call_seconds,
            switches_per_core_second: after.switches.saturating_sub(before.switches) as f64
                / seconds
                / self.cores as f64,
            setup_ms: percentiles_ms(&mut self.callers.setups().to_vec(), [0.5, 0.99]),
            echo_ms: recorded.echo_ms([0.5, 0.95]),
            bot_faults: heard.faults,
            lost_calls: self.callers.lost(),
            is_realtime: after.is_realtime,
        })
    }

    /// Hangs up and ends it.
    pub fn end(mut self) -> Result<(), Failure> {
        if matches!(self.load.system, System::Bridge(_)) {
            let log = self.system.log().display().to_string();
            self.callers.hang_up().map_err(|failure| format!("{failure} (its log is {log})"))?;
        }
        self.system.end()
    }
}

/// The echo bots, on a runtime of their own.
struct Bots {
    bot: Bot,
    _runtime: tokio::runtime::Runtime,
}

impl Bots {
    fn start(certificates: Option<&Certificates>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let tls = certificates.map(|certificates| certificates.bot.clone());
        let bot = runtime.block_on(Bot::start(BotSettings { tls, ..BotSettings::new(BotMode::Echo) }))?;
        Ok(Self { bot, _runtime: runtime })
    }
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The configuration the bridge is measured with.
fn config(
    setting: Setting,
    sip: SocketAddr,
    bot: &Bot,
    certificates: Option<&Certificates>,
    calls: u32,
) -> Result<String, Failure> {
    let Setting { rate, chunk_ms, threads, realtime, .. } = setting;
    let admin = free_port()?;
    let url = bot.url(&format!("/media?sample-rate={rate}"));
    let authority = certificates.map(|certificates| format!("ca_file = {:?}\n", certificates.authority));
    let realtime = if realtime > 0 { format!("realtime_priority = {realtime}\n") } else { String::new() };
    Ok(format!(
        r#"[sip]
listen = ["udp:{sip}"]
[media]
listen_address = "127.0.0.1"
rtp_ports = "20000-29999"
threads = {threads}
{realtime}[admin]
listen = "127.0.0.1:{admin}"
[[account]]
sid = "acc1"
max_streams = {streams}
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
url = "{url}"
media_chunk_ms = {chunk_ms}
{authority}"#,
        streams = calls + 10,
        authority = authority.unwrap_or_default()
    ))
}
