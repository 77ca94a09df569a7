//! Which sockets have something to read, and sleeping until one has or until a time has come.
//! Knows descriptors and the kernel's clock. Knows nothing of calls.

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

/// Sources the kernel reports at once; it goes on with the others the next time.
const AT_ONCE: usize = 256;

/// Where the sockets of a thread are registered. Level-triggered: a socket is reported until it is empty.
pub(super) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)? })
    }

    pub(super) fn add(&self, source: impl AsFd, name: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, epoll::EventData::new_u64(name), epoll::EventFlags::IN)?)
    }

    pub(super) fn remove(&self, source: impl AsFd) {
        let _ = epoll::delete(&self.epoll, source); // Never registered: nothing to take back.
    }

    /// Appends the names of sources that have something now, without waiting.
    pub(super) fn ready(&self, names: &mut Vec<u64>) {
        let mut events = [MaybeUninit::uninit(); AT_ONCE];
        // An interrupted wait finds nothing; the next one is at most a millisecond away.
        if let Ok((ready, _)) =
            epoll::wait(&self.epoll, &mut events[..], Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
        {
            names.extend(ready.iter().map(|event| event.data.u64()));
        }
    }

    /// Sleeps until something is ready or `timeout` has passed. Polling the poller keeps the timeout's microseconds,
    /// which `epoll_wait` rounds up to milliseconds.
    pub(super) fn sleep(&self, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        let mut sources = [PollFd::new(&self.epoll, PollFlags::IN)];
        let _ = poll(&mut sources, timeout.as_ref()); // Interrupted is awake.
    }
}
