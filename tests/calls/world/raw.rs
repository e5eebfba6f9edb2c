//! A caller that writes its own SIP, letter by letter, for what a well-behaved endpoint does not do.

use super::World;
use super::link::Parcel;

pub const RAW: &str = "198.51.100.2:5060";

/// A dialog of the raw caller.
#[derive(Debug, Clone)]
pub struct RawCall {
    pub call_id: String,
    /// The bridge's tag, once known.
    pub tag: Option<String>,
    pub cseq: u32,
    branch: u32,
}

/// What the raw caller received.
#[derive(Debug, Clone)]
pub struct Got {
    pub text: String,
}

impl Got {
    pub fn line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let value = |line: &str| line.strip_prefix(name)?.strip_prefix(": ").map(str::len);
        let line = self.text.lines().find(|line| value(line).is_some())?;
        Some(&line[name.len() + 2..])
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

impl RawCall {
    pub fn new(call_id: &str) -> Self {
        Self { call_id: call_id.into(), tag: None, cseq: 1, branch: 0 }
    }

    /// A request of this dialog with its own branch; `more` are header lines, each with its line end.
    pub fn request(&mut self, method: &str, more: &str, body: &str) -> String {
        self.branch += 1;
        let (cseq, call_id) = (self.cseq, &self.call_id);
        let branch = format!("z9hG4bK{call_id}{}", self.branch);
        let tag = self.tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        let content =
            if body.is_empty() || more.contains("Content-Type") { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} sip:1000@192.0.2.10:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {RAW};branch={branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:0806@198.51.100.2>;tag=raw\r\nTo: <sip:1000@192.0.2.10>{tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:0806@{RAW}>\r\n\
             X-Exotel-AccountSid: acc1\r\n{more}{content}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

impl World {
    /// The raw caller sends this.
    pub fn raw_send(&mut self, text: &str) {
        let parcel =
            Parcel { from: RAW.parse().expect("an address"), to: self.bridge.address, bytes: text.as_bytes().to_vec() };
        self.link.send(self.now, parcel);
    }

    /// Everything the raw caller received whose first line begins with `start`.
    pub fn raw_got(&self, start: &str) -> Vec<&Got> {
        self.raw.iter().filter(|got| got.line().starts_with(start)).collect()
    }

    /// Waits for a message to the raw caller that begins with `start`, the newest one.
    pub fn raw_wait(&mut self, start: &str, limit_ms: u64) -> Got {
        self.raw.clear();
        self.until(limit_ms, start, |world| !world.raw_got(start).is_empty());
        (*self.raw_got(start).last().expect("just seen")).clone()
    }

    /// An INVITE with an offer for `port`, answered and acknowledged.
    pub fn raw_call(&mut self, call_id: &str, body: &str) -> RawCall {
        let mut call = RawCall::new(call_id);
        let invite = call.request("INVITE", "", body);
        self.raw_send(&invite);
        let ok = self.raw_wait("SIP/2.0 200", 5000);
        call.take_tag(&ok);
        let ack = call.request("ACK", "", "");
        self.raw_send(&ack);
        self.run(10);
        call
    }
}

impl RawCall {
    /// Remembers the bridge's tag.
    pub fn take_tag(&mut self, response: &Got) {
        let to = response.header("To").expect("a To");
        self.tag = to.split(";tag=").nth(1).map(str::to_owned);
    }
}

impl Got {
    /// The raw caller's response to this request; `more` are header lines, each with its line end.
    pub fn response(&self, code: u16, more: &str, body: &str) -> String {
        let line = |name: &str| format!("{name}: {}\r\n", self.header(name).expect("a header that every request has"));
        let copied: String = ["Via", "From", "To", "Call-ID", "CSeq"].map(line).concat();
        let content = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "SIP/2.0 {code} Whatever\r\n{copied}Contact: <sip:0806@{RAW}>\r\n{more}{content}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}
