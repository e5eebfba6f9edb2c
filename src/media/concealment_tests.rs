//! Holes in tones, in speech-like sound and in noise.

use super::*;

/// A voice: a pulse every `period` samples, ringing, at 8 kHz times `factor`.
fn voice(period: usize, factor: usize, count: usize) -> Vec<i16> {
    let period = period * factor;
    let value = |n: usize| {
        let since = (n % period) as f64 / factor as f64;
        9000.0 * (-since / 18.0).exp() * (since * 0.55).cos()
            + 1500.0 * (since / period as f64 * factor as f64 * std::f64::consts::TAU).sin()
    };
    (0..count).map(|n| value(n) as i16).collect()
}

fn sine(hz: f64, rate: SampleRate, ms: u32) -> Vec<i16> {
    let rate_hz = f64::from(rate.hz());
    (0..rate.samples(ms)).map(|n| (8000.0 * (std::f64::consts::TAU * hz * n as f64 / rate_hz).sin()) as i16).collect()
}

fn steepest(audio: &[i16]) -> u16 {
    audio.windows(2).map(|pair| pair[0].abs_diff(pair[1])).max().unwrap_or(0)
}

fn rms(audio: &[i16]) -> f64 {
    (audio.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / audio.len() as f64).sqrt()
}

/// 100 ms of sound, a hole, the rest of the sound: in frames of 20 ms.
fn with_hole(sound: &[i16], rate: SampleRate, hole_ms: u32) -> Vec<i16> {
    let frame = rate.samples(20);
    let (hole, from) = (rate.samples(hole_ms), rate.samples(100));
    let mut concealment = Concealment::new(rate);
    let mut out = Vec::new();
    for packet in sound[..from].chunks(frame) {
        concealment.heard(packet);
        out.extend_from_slice(packet);
    }
    (0..hole / frame).for_each(|_| concealment.fill(frame, &mut out));
    for packet in sound[from + hole..].chunks(frame) {
        let mut packet = packet.to_vec();
        concealment.resume(&mut packet);
        concealment.heard(&packet);
        out.extend(packet);
    }
    assert_eq!(out.len(), sound.len());
    out
}

#[test]
fn rtp_021_a_lost_frame_is_concealed_from_the_last_pitch_period() {
    for (rate, factor) in [(SampleRate::Hz8000, 1), (SampleRate::Hz16000, 2), (SampleRate::Hz24000, 3)] {
        for period in [44, 61, 80, 115] {
            let sound = voice(period, factor, rate.samples(300));
            let heard = with_hole(&sound, rate, 20);
            // In the first 10 ms at full level, then up to a fifth lower.
            let hole = rate.samples(100)..rate.samples(120);
            let error: Vec<i16> = sound[hole.clone()].iter().zip(&heard[hole]).map(|(a, b)| a - b).collect();
            let ratio = rms(&error) / rms(&sound);
            assert!(ratio < 0.2, "{rate:?}, period {period}: an error of {ratio}");
            assert_eq!(heard[rate.samples(130)..], sound[rate.samples(130)..], "10 ms later it is the sound itself");
        }
    }
}

#[test]
fn rtp_021_neither_the_hole_nor_its_end_has_a_step() {
    for rate in [SampleRate::Hz8000, SampleRate::Hz16000] {
        for hz in [90.0, 150.0, 213.0, 400.0, 1004.0] {
            for hole in [20, 40, 60, 100] {
                let sound = sine(hz, rate, 400);
                let heard = with_hole(&sound, rate, hole);
                let slope = steepest(&sound);
                assert!(
                    steepest(&heard) < slope + slope / 2 + 800,
                    "{rate:?}, {hz} Hz, {hole} ms: {} beside {slope}",
                    steepest(&heard)
                );
            }
        }
    }
}

#[test]
fn rtp_021_it_keeps_its_level_for_10_ms_falls_by_a_fifth_each_10_ms_and_is_silent_after_60() {
    let mut concealment = Concealment::new(SampleRate::Hz8000);
    voice(80, 1, 800).chunks(160).for_each(|packet| concealment.heard(packet));
    let mut out = Vec::new();
    (0..5).for_each(|_| concealment.fill(160, &mut out));
    assert_eq!(out.len(), 800);
    let whole = rms(&out[..80]);
    for (step, share) in [(1, 0.9), (2, 0.7), (3, 0.5), (4, 0.3), (5, 0.1)] {
        let level = rms(&out[step * 80..(step + 1) * 80]) / whole;
        assert!((level - share).abs() < 0.08, "{share} of the level: {level}");
    }
    assert!(out[480..].iter().all(|sample| *sample == 0));
}

#[test]
fn rtp_021_after_10_ms_two_periods_are_repeated_and_after_20_three() {
    // Three periods that differ: which of them is heard tells how many are in the loop.
    let period = |height: i16| (0..80).map(move |n| if n == 20 { height } else { (n * 10) as i16 });
    let past: Vec<i16> = [8000, 8000, 8000, 12_000, 10_000, 8000].into_iter().flat_map(period).collect();
    let mut concealment = Concealment::new(SampleRate::Hz8000);
    concealment.heard(&past);
    let mut out = Vec::new();
    concealment.fill(480, &mut out);
    let peaks: Vec<i16> = out.chunks(80).map(|period| period.iter().copied().max().unwrap_or(0)).collect();
    let heights: Vec<f64> = (0..3).map(|n| f64::from(peaks[n]) / (1.0 - 0.2 * (n as f64 - 0.75).max(0.0))).collect();
    for (height, expected) in heights.iter().zip([8000.0, 10_000.0, 10_000.0]) {
        assert!((height - expected).abs() < 400.0, "{heights:?} of {peaks:?}");
    }
}

#[test]
fn rtp_021_with_no_past_there_is_silence_and_short_packets_make_up_the_past() {
    let mut concealment = Concealment::new(SampleRate::Hz8000);
    let mut out = Vec::new();
    concealment.fill(160, &mut out);
    assert_eq!(out, [0; 160]);
    let sound = voice(60, 1, 800);
    let (mut whole, mut pieces) = (Concealment::new(SampleRate::Hz8000), Concealment::new(SampleRate::Hz8000));
    whole.heard(&sound);
    sound.chunks(37).for_each(|piece| pieces.heard(piece));
    let (mut one, mut other) = (Vec::new(), Vec::new());
    whole.fill(160, &mut one);
    pieces.fill(160, &mut other);
    assert_eq!(one, other);
    pieces.forget();
    other.clear();
    pieces.fill(160, &mut other);
    assert_eq!(other, [0; 160]);
}

#[test]
fn rtp_021_sound_at_the_limits_does_not_wrap() {
    let mut concealment = Concealment::new(SampleRate::Hz8000);
    let square: Vec<i16> = (0..800).map(|n| if n / 33 % 2 == 0 { i16::MAX } else { i16::MIN }).collect();
    concealment.heard(&square);
    let mut out = Vec::new();
    concealment.fill(160, &mut out);
    assert!(out.iter().filter(|sample| sample.unsigned_abs() < 10_000).count() < 40, "{out:?}");
    let mut next = square[..160].to_vec();
    concealment.resume(&mut next);
    assert_eq!(next[100..], square[100..160]);
}
