//! RTP: packets, sequence numbers, where they may come from, and RTCP.

pub mod packet;
pub(in crate::media) mod quality;
pub(in crate::media) mod reception;
pub(in crate::media) mod rtcp;
pub(in crate::media) mod sequence;
pub(in crate::media) mod source;
pub mod srtp;
