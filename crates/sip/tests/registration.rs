//! Registrations: when the registrar is asked, what its answers lead to, and what holds on a bad link.
//! Knows the machine from outside; on the link also the endpoint.
#![allow(clippy::unwrap_used, reason = "tests may unwrap")]

mod kit;

use kit::zero;
use sip::registration::{
    Registration, RegistrationConfig, RegistrationInput, RegistrationOutput, RegistrationState,
};
use std::time::{Duration, Instant};

struct Asked {
    attempt: u64,
    registrar: usize,
    expires_s: u32,
    call_id: String,
    cseq: u32,
}

/// A registration with a clock; whoever answers it is the test.
struct Bench {
    machine: Registration,
    now: Instant,
    begin: Instant,
    wake: Option<Instant>,
    asked: Vec<Asked>,
    states: Vec<RegistrationState>,
}

impl Bench {
    fn new(registrars: usize, seed: u8) -> Self {
        let uris = (0..registrars).map(|number| format!("sip:r{number}.example")).collect();
        let now = zero();
        Self {
            machine: Registration::new(RegistrationConfig::new(uris), [seed; 32]),
            now,
            begin: now,
            wake: None,
            asked: Vec::new(),
            states: Vec::new(),
        }
    }

    fn step(&mut self, input: RegistrationInput<'_>) {
        let mut out = Vec::new();
        self.wake = self.machine.step(self.now, input, &mut out);
        for output in out {
            match output {
                RegistrationOutput::Register { attempt, registrar, uri, expires_s, call_id, cseq } => {
                    assert_eq!(uri, format!("sip:r{registrar}.example"));
                    self.asked.push(Asked { attempt, registrar, expires_s, call_id, cseq });
                }
                RegistrationOutput::State(state) => self.states.push(state),
            }
        }
    }

    /// The one request that is under way.
    fn take(&mut self) -> Asked {
        assert_eq!(self.asked.len(), 1, "never two at once");
        self.asked.pop().unwrap()
    }

    fn answer(&mut self, asked: &Asked, status: u16, headers: &[(&str, &str)]) {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let reason = "Because\x1b";
        self.step(RegistrationInput::Response { attempt: asked.attempt, status, reason, headers: &headers });
    }

    fn accept(&mut self, expires: &str) -> Asked {
        let asked = self.take();
        self.answer(&asked, 200, &[("Contact", &format!("<sip:us@192.0.2.1>;expires={expires}"))]);
        asked
    }

    /// Goes to the next wake-up; returns how long that was.
    fn wait(&mut self) -> Duration {
        let wake = self.wake.expect("something pending");
        let took = wake - self.now;
        self.now = wake;
        self.step(RegistrationInput::Timeout);
        assert_ne!(self.wake, Some(wake), "a timeout that changes nothing");
        took
    }

    fn state(&self) -> &RegistrationState {
        self.states.last().expect("a state")
    }
}

#[test]
fn a_registration_is_renewed_between_half_and_four_fifths_of_its_life() {
    let mut seen = Vec::new();
    for seed in 0..100 {
        let mut bench = Bench::new(1, seed);
        bench.step(RegistrationInput::Start);
        assert_eq!(bench.state(), &RegistrationState::Registering);
        let first = bench.accept("1000");
        assert_eq!(first.expires_s, 3_600, "as configured");
        let until = bench.now + Duration::from_secs(1_000);
        assert_eq!(bench.state(), &RegistrationState::Registered { until }, "the registrar's word counts");
        let wait = bench.wait();
        assert!((500..=800).contains(&wait.as_secs()), "{wait:?}");
        seen.push(wait);
        let second = bench.accept("1000");
        assert_eq!(second.call_id, first.call_id);
        assert!(second.cseq > first.cseq + 2, "room for two rounds of authentication");
    }
    seen.sort_unstable();
    seen.dedup();
    assert!(seen.len() > 50, "jittered");
}

#[test]
fn the_expiry_is_the_contacts_own_then_the_header_then_ours() {
    for (headers, expected) in [
        (&[("Expires", "50"), ("Contact", "<sip:a@b>;expires=70")][..], 70),
        (&[("expires", "50"), ("Contact", "<sip:a@b>")][..], 50),
        (&[("Contact", "<sip:a@b>;expires=soon")][..], 3_600),
        (&[("Contact", "<sip:a@b>;expires=4294967295")][..], 7 * 24 * 3_600),
        (&[][..], 3_600),
    ] {
        let mut bench = Bench::new(1, 1);
        bench.step(RegistrationInput::Start);
        let asked = bench.take();
        bench.answer(&asked, 200, headers);
        let until = bench.now + Duration::from_secs(expected);
        assert_eq!(bench.state(), &RegistrationState::Registered { until }, "{headers:?}");
    }
}

#[test]
fn a_tiny_or_missing_life_does_not_make_us_hammer() {
    let mut bench = Bench::new(1, 1);
    bench.step(RegistrationInput::Start);
    bench.accept("1");
    assert_eq!(bench.wait(), Duration::from_secs(5));
    let asked = bench.take();
    bench.answer(&asked, 200, &[("Contact", "<sip:a@b>;expires=0")]);
    assert!(matches!(bench.state(), RegistrationState::Failed { .. }));
    assert!(bench.wait() >= Duration::from_secs(5));
}

#[test]
fn too_brief_is_asked_again_at_once_with_what_the_registrar_wants() {
    let mut bench = Bench::new(1, 1);
    bench.step(RegistrationInput::Start);
    let asked = bench.take();
    bench.answer(&asked, 423, &[("Min-Expires", "7200")]);
    let again = bench.accept("7200");
    assert_eq!((again.expires_s, again.registrar), (7_200, 0));
    bench.wait();
    assert_eq!(bench.take().expires_s, 7_200, "remembered");
}

#[test]
fn a_423_that_leads_nowhere_is_a_failure() {
    let mut bench = Bench::new(1, 1);
    bench.step(RegistrationInput::Start);
    for min in ["4000", "5000"] {
        let asked = bench.take();
        bench.answer(&asked, 423, &[("Min-Expires", min)]);
    }
    let asked = bench.take();
    bench.answer(&asked, 423, &[("Min-Expires", "6000")]);
    assert!(matches!(bench.state(), RegistrationState::Failed { .. }), "it moves the goal");
    for headers in [&[("Min-Expires", "60")][..], &[("Min-Expires", "99999999")][..], &[][..]] {
        let mut bench = Bench::new(1, 1);
        bench.step(RegistrationInput::Start);
        let asked = bench.take();
        bench.answer(&asked, 423, headers);
        assert!(matches!(bench.state(), RegistrationState::Failed { .. }), "{headers:?}");
    }
}

#[test]
fn failures_are_retried_later_and_later_with_jitter() {
    let mut first_waits = Vec::new();
    for seed in 0..50 {
        let mut bench = Bench::new(1, seed);
        bench.step(RegistrationInput::Start);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let asked = bench.take();
            bench.answer(&asked, 500, &[]);
            let RegistrationState::Failed { reason, retry_at } = bench.state().clone() else {
                panic!("failed")
            };
            assert_eq!(reason, "500 Because", "without what a terminal would obey");
            assert_eq!(Some(retry_at), bench.wake);
            waits.push(bench.wait());
            assert_eq!(bench.state(), &RegistrationState::Registering);
        }
        assert!(waits.iter().all(|wait| (5..=300).contains(&wait.as_secs())), "{waits:?}");
        assert!(waits[0] < Duration::from_secs(8) && waits[11] >= Duration::from_secs(200), "{waits:?}");
        first_waits.push(waits[0]);
        bench.accept("60");
        bench.wait();
        let asked = bench.take();
        bench.answer(&asked, 500, &[]);
        assert!(bench.wait() < Duration::from_secs(8), "a success forgives");
    }
    first_waits.sort_unstable();
    first_waits.dedup();
    assert!(first_waits.len() > 25, "jittered");
}

#[test]
fn wrong_credentials_and_retry_after_wait_longer() {
    for (status, headers, least) in [
        (401, &[][..], 60),
        (403, &[][..], 60),
        (503, &[("Retry-After", "120 (busy)")][..], 120),
        (503, &[("Retry-After", "4000000000")][..], 3_600),
    ] {
        let mut bench = Bench::new(1, 1);
        bench.step(RegistrationInput::Start);
        let asked = bench.take();
        bench.answer(&asked, status, headers);
        let wait = bench.wait();
        assert!((least..=least * 11 / 10).contains(&wait.as_secs()), "{status} {wait:?}");
    }
}

#[test]
fn the_next_registrar_takes_over_and_gives_back() {
    let mut bench = Bench::new(3, 1);
    bench.step(RegistrationInput::Start);
    let asked = bench.take();
    bench.answer(&asked, 503, &[]);
    assert_eq!(bench.asked[0].registrar, 1, "at once");
    bench.asked.clear();
    bench.step(RegistrationInput::TransportFailed);
    let third = bench.accept("120");
    assert_eq!(third.registrar, 2);
    assert_ne!(third.call_id, asked.call_id, "one Call-ID for each registrar");
    assert_eq!(bench.machine.bound(bench.now).map(|(registrar, _)| registrar), Some(2));
    let mut renewed = 0;
    while bench.now < bench.begin + Duration::from_secs(600) {
        bench.wait();
        renewed += 1;
        if bench.now < bench.begin + Duration::from_secs(600) {
            assert_eq!(bench.accept("120").registrar, 2, "it stays where it works");
        }
    }
    assert!(renewed > 5);
    let first = bench.take();
    assert_eq!(first.registrar, 0, "after ten minutes the first is asked again");
    bench.answer(&first, 503, &[]);
    let second = bench.take();
    bench.answer(&second, 503, &[]);
    assert_eq!(bench.accept("120").registrar, 2, "it is still down, and the binding has not lapsed");
    while bench.asked.is_empty() || bench.asked[0].registrar == 2 {
        if !bench.asked.is_empty() {
            bench.accept("120");
        }
        bench.wait();
    }
    assert_eq!(bench.accept("120").registrar, 0);
    bench.wait();
    assert_eq!(bench.take().registrar, 0, "back for good");
}

#[test]
fn stopping_unregisters_where_we_are_known() {
    let mut bench = Bench::new(2, 1);
    bench.step(RegistrationInput::Start);
    let asked = bench.take();
    bench.answer(&asked, 503, &[]);
    let bound = bench.accept("300");
    bench.step(RegistrationInput::Stop);
    let bye = bench.take();
    assert_eq!((bye.expires_s, bye.registrar, &bye.call_id), (0, 1, &bound.call_id));
    bench.step(RegistrationInput::Stop);
    assert!(bench.asked.is_empty(), "once");
    bench.answer(&bye, 200, &[]);
    assert_eq!((bench.state(), bench.wake), (&RegistrationState::Unregistered, None));
    assert_eq!(bench.machine.bound(bench.now), None);
    bench.step(RegistrationInput::Start);
    assert_eq!(bench.accept("300").registrar, 0, "and it can begin again");
}

#[test]
fn stopping_while_a_register_is_under_way_waits_for_it() {
    let mut bench = Bench::new(1, 1);
    bench.step(RegistrationInput::Start);
    bench.step(RegistrationInput::Stop);
    bench.accept("300");
    let bye = bench.take();
    assert_eq!(bye.expires_s, 0, "what was granted too late is given back");
    bench.step(RegistrationInput::Start);
    assert!(bench.asked.is_empty(), "never two at once");
    bench.answer(&bye, 408, &[]);
    assert_eq!(bench.accept("300").expires_s, 3_600, "wanted again meanwhile");
    let mut failing = Bench::new(1, 1);
    failing.step(RegistrationInput::Start);
    failing.step(RegistrationInput::Stop);
    let asked = failing.take();
    failing.answer(&asked, 403, &[]);
    assert_eq!((failing.state(), failing.wake), (&RegistrationState::Unregistered, None));
}

#[test]
fn a_binding_that_a_failed_refresh_left_behind_is_undone_at_stop() {
    let mut bench = Bench::new(1, 1);
    bench.step(RegistrationInput::Start);
    bench.accept("3600");
    bench.wait();
    let asked = bench.take();
    bench.answer(&asked, 503, &[]);
    bench.step(RegistrationInput::Stop);
    assert_eq!(bench.take().expires_s, 0);
}

#[test]
fn a_lost_stream_is_replaced_soon() {
    let mut bench = Bench::new(1, 1);
    bench.step(RegistrationInput::Start);
    bench.accept("3600");
    bench.step(RegistrationInput::TransportFailed);
    assert!(bench.wait() <= Duration::from_secs(2));
    bench.accept("3600");
}

#[test]
fn late_and_missing_answers_do_no_harm() {
    let mut bench = Bench::new(1, 1);
    bench.step(RegistrationInput::Start);
    let first = bench.take();
    assert_eq!(bench.wait(), Duration::from_secs(120), "the answer was lost on its way to us");
    assert!(matches!(bench.state(), RegistrationState::Failed { reason, .. } if reason == "408 no answer"));
    bench.answer(&first, 200, &[]);
    assert!(matches!(bench.state(), RegistrationState::Failed { .. }));
    bench.wait();
    bench.answer(&first, 200, &[]);
    bench.accept("300");
    bench.answer(&first, 403, &[]);
    assert!(matches!(bench.state(), RegistrationState::Registered { .. }));
    bench.step(RegistrationInput::Start);
    assert!(bench.asked.is_empty());
}

#[test]
fn without_registrars_nothing_happens() {
    let mut bench = Bench::new(0, 1);
    bench.step(RegistrationInput::Start);
    bench.step(RegistrationInput::TransportFailed);
    bench.step(RegistrationInput::Stop);
    assert!(bench.asked.is_empty() && bench.states.is_empty() && bench.wake.is_none());
}
