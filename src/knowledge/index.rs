//! Passages in a full-text index (SQLite FTS5, in memory), ranked by BM25, and beside it, where there are any, by their
//! embeddings; the two ranks are fused. Knows words and vectors. Does not know who asks.

use super::document::{self, Document, MAX_TEXT, Refused};
use conversation::{Passage, fit};
use rusqlite::{Connection, params};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Mutex, OnceLock, PoisonError},
};

/// Passages that each of the two ranks proposes.
const CANDIDATES: usize = 20;
/// Reciprocal rank fusion (Cormack, Clarke, Buettcher 2009): how little the first place weighs more than the second.
const FUSION: f32 = 60.0;
/// A word of so many letters is looked for without its ending as well.
const LONG_WORD: usize = 6;
/// A passage that has less of the question than this share of what the best one has is not worth a model's attention.
const BESIDE_THE_BEST: f32 = 0.5;
/// Vectors less alike than this have nothing to do with each other.
const ALIKE: f32 = 0.3;

/// What an agent can look up, as it was at one moment.
pub struct Index {
    /// Searches are short and come from one thread.
    connection: Mutex<Connection>,
    passages: Vec<Passage>,
    /// Of length one, in the order of the passages; empty without embeddings.
    vectors: OnceLock<Vec<Vec<f32>>>,
    documents: usize,
    refused: Vec<Refused>,
}

impl Index {
    /// Reads every document below these folders.
    ///
    /// # Errors
    /// When SQLite cannot hold it. What is wrong with single files is in [`Self::refused`].
    pub fn read(folders: &[PathBuf]) -> Result<Self, rusqlite::Error> {
        let (files, mut refused) = document::files(folders);
        let (mut documents, mut bytes) = (Vec::new(), 0);
        for (path, base) in files {
            match document::read(&path, &base) {
                Ok(document) => {
                    bytes +=
                        document.passages.iter().map(|(title, text)| title.len() + text.len()).sum::<usize>();
                    if bytes > MAX_TEXT {
                        let reason =
                            format!("all documents together have more than {} MB of text", MAX_TEXT >> 20);
                        refused.push(Refused { path, reason });
                        break;
                    }
                    documents.push(document);
                }
                Err(file) => refused.push(file),
            }
        }
        Self::of(&documents, refused)
    }

    /// Of these documents.
    ///
    /// # Errors
    /// When SQLite cannot hold it.
    pub fn of(documents: &[Document], refused: Vec<Refused>) -> Result<Self, rusqlite::Error> {
        let mut connection = Connection::open_in_memory()?;
        connection.execute_batch(
            "CREATE VIRTUAL TABLE passages USING fts5(title, text, tokenize = 'porter unicode61 remove_diacritics 2')",
        )?;
        let transaction = connection.transaction()?;
        let mut passages = Vec::new();
        {
            let mut insert =
                transaction.prepare("INSERT INTO passages (rowid, title, text) VALUES (?1, ?2, ?3)")?;
            for document in documents {
                for (number, (title, text)) in (1..).zip(&document.passages) {
                    insert.execute(params![passages.len() as i64, title, text])?;
                    let source = format!("{}#{number}", document.name);
                    passages.push(Passage { source, title: title.clone(), text: text.clone(), fit: 0.0 });
                }
            }
        }
        transaction.commit()?;
        let (connection, documents) = (Mutex::new(connection), documents.len());
        Ok(Self { connection, passages, vectors: OnceLock::new(), documents, refused })
    }

    /// Adds a vector for each passage, once. Vectors of another number or of different lengths are none.
    pub fn add_vectors(&self, vectors: Vec<Vec<f32>>) {
        let length = vectors.first().map_or(0, Vec::len);
        let fits =
            vectors.len() == self.passages.len() && vectors.iter().all(|vector| vector.len() == length);
        if fits && length > 0 {
            let _ = self.vectors.set(vectors.into_iter().map(unit).collect());
        }
    }

    /// The passages that fit best, best first.
    ///
    /// # Errors
    /// Faults of the database.
    pub fn search(
        &self,
        words: &str,
        vector: Option<Vec<f32>>,
        most: usize,
    ) -> Result<Vec<Passage>, rusqlite::Error> {
        let by_words = self.by_words(words)?;
        let by_vector = vector.map(|vector| self.by_vector(&unit(vector))).unwrap_or_default();
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let mut scores: BTreeMap<usize, f32> = BTreeMap::new();
        for ranked in [by_words, by_vector.iter().map(|(at, _)| *at).collect()] {
            for (rank, at) in (1_u16..).zip(ranked) {
                *scores.entry(at).or_default() += 1.0 / (FUSION + f32::from(rank));
            }
        }
        let mut order: Vec<(usize, f32)> = scores.into_iter().collect();
        order.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let found = order.into_iter().filter_map(|(at, _)| {
            let passage = self.passages.get(at)?;
            let likeness =
                by_vector.iter().find(|(place, _)| *place == at).map_or(0.0, |(_, likeness)| *likeness);
            let fit = fit(&words, &passage.title, &passage.text).max(likeness);
            Some(Passage { fit, ..passage.clone() })
        });
        let mut found: Vec<Passage> = found.take(most.max(1) * 2).collect();
        let best = found.iter().map(|passage| passage.fit).fold(0.0, f32::max);
        found.retain(|passage| passage.fit > 0.0 && passage.fit >= best * BESIDE_THE_BEST);
        found.truncate(most);
        Ok(found)
    }

    /// The places of the passages that have any of the words, by BM25.
    fn by_words(&self, words: &str) -> Result<Vec<usize>, rusqlite::Error> {
        let Some(wanted) = expression(words) else { return Ok(Vec::new()) };
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        // A word in the heading says more than one in the text.
        let mut statement = connection.prepare_cached(
            "SELECT rowid FROM passages WHERE passages MATCH ?1 ORDER BY bm25(passages, 3, 1), rowid LIMIT ?2",
        )?;
        let rows = statement.query_map(params![wanted, CANDIDATES as i64], |row| row.get::<_, i64>(0))?;
        rows.map(|row| row.map(|row| usize::try_from(row).unwrap_or(usize::MAX))).collect()
    }

    /// The places of the passages whose vectors are nearest, and how near.
    fn by_vector(&self, vector: &[f32]) -> Vec<(usize, f32)> {
        let likeness = |known: &Vec<f32>| known.iter().zip(vector).map(|(a, b)| a * b).sum::<f32>();
        let fitting = self
            .vectors
            .get()
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|(_, known)| known.len() == vector.len());
        let mut near: Vec<(usize, f32)> = fitting.map(|(at, known)| (at, likeness(known))).collect();
        near.retain(|(_, likeness)| *likeness >= ALIKE);
        near.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        near.truncate(CANDIDATES);
        near
    }

    /// Its passages.
    pub fn passages(&self) -> &[Passage] {
        &self.passages
    }

    /// How many documents it has.
    pub const fn documents(&self) -> usize {
        self.documents
    }

    /// Whether its passages have vectors.
    pub fn has_vectors(&self) -> bool {
        self.vectors.get().is_some()
    }

    /// What was left out, and why.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }
}

/// The same direction, of length one.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

/// A question as the index wants it: any of its words, long ones without their ending as well. What a caller says never
/// is a query of its own.
fn expression(words: &str) -> Option<String> {
    let mut terms = Vec::new();
    for word in words.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        terms.push(format!("\"{word}\""));
        let letters = word.chars().count();
        if letters >= LONG_WORD {
            let stem: String = word.chars().take(letters - 2).collect();
            terms.push(format!("\"{stem}\" *"));
        }
    }
    (!terms.is_empty()).then(|| terms.join(" OR "))
}

#[cfg(test)]
impl Index {
    /// Keeps every search waiting until it is dropped.
    pub(super) fn hold(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
