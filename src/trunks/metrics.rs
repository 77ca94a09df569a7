//! The trunks' figures for `/metrics`, read from their states at each scrape.
//! Knows names of series. Labels are trunks of the config and words from closed lists.

use super::states::{RegistrationState, TrunkState, TrunkStates};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};
use sip::GateStatistics;
use std::fmt;

/// Writes the states of all trunks.
#[derive(Debug)]
pub struct TrunkMetrics(pub TrunkStates);

type Gauge = (&'static str, &'static str, fn(&TrunkState) -> Option<i64>);
type Counter = (&'static str, &'static str, &'static str, fn(&TrunkState) -> Vec<(String, u64)>);

const GAUGES: [Gauge; 5] = [
    ("tandem_trunk_registered", "Whether we are registered, for trunks that we register with", |state| {
        let registration = state.registration.as_ref()?;
        Some(i64::from(registration.state == RegistrationState::Registered))
    }),
    ("tandem_trunk_reachable", "Whether any target of the trunk answers OPTIONS", |state| {
        state.reachable.map(i64::from)
    }),
    ("tandem_trunk_bindings", "Peers that are registered with us", |state| Some(state.bindings.into())),
    ("tandem_trunk_calls", "Calls over the trunk", |state| Some(state.calls.into())),
    ("tandem_trunk_overflow_calls", "Calls in overflow slots", |state| Some(state.overflow.into())),
];

const COUNTERS: [Counter; 2] = [
    ("tandem_trunk_refused", "Calls over a limit, by the limit", "limit", |state| pairs(&state.refused)),
    ("tandem_trunk_attempts", "Attempts of outgoing calls, by result", "result", |state| {
        pairs(&state.attempts)
    }),
];

fn pairs(map: &std::collections::BTreeMap<String, u64>) -> Vec<(String, u64)> {
    map.iter().map(|(name, count)| (name.clone(), *count)).collect()
}

impl Collector for TrunkMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let states = self.0.snapshot();
        for (name, help, value) in GAUGES {
            let kind = ConstGauge::new(0_i64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for state in &states {
                let Some(value) = value(state) else { continue };
                ConstGauge::new(value).encode(family.encode_family(&[("trunk", state.name.as_str())])?)?;
            }
        }
        for (name, help, label, values) in COUNTERS {
            let kind = ConstCounter::new(0_u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for state in &states {
                for (word, count) in values(state) {
                    let labels = [("trunk", state.name.as_str()), (label, word.as_str())];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        encode_gate(&self.0.gate(), &mut encoder)
    }
}

/// What strangers cost: without an answer, without a call, and yet to be seen.
fn encode_gate(gate: &GateStatistics, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let kind = || ConstCounter::new(0_u64).metric_type();
    let help = "Requests outside calls that no trunk takes, by the decisive reason";
    let mut family = encoder.encode_descriptor("tandem_gate_refused", help, None, kind())?;
    for (reason, count) in &gate.reasons {
        ConstCounter::new(*count).encode(family.encode_family(&[("reason", *reason)])?)?;
    }
    for (name, help, count) in [
        ("tandem_gate_admitted", "Requests outside calls that a trunk takes", gate.admitted),
        ("tandem_gate_challenged", "Requests that were asked for a digest", gate.challenged),
        ("tandem_gate_bans", "Sources that began to be ignored", gate.bans),
    ] {
        ConstCounter::new(count).encode(encoder.encode_descriptor(name, help, None, kind())?)?;
    }
    Ok(())
}
