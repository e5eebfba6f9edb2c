//! The packet path of one call: 20 ms each way, as a media thread does it 50 times a second.
//!
//! Before the timing a counting allocator checks that the path allocates nothing once it is warm (RTP-036).
#![allow(missing_docs, unsafe_code, clippy::disallowed_methods)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use trunkstream::base::pcm::SampleRate;
use trunkstream::base::random::Random;
use trunkstream::base::rtp_format::PCMU;
use trunkstream::config::{Fill, IdleTx, JitterDelay, MediaNat};
use trunkstream::media::rtp::packet::Packet;
use trunkstream::media::{MediaFormat, MediaSession, MediaSettings};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One call and its clock.
struct Call {
    session: MediaSession,
    now: Instant,
    sequence: u16,
    timestamp: u32,
    datagram: Vec<u8>,
    heard: Vec<i16>,
    spoken: Vec<i16>,
    out: Vec<u8>,
}

impl Call {
    fn new(rate: SampleRate) -> Self {
        let now = Instant::now();
        let settings = MediaSettings {
            nat: MediaNat::Auto,
            media_acl: Vec::new(),
            relearn_after_silence: false,
            dtmf_mute: true,
            dtmf: trunkstream::config::Dtmf::default(),
            idle_tx: IdleTx::Silence,
            hold_audio_pass: false,
            rtp_timeout: Duration::from_secs(60),
            rtp_start_timeout: Duration::from_secs(10),
            jitter_delay: JitterDelay::default(),
            fill: Fill::Silence,
        };
        let mut session = MediaSession::new(now, settings, &mut Random::from_number(1));
        session.set_format(now, &format(), true);
        session.set_stream_rate(rate);
        let spoken = (0..rate.samples(20)).map(|n| (n * 37 % 9000) as i16).collect();
        let (datagram, heard, out) = (Vec::with_capacity(256), Vec::with_capacity(4096), Vec::with_capacity(256));
        Self { session, now, sequence: 0, timestamp: 0, datagram, heard, spoken, out }
    }

    /// Bytes of what is not the session's.
    fn buffers(&self) -> usize {
        self.datagram.capacity() + self.out.capacity() + 2 * (self.heard.capacity() + self.spoken.capacity())
    }

    /// What a media thread does for a call in 20 ms, system calls and WebSocket aside.
    fn tick(&mut self) {
        self.session.packet(self.now, &self.spoken, &mut self.out);
        let Self { sequence, timestamp, .. } = *self;
        let packet = Packet { marker: false, payload_type: 0, sequence, timestamp, ssrc: 7, payload: &[0x55; 160] };
        packet.write(&mut self.datagram);
        self.session.handle_rtp(self.now, "192.0.2.10:4000".parse().expect("an address"), &self.datagram);
        self.heard.clear();
        self.session.pull(self.now, &mut self.heard);
        while self.session.poll_event().is_some() {}
        black_box((&self.heard, &self.out));
        (self.sequence, self.timestamp) = (sequence.wrapping_add(1), timestamp.wrapping_add(160));
        self.now += Duration::from_millis(20);
    }
}

fn format() -> MediaFormat {
    let remote = "192.0.2.10:4000".parse().expect("an address");
    MediaFormat {
        remote,
        remote_rtcp: remote,
        rtcp_mux: true,
        format: PCMU,
        payload_type: 0,
        telephone_event: Some((101, 8000)),
        comfort_noise: None,
        ptime_ms: 20,
        send: true,
        receive: true,
        held: false,
    }
}

fn media_path(criterion: &mut Criterion) {
    for rate in [SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz24000] {
        Call::new(rate).tick(); // tables and plans that all calls share
        let before = BYTES.load(Ordering::Relaxed);
        let mut call = Call::new(rate);
        (0..100).for_each(|_| call.tick());
        let memory = BYTES.load(Ordering::Relaxed) - before + size_of::<MediaSession>() - call.buffers();
        let warm = ALLOCATIONS.load(Ordering::Relaxed);
        (0..5000).for_each(|_| call.tick());
        let allocated = ALLOCATIONS.load(Ordering::Relaxed) - warm;
        println!("{} Hz: {memory} bytes a call, {allocated} allocations in 5000 warm ticks", rate.hz());
        assert_eq!(allocated, 0, "the packet path allocates at {} Hz", rate.hz());
        criterion
            .bench_function(&format!("20 ms both ways at {} Hz", rate.hz()), |bencher| bencher.iter(|| call.tick()));
    }
}

criterion_group!(benches, media_path);
criterion_main!(benches);
