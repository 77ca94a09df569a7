//! The one thread that writes to the database: what the journal holds, once each; events; retention.
//! Knows SQL. Knows no call; it may take its time, and a database that is down costs nothing but time.

use super::{
    COLUMNS, CRASHED, CallRecord, Field as _, LEG_COLUMNS, LegRecord, Message, StoreConfig, StoreError,
    Value, column,
    database::{self, Database, Statement},
    journal::{Entry, Position, Tail},
    recorder::Progress,
    unix_us,
};
use crate::telemetry::Metrics;
use call::{CallId, Event, Stamped};
use conversation::TurnId;
use std::{
    sync::{
        Arc, LazyLock,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError},
    },
    time::{Duration, Instant},
};

/// From the first message of a batch to its commit: short enough that a follower does not notice, long enough that commits
/// are not most of what the database has to do.
const BATCH: Duration = Duration::from_millis(50);
/// How often a batch that is being gathered is added to.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Messages of one batch, which bounds how long its transaction takes.
const BATCH_MESSAGES: usize = 1_024;
/// Entries of the journal in one transaction.
const BATCH_ENTRIES: usize = 256;
/// Between two looks at the journal and at what is too old, when nothing else happens.
const UPKEEP: Duration = Duration::from_secs(1);
/// Between two attempts at a database that fails.
const AGAIN: Duration = Duration::from_secs(1);
/// Calls whose traces are deleted in one go: the writer is never busy with it for long.
const EXPIRE_CALLS: i64 = 200;
/// Between two looks at what is too old.
const EXPIRE: Duration = Duration::from_secs(10);
/// This reader's name among those of the journal.
pub(super) const READER: &str = "database";

pub(super) struct Writer {
    config: StoreConfig,
    node: String,
    database: Option<Box<dyn Database>>,
    /// Where it has come in the journal, once the database has said so.
    tail: Option<Tail>,
    progress: Arc<Progress>,
    metrics: Metrics,
    expired: Option<Instant>,
    complained: Option<Instant>,
    /// The database has failed: it is not asked again before.
    again_at: Option<Instant>,
    /// Entries up to here have been counted as waiting.
    counted: Position,
}

impl Writer {
    pub(super) fn new(
        config: StoreConfig,
        node: String,
        database: Option<Box<dyn Database>>,
        progress: Arc<Progress>,
        metrics: Metrics,
    ) -> Self {
        Self {
            config,
            node,
            database,
            tail: None,
            progress,
            metrics,
            expired: None,
            complained: None,
            again_at: None,
            counted: Position::default(),
        }
    }

    /// Takes over what the journal holds, and deletes what is too old. What fails is tried again later.
    pub(super) fn keep_up(&mut self) {
        if let Err(error) = self.apply().and_then(|()| self.expire()) {
            self.failed(&error);
        }
    }

    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        let mut batch = Vec::new();
        loop {
            let closing = collect(messages, &mut batch);
            if closing {
                self.again_at = None;
            }
            let mut events = Vec::new();
            let mut flushes = Vec::new();
            for message in batch.drain(..) {
                match message {
                    Message::Event(call, seq, stamped) => events.push((call, seq, stamped)),
                    Message::Flush(done) => flushes.push(done),
                    Message::Wake | Message::Close => {}
                }
            }
            if self.may_try() {
                self.keep_up();
            }
            self.write_events(&events);
            flushes.iter().for_each(acknowledge);
            if closing {
                return;
            }
        }
    }

    fn may_try(&self) -> bool {
        self.again_at.is_none_or(|at| Instant::now() >= at)
    }

    fn failed(&mut self, error: &StoreError) {
        self.again_at = Some(Instant::now() + AGAIN);
        if matches!(error, StoreError::Unreachable { .. }) {
            self.database = None;
        }
        if self.complained.is_none_or(|at| at.elapsed() >= super::COMPLAIN) {
            self.complained = Some(Instant::now());
            tracing::error!(
                reason = %error,
                "the store fails; calls go on, their records wait in the journal, traces are not kept"
            );
        }
    }

    fn database(&mut self) -> Result<&mut Box<dyn Database>, StoreError> {
        let config = &self.config;
        let database = match self.database.take() {
            Some(database) => database,
            None => database::open(&config.database, &config.directory, config.size_limit)?,
        };
        Ok(self.database.insert(database))
    }

    /// Moves the journal's entries into the database. How far it has come is written in the same transaction, so that
    /// each is taken over once, whoever dies when.
    fn apply(&mut self) -> Result<(), StoreError> {
        let mut tail = match self.tail.take() {
            Some(tail) => tail,
            None => self.find_tail()?,
        };
        let applied = self.apply_from(&mut tail);
        self.tail = Some(tail);
        applied
    }

    fn apply_from(&mut self, tail: &mut Tail) -> Result<(), StoreError> {
        loop {
            let (entries, position) = tail.read(self.progress.end(), BATCH_ENTRIES)?;
            if position == tail.position {
                self.progress.applied(READER, position);
                return Ok(());
            }
            if let Err(error) = self.take_over(&entries, position) {
                if position > self.counted {
                    self.counted = position;
                    self.metrics.cdr_spooled(entries.len() as u64);
                }
                return Err(error);
            }
            tail.position = position;
            self.progress.applied(READER, position);
        }
    }

    fn find_tail(&mut self) -> Result<Tail, StoreError> {
        let node = self.node.to_value();
        let rows = self.database()?.query(POSITION, &[node])?;
        let number = |column: usize| {
            let value = rows.first().and_then(|row| row.get(column)).and_then(Value::integer);
            value.unwrap_or(0).unsigned_abs()
        };
        let position = Position { segment: number(0), byte: number(1) };
        Ok(Tail::new(&self.config.directory, position))
    }

    fn take_over(&mut self, entries: &[Entry], position: Position) -> Result<(), StoreError> {
        let (node, metrics) = (self.node.clone(), self.metrics.clone());
        let here = Statement::new(
            PUT_POSITION,
            vec![node.to_value(), position.segment.to_value(), position.byte.to_value()],
        );
        let database = self.database()?;
        let mut statements: Vec<_> = entries.iter().flat_map(|entry| statements(entry, &node)).collect();
        statements.push(here.clone());
        match database.transact(&statements, true) {
            Err(StoreError::Rejected { .. }) => {}
            done => return done,
        }
        // One of them holds something that no database takes: the others must not wait for it for ever.
        for entry in entries {
            match database.transact(&self::statements(entry, &node), true) {
                Err(error @ StoreError::Rejected { .. }) => {
                    metrics.cdr_lost(1);
                    tracing::error!(reason = %error, "a call record cannot be stored and is left out");
                }
                done => done?,
            }
        }
        database.transact(&[here], true)
    }

    /// Events may be lost; the calls' records say what they amount to.
    fn write_events(&mut self, events: &[(CallId, u64, Box<Stamped>)]) {
        if events.is_empty() {
            return;
        }
        let written = match self.may_try() {
            true => {
                let statements: Vec<_> =
                    events.iter().flat_map(|(call, seq, stamped)| put_event(*call, *seq, stamped)).collect();
                self.database().and_then(|database| database.transact(&statements, false))
            }
            false => return self.metrics.queue_dropped("store", events.len() as u64),
        };
        if let Err(error) = written {
            self.failed(&error);
            self.metrics.queue_dropped("store", events.len() as u64);
        }
    }

    /// Deletes traces (words, turns, events) beyond the retention; the call records stay.
    fn expire(&mut self) -> Result<(), StoreError> {
        if self.expired.is_some_and(|at| at.elapsed() < EXPIRE) {
            return Ok(());
        }
        self.expired = Some(Instant::now());
        let retention = self.config.retention;
        let by_age = unix_us() - i64::from(retention.trace_days) * 86_400_000_000;
        let database = self.database()?;
        let beyond = database.query(FIRST_BEYOND, &[Value::Integer(retention.trace_calls.into())])?;
        let by_number = beyond.first().and_then(|row| row.first()).and_then(Value::integer);
        let before = by_number.map_or(by_age, |at| at.max(by_age));
        let expired = database.query(EXPIRED, &[Value::Integer(before), Value::Integer(EXPIRE_CALLS)])?;
        let statements: Vec<_> = expired
            .into_iter()
            .flat_map(|row| DELETE_TRACE.map(|sql| Statement::new(sql, row.clone())))
            .collect();
        if statements.is_empty() { Ok(()) } else { database.transact(&statements, false) }
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

/// What an entry of the journal means for the tables.
fn statements(entry: &Entry, node: &str) -> Vec<Statement> {
    match entry {
        Entry::Begin { record, .. } => vec![put_call(record, node, &PUT_RUNNING)],
        Entry::End { record } if record.end_cause.as_deref() == Some(CRASHED) => {
            vec![
                put_call(record, node, &PUT_CRASHED),
                Statement::new(COUNT_TURNS, vec![record.call.to_value()]),
                Statement::new(PUT_CRASHED_LEG.as_str(), vec![record.call.to_value()]),
            ]
        }
        Entry::End { record } => {
            std::iter::once(put_call(record, node, &PUT_ENDED)).chain(record.legs().map(put_leg)).collect()
        }
        Entry::Alive { .. } | Entry::Told { .. } => Vec::new(),
    }
}

fn put_call(record: &CallRecord, node: &str, sql: &'static str) -> Statement {
    let values = COLUMNS.iter().map(|column| match column.name {
        "node" => record.node.as_deref().unwrap_or(node).to_owned().to_value(),
        _ => (column.get)(record),
    });
    Statement::new(sql, values.collect())
}

fn put_leg(leg: LegRecord) -> Statement {
    Statement::new(PUT_LEG.as_str(), LEG_COLUMNS.iter().map(|column| (column.get)(&leg)).collect())
}

/// An event goes down as it is, and what it says about its call or its turn goes to their rows.
#[expect(clippy::wildcard_enum_match_arm, reason = "few of many events change a row")]
fn put_event(call: CallId, seq: u64, stamped: &Stamped) -> Vec<Statement> {
    let Ok(json) = serde_json::to_string(&stamped.event) else { return Vec::new() };
    let (id, at) = (call.to_value(), stamped.at_us.to_value());
    let event = vec![id.clone(), seq.to_value(), at.clone(), Value::Text(json)];
    let mut statements = vec![Statement::new(PUT_EVENT, event)];
    match &stamped.event {
        Event::Answered => statements.push(Statement::new(ANSWERED, vec![id, at])),
        Event::Started { agent, port_slot, concurrency, codec } => {
            let started = [agent.to_value(), port_slot.to_value(), concurrency.to_value(), codec.to_value()];
            statements.push(Statement::new(STARTED, [id].into_iter().chain(started).collect()));
        }
        event => {
            if let Some((turn, sql, values)) = of_turn(event) {
                let turn = turn.0.to_value();
                statements.push(Statement::new(PUT_TURN, vec![id.clone(), turn.clone(), at]));
                statements.push(Statement::new(sql, [id, turn].into_iter().chain(values).collect()));
            }
        }
    }
    statements
}

/// What an event says about its turn, and the statement for it.
#[expect(clippy::wildcard_enum_match_arm, reason = "few of many events change a turn's row")]
fn of_turn(event: &Event) -> Option<(TurnId, &'static str, Vec<Value>)> {
    match event {
        Event::TurnEnded { turn, text, reason, .. } => {
            Some((*turn, TURN_ENDED, vec![text.to_value(), reason.to_value()]))
        }
        Event::Sentence { turn, text, .. } => Some((*turn, TURN_SENTENCE, vec![text.to_value()])),
        Event::BargeIn { turn, .. } => Some((*turn, TURN_INTERRUPTED, Vec::new())),
        Event::Latency { turn, latency } => {
            let stages = serde_json::to_string(&latency.stages).unwrap_or_default();
            Some((*turn, TURN_LATENCY, vec![latency.total_us.to_value(), Value::Text(stages)]))
        }
        _ => None,
    }
}

const POSITION: &str = "SELECT segment, byte FROM journal_positions WHERE node = ?1";
const PUT_POSITION: &str = "
INSERT INTO journal_positions (node, segment, byte) VALUES (?1, ?2, ?3)
ON CONFLICT (node) DO UPDATE SET segment = excluded.segment, byte = excluded.byte";

const PUT_EVENT: &str = "
INSERT INTO events (call, seq, at_us, event) VALUES (?1, ?2, ?3, ?4)
ON CONFLICT (call, seq) DO UPDATE SET at_us = excluded.at_us, event = excluded.event";
const PUT_TURN: &str =
    "INSERT INTO turns (call, turn, at_us) VALUES (?1, ?2, ?3) ON CONFLICT (call, turn) DO NOTHING";
const TURN_ENDED: &str = "UPDATE turns SET caller_text = ?3, reason = ?4 WHERE call = ?1 AND turn = ?2";
const TURN_SENTENCE: &str =
    "UPDATE turns SET agent_text = coalesce(agent_text || ' ', '') || ?3 WHERE call = ?1 AND turn = ?2";
const TURN_INTERRUPTED: &str = "UPDATE turns SET interrupted = 1 WHERE call = ?1 AND turn = ?2";
const TURN_LATENCY: &str = "UPDATE turns SET total_us = ?3, stages = ?4 WHERE call = ?1 AND turn = ?2";
const ANSWERED: &str = "UPDATE calls SET answer_us = invite_us + ?2 WHERE id = ?1 AND answer_us IS NULL";
/// What a running call shows of itself; the record at its end has the last word.
const STARTED: &str = "
UPDATE calls SET agent = ?2, port_slot = ?3, concurrency = ?4, codec = ?5 WHERE id = ?1 AND end_us IS NULL";

/// The newest call whose trace is beyond the number that is kept.
const FIRST_BEYOND: &str =
    "SELECT invite_us FROM calls WHERE has_trace ORDER BY invite_us DESC LIMIT 1 OFFSET ?1";
/// Calls whose trace is to be deleted, oldest first; never one that is running.
const EXPIRED: &str = "
SELECT id FROM calls WHERE has_trace AND invite_us <= ?1 AND end_us IS NOT NULL ORDER BY invite_us LIMIT ?2";
const DELETE_TRACE: [&str; 3] = [
    "DELETE FROM events WHERE call = ?1",
    "DELETE FROM turns WHERE call = ?1",
    "UPDATE calls SET has_trace = 0 WHERE id = ?1",
];

/// A running call never overwrites an ended one: they may be replayed in either order.
static PUT_RUNNING: LazyLock<String> =
    LazyLock::new(|| put(|name| format!("excluded.{name}"), " WHERE calls.end_us IS NULL"));
/// The end of a call is written once; a replay of it changes nothing. A crash's guess gives way to the truth.
static PUT_ENDED: LazyLock<String> = LazyLock::new(|| put(|name| format!("excluded.{name}"), ""));
/// What the dead server's events had already said stays.
static PUT_CRASHED: LazyLock<String> = LazyLock::new(|| {
    put(|name| format!("coalesce(excluded.{name}, calls.{name})"), " WHERE calls.end_us IS NULL")
});
/// A call whose server died counts the turns whose events came through; it lasted at least until the last of them.
const COUNT_TURNS: &str = "
UPDATE calls SET
    end_us = CASE
        WHEN invite_us + coalesce((SELECT max(at_us) FROM events WHERE events.call = calls.id), 0) > end_us
        THEN invite_us + (SELECT max(at_us) FROM events WHERE events.call = calls.id)
        ELSE end_us END,
    turns = (SELECT count(*) FROM turns WHERE turns.call = calls.id),
    barge_ins = (SELECT count(*) FROM turns WHERE turns.call = calls.id AND interrupted = 1)
WHERE id = ?1 AND end_cause = 'server_crash'";

/// A leg is written once, with its call's end; a replay of it changes nothing.
static PUT_LEG: LazyLock<String> = LazyLock::new(|| {
    let values: Vec<_> = (1..=LEG_COLUMNS.len()).map(|number| format!("?{number}")).collect();
    let updates = LEG_COLUMNS.iter().map(|column| format!("{0} = excluded.{0}", column.name));
    format!(
        "INSERT INTO legs ({}) VALUES ({}) ON CONFLICT (call, leg) DO UPDATE SET {}",
        column::names(LEG_COLUMNS),
        values.join(", "),
        updates.collect::<Vec<_>>().join(", ")
    )
});
/// The first leg of a call whose server died is what its row says by now. Of others nobody knows.
static PUT_CRASHED_LEG: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO legs ({}) SELECT id, 0, 'call', direction, trunk,
            CASE direction WHEN 'inbound' THEN caller ELSE called END, sip_call_id, invite_us, ring_us, answer_us,
            end_us, end_cause, sip_status, q850_cause
        FROM calls WHERE id = ?1 AND end_cause = 'server_crash' ON CONFLICT (call, leg) DO NOTHING",
        column::names(LEG_COLUMNS)
    )
});

fn put(update: impl Fn(&str) -> String, condition: &str) -> String {
    let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
    let values: Vec<_> = (1..=names.len()).map(|number| format!("?{number}")).collect();
    let updates: Vec<_> = names
        .iter()
        .filter(|name| **name != "id")
        .map(|name| match *name {
            // The event may have been there first.
            "answer_us" => format!("{name} = coalesce(excluded.{name}, calls.{name})"),
            name => format!("{name} = {}", update(name)),
        })
        .collect();
    format!(
        "INSERT INTO calls ({}) VALUES ({}) ON CONFLICT (id) DO UPDATE SET {}{condition}",
        names.join(", "),
        values.join(", "),
        updates.join(", ")
    )
}
