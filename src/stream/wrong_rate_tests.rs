//! Voices at right and wrong rates, tones and melodies.

use std::f64::consts::TAU;

use super::*;
use crate::lab::speech::{Speech, Tone};

const RATES: [SampleRate; 3] = [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000];

/// What is said of `audio` on a stream of `rate`, and after how many milliseconds of it.
fn verdict(rate: SampleRate, audio: &[i16]) -> Option<(WrongRate, usize)> {
    let mut suspicion = Suspicion::default();
    suspicion.begin(rate);
    let packets = audio.chunks(rate.samples(20)).enumerate();
    packets.filter_map(|(n, packet)| Some((suspicion.hear(packet)?, (n + 1) * 20))).next()
}

/// Of a bot of this rate: 9 s of it are 3 s where it plays three times too fast.
fn voice(rate: SampleRate, seed: u32) -> Vec<i16> {
    Speech::new(rate, seed).take(rate.samples(9000))
}

#[test]
fn speech_of_the_streams_rate_is_never_suspected() {
    for rate in RATES {
        for seed in 0..10 {
            assert_eq!(verdict(rate, &voice(rate, seed)), None, "{rate:?}, voice {seed}");
        }
    }
}

#[test]
fn a_higher_or_lower_rate_is_known_within_2_s_of_speech() {
    for (stream, bot, voices, expected) in [
        (SampleRate::Hz8000, SampleRate::Hz16000, 0..5, WrongRate::Higher),
        (SampleRate::Hz8000, SampleRate::Hz24000, 0..5, WrongRate::Higher),
        (SampleRate::Hz16000, SampleRate::Hz8000, 0..5, WrongRate::Lower),
        (SampleRate::Hz24000, SampleRate::Hz8000, 0..5, WrongRate::Lower),
    ] {
        for seed in voices {
            let Some((sounds, ms)) = verdict(stream, &voice(bot, seed)) else {
                panic!("{bot:?} on {stream:?}, voice {seed}: nothing was said");
            };
            assert_eq!(sounds, expected, "{bot:?} on {stream:?}, voice {seed}");
            assert!(ms <= 2600, "2 s of speech and its pauses: {ms} ms");
        }
    }
}

#[test]
fn tones_silence_noise_and_melodies_are_left_alone() {
    for rate in RATES {
        for hz in [60.0, 110.0, 440.0, 1004.0, 2100.0] {
            assert_eq!(verdict(rate, &Tone::new(rate, hz, 9000).take(rate.samples(9000))), None, "{hz} Hz at {rate:?}");
        }
        assert_eq!(verdict(rate, &vec![0; rate.samples(9000)]), None);
        let mut random = crate::base::random::Random::from_number(1);
        let noise: Vec<i16> = (0..rate.samples(9000)).map(|_| random.u16() as i16 / 8).collect();
        assert_eq!(verdict(rate, &noise), None);
        for seed in 0..8 {
            assert_eq!(verdict(rate, &melody(rate, seed)), None, "melody {seed} at {rate:?}");
        }
    }
}

/// Plucked notes of seven harmonics on a random scale.
fn melody(rate: SampleRate, seed: u64) -> Vec<i16> {
    let mut random = crate::base::random::Random::from_number(seed);
    let root = [82.0, 110.0, 147.0, 196.0, 262.0, 330.0][random.below(6) as usize];
    let mut out = Vec::new();
    for _ in 0..20 {
        let hz = root * 2_f64.powf(f64::from(random.below(12)) / 12.0 - 0.25);
        let samples = rate.samples(100 * (2 + random.below(5)));
        let note = |n: usize| {
            let time = n as f64 / f64::from(rate.hz());
            let wave: f64 = (1..8).map(|h| (TAU * hz * f64::from(h) * time).sin() / f64::from(h)).sum();
            (wave * 6000.0 * (-3.0 * time).exp() * (time / 0.01).min(1.0)) as i16
        };
        out.extend((0..samples).map(note));
    }
    out
}

#[test]
fn a_stream_is_listened_to_for_ten_seconds_at_most() {
    let mut detective = Detective::new(SampleRate::Hz8000);
    let mut voice = Speech::new(SampleRate::Hz8000, 1);
    let heard = (1..=500).find(|_| {
        detective.hear(&voice.take(160));
        detective.is_done()
    });
    assert!(heard.is_some(), "and then never again");
    let most = i16::MIN;
    assert_eq!(Detective::new(SampleRate::Hz8000).hear(&[most; 8000 * 9]), None, "no sum overflows");
}

#[test]
fn a_stream_costs_no_memory_for_this_until_its_bot_speaks_and_none_after() {
    assert!(size_of::<Suspicion>() <= 16 && size_of::<Detective>() <= 2560, "{}", size_of::<Detective>());
    let mut suspicion = Suspicion::default();
    assert_eq!(suspicion.hear(&voice(SampleRate::Hz8000, 1)), None);
    assert!(matches!(suspicion, Suspicion::Silent));
    suspicion.begin(SampleRate::Hz8000);
    suspicion.hear(&voice(SampleRate::Hz8000, 1));
    suspicion.begin(SampleRate::Hz8000);
    assert!(matches!(suspicion, Suspicion::Over), "it was heard");
}
