//! Percentiles of what was measured.
//! Knows numbers only.

use std::time::Duration;

/// Measured values, sorted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    /// Durations, in milliseconds.
    pub(crate) fn of_ms(durations: impl IntoIterator<Item = Duration>) -> Self {
        durations.into_iter().map(|duration| duration.as_secs_f64() * 1_000.0).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest value that is not exceeded by `share` (0 to 1) of all; 0 when nothing was measured.
    pub(crate) fn at(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// The largest.
    pub(crate) fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }
}

impl Spread {
    /// The smallest.
    pub(crate) fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The arithmetic mean.
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }
}

impl FromIterator<f64> for Spread {
    fn from_iter<T: IntoIterator<Item = f64>>(values: T) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let spread: Spread = (1..=200).rev().map(f64::from).collect();
        assert_eq!([spread.at(0.5), spread.at(0.99), spread.at(1.0)], [100.0, 198.0, 200.0]);
        assert_eq!((spread.len(), spread.max(), spread.min(), spread.mean()), (200, 200.0, 1.0, 100.5));
        assert_eq!(Spread::default().at(0.5), 0.0);
        assert_eq!(Spread::of_ms([Duration::from_micros(1_500)]).at(0.99), 1.5);
    }
}
