//! Descriptions on the wire: a tolerant reader over `sdp-types` and our own writer (RFC 4566, SDP-001).

use std::fmt::Write;
use std::net::IpAddr;

use super::crypto::Crypto;
use super::direction::Direction;

/// A body that is not a session description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// There is no `v=0` before the media.
    #[error("there is no v=0 line")]
    NoVersion,
    /// A line that matters cannot be read.
    #[error("{0}")]
    Line(String),
}

/// What a peer wrote. Prints without its lines: there may be keys among them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// The `o=` line as it stands: equal means "the same description" (RFC 3264 section 8).
    origin: String,
    session: sdp_types::Session,
}

impl Description {
    /// Reads `body`. CRLF, LF or CR end a line, the last one may be open; lines that do not matter may be anything.
    pub(super) fn parse(body: &[u8]) -> Result<Self, DescriptionError> {
        let (origin, clean) = cleaned(body)?;
        let session = sdp_types::Session::parse(clean.as_bytes()).map_err(|e| DescriptionError::Line(e.to_string()))?;
        Ok(Self { origin, session })
    }

    /// The m-lines in order, each with what the session level says for it.
    pub(super) fn lines(&self) -> impl Iterator<Item = MediaLine<'_>> {
        self.session.medias.iter().map(|media| MediaLine { media, session: &self.session })
    }
}

impl std::fmt::Debug for Description {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Description({})", self.origin)
    }
}

/// The lines that offer/answer reads, in an order and shape that `sdp-types` accepts; the `o=` value apart.
fn cleaned(body: &[u8]) -> Result<(String, String), DescriptionError> {
    let text = String::from_utf8_lossy(body);
    let mut origin = None;
    let mut clean = String::with_capacity(text.len() + 2);
    let (mut connection_seen, mut version_seen) = (false, false);
    for line in text.split(['\r', '\n']) {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let Some((key, value)) = line.split_once('=') else { continue };
        match key {
            "v" => version_seen |= value.trim() == "0",
            "o" if origin.is_none() => origin = Some(fields(value, usize::MAX)),
            "m" => {
                if !version_seen {
                    return Err(DescriptionError::NoVersion);
                }
                connection_seen = false;
                let mut value = fields(value, usize::MAX);
                if value.split(' ').count() == 3 {
                    value.push_str(" *"); // a refused line without formats is still a line
                }
                push_line(&mut clean, key, &value);
            }
            "c" if !connection_seen => {
                connection_seen = true;
                push_line(&mut clean, key, &fields(value, 3));
            }
            "a" => push_line(&mut clean, key, value),
            _ => {}
        }
    }
    if !version_seen {
        return Err(DescriptionError::NoVersion);
    }
    Ok((origin.unwrap_or_default(), format!("v=0\r\n{clean}")))
}

/// The first `count` fields of `value`, with one space between them.
fn fields(value: &str, count: usize) -> String {
    value.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

fn push_line(clean: &mut String, key: &str, value: &str) {
    clean.push_str(key);
    clean.push('=');
    clean.extend(value.chars().filter(|c| !c.is_control()));
    clean.push_str("\r\n");
}

/// One m-line and what stands under it, the session level included.
#[derive(Clone, Copy)]
pub(super) struct MediaLine<'a> {
    media: &'a sdp_types::Media,
    session: &'a sdp_types::Session,
}

impl<'a> MediaLine<'a> {
    /// Whether it is an audio line.
    pub(super) fn is_audio(self) -> bool {
        self.media.media.eq_ignore_ascii_case("audio")
    }

    /// The port; 0 is a refused or removed line.
    pub(super) const fn port(self) -> u16 {
        self.media.port
    }

    /// The transport as written: `RTP/AVP`, `udptl`, …
    pub(super) fn profile(self) -> &'a str {
        &self.media.proto
    }

    /// The format list as written.
    pub(super) fn formats(self) -> &'a str {
        &self.media.fmt
    }

    /// The address of the `c=` line that counts: its own, else the session's.
    pub(super) fn connection(self) -> Option<&'a str> {
        let own = self.media.connections.first().or(self.session.connection.as_ref())?;
        Some(own.connection_address.split('/').next().unwrap_or_default())
    }

    /// The values of every attribute `name` of this line, session level excluded.
    pub(super) fn attributes(self, name: &'a str) -> impl Iterator<Item = &'a str> {
        values(&self.media.attributes, name)
    }

    /// The value of attribute `name`: the line's own, else the session's. A flag has an empty value.
    pub(super) fn attribute(self, name: &'a str) -> Option<&'a str> {
        self.attributes(name).next().or_else(|| values(&self.session.attributes, name).next())
    }

    /// Its direction: the line's own, else the session's, else `sendrecv`.
    pub(super) fn direction(self) -> Direction {
        let last = |attributes: &[sdp_types::Attribute]| {
            attributes.iter().rev().find_map(|attribute| Direction::from_attribute(attribute.attribute.trim()))
        };
        last(&self.media.attributes).or_else(|| last(&self.session.attributes)).unwrap_or_default()
    }

    /// The answer to it when it is not wanted: the same line with port 0 (RFC 3264 section 6).
    pub(super) fn refused(self) -> WrittenLine {
        WrittenLine::Refused {
            media: self.media.media.clone(),
            profile: self.media.proto.clone(),
            formats: self.media.fmt.clone(),
        }
    }
}

fn values<'a>(attributes: &'a [sdp_types::Attribute], name: &'a str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.attribute.trim().eq_ignore_ascii_case(name))
        .map(|attribute| attribute.value.as_deref().unwrap_or_default().trim())
}

/// One m-line of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum WrittenLine {
    /// A line of the offer that we do not want: port 0, everything else as offered.
    Refused {
        /// `video`, `image`, …
        media: String,
        /// The offered transport.
        profile: String,
        /// The offered formats.
        formats: String,
    },
    /// Our audio.
    Audio(AudioLine),
}

/// A format of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenFormat {
    /// The number.
    pub payload_type: u8,
    /// The value of its `a=rtpmap` after the number.
    pub rtpmap: String,
    /// The value of its `a=fmtp` after the number; empty for none.
    pub fmtp: &'static str,
}

/// The audio line of an offer or answer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AudioLine {
    /// Where we receive.
    pub port: u16,
    /// The transport: in an answer as offered.
    pub profile: String,
    /// What may be sent, the favourite first.
    pub formats: Vec<WrittenFormat>,
    /// `a=ptime`, ms.
    pub ptime_ms: u16,
    /// Which way it flows.
    pub direction: Direction,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=crypto`: one in an answer, all that we can in an offer (SDP-018).
    pub crypto: Vec<Crypto>,
}

/// A whole description of ours.
pub(super) fn description(session_id: u64, version: u64, address: IpAddr, lines: &[WrittenLine]) -> Vec<u8> {
    let address = typed(address);
    let mut out = format!("v=0\r\no=- {session_id} {version} IN {address}\r\ns=-\r\nc=IN {address}\r\nt=0 0\r\n");
    for line in lines {
        match line {
            WrittenLine::Refused { media, profile, formats } => {
                push(&mut out, format_args!("m={media} 0 {profile} {formats}"));
            }
            WrittenLine::Audio(audio) => audio.write(&mut out),
        }
    }
    out.into_bytes()
}

fn typed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("IP4 {address}"),
        IpAddr::V6(address) => format!("IP6 {address}"),
    }
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(line); // writing to a String cannot fail
    out.push_str("\r\n");
}

impl AudioLine {
    fn write(&self, out: &mut String) {
        let numbers: Vec<String> = self.formats.iter().map(|format| format.payload_type.to_string()).collect();
        push(out, format_args!("m=audio {} {} {}", self.port, self.profile, numbers.join(" ")));
        for WrittenFormat { payload_type, rtpmap, fmtp } in &self.formats {
            push(out, format_args!("a=rtpmap:{payload_type} {rtpmap}"));
            if !fmtp.is_empty() {
                push(out, format_args!("a=fmtp:{payload_type} {fmtp}"));
            }
        }
        for crypto in &self.crypto {
            push(out, format_args!("a=crypto:{}", crypto.value()));
        }
        push(out, format_args!("a=ptime:{}", self.ptime_ms));
        push(out, format_args!("a=maxptime:60"));
        push(out, format_args!("a={}", self.direction.attribute()));
        if self.rtcp_mux {
            push(out, format_args!("a=rtcp-mux"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only_line(text: &str) -> (Description, usize) {
        let description = Description::parse(text.as_bytes()).expect("a description");
        let count = description.lines().count();
        (description, count)
    }

    #[test]
    fn sdp_001_the_direction_on_an_unfinished_last_line_counts() {
        for text in [
            "v=0\no=- 1 1 IN IP4 192.0.2.9\ns=-\nc=IN IP4 192.0.2.9\nt=0 0\nm=audio 4000 RTP/AVP 0\na=sendonly",
            "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\na=sendonly",
            "v=0\rc=IN IP4 192.0.2.9\rm=audio 4000 RTP/AVP 0\ra=sendonly\0",
        ] {
            let (description, count) = only_line(text);
            assert_eq!(count, 1);
            assert_eq!(description.lines().next().unwrap().direction(), Direction::SendOnly);
        }
    }

    #[test]
    fn sdp_001_media_level_overrides_session_level() {
        let (description, _) = only_line(
            "v=0\nc=IN IP4 192.0.2.9\na=inactive\nm=audio 4000 RTP/AVP 0\nc=IN IP4 192.0.2.10/127\na=recvonly\nm=audio 4002 RTP/AVP 0\n",
        );
        let lines: Vec<_> = description.lines().collect();
        assert_eq!((lines[0].connection(), lines[0].direction()), (Some("192.0.2.10"), Direction::RecvOnly));
        assert_eq!((lines[1].connection(), lines[1].direction()), (Some("192.0.2.9"), Direction::Inactive));
    }

    #[test]
    fn sdp_001_junk_around_the_lines_that_matter_is_ignored() {
        let mut text =
            b"\r\n  \nv=0\r\no=Caf\xe9 9999999999999999999999 x IN IP4 192.0.2.9\r\ns=\r\nb=AS:\r\nz=?\r\nnonsense\r\n"
                .to_vec();
        text.extend_from_slice(
            b"y=\r\n=\r\nc=IN IP4   192.0.2.9 extra\r\nt=\r\nr=7d\r\nm=audio   4000  RTP/AVP 0   8 \r\na=\r\nk=\r\n",
        );
        let description = Description::parse(&text).expect("readable");
        let line = description.lines().next().expect("a line");
        assert_eq!((line.connection(), line.port(), line.formats()), (Some("192.0.2.9"), 4000, "0 8"));
    }

    #[test]
    fn sdp_003_what_is_no_description_is_refused() {
        assert_eq!(Description::parse(b""), Err(DescriptionError::NoVersion));
        assert_eq!(Description::parse(b"m=audio 1 RTP/AVP 0\r\nv=0\r\n"), Err(DescriptionError::NoVersion));
        assert!(matches!(Description::parse(b"v=0\r\nm=audio 70000 RTP/AVP 0\r\n"), Err(DescriptionError::Line(_))));
        assert!(matches!(Description::parse(b"v=0\r\nm=audio\r\n"), Err(DescriptionError::Line(_))));
    }

    fn description_text(lines: &[WrittenLine]) -> String {
        String::from_utf8(super::description(1, 1, "192.0.2.1".parse().unwrap(), lines)).expect("text")
    }

    #[test]
    fn sdp_002_a_refused_line_keeps_its_shape() {
        let (description, _) = only_line("v=0\nm=image 4000 udptl t38\nm=video 0 RTP/AVP\n");
        let lines: Vec<_> = description.lines().map(MediaLine::refused).collect();
        let text = description_text(&lines);
        assert!(text.ends_with("t=0 0\r\nm=image 0 udptl t38\r\nm=video 0 RTP/AVP *\r\n"), "{text}");
    }
}
