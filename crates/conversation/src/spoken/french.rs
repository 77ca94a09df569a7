//! French: how numbers, dates, times and abbreviations are said.
//! Knows words only; where they apply is decided by the rules.

use super::language::{Currency, F, Gender, M, Noun, Table};

const SMALL: [&str; 17] = [
    "zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf", "dix", "onze", "douze",
    "treize", "quatorze", "quinze", "seize",
];
const TENS: [&str; 7] = ["", "dix", "vingt", "trente", "quarante", "cinquante", "soixante"];

/// Below a hundred.
fn tens(n: u64) -> String {
    match n {
        0..17 => SMALL[n as usize].to_owned(),
        17..20 => format!("dix-{}", SMALL[(n - 10) as usize]),
        80 => "quatre-vingts".to_owned(),
        81..100 => format!("quatre-vingt-{}", tens(n - 80)),
        71 => "soixante et onze".to_owned(),
        70..80 => format!("soixante-{}", tens(n - 60)),
        _ if n.is_multiple_of(10) => TENS[(n / 10) as usize].to_owned(),
        _ if n % 10 == 1 => format!("{} et un", TENS[(n / 10) as usize]),
        _ => format!("{}-{}", TENS[(n / 10) as usize], SMALL[(n % 10) as usize]),
    }
}

fn cardinal(n: u64) -> String {
    let join = |head: String, rest: u64| if rest == 0 { head } else { format!("{head} {}", cardinal(rest)) };
    let bare = |n: u64| {
        let said = cardinal(n);
        // Before "mille" the plural of "cent" and "vingt" is not written, and not heard.
        said.strip_suffix("cents").map_or_else(|| said.clone(), |stem| format!("{stem}cent"))
    };
    match n {
        0..100 => tens(n),
        100..200 => join("cent".to_owned(), n % 100),
        200..1000 if n.is_multiple_of(100) => format!("{} cents", SMALL[(n / 100) as usize]),
        200..1000 => join(format!("{} cent", SMALL[(n / 100) as usize]), n % 100),
        1000..2000 => join("mille".to_owned(), n % 1000),
        2000..1_000_000 => join(format!("{} mille", bare(n / 1000)), n % 1000),
        _ => {
            let (unit, one, many) = match n {
                1_000_000..1_000_000_000 => (1_000_000, "un million", "millions"),
                1_000_000_000..1_000_000_000_000 => (1_000_000_000, "un milliard", "milliards"),
                _ => (1_000_000_000_000, "un billion", "billions"),
            };
            let head = if n / unit == 1 { one.to_owned() } else { format!("{} {many}", cardinal(n / unit)) };
            join(head, n % unit)
        }
    }
}

fn counting(n: u64, gender: Gender) -> String {
    let said = cardinal(n);
    match gender {
        Gender::Feminine if said == "un" || said.ends_with(" un") || said.ends_with("-un") => {
            format!("{said}e")
        }
        Gender::Feminine | Gender::Masculine => said,
    }
}

fn ordinal(n: u64, before: &str) -> String {
    if n == 1 {
        return if before == "la" { "première" } else { "premier" }.to_owned();
    }
    let said = cardinal(n);
    let stem = said.strip_suffix('e').unwrap_or(&said);
    let stem = match stem {
        stem if stem.ends_with("cinq") => format!("{stem}u"),
        stem if stem.ends_with("neuf") => format!("{}v", stem.trim_end_matches('f')),
        stem if stem.ends_with("vingts") || stem.ends_with("cents") => stem.trim_end_matches('s').to_owned(),
        stem => stem.to_owned(),
    };
    format!("{stem}ième")
}

fn clock(hour: u32, minute: u32, _: Option<bool>) -> String {
    let hours = if hour < 2 { "heure" } else { "heures" };
    let minutes = if minute == 0 { String::new() } else { format!(" {}", cardinal(minute.into())) };
    format!("{} {hours}{minutes}", counting(hour.into(), F))
}

fn date(day: u32, month: u32, in_year: Option<u64>, _: &str) -> String {
    let day = if day == 1 { "premier".to_owned() } else { cardinal(day.into()) };
    let tail = in_year.map_or_else(String::new, |n| format!(" {}", cardinal(n)));
    format!("{day} {}{tail}", TABLE.months[month as usize - 1])
}

const fn noun(
    written: &'static [&'static str],
    one: &'static str,
    many: &'static str,
    gender: Gender,
) -> Noun {
    Noun { written, one, many, gender }
}

const fn money(whole: Noun, cent_one: &'static str, cent_many: &'static str) -> Currency {
    Currency { whole, cent_one, cent_many }
}

pub(super) static TABLE: Table = Table {
    digits: ["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"],
    cardinal,
    counting,
    ordinal,
    year: cardinal,
    clock,
    date,
    decimal: ',',
    decimal_said: "virgule",
    groups: &['\u{a0}', '\u{202f}', ' ', '.'],
    minus: "moins",
    plus: "plus",
    percent: "pour cent",
    and: "et",
    to: "à",
    at: "arobase",
    dot: "point",
    dash: "tiret",
    underscore: "tiret bas",
    slash: "barre oblique",
    months: [
        "janvier",
        "février",
        "mars",
        "avril",
        "mai",
        "juin",
        "juillet",
        "août",
        "septembre",
        "octobre",
        "novembre",
        "décembre",
    ],
    months_short: ["janv", "févr", "mars", "avr", "mai", "juin", "juil", "août", "sept", "oct", "nov", "déc"],
    units: &[
        noun(&["km/h"], "kilomètre heure", "kilomètres heure", M),
        noun(&["km"], "kilomètre", "kilomètres", M),
        noun(&["cm"], "centimètre", "centimètres", M),
        noun(&["mm"], "millimètre", "millimètres", M),
        noun(&["m\u{b2}"], "mètre carré", "mètres carrés", M),
        noun(&["m"], "mètre", "mètres", M),
        noun(&["kg"], "kilo", "kilos", M),
        noun(&["mg"], "milligramme", "milligrammes", M),
        noun(&["g"], "gramme", "grammes", M),
        noun(&["ml"], "millilitre", "millilitres", M),
        noun(&["l"], "litre", "litres", M),
        noun(&["kWh"], "kilowattheure", "kilowattheures", M),
        noun(&["Go"], "gigaoctet", "gigaoctets", M),
        noun(&["Mo"], "mégaoctet", "mégaoctets", M),
        noun(&["min"], "minute", "minutes", F),
        noun(&["s", "sec"], "seconde", "secondes", F),
        noun(&["\u{b0}C"], "degré", "degrés", M),
        noun(&["\u{b0}"], "degré", "degrés", M),
    ],
    currencies: &[
        money(noun(&["\u{20ac}", "EUR"], "euro", "euros", M), "centime", "centimes"),
        money(noun(&["US$", "$", "USD"], "dollar", "dollars", M), "cent", "cents"),
        money(noun(&["\u{a3}", "GBP"], "livre", "livres", F), "penny", "pence"),
        money(noun(&["CHF"], "franc suisse", "francs suisses", M), "centime", "centimes"),
    ],
    abbreviations: &[
        ("M.", "monsieur"),
        ("Mme.", "madame"),
        ("Mme", "madame"),
        ("Mlle", "mademoiselle"),
        ("MM.", "messieurs"),
        ("Dr.", "docteur"),
        ("Dr", "docteur"),
        ("Pr.", "professeur"),
        ("p. ex.", "par exemple"),
        ("p.ex.", "par exemple"),
        ("c.-à-d.", "c'est-à-dire"),
        ("env.", "environ"),
        ("n\u{b0}", "numéro"),
        ("tél.", "téléphone"),
        ("av.", "avenue"),
        ("bd", "boulevard"),
        ("réf.", "référence"),
        ("max.", "maximum"),
        ("min.", "minimum"),
        ("St", "saint"),
        ("Ste", "sainte"),
    ],
    open_abbreviations: &[("etc.", "et cetera"), ("S.A.", "S A")],
    number_words: &["numéro", "code", "compte", "référence", "téléphone", "chiffres", "n\u{b0}"],
    year_words: &["année", "depuis", "en"],
    ordinal_words: &[],
    ordinal_marks: &["er", "re", "ère", "ème", "e", "nd", "nde"],
    clock_words: &["heures", "heure"],
    big: &["mille", "million", "millions", "milliard", "milliards"],
    of: "de",
    leading: &[
        "le", "la", "les", "l", "un", "une", "des", "du", "de", "et", "ou", "à", "au", "aux", "en", "avec",
        "pour", "par", "est", "sur", "votre", "notre", "mon", "depuis", "jusqu", "numéro", "code", "compte",
        "p.",
    ],
};
