//! Learning, locking and attacks on it, in virtual time.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

use proptest::prelude::*;

use super::*;

/// What the SDP says, the same address behind its NAT, a gateway in the trunk's networks, and somebody else.
const SDP: &str = "192.0.2.10:4000";
const SDP_OTHER_PORT: &str = "192.0.2.10:61000";
const GATEWAY: &str = "198.51.100.7:30000";
const ATTACKER: &str = "203.0.113.66:4000";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

struct Rig {
    start: Instant,
    source: Source,
}

impl Rig {
    fn new(nat: MediaNat) -> Self {
        let start = Instant::now();
        let acl = vec!["198.51.100.0/24".parse().expect("a network")];
        let rules = Rules { nat, acl, relearn_after_silence: false };
        Self { start, source: Source::new(start, rules, address(SDP), (address("192.0.2.10:4001"), false)) }
    }

    fn relearning(nat: MediaNat) -> Self {
        let mut rig = Self::new(nat);
        rig.source.rules.relearn_after_silence = true;
        rig
    }

    fn report(&mut self, ms: u64, from: &str, on_rtp_port: bool) -> bool {
        let may = self.source.may_report(self.at(ms), address(from), on_rtp_port);
        if may && !on_rtp_port {
            self.source.reported(address(from));
        }
        may
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    fn send(&mut self, ms: u64, from: &str, sequence: u16) -> Verdict {
        let now = self.at(ms);
        self.source.admit(now, address(from), Probe { ssrc: 1, sequence, plausible: true })
    }

    /// Two packets in a row.
    fn lock(&mut self, ms: u64, from: &str) -> Verdict {
        self.send(ms, from, 10);
        self.send(ms + 20, from, 11)
    }

    fn renegotiate(&mut self, ms: u64, sdp: &str, changed: bool) {
        let now = self.at(ms);
        self.source.renegotiate(now, address(sdp), (address("192.0.2.10:4001"), false), changed);
    }
}

#[test]
fn rtp_010_before_anything_is_learned_media_goes_to_the_sdp() {
    let rig = Rig::new(MediaNat::Auto);
    assert_eq!((rig.source.target(), rig.source.locked()), (address(SDP), None));
}

#[test]
fn rtp_011_media_comes_from_the_sdps_address_or_the_trunks_networks_only() {
    for (nat, from, verdict) in [
        (MediaNat::Auto, SDP, Verdict::Accepted),
        (MediaNat::Auto, SDP_OTHER_PORT, Verdict::Accepted),
        (MediaNat::Auto, GATEWAY, Verdict::Accepted),
        (MediaNat::Auto, ATTACKER, Verdict::Rejected),
        (MediaNat::On, GATEWAY, Verdict::Accepted),
        (MediaNat::On, ATTACKER, Verdict::Rejected),
        (MediaNat::Off, SDP, Verdict::Accepted),
        (MediaNat::Off, SDP_OTHER_PORT, Verdict::Rejected),
        (MediaNat::Off, GATEWAY, Verdict::Rejected),
    ] {
        assert_eq!(Rig::new(nat).send(0, from, 1), verdict, "{nat:?} {from}");
    }
}

#[test]
fn rtp_012_two_packets_in_a_row_lock_a_source_and_media_follows_it() {
    let mut rig = Rig::new(MediaNat::Auto);
    assert_eq!(rig.send(100, SDP_OTHER_PORT, 65_535), Verdict::Accepted);
    assert_eq!(rig.source.target(), address(SDP), "one packet moves nothing");
    assert_eq!(rig.send(120, SDP_OTHER_PORT, 0), Verdict::Locked, "over the wrap");
    assert_eq!((rig.source.target(), rig.source.locked()), (address(SDP_OTHER_PORT), Some(address(SDP_OTHER_PORT))));
    assert_eq!(rig.send(140, GATEWAY, 5), Verdict::Rejected, "the tuple is fixed");
}

#[test]
fn rtp_012_gaps_other_ssrcs_and_implausible_packets_do_not_lock() {
    let mut rig = Rig::new(MediaNat::Auto);
    assert_eq!(rig.send(0, GATEWAY, 10), Verdict::Accepted);
    assert_eq!(rig.send(20, GATEWAY, 12), Verdict::Accepted);
    let now = rig.at(40);
    let other = Probe { ssrc: 2, sequence: 13, plausible: true };
    assert_eq!(rig.source.admit(now, address(GATEWAY), other), Verdict::Accepted);
    let implausible = Probe { ssrc: 1, sequence: 13, plausible: false };
    assert_eq!(rig.source.admit(now, address(GATEWAY), implausible), Verdict::Accepted);
    assert_eq!(rig.source.locked(), None);
    assert_eq!(rig.send(60, GATEWAY, 13), Verdict::Locked);
}

#[test]
fn rtp_012_sources_that_take_turns_do_not_hinder_each_other() {
    let mut rig = Rig::new(MediaNat::Auto);
    rig.send(0, "198.51.100.8:1000", 70);
    rig.send(1, GATEWAY, 10);
    rig.send(2, "198.51.100.9:1000", 400);
    assert_eq!(rig.send(21, GATEWAY, 11), Verdict::Locked);
}

#[test]
fn rtp_012_the_sdps_own_address_displaces_a_lock_within_the_window_and_only_once() {
    let mut rig = Rig::new(MediaNat::Auto);
    assert_eq!(rig.lock(0, GATEWAY), Verdict::Locked);
    assert_eq!(rig.send(4000, SDP, 99), Verdict::Locked);
    assert_eq!(rig.source.target(), address(SDP));
    assert_eq!(rig.lock(4100, GATEWAY), Verdict::Rejected, "it does not come back");
    assert_eq!(rig.source.target(), address(SDP));
}

#[test]
fn rtp_012_after_the_window_not_even_the_sdps_address_displaces_a_lock() {
    let mut rig = Rig::new(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    assert_eq!(rig.send(5001, SDP, 99), Verdict::Rejected);
    assert_eq!(rig.source.target(), address(GATEWAY));
}

#[test]
fn rtp_012_after_five_seconds_the_target_is_not_moved_any_more() {
    let mut rig = Rig::new(MediaNat::Auto);
    assert_eq!(rig.lock(5001, GATEWAY), Verdict::Locked, "heard");
    assert_eq!(rig.source.target(), address(SDP), "but not followed");
    assert_eq!(rig.send(5100, "198.51.100.8:1", 1), Verdict::Rejected);
}

#[test]
fn rtp_012_a_flood_before_during_and_after_learning_moves_nothing() {
    let mut rig = Rig::new(MediaNat::Auto);
    for sequence in 0..20_000 {
        assert_eq!(rig.send(u64::from(sequence) / 4, ATTACKER, sequence), Verdict::Rejected);
    }
    let mut rig = Rig::new(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    for sequence in 0..20_000 {
        assert_eq!(rig.send(100 + u64::from(sequence), ATTACKER, sequence), Verdict::Rejected);
        assert_eq!(rig.send(6000 + u64::from(sequence), "198.51.100.66:9", sequence), Verdict::Rejected);
    }
    assert_eq!(rig.source.target(), address(GATEWAY));
}

#[test]
fn rtp_013_silence_unlocks_nothing_and_a_reinvite_without_change_neither() {
    let mut rig = Rig::new(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    rig.renegotiate(60_000, SDP, false);
    assert_eq!(rig.send(3_600_000, SDP_OTHER_PORT, 1), Verdict::Rejected);
    assert_eq!(rig.source.target(), address(GATEWAY));
}

#[test]
fn rtp_013_a_changed_address_is_sent_to_at_once_and_learned_anew() {
    let mut rig = Rig::new(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    rig.renegotiate(10_000, "192.0.2.99:7000", true);
    assert_eq!((rig.source.target(), rig.source.locked()), (address("192.0.2.99:7000"), None));
    assert_eq!(rig.lock(10_010, GATEWAY), Verdict::Accepted, "packets of the old source do not bring it back");
    assert_eq!(rig.lock(10_100, "192.0.2.99:7000"), Verdict::Locked);
    assert_eq!(rig.send(10_200, GATEWAY, 50), Verdict::Rejected);
}

#[test]
fn sdp_012_the_old_source_is_heard_until_the_new_one_is_locked() {
    let mut rig = Rig::new(MediaNat::Off);
    rig.lock(0, SDP);
    rig.renegotiate(10_000, "192.0.2.99:7000", true);
    assert_eq!(rig.send(10_020, SDP, 700), Verdict::Accepted);
    assert_eq!(rig.lock(10_040, "192.0.2.99:7000"), Verdict::Locked);
    assert_eq!(rig.send(10_080, SDP, 702), Verdict::Rejected);
}

#[test]
fn rtp_013_behind_nat_the_old_source_can_be_learned_again_after_a_second() {
    let mut rig = Rig::new(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    rig.renegotiate(10_000, "10.0.0.5:7000", true);
    assert_eq!(rig.lock(10_500, GATEWAY), Verdict::Accepted);
    assert_eq!(rig.lock(11_001, GATEWAY), Verdict::Locked);
    assert_eq!(rig.source.target(), address(GATEWAY));
}

#[test]
fn sdp_010_a_hold_by_0_0_0_0_keeps_the_lock_for_the_time_after() {
    let mut rig = Rig::new(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    rig.renegotiate(10_000, "0.0.0.0:4000", true);
    assert_eq!(rig.source.locked(), Some(address(GATEWAY)));
    rig.renegotiate(40_000, SDP, true);
    assert_eq!(rig.source.target(), address(GATEWAY), "the same address as before the hold");
    assert_eq!(rig.lock(40_020, GATEWAY), Verdict::Locked);
}

#[test]
fn rtp_013_a_source_that_was_silent_for_10_s_is_found_again_by_its_ssrc_where_the_trunk_says_so() {
    let moved = "198.51.100.8:30002";
    let mut rig = Rig::relearning(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    assert_eq!(rig.lock(10_019, moved), Verdict::Rejected, "silent for less than 10 s");
    let mut rig = Rig::relearning(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    assert_eq!(rig.send(10_020, moved, 600), Verdict::Rejected, "one packet moves nothing and is not heard");
    assert_eq!(rig.send(10_040, moved, 602), Verdict::Rejected, "a gap");
    assert_eq!(rig.source.target(), address(GATEWAY));
    assert_eq!(rig.send(10_060, moved, 603), Verdict::Locked);
    assert_eq!((rig.source.target(), rig.source.locked()), (address(moved), Some(address(moved))));
    assert_eq!(rig.send(10_080, GATEWAY, 12), Verdict::Rejected, "the old place is a stranger's now");
}

#[test]
fn rtp_013_nobody_else_takes_the_place_of_a_silent_source() {
    for nat in [MediaNat::Auto, MediaNat::On, MediaNat::Off] {
        let mut rig = Rig::relearning(nat);
        rig.lock(0, SDP);
        for sequence in 0..2000 {
            let now = rig.at(20_000 + u64::from(sequence));
            let probe = |ssrc| Probe { ssrc, sequence, plausible: true };
            assert_eq!(rig.source.admit(now, address(ATTACKER), probe(1)), Verdict::Rejected, "not of the networks");
            assert_eq!(rig.source.admit(now, address(GATEWAY), probe(2)), Verdict::Rejected, "another SSRC");
        }
        assert_eq!(rig.source.target(), address(SDP));
    }
    let mut rig = Rig::new(MediaNat::Auto);
    rig.lock(0, SDP);
    assert_eq!(rig.lock(60_000, GATEWAY), Verdict::Rejected, "not unless the trunk says so");
    let mut rig = Rig::relearning(MediaNat::Auto);
    rig.lock(0, GATEWAY);
    assert_eq!(rig.lock(60_000, "192.0.2.10:4002"), Verdict::Rejected, "the SDP's address is not in the ACL");
}

#[test]
fn rtp_015_rtcp_has_its_own_tuple_and_never_moves_rtp() {
    let mut rig = Rig::new(MediaNat::Auto);
    assert_eq!(rig.source.rtcp_target(), address("192.0.2.10:4001"));
    assert!(!rig.report(0, "198.51.100.7:30001", false), "nothing is locked yet");
    assert!(rig.report(0, "192.0.2.10:4005", false), "read, but not followed before the lock");
    assert_eq!(rig.source.rtcp_target(), address("192.0.2.10:4001"));
    rig.lock(0, GATEWAY);
    assert!(!rig.report(0, "203.0.113.66:4001", false));
    assert!(rig.report(0, "198.51.100.7:30001", false));
    assert_eq!((rig.source.rtcp_target(), rig.source.target()), (address("198.51.100.7:30001"), address(GATEWAY)));
}

#[test]
fn rtp_015_without_nat_rtcp_keeps_to_the_sdp() {
    let mut rig = Rig::new(MediaNat::Off);
    rig.lock(0, SDP);
    assert!(rig.report(50, "192.0.2.10:4001", false) && !rig.report(50, "192.0.2.10:4003", false));
    assert_eq!(rig.source.rtcp_target(), address("192.0.2.10:4001"));
}

#[test]
fn rtp_015_multiplexed_rtcp_goes_where_rtp_goes() {
    let mut rig = Rig::new(MediaNat::Auto);
    let now = rig.at(0);
    rig.source.renegotiate(now, address(SDP), (address(SDP), true), true);
    rig.lock(0, GATEWAY);
    assert_eq!(rig.source.rtcp_target(), address(GATEWAY));
    assert!(rig.report(0, GATEWAY, true));
    assert!(!rig.report(0, GATEWAY, false));
}

proptest! {
    #[test]
    fn rtp_011_whatever_comes_the_target_is_the_sdps_or_allowed(
        packets in proptest::collection::vec((any::<u8>(), any::<u16>(), 0_u16..4, 0_u64..400), 0..200),
    ) {
        let mut rig = Rig::new(MediaNat::Auto);
        let mut now = 0;
        for (host, port, sequence, wait) in packets {
            now += wait;
            let from = match host % 4 {
                0 => format!("192.0.2.10:{}", port.max(1)),
                1 => format!("198.51.100.{host}:{}", port.max(1)),
                _ => format!("203.0.113.{host}:{}", port.max(1)),
            };
            let verdict = rig.send(now, &from, sequence);
            prop_assert!(!from.starts_with("203.") || verdict == Verdict::Rejected);
            prop_assert!(!rig.source.target().to_string().starts_with("203."));
        }
    }
}
