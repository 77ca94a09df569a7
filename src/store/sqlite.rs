//! SQLite behind [`Database`]: one file, no server.
//! Knows the file's moods; the tables are `schema`'s.

use super::{
    DATABASE_FILE, StoreError, Value,
    database::{Database, Row, Statement},
    schema,
};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params, params_from_iter, types};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a lock held by somebody else is waited for.
const BUSY: Duration = Duration::from_secs(1);
/// The same, for who only reads.
const READER_BUSY: Duration = Duration::from_secs(2);

pub(super) struct Sqlite {
    connection: Connection,
    path: PathBuf,
}

impl Sqlite {
    /// Opens the file for writing, makes it if it is missing, and brings its tables up to date.
    pub(super) fn open(directory: &Path, size_limit: Option<u64>) -> Result<Self, StoreError> {
        let path = directory.join(DATABASE_FILE);
        let open = || -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            if let Some(limit) = size_limit {
                let page: u64 =
                    connection.query_row("PRAGMA page_size", [], |row| row.get::<_, i64>(0))?.unsigned_abs();
                let pages = i64::try_from(limit / page.max(1)).unwrap_or(i64::MAX);
                connection.query_row(&format!("PRAGMA max_page_count={pages}"), [], |_| Ok(()))?;
            }
            Ok(connection)
        };
        let mut connection = open().map_err(|error| StoreError::from_sqlite(&path, &error))?;
        schema::migrate(&mut connection, &path)?;
        Ok(Self { connection, path })
    }

    /// Opens the file for reading, also while a server writes.
    pub(super) fn open_reader(directory: &Path) -> Result<Self, StoreError> {
        let Ok(path) = directory.join(DATABASE_FILE).canonicalize() else {
            return Err(StoreError::Absent { path: directory.to_owned() });
        };
        let connection = connect_reader(&path)?;
        if schema::version(&connection, &path)? == 0 {
            return Err(StoreError::Absent { path: directory.to_owned() });
        }
        Ok(Self { connection, path })
    }

    fn error(&self, error: &rusqlite::Error) -> StoreError {
        StoreError::from_sqlite(&self.path, error)
    }

    fn try_transact(&mut self, statements: &[Statement], durable: bool) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "synchronous", if durable { "FULL" } else { "NORMAL" })?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for statement in statements {
            let values = params_from_iter(statement.values.iter().map(sqlite_value));
            transaction.prepare_cached(&statement.sql)?.execute(values)?;
        }
        transaction.commit()
    }

    fn try_query(&self, sql: &str, values: &[Value]) -> rusqlite::Result<Vec<Row>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let columns = statement.column_count();
        let values = params_from_iter(values.iter().map(sqlite_value));
        let rows = statement.query_map(values, |row| {
            (0..columns).map(|column| row.get::<_, types::Value>(column).map(value_of)).collect()
        })?;
        rows.collect()
    }
}

impl Database for Sqlite {
    fn transact(&mut self, statements: &[Statement], durable: bool) -> Result<(), StoreError> {
        self.try_transact(statements, durable).map_err(|error| self.error(&error))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.try_query(sql, values).map_err(|error| self.error(&error))
    }
}

fn sqlite_value(value: &Value) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Integer(value) => types::Value::Integer(*value),
        Value::Real(value) => types::Value::Real(*value),
        Value::Text(text) => types::Value::Text(text.clone()),
    }
}

fn value_of(value: types::Value) -> Value {
    match value {
        types::Value::Null => Value::Null,
        types::Value::Integer(value) => Value::Integer(value),
        types::Value::Real(value) => Value::Real(value),
        types::Value::Text(text) => Value::Text(text),
        types::Value::Blob(bytes) => Value::Text(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// Opens read-only. Where even the index of the write-ahead log cannot be made (a directory that belongs to somebody
/// else, no server running), the file is read as it lies there.
fn connect_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let open = |query: &str| -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(uri(path, query), flags)?;
        connection.busy_timeout(READER_BUSY)?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", params![], |_| Ok(()))?;
        Ok(connection)
    };
    open("mode=ro").or_else(|error| {
        let cannot = matches!(StoreError::from_sqlite(path, &error), StoreError::NotWritable { .. });
        let opened = if cannot { open("immutable=1") } else { Err(error) };
        opened.map_err(|error| StoreError::from_sqlite(path, &error))
    })
}

/// The path as SQLite wants it in a URI: with everything escaped that has a meaning there.
fn uri(path: &Path, query: &str) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    format!("file:{path}?{query}")
}
