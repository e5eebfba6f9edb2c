//! Who reads the rings: a trace under way, and the collector.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::pcapng::{Pcapng, shown};
use super::ring::{Entry, Kind, Shelf};
use super::selection::{Chosen, Message};
use super::{Trace, hep};
use crate::api::trace::{Selection, TraceRefusal, TraceRequest, Traces};
use crate::base::metric;

/// How often the rings are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// What is younger is left for the next look: the call of its first message may not be known yet.
const BEHIND: Duration = Duration::from_millis(300);
/// A call that is over has this long for its last answers.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Traces at once.
const MOST_FOLLOWERS: usize = 8;
/// Parts of a capture that may wait for a slow reader.
const PARTS_WAITING: usize = 64;

impl Traces for Trace {
    fn open(&self, request: TraceRequest) -> Result<mpsc::Receiver<Vec<u8>>, TraceRefusal> {
        let config = self.0.config;
        if config.signalling_bytes == 0 {
            return Err(TraceRefusal::Off);
        }
        if request.unmasked && !config.allow_unmasked {
            return Err(TraceRefusal::Masked);
        }
        let chosen = self.chosen(&request.of)?;
        let Some(place) = Place::take(self) else { return Err(TraceRefusal::Busy(MOST_FOLLOWERS)) };
        info!(of = %request.of, seconds = request.for_seconds, rtp = request.rtp, unmasked = request.unmasked, arm = request.arm, "trace begins");
        let (parts, receiver) = mpsc::channel(PARTS_WAITING);
        let arm = (request.rtp || request.arm)
            .then(|| self.chosen(&request.of))
            .transpose()?
            .map(|chosen| Arm::new(self, chosen));
        if request.arm {
            let until = Duration::from_secs(request.for_seconds.into());
            tokio::spawn(async move {
                sleep(until).await;
                drop((arm, place));
            });
            return Ok(receiver);
        }
        let follower = Follower::new(self.clone(), &request, chosen, parts);
        tokio::spawn(async move {
            follower.run().await;
            drop((arm, place));
        });
        Ok(receiver)
    }
}

impl Trace {
    fn chosen(&self, of: &Selection) -> Result<Chosen, TraceRefusal> {
        let networks = match of {
            Selection::Trunk(name) => match self.0.trunks.get(name) {
                Some(networks) => networks.clone(),
                None => return Err(TraceRefusal::Unknown(format!("there is no trunk {name}"))),
            },
            Selection::CallSid(sid) if !self.has_call_sid(sid) => {
                return Err(TraceRefusal::Unknown(format!("no call {sid} is up, nor among the last that were")));
            }
            _ => Vec::new(),
        };
        Ok(Chosen::new(of.clone(), networks))
    }

    fn has_call_sid(&self, sid: &str) -> bool {
        let calls = self.calls();
        calls.live.values().map(|live| &live.identity).chain(&calls.ended).any(|call| call.call_sid == sid)
    }

    /// Puts what the shards copy beside the signalling; ends with the last of them.
    pub async fn collect(self, mut copies: mpsc::Receiver<Entry>) {
        while let Some(entry) = copies.recv().await {
            self.rings().push(Shelf::Media, entry);
        }
    }

    /// Sends every SIP message to the collector, masked, as it comes.
    pub async fn export(self, collector: SocketAddr) {
        let any = if collector.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = match UdpSocket::bind(SocketAddr::new(any, 0)).await {
            Ok(socket) => socket,
            Err(error) => return warn!(%collector, %error, "no HEP: a socket cannot be opened"),
        };
        let mut cursor = self.rings().latest();
        let mut failing = false;
        loop {
            sleep(LOOK).await;
            let (entries, lost) = self.rings().after(cursor);
            if lost {
                metric::TRACE_DROPPED.add_with(1, &[("where", "hep".to_owned())]);
            }
            for entry in &entries {
                cursor = entry.number;
                let Kind::Sip { transport } = entry.kind else { continue };
                let (message, _) = shown(entry, false);
                let call_id = Message::read(&entry.bytes).call_id;
                let packet = hep::packet(entry, &message, transport, &call_id, self.0.config.hep_capture_id);
                let sent = match packet {
                    Some(packet) => socket.send_to(&packet, collector).await.map(drop),
                    None => Err(std::io::ErrorKind::FileTooLarge.into()),
                };
                if let Err(error) = &sent {
                    metric::TRACE_DROPPED.add_with(1, &[("where", "hep".to_owned())]);
                    if !failing {
                        warn!(%collector, %error, "HEP: the collector cannot be reached; what is not sent is counted");
                    }
                }
                failing = sent.is_err();
            }
        }
    }
}

/// A place among the traces under way.
struct Place(Trace);

impl Place {
    fn take(trace: &Trace) -> Option<Self> {
        let mut calls = trace.calls();
        (calls.followers < MOST_FOLLOWERS).then(|| calls.followers += 1).map(|()| Self(trace.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.calls().followers -= 1;
    }
}

/// Media that is wanted until this is dropped.
struct Arm(Trace, u64);

impl Arm {
    fn new(trace: &Trace, chosen: Chosen) -> Self {
        Self(trace.clone(), trace.arm(chosen))
    }
}

impl Drop for Arm {
    fn drop(&mut self) {
        self.0.disarm(self.1);
    }
}

/// A trace under way.
struct Follower {
    trace: Trace,
    chosen: Chosen,
    rtp: bool,
    /// It ends with the one call it is about.
    of_one_call: bool,
    until: Instant,
    cursor: u64,
    lost: bool,
    /// The call that was seen last, and when.
    seen: Option<(String, Instant)>,
    capture: Pcapng,
    parts: mpsc::Sender<Vec<u8>>,
}

impl Follower {
    fn new(trace: Trace, request: &TraceRequest, chosen: Chosen, parts: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            trace,
            chosen,
            rtp: request.rtp,
            of_one_call: matches!(request.of, Selection::CallId(_) | Selection::CallSid(_)),
            until: Instant::now() + Duration::from_secs(request.for_seconds.into()),
            cursor: 0,
            lost: false,
            seen: None,
            capture: Pcapng::new(request.unmasked, request.rtp),
            parts,
        }
    }

    async fn run(mut self) {
        loop {
            let now = Instant::now();
            let last = now >= self.until || self.is_over(now);
            self.look(if last { Duration::ZERO } else { BEHIND });
            let part = self.capture.take();
            // A reader that is gone ends it.
            if (!part.is_empty() && self.parts.send(part).await.is_err()) || self.parts.is_closed() || last {
                break;
            }
            sleep(LOOK).await;
        }
        let lost = self.lost.then_some("some were overwritten before they were read: raise the sizes in [trace]");
        info!(packets = self.capture.packets, lost, "trace ends");
    }

    /// Takes what came since, as far as it is older than `behind`.
    fn look(&mut self, behind: Duration) {
        let Some(until) = SystemTime::now().checked_sub(behind) else { return };
        let (entries, gone) = self.trace.rings().after(self.cursor);
        if gone && self.cursor > 0 && !self.lost {
            self.lost = true;
            metric::TRACE_DROPPED.add_with(1, &[("where", "reader".to_owned())]);
        }
        let mut wanted: Vec<Arc<Entry>> = Vec::new();
        for entry in entries {
            // Media comes a little after its time; SIP comes in order.
            if entry.is_sip() && entry.at > until {
                break;
            }
            self.cursor = entry.number;
            if !entry.is_sip() && !self.rtp {
                continue;
            }
            if let Some(call_id) = self.chosen.takes(&entry, |call_id| self.trace.known(call_id)) {
                self.seen = Some((call_id, Instant::now()));
                wanted.push(entry);
            }
        }
        // By time, as a capture is: media reaches the ring behind the signalling that it was read with.
        wanted.sort_by_key(|entry| entry.at);
        wanted.iter().for_each(|entry| self.capture.add(entry));
    }

    /// Whether the only call that it is about has been seen and is over.
    fn is_over(&self, now: Instant) -> bool {
        let Some((call_id, at)) = self.seen.as_ref().filter(|_| self.of_one_call) else { return false };
        now.duration_since(*at) > LAST_WORDS && !self.trace.is_live(call_id)
    }
}
