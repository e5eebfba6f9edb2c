//! The floor: what the system calls of a call cost by themselves, beside what the bridge costs, in one run; and what the
//! bridge costs set otherwise, beside the bridge as usual.
//!
//! The system under test runs alone on the first core, callers and bots on the second. It is `raw`, a loop that makes
//! the system calls and nothing else (`raw.rs`), or `trunkstream serve`, or a bridge as usually written
//! (`yardstick.rs`). All get the same callers (`callers.rs`: G.711, 20 ms) and the same echo bots (the library's own).
//! Measured over a window of steady calls: CPU time of the process, its resident memory per call, its voluntary context
//! switches, how far the interval between two RTP packets of a call is from 20 ms, by the kernel's arrival time stamps
//! (`arrival.rs`), how long INVITE to 200 took, and how long a pulse takes to the bot and back (`sound.rs`). What is compared
//! is measured three times, one right after the other, and the middle ratio counts.
//!
//! `variants.rs` is the list of what there is to run: `VARIANTS="16k wss"` chooses, `VARIANTS=all` runs everything, and
//! without it the first is run. `CALLS` (500) and `SECONDS` (20) change the size. The last line is `ratio N.NN`; the
//! exit code is 1 where a figure is out of its bound.
#![allow(clippy::disallowed_methods)] // a bench has sockets, processes and a clock

mod arrival;
mod callers;
mod disturbed;
mod figures;
mod process;
mod raw;
mod sip;
mod sound;
mod system;
mod tls;
mod told;
mod variants;
mod yardstick;

use std::process::ExitCode;
use std::time::Duration;

use figures::Figures;
use variants::{Session, VARIANTS, Variant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["pin", cores, program, ref rest @ ..] => process::pin_and_become(cores, program, rest),
        ["raw", bot] => raw::run(bot),
        ["yardstick", bot] => yardstick::run(bot),
        ["spin"] => disturbed::spin(),
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

/// Runs the chosen variants, one after the other, and gives the verdict.
fn measure() -> Result<bool, Failure> {
    let number = |name: &str, default: u32| match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}={text} is not a whole number")),
        Err(_) => Ok(default),
    };
    let chosen = chosen(&std::env::var("VARIANTS").unwrap_or_default())?;
    let (calls, seconds) = (number("CALLS", 500)?.max(1), number("SECONDS", 20)?.max(2));
    let mut session = Session::new(calls, Duration::from_secs(seconds.into()), &process::cores()?);
    if session.apart.shared() {
        println!("only one core: callers and bots share it with the system under test");
    }
    process::raise_descriptor_limit()?;
    println!("{calls} calls, G.711, 20 ms, 100 ms chunks, window {seconds} s in thirds, one run");
    Figures::print_head();
    for (name, variant) in chosen {
        if let Err(failure) = variant(&mut session) {
            session.verdict.holds(false, format!("{name}: {failure}"));
        }
    }
    Ok(session.verdict.print())
}

/// The variants that are named, by blanks; all of them for `all`, the first for nothing.
fn chosen(names: &str) -> Result<Vec<(&'static str, Variant)>, Failure> {
    let find = |name: &str| {
        let found = VARIANTS.iter().find(|(known, ..)| *known == name);
        found.map(|(name, _, variant)| (*name, *variant)).ok_or_else(|| {
            let list: Vec<String> = VARIANTS.iter().map(|(name, what, _)| format!("  {name:<12}{what}")).collect();
            format!("there is no variant {name:?}; there are\n  all\n{}", list.join("\n")).into()
        })
    };
    match names.trim() {
        "" => Ok(vec![find(VARIANTS[0].0)?]),
        "all" => VARIANTS.iter().map(|(name, ..)| find(name)).collect(),
        names => names.split_whitespace().map(find).collect(),
    }
}
