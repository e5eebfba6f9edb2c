//! What is disturbed and must not show it: a stall of the process, a flood on one port, a busy loop on the same core.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Failure;
use crate::process::Process;
use crate::system::{Load, Running, Setting, System};
use crate::variants::Session;

const STALL: Duration = Duration::from_millis(500);
/// After a stall the delay may take this long to be what it was.
const RECOVERY: Duration = Duration::from_secs(1);
/// The delay is what it was within a frame.
const FRAME_MS: f64 = 20.0;
/// As many datagrams at once as the bridge reads of a call in a tick; this often.
const FLOOD: usize = 64;
const FLOOD_EVERY: Duration = Duration::from_millis(5);

/// SIGSTOP for half a second: a second later the delay is what it was, and what comes in goes out.
pub fn stall(session: &mut Session) -> Result<(), Failure> {
    let load = Load { system: System::Bridge(Setting::default()), calls: (session.calls / 5).max(1) };
    let window = session.window / 2;
    let mut running = Running::start(load, &session.apart)?;
    let before = running.measure(window)?;
    running.system.signal(Signal::STOP)?;
    let stopped = running.callers.run_until(Instant::now() + STALL);
    running.system.signal(Signal::CONT)?;
    stopped?;
    running.callers.run_until(Instant::now() + RECOVERY)?;
    let after = running.measure(window)?;
    running.end()?;
    before.print();
    after.print();
    let verdict = &mut session.verdict;
    for (share, at) in [(50, 0), (95, 1)] {
        verdict.at_most(
            format!("echo delay p{share}, 1 s after a stall of 500 ms, over that before, ms"),
            after.echo_ms[at] - before.echo_ms[at],
            FRAME_MS,
        );
    }
    verdict.at_least("RTP out for each packet in, 1 s after the stall", after.share, 0.999);
    verdict.holds(after.lost_calls == 0, format!("stall: {} calls lost", after.lost_calls));
    verdict.ratio(after.echo_ms[0] / before.echo_ms[0]);
    Ok(())
}

/// A flood on the first call's port is that call's trouble.
pub fn flood(session: &mut Session) -> Result<(), Failure> {
    let load = Load { system: System::Bridge(Setting::default()), calls: (session.calls / 5).max(2) };
    let window = session.window / 2;
    let mut running = Running::start(load, &session.apart)?;
    let target = running.callers.leave_out(0).ok_or("the first call has no RTP address")?;
    let before = running.measure(window)?;
    let flood = Flood::start(target)?;
    let during = running.measure(window);
    let sent = flood.stop()?;
    let during = during?;
    running.end()?;
    before.print();
    during.print();
    let verdict = &mut session.verdict;
    verdict.at_most(
        "RTP interval error p99 of the other calls under a flood, over that before, ms",
        during.p99() - before.p99(),
        1.0,
    );
    verdict.holds(during.lost_calls == 0, format!("flood: {} calls lost", during.lost_calls));
    verdict.holds(sent > 0, "flood: nothing was sent".into());
    verdict.remark(format!("flood: {:.0} datagrams a second on one port", sent as f64 / window.as_secs_f64()));
    verdict.ratio(during.p99() / before.p99());
    Ok(())
}

/// A busy loop shares the bridge's core; the media threads go first.
pub fn loaded(session: &mut Session) -> Result<(), Failure> {
    let setting = Setting { realtime: 50, ..Setting::default() };
    let load = Load { system: System::Bridge(setting), calls: session.calls };
    let busy = Process::start_own(&session.apart.system, "spin", &[])?;
    let mut running = Running::start(load, &session.apart)?;
    let figures = running.measure(session.window)?;
    running.end()?;
    busy.end()?;
    figures.print();
    let what = "RTP interval error p99 under SCHED_FIFO on a loaded core, ms";
    if figures.is_realtime {
        session.verdict.at_most(what, figures.p99(), 2.0);
    } else {
        session.verdict.show(what, figures.p99());
        session.verdict.remark("no right to SCHED_FIFO (CAP_SYS_NICE or LimitRTPRIO): the loaded core is not judged");
    }
    Ok(())
}

/// Strangers' RTP, a burst at a time.
struct Flood {
    on: Arc<AtomicBool>,
    thread: JoinHandle<std::io::Result<u64>>,
}

impl Flood {
    fn start(target: SocketAddr) -> Result<Self, Failure> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let on = Arc::new(AtomicBool::new(true));
        let told = on.clone();
        let thread = std::thread::spawn(move || {
            let mut packet = [0xff; 172];
            packet[..2].copy_from_slice(&[0x80, 0]);
            let mut sent = 0_u64;
            while told.load(Ordering::Relaxed) {
                for _ in 0..FLOOD {
                    packet[2..4].copy_from_slice(&(sent as u16).to_be_bytes());
                    packet[4..8].copy_from_slice(&(sent as u32).wrapping_mul(160).to_be_bytes());
                    sent += u64::from(socket.send_to(&packet, target).is_ok());
                }
                std::thread::sleep(FLOOD_EVERY);
            }
            Ok(sent)
        });
        Ok(Self { on, thread })
    }

    /// Datagrams sent.
    fn stop(self) -> Result<u64, Failure> {
        self.on.store(false, Ordering::Relaxed);
        Ok(self.thread.join().map_err(|_| "the flood's thread has panicked")??)
    }
}

/// Burns its core until its input ends.
pub fn spin() -> ! {
    crate::told::end_with_input();
    loop {
        std::hint::spin_loop();
    }
}
