//! Call records as figures: the journal, the database behind it, webhooks, what calls have cost.
//! Knows counts and money. Never a call or a number.

use super::metrics::{Counters, Counters64, Known, OTHER, SECONDS, add, seconds, seconds_of};
use crate::store::{CallRecord, Direction};
use call::cdr::Cause;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

/// Seconds that a disk takes to make something durable.
const SYNC_SECONDS: [f64; 10] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2.0];
/// Seconds from a call's end to its record on the disk.
const END_SECONDS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 2.0, 10.0];
/// Seconds of a call: a wrong number hangs up within 10, a talk takes minutes.
const CALL_SECONDS: [f64; 10] = [5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 1_200.0, 1_800.0];

pub(super) struct RecordFigures {
    calls: Counters<2>,
    answered: Counters<1>,
    abandoned: Counter,
    call_seconds: Histogram,
    spooled: Counter,
    unrecorded: Counter,
    damaged: Counter,
    lost: Counter,
    journal_sync: Histogram,
    end_durable: Histogram,
    webhooks: Counters<2>,
    webhook_seconds: Histogram,
    hooks: Known,
    cost: Counters64<2>,
    cost_unknown: Counter,
    idle_cost: Counters64<2>,
    reserved_cost: Counters64<2>,
    causes: Known,
}

impl RecordFigures {
    pub(super) fn register(of: &mut Registry, causes: &[String]) -> Self {
        Self {
            calls: add(of, "calls", "Calls that ended, refused ones too", Family::default()),
            answered: add(
                of,
                "calls_completed",
                "Answered calls that ended, by the load that they began under",
                Family::default(),
            ),
            abandoned: add(
                of,
                "calls_abandoned",
                "Callers who gave up before the answer",
                Counter::default(),
            ),
            call_seconds: seconds(
                of,
                "call_duration",
                "Answer to end of calls",
                Histogram::new(CALL_SECONDS),
            ),
            spooled: add(
                of,
                "cdr_spooled",
                "Call records that had to wait in the journal for the database",
                Counter::default(),
            ),
            unrecorded: add(
                of,
                "cdr_unrecorded",
                "Calls answered before their start was on disk, because the disk hung",
                Counter::default(),
            ),
            damaged: add(of, "cdr_damaged", "Journal lines that could not be read", Counter::default()),
            lost: add(of, "cdr_lost", "Call records lost: an alarm", Counter::default()),
            journal_sync: seconds(
                of,
                "journal_sync",
                "What the disk takes to make call records durable",
                Histogram::new(SYNC_SECONDS),
            ),
            end_durable: seconds(
                of,
                "cdr_end_durable",
                "From a call's end to its record on the disk",
                Histogram::new(END_SECONDS),
            ),
            webhooks: add(
                of,
                "webhook_events",
                "Events for webhooks, by what became of them",
                Family::default(),
            ),
            webhook_seconds: seconds(of, "webhook", "What endpoints take to answer", Histogram::new(SECONDS)),
            hooks: Known::new(&[OTHER]),
            cost: add(of, "call_cost", "What calls have cost, by part", Family::default()),
            cost_unknown: add(of, "cost_unknown", "Calls of which a part has no price", Counter::default()),
            idle_cost: add(of, "idle_port_cost", "What ports cost that nobody used", Family::default()),
            reserved_cost: add(of, "reserved_port_cost", "What ports cost, used or not", Family::default()),
            causes: Known::new(causes),
        }
    }

    pub(super) fn start_at_zero(&self) {
        for direction in [Direction::Inbound, Direction::Outbound] {
            for cause in self.causes.values() {
                let labels = [("direction", direction.name().to_owned()), ("end_cause", cause)];
                drop(self.calls.get_or_create(&labels));
            }
        }
        for band in call::port_slots::LoadBand::ALL {
            drop(self.answered.get_or_create(&[("load_band", band.name().to_owned())]));
        }
    }

    pub(super) fn call_ended(&self, record: &CallRecord) {
        if let Some((from, to)) = record.answer_us.zip(record.end_us) {
            self.call_seconds.observe(seconds_of(to.saturating_sub(from).unsigned_abs()));
            let band = record.load_band.clone().unwrap_or_else(|| OTHER.to_owned());
            self.answered.get_or_create(&[("load_band", band)]).inc();
        }
        if record.end_cause.as_deref() == Some(Cause::CallerCancelled.name()) {
            self.abandoned.inc();
        }
        self.count(record.direction, record.end_cause.as_deref().unwrap_or(OTHER));
        self.call_cost(record);
    }

    pub(super) fn count(&self, direction: Direction, cause: &str) {
        let cause = self.causes.or_other(cause);
        self.calls.get_or_create(&[("direction", direction.name().to_owned()), ("end_cause", cause)]).inc();
    }

    /// What an ended call has cost, part by part; what is not known of it is counted.
    fn call_cost(&self, record: &CallRecord) {
        let Some(currency) = &record.cost_currency else { return };
        let parts = [
            ("stt", record.cost_stt),
            ("llm", record.cost_llm),
            ("tts", record.cost_tts),
            ("telephony", record.cost_telephony),
        ];
        for (part, cost) in parts {
            if let Some(cost) = cost.filter(|cost| *cost >= 0.0) {
                let labels = [("part", part.to_owned()), ("currency", currency.clone())];
                self.cost.get_or_create(&labels).inc_by(cost);
            }
        }
        if record.cost_total.is_none() {
            self.cost_unknown.inc();
        }
    }

    /// What the ports of a pool have cost since the last look, all of them and those that nobody used.
    pub(super) fn ports_cost(&self, pool: &str, currency: &str, reserved: f64, idle: f64) {
        let labels = [("pool", pool.to_owned()), ("currency", currency.to_owned())];
        self.reserved_cost.get_or_create(&labels).inc_by(reserved.max(0.0));
        self.idle_cost.get_or_create(&labels).inc_by(idle.max(0.0));
    }

    pub(super) fn spooled(&self, count: u64) {
        self.spooled.inc_by(count);
    }

    pub(super) fn unrecorded(&self) {
        self.unrecorded.inc();
    }

    pub(super) fn damaged(&self, count: u64) {
        self.damaged.inc_by(count);
    }

    pub(super) fn lost(&self, count: u64) {
        self.lost.inc_by(count);
    }

    pub(super) fn journal_synced(&self, took: Duration) {
        self.journal_sync.observe(took.as_secs_f64());
    }

    pub(super) fn end_durable(&self, took: Duration) {
        self.end_durable.observe(took.as_secs_f64());
    }

    pub(super) fn webhook(&self, hook: &str, result: &str, count: u64) {
        let labels = [("hook", self.hooks.learn(hook)), ("result", result.to_owned())];
        self.webhooks.get_or_create(&labels).inc_by(count);
    }

    pub(super) fn webhook_seconds(&self, took: Duration) {
        self.webhook_seconds.observe(took.as_secs_f64());
    }

    /// Records lost, records that had to wait, calls without a price: since the start.
    pub(super) fn troubles(&self) -> [u64; 3] {
        [self.lost.get(), self.spooled.get(), self.cost_unknown.get()]
    }
}
