//! Reports to and fro, in virtual time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use proptest::prelude::*;

use super::*;
use crate::media::rtp::packet::Packet;

const OURS: u32 = 0x1111_1111;
const THEIRS: u32 = 0x2222_2222;
const SENT: Sent = Sent { ssrc: OURS, timestamp: 16_000, packets: 100, octets: 16_000 };

fn reports(start: Instant) -> Reports {
    Reports::new(start, Random::from_number(1))
}

/// A peer heard from 10 to 20, less the packets in `lost`.
fn heard(start: Instant, lost: &[u16]) -> Reception {
    let mut reception = Reception::default();
    for sequence in (10..=20).filter(|sequence| !lost.contains(sequence)) {
        let packet = Packet { marker: false, payload_type: 0, sequence, timestamp: 0, ssrc: THEIRS, payload: &[0] };
        reception.hear(start, &packet);
    }
    reception
}

/// Packet types in a compound packet.
fn types(mut bytes: &[u8]) -> Vec<u8> {
    let mut types = Vec::new();
    while let Some((one, rest)) = split(bytes) {
        types.push(one[1]);
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    types
}

#[test]
fn rtp_040_the_first_report_is_due_after_half_an_interval_and_the_next_after_a_whole_one() {
    for seed in 0..50 {
        let start = Instant::now();
        let mut reports = Reports::new(start, Random::from_number(seed));
        assert!(!reports.is_due(start + Duration::from_secs(60)), "not before it is started");
        reports.start(start);
        assert!(!reports.is_due(start + Duration::from_millis(1249)));
        assert!(reports.is_due(start + Duration::from_millis(3750)));
        let first = start + Duration::from_millis(3750);
        assert!(!reports.is_due(first + Duration::from_millis(2499)));
        assert!(reports.is_due(first + Duration::from_millis(7500)));
    }
}

#[test]
fn rtp_040_a_sender_reports_sr_sdes_and_at_the_end_bye() {
    let start = Instant::now();
    let (mut reports, mut out) = (reports(start), vec![9; 9]);
    reports.write(start, &SENT, &mut heard(start, &[]), false, &mut out);
    assert_eq!(types(&out), [200, 202]);
    let mut bytes = split(&out).expect("a packet").0;
    let report = SenderReport::unmarshal(&mut bytes).expect("a sender report");
    assert_eq!((report.ssrc, report.rtp_time, report.packet_count, report.octet_count), (OURS, 16_000, 100, 16_000));
    reports.write(start, &SENT, &mut heard(start, &[]), true, &mut out);
    assert_eq!(types(&out), [201, 202, 203], "nothing sent since: RR");
    assert!(out.windows(24).any(|window| window == reports.cname.as_bytes()));
    assert!(out.len() % 4 == 0);
}

#[test]
fn rtp_040_the_report_tells_loss_and_the_highest_number() {
    let start = Instant::now();
    let (mut reports, mut out) = (reports(start), Vec::new());
    reports.write(start, &SENT, &mut heard(start, &[13, 14]), false, &mut out);
    let mut bytes = split(&out).expect("a packet").0;
    let report = SenderReport::unmarshal(&mut bytes).expect("a sender report").reports.remove(0);
    assert_eq!((report.ssrc, report.total_lost, report.last_sequence_number & 0xFFFF), (THEIRS, 2, 20));
    assert_eq!(report.fraction_lost, (2 * 256 / 11) as u8);
}

#[test]
fn rtp_041_loss_jitter_and_round_trip_come_from_the_peers_reports() {
    let start = Instant::now();
    let (mut reports, mut out) = (reports(start), Vec::new());
    let sent_at = start + Duration::from_secs(3);
    reports.write(sent_at, &SENT, &mut heard(start, &[]), false, &mut out);
    let mut bytes = split(&out).expect("a packet").0;
    let ours = SenderReport::unmarshal(&mut bytes).expect("a sender report");
    let block = ReceptionReport {
        ssrc: OURS,
        fraction_lost: 64,
        total_lost: 7,
        jitter: 80,
        last_sender_report: (ours.ntp_time >> 16) as u32,
        delay: 65_536,
        ..ReceptionReport::default()
    };
    let reply = ReceiverReport { ssrc: THEIRS, reports: vec![block], ..ReceiverReport::default() };
    out.clear();
    append(&reply, &mut out);
    let received_at = sent_at + Duration::from_millis(1120);
    assert_eq!(reports.read(received_at, &out, OURS, 8000), Read::Understood);
    let peer = reports.peer.expect("a report");
    assert_eq!((peer.lost, peer.loss_percent, peer.jitter_ms), (7, 25.0, 10.0));
    assert!(peer.rtt_ms.is_some_and(|rtt| (rtt - 120.0).abs() < 0.1), "{peer:?}");
}

#[test]
fn rtp_040_our_report_answers_the_peers_sender_report() {
    let start = Instant::now();
    let mut peer = reports(start);
    let (mut ours, mut out) = (Reports::new(start, Random::from_number(2)), Vec::new());
    peer.write(start, &Sent { ssrc: THEIRS, ..SENT }, &mut Reception::default(), false, &mut out);
    ours.read(start, &out, OURS, 8000);
    let later = start + Duration::from_millis(500);
    ours.write(later, &SENT, &mut heard(start, &[]), false, &mut out);
    assert_eq!(peer.read(later + Duration::from_millis(40), &out, THEIRS, 8000), Read::Understood);
    let rtt = peer.peer.and_then(|peer| peer.rtt_ms).expect("a round trip");
    assert!((rtt - 40.0).abs() < 1.0, "{rtt}");
}

#[test]
fn rtp_041_what_is_no_rtcp_is_malformed_and_bye_ends_nothing() {
    let start = Instant::now();
    let mut reports = reports(start);
    for bytes in [&[][..], &[0x80], &[0x80, 200, 0, 6], &[0x40, 201, 0, 0], &[0x81, 200, 0, 1, 0, 0, 0, 0]] {
        assert_eq!(reports.read(start, bytes, OURS, 8000), Read::Malformed, "{bytes:?}");
    }
    assert_eq!(reports.read(start, &[0x81, 203, 0, 1, 0, 0, 0, 1], OURS, 8000), Read::Understood);
}

proptest! {
    #[test]
    fn rtp_041_no_rtcp_makes_the_reader_panic(
        packets in proptest::collection::vec((0x80_u8..0xC0, 192_u8..=223, 0_u8..12, proptest::collection::vec(any::<u8>(), 0..60)), 1..4),
        cut in 0_usize..20,
    ) {
        let start = Instant::now();
        let mut bytes = Vec::new();
        for (first, kind, length, mut body) in packets {
            body.resize(usize::from(length) * 4, 0xFF);
            bytes.extend([first, kind, 0, length]);
            bytes.extend(body);
        }
        bytes.truncate(bytes.len().saturating_sub(cut));
        let _ = reports(start).read(start, &bytes, OURS, 8000);
    }
}
