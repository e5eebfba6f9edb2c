//! The process under test: pinned, measured from outside, ended.

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

/// What `/proc` says of a process.
#[derive(Clone, Copy)]
pub struct Usage {
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_kib: u64,
}

/// A running system under test.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// The raw loop on `core`, with its bots at `bot`.
    pub fn start_raw(core: usize, bot: SocketAddr) -> Result<Self, Failure> {
        let own = std::env::current_exe()?;
        Self::start(core, &[own.as_os_str().to_str().ok_or("odd path")?, "raw", &bot.to_string()], "raw.log")
    }

    /// The bridge on `core` with this configuration.
    pub fn start_bridge(core: usize, config: &str) -> Result<Self, Failure> {
        let file = scratch("floor.toml")?;
        std::fs::write(&file, config)?;
        let file = file.to_str().ok_or("odd path")?;
        Self::start(core, &[env!("CARGO_BIN_EXE_trunkstream"), "serve", "--config", file], "bridge.log")
    }

    fn start(core: usize, command: &[&str], log: &str) -> Result<Self, Failure> {
        let log = scratch(log)?;
        let output = File::create(&log)?;
        let raw = command.contains(&"raw");
        let child = Command::new(std::env::current_exe()?)
            .args(["pin", &core.to_string()])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(if raw { Stdio::piped() } else { output.try_clone()?.into() })
            .stderr(output)
            .spawn()?;
        Ok(Self { child, log })
    }

    /// Where its output goes.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Tells the raw loop where the callers are; where it is itself, in the same order.
    pub fn exchange_ports(&mut self, callers: &[SocketAddr]) -> Result<Vec<u16>, Failure> {
        let input = self.child.stdin.as_mut().ok_or("the raw loop has no input")?;
        for caller in callers {
            writeln!(input, "{caller}")?;
        }
        writeln!(input)?;
        input.flush()?;
        let output = self.child.stdout.take().ok_or("the raw loop has no output")?;
        let lines = BufReader::new(output).lines().take(callers.len());
        let ports = lines.map(|line| Ok(line?.parse()?)).collect::<Result<Vec<u16>, Failure>>()?;
        if ports.len() < callers.len() {
            return Err(format!("the raw loop ended early; see {}", self.log.display()).into());
        }
        Ok(ports)
    }

    /// What it has used up to now.
    pub fn usage(&self) -> Result<Usage, Failure> {
        let pid = self.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The second field, the name, may hold spaces; utime and stime are fields 14 and 15 (proc(5)).
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = [11, 12].iter().filter_map(|&i| fields.get(i)?.parse::<u64>().ok()).sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident_kib = resident.and_then(|text| text.split_whitespace().next()?.parse().ok());
        Ok(Usage {
            cpu: Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64),
            resident_kib: resident_kib.ok_or("the system under test has ended")?,
        })
    }

    /// SIGTERM; after 10 s SIGKILL.
    pub fn end(mut self) -> Result<(), Failure> {
        drop(self.child.stdin.take());
        if let Some(pid) = Pid::from_raw(self.child.id().try_into()?) {
            let _ = kill_process(pid, Signal::TERM);
        }
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

/// Pins this process to `core`, then becomes `program`: its threads inherit the core and the descriptor limit.
pub fn pin_and_become(core: &str, program: &str, arguments: &[&str]) -> Result<bool, Failure> {
    pin(core.parse()?)?;
    raise_descriptor_limit()?;
    Err(Command::new(program).args(arguments).exec().into())
}

/// Pins this thread, and those it will start, to `core`.
pub fn pin(core: usize) -> Result<(), Failure> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

/// The first two cores this process may use; the same one twice where there is only one.
pub fn two_cores() -> Result<[usize; 2], Failure> {
    let allowed = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    let first = cores.next().ok_or("no core to run on")?;
    Ok([first, cores.next().unwrap_or(first)])
}

/// Four descriptors a call on each side: as many as the system lets us have.
pub fn raise_descriptor_limit() -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?)
}

fn scratch(name: &str) -> Result<PathBuf, Failure> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("floor");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}
