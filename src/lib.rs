//! Trunkstream: a SIP-to-WebSocket media bridge.
//!
//! Five instruments that do not know each other (`sip`, `sdp`, `media`, `stream`, `flow`), one player (`call`),
//! one stage (`server`). The first six are pure: no socket, no clock, no task, no randomness of their own.
//! The lines below stand in the order in which a call meets them; ARCHITECTURE.md tells the story.

pub mod base;
pub mod config;

pub mod flow;
pub mod media;
pub mod sdp;
pub mod sip;
pub mod stream;

pub mod call;

pub mod api;
pub mod net;
pub mod server;

pub mod cli;
pub mod lab;
