//! Who cannot hear whom: audio that flows one way only, or not at all.
//! Does not end calls and does not know SIP: its owner says when the dialog last showed life.

use std::time::{Duration, Instant};

use crate::RemoteReport;

/// Something is wrong with the audio of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaFault {
    /// We hear nothing, though the other side's reports say that it is there.
    NotHearing,
    /// We hear nothing, and nothing says why: the other side may merely be silent.
    Silent,
    /// The other side's reports say that it hears nothing of what we send.
    NotHeard,
    /// No audio, no reports, and no sign of life of the dialog.
    Dead,
}

impl MediaFault {
    /// As it stands in traces and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotHearing => "not_hearing",
            Self::Silent => "silent",
            Self::NotHeard => "not_heard",
            Self::Dead => "dead",
        }
    }
}

/// A fault begins or is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// It is there.
    Began(MediaFault),
    /// It has gone.
    Over(MediaFault),
}

/// When silence becomes a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaWatchConfig {
    /// Nothing heard for this long is worth an event.
    pub unheard: Duration,
    /// A report older than this says nothing about now: three intervals.
    pub report_age: Duration,
    /// No sign of life of any kind for this long is the end.
    pub dead: Duration,
}

impl Default for MediaWatchConfig {
    fn default() -> Self {
        let [unheard, report_age, dead] = [1_500, 16_000, 60_000].map(Duration::from_millis);
        Self { unheard, report_age, dead }
    }
}

/// What the owner knows at this moment.
#[derive(Clone, Copy, Debug)]
pub struct Signs {
    /// Whether the other side is to send audio by the session description: not while it holds us.
    pub expects_audio: bool,
    /// Whether we are to send.
    pub sends_audio: bool,
    /// When the last RTP packet of the stream came.
    pub last_rtp: Option<Instant>,
    /// When the last RTCP came.
    pub last_rtcp: Option<Instant>,
    /// When the dialog last showed life: a request or response of the other side.
    pub last_dialog: Instant,
    /// What the other side last said about our stream.
    pub remote: Option<RemoteReport>,
    /// How many of its reports in a row did not mention our stream.
    pub reports_without_us: u32,
    /// RTP packets we have sent.
    pub packets_sent: u64,
}

/// Packets sent between two reports that must have moved the highest sequence number: half a second of audio.
const ENOUGH_SENT: u64 = 25;

/// Reports without our stream that mean it does not arrive; the first may have crossed our first packets.
const WITHOUT_US: u32 = 2;

/// Watches one leg.
#[derive(Clone, Debug)]
pub struct MediaWatch {
    config: MediaWatchConfig,
    /// Since when audio has been expected without a pause by agreement.
    expected_since: Option<Instant>,
    /// The last report looked at, and what we had sent by then.
    judged: Option<(RemoteReport, u64)>,
    not_heard: bool,
    faults: Vec<MediaFault>,
}

impl MediaWatch {
    /// Nothing is wrong yet.
    pub const fn new(config: MediaWatchConfig) -> Self {
        Self { config, expected_since: None, judged: None, not_heard: false, faults: Vec::new() }
    }

    /// Looks at the signs; a few times a second is enough. What began or is over is appended.
    pub fn step(&mut self, now: Instant, signs: &Signs, out: &mut Vec<MediaEvent>) {
        if !signs.expects_audio {
            self.expected_since = None;
        } else if self.expected_since.is_none() {
            self.expected_since = Some(now);
        }
        self.judge_reports(signs);
        let (unheard, dead) = (self.is_unheard(now, signs), self.is_dead(now, signs));
        let reports = self.is_fresh(now, signs.last_rtcp);
        for (fault, there) in [
            (MediaFault::NotHearing, unheard && reports && !dead),
            (MediaFault::Silent, unheard && !reports && !dead),
            (MediaFault::NotHeard, self.not_heard && signs.sends_audio && reports),
            (MediaFault::Dead, dead),
        ] {
            self.set(fault, there, out);
        }
    }

    /// What is wrong now.
    pub fn faults(&self) -> &[MediaFault] {
        &self.faults
    }

    fn set(&mut self, fault: MediaFault, there: bool, out: &mut Vec<MediaEvent>) {
        let place = self.faults.iter().position(|other| *other == fault);
        match (place, there) {
            (None, true) => {
                self.faults.push(fault);
                out.push(MediaEvent::Began(fault));
            }
            (Some(place), false) => {
                self.faults.remove(place);
                out.push(MediaEvent::Over(fault));
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    fn is_fresh(&self, now: Instant, sign: Option<Instant>) -> bool {
        sign.is_some_and(|sign| now.saturating_duration_since(sign) < self.config.report_age)
    }

    /// Whether nothing has come for too long although it should.
    fn is_unheard(&self, now: Instant, signs: &Signs) -> bool {
        self.expected_since.is_some_and(|since| {
            let last = signs.last_rtp.map_or(since, |last| last.max(since));
            now.saturating_duration_since(last) >= self.config.unheard
        })
    }

    /// Whether nothing at all says that there still is somebody.
    fn is_dead(&self, now: Instant, signs: &Signs) -> bool {
        self.expected_since.is_some_and(|since| {
            let signs = [Some(since), signs.last_rtp, signs.last_rtcp, Some(signs.last_dialog)];
            let last = signs.into_iter().flatten().max().unwrap_or(since);
            now.saturating_duration_since(last) >= self.config.dead
        })
    }

    /// Compares a new report with the one before: if the highest sequence number stands still while we send, or if
    /// our stream is not mentioned at all, the other side hears nothing.
    fn judge_reports(&mut self, signs: &Signs) {
        if signs.reports_without_us >= WITHOUT_US {
            self.not_heard = signs.packets_sent >= ENOUGH_SENT;
            return;
        }
        let Some(report) = signs.remote else { return };
        let Some((before, sent)) = self.judged else {
            self.judged = Some((report, signs.packets_sent));
            self.not_heard = false;
            return;
        };
        if report.received == before.received {
            return;
        }
        let enough = signs.packets_sent.saturating_sub(sent) >= ENOUGH_SENT;
        self.not_heard = enough && report.highest_sequence == before.highest_sequence;
        self.judged = Some((report, signs.packets_sent));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;
    use MediaEvent::{Began, Over};

    /// A leg in which both sides send, seen every 100 ms.
    struct Leg {
        start: Instant,
        ms: u64,
        watch: MediaWatch,
        signs: Signs,
        hears: bool,
        /// Whether the other side sends reports, and whether they show that it hears us.
        reports: bool,
        heard: bool,
        events: Vec<(u64, MediaEvent)>,
    }

    impl Leg {
        fn new() -> Self {
            let start = Instant::now();
            let signs = Signs {
                expects_audio: true,
                sends_audio: true,
                last_rtp: None,
                last_rtcp: None,
                last_dialog: start,
                remote: None,
                reports_without_us: 0,
                packets_sent: 0,
            };
            let watch = MediaWatch::new(MediaWatchConfig::default());
            Self { start, ms: 0, watch, signs, hears: true, reports: true, heard: true, events: Vec::new() }
        }

        fn run(&mut self, seconds: u64) -> Vec<(u64, MediaEvent)> {
            for _ in 0..seconds * 10 {
                self.ms += 100;
                let now = self.start + Duration::from_millis(self.ms);
                if self.hears && self.signs.expects_audio {
                    self.signs.last_rtp = Some(now);
                }
                self.signs.packets_sent += 5 * u64::from(self.signs.sends_audio);
                if self.reports && self.ms.is_multiple_of(5_000) {
                    self.report(now);
                }
                let mut out = Vec::new();
                self.watch.step(now, &self.signs, &mut out);
                self.events.extend(out.into_iter().map(|event| (self.ms, event)));
            }
            std::mem::take(&mut self.events)
        }

        fn report(&mut self, now: Instant) {
            let before = self.signs.remote.map_or(0, |report| report.highest_sequence);
            let highest_sequence = if self.heard { self.signs.packets_sent as u32 } else { before };
            self.signs.last_rtcp = Some(now);
            self.signs.remote = Some(RemoteReport {
                fraction_lost: 0.0,
                cumulative_lost: 0,
                highest_sequence,
                jitter: Duration::ZERO,
                received: now,
            });
        }
    }

    #[test]
    fn a_good_call_has_no_faults() {
        assert_eq!(Leg::new().run(120), []);
    }

    #[test]
    fn what_we_do_not_hear_is_an_event_within_two_seconds_and_so_is_its_end() {
        let mut leg = Leg::new();
        leg.run(20);
        leg.hears = false;
        let began = leg.run(10);
        assert!(matches!(began[..], [(ms, Began(MediaFault::NotHearing))] if ms <= 22_000), "{began:?}");
        leg.hears = true;
        assert_eq!(leg.run(1), [(30_100, Over(MediaFault::NotHearing))]);
    }

    #[test]
    fn a_caller_that_falls_silent_without_reports_is_silent_and_the_call_lives_with_its_dialog() {
        let mut leg = Leg::new();
        leg.reports = false;
        leg.run(10);
        leg.hears = false;
        assert_eq!(leg.run(30).len(), 1);
        assert_eq!(leg.watch.faults(), [MediaFault::Silent]);
        leg.signs.last_dialog = leg.start + Duration::from_secs(40);
        assert_eq!(leg.run(55), [], "the dialog was refreshed");
        let end = leg.run(10);
        assert!(end.iter().any(|(_, event)| *event == Began(MediaFault::Dead)), "{end:?}");
    }

    #[test]
    fn who_does_not_hear_us_is_found_by_its_second_report() {
        let mut leg = Leg::new();
        leg.run(20);
        leg.heard = false;
        assert_eq!(leg.run(10), [(25_000, Began(MediaFault::NotHeard))]);
        leg.heard = true;
        assert_eq!(leg.run(10), [(35_000, Over(MediaFault::NotHeard))]);
        leg.signs.reports_without_us = 2;
        assert_eq!(leg.run(1), [(40_100, Began(MediaFault::NotHeard))]);
    }

    #[test]
    fn hold_is_no_fault_and_after_it_there_is_time_again() {
        let mut leg = Leg::new();
        leg.run(5);
        leg.signs.expects_audio = false;
        leg.signs.sends_audio = false;
        leg.reports = false;
        assert_eq!(leg.run(600), []);
        leg.signs.expects_audio = true;
        leg.hears = false;
        assert_eq!(leg.run(1), [], "the other side has a moment to begin");
        assert_eq!(leg.run(2).len(), 1);
    }
}
