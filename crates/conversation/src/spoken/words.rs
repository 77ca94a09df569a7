//! Abbreviations and signs that stand for a word.
//! Knows which of them need a number behind them.

use super::{Found, Language, Place, blanks, ends_word, prefix_ignoring_case};

/// What means "number" says so only before one.
const NUMBERS: [&str; 4] = ["number", "Nummer", "número", "numéro"];

pub(super) fn abbreviation(place: Place<'_>) -> Found {
    let all = place.table.abbreviations.iter().chain(place.table.open_abbreviations);
    let mut matching = all.filter_map(|(written, said)| {
        let used = if written.chars().count() > 3 {
            prefix_ignoring_case(place.rest, &written.to_lowercase())?
        } else {
            place.rest.starts_with(written).then_some(written.len())?
        };
        let after = place.after(used);
        let whole =
            written.ends_with(['.', '\u{b0}', '\u{ba}']) || ends_word(after) && !after.starts_with('.');
        whole.then_some((used, *said))
    });
    let (used, said) = matching.next()?;
    let after = place.after(used);
    let before_digit = after[blanks(after)..].starts_with(|c: char| c.is_ascii_digit());
    if NUMBERS.contains(&said) && !before_digit {
        return None;
    }
    let said = if said == "Saint" && is_street(place, after) { "Street" } else { said };
    // The full stop was the sentence's as well.
    let ends = place.rest[..used].ends_with('.') && after.trim().is_empty();
    Some((used - usize::from(ends), said.to_owned()))
}

/// `Main St.` and `12 Oak St. in`, but not `St. Louis`.
fn is_street(place: Place<'_>, after: &str) -> bool {
    let capital = after.trim_start().starts_with(char::is_uppercase);
    let name =
        place.before.trim_end().rsplit(' ').next().is_some_and(|word| word.starts_with(char::is_uppercase));
    !capital
        || (name
            && !place.before.trim_end().ends_with([',', '.'])
            && place.before.contains(|c: char| c.is_ascii_digit()))
}

pub(super) fn symbol(place: Place<'_>) -> Found {
    let c = place.rest.chars().next()?;
    let number = match place.language {
        Language::English { .. } => "number",
        Language::German => "Nummer",
        Language::Spanish => "número",
        Language::French => "numéro",
    };
    let next = place.after(c.len_utf8());
    let alone = place.before.is_empty() || place.before.ends_with(' ');
    let said = match c {
        '&' => place.table.and,
        '+' if alone && next.starts_with(' ') => place.table.plus,
        '#' if next.starts_with(|c: char| c.is_ascii_digit()) => number,
        _ => return None,
    };
    let used = c.len_utf8();
    // A code behind the sign is read digit by digit.
    let run = super::digits(next);
    if c == '#' && run.len() >= 3 && ends_word(&next[run.len()..]) {
        return Some((used + run.len(), format!("{said} {}", super::number::one_by_one(run, place.table))));
    }
    Some((used, if next.is_empty() || next.starts_with(' ') { said.to_owned() } else { format!("{said} ") }))
}
