//! Times of a SIP peer.

use std::time::Duration;

/// The three times that RFC 3261's timers follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SipTimers {
    /// At least 200 ms.
    pub t1: Duration,
    /// At least 1 s, and T1.
    pub t2: Duration,
    /// At least 1 s.
    pub t4: Duration,
}

impl Default for SipTimers {
    fn default() -> Self {
        let [t1, t2, t4] = [500, 4000, 5000].map(Duration::from_millis);
        Self { t1, t2, t4 }
    }
}

/// Session timers (RFC 4028) with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimer {
    /// Whether there are any.
    pub mode: SessionTimerMode,
    /// The interval asked for, and the longest that is accepted, seconds.
    pub expires_s: u32,
    /// The shortest that is accepted, at least 90 s.
    pub min_s: u32,
}

impl Default for SessionTimer {
    fn default() -> Self {
        Self { mode: SessionTimerMode::Supported, expires_s: 1800, min_s: 90 }
    }
}

impl SessionTimer {
    /// Whether there are any.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.mode != SessionTimerMode::Off
    }
}

/// When a call has a session timer (SIP-084).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionTimerMode {
    /// Where the peer asks for one.
    Supported,
    /// Always; towards a peer without support the refreshes are ours.
    Always,
    /// Never.
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(sip: &str, trunk: &str) -> Result<SessionTimer, String> {
        let text = format!(
            "[sip]\nlisten = [\"udp:192.0.2.10:5060\"]\n{sip}\n[media]\nlisten_address = \"192.0.2.10\"\n\
             [[account]]\nsid = \"a\"\n[[trunk]]\nname = \"t\"\naccount = \"a\"\nallow = [\"198.51.100.1\"]\n{trunk}\n"
        );
        let config = Config::from_toml("t.toml", &text, None).map_err(|problems| format!("{problems:?}"))?;
        Ok(config.trunks[0].session_timer)
    }

    #[test]
    fn sip_080_sip_084_a_trunk_has_its_own_session_timer_where_it_says_so_and_the_nodes_where_not() {
        assert_eq!(read("", ""), Ok(SessionTimer::default()));
        let sip = "session_timer = \"always\"\nsession_expires_seconds = 600\nmin_se_seconds = 120";
        assert_eq!(read(sip, ""), Ok(SessionTimer { mode: SessionTimerMode::Always, expires_s: 600, min_s: 120 }));
        let own = read(sip, "session_timer = \"off\"\nmin_se_seconds = 300");
        assert_eq!(own, Ok(SessionTimer { mode: SessionTimerMode::Off, expires_s: 600, min_s: 300 }));
    }

    #[test]
    fn sip_080_a_minimum_above_the_interval_or_below_90_s_is_told() {
        for (sip, trunk, expected) in [
            ("min_se_seconds = 89", "", "90 to 86400"),
            ("session_expires_seconds = 60", "", "90 to 86400"),
            ("min_se_seconds = 1801", "", "expected at most session_expires_seconds, 1800, found 1801"),
            (
                "",
                "session_expires_seconds = 90\nmin_se_seconds = 91",
                "expected at most session_expires_seconds, 90, found 91",
            ),
            ("", "session_timer = \"sometimes\"", "sometimes"),
        ] {
            let told = read(sip, trunk).expect_err("wrong");
            assert!(told.contains(expected), "{told}");
        }
    }
}
