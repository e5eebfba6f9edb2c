//! What a call says and hears in its dialog: answer, hold, digits by INFO, and every way it ends.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::base::metric;
use crate::call::intake::Intake;
use crate::call::leg::LegEvent;
use crate::call::outcome::{Failure, sip_code_of_cause};
use crate::call::pacing::Pace;
use crate::call::timeline::CallEnd;
use crate::call::{Call, FRAME, LINGER, Output, REPORTS_LOOK, SipCommand, Timer};
use crate::flow::Outcome;
use crate::sip::{InfoAnswer, Reason, ReasonProtocol, Rejection};

/// What a renegotiation of the peer came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asking {
    /// A re-INVITE.
    Reinvite,
    /// An UPDATE or PRACK.
    Update,
}

impl Call {
    pub(super) fn handle_info(
        &mut self,
        now: Instant,
        content_type: Option<String>,
        package: Option<String>,
        body: &[u8],
    ) {
        let answer = match package {
            Some(_) => InfoAnswer::BadEvent,
            None => match crate::media::telephone_event::parse_info(content_type.as_deref().unwrap_or(""), body) {
                Ok(digit) => {
                    if let Some((digit, duration_ms)) = digit {
                        self.media.info_digit(now, digit, duration_ms);
                    }
                    InfoAnswer::Ok
                }
                Err(_) => InfoAnswer::UnsupportedMediaType,
            },
        };
        self.outputs.push_back(Output::Sip(SipCommand::AnswerInfo(answer)));
        self.drain_media(now);
        self.drain_bot(now);
    }

    pub(super) fn renegotiate(&mut self, now: Instant, offer: Option<&[u8]>, asking: Asking) {
        let event = self.span.in_scope(|| self.leg.renegotiate(offer));
        self.after_leg(now, event, asking);
    }

    pub(super) fn after_leg(&mut self, now: Instant, event: LegEvent, asking: Asking) {
        match event {
            LegEvent::Answer { sdp, media_changed } => {
                self.outputs.push_back(Output::Sip(match asking {
                    Asking::Reinvite => SipCommand::Answer { sdp },
                    Asking::Update => SipCommand::AnswerUpdate { sdp },
                }));
                self.apply_media(now, media_changed);
            }
            LegEvent::Settled { media_changed } => self.apply_media(now, media_changed),
            LegEvent::Refused(code, text) => {
                self.span.in_scope(|| info!(warning = code, text, "offer refused, the call goes on unchanged"));
                let rejection = Failure::OfferRefused(code, text).rejection(0);
                self.outputs.push_back(Output::Sip(match asking {
                    Asking::Reinvite => SipCommand::Reject(rejection),
                    Asking::Update => SipCommand::RejectUpdate(rejection),
                }));
            }
            LegEvent::NoAnswer if self.timeline.answered.is_none() => {
                self.close_bot(now, None);
                self.refuse(now, &Failure::OfferRefused(399, "the PRACK carried no answer that can be used"));
            }
            LegEvent::NoAnswer => {
                self.close_bot(now, None);
                self.hang_up(now, "ack_without_answer", vec![Reason::sip(488)]);
            }
            LegEvent::Nothing => {}
        }
    }

    /// 180, where the caller has heard nothing yet.
    pub(super) fn ring(&mut self, now: Instant) {
        if self.timeline.rang.is_none() {
            self.timeline.rang = Some(now);
            let sdp = self.leg.early_offer();
            self.outputs.push_back(Output::Sip(SipCommand::Progress { code: 180, sdp }));
        }
    }

    /// 183 with SDP: media flows before the answer (SIP-060); 180 where the caller cannot have that.
    pub(super) fn open_early_media(&mut self, now: Instant) {
        if self.early_media {
            return;
        }
        let Some(sdp) = self.leg.early() else { return self.ring(now) };
        self.timeline.rang.get_or_insert(now);
        self.early_media = true;
        self.span.in_scope(|| info!("early media: 183 before the answer"));
        // The playout is there before the SDP leaves (SIP-064).
        self.start_media(now);
        self.outputs.push_back(Output::Sip(SipCommand::Progress { code: 183, sdp: Some(sdp) }));
    }

    /// Answers the INVITE, once.
    pub(super) fn answer(&mut self, now: Instant) {
        if let Some(sdp) = self.leg.answer() {
            self.timers.clear(Timer::AnswerDeadline);
            self.timeline.answered = Some(now);
            self.span.in_scope(|| info!(after_ms = self.timeline.after_invite_ms(Some(now)), "call answered"));
            self.outputs.push_back(Output::Sip(SipCommand::Answer { sdp }));
            self.media.answered(now);
            self.start_media(now);
        }
    }

    /// The caller may be heard from now on, and spoken to once it is known how.
    fn start_media(&mut self, now: Instant) {
        if self.receive.is_none() {
            self.receive = Some(Intake::new(self.grid.align(now + FRAME)));
            self.timers.set(Timer::Reports, now + REPORTS_LOOK);
        }
        self.apply_media(now, true);
    }

    /// Gives media what was negotiated; the first time starts the packets.
    pub(super) fn apply_media(&mut self, now: Instant, media_changed: bool) {
        let Some(format) = self.leg.media_format() else { return };
        self.media.set_srtp(self.leg.srtp());
        self.media.set_format(now, &format, media_changed);
        let step = Duration::from_millis(u64::from(format.ptime_ms));
        match &mut self.send {
            Some(pace) => pace.set_step(step),
            None if self.timeline.answered.is_some() || self.early_media => {
                self.send = Some(Pace::new(self.grid.align(now), step))
            }
            None => {}
        }
        match self.trunk.hold_timeout.filter(|_| format.held) {
            Some(limit) if !self.timers.is_set(Timer::Hold) => self.timers.set(Timer::Hold, now + limit),
            Some(_) => {}
            None => self.timers.clear(Timer::Hold),
        }
        let paused = !self.leg.may_send();
        self.note_hold(format.held);
        if let Some(bot) = &mut self.bot {
            bot.set_paused(now, paused);
        }
    }

    fn note_hold(&mut self, held: bool) {
        if std::mem::replace(&mut self.held, held) != held {
            let what = if held { "the caller's side holds the call" } else { "the call is resumed" };
            self.span.in_scope(|| info!("{what}"));
        }
    }

    /// Held for longer than the trunk's `hold_timeout_seconds` (SDP-011).
    pub(super) fn hold_timeout(&mut self, now: Instant) {
        self.close_bot(now, Some("hold_timeout"));
        self.hang_up(now, "hold_timeout", vec![Reason::q850(102).text("hold timeout")]);
    }

    /// The caller gave up; a 200 that waited for a PRACK has not left.
    pub(super) fn left_unanswered(&mut self, now: Instant, why: &'static str, reasons: &[Reason]) {
        self.timeline.answered = None;
        self.caller_left(now, why, reasons);
    }

    /// The caller hung up or gave up; the flow still hears of it, each step at most once.
    pub(super) fn caller_left(&mut self, now: Instant, why: &'static str, reasons: &[Reason]) {
        if self.caller_gone {
            return;
        }
        self.caller_gone = true;
        let unanswered = self.timeline.answered.is_none();
        self.note_end(
            now,
            CallEnd {
                by: "caller",
                sip_code: unanswered.then_some(487),
                q850: reasons.iter().find_map(q850_cause),
                reasons: written(reasons),
                why,
            },
        );
        self.say_goodbye(now);
        self.engine.caller_gone();
        if self.close_bot(now, None) | self.close_transfer(now) {
            let step = self.engine.finished(Outcome::Next);
            self.run(now, step);
        }
    }

    pub(super) fn ack_timeout(&mut self, now: Instant) {
        let reasons = vec![Reason::sip(408).to_string()];
        self.cut_off(now, CallEnd { by: "bridge", sip_code: Some(408), q850: None, reasons, why: "ack_timeout" });
    }

    /// The INVITE has its 504 (SIP-062).
    pub(super) fn prack_timeout(&mut self, now: Instant) {
        let labels =
            [("reason", "prack_timeout".to_owned()), ("code", "504".to_owned()), ("trunk", self.trunk.name.clone())];
        metric::CALLS_REFUSED.add_with(1, &labels);
        self.span.in_scope(|| {
            warn!(
                "the caller's side acknowledged no reliable 18x for 64 T1: 504; does the PBX send PRACK to our Contact?"
            );
        });
        // A 200 that waited for the PRACK has not left.
        self.timeline.answered = None;
        self.cut_off(
            now,
            CallEnd { by: "bridge", sip_code: Some(504), q850: Some(102), reasons: Vec::new(), why: "prack_timeout" },
        );
    }

    /// Nobody refreshed the session; the BYE is out (SIP-083).
    pub(super) fn session_expired(&mut self, now: Instant, reasons: &[Reason]) {
        let (q850, reasons) = (reasons.iter().find_map(q850_cause), written(reasons));
        self.cut_off(now, CallEnd { by: "bridge", sip_code: None, q850, reasons, why: "session_expired" });
    }

    /// The dialog was ended by the SIP layer.
    fn cut_off(&mut self, now: Instant, end: CallEnd) {
        let why = end.why;
        self.note_end(now, end);
        self.say_goodbye(now);
        self.caller_gone = true;
        self.engine.caller_gone();
        self.close_bot(now, Some(why));
    }

    pub(super) fn rtp_timeout(&mut self, now: Instant) {
        // A caller need not speak before the answer, nor while it is handed over.
        if self.timeline.answered.is_none() || self.is_being_transferred() {
            return;
        }
        self.span
            .in_scope(|| warn!("no RTP from the caller for {} s, hanging up", self.settings.rtp_timeout.as_secs()));
        self.close_bot(now, Some("rtp_timeout"));
        self.hang_up(now, "rtp_timeout", vec![Reason::q850(102).text("media timeout")]);
    }

    pub(super) fn answer_timeout(&mut self, now: Instant) {
        if self.timeline.answered.is_none() && self.end.by.is_empty() {
            self.close_bot(now, Some("answer_timeout"));
            self.refuse(now, &Failure::AnswerTimeout);
        }
    }

    /// Refuses the unanswered INVITE.
    pub(super) fn refuse(&mut self, now: Instant, failure: &Failure) {
        let retry_after = 5 + self.random.below(11);
        let mut rejection = failure.rejection(retry_after);
        rejection.code = failure.own_code(&self.trunk).unwrap_or(rejection.code);
        self.reject(now, rejection, failure.label());
    }

    pub(super) fn reject(&mut self, now: Instant, rejection: Rejection, why: &'static str) {
        let q850 = rejection.reasons.iter().find_map(q850_cause);
        let labels =
            [("reason", why.to_owned()), ("code", rejection.code.to_string()), ("trunk", self.trunk.name.clone())];
        metric::CALLS_REFUSED.add_with(1, &labels);
        let reasons = written(&rejection.reasons);
        self.note_end(now, CallEnd { by: "bridge", sip_code: Some(rejection.code), q850, reasons, why });
        self.say_goodbye(now);
        self.outputs.push_back(Output::Sip(SipCommand::Reject(rejection)));
        self.timers.set(Timer::Linger, now + LINGER);
    }

    /// Ends the call from our side: BYE once answered, a refusal before.
    pub(super) fn hang_up(&mut self, now: Instant, why: &'static str, reasons: Vec<Reason>) {
        if self.caller_gone || !self.end.by.is_empty() {
            return;
        }
        let q850 = reasons.iter().find_map(q850_cause);
        if self.timeline.answered.is_none() {
            let code = q850.map_or(480, sip_code_of_cause);
            self.reject(now, Rejection { code, reasons, ..Rejection::default() }, why);
            return;
        }
        self.note_end(now, CallEnd { by: "bridge", sip_code: None, q850, reasons: written(&reasons), why });
        self.say_goodbye(now);
        self.outputs.push_back(Output::Sip(SipCommand::Bye(reasons)));
        self.timers.set(Timer::Linger, now + LINGER);
    }

    pub(super) fn note_end(&mut self, now: Instant, end: CallEnd) {
        if self.end.by.is_empty() {
            self.span.in_scope(|| {
                info!(
                    by = end.by,
                    why = end.why,
                    sip_code = end.sip_code,
                    q850 = end.q850,
                    reasons = end.reasons.join(", "),
                    talk_ms = self.timeline.talk_ms(now),
                    "call ends"
                );
            });
            self.end = end;
            self.timeline.ended = Some(now);
            self.timers.clear(Timer::AnswerDeadline);
        }
    }

    /// Stops media in both directions.
    pub(super) fn say_goodbye(&mut self, now: Instant) {
        let mut packet = Vec::new();
        if let Some(to) = self.media.goodbye(now, &mut packet).filter(|_| self.send.is_some()) {
            self.outputs.push_back(Output::Rtcp { mux: self.leg.rtcp_mux(), to, packet });
        }
        (self.send, self.receive) = (None, None);
        self.timers.clear(Timer::Hold);
        self.timers.clear(Timer::Reports);
        self.leg.close();
    }
}

/// Reasons as the wire has them.
fn written(reasons: &[Reason]) -> Vec<String> {
    reasons.iter().map(ToString::to_string).collect()
}

/// The cause of a Q.850 reason.
fn q850_cause(reason: &Reason) -> Option<u16> {
    if reason.protocol == ReasonProtocol::Q850 { reason.cause } else { None }
}
