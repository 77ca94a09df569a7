//! What the machine allows, compared with what the config asks for: ports, open files, the data directory.
//! Looks and never changes anything.

use super::{Config, PortRange, problem::Problem};
use rustix::{
    fs::{Access, access},
    process::{Resource, getrlimit},
};
use std::path::Path;

/// Files that are open whatever happens: listeners, database, logs, runtimes.
const FILES_ALWAYS: u64 = 64;
/// Files of one call: RTP, RTCP, and a connection to each of three providers.
const FILES_PER_CALL: u64 = 5;

/// Ports and open files.
pub fn limits(config: &Config) -> Vec<Problem> {
    let ports = ephemeral_ports().and_then(|range| overlap(config.rtp.ports, range, &reserved_ports()));
    let files = open_files(config.server.ports, getrlimit(Resource::Nofile).current);
    ports.into_iter().chain(files).collect()
}

/// Why the data directory cannot be used, if so.
pub fn data_dir(config: &Config) -> Option<Problem> {
    writable(&config.server.data_dir)
}

/// The range that the kernel takes outgoing ports from; it may take one of ours in the middle of the day.
fn ephemeral_ports() -> Option<PortRange> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_whitespace().map(str::parse);
    Some(PortRange { first: bounds.next()?.ok()?, last: bounds.next()?.ok()? })
}

/// The ports of that range that an administrator has taken out of it.
fn reserved_ports() -> Vec<PortRange> {
    ranges(&std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default())
}

/// Ports and ranges as the kernel writes them: `8080,20000-29999`.
fn ranges(text: &str) -> Vec<PortRange> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(PortRange { first: first.trim().parse().ok()?, last: last.trim().parse().ok()? })
    };
    text.split(',').filter_map(range).collect()
}

fn overlap(ours: PortRange, kernel: PortRange, reserved: &[PortRange]) -> Option<Problem> {
    let is_taken = |port: u16| {
        let within = |range: &PortRange| (range.first..=range.last).contains(&port);
        within(&kernel) && !reserved.iter().any(within)
    };
    let problem = || {
        let message = format!(
            "rtp.ports {ours} overlaps the kernel's own ports {kernel}, so a port may be taken when a call needs it"
        );
        let help = format!(
            "choose a range below {}, or: sysctl net.ipv4.ip_local_reserved_ports={ours}",
            kernel.first
        );
        Problem::warning("", message, help)
    };
    (ours.first..=ours.last).any(is_taken).then(problem)
}

fn open_files(ports: u16, limit: Option<u64>) -> Option<Problem> {
    let (limit, calls) = (limit?, u64::from(ports));
    let (needed, wanted) = (FILES_ALWAYS + 2 * calls, FILES_ALWAYS + FILES_PER_CALL * calls);
    let help = format!("ulimit -n {wanted} (LimitNOFILE in systemd), or a lower server.ports");
    let message = format!("{ports} calls need up to {wanted} open files, and {limit} are allowed");
    if limit < needed {
        Some(Problem::error("", message, help))
    } else if limit < wanted {
        Some(Problem::warning("", message, help))
    } else {
        None
    }
}

fn writable(path: &Path) -> Option<Problem> {
    let place = || path.display();
    if path.exists() && !path.is_dir() {
        let message = format!("the data directory {} is not a directory", place());
        return Some(Problem::error("", message, "name another with server.data_dir or --data-dir"));
    }
    let existing = path.ancestors().find(|part| part.exists()).unwrap_or(Path::new("."));
    access(existing, Access::WRITE_OK | Access::EXEC_OK).err().map(|reason| {
        let message = format!("the data directory {} cannot be written: {reason}", place());
        Problem::error(
            "",
            message,
            "give it to this user, or name another with server.data_dir or --data-dir",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlap_with_the_kernels_ports_is_told_with_the_way_out() {
        let range = |first, last| PortRange { first, last };
        let overlap = |ours, reserved: &str| overlap(ours, range(32768, 60999), &ranges(reserved));
        assert_eq!(overlap(range(20000, 29999), ""), None);
        let problem = overlap(range(30000, 40000), "\n").expect("they overlap");
        assert!(
            !problem.is_error() && problem.help.contains("ip_local_reserved_ports=30000-40000"),
            "{problem}"
        );
        // Who has done as we said is not told again.
        assert_eq!(overlap(range(30000, 40000), "8080,30000-40000\n"), None);
        assert_eq!(overlap(range(30000, 40000), "8080,32768-39999,40000\n"), None);
        assert!(overlap(range(30000, 40000), "8080,32768-39999\n").is_some());
    }

    #[test]
    fn a_cap_beyond_the_open_files_is_an_error_and_a_tight_one_a_warning() {
        let severity = |ports, limit| open_files(ports, Some(limit)).map(|problem| problem.is_error());
        assert_eq!(severity(50, 1024), None);
        assert_eq!(severity(200, 1024), Some(false));
        assert_eq!(severity(1000, 1024), Some(true));
    }

    #[test]
    fn a_data_directory_that_is_a_file_is_an_error() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(writable(Path::new(file)).is_some_and(|problem| problem.is_error()));
        assert_eq!(writable(&std::env::temp_dir().join("not/there/yet")), None);
    }
}
