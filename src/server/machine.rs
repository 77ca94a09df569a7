//! What the machine had to give in the last second, as the kernel tells it.
//! Knows two files of procfs, which are read without waiting. Whether it is enough is `call::admission`'s business.

use call::admission::Machine;
use std::{fs, time::Duration};

/// The processors' time so far, in ticks.
#[derive(Debug, Default)]
pub(super) struct Processors {
    busy: u64,
    all: u64,
}

impl Processors {
    /// Since the last time that this was asked; `lag` is how late the latest media thread woke meanwhile.
    pub(super) fn measure(&mut self, lag: Duration) -> Machine {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let (busy, all) = ticks(&stat).unwrap_or((self.busy, self.all));
        let (busy_now, all_now) = (busy.saturating_sub(self.busy), all.saturating_sub(self.all));
        (self.busy, self.all) = (busy, all);
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Machine {
            cpu_percent: if all_now == 0 { 0.0 } else { busy_now as f32 * 100.0 / all_now as f32 },
            lag,
            memory_free_percent: free_percent(&memory).unwrap_or(100.0),
        }
    }
}

/// Busy and all ticks of all processors together: the first line of proc_stat(5), where the fourth figure is idle time and
/// the fifth waiting for a disk.
fn ticks(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let figures: Vec<u64> =
        line.split_whitespace().take(8).filter_map(|figure| figure.parse().ok()).collect();
    let all: u64 = figures.iter().sum();
    let idle = figures.get(3)? + figures.get(4)?;
    Some((all - idle, all))
}

/// What proc_meminfo(5) calls available, of a hundred.
fn free_percent(memory: &str) -> Option<f32> {
    let of = |name: &str| {
        let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<f32>().ok()
    };
    let all = of("MemTotal:").filter(|all| *all > 0.0)?;
    Some(of("MemAvailable:")? * 100.0 / all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_figures_are_read() {
        let stat = "cpu  100 5 45 800 50 0 10 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(ticks(stat), Some((160, 1_010)));
        assert_eq!((ticks(""), ticks("cpu  1 2")), (None, None));
        assert_eq!(free_percent("MemTotal:  4000 kB\nMemFree: 10 kB\nMemAvailable:  1000 kB\n"), Some(25.0));
        assert_eq!(free_percent("MemTotal: 0 kB"), None);
        let now = Processors::default().measure(Duration::ZERO);
        assert!((0.0..=100.0).contains(&now.cpu_percent) && now.memory_free_percent > 0.0);
    }
}
