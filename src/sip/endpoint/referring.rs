//! Transfers we ask for: REFER out, NOTIFY in (RFC 3515, SIP-100 to SIP-103).

use std::time::Instant;

use super::Endpoint;
use crate::sip::DialogId;
use crate::sip::event::{Event, Rejection};
use crate::sip::incoming::Incoming;
use crate::sip::invite::{State, Usage, UsageTimer};
use crate::sip::message::{Method, Response};
use crate::sip::refer::{Notify, Refer, ReferNews};
use crate::sip::transaction::Purpose;

/// The code that stands for no response at all (RFC 3261 section 8.1.3.1).
const TIMEOUT: u16 = 408;

impl Endpoint {
    /// Asks the peer of an answered call to call somebody else instead. `ReferProgress`, then `ReferSucceeded` or
    /// `ReferFailed` follow. Before the ACK of our 2xx the REFER waits for it. `false` also while another one is open.
    pub fn refer(&mut self, now: Instant, dialog: DialogId, refer: Refer) -> bool {
        let Some(usage) = self.usages.get(dialog).filter(|usage| !usage.referrals.is_open()) else { return false };
        let State::Confirmed(confirmed) = &usage.state else { return false };
        let waits = confirmed.unacknowledged.as_ref().is_some_and(|answer| answer.is_initial);
        usage.referrals.wanted = Some(refer);
        if !waits {
            self.send_wanted_refer(now, dialog);
        }
        true
    }

    pub(super) fn send_wanted_refer(&mut self, now: Instant, id: DialogId) {
        let Some(usage) = self.usages.get(id) else { return };
        let Some(refer) = usage.referrals.wanted.take() else { return };
        let referred_by = usage.dialog.local_uri();
        let cseq = usage.dialog.coming_cseq();
        self.send_in_dialog(now, id, (Method::REFER, Purpose::Refer(cseq)), |request| {
            request.headers.push("Refer-To", refer.to.to_string());
            if let Some(uri) = referred_by {
                request.headers.push("Referred-By", format!("<{uri}>"));
            }
            request.headers.push("Supported", "norefersub");
        });
        if let Some(usage) = self.usages.get(id) {
            usage.referrals.sent(now, cseq, refer.timeout);
        }
        self.watch_referrals(id);
    }

    /// The final response to our REFER. `Refer-Sub: false` in a 2xx: no NOTIFY will come (RFC 4488).
    pub(super) fn refer_answered(&mut self, _now: Instant, id: DialogId, cseq: u32, response: &Response) {
        let refused = response.headers.get("Refer-Sub").and_then(|value| value.split(';').next());
        let subscribed = !refused.is_some_and(|value| value.trim().eq_ignore_ascii_case("false"));
        self.note_refer_response(id, cseq, response.code, subscribed);
    }

    pub(super) fn refer_unanswered(&mut self, id: DialogId, cseq: u32) {
        self.note_refer_response(id, cseq, TIMEOUT, true);
    }

    fn note_refer_response(&mut self, id: DialogId, cseq: u32, code: u16, subscribed: bool) {
        let Some(usage) = self.usages.get(id) else { return };
        if usage.confirmed().is_none() {
            return;
        }
        let news = usage.referrals.handle_response(cseq, code, subscribed);
        self.tell_of_refer(id, news);
    }

    /// What a NOTIFY says, where a REFER of ours asked for it; the subscription outlives the call.
    pub(super) fn awaited_notify(usage: &Usage, incoming: &Incoming) -> Option<Notify> {
        let request = Some(&incoming.request).filter(|request| request.method == Method::NOTIFY)?;
        Notify::read(&request.headers, &request.body).filter(|notify| usage.referrals.expect(notify))
    }

    pub(super) fn handle_notify(&mut self, now: Instant, id: DialogId, incoming: &Incoming, notify: &Notify) {
        let Some(usage) = self.usages.get(id) else { return };
        if !usage.dialog.accept_cseq(incoming.cseq) {
            return self.refuse(now, incoming, &Rejection::new(500));
        }
        let news = usage.confirmed().is_some().then(|| usage.referrals.handle_notify(now, notify)).flatten();
        self.accept_plain(now, incoming);
        self.tell_of_refer(id, news);
    }

    /// The peer hung up: where it took our REFER, that is its success (SIP-102).
    pub(super) fn left_after_refer(&mut self, id: DialogId) {
        let news = self.usages.get(id).and_then(|usage| usage.referrals.handle_bye());
        self.tell_of_refer(id, news);
    }

    pub(super) fn refer_overdue(&mut self, now: Instant, id: DialogId) {
        let news = self.usages.get(id).and_then(|usage| usage.referrals.handle_timeout(now));
        self.tell_of_refer(id, news);
    }

    fn tell_of_refer(&mut self, id: DialogId, news: Option<ReferNews>) {
        match news {
            Some(ReferNews::Progress(code)) => self.raise(Event::ReferProgress { dialog: id, code }),
            Some(ReferNews::Succeeded) => self.raise(Event::ReferSucceeded { dialog: id }),
            Some(ReferNews::Failed(failure)) => self.raise(Event::ReferFailed { dialog: id, failure }),
            None => {}
        }
        self.watch_referrals(id);
    }

    fn watch_referrals(&mut self, id: DialogId) {
        let Some(usage) = self.usages.get(id) else { return };
        let due = usage.confirmed().is_some().then(|| usage.referrals.poll_timeout()).flatten();
        match due {
            Some(when) => self.usages.arm(id, UsageTimer::Refer, when),
            None => self.usages.disarm(id, UsageTimer::Refer),
        }
    }
}
