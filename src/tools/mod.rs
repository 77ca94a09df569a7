//! Carries out what an agent's tools ask for, on a thread of its own, and reports back to the call.
//! Knows the demo database. A tool that fails, or takes too long, is an answer for the model and never a stuck call.

mod arguments;
mod database;

pub use database::{DEMO_DATABASE_FILE, ToolsError};

use crate::providers::{Events, ProviderEvent};
use crate::telemetry::{Metrics, Pii};
use call::{CallId, ToolResult};
use conversation::{ToolCall, TurnId};
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

/// The JSON that a statement's result becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// A list of objects, at most [`database::MOST_ROWS`].
    Rows,
    /// The first row as an object, or null.
    Row,
    /// `{"changes": 1}`.
    Changes,
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
