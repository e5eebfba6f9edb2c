//! Offer/answer, requirement by requirement.

mod codecs;
mod crypto;
mod random;
mod real_offers;

use std::net::SocketAddr;

use super::*;
use crate::base::rtp_format::{OPUS, PCMA, PCMU};

fn local() -> LocalMedia {
    LocalMedia {
        address: "203.0.113.10".parse().unwrap(),
        port: 14002,
        formats: vec![PCMU, PCMA],
        prefer_ours: false,
        telephone_event: true,
        comfort_noise: false,
        ptime_ms: 20,
        rules: AddressRules { signalling: vec!["203.0.113.10:5060".parse().unwrap()], ..AddressRules::default() },
    }
}

fn negotiation() -> Negotiation {
    Negotiation::new(local(), 3_941_234_567)
}

/// An offer with this `o=` version, session-level lines and m-lines.
fn offer(version: u32, session: &str, media: &str) -> Vec<u8> {
    format!("v=0\r\no=pbx 42 {version} IN IP4 192.0.2.9\r\ns=-\r\n{session}t=0 0\r\n{media}").into_bytes()
}

/// The plain offer: G.711 both ways and telephone-event, `attributes` under the audio line.
fn plain(version: u32, attributes: &str) -> Vec<u8> {
    let audio = "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n";
    offer(version, "c=IN IP4 192.0.2.9\r\n", &format!("{audio}{attributes}"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("our descriptions are text")
}

/// The answer as text and what was agreed.
fn answer(negotiation: &mut Negotiation, offer: &[u8]) -> (String, Negotiated) {
    let (bytes, negotiated) = negotiation.answer(offer).expect("an acceptable offer");
    (text(bytes), negotiated)
}

/// The m-lines of a description.
fn m_lines(description: &str) -> Vec<&str> {
    description.lines().filter(|line| line.starts_with("m=")).collect()
}

/// The version in `o=`.
fn version(description: &str) -> u64 {
    let origin = description.lines().find_map(|line| line.strip_prefix("o=")).expect("o=");
    origin.split(' ').nth(2).and_then(|version| version.parse().ok()).expect("a version")
}

fn refusal(offer: &[u8]) -> Refusal {
    negotiation().answer(offer).expect_err("an offer to refuse")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn sdp_004_the_reference_answer_byte_for_byte() {
    let (answer, negotiated) = answer(
        &mut negotiation(),
        &offer(
            1,
            "c=IN IP4 192.0.2.9\r\n",
            "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\n",
        ),
    );
    let expected = "v=0\r\no=- 3941234567 1 IN IP4 203.0.113.10\r\ns=-\r\nc=IN IP4 203.0.113.10\r\nt=0 0\r\n\
        m=audio 14002 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
        a=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\n";
    assert_eq!(answer, expected);
    assert_eq!(negotiated.remote, address("192.0.2.9:4000"));
    assert_eq!(negotiated.remote_rtcp, address("192.0.2.9:4001"));
    assert_eq!((negotiated.format, negotiated.payload_type, negotiated.ptime_ms), (PCMA, 8, 20));
    assert_eq!(negotiated.telephone_event, Some(TelephoneEvent { payload_type: 101, clock_rate: 8000 }));
    assert!(negotiated.send && negotiated.receive && !negotiated.held);
    assert!(negotiated.changed && negotiated.media_changed);
}

#[test]
fn sdp_002_every_m_line_is_answered_in_its_place() {
    let media = "m=video 5000 RTP/AVP 96 97\r\nm=audio 0 RTP/AVP 0\r\nm=audio 4000 RTP/AVP 0\r\nm=audio 4002 RTP/AVP 8\r\n\
        m=application 9 TCP/BFCP *\r\nm=text 4010 RTP/AVP 98\r\n";
    let (answer, negotiated) = answer(&mut negotiation(), &offer(1, "c=IN IP4 192.0.2.9\r\n", media));
    assert_eq!(
        m_lines(&answer),
        [
            "m=video 0 RTP/AVP 96 97",
            "m=audio 0 RTP/AVP 0",
            "m=audio 14002 RTP/AVP 0",
            "m=audio 0 RTP/AVP 8",
            "m=application 0 TCP/BFCP *",
            "m=text 0 RTP/AVP 98"
        ]
    );
    assert_eq!(negotiated.remote.port(), 4000);
}

#[test]
fn sdp_003_what_has_no_usable_audio_is_refused_with_its_warning() {
    let connection = "c=IN IP4 192.0.2.9\r\n";
    for (media, code) in [
        ("", 304),
        ("m=video 5000 RTP/AVP 96\r\n", 304),
        ("m=audio 0 RTP/AVP 0\r\n", 304),
        ("m=audio 4000 RTP/AVP 18\r\n", 305),
        ("m=image 5000 udptl t38\r\nm=audio 4000 RTP/AVP 18 101\r\na=rtpmap:101 telephone-event/8000\r\n", 305),
        ("m=audio 4000 RTP/AVP 200 x 96\r\n", 305),
    ] {
        assert_eq!(refusal(&offer(1, connection, media)).warning().0, code, "{media}");
    }
    assert_eq!(refusal(&offer(1, "", "m=audio 4000 RTP/AVP 0\r\n")), Refusal::NoConnection);
    assert_eq!(refusal(b"hello").warning().0, 399);
}

#[test]
fn sdp_004_exactly_one_codec_is_answered_by_the_offers_order_or_by_ours() {
    let (first, _) = answer(&mut negotiation(), &plain(1, ""));
    assert_eq!(m_lines(&first), ["m=audio 14002 RTP/AVP 8 101"]);
    let mut ours = Negotiation::new(LocalMedia { prefer_ours: true, ..local() }, 1);
    assert_eq!(m_lines(&answer(&mut ours, &plain(1, "")).0), ["m=audio 14002 RTP/AVP 0 101"]);
}

#[test]
fn sdp_004_comfort_noise_is_answered_when_offered_and_enabled() {
    let offered = offer(1, "c=IN IP4 192.0.2.9\r\n", "m=audio 4000 RTP/AVP 0 13\r\n");
    let (without, negotiated) = answer(&mut negotiation(), &offered);
    assert_eq!((m_lines(&without), negotiated.comfort_noise), (vec!["m=audio 14002 RTP/AVP 0"], None));
    let mut enabled = Negotiation::new(LocalMedia { comfort_noise: true, ..local() }, 1);
    let (with, negotiated) = answer(&mut enabled, &offered);
    assert_eq!((m_lines(&with), negotiated.comfort_noise), (vec!["m=audio 14002 RTP/AVP 0 13"], Some(13)));
    assert!(with.contains("a=rtpmap:13 CN/8000\r\n"));
}

#[test]
fn sdp_005_the_offers_numbers_are_echoed_and_keep_their_meaning_in_our_next_offer() {
    let media = "m=audio 4000 RTP/AVP 101 96\r\na=rtpmap:101 G726-32/8000\r\na=rtpmap:96 PCMU/8000\r\n";
    let mut negotiation = negotiation();
    let (first, negotiated) = answer(&mut negotiation, &offer(1, "c=IN IP4 192.0.2.9\r\n", media));
    assert_eq!(m_lines(&first), ["m=audio 14002 RTP/AVP 96"]);
    assert!(first.contains("a=rtpmap:96 PCMU/8000\r\n"));
    assert_eq!((negotiated.payload_type, negotiated.format), (96, PCMU));
    let ours = text(negotiation.offer());
    assert_eq!(m_lines(&ours), ["m=audio 14002 RTP/AVP 0 8 97"], "101 means G.726 in this call, 96 means PCMU");
    assert!(ours.contains("a=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\n"));
    assert_eq!(m_lines(&text(negotiation.offer())), m_lines(&ours));
}

#[test]
fn sdp_006_only_the_telephone_event_with_the_codecs_clock_is_answered() {
    let events = "a=rtpmap:96 telephone-event/48000\r\na=rtpmap:97 Telephone-Event/8000/1\r\na=fmtp:97 0-11\r\n";
    let media = format!("m=audio 4000 RTP/AVP 111 0 96 97\r\na=rtpmap:111 opus/48000/2\r\n{events}");
    let offered = offer(1, "c=IN IP4 192.0.2.9\r\n", &media);
    let (narrow, negotiated) = answer(&mut negotiation(), &offered);
    assert_eq!(m_lines(&narrow), ["m=audio 14002 RTP/AVP 0 97"]);
    assert!(narrow.contains("a=rtpmap:97 telephone-event/8000\r\na=fmtp:97 0-15\r\n"));
    assert_eq!(negotiated.telephone_event, Some(TelephoneEvent { payload_type: 97, clock_rate: 8000 }));
    let mut wide = Negotiation::new(LocalMedia { formats: vec![OPUS, PCMU], ..local() }, 1);
    let (wide, negotiated) = answer(&mut wide, &offered);
    assert_eq!(m_lines(&wide), ["m=audio 14002 RTP/AVP 111 96"]);
    assert!(wide.contains("a=rtpmap:111 opus/48000/2\r\n"));
    assert_eq!(negotiated.telephone_event, Some(TelephoneEvent { payload_type: 96, clock_rate: 48000 }));
}

#[test]
fn sdp_006_a_telephone_event_that_was_not_offered_or_has_no_matching_clock_is_not_answered() {
    let other_clock = "m=audio 4000 RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/16000\r\n";
    for media in ["m=audio 4000 RTP/AVP 0\r\n", other_clock] {
        let (answer, negotiated) = answer(&mut negotiation(), &offer(1, "c=IN IP4 192.0.2.9\r\n", media));
        assert_eq!(m_lines(&answer), ["m=audio 14002 RTP/AVP 0"]);
        assert_eq!(negotiated.telephone_event, None);
    }
}

#[test]
fn sdp_007_we_send_what_the_peer_asks_for_and_announce_our_own() {
    for (attributes, expected) in [("a=ptime:30\r\n", 30), ("a=ptime:60\r\na=maxptime:30\r\n", 30), ("", 20)] {
        let (answer, negotiated) = answer(&mut negotiation(), &plain(1, attributes));
        assert_eq!(negotiated.ptime_ms, expected);
        assert!(answer.contains("a=ptime:20\r\na=maxptime:60\r\n"));
    }
}

#[test]
fn sdp_008_the_version_rises_exactly_when_our_description_changes() {
    let mut negotiation = negotiation();
    let versions: Vec<u64> = [
        plain(1, ""),
        plain(1, ""),
        plain(2, ""),
        plain(3, "a=sendonly\r\n"),
        plain(4, "a=sendonly\r\n"),
        plain(5, ""),
        offer(6, "c=IN IP4 192.0.2.77\r\n", "m=audio 6000 RTP/AVP 0\r\n"),
    ]
    .iter()
    .map(|offer| version(&answer(&mut negotiation, offer).0))
    .collect();
    assert_eq!(versions, [1, 1, 1, 2, 2, 3, 4]);
}

#[test]
fn sdp_008_the_session_id_stays_and_fits_a_signed_number() {
    let mut negotiation = Negotiation::new(local(), u64::MAX);
    for offered in [plain(1, ""), plain(2, "a=inactive\r\n")] {
        assert!(answer(&mut negotiation, &offered).0.contains(&format!("o=- {} ", i64::MAX)));
    }
}

#[test]
fn sdp_009_directions_are_answered_and_never_replayed() {
    let mut negotiation = negotiation();
    for (number, (offered, answered, send, receive)) in [
        ("", "sendrecv", true, true),
        ("a=sendonly\r\n", "recvonly", false, true),
        ("a=sendrecv\r\n", "sendrecv", true, true),
        ("a=recvonly\r\n", "sendonly", true, false),
        ("a=inactive\r\n", "inactive", false, false),
        ("", "sendrecv", true, true),
    ]
    .into_iter()
    .enumerate()
    {
        let (answer, negotiated) = answer(&mut negotiation, &plain(number as u32, offered));
        assert!(answer.ends_with(&format!("a={answered}\r\n")), "{offered}: {answer}");
        assert_eq!((negotiated.send, negotiated.receive, negotiated.held), (send, receive, !send), "{offered}");
    }
}

#[test]
fn sdp_010_each_form_of_hold_stops_our_media_and_resume_restores_it() {
    let zero = |version| {
        offer(version, "c=IN IP4 0.0.0.0\r\n", "m=audio 4000 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\n")
    };
    for hold in [plain(2, "a=sendonly\r\n"), plain(2, "a=inactive\r\n"), zero(2)] {
        let mut negotiation = negotiation();
        let (_, before) = answer(&mut negotiation, &plain(1, ""));
        let (answer_to_hold, held) = answer(&mut negotiation, &hold);
        assert!(held.held && !held.send && held.changed && !held.media_changed);
        assert_eq!((held.remote, held.remote_rtcp), (before.remote, before.remote_rtcp));
        assert!(answer_to_hold.contains("c=IN IP4 203.0.113.10\r\n"));
        assert_eq!(m_lines(&answer_to_hold), ["m=audio 14002 RTP/AVP 8 101"]);
        let (_, resumed) = answer(&mut negotiation, &plain(3, ""));
        assert_eq!(resumed, Negotiated { media_changed: false, ..before });
    }
}

#[test]
fn sdp_010_hold_counts_even_when_the_peer_forgets_to_raise_its_version() {
    let mut negotiation = negotiation();
    answer(&mut negotiation, &plain(1, ""));
    let (answer, held) = answer(&mut negotiation, &plain(1, "a=sendonly\r\n"));
    assert!(held.held && held.changed);
    assert!(answer.ends_with("a=recvonly\r\n"));
}

#[test]
fn sip_070_the_same_description_again_changes_nothing() {
    let mut negotiation = negotiation();
    let (first, before) = answer(&mut negotiation, &plain(7, ""));
    let (second, again) = answer(&mut negotiation, &plain(7, ""));
    assert_eq!(first, second);
    assert_eq!(again, Negotiated { changed: false, media_changed: false, ..before });
}

#[test]
fn sdp_012_a_new_address_or_codec_is_a_media_change() {
    let mut negotiation = negotiation();
    answer(&mut negotiation, &plain(1, ""));
    for (session, media, remote, format, media_changed) in [
        ("192.0.2.9", "m=audio 4000 RTP/AVP 8\r\n", "192.0.2.9:4000", PCMA, false),
        ("192.0.2.30", "m=audio 4000 RTP/AVP 8\r\n", "192.0.2.30:4000", PCMA, true),
        ("192.0.2.30", "m=audio 4040 RTP/AVP 8\r\n", "192.0.2.30:4040", PCMA, true),
        ("192.0.2.30", "m=audio 4040 RTP/AVP 0\r\n", "192.0.2.30:4040", PCMU, true),
    ] {
        let offered = offer(2, &format!("c=IN IP4 {session}\r\n"), media);
        let (answer, negotiated) = answer(&mut negotiation, &offered);
        assert_eq!((negotiated.remote, negotiated.format), (address(remote), format));
        assert_eq!(negotiated.media_changed, media_changed, "{session} {media}");
        assert!(m_lines(&answer)[0].starts_with("m=audio 14002 "), "we keep our port");
    }
}

#[test]
fn sdp_013_a_late_offer_has_all_our_codecs_and_takes_the_answer() {
    let mut negotiation = negotiation();
    let offered = text(negotiation.offer());
    assert!(offered.ends_with(
        "m=audio 14002 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=maxptime:60\r\na=sendrecv\r\n"
    ));
    assert_eq!(negotiation.current(), None);
    let agreed = negotiation.accept(&plain(1, "")).expect("an answer");
    assert_eq!((agreed.format, agreed.remote), (PCMA, address("192.0.2.9:4000")));
    assert_eq!(negotiation.current(), Some(&agreed));
    assert_eq!(negotiation.accept(&plain(1, "")), Err(Refusal::NoOffer));
}

#[test]
fn sip_071_a_fresh_offer_ignores_hold_and_keeps_every_m_line() {
    let mut negotiation = negotiation();
    let media =
        "m=video 5000 RTP/AVP 96\r\nm=audio 4000 RTP/AVPF 8 96\r\na=rtpmap:96 telephone-event/8000\r\na=inactive\r\n";
    let (held, _) = answer(&mut negotiation, &offer(1, "c=IN IP4 192.0.2.9\r\n", media));
    let offered = text(negotiation.offer());
    assert_eq!(m_lines(&offered), ["m=video 0 RTP/AVP 96", "m=audio 14002 RTP/AVPF 0 8 96"]);
    assert!(offered.ends_with("a=sendrecv\r\n"));
    assert_eq!(version(&offered), version(&held) + 1);
    let reply = offer(2, "c=IN IP4 192.0.2.9\r\n", "m=video 0 RTP/AVP 96\r\nm=audio 4000 RTP/AVPF 8\r\n");
    let agreed = negotiation.accept(&reply).expect("an answer");
    assert!(agreed.send && !agreed.held && agreed.changed && !agreed.media_changed);
}

#[test]
fn sdp_013_an_answer_may_hold_us_and_a_bad_one_leaves_the_offer_open() {
    let mut negotiation = negotiation();
    negotiation.offer();
    let declined = offer(1, "c=IN IP4 192.0.2.9\r\n", "m=audio 0 RTP/AVP 0\r\n");
    assert_eq!(negotiation.accept(&declined), Err(Refusal::Disabled));
    assert!(negotiation.accept(&plain(1, "a=inactive\r\n")).expect("an answer").held);
}

#[test]
fn sdp_014_addresses_that_media_must_not_go_to_are_refused() {
    let with =
        |address: &str, port: u16| offer(1, &format!("c=IN {address}\r\n"), &format!("m=audio {port} RTP/AVP 0\r\n"));
    for connection in ["IP4 224.2.17.12/127", "IP4 127.0.0.1", "IP4 0.0.0.0", "IP6 ::1", "IP4 pbx.example.com", "IP4 "]
    {
        let refused = refusal(&with(connection, 4000));
        assert_eq!(refused.warning().0, 399, "{connection}: {refused}");
    }
    assert!(matches!(refusal(&with("IP4 203.0.113.10", 5060)), Refusal::Address(AddressFault::OurOwn(_))));
    assert_eq!(refusal(&with("IP4 192.0.2.9", 1023)), Refusal::Port(1023));
    let mut strict = local();
    strict.rules.strict = Some(vec!["198.51.100.0/24".parse().unwrap()]);
    let outside = Negotiation::new(strict, 1).answer(&with("IP4 192.0.2.9", 4000));
    assert!(matches!(outside, Err(Refusal::Address(AddressFault::OutsideAcl(_)))));
    let mut loopback = local();
    loopback.rules.allow_loopback = true;
    assert!(Negotiation::new(loopback, 1).answer(&with("IP4 127.0.0.1", 4000)).is_ok());
}

#[test]
fn sdp_014_a_call_may_start_on_hold_by_an_unspecified_address_if_it_says_so() {
    let mut negotiation = negotiation();
    let on_hold = offer(1, "c=IN IP4 0.0.0.0\r\n", "m=audio 4000 RTP/AVP 0\r\na=inactive\r\n");
    assert!(answer(&mut negotiation, &on_hold).1.held);
    let (_, resumed) = answer(&mut negotiation, &plain(2, ""));
    assert!(resumed.send && resumed.media_changed);
    assert_eq!(resumed.remote, address("192.0.2.9:4000"));
}

#[test]
fn sdp_015_the_answers_transport_is_the_offers() {
    let line = |profile: &str| format!("m=audio 4000 {profile} 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\r\n");
    for profile in ["RTP/AVP", "RTP/AVPF"] {
        let (answer, _) = answer(&mut negotiation(), &offer(1, "c=IN IP4 192.0.2.9\r\n", &line(profile)));
        assert_eq!(m_lines(&answer), [format!("m=audio 14002 {profile} 0")]);
        assert!(!answer.contains("crypto"), "best effort encryption is answered in clear");
    }
    for profile in ["RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVPF", "TCP/RTP/AVP"] {
        let refused = refusal(&offer(1, "c=IN IP4 192.0.2.9\r\n", &line(profile)));
        let off = profile.starts_with("RTP/SAVP");
        let reason = if off { Refusal::SrtpOff } else { Refusal::Profile };
        assert_eq!(refused, reason(profile.to_owned()));
        assert_eq!(refused.warning().0, 305);
    }
    let both = format!("{}{}", line("RTP/SAVP"), line("RTP/AVP"));
    let (answer, _) = answer(&mut negotiation(), &offer(1, "c=IN IP4 192.0.2.9\r\n", &both));
    assert_eq!(m_lines(&answer), ["m=audio 0 RTP/SAVP 0", "m=audio 14002 RTP/AVP 0"]);
}

#[test]
fn sdp_016_fax_alone_is_refused_and_the_session_goes_on_as_it_was() {
    let mut negotiation = negotiation();
    let (first, before) = answer(&mut negotiation, &plain(1, ""));
    let fax = "m=image 4000 udptl t38\r\na=T38FaxVersion:0\r\n";
    let refused = negotiation.answer(&offer(2, "c=IN IP4 192.0.2.9\r\n", fax)).unwrap_err();
    assert_eq!((refused.clone(), refused.warning().0), (Refusal::NoAudio, 304));
    assert_eq!(negotiation.current(), Some(&before));
    let (after, again) = answer(&mut negotiation, &plain(1, ""));
    assert_eq!((after, again.changed), (first, false), "the refused offer left no trace");
    let beside = format!("m=audio 4000 RTP/AVP 8\r\n{fax}");
    let (both, _) = answer(&mut negotiation, &offer(3, "c=IN IP4 192.0.2.9\r\n", &beside));
    assert_eq!(m_lines(&both), ["m=audio 14002 RTP/AVP 8", "m=image 0 udptl t38"]);
}

#[test]
fn sdp_017_rtcp_goes_where_the_peer_says() {
    for (attributes, rtcp, mux) in [
        ("", "192.0.2.9:4001", false),
        ("a=rtcp:4500\r\n", "192.0.2.9:4500", false),
        ("a=rtcp:4500 IN IP4 192.0.2.20\r\n", "192.0.2.20:4500", false),
        ("a=rtcp:4500 IN IP4 127.0.0.1\r\n", "192.0.2.9:4001", false),
        ("a=rtcp:22\r\n", "192.0.2.9:4001", false),
        ("a=rtcp:what\r\n", "192.0.2.9:4001", false),
        ("a=rtcp-mux\r\na=rtcp:4500\r\n", "192.0.2.9:4000", true),
    ] {
        let (answer, negotiated) = answer(&mut negotiation(), &plain(1, attributes));
        assert_eq!((negotiated.remote_rtcp, negotiated.rtcp_mux), (address(rtcp), mux), "{attributes}");
        assert_eq!(answer.contains("a=rtcp-mux\r\n"), mux);
    }
}

#[test]
fn sdp_017_mux_that_we_did_not_offer_is_not_agreed() {
    let mut negotiation = negotiation();
    assert!(!text(negotiation.offer()).contains("rtcp-mux"));
    let agreed = negotiation.accept(&plain(1, "a=rtcp-mux\r\n")).expect("an answer");
    assert_eq!((agreed.rtcp_mux, agreed.remote_rtcp.port()), (false, 4001));
}

#[test]
fn an_ipv6_peer_gets_an_ipv6_answer() {
    let mut negotiation = Negotiation::new(LocalMedia { address: "2001:db8::10".parse().unwrap(), ..local() }, 5);
    let offered = offer(1, "c=IN IP6 2001:db8::9\r\n", "m=audio 4000 RTP/AVP 0\r\n");
    let (answer, negotiated) = answer(&mut negotiation, &offered);
    assert!(answer.starts_with("v=0\r\no=- 5 1 IN IP6 2001:db8::10\r\ns=-\r\nc=IN IP6 2001:db8::10\r\n"));
    assert_eq!(negotiated.remote, address("[2001:db8::9]:4000"));
    let hold = offer(2, "c=IN IP6 ::\r\n", "m=audio 4000 RTP/AVP 0\r\n");
    assert!(negotiation.answer(&hold).expect("hold").1.held);
}
