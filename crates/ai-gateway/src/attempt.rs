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
    /// After [`Output::MayHedge`]: another target may be asked.
    Hedge,
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
        /// What for.
        why: Cancelled,
    },
    /// The first target is late: [`Input::Hedge`] has another one asked beside it, where that can be afforded.
    MayHedge,
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

/// Why nobody waits for a try any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It took too long.
    Late,
    /// Another one can be heard.
    Lost,
}

/// One request's way through a route.
///
/// Targets are tried in order. A target that fails, or says nothing speakable in time, is followed by the next
/// one; a target whose answer has begun is never replaced, so that the caller hears no answer twice. Where a request
/// may be hedged, the next target is asked beside a late one, and whichever can be heard first answers.
pub struct Attempt {
    route: Route,
    state: State,
    /// How long the first target may say nothing until the next one is asked beside it.
    hedge_after: Option<Duration>,
    deadline: Instant,
    tried: u32,
    round: u32,
    waiting: Vec<TargetId>,
    failures: Vec<(TargetId, Failure)>,
}

enum State {
    New,
    /// Nothing speakable has come yet, of one target or of two.
    Trying {
        open: Vec<Open>,
        hedge_at: Option<Instant>,
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

/// A target that is being asked.
struct Open {
    attempt: AttemptId,
    target: TargetId,
    until: Instant,
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
            hedge_after: None,
            deadline,
            tried: 0,
            round: 0,
            waiting: Vec::new(),
            failures: Vec::new(),
        }
    }

    /// The same; when the first target has said nothing for so long, the next one is asked beside it, unless that is a last
    /// resort.
    #[must_use]
    pub fn hedged_after(self, after: Option<Duration>) -> Self {
        Self { hedge_after: after, ..self }
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
                if self.is_open(attempt) {
                    self.handle_event(now, attempt, event, out);
                }
            }
            Input::Hedge => self.hedge(now, out),
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
                    self.fail(now, attempt, Failure::new(FailureClass::Internal, "an empty reply"), out);
                }
            }
            TargetEvent::Failed(failure) => self.fail(now, attempt, failure, out),
        }
    }

    fn handle_speakable(&mut self, now: Instant, attempt: AttemptId, out: &mut Vec<Output>) {
        let stalls = now + self.route.stall_timeout;
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Trying { open, .. } => {
                // Whoever else was asked is too late.
                let late = open.iter().filter(|other| other.attempt != attempt);
                out.extend(late.map(|other| Output::Cancel { attempt: other.attempt, why: Cancelled::Lost }));
                let Some(won) = open.into_iter().find(|one| one.attempt == attempt) else { return };
                out.push(Output::Forward { attempt });
                State::Forwarding { attempt, target: won.target, stalls }
            }
            State::Forwarding { target, .. } => State::Forwarding { attempt, target, stalls },
            other @ (State::New | State::Pausing { .. } | State::Over) => other,
        };
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        let (attempt, reason) = match &mut self.state {
            State::Trying { open, hedge_at } => match open.iter().find(|one| now >= one.until) {
                Some(late) => (late.attempt, "nothing to say in time"),
                None if hedge_at.is_some_and(|at| now >= at) => {
                    *hedge_at = None;
                    if self.can_hedge(now) {
                        out.push(Output::MayHedge);
                    }
                    return;
                }
                None => return,
            },
            State::Forwarding { attempt, .. } if now >= self.deadline => {
                (*attempt, "the reply took too long")
            }
            State::Forwarding { attempt, stalls, .. } if now >= *stalls => {
                (*attempt, "silent in the middle of the reply")
            }
            State::Pausing { until } if now >= *until => return self.try_next(now, out),
            State::New | State::Forwarding { .. } | State::Pausing { .. } | State::Over => return,
        };
        out.push(Output::Cancel { attempt, why: Cancelled::Late });
        self.fail(now, attempt, Failure::new(FailureClass::Timeout, reason), out);
    }

    /// A try has failed: the other one is waited for, the next one is made, or all is given up.
    fn fail(&mut self, now: Instant, attempt: AttemptId, failure: Failure, out: &mut Vec<Output>) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Trying { mut open, .. } => {
                let failed = open.iter().position(|one| one.attempt == attempt);
                self.failures.extend(failed.map(|at| (open.swap_remove(at).target, failure)));
                if open.is_empty() {
                    return self.try_next(now, out);
                }
                self.state = State::Trying { open, hedge_at: None };
            }
            State::Forwarding { target, .. } => {
                self.failures.push((target, failure));
                self.give_up(true, out);
            }
            State::New | State::Pausing { .. } | State::Over => {}
        }
    }

    /// Whether there is another model, and time for it.
    fn can_hedge(&self, now: Instant) -> bool {
        let next = self.waiting.last();
        next.is_some_and(|target| !self.route.last_resorts.contains(target))
            && now + LEAST_TRY <= self.deadline
    }

    /// Asks the next target beside the one that is late.
    fn hedge(&mut self, now: Instant, out: &mut Vec<Output>) {
        let alone = matches!(&self.state, State::Trying { open, hedge_at: None } if open.len() == 1);
        if !alone || !self.can_hedge(now) {
            return;
        }
        let Some(target) = self.waiting.pop() else { return };
        let opened = self.open(now, target, Role::Hedge, out);
        if let State::Trying { open, .. } = &mut self.state {
            open.push(opened);
        }
    }

    fn open(&mut self, now: Instant, target: TargetId, role: Role, out: &mut Vec<Output>) -> Open {
        let attempt = AttemptId(self.tried);
        self.tried += 1;
        let until = (now + self.route.first_speakable_timeout).min(self.deadline);
        out.push(Output::Try { attempt, target: target.clone(), role });
        Open { attempt, target, until }
    }

    fn try_next(&mut self, now: Instant, out: &mut Vec<Output>) {
        if now + LEAST_TRY > self.deadline {
            return self.give_up(false, out);
        }
        let Some(target) = self.waiting.pop() else {
            return self.begin_round(now, out);
        };
        let role = match (self.round, self.tried) {
            (0, 0) => Role::Primary,
            (0, _) => Role::Fallback,
            (_, _) => Role::Retry,
        };
        let hedge_after = self.hedge_after.filter(|_| role == Role::Primary);
        let open = vec![self.open(now, target, role, out)];
        self.state = State::Trying { open, hedge_at: hedge_after.map(|after| now + after) };
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

    fn is_open(&self, attempt: AttemptId) -> bool {
        match &self.state {
            State::Trying { open, .. } => open.iter().any(|one| one.attempt == attempt),
            State::Forwarding { attempt: heard, .. } => *heard == attempt,
            State::New | State::Pausing { .. } | State::Over => false,
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        match &self.state {
            State::New => Some(self.deadline),
            State::Trying { open, hedge_at } => open.iter().map(|one| one.until).chain(*hedge_at).min(),
            State::Pausing { until } => Some(*until),
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

    fn late(attempt: u32) -> Output {
        Output::Cancel { attempt: AttemptId(attempt), why: Cancelled::Late }
    }

    fn failed(out: &[Output]) -> Option<(usize, bool)> {
        out.iter().find_map(|output| match output {
            Output::Failed { failures, partial } => Some((failures.len(), *partial)),
            Output::Try { .. }
            | Output::Cancel { .. }
            | Output::MayHedge
            | Output::Forward { .. }
            | Output::Done => None,
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
        assert_eq!(out, [late(0), tried(1, "b", Role::Fallback)]);
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
        assert_eq!(out[0], late(0));
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

    fn hedged(targets: &[&str], last_resorts: &[&str]) -> Case {
        let mut case = Case::new(targets);
        let mut route = Route::new("reply", targets.iter().map(|t| TargetId((*t).into())));
        route.last_resorts = last_resorts.iter().map(|t| TargetId((*t).into())).collect();
        case.attempt = Attempt::new(case.now, route).hedged_after(Some(Duration::from_millis(600)));
        case
    }

    #[test]
    fn beside_a_late_target_the_next_is_asked_and_the_first_to_speak_answers() {
        for winner in [0, 1] {
            let mut case = hedged(&["a", "b"], &[]);
            case.step(Input::Start);
            assert_eq!(case.wake, Some(case.now + Duration::from_millis(600)));
            assert_eq!(case.wait(), [Output::MayHedge]);
            assert_eq!(case.step(Input::Hedge), [tried(1, "b", Role::Hedge)], "nobody is cancelled");
            assert_eq!(case.step(Input::Hedge), [], "two are enough");
            let (won, lost) = (AttemptId(winner), AttemptId(1 - winner));
            let out = case.report(winner, TargetEvent::Speakable);
            let cancelled = Output::Cancel { attempt: lost, why: Cancelled::Lost };
            assert_eq!(out, [cancelled, Output::Forward { attempt: won }]);
            assert_eq!(case.report(lost.0, TargetEvent::Speakable), [], "the loser is not heard");
            assert_eq!(case.report(winner, TargetEvent::Done), [Output::Done]);
        }
    }

    #[test]
    fn a_target_that_speaks_in_time_is_not_hedged() {
        let mut case = hedged(&["a", "b"], &[]);
        case.step(Input::Start);
        case.now += Duration::from_millis(599);
        case.report(0, TargetEvent::Speakable);
        assert_eq!(case.wait()[0], late(0), "it stalled, and nothing else");
    }

    #[test]
    fn a_last_resort_is_never_asked_beside_a_model() {
        let mut case = hedged(&["a", "flow"], &["flow"]);
        case.step(Input::Start);
        assert_eq!(case.wait(), []);
        assert_eq!(case.step(Input::Hedge), []);
        // It still stands in when the model has failed.
        assert_eq!(case.wait(), [late(0), tried(1, "flow", Role::Fallback)]);
    }

    #[test]
    fn of_two_that_are_asked_one_may_fail_and_the_other_is_waited_for() {
        let mut case = hedged(&["a", "b", "c"], &[]);
        case.step(Input::Start);
        case.wait();
        case.step(Input::Hedge);
        assert_eq!(case.fail(0, FailureClass::Network), []);
        assert_eq!(case.fail(1, FailureClass::Network), [tried(2, "c", Role::Fallback)]);
        assert_eq!(case.report(2, TargetEvent::Speakable), [Output::Forward { attempt: AttemptId(2) }]);
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
        open: Vec<(AttemptId, TargetId)>,
        forwarded: Option<AttemptId>,
        ends: u32,
        refused: Vec<TargetId>,
    }

    impl Promises {
        fn close(&mut self, attempt: AttemptId) -> Option<TargetId> {
            let at = self.open.iter().position(|(open, _)| *open == attempt)?;
            Some(self.open.remove(at).1)
        }

        fn check(&mut self, out: &[Output], seed: u64) {
            for output in out {
                assert_eq!(self.ends, 0, "seed {seed}: something after the end");
                match output {
                    Output::Try { attempt, target, role } => {
                        let beside = usize::from(*role == Role::Hedge);
                        assert_eq!(self.open.len(), beside, "seed {seed}: only a hedge is a second one");
                        assert!(*role != Role::Hedge || target.0 != "flow", "seed {seed}: a last resort");
                        assert_eq!(self.forwarded, None, "seed {seed}: an answer begun again");
                        assert!(!self.refused.contains(target), "seed {seed}: {target} had refused");
                        self.open.push((*attempt, target.clone()));
                    }
                    Output::MayHedge => assert_eq!(self.open.len(), 1, "seed {seed}"),
                    Output::Cancel { attempt, .. } => assert!(self.close(*attempt).is_some(), "seed {seed}"),
                    Output::Forward { attempt } => {
                        let open: Vec<_> = self.open.iter().map(|(attempt, _)| *attempt).collect();
                        assert_eq!(open, [*attempt], "seed {seed}: the other one is closed first");
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
        let targets = &["a", "b", "flow"][..chance.below(4) as usize];
        let mut case = hedged(targets, &["flow"]);
        let after = Duration::from_millis(chance.below(3_000));
        case.attempt.hedge_after = (chance.below(2) == 0).then_some(after);
        let begun = case.now;
        let mut promises = Promises::default();
        promises.check(&case.step(Input::Start), seed);
        for _ in 0..400 {
            let Some(wake) = case.wake else { break };
            let later = case.now + Duration::from_millis(chance.below(2_000));
            let out = if later < wake {
                case.now = later;
                // Now and then somebody who was cancelled long ago still talks.
                let which = chance.below(promises.open.len().max(1) as u64) as usize;
                let gone = AttemptId(chance.below(3) as u32);
                let attempt = promises.open.get(which).map_or(gone, |(attempt, _)| *attempt);
                let event = chance.event();
                if matches!(event, TargetEvent::Failed(_) | TargetEvent::Done) {
                    let ended = promises.close(attempt);
                    if let TargetEvent::Failed(f) = &event {
                        promises.refused.extend(ended.filter(|_| !f.class.is_passing()));
                    }
                }
                case.report(attempt.0, event)
            } else {
                assert!(wake > case.now || later >= wake, "seed {seed}: a wake in the past");
                case.wait()
            };
            promises.check(&out, seed);
            if out.contains(&Output::MayHedge) && chance.below(3) > 0 {
                let out = case.step(Input::Hedge);
                promises.check(&out, seed);
            }
            assert!(case.now <= begun + Route::TOTAL_TIMEOUT, "seed {seed}: took too long");
        }
        assert_eq!((promises.ends, case.wake), (1, None), "seed {seed}: exactly one end");
    }

    #[test]
    fn every_request_ends_once_and_no_answer_is_begun_twice() {
        (0..5_000).for_each(run);
    }
}
