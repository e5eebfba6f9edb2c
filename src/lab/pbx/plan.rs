//! What a test call is to do.

use std::sync::Arc;
use std::time::Duration;

use super::callee::Callee;
use super::impairment::Impairment;
use crate::base::rtp_format::RtpFormat;
use crate::lab::capture::Take;

/// Where printed lines go; the line has no line end.
pub type LineSink = Arc<dyn Fn(&str) + Send + Sync>;

/// One call, from INVITE to BYE.
#[derive(Debug, Clone)]
pub struct CallPlan {
    /// Whom to call.
    pub callee: Callee,
    /// The caller's number: the user part of From.
    pub from: String,
    /// Header lines of the INVITE, beside those that SIP needs.
    pub headers: Vec<(String, String)>,
    /// What the caller says, 8 kHz.
    pub sound: Sound,
    /// A captured stream that is sent from the answer on, in place of sound and digits.
    pub capture: Option<Arc<Take>>,
    /// Digits to press; none where empty.
    pub digits: String,
    /// They are pressed this long after the answer, in place of the sound.
    pub digits_at: Duration,
    /// How long the caller stays on the line after the answer.
    pub duration: Duration,
    /// How long it waits for the answer.
    pub patience: Duration,
    /// Codecs offered, in order of preference.
    pub formats: Vec<RtpFormat>,
    /// Its media is encrypted, with keys in SDP (RFC 4568).
    pub srtp: bool,
    /// What happens to its RTP on the way.
    pub impairment: Impairment,
    /// Keep what it hears.
    pub record: bool,
}

/// What a caller says: silence before, samples, silence after.
#[derive(Debug, Clone)]
pub struct Sound {
    /// 8 kHz mono.
    pub samples: Arc<[i16]>,
    /// Begins this long after the answer.
    pub after: Duration,
    /// Begins anew when it ends.
    pub again: bool,
}

impl Sound {
    /// Silence.
    #[must_use]
    pub fn silence() -> Self {
        Self { samples: Arc::from([]), after: Duration::ZERO, again: false }
    }

    /// How long after the answer it ends, the first time.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.after + Duration::from_nanos(self.samples.len() as u64 * 125_000)
    }

    /// Writes the samples from `position` after the answer to `out`, which it fills.
    pub fn fill(&self, position: usize, out: &mut [i16]) {
        let after = (self.after.as_micros() / 125) as usize;
        let length = self.samples.len();
        for (place, sample) in (position..).zip(out) {
            let at = place.checked_sub(after).map(|at| if self.again { at % length.max(1) } else { at });
            *sample = at.and_then(|at| self.samples.get(at)).copied().unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sound_has_silence_around_it_or_begins_anew() {
        let mut sound = Sound { samples: Arc::from([5, 6, 7]), after: Duration::from_micros(250), again: false };
        let mut out = [9; 8];
        sound.fill(0, &mut out);
        assert_eq!(out, [0, 0, 5, 6, 7, 0, 0, 0]);
        sound.again = true;
        sound.fill(4, &mut out);
        assert_eq!(out, [7, 5, 6, 7, 5, 6, 7, 5]);
        assert_eq!(sound.end(), Duration::from_micros(625));
        Sound::silence().fill(3, &mut out);
        assert_eq!(out, [0; 8]);
    }
}
