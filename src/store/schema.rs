//! The tables, and how an older database becomes a newer one.
//! Knows SQL. Each step is applied once, in order, inside a transaction, and is never edited after a release.

use super::StoreError;
use rusqlite::Connection;
use std::path::Path;

/// One step per version; `PRAGMA user_version` counts those that were applied.
const MIGRATIONS: &[&str] = &["
CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    sip_call_id TEXT NOT NULL,
    direction TEXT NOT NULL,
    trunk TEXT,
    agent TEXT,
    caller TEXT NOT NULL,
    called TEXT NOT NULL,
    invite_us INTEGER NOT NULL,
    answer_us INTEGER,
    end_us INTEGER,
    end_cause TEXT,
    sip_status INTEGER,
    port_slot INTEGER,
    concurrency INTEGER,
    codec TEXT,
    turns INTEGER NOT NULL,
    barge_ins INTEGER NOT NULL,
    received INTEGER NOT NULL,
    lost INTEGER NOT NULL,
    late INTEGER NOT NULL,
    concealed INTEGER NOT NULL,
    jitter_us INTEGER NOT NULL,
    sent INTEGER NOT NULL,
    foreign_packets INTEGER NOT NULL,
    gap_p50_us INTEGER,
    gap_max_us INTEGER,
    has_trace INTEGER NOT NULL DEFAULT 1
) STRICT;
CREATE INDEX calls_by_time ON calls (invite_us);
CREATE INDEX calls_with_trace ON calls (invite_us) WHERE has_trace;
CREATE INDEX calls_by_sip_call_id ON calls (sip_call_id);
CREATE TABLE turns (
    call TEXT NOT NULL,
    turn INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    caller_text TEXT,
    reason TEXT,
    agent_text TEXT,
    interrupted INTEGER NOT NULL DEFAULT 0,
    total_us INTEGER,
    stages TEXT,
    PRIMARY KEY (call, turn)
) STRICT, WITHOUT ROWID;
CREATE TABLE events (
    call TEXT NOT NULL,
    seq INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    event TEXT NOT NULL,
    PRIMARY KEY (call, seq)
) STRICT, WITHOUT ROWID;
"];

/// The version this program writes.
pub(super) const VERSION: usize = MIGRATIONS.len();

/// Beyond this size the whole database is not checked at start: readiness must not wait for it.
const FULL_CHECK_BYTES: u64 = 64 << 20;

/// Brings a database to [`VERSION`], having made sure that it is one.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(connection, path)?;
    check(connection, path)?;
    for (applied, step) in MIGRATIONS.iter().enumerate().skip(found) {
        let transaction = connection.transaction().map_err(|error| StoreError::from_sqlite(path, &error))?;
        transaction
            .execute_batch(step)
            .and_then(|()| transaction.pragma_update(None, "user_version", version_number(applied + 1)))
            .and_then(|()| transaction.commit())
            .map_err(|error| StoreError::from_sqlite(path, &error))?;
    }
    Ok(())
}

/// The version a database is at; refuses one that a newer program wrote.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let found: i64 = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    match usize::try_from(found) {
        Ok(found) if found <= VERSION => Ok(found),
        Ok(found) => Err(StoreError::Newer { path: path.to_owned(), found, ours: VERSION }),
        Err(_) => Err(StoreError::Corrupt { path: path.to_owned(), reason: format!("version {found}") }),
    }
}

fn version_number(version: usize) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let size = std::fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    if size > FULL_CHECK_BYTES {
        return Ok(());
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| StoreError::from_sqlite(path, &error))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(StoreError::Corrupt { path: path.to_owned(), reason: verdict })
}
