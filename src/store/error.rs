//! What can be wrong with the store, said so that a person can act on it.
//! Knows paths and reasons; the exit code is the command's business.

use rusqlite::ErrorCode;
use std::path::{Path, PathBuf};

/// Why the store cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operator's: the directory cannot be used.
    #[error("cannot write in the data directory {}: {reason}; give another one with --data-dir", path.display())]
    NotWritable {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// Another server owns it.
    #[error("another Tandem is using the data directory {}; stop it, or give this one its own with --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The file is damaged, or not ours.
    #[error("{} is not a sound database ({reason}); move it away to start with an empty one", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A newer program wrote it.
    #[error("{} is of version {found}, this Tandem knows {ours}; use the newer Tandem, or another --data-dir", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: usize,
        /// Ours.
        ours: usize,
    },
    /// A database server that does not answer, or not in time.
    #[error("{} cannot be used: {reason}; is it running, and is store.database right?", path.display())]
    Unreachable {
        /// Its name.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// Nothing has been stored yet.
    #[error("no calls are stored in {}; is the data directory right? (--data-dir)", path.display())]
    Absent {
        /// The directory.
        path: PathBuf,
    },
    /// No such call.
    #[error("no call {asked:?}; `tandem trace` lists the calls")]
    Unknown {
        /// What was asked for.
        asked: String,
    },
    /// Several calls begin like that.
    #[error("{asked:?} could be {}; give more digits", matches.join(" or "))]
    Ambiguous {
        /// What was asked for.
        asked: String,
        /// Some of the calls it could be.
        matches: Vec<String>,
    },
    /// Values that the database will never take; it is sound otherwise.
    #[error("the database {} refuses values: {reason}", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: String,
    },
    /// Anything else the database says.
    #[error("the database {} fails: {reason}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// A file beside the database fails.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl StoreError {
    /// Sorts an error of SQLite by what can be done about it.
    pub(super) fn from_sqlite(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        let code = error.sqlite_error_code();
        if matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            return Self::Corrupt { path, reason };
        }
        if matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied)) {
            return Self::NotWritable { path, reason };
        }
        if matches!(code, Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig))
        {
            return Self::Rejected { path, reason };
        }
        Self::Database { path, reason }
    }
}
