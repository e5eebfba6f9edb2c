//! Whether the peer is still there (RTP-042).

use std::time::{Duration, Instant};

use crate::media::event::MediaEvent;

/// Watches for a stream that does not begin, or stops.
#[derive(Debug)]
pub struct Supervision {
    start_timeout: Duration,
    timeout: Duration,
    /// Since when the peer may send; `None` on hold.
    since: Option<Instant>,
    last: Option<Instant>,
    told_start: bool,
    told_timeout: bool,
}

impl Supervision {
    pub fn new(start_timeout: Duration, timeout: Duration) -> Self {
        Self { start_timeout, timeout, since: None, last: None, told_start: false, told_timeout: false }
    }

    /// From now on the peer may send, or not.
    pub fn expect_rtp(&mut self, now: Instant, may_send: bool) {
        self.since = may_send.then(|| self.since.unwrap_or(now));
    }

    /// From now on silence counts anew.
    pub fn start_over(&mut self, now: Instant) {
        if self.since.is_some() {
            (self.since, self.told_timeout) = (Some(now), false);
        }
    }

    /// The call is answered: what did not come as early media counts from now.
    pub fn answered(&mut self, now: Instant) {
        self.since = self.since.map(|_| now);
        (self.told_start, self.told_timeout) = (self.last.is_some(), false);
    }

    /// Valid RTP has come.
    pub fn heard(&mut self, now: Instant) {
        self.last = Some(now);
        self.told_start = true;
        self.told_timeout = false;
    }

    /// RTCP has come where it counts as life.
    pub fn heard_rtcp(&mut self, now: Instant) {
        if self.last.is_some() {
            self.last = Some(now);
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let since = self.since?;
        let start = (!self.told_start).then(|| since + self.start_timeout);
        let end = (!self.told_timeout).then(|| self.last.map_or(since, |last| last.max(since)) + self.timeout);
        start.into_iter().chain(end).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) -> Option<MediaEvent> {
        let since = self.since?;
        if !self.told_timeout && now >= self.last.map_or(since, |last| last.max(since)) + self.timeout {
            (self.told_start, self.told_timeout) = (true, true);
            return Some(MediaEvent::RtpTimeout);
        }
        if !self.told_start && now >= since + self.start_timeout {
            self.told_start = true;
            return Some(MediaEvent::NoRtpYet);
        }
        None
    }
}
