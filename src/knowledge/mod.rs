//! What agents look up: folders of documents, indexed on this machine, searched on a thread of their own, and taken in anew
//! when they change. Knows files, passages and time. Does not know when a call wants them or what a model makes of them.

mod document;
mod index;

pub use document::{Document, Refused};
pub use index::Index;

use crate::{
    providers::{
        Events, ProviderEvent,
        embeddings::{Embeddings, Without},
    },
    queue::{Receiver, Sender, bounded},
    telemetry::metrics::Metrics,
};
use conversation::Passage;
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
    time::Duration,
};
use tokio::runtime::Handle;

/// How often the folders are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// Looks after which vectors that could not be had are asked for again: a minute.
const VECTORS_EVERY: u32 = 12;
/// Passages in one request for vectors, and how long it may take.
const BATCH: usize = 64;
const BATCH_PATIENCE: Duration = Duration::from_secs(20);
/// Passages with vectors at most: some 60 MB of them with 1,536 numbers each, and 10 ms of a search.
const MOST_VECTORS: usize = 10_000;
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
    embeddings: Option<Arc<Embeddings>>,
    runtime: Handle,
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
        embeddings: Option<Arc<Embeddings>>,
        runtime: Handle,
    ) -> Result<Arc<Self>, rusqlite::Error> {
        let fingerprint = library.fingerprint();
        let index = library.index()?;
        let current = Mutex::new((Arc::new(index), fingerprint));
        let agent = agent.to_owned();
        let knowledge = Arc::new(Self { agent, library, current, searcher, embeddings, runtime });
        knowledge.tell();
        knowledge.runtime.spawn(watch(Arc::downgrade(&knowledge)));
        Ok(knowledge)
    }

    /// What is indexed now. A call keeps what there was when it began.
    pub fn current(&self) -> Arc<Index> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner).0)
    }

    /// What one call looks up: the documents as they are now, whatever becomes of them meanwhile.
    pub fn for_call(&self) -> Documents {
        let (embeddings, runtime) = (self.embeddings.clone(), self.runtime.clone());
        Documents { index: self.current(), searcher: self.searcher.clone(), embeddings, runtime }
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

    /// Asks for the vectors of the current passages, if there are none yet. Until they have come, and without them, the
    /// words alone find.
    async fn add_vectors(&self) {
        let (index, Some(embeddings)) = (self.current(), &self.embeddings) else { return };
        if index.has_vectors() || index.passages().is_empty() {
            return;
        }
        if index.passages().len() > MOST_VECTORS {
            tracing::warn!(
                agent = self.agent,
                passages = index.passages().len(),
                "more than {MOST_VECTORS} passages are found by their words only"
            );
            return;
        }
        let mut vectors = Vec::with_capacity(index.passages().len());
        for batch in index.passages().chunks(BATCH) {
            let texts: Vec<String> =
                batch.iter().map(|found| format!("{}: {}", found.title, found.text)).collect();
            match embeddings.embed(&texts, BATCH_PATIENCE).await {
                Ok(more) => vectors.extend(more),
                Err(reason) => {
                    tracing::warn!(
                        agent = self.agent,
                        reason,
                        "documents are found by their words only, for now"
                    );
                    return;
                }
            }
        }
        tracing::info!(
            agent = self.agent,
            passages = vectors.len(),
            "documents are found by their meaning, too"
        );
        index.add_vectors(vectors);
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
    for round in 0_u32.. {
        let Some(knowledge) = knowledge.upgrade() else { return };
        // Large folders take a while to read, and nobody waits for them.
        let reader = Arc::clone(&knowledge);
        let changed = tokio::task::spawn_blocking(move || reader.refresh()).await.unwrap_or(false);
        // An endpoint that does not answer is not asked again at once.
        if changed || round.is_multiple_of(VECTORS_EVERY) {
            knowledge.add_vectors().await;
        }
        drop(knowledge);
        tokio::time::sleep(EVERY).await;
    }
}

/// What one call can look up.
#[derive(Clone)]
pub struct Documents {
    index: Arc<Index>,
    searcher: Searcher,
    embeddings: Option<Arc<Embeddings>>,
    runtime: Handle,
}

impl Documents {
    /// Searches without waiting. The result is reported to `events` under this number.
    pub fn look_up(&self, number: u32, words: String, most: usize, events: Events) {
        let search = Search { index: Arc::clone(&self.index), number, words, most, events, vector: None };
        match self.embeddings.as_ref().filter(|_| self.index.has_vectors()) {
            None => self.searcher.push(search),
            Some(embeddings) => {
                let (embeddings, searcher) = (Arc::clone(embeddings), self.searcher.clone());
                self.runtime.spawn(async move {
                    let search = search.with_vector(&embeddings, &searcher.metrics).await;
                    searcher.push(search);
                });
            }
        }
    }
}

struct Search {
    index: Arc<Index>,
    number: u32,
    words: String,
    most: usize,
    events: Events,
    vector: Option<Vec<f32>>,
}

impl Search {
    /// The same, by its meaning too, if that comes in time.
    async fn with_vector(self, embeddings: &Embeddings, metrics: &Metrics) -> Self {
        match embeddings.question(&self.words).await {
            Ok(vector) => return Self { vector: Some(vector), ..self },
            Err(Without::Resting) => {}
            Err(Without::Full) => metrics.queue_dropped("embeddings", 1),
            // Counted, and told in the trace: the call itself never notices.
            Err(Without::Failed(reason)) => {
                self.events.try_send(ProviderEvent::Failed { stage: "knowledge", reason });
            }
        }
        self
    }
}

/// The thread on which all searches are made, one after the other. It ends with the last of its clones.
#[derive(Clone)]
pub struct Searcher {
    searches: Sender<Search>,
    metrics: Metrics,
}

impl Searcher {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none left.
    pub fn start(metrics: Metrics) -> std::io::Result<Self> {
        let (searches, inbox) = bounded(SEARCHES);
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
    for Search { index, number, words, most, events, vector } in searches.iter() {
        if events.is_gone() {
            continue;
        }
        let found = index.search(&words, vector, most);
        let result: Result<Vec<Passage>, String> =
            found.map_err(|error| format!("the documents cannot be searched: {error}"));
        // An inbox without room is a call in trouble: it goes on without passages.
        events.try_send(ProviderEvent::Found(number, result));
    }
}

#[cfg(test)]
mod tests;
