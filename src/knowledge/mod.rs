//! What agents look up: folders of documents, indexed on this machine, searched on a thread of their own, and taken in anew
//! when they change. Knows files, passages and time. Does not know when a call wants them or what a model makes of them.

mod document;
mod index;

pub use document::{Document, Refused};
pub use index::Index;

use crate::{
    providers::{Events, ProviderEvent},
    telemetry::metrics::Metrics,
};
use conversation::Passage;
use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};
use tokio::runtime::Handle;

/// How often the folders are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// Searches that wait for their thread. One takes well below a millisecond; more than these are answered with "busy".
pub const SEARCHES: usize = 64;

/// Where an agent's documents are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Library {
    /// In folders.
    Folders(Vec<PathBuf>),
    /// In the program: names and Markdown.
    BuiltIn(Vec<(String, String)>),
}

impl Library {
    fn index(&self) -> Result<Index, rusqlite::Error> {
        match self {
            Self::Folders(folders) => Index::read(folders),
            Self::BuiltIn(texts) => {
                let documents: Vec<Document> =
                    texts.iter().map(|(name, text)| Document::new(name.clone(), text, true)).collect();
                Index::of(&documents, Vec::new())
            }
        }
    }

    /// Changes with every change of the files.
    fn fingerprint(&self) -> u64 {
        match self {
            Self::Folders(folders) => document::fingerprint(folders),
            Self::BuiltIn(_) => 0,
        }
    }
}

/// The knowledge of one agent.
pub struct Knowledge {
    agent: String,
    library: Library,
    current: Mutex<(Arc<Index>, u64)>,
    searcher: Searcher,
}

impl Knowledge {
    /// Takes the documents in, and goes on watching them until it is dropped. Waits for the disk.
    ///
    /// # Errors
    /// When the index cannot be built at all. Single files that cannot be read are told to the log.
    pub fn start(
        agent: &str,
        library: Library,
        searcher: Searcher,
        runtime: &Handle,
    ) -> Result<Arc<Self>, rusqlite::Error> {
        let fingerprint = library.fingerprint();
        let index = library.index()?;
        let current = Mutex::new((Arc::new(index), fingerprint));
        let knowledge = Arc::new(Self { agent: agent.to_owned(), library, current, searcher });
        knowledge.tell();
        if matches!(knowledge.library, Library::Folders(_)) {
            runtime.spawn(watch(Arc::downgrade(&knowledge)));
        }
        Ok(knowledge)
    }

    /// What is indexed now. A call keeps what there was when it began.
    pub fn current(&self) -> Arc<Index> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// What one call looks up: the documents as they are now, whatever becomes of them meanwhile.
    pub fn for_call(&self) -> Documents {
        Documents { index: self.current(), searcher: self.searcher.clone() }
    }

    /// Takes the documents in anew if anything about them has changed: all of them, or the last good ones stay. Says
    /// whether new calls see something new.
    fn refresh(&self) -> bool {
        let fingerprint = self.library.fingerprint();
        if fingerprint == self.current.lock().unwrap_or_else(PoisonError::into_inner).1 {
            return false;
        }
        match self.library.index() {
            Ok(index) => {
                *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::new(index), fingerprint);
                self.tell();
                true
            }
            Err(error) => {
                tracing::warn!(agent = self.agent, %error, "changed documents cannot be indexed: the old ones stay");
                false
            }
        }
    }

    fn tell(&self) {
        let index = self.current();
        for Refused { path, reason } in index.refused() {
            tracing::warn!(agent = self.agent, file = %path.display(), reason, "a document is left out");
        }
        let (documents, passages) = (index.documents(), index.passages().len());
        tracing::info!(agent = self.agent, documents, passages, "documents can be looked up");
    }
}

async fn watch(knowledge: Weak<Knowledge>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(knowledge) = knowledge.upgrade() else { return };
        // Large folders take a while to read, and nobody waits for them.
        let _ = tokio::task::spawn_blocking(move || knowledge.refresh()).await;
    }
}

/// What one call can look up.
#[derive(Clone)]
pub struct Documents {
    index: Arc<Index>,
    searcher: Searcher,
}

impl Documents {
    /// Searches without waiting. The result is reported to `events` under this number.
    pub fn look_up(&self, number: u32, words: String, most: usize, events: Events) {
        self.searcher.push(Search { index: Arc::clone(&self.index), number, words, most, events });
    }
}

struct Search {
    index: Arc<Index>,
    number: u32,
    words: String,
    most: usize,
    events: Events,
}

/// The thread on which all searches are made, one after the other. It ends with the last of its clones.
#[derive(Clone)]
pub struct Searcher {
    searches: SyncSender<Search>,
    metrics: Metrics,
}

impl Searcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn start(metrics: Metrics) -> std::io::Result<Self> {
        let (searches, inbox) = sync_channel(SEARCHES);
        thread::Builder::new().name("knowledge".into()).spawn(move || run(&inbox))?;
        Ok(Self { searches, metrics })
    }

    fn push(&self, search: Search) {
        let (number, events) = (search.number, search.events.clone());
        if self.searches.try_send(search).is_err() {
            self.metrics.queue_dropped("searches", 1);
            let result = Err(format!("{SEARCHES} searches are waiting already"));
            events.try_send(ProviderEvent::Found(number, result));
        }
    }
}

fn run(searches: &Receiver<Search>) {
    for Search { index, number, words, most, events } in searches {
        if events.is_gone() {
            continue;
        }
        let found = index.search(&words, most);
        let result: Result<Vec<Passage>, String> =
            found.map_err(|error| format!("the documents cannot be searched: {error}"));
        // An inbox without room is a call in trouble: it goes on without passages.
        events.try_send(ProviderEvent::Found(number, result));
    }
}

#[cfg(test)]
mod tests;
