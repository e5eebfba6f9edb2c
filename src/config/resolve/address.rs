//! Which addresses we bind, and which we tell our peers (OPS-001, OPS-003).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crate::config::raw::Raw;
use crate::config::report::Report;
use crate::config::{Listener, Media, Sip, Trunk, value};

use super::one;

/// What came out.
pub(super) struct Addresses {
    pub listeners: Vec<Listener>,
    pub media_bind: IpAddr,
    pub media_advertised: IpAddr,
}

/// What decides the address told for a bind address.
#[derive(Clone, Copy)]
struct Rules {
    route_source: Option<IpAddr>,
    allow_private: bool,
}

pub(super) fn resolve(
    raw: &Raw,
    trunks: &[Arc<Trunk>],
    route_source: Option<IpAddr>,
    report: &mut Report,
) -> Addresses {
    let rules = Rules { route_source, allow_private: raw.sip.allow_private };
    let advertised = |path: &str, text: &Option<String>, report: &mut Report| {
        text.as_ref().and_then(|text| one(path, text, value::advertised, report))
    };
    let sip_advertised = advertised("sip.advertised_address", &raw.sip.advertised_address, report);
    let media_own = advertised("media.advertised_address", &raw.media.advertised_address, report);
    if media_own.is_some_and(|(_, port)| port.is_some()) {
        report.wrong("media.advertised_address", "expected an IP address without a port: the port is the call's own");
    }
    let listeners = listeners(raw, sip_advertised, rules, report);
    let (media_bind, media_advertised) = media(raw, media_own, sip_advertised, rules, report);
    let open = listeners.iter().any(|(_, listener)| !listener.bind.ip().is_loopback());
    let roams = |trunk: &Arc<Trunk>| trunk.auth.is_some() && trunk.allow.is_empty();
    let strangers =
        trunks.iter().flat_map(|trunk| &trunk.allow).any(|net| !net.addr().is_loopback()) || trunks.iter().any(roams);
    if open && strangers {
        refuse_loopback(&listeners, media_bind, media_advertised, report);
    }
    Addresses { listeners: listeners.into_iter().map(|(_, listener)| listener).collect(), media_bind, media_advertised }
}

fn listeners(
    raw: &Raw,
    advertised: Option<(IpAddr, Option<u16>)>,
    rules: Rules,
    report: &mut Report,
) -> Vec<(String, Listener)> {
    let mut listeners: Vec<(String, Listener)> = Vec::new();
    if raw.sip.listen.is_empty() {
        report.wrong("sip.listen", "expected at least one listener, for example \"udp:0.0.0.0:5060\"");
    }
    for (i, text) in raw.sip.listen.iter().enumerate() {
        let path = format!("sip.listen[{i}]");
        let Some((transport, bind)) = one(&path, text, value::listener, report) else { continue };
        let same = |other: &Listener| {
            other.transport.is_reliable() == transport.is_reliable()
                && overlap(other.bind.ip(), bind.ip())
                && other.bind.port() == bind.port()
        };
        if listeners.iter().any(|(_, other)| same(other)) {
            report.wrong(&path, format!("{bind} is listened on twice"));
        }
        let told = advertised.filter(|(ip, _)| same_family(*ip, bind.ip()));
        let (ip, port) = match told {
            Some((ip, port)) => (Ok(ip), port.filter(|_| !transport.is_secure()).unwrap_or(bind.port())),
            None => (rules.told(bind.ip(), "sip.advertised_address"), bind.port()),
        };
        let ip = ip.unwrap_or_else(|message| {
            // The default listener stands in no line: the section is the place then.
            report.wrong(&path, message);
            bind.ip()
        });
        listeners.push((path, Listener { transport, bind, advertised: SocketAddr::new(ip, port) }));
    }
    if let Some((ip, _)) = advertised
        && !listeners.is_empty()
        && !listeners.iter().any(|(_, listener)| same_family(ip, listener.bind.ip()))
    {
        report.wrong(
            "sip.advertised_address",
            format!("expected an address of the same IP version as sip.listen, found {ip}"),
        );
    }
    listeners
}

fn media(
    raw: &Raw,
    own: Option<(IpAddr, Option<u16>)>,
    sip: Option<(IpAddr, Option<u16>)>,
    rules: Rules,
    report: &mut Report,
) -> (IpAddr, IpAddr) {
    let bind = one("media.listen_address", &raw.media.listen_address, value::address, report);
    let Some(bind) = bind else { return (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()) };
    if bind.is_multicast() {
        report.wrong("media.listen_address", format!("expected an address of this machine, found {bind}"));
    }
    if let Some((ip, _)) = own {
        if !same_family(ip, bind) {
            let message = format!("expected an address of the same IP version as media.listen_address, found {ip}");
            report.wrong("media.advertised_address", message);
        }
        return (bind, ip);
    }
    if let Some((ip, _)) = sip.filter(|(ip, _)| same_family(*ip, bind)) {
        return (bind, ip);
    }
    let told = rules.told(bind, "media.advertised_address").unwrap_or_else(|message| {
        report.wrong("media.listen_address", message);
        bind
    });
    (bind, told)
}

impl Rules {
    /// The address told to peers where none is configured; `key` is where one could be.
    fn told(self, bind: IpAddr, key: &str) -> Result<IpAddr, String> {
        if bind.is_unspecified() {
            let source = self.route_source.filter(|ip| same_family(*ip, bind) && !ip.is_unspecified());
            return source.ok_or_else(|| {
                format!("{bind} takes the address of the default route, and this machine has none: expected {key}")
            });
        }
        if value::is_private(bind) && !self.allow_private {
            return Err(format!(
                "{bind} is private and peers outside cannot reach it: expected {key} with the public address, \
                 or sip.allow_private = true where every trunk is in the same network"
            ));
        }
        Ok(bind)
    }
}

/// A peer elsewhere is never told 127.0.0.1 (OPS-003).
fn refuse_loopback(listeners: &[(String, Listener)], media_bind: IpAddr, media: IpAddr, report: &mut Report) {
    let loopback = |listener: &Listener| listener.advertised.ip().is_loopback() && !listener.bind.ip().is_loopback();
    for (path, listener) in listeners.iter().filter(|(_, listener)| loopback(listener)) {
        let ip = listener.advertised.ip();
        report.wrong(
            path,
            format!(
                "peers elsewhere would be told {ip}: expected sip.advertised_address to be reachable by every trunk"
            ),
        );
    }
    if media_bind.is_loopback() || media.is_loopback() {
        let message =
            "callers elsewhere cannot send media to 127.0.0.1 or ::1: expected an address that every trunk can reach";
        let key = if media_bind.is_loopback() { "media.listen_address" } else { "media.advertised_address" };
        report.wrong(key, message);
    }
}

/// A SIP port inside the RTP range of the same address would be taken from a call.
pub(super) fn check_overlap(sip: &Sip, media: &Media, report: &mut Report) {
    let range = media.first_port..=media.last_port;
    let clash = |listener: &Listener| {
        !listener.transport.is_reliable()
            && range.contains(&listener.bind.port())
            && overlap(listener.bind.ip(), media.listen_address)
    };
    if let Some(listener) = sip.listeners.iter().find(|listener| clash(listener)) {
        report.wrong("media.rtp_ports", format!("expected a range without the SIP port {}", listener.bind.port()));
    }
}

fn overlap(a: IpAddr, b: IpAddr) -> bool {
    same_family(a, b) && (a == b || a.is_unspecified() || b.is_unspecified())
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}
