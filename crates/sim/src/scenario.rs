//! Everything that determines a simulated call, as data.
//! Knows what a caller does and how fast providers are, not how the call deals with it.

use crate::Link;
use std::time::Duration;

/// A simulated call.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// When the simulation stops.
    pub length: Duration,
    /// What the caller does, in order of time after the answer.
    pub caller: Vec<Planned>,
    /// The network, each way.
    pub link: Link,
    /// How late a timer may fire: a busy machine wakes us after the instant we asked for.
    pub wake_late: Duration,
    /// What the model says, one for each time it is asked; the last one again after that.
    pub replies: Vec<Said>,
    /// How fast the providers are.
    pub timings: Timings,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Port slots.
    pub cap: u32,
    /// Clips rendered at start; without them every sentence needs text-to-speech.
    pub clips: bool,
}

/// Something the caller does at a time after the call was answered.
#[derive(Clone, Debug)]
pub struct Planned {
    /// When.
    pub at: Duration,
    /// What.
    pub act: Act,
}

/// What a caller can do.
#[derive(Clone, Debug)]
pub enum Act {
    /// Speaks these words for so long.
    Say(&'static str, Duration),
    /// Makes a noise that is not speech, for so long.
    Noise(Noise, Duration),
    /// Presses a key.
    Press(char),
    /// Hangs up.
    HangUp,
    /// Puts us on hold (`true`) or takes us back.
    Hold(bool),
}

/// Sounds that are not speech.
#[derive(Clone, Copy, Debug)]
pub enum Noise {
    /// A short loud burst of broad-band noise.
    Cough,
}

/// What the model says when asked.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// The reply, streamed word by word.
    pub text: &'static str,
    /// Tools it calls after that.
    pub tools: Vec<ToolStep>,
}

/// A tool call of the model and how it goes.
#[derive(Clone, Copy, Debug)]
pub struct ToolStep {
    /// The tool's name.
    pub name: &'static str,
    /// How long it takes.
    pub takes: Duration,
    /// JSON text, or an error.
    pub result: Result<&'static str, &'static str>,
}

/// How fast the providers are.
#[derive(Clone, Debug)]
pub struct Timings {
    /// From a finalize, or from the provider's own detection of silence, to the final transcript.
    pub stt_final: Duration,
    /// From the question to the first word.
    pub llm_first_token: Duration,
    /// Between two words.
    pub llm_per_token: Duration,
    /// From a sentence to its first audio; audio then comes four times faster than real time.
    pub tts_first_audio: Duration,
}

/// What goes wrong with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The model never says anything.
    LlmHangs,
    /// The model stops in the middle of its reply and never ends it.
    LlmStops,
    /// The model fails at once.
    LlmFails,
    /// Text-to-speech never says anything.
    TtsHangs,
    /// Text-to-speech fails each sentence.
    TtsFails,
    /// Speech-to-text never gives a final transcript.
    SttNoFinal,
    /// Speech-to-text fails after a second.
    SttFails,
    /// A tool never answers.
    ToolHangs,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Default for Timings {
    /// Typical of network providers.
    fn default() -> Self {
        Self { stt_final: ms(120), llm_first_token: ms(300), llm_per_token: ms(25), tts_first_audio: ms(150) }
    }
}

impl Scenario {
    /// One question, one answer, on a good network with typical providers.
    pub fn one_turn() -> Self {
        Self {
            length: ms(9_000),
            caller: vec![say(2_500, "when are you open", 1_200)],
            link: Link { latency: ms(30), ..Link::default() },
            wake_late: Duration::ZERO,
            replies: vec![Said { text: "We open at nine. We close at five.", tools: Vec::new() }],
            timings: Timings::default(),
            faults: Vec::new(),
            cap: 2,
            clips: true,
        }
    }

    /// As [`Scenario::one_turn`], and the caller talks over the answer.
    pub fn barge_in() -> Self {
        let mut scenario = Self::one_turn();
        scenario.replies = vec![
            Said {
                text: "We open at nine in the morning. We close at five in the afternoon, every day.",
                tools: vec![],
            },
            Said { text: "All right.", tools: vec![] },
        ];
        scenario.caller.push(say(6_000, "never mind", 900));
        scenario.length = ms(12_000);
        scenario
    }

    /// The caller speaks into the greeting.
    pub fn over_the_greeting() -> Self {
        let mut scenario = Self::one_turn();
        scenario.caller = vec![say(600, "when are you open", 1_200)];
        scenario
    }

    /// As [`Scenario::barge_in`], with a model so slow that its old answer is still coming when the new one has begun.
    pub fn slow_model() -> Self {
        let mut scenario = Self::barge_in();
        scenario.timings.llm_per_token = ms(400);
        scenario
    }

    /// As [`Scenario::barge_in`], with a voice so slow that its old sentence arrives in the new turn.
    pub fn slow_voice() -> Self {
        let mut scenario = Self::barge_in();
        scenario.timings.tts_first_audio = ms(1_300);
        scenario
    }

    /// The model calls a tool first; the caller speaks while it runs.
    pub fn over_a_tool() -> Self {
        let mut scenario = Self::barge_in();
        let tool = ToolStep { name: "look_up", takes: ms(2_500), result: Ok("{\"open\":9}") };
        scenario.replies.insert(0, Said { text: "", tools: vec![tool] });
        scenario.caller[1] = say(5_200, "are you there", 900);
        scenario
    }
}

/// The caller says `text` from `at` milliseconds on, for `length` milliseconds.
pub(crate) fn say(at: u64, text: &'static str, length: u64) -> Planned {
    Planned { at: ms(at), act: Act::Say(text, ms(length)) }
}
