//! Times of day, on either clock.
//! Knows what marks a time: a colon, `h`, or a word behind it.

use super::{Found, Language, Place, blanks, digits, ends_word};

/// What tells the halves of the day, and whether it is the second.
const HALVES: [(&str, bool); 8] = [
    ("a.m.", false),
    ("p.m.", true),
    ("a. m.", false),
    ("p. m.", true),
    ("am", false),
    ("pm", true),
    ("AM", false),
    ("PM", true),
];

/// What stands behind a time.
enum Tail {
    Half(bool),
    Word,
    Nothing,
}

pub(super) fn clock(place: Place<'_>) -> Found {
    let text = place.rest;
    let first = digits(text);
    if !(1..=2).contains(&first.len()) {
        return None;
    }
    let hour: u32 = first.parse().ok().filter(|hour| *hour <= 24)?;
    let after = &text[first.len()..];
    let latin = matches!(place.language, Language::French | Language::Spanish);
    let gap = blanks(after);
    if latin && after[gap..].starts_with('h') {
        return hours(place, hour, first.len() + gap + 1);
    }
    let mark = after.chars().next().filter(|c| matches!(c, ':' | '.'));
    let second = mark.map_or("", |mark| digits(&after[mark.len_utf8()..]));
    if second.len() == 2 {
        let minute: u32 = second.parse().ok().filter(|minute| *minute < 60)?;
        let used = first.len() + 3;
        let (tail, length) = tail(text, used, place);
        let rest = place.after(used);
        let whole = ends_word(rest) || length > 0;
        let longer = rest.starts_with([':', '.']) && rest[1..].starts_with(|c: char| c.is_ascii_digit());
        let sure = mark == Some(':') || !matches!(tail, Tail::Nothing);
        return (sure && whole && !longer).then(|| finish(place, (hour, minute), &tail, used + length));
    }
    let (tail, length) = tail(text, first.len(), place);
    match tail {
        Tail::Nothing => None,
        Tail::Half(_) | Tail::Word => Some(finish(place, (hour, 0), &tail, first.len() + length)),
    }
}

/// `15h30`, `15 h 30`, `15 h`
fn hours(place: Place<'_>, hour: u32, used: usize) -> Found {
    let after = place.after(used);
    let gap = blanks(after);
    let minutes = digits(&after[gap..]);
    let behind = &after[gap + minutes.len()..];
    if minutes.len() == 2 && ends_word(behind) {
        let minute: u32 = minutes.parse().ok().filter(|minute| *minute < 60)?;
        return Some((used + gap + 2, (place.table.clock)(hour, minute, None)));
    }
    // Spanish "3 h" is a duration; in French both are said alike.
    (ends_word(after) && place.language == Language::French)
        .then(|| (used, (place.table.clock)(hour, 0, None)))
}

fn tail(text: &str, at: usize, place: Place<'_>) -> (Tail, usize) {
    let gap = blanks(&text[at..]);
    let next = &text[at + gap..];
    for (written, afternoon) in HALVES {
        if next.strip_prefix(written).is_some_and(ends_word) {
            // A sentence may end here: its full stop stays.
            let ends = written.ends_with('.') && next[written.len()..].trim().is_empty();
            return (Tail::Half(afternoon), gap + written.len() - usize::from(ends));
        }
    }
    for word in place.table.clock_words {
        if next.strip_prefix(word).is_some_and(ends_word) {
            return (Tail::Word, gap + word.len());
        }
    }
    (Tail::Nothing, 0)
}

fn finish(place: Place<'_>, (hour, minute): (u32, u32), tail: &Tail, used: usize) -> (usize, String) {
    let half = match tail {
        Tail::Half(afternoon) => Some(*afternoon),
        Tail::Word | Tail::Nothing => None,
    };
    (used, (place.table.clock)(hour, minute, half))
}
