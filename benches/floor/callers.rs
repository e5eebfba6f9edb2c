//! The callers: N calls, driven by one thread, that are set up, kept up and ended.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::sip::{self, Dialog};
use crate::sound::{Recorded, Sound, wall_ns};
use crate::{Failure, arrival};

/// The callers' clock ticks this often; a call sends at one tick in twenty, so arrivals are spread over the 20 ms.
const TICK: Duration = Duration::from_millis(1);
const SLOTS: u64 = 20;
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
    /// A call whose arrivals are not noted.
    left_out: Option<usize>,
    bridge: Option<SocketAddr>,
    /// From INVITE to 200, ns.
    setups: Vec<u64>,
    failure: Option<String>,
}

struct Call {
    rtp: UdpSocket,
    /// Bound so that the bridge's RTCP finds a socket; never read.
    _rtcp: UdpSocket,
    remote: Option<SocketAddr>,
    sound: Sound,
    dialog: Option<Dialog>,
    stage: Stage,
    sent_at: Instant,
    /// When the first INVITE left, ns since 1970.
    invited_at: u64,
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
        arrival::stamp(&signalling)?;
        Ok(Self {
            calls,
            signalling,
            ticks: 0,
            next_tick: Instant::now(),
            recorded: None,
            left_out: None,
            bridge: None,
            setups: Vec::new(),
            failure: None,
        })
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
        (self.next_tick, self.bridge) = (Instant::now(), Some(bridge));
        let gap = Duration::from_secs(1) / rate;
        let started = Instant::now();
        for number in 0..self.calls.len() {
            self.run_until(started + gap * number as u32)?;
            let call = &mut self.calls[number];
            call.dialog = Some(Dialog::new(number, local, bridge));
            call.stage = Stage::Inviting;
            call.invited_at = wall_ns();
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
        self.calls.iter_mut().for_each(|call| call.sound.forget_arrival());
        self.recorded = Some(Recorded::default());
    }

    /// What was noted.
    pub fn stop_recording(&mut self) -> Recorded {
        self.recorded.take().unwrap_or_default()
    }

    /// How long each call took from INVITE to 200, ns, by the kernel's time stamps of the answers.
    pub fn setups(&self) -> &[u64] {
        &self.setups
    }

    /// Does not note what comes to this call; returns where the bridge takes its RTP.
    pub fn leave_out(&mut self, number: usize) -> Option<SocketAddr> {
        self.left_out = Some(number);
        self.calls.get(number)?.remote
    }

    /// Calls whose arrivals are noted.
    pub fn noted(&self) -> usize {
        self.calls.len() - usize::from(self.left_out.is_some())
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
            for (number, call) in self.calls.iter_mut().enumerate().skip(slot).step_by(SLOTS as usize) {
                let recorded = self.recorded.as_mut().filter(|_| self.left_out != Some(number));
                call.sound.tick(&call.rtp, call.remote, recorded)?;
            }
            self.signals()?;
        }
        self.failure.take().map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// Takes what the bridge signalled and sends unanswered requests again.
    fn signals(&mut self) -> Result<(), Failure> {
        let mut datagram = [0; 2048];
        while let Ok(Some((length, arrival))) = arrival::receive(&self.signalling, &mut datagram) {
            let Ok(text) = std::str::from_utf8(&datagram[..length]) else { continue };
            if let (Some(ok), Some(bridge)) = (sip::ok_to(text), self.bridge) {
                self.signalling.send_to(ok.as_bytes(), bridge)?;
                self.ended_by_bridge(text);
            } else if let Some(answer) = sip::read(text) {
                self.answered(&answer, arrival)?;
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

    fn answered(&mut self, answer: &sip::Answer, arrival: u64) -> Result<(), Failure> {
        let Some(call) = self.calls.get_mut(answer.call) else { return Ok(()) };
        let (Some(dialog), before) = (call.dialog.as_mut(), call.stage) else { return Ok(()) };
        match (answer.to_invite, answer.code) {
            (true, 100..=199) if before == Stage::Inviting => call.stage = Stage::Ringing,
            (true, 200..=299) => {
                if matches!(before, Stage::Inviting | Stage::Ringing) {
                    dialog.established(answer);
                    (call.remote, call.stage) = (answer.media, Stage::Up);
                    self.setups.push(arrival.saturating_sub(call.invited_at));
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
        Ok(Self {
            rtp,
            _rtcp: rtcp,
            remote: None,
            sound: Sound::new(number),
            dialog: None,
            stage: Stage::Idle,
            sent_at: Instant::now(),
            invited_at: 0,
        })
    }
}
