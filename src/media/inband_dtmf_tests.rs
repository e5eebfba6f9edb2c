//! Q.24's limits, one by one, on tones that G.711 has carried.

use super::*;
use crate::base::random::Random;
use crate::base::rtp_format::PCMU;
use crate::lab::speech::Speech;
use crate::media::codec::of_format;

/// One press: frequencies off by a share each, peaks, length and the pause after it in ms.
#[derive(Clone, Copy)]
struct Press {
    key: Key,
    off: (f32, f32),
    peaks: (f32, f32),
    tone_ms: u32,
    pause_ms: u32,
}

/// −10 dBm0 a tone.
const PEAK: f32 = 7165.0;
const PLAIN: Press = Press { key: (1, 1), off: (0.0, 0.0), peaks: (PEAK, PEAK), tone_ms: 100, pause_ms: 100 };

fn db(peak: f32, db: f32) -> f32 {
    peak * 10_f32.powf(db / 20.0)
}

fn line(rate: SampleRate, presses: &[Press], lead: usize, noise: f32) -> Vec<i16> {
    let mut random = Random::from_number(11);
    let mut out = vec![0.0; lead];
    for press in presses {
        let angle = |tone: usize, off: f32| TAU * TONES[tone] * (1.0 + off) / rate.hz() as f32;
        let (low, high) = (angle(press.key.0, press.off.0), angle(LOW + press.key.1, press.off.1));
        let tone = |n: usize| press.peaks.0 * (low * n as f32).sin() + press.peaks.1 * (high * n as f32 + 1.0).sin();
        out.extend((0..rate.samples(press.tone_ms)).map(tone));
        out.resize(out.len() + rate.samples(press.pause_ms), 0.0);
    }
    out.resize(out.len().next_multiple_of(rate.samples(20)) + rate.samples(100), 0.0);
    let mut hiss = || (f32::from(random.u16()) / 32_768.0 - 1.0) * noise;
    out.iter().map(|sample| (sample + hiss()) as i16).collect()
}

fn through_g711(audio: &[i16]) -> Vec<i16> {
    let (codec, mut coded, mut heard) = (of_format(&PCMU).expect("PCMU"), Vec::new(), Vec::new());
    codec.encoder().encode(audio, &mut coded);
    codec.decoder().decode(&coded, &mut heard);
    heard
}

fn found(rate: SampleRate, audio: &[i16], at_start: bool) -> Vec<Found> {
    let mut detector = InbandDtmf::new(rate, at_start);
    audio.chunks_exact(rate.samples(20)).filter_map(|frame| detector.hear(frame).0).collect()
}

/// The digits of `presses`, wherever the frames fall: they must be the same.
fn digits(presses: &[Press], noise: f32) -> String {
    let at = |lead| {
        let audio = through_g711(&line(SampleRate::Hz8000, presses, lead, noise));
        found(SampleRate::Hz8000, &audio, false).iter().map(|found| found.digit).collect::<String>()
    };
    let first = at(0);
    for lead in (7..160).step_by(9) {
        assert_eq!(at(lead), first, "{lead} samples into a frame");
    }
    first
}

fn all_keys() -> impl Iterator<Item = Key> {
    (0..4).flat_map(|low| (0..4).map(move |high| (low, high)))
}

#[test]
fn rtp_060_all_sixteen_keys_of_40_ms_and_40_ms_pause_are_found_at_any_rate() {
    let presses: Vec<Press> = all_keys().map(|key| Press { key, tone_ms: 40, pause_ms: 40, ..PLAIN }).collect();
    assert_eq!(digits(&presses, 0.0), "123A456B789C*0#D");
    for rate in [SampleRate::Hz16000, SampleRate::Hz48000] {
        let heard = found(rate, &line(rate, &presses, 33, 0.0), true);
        assert_eq!(heard.iter().map(|found| found.digit).collect::<String>(), "123A456B789C*0#D");
    }
}

#[test]
fn rtp_060_the_same_key_with_40_ms_between_is_two_and_with_10_ms_is_one() {
    assert_eq!(digits(&[Press { pause_ms: 40, tone_ms: 60, ..PLAIN }; 3], 0.0), "555");
    for lead in 0..160 {
        let mut audio = line(SampleRate::Hz8000, &[Press { tone_ms: 120, ..PLAIN }], lead, 0.0);
        audio[lead + 480..lead + 560].fill(0);
        let heard = found(SampleRate::Hz8000, &through_g711(&audio), false);
        assert_eq!(heard.len(), 1, "an interruption of 10 ms, {lead} samples into a frame: {heard:?}");
    }
}

#[test]
fn rtp_060_tones_under_26_ms_are_none() {
    assert_eq!(digits(&[Press { tone_ms: 23, ..PLAIN }; 8], 0.0), "");
}

#[test]
fn rtp_060_1_5_percent_off_is_found_and_3_5_percent_is_not() {
    for (off, heard) in [(0.015, true), (0.035, false)] {
        for (low, high) in [(off, off), (-off, off), (off, -off), (-off, -off)] {
            for key in all_keys() {
                let one = Press { key, off: (low, high), ..PLAIN };
                let expected = if heard { KEYS[key.0][key.1].to_string() } else { String::new() };
                assert_eq!(digits(&[one], 0.0), expected, "{low} {high} {key:?}");
            }
        }
    }
    for off in [0.035, -0.035] {
        assert_eq!(digits(&[Press { off: (off, 0.0), ..PLAIN }, Press { off: (0.0, off), ..PLAIN }], 0.0), "");
    }
}

#[test]
fn rtp_060_twist_of_plus_4_and_minus_8_db_is_found_and_of_10_and_18_is_not() {
    for key in all_keys() {
        let expected = KEYS[key.0][key.1].to_string();
        let with = |twist: f32| digits(&[Press { key, peaks: (PEAK, db(PEAK, twist)), ..PLAIN }], 0.0);
        assert_eq!((with(4.0), with(-8.0)), (expected.clone(), expected), "{key:?}");
        assert_eq!((with(10.0), with(-18.0)), (String::new(), String::new()), "{key:?}");
    }
}

#[test]
fn rtp_060_levels_from_0_to_minus_30_dbm0_and_15_db_of_noise_are_put_up_with() {
    let loudest = db(PEAK, 6.0);
    for level in [0.0, -10.0, -20.0, -30.0] {
        let peak = db(loudest, level);
        // White noise 15 dB below the two tones.
        let noise = db(peak * 3_f32.sqrt(), -15.0);
        let presses: Vec<Press> = all_keys().map(|key| Press { key, peaks: (peak, peak), ..PLAIN }).collect();
        assert_eq!(digits(&presses, noise), "123A456B789C*0#D", "{level} dB");
    }
    let faint = db(PEAK, -38.0);
    assert_eq!(digits(&[Press { peaks: (faint, faint), ..PLAIN }], 0.0), "", "under the weakest");
}

#[test]
fn rtp_056_a_digit_has_its_length_within_10_ms_and_is_told_at_its_start_where_asked() {
    for tone_ms in [40, 65, 100, 160, 500] {
        for lead in (0..160).step_by(23) {
            let audio = through_g711(&line(SampleRate::Hz8000, &[Press { tone_ms, ..PLAIN }], lead, 0.0));
            let ended = found(SampleRate::Hz8000, &audio, false);
            assert!(ended.len() == 1 && ended[0].duration_ms.abs_diff(tone_ms) <= 10, "{tone_ms}: {ended:?}");
            let begun = found(SampleRate::Hz8000, &audio, true);
            assert!(begun.len() == 1 && begun[0].duration_ms <= 40, "{tone_ms}: {begun:?}");
        }
    }
}

#[test]
fn rtp_062_a_tone_is_muted_from_its_first_30_ms_on_to_its_end() {
    let audio = line(SampleRate::Hz8000, &[PLAIN], 0, 0.0);
    let mut detector = InbandDtmf::new(SampleRate::Hz8000, false);
    let muted: Vec<bool> = audio.chunks_exact(160).take(9).map(|frame| detector.hear(frame).1).collect();
    assert_eq!(&muted[..5], [true; 5]);
    assert_eq!(&muted[6..], [false; 3], "speech after it is heard");
}

#[test]
fn rtp_060_speech_is_no_digit() {
    let capture = include_bytes!("../../pcap/speech.ulaw");
    let mut heard = Vec::new();
    of_format(&PCMU).expect("PCMU").decoder().decode(capture, &mut heard);
    assert_eq!(found(SampleRate::Hz8000, &heard, true), []);
    for seed in 0..5 {
        let mut voice = Speech::new(SampleRate::Hz8000, seed);
        assert_eq!(found(SampleRate::Hz8000, &voice.take(8000 * 20), true), [], "voice {seed}");
    }
}

#[test]
fn rtp_060_single_tones_call_progress_and_noise_are_no_digits() {
    let tones = |hz: &[f32]| -> Vec<i16> {
        let wave = |n: u32| hz.iter().map(|hz| 6000.0 * (TAU * hz * n as f32 / 8000.0).sin()).sum::<f32>() as i16;
        (0..16_000).map(wave).collect()
    };
    for hz in [
        &[770.0][..],
        &[1336.0],
        &[350.0, 440.0],
        &[440.0, 480.0],
        &[480.0, 620.0],
        &[1100.0],
        &[2100.0],
        &[770.0, 852.0],
        &[1004.0],
    ] {
        assert_eq!(found(SampleRate::Hz8000, &through_g711(&tones(hz)), true), [], "{hz:?}");
    }
    assert_eq!(found(SampleRate::Hz8000, &tones(&[770.0, 1336.0, 1540.0, 2672.0]), true), [], "with second harmonics");
    let mut random = Random::from_number(1);
    let noise: Vec<i16> = (0..160_000).map(|_| random.u16() as i16 / 2).collect();
    assert_eq!(found(SampleRate::Hz8000, &noise, true), []);
}
