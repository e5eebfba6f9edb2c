//! Is what was heard what was said? Finds the delay by cross-correlation and compares sample by sample.

/// Length of the piece that is searched for, in samples: 200 ms, a syllable.
const PATTERN: usize = 1_600;
/// Below this the best place is no match; 1 is the very same wave.
const LEAST_CORRELATION: f64 = 0.5;
/// After a deviation, this many equal samples in a row mean that the sound goes on.
const SETTLED: usize = 80;
/// How far the sound may have moved at a deviation, in samples: half a second.
const REACH: usize = 4_000;
/// Deviations that are kept; more are only counted.
const MOST_DEVIATIONS: usize = 20;

/// Where the sound that was heard is not the sound that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deviation {
    /// From which sample of what was said.
    pub at: usize,
    /// Samples of what was said that are different or missing.
    pub said: usize,
    /// Samples that were heard in their place.
    pub heard: usize,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What was said begins at this sample of what was heard.
    pub offset: usize,
    /// How alike the loudest syllable is there: 1 is the same wave.
    pub correlation: f64,
    /// Samples of what was said that were heard, in order and exactly.
    pub exact: usize,
    /// Samples that were said.
    pub total: usize,
    /// Where they differ, in order; the first 20.
    pub deviations: Vec<Deviation>,
}

impl Comparison {
    /// Every sample was heard exactly, with nothing in between.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.exact == self.total && self.deviations.is_empty()
    }
}

/// Looks for `said` in `heard`; `None` where nothing like it is there.
#[must_use]
pub fn compare(said: &[i16], heard: &[i16]) -> Option<Comparison> {
    let pattern_at = loudest(said, PATTERN.min(said.len()));
    let pattern = said.get(pattern_at..pattern_at + PATTERN.min(said.len()))?;
    if pattern.is_empty() {
        return None;
    }
    let (place, correlation) = best_place(pattern, heard)?;
    if correlation < LEAST_CORRELATION {
        return None;
    }
    // The piece is where it is; how far back its beginning lies is counted from there, deviations included.
    let offset = place.saturating_sub(pattern_at);
    let offset = beginning(said, heard, offset);
    let (exact, deviations) = walk(said, &heard[offset..]);
    Some(Comparison { offset, correlation, exact, total: said.len(), deviations })
}

/// Where the `length` samples with the most energy begin.
fn loudest(samples: &[i16], length: usize) -> usize {
    let square = |sample: i16| i64::from(sample) * i64::from(sample);
    let mut energy: i64 = samples.iter().take(length).map(|&sample| square(sample)).sum();
    let (mut best, mut best_at) = (energy, 0);
    for (start, (&leaves, &enters)) in samples.iter().zip(samples.iter().skip(length)).enumerate() {
        energy += square(enters) - square(leaves);
        if energy > best {
            (best, best_at) = (energy, start + 1);
        }
    }
    best_at
}

/// Where `pattern` fits into `heard` best, and how well (normalised cross-correlation).
fn best_place(pattern: &[i16], heard: &[i16]) -> Option<(usize, f64)> {
    let wave = |samples: &[i16]| -> Vec<f32> { samples.iter().map(|&sample| f32::from(sample)).collect() };
    let (pattern, heard) = (wave(pattern), wave(heard));
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let power = f64::from(dot(&pattern, &pattern));
    let mut energy: f64 = heard.iter().take(pattern.len()).map(|&sample| f64::from(sample).powi(2)).sum();
    let (mut best, mut best_at) = (None, 0.0);
    for (place, window) in heard.windows(pattern.len()).enumerate() {
        // A place that is much quieter cannot be it, and is not worth the look.
        let quiet = energy < power * 0.05 || power == 0.0;
        let alike = if quiet { 0.0 } else { f64::from(dot(&pattern, window)) / (power * energy).sqrt() };
        if alike > best_at {
            (best, best_at) = (Some(place), alike);
        }
        let leaves = f64::from(window[0]).powi(2);
        let enters = heard.get(place + pattern.len()).map_or(0.0, |&sample| f64::from(sample).powi(2));
        energy = (energy + enters - leaves).max(0.0);
    }
    best.map(|place| (place, best_at.min(1.0)))
}

/// The place near `offset` from which the first sound of `said` is heard exactly; `offset` where there is none.
fn beginning(said: &[i16], heard: &[i16], offset: usize) -> usize {
    let sound = said.iter().position(|&sample| sample != 0).unwrap_or(0);
    let fits = |place: usize| is_same(said, sound, heard, place + sound);
    let back = (offset.saturating_sub(REACH)..offset).rev();
    std::iter::once(offset).chain(back).find(|&place| fits(place)).unwrap_or(offset)
}

fn is_same(said: &[i16], at: usize, heard: &[i16], place: usize) -> bool {
    let (said, heard) = (said.get(at..).unwrap_or_default(), heard.get(place..).unwrap_or_default());
    let length = SETTLED.min(said.len());
    heard.len() >= length && said[..length] == heard[..length]
}

/// Compares from the beginning of both: how many samples are exact, and where they are not.
fn walk(said: &[i16], heard: &[i16]) -> (usize, Vec<Deviation>) {
    let (mut at, mut place, mut exact, mut deviations) = (0, 0, 0, Vec::new());
    while at < said.len() {
        if heard.get(place) == Some(&said[at]) {
            (at, place, exact) = (at + 1, place + 1, exact + 1);
            continue;
        }
        let (skipped, instead) = resume(said, at, heard, place);
        if skipped == instead {
            exact += said[at..at + skipped].iter().zip(&heard[place..]).filter(|(said, heard)| said == heard).count();
        }
        if deviations.len() < MOST_DEVIATIONS {
            deviations.push(Deviation { at, said: skipped, heard: instead });
        }
        (at, place) = (at + skipped, place + instead);
    }
    (exact, deviations)
}

/// After a deviation: how many samples of each side to skip so that they are the same again. First what was replaced one
/// for one, then what was put in, then what was left out.
fn resume(said: &[i16], at: usize, heard: &[i16], place: usize) -> (usize, usize) {
    let rest = said.len() - at;
    let replaced = (1..REACH.min(rest)).map(|n| (n, n));
    let put_in = (1..REACH).map(|n| (0, n));
    let left_out = (1..REACH.min(rest)).map(|n| (n, 0));
    let fits = |&(skip, instead): &(usize, usize)| {
        // Silence fits everywhere: it says nothing about where the sound goes on.
        let tells = said[at + skip..].iter().take(SETTLED).any(|&sample| sample.unsigned_abs() > 100);
        tells && is_same(said, at + skip, heard, place + instead)
    };
    replaced.chain(put_in).chain(left_out).find(fits).unwrap_or((rest, heard.len().saturating_sub(place).min(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::pcm::SampleRate;
    use crate::lab::speech::Speech;

    fn speech() -> Vec<i16> {
        Speech::new(SampleRate::Hz8000, 1).take(16_000)
    }

    fn after_silence(lead: usize, said: &[i16]) -> Vec<i16> {
        [&vec![0; lead], said, &[0; 2_000]].concat()
    }

    #[test]
    fn an_exact_echo_is_found_and_intact() {
        for lead in [0, 1, 1_733, 12_000] {
            let found = compare(&speech(), &after_silence(lead, &speech())).expect("the echo is there");
            assert_eq!((found.offset, found.exact, found.total), (lead, 16_000, 16_000));
            assert!(found.is_intact() && found.correlation > 0.999);
        }
    }

    #[test]
    fn one_wrong_sample_is_told_with_its_place() {
        let mut heard = after_silence(1_600, &speech());
        heard[1_600 + 5_000] ^= 0x40;
        let found = compare(&speech(), &heard).expect("the echo is there");
        assert_eq!(found.deviations, [Deviation { at: 5_000, said: 1, heard: 1 }]);
        assert_eq!(found.exact, 15_999);
        assert!(!found.is_intact());
    }

    #[test]
    fn a_pause_that_was_put_in_is_told_from_lost_sound() {
        let said = speech();
        let paused = after_silence(800, &[&said[..9_000], &[0; 320], &said[9_000..]].concat());
        let found = compare(&said, &paused).expect("the echo is there");
        assert_eq!((found.offset, found.exact), (800, 16_000));
        assert_eq!(found.deviations, [Deviation { at: 9_000, said: 0, heard: 320 }]);
        assert!(!found.is_intact(), "it is all there, but not as it was said");

        let mut lost = after_silence(800, &said);
        lost[800 + 9_000..][..160].fill(0);
        let found = compare(&said, &lost).expect("the echo is there");
        assert!((15_840..15_850).contains(&found.exact), "{found:?}");
        assert!(found.deviations.iter().all(|deviation| deviation.said == deviation.heard), "{found:?}");
    }

    #[test]
    fn sound_that_was_cut_short_is_not_intact() {
        let heard = after_silence(400, &speech());
        let found = compare(&speech(), &heard[..12_000]).expect("most of the echo is there");
        assert!(found.exact >= 11_600 && !found.is_intact());
    }

    #[test]
    fn silence_and_other_voices_are_no_echo() {
        assert_eq!(compare(&speech(), &[0; 20_000]), None);
        assert_eq!(compare(&speech(), &[]), None);
        assert_eq!(compare(&[], &speech()), None);
        assert_eq!(compare(&[0; 8_000], &[0; 8_000]), None, "silence cannot be recognised");
        let other = Speech::new(SampleRate::Hz8000, 3).take(16_000);
        assert!(compare(&speech(), &other).is_none_or(|found| !found.is_intact()));
    }
}
