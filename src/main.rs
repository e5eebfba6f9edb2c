//! Arguments → `cli`; the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    trunkstream::cli::run()
}
