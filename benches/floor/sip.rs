//! The caller's side of a call, no more than the bench needs (RFC 3261 section 8.1): INVITE, ACK, BYE over UDP.

use std::net::{IpAddr, SocketAddr};

/// One call's dialog.
pub struct Dialog {
    number: usize,
    local: SocketAddr,
    bridge: SocketAddr,
    /// `To` with the bridge's tag, once it has answered.
    to: String,
    /// Where ACK and BYE go: the answer's Contact.
    target: String,
}

/// A response, as far as it matters here.
pub struct Answer {
    pub call: usize,
    pub code: u16,
    pub to_invite: bool,
    pub to: String,
    pub contact: String,
    pub media: Option<SocketAddr>,
}

impl Dialog {
    pub fn new(number: usize, local: SocketAddr, bridge: SocketAddr) -> Self {
        let to = format!("<sip:1000@{bridge}>");
        Self { number, local, bridge, to, target: format!("sip:1000@{bridge}") }
    }

    /// Where the bridge takes signalling.
    pub fn bridge(&self) -> SocketAddr {
        self.bridge
    }

    /// INVITE with an offer of PCMU at `media`.
    pub fn invite(&self, media: SocketAddr) -> String {
        let (ip, port) = (media.ip(), media.port());
        let offer = format!(
            "v=0\r\no=- {0} 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0 101\r\n\
             a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n",
            self.number + 1
        );
        let more = format!(
            "Contact: <sip:floor@{}>\r\nX-Exotel-AccountSid: acc1\r\nContent-Type: application/sdp\r\n",
            self.local
        );
        self.request("INVITE", 1, &more, &offer)
    }

    /// Takes what the 200 says about the dialog.
    pub fn established(&mut self, answer: &Answer) {
        self.to.clone_from(&answer.to);
        self.target.clone_from(&answer.contact);
    }

    pub fn ack(&self) -> String {
        self.request("ACK", 1, "", "")
    }

    pub fn bye(&self) -> String {
        self.request("BYE", 2, "", "")
    }

    fn request(&self, method: &str, sequence: u32, more: &str, body: &str) -> String {
        let Self { number, local, to, target, bridge } = self;
        // ACK of a 200 is a transaction of its own (section 13.2.2.4).
        format!(
            "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK-floor-{number}-{method};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:caller{number}@{ip}>;tag=floor{number}\r\nTo: {to}\r\n\
             Call-ID: floor-{number}@{bridge}\r\nCSeq: {sequence} {method}\r\n{more}Content-Length: {length}\r\n\r\n{body}",
            ip = local.ip(),
            length = body.len()
        )
    }
}

/// Reads a response to one of the calls; `None` for anything else.
pub fn read(datagram: &str) -> Option<Answer> {
    let (head, body) = datagram.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()?;
    let header = |name: &str| header(head, name);
    let call = header("Call-ID")?.strip_prefix("floor-")?.split('@').next()?.parse().ok()?;
    let contact = header("Contact").unwrap_or_default();
    let contact = contact.split_once('<').and_then(|(_, rest)| rest.split('>').next()).unwrap_or(contact);
    Some(Answer {
        call,
        code,
        to_invite: header("CSeq")?.ends_with("INVITE"),
        to: header("To")?.to_owned(),
        contact: contact.to_owned(),
        media: media(body),
    })
}

/// Is it a request? Its 200, for a BYE or whatever the bridge asks.
pub fn ok_to(request: &str) -> Option<String> {
    let (head, _) = request.split_once("\r\n\r\n")?;
    if head.starts_with("SIP/2.0") || head.starts_with("ACK ") {
        return None;
    }
    let kept = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
    let lines = head.lines().filter(|line| kept.iter().any(|name| line.starts_with(name)));
    let lines: Vec<&str> = lines.collect();
    Some(format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n")))
}

/// OPTIONS, to see whether the bridge is up.
pub fn options(local: SocketAddr, bridge: SocketAddr, attempt: u32) -> String {
    format!(
        "OPTIONS sip:{bridge} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK-floor-options-{attempt};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:floor@{local}>;tag=floor\r\nTo: <sip:{bridge}>\r\n\
         Call-ID: floor-options-{attempt}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
    )
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn media(body: &str) -> Option<SocketAddr> {
    let ip: IpAddr = body.lines().find_map(|line| line.strip_prefix("c=IN IP4 "))?.trim().parse().ok()?;
    let port = body.lines().find_map(|line| line.strip_prefix("m=audio "))?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}
