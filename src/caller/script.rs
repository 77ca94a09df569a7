//! What a scripted caller says, waits for, presses and expects.
//! Knows text and time. How it is spoken and heard is the phone's business.

use serde::Deserialize;
use std::{collections::VecDeque, time::Duration};

/// A caller's script as it stands in a TOML file: `steps = [ { say = "…" }, … ]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What to do, one after the other.
    pub steps: Vec<Step>,
}

/// One step of a script. Every step waits until the one before it is complete.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Step {
    /// Speaks a text, once the agent has been silent for a moment.
    Say {
        /// The words.
        say: String,
        /// Silence of the agent to wait for first.
        #[serde(default = "a_moment")]
        after_silence_ms: u64,
    },
    /// Plays a WAV file in the same way.
    Wav {
        /// The file: 16-bit PCM, any common rate, mono or the left channel of stereo.
        wav: std::path::PathBuf,
        /// Silence of the agent to wait for first.
        #[serde(default = "a_moment")]
        after_silence_ms: u64,
    },
    /// Waits for the agent to begin speaking and talks over it.
    Interrupt {
        /// The words.
        interrupt: String,
        /// How long the agent may speak first.
        #[serde(default = "a_while")]
        after_ms: u64,
    },
    /// Speaks a text after a fixed time, whatever the agent does.
    SayAfter {
        /// The words.
        say_now: String,
        /// How long to wait after the step before.
        #[serde(default)]
        delay_ms: u64,
    },
    /// Presses keys: 0-9, *, #, A-D.
    Press {
        /// The keys.
        press: String,
        /// Silence of the agent to wait for first.
        #[serde(default = "a_moment")]
        after_silence_ms: u64,
        /// How they travel: `event` (RFC 4733, the default; tones where none were agreed on), `info` or `tone`.
        #[serde(default)]
        by: Keypad,
    },
    /// Puts the agent on hold with a re-INVITE, or takes it back. Nothing is sent meanwhile.
    Hold {
        /// `true` or `false`.
        hold: bool,
    },
    /// Fails the script unless the agent says this (any case) within the time. Words the agent has said since the
    /// caller's last own step count.
    Expect {
        /// Words to be found in what the agent says; alternatives are separated by `|`.
        expect: String,
        /// How long to wait for them.
        #[serde(default = "patience")]
        within_ms: u64,
    },
    /// Fails the script unless the agent falls silent within the time after the caller began to talk over it.
    ExpectSilence {
        /// From the first packet of the caller's speech to the last voiced packet of the agent.
        expect_silence_within_ms: u64,
    },
    /// Fails the script unless the agent's first sound after the caller's last words comes within the time.
    ExpectAnswer {
        /// From the last packet of the caller's speech to the first voiced packet of the agent.
        expect_answer_within_ms: u64,
    },
    /// Waits.
    Pause {
        /// How long.
        pause_ms: u64,
    },
    /// Waits until the agent has spoken and fallen silent.
    Wait {
        /// `agent`.
        wait_for: WaitFor,
        /// How long to wait at most for the agent to begin, or to hang up; the script fails beyond.
        #[serde(default = "patience")]
        within_ms: u64,
    },
    /// Hangs up.
    HangUp {
        /// `true`.
        hang_up: bool,
    },
}

/// What a step sounds like.
enum Sound<'a> {
    Text(&'a str),
    File(&'a std::path::Path),
}

impl Step {
    fn sound(&self) -> Option<Sound<'_>> {
        match self {
            Self::Say { say: text, .. }
            | Self::Interrupt { interrupt: text, .. }
            | Self::SayAfter { say_now: text, .. } => Some(Sound::Text(text)),
            Self::Wav { wav, .. } => Some(Sound::File(wav)),
            Self::Press { .. }
            | Self::Hold { .. }
            | Self::Expect { .. }
            | Self::ExpectSilence { .. }
            | Self::ExpectAnswer { .. }
            | Self::Pause { .. }
            | Self::Wait { .. }
            | Self::HangUp { .. } => None,
        }
    }
}

/// How a pressed key travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keypad {
    /// As telephone events (RFC 4733).
    #[default]
    Event,
    /// In a SIP INFO, as `application/dtmf-relay`.
    Info,
    /// As two tones in the audio.
    Tone,
}

/// What a script can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// The agent to have spoken and fallen silent.
    Agent,
    /// The agent to hang up.
    HangUp,
}

const fn a_moment() -> u64 {
    600
}

const fn a_while() -> u64 {
    900
}

const fn patience() -> u64 {
    15_000
}

impl Script {
    /// Speaks each utterance in turn, listens to the answer and hangs up.
    pub fn conversation(utterances: &[String]) -> Self {
        let say = |say: &String| Step::Say { say: say.clone(), after_silence_ms: a_moment() };
        Self::in_turn(utterances.iter().map(say))
    }

    /// Plays each file in turn, listens to the answer and hangs up.
    pub fn recordings(files: &[std::path::PathBuf]) -> Self {
        let play = |wav: &std::path::PathBuf| Step::Wav { wav: wav.clone(), after_silence_ms: a_moment() };
        Self::in_turn(files.iter().map(play))
    }

    fn in_turn(own: impl Iterator<Item = Step>) -> Self {
        let listen = || Step::Wait { wait_for: WaitFor::Agent, within_ms: patience() };
        let mut steps = vec![listen()];
        steps.extend(own.flat_map(|step| [step, listen()]));
        steps.push(Step::HangUp { hang_up: true });
        Self { steps }
    }

    /// Reads a script.
    ///
    /// # Errors
    /// A message with the line and what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let script: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        script.check().map(|()| script)
    }

    /// What is wrong with its steps, if anything is.
    ///
    /// # Errors
    /// A message with the step's number.
    pub fn check(&self) -> Result<(), String> {
        for (number, step) in self.steps.iter().enumerate() {
            if let Step::Press { press, .. } = step
                && let Some(key) = press.chars().find(|key| !"0123456789*#ABCD".contains(*key))
            {
                return Err(format!("step {}: `{key}` is no key; keys are 0-9 * # A-D", number + 1));
            }
        }
        Ok(())
    }

    /// Every text that will be spoken, to be rendered before the call.
    pub fn spoken(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().filter_map(|step| match step.sound() {
            Some(Sound::Text(text)) => Some(text),
            Some(Sound::File(_)) | None => None,
        })
    }

    /// Every file that will be played.
    pub fn files(&self) -> impl Iterator<Item = &std::path::Path> {
        self.steps.iter().filter_map(|step| match step.sound() {
            Some(Sound::File(path)) => Some(path),
            Some(Sound::Text(_)) | None => None,
        })
    }

    /// Whether the script needs to know the agent's words.
    pub fn needs_words(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Expect { .. }))
    }
}

/// What the script's player can see of the call.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// Since the call was answered.
    pub at: Duration,
    /// Since when the agent's sound has been going on, or has been silent.
    pub agent: AgentSound,
    /// Whether our own speech or keys are still going out, or an offer of ours waits for its answer.
    pub busy: bool,
    /// What the agent has said since our last own step, in lower case.
    pub words: &'a str,
    /// Reaction times measured last.
    pub last_answer: Option<Duration>,
    /// From our talking over the agent to its silence, measured last.
    pub last_silence: Option<Duration>,
    /// The agent hung up.
    pub over: bool,
}

/// What the agent sounds like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentSound {
    /// Nothing has been heard since our last own step; silent since then.
    Awaited(Duration),
    /// Speaking since.
    Speaking(Duration),
    /// Has spoken since our last own step, and has been silent since.
    Spoken(Duration),
}

/// What to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Todo {
    /// Nothing yet.
    Wait,
    /// Speak this text.
    Say(String),
    /// Play this file.
    Play(std::path::PathBuf),
    /// Press these keys.
    Press(String, Keypad),
    /// Put the agent on hold, or take it back.
    Hold(bool),
    /// An expectation was met.
    Met(String),
    /// One was not; the script goes on.
    Failed(String),
    /// Hang up: the script is done.
    HangUp,
}

/// Plays a script step by step.
pub struct Player {
    steps: VecDeque<Step>,
    since: Duration,
}

impl Player {
    /// A player at the first step.
    pub fn new(script: Script) -> Self {
        Self { steps: script.steps.into(), since: Duration::ZERO }
    }

    /// What to do in this situation. Ask again after anything but [`Todo::Wait`].
    pub fn next(&mut self, situation: &Situation<'_>) -> Todo {
        if situation.busy && !matches!(self.steps.front(), Some(Step::ExpectSilence { .. })) {
            self.since = situation.at;
            return Todo::Wait;
        }
        let Some(step) = self.steps.front() else { return Todo::HangUp };
        let waited = situation.at.saturating_sub(self.since);
        let todo = decide(step, situation, waited);
        if todo != Todo::Wait {
            self.steps.pop_front();
            self.since = situation.at;
        }
        todo
    }
}

fn decide(step: &Step, situation: &Situation<'_>, waited: Duration) -> Todo {
    let silent_for = |ms: u64| match situation.agent {
        AgentSound::Awaited(since) | AgentSound::Spoken(since) => {
            situation.at.saturating_sub(since) >= Duration::from_millis(ms)
        }
        AgentSound::Speaking(_) => false,
    };
    match step {
        Step::Say { say, after_silence_ms } if silent_for(*after_silence_ms) => Todo::Say(say.clone()),
        Step::Wav { wav, after_silence_ms } if silent_for(*after_silence_ms) => Todo::Play(wav.clone()),
        Step::Press { press, after_silence_ms, by } if silent_for(*after_silence_ms) => {
            Todo::Press(press.clone(), *by)
        }
        Step::Hold { hold } => Todo::Hold(*hold),
        Step::Say { .. } | Step::Wav { .. } | Step::Press { .. } => Todo::Wait,
        Step::SayAfter { say_now, delay_ms } => when(waited, *delay_ms, || Todo::Say(say_now.clone())),
        Step::Interrupt { interrupt, after_ms } => match situation.agent {
            AgentSound::Speaking(since) => {
                when(situation.at.saturating_sub(since), *after_ms, || Todo::Say(interrupt.clone()))
            }
            AgentSound::Awaited(_) | AgentSound::Spoken(_) => when(waited, patience(), || {
                Todo::Failed("the agent did not speak, so there was nothing to interrupt".into())
            }),
        },
        Step::Expect { expect, within_ms } => {
            let said = |word: &str| situation.words.contains(word.trim());
            if expect.to_lowercase().split('|').any(said) {
                return Todo::Met(format!("the agent says \"{expect}\""));
            }
            when(waited, *within_ms, || Todo::Failed(format!("the agent did not say \"{expect}\"")))
        }
        Step::ExpectSilence { expect_silence_within_ms } => {
            reaction("silent", situation.last_silence, *expect_silence_within_ms, waited)
        }
        Step::ExpectAnswer { expect_answer_within_ms } => {
            reaction("answering", situation.last_answer, *expect_answer_within_ms, waited)
        }
        Step::Pause { pause_ms } => when(waited, *pause_ms, || Todo::Met(format!("paused {pause_ms} ms"))),
        Step::Wait { wait_for: WaitFor::Agent, within_ms } => match situation.agent {
            AgentSound::Spoken(_) if silent_for(a_moment()) => Todo::Met("the agent has spoken".into()),
            AgentSound::Speaking(_) | AgentSound::Spoken(_) => Todo::Wait,
            AgentSound::Awaited(_) => {
                when(waited, *within_ms, || Todo::Failed("the agent did not speak in time".into()))
            }
        },
        Step::Wait { wait_for: WaitFor::HangUp, within_ms } => {
            if situation.over {
                return Todo::Met("the agent hung up".into());
            }
            when(waited, *within_ms, || Todo::Failed("the agent did not hang up".into()))
        }
        Step::HangUp { .. } => Todo::HangUp,
    }
}

fn when(waited: Duration, ms: u64, then: impl FnOnce() -> Todo) -> Todo {
    if waited >= Duration::from_millis(ms) { then() } else { Todo::Wait }
}

/// Judges a measured reaction; one that has not come yet may still come.
fn reaction(what: &str, measured: Option<Duration>, limit: u64, waited: Duration) -> Todo {
    match measured {
        Some(took) if took <= Duration::from_millis(limit) => {
            Todo::Met(format!("{what} within {} ms (limit {limit})", took.as_millis()))
        }
        Some(took) => Todo::Failed(format!("{what} after {} ms, limit {limit}", took.as_millis())),
        None => when(waited, limit + 3_000, || Todo::Failed(format!("never {what}, limit {limit} ms"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(at: u64, agent: AgentSound) -> Situation<'static> {
        Situation {
            at: Duration::from_millis(at),
            agent,
            busy: false,
            words: "",
            last_answer: None,
            last_silence: None,
            over: false,
        }
    }

    #[test]
    fn a_script_reads_from_toml_and_wrong_keys_are_named() {
        let script = Script::parse(
            "steps = [ { wait_for = \"agent\" }, { say = \"hello\" }, { press = \"12#\" }, { hang_up = true } ]",
        );
        assert_eq!(script.expect("a good script").steps.len(), 4);
        let keys =
            Script::parse("steps = [ { press = \"1\", by = \"info\" }, { hold = true }, { hold = false } ]");
        let pressed = Step::Press { press: "1".into(), after_silence_ms: 600, by: Keypad::Info };
        let expected = [pressed, Step::Hold { hold: true }, Step::Hold { hold: false }];
        assert_eq!(keys.expect("a good script").steps, expected);
        assert!(Script::parse("steps = [ { press = \"1x\" } ]").expect_err("no such key").contains('x'));
        assert!(Script::parse("stepz = []").expect_err("no such field").contains("stepz"));
    }

    #[test]
    fn the_caller_waits_for_silence_before_it_speaks() {
        let mut player =
            Player::new(Script { steps: vec![Step::Say { say: "hello".into(), after_silence_ms: 600 }] });
        let quiet_since = AgentSound::Spoken(Duration::from_millis(1_000));
        assert_eq!(player.next(&situation(1_200, AgentSound::Speaking(Duration::ZERO))), Todo::Wait);
        assert_eq!(player.next(&situation(1_300, quiet_since)), Todo::Wait);
        assert_eq!(player.next(&situation(1_600, quiet_since)), Todo::Say("hello".into()));
        assert_eq!(player.next(&situation(1_700, quiet_since)), Todo::HangUp);
    }

    #[test]
    fn an_expectation_that_is_not_met_fails_and_the_script_goes_on() {
        let mut player =
            Player::new(Script { steps: vec![Step::Expect { expect: "nine".into(), within_ms: 500 }] });
        let silence = AgentSound::Awaited(Duration::ZERO);
        assert_eq!(player.next(&situation(100, silence)), Todo::Wait);
        assert!(matches!(player.next(&situation(700, silence)), Todo::Failed(_)));
        assert_eq!(player.next(&situation(800, silence)), Todo::HangUp);
    }
}
