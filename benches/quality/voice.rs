//! Who speaks: recordings that `report.py` has made, or the built-in voice where there are none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use trunkstream::base::pcm::SampleRate;
use trunkstream::lab::speech::Speech;
use trunkstream::lab::wav;

use crate::Failure;

const RATES: [SampleRate; 4] = [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000, SampleRate::Hz48000];
/// The built-in voice speaks in turns of this length, with a pause between them.
const TURN_MS: u32 = 2_500;
const PAUSE_MS: u32 = 500;
const TURNS: u32 = 3;

/// A voice, at every rate that a codec may have.
pub struct Voice {
    pub name: String,
    /// From 1.
    pub number: u64,
    by_rate: BTreeMap<SampleRate, Vec<i16>>,
}

impl Voice {
    /// Its samples at `rate`.
    pub fn at(&self, rate: SampleRate) -> &[i16] {
        &self.by_rate[&rate]
    }

    /// Files `NAME_RATE.wav` for all rates; `None` where one is missing.
    fn read(folder: &Path, name: &str, number: u64) -> Result<Option<Self>, Failure> {
        let mut by_rate = BTreeMap::new();
        for rate in RATES {
            let path = file(folder, name, rate);
            if !path.exists() {
                return Ok(None);
            }
            let mut reader = hound::WavReader::open(&path)?;
            by_rate.insert(rate, reader.samples::<i16>().collect::<Result<_, _>>()?);
        }
        Ok(Some(Self { name: name.to_owned(), number, by_rate }))
    }

    fn built_in(number: u64) -> Self {
        let speak = |rate: SampleRate| {
            let mut speech = Speech::new(rate, number as u32);
            let mut samples = vec![0; rate.samples(PAUSE_MS)];
            for _ in 0..TURNS {
                samples.extend(speech.take(rate.samples(TURN_MS)));
                samples.extend(vec![0; rate.samples(PAUSE_MS)]);
            }
            (rate, samples)
        };
        Self { name: format!("builtin{number}"), number, by_rate: RATES.map(speak).into_iter().collect() }
    }

    fn write(&self, folder: &Path) -> Result<(), Failure> {
        for (rate, samples) in &self.by_rate {
            wav::write(&file(folder, &self.name, *rate), *rate, samples)?;
        }
        Ok(())
    }
}

/// The voices in `folder`. Where there are none, the built-in ones, which are written there.
pub fn voices(folder: &Path) -> Result<Vec<Voice>, Failure> {
    let suffix = format!("_{}.wav", RATES[0].hz());
    let mut names: Vec<String> = std::fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(&suffix)?.to_owned()))
        .collect();
    names.sort();
    let mut found = Vec::new();
    for (name, number) in names.iter().zip(1..) {
        found.extend(Voice::read(folder, name, number)?);
    }
    if found.is_empty() {
        found = (1..=2).map(Voice::built_in).collect();
        found.iter().try_for_each(|voice| voice.write(folder))?;
    }
    Ok(found)
}

fn file(folder: &Path, name: &str, rate: SampleRate) -> PathBuf {
    folder.join(format!("{name}_{}.wav", rate.hz()))
}
