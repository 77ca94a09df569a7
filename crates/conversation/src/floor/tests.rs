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
            Decision::Duck => "duck".to_owned(),
            Decision::Unduck => "unduck".to_owned(),
            Decision::Pause { onset } => format!("pause from {}", at(onset)),
            Decision::Resume { was, text } => format!("resume: {} {text:?}", was.name()),
            Decision::BargeIn { onset, silent } => {
                format!("barge-in from {}, silent at {}", at(onset), at(silent))
            }
            Decision::NoInput { count } => format!("no input {count}"),
        };
        self.log.push((at(self.now), text));
    }

    /// Plays a strip of frames, `x` speech, `c` speech without a pitch and `.` silence; `12.` is twelve frames of silence.
    fn strip(mut self, strip: &str) -> Self {
        let mut times = String::new();
        for c in strip.chars() {
            if c.is_ascii_digit() {
                times.push(c);
                continue;
            }
            for _ in 0..times.parse().unwrap_or(1) {
                let sound = match c {
                    'x' => Sound::Voiced,
                    'c' => Sound::Unvoiced,
                    _ => Sound::Silence,
                };
                let decision = self.floor.handle_frame(self.now, sound);
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
        self.floor.agent_done(self.now, false);
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
    let play = Play::new().strip("10x11.").hears("i would like to").strip("110.");
    assert_eq!(play.log()[1], (2180, "end words \"i would like to\" at 180 long_pause"));
}

#[test]
fn an_ordinary_pause_ends_a_turn_that_may_be_finished() {
    let play = Play::new().strip("10x11.").hears("book an appointment").strip("60.");
    assert_eq!(play.log()[1], (880, "end words \"book an appointment\" at 180 pause"));
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
    assert_eq!(play.log(), [(300, "paused"), (380, "end words \"yes\" at 140 yes_no")]);
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
fn an_announcement_cannot_be_interrupted() {
    let play = Play::agent_speaks(Interruptible::Never).strip("10.50x100.");
    assert_eq!(play.decisions(), [""; 0]);
    let play = play.agent_done().strip("20.");
    assert_eq!(play.floor.holder(), Holder::Nobody);
}

#[test]
fn a_short_yes_at_the_end_of_the_agents_sentence_counts() {
    let play = Play::agent_speaks(Interruptible::Any)
        .expects(Expectation::YesNo)
        .strip("20.6x2.")
        .agent_done()
        .strip("10.");
    let play = play.hears("yes").strip("5.");
    assert_eq!(play.decisions(), ["duck", "paused", "end words \"yes\" at 500 yes_no"]);
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
    assert_eq!(
        play.decisions(),
        ["end keys \"1 2 3 4 5\" at 400 key_count", "barge-in from 600, silent at 600"]
    );
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
    assert_eq!(
        play.log(),
        [(200, "barge-in from 200, silent at 200"), (300, "end keys \"4 2\" at 300 key_count")]
    );
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

#[test]
fn a_short_cough_makes_the_agent_quieter_and_no_more() {
    let play = Play::agent_speaks(Interruptible::Any).strip("20.5c30.2x30.");
    assert_eq!(play.log(), [(440, "duck"), (680, "unduck")]);
    assert_eq!(play.floor.holder(), Holder::Agent);
}

#[test]
fn speech_silences_the_agent_and_then_takes_the_floor() {
    let play = Play::agent_speaks(Interruptible::Any).strip("20.20x").guesses("no thursday").strip("10x");
    assert_eq!(
        play.log(),
        [(440, "duck"), (580, "pause from 400"), (940, "barge-in from 400, silent at 580")]
    );
    assert_eq!(play.floor.holder(), Holder::Caller);
}

#[test]
fn a_barge_in_bears_small_gaps() {
    let play = Play::agent_speaks(Interruptible::Speech).strip("20.5x2.3x2.2x");
    assert_eq!(play.log(), [(440, "duck"), (580, "pause from 400")]);
}

#[test]
fn a_barge_in_is_followed_by_a_turn_with_its_first_words() {
    let play = Play::agent_speaks(Interruptible::Any)
        .strip("20.10x")
        .guesses("no")
        .strip("10x12.")
        .hears("no thursday.")
        .strip("9.");
    assert_eq!(
        play.decisions(),
        [
            "duck",
            "pause from 400",
            "paused",
            "barge-in from 400, silent at 580",
            "end words \"no thursday.\" at 780 punctuation"
        ]
    );
}

#[test]
fn a_backchannel_gives_the_agent_back_its_voice() {
    let play = Play::agent_speaks(Interruptible::Any).strip("20.16x10.").hears("Mm-hm.").strip("40.");
    assert_eq!(
        play.log(),
        [(440, "duck"), (580, "pause from 400"), (820, "paused"), (940, "resume: backchannel \"Mm-hm.\"")]
    );
    assert_eq!((play.floor.holder(), play.floor.agent_voice()), (Holder::Agent, AgentVoice::Full));
    // Nor is it answered when the agent has finished; unless that was a question.
    let mut asked = play;
    asked.floor.agent_done(asked.now - Duration::from_millis(400), true);
    assert_eq!(asked.floor.holder(), Holder::Caller);
    let told =
        Play::agent_speaks(Interruptible::Any).strip("20.16x10.").hears("Mm-hm.").strip("20.").agent_done();
    assert_eq!(told.floor.holder(), Holder::Nobody);
}

#[test]
fn a_hum_that_no_recogniser_writes_down_is_a_backchannel_too() {
    let play = Play::agent_speaks(Interruptible::Any).strip("20.16x").strip("40.");
    assert_eq!(play.log().last(), Some(&(1180, "resume: backchannel \"\"")));
}

#[test]
fn a_long_cough_is_over_when_it_is_over() {
    let play = Play::agent_speaks(Interruptible::Any).strip("20.15c").hears("book").strip("60.");
    assert_eq!(play.log().last(), Some(&(940, "resume: noise \"book\"")));
    let play = Play::agent_speaks(Interruptible::Any).strip("20.100c");
    assert_eq!(
        play.decisions(),
        ["duck", "pause from 400", "resume: noise \"\""],
        "and traffic does not pause it twice"
    );
    let play = play.strip("20.20x").guesses("wait").strip("10x");
    assert_eq!(play.decisions().last().map(|last| &last[..8]), Some("barge-in"));
}

#[test]
fn words_that_come_after_the_agent_went_on_take_the_floor_all_the_same() {
    let play =
        Play::agent_speaks(Interruptible::Any).strip("20.16x").strip("40.").hears("stop it").strip("30.");
    let late = &play.decisions()[3..];
    assert_eq!(late[0], "resume: backchannel \"\"");
    assert!(late[1].starts_with("pause") && late.iter().any(|what| what.starts_with("barge-in")), "{late:?}");
}

#[test]
fn yes_to_the_question_under_way_is_an_answer() {
    let play = Play::agent_speaks(Interruptible::Any).expects(Expectation::YesNo).strip("20.12x10.");
    let play = play.hears("yes").strip("20.");
    let last = *play.decisions().last().expect("a decision");
    assert_eq!(last, "end words \"yes\" at 620 yes_no");
}

#[test]
fn just_after_the_answer_nothing_silences_the_agent() {
    let play = Play::agent_speaks(Interruptible::Any).strip("13x20.");
    assert_eq!(play.decisions(), [""; 0]);
    let play = Play::agent_speaks(Interruptible::Any).strip("17x");
    assert_eq!(play.log(), [(300, "pause from 40")]);
}

#[test]
fn a_menu_may_be_interrupted_by_keys_alone() {
    let play = Play::agent_speaks(Interruptible::Dtmf).strip("20.40x5.");
    assert_eq!(play.decisions(), [""; 0]);
    assert_eq!(play.keys("1").decisions(), ["barge-in from 1300, silent at 1300"]);
}

#[test]
fn the_agent_may_be_interrupted_while_it_thinks() {
    let play =
        Play::new().strip("10x11.").hears("opening hours.").strip("20.").strip("11x").guesses("no wait");
    assert_eq!(play.strip("20x").decisions()[4], "barge-in from 820, silent at 1000");
}

/// Speaks and pauses; speech-to-text has its opinion at the end.
fn with_opinion(text: &str, opinion: ProviderTurn) -> Vec<(u128, String)> {
    let mut play = Play::new().strip("10x12.").hears(text);
    let decision = play.floor.handle_provider(play.now, opinion);
    play.note(decision);
    play.strip("120.").log
}

#[test]
fn what_speech_to_text_thinks_shortens_the_wait_and_does_not_rule_it() {
    let end = |text, opinion| with_opinion(text, opinion).remove(1);
    assert_eq!(
        end("opening hours", ProviderTurn::Over),
        (440, "end words \"opening hours\" at 180 provider".into())
    );
    assert_eq!(end("opening hours", ProviderTurn::Eager).0, 640);
    assert_eq!(end("opening hours", ProviderTurn::Resumed).0, 880);
    assert_eq!(end("opening hours and", ProviderTurn::Over).0, 880);
    assert_eq!(end("my number is", ProviderTurn::Over).0, 2_180, "the number is still to come");
}

#[test]
fn whole_words_that_stay_the_same_need_no_final() {
    let play = Play::new().strip("10x").guesses("when are you open").strip("120.");
    assert_eq!(play.log()[1], (880, "end words \"when are you open\" at 180 stable"));
}

#[test]
fn a_guess_is_there_while_the_turn_may_be_over() {
    let play = Play::new().strip("10x5.").guesses("opening hours");
    assert_eq!(play.floor.guess(play.now), None, "no pause yet");
    let play = play.strip("7.");
    assert_eq!(play.floor.guess(play.now), None, "these words may not be all");
    let play = play.hears("opening hours");
    assert_eq!(play.floor.guess(play.now).as_deref(), Some("opening hours"));
    let play = play.strip("2x");
    assert_eq!(play.floor.guess(play.now), None, "the caller goes on");
    let play = play.guesses("opening hours and").strip("12.");
    assert_eq!(play.floor.guess(play.now), None, "more is to come");
}
