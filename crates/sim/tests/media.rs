//! What a whole call promises about its media: every codec, every network, and who is told when it stops.
//! The links and clocks are made up; each failing seed is named.
#![allow(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for what it expects")]

use call::{Event, Stamped};
use conversation::Agent;
use media::{SampleRate, tone};
use sim::{Act, Dialling, Heard, Link, Packets, Planned, Recording, Said, Scenario, World, say};
use sip::CodecSpec;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

const AGENT: &str = "[agent]\nname = \"simulated\"\nversion = \"1\"\nlanguage = \"en-US\"\n\
                     greeting = \"Hello, how can I help?\"\npersona = \"You answer the phone.\"";

const FRAME: Duration = Duration::from_millis(20);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn run(seed: u64, scenario: Scenario) -> World {
    let agent = Agent::parse(AGENT, &BTreeMap::new()).expect("a valid agent");
    World::new(Instant::now(), seed, Arc::new(agent), scenario).run()
}

fn with(codecs: &[CodecSpec]) -> Scenario {
    Scenario { codecs: codecs.to_vec(), ..Scenario::one_turn() }
}

/// When something first happened, after the INVITE.
fn when(world: &World, what: impl Fn(&Event) -> bool) -> Option<Duration> {
    let found = world.trace().iter().find(|Stamped { event, .. }| what(event));
    found.map(|stamped| Duration::from_micros(stamped.at_us))
}

fn answered(world: &World) -> bool {
    when(world, |event| matches!(event, Event::FirstPacket { turn } if turn.0 == 1)).is_some()
}

fn codec_of(world: &World) -> Option<&str> {
    world.trace().iter().find_map(|Stamped { event, .. }| match event {
        Event::Started { codec, .. } => Some(codec.as_str()),
        _ => None,
    })
}

/// Packets 20 ms apart, each numbered after the one before, with timestamps of the codec's clock.
fn paced(world: &World, ticks: u32) -> bool {
    world.sent().windows(2).all(|pair| {
        pair[1].sequence == pair[0].sequence.wrapping_add(1)
            && pair[1].timestamp.wrapping_sub(pair[0].timestamp) == ticks
            && pair[1].at - pair[0].at == FRAME
    })
}

#[test]
fn a_question_is_heard_and_answered_in_every_codec_at_its_own_rate() {
    for (codec, rate, ticks) in [
        (CodecSpec::PCMU, SampleRate::Hz8000, 160),
        (CodecSpec::PCMA, SampleRate::Hz8000, 160),
        (CodecSpec::G722, SampleRate::Hz16000, 160),
        (CodecSpec::OPUS, SampleRate::Hz16000, 960),
    ] {
        let world = run(1, with(&[codec]));
        assert_eq!(codec_of(&world), Some(codec.name));
        assert!(answered(&world), "{}: {}", codec.name, world.timeline());
        assert!(world.heard().iter().all(|heard| heard.rate == rate), "{}", codec.name);
        let loudest = world.heard().iter().map(|heard| heard.dbfs).fold(-120.0, f32::max);
        assert!((-24.0..-8.0).contains(&loudest), "{}: {loudest}", codec.name);
        assert!(paced(&world, ticks), "{}", codec.name);
    }
}

#[test]
fn the_callers_first_choice_is_taken_and_without_an_offer_the_codec_that_its_answer_chooses() {
    let world = run(1, with(&[CodecSpec::G722, CodecSpec::PCMU]));
    assert_eq!(codec_of(&world), Some("G722"));
    for (codec, rate) in [
        (CodecSpec::OPUS, SampleRate::Hz16000),
        (CodecSpec::G722, SampleRate::Hz16000),
        (CodecSpec::PCMA, SampleRate::Hz8000),
    ] {
        let late = Scenario { dialling: Dialling::LateOffer, ..with(&[codec]) };
        let world = run(1, late);
        assert!(answered(&world), "{}", world.timeline());
        assert!(world.heard().iter().all(|heard| heard.rate == rate), "{}", codec.name);
        let ticks = if codec == CodecSpec::OPUS { 960 } else { 160 };
        assert!(paced(&world, ticks), "{}", codec.name);
    }
}

/// A tone that rises by 60 Hz from frame to frame: what is heard out of order falls. Then a voice, which says these words.
fn rising(words: &str) -> Recording {
    let mut angle = 0.0;
    let samples = (0..8_000).map(|n| {
        angle += std::f32::consts::TAU * (300.0 + 3_000.0 * n as f32 / 8_000.0) / 8_000.0;
        (angle.sin() * 8_000.0) as i16
    });
    let voice = tone::speech(8_000, words.len() as u64, -28.0, 6_400);
    Recording { text: words.into(), samples: samples.chain(voice).collect() }
}

#[test]
fn a_phone_that_packs_otherwise_over_a_line_that_reorders_is_heard_whole_in_order_and_understood() {
    for seed in 0..3_u64 {
        let mut scenario = with(&[CodecSpec::PCMU]);
        scenario.packets = Packets { length: ms(10 + seed * 10), ..Packets::default() };
        scenario.link = Link {
            latency: ms(20),
            jitter: ms(seed * 4),
            reordered_percent: seed,
            duplicate_percent: seed,
            ..Link::default()
        };
        const QUESTIONS: [&str; 3] = ["when are you open", "where are you", "is there a menu for children"];
        let question = |n: usize| Planned::at(2_000 + n as u64 * 6_000, Act::Play(rising(QUESTIONS[n % 3])));
        scenario.caller = (0..9).map(question).collect();
        let replies = ["At nine.", "In the old town.", "There is one."].map(Said::text);
        scenario.replies = replies.iter().cycle().take(9).cloned().collect();
        scenario.length = Duration::from_secs(64);
        let world = run(seed, scenario);

        let (count, expected) = (world.heard().len() as f64, expected(world.heard()));
        assert!((count - expected).abs() <= 1.0, "seed {seed}: {count} frames for {expected}");
        let asked = world.requests().len();
        assert_eq!(asked, 9, "seed {seed}: {}", world.timeline());
        let mut tones = 0;
        for pair in world.heard().windows(2) {
            // Only the tones; and where one begins the other one has ended.
            let loud = pair.iter().all(|heard| (-17.0..-13.0).contains(&heard.dbfs));
            let (before, after) = (pair[0].crossings, pair[1].crossings);
            if loud && before > 16 {
                tones += 1;
                assert!(
                    after + 1 >= before,
                    "seed {seed}: {before} crossings, then {after}, at {:?}",
                    pair[1].at
                );
            }
        }
        assert!(tones > 9 * 35, "seed {seed}: {tones} frames of the tones");
    }
}

#[test]
fn another_codec_in_mid_call_goes_on_at_the_same_rate() {
    for (first, then) in [
        (CodecSpec::PCMU, CodecSpec::G722),
        (CodecSpec::G722, CodecSpec::PCMA),
        (CodecSpec::OPUS, CodecSpec::PCMU),
        (CodecSpec::PCMA, CodecSpec::OPUS),
    ] {
        let mut scenario = with(&[first]);
        scenario.caller.insert(0, Planned::at(1_500, Act::Codec(then)));
        let world = run(3, scenario);
        assert!(answered(&world), "{} to {}: {}", first.name, then.name, world.timeline());
        let rates: Vec<SampleRate> = world.heard().iter().map(|heard| heard.rate).collect();
        assert!(rates.windows(2).all(|pair| pair[0] == pair[1]));
        let pace = world.sent().windows(2).map(|pair| pair[1].at - pair[0].at);
        assert!(pace.into_iter().all(|apart| apart == FRAME), "{} to {}", first.name, then.name);
    }
}

/// From the first frame to the last, in frames that should have been there.
fn expected(heard: &[Heard]) -> f64 {
    let (Some(first), Some(last)) = (heard.first(), heard.last()) else { return 0.0 };
    (last.at - first.at).as_secs_f64() / FRAME.as_secs_f64() + 1.0
}

#[test]
fn what_speech_to_text_hears_is_as_long_as_the_call_on_any_network_with_any_clock() {
    for seed in 0..12 {
        let codecs = [CodecSpec::PCMU, CodecSpec::G722, CodecSpec::OPUS];
        let mut scenario = with(&codecs[seed as usize % 3..=seed as usize % 3]);
        scenario.link = Link {
            latency: ms(10 + seed * 5),
            jitter: ms(seed * 7 % 80),
            loss_percent: seed % 12,
            duplicate_percent: seed % 5,
            ..Link::default()
        };
        scenario.skew_ppm = [0, 500, -500][seed as usize / 3 % 3];
        scenario.wake_late = ms(seed % 4 * 10);
        scenario.caller = (0..20).map(|n| say(2_000 + n * 3_000, "when are you open", 1_200)).collect();
        scenario.length = Duration::from_secs(64);
        let world = run(seed, scenario);
        let (count, expected) = (world.heard().len() as f64, expected(world.heard()));
        assert!((count - expected).abs() <= 2.0, "seed {seed}: {count} frames for {expected}");
        assert!(count > 2_900.0, "seed {seed}: {count}");
        // Every second utterance is far from enough to notice a swapped or missing one, a few frames are.
        let loud = world.heard().iter().filter(|heard| heard.dbfs > -40.0).count();
        assert!((800..1_500).contains(&loud), "seed {seed}: {loud} loud frames of 1,200");
    }
}

#[test]
fn a_caller_that_sends_nothing_any_more_is_told_of_within_two_seconds_and_not_hung_up_on() {
    let mut scenario = with(&[CodecSpec::PCMU]);
    scenario.caller.push(Planned::at(5_000, Act::FallSilent));
    scenario.length = ms(20_000);
    let world = run(2, scenario);
    let silent =
        when(&world, |event| matches!(event, Event::MediaFault { fault, active: true } if fault == "silent"));
    let fell = ms(5_000) + ms(60);
    assert!(silent.is_some_and(|at| at > fell && at < fell + ms(2_000)), "{silent:?}");
    assert_eq!(when(&world, |event| matches!(event, Event::Ended { .. })), None);
}

#[test]
fn a_call_without_any_sign_of_life_ends_and_one_on_hold_does_not() {
    let mut scenario = with(&[CodecSpec::PCMU]);
    scenario.caller.push(Planned::at(5_000, Act::FallSilent));
    // Somebody who is asked whether they are there goes on being asked.
    let agent = Agent::parse(AGENT, &BTreeMap::new()).expect("a valid agent");
    let patient = |scenario| {
        World::new(Instant::now(), 4, Arc::new(agent.clone()), scenario)
            .configure(|call| call.patience.no_inputs = u32::MAX)
            .run()
    };
    scenario.length = ms(90_000);
    let world = patient(scenario.clone());
    let ended = when(&world, |event| matches!(event, Event::Ended { cause, .. } if cause == "media_timeout"));
    assert!(ended.is_some_and(|at| at > ms(64_000) && at < ms(67_500)), "{ended:?}");
    scenario.caller.insert(1, Planned::at(4_500, Act::Hold(true)));
    let world = patient(scenario);
    assert_eq!(when(&world, |event| matches!(event, Event::Ended { .. })), None);
    assert_eq!(when(&world, |event| matches!(event, Event::MediaFault { .. })), None);
}
