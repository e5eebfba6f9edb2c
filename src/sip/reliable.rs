//! Reliable provisional responses (RFC 3262): their numbers, and what waits for a PRACK.

use std::collections::VecDeque;
use std::time::Duration;

use super::dialog::Dialog;
use super::message::{CSeq, Headers, Method, Response};
use super::reason::Reason;
use super::session_timer::lists;
use super::transaction::Path;

/// The option tag.
pub const TAG: &str = "100rel";
/// Provisional responses that may wait for a PRACK before they are sent.
const MAX_WAITING: usize = 8;
/// Callees of one INVITE whose numbers are remembered.
const MAX_FORKS: usize = 8;

/// A `RAck` header: which provisional response to an INVITE arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RAck {
    /// Its RSeq.
    pub rseq: u32,
    /// Its CSeq number.
    pub cseq: u32,
}

impl RAck {
    /// Reads `776656 1 INVITE`; `None` where it cannot be, or names another method.
    pub fn read(headers: &Headers) -> Option<Self> {
        let (rseq, cseq) = headers.get("RAck")?.trim().split_once([' ', '\t'])?;
        let cseq = CSeq::parse(cseq).filter(|cseq| cseq.method == Method::INVITE)?;
        Some(Self { rseq: number(rseq)?, cseq: cseq.number })
    }
}

impl std::fmt::Display for RAck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} INVITE", self.rseq, self.cseq)
    }
}

fn number(text: &str) -> Option<u32> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// Whether an INVITE's sender knows reliable provisional responses, and whether it demands them (section 3).
pub fn wanted(headers: &Headers) -> (bool, bool) {
    let required = lists(headers, "Require", TAG);
    (required || lists(headers, "Supported", TAG), required)
}

/// The RSeq of a response that is to be acknowledged (section 4).
pub fn rseq(response: &Response) -> Option<u32> {
    let is_reliable = (101..=199).contains(&response.code) && lists(&response.headers, "Require", TAG);
    response.headers.get("RSeq").filter(|_| is_reliable).and_then(|rseq| number(rseq.trim()))
}

/// Our reliable provisional responses to one INVITE (section 3).
#[derive(Debug)]
pub struct Reliable {
    next: u32,
    /// The one that was sent, until its PRACK. After a final response it is not sent again.
    pub unpracked: Option<Unpracked>,
    /// Those that are sent one by one once it came.
    pub waiting: VecDeque<(u16, Option<Vec<u8>>)>,
    /// A 2xx that waits for it.
    pub held: Option<Held>,
    /// One of them carried our answer or our offer: SDP stands in no other response to the INVITE.
    pub described: bool,
    /// Our offer in one of them has no answer yet.
    pub offering: bool,
}

/// A reliable provisional response on its way.
#[derive(Debug)]
pub struct Unpracked {
    /// What its PRACK must say.
    pub rack: RAck,
    pub response: Vec<u8>,
    pub path: Path,
    pub interval: Duration,
    pub has_sdp: bool,
}

/// A 2xx that waits for a PRACK.
#[derive(Debug)]
pub struct Held {
    pub sdp: Option<Vec<u8>>,
    /// The call was hung up meanwhile: BYE follows the 2xx.
    pub hangup: Option<Vec<Reason>>,
}

impl Reliable {
    /// None sent yet; `first` is the first RSeq, 1 to 2³¹ − 1.
    pub fn new(first: u32) -> Self {
        Self { next: first, unpracked: None, waiting: VecDeque::new(), held: None, described: false, offering: false }
    }

    /// The next RSeq.
    pub fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next.wrapping_sub(1)
    }

    /// Keeps a provisional response until the PRACK of the one before; too many are left out.
    pub fn wait(&mut self, code: u16, sdp: Option<Vec<u8>>) -> bool {
        let room = self.waiting.len() < MAX_WAITING;
        if room {
            self.waiting.push_back((code, sdp));
        }
        room
    }

    /// The response that a PRACK acknowledges; each once.
    pub fn take(&mut self, rack: RAck) -> Option<Unpracked> {
        self.unpracked.take_if(|unpracked| unpracked.rack == rack)
    }

    /// Whether a 2xx must wait (section 3).
    pub fn holds_answer(&self) -> bool {
        self.unpracked.as_ref().is_some_and(|unpracked| unpracked.has_sdp)
    }
}

/// Numbers of the reliable provisional responses to an INVITE of ours, one row a callee (section 4).
#[derive(Debug, Default)]
pub struct Numbers(Vec<(String, u32)>);

impl Numbers {
    /// Whether the response with this To tag and number is news, and the next in order.
    pub fn accept(&mut self, tag: &str, rseq: u32) -> bool {
        let known = self.0.iter_mut().find(|(known, _)| known == tag);
        match known.map(|(_, last)| (last.checked_add(1), last)) {
            Some((next, last)) if next == Some(rseq) => *last = rseq,
            Some(_) => return false,
            None => {
                let room = self.0.len() < MAX_FORKS;
                self.0.extend(room.then(|| (tag.to_owned(), rseq)));
                return room;
            }
        }
        true
    }
}

/// A PRACK that waits for our answer to the offer in the response.
#[derive(Debug)]
pub struct OwedPrack {
    pub rack: RAck,
    /// The dialog it goes into, which may be a fork of the call's own.
    pub dialog: Box<Dialog>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_063_a_rack_names_number_cseq_and_invite() {
        let read = |value: &str| {
            let mut headers = Headers::new();
            headers.push("RAck", value);
            RAck::read(&headers)
        };
        assert_eq!(read(" 776656  1 INVITE"), Some(RAck { rseq: 776_656, cseq: 1 }));
        for wrong in ["776656 1 BYE", "776656 INVITE", "+1 1 INVITE", "99999999999 1 INVITE", "1 1", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(RAck { rseq: 7, cseq: 2 }.to_string(), "7 2 INVITE");
    }

    #[test]
    fn sip_062_a_gap_a_copy_and_an_old_number_are_not_accepted_and_each_callee_has_its_own() {
        let mut numbers = Numbers::default();
        assert!(numbers.accept("a", 988_789) && numbers.accept("b", 1));
        for wrong in [988_789, 988_791, 988_788, 1] {
            assert!(!numbers.accept("a", wrong), "{wrong}");
        }
        assert!(numbers.accept("a", 988_790) && numbers.accept("b", 2));
        assert!(numbers.accept("c", u32::MAX) && !numbers.accept("c", 0));
        let accepted = (0..20).filter(|n: &u32| numbers.accept(&n.to_string(), 1)).count();
        assert_eq!(accepted, MAX_FORKS - 3);
    }
}
