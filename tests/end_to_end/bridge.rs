//! `trunkstream serve` as a process of its own: its configuration, its log, its end.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::watch;

use crate::within;

/// The account of every call.
pub const ACCOUNT: &str = "acc1";
/// The number of the flow that [`Setup::to`] makes.
pub const NUMBER: &str = "08061234567";

/// What a bridge is started with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Called number and its voicebot step's lines.
    flows: Vec<(String, String)>,
    /// Lines of `[limits]`.
    pub limits: String,
    /// Lines of `[log]`.
    pub log: String,
    /// `call_records` in place of a file of the bridge's own.
    pub records: Option<PathBuf>,
    /// Lines of `[trace]`.
    pub trace: String,
    /// First and last port for RTP: outside of what the system gives out by itself.
    pub rtp: (u16, u16),
    /// Where it takes calls and media.
    pub host: IpAddr,
    /// More entries of `sip.listen`.
    pub listen: Vec<String>,
    /// Lines of `[sip]`.
    pub sip: String,
    /// Lines of the trunk.
    pub trunk: String,
}

impl Setup {
    /// [`NUMBER`] leads to the bot at `url`.
    pub fn to(url: &str) -> Self {
        let setup = Self {
            flows: Vec::new(),
            limits: String::new(),
            log: String::new(),
            records: None,
            trace: String::new(),
            rtp: (20_000, 29_999),
            host: Ipv4Addr::LOCALHOST.into(),
            listen: Vec::new(),
            sip: String::new(),
            trunk: "allow = [\"127.0.0.0/8\", \"::1\"]".to_owned(),
        };
        setup.and(NUMBER, url, "")
    }

    /// One more number, whose voicebot step has these `lines` beside its URL.
    pub fn and(mut self, number: &str, url: &str, lines: &str) -> Self {
        self.flows.push((number.to_owned(), format!("url = {url:?}\n{lines}\n")));
        self
    }

    /// Lines for the step of [`NUMBER`].
    pub fn with(mut self, lines: &str) -> Self {
        self.flows[0].1.push_str(lines);
        self
    }

    fn text(&self, directory: &Path, sip: SocketAddr, admin: SocketAddr) -> String {
        let (first, last) = self.rtp;
        let records = self.records.clone().unwrap_or_else(|| directory.join("calls.jsonl"));
        let listen: Vec<String> =
            [format!("udp:{sip}")].iter().chain(&self.listen).map(|one| format!("{one:?}")).collect();
        let mut text = format!(
            "[sip]\nlisten = [{}]\n{}\n[media]\nlisten_address = \"{}\"\nrtp_ports = \"{first}-{last}\"\n\
             threads = 1\njitter_buffer_start_milliseconds = 60\njitter_buffer_min_milliseconds = 60\n\
             jitter_buffer_max_milliseconds = 60\n[admin]\nlisten = \"{admin}\"\n[limits]\n{}\n[log]\ncall_records = {records:?}\n{}\n\
             [[account]]\nsid = \"{ACCOUNT}\"\nmax_streams = 100\n\
             [[trunk]]\nname = \"lab\"\naccount = \"{ACCOUNT}\"\n{}\n[trace]\n{}\n",
            listen.join(", "),
            self.sip,
            self.host,
            self.limits,
            self.log,
            self.trunk,
            self.trace
        );
        for (index, (number, step)) in self.flows.iter().enumerate() {
            let _ = write!(
                text,
                "[[number]]\nnumber = \"{number}\"\naccount = \"{ACCOUNT}\"\nflow = \"flow{index}\"\n\
                 [[flow]]\nid = \"flow{index}\"\nstart = \"talk\"\n[flow.step.talk]\napplet = \"voicebot\"\n{step}\n"
            );
        }
        text
    }
}

/// A running bridge; dropping it kills it.
pub struct Bridge {
    child: Child,
    lines: watch::Receiver<Vec<String>>,
    directory: PathBuf,
    /// Where it takes calls.
    pub sip: SocketAddr,
    /// Where its operator looks.
    pub admin: SocketAddr,
}

impl Bridge {
    /// Starts a bridge and waits until it takes calls.
    pub async fn start(setup: &Setup) -> Self {
        let directory = directory();
        let (sip, admin) = (free_address_of(setup.host), free_address());
        let file = directory.join("trunkstream.toml");
        std::fs::write(&file, setup.text(&directory, sip, admin)).expect("a file in target/tmp");
        let mut child = trunkstream(&["serve", "--config", &file.display().to_string()])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let lines = lines_of(child.stderr.take().expect("a pipe"));
        let bridge = Self { child, lines, directory, sip, admin };
        bridge.logged("ready for calls").await;
        bridge
    }

    /// Waits for a line of the log that contains `text`; the first such line.
    pub async fn logged(&self, text: &str) -> String {
        self.logged_times(text, 1).await
    }

    /// Waits for the `count`th line of the log that contains `text`.
    pub async fn logged_times(&self, text: &str, count: usize) -> String {
        let mut lines = self.lines.clone();
        let find = |lines: &Vec<String>| lines.iter().filter(|line| line.contains(text)).nth(count - 1).cloned();
        let wait = async {
            loop {
                if let Some(line) = find(&lines.borrow_and_update()) {
                    return Some(line);
                }
                if lines.changed().await.is_err() {
                    return find(&lines.borrow());
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(30), wait).await.ok().flatten();
        found.unwrap_or_else(|| panic!("the log does not say {text:?} {count} times:\n{}", self.log().join("\n")))
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// Waits until the record of the `count`th call that ends is logged; that record, from the file.
    pub async fn record(&self, count: usize) -> Value {
        self.logged_times("trunkstream::call_record", count).await;
        let records = self.records();
        let line = records.lines().nth(count - 1).expect("the file is written before the log");
        serde_json::from_str(line).expect("the record is JSON")
    }

    /// Waits for the first call's record; its only stream.
    pub async fn stream(&self) -> Value {
        self.record(1).await["streams"][0].clone()
    }

    /// The lines of `log.call_records`.
    pub fn records(&self) -> String {
        std::fs::read_to_string(self.directory.join("calls.jsonl")).expect("the record file")
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::TERM).expect("the process is ours");
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).expect("the process is ours");
    }

    /// Waits until the process has ended and all of its log is read.
    pub async fn exited(&mut self) -> ExitStatus {
        let mut lines = self.lines.clone();
        within(10, "the bridge ends", async { while lines.changed().await.is_ok() {} }).await;
        // Its standard error is closed: it is on its way out, or out.
        self.child.wait().expect("a child of ours")
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("the bridge in {} logged:\n{}", self.directory.display(), self.log().join("\n"));
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// The binary under test, deaf to the environment's log filter.
pub fn trunkstream(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkstream"));
    command.args(arguments).env_remove("TRUNKSTREAM_LOG").stdin(Stdio::null());
    command
}

/// The lines of a pipe as they come; the sender goes when the pipe ends.
pub fn lines_of(pipe: impl std::io::Read + Send + 'static) -> watch::Receiver<Vec<String>> {
    let (sender, receiver) = watch::channel(Vec::new());
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            sender.send_modify(|lines| lines.push(line));
        }
    });
    receiver
}

/// A new directory below `target/tmp`.
pub fn directory() -> PathBuf {
    let name = format!("end-to-end-{}-{}", std::process::id(), next());
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("target/tmp can be written");
    directory
}

/// A loopback port that is free for UDP and TCP, below those that the system gives out by itself: nobody takes it
/// between here and the bridge's start.
pub fn free_address() -> SocketAddr {
    free_address_of(Ipv4Addr::LOCALHOST.into())
}

/// The same on another address of this machine.
pub fn free_address_of(host: IpAddr) -> SocketAddr {
    loop {
        let port = 12_000 + ((std::process::id() * 61 + next()) % 8_000) as u16;
        let address = SocketAddr::new(host, port);
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A number that no other test of this process has.
pub fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
