//! Whatever a peer sends: no panic, and an answer that fits its offer.

use proptest::prelude::*;

use super::*;

/// Lines as they come and as they should not.
fn line() -> impl Strategy<Value = String> {
    let media = prop_oneof!["audio", "video", "image", "AUDIO", "[a-z]{0,4}"];
    let profile = prop_oneof!["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "udptl", "[A-Z/]{0,9}"];
    let port = prop_oneof![Just(0_u32), 1_u32..70_000];
    let formats = prop_oneof!["( ?[0-9]{1,3}){0,6}", "t38", "\\*"];
    prop_oneof![
        6 => "m=audio (0|4000|6000) RTP/AVPF?( 0| 8| 13| 96| 101){1,5}",
        2 => (media, port, profile, formats).prop_map(|(m, port, profile, formats)| format!("m={m} {port} {profile} {formats}")),
        2 => "c=IN IP[46] (192\\.0\\.2\\.[0-9]{1,3}|0\\.0\\.0\\.0|::|2001:db8::1|[a-z.]{0,8})(/[0-9]{1,3})?",
        1 => "a=(sendrecv|sendonly|recvonly|inactive|rtcp-mux)",
        2 => "a=rtpmap:[0-9]{1,3} (PCMU|pcma|telephone-event|CN|opus)/(8000|48000|[0-9]{0,11})(/[0-9]{1,3})?",
        1 => "a=(ptime|maxptime|rtcp|fmtp):[0-9. a-z]{0,12}",
        1 => "[voscbtza]=\\PC{0,20}",
        1 => "\\PC{0,20}",
    ]
}

fn description() -> impl Strategy<Value = String> {
    (prop::collection::vec(line(), 0..14), prop_oneof!["\r\n", "\n", "\r"]).prop_map(|(lines, end)| {
        format!("v=0{end}o=- 1 1 IN IP4 192.0.2.9{end}c=IN IP4 192.0.2.9{end}{}", lines.join(&end))
    })
}

/// How many m-lines a peer reads in these bytes.
fn m_line_count(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes);
    text.split(['\r', '\n']).filter(|line| line.trim().starts_with("m=")).count()
}

proptest! {
    #[test]
    fn sdp_001_no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut negotiation = negotiation();
        let _ = negotiation.answer(&bytes);
        negotiation.offer();
        let _ = negotiation.accept(&bytes);
        let _ = negotiation.answer(&[b"v=0\r\n".as_slice(), &bytes].concat());
    }

    #[test]
    fn sdp_002_an_answer_has_as_many_m_lines_as_its_offer_and_reads_back(offers in prop::collection::vec(description(), 1..4)) {
        let mut negotiation = negotiation();
        for offered in offers {
            let before = negotiation.current().cloned();
            match negotiation.answer(offered.as_bytes()) {
                Ok((bytes, negotiated)) => {
                    prop_assert_eq!(m_line_count(&bytes), m_line_count(offered.as_bytes()));
                    let read = session::Description::parse(&bytes).expect("our own answer");
                    let line = read.lines().find(|line| line.port() != 0).expect("the audio line");
                    prop_assert_eq!(read.lines().filter(|line| line.port() != 0).count(), 1);
                    let formats = formats::formats(line);
                    prop_assert_eq!(formats[0].payload_type, negotiated.payload_type);
                    prop_assert!(formats[0].is(&negotiated.format));
                    prop_assert!(!(negotiated.held && negotiated.send));
                    prop_assert!([10, 20, 30, 40, 60].contains(&negotiated.ptime_ms));
                    prop_assert!(negotiated.remote.port() >= 1024);
                }
                Err(_) => prop_assert_eq!(negotiation.current(), before.as_ref()),
            }
        }
        let offer = text(negotiation.offer());
        prop_assert!(session::Description::parse(offer.as_bytes()).is_ok());
        prop_assert!(offer.ends_with("a=sendrecv\r\n") || m_lines(&offer).len() > 1);
    }
}
