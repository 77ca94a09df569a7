//! Call records and events on their way to the store, the metrics and whoever follows a call.
//! Knows who wants to hear of a call. Never waits: the sinks behind have queues of their own.

use crate::{
    call_actor::TraceSink as ActorSink,
    server::{CallStart, RecordSink},
    store::{CallRecord, Store},
    telemetry::{
        metrics::{ActiveCall, Metrics},
        traces::TraceSink,
    },
};
use call::{
    CallId, Stamped,
    cdr::{Cause, Cdr},
};
use std::{collections::HashMap, sync::Mutex};

/// Where finished records go.
pub struct Records {
    store: Store,
    metrics: Metrics,
    traces: TraceSink,
    /// Held for a moment, by the SIP task and by who places calls.
    active: Mutex<HashMap<CallId, ActiveCall>>,
}

impl Records {
    /// Records for the store, the metrics and the trace collector.
    pub fn new(store: Store, metrics: Metrics, traces: TraceSink) -> Self {
        Self { store, metrics, traces, active: Mutex::default() }
    }
}

impl RecordSink for Records {
    fn begin(&self, cdr: &Cdr, start: CallStart) {
        tracing::info!(call = %cdr.arrival.call, trunk = cdr.arrival.trunk, "call begins");
        self.metrics.port_acquired("granted");
        if let Ok(mut active) = self.active.lock() {
            active.insert(cdr.arrival.call, self.metrics.call_active());
        }
        self.store.begin_durably(CallRecord::from(cdr), start.dialog, start.recorded);
    }

    fn begin_outgoing(&self, cdr: &Cdr) {
        tracing::info!(call = %cdr.arrival.call, trunk = cdr.arrival.trunk, "a call is placed");
        self.metrics.port_acquired("granted");
        if let Ok(mut active) = self.active.lock() {
            active.insert(cdr.arrival.call, self.metrics.call_active());
        }
        self.store.begin_call(CallRecord::from(cdr));
    }

    fn end(&self, cdr: &Cdr) {
        let begun = self.active.lock().is_ok_and(|mut active| active.remove(&cdr.arrival.call).is_some());
        if !begun {
            self.traces.refused(cdr);
            refused_slot(cdr.cause.as_deref())
                .into_iter()
                .for_each(|result| self.metrics.port_acquired(result));
        }
        tell_end(cdr);
        let record = CallRecord::from(cdr);
        self.metrics.call_ended(&record);
        self.store.end_call(record);
    }
}

/// What became of the wish for a slot of a call that never began; a call that no trunk claims never asked for one.
fn refused_slot(cause: Option<&str>) -> Option<&'static str> {
    match cause {
        Some(cause) if cause == Cause::PortsFull.name() => Some("busy"),
        Some(cause) if cause == Cause::Draining.name() => Some("draining"),
        Some(cause) if cause == Cause::StageFull.name() => Some("stage_capacity"),
        Some(cause) if cause == Cause::MachineBusy.name() => Some("machine"),
        Some(_) | None => None,
    }
}

/// One line for the operator: figures only, nobody's number and no word of what was said.
fn tell_end(cdr: &Cdr) {
    tracing::info!(
        call = %cdr.arrival.call,
        cause = cdr.cause.as_deref().unwrap_or("unknown"),
        status = cdr.sip_status.unwrap_or_default(),
        seconds = cdr.ended_after_us.unwrap_or_default() / 1_000_000,
        turns = cdr.turns,
        fallbacks = cdr.fallbacks,
        "call ended"
    );
}

/// Where events go.
pub struct Traces(pub TraceSink);

impl ActorSink for Traces {
    fn begin(&self, cdr: &Cdr) {
        self.0.begin(cdr);
    }

    fn record(&self, call: CallId, stamped: Stamped) {
        self.0.record(call, stamped);
    }
}
