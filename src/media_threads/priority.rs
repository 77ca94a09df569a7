//! How much the kernel prefers a media thread to everything else on the machine.
//! Knows scheduling policies. Knows nothing of what the thread does.

use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Among real-time threads a low one: above all ordinary work, below what the kernel and the audio of a desktop use.
const REALTIME: u8 = 10;

/// Among ordinary threads, where real time is not allowed.
const NICENESS: i32 = -10;

/// What is asked for: `priority` of `[media]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaPriority {
    /// Before all ordinary work, whatever else the machine does. The kernel keeps 5 % of the time for the others.
    #[default]
    Realtime,
    /// More of the time than others, who may still run first.
    High,
    /// Like everything else.
    Normal,
}

impl MediaPriority {
    /// As it stands in the config, the first being the default.
    pub const NAMES: [&str; 3] = ["realtime", "high", "normal"];

    /// The priority of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::NAMES
            .iter()
            .position(|known| *known == name)
            .map(|at| [Self::Realtime, Self::High, Self::Normal][at])
    }

    /// As it stands in the config and in logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Realtime => Self::NAMES[0],
            Self::High => Self::NAMES[1],
            Self::Normal => Self::NAMES[2],
        }
    }

    /// Asks for it on behalf of the calling thread alone. What the kernel does not allow is tried one step lower;
    /// returns what came of it.
    pub(super) fn take(self) -> Self {
        match self {
            Self::Realtime if realtime() => Self::Realtime,
            Self::Realtime | Self::High if high() => Self::High,
            Self::Realtime | Self::High | Self::Normal => Self::Normal,
        }
    }
}

/// Round robin: threads of one machine that are all due share it fairly.
fn realtime() -> bool {
    let Ok(priority) = ThreadPriorityValue::try_from(REALTIME) else { return false };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), policy)
        .is_ok()
}

/// For the kernel niceness is the thread's own.
fn high() -> bool {
    rustix::process::setpriority_process(None, NICENESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_priorities_go_together() {
        for name in MediaPriority::NAMES {
            assert_eq!(MediaPriority::of(name).map(MediaPriority::name), Some(name));
        }
        assert_eq!(MediaPriority::of("highest"), None);
        assert_eq!(MediaPriority::default().name(), MediaPriority::NAMES[0]);
    }

    #[test]
    fn what_is_not_allowed_is_tried_one_step_lower() {
        let order = [MediaPriority::Realtime, MediaPriority::High, MediaPriority::Normal];
        for (wanted, priority) in order.into_iter().enumerate() {
            // A thread of its own: what it takes ends with it.
            let gained = std::thread::spawn(move || {
                let gained = priority.take();
                let policy = thread_priority::thread_schedule_policy();
                let is_realtime = matches!(policy, Ok(ThreadSchedulePolicy::Realtime(_)));
                (gained, is_realtime)
            });
            let (gained, is_realtime) = gained.join().expect("the thread ends well");
            assert!(order.iter().position(|one| *one == gained) >= Some(wanted));
            assert_eq!(is_realtime, gained == MediaPriority::Realtime, "{priority:?} became {gained:?}");
        }
    }
}
