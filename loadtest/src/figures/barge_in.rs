//! From the caller's first packet of speech over the agent's voice to the agent's last voiced packet, in every state.
//! Knows scripts, the callers' clocks, and from the traces what the agent was doing.

use crate::{
    bench::{Bench, Calls, World},
    figures::{ASK, INTERRUPT},
    fleet::Outcome,
    processes::Engines,
    report::Report,
    spread::Spread,
};
use std::time::Duration;
use tandem::{
    caller::script::{Script, Step, WaitFor},
    telemetry::call_trace::TurnTrace,
};

const GROUP: &str = "Barge-in, caller's clock";
const AIM: &str = "p95 ≤ 260";

/// A state of the agent, and how the simulators bring it about.
struct State {
    name: &'static str,
    /// What speech-to-text understands, whatever is said.
    phrase: &'static str,
    /// What the language model then answers, when its words hold the phrase.
    reply: &'static str,
    further: &'static [&'static str],
    /// Whether a turn was cut in this state.
    holds: fn(&TurnTrace) -> bool,
}

const STATES: [State; 3] = [
    State {
        name: "while the model still streams",
        phrase: "Tell me a story.",
        reply: "story=There was once a telephone that stood in a hall and rang all day long. And nobody knew who it \
            was that called so often and so late because nobody in that old house ever went to answer it at all.",
        further: &["--llm-later-token-ms", "400"],
        holds: |turn| turn.barge_in.as_ref().is_some_and(|cut| cut.state == "streaming"),
    },
    State {
        name: "while a tool runs",
        phrase: "Please look up my order.",
        reply: "look up=One moment please, I am going through all of our records for you, and that takes a while.",
        further: &[],
        holds: tool_was_running,
    },
    State {
        name: "while text-to-speech speaks",
        phrase: "Tell me more.",
        reply: "more=There is a great deal to be said about this, and all of it has been written down already, so that \
            only the voice is still at work while you are listening to me.",
        further: &["--tts-speed", "1.5"],
        holds: |turn| turn.barge_in.as_ref().is_some_and(|cut| cut.state == "speaking"),
    },
];

/// Calls at the same time, and interruptions of each.
const CALLS: usize = 3;
const INTERRUPTIONS: usize = 10;
/// Calls whose greeting is interrupted.
const GREETINGS: usize = 25;

pub(super) fn measure(bench: &Bench, report: &mut Report) -> Result<(), String> {
    eprintln!("{GREETINGS} interruptions of the greeting ...");
    let world = bench.start(Engines::Simulated, ASK, &[])?;
    let calls =
        Calls { count: GREETINGS, spacing: Duration::from_millis(1_370), limit: Duration::from_secs(90) };
    let outcomes = bench.call(&calls, |number| Script {
        steps: interrupt(number).into_iter().chain([Step::HangUp { hang_up: true }]).collect(),
    })?;
    let greeting = |turn: &TurnTrace| turn.barge_in.as_ref().is_some_and(|cut| cut.state == "greeting");
    add("greeting", &world, &outcomes, greeting, report)?;
    drop(world);
    for state in STATES {
        eprintln!("{CALLS} calls with {INTERRUPTIONS} interruptions {} ...", state.name);
        let further: Vec<&str> =
            ["--reply", state.reply].into_iter().chain(state.further.iter().copied()).collect();
        let world = bench.start(Engines::Simulated, state.phrase, &further)?;
        let calls =
            Calls { count: CALLS, spacing: Duration::from_millis(770), limit: Duration::from_secs(180) };
        let outcomes = bench.call(&calls, |number| Script { steps: interrupt_often(number) })?;
        add(state.name, &world, &outcomes, state.holds, report)?;
    }
    Ok(())
}

/// Lets the agent speak for a while that differs from time to time, and talks over it until it is silent.
fn interrupt(number: usize) -> [Step; 2] {
    let after_ms = 400 + number as u64 * 137 % 900;
    [
        Step::Interrupt { interrupt: INTERRUPT.to_owned(), after_ms },
        Step::ExpectSilence { expect_silence_within_ms: 2_000 },
    ]
}

fn interrupt_often(number: usize) -> Vec<Step> {
    let mut steps = vec![
        Step::Wait { wait_for: WaitFor::Agent, within_ms: 15_000 },
        Step::Say { say: ASK.to_owned(), after_silence_ms: 600 },
    ];
    for round in 0..INTERRUPTIONS {
        steps.extend(interrupt(number * INTERRUPTIONS + round));
    }
    steps.push(Step::HangUp { hang_up: true });
    steps
}

/// Puts down what callers measured, and how sure the traces are that the agent was in that state.
fn add(
    name: &str,
    world: &World,
    outcomes: &[Outcome],
    holds: fn(&TurnTrace) -> bool,
    report: &mut Report,
) -> Result<(), String> {
    let silences = outcomes.iter().flat_map(|outcome| outcome.measures.silences.iter().copied());
    report.spread(GROUP, name, "ms", &Spread::of_ms(silences), AIM);
    let traces = world.traces(outcomes)?;
    let cut: Vec<&TurnTrace> =
        traces.iter().flat_map(|trace| &trace.turns).filter(|turn| turn.barge_in.is_some()).collect();
    let decided: Spread =
        cut.iter().filter_map(|turn| Some(f64::from(turn.barge_in.as_ref()?.reaction_ms))).collect();
    report.spread(GROUP, "  of it to the decision, server's trace", "ms", &decided, "");
    let sure = cut.iter().filter(|turn| holds(turn)).count();
    if sure < cut.len() {
        let values = [("n", sure as f64), ("of", cut.len() as f64)];
        report.values(GROUP, "  interruptions that met this state", "", &values, "");
    }
    Ok(())
}

fn tool_was_running(turn: &TurnTrace) -> bool {
    let Some(cut) = &turn.barge_in else { return false };
    turn.tools.iter().any(|tool| {
        let ended = tool.ms.map(|ms| tool.at_us + u64::from(ms) * 1_000);
        tool.at_us < cut.at_us && ended.is_none_or(|ended| ended > cut.at_us)
    })
}
