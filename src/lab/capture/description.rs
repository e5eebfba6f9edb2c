//! What the SIP messages of a capture say about its media: who called first, and what payload types mean.

use std::net::{IpAddr, SocketAddr};

use crate::sip::message::{Message, Method};
use crate::sip::wire;

/// The SIP messages of a capture, as far as media is concerned.
#[derive(Debug, Default)]
pub(super) struct Signalling {
    /// Where the first INVITE came from.
    caller: Option<SocketAddr>,
    lines: Vec<AudioLine>,
}

/// An audio line of a session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AudioLine {
    /// Who sent the SIP message.
    from: SocketAddr,
    address: Option<IpAddr>,
    port: u16,
    /// SRTP.
    pub(super) encrypted: bool,
    /// Payload types with the value of their `a=rtpmap`.
    meanings: Vec<(u8, Meaning)>,
}

/// What a payload type stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meaning {
    /// Encoding name as written.
    pub name: String,
    /// RTP clock rate in Hz.
    pub clock_rate: u32,
}

impl Meaning {
    /// Reads the value of `a=rtpmap` behind the number: `opus/48000/2`.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('/');
        let name = parts.next().filter(|name| !name.is_empty())?.to_owned();
        Some(Self { name, clock_rate: parts.next()?.trim().parse().ok()? })
    }

    /// Whether it has this encoding name, compared without case (RFC 8866, 6.6).
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl Signalling {
    /// Looks at a datagram; most are no SIP.
    pub(super) fn look(&mut self, from: SocketAddr, datagram: &[u8]) {
        // A letter comes first in every SIP message, and in no RTP packet.
        if !datagram.first().is_some_and(u8::is_ascii_alphabetic) {
            return;
        }
        let Ok(parsed) = wire::parse(datagram) else { return };
        let body = match parsed.message {
            Message::Request(request) => {
                if request.method == Method::INVITE {
                    self.caller.get_or_insert(from);
                }
                request.body
            }
            Message::Response(response) => response.body,
        };
        self.lines.extend(audio_lines(from, &String::from_utf8_lossy(&body)));
    }

    /// The audio line that stream `from` → `to` belongs to: the receiver's, else the sender's; by address and port, else,
    /// where a NAT stands in between, by port.
    pub(super) fn line_of(&self, from: SocketAddr, to: SocketAddr) -> Option<&AudioLine> {
        let by = |fits: &dyn Fn(&AudioLine) -> bool| self.lines.iter().rev().find(|line| fits(line));
        by(&|line| line.is_at(to))
            .or_else(|| by(&|line| line.is_at(from)))
            .or_else(|| by(&|line| line.port == to.port()))
            .or_else(|| by(&|line| line.port == from.port()))
    }

    /// Of these senders of media, the one that placed the first call; `None` where that is not clear.
    pub(super) fn caller(&self, senders: &[SocketAddr]) -> Option<usize> {
        let caller = self.caller?;
        let lines = || self.lines.iter().filter(move |line| line.from == caller);
        let only = |fits: &dyn Fn(SocketAddr) -> bool| {
            let mut found = senders.iter().enumerate().filter(|(_, sender)| fits(**sender));
            found.next().filter(|_| found.next().is_none()).map(|(place, _)| place)
        };
        only(&|sender| lines().any(|line| line.is_at(sender)))
            .or_else(|| only(&|sender| lines().any(|line| line.port == sender.port())))
            .or_else(|| only(&|sender| sender.ip() == caller.ip()))
    }
}

impl AudioLine {
    fn is_at(&self, address: SocketAddr) -> bool {
        self.address == Some(address.ip()) && self.port == address.port()
    }

    pub(super) fn meaning(&self, payload_type: u8) -> Option<&Meaning> {
        self.meanings.iter().find(|(number, _)| *number == payload_type).map(|(_, meaning)| meaning)
    }
}

/// The audio lines of a message body; anything but a session description has none. Lines that cannot be read are passed.
fn audio_lines(from: SocketAddr, body: &str) -> Vec<AudioLine> {
    let (mut lines, mut session_address): (Vec<AudioLine>, Option<IpAddr>) = (Vec::new(), None);
    // The m-line above is of audio; before the first, everything is of the session.
    let mut inside = false;
    let mut before_media = true;
    for line in body.split(['\r', '\n']) {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "m" => {
                before_media = false;
                let line = audio_line(from, session_address, value);
                inside = line.is_some();
                lines.extend(line);
            }
            "c" => {
                let address = value.split_whitespace().nth(2).and_then(|text| text.split('/').next()?.parse().ok());
                match lines.last_mut().filter(|_| inside) {
                    Some(line) => line.address = address,
                    None if before_media => session_address = address,
                    None => {}
                }
            }
            "a" => {
                let Some(line) = lines.last_mut().filter(|_| inside) else { continue };
                let rtpmap = value.strip_prefix("rtpmap:").and_then(|map| map.trim().split_once(' '));
                line.meanings
                    .extend(rtpmap.and_then(|(number, map)| Some((number.parse().ok()?, Meaning::read(map)?))));
            }
            _ => {}
        }
    }
    lines.retain(|line| line.port != 0);
    lines
}

fn audio_line(from: SocketAddr, address: Option<IpAddr>, value: &str) -> Option<AudioLine> {
    let mut fields = value.split_whitespace();
    fields.next().filter(|media| media.eq_ignore_ascii_case("audio"))?;
    let port = fields.next()?.split('/').next()?.parse().ok()?;
    let encrypted = fields.next()?.to_ascii_uppercase().contains("SAVP");
    Some(AudioLine { from, address, port, encrypted, meanings: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn message(start: &str, sdp: &str) -> Vec<u8> {
        format!("{start}\r\nCall-ID: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
            .into_bytes()
    }

    fn sdp(address: &str, port: u16, profile: &str) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=video 9 RTP/AVP 31\r\n\
             a=rtpmap:101 H261/90000\r\nm=audio {port} {profile} 0 111 101\r\na=rtpmap:111 opus/48000/2\r\n\
             a=rtpmap:101 telephone-event/48000\r\n"
        )
    }

    fn call() -> Signalling {
        let mut signalling = Signalling::default();
        let invite = message("INVITE sip:1000@192.0.2.1 SIP/2.0", &sdp("192.0.2.10", 40000, "RTP/AVP"));
        signalling.look(at("192.0.2.9:5060"), &invite);
        signalling.look(at("192.0.2.1:5060"), &message("SIP/2.0 200 OK", &sdp("192.0.2.1", 20000, "RTP/SAVP")));
        signalling
    }

    #[test]
    fn payload_types_have_the_meaning_that_the_receiver_of_the_stream_gave_them() {
        let signalling = call();
        let line = signalling.line_of(at("192.0.2.10:40000"), at("192.0.2.1:20000")).expect("announced");
        assert!(line.encrypted, "of the answer");
        let events = line.meaning(101).expect("of the audio line");
        assert_eq!((events.name.as_str(), events.clock_rate), ("telephone-event", 48000));
        assert!(line.meaning(111).is_some_and(|meaning| meaning.is("OPUS")));
        assert_eq!(line.meaning(0), None);
        let behind_nat = signalling.line_of(at("198.51.100.7:1024"), at("198.51.100.8:40000")).expect("by its port");
        assert!(!behind_nat.encrypted, "of the offer");
        assert_eq!(signalling.line_of(at("192.0.2.10:1"), at("192.0.2.1:2")), None);
    }

    #[test]
    fn the_caller_is_whoever_sent_the_first_invite() {
        let signalling = call();
        let senders = [at("192.0.2.1:20000"), at("192.0.2.10:40000")];
        assert_eq!(signalling.caller(&senders), Some(1));
        assert_eq!(signalling.caller(&[at("192.0.2.1:20000"), at("192.0.2.77:40000")]), Some(1), "by the port");
        assert_eq!(signalling.caller(&[at("192.0.2.1:20000"), at("192.0.2.9:7000")]), Some(1), "by the SIP address");
        assert_eq!(signalling.caller(&[at("192.0.2.1:20000"), at("192.0.2.2:7000")]), None);
        assert_eq!(Signalling::default().caller(&senders), None);
    }

    #[test]
    fn what_is_not_sip_or_says_nothing_of_audio_is_passed() {
        let mut signalling = Signalling::default();
        for datagram in
            [&b""[..], b"\x80\0\0\0", b"hello", &message("INVITE sip:1@x SIP/2.0", "m=audio\r\nm=audio x y\r\n")]
        {
            signalling.look(at("192.0.2.9:5060"), datagram);
        }
        assert_eq!(signalling.lines, []);
    }
}
