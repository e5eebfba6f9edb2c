//! Is this host ready for the configuration? Reading the host is apart from judging it, so that judgement has tests.
#![allow(clippy::disallowed_methods)] // trial binds: the sockets are closed at once

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use crate::config::{Config, Media, PORTS_PER_CALL, is_private};
use crate::net::rtp_socket::RECEIVE_BUFFER as RTP_RECEIVE_BUFFER;
use crate::net::sip_tls::SipTls;
use crate::net::sip_udp::RECEIVE_BUFFER as SIP_RECEIVE_BUFFER;
use crate::server::priority;

/// File descriptors of one call: RTP, RTCP, WebSocket (OPS-020).
const FILES_PER_CALL: u64 = 3;
/// File descriptors beside the calls.
const FILES_SPARE: u64 = 128;
/// Connection tracking entries to reckon with for one call (OPS-007).
const CONNTRACK_PER_CALL: u64 = 8;

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Calls work now, but not all of them or not always.
    Warn,
    /// Calls cannot work.
    Fail,
}

/// One thing looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// What was found.
    pub text: String,
    /// What to do about it; empty where nothing is to be done.
    pub advice: String,
}

impl Finding {
    fn ok(text: impl Into<String>) -> Self {
        Self { severity: Severity::Ok, text: text.into(), advice: String::new() }
    }

    fn warn(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Warn, text: text.into(), advice: advice.into() }
    }

    fn fail(text: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { severity: Severity::Fail, text: text.into(), advice: advice.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.severity {
            Severity::Ok => "ok  ",
            Severity::Warn => "WARN",
            Severity::Fail => "FAIL",
        };
        write!(f, "{mark}  {}", self.text)?;
        if !self.advice.is_empty() {
            write!(f, "\n      -> {}", self.advice)?;
        }
        Ok(())
    }
}

/// What was read from the host; `None` where the host does not say.
#[derive(Debug, Clone, Default)]
pub struct Host {
    /// `net.ipv4.ip_local_port_range`.
    pub ephemeral: Option<RangeInclusive<u16>>,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved: Vec<RangeInclusive<u16>>,
    /// Soft limit of open files.
    pub open_files: Option<u64>,
    /// The receive buffer granted when [`SIP_RECEIVE_BUFFER`] was asked for.
    pub sip_buffer: Option<usize>,
    /// The receive buffer granted when [`RTP_RECEIVE_BUFFER`] was asked for.
    pub rtp_buffer: Option<usize>,
    /// The kernel's clock source.
    pub clock_source: Option<String>,
    /// Whether a time service keeps the wall clock.
    pub clock_kept: bool,
    /// `net.netfilter.nf_conntrack_max`, where connection tracking is loaded.
    pub conntrack_max: Option<u64>,
    /// Addresses that could not be bound, with the reason.
    pub unbindable: Vec<(String, String)>,
    /// Ports of the RTP range in use by others.
    pub busy_rtp_ports: usize,
    /// Bot hosts that have no address, with the step that names them.
    pub unresolvable: Vec<(String, String)>,
    /// Bot hosts looked up.
    pub bot_hosts: usize,
    /// Why media threads cannot have `media.realtime_priority`.
    pub realtime_refused: Option<String>,
    /// The directory of the call records, where it does not exist.
    pub missing_directory: Option<String>,
    /// Why SIP over TLS cannot be offered, where it is wanted.
    pub unusable_tls: Option<String>,
}

/// Reads the host and judges it. Looks up bot hosts and binds every port once: seconds at worst, while no call is up.
#[must_use]
pub fn findings(config: &Config) -> Vec<Finding> {
    judge(config, &Host::read(config))
}

/// Says at start what the kernel cut off the receive buffers: calls work, but a stall costs packets (RTP-034).
pub fn warn_of_small_buffers() {
    for (what, asked) in [("SIP", SIP_RECEIVE_BUFFER), ("RTP", RTP_RECEIVE_BUFFER)] {
        let finding = judge_buffer(what, asked, granted_buffer(asked));
        if finding.severity > Severity::Ok {
            warn!(advice = finding.advice, "{}", finding.text);
        }
    }
}

/// The address that the default route leaves from. Nothing is sent.
#[must_use]
pub fn route_source() -> Option<IpAddr> {
    let towards = |bind: IpAddr, peer: IpAddr| {
        let socket = UdpSocket::bind((bind, 0)).ok()?;
        socket.connect((peer, 9)).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
    };
    let v4 = towards(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    v4.or_else(|| towards(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()))
}

/// Judges what was read, in the order in which an operator would mend it.
#[must_use]
pub fn judge(config: &Config, host: &Host) -> Vec<Finding> {
    let mut out = Vec::new();
    out.extend(judge_addresses(config));
    out.extend(judge_binds(config, host));
    out.extend(judge_ports(config, host));
    out.push(judge_open_files(config, host));
    out.push(judge_buffer("SIP", SIP_RECEIVE_BUFFER, host.sip_buffer));
    out.push(judge_buffer("RTP", RTP_RECEIVE_BUFFER, host.rtp_buffer));
    out.extend(judge_clock(host));
    out.extend(judge_realtime(config, host));
    out.extend(judge_conntrack(config, host));
    out.extend(judge_tenants(config));
    out.extend(judge_bots(host));
    if let Some(why) = &host.unusable_tls {
        let advice =
            "sip.tls_certificate_file and tls_key_file are PEM files that belong together and that this user may read";
        out.push(Finding::fail(format!("SIP over TLS: {why}"), advice));
    }
    if let Some(directory) = &host.missing_directory {
        out.push(Finding::fail(format!("call records: {directory} does not exist"), format!("mkdir -p {directory}")));
    }
    out
}

/// OPS-001: does what peers are told make sense to peers outside?
fn judge_addresses(config: &Config) -> Vec<Finding> {
    let public = |net: &ipnet::IpNet| !is_private(net.addr()) && !net.addr().is_loopback();
    let outside = config.trunks.iter().find(|trunk| trunk.allow.iter().any(public));
    let told = |what: String, bind: IpAddr, told: IpAddr| {
        let text = format!("{what}: listens on {bind}, peers outside local_nets are told {told}");
        match outside {
            Some(trunk) if is_private(told) || told.is_loopback() => Finding::warn(
                format!("{text}, which trunk {} cannot reach from the internet", trunk.name),
                "set sip.advertised_address to the public address of this machine",
            ),
            _ => Finding::ok(text),
        }
    };
    let mut out: Vec<Finding> = config
        .sip
        .listeners
        .iter()
        .map(|listener| {
            told(
                format!("SIP {} port {}", listener.transport.param(), listener.bind.port()),
                listener.bind.ip(),
                listener.advertised.ip(),
            )
        })
        .collect();
    out.push(told("RTP".to_owned(), config.media.listen_address, config.media.advertised_address));
    let elsewhere = config.trunks.iter().find(|trunk| trunk.allow.iter().any(|net| !net.addr().is_loopback()));
    if let Some(trunk) = elsewhere.filter(|_| config.sip.listeners.iter().all(|own| own.bind.ip().is_loopback())) {
        let text = format!("trunk {} is elsewhere, and every SIP listener is on this machine alone", trunk.name);
        out.push(Finding::warn(text, "add a listener on an address that the trunk reaches"));
    }
    out
}

fn judge_binds(config: &Config, host: &Host) -> Vec<Finding> {
    if host.unbindable.is_empty() {
        let count = config.sip.listeners.len() + usize::from(config.admin.is_some());
        return vec![Finding::ok(format!("{count} listeners can be opened"))];
    }
    let advice =
        "stop the program that has it (ss -lnup), or another Trunkstream; or choose an address of this machine";
    host.unbindable.iter().map(|(what, why)| Finding::fail(format!("{what} cannot be opened: {why}"), advice)).collect()
}

/// OPS-005: enough ports, and nobody else's.
fn judge_ports(config: &Config, host: &Host) -> Vec<Finding> {
    let Media { first_port, last_port, .. } = config.media;
    let range = format!("RTP ports {first_port}-{last_port}");
    let mut out = Vec::new();
    let needed = PORTS_PER_CALL * config.limits.max_calls;
    if config.media.port_count() < needed {
        let text = format!("{range} are {} for {} calls at once", config.media.port_count(), config.limits.max_calls);
        out.push(Finding::warn(text, format!("give media.rtp_ports {needed} ports, or lower limits.max_calls")));
    }
    if let Some(ephemeral) = &host.ephemeral {
        let shared = (first_port.max(*ephemeral.start())..=last_port.min(*ephemeral.end()))
            .find(|port| !host.reserved.iter().any(|reserved| reserved.contains(port)));
        out.push(match shared {
            None => Finding::ok(format!("{range} are kept from outgoing connections")),
            Some(port) => Finding::warn(
                format!("{range} overlap net.ipv4.ip_local_port_range: {port} may be taken by an outgoing connection"),
                format!("sysctl -w net.ipv4.ip_local_reserved_ports={first_port}-{last_port}, or move media.rtp_ports"),
            ),
        });
    }
    let busy = host.busy_rtp_ports;
    if busy == config.media.port_count() {
        let advice = "media.listen_address must be an address of this machine";
        out.push(Finding::fail(format!("{range}: none can be opened"), advice));
    } else if busy > 0 {
        out.push(Finding::warn(format!("{range}: {busy} are in use by others"), "choose a range of its own: ss -anu"));
    }
    out
}

fn judge_open_files(config: &Config, host: &Host) -> Finding {
    let needed = FILES_PER_CALL * config.limits.max_calls as u64 + FILES_SPARE;
    match host.open_files {
        Some(limit) if limit < needed => Finding::warn(
            format!("open files: {limit} allowed, {} calls need {needed}", config.limits.max_calls),
            "LimitNOFILE=131072 in the systemd unit, or ulimit -n",
        ),
        Some(limit) => Finding::ok(format!("open files: {limit} allowed, {needed} needed")),
        None => Finding::warn("open files: the limit cannot be read", "check ulimit -n"),
    }
}

fn judge_buffer(what: &str, asked: usize, granted: Option<usize>) -> Finding {
    match granted {
        Some(granted) if granted >= asked => {
            Finding::ok(format!("{what} receive buffer: {} KiB granted", granted >> 10))
        }
        Some(granted) => Finding::warn(
            format!("{what} receive buffer: {} KiB granted of {} KiB", granted >> 10, asked >> 10),
            "sysctl -w net.core.rmem_max=8388608",
        ),
        None => Finding::warn(format!("{what} receive buffer: cannot be tried"), "sysctl -w net.core.rmem_max=8388608"),
    }
}

/// OPS-024: pacing needs a monotonic clock that is cheap to read, records need the right time.
fn judge_clock(host: &Host) -> Vec<Finding> {
    let mut out = Vec::new();
    match host.clock_source.as_deref() {
        Some(slow @ ("hpet" | "acpi_pm" | "jiffies" | "refined-jiffies")) => out.push(Finding::warn(
            format!("clock source {slow}: slow to read, RTP pacing suffers"),
            "use tsc, kvm-clock or another source in /sys/devices/system/clocksource/clocksource0",
        )),
        Some(source) => out.push(Finding::ok(format!("clock source {source}"))),
        None => {}
    }
    out.push(if host.clock_kept {
        Finding::ok("a time service keeps the wall clock")
    } else {
        Finding::warn("no time service found: call records may carry a wrong time", "run chrony or systemd-timesyncd")
    });
    out
}

/// RTP-036: the media threads go first, where that is wanted.
fn judge_realtime(config: &Config, host: &Host) -> Option<Finding> {
    let wanted = config.media.realtime_priority;
    Some(match &host.realtime_refused {
        _ if wanted == 0 => return None,
        None => Finding::ok(format!("media threads may run under SCHED_FIFO, priority {wanted}")),
        Some(why) => Finding::warn(
            format!("media threads may not run under SCHED_FIFO, priority {wanted}: {why}"),
            priority::ADVICE,
        ),
    })
}

/// OPS-007.
fn judge_conntrack(config: &Config, host: &Host) -> Option<Finding> {
    let needed = CONNTRACK_PER_CALL * config.limits.max_calls as u64;
    let limit = host.conntrack_max?;
    Some(if limit < needed {
        Finding::warn(
            format!("connection tracking: {limit} entries, {} calls need {needed}", config.limits.max_calls),
            format!(
                "NOTRACK for SIP and RTP, or sysctl -w net.netfilter.nf_conntrack_max={}",
                needed.next_power_of_two()
            ),
        )
    } else {
        Finding::ok(format!("connection tracking: {limit} entries, {needed} needed"))
    })
}

/// What loads but takes no call, or everyone's.
fn judge_tenants(config: &Config) -> Vec<Finding> {
    let mut out = Vec::new();
    if config.trunks.is_empty() {
        out.push(Finding::warn("no trunk: every call is refused with 403", "add a [[trunk]]"));
    }
    if config.numbers.is_empty() {
        out.push(Finding::warn("no number: every call is refused with 404", "add a [[number]]; \"*\" takes all"));
    }
    for trunk in config.trunks.iter().filter(|trunk| trunk.allow.iter().any(|net| net.prefix_len() == 0)) {
        out.push(Finding::warn(
            format!("trunk {} lets the whole internet call", trunk.name),
            "list the PBX's networks",
        ));
    }
    out
}

fn judge_bots(host: &Host) -> Vec<Finding> {
    let advice = "check the name and this machine's resolver (getent hosts)";
    let missing = host.unresolvable.iter();
    let mut out: Vec<Finding> =
        missing.map(|(step, name)| Finding::fail(format!("{step}: {name} has no address"), advice)).collect();
    if out.is_empty() && host.bot_hosts > 0 {
        out.push(Finding::ok(format!("{} bot hosts have addresses", host.bot_hosts)));
    }
    out
}

impl Host {
    /// Reads everything.
    #[must_use]
    pub fn read(config: &Config) -> Self {
        let hosts = bot_hosts(config);
        let lookups = hosts.iter().filter(|(_, host, port)| !resolves(host, *port));
        Self {
            ephemeral: port_range("/proc/sys/net/ipv4/ip_local_port_range"),
            reserved: text("/proc/sys/net/ipv4/ip_local_reserved_ports")
                .map(|list| port_list(&list))
                .unwrap_or_default(),
            open_files: open_files(),
            sip_buffer: granted_buffer(SIP_RECEIVE_BUFFER),
            rtp_buffer: granted_buffer(RTP_RECEIVE_BUFFER),
            clock_source: text("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            clock_kept: clock_kept(),
            conntrack_max: number("/proc/sys/net/netfilter/nf_conntrack_max"),
            unbindable: unbindable(config),
            busy_rtp_ports: busy_ports(&config.media),
            unresolvable: lookups.map(|(step, host, _)| (step.clone(), host.clone())).collect(),
            bot_hosts: hosts.len(),
            realtime_refused: priority::refusal(config.media.realtime_priority),
            missing_directory: missing_directory(config),
            unusable_tls: config
                .sip
                .tls
                .as_ref()
                .and_then(|files| SipTls::new(files).err())
                .map(|error| error.to_string()),
        }
    }
}

fn text(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number<T: FromStr>(path: &str) -> Option<T> {
    text(path)?.parse().ok()
}

/// Two ports by blanks, as `ip_local_port_range` has them.
fn port_range(path: &str) -> Option<RangeInclusive<u16>> {
    let text = text(path)?;
    let mut ports = text.split_whitespace().map_while(|port| port.parse().ok());
    Some(ports.next()?..=ports.next()?)
}

/// `8080,10000-29999`, as `ip_local_reserved_ports` has it.
fn port_list(text: &str) -> Vec<RangeInclusive<u16>> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.trim().parse().ok()?..=last.trim().parse().ok()?)
    };
    text.split(',').filter_map(range).collect()
}

fn open_files() -> Option<u64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    Some(limit.current.unwrap_or(u64::MAX))
}

/// Asks for a receive buffer on a socket of its own and reads back what was granted. Linux reports double the payload.
fn granted_buffer(asked: usize) -> Option<usize> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).ok()?;
    socket.set_recv_buffer_size(asked).ok()?;
    socket.recv_buffer_size().ok().map(|granted| granted / 2)
}

fn clock_kept() -> bool {
    const SIGNS: [&str; 5] = [
        "/run/systemd/timesync/synchronized",
        "/run/chrony/chronyd.pid",
        "/run/chrony/chronyd.sock",
        "/run/ntpd.pid",
        "/run/ntpsec/ntpd.pid",
    ];
    SIGNS.iter().any(|sign| Path::new(sign).exists())
}

fn unbindable(config: &Config) -> Vec<(String, String)> {
    let udp = config.sip.listeners.iter().map(|listener| {
        let bound = if listener.transport.is_reliable() {
            TcpListener::bind(listener.bind).map(drop)
        } else {
            UdpSocket::bind(listener.bind).map(drop)
        };
        (format!("SIP {}:{}", listener.transport.param(), listener.bind), bound)
    });
    let admin = config.admin.iter().map(|address| (format!("admin {address}"), TcpListener::bind(address).map(drop)));
    let failed = |(what, bound): (String, io::Result<()>)| Some((what, bound.err()?.to_string()));
    udp.chain(admin).filter_map(failed).collect()
}

fn busy_ports(media: &Media) -> usize {
    let bind = |port: &u16| UdpSocket::bind(SocketAddr::new(media.listen_address, *port)).is_err();
    (media.first_port..=media.last_port).filter(bind).count()
}

fn missing_directory(config: &Config) -> Option<String> {
    let directory = config.log.call_records.as_ref()?.parent()?;
    let missing = !directory.as_os_str().is_empty() && !directory.is_dir();
    missing.then(|| directory.display().to_string())
}

fn resolves(host: &str, port: u16) -> bool {
    (host, port).to_socket_addrs().is_ok_and(|mut addresses| addresses.next().is_some())
}

/// (step, host, port) of every bot URL, each host once.
fn bot_hosts(config: &Config) -> Vec<(String, String, u16)> {
    let mut hosts: Vec<(String, String, u16)> = Vec::new();
    for flow in &config.flows {
        for step in &flow.steps {
            let url = step.settings.get("url").and_then(toml::Value::as_str);
            let Some((host, port)) = url.and_then(host_and_port) else { continue };
            if !hosts.iter().any(|(_, known, _)| *known == host) {
                hosts.push((format!("flow.{}.step.{}.url", flow.id, step.name), host, port));
            }
        }
    }
    hosts
}

/// Host and port of a URL; userinfo, path and query are not looked at and never printed.
fn host_and_port(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let default = if matches!(scheme.to_ascii_lowercase().as_str(), "wss" | "https") { 443 } else { 80 };
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, port.strip_prefix(':'))
        }
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(default), |port| port.parse().ok())?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests;
