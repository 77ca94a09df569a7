//! Reads calls back, while they are running too; for the API and for `tandem trace`.
//! Knows SQL and never writes: it may run in another process than the server.

use super::{
    COLUMNS, CallRecord, DatabaseUrl, Direction, Field, LEG_COLUMNS, LegRecord, StoreError, TurnRecord,
    Value, column,
    database::{self, Database, Row},
};
use crate::report::Gap;
use crate::telemetry::{CallTrace, NumberedEvent};
use call::{CallId, Stamped};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
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
    /// Only calls that began at this time or later.
    pub since_us: Option<i64>,
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
    /// Who called or was called.
    pub number: Option<String>,
    /// Only calls with a response gap of at least so long, in microseconds.
    pub slower_than_us: Option<i64>,
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
    url: DatabaseUrl,
    directory: PathBuf,
    idle: Mutex<Vec<Box<dyn Database>>>,
}

impl Reader {
    /// Looks into a data directory.
    ///
    /// # Errors
    /// When there is no database in it, or it is damaged or too new.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        Self::of(directory, &DatabaseUrl::Sqlite)
    }

    /// Looks into a data directory, or asks the server that its calls are kept in.
    ///
    /// # Errors
    /// When there is no database, or it is damaged or too new, or does not answer.
    pub fn of(directory: &Path, url: &DatabaseUrl) -> Result<Self, StoreError> {
        let (url, directory) = (url.clone(), directory.to_owned());
        let first = database::open_reader(&url, &directory)?;
        Ok(Self(Arc::new(Inner { url, directory, idle: Mutex::new(vec![first]) })))
    }

    /// A way to read what may not answer yet: each question connects by itself.
    pub(super) fn later(directory: &Path, url: &DatabaseUrl) -> Self {
        let (url, directory) = (url.clone(), directory.to_owned());
        Self(Arc::new(Inner { url, directory, idle: Mutex::default() }))
    }

    /// Calls, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub fn calls(&self, filter: &CallFilter) -> Result<Vec<CallRecord>, StoreError> {
        let mut wheres = Vec::new();
        let mut values = Vec::new();
        restrict(&mut wheres, &mut values, "invite_us <", &filter.before_us);
        restrict(&mut wheres, &mut values, "invite_us >=", &filter.since_us);
        restrict(&mut wheres, &mut values, "sip_call_id =", &filter.sip_call_id);
        restrict(&mut wheres, &mut values, "direction =", &filter.direction);
        restrict(&mut wheres, &mut values, "agent =", &filter.agent);
        restrict(&mut wheres, &mut values, "trunk =", &filter.trunk);
        restrict(&mut wheres, &mut values, "end_cause =", &filter.end_cause);
        restrict(&mut wheres, &mut values, "gap_max_us >=", &filter.slower_than_us);
        if let Some(number) = &filter.number {
            values.push(number.to_value());
            wheres.push(format!("?{} IN (caller, called)", values.len()));
        }
        wheres.extend(filter.running.map(|running| match running {
            true => "end_us IS NULL".to_owned(),
            false => "end_us IS NOT NULL".to_owned(),
        }));
        let conditions =
            if wheres.is_empty() { String::new() } else { format!("WHERE {}", wheres.join(" AND ")) };
        values.push(filter.limit.min(MOST_CALLS).to_value());
        let limit = values.len();
        let order = "ORDER BY invite_us DESC, id DESC";
        let sql = format!("SELECT {} FROM calls {conditions} {order} LIMIT ?{limit}", columns());
        self.query(&sql, &values, |row| CallRecord::from_row(&row))
    }

    /// Every call of a filter, oldest first, a page at a time: `take` gets each page and says whether to go on.
    ///
    /// # Errors
    /// When the database fails, or `take` does.
    pub fn each<E: From<StoreError>>(
        &self,
        filter: &CallFilter,
        mut take: impl FnMut(Vec<CallRecord>) -> Result<(), E>,
    ) -> Result<(), E> {
        // Newest first is what the index and the pages are for; a page cannot end among calls of one microsecond, or
        // some of them would be missed.
        let mut pages = Vec::new();
        let mut page = CallFilter { limit: MOST_CALLS, ..filter.clone() };
        loop {
            let mut calls = self.calls(&page)?;
            let full = calls.len() >= MOST_CALLS as usize;
            let last = calls.last().map(|call| call.invite_us);
            if let Some(last) = last.filter(|last| full && calls[0].invite_us > *last) {
                calls.retain(|call| call.invite_us > last);
                page.before_us = Some(last.saturating_add(1));
            }
            pages.push(calls.into_iter().rev().collect::<Vec<_>>());
            if !full {
                break;
            }
        }
        pages.into_iter().rev().filter(|page| !page.is_empty()).try_for_each(&mut take)
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
        let sql = format!("SELECT {} FROM calls WHERE id >= ?1 AND id < ?2 ORDER BY id LIMIT 4", columns());
        let values = [prefix.to_value(), upper.to_value()];
        let mut found = self.query(&sql, &values, |row| CallRecord::from_row(&row))?;
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
        let values = [call.to_value(), after.to_value(), limit.min(MOST_EVENTS).to_value()];
        let rows = self.query(sql, &values, |row| {
            let [seq, at_us, event] = row.as_slice() else { return None };
            let event = event.text().and_then(|event| serde_json::from_str(event).ok());
            let (seq, at_us) = (u64::from_value(seq)?, u64::from_value(at_us)?);
            Some(event.map(|event| NumberedEvent { seq, stamped: Stamped { at_us, event } }))
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
        self.query(sql, &[call.to_value()], |row| turn_record(&row))
    }

    /// The legs of a call, in order; those of a running call are not known yet.
    ///
    /// # Errors
    /// When the database fails.
    pub fn legs(&self, call: CallId) -> Result<Vec<LegRecord>, StoreError> {
        let sql = format!("SELECT {} FROM legs WHERE call = ?1 ORDER BY leg", column::names(LEG_COLUMNS));
        self.query(&sql, &[call.to_value()], |row| LegRecord::from_row(&row))
    }

    /// The legs of calls, in the order of the calls; a running call has its first leg so far.
    ///
    /// # Errors
    /// When the database fails.
    pub fn legs_of(&self, calls: &[CallRecord]) -> Result<Vec<LegRecord>, StoreError> {
        let (Some(from), Some(to)) =
            (calls.iter().map(|call| call.invite_us).min(), calls.iter().map(|call| call.invite_us).max())
        else {
            return Ok(Vec::new());
        };
        let names = column::names(LEG_COLUMNS);
        let sql = format!(
            "SELECT {names} FROM legs WHERE call IN
                (SELECT id FROM calls WHERE invite_us >= ?1 AND invite_us <= ?2) ORDER BY call, leg"
        );
        let mut by_call: BTreeMap<CallId, Vec<LegRecord>> = BTreeMap::new();
        for leg in self.query(&sql, &[from.to_value(), to.to_value()], |row| LegRecord::from_row(&row))? {
            by_call.entry(leg.call).or_default().push(leg);
        }
        let known = |call: &CallRecord| by_call.remove(&call.call).unwrap_or_else(|| call.legs().collect());
        Ok(calls.iter().flat_map(known).collect())
    }

    /// Everything about one call; see [`Reader::call`] for what may be asked.
    ///
    /// # Errors
    /// As [`Reader::call`].
    pub fn trace(&self, asked: &str) -> Result<CallTrace, StoreError> {
        let mut record = self.call(asked)?;
        record.other_legs = self.legs(record.call)?.into_iter().filter(|leg| leg.leg > 0).collect();
        let Events { events, unreadable } = self.events(record.call, 0, MOST_EVENTS)?;
        let mut trace = CallTrace::from_events(Some(record), events);
        if unreadable > 0 {
            trace
                .warnings
                .push(format!("{unreadable} events were written by another version and are left out"));
        }
        Ok(trace)
    }

    /// The response gaps of the turns of calls that began in a period, with how full the server was when each began.
    ///
    /// # Errors
    /// When the database fails.
    pub fn gaps(
        &self,
        since_us: i64,
        until_us: i64,
        trunk: Option<&str>,
        agent: Option<&str>,
    ) -> Result<Vec<Gap>, StoreError> {
        let (mut wheres, mut values) = (Vec::new(), Vec::new());
        restrict(&mut wheres, &mut values, "calls.invite_us >=", &Some(since_us));
        restrict(&mut wheres, &mut values, "calls.invite_us <", &Some(until_us));
        restrict(&mut wheres, &mut values, "calls.trunk =", &trunk.map(str::to_owned));
        restrict(&mut wheres, &mut values, "calls.agent =", &agent.map(str::to_owned));
        let sql = format!(
            "SELECT turns.total_us, calls.concurrency, calls.capacity FROM turns JOIN calls ON calls.id = turns.call
            WHERE {} AND turns.total_us IS NOT NULL AND calls.concurrency IS NOT NULL AND calls.capacity IS NOT NULL",
            wheres.join(" AND ")
        );
        self.query(&sql, &values, |row| {
            let [us, concurrency, capacity] = row.as_slice() else { return None };
            let (us, concurrency) = (u64::from_value(us)?, u32::from_value(concurrency)?);
            Some(Gap { us, concurrency, capacity: u32::from_value(capacity)? })
        })
    }

    fn query<T>(
        &self,
        sql: &str,
        values: &[Value],
        mut read: impl FnMut(Row) -> Option<T>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.rows(sql, values)?;
        let unreadable = || StoreError::Corrupt {
            path: database::name(&self.0.url, &self.0.directory),
            reason: "a row makes no sense".to_owned(),
        };
        rows.into_iter().map(|row| read(row).ok_or_else(unreadable)).collect()
    }

    /// Asks on a connection that nobody else is using. One that was lost meanwhile is replaced once.
    fn rows(&self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(mut database) = idle {
            match database.query(sql, values) {
                Err(StoreError::Unreachable { .. }) => {}
                answer => {
                    self.keep(database);
                    return answer;
                }
            }
        }
        let mut database = database::open_reader(&self.0.url, &self.0.directory)?;
        let answer = database.query(sql, values)?;
        self.keep(database);
        Ok(answer)
    }

    fn keep(&self, database: Box<dyn Database>) {
        let mut idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(database);
        }
    }
}

/// The columns of a record, as they are asked for.
fn columns() -> String {
    column::names(COLUMNS)
}

/// Adds a condition for a field of the filter that is set.
fn restrict<T: Field>(wheres: &mut Vec<String>, values: &mut Vec<Value>, condition: &str, field: &Option<T>) {
    if let Some(value) = field {
        values.push(value.to_value());
        wheres.push(format!("{condition} ?{}", values.len()));
    }
}

fn turn_record(row: &[Value]) -> Option<TurnRecord> {
    let [turn, at_us, caller_text, reason, agent_text, interrupted, total_us, stages] = row else {
        return None;
    };
    Some(TurnRecord {
        turn: Field::from_value(turn)?,
        at_us: Field::from_value(at_us)?,
        caller_text: Field::from_value(caller_text)?,
        reason: Field::from_value(reason)?,
        agent_text: Field::from_value(agent_text)?,
        interrupted: Field::from_value(interrupted)?,
        total_us: Field::from_value(total_us)?,
        stages: stages.text().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default(),
    })
}
