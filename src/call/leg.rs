//! The SIP leg of a call: offer and answer over the dialog's life, and what media they settle.

use std::net::{IpAddr, SocketAddr};

use tracing::warn;

use crate::base::random::Random;
use crate::base::rtp_format::{L16, RtpFormat};
use crate::base::srtp::SrtpKeys;
use crate::call::outcome::Failure;
use crate::config::Trunk;
use crate::media::{MediaFormat, codec};
use crate::sdp::{AddressRules, LocalMedia, Negotiated, Negotiation, Refusal};
use crate::sip::{DialogId, IncomingInvite, InviteBody};

/// Where offer and answer stand.
///
/// ```text
/// INVITE with SDP    Offered ──200──► Settled ◄──ACK with SDP── AwaitingAnswer ◄──200── INVITE without SDP
///                                        ▲                            ▲
///                                        └───────PRACK with SDP───────┴──reliable 18x──┘
/// ```
#[derive(Debug)]
enum State {
    /// The INVITE's offer has its answer ready, not sent.
    Offered { answer: Vec<u8> },
    /// The INVITE came without an offer; our 200 will carry one.
    OfferWanted,
    /// Our offer is out; the ACK, or the PRACK of a reliable provisional response, carries the answer.
    AwaitingAnswer { initial: bool },
    /// Media is agreed.
    Settled,
    /// The dialog ends.
    Closed,
}

/// What the call does after an offer, an answer or an ACK.
#[derive(Debug, PartialEq, Eq)]
pub enum LegEvent {
    /// Send 200 with this body; media follows what was agreed.
    Answer {
        /// The body.
        sdp: Option<Vec<u8>>,
        /// Where media goes, or how, has changed.
        media_changed: bool,
    },
    /// Our offer was answered.
    Settled {
        /// Where media goes, or how, has changed.
        media_changed: bool,
    },
    /// Send 488 with this warning; the session goes on unchanged (SIP-074).
    Refused(u16, &'static str),
    /// A late offer got no usable answer: the call cannot have media (SDP-013).
    NoAnswer,
    /// Nothing to do.
    Nothing,
}

/// See the module's text.
#[derive(Debug)]
pub struct Leg {
    dialog: DialogId,
    call_id: String,
    local: (IpAddr, u16),
    negotiation: Negotiation,
    state: State,
    /// The INVITE has its 200.
    answered: bool,
    /// Provisional responses are reliable: one may carry our offer.
    reliable: bool,
}

impl Leg {
    /// A leg for an INVITE that has just come in; the offer is read by [`Leg::take_offer`].
    pub fn new(
        dialog: DialogId,
        invite: &IncomingInvite,
        trunk: &Trunk,
        signalling: &[SocketAddr],
        local: (IpAddr, u16),
        random: &mut Random,
    ) -> Self {
        let rules = AddressRules {
            signalling: signalling.to_vec(),
            allow_loopback: invite.peer.is_loopback(),
            strict: trunk.strict_media_acl.then(|| trunk.media_allow.clone()),
        };
        let media = LocalMedia {
            address: local.0,
            port: local.1,
            formats: formats(trunk),
            prefer_ours: trunk.codecs.is_some(),
            telephone_event: true,
            comfort_noise: true,
            ptime_ms: 20,
            rules,
        };
        let session_id = u64::from(random.u32()) + 1;
        // Where SIP is not encrypted keys in SDP are a matter of the trunk's trust (SDP-018).
        let keys_allowed = invite.transport.is_secure() || trunk.allow_sdes_cleartext;
        let negotiation = Negotiation::new(media, session_id).with_srtp(trunk.srtp, keys_allowed, random.fork());
        let (call_id, reliable) = (invite.call_id.clone(), invite.reliable_provisionals);
        Self { dialog, call_id, local, negotiation, state: State::OfferWanted, answered: false, reliable }
    }

    /// The leg that takes this one's place in the same call, on the same port (RFC 3891).
    pub fn successor(
        &self,
        dialog: DialogId,
        invite: &IncomingInvite,
        trunk: &Trunk,
        signalling: &[SocketAddr],
        random: &mut Random,
    ) -> Self {
        let leg = Self::new(dialog, invite, trunk, signalling, self.local, random);
        Self { call_id: self.call_id.clone(), ..leg }
    }

    /// Reads the INVITE's offer.
    ///
    /// # Errors
    /// [`Failure::OfferRefused`] for an offer that cannot be answered.
    pub fn take_offer(&mut self, invite: &IncomingInvite) -> Result<(), Failure> {
        let InviteBody::Sdp(offer) = &invite.body else {
            return self.negotiation.check_offer().map_err(|refusal| offer_refused(&refusal));
        };
        let (answer, _) = self.negotiation.answer(offer).map_err(|refusal| offer_refused(&refusal))?;
        self.state = State::Offered { answer };
        Ok(())
    }

    /// The body of the 200 to the INVITE, none where a reliable provisional response had it; `None` when the INVITE was
    /// answered before or the dialog ends.
    pub fn answer(&mut self) -> Option<Option<Vec<u8>>> {
        if std::mem::replace(&mut self.answered, true) {
            return None;
        }
        match std::mem::replace(&mut self.state, State::Settled) {
            State::Offered { answer } => Some(Some(answer)),
            State::OfferWanted => {
                self.state = State::AwaitingAnswer { initial: true };
                Some(Some(self.negotiation.offer()))
            }
            State::Settled => Some(None),
            other @ State::AwaitingAnswer { .. } => {
                self.state = other;
                Some(None)
            }
            State::Closed => {
                self.state = State::Closed;
                None
            }
        }
    }

    /// The body of a 183 that opens early media: our answer, or our offer where a reliable response may carry one; `None`
    /// where there can be no early media (SIP-060).
    pub fn early(&mut self) -> Option<Vec<u8>> {
        match &self.state {
            State::Offered { answer } => Some(answer.clone()),
            State::OfferWanted => self.early_offer(),
            State::AwaitingAnswer { .. } | State::Settled | State::Closed => None,
        }
    }

    /// The body of a 180: our offer where the INVITE had none and the response is reliable; then it must be there
    /// (RFC 3262 section 5).
    pub fn early_offer(&mut self) -> Option<Vec<u8>> {
        if !self.reliable || !matches!(self.state, State::OfferWanted) {
            return None;
        }
        self.state = State::AwaitingAnswer { initial: true };
        Some(self.negotiation.offer())
    }

    /// The answer to a re-INVITE that only refreshed the session with our last description; whether media has changed.
    pub fn refreshed(&mut self, answer: Option<&[u8]>) -> bool {
        let settled = matches!(self.state, State::Settled);
        let accepted = answer.filter(|_| settled).map(|answer| self.negotiation.accept_again(answer));
        accepted.is_some_and(|accepted| accepted.is_ok_and(|negotiated| negotiated.media_changed))
    }

    /// A re-INVITE or UPDATE came.
    pub fn renegotiate(&mut self, offer: Option<&[u8]>) -> LegEvent {
        if matches!(self.state, State::Closed) {
            return LegEvent::Nothing;
        }
        let Some(offer) = offer else {
            self.state = State::AwaitingAnswer { initial: false };
            return LegEvent::Answer { sdp: Some(self.negotiation.offer()), media_changed: false };
        };
        match self.negotiation.answer(offer) {
            Ok((answer, negotiated)) => {
                let media_changed = negotiated.media_changed;
                if let State::Offered { answer: pending } = &mut self.state {
                    pending.clone_from(&answer);
                }
                LegEvent::Answer { sdp: Some(answer), media_changed }
            }
            Err(refusal) => {
                warn!(%refusal, "the offer is refused");
                let (code, text) = refusal.warning();
                LegEvent::Refused(code, text)
            }
        }
    }

    /// The ACK of a 2xx came, or the PRACK of a provisional response with our offer.
    pub fn acknowledged(&mut self, answer: Option<&[u8]>) -> LegEvent {
        let State::AwaitingAnswer { initial } = self.state else { return LegEvent::Nothing };
        match answer.map(|answer| self.negotiation.accept(answer)) {
            Some(Ok(negotiated)) => {
                self.state = State::Settled;
                LegEvent::Settled { media_changed: initial || negotiated.media_changed }
            }
            Some(Err(refusal)) if initial => {
                warn!(%refusal, "the answer to our offer cannot be used");
                LegEvent::NoAnswer
            }
            None if initial => LegEvent::NoAnswer,
            Some(Err(_)) | None => {
                self.state = State::Settled;
                LegEvent::Nothing
            }
        }
    }

    /// What media does now; `None` until offer and answer have met.
    #[must_use]
    pub fn media_format(&self) -> Option<MediaFormat> {
        match self.state {
            State::Offered { .. } | State::Settled => {}
            State::AwaitingAnswer { initial: false } => {}
            State::OfferWanted | State::AwaitingAnswer { initial: true } | State::Closed => return None,
        }
        self.negotiation.current().map(media_format)
    }

    /// The keys of SRTP; `None` is plain RTP.
    #[must_use]
    pub fn srtp(&self) -> Option<&SrtpKeys> {
        self.negotiation.current().and_then(|negotiated| negotiated.srtp.as_ref())
    }

    /// Whether packets may go to the peer: media is agreed and it does not hold us.
    #[must_use]
    pub fn may_send(&self) -> bool {
        self.media_format().is_some_and(|format| format.send)
    }

    /// Whether RTP and RTCP share a port (SDP-017).
    #[must_use]
    pub fn rtcp_mux(&self) -> bool {
        self.negotiation.current().is_some_and(|negotiated| negotiated.rtcp_mux)
    }

    /// The dialog ends; nothing is negotiated any more.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// The dialog.
    #[must_use]
    pub fn dialog(&self) -> DialogId {
        self.dialog
    }

    /// The SIP Call-ID of the INVITE that began the call.
    #[must_use]
    pub fn call_id(&self) -> &str {
        &self.call_id
    }
}

/// Our codecs in the trunk's order, else in our own. Linear PCM, which is twice or four times the bytes, only where the
/// trunk names it.
fn formats(trunk: &Trunk) -> Vec<RtpFormat> {
    let mut known = codec::formats();
    let Some(preferred) = &trunk.codecs else {
        known.retain(|format| format.encoding_name != L16.encoding_name);
        return known;
    };
    let named = |name: &String, format: &RtpFormat| format.encoding_name.eq_ignore_ascii_case(name);
    preferred.iter().flat_map(|name| known.iter().filter(move |format| named(name, format))).copied().collect()
}

fn offer_refused(refusal: &Refusal) -> Failure {
    warn!(%refusal, "the offer is refused");
    let (code, text) = refusal.warning();
    Failure::OfferRefused(code, text)
}

fn media_format(negotiated: &Negotiated) -> MediaFormat {
    MediaFormat {
        remote: negotiated.remote,
        remote_rtcp: negotiated.remote_rtcp,
        rtcp_mux: negotiated.rtcp_mux,
        format: negotiated.format,
        payload_type: negotiated.payload_type,
        telephone_event: negotiated.telephone_event.map(|event| (event.payload_type, event.clock_rate)),
        comfort_noise: negotiated.comfort_noise,
        ptime_ms: negotiated.ptime_ms,
        send: negotiated.send,
        receive: negotiated.receive,
        held: negotiated.held,
    }
}
