//! Conversations of callers who may have been cut off, outside this process: in the database that call records go into.
//! Knows keys, texts and how long each is good. Who is behind a key is a keyed hash here and nowhere else.

use super::{
    StoreConfig, Value,
    database::{self, Database, Statement},
    unix_us,
};
use crate::{
    queue::{Receiver, Sender, bounded},
    secret::Secret,
    telemetry::Metrics,
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// What waits for the database; beyond that a conversation is not put away, and counted.
pub const CHECKPOINT_QUEUE: usize = 1_024;
/// Bytes of one conversation: a context holds 24,000 bytes of words, and JSON may double them.
const LONGEST: usize = 131_072;
/// Between two looks at what is too old.
const EXPIRE: Duration = Duration::from_secs(60);
/// Between two attempts at a database that cannot be opened, and between two log lines about it.
const AGAIN: Duration = Duration::from_secs(5);

const TABLE: &str = "CREATE TABLE IF NOT EXISTS checkpoints (
    caller TEXT PRIMARY KEY, at_us BIGINT NOT NULL, until_us BIGINT NOT NULL, state TEXT NOT NULL)";

/// A caller, as the database knows one: a keyed hash of both numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerKey(String);

impl CallerKey {
    /// The key of who calls this number. Without the secret nobody can tell whose it is, nor try all numbers there are.
    pub fn new(secret: &Secret, caller: &str, called: &str) -> Self {
        let Ok(mac) = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else {
            unreachable!("HMAC takes keys of any length");
        };
        let hash = mac.chain_update(caller).chain_update([0]).chain_update(called).finalize().into_bytes();
        Self(crate::hex::hex(&hash))
    }
}

/// Puts conversations away and finds them again. Clones share one thread with a connection of its own.
#[derive(Clone)]
pub struct Checkpoints {
    queue: Sender<Job>,
    lost: Arc<AtomicU64>,
    metrics: Metrics,
}

/// Writes a conversation down, on the thread that keeps it; nothing, where that cannot be done.
pub type Written = Box<dyn FnOnce() -> Option<String> + Send>;

enum Job {
    Keep { caller: CallerKey, until_us: i64, state: Written },
    Forget { caller: CallerKey },
    Find { caller: CallerKey, reply: oneshot::Sender<Option<String>> },
}

impl Checkpoints {
    /// Starts the thread. The database is opened by it, and again when it fails.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start(config: &StoreConfig, metrics: Metrics) -> std::io::Result<Self> {
        let (queue, jobs) = bounded(CHECKPOINT_QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let mut keeper = Keeper {
            config: config.clone(),
            database: None,
            expired: None,
            failed: None,
            lost: Arc::clone(&lost),
            metrics: metrics.clone(),
        };
        std::thread::Builder::new().name("tandem-checkpoints".to_owned()).spawn(move || keeper.run(&jobs))?;
        Ok(Self { queue, lost, metrics })
    }

    /// Puts a conversation away, in the place of the caller's last one. Never waits.
    pub fn keep(&self, caller: &CallerKey, good_for: Duration, state: Written) {
        let until_us = unix_us() + i64::try_from(good_for.as_micros()).unwrap_or(i64::MAX / 2);
        if !self.put(Job::Keep { caller: caller.clone(), until_us, state }) {
            self.lose();
        }
    }

    /// The conversation came to its end. Never waits.
    pub fn forget(&self, caller: &CallerKey) {
        if !self.put(Job::Forget { caller: caller.clone() }) {
            self.lose();
        }
    }

    fn lose(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.metrics.queue_dropped("checkpoints", 1);
    }

    /// The caller's last conversation, if it is good still.
    pub async fn find(&self, caller: CallerKey) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        if !self.put(Job::Find { caller, reply }) {
            return None;
        }
        answer.await.ok().flatten()
    }

    /// Conversations that could not be put away.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn put(&self, job: Job) -> bool {
        self.queue.try_send(job).is_ok()
    }
}

struct Keeper {
    config: StoreConfig,
    database: Option<Box<dyn Database>>,
    expired: Option<Instant>,
    failed: Option<Instant>,
    lost: Arc<AtomicU64>,
    metrics: Metrics,
}

impl Keeper {
    /// Until nobody holds the other end any more.
    fn run(&mut self, jobs: &Receiver<Job>) {
        for job in jobs.iter() {
            self.expire();
            match job {
                Job::Keep { caller, until_us, state } => match state().filter(|state| state.len() <= LONGEST)
                {
                    Some(state) => self.keep(caller, until_us, state),
                    None => {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                        self.metrics.queue_dropped("checkpoints", 1);
                    }
                },
                Job::Forget { caller } => {
                    let sql = "DELETE FROM checkpoints WHERE caller = ?1";
                    self.write(Statement::new(sql, vec![Value::Text(caller.0)]));
                }
                // Who asked may have gone.
                Job::Find { caller, reply } => drop(reply.send(self.find(caller))),
            }
        }
    }

    fn keep(&mut self, caller: CallerKey, until_us: i64, state: String) {
        self.write(Statement::new(
            "INSERT INTO checkpoints (caller, at_us, until_us, state) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (caller) DO UPDATE SET
             at_us = excluded.at_us, until_us = excluded.until_us, state = excluded.state",
            vec![
                Value::Text(caller.0),
                Value::Integer(unix_us()),
                Value::Integer(until_us),
                Value::Text(state),
            ],
        ));
    }

    fn write(&mut self, statement: Statement) {
        let done = self.with(|database| database.transact(std::slice::from_ref(&statement), false));
        if done.is_none() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn find(&mut self, caller: CallerKey) -> Option<String> {
        let values = [Value::Text(caller.0), Value::Integer(unix_us())];
        let sql = "SELECT state FROM checkpoints WHERE caller = ?1 AND until_us > ?2";
        let rows = self.with(|database| database.query(sql, &values))?;
        rows.first()?.first()?.text().map(str::to_owned)
    }

    fn expire(&mut self) {
        if self.expired.is_some_and(|at| at.elapsed() < EXPIRE) {
            return;
        }
        self.expired = Some(Instant::now());
        let sql = "DELETE FROM checkpoints WHERE until_us <= ?1";
        let old = Statement::new(sql, vec![Value::Integer(unix_us())]);
        self.with(|database| database.transact(std::slice::from_ref(&old), false));
    }

    /// Does something with the database, which is opened for it if need be. A failure is told once in a while.
    fn with<T>(&mut self, work: impl FnOnce(&mut dyn Database) -> Result<T, super::StoreError>) -> Option<T> {
        if self.database.is_none() && self.failed.is_some_and(|at| at.elapsed() < AGAIN) {
            return None;
        }
        let result = match &mut self.database {
            Some(database) => work(database.as_mut()),
            none => open(&self.config).and_then(|database| work(none.insert(database).as_mut())),
        };
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.database = None;
                if self.failed.is_none_or(|at| at.elapsed() >= AGAIN) {
                    tracing::error!(reason = %error, "conversations of callers who are cut off are not kept");
                }
                self.failed = Some(Instant::now());
                None
            }
        }
    }
}

fn open(config: &StoreConfig) -> Result<Box<dyn Database>, super::StoreError> {
    let mut database = database::open(&config.database, &config.directory, config.size_limit)?;
    let table = Statement::new(TABLE, Vec::new());
    // Of two servers that make the table at once, one fails; it is there then.
    database
        .transact(std::slice::from_ref(&table), false)
        .or_else(|_| database.transact(std::slice::from_ref(&table), false))?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Written {
        Box::new(move || Some(text.to_owned()))
    }

    fn config(name: &str) -> StoreConfig {
        let folder = std::env::temp_dir().join(format!("tandem-checkpoints-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        StoreConfig::new(folder)
    }

    #[tokio::test]
    async fn what_was_put_away_is_found_by_the_same_caller_until_it_is_too_old() {
        let config = config("found");
        let secret = Secret::new("key");
        let (ann, bob) = (CallerKey::new(&secret, "+491", "+492"), CallerKey::new(&secret, "+491", "+493"));
        let keeper = Checkpoints::start(&config, Metrics::default()).expect("a thread");
        assert_eq!(keeper.find(ann.clone()).await, None);
        keeper.keep(&ann, Duration::from_secs(60), text("first"));
        keeper.keep(&ann, Duration::from_secs(60), text("second"));
        keeper.keep(&bob, Duration::ZERO, text("too old"));
        // Another process finds the same.
        drop(keeper.find(ann.clone()).await);
        let other = Checkpoints::start(&config, Metrics::default()).expect("a thread");
        assert_eq!(other.find(ann.clone()).await.as_deref(), Some("second"));
        assert_eq!(other.find(bob).await, None);
        other.forget(&ann);
        assert_eq!(other.find(ann).await, None);
        assert_eq!((keeper.lost(), other.lost()), (0, 0));
        let _ = std::fs::remove_dir_all(&config.directory);
    }

    #[tokio::test]
    async fn the_database_never_holds_a_number() {
        let config = config("hash");
        let caller = CallerKey::new(&Secret::new("key"), "+4917012345678", "+4930555");
        let keeper = Checkpoints::start(&config, Metrics::default()).expect("a thread");
        keeper.keep(&caller, Duration::from_secs(60), text("{}"));
        keeper.find(caller.clone()).await;
        let files = std::fs::read_dir(&config.directory).expect("the folder").flatten();
        for file in files {
            let bytes = std::fs::read(file.path()).unwrap_or_default();
            let holds = |number: &str| bytes.windows(number.len()).any(|part| part == number.as_bytes());
            assert!(!holds("17012345678") && !holds("30555"), "{}", file.path().display());
        }
        assert_ne!(caller, CallerKey::new(&Secret::new("other"), "+4917012345678", "+4930555"));
        let _ = std::fs::remove_dir_all(&config.directory);
    }

    #[tokio::test]
    async fn a_folder_that_is_gone_costs_a_conversation_and_no_more() {
        let config = StoreConfig::new("/nonexistent/tandem");
        let keeper = Checkpoints::start(&config, Metrics::default()).expect("a thread");
        let caller = CallerKey::new(&Secret::new("key"), "a", "b");
        keeper.keep(&caller, Duration::from_secs(60), text("{}"));
        assert_eq!(keeper.find(caller).await, None);
        assert_eq!(keeper.lost(), 1);
    }

    #[tokio::test]
    async fn what_is_too_long_to_be_kept_leaves_what_was_kept_before() {
        let config = config("long");
        let caller = CallerKey::new(&Secret::new("key"), "a", "b");
        let keeper = Checkpoints::start(&config, Metrics::default()).expect("a thread");
        keeper.keep(&caller, Duration::from_secs(60), text("first"));
        keeper.keep(&caller, Duration::from_secs(60), Box::new(|| Some("x".repeat(LONGEST + 1))));
        keeper.keep(&caller, Duration::from_secs(60), Box::new(|| None));
        assert_eq!(keeper.find(caller).await.as_deref(), Some("first"));
        assert_eq!(keeper.lost(), 2);
        let _ = std::fs::remove_dir_all(&config.directory);
    }
}
