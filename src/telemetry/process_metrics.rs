//! What the system knows of this process: processor time, memory, open files; and what its runtime has to do.
//! Knows `/proc` and tokio. Knows nothing of calls.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};
use std::fmt;

/// What the system knows of this process, under the names that every Prometheus client uses, and the tasks of the runtime
/// that asks.
#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let cpu = ConstCounter::new(seconds);
            let help = "User and system CPU time spent";
            let unit = Some(&Unit::Seconds);
            cpu.encode(encoder.encode_descriptor("process_cpu", help, unit, cpu.metric_type())?)?;
        }
        if let Some(bytes) = resident_bytes() {
            let rss = ConstGauge::new(bytes);
            let help = "Resident memory size";
            let unit = Some(&Unit::Bytes);
            rss.encode(encoder.encode_descriptor(
                "process_resident_memory",
                help,
                unit,
                rss.metric_type(),
            )?)?;
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            let fds = ConstGauge::new(i64::try_from(entries.count()).unwrap_or(i64::MAX));
            let help = "Open file descriptors";
            fds.encode(encoder.encode_descriptor("process_open_fds", help, None, fds.metric_type())?)?;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let tasks =
                ConstGauge::new(i64::try_from(runtime.metrics().num_alive_tasks()).unwrap_or(i64::MAX));
            let help = "Tasks of the asynchronous runtime that have not ended";
            tasks.encode(encoder.encode_descriptor(
                "tandem_runtime_tasks",
                help,
                None,
                tasks.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

fn cpu_seconds() -> Option<f64> {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let whole = u32::try_from(usage.tv_sec).ok()?;
    let nanos = u32::try_from(usage.tv_nsec).ok()?;
    Some(f64::from(whole) + f64::from(nanos) / 1e9)
}

/// `VmRSS` is in kibibytes (proc_pid_status(5)).
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok()?.checked_mul(1_024)
}
