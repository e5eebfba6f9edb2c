//! The published vectors, both ways, and what is not to be let through.

use proptest::prelude::*;

use super::*;
use crate::base::srtp::MASTER_KEY_LEN;
use crate::media::rtp::packet::{Datagram, Packet};

fn key(octet: u8) -> MasterKey {
    MasterKey::new([octet; MASTER_KEY_LEN])
}

fn keys(suite: SrtpSuite, send: u8, receive: u8) -> SrtpKeys {
    SrtpKeys { suite, send: key(send), receive: key(receive) }
}

/// Two that agree.
fn pair(suite: SrtpSuite) -> (Srtp, Srtp) {
    (Srtp::new(&keys(suite, 1, 2)), Srtp::new(&keys(suite, 2, 1)))
}

fn rtp(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = Vec::new();
    Packet { marker: false, payload_type: 0, sequence, timestamp: 160, ssrc, payload: &[0xAB; 160] }.write(&mut out);
    out
}

fn protected(srtp: &mut Srtp, ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = rtp(ssrc, sequence);
    srtp.protect_rtp(&mut packet);
    packet
}

fn opened(srtp: &mut Srtp, packet: &[u8]) -> Result<Vec<u8>, Unprotected> {
    srtp.unprotect_rtp(packet).map(|plain| plain.as_ref().to_vec())
}

/// A receiver report without blocks.
const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Key and salt of RFC 3711, B.3.
fn key_of_the_rfc() -> MasterKey {
    let octets = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    MasterKey::new(octets.try_into().expect("30 octets"))
}

/// The keystream that `srtp` has for a packet: what it makes of zeroes.
fn keystream(srtp: &mut Srtp, ssrc: u32, sequence: u16, octets: usize) -> Vec<u8> {
    let mut packet = Vec::new();
    let zeroes = vec![0; octets];
    Packet { marker: false, payload_type: 0, sequence, timestamp: 0, ssrc, payload: &zeroes }.write(&mut packet);
    srtp.protect_rtp(&mut packet);
    packet[RTP_HEADER_LEN..RTP_HEADER_LEN + octets].to_vec()
}

#[test]
fn rfc_3711_b_3_the_derived_key_and_salt_make_the_keystream_of_aes_in_counter_mode() {
    let keys = SrtpKeys { suite: SrtpSuite::HmacSha1_80, send: key_of_the_rfc(), receive: key(0) };
    let mut srtp = Srtp::new(&keys);
    // AES-128 of the counter block under B.3's session key C61E7A93744F39EE10734AFE3FF7A087 and session salt
    // 30CBBC08863D8C85D49DB34A9AE1, for SSRC 0 and index 0, computed apart from the crate.
    assert_eq!(keystream(&mut srtp, 0, 0, 32), hex(KEYSTREAM_SSRC_0));
    assert_eq!(keystream(&mut srtp, 0xCAFE_BABE, 0x1234, 32), hex(KEYSTREAM_SSRC_CAFEBABE));
}

const KEYSTREAM_SSRC_0: &str = "FA63BC4668685B65F8FA1CE3909CEAD54DFB05F154B623DDE2BB3DD717DFC3FB";
const KEYSTREAM_SSRC_CAFEBABE: &str = "E5FE77E74C32D373270F79BE3F368FA99F1093E2B54DA48B51A73734AF6F8D3E";

#[test]
fn a_packet_known_from_other_implementations_is_protected_octet_by_octet() {
    // The vector of libsrtp's own validation: its key and salt are those of B.3, its packet has 16 octets of 0xAB.
    let keys = SrtpKeys { suite: SrtpSuite::HmacSha1_80, send: key_of_the_rfc(), receive: key(0) };
    let mut packet = hex("800F1234DECAFBADCAFEBABE ABABABABABABABABABABABABABABABAB");
    Srtp::new(&keys).protect_rtp(&mut packet);
    let expected = "800F1234DECAFBADCAFEBABE 4E55DC4CE79978D88CA4D215949D2402 B78D6ACC99EA179B8DBB";
    assert_eq!(packet, hex(expected));
}

#[test]
fn sdp_018_a_packet_comes_out_as_it_went_in_and_is_not_readable_between() {
    for (suite, tag) in [(SrtpSuite::HmacSha1_80, 10), (SrtpSuite::HmacSha1_32, 4)] {
        let (mut ours, mut theirs) = pair(suite);
        for sequence in [65_534, 65_535, 0, 1, 2] {
            let packet = protected(&mut ours, 7, sequence);
            assert_eq!(packet.len(), 172 + tag);
            assert_eq!(packet[..12], rtp(7, sequence)[..12], "the header stays readable");
            assert!(packet[12..].windows(4).all(|octets| octets != [0xAB; 4]));
            assert_eq!(opened(&mut theirs, &packet), Ok(rtp(7, sequence)), "over the wrap too");
        }
    }
}

#[test]
fn sdp_018_a_wrong_key_an_altered_packet_and_a_plain_one_are_not_authentic() {
    let (mut ours, _) = pair(SrtpSuite::HmacSha1_80);
    let mut stranger = Srtp::new(&keys(SrtpSuite::HmacSha1_80, 2, 3));
    let packet = protected(&mut ours, 7, 1);
    assert_eq!(opened(&mut stranger, &packet), Err(Unprotected::NotAuthentic));
    let (_, mut theirs) = pair(SrtpSuite::HmacSha1_80);
    for place in [1, 3, 8, 12, 100, 171, 181] {
        let mut altered = packet.clone();
        altered[place] ^= 1;
        assert_eq!(opened(&mut theirs, &altered), Err(Unprotected::NotAuthentic), "octet {place}");
    }
    assert_eq!(opened(&mut theirs, &rtp(7, 1)), Err(Unprotected::NotAuthentic));
    assert_eq!(opened(&mut theirs, &packet), Ok(rtp(7, 1)), "and the true one is still welcome");
}

#[test]
fn rfc_3711_3_3_2_a_replay_is_told_from_disorder() {
    let (mut ours, mut theirs) = pair(SrtpSuite::HmacSha1_80);
    let packets: Vec<_> = (100..400).map(|sequence| protected(&mut ours, 7, sequence)).collect();
    for packet in [&packets[0], &packets[2], &packets[1]] {
        assert!(opened(&mut theirs, packet).is_ok(), "out of order");
    }
    for packet in &packets[..3] {
        assert_eq!(opened(&mut theirs, packet), Err(Unprotected::Replay));
    }
    assert!(opened(&mut theirs, &packets[299]).is_ok());
    assert_eq!(opened(&mut theirs, &packets[3]), Err(Unprotected::Replay), "older than the window");
    assert!(opened(&mut theirs, &packets[250]).is_ok(), "within the window, for the first time");
}

#[test]
fn rtp_014_forged_packets_of_any_ssrc_neither_fill_the_memory_nor_shut_the_true_sender_out() {
    let (mut ours, mut theirs) = pair(SrtpSuite::HmacSha1_80);
    for ssrc in 0..1000 {
        let mut forged = rtp(ssrc, 30_000);
        forged.extend([0; 10]);
        assert_eq!(opened(&mut theirs, &forged), Err(Unprotected::NotAuthentic));
    }
    assert!(theirs.receiving.rtp.known.is_empty());
    // The crate alone would take 30000 of SSRC 7 for the newest and all that follow for replays.
    for sequence in 1..200 {
        let packet = protected(&mut ours, 7, sequence);
        assert!(opened(&mut theirs, &packet).is_ok());
    }
    assert_eq!(theirs.receiving.rtp.known.len(), 1);
}

#[test]
fn rtp_003_a_peer_may_have_many_ssrcs_and_sixteen_are_remembered() {
    let (mut ours, mut theirs) = pair(SrtpSuite::HmacSha1_80);
    for ssrc in 0..100 {
        let packet = protected(&mut ours, ssrc, 5);
        assert!(opened(&mut theirs, &packet).is_ok());
        assert_eq!(opened(&mut theirs, &packet), Err(Unprotected::Replay));
    }
    assert_eq!(theirs.receiving.rtp.known.len(), STREAMS);
}

#[test]
fn rfc_4568_a_new_key_of_the_peer_counts_at_once_and_the_old_one_until_then() {
    let suite = SrtpSuite::HmacSha1_80;
    let (mut before, mut ours) = pair(suite);
    let mut after = Srtp::new(&keys(suite, 9, 2));
    assert!(opened(&mut ours, &protected(&mut before, 7, 1)).is_ok());
    ours.rekey(&keys(suite, 2, 9));
    assert!(opened(&mut ours, &protected(&mut before, 7, 2)).is_ok(), "still on its way");
    assert!(opened(&mut ours, &protected(&mut after, 7, 3)).is_ok());
    assert_eq!(opened(&mut ours, &protected(&mut before, 7, 4)), Err(Unprotected::NotAuthentic), "no longer");
    ours.rekey(&keys(suite, 2, 9));
    assert!(opened(&mut ours, &protected(&mut after, 7, 4)).is_ok(), "the same keys again change nothing");
    assert_eq!(format!("{ours:?}"), "Srtp(AES_CM_128_HMAC_SHA1_80)");
}

#[test]
fn rfc_3711_9_1_a_key_that_stays_never_encrypts_two_packets_alike() {
    let suite = SrtpSuite::HmacSha1_80;
    let mut srtp = Srtp::new(&keys(suite, 1, 2));
    let first: Vec<_> = [65_535, 0].map(|sequence| keystream(&mut srtp, 7, sequence, 16)).into();
    srtp.rekey(&keys(suite, 1, 3));
    // Had the rollover counter begun anew, number 1 of the second cycle would be as number 1 of the first.
    let again = keystream(&mut srtp, 7, 1, 16);
    let fresh = keystream(&mut Srtp::new(&keys(suite, 1, 2)), 7, 1, 16);
    assert!(again != fresh && !first.contains(&again));
}

#[test]
fn rfc_3711_3_4_reports_are_protected_and_one_that_says_it_is_not_encrypted_is_refused() {
    for suite in SrtpSuite::ALL {
        let (mut ours, mut theirs) = pair(suite);
        let mut packet = REPORT.to_vec();
        ours.protect_rtcp(&mut packet);
        assert_eq!(packet.len(), REPORT.len() + 14, "both suites have ten octets of tag here");
        let plain = theirs.unprotect_rtcp(&packet).map(|plain| plain.as_ref().to_vec());
        assert_eq!(plain, Ok(REPORT.to_vec()));
        assert_eq!(theirs.unprotect_rtcp(&packet).map(|_| ()), Err(Unprotected::Replay));
        let mut naked = [&REPORT[..], &[0, 0, 0, 9], &[0; 10]].concat();
        assert_eq!(theirs.unprotect_rtcp(&naked).map(|_| ()), Err(Unprotected::NotAuthentic));
        naked[8] = 0x80;
        assert_eq!(theirs.unprotect_rtcp(&naked).map(|_| ()), Err(Unprotected::NotAuthentic));
        assert_eq!(theirs.unprotect_rtcp(&packet[..21]).map(|_| ()), Err(Unprotected::Malformed));
        assert_eq!(theirs.unprotect_rtcp(&[]).map(|_| ()), Err(Unprotected::Malformed));
    }
}

#[test]
fn rtp_001_header_extensions_are_passed_and_lying_ones_are_malformed() {
    let (mut ours, mut theirs) = pair(SrtpSuite::HmacSha1_80);
    let with = |extension: &[u8]| {
        let mut packet = rtp(7, 1);
        packet[0] |= 0x10;
        packet.splice(12..12, extension.iter().copied());
        packet
    };
    for (sequence, extension) in [
        hex("BEDE0001 10AA0000"),
        hex("BEDE0002 31AABB00 00000000"),
        hex("10000001 0102AABB"),
        hex("12340001 FFFFFFFF"),
    ]
    .iter()
    .enumerate()
    {
        let mut packet = with(extension);
        packet[3] = sequence as u8;
        let plain = packet.clone();
        ours.protect_rtp(&mut packet);
        assert_eq!(opened(&mut theirs, &packet), Ok(plain.clone()));
        let Datagram::Rtp(read) = Datagram::read(&plain) else { panic!("RTP") };
        assert_eq!(read.payload, [0xAB; 160]);
    }
    for lie in [hex("BEDE0001 1FAA0000"), hex("BEDE0001 F0000000"), hex("10000001 01FFAABB"), hex("1234FFFF")] {
        assert_eq!(opened(&mut theirs, &with(&lie)), Err(Unprotected::Malformed), "{lie:?}");
    }
}

proptest! {
    #[test]
    fn rtp_001_nothing_that_comes_makes_it_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
        first in 0x80_u8..0xC0,
        extension in proptest::sample::select(vec![[0xBE, 0xDE], [0x10, 0x00], [0, 0]]),
        words in 0_u8..8,
    ) {
        let (_, mut theirs) = pair(SrtpSuite::HmacSha1_80);
        prop_assert!(opened(&mut theirs, &bytes).is_err());
        prop_assert!(theirs.unprotect_rtcp(&bytes).is_err());
        if let Some(octet) = bytes.first_mut() { *octet = first; }
        prop_assert!(opened(&mut theirs, &bytes).is_err());
        prop_assert!(theirs.unprotect_rtcp(&bytes).is_err());
        let at = 12 + 4 * usize::from(first & 0x0F);
        if bytes.len() >= at + 4 {
            bytes[at..at + 2].copy_from_slice(&extension);
            bytes[at + 2..at + 4].copy_from_slice(&[0, words]);
        }
        // Authentic, so that the crate reads on: whatever the header says, sent by the peer itself.
        if rtp_ssrc(&bytes).is_some() {
            let (mut ours, mut theirs) = pair(SrtpSuite::HmacSha1_32);
            let plain = bytes.clone();
            ours.protect_rtp(&mut bytes);
            prop_assert_eq!(opened(&mut theirs, &bytes), Ok(plain));
        }
    }
}
