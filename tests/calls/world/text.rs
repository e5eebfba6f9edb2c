//! The PBX's own reading and writing of SDP and RTP: nothing of the bridge's, so that both cannot be wrong alike.

use std::net::{IpAddr, SocketAddr};

use trunkstream::base::rtp_format::{self, RtpFormat};

/// An offer or answer of the PBX.
#[derive(Debug, Clone)]
pub struct Offer {
    pub version: u32,
    pub address: String,
    pub port: u16,
    /// Payload type and `rtpmap`.
    pub codecs: Vec<(u8, &'static str)>,
    pub direction: &'static str,
    pub ptime: u16,
    /// The transport in `m=`.
    pub profile: &'static str,
    /// The values of `a=crypto`.
    pub crypto: Vec<String>,
    /// m-lines after the audio.
    pub more: &'static str,
}

pub const PCMU: (u8, &str) = (0, "PCMU/8000");
pub const PCMA: (u8, &str) = (8, "PCMA/8000");
pub const DIGITS: (u8, &str) = (101, "telephone-event/8000");

impl Offer {
    pub fn new(port: u16) -> Self {
        Self {
            version: 1,
            address: "198.51.100.1".into(),
            port,
            codecs: vec![PCMU, PCMA, DIGITS],
            direction: "sendrecv",
            ptime: 20,
            profile: "RTP/AVP",
            crypto: Vec::new(),
            more: "",
        }
    }

    /// The same with these codecs.
    pub fn codecs(&self, codecs: &[(u8, &'static str)]) -> Self {
        Self { codecs: codecs.to_vec(), ..self.clone() }
    }

    /// The next version, with this direction.
    pub fn then(&self, direction: &'static str) -> Self {
        Self { version: self.version + 1, direction, ..self.clone() }
    }

    /// The same over SRTP with this key: `TAG SUITE inline:KEY`.
    pub fn encrypted(&self, crypto: &str) -> Self {
        Self { profile: "RTP/SAVP", crypto: vec![crypto.into()], ..self.clone() }
    }

    pub fn text(&self) -> String {
        let Self { version, address, port, direction, ptime, profile, more, .. } = self;
        let keys: String = self.crypto.iter().map(|value| format!("a=crypto:{value}\r\n")).collect();
        let numbers: Vec<String> = self.codecs.iter().map(|(number, _)| number.to_string()).collect();
        let maps: String = self.codecs.iter().map(|(number, name)| format!("a=rtpmap:{number} {name}\r\n")).collect();
        format!(
            "v=0\r\no=pbx 42 {version} IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio {port} {profile} {}\r\n{maps}{keys}a=ptime:{ptime}\r\na={direction}\r\n{more}",
            numbers.join(" ")
        )
    }
}

/// What the bridge's SDP says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdp {
    pub text: String,
    pub version: String,
    pub address: SocketAddr,
    pub payload_types: Vec<u8>,
    pub direction: String,
}

impl Sdp {
    /// The format of its first payload type, by `rtpmap`.
    pub fn format(&self) -> Option<RtpFormat> {
        let start = format!("a=rtpmap:{} ", self.payload_types.first()?);
        let map = self.text.lines().find_map(|line| line.strip_prefix(&start))?;
        [rtp_format::PCMU, rtp_format::PCMA, rtp_format::G722, rtp_format::OPUS, rtp_format::L16_WIDE, rtp_format::L16]
            .into_iter()
            .find(|format| map.starts_with(&format!("{}/{}", format.encoding_name, format.clock_rate)))
    }

    pub fn read(text: &[u8]) -> Self {
        let text = String::from_utf8(text.to_vec()).expect("our SDP is text");
        let value = |start: &str| {
            let line =
                text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in\n{text}"));
            line[start.len()..].to_owned()
        };
        let ip: IpAddr = value("c=IN IP4 ").parse().expect("an address");
        let audio = value("m=audio ");
        let mut words = audio.split(' ');
        let port = words.next().and_then(|port| port.parse().ok()).expect("a port");
        let known = ["sendrecv", "sendonly", "recvonly", "inactive"];
        let direction = text.lines().filter_map(|line| line.strip_prefix("a=")).find(|word| known.contains(word));
        Self {
            version: value("o=").split(' ').nth(2).expect("a version").to_owned(),
            address: SocketAddr::new(ip, port),
            payload_types: words.skip(1).filter_map(|number| number.parse().ok()).collect(),
            direction: direction.unwrap_or("sendrecv").to_owned(),
            text,
        }
    }
}

impl Sdp {
    /// The values of `a=crypto`.
    pub fn crypto(&self) -> Vec<&str> {
        self.text.lines().filter_map(|line| line.strip_prefix("a=crypto:")).collect()
    }
}

/// An RTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rtp {
    pub marker: bool,
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: Vec<u8>,
}

impl Rtp {
    pub fn read(bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 12 && bytes[0] == 0x80, "not an RTP packet of ours: {bytes:?}");
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four octets"));
        Self {
            marker: bytes[1] & 0x80 != 0,
            payload_type: bytes[1] & 0x7F,
            sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
            timestamp: word(4),
            ssrc: word(8),
            payload: bytes[12..].to_vec(),
        }
    }

    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![0x80, self.payload_type | (u8::from(self.marker) << 7)];
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}
