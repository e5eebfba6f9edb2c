//! A bot made with pipecat, as its users make one, on a real call: it was written for AgentStream and does not know
//! whom it talks to. tshark, which knows neither, judges the RTP that comes back.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use trunkstream::base::random::Random;
use trunkstream::base::rtp_format::PCMU;
use trunkstream::lab::pbx::align::compare;
use trunkstream::lab::pbx::{CallPlan, CallReport, Callee, Impairment, Line, LineSettings, Sound, place};
use trunkstream::media::codec;

use crate::bridge::{ACCOUNT, Bridge, NUMBER, Setup, directory, lines_of, next};
use crate::within;

/// Seconds that Python may take to import pipecat on a busy machine.
const IMPORTS: u64 = 60;
/// How long the caller speaks.
const SPEECH: Duration = Duration::from_secs(3);

/// tests/pipecat/bot.py as a process of its own.
struct Pipecat {
    child: Child,
    journal: watch::Receiver<Vec<String>>,
    url: String,
}

impl Pipecat {
    async fn start() -> Self {
        let python = std::env::var_os("PIPECAT_PYTHON").map_or_else(|| in_project(".venv/bin/python"), PathBuf::from);
        assert!(
            python.exists(),
            "{} is missing: `make test` sets up pipecat in .venv and runs this test with it",
            python.display()
        );
        let mut child = Command::new(python)
            .arg(in_project("tests/pipecat/bot.py"))
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let journal = lines_of(child.stdout.take().expect("a pipe"));
        let mut bot = Self { child, journal, url: String::new() };
        let listening = bot.noted(IMPORTS, 0, "listening").await;
        bot.url = format!("ws://127.0.0.1:{}/media?sample-rate=8000", listening["port"]);
        bot
    }

    /// Everything noted about a connection, in order.
    fn notes(&self, connection: u64) -> Vec<Value> {
        let lines = self.journal.borrow();
        let notes = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        notes.filter(|note| note["connection"] == connection).collect()
    }

    /// Waits for a note.
    async fn noted(&self, seconds: u64, connection: u64, event: &str) -> Value {
        let mut journal = self.journal.clone();
        let wait = async {
            loop {
                journal.borrow_and_update();
                if let Some(note) = self.notes(connection).into_iter().find(|note| note["event"] == event) {
                    return note;
                }
                journal.changed().await.unwrap_or_else(|_| panic!("the bot ended before {event:?}"));
            }
        };
        within(seconds, event, wait).await
    }

    /// The digits that pipecat's pipeline saw on a connection.
    fn digits(&self, connection: u64) -> String {
        let notes = self.notes(connection);
        let digits =
            notes.iter().filter(|note| note["event"] == "dtmf_frame").filter_map(|note| note["digit"].as_str());
        digits.collect()
    }
}

impl Drop for Pipecat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the bot noted:\n{}", self.journal.borrow().join("\n"));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn in_project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// dumpcap on loopback: what comes from one bridge's RTP ports.
struct Capture {
    child: Child,
    directory: PathBuf,
}

impl Capture {
    async fn start((first, last): (u16, u16)) -> Self {
        let directory = directory();
        let mut child = Command::new("dumpcap")
            .args(["-q", "-i", "lo", "-f", &format!("udp src portrange {first}-{last}"), "-w"])
            .arg(directory.join("rtp.pcap"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dumpcap starts: it is part of tshark");
        let mut said = lines_of(child.stderr.take().expect("a pipe"));
        // It names the file once the capture runs.
        let running = said.wait_for(|lines| lines.iter().any(|line| line.starts_with("File:")));
        within(20, "dumpcap captures", running).await.expect("dumpcap may capture: run as root or give it the rights");
        Self { child, directory }
    }

    /// Stops, and tshark's table of the RTP streams that came from `port`, one row of columns each.
    fn streams(mut self, port: u16) -> Vec<Vec<String>> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("a child of ours");
        let _ = self.child.wait();
        let table = Command::new("tshark")
            .arg("-r")
            .arg(self.directory.join("rtp.pcap"))
            .args(["-d", &format!("udp.port=={port},rtp"), "-q", "-z", "rtp,streams"])
            .output()
            .expect("tshark runs");
        let table = String::from_utf8_lossy(&table.stdout).into_owned();
        println!("{table}");
        let rows = table.lines().filter(|line| line.contains("127.0.0.1"));
        rows.map(|row| row.split_whitespace().map(str::to_owned).collect()).collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Number and URL suffix of each call: its flow is how its connection is found in the bot's journal.
const CALLS: [(&str, &str); 3] = [(NUMBER, "echo"), ("1002", "interrupt"), ("1003", "hangup")];
/// RTP ports of this test's bridge alone, so that what is captured is its own.
const RTP: (u16, u16) = (30_000, 30_099);

/// Random G.711 codes, as sound: every code comes, and no two places are alike.
fn every_code(seed: u64, length: Duration) -> Sound {
    let mut codes = vec![0; length.as_millis() as usize * 8];
    Random::from_number(seed).fill(&mut codes);
    let mut samples = Vec::new();
    codec::of_format(&PCMU).expect("PCMU is there").decoder().decode(&codes, &mut samples);
    Sound { samples: samples.into(), after: Duration::from_millis(500), again: false }
}

/// One call: says `sound`, presses `digits` at `digits_at`, hangs up after `seconds`.
async fn call(bridge: &Bridge, number: &str, sound: &Sound, digits: (&str, f64), seconds: f64) -> CallReport {
    let address = "127.0.0.1".parse().expect("an address");
    let line = Line::open(&LineSettings::udp(address, None, next().into())).expect("a port");
    let plan = CallPlan {
        callee: Callee::at(&format!("sip:{number}@{}", bridge.sip), bridge.sip),
        from: "0911".to_owned(),
        headers: vec![("X-Exotel-AccountSid".to_owned(), ACCOUNT.to_owned())],
        sound: sound.clone(),
        capture: None,
        digits: digits.0.to_owned(),
        digits_at: Duration::from_secs_f64(digits.1),
        duration: Duration::from_secs_f64(seconds),
        patience: Duration::from_secs(11),
        formats: vec![PCMU],
        srtp: false,
        impairment: Impairment::default(),
        record: true,
    };
    let report = place(&line, &plan, Random::from_number(next().into())).await;
    line.close().await;
    report
}

/// The record of the call to `number`'s flow, and its connection at the bot.
async fn found(bridge: &Bridge, bot: &Pipecat, flow: &str) -> (Value, u64) {
    for count in 1..=CALLS.len() {
        let record = bridge.record(count).await;
        let index = CALLS.iter().position(|(_, name)| *name == flow).expect("one of ours");
        if record["flow"] != format!("flow{index}") {
            continue;
        }
        for connection in 1..=CALLS.len() as u64 {
            let open = bot.noted(5, connection, "open").await;
            if open["path"].as_str().is_some_and(|path| path.ends_with(&format!("flow={flow}"))) {
                return (record, connection);
            }
        }
    }
    panic!("no call for {flow}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipecat_bot_echoes_bit_exact_sees_digits_is_interrupted_and_hangs_up() {
    let bot = Pipecat::start().await;
    let url = |flow: &str| format!("{}&flow={flow}", bot.url);
    let mut setup =
        Setup::to(&url(CALLS[0].1)).and(CALLS[1].0, &url(CALLS[1].1), "").and(CALLS[2].0, &url(CALLS[2].1), "");
    setup.rtp = RTP;
    let (bridge, capture) = tokio::join!(Bridge::start(&setup), Capture::start(RTP));
    let (speech, endless) = (every_code(1, SPEECH), Sound { again: true, ..every_code(2, SPEECH) });
    let (echoed, interrupted, hung_up) = tokio::join!(
        call(&bridge, CALLS[0].0, &speech, ("15", 4.5), 6.5),
        call(&bridge, CALLS[1].0, &endless, ("*", 2.0), 5.0),
        call(&bridge, CALLS[2].0, &endless, ("9", 2.0), 12.0),
    );
    is_an_exact_echo(&echoed, &speech);
    let (_, connection) = found(&bridge, &bot, "echo").await;
    assert_eq!(bot.digits(connection), "15");
    let detected = bot.noted(1, connection, "detected").await;
    assert_eq!(detected["transport"], "exotel", "{detected}");
    let port = echoed.media.as_ref().expect("answered").remote.port();
    is_good_rtp(&capture.streams(port));
    was_interrupted(&interrupted, &bot, found(&bridge, &bot, "interrupt").await);
    let (record, connection) = found(&bridge, &bot, "hangup").await;
    assert_eq!(hung_up.outcome.to_string(), "answered; the other side hung up (Q.850;cause=16)");
    assert_eq!(bot.digits(connection), "9");
    assert_eq!(
        (&record["streams"][0]["Status"], &record["streams"][0]["DisconnectedBy"]),
        (&"completed".into(), &"bot".into())
    );
}

/// Every sample came back as it was said. pipecat paces its audio by Python's clock: where that is late there is a pause
/// between two samples, and nothing else.
fn is_an_exact_echo(report: &CallReport, said: &Sound) {
    assert_eq!(report.outcome.to_string(), "answered; we hung up");
    let heard = &report.media.as_ref().expect("answered").heard;
    assert_eq!((heard.lost(), heard.duplicate(), heard.ssrcs().len()), (0, 0, 1));
    let found = compare(&said.samples, heard.samples()).expect("the echo is there");
    println!("{found:?}");
    assert_eq!(found.exact, found.total, "{found:?}");
    assert!(found.deviations.iter().all(|deviation| deviation.said == 0), "{found:?}");
}

/// tshark's row for what the bridge sent: nothing lost, a packet every 20 ms, one sender.
fn is_good_rtp(streams: &[Vec<String>]) {
    let [row] = streams else { panic!("one SSRC, not {}: {streams:?}", streams.len()) };
    let [payload, packets, lost, mean] = [7, 8, 9, 12].map(|column| row[column].as_str());
    assert_eq!((payload, lost), ("g711U", "0"), "{row:?}");
    assert!(packets.parse().is_ok_and(|count: u32| (315..=335).contains(&count)), "{row:?}");
    assert!(mean.parse().is_ok_and(|mean: f64| (mean - 20.0).abs() < 0.1), "{row:?}");
}

/// `*` made pipecat send `clear` while its audio was queued, and the echo went on afterwards.
fn was_interrupted(report: &CallReport, bot: &Pipecat, (record, connection): (Value, u64)) {
    assert_eq!(report.outcome.to_string(), "answered; we hung up");
    assert_eq!(bot.digits(connection), "*");
    let figures = &record["streams"][0]["figures"];
    assert_eq!(figures["clears"], 1, "{figures}");
    assert!(figures["queue_max_ms"].as_u64().is_some_and(|queued| queued > 0), "{figures}");
    let heard = &report.media.as_ref().expect("answered").heard;
    let last_second = heard.samples().rchunks(8_000).next().unwrap_or_default();
    let loud = last_second.iter().filter(|sample| sample.unsigned_abs() > 1_000).count();
    assert!(loud > 2_000, "the echo does not go on after the interruption: {loud} of 8000 samples");
}
