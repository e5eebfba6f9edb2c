//! The calls of a bridge in virtual time: a PBX, the bridge, its bots and the network between them, story by story.
//!
//! A test's name is a claim; its numbers are the requirements' and the RFCs'.

mod admission;
mod answering;
mod any_order;
mod codecs;
mod continuity;
mod dialling;
mod digits;
mod early;
mod endings;
mod failures;
mod first_call;
mod headers;
mod hold;
mod playout;
mod renegotiation;
mod replaced;
mod session_timer;
mod side_by_side;
mod srtp;
mod strangers;
mod told;
mod transfer;
mod turns;
mod world;
