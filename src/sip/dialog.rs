//! A dialog: tags, CSeq, route set, remote target (RFC 3261 section 12), and the requests built from them.

use std::net::{IpAddr, SocketAddr};

use super::incoming::{Arrival, Incoming};
use super::message::{CSeq, Headers, Method, Request, Response, Value};
use super::transaction::Path;
use super::uri::{Host, NameAddr, Scheme, Uri};
use crate::config::Transport;

/// One side's view of a dialog.
#[derive(Debug, Clone)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's tag; empty where an RFC 2543 peer has none, or none is known yet.
    pub remote_tag: String,
    /// The address shown in our Via and Contact; stays for the dialog's life (SIP-053).
    pub shown: SocketAddr,
    /// Where the INVITE came from, or went to.
    pub peer: Path,
    local: Value,
    remote: Value,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    route_set: Vec<String>,
    remote_target: String,
    nat_contact_fix: bool,
    /// Our Contact must be a `sips:` URI (section 12.1.1).
    is_sips: bool,
}

impl Dialog {
    /// The dialog that an INVITE to us opens (section 12.1.1). `nat_contact_fix` is SIP-052's exception.
    pub fn answering(incoming: &Incoming, local_tag: &str, shown: SocketAddr, nat_contact_fix: bool) -> Self {
        let headers = &incoming.request.headers;
        let value = |name| headers.values(name).next().cloned().unwrap_or_else(|| Value::from(""));
        Self {
            call_id: incoming.call_id.clone(),
            local_tag: local_tag.to_owned(),
            remote_tag: incoming.from.tag().unwrap_or_default().to_owned(),
            shown,
            peer: incoming.arrival.way_back(),
            is_sips: is_sips(incoming),
            local: value("To").with_suffix(&format!(";tag={local_tag}")),
            remote: value("From"),
            local_cseq: 0,
            remote_cseq: Some(incoming.cseq),
            route_set: headers.list("Record-Route").into_iter().map(str::to_owned).collect(),
            // RFC 2543 allowed an INVITE without Contact.
            remote_target: contact(headers).ok().flatten().unwrap_or_else(|| incoming.from.uri.raw().to_owned()),
            nat_contact_fix,
        }
    }

    /// The dialog that our INVITE may open; incomplete until a response with a tag is given to `establish`.
    pub fn calling(call_id: &str, local_tag: &str, from: &str, to: &str, shown: SocketAddr, peer: Path) -> Self {
        Self {
            call_id: call_id.to_owned(),
            local_tag: local_tag.to_owned(),
            remote_tag: String::new(),
            shown,
            peer,
            local: format!("{from};tag={local_tag}").into(),
            remote: to.into(),
            local_cseq: 0,
            remote_cseq: None,
            route_set: Vec::new(),
            remote_target: String::new(),
            nat_contact_fix: false,
            is_sips: false,
        }
    }

    /// Where a calling dialog's INVITE goes: its Request-URI.
    pub fn aim(&mut self, request_uri: &str) {
        request_uri.clone_into(&mut self.remote_target);
    }

    /// Our INVITE goes elsewhere: what an earlier callee said counts no more. `peer` has been set.
    pub fn retarget(&mut self, request_uri: &str, to: &str, shown: SocketAddr) {
        self.aim(request_uri);
        (self.remote, self.shown) = (to.into(), shown);
        self.remote_tag.clear();
        self.route_set.clear();
    }

    /// Takes tag, route set (reversed) and remote target from a response to our INVITE (section 12.1.2).
    pub fn establish(&mut self, response: &Response) {
        let headers = &response.headers;
        if let Some(to) = headers.values("To").next() {
            self.remote_tag = remote_tag(response);
            self.remote = to.clone();
        }
        self.route_set = headers.list("Record-Route").into_iter().rev().map(str::to_owned).collect();
        self.refresh_target(headers);
    }

    /// Takes the remote target from the Contact of a target refresh (SIP-050); without one it stays.
    pub fn refresh_target(&mut self, headers: &Headers) {
        if let Ok(Some(target)) = contact(headers) {
            self.remote_target = target;
        }
    }

    /// Our own address of record in this dialog, as the peer wrote it or was told it.
    pub fn local_uri(&self) -> Option<String> {
        NameAddr::parse(self.local.as_str()).ok().map(|local| local.uri.raw().to_owned())
    }

    /// Our Contact value.
    pub fn contact(&self) -> String {
        let scheme = if self.is_sips { "sips" } else { "sip" };
        format!("<{scheme}:{};transport={}>", self.shown, self.peer.transport.param())
    }

    /// A request of the peer came by this way: a connection of its own that it opened since is the one to use.
    pub fn heard(&mut self, arrival: &Arrival) {
        let same = arrival.listener == self.peer.listener && arrival.source.ip() == self.peer.to.ip();
        if same && arrival.connection.is_some() {
            self.peer = arrival.way_back();
        }
    }

    /// Accepts the CSeq number of a request in the dialog; `false` where it is lower than the last (SIP-039).
    pub fn accept_cseq(&mut self, cseq: u32) -> bool {
        let in_order = self.remote_cseq.is_none_or(|last| cseq >= last);
        if in_order {
            self.remote_cseq = Some(cseq);
        }
        in_order
    }

    /// The next CSeq number of ours.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq += 1;
        self.local_cseq
    }

    /// The number that [`Dialog::next_cseq`] will give.
    pub fn coming_cseq(&self) -> u32 {
        self.local_cseq + 1
    }

    /// A request in the dialog (section 12.2.1.1): loose or strict routing, Via with `branch`, Contact where it refreshes
    /// the target.
    pub fn request(&self, method: Method, cseq: u32, branch: &str) -> Request {
        let (uri, routes) = self.route();
        let mut headers = Headers::new();
        headers.push("Via", format!("SIP/2.0/{} {};branch={branch};rport", self.peer.transport.name(), self.shown));
        for route in routes {
            headers.push("Route", route);
        }
        headers.push("Max-Forwards", "70");
        headers.push("From", self.local.clone());
        headers.push("To", self.remote.clone());
        headers.push("Call-ID", self.call_id.clone());
        headers.push("CSeq", format!("{cseq} {}", method.as_str()));
        if [Method::INVITE, Method::UPDATE, Method::REFER].contains(&method) {
            headers.push("Contact", self.contact());
        }
        Request { method, uri, headers, body: Vec::new() }
    }

    /// Request-URI and Route lines.
    fn route(&self) -> (String, Vec<String>) {
        let Some(first) = self.route_set.first() else { return (self.remote_target.clone(), Vec::new()) };
        let strict = NameAddr::parse(first).ok().filter(|top| !top.uri.has_param("lr"));
        match strict {
            None => (self.remote_target.clone(), self.route_set.clone()),
            Some(top) => {
                // Headers must not stand in a Request-URI.
                let uri = top.uri.raw().split('?').next().unwrap_or_default().to_owned();
                let target = format!("<{}>", self.remote_target);
                (uri, self.route_set[1..].iter().cloned().chain([target]).collect())
            }
        }
    }

    /// Where requests of ours go: the top Route or the remote target (SIP-052). A host name there cannot be resolved
    /// here: then, and where the NAT fix applies, it is the address the INVITE came from. The peer's own connection is
    /// used while it is there, whatever port the peer says it listens on (SIP-114).
    pub fn next_hop(&self) -> Path {
        let transport = self.next_transport().unwrap_or(self.peer.transport);
        let address = match self.next_uri().as_ref().and_then(|uri| address_of(uri, transport)) {
            Some(address) if self.route_set.is_empty() && self.nat_contact_fix && is_private(address.ip()) => None,
            other => other,
        };
        let same_peer = address.is_none_or(|address| address.ip() == self.peer.to.ip());
        let connection = self.peer.connection.filter(|_| same_peer);
        Path { to: address.unwrap_or(self.peer.to), connection, ..self.peer }
    }

    /// The transport that the top Route or the remote target asks for; what came encrypted stays so.
    pub fn next_transport(&self) -> Option<Transport> {
        let uri = self.next_uri()?;
        if uri.scheme == Scheme::Sips || self.peer.transport.is_secure() {
            return Some(Transport::Tls);
        }
        uri.param("transport").and_then(Transport::parse)
    }

    fn next_uri(&self) -> Option<Uri> {
        let top = self.route_set.first().and_then(|route| NameAddr::parse(route).ok()).map(|route| route.uri);
        top.or_else(|| Uri::parse(&self.remote_target).ok())
    }
}

fn address_of(uri: &Uri, transport: Transport) -> Option<SocketAddr> {
    let maddr = uri.param("maddr").and_then(Host::parse).and_then(|host| host.ip());
    let ip: IpAddr = maddr.or_else(|| uri.host.as_ref()?.ip())?;
    (!ip.is_unspecified()).then(|| SocketAddr::new(ip, uri.port.unwrap_or(transport.default_port())))
}

/// Whether an INVITE that came over TLS asks for `sips:` all the way: by its Request-URI, its top Record-Route or, without
/// one, its Contact (section 12.1.1).
fn is_sips(incoming: &Incoming) -> bool {
    let headers = &incoming.request.headers;
    let beyond = headers.list("Record-Route").first().copied().or_else(|| headers.list("Contact").first().copied());
    let beyond = beyond.and_then(|value| NameAddr::parse(value).ok()).map(|value| value.uri);
    let asked = Uri::parse(&incoming.request.uri).ok().into_iter().chain(beyond).any(|uri| uri.scheme == Scheme::Sips);
    asked && incoming.arrival.transport.is_secure()
}

/// Whether an address means nothing outside its own network (RFC 1918, 6598, 3927, 4193).
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared
        }
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The URI of the first Contact, if there is one; `Err` where it cannot be read.
pub fn contact(headers: &Headers) -> Result<Option<String>, ()> {
    match headers.list("Contact").first() {
        None => Ok(None),
        Some(value) => NameAddr::parse(value).map(|contact| Some(contact.uri.raw().to_owned())).map_err(|_| ()),
    }
}

/// The To tag of a response; empty where there is none.
pub fn remote_tag(response: &Response) -> String {
    let to = response.headers.get("To").and_then(|to| NameAddr::parse(to).ok());
    to.as_ref().and_then(NameAddr::tag).unwrap_or_default().to_owned()
}

/// The CSeq number of a response.
pub fn cseq_of(response: &Response) -> u32 {
    cseq_in(&response.headers)
}

/// The CSeq number of a message.
pub fn cseq_in(headers: &Headers) -> u32 {
    headers.get("CSeq").and_then(CSeq::parse).map_or(0, |cseq| cseq.number)
}
