//! A test PBX: places calls over real sockets, speaks, listens, presses digits and measures.
//!
//! A [`Line`] is one SIP socket with its endpoint; [`place`] makes one call over it and [`load`] many. What the caller
//! hears is measured by [`Heard`], packet by packet; whether it is what was said, [`align::compare`] tells.
#![allow(clippy::disallowed_methods)] // a test PBX has sockets and a clock of its own

pub mod align;
mod call;
mod callee;
mod heard;
mod impairment;
mod ladder;
mod line;
pub mod load;
mod plan;
mod report;
mod sockets;
pub mod statistics;
mod talk;

pub use call::place;
pub use callee::{Callee, CalleeError, Place, is_number, local_address, probe};
pub use heard::Heard;
pub use impairment::{Impairment, Link};
pub use ladder::{Direction, Ladder};
pub use line::{Line, LineSettings};
pub use plan::{CallPlan, LineSink, Sound};
pub use report::{CallReport, MediaSummary, Outcome};
pub use sockets::free_ports;
pub use talk::open_settings;
