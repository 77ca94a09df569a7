//! Passages in a full-text index (SQLite FTS5, in memory), ranked by BM25.
//! Knows words. Does not know who asks.

use super::document::{self, Document, MAX_TEXT, Refused};
use conversation::{Passage, fit};
use rusqlite::{Connection, params};
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// Passages that the rank proposes; how much of the question they have decides among them.
const CANDIDATES: usize = 20;
/// A word of so many letters is looked for without its ending as well.
const LONG_WORD: usize = 6;
/// A passage that has less of the question than this share of what the best one has is not worth a model's attention.
const BESIDE_THE_BEST: f32 = 0.5;
/// What an agent can look up, as it was at one moment.
pub struct Index {
    /// Searches are short and come from one thread.
    connection: Mutex<Connection>,
    passages: Vec<Passage>,
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
        Ok(Self { connection, passages, documents, refused })
    }

    /// The passages that fit best, best first.
    ///
    /// # Errors
    /// Faults of the database.
    pub fn search(&self, words: &str, most: usize) -> Result<Vec<Passage>, rusqlite::Error> {
        let asked: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let ranked = self.by_words(words)?.into_iter().filter_map(|at| self.passages.get(at));
        let found = ranked.map(|passage| {
            let fit = fit(&asked, &passage.title, &passage.text);
            Passage { fit, ..passage.clone() }
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

    /// Its passages.
    pub fn passages(&self) -> &[Passage] {
        &self.passages
    }

    /// How many documents it has.
    pub const fn documents(&self) -> usize {
        self.documents
    }

    /// What was left out, and why.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }
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
