//! Locating SIP servers (RFC 3263 section 4): from a destination to the addresses a request tries in turn. It says what to
//! ask DNS and takes the answers; who asks is somebody else's business.
//!
//! ```text
//!  sip:192.0.2.1        ──────────────────────────────────────────────────────► that address
//!  sip:host:5070        ─────────────────────────────────► A, AAAA of host ───► port 5070
//!  sip:host             NAPTR ─► SRV, by priority and weight ─► A, AAAA of each, its port
//!                          └ none: SRV of _sip._udp.host ──┴ none: A, AAAA of host ───► port 5060
//! ```

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::via::DEFAULT_PORT;
use crate::base::dns::{Answer, Naptr, Query, Srv};
use crate::base::random::Random;
use crate::config::{Destination, DestinationHost};

/// Addresses found at most.
const MAX_TARGETS: usize = 16;
/// Questions asked at most for one destination.
const MAX_QUERIES: usize = 32;
/// What NAPTR calls SIP over UDP.
const UDP_SERVICE: &str = "SIP+D2U";

/// A question and, for a host's addresses, the port that goes with them.
#[derive(Debug)]
struct Step {
    query: Query,
    port: u16,
}

/// One destination being located.
#[derive(Debug)]
pub struct Locating {
    name: String,
    steps: VecDeque<Step>,
    targets: Vec<SocketAddr>,
    /// Some SRV record was there: the host itself is not asked for.
    has_service: bool,
    asked: usize,
}

impl Locating {
    /// Begins.
    #[must_use]
    pub fn new(destination: &Destination) -> Self {
        let Destination { host, port, transport } = destination;
        let empty = |name: &str| Self {
            name: name.to_owned(),
            steps: VecDeque::new(),
            targets: Vec::new(),
            has_service: false,
            asked: 0,
        };
        match host {
            DestinationHost::Ip(ip) => {
                Self { targets: vec![SocketAddr::new(*ip, port.unwrap_or(DEFAULT_PORT))], ..empty("") }
            }
            DestinationHost::Name(name) => {
                let mut locating = empty(name);
                match (port, transport) {
                    (Some(port), _) => locating.ask(Query::Addresses(name.clone()), *port),
                    (None, Some(_)) => locating.ask_service(),
                    (None, None) => locating.ask(Query::Naptr(name.clone()), DEFAULT_PORT),
                }
                locating
            }
        }
    }

    fn ask(&mut self, query: Query, port: u16) {
        if self.asked < MAX_QUERIES {
            self.asked += 1;
            self.steps.push_back(Step { query, port });
        }
    }

    fn ask_service(&mut self) {
        self.ask(Query::Srv(format!("_sip._udp.{}", self.name)), DEFAULT_PORT);
    }

    /// What to ask next; `None` where everything is known.
    #[must_use]
    pub fn poll_query(&self) -> Option<&Query> {
        self.steps.front().map(|step| &step.query)
    }

    /// The answer to what `poll_query` gave.
    pub fn handle_answer(&mut self, answer: Answer, random: &mut Random) {
        let Some(Step { port, .. }) = self.steps.pop_front() else { return };
        match answer {
            Answer::Naptr(records) => {
                let services = services(records);
                if services.is_empty() {
                    self.ask_service();
                }
                services.into_iter().for_each(|name| self.ask(Query::Srv(name), DEFAULT_PORT));
            }
            Answer::Srv(records) => {
                self.has_service |= !records.is_empty();
                for Srv { target, port, .. } in in_order(records, random) {
                    if !matches!(target.as_str(), "" | ".") {
                        self.ask(Query::Addresses(target), port);
                    }
                }
            }
            Answer::Addresses(addresses) => {
                let new = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
                for target in new.filter(|target| !target.ip().is_unspecified()) {
                    if self.targets.len() < MAX_TARGETS && !self.targets.contains(&target) {
                        self.targets.push(target);
                    }
                }
                return;
            }
        }
        if self.steps.is_empty() && !self.has_service {
            self.ask(Query::Addresses(self.name.clone()), DEFAULT_PORT);
        }
    }

    /// Where to go, in turn.
    #[must_use]
    pub fn into_targets(self) -> Vec<SocketAddr> {
        self.targets
    }
}

/// The SRV names of SIP over UDP, in the order in which they are to be tried (RFC 3403 section 4.1: the lowest order alone).
fn services(mut records: Vec<Naptr>) -> Vec<String> {
    let fits =
        |record: &Naptr| record.flags.eq_ignore_ascii_case("s") && record.services.eq_ignore_ascii_case(UDP_SERVICE);
    records.retain(fits);
    records.sort_by_key(|record| (record.order, record.preference));
    let lowest = records.first().map(|record| record.order);
    records.into_iter().filter(|record| Some(record.order) == lowest).map(|record| record.replacement).collect()
}

/// SRV records in the order in which they are to be tried: by priority, those of one priority drawn by weight (RFC 2782).
#[must_use]
pub fn in_order(mut records: Vec<Srv>, random: &mut Random) -> Vec<Srv> {
    let mut ordered = Vec::with_capacity(records.len());
    records.sort_by_key(|record| record.priority);
    while let Some(priority) = records.first().map(|record| record.priority) {
        let same = records.partition_point(|record| record.priority == priority);
        let mut group: Vec<Srv> = records.drain(..same).collect();
        // Those of weight 0 stand first, so that they have a small chance.
        group.sort_by_key(|record| record.weight > 0);
        while !group.is_empty() {
            ordered.push(group.remove(draw(&group, random)));
        }
    }
    ordered
}

fn draw(group: &[Srv], random: &mut Random) -> usize {
    let total: u32 = group.iter().map(|record| u32::from(record.weight)).sum();
    let (drawn, mut sum) = (random.below(total + 1), 0);
    let reached = group.iter().position(|record| {
        sum += u32::from(record.weight);
        sum >= drawn
    });
    reached.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config::DestinationTransport;

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
        Srv { priority, weight, port, target: target.into() }
    }

    fn naptr(order: u16, preference: u16, services: &str, replacement: &str) -> Naptr {
        Naptr { order, preference, flags: "S".into(), services: services.into(), replacement: replacement.into() }
    }

    /// A zone file: what it answers to.
    #[derive(Default)]
    struct Zone {
        naptr: HashMap<&'static str, Vec<Naptr>>,
        srv: HashMap<&'static str, Vec<Srv>>,
        hosts: HashMap<&'static str, Vec<&'static str>>,
    }

    impl Zone {
        fn answer(&self, query: &Query) -> Answer {
            match query {
                Query::Naptr(name) => Answer::Naptr(self.naptr.get(name.as_str()).cloned().unwrap_or_default()),
                Query::Srv(name) => Answer::Srv(self.srv.get(name.as_str()).cloned().unwrap_or_default()),
                Query::Addresses(name) => {
                    let texts = self.hosts.get(name.as_str()).cloned().unwrap_or_default();
                    Answer::Addresses(texts.iter().map(|text| text.parse().expect("an address")).collect())
                }
            }
        }

        fn locate(&self, destination: &Destination) -> Vec<String> {
            let (mut locating, mut random) = (Locating::new(destination), Random::from_number(1));
            while let Some(query) = locating.poll_query() {
                let answer = self.answer(query);
                locating.handle_answer(answer, &mut random);
            }
            locating.into_targets().iter().map(ToString::to_string).collect()
        }
    }

    fn to(name: &str, port: Option<u16>, transport: Option<DestinationTransport>) -> Destination {
        Destination { host: DestinationHost::Name(name.into()), port, transport }
    }

    #[test]
    fn sip_055_an_address_and_a_name_with_a_port_need_no_service_records() {
        let zone = Zone { hosts: [("pbx.example", vec!["192.0.2.7", "2001:db8::7"])].into(), ..Zone::default() };
        let ip =
            Destination { host: DestinationHost::Ip("192.0.2.1".parse().expect("ip")), port: None, transport: None };
        assert_eq!(zone.locate(&ip), ["192.0.2.1:5060"]);
        assert_eq!(zone.locate(&to("pbx.example", Some(5070), None)), ["192.0.2.7:5070", "[2001:db8::7]:5070"]);
        assert_eq!(
            zone.locate(&to("pbx.example", None, None)),
            ["192.0.2.7:5060", "[2001:db8::7]:5060"],
            "nothing but A"
        );
        assert_eq!(zone.locate(&to("nowhere.example", None, None)), [""; 0]);
    }

    #[test]
    fn sip_055_naptr_leads_to_srv_and_that_to_hosts_in_order() {
        let zone = Zone {
            naptr: [(
                "pbx.example",
                vec![
                    naptr(20, 1, "SIP+D2U", "_later.pbx.example"),
                    naptr(10, 50, "SIP+D2U", "_second.pbx.example"),
                    naptr(10, 10, "sip+d2u", "_first.pbx.example"),
                    naptr(5, 10, "SIPS+D2T", "_tls.pbx.example"),
                ],
            )]
            .into(),
            srv: [
                ("_first.pbx.example", vec![srv(20, 0, 5062, "b"), srv(10, 0, 5061, "a")]),
                ("_second.pbx.example", vec![srv(1, 0, 5063, "a")]),
                ("_later.pbx.example", vec![srv(1, 0, 5064, "a")]),
            ]
            .into(),
            hosts: [
                ("a", vec!["192.0.2.1"]),
                ("b", vec!["192.0.2.2", "192.0.2.3"]),
                ("pbx.example", vec!["192.0.2.9"]),
            ]
            .into(),
        };
        let expected = ["192.0.2.1:5061", "192.0.2.2:5062", "192.0.2.3:5062", "192.0.2.1:5063"];
        assert_eq!(zone.locate(&to("pbx.example", None, None)), expected);
    }

    #[test]
    fn sip_055_without_naptr_or_with_a_transport_the_service_name_is_asked_for() {
        let mut zone =
            Zone { hosts: [("a", vec!["192.0.2.1"]), ("pbx.example", vec!["192.0.2.9"])].into(), ..Zone::default() };
        zone.srv.insert("_sip._udp.pbx.example", vec![srv(0, 0, 5099, "a")]);
        for transport in [None, Some(DestinationTransport::Udp)] {
            assert_eq!(zone.locate(&to("pbx.example", None, transport)), ["192.0.2.1:5099"]);
        }
        zone.srv.insert("_sip._udp.pbx.example", vec![srv(0, 0, 0, ".")]);
        assert_eq!(zone.locate(&to("pbx.example", None, None)), [""; 0], "decidedly not there (RFC 2782)");
    }

    #[test]
    fn sip_055_those_of_one_priority_come_first_by_their_weights() {
        let mut random = Random::from_number(7);
        let mut first: HashMap<String, u32> = HashMap::new();
        for _ in 0..10_000 {
            let records =
                vec![srv(1, 60, 1, "a"), srv(1, 30, 1, "b"), srv(1, 10, 1, "c"), srv(0, 0, 1, "z"), srv(2, 99, 1, "y")];
            let order: Vec<String> = in_order(records, &mut random).into_iter().map(|record| record.target).collect();
            assert_eq!((order[0].as_str(), order[4].as_str()), ("z", "y"));
            *first.entry(order[1].clone()).or_default() += 1;
        }
        for (target, share) in [("a", 6000), ("b", 3000), ("c", 1000)] {
            assert!(first[target].abs_diff(share) < 300, "{target}: {} of 10000", first[target]);
        }
    }

    proptest! {
        #[test]
        fn every_record_is_tried_once_by_priority(weights in proptest::collection::vec((0..4_u16, any::<u16>()), 0..20)) {
            let records: Vec<Srv> = (1..).zip(&weights).map(|(port, (p, w))| srv(*p, *w, port, "h")).collect();
            let ordered = in_order(records, &mut Random::from_number(3));
            let mut ports: Vec<u16> = ordered.iter().map(|record| record.port).collect();
            ports.sort_unstable();
            prop_assert_eq!(ports, (1..=weights.len() as u16).collect::<Vec<_>>());
            prop_assert!(ordered.is_sorted_by_key(|record| record.priority));
        }

        #[test]
        fn names_that_lead_in_a_circle_end(seed in any::<u64>()) {
            let mut locating = Locating::new(&to("pbx.example", None, None));
            let (mut random, mut asked) = (Random::from_number(seed), 0);
            while let Some(query) = locating.poll_query() {
                asked += 1;
                let answer = match query {
                    Query::Naptr(_) => Answer::Naptr(vec![naptr(1, 1, "SIP+D2U", "_x"); 50]),
                    Query::Srv(_) => Answer::Srv(vec![srv(1, 1, 1, "h"); 50]),
                    Query::Addresses(_) => Answer::Addresses((0..=255).map(|n| [192, 0, 2, n].into()).collect()),
                };
                locating.handle_answer(answer, &mut random);
            }
            prop_assert!(asked <= MAX_QUERIES && locating.into_targets().len() <= MAX_TARGETS);
        }
    }
}
