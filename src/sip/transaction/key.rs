//! What a message and its transaction have in common.

use crate::sip::message::{CSeq, Headers, Method, Request, Value};
use crate::sip::via::Via;

/// What a request is matched by (RFC 3261 section 17.2.3). An ACK and a CANCEL look for their INVITE's key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerKey {
    /// The branch has the magic cookie.
    Branch {
        /// Branch of the top Via.
        branch: String,
        /// Sent-by of the top Via.
        sent_by: String,
        /// Method, an ACK's being INVITE.
        method: String,
    },
    /// RFC 2543: no cookie.
    Older {
        /// Request-URI, From tag, Call-ID and top Via, joined by line ends.
        text: String,
        /// CSeq number.
        cseq: u32,
        /// Method, an ACK's being INVITE.
        method: String,
    },
}

impl ServerKey {
    /// The key of a request with these parts, looked up as `method`.
    pub fn new(request: &Request, via: &Via, cseq: u32, from_tag: &str, method: &Method) -> Self {
        let method = if *method == Method::ACK { "INVITE" } else { method.as_str() }.to_owned();
        match via.branch() {
            Some(branch) => Self::Branch { branch: branch.to_owned(), sent_by: via.sent_by(), method },
            None => {
                let header = |name| request.headers.get(name).unwrap_or_default();
                let via = request.headers.list("Via").first().copied().unwrap_or_default();
                let text = [request.uri.as_str(), from_tag, header("Call-ID"), via].join("\n");
                Self::Older { text, cseq, method }
            }
        }
    }
}

/// What a merged copy of a request shares with the first: Call-ID, From tag, CSeq (RFC 3261 section 8.2.2.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MergeKey {
    pub call_id: String,
    pub from_tag: String,
    pub cseq: u32,
    pub method: String,
}

/// The branch of the top Via.
pub fn branch(headers: &Headers) -> Option<String> {
    let via = Via::parse(headers.list("Via").first()?)?;
    via.branch().map(str::to_owned)
}

/// A CANCEL, or the ACK of a non-2xx final: the INVITE's own Via, From, Call-ID, Route and CSeq number
/// (RFC 3261 sections 9.1 and 17.1.1.3).
pub fn same_branch(invite: &Request, method: Method, to: Option<&Value>) -> Request {
    let mut headers = Headers::new();
    headers.copy(&invite.headers, "Via");
    headers.copy(&invite.headers, "Route");
    headers.push("Max-Forwards", "70");
    headers.copy(&invite.headers, "From");
    match to {
        Some(to) => headers.push("To", to.clone()),
        None => headers.copy(&invite.headers, "To"),
    }
    headers.copy(&invite.headers, "Call-ID");
    let number = invite.headers.get("CSeq").and_then(CSeq::parse).map_or(0, |cseq| cseq.number);
    headers.push("CSeq", format!("{number} {}", method.as_str()));
    Request { method, uri: invite.uri.clone(), headers, body: Vec::new() }
}
