//! Counterparts for tests and demos: a test PBX and a test bot, and captured calls to play.

pub mod bot;
pub mod capture;
pub mod pbx;
pub mod pcap;
pub mod speech;
pub mod wav;
