//! One bridge calls another through a trunk.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use trunkstream::config::Config;
use trunkstream::server::Bridge;
use trunkstream::server::calls_out::TrunkCommand;
use trunkstream::sip::causes::{LegResult, result_of};
use trunkstream::sip::{DialogId, Event, NotPlaced, TrunkCall};

use crate::within;

/// An address where nobody is.
fn free() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port")
}

/// A bridge whose only trunk has these lines, and whose only number says busy.
async fn bridge(sip: SocketAddr, rtp: &str, trunk: &str) -> Bridge {
    let text = format!(
        "[sip]\nlisten = [\"udp:{sip}\"]\n[media]\nlisten_address = \"127.0.0.1\"\nrtp_ports = \"{rtp}\"\nthreads = 1\n\
         [[account]]\nsid = \"acc1\"\n[[trunk]]\nname = \"other\"\naccount = \"acc1\"\naccount_header = \"optional\"\n\
         auth = {{ username = \"pbx1\", password = \"s3cret\" }}\n{trunk}\n\
         [[number]]\nnumber = \"1000\"\naccount = \"acc1\"\nflow = \"busy\"\n\
         [[flow]]\nid = \"busy\"\nstart = \"end\"\n[flow.step.end]\napplet = \"hangup\"\ncause = 17\nsip_code = 486\n"
    );
    let config = Config::from_toml("calls_out.toml", &text, None).expect("a good configuration");
    let flows = trunkstream::cli::flows(&config).expect("good flows");
    Bridge::start(config, flows).await.expect("a bridge")
}

/// Places a call; waits until the destinations are known.
async fn place(commands: &mpsc::UnboundedSender<TrunkCommand>, events: &mpsc::UnboundedSender<Event>) -> DialogId {
    loop {
        let (placed, result) = oneshot::channel();
        let call = TrunkCall {
            trunk: "other".into(),
            number: "1000".into(),
            from: "0806".into(),
            headers: Vec::new(),
            sdp: Some(
                b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n"
                    .to_vec(),
            ),
        };
        commands.send(TrunkCommand::Call { call, events: events.clone(), placed }).expect("the SIP task runs");
        match result.await.expect("an answer") {
            Ok(dialog) => return dialog,
            Err(NotPlaced::NoTrunk | NotPlaced::Unresolved) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_055_sip_094_a_call_out_passes_a_dead_destination_and_a_challenge_and_brings_back_its_result() {
    let address = free();
    let callee = bridge(address, "18000-18099", "").await;
    // Without ICMP the dead one would take half a minute.
    let to = format!(
        "destinations = [\"sip:{}\", \"sip:{address}\"]\nno_response_seconds = 30\nkeepalive_seconds = 0",
        free()
    );
    let caller = bridge(free(), "18100-18199", &to).await;
    let (events, mut happened) = mpsc::unbounded_channel();
    let ended = async {
        let dialog = place(&caller.trunk_commands(), &events).await;
        let mut result = None;
        while let Some(event) = happened.recv().await {
            assert_eq!(event.dialog(), dialog);
            match event {
                Event::Rejected { code, reasons, .. } => result = Some((code, result_of(code, &reasons))),
                Event::Ended { .. } => return result,
                _ => {}
            }
        }
        result
    };
    assert_eq!(within(10, "the call's end", ended).await, Some((486, LegResult::Busy)));
    for bridge in [callee, caller] {
        within(10, "the bridge's end", bridge.drain(std::future::pending())).await;
    }
}
