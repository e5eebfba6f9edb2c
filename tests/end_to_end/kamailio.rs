//! A real Kamailio, with the configuration of `deploy/kamailio`, before two bridges: calls go round, a node that drains or
//! dies is passed over, and each call stays with its node (OPS-033, OPS-034, SIP-092).

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::watch;

use crate::bot::{Bot, Port};
use crate::bridge::{Bridge, NUMBER, Setup, directory, lines_of, next};
use crate::phone::{Message, Phone};
use crate::within;

/// Where the proxy is; no trunk has this address.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);

/// A running proxy; dropping it ends it.
struct Kamailio {
    child: Child,
    log: watch::Receiver<Vec<String>>,
    directory: PathBuf,
    address: SocketAddr,
}

impl Kamailio {
    /// A proxy before these bridges; waits until it answers.
    async fn start(bridges: &[&Bridge]) -> Self {
        let (directory, address) = (directory(), free_address());
        let nodes: String = bridges.iter().map(|bridge| format!("1 sip:{}\n", bridge.sip)).collect();
        let list = directory.join("dispatcher.list");
        std::fs::write(&list, nodes).expect("a file in target/tmp");
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kamailio/kamailio.cfg");
        // -DD: in the foreground; -E: the log on standard error; -Y: its sockets and files in the test's own directory.
        let mut child =
            Command::new(if Path::new("/usr/sbin/kamailio").exists() { "/usr/sbin/kamailio" } else { "kamailio" })
                .args(["-DD", "-E", "-m", "16", "-M", "4", "-n", "2", "-Y"])
                .arg(&directory)
                .arg("-f")
                .arg(config)
                .args(["-A", &format!("LISTEN=udp:{address}"), "-A", &format!("NODES=\"{}\"", list.display())])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("kamailio is installed: `make test` sees to it");
        let log = lines_of(child.stderr.take().expect("a pipe"));
        let proxy = Self { child, log, directory, address };
        within(20, "Kamailio answers", proxy.up()).await;
        proxy
    }

    async fn up(&self) {
        loop {
            let mut phone = Phone::new(self.address).await;
            let probe = tokio::time::timeout(Duration::from_millis(300), phone.request("OPTIONS")).await;
            if probe.is_ok_and(|answer| answer.code() == 200) {
                return;
            }
        }
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        // SIGTERM to the first process ends its children too.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("Kamailio logged:\n{}", self.log.borrow().join("\n"));
        } else {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

fn free_address() -> SocketAddr {
    loop {
        let port = 12_000 + ((std::process::id() * 61 + next()) % 8_000) as u16;
        if UdpSocket::bind((PROXY, port)).is_ok() {
            return (PROXY, port).into();
        }
    }
}

/// A bridge that trusts the proxy and takes calls of 127.0.0.1 alone.
async fn node(port: &Port) -> Bridge {
    let mut setup = Setup::to(&port.url("/media"));
    setup.sip = format!("trusted_proxies = [\"{PROXY}\"]");
    setup.trunk = "allow = [\"127.0.0.1/32\"]".to_owned();
    Bridge::start(&setup).await
}

/// A call through the proxy: the caller, what it was answered, and its bot.
async fn call(proxy: &Kamailio, port: &Port) -> (Phone, Message, Bot<tokio::net::TcpStream>) {
    let mut phone = Phone::new(proxy.address).await;
    let (answer, bot) = tokio::join!(phone.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200, "{}", answer.start);
    (phone, answer, bot)
}

/// Whether the node that answered is `bridge`: its own address is in Contact, never the proxy's (OPS-034).
fn is_from(answer: &Message, bridge: &Bridge) -> bool {
    answer.header("Contact").is_some_and(|contact| contact.contains(&bridge.sip.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_033_behind_kamailio_calls_are_spread_and_stay_with_their_node() {
    let port = Port::open().await;
    let (a, b) = (node(&port).await, node(&port).await);
    let proxy = Kamailio::start(&[&a, &b]).await;
    let (mut calls, mut of_a) = (Vec::new(), 0);
    for _ in 0..4 {
        let (phone, answer, bot) = call(&proxy, &port).await;
        assert!(is_from(&answer, &a) != is_from(&answer, &b));
        let route = answer.header("Record-Route").expect("the proxy stays in the path");
        assert!(route.contains(&proxy.address.to_string()) && route.contains(";lr"), "{route}");
        of_a += usize::from(is_from(&answer, &a));
        calls.push((phone, answer, bot));
    }
    assert_eq!(of_a, 2, "round robin");
    // Who called is the phone, not the proxy, and the bot does not see the header (SIP-092).
    let told = a.logged("call begins").await;
    assert!(told.contains("peer=127.0.0.1") && told.contains(&format!("source={}", proxy.address)), "{told}");
    for (number, (mut phone, answer, mut bot)) in calls.into_iter().enumerate() {
        let start = bot.event("start").await;
        assert!(!start.to_string().to_lowercase().contains("real"), "{start}");
        assert_eq!(phone.hold().await.code(), 200, "a re-INVITE by the route set");
        if number % 2 == 0 {
            assert_eq!(phone.request("BYE").await.code(), 200);
        } else {
            let closing = bot.socket.close(None);
            let (bye, _) = tokio::join!(phone.expect("BYE"), closing);
            assert_eq!(bye.count("Via"), 2, "the bridge hangs up by way of the proxy: {}", answer.start);
        }
    }
    let (status, told) = (phone_from_elsewhere(&proxy).await, b.log().join("\n"));
    assert_eq!(status, 403, "a caller without a trunk cannot name another peer: the proxy replaces the header\n{told}");
}

/// What a caller without a trunk is answered who claims to be another.
async fn phone_from_elsewhere(proxy: &Kamailio) -> u16 {
    let mut phone = Phone::at("127.0.0.9:0", proxy.address).await;
    phone.call_with(NUMBER, "X-Real-Peer: 127.0.0.1\r\n").await.code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_033_a_cancel_goes_hop_by_hop_and_the_bot_is_hung_up_on() {
    let port = Port::open().await;
    let a = node(&port).await;
    let proxy = Kamailio::start(&[&a]).await;
    let mut phone = Phone::new(proxy.address).await;
    assert_eq!(phone.give_up(NUMBER).await, (200, 487));
    let record = a.record(1).await;
    assert_eq!((&record["end"]["why"], &record["end"]["sip_code"]), (&"cancelled".into(), &487.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_033_a_node_that_drains_is_passed_over_at_once_and_its_call_goes_on() {
    let port = Port::open().await;
    let (mut a, b) = (node(&port).await, node(&port).await);
    let proxy = Kamailio::start(&[&a, &b]).await;
    let mut held = None;
    for _ in 0..2 {
        let (phone, answer, bot) = call(&proxy, &port).await;
        if is_from(&answer, &a) {
            held = Some((phone, bot));
        } else {
            let mut phone = phone;
            phone.request("BYE").await;
        }
    }
    let (mut held, mut held_bot) = held.expect("one of two calls");
    a.terminate();
    a.logged("draining").await;
    for _ in 0..3 {
        let (mut phone, answer, _bot) = call(&proxy, &port).await;
        assert!(is_from(&answer, &b), "503 of one node, and the other is asked with the same call");
        assert_eq!(phone.request("BYE").await.code(), 200);
    }
    assert!(a.log().iter().any(|line| line.contains("reason=\"draining\"")), "it was asked");
    held_bot.event("media").await;
    assert_eq!(held.request("BYE").await.code(), 200, "the live call is served to its end");
    assert_eq!(a.exited().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_034_a_node_that_died_is_passed_over_and_another_knows_nothing_of_its_calls() {
    let port = Port::open().await;
    let (a, b) = (node(&port).await, node(&port).await);
    let proxy = Kamailio::start(&[&a, &b]).await;
    let (mut phone, answer, _bot) = call(&proxy, &port).await;
    let other = if is_from(&answer, &a) { &b } else { &a };
    phone.misdirect(other.sip);
    assert_eq!(phone.request("BYE").await.code(), 481, "only the node that answered owns the call");
    drop(a);
    for _ in 0..3 {
        let (mut phone, answer, _bot) = call(&proxy, &port).await;
        assert!(is_from(&answer, &b), "the dead node is silent, and the other is asked with the same call");
        assert_eq!(phone.request("BYE").await.code(), 200);
    }
}
