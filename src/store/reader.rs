//! Reads calls back, while they are running too; for the API and for `tandem trace`.
//! Knows SQL and never writes: it may run in another process than the server.

use super::{CallRecord, DATABASE_FILE, Direction, Quality, StoreError, TurnRecord, schema};
use crate::telemetry::{CallTrace, NumberedEvent, Pii};
use call::{CallId, Stamped};
use rusqlite::{Connection, OpenFlags, Row, ToSql, params};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Connections kept for the next question.
const IDLE: usize = 4;
/// Rows of one answer, whatever was asked for.
pub const MOST_CALLS: u32 = 1_000;
/// Events of one answer; a call of an hour has about as many.
pub const MOST_EVENTS: u32 = 50_000;

/// Which calls to list. Empty fields do not restrict.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallFilter {
    /// How many, newest first; at most [`MOST_CALLS`].
    pub limit: u32,
    /// Only calls that began before this time, in microseconds since the Unix epoch: for the next page.
    pub before_us: Option<i64>,
    /// The carrier's name of the call.
    pub sip_call_id: Option<String>,
    /// Inbound or outbound.
    pub direction: Option<Direction>,
    /// The agent that answered.
    pub agent: Option<String>,
    /// The trunk it came by.
    pub trunk: Option<String>,
    /// Why it ended.
    pub end_cause: Option<String>,
    /// Only running ones, or only ended ones.
    pub running: Option<bool>,
}

/// Events of a call, and how many of them this program could not read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Events {
    /// In order.
    pub events: Vec<NumberedEvent>,
    /// Written by another version, or damaged.
    pub unreadable: usize,
}

/// A way to read the store. Clones share their connections.
#[derive(Clone)]
pub struct Reader(Arc<Inner>);

struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Reader {
    /// Looks into a data directory.
    ///
    /// # Errors
    /// When there is no database in it, or it is damaged or too new.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let Ok(path) = directory.join(DATABASE_FILE).canonicalize() else {
            return Err(StoreError::Absent { path: directory.to_owned() });
        };
        let reader = Self(Arc::new(Inner { path, idle: Mutex::new(Vec::new()) }));
        if reader.with(|connection| schema::version(connection, &reader.0.path))?? == 0 {
            return Err(StoreError::Absent { path: directory.to_owned() });
        }
        Ok(reader)
    }

    /// Calls, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn calls(&self, filter: &CallFilter) -> Result<Vec<CallRecord>, StoreError> {
        let direction = filter.direction.map(Direction::name);
        let limit = filter.limit.min(MOST_CALLS);
        let mut wheres = Vec::new();
        let mut values: Vec<&dyn ToSql> = Vec::new();
        restrict(&mut wheres, &mut values, "invite_us < ?", &filter.before_us);
        restrict(&mut wheres, &mut values, "sip_call_id = ?", &filter.sip_call_id);
        restrict(&mut wheres, &mut values, "direction = ?", &direction);
        restrict(&mut wheres, &mut values, "agent = ?", &filter.agent);
        restrict(&mut wheres, &mut values, "trunk = ?", &filter.trunk);
        restrict(&mut wheres, &mut values, "end_cause = ?", &filter.end_cause);
        restrict(&mut wheres, &mut values, "(end_us IS NULL) = ?", &filter.running);
        let conditions =
            if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
        values.push(&limit);
        let sql = format!("SELECT * FROM calls {conditions} ORDER BY invite_us DESC, rowid DESC LIMIT ?");
        self.query(&sql, &values, call_record)
    }

    /// The call that is meant by its id or the first digits of it, by its SIP Call-ID, or by `last`.
    ///
    /// # Errors
    /// [`StoreError::Unknown`], [`StoreError::Ambiguous`], or when the database fails.
    pub fn call(&self, asked: &str) -> Result<CallRecord, StoreError> {
        let unknown = || StoreError::Unknown { asked: asked.to_owned() };
        if asked == "last" {
            return self.calls(&CallFilter { limit: 1, ..CallFilter::default() })?.pop().ok_or_else(unknown);
        }
        let by_sip = CallFilter { limit: 1, sip_call_id: Some(asked.to_owned()), ..CallFilter::default() };
        if let Some(record) = self.calls(&by_sip)?.pop() {
            return Ok(record);
        }
        let prefix = asked.to_ascii_lowercase();
        if prefix.is_empty() || prefix.len() > 16 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        // 'g' sorts after every hexadecimal digit.
        let upper = format!("{prefix}g");
        let sql = "SELECT * FROM calls WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 4";
        let mut found = self.query(sql, &[&prefix, &upper], call_record)?;
        if found.len() > 1 {
            let matches = found.iter().map(|record| record.call.to_string()).collect();
            return Err(StoreError::Ambiguous { asked: asked.to_owned(), matches });
        }
        found.pop().ok_or_else(unknown)
    }

    /// Events of a call after number `after` (0: from the start), at most `limit`.
    ///
    /// # Errors
    /// When the database fails.
    pub fn events(&self, call: CallId, after: u64, limit: u32) -> Result<Events, StoreError> {
        let sql = "SELECT seq, at_us, event FROM events WHERE call = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = self.query(sql, &[&call.to_string(), &after, &limit.min(MOST_EVENTS)], |row| {
            let (seq, at_us): (i64, i64) = (row.get(0)?, row.get(1)?);
            let event: String = row.get(2)?;
            let event = serde_json::from_str(&event).ok();
            Ok(event.map(|event| NumberedEvent {
                seq: seq.unsigned_abs(),
                stamped: Stamped { at_us: at_us.unsigned_abs(), event },
            }))
        })?;
        let unreadable = rows.iter().filter(|row| row.is_none()).count();
        Ok(Events { events: rows.into_iter().flatten().collect(), unreadable })
    }

    /// The turns of a call, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub fn turns(&self, call: CallId) -> Result<Vec<TurnRecord>, StoreError> {
        let sql = "SELECT turn, at_us, caller_text, reason, agent_text, interrupted, total_us, stages
            FROM turns WHERE call = ?1 ORDER BY turn";
        self.query(sql, &[&call.to_string()], turn_record)
    }

    /// Everything about one call; see [`Reader::call`] for what may be asked.
    ///
    /// # Errors
    /// As [`Reader::call`].
    pub fn trace(&self, asked: &str) -> Result<CallTrace, StoreError> {
        let record = self.call(asked)?;
        let Events { events, unreadable } = self.events(record.call, 0, MOST_EVENTS)?;
        let mut trace = CallTrace::from_events(Some(record), events);
        if unreadable > 0 {
            trace
                .warnings
                .push(format!("{unreadable} events were written by another version and are left out"));
        }
        Ok(trace)
    }

    fn query<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.query_map(values, row)?.collect::<rusqlite::Result<Vec<T>>>()
        })?
        .map_err(|error| StoreError::from_sqlite(&self.0.path, &error))
    }

    /// Lends a connection that nobody else is using.
    fn with<T>(&self, ask: impl FnOnce(&Connection) -> T) -> Result<T, StoreError> {
        let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.0.path)?,
        };
        let answer = ask(&connection);
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(connection);
        }
        Ok(answer)
    }
}

/// Adds a condition for a field of the filter that is set.
fn restrict<'a, T: ToSql>(
    wheres: &mut Vec<&'static str>,
    values: &mut Vec<&'a dyn ToSql>,
    condition: &'static str,
    field: &'a Option<T>,
) {
    if let Some(value) = field {
        wheres.push(condition);
        values.push(value);
    }
}

/// Opens read-only. Where even the index of the write-ahead log cannot be made (a directory that belongs to somebody
/// else, no server running), the file is read as it lies there.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let open = |query: &str| -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(uri(path, query), flags)?;
        connection.busy_timeout(Duration::from_secs(2))?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", params![], |_| Ok(()))?;
        Ok(connection)
    };
    open("mode=ro").or_else(|error| {
        let cannot = matches!(StoreError::from_sqlite(path, &error), StoreError::NotWritable { .. });
        let opened = if cannot { open("immutable=1") } else { Err(error) };
        opened.map_err(|error| StoreError::from_sqlite(path, &error))
    })
}

/// The path as SQLite wants it in a URI: with everything escaped that has a meaning there.
fn uri(path: &Path, query: &str) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{path}?{query}")
}

fn call_record(row: &Row<'_>) -> rusqlite::Result<CallRecord> {
    let id: String = row.get("id")?;
    let direction: String = row.get("direction")?;
    Ok(CallRecord {
        call: id.parse().map_err(|_| rusqlite::Error::InvalidColumnName(id))?,
        sip_call_id: row.get("sip_call_id")?,
        direction: Direction::from_name(&direction).unwrap_or(Direction::Inbound),
        trunk: row.get("trunk")?,
        agent: row.get("agent")?,
        caller: Pii::new(row.get("caller")?),
        called: Pii::new(row.get("called")?),
        invite_us: row.get("invite_us")?,
        answer_us: row.get("answer_us")?,
        end_us: row.get("end_us")?,
        end_cause: row.get("end_cause")?,
        sip_status: row.get("sip_status")?,
        port_slot: row.get("port_slot")?,
        concurrency: row.get("concurrency")?,
        codec: row.get("codec")?,
        turns: row.get("turns")?,
        barge_ins: row.get("barge_ins")?,
        quality: Quality {
            received: unsigned(row, "received")?,
            lost: unsigned(row, "lost")?,
            late: unsigned(row, "late")?,
            concealed: unsigned(row, "concealed")?,
            jitter_us: unsigned(row, "jitter_us")?,
            sent: unsigned(row, "sent")?,
            foreign: unsigned(row, "foreign_packets")?,
        },
        gap_p50_us: row.get::<_, Option<i64>>("gap_p50_us")?.map(i64::unsigned_abs),
        gap_max_us: row.get::<_, Option<i64>>("gap_max_us")?.map(i64::unsigned_abs),
    })
}

fn turn_record(row: &Row<'_>) -> rusqlite::Result<TurnRecord> {
    let stages: Option<String> = row.get("stages")?;
    Ok(TurnRecord {
        turn: row.get("turn")?,
        at_us: unsigned(row, "at_us")?,
        caller_text: row.get::<_, Option<String>>("caller_text")?.map(Pii::new),
        reason: row.get("reason")?,
        agent_text: row.get::<_, Option<String>>("agent_text")?.map(Pii::new),
        interrupted: row.get("interrupted")?,
        total_us: row.get::<_, Option<i64>>("total_us")?.map(i64::unsigned_abs),
        stages: stages.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default(),
    })
}

fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.unsigned_abs())
}
