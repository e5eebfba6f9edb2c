//! Twenty milliseconds from the line to the bot, on lines good and bad: what order, evenness and concealment cost.
#![allow(missing_docs, clippy::disallowed_methods)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use trunkstream::base::random::Random;
use trunkstream::base::rtp_format::PCMU;
use trunkstream::config::{Dtmf, Fill, IdleTx, JitterDelay, MediaNat};
use trunkstream::media::rtp::packet::Packet;
use trunkstream::media::{MediaFormat, MediaSession, MediaSettings};

const STEP: Duration = Duration::from_millis(20);

/// A line: the share of packets that are lost, in percent, and by how many ticks at most the others are late.
struct Line {
    name: &'static str,
    loss: u32,
    late: u32,
}

const LINES: [Line; 4] = [
    Line { name: "20 ms in time", loss: 0, late: 0 },
    Line { name: "20 ms with 60 ms of jitter", loss: 0, late: 4 },
    Line { name: "20 ms at 5 % loss", loss: 5, late: 0 },
    Line { name: "20 ms at 50 % loss", loss: 50, late: 0 },
];

struct Receiver {
    session: MediaSession,
    from: SocketAddr,
    now: Instant,
    tick: u32,
    /// What each tick brings: packet numbers relative to the tick, over a cycle of ticks.
    cycle: Vec<Vec<u32>>,
    datagram: Vec<u8>,
    payload: [u8; 160],
    heard: Vec<i16>,
}

impl Receiver {
    fn new(line: &Line) -> Self {
        let (now, from) = (Instant::now(), "192.0.2.10:4000".parse().expect("an address"));
        let settings = MediaSettings {
            dtmf: Dtmf::default(),
            idle_tx: IdleTx::Silence,
            relearn_after_silence: false,
            nat: MediaNat::Auto,
            media_acl: Vec::new(),
            dtmf_mute: true,
            hold_audio_pass: false,
            rtp_timeout: Duration::from_secs(60),
            rtp_start_timeout: Duration::from_secs(10),
            jitter_delay: JitterDelay::default(),
            fill: Fill::Silence,
        };
        let mut random = Random::from_number(1);
        let mut session = MediaSession::new(now, settings, &mut random);
        session.set_format(now, &format(from), true);
        let payload = std::array::from_fn(|n| if n % 80 < 8 { 0x8F } else { 0xE0 + (n % 16) as u8 });
        let (datagram, heard) = (Vec::with_capacity(256), Vec::with_capacity(4096));
        let cycle = cycle(line, &mut random);
        Self { session, from, now, tick: 0, cycle, datagram, payload, heard }
    }

    fn tick(&mut self) {
        let length = self.cycle.len() as u32;
        for number in &self.cycle[(self.tick % length) as usize] {
            let number = self.tick / length * length + number;
            let (sequence, timestamp) = (number as u16, number.wrapping_mul(160));
            let packet =
                Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 7, payload: &self.payload };
            packet.write(&mut self.datagram);
            self.session.handle_rtp(self.now, self.from, &self.datagram);
        }
        self.heard.clear();
        self.session.pull(self.now, &mut self.heard);
        while self.session.poll_event().is_some() {}
        black_box(&self.heard);
        self.tick += 1;
        self.now += STEP;
    }
}

/// What comes at each of 1000 ticks.
fn cycle(line: &Line, random: &mut Random) -> Vec<Vec<u32>> {
    let mut cycle = vec![Vec::new(); 1000];
    for number in 0..1000 {
        let late = if line.late > 0 { random.below(line.late) } else { 0 };
        if random.below(100) >= line.loss {
            cycle[(number + late).min(999) as usize].push(number);
        }
    }
    cycle
}

fn format(remote: SocketAddr) -> MediaFormat {
    MediaFormat {
        remote,
        remote_rtcp: remote,
        rtcp_mux: true,
        format: PCMU,
        payload_type: 0,
        telephone_event: None,
        comfort_noise: None,
        ptime_ms: 20,
        send: true,
        receive: true,
        held: false,
    }
}

fn jitter_buffer(criterion: &mut Criterion) {
    for line in &LINES {
        let mut receiver = Receiver::new(line);
        (0..3000).for_each(|_| receiver.tick());
        criterion.bench_function(line.name, |bencher| bencher.iter(|| receiver.tick()));
        println!("{}: {:?}", line.name, receiver.session.report(receiver.now).concealed_ms);
    }
}

criterion_group!(benches, jitter_buffer);
criterion_main!(benches);
