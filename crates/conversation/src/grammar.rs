//! How callers say things: phrase patterns, and the spoken forms of digits, days, times, names, yes and no.
//! Knows words. Knows nothing of a conversation's state.

mod pattern;
mod spoken;

pub(crate) use pattern::{Pattern, Piece, scatter};
pub(crate) use spoken::{
    SpokenTime, capital, day_name, day_words, digit_words, is_value_word, number_words, parse_day,
    parse_name, parse_time, spoken_digits, time_words, words, yes_no,
};
