//! Digits as senders in the field make them, in virtual time.
#![allow(clippy::disallowed_methods, clippy::field_reassign_with_default)] // a starting point for virtual time

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::base::random::Random;
use crate::media::rtp::packet::Packet;

const CLOCK: u32 = 8000;
/// 20 ms.
const STEP: u32 = 160;

/// One telephone-event packet on the wire.
#[derive(Debug, Clone, Copy)]
struct Wire {
    at_ms: f64,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    marker: bool,
    event: Event,
}

/// A sender of digits: what it would put on the wire, before the network and its own quirks.
struct Keypad {
    packets: Vec<Wire>,
    at_ms: f64,
    sequence: u16,
    timestamp: u32,
    step: u32,
}

impl Keypad {
    fn new() -> Self {
        Self { packets: Vec::new(), at_ms: 0.0, sequence: 65_530, timestamp: 0xFFFF_F000, step: STEP }
    }

    /// One press of `updates` packets and three ends; then the clock stands at its end.
    fn press(&mut self, digit: char, updates: u32) -> &mut Self {
        let code = code_of(digit).expect("a digit");
        for update in 1..=updates {
            self.push(code, false, update * self.step, update == 1);
        }
        for _ in 0..3 {
            self.push(code, true, (updates + 1) * self.step, false);
        }
        self.timestamp = self.timestamp.wrapping_add((updates + 3) * self.step);
        self
    }

    fn push(&mut self, code: u8, end: bool, duration: u32, marker: bool) {
        let event = Event { code, end, duration: duration as u16 };
        let (at_ms, sequence, timestamp) = (self.at_ms, self.sequence, self.timestamp);
        self.packets.push(Wire { at_ms, sequence, timestamp, ssrc: 7, marker, event });
        self.sequence = self.sequence.wrapping_add(1);
        self.at_ms += 20.0;
    }

    fn pause(&mut self, ms: u32) -> &mut Self {
        self.at_ms += f64::from(ms);
        self.timestamp = self.timestamp.wrapping_add(CLOCK / 1000 * ms);
        self.sequence = self.sequence.wrapping_add((ms / 20) as u16);
        self
    }

    fn packets(&mut self) -> Vec<Wire> {
        std::mem::take(&mut self.packets)
    }
}

/// What a detector makes of `packets`, in the order of their arrival; the clock runs on for a second.
fn hear(packets: &[Wire], clock_rate: u32) -> (String, Vec<u32>) {
    let start = Instant::now();
    let at = |ms: f64| start + Duration::from_secs_f64(ms / 1000.0);
    let mut detector = Detector::new(clock_rate);
    let mut heard = Vec::new();
    let mut arrivals: Vec<&Wire> = packets.iter().collect();
    arrivals.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));
    for wire in arrivals {
        if detector.poll_timeout().is_some_and(|deadline| deadline <= at(wire.at_ms)) {
            heard.extend(detector.handle_timeout(at(wire.at_ms)));
        }
        let octets = wire.event.octets();
        let packet = Packet {
            marker: wire.marker,
            payload_type: 101,
            sequence: wire.sequence,
            timestamp: wire.timestamp,
            ssrc: wire.ssrc,
            payload: &octets,
        };
        detector.handle(at(wire.at_ms), &packet, |digit| heard.push(digit));
    }
    heard.extend(detector.handle_timeout(start + Duration::from_secs(3600)));
    (heard.iter().map(|digit| digit.digit).collect(), heard.iter().map(|digit| digit.duration_ms).collect())
}

fn digits(packets: &[Wire]) -> String {
    hear(packets, CLOCK).0
}

/// An `8` of 160 ms: seven updates, three ends.
fn eight() -> Vec<Wire> {
    Keypad::new().press('8', 7).packets()
}

#[test]
fn rtp_050_all_sixteen_events_are_digits_and_flash_is_not() {
    let mut keypad = Keypad::new();
    for digit in "0123456789*#ABCD".chars() {
        keypad.press(digit, 3).pause(100);
    }
    assert_eq!(digits(&keypad.packets()), "0123456789*#ABCD");
    let mut flash = eight();
    flash.iter_mut().for_each(|wire| wire.event.code = 16);
    assert_eq!(digits(&flash), "");
}

#[test]
fn rtp_050_the_r_bit_and_the_volume_do_not_matter() {
    let payload = [5, 0x80 | 0x40 | 63, 0x03, 0x20];
    assert_eq!(Event::read(&payload).next(), Some(Event { code: 5, end: true, duration: 800 }));
    assert_eq!(Event::read(&[5, 0, 0]).next(), None);
}

#[test]
fn rtp_050_a_payload_may_carry_several_events_and_be_repeated() {
    let start = Instant::now();
    let mut detector = Detector::new(CLOCK);
    let mut heard = String::new();
    let one = Event { code: 1, end: true, duration: 800 }.octets();
    let two = Event { code: 2, end: true, duration: 800 }.octets();
    let payload = [one, two].concat();
    for copy in 0..3 {
        let packet = Packet {
            marker: copy == 0,
            payload_type: 101,
            sequence: 10 + copy,
            timestamp: 0,
            ssrc: 1,
            payload: &payload,
        };
        let now = start + Duration::from_millis(20 * u64::from(copy));
        detector.handle(now, &packet, |digit| heard.push(digit.digit));
    }
    assert_eq!(heard, "12");
}

#[test]
fn rtp_051_an_event_is_one_digit_of_its_length() {
    assert_eq!(hear(&eight(), CLOCK), ("8".into(), vec![160]));
}

#[test]
fn rtp_051_a_lost_first_packet_does_not_lose_the_digit() {
    assert_eq!(hear(&eight()[1..], CLOCK), ("8".into(), vec![160]));
}

#[test]
fn rtp_051_any_single_packet_is_a_digit() {
    for index in 0..10 {
        assert_eq!(digits(&eight()[index..=index]), "8", "packet {index} alone");
    }
}

#[test]
fn rtp_052_end_packets_that_share_a_sequence_number_are_one_digit() {
    let mut packets = eight();
    (8..10).for_each(|index| packets[index].sequence = packets[7].sequence);
    assert_eq!(digits(&packets), "8");
}

#[test]
fn rtp_052_end_packets_whose_timestamp_changes_are_one_digit() {
    for (second, third) in [(STEP, 2 * STEP), (STEP, 9 * STEP), (8 * STEP, 10 * STEP), (1, 2)] {
        let mut packets = eight();
        packets[8].timestamp = packets[8].timestamp.wrapping_add(second);
        packets[9].timestamp = packets[9].timestamp.wrapping_add(third);
        assert_eq!(hear(&packets, CLOCK), ("8".into(), vec![160]), "{second} {third}");
    }
}

#[test]
fn rtp_052_all_end_packets_with_another_timestamp_are_one_digit() {
    let mut packets = eight();
    packets[7..].iter_mut().for_each(|wire| wire.timestamp = wire.timestamp.wrapping_add(STEP));
    assert_eq!(hear(&packets, CLOCK), ("8".into(), vec![160]));
}

#[test]
fn rtp_052_duplicates_of_every_packet_are_one_digit() {
    let packets: Vec<_> =
        eight().into_iter().flat_map(|wire| [wire, Wire { at_ms: wire.at_ms + 1.0, ..wire }]).collect();
    assert_eq!(digits(&packets), "8");
}

#[test]
fn rtp_052_an_end_before_the_last_update_is_one_digit() {
    let mut packets = eight();
    (packets[6].at_ms, packets[7].at_ms) = (packets[7].at_ms, packets[6].at_ms);
    assert_eq!(digits(&packets), "8");
}

#[test]
fn rtp_052_a_first_packet_that_comes_late_is_one_digit() {
    for late_ms in [25.0, 90.0, 215.0] {
        let mut packets = eight();
        packets[0].at_ms += late_ms;
        assert_eq!(digits(&packets), "8", "{late_ms} ms");
    }
}

#[test]
fn rtp_052_an_update_after_the_end_is_one_digit() {
    let mut packets = eight();
    packets[5].at_ms = 205.0;
    assert_eq!(digits(&packets), "8");
}

#[test]
fn rtp_052_only_the_end_packets_are_one_digit() {
    assert_eq!(hear(&eight()[7..], CLOCK), ("8".into(), vec![160]));
}

#[test]
fn rtp_053_the_same_digit_three_times_is_three() {
    for gap in [0, 20, 60, 80, 200] {
        let mut keypad = Keypad::new();
        keypad.press('5', 3).pause(gap).press('5', 3).pause(gap).press('5', 3);
        assert_eq!(digits(&keypad.packets()), "555", "{gap} ms between");
    }
}

#[test]
fn rtp_053_another_digit_with_the_same_timestamp_is_another_digit() {
    let mut packets = Keypad::new().press('1', 7).pause(140).press('2', 7).packets();
    let first = packets[0].timestamp;
    packets.iter_mut().for_each(|wire| wire.timestamp = first);
    assert_eq!(hear(&packets, CLOCK), ("12".into(), vec![160, 160]));
}

#[test]
fn rtp_053_the_very_same_packets_half_a_second_later_are_another_digit() {
    let first = eight();
    let replay = first.iter().map(|wire| Wire { at_ms: wire.at_ms + 190.0 + 501.0, ..*wire });
    let packets: Vec<_> = first.iter().copied().chain(replay).collect();
    assert_eq!(digits(&packets), "88");
}

#[test]
fn rtp_053_a_sender_that_keeps_its_timestamp_begins_again_with_m_and_a_newer_number() {
    let mut packets = Keypad::new().press('5', 3).pause(60).press('5', 3).packets();
    let first = packets[0].timestamp;
    packets.iter_mut().for_each(|wire| wire.timestamp = first);
    assert_eq!(digits(&packets), "55");
}

#[test]
fn rtp_054_a_new_event_ends_one_whose_ends_are_lost() {
    let mut packets = Keypad::new().press('4', 7).pause(40).press('6', 7).packets();
    packets.drain(7..10);
    assert_eq!(hear(&packets, CLOCK), ("46".into(), vec![140, 160]));
}

#[test]
fn rtp_054_audio_that_resumes_ends_an_event_after_three_intervals_and_100_ms() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut detector = Detector::new(CLOCK);
    for (index, wire) in eight()[..7].iter().enumerate() {
        let octets = wire.event.octets();
        let sequence = wire.sequence;
        let packet = Packet { marker: false, payload_type: 101, sequence, timestamp: 0, ssrc: 7, payload: &octets };
        detector.handle(at(20 * index as u64), &packet, |_| panic!("no end yet"));
    }
    assert_eq!(detector.handle_audio(at(219)), None);
    assert_eq!(detector.handle_audio(at(220)).map(|digit| (digit.digit, digit.duration_ms)), Some(('8', 140)));
    assert_eq!(detector.handle_audio(at(240)), None);
}

#[test]
fn rtp_054_an_event_ends_by_200_ms_of_silence() {
    let start = Instant::now();
    let mut detector = Detector::new(CLOCK);
    let octets = Event { code: 3, end: false, duration: 160 }.octets();
    let packet = Packet { marker: true, payload_type: 101, sequence: 1, timestamp: 0, ssrc: 7, payload: &octets };
    detector.handle(start, &packet, |_| panic!("no end yet"));
    let deadline = start + Duration::from_millis(200);
    assert_eq!(detector.poll_timeout(), Some(deadline));
    assert_eq!(detector.handle_timeout(deadline - Duration::from_millis(1)), None);
    assert_eq!(detector.handle_timeout(deadline).map(|digit| digit.digit), Some('3'));
    assert_eq!((detector.poll_timeout(), detector.handle_timeout(deadline)), (None, None));
}

/// `0` for 10 s at 8000: a segment of 0xFFFF ticks, then the rest.
fn long_press() -> Vec<Wire> {
    let mut keypad = Keypad::new();
    let whole = 10 * CLOCK;
    for elapsed in (1..=500).map(|update| update * STEP) {
        let segment = elapsed.min(0xFFFF);
        keypad.push(0, false, segment, elapsed == STEP);
        if elapsed >= 0xFFFF {
            break;
        }
    }
    keypad.timestamp = keypad.timestamp.wrapping_add(0xFFFF);
    let begun = keypad.packets.len() as u32 * STEP;
    for elapsed in (begun..whole).step_by(STEP as usize) {
        keypad.push(0, false, elapsed + STEP - 0xFFFF, false);
    }
    for _ in 0..3 {
        keypad.push(0, true, whole - 0xFFFF, false);
    }
    keypad.packets()
}

#[test]
fn rtp_055_a_long_event_in_two_segments_is_one_digit_of_their_sum() {
    assert_eq!(hear(&long_press(), CLOCK), ("0".into(), vec![10_000]));
}

#[test]
fn rtp_055_a_long_event_survives_the_loss_of_what_surrounds_the_border() {
    let mut packets = long_press();
    packets.drain(411..414);
    assert_eq!(hear(&packets, CLOCK), ("0".into(), vec![10_000]));
}

#[test]
fn rtp_055_a_first_packet_of_no_duration_is_legal() {
    let mut packets = eight();
    packets[0].event.duration = 0;
    assert_eq!(hear(&packets, CLOCK), ("8".into(), vec![160]));
    assert_eq!(hear(&packets[..1], CLOCK), ("8".into(), vec![0]));
}

#[test]
fn rtp_056_milliseconds_are_ticks_of_the_events_own_clock() {
    for clock in [8000, 16_000, 48_000] {
        let mut keypad = Keypad::new();
        keypad.step = clock / 50;
        assert_eq!(hear(&keypad.press('1', 7).packets(), clock), ("1".into(), vec![160]), "{clock}");
    }
}

#[test]
fn rtp_053_another_ssrc_is_another_sender() {
    let first = eight();
    let mut second = eight();
    second.iter_mut().for_each(|wire| (wire.ssrc, wire.at_ms) = (99, wire.at_ms + 260.0));
    assert_eq!(digits(&[first, second].concat()), "88");
}

/// How a sender may end its events.
const END_VARIANTS: u32 = 4;

fn vary_ends(packets: &mut [Wire], press: usize, variant: u32) {
    let ends = press + 5..press + 8;
    let first = packets[ends.start];
    for (copy, index) in ends.enumerate() {
        match variant {
            1 => packets[index].sequence = first.sequence,
            2 => packets[index].timestamp = first.timestamp.wrapping_add(copy as u32 * STEP),
            3 => packets[index].timestamp = first.timestamp.wrapping_add(copy as u32 * 4 * STEP),
            _ => {}
        }
    }
}

/// Four digits with mixed ends through a network of `loss` percent and `jitter_ms`; true where they arrive as dialled.
fn survives(seed: u64, loss: u32, jitter_ms: u32) -> bool {
    let mut random = Random::from_number(seed);
    let mut keypad = Keypad::new();
    let dialled: String = (0..4).filter_map(|_| digit_of(random.below(16) as u8)).collect();
    for digit in dialled.chars() {
        keypad.press(digit, 5).pause(80 + 20 * random.below(10));
    }
    let mut packets = keypad.packets();
    (0..4).for_each(|press| vary_ends(&mut packets, press * 8, random.below(END_VARIANTS)));
    let whole: Vec<usize> = (0..4).collect();
    let lost: Vec<bool> = packets.iter().map(|_| random.below(100) < loss).collect();
    // A digit all of whose packets are lost is nobody's to find.
    if whole.iter().any(|press| lost[press * 8..press * 8 + 8].iter().all(|lost| *lost)) {
        return true;
    }
    let mut arriving: Vec<Wire> =
        packets.iter().zip(&lost).filter(|(_, lost)| !**lost).map(|(wire, _)| *wire).collect();
    arriving.iter_mut().for_each(|wire| wire.at_ms += f64::from(random.below(jitter_ms * 1000 + 1)) / 1000.0);
    digits(&arriving) == dialled
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn rtp_052_random_strings_with_mixed_ends_survive_loss_and_jitter(seed in any::<u64>(), loss in 0_u32..=20, jitter in 0_u32..=25) {
        prop_assert!(survives(seed, loss, jitter), "loss {loss} %, jitter {jitter} ms");
    }

    #[test]
    fn rtp_050_no_payload_makes_the_detector_panic(
        packets in proptest::collection::vec((any::<[u16; 2]>(), proptest::collection::vec(any::<u8>(), 0..20), 0_u64..300), 0..40),
    ) {
        let mut now = Instant::now();
        let mut detector = Detector::new(CLOCK);
        for ([sequence, timestamp], payload, ms) in packets {
            now += Duration::from_millis(ms);
            let timestamp = u32::from(timestamp) << 8;
            let packet = Packet { marker: ms % 2 == 0, payload_type: 101, sequence, timestamp, ssrc: 1, payload: &payload };
            detector.handle(now, &packet, |_| {});
            detector.handle_audio(now);
            detector.handle_timeout(now);
        }
    }
}

#[test]
fn rtp_063_a_digit_is_sent_with_m_first_rising_durations_and_three_ends() {
    for (ticks, updates) in [(160, 4), (80, 9), (240, 3), (480, 1)] {
        let mut sender = Sender::new(CLOCK);
        sender.queue("5x");
        let mut sent = Vec::new();
        let mut elapsed = 0;
        while let step @ (Outgoing::Event { .. } | Outgoing::Gap) = sender.next(ticks) {
            if let Outgoing::Event { first, ago, event } = step {
                assert_eq!((first, ago), (elapsed == 0, elapsed), "{ticks}");
                sent.push(event);
            }
            elapsed += ticks;
        }
        assert!(sent[..updates].iter().all(|event| !event.end) && sent.len() == updates + 3, "{ticks}: {sent:?}");
        assert!(sent[updates..].iter().all(|event| *event == Event { code: 5, end: true, duration: 800 }));
        assert!(sent[..updates].windows(2).all(|pair| pair[0].duration < pair[1].duration));
        assert!(elapsed >= 1600 && sender.is_idle(), "100 ms of tone and 100 ms of gap: {elapsed}");
    }
}

#[test]
fn rtp_063_what_is_sent_is_heard() {
    let mut sender = Sender::new(CLOCK);
    sender.queue("555#0");
    let mut packets = Vec::new();
    for tick in 0_u16..60 {
        if let Outgoing::Event { first, ago, event } = sender.next(STEP) {
            let timestamp = u32::from(tick) * STEP - ago;
            let at_ms = f64::from(tick) * 20.0;
            packets.push(Wire { at_ms, sequence: tick, timestamp, ssrc: 7, marker: first, event });
        }
    }
    assert_eq!(hear(&packets, CLOCK), ("555#0".into(), vec![100; 5]));
}

mod arbitration {
    use super::*;
    use crate::media::event::{DtmfSource, MediaEvent};

    fn negotiated() -> Arbiter {
        let mut arbiter = Arbiter::default();
        arbiter.negotiated = true;
        arbiter
    }

    fn press(began: Instant) -> Digit {
        Digit { digit: '5', duration_ms: 100, began }
    }

    #[test]
    fn rtp_059_once_an_event_has_been_seen_info_is_not_reported() {
        let now = Instant::now();
        let mut arbiter = negotiated();
        let reported = MediaEvent::Dtmf { digit: '1', duration_ms: 160, source: DtmfSource::Info };
        assert_eq!(arbiter.info(now, '1', 160), Some(reported), "none has been seen yet");
        arbiter.see_rtp();
        assert_eq!(arbiter.info(now + Duration::from_secs(9), '2', 160), None);
    }

    #[test]
    fn rtp_059_without_negotiation_info_always_counts() {
        let now = Instant::now();
        let mut arbiter = Arbiter::default();
        arbiter.see_rtp();
        assert!(arbiter.info(now, '1', 160).is_some() && arbiter.info(now, '1', 160).is_some());
    }

    #[test]
    fn rtp_059_the_same_digit_from_both_within_300_ms_is_one() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        let mut arbiter = negotiated();
        assert!(arbiter.info(now, '5', 160).is_some());
        assert_eq!(arbiter.rtp(now + ms(900), press(now + ms(100))), None, "a long press that began with the INFO");
        assert!(arbiter.rtp(now + ms(1200), press(now + ms(1100))).is_some(), "the next press");
        let mut arbiter = Arbiter::default();
        assert!(arbiter.info(now, '5', 160).is_some());
        assert!(arbiter.rtp(now + ms(450), press(now + ms(350))).is_some(), "350 ms later is another press");
        assert_eq!(arbiter.reported, 2);
    }
}
