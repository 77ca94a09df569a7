//! A sound of the caller beside the agent's voice, in three stages: quieter, silent, cut. All but the last can be taken
//! back. Knows how long a sound lasts and what was understood of it; what it then was, `backchannel` says.

use super::{
    Backchannels, Decision, Duration, FRAME, Floor, Heard, Holder, Instant, ONSET_SLACK, SideSound,
    Utterance, Verdict, frames, mask, words,
};

/// How the agent deals with sounds beside its voice.
#[derive(Clone, Debug)]
pub struct BargeInConfig {
    /// Speech that makes the agent quieter (60 ms).
    pub duck: Duration,
    /// Speech that silences it (200 ms): longer than a cough's loud part.
    pub pause: Duration,
    /// Where that speech must lie (280 ms, at most 1.28 s).
    pub window: Duration,
    /// After the silence, not before this it is decided what the sound was (350 ms): words need that long.
    pub decide_after: Duration,
    /// And not later than this (600 ms): a caller who only coughed hears a longer gap as a fault.
    pub decide_by: Duration,
    /// How long "mm-hm" may be (700 ms).
    pub backchannel: Duration,
    /// After the answer, sounds do not count for so long (300 ms): the line settles, and echo cancellers learn.
    pub settle: Duration,
}

impl Default for BargeInConfig {
    fn default() -> Self {
        Self {
            duck: Duration::from_millis(60),
            pause: Duration::from_millis(200),
            window: Duration::from_millis(280),
            decide_after: Duration::from_millis(350),
            decide_by: Duration::from_millis(600),
            backchannel: Duration::from_millis(700),
            settle: Duration::from_millis(300),
        }
    }
}

/// What the agent's voice is to do now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgentVoice {
    /// As loud as it is.
    #[default]
    Full,
    /// Quieter.
    Ducked,
    /// Silent, to go on later.
    Paused,
}

/// The sound under way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Aside {
    /// None.
    None,
    /// One that was judged and goes on; it is not judged again until it ends.
    Ignored,
    /// One that may come to nothing.
    Short,
    /// The agent is silent for it.
    Pause { onset: Instant, since: Instant },
}

/// Frames that may lack speech within 200 ms of it: "ex-cuse" has such a gap.
const PLOSIVES: u32 = 4;
/// Frames without speech after which a sound is over: 200 ms.
const OVER: u32 = 10;
/// And after which speech-to-text is asked for its words: it is the words that are waited for.
const WORDS_WANTED: Duration = Duration::from_millis(120);
/// Words belong to a sound that is not older than this.
const WORDS_LATE: Duration = Duration::from_millis(1_500);

impl Floor {
    /// What the agent's voice is to do now.
    pub const fn agent_voice(&self) -> AgentVoice {
        match self.aside {
            Aside::None | Aside::Ignored => AgentVoice::Full,
            Aside::Short => AgentVoice::Ducked,
            Aside::Pause { .. } => AgentVoice::Paused,
        }
    }

    /// A frame while the agent has the floor.
    pub(super) fn beside_agent(&mut self, now: Instant) -> Option<Decision> {
        if !self.interruptible.by_speech() || self.settled.is_some_and(|settled| now < settled) {
            return None;
        }
        let quiet = self.recent & mask(OVER) == 0;
        match self.aside {
            Aside::None if self.lasts(self.config.barge_in.duck) => {
                self.begin_aside(now);
                self.aside = Aside::Short;
                self.pause_if_long(now).or(Some(Decision::Duck))
            }
            Aside::Short if quiet => {
                self.aside = Aside::None;
                Some(Decision::Unduck)
            }
            Aside::Short => self.pause_if_long(now),
            Aside::Ignored if quiet => {
                self.aside = Aside::None;
                None
            }
            Aside::Pause { onset, since } => self.judge_aside(now, onset, since),
            Aside::None | Aside::Ignored => None,
        }
    }

    /// Words came while the agent has the floor. The first one that is no backchannel silences it, if there was a sound.
    pub(super) fn words_beside_agent(&mut self, now: Instant) -> Option<Decision> {
        if !self.interruptible.by_speech() {
            return None;
        }
        if let Aside::Pause { onset, since } = self.aside {
            return self.judge_aside(now, onset, since);
        }
        let said = words(&self.utterance.text());
        let spoken = self.utterance.speech >= self.config.onset_speech;
        let lately = self.utterance.last_speech.is_some_and(|last| now.duration_since(last) <= WORDS_LATE);
        let toneless = self.is_toneless();
        let listens = self.backchannels().cover(&said) || self.backchannels().may_cover(&said);
        if said.is_empty() || !spoken || !lately || toneless || listens {
            return None;
        }
        let onset = now.checked_sub(self.utterance.speech).unwrap_or(now);
        self.aside = Aside::Pause { onset, since: now };
        Some(Decision::Pause { onset })
    }

    /// A new sound: what was heard beside the agent's voice before does not belong to it.
    fn begin_aside(&mut self, now: Instant) {
        let window = mask(frames(self.config.barge_in.duck) + ONSET_SLACK);
        let count = |bits: u64| FRAME * (bits & window).count_ones();
        let onset =
            now.checked_sub(FRAME * (self.recent & window).checked_ilog2().unwrap_or(0)).unwrap_or(now);
        if self.utterance.final_at.is_none_or(|at| at + self.config.early_answer < onset) {
            self.utterance.finals.clear();
        }
        self.utterance.interim.clear();
        self.utterance.noted = false;
        self.utterance.paused = None;
        (self.utterance.speech, self.utterance.voiced) = (count(self.recent), count(self.recent_voiced));
    }

    fn pause_if_long(&mut self, now: Instant) -> Option<Decision> {
        let window = self.recent & mask(frames(self.config.barge_in.window));
        let needed = frames(self.config.barge_in.pause).max(1);
        // Speech with the gaps of its plosives has lasted as long as speech without them.
        let lasted = self.recent >> (needed - 1).min(63) & 1 == 1 && self.lasts_but(needed);
        if window.count_ones() < needed && !lasted {
            return None;
        }
        let onset = now.checked_sub(FRAME * window.ilog2()).unwrap_or(now);
        self.aside = Aside::Pause { onset, since: now };
        Some(Decision::Pause { onset })
    }

    /// The agent is silent: what was it for?
    fn judge_aside(&mut self, now: Instant, onset: Instant, since: Instant) -> Option<Decision> {
        let barge_in = &self.config.barge_in;
        let silence = self.utterance.last_speech.map_or(Duration::MAX, |last| now.duration_since(last));
        if now < since + barge_in.decide_after {
            if silence < WORDS_WANTED || self.utterance.paused.is_some() {
                return None;
            }
            self.utterance.paused = Some(now);
            return Some(Decision::CallerPaused);
        }
        let text = self.utterance.text();
        let heard = Heard {
            text: &text,
            speech: self.utterance.speech,
            voiced: self.utterance.voiced,
            goes_on: silence < WORDS_WANTED,
            expectation: self.expectation,
        };
        // Nothing more is to come of a sound that is over and whose words are settled.
        let must = now >= since + barge_in.decide_by || (!heard.goes_on && self.utterance.is_settled());
        match self.backchannels().judge(&heard, barge_in.backchannel, must) {
            Verdict::Undecided => None,
            Verdict::TakesFloor => Some(self.take_floor(onset, since)),
            Verdict::Aside(was) => {
                self.aside = Aside::Ignored;
                match was {
                    SideSound::Backchannel => self.utterance.noted = true,
                    SideSound::Noise => self.utterance = Utterance::default(),
                }
                Some(Decision::Resume { was, text })
            }
        }
    }

    fn take_floor(&mut self, onset: Instant, silent: Instant) -> Decision {
        self.holder = Holder::Caller;
        self.aside = Aside::None;
        self.utterance.cut_in = true;
        self.judge();
        Decision::BargeIn { onset, silent }
    }

    /// Whether the latest frames hold so much speech, short gaps allowed.
    pub(super) fn lasts(&self, speech: Duration) -> bool {
        let needed = frames(speech).max(1);
        (self.recent & mask(needed + ONSET_SLACK)).count_ones() >= needed
    }

    /// Whether the latest `frames` are speech but for the gaps of a plosive or two.
    fn lasts_but(&self, frames: u32) -> bool {
        (self.recent & mask(frames)).count_ones() + PLOSIVES >= frames
    }

    /// Whether hardly anything of the sound had a pitch, so that words in it are a recogniser's guess.
    fn is_toneless(&self) -> bool {
        self.utterance.voiced * 4 < self.utterance.speech
    }

    fn backchannels(&self) -> Backchannels {
        Backchannels::of(&self.config.language)
    }
}
