//! Calls that nobody thought of: a script, replies, a network and faults drawn from a seed.
//! Knows scenarios. What must hold for all of them is in `tests/promises.rs`.

use crate::{
    Act, Fault, Link, Noise, Packets, Planned, Referral, Said, Scenario, Timings, ToolStep, link::Draw as _,
    scenario::Dialling,
};
use call::CallContext;
use conversation::Expectation;
use media::tone::Chance;
use sip::CodecSpec;
use std::time::Duration;

const UTTERANCES: &[&str] = &[
    "when are you open",
    "never mind",
    "i would like to",
    "book a table please",
    "yes",
    "what was that again",
    "my number is",
    "mm-hm",
    "okay right",
    "",
];
const REPLIES: &[&str] = &[
    "We open at nine. We close at five.",
    "All right.",
    "Certainly, one moment please. I will see what I can do for you.",
    "What is your number?",
    "Hm.",
    "First this. Then that. Then something else. And one more. And another one. That was all of it.",
];
const FAULTS: &[Fault] = &[
    Fault::LlmHangs,
    Fault::LlmStops,
    Fault::LlmFails,
    Fault::TtsHangs,
    Fault::TtsFails,
    Fault::TtsStops,
    Fault::TtsMute,
    Fault::SttNoFinal,
    Fault::SttFails,
    Fault::ToolHangs,
];

/// What the agent's documents have.
const DOCUMENTS: &[(&str, &str)] =
    &[("opening hours open", "We open at nine."), ("book appointment", "Any day but Sunday.")];

/// So many milliseconds, from `least` to `most`.
fn between(chance: &mut Chance, least: u64, most: u64) -> u64 {
    least + chance.below(most - least + 1)
}

fn ms(chance: &mut Chance, least: u64, most: u64) -> Duration {
    Duration::from_millis(between(chance, least, most))
}

fn one_of<T: Copy>(chance: &mut Chance, all: &[T]) -> T {
    all[chance.below(all.len() as u64) as usize]
}

impl Scenario {
    /// A call that the seed makes up. Every third one has providers that fail for some time.
    pub fn random(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5ce0_a710);
        let chance = &mut chance;
        let caller = script(chance);
        let end = caller.last().map_or(Duration::ZERO, |last| last.at);
        let faulty = seed.is_multiple_of(3);
        let (packets, reordered) = phone(&mut Chance::new(seed ^ 0x9ac7_e750));
        Self {
            length: end + Duration::from_secs(150),
            codecs: vec![CodecSpec::PCMU],
            skew_ppm: 0,
            link: Link {
                latency: ms(chance, 5, 100),
                jitter: ms(chance, 0, 60),
                loss_percent: chance.below(10),
                duplicate_percent: chance.below(5),
                reordered_percent: reordered,
            },
            packets,
            wake_late: ms(chance, 0, 35),
            replies: (0..8).map(|_| said(chance)).collect(),
            by_ear: match seed % 3 {
                0 => vec![(seed / 3 % 101) as u8, (seed / 7 % 101) as u8],
                _ => Vec::new(),
            },
            documents: if seed.is_multiple_of(2) { DOCUMENTS.to_vec() } else { Vec::new() },
            timings: Timings {
                stt_final: ms(chance, 20, 300),
                llm_first_token: ms(chance, 50, 400),
                llm_per_token: ms(chance, 5, 30),
                tts_first_audio: ms(chance, 50, 300),
                // Around the budget of 80 ms, on both sides.
                look_up: Duration::from_millis(seed * 7 % 160),
                by_ear: Duration::from_millis(seed * 13 % 900),
            },
            faults: if faulty { vec![one_of(chance, FAULTS)] } else { look_up_fault(seed) },
            faulty: (ms(chance, 0, 8_000), ms(chance, 2_000, 30_000)),
            dialling: if chance.percent(15) { Dialling::LateOffer } else { Dialling::Usual },
            line_noise: 8,
            stranger: chance.percent(30),
            clips: !chance.percent(10),
            caller,
            cap: 1,
            arguments: Vec::new(),
            referral: Referral::Refused(603),
            context: CallContext { may_refer: true, ..CallContext::default() },
        }
    }
}

/// How the caller's phone packs, and packets in a hundred that others overtake: every third one is an odd one.
fn phone(chance: &mut Chance) -> (Packets, u64) {
    if !chance.percent(33) {
        return (Packets::default(), 0);
    }
    let packets = Packets {
        length: Duration::from_millis(one_of(chance, &[10, 20, 30, 60])),
        pauses: chance.percent(50),
        begins_anew: chance.percent(50).then(|| ms(chance, 1_000, 20_000)),
    };
    (packets, chance.below(8))
}

/// A search that never ends or fails, in some of the calls that have nothing else to suffer.
fn look_up_fault(seed: u64) -> Vec<Fault> {
    match seed % 7 {
        1 => vec![Fault::LookUpHangs],
        2 => vec![Fault::LookUpFails],
        _ => Vec::new(),
    }
}

fn said(chance: &mut Chance) -> Said {
    let mut said = Said::text(one_of(chance, REPLIES));
    if chance.percent(25) {
        let result = Ok("{\"open\":9}");
        said.tools.push(ToolStep { name: "look_up", takes: Duration::from_millis(200), result });
    }
    if chance.percent(5) {
        said.tools.push(ToolStep { name: "end_call", takes: Duration::ZERO, result: Ok("{}") });
    }
    if chance.percent(30) {
        said.expect = Some(Expectation::Digits { count: Some(4) });
    }
    said
}

/// Some acts one after the other, and at last the caller hangs up.
fn script(chance: &mut Chance) -> Vec<Planned> {
    let mut acts = Vec::new();
    let mut at = between(chance, 200, 3_000);
    for _ in 0..between(chance, 2, 7) {
        let length = ms(chance, 400, 2_000);
        let act = match chance.below(10) {
            0..=4 => Act::Say(one_of(chance, UTTERANCES), length),
            5 => Act::Noise(Noise::Cough, ms(chance, 40, 400)),
            6 | 7 => Act::Press(one_of(chance, &['1', '5', '0', '#', '*'])),
            8 => Act::Hold(true),
            _ => Act::OtherCodec,
        };
        let holds = matches!(act, Act::Hold(true));
        acts.push(Planned::at(at, act));
        at += length.as_millis() as u64 + between(chance, 200, 5_000);
        if holds {
            acts.push(Planned::at(at, Act::Hold(false)));
            at += between(chance, 800, 3_000);
        }
    }
    acts.push(Planned::at(at, Act::HangUp));
    acts
}
