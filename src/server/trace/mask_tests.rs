use proptest::prelude::*;

use super::*;

fn masked(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    sip(&mut bytes);
    assert_eq!(bytes.len(), text.len(), "lengths stay true");
    String::from_utf8(bytes).expect("x is UTF-8")
}

/// The value of `header` in a masked INVITE that has it.
fn header(line: &str) -> String {
    let text = masked(&format!("INVITE sip:1@h SIP/2.0\r\nVia: v\r\n{line}\r\nTo: t\r\n\r\n"));
    let found = text
        .strip_prefix("INVITE sip:1@h SIP/2.0\r\nVia: v\r\n")
        .and_then(|rest| rest.strip_suffix("\r\nTo: t\r\n\r\n"));
    found.expect("nothing beside it is touched").to_owned()
}

fn body(content_type: &str, body: &str) -> String {
    let text = masked(&format!("INFO sip:1@h SIP/2.0\r\nContent-Type: {content_type}\r\n\r\n{body}"));
    text.split_once("\r\n\r\n").expect("head and body").1.to_owned()
}

#[test]
fn sip_116_credentials_are_masked_and_what_explains_a_refused_login_is_not() {
    let shown = header(
        "Authorization: Digest username=\"bob\", realm=\"pbx\", nonce=\"abc,d\", uri=\"sip:1@h\", response=\"0f\\\"9\", \
         algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"q\", opaque=z",
    );
    assert_eq!(
        shown,
        "Authorization: Digest username=\"xxx\", realm=\"pbx\", nonce=\"xxxxx\", uri=\"sip:1@h\", response=\"xxx\"x\", \
         algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"x\", opaque=x"
    );
}

#[test]
fn sip_116_credentials_of_other_schemes_folded_and_oddly_written_are_masked_whole() {
    assert_eq!(header("proxy-AUTHORIZATION : Basic Ym9iOnNlY3JldA=="), "proxy-AUTHORIZATION : Basic xxxxxxxxxxxxxxxx");
    assert_eq!(header("Authorization: Bearer a=b, c=d"), "Authorization: Bearer xxxx xxx");
    let folded = header("Authorization: Digest realm=\"r\",\r\n response=\"sec\r\n\tret\"");
    assert_eq!(folded, "Authorization: Digest realm=\"r\",\r\n response=\"xxx\r\n\txxx\"");
    let spaced = header("Authorization: Digest realm=\"r\", response = secret");
    assert_eq!(spaced, "Authorization: Digest realm=\"r\", response = xxxxxx");
    assert_eq!(header("Authorization: response=secret"), "Authorization: response=xxxxxx");
    assert_eq!(header("Authorization: Digest secret words"), "Authorization: Digest xxxxxx xxxxx");
}

#[test]
fn sip_116_values_of_extension_headers_and_user_to_user_are_masked() {
    assert_eq!(header("X-UUI: order 4711"), "X-UUI: xxxxx xxxx");
    assert_eq!(header("x-anything:é"), "x-anything:xx");
    assert_eq!(header("User-to-User: 00aa;encoding=hex,\r\n  bb"), "User-to-User: xxxxxxxxxxxxxxxxxx\r\n  xx");
    assert_eq!(header("X-Exotel-AccountSid: acc1"), "X-Exotel-AccountSid: acc1");
    assert_eq!(header("Subject: about X-UUI: 5"), "Subject: about X-UUI: 5");
}

#[test]
fn sip_116_headers_inside_uris_are_masked_but_for_those_that_are_signalling() {
    assert_eq!(
        header("Refer-To: <sip:9@h?User-to-User=00a%3Bencoding%3Dhex&Replaces=a%3Bto-tag%3Db&X-A=1>;x=y"),
        "Refer-To: <sip:9@h?User-to-User=xxxxxxxxxxxxxxxxxxxx&Replaces=a%3Bto-tag%3Db&X-A=x>;x=y"
    );
    assert_eq!(header("r: sip:9@h?X-A=12"), "r: sip:9@h?X-A=xx");
    assert!(masked("REFER sip:1@h?X-A=12 SIP/2.0\r\nVia: v\r\n\r\n").starts_with("REFER sip:1@h?X-A=xx SIP/2.0\r\n"));
    assert_eq!(header("To: <sip:1@h;user=phone>;tag=5"), "To: <sip:1@h;user=phone>;tag=5");
}

#[test]
fn sip_116_keys_in_sdp_are_masked_in_a_multipart_body_too() {
    let text = masked(
        "INVITE sip:1@h SIP/2.0\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\nContent-Type: application/sdp\r\n\r\n\
         v=0\r\nm=audio 4 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20\n\
         k=base64:c2VjcmV0\r\nX-Data: 1\r\n--b--",
    );
    assert!(text.contains("\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 xxxx"), "{text}");
    assert!(
        text.contains("k=xxxxxxxxxxxxxxx\r\nX-Data: x\r\n--b--") && !text.contains("PS1u") && !text.contains("2^20"),
        "{text}"
    );
    let tabs = masked("OPTIONS sip:1@h SIP/2.0\r\n\r\na=crypto:1\tS\tinline:KEY");
    assert!(tabs.ends_with("\r\na=crypto:1\tx\txxxxxxxxxx"), "{tabs}");
}

#[test]
fn rtp_064_digits_in_info_are_masked() {
    assert_eq!(body("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), "Signal=x\r\nDuration=160\r\n");
    assert_eq!(body("Application/DTMF-Relay", "signal= *\nduration = 1"), "signal= x\nduration = 1");
    assert_eq!(body("application/dtmf", "5\r\n"), "x\r\n");
    assert_eq!(body("multipart/mixed;boundary=b", "--b\r\n\r\nSignal=7"), "xxx\r\n\r\nxxxxxxxx");
    let kpml = "NOTIFY sip:1@h SIP/2.0\r\nc: application/kpml-response+xml\r\n\r\n<kpml digits=\"12\"/>";
    assert!(masked(kpml).ends_with("\r\n\r\nxxxxx xxxxxxxxxxxxx"));
}

#[test]
fn sip_116_a_body_that_is_encoded_or_a_message_itself_hides_nothing() {
    let fragment = "NOTIFY sip:1@h SIP/2.0\r\nContent-Type: message/sipfrag\r\n\r\nSIP/2.0 200 OK\r\nX-Order: 4711\r\n 12\r\nTo: a";
    assert!(masked(fragment).ends_with("SIP/2.0 200 OK\r\nX-Order: xxxx\r\n xx\r\nTo: a"));
    assert!(masked("INVITE sip:1@h SIP/2.0\r\nContent-Encoding: gzip\r\n\r\nsecret").ends_with("\r\n\r\nxxxxxx"));
}

#[test]
fn a_message_without_secrets_stays_as_it_is() {
    let mut text = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nTo: \"a?b=c\" <sip:1@h>\r\nCSeq: 1 INVITE\r\n\r\nv=0\r\n".to_vec();
    assert!(!sip(&mut text) || !String::from_utf8_lossy(&text).contains("xx"));
}

#[test]
fn rtp_064_a_telephone_event_loses_its_digit_and_keeps_end_and_duration() {
    let mut packet = [vec![0x80, 101], vec![0; 10], vec![5, 0x8A, 0x03, 0xC0, 6, 0x0A, 0, 160]].concat();
    event(&mut packet);
    assert_eq!(packet[12..], [255, 0x8A, 0x03, 0xC0, 255, 0x0A, 0, 160]);
    let mut extended =
        [vec![0x91, 101], vec![0; 10], vec![1, 1, 1, 1], vec![0xBE, 0xDE, 0, 1, 9, 9, 9, 9], vec![5, 0, 0, 0]].concat();
    event(&mut extended);
    assert_eq!(extended[16..], [0xBE, 0xDE, 0, 1, 9, 9, 9, 9, 255, 0, 0, 0]);
    let mut odd = [vec![0x80, 97], vec![0; 10], vec![1, 5, 0, 0, 160]].concat();
    event(&mut odd);
    assert_eq!(odd[12..], [255; 5]);
}

#[test]
fn the_profile_of_media_that_is_shown_decrypted_is_that_of_plain_media() {
    let mut text = b"INVITE sip:1@h SIP/2.0\r\nSubject: m=audio 1 RTP/SAVP\r\n\r\nm=audio 4 RTP/SAVP 0 8\r\nm=video 5 RTP/SAVPF 96\r\n\
        m=audio 6 RTP/AVP 0\r\n".to_vec();
    assert!(profile(&mut text));
    let body = "\r\n\r\nm=audio 4 RTP/AVP  0 8\r\nm=video 5 RTP/AVPF  96\r\nm=audio 6 RTP/AVP 0\r\n";
    assert!(text.ends_with(body.as_bytes()), "{}", String::from_utf8_lossy(&text));
    assert!(!profile(&mut text) && String::from_utf8_lossy(&text).contains("Subject: m=audio 1 RTP/SAVP\r\n"));
}

proptest! {
    #[test]
    fn no_octets_make_the_mask_panic_or_change_a_length(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let length = bytes.len();
        sip(&mut bytes);
        event(&mut bytes);
        profile(&mut bytes);
        prop_assert_eq!(bytes.len(), length);
    }

    #[test]
    fn a_secret_never_shows_however_its_header_is_written(
        name in "(Authorization|proxy-authorization|X-Order|USER-TO-USER|x-uui)",
        before in "[ \\t]{0,2}", after in "[ \\t]{0,2}(\r\n[ \\t])?",
        form in "(Digest response=|Digest a=b, response=\"|Basic |Digest realm=\"r\", |)",
    ) {
        let text = format!("INVITE sip:1@h SIP/2.0\r\n{name}{before}:{after}{form}5ecret\r\nVia: v\r\n\r\n");
        prop_assert!(!masked(&text).contains("5ecret"), "{}", masked(&text));
    }
}
