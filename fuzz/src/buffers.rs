//! The two buffers against what they promise, through the sessions that own them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use trunkstream::media::codec::{self, Decoder};
use trunkstream::media::rtp::packet::Packet;

use crate::input::Input;
use crate::peers::{peer, session, stream};

/// Ticks, samples and octets in a packet of 20 ms.
const PACKET: usize = 160;
/// No packet is heard later than this after it came, whatever the buffer has grown to.
const LONGEST_DELAY: Duration = Duration::from_millis(500);
/// Packets in one run.
const MOST_PACKETS: u16 = 300;

/// Octets that no other packet has, and that concealment does not make.
fn payload(number: u16) -> [u8; PACKET] {
    let mut state = u32::from(number).wrapping_mul(2_654_435_761) | 1;
    std::array::from_fn(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Loud codes only: quiet ones could be comfort noise.
        ((state >> 24) as u8) & 0xBF
    })
}

/// A sender with losses, copies and any order; a listener that takes a frame every 20 ms. What is heard of it is heard in
/// order, once, soon, and nothing is counted twice.
pub fn jitter_buffer(octets: &[u8]) {
    listen(octets);
}

/// The same; how many packets were heard whole.
fn listen(octets: &[u8]) -> usize {
    let start = Instant::now();
    let (mut input, mut session) = (Input(octets), session(start));
    let (base, skew) = (input.u16(), u32::from(input.u16()) << 16);
    let mut decoder = codec::of_format(&trunkstream::base::rtp_format::PCMU).expect("PCMU is ours").decoder();
    let (mut elapsed, mut sent, mut fed) = (Duration::ZERO, 0u16, 0u64);
    let (mut heard, mut bytes, mut came) = (Vec::new(), Vec::new(), HashMap::new());
    while !input.is_empty() && sent < MOST_PACKETS {
        // Up to four packets in a slot: the next, one lost before it, one of the last eight again or late.
        for _ in 0..=(input.u8() & 3) {
            let step = input.u8();
            let number = match step {
                0..=199 => sent,
                200..=229 => sent.saturating_add(u16::from(step - 199) / 8 + 1),
                _ => sent.saturating_sub(u16::from(step & 7)),
            };
            sent = sent.max(number.saturating_add(1));
            let (sequence, timestamp) = (base.wrapping_add(number), (u32::from(number) * 160).wrapping_add(skew));
            let payload = payload(number);
            Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 7, payload: &payload }
                .write(&mut bytes);
            session.handle_rtp(start + elapsed, peer(), &bytes);
            fed += 1;
            came.entry(number).or_insert(elapsed);
        }
        // Now and then nothing comes for a while.
        let slots = if input.u8() >= 250 { 40 } else { 1 };
        for _ in 0..slots {
            elapsed += Duration::from_millis(20);
            session.pull(start + elapsed, &mut heard);
        }
    }
    for _ in 0..50 {
        elapsed += Duration::from_millis(20);
        session.pull(start + elapsed, &mut heard);
    }
    assert_eq!(heard.len() as u128, elapsed.as_millis() * 8, "RTP-007: what is heard is as long as the time");
    let report = session.report(start + elapsed);
    assert_eq!(report.packets_received, fed);
    assert!(report.late + report.duplicate + report.discarded <= fed, "{report:?}");
    let found = found(&heard, &came, decoder.as_mut());
    for pair in found.windows(2) {
        assert!(pair[0].0 < pair[1].0, "packet {} is heard before packet {}", pair[0].0, pair[1].0);
    }
    for &(number, at) in &found {
        // What is heard at sample `at` was pulled up to 20 ms after its place says.
        let delay = Duration::from_millis(at as u64 / 8).saturating_sub(came[&number]);
        assert!(delay <= LONGEST_DELAY, "packet {number} is heard {delay:?} after it came");
    }
    found.len()
}

/// The packets that are heard whole, in order, and at which sample each begins.
fn found(heard: &[i16], came: &HashMap<u16, Duration>, decoder: &mut dyn Decoder) -> Vec<(u16, usize)> {
    let mut beginnings: HashMap<[i16; 8], (u16, Vec<i16>)> = HashMap::new();
    for number in came.keys() {
        let mut samples = Vec::new();
        decoder.decode(&payload(*number), &mut samples);
        beginnings.insert(*samples.first_chunk().expect("160 samples"), (*number, samples));
    }
    let at = |place: usize| {
        let (number, samples) = beginnings.get(heard[place..].first_chunk::<8>()?)?;
        heard[place..].starts_with(samples).then_some((*number, place))
    };
    (0..heard.len()).filter_map(at).collect()
}

/// A bot that speaks, marks and clears, and a clock that takes packets: octets in are samples out, and what a clear drops
/// is the rest; every mark comes back once.
pub fn playout(octets: &[u8]) {
    let mut now = Instant::now();
    let (mut input, mut stream, mut out) = (Input(octets), stream(now), Vec::new());
    let (mut spoken, mut played, mut marks, mut returned, mut clears) = (0usize, 0usize, 0u32, 0u32, 0u32);
    let mut pull = |now: Instant, stream: &mut trunkstream::stream::StreamSession, returned: &mut u32| {
        out.clear();
        let pulled = stream.pull(now, PACKET, &mut out);
        assert!(out.len() <= PACKET && pulled.played <= PACKET, "no more than was asked for");
        stream.sent(now);
        while let Some(message) = stream.poll_message() {
            *returned += u32::from(message.contains("\"mark\""));
        }
        pulled.played
    };
    while !input.is_empty() {
        match input.u8() {
            0..=99 => {
                let length = usize::from(input.u16()) % 3_300 + 1;
                // 30 s of audio always fit; the first octet is no brace, or it would be JSON.
                if spoken + length < 480_000 {
                    spoken += length;
                    stream.handle_binary(now, &vec![1; length]);
                }
            }
            100..=139 => {
                marks += 1;
                stream.handle_text(now, &format!(r#"{{"event":"mark","mark":{{"name":"{marks}"}}}}"#));
            }
            140..=149 => {
                clears += 1;
                stream.handle_text(now, r#"{"event":"clear"}"#);
            }
            150..=159 => stream.set_paused(now, input.u8() & 1 == 0),
            steps => {
                for _ in 0..=steps & 7 {
                    now += Duration::from_millis(20);
                    played += pull(now, &mut stream, &mut returned);
                }
            }
        }
        assert!(played <= spoken / 2, "{played} samples of {spoken} octets");
    }
    stream.set_paused(now, false);
    for _ in 0..spoken / 2 / PACKET + 200 {
        now += Duration::from_millis(20);
        played += pull(now, &mut stream, &mut returned);
    }
    assert!(played <= spoken / 2 && (clears > 0 || played == spoken / 2), "{played} samples of {spoken} octets");
    assert_eq!(returned, marks, "each mark comes back once");
    let report = stream.report();
    assert!(report.dropped.is_empty(), "{:?}", report.dropped);
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_a_sender_without_losses_every_packet_is_found() {
        // Base and skew, then slots of one packet, the next one, without a pause.
        let octets = [&[0xFF, 0xF0, 0xFF, 0xFF][..], &[0; 3 * 120]].concat();
        assert_eq!(super::listen(&octets), 120);
    }
}
