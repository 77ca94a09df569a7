//! Speech-to-text, language model, text-to-speech and tools, pretended: what they will say and when.
//! Knows the scenario. Deliberately deaf to cancellation: late pieces must do no harm.

use crate::{
    Scenario,
    link::Draw as _,
    scenario::{Act, Fault},
};
use call::{LlmEvent, SttEvent, ToolResult, TtsEvent};
use conversation::{Passage, ToolCall, TurnId, fit, telling_words};
use media::{SampleRate, tone::Chance};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Something a provider will report.
#[derive(Debug)]
pub(crate) enum Report {
    Stt(SttEvent),
    Llm(TurnId, LlmEvent),
    Tts(TurnId, TtsEvent),
    Tool(TurnId, ToolResult),
    Found(u32, Result<Vec<Passage>, String>),
    TurnJudged(u32, f32),
}

type Later = Vec<(Instant, Report)>;

/// The providers of one call.
pub(crate) struct Providers {
    scenario: Scenario,
    /// The caller's utterances on the machine's clock.
    said: Vec<Utterance>,
    settled: usize,
    interim_at: Option<Instant>,
    asked: usize,
    answered_at: Option<Instant>,
    failed: bool,
    /// The reply that each turn was given, for the promises.
    pub(crate) given: Vec<(TurnId, String)>,
}

struct Utterance {
    from: Instant,
    until: Instant,
    text: Arc<str>,
    /// Whether any of it reached us.
    heard: bool,
}

/// What a spoken letter takes.
const PER_LETTER: Duration = Duration::from_millis(60);
const FRAME: Duration = media::FRAME;

impl Providers {
    pub(crate) fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            said: Vec::new(),
            settled: 0,
            interim_at: None,
            asked: 0,
            answered_at: None,
            failed: false,
            given: Vec::new(),
        }
    }

    /// The caller begins its script at `start`.
    pub(crate) fn caller_starts(&mut self, start: Instant) {
        self.answered_at = Some(start);
        let latency = self.scenario.link.latency;
        let said = self.scenario.caller.iter().filter_map(|planned| match &planned.act {
            Act::Say(text, length) => {
                let from = start + planned.at + latency;
                Some(Utterance { from, until: from + *length, text: (*text).into(), heard: false })
            }
            Act::Play(recording) => {
                let from = start + planned.at + latency;
                let text = Arc::clone(&recording.text);
                Some(Utterance { from, until: from + recording.length(), text, heard: false })
            }
            Act::Noise(..)
            | Act::Press(_)
            | Act::HangUp
            | Act::Hold(_)
            | Act::OtherCodec
            | Act::Codec(_)
            | Act::FallSilent => None,
        });
        self.said = said.collect();
    }

    fn has(&self, now: Instant, fault: Fault) -> bool {
        let (from, length) = self.scenario.faulty;
        let since = self.answered_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        self.scenario.faults.contains(&fault) && since >= from && since - from < length
    }

    /// A frame of the caller: interim words while an utterance goes on.
    pub(crate) fn hear(&mut self, now: Instant) -> Later {
        let late = self.answered_at.is_some_and(|at| now >= at + Duration::from_secs(1));
        if self.has(now, Fault::SttFails) && late && !std::mem::replace(&mut self.failed, true) {
            return vec![(now, Report::Stt(SttEvent::Failed { reason: "simulated".into() }))];
        }
        while self.said.get(self.settled).is_some_and(|missed| missed.until < now && !missed.heard) {
            self.settled += 1;
        }
        let Some(utterance) = self.said.get_mut(self.settled) else { return Vec::new() };
        utterance.heard |= now >= utterance.from;
        let due = self.interim_at.is_none_or(|at| now >= at + Duration::from_millis(200));
        if self.failed || now < utterance.from + Duration::from_millis(200) || now > utterance.until || !due {
            return Vec::new();
        }
        self.interim_at = Some(now);
        let share = (now - utterance.from).as_secs_f64() / (utterance.until - utterance.from).as_secs_f64();
        let words: Vec<&str> = utterance.text.split(' ').collect();
        let count = ((words.len() as f64 * share) as usize).clamp(1, words.len());
        let text = words[..count].join(" ");
        vec![(now + self.scenario.timings.stt_final / 2, Report::Stt(SttEvent::Interim { text }))]
    }

    /// The call asks for the last words: those of every utterance that has ended.
    pub(crate) fn finalize(&mut self, now: Instant) -> Later {
        if self.has(now, Fault::SttNoFinal) || self.failed {
            return Vec::new();
        }
        let mut words = Vec::new();
        while let Some(utterance) = self.said.get(self.settled).filter(|u| u.until <= now) {
            words.extend(Some(&*utterance.text).filter(|text| utterance.heard && !text.is_empty()));
            self.settled += 1;
        }
        let event = SttEvent::Final { text: words.join(" "), confidence: Some(0.9) };
        vec![(now + self.scenario.timings.stt_final, Report::Stt(event))]
    }

    /// The model's reply, word by word, then its tool calls.
    pub(crate) fn ask(&mut self, now: Instant, turn: TurnId, chance: &mut Chance) -> Later {
        let said = self
            .scenario
            .replies
            .get(self.asked)
            .or(self.scenario.replies.last())
            .cloned()
            .unwrap_or_default();
        self.asked += 1;
        self.given.push((turn, said.text.to_owned()));
        let attempt = LlmEvent::Attempt { target: "simulated".into(), role: "primary" };
        let mut later = vec![(now, Report::Llm(turn, attempt))];
        if self.has(now, Fault::LlmHangs) {
            return later;
        }
        let mut at = now + self.scenario.timings.llm_first_token;
        if self.has(now, Fault::LlmFails) {
            later.push((at, Report::Llm(turn, LlmEvent::Failed { reason: "simulated".into() })));
            return later;
        }
        let per_token = self.scenario.timings.llm_per_token;
        let words = said.text.split_inclusive(' ').filter(|word| !word.is_empty());
        let count = words.clone().count();
        for (index, word) in words.enumerate() {
            if self.has(now, Fault::LlmStops) && index > count / 2 {
                return later;
            }
            later.push((at, Report::Llm(turn, LlmEvent::Delta(word.to_owned()))));
            at += per_token + chance.up_to(per_token / 10);
        }
        if let Some(expectation) = said.expect {
            later.push((at, Report::Llm(turn, LlmEvent::Expect(expectation))));
        }
        for (index, step) in said.tools.iter().enumerate() {
            let id = format!("{turn}-{}-{index}", self.asked);
            let call = ToolCall { id, name: step.name.to_owned(), arguments: self.arguments(step.name) };
            later.push((at, Report::Llm(turn, LlmEvent::ToolCall(call))));
        }
        later.push((at, Report::Llm(turn, LlmEvent::Done { input_tokens: None, output_tokens: None })));
        later
    }

    fn arguments(&self, tool: &str) -> String {
        let found = self.scenario.arguments.iter().find(|(name, _)| *name == tool);
        found.map_or("{}", |(_, arguments)| arguments).to_owned()
    }

    /// A tool's answer.
    pub(crate) fn run(&self, now: Instant, turn: TurnId, call: &ToolCall) -> Later {
        let steps = self.scenario.replies.iter().flat_map(|said| &said.tools);
        let Some(step) = steps.into_iter().find(|step| step.name == call.name) else { return Vec::new() };
        if self.has(now, Fault::ToolHangs) {
            return Vec::new();
        }
        let result = step.result.map(str::to_owned).map_err(str::to_owned);
        vec![(now + step.takes, Report::Tool(turn, ToolResult { call_id: call.id.clone(), result }))]
    }

    /// The passages of the documents that have any of these words in their title.
    pub(crate) fn look_up(&self, now: Instant, number: u32, words: &str, most: usize) -> Later {
        if self.has(now, Fault::LookUpHangs) {
            return Vec::new();
        }
        let at = now + self.scenario.timings.look_up;
        if self.has(now, Fault::LookUpFails) {
            return vec![(at, Report::Found(number, Err("simulated".into())))];
        }
        let words = telling_words(words);
        let passages = (1..).zip(&self.scenario.documents).map(|(place, (title, text))| Passage {
            source: format!("docs/{place}.md#1"),
            title: (*title).to_owned(),
            text: (*text).to_owned(),
            fit: fit(&words, title, ""),
        });
        let mut found: Vec<Passage> = passages.filter(|passage| passage.fit > 0.0).collect();
        found.sort_by(|a, b| b.fit.total_cmp(&a.fit));
        found.truncate(most);
        vec![(at, Report::Found(number, Ok(found)))]
    }

    /// What the model that listens says of a pause.
    pub(crate) fn judge_turn(&self, now: Instant, pause: u32) -> Later {
        let by_ear = &self.scenario.by_ear;
        let percent = by_ear.get(pause as usize - 1).or(by_ear.last());
        let answer = |percent: &u8| Report::TurnJudged(pause, f32::from(*percent) / 100.0);
        percent.map(|percent| (now + self.scenario.timings.by_ear, answer(percent))).into_iter().collect()
    }

    /// A sentence's audio: every turn has a voice of its own, see [`voice`].
    pub(crate) fn speak(
        &self,
        now: Instant,
        turn: TurnId,
        sentence: u32,
        text: &str,
        rate: SampleRate,
    ) -> Later {
        if self.has(now, Fault::TtsHangs) {
            return Vec::new();
        }
        let first = now + self.scenario.timings.tts_first_audio;
        if self.has(now, Fault::TtsFails) {
            let failed = TtsEvent::Failed { sentence, reason: "simulated".into() };
            return vec![(first, Report::Tts(turn, failed))];
        }
        if self.has(now, Fault::TtsMute) {
            return vec![(first, Report::Tts(turn, TtsEvent::SentenceDone { sentence }))];
        }
        let length = PER_LETTER * text.chars().count() as u32;
        let frames = (length.as_millis() / FRAME.as_millis()) as u32;
        let mut later: Later = (0..frames)
            .map(|frame| {
                let samples = voice(turn, rate);
                (first + FRAME * frame / 4, Report::Tts(turn, TtsEvent::Audio { sentence, samples }))
            })
            .collect();
        let last = if self.has(now, Fault::TtsStops) {
            later.truncate(later.len() / 2);
            TtsEvent::Failed { sentence, reason: "simulated".into() }
        } else {
            TtsEvent::SentenceDone { sentence }
        };
        later.push((first + FRAME * frames / 4, Report::Tts(turn, last)));
        later
    }
}

/// How loud the voices are.
const VOICE: i16 = 8_000;

/// A frame of a turn's speech: a square wave of a frequency of its own, which survives G.711 and any volume.
pub(crate) fn voice(turn: TurnId, rate: SampleRate) -> Vec<i16> {
    let (halves, count) = (2 * (turn.0 as usize % 25) + 2, rate.frame_samples());
    (0..count).map(|n| if n * halves / count % 2 == 0 { VOICE } else { -VOICE }).collect()
}

/// Whose voice a frame carries. What only fades out, or is padded, is nobody's.
pub(crate) fn whose(samples: &[i16]) -> Option<TurnId> {
    let loudest = samples.iter().map(|sample| sample.unsigned_abs()).max().unwrap_or(0);
    // A voice that fades in is quiet in its first swing, and that counts.
    let audible = |sample: &&i16| sample.unsigned_abs() > (loudest / 64).max(60);
    let last = samples.len() / 8;
    if samples.iter().rev().take(last).filter(audible).count() < last {
        return None;
    }
    let signs: Vec<bool> = samples.iter().filter(audible).map(|sample| *sample > 0).collect();
    let changes = signs.windows(2).filter(|pair| pair[0] != pair[1]).count();
    (changes % 2 == 1).then(|| TurnId((changes as u32 - 1) / 2))
}

/// The sample value of prepared sentences other than the greeting.
pub(crate) const CLIP_VOICE: i16 = 600;
