//! Which target is next: the order, the codes, and those that are left alone for a while.
//! Knows no calls: outcomes are given by hand.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

use sip::Transport;
use sip::failover::{Advice, Choice, Failover, FailoverPolicy, Hunt, Outcome};
use sip::locate::Target;
use std::time::{Duration, Instant};

fn target(number: u8) -> Target {
    let address = ([192, 0, 2, number], 5060).into();
    Target { transport: Transport::Udp, address, server_name: None }
}

fn group(count: u8) -> Vec<Target> {
    (1..=count).map(target).collect()
}

#[expect(clippy::disallowed_methods, reason = "any instant will do as the zero of a test")]
fn zero() -> Instant {
    Instant::now()
}

fn first(failover: &mut Failover, now: Instant, count: u8) -> Option<(Target, Choice)> {
    failover.next(now, &mut Hunt::new(group(count)))
}

#[test]
fn a_call_goes_on_after_failover_codes_and_stops_at_others() {
    let now = zero();
    let mut failover = Failover::default();
    let mut hunt = Hunt::new(group(3));
    assert_eq!(failover.next(now, &mut hunt), Some((target(1), Choice::InOrder)));
    assert_eq!(failover.report(now, &target(1), Outcome::Status(503, None)), Advice::GoOn);
    assert_eq!(failover.next(now, &mut hunt), Some((target(2), Choice::InOrder)));
    assert_eq!(failover.report(now, &target(2), Outcome::TransportFailed), Advice::GoOn);
    assert_eq!(failover.next(now, &mut hunt), Some((target(3), Choice::InOrder)));
    assert_eq!(failover.report(now, &target(3), Outcome::Status(486, None)), Advice::Stop);
    assert_eq!(failover.next(now, &mut hunt), None);
    assert_eq!(first(&mut failover, now, 3), Some((target(3), Choice::InOrder)), "1 and 2 are left alone");
}

#[test]
fn only_503_and_silence_are_about_the_target_itself() {
    let now = zero();
    let mut failover = Failover::default();
    for outcome in [Outcome::Status(480, None), Outcome::Status(500, None), Outcome::Status(404, None)] {
        failover.report(now, &target(1), outcome);
        assert_eq!(failover.down_until(now, &target(1)), None);
    }
    failover.report(now, &target(1), Outcome::Timeout);
    assert_eq!(failover.down_until(now, &target(1)), Some(now + Duration::from_secs(30)));
    failover.report(now, &target(1), Outcome::Answered);
    assert_eq!(failover.down_until(now, &target(1)), None, "it lives");
    failover.report(now, &target(1), Outcome::Status(503, Some(90)));
    assert_eq!(failover.down_until(now, &target(1)), Some(now + Duration::from_secs(90)), "Retry-After");
    failover.report(now, &target(2), Outcome::Status(503, Some(1 << 30)));
    assert_eq!(failover.down_until(now, &target(2)), Some(now + Duration::from_secs(600)));
}

#[test]
fn one_call_at_a_time_finds_out_whether_a_target_is_back() {
    let now = zero();
    let mut failover = Failover::default();
    failover.report(now, &target(1), Outcome::Timeout);
    let later = now + Duration::from_secs(30);
    assert_eq!(first(&mut failover, later, 2), Some((target(1), Choice::Probe)));
    assert_eq!(first(&mut failover, later, 2), Some((target(2), Choice::InOrder)));
    let lost = later + Duration::from_secs(60);
    assert_eq!(first(&mut failover, lost, 2), Some((target(1), Choice::Probe)), "nobody told the outcome");
    failover.report(lost, &target(1), Outcome::Timeout);
    assert_eq!(failover.down_until(lost, &target(1)), Some(lost + Duration::from_secs(60)), "doubled");
    failover.report(lost, &target(1), Outcome::Timeout);
    assert_eq!(failover.down_until(lost, &target(1)), Some(lost + Duration::from_secs(60)), "one outage");
    let back = lost + Duration::from_secs(61);
    assert_eq!(first(&mut failover, back, 2), Some((target(1), Choice::Probe)));
    failover.report(back, &target(1), Outcome::Answered);
    assert_eq!(first(&mut failover, back, 2), Some((target(1), Choice::InOrder)));
}

#[test]
fn when_all_are_down_the_one_that_failed_longest_ago_is_tried_once() {
    let now = zero();
    let mut failover = Failover::default();
    for (number, seconds) in [(1, 2), (2, 0), (3, 1)] {
        failover.report(now + Duration::from_secs(seconds), &target(number), Outcome::TransportFailed);
    }
    let now = now + Duration::from_secs(3);
    let mut hunt = Hunt::new(group(3));
    assert_eq!(failover.next(now, &mut hunt), Some((target(2), Choice::LeastRecentlyFailed)));
    failover.report(now, &target(2), Outcome::TransportFailed);
    assert_eq!(failover.next(now, &mut hunt), None, "one call does not wait for all of the dead");
    assert_eq!(hunt.attempts(), 1);
}

#[test]
fn a_call_tries_no_more_targets_than_allowed_and_memory_is_bounded() {
    let now = zero();
    let mut failover = Failover::new(FailoverPolicy { max_attempts: 2, ..FailoverPolicy::default() });
    let mut hunt = Hunt::new(group(9));
    assert!(failover.next(now, &mut hunt).is_some() && failover.next(now, &mut hunt).is_some());
    assert_eq!(failover.next(now, &mut hunt), None);
    assert_eq!(failover.next(now, &mut Hunt::new(Vec::new())), None);
    for port in 1..=1_000_u16 {
        let address = ([192, 0, 2, 1], port).into();
        let at = now + Duration::from_millis(u64::from(port));
        failover.report(at, &Target { address, ..target(1) }, Outcome::Timeout);
    }
    let down = (1..=1_000_u16).filter(|port| {
        let address = ([192, 0, 2, 1], *port).into();
        failover.down_until(now, &Target { address, ..target(1) }).is_some()
    });
    assert_eq!(down.count(), 256);
}
