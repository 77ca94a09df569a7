//! Turns as figures: the response gap and its parts, budgets, who was interrupted, answers begun on a guess.
//! Knows a call's events. Knows neither the call nor anybody's words.

use super::{
    metrics::{Counters, Histograms, Labels, OTHER, SECONDS, add, in_seconds, listed, seconds, seconds_of},
    otlp,
};
use call::{
    CallId, Event,
    latency::{Stage, TurnLatency},
    port_slots::LoadBand,
};
use prometheus_client::{
    metrics::{counter::Counter, exemplar::HistogramWithExemplars, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};
use std::sync::atomic::AtomicU64;

/// What a sound beside the agent's voice can have been.
const ASIDES: [&str; 2] = ["backchannel", "noise"];
const CONFIDENCE: [f64; 9] = [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
const GUESSES: [&str; 2] = ["used", "wasted"];
/// What may stand in for an answer that is late.
const DEGRADED: [&str; 4] = ["acknowledge", "one_moment", "prepared", OTHER];

/// By load band, with the trace of a turn in each bucket.
type TurnHistograms =
    Family<Labels<1>, HistogramWithExemplars<Labels<1>>, fn() -> HistogramWithExemplars<Labels<1>>>;

pub(super) struct TurnFigures {
    gap: Histogram,
    /// The histogram's own count cannot be read.
    turns: Counter,
    by_load: TurnHistograms,
    stages: Histograms,
    over_budget: Counters<1>,
    violations: Counters<1>,
    /// Whole seconds would hide most of it.
    dead_air: Counter<f64, AtomicU64>,
    degraded: Counters<1>,
    barge_in: Counter,
    barge_in_seconds: Histogram,
    barge_in_resumed: Counters<1>,
    confidence: Histogram,
    guesses: Counters<1>,
    speculation: Counters<1>,
    wasted_tokens: Counter,
}

impl TurnFigures {
    pub(super) fn register(of: &mut Registry) -> Self {
        let dead_air = Counter::default();
        let help = "Time that callers waited for an answer beyond the budget of the whole turn";
        of.register_with_unit("dead_air", help, Unit::Seconds, dead_air.clone());
        let by_load: TurnHistograms = Family::new_with_constructor(turn_seconds);
        let stages: Histograms = Family::new_with_constructor(in_seconds);
        let resumed = "Sounds that the agent fell silent for and that were not meant for it";
        Self {
            gap: seconds(of, "turn", "Response gap, speech end to answer", Histogram::new(SECONDS)),
            turns: Counter::default(),
            by_load: seconds(of, "turn_e2e", "Response gap by the load that its call began under", by_load),
            stages: seconds(of, "stage", "Parts of the response gap", stages),
            over_budget: add(
                of,
                "stage_over_budget",
                "Parts that took longer than their budget",
                Family::default(),
            ),
            violations: add(
                of,
                "turn_budget_violations",
                "Turns over budget, by the stage to blame",
                Family::default(),
            ),
            dead_air,
            degraded: add(
                of,
                "turn_degraded",
                "Sounds that stood in for an answer, by which: a filler, or a prepared sentence instead of it",
                Family::default(),
            ),
            barge_in: add(of, "barge_in", "Callers who took the floor", Counter::default()),
            barge_in_seconds: seconds(of, "barge_in_reaction", "Speech to silence", Histogram::new(SECONDS)),
            barge_in_resumed: add(of, "barge_in_resumed", resumed, Family::default()),
            confidence: add(
                of,
                "stt_confidence",
                "How sure speech-to-text was of settled words, 0 to 1",
                Histogram::new(CONFIDENCE),
            ),
            guesses: add(of, "guesses", "Answers begun before the turn was over", Family::default()),
            speculation: add(of, "gw_spec", "Requests to models on a guess, by result", Family::default()),
            wasted_tokens: add(of, "wasted_tokens", "Tokens of guesses that were wrong", Counter::default()),
        }
    }

    pub(super) fn start_at_zero(&self) {
        for stage in Stage::ALL {
            let labels = [("stage", stage.name().to_owned())];
            drop(self.stages.get_or_create(&labels));
            drop(self.over_budget.get_or_create(&labels));
            drop(self.violations.get_or_create(&labels));
        }
        for band in LoadBand::ALL {
            drop(self.by_load.get_or_create(&[("load_band", band.name().to_owned())]));
        }
        for result in GUESSES {
            drop(self.guesses.get_or_create(&[("outcome", result.to_owned())]));
            drop(self.speculation.get_or_create(&[("result", result.to_owned())]));
        }
        for was in ASIDES {
            drop(self.barge_in_resumed.get_or_create(&[("was", was.to_owned())]));
        }
        for level in DEGRADED {
            drop(self.degraded.get_or_create(&[("level", level.to_owned())]));
        }
    }

    /// A turn of a call that began under this load. The exemplar leads to its trace.
    pub(super) fn turn(&self, call: CallId, band: LoadBand, latency: &TurnLatency) {
        let exemplar = Some([("trace_id", otlp::trace_id_text(call))]);
        let by_load = self.by_load.get_or_create(&[("load_band", band.name().to_owned())]);
        by_load.observe(seconds_of(latency.total_us), exemplar, None);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest is no figure of a turn")]
    pub(super) fn observe(&self, event: &Event) {
        match event {
            Event::Latency { latency, .. } => self.latency(latency),
            Event::BargeIn { reaction_ms, .. } => {
                self.barge_in.inc();
                self.barge_in_seconds.observe(f64::from(*reaction_ms) / 1_000.0);
            }
            Event::AgentResumed { was, .. } => {
                self.barge_in_resumed.get_or_create(&[("was", listed(was, &ASIDES))]).inc();
            }
            Event::Heard { is_final: true, confidence: Some(confidence), .. } => {
                self.confidence.observe(f64::from(*confidence));
            }
            Event::GuessUsed { .. } => self.guessed("used"),
            Event::GuessWasted { input_tokens, output_tokens, .. } => {
                self.guessed("wasted");
                self.wasted_tokens.inc_by(u64::from(*input_tokens) + u64::from(*output_tokens));
            }
            Event::HedgeLost { input_tokens, output_tokens, .. } => {
                self.wasted_tokens.inc_by(u64::from(*input_tokens) + u64::from(*output_tokens));
            }
            Event::Filler { rung, .. } => {
                self.degraded.get_or_create(&[("level", listed(rung, &DEGRADED))]).inc();
            }
            Event::Fallback { .. } => {
                self.degraded.get_or_create(&[("level", "prepared".to_owned())]).inc();
            }
            _ => {}
        }
    }

    fn guessed(&self, result: &str) {
        self.guesses.get_or_create(&[("outcome", result.to_owned())]).inc();
        self.speculation.get_or_create(&[("result", result.to_owned())]).inc();
    }

    fn latency(&self, latency: &TurnLatency) {
        self.gap.observe(seconds_of(latency.total_us));
        self.turns.inc();
        if latency.budget_us > 0 {
            self.dead_air.inc_by(seconds_of(latency.total_us.saturating_sub(latency.budget_us)));
        }
        if let Some(stage) = latency.violated_by {
            self.violations.get_or_create(&[("stage", stage.name().to_owned())]).inc();
        }
        for stage in &latency.stages {
            let labels = [("stage", stage.stage.name().to_owned())];
            self.stages.get_or_create(&labels).observe(seconds_of(stage.us));
            if stage.over_us() > 0 {
                self.over_budget.get_or_create(&labels).inc();
            }
        }
    }

    /// Turns that had a response gap, since the start.
    pub(super) fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// Turns over budget by the stage to blame, since the start.
    pub(super) fn violations(&self) -> Vec<(&'static str, u64)> {
        let count = |stage: Stage| {
            (stage.name(), self.violations.get_or_create(&[("stage", stage.name().to_owned())]).get())
        };
        Stage::ALL.into_iter().map(count).collect()
    }
}

fn turn_seconds() -> HistogramWithExemplars<Labels<1>> {
    HistogramWithExemplars::new(SECONDS.into_iter())
}
