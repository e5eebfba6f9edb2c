//! The variants: which systems each runs beside which, and the bounds of its figures.

use std::time::Duration;

use crate::Failure;
use crate::disturbed::{flood, loaded, stall};
use crate::figures::{Figures, Verdict};
use crate::system::{Cores, Load, Running, Setting, System};

/// Above this p99 of the raw loop, in ms, the machine is too noisy to judge pacing.
pub const NOISY: f64 = 1.5;

/// A machine's speed changes from one half-minute to the next, so two systems are compared this often, one right after the
/// other, and the comparison in the middle counts.
const ROUNDS: u32 = 3;

/// Every variant: its name, what it is, and what it does.
pub const VARIANTS: &[(&str, &str, Variant)] = &[
    ("floor", "500 calls beside the raw system calls", floor),
    ("floor-1000", "the same with 1000 calls", floor_1000),
    ("flat", "cost of a call at 100 and at 1000 calls", flat),
    ("16k", "a 16 kHz stream beside an 8 kHz one", wideband),
    ("wss", "wss beside ws", wss),
    ("20ms", "20 ms chunks beside 100 ms", short_chunks),
    ("yardstick", "beside a plain tokio bridge, a task and an interval per call", yardstick),
    ("shards", "two media threads beside one", shards),
    ("stall", "the process stands still for 500 ms", stall),
    ("flood", "64 datagrams at a time on one call's port", flood),
    ("loaded", "SCHED_FIFO beside a busy loop on the same core", loaded),
];

/// One variant.
pub type Variant = fn(&mut Session) -> Result<(), Failure>;

/// A run of the bench: its size, what was measured so far, and the verdict.
pub struct Session {
    /// Calls of the usual run; the others are in proportion.
    pub calls: u32,
    pub window: Duration,
    /// System and load on a core each.
    pub apart: Cores,
    /// The system on two cores.
    two: Cores,
    pub verdict: Verdict,
}

impl Session {
    /// A run on these cores, asked for before any thread was pinned.
    pub fn new(calls: u32, window: Duration, cores: &[usize]) -> Self {
        let (apart, two) = (Cores::apart(cores), Cores::two(cores));
        Self { calls, window, apart, two, verdict: Verdict::default() }
    }

    /// The figures of two loads that were measured one right after the other, and the cost of the second to that of the
    /// first: of [`ROUNDS`] rounds the one with the middle ratio.
    fn compared(&mut self, first: Load, second: Load) -> Result<(Figures, Figures, f64), Failure> {
        let (cores, window) = (self.apart.clone(), self.window / ROUNDS);
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let (first, second) = (self.run_for(window, first, &cores)?, self.run_for(window, second, &cores)?);
            let ratio = second.cpu_us_per_call_second / first.cpu_us_per_call_second;
            rounds.push((first, second, ratio));
        }
        rounds.sort_by(|one, other| one.2.total_cmp(&other.2));
        let told: Vec<String> = rounds.iter().map(|(_, _, ratio)| format!("{ratio:.2}")).collect();
        let (first, second, ratio) = rounds.swap_remove(rounds.len() / 2);
        self.verdict.remark(format!("{} to {}, {} calls: {}", second.name, first.name, second.calls, told.join(", ")));
        Ok((first, second, ratio))
    }

    /// Measures this load and prints its line.
    fn run(&mut self, load: Load, cores: &Cores) -> Result<Figures, Failure> {
        self.run_for(self.window, load, cores)
    }

    fn run_for(&mut self, window: Duration, load: Load, cores: &Cores) -> Result<Figures, Failure> {
        let mut running = Running::start(load, cores)?;
        let figures = running.measure(window)?;
        running.end()?;
        figures.print();
        self.judge_whole(load, &figures);
        Ok(figures)
    }

    /// A system that drops its load is cheap; only the yardstick may.
    fn judge_whole(&mut self, load: Load, figures: &Figures) {
        let chunks = match load.system {
            System::Yardstick => return,
            System::Raw => 10.0,
            System::Bridge(setting) => 1000.0 / f64::from(setting.chunk_ms),
        };
        let Figures { name, calls, rtp_per_call_second: rtp, media_per_call_second: media, .. } = figures;
        let whole = (49.0..=51.0).contains(rtp) && *media >= 0.95 * chunks;
        self.verdict.holds(whole, format!("{name}, {calls} calls: the load was not carried whole"));
        let (lost, faults) = (figures.lost_calls, figures.bot_faults);
        self.verdict.holds(lost == 0, format!("{name}, {calls} calls: {lost} calls lost"));
        self.verdict.holds(faults == 0, format!("{name}, {calls} calls: the bots saw {faults} faults"));
    }

    /// The bridge set otherwise beside the bridge as usual.
    fn beside_usual(&mut self, what: &str, setting: Setting, most: f64) -> Result<(), Failure> {
        let load = |setting| Load { system: System::Bridge(setting), calls: self.calls };
        let (usual, other) = (load(Setting::default()), load(setting));
        let (.., ratio) = self.compared(usual, other)?;
        self.verdict.at_most(format!("CPU per call, {what}"), ratio, most);
        self.verdict.ratio(ratio);
        Ok(())
    }

    fn floor(&mut self, calls: u32) -> Result<(), Failure> {
        let load = |system| Load { system, calls };
        let (raw, bridge, ratio) = self.compared(load(System::Raw), load(System::Bridge(Setting::default())))?;
        let verdict = &mut self.verdict;
        verdict.at_most(format!("CPU per call, to raw system calls, {calls} calls"), ratio, 1.3);
        verdict.ratio(ratio);
        let what = format!("RTP interval error p99 over the raw loop's, ms, {calls} calls");
        let over = bridge.p99() - raw.p99();
        if raw.p99() > NOISY {
            verdict.show(&what, over);
            verdict.remark(format!(
                "noisy machine: the raw loop's own p99 is {:.2} ms with {calls} calls, so the pacing is not judged",
                raw.p99()
            ));
        } else {
            verdict.at_most(what, over, 0.5);
        }
        verdict.at_least(format!("RTP out for each packet in, {calls} calls"), bridge.share, 0.999);
        verdict.at_most(
            format!("INVITE to 200, p99 at 50 calls a second, ms, {calls} calls"),
            bridge.setup_ms[1],
            10.0,
        );
        if calls == self.calls {
            verdict.at_most(format!("memory per call, KiB, {calls} calls"), bridge.kib_per_call, 48.0);
            let switches = bridge.switches_per_core_second;
            verdict.at_most(format!("voluntary context switches per s and core, {calls} calls"), switches, 1000.0);
        } else {
            verdict.show(&format!("memory per call, KiB, {calls} calls"), bridge.kib_per_call);
        }
        Ok(())
    }
}

fn floor(session: &mut Session) -> Result<(), Failure> {
    session.floor(session.calls)
}

fn floor_1000(session: &mut Session) -> Result<(), Failure> {
    session.floor(session.calls * 2)
}

fn flat(session: &mut Session) -> Result<(), Failure> {
    let (few, many) = ((session.calls / 5).max(1), session.calls * 2);
    let load = |calls| Load { system: System::Bridge(Setting::default()), calls };
    let (.., ratio) = session.compared(load(few), load(many))?;
    let what = format!("CPU per call at {many} calls to that at {few}");
    session.verdict.within(what, ratio, 0.85..=1.15);
    session.verdict.ratio(ratio);
    Ok(())
}

fn wideband(session: &mut Session) -> Result<(), Failure> {
    session.beside_usual("16 kHz to 8 kHz", Setting { rate: 16_000, ..Setting::default() }, 1.4)
}

fn wss(session: &mut Session) -> Result<(), Failure> {
    session.beside_usual("wss to ws", Setting { tls: true, ..Setting::default() }, 1.1)
}

fn short_chunks(session: &mut Session) -> Result<(), Failure> {
    session.beside_usual("20 ms chunks to 100 ms", Setting { chunk_ms: 20, ..Setting::default() }, 1.8)
}

fn yardstick(session: &mut Session) -> Result<(), Failure> {
    let calls = session.calls;
    let load = |system| Load { system, calls };
    let (plain, _, ratio) = session.compared(load(System::Yardstick), load(System::Bridge(Setting::default())))?;
    session.verdict.at_most(format!("CPU per call, to a plain tokio bridge, {calls} calls"), ratio, 0.6);
    session.verdict.ratio(ratio);
    if !(49.0..=51.0).contains(&plain.rtp_per_call_second) {
        session.verdict.remark("the plain tokio bridge did not carry its load whole: its real cost is higher");
    }
    Ok(())
}

/// How many more calls two threads carry is how much less the busier of two has to do for the same calls.
fn shards(session: &mut Session) -> Result<(), Failure> {
    let cores = session.two.clone();
    let mut busiest = [0.0; 2];
    for (threads, busiest) in (1..).zip(&mut busiest) {
        let load = Load { system: System::Bridge(Setting { threads, ..Setting::default() }), calls: session.calls };
        *busiest = session.run(load, &cores)?.busiest_us_per_call_second;
    }
    let ratio = busiest[0] / busiest[1];
    session.verdict.at_least("calls two media threads carry, to one", ratio, 1.9);
    session.verdict.ratio(ratio);
    session.verdict.remark(format!(
        "shards: CPU of the one media thread ({:.0} us per call-second) to that of the busier of two ({:.0}), same calls{}",
        busiest[0],
        busiest[1],
        if cores.shared() { "; callers and bots share both cores with them" } else { "" }
    ));
    Ok(())
}
