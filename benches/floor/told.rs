//! What the systems of this bench are told by the one that measures: where the callers are, and when to end.

use std::io::{self, BufRead};
use std::net::SocketAddr;

use crate::Failure;

/// The callers' addresses from standard input, up to an empty line.
pub fn callers() -> Result<Vec<SocketAddr>, Failure> {
    let mut callers = Vec::new();
    for line in io::stdin().lock().lines() {
        match line?.as_str() {
            "" => break,
            caller => callers.push(caller.parse()?),
        }
    }
    Ok(callers)
}

/// Ends this process when standard input does.
pub fn end_with_input() {
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(0);
    });
}
