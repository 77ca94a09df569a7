//! What callers say, spoken by the embedded voice when it is needed: the same samples every time, and no large files.
//! Knows words, pauses and noises. Knows nothing of how they are judged.

use conversation::Expectation;
use media::tone;
use pico_engine::Voice;
use sim::Recording;

/// Words, and the pause before the next ones in milliseconds.
type Part = (&'static str, u64);

/// Something a caller says to an agent that waits for it.
pub(crate) struct Turn {
    pub(crate) kind: &'static str,
    pub(crate) parts: &'static [Part],
    pub(crate) expects: Expectation,
}

/// Something that sounds while the agent speaks.
#[derive(Debug)]
pub(crate) enum Beside {
    /// It is meant for the agent.
    Interruption(&'static str),
    /// It only shows that the caller listens.
    Backchannel(&'static str),
    /// It is no voice: so many milliseconds of noise at this level, in dBFS.
    Noise(u64, f32),
}

const fn turn(kind: &'static str, parts: &'static [Part], expects: Expectation) -> Turn {
    Turn { kind, parts, expects }
}

const ANY: Expectation = Expectation::Any;
const YES_NO: Expectation = Expectation::YesNo;

const fn digits(count: u8) -> Expectation {
    Expectation::Digits { count: Some(count) }
}

pub(crate) const TURNS: &[Turn] = &[
    turn("statement", &[("I would like to book an appointment for Tuesday", 0)], ANY),
    turn("statement", &[("I need to change my delivery address", 0)], ANY),
    turn("statement", &[("my internet connection has been down since this morning", 0)], ANY),
    turn("statement", &[("I lost my card yesterday", 0)], ANY),
    turn("statement", &[("hello I want to cancel my order", 0)], ANY),
    turn("statement", &[("the heating does not work", 0)], ANY),
    turn("statement", &[("I am calling about the invoice from last month", 0)], ANY),
    turn("statement", &[("please send me the contract", 0)], ANY),
    turn("statement", &[("we are four people", 0)], ANY),
    turn("statement", &[("thank you very much", 0)], ANY),
    turn("question", &[("what are your opening hours", 0)], ANY),
    turn("question", &[("when does the next train leave", 0)], ANY),
    turn("question", &[("can I speak to a person", 0)], ANY),
    turn("question", &[("how much does it cost", 0)], ANY),
    turn("question", &[("do you have a table for tonight", 0)], ANY),
    turn("question", &[("where is my parcel", 0)], ANY),
    turn("question", &[("is it possible to pay by card", 0)], ANY),
    turn("question", &[("could you repeat that", 0)], ANY),
    turn("short", &[("opening hours", 0)], ANY),
    turn("short", &[("Tuesday morning", 0)], ANY),
    turn("short", &[("the second one", 0)], ANY),
    turn("short", &[("technical support", 0)], ANY),
    turn("yes/no", &[("yes", 0)], YES_NO),
    turn("yes/no", &[("no", 0)], YES_NO),
    turn("yes/no", &[("yes please", 0)], YES_NO),
    turn("yes/no", &[("no thanks", 0)], YES_NO),
    turn("yes/no", &[("that's right", 0)], YES_NO),
    turn("yes/no", &[("sure", 0)], YES_NO),
    turn(
        "trailing and",
        &[("I would like to book an appointment and", 900), ("I have a question about the price", 0)],
        ANY,
    ),
    turn("trailing and", &[("my name is Miller and", 1_200), ("I live in London", 0)], ANY),
    turn("trailing and", &[("the light is red and", 700), ("it does not start", 0)], ANY),
    turn("hesitation", &[("I would like to", 800), ("change my booking", 0)], ANY),
    turn("hesitation", &[("it is about the", 1_000), ("the last invoice", 0)], ANY),
    turn("hesitation", &[("can you tell me when", 600), ("the shop opens", 0)], ANY),
    turn("hesitation", &[("on Friday", 450), ("or on Saturday", 0)], ANY),
    turn("hesitation", &[("I want to book", 500), ("a double room", 0)], ANY),
    turn("whole, then more", &[("I need an appointment", 400), ("for next Monday", 0)], ANY),
    turn("whole, then more", &[("do you have a table", 350), ("for four people", 0)], ANY),
    turn("digits", &[("four two seven", 700), ("one nine", 0)], digits(5)),
    turn(
        "digits",
        &[("zero one seven", 600), ("five five", 900), ("eight two", 600), ("one four six", 0)],
        digits(10),
    ),
    turn("digits", &[("my number is", 1_100), ("four two seven one", 0)], digits(4)),
    turn("digits", &[("one two three four", 0)], digits(4)),
    turn("digits", &[("it's four two", 800), ("seven three", 0)], ANY),
    turn("e-mail", &[("john dot smith", 700), ("at example", 600), ("dot com", 0)], Expectation::Email),
    turn("spelling", &[("m i l", 700), ("l e r", 0)], Expectation::Spelling),
];

pub(crate) const BESIDE: &[Beside] = &[
    Beside::Interruption("stop"),
    Beside::Interruption("wait a moment"),
    Beside::Interruption("no that is wrong"),
    Beside::Interruption("actually I want Tuesday"),
    Beside::Interruption("excuse me I have another question"),
    Beside::Interruption("hold on please"),
    Beside::Interruption("can I talk to a person"),
    Beside::Interruption("that is not what I asked"),
    Beside::Interruption("okay but what does it cost"),
    Beside::Interruption("yes but not on Monday"),
    Beside::Interruption("no"),
    Beside::Interruption("I know that already"),
    Beside::Backchannel("mhm"),
    Beside::Backchannel("uh huh"),
    Beside::Backchannel("yeah"),
    Beside::Backchannel("okay"),
    Beside::Backchannel("right"),
    Beside::Backchannel("yes"),
    Beside::Backchannel("I see"),
    Beside::Backchannel("all right"),
    Beside::Backchannel("got it"),
    Beside::Backchannel("sure"),
    Beside::Backchannel("good"),
    Beside::Backchannel("hmm"),
    Beside::Noise(90, -16.0),
    Beside::Noise(150, -16.0),
    Beside::Noise(250, -14.0),
    Beside::Noise(350, -14.0),
    Beside::Noise(500, -18.0),
    Beside::Noise(900, -22.0),
    Beside::Noise(250, -28.0),
    Beside::Noise(2_000, -30.0),
];

/// What the agent says meanwhile; word by word also what the context is measured with.
pub(crate) const AGENT_SAYS: &[&str] = &[
    "We are open from Monday to Friday between nine in the morning and six in the evening.",
    "Your parcel left our warehouse yesterday and should be with you on Thursday before noon.",
    "The appointment takes about thirty minutes, and you should bring a photo and your insurance card.",
    "I can offer you a table by the window at seven, or a quiet one in the garden at half past eight.",
    "Unfortunately the technician was not able to find your house, so he will come back tomorrow afternoon.",
    "Your balance is 42 euros and 50 cents, which is due on the 15th of November.",
    "To change your password, open the settings, choose security, and follow the link in the message.",
    "The total comes to 129 euros, including breakfast and parking; you can cancel free of charge until Friday.",
];

/// A text as the embedded voice speaks it, without the silence around it.
pub(crate) fn speak(voice: &mut Voice, text: &str) -> Result<Recording, String> {
    let pieces: Result<Vec<_>, _> = voice.speak_8k(text).collect();
    let samples = pieces.map_err(|error| error.to_string())?.concat();
    let loud = |sample: &i16| sample.unsigned_abs() > 300;
    let from = samples.iter().position(loud).unwrap_or(0);
    let until = samples.iter().rposition(loud).map_or(0, |last| last + 1);
    Ok(Recording { text: text.into(), samples: samples[from..until.max(from)].into() })
}

/// A noise without words.
pub(crate) fn noise(ms: u64, dbfs: f32) -> Recording {
    let mut samples = tone::noise(ms, dbfs, ms as usize * 8);
    let fade = samples.len() / 3;
    let count = samples.len();
    for (n, sample) in samples.iter_mut().enumerate().skip(count - fade) {
        *sample = (i32::from(*sample) * (count - n) as i32 / fade.max(1) as i32) as i16;
    }
    Recording { text: "".into(), samples: samples.into() }
}
