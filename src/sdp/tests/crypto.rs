//! SRTP in offer and answer (SDP-015, SDP-018), with offers in the shapes of the field.

use super::*;
use crate::base::random::Random;
use crate::base::srtp::{SrtpKeys, SrtpSuite};
use crate::config::SrtpPolicy;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER_KEY: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

fn with(policy: SrtpPolicy) -> Negotiation {
    negotiation().with_srtp(policy, true, Random::from_number(5))
}

/// An audio line over `profile` with these `a=crypto` values, media at `port`.
fn secure(version: u32, port: u16, profile: &str, crypto: &[String]) -> Vec<u8> {
    let lines: String = crypto.iter().map(|value| format!("a=crypto:{value}\r\n")).collect();
    offer(version, "c=IN IP4 192.0.2.9\r\n", &format!("m=audio {port} {profile} 8 0\r\n{lines}"))
}

fn sha1_80(tag: u32, key: &str) -> String {
    format!("{tag} AES_CM_128_HMAC_SHA1_80 inline:{key}")
}

/// The `a=crypto` values of a description.
fn crypto(description: &str) -> Vec<String> {
    description.lines().filter_map(|line| line.strip_prefix("a=crypto:")).map(str::to_owned).collect()
}

fn keys(negotiated: &Negotiated) -> &SrtpKeys {
    negotiated.srtp.as_ref().expect("SRTP")
}

struct Case {
    peer: &'static str,
    offer: &'static str,
    m_line: &'static str,
    crypto: &'static str,
}

const CASES: &[Case] = &[
    Case {
        peer: "Asterisk: one suite, no parameters",
        offer: "v=0\r\no=- 1486913207 1486913207 IN IP4 198.51.100.21\r\ns=Asterisk\r\nc=IN IP4 198.51.100.21\r\nt=0 0\r\n\
            m=audio 17330 RTP/SAVP 8 0 101\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
            a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\n\
            a=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\n",
        m_line: "m=audio 14002 RTP/SAVP 8 101",
        crypto: "1 AES_CM_128_HMAC_SHA1_80 inline:",
    },
    Case {
        peer: "FreeSWITCH: AEAD suites first, with lifetimes and without",
        offer: "v=0\r\no=FreeSWITCH 1700000000 1700000001 IN IP4 198.51.100.22\r\ns=FreeSWITCH\r\nc=IN IP4 198.51.100.22\r\n\
            t=0 0\r\nm=audio 28816 RTP/SAVP 0 8 101\r\na=rtpmap:101 telephone-event/8000\r\n\
            a=crypto:1 AEAD_AES_256_GCM_8 inline:Nm1CWTZXSG9CUTR1TFdrWkNGNUZTYUZ6UU1jQzFxZTRkc1Z0VTNwbA==\r\n\
            a=crypto:2 AES_256_CM_HMAC_SHA1_80 inline:7x9VXkQ1rO5rD8Iu0wzJ3YFvZCHnTkcQ4EoxOW2S5yMGkPVYyDYQ4KRbb0D0Kg==\r\n\
            a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^31\r\n\
            a=crypto:4 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\na=ptime:20\r\n",
        m_line: "m=audio 14002 RTP/SAVP 0 101",
        crypto: "3 AES_CM_128_HMAC_SHA1_80 inline:",
    },
    Case {
        peer: "Cisco CUCM: _32 alone",
        offer: "v=0\r\no=CiscoSystemsCCM-SIP 161095 1 IN IP4 198.51.100.25\r\ns=SIP Call\r\nc=IN IP4 198.51.100.26\r\nt=0 0\r\n\
            m=audio 21514 RTP/SAVP 0 101\r\na=crypto:1 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n\
            a=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n",
        m_line: "m=audio 14002 RTP/SAVP 0 101",
        crypto: "1 AES_CM_128_HMAC_SHA1_32 inline:",
    },
    Case {
        peer: "an SBC: _32 before _80, big tags, a window hint, feedback profile",
        offer: "v=0\r\no=SBC 1 1 IN IP4 198.51.100.30\r\ns=-\r\nc=IN IP4 198.51.100.30\r\nt=0 0\r\n\
            m=audio 30000 RTP/SAVPF 8 0\r\na=crypto:10 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20 WSH=128\r\n\
            a=crypto:20 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20 WSH=128\r\n",
        m_line: "m=audio 14002 RTP/SAVPF 8",
        crypto: "20 AES_CM_128_HMAC_SHA1_80 inline:",
    },
    Case {
        peer: "a phone: a key identifier on the first line, an unencrypted fallback on the last",
        offer: "v=0\r\no=phone 1 1 IN IP4 198.51.100.31\r\ns=-\r\nc=IN IP4 198.51.100.31\r\nt=0 0\r\nm=audio 11780 RTP/SAVP 0 8\r\n\
            a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^31|1:1\r\n\
            a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^31\r\n\
            a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj UNENCRYPTED_SRTP\r\n",
        m_line: "m=audio 14002 RTP/SAVP 0",
        crypto: "2 AES_CM_128_HMAC_SHA1_80 inline:",
    },
];

#[test]
fn sdp_018_offers_of_the_field_get_one_line_with_the_offers_tag_and_suite_and_a_key_of_ours() {
    for Case { peer, offer, m_line, crypto: expected } in CASES {
        for policy in [SrtpPolicy::Optional, SrtpPolicy::Required] {
            let (answer, negotiated) = answer(&mut with(policy), offer.as_bytes());
            assert_eq!(m_lines(&answer), [*m_line], "{peer}");
            let [line] = crypto(&answer).try_into().unwrap_or_else(|lines| panic!("{peer}: {lines:?}"));
            let key = line.strip_prefix(expected).unwrap_or_else(|| panic!("{peer}: {line}"));
            assert_eq!(key.len(), 40, "{peer}: 30 octets and nothing after them");
            assert!(!offer.contains(key), "{peer}: a key of our own");
            let keys = keys(&negotiated);
            assert_ne!(keys.send, keys.receive);
            assert_eq!(keys.suite.name(), line.split(' ').nth(1).expect("a suite"), "{peer}");
        }
    }
}

#[test]
fn sdp_015_what_is_answered_depends_on_the_offers_transport_and_the_trunk() {
    let keys = [sha1_80(1, KEY)];
    let none: [String; 0] = [];
    type Case<'a> = (&'a str, &'a [String], SrtpPolicy, Result<bool, Refusal>);
    let cases: [Case<'_>; 12] = [
        ("RTP/AVP", &none, SrtpPolicy::Off, Ok(false)),
        ("RTP/AVP", &keys, SrtpPolicy::Off, Ok(false)),
        ("RTP/SAVP", &keys, SrtpPolicy::Off, Err(Refusal::SrtpOff("RTP/SAVP".into()))),
        ("RTP/AVP", &none, SrtpPolicy::Optional, Ok(false)),
        ("RTP/AVP", &keys, SrtpPolicy::Optional, Ok(false)),
        ("RTP/SAVP", &keys, SrtpPolicy::Optional, Ok(true)),
        ("RTP/SAVP", &none, SrtpPolicy::Optional, Err(CryptoFault::Missing.into())),
        ("RTP/AVP", &none, SrtpPolicy::Required, Err(Refusal::SrtpRequired)),
        ("RTP/AVP", &keys, SrtpPolicy::Required, Ok(true)),
        ("rtp/savp", &keys, SrtpPolicy::Required, Ok(true)),
        ("RTP/SAVPF", &keys, SrtpPolicy::Required, Ok(true)),
        ("UDP/TLS/RTP/SAVP", &keys, SrtpPolicy::Required, Err(Refusal::Profile("UDP/TLS/RTP/SAVP".into()))),
    ];
    for (profile, lines, policy, expected) in cases {
        let result = with(policy).answer(&secure(1, 4000, profile, lines));
        let encrypted = result.map(|(answer, negotiated)| {
            let answer = text(answer);
            assert_eq!(m_lines(&answer), [format!("m=audio 14002 {profile} 8")], "the offer's transport");
            assert_eq!(crypto(&answer).len(), usize::from(negotiated.srtp.is_some()), "{profile} {policy:?}");
            negotiated.srtp.is_some()
        });
        assert_eq!(encrypted, expected, "{profile} {policy:?}");
    }
}

#[test]
fn sdp_018_keys_are_neither_taken_nor_written_in_signalling_that_all_can_read() {
    for policy in [SrtpPolicy::Optional, SrtpPolicy::Required] {
        let mut negotiation = negotiation().with_srtp(policy, false, Random::from_number(5));
        let refusal = negotiation.answer(&secure(1, 4000, "RTP/SAVP", &[sha1_80(1, KEY)])).expect_err("a refusal");
        assert_eq!((&refusal, refusal.warning().0), (&Refusal::KeysInClear, 399));
        assert!(refusal.to_string().contains("allow_sdes_cleartext"));
        let may_offer = negotiation.check_offer();
        assert_eq!(may_offer.is_ok(), policy == SrtpPolicy::Optional);
        if may_offer.is_ok() {
            let offer = text(negotiation.offer());
            assert!(offer.contains("RTP/AVP ") && crypto(&offer).is_empty());
        }
    }
}

#[test]
fn sdp_018_without_a_usable_line_the_offer_is_refused_and_the_reason_shows_no_key() {
    for (line, fault) in [
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"), CryptoFault::Parameter),
        (format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNAUTHENTICATED_SRTP"), CryptoFault::Parameter),
        (format!("1 F8_128_HMAC_SHA1_80 inline:{KEY}"), CryptoFault::Suite),
        ("1 AES_CM_128_HMAC_SHA1_80 inline:c2hvcnQ=".to_owned(), CryptoFault::Key),
    ] {
        let refusal = with(SrtpPolicy::Optional).answer(&secure(1, 4000, "RTP/SAVP", &[line])).expect_err("a refusal");
        assert_eq!(refusal, Refusal::Crypto(fault));
        assert!(!format!("{refusal} {refusal:?}").contains("WVNf"));
    }
}

#[test]
fn sdp_008_the_same_offer_gets_the_same_answer_key_included_and_nothing_has_changed() {
    let mut negotiation = with(SrtpPolicy::Optional);
    let offer = secure(1, 4000, "RTP/SAVP", &[sha1_80(1, KEY)]);
    let (first, before) = answer(&mut negotiation, &offer);
    let (second, after) = answer(&mut negotiation, &offer);
    assert_eq!(first, second);
    assert_eq!((after.changed, after.media_changed, &after.srtp), (false, false, &before.srtp));
    let hold = String::from_utf8(secure(2, 4000, "RTP/SAVP", &[sha1_80(1, KEY)])).unwrap() + "a=sendonly\r\n";
    let (held, negotiated) = answer(&mut negotiation, hold.as_bytes());
    assert_eq!((crypto(&held), negotiated.media_changed), (crypto(&first), false), "a hold keeps the keys");
}

#[test]
fn sdp_018_a_new_key_or_address_of_the_peer_gets_a_new_key_of_ours_and_sources_are_learned_anew() {
    let mut negotiation = with(SrtpPolicy::Optional);
    let mut seen = Vec::new();
    for (version, port, line) in [
        (1, 4000, sha1_80(1, KEY)),
        (2, 4000, sha1_80(1, OTHER_KEY)),
        (3, 5000, sha1_80(1, OTHER_KEY)),
        (4, 5000, format!("1 AES_CM_128_HMAC_SHA1_32 inline:{OTHER_KEY}")),
    ] {
        let (_, negotiated) = answer(&mut negotiation, &secure(version, port, "RTP/SAVP", &[line]));
        assert!(negotiated.media_changed, "RTP-013: a=crypto changed");
        let key = keys(&negotiated).send.clone();
        assert!(!seen.contains(&key), "version {version}");
        seen.push(key);
    }
    let (plain, negotiated) = answer(&mut negotiation, &secure(5, 5000, "RTP/AVP", &[]));
    assert!(crypto(&plain).is_empty() && negotiated.srtp.is_none() && negotiated.media_changed);
    let again = secure(6, 5000, "RTP/SAVP", &[format!("1 AES_CM_128_HMAC_SHA1_32 inline:{OTHER_KEY}")]);
    let (_, negotiated) = answer(&mut negotiation, &again);
    assert!(!seen.contains(&keys(&negotiated).send), "a key never comes back");
}

#[test]
fn sip_074_a_refused_reinvite_leaves_the_keys_as_they_were() {
    let mut negotiation = with(SrtpPolicy::Required);
    let (_, before) = answer(&mut negotiation, &secure(1, 4000, "RTP/SAVP", &[sha1_80(1, KEY)]));
    assert_eq!(negotiation.answer(&secure(2, 4000, "RTP/AVP", &[])).expect_err("refused"), Refusal::SrtpRequired);
    assert_eq!(negotiation.current(), Some(&before));
}

#[test]
fn sdp_013_an_offer_of_ours_has_both_suites_and_the_answer_takes_one() {
    let mut ours = with(SrtpPolicy::Required);
    let offer = text(ours.offer());
    assert_eq!(m_lines(&offer), ["m=audio 14002 RTP/SAVP 0 8 101"]);
    let lines = crypto(&offer);
    assert!(lines[0].starts_with("1 AES_CM_128_HMAC_SHA1_80 ") && lines[1].starts_with("2 AES_CM_128_HMAC_SHA1_32 "));
    assert_eq!(lines.len(), 2);
    let theirs = secure(1, 4000, "RTP/SAVP", &[format!("2 AES_CM_128_HMAC_SHA1_32 inline:{KEY}")]);
    let negotiated = ours.accept(&theirs).expect("an answer");
    assert_eq!(keys(&negotiated).suite, SrtpSuite::HmacSha1_32);
    let again = crypto(&text(ours.offer()));
    assert!(again.iter().all(|line| !lines.contains(line)), "whoever answers next may be somebody else");
}

#[test]
fn sdp_018_an_answer_that_takes_none_of_our_lines_is_refused() {
    for (profile, lines, expected) in [
        ("RTP/SAVP", vec![sha1_80(3, KEY)], Refusal::Crypto(CryptoFault::NotOffered)),
        ("RTP/SAVP", vec![sha1_80(2, KEY)], Refusal::Crypto(CryptoFault::NotOffered)),
        ("RTP/SAVP", vec![], Refusal::Crypto(CryptoFault::Missing)),
        ("RTP/AVP", vec![], Refusal::SrtpRequired),
    ] {
        let mut ours = with(SrtpPolicy::Required);
        ours.offer();
        assert_eq!(ours.accept(&secure(1, 4000, profile, &lines)).expect_err("a refusal"), expected, "{profile}");
    }
    let mut plain = negotiation();
    plain.offer();
    let refusal = plain.accept(&secure(1, 4000, "RTP/SAVP", &[sha1_80(1, KEY)])).expect_err("a refusal");
    assert_eq!(refusal, Refusal::Crypto(CryptoFault::NotOffered));
}

#[test]
fn sdp_018_two_of_ours_agree_and_nothing_printed_has_a_key() {
    let other = LocalMedia { port: 15_002, ..local() };
    let mut caller = Negotiation::new(other, 7).with_srtp(SrtpPolicy::Required, true, Random::from_number(6));
    let mut callee = with(SrtpPolicy::Optional);
    let offer = caller.offer();
    let (reply, theirs) = callee.answer(&offer).expect("an answer");
    let ours = caller.accept(&reply).expect("agreed");
    assert_eq!((&keys(&ours).send, &keys(&ours).receive), (&keys(&theirs).receive, &keys(&theirs).send));
    let printed = format!("{caller:?} {callee:?} {ours:?} {theirs:?}");
    for line in crypto(&text(offer)).into_iter().chain(crypto(&text(reply))) {
        let key = line.split("inline:").nth(1).expect("a key");
        assert!(!printed.contains(key));
    }
    assert!(printed.contains("MasterKey(..)"));
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sdp_018_no_crypto_line_makes_it_panic_and_none_of_garbage_is_taken(
            lines in proptest::collection::vec("[ -~é]{0,80}", 0..4),
            start in proptest::sample::select(vec!["", "1 ", "1 AES_CM_128_HMAC_SHA1_80 ", "1 AES_CM_128_HMAC_SHA1_80 inline:"]),
        ) {
            let lines: Vec<String> = lines.into_iter().map(|line| format!("{start}{line}")).collect();
            let result = with(SrtpPolicy::Required).answer(&secure(1, 4000, "RTP/SAVP", &lines));
            if let Ok((_, negotiated)) = result {
                prop_assert!(negotiated.srtp.is_some());
            }
        }
    }
}
