//! Days of the year: all in figures, or with the month's name.
//! Knows which figure is the month in which language.

use super::{Found, Language, Place, blanks, digits, ends_word, prefix_ignoring_case};

pub(super) fn date(place: Place<'_>) -> Found {
    in_figures(place).or_else(|| month_first(place)).or_else(|| day_first(place))
}

fn valid(day: &str, month: &str) -> Option<(u32, u32)> {
    let (day, month) = (day.parse().ok()?, month.parse().ok()?);
    ((1..=31).contains(&day) && (1..=12).contains(&month)).then_some((day, month))
}

/// `2026-10-14`, `14.10.2026`, `14/10/26`, in German also `14.10.`
fn in_figures(place: Place<'_>) -> Found {
    let (text, before) = (place.rest, place.word_before());
    let first = digits(text);
    let mark = text[first.len()..].chars().next().filter(|c| matches!(c, '-' | '/' | '.'))?;
    let second = digits(&text[first.len() + 1..]);
    let used = first.len() + 1 + second.len();
    if !(1..=2).contains(&second.len()) {
        return None;
    }
    let said = |day, month, year| (place.table.date)(day, month, year, &before);
    let third = text[used..].strip_prefix(mark).map_or("", digits);
    let end = used + 1 + third.len();
    if first.len() == 4 && mark == '-' && third.len() == 2 {
        let (day, month) = valid(third, second)?;
        return ends_word(&text[end..]).then(|| (end, said(day, month, first.parse().ok())));
    }
    if !(1..=2).contains(&first.len()) {
        return None;
    }
    if !matches!(third.len(), 2 | 4) {
        let short = mark == '.' && third.is_empty() && text[used..].starts_with('.');
        let (day, month) = valid(first, second).filter(|_| short && place.language == Language::German)?;
        // The full stop is the date's, unless nothing follows it.
        let stop = usize::from(!text[used + 1..].trim().is_empty());
        return Some((used + stop, said(day, month, None)));
    }
    let month_first = mark == '/' && place.language == (Language::English { month_first: true });
    let (day, month) = if month_first { valid(second, first) } else { valid(first, second) }?;
    let year: u64 = third.parse().ok()?;
    let year = if third.len() == 2 { 2000 + year } else { year };
    ends_word(&text[end..]).then(|| (end, said(day, month, Some(year))))
}

/// A month's name at the front: its number and length.
fn month(text: &str, place: Place<'_>) -> Option<(u32, usize)> {
    let exact = matches!(place.language, Language::English { .. } | Language::German);
    let starts = |name: &str| {
        if exact { text.starts_with(name).then_some(name.len()) } else { prefix_ignoring_case(text, name) }
    };
    for (number, name) in (1..).zip(place.table.months) {
        if let Some(used) = starts(name).filter(|used| ends_word(&text[*used..])) {
            return Some((number, used));
        }
    }
    for (number, name) in (1..).zip(place.table.months_short) {
        if let Some(used) = starts(name).filter(|used| ends_word(&text[*used..])) {
            return Some((number, used + usize::from(text[used..].starts_with('.'))));
        }
    }
    None
}

/// A year of four digits behind a date, with what stands between.
fn year(text: &str, leads: &[&str]) -> Option<(u64, usize)> {
    leads.iter().find_map(|lead| {
        let found = digits(text.strip_prefix(lead)?);
        let after = &text[lead.len() + found.len()..];
        let whole = found.len() == 4 && ends_word(after) && !after.starts_with(':');
        Some((found.parse().ok().filter(|_| whole)?, lead.len() + 4))
    })
}

/// `October 14, 2026`
fn month_first(place: Place<'_>) -> Found {
    if !matches!(place.language, Language::English { .. }) {
        return None;
    }
    let text = place.rest;
    let (month, name) = month(text, place)?;
    let gap = blanks(&text[name..]);
    let day = digits(&text[name + gap..]);
    let mut used = name + gap + day.len();
    if gap == 0 || !(1..=2).contains(&day.len()) {
        return None;
    }
    let mark = ["st", "nd", "rd", "th"].iter().find(|mark| text[used..].starts_with(**mark));
    used += mark.map_or(0, |mark| mark.len());
    let (day, _) = valid(day, "1")?;
    if !ends_word(&text[used..]) || text[used..].starts_with([':', '%']) {
        return None;
    }
    let year = year(&text[used..], &[", ", " "]);
    used += year.map_or(0, |(_, used)| used);
    Some((used, (place.table.date)(day, month, year.map(|(year, _)| year), "")))
}

/// `14 October 2026`, `3. Mai`, `14 de octubre de 2026`, `1er mai`
fn day_first(place: Place<'_>) -> Found {
    let text = place.rest;
    let day = digits(text);
    if !(1..=2).contains(&day.len()) {
        return None;
    }
    let mut used = day.len();
    let marks: &[&str] = match place.language {
        Language::English { .. } => &["st of", "nd of", "rd of", "th of", "st", "nd", "rd", "th"],
        Language::German => &["."],
        Language::Spanish => &[" de", "\u{ba} de"],
        Language::French => &["er"],
    };
    used += marks.iter().find(|mark| text[used..].starts_with(**mark)).map_or(0, |mark| mark.len());
    let gap = blanks(&text[used..]);
    if gap == 0 {
        return None;
    }
    let (month, name) = month(&text[used + gap..], place)?;
    used += gap + name;
    let (day, _) = valid(day, "1")?;
    let year = year(&text[used..], &[" de ", " del ", ", ", " "]);
    used += year.map_or(0, |(_, used)| used);
    Some((used, (place.table.date)(day, month, year.map(|(year, _)| year), &place.word_before())))
}
