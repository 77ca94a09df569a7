//! The AI gateway as figures: whom it asked, what came of it, who took over, and what it costs in time.
//! Knows names of targets and routes from the config. Never a word of a request or of a reply.

use super::metrics::{Counters, Histograms, Known, LABEL_VALUES, OTHER, add, in_seconds, seconds};
use ai_gateway::FailureClass;
use prometheus_client::{
    metrics::{family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use std::time::Duration;

/// Seconds that the gateway itself may take: it is in the path of every reply.
const OVERHEAD_SECONDS: [f64; 10] =
    [0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01];
const ROLES: [&str; 4] = ["primary", "fallback", "hedge", "retry"];
/// What became of the wish to ask a second target.
const HEDGES: [&str; 3] = ["won", "lost", "suppressed"];
const OUTCOMES: [&str; 3] = ["won", "failed", "cancelled"];

pub(super) struct GatewayFigures {
    attempts: Counters<4>,
    fallbacks: Counters<4>,
    first_speakable: Histograms,
    overhead: Histogram,
    hedges: Counters<1>,
    passed_over: Family<[(&'static str, String); 1], Gauge>,
    targets: Known,
    routes: Known,
}

impl GatewayFigures {
    pub(super) fn register(of: &mut Registry, targets: &[String]) -> Self {
        let first_speakable: Histograms = Family::new_with_constructor(in_seconds);
        let figures = Self {
            attempts: add(of, "gw_attempts", "Requests to targets, by what came of them", Family::default()),
            fallbacks: add(of, "gw_fallback", "Targets that another one took over from", Family::default()),
            first_speakable: seconds(
                of,
                "gw_first_speakable",
                "From asking a target to something that can be spoken",
                first_speakable,
            ),
            overhead: seconds(
                of,
                "gw_overhead",
                "From a target's first word to its way to the call",
                Histogram::new(OVERHEAD_SECONDS),
            ),
            hedges: add(
                of,
                "gw_hedge",
                "Second targets asked beside a late one: whether they answered, or could not be afforded",
                Family::default(),
            ),
            passed_over: add(
                of,
                "gw_passed_over",
                "1 while a target is over its budget and another one is asked first",
                Family::default(),
            ),
            targets: Known::new(targets),
            routes: Known::new(&[OTHER]),
        };
        for target in figures.targets.values().take(LABEL_VALUES) {
            for (role, outcome) in ROLES.iter().flat_map(|role| OUTCOMES.map(|outcome| (*role, outcome))) {
                drop(figures.attempts.get_or_create(&labels("llm", &target, role, outcome)));
            }
            drop(figures.first_speakable.get_or_create(&[("target", target.clone())]));
            drop(figures.passed_over.get_or_create(&[("target", target)]));
        }
        HEDGES
            .iter()
            .for_each(|result| drop(figures.hedges.get_or_create(&[("result", (*result).to_owned())])));
        figures
    }

    /// A try is over or has won; `after` is from asking to the first thing that can be spoken, if there was one.
    pub(super) fn attempt(&self, target: &str, role: &str, outcome: &str, after: Option<Duration>) {
        let target = self.targets.or_other(target);
        self.attempts.get_or_create(&labels("llm", &target, role, outcome)).inc();
        if let Some(after) = after {
            self.first_speakable.get_or_create(&[("target", target)]).observe(after.as_secs_f64());
        }
    }

    /// `to` is asked because `from` gave up, for that class of reason.
    pub(super) fn fallback(&self, route: &str, (from, to): (&str, &str), reason: &str) {
        let known = FailureClass::ALL.iter().any(|class| class.name() == reason);
        let reason = if known { reason } else { OTHER };
        let labels = [
            ("route", self.routes.learn(route)),
            ("from", self.targets.or_other(from)),
            ("to", self.targets.or_other(to)),
            ("reason", reason.to_owned()),
        ];
        self.fallbacks.get_or_create(&labels).inc();
    }

    /// What became of the wish to ask a second target.
    pub(super) fn hedge(&self, result: &'static str) {
        self.hedges.get_or_create(&[("result", result.to_owned())]).inc();
    }

    /// Whether a target is passed over from now on.
    pub(super) fn passed_over(&self, target: &str, is: bool) {
        self.passed_over.get_or_create(&[("target", self.targets.or_other(target))]).set(i64::from(is));
    }

    pub(super) fn overhead(&self, took: Duration) {
        self.overhead.observe(took.as_secs_f64());
    }
}

fn labels(stage: &str, target: &str, role: &str, outcome: &str) -> [(&'static str, String); 4] {
    [
        ("stage", stage.to_owned()),
        ("target", target.to_owned()),
        ("role", role.to_owned()),
        ("outcome", outcome.to_owned()),
    ]
}
