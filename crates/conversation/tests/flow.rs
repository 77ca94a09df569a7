//! Whole conversations with the demo agent, as tables: what the caller says, what the agent answers.
//! Knows the demo's files; its database is pretended.

use conversation::{Agent, Expectation, FlowReply, LlmRequest, Message, ToolCall, flow_reply};
use std::collections::BTreeMap;

const AGENT: &str = include_str!("../../../agents/demo.toml");
const HOURS: &str = include_str!("../../../agents/demo-hours.md");

fn demo() -> Agent {
    let files = BTreeMap::from([("demo-hours.md".to_owned(), HOURS.to_owned())]);
    Agent::parse(AGENT, &files).expect("the demo agent is well formed")
}

/// A call with the demo agent; its tools answer from a pretended database.
struct Phone {
    agent: Agent,
    messages: Vec<Message>,
    booked: Vec<String>,
    tools: Vec<String>,
    last: FlowReply,
}

impl Phone {
    fn call() -> Self {
        let agent = demo();
        let last = FlowReply {
            pieces: Vec::new(),
            tool_calls: Vec::new(),
            expect: Expectation::Any,
            end_call: false,
        };
        let greeting = Message::Assistant {
            text: agent.greeting(agent.variables()),
            tool_calls: Vec::new(),
            interrupted: false,
        };
        Self { agent, messages: vec![greeting], booked: Vec::new(), tools: Vec::new(), last }
    }

    fn ask(&mut self) -> FlowReply {
        // A Monday.
        let today = jiff::civil::date(2026, 10, 12);
        let request = LlmRequest {
            system: String::new(),
            messages: self.messages.clone(),
            tools: Vec::new(),
            today,
            variables: Default::default(),
            looked_up: Vec::new(),
            acted: false,
        };
        flow_reply(&self.agent, &request)
    }

    /// Says something and plays tools until the agent has answered; what it said, and the tools it called before.
    fn say(&mut self, text: &str) -> String {
        self.messages.push(Message::User { text: text.to_owned() });
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut said = String::new();
        for _ in 0..5 {
            let reply = self.ask();
            said.push_str(&reply.pieces.concat());
            let text = reply.pieces.concat();
            self.messages.push(Message::Assistant {
                text,
                tool_calls: reply.tool_calls.clone(),
                interrupted: false,
            });
            self.last = reply;
            let calls = self.last.tool_calls.clone();
            for call in &calls {
                let result = self.run(call);
                self.messages.push(Message::Tool {
                    call_id: call.id.clone(),
                    name: call.name.clone(),
                    result,
                });
            }
            if calls.is_empty() || self.last.end_call {
                return said;
            }
        }
        panic!("the agent never stops calling tools: {:?}", self.tools);
    }

    fn run(&mut self, call: &ToolCall) -> String {
        let arguments: serde_json::Value = serde_json::from_str(&call.arguments).expect("arguments are JSON");
        let at = |name: &str| arguments[name].as_str().unwrap_or_default().to_owned();
        self.tools.push(format!(
            "{} {}",
            call.name,
            arguments
                .as_object()
                .map(|map| {
                    map.values()
                        .map(|value| value.as_str().unwrap_or_default().to_owned())
                        .collect::<Vec<_>>()
                        .join(" ")
                })
                .unwrap_or_default()
        ));
        match call.name.as_str() {
            "find_slots" => {
                let day: jiff::civil::Date = at("day").parse().expect("a date");
                let times: &[&str] = match day.weekday().to_monday_zero_offset() {
                    1 => &["09:30", "11:00", "14:00", "15:30"],
                    3 => &["10:00", "11:30", "14:30", "15:30"],
                    5 | 6 => &[],
                    _ => &["09:00", "10:30"],
                };
                let rows: Vec<_> = times
                    .iter()
                    .filter(|time| !self.booked.contains(&format!("{day} {time}")))
                    .map(|time| serde_json::json!({"time": time}))
                    .collect();
                serde_json::Value::Array(rows).to_string()
            }
            "book" => {
                let when = format!("{} {}", at("day"), at("time"));
                let free = !self.booked.contains(&when);
                self.booked.push(when);
                serde_json::json!({"changes": u8::from(free)}).to_string()
            }
            "balance" if at("account") == "42110" => r#"{"dollars":1180,"cents":0}"#.to_owned(),
            "balance" => "null".to_owned(),
            "call_back" => r#"{"changes":1}"#.to_owned(),
            _ => "{}".to_owned(),
        }
    }
}

/// Plays a table; the agent's answers must contain the given parts.
fn talk(table: &[(&str, &str)]) -> Phone {
    let mut phone = Phone::call();
    for (caller, agent) in table {
        let answer = phone.say(caller);
        assert!(
            answer.contains(agent),
            "caller: {caller:?}\nagent:  {answer:?}\nwanted: {agent:?}\ntools:  {:?}",
            phone.tools
        );
    }
    phone
}

#[test]
fn an_appointment_is_booked_step_by_step() {
    let phone = talk(&[
        ("i would like to book an appointment", "For which day?"),
        ("on tuesday please", "For tomorrow I have nine thirty, eleven o'clock or two o'clock"),
        ("eleven", "And what is your last name?"),
        ("my name is miller", "Tomorrow at eleven o'clock for Miller. Shall I book that?"),
        ("yes", "Done. Your appointment is booked: tomorrow at eleven o'clock."),
        ("no thank you", "Goodbye"),
    ]);
    assert_eq!(phone.tools, ["find_slots 2026-10-13", "book 2026-10-13 miller 11:00", "end_call "]);
    assert!(phone.last.end_call);
}

#[test]
fn an_appointment_is_booked_with_one_sentence() {
    let phone = talk(&[
        ("book me in on thursday at three thirty please", "And what is your last name?"),
        ("smith", "Thursday at three thirty for Smith. Shall I book that?"),
        ("yes please", "Done."),
    ]);
    assert_eq!(phone.tools, ["find_slots 2026-10-15", "book 2026-10-15 smith 15:30"]);
}

#[test]
fn a_recogniser_with_punctuation_and_figures_is_understood_too() {
    talk(&[
        (
            "Hi, I'd like to schedule an appointment for Thursday at 3:30 p.m., please.",
            "And what is your last name?",
        ),
        ("It's Kowalska.", "Thursday at three thirty for Kowalska. Shall I book that?"),
        ("Yes, that's right.", "Done."),
    ]);
}

#[test]
fn the_day_can_be_corrected_at_the_end() {
    let phone = talk(&[
        ("book an appointment for tuesday at three thirty", "last name"),
        ("smith", "Shall I book that?"),
        ("no thursday", "Thursday at three thirty for Smith. Shall I book that?"),
        ("yes", "Done."),
    ]);
    assert_eq!(phone.tools.last().map(String::as_str), Some("book 2026-10-15 smith 15:30"));
}

#[test]
fn a_yes_with_a_word_that_sounds_like_a_name_is_a_yes() {
    talk(&[
        ("book an appointment for thursday at ten", "last name"),
        ("smith", "Shall I book that?"),
        ("yes but the name is reed", "Thursday at ten o'clock for Reed. Shall I book that?"),
        ("yes price", "Done."),
    ]);
}

#[test]
fn a_no_asks_what_to_change() {
    talk(&[
        ("book an appointment for thursday at three thirty", "last name"),
        ("smith", "Shall I book that?"),
        ("no", "What should I change: the day, the time or the name?"),
        ("the time", "Which one suits you?"),
        ("ten o'clock", "Thursday at ten o'clock for Smith. Shall I book that?"),
    ]);
}

#[test]
fn a_time_that_is_taken_is_not_offered() {
    let mut phone = talk(&[
        (
            "book an appointment for thursday at nine",
            "Sorry, nine o'clock is not free. For Thursday I have ten o'clock, eleven thirty or two thirty.",
        ),
        ("the second one", "last name"),
        ("smith", "Thursday at eleven thirty for Smith"),
    ]);
    phone.booked.push("2026-10-15 11:30".to_owned());
    assert!(phone.say("yes").contains("has just been taken"));
}

#[test]
fn a_day_without_free_times_is_said() {
    talk(&[
        ("book an appointment for sunday", "For Sunday there is nothing free. Which other day suits you?"),
        ("thursday then", "For Thursday I have"),
    ]);
}

#[test]
fn a_question_in_between_does_not_lose_the_booking() {
    talk(&[
        ("book an appointment", "For which day?"),
        ("what are your opening hours", "On Saturday and Sunday we are closed"),
        ("thursday", "For Thursday I have"),
    ]);
}

#[test]
fn a_question_in_between_is_followed_by_the_open_question() {
    talk(&[
        ("book an appointment", "For which day?"),
        ("what are your opening hours", "closed as well. For which day?"),
    ]);
}

#[test]
fn knowledge_is_told_by_its_section() {
    talk(&[
        ("what are your opening hours", "We are open Monday to Thursday"),
        ("where can i park", "free parking"),
        ("how late are you open on friday", "On Friday we close at two."),
    ]);
}

#[test]
fn an_account_number_is_said_or_keyed_and_never_read_back_whole() {
    for number in ["four two double one oh", "4 2 1 1 0", "42110.", "it's four two one one zero"] {
        let phone = talk(&[
            ("what is my account balance", "five digits"),
            (
                number,
                "The account ending in one zero has a balance of one thousand one hundred eighty dollars and zero cents.",
            ),
        ]);
        assert_eq!(phone.tools, ["balance 42110"]);
    }
}

#[test]
fn a_number_that_is_too_short_is_asked_for_again() {
    let mut phone = talk(&[
        ("what is my balance", "five digits"),
        ("four two one", "I heard three digits, but I need five."),
    ]);
    assert_eq!(phone.last.expect, Expectation::Digits { count: Some(5) });
    assert!(phone.say("one two three four five").contains("I found no account ending in four five."));
}

#[test]
fn a_person_is_promised_honestly() {
    let phone = talk(&[("can i talk to a person", "Nobody is here to take your call right now")]);
    assert_eq!(phone.tools, ["call_back "]);
}

#[test]
fn what_repeats_the_last_answer() {
    talk(&[
        ("book an appointment", "For which day?"),
        ("what", "For which day?"),
        ("sorry what did you say", "For which day?"),
        ("blue elephants dance", "Sorry, I did not understand that. For which day?"),
        ("pardon", "For which day?"),
    ]);
    talk(&[("pardon", "Hello, this is the Tandem demo")]);
}

#[test]
fn starting_over_forgets_everything() {
    talk(&[
        ("book an appointment for tuesday", "Which one suits you?"),
        ("let's start over", "What can I do for you?"),
        ("book an appointment", "For which day?"),
    ]);
}

#[test]
fn two_misses_bring_examples() {
    talk(&[
        ("blue elephants dance", "Sorry, I did not understand that."),
        ("the moon is made of cheese", "You can say, for example"),
        ("opening hours", "We are open"),
    ]);
}

#[test]
fn nothing_heard_is_said_and_what_was_asked_stays_asked() {
    let phone = talk(&[("book an appointment", "For which day?"), ("", "Sorry, I did not catch that.")]);
    assert_eq!(phone.last.expect, Expectation::Date);
    let phone = talk(&[("", "Sorry, I did not catch that."), ("opening hours", "We are open")]);
    assert!(phone.tools.is_empty());
}

#[test]
fn every_question_says_what_it_expects() {
    let mut phone = Phone::call();
    for (text, expect) in [
        ("book an appointment", Expectation::Date),
        ("thursday", Expectation::Time),
        ("ten", Expectation::Name),
        ("smith", Expectation::YesNo),
        ("yes", Expectation::Any),
        ("what is my balance", Expectation::Digits { count: Some(5) }),
    ] {
        phone.say(text);
        assert_eq!(phone.last.expect, expect, "after {text:?}");
    }
}

#[test]
fn politeness_is_answered_and_declining_is_not_thanks() {
    talk(&[
        ("hello", "Hello. What can I do for you?"),
        ("opening hours", "We are open"),
        ("thank you", "You are welcome."),
    ]);
    let phone = talk(&[
        ("book an appointment for thursday at ten", "last name"),
        ("smith", "Shall I book that?"),
        ("no thanks", "What should I change"),
        ("nothing, forget it", "let us start over"),
        ("can i talk to a person", "Is there anything else?"),
        ("no thanks", "Goodbye"),
    ]);
    assert!(phone.last.end_call);
}

#[test]
fn sounds_of_thinking_are_no_answer() {
    talk(&[
        ("book an appointment", "For which day?"),
        ("um", "For which day?"),
        ("uh tuesday", "For tomorrow I have"),
    ]);
}

#[test]
fn goodbye_hangs_up_once() {
    let mut phone = talk(&[("goodbye", "Thank you for calling. Goodbye.")]);
    assert_eq!(phone.tools, ["end_call "]);
    let after = phone.ask();
    assert!(after.end_call && after.pieces.is_empty() && after.tool_calls.is_empty());
}

#[test]
fn a_booking_that_succeeded_unheard_is_told_and_not_repeated() {
    let mut phone =
        talk(&[("book an appointment for thursday at ten", "last name"), ("smith", "Shall I book that?")]);
    phone.say("yes");
    // The caller spoke before the result was said: only the call and its result are in the context.
    phone.messages.pop();
    let answer = phone.say("what are your opening hours");
    assert!(answer.starts_with("Done. Your appointment is booked: Thursday at ten o'clock."), "{answer}");
    assert!(answer.contains("We are open Monday"), "{answer}");
    assert_eq!(phone.tools.iter().filter(|tool| tool.starts_with("book")).count(), 1);
}

#[test]
fn a_tool_that_still_runs_is_not_called_again() {
    let mut phone =
        talk(&[("book an appointment for thursday at ten", "last name"), ("smith", "Shall I book that?")]);
    phone.say("yes");
    phone.messages.pop();
    let Some(Message::Tool { result, .. }) = phone.messages.last_mut() else { panic!("the booking") };
    *result = r#"{"status":"still running"}"#.to_owned();
    let answer = phone.say("hello");
    assert!(answer.contains("one moment"), "{answer}");
    assert_eq!(phone.tools.iter().filter(|tool| tool.starts_with("book")).count(), 1);
}

#[test]
fn a_failing_database_is_admitted() {
    let mut phone = Phone::call();
    phone.messages.push(Message::User { text: "book an appointment for thursday".to_owned() });
    let reply = phone.ask();
    let call = reply.tool_calls[0].clone();
    phone.messages.push(Message::Assistant {
        text: String::new(),
        tool_calls: reply.tool_calls,
        interrupted: false,
    });
    phone.messages.push(Message::Tool {
        call_id: call.id,
        name: call.name,
        result: r#"{"error":"locked"}"#.to_owned(),
    });
    assert!(phone.answer().contains("I cannot reach our records"));
}

#[test]
fn it_goes_on_where_a_model_stopped() {
    let mut phone = Phone::call();
    let call = ToolCall {
        id: "call_x1".to_owned(),
        name: "find_slots".to_owned(),
        arguments: r#"{ "day": "2026-10-15" }"#.to_owned(),
    };
    let said = |text: &str, tool_calls: Vec<ToolCall>, interrupted| Message::Assistant {
        text: text.to_owned(),
        tool_calls,
        interrupted,
    };
    phone.messages.extend([
        Message::User { text: "Could you book me an appointment on Thursday?".to_owned() },
        said("Of course, let me have a look", vec![call], true),
        Message::Tool {
            call_id: "call_x1".to_owned(),
            name: "find_slots".to_owned(),
            result: r#"[{"time":"15:30"}]"#.to_owned(),
        },
        said("I could offer you half past three, would", Vec::new(), true),
    ]);
    assert!(phone.say("half past three is fine").contains("last name"));
    assert!(phone.say("smith").contains("Thursday at three thirty for Smith. Shall I book that?"));
}

#[test]
fn deltas_are_words_and_calls_have_ids_of_their_own() {
    let mut phone =
        talk(&[("book an appointment for thursday", "Which one"), ("what is my balance", "five digits")]);
    assert!(phone.last.pieces.iter().all(|piece| piece.trim().split(' ').count() == 1));
    phone.say("one two three four five");
    let ids: Vec<_> = phone
        .messages
        .iter()
        .filter_map(|message| match message {
            Message::Tool { call_id, .. } => Some(call_id.as_str()),
            Message::User { .. } | Message::Assistant { .. } => None,
        })
        .collect();
    assert_eq!(ids, ["flow_1", "flow_2"]);
}

#[test]
fn any_message_list_is_answered() {
    let agent = demo();
    let today = jiff::civil::date(2026, 10, 12);
    let lonely =
        Message::Tool { call_id: "x".to_owned(), name: "book".to_owned(), result: "not json".to_owned() };
    for messages in [Vec::new(), vec![lonely.clone()], vec![Message::User { text: "yes".to_owned() }, lonely]]
    {
        let request = LlmRequest {
            system: String::new(),
            messages,
            tools: Vec::new(),
            today,
            variables: Default::default(),
            looked_up: Vec::new(),
            acted: false,
        };
        assert!(!flow_reply(&agent, &request).pieces.is_empty());
    }
}
