//! How likely it is that a pool fills up soon, from the calls that came and went lately.
//! Knows counts and seconds. It is a warning for people: nobody is refused because of it.

use std::collections::VecDeque;

/// Seconds that are looked back on: long enough for a rate, short enough to see a rush begin.
const WINDOW: usize = 120;
/// The wait that is looked ahead.
pub const HORIZON_SECONDS: u32 = 120;
/// Calls that must have ended before their mean duration says anything; until then it is taken as three minutes, which
/// is what support calls take.
const FEW: u32 = 10;
const USUAL_SECONDS: f64 = 180.0;

/// Calls that came and went in each of the last seconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Forecast {
    /// Came, went, and the sum of those that were up, newest last.
    seconds: VecDeque<(u32, u32, u32)>,
    came: u32,
    went: u32,
}

impl Forecast {
    pub(crate) const fn came(&mut self) {
        self.came = self.came.saturating_add(1);
    }

    pub(crate) const fn went(&mut self) {
        self.went = self.went.saturating_add(1);
    }

    /// A second is over, with so many calls up.
    pub(crate) fn second(&mut self, busy: u32) {
        self.seconds.push_back((std::mem::take(&mut self.came), std::mem::take(&mut self.went), busy));
        if self.seconds.len() > WINDOW {
            self.seconds.pop_front();
        }
    }

    /// The probability, 0 to 1, that `cap` slots are in use [`HORIZON_SECONDS`] from now when `busy` are in use now.
    pub(crate) fn saturation(&self, busy: u32, cap: u32) -> f64 {
        if busy >= cap {
            return 1.0;
        }
        let seconds = self.seconds.len() as f64;
        if seconds == 0.0 {
            return 0.0;
        }
        let came: u32 = self.seconds.iter().map(|second| second.0).sum();
        let went: u32 = self.seconds.iter().map(|second| second.1).sum();
        let up: f64 = self.seconds.iter().map(|second| f64::from(second.2)).sum();
        // Calls end at a rate for each that is up: so many went out of so many seconds of calls.
        let leaving = if went < FEW || up == 0.0 { 1.0 / USUAL_SECONDS } else { f64::from(went) / up };
        full_by(f64::from(busy), f64::from(cap), f64::from(came) / seconds, leaving)
    }
}

/// Of the calls that are up some have left by then (a binomial number), and of those that come some are still there (a
/// Poisson number): their sum is nearly normal.
fn full_by(busy: f64, cap: f64, arriving: f64, leaving: f64) -> f64 {
    let stays = (-leaving * f64::from(HORIZON_SECONDS)).exp();
    let new = arriving * (1.0 - stays) / leaving;
    let mean = busy * stays + new;
    let deviation = (busy * stays * (1.0 - stays) + new).sqrt();
    if deviation == 0.0 {
        return if mean >= cap { 1.0 } else { 0.0 };
    }
    // Half a call: whole numbers are counted, not a line.
    upper_tail((cap - 0.5 - mean) / deviation)
}

/// The share of a normal distribution beyond `z`, to within 1e-7 (Abramowitz and Stegun 26.2.17).
fn upper_tail(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    let tail = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt() * sum;
    if z < 0.0 { 1.0 - tail } else { tail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_tail_is_as_the_tables_have_it() {
        for (z, expected) in [(0.0, 0.5), (1.0, 0.158_655_3), (1.96, 0.024_997_9), (-1.0, 0.841_344_7)] {
            assert!((upper_tail(z) - expected).abs() < 1e-6, "{z}: {}", upper_tail(z));
        }
    }

    /// So many calls come and go each second for two minutes.
    fn after(came: u32, went: u32, busy: u32) -> Forecast {
        let mut forecast = Forecast::default();
        for _ in 0..WINDOW {
            (0..came).for_each(|_| forecast.came());
            (0..went).for_each(|_| forecast.went());
            forecast.second(busy);
        }
        forecast
    }

    #[test]
    fn a_steady_pool_with_room_does_not_fill_and_a_rush_does() {
        // One comes and one goes each second of 180 that are up: 250 slots are far away.
        assert!(after(1, 1, 180).saturation(180, 250) < 0.001);
        // Four come for each that goes: in two minutes 180 become over 400.
        assert!(after(4, 1, 180).saturation(180, 250) > 0.99);
        // As many as there are room for: a toss.
        let even = after(1, 1, 249).saturation(249, 250);
        assert!((0.3..0.7).contains(&even), "{even}");
    }

    #[test]
    fn nobody_is_alarmed_by_a_server_that_has_just_started_or_has_no_calls() {
        assert_eq!(Forecast::default().saturation(0, 10), 0.0);
        assert_eq!(after(0, 0, 0).saturation(0, 10), 0.0);
        assert_eq!(Forecast::default().saturation(10, 10), 1.0);
    }
}
