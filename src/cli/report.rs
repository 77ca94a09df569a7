//! `tandem report`: what a period's calls amount to, alone or beside another period.
//! Reads the store, so it works while the server runs and when it does not. Counts nothing itself.

use super::{Exit, period::Period, trace::exit_code};
use crate::{
    config::{Config, Overrides, Secrets},
    report::{Figures, Material, page, table},
    store::{CallFilter, CallRecord, Reader, StoreError},
};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
};

/// A call that began longer before the period has ended by then.
const LONGEST_CALL_US: i64 = 24 * 3_600 * 1_000_000;

/// Show utilisation, latency, answer rate, handle time, cost and more of a period, and compare it with another.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// From when: a date, a date and time, today, yesterday, or an age such as 24h or 7d.
    #[arg(long, value_name = "TIME", default_value = "24h")]
    since: String,
    /// Until when.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Another period to compare with, such as 48h..24h or 2026-11-01..2026-11-08; `previous` is the same time before.
    #[arg(long, value_name = "BEGIN..END")]
    against: Option<String>,
    /// Only calls of this trunk. Ports are counted for all.
    #[arg(long)]
    trunk: Option<String>,
    /// Only calls of this agent, as its records name it. Ports are counted for all.
    #[arg(long)]
    agent: Option<String>,
    /// Write a page with plots to this file.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Where the database lives.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The server's config file: where call records are kept, what ports cost, and the time zone.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
}

/// Prints or writes what was asked for.
pub fn run(args: &Args) -> Exit {
    let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
    let config = match Config::load_with(args.config.as_deref(), &overrides, Secrets::Noted) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return Exit::Usage;
        }
    };
    let now = Zoned::now().with_time_zone(config.time_zone.clone());
    let periods = match periods(args, &now) {
        Ok(periods) => periods,
        Err(message) => {
            eprintln!("tandem report: {message}");
            return Exit::Usage;
        }
    };
    let counted = Reader::of(&config.server.data_dir, &config.store.database).and_then(|reader| {
        periods.iter().map(|period| count(args, &config, &reader, *period)).collect::<Result<Vec<_>, _>>()
    });
    match counted {
        Ok(figures) => show(args, &figures, &config.time_zone),
        Err(error) => {
            eprintln!("tandem report: {error}");
            exit_code(&error)
        }
    }
}

fn periods(args: &Args, now: &Zoned) -> Result<Vec<Period>, String> {
    let period = Period::between(Some(&args.since), args.until.as_deref(), now)?;
    let other = match args.against.as_deref() {
        None => None,
        Some("previous") => Some(Period {
            since_us: period.since_us - (period.until_us - period.since_us),
            until_us: period.since_us,
        }),
        Some(against) => Some(Period::named(against, now)?),
    };
    Ok([Some(period), other].into_iter().flatten().collect())
}

fn count(args: &Args, config: &Config, reader: &Reader, period: Period) -> Result<Figures, StoreError> {
    let all = |since_us: i64, until_us: i64| -> Result<Vec<CallRecord>, StoreError> {
        let filter =
            CallFilter { since_us: Some(since_us), before_us: Some(until_us), ..CallFilter::default() };
        let mut calls = Vec::new();
        reader.each::<StoreError>(&filter, |page| {
            calls.extend(page);
            Ok(())
        })?;
        Ok(calls)
    };
    let everybody = all(period.since_us, period.until_us)?;
    let earlier = all(period.since_us - LONGEST_CALL_US, period.since_us)?;
    let meant = |call: &&CallRecord| {
        args.trunk.as_ref().is_none_or(|trunk| call.trunk.as_ref() == Some(trunk))
            && args.agent.as_ref().is_none_or(|agent| call.agent.as_ref() == Some(agent))
    };
    let calls: Vec<CallRecord> = everybody.iter().filter(meant).cloned().collect();
    let gaps = reader.gaps(period.since_us, period.until_us, args.trunk.as_deref(), args.agent.as_deref())?;
    Ok(Figures::of(&Material {
        since_us: period.since_us,
        until_us: period.until_us,
        calls: &calls,
        holding: &[earlier, everybody].concat(),
        gaps: &gaps,
        port_month: config.prices.port_month(period.since_us),
        hour_of: &|at_us| usize::from(moment(at_us, &config.time_zone).hour().unsigned_abs()),
    }))
}

fn moment(at_us: i64, zone: &TimeZone) -> Zoned {
    Timestamp::from_microsecond(at_us).unwrap_or_default().to_zoned(zone.clone())
}

fn show(args: &Args, figures: &[Figures], zone: &TimeZone) -> Exit {
    let all: Vec<&Figures> = figures.iter().collect();
    let when = |figures: &Figures| {
        let word = |at_us| moment(at_us, zone).strftime("%Y-%m-%d %H:%M").to_string();
        format!("{} \u{2013} {}", word(figures.since_us), word(figures.until_us))
    };
    let short = |at_us: i64, figures: &Figures| {
        let days = (figures.until_us - figures.since_us) / (24 * 3_600 * 1_000_000);
        moment(at_us, zone).strftime(if days < 2 { "%H:%M" } else { "%d %b %H:%M" }).to_string()
    };
    let written = if let Some(path) = &args.html {
        fs::write(path, page(&all, &when, &short)).map(|()| eprintln!("the report is in {}", path.display()))
    } else if args.json {
        serde_json::to_string_pretty(figures)
            .map_err(io::Error::from)
            .and_then(|text| writeln!(io::stdout(), "{text}"))
    } else {
        write!(io::stdout(), "{}", table(&all, &when))
    };
    match written {
        Ok(()) => Exit::Done,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            eprintln!("tandem report: cannot write: {error}");
            Exit::Failed
        }
    }
}
