//! What lasts: call records go into a journal first, and from there, with turns and events, into a database.
//! Knows the data directory. A call only ever hands over and goes on; what that costs when the disk fails is decided here.

mod call_record;
mod checkpoints;
mod column;
mod database;
mod error;
mod farewell;
mod feed;
mod journal;
mod leg_record;
mod postgres;
mod postgres_tls;
mod reader;
mod recorder;
mod schema;
mod sqlite;
mod value;
mod writer;

pub use call_record::{COLUMNS, CRASHED, CallRecord, Direction, Quality, TurnRecord, call_id};
pub use checkpoints::{CHECKPOINT_QUEUE, CallerKey, Checkpoints, Written};
pub use column::Column;
pub use database::{DatabaseUrl, PostgresUrl};
pub use error::StoreError;
pub use farewell::Farewell;
pub use feed::{CallEvent, Feed, Mark};
pub use journal::JOURNAL_FOLDER;
pub use leg_record::{LEG_COLUMNS, LegRecord};
pub use reader::{CallFilter, Events, MOST_CALLS, MOST_EVENTS, Reader};
pub use recorder::Confirm;
pub use value::{Field, Kind, Value};

use crate::telemetry::Metrics;
use call::{CallId, Stamped};
use journal::{Journal, Limits, Position, Tail};
use recorder::{Progress, Recorder, Wish};
use sip::SavedDialog;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, SyncSender},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What waits for the database; beyond that events are dropped and counted.
pub const STORE_QUEUE: usize = 4_096;
/// Call records that wait for the journal's disk; beyond that they are lost, and counted.
pub const JOURNAL_QUEUE: usize = 16_384;
/// The database's name in the data directory.
pub const DATABASE_FILE: &str = "tandem.sqlite";
/// Held while a server runs, so that two never share a data directory.
const LOCK_FILE: &str = "tandem.lock";
/// This server's name among those that share a database.
const NODE_FILE: &str = "node";
/// Between two log lines about the same trouble.
const COMPLAIN: Duration = Duration::from_secs(10);

/// How long traces are kept. Call records stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Traces of the newest calls that are kept, whatever their age allows.
    pub trace_calls: u32,
    /// Days after which a trace (its words too) is deleted.
    pub trace_days: u32,
}

impl Default for Retention {
    /// A month of traces is enough to look into a complaint; 20,000 calls of a few hundred events are about 1 GB.
    fn default() -> Self {
        Self { trace_calls: 20_000, trace_days: 30 }
    }
}

/// Where and how to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// The data directory; created if it is missing. The journal is always here.
    pub directory: PathBuf,
    /// The database that the journal is taken over into.
    pub database: DatabaseUrl,
    /// Whether turns and events are kept at all, or call records only.
    pub traces: bool,
    /// How long traces are kept.
    pub retention: Retention,
    /// Bytes the SQLite file may grow to; what does not fit is treated like a full disk. `None`: as much as there is.
    pub size_limit: Option<u64>,
    /// Bytes of one file of the journal, reserved ahead, so that a full disk loses no record (about 1.5 kB a call).
    pub journal_reserve: u64,
    /// Bytes that may wait in the journal for a database that is down.
    pub journal_limit: u64,
}

impl StoreConfig {
    /// The defaults, in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            database: DatabaseUrl::default(),
            traces: true,
            retention: Retention::default(),
            size_limit: None,
            journal_reserve: 64 << 20,
            // A day of ten calls a second.
            journal_limit: 2 << 30,
        }
    }
}

/// Writes calls down. Clones share one journal; nothing a call uses here ever waits.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    /// Present until the drop.
    wishes: Option<SyncSender<Wish>>,
    queue: SyncSender<Message>,
    metrics: Metrics,
    progress: Arc<Progress>,
    writer: Mutex<Option<JoinHandle<()>>>,
    recorder: Option<JoinHandle<()>>,
    orphans: Mutex<Vec<(CallId, SavedDialog)>>,
    config: StoreConfig,
    _lock: File,
}

enum Message {
    Event(CallId, u64, Box<Stamped>),
    /// There is something new in the journal.
    Wake,
    /// Answered when everything before it has been written or given up.
    Flush(SyncSender<()>),
    Close,
}

impl Store {
    /// Opens journal and database, gives the calls that a dead server left behind their end, and starts writing. A
    /// database server that does not answer is no reason not to start: the journal waits for it.
    ///
    /// # Errors
    /// When the directory cannot be written or is in use, or the database is damaged or too new.
    pub fn open(config: StoreConfig, metrics: Metrics) -> Result<Self, StoreError> {
        let directory = config.directory.clone();
        let lock = lock(&directory)?;
        let unwritable = |error: std::io::Error| not_writable(&directory, &error);
        let node = node(&directory).map_err(unwritable)?;
        let database = match database::open(&config.database, &directory, config.size_limit) {
            Ok(database) => Some(database),
            Err(error @ StoreError::Unreachable { .. }) => {
                tracing::error!(reason = %error, "call records wait in the journal until the database answers");
                None
            }
            Err(error) => return Err(error),
        };
        let limits = Limits { segment: config.journal_reserve, total: config.journal_limit };
        let (journal, recovered) = Journal::open(&directory, limits).map_err(unwritable)?;
        let progress = Arc::new(Progress::new(journal.end()));
        let (queue, messages) = mpsc::sync_channel(STORE_QUEUE);
        let (wishes, wished) = mpsc::sync_channel(JOURNAL_QUEUE);
        let wake = Box::new({
            let queue = queue.clone();
            // A full queue is awake anyway.
            move || drop(queue.try_send(Message::Wake))
        });
        let mut recorder = Recorder::new(journal, Arc::clone(&progress), metrics.clone(), wake);
        let orphans = recorder.bury(recovered).into_iter().filter_map(|orphan| {
            let dialog = orphan.dialog?.dialog()?;
            Some((orphan.record.call, dialog))
        });
        let orphans = Mutex::new(orphans.collect());
        let mut writer =
            writer::Writer::new(config.clone(), node, database, Arc::clone(&progress), metrics.clone());
        writer.keep_up();
        let writer = Mutex::new(Some(spawn("tandem-store", move || writer.run(&messages))?));
        let recorder = Some(spawn("tandem-journal", move || recorder.run(&wished))?);
        let wishes = Some(wishes);
        Ok(Self(Arc::new(Inner {
            wishes,
            queue,
            metrics,
            progress,
            writer,
            recorder,
            orphans,
            config,
            _lock: lock,
        })))
    }

    /// A call has begun; or, for a call that is running, what is known of it has changed.
    pub fn begin_call(&self, record: CallRecord) {
        self.wish(Wish::Begin { record: Box::new(record), dialog: None, recorded: None });
    }

    /// A call has begun. `recorded` is told when that is on the disk together with what its dialog can be ended by,
    /// should this process die. A disk that hangs is not waited for: then it is told at once, and counted.
    pub fn begin_durably(&self, record: CallRecord, dialog: SavedDialog, recorded: Confirm) {
        let hangs = self.0.progress.hangs();
        let mut recorded = Some(recorded);
        if hangs {
            self.0.metrics.call_unrecorded();
            recorded.take().into_iter().for_each(|confirm| confirm());
        }
        let dialog = Some(Box::new(Farewell::from(dialog)));
        self.wish(Wish::Begin { record: Box::new(record), dialog, recorded });
    }

    /// Something happened in a call. `seq` counts from 1 within it.
    pub fn event(&self, call: CallId, seq: u64, stamped: Stamped) {
        if !self.0.config.traces {
            return;
        }
        if self.0.queue.try_send(Message::Event(call, seq, Box::new(stamped))).is_err() {
            self.0.metrics.queue_dropped("store", 1);
        }
    }

    /// A call is over: its record, which is never dropped while there is any way to keep it.
    pub fn end_call(&self, record: CallRecord) {
        self.wish(Wish::End(Box::new(record)));
    }

    /// The dialogs of calls whose server died: their peers still think that they are connected. Asked for once; each is
    /// to be [`Store::told`].
    pub fn orphans(&self) -> Vec<(CallId, SavedDialog)> {
        std::mem::take(&mut *self.0.orphans.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The peer of a call whose server died has been told.
    pub fn told(&self, call: CallId) {
        self.wish(Wish::Told(call));
    }

    /// The journal for one more reader, from a mark on; without one, from now on. Nothing is deleted before it has been
    /// read.
    pub fn feed(&self, name: &str, from: Option<Mark>) -> Feed {
        let Inner { config, progress, .. } = &*self.0;
        let position =
            from.map_or(progress.end(), |mark| Position { segment: mark.segment, byte: mark.byte });
        Feed::new(name.to_owned(), Tail::new(&config.directory, position), Arc::clone(progress))
    }

    /// For how long the database has not taken everything that the journal holds; a moment is usual.
    pub fn database_behind(&self) -> Duration {
        self.0.progress.behind()
    }

    /// Waits until everything handed over so far has been written or given up. Not for the call's path.
    pub fn flush(&self) {
        self.0.flush_journal();
        let (done, wait) = mpsc::sync_channel(1);
        if self.0.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// Writes what is left and stops. Call records handed over later wait in the journal for the next start. Not for
    /// the call's path. Dropping the last clone does the same.
    pub fn close(&self) {
        self.0.close();
    }

    /// Reads what was written, also while more is being written.
    ///
    /// # Errors
    /// As [`Reader::of`]; a database server that does not answer yet is asked again with each question.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        let StoreConfig { directory, database, .. } = &self.0.config;
        match Reader::of(directory, database) {
            Err(StoreError::Unreachable { .. }) => Ok(Reader::later(directory, database)),
            reader => reader,
        }
    }

    fn wish(&self, wish: Wish) {
        let sent = self.0.wishes.as_ref().is_some_and(|wishes| wishes.try_send(wish).is_ok());
        if !sent {
            self.0.metrics.cdr_lost(1);
            tracing::error!("a call record is lost: the disk has been hanging for very long");
        }
    }
}

impl Inner {
    fn close(&self) {
        self.flush_journal();
        let _ = self.queue.send(Message::Close);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that panicked has said so; the next start finds what it left.
            let _ = writer.join();
        }
    }

    fn flush_journal(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.wishes.as_ref().is_some_and(|wishes| wishes.send(Wish::Flush(done)).is_ok()) {
            let _ = wait.recv();
        }
    }
}

impl Drop for Inner {
    /// The directory's lock is given up only when both threads have finished with it.
    fn drop(&mut self) {
        self.close();
        if let Some(wishes) = self.wishes.take() {
            let _ = wishes.send(Wish::Close);
        }
        if let Some(recorder) = self.recorder.take() {
            let _ = recorder.join();
        }
    }
}

/// Makes the directory and takes it for this process; the lock goes with the process, however it ends.
fn lock(directory: &Path) -> Result<File, StoreError> {
    fs::create_dir_all(directory).map_err(|error| not_writable(directory, &error))?;
    let file = File::options().create(true).append(true).open(directory.join(LOCK_FILE));
    let file = file.map_err(|error| not_writable(directory, &error))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse { path: directory.to_owned() }),
        Err(error) => Err(not_writable(directory, &error.into())),
    }
}

/// This server's name: drawn once, and kept in the data directory.
fn node(directory: &Path) -> std::io::Result<String> {
    let path = directory.join(NODE_FILE);
    let known = fs::read_to_string(&path).unwrap_or_default();
    if !known.trim().is_empty() {
        return Ok(known.trim().to_owned());
    }
    let mut chance = [0; 6];
    std::io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut chance)?;
    let name = crate::hex::hex(&chance);
    let written = fs::write(&path, format!("{name}\n"));
    written.and_then(|()| File::open(&path)?.sync_all())?;
    Ok(name)
}

fn not_writable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::NotWritable { path: path.to_owned(), reason: error.to_string() }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(work)?)
}

fn unix_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
