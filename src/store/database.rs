//! What the store asks of a database: statements in one transaction, and rows.
//! SQL is written once, with `?1` for values, in what SQLite and PostgreSQL both understand.

use super::{StoreError, Value, postgres::Postgres, schema, sqlite::Sqlite};
use crate::secret::Secret;
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    time::Duration,
};

/// One statement with its values.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) sql: Cow<'static, str>,
    pub(super) values: Vec<Value>,
}

impl Statement {
    pub(super) fn new(sql: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Self { sql: sql.into(), values }
    }
}

/// One row, its values in the order they were asked for.
pub(super) type Row = Vec<Value>;

/// A database that is open.
pub(super) trait Database: Send {
    /// Carries out all statements or none. `durable`: what is committed survives the loss of power.
    fn transact(&mut self, statements: &[Statement], durable: bool) -> Result<(), StoreError>;

    /// The rows that answer a question.
    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError>;
}

/// Where call records are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// One file in the data directory.
    #[default]
    Sqlite,
    /// A server.
    Postgres(PostgresUrl),
}

/// A PostgreSQL server, as its URL says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresUrl {
    /// `postgres://user:password@host:port/name?sslmode=…`.
    pub url: Secret,
    /// How long one transaction or connection may take; one that takes longer has failed.
    pub patience: Duration,
}

impl PostgresUrl {
    /// Checks the form of a URL; connects to nothing.
    ///
    /// # Errors
    /// What is wrong with it, without the password.
    pub fn new(url: Secret) -> Result<Self, String> {
        let url = Self { url, patience: Duration::from_secs(5) };
        super::postgres::config_of(&url).map(|_| ()).map_err(|error| url.url.redact(&error))?;
        Ok(url)
    }
}

/// Opens for writing and brings the tables up to date.
pub(super) fn open(
    url: &DatabaseUrl,
    directory: &Path,
    size_limit: Option<u64>,
) -> Result<Box<dyn Database>, StoreError> {
    Ok(match url {
        DatabaseUrl::Sqlite => Box::new(Sqlite::open(directory, size_limit)?),
        DatabaseUrl::Postgres(url) => {
            let mut database = Postgres::connect(url)?;
            schema::migrate_postgres(&mut database)?;
            Box::new(database)
        }
    })
}

/// Opens for reading.
pub(super) fn open_reader(url: &DatabaseUrl, directory: &Path) -> Result<Box<dyn Database>, StoreError> {
    Ok(match url {
        DatabaseUrl::Sqlite => Box::new(Sqlite::open_reader(directory)?),
        DatabaseUrl::Postgres(url) => {
            let mut database = Postgres::connect(url)?;
            schema::check_postgres(&mut database)?;
            Box::new(database)
        }
    })
}

/// How errors name a database.
pub(super) fn name(url: &DatabaseUrl, directory: &Path) -> PathBuf {
    match url {
        DatabaseUrl::Sqlite => directory.join(super::DATABASE_FILE),
        DatabaseUrl::Postgres(url) => super::postgres::name_of(url),
    }
}
