//! Codecs that conceal and recover by themselves, clocks other than 8 kHz, and noise in the gaps.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use super::tests::SETTINGS;
use super::*;

/// What the codec under test puts into a hole.
const CONCEALED: i16 = -7;

/// A codec of 48 kHz whose packet `n` is a level of 100 n; it can tell the level of the packet before.
#[derive(Default)]
struct Codec {
    lost: Vec<u64>,
    recovers: bool,
    concealed: usize,
}

impl Player for Codec {
    fn decode(&mut self, _decoder: u8, payload: &[u8], out: &mut Vec<i16>) {
        out.resize(out.len() + usize::from(payload[1]) * 48, i16::from(payload[0]) * 100);
    }

    fn conceal(&mut self, decoder: u8, samples: usize, out: &mut Vec<i16>) -> bool {
        assert_eq!(decoder, 3);
        self.concealed += samples;
        out.resize(out.len() + samples, CONCEALED);
        true
    }

    fn recover(&mut self, decoder: u8, next: &[u8], samples: usize, out: &mut Vec<i16>) -> bool {
        assert_eq!(decoder, 3);
        if self.recovers {
            out.resize(out.len() + samples, i16::from(next[0] - 1) * 100);
        }
        self.recovers
    }

    fn missing_between(&self, after: u64, before: u64) -> u64 {
        self.lost.iter().filter(|lost| (after + 1..before).contains(lost)).count() as u64
    }
}

/// Sends 40 packets of `ms` without those lost; what is heard from the first on, a value for each millisecond.
fn hear(codec: &mut Codec, ms: u32) -> Vec<i16> {
    let start = Instant::now();
    let mut buffer = JitterBuffer::new(48_000, SampleRate::Hz48000, SETTINGS);
    let mut out = Vec::new();
    for tick in 0..40 * ms / 20 + 2 {
        let now = start + FRAME * tick;
        for number in (0..40_u64).filter(|number| !codec.lost.contains(number)) {
            // Packets of 10 ms come by two.
            if number * u64::from(ms) / 20 * 20 == u64::from(tick) * 20
                && (ms <= 20 || number * u64::from(ms) % 20 == 0)
            {
                let payload = [number as u8, ms as u8];
                let timestamp = (number as u32).wrapping_mul(ms * 48).wrapping_sub(7000);
                let arrival = Arrival {
                    sequence: number,
                    timestamp,
                    marker: false,
                    ticks: ms * 48,
                    decoder: 3,
                    payload: &payload,
                };
                buffer.insert(now, &arrival);
            }
        }
        let before = out.len();
        buffer.pull(now, codec, &mut out);
        assert_eq!(out.len() - before, 960, "exactly 20 ms");
    }
    out.chunks(48).skip(40).map(|chunk| chunk[47]).collect()
}

#[test]
fn rtp_021_a_codec_with_its_own_concealment_fills_holes_and_nothing_is_laid_over_what_returns() {
    let mut codec = Codec { lost: vec![10, 20, 21], ..Codec::default() };
    let heard = hear(&mut codec, 20);
    assert_eq!(codec.concealed, 3 * 960);
    assert_eq!((heard[199], heard[200], heard[219], heard[220]), (900, CONCEALED, CONCEALED, 1100));
    assert_eq!((heard[400], heard[439], heard[440]), (CONCEALED, CONCEALED, 2200));
}

#[test]
fn rtp_021_the_packet_before_the_next_is_recovered_from_it_and_only_that() {
    for ms in [10, 20, 40] {
        let mut codec = Codec { lost: vec![10, 20, 21], recovers: true, ..Codec::default() };
        let heard = hear(&mut codec, ms);
        let packet = |number: u32| heard[(number * ms) as usize..((number + 1) * ms) as usize].to_vec();
        assert_eq!(packet(9), vec![900; ms as usize], "{ms} ms");
        assert_eq!(packet(10), vec![1000; ms as usize], "{ms} ms");
        assert_eq!(packet(11), vec![1100; ms as usize], "{ms} ms");
        assert_eq!((packet(20)[0], packet(21)), (CONCEALED, vec![2100; ms as usize]), "{ms} ms");
    }
}

#[test]
fn rtp_021_a_codecs_own_concealment_is_silent_after_60_ms_too() {
    let mut codec = Codec { lost: (10..16).collect(), ..Codec::default() };
    let heard = hear(&mut codec, 20);
    assert_eq!((heard[200], heard[239], heard[260], heard[319]), (CONCEALED, CONCEALED, 0, 0));
    assert!(heard[240..260].windows(2).all(|pair| pair[0] <= pair[1]), "it fades");
    assert_eq!((codec.concealed, heard[330]), (3 * 960, 1600));
}

#[test]
fn rtp_007_gaps_are_noise_where_noise_is_wanted() {
    let start = Instant::now();
    let settings = Settings { fill: Fill::Noise, ..SETTINGS };
    let mut buffer = JitterBuffer::new(48_000, SampleRate::Hz48000, settings);
    let mut codec = Codec { lost: (10..30).collect(), ..Codec::default() };
    let mut out = Vec::new();
    for number in 0..40_u32 {
        let now = start + FRAME * number;
        let payload = [number as u8, 20];
        if !codec.lost.contains(&u64::from(number)) {
            let sequence = u64::from(number);
            let timestamp = number * 960;
            buffer.insert(
                now,
                &Arrival { sequence, timestamp, marker: false, ticks: 960, decoder: 3, payload: &payload },
            );
        }
        buffer.pull(now, &mut codec, &mut out);
    }
    let power = |frames: std::ops::Range<usize>| out[frames.start * 960..frames.end * 960].iter().any(|s| *s != 0);
    assert!(power(0..2), "before the first packet");
    assert!(out[16 * 960..28 * 960].iter().filter(|sample| **sample == 0).count() < 2000, "after the hole has faded");
    assert!(out[16 * 960..28 * 960].iter().all(|sample| sample.abs() < 60), "and low");
}
