//! What is still to be told to whom: a SQLite file of its own, so that no other database holds it up.
//! Knows deliveries and their order. Sends nothing.

use super::NewDelivery;
use crate::store::Mark;
use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, named_params, params};
use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The file's name in the data directory.
pub(super) const OUTBOX_FILE: &str = "outbox.sqlite";
/// Events of one endpoint that wait; beyond that the oldest is given up, counted, and stays for a replay.
const MOST_WAITING: u32 = 100_000;
/// Events posted at once.
const AT_ONCE: u32 = 16;
/// The first pause after a failure; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// How long what was delivered stays, for a replay.
const KEEP_DELIVERED: Duration = Duration::from_secs(7 * 86_400);
/// How long what was given up stays.
const KEEP_DEAD: Duration = Duration::from_secs(30 * 86_400);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS deliveries (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    hook TEXT NOT NULL,
    event TEXT NOT NULL,
    call TEXT NOT NULL,
    body TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    since_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_us INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting',
    reason TEXT,
    UNIQUE (hook, event)
) STRICT;
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (hook, state, next_us);
CREATE INDEX IF NOT EXISTS deliveries_of_call ON deliveries (hook, call, number);
CREATE TABLE IF NOT EXISTS marks (hook TEXT PRIMARY KEY, segment INTEGER NOT NULL, byte INTEGER NOT NULL) STRICT;
";

/// Why an outbox fails.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The file.
    #[error("the webhooks' outbox {} fails: {error}", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        error: rusqlite::Error,
    },
    /// The journal cannot be read.
    #[error("the journal cannot be read: {0}")]
    Journal(io::Error),
    /// The HTTP client cannot be made.
    #[error("webhooks cannot be sent: {0}")]
    Client(io::Error),
    /// No thread.
    #[error("no thread for webhooks: {0}")]
    Thread(io::Error),
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is to be delivered, perhaps again.
    Waiting,
    /// The endpoint has it.
    Delivered,
    /// It was given up.
    Dead,
}

impl State {
    /// As stored, shown and counted.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

/// One event for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Its number, in the order of the journal.
    pub number: i64,
    /// The endpoint.
    pub hook: String,
    /// The event's name.
    pub event: String,
    /// When it was put into the outbox, in microseconds since the Unix epoch.
    pub created_us: i64,
    /// How often it was tried.
    pub attempts: u32,
    /// How it stands.
    pub state: State,
    /// Why it failed the last time.
    pub reason: Option<String>,
    /// What is posted. Holds the caller's data.
    pub(super) body: String,
    since_us: i64,
}

/// Which deliveries are to be sent again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Only of this endpoint.
    pub hook: Option<String>,
    /// Only of this call.
    pub call: Option<String>,
    /// Only those put into the outbox since then, in microseconds since the Unix epoch.
    pub since_us: Option<i64>,
    /// Those that were delivered, too.
    pub delivered: bool,
}

/// The outbox, open.
pub struct Outbox {
    connection: Connection,
    path: PathBuf,
}

impl Outbox {
    /// Opens or makes the file. Several may have it open at the same time.
    ///
    /// # Errors
    /// When that is impossible.
    pub fn open(directory: &Path) -> Result<Self, OutboxError> {
        let path = directory.join(OUTBOX_FILE);
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(Duration::from_secs(5))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let connection = open().map_err(|error| OutboxError::Database { path: path.clone(), error })?;
        Ok(Self { connection, path })
    }

    fn ask<T>(&mut self, ask: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, OutboxError> {
        ask(&mut self.connection).map_err(|error| OutboxError::Database { path: self.path.clone(), error })
    }

    /// How far an endpoint has come in the journal.
    pub(super) fn mark(&self, hook: &str) -> Result<Option<Mark>, OutboxError> {
        let sql = "SELECT segment, byte FROM marks WHERE hook = ?1";
        let unsigned = |row: &Row<'_>, column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        self.connection
            .query_row(sql, [hook], |row| Ok(Mark { segment: unsigned(row, 0)?, byte: unsigned(row, 1)? }))
            .optional()
            .map_err(|error| OutboxError::Database { path: self.path.clone(), error })
    }

    pub(super) fn set_mark(&mut self, hook: &str, mark: Mark) -> Result<(), OutboxError> {
        self.add(hook, &[], mark).map(|_| ())
    }

    /// Takes events in, once each, together with how far the journal has been read. Says how many had to be given up to
    /// make room.
    pub(super) fn add(&mut self, hook: &str, new: &[NewDelivery], mark: Mark) -> Result<u64, OutboxError> {
        let now = unix_us();
        self.ask(|connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for delivery in new {
                transaction.prepare_cached(ADD)?.execute(named_params! {
                    ":hook": hook, ":event": delivery.event, ":call": delivery.call, ":body": delivery.body,
                    ":now": now,
                })?;
            }
            let (segment, byte) = (signed(mark.segment), signed(mark.byte));
            transaction.prepare_cached(SET_MARK)?.execute(params![hook, segment, byte])?;
            let given_up = if new.is_empty() {
                0
            } else {
                transaction.prepare_cached(GIVE_UP_OLDEST)?.execute(params![hook, MOST_WAITING])?
            };
            transaction.commit()?;
            Ok(given_up as u64)
        })
    }

    /// What is to be posted now: of each call only its first event that is not delivered, so that they stay in order.
    pub(super) fn due(&mut self, hook: &str) -> Result<Vec<Delivery>, OutboxError> {
        let now = unix_us();
        self.ask(|connection| {
            let delivered = now - micros(KEEP_DELIVERED);
            let dead = now - micros(KEEP_DEAD);
            connection.prepare_cached(EXPIRE)?.execute(params![hook, delivered, dead])?;
            let mut due = connection.prepare_cached(DUE)?;
            due.query_map(params![hook, now, AT_ONCE], delivery)?.collect()
        })
    }

    /// Writes down what came of a delivery, and when to try again.
    pub(super) fn settle(
        &mut self,
        delivery: &Delivery,
        outcome: &Result<(), String>,
        give_up_after: Duration,
    ) -> Result<State, OutboxError> {
        let now = unix_us();
        let state = match outcome {
            Ok(()) => State::Delivered,
            Err(_) if now - delivery.since_us >= micros(give_up_after) => State::Dead,
            Err(_) => State::Waiting,
        };
        let next = now + micros(pause(delivery.attempts));
        let reason = outcome.as_ref().err();
        self.ask(|connection| {
            connection.prepare_cached(SETTLE)?.execute(params![delivery.number, state.name(), next, reason])
        })?;
        Ok(state)
    }

    /// Puts deliveries back to be sent again, in their order. Says how many.
    ///
    /// # Errors
    /// When the file fails.
    pub fn replay(&mut self, replay: &Replay) -> Result<usize, OutboxError> {
        let now = unix_us();
        self.ask(|connection| {
            connection.prepare_cached(REPLAY)?.execute(named_params! {
                ":now": now, ":hook": replay.hook, ":call": replay.call, ":since": replay.since_us,
                ":delivered": replay.delivered,
            })
        })
    }

    /// The newest deliveries, at most `limit`; with what happened to each.
    ///
    /// # Errors
    /// When the file fails.
    pub fn list(&mut self, hook: Option<&str>, limit: u32) -> Result<Vec<Delivery>, OutboxError> {
        self.ask(|connection| {
            let mut list = connection.prepare_cached(LIST)?;
            list.query_map(params![hook, limit], delivery)?.collect()
        })
    }
}

/// Twice as long after each failure.
fn pause(attempts: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << attempts.min(20)).min(LONGEST_PAUSE)
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    let state: String = row.get("state")?;
    let states = [State::Waiting, State::Delivered, State::Dead];
    Ok(Delivery {
        number: row.get("number")?,
        hook: row.get("hook")?,
        event: row.get("event")?,
        created_us: row.get("created_us")?,
        attempts: row.get("attempts")?,
        state: states.into_iter().find(|one| one.name() == state).unwrap_or(State::Waiting),
        reason: row.get("reason")?,
        body: row.get("body")?,
        since_us: row.get("since_us")?,
    })
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn unix_us() -> i64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

const ADD: &str = "
INSERT INTO deliveries (hook, event, call, body, created_us, since_us, next_us)
VALUES (:hook, :event, :call, :body, :now, :now, :now) ON CONFLICT (hook, event) DO NOTHING";
const SET_MARK: &str = "INSERT OR REPLACE INTO marks (hook, segment, byte) VALUES (?1, ?2, ?3)";
const GIVE_UP_OLDEST: &str = "
UPDATE deliveries SET state = 'dead', reason = 'too many were waiting' WHERE number IN (
    SELECT number FROM deliveries WHERE hook = ?1 AND state = 'waiting' ORDER BY number DESC LIMIT -1 OFFSET ?2)";
const DUE: &str = "
SELECT * FROM deliveries AS one WHERE hook = ?1 AND state = 'waiting' AND next_us <= ?2
    AND NOT EXISTS (SELECT 1 FROM deliveries AS other WHERE other.hook = one.hook AND other.call = one.call
        AND other.number < one.number AND other.state = 'waiting')
ORDER BY next_us LIMIT ?3";
const SETTLE: &str =
    "UPDATE deliveries SET state = ?2, next_us = ?3, reason = ?4, attempts = attempts + 1 WHERE number = ?1";
const EXPIRE: &str = "
DELETE FROM deliveries WHERE hook = ?1
    AND ((state = 'delivered' AND created_us < ?2) OR (state = 'dead' AND created_us < ?3))";
const REPLAY: &str = "
UPDATE deliveries SET state = 'waiting', attempts = 0, next_us = :now, since_us = :now
WHERE (state = 'dead' OR (:delivered AND state = 'delivered')) AND (:hook IS NULL OR hook = :hook)
    AND (:call IS NULL OR call = :call) AND (:since IS NULL OR created_us >= :since)";
const LIST: &str = "SELECT * FROM deliveries WHERE (?1 IS NULL OR hook = ?1) ORDER BY number DESC LIMIT ?2";
