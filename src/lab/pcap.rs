//! Capture files, pcap and pcapng, frame by frame. The home of `pcap-file`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::pcap::PcapParser;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::{Block, PcapNgParser};
use pcap_file::{DataLink, PcapError, TsResolution};
use thiserror::Error;

/// First octets of pcapng: a section header block.
const PCAPNG: [u8; 4] = [0x0A, 0x0D, 0x0D, 0x0A];
/// First octets of gzip, which captures are often packed with.
const GZIP: [u8; 2] = [0x1F, 0x8B];
/// Ticks a second of a pcapng interface that does not say: 10^6.
const MICROSECONDS: u8 = 6;

/// A file that is no capture, or is broken.
#[derive(Debug, Error)]
pub enum PcapFault {
    /// It cannot be opened or read.
    #[error("{path}: cannot be read: {error}")]
    File {
        /// The file's name.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is something else.
    #[error("{path}: {found}; expected a pcap or pcapng capture")]
    Foreign {
        /// The file's name.
        path: PathBuf,
        /// What it seems to be.
        found: &'static str,
    },
    /// A packet in it cannot be read.
    #[error("{path}: packet {number}: {reason}")]
    Broken {
        /// The file's name.
        path: PathBuf,
        /// The packet's number in the file, from 1, as Wireshark counts.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
}

/// One packet of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its number in the file, from 1.
    pub number: u64,
    /// When it was captured, since 1970.
    pub at: Duration,
    /// Link-layer header type, as registered at tcpdump.org.
    pub link: u32,
    /// As much of it as was captured.
    pub bytes: &'a [u8],
    /// How many octets it had on the wire.
    pub wire_len: u32,
}

/// Block type of pcapng: a packet.
pub const ENHANCED_PACKET: u32 = 6;

/// Type and length of the block that `bytes` of a little-endian pcapng begin with; it may not be all there yet.
#[must_use]
pub fn block(bytes: &[u8]) -> Option<(u32, usize)> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let length = usize::try_from(word(4)?).ok()?;
    Some((word(0)?, length.max(12)))
}

/// Reads a whole file.
///
/// # Errors
/// A file that cannot be read.
pub fn load(path: &Path) -> Result<Vec<u8>, PcapFault> {
    std::fs::read(path).map_err(|error| PcapFault::File { path: path.to_owned(), error })
}

/// Shows every packet of a capture file's `bytes` to `see`. A file may end within a packet, as it does when the capturing
/// program is killed: then that packet's number is the answer.
///
/// # Errors
/// Bytes that are no capture, and a packet that contradicts itself. `path` is for the message.
pub fn read(path: &Path, bytes: &[u8], see: &mut impl FnMut(Frame<'_>)) -> Result<Option<u64>, PcapFault> {
    let foreign = |found| Err(PcapFault::Foreign { path: path.to_owned(), found });
    let seen = match bytes {
        [] => return foreign("it is empty"),
        _ if bytes.starts_with(&GZIP) => return foreign("it is packed with gzip (gunzip unpacks it)"),
        _ if bytes.starts_with(&PCAPNG) => match PcapNgParser::new(bytes) {
            Ok((rest, parser)) => read_blocks(parser, rest, see),
            Err(_) => return foreign("its section header cannot be read"),
        },
        _ => match PcapParser::new(bytes) {
            Ok((rest, parser)) => read_records(&parser, rest, see),
            Err(_) => return foreign("its first octets are of another kind of file"),
        },
    };
    seen.map_err(|(number, reason)| PcapFault::Broken { path: path.to_owned(), number, reason })
}

/// The packet at which a file ends early, or the packet that is broken and why.
type Seen = Result<Option<u64>, (u64, String)>;

fn read_records(parser: &PcapParser, mut rest: &[u8], see: &mut impl FnMut(Frame<'_>)) -> Seen {
    let header = parser.header();
    let nanoseconds = match header.ts_resolution {
        TsResolution::MicroSecond => 1000,
        TsResolution::NanoSecond => 1,
    };
    let mut number = 1;
    while !rest.is_empty() {
        match parser.next_raw_packet(rest) {
            Ok((after, packet)) => {
                let fraction = Duration::from_nanos(u64::from(packet.ts_frac) * nanoseconds);
                see(Frame {
                    number,
                    at: Duration::from_secs(u64::from(packet.ts_sec)) + fraction,
                    link: header.datalink.into(),
                    bytes: &packet.data,
                    wire_len: packet.orig_len,
                });
                rest = after;
            }
            Err(PcapError::IncompleteBuffer) => return Ok(Some(number)),
            Err(error) => return Err((number, error.to_string())),
        }
        number += 1;
    }
    Ok(None)
}

fn read_blocks(mut parser: PcapNgParser, mut rest: &[u8], see: &mut impl FnMut(Frame<'_>)) -> Seen {
    let mut number = 1;
    while !rest.is_empty() {
        match parser.next_block(rest) {
            Ok((after, block)) => {
                if let Some(packet) = captured(block).map_err(|reason| (number, reason))? {
                    let interfaces = parser.interfaces();
                    let interface = interfaces.get(packet.interface as usize).ok_or_else(|| {
                        (number, format!("of interface {}, which the file does not describe", packet.interface))
                    })?;
                    let at = time(packet.ticks, resolution(interface));
                    let at = at.ok_or_else(|| (number, "its time stamp is beyond every clock".to_owned()))?;
                    let (link, wire_len) = (link(interface.linktype), packet.wire_len);
                    see(Frame { number, at, link, bytes: &packet.bytes, wire_len });
                    number += 1;
                }
                rest = after;
            }
            Err(PcapError::IncompleteBuffer) => return Ok(Some(number)),
            Err(error) => return Err((number, error.to_string())),
        }
    }
    Ok(None)
}

/// What the two kinds of packet blocks have in common.
struct Captured<'a> {
    interface: u32,
    ticks: u64,
    wire_len: u32,
    bytes: std::borrow::Cow<'a, [u8]>,
}

/// The packet in a block; `None` in a block without one.
fn captured(block: Block<'_>) -> Result<Option<Captured<'_>>, String> {
    Ok(match block {
        Block::EnhancedPacket(packet) => Some(Captured {
            interface: packet.interface_id,
            // The crate takes the ticks for nanoseconds, whatever the interface says.
            ticks: u64::try_from(packet.timestamp.as_nanos()).unwrap_or(u64::MAX),
            wire_len: packet.original_len,
            bytes: packet.data,
        }),
        Block::Packet(packet) => Some(Captured {
            interface: u32::from(packet.interface_id),
            ticks: packet.timestamp,
            wire_len: packet.original_len,
            bytes: packet.data,
        }),
        Block::SimplePacket(_) => return Err("it has no time (a simple packet block)".to_owned()),
        _ => None,
    })
}

fn resolution(interface: &InterfaceDescriptionBlock<'_>) -> u8 {
    let said = interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
        _ => None,
    });
    said.unwrap_or(MICROSECONDS)
}

/// `ticks` of `resolution` (`if_tsresol`: a power of 10, with the top bit set of 2); `None` where it cannot be held.
fn time(ticks: u64, resolution: u8) -> Option<Duration> {
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let per_second = base.checked_pow(u32::from(resolution & 0x7F))?;
    let (seconds, rest) = (u128::from(ticks) / per_second, u128::from(ticks) % per_second);
    let nanoseconds = rest.checked_mul(1_000_000_000)? / per_second;
    Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?))
}

fn link(linktype: DataLink) -> u32 {
    linktype.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Number, time, link layer and length of each frame.
    type Seen = Vec<(u64, Duration, u32, usize)>;

    fn frames(bytes: &[u8]) -> Result<(Seen, Option<u64>), String> {
        let mut seen = Vec::new();
        let mut see = |frame: Frame<'_>| seen.push((frame.number, frame.at, frame.link, frame.bytes.len()));
        let end = read(Path::new("x.pcap"), bytes, &mut see).map_err(|fault| fault.to_string())?;
        Ok((seen, end))
    }

    /// A little-endian pcap of Ethernet with two packets of 4 and 6 octets, 1.5 s and 2 s after 1970.
    fn two_records(magic: u32, fraction: u32) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            [magic, 0x0004_0002, 0, 0, 65_535, 1].iter().flat_map(|word| word.to_le_bytes()).collect();
        for (seconds, fraction, length) in [(1u32, fraction, 4u32), (2, 0, 6)] {
            bytes.extend([seconds, fraction, length, length].iter().flat_map(|word| word.to_le_bytes()));
            bytes.resize(bytes.len() + length as usize, 7);
        }
        bytes
    }

    /// A block of pcapng, little-endian.
    fn block(kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes()[..], &length, body, &length].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A pcapng of one interface with these options and one packet at `ticks`.
    fn one_block(options: &[u8], interface: u32, ticks: u64) -> Vec<u8> {
        let section = block(0x0A0D_0D0A, &[words(&[0x1A2B_3C4D, 1]), vec![0xFF; 8]].concat());
        let description = block(1, &[&words(&[1, 0])[..], options].concat());
        let packet = block(6, &words(&[interface, (ticks >> 32) as u32, ticks as u32, 4, 4, 0x0707_0707]));
        [section, description, packet].concat()
    }

    #[test]
    fn a_pcap_is_read_in_microseconds_and_in_nanoseconds() {
        for (magic, half) in [(0xA1B2_C3D4, 500_000), (0xA1B2_3C4D, 500_000_000)] {
            let (seen, end) = frames(&two_records(magic, half)).expect("a capture");
            assert_eq!(end, None);
            assert_eq!(seen, [(1, Duration::from_millis(1500), 1, 4), (2, Duration::from_secs(2), 1, 6)]);
        }
    }

    #[test]
    fn a_file_that_ends_within_a_packet_is_read_up_to_there() {
        let whole = two_records(0xA1B2_C3D4, 0);
        let (seen, end) = frames(&whole[..whole.len() - 1]).expect("a capture");
        assert_eq!((seen.len(), end), (1, Some(2)));
        let whole = one_block(&[], 0, 0);
        assert_eq!(frames(&whole[..whole.len() - 1]).expect("a capture"), (vec![], Some(1)));
    }

    #[test]
    fn a_pcapng_is_read_at_the_resolution_of_its_interface() {
        let option = |resolution: u8| words(&[0x0001_0009, u32::from(resolution), 0]);
        for (options, ticks) in [
            (vec![], 1_500_000),
            (option(6), 1_500_000),
            (option(9), 1_500_000_000),
            (option(0x81), 3),
            (option(3), 1500),
        ] {
            let (seen, end) = frames(&one_block(&options, 0, ticks)).expect("a capture");
            assert_eq!((seen, end), (vec![(1, Duration::from_millis(1500), 1, 4)], None));
        }
    }

    #[test]
    fn what_is_no_capture_or_broken_is_named_with_file_and_packet() {
        for (bytes, words) in [
            (&b""[..], "empty"),
            (&[0x1F, 0x8B, 8, 0], "gunzip"),
            (b"RIFF....WAVE....................", "another kind of file"),
            (&PCAPNG, "section header"),
        ] {
            let said = frames(bytes).expect_err("no capture");
            assert!(said.starts_with("x.pcap: ") && said.contains(words), "{said}");
        }
        let said = frames(&one_block(&[], 3, 0)).expect_err("an interface that is not there");
        assert!(said.contains("x.pcap: packet 1: of interface 3"), "{said}");
        assert!(load(Path::new("/does/not/exist.pcap")).is_err_and(|fault| fault.to_string().contains("/does/not")));
    }

    proptest! {
        #[test]
        fn no_file_makes_the_reader_panic(kind in 0..3usize, at in 0..200usize, octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = [two_records(0xA1B2_C3D4, 0), one_block(&words(&[0x0001_0009, 6, 0]), 0, 9), vec![]][kind].clone();
            let at = at.min(bytes.len());
            let end = (at + octets.len()).min(bytes.len());
            bytes.splice(at..end, octets);
            let _ = frames(&bytes);
        }
    }
}
