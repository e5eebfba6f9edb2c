//! Words that everyone shares.

pub mod dns;
pub mod id;
pub mod metric;
pub mod pcm;
pub mod pii;
pub mod prefetch;
pub mod random;
pub mod rtp_format;
pub mod srtp;
pub mod timer;
pub mod token_bucket;
