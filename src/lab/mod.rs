//! Counterparts for tests and demos: a test PBX and a test bot.

pub mod bot;
pub mod pbx;
pub mod speech;
pub mod wav;
