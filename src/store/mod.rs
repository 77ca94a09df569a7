//! What lasts: call records, turns and events in one SQLite file, written off the call's path.
//! Knows the data directory. A call only ever hands over and goes on; what that costs when the disk fails is decided here.

mod call_record;
mod error;
mod reader;
mod schema;
mod spool;
mod writer;

pub use call_record::{CRASHED, CallRecord, Direction, Quality, TurnRecord, call_id};
pub use error::StoreError;
pub use reader::{CallFilter, Events, MOST_CALLS, MOST_EVENTS, Reader};
pub use spool::SPOOL_FILE;

use crate::telemetry::Metrics;
use call::{CallId, Stamped};
use spool::{Spool, Spooled};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread::JoinHandle,
};

/// What waits for the writer; beyond that events are dropped and counted, and call records go to the spool.
pub const STORE_QUEUE: usize = 4_096;
/// Call records on their way to the spool file because the writer's queue is full.
pub const SPOOL_QUEUE: usize = 1_024;
/// The database's name in the data directory.
pub const DATABASE_FILE: &str = "tandem.sqlite";
/// Held while a server runs, so that two never share a data directory.
const LOCK_FILE: &str = "tandem.lock";

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
    /// The data directory; created if it is missing.
    pub directory: PathBuf,
    /// How long traces are kept.
    pub retention: Retention,
    /// Bytes the database may grow to; what does not fit is treated like a full disk. `None`: as much as there is.
    pub size_limit: Option<u64>,
    /// Bytes reserved for the spool of call records, so that a full disk loses none (about 700 bytes each).
    pub spool_reserve: u64,
}

impl StoreConfig {
    /// The defaults, in `directory`.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            retention: Retention::default(),
            size_limit: None,
            spool_reserve: 64 << 20,
        }
    }
}

/// Writes calls down. Clones share one writer; nothing a call uses here ever waits.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    queue: SyncSender<Message>,
    /// Present until the drop.
    spool_queue: Option<SyncSender<SpoolMessage>>,
    metrics: Metrics,
    writer: Mutex<Option<JoinHandle<()>>>,
    spooler: Option<JoinHandle<()>>,
    spool: SharedSpool,
    directory: PathBuf,
    _lock: File,
}

enum Message {
    /// A call that begins, or that is still running and has changed.
    Begin(Box<CallRecord>),
    Event(CallId, u64, Box<Stamped>),
    End(Box<CallRecord>),
    /// Answered when everything before it has been written.
    Flush(SyncSender<()>),
    Close,
}

enum SpoolMessage {
    Record(Box<CallRecord>),
    /// Answered when every record before it has been taken care of.
    Flush(SyncSender<()>),
}

/// The spool, shared by the two threads that write to it; no call ever takes this lock.
type SharedSpool = Arc<Mutex<Spool>>;

impl Store {
    /// Opens the store, brings it up to date, takes up what the last run left behind, and starts writing.
    ///
    /// # Errors
    /// When the directory cannot be written or is in use, or the database is damaged or too new.
    pub fn open(config: StoreConfig, metrics: Metrics) -> Result<Self, StoreError> {
        let directory = config.directory.clone();
        let lock = lock(&directory)?;
        let connection = writer::connect(&config)?;
        let spool = Spool::open(&directory, config.spool_reserve)
            .map_err(|error| not_writable(&directory, &error))?;
        let spool: SharedSpool = Arc::new(Mutex::new(spool));
        let (queue, messages) = mpsc::sync_channel(STORE_QUEUE);
        let (spool_queue, records) = mpsc::sync_channel(SPOOL_QUEUE);
        let mut writer = writer::Writer::new(config, connection, Arc::clone(&spool), metrics.clone());
        writer.keep_up();
        let writer = Mutex::new(Some(spawn("tandem-store", move || writer.run(&messages))?));
        let spooler = spawn("tandem-spool", {
            let (spool, metrics) = (Arc::clone(&spool), metrics.clone());
            move || run_spool(&spool, &records, &metrics)
        })?;
        let (spool_queue, spooler) = (Some(spool_queue), Some(spooler));
        Ok(Self(Arc::new(Inner {
            queue,
            spool_queue,
            metrics,
            writer,
            spooler,
            spool,
            directory,
            _lock: lock,
        })))
    }

    /// A call has begun; or, for a call that is running, what is known of it has changed.
    pub fn begin_call(&self, record: CallRecord) {
        self.offer(Message::Begin(Box::new(record)));
    }

    /// Something happened in a call. `seq` counts from 1 within it.
    pub fn event(&self, call: CallId, seq: u64, stamped: Stamped) {
        self.offer(Message::Event(call, seq, Box::new(stamped)));
    }

    /// A call is over: its record, which is never dropped while there is any way to keep it.
    pub fn end_call(&self, record: CallRecord) {
        match self.0.queue.try_send(Message::End(Box::new(record))) {
            Ok(()) => {}
            Err(
                TrySendError::Full(Message::End(record)) | TrySendError::Disconnected(Message::End(record)),
            ) => {
                self.spool(record);
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                unreachable!("it gives back what it got")
            }
        }
    }

    /// Waits until everything handed over so far has been written or given up. Not for the call's path.
    pub fn flush(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.0.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv();
        }
        self.0.flush_spool();
    }

    /// Writes what is left and stops. Call records handed over later go to the spool. Not for the call's path.
    /// Dropping the last clone does the same.
    pub fn close(&self) {
        self.0.close();
    }

    /// Reads what was written, also while more is being written.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.0.directory)
    }

    fn offer(&self, message: Message) {
        if self.0.queue.try_send(message).is_err() {
            self.0.metrics.queue_dropped("store", 1);
        }
    }

    fn spool(&self, record: Box<CallRecord>) {
        let call = record.call;
        let queued = self
            .0
            .spool_queue
            .as_ref()
            .is_some_and(|queue| queue.try_send(SpoolMessage::Record(record)).is_ok());
        if !queued {
            self.0.metrics.cdr_lost(1);
            tracing::error!(%call, "this call's record is lost: store and spool are both full");
        }
    }
}

impl Inner {
    fn close(&self) {
        let _ = self.queue.send(Message::Close);
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer {
            // A writer that panicked has said so; the next start finds what it left.
            let _ = writer.join();
        }
        self.flush_spool();
    }

    fn flush_spool(&self) {
        let (done, wait) = mpsc::sync_channel(1);
        if self.spool_queue.as_ref().is_some_and(|queue| queue.send(SpoolMessage::Flush(done)).is_ok()) {
            let _ = wait.recv();
        }
    }
}

impl Drop for Inner {
    /// The directory's lock is given up only when both threads have finished with it.
    fn drop(&mut self) {
        self.close();
        self.spool_queue = None;
        if let Some(spooler) = self.spooler.take() {
            let _ = spooler.join();
        }
        let held = self.spool.lock().unwrap_or_else(PoisonError::into_inner).held();
        if held > 0 {
            self.metrics.cdr_lost(held as u64);
            tracing::error!(records = held, "call records that could not be written anywhere are lost");
        }
    }
}

fn run_spool(spool: &SharedSpool, messages: &Receiver<SpoolMessage>, metrics: &Metrics) {
    for message in messages {
        match message {
            SpoolMessage::Record(record) => spool_record(spool, &record, metrics),
            SpoolMessage::Flush(done) => {
                let _ = done.try_send(());
            }
        }
    }
}

/// Puts a record into the spool and says what came of it.
fn spool_record(spool: &SharedSpool, record: &CallRecord, metrics: &Metrics) {
    let spooled = spool.lock().unwrap_or_else(PoisonError::into_inner).append(record);
    metrics.cdr_spooled();
    match spooled {
        Spooled::Written => {}
        Spooled::Held => {
            tracing::error!(call = %record.call, "{SPOOL_FILE} cannot be written; this call's record is only in memory");
        }
        Spooled::HeldLosingOne => {
            metrics.cdr_lost(1);
            tracing::error!(
                "{SPOOL_FILE} cannot be written and memory for call records is full: the oldest is lost"
            );
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

fn not_writable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::NotWritable { path: path.to_owned(), reason: error.to_string() }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    Ok(std::thread::Builder::new().name(name.to_owned()).spawn(work)?)
}
