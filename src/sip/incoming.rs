//! A request whose mandatory headers have been read (SIP-009, SIP-010, SIP-011), and the answers to those that cannot be.

use std::net::{IpAddr, SocketAddr};

use super::message::{CSeq, Headers, Method, Request, Response, SUPPORTED};
use super::transaction::{MergeKey, Path, ServerKey};
use super::uri::{NameAddr, Scheme, Uri};
use super::via::{self, Via};
use super::wire::Flaw;
use super::{ConnectionId, ListenerId};
use crate::config::Transport;

/// Where a message came from.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// What it came by.
    pub transport: Transport,
    /// The socket it came in on.
    pub listener: ListenerId,
    /// The connection it came by.
    pub connection: Option<ConnectionId>,
    /// Its source.
    pub source: SocketAddr,
    /// Who sent it: the source, or whom a trusted proxy names (SIP-092).
    pub peer: IpAddr,
    /// A missing `rport` counts as present (SIP-021).
    pub force_rport: bool,
}

impl Arrival {
    /// The way back to the very source.
    pub const fn way_back(&self) -> Path {
        self.way_to(self.source)
    }

    /// The way back, `to` being where it goes without the connection.
    const fn way_to(&self, to: SocketAddr) -> Path {
        Path { transport: self.transport, listener: self.listener, to, connection: self.connection }
    }
}

/// A readable request.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The request, its top Via marked (SIP-020).
    pub request: Request,
    /// Top Via as received.
    pub via: Via,
    /// From.
    pub from: NameAddr,
    /// To.
    pub to: NameAddr,
    /// Call-ID.
    pub call_id: String,
    /// CSeq number.
    pub cseq: u32,
    /// Where it came from.
    pub arrival: Arrival,
    /// Where its responses go.
    pub path: Path,
}

/// What cannot be served: the code and phrase to say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// 400, 416, 505 or 513.
    pub code: u16,
    /// A short phrase.
    pub phrase: String,
}

impl Malformed {
    fn bad(name: &str) -> Self {
        Self { code: 400, phrase: format!("Bad {name}") }
    }
}

/// A request that cannot be served, and what to answer it, where an answer can be built.
pub struct Unserved {
    /// Why.
    pub why: Malformed,
    /// The stateless answer and its path; none to an ACK or without a readable top Via.
    pub answer: Option<(Response, Path)>,
}

impl Incoming {
    /// Reads the mandatory headers of `request`; `flaw` is what the wire reader found.
    pub fn read(mut request: Request, flaw: Option<Flaw>, arrival: Arrival) -> Result<Self, Box<Unserved>> {
        let top = request.headers.list("Via").first().map(|top| (Via::parse(top), Via::parse_sent_by(top)));
        let (via, bad_via) = match top {
            Some((Some(via), _)) => (via, None),
            Some((None, Some(via))) => (via, Some(Malformed::bad("Via"))),
            Some((None, None)) | None => {
                return Err(Box::new(Unserved { why: Malformed::bad("Via"), answer: None }));
            }
        };
        let path = arrival.way_to(if arrival.transport.is_reliable() {
            via.reopen_target(arrival.source, arrival.transport)
        } else {
            via.response_target(arrival.source, arrival.force_rport)
        });
        let line = request.headers.get("Via").unwrap_or_default();
        let marked = via::mark_received(line, &via, arrival.source, arrival.force_rport);
        request.headers.replace_first("Via", marked);
        let flaw = flaw.map(|flaw| Malformed { code: flaw.code(), phrase: flaw.to_string() });
        match flaw.or(bad_via).map_or_else(|| mandatory(&request), Err) {
            Ok((from, to, call_id, cseq)) => Ok(Self { request, via, from, to, call_id, cseq, arrival, path }),
            Err(why) => {
                let answer = (request.method != Method::ACK).then(|| (refuse(&request, &why), path));
                Err(Box::new(Unserved { why, answer }))
            }
        }
    }

    /// The key of its server transaction, looked up as `method` (its own, or INVITE for a CANCEL's target).
    pub fn key(&self, method: &Method) -> ServerKey {
        ServerKey::new(&self.request, &self.via, self.cseq, self.from.tag().unwrap_or_default(), method)
    }

    /// What a merged copy would share; only requests outside a dialog can be merged.
    pub fn merge_key(&self) -> Option<MergeKey> {
        self.to.tag().is_none().then(|| MergeKey {
            call_id: self.call_id.clone(),
            from_tag: self.from.tag().unwrap_or_default().to_owned(),
            cseq: self.cseq,
            method: self.request.method.as_str().to_owned(),
        })
    }

    /// Tags of `Require` that are not supported (SIP-014); `timer` is whether there are session timers with this peer.
    pub fn unsupported(&self, timer: bool) -> Vec<&str> {
        let mut tags = self.request.headers.list("Require");
        let supported = |tag: &&str| SUPPORTED.iter().any(|own| own.eq_ignore_ascii_case(tag));
        tags.retain(|tag| !supported(tag) || (!timer && tag.eq_ignore_ascii_case("timer")));
        tags
    }
}

fn refuse(request: &Request, why: &Malformed) -> Response {
    let via = request.headers.get("Via").unwrap_or_default();
    let mut response = Response::to(request, why.code, &stateless_tag(&[via]));
    response.phrase.clone_from(&why.phrase);
    response
}

/// A To tag that is the same for every copy of a request (RFC 3261 section 8.2.7): FNV-1a over what identifies it.
pub fn stateless_tag(parts: &[&str]) -> String {
    let octets = parts.iter().flat_map(|part| part.bytes().chain([0]));
    let hash = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

type Mandatory = (NameAddr, NameAddr, String, u32);

fn mandatory(request: &Request) -> Result<Mandatory, Malformed> {
    let only = |name: &str| single(&request.headers, name).ok_or_else(|| Malformed::bad(name));
    let from = NameAddr::parse(only("From")?).map_err(|_| Malformed::bad("From"))?;
    let to = NameAddr::parse(only("To")?).map_err(|_| Malformed::bad("To"))?;
    let call_id = only("Call-ID")?;
    if call_id.is_empty() || call_id.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(Malformed::bad("Call-ID"));
    }
    let cseq = CSeq::parse(only("CSeq")?).filter(|cseq| cseq.method == request.method);
    let cseq = cseq.ok_or_else(|| Malformed::bad("CSeq"))?.number;
    if let Some(hops) = request.headers.get("Max-Forwards")
        && !(hops.bytes().all(|b| b.is_ascii_digit()) && hops.parse::<u8>().is_ok())
    {
        return Err(Malformed::bad("Max-Forwards"));
    }
    check_uri(&request.uri)?;
    Ok((from, to, call_id.to_owned(), cseq))
}

/// The value of a header that may stand once; copies that say the same are forgiven.
fn single<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name);
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}

fn check_uri(text: &str) -> Result<(), Malformed> {
    let uri = Uri::parse(text).map_err(|_| Malformed::bad("Request-URI"))?;
    match uri.scheme {
        Scheme::Other(_) => Err(Malformed { code: 416, phrase: super::message::phrase(416) }),
        Scheme::Sip | Scheme::Sips | Scheme::Tel if uri.has_headers() => Err(Malformed::bad("Request-URI")),
        Scheme::Sip | Scheme::Sips | Scheme::Tel => Ok(()),
    }
}
