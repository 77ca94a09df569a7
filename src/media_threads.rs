//! The threads that calls live on: each owns its calls' sockets and machines and keeps time for all of them.
//! Knows when to step a call and with what arrived. Knows nothing of what a call decides.

mod bell;
mod departures;
mod lateness;
mod phases;
mod poller;
mod priority;
mod thread;
mod ticks;

#[cfg(test)]
mod tests;

pub use bell::Bell;
pub use lateness::{BUCKETS_US, Lateness, LatenessSnapshot};
pub use priority::MediaPriority;

use crate::{
    call_actor::{CallActor, Note},
    queue::{self, Sender},
};
use call::{HangUp, SipInput, cdr::Cause};
use sip::DialogKey;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::TrySendError,
    },
    thread::JoinHandle,
    time::Duration,
};

/// Commands waiting for one thread. The signalling side keeps what does not fit and tries again.
pub const COMMANDS: usize = 1_024;

/// What the server tells a media thread.
pub enum Command {
    /// A call begins.
    Start(Box<CallActor>),
    /// The dialog of a call reports.
    Sip(DialogKey, SipInput),
    /// The start of a call is on disk.
    Recorded(DialogKey),
    /// A call is to say goodbye and end.
    HangUp(DialogKey, HangUp),
    /// All calls end now, without goodbye.
    BreakOff(Cause),
    /// The thread ends when it has no call and nothing to tell any more.
    Stop,
}

/// Takes what calls tell the signalling side, or gives it back when its queue is full.
pub type Uplink = Arc<dyn Fn(Note) -> Result<(), Note> + Send + Sync>;

/// What one thread counts. Written by the thread, read by anybody.
#[derive(Debug, Default)]
pub struct ThreadCounters {
    /// Calls that live on it.
    pub calls: AtomicUsize,
    /// How late calls were woken.
    pub lateness: Lateness,
    /// Datagrams handed to calls.
    pub datagrams: AtomicU64,
    /// Datagrams thrown away because a call was sent more than [`DATAGRAMS_PER_STEP`] of them in 20 ms.
    pub datagrams_over_rate: AtomicU64,
    /// Calls that a bug in our own code ended.
    pub panics: AtomicU64,
    /// Times that the signalling side's queue was full.
    pub uplink_full: AtomicU64,
}

/// Datagrams a call takes in each 20 ms from its peer's address, and as many from all others together; a stream of
/// 2.5 ms packets needs 8. What is over that is a flood, and is thrown away unread.
pub const DATAGRAMS_PER_STEP: u32 = 200;

/// One media thread, as others see it.
#[derive(Clone)]
pub struct MediaThread {
    commands: Sender<Command>,
    knocks: Sender<DialogKey>,
    bell: Arc<Bell>,
    counters: Arc<ThreadCounters>,
}

impl MediaThread {
    /// Passes a command on without waiting.
    ///
    /// # Errors
    /// The command, when the queue is full or the thread has ended.
    pub fn try_send(&self, command: Command) -> Result<(), Command> {
        let sent = self.commands.try_send(command);
        self.bell.ring();
        sent.map_err(|error| match error {
            TrySendError::Full(command) | TrySendError::Disconnected(command) => command,
        })
    }

    /// What wakes the thread for the inbox of the call with this dialog.
    pub fn knocker(&self, dialog: DialogKey) -> Knocker {
        let (knocks, bell) = (self.knocks.clone(), Arc::clone(&self.bell));
        Knocker { dialog, knocks, bell, waiting: Arc::default() }
    }

    /// What it counts.
    pub fn counters(&self) -> &ThreadCounters {
        &self.counters
    }
}

/// Tells a thread that the inbox of one of its calls has something. The queue of knocks cannot outgrow the number of
/// calls: a call that has knocked does not knock again until it was looked after.
#[derive(Clone)]
pub struct Knocker {
    dialog: DialogKey,
    knocks: Sender<DialogKey>,
    bell: Arc<Bell>,
    waiting: Arc<AtomicBool>,
}

impl Knocker {
    /// There is something in the inbox.
    pub fn knock(&self) {
        if !self.waiting.swap(true, Ordering::SeqCst) {
            let _ = self.knocks.try_send(self.dialog); // The thread is gone: so is the call.
            self.bell.ring();
        }
    }

    /// The inbox is about to be looked into; what comes from now on knocks again.
    pub fn answer(&self) {
        self.waiting.store(false, Ordering::SeqCst);
    }
}

/// All media threads of a server.
pub struct MediaThreads {
    threads: Vec<MediaThread>,
    handles: Vec<JoinHandle<()>>,
}

impl MediaThreads {
    /// One thread less than there are cores, and one at least: the rest is for providers, HTTP and storage.
    pub fn default_count() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
    }

    /// Starts `count` threads, each of which asks the kernel for `priority`. What calls start, such as requests, runs on `runtime`.
    ///
    /// # Errors
    /// What the kernel says when it has no thread or poller left for us.
    pub fn start(
        count: usize,
        priority: MediaPriority,
        runtime: &tokio::runtime::Handle,
        uplink: &Uplink,
    ) -> io::Result<Self> {
        let mut threads = Vec::new();
        let mut handles = Vec::new();
        for number in 0..count.max(1) {
            let (commands, waiting) = queue::bounded(COMMANDS);
            let (knocks, knocked) = queue::bounded(usize::MAX);
            let bell = Arc::new(Bell::new()?);
            let counters = Arc::new(ThreadCounters::default());
            let thread = thread::Thread::new(
                thread::Ends { commands: waiting, knocks: knocked, uplink: Arc::clone(uplink) },
                Arc::clone(&bell),
                Arc::clone(&counters),
            )?;
            let runtime = runtime.clone();
            let handle = std::thread::Builder::new().name(format!("media-{number}")).spawn(move || {
                let _runtime = runtime.enter();
                let gained = priority.take();
                if gained != priority {
                    tracing::info!(
                        wanted = priority.name(),
                        gained = gained.name(),
                        "media threads lack a permission: grant CAP_SYS_NICE, or LimitRTPRIO=10 in systemd"
                    );
                }
                thread.run();
            })?;
            threads.push(MediaThread { commands, knocks, bell, counters });
            handles.push(handle);
        }
        Ok(Self { threads, handles })
    }

    /// The threads, in a fixed order.
    pub fn threads(&self) -> &[MediaThread] {
        &self.threads
    }

    /// Ends the threads when their calls are over. Waits for that, so call it where waiting is allowed.
    pub fn stop(self) {
        for thread in &self.threads {
            // A full queue is being worked off; the thread's end is worth waiting for.
            let mut command = Command::Stop;
            while let Err(back) = thread.try_send(command) {
                if self.handles.iter().all(JoinHandle::is_finished) {
                    break;
                }
                command = back;
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        for handle in self.handles {
            let _ = handle.join(); // A panic of the thread itself has been printed by its hook.
        }
    }
}
