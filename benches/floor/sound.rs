//! One caller's RTP: a packet every 20 ms with a pulse in it now and then, and a look at what comes back.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::time::SystemTime;

use crate::arrival;

const INTERVAL_NS: u64 = 20_000_000;
const SAMPLE_NS: u64 = 125_000;
const HEADER: usize = 12;
/// Packets from one pulse to the next: 2 s, longer than any delay that is measured.
const PULSE_EVERY: u32 = 100;
/// Samples of a pulse.
const PULSE: usize = 8;
/// The loudest codes of µ-law, positive and negative; whatever has their exponent is a pulse.
const LOUDEST: [u8; 2] = [0x80, 0x00];
const EXPONENT: u8 = 0x70;

/// What was measured in the window.
#[derive(Default)]
pub struct Recorded {
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets that came back.
    pub packets: u64,
    /// |interval - 20 ms| of every two packets that followed each other on a call, ns.
    errors: Vec<u64>,
    /// How long each pulse took to the bot and back, ns.
    echoes: Vec<u64>,
}

impl Recorded {
    /// The percentiles of |interval - 20 ms|, in ms.
    pub fn error_ms<const N: usize>(&mut self, shares: [f64; N]) -> [f64; N] {
        percentiles_ms(&mut self.errors, shares)
    }

    /// The percentiles of the echo's delay, in ms.
    pub fn echo_ms<const N: usize>(&mut self, shares: [f64; N]) -> [f64; N] {
        percentiles_ms(&mut self.echoes, shares)
    }

    /// Packets back for each packet sent.
    pub fn share(&self) -> f64 {
        self.packets as f64 / self.sent as f64
    }
}

/// Percentiles of nanoseconds, in ms; NaN where there are none.
pub fn percentiles_ms<const N: usize>(ns: &mut [u64], shares: [f64; N]) -> [f64; N] {
    ns.sort_unstable();
    let last = ns.len().saturating_sub(1);
    shares.map(|share| ns.get((last as f64 * share) as usize).map_or(f64::NAN, |&ns| ns as f64 / 1e6))
}

/// Nanoseconds since 1970, the clock of the kernel's time stamps.
pub fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A pulse on its way: its sign, and when it left.
struct Pulse {
    sign: usize,
    left: u64,
}

/// The sound of one call.
pub struct Sound {
    packet: [u8; HEADER + 160],
    count: u32,
    last_arrival: Option<u64>,
    pulse: Option<Pulse>,
}

impl Sound {
    /// A soft noise: no code is rare enough to matter, and nothing that could pass for silence.
    pub fn new(number: u32) -> Self {
        let mut packet = [0; HEADER + 160];
        packet[0] = 0x80;
        packet[8..HEADER].copy_from_slice(&(number + 1).to_be_bytes());
        packet[HEADER..].iter_mut().zip(0..).for_each(|(octet, i)| *octet = noise(i));
        // Pulses of different calls do not come together.
        Self { packet, count: number * 37, last_arrival: None, pulse: None }
    }

    /// The next arrival follows none.
    pub fn forget_arrival(&mut self) {
        self.last_arrival = None;
    }

    /// Sends the next packet and takes what has come.
    pub fn tick(
        &mut self,
        socket: &UdpSocket,
        remote: Option<SocketAddr>,
        mut recorded: Option<&mut Recorded>,
    ) -> io::Result<()> {
        if let Some(remote) = remote {
            self.send(socket, remote)?;
            if let Some(recorded) = recorded.as_deref_mut() {
                recorded.sent += 1;
            }
        }
        self.receive(socket, recorded)
    }

    fn send(&mut self, socket: &UdpSocket, remote: SocketAddr) -> io::Result<()> {
        self.count = self.count.wrapping_add(1);
        self.packet[2..4].copy_from_slice(&(self.count as u16).to_be_bytes());
        self.packet[4..8].copy_from_slice(&self.count.wrapping_mul(160).to_be_bytes());
        let pulses = self.count.is_multiple_of(PULSE_EVERY);
        if pulses {
            let sign = (self.count / PULSE_EVERY % 2) as usize;
            self.packet[HEADER..][..PULSE].fill(LOUDEST[sign]);
            self.pulse = Some(Pulse { sign, left: wall_ns() });
        }
        let sent = socket.send_to(&self.packet, remote);
        if pulses {
            self.packet[HEADER..].iter_mut().zip(0..).take(PULSE).for_each(|(octet, i)| *octet = noise(i));
        }
        match sent {
            Err(error) if error.kind() != ErrorKind::ConnectionRefused => Err(error),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, socket: &UdpSocket, mut recorded: Option<&mut Recorded>) -> io::Result<()> {
        let mut packet = [0; 2048];
        while let Some((length, arrival)) = arrival::receive(socket, &mut packet)? {
            if length < HEADER || packet[0] >> 6 != 2 || packet[1] & 0x7f != 0 {
                continue;
            }
            let echo = self.echo(&packet[HEADER..length], arrival);
            if let Some(recorded) = recorded.as_deref_mut() {
                recorded.packets += 1;
                recorded.echoes.extend(echo);
                if let Some(last) = self.last_arrival {
                    recorded.errors.push(arrival.abs_diff(last).abs_diff(INTERVAL_NS));
                }
            }
            self.last_arrival = Some(arrival);
        }
        Ok(())
    }

    /// How long the pulse took, where this payload brings it back.
    fn echo(&mut self, payload: &[u8], arrival: u64) -> Option<u64> {
        let sign = self.pulse.as_ref()?.sign;
        let is_ours = |code: &u8| code & EXPONENT == 0 && (code ^ LOUDEST[sign]) & 0x80 == 0;
        let at = payload.iter().position(is_ours)? as u64;
        let pulse = self.pulse.take()?;
        Some((arrival + at * SAMPLE_NS).saturating_sub(pulse.left))
    }
}

fn noise(i: u32) -> u8 {
    0xc0 | (i * 37 % 64) as u8
}
