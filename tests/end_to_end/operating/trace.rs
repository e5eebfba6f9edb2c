//! `trunkstream trace`: what happened to one call, as tshark reads it.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::bot::Port;
use crate::bridge::{Bridge, NUMBER, Setup, directory, trunkstream};
use crate::phone::Phone;
use crate::within;

/// What the PBX says of the customer.
const UUI: &str = "customer-4711-gold";
/// A call from its beginning to its end.
const CALL_FLOW: [&str; 7] = ["INVITE", "100", "180", "200", "ACK", "BYE", "200"];

/// tshark's output for a capture.
fn tshark(file: &Path, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new("tshark");
    let output = command.arg("-r").arg(file).args(arguments).output().expect("tshark: `make test` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Methods and codes in order.
fn call_flow(file: &Path) -> Vec<String> {
    let fields = tshark(file, &["-Y", "sip", "-T", "fields", "-e", "sip.Method", "-e", "sip.Status-Code"]);
    fields.lines().map(|line| line.replace('\t', "")).collect()
}

async fn finished(child: std::process::Child, what: &str) -> Output {
    let wait = tokio::task::spawn_blocking(move || child.wait_with_output().expect("a child of ours"));
    within(30, what, wait).await.expect("it does not panic")
}

/// Traces [`NUMBER`] while the test PBX calls it with digits; the capture.
async fn traced_call(name: &str, trunk: &str, call: &[&str], trace: &[&str]) -> std::path::PathBuf {
    let port = Port::open().await;
    let mut setup = Setup::to(&format!("ws://{}/media", port.address));
    setup.trunk = format!("{}\n{trunk}", setup.trunk);
    let bridge = Bridge::start(&setup).await;
    let file = directory().join(format!("{name}.pcapng"));
    let (admin, path) = (bridge.admin.to_string(), file.display().to_string());
    let arguments = ["trace", "--admin", &admin, "--number", NUMBER, "--for", "6s", "-w", &path];
    let tracing = trunkstream(&arguments).args(trace).spawn().expect("it starts");
    bridge.logged("trace begins").await;
    let uri = format!("sip:{NUMBER}@{}", bridge.sip);
    let uui = format!("X-UUI: {UUI}");
    let calling = trunkstream(&["call", &uri, "--header", &uui, "--dtmf", "15#", "--duration", "3"])
        .args(call)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let _bot = port.bot().await;
    assert!(finished(calling, "the call").await.status.success());
    assert!(finished(tracing, "the trace").await.status.success());
    file
}

/// The call's SIP and RTP are whole, and nothing in the capture is secret.
fn judge(file: &Path, comment: &str) {
    assert_eq!(call_flow(file), CALL_FLOW);
    let streams = tshark(file, &["-q", "-z", "rtp,streams"]);
    let streams: Vec<&str> = streams.lines().filter(|line| line.contains("g711U")).collect();
    assert_eq!(streams.len(), 2, "one each way: {streams:?}");
    for stream in streams {
        assert!(stream.contains(" 0 (0.0%) "), "no loss: {stream}");
    }
    let events = tshark(file, &["-Y", "rtpevent", "-T", "fields", "-e", "rtpevent.event_id"]);
    assert!(events.lines().count() >= 9 && events.lines().all(|event| event == "255"), "masked digits: {events}");
    let sums = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "fields"];
    let sums = tshark(file, &[&sums[..], &["-e", "ip.checksum.status", "-e", "udp.checksum.status"]].concat());
    assert!(sums.lines().count() > 250 && sums.lines().all(|line| line == "1\t1"), "good checksums");
    let text = String::from_utf8_lossy(&std::fs::read(file).expect("the capture")).into_owned();
    assert!(!text.contains(UUI) && !text.contains("inline:"), "nothing secret");
    assert!(text.contains(comment), "{comment}");
    std::fs::remove_dir_all(file.parent().expect("a directory of its own")).expect("it can be removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_026_a_traced_call_is_whole_and_masked_to_tshark() {
    let file = traced_call("plain", "", &[], &["--rtp"]).await;
    judge(&file, "values are masked with x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_026_a_traced_srtp_call_is_shown_decrypted_without_its_keys() {
    let trunk = "srtp = \"required\"\nallow_sdes_cleartext = true";
    let file = traced_call("srtp", trunk, &["--srtp"], &["--rtp"]).await;
    judge(&file, "SRTP on the wire, shown decrypted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_026_an_ended_call_can_still_be_asked_for_by_its_ids_and_unmasked_where_that_is_allowed() {
    let port = Port::open().await;
    let mut setup = Setup::to(&format!("ws://{}/media", port.address));
    setup.trace = "allow_unmasked = true".to_owned();
    let bridge = Bridge::start(&setup).await;
    let mut phone = Phone::new(bridge.sip).await;
    let header = format!("X-UUI: {UUI}\r\n");
    let (answer, _bot) = tokio::join!(phone.call_with(NUMBER, &header), port.bot());
    assert_eq!(answer.code(), 200);
    assert_eq!(phone.request("BYE").await.code(), 200);
    let record = bridge.record(1).await;
    let (sid, call_id) = (record["call_sid"].as_str().expect("a sid"), answer.header("Call-ID").expect("an id"));
    let (admin, folder) = (bridge.admin.to_string(), directory());
    for (name, option, id, unmasked) in
        [("sid", "--call-sid", sid, false), ("id", "--call-id", call_id, false), ("open", "--call-id", call_id, true)]
    {
        let file = folder.join(name);
        let path = file.display().to_string();
        let mut command = trunkstream(&["trace", "--admin", &admin, option, id, "-w", &path]);
        let began = std::time::Instant::now();
        let child = command.args(unmasked.then_some("--unmasked")).spawn().expect("it starts");
        assert!(finished(child, "the trace").await.status.success());
        assert!(began.elapsed() < Duration::from_secs(20), "it ends with the call, not after 60 s");
        assert_eq!(call_flow(&file), CALL_FLOW);
        let text = String::from_utf8_lossy(&std::fs::read(&file).expect("the capture")).into_owned();
        assert_eq!(text.contains(UUI), unmasked);
    }
    std::fs::remove_dir_all(folder).expect("it can be removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_026_what_is_not_there_or_not_allowed_is_refused_with_a_reason() {
    let bridge = Bridge::start(&Setup::to("ws://127.0.0.1:9/media")).await;
    let admin = bridge.admin.to_string();
    for (arguments, reason) in [
        (&["--trunk", "nobody"][..], "there is no trunk nobody"),
        (&["--call-sid", "5"], "no call 5 is up"),
        (&["--trunk", "lab", "--unmasked"], "allow_unmasked"),
    ] {
        let mut command = trunkstream(&["trace", "--admin", &admin]);
        let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let output = finished(child, "the refusal").await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{said}");
        bridge.logged("trace refused").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ops_026_a_collector_gets_every_message_by_hep_and_no_secret() {
    let collector = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let mut setup = Setup::to("ws://127.0.0.1:9/media");
    setup.trace = format!("hep = \"{}\"", collector.local_addr().expect("bound"));
    let bridge = Bridge::start(&setup).await;
    let mut phone = Phone::new(bridge.sip).await;
    assert_eq!(phone.call_with("404", &format!("X-UUI: {UUI}\r\n")).await.code(), 404);
    let mut seen = String::new();
    let mut packet = vec![0; 65_535];
    within(10, "INVITE, 100, 404 and ACK", async {
        while !seen.contains("ACK sip:") {
            let (length, _) = collector.recv_from(&mut packet).await.expect("a packet");
            assert_eq!((&packet[..4], usize::from(packet[4]) << 8 | usize::from(packet[5])), (&b"HEP3"[..], length));
            seen.push_str(&String::from_utf8_lossy(&packet[..length]));
        }
    })
    .await;
    for message in ["INVITE sip:404@", "SIP/2.0 100 ", "SIP/2.0 404 ", "X-UUI: xxxxx"] {
        assert!(seen.contains(message), "{message}: {seen}");
    }
    assert!(!seen.contains(UUI), "{seen}");
}
