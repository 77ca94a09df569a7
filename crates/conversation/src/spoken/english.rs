//! English: how numbers, dates, times and abbreviations are said.
//! Knows words only; where they apply is decided by the rules.

use super::language::{Currency, Gender, M, Noun, Table};

pub(crate) const SMALL: [&str; 20] = [
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
pub(crate) const TENS: [&str; 10] =
    ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];
const SCALES: [(u64, &str); 4] = [
    (1_000_000_000_000, "trillion"),
    (1_000_000_000, "billion"),
    (1_000_000, "million"),
    (1_000, "thousand"),
];

pub(crate) fn cardinal(n: u64) -> String {
    if n < 20 {
        return SMALL[n as usize].to_owned();
    }
    if n < 100 {
        let tens = TENS[(n / 10) as usize];
        return if n.is_multiple_of(10) {
            tens.to_owned()
        } else {
            format!("{tens}-{}", SMALL[(n % 10) as usize])
        };
    }
    let (unit, name) = SCALES.iter().find(|(unit, _)| n >= *unit).copied().unwrap_or((100, "hundred"));
    let head = format!("{} {name}", cardinal(n / unit));
    if n.is_multiple_of(unit) { head } else { format!("{head} {}", cardinal(n % unit)) }
}

fn counting(n: u64, _: Gender) -> String {
    cardinal(n)
}

pub(crate) fn ordinal(n: u64, _: &str) -> String {
    let said = cardinal(n);
    let (head, last) = said.rfind([' ', '-']).map_or(("", said.as_str()), |at| said.split_at(at + 1));
    let last = match last {
        "one" => "first".to_owned(),
        "two" => "second".to_owned(),
        "three" => "third".to_owned(),
        "five" => "fifth".to_owned(),
        "eight" => "eighth".to_owned(),
        "nine" => "ninth".to_owned(),
        "twelve" => "twelfth".to_owned(),
        other => other.strip_suffix('y').map_or_else(|| format!("{other}th"), |stem| format!("{stem}ieth")),
    };
    format!("{head}{last}")
}

fn year(n: u64) -> String {
    let (century, rest) = (n / 100, n % 100);
    match (century, rest) {
        (20, 0..=9) | (..10 | 100.., _) => cardinal(n),
        (_, 0) => format!("{} hundred", cardinal(century)),
        (_, 1..=9) => format!("{} oh {}", cardinal(century), cardinal(rest)),
        _ => format!("{} {}", cardinal(century), cardinal(rest)),
    }
}

fn clock(hour: u32, minute: u32, afternoon: Option<bool>) -> String {
    let half = match afternoon {
        Some(afternoon) => Some(afternoon),
        None => (hour > 12).then_some(true),
    };
    let twelve = if half.is_some() && hour > 12 { hour - 12 } else { hour };
    let twelve = if half.is_some() && twelve == 0 { 12 } else { twelve };
    let minutes = match minute {
        0 => String::new(),
        1..=9 => format!(" oh {}", cardinal(minute.into())),
        _ => format!(" {}", cardinal(minute.into())),
    };
    let tail = match (half, minute) {
        (Some(true), _) => " p m",
        (Some(false), _) => " a m",
        (None, 0) => " o'clock",
        (None, _) => "",
    };
    format!("{}{minutes}{tail}", cardinal(twelve.into()))
}

fn date(day: u32, month: u32, in_year: Option<u64>, _: &str) -> String {
    let month = TABLE.months[month as usize - 1];
    let day = ordinal(day.into(), "");
    in_year.map_or_else(|| format!("{month} {day}"), |n| format!("{month} {day}, {}", year(n)))
}

const fn noun(written: &'static [&'static str], one: &'static str, many: &'static str) -> Noun {
    Noun { written, one, many, gender: M }
}

const fn money(
    written: &'static [&'static str],
    one: &'static str,
    many: &'static str,
    cent: (&'static str, &'static str),
) -> Currency {
    Currency { whole: noun(written, one, many), cent_one: cent.0, cent_many: cent.1 }
}

pub(super) static TABLE: Table = Table {
    digits: ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    cardinal,
    counting,
    ordinal,
    year,
    clock,
    date,
    decimal: '.',
    decimal_said: "point",
    groups: &[','],
    minus: "minus",
    plus: "plus",
    percent: "percent",
    and: "and",
    to: "to",
    at: "at",
    dot: "dot",
    dash: "dash",
    underscore: "underscore",
    slash: "slash",
    months: [
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
    ],
    months_short: ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    units: &[
        noun(&["km/h", "kph"], "kilometer per hour", "kilometers per hour"),
        noun(&["mph"], "mile per hour", "miles per hour"),
        noun(&["km"], "kilometer", "kilometers"),
        noun(&["cm"], "centimeter", "centimeters"),
        noun(&["mm"], "millimeter", "millimeters"),
        noun(&["m\u{b2}", "sqm"], "square meter", "square meters"),
        noun(&["m"], "meter", "meters"),
        noun(&["mi"], "mile", "miles"),
        noun(&["ft"], "foot", "feet"),
        noun(&["kg"], "kilogram", "kilograms"),
        noun(&["mg"], "milligram", "milligrams"),
        noun(&["g"], "gram", "grams"),
        noun(&["lbs", "lb"], "pound", "pounds"),
        noun(&["oz"], "ounce", "ounces"),
        noun(&["ml", "mL"], "milliliter", "milliliters"),
        noun(&["l", "L"], "liter", "liters"),
        noun(&["kWh"], "kilowatt hour", "kilowatt hours"),
        noun(&["kW"], "kilowatt", "kilowatts"),
        noun(&["GB"], "gigabyte", "gigabytes"),
        noun(&["MB"], "megabyte", "megabytes"),
        noun(&["TB"], "terabyte", "terabytes"),
        noun(&["Mbps", "Mbit/s"], "megabit per second", "megabits per second"),
        noun(&["ms"], "millisecond", "milliseconds"),
        noun(&["hrs", "hr", "h"], "hour", "hours"),
        noun(&["mins", "min"], "minute", "minutes"),
        noun(&["secs", "sec", "s"], "second", "seconds"),
        noun(&["\u{b0}C"], "degree Celsius", "degrees Celsius"),
        noun(&["\u{b0}F"], "degree Fahrenheit", "degrees Fahrenheit"),
        noun(&["\u{b0}"], "degree", "degrees"),
    ],
    currencies: &[
        money(&["US$", "$", "USD"], "dollar", "dollars", ("cent", "cents")),
        money(&["\u{20ac}", "EUR"], "euro", "euros", ("cent", "cents")),
        money(&["\u{a3}", "GBP"], "pound", "pounds", ("penny", "pence")),
        money(&["CHF"], "Swiss franc", "Swiss francs", ("centime", "centimes")),
        money(&["\u{a5}", "JPY"], "yen", "yen", ("sen", "sen")),
    ],
    abbreviations: &[
        ("Dr.", "Doctor"),
        ("Mr.", "Mister"),
        ("Mrs.", "Missus"),
        ("Ms.", "Miz"),
        ("Prof.", "Professor"),
        ("Sr.", "Senior"),
        ("Jr.", "Junior"),
        ("St.", "Saint"),
        ("Mt.", "Mount"),
        ("No.", "number"),
        ("vs.", "versus"),
        ("e.g.", "for example"),
        ("i.e.", "that is"),
        ("approx.", "approximately"),
        ("dept.", "department"),
        ("est.", "established"),
        ("ext.", "extension"),
        ("fig.", "figure"),
        ("Gen.", "General"),
        ("Gov.", "Governor"),
        ("Lt.", "Lieutenant"),
        ("Rep.", "Representative"),
        ("Sen.", "Senator"),
        ("Sgt.", "Sergeant"),
        ("Rev.", "Reverend"),
        ("Hon.", "Honorable"),
        ("appt.", "appointment"),
    ],
    open_abbreviations: &[
        ("a.m.", "a m"),
        ("p.m.", "p m"),
        ("am.", "a m"),
        ("pm.", "p m"),
        ("etc.", "et cetera"),
        ("Inc.", "Incorporated"),
        ("Ltd.", "Limited"),
        ("Co.", "Company"),
        ("Corp.", "Corporation"),
        ("Ave.", "Avenue"),
        ("Blvd.", "Boulevard"),
        ("Rd.", "Road"),
        ("U.S.", "U S"),
        ("U.K.", "U K"),
    ],
    number_words: &[
        "number",
        "no.",
        "code",
        "pin",
        "account",
        "reference",
        "ending",
        "zip",
        "extension",
        "#",
        "digits",
    ],
    year_words: &["in", "since", "year", "until", "from", "of", "by", "before", "after"],
    ordinal_words: &[],
    ordinal_marks: &["st", "nd", "rd", "th"],
    clock_words: &["o'clock"],
    big: &["thousand", "million", "billion", "trillion"],
    of: "",
    leading: &[
        "a", "an", "and", "are", "at", "by", "for", "from", "in", "is", "my", "of", "on", "or", "our", "the",
        "to", "with", "your", "number", "code", "until", "since", "year", "account", "pin", "zip",
    ],
};
