//! How a load goes, second by second: a line for whoever looks on, and what the server uses.
//! Knows counters and /proc. What it means is for the report.

use super::callers::Tally;
use crate::machine::Usage;
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fs,
    io::{IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

/// One second of a load.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Second {
    /// Since the beginning.
    pub(crate) at_s: f64,
    /// Calls that are up.
    pub(crate) up: u64,
    pub(crate) placed: u64,
    pub(crate) failed: u64,
    /// Packets that came in this second.
    pub(crate) packets: u64,
    /// Of one core.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) rss_mb: Option<f64>,
}

/// Looks at the counters once a second.
pub(crate) struct Watch {
    start: Instant,
    server: Option<u32>,
    before: Option<(Instant, Usage)>,
    packets: u64,
    width: usize,
    pub(crate) series: Vec<Second>,
}

impl Watch {
    /// `server`: the process to look at.
    pub(crate) fn new(start: Instant, server: Option<u32>) -> Self {
        let before = server.and_then(|pid| Some((Instant::now(), Usage::of(pid).ok()?)));
        Self { start, server, before, packets: 0, width: 0, series: Vec::new() }
    }

    /// When the next second is over.
    pub(crate) fn next(&self) -> Instant {
        self.start + Duration::from_secs(self.series.len() as u64 + 1)
    }

    /// A second is over.
    pub(crate) fn tick(&mut self, tally: &Tally, worst_gap: &str) {
        let (answered, over) = (Tally::read(&tally.answered), Tally::read(&tally.over));
        let packets = Tally::read(&tally.packets);
        let (cpu_percent, rss_mb) = self.usage().unzip();
        let second = Second {
            at_s: self.start.elapsed().as_secs_f64(),
            up: answered.saturating_sub(over),
            placed: Tally::read(&tally.placed),
            failed: Tally::read(&tally.failed),
            packets: packets - std::mem::replace(&mut self.packets, packets),
            cpu_percent,
            rss_mb,
        };
        self.series.push(second);
        self.show(&second, worst_gap);
    }

    fn usage(&mut self) -> Option<(f64, f64)> {
        let usage = Usage::of(self.server?).ok()?;
        let (at, before) = self.before.replace((Instant::now(), usage))?;
        let cpu = usage.cpu.saturating_sub(before.cpu).as_secs_f64() / at.elapsed().as_secs_f64().max(1e-3);
        Some((cpu * 100.0, usage.resident as f64 / 1e6))
    }

    /// On a terminal one line that changes; elsewhere a line now and then.
    fn show(&mut self, second: &Second, worst_gap: &str) {
        let Second { at_s, up, placed, failed, packets, cpu_percent, rss_mb } = second;
        let server = cpu_percent.zip(*rss_mb);
        let server =
            server.map_or(String::new(), |(cpu, rss)| format!("  server {cpu:.0} % cpu, {rss:.0} MB"));
        let line = format!(
            "{at_s:5.0} s  {up} up, {placed} placed, {failed} failed  {packets} packets/s{worst_gap}{server}"
        );
        if std::io::stderr().is_terminal() {
            let width = self.width.max(line.len());
            self.width = line.len();
            let mut out = std::io::stderr().lock();
            let _nobody_may_look = write!(out, "\r{line:width$}").and_then(|()| out.flush());
        } else if self.series.len() % 5 == 1 {
            eprintln!("{line}");
        }
    }

    /// Leaves the line.
    pub(crate) fn end(&self) {
        if std::io::stderr().is_terminal() {
            eprintln!();
        }
    }
}

/// The process of this machine that listens on a UDP or TCP port: `None` if there is none that we may look at.
pub(crate) fn process_on(port: u16) -> Option<u32> {
    let tables = ["udp", "udp6", "tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/net/{name}")));
    let wanted: BTreeSet<String> = tables
        .iter()
        .flatten()
        .flat_map(|table| table.lines().skip(1).filter_map(|line| inode(line, port)))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let own = std::process::id();
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != own).find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files
            .filter_map(|file| fs::read_link(file.path()).ok())
            .any(|link| wanted.contains(&*link.to_string_lossy()))
    })
}

/// The inode of a line of /proc/net/udp or tcp, if its socket is bound to the port and not connected.
fn inode(line: &str, port: u16) -> Option<&str> {
    let mut columns = line.split_whitespace().skip(1);
    let (_, bound) = columns.next()?.rsplit_once(':')?;
    let (_, remote) = columns.next()?.rsplit_once(':')?;
    let listens = u16::from_str_radix(bound, 16) == Ok(port) && remote == "0000";
    // After the addresses: state, queues, timer, retransmits, user, timeout.
    columns.nth(6).filter(|_| listens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_by_its_port() {
        let line = "  462: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 3021 2 0 0";
        assert_eq!((inode(line, 5060), inode(line, 5061)), (Some("3021"), None));
        let connected = line.replace("00000000:0000", "0100007F:1F90");
        assert_eq!(inode(&connected, 5060), None);
        assert_eq!(inode("sl local_address rem_address", 5060), None);
    }

    #[test]
    fn a_second_counts_what_came_in_it() {
        let tally = Tally::default();
        let mut watch = Watch::new(Instant::now(), Some(std::process::id()));
        let add = |count: &std::sync::atomic::AtomicU64, n| {
            count.fetch_add(n, std::sync::atomic::Ordering::Relaxed)
        };
        add(&tally.answered, 3);
        add(&tally.over, 1);
        add(&tally.packets, 100);
        watch.tick(&tally, "");
        add(&tally.packets, 50);
        watch.tick(&tally, "");
        assert_eq!(watch.series.iter().map(|s| (s.up, s.packets)).collect::<Vec<_>>(), [(2, 100), (2, 50)]);
        assert!(watch.series[1].rss_mb.is_some_and(|rss| rss > 1.0));
    }
}
