//! REFER (RFC 3515, RFC 4488): whom a transfer of ours names, and what its NOTIFYs mean (SIP-100 to SIP-104).
//!
//! ```text
//!          Sent ── 2xx or NOTIFY ──► Accepted ── sipfrag 2xx, BYE ───────────────────────► Over: succeeded
//!           └──── 300 to 699 ──────────┴──────── sipfrag ≥ 300, silence, time-out ───────► Over: failed
//! ```

use std::fmt;
use std::time::{Duration, Instant};

use super::message::Headers;
use super::replaces::Replaces;
use super::syntax::Params;
use super::uri::{Scheme, Uri, UriError, escape_header};

/// How long a subscription that ended without a final result is waited for: the peer's BYE may be on its way (SIP-102).
const GRACE: Duration = Duration::from_secs(2);
/// Referrals remembered in one dialog, so that late NOTIFYs find theirs.
const MAX_REFERRALS: usize = 8;

/// Whom another user agent is told to call: a URI and the headers that its INVITE is to carry, escaped into that URI
/// (RFC 3261 section 19.1.1), for contact centres do not read them elsewhere (SIP-101).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferTarget {
    uri: String,
    headers: Vec<(String, String)>,
}

impl ReferTarget {
    /// The `sip:` or `sips:` URI `uri`.
    ///
    /// # Errors
    /// [`UriError`] where it is none, or has headers already.
    pub fn new(uri: &str) -> Result<Self, UriError> {
        let read = Uri::parse(uri)?;
        match read.scheme {
            Scheme::Sip | Scheme::Sips if !read.has_headers() => Ok(Self { uri: uri.to_owned(), headers: Vec::new() }),
            Scheme::Sip | Scheme::Sips => Err(UriError::Character),
            Scheme::Tel | Scheme::Other(_) => Err(UriError::Scheme),
        }
    }

    /// The same with a header of the call that follows; `value` is escaped here.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same for a call that takes the place of another one: attended transfer (RFC 5589 section 7, SIP-104).
    #[must_use]
    pub fn replacing(self, replaces: &Replaces) -> Self {
        self.header("Replaces", &replaces.to_string())
    }
}

/// The value of Refer-To, or of a Contact in a 302.
impl fmt::Display for ReferTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.uri)?;
        for (n, (name, value)) in self.headers.iter().enumerate() {
            write!(f, "{}{}={}", if n == 0 { '?' } else { '&' }, escape_header(name), escape_header(value))?;
        }
        f.write_str(">")
    }
}

/// The arguments of `Endpoint::refer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refer {
    /// Whom the peer is to call.
    pub to: ReferTarget,
    /// How long its result is waited for (SIP-103).
    pub timeout: Duration,
}

/// Why a transfer did not come about; the call goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReferFailure {
    /// The REFER was answered with this code; 408 where nobody answered.
    #[error("the peer refused the REFER with {0}")]
    Refused(u16),
    /// The call to the target ended with this code.
    #[error("the peer's call to the target ended with {0}")]
    Reported(u16),
    /// The subscription ended and no result came.
    #[error("the peer ended the subscription without saying what became of the transfer")]
    Silent,
    /// No result in time.
    #[error("the peer did not say in time what became of the transfer")]
    TimedOut,
}

/// What is new of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferNews {
    /// The target answered with this provisional code.
    Progress(u16),
    /// The target has the call.
    Succeeded,
    /// It does not.
    Failed(ReferFailure),
}

/// What a NOTIFY of event `refer` says (RFC 3515 section 2.4.4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// The CSeq of the REFER, where it is given (section 2.4.6).
    id: Option<u32>,
    /// The status code in the sipfrag (RFC 3420), where it can be read.
    code: Option<u16>,
    /// `Subscription-State: terminated`.
    terminated: bool,
}

impl Notify {
    /// Reads a NOTIFY; `None` where its event is another one.
    pub fn read(headers: &Headers, body: &[u8]) -> Option<Self> {
        let (package, params) = split(headers.get("Event")?);
        if !package.eq_ignore_ascii_case("refer") {
            return None;
        }
        let id = params.value("id").and_then(|id| id.trim().parse().ok());
        let (state, _) = split(headers.get("Subscription-State").unwrap_or_default());
        Some(Self { id, code: status(body), terminated: state.eq_ignore_ascii_case("terminated") })
    }
}

/// `word;params`; parameters that cannot be read are none.
fn split(value: &str) -> (&str, Params) {
    let (word, params) = value.split_once(';').unwrap_or((value, ""));
    (word.trim(), Params::parse(params).unwrap_or_default())
}

/// The status code of a sipfrag that begins with a status line.
fn status(body: &[u8]) -> Option<u16> {
    let line = body.trim_ascii_start().split(|b| matches!(b, b'\r' | b'\n')).next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    words.next().filter(|version| version.eq_ignore_ascii_case("SIP/2.0"))?;
    words.next()?.parse().ok().filter(|code| (100..=699).contains(code))
}

/// Where a REFER of ours stands; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sent,
    Accepted { silent: bool },
    Over,
}

/// One REFER of ours.
#[derive(Debug)]
struct Referral {
    cseq: u32,
    state: State,
    deadline: Instant,
}

impl Referral {
    fn over(&mut self, news: ReferNews) -> Option<ReferNews> {
        self.state = State::Over;
        Some(news)
    }

    fn handle_response(&mut self, code: u16, subscribed: bool) -> Option<ReferNews> {
        match self.state {
            State::Over => None,
            State::Sent | State::Accepted { .. } if code >= 300 => {
                self.over(ReferNews::Failed(ReferFailure::Refused(code)))
            }
            State::Sent | State::Accepted { .. } if !subscribed => self.over(ReferNews::Succeeded),
            State::Sent => {
                self.state = State::Accepted { silent: false };
                None
            }
            State::Accepted { .. } => None,
        }
    }

    fn handle_notify(&mut self, now: Instant, notify: &Notify) -> Option<ReferNews> {
        if self.state == State::Over {
            return None;
        }
        // It may come before the response to the REFER, and says the same as a 2xx.
        if self.state == State::Sent {
            self.state = State::Accepted { silent: false };
        }
        match notify.code {
            Some(code @ 300..) => return self.over(ReferNews::Failed(ReferFailure::Reported(code))),
            Some(200..=299) => return self.over(ReferNews::Succeeded),
            Some(_) | None => {}
        }
        if notify.terminated {
            self.state = State::Accepted { silent: true };
            self.deadline = self.deadline.min(now + GRACE);
        }
        notify.code.map(ReferNews::Progress)
    }

    fn handle_bye(&mut self) -> Option<ReferNews> {
        matches!(self.state, State::Accepted { .. }).then(|| self.over(ReferNews::Succeeded)).flatten()
    }

    fn handle_timeout(&mut self, now: Instant) -> Option<ReferNews> {
        let failure = match self.state {
            State::Over => return None,
            State::Accepted { silent: true } => ReferFailure::Silent,
            State::Sent | State::Accepted { silent: false } => ReferFailure::TimedOut,
        };
        (now >= self.deadline).then(|| self.over(ReferNews::Failed(failure))).flatten()
    }
}

/// The REFERs of one dialog; one at a time is open, the others are remembered for their late NOTIFYs.
#[derive(Debug, Default)]
pub struct Referrals {
    /// It goes out when the ACK of our first 2xx has come.
    pub wanted: Option<Refer>,
    sent: Vec<Referral>,
}

impl Referrals {
    /// Whether one waits for its result, or to be sent.
    pub fn is_open(&self) -> bool {
        self.wanted.is_some() || self.sent.iter().any(|referral| referral.state != State::Over)
    }

    /// A REFER with this CSeq number went out.
    pub fn sent(&mut self, now: Instant, cseq: u32, timeout: Duration) {
        if self.sent.len() == MAX_REFERRALS {
            self.sent.remove(0);
        }
        self.sent.push(Referral { cseq, state: State::Sent, deadline: now + timeout });
    }

    /// The REFER with this CSeq number was answered; `subscribed` unless the answer says `Refer-Sub: false`.
    pub fn handle_response(&mut self, cseq: u32, code: u16, subscribed: bool) -> Option<ReferNews> {
        self.sent.iter_mut().find(|referral| referral.cseq == cseq)?.handle_response(code, subscribed)
    }

    /// Whether a REFER asked for this NOTIFY.
    pub fn expect(&self, notify: &Notify) -> bool {
        self.place(notify).is_some()
    }

    /// A NOTIFY that [`Referrals::expect`] knows.
    pub fn handle_notify(&mut self, now: Instant, notify: &Notify) -> Option<ReferNews> {
        let place = self.place(notify)?;
        self.sent[place].handle_notify(now, notify)
    }

    /// The REFER a NOTIFY is about: the one it names, else the first that has no result yet (section 2.4.6), else the last.
    fn place(&self, notify: &Notify) -> Option<usize> {
        match notify.id {
            Some(id) => self.sent.iter().position(|referral| referral.cseq == id),
            None => {
                let open = self.sent.iter().position(|referral| referral.state != State::Over);
                open.or(self.sent.len().checked_sub(1))
            }
        }
    }

    /// The peer hung up.
    pub fn handle_bye(&mut self) -> Option<ReferNews> {
        self.sent.iter_mut().find_map(Referral::handle_bye)
    }

    /// Looks whether a deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<ReferNews> {
        self.sent.iter_mut().find_map(|referral| referral.handle_timeout(now))
    }

    /// When [`Referrals::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sent.iter().filter(|referral| referral.state != State::Over).map(|referral| referral.deadline).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sip_101_data_for_the_next_agent_is_escaped_into_the_uri() {
        let target = ReferTarget::new("sip:2000@pbx.example;user=phone").expect("a URI");
        let target = target.header("User-to-User", "00C8;encoding=hex").header("X-Campaign", "a b&c=\u{e9}?");
        assert_eq!(
            target.to_string(),
            "<sip:2000@pbx.example;user=phone?User-to-User=00C8%3Bencoding%3Dhex&X-Campaign=a%20b%26c%3D%C3%A9%3F>"
        );
        assert_eq!(ReferTarget::new("sip:2000@h").expect("a URI").to_string(), "<sip:2000@h>");
    }

    #[test]
    fn sip_104_an_attended_transfer_names_the_call_it_replaces_as_that_side_sees_it() {
        let replaces = Replaces::new("a@b", "their", "our");
        let target = ReferTarget::new("sip:2000@h").expect("a URI").replacing(&replaces).to_string();
        assert_eq!(target, "<sip:2000@h?Replaces=a%40b%3Bto-tag%3Dtheir%3Bfrom-tag%3Dour>");
    }

    #[test]
    fn a_target_is_one_sip_uri_without_headers_of_its_own() {
        for bad in ["2000", "tel:2000", "http://h", "sip:a@h?X=1", "sip:a@h>,<sip:b@h", "sip:a@h\r\nX: 1", ""] {
            assert!(ReferTarget::new(bad).is_err(), "{bad}");
        }
    }

    fn notify(event: &str, state: &str, body: &str) -> Option<Notify> {
        let mut headers = Headers::new();
        headers.push("o", event);
        headers.push("Subscription-State", state);
        Notify::read(&headers, body.as_bytes())
    }

    #[test]
    fn sip_102_a_notify_says_code_state_and_which_refer() {
        let read = notify("REFER ; id=7", "Terminated;reason=noresource", "SIP/2.0 603 Decline\r\n");
        assert_eq!(read, Some(Notify { id: Some(7), code: Some(603), terminated: true }));
        let lenient = notify("refer", "active;expires=60", "\r\nsip/2.0 180\n");
        assert_eq!(lenient, Some(Notify { id: None, code: Some(180), terminated: false }));
        assert_eq!(notify("refer", "active", "hello").and_then(|notify| notify.code), None);
        assert_eq!(notify("presence", "active", "SIP/2.0 200 OK"), None);
    }

    #[test]
    fn sip_102_a_notify_without_id_is_about_the_first_refer_without_a_result() {
        #[allow(clippy::disallowed_methods)] // a starting point for virtual time
        let now = Instant::now();
        let mut referrals = Referrals::default();
        let plain = notify("refer", "active", "SIP/2.0 486 Busy Here").expect("a NOTIFY");
        assert!(!referrals.expect(&plain));
        referrals.sent(now, 1, Duration::from_secs(60));
        assert_eq!(referrals.handle_response(1, 202, true), None);
        assert_eq!(
            referrals.handle_notify(now, &plain),
            Some(ReferNews::Failed(ReferFailure::Reported(486))),
            "the first"
        );
        assert!(referrals.expect(&plain), "its last NOTIFY may still come");
        assert_eq!(referrals.handle_notify(now, &plain), None);
        referrals.sent(now, 2, Duration::from_secs(60));
        let late = notify("refer;id=1", "terminated", "SIP/2.0 486 Busy Here").expect("a NOTIFY");
        assert_eq!(referrals.handle_notify(now, &late), None, "the first has its result");
        assert!(referrals.handle_notify(now, &plain).is_some(), "the second");
        assert!(!referrals.expect(&notify("refer;id=9", "active", "").expect("a NOTIFY")));
    }

    proptest! {
        #[test]
        fn sip_016_no_notify_panics_and_no_text_breaks_out_of_the_target(
            body in proptest::collection::vec(any::<u8>(), 0..40),
            event in "(refer)?[ ;=\"a-z0-9]{0,12}",
            value in "\\PC{0,20}",
        ) {
            let mut headers = Headers::new();
            headers.push("Event", event);
            let _ = Notify::read(&headers, &body);
            let target = ReferTarget::new("sip:2000@h").expect("a URI").header("X-A", &value).to_string();
            let inner = &target[1..target.len() - 1];
            prop_assert!(Uri::parse(inner).is_ok_and(|uri| uri.header("x-a") == Some(value)));
        }
    }
}
