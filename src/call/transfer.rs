//! A connect step: the caller is handed to somebody else by the peer's own means (SIP-100 to SIP-103, SIP-107).

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::base::metric;
use crate::call::outcome::cause_of_transfer;
use crate::call::timeline::{TransferRecord, masked, ms};
use crate::call::user_to_user::{Given, Unsendable};
use crate::call::{Call, Output, SipCommand, Timer};
use crate::flow::Outcome;
use crate::flow::applet::connect::{Connect, Destination, Mode};
use crate::sip::uri::UriError;
use crate::sip::{Headers, NameAddr, Reason, Refer, ReferFailure, ReferTarget, Rejection};

/// How long the peer has to hang up a call that it has transferred (SIP-103).
const LEAVE: Duration = Duration::from_secs(1);
/// The host that stands in From where the caller is withheld (RFC 3323).
const NOBODYS_HOST: &str = "anonymous.invalid";

/// A transfer that the peer was asked for.
#[derive(Debug)]
pub(super) struct Transfer {
    step: String,
    to: String,
    asked: Instant,
    succeeded: bool,
}

/// What a connect step needs to know of the INVITE.
#[derive(Debug, Default)]
pub(super) struct Origin {
    /// `host[:port]` at which the peer's own numbers are called.
    pub host: Option<String>,
    /// User-to-User for the next agent.
    pub given: Given,
}

impl Origin {
    /// Numbers belong to the host of the caller's address, else to that of the Contact.
    pub(super) fn new(from: &NameAddr, headers: &Headers, uui: Option<&str>) -> Self {
        let contact = headers.list("Contact").first().and_then(|contact| NameAddr::parse(contact).ok());
        let place = |address: &NameAddr| {
            let host = address.uri.host.as_ref()?.to_string();
            let port = address.uri.port.map(|port| format!(":{port}")).unwrap_or_default();
            (!host.eq_ignore_ascii_case(NOBODYS_HOST)).then(|| host + &port)
        };
        let header = headers.list("User-to-User").join(", ");
        let header = Some(header).filter(|value| !value.is_empty());
        let host = place(from).or_else(|| contact.as_ref().and_then(place));
        Self { host, given: Given { header, text: uui.map(str::to_owned) } }
    }
}

impl Call {
    /// Starts a connect step; an outcome where it ends at once.
    pub(super) fn start_connect(&mut self, now: Instant, step: String, connect: &Connect) -> Option<Outcome> {
        let target = match self.target(connect) {
            Ok(target) => target,
            Err(error) => {
                self.span.in_scope(|| warn!(%step, %error, "the step's target cannot be called"));
                return Some(Outcome::NotDialed);
            }
        };
        let to = shown(&connect.to);
        let transfer = Transfer { step, to, asked: now, succeeded: false };
        match connect.mode {
            Mode::Redirect => Some(self.redirect(now, transfer, &target)),
            Mode::Refer => {
                self.answer(now);
                self.span.in_scope(
                    || info!(step = %transfer.step, to = %transfer.to, "asking the peer to transfer the call"),
                );
                let refer = Refer { to: target, timeout: connect.refer_timeout };
                self.outputs.push_back(Output::Sip(SipCommand::Refer(Box::new(refer))));
                self.transfer = Some(transfer);
                None
            }
        }
    }

    /// Whom the peer is to call, and what its INVITE is to carry (SIP-101, HDR-019, HDR-025).
    fn target(&self, connect: &Connect) -> Result<ReferTarget, UriError> {
        let uri = match &connect.to {
            Destination::Uri(uri) => uri.clone(),
            Destination::Number(number) => {
                let host = self.origin.host.as_deref().ok_or(UriError::Host)?;
                format!("sip:{}@{host}", number.replace('#', "%23"))
            }
        };
        let mut target = ReferTarget::new(&uri)?;
        for (name, value) in self.uui_headers(connect) {
            target = target.header(name, &value);
        }
        for (name, value) in &connect.custom_params {
            target = target.header(&format!("X-{name}"), value);
        }
        Ok(target)
    }

    fn uui_headers(&self, connect: &Connect) -> Vec<(&'static str, String)> {
        let own = connect.uui.as_ref().map(|text| Given { header: None, text: Some(text.clone()) });
        own.as_ref().unwrap_or(&self.origin.given).headers(self.trunk.uui_sending).unwrap_or_else(|why: Unsendable| {
            self.span.in_scope(|| warn!(%why, "User-to-User is not handed on"));
            Vec::new()
        })
    }

    /// 302: the peer calls the target instead (RFC 3261 section 8.1.3.4).
    fn redirect(&mut self, now: Instant, transfer: Transfer, target: &ReferTarget) -> Outcome {
        if self.timeline.answered.is_some() {
            self.span.in_scope(|| {
                warn!(step = %transfer.step, "an answered call cannot be redirected; mode \"refer\" transfers it");
            });
            self.note_transfer(now, &transfer, "redirect", "failed", None);
            return Outcome::NotDialed;
        }
        self.note_transfer(now, &transfer, "redirect", "succeeded", Some(302));
        let rejection = Rejection { headers: vec![("Contact", target.to_string())], ..Rejection::new(302) };
        self.reject(now, rejection, "redirected");
        self.caller_gone = true;
        self.engine.caller_gone();
        Outcome::Next
    }

    pub(super) fn transfer_progressed(&mut self, code: u16) {
        self.span.in_scope(|| info!(code, "the transfer's target was called"));
    }

    /// The target has the call; the peer hangs up this one, or in a second we do (SIP-103).
    pub(super) fn transfer_succeeded(&mut self, now: Instant) {
        let Some(mut transfer) = self.transfer.take() else { return };
        self.span.in_scope(|| info!(step = %transfer.step, to = %transfer.to, "call transferred"));
        self.note_transfer(now, &transfer, "refer", "succeeded", None);
        transfer.succeeded = true;
        self.transfer = Some(transfer);
        self.timers.set(Timer::Transferred, now + LEAVE);
    }

    /// The call goes on as it is, media included.
    pub(super) fn transfer_failed(&mut self, now: Instant, failure: ReferFailure) {
        let Some(transfer) = self.transfer.take() else { return };
        self.span.in_scope(
            || warn!(step = %transfer.step, to = %transfer.to, %failure, "the transfer failed, the call goes on"),
        );
        let (outcome, code) = match failure {
            ReferFailure::Refused(code) => (Outcome::NotDialed, Some(code)),
            ReferFailure::Reported(code) => (Outcome::NoAnswer, Some(code)),
            ReferFailure::Silent | ReferFailure::TimedOut => (Outcome::NoAnswer, None),
        };
        self.note_transfer(now, &transfer, "refer", "failed", code);
        self.cause = cause_of_transfer(code);
        self.media.expect_rtp_again(now);
        let step = self.engine.finished(outcome);
        self.run(now, step);
    }

    /// The peer did not hang up a call that it has transferred.
    pub(super) fn leave_transferred(&mut self, now: Instant) {
        if self.transfer.take().is_none() {
            return;
        }
        self.hang_up(now, "transferred", vec![Reason::q850(16)]);
        self.caller_gone = true;
        self.engine.caller_gone();
        let step = self.engine.finished(Outcome::Next);
        self.run(now, step);
    }

    /// Whether the peer has been asked to transfer the call: then its silence says nothing.
    pub(super) fn is_being_transferred(&self) -> bool {
        self.transfer.is_some()
    }

    /// Why a caller who hangs up now does so.
    pub(super) fn why_caller_left(&self) -> &'static str {
        let succeeded = self.transfer.as_ref().is_some_and(|transfer| transfer.succeeded);
        if succeeded { "transferred" } else { "caller_hangup" }
    }

    /// The call ends: so does the step that waits for a transfer. Whether there was one.
    pub(super) fn close_transfer(&mut self, now: Instant) -> bool {
        self.timers.clear(Timer::Transferred);
        let Some(transfer) = self.transfer.take() else { return false };
        if !transfer.succeeded {
            self.note_transfer(now, &transfer, "refer", "cancelled", None);
        }
        true
    }

    fn note_transfer(
        &mut self,
        now: Instant,
        transfer: &Transfer,
        mode: &'static str,
        outcome: &'static str,
        sip_code: Option<u16>,
    ) {
        metric::TRANSFERS.add_with(1, &[("mode", mode.to_owned()), ("outcome", outcome.to_owned())]);
        let after_ms = ms(now.saturating_duration_since(transfer.asked));
        let (step, to) = (transfer.step.clone(), transfer.to.clone());
        self.transfers.push(TransferRecord { step, to, mode, outcome, sip_code, after_ms });
    }
}

/// A destination as records and logs show it.
fn shown(to: &Destination) -> String {
    match to {
        Destination::Number(number) => masked(number),
        Destination::Uri(uri) => {
            let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
            let (user, host) = rest.split_once('@').unwrap_or(("", rest));
            format!("{scheme}:{}@{host}", masked(user))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::applet::Applet;

    fn origin(from: &str, lines: &[(&str, &str)]) -> Origin {
        let mut headers = Headers::new();
        lines.iter().for_each(|(name, value)| headers.push(name, *value));
        Origin::new(&NameAddr::parse(from).expect("valid"), &headers, None)
    }

    #[test]
    fn sip_100_numbers_are_called_at_the_callers_host_else_at_the_contacts() {
        let contact = ("Contact", "<sip:x@192.0.2.9:5070>");
        assert_eq!(origin("<sip:1@pbx.example:5080>", &[contact]).host.as_deref(), Some("pbx.example:5080"));
        let withheld = origin("<sip:anonymous@anonymous.invalid>", &[contact]);
        assert_eq!(withheld.host.as_deref(), Some("192.0.2.9:5070"));
        assert_eq!(origin("<tel:+9180>", &[]).host, None);
        assert_eq!(origin("<sip:1@[2001:db8::1]>", &[]).host.as_deref(), Some("[2001:db8::1]"));
    }

    #[test]
    fn hdr_025_every_element_of_user_to_user_is_handed_on() {
        let lines = [("User-to-User", "4869;encoding=hex"), ("User-to-User", "\"a,b\";encoding=ascii, 00")];
        let given = origin("<sip:1@h>", &lines).given;
        assert_eq!(given.header.as_deref(), Some("4869;encoding=hex, \"a,b\";encoding=ascii, 00"));
    }

    #[test]
    fn where_a_call_goes_is_shown_without_the_number() {
        assert_eq!(shown(&Destination::Number("+918061234567".into())), "+xxxxxxxxxx67");
        assert_eq!(shown(&Destination::Uri("sip:agent7@pbx.example".into())), "sip:xxxxt7@pbx.example");
    }

    proptest! {
        #[test]
        fn sip_101_what_a_flow_may_name_can_be_referred_to(
            to in "(sips?:)?[a-z0-9+*#&=,;/~!'()_.-]{1,12}(@[a-z0-9.-]{1,10}(:[0-9]{1,5})?(;[a-z=.]{0,8}){0,2})?"
        ) {
            let text = format!("to = '''{to}'''\nmode = \"refer\"");
            if let Ok(table) = toml::from_str::<toml::Table>(&text)
                && let Ok(settings) = table.try_into()
                && let Ok(connect) = Connect::check(settings, &|_| Ok(()))
            {
                let uri = match connect.to {
                    Destination::Number(number) => format!("sip:{}@h", number.replace('#', "%23")),
                    Destination::Uri(uri) => uri,
                };
                prop_assert!(ReferTarget::new(&uri).is_ok(), "{uri}");
            }
        }
    }
}
