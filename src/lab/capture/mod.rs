//! Captured calls: which RTP streams a pcap or pcapng file holds, what their payload types mean, which one is the caller's.
#![allow(clippy::disallowed_methods)] // a test tool reads files

mod description;
mod link;
mod playback;
mod stream;
mod take;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::pcap::{self, Frame, PcapFault};
use description::Signalling;
use link::Carried;

pub use description::Meaning;
pub use playback::{Playback, Spoken};
pub use stream::{Counts, RtpStream};
pub use take::{Choice, Take, TakenPacket};

/// A capture that cannot be replayed.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file cannot be read.
    #[error(transparent)]
    Pcap(#[from] PcapFault),
    /// No stream was found.
    #[error("{path}: no RTP in it: {found}")]
    NoRtp {
        /// The file's name.
        path: PathBuf,
        /// What it holds instead.
        found: String,
    },
    /// There are several streams, and nothing says which one is meant.
    #[error(
        "{path}: {count} RTP streams, and no INVITE that says whose call it is; choose one with --stream N:\n{list}"
    )]
    Ambiguous {
        /// The file's name.
        path: PathBuf,
        /// How many there are.
        count: usize,
        /// One line a stream.
        list: String,
    },
    /// The stream that is asked for is not there.
    #[error("{path}: no {wanted}; it holds\n{list}")]
    NoSuchStream {
        /// The file's name.
        path: PathBuf,
        /// `stream 4` or `SSRC 0x…`.
        wanted: String,
        /// One line a stream.
        list: String,
    },
    /// The stream's sound cannot be decoded.
    #[error("{path}: stream {number}, packet {packet}: {reason}")]
    Undecodable {
        /// The file's name.
        path: PathBuf,
        /// The stream.
        number: usize,
        /// The stream's first packet, by its number in the file.
        packet: u64,
        /// Why not, and what helps.
        reason: String,
    },
}

/// A UDP datagram of a capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpDatagram {
    /// Its number in the file, from 1, as Wireshark counts.
    pub number: u64,
    /// When it was captured, from the first packet of the capture.
    pub at: Duration,
    /// Who sent it.
    pub from: SocketAddr,
    /// Whom it was sent to.
    pub to: SocketAddr,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// Packets that were passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Passed {
    /// Parts of fragmented IP packets.
    pub fragments: u64,
    /// Datagrams of which the capture kept only the beginning.
    pub cut: u64,
    /// Packets of link layers that are not read.
    pub unknown_link: u64,
    /// TCP, ARP, and everything else.
    pub other: u64,
}

/// What a file holds.
#[derive(Debug)]
pub struct Capture {
    /// The file's name.
    pub path: PathBuf,
    /// Packets in the file.
    pub frames: u64,
    /// What was passed over.
    pub passed: Passed,
    /// The file ends within this packet.
    pub ends_in: Option<u64>,
    /// Its RTP streams, at least one.
    pub streams: Vec<RtpStream>,
    datagrams: Vec<UdpDatagram>,
    signalling: Signalling,
}

impl Capture {
    /// Reads a pcap or pcapng file.
    ///
    /// # Errors
    /// A file that cannot be read, is no capture, is broken, or holds no RTP.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::read(path, &pcap::load(path)?)
    }

    /// The same from the file's bytes; `path` is for messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Self, CaptureError> {
        let mut collected = Collected::default();
        let ends_in = pcap::read(path, bytes, &mut |frame| collected.take(&frame))?;
        let Collected { frames, passed, mut datagrams, last_link } = collected;
        // Captures of several interfaces are not always in order.
        datagrams.sort_by_key(|datagram| datagram.at);
        let begin = datagrams.first().map_or(Duration::ZERO, |datagram| datagram.at);
        datagrams.iter_mut().for_each(|datagram| datagram.at -= begin);
        let mut signalling = Signalling::default();
        datagrams.iter().for_each(|datagram| signalling.look(datagram.from, &datagram.payload));
        let streams = stream::find(&datagrams, &signalling);
        if streams.is_empty() {
            let found = describe(frames, datagrams.len(), &passed, last_link);
            return Err(CaptureError::NoRtp { path: path.to_owned(), found });
        }
        Ok(Self { path: path.to_owned(), frames, passed, ends_in, streams, datagrams, signalling })
    }

    /// One line for each stream.
    #[must_use]
    pub fn list(&self) -> String {
        let mut list = String::new();
        for stream in &self.streams {
            let types: Vec<String> =
                stream.payload_types.iter().map(|(number, count)| format!("{number} × {count}")).collect();
            let ssrcs: Vec<String> = stream.ssrcs.iter().map(|ssrc| format!("{ssrc:08x}")).collect();
            let length = (stream.end - stream.begin).as_secs_f64();
            let RtpStream { number, from, to, .. } = stream;
            let (types, ssrcs) = (types.join(", "), ssrcs.join(" "));
            let _ = writeln!(list, "  {number}  {from} -> {to}, {length:.1} s, payload type {types}, SSRC {ssrcs}");
        }
        list.truncate(list.trim_end().len());
        list
    }

    /// What a reader should know before trusting the figures.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |count: u64, text: &str| {
            if count > 0 {
                warnings.push(format!("{count} {text}"));
            }
        };
        warn(
            self.passed.cut,
            "datagrams were captured only in part and count as lost (capture with full packets: -s 0)",
        );
        warn(self.passed.fragments, "IP fragments were passed over; they are not put together");
        warn(self.passed.unknown_link, "packets of link layers that are not read were passed over");
        if let Some(number) = self.ends_in {
            warnings.push(format!("the file ends within packet {number}; what came before is used"));
        }
        warnings
    }
}

#[derive(Default)]
struct Collected {
    frames: u64,
    passed: Passed,
    datagrams: Vec<UdpDatagram>,
    last_link: Option<u32>,
}

impl Collected {
    fn take(&mut self, frame: &Frame<'_>) {
        self.frames = frame.number;
        match link::carried(frame.link, frame.bytes) {
            Carried::Udp { from, to, payload } => {
                let (number, at, payload) = (frame.number, frame.at, payload.to_vec());
                self.datagrams.push(UdpDatagram { number, at, from, to, payload });
            }
            Carried::Cut => self.passed.cut += 1,
            Carried::Fragment => self.passed.fragments += 1,
            Carried::Other if (frame.bytes.len() as u64) < u64::from(frame.wire_len) => self.passed.cut += 1,
            Carried::Other => self.passed.other += 1,
            Carried::UnknownLink => {
                self.passed.unknown_link += 1;
                self.last_link = Some(frame.link);
            }
        }
    }
}

/// What a capture without RTP holds.
fn describe(frames: u64, datagrams: usize, passed: &Passed, link: Option<u32>) -> String {
    let mut found = format!("{frames} packets, of them {datagrams} UDP datagrams");
    for (count, what) in [
        (passed.other, "packets of other protocols"),
        (passed.fragments, "IP fragments"),
        (passed.cut, "packets captured only in part"),
    ] {
        if count > 0 {
            let _ = write!(found, ", {count} {what}");
        }
    }
    if let Some(link) = link {
        let count = passed.unknown_link;
        let _ = write!(
            found,
            ", {count} packets of link layer {link}, which is not read (Ethernet, Linux cooked, raw IP and loopback are)"
        );
    }
    found
}

#[cfg(test)]
mod tests;
