//! What the kernel dropped at the RTP ports, read from `/proc/net/udp` now and then, away from the media threads.
//!
//! `SO_RXQ_OVFL` would tell it with every packet, and cost each one a control message. What is dropped between the last
//! look and the end of a call is not seen.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tracing::warn;

use crate::base::metric;
use crate::config::Media;

/// A look costs about 2 us a socket.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const TABLES: [&str; 2] = ["/proc/net/udp", "/proc/net/udp6"];

/// Looks for as long as the node runs.
pub async fn watch(media: Media) {
    let mut drops = KernelDrops::new(media);
    let mut interval = tokio::time::interval(LOOK_EVERY);
    loop {
        interval.tick().await;
        let Ok(tables) = tokio::task::spawn_blocking(read).await else { return };
        let Some(Dropped { total, worst_port, worst }) = drops.handle_tables(&tables) else { continue };
        metric::RTP_KERNEL_DROPS.add(total);
        warn!(
            dropped = total,
            worst_port, worst, "the kernel dropped RTP: a flood, or the media threads come too late to read it"
        );
    }
}

fn read() -> Vec<String> {
    TABLES.iter().filter_map(|path| std::fs::read_to_string(path).ok()).collect()
}

/// What was dropped since the last look.
#[derive(Debug, PartialEq, Eq)]
struct Dropped {
    /// Datagrams.
    total: u64,
    /// The port that lost most.
    worst_port: u16,
    /// What it lost.
    worst: u64,
}

/// A socket's line in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line {
    address: IpAddr,
    port: u16,
    inode: u64,
    drops: u64,
}

/// The sockets' counters at the last look. A socket is known by its inode: a port goes from call to call.
struct KernelDrops {
    media: Media,
    counters: HashMap<u64, u64>,
}

impl KernelDrops {
    fn new(media: Media) -> Self {
        Self { media, counters: HashMap::new() }
    }

    /// Compares the tables with the last ones; `None` where nothing was dropped.
    fn handle_tables(&mut self, tables: &[String]) -> Option<Dropped> {
        let Media { first_port, last_port, listen_address, .. } = self.media;
        let ours = |line: &Line| (first_port..=last_port).contains(&line.port) && line.address == listen_address;
        let mut counters = HashMap::new();
        let mut dropped = Dropped { total: 0, worst_port: 0, worst: 0 };
        for line in tables.iter().flat_map(|table| table.lines()).filter_map(Line::read).filter(ours) {
            let before = self.counters.get(&line.inode).copied().unwrap_or(0);
            // The kernel counts in 32 bits.
            let new = u64::from((line.drops as u32).wrapping_sub(before as u32));
            dropped.total += new;
            if new > dropped.worst {
                (dropped.worst_port, dropped.worst) = (line.port, new);
            }
            counters.insert(line.inode, line.drops);
        }
        self.counters = counters;
        (dropped.total > 0).then_some(dropped)
    }
}

impl Line {
    /// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ref pointer drops`; `None` for the head.
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (address, port) = fields.nth(1)?.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let inode = fields.nth(7)?.parse().ok()?;
        let drops = fields.nth(2)?.parse().ok()?;
        Some(Self { address: ip(address)?, port, inode, drops })
    }
}

/// 32-bit words in hexadecimal as this machine reads them: one for IPv4, four for IPv6.
fn ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (at, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(at * 8)?);
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::config::Config;

    const HEAD: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";

    fn media(address: &str, ports: &str) -> Media {
        let text = format!(
            "[sip]\nlisten = [\"udp:127.0.0.1:5060\"]\n[media]\nlisten_address = \"{address}\"\nrtp_ports = \"{ports}\""
        );
        Config::from_toml("t", &text, None).expect("a configuration").media
    }

    /// A table with (address, port, inode, drops).
    fn table(lines: &[(&str, u16, u64, u64)]) -> String {
        let lines = lines.iter().map(|(address, port, inode, drops)| {
            format!("\n 4177: {address}:{port:04X} 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 {inode} 2 00000000061f831b {drops}")
        });
        HEAD.to_owned() + &lines.collect::<String>()
    }

    fn localhost() -> String {
        format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 1]))
    }

    #[test]
    fn rtp_034_what_the_kernel_drops_at_our_ports_is_counted_once() {
        let (ours, other) = (localhost(), format!("{:08X}", u32::from_ne_bytes([127, 0, 0, 2])));
        let mut drops = KernelDrops::new(media("127.0.0.1", "10000-10999"));
        let mut look = |lines: &[(&str, u16, u64, u64)]| drops.handle_tables(&[table(lines)]);
        assert_eq!(look(&[(&ours, 10_000, 1, 0), (&ours, 10_001, 2, 0)]), None);
        let found =
            look(&[(&ours, 10_000, 1, 5), (&ours, 10_001, 2, 7), (&ours, 11_000, 3, 9), (&other, 10_002, 4, 9)]);
        assert_eq!(found, Some(Dropped { total: 12, worst_port: 10_001, worst: 7 }), "not another port or address");
        assert_eq!(look(&[(&ours, 10_000, 1, 5), (&ours, 10_001, 2, 7)]), None, "counted already");
        let found = look(&[(&ours, 10_000, 9, 2)]);
        assert_eq!(found, Some(Dropped { total: 2, worst_port: 10_000, worst: 2 }), "the next call on the port");
        assert_eq!(look(&[(&ours, 10_000, 9, 4_294_967_295)]).map(|dropped| dropped.total), Some(4_294_967_293));
        assert_eq!(look(&[(&ours, 10_000, 9, 3)]).map(|dropped| dropped.total), Some(4), "the counter wraps");
    }

    #[test]
    fn addresses_of_both_families_are_read_and_odd_lines_are_not() {
        let v6 = [0, 0, 0, u32::from_ne_bytes([0, 0, 0, 1])].map(|word| format!("{word:08X}")).concat();
        let table = table(&[(&v6, 10_000, 1, 3)]);
        let lines: Vec<Line> = table.lines().filter_map(Line::read).collect();
        assert_eq!(lines, [Line { address: "::1".parse().expect("valid"), port: 10_000, inode: 1, drops: 3 }]);
        for odd in ["", HEAD, "1: é:0 2", "1: 0100007F:2710 0", "1: 0100007F:xyz 0 0 0 0 0 0 0 0 0 0 0"] {
            assert_eq!(Line::read(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn what_overflows_a_socket_of_this_machine_is_found() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        let first = address.port().min(65_532) & !1;
        let mut drops = KernelDrops::new(media("127.0.0.1", &format!("{first}-{}", first + 3)));
        assert_eq!(drops.handle_tables(&read()), None);
        let sender = UdpSocket::bind("127.0.0.1:0").expect("a port");
        // More than the largest buffer that the system gives by itself.
        for _ in 0..20_000 {
            sender.send_to(&[0; 1400], address).expect("sent");
        }
        let found = drops.handle_tables(&read()).expect("dropped");
        assert!(found.total > 0 && found.worst_port == address.port(), "{found:?}");
    }
}
