//! Offers in the shapes that PBXs and SBCs send, and what is agreed with each.

use super::*;

struct Case {
    peer: &'static str,
    offer: &'static str,
    m_lines: &'static [&'static str],
    remote: &'static str,
    telephone_event: Option<u8>,
    ptime_ms: u16,
}

const CASES: &[Case] = &[
    Case {
        peer: "Asterisk: events 0-16, maxptime 150",
        offer: "v=0\r\no=- 1486913207 1486913207 IN IP4 198.51.100.21\r\ns=Asterisk\r\nc=IN IP4 198.51.100.21\r\nt=0 0\r\n\
            m=audio 17330 RTP/AVP 8 0 9 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:9 G722/8000\r\n\
            a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:150\r\na=sendrecv\r\n",
        m_lines: &["m=audio 14002 RTP/AVP 8 101"],
        remote: "198.51.100.21:17330",
        telephone_event: Some(101),
        ptime_ms: 20,
    },
    Case {
        peer: "FreeSWITCH: several telephone-event clocks, comfort noise, no blank before rtcp",
        offer: "v=0\r\no=FreeSWITCH 1700000000 1700000001 IN IP4 198.51.100.22\r\ns=FreeSWITCH\r\nc=IN IP4 198.51.100.22\r\n\
            t=0 0\r\nm=audio 28816 RTP/AVP 102 9 0 8 103 101 13\r\na=rtpmap:102 opus/48000/2\r\n\
            a=fmtp:102 useinbandfec=1; maxaveragebitrate=30000; maxplaybackrate=48000; ptime=20; minptime=10; maxptime=40\r\n\
            a=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:103 telephone-event/48000\r\n\
            a=fmtp:103 0-15\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=rtcp:28817 IN IP4 198.51.100.22\r\n\
            a=ptime:20\r\n",
        m_lines: &["m=audio 14002 RTP/AVP 0 101"],
        remote: "198.51.100.22:28816",
        telephone_event: Some(101),
        ptime_ms: 20,
    },
    Case {
        peer: "Cisco CUBE: c= on both levels, G.729 first, X- attributes, T.38 capabilities",
        offer: "v=0\r\no=CiscoSystemsSIP-GW-UserAgent 5042 2851 IN IP4 198.51.100.23\r\ns=SIP Call\r\nc=IN IP4 198.51.100.23\r\n\
            t=0 0\r\nm=audio 18622 RTP/AVP 18 0 8 101\r\nc=IN IP4 198.51.100.24\r\na=rtpmap:18 G729/8000\r\n\
            a=fmtp:18 annexb=no\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
            a=fmtp:101 0-15\r\na=X-sqn:0\r\na=X-cap: 1 image udptl t38\r\na=ptime:20\r\n",
        m_lines: &["m=audio 14002 RTP/AVP 0 101"],
        remote: "198.51.100.24:18622",
        telephone_event: Some(101),
        ptime_ms: 20,
    },
    Case {
        peer: "Cisco CUCM with video and a far-end camera channel",
        offer: "v=0\r\no=CiscoSystemsCCM-SIP 161095 1 IN IP4 198.51.100.25\r\ns=SIP Call\r\nc=IN IP4 198.51.100.26\r\n\
            b=TIAS:384000\r\nb=CT:384\r\nb=AS:384\r\nt=0 0\r\nm=audio 21514 RTP/AVP 9 0 8 101\r\nb=TIAS:64000\r\n\
            a=rtpmap:9 G722/8000\r\na=ptime:20\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n\
            a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\nm=video 21516 RTP/AVP 97\r\nb=TIAS:320000\r\n\
            a=rtpmap:97 H264/90000\r\na=content:main\r\nm=application 21518 RTP/AVP 107\r\na=rtpmap:107 H224/4800\r\n",
        m_lines: &["m=audio 14002 RTP/AVP 0 101", "m=video 0 RTP/AVP 97", "m=application 0 RTP/AVP 107"],
        remote: "198.51.100.26:21514",
        telephone_event: Some(101),
        ptime_ms: 20,
    },
    Case {
        peer: "Avaya: secure line first, the same in clear behind it, events on 127",
        offer: "v=0\r\no=- 1 2 IN IP4 198.51.100.27\r\ns=-\r\nc=IN IP4 198.51.100.27\r\nb=AS:64\r\nt=0 0\r\na=avf:avc=n prio=n\r\n\
            a=csup:avf-v0\r\nm=audio 2050 RTP/SAVP 0 8 127\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0|2^31\r\n\
            a=rtpmap:127 telephone-event/8000\r\nm=audio 2048 RTP/AVP 0 8 18 127\r\na=rtpmap:0 PCMU/8000\r\n\
            a=rtpmap:8 PCMA/8000\r\na=rtpmap:18 G729/8000\r\na=fmtp:18 annexb=no\r\na=rtpmap:127 telephone-event/8000\r\n\
            a=ptime:20\r\n",
        m_lines: &["m=audio 0 RTP/SAVP 0 8 127", "m=audio 14002 RTP/AVP 0 127"],
        remote: "198.51.100.27:2048",
        telephone_event: Some(127),
        ptime_ms: 20,
    },
    Case {
        peer: "Genesys: no rtpmap for static numbers, 30 ms, upper-case event name, c= only per media",
        offer: "v=0\r\no=SIPServer 4503599 1 IN IP4 198.51.100.28\r\ns=phone-call\r\nt=0 0\r\nm=audio 9228 RTP/AVP 0 8 18 13 100\r\n\
            c=IN IP4 198.51.100.29\r\na=rtpmap:100 TELEPHONE-EVENT/8000\r\na=fmtp:100 0-15,32-35\r\na=ptime:30\r\na=sendrecv\r\n",
        m_lines: &["m=audio 14002 RTP/AVP 0 100"],
        remote: "198.51.100.29:9228",
        telephone_event: Some(100),
        ptime_ms: 30,
    },
    Case {
        peer: "a browser gateway: AVPF, ICE, BUNDLE, fingerprints, ssrc; nothing of it is echoed (SDP-019)",
        offer: "v=0\r\no=- 46117317 2 IN IP4 198.51.100.30\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic: WMS x\r\n\
            m=audio 40000 RTP/AVPF 111 8 110\r\nc=IN IP4 198.51.100.30\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
            a=candidate:1 1 udp 2113937151 198.51.100.30 40000 typ host\r\na=ice-ufrag:x\r\na=ice-pwd:y\r\n\
            a=fingerprint:sha-256 AA\r\na=setup:actpass\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
            a=rtpmap:110 telephone-event/8000\r\na=ssrc:1001 cname:z\r\na=sendrecv\r\n",
        m_lines: &["m=audio 14002 RTP/AVPF 8 110"],
        remote: "198.51.100.30:40000",
        telephone_event: Some(110),
        ptime_ms: 20,
    },
    Case {
        peer: "a load generator: LF only, the direction last and without a newline",
        offer: "v=0\no=user1 53655765 2353687637 IN IP4 198.51.100.31\ns=-\nc=IN IP4 198.51.100.31\nt=0 0\n\
            m=audio 6000 RTP/AVP 0 8\na=rtpmap:0 PCMU/8000\na=sendrecv",
        m_lines: &["m=audio 14002 RTP/AVP 0"],
        remote: "198.51.100.31:6000",
        telephone_event: None,
        ptime_ms: 20,
    },
];

#[test]
fn offers_as_pbxs_send_them_are_answered() {
    for case in CASES {
        let (answer, negotiated) = answer(&mut negotiation(), case.offer.as_bytes());
        assert_eq!(m_lines(&answer), case.m_lines, "{}", case.peer);
        assert_eq!(negotiated.remote, address(case.remote), "{}", case.peer);
        let event = negotiated.telephone_event.map(|event| event.payload_type);
        assert_eq!((event, negotiated.ptime_ms), (case.telephone_event, case.ptime_ms), "{}", case.peer);
    }
}

#[test]
fn sdp_019_nothing_but_our_own_attributes_is_in_an_answer() {
    let ours = ["rtpmap", "fmtp", "ptime", "maxptime", "sendrecv"];
    for case in CASES {
        let (answer, _) = answer(&mut negotiation(), case.offer.as_bytes());
        for attribute in answer.lines().filter_map(|line| line.strip_prefix("a=")) {
            let name = attribute.split(':').next().unwrap_or_default();
            assert!(ours.contains(&name), "{}: {attribute}", case.peer);
        }
    }
}

#[test]
fn a_cisco_hold_and_a_resume_without_description_agree_again() {
    let mut negotiation = negotiation();
    let cisco = CASES.iter().find(|case| case.peer.contains("CUBE")).expect("listed").offer;
    let (_, before) = answer(&mut negotiation, cisco.as_bytes());
    let hold = cisco.replace("5042 2851", "5042 2852") + "a=inactive\r\n";
    assert!(answer(&mut negotiation, hold.as_bytes()).1.held);
    negotiation.offer();
    let resumed =
        negotiation.accept(cisco.replace("5042 2851", "5042 2853").as_bytes()).expect("the answer in the ACK");
    assert_eq!(resumed, Negotiated { media_changed: false, ..before });
}
