//! Conversations that turn in circles: an agent that says the same again and again, and a machine at the other end.
//! Knows the words of both sides. What is done about it is not decided here.

use crate::grammar::words;
use std::collections::VecDeque;

/// Texts that are this alike are the same, 0 to 1.
const ALIKE: f64 = 0.9;
/// Turns in a row that make a circle.
const CIRCLE: u32 = 3;
/// Below this many letters a text is a yes or a no, which may well be repeated.
const SHORT: usize = 12;
/// So often in a row nobody says a sentence of so many words again.
const RECITALS: u32 = 5;
const RECITED: usize = 8;
/// Signs of a machine that make one.
const SIGNS: u32 = 2;
/// Phrases of a conversation that are looked back on.
const KEPT: usize = 2;

/// What an announcement says and no caller does.
const ANNOUNCEMENTS: &[&str] = &[
    "press one",
    "press two",
    "press 1",
    "press 2",
    "press zero",
    "press 0",
    "for english",
    "after the tone",
    "after the beep",
    "leave a message",
    "leave your message",
    "your call is important",
    "calls may be recorded",
    "call may be recorded",
    "is not available to take your call",
    "please hold",
    "all our agents are busy",
    "drücken sie die",
    "nach dem signalton",
    "nach dem piepton",
    "ihr anruf ist uns wichtig",
    "hinterlassen sie",
    "bitte warten sie",
    "marque uno",
    "marque el",
    "para español",
    "después de la señal",
    "deje su mensaje",
    "su llamada es importante",
    "tapez un",
    "tapez 1",
    "appuyez sur",
    "après le bip",
    "laissez un message",
    "votre appel est important",
];

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loop {
    /// The agent has said nearly the same for so many turns.
    Agent(u32),
    /// The caller is a machine.
    Machine,
}

impl Loop {
    /// As it stands in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent(_) => "agent_repeats",
            Self::Machine => "caller_is_a_machine",
        }
    }
}

/// Listens to both sides of a call.
#[derive(Clone, Debug, Default)]
pub struct LoopWatch {
    caller: Side,
    agent: Side,
    /// Nearly equal answers to different questions, in a row.
    circle: u32,
    signs: u32,
}

/// One side's latest texts and how often they were alike.
#[derive(Clone, Debug, Default)]
struct Side {
    latest: VecDeque<String>,
    alike: u32,
}

impl LoopWatch {
    /// The caller's turn is over.
    pub fn caller_said(&mut self, text: &str) -> Option<Loop> {
        let said = words(text).join(" ");
        self.signs += ANNOUNCEMENTS.iter().filter(|phrase| said.contains(**phrase)).count() as u32;
        let said_words = said.split(' ').count();
        let repeats = self.caller.note(said);
        // A caller may ask the same again for want of an answer, but not in so many words.
        let recites = repeats >= RECITALS && said_words >= RECITED;
        (self.signs >= SIGNS || recites).then_some(Loop::Machine)
    }

    /// The agent's turn is over.
    pub fn agent_said(&mut self, text: &str) -> Option<Loop> {
        let repeats = self.agent.note(words(text).join(" "));
        if repeats <= 1 {
            self.circle = repeats;
            return None;
        }
        if self.caller.alike > 1 {
            // The same question has the same answer.
            return None;
        }
        self.circle += 1;
        (self.circle >= CIRCLE).then_some(Loop::Agent(self.circle))
    }
}

impl Side {
    /// Takes note of a text; says how many in a row were alike, this one included. Of two texts that take turns, each is
    /// a repetition, too.
    fn note(&mut self, said: String) -> u32 {
        if said.chars().count() < SHORT {
            self.alike = 0;
            self.latest.clear();
            return 0;
        }
        let alike = self.latest.iter().any(|earlier| strsim::sorensen_dice(earlier, &said) >= ALIKE);
        self.alike = if alike { self.alike + 1 } else { 1 };
        if !alike || self.latest.len() < KEPT {
            self.latest.push_back(said);
        }
        while self.latest.len() > KEPT {
            self.latest.pop_front();
        }
        self.alike
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_says_the_same_three_times_turns_in_circles() {
        let mut watch = LoopWatch::default();
        assert_eq!(watch.agent_said("I did not find that account. Which number is it?"), None);
        assert_eq!(watch.agent_said("I did not find that account! Which number is it?"), None);
        assert_eq!(
            watch.agent_said("I did not find that account. Which number was it?"),
            Some(Loop::Agent(3))
        );
        assert_eq!(watch.agent_said("Your balance is five dollars."), None);
        assert_eq!(watch.agent_said("Yes."), None);
        assert_eq!(watch.agent_said("Yes."), None);
        assert_eq!(watch.agent_said("Yes."), None, "a yes may be repeated");
    }

    #[test]
    fn an_announcement_is_a_machine_and_an_impatient_caller_is_not() {
        let mut watch = LoopWatch::default();
        assert_eq!(watch.caller_said("Welcome to Example Bank. For English press one."), Some(Loop::Machine));
        let mut watch = LoopWatch::default();
        for _ in 0..9 {
            assert_eq!(watch.caller_said("When are you open today?"), None);
            assert_eq!(watch.agent_said("We are open from nine to five."), None, "the same question");
        }
        for n in 0..5 {
            let found = watch.caller_said("Sorry, I did not understand you. Please say that again.");
            assert_eq!(found.is_some(), n == 4, "nobody recites that five times");
        }
    }
}
