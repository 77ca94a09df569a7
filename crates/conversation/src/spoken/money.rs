//! Amounts of money, the sign before or after them.
//! Knows amounts in either way of writing decimals: a model that speaks German still writes "$1,234.56".

use super::{
    Found, Language, Place, blanks, digits, ends_word,
    language::{Currency, Gender},
};

/// What is written of an amount.
struct Amount {
    whole: u64,
    cents: Option<u64>,
    used: usize,
}

pub(super) fn money(place: Place<'_>) -> Found {
    sign_first(place).or_else(|| amount_first(place))
}

/// The currency whose sign is at the front, with the sign's length.
fn sign<'a>(text: &str, place: Place<'a>) -> Option<(&'a Currency, usize)> {
    let all = place.table.currencies.iter();
    let mut signs = all.flat_map(|currency| currency.whole.written.iter().map(move |sign| (currency, *sign)));
    signs.find_map(|(currency, sign)| {
        let after = text.strip_prefix(sign)?;
        let whole = !sign.ends_with(char::is_alphabetic) || ends_word(after);
        whole.then_some((currency, sign.len()))
    })
}

fn sign_first(place: Place<'_>) -> Found {
    let (currency, length) = sign(place.rest, place)?;
    let gap = blanks(place.after(length));
    let amount = amount(place.after(length + gap))?;
    let used = length + gap + amount.used;
    let (big, more) = big(place.after(used), place);
    Some((used + more, said(place, currency, &amount, big)))
}

fn amount_first(place: Place<'_>) -> Found {
    let amount = amount(place.rest)?;
    let (big, more) = big(place.after(amount.used), place);
    let used = amount.used + more;
    let gap = blanks(place.after(used));
    let (currency, length) = sign(place.after(used + gap), place)?;
    Some((used + gap + length, said(place, currency, &amount, big)))
}

/// Digits with separators. The last separator is a decimal mark if one or two digits follow it.
fn amount(text: &str) -> Option<Amount> {
    let mut whole = digits(text).to_owned();
    let mut used = whole.len();
    if used == 0 {
        return None;
    }
    loop {
        let rest = &text[used..];
        let Some(mark) =
            rest.chars().next().filter(|c| matches!(c, '.' | ',' | '\'' | '\u{a0}' | '\u{202f}' | ' '))
        else {
            break;
        };
        let next = digits(&rest[mark.len_utf8()..]);
        match (mark, next.len()) {
            (_, 3) => whole.push_str(next),
            ('.' | ',', 1 | 2) => {
                let cents: u64 = next.parse().ok()?;
                let cents = if next.len() == 1 { cents * 10 } else { cents };
                let used = used + 1 + next.len();
                return Some(Amount { whole: whole.parse().ok()?, cents: Some(cents), used });
            }
            _ => break,
        }
        used += mark.len_utf8() + 3;
    }
    let whole = whole.parse().ok().filter(|whole| *whole < 1_000_000_000_000_000)?;
    Some(Amount { whole, cents: None, used })
}

/// A word such as "million" behind an amount, with its blank.
fn big<'a>(text: &'a str, place: Place<'_>) -> (Option<&'a str>, usize) {
    let gap = blanks(text);
    let found = place
        .table
        .big
        .iter()
        .find(|word| gap > 0 && text[gap..].strip_prefix(**word).is_some_and(ends_word));
    found.map_or((None, 0), |word| (Some(&text[gap..gap + word.len()]), gap + word.len()))
}

fn said(place: Place<'_>, currency: &Currency, amount: &Amount, big: Option<&str>) -> String {
    let (table, noun) = (place.table, &currency.whole);
    if let Some(big) = big {
        let big = match big {
            "Mio." => "Millionen",
            "Mrd." => "Milliarden",
            other => other,
        };
        let part = amount.cents.filter(|cents| *cents > 0).map_or_else(String::new, |cents| {
            let digits = format!("{cents:02}");
            let digits = digits.trim_end_matches('0');
            format!(" {} {}", table.decimal_said, super::number::one_by_one(digits, table))
        });
        let of = if table.of.is_empty() { String::new() } else { format!(" {}", table.of) };
        return format!("{}{part} {big}{of} {}", (table.counting)(amount.whole, noun.gender), noun.many);
    }
    let name = if amount.whole == 1 { noun.one } else { noun.many };
    let whole = format!("{} {name}", (table.counting)(amount.whole, noun.gender));
    let Some(cents) = amount.cents.filter(|cents| *cents > 0) else { return whole };
    let cent = if cents == 1 { currency.cent_one } else { currency.cent_many };
    let small = format!("{} {cent}", (table.counting)(cents, Gender::Masculine));
    match place.language {
        _ if amount.whole == 0 => small,
        Language::English { .. } => format!("{whole} {} {small}", table.and),
        Language::Spanish => format!("{whole} con {small}"),
        Language::German | Language::French => format!("{whole} {}", (table.cardinal)(cents)),
    }
}
