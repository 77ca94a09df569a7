//! Tells other systems of every call by HTTP: signed, at least once, in the order of each call's events.
//! Each endpoint has a thread, an outbox and a pace of its own: a dead one holds up neither calls nor the others.

mod deliver;
mod outbox;
mod signature;

pub use outbox::{Delivery, Outbox, OutboxError, Replay, State};
pub use signature::{SIGNATURE_HEADER, sign, verify};

use crate::{
    secret::Secret,
    store::{CallEvent, CallRecord, Feed, Store},
    telemetry::{Metrics, Pii},
};
use deliver::Deliverer;
use serde_json::json;
use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How long it takes at most until a new event is noticed.
const LOOK: Duration = Duration::from_millis(200);
/// Between two attempts at an outbox that fails.
const AGAIN: Duration = Duration::from_secs(2);

/// One endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// How it is called here.
    pub name: String,
    /// Where events are posted.
    pub url: String,
    /// What they are signed with.
    pub secret: Secret,
    /// Whether `call.started` is told.
    pub started: bool,
    /// Whether `call.ended` is told.
    pub ended: bool,
    /// Whether the callers' numbers are told.
    pub numbers: bool,
    /// How long an event is tried for before it is given up. It stays in the outbox, for a replay.
    pub give_up_after: Duration,
}

/// The threads of all endpoints.
pub struct Webhooks {
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Webhooks {
    /// Opens the outboxes and begins to deliver.
    ///
    /// # Errors
    /// When an outbox cannot be opened.
    pub fn start(
        hooks: &[Webhook],
        directory: &Path,
        store: &Store,
        metrics: &Metrics,
    ) -> Result<Self, OutboxError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for hook in hooks {
            let outbox = Outbox::open(directory)?;
            // One that is new here hears of what happens from now on, not of what the journal happens to hold.
            let feed = store.feed(&format!("webhook {}", hook.name), outbox.mark(&hook.name)?);
            let deliverer = Deliverer::new(hook.clone(), metrics.clone()).map_err(OutboxError::Client)?;
            let mut worker = Worker {
                hook: hook.clone(),
                outbox,
                feed,
                deliverer,
                metrics: metrics.clone(),
                stop: Arc::clone(&stop),
            };
            worker.outbox.set_mark(&hook.name, worker.feed.mark())?;
            let thread = std::thread::Builder::new().name(format!("hook-{}", hook.name));
            threads.push(thread.spawn(move || worker.run()).map_err(OutboxError::Thread)?);
        }
        Ok(Self { threads, stop })
    }

    /// Ends the threads when they have finished what they are at. What is left in the outbox waits for the next start.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // One that panicked has said so; its outbox is as it was.
            let _ = thread.join();
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One endpoint's thread.
struct Worker {
    hook: Webhook,
    outbox: Outbox,
    feed: Feed,
    deliverer: Deliverer,
    metrics: Metrics,
    stop: Arc<AtomicBool>,
}

impl Worker {
    fn run(&mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let worked = self.collect().and_then(|()| self.deliver());
            let pause = match worked {
                Ok(true) => continue,
                Ok(false) => LOOK,
                Err(error) => {
                    tracing::error!(hook = self.hook.name, %error, "the outbox of a webhook fails; events wait in the journal");
                    AGAIN
                }
            };
            std::thread::park_timeout(pause);
        }
    }

    /// Moves what the journal says into the outbox; how far it has come is written in the same transaction.
    fn collect(&mut self) -> Result<(), OutboxError> {
        loop {
            let (events, mark) = self.feed.read().map_err(OutboxError::Journal)?;
            if mark == self.feed.mark() {
                return Ok(());
            }
            let deliveries: Vec<_> = events.iter().filter_map(|event| event_of(&self.hook, event)).collect();
            let dropped = self.outbox.add(&self.hook.name, &deliveries, mark)?;
            self.metrics.webhook(&self.hook.name, "dropped", dropped);
            self.feed.done(mark);
        }
    }

    /// Delivers what is due; false if nothing was.
    fn deliver(&mut self) -> Result<bool, OutboxError> {
        let due = self.outbox.due(&self.hook.name)?;
        if due.is_empty() {
            return Ok(false);
        }
        for (delivery, outcome) in self.deliverer.post(due) {
            let state = self.outbox.settle(&delivery, &outcome, self.hook.give_up_after)?;
            self.metrics.webhook(&self.hook.name, state.name(), 1);
            if let (State::Dead, Err(reason)) = (state, &outcome) {
                tracing::error!(
                    hook = self.hook.name,
                    event = delivery.event,
                    reason,
                    "a webhook is given up; `tandem webhooks replay` sends it again"
                );
            }
        }
        Ok(true)
    }
}

/// An event on its way into the outbox.
pub(crate) struct NewDelivery {
    /// The same for every copy of the event: what a receiver that gets it twice knows it by.
    event: String,
    call: String,
    body: String,
}

fn event_of(hook: &Webhook, event: &CallEvent) -> Option<NewDelivery> {
    let (kind, record) = match event {
        CallEvent::Began(record) if hook.started && record.end_us.is_none() => ("call.started", record),
        CallEvent::Ended(record) if hook.ended => ("call.ended", record),
        CallEvent::Began(_) | CallEvent::Ended(_) => return None,
    };
    let mut told = CallRecord::clone(record);
    if !hook.numbers {
        (told.caller, told.called, told.notes) = (Pii::default(), Pii::default(), None);
        told.other_legs.iter_mut().for_each(|leg| leg.peer = Pii::default());
    }
    let event = format!("{}.{kind}", record.call);
    let body = json!({ "id": event, "event": kind, "call": told }).to_string();
    Some(NewDelivery { event, call: record.call.to_string(), body })
}

/// Where the outbox of a data directory is.
pub fn outbox_path(directory: &Path) -> PathBuf {
    directory.join(outbox::OUTBOX_FILE)
}

/// What the system's client says, as an error of input and output.
fn other(error: &reqwest::Error) -> io::Error {
    io::Error::other(error.to_string())
}
