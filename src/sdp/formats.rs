//! Payload types and what they mean (RFC 3551, RFC 4733): the format list of one audio line.

use crate::base::rtp_format::{OPUS, RtpFormat};

use super::session::MediaLine;

/// Numbers that need no `a=rtpmap` (RFC 3551 section 6): those that may stand in a trunk's offer.
const STATIC: [(u8, &str, u32); 7] = [
    (0, "PCMU", 8000),
    (3, "GSM", 8000),
    (4, "G723", 8000),
    (8, "PCMA", 8000),
    (9, "G722", 8000),
    (13, "CN", 8000),
    (18, "G729", 8000),
];

/// The encoding name of digits (RFC 4733).
pub(super) const TELEPHONE_EVENT: &str = "telephone-event";
/// Its parameters: 0 to 9, *, #, A to D.
pub(super) const DIGITS: &str = "0-15";

/// What one payload type means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Meaning {
    /// The number.
    pub payload_type: u8,
    /// The encoding name as the peer spells it.
    pub name: String,
    /// RTP clock, Hz.
    pub clock_rate: u32,
    /// Audio channels.
    pub channels: u8,
    /// What our `a=fmtp` says of it; empty for none. Never the peer's: we take what it sends.
    pub parameters: &'static str,
}

impl Meaning {
    /// What `format` means under `payload_type`.
    pub(super) fn of(format: &RtpFormat, payload_type: u8) -> Self {
        let name = format.encoding_name.to_owned();
        let RtpFormat { clock_rate, channels, parameters, .. } = *format;
        Self { payload_type, name, clock_rate, channels, parameters }
    }

    /// Telephone events of `clock_rate` under `payload_type`.
    pub(super) fn telephone_event(payload_type: u8, clock_rate: u32) -> Self {
        let (name, parameters) = (TELEPHONE_EVENT.to_owned(), DIGITS);
        Self { payload_type, name, clock_rate, channels: 1, parameters }
    }

    /// Whether it is `format`, under whatever number. Opus has two channels in SDP (RFC 7587 section 7); who writes none
    /// means the same.
    pub(super) fn is(&self, format: &RtpFormat) -> bool {
        let same_channels = self.channels == format.channels || (self.channels == 1 && *format == OPUS);
        self.is_named(format.encoding_name, format.clock_rate) && same_channels
    }

    /// Whether its name and clock are these.
    pub(super) fn is_named(&self, name: &str, clock_rate: u32) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.clock_rate == clock_rate
    }

    /// Whether `other` is the same encoding, under whatever number.
    pub(super) fn same_encoding(&self, other: &Self) -> bool {
        self.is_named(&other.name, other.clock_rate) && self.channels == other.channels
    }

    /// The value of its `a=rtpmap` after the number.
    pub(super) fn rtpmap(&self) -> String {
        let Self { name, clock_rate, channels, .. } = self;
        if *channels > 1 { format!("{name}/{clock_rate}/{channels}") } else { format!("{name}/{clock_rate}") }
    }

    /// Reads `97 opus/48000/2`; `None` for garbage.
    fn from_rtpmap(value: &str) -> Option<Self> {
        let (payload_type, encoding) = value.split_once(char::is_whitespace)?;
        let mut parts = encoding.trim().split('/').map(str::trim);
        Some(Self {
            payload_type: payload_type.parse().ok().filter(|number| *number < 128)?,
            name: parts.next()?.to_owned(),
            clock_rate: parts.next()?.parse().ok()?,
            channels: parts.next().and_then(|channels| channels.parse().ok()).unwrap_or(1),
            parameters: "",
        })
    }
}

/// The formats of an audio line with a known meaning, in the peer's order, each number once.
pub(super) fn formats(line: MediaLine<'_>) -> Vec<Meaning> {
    let mut known: [Option<Meaning>; 128] = std::array::from_fn(|_| None);
    for (payload_type, name, clock_rate) in STATIC {
        let meaning = Meaning { payload_type, name: name.to_owned(), clock_rate, channels: 1, parameters: "" };
        known[usize::from(payload_type)] = Some(meaning);
    }
    for meaning in line.attributes("rtpmap").filter_map(Meaning::from_rtpmap) {
        let number = usize::from(meaning.payload_type);
        known[number] = Some(meaning);
    }
    let numbers = line.formats().split(' ').filter_map(|number| number.parse::<u8>().ok());
    numbers.filter_map(|number| known.get_mut(usize::from(number))?.take()).collect()
}

/// The codec to use: the format of ours and what it is for the peer (SDP-004). `formats` is in the peer's order.
pub(super) fn choose<'a>(
    formats: &'a [Meaning],
    ours: &[RtpFormat],
    prefer_ours: bool,
) -> Option<(RtpFormat, &'a Meaning)> {
    if prefer_ours {
        ours.iter().find_map(|format| Some((*format, formats.iter().find(|meaning| meaning.is(format))?)))
    } else {
        formats.iter().find_map(|meaning| Some((*ours.iter().find(|format| meaning.is(format))?, meaning)))
    }
}

/// The packet time to send `format` in, ms: what the peer asks for if we send it, else the nearest lower; never over its
/// maximum (SDP-007).
pub(super) fn packet_time(line: MediaLine<'_>, format: &RtpFormat, default_ms: u16) -> u16 {
    let asked = |name| line.attribute(name).and_then(leading_number).filter(|ms| *ms > 0);
    format.packet_time(asked("ptime").unwrap_or(default_ms).min(asked("maxptime").unwrap_or(u16::MAX)))
}

/// `20` of `20`, `20.0` or `20 ms`.
fn leading_number(text: &str) -> Option<u16> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::session::Description;
    use super::*;
    use crate::base::rtp_format::{PCMA, PCMU};

    fn with_line<T>(m: &str, attributes: &[&str], read: impl Fn(MediaLine<'_>) -> T) -> T {
        let text = format!("v=0\nm={m}\na={}", attributes.join("\na="));
        read(Description::parse(text.as_bytes()).expect("readable").lines().next().expect("a line"))
    }

    #[test]
    fn sdp_001_static_numbers_need_no_rtpmap_and_unknown_ones_drop_out() {
        let names = with_line("audio 4000 RTP/AVP 8 0 96 18 97 9 13 0 * 200", &["rtpmap:97 L16/44100/2"], |line| {
            formats(line).iter().map(Meaning::rtpmap).collect::<Vec<_>>()
        });
        assert_eq!(names, ["PCMA/8000", "PCMU/8000", "G729/8000", "L16/44100/2", "G722/8000", "CN/8000"]);
    }

    #[test]
    fn sdp_004_a_dynamic_number_may_mean_a_static_codec() {
        let chosen = with_line("audio 4000 RTP/AVP 18 97 0", &["rtpmap:97 pcma/8000/1"], |line| {
            choose(&formats(line), &[PCMU, PCMA], false).map(|(format, meaning)| (format, meaning.payload_type))
        });
        assert_eq!(chosen, Some((PCMA, 97)));
    }

    #[test]
    fn sdp_004_the_order_is_the_offers_unless_ours_is_preferred() {
        for (prefer_ours, expected) in [(false, PCMA), (true, PCMU)] {
            let chosen = with_line("audio 4000 RTP/AVP 8 0", &[], |line| {
                choose(&formats(line), &[PCMU, PCMA], prefer_ours).map(|(format, _)| format)
            });
            assert_eq!(chosen, Some(expected));
        }
    }

    #[test]
    fn sdp_007_the_packet_time_is_the_nearest_lower_that_we_send() {
        for (attributes, expected) in [
            (&[][..], 20),
            (&["ptime:30"], 30),
            (&["ptime:50"], 40),
            (&["ptime:5"], 10),
            (&["ptime:200"], 60),
            (&["ptime:60", "maxptime:40"], 40),
            (&["maxptime:10"], 10),
            (&["maxptime:150"], 20),
            (&["ptime:0"], 20),
            (&["ptime:20.0"], 20),
            (&["ptime:soon"], 20),
            (&["ptime:99999999"], 20),
        ] {
            let ms = with_line("audio 4000 RTP/AVP 0", attributes, |line| packet_time(line, &PCMU, 20));
            assert_eq!(ms, expected, "{attributes:?}");
        }
    }
}
