//! Ways to reach somebody: e-mail addresses, web addresses and telephone numbers.
//! Knows how they are spelled out loud.

use super::{Found, Language, Place, digits, number::one_by_one};

/// Endings by which a web address is known that has neither scheme nor `www`.
const ENDINGS: &[&str] = &[
    "com", "org", "net", "info", "biz", "de", "es", "fr", "io", "eu", "uk", "ai", "app", "dev", "ch", "us",
    "edu", "gov", "example",
];

/// What a pronounceable address consists of.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_alphanumeric()
            || matches!(c, '.' | '-' | '_' | '+' | '%' | '~' | '/' | '=' | '&' | '?' | '#' | ':')
    })
}

pub(super) fn address(place: Place<'_>) -> Found {
    let end = place.rest.find(char::is_whitespace).unwrap_or(place.rest.len());
    let token = place.rest[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', ')', '>', '"', '\'']);
    if let Some((local, domain)) = token.split_once('@') {
        let ok = !local.is_empty() && domain.contains('.') && is_plain(local) && is_plain(domain);
        return ok.then(|| {
            let said =
                format!("{} {} {}", spelled(local, place), place.table.at, spelled_domain(domain, place));
            (token.len(), said)
        });
    }
    let bare = token.strip_prefix("https://").or_else(|| token.strip_prefix("http://"));
    let site = bare.unwrap_or(token);
    let (host, path) = site.split_once('/').unwrap_or((site, ""));
    let ending = host.rsplit_once('.').map_or("", |(_, ending)| ending);
    let known = bare.is_some()
        || host.starts_with("www.")
        || (ENDINGS.contains(&ending) && host.len() > ending.len() + 2);
    if !known
        || !host.contains('.')
        || !is_plain(token)
        || host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    {
        return None;
    }
    // What follows a question mark is for machines.
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
    let mut said = spelled_domain(host, place);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        said.push_str(&format!(" {} {}", place.table.slash, spelled(part, place)));
    }
    Some((token.len(), said))
}

/// A host's name; its last part is spelled where it is no word.
fn spelled_domain(domain: &str, place: Place<'_>) -> String {
    let (name, ending) = domain.rsplit_once('.').unwrap_or((domain, ""));
    let spell = |text: &str| text.chars().map(|c| c.to_uppercase().to_string()).collect::<Vec<_>>().join(" ");
    let ending = if ending.len() == 2 { spell(ending) } else { ending.to_owned() };
    let name = match name.strip_prefix("www.") {
        Some(name) => format!("{} {} {}", spell("www"), place.table.dot, spelled(name, place)),
        None => spelled(name, place),
    };
    format!("{name} {} {ending}", place.table.dot)
}

/// Words stay, signs get their names, digits are read one by one.
fn spelled(text: &str, place: Place<'_>) -> String {
    let table = place.table;
    let mut out: Vec<String> = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        let name = match c {
            '.' => table.dot,
            '-' => table.dash,
            '_' => table.underscore,
            '+' => table.plus,
            '/' => table.slash,
            '0'..='9' => table.digits[c as usize - '0' as usize],
            c if c.is_alphabetic() => {
                word.push(c);
                continue;
            }
            _ => "",
        };
        out.push(std::mem::take(&mut word));
        out.push(name.to_owned());
    }
    out.push(word);
    out.retain(|part| !part.is_empty());
    out.join(" ")
}

/// Groups of digits as they stand in a telephone number, or nothing if it is none.
pub(super) fn telephone(place: Place<'_>) -> Found {
    let text = place.rest;
    let plus = text.starts_with('+');
    let mut at = usize::from(plus);
    let mut groups: Vec<&str> = Vec::new();
    let mut marks = String::new();
    let mut used = at;
    loop {
        let rest = &text[at..];
        let mark =
            rest.len() - rest.trim_start_matches(['(', ')', ' ', '-', '/', '.', '\u{a0}', '\u{2011}']).len();
        let group = digits(&rest[mark..]);
        // A sentence's full stop, a list or a range is no separator.
        if group.is_empty()
            || mark > 3
            || (mark > 1 && rest[..mark].trim().len() > 1 && !rest[..mark].contains([')', '(']))
        {
            break;
        }
        if !groups.is_empty() && mark == 0 {
            break;
        }
        marks.push_str(&rest[..mark]);
        groups.push(group);
        at += mark + group.len();
        used = at;
    }
    if text[used..].starts_with(|c: char| c.is_alphanumeric() || c == '%' || c == ':' || c == '\u{20ac}')
        || groups.is_empty()
    {
        return None;
    }
    let total: usize = groups.iter().map(|group| group.len()).sum();
    let is_number = (7..=15).contains(&total) && looks_dialled(plus, &marks, &groups, text);
    is_number.then(|| {
        let said: Vec<String> = groups.iter().map(|group| in_group(group, place)).collect();
        let plus = if plus { format!("{} ", place.table.plus) } else { String::new() };
        (used, format!("{plus}{}", said.join(", ")))
    })
}

fn looks_dialled(plus: bool, marks: &str, groups: &[&str], text: &str) -> bool {
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let last = lengths.last().copied().unwrap_or_default();
    let dotted = marks.contains('.');
    let pairs = groups.len() >= 5 && lengths.iter().all(|length| *length == 2);
    let blocks =
        groups.len() >= 2 && lengths[..groups.len() - 1].iter().all(|n| (3..=4).contains(n)) && last == 4;
    match () {
        () if plus => true,
        () if dotted => pairs,
        () if pairs => true,
        () if text.starts_with('(') => groups.len() >= 2,
        () if groups[0].starts_with('0') && groups[0].len() >= 2 => true,
        () => blocks,
    }
}

/// The French say pairs as numbers; everybody else reads digits.
fn in_group(group: &str, place: Place<'_>) -> String {
    let pair = place.language == Language::French && group.len() == 2 && !group.starts_with('0');
    if pair {
        return (place.table.cardinal)(group.parse().unwrap_or_default());
    }
    one_by_one(group, place.table)
}
