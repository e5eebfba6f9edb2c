//! Our registration at a PBX that insists on one (RFC 3261 section 10.2, OPS-035).
//!
//! ```text
//!  Due ── REGISTER ──► Asking ── 2xx ──► Registered ── 50 to 90 % of its time ──► Due
//!   ▲                    │└── 423: at once, for longer
//!   └─ back-off, jitter ─┘ any other                      Leaving ── any answer ──► Gone
//! ```

use std::time::{Duration, Instant};

use super::message::Response;
use super::uri::{NameAddr, Uri};
use crate::base::random::Random;

/// The first wait after a failure; each further one is twice as long (RFC 5626 section 4.5).
const BACK_OFF: Duration = Duration::from_secs(30);
/// The longest.
const MAX_BACK_OFF: Duration = Duration::from_secs(1800);
/// The longest time a registrar may want, seconds.
const MAX_EXPIRES: u32 = 7 * 86_400;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Due(Instant),
    Asking,
    Registered { refresh: Instant },
    Leaving,
    Gone,
}

/// What an answer came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// As before.
    Nothing,
    /// Registered for this long.
    Registered(Duration),
    /// Not registered; the next try comes after this wait.
    Failed(Duration),
    /// Unregistered.
    Gone,
}

/// One registration.
#[derive(Debug, Clone)]
pub struct Registration {
    wanted: u32,
    state: State,
    /// Until when the registrar has us.
    until: Option<Instant>,
    failures: u32,
    cseq: u32,
    asked: u32,
}

impl Registration {
    /// Registers for `expires` at a time, beginning now.
    #[must_use]
    pub fn new(now: Instant, expires: Duration) -> Self {
        let wanted = u32::try_from(expires.as_secs()).unwrap_or(MAX_EXPIRES);
        Self { wanted, state: State::Due(now), until: None, failures: 0, cseq: 0, asked: 0 }
    }

    /// Whether the registrar has us.
    #[must_use]
    pub fn is_registered(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }

    /// Whether nothing is left to be done, for good.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// Takes the registration back; whether a REGISTER with `Expires: 0` is to be sent now.
    pub fn unregister(&mut self, now: Instant) -> bool {
        let has_us = self.is_registered(now) || self.state == State::Asking;
        let leave = has_us && !matches!(self.state, State::Leaving | State::Gone);
        self.state = if leave { State::Leaving } else { State::Gone };
        self.asked = 0;
        leave
    }

    /// When to call `handle_timeout` at the latest.
    #[must_use]
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Due(when) | State::Registered { refresh: when } => Some(when),
            State::Asking | State::Leaving | State::Gone => None,
        }
    }

    /// The `Expires` of the REGISTER that is to be sent now.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<u32> {
        let due = self.poll_timeout().is_some_and(|when| when <= now);
        if due {
            (self.state, self.asked) = (State::Asking, self.wanted);
        }
        due.then_some(self.asked)
    }

    /// The CSeq number of the next REGISTER.
    pub fn next_cseq(&mut self) -> u32 {
        self.cseq += 1;
        self.cseq
    }

    /// The registrar's final response, whose CSeq number is `cseq`; `contact` is what we registered.
    pub fn handle_response(
        &mut self,
        now: Instant,
        response: &Response,
        (contact, cseq): (&str, u32),
        random: &mut Random,
    ) -> News {
        self.cseq = self.cseq.max(cseq);
        let seconds = |name| response.headers.get(name).and_then(delta_seconds);
        match (self.state, response.code) {
            (State::Leaving | State::Gone, _) => self.gone(),
            (_, 200..=299) => {
                let granted = granted(response, contact).or_else(|| seconds("Expires")).unwrap_or(self.asked);
                self.registered(now, granted.min(MAX_EXPIRES), random)
            }
            (_, 423) if seconds("Min-Expires").is_some_and(|min| min > self.wanted && min <= MAX_EXPIRES) => {
                self.wanted = seconds("Min-Expires").unwrap_or(self.wanted);
                self.state = State::Due(now);
                News::Nothing
            }
            _ => self.failed(now, seconds("Retry-After"), random),
        }
    }

    /// Nobody answered.
    pub fn handle_silence(&mut self, now: Instant, random: &mut Random) -> News {
        match self.state {
            State::Leaving | State::Gone => self.gone(),
            State::Due(_) | State::Asking | State::Registered { .. } => self.failed(now, None, random),
        }
    }

    fn gone(&mut self) -> News {
        (self.state, self.until) = (State::Gone, None);
        News::Gone
    }

    fn registered(&mut self, now: Instant, granted: u32, random: &mut Random) -> News {
        if granted == 0 {
            return self.failed(now, None, random);
        }
        let time = Duration::from_secs(granted.into());
        self.failures = 0;
        self.until = Some(now + time);
        self.state = State::Registered { refresh: now + time * (50 + random.below(41)) / 100 };
        News::Registered(time)
    }

    fn failed(&mut self, now: Instant, retry_after: Option<u32>, random: &mut Random) -> News {
        let whole = (BACK_OFF * 2_u32.pow(self.failures.min(6))).min(MAX_BACK_OFF);
        let asked = Duration::from_secs(retry_after.unwrap_or(0).min(MAX_EXPIRES).into());
        let wait = (whole * (50 + random.below(51)) / 100).max(asked);
        self.failures += 1;
        self.state = State::Due(now + wait);
        News::Failed(wait)
    }
}

/// The time that the registrar gives our own contact, among all that it lists.
fn granted(response: &Response, contact: &str) -> Option<u32> {
    let own = Uri::parse(contact).ok()?;
    let contacts = response.headers.list("Contact");
    let same =
        |listed: &NameAddr| (&listed.uri.user, &listed.uri.host, listed.uri.port) == (&own.user, &own.host, own.port);
    let listed = contacts.iter().filter_map(|value| NameAddr::parse(value).ok()).find(same)?;
    listed.param("expires").and_then(delta_seconds)
}

fn delta_seconds(text: &str) -> Option<u32> {
    text.split([';', '(', ' ']).next()?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // a starting point for virtual time
mod tests {
    use super::*;
    use crate::sip::Headers;

    const CONTACT: &str = "sip:bridge@192.0.2.10:5060;transport=udp";

    fn response(code: u16, lines: &[(&str, &str)]) -> Response {
        let mut headers = Headers::new();
        lines.iter().for_each(|(name, value)| headers.push(name, *value));
        Response { code, phrase: String::new(), headers, body: Vec::new() }
    }

    struct Story {
        registration: Registration,
        now: Instant,
        random: Random,
    }

    impl Story {
        fn new() -> Self {
            let now = Instant::now();
            Self { registration: Registration::new(now, Duration::from_secs(600)), now, random: Random::from_number(1) }
        }

        /// Waits until a REGISTER is due; seconds waited and its `Expires`.
        fn ask(&mut self) -> (u64, u32) {
            let due = self.registration.poll_timeout().expect("something is due");
            let waited = due.saturating_duration_since(self.now).as_secs();
            self.now = self.now.max(due);
            assert_eq!(self.registration.handle_timeout(self.now - Duration::from_millis(1)), None);
            (waited, self.registration.handle_timeout(self.now).expect("due"))
        }

        fn answer(&mut self, code: u16, lines: &[(&str, &str)]) -> News {
            let cseq = self.registration.next_cseq();
            self.registration.handle_response(self.now, &response(code, lines), (CONTACT, cseq), &mut self.random)
        }
    }

    #[test]
    fn ops_035_a_registration_is_refreshed_at_50_to_90_percent_of_what_its_own_contact_was_given() {
        let mut story = Story::new();
        assert_eq!(story.ask(), (0, 600));
        let contacts = "<sip:other@192.0.2.9>;expires=10, <sip:bridge@192.0.2.10:5060>;expires=200;q=1";
        assert_eq!(
            story.answer(200, &[("Contact", contacts), ("Expires", "999")]),
            News::Registered(Duration::from_secs(200))
        );
        let mut waits = Vec::new();
        for _ in 0..40 {
            waits.push(story.ask().0);
            assert!(story.registration.is_registered(story.now));
            story.answer(200, &[("Contact", contacts)]);
        }
        assert!(waits.iter().all(|wait| (100..=180).contains(wait)), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "no jitter: {waits:?}");
        assert_eq!(
            story.answer(200, &[("Contact", "<sip:x@y>")]),
            News::Registered(Duration::from_secs(600)),
            "as asked"
        );
        assert_eq!(story.answer(200, &[("Expires", "90")]), News::Registered(Duration::from_secs(90)));
    }

    #[test]
    fn ops_035_423_is_asked_again_at_once_for_as_long_as_the_registrar_wants() {
        let mut story = Story::new();
        story.ask();
        assert_eq!(story.answer(423, &[("Min-Expires", "1800")]), News::Nothing);
        assert_eq!(story.ask(), (0, 1800));
        assert!(matches!(story.answer(423, &[("Min-Expires", "1800")]), News::Failed(_)), "no circle");
        assert!(matches!(story.answer(423, &[]), News::Failed(_)));
    }

    #[test]
    fn ops_035_failures_back_off_with_jitter_to_half_an_hour_and_success_begins_anew() {
        let mut story = Story::new();
        story.ask();
        for (failures, whole) in [(0, 30), (1, 60), (2, 120), (3, 240), (4, 480), (5, 960), (6, 1800), (7, 1800)] {
            assert!(matches!(story.answer(403, &[]), News::Failed(_)));
            let waited = story.ask().0;
            assert!((whole / 2..=whole).contains(&waited), "{waited} s after {failures} failures");
        }
        assert_eq!(
            story.answer(503, &[("Retry-After", "4000;duration=5 (maintenance)")]),
            News::Failed(Duration::from_secs(4000))
        );
        story.ask();
        story.answer(200, &[]);
        story.ask();
        let mut random = Random::from_number(2);
        assert!(
            matches!(story.registration.handle_silence(story.now, &mut random), News::Failed(wait) if wait <= BACK_OFF)
        );
        assert!(story.registration.is_registered(story.now), "until its time has passed");
        assert!(!story.registration.is_registered(story.now + Duration::from_secs(600)));
    }

    #[test]
    fn ops_035_who_is_registered_unregisters_and_asks_no_more() {
        let mut story = Story::new();
        assert!(!story.registration.clone().unregister(story.now), "never registered");
        story.ask();
        story.answer(200, &[]);
        assert!(story.registration.unregister(story.now));
        assert_eq!((story.registration.poll_timeout(), story.registration.is_gone()), (None, false));
        assert_eq!(story.answer(200, &[]), News::Gone);
        assert!(story.registration.is_gone() && !story.registration.is_registered(story.now));
        assert!(!story.registration.unregister(story.now));
    }
}
