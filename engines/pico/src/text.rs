//! From written to spoken: what Pico would read badly, or take as a command, said in words.
//! Knows text only.

/// Longer texts are cut: nobody listens for minutes to one sentence.
const LONGEST: usize = 2_000;

/// The text as it should be read aloud, in words and plain punctuation. Empty if there is nothing to say.
pub fn spoken(text: &str) -> String {
    let text: String = text.chars().take(LONGEST).map(plain).collect();
    let mut out = String::with_capacity(text.len() + 32);
    for word in text.split_whitespace() {
        speak_word(word, &mut out);
        out.push(' ');
    }
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    if out.chars().any(char::is_alphanumeric) { out } else { String::new() }
}

/// Only letters, digits and punctuation that the voice knows; no markup, no control characters.
fn plain(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{02bc}' => '\'',
        '\u{2013}' | '\u{2014}' => ',',
        '\u{2026}' => '.',
        '\u{2010}' | '\u{2011}' => '-',
        '€' | '£' | '$' | '%' | '&' | '@' | '+' | '=' | '\'' | '-' | '/' | ':' | '#' | '°' => c,
        '.' | ',' | ';' | '?' | '!' | '(' | ')' => c,
        _ if c.is_ascii_alphanumeric() || ('\u{c0}'..='\u{ff}').contains(&c) => c,
        _ => ' ',
    }
}

/// One written word with the punctuation around it.
fn speak_word(word: &str, out: &mut String) {
    let body = word.trim_start_matches(['(', '\'']);
    let core = body.trim_end_matches(['.', ',', ';', ':', '?', '!', ')', '\'']);
    let tail = &body[core.len()..];
    match in_words(core) {
        Some(words) => out.push_str(&words),
        None => out.push_str(&core.replace(['#', '=', '/'], " ")),
    }
    out.push_str(&tail.replace([')', '\''], ""));
}

fn in_words(word: &str) -> Option<String> {
    match word {
        "&" => return Some("and".to_owned()),
        "+" => return Some("plus".to_owned()),
        "=" => return Some("equals".to_owned()),
        "@" => return Some("at".to_owned()),
        _ => {}
    }
    time(word)
        .or_else(|| money(word))
        .or_else(|| date(word))
        .or_else(|| word.strip_suffix('%').and_then(number).map(|n| format!("{n} percent")))
        .or_else(|| word.strip_suffix("°C").and_then(number).map(|n| format!("{n} degrees")))
        .or_else(|| address(word))
        .or_else(|| long_number(word))
}

fn digits(text: &str) -> Option<u32> {
    let all = !text.is_empty() && text.len() <= 9 && text.bytes().all(|b| b.is_ascii_digit());
    if all { text.parse().ok() } else { None }
}

/// Digits with separators of thousands and a decimal point, without the separators.
fn number(text: &str) -> Option<String> {
    let plain = text.replace(',', "");
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, "0"));
    (digits(whole).is_some() && digits(fraction).is_some()).then_some(plain)
}

/// `15:30` is "fifteen thirty", `9:05` "nine oh five", `14:00` "fourteen hundred"; with `am` or `pm` as said at a desk.
fn time(word: &str) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    let (clock, half) = match (lower.strip_suffix("am"), lower.strip_suffix("pm")) {
        (Some(clock), _) => (clock, " a m"),
        (_, Some(clock)) => (clock, " p m"),
        _ => (lower.as_str(), ""),
    };
    let (hour, minute) = match clock.split_once(':') {
        Some((hour, minute)) if minute.len() == 2 && hour.len() <= 2 => (digits(hour)?, digits(minute)?),
        Some(_) => return None,
        None if !half.is_empty() && clock.len() <= 2 => (digits(clock)?, 0),
        None => return None,
    };
    if hour > 23 || minute > 59 {
        return None;
    }
    let hour_words = if hour == 0 { "zero".to_owned() } else { under_hundred(hour) };
    let minutes = match (minute, half.is_empty(), hour) {
        (0, false, _) => String::new(),
        (0, true, 1..=12) => " o'clock".to_owned(),
        (0, true, _) => " hundred".to_owned(),
        (1..=9, _, _) => format!(" oh {}", under_hundred(minute)),
        _ => format!(" {}", under_hundred(minute)),
    };
    Some(format!("{hour_words}{minutes}{half}"))
}

/// `€20`, `20€`, `$5.50`.
fn money(word: &str) -> Option<String> {
    let (sign, amount) = ['€', '£', '$'].into_iter().find_map(|sign| {
        word.strip_prefix(sign).or_else(|| word.strip_suffix(sign)).map(|amount| (sign, amount))
    })?;
    let (one, many, cent) = match sign {
        '€' => ("euro", "euros", "cent"),
        '£' => ("pound", "pounds", "pence"),
        _ => ("dollar", "dollars", "cent"),
    };
    let amount = number(amount)?;
    let (whole, fraction) = amount.split_once('.').unwrap_or((&amount, "00"));
    let unit = if whole == "1" { one } else { many };
    let cents = match fraction.len() {
        2 => digits(fraction)?,
        _ => return Some(format!("{amount} {many}")),
    };
    let plural = if cents == 1 || cent == "pence" { "" } else { "s" };
    Some(match cents {
        0 => format!("{whole} {unit}"),
        _ => format!("{whole} {unit} and {cents} {cent}{plural}"),
    })
}

/// `2026-03-14` is "March 14, 2026".
fn date(word: &str) -> Option<String> {
    let mut parts = word.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let month = MONTHS.get((digits(month)? as usize).checked_sub(1)?)?;
    let day = digits(day).filter(|day| (1..=31).contains(day))?;
    Some(format!("{month} {}, {}", ordinal(day), digits(year)?))
}

/// Mail addresses and the like: the parts with their marks between them.
fn address(word: &str) -> Option<String> {
    let (name, host) = word.split_once('@')?;
    let named = !name.is_empty() && host.contains('.');
    named.then(|| format!("{} at {}", name.replace('.', " dot "), host.replace('.', " dot ")))
}

/// Five digits and more are a number to write down, not a quantity: read one by one, a pause after every three or four.
fn long_number(word: &str) -> Option<String> {
    let separated = word.contains('-');
    let figures: String = word.chars().filter(|c| !matches!(c, '-' | '(' | ')' | '/' | '+')).collect();
    if figures.len() < 5 || !figures.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let groups: Vec<String> = match separated {
        true => word.split('-').filter(|g| !g.is_empty()).map(one_by_one).collect(),
        false => groups(&figures).map(one_by_one).collect(),
    };
    let plus = if word.starts_with('+') { "plus " } else { "" };
    Some(format!("{plus}{}", groups.join(", ")))
}

/// In threes; the last group may have four or five.
fn groups(figures: &str) -> impl Iterator<Item = &str> {
    let count = (figures.len() / 3).max(1);
    (0..count).map(move |i| if i + 1 == count { &figures[3 * i..] } else { &figures[3 * i..3 * i + 3] })
}

fn one_by_one(figures: &str) -> String {
    let name = |b: u8| DIGITS.get(usize::from(b.wrapping_sub(b'0'))).copied();
    figures.bytes().filter_map(name).collect::<Vec<_>>().join(" ")
}

fn under_hundred(n: u32) -> String {
    let n = n as usize % 100;
    match n {
        0..20 => SMALL[n].to_owned(),
        _ if n.is_multiple_of(10) => TENS[n / 10].to_owned(),
        _ => format!("{} {}", TENS[n / 10], SMALL[n % 10]),
    }
}

fn ordinal(day: u32) -> String {
    let suffix = match day {
        1 | 21 | 31 => "st",
        2 | 22 => "nd",
        3 | 23 => "rd",
        _ => "th",
    };
    format!("{day}{suffix}")
}

const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];
const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(written: &str, aloud: &str) {
        assert_eq!(spoken(written), aloud, "{written}");
    }

    #[test]
    fn times_are_read_as_times() {
        check("at 15:30.", "at fifteen thirty.");
        check("9:05 or 14:00?", "nine oh five or fourteen hundred?");
        check("10:00, 9am or 3:30pm", "ten o'clock, nine a m or three thirty p m");
        check("99:99", "99:99");
    }

    #[test]
    fn money_is_read_with_its_currency_behind() {
        check("€20, $5.50 and £1", "20 euros, 5 dollars and 50 cents and 1 pound");
        check("1,250.00€", "1250 euros");
        check("costs $1.01!", "costs 1 dollar and 1 cent!");
    }

    #[test]
    fn numbers_to_write_down_are_read_digit_by_digit() {
        check("account 48392.", "account four eight three nine two.");
        check("+14155550123", "plus one four one, five five five, five zero one two three");
        check("555-0123", "five five five, zero one two three");
        check("in 2026 and 1500", "in 2026 and 1500");
    }

    #[test]
    fn dates_percentages_and_addresses_are_words() {
        check("2026-03-14", "March 14th, 2026");
        check("20% & more", "20 percent and more");
        check("ann.lee@example.com", "ann dot lee at example dot com");
    }

    #[test]
    fn nothing_that_the_engine_could_take_as_a_command_is_left() {
        check("<speed level=\"20\">hi</speed>\0", "speed level 20 hi speed");
        assert!(!spoken("a<b>\u{0}\u{7}\u{1b}[0m\\{}").contains(['<', '>', '\0', '\\']));
        check("…", "");
        assert!(spoken(&"word ".repeat(10_000)).len() <= LONGEST);
    }

    #[test]
    fn quotes_and_dashes_become_plain() {
        check("It’s “fine” — really", "It's fine , really");
    }
}
