//! Entries written as a pcapng capture: one interface, nanoseconds, a comment where a packet is not what was on the wire.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};

use super::ring::{Entry, Kind};
use super::{frame, mask};
use crate::call::Copied;

/// `if_tsresol`: 10^-9 s.
const NANOSECONDS: u8 = 9;
const MASKED: &str = "values are masked with x";
const AS_PLAIN: &str = "RTP/SAVP is shown as RTP/AVP, as its media is decrypted";
const MASKED_DIGIT: &str = "the digit is masked: event 255";

/// A capture under way.
pub struct Pcapng {
    writer: PcapNgWriter<Vec<u8>>,
    unmasked: bool,
    with_media: bool,
    /// Packets written.
    pub packets: u64,
}

impl Pcapng {
    /// A capture that masks, or does not, with media or without.
    pub fn new(unmasked: bool, with_media: bool) -> Self {
        let mut writer = PcapNgWriter::new(Vec::new()).expect(IN_MEMORY);
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![
                InterfaceDescriptionOption::IfName("trunkstream".into()),
                InterfaceDescriptionOption::IfDescription(
                    "written by the bridge from what it read and sent; Ethernet, IP and UDP headers are made up".into(),
                ),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        };
        writer.write_pcapng_block(interface).expect(IN_MEMORY);
        Self { writer, unmasked, with_media, packets: 0 }
    }

    /// Adds a packet.
    pub fn add(&mut self, entry: &Entry) {
        let (mut bytes, masked) = shown(entry, self.unmasked);
        let plain = (self.with_media && entry.is_sip() && mask::profile(bytes.to_mut())).then_some(AS_PLAIN);
        let frame = frame::udp(entry.local, entry.peer, entry.outgoing, &bytes);
        let comment = comment(entry, masked.into_iter().chain(plain), bytes.len() > frame::MOST);
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: entry.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO),
            original_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: Cow::Owned(frame),
            options: comment.into_iter().map(|text| EnhancedPacketOption::Comment(text.into())).collect(),
        };
        self.writer.write_pcapng_block(block).expect(IN_MEMORY);
        self.packets += 1;
    }

    /// What is written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }
}

const IN_MEMORY: &str = "a Vec takes what is written, and interface 0 is described";

/// The octets that may be shown, and what is said of the mask.
pub fn shown(entry: &Entry, unmasked: bool) -> (Cow<'_, [u8]>, Option<&'static str>) {
    let is_event = matches!(entry.kind, Kind::Media { copied: Copied::Event, .. });
    if unmasked || !(entry.is_sip() || is_event) {
        return (Cow::Borrowed(&entry.bytes), None);
    }
    let mut bytes = entry.bytes.to_vec();
    if is_event {
        mask::event(&mut bytes);
        return (Cow::Owned(bytes), Some(MASKED_DIGIT));
    }
    let masked = mask::sip(&mut bytes).then_some(MASKED);
    (Cow::Owned(bytes), masked)
}

fn comment(entry: &Entry, changes: impl Iterator<Item = &'static str>, cut: bool) -> Option<String> {
    let wire = match &entry.kind {
        Kind::Sip { transport: "UDP" } => None,
        Kind::Sip { transport } => Some(format!("SIP over {transport}, shown as UDP")),
        Kind::Media { copied: Copied::Encrypted, .. } => {
            Some("not decrypted: it is not of this call's keys".to_owned())
        }
        Kind::Media { decrypted: true, .. } => Some("SRTP on the wire, shown decrypted".to_owned()),
        Kind::Media { .. } => None,
    };
    let cut = cut.then(|| format!("cut after {} octets", frame::MOST));
    let parts: Vec<String> = wire.into_iter().chain(changes.map(str::to_owned)).chain(cut).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ring::tests::sip;
    use super::*;
    use crate::lab::pcap;

    /// Comments are text in the file: where each of them stands.
    fn says(file: &[u8], text: &str) -> bool {
        file.windows(text.len()).any(|window| window == text.as_bytes())
    }

    fn frames(file: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        let mut frames = Vec::new();
        let end = pcap::read(Path::new("trace"), file, &mut |frame| frames.push((frame.at, frame.bytes.to_vec())));
        assert!(matches!(end, Ok(None)), "{end:?}");
        frames
    }

    #[test]
    fn ops_026_a_capture_is_readable_block_by_block_as_it_grows() {
        let mut capture = Pcapng::new(false, false);
        let mut file = capture.take();
        assert_eq!(frames(&file), []);
        let mut entry = sip("OPTIONS sip:h SIP/2.0\r\n\r\n");
        entry.at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        capture.add(&entry);
        file.extend(capture.take());
        let found = frames(&file);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, Duration::new(1_700_000_000, 123_456_789));
        assert!(found[0].1.ends_with(&entry.bytes));
        assert_eq!(capture.packets, 1);
    }

    #[test]
    fn sip_116_what_is_masked_decrypted_or_cut_is_said_in_a_comment() {
        let mut secret = sip("INVITE sip:h SIP/2.0\r\nX-Order: 4711\r\n\r\n");
        secret.kind = Kind::Sip { transport: "TLS" };
        let file = |unmasked: bool, entry: &Entry| {
            let mut capture = Pcapng::new(unmasked, false);
            capture.add(entry);
            capture.take()
        };
        let (masked, plain) = (file(false, &secret), file(true, &secret));
        assert!(says(&masked, "SIP over TLS, shown as UDP; values are masked") && !says(&masked, "4711"));
        assert!(says(&plain, "X-Order: 4711") && !says(&plain, "masked"));
        let media = |copied, decrypted| Kind::Media { call_id: "c".into(), copied, decrypted };
        let mut packet = sip("");
        packet.bytes = [vec![0x80, 101], vec![0; 10], vec![5, 0, 0, 160]].concat().into();
        packet.kind = media(Copied::Event, true);
        assert!(says(&file(false, &packet), "SRTP on the wire, shown decrypted; the digit is masked"));
        assert_eq!(frames(&file(false, &packet))[0].1[54], 255);
        assert_eq!(frames(&file(true, &packet))[0].1[54], 5);
        packet.kind = media(Copied::Encrypted, false);
        assert!(says(&file(false, &packet), "not decrypted"));
        let mut long = sip(&"x".repeat(66_000));
        long.kind = Kind::Sip { transport: "TCP" };
        assert!(says(&file(true, &long), "cut after 65507 octets"));
    }
}
