//! An answer that is begun before the caller's turn is surely over: used if the words turn out the same, else its price is
//! counted. Knows what was asked and what came back. Runs no tool and lets nothing be heard: that begins with the turn.

use crate::{Event, LlmEvent, Output, TtsEvent, config::Speculate, knowledge::Knowing, machine::Call};
use conversation::{LlmRequest, Message, SentenceChunker, TurnId};
use std::time::Instant;

/// Events kept of one guess. A reply that is longer goes on when the turn is the agent's.
const MOST_EVENTS: usize = 2_000;
/// Guesses within one turn of the caller. Who keeps adding words is not worth a third.
const MOST_GUESSES: u32 = 2;

/// The guess under way, and what guesses have cost in this call.
#[derive(Default)]
pub(crate) struct Speculation {
    live: Option<Guess>,
    /// Guesses in the caller's turn that is going on.
    guesses: u32,
    /// The words of the last one that was given up: the same ones are not asked twice.
    given_up: String,
    /// Tokens of everything the model was asked in this call, and the part that nobody heard.
    tokens: u64,
    wasted: u64,
}

/// One question asked early.
pub(crate) struct Guess {
    turn: TurnId,
    text: String,
    began: Instant,
    /// What the model had been told before the caller's words.
    before: Vec<Message>,
    input_tokens: u64,
    output_tokens: u64,
    counted: bool,
    characters: usize,
    pub(crate) llm: Vec<LlmEvent>,
    pub(crate) tts: Vec<TtsEvent>,
    chunker: SentenceChunker,
    /// The first sentence, if text-to-speech has it already.
    pub(crate) spoken: Option<String>,
    /// Whether it took along what the agent's documents have.
    pub(crate) informed: bool,
}

impl Call {
    /// Begins, keeps or gives up a guess, as the caller's pause goes.
    pub(crate) fn speculate(&mut self, now: Instant, out: &mut Vec<Output>) {
        // What is secret is no question yet, and none that leaves this call.
        let guess = self.floor.guess(now).filter(|_| !self.secrets.is_awaited());
        let live = self.speculation.live.as_ref();
        match (live, guess) {
            (None, None) => {}
            (Some(live), Some(text)) if same(&live.text, &text) => {}
            (Some(_), None) => self.give_up_guess(now, "the caller went on", out),
            (live, Some(text)) => {
                if live.is_some() {
                    self.give_up_guess(now, "the words changed", out);
                }
                self.begin_guess(now, text, out);
            }
        }
    }

    fn begin_guess(&mut self, now: Instant, text: String, out: &mut Vec<Output>) {
        let config = &self.config.speculation;
        let affordable =
            self.speculation.wasted * 100 <= self.speculation.tokens * u64::from(config.max_waste_percent);
        let tried = same(&self.speculation.given_up, &text) || self.speculation.guesses >= MOST_GUESSES;
        if config.mode == Speculate::Off
            || self.setup.grant.busy
            || !affordable
            || tried
            || !self.asks_a_model()
        {
            return;
        }
        let passages = match self.know(now, &text, out) {
            // It is asked once there is something to know, or nothing comes in time.
            Knowing::Soon(began) if now < self.knowing_until(began) => return,
            Knowing::Soon(_) | Knowing::Nothing => None,
            Knowing::Ready => Some(self.passages_at_hand()),
        };
        self.turn = self.turn.next();
        let turn = self.turn;
        let before = self.context.request(&self.setup.agent, self.setup.today).messages;
        let mut context = self.context.clone();
        context.user(text.clone());
        let informed = passages.is_some();
        context.looked_up(passages.unwrap_or_default());
        let request = self.question_after(&context);
        self.speculation.guesses += 1;
        self.speculation.live = Some(Guess {
            turn,
            text,
            began: now,
            before,
            input_tokens: request.tokens(),
            output_tokens: 0,
            counted: false,
            characters: 0,
            llm: Vec::new(),
            tts: Vec::new(),
            chunker: SentenceChunker::new(self.setup.agent.language()),
            spoken: None,
            informed,
        });
        out.push(Output::Event(Event::Guessed { turn }));
        out.push(Output::Ask { turn, request });
    }

    /// Keeps what the model says to the guess. True if it was for it.
    pub(crate) fn keep_llm(
        &mut self,
        turn: TurnId,
        event: LlmEvent,
        out: &mut Vec<Output>,
    ) -> Option<LlmEvent> {
        let speak = self.config.speculation.mode == Speculate::Speech;
        let Some(guess) = self.speculation.live.as_mut().filter(|guess| guess.turn == turn) else {
            return Some(event);
        };
        if guess.llm.len() >= MOST_EVENTS {
            return None;
        }
        match &event {
            LlmEvent::Delta(text) => {
                guess.characters += text.len();
                let mut sentences = guess.chunker.push(text).into_iter();
                if let Some(text) = sentences.next().filter(|_| speak && guess.spoken.is_none()) {
                    let text = self.setup.agent.spoken().say(&text).text().to_owned();
                    guess.spoken = Some(text.clone());
                    out.push(Output::Speak { turn, sentence: 0, text });
                }
            }
            LlmEvent::Done { input_tokens, output_tokens } => {
                guess.input_tokens = input_tokens.map_or(guess.input_tokens, u64::from);
                guess.counted = output_tokens.is_some();
                guess.output_tokens = output_tokens.map_or(0, u64::from);
            }
            LlmEvent::Attempt { .. }
            | LlmEvent::HedgeLost { .. }
            | LlmEvent::ToolCall(_)
            | LlmEvent::Expect(_)
            | LlmEvent::Failed { .. } => {}
        }
        guess.llm.push(event);
        None
    }

    /// Keeps what text-to-speech says to the guess. True if it was for it.
    pub(crate) fn keep_tts(&mut self, turn: TurnId, event: TtsEvent) -> Option<TtsEvent> {
        match self.speculation.live.as_mut().filter(|guess| guess.turn == turn) {
            Some(guess) if guess.tts.len() < MOST_EVENTS => {
                guess.tts.push(event);
                None
            }
            Some(_) => None,
            None => Some(event),
        }
    }

    /// The caller's turn is over with these words: the guess that was right about them, and about everything before.
    pub(crate) fn take_guess(&mut self, now: Instant, text: &str, out: &mut Vec<Output>) -> Option<Guess> {
        (self.speculation.guesses, self.speculation.given_up) = (0, String::new());
        let live = self.speculation.live.as_ref()?;
        let failed = live.llm.iter().any(|event| matches!(event, LlmEvent::Failed { .. }));
        let why = match () {
            () if failed => "the model failed",
            () if !same(&live.text, text) => "other words",
            () if live.before != self.context.request(&self.setup.agent, self.setup.today).messages => {
                "something came between"
            }
            () => {
                let guess = self.speculation.live.take()?;
                let saved_ms = now.saturating_duration_since(guess.began).as_millis() as u32;
                self.speculation.tokens += guess.tokens();
                out.push(Output::Event(Event::GuessUsed { turn: guess.turn, saved_ms }));
                return Some(guess);
            }
        };
        self.give_up_guess(now, why, out);
        self.speculation.given_up.clear();
        None
    }

    /// The guess is worth nothing. What it has cost is told.
    pub(crate) fn give_up_guess(&mut self, _now: Instant, why: &str, out: &mut Vec<Output>) {
        let Some(guess) = self.speculation.live.take() else { return };
        let tokens = guess.tokens();
        self.speculation.tokens += tokens;
        self.speculation.wasted += tokens;
        self.speculation.given_up.clone_from(&guess.text);
        let (input, output) = (guess.input_tokens, guess.output());
        out.push(Output::Cancel { turn: guess.turn });
        out.extend(guess.hedges().map(Output::Event));
        out.push(Output::Event(Event::GuessWasted {
            turn: guess.turn,
            why: why.to_owned(),
            input_tokens: u32::try_from(input).unwrap_or(u32::MAX),
            output_tokens: u32::try_from(output).unwrap_or(u32::MAX),
            target: guess.target(),
            characters: guess.spoken.map_or(0, |text| text.chars().count() as u32),
        }));
    }

    /// The model is asked in earnest: what that costs is what waste is measured against.
    pub(crate) fn note_tokens(&mut self, request: &LlmRequest) {
        self.speculation.tokens += request.tokens();
    }
}

impl Guess {
    pub(crate) const fn turn(&self) -> TurnId {
        self.turn
    }

    fn output(&self) -> u64 {
        if self.counted {
            self.output_tokens
        } else {
            self.characters.div_ceil(LlmRequest::BYTES_PER_TOKEN) as u64
        }
    }

    /// Whom the gateway asked last.
    fn target(&self) -> String {
        let attempts = self.llm.iter().rev().filter_map(|event| match event {
            LlmEvent::Attempt { target, .. } => Some(target.clone()),
            LlmEvent::Delta(_)
            | LlmEvent::HedgeLost { .. }
            | LlmEvent::ToolCall(_)
            | LlmEvent::Expect(_)
            | LlmEvent::Done { .. }
            | LlmEvent::Failed { .. } => None,
        });
        attempts.take(1).collect()
    }

    /// What was asked beside, and for nothing.
    fn hedges(&self) -> impl Iterator<Item = Event> {
        let turn = self.turn;
        self.llm.iter().filter_map(move |event| event.hedge_lost(turn))
    }

    fn tokens(&self) -> u64 {
        self.input_tokens + self.output()
    }
}

/// Whether two transcripts ask the same: punctuation, case and blanks do not count.
fn same(a: &str, b: &str) -> bool {
    let letters = |text: &str| {
        let kept =
            text.chars().flat_map(char::to_lowercase).map(|c| if c.is_alphanumeric() { c } else { ' ' });
        kept.collect::<String>().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    letters(a) == letters(b)
}
