//! Numbers: whole ones, decimals, ordinals, fractions, ranges, units, years and digits that are read one by one.
//! Knows how a language writes them. Money, dates and times have files of their own.

use super::{
    Found, Language, Place, Table, blanks, digits, ends_word,
    language::{Gender, Noun},
};

/// Digits without any separator, from this many on, are a name and not a quantity.
const A_NAME: usize = 7;
/// The longest number that is said as one.
const LONGEST: usize = 15;

/// A number as it is written.
pub(super) struct Number<'a> {
    /// Without separators.
    pub(super) whole: String,
    /// Behind the decimal mark.
    pub(super) fraction: &'a str,
    /// Whether thousands are set apart.
    grouped: bool,
    /// Bytes.
    pub(super) used: usize,
}

impl<'a> Number<'a> {
    /// The number at the front of `text`.
    pub(super) fn read(text: &'a str, table: &Table) -> Option<Self> {
        let mut whole = digits(text).to_owned();
        let mut used = whole.len();
        if used == 0 {
            return None;
        }
        let mut grouped = false;
        while whole.len() - (whole.len() / 3) * 3 <= 3
            && (grouped || whole.len() <= 3)
            && !whole.starts_with('0')
        {
            let Some(group) = group(&text[used..], table) else { break };
            whole.push_str(&group.0);
            used += group.1;
            grouped = true;
        }
        let fraction = fraction(&text[used..], table);
        if !fraction.is_empty() {
            used += 1 + fraction.len();
        }
        (whole.len() <= LONGEST).then_some(Self { whole, fraction, grouped, used })
    }

    pub(super) fn value(&self) -> u64 {
        self.whole.parse().unwrap_or_default()
    }

    /// As it is said by itself.
    fn said(&self, table: &Table) -> String {
        if !self.fraction.is_empty() {
            let whole = (table.cardinal)(self.value());
            return format!("{whole} {} {}", table.decimal_said, one_by_one(self.fraction, table));
        }
        (table.cardinal)(self.value())
    }

    /// With what it counts.
    pub(super) fn of(&self, noun: &Noun, table: &Table) -> String {
        if self.fraction.is_empty() {
            let name = if self.value() == 1 { noun.one } else { noun.many };
            return format!("{} {name}", (table.counting)(self.value(), noun.gender));
        }
        format!("{} {}", self.said(table), noun.many)
    }
}

/// A separator and three digits with no fourth: the digits, and the bytes of both.
fn group(text: &str, table: &Table) -> Option<(String, usize)> {
    let mark = text.chars().next().filter(|c| table.groups.contains(c))?;
    let three = digits(&text[mark.len_utf8()..]);
    (three.len() == 3).then(|| (three.to_owned(), mark.len_utf8() + 3))
}

/// The digits behind a decimal mark. Where the mark is a comma, a full stop with one or two digits is taken for one, too.
fn fraction<'a>(text: &'a str, table: &Table) -> &'a str {
    let Some(mark) = text.chars().next().filter(|c| matches!(c, '.' | ',')) else { return "" };
    let found = digits(&text[1..]);
    let after = &text[1 + found.len()..];
    let more =
        after.starts_with(['.', ',', '/', ':']) && after[1..].starts_with(|c: char| c.is_ascii_digit());
    let own = mark == table.decimal;
    let foreign = mark == '.' && !own && (1..=2).contains(&found.len());
    if (own || foreign) && !more { found } else { "" }
}

pub(super) fn one_by_one(digits: &str, table: &Table) -> String {
    let said: Vec<&str> =
        digits.bytes().filter(u8::is_ascii_digit).map(|b| table.digits[usize::from(b - b'0')]).collect();
    said.join(" ")
}

/// The line between the ends of a range.
pub(super) fn range(place: Place<'_>) -> Found {
    let before = place.before.trim_end();
    let ends_in_number = before
        .ends_with(|c: char| c.is_ascii_digit() || matches!(c, '%' | '\u{20ac}' | '\u{b0}'))
        || before.ends_with("am")
        || before.ends_with("pm")
        || before.ends_with("a.m.");
    if !ends_in_number {
        return None;
    }
    let lead = blanks(place.rest);
    let line = place.rest[lead..].chars().next().filter(|c| matches!(c, '-' | '\u{2013}'))?;
    let used = lead + line.len_utf8();
    let trail = blanks(place.after(used));
    let next = place.after(used + trail);
    let even = (lead == 0) == (trail == 0);
    let follows =
        next.trim_start_matches(['$', '\u{20ac}', '\u{a3}']).starts_with(|c: char| c.is_ascii_digit());
    (even && follows).then(|| (used + trail, format!(" {} ", place.table.to)))
}

pub(super) fn number(place: Place<'_>) -> Found {
    let sign = sign(place);
    let (lead, word) = sign.unwrap_or((0, ""));
    let text = place.after(lead);
    let signed = |(used, said): (usize, String)| {
        (lead + used, if word.is_empty() { said } else { format!("{word} {said}") })
    };
    let run = digits(text);
    if run.is_empty() {
        return None;
    }
    let named = named(place, run, text).filter(|_| sign.is_none());
    named.or_else(|| quantity(place, text).map(signed))
}

/// A sign that belongs to the number behind it.
fn sign(place: Place<'_>) -> Option<(usize, &'static str)> {
    let free = place.before.is_empty() || place.before.ends_with([' ', '(', '"']);
    let c = place.rest.chars().next().filter(|_| free)?;
    let word = match c {
        '-' | '\u{2212}' => place.table.minus,
        '+' => place.table.plus,
        _ => return None,
    };
    Some((c.len_utf8(), word))
}

/// Digits that are a name: an account, a code, anything with a zero in front, a version, a year.
fn named(place: Place<'_>, run: &str, text: &str) -> Found {
    let (table, after) = (place.table, &text[run.len()..]);
    let dotted = dotted(text, table);
    if dotted.is_some() {
        return dotted;
    }
    let bare =
        ends_word(after) && Number::read(text, table).is_none_or(|n| n.used == run.len() && !n.grouped);
    if !bare
        || after.starts_with(['%', '/'])
        || (after.starts_with(':') && after[1..].starts_with(|c: char| c.is_ascii_digit()))
    {
        return None;
    }
    let before = place.word_before();
    let asked = table.number_words.contains(&before.as_str());
    let zero = run.len() > 1 && run.starts_with('0');
    if zero || run.len() >= A_NAME || (asked && run.len() >= 3) {
        return Some((run.len(), one_by_one(run, table)));
    }
    let value: u64 = run.parse().ok()?;
    let is_year =
        run.len() == 4 && (1100..2100).contains(&value) && table.year_words.contains(&before.as_str());
    is_year.then(|| (run.len(), (table.year)(value)))
}

/// A version or an address of numbers: three parts or more.
fn dotted(text: &str, table: &Table) -> Found {
    let used = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    let run = text[..used].trim_end_matches('.');
    let parts: Vec<&str> = run.split('.').collect();
    let groups = table.groups.contains(&'.') && parts[1..].iter().all(|part| part.len() == 3);
    if parts.len() < 3 || groups || parts.iter().any(|part| part.is_empty() || part.len() > 5) {
        return None;
    }
    let said: Vec<String> =
        parts.iter().map(|part| (table.cardinal)(part.parse().unwrap_or_default())).collect();
    Some((run.len(), said.join(&format!(" {} ", table.dot))))
}

fn quantity(place: Place<'_>, text: &str) -> Found {
    let table = place.table;
    let n = Number::read(text, table)?;
    let after = &text[n.used..];
    if let Some(found) = ordinal(place, &n, after).or_else(|| part(&n, after, place)) {
        return Some(found);
    }
    let gap = blanks(after);
    let next = &after[gap..];
    if next.starts_with('%') {
        return Some((n.used + gap + 1, format!("{} {}", n.said(table), table.percent)));
    }
    let close = gap <= 3;
    let unit = table.units.iter().flat_map(|unit| unit.written.iter().map(move |written| (unit, *written)));
    let mut unit = unit.filter(|(_, written)| {
        close
            && next.strip_prefix(written).is_some_and(ends_word)
            && !(gap == 0 && n.whole.len() == 4 && *written == "s")
    });
    if let Some((unit, written)) = unit.next() {
        // A sentence may end with the full stop of an abbreviated unit.
        let used = n.used + gap + written.trim_end_matches('.').len();
        let stop = usize::from(written.ends_with('.') && !text[used + 1..].trim().is_empty());
        return Some((used + stop, n.of(unit, table)));
    }
    if gap == 0 || !next.starts_with(char::is_alphabetic) || !n.fraction.is_empty() {
        return Some((n.used, n.said(table)));
    }
    Some((n.used, (table.counting)(n.value(), gender(next, place))))
}

/// The gender of the word that is counted, where it is known.
fn gender(next: &str, place: Place<'_>) -> Gender {
    let word = next.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    let known = place.table.units.iter().find(|unit| unit.one == word || unit.many == word);
    let big = place.language == Language::German && place.table.big[1..].contains(&word);
    if big { Gender::Feminine } else { known.map_or(Gender::Masculine, |unit| unit.gender) }
}

/// `3rd`, `1er`, and in German `3.` where a word before it says so.
fn ordinal(place: Place<'_>, n: &Number<'_>, after: &str) -> Found {
    if !n.fraction.is_empty() || n.grouped {
        return None;
    }
    let before = place.word_before();
    let mut marks = place.table.ordinal_marks.iter();
    if let Some(mark) = marks.find(|mark| after.strip_prefix(**mark).is_some_and(ends_word)) {
        let feminine = mark.ends_with(['\u{aa}', 'a']) || matches!(*mark, "re" | "\u{e8}re");
        let before = if feminine { "la" } else { before.as_str() };
        return Some((n.used + mark.len(), (place.table.ordinal)(n.value(), before)));
    }
    let dotted = after.starts_with(". ") && n.whole.len() <= 2;
    (dotted && place.table.ordinal_words.contains(&before.as_str()))
        .then(|| (n.used + 1, (place.table.ordinal)(n.value(), &before)))
}

/// `24/7` and simple fractions.
fn part(n: &Number<'_>, after: &str, place: Place<'_>) -> Found {
    let under = digits(after.strip_prefix('/')?);
    let used = n.used + 1 + under.len();
    if under.is_empty() || under.len() > 2 || !n.fraction.is_empty() || !ends_word(&after[1 + under.len()..])
    {
        return None;
    }
    let (over, under) = (n.value(), under.parse::<u64>().ok()?);
    let english = matches!(place.language, Language::English { .. });
    let said = match (over, under) {
        (1, 2) if english => "one half".to_owned(),
        (1 | 3, 4) if english => if over == 1 { "one quarter" } else { "three quarters" }.to_owned(),
        _ => {
            let number = place.table.cardinal;
            let between = if english && !(over == 24 && under == 7) { " over " } else { " " };
            format!("{}{between}{}", number(over), number(under))
        }
    };
    Some((used, said))
}
