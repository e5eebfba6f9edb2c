//! A bridge for one call on this machine: its configuration as anybody would write it, on ports that are free.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;

use anyhow::{Context, anyhow};

use crate::config::Config;
use crate::lab::pbx::{Callee, free_ports};
use crate::server::Bridge;

pub(super) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The caller's and the callee's numbers.
pub(super) const NUMBERS: (&str, &str) = ("5550100", "1000");
/// The account that the caller names.
pub(super) const ACCOUNT: (&str, &str) = ("X-Exotel-AccountSid", "acc1");
/// RTP ports given to the bridge.
pub(super) const RTP_PORTS: u16 = 20;

/// What is not the same for every command.
#[derive(Debug, Default)]
pub(super) struct Setup<'a> {
    /// The command: names the file that errors speak of.
    pub(super) command: &'a str,
    /// The bot.
    pub(super) url: &'a str,
    /// The trunk's only codec, by its encoding name.
    pub(super) codec: Option<&'a str>,
    /// Where the call record goes.
    pub(super) records: Option<&'a Path>,
}

/// The configuration.
///
/// # Errors
/// No free ports; a URL that is none.
pub(super) fn configure(setup: &Setup<'_>) -> anyhow::Result<Config> {
    let sip = UdpSocket::bind((LOCALHOST, 0)).context("no free UDP port")?;
    let first = free_ports(LOCALHOST, RTP_PORTS).context("no free RTP ports")?;
    let (sip, last) = (sip.local_addr()?, first + RTP_PORTS - 1);
    let (Setup { command, url, .. }, number, account) = (setup, NUMBERS.1, ACCOUNT.1);
    let codecs = setup.codec.map(|codec| format!("codecs = [{:?}]", codec.to_lowercase())).unwrap_or_default();
    let mut text = format!(
        r#"
[sip]
listen = ["udp:{sip}"]
[media]
listen_address = "{LOCALHOST}"
rtp_ports = "{first}-{last}"
threads = 1
# A delay that stays: the sound is compared sample by sample.
jitter_buffer_start_milliseconds = 40
jitter_buffer_min_milliseconds = 40
jitter_buffer_max_milliseconds = 40
[[account]]
sid = "{account}"
max_streams = 10
[[trunk]]
name = "{command}"
account = "{account}"
allow = ["127.0.0.0/8"]
{codecs}
[[number]]
number = "{number}"
account = "{account}"
flow = "{command}"
[[flow]]
id = "{command}"
start = "talk"
[flow.step.talk]
applet = "voicebot"
url = {url:?}
"#
    );
    if let Some(records) = setup.records {
        let _ = write!(text, "[log]\ncall_records = {:?}\n", records.display().to_string());
    }
    Config::from_toml(command, &text, None).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow!("the configuration of `trunkstream {command}` is wrong: {}", problems.join("; "))
    })
}

/// Starts the bridge; with it whom to call.
///
/// # Errors
/// As [`configure`], and a socket that cannot be opened.
pub(super) async fn start(setup: &Setup<'_>) -> anyhow::Result<(Bridge, Callee)> {
    let config = configure(setup)?;
    let flows = super::flows(&config).map_err(|problems| anyhow!("{problems:?}"))?;
    let bridge = Bridge::start(config, flows).await.context("the bridge does not start")?;
    let address: SocketAddr = *bridge.sip_addresses.first().context("the bridge has no SIP address")?;
    Ok((bridge, Callee::at(&format!("sip:{}@{address}", NUMBERS.1), address)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_right_for_every_command() {
        let url = "ws://127.0.0.1:9001/media?sample-rate=8000";
        for (codec, records) in [(None, None), (Some("PCMU"), Some(Path::new("/tmp/a \"record\"")))] {
            let config = configure(&Setup { command: "demo", url, codec, records }).expect("a good configuration");
            assert!(super::super::flows(&config).is_ok());
            assert_eq!(config.media.port_count(), usize::from(RTP_PORTS));
            assert_eq!(config.log.call_records.as_deref(), records);
        }
    }
}
