//! Keeps the SIP task told where the destinations of trunks are (SIP-055).

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use crate::base::dns::{Answer, Query};
use crate::base::random::Random;
use crate::config::{Destination, DestinationHost, Trunk};
use crate::net::dns::Resolver;
use crate::server::calls_out::TrunkCommand;
use crate::sip::Target;
use crate::sip::locate::Locating;

/// Names are asked for anew this often; the resolver asks nobody before a TTL has passed.
const REFRESH: Duration = Duration::from_secs(30);

/// Where the destinations of a trunk are, in the order in which they are tried.
pub async fn locate(resolver: Option<&Resolver>, destinations: &[Destination], random: &mut Random) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for destination in destinations {
        let mut locating = Locating::new(destination);
        while let Some(query) = locating.poll_query() {
            let answer = match resolver {
                Some(resolver) => resolver.ask(query).await,
                None => nothing(query),
            };
            locating.handle_answer(answer, random);
        }
        let host = destination.to_string();
        for address in locating.into_targets() {
            if targets.iter().all(|known| known.address != address) {
                targets.push(Target { host: host.clone(), address });
            }
        }
    }
    targets
}

/// The same with a resolver of its own, where one is needed.
pub async fn locate_once(destinations: &[Destination]) -> Vec<Target> {
    let resolver = if destinations.iter().any(is_name) { system_resolver() } else { None };
    let mut random = Random::from_system().unwrap_or_else(|_| Random::from_number(0));
    locate(resolver.as_ref(), destinations, &mut random).await
}

fn is_name(destination: &Destination) -> bool {
    matches!(destination.host, DestinationHost::Name(_))
}

fn nothing(query: &Query) -> Answer {
    match query {
        Query::Naptr(_) => Answer::Naptr(Vec::new()),
        Query::Srv(_) => Answer::Srv(Vec::new()),
        Query::Addresses(_) => Answer::Addresses(Vec::new()),
    }
}

/// Tells where the destinations of `trunks` are, now and when that changes. What DNS no longer knows stays as it was.
pub async fn keep_told(trunks: Vec<Arc<Trunk>>, task: UnboundedSender<TrunkCommand>, mut random: Random) {
    let with_destinations = trunks.into_iter().filter(|trunk| !trunk.outgoing.destinations.is_empty());
    let mut told: Vec<(Arc<Trunk>, Option<Vec<Target>>)> = with_destinations.map(|trunk| (trunk, None)).collect();
    let names = told.iter().any(|(trunk, _)| trunk.outgoing.destinations.iter().any(is_name));
    let resolver = if names { system_resolver() } else { None };
    loop {
        for (trunk, known) in &mut told {
            let targets = locate(resolver.as_ref(), &trunk.outgoing.destinations, &mut random).await;
            if targets.is_empty() && known.is_none() {
                warn!(trunk = trunk.name, "no destination of the trunk has an address: calls out cannot be placed yet");
            }
            // SRV weights are drawn anew each time: only who is there counts as news.
            let same = |known: &Vec<Target>| known.len() == targets.len() && known.iter().all(|t| targets.contains(t));
            let is_news = !targets.is_empty() && !known.as_ref().is_some_and(same);
            if is_news {
                let addresses: Vec<_> = targets.iter().map(|target| target.address).collect();
                info!(trunk = trunk.name, ?addresses, "calls out go to");
            }
            if is_news || known.is_none() || names {
                let current = if targets.is_empty() { known.clone().unwrap_or_default() } else { targets };
                let told = TrunkCommand::Targets { trunk: trunk.name.clone(), targets: current.clone() };
                if task.send(told).is_err() {
                    return;
                }
                *known = Some(current);
            }
        }
        if !names {
            return;
        }
        tokio::time::sleep(REFRESH).await;
    }
}

fn system_resolver() -> Option<Resolver> {
    match Resolver::from_system() {
        Ok(resolver) => Some(resolver),
        Err(error) => {
            warn!(error, "names of destinations cannot be looked up: is /etc/resolv.conf there?");
            None
        }
    }
}
