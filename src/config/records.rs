//! Where call records go: `[store]`.
//! Knows the keys; what they open is the store's business.

use super::{
    checker::Checker,
    raw::{Key, RawStore},
};
use crate::{
    secret::Secret,
    store::{DatabaseUrl, PostgresUrl},
};
use std::time::Duration;
use toml::Spanned;

/// How long a call's answer waits for the disk.
const ANSWER_WAIT: Duration = Duration::from_millis(300);
/// Megabytes that may wait in the journal: a day of ten calls a second.
const JOURNAL_LIMIT_MB: u64 = 2048;

/// Where call records go: `[store]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Records {
    /// The database.
    pub database: DatabaseUrl,
    /// Bytes that may wait in the journal for a database that is down.
    pub journal_limit: u64,
    /// Whether calls' turns and events are kept with their records.
    pub traces: bool,
}

impl Checker<'_> {
    pub(super) fn records(&mut self, raw: &RawStore) -> Records {
        let database = raw.database.as_ref().map_or(DatabaseUrl::Sqlite, |key| self.database(key));
        let megabytes = self.number(&raw.journal_limit_mb, JOURNAL_LIMIT_MB, 128..=1 << 20);
        let traces = raw.traces.as_ref().is_none_or(|key| *key.get_ref());
        Records { database, journal_limit: megabytes << 20, traces }
    }

    /// How long the answer of a call waits for the word that its start is on disk.
    pub(super) fn answer_wait(&mut self, key: &Key<i64>) -> Duration {
        self.milliseconds(key, ANSWER_WAIT, 0..=5_000)
    }

    fn database(&mut self, key: &Spanned<String>) -> DatabaseUrl {
        let written = key.get_ref().trim();
        if written == "sqlite" {
            return DatabaseUrl::Sqlite;
        }
        let open = written.starts_with("postgres://") || written.starts_with("postgresql://");
        let url = if open && !names_password(written) {
            Some(Secret::new(written))
        } else if open {
            self.error(
                key,
                "a password does not belong into the config",
                "write env:NAME or file:PATH, where the whole URL is",
            );
            None
        } else {
            self.secret(key)
        };
        let Some(url) = url else { return DatabaseUrl::Sqlite };
        match PostgresUrl::new(url) {
            Ok(url) => DatabaseUrl::Postgres(url),
            Err(reason) => {
                let help = "write postgres://USER@HOST:PORT/DATABASE, or \"sqlite\"";
                self.error(key, format!("this is not the URL of a PostgreSQL server: {reason}"), help);
                DatabaseUrl::Sqlite
            }
        }
    }
}

/// Whether a URL holds `user:password@`, or says it as a parameter.
fn names_password(url: &str) -> bool {
    let authority = url.split("://").nth(1).unwrap_or_default();
    let user = authority.split(['/', '?']).next().unwrap_or_default().rsplit_once('@').map(|(user, _)| user);
    user.is_some_and(|user| user.contains(':')) || url.contains("password=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_url_is_found_wherever_it_stands() {
        for with in [
            "postgres://a:b@host/db",
            "postgres://host/db?password=x",
            "postgresql://u:p@h:5/d?sslmode=require",
        ] {
            assert!(names_password(with), "{with}");
        }
        for without in
            ["postgres://a@host:5432/db", "postgres://host/db", "postgres://host/db?sslmode=disable"]
        {
            assert!(!names_password(without), "{without}");
        }
    }
}
