//! What this machine is, and what its processes use.
//! Knows /proc. The counters there are the scheduler's own, in ticks of 10 ms.

use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{SysconfVar, sysconf},
};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
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
    /// How many threads it has.
    pub(crate) threads: u64,
}

impl Usage {
    /// Of the process of this number.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let number = |name| status.lines().find_map(|line| line.strip_prefix(name)).map_or(0.0, first_number);
        Ok(Self {
            cpu: tick() * cpu_ticks(&stat) as u32,
            resident: number("VmRSS:") as u64 * 1024,
            threads: number("Threads:") as u64,
        })
    }
}

/// Descriptors that a process has open.
pub(crate) fn descriptors(pid: u32) -> io::Result<u64> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64)
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
        let of_it = |line: &&str| line.split_whitespace().next() == Some("cpu");
        let line = stat.lines().find(of_it).unwrap_or_default();
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

/// One core for the server, the others for everybody else.
pub(crate) struct Places {
    pub(crate) server: CpuSet,
    pub(crate) others: CpuSet,
}

impl Places {
    /// Of the cores that this process may use.
    pub(crate) fn split() -> Result<Self, String> {
        let all = sched_getaffinity(None).map_err(|error| format!("affinity: {error}"))?;
        let mut cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| all.is_set(*core)).collect();
        let last = cores.pop().ok_or("no core")?;
        if cores.is_empty() {
            return Err("two cores are needed: one for the server, one for the callers".to_owned());
        }
        let set = |cores: &[usize]| {
            let mut set = CpuSet::new();
            cores.iter().for_each(|core| set.set(*core));
            set
        };
        Ok(Self { server: set(&[last]), others: set(&cores) })
    }

    /// Starts something that inherits the server's core; afterwards this thread is on the others.
    pub(crate) fn on_the_servers<T>(&self, start: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
        let pin = |set| sched_setaffinity(None, set).map_err(|error| format!("affinity: {error}"));
        pin(&self.server)?;
        let started = start();
        pin(&self.others)?;
        started
    }
}

/// Gives all threads that a process has another place.
pub(crate) fn move_all_threads(pid: u32, to: &CpuSet) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("/proc/{pid}/task: {error}");
    for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| failed(&error))?.flatten() {
        let thread = task.file_name().to_string_lossy().parse().ok().and_then(rustix::thread::Pid::from_raw);
        sched_setaffinity(thread, to).map_err(|error| failed(&error))?;
    }
    Ok(())
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
        let before = Cores::parse("cpu0 1 2 3\ncpu  100 0 100 700 100 0 0 0 5 5");
        let after = Cores::parse("cpu  150 0 150 770 130 0 0 0 5 5\ncpu0 1 2 3");
        assert!((after.busy_since(before) - 0.5).abs() < 1e-9);
    }
}
