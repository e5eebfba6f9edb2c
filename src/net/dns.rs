//! Questions to the DNS, by the system's resolver configuration. Answers are kept for their TTL, also those that say that
//! there is nothing. The home of `hickory-resolver`.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tracing::debug;

use crate::base::dns::{Answer, Naptr, Query, Srv};

/// That there is nothing is believed for this long at least …
const NOTHING_FOR: Duration = Duration::from_secs(10);
/// … and at most.
const NOTHING_AT_MOST: Duration = Duration::from_secs(60);
/// One server is waited for this long, twice.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the name servers of this machine.
pub struct Resolver(TokioResolver);

impl Resolver {
    /// By `/etc/resolv.conf` and `/etc/hosts`.
    ///
    /// # Errors
    /// What cannot be read there.
    pub fn from_system() -> Result<Self, String> {
        TokioResolver::builder_tokio().and_then(Self::build).map_err(|error| error.to_string())
    }

    fn build(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, NetError> {
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.negative_min_ttl = Some(NOTHING_FOR);
        options.negative_max_ttl = Some(NOTHING_AT_MOST);
        (options.timeout, options.attempts) = (PATIENCE, 2);
        builder.build().map(Self)
    }

    /// The answer to one question; without records where there is none, or nobody knows.
    pub async fn ask(&self, query: &Query) -> Answer {
        match query {
            Query::Naptr(name) => Answer::Naptr(self.records(name, RecordType::NAPTR, naptr).await),
            Query::Srv(name) => Answer::Srv(self.records(name, RecordType::SRV, srv).await),
            Query::Addresses(name) => Answer::Addresses(self.addresses(name).await),
        }
    }

    async fn records<T>(&self, name: &str, kind: RecordType, read: fn(&RData) -> Option<T>) -> Vec<T> {
        match self.0.lookup(absolute(name), kind).await {
            Ok(found) => found.answers().iter().filter_map(|record| read(&record.data)).collect(),
            Err(error) => {
                debug!(name, %kind, %error, "DNS has nothing");
                Vec::new()
            }
        }
    }

    /// IPv4 first.
    async fn addresses(&self, name: &str) -> Vec<IpAddr> {
        match self.0.lookup_ip(name).await {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.iter().collect();
                addresses.sort_by_key(IpAddr::is_ipv6);
                addresses
            }
            Err(error) => {
                debug!(name, %error, "DNS has no address");
                Vec::new()
            }
        }
    }
}

/// Service names are never looked for in the search domains.
fn absolute(name: &str) -> String {
    format!("{}.", name.trim_end_matches('.'))
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}

fn naptr(data: &RData) -> Option<Naptr> {
    let RData::NAPTR(record) = data else { return None };
    Some(Naptr {
        order: record.order,
        preference: record.preference,
        flags: text(&record.flags),
        services: text(&record.services),
        replacement: plain(&record.replacement),
    })
}

fn srv(data: &RData) -> Option<Srv> {
    let RData::SRV(record) = data else { return None };
    Some(Srv { priority: record.priority, weight: record.weight, port: record.port, target: plain(&record.target) })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use tokio::net::UdpSocket;

    use super::*;

    /// A name as DNS writes it.
    fn labels(name: &str) -> Vec<u8> {
        let label = |label: &str| [&[label.len() as u8], label.as_bytes()].concat();
        name.split('.').flat_map(label).chain([0]).collect()
    }

    /// What the server below knows of a name: type and RDATA of its records.
    fn records(name: &str, kind: u16) -> Vec<Vec<u8>> {
        match (name, kind) {
            ("pbx.example", 35) => {
                vec![[&[0, 10, 0, 50, 1, b's', 7][..], b"SIP+D2U", &[0], &labels("_sip._udp.pbx.example")].concat()]
            }
            ("_sip._udp.pbx.example", 33) => vec![[&[0, 10, 0, 60, 0x13, 0xd8][..], &labels("a.pbx.example")].concat()],
            ("a.pbx.example", 1) => vec![vec![192, 0, 2, 1]],
            ("a.pbx.example", 28) => {
                vec!["2001:db8::1".parse::<std::net::Ipv6Addr>().expect("an address").octets().to_vec()]
            }
            _ => Vec::new(),
        }
    }

    /// A name server with those records; how often it was asked.
    async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let (address, asked) = (socket.local_addr().expect("bound"), Arc::new(AtomicUsize::new(0)));
        let count = asked.clone();
        tokio::spawn(async move {
            let mut query = [0; 512];
            while let Ok((_, from)) = socket.recv_from(&mut query).await {
                count.fetch_add(1, Ordering::Relaxed);
                let end = 12 + query[12..].iter().position(|octet| *octet == 0).expect("a name") + 5;
                let name: String = {
                    let (mut at, mut parts) = (12, Vec::new());
                    while query[at] > 0 {
                        let next = at + 1 + usize::from(query[at]);
                        parts.push(String::from_utf8_lossy(&query[at + 1..next]).to_lowercase());
                        at = next;
                    }
                    parts.join(".")
                };
                let kind = u16::from_be_bytes([query[end - 4], query[end - 3]]);
                let found = records(&name, kind);
                let (code, authorities) = if found.is_empty() { (0x83, 1) } else { (0x80, 0) };
                let mut answer =
                    [&query[..2], &[0x85, code, 0, 1, 0, found.len() as u8, 0, authorities, 0, 0], &query[12..end]]
                        .concat();
                let mut record = |kind: u16, data: &[u8]| {
                    answer.extend([0xc0, 12]);
                    answer.extend(kind.to_be_bytes());
                    answer.extend([0, 1, 0, 0, 0, 60]);
                    answer.extend((data.len() as u16).to_be_bytes());
                    answer.extend(data);
                };
                found.iter().for_each(|data| record(kind, data));
                if found.is_empty() {
                    record(6, &[&labels("ns.example")[..], &labels("me.example"), &[0; 16], &[0, 0, 0, 1]].concat());
                }
                let _ = socket.send_to(&answer, from).await;
            }
        });
        (address, asked)
    }

    fn resolver(server: SocketAddr) -> Resolver {
        let mut connection = ConnectionConfig::udp();
        connection.port = server.port();
        let name_server = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
        Resolver::build(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
            .expect("a resolver")
    }

    #[tokio::test]
    async fn sip_055_naptr_srv_and_addresses_come_as_the_server_has_them() {
        let (address, _) = server().await;
        let resolver = resolver(address);
        let service = "_sip._udp.pbx.example";
        let naptr = Naptr {
            order: 10,
            preference: 50,
            flags: "s".into(),
            services: "SIP+D2U".into(),
            replacement: service.into(),
        };
        assert_eq!(resolver.ask(&Query::Naptr("pbx.example".into())).await, Answer::Naptr(vec![naptr]));
        let srv = Srv { priority: 10, weight: 60, port: 5080, target: "a.pbx.example".into() };
        assert_eq!(resolver.ask(&Query::Srv(service.into())).await, Answer::Srv(vec![srv]));
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().expect("an address")).to_vec();
        assert_eq!(resolver.ask(&Query::Addresses("a.pbx.example".into())).await, Answer::Addresses(addresses));
    }

    #[tokio::test]
    async fn sip_055_that_there_is_nothing_is_asked_once() {
        let (address, asked) = server().await;
        let resolver = resolver(address);
        for _ in 0..5 {
            assert_eq!(resolver.ask(&Query::Srv("_sip._udp.nowhere.example".into())).await, Answer::Srv(Vec::new()));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }
}
