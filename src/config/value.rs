//! The values of the configuration that are text in the file: each is read once, here.
//!
//! Every error text says what was expected; the caller adds file, line and key.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::{Destination, DestinationHost, DestinationTransport, Source, Transport};
use crate::base::rtp_format;

/// Codecs a trunk may name.
pub(super) const CODECS: [&str; 5] = [
    rtp_format::PCMU.encoding_name,
    rtp_format::PCMA.encoding_name,
    rtp_format::G722.encoding_name,
    rtp_format::OPUS.encoding_name,
    rtp_format::L16.encoding_name,
];

/// The least RTP range: two calls.
const MIN_PORTS: u16 = 4;

/// `TRANSPORT:ADDRESS:PORT`.
pub(super) fn listener(text: &str) -> Result<(Transport, SocketAddr), String> {
    let form = "expected \"udp:ADDRESS:PORT\", \"tcp:…\" or \"tls:…\", an IPv6 address in brackets";
    let (transport, address) = text.split_once(':').ok_or_else(|| format!("{form}, found \"{text}\""))?;
    match (Transport::parse(transport), transport) {
        (Some(transport), _) => {
            socket_address(address).map(|address| (transport, address)).map_err(|error| format!("{form}: {error}"))
        }
        (None, "ws" | "wss") => Err(format!("SIP over {transport} is not available in this version; {form}")),
        (None, _) => Err(format!("{form}, found \"{text}\"")),
    }
}

/// `[TRANSPORT:]NETWORK[:PORT]`, an IPv6 network before a port in brackets (SIP-090).
pub(super) fn source(text: &str) -> Result<Source, String> {
    let named = text.split_once(':').and_then(|(name, rest)| Some((Some(Transport::parse(name)?), rest)));
    let (transport, rest) = named.unwrap_or((None, text));
    let bracketed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (inner, behind) = match (bracketed, network(rest)) {
        (Some(parts), _) => parts,
        (None, Ok(_)) => (rest, ""),
        (None, Err(_)) => rest.rfind(':').map_or((rest, ""), |colon| rest.split_at(colon)),
    };
    let port = match behind.strip_prefix(':') {
        None if behind.is_empty() => None,
        port => {
            let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
            Some(port.ok_or_else(|| format!("expected NETWORK:PORT, [NETWORK]:PORT for IPv6, found \"{text}\""))?)
        }
    };
    network(inner).map(|network| Source { transport, network, port })
}

/// `ADDRESS:PORT`, the port not 0.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err("port 0 cannot be told to a peer; choose a port".to_owned()),
        Ok(address) => Ok(address),
        Err(_) if text.matches(':').count() > 1 && !text.starts_with('[') => {
            Err(format!("an IPv6 address stands in brackets, [ADDRESS]:PORT, found \"{text}\""))
        }
        Err(_) => Err(format!("expected an IP address and a port, ADDRESS:PORT, found \"{text}\"")),
    }
}

/// `[sip:]HOST[:PORT][;transport=udp]`.
pub(super) fn destination(text: &str) -> Result<Destination, String> {
    let form = || format!("expected \"sip:HOST[:PORT]\" or \"sip:HOST[:PORT];transport=udp\", found \"{text}\"");
    if text.starts_with("sips:") {
        return Err(format!("sips: is not available in this version; {}", form()));
    }
    let bare = text.strip_prefix("sip:").unwrap_or(text);
    let (address, params) = bare.split_once(';').unwrap_or((bare, ""));
    let transport = match params {
        "" => None,
        "transport=udp" => Some(DestinationTransport::Udp),
        "transport=tcp" | "transport=tls" => {
            return Err(format!("SIP over {} is not available in this version; {}", &params[10..], form()));
        }
        _ => return Err(form()),
    };
    if let Ok(address) = socket_address(address) {
        return Ok(Destination { host: DestinationHost::Ip(address.ip()), port: Some(address.port()), transport });
    }
    if let Ok(ip) = self::address(address) {
        return Ok(Destination { host: DestinationHost::Ip(ip), port: None, transport });
    }
    let (name, port) = match address.split_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok().filter(|port: &u16| *port > 0).ok_or_else(form)?)),
        None => (address, None),
    };
    host_name(name).map(|name| Destination { host: DestinationHost::Name(name), port, transport }).ok_or_else(form)
}

/// A host name in lower case. One of digits and dots only is an address that has gone wrong.
pub(super) fn host_name(text: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let fits = !text.is_empty() && text.len() <= 253 && text.chars().all(plain) && text.contains(char::is_alphabetic);
    fits.then(|| text.to_ascii_lowercase())
}

/// An IP address, in brackets or not.
pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("expected an IP address, found \"{text}\""))
}

/// An address peers are told, with a port where `ADDRESS:PORT` is written.
pub(super) fn advertised(text: &str) -> Result<(IpAddr, Option<u16>), String> {
    let (ip, port) = match text.parse::<SocketAddr>() {
        Ok(_) => socket_address(text).map(|address| (address.ip(), Some(address.port())))?,
        Err(_) => (address(text).map_err(|_| format!("expected an IP address, found \"{text}\""))?, None),
    };
    if ip.is_unspecified() || ip.is_multicast() {
        return Err(format!("{ip} is no address that a peer can send to; expected this machine's public address"));
    }
    Ok((ip, port))
}

/// `FIRST-LAST`, FIRST even, none below 1024.
pub(super) fn port_range(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.trim().parse::<u16>().ok();
    let range = text.split_once('-').and_then(|(first, last)| Some((port(first)?, port(last)?)));
    let Some((first, last)) = range else {
        return Err(format!("expected \"FIRST-LAST\", two ports up to 65535, found \"{text}\""));
    };
    if first < 1024 {
        return Err(format!("expected ports from 1024 on, found {first}: peers refuse media on lower ones"));
    }
    if first % 2 != 0 {
        return Err(format!("expected an even first port, found {first}: RTP takes the even port of a pair"));
    }
    if last < first || last - first < MIN_PORTS - 1 {
        return Err(format!("expected at least {MIN_PORTS} ports, found \"{text}\""));
    }
    Ok((first, last))
}

/// A network `ADDRESS/BITS`, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(ip));
    }
    let network: IpNet =
        text.parse().map_err(|_| format!("expected a network ADDRESS/BITS or an address, found \"{text}\""))?;
    let meant = network.trunc();
    if meant == network { Ok(network) } else { Err(format!("{text} has bits set behind the mask; expected {meant}")) }
}

/// A called number, as the configuration and an INVITE's user part are compared: without the separators `-.() `, without
/// a leading `+` or `00`.
#[must_use]
pub fn normalise_number(text: &str) -> String {
    let bare: String = text.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
    let national = bare.strip_prefix('+').or_else(|| bare.strip_prefix("00")).unwrap_or(&bare);
    national.to_owned()
}

/// A called number or `*`.
pub(super) fn number(text: &str) -> Result<String, String> {
    let number = normalise_number(text);
    let fits =
        !number.is_empty() && number.len() <= 64 && !number.contains(|c: char| c.is_control() || "@<>\"".contains(c));
    if fits { Ok(number) } else { Err(format!("expected a number such as \"1000\", or \"*\", found \"{text}\"")) }
}

/// Why an unanswered call may be refused, in the words of `trunkstream_calls_refused_total`: those whose SIP code a trunk
/// may choose (SIP-121).
pub const FAILURES: [&str; 11] = [
    "number_unknown",
    "number_incomplete",
    "flow_invalid",
    "throttled",
    "trunk_call_rate",
    "offer_refused",
    "bot_unreachable",
    "bot_busy",
    "bot_timeout",
    "bot_lost",
    "answer_timeout",
];

/// `REASON=CODE`: a failure and the final response for it.
pub(super) fn sip_code(text: &str) -> Result<(String, u16), String> {
    let wrong =
        || format!("expected \"REASON=CODE\" such as \"throttled=486\", CODE from 400 to 699, found \"{text}\"");
    let (word, code) = text.split_once('=').ok_or_else(wrong)?;
    let (word, code) = (word.trim(), code.trim().parse().ok().filter(|code| (400..=699).contains(code)));
    if !FAILURES.contains(&word) {
        return Err(format!("expected a reason of {}, found \"{word}\"", FAILURES.join(", ")));
    }
    code.map(|code| (word.to_owned(), code)).ok_or_else(wrong)
}

/// Digits before a called number.
pub(super) fn number_prefix(text: &str) -> Result<String, String> {
    let number = normalise_number(text);
    let fits = !number.is_empty()
        && number.len() <= 16
        && number.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'*' || b == b'#');
    if fits { Ok(number) } else { Err(format!("expected digits such as \"9\", found \"{text}\"")) }
}

/// A country code.
pub(super) fn country_code(text: &str) -> Result<String, String> {
    let code = text.trim().trim_start_matches('+');
    let fits = (1..=3).contains(&code.len()) && code.bytes().all(|b| b.is_ascii_digit()) && !code.starts_with('0');
    if fits { Ok(code.to_owned()) } else { Err(format!("expected 1 to 3 digits such as \"91\", found \"{text}\"")) }
}

/// A trunk's name.
pub(super) fn trunk_name(text: &str) -> Result<String, String> {
    let fits = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits { Ok(text.to_owned()) } else { Err(format!("expected 1 to 16 of A-Z a-z 0-9 _, found \"{text}\"")) }
}

/// A pattern of header names.
pub(super) fn header_pattern(text: &str) -> Result<String, String> {
    let token = |c: char| c.is_ascii_alphanumeric() || "-.!%_+`'~*".contains(c);
    let fits = !text.is_empty() && text.chars().all(token);
    if fits { Ok(text.to_owned()) } else { Err(format!("expected a header name, `*` for any text, found \"{text}\"")) }
}

/// Standard headers that may become custom parameters (HDR-027).
const EXPOSED_HEADERS: [&str; 6] =
    ["Diversion", "P-Asserted-Identity", "History-Info", "Call-ID", "Subject", "Alert-Info"];

/// One of them.
pub(super) fn exposed_header(text: &str) -> Result<&'static str, String> {
    let named = EXPOSED_HEADERS.into_iter().find(|name| name.eq_ignore_ascii_case(text));
    named.ok_or_else(|| format!("expected one of {}, found \"{text}\"", EXPOSED_HEADERS.join(", ")))
}

/// The name of an extension header.
pub(super) fn extension_header(text: &str) -> Result<String, String> {
    let fits = text.len() > 2 && text[..2].eq_ignore_ascii_case("X-") && !text.contains('*');
    let name = header_pattern(text).ok().filter(|_| fits);
    name.ok_or_else(|| format!("expected a header name that begins with X-, found \"{text}\""))
}

/// Networks whose word counts: not everybody's.
pub(super) fn trusted_network(text: &str) -> Result<IpNet, String> {
    let network = network(text)?;
    if network.prefix_len() == 0 {
        return Err(format!(
            "{text} is everybody, and anybody could name any peer; expected the addresses of your proxies"
        ));
    }
    Ok(network)
}

/// A codec by its registered name, in any case.
pub(super) fn codec(text: &str) -> Result<String, String> {
    let known = CODECS.into_iter().find(|known| known.eq_ignore_ascii_case(text));
    known.map(str::to_owned).ok_or_else(|| format!("expected one of {}, found \"{text}\"", CODECS.join(", ")))
}

/// A log filter: `LEVEL` or `TARGET=LEVEL`, several by comma.
pub(super) fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for directive in text.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).to_ascii_lowercase();
        let target_only = !directive.contains('=') && directive.contains("::");
        if !target_only && !LEVELS.contains(&level.as_str()) {
            return Err(format!(
                "expected LEVEL or TARGET=LEVEL, a level being {}, found \"{directive}\"",
                LEVELS.join(", ")
            ));
        }
    }
    Ok(text.to_owned())
}

/// Whether the address means nothing outside its own network: RFC 1918, RFC 6598, link-local, RFC 4193.
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && b & 0xc0 == 64)
        }
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => is_private(IpAddr::V4(ip)),
            None => ip.segments()[0] & 0xfe00 == 0xfc00 || ip.segments()[0] & 0xffc0 == 0xfe80,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_090_a_source_has_a_network_and_perhaps_transport_and_port() {
        for text in ["198.51.100.0/24", "tls:198.51.100.0/24", "udp:198.51.100.7/32:5060", "tcp:[2001:db8::/32]:5070"] {
            assert_eq!(source(text).map(|source| source.to_string()), Ok(text.to_owned()));
        }
        for (text, read) in [
            ("198.51.100.7", "198.51.100.7/32"),
            ("198.51.100.7:5060", "198.51.100.7/32:5060"),
            ("::1", "::1/128"),
            ("tls:2001:db8::/32", "tls:2001:db8::/32"),
            ("[2001:db8::7]", "2001:db8::7/128"),
            ("TCP:10.0.0.0/8", "tcp:10.0.0.0/8"),
        ] {
            assert_eq!(source(text).map(|source| source.to_string()), Ok(read.to_owned()), "{text}");
        }
        for bad in
            ["", "sctp:10.0.0.1", "10.0.0.1:0", "10.0.0.1:x", "[::1]5060", "10.0.0.1/8", "tls:", "[::1", "[::1]:99999"]
        {
            assert!(source(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_listener_has_a_transport_and_brackets_around_ipv6() {
        for text in ["udp:[::1]:5060", "tcp:10.0.0.1:5060", "tls:10.0.0.1:5061"] {
            let read = listener(text).map(|(transport, address)| format!("{}:{address}", transport.param()));
            assert_eq!(read, Ok(text.to_owned()));
        }
        for (text, part) in [
            ("udp:::1:5060", "brackets"),
            ("wss:10.0.0.1:443", "not available in this version"),
            ("10.0.0.1:5060", "udp:ADDRESS:PORT"),
            ("udp:10.0.0.1", "udp:ADDRESS:PORT"),
            ("udp:10.0.0.1:0", "port 0"),
            ("udp:localhost:5060", "expected an IP address"),
            ("", "udp:ADDRESS:PORT"),
        ] {
            let error = listener(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_port_range_starts_even_and_has_four_ports() {
        assert_eq!(port_range("10000-10003"), Ok((10000, 10003)));
        for bad in ["10001-20000", "10000-10002", "20000-10000", "10000", "a-b", "10000-70000", "80-2000", "-"] {
            assert!(port_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_has_no_bits_behind_its_mask() {
        assert_eq!(network("10.1.2.3").map(|n| n.to_string()), Ok("10.1.2.3/32".to_owned()));
        assert_eq!(network("2001:db8::/32").map(|n| n.to_string()), Ok("2001:db8::/32".to_owned()));
        assert!(network("10.1.2.3/8").unwrap_err().contains("expected 10.0.0.0/8"));
        assert!(network("10.0.0.0/33").is_err());
    }

    #[test]
    fn hdr_003_numbers_compare_without_separators_plus_and_double_zero() {
        for text in ["+1 (555) 010-9999", "0015550109999", "1.555.010.9999"] {
            assert_eq!(normalise_number(text), "15550109999", "{text}");
        }
        assert_eq!(normalise_number("01"), "01");
        assert_eq!(number("*"), Ok("*".to_owned()));
        assert!(number("+").is_err());
    }

    #[test]
    fn private_is_what_the_internet_does_not_route() {
        for private in [
            "10.0.0.1",
            "172.31.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.1.1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["203.0.113.10", "100.128.0.1", "2001:db8::1", "172.32.0.1"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_log_filter_names_levels() {
        for good in ["info", "warn,trunkstream::sip=debug", "trunkstream::sip", "INFO"] {
            assert!(log_filter(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "trunkstream=loud", "", "info,"] {
            assert!(log_filter(bad).is_err(), "{bad}");
        }
    }
}
