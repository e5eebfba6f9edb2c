//! Digits: telephone-events (RFC 4733) in and out, and SIP INFO bodies.

mod arbiter;
mod detector;
mod info;
mod sender;

pub(in crate::media) use arbiter::Arbiter;
pub use detector::{Detector, Digit, Digits};
pub use info::{UnsupportedInfo, parse_info};
pub use sender::{Outgoing, Sender};

/// Octets of one event in a payload (RFC 4733, 2.3).
pub const EVENT_LEN: usize = 4;
/// The duration at which a long event begins its next segment (RFC 4733, 2.5.1.3).
const SEGMENT: u16 = 0xFFFF;

/// One event of a payload (RFC 4733, 2.3). Volume and the R bit do not matter to anyone here (RTP-050).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// 0 to 15 are digits.
    pub code: u8,
    /// E: the event has ended.
    pub end: bool,
    /// So far, in ticks of the event's clock.
    pub duration: u16,
}

impl Event {
    /// The events of `payload`. A rest of less than 4 octets is ignored.
    pub fn read(payload: &[u8]) -> impl Iterator<Item = Self> + '_ {
        payload.as_chunks::<EVENT_LEN>().0.iter().map(|[code, flags, high, low]| Self {
            code: *code,
            end: flags & 0x80 != 0,
            duration: u16::from_be_bytes([*high, *low]),
        })
    }

    /// Its four octets, at −10 dBm0.
    #[must_use]
    pub fn octets(self) -> [u8; EVENT_LEN] {
        const VOLUME: u8 = 10;
        let [high, low] = self.duration.to_be_bytes();
        [self.code, u8::from(self.end) << 7 | VOLUME, high, low]
    }
}

const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

/// The digit of an event code; `None` for flash and all that are no digits.
#[must_use]
pub fn digit_of(code: u8) -> Option<char> {
    DIGITS.get(usize::from(code)).map(|digit| char::from(*digit))
}

/// The event code of a digit, letters in either case.
#[must_use]
pub fn code_of(digit: char) -> Option<u8> {
    DIGITS.iter().position(|known| char::from(*known) == digit.to_ascii_uppercase()).map(|code| code as u8)
}

#[cfg(test)]
mod tests;
