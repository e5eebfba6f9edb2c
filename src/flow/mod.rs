//! Call flows: a checked graph of steps and the engine that walks it.
//!
//! [`graph::check`] turns what the configuration says into [`Flows`], or names everything that is wrong with file, line
//! and key; [`Engine`] walks one call through one [`Graph`]. What a step does is its applet's: [`applet`].

pub mod applet;
pub mod engine;
pub mod graph;
mod settings;

pub use applet::{Outcome, StepKind};
pub use engine::{Engine, Step};
pub use graph::{Flows, Graph};
