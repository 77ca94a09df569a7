//! How much delay a stream needs and has, and when the difference is worth a correction.
//! Does not know audio: the buffer says what arrived and what it did.

use std::time::{Duration, Instant};

use super::JitterConfig;

/// How far the delay may be off its target, above and below, before a correction. Over half a frame, the grain in
/// which arrivals are measured.
const TOLERANCE_US: (i64, i64) = (11_000, 12_000);

/// For how many frames the delay must be off before silence is cut or stretched, and for how many before speech is.
const PATIENCE: (u32, u32) = (25, 100);

/// So far off target the patience shrinks to a tenth of that.
const URGENT_US: i64 = 60_000;

/// Packets that came too late while the delay was below its target, before speech is stretched: a stream that comes
/// evenly may do with less delay than the target for ever.
const LATE_ENOUGH: u32 = 2;

/// With so little left the next packet of a slow clock comes too late: speech is stretched before that.
const NEARLY_EMPTY_US: i64 = 5_000;

/// What the delay should become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    AsItIs,
    /// Less; in the middle of speech only if the flag is set.
    Less(bool),
    /// More; likewise.
    More(bool),
}

/// The mean time that packets wait, and how long it has been off.
#[derive(Default)]
pub(super) struct Delay {
    mean_us: Option<i64>,
    off_target: u32,
    late_while_off: u32,
}

impl Delay {
    pub(super) fn mean_us(&self) -> i64 {
        self.mean_us.unwrap_or(0)
    }

    /// A packet waits this long for its frame. One that is late waits no time at all; how late does not matter.
    pub(super) fn measured(&mut self, waits_us: i64) {
        let waits = waits_us.max(0);
        self.mean_us = Some(self.mean_us.map_or(waits, |mean| mean + (waits - mean) / 16));
    }

    pub(super) const fn was_late(&mut self) {
        self.late_while_off += 1;
    }

    pub(super) const fn forget(&mut self) {
        self.mean_us = None;
    }

    /// The delay grew or shrank by our own doing.
    pub(super) fn moved(&mut self, by_us: i64) {
        self.mean_us = Some(self.mean_us() + by_us);
        self.off_target = 0;
        self.late_while_off = 0;
    }

    /// The delay turned back to a late packet: it must not count as off because of it.
    pub(super) const fn set(&mut self, mean_us: i64) {
        self.mean_us = Some(mean_us);
    }

    /// What should be done in this frame.
    pub(super) fn wanted(&mut self, target_us: i64) -> Wanted {
        let Some(mean) = self.mean_us else { return Wanted::AsItIs };
        let off = mean - target_us;
        if off < TOLERANCE_US.0 && off > -TOLERANCE_US.1 {
            self.off_target = 0;
            self.late_while_off = 0;
            return Wanted::AsItIs;
        }
        self.off_target += 1;
        let haste = if off > URGENT_US { 10 } else { 1 };
        if self.off_target < PATIENCE.0 / haste {
            return Wanted::AsItIs;
        }
        let long = self.off_target >= PATIENCE.1 / haste;
        let needed = self.late_while_off >= LATE_ENOUGH || mean < NEARLY_EMPTY_US;
        if off > 0 { Wanted::Less(long) } else { Wanted::More(long && needed) }
    }
}

/// The interarrival jitter estimate of RFC 3550 appendix A.8, sixteen times scaled, in ticks of the codec's clock.
pub(super) struct Jitter {
    clock_hz: u32,
    scaled: u32,
    previous: Option<(Instant, u32)>,
}

impl Jitter {
    pub(super) const fn new(clock_hz: u32) -> Self {
        Self { clock_hz, scaled: 0, previous: None }
    }

    pub(super) fn arrived(&mut self, now: Instant, timestamp: u32) {
        if let Some((then, before)) = self.previous {
            let passed = micros_from(then, now) * i64::from(self.clock_hz) / 1_000_000;
            let difference = passed - i64::from(timestamp.wrapping_sub(before) as i32);
            // One packet a second late must not ruin the estimate for longer than it lasts.
            let difference = difference.unsigned_abs().min(u64::from(self.clock_hz)) as u32;
            self.scaled = self.scaled + difference - ((self.scaled + 8) >> 4);
        }
        self.previous = Some((now, timestamp));
    }

    pub(super) const fn forget_transit(&mut self) {
        self.previous = None;
    }

    /// The same jitter on another clock.
    pub(super) fn set_clock(&mut self, clock_hz: u32) {
        self.scaled = (u64::from(self.scaled) * u64::from(clock_hz) / u64::from(self.clock_hz)) as u32;
        self.clock_hz = clock_hz;
        self.previous = None;
    }

    pub(super) const fn ticks(&self) -> u32 {
        self.scaled / 16
    }

    pub(super) fn as_micros(&self) -> i64 {
        i64::from(self.scaled) * 1_000_000 / 16 / i64::from(self.clock_hz)
    }

    /// The delay without jitter plus three times the jitter: the width of an even spread, three deviations of a
    /// normal one.
    pub(super) fn target_us(&self, config: &JitterConfig, extra: Duration) -> i64 {
        let (low, high) = (config.minimum.as_micros() as i64, config.maximum.as_micros() as i64);
        (low + extra.as_micros() as i64 + 3 * self.as_micros()).clamp(low, high.max(low))
    }
}

/// Microseconds from one instant to another, negative if it is earlier.
pub(super) fn micros_from(from: Instant, to: Instant) -> i64 {
    let forward = to.saturating_duration_since(from).as_micros() as i64;
    let backward = from.saturating_duration_since(to).as_micros() as i64;
    forward - backward
}
