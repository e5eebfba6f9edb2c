//! Level, passband, images, aliases and distortion, in figures.

use std::f64::consts::TAU;

use SampleRate::{Hz8000, Hz16000, Hz24000, Hz48000};

use super::*;
use crate::media::codec::{Codec, G722, Pcma, Pcmu};

const PAIRS: [(SampleRate, SampleRate); 8] = [
    (Hz8000, Hz16000),
    (Hz8000, Hz24000),
    (Hz8000, Hz48000),
    (Hz16000, Hz8000),
    (Hz24000, Hz8000),
    (Hz16000, Hz24000),
    (Hz24000, Hz16000),
    (Hz16000, Hz48000),
];

fn sine(rate: SampleRate, hz: f64, peak: f64, ms: u32) -> Vec<i16> {
    let step = TAU * hz / f64::from(rate.hz());
    (0..rate.samples(ms)).map(|n| (peak * (step * n as f64).sin()).round() as i16).collect()
}

fn rms(audio: &[i16]) -> f64 {
    (audio.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / audio.len() as f64).sqrt()
}

/// The level of a sine of `hz` in `audio`, in dB against a sine of `peak`. Whole periods make it exact.
fn level(audio: &[i16], rate: SampleRate, hz: f64, peak: f64) -> f64 {
    let step = TAU * hz / f64::from(rate.hz());
    let sum = |wave: fn(f64) -> f64| -> f64 {
        audio.iter().enumerate().map(|(n, sample)| f64::from(*sample) * wave(step * n as f64)).sum()
    };
    20.0 * (2.0 * sum(f64::sin).hypot(sum(f64::cos)) / audio.len() as f64 / peak).max(1e-9).log10()
}

/// The level of all that is not a sine of `hz`, in dB against that sine: THD+N.
fn distortion(audio: &[i16], rate: SampleRate, hz: f64) -> f64 {
    let amplitude = 10_f64.powf(level(audio, rate, hz, 1.0) / 20.0);
    let signal = amplitude * amplitude / 2.0;
    10.0 * ((rms(audio).powi(2) - signal).max(1e-9) / signal).log10()
}

/// 400 ms of `audio` at the other rate, from 100 ms on: all has settled, and whole Hertz have whole periods.
fn steady(from: SampleRate, to: SampleRate, audio: &[i16]) -> Vec<i16> {
    let mut out = Vec::new();
    match Resampler::new(from, to) {
        Some(mut resampler) => resampler.process(audio, &mut out),
        None => out.extend_from_slice(audio),
    }
    out[to.samples(100)..to.samples(500)].to_vec()
}

#[test]
fn equal_rates_need_no_resampler() {
    assert!(Resampler::new(Hz8000, Hz8000).is_none());
}

#[test]
fn a_sine_keeps_its_level_and_has_no_click_whatever_the_pieces() {
    for (from, to) in PAIRS {
        for piece_ms in [10, 20, 30] {
            let mut resampler = Resampler::new(from, to).expect("two rates");
            let (input, mut output) = (sine(from, 1004.0, 10_000.0, 600), Vec::new());
            for piece in input.chunks(from.samples(piece_ms)) {
                let before = output.len();
                resampler.process(piece, &mut output);
                assert_eq!(output.len() - before, to.samples(piece_ms));
            }
            let steady = &output[to.samples(20)..];
            let level = 20.0 * (rms(steady) / (10_000.0 / 2_f64.sqrt())).log10();
            assert!(level.abs() < 0.05, "{from:?} to {to:?}: {level} dB");
            let slope = 10_000.0 * TAU * 1004.0 / f64::from(to.hz()) + 4.0;
            let steepest = steady.windows(2).map(|pair| (i32::from(pair[1]) - i32::from(pair[0])).abs()).max();
            assert!(f64::from(steepest.unwrap_or(0)) <= slope, "{from:?} to {to:?}: a step of {steepest:?}");
        }
    }
}

#[test]
fn the_telephone_band_is_flat_and_delay_is_under_3_ms() {
    for (from, to) in PAIRS {
        for hz in [50.0, 300.0, 1000.0, 2000.0, 3000.0, 3400.0] {
            let level = level(&steady(from, to, &sine(from, hz, 10_000.0, 600)), to, hz, 10_000.0);
            let bound = if hz > 3300.0 { 0.3 } else { 0.1 };
            assert!(level.abs() < bound, "{from:?} to {to:?}: {level:.3} dB at {hz} Hz");
        }
        let mut step = vec![0; from.samples(20)];
        step.resize(from.samples(60), 10_000);
        let mut output = Vec::new();
        Resampler::new(from, to).expect("two rates").process(&step, &mut output);
        let half = output.iter().position(|sample| *sample >= 5000).expect("the step");
        let delay = (half - to.samples(20)) as f64 * 1000.0 / f64::from(to.hz());
        assert!((0.9..3.0).contains(&delay), "{from:?} to {to:?}: {delay:.2} ms");
    }
}

#[test]
fn images_of_the_telephone_band_are_68_db_down() {
    for to in [Hz16000, Hz24000, Hz48000] {
        for hz in [300.0, 1000.0, 2000.0, 3000.0, 3400.0] {
            let up = steady(Hz8000, to, &sine(Hz8000, hz, 10_000.0, 600));
            for image in [8000.0 - hz, 8000.0 + hz].into_iter().filter(|image| *image < f64::from(to.hz()) / 2.0) {
                let level = level(&up, to, image, 10_000.0);
                assert!(level < -68.0, "8 kHz to {to:?}: {hz} Hz has an image of {level:.1} dB at {image} Hz");
            }
        }
    }
}

#[test]
fn aliases_of_what_is_above_the_telephone_band_are_68_db_down_and_of_a_narrow_edge_6() {
    for from in [Hz16000, Hz24000] {
        for (hz, bound) in [(4600.0, -68.0), (5000.0, -68.0), (6000.0, -68.0), (7500.0, -68.0), (4100.0, -6.0)] {
            let down = steady(from, Hz8000, &sine(from, hz, 10_000.0, 600));
            let level = level(&down, Hz8000, 8000.0 - hz, 10_000.0);
            assert!(level < bound, "{from:?} to 8 kHz: {hz} Hz is heard at {level:.1} dB");
        }
    }
}

#[test]
fn samples_that_were_there_stay_as_they_are_on_the_way_up() {
    let narrow = sine(Hz8000, 700.0, 12_345.0, 100);
    for (to, factor) in [(Hz16000, 2), (Hz24000, 3)] {
        let mut wide = Vec::new();
        Resampler::new(Hz8000, to).expect("two rates").process(&narrow, &mut wide);
        let kept: Vec<i16> = wide.iter().step_by(factor).copied().collect();
        assert_eq!(kept[16..], narrow[..narrow.len() - 16], "2 ms later");
    }
}

/// 20 ms packets through one generation of a codec.
fn codec(codec: &dyn Codec, audio: &[i16]) -> Vec<i16> {
    let (mut encoder, mut decoder, mut out) = (codec.encoder(), codec.decoder(), Vec::new());
    for frame in audio.chunks(codec.sample_rate().samples(20)) {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload);
        decoder.decode(&payload, &mut out);
    }
    out
}

#[test]
fn distortion_of_1_khz_through_g711_to_the_bot_and_back_is_that_of_two_generations_of_g711() {
    // One generation has −37 to −39 dB; another adds as much again, 3 dB. Between them the rate goes up and down.
    for law in [&Pcmu as &dyn Codec, &Pcma] {
        let caller = codec(law, &sine(Hz8000, 1004.0, 10_000.0, 700));
        let one = distortion(&caller[Hz8000.samples(100)..Hz8000.samples(600)], Hz8000, 1004.0);
        assert!((-40.0..-36.0).contains(&one), "{one:.1} dB");
        for bot in [Hz8000, Hz16000, Hz24000] {
            let (mut wide, mut back) = (Vec::new(), Vec::new());
            match (Resampler::new(Hz8000, bot), Resampler::new(bot, Hz8000)) {
                (Some(mut up), Some(mut down)) => {
                    up.process(&caller, &mut wide);
                    down.process(&wide, &mut back);
                }
                _ => back.clone_from(&caller),
            }
            let heard = codec(law, &back);
            let two = distortion(&heard[Hz8000.samples(100)..Hz8000.samples(600)], Hz8000, 1004.0);
            let level = level(&heard[Hz8000.samples(100)..Hz8000.samples(600)], Hz8000, 1004.0, 10_000.0);
            assert!(two < one + 4.0, "by {bot:?}: {one:.1} dB, then {two:.1} dB");
            assert!(level.abs() < 0.1, "by {bot:?}: {level:.2} dB");
        }
    }
}

#[test]
fn distortion_of_1_khz_through_g722_is_its_own_at_16_khz_and_no_more_at_8() {
    let caller = codec(&G722, &sine(Hz16000, 1004.0, 10_000.0, 700));
    for bot in [Hz16000, Hz8000, Hz24000] {
        let heard = steady(Hz16000, bot, &caller);
        let (distortion, level) = (distortion(&heard, bot, 1004.0), level(&heard, bot, 1004.0, 10_000.0));
        assert!(distortion < -35.0 && level.abs() < 0.1, "{bot:?}: {distortion:.1} dB, {level:.2} dB");
    }
}

#[test]
fn full_scale_saturates_and_odd_pieces_lose_nothing() {
    for (from, to) in PAIRS {
        let square: Vec<i16> =
            (0..from.samples(500)).map(|n| if n / 20 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
        let (mut whole, mut pieces) = (Vec::new(), Vec::new());
        Resampler::new(from, to).expect("two rates").process(&square, &mut whole);
        let mut resampler = Resampler::new(from, to).expect("two rates");
        square.chunks(37).for_each(|piece| resampler.process(piece, &mut pieces));
        assert_eq!(whole.len(), to.samples(500));
        assert_eq!(pieces, whole);
        assert!(whole.contains(&i16::MAX) && whole.contains(&i16::MIN));
    }
}

#[test]
fn rtp_074_a_reset_drops_the_tail_and_what_waits() {
    for (from, to) in PAIRS {
        let mut resampler = Resampler::new(from, to).expect("two rates");
        let mut output = Vec::new();
        resampler.process(&sine(from, 1000.0, 20_000.0, 25), &mut output);
        resampler.reset();
        output.clear();
        resampler.process(&vec![0; from.samples(20)], &mut output);
        assert_eq!(output, vec![0; to.samples(20)], "{from:?} to {to:?}");
    }
}

#[test]
fn rtp_074_state_runs_on_over_messages() {
    for (from, to) in PAIRS {
        let audio = sine(from, 440.0, 20_000.0, 200);
        let (mut whole, mut messages) = (Vec::new(), Vec::new());
        Resampler::new(from, to).expect("two rates").process(&audio, &mut whole);
        let mut resampler = Resampler::new(from, to).expect("two rates");
        audio.chunks(from.samples(20)).for_each(|message| resampler.process(message, &mut messages));
        assert_eq!(messages, whole);
    }
}
