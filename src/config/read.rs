//! Text to a raw structure, with every problem found on the way and not only the first.
//! Does not know which structure it is reading.

use super::problem::{Problem, Source, suggest};
use serde::de::DeserializeOwned;
use std::ops::Range;
use toml::{
    Deserializer, Spanned,
    de::{DeTable, DeValue, Error},
};

/// After so many problems the rest is no longer worth reading.
const MAX_PROBLEMS: usize = 100;

/// Reads a structure. What cannot be used is reported, taken out, and the rest read again, so that one look tells all.
/// A text that is not TOML yields its syntax errors only: what follows from them would mislead.
pub(super) fn read<T: DeserializeOwned + Default>(source: &Source, problems: &mut Vec<Problem>) -> T {
    let (mut table, errors) = DeTable::parse_recoverable(source.text());
    if !errors.is_empty() {
        problems.extend(errors.iter().take(MAX_PROBLEMS).map(|error| {
            let span = error.span().unwrap_or_default();
            let place = source.place(&span);
            Problem::error(
                place,
                format!("not TOML: {}", one_line(error)),
                "see https://toml.io for its grammar",
            )
        }));
        return T::default();
    }
    for _ in 0..MAX_PROBLEMS {
        let error = match T::deserialize(Deserializer::from(table.clone())) {
            Ok(read) => return read,
            Err(error) => error,
        };
        let span = error.span();
        let (message, help) = explain(error.message());
        let span = span.unwrap_or_default();
        problems.push(Problem::error(source.place(&span), message, help).at(span.start));
        if !prune_table(table.get_mut(), &span) {
            break;
        }
    }
    T::default()
}

fn one_line(error: &Error) -> String {
    error.message().lines().map(str::trim).collect::<Vec<_>>().join(", ")
}

/// Serde's words into ours: what is wrong, and what instead.
fn explain(message: &str) -> (String, String) {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if let (true, Some((written, known))) = (message.starts_with("unknown field"), quoted.split_first()) {
        return (format!("unknown key `{written}`"), suggest(written, known.iter().copied()));
    }
    let message = message.lines().next().unwrap_or_default();
    let message = message
        .replace("expected i64", "expected a whole number")
        .replace("expected f64", "expected a number");
    let (wrong, expected) = message.rsplit_once(", expected ").unwrap_or((&message, ""));
    let help = match expected {
        "" => "see `tandem init` for an example of every key".into(),
        "a whole number" => "write a whole number without quotes, such as 50".into(),
        "a string" => "write it in quotes".into(),
        "a sequence" => "write a list, such as [\"one\", \"two\"]".into(),
        other => format!("write {other}"),
    };
    (wrong.to_owned(), help)
}

/// Takes out the key or value at `span`; false if it is not there.
fn prune_table(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let found = table.iter().find(|(key, value)| key.span() == *span || value.span() == *span);
    if let Some(key) = found.map(|(key, _)| key.clone()) {
        return table.remove(&key).is_some();
    }
    table.iter_mut().any(|(_, value)| prune_value(value, span))
}

fn prune_value(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    if let DeValue::Table(table) = value.get_mut() {
        return prune_table(table, span);
    }
    let DeValue::Array(array) = value.get_mut() else { return false };
    if array.iter().any(|element| element.span() == *span) {
        *array = array.iter().filter(|element| element.span() != *span).cloned().collect();
        return true;
    }
    array.iter_mut().any(|element| prune_value(element, span))
}
