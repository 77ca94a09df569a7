//! The figures of a period, from its call records and the response gaps of its turns.
//! Knows what each figure means (each says it); shows nothing.

use super::concurrency::{Concurrency, concurrency};
use crate::store::{CRASHED, CallRecord};
use call::{cdr::Cause, port_slots::LoadBand};
use serde::Serialize;
use std::collections::BTreeMap;

/// A caller who was answered and is gone within this time has given up.
const ABANDONED_US: i64 = 10_000_000;
/// Fewer turns than this make no percentile that is worth showing.
pub(super) const FEW: usize = 30;

/// The response gap of one turn, and how full the server was when its call began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Microseconds from the caller's last word to the agent's first.
    pub us: u64,
    /// Ports in use when the call began.
    pub concurrency: u32,
    /// Ports there were.
    pub capacity: u32,
}

/// Response gaps of the turns of one band.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BandLatency {
    /// Which.
    pub band: LoadBand,
    /// How many turns.
    pub turns: usize,
    /// The median in milliseconds; absent for too few turns, as are the others.
    pub p50_ms: Option<f64>,
    /// The 95th percentile.
    pub p95_ms: Option<f64>,
    /// The 99th percentile.
    pub p99_ms: Option<f64>,
}

/// What calls have cost, in one currency.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Money {
    /// The currency.
    pub currency: String,
    /// What was spent on calls whose prices are all known.
    pub calls: f64,
    /// Of that, by part: speech-to-text, language model, text-to-speech, telephony.
    pub parts: BTreeMap<&'static str, f64>,
    /// Calls with a part whose price is not known: their other parts are in `parts`, none of them in `calls`.
    pub calls_unknown: usize,
    /// Of one call whose prices are known, on average.
    pub per_call: Option<f64>,
    /// What the ports cost for this period, used or not, where their price is known.
    pub reserved: Option<f64>,
    /// Of that, what was paid for ports that nobody used.
    pub idle: Option<f64>,
    /// Everything for one port that is in use on average, for 30 days.
    pub per_concurrent_port_month: Option<f64>,
}

/// What a period's calls amount to. Counts are calls unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// When the period begins, in microseconds since the Unix epoch.
    pub since_us: i64,
    /// When it is over.
    pub until_us: i64,
    /// Calls that arrived, refused ones too.
    pub offered: usize,
    /// Calls that were answered.
    pub answered: usize,
    /// Calls that are running.
    pub running: usize,
    /// Refused because no port was free, a limit was reached, or a provider or the machine had no room.
    pub blocked: usize,
    /// Not answered for any other reason than that the caller gave up.
    pub failed: usize,
    /// Callers who gave up: before the answer, or within ten seconds of it.
    pub abandoned: usize,
    /// Answered calls that the caller or the agent ended or that were passed on, and that were not abandoned.
    pub completed: usize,
    /// Answered calls that ended for a fault, a timeout or a stop of ours.
    pub dropped: usize,
    /// Answered of offered (ASR), 0 to 1.
    pub answer_rate: Option<f64>,
    /// Abandoned of offered, 0 to 1.
    pub abandonment_rate: Option<f64>,
    /// Completed of answered and over, 0 to 1.
    pub completion_rate: Option<f64>,
    /// Mean time from answer to end of answered calls (AHT), in seconds.
    pub handle_seconds: Option<f64>,
    /// Answered minutes.
    pub minutes: f64,
    /// Port slots there were, the most if that changed.
    pub capacity: Option<u32>,
    /// Mean ports in use of those there were, 0 to 1.
    pub utilisation: Option<f64>,
    /// Ports in use.
    pub concurrency: Concurrency,
    /// Response gaps by how full the server was when the call began.
    pub latency: Vec<BandLatency>,
    /// Turns of the agents.
    pub turns: u64,
    /// Turns that a prepared sentence had to save, of all turns, 0 to 1.
    pub fallback_rate: Option<f64>,
    /// Calls with such a turn, of answered calls, 0 to 1.
    pub calls_with_fallback: Option<f64>,
    /// Callers who took the floor from the agent, for each turn.
    pub interruptions_per_turn: Option<f64>,
    /// Tools that ended.
    pub tools: u64,
    /// Of those, without a result.
    pub tools_failed: u64,
    /// Why calls ended.
    pub causes: BTreeMap<String, usize>,
    /// Calls that arrived in each hour of the day, in the time zone of the report.
    pub hours: Vec<usize>,
    /// What it has cost, where prices are known.
    pub money: Vec<Money>,
}

/// What figures are made of.
pub struct Material<'a> {
    /// When the period begins, in microseconds since the Unix epoch.
    pub since_us: i64,
    /// When it is over.
    pub until_us: i64,
    /// Calls that began in it.
    pub calls: &'a [CallRecord],
    /// Calls that may have held a port in it, those that began before as well, whatever else `calls` is restricted to.
    pub holding: &'a [CallRecord],
    /// Gaps of the period's turns.
    pub gaps: &'a [Gap],
    /// Price of a port for 30 days, with its currency.
    pub port_month: Option<(f64, String)>,
    /// The hour of the day of a moment, 0 to 23.
    pub hour_of: &'a dyn Fn(i64) -> usize,
}

impl Figures {
    /// Counts.
    pub fn of(material: &Material<'_>) -> Self {
        let Material { since_us, until_us, calls, .. } = *material;
        let mut figures = Self { since_us, until_us, hours: vec![0; 24], ..Self::default() };
        let mut handled_us = 0;
        let (mut fallbacks, mut with_fallback, mut interruptions, mut over) =
            (0_u64, 0_usize, 0_u64, 0_usize);
        for call in calls {
            figures.offered += 1;
            if let Some(hour) = figures.hours.get_mut((material.hour_of)(call.invite_us)) {
                *hour += 1;
            }
            let cause = call.end_cause.as_deref();
            *figures.causes.entry(cause.unwrap_or("running").to_owned()).or_default() += 1;
            figures.count(call, cause);
            figures.turns += u64::from(call.turns);
            fallbacks += u64::from(call.fallbacks);
            interruptions += u64::from(call.barge_ins);
            figures.tools += u64::from(call.tools);
            figures.tools_failed += u64::from(call.tools_failed);
            if let Some(answer) = call.answer_us {
                with_fallback += usize::from(call.fallbacks > 0);
                if let Some(end) = call.end_us {
                    over += 1;
                    handled_us += (end - answer).max(0);
                }
            }
        }
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let (offered, answered) = (figures.offered as f64, figures.answered as f64);
        figures.minutes = handled_us as f64 / 60e6;
        figures.answer_rate = share(answered, offered);
        figures.abandonment_rate = share(figures.abandoned as f64, offered);
        figures.completion_rate = share(figures.completed as f64, over as f64);
        figures.handle_seconds = share(handled_us as f64 / 1e6, over as f64);
        figures.fallback_rate = share(fallbacks as f64, figures.turns as f64);
        figures.calls_with_fallback = share(with_fallback as f64, answered);
        figures.interruptions_per_turn = share(interruptions as f64, figures.turns as f64);
        figures.capacity = material.holding.iter().filter_map(|call| call.capacity).max();
        figures.concurrency = concurrency(&ports(material), since_us, until_us);
        figures.utilisation =
            figures.capacity.and_then(|cap| share(figures.concurrency.mean, f64::from(cap)));
        figures.latency = latency(material.gaps);
        figures.money = money(material, &figures);
        figures
    }

    fn count(&mut self, call: &CallRecord, cause: Option<&str>) {
        let of = |causes: &[Cause]| cause.is_some_and(|cause| causes.iter().any(|one| one.name() == cause));
        let Some(end) = call.end_us else {
            self.running += 1;
            self.answered += usize::from(call.answer_us.is_some());
            return;
        };
        let Some(answer) = call.answer_us else {
            match () {
                () if of(&[Cause::CallerCancelled]) => self.abandoned += 1,
                () if of(&[Cause::PortsFull, Cause::StageFull, Cause::MachineBusy]) => self.blocked += 1,
                () => self.failed += 1,
            }
            return;
        };
        self.answered += 1;
        let by_them = of(&[Cause::CallerHungUp, Cause::AgentEnded, Cause::Transferred, Cause::NoInput])
            && cause != Some(CRASHED);
        if of(&[Cause::CallerHungUp]) && end - answer < ABANDONED_US {
            self.abandoned += 1;
        } else if by_them {
            self.completed += 1;
        } else {
            self.dropped += 1;
        }
    }
}

/// The seconds of 30 days.
const MONTH_SECONDS: f64 = 30.0 * 86_400.0;

/// What calls and ports cost, by currency.
fn money(material: &Material<'_>, figures: &Figures) -> Vec<Money> {
    let mut by_currency: BTreeMap<&str, Money> = BTreeMap::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for call in material.calls {
        let Some(currency) = call.cost_currency.as_deref() else { continue };
        let money = by_currency.entry(currency).or_default();
        let parts = [
            ("stt", call.cost_stt),
            ("llm", call.cost_llm),
            ("tts", call.cost_tts),
            ("telephony", call.cost_telephony),
        ];
        for (part, cost) in parts {
            *money.parts.entry(part).or_default() += cost.unwrap_or(0.0);
        }
        match call.cost_total {
            Some(total) => {
                money.calls += total;
                *known.entry(currency).or_default() += 1;
            }
            None => money.calls_unknown += 1,
        }
    }
    if let Some((_, currency)) = &material.port_month {
        by_currency.entry(currency).or_default();
    }
    let finish = |(currency, mut money): (&str, Money)| {
        currency.clone_into(&mut money.currency);
        let calls = known.get(currency).copied().unwrap_or(0);
        money.per_call = (calls > 0).then(|| money.calls / calls as f64);
        let port = material.port_month.as_ref().filter(|(_, of)| of == currency);
        if let (Some((price, _)), Some(cap)) = (port, figures.capacity) {
            let months = (material.until_us - material.since_us) as f64 / 1e6 / MONTH_SECONDS;
            let reserved = price * f64::from(cap) * months;
            let busy = figures.concurrency.mean;
            money.reserved = Some(reserved);
            money.idle = Some(reserved * (1.0 - busy / f64::from(cap)).max(0.0));
            // Everything, for one port that is in use on average, as if the period went on for a month.
            let all = reserved + money.calls;
            money.per_concurrent_port_month = (busy > 0.0 && months > 0.0).then(|| all / busy / months);
        }
        money
    };
    by_currency.into_iter().map(finish).collect()
}

/// When each call held a port.
fn ports(material: &Material<'_>) -> Vec<(i64, i64)> {
    let held = |call: &&CallRecord| call.port_slot.is_some();
    material
        .holding
        .iter()
        .filter(held)
        .map(|call| (call.invite_us, call.end_us.unwrap_or(material.until_us)))
        .collect()
}

fn latency(gaps: &[Gap]) -> Vec<BandLatency> {
    LoadBand::ALL
        .into_iter()
        .map(|band| {
            let mut of_band: Vec<u64> = gaps
                .iter()
                .filter(|gap| LoadBand::of(gap.concurrency, gap.capacity) == band)
                .map(|gap| gap.us)
                .collect();
            of_band.sort_unstable();
            let share = |percent: usize| {
                // The smallest gap that at least so many of 100 turns stayed within.
                let place = (of_band.len() * percent).div_ceil(100).checked_sub(1)?;
                (of_band.len() >= FEW).then(|| of_band.get(place).map(|us| *us as f64 / 1e3))?
            };
            BandLatency {
                band,
                turns: of_band.len(),
                p50_ms: share(50),
                p95_ms: share(95),
                p99_ms: share(99),
            }
        })
        .collect()
}
