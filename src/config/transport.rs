//! What carries SIP: listeners, the bounds of streams, certificates, and whom a trunk takes signalling from.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

/// What carries SIP (RFC 3261 section 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream over TLS.
    Tls,
}

impl Transport {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Tcp, Self::Tls];

    /// As Via names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// As URIs and the configuration name it.
    #[must_use]
    pub const fn param(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Reads either name, in any case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.param().eq_ignore_ascii_case(text))
    }

    /// Whether what is sent arrives, once and in order, or the sender learns of it: no transaction sends again
    /// (RFC 3261 section 17).
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// Whether nobody between can read it.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        matches!(self, Self::Tls)
    }

    /// The port where none is given (RFC 3261 section 19.1.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        if self.is_secure() { 5061 } else { 5060 }
    }
}

/// One socket that takes SIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken there.
    pub transport: Transport,
    /// The address bound; port never 0 outside tests.
    pub bind: SocketAddr,
    /// What Via and Contact show to peers outside `local_nets`.
    pub advertised: SocketAddr,
}

/// Bounds of SIP's TCP and TLS connections (SIP-004, SIP-114).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// Bytes of a message before its body.
    pub max_header: usize,
    /// Bytes of a body.
    pub max_body: usize,
    /// Connections of one listener, those it opened not counted.
    pub max_connections: usize,
    /// Connections from one address.
    pub max_per_source: usize,
    /// A connection without calls that is silent for this long is closed.
    pub idle: Duration,
    /// A message, a TLS handshake, a connection of ours and a write must be complete by then.
    pub patience: Duration,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            max_header: 64 * 1024,
            max_body: 256 * 1024,
            max_connections: 1000,
            max_per_source: 100,
            idle: Duration::from_secs(300),
            patience: Duration::from_secs(10),
        }
    }
}

/// Where the certificates of SIP over TLS are; all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Our certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of peers that we connect to, besides the system's.
    pub authority: Option<PathBuf>,
    /// Authorities of client certificates; without one, none are asked for.
    pub client_authority: Option<PathBuf>,
}

/// Whom a trunk takes signalling from (SIP-090).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// By what; any where `None`.
    pub transport: Option<Transport>,
    /// From where.
    pub network: IpNet,
    /// From which port; any where `None`.
    pub port: Option<u16>,
}

impl Source {
    /// Whether a message that came by `transport` from `peer` is of this source.
    #[must_use]
    pub fn has(&self, transport: Transport, peer: SocketAddr) -> bool {
        self.transport.is_none_or(|own| own == transport)
            && self.port.is_none_or(|own| own == peer.port())
            && self.network.contains(&peer.ip().to_canonical())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(transport) = self.transport {
            write!(f, "{}:", transport.param())?;
        }
        match (self.port, self.network) {
            (None, network) => write!(f, "{network}"),
            (Some(port), IpNet::V4(network)) => write!(f, "{network}:{port}"),
            (Some(port), IpNet::V6(network)) => write!(f, "[{network}]:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const FILES: &str = "tls_certificate_file = \"a.pem\"\ntls_key_file = \"a.key\"";

    fn load(listen: &str, sip: &str, trunk: &str) -> Result<Config, String> {
        let text = format!(
            "[sip]\nlisten = {listen}\nallow_private = true\n{sip}\n[media]\nlisten_address = \"10.0.0.5\"\n\
             [[account]]\nsid = \"acc1\"\n[[trunk]]\nname = \"pbx\"\naccount = \"acc1\"\n{trunk}\n"
        );
        let told = |problems: Vec<crate::config::Problem>| problems.iter().map(ToString::to_string).collect::<String>();
        Config::from_toml("t.toml", &text, None).map_err(told)
    }

    const ALLOW: &str = "allow = [\"10.0.0.7\"]";

    #[test]
    fn sip_114_udp_and_tcp_share_a_port_and_tls_keeps_its_own_outside() {
        let three = "[\"udp:10.0.0.5:5060\", \"tcp:10.0.0.5:5060\", \"tls:10.0.0.5:5061\"]";
        let config =
            load(three, &format!("advertised_address = \"203.0.113.10:15060\"\n{FILES}"), ALLOW).expect("good");
        let told = config.sip.listeners.iter().map(|own| format!("{} {}", own.transport.param(), own.advertised));
        let told: Vec<_> = told.collect();
        assert_eq!(told, ["udp 203.0.113.10:15060", "tcp 203.0.113.10:15060", "tls 203.0.113.10:5061"]);
        let twice = load("[\"tcp:10.0.0.5:5060\", \"tls:10.0.0.5:5060\"]", FILES, ALLOW).expect_err("one port");
        assert!(twice.contains("is listened on twice"), "{twice}");
    }

    #[test]
    fn sip_114_tls_needs_its_files() {
        let (udp, tls) = ("[\"udp:10.0.0.5:5060\"]", "[\"tls:10.0.0.5:5061\"]");
        let missing = load(tls, "tls_key_file = \"a.key\"", ALLOW).expect_err("no certificate");
        assert!(missing.contains("sip.tls_certificate_file: is missing"), "{missing}");
        assert!(load(udp, FILES, ALLOW).expect("good").sip.tls.is_none(), "files without a use are not read");
        assert!(load(udp, "", ALLOW).expect("good").sip.tls.is_none());
    }

    #[test]
    fn sip_090_a_trunk_with_client_certificates_is_one_of_tls() {
        let tls = "[\"tls:10.0.0.5:5061\"]";
        let trunk = |allow: &str| format!("allow = [\"{allow}\"]\nclient_certificate = true");
        let config = load(tls, FILES, &trunk("tls:10.0.0.7:5061")).expect("good");
        assert_eq!(config.trunks[0].media_allow, ["10.0.0.7/32".parse().expect("a network")]);
        let source = config.trunks[0].sources[0];
        assert!(source.has(Transport::Tls, ([10, 0, 0, 7], 5061).into()));
        assert!(!source.has(Transport::Tcp, ([10, 0, 0, 7], 5061).into()));
        assert!(!source.has(Transport::Tls, ([10, 0, 0, 7], 5062).into()));
        let wrong = load(tls, FILES, &trunk("tcp:10.0.0.7")).expect_err("TCP has none");
        assert!(wrong.contains("client_certificate"), "{wrong}");
    }
}
