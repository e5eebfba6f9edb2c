//! The process under test: pinned, measured from outside, stopped and continued, ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Failure;

/// `SCHED_FIFO` in field 41 of `/proc/PID/stat` (proc(5)).
const SCHED_FIFO: u64 = 1;

/// What `/proc` says of a process.
#[derive(Clone, Default)]
pub struct Usage {
    /// User and system time of the threads that are alive.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_kib: u64,
    /// Voluntary context switches of the threads that are alive.
    pub switches: u64,
    /// User and system time of each media thread, in their order.
    pub media: Vec<Duration>,
    /// Whether every media thread runs under `SCHED_FIFO`.
    pub is_realtime: bool,
}

/// A running system under test.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// This very program on `cores` in one of its other roles: `raw`, `yardstick` or `spin`.
    pub fn start_own(cores: &[usize], role: &str, arguments: &[&str]) -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        let own = own.to_str().ok_or("odd path")?;
        let command: Vec<&str> = [own, role].into_iter().chain(arguments.iter().copied()).collect();
        Self::start(cores, &command, role)
    }

    /// The bridge on `cores` with this configuration.
    pub fn start_bridge(cores: &[usize], config: &str) -> Result<Self, Failure> {
        let file = scratch("floor.toml")?;
        std::fs::write(&file, config)?;
        let file = file.to_str().ok_or("odd path")?;
        Self::start(cores, &[env!("CARGO_BIN_EXE_trunkstream"), "serve", "--config", file], "bridge")
    }

    /// Its log is `NAME.log`; the bridge's output goes there too, that of the others is read.
    fn start(cores: &[usize], command: &[&str], name: &str) -> Result<Self, Failure> {
        let log = scratch(&format!("{name}.log"))?;
        let errors = File::create(&log)?;
        let output = if name == "bridge" { errors.try_clone()?.into() } else { Stdio::piped() };
        let cores = cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        let child = Command::new(std::env::current_exe()?)
            .args(["pin", &cores])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()?;
        Ok(Self { child, log })
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Tells the system where the callers are; where it is itself, in the same order.
    pub fn exchange_ports(&mut self, callers: &[SocketAddr]) -> Result<Vec<u16>, Failure> {
        let input = self.child.stdin.as_mut().ok_or("the system has no input")?;
        for caller in callers {
            writeln!(input, "{caller}")?;
        }
        writeln!(input)?;
        input.flush()?;
        let output = self.child.stdout.take().ok_or("the system has no output")?;
        let lines = BufReader::new(output).lines().take(callers.len());
        let ports = lines.map(|line| Ok(line?.parse()?)).collect::<Result<Vec<u16>, Failure>>()?;
        if ports.len() < callers.len() {
            return Err(format!("the system ended early; see {}", self.log.display()).into());
        }
        Ok(ports)
    }

    /// What it has used up to now.
    pub fn usage(&self) -> Result<Usage, Failure> {
        let folder = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = std::fs::read_to_string(folder.join("status"))?;
        let resident_kib = number(&status, "VmRSS:").ok_or("the system under test has ended")?;
        let mut usage = Usage { resident_kib, is_realtime: true, ..Usage::default() };
        let mut media = Vec::new();
        for task in std::fs::read_dir(folder.join("task"))?.flatten() {
            // A thread may end between the two looks.
            let Ok(status) = std::fs::read_to_string(task.path().join("status")) else { continue };
            usage.switches += number(&status, "voluntary_ctxt_switches:").unwrap_or_default();
            let Ok(stat) = Stat::read(&task.path()) else { continue };
            usage.cpu += stat.cpu;
            if stat.name.starts_with("media-") {
                usage.is_realtime &= stat.policy == SCHED_FIFO;
                media.push((stat.name, stat.cpu));
            }
        }
        media.sort();
        usage.is_realtime &= !media.is_empty();
        usage.media = media.into_iter().map(|(_, cpu)| cpu).collect();
        Ok(usage)
    }

    /// Stops the process, or lets it go on.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_raw(self.child.id().try_into()?).ok_or("no process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGTERM; after 10 s SIGKILL.
    pub fn end(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        let _ = self.signal(Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.child.try_wait()?.is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a thread's `stat` says, as far as it matters here (proc(5)).
struct Stat {
    name: String,
    cpu: Duration,
    policy: u64,
}

impl Stat {
    fn read(folder: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(folder.join("stat"))?;
        // The second field, the name, may hold spaces; the third is the first after it.
        let (before, after) = text.rsplit_once(')').ok_or("an odd stat file")?;
        let name = before.split_once('(').map_or("", |(_, name)| name).to_owned();
        let fields: Vec<&str> = after.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        // Nanoseconds where the kernel counts them, else user and system time in its ticks.
        let exact = std::fs::read_to_string(folder.join("schedstat")).ok();
        let exact = exact.and_then(|text| text.split_whitespace().next()?.parse().ok()).map(Duration::from_nanos);
        let ticks = (field(14) + field(15)) as f64 / rustix::param::clock_ticks_per_second() as f64;
        Ok(Self { name, cpu: exact.unwrap_or_else(|| Duration::from_secs_f64(ticks)), policy: field(41) })
    }
}

/// The number behind a key of a `status` file.
fn number(status: &str, key: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

/// Pins this process to `cores`, then becomes `program`: its threads inherit the cores and the descriptor limit.
pub fn pin_and_become(cores: &str, program: &str, arguments: &[&str]) -> Result<bool, Failure> {
    let cores = cores.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>()?;
    pin(&cores)?;
    raise_descriptor_limit()?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// Pins this thread, and those it will start, to `cores`.
pub fn pin(cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

/// The cores this process may use.
pub fn cores() -> Result<Vec<usize>, Failure> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    if cores.is_empty() { Err("no core to run on".into()) } else { Ok(cores) }
}

/// Four descriptors a call on each side: as many as the system lets us have.
pub fn raise_descriptor_limit() -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

/// Where this bench writes.
pub fn scratch(name: &str) -> Result<PathBuf, Failure> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("floor");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}
