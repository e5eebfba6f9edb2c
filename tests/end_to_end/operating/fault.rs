//! A fault of the bridge in one call ends that call alone, on every side, and leaves its record.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use trunkstream::config::{Config, Trunk};
use trunkstream::server::Bridge;

use crate::bot::Port;
use crate::bridge::{ACCOUNT, NUMBER, directory, free_address};
use crate::http::get;
use crate::phone::Phone;
use crate::within;

/// A configuration with a value that no file can have: the moment at which a hold would be too long does not exist, so a
/// call that is held panics when it works that moment out.
fn faulty(bot: &str, records: &std::path::Path) -> Config {
    let (sip, admin) = (free_address(), free_address());
    let text = format!(
        "[sip]\nlisten = [\"udp:{sip}\"]\n[media]\nlisten_address = \"127.0.0.1\"\nrtp_ports = \"20000-29999\"\nthreads = 1\n\
         [admin]\nlisten = \"{admin}\"\n[log]\ncall_records = {records:?}\n[[account]]\nsid = \"{ACCOUNT}\"\n\
         [[trunk]]\nname = \"lab\"\naccount = \"{ACCOUNT}\"\nallow = [\"127.0.0.0/8\"]\n\
         [[number]]\nnumber = \"{NUMBER}\"\naccount = \"{ACCOUNT}\"\nflow = \"f\"\n\
         [[flow]]\nid = \"f\"\nstart = \"talk\"\n[flow.step.talk]\napplet = \"voicebot\"\nurl = \"{bot}\"\n"
    );
    let mut config = Config::from_toml("t.toml", &text, None).expect("a good configuration");
    let trunk = Trunk { hold_timeout: Some(Duration::MAX), ..Trunk::clone(&config.trunks[0]) };
    config.trunks[0] = Arc::new(trunk);
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_one_call_ends_that_call_alone_and_leaves_its_record() {
    let (port, directory) = (Port::open().await, directory());
    let records = directory.join("calls.jsonl");
    let config = faulty(&port.url("/media"), &records);
    let flows = trunkstream::cli::flows(&config).expect("good flows");
    let bridge = Bridge::start(config, flows).await.expect("it starts");
    let (sip, admin) = (bridge.sip_addresses[0], bridge.admin_address.expect("a listener"));
    let (mut well, mut ill) = (Phone::new(sip).await, Phone::new(sip).await);
    let (answer, mut bot_of_well) = tokio::join!(well.call(NUMBER), port.bot());
    assert_eq!(answer.code(), 200);
    let (answer, mut bot_of_ill) = tokio::join!(ill.call(NUMBER), port.bot());
    assert_eq!((answer.code(), bridge.calls()), (200, 2));

    assert_eq!(ill.hold().await.verdict(), (500, "Q.850;cause=41"));
    assert_eq!(ill.hung_up().await, "Q.850;cause=41");
    assert_eq!(bot_of_ill.closed().await, Some(1011));

    // The other call of the same media thread goes on, both ways.
    bot_of_well.event("media").await;
    bot_of_well.speak(200).await;
    bot_of_well.mark("still here").await;
    assert_eq!(bot_of_well.event("mark").await["mark"]["name"], "still here");
    assert_eq!(well.request("BYE").await.code(), 200);
    within(5, "both places are free again", async {
        while bridge.calls() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (_, page) = get(admin, "/metrics").await;
    assert!(page.contains("\ntrunkstream_call_panics_total 1\n"), "{page}");
    bridge.drain(std::future::pending()).await;
    let text = std::fs::read_to_string(&records).expect("the record file");
    let ends: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["end"].clone()).collect();
    let whys: Vec<_> = ends.iter().map(|end| (end["by"].as_str(), end["why"].as_str())).collect();
    assert_eq!(whys, [(Some("bridge"), Some("internal")), (Some("caller"), Some("caller_hangup"))]);
    let _ = std::fs::remove_dir_all(directory);
}
