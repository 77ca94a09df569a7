//! What the floor promises, frame by frame.

use super::*;

/// Plays frames, words and keys; notes decisions with the time in milliseconds.
struct Play {
    floor: Floor,
    start: Instant,
    now: Instant,
    log: Vec<(u128, String)>,
}

impl Play {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do as the beginning")]
        let start = Instant::now();
        Self { floor: Floor::new(FloorConfig::default()), start, now: start, log: Vec::new() }
    }

    /// The agent speaks from the beginning.
    fn agent_speaks(interruptible: Interruptible) -> Self {
        let mut play = Self::new();
        play.floor.agent_starts(play.now, interruptible);
        play
    }

    fn note(&mut self, decision: Option<Decision>) {
        let Some(decision) = decision else { return };
        let at = |instant: Instant| instant.duration_since(self.start).as_millis();
        let text = match decision {
            Decision::CallerPaused => "paused".to_owned(),
            Decision::EndOfTurn { text, digits, ended, reason, .. } => {
                let how = if digits { "keys" } else { "words" };
                format!("end {how} {text:?} at {} {}", at(ended), reason.name())
            }
            Decision::BargeIn { onset } => format!("barge-in from {}", at(onset)),
            Decision::NoInput { count } => format!("no input {count}"),
        };
        self.log.push((at(self.now), text));
    }

    /// Plays a strip of frames, `x` speech and `.` silence; `12.` is twelve frames of silence.
    fn strip(mut self, strip: &str) -> Self {
        let mut times = String::new();
        for c in strip.chars() {
            if c.is_ascii_digit() {
                times.push(c);
                continue;
            }
            for _ in 0..times.parse().unwrap_or(1) {
                let decision = self.floor.handle_frame(self.now, c == 'x');
                self.note(decision);
                self.now += FRAME;
            }
            times.clear();
        }
        self
    }

    fn words(mut self, text: &str, is_final: bool) -> Self {
        let transcript = Transcript { text: text.to_owned(), is_final, confidence: None };
        let decision = self.floor.handle_transcript(self.now, &transcript);
        self.note(decision);
        self
    }

    fn hears(self, text: &str) -> Self {
        self.words(text, true)
    }

    fn guesses(self, text: &str) -> Self {
        self.words(text, false)
    }

    fn keys(mut self, keys: &str) -> Self {
        for key in keys.chars() {
            let decision = self.floor.handle_digit(self.now, key);
            self.note(decision);
            self = self.strip("5.");
        }
        self
    }

    fn expects(mut self, expectation: Expectation) -> Self {
        self.floor.expect(expectation);
        self
    }

    fn agent_done(mut self) -> Self {
        self.floor.agent_done(self.now);
        self
    }

    fn log(&self) -> Vec<(u128, &str)> {
        self.log.iter().map(|(at, what)| (*at, what.as_str())).collect()
    }

    fn decisions(&self) -> Vec<&str> {
        self.log.iter().map(|(_, what)| what.as_str()).collect()
    }
}

#[test]
fn a_finished_sentence_is_answered_after_a_quarter_of_a_second() {
    let play = Play::new().strip("10x11.").hears("What are your opening hours?").strip("10.");
    // The last speech is the frame at 180 ms.
    assert_eq!(
        play.log(),
        [(380, "paused"), (440, "end words \"What are your opening hours?\" at 180 punctuation")]
    );
    assert_eq!(play.floor.holder(), Holder::Agent);
}

#[test]
fn an_open_end_gets_more_time() {
    let play = Play::new().strip("10x11.").hears("i would like to").strip("60.");
    assert_eq!(play.log()[1], (1080, "end words \"i would like to\" at 180 long_pause"));
}

#[test]
fn an_ordinary_pause_ends_a_turn_that_may_be_finished() {
    let play = Play::new().strip("10x11.").hears("book an appointment").strip("60.");
    assert_eq!(play.log()[1], (640, "end words \"book an appointment\" at 180 pause"));
}

#[test]
fn a_whole_phrase_of_the_agent_is_answered_early() {
    let sentences = [["opening", "hours"].map(str::to_owned).to_vec(), ["book"].map(str::to_owned).to_vec()];
    let mut play = Play::new();
    play.floor.config.phrases = Some(Arc::new(Phrases::new(sentences.iter().map(Vec::as_slice))));
    let play = play.strip("10x11.").hears("opening hours").strip("10.");
    assert_eq!(play.log()[1], (440, "end words \"opening hours\" at 180 phrase"));
}

#[test]
fn a_pause_inside_a_number_does_not_end_the_turn() {
    let digits = Expectation::Digits { count: Some(5) };
    let play = Play::new()
        .expects(digits)
        .strip("10x12.")
        .hears("four two")
        .strip("60.10x12.")
        .hears("double one oh")
        .strip("5.");
    assert_eq!(
        play.decisions(),
        ["paused", "paused", "end words \"four two double one oh\" at 1820 digits_spoken"]
    );
}

#[test]
fn a_number_is_waited_for_even_if_nobody_asked() {
    let play = Play::new()
        .strip("10x12.")
        .hears("my account number is")
        .strip("80.10x12.")
        .hears("four two double one oh")
        .strip("40.");
    let last = *play.decisions().last().expect("a decision");
    assert!(last.starts_with("end words \"my account number is four two double one oh\""), "{last}");
}

#[test]
fn yes_is_enough_when_yes_or_no_was_asked() {
    let play = Play::new().expects(Expectation::YesNo).strip("8x11.").hears("yes").strip("5.");
    assert_eq!(play.log()[1], (400, "end words \"yes\" at 140 yes_no"));
}

#[test]
fn speech_that_resumes_takes_the_end_back() {
    let play = Play::new()
        .strip("10x11.")
        .hears("book")
        .strip("5x15.")
        .guesses("tuesday")
        .hears("tuesday")
        .strip("30.");
    assert_eq!(play.decisions(), ["paused", "paused", "end words \"book tuesday\" at 500 pause"]);
}

#[test]
fn a_click_in_the_silence_prolongs_nothing() {
    let play = Play::new().strip("10x11.").hears("opening hours.").strip(".x10.");
    assert_eq!(play.log()[1].0, 440);
}

#[test]
fn the_final_is_waited_for_and_not_for_ever() {
    let late = Play::new().strip("10x40.").guesses("opening ho").hears("opening hours").strip("20.");
    assert_eq!(late.log()[1], (1000, "end words \"opening hours\" at 180 pause"));
    let never = Play::new().strip("5x").guesses("opening hours").strip("5x120.");
    assert_eq!(never.log()[1], (1880, "end words \"opening hours\" at 180 no_final"));
}

#[test]
fn the_late_final_of_an_answered_turn_does_not_make_another() {
    let play =
        Play::new().strip("5x").guesses("opening hours").strip("5x120.").hears("opening hours").strip("600.");
    assert_eq!(play.decisions().len(), 2);
    let play = play.agent_done().strip("390.");
    assert_eq!(play.decisions().len(), 2, "{:?}", play.decisions());
}

#[test]
fn the_late_final_is_told_from_new_words() {
    // The final of the answered turn comes while the caller speaks again.
    let play =
        Play::new().strip("5x").guesses("opening hours").strip("5x90.").strip("10x").hears("opening hours");
    let play = play.strip("2x12.").hears("on friday").strip("30.");
    let last = *play.decisions().last().expect("a decision");
    assert!(last.starts_with("end words \"on friday\""), "{last}");
}

#[test]
fn noise_is_no_turn() {
    let play = Play::new().strip("8x12.").hears("").strip("100.");
    assert_eq!(play.decisions(), ["paused"]);
    assert_eq!(play.floor.holder(), Holder::Nobody);
}

#[test]
fn a_click_does_not_take_the_floor() {
    let play = Play::new().strip("20.2x40.");
    assert_eq!(play.decisions(), [""; 0]);
    assert_eq!(play.floor.holder(), Holder::Nobody);
}

#[test]
fn long_speech_without_words_is_asked_about() {
    let play = Play::new().strip("40x12.").hears("").strip("100.");
    assert_eq!(play.decisions(), ["paused", "end words \"\" at 780 unintelligible"]);
}

#[test]
fn a_cough_is_not_a_barge_in() {
    let play = Play::agent_speaks(Interruptible::Any).strip("20.5x30.5x20.");
    assert_eq!(play.decisions(), [""; 0]);
    assert_eq!(play.floor.holder(), Holder::Agent);
}

#[test]
fn speech_takes_the_floor_from_the_agent() {
    let play = Play::agent_speaks(Interruptible::Any).strip("10.12x");
    assert_eq!(play.log(), [(340, "barge-in from 200")]);
    assert_eq!(play.floor.holder(), Holder::Caller);
}

#[test]
fn a_barge_in_bears_small_gaps() {
    let play = Play::agent_speaks(Interruptible::Speech).strip("10.4x2.4xxx");
    assert_eq!(play.log(), [(380, "barge-in from 200")]);
}

#[test]
fn a_barge_in_is_followed_by_a_turn_with_its_first_words() {
    let play = Play::agent_speaks(Interruptible::Any)
        .strip("10.6x")
        .guesses("no")
        .strip("10x12.")
        .hears("no thursday.")
        .strip("9.");
    assert_eq!(
        play.decisions(),
        ["barge-in from 200", "paused", "end words \"no thursday.\" at 500 punctuation"]
    );
}

#[test]
fn a_cough_understood_as_a_word_does_not_begin_a_later_turn() {
    let play = Play::agent_speaks(Interruptible::Any)
        .strip("10.5x20.")
        .hears("uh")
        .strip("100.20x12.")
        .hears("stop.")
        .strip("9.");
    assert_eq!(play.decisions()[2], "end words \"stop.\" at 3080 punctuation");
}

#[test]
fn an_announcement_cannot_be_interrupted() {
    let play = Play::agent_speaks(Interruptible::Never).strip("10.50x100.");
    assert_eq!(play.decisions(), [""; 0]);
    let play = play.agent_done().strip("20.");
    assert_eq!(play.floor.holder(), Holder::Nobody);
}

#[test]
fn the_agent_may_be_interrupted_while_it_thinks() {
    let play = Play::new().strip("10x11.").hears("opening hours.").strip("5.").strip("10x");
    assert_eq!(play.decisions()[2], "barge-in from 520");
}

#[test]
fn a_short_yes_at_the_end_of_the_agents_sentence_counts() {
    let play = Play::agent_speaks(Interruptible::Any)
        .expects(Expectation::YesNo)
        .strip("10.6x2.")
        .agent_done()
        .strip("10.");
    let play = play.hears("yes").strip("5.");
    assert_eq!(play.decisions(), ["paused", "end words \"yes\" at 300 yes_no"]);
}

#[test]
fn silence_is_asked_about_again_and_again() {
    let play = Play::agent_speaks(Interruptible::Any).strip("10.").agent_done().strip("900.");
    assert_eq!(play.log(), [(8200, "no input 1"), (16200, "no input 2")]);
}

#[test]
fn a_turn_of_the_caller_starts_the_count_again() {
    let play =
        Play::agent_speaks(Interruptible::Any).agent_done().strip("410.10x12.").hears("hello.").strip("5.");
    let play = play.agent_done().strip("410.");
    assert_eq!(
        play.decisions(),
        ["no input 1", "paused", "end words \"hello.\" at 8380 punctuation", "no input 1"]
    );
}

#[test]
fn keys_end_at_the_expected_count() {
    let play = Play::new().expects(Expectation::Digits { count: Some(5) }).keys("12345");
    assert_eq!(play.log(), [(400, "end keys \"1 2 3 4 5\" at 400 key_count")]);
}

#[test]
fn a_hash_after_the_expected_count_interrupts_nobody() {
    let digits = Expectation::Digits { count: Some(5) };
    let play = Play::new().expects(digits).keys("12345#");
    assert_eq!(play.log(), [(400, "end keys \"1 2 3 4 5\" at 400 key_count")]);
    let play = Play::new().expects(digits).keys("12345#7");
    assert_eq!(play.decisions(), ["end keys \"1 2 3 4 5\" at 400 key_count", "barge-in from 600"]);
}

#[test]
fn keys_end_at_the_hash() {
    assert_eq!(Play::new().keys("12#").log(), [(200, "end keys \"1 2\" at 200 key_hash")]);
}

#[test]
fn keys_end_after_two_seconds() {
    let play = Play::new().keys("12").strip("120.");
    assert_eq!(play.log(), [(2100, "end keys \"1 2\" at 100 key_pause")]);
}

#[test]
fn a_key_interrupts_the_agent() {
    let play = Play::agent_speaks(Interruptible::Any)
        .expects(Expectation::Digits { count: Some(2) })
        .strip("10.")
        .keys("42");
    assert_eq!(play.log(), [(200, "barge-in from 200"), (300, "end keys \"4 2\" at 300 key_count")]);
}

#[test]
fn keys_pressed_ahead_count_once_the_agent_has_finished() {
    let play =
        Play::agent_speaks(Interruptible::Speech).expects(Expectation::Digits { count: Some(2) }).keys("42");
    assert_eq!(play.decisions(), [""; 0]);
    let play = play.agent_done().strip("2.");
    assert_eq!(play.decisions(), ["end keys \"4 2\" at 100 key_count"]);
}

#[test]
fn words_of_a_soft_speaker_are_a_turn() {
    let play = Play::new().strip("50.").hears("opening hours.").strip("40.");
    assert_eq!(play.decisions(), ["paused", "end words \"opening hours.\" at 1000 punctuation"]);
}

/// Random frames, words, keys and agent's doings: every wake changes something, and nothing is answered twice.
#[test]
fn a_wake_always_has_something_to_do() {
    for seed in 0..300 {
        let mut play = Play::new();
        let mut chance = crate::grammar::scatter(seed);
        let mut speech = false;
        for _ in 0..600 {
            chance = crate::grammar::scatter(chance);
            speech ^= chance.is_multiple_of(13);
            play = play.strip(if speech { "x" } else { "." });
            play = match chance >> 8 & 0xff {
                0 => play.hears("opening hours"),
                1 => play.guesses("my number is"),
                2 => play.keys("4"),
                3 => play.hears(""),
                4..8 => play.agent_done(),
                8 => {
                    play.floor.agent_starts(play.now, Interruptible::Any);
                    play
                }
                _ => play,
            };
            let Some(wake) = play.floor.next_wake() else { continue };
            if chance.is_multiple_of(50) {
                let before = (play.floor.next_wake(), play.floor.holder());
                let at = wake.max(play.now);
                let decision = play.floor.handle_timeout(at);
                let after = (play.floor.next_wake(), play.floor.holder());
                assert!(decision.is_some() || before != after, "seed {seed}: a wake did nothing");
                play.now = at;
            }
        }
    }
}

#[test]
fn a_noise_does_not_bring_the_no_input_prompt_forward() {
    // Three frames take the free floor, nothing is understood, and the eight seconds begin anew.
    let play = Play::new().agent_done().strip("380.3x11.").hears("").strip("300.");
    assert_eq!(play.decisions(), ["paused"]);
    assert_eq!(play.floor.holder(), Holder::Nobody);
}

#[test]
fn an_agent_that_was_silenced_by_a_noise_is_told_to_speak_again() {
    let play = Play::agent_speaks(Interruptible::Any).strip("10.9x11.").hears("").strip("60.");
    let decisions = play.decisions();
    assert_eq!(decisions[0], "barge-in from 200");
    assert!(decisions.last().is_some_and(|last| last.starts_with("end words \"\"")), "{decisions:?}");
}

#[test]
fn a_caller_who_is_excused_is_not_asked_whether_they_are_there() {
    let mut play = Play::new();
    for _ in 0..100 {
        play = play.strip("20.");
        play.floor.excuse(play.now);
    }
    assert_eq!(play.decisions(), [""; 0]);
    assert_eq!(play.strip("401.").decisions(), ["no input 1"]);
}

#[test]
fn a_hash_after_the_last_expected_digit_is_habit_and_not_a_barge_in() {
    let play = Play::new().expects(Expectation::Digits { count: Some(5) }).keys("12345#");
    assert_eq!(play.decisions(), ["end keys \"1 2 3 4 5\" at 400 key_count"]);
    let later = play.strip("150.").keys("#");
    assert_eq!(later.decisions().len(), 2, "later it is a key like any other");
}
