//! WAV files: what a caller says, what a caller or a bot heard.
#![allow(clippy::disallowed_methods)] // a test tool reads and writes files

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::base::pcm::SampleRate;

/// The most audio that is read from one file, in samples: one hour at 48 kHz.
const LONGEST: usize = 48_000 * 3_600;

/// A file that cannot be used.
#[derive(Debug, Error)]
pub enum WavError {
    /// The file cannot be opened, read or written, or is no WAV file.
    #[error("{path}: {error}")]
    File {
        /// The file's name.
        path: PathBuf,
        /// What `hound` says.
        error: hound::Error,
    },
    /// The file has a sample rate or a channel count that cannot be turned into 8 kHz mono.
    #[error("{path}: {found}; give 8, 16, 24 or 48 kHz, mono or stereo (sox {path} -r 8000 -c 1 out.wav makes one)")]
    Shape {
        /// The file's name.
        path: PathBuf,
        /// What it holds.
        found: String,
    },
}

/// Reads a WAV file as 8 kHz mono PCM16: integer or float samples, 8, 16, 24 or 48 kHz, mono or stereo.
///
/// # Errors
/// A file that cannot be read, and a rate or channel count outside those.
pub fn read_8khz(path: &Path) -> Result<Vec<i16>, WavError> {
    let file = |error| WavError::File { path: path.to_owned(), error };
    let mut reader = hound::WavReader::open(path).map_err(file)?;
    let spec = reader.spec();
    let rate = SampleRate::from_hz(spec.sample_rate).filter(|_| (1..=2).contains(&spec.channels));
    let Some(rate) = rate else {
        let found = format!("{} Hz with {} channels", spec.sample_rate, spec.channels);
        return Err(WavError::Shape { path: path.to_owned(), found });
    };
    let limit = LONGEST * usize::from(spec.channels);
    let samples: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().take(limit).collect::<Result<_, _>>().map_err(file)?,
        hound::SampleFormat::Int => {
            let full = (1i64 << (spec.bits_per_sample - 1)) as f32;
            let scaled = reader.samples::<i32>().take(limit).map(|sample| sample.map(|sample| sample as f32 / full));
            scaled.collect::<Result<_, _>>().map_err(file)?
        }
    };
    let mono: Vec<f32> = match spec.channels {
        2 => samples.chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2.0).collect(),
        _ => samples,
    };
    Ok(decimate(&mono, rate.hz() as usize / 8_000).into_iter().map(to_pcm).collect())
}

/// Writes mono PCM16 samples as a WAV file.
///
/// # Errors
/// A file that cannot be written.
pub fn write(path: &Path, rate: SampleRate, samples: &[i16]) -> Result<(), WavError> {
    let mut writer = WavWriter::create(path, rate)?;
    writer.append(samples)?;
    writer.finish()
}

/// Whether a file could be written at `path`, asked before a call is made for it. What is there stays as it is.
///
/// # Errors
/// A folder that is not there or may not be written to, a path that is a folder.
pub fn probe(path: &Path) -> Result<(), WavError> {
    let new = !path.exists();
    let opened = std::fs::OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| WavError::File { path: path.to_owned(), error: error.into() })?;
    if new {
        let _ = std::fs::remove_file(path);
    }
    Ok(())
}

/// A WAV file that grows while a call goes on.
pub struct WavWriter {
    path: PathBuf,
    inner: hound::WavWriter<BufWriter<File>>,
}

impl WavWriter {
    /// Opens a mono PCM16 file at `rate`; one that exists is replaced.
    ///
    /// # Errors
    /// A file that cannot be created.
    pub fn create(path: &Path, rate: SampleRate) -> Result<Self, WavError> {
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: rate.hz(),
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let inner = hound::WavWriter::create(path, spec);
        let inner = inner.map_err(|error| WavError::File { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), inner })
    }

    /// Adds samples.
    ///
    /// # Errors
    /// A full disk.
    pub fn append(&mut self, samples: &[i16]) -> Result<(), WavError> {
        let written = samples.iter().try_for_each(|&sample| self.inner.write_sample(sample));
        written.map_err(|error| WavError::File { path: self.path.clone(), error })
    }

    /// Writes the length into the file's head and closes it.
    ///
    /// # Errors
    /// A full disk.
    pub fn finish(self) -> Result<(), WavError> {
        let path = self.path;
        self.inner.finalize().map_err(|error| WavError::File { path, error })
    }
}

fn to_pcm(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(f32::from(i16::MIN), f32::from(i16::MAX)) as i16
}

/// Keeps every `factor`th sample, after a low-pass (a sinc under a Hann window) at 0.42 of the new rate.
fn decimate(samples: &[f32], factor: usize) -> Vec<f32> {
    if factor <= 1 {
        return samples.to_vec();
    }
    let half = 24 * factor;
    let cutoff = 0.42 / factor as f64;
    let tap = |i: usize| -> f64 {
        let x = i as f64 - half as f64;
        let angle = std::f64::consts::TAU * cutoff * x;
        let sinc = if x == 0.0 { 1.0 } else { angle.sin() / angle };
        2.0 * cutoff * sinc * (0.5 + 0.5 * (std::f64::consts::PI * x / half as f64).cos())
    };
    let taps: Vec<f32> = (0..=2 * half).map(|i| tap(i) as f32).collect();
    let at = |i: usize| i.checked_sub(half).and_then(|i| samples.get(i)).copied().unwrap_or(0.0);
    (0..samples.len())
        .step_by(factor)
        .map(|centre| taps.iter().enumerate().map(|(i, tap)| tap * at(centre + i)).sum())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::speech::{Tone, dbfs};

    fn scratch(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("trunkstream-wav-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_is_written_is_read_back_bit_for_bit() {
        let path = scratch("same.wav");
        let samples: Vec<i16> = (0..1000i16).map(|n| n.wrapping_mul(97)).chain([i16::MIN, i16::MAX]).collect();
        write(&path, SampleRate::Hz8000, &samples).expect("the file is written");
        assert_eq!(read_8khz(&path).expect("the file is read"), samples);
        let _ = std::fs::remove_file(path);
    }

    #[test]
    fn a_path_is_known_to_be_writable_without_touching_what_is_there() {
        let path = scratch("probe.wav");
        assert!(probe(&path).is_ok() && !path.exists());
        write(&path, SampleRate::Hz8000, &[1, 2, 3]).expect("the file is written");
        assert!(probe(&path).is_ok());
        assert_eq!(read_8khz(&path).expect("as before"), [1, 2, 3]);
        let _ = std::fs::remove_file(path);
        let said = probe(Path::new("/does/not/exist/a.wav")).expect_err("no folder").to_string();
        assert!(said.starts_with("/does/not/exist/a.wav: "), "{said}");
        assert!(probe(&std::env::temp_dir()).is_err(), "a folder");
    }

    #[test]
    fn higher_rates_come_down_to_8_khz_without_images() {
        for rate in [SampleRate::Hz16000, SampleRate::Hz48000] {
            let path = scratch(&format!("{}.wav", rate.hz()));
            write(&path, rate, &Tone::new(rate, 1000.0, 16_000).take(rate.samples(500))).expect("the file is written");
            let kept = read_8khz(&path).expect("the file is read");
            assert_eq!(kept.len(), 4000);
            assert!((dbfs(&kept[400..3600]) - dbfs(&Tone::new(rate, 1000.0, 16_000).take(8000))).abs() < 0.2);
            write(&path, rate, &Tone::new(rate, 5000.0, 16_000).take(rate.samples(500))).expect("the file is written");
            assert!(dbfs(&read_8khz(&path).expect("the file is read")[400..3600]) < -60.0);
            let _ = std::fs::remove_file(path);
        }
    }

    #[test]
    fn a_rate_that_is_not_carried_is_refused_with_advice() {
        let path = scratch("44100.wav");
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 44_100,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        hound::WavWriter::create(&path, spec).and_then(hound::WavWriter::finalize).expect("the file is written");
        let refusal = read_8khz(&path).expect_err("44.1 kHz is refused").to_string();
        assert!(refusal.contains("44100 Hz") && refusal.contains("sox"), "{refusal}");
        let _ = std::fs::remove_file(path);
    }
}
