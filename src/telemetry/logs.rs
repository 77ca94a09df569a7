//! Log lines for people or for machines, written by a thread of their own.
//! A blocked terminal or pipe costs log lines, which are counted; it never costs a call anything.

use super::Metrics;
use crate::{
    config::LogFormat,
    queue::{Receiver, Sender, bounded},
};
use std::{
    io::{self, Write},
    time::Duration,
};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Lines that wait for the output; beyond that they are dropped, and counted.
pub const LOG_QUEUE: usize = 1_000;

/// Sends all log lines of this process to standard error. `filter` is as in `RUST_LOG`, such as `info,tandem=debug`.
///
/// # Errors
/// When the filter makes no sense, a logger is already set, or the system gives no thread.
pub fn init(format: LogFormat, filter: &str, metrics: Metrics) -> Result<LogGuard, LogError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|error| LogError::Filter(filter.to_owned(), error.to_string()))?;
    let lines = Lines::start(io::stderr(), metrics)?;
    let guard = LogGuard(lines.clone());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    let set = match format {
        LogFormat::Pretty => builder.with_target(false).with_ansi(is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    set.map(|()| guard).map_err(|error| LogError::Set(error.to_string()))
}

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operator's.
    #[error("{0:?} is not a log filter ({1}); try info, or info,tandem=debug")]
    Filter(String, String),
    /// Ours.
    #[error("logging cannot be set up: {0}")]
    Set(String),
    /// The system's.
    #[error("logging cannot be set up: {0}")]
    Thread(#[from] io::Error),
}

/// Dropped last, it gives the lines that are still waiting a moment to get out.
pub struct LogGuard(Lines);

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, wait) = bounded(1);
        if self.0.queue.try_send(Line::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_millis(500));
        }
    }
}

fn is_terminal() -> bool {
    use std::io::IsTerminal as _;
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

enum Line {
    Text(Vec<u8>),
    Flush(Sender<()>),
}

/// Takes lines and hands them to the thread that writes them.
#[derive(Clone)]
struct Lines {
    queue: Sender<Line>,
    metrics: Metrics,
}

impl Lines {
    fn start(output: impl Write + Send + 'static, metrics: Metrics) -> io::Result<Self> {
        let (queue, lines) = bounded(LOG_QUEUE);
        std::thread::Builder::new()
            .name("tandem-logs".to_owned())
            .spawn(move || write_all(output, &lines))?;
        Ok(Self { queue, metrics })
    }
}

fn write_all(mut output: impl Write, lines: &Receiver<Line>) {
    for line in lines.iter() {
        match line {
            // Nobody can be told that logging fails.
            Line::Text(text) => drop(output.write_all(&text)),
            Line::Flush(done) => {
                let _ = output.flush();
                let _ = done.try_send(());
            }
        }
    }
}

impl Write for Lines {
    /// The formatter hands over whole lines.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Line::Text(line.to_vec())).is_err() {
            self.metrics.queue_dropped("log", 1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self::Writer {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An output that nobody reads.
    struct Blocked(Receiver<()>);

    impl Write for Blocked {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_output_drops_lines_counts_them_and_blocks_nobody() {
        let (unblock, blocked) = bounded(1);
        let metrics = Metrics::default();
        let mut lines = Lines::start(Blocked(blocked), metrics.clone()).expect("a thread");
        for _ in 0..LOG_QUEUE + 500 {
            lines.write_all(b"a line\n").expect("never fails");
        }
        let text = metrics.encode().expect("a string takes it");
        let dropped = text.lines().find(|line| line.starts_with("tandem_queue_dropped_total{queue=\"log\"}"));
        let dropped: usize = dropped.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect("a count");
        // One line may be in the writer's hands.
        assert!((499..=500).contains(&dropped), "{dropped}");
        drop(unblock);
    }
}
