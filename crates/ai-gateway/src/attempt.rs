//! One request's way through its route: who is asked, for how long, and whose answer the caller hears.
//! Knows outcomes and time. Never sees the request, nor a word of the reply.

use crate::{Failure, FailureClass, Role, Route, TargetId};
use std::time::{Duration, Instant};

/// Numbers the tries of one request, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub u32);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The request was made.
    Start,
    /// A target reports on a try. What comes of a try that has ended is ignored.
    TargetEvent {
        /// Which try.
        attempt: AttemptId,
        /// What it reports.
        event: TargetEvent,
    },
    /// The instant that `step` asked for has come.
    Timeout,
}

/// What a target reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetEvent {
    /// Something the caller could hear, or a tool call: it cannot be taken back once it is passed on.
    Speakable,
    /// A sign of life without anything to hear.
    Progress,
    /// The reply is complete.
    Done,
    /// There will be no (further) reply.
    Failed(Failure),
}

/// What to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask this target, and hold its events back until they are to be forwarded.
    Try {
        /// The number its events must carry.
        attempt: AttemptId,
        /// Whom to ask.
        target: TargetId,
        /// Why this one.
        role: Role,
    },
    /// Close this request; whatever it has said or will say is dropped.
    Cancel {
        /// Which try.
        attempt: AttemptId,
    },
    /// This try's answer is the one: pass on what was held back and everything that follows.
    Forward {
        /// Which try.
        attempt: AttemptId,
    },
    /// The reply that was forwarded is complete.
    Done,
    /// There is no reply, or no more of it.
    Failed {
        /// Every failure, in the order of the tries.
        failures: Vec<(TargetId, Failure)>,
        /// Whether something of a reply was forwarded before.
        partial: bool,
    },
}

/// One request's way through a route.
///
/// Targets are tried in order. A target that fails, or says nothing speakable in time, is followed by the next
/// one; a target whose answer has begun is never replaced, so that the caller hears no answer twice.
pub struct Attempt {
    route: Route,
    state: State,
    deadline: Instant,
    tried: u32,
    round: u32,
    waiting: Vec<TargetId>,
    failures: Vec<(TargetId, Failure)>,
}

enum State {
    New,
    /// Nothing speakable has come yet.
    Trying {
        attempt: AttemptId,
        target: TargetId,
        until: Instant,
    },
    /// The caller hears this one.
    Forwarding {
        attempt: AttemptId,
        target: TargetId,
        stalls: Instant,
    },
    /// Between two rounds.
    Pausing {
        until: Instant,
    },
    Over,
}

/// A try needs at least this long to have any prospect.
const LEAST_TRY: Duration = Duration::from_millis(250);
/// Between two rounds: long enough for a restarted connection, too short to be heard as a further silence.
const PAUSE: Duration = Duration::from_millis(150);

impl Attempt {
    /// A request that is about to be made at `now`.
    pub fn new(now: Instant, route: Route) -> Self {
        let deadline = now + route.total_timeout;
        Self {
            route,
            state: State::New,
            deadline,
            tried: 0,
            round: 0,
            waiting: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// Takes one input, appends what to do about it to `out`, and returns when to come back with
    /// [`Input::Timeout`]; `None` means that the request is over.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Vec<Output>) -> Option<Instant> {
        match input {
            Input::Start => {
                if matches!(self.state, State::New) {
                    self.waiting = self.route.targets.iter().rev().cloned().collect();
                    self.try_next(now, out);
                }
            }
            Input::TargetEvent { attempt, event } => {
                if self.current() == Some(attempt) {
                    self.handle_event(now, attempt, event, out);
                }
            }
            Input::Timeout => self.handle_timeout(now, out),
        }
        self.next_wake()
    }

    fn handle_event(&mut self, now: Instant, attempt: AttemptId, event: TargetEvent, out: &mut Vec<Output>) {
        match event {
            TargetEvent::Speakable => self.handle_speakable(now, attempt, out),
            TargetEvent::Progress => {
                if let State::Forwarding { stalls, .. } = &mut self.state {
                    *stalls = now + self.route.stall_timeout;
                }
            }
            TargetEvent::Done => {
                if matches!(self.state, State::Forwarding { .. }) {
                    self.state = State::Over;
                    out.push(Output::Done);
                } else {
                    self.fail(now, Failure::new(FailureClass::Internal, "an empty reply"), out);
                }
            }
            TargetEvent::Failed(failure) => self.fail(now, failure, out),
        }
    }

    fn handle_speakable(&mut self, now: Instant, attempt: AttemptId, out: &mut Vec<Output>) {
        let stalls = now + self.route.stall_timeout;
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Trying { target, .. } => {
                out.push(Output::Forward { attempt });
                State::Forwarding { attempt, target, stalls }
            }
            State::Forwarding { target, .. } => State::Forwarding { attempt, target, stalls },
            other @ (State::New | State::Pausing { .. } | State::Over) => other,
        };
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        let reason = match &self.state {
            State::Trying { attempt, until, .. } if now >= *until => {
                out.push(Output::Cancel { attempt: *attempt });
                "nothing to say in time"
            }
            State::Forwarding { attempt, stalls, .. } if now >= (*stalls).min(self.deadline) => {
                out.push(Output::Cancel { attempt: *attempt });
                if now >= self.deadline {
                    "the reply took too long"
                } else {
                    "silent in the middle of the reply"
                }
            }
            State::Pausing { until } if now >= *until => return self.try_next(now, out),
            State::New
            | State::Trying { .. }
            | State::Forwarding { .. }
            | State::Pausing { .. }
            | State::Over => return,
        };
        self.fail(now, Failure::new(FailureClass::Timeout, reason), out);
    }

    /// The current try has failed: goes on with the next one, or gives up.
    fn fail(&mut self, now: Instant, failure: Failure, out: &mut Vec<Output>) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Trying { target, .. } => {
                self.failures.push((target, failure));
                self.try_next(now, out);
            }
            State::Forwarding { target, .. } => {
                self.failures.push((target, failure));
                self.give_up(true, out);
            }
            State::New | State::Pausing { .. } | State::Over => {}
        }
    }

    fn try_next(&mut self, now: Instant, out: &mut Vec<Output>) {
        if now + LEAST_TRY > self.deadline {
            return self.give_up(false, out);
        }
        let Some(target) = self.waiting.pop() else {
            return self.begin_round(now, out);
        };
        let attempt = AttemptId(self.tried);
        let role = match (self.round, self.tried) {
            (0, 0) => Role::Primary,
            (0, _) => Role::Fallback,
            (_, _) => Role::Retry,
        };
        self.tried += 1;
        let until = (now + self.route.first_speakable_timeout).min(self.deadline);
        out.push(Output::Try { attempt, target: target.clone(), role });
        self.state = State::Trying { attempt, target, until };
    }

    /// All have been tried: after a pause, those that may do better now are tried again.
    fn begin_round(&mut self, now: Instant, out: &mut Vec<Output>) {
        self.round += 1;
        let left = self.deadline.saturating_duration_since(now);
        let route = &self.route;
        let failures = &self.failures;
        self.waiting = route.targets.iter().rev().filter(|t| may_retry(failures, t, left)).cloned().collect();
        if self.round >= route.rounds || self.waiting.is_empty() {
            return self.give_up(false, out);
        }
        let pause = self.waiting.iter().filter_map(|t| last_failure(failures, t)?.retry_after).min();
        self.state = State::Pausing { until: now + pause.unwrap_or(PAUSE).max(PAUSE) };
    }

    fn give_up(&mut self, partial: bool, out: &mut Vec<Output>) {
        self.state = State::Over;
        out.push(Output::Failed { failures: std::mem::take(&mut self.failures), partial });
    }

    fn current(&self) -> Option<AttemptId> {
        match &self.state {
            State::Trying { attempt, .. } | State::Forwarding { attempt, .. } => Some(*attempt),
            State::New | State::Pausing { .. } | State::Over => None,
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        match &self.state {
            State::New => Some(self.deadline),
            State::Trying { until, .. } | State::Pausing { until } => Some(*until),
            State::Forwarding { stalls, .. } => Some((*stalls).min(self.deadline)),
            State::Over => None,
        }
    }
}

/// Whether nothing speaks against asking the target again within `left`.
fn may_retry(failures: &[(TargetId, Failure)], target: &TargetId, left: Duration) -> bool {
    let passing = failures.iter().filter(|(id, _)| id == target).all(|(_, f)| f.class.is_passing());
    let wait = last_failure(failures, target).and_then(|f| f.retry_after).unwrap_or(PAUSE);
    // More than a second of waiting is no longer a conversation: the fallback sentence is better.
    passing && wait + LEAST_TRY <= left && wait <= Duration::from_secs(1)
}

fn last_failure<'a>(failures: &'a [(TargetId, Failure)], target: &TargetId) -> Option<&'a Failure> {
    failures.iter().rev().find(|(id, _)| id == target).map(|(_, failure)| failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Case {
        now: Instant,
        attempt: Attempt,
        wake: Option<Instant>,
    }

    impl Case {
        fn new(targets: &[&str]) -> Self {
            #[expect(clippy::disallowed_methods, reason = "an origin for a test's clock")]
            let now = Instant::now();
            let route = Route::new("reply", targets.iter().map(|t| TargetId((*t).into())));
            Self { now, attempt: Attempt::new(now, route), wake: None }
        }

        fn step(&mut self, input: Input) -> Vec<Output> {
            let mut out = Vec::new();
            self.wake = self.attempt.step(self.now, input, &mut out);
            out
        }

        fn report(&mut self, attempt: u32, event: TargetEvent) -> Vec<Output> {
            self.step(Input::TargetEvent { attempt: AttemptId(attempt), event })
        }

        fn fail(&mut self, attempt: u32, class: FailureClass) -> Vec<Output> {
            self.report(attempt, TargetEvent::Failed(Failure::new(class, "x")))
        }

        /// Waits until the machine's own wake.
        fn wait(&mut self) -> Vec<Output> {
            self.now = self.wake.expect("something is pending");
            self.step(Input::Timeout)
        }
    }

    fn tried(attempt: u32, target: &str, role: Role) -> Output {
        Output::Try { attempt: AttemptId(attempt), target: TargetId(target.into()), role }
    }

    fn failed(out: &[Output]) -> Option<(usize, bool)> {
        out.iter().find_map(|output| match output {
            Output::Failed { failures, partial } => Some((failures.len(), *partial)),
            Output::Try { .. } | Output::Cancel { .. } | Output::Forward { .. } | Output::Done => None,
        })
    }

    #[test]
    fn the_first_target_answers_and_nobody_else_is_asked() {
        let mut case = Case::new(&["a", "b"]);
        assert_eq!(case.step(Input::Start), [tried(0, "a", Role::Primary)]);
        assert_eq!(case.report(0, TargetEvent::Progress), []);
        assert_eq!(case.report(0, TargetEvent::Speakable), [Output::Forward { attempt: AttemptId(0) }]);
        assert_eq!(case.report(0, TargetEvent::Speakable), []);
        assert_eq!(case.report(0, TargetEvent::Done), [Output::Done]);
        assert_eq!(case.wake, None);
    }

    #[test]
    fn a_target_that_says_nothing_in_time_is_followed_by_the_next() {
        let mut case = Case::new(&["a", "b"]);
        case.step(Input::Start);
        assert_eq!(case.wake, Some(case.now + Duration::from_millis(2_500)));
        case.report(0, TargetEvent::Progress);
        let out = case.wait();
        assert_eq!(out, [Output::Cancel { attempt: AttemptId(0) }, tried(1, "b", Role::Fallback)]);
        assert_eq!(case.report(0, TargetEvent::Speakable), [], "the loser is not heard");
        assert_eq!(case.fail(0, FailureClass::Network), []);
        assert_eq!(case.report(1, TargetEvent::Speakable), [Output::Forward { attempt: AttemptId(1) }]);
    }

    #[test]
    fn an_answer_that_breaks_off_is_not_begun_again() {
        let mut case = Case::new(&["a", "b"]);
        case.step(Input::Start);
        case.report(0, TargetEvent::Speakable);
        let out = case.fail(0, FailureClass::Network);
        assert_eq!(failed(&out), Some((1, true)));
        assert_eq!(out.len(), 1);
        assert_eq!(case.wake, None);
    }

    #[test]
    fn a_stall_in_the_middle_ends_the_reply() {
        let mut case = Case::new(&["a", "b"]);
        case.step(Input::Start);
        case.report(0, TargetEvent::Speakable);
        case.now += Duration::from_millis(1_000);
        case.report(0, TargetEvent::Progress);
        assert_eq!(case.wake, Some(case.now + Route::STALL_TIMEOUT));
        let out = case.wait();
        assert_eq!(out[0], Output::Cancel { attempt: AttemptId(0) });
        assert_eq!(failed(&out), Some((1, true)));
    }

    #[test]
    fn a_refused_key_is_not_tried_again_and_a_broken_line_is() {
        let mut case = Case::new(&["a", "b"]);
        case.step(Input::Start);
        assert_eq!(case.fail(0, FailureClass::Auth), [tried(1, "b", Role::Fallback)]);
        assert_eq!(case.fail(1, FailureClass::Network), []);
        assert_eq!(case.wait(), [tried(2, "b", Role::Retry)]);
        assert_eq!(failed(&case.fail(2, FailureClass::Network)), Some((3, false)));
    }

    #[test]
    fn nothing_is_retried_where_nothing_can_change() {
        let mut case = Case::new(&["a", "b"]);
        case.step(Input::Start);
        case.fail(0, FailureClass::Quota);
        assert_eq!(failed(&case.fail(1, FailureClass::BadRequest)), Some((2, false)));
        assert_eq!(case.wake, None);
    }

    #[test]
    fn a_wish_for_patience_is_granted_up_to_a_second() {
        for (wait_ms, retried) in [(300, true), (20_000, false)] {
            let mut case = Case::new(&["a"]);
            case.step(Input::Start);
            let retry_after = Some(Duration::from_millis(wait_ms));
            let failure = Failure { class: FailureClass::RateLimited, retry_after, reason: String::new() };
            let out = case.report(0, TargetEvent::Failed(failure));
            assert_eq!(failed(&out).is_none(), retried);
            if retried {
                assert_eq!(case.wake, Some(case.now + Duration::from_millis(wait_ms)));
                assert_eq!(case.wait(), [tried(1, "a", Role::Retry)]);
            }
        }
    }

    #[test]
    fn an_empty_reply_is_a_failure() {
        let mut case = Case::new(&["a", "b"]);
        case.step(Input::Start);
        assert_eq!(case.report(0, TargetEvent::Done), [tried(1, "b", Role::Fallback)]);
    }

    #[test]
    fn a_route_without_targets_fails_at_once() {
        let mut case = Case::new(&[]);
        assert_eq!(failed(&case.step(Input::Start)), Some((0, false)));
    }

    #[test]
    fn an_endless_reply_is_cut_at_the_total_time() {
        let mut case = Case::new(&["a"]);
        let deadline = case.now + Route::TOTAL_TIMEOUT;
        case.step(Input::Start);
        while case.now + Duration::from_millis(500) < deadline {
            case.now += Duration::from_millis(500);
            case.report(0, TargetEvent::Speakable);
        }
        assert_eq!(case.wake, Some(deadline));
        assert_eq!(failed(&case.wait()), Some((1, true)));
    }

    /// A small generator (SplitMix64) so that a seed is all a failing case needs.
    struct Chance(u64);

    impl Chance {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (z ^ (z >> 31)) % limit
        }

        fn event(&mut self) -> TargetEvent {
            match self.below(8) {
                0..=2 => TargetEvent::Speakable,
                3..=4 => TargetEvent::Progress,
                5 => TargetEvent::Done,
                n => {
                    let class = FailureClass::ALL[self.below(12) as usize];
                    let retry_after = (n == 7).then(|| Duration::from_millis(self.below(3_000)));
                    TargetEvent::Failed(Failure { class, retry_after, reason: String::new() })
                }
            }
        }
    }

    /// What must hold for every course of events.
    #[derive(Default)]
    struct Promises {
        open: Option<AttemptId>,
        forwarded: Option<AttemptId>,
        ends: u32,
        refused: Vec<TargetId>,
        target: Option<TargetId>,
    }

    impl Promises {
        fn check(&mut self, out: &[Output], seed: u64) {
            for output in out {
                assert_eq!(self.ends, 0, "seed {seed}: something after the end");
                match output {
                    Output::Try { attempt, target, .. } => {
                        assert_eq!(self.open, None, "seed {seed}: two at once");
                        assert_eq!(self.forwarded, None, "seed {seed}: an answer begun again");
                        assert!(!self.refused.contains(target), "seed {seed}: {target} had refused");
                        (self.open, self.target) = (Some(*attempt), Some(target.clone()));
                    }
                    Output::Cancel { attempt } => assert_eq!(self.open.take(), Some(*attempt), "seed {seed}"),
                    Output::Forward { attempt } => {
                        assert_eq!(self.open, Some(*attempt), "seed {seed}");
                        assert_eq!(self.forwarded.replace(*attempt), None, "seed {seed}: forwarded twice");
                    }
                    Output::Done => {
                        assert!(self.forwarded.is_some(), "seed {seed}");
                        self.ends += 1;
                    }
                    Output::Failed { partial, .. } => {
                        assert_eq!(*partial, self.forwarded.is_some(), "seed {seed}");
                        self.ends += 1;
                    }
                }
            }
        }
    }

    fn run(seed: u64) {
        let mut chance = Chance(seed);
        let targets = &["a", "b", "c"][..chance.below(4) as usize];
        let mut case = Case::new(targets);
        let begun = case.now;
        let mut promises = Promises::default();
        promises.check(&case.step(Input::Start), seed);
        for _ in 0..400 {
            let Some(wake) = case.wake else { break };
            let later = case.now + Duration::from_millis(chance.below(2_000));
            let out = if later < wake {
                case.now = later;
                // Now and then somebody who was cancelled long ago still talks.
                let attempt = promises.open.unwrap_or(AttemptId(chance.below(3) as u32));
                let event = chance.event();
                if let (TargetEvent::Failed(f), Some(_)) = (&event, promises.open) {
                    promises.refused.extend(promises.target.clone().filter(|_| !f.class.is_passing()));
                }
                if matches!(event, TargetEvent::Failed(_) | TargetEvent::Done) {
                    promises.open = None;
                }
                case.report(attempt.0, event)
            } else {
                assert!(wake > case.now || later >= wake, "seed {seed}: a wake in the past");
                case.wait()
            };
            promises.check(&out, seed);
            assert!(case.now <= begun + Route::TOTAL_TIMEOUT, "seed {seed}: took too long");
        }
        assert_eq!((promises.ends, case.wake), (1, None), "seed {seed}: exactly one end");
    }

    #[test]
    fn every_request_ends_once_and_no_answer_is_begun_twice() {
        (0..5_000).for_each(run);
    }
}
