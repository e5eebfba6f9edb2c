//! Session timers (RFC 4028): what is asked for, what both sides agree on, when to refresh and when to give a call up.

use std::fmt;
use std::time::Duration;

use super::message::{Headers, Response};
use crate::config::{SessionTimer, SessionTimerMode};

/// No session interval is shorter, seconds (section 4).
const LEAST_S: u32 = 90;
/// A session ends this long before its interval has passed, seconds (section 10).
const MARGIN_S: u32 = 32;

/// Who refreshes, seen from the request that is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// Who sent it.
    Uac,
    /// Who answers it.
    Uas,
}

/// A `Session-Expires` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// The interval, seconds.
    pub seconds: u32,
    /// Who refreshes, where it says so.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// The first one in `headers` that can be read.
    pub fn read(headers: &Headers) -> Option<Self> {
        let (seconds, params) = delta_seconds(headers.get("Session-Expires")?)?;
        let refresher = params.split(';').filter_map(|param| param.split_once('=')).find_map(|(name, value)| {
            let is = |word: &str| value.trim().eq_ignore_ascii_case(word);
            match name.trim().eq_ignore_ascii_case("refresher") {
                true if is("uac") => Some(Refresher::Uac),
                true if is("uas") => Some(Refresher::Uas),
                _ => None,
            }
        });
        Some(Self { seconds, refresher })
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.refresher {
            None => write!(f, "{}", self.seconds),
            Some(Refresher::Uac) => write!(f, "{};refresher=uac", self.seconds),
            Some(Refresher::Uas) => write!(f, "{};refresher=uas", self.seconds),
        }
    }
}

/// `Min-SE` of a message, seconds.
pub fn min_se(headers: &Headers) -> Option<u32> {
    delta_seconds(headers.get("Min-SE")?).map(|(seconds, _)| seconds)
}

/// Seconds, cut to what 32 bits hold, and what follows the first `;`.
fn delta_seconds(value: &str) -> Option<(u32, &str)> {
    let (seconds, params) = value.split_once(';').unwrap_or((value, ""));
    let seconds = seconds.trim();
    let digits = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| (seconds.parse().unwrap_or(u32::MAX), params))
}

/// Whether a list header has the tag.
pub fn lists(headers: &Headers, name: &str, tag: &str) -> bool {
    headers.list(name).iter().any(|item| item.eq_ignore_ascii_case(tag))
}

/// The timer of an answered call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The interval, at least 90 s.
    pub seconds: u32,
    /// The refreshes are ours.
    pub we_refresh: bool,
}

impl Session {
    /// Half the interval (section 7.2).
    pub fn refresh_after(&self) -> Duration {
        Duration::from_millis(u64::from(self.seconds) * 500)
    }

    /// The interval but for 32 s or a third of it (section 10).
    pub fn give_up_after(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds - MARGIN_S.min(self.seconds / 3)))
    }

    /// How it stands in a request of ours.
    pub fn in_request(&self) -> SessionExpires {
        let refresher = if self.we_refresh { Refresher::Uac } else { Refresher::Uas };
        SessionExpires { seconds: self.seconds, refresher: Some(refresher) }
    }
}

/// What an INVITE or UPDATE of the peer says about session timers.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    expires: Option<SessionExpires>,
    min_s: u32,
    /// The peer knows session timers.
    pub supports: bool,
}

impl Asked {
    /// Reads it.
    pub fn read(headers: &Headers) -> Self {
        let supports = lists(headers, "Supported", "timer") || lists(headers, "Require", "timer");
        Self { expires: SessionExpires::read(headers), min_s: min_se(headers).unwrap_or(0), supports }
    }

    /// Whether the interval can be served; else the `Min-SE` that 422 has to name (section 9).
    pub fn check(&self, settings: &SessionTimer) -> Result<(), u32> {
        let short = self.expires.is_some_and(|expires| expires.seconds < settings.min_s);
        let refused = short && self.supports && settings.mode != SessionTimerMode::Off;
        if refused { Err(settings.min_s) } else { Ok(()) }
    }

    /// The timer of the call once this request is accepted (section 9): the interval asked for, never more; `running`
    /// goes on where the peer knows timers and leaves the header out.
    pub fn agree(&self, settings: &SessionTimer, running: Option<Session>) -> Option<Session> {
        let ours = settings.expires_s.max(self.min_s);
        let running = running.filter(|_| self.supports);
        let seconds = match (self.expires, running) {
            _ if settings.mode == SessionTimerMode::Off => return None,
            // A proxy's wish for a caller that knows no timers and cannot be told 422.
            (Some(expires), _) if expires.seconds < LEAST_S => return None,
            (Some(expires), _) => expires.seconds.min(ours),
            (None, Some(running)) => running.seconds.max(self.min_s),
            (None, None) if settings.mode == SessionTimerMode::Always => ours,
            (None, None) => return None,
        };
        let named = self.expires.map(|expires| expires.refresher.unwrap_or(Refresher::Uac));
        let refresher = named.or_else(|| running.map(|running| running.in_response())).unwrap_or(Refresher::Uac);
        Some(Session { seconds, we_refresh: !self.supports || refresher == Refresher::Uas })
    }

    /// Puts the timer into our 2xx (section 9, table 2).
    pub fn announce(&self, session: Option<Session>, response: Response) -> Response {
        let Some(session) = session else { return response };
        let expires = SessionExpires { seconds: session.seconds, refresher: Some(session.in_response()) };
        let response = response.with("Session-Expires", expires.to_string());
        if self.supports { response.with("Require", "timer") } else { response }
    }
}

impl Session {
    /// Who refreshes, seen from a request that we answer.
    const fn in_response(&self) -> Refresher {
        if self.we_refresh { Refresher::Uas } else { Refresher::Uac }
    }

    /// The timer after a 2xx to a request of ours that asked for `asked` (sections 7.2 and 10). Without the header there is
    /// none, except where the trunk wants one always: then the refreshes are ours.
    pub fn accepted(headers: &Headers, settings: &SessionTimer, asked: Option<Self>) -> Option<Self> {
        match (settings.mode, SessionExpires::read(headers)) {
            (SessionTimerMode::Off, _) | (SessionTimerMode::Supported, None) => None,
            (SessionTimerMode::Always, None) => {
                Some(Self { seconds: asked.map_or(settings.expires_s, |asked| asked.seconds), we_refresh: true })
            }
            (_, Some(expires)) => Some(Self {
                seconds: expires.seconds.max(LEAST_S),
                we_refresh: expires.refresher != Some(Refresher::Uas),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(lines: &[(&str, &str)]) -> Asked {
        let mut headers = Headers::new();
        lines.iter().for_each(|(name, value)| headers.push(name, *value));
        Asked::read(&headers)
    }

    const USUAL: SessionTimer = SessionTimer { mode: SessionTimerMode::Supported, expires_s: 1800, min_s: 90 };
    const ALWAYS: SessionTimer = SessionTimer { mode: SessionTimerMode::Always, ..USUAL };
    const OFF: SessionTimer = SessionTimer { mode: SessionTimerMode::Off, ..USUAL };
    const TIMER: (&str, &str) = ("Supported", "100rel, Timer");

    fn session(seconds: u32, we_refresh: bool) -> Option<Session> {
        Some(Session { seconds, we_refresh })
    }

    #[test]
    fn sip_080_less_than_the_minimum_is_refused_and_more_is_copied_or_cut_but_never_raised() {
        assert_eq!(asked(&[TIMER, ("x", "60")]).check(&USUAL), Err(90));
        assert_eq!(asked(&[TIMER, ("x", "90")]).check(&SessionTimer { min_s: 120, ..USUAL }), Err(120));
        assert_eq!(asked(&[TIMER, ("x", "60")]).check(&OFF), Ok(()));
        assert_eq!(asked(&[("x", "60")]).check(&USUAL), Ok(()), "it cannot be told 422");
        for (value, min_se, expected) in [
            ("90", "0", 90),
            ("1800", "90", 1800),
            ("86400", "0", 1800),
            ("99999999999", "0", 1800),
            ("7200", "3600", 3600),
        ] {
            let agreed = asked(&[TIMER, ("Session-Expires", value), ("Min-SE", min_se)]).agree(&USUAL, None);
            assert_eq!(agreed.map(|session| session.seconds), Some(expected), "{value}");
        }
        assert_eq!(asked(&[("x", "60")]).agree(&USUAL, None), None);
        assert_eq!(asked(&[TIMER, ("x", "1800")]).agree(&OFF, None), None);
        assert_eq!(asked(&[TIMER, ("x", "soon")]).agree(&USUAL, None), None);
    }

    #[test]
    fn sip_081_the_refresher_is_the_callers_choice_else_the_caller_and_us_where_it_knows_no_timers() {
        for (supports, value, we_refresh) in [
            (true, "1800", false),
            (true, "1800;refresher=uac", false),
            (true, "1800 ; Refresher = UAS", true),
            (true, "1800;refresher=nobody", false),
            (false, "1800", true),
            (false, "1800;refresher=uac", true),
        ] {
            let lines = [("Session-Expires", value), if supports { TIMER } else { ("Supported", "100rel") }];
            let asked = asked(&lines);
            let agreed = asked.agree(&USUAL, None);
            assert_eq!(agreed, session(1800, we_refresh), "{value}");
            let answer = Response { code: 200, phrase: String::new(), headers: Headers::new(), body: Vec::new() };
            let answer = asked.announce(agreed, answer);
            let word = if we_refresh { "1800;refresher=uas" } else { "1800;refresher=uac" };
            assert_eq!(answer.headers.get("Session-Expires"), Some(word));
            assert_eq!(answer.headers.get("Require"), supports.then_some("timer"));
        }
    }

    #[test]
    fn sip_084_always_asks_where_the_peer_does_not_and_refreshes_itself_where_it_cannot() {
        assert_eq!(asked(&[]).agree(&USUAL, None), None);
        assert_eq!(asked(&[]).agree(&ALWAYS, None), session(1800, true));
        assert_eq!(asked(&[TIMER]).agree(&ALWAYS, None), session(1800, false));
        assert_eq!(asked(&[TIMER, ("Min-SE", "7200")]).agree(&ALWAYS, None), session(7200, false));
        let (none, ours) = (Headers::new(), session(600, true));
        assert_eq!(Session::accepted(&none, &ALWAYS, ours), ours);
        assert_eq!(Session::accepted(&none, &ALWAYS, None), session(1800, true));
    }

    #[test]
    fn sip_083_a_2xx_restarts_or_stops_the_timer_and_never_makes_it_shorter_than_90_s() {
        let mut headers = Headers::new();
        headers.push("Session-Expires", "600;refresher=uas");
        assert_eq!(Session::accepted(&headers, &USUAL, None), session(600, false));
        assert_eq!(Session::accepted(&headers, &OFF, None), None);
        assert_eq!(Session::accepted(&Headers::new(), &USUAL, session(600, true)), None);
        headers.replace_first("Session-Expires", "1");
        assert_eq!(Session::accepted(&headers, &USUAL, None), session(90, true));
    }

    #[test]
    fn a_request_within_the_call_that_leaves_the_header_out_keeps_the_timer_where_the_peer_knows_timers() {
        assert_eq!(asked(&[TIMER]).agree(&USUAL, session(300, true)), session(300, true));
        assert_eq!(asked(&[TIMER]).agree(&USUAL, session(300, false)), session(300, false));
        assert_eq!(asked(&[]).agree(&USUAL, session(300, true)), None);
        assert_eq!(asked(&[]).agree(&ALWAYS, session(300, true)), session(1800, true));
    }

    proptest::proptest! {
        #[test]
        fn what_we_write_is_read_back_and_what_others_write_never_harms(seconds: u32, refresher in 0..3_usize, junk in ".{0,40}") {
            let refresher = [None, Some(Refresher::Uac), Some(Refresher::Uas)][refresher];
            let written = SessionExpires { seconds, refresher };
            let mut headers = Headers::new();
            headers.push("Session-Expires", written.to_string());
            proptest::prop_assert_eq!(SessionExpires::read(&headers), Some(written));
            for settings in [USUAL, ALWAYS, OFF] {
                let asked = asked(&[TIMER, ("Session-Expires", &junk), ("Min-SE", &junk)]);
                let agreed = asked.check(&settings).ok().and_then(|()| asked.agree(&settings, None));
                proptest::prop_assert!(agreed.is_none_or(|agreed| agreed.seconds >= 90));
            }
        }
    }

    #[test]
    fn sip_082_sip_083_refresh_at_half_and_give_up_32_s_or_a_third_before_the_end() {
        let of = |seconds| Session { seconds, we_refresh: true };
        assert_eq!(of(90).refresh_after(), Duration::from_secs(45));
        assert_eq!(of(95).refresh_after(), Duration::from_millis(47_500));
        assert_eq!([90, 96, 1800].map(|s| of(s).give_up_after().as_secs()), [60, 64, 1768]);
    }
}
