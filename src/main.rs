//! The program; its commands come with the modules they need.

fn main() {}
