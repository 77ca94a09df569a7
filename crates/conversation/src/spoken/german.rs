//! German: how numbers, dates, times and abbreviations are said.
//! Knows words only; where they apply is decided by the rules.

use super::language::{Currency, F, Gender, M, Noun, Table};

const SMALL: [&str; 20] = [
    "null",
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
    "zehn",
    "elf",
    "zwölf",
    "dreizehn",
    "vierzehn",
    "fünfzehn",
    "sechzehn",
    "siebzehn",
    "achtzehn",
    "neunzehn",
];
const TENS: [&str; 10] =
    ["", "", "zwanzig", "dreißig", "vierzig", "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"];

/// Below a million, in one word; a one at its front is "ein".
fn word(n: u64, front: bool) -> String {
    let one = |n: u64| if n == 1 { "ein" } else { SMALL[n as usize] };
    match n {
        1 if front => "ein".to_owned(),
        0..20 => SMALL[n as usize].to_owned(),
        20..100 if n.is_multiple_of(10) => TENS[(n / 10) as usize].to_owned(),
        20..100 => format!("{}und{}", one(n % 10), TENS[(n / 10) as usize]),
        100..1000 => {
            let rest = if n.is_multiple_of(100) { String::new() } else { word(n % 100, front) };
            format!("{}hundert{rest}", one(n / 100))
        }
        _ => {
            let rest = if n.is_multiple_of(1000) { String::new() } else { word(n % 1000, front) };
            format!("{}tausend{rest}", word(n / 1000, true))
        }
    }
}

fn cardinal(n: u64) -> String {
    for (unit, one, many) in [
        (1_000_000_000_000, "eine Billion", "Billionen"),
        (1_000_000_000, "eine Milliarde", "Milliarden"),
        (1_000_000, "eine Million", "Millionen"),
    ] {
        if n >= unit {
            let head = if n / unit == 1 { one.to_owned() } else { format!("{} {many}", cardinal(n / unit)) };
            return if n.is_multiple_of(unit) { head } else { format!("{head} {}", cardinal(n % unit)) };
        }
    }
    word(n, false)
}

fn counting(n: u64, gender: Gender) -> String {
    match (n, gender) {
        (1, Gender::Feminine) => "eine".to_owned(),
        (1, Gender::Masculine) => "ein".to_owned(),
        _ => cardinal(n),
    }
}

fn ordinal(n: u64, before: &str) -> String {
    let stem = match n {
        1 => "erst".to_owned(),
        3 => "dritt".to_owned(),
        7 => "siebt".to_owned(),
        8 => "acht".to_owned(),
        0..20 => format!("{}t", cardinal(n)),
        _ => format!("{}st", cardinal(n)),
    };
    let weak = matches!(before, "der" | "die" | "das" | "");
    format!("{stem}{}", if weak { "e" } else { "en" })
}

fn year(n: u64) -> String {
    if (1100..2000).contains(&n) {
        let rest = if n.is_multiple_of(100) { String::new() } else { word(n % 100, false) };
        return format!("{}hundert{rest}", word(n / 100, true));
    }
    cardinal(n)
}

fn clock(hour: u32, minute: u32, afternoon: Option<bool>) -> String {
    let hour = match afternoon {
        Some(true) if hour < 12 => hour + 12,
        Some(false) if hour == 12 => 0,
        Some(_) | None => hour,
    };
    let minutes = if minute == 0 { String::new() } else { format!(" {}", cardinal(minute.into())) };
    format!("{} Uhr{minutes}", counting(hour.into(), M))
}

fn date(day: u32, month: u32, in_year: Option<u64>, before: &str) -> String {
    let before = if before.is_empty() || !TABLE.ordinal_words.contains(&before) { "der" } else { before };
    let month = TABLE.months[month as usize - 1];
    let tail = in_year.map_or_else(String::new, |n| format!(" {}", year(n)));
    format!("{} {month}{tail}", ordinal(day.into(), before))
}

const fn noun(
    written: &'static [&'static str],
    one: &'static str,
    many: &'static str,
    gender: Gender,
) -> Noun {
    Noun { written, one, many, gender }
}

const fn money(
    written: &'static [&'static str],
    one: &'static str,
    many: &'static str,
    cent: &'static str,
) -> Currency {
    Currency { whole: noun(written, one, many, M), cent_one: cent, cent_many: cent }
}

pub(super) static TABLE: Table = Table {
    digits: ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"],
    cardinal,
    counting,
    ordinal,
    year,
    clock,
    date,
    decimal: ',',
    decimal_said: "Komma",
    groups: &['.', '\''],
    minus: "minus",
    plus: "plus",
    percent: "Prozent",
    and: "und",
    to: "bis",
    at: "ät",
    dot: "Punkt",
    dash: "minus",
    underscore: "Unterstrich",
    slash: "Schrägstrich",
    months: [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    months_short: ["Jan", "Feb", "Mär", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez"],
    units: &[
        noun(&["km/h"], "Kilometer pro Stunde", "Kilometer pro Stunde", M),
        noun(&["km"], "Kilometer", "Kilometer", M),
        noun(&["cm"], "Zentimeter", "Zentimeter", M),
        noun(&["mm"], "Millimeter", "Millimeter", M),
        noun(&["m\u{b2}", "qm"], "Quadratmeter", "Quadratmeter", M),
        noun(&["m"], "Meter", "Meter", M),
        noun(&["kg"], "Kilogramm", "Kilogramm", M),
        noun(&["mg"], "Milligramm", "Milligramm", M),
        noun(&["g"], "Gramm", "Gramm", M),
        noun(&["ml"], "Milliliter", "Milliliter", M),
        noun(&["l"], "Liter", "Liter", M),
        noun(&["kWh"], "Kilowattstunde", "Kilowattstunden", F),
        noun(&["kW"], "Kilowatt", "Kilowatt", M),
        noun(&["GB"], "Gigabyte", "Gigabyte", M),
        noun(&["MB"], "Megabyte", "Megabyte", M),
        noun(&["TB"], "Terabyte", "Terabyte", M),
        noun(&["Mbit/s"], "Megabit pro Sekunde", "Megabit pro Sekunde", M),
        noun(&["Std.", "Std", "h"], "Stunde", "Stunden", F),
        noun(&["Min.", "Min", "min"], "Minute", "Minuten", F),
        noun(&["Sek.", "Sek", "s"], "Sekunde", "Sekunden", F),
        noun(&["\u{b0}C"], "Grad Celsius", "Grad Celsius", M),
        noun(&["\u{b0}"], "Grad", "Grad", M),
    ],
    currencies: &[
        money(&["\u{20ac}", "EUR"], "Euro", "Euro", "Cent"),
        money(&["US$", "$", "USD"], "Dollar", "Dollar", "Cent"),
        money(&["\u{a3}", "GBP"], "Pfund", "Pfund", "Pence"),
        money(&["CHF"], "Franken", "Franken", "Rappen"),
    ],
    abbreviations: &[
        ("z. B.", "zum Beispiel"),
        ("z.B.", "zum Beispiel"),
        ("d. h.", "das heißt"),
        ("d.h.", "das heißt"),
        ("u. a.", "unter anderem"),
        ("u.a.", "unter anderem"),
        ("bzw.", "beziehungsweise"),
        ("ca.", "circa"),
        ("Dr.", "Doktor"),
        ("Prof.", "Professor"),
        ("Hr.", "Herr"),
        ("Fr.", "Frau"),
        ("Nr.", "Nummer"),
        ("Tel.", "Telefon"),
        ("St.", "Sankt"),
        ("inkl.", "inklusive"),
        ("exkl.", "exklusive"),
        ("ggf.", "gegebenenfalls"),
        ("evtl.", "eventuell"),
        ("zzgl.", "zuzüglich"),
        ("max.", "maximal"),
        ("min.", "mindestens"),
        ("vgl.", "vergleiche"),
        ("Abt.", "Abteilung"),
        ("Mio.", "Millionen"),
        ("Mrd.", "Milliarden"),
    ],
    open_abbreviations: &[
        ("usw.", "und so weiter"),
        ("etc.", "et cetera"),
        ("Str.", "Straße"),
        ("Std.", "Stunden"),
        ("Min.", "Minuten"),
    ],
    number_words: &[
        "nummer",
        "nr.",
        "code",
        "pin",
        "kundennummer",
        "kontonummer",
        "plz",
        "vorgangsnummer",
        "telefon",
        "ziffern",
    ],
    year_words: &["jahr", "seit", "anno", "von", "bis"],
    ordinal_words: &[
        "am", "der", "die", "das", "den", "dem", "des", "im", "vom", "zum", "ab", "bis", "beim", "zur",
        "jeden", "jeder",
    ],
    ordinal_marks: &[],
    clock_words: &["Uhr"],
    big: &["Tausend", "Millionen", "Million", "Milliarden", "Milliarde", "Mio.", "Mrd."],
    of: "",
    leading: &[
        "der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "und", "oder",
        "am", "an", "auf", "aus", "bei", "bis", "für", "im", "in", "ist", "mit", "nach", "seit", "um", "vom",
        "von", "zu", "zum", "zur", "ab", "nummer", "code", "jahr", "beim", "pin", "plz", "z.", "d.", "u.",
    ],
};
