//! The second look at a file: do the values make sense, alone and together?
//!
//! Everything wrong goes into the report; a value that cannot be read is replaced by one that can, so that the look goes
//! on. The result counts only where the report is empty.

mod address;
mod outgoing;
mod tenant;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::{self, Raw};
use super::report::Report;
use super::{
    Config, Fill, JitterDelay, Limits, Log, LogFormat, Media, Proxies, Sip, Streams, Tls, Trace, Transport, value,
};

/// Calls a node takes where the file does not say.
const DEFAULT_MAX_CALLS: usize = 2000;

/// Ports to reckon with for one call: a pair, and half a pair at rest (OPS-005).
pub const PORTS_PER_CALL: usize = 3;

/// Checks what was read; `route_source` is the address the default route leaves from.
pub(super) fn resolve(raw: &Raw, route_source: Option<IpAddr>, report: &mut Report) -> Config {
    let accounts = tenant::accounts(&raw.account, report);
    let flows = tenant::flows(&raw.flow, report);
    let trunks = tenant::trunks(raw, &accounts, report);
    let numbers = tenant::numbers(&raw.number, &accounts, &flows, report);
    let addresses = address::resolve(raw, &trunks, route_source, report);
    let sip = sip(&raw.sip, &addresses, report);
    let media = media(&raw.media, &addresses, report);
    let admin = admin(&raw.admin, report);
    address::check_overlap(&sip, &media, report);
    let limits = limits(&raw.limits, &media);
    let log = log(&raw.log, report);
    let trace = trace(&raw.trace, report);
    let secrets = outgoing::secrets(raw, report);
    Config { sip, media, admin, limits, log, trace, accounts, trunks, numbers, flows, route_source, secrets }
}

fn sip(raw: &raw::Sip, addresses: &address::Addresses, report: &mut Report) -> Sip {
    if raw.t2_milliseconds < raw.t1_milliseconds {
        let message =
            format!("expected at least t1_milliseconds, {}, found {}", raw.t1_milliseconds, raw.t2_milliseconds);
        report.wrong("sip.t2_milliseconds", message);
    }
    if raw.min_se_seconds > raw.session_expires_seconds {
        let message = format!("expected at most session_expires_seconds, {}", raw.session_expires_seconds);
        report.wrong("sip.min_se_seconds", format!("{message}, found {}", raw.min_se_seconds));
    }
    let user_agent =
        raw.user_agent.clone().unwrap_or_else(|| concat!("trunkstream/", env!("CARGO_PKG_VERSION")).to_owned());
    if user_agent.chars().any(char::is_control) {
        report.wrong("sip.user_agent", "expected printable text");
    }
    Sip {
        listeners: addresses.listeners.clone(),
        local_nets: each("sip.local_nets", &raw.local_nets, value::network, report),
        proxies: Proxies {
            networks: each("sip.trusted_proxies", &raw.trusted_proxies, value::trusted_network, report),
            peer_header: one("sip.proxy_peer_header", &raw.proxy_peer_header, value::extension_header, report)
                .unwrap_or_default(),
        },
        user_agent: Some(user_agent).filter(|text| !text.trim().is_empty()),
        t1: milliseconds(raw.t1_milliseconds),
        t2: milliseconds(raw.t2_milliseconds),
        t4: milliseconds(raw.t4_milliseconds),
        answer_deadline: seconds(raw.answer_deadline_seconds),
        unknown_source_per_minute: raw.unknown_source_answers_per_minute,
        digest: outgoing::digest(raw, report),
        dscp: raw.dscp,
        streams: Streams {
            max_header: raw.max_header_bytes,
            max_body: raw.max_body_bytes,
            max_connections: raw.max_connections,
            max_per_source: raw.max_connections_per_source,
            idle: seconds(raw.connection_idle_seconds),
            patience: seconds(raw.connection_patience_seconds),
        },
        tls: tls(raw, addresses, report),
    }
}

/// The certificates, where there is a TLS listener.
fn tls(raw: &raw::Sip, addresses: &address::Addresses, report: &mut Report) -> Option<Tls> {
    let files = [
        ("sip.tls_certificate_file", &raw.tls_certificate_file),
        ("sip.tls_key_file", &raw.tls_key_file),
        ("sip.tls_ca_file", &raw.tls_ca_file),
        ("sip.tls_client_ca_file", &raw.tls_client_ca_file),
    ];
    let listens = addresses.listeners.iter().any(|listener| listener.transport == Transport::Tls);
    for (needed, (key, file)) in [true, true, false, false].into_iter().zip(files) {
        match file.as_deref() {
            Some("") => report.wrong(key, "expected the path of a PEM file"),
            None if needed && listens => report.wrong(key, "is missing: a \"tls:\" listener needs it"),
            Some(_) | None => {}
        }
    }
    let [certificate, key, authority, client_authority] = files.map(|(_, file)| file.as_ref().map(PathBuf::from));
    Some(Tls { certificate: certificate?, key: key?, authority, client_authority }).filter(|_| listens)
}

fn media(raw: &raw::Media, addresses: &address::Addresses, report: &mut Report) -> Media {
    let ports = one("media.rtp_ports", &raw.rtp_ports, value::port_range, report);
    let (first_port, last_port) = ports.unwrap_or((10_000, 29_999));
    if raw.rtp_start_timeout_seconds > raw.rtp_timeout_seconds {
        let message = format!("expected at most rtp_timeout_seconds, {}", raw.rtp_timeout_seconds);
        report.wrong("media.rtp_start_timeout_seconds", format!("{message}, found {}", raw.rtp_start_timeout_seconds));
    }
    let jitter_delay = jitter_delay(raw, report);
    Media {
        listen_address: addresses.media_bind,
        advertised_address: addresses.media_advertised,
        first_port,
        last_port,
        port_quarantine: seconds(raw.port_quarantine_seconds),
        shards: raw.threads,
        realtime_priority: raw.realtime_priority,
        dscp: raw.dscp,
        rtp_timeout: seconds(raw.rtp_timeout_seconds),
        rtp_start_timeout: seconds(raw.rtp_start_timeout_seconds),
        jitter_delay,
        fill: match raw.fill {
            raw::Fill::Silence => Fill::Silence,
            raw::Fill::Noise => Fill::Noise,
        },
    }
}

fn jitter_delay(raw: &raw::Media, report: &mut Report) -> JitterDelay {
    let (start, min, max) =
        (raw.jitter_buffer_start_milliseconds, raw.jitter_buffer_min_milliseconds, raw.jitter_buffer_max_milliseconds);
    if min > start {
        let message = format!("expected at most jitter_buffer_start_milliseconds, {start}, found {min}");
        report.wrong("media.jitter_buffer_min_milliseconds", message);
    }
    if max < start {
        let message = format!("expected at least jitter_buffer_start_milliseconds, {start}, found {max}");
        report.wrong("media.jitter_buffer_max_milliseconds", message);
    }
    JitterDelay { start: milliseconds(start), min: milliseconds(min), max: milliseconds(max) }
}

fn admin(raw: &raw::Admin, report: &mut Report) -> Option<std::net::SocketAddr> {
    raw.listen.as_ref().and_then(|text| one("admin.listen", text, value::socket_address, report))
}

fn limits(raw: &raw::Limits, media: &Media) -> Limits {
    let default = (media.port_count() / PORTS_PER_CALL).min(DEFAULT_MAX_CALLS);
    Limits {
        max_calls: raw.max_calls.unwrap_or(default),
        max_calls_per_second: raw.max_calls_per_second,
        max_requests_per_second_per_source: raw.max_requests_per_second_per_source,
        max_memory: (raw.max_memory_mebibytes > 0).then(|| u64::from(raw.max_memory_mebibytes) << 20),
        drain_timeout: seconds(raw.drain_timeout_seconds),
    }
}

fn log(raw: &raw::Log, report: &mut Report) -> Log {
    if raw.call_records.as_ref().is_some_and(|path| path.is_empty() || path.ends_with('/')) {
        report.wrong("log.call_records", "expected the path of a file");
    }
    let format = match raw.format {
        raw::LogFormat::Text => LogFormat::Text,
        raw::LogFormat::Json => LogFormat::Json,
    };
    let filter = one("log.filter", &raw.filter, value::log_filter, report).unwrap_or_default();
    Log { format, filter, call_records: raw.call_records.as_ref().map(PathBuf::from) }
}

fn trace(raw: &raw::Trace, report: &mut Report) -> Trace {
    Trace {
        signalling_bytes: kibibytes(raw.signalling_kibibytes),
        rtp_bytes: kibibytes(raw.rtp_kibibytes),
        allow_unmasked: raw.allow_unmasked,
        hep: raw.hep.as_ref().and_then(|text| one("trace.hep", text, value::socket_address, report)),
        hep_capture_id: raw.hep_capture_id,
    }
}

/// Reads one value; notes what is wrong with it.
fn one<T>(path: &str, text: &str, read: fn(&str) -> Result<T, String>, report: &mut Report) -> Option<T> {
    match read(text) {
        Ok(value) => Some(value),
        Err(message) => {
            report.wrong(path, message);
            None
        }
    }
}

/// Reads each value of a list; what cannot be read is noted and left out.
fn each<T>(path: &str, texts: &[String], read: fn(&str) -> Result<T, String>, report: &mut Report) -> Vec<T> {
    let read = texts.iter().enumerate().filter_map(|(i, text)| one(&format!("{path}[{i}]"), text, read, report));
    read.collect()
}

fn milliseconds(count: u32) -> Duration {
    Duration::from_millis(u64::from(count))
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(u64::from(count))
}

fn kibibytes(count: u32) -> usize {
    usize::try_from(u64::from(count) << 10).unwrap_or(usize::MAX)
}
