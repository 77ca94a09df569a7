//! When the next call begins: at a rate, or whenever a caller is free again; growing at first.
//! Knows times since the start. What a call is, is not its business.

use clap::ValueEnum;
use media::tone::Chance;
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// Between the end of a call and the next one of the same caller.
const REST: Duration = Duration::from_millis(500);

/// How calls follow each other at a given rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pattern {
    /// One after the other, evenly.
    Even,
    /// As independent people call: with exponential times between them.
    Poisson,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArrivalPlan {
    /// Calls at the same time, at most.
    pub(crate) callers: usize,
    /// New calls a second; without it every caller calls again when its call is over.
    pub(crate) rate: Option<f64>,
    pub(crate) pattern: Pattern,
    /// The time in which the load grows.
    pub(crate) ramp: Duration,
    /// When no new calls begin any more.
    pub(crate) duration: Duration,
    /// Calls in all, at most.
    pub(crate) total: u64,
}

/// Decides when calls begin.
pub(crate) struct Arrivals {
    plan: ArrivalPlan,
    chance: Chance,
    /// Callers who are free, and when they call.
    free: BinaryHeap<Reverse<Duration>>,
    /// The next arrival at a rate, and its number on the scale of the calls expected by then.
    at_rate: Option<(Duration, f64)>,
    begun: u64,
    up: usize,
    /// Calls that did not begin because all callers were busy.
    pub(crate) held_back: u64,
}

impl Arrivals {
    pub(crate) fn new(plan: ArrivalPlan, seed: u64) -> Self {
        let mut arrivals = Self {
            plan,
            chance: Chance::new(seed),
            free: BinaryHeap::new(),
            at_rate: None,
            begun: 0,
            up: 0,
            held_back: 0,
        };
        match plan.rate {
            Some(_) => arrivals.at_rate = arrivals.following(0.0),
            None => {
                let starts = (0..plan.callers).map(|n| plan.ramp.mul_f64(n as f64 / plan.callers as f64));
                arrivals.free = starts.map(Reverse).collect();
            }
        }
        arrivals
    }

    /// Whether a call begins now. Ask again until none does.
    pub(crate) fn begins(&mut self, now: Duration) -> bool {
        while self.next().is_some_and(|next| next <= now) {
            if let Some((_, number)) = self.at_rate {
                self.at_rate = self.following(number);
                if self.up >= self.plan.callers {
                    self.held_back += 1;
                    continue;
                }
            } else {
                self.free.pop();
            }
            self.begun += 1;
            self.up += 1;
            return true;
        }
        false
    }

    /// A call is over.
    pub(crate) fn ended(&mut self, now: Duration) {
        self.up = self.up.saturating_sub(1);
        if self.plan.rate.is_none() {
            let rest = REST.mul_f32(0.5 + self.chance.unit());
            self.free.push(Reverse(now + rest));
        }
    }

    /// No call begins any more.
    pub(crate) fn stop(&mut self) {
        self.plan.duration = Duration::ZERO;
    }

    /// When the next call may begin; `None` when none does any more, unless one ends first.
    pub(crate) fn next(&self) -> Option<Duration> {
        let free = self.free.peek().map(|Reverse(at)| *at);
        let next = self.at_rate.map(|(at, _)| at).or(free);
        next.filter(|at| *at < self.plan.duration && self.begun < self.plan.total)
    }

    /// The arrival after the one of this number. The rate grows evenly during the ramp.
    fn following(&mut self, number: f64) -> Option<(Duration, f64)> {
        let rate = self.plan.rate?;
        let step = match self.plan.pattern {
            Pattern::Even => 1.0,
            // Never zero: the logarithm is finite.
            Pattern::Poisson => -f64::from(1.0 - self.chance.unit()).max(1e-9).ln(),
        };
        let (number, ramp) = (number + step, self.plan.ramp.as_secs_f64());
        let in_ramp = rate * ramp / 2.0;
        let seconds = if number < in_ramp {
            (2.0 * ramp * number / rate).sqrt()
        } else {
            ramp + (number - in_ramp) / rate
        };
        Some((Duration::from_secs_f64(seconds.min(1e9)), number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: ArrivalPlan = ArrivalPlan {
        callers: 1_000,
        rate: Some(10.0),
        pattern: Pattern::Even,
        ramp: Duration::from_secs(10),
        duration: Duration::from_secs(60),
        total: u64::MAX,
    };

    /// When calls of this length begin, in milliseconds.
    fn begin(plan: ArrivalPlan, length_ms: u64) -> (Vec<u64>, Arrivals) {
        let mut arrivals = Arrivals::new(plan, 1);
        let mut begun: Vec<u64> = Vec::new();
        for ms in 0..plan.duration.as_millis() as u64 + 10_000 {
            let over = begun.iter().filter(|begun| **begun + length_ms == ms).count();
            (0..over).for_each(|_| arrivals.ended(Duration::from_millis(ms)));
            while arrivals.begins(Duration::from_millis(ms)) {
                begun.push(ms);
            }
        }
        (begun, arrivals)
    }

    #[test]
    fn the_rate_grows_in_the_ramp_and_holds_until_the_end() {
        let (begun, _) = begin(PLAN, 1_000);
        let within = |from: u64, to: u64| begun.iter().filter(|ms| (from..to).contains(*ms)).count();
        assert_eq!(
            (within(0, 5_000), within(0, 10_000)),
            (12, 49),
            "a quarter of half the ramp's calls, and all"
        );
        assert_eq!((within(20_000, 30_000), within(60_000, 70_000)), (100, 0));
    }

    #[test]
    fn independent_callers_keep_the_rate_and_not_the_step() {
        let (begun, _) = begin(ArrivalPlan { pattern: Pattern::Poisson, ramp: Duration::ZERO, ..PLAN }, 10);
        assert!((500..700).contains(&begun.len()), "{}", begun.len());
        let steps: Vec<u64> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().any(|ms| *ms < 20) && steps.iter().any(|ms| *ms > 250));
    }

    #[test]
    fn who_would_be_one_too_many_is_held_back_and_counted() {
        let (begun, arrivals) = begin(ArrivalPlan { callers: 5, ramp: Duration::ZERO, ..PLAN }, 1_000);
        assert!(begun.len() as u64 + arrivals.held_back >= 599);
        let most =
            begun.iter().map(|at| begun.iter().filter(|b| (**b..**b + 1_000).contains(at)).count()).max();
        assert_eq!((most, arrivals.held_back > 200), (Some(5), true));
    }

    #[test]
    fn without_a_rate_every_caller_calls_again_until_the_calls_are_used_up() {
        let plan = ArrivalPlan { callers: 4, rate: None, ramp: Duration::from_secs(2), total: 30, ..PLAN };
        let (begun, _) = begin(plan, 3_000);
        assert_eq!(&begun[..4], [0, 500, 1_000, 1_500]);
        assert_eq!(begun.len(), 30);
        assert!(begun[4] >= 3_250 && begun[4] <= 3_750, "after a short rest");
    }
}
