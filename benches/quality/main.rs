//! What callers and bots hear, in virtual time and the same on every run: the part of `make quality` that is the bridge.
//!
//! Real media and stream sessions between a caller, a line and a bot. `sound.rs` records speech through codecs and lines,
//! `delay.rs` measures what the bridge adds, `bots.rs` counts the holes in what bots send. Recordings and `figures.json` go to
//! `QUALITY_DIR` (`target/quality`); `report.py` makes the speech before and judges the recordings after.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time, and files

mod bots;
mod delay;
mod line;
mod sound;
mod voice;

use std::path::PathBuf;

use serde_json::json;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let standard = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/target/quality"));
    let folder = std::env::var_os("QUALITY_DIR").map_or_else(standard, PathBuf::from);
    let (speech, recordings) = (folder.join("speech"), folder.join("heard"));
    std::fs::create_dir_all(&speech)?;
    std::fs::create_dir_all(&recordings)?;
    let bots: Vec<_> = bots::PATTERNS.into_iter().map(bots::worst).collect();
    let lines = [(20, 0), (100, 0), (20, 20), (20, 60)];
    let to_bot: Vec<_> = lines.into_iter().map(|(chunk, jitter)| delay::to_bot(chunk, jitter)).collect();
    let to_caller: Vec<_> = [20, 40, 100].into_iter().map(delay::to_caller).collect();
    let takes = sound::record(&recordings, &voice::voices(&speech)?)?;
    let figures = json!({ "bots": bots, "to_bot": to_bot, "to_caller": to_caller, "takes": takes });
    std::fs::write(folder.join("figures.json"), serde_json::to_string_pretty(&figures)?)?;
    println!("{} recordings and figures.json in {}", takes.len(), folder.display());
    Ok(())
}
