//! Call records and events on their way to the store, the metrics and whoever follows a call.
//! Knows both shapes of a record. Never waits: the sinks behind have queues of their own.

use crate::{
    call_actor::TraceSink as ActorSink,
    server::RecordSink,
    store::{CallRecord, Direction, Quality, Store},
    telemetry::{
        metrics::{ActiveCall, Metrics},
        pii::Pii,
        traces::TraceSink,
    },
};
use call::{CallId, Event, Stamped, cdr::Cdr};
use std::{collections::HashMap, sync::Mutex};

/// Where finished records go.
pub struct Records {
    store: Store,
    metrics: Metrics,
    /// Held by the SIP task alone; the lock only satisfies the trait.
    active: Mutex<HashMap<CallId, ActiveCall>>,
}

impl Records {
    /// Records for the store and the metrics.
    pub fn new(store: Store, metrics: Metrics) -> Self {
        Self { store, metrics, active: Mutex::default() }
    }
}

impl RecordSink for Records {
    fn begin(&self, cdr: &Cdr) {
        self.metrics.port_acquired("granted");
        if let Ok(mut active) = self.active.lock() {
            active.insert(cdr.arrival.call, self.metrics.call_active());
        }
        self.store.begin_call(record(cdr));
    }

    fn end(&self, cdr: &Cdr) {
        let begun = self.active.lock().is_ok_and(|mut active| active.remove(&cdr.arrival.call).is_some());
        let record = record(cdr);
        if !begun {
            self.metrics.port_acquired(cdr.cause.as_deref().unwrap_or_default());
        }
        self.metrics.call_ended(&record);
        self.store.end_call(record);
    }
}

/// Where events go.
pub struct Traces(pub TraceSink);

impl ActorSink for Traces {
    fn record(&self, call: CallId, stamped: Stamped) {
        self.0.record(call, stamped);
    }
}

fn record(cdr: &Cdr) -> CallRecord {
    let arrival = &cdr.arrival;
    let invite_us = i64::try_from(arrival.invited_at_us).unwrap_or(i64::MAX);
    let after = |us: Option<u64>| us.and_then(|us| invite_us.checked_add_unsigned(us));
    CallRecord {
        trunk: Some(arrival.trunk.clone()),
        agent: cdr.agent.clone(),
        caller: Pii::new(arrival.caller.clone()),
        called: Pii::new(arrival.called.clone()),
        answer_us: after(cdr.answered_after_us),
        end_us: after(cdr.ended_after_us),
        end_cause: cdr.cause.clone(),
        sip_status: cdr.sip_status,
        port_slot: cdr.port_slot,
        concurrency: cdr.concurrency,
        codec: cdr.codec.clone(),
        turns: cdr.turns,
        barge_ins: cdr.barge_ins,
        quality: quality(cdr.quality.as_ref()),
        gap_p50_us: cdr.gap_us(0.5),
        gap_max_us: cdr.gap_us(1.0),
        ..CallRecord::new(arrival.call, Direction::Inbound, arrival.sip_call_id.clone(), invite_us)
    }
}

fn quality(event: Option<&Event>) -> Quality {
    let Some(Event::Quality { received, lost, late, concealed, jitter_us, sent, foreign }) = event else {
        return Quality::default();
    };
    Quality {
        received: *received,
        lost: *lost,
        late: *late,
        concealed: *concealed,
        jitter_us: *jitter_us,
        sent: *sent,
        foreign: *foreign,
    }
}
