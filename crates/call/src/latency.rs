//! Where the time between the caller's last word and the agent's first sound went.
//! Knows stages and budgets; the marks come from the call's own history.

use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A part of the response gap, in the order in which time passes through them. Together they leave no gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// From the arrival of the last packet with the caller's speech until the jitter buffer gave it out.
    Jitter,
    /// Waiting to be sure that the caller has finished.
    EndOfTurn,
    /// Waiting for the final transcript beyond that.
    SttFinal,
    /// Waiting for what the agent's documents have about the question.
    Knowledge,
    /// From the question to the language model's first delta.
    LlmFirstToken,
    /// Waiting for tools, and for the model to go on after them.
    Tool,
    /// From the first delta to the first sentence given to text-to-speech.
    FirstSentence,
    /// From there to its first audio.
    TtsFirstAudio,
    /// From the first audio to the first voiced packet on the wire.
    Pacing,
    /// What no stage accounts for.
    Other,
}

impl Stage {
    /// All stages, in order.
    pub const ALL: [Self; 10] = [
        Self::Jitter,
        Self::EndOfTurn,
        Self::SttFinal,
        Self::Knowledge,
        Self::LlmFirstToken,
        Self::Tool,
        Self::FirstSentence,
        Self::TtsFirstAudio,
        Self::Pacing,
        Self::Other,
    ];

    /// As it stands in traces, metrics and the config.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jitter => "jitter",
            Self::EndOfTurn => "end_of_turn",
            Self::SttFinal => "stt_final",
            Self::Knowledge => "knowledge",
            Self::LlmFirstToken => "llm_first_token",
            Self::Tool => "tool",
            Self::FirstSentence => "first_sentence",
            Self::TtsFirstAudio => "tts_first_audio",
            Self::Pacing => "pacing",
            Self::Other => "other",
        }
    }
}

/// How long one stage of one turn took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageTime {
    /// Which part.
    pub stage: Stage,
    /// How long, in microseconds.
    pub us: u64,
    /// Its budget in microseconds, if it has one.
    pub budget_us: Option<u64>,
}

/// The response gap of one turn, partitioned: the stages add up to `total_us`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnLatency {
    /// From the last packet of the caller's speech to the first voiced packet of the answer, in microseconds.
    pub total_us: u64,
    /// Budget of the whole; 0 means none.
    pub budget_us: u64,
    /// Budget of the work in it: the whole without the wait for the end of the turn. 0 means none.
    #[serde(default)]
    pub work_budget_us: u64,
    /// The stage to blame, when the whole or its work took longer than its budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub violated_by: Option<Stage>,
    /// Every stage of [`Stage::ALL`], in that order.
    pub stages: Vec<StageTime>,
}

impl TurnLatency {
    /// Everything but the wait for the end of the turn, which is a choice: what is left is work, in microseconds.
    pub fn work_us(&self) -> u64 {
        let waited = self.stages.iter().filter(|stage| stage.stage == Stage::EndOfTurn);
        self.total_us.saturating_sub(waited.map(|stage| stage.us).sum())
    }
}

impl StageTime {
    /// How far beyond its budget it went, in microseconds; a budget of 0 is none.
    pub fn over_us(&self) -> u64 {
        self.budget_us.filter(|budget| *budget > 0).map_or(0, |budget| self.us.saturating_sub(budget))
    }
}

/// What each stage, and the whole, may take before it counts as slow. Nothing is cut off by it; whoever can do something
/// about a slow turn while it is still under way reads it here: a filler, a second model, another route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Of the whole response gap.
    pub total: Duration,
    /// Of the work in it: everything but the wait for the end of the turn.
    pub work: Duration,
    /// Of single stages; a stage without one is never late.
    pub stages: BTreeMap<Stage, Duration>,
}

impl Default for Budgets {
    /// Capture 40, transcript 120, model 250, tool 150, speech 180: 740 ms of work. The end-of-turn wait itself is a choice
    /// and is given 500 ms beside it.
    fn default() -> Self {
        let ms = |stage, ms| (stage, Duration::from_millis(ms));
        Self {
            total: Duration::from_millis(1_200),
            work: Duration::from_millis(740),
            stages: BTreeMap::from([
                ms(Stage::Jitter, 40),
                ms(Stage::EndOfTurn, 500),
                ms(Stage::SttFinal, 120),
                ms(Stage::Knowledge, 80),
                ms(Stage::LlmFirstToken, 250),
                ms(Stage::Tool, 150),
                ms(Stage::FirstSentence, 100),
                ms(Stage::TtsFirstAudio, 180),
                ms(Stage::Pacing, 40),
                ms(Stage::Other, 10),
            ]),
        }
    }
}

impl Budgets {
    /// What this stage may take; zero when it has no budget.
    pub fn of(&self, stage: Stage) -> Duration {
        self.stages.get(&stage).copied().unwrap_or_default()
    }

    /// From the question until there is something to say. A model that takes longer is worth a filler, a hedge or the
    /// next target; `None` when neither of its two stages has a budget.
    pub fn speakable(&self) -> Option<Duration> {
        let budget = self.of(Stage::LlmFirstToken) + self.of(Stage::FirstSentence);
        Some(budget).filter(|budget| !budget.is_zero())
    }

    /// What is left for a stage of a turn whose work has already taken `spent`: its own budget, or less when the turn is
    /// late. Zero when the turn is over budget.
    pub fn left(&self, stage: Stage, spent: Duration) -> Duration {
        let left = self.work.saturating_sub(spent);
        match self.of(stage) {
            own if own.is_zero() => left,
            own => own.min(left),
        }
    }

    /// The stage to blame for a turn that took longer than its budget: the one furthest beyond its own. If each kept to
    /// its own, the longest that is work.
    fn violated_by(&self, latency: &TurnLatency) -> Option<Stage> {
        let over = |took: u64, budget: Duration| !budget.is_zero() && took > micros(budget);
        if !over(latency.total_us, self.total) && !over(latency.work_us(), self.work) {
            return None;
        }
        let worst = latency.stages.iter().max_by_key(|stage| stage.over_us());
        let work = latency.stages.iter().filter(|stage| stage.stage != Stage::EndOfTurn);
        let longest = work.max_by_key(|stage| stage.us);
        worst.filter(|stage| stage.over_us() > 0).or(longest).map(|stage| stage.stage)
    }
}

/// The instants of one turn, each written once, from which its partition is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    /// Arrival of the last packet that carried the caller's speech.
    pub(crate) arrived: Instant,
    /// When the jitter buffer gave it out.
    pub(crate) heard: Instant,
    /// When silence alone would have ended the turn; later than that we waited for the transcript.
    pub(crate) silent_enough: Instant,
    /// When the turn was held to be over.
    pub(crate) ended: Instant,
    /// When it was known what the documents have about it, or nothing was waited for any more.
    pub(crate) looked_up: Instant,
    /// When the model was asked.
    pub(crate) asked: Instant,
    /// The model's first delta or tool call.
    pub(crate) first_token: Option<Instant>,
    /// Start of the first tool before any sentence.
    pub(crate) tool_from: Option<Instant>,
    /// First delta after the last tool before any sentence.
    pub(crate) tool_until: Option<Instant>,
    /// The first sentence went to text-to-speech.
    pub(crate) first_sentence: Option<Instant>,
    /// Its first audio came.
    pub(crate) first_audio: Option<Instant>,
}

impl Marks {
    /// Of the same turn of the caller, whose answer is begun once more.
    pub(crate) const fn anew(self, now: Instant) -> Self {
        Self {
            asked: now,
            first_token: None,
            tool_from: None,
            tool_until: None,
            first_sentence: None,
            first_audio: None,
            ..self
        }
    }

    /// The partition of the gap that ends with the voiced packet sent at `sent`. Stages are the distances between
    /// consecutive marks, so they add up to the whole by construction; a mark that never came costs its stage nothing.
    pub(crate) fn partition(&self, sent: Instant, budgets: &Budgets) -> TurnLatency {
        // A model that failed was waited for until a prepared sentence took its place.
        let first_token = self.first_token.or(self.first_sentence).unwrap_or(self.asked);
        let tool_until = self.tool_until.or(self.tool_from.and(self.first_sentence)).unwrap_or(first_token);
        let first_sentence = self.first_sentence.unwrap_or(tool_until);
        let first_audio = self.first_audio.unwrap_or(first_sentence);
        let boundaries = [
            (Stage::Jitter, self.heard),
            (Stage::EndOfTurn, self.silent_enough.min(self.ended)),
            (Stage::SttFinal, self.ended),
            (Stage::Knowledge, self.looked_up),
            (Stage::Other, self.asked),
            (Stage::LlmFirstToken, first_token.min(self.tool_from.unwrap_or(first_token))),
            (Stage::Tool, tool_until),
            (Stage::FirstSentence, first_sentence),
            (Stage::TtsFirstAudio, first_audio),
            (Stage::Pacing, sent),
        ];
        let mut spent: BTreeMap<Stage, Duration> = BTreeMap::new();
        let mut at = self.arrived;
        for (stage, until) in boundaries {
            let until = until.clamp(at, sent.max(at));
            *spent.entry(stage).or_default() += until - at;
            at = until;
        }
        let stages = Stage::ALL.map(|stage| StageTime {
            stage,
            us: micros(spent.get(&stage).copied().unwrap_or_default()),
            budget_us: budgets.stages.get(&stage).map(|budget| micros(*budget)),
        });
        let mut latency = TurnLatency {
            total_us: stages.iter().map(|stage| stage.us).sum(),
            budget_us: micros(budgets.total),
            work_budget_us: micros(budgets.work),
            violated_by: None,
            stages: stages.to_vec(),
        };
        latency.violated_by = budgets.violated_by(&latency);
        latency
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin with")]
mod tests {
    use super::*;

    #[test]
    fn the_stages_of_a_turn_add_up_to_the_whole() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let marks = Marks {
            arrived: at(0),
            heard: at(25),
            silent_enough: at(425),
            ended: at(480),
            looked_up: at(480),
            asked: at(480),
            first_token: Some(at(700)),
            tool_from: Some(at(720)),
            tool_until: Some(at(900)),
            first_sentence: Some(at(950)),
            first_audio: Some(at(1_100)),
        };
        let latency = marks.partition(at(1_110), &Budgets::default());
        let ms: Vec<u64> = latency.stages.iter().map(|s| s.us / 1_000).collect();
        assert_eq!(ms, [25, 400, 55, 0, 220, 200, 50, 150, 10, 0]);
        assert_eq!(latency.total_us, 1_110_000);
    }

    #[test]
    fn a_slow_turn_is_blamed_on_the_stage_furthest_beyond_its_budget() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let marks = |llm: u64, tts: u64| Marks {
            arrived: at(0),
            heard: at(20),
            silent_enough: at(420),
            ended: at(420),
            looked_up: at(420),
            asked: at(420),
            first_token: Some(at(420 + llm)),
            tool_from: None,
            tool_until: None,
            first_sentence: Some(at(420 + llm)),
            first_audio: Some(at(420 + llm + tts)),
        };
        let blamed = |llm, tts, sent| {
            let latency = marks(llm, tts).partition(at(sent), &Budgets::default());
            (latency.work_us() / 1_000, latency.violated_by)
        };
        assert_eq!(blamed(200, 150, 780), (380, None));
        // One stage is late, and the whole is not: its own counter says so.
        assert_eq!(blamed(400, 150, 980), (580, None));
        assert_eq!(blamed(700, 200, 1_330), (930, Some(Stage::LlmFirstToken)));
        assert_eq!(blamed(300, 500, 1_230), (830, Some(Stage::TtsFirstAudio)));
    }

    #[test]
    fn what_is_left_of_a_budget_shrinks_with_the_turn() {
        let (budgets, ms) = (Budgets::default(), Duration::from_millis);
        assert_eq!(budgets.speakable(), Some(ms(350)));
        assert_eq!(budgets.left(Stage::TtsFirstAudio, ms(100)), ms(180));
        assert_eq!(budgets.left(Stage::TtsFirstAudio, ms(700)), ms(40));
        assert_eq!(budgets.left(Stage::TtsFirstAudio, ms(800)), Duration::ZERO);
        assert_eq!(budgets.left(Stage::Other, ms(735)), ms(5));
    }

    #[test]
    fn marks_out_of_order_never_make_a_stage_negative_or_the_sum_wrong() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut chance = 7_u64;
        let mut any = || {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            start + Duration::from_millis((chance >> 40) % 2_000)
        };
        for _ in 0..1_000 {
            let marks = Marks {
                arrived: start,
                heard: any(),
                silent_enough: any(),
                ended: any(),
                looked_up: any(),
                asked: any(),
                first_token: Some(any()),
                tool_from: Some(any()),
                tool_until: None,
                first_sentence: Some(any()),
                first_audio: Some(any()),
            };
            let latency = marks.partition(start + Duration::from_secs(3), &Budgets::default());
            assert_eq!(latency.total_us, 3_000_000);
        }
    }
}
