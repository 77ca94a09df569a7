//! PostgreSQL behind [`Database`]: statements of a transaction are sent together, and nothing is waited for without end.
//! Knows the wire and TLS; the tables are `schema`'s.

use super::{
    PostgresUrl, StoreError, Value,
    database::{Database, Row, Statement},
    postgres_tls::TlsConnector,
};
use futures_util::future::try_join_all;
use std::{collections::HashMap, fmt, future::Future, path::PathBuf, time::Duration};
use tokio::runtime::Runtime;
use tokio_postgres::{
    Client, Config, NoTls,
    config::{Host, SslMode},
    types::{IsNull, ToSql, Type, private::BytesMut, to_sql_checked},
};

/// One connection, with a runtime of its own: whoever uses it is a thread that may wait.
pub(super) struct Postgres {
    /// Absent while it is being dropped.
    runtime: Option<Runtime>,
    client: Client,
    prepared: HashMap<String, tokio_postgres::Statement>,
    name: PathBuf,
    patience: Duration,
}

/// The settings in a URL.
pub(super) fn config_of(url: &PostgresUrl) -> Result<Config, String> {
    let mut config: Config = url.url.expose().parse().map_err(|error| format!("{error}"))?;
    if config.get_hosts().is_empty() {
        return Err("it names no host".to_owned());
    }
    config.application_name("tandem").connect_timeout(url.patience);
    Ok(config)
}

/// How errors name the server: never with the password.
pub(super) fn name_of(url: &PostgresUrl) -> PathBuf {
    let Ok(config) = config_of(url) else { return PathBuf::from("PostgreSQL") };
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    PathBuf::from(format!("{database} of PostgreSQL at {host}"))
}

impl Postgres {
    pub(super) fn connect(url: &PostgresUrl) -> Result<Self, StoreError> {
        let name = name_of(url);
        let unreachable =
            |reason: String| StoreError::Unreachable { path: name.clone(), reason: url.url.redact(&reason) };
        let config = config_of(url).map_err(unreachable)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| unreachable(error.to_string()))?;
        let client = runtime
            .block_on(limited(url.patience, connect(&config)))
            .map_err(|trouble| unreachable(trouble.to_string()))?;
        Ok(Self { runtime: Some(runtime), client, prepared: HashMap::new(), name, patience: url.patience })
    }

    pub(super) fn name(&self) -> &std::path::Path {
        &self.name
    }

    /// Like [`Database::transact`], for statements that only make sense after the one before: tables and what is in them.
    pub(super) fn transact_in_order(&mut self, statements: &[Statement]) -> Result<(), StoreError> {
        self.wait(async |wire| {
            let transaction = wire.client.transaction().await?;
            for statement in statements {
                let values: Vec<&(dyn ToSql + Sync)> =
                    statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
                transaction.execute(&dialect(&statement.sql), &values).await?;
            }
            Ok(transaction.commit().await?)
        })
    }

    /// Does something within the patience. Whatever fails, the connection is not to be used again if it is closed.
    fn wait<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Wire<'_>) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let Self { runtime: Some(runtime), client, prepared, name, patience } = self else {
            return Err(StoreError::Unreachable { path: PathBuf::new(), reason: "it is closed".into() });
        };
        let mut wire = Wire { client, prepared };
        let done = runtime.block_on(limited(*patience, work(&mut wire)));
        done.map_err(|trouble| {
            let lost = matches!(trouble, Trouble::TooSlow) || client.is_closed();
            let (path, reason) = (name.clone(), trouble.to_string());
            match lost {
                true => StoreError::Unreachable { path, reason },
                false if trouble.is_about_values() => StoreError::Rejected { path, reason },
                false => StoreError::Database { path, reason },
            }
        })
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // May be dropped where waiting is forbidden; the connection ends with the runtime's tasks.
            runtime.shutdown_background();
        }
    }
}

impl Database for Postgres {
    fn transact(&mut self, statements: &[Statement], durable: bool) -> Result<(), StoreError> {
        self.wait(async |wire| wire.transact(statements, durable).await)
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        self.wait(async |wire| wire.query(sql, values).await)
    }
}

/// A connection in use.
struct Wire<'a> {
    client: &'a mut Client,
    prepared: &'a mut HashMap<String, tokio_postgres::Statement>,
}

impl Wire<'_> {
    /// All statements go out at once and are answered one after the other: a batch costs one round trip, not a thousand.
    async fn transact(&mut self, statements: &[Statement], durable: bool) -> Result<(), Trouble> {
        for statement in statements {
            self.prepare(&statement.sql).await?;
        }
        let transaction = self.client.transaction().await?;
        if !durable {
            transaction.batch_execute("SET LOCAL synchronous_commit = off").await?;
        }
        let prepared = &*self.prepared;
        let (transaction_ref, pending) = (&transaction, statements.iter());
        try_join_all(pending.filter_map(|statement| {
            let known = prepared.get(statement.sql.as_ref())?;
            Some(async move {
                let values: Vec<&(dyn ToSql + Sync)> =
                    statement.values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
                transaction_ref.execute(known, &values).await
            })
        }))
        .await?;
        Ok(transaction.commit().await?)
    }

    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, Trouble> {
        self.prepare(sql).await?;
        let Some(known) = self.prepared.get(sql) else { return Ok(Vec::new()) };
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let rows = self.client.query(known, &values).await?;
        rows.iter().map(|row| (0..row.len()).map(|column| value_of(row, column)).collect()).collect()
    }

    async fn prepare(&mut self, sql: &str) -> Result<(), Trouble> {
        if !self.prepared.contains_key(sql) {
            let statement = self.client.prepare(&dialect(sql)).await?;
            self.prepared.insert(sql.to_owned(), statement);
        }
        Ok(())
    }
}

/// What can go wrong.
#[derive(Debug)]
enum Trouble {
    /// It took longer than the patience.
    TooSlow,
    /// It said so.
    Said(tokio_postgres::Error),
    /// TLS cannot be set up.
    Tls(String),
}

impl Trouble {
    /// Classes 22 (data exception) and 23 (integrity constraint violation) of SQLSTATE.
    fn is_about_values(&self) -> bool {
        let Self::Said(error) = self else { return false };
        error.code().is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
    }
}

impl fmt::Display for Trouble {
    /// With the server's own words, which `tokio_postgres` keeps in the source of its error.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSlow => f.write_str("it does not answer in time"),
            Self::Tls(reason) => f.write_str(reason),
            Self::Said(error) => match (error.as_db_error(), std::error::Error::source(error)) {
                (Some(said), _) => f.write_str(said.message()),
                (None, Some(source)) => write!(f, "{error}: {source}"),
                (None, None) => write!(f, "{error}"),
            },
        }
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Said(error)
    }
}

async fn limited<T>(
    patience: Duration,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    tokio::time::timeout(patience, work).await.unwrap_or(Err(Trouble::TooSlow))
}

async fn connect(config: &Config) -> Result<Client, Trouble> {
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        return Ok(client);
    }
    let connector = TlsConnector::new().map_err(|error| Trouble::Tls(error.to_string()))?;
    let (client, connection) = config.connect(connector).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// SQL as the store writes it, as PostgreSQL reads it.
pub(super) fn dialect(sql: &str) -> String {
    sql.replace('?', "$").replace("WHERE has_trace", "WHERE has_trace <> 0")
}

impl ToSql for Value {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Integer(value) if *kind == Type::FLOAT8 => (*value as f64).to_sql(kind, out),
            Self::Integer(value) => value.to_sql(kind, out),
            Self::Real(value) => value.to_sql(kind, out),
            // What callers send may hold a NUL, which no text of PostgreSQL can.
            Self::Text(text) => text.replace('\0', "\u{fffd}").to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT8, Type::FLOAT8, Type::TEXT, Type::VARCHAR].contains(kind)
    }

    to_sql_checked!();
}

fn value_of(row: &tokio_postgres::Row, column: usize) -> Result<Value, Trouble> {
    let kind = row.columns()[column].type_();
    let value = if *kind == Type::INT8 {
        row.try_get::<_, Option<i64>>(column)?.map(Value::Integer)
    } else if *kind == Type::INT4 {
        row.try_get::<_, Option<i32>>(column)?.map(|value| Value::Integer(value.into()))
    } else if *kind == Type::FLOAT8 {
        row.try_get::<_, Option<f64>>(column)?.map(Value::Real)
    } else {
        row.try_get::<_, Option<String>>(column)?.map(Value::Text)
    };
    Ok(value.unwrap_or(Value::Null))
}
