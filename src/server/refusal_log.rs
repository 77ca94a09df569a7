//! Log lines about calls that no trunk takes: enough to see why, too few to fill a disk.
//! Knows addresses and reasons, no numbers: those are the caller's.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// Lines in any ten seconds; what is beyond is counted and told with the next line.
const LINES: u32 = 10;
/// For so long those lines must do.
const WINDOW: Duration = Duration::from_secs(10);

/// How many lines there were lately.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    since: Option<Instant>,
    lines: u32,
    untold: u64,
}

impl RefusalLog {
    /// Writes a line, unless there were many. `status` 0: nothing was answered.
    pub(super) fn log(&mut self, now: Instant, source: IpAddr, status: u16, reason: &str) {
        if let Some(untold) = self.may_tell(now) {
            tracing::warn!(%source, reason, status, untold, "no trunk takes this call");
        }
    }

    /// How many were not told before this one; `None` if this one is not to be told either.
    fn may_tell(&mut self, now: Instant) -> Option<u64> {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            (self.since, self.lines) = (Some(now), 0);
        }
        if self.lines >= LINES {
            self.untold += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_strangers_writes_ten_lines_and_says_how_many_it_kept_back() {
        let (mut log, now) = (RefusalLog::default(), Instant::now());
        let told = (0..1_000).filter(|_| log.may_tell(now).is_some()).count();
        assert_eq!(told, 10);
        assert_eq!(log.may_tell(now + WINDOW), Some(990));
        assert_eq!(log.may_tell(now + WINDOW), Some(0));
    }
}
