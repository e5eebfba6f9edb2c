//! Two endpoints and the link between them, in virtual time: whole calls over a network that loses, repeats and reorders.
#![allow(clippy::disallowed_methods)] // a starting point for virtual time

mod abuse;
mod calls;
mod world;
