//! A machine behind a cloud's 1:1 NAT (OPS-001 to OPS-003), and a PBX behind an office's (SIP-052): network namespaces with
//! nftables between them.
//!
//! ```text
//!  vm 10.0.0.5 ──── router ──── pbx 203.0.113.7       203.0.113.20 is 10.0.0.5, both ways
//!                     └──────── office 192.168.7.2    goes out as 203.0.113.9
//! ```

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::needs;
use crate::bridge::{directory, next};
use crate::within;

const NETWORK: &str = r#"
set -e
for node in vm router pbx office; do
    ip netns add $NAME-$node
    ip -n $NAME-$node link set lo up
done
wire() {
    ip -n $NAME-router link add $1 type veth peer name eth0 netns $NAME-$1
    ip -n $NAME-$1 addr add $2/24 dev eth0
    ip -n $NAME-$1 link set eth0 up
    ip -n $NAME-router addr add $3/24 dev $1
    ip -n $NAME-router link set $1 up
    ip -n $NAME-$1 route add default via $3
}
wire vm 10.0.0.5 10.0.0.1
wire pbx 203.0.113.7 203.0.113.20
wire office 192.168.7.2 192.168.7.1
ip netns exec $NAME-router sysctl -qw net.ipv4.ip_forward=1
ip netns exec $NAME-router nft -f - <<RULES
table ip nat {
    chain inward { type nat hook prerouting priority dstnat; ip daddr 203.0.113.20 dnat to 10.0.0.5; }
    chain outward {
        type nat hook postrouting priority srcnat
        ip saddr 10.0.0.5 ip daddr != 10.0.0.0/24 snat to 203.0.113.20
        ip saddr 192.168.7.0/24 snat to 203.0.113.9
    }
    chain forward {
        type filter hook forward priority filter
        ip saddr 10.0.0.5 ip daddr 192.168.7.0/24 ct direction original drop
    }
}
RULES
"#;

const CONFIG: &str = r#"
account = [{ sid = "acc1" }]
number = [{ number = "1000", account = "acc1", flow = "echo" }, { number = "1001", account = "acc1", flow = "leaves" }]
[sip]
listen = ["udp:10.0.0.5:5060", "tcp:10.0.0.5:5060"]
advertised_address = "203.0.113.20"
local_nets = ["10.0.0.0/24"]
[media]
listen_address = "10.0.0.5"
rtp_ports = "20000-20099"
threads = 1
[limits]
drain_timeout_seconds = 0
[[trunk]]
name = "inside"
account = "acc1"
allow = ["10.0.0.1"]
[[trunk]]
name = "pbx"
account = "acc1"
allow = ["203.0.113.7"]
[[trunk]]
name = "office"
account = "acc1"
allow = ["203.0.113.9"]
nat_contact_fix = true
[[flow]]
id = "echo"
start = "talk"
[flow.step.talk]
applet = "voicebot"
url = "ws://127.0.0.1:9001/media"
[[flow]]
id = "leaves"
start = "talk"
[flow.step.talk]
applet = "voicebot"
url = "ws://127.0.0.1:9002/media"
"#;

/// Four namespaces and what runs in them; all of it goes with this.
struct Network {
    name: String,
    folder: PathBuf,
    running: Vec<Child>,
}

impl Network {
    fn new() -> Self {
        needs("ip", "iproute2");
        needs("nft", "nftables");
        needs("sipp", "sip-tester");
        let network =
            Self { name: format!("ts{}n{}", std::process::id(), next()), folder: directory(), running: Vec::new() };
        let made = Command::new("sh").args(["-c", NETWORK]).env("NAME", &network.name).output().expect("sh runs");
        let why = String::from_utf8_lossy(&made.stderr);
        assert!(
            made.status.success(),
            "network namespaces need root; as root: cargo test --test end_to_end nat\n{why}"
        );
        network
    }

    /// A command on one of its nodes.
    fn on(&self, node: &str, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{node}", self.name), program]).args(arguments);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()).env_remove("TRUNKSTREAM_LOG");
        command
    }

    /// Starts our binary on the vm and waits until its log says `ready`.
    async fn start(&mut self, name: &str, arguments: &[&str], ready: &str) {
        let path = self.folder.join(name);
        let file =
            || std::fs::File::options().create(true).append(true).open(&path).expect("target/tmp can be written");
        let mut command = self.on("vm", env!("CARGO_BIN_EXE_trunkstream"), arguments);
        self.running.push(command.stdout(file()).stderr(file()).spawn().expect("ip runs"));
        within(15, name, async {
            while !self.log(name).contains(ready) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }

    /// Runs a command to its end; what it printed.
    async fn run(&self, node: &str, program: &str, arguments: &[&str]) -> String {
        let mut command = self.on(node, program, arguments);
        let run = tokio::task::spawn_blocking(move || command.output().expect("ip runs"));
        let output = within(40, program, run).await.expect("no panic");
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "{node}: {program} {arguments:?}: {text}\n{}", self.log("bridge"));
        text
    }

    /// Plays a scenario as SIPp on a node; the messages.
    async fn sipp(&self, node: &str, from: &str, to: &str, (scenario, number): (&str, &str)) -> String {
        let (file, messages) = (format!("sip-fixtures/uac/{scenario}.xml"), self.folder.join(node));
        let target = format!("{to}:5060");
        let messages_file = messages.display().to_string();
        let arguments = ["-sf", &file, &target, "-i", from, "-mi", from, "-s", number, "-m", "1", "-nostdin"];
        let tracing = ["-trace_msg", "-message_file", &messages_file, "-timeout", "20s", "-timeout_error"];
        self.run(node, "sipp", &[&arguments[..], &tracing].concat()).await;
        std::fs::read_to_string(messages).expect("SIPp writes its messages")
    }

    /// Two seconds with an echo; the summary.
    async fn call(&self, node: &str, uri: &str) -> String {
        self.run(node, env!("CARGO_BIN_EXE_trunkstream"), &["call", uri, "--duration", "2"]).await
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
        for node in ["vm", "pbx", "office", "router"] {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}-{node}", self.name)]).output();
        }
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

async fn cloud() -> Network {
    let mut network = Network::new();
    let file = network.folder.join("trunkstream.toml");
    std::fs::write(&file, CONFIG).expect("target/tmp can be written");
    let leaves = ["bot", "--listen", "127.0.0.1:9002", "--mode", "record", "--hangup-after-ms", "500"];
    network.start("echo", &["bot", "--listen", "127.0.0.1:9001", "--mode", "echo"], "9001").await;
    network.start("leaves", &leaves, "9002").await;
    network.start("bridge", &["serve", "--config", &file.display().to_string()], "ready for calls").await;
    network
}

fn shows(messages: &str, address: &str, never: &str) {
    for shown in [format!("Contact: <sip:{address}:5060"), format!("c=IN IP4 {address}"), format!(" IN IP4 {address}")]
    {
        assert!(messages.contains(&shown), "{shown} is not in\n{messages}");
    }
    assert!(!messages.contains(&format!("IP4 {never}")) && !messages.contains(&format!("<sip:{never}")), "{messages}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_001_behind_1_to_1_nat_peers_outside_are_told_the_public_address_and_those_inside_the_private_one() {
    let network = cloud().await;
    let outside = network.sipp("pbx", "203.0.113.7", "203.0.113.20", ("04_echo_audio", "1000")).await;
    shows(&outside, "203.0.113.20", "10.0.0.5");
    let inside = network.sipp("router", "10.0.0.1", "10.0.0.5", ("04_echo_audio", "1000")).await;
    shows(&inside, "10.0.0.5", "203.0.113.20");
    for uri in ["sip:1000@203.0.113.20", "sip:1000@203.0.113.20;transport=tcp"] {
        let said = network.call("pbx", uri).await;
        assert!(said.contains("we hung up") && !said.contains("nothing came back"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_052_a_pbx_behind_nat_hears_the_bot_and_gets_its_bye() {
    let network = cloud().await;
    let said = network.call("office", "sip:1000@203.0.113.20").await;
    assert!(said.contains("we hung up") && !said.contains("nothing came back"), "{said}");
    let messages = network.sipp("office", "192.168.7.2", "203.0.113.20", ("31_contact_private", "1001")).await;
    assert!(messages.contains("BYE sip:caller@10.0.0.55:5060"), "{messages}");
}

/// Nothing of ours is left on the machine.
#[test]
fn the_network_goes_with_its_test() {
    let network = Network::new();
    let name = network.name.clone();
    drop(network);
    assert!(!Path::new("/run/netns").join(format!("{name}-vm")).exists());
}
