//! What wakes a thread that sleeps in the poller.
//! Knows nothing of what it is rung for.

use rustix::event::{EventfdFlags, eventfd};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// Rung by anybody, heard by one thread. Ringing costs a system call only when the thread is asleep.
#[derive(Debug)]
pub struct Bell {
    event: OwnedFd,
    rung: AtomicBool,
    asleep: AtomicBool,
}

impl Bell {
    /// A bell that has not been rung.
    ///
    /// # Errors
    /// What the kernel says when it has no event descriptor left for us.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event, rung: AtomicBool::new(false), asleep: AtomicBool::new(false) })
    }

    /// Wakes the thread. What the ringer has put somewhere before is seen by the thread after `take`.
    pub fn ring(&self) {
        // Either this sees the thread asleep and wakes it, or the thread sees `rung` before it sleeps: all four
        // accesses are sequentially consistent.
        if !self.rung.swap(true, Ordering::SeqCst) && self.asleep.load(Ordering::SeqCst) {
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes()); // Full means that it is ringing.
        }
    }

    /// The thread is about to sleep. `false`: it must not, somebody has rung.
    pub(super) fn lie_down(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        !self.rung.load(Ordering::SeqCst)
    }

    /// The thread is awake.
    pub(super) fn get_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }

    /// Stops the ringing that the poller reported.
    pub(super) fn silence(&self) {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }

    /// Whether it was rung since the last time; to be asked before looking at what it was rung for.
    pub(super) fn take(&self) -> bool {
        self.rung.swap(false, Ordering::SeqCst)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
