//! What holds for every codec, and what each does to sound.

use std::f64::consts::TAU;

use proptest::prelude::*;

use super::*;

#[test]
fn every_file_of_the_folder_is_in_the_list_and_found_by_its_format() {
    let mut listed: Vec<_> = formats().iter().map(|format| format.encoding_name.to_ascii_lowercase()).collect();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/media/codec");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .filter(|stem| !["mod", "table", "tests"].contains(&stem.as_str()))
        .collect();
    files.sort();
    listed.sort();
    // A file may have several formats: linear PCM has two rates.
    listed.dedup();
    assert_eq!(files, listed);
    for (index, format) in formats().into_iter().enumerate() {
        assert_eq!(of_format(&format).map(|codec| codec.format()), Some(format));
        let others = formats().into_iter().skip(index + 1);
        assert!(others.into_iter().all(|other| other.payload_type != format.payload_type), "{format:?}");
    }
}

#[test]
fn rtp_032_silence_is_ff_in_pcmu_d5_in_pcma_and_0_in_l16() {
    for (codec, code) in [(&Pcmu as &dyn Codec, 0xFF), (&Pcma, 0xD5), (&L16::NARROW, 0)] {
        let mut payload = Vec::new();
        codec.encoder().encode(&[0; 160], &mut payload);
        assert!(payload.iter().all(|octet| *octet == code), "{}", codec.format().encoding_name);
    }
}

#[test]
fn rtp_031_a_packet_lasts_as_many_ticks_as_its_clock_counts_whatever_the_sample_rate() {
    for codec in CODECS {
        let format = codec.format();
        for ms in format.packet_ms {
            let samples = codec.sample_rate().samples(u32::from(*ms));
            let (mut payload, mut back) = (Vec::new(), Vec::new());
            codec.encoder().encode(&vec![100; samples], &mut payload);
            assert_eq!(codec.ticks(&payload), format.clock_rate / 1000 * u32::from(*ms), "{format:?}");
            codec.decoder().decode(&payload, &mut back);
            assert_eq!(back.len(), samples, "{format:?}");
            assert!(payload.len() <= 1500 - 28 - 12 - 20, "{format:?}: {} octets", payload.len());
        }
    }
}

/// A voice: a glottal pulse train of moving pitch through moving resonances, as a sum of harmonics.
pub(super) fn voice(rate: SampleRate, ms: u32) -> Vec<i16> {
    let (hz, mut phase) = (f64::from(rate.hz()), 0.0);
    (0..rate.samples(ms))
        .map(|n| {
            let t = n as f64 / hz;
            let pitch = 120.0 + 25.0 * (TAU * 0.9 * t).sin();
            phase += pitch / hz;
            let formants = [500.0 + 250.0 * (TAU * 1.7 * t).sin(), 1500.0 + 500.0 * (TAU * 2.3 * t).sin(), 2500.0];
            let loudness = 0.55 + 0.45 * (TAU * 3.0 * t).sin();
            let harmonics = (1..(3400.0 / pitch) as u32).map(|k| {
                let at = f64::from(k) * pitch;
                let gain: f64 = formants.iter().map(|formant| 1.0 / (1.0 + ((at - formant) / 120.0).powi(2))).sum();
                gain * (TAU * f64::from(k) * phase).sin()
            });
            (3500.0 * loudness * harmonics.sum::<f64>()) as i16
        })
        .collect()
}

fn tone(rate: SampleRate, hz: f64, peak: f64, ms: u32) -> Vec<i16> {
    let step = TAU * hz / f64::from(rate.hz());
    (0..rate.samples(ms)).map(|n| (peak * (step * n as f64).sin()).round() as i16).collect()
}

/// In packets of 20 ms through the encoder and the decoder.
fn through(codec: &dyn Codec, audio: &[i16]) -> Vec<i16> {
    let (mut encoder, mut decoder, mut out) = (codec.encoder(), codec.decoder(), Vec::new());
    for frame in audio.chunks(codec.sample_rate().samples(20)) {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload);
        decoder.decode(&payload, &mut out);
    }
    out
}

/// Signal to noise in dB of `heard`, which is `said` `delay` samples later.
fn snr(said: &[i16], heard: &[i16], delay: usize) -> f64 {
    let energy = |sum: f64, sample: f64| sum + sample * sample;
    let signal = said.iter().map(|sample| f64::from(*sample)).fold(0.0, energy);
    let noise =
        said.iter().zip(&heard[delay..]).map(|(one, other)| f64::from(*one) - f64::from(*other)).fold(0.0, energy);
    10.0 * (signal / noise.max(1e-9)).log10()
}

/// The delay, up to 15 ms, at which `heard` is nearest to `said`, and how near.
fn best(rate: SampleRate, said: &[i16], heard: &[i16]) -> (usize, f64) {
    let said = &said[..said.len() - rate.samples(15)];
    let all = (0..rate.samples(15)).map(|delay| (delay, snr(said, heard, delay)));
    all.max_by(|one, other| one.1.total_cmp(&other.1)).expect("delays")
}

#[test]
fn g711_theory_gives_38_db_for_a_tone_and_37_for_a_voice() {
    // Uniform steps within segments: 37 to 38.5 dB over 30 dB of level.
    for codec in [&Pcmu as &dyn Codec, &Pcma] {
        for peak in [20_000.0, 6_000.0, 1_000.0] {
            let said = tone(SampleRate::Hz8000, 1004.0, peak, 500);
            let snr = snr(&said, &through(codec, &said), 0);
            assert!((36.0..40.0).contains(&snr), "{} at {peak}: {snr:.1} dB", codec.format().encoding_name);
        }
        let said = voice(SampleRate::Hz8000, 1000);
        let snr = snr(&said, &through(codec, &said), 0);
        assert!((36.0..40.0).contains(&snr), "{}: {snr:.1} dB", codec.format().encoding_name);
    }
}

#[test]
fn g722_is_wideband_flat_and_delays_by_its_filters_only() {
    let rate = SampleRate::Hz16000;
    for (hz, db) in [(300.0, 0.1), (1000.0, 0.1), (2000.0, 0.1), (3400.0, 0.1), (6000.0, 0.2), (6800.0, 0.2)] {
        let heard = through(&G722, &tone(rate, hz, 10_000.0, 600));
        let steady = &heard[rate.samples(100)..];
        let level = 20.0 * (rms(steady) * 2_f64.sqrt() / 10_000.0).log10();
        assert!(level.abs() < db, "{hz} Hz: {level:.2} dB");
    }
    let said = tone(rate, 1000.0, 10_000.0, 600);
    let tone_snr = snr(&said[..8000], &through(&G722, &said), 22);
    let (delay, voice_snr) = best(rate, &voice(rate, 1000), &through(&G722, &voice(rate, 1000)));
    assert_eq!(delay, 22, "two QMFs of 24 taps");
    // Six adaptive bits for the lower band: 32 dB.
    assert!(tone_snr > 31.0 && voice_snr > 31.0, "tone {tone_snr:.1} dB, voice {voice_snr:.1} dB");
}

#[test]
fn g722_gives_these_payloads_for_these_sounds() {
    let mut payload = Vec::new();
    G722.encoder().encode(&tone(SampleRate::Hz16000, 1000.0, 10_000.0, 2), &mut payload);
    let expected = [0xFA, 0x92, 0x23, 0x8D, 0x23, 0x93, 0xA0, 0xA0, 0x20, 0xB0, 0xCA, 0xC8, 0xCE, 0xDC, 0xED, 0xE9];
    assert_eq!(payload, expected, "{payload:02X?}");
    let (mut silence, mut heard) = (Vec::new(), Vec::new());
    G722.encoder().encode(&[0; 640], &mut silence);
    G722.decoder().decode(&silence, &mut heard);
    assert!(heard.iter().all(|sample| sample.abs() <= 16), "silence stays silence");
}

#[test]
fn opus_carries_a_voice_at_16_khz() {
    let (rate, said) = (SampleRate::Hz16000, voice(SampleRate::Hz16000, 2000));
    let heard = through(&Opus, &said);
    let (delay, snr) = best(rate, &said, &heard);
    assert!(delay <= rate.samples(12), "{delay} samples");
    assert!(snr > 8.0, "{snr:.1} dB");
    let level = 20.0 * (rms(&heard) / rms(&said)).log10();
    assert!(level.abs() < 1.0, "{level:.2} dB");
}

/// Packets of `audio`, 20 ms each.
fn packets(codec: &dyn Codec, audio: &[i16]) -> Vec<Vec<u8>> {
    let mut encoder = codec.encoder();
    let frames = audio.chunks(codec.sample_rate().samples(20));
    frames
        .map(|frame| {
            let mut payload = Vec::new();
            encoder.encode(frame, &mut payload);
            payload
        })
        .collect()
}

#[test]
fn rtp_021_what_opus_repeats_of_a_lost_packet_is_nearer_to_it_than_concealment() {
    let packets = packets(&Opus, &voice(SampleRate::Hz16000, 4000));
    let (mut recovered, mut concealed, mut gains) = (0, 0.0, 0.0);
    for lost in (20..packets.len() - 1).step_by(5) {
        let heard = |fill: fn(&mut dyn Decoder, &[u8], &mut Vec<i16>)| {
            let (mut decoder, mut out) = (Opus.decoder(), Vec::new());
            packets[..lost].iter().for_each(|packet| decoder.decode(packet, &mut out));
            out.clear();
            fill(&mut *decoder, &packets[lost + 1], &mut out);
            assert_eq!(out.len(), 320);
            out
        };
        let whole = {
            let (mut decoder, mut out) = (Opus.decoder(), Vec::new());
            packets[..=lost].iter().for_each(|packet| decoder.decode(packet, &mut out));
            out.split_off(out.len() - 320)
        };
        if !Opus.decoder().recover(&packets[lost + 1], 320, &mut Vec::new()) {
            continue;
        }
        recovered += 1;
        let fec = snr(&whole, &heard(|decoder, next, out| assert!(decoder.recover(next, 320, out))), 0);
        let plc = snr(&whole, &heard(|decoder, _, out| assert!(decoder.conceal(320, out))), 0);
        concealed += plc;
        gains += fec - plc;
    }
    let (concealed, gain) = (concealed / f64::from(recovered), gains / f64::from(recovered));
    assert!(recovered >= 20, "{recovered} packets repeat the one before");
    assert!(gain > 6.0, "FEC {gain:.1} dB above concealment at {concealed:.1} dB");
}

#[test]
fn rtp_021_opus_conceals_any_length_and_recovers_nothing_from_packets_without_a_copy() {
    let mut decoder = Opus.decoder();
    let packets = packets(&Opus, &voice(SampleRate::Hz16000, 200));
    packets.iter().for_each(|packet| decoder.decode(packet, &mut Vec::new()));
    for samples in [320, 1, 40, 333, 960, 2000, 0] {
        let mut out = vec![7];
        assert!(decoder.conceal(samples, &mut out));
        assert_eq!(out.len(), 1 + samples);
    }
    // CELT at 20 ms, and three frames in a packet of code 3.
    for packet in [&[0xB8, 1, 2, 3][..], &[0x4B, 3, 1, 2, 3], &[]] {
        let mut out = vec![7];
        assert!(!decoder.recover(packet, 320, &mut out));
        assert_eq!(out, [7]);
    }
}

#[test]
fn a_codec_without_its_own_concealment_says_so() {
    for codec in [&Pcmu as &dyn Codec, &Pcma, &G722, &L16::WIDE] {
        let mut out = Vec::new();
        assert!(!codec.decoder().conceal(160, &mut out) && !codec.decoder().recover(&[1; 160], 160, &mut out));
        assert!(out.is_empty());
    }
}

pub(super) fn rms(audio: &[i16]) -> f64 {
    (audio.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / audio.len() as f64).sqrt()
}

proptest! {
    #[test]
    fn nothing_that_comes_from_the_wire_breaks_a_decoder(
        payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..12),
    ) {
        for codec in CODECS {
            let mut decoder = codec.decoder();
            for payload in &payloads {
                let mut out = Vec::new();
                let ticks = u64::from(codec.ticks(payload));
                decoder.recover(payload, 320, &mut out);
                out.clear();
                decoder.decode(payload, &mut out);
                let rate = u64::from(codec.sample_rate().hz());
                let samples = ticks * rate / u64::from(codec.format().clock_rate);
                prop_assert!(ticks == 0 || out.len() as u64 == samples, "{}: {samples}, {}", codec.format().encoding_name, out.len());
                out.clear();
                decoder.conceal(320, &mut out);
            }
        }
    }

    #[test]
    fn no_sound_breaks_an_encoder(loud in proptest::collection::vec(any::<i16>(), 1280..=1280), square in any::<bool>()) {
        let square: Vec<i16> = loud.iter().map(|sample| if square { if *sample < 0 { i16::MIN } else { i16::MAX } } else { *sample }).collect();
        for codec in CODECS {
            prop_assert_eq!(through(*codec, &square).len(), 1280);
        }
    }
}
