//! `tandem export`: call records of a period as JSON lines, CSV or Parquet.
//! Knows the formats. Which columns there are is the store's business, and whose numbers they hold is the caller's: they
//! are written only where somebody asks for them.

mod csv;
mod parquet;

use super::{Exit, period::Period, trace::exit_code};
use crate::{
    config::{Config, Overrides, Secrets},
    store::{
        COLUMNS, CallFilter, CallRecord, Column, Direction, Kind, LEG_COLUMNS, Reader, StoreError, Value,
    },
};
use jiff::Zoned;
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal as _, Write},
    path::PathBuf,
};

/// Write call records of a period to a file: one row for each call or for each leg, refused calls too.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The format.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// What a row is: a call, or one of its legs (the caller's, those of transfers, those of attempts).
    #[arg(long, value_enum, default_value_t = Rows::Calls)]
    rows: Rows,
    /// Where to; `-` is standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    out: PathBuf,
    /// Calls that began then or later: a date, a date and time, today, yesterday, or an age such as 24h or 7d.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Calls that began before that.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only calls of this trunk.
    #[arg(long)]
    trunk: Option<String>,
    /// Only calls of this agent, as its records name it.
    #[arg(long)]
    agent: Option<String>,
    /// Only calls in this direction.
    #[arg(long, value_enum)]
    direction: Option<Way>,
    /// Only calls that ended for this cause.
    #[arg(long, value_name = "CAUSE")]
    cause: Option<String>,
    /// What becomes of callers' and called numbers, and of SIP Call-IDs. They are personal data: say `full` to have them.
    #[arg(long, value_enum, default_value_t = Numbers::Redact)]
    numbers: Numbers,
    /// Where the database lives.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The server's config file, which says where call records are kept.
    #[arg(long, value_name = "FILE", conflicts_with = "data_dir")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One JSON object in each line.
    Json,
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// Apache Parquet.
    Parquet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Rows {
    /// Whole calls, with every figure.
    Calls,
    /// Their legs: who was reached when, and with what status.
    Legs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    Inbound,
    Outbound,
}

/// What becomes of what identifies a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Numbers {
    /// Left out.
    Redact,
    /// Replaced by a code that is the same for the same number within one export, and different in the next.
    Hash,
    /// Written out.
    Full,
}

/// Columns that identify a person.
const PERSONAL: [&str; 4] = ["caller", "called", "peer", "sip_call_id"];
/// Columns in which anything about a person may stand: nothing is left of them to tell apart.
const WORDS: [&str; 1] = ["notes"];

/// A column's name and kind.
type Heading = (&'static str, Kind);

fn headings<R>(columns: &[Column<R>]) -> Vec<Heading> {
    columns.iter().map(|column| (column.name, column.kind)).collect()
}

/// Why an export ends early.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write: {0}")]
    Io(#[from] io::Error),
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

/// Writes the records.
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
    let period = match Period::between(args.since.as_deref(), args.until.as_deref(), &now) {
        Ok(period) => period,
        Err(message) => {
            eprintln!("tandem export: {message}");
            return Exit::Usage;
        }
    };
    if args.format == Format::Parquet && args.out.as_os_str() == "-" && io::stdout().is_terminal() {
        eprintln!("tandem export: Parquet is not for a terminal; say where to with --out FILE");
        return Exit::Usage;
    }
    let filter = CallFilter {
        since_us: Some(period.since_us),
        before_us: Some(period.until_us),
        trunk: args.trunk.clone(),
        agent: args.agent.clone(),
        end_cause: args.cause.clone(),
        direction: args.direction.map(|way| match way {
            Way::Inbound => Direction::Inbound,
            Way::Outbound => Direction::Outbound,
        }),
        ..CallFilter::default()
    };
    let exported = Reader::of(&config.server.data_dir, &config.store.database)
        .map_err(ExportError::from)
        .and_then(|reader| export(args, &reader, &filter));
    match exported {
        Ok(count) => {
            let what = if args.rows == Rows::Calls { "calls" } else { "legs" };
            eprintln!("{count} {what} exported");
            if args.numbers == Numbers::Redact {
                eprintln!("callers' numbers are left out; --numbers hash or full has them");
            }
            Exit::Done
        }
        Err(ExportError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(error) => {
            eprintln!("tandem export: {error}");
            if let ExportError::Store(error) = &error { exit_code(error) } else { Exit::Failed }
        }
    }
}

fn export(args: &Args, reader: &Reader, filter: &CallFilter) -> Result<usize, ExportError> {
    let out: Box<dyn Write + Send> = match args.out.to_str() {
        Some("-") => Box::new(BufWriter::new(io::stdout())),
        Some(_) | None => Box::new(BufWriter::new(File::create(&args.out)?)),
    };
    let mask = Mask::new(args.numbers)?;
    let headings = match args.rows {
        Rows::Calls => headings(COLUMNS),
        Rows::Legs => headings(LEG_COLUMNS),
    };
    let mut count = 0;
    let mut rows = |calls: Vec<CallRecord>, write: &mut dyn FnMut(&[Row]) -> Result<(), ExportError>| {
        let rows: Vec<Row> = match args.rows {
            Rows::Calls => calls.iter().map(|call| mask.row(COLUMNS, call)).collect(),
            Rows::Legs => reader.legs_of(&calls)?.iter().map(|leg| mask.row(LEG_COLUMNS, leg)).collect(),
        };
        count += rows.len();
        write(&rows)
    };
    match args.format {
        Format::Json => {
            let mut out = out;
            reader.each(filter, |calls| {
                rows(calls, &mut |rows| rows.iter().try_for_each(|row| Ok(json(&mut out, &headings, row)?)))
            })?;
            out.flush()?;
        }
        Format::Csv => {
            let mut out = csv::Csv::begin(out, &headings)?;
            reader.each(filter, |calls| rows(calls, &mut |rows| Ok(out.write(rows)?)))?;
            out.end()?;
        }
        Format::Parquet => {
            let mut out = parquet::Parquet::begin(out, &headings)?;
            reader.each(filter, |calls| rows(calls, &mut |rows| Ok(out.write(rows)?)))?;
            out.end()?;
        }
    }
    Ok(count)
}

/// The values of one call or leg, in the order of its columns.
type Row = Vec<Value>;

fn json(out: &mut impl Write, headings: &[Heading], row: &Row) -> io::Result<()> {
    let value = |value: &Value| match value {
        Value::Null => serde_json::Value::Null,
        Value::Integer(value) => (*value).into(),
        Value::Real(value) => (*value).into(),
        Value::Text(text) => text.as_str().into(),
    };
    let object: serde_json::Map<String, serde_json::Value> =
        headings.iter().zip(row).map(|((name, _), cell)| ((*name).to_owned(), value(cell))).collect();
    serde_json::to_writer(&mut *out, &object)?;
    out.write_all(b"\n")
}

/// Takes out what identifies people.
struct Mask {
    numbers: Numbers,
    /// Drawn for each export, so that nobody can try all numbers in advance or compare two exports.
    salt: [u8; 16],
}

impl Mask {
    fn new(numbers: Numbers) -> io::Result<Self> {
        let mut salt = [0; 16];
        io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut salt)?;
        Ok(Self { numbers, salt })
    }

    fn row<R>(&self, columns: &[Column<R>], record: &R) -> Row {
        columns.iter().map(|column| self.cell(column.name, (column.get)(record))).collect()
    }

    fn cell(&self, column: &str, value: Value) -> Value {
        let words = WORDS.contains(&column);
        if !words && !PERSONAL.contains(&column) {
            return value;
        }
        match (self.numbers, value) {
            (Numbers::Hash, Value::Text(_)) if words => Value::Text(String::new()),
            (Numbers::Full, value) => value,
            (Numbers::Hash, Value::Text(text)) if !text.is_empty() => {
                let digest = Sha256::new().chain_update(self.salt).chain_update(&text).finalize();
                Value::Text(crate::hex::hex(&digest[..8]))
            }
            (Numbers::Hash | Numbers::Redact, Value::Text(_)) => Value::Text(String::new()),
            (Numbers::Hash | Numbers::Redact, value) => value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use call::CallId;

    fn call(caller: &str) -> CallRecord {
        let mut record = CallRecord::new(CallId(1), Direction::Inbound, "id@host", 5);
        record.caller = caller.to_owned().into();
        record
    }

    fn caller(numbers: Numbers, of: &[&str]) -> Vec<Value> {
        let mask = Mask::new(numbers).expect("chance");
        let place = COLUMNS.iter().position(|column| column.name == "caller").expect("a column");
        of.iter().map(|number| mask.row(COLUMNS, &call(number))[place].clone()).collect()
    }

    #[test]
    fn numbers_are_left_out_unless_somebody_asks_for_them() {
        assert_eq!(caller(Numbers::Redact, &["+15550100"]), [Value::Text(String::new())]);
        assert_eq!(caller(Numbers::Full, &["+15550100"]), [Value::Text("+15550100".into())]);
        let hashed = caller(Numbers::Hash, &["+15550100", "+15550100", "+15550101"]);
        assert_eq!(hashed[0], hashed[1], "one caller can be told from another");
        assert_ne!(hashed[0], hashed[2]);
        assert_ne!(
            hashed,
            caller(Numbers::Hash, &["+15550100", "+15550100", "+15550101"]),
            "not in the next export"
        );
    }
}
