//! RTP and sound: packets in become 20 ms frames of PCM, PCM becomes packets out, digits become events.
//!
//! `MediaSession` is the one to talk to. It owns everything below: `rtp` (packets, sequence, where media may come from, RTCP),
//! the jitter buffer with its concealment and comfort noise, the codecs, the resampler, and telephone-events.

pub mod codec;
mod comfort_noise;
mod concealment;
mod event;
mod format;
mod inband_dtmf;
mod jitter_buffer;
mod report;
mod resample;
pub mod rtp;
mod session;
pub mod telephone_event;
mod voice_activity;

pub use event::{DtmfSource, MediaEvent};
pub use format::{MediaFormat, MediaSettings};
pub use report::{MediaReport, PeerReport};
pub use resample::Resampler;
pub use rtp::srtp::Srtp;
pub use session::{Copied, MediaSession, PacketCopy};
pub use voice_activity::{Activity, VoiceActivity, is_audible};
