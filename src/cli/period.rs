//! Points in time as people write them at a prompt: a date, a date and a time, `today`, `yesterday`, or how long ago.
//! Knows dates. What is looked for in between is the command's business.

use jiff::{Span, Timestamp, Zoned, civil, tz::TimeZone};

/// What an argument may be, for help texts and errors.
pub(super) const FORMS: &str = "write a date (2026-11-20), a date and a time (2026-11-20T09:30), today, yesterday, or an age (90m, 24h, 7d)";

/// From when to when, in microseconds since the Unix epoch; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// The first microsecond.
    pub(super) since_us: i64,
    /// The first one after it.
    pub(super) until_us: i64,
}

impl Period {
    /// The period between two arguments; without them, everything until `now`.
    ///
    /// # Errors
    /// What an argument should look like.
    pub(super) fn between(since: Option<&str>, until: Option<&str>, now: &Zoned) -> Result<Self, String> {
        let since_us = since.map_or(Ok(0), |text| instant(text, now))?;
        let until_us = until.map_or(Ok(now.timestamp().as_microsecond() + 1), |text| instant(text, now))?;
        if since_us >= until_us {
            return Err("the period ends before it begins".to_owned());
        }
        Ok(Self { since_us, until_us })
    }

    /// `A..B`, as a single argument.
    ///
    /// # Errors
    /// What it should look like.
    pub(super) fn named(text: &str, now: &Zoned) -> Result<Self, String> {
        let (since, until) = text
            .split_once("..")
            .ok_or_else(|| format!("`{text}` is no period; write BEGIN..END; {FORMS}"))?;
        Self::between(Some(since), Some(until).filter(|until| !until.is_empty()), now)
    }
}

/// The moment that a text names, in microseconds since the Unix epoch.
fn instant(text: &str, now: &Zoned) -> Result<i64, String> {
    let wrong = || format!("`{text}` is no point in time; {FORMS}");
    let text = text.trim();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Ok(timestamp.as_microsecond());
    }
    let here = |at: civil::DateTime, zone: &TimeZone| {
        let zoned = zone.to_zoned(at).map_err(|_| wrong())?;
        Ok(zoned.timestamp().as_microsecond())
    };
    let midnight = |date: civil::Date| here(date.at(0, 0, 0, 0), now.time_zone());
    match text {
        "now" => return Ok(now.timestamp().as_microsecond()),
        "today" => return midnight(now.date()),
        "yesterday" => return midnight(now.date().yesterday().map_err(|_| wrong())?),
        _ => {}
    }
    if let Ok(date) = text.parse::<civil::Date>()
        && text.len() <= "2026-11-20".len()
    {
        return midnight(date);
    }
    if let Ok(at) = text.parse::<civil::DateTime>() {
        return here(at, now.time_zone());
    }
    let (number, unit) = text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        "w" => 7 * 24 * 60,
        _ => return Err(wrong()),
    };
    let ago = number.checked_mul(minutes).filter(|ago| (0..100_000_000).contains(ago)).ok_or_else(wrong)?;
    let then = now.timestamp().checked_sub(Span::new().minutes(ago)).map_err(|_| wrong())?;
    Ok(then.as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Zoned {
        text.parse().expect("a time with a zone")
    }

    #[test]
    fn a_day_is_the_day_where_we_are() {
        let now = at("2026-11-20T09:30:00+01:00[Europe/Berlin]");
        let moment = |text: &str| instant(text, &now).expect(text);
        let told = |text: &str| at(text).timestamp().as_microsecond();
        assert_eq!(moment("today"), told("2026-11-20T00:00:00+01:00[Europe/Berlin]"));
        assert_eq!(moment("yesterday"), told("2026-11-19T00:00:00+01:00[Europe/Berlin]"));
        assert_eq!(moment("2026-07-01"), told("2026-07-01T00:00:00+02:00[Europe/Berlin]"));
        assert_eq!(moment("2026-11-20T09:00"), told("2026-11-20T09:00:00+01:00[Europe/Berlin]"));
        assert_eq!(moment("2026-11-20T08:30:00Z"), moment("now"));
        assert_eq!(moment("now") - moment("90m"), 90 * 60 * 1_000_000);
        assert_eq!(moment("now") - moment("7d"), 7 * 86_400 * 1_000_000);
        for wrong in ["", "d", "7y", "-3d", "tomorrow-ish", "2026-13-01", "99999999999999d", "é"] {
            assert!(instant(wrong, &now).is_err(), "{wrong}");
        }
        let week = Period::named("2026-11-09..2026-11-16", &now).expect("a period");
        assert_eq!(week.until_us - week.since_us, 7 * 86_400 * 1_000_000);
        assert!(Period::named("2026-11-16..2026-11-09", &now).is_err());
        assert!(Period::named("2026-11-16", &now).is_err());
    }
}
