//! What an operator relies on: health, metrics, drain, records, the log, and what is said of a wrong configuration.

mod command_line;
mod drain;
mod fault;
mod limits;
mod telling;
mod trace;
