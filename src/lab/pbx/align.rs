//! Is what was heard what was said? Finds the delay by cross-correlation and compares sample by sample, from the loudest
//! syllable on to the end and back to the beginning.

use crate::base::pcm::SampleRate;

/// Length of the piece that is searched for, in samples: 200 ms, a syllable.
const PATTERN: usize = 1_600;
/// Below this the best place is no match; 1 is the very same wave.
const LEAST_CORRELATION: f64 = 0.5;
/// After a deviation, this many samples that are the same mean that the sound goes on.
const SETTLED: usize = 80;
/// And where a codec lies between, so many this much alike.
const SETTLED_NEAR: usize = 240;
const NEAR_CORRELATION: f32 = 0.99;
/// How far the sound may have moved at a deviation, in samples: half a second.
const REACH: usize = 4_000;
/// In steps of this many samples the sound after a deviation is looked for; then its beginning is found to the sample.
const STEP: usize = 40;
/// Silence fits everywhere: below this mean a piece says nothing about where the sound goes on.
const TELLING: u64 = 100;
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

impl Deviation {
    /// What it is and where, for people; the samples are of `rate`.
    #[must_use]
    pub fn describe(&self, rate: SampleRate) -> String {
        let ms = |samples: usize| samples as f64 * 1000.0 / f64::from(rate.hz());
        let (said, heard, at) = (self.said, self.heard, ms(self.at) / 1000.0);
        match (said, heard) {
            (0, heard) => format!("{:.1} ms inserted at {at:.3} s", ms(heard)),
            (said, 0) => format!("{:.1} ms cut at {at:.3} s", ms(said)),
            (said, heard) if said == heard => format!("{:.1} ms changed at {at:.3} s ({said} samples)", ms(said)),
            (said, heard) if said > heard => {
                format!("{:.1} ms cut at {at:.3} s, and {:.1} ms changed there", ms(said - heard), ms(heard))
            }
            (said, heard) => {
                format!("{:.1} ms inserted at {at:.3} s, and {:.1} ms changed there", ms(heard - said), ms(said))
            }
        }
    }
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// What was said begins at this sample of what was heard.
    pub offset: usize,
    /// How alike the loudest syllable is there: 1 is the same wave.
    pub correlation: f64,
    /// How much louder it is there, in dB.
    pub gain_db: f64,
    /// Samples of what was said that were heard, in order and exactly.
    pub exact: usize,
    /// Samples that were said.
    pub total: usize,
    /// Where they differ, in order; the first 20. Where the loudest syllable is not exact either, something between changed every
    /// sample, and only what is more than that is told.
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
    let anchor = loudest(said, PATTERN.min(said.len()));
    let pattern = said.get(anchor..anchor + PATTERN.min(said.len()))?;
    if pattern.is_empty() {
        return None;
    }
    let (place, correlation) = best_place(pattern, heard)?;
    if correlation < LEAST_CORRELATION {
        return None;
    }
    let found = heard.get(place..place + pattern.len())?;
    let gain = (power(found) / power(pattern)).sqrt();
    let likeness = if same_somewhere(pattern, found) { Likeness::Exact } else { Likeness::Near(gain as f32) };
    let back = |samples: &[i16]| -> Vec<i16> { samples.iter().rev().copied().collect() };
    let before = walk(likeness, &back(&said[..anchor]), &back(&heard[..place]));
    let after = walk(likeness, &said[anchor..], &heard[place..]);
    let mirrored =
        before.deviations.iter().rev().map(|found| Deviation { at: anchor - found.at - found.said, ..*found });
    let followed = after.deviations.iter().map(|found| Deviation { at: anchor + found.at, ..*found });
    Some(Comparison {
        offset: place - before.heard,
        correlation,
        gain_db: 20.0 * gain.log10(),
        exact: before.exact + after.exact,
        total: said.len(),
        deviations: mirrored.chain(followed).take(MOST_DEVIATIONS).collect(),
    })
}

fn power(samples: &[i16]) -> f64 {
    samples.iter().map(|&sample| f64::from(sample).powi(2)).sum()
}

/// Whether a part of them is the very same.
fn same_somewhere(one: &[i16], other: &[i16]) -> bool {
    one.chunks_exact(SETTLED).zip(other.chunks_exact(SETTLED)).any(|(one, other)| one == other)
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

/// Whether there is sound in it.
fn tells(piece: &[i16]) -> bool {
    piece.iter().map(|sample| u64::from(sample.unsigned_abs())).sum::<u64>() > TELLING * piece.len() as u64
}

/// When a sample is taken for the same.
#[derive(Debug, Clone, Copy)]
enum Likeness {
    Exact,
    /// This much louder, and changed as codecs do.
    Near(f32),
}

impl Likeness {
    fn is_same(self, said: i16, heard: i16) -> bool {
        match self {
            Self::Exact => said == heard,
            Self::Near(gain) => {
                let expected = f32::from(said) * gain;
                (f32::from(heard) - expected).abs() <= 32.0 + expected.abs() / 8.0
            }
        }
    }

    /// How many samples tell where the sound goes on.
    fn piece(self) -> usize {
        match self {
            Self::Exact => SETTLED,
            Self::Near(_) => SETTLED_NEAR,
        }
    }

    /// Whether both go on alike although a sample of them is not.
    fn goes_on(self, said: &[i16], heard: &[i16]) -> bool {
        let length = said.len().min(self.piece());
        let (said, Some(heard)) = (&said[..length], heard.get(..length)) else { return false };
        match self {
            Self::Exact => false,
            Self::Near(_) => (!tells(said) && !tells(heard)) || self.fit(said, heard).is_some(),
        }
    }

    /// How well `heard` continues with `piece`; `None` where it does not.
    fn fit(self, piece: &[i16], heard: &[i16]) -> Option<f32> {
        match self {
            Self::Exact => (piece == heard).then_some(1.0),
            Self::Near(_) => {
                let dot = |one: &[i16], other: &[i16]| -> f32 {
                    one.iter().zip(other).map(|(&one, &other)| f32::from(one) * f32::from(other)).sum()
                };
                let alike = dot(piece, heard) / (dot(piece, piece) * dot(heard, heard)).sqrt();
                (alike >= NEAR_CORRELATION).then_some(alike)
            }
        }
    }
}

/// A comparison from one common point to the end.
#[derive(Default)]
struct Walk {
    exact: usize,
    /// Samples that were heard for all that was said.
    heard: usize,
    deviations: Vec<Deviation>,
}

/// Compares from the beginning of both: how many samples are exact, and where they are not.
fn walk(likeness: Likeness, said: &[i16], heard: &[i16]) -> Walk {
    let (mut at, mut place, mut found) = (0, 0, Walk::default());
    while at < said.len() {
        let rest = heard.get(place..).unwrap_or_default();
        let same =
            rest.first().is_some_and(|&heard| likeness.is_same(said[at], heard)) || likeness.goes_on(&said[at..], rest);
        let (skipped, instead) = if same { (1, 1) } else { resume(likeness, said, at, heard, place) };
        if skipped == instead {
            let both = said[at..at + skipped].iter().zip(&heard[place..]);
            found.exact += both.filter(|(said, heard)| said == heard).count();
        }
        if !same && found.deviations.len() < MOST_DEVIATIONS {
            found.deviations.push(Deviation { at, said: skipped, heard: instead });
        }
        (at, place) = (at + skipped, place + instead);
    }
    found.heard = place;
    found
}

/// After a deviation: how many samples of each side to skip so that they are the same again. The sound that was said next is
/// looked for, the nearest place first, then that which was said after it; what is alike before it is not skipped.
fn resume(likeness: Likeness, said: &[i16], at: usize, heard: &[i16], place: usize) -> (usize, usize) {
    let (said, heard) = (&said[at..], heard.get(place..).unwrap_or_default());
    let places = heard.len().min(REACH);
    for skip in (0..said.len().min(REACH)).step_by(STEP) {
        let piece = &said[skip..said.len().min(skip + likeness.piece())];
        if !tells(piece) {
            continue;
        }
        let fits = (0..places).filter_map(|n| Some((n, likeness.fit(piece, heard.get(n..n + piece.len())?)?)));
        let nearer = |one: &(usize, f32), other: &(usize, f32)| {
            one.1.total_cmp(&other.1).then(other.0.abs_diff(skip).cmp(&one.0.abs_diff(skip)))
        };
        if let Some((n, _)) = fits.max_by(nearer) {
            let before = said[..skip].iter().rev().zip(heard[..n].iter().rev());
            let alike = before.take_while(|(said, heard)| likeness.is_same(**said, **heard)).count();
            return (skip - alike, n - alike);
        }
    }
    (said.len(), heard.len().min(said.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::speech::Speech;
    use crate::media::codec::{Codec as _, Pcma};

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

    /// Places before and after the loudest syllable, in sound and in a pause between two syllables.
    const PLACES: [usize; 6] = [700, 1_990, 5_000, 9_000, 11_900, 15_000];

    fn told(said: &[i16], heard: &[i16]) -> (usize, Vec<Deviation>) {
        let found = compare(said, heard).expect("the echo is there");
        (found.offset, found.deviations)
    }

    /// One deviation of these lengths near `at`: where both sides are silent, or go on alike for a while, nobody can say
    /// where between it was.
    fn assert_one(found: &[Deviation], at: usize, said: usize, heard: usize, context: &str) {
        let [one] = found else { panic!("{context}: {found:?}") };
        assert_eq!((one.said, one.heard), (said, heard), "{context}: {found:?}");
        assert!(one.at.abs_diff(at) <= 480, "{context}: {found:?}");
    }

    #[test]
    fn a_packet_that_was_cut_or_inserted_is_named_with_its_length_wherever_it_was() {
        let said = speech();
        for at in PLACES {
            let cut = after_silence(800, &[&said[..at], &said[at + 160..]].concat());
            let (offset, found) = told(&said, &cut);
            assert_eq!(offset, 800);
            assert_one(&found, at, 160, 0, "cut");
            for filling in [vec![0; 160], said[at - 160..at].to_vec(), vec![5_000; 160]] {
                let inserted = after_silence(800, &[&said[..at], &filling, &said[at..]].concat());
                let (offset, found) = told(&said, &inserted);
                assert_eq!(offset, 800);
                assert_one(&found, at, 0, 160, "inserted");
            }
        }
    }

    #[test]
    fn each_of_several_deviations_is_named_although_their_sum_is_none() {
        let said = speech();
        let heard = [&said[..5_000], &said[5_160..9_000], &[0; 160], &said[9_000..]].concat();
        let (_, found) = told(&said, &after_silence(800, &heard));
        let [first, second] = found[..] else { panic!("{found:?}") };
        assert_one(&[first], 5_000, 160, 0, "the cut");
        assert_one(&[second], 9_000, 0, 160, "the pause");
        let text = [first, second].map(|deviation| deviation.describe(SampleRate::Hz8000));
        assert!(
            text[0].starts_with("20.0 ms cut at 0.6") && text[1].starts_with("20.0 ms inserted at 1.1"),
            "{text:?}"
        );
    }

    #[test]
    fn a_packet_of_silence_and_one_of_another_sound_are_changed_and_not_moved() {
        let said = speech();
        for filling in [[0; 160], [3_000; 160]] {
            let mut heard = after_silence(800, &said);
            heard[800 + 5_100..][..160].copy_from_slice(&filling);
            let (_, found) = told(&said, &heard);
            assert!(found.iter().all(|one| one.said == one.heard && (5_100..5_260).contains(&one.at)), "{found:?}");
            let text = found[0].describe(SampleRate::Hz8000);
            assert!(text.contains("changed at 0.63") || text.contains("changed at 0.64"), "{text}");
        }
    }

    #[test]
    fn through_another_codec_and_at_another_loudness_only_what_moved_is_told() {
        let said = speech();
        let through = |samples: &[i16], loudness: f32| -> Vec<i16> {
            let louder: Vec<i16> = samples.iter().map(|&sample| (f32::from(sample) * loudness) as i16).collect();
            let (mut codes, mut heard) = (Vec::new(), Vec::new());
            Pcma.encoder().encode(&louder, &mut codes);
            Pcma.decoder().decode(&codes, &mut heard);
            heard
        };
        for loudness in [0.5_f32, 1.8] {
            let found = compare(&said, &after_silence(800, &through(&said, loudness))).expect("the echo is there");
            assert_eq!((found.offset, &found.deviations[..]), (800, &[][..]), "{loudness}");
            assert!((found.gain_db - 20.0 * f64::from(loudness).log10()).abs() < 0.3, "{found:?}");
            assert!(!found.is_intact(), "every sample is a little other");
            let at = if loudness < 1.0 { PLACES[1] } else { PLACES[4] };
            let cut = [&said[..at], &said[at + 160..]].concat();
            let (offset, found) = told(&said, &after_silence(800, &through(&cut, loudness)));
            assert_eq!(offset, 800);
            assert_one(&found, at, 160, 0, "cut");
        }
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
