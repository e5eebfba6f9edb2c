//! A captured stream sent again: other SSRCs and counters, the same timing, losses, copies and order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::take::Take;
use crate::base::random::Random;
use crate::media::rtp::packet::Packet;

/// How the call that it is sent in has numbered what the capture numbered its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    /// The codec's payload type.
    pub payload_type: u8,
    /// Payload type and clock rate in Hz of telephone-events, where negotiated.
    pub telephone_event: Option<(u8, u32)>,
}

/// The packets of a capture on their way into a call.
#[derive(Debug)]
pub struct Playback {
    take: Arc<Take>,
    spoken: Spoken,
    next: usize,
    sent: u64,
    /// For each SSRC of the capture ours, and what is added to its sequence numbers and timestamps.
    sources: HashMap<u32, (u32, u16, u32)>,
    random: Random,
}

impl Playback {
    /// A playback that has sent nothing yet.
    #[must_use]
    pub fn new(take: Arc<Take>, spoken: Spoken, random: Random) -> Self {
        Self { take, spoken, next: 0, sent: 0, sources: HashMap::new(), random }
    }

    /// When the next packet is due, from the first one; `None` after the last.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.take.packets.get(self.next).map(|packet| packet.at)
    }

    /// Writes the next packet that is due at `elapsed` to `out`. False where there is none.
    pub fn poll(&mut self, elapsed: Duration, out: &mut Vec<u8>) -> bool {
        while let Some(packet) = self.take.packets.get(self.next).filter(|packet| packet.at <= elapsed) {
            self.next += 1;
            let Some(packet) = packet.rtp() else { continue };
            let random = &mut self.random;
            let source = self.sources.entry(packet.ssrc).or_insert_with(|| (random.u32(), random.u16(), random.u32()));
            let (ssrc, sequence, timestamp) = *source;
            let restamped = Packet {
                ssrc,
                sequence: packet.sequence.wrapping_add(sequence),
                timestamp: packet.timestamp.wrapping_add(timestamp),
                ..packet
            };
            renumber(&self.take, self.spoken, &restamped, out);
            self.sent += 1;
            return true;
        }
        false
    }

    /// Packets sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

/// Writes `packet` with the payload type that the call has for what it carries. A telephone-event measured with another
/// clock is measured anew.
fn renumber(take: &Take, spoken: Spoken, packet: &Packet<'_>, out: &mut Vec<u8>) {
    let event = take.telephone_event.filter(|event| event.0 == packet.payload_type).zip(spoken.telephone_event);
    let Some(((_, clock), (payload_type, spoken_clock))) = event else {
        let audio = packet.payload_type == take.payload_type;
        let payload_type = if audio { spoken.payload_type } else { packet.payload_type };
        return Packet { payload_type, ..*packet }.write(out);
    };
    let mut payload = packet.payload.to_vec();
    if let Some(duration) = payload.get_mut(2..4).and_then(|octets| octets.first_chunk_mut::<2>()) {
        let ticks = u64::from(u16::from_be_bytes(*duration)) * u64::from(spoken_clock) / u64::from(clock.max(1));
        *duration = u16::try_from(ticks).unwrap_or(u16::MAX).to_be_bytes();
    }
    Packet { payload_type, payload: &payload, ..*packet }.write(out);
}
