//! Where a call's events go: to the store, the metrics, whoever follows and the trace collector, off the call's path.
//! Knows the sinks. A call hands an event over and goes on; what does not fit is dropped and counted.

use super::{
    LiveEvent, LiveEvents, Metrics,
    otlp::{CallSpans, Exporter, Labels, Span},
};
use crate::{
    queue::{Receiver, Sender, bounded},
    store::Store,
};
use call::{CallId, Event, Stamped, cdr::Cdr, port_slots::LoadBand};
use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::Arc,
    time::Duration,
};

/// Events on their way out of the calls; beyond that they are dropped, and counted.
pub const TRACE_QUEUE: usize = 4_000;
/// Between two looks into the queue while events come.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Ended calls whose numbering is remembered, for what is told after the end.
const REMEMBERED: usize = 1_024;

/// Takes events from calls. Clones share one queue.
#[derive(Clone)]
pub struct TraceSink {
    queue: Sender<Message>,
    exporting: bool,
    metrics: Metrics,
}

enum Message {
    Begin(Box<Cdr>),
    Refused(Box<Cdr>),
    Event(CallId, Box<Stamped>),
    Flush(Sender<()>),
}

impl TraceSink {
    /// Starts passing events on; ends when the last clone is dropped.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(store: Store, metrics: Metrics, live: LiveEvents) -> io::Result<Self> {
        Self::start_exporting(store, metrics, live, None)
    }

    /// The same, with a collector that is told of every call.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start_exporting(
        store: Store,
        metrics: Metrics,
        live: LiveEvents,
        collector: Option<(Arc<Exporter>, Labels)>,
    ) -> io::Result<Self> {
        let (queue, messages) = bounded(TRACE_QUEUE);
        let collector = collector.map(|(exporter, labels)| Spans {
            exporter,
            calls: CallSpans::new(labels),
            out: Vec::new(),
        });
        let sinks = Sinks {
            store,
            metrics: metrics.clone(),
            live,
            numbers: Numbers::default(),
            bands: HashMap::new(),
            collector,
        };
        let exporting = sinks.collector.is_some();
        std::thread::Builder::new().name("tandem-traces".to_owned()).spawn(move || sinks.run(&messages))?;
        Ok(Self { queue, exporting, metrics })
    }

    /// Something happened in a call. Never waits.
    pub fn record(&self, call: CallId, stamped: Stamped) {
        if self.queue.try_send(Message::Event(call, Box::new(stamped))).is_err() {
            self.metrics.queue_dropped("trace", 1);
        }
    }

    /// A call has its slot and begins; comes before its first event. Never waits.
    pub fn begin(&self, cdr: &Cdr) {
        self.tell(Message::Begin(Box::new(cdr.clone())));
    }

    /// A call was refused. Never waits.
    pub fn refused(&self, cdr: &Cdr) {
        if self.exporting {
            self.tell(Message::Refused(Box::new(cdr.clone())));
        }
    }

    fn tell(&self, message: Message) {
        if self.queue.try_send(message).is_err() {
            self.metrics.queue_dropped("trace", 1);
        }
    }

    /// Waits until everything recorded so far has been passed on. Not for the call's path.
    pub fn flush(&self) {
        let (done, wait) = bounded(1);
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
    /// Of calls that are going on: how busy it was when they began.
    bands: HashMap<CallId, LoadBand>,
    collector: Option<Spans>,
}

/// Spans in the making, and where they go.
struct Spans {
    exporter: Arc<Exporter>,
    calls: CallSpans,
    out: Vec<Span>,
}

impl Spans {
    fn make(&mut self, make: impl FnOnce(&mut CallSpans, &mut Vec<Span>)) {
        make(&mut self.calls, &mut self.out);
        self.out.drain(..).for_each(|span| self.exporter.send(span));
    }
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
            Message::Begin(cdr) => {
                self.bands.extend(cdr.load.map(|(_, band)| (cdr.arrival.call, band)));
                self.spans(|calls, _| calls.begin(&cdr));
            }
            Message::Refused(cdr) => self.spans(|calls, out| calls.refused(&cdr, out)),
            Message::Event(call, stamped) => self.pass_on(call, *stamped),
            Message::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }

    fn spans(&mut self, make: impl FnOnce(&mut CallSpans, &mut Vec<Span>)) {
        if let Some(collector) = &mut self.collector {
            collector.make(make);
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "two of many events")]
    fn observe_load(&mut self, call: CallId, event: &Event) {
        match event {
            Event::Latency { latency, .. } => {
                let band = self.bands.get(&call).copied().unwrap_or(LoadBand::Low);
                self.metrics.turn(call, band, latency);
            }
            Event::Ended { .. } => drop(self.bands.remove(&call)),
            _ => {}
        }
    }

    fn pass_on(&mut self, call: CallId, stamped: Stamped) {
        let seq = self.numbers.next(call, matches!(stamped.event, Event::Ended { .. }));
        self.metrics.observe(&stamped.event);
        self.observe_load(call, &stamped.event);
        self.spans(|calls, out| calls.event(call, &stamped, out));
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
