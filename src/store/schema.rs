//! The tables, and how an older database becomes a newer one.
//! Knows SQL. Each step is applied once, in order, inside a transaction, and is never edited after a release. The steps
//! are written for SQLite; PostgreSQL gets the same with its own names of the types.

use super::{
    StoreError, Value,
    database::{Database, Statement},
    postgres::Postgres,
};
use rusqlite::Connection;
use std::path::Path;

/// One step per version; `PRAGMA user_version`, or the table `tandem_schema`, counts those that were applied.
const MIGRATIONS: &[&str] = &[
    "
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
",
    "
ALTER TABLE calls ADD COLUMN node TEXT;
ALTER TABLE calls ADD COLUMN capacity INTEGER;
ALTER TABLE calls ADD COLUMN ring_us INTEGER;
ALTER TABLE calls ADD COLUMN hangup_party TEXT;
ALTER TABLE calls ADD COLUMN q850_cause INTEGER;
ALTER TABLE calls ADD COLUMN fallbacks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN gap_p95_us INTEGER;
ALTER TABLE calls ADD COLUMN tools INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN tools_failed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN tool_us INTEGER NOT NULL DEFAULT 0;
CREATE TABLE journal_positions (
    node TEXT PRIMARY KEY,
    segment INTEGER NOT NULL,
    byte INTEGER NOT NULL
) STRICT;
",
    "
ALTER TABLE calls ADD COLUMN recovered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN rtt_us INTEGER;
ALTER TABLE calls ADD COLUMN remote_lost INTEGER;
ALTER TABLE calls ADD COLUMN remote_jitter_us INTEGER;
ALTER TABLE calls ADD COLUMN mos_in REAL;
ALTER TABLE calls ADD COLUMN mos_in_min REAL;
ALTER TABLE calls ADD COLUMN mos_out REAL;
ALTER TABLE calls ADD COLUMN mos_out_min REAL;
",
    "
ALTER TABLE calls ADD COLUMN input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN tts_characters INTEGER NOT NULL DEFAULT 0;
ALTER TABLE calls ADD COLUMN cost_currency TEXT;
ALTER TABLE calls ADD COLUMN cost_stt REAL;
ALTER TABLE calls ADD COLUMN cost_llm REAL;
ALTER TABLE calls ADD COLUMN cost_tts REAL;
ALTER TABLE calls ADD COLUMN cost_telephony REAL;
ALTER TABLE calls ADD COLUMN cost_total REAL;
",
    "
ALTER TABLE calls ADD COLUMN trace_id TEXT;
ALTER TABLE calls ADD COLUMN agent_name TEXT;
ALTER TABLE calls ADD COLUMN agent_version TEXT;
ALTER TABLE calls ADD COLUMN pool TEXT;
ALTER TABLE calls ADD COLUMN overflowed_from TEXT;
ALTER TABLE calls ADD COLUMN pool_level TEXT;
ALTER TABLE calls ADD COLUMN load_band TEXT;
ALTER TABLE calls ADD COLUMN transfer_to TEXT;
ALTER TABLE calls ADD COLUMN transfer_status TEXT;
ALTER TABLE calls ADD COLUMN recording TEXT;
ALTER TABLE calls ADD COLUMN recording_state TEXT;
ALTER TABLE calls ADD COLUMN recording_consent TEXT;
ALTER TABLE calls ADD COLUMN notes TEXT;
CREATE TABLE legs (
    call TEXT NOT NULL,
    leg INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    direction TEXT NOT NULL,
    trunk TEXT,
    peer TEXT NOT NULL,
    sip_call_id TEXT,
    begin_us INTEGER NOT NULL,
    ring_us INTEGER,
    answer_us INTEGER,
    end_us INTEGER,
    end_cause TEXT,
    sip_status INTEGER,
    q850_cause INTEGER,
    PRIMARY KEY (call, leg)
) STRICT, WITHOUT ROWID;
INSERT INTO legs
    SELECT id, 0, 'call', direction, trunk, CASE direction WHEN 'inbound' THEN caller ELSE called END, sip_call_id,
        invite_us, ring_us, answer_us, end_us, end_cause, sip_status, q850_cause
    FROM calls WHERE end_us IS NOT NULL;
",
    "
ALTER TABLE calls ADD COLUMN language TEXT;
",
];

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

/// The lock that keeps two servers from migrating one database at the same time; any number does.
const MIGRATION_LOCK: i64 = 0x7461_6e64;

/// The same for PostgreSQL, where several servers may share the database.
pub(super) fn migrate_postgres(database: &mut Postgres) -> Result<(), StoreError> {
    let table = "CREATE TABLE IF NOT EXISTS tandem_schema (version BIGINT PRIMARY KEY)";
    let lock = || Statement::new("SELECT pg_advisory_xact_lock(?1)", vec![Value::Integer(MIGRATION_LOCK)]);
    // Even "if not exists" fails when two do it at once: hence the lock.
    database.transact_in_order(&[lock(), Statement::new(table, Vec::new())])?;
    loop {
        let found = check_postgres(database)?;
        let Some(step) = MIGRATIONS.get(found) else { return Ok(()) };
        let mut statements = vec![lock()];
        let applied = Value::Integer(version_number(found + 1));
        // Fails, and takes the step back with it, if another server was faster.
        statements.push(Statement::new("INSERT INTO tandem_schema (version) VALUES (?1)", vec![applied]));
        let parts = step.split(';').map(str::trim).filter(|part| !part.is_empty());
        statements.extend(parts.map(|part| Statement::new(postgres_types(part), Vec::new())));
        if let Err(error) = database.transact_in_order(&statements)
            && check_postgres(database)? == found
        {
            return Err(error);
        }
    }
}

/// The version a PostgreSQL database is at; refuses one that a newer program wrote.
pub(super) fn check_postgres(database: &mut Postgres) -> Result<usize, StoreError> {
    let rows = database.query("SELECT coalesce(max(version), 0) FROM tandem_schema", &[])?;
    let found = rows.first().and_then(|row| row.first()).and_then(Value::integer).unwrap_or(0);
    match usize::try_from(found) {
        Ok(found) if found <= VERSION => Ok(found),
        Ok(found) => Err(StoreError::Newer { path: database.name().to_owned(), found, ours: VERSION }),
        Err(_) => {
            Err(StoreError::Corrupt { path: database.name().to_owned(), reason: format!("version {found}") })
        }
    }
}

fn postgres_types(sql: &str) -> String {
    sql.replace(" INTEGER", " BIGINT")
        .replace(" REAL", " DOUBLE PRECISION")
        .replace(") STRICT, WITHOUT ROWID", ")")
        .replace(") STRICT", ")")
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
