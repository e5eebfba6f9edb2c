//! The player: one [`Call`] owns its SIP leg, media, stream and flow. Sans-IO: events and packets come in with `now`,
//! [`Output`]s are drained after every mutation.
//!
//! One media thread owns a call for its whole life; nothing here is locked or shared but the [`directory`].

pub mod admission;
pub mod directory;
pub mod headers;
mod intake;
mod interface;
pub mod leg;
pub mod outcome;
pub mod pacing;
mod packets;
mod record;
mod replacement;
mod signalling;
pub mod summary;
pub mod timeline;
mod transfer;
pub mod turns;
pub mod user_to_user;
mod voicebot;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use intake::Reading;
pub use interface::{CallSettings, Dial, Output, Scratch, Setup, SipCommand, StreamInput};
use tracing::field::Empty;
use tracing::{Span, debug, info, info_span};

use crate::base::id::{AccountSid, CallSid};
use crate::base::random::Random;
use crate::base::timer::TimerTable;
use crate::call::directory::{CallSlot, Directory};
use crate::call::intake::Intake;
use crate::call::leg::Leg;
use crate::call::outcome::Failure;
use crate::call::pacing::{Grid, Lateness, Pace};
use crate::call::signalling::Asking;
use crate::call::timeline::{CallEnd, OmittedHeader, StationRecord, StreamRecord, Timeline, TransferRecord, masked};
use crate::call::transfer::{Origin, Transfer};
use crate::call::voicebot::Bot;
use crate::config::Trunk;
use crate::flow::{Engine, Step, StepKind};
pub use crate::media::{Copied, PacketCopy};
use crate::media::{MediaSession, MediaSettings};
use crate::sip::{DialogId, Event, IncomingInvite, Reason, Rejection};

/// Bot packets leave and caller audio is taken on this grid.
pub const CLOCK_STEP: Duration = Duration::from_millis(5);
/// Caller audio is taken in frames of this length.
const FRAME: Duration = Duration::from_millis(20);
/// RTCP reports are looked after this soon where it is not known when the next is due: on hold, before the first.
const REPORTS_LOOK: Duration = Duration::from_millis(250);
/// A dialog that the SIP layer never closes is forgotten after this.
const LINGER: Duration = Duration::from_secs(40);

/// Why a call wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Timer {
    /// The INVITE was not answered in time (SIP-061).
    AnswerDeadline,
    /// The step's `max_duration_seconds` (RTP-043).
    MaxDuration,
    /// The peer's hold lasts too long (SDP-011).
    Hold,
    /// RTCP reports may be due.
    Reports,
    /// The peer should have hung up the call that it has transferred.
    Transferred,
    /// The SIP layer never reported the dialog's end.
    Linger,
}

/// One call. See the module's text.
pub struct Call {
    span: Span,
    sid: CallSid,
    account: AccountSid,
    trunk: Arc<Trunk>,
    from: String,
    to: String,
    flow: String,
    parameters: Vec<(String, String)>,
    settings: Arc<CallSettings>,
    directory: Arc<Directory>,
    random: Random,
    leg: Leg,
    /// The leg that `leg` took the place of, until that has its ACK.
    replaced: Option<Box<Leg>>,
    replaced_by: Vec<String>,
    media: MediaSession,
    grid: Grid,
    send: Option<Pace>,
    receive: Option<Intake>,
    engine: Engine,
    bot: Option<Box<Bot>>,
    transfer: Option<Transfer>,
    origin: Box<Origin>,
    streams_opened: u32,
    caller_gone: bool,
    early_media: bool,
    held: bool,
    remembered: Option<Failure>,
    cause: u16,
    timers: TimerTable<Timer>,
    timeline: Timeline,
    end: CallEnd,
    headers_omitted: Vec<OmittedHeader>,
    streams: Vec<StreamRecord>,
    transfers: Vec<TransferRecord>,
    diverted: Vec<StationRecord>,
    stalled_ms: u64,
    /// Milliseconds that were skipped towards the caller and have not yet been towards the bot.
    owed_ms: i64,
    lateness: Lateness,
    outputs: VecDeque<Output>,
    over: bool,
    _slot: CallSlot,
}

impl Call {
    /// A call that has just been admitted; its first outputs ring, answer or refuse it.
    #[must_use]
    pub fn new(now: Instant, wall: SystemTime, setup: Setup) -> Self {
        let Setup { dialog, invite, trunk, account, graph, settings, directory, slot, mut random, .. } = setup;
        let (clock_epoch, local) = (setup.clock_epoch, (setup.media_address, setup.rtp_port));
        let sid = CallSid::mint(&mut random);
        let span = info_span!(parent: None, "call", call_sid = %sid, call_id = %invite.call_id, trunk = %trunk.name, stream_sid = Empty);
        let caller = crate::sip::caller(&invite, trunk.trusted, trunk.deliver_private);
        let exposed = headers::exposed(&invite.headers, &trunk, caller.withheld);
        let mapped = headers::map(invite.headers.iter(), exposed, &trunk.headers);
        let uui = mapped.parameters.iter().find(|(key, _)| key == "UUI").map(|(_, text)| text.as_str());
        let origin = Box::new(Origin::new(&invite.from, &invite.headers, uui));
        let leg = Leg::new(dialog, &invite, &trunk, &settings.signalling, local, &mut random);
        let mut call = Self {
            span,
            sid,
            from: format!("sip:{}", caller.number),
            to: crate::sip::called(&invite, trunk.route_on),
            flow: graph.id().to_owned(),
            parameters: mapped.parameters,
            media: MediaSession::new(now, media_settings(&trunk, &settings, invite.peer), &mut random),
            engine: Engine::new(graph),
            timeline: Timeline::new(now, wall),
            account,
            trunk,
            settings,
            directory,
            random,
            leg,
            replaced: None,
            replaced_by: Vec::new(),
            grid: Grid::new(clock_epoch),
            send: None,
            receive: None,
            bot: None,
            transfer: None,
            origin,
            streams_opened: 0,
            caller_gone: false,
            early_media: false,
            held: false,
            remembered: None,
            cause: 16,
            timers: TimerTable::default(),
            end: CallEnd::default(),
            headers_omitted: Vec::new(),
            streams: Vec::new(),
            transfers: Vec::new(),
            diverted: Self::stations(&invite.headers),
            stalled_ms: 0,
            owed_ms: 0,
            lateness: Lateness::default(),
            outputs: VecDeque::new(),
            over: false,
            _slot: slot,
        };
        call.note_omitted(mapped.omitted);
        call.begin(now, &invite);
        call
    }

    fn begin(&mut self, now: Instant, invite: &IncomingInvite) {
        let (from_tag, to_tag) = invite.tag_hashes();
        let behind_proxy = (invite.peer != invite.source.ip()).then(|| tracing::field::display(invite.peer));
        self.span.in_scope(|| {
            info!(%from_tag, %to_tag, from = %masked(&self.from), to = %masked(&self.to), account = %self.account, flow = %self.flow, source = %invite.source, peer = behind_proxy, "call begins");
        });
        self.timers.set(Timer::AnswerDeadline, now + self.settings.answer_deadline);
        if let Err(failure) = self.span.in_scope(|| self.leg.take_offer(invite)) {
            self.refuse(now, &failure);
            return;
        }
        let step = self.engine.start();
        self.run(now, step);
    }

    /// The call's id.
    pub fn sid(&self) -> &CallSid {
        &self.sid
    }

    /// The caller's number, `sip:` before it, and the called number, as the bot is told them.
    pub fn numbers(&self) -> (&str, &str) {
        (&self.from, &self.to)
    }

    /// The call's dialog.
    pub fn dialog(&self) -> DialogId {
        self.leg.dialog()
    }

    /// Begins or ends to copy the call's packets, for a trace.
    pub fn set_copying(&mut self, on: bool) {
        self.media.set_copying(on);
    }

    /// Whether they are copied.
    pub fn is_copying(&self) -> bool {
        self.media.is_copying()
    }

    /// The next copy of a packet.
    pub fn poll_copy(&mut self) -> Option<PacketCopy> {
        self.media.poll_copy()
    }

    /// The log span that everything said about this call belongs to.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// Something happened in the call's dialog.
    pub fn handle_sip(&mut self, now: Instant, event: Event) {
        if self.over || event.dialog() != self.leg.dialog() {
            return self.note_replaced(&event);
        }
        match event {
            Event::Reinvite { sdp, .. } => self.renegotiate(now, sdp.as_deref(), Asking::Reinvite),
            Event::Update { sdp, .. } => self.renegotiate(now, sdp.as_deref(), Asking::Update),
            Event::Acknowledged { sdp, .. } | Event::Pracked { sdp, .. } => {
                self.replaced = None;
                let event = self.span.in_scope(|| self.leg.acknowledged(sdp.as_deref()));
                self.after_leg(now, event, Asking::Reinvite);
            }
            Event::ReinviteAnswered { sdp, .. } => {
                if self.leg.refreshed(sdp.as_deref()) {
                    self.apply_media(now, true);
                }
            }
            Event::Info { content_type, package, body, .. } => self.handle_info(now, content_type, package, &body),
            Event::Cancelled { .. } | Event::Expired { .. } if self.replaced.is_some() => self.return_to_replaced(now),
            Event::Cancelled { reasons, .. } => self.left_unanswered(now, "cancelled", &reasons),
            Event::Expired { .. } => self.left_unanswered(now, "expired", &[]),
            Event::Bye { reasons, .. } => self.caller_left(now, self.why_caller_left(), &reasons),
            Event::ReferProgress { code, .. } => self.transfer_progressed(code),
            Event::ReferSucceeded { .. } => self.transfer_succeeded(now),
            Event::ReferFailed { failure, .. } => self.transfer_failed(now, failure),
            Event::AckTimeout { .. } => self.ack_timeout(now),
            Event::PrackTimeout { .. } => self.prack_timeout(now),
            Event::SessionExpired { reasons, .. } => self.session_expired(now, &reasons),
            Event::Ended { .. } => self.finish(now),
            Event::Invite { .. }
            | Event::Provisional { .. }
            | Event::Answered { .. }
            | Event::Rejected { .. }
            | Event::ReinviteRejected { .. }
            | Event::InfoAnswered { .. } => {
                // Not the event itself: its SDP may hold keys (SDP-018).
                let dialog = event.dialog().number();
                self.span.in_scope(|| debug!(dialog, "an event of a calling dialog reached an answering call"));
            }
        }
    }

    /// A datagram came to the call's RTCP port.
    pub fn handle_rtcp(&mut self, now: Instant, from: SocketAddr, packet: &[u8]) {
        self.media.handle_rtcp(now, from, packet);
    }

    /// The node shuts down and its deadline has passed (OPS-031).
    pub fn shut_down(&mut self, now: Instant) {
        if self.over || self.caller_gone {
            return;
        }
        self.close_bot(now, Some("shutdown"));
        self.hang_up(now, "shutdown", vec![Reason::q850(41)]);
    }

    /// When the call wants to be woken next, for whatever reason.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_send().into_iter().chain(self.next_receive()).chain(self.next_timer()).min()
    }

    /// When the next packet towards the caller is due: [`Call::send_packets`].
    pub fn next_send(&self) -> Option<Instant> {
        self.send.map(|pace| pace.next())
    }

    /// When anything but packets is due: [`Call::handle_timeout`].
    pub fn next_timer(&self) -> Option<Instant> {
        let bot = self.bot.as_ref().and_then(|bot| bot.poll_timeout());
        self.timers.next().into_iter().chain(self.media.poll_timeout()).chain(bot).min()
    }

    /// When a digit that is being sent ends unless more of it comes; part of [`Call::next_timer`].
    pub fn next_digit_end(&self) -> Option<Instant> {
        self.media.digit_ends()
    }

    /// Whether a packet towards the caller is due.
    pub fn send_due(&self, now: Instant) -> bool {
        self.next_send().is_some_and(|due| due <= now)
    }

    /// Whether the socket is to be read on every tick, to learn when packets arrive.
    pub fn is_settling(&self) -> bool {
        self.receive.is_some() && self.grid.is_settling()
    }

    /// Everything but packets: timers of the call, its media and its stream.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.media.handle_timeout(now);
        if self.bot.as_mut().is_some_and(|bot| bot.handle_timeout(now)) {
            self.drain_bot(now);
        }
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::AnswerDeadline => self.answer_timeout(now),
                Timer::MaxDuration => self.max_duration(now),
                Timer::Reports => self.send_reports(now),
                Timer::Hold => self.hold_timeout(now),
                Timer::Transferred => self.leave_transferred(now),
                Timer::Linger => self.finish(now),
            }
        }
        self.drain_media(now);
    }

    /// Whether [`Call::poll_output`] has something.
    pub fn has_output(&self) -> bool {
        !self.outputs.is_empty()
    }

    /// Takes the next output; call until `None` after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Runs steps until one waits for something or the flow ends.
    fn run(&mut self, now: Instant, step: Step) {
        let mut step = step;
        loop {
            let outcome = match step {
                Step::End => return self.flow_ended(now),
                Step::Run { name, kind: StepKind::Voicebot(settings) } => self.start_bot(now, name, settings),
                Step::Run { name, kind: StepKind::Connect(connect) } => self.start_connect(now, name, &connect),
                Step::Run { kind: StepKind::Hangup(hangup), .. } => {
                    self.cause = hangup.cause;
                    let before_answer = hangup.sip_code.filter(|_| self.timeline.answered.is_none());
                    let reasons = vec![Reason::q850(hangup.cause)];
                    match before_answer {
                        Some(code) => self.reject(now, Rejection { code, reasons, ..Rejection::default() }, "hangup"),
                        None => self.hang_up(now, "hangup", reasons),
                    }
                    return;
                }
            };
            match outcome {
                Some(outcome) => step = self.engine.finished(outcome),
                None => return,
            }
        }
    }

    fn flow_ended(&mut self, now: Instant) {
        match self.remembered.take().filter(|_| self.timeline.answered.is_none()) {
            Some(failure) if !self.caller_gone && self.end.by.is_empty() => self.refuse(now, &failure),
            _ => self.hang_up(now, "flow_ended", vec![Reason::q850(self.cause)]),
        }
    }
}

fn media_settings(trunk: &Trunk, settings: &CallSettings, peer: IpAddr) -> MediaSettings {
    MediaSettings {
        nat: trunk.media_nat,
        media_acl: trunk.media_sources(peer),
        relearn_after_silence: trunk.relearn_after_silence,
        dtmf_mute: trunk.dtmf_mute,
        dtmf: trunk.dtmf,
        idle_tx: trunk.idle_tx,
        hold_audio_pass: trunk.hold_audio_pass,
        rtp_timeout: settings.rtp_timeout,
        rtp_start_timeout: settings.rtp_start_timeout,
        jitter_delay: settings.jitter_delay,
        fill: settings.fill,
    }
}
