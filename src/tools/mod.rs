//! Carries out what an agent's tools ask for, beside the calls, and reports back to them.
//! Knows which tool is done how. A tool that fails, or takes too long, is an answer for the model and never a stuck call.

mod answer;
mod arguments;
mod database;
mod http;
mod mcp;
mod reach;

pub use database::{DEMO_DATABASE_FILE, ToolsError};
pub use http::reference as secret_reference;
pub use reach::{AllowedHost, Reach};

use crate::providers::{Events, ProviderEvent};
use crate::queue::{Receiver, Sender, bounded};
use crate::secret::Secret;
use crate::telemetry::{Metrics, Pii};
use call::{CallId, ToolResult};
use conversation::{
    Agent, McpServer, McpTransport, Returns, Tool, ToolCall, ToolClass, ToolKind, TurnId, Variables,
};
use database::Database;
use http::{IdempotencyKey, Requester};
use jiff::{Timestamp, civil::Date};
use mcp::{HttpPeer, Mcp, Peer, StdioPeer};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
};

/// Tool calls of an agent that run or wait at once; beyond that a tool is answered at once with "busy".
pub const TOOL_QUEUE: usize = 64;
/// What a tool may take longer than its timeout before it is given up: it stops by itself within that.
const GRACE: Duration = Duration::from_millis(250);
/// What a server of tools may take to say which it has.
const LIST_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before a server of tools that did not answer is asked again.
const LIST_AGAIN: Duration = Duration::from_secs(30);

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
    /// Whether it may change anything.
    pub writes: bool,
}

impl SqlTool {
    /// An agent's tool as a statement; `None` for those that are done otherwise.
    pub fn of(tool: &Tool) -> Option<Self> {
        let (sql, returns) = match &tool.kind {
            ToolKind::Sqlite { sql, returns } => (sql, *returns),
            ToolKind::NotePerson { sql } => (sql, Returns::Changes),
            ToolKind::Http(_)
            | ToolKind::Mcp { .. }
            | ToolKind::EndCall
            | ToolKind::Transfer(_)
            | ToolKind::HandOver { .. }
            | ToolKind::Wait
            | ToolKind::CollectDigits { .. }
            | ToolKind::SendDigits
            | ToolKind::RecordNote
            | ToolKind::SetLanguage => return None,
        };
        Some(Self {
            name: tool.spec.name.clone(),
            sql: sql.clone(),
            returns,
            parameters: tool.spec.parameters.clone(),
            writes: tool.class != ToolClass::Read,
        })
    }
}

/// What the tools of an agent are given by the server's config.
#[derive(Clone)]
pub struct ToolSettings {
    /// Whom they may reach.
    pub reach: Arc<Reach>,
    /// How long one may take where its section says nothing.
    pub timeout: Duration,
    /// What stands behind `env:NAME` and `file:PATH` in the agent's file.
    pub secrets: BTreeMap<String, Secret>,
}

/// What a tool may know of the call besides its arguments.
#[derive(Clone, Debug)]
pub struct ToolContext {
    /// The call.
    pub call: CallId,
    /// The calling number.
    pub caller: Pii<String>,
    /// The date at the caller's end.
    pub today: Date,
    /// What else is known.
    pub variables: Variables,
}

/// Runs the tools of one agent. Clones share one thread and one database.
#[derive(Clone)]
pub struct ToolRunner {
    tools: Arc<BTreeMap<String, Entry>>,
    servers: Arc<Vec<Server>>,
    queue: Sender<Job>,
    running: Arc<Semaphore>,
    runtime: Handle,
    metrics: Metrics,
}

/// A tool, ready to be run.
#[derive(Clone)]
struct Entry {
    parameters: Value,
    timeout: Duration,
    work: Work,
}

#[derive(Clone)]
enum Work {
    Sql(SqlTool),
    Http(Arc<Requester>),
    Mcp(Arc<Mcp>, String),
}

/// A server of tools, and those that it has said it has.
struct Server {
    mcp: Arc<Mcp>,
    tools: RwLock<Arc<Vec<Tool>>>,
    timeout: Duration,
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
    /// When the database cannot be opened, the script fails, a statement makes no sense or a secret is missing: at start,
    /// not at the first call.
    pub fn start(
        directory: &Path,
        script: &str,
        agent: &Agent,
        settings: &ToolSettings,
        (runtime, metrics): (Handle, Metrics),
    ) -> Result<Self, ToolsError> {
        let client = http::client(&settings.reach).map_err(ToolsError::Client)?;
        let secret = |reference: &str| settings.secrets.get(reference).cloned();
        let mut entries = BTreeMap::new();
        for tool in agent.tools() {
            let name = &tool.spec.name;
            let wrong = |reason| ToolsError::Statement { tool: name.clone(), reason };
            let work = match (SqlTool::of(tool), &tool.kind) {
                (Some(sql), _) => Work::Sql(sql),
                (None, ToolKind::Http(http)) => Work::Http(Arc::new(Requester {
                    headers: http::headers(&http.headers, &secret).map_err(wrong)?,
                    tool: (**http).clone(),
                    class: tool.class,
                    client: client.clone(),
                    reach: Arc::clone(&settings.reach),
                })),
                (None, _) => continue,
            };
            let (parameters, timeout) =
                (tool.spec.parameters.clone(), tool.timeout.unwrap_or(settings.timeout));
            entries.insert(name.clone(), Entry { parameters, timeout, work });
        }
        let mut servers = Vec::new();
        for server in agent.mcp() {
            let wrong = |reason| ToolsError::Statement { tool: server.name.clone(), reason };
            let mcp = Arc::new(Mcp::new(server.clone(), peer(server, settings, &client).map_err(wrong)?));
            let timeout = mcp.timeout().unwrap_or(settings.timeout);
            servers.push(Server { mcp, tools: RwLock::default(), timeout });
        }
        Self::with(directory, script, (entries, servers), runtime, metrics)
    }

    fn with(
        directory: &Path,
        script: &str,
        (entries, servers): (BTreeMap<String, Entry>, Vec<Server>),
        runtime: Handle,
        metrics: Metrics,
    ) -> Result<Self, ToolsError> {
        let database = Database::open(directory, script)?;
        for entry in entries.values() {
            if let Work::Sql(tool) = &entry.work {
                database.check(tool)?;
            }
        }
        let (queue, jobs) = bounded(TOOL_QUEUE);
        std::thread::Builder::new().name("tandem-tools".to_owned()).spawn(move || work(database, &jobs))?;
        let (tools, servers) = (Arc::new(entries), Arc::new(servers));
        Ok(Self { tools, servers, queue, running: Arc::new(Semaphore::new(TOOL_QUEUE)), runtime, metrics })
    }

    /// Asks the servers of tools which they have. One that does not answer is asked again later; until then its tools
    /// are missing, and the agent works without them.
    pub async fn discover(&self) {
        let lists = self.servers.iter().map(|server| server.discover(&self.tools));
        let answered = futures_util::future::join_all(lists).await;
        for (number, answered) in answered.into_iter().enumerate() {
            if !answered {
                let (servers, tools) = (Arc::downgrade(&self.servers), Arc::clone(&self.tools));
                self.runtime.spawn(async move {
                    loop {
                        tokio::time::sleep(LIST_AGAIN).await;
                        let Some(servers) = servers.upgrade() else { return };
                        if servers[number].discover(&tools).await {
                            return;
                        }
                    }
                });
            }
        }
    }

    /// The tools that servers have brought, for the next call.
    pub fn brought(&self) -> Arc<Vec<Tool>> {
        let mut tools: Vec<Tool> = Vec::new();
        for tool in self.servers.iter().flat_map(|server| server.known().iter().cloned().collect::<Vec<_>>())
        {
            // Of two with one name the first server's is meant.
            if !tools.iter().any(|known| known.spec.name == tool.spec.name) {
                tools.push(tool);
            }
        }
        Arc::new(tools)
    }

    /// Runs a tool for a turn, without waiting. The result, or why there is none, goes to `events`.
    pub fn run(&self, context: &ToolContext, turn: TurnId, call: &ToolCall, events: Events) {
        let pending = self.enqueue(context, turn, call);
        let (call_id, tool, on) = (call.id.clone(), call.name.clone(), context.call);
        self.runtime.spawn(async move {
            let result = pending.wait().await;
            let ok = result.is_ok();
            if events.send(ProviderEvent::Tool(turn, ToolResult { call_id, result })).await.is_err() {
                // What the tool did stays done, and whoever reads the call's record should know.
                tracing::info!(call = %on, tool, ok, "a tool ended after its call");
            }
        });
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        self.tools.get(name).cloned().or_else(|| {
            self.servers.iter().find_map(|server| {
                let known = server.known();
                let tool = known.iter().find(|tool| tool.spec.name == name)?;
                let work = Work::Mcp(Arc::clone(&server.mcp), name.to_owned());
                Some(Entry { parameters: tool.spec.parameters.clone(), timeout: server.timeout, work })
            })
        })
    }

    fn enqueue(&self, context: &ToolContext, turn: TurnId, call: &ToolCall) -> Pending {
        let Some(entry) = self.entry(&call.name) else {
            let brought = self.brought();
            let more = brought.iter().map(|tool| tool.spec.name.as_str());
            let names: Vec<&str> = self.tools.keys().map(String::as_str).chain(more).collect();
            return Pending::Known(format!(
                "there is no tool {:?}; there are: {}",
                call.name,
                names.join(", ")
            ));
        };
        let mut values = match arguments::validate(&entry.parameters, &call.arguments) {
            Ok(values) => values,
            Err(error) => return Pending::Known(error),
        };
        let busy = || Pending::Known("too many tools are running, try again in a moment".to_owned());
        let deadline = Instant::now() + entry.timeout;
        let key = IdempotencyKey::new(context.call, turn, &call.name, &values);
        let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() else {
            self.metrics.queue_dropped("tools", 1);
            return busy();
        };
        let (answer, wait) = oneshot::channel();
        match entry.work {
            Work::Sql(tool) => {
                // After the arguments: a model cannot pretend to be another caller.
                values.extend(context.given());
                if self.queue.try_send(Job { tool, values, deadline, answer }).is_err() {
                    self.metrics.queue_dropped("tools", 1);
                    return busy();
                }
                return Pending::Running { wait, most: entry.timeout + GRACE, _permit: permit };
            }
            Work::Http(requester) => {
                let context = context.clone();
                self.runtime.spawn(async move {
                    let _ = answer.send(requester.run(&context, &values, &key, deadline).await);
                });
            }
            Work::Mcp(server, tool) => {
                self.runtime.spawn(async move {
                    let _ = answer.send(server.call(&tool, &values, &key, deadline).await);
                });
            }
        }
        Pending::Running { wait, most: entry.timeout + GRACE, _permit: permit }
    }
}

impl Server {
    fn known(&self) -> Arc<Vec<Tool>> {
        Arc::clone(&self.tools.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says whether the server has answered.
    async fn discover(&self, own: &BTreeMap<String, Entry>) -> bool {
        let name = self.mcp.name();
        match self.mcp.tools(Instant::now() + LIST_PATIENCE).await {
            Ok(mut tools) => {
                tools.retain(|tool| {
                    let free = !own.contains_key(&tool.spec.name);
                    if !free {
                        tracing::warn!(
                            server = name,
                            tool = tool.spec.name,
                            "the agent has a tool of that name itself"
                        );
                    }
                    free
                });
                tracing::info!(server = name, tools = tools.len(), "the server of tools has answered");
                *self.tools.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(tools);
                true
            }
            Err(reason) => {
                tracing::warn!(
                    server = name,
                    reason,
                    "the tools of this server are missing; it is asked again in 30 s"
                );
                false
            }
        }
    }
}

fn peer(server: &McpServer, settings: &ToolSettings, client: &reqwest::Client) -> Result<Peer, String> {
    let secret = |reference: &str| settings.secrets.get(reference).cloned();
    Ok(match &server.transport {
        McpTransport::Http { url, headers } => Peer::Http(HttpPeer {
            url: url.parse().map_err(|error| format!("its URL cannot be used: {error}"))?,
            headers: http::headers(headers, &secret)?,
            client: client.clone(),
            reach: Arc::clone(&settings.reach),
        }),
        McpTransport::Stdio { command } => Peer::Stdio(StdioPeer::new(command.clone())),
    })
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

    /// The value of a variable.
    fn value(&self, name: &str) -> Option<String> {
        match name {
            "now" => Some(Timestamp::now().to_string()),
            "call_id" => Some(self.call.to_string()),
            "caller" => Some(self.caller.expose().clone()),
            "today" => Some(self.today.to_string()),
            _ => self.variables.get(name).map(str::to_owned),
        }
    }
}

/// An answer that is there already, or will be.
enum Pending {
    Known(String),
    Running {
        wait: oneshot::Receiver<Result<String, String>>,
        most: Duration,
        /// Room for another one, once this one is over.
        _permit: tokio::sync::OwnedSemaphorePermit,
    },
}

impl Pending {
    async fn wait(self) -> Result<String, String> {
        match self {
            Self::Known(error) => Err(error),
            Self::Running { wait, most, _permit } => match tokio::time::timeout(most, wait).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err("the tool failed".to_owned()),
                Err(_) => Err("the tool takes too long; whether it was carried out is not known".to_owned()),
            },
        }
    }
}

fn work(mut database: Database, jobs: &Receiver<Job>) {
    for job in jobs.iter() {
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

    fn entries(tools: Vec<(SqlTool, Duration)>) -> BTreeMap<String, Entry> {
        let entry = |(tool, timeout): (SqlTool, Duration)| {
            (tool.name.clone(), Entry { parameters: tool.parameters.clone(), timeout, work: Work::Sql(tool) })
        };
        tools.into_iter().map(entry).collect()
    }

    fn bench(name: &str, tools: Vec<(SqlTool, Duration)>) -> Bench {
        let directory = std::env::temp_dir().join(format!("tandem-runner-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let parts = (entries(tools), Vec::new());
        let runner = ToolRunner::with(&directory, SCRIPT, parts, Handle::current(), Metrics::default());
        let (events, inbox) = Events::channel(Arc::new(|| {}));
        Bench { directory, runner: runner.expect("the tools are fine"), events, inbox }
    }

    fn sql(name: &str, sql: &str, returns: Returns, timeout: Duration) -> (SqlTool, Duration) {
        let parameters = json!({
            "type": "object",
            "properties": { "day": { "type": "string" }, "time": { "type": "string" }, "name": { "type": "string" } },
            "required": [], "additionalProperties": false
        });
        let writes = returns == Returns::Changes;
        (SqlTool { name: name.into(), sql: sql.into(), returns, parameters, writes }, timeout)
    }

    impl Bench {
        async fn run(&mut self, name: &str, arguments: &str) -> Result<String, String> {
            let context = ToolContext {
                call: CallId(7),
                caller: "+15550100".to_owned().into(),
                today: jiff::civil::date(2026, 10, 12),
                variables: Variables::default(),
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
        let tools: Vec<_> = agent
            .expect("it is our own")
            .tools()
            .iter()
            .filter_map(SqlTool::of)
            .map(|tool| (tool, MINUTE))
            .collect();
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
        let (queue, _jobs) = bounded(TOOL_QUEUE);
        let runner = ToolRunner {
            tools: Arc::new(entries(vec![tool])),
            servers: Arc::default(),
            queue,
            running: Arc::new(Semaphore::new(TOOL_QUEUE)),
            runtime: Handle::current(),
            metrics: Metrics::default(),
        };
        let today = jiff::civil::date(2026, 10, 12);
        let variables = Variables::default();
        let context = ToolContext { call: CallId(7), caller: Pii::default(), today, variables };
        let call = ToolCall { id: "t1".into(), name: "look".into(), arguments: String::new() };
        let mut running = Vec::new();
        for _ in 0..TOOL_QUEUE {
            let pending = runner.enqueue(&context, TurnId(1), &call);
            assert!(matches!(pending, Pending::Running { .. }));
            running.push(pending);
        }
        let refused = runner.enqueue(&context, TurnId(1), &call).wait().await.expect_err("the queue is full");
        assert!(refused.contains("too many tools"), "{refused}");
    }
}
