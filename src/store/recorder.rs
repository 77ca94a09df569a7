//! The thread that has the journal: what comes together is made durable together, and whoever waits for it is told.
//! Knows the disk's moods. No call ever waits for it: what is handed over lies in a queue of bounded length.

use super::{
    CRASHED, CallRecord,
    farewell::Farewell,
    journal::{Entry, Journal, Orphan, Position, Recovered},
    unix_us,
};
use crate::telemetry::Metrics;
use call::CallId;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

/// Between two signs of life while calls run: a call whose server dies is known to have lasted at least until then.
const TICK: Duration = Duration::from_secs(1);
/// Entries that are made durable together; more would only delay the first of them.
const TOGETHER: usize = 256;
/// A disk that takes longer than this for one write is not waited for by new calls until it is done.
const HANGS_AFTER: Duration = Duration::from_millis(200);

/// Is told that what it waited for is on the disk.
pub type Confirm = Box<dyn FnOnce() + Send>;

/// For so long after the start nothing is deleted.
const GRACE: Duration = Duration::from_secs(5);

/// What the thread is asked for.
pub(super) enum Wish {
    Begin {
        record: Box<CallRecord>,
        dialog: Option<Box<Farewell>>,
        recorded: Option<Confirm>,
    },
    End(Box<CallRecord>),
    Told(CallId),
    /// Answered when everything before it is on the disk or held in memory.
    Flush(SyncSender<()>),
    Close,
}

/// What the thread tells others, without making them wait.
pub(super) struct Progress {
    begun: Instant,
    /// Up to where the journal may be read.
    end: Mutex<Position>,
    /// How far each reader has come. What all of them have read is deleted.
    applied: Mutex<BTreeMap<String, Position>>,
    /// Since when the database has not been where the journal ends.
    behind_since: Mutex<Option<Instant>>,
    /// Since when it has been writing, in milliseconds after `begun` plus one; 0: it is not.
    writing_since: AtomicU64,
}

impl Progress {
    pub(super) fn new(end: Position) -> Self {
        Self {
            begun: Instant::now(),
            end: Mutex::new(end),
            // The database is a reader from the start, also one that has never answered yet.
            applied: Mutex::new(BTreeMap::from([(super::writer::READER.to_owned(), Position::default())])),
            behind_since: Mutex::default(),
            writing_since: AtomicU64::new(0),
        }
    }

    /// Up to where the journal may be read.
    pub(super) fn end(&self) -> Position {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A reader has dealt with everything before `position`, for good.
    pub(super) fn applied(&self, reader: &str, position: Position) {
        if reader == super::writer::READER && position >= self.end() {
            *self.behind_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).insert(reader.to_owned(), position);
    }

    /// The journal ends here by now.
    fn ends(&self, end: Position) {
        let before = std::mem::replace(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner), end);
        if end > before {
            let mut since = self.behind_since.lock().unwrap_or_else(PoisonError::into_inner);
            since.get_or_insert_with(Instant::now);
        }
    }

    /// For how long the database has not taken everything that is in the journal.
    pub(super) fn behind(&self) -> Duration {
        let since = *self.behind_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether the disk has been busy with one write for so long that it is better not waited for.
    pub(super) fn hangs(&self) -> bool {
        match self.writing_since.load(Ordering::Relaxed) {
            0 => false,
            since => self.now_ms().saturating_sub(since) > HANGS_AFTER.as_millis() as u64,
        }
    }

    fn all_applied(&self) -> Position {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied.values().min().copied().unwrap_or_default()
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64 + 1
    }
}

/// The thread's state.
pub(super) struct Recorder {
    journal: Journal,
    progress: Arc<Progress>,
    metrics: Metrics,
    /// Wakes who reads the journal.
    wake: Box<dyn Fn() + Send>,
    ticked: Instant,
    complained: Option<Instant>,
    /// When the calls ended whose records are not on the disk yet, in microseconds since 1970.
    ended: Vec<i64>,
}

/// Ends that are remembered while the disk takes nothing.
const ENDS: usize = 4_096;

impl Recorder {
    pub(super) fn new(
        journal: Journal,
        progress: Arc<Progress>,
        metrics: Metrics,
        wake: Box<dyn Fn() + Send>,
    ) -> Self {
        Self { journal, progress, metrics, wake, ticked: Instant::now(), complained: None, ended: Vec::new() }
    }

    /// Gives the calls of a dead server their end, and says which peers are to be told.
    pub(super) fn bury(&mut self, recovered: Recovered) -> Vec<Orphan> {
        let Recovered { crashed, untold, last_us, unreadable } = recovered;
        if unreadable > 0 {
            self.metrics.cdr_damaged(unreadable as u64);
            tracing::warn!(
                lines = unreadable,
                "lines of the journal were cut short or damaged; they are in damaged.log"
            );
        }
        let mut orphans = untold;
        let mut ends = Vec::new();
        for mut orphan in crashed {
            let record = &mut orphan.record;
            record.end_us = Some(last_us.max(record.invite_us));
            record.end_cause = Some(CRASHED.to_owned());
            self.metrics.call_crashed(record.direction);
            ends.push(Entry::End { record: Box::new(record.clone()) });
            orphans.push(orphan);
        }
        if !ends.is_empty() {
            tracing::warn!(
                calls = ends.len(),
                "the last server died with calls running; their records say so, and their peers are told"
            );
            self.append(&ends);
        }
        orphans
    }

    pub(super) fn run(mut self, wishes: &Receiver<Wish>) {
        loop {
            let first = match wishes.recv_timeout(TICK) {
                Ok(wish) => Some(wish),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // While the disk was busy others have come: they go together.
            let together: Vec<Wish> = first.into_iter().chain(wishes.try_iter().take(TOGETHER)).collect();
            if self.grant(together) {
                break;
            }
            if self.ticked.elapsed() >= TICK {
                self.tick();
            }
        }
        let held = self.journal.held();
        if held > 0 && !self.append(&[]) {
            self.metrics.cdr_lost(held as u64);
            tracing::error!(records = held, "call records that could not be written anywhere are lost");
        }
    }

    /// Makes everything durable, then tells whoever waits; true when it is time to end.
    fn grant(&mut self, wishes: Vec<Wish>) -> bool {
        let (mut entries, mut waiting, mut flushes, mut closing) =
            (Vec::new(), Vec::new(), Vec::new(), false);
        for wish in wishes {
            match wish {
                Wish::Begin { record, dialog, recorded } => {
                    entries.push(Entry::Begin { record, dialog });
                    waiting.extend(recorded);
                }
                Wish::End(record) => {
                    self.ended.extend(record.end_us.filter(|_| self.ended.len() < ENDS));
                    entries.push(Entry::End { record });
                }
                Wish::Told(call) => entries.push(Entry::Told { call }),
                Wish::Flush(done) => flushes.push(done),
                Wish::Close => closing = true,
            }
        }
        let durable = entries.is_empty() || self.append(&entries);
        if durable {
            waiting.into_iter().for_each(|confirm| confirm());
        }
        for done in flushes {
            let _ = done.try_send(()); // Whoever asked may have stopped waiting.
        }
        closing
    }

    fn append(&mut self, entries: &[Entry]) -> bool {
        self.progress.writing_since.store(self.progress.now_ms(), Ordering::Relaxed);
        let begun = Instant::now();
        let appended = self.journal.append(entries);
        self.progress.writing_since.store(0, Ordering::Relaxed);
        self.metrics.journal_synced(begun.elapsed());
        self.progress.ends(self.journal.end());
        (self.wake)();
        self.metrics.cdr_lost(appended.lost);
        if appended.durable {
            self.tell_ends();
        } else {
            self.complain(appended.lost);
        }
        appended.durable
    }

    /// How long after their calls' ends the records have come to the disk.
    fn tell_ends(&mut self) {
        let now = unix_us();
        for end in self.ended.drain(..) {
            self.metrics
                .cdr_end_durable(Duration::from_micros(now.saturating_sub(end).max(0).unsigned_abs()));
        }
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        if self.journal.has_open() || self.journal.held() > 0 {
            let alive = self.journal.has_open().then(|| Entry::Alive { at_us: unix_us() });
            self.append(alive.as_slice());
        }
        // Whoever else reads the journal has had time to say so by then.
        if self.progress.begun.elapsed() > GRACE {
            self.journal.forget(self.progress.all_applied());
        }
        self.progress.ends(self.journal.end());
    }

    fn complain(&mut self, lost: u64) {
        if lost > 0 || self.complained.is_none_or(|at| at.elapsed() >= super::COMPLAIN) {
            self.complained = Some(Instant::now());
            let held = self.journal.held();
            tracing::error!(
                held,
                lost,
                "the journal cannot be written (disk full, or its limit is reached); calls go on, their records wait in memory"
            );
        }
    }
}
