//! Session timers (RFC 4028): who asked for what, refreshes of ours, and sessions that nobody refreshes (SIP-080 to
//! SIP-084).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Endpoint;
use crate::config::{SessionTimer, Trunk};
use crate::sip::DialogId;
use crate::sip::event::{Event, Rejection};
use crate::sip::incoming::Incoming;
use crate::sip::invite::{Confirmed, State, Usage, UsageTimer};
use crate::sip::message::{Headers, Method, Request, Response};
use crate::sip::reason::Reason;
use crate::sip::session_timer::{Asked, Session, SessionExpires, min_se};
use crate::sip::transaction::{Owner, Purpose};
use crate::sip::trunk;

/// How soon a refresh is tried again that met another exchange of the dialog.
const BUSY: Duration = Duration::from_secs(1);
/// How often an INVITE is tried again with a longer interval.
const MAX_LONGER: u32 = 3;

impl Endpoint {
    /// Session timers with peers that no trunk lists.
    pub fn set_session_timer(&mut self, settings: SessionTimer) {
        self.session_timer = settings;
    }

    /// The trunk whose account the headers name, else the first: what it wants holds from the INVITE on.
    pub(super) fn presumed_trunk<'a>(trunks: &'a [Arc<Trunk>], headers: &Headers) -> Option<&'a Arc<Trunk>> {
        let chosen = trunk::choose(trunks, headers.get_all("X-Exotel-AccountSid")).ok();
        let by_name = chosen.and_then(|(chosen, _)| trunks.iter().find(|trunk| trunk.name == chosen.name));
        by_name.or_else(|| trunks.first())
    }

    /// What the peer of a request has agreed to, or may agree to.
    pub(super) fn session_settings(&mut self, incoming: &Incoming) -> SessionTimer {
        if let Some(id) = self.usages.find(incoming)
            && let Some(usage) = self.usages.get(id)
        {
            return usage.settings;
        }
        let trunks = self.trunks.at(incoming.arrival.peer);
        let trunk = Self::presumed_trunk(&trunks, &incoming.request.headers);
        trunk.map_or(self.session_timer, |trunk| trunk.session_timer)
    }

    /// What a call to `peer` asks for.
    pub(super) fn session_settings_to(&self, peer: std::net::IpAddr) -> SessionTimer {
        self.trunks.at(peer).first().map_or(self.session_timer, |trunk| trunk.session_timer)
    }

    /// Why a session interval is refused: 422 with `Min-SE` (SIP-080).
    pub(super) fn too_brief(settings: &SessionTimer, headers: &Headers) -> Option<Rejection> {
        let min_s = Asked::read(headers).check(settings).err()?;
        Some(Rejection { headers: vec![("Min-SE", min_s.to_string())], ..Rejection::new(422) })
    }

    /// Agrees on the timer that `request`, about to be accepted, asks for, and puts it into the response.
    pub(super) fn agree_session(
        &mut self,
        now: Instant,
        id: DialogId,
        request: &Headers,
        response: Response,
    ) -> Response {
        let Some(usage) = self.usages.get(id) else { return response };
        let asked = Asked::read(request);
        usage.session = asked.agree(&usage.settings, usage.session);
        let session = usage.session;
        self.arm_session(now, id);
        asked.announce(session, response)
    }

    /// Takes the timer from a 2xx to our INVITE, re-INVITE or UPDATE.
    pub(super) fn session_accepted(&mut self, now: Instant, id: DialogId, response: &Headers) {
        let Some(usage) = self.usages.get(id) else { return };
        usage.learn_methods(response);
        usage.session = Session::accepted(response, &usage.settings, usage.session);
        self.arm_session(now, id);
    }

    fn arm_session(&mut self, now: Instant, id: DialogId) {
        self.usages.disarm(id, UsageTimer::Refresh);
        self.usages.disarm(id, UsageTimer::SessionExpires);
        let Some(session) = self.usages.get(id).and_then(|usage| usage.session) else { return };
        self.usages.arm(id, UsageTimer::SessionExpires, now + session.give_up_after());
        if session.we_refresh {
            self.usages.arm(id, UsageTimer::Refresh, now + session.refresh_after());
        }
    }

    /// Puts the session timer into an INVITE or UPDATE of ours: `session`, or the one we want where `is_wanted`.
    pub(super) fn push_session(
        settings: &SessionTimer,
        session: Option<Session>,
        is_wanted: bool,
        request: &mut Request,
    ) {
        let wanted = is_wanted.then_some(SessionExpires { seconds: settings.expires_s, refresher: None });
        let Some(expires) = session.map(|session| session.in_request()).or(wanted) else { return };
        request.headers.push("Session-Expires", expires.to_string());
        if settings.min_s > SessionTimer::default().min_s {
            request.headers.push("Min-SE", settings.min_s.to_string());
        }
    }

    /// Refreshes the session: by UPDATE where the peer takes it, else by a re-INVITE with our last description, unchanged
    /// (SIP-082).
    pub(super) fn refresh(&mut self, now: Instant, id: DialogId) {
        let Some(usage) = self.usages.get(id) else { return };
        let (waits, is_ours) = (usage.waiting.is_some(), usage.session.is_some_and(|session| session.we_refresh));
        let (by_update, sdp) = (usage.peer_updates, usage.local_sdp.clone());
        let Some(confirmed) = usage.confirmed().filter(|_| is_ours) else { return };
        if waits || !confirmed.is_free() {
            return self.usages.arm(id, UsageTimer::Refresh, now + BUSY);
        }
        if !by_update {
            return self.send_reinvite(now, id, (sdp, 1), true);
        }
        let update = self.send_in_dialog(now, id, (Method::UPDATE, Purpose::Refresh), |_| {});
        if let Some(confirmed) = self.usages.get(id).and_then(Usage::confirmed) {
            confirmed.refresh = update;
        }
    }

    /// The response to an UPDATE that refreshes.
    pub(super) fn refresh_answered(&mut self, now: Instant, id: DialogId, response: &Response) {
        let Some(usage) = self.usages.get(id).filter(|_| response.code >= 200) else { return };
        let Some(confirmed) = usage.confirmed() else { return };
        confirmed.refresh = None;
        match response.code {
            ..=299 => {
                usage.dialog.refresh_target(&response.headers);
                self.session_accepted(now, id, &response.headers);
            }
            405 | 501 => {
                usage.peer_updates = false;
                self.refresh(now, id);
            }
            code => self.refresh_refused(now, id, code, &response.headers),
        }
    }

    /// A refresh of ours, by UPDATE or re-INVITE, was refused: it is tried again, except where the peer knows no such
    /// dialog or does not answer (SIP-082, SIP-073).
    pub(super) fn refresh_refused(&mut self, now: Instant, id: DialogId, code: u16, headers: &Headers) {
        if matches!(code, 408 | 481) {
            return self.end_session(now, id, Some(code));
        }
        let after_glare = self.after_glare(id);
        let Some(usage) = self.usages.get(id) else { return };
        let Some(session) = usage.session else { return };
        let soon = Duration::from_secs(u64::from(session.seconds / 8));
        let wait = match (code, headers.get("Retry-After").and_then(seconds)) {
            (422, _) if usage.lengthen(headers) => Duration::ZERO,
            (491, _) => after_glare,
            (_, Some(wait)) => wait.clamp(BUSY, session.refresh_after()),
            (_, None) => soon,
        };
        self.usages.arm(id, UsageTimer::Refresh, now + wait);
    }

    /// How long after a 491 we try again: 2.1 to 4 s where the Call-ID is ours, else within 2 s, in units of 10 ms
    /// (RFC 3261 section 14.1, SIP-073).
    pub(super) fn after_glare(&mut self, id: DialogId) -> Duration {
        let (own, other) = (2100 + 10 * self.random.below(191), 10 * self.random.below(201));
        let is_caller = self.usages.get(id).is_some_and(|usage| usage.is_caller);
        Duration::from_millis(if is_caller { own } else { other }.into())
    }

    /// Our INVITE got 422: sends it again with the interval that the peer wants (RFC 4028 section 7.3).
    pub(super) fn retry_longer(&mut self, now: Instant, id: DialogId, response: &Response) -> bool {
        let branch = self.mint_branch();
        let Some(usage) = self.usages.get(id).filter(|_| response.code == 422) else { return false };
        let State::Calling(calling) = &usage.state else { return false };
        let Some(old) = self.transactions.invite_of(calling.transaction).cloned() else { return false };
        if !usage.lengthen(&response.headers) {
            return false;
        }
        let path = usage.dialog.peer;
        let cseq = usage.dialog.next_cseq();
        let own = usage.dialog.request(Method::INVITE, cseq, &branch);
        let mut request = Request { headers: old.headers, body: old.body, ..own };
        for name in ["Session-Expires", "Min-SE"] {
            request.headers.take(name);
        }
        for name in ["Via", "CSeq"] {
            let value = own.headers.values(name).next().cloned().unwrap_or_else(|| "".into());
            request.headers.replace_first(name, value);
        }
        Self::push_session(&usage.settings, None, true, &mut request);
        let owner = Owner { dialog: id, purpose: Purpose::Invite };
        let transaction = self.transactions.open_client(now, path, request, owner, &mut self.out);
        if let Some(State::Calling(calling)) = self.usages.get(id).map(|usage| &mut usage.state) {
            (calling.transaction, calling.cseq) = (transaction, cseq);
        }
        true
    }

    /// Nobody refreshed the session in time (SIP-083), or the peer refused or ignored our refresh: BYE.
    pub(super) fn end_session(&mut self, now: Instant, id: DialogId, code: Option<u16>) {
        if self.usages.get(id).and_then(Usage::confirmed).is_none() {
            return;
        }
        self.out.counters.timed_out("session");
        let expired = Reason::q850(102).text("session timer expired");
        let reasons: Vec<_> = std::iter::once(expired).chain(code.map(Reason::sip)).collect();
        self.send_bye(now, id, &reasons);
        self.raise(Event::SessionExpired { dialog: id, reasons });
    }
}

impl Usage {
    /// Takes the longer interval that a 422 asks for; `false` where it asks for none, or has done so too often.
    fn lengthen(&mut self, headers: &Headers) -> bool {
        let asked = self.session.map_or(self.settings.expires_s, |session| session.seconds);
        let Some(min_s) = min_se(headers).filter(|min_s| *min_s > asked) else { return false };
        self.wants_longer += 1;
        self.settings.min_s = self.settings.min_s.max(min_s);
        self.settings.expires_s = self.settings.expires_s.max(min_s);
        if let Some(session) = &mut self.session {
            session.seconds = session.seconds.max(min_s);
        }
        self.wants_longer <= MAX_LONGER
    }
}

impl Confirmed {
    /// Whether no exchange of ours is under way that changes the session.
    pub fn is_free(&self) -> bool {
        self.unacknowledged.is_none() && self.reinvite.is_none() && self.refresh.is_none() && self.owed_ack.is_none()
    }
}

/// The seconds of `Retry-After: 18000;duration=3600 (comment)`.
fn seconds(value: &str) -> Option<Duration> {
    let digits = value.trim().split([';', '(', ' ', '\t']).next()?;
    digits.parse().ok().map(|seconds: u32| Duration::from_secs(seconds.into()))
}
