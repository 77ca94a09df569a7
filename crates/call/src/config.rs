//! What a call is given at its start: how patient it is, what it was offered, what it can say without any provider.
//! Checked values only: reading and validating text happens in `src/config`.

use crate::{CallId, latency::Budgets, port_slots::Grant};
use conversation::{Agent, Checkpoint, FloorConfig, Tool, Variables, matching};
use media::{JitterConfig, Resampler, SampleRate};
use sip::LocalMedia;
use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

/// How a call behaves; the same for every call of an agent.
#[derive(Clone, Debug)]
pub struct CallConfig {
    /// Turn-taking.
    pub floor: FloorConfig,
    /// The jitter buffer's bounds.
    pub jitter: JitterConfig,
    /// What each stage may take before it is counted as slow.
    pub budgets: Budgets,
    /// When to stop waiting for whom.
    pub patience: Patience,
    /// Whether answers are begun before the caller's turn is surely over.
    pub speculation: SpeculationConfig,
    /// How long to ring (180) before the answer; zero answers at once.
    pub ring_for: Duration,
    /// Whether every frame of both sides is told, for a recorder.
    pub record: bool,
    /// Level of the noise that fills the agent's pauses, in dB relative to full scale, so that the line does not sound
    /// dead; `None`: digital silence.
    pub comfort_noise_dbfs: Option<f32>,
    /// Whether tones in the audio are keys even where telephone-event was agreed on. A press told both ways is one.
    pub tones_too: bool,
    /// Whether a detector elsewhere says if frames hold speech: each is told with [`crate::Output::Judge`], answers come
    /// with [`crate::Input::Judged`] before the next one. While they are late, the call's own detector decides.
    pub vad_elsewhere: bool,
    /// Whether a model listens if the caller sounds finished: it is asked with [`crate::Output::JudgeTurn`] in each pause and
    /// answers with [`crate::Input::TurnJudged`]. Until it does, and if it does not, the words decide alone.
    pub turn_model: bool,
}

/// What is begun on a guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speculate {
    /// Nothing.
    #[default]
    Off,
    /// The question to the language model.
    Llm,
    /// That, and the first sentence's speech.
    Speech,
}

/// Answers that are begun early. No tool runs and nothing is heard before the turn is over.
#[derive(Clone, Debug)]
pub struct SpeculationConfig {
    /// What is begun.
    pub mode: Speculate,
    /// Of all tokens of a call, in hundredths, so many may have been for nothing (30); beyond that it is left alone.
    pub max_waste_percent: u8,
}

impl Default for SpeculationConfig {
    fn default() -> Self {
        Self { mode: Speculate::Off, max_waste_percent: 30 }
    }
}

/// How long a call waits for others before it goes on without them.
#[derive(Clone, Debug)]
pub struct Patience {
    /// From the question to the first thing that can be spoken, over all targets of the route.
    pub reply: Duration,
    /// From a sentence's turn to be spoken until its first audio, and between two pieces of its audio.
    pub speech: Duration,
    /// From the start of a tool to its result.
    pub tool: Duration,
    /// Before the answer, for the word that the call's start is on disk ([`crate::Input::Recorded`]). Zero: nobody
    /// will say so.
    pub record: Duration,
    /// Without any packet from the caller.
    pub media: Duration,
    /// Of the whole call.
    pub call: Duration,
    /// Unanswered questions before the agent says goodbye.
    pub no_inputs: u32,
    /// From the caller's last word to a sound of attention, if there is no answer by then.
    pub filler: Duration,
    /// The longest silence on the wire while the agent owes an answer; below 2 s.
    pub still: Duration,
    /// How long before the end of the longest call the caller is warned; zero: never.
    pub warning: Duration,
    /// Without a sound from either side.
    pub silence: Duration,
    /// Nearly equal answers in a row after which the agent says goodbye. The menu, if there is one, comes after three.
    pub circles: u32,
    /// Turns in a row without any answer from a language model after which the agent says goodbye.
    pub failures: u32,
}

impl Default for Patience {
    /// `reliability.md` 5 and R16, R21: 8 s of reply over all attempts, 1.5 s of speech, 8 s of a tool, 60 s of media,
    /// 30 min of call, two reprompts, 45 s of silence; GW-23 of the same:
    /// 1.2 s to a sound of attention.
    fn default() -> Self {
        Self {
            reply: Duration::from_secs(8),
            speech: Duration::from_millis(1_500),
            tool: Duration::from_secs(8),
            record: Duration::ZERO,
            media: Duration::from_secs(60),
            call: Duration::from_secs(30 * 60),
            no_inputs: 3,
            filler: Duration::from_millis(1_200),
            still: Duration::from_millis(1_800),
            warning: Duration::from_secs(60),
            silence: Duration::from_secs(45),
            circles: 5,
            failures: 4,
        }
    }
}

/// What a quiet room sounds like over a telephone: it can be heard, and nobody listens to it.
const COMFORT_NOISE_DBFS: f32 = -65.0;

impl Default for CallConfig {
    fn default() -> Self {
        Self {
            floor: FloorConfig::default(),
            jitter: JitterConfig::default(),
            budgets: Budgets::default(),
            patience: Patience::default(),
            speculation: SpeculationConfig::default(),
            ring_for: Duration::ZERO,
            record: false,
            comfort_noise_dbfs: Some(COMFORT_NOISE_DBFS),
            tones_too: false,
            vad_elsewhere: false,
            turn_model: false,
        }
    }
}

/// What makes this call this one.
#[derive(Clone)]
pub struct CallSetup {
    /// Our name for it.
    pub id: CallId,
    /// Who answers.
    pub agent: Arc<Agent>,
    /// Speech that needs no provider.
    pub clips: Arc<Clips>,
    /// The slot it holds.
    pub grant: Grant,
    /// The caller's offer, absent when it wants ours (a late offer).
    pub offer: Option<String>,
    /// Our address and codecs.
    pub local: LocalMedia,
    /// For SSRC and first sequence numbers.
    pub seed: u64,
    /// Wall clock at the start, in microseconds since 1970, for RTCP.
    pub started_at_us: u64,
    /// The date at the caller's end.
    pub today: jiff::civil::Date,
    /// What is known besides.
    pub context: CallContext,
}

/// An agent that may take a call over from another.
#[derive(Clone, Debug)]
pub struct Member {
    /// Who it is.
    pub agent: Arc<Agent>,
    /// Its speech that needs no provider.
    pub clips: Arc<Clips>,
    /// Tools that servers bring it.
    pub tools: Arc<Vec<Tool>>,
    /// What it speaks: see [`CallContext::languages`].
    pub languages: Arc<BTreeMap<String, Localised>>,
}

impl Member {
    /// The same, speaking this language if it can: a caller who has chosen one keeps it.
    pub(crate) fn in_language(self, tag: &str) -> Self {
        let known = matching(tag, self.languages.keys().map(String::as_str));
        match known.and_then(|tag| self.languages.get(tag)).cloned() {
            Some(Localised { agent, clips, .. }) => Self { agent, clips, ..self },
            None => self,
        }
    }
}

/// The agent in one of its languages.
#[derive(Clone, Debug)]
pub struct Localised {
    /// Who speaks.
    pub agent: Arc<Agent>,
    /// Its prepared sentences.
    pub clips: Arc<Clips>,
    /// Whether it is the one that calls begin in.
    pub first: bool,
}

/// What is known of a call besides its media, and what that allows.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    /// For prompts, speech, tools and headers.
    pub variables: Variables,
    /// Tools that servers bring, besides the agent's own.
    pub tools: Arc<Vec<Tool>>,
    /// Whether the far end takes a REFER.
    pub may_refer: bool,
    /// Agents that may take over, by the name that the agent's file gives them.
    pub team: Arc<BTreeMap<String, Member>>,
    /// Where the same caller's last conversation stood, if it was cut off.
    pub resumed: Option<Arc<Checkpoint>>,
    /// Whether to tell where the conversation stands, for the case that it is cut off.
    pub keep: bool,
    /// Header fields for our 200 and our BYE.
    pub headers: Vec<(String, String)>,
    /// What the agent speaks, by tag, its first language among them; empty where it speaks only that.
    pub languages: Arc<BTreeMap<String, Localised>>,
}

/// A sentence with its audio, rendered before the first call.
#[derive(Clone, Debug, Default)]
pub struct Clip {
    /// What is said.
    pub text: String,
    /// Linear samples at 8 kHz; empty if it could not be rendered.
    pub samples: Vec<i16>,
    /// The same at 16 kHz; empty where no call is wide band.
    pub wide: Vec<i16>,
}

impl Clip {
    /// A sentence that was rendered at this rate. A wide-band one is converted for telephones here, and not in each call.
    pub fn new(text: String, rate: SampleRate, samples: Vec<i16>) -> Self {
        match rate {
            SampleRate::Hz8000 => Self { text, samples, wide: Vec::new() },
            SampleRate::Hz16000 => {
                let clip = Self { text, samples: Vec::new(), wide: samples };
                Self { samples: clip.audio(SampleRate::Hz8000).into_owned(), ..clip }
            }
        }
    }

    /// What a call of this rate plays: as it was rendered, or converted.
    pub fn audio(&self, rate: SampleRate) -> Cow<'_, [i16]> {
        let (right, other) = match rate {
            SampleRate::Hz8000 => (&self.samples, &self.wide),
            SampleRate::Hz16000 => (&self.wide, &self.samples),
        };
        if !right.is_empty() || other.is_empty() {
            return Cow::Borrowed(right);
        }
        let from = if rate == SampleRate::Hz8000 { SampleRate::Hz16000 } else { SampleRate::Hz8000 };
        let mut converted = Vec::with_capacity(other.len() * rate.hz() as usize / from.hz() as usize);
        let mut resampler = Resampler::new(from.hz(), rate.hz());
        resampler.push(other, &mut converted);
        resampler.finish(&mut converted);
        Cow::Owned(converted)
    }
}

/// The sound of a room, to be played over and over, at the level it has on the line.
#[derive(Clone, Debug, Default)]
pub struct Ambience {
    /// At 8 kHz; empty: none.
    pub samples: Arc<[i16]>,
    /// At 16 kHz.
    pub wide: Arc<[i16]>,
}

/// What an agent can say with every provider dead.
#[derive(Clone, Debug, Default)]
pub struct Clips {
    /// Said at the answer.
    pub greeting: Clip,
    /// Said when a stage failed the turn.
    pub trouble: Clip,
    /// Said when speech could not be understood.
    pub not_heard: Clip,
    /// Said when the caller is silent.
    pub still_there: Clip,
    /// Said before we hang up.
    pub goodbye: Clip,
    /// Sounds of attention while an answer is on its way, in turn.
    pub acknowledge: Vec<Clip>,
    /// Said when it takes longer, one after the other.
    pub one_moment: Vec<Clip>,
    /// Said when the longest call is nearly over.
    pub ending_soon: Clip,
    /// What is heard under everything.
    pub ambience: Ambience,
    /// The agent's menu, if it has one.
    pub menu: Clip,
    /// What is said to each of its choices.
    pub menu_options: Vec<Clip>,
}

impl Clips {
    /// Every one of them.
    pub fn all(&self) -> impl Iterator<Item = &Clip> {
        let single = [
            &self.greeting,
            &self.trouble,
            &self.not_heard,
            &self.still_there,
            &self.goodbye,
            &self.ending_soon,
            &self.menu,
        ];
        let lists = self.acknowledge.iter().chain(&self.one_moment).chain(&self.menu_options);
        single.into_iter().chain(lists)
    }
}
