//! The callers: N calls that each send a G.711 packet every 20 ms and note when one comes back.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::sip::{self, Dialog};
use crate::{Failure, arrival};

/// The callers' clock ticks this often; a call sends at one tick in twenty, so arrivals are spread over the 20 ms.
const TICK: Duration = Duration::from_millis(1);
const SLOTS: u64 = 20;
const INTERVAL_NS: u64 = 20_000_000;
/// The callers' ports, below what the system hands out by itself and beside the bridge's.
const PORTS: std::ops::Range<u16> = 10_000..20_000;
/// An unanswered request is sent again after this.
const RESEND: Duration = Duration::from_millis(500);

/// All callers of a run, driven by one thread.
pub struct Callers {
    calls: Vec<Call>,
    signalling: UdpSocket,
    ticks: u64,
    next_tick: Instant,
    recorded: Option<Recorded>,
    failure: Option<String>,
}

/// What was measured in the window.
#[derive(Default)]
pub struct Recorded {
    /// RTP packets that came back.
    pub packets: u64,
    /// |interval - 20 ms| of every two packets that followed each other on a call, ns.
    errors: Vec<u32>,
}

struct Call {
    rtp: UdpSocket,
    /// Bound so that the bridge's RTCP finds a socket; never read.
    _rtcp: UdpSocket,
    remote: Option<SocketAddr>,
    packet: [u8; 172],
    sequence: u16,
    last_arrival: Option<u64>,
    dialog: Option<Dialog>,
    stage: Stage,
    sent_at: Instant,
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Idle,
    Inviting,
    Ringing,
    Up,
    Leaving,
    Gone,
    /// The bridge ended it.
    Lost,
}

impl Recorded {
    /// The errors' percentiles, in ms.
    pub fn percentiles_ms<const N: usize>(&mut self, shares: [f64; N]) -> [f64; N] {
        self.errors.sort_unstable();
        let last = self.errors.len().saturating_sub(1);
        shares.map(|share| self.errors.get((last as f64 * share) as usize).map_or(f64::NAN, |&ns| f64::from(ns) / 1e6))
    }
}

impl Callers {
    /// `calls` callers, each with an RTP and an RTCP port; nobody calls yet.
    pub fn new(calls: u32) -> io::Result<Self> {
        let mut pairs = PORTS.step_by(2).filter_map(|port| {
            let bind = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
            Some((bind(port).ok()?, bind(port + 1).ok()?))
        });
        let calls = (0..calls).map(|number| {
            let (rtp, rtcp) = pairs.next().ok_or_else(|| io::Error::other("no free ports for the callers"))?;
            Call::new(number, rtp, rtcp)
        });
        let calls = calls.collect::<io::Result<Vec<_>>>()?;
        let signalling = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        signalling.set_nonblocking(true)?;
        Ok(Self { calls, signalling, ticks: 0, next_tick: Instant::now(), recorded: None, failure: None })
    }

    /// Where the callers take RTP.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.calls.iter().map(|call| call.rtp.local_addr()).collect()
    }

    /// Skips signalling: call i talks to the i-th of `remotes`.
    pub fn talk_to(&mut self, remotes: impl Iterator<Item = SocketAddr>) {
        for (call, remote) in self.calls.iter_mut().zip(remotes) {
            (call.remote, call.stage) = (Some(remote), Stage::Up);
        }
    }

    /// Sends OPTIONS until the bridge answers 200; `alive` says why that cannot happen any more.
    pub fn wait_for_bridge(&self, bridge: SocketAddr, alive: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
        let local = self.signalling.local_addr()?;
        let mut datagram = [0; 2048];
        for attempt in 0..100 {
            alive()?;
            let _ = self.signalling.send_to(sip::options(local, bridge, attempt).as_bytes(), bridge);
            std::thread::sleep(Duration::from_millis(100));
            if let Ok(length) = self.signalling.recv(&mut datagram)
                && datagram[..length].starts_with(b"SIP/2.0 200")
            {
                return Ok(());
            }
        }
        Err("the bridge does not answer OPTIONS".into())
    }

    /// Sets every call up, `rate` a second; returns when all are answered.
    pub fn call(&mut self, bridge: SocketAddr, rate: u32) -> Result<(), Failure> {
        let local = self.signalling.local_addr()?;
        self.next_tick = Instant::now();
        let gap = Duration::from_secs(1) / rate;
        let started = Instant::now();
        for number in 0..self.calls.len() {
            self.run_until(started + gap * number as u32)?;
            let call = &mut self.calls[number];
            call.dialog = Some(Dialog::new(number, local, bridge));
            call.stage = Stage::Inviting;
            self.send_request(number)?;
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.calls.iter().any(|call| call.stage != Stage::Up) {
            self.run_until(Instant::now() + Duration::from_millis(100))?;
            let up = self.calls.iter().filter(|call| call.stage == Stage::Up).count();
            if Instant::now() > deadline {
                return Err(format!("{up} of {} calls were answered", self.calls.len()).into());
            }
        }
        Ok(())
    }

    /// BYE on every call; returns when all are answered, or after 10 s.
    pub fn hang_up(&mut self) -> Result<(), Failure> {
        for number in 0..self.calls.len() {
            if self.calls[number].stage == Stage::Up {
                self.calls[number].stage = Stage::Leaving;
                self.send_request(number)?;
            }
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.calls.iter().any(|call| call.stage == Stage::Leaving) {
            if Instant::now() > deadline {
                return Err("not every BYE was answered".into());
            }
            self.run_until(Instant::now() + Duration::from_millis(50))?;
        }
        Ok(())
    }

    /// From now on arrivals are noted.
    pub fn start_recording(&mut self) {
        self.calls.iter_mut().for_each(|call| call.last_arrival = None);
        self.recorded = Some(Recorded::default());
    }

    /// What was noted.
    pub fn stop_recording(&mut self) -> Recorded {
        self.recorded.take().unwrap_or_default()
    }

    /// Calls that the bridge ended.
    pub fn lost(&self) -> usize {
        self.calls.iter().filter(|call| call.stage == Stage::Lost).count()
    }

    /// Sends and receives, one tick a millisecond, until `end`.
    pub fn run_until(&mut self, end: Instant) -> Result<(), Failure> {
        // What waited while nobody ran is not sent in a burst.
        self.next_tick = self.next_tick.max(Instant::now().checked_sub(TICK * 20).unwrap_or(self.next_tick));
        while self.next_tick < end {
            std::thread::sleep(self.next_tick.saturating_duration_since(Instant::now()));
            self.next_tick += TICK;
            self.ticks += 1;
            let slot = (self.ticks % SLOTS) as usize;
            for call in self.calls.iter_mut().skip(slot).step_by(SLOTS as usize) {
                call.tick(self.recorded.as_mut())?;
            }
            self.signals()?;
        }
        self.failure.take().map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Takes what the bridge signalled and sends unanswered requests again.
    fn signals(&mut self) -> Result<(), Failure> {
        let mut datagram = [0; 4096];
        while let Ok((length, from)) = self.signalling.recv_from(&mut datagram) {
            let Ok(text) = std::str::from_utf8(&datagram[..length]) else { continue };
            if let Some(ok) = sip::ok_to(text) {
                self.signalling.send_to(ok.as_bytes(), from)?;
                self.ended_by_bridge(text);
            } else if let Some(answer) = sip::read(text) {
                self.answered(&answer)?;
            }
        }
        if self.ticks.is_multiple_of(100) {
            let waiting = |call: &Call| matches!(call.stage, Stage::Inviting | Stage::Leaving);
            let late = |call: &Call| waiting(call) && call.sent_at.elapsed() > RESEND;
            let again: Vec<usize> = (0..self.calls.len()).filter(|&number| late(&self.calls[number])).collect();
            again.into_iter().try_for_each(|number| self.send_request(number))?;
        }
        Ok(())
    }

    fn answered(&mut self, answer: &sip::Answer) -> Result<(), Failure> {
        let Some(call) = self.calls.get_mut(answer.call) else { return Ok(()) };
        let (Some(dialog), before) = (call.dialog.as_mut(), call.stage) else { return Ok(()) };
        match (answer.to_invite, answer.code) {
            (true, 100..=199) if before == Stage::Inviting => call.stage = Stage::Ringing,
            (true, 200..=299) => {
                if matches!(before, Stage::Inviting | Stage::Ringing) {
                    dialog.established(answer);
                    (call.remote, call.stage) = (answer.media, Stage::Up);
                }
                let ack = dialog.ack();
                self.send(&ack, answer.call)?;
            }
            (true, 300..) => {
                call.stage = Stage::Lost;
                self.failure = Some(format!("call {} was answered {}", answer.call, answer.code));
            }
            (false, 200..) if before == Stage::Leaving => (call.remote, call.stage) = (None, Stage::Gone),
            _ => {}
        }
        Ok(())
    }

    fn ended_by_bridge(&mut self, request: &str) {
        let number = request.split("floor-").nth(1).and_then(|rest| rest.split('@').next()?.parse::<usize>().ok());
        if request.starts_with("BYE ")
            && let Some(call) = number.and_then(|number| self.calls.get_mut(number))
        {
            (call.remote, call.stage) = (None, Stage::Lost);
        }
    }

    /// INVITE or BYE, as the call's stage asks.
    fn send_request(&mut self, number: usize) -> Result<(), Failure> {
        let call = &mut self.calls[number];
        call.sent_at = Instant::now();
        let Some(dialog) = &call.dialog else { return Ok(()) };
        let request = match call.stage {
            Stage::Inviting => dialog.invite(call.rtp.local_addr()?),
            Stage::Leaving => dialog.bye(),
            Stage::Idle | Stage::Ringing | Stage::Up | Stage::Gone | Stage::Lost => return Ok(()),
        };
        self.send(&request, number)
    }

    fn send(&self, request: &str, number: usize) -> Result<(), Failure> {
        if let Some(dialog) = &self.calls[number].dialog {
            self.signalling.send_to(request.as_bytes(), dialog.bridge())?;
        }
        Ok(())
    }
}

impl Call {
    fn new(number: u32, rtp: UdpSocket, rtcp: UdpSocket) -> io::Result<Self> {
        rtp.set_nonblocking(true)?;
        arrival::stamp(&rtp)?;
        let mut packet = [0; 172];
        packet[0] = 0x80;
        packet[8..12].copy_from_slice(&(number + 1).to_be_bytes());
        // A soft noise: no code is rare enough to matter, and nothing that could pass for silence.
        packet[12..].iter_mut().zip(0u32..).for_each(|(octet, i)| *octet = 0xc0 | (i * 37 % 64) as u8);
        Ok(Self {
            rtp,
            _rtcp: rtcp,
            remote: None,
            packet,
            sequence: 0,
            last_arrival: None,
            dialog: None,
            stage: Stage::Idle,
            sent_at: Instant::now(),
        })
    }

    /// Sends the next packet and takes what has come.
    fn tick(&mut self, recorded: Option<&mut Recorded>) -> io::Result<()> {
        if let Some(remote) = self.remote {
            self.sequence = self.sequence.wrapping_add(1);
            let timestamp = u32::from_be_bytes([self.packet[4], self.packet[5], self.packet[6], self.packet[7]]);
            self.packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
            self.packet[4..8].copy_from_slice(&timestamp.wrapping_add(160).to_be_bytes());
            match self.rtp.send_to(&self.packet, remote) {
                Err(error) if error.kind() != ErrorKind::ConnectionRefused => return Err(error),
                _ => {}
            }
        }
        self.receive(recorded)
    }

    fn receive(&mut self, mut recorded: Option<&mut Recorded>) -> io::Result<()> {
        let mut packet = [0; 2048];
        while let Some((length, arrival)) = arrival::receive(&self.rtp, &mut packet)? {
            if length < 12 || packet[0] >> 6 != 2 || packet[1] & 0x7f != 0 {
                continue;
            }
            if let Some(recorded) = recorded.as_deref_mut() {
                recorded.packets += 1;
                if let Some(last) = self.last_arrival {
                    let error = arrival.abs_diff(last).abs_diff(INTERVAL_NS);
                    recorded.errors.push(u32::try_from(error).unwrap_or(u32::MAX));
                }
            }
            self.last_arrival = Some(arrival);
        }
        Ok(())
    }
}
