//! Every codec both ways: clocks of timestamps, samples of frames, and a change of codec in mid-call.

use std::f64::consts::TAU;

use super::*;
use crate::base::rtp_format::{G722, L16, L16_WIDE, OPUS, PCMA, RtpFormat};
use crate::media::codec::{Codec, Encoder, of_format};

/// A session's peer with a codec of its own.
struct Caller {
    codec: &'static dyn Codec,
    encoder: Box<dyn Encoder>,
    said: usize,
}

impl Caller {
    fn new(format: RtpFormat) -> Self {
        let codec = of_format(&format).expect("a codec of ours");
        Self { codec, encoder: codec.encoder(), said: 0 }
    }

    /// Says 20 ms of a tone of 1 kHz.
    fn say(&mut self, world: &mut World) {
        let rate = self.codec.sample_rate();
        let step = TAU * 1000.0 / f64::from(rate.hz());
        let tone: Vec<i16> =
            (0..rate.samples(20)).map(|n| (9000.0 * (step * (self.said + n) as f64).sin()) as i16).collect();
        self.said += tone.len();
        let mut payload = Vec::new();
        self.encoder.encode(&tone, &mut payload);
        world.receive(self.codec.format().payload_type, &payload);
        // The world's clock is that of G.711.
        world.timestamp = world.timestamp.wrapping_add(self.codec.format().clock_rate / 50 - 160);
        world.tick();
    }
}

fn agreed(format: RtpFormat) -> MediaFormat {
    let telephone_event = Some((101, format.clock_rate));
    MediaFormat { format, payload_type: format.payload_type, telephone_event, ..pcmu() }
}

const FORMATS: [RtpFormat; 6] = [PCMU, PCMA, G722, OPUS, L16_WIDE, L16];

#[test]
fn sdp_004_every_codec_is_heard_at_every_rate_of_the_stream_in_its_own_time() {
    for format in FORMATS {
        for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000] {
            let (mut world, mut caller) = (World::with(settings(), &agreed(format)), Caller::new(format));
            world.session.set_stream_rate(rate);
            (0..100).for_each(|_| caller.say(&mut world));
            assert_eq!(world.heard.len(), rate.samples(2000), "{format:?}: 20 ms at every tick");
            let steady = &world.heard[rate.samples(500)..];
            let energy = steady.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / steady.len() as f64;
            let level = 10.0 * (energy * 2.0 / 9000.0_f64.powi(2)).log10();
            assert!(level.abs() < 0.8, "{format:?} at {rate:?}: {level:.2} dB");
            let crossings = steady.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
            assert!((1498..=1502).contains(&crossings), "{format:?} at {rate:?}: {crossings} periods in 1.5 s");
            let report = world.report();
            let counted = (report.late, report.discarded, report.concealed_ms, report.unknown_payload_type);
            assert_eq!(counted, (0, 0, 0, 0), "{format:?} at {rate:?}");
            assert!(report.jitter_max_ms < 0.1, "{format:?}: jitter of {} ms on a steady line", report.jitter_max_ms);
        }
    }
}

#[test]
fn rtp_031_timestamps_go_up_by_the_codecs_clock_and_packets_have_its_packet_time() {
    for format in FORMATS {
        for ptime_ms in [10, 20, 30, 40, 60] {
            let mut world = World::with(settings(), &MediaFormat { ptime_ms, ..agreed(format) });
            world.session.set_stream_rate(SampleRate::Hz16000);
            let samples = world.session.packet_samples();
            let sent_ms = format.packet_time(ptime_ms);
            assert_eq!(samples, usize::from(sent_ms) * 16, "{format:?} of {ptime_ms} ms");
            let first = world.send(&vec![500; samples]).expect("a packet").1;
            let second = world.send(&vec![500; samples]).expect("a packet").1;
            let (first, second) = (read(&first), read(&second));
            let ticks = u32::from(sent_ms) * format.clock_rate / 1000;
            assert_eq!(second.timestamp.wrapping_sub(first.timestamp), ticks, "{format:?} of {ptime_ms} ms");
            let codec = of_format(&format).expect("a codec of ours");
            assert_eq!((codec.ticks(second.payload), second.payload_type), (ticks, format.payload_type));
        }
    }
}

#[test]
fn sdp_012_a_codec_of_another_clock_in_mid_call_leaves_no_hole_in_the_bots_time() {
    for (before, after) in [(PCMU, OPUS), (OPUS, G722), (G722, PCMA), (PCMA, L16_WIDE), (L16_WIDE, PCMU), (PCMU, G722)]
    {
        let mut world = World::with(settings(), &agreed(before));
        world.session.set_stream_rate(SampleRate::Hz16000);
        let mut caller = Caller::new(before);
        for _ in 0..50 {
            caller.say(&mut world);
            world.send(&[700; 320]);
            world.ms -= 20;
        }
        let last = world.send(&[700; 320]).expect("a packet").1;
        world.ms -= 20;
        let now = world.now();
        assert!(world.session.set_format(now, &agreed(after), true));
        let next = world.send(&[700; 320]).expect("a packet").1;
        world.ms -= 20;
        let (last, next) = (read(&last), read(&next));
        assert_eq!(next.sequence, last.sequence.wrapping_add(1), "sequence numbers run on");
        let same_clock = before.clock_rate == after.clock_rate;
        assert_eq!((next.ssrc == last.ssrc, next.marker), (same_clock, !same_clock), "{before:?} to {after:?}");
        let mut caller = Caller::new(after);
        (0..50).for_each(|_| caller.say(&mut world));
        assert_eq!(world.heard.len(), 16 * 2000, "{before:?} to {after:?}");
        let loud = |from: usize| world.heard[from..][..320].iter().any(|sample| sample.abs() > 5000);
        let silent = (0..100).filter(|frame| !loud(frame * 320)).count();
        assert!(
            silent <= 3 + 6,
            "{before:?} to {after:?}: {silent} frames of silence, the jitter buffer's start included"
        );
        assert!(loud(16 * 1900), "heard in the new codec");
        assert_eq!(world.report().codec, Some(after.encoding_name));
    }
}

#[test]
fn rtp_063_digits_run_on_the_clock_of_opus() {
    let (mut sender, mut receiver) = (World::with(settings(), &agreed(OPUS)), World::with(settings(), &agreed(OPUS)));
    assert!(sender.session.send_digits("42"));
    let mut durations = Vec::new();
    for _ in 0..30 {
        let packet = sender.send(&[1000; 160]).expect("a packet").1;
        if read(&packet).payload_type == 101 {
            durations.push(u16::from_be_bytes([read(&packet).payload[2], read(&packet).payload[3]]));
        }
        let now = receiver.now();
        receiver.session.handle_rtp(now, peer(), &packet);
        receiver.tick();
    }
    assert_eq!(durations.iter().max(), Some(&4800), "100 ms at 48 kHz");
    let events = receiver.events();
    assert_eq!(digits(&events), "42");
    let of_100_ms =
        |event: &MediaEvent| matches!(event, MediaEvent::Dtmf { duration_ms: 100, .. } | MediaEvent::SourceLocked(_));
    assert!(events.iter().all(of_100_ms), "{events:?}");
}

#[test]
fn rtp_012_packets_longer_than_200_ms_or_no_whole_frame_are_not_heard() {
    for (format, payload) in
        [(L16_WIDE, vec![0; 6402]), (L16_WIDE, vec![0; 641]), (G722, vec![0; 1601]), (OPUS, vec![])]
    {
        let mut world = World::with(settings(), &agreed(format));
        world.receive(format.payload_type, &payload);
        world.tick();
        assert_eq!(world.report().implausible, 1, "{format:?} of {} octets", payload.len());
    }
}
