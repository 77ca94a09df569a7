//! A small agent's world for tests and the benchmark: what its callers may say, and what they do say.
//! The sentences that are said are not all among those that were announced.

#![allow(dead_code, unreachable_pub, reason = "each user needs a part of it")]

/// Expands `[optional]`-free templates: `a|b` are alternatives, slots in `<>` are replaced by each of their values.
pub fn sentences() -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for template in TEMPLATES {
        expand(&template.split(' ').collect::<Vec<_>>(), &mut Vec::new(), &mut all);
    }
    all
}

fn expand(rest: &[&str], so_far: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
    let Some((first, rest)) = rest.split_first() else {
        all.push(so_far.clone());
        return;
    };
    let slot = SLOTS.iter().find(|(name, _)| name == first).map(|(_, values)| *values);
    for value in slot.unwrap_or(first).split('|') {
        let length = so_far.len();
        so_far.extend(value.split('_').filter(|w| !w.is_empty()).map(str::to_owned));
        expand(rest, so_far, all);
        so_far.truncate(length);
    }
}

const SLOTS: [(&str, &str); 4] = [
    ("<day>", "monday|tuesday|wednesday|thursday|friday|saturday|tomorrow|today|next_week"),
    ("<time>", "nine|ten|eleven|noon|one|two|three|half_past_three|three_thirty|four_fifteen|ten_o'clock"),
    ("<name>", "smith|jones|miller|taylor|brown|anna|peter|maria"),
    ("<digit>", "zero|oh|one|two|three|four|five|six|seven|eight|nine"),
];

const TEMPLATES: [&str; 34] = [
    "i|we want|would_like|need to book|make an appointment",
    "i'd_like to book|make an appointment for|on <day>",
    "i'd_like to book|make an appointment for|on <day> at <time>",
    "i want to book an appointment for|on <day> at <time>",
    "can|could i|we come in on|this| <day>",
    "book me in for|on| <day>",
    "book <day> at <time>",
    "<day> please|",
    "<day> at <time> please|",
    "on <day> at <time>",
    "at <time> please|",
    "<time> please|",
    "do you have anything|something free|| on <day>",
    "no <day> would be better",
    "my name is <name>",
    "it's|this_is <name>",
    "the name is <name>",
    "<name>",
    "yes|yeah|no|okay|correct|sure|right",
    "yes|no please|thanks|thank_you|that's_right|that's_wrong",
    "cancel my appointment|booking please|",
    "i|we want|would_like|need to cancel|change|move my|the appointment|booking",
    "what|when are your opening hours",
    "when are you open|closed on|| <day>",
    "what is my balance|account_balance",
    "check my balance|account_balance please|",
    "my account number is <digit> <digit> <digit>",
    "<digit> <digit> <digit>",
    "i want to|can_i|let_me talk|speak to a|an human|person|agent|operator",
    "can you repeat that please|",
    "i|we don't know",
    "how much does it|that cost",
    "is this acme",
    "hello|goodbye|thank_you|help|stop|start_over",
];

/// Said to the agent; each is made of its words.
pub const TESTS: [&str; 36] = [
    "i would like to book an appointment",
    "i'd like to make an appointment for tuesday",
    "book tuesday at three thirty",
    "can i come in on friday",
    "i want to book an appointment on thursday at ten",
    "we need to make an appointment",
    "do you have anything free on monday",
    "no wednesday would be better",
    "at half past three please",
    "tomorrow at nine",
    "next week please",
    "my name is peter",
    "it's anna",
    "the name is miller",
    "this is maria",
    "yes please",
    "no thank you",
    "yes that's right",
    "cancel my appointment",
    "i need to cancel my booking",
    "i want to move my appointment",
    "what are your opening hours",
    "when are you open on saturday",
    "what is my account balance",
    "check my balance please",
    "my account number is four eight three",
    "i want to speak to a human",
    "can i talk to a person",
    "let me speak to an operator",
    "can you repeat that please",
    "i don't know",
    "how much does it cost",
    "is this acme",
    "hello",
    "goodbye",
    "start over",
];

pub const DIGITS: [&str; 10] = [
    "four eight three nine two",
    "one two three four five",
    "seven oh six five",
    "nine nine one zero two",
    "six six five four",
    "two zero zero eight one",
    "five five one two three four",
    "eight seven three one",
    "three oh nine four",
    "one six seven eight two",
];

pub const YES_NO: [&str; 10] = [
    "yes",
    "no",
    "yeah",
    "yes please",
    "no thank you",
    "okay",
    "correct",
    "that's right",
    "no thanks",
    "sure",
];

/// Nothing of this is the agent's business.
pub const FOREIGN: [&str; 16] = [
    "i lost my card",
    "my washing machine is leaking water all over the kitchen floor",
    "the weather was lovely in the mountains",
    "please send an invoice to our bookkeeper",
    "where did the children leave their bicycles",
    "he plays the violin rather badly",
    "our delivery truck has broken down outside the village",
    "you should really try the chocolate cake",
    "a purple elephant walked through the library",
    "turn off the television",
    "the printer jams whenever it rains",
    "somebody stole a ladder from the garage",
    "which platform does the train leave from",
    "they painted the fence yesterday evening",
    "can you explain quantum physics",
    "dinner smells wonderful",
];

/// What G.711 µ-law leaves of the samples.
pub fn telephone(samples: &[i16]) -> Vec<i16> {
    samples.iter().map(|sample| mu_law(*sample)).collect()
}

fn mu_law(sample: i16) -> i16 {
    const BIAS: i32 = 132;
    let magnitude = i32::from(sample).abs().min(32_635) + BIAS;
    let exponent = 31 - (magnitude as u32).leading_zeros() as i32 - 7;
    let step = 1 << (exponent + 3);
    let rounded = magnitude / step * step + step / 2 - BIAS;
    (if sample < 0 { -rounded } else { rounded }) as i16
}

/// Words wrong, missing and too many.
pub fn word_errors(said: &str, heard: &str) -> usize {
    let said: Vec<&str> = said.split_whitespace().collect();
    let mut row: Vec<usize> = (0..=said.len()).collect();
    for (i, word) in heard.split_whitespace().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 1..=said.len() {
            let substituted = diagonal + usize::from(said[j - 1] != word);
            diagonal = row[j];
            row[j] = substituted.min(row[j] + 1).min(row[j - 1] + 1);
        }
    }
    row[said.len()]
}

/// Any string of digits, and nothing else.
pub const DIGITS_JSGF: &str = "#JSGF V1.0; grammar digits; \
    public <digits> = ( zero | oh | one | two | three | four | five | six | seven | eight | nine )+ ;";
