//! Via: who sent a message over which hop, and where its response goes (RFC 3261 section 18.2, RFC 3581).

use std::net::{IpAddr, SocketAddr};

use super::syntax::{self, Params};
use super::uri::Host;
use crate::config::Transport;

/// What makes a branch unique by RFC 3261 rules.
pub const COOKIE: &str = "z9hG4bK";
/// The port where none is given.
pub const DEFAULT_PORT: u16 = 5060;

/// One Via value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// `UDP`, `TCP`, … in upper case.
    pub transport: String,
    /// Host of sent-by.
    pub host: Host,
    /// Port of sent-by, where given.
    pub port: Option<u16>,
    params: Params,
}

impl Via {
    /// Reads one value, white space allowed around every separator; `None` where it is malformed.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, params) = text.split_once(';').unwrap_or((text, ""));
        let mut parts = head.splitn(3, '/');
        let (name, version) = (parts.next()?.trim(), parts.next()?.trim());
        let (transport, sent_by) = parts.next()?.trim().split_once([' ', '\t'])?;
        // Any version: the first line is what says which one is spoken.
        let sip = name.eq_ignore_ascii_case("SIP") && syntax::is_token(version);
        let (host, port) = Host::parse_with_port(sent_by.trim()).filter(|_| sip && syntax::is_token(transport))?;
        Some(Self { transport: transport.to_ascii_uppercase(), host, port, params: Params::parse(params)? })
    }

    /// Reads a value whose parameters are malformed as far as sent-by, so that it can be answered.
    #[must_use]
    pub fn parse_sent_by(text: &str) -> Option<Self> {
        Self::parse(text.split(';').next()?)
    }

    /// The branch, where it begins with the magic cookie (compared without case) and goes on after it.
    #[must_use]
    pub fn branch(&self) -> Option<&str> {
        let branch = self.params.value("branch")?;
        let cookie = branch.get(..COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(COOKIE));
        (cookie && branch.len() > COOKIE.len()).then_some(branch)
    }

    /// `host:port` in lower case, the default port written out: what transactions compare.
    #[must_use]
    pub fn sent_by(&self) -> String {
        format!("{}:{}", self.host, self.port.unwrap_or(DEFAULT_PORT))
    }

    /// Whether `rport` stands there, with or without a value.
    #[must_use]
    pub fn has_rport(&self) -> bool {
        self.params.has("rport")
    }

    /// Where the response goes when the connection that the request from `source` came by is gone: to the source's
    /// address and the port of sent-by (RFC 3261 section 18.2.2, SIP-021).
    #[must_use]
    pub fn reopen_target(&self, source: SocketAddr, transport: Transport) -> SocketAddr {
        SocketAddr::new(source.ip(), self.port.unwrap_or(transport.default_port()))
    }

    /// Where the response to a request from `source` goes: `maddr`, else the source with the source's port when `rport`
    /// is present or forced, else with the port of sent-by (RFC 3261 section 18.2.2, RFC 3581 section 4, SIP-021).
    #[must_use]
    pub fn response_target(&self, source: SocketAddr, force_rport: bool) -> SocketAddr {
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let maddr = self.params.value("maddr").and_then(Host::parse).and_then(|host| host.ip());
        match maddr {
            Some(ip) if !ip.is_multicast() && !ip.is_unspecified() => SocketAddr::new(ip, port),
            _ if force_rport || self.has_rport() => source,
            _ => SocketAddr::new(source.ip(), port),
        }
    }
}

/// The top Via line as responses carry it: `received` where sent-by is not the source or `rport` is present or forced,
/// `rport` filled with the source's port (SIP-020). `line` may hold several values; the others stay as they are.
#[must_use]
pub fn mark_received(line: &str, via: &Via, source: SocketAddr, force_rport: bool) -> String {
    let rport = force_rport || via.has_rport();
    let source_ip: IpAddr = source.ip().to_canonical();
    let items = syntax::split_outside(line, ',');
    let (first, others) = items.split_first().map_or(("", &[][..]), |(first, others)| (*first, others));
    let mut top = String::new();
    for (position, part) in syntax::split_outside(first, ';').into_iter().enumerate() {
        let name = part.split('=').next().unwrap_or_default().trim();
        if ["received", "rport"].iter().any(|own| name.eq_ignore_ascii_case(own)) || part.is_empty() {
            continue;
        }
        if position > 0 {
            top.push(';');
        }
        top.push_str(part);
    }
    if rport || via.host.ip().map(|ip| ip.to_canonical()) != Some(source_ip) {
        top.push_str(&format!(";received={source_ip}"));
    }
    if rport {
        top.push_str(&format!(";rport={}", source.port()));
    }
    others.iter().fold(top, |line, other| line + ", " + other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "192.0.2.7:4000";

    fn source() -> SocketAddr {
        SOURCE.parse().expect("an address")
    }

    fn read(text: &str) -> Via {
        Via::parse(text).expect(text)
    }

    #[test]
    fn sip_008_white_space_is_allowed_everywhere() {
        let via = read("SIP  / 2.0  / udp   Host.example : 5070 ; branch = z9hG4bKx ;rport");
        assert_eq!((via.transport.as_str(), via.sent_by().as_str()), ("UDP", "host.example:5070"));
        assert_eq!(via.branch(), Some("z9hG4bKx"));
        for bad in ["SIP/2.0/UDP", "SIP/2.0/UDP h;;", "", "HTTP/1.1 x", "SIP/2.0/UDP h:99999"] {
            assert_eq!(Via::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn sip_030_a_bare_cookie_is_no_branch() {
        assert_eq!(read("SIP/2.0/UDP h;branch=z9hG4bK").branch(), None);
        assert_eq!(read("SIP/2.0/UDP h;branch=Z9HG4BKa").branch(), Some("Z9HG4BKa"));
        assert_eq!(read("SIP/2.0/UDP h;branch=1").branch(), None);
    }

    #[test]
    fn sip_020_received_and_rport_are_filled() {
        let mark =
            |text: &str, force| mark_received(text, &read(syntax::list(text).next().expect("one")), source(), force);
        assert_eq!(mark("SIP/2.0/UDP 192.0.2.7:5060;branch=b", false), "SIP/2.0/UDP 192.0.2.7:5060;branch=b");
        assert_eq!(mark("SIP/2.0/UDP a.b;branch=b", false), "SIP/2.0/UDP a.b;branch=b;received=192.0.2.7");
        assert_eq!(
            mark("SIP/2.0/UDP 192.0.2.7;rport;branch=b;received=9.9.9.9, SIP/2.0/TCP c;branch=d", false),
            "SIP/2.0/UDP 192.0.2.7;branch=b;received=192.0.2.7;rport=4000, SIP/2.0/TCP c;branch=d"
        );
        assert_eq!(mark("SIP/2.0/UDP x", true), "SIP/2.0/UDP x;received=192.0.2.7;rport=4000");
    }

    #[test]
    fn sip_021_responses_go_to_maddr_source_or_sent_by_port() {
        let target = |text: &str, force| read(text).response_target(source(), force).to_string();
        assert_eq!(target("SIP/2.0/UDP h:5070;maddr=192.0.2.9;rport", false), "192.0.2.9:5070");
        assert_eq!(target("SIP/2.0/UDP h:5070;rport", false), SOURCE);
        assert_eq!(target("SIP/2.0/UDP h:5070", true), SOURCE);
        assert_eq!(target("SIP/2.0/UDP h:5070", false), "192.0.2.7:5070");
        assert_eq!(target("SIP/2.0/UDP h;maddr=proxy.example", false), "192.0.2.7:5060");
    }

    #[test]
    fn sip_021_a_lost_connection_is_opened_anew_to_the_source_at_the_port_of_sent_by() {
        let target = |text: &str, transport| read(text).reopen_target(source(), transport).to_string();
        assert_eq!(target("SIP/2.0/TCP h:5070;rport", Transport::Tcp), "192.0.2.7:5070");
        assert_eq!(target("SIP/2.0/TCP h", Transport::Tcp), "192.0.2.7:5060");
        assert_eq!(target("SIP/2.0/TLS h", Transport::Tls), "192.0.2.7:5061");
    }

    #[test]
    fn sip_115_received_and_sent_by_may_be_ipv6() {
        let source: SocketAddr = "[2001:db8::7]:4000".parse().expect("an address");
        let text = "SIP/2.0/UDP [2001:DB8:0::9]:5070;rport;branch=z9hG4bKx";
        let via = read(text);
        let marked = mark_received(text, &via, source, false);
        assert_eq!(marked, "SIP/2.0/UDP [2001:DB8:0::9]:5070;branch=z9hG4bKx;received=2001:db8::7;rport=4000");
        assert_eq!(via.sent_by(), "[2001:db8::9]:5070");
        let same = "SIP/2.0/UDP [2001:DB8::7];branch=z9hG4bKx";
        assert_eq!(mark_received(same, &read(same), source, false), same, "the same address, written otherwise");
        assert_eq!(read(same).response_target(source, false).to_string(), "[2001:db8::7]:5060");
    }
}
