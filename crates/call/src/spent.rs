//! What a call has used of what costs money, turn by turn.
//! Knows events and amounts; prices come in as an argument.

use crate::Event;
use ai_gateway::Rates;
use conversation::TurnId;
use std::collections::BTreeMap;

/// Usage so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Spent {
    /// Tokens in, as far as providers have said.
    pub input_tokens: u64,
    /// Tokens out, as far as providers have said.
    pub output_tokens: u64,
    /// Characters given to text-to-speech.
    pub characters: u64,
    /// Of the turns whose model was asked.
    turns: BTreeMap<TurnId, Turn>,
    /// Language models so far; `None` as soon as one reply is not known.
    llm: Sum,
    /// Of that, and of speech, what was spent on guesses that came to nothing.
    wasted: Sum,
}

/// A turn's own.
#[derive(Clone, Debug, Default, PartialEq)]
struct Turn {
    /// Who is being asked: one target, or two, of which the last one is heard if nothing else is said.
    targets: Vec<String>,
    characters: u64,
    llm: Sum,
}

/// A sum that is unknown once a part of it is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sum(Option<f64>);

impl Default for Sum {
    fn default() -> Self {
        Self(Some(0.0))
    }
}

impl Sum {
    fn add(&mut self, part: Option<f64>) {
        self.0 = self.0.zip(part).map(|(sum, part)| sum + part);
    }
}

/// What a call costs, part by part. `None`: not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parts {
    /// Speech-to-text.
    pub stt: Option<f64>,
    /// Language models.
    pub llm: Option<f64>,
    /// Text-to-speech.
    pub tts: Option<f64>,
    /// The trunk.
    pub telephony: Option<f64>,
    /// What of all this was spent on guesses at the end of a turn that came to nothing, and on second targets.
    pub wasted: Option<f64>,
}

impl Parts {
    /// All together, if all are known.
    pub fn total(&self) -> Option<f64> {
        Some(self.stt? + self.llm? + self.tts? + self.telephony?)
    }
}

impl Spent {
    /// Takes note of an event.
    #[expect(clippy::wildcard_enum_match_arm, reason = "few of many events cost anything")]
    pub(crate) fn observe(&mut self, event: &Event, rates: Option<&Rates>) {
        match event {
            Event::LlmAttempt { turn, target, role } => {
                let targets = &mut self.turns.entry(*turn).or_default().targets;
                if role != "hedge" {
                    targets.clear();
                }
                targets.push(target.clone());
            }
            Event::HedgeLost { turn, target, input_tokens, output_tokens } => {
                self.input_tokens += u64::from(*input_tokens);
                self.output_tokens += u64::from(*output_tokens);
                let cost =
                    rates.and_then(|rates| rates.reply(target, Some(*input_tokens), Some(*output_tokens)));
                let turn = self.turns.entry(*turn).or_default();
                turn.targets.retain(|asked| asked != target);
                turn.llm.add(cost);
                self.llm.add(cost);
                self.wasted.add(cost);
            }
            Event::Sentence { turn, text, .. } => {
                let characters = text.chars().count() as u64;
                self.characters += characters;
                self.turns.entry(*turn).or_default().characters += characters;
            }
            Event::ReplyDone { turn, input_tokens, output_tokens } => {
                self.input_tokens += u64::from(input_tokens.unwrap_or(0));
                self.output_tokens += u64::from(output_tokens.unwrap_or(0));
                let turn = self.turns.entry(*turn).or_default();
                let target = turn.targets.last().map_or("", String::as_str);
                let cost = rates.and_then(|rates| rates.reply(target, *input_tokens, *output_tokens));
                turn.llm.add(cost);
                self.llm.add(cost);
            }
            // Tokens are estimated where the provider was cut off before it counted them: better than nothing at all.
            Event::GuessWasted { turn, input_tokens, output_tokens, characters, target, .. } => {
                self.input_tokens += u64::from(*input_tokens);
                self.output_tokens += u64::from(*output_tokens);
                self.characters += u64::from(*characters);
                let cost =
                    rates.and_then(|rates| rates.reply(target, Some(*input_tokens), Some(*output_tokens)));
                let turn = self.turns.entry(*turn).or_default();
                turn.characters += u64::from(*characters);
                turn.llm.add(cost);
                self.llm.add(cost);
                let speech = rates.and_then(|rates| rates.speech(u64::from(*characters)));
                self.wasted.add(cost.zip(speech).map(|(llm, tts)| llm + tts));
            }
            _ => {}
        }
    }

    /// The language model and the speech of a turn.
    pub(crate) fn of_turn(&self, turn: TurnId, rates: &Rates) -> (Option<f64>, Option<f64>) {
        let Some(turn) = self.turns.get(&turn) else { return (None, None) };
        (turn.llm.0, rates.speech(turn.characters))
    }

    /// Everything, for a call that has been heard and answered for so many microseconds.
    pub(crate) fn parts(&self, rates: &Rates, heard_us: u64, answered_us: u64) -> Parts {
        Parts {
            stt: rates.hearing(heard_us),
            llm: self.llm.0,
            tts: rates.speech(self.characters),
            telephony: rates.telephony(answered_us),
            wasted: self.wasted.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        CallId, Event, Stamped,
        cdr::{Arrival, Cdr},
    };
    use ai_gateway::{LlmRate, Rates};
    use conversation::TurnId;
    use std::{collections::BTreeMap, sync::Arc};

    fn cdr() -> Cdr {
        let arrival = Arrival {
            call: CallId(1),
            sip_call_id: "a@b".into(),
            invited_at_us: 0,
            trunk: "t".into(),
            caller: String::new(),
            called: String::new(),
        };
        let rate = LlmRate { input_million: 1.0, output_million: 10.0 };
        let rates = Rates {
            currency: "USD".into(),
            stt_minute: Some(0.6),
            llm: BTreeMap::from([("gpt".to_owned(), rate)]),
            tts_thousand: Some(0.5),
            call_minute: Some(0.06),
        };
        Cdr { rates: Some(Arc::new(rates)), ..Cdr::new(arrival) }
    }

    fn tell(cdr: &mut Cdr, at_s: u64, event: Event) -> Option<Event> {
        let stamped = Stamped { at_us: at_s * 1_000_000, event };
        cdr.observe(&stamped);
        cdr.cost_of_turn(&stamped)
    }

    fn attempt(target: &str) -> Event {
        Event::LlmAttempt { turn: TurnId(1), target: target.into(), role: "primary".into() }
    }

    fn done(input_tokens: Option<u32>) -> Event {
        Event::ReplyDone { turn: TurnId(1), input_tokens, output_tokens: Some(100) }
    }

    #[test]
    fn a_turn_and_its_call_cost_what_can_be_added_up_by_hand() {
        let mut cdr = cdr();
        tell(&mut cdr, 0, Event::Answered);
        tell(&mut cdr, 5, attempt("gpt"));
        tell(&mut cdr, 6, Event::Sentence { turn: TurnId(1), sentence: 0, text: "x".repeat(200) });
        let told = tell(&mut cdr, 10, done(Some(1_000)));
        let Some(Event::Cost { llm, tts, call, .. }) = told else { panic!("{told:?}") };
        let near = |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < 1e-9);
        assert!(near(llm, 0.001 + 0.001) && near(tts, 0.1), "{llm:?} {tts:?}");
        // Ten seconds of hearing are 0.1, of telephony 0.01.
        assert!(near(call, 0.002 + 0.1 + 0.1 + 0.01), "{call:?}");
        tell(&mut cdr, 60, Event::Ended { cause: "caller_hung_up".into(), status: None });
        let (currency, parts) = cdr.cost().expect("there are prices");
        assert_eq!(currency, "USD");
        assert!(near(parts.total(), 0.002 + 0.1 + 0.6 + 0.06), "{parts:?}");
    }

    #[test]
    fn a_guess_that_came_to_nothing_has_its_price_too() {
        let mut cdr = cdr();
        tell(&mut cdr, 5, attempt("gpt"));
        tell(&mut cdr, 6, done(Some(1_000)));
        let before = cdr.cost().expect("there are prices").1;
        let wasted = |target: &str, characters| Event::GuessWasted {
            turn: TurnId(9),
            why: "other words".into(),
            input_tokens: 1_000,
            output_tokens: 10,
            characters,
            target: target.into(),
        };
        let told = tell(&mut cdr, 7, wasted("gpt", 0));
        assert!(matches!(told, Some(Event::Cost { turn: TurnId(9), llm: Some(_), .. })), "{told:?}");
        let after = cdr.cost().expect("there are prices").1;
        let spent = after.llm.zip(before.llm).map(|(after, before)| after - before);
        let same = spent.zip(after.wasted).is_some_and(|(spent, wasted)| (spent - wasted).abs() < 1e-9);
        assert!(same && after.wasted > Some(0.0), "{before:?} {after:?}");
        tell(&mut cdr, 8, wasted("gpt", 1_000));
        let speech = cdr.cost().expect("there are prices").1;
        assert!(speech.tts > after.tts && speech.wasted > after.wasted, "{speech:?}");
        tell(&mut cdr, 9, wasted("nobody-priced-it", 0));
        assert_eq!(cdr.cost().expect("there are prices").1.wasted, None);
    }

    #[test]
    fn whoever_answers_is_paid_and_whoever_was_asked_beside_is_paid_too() {
        // (who loses, what the reply then costs: only "gpt" has a price)
        for (loser, known) in [("free", true), ("gpt", false)] {
            let mut cdr = cdr();
            tell(&mut cdr, 5, attempt("gpt"));
            let (turn, role) = (TurnId(1), "hedge".to_owned());
            tell(&mut cdr, 6, Event::LlmAttempt { turn, target: "free".into(), role });
            let lost = Event::HedgeLost { turn, target: loser.into(), input_tokens: 1_000, output_tokens: 0 };
            tell(&mut cdr, 7, lost);
            let parts = cdr.cost().expect("there are prices").1;
            assert_eq!(parts.wasted.is_some(), !known, "{loser}: {parts:?}");
            assert_eq!(cdr.spent.input_tokens, 1_000);
            let winner = cdr.spent.turns[&turn].targets.clone();
            assert_eq!(
                winner,
                [if loser == "gpt" { "free" } else { "gpt" }],
                "{loser} is not paid for the reply"
            );
        }
    }

    #[test]
    fn what_is_not_known_makes_the_sum_unknown_and_nothing_else() {
        for (target, input) in [("gpt", None), ("nobody-priced-it", Some(10))] {
            let mut cdr = cdr();
            tell(&mut cdr, 5, attempt(target));
            let told = tell(&mut cdr, 6, done(input));
            assert!(
                matches!(told, Some(Event::Cost { llm: None, tts: Some(_), call: None, .. })),
                "{told:?}"
            );
            tell(&mut cdr, 7, attempt("gpt"));
            tell(&mut cdr, 8, done(Some(1)));
            let (_, parts) = cdr.cost().expect("there are prices");
            assert_eq!((parts.llm, parts.total()), (None, None));
            assert!(parts.stt.is_some() && parts.telephony.is_some());
        }
        let mut unpriced = cdr();
        unpriced.rates = None;
        assert_eq!(tell(&mut unpriced, 1, done(Some(1))), None);
        assert_eq!(unpriced.cost(), None);
    }
}
