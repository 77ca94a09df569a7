//! The agent's own database: its script at start, its tools' statements afterwards.
//! Knows SQL and limits. The statements are the agent file's; values only ever come in as parameters.

use super::SqlTool;
use conversation::Returns;
use rusqlite::{
    Connection, ErrorCode, Statement,
    hooks::{AuthAction, AuthContext, Authorization},
    types::{ToSqlOutput, Value as SqlValue, ValueRef},
};
use serde_json::{Map, Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The database's name in the data directory.
pub const DEMO_DATABASE_FILE: &str = "demo.sqlite";
/// Rows of one answer: more cannot be said on a phone.
pub(super) const MOST_ROWS: usize = 20;
/// Characters of one answer: what a model is sent has to be paid for, and read.
const MOST_TEXT: usize = 16_384;
/// Steps of SQLite's machine between two looks at the clock; some 10 µs.
const STEPS: i32 = 1_000;
/// Parameters that every statement may use besides the arguments.
const GIVEN: [&str; 4] = ["call_id", "caller", "today", "now"];

/// Why the tools cannot be set up; said at start.
#[derive(Debug, thiserror::Error)]
pub enum ToolsError {
    /// The file cannot be used.
    #[error("the agent's database {} cannot be opened: {reason}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        reason: String,
    },
    /// The agent's script fails.
    #[error(
        "the agent's database script fails: {0}; it must be able to run at every start (CREATE TABLE IF NOT EXISTS)"
    )]
    Script(String),
    /// The client for HTTP cannot be set up.
    #[error("requests cannot be made: {0}")]
    Client(String),
    /// A tool's statement makes no sense in this database, or something is missing that it needs.
    #[error("the tool {tool:?} cannot work: {reason}")]
    Statement {
        /// The tool.
        tool: String,
        /// What is wrong.
        reason: String,
    },
    /// The system gives no thread.
    #[error("the tools cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// The database, with a clock that interrupts what takes too long.
pub(super) struct Database {
    connection: Connection,
    deadline: Arc<Mutex<Option<Instant>>>,
}

impl Database {
    pub(super) fn open(directory: &Path, script: &str) -> Result<Self, ToolsError> {
        let path = directory.join(DEMO_DATABASE_FILE);
        let refused =
            |error: rusqlite::Error| ToolsError::Open { path: path.clone(), reason: error.to_string() };
        let mut connection = Connection::open(&path).map_err(refused)?;
        connection.busy_timeout(Duration::from_millis(500)).map_err(refused)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(refused)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(refused)?;
        connection.execute_batch(script).map_err(|error| ToolsError::Script(error.to_string()))?;
        connection.authorizer(Some(authorize)).map_err(refused)?;
        let deadline = Arc::new(Mutex::new(None::<Instant>));
        let clock = Arc::clone(&deadline);
        let late = move || {
            let deadline = *clock.lock().unwrap_or_else(PoisonError::into_inner);
            deadline.is_some_and(|deadline| Instant::now() >= deadline)
        };
        connection.progress_handler(STEPS, Some(late)).map_err(refused)?;
        Ok(Self { connection, deadline })
    }

    /// Whether a tool's statement fits this database, its arguments and its class.
    pub(super) fn check(&self, tool: &SqlTool) -> Result<(), ToolsError> {
        let wrong = |reason: String| ToolsError::Statement { tool: tool.name.clone(), reason };
        let statement = self.connection.prepare(&tool.sql).map_err(|error| wrong(error.to_string()))?;
        if !tool.writes && !statement.readonly() {
            return Err(wrong("it is declared to only read, but its statement writes".to_owned()));
        }
        let declared = tool.parameters.get("properties").and_then(Value::as_object);
        for name in parameters(&statement).map_err(wrong)? {
            if !GIVEN.contains(&name.as_str())
                && !declared.is_some_and(|declared| declared.contains_key(&name))
            {
                let known = declared.into_iter().flat_map(Map::keys).map(String::as_str).chain(GIVEN);
                let known: Vec<&str> = known.collect();
                return Err(wrong(format!("it uses :{name}, which is none of {}", known.join(", "))));
            }
        }
        Ok(())
    }

    /// Runs one statement in a transaction of its own. The error is for the model.
    pub(super) fn run(
        &mut self,
        tool: &SqlTool,
        values: &Map<String, Value>,
        deadline: Instant,
    ) -> Result<String, String> {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        let result = self.execute(tool, values);
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = None;
        match result {
            Ok(value) => shorten(value),
            Err(error) => Err(explain(&error)),
        }
    }

    fn execute(&mut self, tool: &SqlTool, values: &Map<String, Value>) -> rusqlite::Result<Value> {
        let mut statement = self.connection.prepare_cached(&tool.sql)?;
        for index in 1..=statement.parameter_count() {
            let name = statement.parameter_name(index).unwrap_or_default();
            let value = values.get(name.trim_start_matches([':', '@', '$'])).unwrap_or(&Value::Null);
            statement.raw_bind_parameter(index, to_sql(value))?;
        }
        match tool.returns {
            Returns::Changes if statement.column_count() == 0 => {
                let changes = statement.raw_execute()?;
                Ok(json!({ "changes": changes }))
            }
            Returns::Changes => Ok(json!({ "changes": rows(&mut statement, usize::MAX)?.len() })),
            Returns::Row => Ok(rows(&mut statement, 1)?.into_iter().next().unwrap_or(Value::Null)),
            Returns::Rows => Ok(Value::Array(rows(&mut statement, MOST_ROWS)?)),
        }
    }
}

/// A statement is the agent file's, but even so it stays inside its own database.
fn authorize(context: AuthContext<'_>) -> Authorization {
    if matches!(
        context.action,
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Pragma { .. }
    ) {
        return Authorization::Deny;
    }
    Authorization::Allow
}

fn parameters(statement: &Statement<'_>) -> Result<Vec<String>, String> {
    (1..=statement.parameter_count())
        .map(|index| match statement.parameter_name(index) {
            Some(name) => Ok(name.trim_start_matches([':', '@', '$']).to_owned()),
            None => Err("it uses a parameter without a name; write :name instead of ?".to_owned()),
        })
        .collect()
}

/// At most `most` rows as objects. A statement that writes runs to its end all the same.
fn rows(statement: &mut Statement<'_>, most: usize) -> rusqlite::Result<Vec<Value>> {
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let writes = !statement.readonly();
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if found.len() < most {
            let columns = names.iter().enumerate();
            let columns = columns.map(|(index, name)| Ok((name.clone(), to_json(row.get_ref(index)?))));
            found.push(Value::Object(columns.collect::<rusqlite::Result<_>>()?));
        } else if !writes {
            break;
        }
    }
    Ok(found)
}

fn to_sql(value: &Value) -> ToSqlOutput<'_> {
    match value {
        Value::Null => ToSqlOutput::Owned(SqlValue::Null),
        Value::Bool(value) => ToSqlOutput::Owned(SqlValue::Integer(i64::from(*value))),
        Value::Number(value) => ToSqlOutput::Owned(match value.as_i64() {
            Some(whole) => SqlValue::Integer(whole),
            None => SqlValue::Real(value.as_f64().unwrap_or_default()),
        }),
        Value::String(value) => ToSqlOutput::Borrowed(ValueRef::Text(value.as_bytes())),
        // The arguments were checked: neither comes this far.
        Value::Array(_) | Value::Object(_) => ToSqlOutput::Owned(SqlValue::Text(value.to_string())),
    }
}

fn to_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => json!(value),
        ValueRef::Real(value) => json!(value),
        ValueRef::Text(text) => Value::String(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(blob) => Value::String(format!("<{} bytes>", blob.len())),
    }
}

fn shorten(value: Value) -> Result<String, String> {
    let text = value.to_string();
    if text.len() > MOST_TEXT {
        return Err(format!("the answer is too long ({} characters); ask for less", text.len()));
    }
    Ok(text)
}

fn explain(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => {
            "the tool took too long and was stopped; nothing was changed".to_owned()
        }
        Some(ErrorCode::ConstraintViolation) => format!("that is not possible: {error}"),
        Some(ErrorCode::DiskFull) => "nothing can be written at the moment".to_owned(),
        _ => format!("the tool failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str =
        "CREATE TABLE IF NOT EXISTS appointments (day TEXT, time TEXT, name TEXT, UNIQUE (day, time));
        INSERT OR IGNORE INTO appointments VALUES ('2026-10-14', '15:30', 'Smith');";

    fn tool(sql: &str, returns: Returns, writes: bool) -> SqlTool {
        let parameters = json!({ "properties": {
            "day": { "type": "string" }, "time": { "type": "string" }, "name": { "type": "string" }
        } });
        SqlTool { name: "tool".to_owned(), sql: sql.to_owned(), returns, parameters, writes }
    }

    fn run(database: &mut Database, tool: &SqlTool, values: &Value) -> Result<String, String> {
        let values = values.as_object().expect("an object");
        database.run(tool, values, Instant::now() + Duration::from_secs(60))
    }

    fn memory() -> (tempdir::Directory, Database) {
        let directory = tempdir::Directory::new();
        let database = Database::open(directory.path(), SCRIPT).expect("the script is fine");
        (directory, database)
    }

    mod tempdir {
        use std::path::{Path, PathBuf};
        use std::sync::atomic::{AtomicU32, Ordering};

        pub(super) struct Directory(PathBuf);

        impl Directory {
            pub(super) fn new() -> Self {
                static NEXT: AtomicU32 = AtomicU32::new(0);
                let name =
                    format!("tandem-tools-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
                let path = std::env::temp_dir().join(name);
                std::fs::create_dir_all(&path).expect("a temporary directory");
                Self(path)
            }

            pub(super) fn path(&self) -> &Path {
                &self.0
            }
        }

        impl Drop for Directory {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }

    #[test]
    fn a_booking_is_made_once_and_the_second_is_told_why_not() {
        let (_directory, mut database) = memory();
        let book = tool("INSERT INTO appointments VALUES (:day, :time, :name)", Returns::Changes, true);
        let values =
            json!({ "day": "2026-10-15", "time": "09:00", "name": "O'Neil; DROP TABLE appointments" });
        assert_eq!(run(&mut database, &book, &values), Ok(r#"{"changes":1}"#.to_owned()));
        let error = run(&mut database, &book, &values).expect_err("it is taken");
        assert!(error.contains("UNIQUE"), "{error}");
        let list = tool("SELECT name FROM appointments WHERE day = :day", Returns::Row, false);
        let found = run(&mut database, &list, &values);
        assert_eq!(found, Ok(r#"{"name":"O'Neil; DROP TABLE appointments"}"#.to_owned()));
    }

    #[test]
    fn an_answer_has_at_most_twenty_rows() {
        let (_directory, mut database) = memory();
        let sql =
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 1000) SELECT x FROM n";
        let answer = run(&mut database, &tool(sql, Returns::Rows, false), &json!({})).expect("it answers");
        let answer: Vec<Value> = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer.len(), MOST_ROWS);
    }

    #[test]
    fn an_endless_statement_is_stopped_and_the_next_one_works() {
        let (_directory, mut database) = memory();
        let endless =
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let error = database.run(&tool(endless, Returns::Row, false), &Map::new(), Instant::now());
        assert!(error.expect_err("it never ends").contains("took too long"));
        let list = tool("SELECT name FROM appointments", Returns::Row, false);
        assert_eq!(run(&mut database, &list, &json!({})), Ok(r#"{"name":"Smith"}"#.to_owned()));
    }

    #[test]
    fn a_statement_that_cannot_work_is_found_at_start() {
        let (_directory, database) = memory();
        let reason = |tool: &SqlTool| database.check(tool).expect_err("it cannot work").to_string();
        assert!(reason(&tool("SELECT * FROM apointments", Returns::Rows, false)).contains("no such table"));
        assert!(reason(&tool("SELECT :dya", Returns::Rows, false)).contains(":dya, which is none of"));
        assert!(reason(&tool("SELECT ?", Returns::Rows, false)).contains("without a name"));
        assert!(reason(&tool("DELETE FROM appointments", Returns::Changes, false)).contains("only read"));
        assert!(
            reason(&tool("ATTACH 'tandem.sqlite' AS x", Returns::Changes, true)).contains("not authorized")
        );
        assert!(reason(&tool("SELECT 1; SELECT 2", Returns::Rows, false)).contains("cannot work"));
        assert!(database.check(&tool("SELECT :day, :today, :call_id", Returns::Rows, false)).is_ok());
    }

    #[test]
    fn a_script_that_fails_is_an_error_at_start() {
        let directory = tempdir::Directory::new();
        let error =
            Database::open(directory.path(), "CREATE TABBLE x").err().expect("it is no SQL").to_string();
        assert!(error.contains("script"), "{error}");
        std::fs::write(directory.path().join(DEMO_DATABASE_FILE), "x".repeat(4_096)).expect("it is writable");
        assert!(matches!(Database::open(directory.path(), ""), Err(ToolsError::Open { .. })));
    }
}
