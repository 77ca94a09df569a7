//! What this machine is, and what its processes use.
//! Knows /proc. The counters there are the scheduler's own, in ticks of 10 ms.

use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{SysconfVar, sysconf},
};
use std::{fs, io, time::Duration};

/// What figures depend on.
pub(crate) struct Facts {
    pub(crate) cores: usize,
    pub(crate) cpu: String,
    pub(crate) kernel: String,
    /// Processes that wanted to run in the last minute, before anything was measured.
    pub(crate) load: f64,
}

impl Facts {
    pub(crate) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: model.map_or_else(|| "unknown".to_owned(), |(_, model)| model.to_owned()),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: first_number(&text("/proc/loadavg")),
        }
    }
}

fn first_number(text: &str) -> f64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// What a process has used up to now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu: Duration,
    /// Memory it holds, in bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// Of the process of this number.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).map_or(0.0, first_number);
        Ok(Self { cpu: tick() * cpu_ticks(&stat) as u32, resident: kilobytes as u64 * 1024 })
    }
}

/// `utime` and `stime` of a line of /proc/PID/stat; the name before them may hold anything, even brackets.
fn cpu_ticks(stat: &str) -> u64 {
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn tick() -> Duration {
    let hz = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Duration::from_secs(1) / u32::try_from(hz).unwrap_or(100).max(1)
}

/// What all cores did since the machine's start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cores {
    total: u64,
    idle: u64,
}

impl Cores {
    pub(crate) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|t| t.parse().ok()).collect();
        Self { total: ticks.iter().sum(), idle: ticks.iter().skip(3).take(2).sum() }
    }

    /// The share of all cores' time that was used between two readings, by anybody.
    pub(crate) fn busy_since(self, before: Self) -> f64 {
        let total = self.total.saturating_sub(before.total).max(1);
        1.0 - self.idle.saturating_sub(before.idle) as f64 / total as f64
    }
}

/// Some hundreds of calls need more files than the usual soft limit; children inherit it.
pub(crate) fn raise_file_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _a_lower_limit_shows_when_it_is_reached = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_time_of_a_process_is_found_behind_any_name() {
        let stat = "42 (a) b) (c) S 1 42 42 0 -1 4194304 900 0 0 0 130 27 0 0 20 0 9 0 100 1000 500";
        assert_eq!(cpu_ticks(stat), 157);
        assert_eq!(cpu_ticks(""), 0);
    }

    #[test]
    fn waiting_for_a_disk_is_not_being_busy() {
        let before = Cores::parse("cpu  100 0 100 700 100 0 0 0 5 5\ncpu0 1 2 3");
        let after = Cores::parse("cpu  150 0 150 770 130 0 0 0 5 5\ncpu0 1 2 3");
        assert!((after.busy_since(before) - 0.5).abs() < 1e-9);
    }
}
