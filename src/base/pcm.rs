//! PCM16 mono: sample rates and the arithmetic of time.

use serde::Serialize;

/// A sample rate that the bridge can carry, in Hz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(into = "u32")]
pub enum SampleRate {
    /// 8 kHz: G.711 and the stream's default.
    Hz8000,
    /// 16 kHz: G.722 and wideband bots.
    Hz16000,
    /// 24 kHz: bots.
    Hz24000,
    /// 48 kHz: Opus.
    Hz48000,
}

impl SampleRate {
    /// The rate of `hz`; `None` for any that is not carried.
    #[must_use]
    pub fn from_hz(hz: u32) -> Option<Self> {
        match hz {
            8_000 => Some(Self::Hz8000),
            16_000 => Some(Self::Hz16000),
            24_000 => Some(Self::Hz24000),
            48_000 => Some(Self::Hz48000),
            _ => None,
        }
    }

    /// Samples a second.
    #[must_use]
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8_000,
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// Samples in `ms` milliseconds.
    #[must_use]
    pub const fn samples(self, ms: u32) -> usize {
        (self.hz() / 1000 * ms) as usize
    }

    /// Whole milliseconds in `samples` samples.
    #[must_use]
    pub const fn ms(self, samples: u64) -> u64 {
        samples / (self.hz() as u64 / 1000)
    }
}

impl From<SampleRate> for u32 {
    fn from(rate: SampleRate) -> Self {
        rate.hz()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_milliseconds_agree() {
        for hz in [8_000, 16_000, 24_000, 48_000] {
            let rate = SampleRate::from_hz(hz).expect("a carried rate");
            assert_eq!(rate.samples(1000), hz as usize);
            assert_eq!(rate.ms(u64::from(hz)), 1000);
        }
        assert_eq!(SampleRate::from_hz(11_025), None);
    }
}
