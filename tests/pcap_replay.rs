//! Every capture in `pcap/` through a media session, in virtual time: frames, losses, digits and sound as `pcap/expect.toml`
//! lists them.
#![allow(missing_docs, clippy::disallowed_methods)] // a starting point for virtual time

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use trunkstream::base::pcm::SampleRate;
use trunkstream::base::random::Random;
use trunkstream::base::rtp_format::RtpFormat;
use trunkstream::config::{Dtmf, Fill, IdleTx, JitterDelay, MediaNat};
use trunkstream::media::codec::{self, Codec};
use trunkstream::media::rtp::packet::{Datagram, Packet};
use trunkstream::media::{MediaEvent, MediaFormat, MediaReport, MediaSession, MediaSettings};

/// What `expect.toml` says of a capture, as far as a receiver can be held to it.
#[derive(Debug, Deserialize)]
struct Expected {
    file: String,
    packets: usize,
    audio_packets: usize,
    event_packets: usize,
    lost: u64,
    digits: String,
    digit_durations_ms: Vec<u32>,
    event_payload_type: u8,
    event_clock: u32,
    payload_type: u8,
    encoding: Option<String>,
    superseded_packets: u64,
    /// The digits are tones in the audio.
    #[serde(default)]
    inband: bool,
    #[serde(default)]
    ssrc_changes: u64,
    #[serde(default)]
    stalled_packets: u64,
    tone_peak: Option<f64>,
    tone_hz: Option<f64>,
}

impl Expected {
    fn codec(&self) -> &'static dyn Codec {
        let name = self.encoding.as_deref().unwrap_or(if self.payload_type == 8 { "PCMA" } else { "PCMU" });
        let is_it = |codec: &&&dyn Codec| codec.format().encoding_name == name;
        *codec::CODECS.iter().find(is_it).unwrap_or_else(|| panic!("{}: no codec {name}", self.file))
    }

    fn format(&self) -> RtpFormat {
        self.codec().format()
    }

    /// The rate of the sound, and of the stream: nothing is resampled.
    fn rate(&self) -> SampleRate {
        self.codec().sample_rate()
    }

    /// Samples of `ticks` of the RTP clock.
    fn samples(&self, ticks: u32) -> usize {
        (u64::from(ticks) * u64::from(self.rate().hz()) / u64::from(self.format().clock_rate)) as usize
    }
}

/// A datagram of a capture.
struct Captured {
    at: Duration,
    from: SocketAddr,
    bytes: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("pcap")
}

fn expectations() -> BTreeMap<String, Expected> {
    let text = std::fs::read_to_string(folder().join("expect.toml")).expect("pcap/expect.toml");
    toml::from_str(&text).expect("expect.toml as its head explains it")
}

/// Reads a classic little-endian microsecond pcap of Ethernet, IPv4 and UDP.
fn read_pcap(path: &Path) -> Vec<Captured> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four octets"));
    assert_eq!((word(0), word(20)), (0xA1B2_C3D4, 1), "{}: not such a pcap", path.display());
    let (mut at, mut captured, mut first) = (24, Vec::new(), None);
    while at < bytes.len() {
        let time = Duration::new(u64::from(word(at)), word(at + 4) * 1000);
        let length = word(at + 8) as usize;
        captured.extend(read_udp(&bytes[at + 16..at + 16 + length]).map(|(from, payload)| Captured {
            at: time - *first.get_or_insert(time),
            from,
            bytes: payload.to_vec(),
        }));
        at += 16 + length;
    }
    captured
}

fn read_udp(frame: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let ip = frame.strip_prefix(&frame[..12])?.strip_prefix(&[0x08, 0x00])?;
    let header = usize::from(ip[0] & 0x0F) * 4;
    let udp = ip.get(header..).filter(|_| ip[9] == 17)?;
    let address = Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]);
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    let port = u16::from_be_bytes([udp[0], udp[1]]);
    Some((SocketAddr::V4(SocketAddrV4::new(address, port)), &udp[8..length]))
}

fn session(now: Instant, expected: &Expected, remote: SocketAddr, dtmf_mute: bool) -> MediaSession {
    let settings = MediaSettings {
        nat: MediaNat::Auto,
        media_acl: Vec::new(),
        relearn_after_silence: false,
        dtmf_mute,
        dtmf: Dtmf { inband: expected.inband, at_start: false },
        idle_tx: IdleTx::Silence,
        hold_audio_pass: false,
        rtp_timeout: Duration::from_secs(60),
        rtp_start_timeout: Duration::from_secs(10),
        jitter_delay: JitterDelay::default(),
        fill: Fill::Silence,
    };
    let mut session = MediaSession::new(now, settings, &mut Random::from_number(1));
    let format = MediaFormat {
        remote,
        remote_rtcp: remote,
        rtcp_mux: false,
        format: expected.format(),
        payload_type: expected.payload_type,
        telephone_event: (!expected.inband).then_some((expected.event_payload_type, expected.event_clock)),
        comfort_noise: Some(13),
        ptime_ms: 20,
        send: true,
        receive: true,
        held: false,
    };
    assert!(session.set_format(now, &format, true));
    session.set_stream_rate(expected.rate());
    session
}

/// What came of a capture.
struct Outcome {
    heard: Vec<i16>,
    digits: String,
    durations_ms: Vec<u32>,
    ssrc_changes: usize,
    report: MediaReport,
    /// When the first frame was pulled.
    phase_ms: usize,
}

/// Plays a capture against a clock that ticks every 20 ms from `phase` ms on, and for a second after its end.
fn replay(captured: &[Captured], expected: &Expected, phase: u64, dtmf_mute: bool) -> Outcome {
    let start = Instant::now();
    let mut session = session(start, expected, captured[0].from, dtmf_mute);
    let (mut heard, mut events) = (Vec::new(), Vec::new());
    let mut waiting = captured.iter().peekable();
    let end = captured.iter().map(|datagram| datagram.at).max().unwrap_or_default() + Duration::from_secs(1);
    let mut elapsed = Duration::from_millis(phase);
    while elapsed < end {
        while let Some(datagram) = waiting.next_if(|datagram| datagram.at <= elapsed) {
            session.handle_rtp(start + datagram.at, datagram.from, &datagram.bytes);
        }
        let now = start + elapsed;
        if session.poll_timeout().is_some_and(|deadline| deadline <= now) {
            session.handle_timeout(now);
        }
        let before = heard.len();
        session.pull(now, &mut heard);
        assert_eq!(heard.len() - before, expected.rate().samples(20), "RTP-007: 20 ms at every tick");
        events.extend(std::iter::from_fn(|| session.poll_event()));
        elapsed += Duration::from_millis(20);
    }
    let digits = events.iter().filter_map(|event| match event {
        MediaEvent::Dtmf { digit, duration_ms, .. } => Some((*digit, *duration_ms)),
        _ => None,
    });
    let (digits, durations_ms) = digits.unzip();
    let ssrc_changes = events.iter().filter(|event| **event == MediaEvent::SsrcChanged).count();
    Outcome {
        heard,
        digits,
        durations_ms,
        ssrc_changes,
        report: session.report(start + elapsed),
        phase_ms: phase as usize,
    }
}

/// Decoded audio packets and where they belong on the sender's time line, in samples.
fn time_line(captured: &[Captured], expected: &Expected) -> Vec<(usize, Vec<i16>)> {
    let mut decoder = expected.codec().decoder();
    let mut line: Vec<(usize, Vec<i16>)> = Vec::new();
    let mut origin: Option<(u32, u32, usize)> = None;
    for datagram in captured {
        let Datagram::Rtp(Packet { payload_type, ssrc, timestamp, payload, .. }) = Datagram::read(&datagram.bytes)
        else {
            panic!("a capture holds RTP only");
        };
        if payload_type != expected.payload_type {
            continue;
        }
        let end = line.iter().map(|(at, audio)| at + audio.len()).max().unwrap_or(0);
        // Another SSRC goes on where the one before ends.
        let (_, first, base) =
            *origin.insert(origin.filter(|origin| origin.0 == ssrc).unwrap_or((ssrc, timestamp, end)));
        let mut audio = Vec::new();
        decoder.decode(payload, &mut audio);
        line.push((base + expected.samples(timestamp.wrapping_sub(first)), audio));
    }
    line
}

/// How a time line was heard.
#[derive(Debug, Default)]
struct Followed {
    /// Packets that were heard nowhere.
    missing: u64,
    /// Changes of the delay, by a frame or more.
    changes: u64,
    /// Every delay there was, in samples.
    delays: BTreeSet<usize>,
}

/// Follows a time line packet by packet at the delays that are possible. The first half of a packet may be a joint with
/// what was concealed before it; the second must be what was sent.
fn follow(line: &[(usize, Vec<i16>)], heard: &[i16], possible: &[usize]) -> Followed {
    let mut followed = Followed::default();
    let mut present: Option<usize> = None;
    for (at, audio) in line {
        let half = audio.len() / 2;
        let is_heard =
            |delay: &usize| heard.get(at + delay + half..).is_some_and(|rest| rest.starts_with(&audio[half..]));
        if present.as_ref().is_some_and(is_heard) {
            continue;
        }
        let nearest = |delay: &usize| delay.abs_diff(present.unwrap_or(*delay));
        match possible.iter().copied().filter(is_heard).min_by_key(nearest) {
            None => followed.missing += 1,
            Some(delay) => {
                followed.changes += u64::from(present.is_some());
                followed.delays.insert(delay);
                present = Some(delay);
            }
        }
    }
    followed
}

/// Delays of up to 100 ms, in samples.
fn delays(expected: &Expected) -> [usize; 6] {
    [0, 20, 40, 60, 80, 100].map(|ms| expected.rate().samples(ms))
}

/// Runs `check` on every capture for several phases of the clock, muting digits or not.
fn every_capture(mut check: impl FnMut(&str, &Expected, &[Captured], &Outcome)) {
    let expectations = expectations();
    assert!(expectations.len() >= 20, "only {} captures", expectations.len());
    for (name, expected) in &expectations {
        let captured = read_pcap(&folder().join(&expected.file));
        for phase in [0, 1, 9, 19] {
            let outcome = replay(&captured, expected, phase, false);
            check(&format!("{name}, phase {phase} ms"), expected, &captured, &outcome);
        }
    }
}

#[test]
fn rtp_001_every_packet_is_read_and_every_loss_is_counted() {
    every_capture(|name, expected, captured, outcome| {
        let report = &outcome.report;
        assert_eq!(captured.len(), expected.packets, "{name}");
        assert_eq!(report.packets_received, expected.packets as u64, "{name}");
        assert_eq!((report.malformed, report.unknown_payload_type, report.source_rejects), (0, 0, 0), "{name}");
        assert_eq!((report.lost, report.duplicate), (expected.lost, 0), "{name}");
        assert_eq!(
            (report.ssrc_changes, outcome.ssrc_changes as u64),
            (expected.ssrc_changes, expected.ssrc_changes),
            "{name}"
        );
    });
}

#[test]
fn rtp_052_every_digit_is_reported_once_with_its_length() {
    every_capture(|name, expected, _, outcome| {
        assert_eq!(outcome.digits, expected.digits, "{name}");
        let most = if expected.inband { 10 } else { 0 };
        let lengths = outcome.durations_ms.iter().zip(&expected.digit_durations_ms);
        assert!(lengths.clone().all(|(told, sent)| told.abs_diff(*sent) <= most), "{name}: {lengths:?}");
        assert_eq!(outcome.report.dtmf_digits, expected.digits.len() as u64, "{name}");
    });
}

#[test]
fn rtp_022_what_arrives_in_time_is_heard_bit_exact_at_its_place() {
    every_capture(|name, expected, captured, outcome| {
        if expected.stalled_packets + expected.superseded_packets > 0 {
            return;
        }
        let line = time_line(captured, expected);
        assert_eq!(line.len(), expected.audio_packets, "{name}");
        let (followed, report) = (follow(&line, &outcome.heard, &delays(expected)), &outcome.report);
        // RTP-020: a frame that is taken out to have less delay and its joint may be of three packets.
        assert!(followed.missing <= report.late + 3 * report.frames_removed, "{name}: {followed:?}, {report:?}");
        let seconds = expected.rate().ms(outcome.heard.len() as u64) / 1000;
        assert!(followed.changes <= seconds / 2 && report.frames_removed <= 2, "{name}: {followed:?}, {report:?}");
        let waits = |delay: &usize| expected.rate().ms(*delay as u64) as usize + outcome.phase_ms;
        assert!(followed.delays.iter().all(|delay| (17..=60).contains(&waits(delay))), "{name}: {followed:?}");
        assert!(report.late <= 3 && report.discarded == 0, "{name}: {report:?}");
        if expected.lost == 0 || expected.event_packets > 0 {
            assert_eq!((outcome.report.late, outcome.report.concealed_ms), (0, 20 * expected.lost), "{name}");
        }
    });
}

#[test]
fn rtp_021_lost_packets_are_concealed_and_counted() {
    every_capture(|name, expected, _, outcome| {
        if expected.event_packets == 0 && expected.stalled_packets == 0 {
            assert_eq!(outcome.report.concealed_ms, 20 * (expected.lost + outcome.report.late), "{name}");
        }
    });
}

#[test]
fn rtp_003_of_two_interleaved_voices_the_newer_is_heard_and_never_both() {
    every_capture(|name, expected, captured, outcome| {
        if expected.superseded_packets == 0 {
            return;
        }
        // One packet of the older voice comes in the slot of the change, just before the newer one shows itself.
        // Up to two that were still held go with it, where they would keep the newer one waiting.
        let discarded = expected.superseded_packets - 1..=expected.superseded_packets + 1;
        assert!(discarded.contains(&outcome.report.discarded), "{name}: {:?}", outcome.report);
        let ssrc = |datagram: &Captured| match Datagram::read(&datagram.bytes) {
            Datagram::Rtp(packet) => packet.ssrc,
            other => panic!("{name}: {other:?} in a capture of RTP"),
        };
        let newer: Vec<_> = captured
            .iter()
            .filter(|datagram| ssrc(datagram) != ssrc(&captured[0]))
            .map(|datagram| Captured { bytes: datagram.bytes.clone(), ..*datagram })
            .collect();
        let line = time_line(&newer, expected);
        let begin = outcome.heard.len() - 50 * 160 - line.len() * 160;
        let possible: Vec<_> = (0..=8).map(|frames| begin + frames * 160 - 320).collect();
        let followed = follow(&line, &outcome.heard, &possible);
        assert!(followed.missing <= 2 * outcome.report.frames_removed, "{name}: the newer voice, whole: {followed:?}");
    });
}

#[test]
fn rtp_024_after_a_stall_the_newest_is_heard_and_no_delay_remains() {
    every_capture(|name, expected, captured, outcome| {
        if expected.stalled_packets == 0 {
            return;
        }
        let gone = outcome.report.discarded + outcome.report.late;
        assert!((90..=expected.stalled_packets).contains(&gone), "{name}: {gone} gone");
        let line = time_line(captured, expected);
        let after: Vec<_> = line.into_iter().filter(|(at, _)| *at >= 8 * 4100).collect();
        let followed = follow(&after, &outcome.heard, &delays(expected));
        assert!(followed.missing <= 2 * outcome.report.frames_removed, "{name}: {followed:?}");
        assert!(followed.delays.iter().all(|delay| delay / 8 + outcome.phase_ms <= 60), "{name}: {followed:?}");
    });
}

#[test]
fn rtp_007_a_tone_keeps_its_level_and_has_no_step() {
    every_capture(|name, expected, _, outcome| {
        let (Some(peak), Some(hz)) = (expected.tone_peak, expected.tone_hz) else { return };
        let tone = &outcome.heard[4 * 160..290 * 160];
        let rms = (tone.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / tone.len() as f64).sqrt();
        let level = 20.0 * (rms / (peak / 2_f64.sqrt())).log10();
        assert!(level.abs() < 0.1, "{name}: {level} dB");
        // G.711's steps at this level are 256: two of them beyond the sine's own slope is a click.
        let slope = peak * std::f64::consts::TAU * hz / 8000.0 + 2.0 * 256.0;
        let steepest = tone.windows(2).map(|pair| (f64::from(pair[1]) - f64::from(pair[0])).abs()).fold(0.0, f64::max);
        assert!(steepest <= slope, "{name}: a step of {steepest}");
    });
}

#[test]
fn rtp_060_tones_that_are_digits_are_muted_and_the_speech_around_them_is_not() {
    let expectations = expectations();
    let expected = &expectations["inband_dtmf_1590_pcmu"];
    let captured = read_pcap(&folder().join(&expected.file));
    let (open, muted) = (replay(&captured, expected, 3, false), replay(&captured, expected, 3, true));
    assert_eq!(muted.digits, expected.digits);
    let energy = |samples: &[i16]| samples.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>();
    // Speech to 1 s, four tones with pauses to 1.8 s, speech again, 40 to 80 ms late.
    for (what, from_ms, to_ms, least, most) in
        [("speech", 0, 1000, 1.0, 1.0), ("tones", 1080, 1840, 0.0, 0.3), ("speech", 1880, 6800, 1.0, 1.0)]
    {
        let part = |outcome: &Outcome| energy(&outcome.heard[from_ms * 8..to_ms * 8]);
        let left = part(&muted) / part(&open);
        assert!((least..=most).contains(&left), "{left} of the {what} is left");
    }
}

#[test]
fn rtp_062_audio_beside_digits_is_muted() {
    let expectations = expectations();
    let expected = &expectations["dtmf_other_ssrc"];
    let captured = read_pcap(&folder().join(&expected.file));
    let (open, muted) = (replay(&captured, expected, 3, false), replay(&captured, expected, 3, true));
    assert_eq!(muted.digits, expected.digits);
    let tone: Vec<&Captured> = captured.iter().filter(|datagram| datagram.bytes[1] & 0x7F == 101).collect();
    // What arrives with an event packet is heard 20 to 60 ms later.
    for datagram in tone {
        let at = (datagram.at.as_millis() as usize + 20) / 20 * 160;
        assert!(muted.heard[at..at + 320].iter().all(|sample| *sample == 0), "{:?}", datagram.at);
    }
    let sound = |outcome: &Outcome| outcome.heard.iter().filter(|sample| **sample != 0).count();
    let silenced_ms = (sound(&open) - sound(&muted)) / 8;
    assert!((300..900).contains(&silenced_ms), "{silenced_ms} ms for two digits of 160 ms");
}
