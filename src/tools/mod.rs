//! Carries out what an agent's tools ask for, on a thread of its own, and reports back to the call.
//! Knows the demo database. A tool that fails, or takes too long, is an answer for the model and never a stuck call.

mod arguments;
mod database;

pub use database::{DEMO_DATABASE_FILE, ToolsError};

use crate::providers::{Events, ProviderEvent};
use crate::telemetry::{Metrics, Pii};
use call::{CallId, ToolResult};
use conversation::{Returns, Tool, ToolCall, ToolClass, ToolKind, TurnId};
use database::Database;
use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::oneshot};

/// Tool calls that wait for the thread; beyond that a tool is answered at once with "busy".
pub const TOOL_QUEUE: usize = 64;
/// What the thread may take longer than a tool's timeout before it is given up: it stops by itself within that.
const GRACE: Duration = Duration::from_millis(250);

/// A tool that is one statement.
#[derive(Clone, Debug, PartialEq)]
pub struct SqlTool {
    /// The name it is called by.
    pub name: String,
    /// The statement, with named parameters: the arguments, and `:call_id`, `:caller`, `:today`, `:now`.
    pub sql: String,
    /// The JSON its result becomes.
    pub returns: Returns,
    /// JSON schema of the arguments.
    pub parameters: Value,
    /// How long it may take, waiting included.
    pub timeout: Duration,
    /// Whether it may change anything.
    pub writes: bool,
}

impl SqlTool {
    /// An agent's tool as a statement; `None` for those that the call carries out itself.
    pub fn of(tool: &Tool) -> Option<Self> {
        let (sql, returns) = match &tool.kind {
            ToolKind::Sqlite { sql, returns } => (sql, *returns),
            ToolKind::NotePerson { sql } => (sql, Returns::Changes),
            ToolKind::EndCall => return None,
        };
        Some(Self {
            name: tool.spec.name.clone(),
            sql: sql.clone(),
            returns,
            parameters: tool.spec.parameters.clone(),
            timeout: tool.timeout,
            writes: tool.class == ToolClass::Write,
        })
    }
}

/// What a statement may know of the call besides its arguments.
#[derive(Clone, Debug)]
pub struct ToolContext {
    /// The call.
    pub call: CallId,
    /// The calling number.
    pub caller: Pii<String>,
    /// The date at the caller's end.
    pub today: Date,
}

/// Runs tools. Clones share one thread and one database.
#[derive(Clone)]
pub struct ToolRunner {
    tools: Arc<BTreeMap<String, SqlTool>>,
    queue: SyncSender<Job>,
    runtime: Handle,
    metrics: Metrics,
}

struct Job {
    tool: SqlTool,
    values: Map<String, Value>,
    deadline: Instant,
    answer: oneshot::Sender<Result<String, String>>,
}

impl ToolRunner {
    /// Opens the agent's database in the data directory, runs its script, checks every tool's statement against it, and
    /// starts the thread. Reports go out from `runtime`.
    ///
    /// # Errors
    /// When the database cannot be opened, the script fails, or a statement makes no sense: at start, not at the first call.
    pub fn start(
        directory: &Path,
        script: &str,
        tools: Vec<SqlTool>,
        runtime: Handle,
        metrics: Metrics,
    ) -> Result<Self, ToolsError> {
        let database = Database::open(directory, script)?;
        for tool in &tools {
            database.check(tool)?;
        }
        let (queue, jobs) = mpsc::sync_channel(TOOL_QUEUE);
        std::thread::Builder::new().name("tandem-tools".to_owned()).spawn(move || work(database, &jobs))?;
        let tools = Arc::new(tools.into_iter().map(|tool| (tool.name.clone(), tool)).collect());
        Ok(Self { tools, queue, runtime, metrics })
    }

    /// Runs a tool for a turn, without waiting. The result, or why there is none, goes to `events`.
    pub fn run(&self, context: &ToolContext, turn: TurnId, call: &ToolCall, events: Events) {
        let pending = self.enqueue(context, call);
        let call_id = call.id.clone();
        self.runtime.spawn(async move {
            let result = pending.wait().await;
            // A call that has ended wants no answer; what the tool did stays done.
            let _ = events.send(ProviderEvent::Tool(turn, ToolResult { call_id, result })).await;
        });
    }

    fn enqueue(&self, context: &ToolContext, call: &ToolCall) -> Pending {
        let Some(tool) = self.tools.get(&call.name) else {
            let names: Vec<&str> = self.tools.keys().map(String::as_str).collect();
            return Pending::Known(format!(
                "there is no tool {:?}; there are: {}",
                call.name,
                names.join(", ")
            ));
        };
        let mut values = match arguments::validate(&tool.parameters, &call.arguments) {
            Ok(values) => values,
            Err(error) => return Pending::Known(error),
        };
        // After the arguments: a model cannot pretend to be another caller.
        values.extend(context.given());
        let (answer, wait) = oneshot::channel();
        let job = Job { tool: tool.clone(), values, deadline: Instant::now() + tool.timeout, answer };
        if self.queue.try_send(job).is_err() {
            self.metrics.queue_dropped("tools", 1);
            return Pending::Known("too many tools are running, try again in a moment".to_owned());
        }
        Pending::Running(wait, tool.timeout + GRACE)
    }
}

impl ToolContext {
    fn given(&self) -> [(String, Value); 4] {
        [
            ("call_id", self.call.to_string()),
            ("caller", self.caller.expose().clone()),
            ("today", self.today.to_string()),
            ("now", Timestamp::now().to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
    }
}

/// An answer that is there already, or will be.
enum Pending {
    Known(String),
    Running(oneshot::Receiver<Result<String, String>>, Duration),
}

impl Pending {
    async fn wait(self) -> Result<String, String> {
        match self {
            Self::Known(error) => Err(error),
            Self::Running(answer, most) => match tokio::time::timeout(most, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err("the tool failed".to_owned()),
                Err(_) => Err("the tool takes too long; whether it was carried out is not known".to_owned()),
            },
        }
    }
}

fn work(mut database: Database, jobs: &Receiver<Job>) {
    for job in jobs {
        let result = if Instant::now() >= job.deadline {
            Err("the tool had to wait too long and was not carried out".to_owned())
        } else {
            database.run(&job.tool, &job.values, job.deadline)
        };
        // Nobody waits any more if it took too long.
        let _ = job.answer.send(result);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::PathBuf;

    const SCRIPT: &str = include_str!("../../agents/demo.sql");

    /// The demo agent's database and tools, and a call that listens.
    struct Bench {
        directory: PathBuf,
        runner: ToolRunner,
        events: Events,
        inbox: tokio::sync::mpsc::Receiver<ProviderEvent>,
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    fn bench(name: &str, tools: Vec<SqlTool>) -> Bench {
        let directory = std::env::temp_dir().join(format!("tandem-runner-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let runner = ToolRunner::start(&directory, SCRIPT, tools, Handle::current(), Metrics::default());
        let (events, inbox) = Events::channel(Arc::new(|| {}));
        Bench { directory, runner: runner.expect("the tools are fine"), events, inbox }
    }

    fn sql(name: &str, sql: &str, returns: Returns, timeout: Duration) -> SqlTool {
        let parameters = json!({
            "type": "object",
            "properties": { "day": { "type": "string" }, "time": { "type": "string" }, "name": { "type": "string" } },
            "required": []
        });
        let writes = returns == Returns::Changes;
        SqlTool { name: name.into(), sql: sql.into(), returns, parameters, timeout, writes }
    }

    impl Bench {
        async fn run(&mut self, name: &str, arguments: &str) -> Result<String, String> {
            let context = ToolContext {
                call: CallId(7),
                caller: "+15550100".to_owned().into(),
                today: jiff::civil::date(2026, 10, 12),
            };
            let call = ToolCall { id: "t1".into(), name: name.into(), arguments: arguments.into() };
            self.runner.run(&context, TurnId(3), &call, self.events.clone());
            match self.inbox.recv().await {
                Some(ProviderEvent::Tool(TurnId(3), ToolResult { call_id, result })) if call_id == "t1" => {
                    result
                }
                other => panic!("{other:?}"),
            }
        }
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_demo_agents_tools_fit_its_database() {
        let knowledge = [("demo-hours.md".to_owned(), include_str!("../../agents/demo-hours.md").to_owned())];
        let agent = conversation::Agent::parse(include_str!("../../agents/demo.toml"), &knowledge.into());
        let tools: Vec<_> = agent.expect("it is our own").tools().iter().filter_map(SqlTool::of).collect();
        assert!(tools.len() >= 4, "{tools:?}");
        let mut bench = bench("demo", tools);
        let free =
            bench.run("find_slots", r#"{"day":"2026-10-14"}"#).await.expect("Wednesday has free times");
        assert!(free.contains(r#"{"time":"11:30"}"#), "{free}");
        let balance = bench.run("balance", r#"{"account":"12345"}"#).await;
        assert_eq!(balance, Ok(r#"{"cents":50,"dollars":248}"#.into()));
        assert_eq!(bench.run("balance", r#"{"account":"00000"}"#).await, Ok("null".into()));
    }

    #[tokio::test]
    async fn a_booking_goes_into_the_database_with_what_the_call_knows() {
        let book = "INSERT INTO appointments (day, time, name, call_id, booked_at)
            SELECT :day, :time, :name, :call_id, :now
            WHERE NOT EXISTS (SELECT 1 FROM appointments a WHERE a.day = :day AND a.time = :time)";
        let look =
            "SELECT name, call_id, :caller AS caller, :today AS today FROM appointments WHERE day = :day";
        let tools =
            vec![sql("book", book, Returns::Changes, MINUTE), sql("look", look, Returns::Row, MINUTE)];
        let mut bench = bench("booking", tools);
        let arguments = r#"{"day":"2026-10-14","time":"15:30","name":"Lee"}"#;
        assert_eq!(bench.run("book", arguments).await, Ok(r#"{"changes":1}"#.into()));
        assert_eq!(bench.run("book", arguments).await, Ok(r#"{"changes":0}"#.into()));
        let found = bench.run("look", r#"{"day":"2026-10-14"}"#).await.expect("it is there");
        let found: Value = serde_json::from_str(&found).expect("JSON");
        let expected = json!({ "name": "Lee", "call_id": "0000000000000007", "caller": "+15550100", "today": "2026-10-12" });
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_an_answer_for_the_model() {
        let broken = sql("broken", "SELECT abs(-9223372036854775808)", Returns::Row, MINUTE);
        let mut bench = bench("wrong", vec![broken]);
        let error = bench.run("brokn", "{}").await.expect_err("there is no such tool");
        assert!(error.contains("there are: broken"), "{error}");
        let error = bench.run("broken", "[]").await.expect_err("no object");
        assert!(error.contains("one JSON object"), "{error}");
        let error = bench.run("broken", r#"{"caller":"+1"}"#).await.expect_err("not an argument");
        assert!(error.contains("not an argument"), "{error}");
        let error = bench.run("broken", "{}").await.expect_err("it overflows");
        assert!(error.contains("overflow"), "{error}");
    }

    #[tokio::test]
    async fn a_tool_that_takes_too_long_is_stopped_and_the_call_told() {
        let endless =
            "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
        let mut bench = bench("slow", vec![sql("endless", endless, Returns::Row, Duration::from_millis(20))]);
        let error = bench.run("endless", "{}").await.expect_err("it never ends");
        assert!(error.contains("too long"), "{error}");
    }

    #[tokio::test]
    async fn a_full_queue_is_said_at_once() {
        let tool = sql("look", "SELECT 1", Returns::Row, MINUTE);
        // A thread that takes nothing.
        let (queue, _jobs) = mpsc::sync_channel(TOOL_QUEUE);
        let tools = Arc::new(BTreeMap::from([(tool.name.clone(), tool)]));
        let runner = ToolRunner { tools, queue, runtime: Handle::current(), metrics: Metrics::default() };
        let context =
            ToolContext { call: CallId(7), caller: Pii::default(), today: jiff::civil::date(2026, 10, 12) };
        let call = ToolCall { id: "t1".into(), name: "look".into(), arguments: String::new() };
        for _ in 0..TOOL_QUEUE {
            assert!(matches!(runner.enqueue(&context, &call), Pending::Running(..)));
        }
        let refused = runner.enqueue(&context, &call).wait().await.expect_err("the queue is full");
        assert!(refused.contains("too many tools"), "{refused}");
    }
}
