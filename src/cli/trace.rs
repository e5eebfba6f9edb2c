//! `trunkstream trace`: what happened to one call, from a running bridge, as a capture.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::api::trace::{MOST_SECONDS, Selection, TraceRequest};
use crate::lab::pcap;

/// The bridge answers a request at once; what follows takes as long as the trace.
const ANSWER: Duration = Duration::from_secs(10);
/// Head of an HTTP answer at most, in octets.
const HEAD: usize = 16 * 1024;

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The bridge holds the latest SIP messages, so a call can be asked for after it went wrong; RTP is \
                        held only while somebody asks for it (--rtp, --arm).\n\
                        Credentials, SRTP keys, digits and the values of X- headers and User-to-User are masked.\n\n\
                        trunkstream trace --call-id 1a2b@pbx -w call.pcapng\n  \
                        trunkstream trace --number 1000 --rtp | wireshark -k -i -\n  \
                        trunkstream trace --trunk pbx --arm --for 1h"
)]
pub struct TraceArgs {
    #[command(flatten)]
    calls: Calls,
    /// With RTP and RTCP, from now on; SRTP is shown decrypted
    #[arg(long)]
    rtp: bool,
    /// How long: 90, 90s, 10m, 2h; 0 is what is held now. A call known by its id ends the trace when it ends
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = seconds)]
    time: u32,
    /// The file to write; "-" is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    write: PathBuf,
    /// Hold RTP of these calls for that long and write nothing now: ask again when one of them was bad
    #[arg(long)]
    arm: bool,
    /// Mask nothing; the bridge must allow it (`allow_unmasked` in [trace])
    #[arg(long)]
    unmasked: bool,
    /// The bridge's admin listener (`listen` in [admin]), on this machine
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9090")]
    admin: SocketAddr,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Calls {
    /// The call with this SIP Call-ID
    #[arg(long, value_name = "ID")]
    call_id: Option<String>,
    /// The call with this call_sid, as the log and the bot have it
    #[arg(long, value_name = "SID")]
    call_sid: Option<String>,
    /// Calls from this number
    #[arg(long, value_name = "NUMBER")]
    from: Option<String>,
    /// Calls to this number
    #[arg(long, value_name = "NUMBER")]
    number: Option<String>,
    /// Calls of this trunk
    #[arg(long, value_name = "NAME")]
    trunk: Option<String>,
}

impl Calls {
    fn selection(&self) -> Selection {
        let Self { call_id, call_sid, from, number, trunk } = self;
        let by_id = call_id.clone().map(Selection::CallId).or(call_sid.clone().map(Selection::CallSid));
        let by_number = from.clone().map(Selection::From).or(number.clone().map(Selection::Number));
        let found = by_id.or(by_number).or(trunk.clone().map(Selection::Trunk));
        found.expect("clap asks for exactly one of the group")
    }
}

fn seconds(text: &str) -> Result<u32, String> {
    let (count, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(count) => (count, &text[count.len()..]),
        None => (text, "s"),
    };
    let factor = match unit {
        "m" => 60,
        "h" => 3600,
        _ => 1,
    };
    let seconds = count.parse::<u32>().ok().and_then(|count| count.checked_mul(factor));
    let seconds = seconds.ok_or_else(|| "expected a number of seconds, or one with s, m or h".to_owned())?;
    if seconds > MOST_SECONDS { Err("a trace lasts a day at most".into()) } else { Ok(seconds) }
}

/// Writes a trace. Exit code 0 where there is a packet in it, 1 where there is none.
///
/// # Errors
/// The bridge cannot be reached or refuses, or the file cannot be written.
pub fn run(arguments: &TraceArgs) -> anyhow::Result<ExitCode> {
    let TraceArgs { calls, rtp, time, arm, unmasked, .. } = arguments;
    let request = TraceRequest { of: calls.selection(), for_seconds: *time, rtp: *rtp, unmasked: *unmasked, arm: *arm };
    let to_output = arguments.write == Path::new("-");
    ensure!(
        *arm || !to_output || !std::io::stdout().is_terminal(),
        "a capture is not for a terminal: name a file with -w, or pipe it into `tshark -r -`"
    );
    let mut answer = asked(arguments.admin, &request)?;
    if *arm {
        eprintln!("armed for {time} s: RTP of {} is held", request.of);
        return Ok(ExitCode::SUCCESS);
    }
    let mut out: Box<dyn Write> = if to_output {
        Box::new(std::io::stdout())
    } else {
        let file = File::create(&arguments.write);
        Box::new(file.with_context(|| format!("{} cannot be written", arguments.write.display()))?)
    };
    eprintln!("tracing {}, {time} s at most", request.of);
    let mut count = Count::default();
    let mut part = vec![0; 64 * 1024];
    loop {
        match answer.read(&mut part).context("the bridge ended the trace")? {
            0 => break,
            length => {
                count.add(&part[..length]);
                out.write_all(&part[..length]).and_then(|()| out.flush()).context("the capture cannot be written")?;
            }
        }
    }
    eprintln!("{} packets", count.packets);
    Ok(if count.packets > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends the request; what is read from the answer is the capture.
fn asked(admin: SocketAddr, request: &TraceRequest) -> anyhow::Result<impl Read + use<>> {
    let body = serde_json::to_string(request).context("a request is JSON")?;
    let connect = TcpStream::connect_timeout(&admin, ANSWER);
    let mut stream = connect.with_context(|| {
        format!("no bridge answers at {admin}: is it running, and is that `listen` in its [admin]? (--admin)")
    })?;
    stream.set_read_timeout(Some(ANSWER))?;
    // HTTP/1.0: the body is all that follows.
    let head = format!("POST /trace HTTP/1.0\r\nHost: {admin}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes())?;
    let (head, rest) = head_of(&mut stream)?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let mut reason = rest;
        stream.take(1024).read_to_end(&mut reason)?;
        bail!("the bridge refuses: {}", String::from_utf8_lossy(&reason).trim());
    }
    stream.set_read_timeout(None)?;
    Ok(std::io::Cursor::new(rest).chain(stream))
}

/// The head of an answer, and what of its body came with it.
fn head_of(stream: &mut impl Read) -> anyhow::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut part = [0; 1024];
    loop {
        if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
            let rest = head.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&head).into_owned(), rest));
        }
        let length = stream.read(&mut part).context("no answer from the bridge")?;
        ensure!(length > 0 && head.len() < HEAD, "what answers there is no bridge");
        head.extend_from_slice(&part[..length]);
    }
}

/// Counts packets of a pcapng as it passes.
#[derive(Default)]
struct Count {
    packets: u64,
    block: Vec<u8>,
}

impl Count {
    fn add(&mut self, part: &[u8]) {
        self.block.extend_from_slice(part);
        while let Some((kind, length)) = pcap::block(&self.block).filter(|(_, length)| *length <= self.block.len()) {
            self.packets += u64::from(kind == pcap::ENHANCED_PACKET);
            self.block.drain(..length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_or_without_a_unit_and_at_most_a_day() {
        assert_eq!(
            [seconds("90"), seconds("90s"), seconds("10m"), seconds("24h")].map(Result::ok),
            [Some(90), Some(90), Some(600), Some(86_400)]
        );
        for wrong in ["", "s", "-1", "1d", "25h", "99999999h"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_head_of_an_answer_ends_where_its_body_begins() {
        let mut answer = std::io::Cursor::new(b"HTTP/1.0 200 OK\r\na: b\r\n\r\nbody".to_vec());
        let (head, rest) = head_of(&mut answer).expect("a head");
        assert_eq!((head.as_str(), rest.as_slice()), ("HTTP/1.0 200 OK\r\na: b\r\n\r\n", &b"body"[..]));
        assert!(head_of(&mut std::io::Cursor::new(b"SSH-2.0\r\n".to_vec())).is_err());
    }

    #[test]
    fn packets_are_counted_however_the_capture_is_cut() {
        let block = |kind: u32| [kind.to_le_bytes(), 16u32.to_le_bytes(), [0; 4], 16u32.to_le_bytes()].concat();
        let file = [block(0x0A0D_0D0A), block(1), block(6), block(6)].concat();
        for size in [1, 7, 64] {
            let mut count = Count::default();
            file.chunks(size).for_each(|part| count.add(part));
            assert_eq!(count.packets, 2);
        }
    }
}
