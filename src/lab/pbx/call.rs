//! One test call, from INVITE to BYE.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep_until, timeout};

use super::line::Line;
use super::plan::CallPlan;
use super::report::{CallReport, MediaSummary, Outcome};
use super::sockets;
use super::talk::Talk;
use crate::base::random::Random;
use crate::config::SrtpPolicy;
use crate::sdp::{AddressRules, LocalMedia, Negotiated, Negotiation};
use crate::sip::{DialogId, Event, ListenerId, OutgoingInvite};

/// How long the answer to a CANCEL is waited for.
const CANCEL_PATIENCE: Duration = Duration::from_secs(1);
/// How long the answer to a BYE is waited for: four transmissions.
const BYE_PATIENCE: Duration = Duration::from_secs(6);
/// Milliseconds in a packet.
const PTIME_MS: u16 = 20;

/// Places one call over `line` and sees it through.
pub async fn place(line: &Line, plan: &CallPlan, mut random: Random) -> CallReport {
    let begin = Instant::now();
    let (outcome, setup, media) = match Call::open(line, plan, &mut random).await {
        Ok(call) => call.run(begin, random).await,
        Err(why) => (Outcome::Failed(why), None, None),
    };
    CallReport { outcome, setup, length: begin.elapsed(), media }
}

/// A call on its way.
struct Call<'a> {
    line: &'a Line,
    plan: &'a CallPlan,
    negotiation: Negotiation,
    sockets: (UdpSocket, UdpSocket),
    dialog: DialogId,
    events: UnboundedReceiver<Event>,
}

/// How it ended, how long until the 200, and its media.
type End = (Outcome, Option<Duration>, Option<MediaSummary>);

/// What waiting for the answer came to.
enum Waited {
    Answered(Option<Vec<u8>>),
    Over(Outcome),
}

impl<'a> Call<'a> {
    /// Opens the sockets and sends the INVITE.
    async fn open(line: &'a Line, plan: &'a CallPlan, random: &mut Random) -> Result<Self, String> {
        let sockets = open_sockets(line.address()).await.map_err(|error| format!("no RTP socket: {error}"))?;
        let rtp = sockets.0.local_addr().map_err(|error| error.to_string())?;
        let policy = if plan.srtp { SrtpPolicy::Required } else { SrtpPolicy::Off };
        let local = local_media(plan, rtp, line.address());
        let mut negotiation = Negotiation::new(local, random.u64()).with_srtp(policy, true, random.fork());
        let invite = OutgoingInvite {
            listener: ListenerId(0),
            target: plan.callee.address,
            request_uri: plan.callee.uri.clone(),
            from: format!("<sip:{}@{}>", plan.from, line.address()),
            to: format!("<{}>", plan.callee.uri),
            headers: plan.headers.clone(),
            sdp: Some(negotiation.offer()),
            ways: plan.callee.ways.clone(),
        };
        let placed = line.invite(plan.callee.address, invite).await;
        let (dialog, events) = placed.ok_or_else(|| "the SIP line is down".to_owned())?;
        Ok(Self { line, plan, negotiation, sockets, dialog, events })
    }

    async fn run(mut self, begin: Instant, random: Random) -> End {
        let sdp = match self.wait_for_answer(begin).await {
            Waited::Answered(sdp) => sdp.unwrap_or_default(),
            Waited::Over(outcome) => return (outcome, None, None),
        };
        let answered = Instant::now();
        let setup = Some(answered - begin);
        match self.negotiation.accept(&sdp) {
            Ok(negotiated) => {
                let (outcome, media) = self.talk(answered, &negotiated, random).await;
                (outcome, setup, media)
            }
            Err(refusal) => {
                let _ = hang_up(self.line, self.dialog, &mut self.events).await;
                (Outcome::AnswerUnusable(refusal.to_string()), setup, None)
            }
        }
    }

    async fn wait_for_answer(&mut self, begin: Instant) -> Waited {
        let patience = self.plan.patience;
        tokio::select! {
            waited = final_response(&mut self.events, begin) => return waited,
            () = tokio::time::sleep(patience) => {}
            () = self.line.stopped() => {}
        }
        self.line.cancel(self.dialog);
        match timeout(CANCEL_PATIENCE, final_response(&mut self.events, begin)).await {
            // The 200 crossed our CANCEL; the endpoint has sent the BYE.
            Ok(Waited::Answered(_)) => Waited::Over(Outcome::NoAnswer(patience)),
            Ok(Waited::Over(Outcome::Refused { code: 487, .. })) => Waited::Over(Outcome::NoAnswer(patience)),
            Ok(over) => over,
            Err(_) => Waited::Over(Outcome::NoResponse(patience)),
        }
    }

    /// The answered call: speaks and listens until one side hangs up.
    async fn talk(
        self,
        answered: Instant,
        negotiated: &Negotiated,
        mut random: Random,
    ) -> (Outcome, Option<MediaSummary>) {
        let Self { line, plan, sockets, dialog, mut events, .. } = self;
        let Some(mut talk) = Talk::new(answered, plan, negotiated, sockets, &mut random) else {
            let _ = hang_up(line, dialog, &mut events).await;
            return (Outcome::AnswerUnusable("a codec we did not offer".to_owned()), None);
        };
        let end = answered + plan.duration;
        let hung_up = loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(Event::Bye { reasons, .. }) => break Some(Outcome::PeerHungUp(reasons)),
                    Some(Event::Ended { .. }) | None => break Some(Outcome::PeerHungUp(Vec::new())),
                    Some(_) => {}
                },
                () = sleep_until(end.into()) => break None,
                () = line.stopped() => break None,
                () = talk.step() => {}
            }
            while let Some(note) = talk.poll_note() {
                line.remark(&note);
            }
        };
        let media = talk.finish().ok();
        let outcome = match hung_up {
            Some(outcome) => outcome,
            None => hang_up(line, dialog, &mut events).await,
        };
        (outcome, media)
    }
}

/// Reads events until the call, placed at `begin`, is answered or over.
async fn final_response(events: &mut UnboundedReceiver<Event>, begin: Instant) -> Waited {
    while let Some(event) = events.recv().await {
        match event {
            Event::Answered { sdp, .. } => return Waited::Answered(sdp),
            // A 408 without headers is no response of the peer: it is the transaction's timer B.
            Event::Rejected { code: 408, headers, .. } if headers.iter().next().is_none() => {
                return Waited::Over(Outcome::NoResponse(begin.elapsed()));
            }
            Event::Rejected { code, phrase, reasons, .. } => {
                return Waited::Over(Outcome::Refused { code, phrase, reasons });
            }
            Event::Ended { .. } => break,
            _ => {}
        }
    }
    Waited::Over(Outcome::Failed("the SIP line is down".to_owned()))
}

/// Sends BYE and waits for its answer. A BYE of the peer may cross ours.
async fn hang_up(line: &Line, dialog: DialogId, events: &mut UnboundedReceiver<Event>) -> Outcome {
    line.bye(dialog);
    let answered = async {
        while let Some(event) = events.recv().await {
            match event {
                Event::Bye { reasons, .. } => return Outcome::PeerHungUp(reasons),
                Event::Ended { .. } => return Outcome::HungUp,
                _ => {}
            }
        }
        Outcome::ByeUnanswered
    };
    timeout(BYE_PATIENCE, answered).await.unwrap_or(Outcome::ByeUnanswered)
}

async fn open_sockets(line: SocketAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let (rtp, rtcp) = sockets::pair(line.ip())?;
    let (rtp, rtcp) = (UdpSocket::from_std(rtp)?, UdpSocket::from_std(rtcp)?);
    // Before it has been found writable once, tokio's `try_send_to` sends nothing.
    rtp.writable().await?;
    rtcp.writable().await?;
    Ok((rtp, rtcp))
}

fn local_media(plan: &CallPlan, rtp: SocketAddr, line: SocketAddr) -> LocalMedia {
    LocalMedia {
        address: rtp.ip(),
        port: rtp.port(),
        formats: plan.formats.clone(),
        prefer_ours: false,
        telephone_event: true,
        comfort_noise: false,
        ptime_ms: PTIME_MS,
        rules: AddressRules { signalling: vec![line], allow_loopback: true, strict: None },
    }
}
