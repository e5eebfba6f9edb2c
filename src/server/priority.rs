//! `SCHED_FIFO` for media threads, where the configuration asks for it and the system allows it (sched(7)).
//! The home of `thread-priority`.

use std::sync::Once;

use thread_priority::{
    Error, NormalThreadSchedulePolicy, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id, thread_schedule_policy,
};
use tracing::{info, warn};

/// What to do where the system refuses.
pub const ADVICE: &str = "give the process CAP_SYS_NICE, or LimitRTPRIO and RestrictRealtime=no in the systemd unit, or ulimit -r; \
     or set media.realtime_priority = 0";

/// Niceness 0 on the crate's scale of 0 to 99.
const ORDINARY: u8 = 48;

/// Puts the calling media thread under `SCHED_FIFO` with this priority, 1 to 99; 0 leaves it as it is. A refusal is no
/// failure: it is logged, for all media threads once.
pub fn raise(priority: u8) {
    static TOLD: Once = Once::new();
    if priority == 0 {
        return;
    }
    let raised = set(priority);
    TOLD.call_once(|| match raised {
        Ok(()) => info!(priority, "media threads run under SCHED_FIFO"),
        Err(error) => warn!(priority, %error, advice = ADVICE, "media threads run without SCHED_FIFO"),
    });
}

/// Makes a thread that a media thread has started (a name is looked up) an ordinary one: it inherits the policy.
pub fn lower() {
    if matches!(thread_schedule_policy(), Ok(ThreadSchedulePolicy::Realtime(_)))
        && let Ok(priority) = ThreadPriority::try_from(ORDINARY)
    {
        let ordinary = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
        let _ = set_thread_priority_and_policy(thread_native_id(), priority, ordinary);
    }
}

/// Why a thread of this process cannot have this priority; tried on a thread of its own.
#[must_use]
pub fn refusal(priority: u8) -> Option<String> {
    if priority == 0 {
        return None;
    }
    let tried = std::thread::spawn(move || set(priority)).join();
    tried.unwrap_or_else(|_| Err("the trial thread has ended".to_owned())).err()
}

fn set(priority: u8) -> Result<(), String> {
    let priority = ThreadPriority::try_from(priority).map_err(str::to_owned)?;
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), priority, fifo).map_err(|error| match error {
        Error::OS(code) => std::io::Error::from_raw_os_error(code).to_string(),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_leaves_a_thread_as_it_is() {
        raise(0);
        assert_eq!(refusal(0), None);
        assert!(matches!(thread_schedule_policy(), Ok(ThreadSchedulePolicy::Normal(_))));
    }

    #[test]
    fn ops_023_a_raised_thread_is_under_fifo_and_ordinary_again_when_lowered_and_a_refusal_says_why() {
        let outcome = std::thread::spawn(|| {
            let raised = set(1);
            let policy = thread_schedule_policy();
            lower();
            (raised, policy, thread_schedule_policy())
        });
        let (raised, policy, lowered) = outcome.join().expect("no panic");
        let fifo = matches!(policy, Ok(ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo)));
        assert_eq!(raised.is_ok(), fifo, "{raised:?}");
        assert_eq!(raised.is_ok(), refusal(1).is_none());
        assert!(matches!(lowered, Ok(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other))), "{lowered:?}");
        assert!(raised.err().is_none_or(|why| why.contains("ermitted") || why.contains("ermission")));
    }

    #[test]
    fn what_a_raised_thread_s_runtime_starts_is_ordinary() {
        let policy = std::thread::spawn(|| {
            raise(1);
            let runtime =
                tokio::runtime::Builder::new_current_thread().on_thread_start(lower).build().expect("a runtime");
            runtime.block_on(runtime.spawn_blocking(thread_schedule_policy)).expect("no panic")
        });
        let policy = policy.join().expect("no panic");
        assert!(matches!(policy, Ok(ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other))), "{policy:?}");
    }
}
