//! What does not belong on the ports: counted by kind, never heard, never a crash.

use proptest::prelude::*;

use super::*;

fn attacker() -> SocketAddr {
    "203.0.113.66:40000".parse().expect("an address")
}

/// What the counters of a report say, by kind.
fn counts(report: &MediaReport) -> [(&'static str, u64); 8] {
    [
        ("malformed", report.malformed),
        ("stun", report.stun),
        ("dtls", report.dtls),
        ("implausible", report.implausible),
        ("unknown_payload_type", report.unknown_payload_type),
        ("source_rejects", report.source_rejects),
        ("rtcp_malformed", report.rtcp_malformed),
        ("rtcp_received", report.rtcp_received),
    ]
}

fn rtp_of(payload_type: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Packet { marker: false, payload_type, sequence: 1, timestamp: 0, ssrc: 1, payload }.write(&mut bytes);
    bytes
}

#[test]
fn rtp_001_each_kind_of_bad_input_has_its_counter_and_none_is_heard() {
    let truncated = rtp_of(0, &[]).split_at(11).0.to_vec();
    let (mut lying_csrcs, mut lying_extension, mut lying_padding) =
        (rtp_of(0, &[0x90; 20]), rtp_of(0, &[0xFF; 20]), rtp_of(0, &[0x90; 20]));
    lying_csrcs[0] |= 0x0F;
    lying_extension[0] |= 0x10;
    lying_padding[0] |= 0x20;
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12]].concat();
    let hello = [&[22, 0xFE, 0xFD][..], &[0; 50]].concat();
    let cases: [(&str, Vec<u8>); 10] = [
        ("malformed", truncated),
        ("malformed", lying_csrcs),
        ("malformed", lying_extension),
        ("malformed", lying_padding),
        ("malformed", b"INVITE sip:1000@192.0.2.1 SIP/2.0".to_vec()),
        ("stun", binding),
        ("dtls", hello),
        ("implausible", rtp_of(0, &[0x90; 9000])),
        ("unknown_payload_type", rtp_of(97, &[0x90; 160])),
        ("rtcp_malformed", vec![0x80, 200, 0xFF, 0xFF, 0, 0, 0, 1]),
    ];
    for (kind, bytes) in cases {
        let mut world = World::new();
        world.session.handle_rtp(world.now(), peer(), &bytes);
        world.silence(200);
        let report = world.report();
        for (name, count) in counts(&report) {
            assert_eq!(count, u64::from(name == kind), "{kind}: {name}");
        }
        assert!(world.heard.iter().all(|sample| *sample == 0), "{kind} is not heard");
        assert_eq!(report.source, None, "{kind} locks nothing");
    }
}

#[test]
fn rtp_012_a_stranger_who_comes_first_and_floods_later_is_neither_heard_nor_answered() {
    let mut world = World::new();
    let flood = |world: &mut World, count: u16| {
        for sequence in 0..count {
            let loud = Packet { marker: true, payload_type: 0, sequence, timestamp: 0, ssrc: 1, payload: &[0x80; 160] };
            let mut bytes = Vec::new();
            loud.write(&mut bytes);
            let now = world.now();
            world.session.handle_rtp(now, attacker(), &bytes);
            world.session.handle_rtcp(now, attacker(), &[0x80, 201, 0, 1, 0, 0, 0, 1]);
        }
    };
    flood(&mut world, 500);
    assert_eq!(world.send(&[0; 160]).map(|(to, _)| to), Some(peer()));
    world.speak(1000, 0xFF);
    flood(&mut world, 5000);
    world.speak(1000, 0xFF);
    let targets: Vec<_> = (0..500).filter_map(|_| world.send(&[0; 160])).map(|(to, _)| to).collect();
    assert!(targets.iter().all(|to| *to == peer()) && targets.len() == 500);
    assert!(world.heard.iter().all(|sample| *sample == 0), "only the caller's silence");
    let report = world.report();
    assert_eq!((report.source_rejects, report.lost, report.source), (11_000, 0, Some(peer())));
}

#[test]
fn rtp_041_rtcp_is_counted_and_a_bye_of_the_peer_ends_nothing() {
    let mut world = World::new();
    world.speak(100, 0x90);
    let rtcp = "192.0.2.10:40001".parse().expect("an address");
    world.session.handle_rtcp(world.now(), rtcp, &[0x81, 203, 0, 1, 0, 0, 0, 1]);
    world.session.handle_rtcp(world.now(), rtcp, &[0x80, 205]);
    world.session.handle_rtcp(world.now(), rtcp, &[0x80, 77, 0, 0]);
    assert!(world.events().iter().all(|event| matches!(event, MediaEvent::SourceLocked(_))));
    world.speak(100, 0x90);
    let report = world.report();
    assert_eq!((report.rtcp_received, report.rtcp_malformed, report.packets_received), (1, 2, 10));
    assert!(world.send(&[0; 160]).is_some());
}

#[test]
fn rtp_015_malformed_rtcp_of_the_right_host_does_not_move_where_reports_go() {
    let mut world = World::new();
    world.speak(100, 0x90);
    let moved = "192.0.2.10:50001".parse().expect("an address");
    let report_goes = |world: &mut World| {
        let now = world.now();
        world.session.goodbye(now, &mut Vec::new()).map(|to| to.port())
    };
    world.session.handle_rtcp(world.now(), moved, b"garbage");
    assert_eq!(report_goes(&mut world), Some(40_001));
    world.session.handle_rtcp(world.now(), moved, &[0x80, 201, 0, 1, 0, 0, 0, 1]);
    assert_eq!(report_goes(&mut world), Some(50_001));
}

#[test]
fn rtp_041_the_quality_of_a_call_is_in_its_record_and_a_bad_stretch_shows() {
    let mut world = World::new();
    assert_eq!(world.report().mos, None, "nothing came yet");
    world.speak(10_000, 0x90);
    let clean = world.report();
    let mos = clean.mos.expect("an estimate");
    assert!(mos > 4.35 && clean.mos_min >= Some(4.35) && clean.loss_percent == Some(0.0), "{clean:?}");
    for n in 0..250 {
        if n % 10 == 0 {
            world.sequence = world.sequence.wrapping_add(1);
            world.tick();
        }
        world.speak(20, 0x90);
    }
    world.speak(10_000, 0x90);
    let report = world.report();
    let (all, min) = (report.mos.expect("an estimate"), report.mos_min.expect("windows"));
    assert!(min < 3.8 && all > min + 0.3 && all < mos, "{all} {min}");
    assert!(report.loss_percent.is_some_and(|loss| (1.0..4.0).contains(&loss)), "{report:?}");
    assert!(report.r_factor.is_some_and(|r| r < clean.r_factor.expect("an estimate")));
}

proptest! {
    #[test]
    fn rtp_001_nothing_on_either_port_makes_a_session_panic(
        packets in proptest::collection::vec((any::<bool>(), any::<bool>(), proptest::collection::vec(any::<u8>(), 0..64), 0_u8..8), 0..60),
        encrypted in any::<bool>(),
    ) {
        let mut world = World::new();
        if encrypted {
            world.session.set_srtp(Some(&super::protected::keys(1, 2)));
        }
        for (rtcp, stranger, mut bytes, kind) in packets {
            // Often enough something that looks like RTP or RTCP of the call.
            let start: &[u8] = match kind {
                0 => &[0x80, 0], 1 => &[0x90, 0x80], 2 => &[0xB0, 101], 3 => &[0x81, 200], 4 => &[0x82, 201], 5 => &[0x81, 203],
                _ => &[],
            };
            let length = start.len().min(bytes.len());
            bytes[..length].copy_from_slice(&start[..length]);
            let from = if stranger { attacker() } else { peer() };
            let now = world.now();
            if rtcp {
                world.session.handle_rtcp(now, from, &bytes);
            } else {
                let heard = world.session.handle_rtp(now, from, &bytes);
                prop_assert!(!(heard && (stranger || encrypted)));
            }
            world.tick();
            prop_assert!(world.send(&[1; 160]).is_some_and(|(to, _)| to.ip() == peer().ip()));
        }
        prop_assert_eq!(world.heard.len() % 160, 0);
    }
}
