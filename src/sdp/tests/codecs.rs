//! The codecs beyond G.711 in offers and answers.

use super::*;
use crate::base::rtp_format::{G722, L16, L16_WIDE};

fn wide() -> Negotiation {
    let formats = vec![PCMU, PCMA, G722, OPUS, L16_WIDE, L16];
    Negotiation::new(LocalMedia { formats, comfort_noise: true, ..local() }, 1)
}

fn audio(lines: &str) -> Vec<u8> {
    offer(1, "c=IN IP4 192.0.2.9\r\n", lines)
}

const OPUS_FMTP: &str = "maxplaybackrate=16000;sprop-maxcapturerate=16000;useinbandfec=1";

#[test]
fn sdp_004_opus_is_answered_with_two_channels_and_our_parameters_whatever_was_offered() {
    for offered in [
        "a=rtpmap:96 opus/48000/2\r\n",
        "a=rtpmap:96 OPUS/48000/2\r\na=fmtp:96 useinbandfec=0;usedtx=1;stereo=1;cbr=1;maxaveragebitrate=12000;x-y\r\n",
        "a=rtpmap:96 opus/48000\r\na=fmtp:96\r\n",
    ] {
        let media = format!("m=audio 4000 RTP/AVP 96 101\r\n{offered}a=rtpmap:101 telephone-event/48000\r\n");
        let (answer, negotiated) = answer(&mut wide(), &audio(&media));
        assert_eq!(m_lines(&answer), ["m=audio 14002 RTP/AVP 96 101"]);
        assert!(answer.contains(&format!("a=rtpmap:96 opus/48000/2\r\na=fmtp:96 {OPUS_FMTP}\r\n")), "{answer}");
        assert!(answer.contains("a=rtpmap:101 telephone-event/48000\r\na=fmtp:101 0-15\r\n"), "{answer}");
        assert_eq!((negotiated.format, negotiated.payload_type), (OPUS, 96));
        assert_eq!(negotiated.telephone_event.map(|event| event.clock_rate), Some(48_000));
    }
    let other = "m=audio 4000 RTP/AVP 96 97\r\na=rtpmap:96 opus/16000/2\r\na=rtpmap:97 opus/48000/6\r\n";
    assert!(matches!(wide().answer(&audio(other)), Err(Refusal::NoCodec(_))), "neither is Opus");
}

#[test]
fn sdp_006_g722_has_a_clock_of_8000_for_itself_its_events_and_its_noise() {
    let events = "a=rtpmap:100 telephone-event/16000\r\na=rtpmap:101 telephone-event/8000\r\n";
    let media = format!("m=audio 4000 RTP/AVP 9 0 13 100 101\r\n{events}");
    let (answer, negotiated) = answer(&mut wide(), &audio(&media));
    assert_eq!(m_lines(&answer), ["m=audio 14002 RTP/AVP 9 13 101"]);
    assert!(answer.contains("a=rtpmap:9 G722/8000\r\n") && !answer.contains("fmtp:9 "));
    assert_eq!((negotiated.format, negotiated.comfort_noise), (G722, Some(13)));
}

#[test]
fn sdp_004_l16_is_told_apart_by_its_clock_and_stereo_is_not_ours() {
    let maps =
        "a=rtpmap:96 L16/44100/2\r\na=rtpmap:97 L16/16000/2\r\na=rtpmap:98 L16/16000/1\r\na=rtpmap:99 l16/8000\r\n";
    for (numbers, format, number) in [("96 97 98 99", L16_WIDE, 98), ("10 11 99 98", L16, 99)] {
        let media = format!("m=audio 4000 RTP/AVP {numbers} 105\r\n{maps}a=rtpmap:105 CN/16000\r\na=ptime:60\r\n");
        let (answer, negotiated) = answer(&mut wide(), &audio(&media));
        assert_eq!((negotiated.format, negotiated.payload_type), (format, number));
        assert!(answer.contains(&format!("a=rtpmap:{number} L16/{}\r\n", format.clock_rate)));
        assert_eq!(negotiated.ptime_ms, if format == L16 { 60 } else { 40 }, "what fits into a datagram");
        assert_eq!(negotiated.comfort_noise, (format == L16_WIDE).then_some(105), "comfort noise of the codec's clock");
    }
}

#[test]
fn sdp_007_30_ms_of_opus_are_20() {
    let media = "m=audio 4000 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\na=ptime:30\r\n";
    assert_eq!(answer(&mut wide(), &audio(media)).1.ptime_ms, 20);
}

#[test]
fn sdp_013_our_offer_has_every_codec_under_a_number_of_its_own_and_events_of_every_clock() {
    let mut negotiation = wide();
    let offered = text(negotiation.offer());
    assert_eq!(m_lines(&offered), ["m=audio 14002 RTP/AVP 0 8 9 111 118 119 101 96 97"]);
    for line in [
        "a=rtpmap:9 G722/8000\r\n",
        "a=rtpmap:111 opus/48000/2\r\n",
        "a=rtpmap:118 L16/16000\r\n",
        "a=rtpmap:119 L16/8000\r\n",
        "a=rtpmap:101 telephone-event/8000\r\n",
        "a=rtpmap:96 telephone-event/48000\r\n",
        "a=rtpmap:97 telephone-event/16000\r\n",
    ] {
        assert!(offered.contains(line), "{line}{offered}");
    }
    assert_eq!(offered.matches("a=fmtp:").count(), 4, "Opus and three kinds of events");
    let media = "m=audio 4000 RTP/AVP 111 96\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:96 telephone-event/48000\r\n";
    let agreed = negotiation.accept(&audio(media)).expect("an answer");
    assert_eq!((agreed.format, agreed.telephone_event.map(|event| event.payload_type)), (OPUS, Some(96)));
}

#[test]
fn sdp_012_a_change_of_codec_is_a_media_change_and_comes_back() {
    let mut negotiation = wide();
    let opus = "m=audio 4000 RTP/AVP 111 0\r\na=rtpmap:111 opus/48000/2\r\n";
    answer(&mut negotiation, &audio(opus));
    for (number, media, format) in
        [(2, "m=audio 4000 RTP/AVP 9 111\r\na=rtpmap:111 opus/48000/2\r\n", G722), (3, opus, OPUS)]
    {
        let (_, negotiated) = answer(&mut negotiation, &offer(number, "c=IN IP4 192.0.2.9\r\n", media));
        assert!(negotiated.media_changed && negotiated.format == format);
    }
}
