//! Everything that determines a simulated call, as data.
//! Knows what a caller does and how fast providers are, not how the call deals with it.

use crate::{Link, Packets};
use call::CallContext;
use conversation::Expectation;
use sip::CodecSpec;
use std::{sync::Arc, time::Duration};

/// A simulated call.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// When the simulation stops.
    pub length: Duration,
    /// What the caller does, in order of time after the answer.
    pub caller: Vec<Planned>,
    /// What the caller offers, preferred first.
    pub codecs: Vec<CodecSpec>,
    /// How much faster than ours the caller's clock runs, in millionths.
    pub skew_ppm: i32,
    /// How the caller's phone puts its sound into packets.
    pub packets: Packets,
    /// The network, each way.
    pub link: Link,
    /// How late a timer may fire: a busy machine wakes us after the instant we asked for.
    pub wake_late: Duration,
    /// What the model says, one for each time it is asked; the last one again after that.
    pub replies: Vec<Said>,
    /// What the agent's documents have, if it has any: passages that are found by any of their title's words.
    pub documents: Vec<(&'static str, &'static str)>,
    /// How finished the caller sounds to the model that listens, in percent: one for each pause, the last one again after
    /// that. Nothing: there is no such model.
    pub by_ear: Vec<u8>,
    /// How fast the providers are.
    pub timings: Timings,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// From when on after the answer, and for how long.
    pub faulty: (Duration, Duration),
    /// How the caller dials.
    pub dialling: Dialling,
    /// Somebody else sends speech to our port as well.
    pub stranger: bool,
    /// The noise on the caller's line, as the largest sample. A quiet line has 8.
    pub line_noise: u16,
    /// Port slots.
    pub cap: u32,
    /// Clips rendered at start; without them every sentence needs text-to-speech.
    pub clips: bool,
    /// What the model gives a tool as its arguments, by the tool's name; `{}` where it is not listed.
    pub arguments: Vec<(&'static str, &'static str)>,
    /// What the carrier makes of a REFER.
    pub referral: Referral,
    /// What is known of the call besides, and what the far end takes.
    pub context: CallContext,
}

/// What the carrier makes of a REFER.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referral {
    /// It is refused with this status.
    Refused(u16),
    /// It is taken, and after so long the call to the destination ends with this status.
    Ends(Duration, u16),
    /// It is taken, and after so long the caller's side hangs up without another word.
    HangsUp(Duration),
    /// It is taken, and nobody ever says what became of it.
    Silent,
}

/// Something the caller does at a time after the call was answered.
#[derive(Clone, Debug)]
pub struct Planned {
    /// When.
    pub at: Duration,
    /// What.
    pub act: Act,
}

/// How a caller dials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialling {
    /// With an offer, as most do.
    #[default]
    Usual,
    /// Without one: ours is answered in the ACK.
    LateOffer,
    /// With a codec that we do not speak.
    StrangeCodec,
    /// With an offer, and its ACK gets lost each time.
    WithoutAck,
    /// Gives up after this time unless the call was answered before.
    Impatient(Duration),
}

/// What a caller can do.
#[derive(Clone, Debug)]
pub enum Act {
    /// Speaks these words for so long.
    Say(&'static str, Duration),
    /// Plays a recording.
    Play(Recording),
    /// Makes a noise that is not speech, for so long.
    Noise(Noise, Duration),
    /// Presses a key.
    Press(char),
    /// Hangs up.
    HangUp,
    /// Puts us on hold (`true`) or takes us back.
    Hold(bool),
    /// Goes on with the other law of G.711, by a re-INVITE.
    OtherCodec,
    /// Goes on with this codec alone, by a re-INVITE.
    Codec(CodecSpec),
    /// Sends no packets any more, though the call stands.
    FallSilent,
}

impl std::fmt::Display for Act {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Say(text, length) => write!(f, "says {text:?} ({} ms)", length.as_millis()),
            Self::Play(recording) => {
                write!(f, "plays {:?} ({} ms)", recording.text, recording.length().as_millis())
            }
            Self::Noise(Noise::Cough, length) => write!(f, "coughs ({} ms)", length.as_millis()),
            Self::Press(key) => write!(f, "presses {key}"),
            Self::HangUp => f.write_str("hangs up"),
            Self::Hold(true) => f.write_str("puts us on hold"),
            Self::Hold(false) => f.write_str("takes us back"),
            Self::OtherCodec => f.write_str("changes the codec"),
            Self::Codec(codec) => write!(f, "goes on with {}", codec.name),
            Self::FallSilent => f.write_str("sends no more packets"),
        }
    }
}

/// Sound from elsewhere, with what a recogniser makes of it.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The words; empty if there are none.
    pub text: Arc<str>,
    /// At 8 kHz.
    pub samples: Arc<[i16]>,
}

impl Recording {
    /// How long it is.
    pub fn length(&self) -> Duration {
        Duration::from_micros(self.samples.len() as u64 * 125)
    }
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
    /// What it expects to be answered.
    pub expect: Option<Expectation>,
    /// Tools it calls after that.
    pub tools: Vec<ToolStep>,
}

impl Said {
    /// Words only.
    pub const fn text(text: &'static str) -> Self {
        Self { text, expect: None, tools: Vec::new() }
    }
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
    /// From the beginning of a search in the documents to its end.
    pub look_up: Duration,
    /// From a pause to what the model that listens says of it.
    pub by_ear: Duration,
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
    /// Text-to-speech fails in the middle of each sentence.
    TtsStops,
    /// Text-to-speech says that it is done and gives no audio.
    TtsMute,
    /// Speech-to-text never gives a final transcript.
    SttNoFinal,
    /// Speech-to-text fails after a second.
    SttFails,
    /// A tool never answers.
    ToolHangs,
    /// A search of the documents never ends.
    LookUpHangs,
    /// A search of the documents fails.
    LookUpFails,
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl Default for Timings {
    /// Typical of network providers.
    fn default() -> Self {
        Self {
            stt_final: ms(120),
            llm_first_token: ms(300),
            llm_per_token: ms(25),
            tts_first_audio: ms(150),
            look_up: ms(10),
            by_ear: ms(90),
        }
    }
}

impl Scenario {
    /// One question, one answer, on a good network with typical providers.
    pub fn one_turn() -> Self {
        Self {
            length: ms(9_000),
            caller: vec![say(2_500, "when are you open", 1_200)],
            codecs: vec![CodecSpec::PCMU],
            skew_ppm: 0,
            packets: Packets::default(),
            link: Link { latency: ms(30), ..Link::default() },
            wake_late: Duration::ZERO,
            replies: vec![Said::text("We open at nine. We close at five.")],
            documents: Vec::new(),
            by_ear: Vec::new(),
            timings: Timings::default(),
            faults: Vec::new(),
            faulty: (Duration::ZERO, Duration::MAX),
            dialling: Dialling::Usual,
            stranger: false,
            line_noise: 8,
            cap: 2,
            clips: true,
            arguments: Vec::new(),
            referral: Referral::Refused(603),
            context: CallContext { may_refer: true, ..CallContext::default() },
        }
    }

    /// As [`Scenario::one_turn`], and the caller talks over the answer.
    pub fn barge_in() -> Self {
        let mut scenario = Self::one_turn();
        scenario.replies = vec![
            Said::text("We open at nine in the morning. We close at five in the afternoon, every day."),
            Said::text("All right."),
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
        scenario.replies.insert(0, Said { tools: vec![tool], ..Said::default() });
        scenario.caller[1] = say(5_200, "are you there", 900);
        scenario
    }
}

impl Planned {
    /// The caller does this so many milliseconds after the answer.
    pub const fn at(at: u64, act: Act) -> Self {
        Self { at: ms(at), act }
    }
}

/// The caller says `text` from `at` milliseconds on, for `length` milliseconds.
pub const fn say(at: u64, text: &'static str, length: u64) -> Planned {
    Planned { at: ms(at), act: Act::Say(text, ms(length)) }
}
