//! The raw loop: the system calls of a call, and no bridge.
//!
//! Per call: one UDP send and one receive every 20 ms, one TCP write of a 100 ms media message and one TCP read of the
//! bot's echo every 100 ms, in four phases of 5 ms with absolute deadlines. It decodes nothing, buffers nothing and
//! decides nothing; the message is a template in which three numbers are counted up.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use rustix::thread::{ClockId, clock_nanosleep_absolute};
use rustix::time::clock_gettime;

use crate::{Failure, told};

const PHASES: usize = 4;
const PHASE_NS: i64 = 5_000_000;
/// Ticks of 20 ms in a chunk.
const CHUNK_TICKS: usize = 5;
/// Digits of a counter in the template.
const DIGITS: usize = 10;

struct Call {
    rtp: UdpSocket,
    caller: SocketAddr,
    bot: TcpStream,
    packet: [u8; 172],
    message: Message,
    tick: usize,
    received: usize,
    due: usize,
}

/// A media message as a masked frame (the mask is zero), with the places of its counters.
struct Message {
    frame: Vec<u8>,
    places: [usize; 3],
    count: u64,
}

/// Sets the calls up as it is told on standard input, says its ports on standard output, and runs until the input ends.
pub fn run(bot: &str) -> Result<bool, Failure> {
    let mut calls =
        told::callers()?.into_iter().map(|caller| Call::open(caller, bot)).collect::<Result<Vec<_>, _>>()?;
    for call in &calls {
        println!("{}", call.rtp.local_addr()?.port());
    }
    told::end_with_input();
    let mut deadline = clock_gettime(ClockId::Monotonic);
    for phase in (0..PHASES).cycle() {
        deadline.tv_nsec += PHASE_NS;
        if deadline.tv_nsec >= 1_000_000_000 {
            deadline.tv_nsec -= 1_000_000_000;
            deadline.tv_sec += 1;
        }
        while clock_nanosleep_absolute(ClockId::Monotonic, &deadline) == Err(rustix::io::Errno::INTR) {}
        for call in calls.iter_mut().skip(phase).step_by(PHASES) {
            call.tick()?;
        }
    }
    Ok(true)
}

impl Call {
    fn open(caller: SocketAddr, bot: &str) -> Result<Self, Failure> {
        let rtp = UdpSocket::bind(("127.0.0.1", 0))?;
        rtp.set_nonblocking(true)?;
        let number = usize::from(caller.port()) / 2;
        let mut packet = [0xff; 172];
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[8..12].copy_from_slice(&(number as u32).to_be_bytes());
        let bot = upgraded(bot)?;
        bot.set_nonblocking(true)?;
        // Calls of one phase write their chunks at different ticks, as calls that began at different times do.
        Ok(Self { rtp, caller, bot, packet, message: Message::new(), tick: number / PHASES, received: 0, due: 0 })
    }

    fn tick(&mut self) -> io::Result<()> {
        self.tick += 1;
        let sequence = (self.tick as u16).to_be_bytes();
        let timestamp = (self.tick as u32).wrapping_mul(160).to_be_bytes();
        self.packet[2..4].copy_from_slice(&sequence);
        self.packet[4..8].copy_from_slice(&timestamp);
        self.rtp.send_to(&self.packet, self.caller)?;
        self.receive()?;
        match self.tick % CHUNK_TICKS {
            0 => self.bot.write_all(self.message.next()),
            1 => self.read(),
            _ => Ok(()),
        }
    }

    /// One packet; a second only when one is behind.
    fn receive(&mut self) -> io::Result<()> {
        let mut packet = [0; 2048];
        self.due += 1;
        loop {
            match self.rtp.recv_from(&mut packet) {
                Ok(_) if self.received == 0 => (self.received, self.due) = (1, 1),
                Ok(_) => self.received += 1,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if self.received + 1 >= self.due {
                return Ok(());
            }
        }
    }

    fn read(&mut self) -> io::Result<()> {
        let mut octets = [0; 16 << 10];
        match self.bot.read(&mut octets) {
            Ok(0) => Err(io::Error::other("the bot closed")),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Message {
    fn new() -> Self {
        let payload = "A".repeat(2134) + "==";
        let zeros = "0".repeat(DIGITS);
        let text = format!(
            "{{\"event\":\"media\",\"sequence_number\":\"{zeros}\",\"stream_sid\":\"{:032}\",\
             \"media\":{{\"chunk\":\"{zeros}\",\"timestamp\":\"{zeros}\",\"payload\":\"{payload}\"}}}}",
            0
        );
        let frame = frame(&text);
        let head = frame.len() - text.len();
        let place = |key: &str| text.find(key).map_or(0, |at| head + at + key.len());
        let places = [place("\"sequence_number\":\""), place("\"chunk\":\""), place("\"timestamp\":\"")];
        Self { frame, places, count: 0 }
    }

    fn next(&mut self) -> &[u8] {
        self.count += 1;
        for (place, number) in self.places.into_iter().zip([self.count + 1, self.count, (self.count - 1) * 100]) {
            let mut rest = number;
            for digit in self.frame[place..place + DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        &self.frame
    }
}

/// A client's text frame (RFC 6455 section 5.2) with a mask of zero.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(length @ 0..=125) => frame.push(0x80 | length),
        _ => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    frame
}

/// A WebSocket to the bot with `connected` and `start` behind it.
fn upgraded(bot: &str) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(bot)?;
    stream.set_nodelay(true)?;
    write!(
        stream,
        "GET /media?sample-rate=8000 HTTP/1.1\r\nHost: {bot}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    let mut octet = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut octet)?;
        answer.push(octet[0]);
    }
    if !answer.starts_with(b"HTTP/1.1 101") {
        return Err("the bot does not upgrade".into());
    }
    let start = "{\"event\":\"start\",\"sequence_number\":\"1\",\"stream_sid\":\"00000000000000000000000000000000\",\
                 \"start\":{\"media_format\":{\"sample_rate\":\"8000\"}}}";
    stream.write_all(&frame("{\"event\":\"connected\"}"))?;
    stream.write_all(&frame(start))?;
    Ok(stream)
}
