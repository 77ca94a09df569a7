//! Where a call's events go: to the store, the metrics and whoever follows, in this order and off the call's path.
//! Knows the three sinks. A call hands an event over and goes on; what does not fit is dropped and counted.

use super::{LiveEvent, LiveEvents, Metrics};
use crate::store::Store;
use call::{CallId, Event, Stamped};
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::mpsc::{self, Receiver, SyncSender},
    time::Duration,
};

/// Events on their way out of the calls; beyond that they are dropped, and counted.
pub const TRACE_QUEUE: usize = 1_000;
/// Between two looks into the queue while events come.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// Ended calls whose numbering is remembered, for what is told after the end.
const REMEMBERED: usize = 1_024;

/// Takes events from calls. Clones share one queue.
#[derive(Clone)]
pub struct TraceSink {
    queue: SyncSender<Message>,
    metrics: Metrics,
}

enum Message {
    Event(CallId, Box<Stamped>),
    Flush(SyncSender<()>),
}

impl TraceSink {
    /// Starts passing events on; ends when the last clone is dropped.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Store, metrics: Metrics, live: LiveEvents) -> io::Result<Self> {
        let (queue, messages) = mpsc::sync_channel(TRACE_QUEUE);
        let sinks = Sinks { store, metrics: metrics.clone(), live, numbers: Numbers::default() };
        std::thread::Builder::new().name("tandem-traces".to_owned()).spawn(move || sinks.run(&messages))?;
        Ok(Self { queue, metrics })
    }

    /// Something happened in a call. Never waits.
    pub fn record(&self, call: CallId, stamped: Stamped) {
        if self.queue.try_send(Message::Event(call, Box::new(stamped))).is_err() {
            self.metrics.queue_dropped("trace", 1);
        }
    }

    /// Waits until everything recorded so far has been passed on. Not for the call's path.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }
}

struct Sinks {
    store: Store,
    metrics: Metrics,
    live: LiveEvents,
    numbers: Numbers,
}

impl Sinks {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(message) = messages.recv() {
            self.handle(message);
            while let Ok(message) = messages.try_recv() {
                self.handle(message);
            }
            // Events of many calls at once: the kernel need not wake this thread for each.
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Event(call, stamped) => self.pass_on(call, *stamped),
            Message::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }

    fn pass_on(&mut self, call: CallId, stamped: Stamped) {
        let seq = self.numbers.next(call, matches!(stamped.event, Event::Ended { .. }));
        self.metrics.observe(&stamped.event);
        self.store.event(call, seq, stamped.clone());
        self.live.publish(LiveEvent { call, seq, stamped });
    }
}

/// Numbers each call's events from 1. Forgets a call some time after its end.
#[derive(Default)]
struct Numbers {
    last: HashMap<CallId, u64>,
    ended: VecDeque<CallId>,
}

impl Numbers {
    fn next(&mut self, call: CallId, ends: bool) -> u64 {
        let last = self.last.entry(call).or_insert(0);
        *last += 1;
        let seq = *last;
        if ends {
            self.ended.push_back(call);
            if self.ended.len() > REMEMBERED {
                let forgotten = self.ended.pop_front();
                forgotten.map(|call| self.last.remove(&call));
            }
        }
        seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbering_goes_on_after_the_end_and_is_forgotten_in_time() {
        let mut numbers = Numbers::default();
        let call = CallId(1);
        assert_eq!([false, true, false].map(|ends| numbers.next(call, ends)), [1, 2, 3]);
        for other in 0..5_000 {
            numbers.next(CallId(10 + other), true);
        }
        assert!(numbers.last.len() <= REMEMBERED);
    }
}
