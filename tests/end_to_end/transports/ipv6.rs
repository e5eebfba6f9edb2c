//! IPv6 end to end (SIP-115): signalling, media and bot on ::1.

use std::net::Ipv6Addr;

use trunkstream::lab::bot::{Bot as EchoBot, BotMode, BotSettings};

use super::call;
use crate::bridge::{Bridge, NUMBER, Setup, free_address_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sip_115_calls_over_ipv6_by_udp_and_tcp() {
    let bot = EchoBot::start(BotSettings::new(BotMode::Echo)).await.expect("a port");
    let tcp = free_address_of(Ipv6Addr::LOCALHOST.into());
    let mut setup = Setup::to(&bot.url("/media"));
    setup.host = Ipv6Addr::LOCALHOST.into();
    setup.listen = vec![format!("tcp:{tcp}")];
    let bridge = Bridge::start(&setup).await;
    for (address, parameter) in [(bridge.sip, ""), (tcp, ";transport=tcp")] {
        let (well, said) = call(&[&format!("sip:{NUMBER}@{address}{parameter}"), "--duration", "2"]).await;
        assert!(well && said.contains("answered; we hung up"), "{said}");
        assert!(!said.contains("nothing came back"), "{said}");
    }
    assert!(bridge.record(2).await["answered_after_ms"].is_u64());
}
