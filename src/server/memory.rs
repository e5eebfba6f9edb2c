//! How much memory the process has, and whether that is too much for one more call (SIP-096).

/// Calls are taken again below this share of the limit, so that the node does not change its mind every second.
const ROOM_AGAIN: f64 = 0.95;

/// Compares the process's memory with `limits.max_memory_mebibytes`.
#[derive(Debug, Clone, Copy)]
pub struct MemoryWatch {
    limit: Option<u64>,
    short: bool,
}

impl MemoryWatch {
    /// A watch with this limit in bytes; `None` is none.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        Self { limit, short: false }
    }

    /// The limit in bytes.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The process has `resident` bytes: whether memory is short, where that has changed.
    pub fn note(&mut self, resident: u64) -> Option<bool> {
        let limit = self.limit? as f64;
        let short = resident as f64 >= if self.short { limit * ROOM_AGAIN } else { limit };
        (std::mem::replace(&mut self.short, short) != short).then_some(short)
    }
}

/// Bytes of the process that are in RAM; `None` where the system does not say.
#[must_use]
pub fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sip_096_memory_is_short_at_the_limit_and_until_it_is_well_below() {
        let mut watch = MemoryWatch::new(Some(1000));
        let told: Vec<_> = [999, 1000, 1001, 960, 949, 999].map(|resident| watch.note(resident)).into();
        assert_eq!(told, [None, Some(true), None, None, Some(false), None]);
        assert_eq!(MemoryWatch::new(None).note(u64::MAX), None);
    }

    #[test]
    fn the_process_has_some_memory() {
        assert!(resident().is_some_and(|bytes| bytes > 100_000));
    }
}
