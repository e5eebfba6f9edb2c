//! Which source of digits counts (RTP-059, RTP-060).

use std::time::{Duration, Instant};

use super::Digit;
use crate::media::event::{DtmfSource, MediaEvent};

/// The same digit from the other source within this time is the same press.
const SAME_PRESS: Duration = Duration::from_millis(300);

/// Telephone-events win over INFO once one has been seen where they are negotiated.
#[derive(Debug, Default)]
pub struct Arbiter {
    /// Telephone-events are part of the negotiated format.
    pub negotiated: bool,
    rtp_seen: bool,
    info_seen: bool,
    last: Option<(char, DtmfSource, Instant)>,
    /// Digits reported.
    pub reported: u64,
}

impl Arbiter {
    /// A telephone-event packet has come.
    pub fn see_rtp(&mut self) {
        self.rtp_seen = true;
    }

    /// A telephone-event has ended.
    pub fn rtp(&mut self, now: Instant, digit: Digit) -> Option<MediaEvent> {
        self.report(now, digit.began, (digit.digit, digit.duration_ms, DtmfSource::Rtp))
    }

    /// An INFO has come.
    pub fn info(&mut self, now: Instant, digit: char, duration_ms: u32) -> Option<MediaEvent> {
        self.info_seen = true;
        if self.negotiated && self.rtp_seen {
            return None;
        }
        self.report(now, now, (digit, duration_ms, DtmfSource::Info))
    }

    /// Whether tones in the audio are to be listened for: there is no other source (RTP-060).
    pub fn wants_inband(&self) -> bool {
        !self.negotiated && !self.info_seen
    }

    /// A digit was found in the audio.
    pub fn inband(&mut self, now: Instant, digit: Digit) -> Option<MediaEvent> {
        self.report(now, digit.began, (digit.digit, digit.duration_ms, DtmfSource::Inband))
    }

    fn report(&mut self, now: Instant, began: Instant, press: (char, u32, DtmfSource)) -> Option<MediaEvent> {
        let (digit, duration_ms, source) = press;
        let is_same = |(last, of, at): (char, DtmfSource, Instant)| {
            last == digit && of != source && (at + SAME_PRESS >= now || at + SAME_PRESS >= began)
        };
        if self.last.is_some_and(is_same) {
            // One press is dropped once: the next of the same digit counts.
            self.last = None;
            return None;
        }
        self.last = Some((digit, source, now));
        self.reported += 1;
        Some(MediaEvent::Dtmf { digit, duration_ms, source })
    }
}
