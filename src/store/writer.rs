//! The one thread that writes to the database: batches, the spool, recovery after a crash, retention.
//! Knows SQL and the disk's moods. Knows no call; it may take its time.

use super::{
    CRASHED, CallRecord, DATABASE_FILE, Direction, Message, SPOOL_FILE, SharedSpool, StoreConfig, StoreError,
    schema, spool_record,
};
use crate::telemetry::Metrics;
use call::{CallId, Event, Stamped};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, named_params, params};
use std::{
    path::PathBuf,
    sync::{
        PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// From the first message of a batch to its commit: short enough that a follower does not notice.
const BATCH: Duration = Duration::from_millis(25);
/// How often a batch that is being gathered is added to.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Messages of one batch, which bounds how long its transaction takes.
const BATCH_MESSAGES: usize = 1_024;
/// Between two looks at the spool and at what is too old.
const UPKEEP: Duration = Duration::from_secs(1);
/// Calls whose traces are deleted in one go: the writer is never busy with it for long.
const EXPIRE_CALLS: u32 = 200;
/// Between two looks at what is too old.
const EXPIRE: Duration = Duration::from_secs(10);
/// How long a lock held by somebody else is waited for.
const BUSY: Duration = Duration::from_secs(1);
/// Between two log lines about the same trouble.
const COMPLAIN: Duration = Duration::from_secs(10);

/// Opens the database for writing and migrates it.
pub(super) fn connect(config: &StoreConfig) -> Result<Connection, StoreError> {
    let path = config.directory.join(DATABASE_FILE);
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(&path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        if let Some(limit) = config.size_limit {
            let page: u64 =
                connection.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.unsigned_abs();
            let pages = i64::try_from(limit / page.max(1)).unwrap_or(i64::MAX);
            connection.query_row(&format!("PRAGMA max_page_count={pages}"), [], |_| Ok(()))?;
        }
        Ok(connection)
    };
    let mut connection = open().map_err(|error| StoreError::from_sqlite(&path, &error))?;
    schema::migrate(&mut connection, &path)?;
    Ok(connection)
}

pub(super) struct Writer {
    config: StoreConfig,
    path: PathBuf,
    connection: Connection,
    spool: SharedSpool,
    metrics: Metrics,
    upkeep: Instant,
    expired: Option<Instant>,
    /// Until the calls of earlier runs have been closed: when this one started.
    started_us: Option<i64>,
    complained: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        config: StoreConfig,
        connection: Connection,
        spool: SharedSpool,
        metrics: Metrics,
    ) -> Self {
        let path = config.directory.join(DATABASE_FILE);
        Self {
            config,
            path,
            connection,
            spool,
            metrics,
            upkeep: Instant::now(),
            expired: None,
            started_us: Some(unix_us()),
            complained: None,
        }
    }

    /// Looks after everything that is not a message: what the last run left (records in the spool, calls that it never
    /// saw the end of), what waits in the spool now, and what is too old. What fails is tried again a second later.
    pub(super) fn keep_up(&mut self) {
        self.upkeep = Instant::now();
        if let Err(error) = self.replay().and_then(|()| self.close_crashed()).and_then(|()| self.expire()) {
            self.complain(&error);
        }
    }

    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut batch = Vec::new();
        loop {
            let closing = collect(messages, &mut batch);
            self.write(&mut batch);
            if self.upkeep.elapsed() >= UPKEEP || closing {
                self.keep_up();
            }
            if closing {
                return;
            }
        }
    }

    /// Writes a batch in one transaction. If the database does not take it, the call records in it go to the spool and
    /// the rest is dropped and counted.
    fn write(&mut self, batch: &mut Vec<Message>) {
        if batch.is_empty() {
            return;
        }
        if let Err(error) = self.commit(batch) {
            self.complain(&error);
            let mut dropped = 0;
            for message in batch.iter() {
                match message {
                    Message::End(record) => spool_record(&self.spool, record, &self.metrics),
                    Message::Begin(_) | Message::Event(..) => dropped += 1,
                    Message::Flush(_) | Message::Close => {}
                }
            }
            self.metrics.queue_dropped("store", dropped);
        }
        for message in batch.drain(..) {
            if let Message::Flush(done) = message {
                acknowledge(&done);
            }
        }
    }

    fn commit(&mut self, batch: &[Message]) -> rusqlite::Result<()> {
        // A call record is on the disk itself when it is committed; events may be lost with the power.
        let durable = batch.iter().any(|message| matches!(message, Message::End(_)));
        self.connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for message in batch {
            match message {
                Message::Begin(record) => put_call(&transaction, record, PUT_RUNNING)?,
                Message::End(record) => put_call(&transaction, record, PUT_ENDED)?,
                Message::Event(call, seq, stamped) => put_event(&transaction, *call, *seq, stamped)?,
                Message::Flush(_) | Message::Close => {}
            }
        }
        transaction.commit()
    }

    /// Moves the spool into the database. Records name their call, so doing it twice changes nothing.
    fn replay(&mut self) -> Result<(), StoreError> {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        if spool.is_empty() {
            return Ok(());
        }
        let (connection, path) = (&mut self.connection, &self.path);
        let replayed = spool.replay(|records| {
            let mut put_all = || -> rusqlite::Result<()> {
                connection.pragma_update(None, "synchronous", "FULL")?;
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                for record in &mut *records {
                    put_call(&transaction, &record, PUT_ENDED)?;
                }
                transaction.commit()
            };
            put_all().map_err(|error| StoreError::from_sqlite(path, &error))
        })?;
        tracing::info!(
            records = replayed.records,
            unreadable = replayed.unreadable,
            "{SPOOL_FILE} is stored"
        );
        Ok(())
    }

    /// Calls of an earlier run that have no end get one, once.
    fn close_crashed(&mut self) -> Result<(), StoreError> {
        let Some(before) = self.started_us else { return Ok(()) };
        let close = || -> rusqlite::Result<Vec<String>> {
            let mut closing = self.connection.prepare(CLOSE_CRASHED)?;
            let named = named_params! { ":cause": CRASHED, ":before": before };
            closing.query_map(named, |row| row.get(0))?.collect()
        };
        let directions = close().map_err(|error| StoreError::from_sqlite(&self.path, &error))?;
        self.started_us = None;
        let closed = directions.len();
        for direction in directions {
            self.metrics.call_crashed(Direction::from_name(&direction).unwrap_or(Direction::Inbound));
        }
        if closed > 0 {
            tracing::warn!(
                calls = closed,
                "the last server died with calls running; their records now say so"
            );
        }
        Ok(())
    }

    /// Deletes traces (words, turns, events) beyond the retention; the call records stay.
    fn expire(&mut self) -> Result<(), StoreError> {
        if self.expired.is_some_and(|at| at.elapsed() < EXPIRE) {
            return Ok(());
        }
        self.expired = Some(Instant::now());
        self.delete_traces().map_err(|error| StoreError::from_sqlite(&self.path, &error))
    }

    fn delete_traces(&mut self) -> rusqlite::Result<()> {
        let retention = self.config.retention;
        let by_age = unix_us() - i64::from(retention.trace_days) * 86_400_000_000;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let by_number: Option<i64> = transaction
            .prepare_cached(FIRST_BEYOND)?
            .query_row([retention.trace_calls], |row| row.get(0))
            .optional()?;
        let expired: Vec<String> = transaction
            .prepare_cached(EXPIRED)?
            .query_map(params![by_number.map_or(by_age, |at| at.max(by_age)), EXPIRE_CALLS], |row| {
                row.get(0)
            })?
            .collect::<rusqlite::Result<_>>()?;
        for call in &expired {
            transaction.prepare_cached("DELETE FROM events WHERE call = ?1")?.execute([call])?;
            transaction.prepare_cached("DELETE FROM turns WHERE call = ?1")?.execute([call])?;
            transaction.prepare_cached("UPDATE calls SET has_trace = 0 WHERE id = ?1")?.execute([call])?;
        }
        transaction.commit()
    }

    fn complain(&mut self, reason: &dyn std::fmt::Display) {
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN) {
            self.complained = Some(Instant::now());
            tracing::error!(
                database = %self.path.display(), %reason,
                "the store fails; calls go on, their records wait in {SPOOL_FILE}, traces are not kept"
            );
        }
    }
}

/// Waits for messages and gathers a batch; true when it is the last one.
fn collect(messages: &Receiver<Message>, batch: &mut Vec<Message>) -> bool {
    let mut next = match messages.recv_timeout(UPKEEP) {
        Ok(message) => Ok(message),
        Err(RecvTimeoutError::Timeout) => return false,
        Err(RecvTimeoutError::Disconnected) => return true,
    };
    let until = Instant::now() + BATCH;
    loop {
        match next {
            Ok(Message::Close) | Err(TryRecvError::Disconnected) => return true,
            Ok(message) => {
                let flush = matches!(message, Message::Flush(_));
                batch.push(message);
                if flush || batch.len() >= BATCH_MESSAGES {
                    return false;
                }
            }
            Err(TryRecvError::Empty) if Instant::now() >= until => return false,
            // Waiting for each message would have the kernel wake this thread for each.
            Err(TryRecvError::Empty) => std::thread::sleep(LOOK_AGAIN),
        }
        next = messages.try_recv();
    }
}

fn acknowledge(done: &SyncSender<()>) {
    // Whoever asked may have stopped waiting.
    let _ = done.try_send(());
}

fn put_call(transaction: &Transaction<'_>, record: &CallRecord, sql: &str) -> rusqlite::Result<()> {
    let quality = &record.quality;
    transaction.prepare_cached(sql)?.execute(named_params! {
        ":id": record.call.to_string(),
        ":sip_call_id": record.sip_call_id,
        ":direction": record.direction.name(),
        ":trunk": record.trunk,
        ":agent": record.agent,
        ":caller": record.caller.expose(),
        ":called": record.called.expose(),
        ":invite_us": record.invite_us,
        ":answer_us": record.answer_us,
        ":end_us": record.end_us,
        ":end_cause": record.end_cause,
        ":sip_status": record.sip_status,
        ":port_slot": record.port_slot,
        ":concurrency": record.concurrency,
        ":codec": record.codec,
        ":turns": record.turns,
        ":barge_ins": record.barge_ins,
        ":received": signed(quality.received),
        ":lost": signed(quality.lost),
        ":late": signed(quality.late),
        ":concealed": signed(quality.concealed),
        ":jitter_us": signed(quality.jitter_us),
        ":sent": signed(quality.sent),
        ":foreign": signed(quality.foreign),
        ":gap_p50_us": record.gap_p50_us.map(signed),
        ":gap_max_us": record.gap_max_us.map(signed),
    })?;
    Ok(())
}

/// An event goes down as it is, and what it says about its turn goes to the turn's row.
fn put_event(
    transaction: &Transaction<'_>,
    call: CallId,
    seq: u64,
    stamped: &Stamped,
) -> rusqlite::Result<()> {
    let json = serde_json::to_string(&stamped.event)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
    let (id, at) = (call.to_string(), signed(stamped.at_us));
    transaction
        .prepare_cached("INSERT OR REPLACE INTO events (call, seq, at_us, event) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, signed(seq), at, json])?;
    let turn = |turn: u32, sql: &str, value: &dyn rusqlite::ToSql, other: &dyn rusqlite::ToSql| {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO turns (call, turn, at_us) VALUES (?1, ?2, ?3)")?
            .execute(params![id, turn, at])?;
        transaction.prepare_cached(sql)?.execute(params![id, turn, value, other])
    };
    match &stamped.event {
        Event::Answered => transaction
            .prepare_cached(
                "UPDATE calls SET answer_us = invite_us + ?2 WHERE id = ?1 AND answer_us IS NULL",
            )?
            .execute(params![id, at])?,
        Event::TurnEnded { turn: number, text, reason, .. } => turn(number.0, TURN_ENDED, text, reason)?,
        Event::Sentence { turn: number, text, .. } => turn(number.0, TURN_SENTENCE, text, &None::<i64>)?,
        Event::BargeIn { turn: number, .. } => turn(number.0, TURN_INTERRUPTED, &true, &None::<i64>)?,
        Event::Latency { turn: number, latency } => {
            let stages = serde_json::to_string(&latency.stages).unwrap_or_default();
            turn(number.0, TURN_LATENCY, &signed(latency.total_us), &stages)?
        }
        Event::Started { .. }
        | Event::Acked
        | Event::Speech { .. }
        | Event::Floor { .. }
        | Event::Heard { .. }
        | Event::Digit
        | Event::Hold { .. }
        | Event::Asked { .. }
        | Event::LlmAttempt { .. }
        | Event::FirstToken { .. }
        | Event::FirstAudio { .. }
        | Event::FirstPacket { .. }
        | Event::ReplyDone { .. }
        | Event::ToolStarted { .. }
        | Event::ToolEnded { .. }
        | Event::Expecting { .. }
        | Event::Transfer { .. }
        | Event::Path { .. }
        | Event::HandedOver { .. }
        | Event::Noted { .. }
        | Event::AgentDone { .. }
        | Event::NoInput { .. }
        | Event::Fallback { .. }
        | Event::ProviderFailed { .. }
        | Event::Dropped { .. }
        | Event::KeysSent { .. }
        | Event::MediaFault { .. }
        | Event::Quality { .. }
        | Event::Ended { .. } => 0,
    };
    Ok(())
}

/// SQLite has no unsigned integers; no figure of ours comes near the difference.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unix_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

const TURN_ENDED: &str = "UPDATE turns SET caller_text = ?3, reason = ?4 WHERE call = ?1 AND turn = ?2";
const TURN_SENTENCE: &str = "UPDATE turns SET agent_text = coalesce(agent_text || ' ', '') || ?3 WHERE call = ?1 AND turn = ?2 AND ?4 IS NULL";
const TURN_INTERRUPTED: &str =
    "UPDATE turns SET interrupted = ?3 WHERE call = ?1 AND turn = ?2 AND ?4 IS NULL";
const TURN_LATENCY: &str = "UPDATE turns SET total_us = ?3, stages = ?4 WHERE call = ?1 AND turn = ?2";

/// The newest call whose trace is beyond the number that is kept.
const FIRST_BEYOND: &str =
    "SELECT invite_us FROM calls WHERE has_trace ORDER BY invite_us DESC LIMIT 1 OFFSET ?1";
/// Calls whose trace is to be deleted, oldest first; never one that is running.
const EXPIRED: &str = "
SELECT id FROM calls WHERE has_trace AND invite_us <= ?1 AND end_us IS NOT NULL ORDER BY invite_us LIMIT ?2";

/// A call without an end when nobody runs: it ended, at the latest, when its last event was written.
const CLOSE_CRASHED: &str = "
UPDATE calls SET
    end_us = invite_us + coalesce((SELECT max(at_us) FROM events WHERE call = calls.id), 0),
    end_cause = :cause,
    turns = (SELECT count(*) FROM turns WHERE call = calls.id),
    barge_ins = (SELECT count(*) FROM turns WHERE call = calls.id AND interrupted)
WHERE end_us IS NULL AND invite_us < :before
RETURNING direction";

macro_rules! put {
    ($condition:literal) => {
        concat!(
            "INSERT INTO calls (id, sip_call_id, direction, trunk, agent, caller, called, invite_us, answer_us, end_us,
                end_cause, sip_status, port_slot, concurrency, codec, turns, barge_ins, received, lost, late, concealed,
                jitter_us, sent, foreign_packets, gap_p50_us, gap_max_us)
            VALUES (:id, :sip_call_id, :direction, :trunk, :agent, :caller, :called, :invite_us, :answer_us, :end_us,
                :end_cause, :sip_status, :port_slot, :concurrency, :codec, :turns, :barge_ins, :received, :lost, :late,
                :concealed, :jitter_us, :sent, :foreign, :gap_p50_us, :gap_max_us)
            ON CONFLICT (id) DO UPDATE SET
                sip_call_id = excluded.sip_call_id, direction = excluded.direction, trunk = excluded.trunk,
                agent = excluded.agent, caller = excluded.caller, called = excluded.called,
                invite_us = excluded.invite_us, answer_us = coalesce(excluded.answer_us, answer_us),
                end_us = excluded.end_us, end_cause = excluded.end_cause, sip_status = excluded.sip_status,
                port_slot = excluded.port_slot, concurrency = excluded.concurrency, codec = excluded.codec,
                turns = excluded.turns, barge_ins = excluded.barge_ins, received = excluded.received,
                lost = excluded.lost, late = excluded.late, concealed = excluded.concealed,
                jitter_us = excluded.jitter_us, sent = excluded.sent, foreign_packets = excluded.foreign_packets,
                gap_p50_us = excluded.gap_p50_us, gap_max_us = excluded.gap_max_us ",
            $condition
        )
    };
}

/// A running call never overwrites an ended one: the two may arrive in either order.
const PUT_RUNNING: &str = put!("WHERE calls.end_us IS NULL");
/// The end of a call is written once; a replay of it changes nothing. A crash's guess gives way to the truth.
const PUT_ENDED: &str = put!("");
