//! When the agent's documents are looked up, and which of what is found a question takes along: searches begin while the
//! caller still speaks, and a finished question waits for them for its budget and no longer.
//! Knows words and passages. How they are searched is the shell's.

use crate::{Event, Output, event::FoundPassage, machine::Call};
use conversation::{Passage, Retrieval, TurnId, question, telling_words};
use std::time::{Duration, Instant};

/// Searches within one turn of the caller. Who goes on speaking says little that is new after so many.
const MOST_SEARCHES: u32 = 6;
/// Between the beginnings of two searches while the caller speaks: an interim transcript comes every 100 to 200 ms.
const PACE: Duration = Duration::from_millis(200);
/// Longest question that is looked for, in bytes.
const MAX_QUESTION: usize = 400;

/// The searches of one call.
#[derive(Default)]
pub(crate) struct Searches {
    /// Numbers searches, so that an old one's result is known as that.
    number: u32,
    /// In the caller's turn that is going on.
    count: u32,
    under_way: Option<Search>,
    found: Option<Found>,
    /// The question of this turn waits for what is found until then, from then on.
    held: Option<(TurnId, Instant, Instant)>,
}

struct Search {
    number: u32,
    words: String,
    began: Instant,
}

/// What the last search found.
#[derive(Clone)]
struct Found {
    words: String,
    passages: Vec<Passage>,
    took_ms: u32,
}

/// How passages came to a question. As it stands in traces.
#[derive(Clone, Copy)]
enum Came {
    /// They were there when the caller had finished.
    Ready,
    /// The question waited for them, within its budget.
    InTime,
    /// They did not come within the budget: those of an earlier part of the question are used.
    Earlier,
    /// They did not come within the budget, and there are none.
    Late,
}

impl Came {
    const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::InTime => "in_time",
            Self::Earlier => "earlier",
            Self::Late => "late",
        }
    }
}

/// What can be known about a question before it is asked.
pub(crate) enum Knowing {
    /// There is nothing to look up.
    Nothing,
    /// Passages have been found for these words.
    Ready,
    /// They are being looked for since then.
    Soon(Instant),
}

impl Call {
    fn retrieval(&self) -> Option<&Retrieval> {
        self.setup.agent.retrieval()
    }

    /// The caller has said so much by now: what that asks is looked for before the turn is over.
    pub(crate) fn look_ahead(&mut self, now: Instant, text: &str, out: &mut Vec<Output>) {
        if self.retrieval().is_none() {
            return;
        }
        let paced = self
            .searches
            .under_way
            .as_ref()
            .is_none_or(|search| now.saturating_duration_since(search.began) >= PACE);
        if paced && self.searches.count < MOST_SEARCHES {
            self.know(now, text, out);
        }
    }

    /// The caller's turn is over: the next one has its searches for itself.
    pub(crate) const fn searches_begin_anew(&mut self) {
        self.searches.count = 0;
    }

    /// Begins the search for what these words, beside what was said before, ask; unless it has been made, or goes on.
    pub(crate) fn know(&mut self, now: Instant, said: &str, out: &mut Vec<Output>) -> Knowing {
        if self.retrieval().is_none() {
            return Knowing::Nothing;
        }
        let before = self.context.last_said().map(|(last, _)| last);
        self.look_for(now, question(&shortened(said), before.as_deref()), out)
    }

    fn look_for(&mut self, now: Instant, words: Option<String>, out: &mut Vec<Output>) -> Knowing {
        let Some(words) = words else { return Knowing::Nothing };
        if self.searches.found.as_ref().is_some_and(|found| found.words == words) {
            return Knowing::Ready;
        }
        if let Some(search) = self.searches.under_way.as_ref().filter(|search| search.words == words) {
            return Knowing::Soon(search.began);
        }
        self.searches.number += 1;
        self.searches.count += 1;
        let number = self.searches.number;
        let passages = self.retrieval().map_or(0, |retrieval| retrieval.passages);
        self.searches.under_way = Some(Search { number, words: words.clone(), began: now });
        out.push(Output::LookUp { number, words, passages });
        Knowing::Soon(now)
    }

    /// Asks the model what the caller has asked, with what the documents have about it if that is there in time.
    pub(crate) fn ask_informed(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some(budget) = self.retrieval().map(|retrieval| retrieval.budget) else {
            return self.ask(now, out);
        };
        let words = self
            .context
            .last_said()
            .and_then(|(said, before)| question(&shortened(&said), before.as_deref()));
        match self.look_for(now, words, out) {
            Knowing::Nothing => {
                self.searches.found = None;
                self.ask(now, out);
            }
            Knowing::Ready => self.ask_with(now, now, Came::Ready, out),
            Knowing::Soon(_) => {
                let Some(turn) = self.reply.as_ref().map(|reply| reply.turn) else { return };
                self.searches.held = Some((turn, now, now + budget));
                self.watch_search(now, out);
            }
        }
    }

    /// The search that began on a guess has come in time: the guess takes along what it found.
    pub(crate) fn note_adopted(&mut self, now: Instant, out: &mut Vec<Output>) {
        if let Some(found) = self.searches.found.clone() {
            self.tell_knowledge(&found, Came::Ready, now, now, out);
            self.context.looked_up(found.passages);
        }
    }

    /// What was found for a question that is asked on a guess.
    pub(crate) fn passages_at_hand(&self) -> Vec<Passage> {
        self.searches.found.as_ref().map(|found| found.passages.clone()).unwrap_or_default()
    }

    /// How long a guess waits for passages.
    pub(crate) fn knowing_until(&self, began: Instant) -> Instant {
        began + self.retrieval().map_or(Duration::ZERO, |retrieval| retrieval.budget)
    }

    /// A search has ended.
    pub(crate) fn handle_found(
        &mut self,
        now: Instant,
        number: u32,
        result: Result<Vec<Passage>, String>,
        out: &mut Vec<Output>,
    ) {
        let Some(search) = self.searches.under_way.take_if(|search| search.number == number) else { return };
        let took_ms = now.saturating_duration_since(search.began).as_millis() as u32;
        let passages = match result {
            Ok(passages) => passages,
            Err(reason) => {
                out.push(Output::Event(Event::ProviderFailed { stage: "knowledge".into(), reason }));
                Vec::new()
            }
        };
        self.searches.found = Some(Found { words: search.words, passages, took_ms });
        if let Some((turn, since, _)) = self.searches.held.take()
            && self.is_held(turn)
        {
            self.ask_with(now, since, Came::InTime, out);
        }
    }

    /// A question that has waited for its passages for long enough is asked without them.
    pub(crate) fn watch_search(&mut self, now: Instant, out: &mut Vec<Output>) {
        let Some((turn, since, _)) = self.searches.held.take_if(|(_, _, until)| now >= *until) else {
            return;
        };
        if !self.is_held(turn) {
            return;
        }
        let words = self.searches.under_way.as_ref().map(|search| search.words.clone()).unwrap_or_default();
        let part = self.searches.found.as_ref().is_some_and(|found| is_part(&found.words, &words));
        let came = if part { Came::Earlier } else { Came::Late };
        if !part {
            self.searches.found = None;
        }
        self.ask_with(now, since, came, out);
    }

    /// When a question that waits is asked at the latest.
    pub(crate) fn search_wake(&self) -> Option<Instant> {
        self.searches.held.filter(|(turn, _, _)| self.is_held(*turn)).map(|(_, _, until)| until)
    }

    fn is_held(&self, turn: TurnId) -> bool {
        let fits = |reply: &crate::reply::Reply| {
            reply.turn == turn && !reply.asked && reply.rounds == 0 && !reply.text_done && !reply.failed
        };
        self.reply.as_ref().is_some_and(fits)
    }

    fn ask_with(&mut self, now: Instant, since: Instant, came: Came, out: &mut Vec<Output>) {
        let nothing = Found { words: String::new(), passages: Vec::new(), took_ms: 0 };
        let found = self.searches.found.clone().unwrap_or(nothing);
        self.tell_knowledge(&found, came, since, now, out);
        if let Some(marks) = self.reply.as_mut().and_then(|reply| reply.marks.as_mut()) {
            (marks.looked_up, marks.asked) = (now, now);
        }
        self.context.looked_up(found.passages);
        self.ask(now, out);
    }

    fn tell_knowledge(&self, found: &Found, came: Came, since: Instant, now: Instant, out: &mut Vec<Output>) {
        let passages = found.passages.iter().map(|passage| FoundPassage {
            source: passage.source.clone(),
            title: passage.title.clone(),
            text: passage.text.clone(),
            fit_percent: (passage.fit.clamp(0.0, 1.0) * 100.0) as u8,
        });
        out.push(Output::Event(Event::Knowledge {
            turn: self.turn,
            came: came.name().to_owned(),
            passages: passages.collect(),
            took_ms: found.took_ms,
            waited_ms: now.saturating_duration_since(since).as_millis() as u32,
        }));
    }
}

/// Whether one question's words are among the other's.
fn is_part(part: &str, whole: &str) -> bool {
    let whole: Vec<&str> = whole.split(' ').collect();
    !part.is_empty() && part.split(' ').all(|word| whole.contains(&word))
}

/// What a caller who never stops says last is what counts.
fn shortened(said: &str) -> String {
    let from = (said.len().saturating_sub(MAX_QUESTION)..said.len()).find(|at| said.is_char_boundary(*at));
    let end = &said[from.unwrap_or(0)..];
    if telling_words(end).is_empty() { String::new() } else { end.to_owned() }
}
