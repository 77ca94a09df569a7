//! When a call's packets leave: on a beat of its own, whatever else happens at the same time.
//! Knows the call's inputs and outputs only.
#![allow(clippy::disallowed_methods, reason = "a test needs an instant to begin with")]

use call::{
    Call, CallConfig, CallId, CallSetup, Clips, Input, Output, SipInput,
    port_slots::{Grant, PortSlot},
};
use media::FRAME;
use sip::LocalMedia;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const AGENT: &str = "[agent]\nname = \"a\"\nversion = \"1\"\nlanguage = \"en-US\"\ngreeting = \"Hello.\"\n\
                     persona = \"You answer.\"";

/// When the first packets of a call leave that was stepped first at `first`, and answered when its start was on disk.
fn packets(first: Instant, recorded: Instant, beat: Option<Instant>) -> Vec<Instant> {
    let local = |last: u8| LocalMedia::new([10, 0, 0, last].into(), 4_000);
    let setup = CallSetup {
        id: CallId(1),
        agent: Arc::new(conversation::Agent::parse(AGENT, &BTreeMap::new()).expect("a valid agent")),
        clips: Arc::new(Clips::default()),
        grant: Grant { slot: PortSlot(0), concurrency: 1, busy: false },
        offer: Some(sip::make_offer(&local(2))),
        local: local(1),
        seed: 1,
        started_at_us: 0,
        context: call::CallContext::default(),
        today: jiff::civil::date(2026, 11, 20),
    };
    let mut config = CallConfig::default();
    config.patience.record = Duration::from_secs(1);
    let mut call = Call::new(first, config, setup);
    if let Some(beat) = beat {
        call.keep_beat(beat);
    }
    let mut out = Vec::new();
    call.step(first, Input::Timeout, &mut out);
    call.step(recorded, Input::Recorded, &mut out);
    let mut wake = call.step(recorded, Input::Sip(SipInput::Acked { sdp: None }), &mut out);
    let mut left = Vec::new();
    while left.len() < 5 {
        let now = wake.expect("it goes on");
        out.clear();
        wake = call.step(now, Input::Timeout, &mut out);
        left.extend(out.iter().filter(|output| matches!(output, Output::SendRtp { .. })).map(|_| now));
    }
    left
}

#[test]
fn calls_that_are_answered_together_do_not_work_together() {
    let start = Instant::now();
    let recorded = start + Duration::from_millis(43);
    for ms in [0, 3, 7, 19, 23, 42] {
        let first = start + Duration::from_millis(ms);
        let left = packets(first, recorded, None);
        assert!(left[0] > recorded && left[0] <= recorded + FRAME, "{ms}: {:?} later", left[0] - recorded);
        for (n, at) in left.iter().enumerate() {
            assert_eq!((*at - first).as_micros() % FRAME.as_micros(), 0, "{ms}");
            assert_eq!(*at, left[0] + FRAME * n as u32, "{ms}");
        }
    }
}

#[test]
fn what_comes_before_the_beat_does_not_move_it() {
    let first = Instant::now();
    for (recorded, beat) in [(3, 17), (3, 23), (3, 1_017), (3, 3), (40, 17), (17, 17)] {
        let [recorded, beat] = [recorded, beat].map(|ms| first + Duration::from_millis(ms));
        let left = packets(first, recorded, Some(beat));
        assert!(left[0] > recorded && left[0] <= recorded + FRAME, "{:?} later", left[0] - recorded);
        for at in left {
            let (earlier, later) = (at.min(beat), at.max(beat));
            assert_eq!((later - earlier).as_micros() % FRAME.as_micros(), 0);
        }
    }
}
