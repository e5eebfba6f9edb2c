//! The journal: what a bot received except media, one JSON object a line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::time::Instant;

use serde_json::Value;

/// A file of JSON lines, each written out at once.
pub(super) struct Journal {
    file: Mutex<File>,
    started: Instant,
}

impl Journal {
    /// Opens the file; one that exists is replaced. `t_ms` counts from `started`.
    pub(super) fn create(path: &Path, started: Instant) -> std::io::Result<Self> {
        Ok(Self { file: Mutex::new(File::create(path)?), started })
    }

    /// Writes one line: `t_ms`, `connection` and `event`, then `more`.
    pub(super) fn write(&self, connection: u64, event: &str, more: &[(&str, Value)]) {
        let mut line = self.head(connection, event);
        for (key, value) in more {
            let _ = write!(line, ",\"{key}\":{value}");
        }
        self.put(line);
    }

    /// Writes one line with a message that is a JSON object, letter for letter; line ends in it, which can only stand
    /// between its tokens, become blanks.
    pub(super) fn write_message(&self, connection: u64, event: &str, text: &str) {
        let mut line = self.head(connection, event);
        let _ = write!(line, ",\"message\":{}", text.trim().replace(['\r', '\n'], " "));
        self.put(line);
    }

    fn head(&self, connection: u64, event: &str) -> String {
        let elapsed = self.started.elapsed().as_millis();
        format!("{{\"t_ms\":{elapsed},\"connection\":{connection},\"event\":{}", Value::from(event))
    }

    /// A full disk is not the call's trouble.
    fn put(&self, mut line: String) {
        line.push_str("}\n");
        if let Ok(mut file) = self.file.lock() {
            let _ = file.write_all(line.as_bytes()).and_then(|()| file.flush());
        }
    }
}
