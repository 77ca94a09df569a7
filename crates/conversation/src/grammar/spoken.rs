//! Reads and writes the spoken forms of digits, days, times, names, yes and no.
//! Knows English as callers speak it and as speech-to-text writes it. Knows no agent.

use crate::spoken::english::{self, SMALL, TENS};
use jiff::{
    Span, ToSpan,
    civil::{Date, Weekday},
};

const ORDINALS: [&str; 20] = [
    "",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Monday),
    ("tuesday", Weekday::Tuesday),
    ("wednesday", Weekday::Wednesday),
    ("thursday", Weekday::Thursday),
    ("friday", Weekday::Friday),
    ("saturday", Weekday::Saturday),
    ("sunday", Weekday::Sunday),
];

/// Lower-case words without punctuation. `3.30 p.m.`, `10,000` and `half-past` become `3:30 pm`, `10000` and `half past`.
pub(crate) fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase().replace('\u{2019}', "'").replace("a.m", "am").replace("p.m", "pm");
    let chars: Vec<char> = text.chars().collect();
    let digit = |at: Option<usize>| at.and_then(|at| chars.get(at)).is_some_and(char::is_ascii_digit);
    let mut out = vec![String::new()];
    for (at, &c) in chars.iter().enumerate() {
        let inside = digit(at.checked_sub(1)) && digit(Some(at + 1));
        match c {
            ',' if inside => {}
            '.' | ':' if inside => push_last(&mut out, ':'),
            c if c.is_alphanumeric() || c == '\'' => {
                // "3pm" is two words, "14th" is one.
                if c.is_alphabetic() && digit(at.checked_sub(1)) && matches!(c, 'a' | 'p') {
                    out.push(String::new());
                }
                push_last(&mut out, c);
            }
            _ => out.push(String::new()),
        }
    }
    out.iter().map(|word| word.trim_matches('\'').to_owned()).filter(|word| !word.is_empty()).collect()
}

fn push_last(out: &mut [String], c: char) {
    if let Some(last) = out.last_mut() {
        last.push(c);
    }
}

/// Sounds and words that mean nothing.
pub(crate) fn is_filler(word: &str) -> bool {
    matches!(
        word,
        "uh" | "um" | "umm" | "er" | "erm" | "hmm" | "well" | "so" | "okay" | "ok" | "please" | "oh"
    )
}

/// Yes, no, or neither. "no, Thursday" is a no.
pub(crate) fn yes_no(words: &[String]) -> Option<bool> {
    const YES: &[&str] = &[
        "yes",
        "yeah",
        "yep",
        "yup",
        "sure",
        "correct",
        "right",
        "exactly",
        "absolutely",
        "definitely",
        "perfect",
        "fine",
        "ok",
        "okay",
        "please",
    ];
    const NO: &[&str] = &["no", "nope", "nah", "not", "wrong", "don't", "incorrect", "never"];
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    match (has(NO), has(YES)) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    }
}

/// The digits that the words spell, in order: "four two double one oh" is 42110, "forty two" is 42.
pub(crate) fn spoken_digits(words: &[String]) -> String {
    let mut out = String::new();
    let mut repeat = 1;
    let mut rest = words;
    while let [word, after @ ..] = rest {
        rest = after;
        let next = after.first().map_or("", String::as_str);
        match word.as_str() {
            "double" => repeat = 2,
            "triple" => repeat = 3,
            // "oh four two" begins with a zero; "oh, hello" does not.
            "oh" | "o" if out.is_empty() && !(next == "oh" || one(next).is_some_and(|n| n < 10)) => {}
            word => {
                let Some(mut digits) = digits_of(word) else { continue };
                if tens(word).is_some()
                    && let Some(unit @ 1..10) = one(next)
                {
                    digits = format!("{}{unit}", &digits[..1]);
                    rest = &after[1..];
                }
                out.push_str(&digits.repeat(std::mem::replace(&mut repeat, 1)));
            }
        }
    }
    out
}

/// The digits of one word.
fn digits_of(word: &str) -> Option<String> {
    match word {
        "oh" | "o" | "nought" => Some("0".to_owned()),
        "hundred" => Some("00".to_owned()),
        word if word.bytes().all(|b| b.is_ascii_digit()) => Some(word.to_owned()),
        word => one(word).or_else(|| tens(word)).map(|n| n.to_string()),
    }
}

/// 0 to 19.
fn one(word: &str) -> Option<u32> {
    position(&SMALL, word)
}

/// 20, 30 … 90.
fn tens(word: &str) -> Option<u32> {
    position(&TENS[2..], word).map(|n| (n + 2) * 10)
}

fn position(list: &[&str], word: &str) -> Option<u32> {
    list.iter().position(|item| *item == word).and_then(|n| u32::try_from(n).ok())
}

/// A number below one hundred at the beginning of `words`, and how many words it takes.
fn number(words: &[String]) -> Option<(u32, usize)> {
    let first = words.first()?;
    if let Some(ten) = tens(first) {
        return match words.get(1).and_then(|word| one(word)) {
            Some(unit @ 1..10) => Some((ten + unit, 2)),
            Some(_) | None => Some((ten, 1)),
        };
    }
    if let Some(n) = one(first) {
        return Some((n, 1));
    }
    let digits = first.len() <= 2 && first.bytes().all(|b| b.is_ascii_digit());
    if digits { first.parse().ok().map(|n| (n, 1)) } else { None }
}

/// The day that the words name, seen from `today`: "tuesday", "tomorrow", "next friday", "october the fourteenth".
pub(crate) fn parse_day(words: &[String], today: Date) -> Option<Date> {
    let has = |wanted: &str| words.iter().any(|word| word == wanted);
    if let Some(date) = words.windows(3).find_map(|parts| parts.join("-").parse::<Date>().ok()) {
        return Some(date);
    }
    if words.iter().any(|word| position(&MONTHS, word).is_some())
        && let Some(date) = parse_date(words, today)
    {
        return Some(date);
    }
    if has("tomorrow") {
        let span: Span = if has("after") { 2.days() } else { 1.days() };
        return today.checked_add(span).ok();
    }
    if has("today") {
        return Some(today);
    }
    // The last one counts: "not tuesday, thursday".
    let named = words.iter().enumerate().rev().find_map(|(at, word)| Some((at, weekday(word)?)));
    if let Some((at, weekday)) = named {
        let ahead =
            i64::from(weekday.to_monday_zero_offset()) - i64::from(today.weekday().to_monday_zero_offset());
        let next = at > 0 && words[at - 1] == "next";
        // "Next Friday" is the one of next week, "Friday" the nearest to come.
        let days = if next || ahead <= 0 { ahead + 7 } else { ahead };
        return today.checked_add(days.days()).ok();
    }
    parse_date(words, today)
}

fn weekday(word: &str) -> Option<Weekday> {
    let word = word.strip_suffix("'s").or_else(|| word.strip_suffix('s')).unwrap_or(word);
    WEEKDAYS.iter().find(|(name, _)| *name == word).map(|(_, weekday)| *weekday)
}

/// "october fourteenth", "the fourteenth of october", "the 14th".
fn parse_date(words: &[String], today: Date) -> Option<Date> {
    let (at, day) = words.iter().enumerate().find_map(|(at, word)| Some((at, ordinal(words, at, word)?)))?;
    let month = words.iter().find_map(|word| position(&MONTHS, word)).map(|month| month + 1);
    if month.is_none() && !(at > 0 && words[at - 1] == "the") && words[at].parse::<u32>().is_err() {
        return None;
    }
    let day = i8::try_from(day).ok()?;
    match month.and_then(|month| i8::try_from(month).ok()) {
        Some(month) => {
            let date = Date::new(today.year(), month, day).ok()?;
            if date >= today { Some(date) } else { Date::new(today.year() + 1, month, day).ok() }
        }
        None => {
            let date = Date::new(today.year(), today.month(), day).ok()?;
            if date >= today { Some(date) } else { date.checked_add(1.month()).ok() }
        }
    }
}

/// The day of a month at `at`: "fourteenth", "14th", "twenty first".
fn ordinal(words: &[String], at: usize, word: &str) -> Option<u32> {
    if let Some(n) = position(&ORDINALS[1..], word) {
        let ten = at.checked_sub(1).and_then(|before| tens(&words[before])).filter(|_| n < 9);
        return Some(n + 1 + ten.unwrap_or(0));
    }
    match word {
        "twentieth" => return Some(20),
        "thirtieth" => return Some(30),
        // "twenty first" is found at its second word; "october twenty" is not a way to say a day.
        _ => {}
    }
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &word[digits.len()..];
    if matches!(suffix, "st" | "nd" | "rd" | "th") { digits.parse().ok() } else { None }
}

/// A time of day as it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpokenTime {
    /// 0 to 23. Without "am" or "pm" a business hour: one to six are in the afternoon.
    pub(crate) hour: u32,
    /// 0 to 59.
    pub(crate) minute: u32,
    /// Whether more than a bare hour was said.
    pub(crate) precise: bool,
    /// Whether the half of the day was said.
    pub(crate) half_of_day: bool,
}

impl SpokenTime {
    /// `15:30`.
    pub(crate) fn clock(self) -> String {
        format!("{:02}:{:02}", self.hour, self.minute)
    }
}

/// The last time of day in the words: "half past three", "three thirty", "ten am", "3:30 pm", "noon".
pub(crate) fn parse_time(words: &[String]) -> Option<SpokenTime> {
    (0..words.len())
        .filter_map(|at| time_at(words, at))
        .fold(None, |best: Option<(usize, SpokenTime)>, found| match best {
            // A time inside a longer one is none: the "thirty" of "three thirty".
            Some((end, _)) if found.1 <= end => best,
            Some((_, time)) if time.precise && !found.2.precise => best,
            Some(_) | None => Some((found.1, found.2)),
        })
        .map(|(_, time)| time)
}

/// A time that begins at `at`: where it begins and ends, and what it is.
fn time_at(words: &[String], at: usize) -> Option<(usize, usize, SpokenTime)> {
    let rest = &words[at..];
    let word = rest.first()?.as_str();
    if at.checked_sub(1).is_some_and(|before| tens(&words[before]).is_some()) {
        return None;
    }
    let (hour, minute, mut used, mut precise) = match word {
        "noon" | "midday" => (12, 0, 1, true),
        "half" | "quarter" => {
            let to = rest.get(1).is_some_and(|word| word == "to" || word == "of");
            let past = rest.get(1).is_some_and(|word| word == "past" || word == "after");
            let (hour, taken) = number(rest.get(2..)?)?;
            match (word, past, to) {
                ("half", true, _) => (hour, 30, 2 + taken, true),
                ("quarter", true, _) => (hour, 15, 2 + taken, true),
                ("quarter", _, true) => ((hour + 11) % 12, 45, 2 + taken, true),
                _ => return None,
            }
        }
        word if word.contains(':') => {
            let (hour, minute) = word.split_once(':')?;
            (hour.parse().ok()?, minute.parse().ok()?, 1, true)
        }
        _ => hour_and_minute(rest)?,
    };
    if rest.get(used).is_some_and(|word| word == "o'clock") {
        (used, precise) = (used + 1, true);
    }
    let (half, taken) = half_of_day(&rest[used..]);
    used += taken;
    precise |= half.is_some() || at.checked_sub(1).is_some_and(|before| words[before] == "at");
    let hour = match half {
        Some(true) if hour < 12 => hour + 12,
        Some(false) if hour == 12 => 0,
        None if (1..=6).contains(&hour) => hour + 12,
        Some(_) | None => hour,
    };
    let half_of_day = half.is_some() || hour > 18;
    (hour < 24 && minute < 60).then_some((at, at + used, SpokenTime { hour, minute, precise, half_of_day }))
}

/// "three thirty", "three oh five", "three": hour, minute, words used, whether minutes were said.
fn hour_and_minute(rest: &[String]) -> Option<(u32, u32, usize, bool)> {
    let (hour, used) = number(rest)?;
    if used > 1 || hour > 23 {
        return None;
    }
    let after = &rest[used..];
    if after.first().is_some_and(|word| word == "oh" || word == "o")
        && let Some((minute @ 1..10, taken)) = after.get(1..).and_then(number)
    {
        return Some((hour, minute, used + 1 + taken, true));
    }
    match number(after) {
        Some((minute @ 10..60, taken)) => Some((hour, minute, used + taken, true)),
        Some(_) | None => Some((hour, 0, used, false)),
    }
}

/// Whether the words begin with "pm" or its like, and how many of them it takes.
fn half_of_day(words: &[String]) -> (Option<bool>, usize) {
    let at = |at: usize| words.get(at).map_or("", String::as_str);
    match (at(0), at(1), at(2)) {
        ("am", _, _) => (Some(false), 1),
        ("pm", _, _) => (Some(true), 1),
        ("a", "m", _) => (Some(false), 2),
        ("p", "m", _) => (Some(true), 2),
        ("in", "the", "morning") => (Some(false), 3),
        ("in", "the", "afternoon" | "evening") => (Some(true), 3),
        _ => (None, 0),
    }
}

/// The name among `known` that the words hold, or, when a name was asked for, the words themselves.
pub(crate) fn parse_name(words: &[String], known: &[String], asked: bool) -> Option<String> {
    let near = |word: &String| {
        known
            .iter()
            .find(|name| *name == word)
            .or_else(|| known.iter().find(|name| word.len() >= 4 && strsim::jaro_winkler(name, word) >= 0.93))
    };
    // The last one counts: "not smith, miller".
    if let Some(name) = words.iter().rev().find_map(near) {
        return Some(name.clone());
    }
    const AROUND: &[&str] = &[
        "my", "the", "last", "first", "full", "name", "is", "it", "it's", "its", "this", "i", "am", "i'm",
        "under", "for", "that's", "mr", "mrs", "miss", "ms", "and", "would", "be",
    ];
    let rest: Vec<&String> = words
        .iter()
        .filter(|word| {
            !AROUND.contains(&word.as_str()) && !is_filler(word) && word.chars().all(|c| !c.is_ascii_digit())
        })
        .collect();
    let plausible = asked && (1..=3).contains(&rest.len()) && yes_no(words).is_none();
    plausible.then(|| rest.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" "))
}

/// "tuesday, october the fourteenth"; nearby days by their weekday alone.
pub(crate) fn day_words(date: Date, today: Date) -> String {
    let name = day_name(date);
    let month = MONTHS[usize::try_from(date.month() - 1).unwrap_or(0)];
    let month = capital(month);
    let ahead = today.until(date).map_or(0, |span| span.get_days());
    match ahead {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        2..7 => name,
        _ => format!("{name}, {month} {}", ordinal_words(date.day().unsigned_abs().into())),
    }
}

/// "Tuesday".
pub(crate) fn day_name(date: Date) -> String {
    let name = WEEKDAYS.iter().find(|(_, weekday)| *weekday == date.weekday());
    name.map_or_else(String::new, |(name, _)| capital(name))
}

fn ordinal_words(n: u32) -> String {
    unhyphened(&english::ordinal(u64::from(n), ""))
}

/// As it is recognised and compared: each word by itself.
fn unhyphened(said: &str) -> String {
    said.replace('-', " ")
}

/// `15:30` as "three thirty", `14:00` as "two o'clock".
pub(crate) fn time_words(clock: &str) -> String {
    let Some((hour, minute)) = clock.split_once(':') else { return clock.to_owned() };
    let (Ok(hour), Ok(minute)) = (hour.parse::<u32>(), minute.get(..2).unwrap_or(minute).parse::<u32>())
    else {
        return clock.to_owned();
    };
    let spoken_hour = number_words(u64::from(if hour % 12 == 0 { 12 } else { hour % 12 }));
    match minute {
        0 => format!("{spoken_hour} o'clock"),
        1..10 => format!("{spoken_hour} oh {}", number_words(minute.into())),
        _ => format!("{spoken_hour} {}", number_words(minute.into())),
    }
}

/// "four two": each digit by itself.
pub(crate) fn digit_words(digits: &str) -> String {
    let spoken = digits.chars().filter_map(|c| c.to_digit(10)).map(|n| SMALL[n as usize]);
    spoken.collect::<Vec<_>>().join(" ")
}

/// 1234 as "one thousand two hundred thirty four".
pub(crate) fn number_words(n: u64) -> String {
    unhyphened(&english::cardinal(n))
}

/// With its first letter large.
pub(crate) fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Whether a word may be part of a day, a time or a number.
pub(crate) fn is_value_word(word: &str) -> bool {
    const OTHERS: &[&str] = &[
        "am", "double", "half", "midday", "next", "noon", "o'clock", "oh", "past", "pm", "quarter", "today",
        "tomorrow", "triple",
    ];
    one(word).is_some()
        || tens(word).is_some()
        || weekday(word).is_some()
        || position(&ORDINALS[1..], word).is_some()
        || position(&MONTHS, word).is_some()
        || OTHERS.contains(&word)
        || word.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn punctuation_goes_and_figures_stay() {
        let text = |text: &str| words(text).join(" ");
        assert_eq!(text("At 3.30 p.m., Dr. Smith's half-past!"), "at 3:30 pm dr smith's half past");
        assert_eq!(
            text("10,000 dollars on the 14th at 3pm \u{2018}ok\u{2019}"),
            "10000 dollars on the 14th at 3 pm ok"
        );
        assert_eq!(text(" ... '' "), "");
    }

    #[test]
    fn digits_are_read_as_they_are_said() {
        for (text, wanted) in [
            ("four two double one oh", "42110"),
            ("oh four two", "042"),
            ("oh, hello", ""),
            ("forty two eleven", "4211"),
            ("triple five oh one", "55501"),
            ("it's 4-2 1 1 0.", "42110"),
            ("one hundred", "100"),
            ("my number is um seven three uh nine zero two", "73902"),
            ("double", ""),
        ] {
            assert_eq!(spoken_digits(&words(text)), wanted, "{text}");
        }
    }

    #[test]
    fn days_are_seen_from_today() {
        // A Wednesday.
        let today = date(2026, 10, 14);
        for (text, wanted) in [
            ("tomorrow morning", Some(date(2026, 10, 15))),
            ("the day after tomorrow", Some(date(2026, 10, 16))),
            ("on friday", Some(date(2026, 10, 16))),
            ("next friday", Some(date(2026, 10, 23))),
            ("on monday", Some(date(2026, 10, 19))),
            ("wednesday", Some(date(2026, 10, 21))),
            ("not tuesday, thursday", Some(date(2026, 10, 15))),
            ("october the twentieth", Some(date(2026, 10, 20))),
            ("the twenty first of november", Some(date(2026, 11, 21))),
            ("March 3rd", Some(date(2027, 3, 3))),
            ("the third", Some(date(2026, 11, 3))),
            ("2026-12-24", Some(date(2026, 12, 24))),
            ("the thirty first of february", None),
            ("the first one please", Some(date(2026, 11, 1))),
            ("at three thirty", None),
            ("hello", None),
        ] {
            assert_eq!(parse_day(&words(text), today), wanted, "{text}");
        }
        assert_eq!(parse_day(&words("next sunday tomorrow"), Date::MAX), None, "the end of time");
    }

    #[test]
    fn times_are_read_as_they_are_said() {
        for (text, wanted) in [
            ("half past three", "15:30"),
            ("three thirty", "15:30"),
            ("at three", "15:00"),
            ("quarter to ten", "09:45"),
            ("quarter past twelve", "12:15"),
            ("ten am", "10:00"),
            ("three oh five pm", "15:05"),
            ("two in the afternoon", "14:00"),
            ("six in the morning", "06:00"),
            ("eleven o'clock", "11:00"),
            ("3:30 p.m.", "15:30"),
            ("9:00", "09:00"),
            ("fifteen thirty", "15:30"),
            ("noon", "12:00"),
            ("twelve am", "00:00"),
            ("ten forty five", "10:45"),
            ("not ten o'clock, eleven thirty", "11:30"),
        ] {
            let time = parse_time(&words(text));
            assert_eq!(time.map(SpokenTime::clock).as_deref(), Some(wanted), "{text}");
            assert!(time.is_some_and(|time| time.precise), "{text}");
        }
        assert!(parse_time(&words("three")).is_some_and(|time| !time.precise));
        for text in ["hello", "half", "quarter to", "25:99", "99999999999:00", "ninety nine"] {
            assert_eq!(parse_time(&words(text)), None, "{text}");
        }
    }

    #[test]
    fn names_are_found_among_other_words() {
        let known = ["smith", "miller"].map(str::to_owned);
        let name = |text: &str, asked| parse_name(&words(text), &known, asked);
        assert_eq!(name("an appointment for mister miller", false).as_deref(), Some("miller"));
        assert_eq!(name("my name is smyth", true).as_deref(), Some("smyth"));
        assert_eq!(name("It's Anna Kowalska.", true).as_deref(), Some("anna kowalska"));
        assert_eq!(name("kowalska", false), None);
        assert_eq!(name("no", true), None);
    }

    #[test]
    fn yes_and_no_are_told_apart() {
        for (text, wanted) in [
            ("yes please", Some(true)),
            ("yeah that's right", Some(true)),
            ("no, thursday", Some(false)),
            ("that's not right", Some(false)),
            ("tuesday", None),
        ] {
            assert_eq!(yes_no(&words(text)), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_written_can_be_read_again() {
        let today = date(2026, 10, 14);
        for ahead in 0..300 {
            let day = today.checked_add(ahead.days()).expect("near");
            assert_eq!(parse_day(&words(&day_words(day, today)), today), Some(day), "{day}");
        }
        for minute in (0..600).step_by(5) {
            let clock = format!("{:02}:{:02}", 7 + minute / 60, minute % 60);
            let time = parse_time(&words(&time_words(&clock))).expect(&clock);
            assert_eq!(time.clock(), clock);
        }
        assert_eq!(
            number_words(1_234_567),
            "one million two hundred thirty four thousand five hundred sixty seven"
        );
    }
}
