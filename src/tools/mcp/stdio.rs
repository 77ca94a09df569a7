//! Messages to a server of the Model Context Protocol that is a process of ours: one line for each, either way.
//! Knows lines and the process. It is started when it is first needed, and again when it has died.

use super::http::answers;
use serde_json::Value;
use std::{
    collections::HashMap,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::oneshot,
};

/// The longest line; a process that writes more is not speaking the protocol.
const LONGEST_LINE: u64 = 1 << 20;
/// Of our environment, what a process may see. Keys of providers are not among them.
const ENVIRONMENT: [&str; 8] = ["PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL"];

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A server that is a process.
pub(in super::super) struct StdioPeer {
    command: Vec<String>,
    running: tokio::sync::Mutex<Option<Running>>,
    starts: AtomicU64,
    /// The start that still runs; 0 for none.
    alive: Arc<AtomicU64>,
}

struct Running {
    input: ChildStdin,
    waiting: Waiting,
    /// Ends with it.
    _child: Child,
}

impl StdioPeer {
    pub(in super::super) fn new(command: Vec<String>) -> Self {
        Self {
            command,
            running: tokio::sync::Mutex::default(),
            starts: AtomicU64::new(0),
            alive: Arc::default(),
        }
    }

    pub(super) fn is_running(&self, start: u64) -> bool {
        self.alive.load(Ordering::Acquire) == start
    }

    /// Starts the process anew.
    pub(super) async fn start(&self) -> Result<u64, String> {
        let mut running = self.running.lock().await;
        let (program, arguments) = self.command.split_first().ok_or("there is no command")?;
        let environment = ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("the process has no input or no output".to_owned());
        };
        let start = self.starts.fetch_add(1, Ordering::Relaxed) + 1;
        self.alive.store(start, Ordering::Release);
        let waiting = Waiting::default();
        tokio::spawn(listen(output, Arc::clone(&waiting), Arc::clone(&self.alive), start));
        *running = Some(Running { input, waiting, _child: child });
        Ok(start)
    }

    /// Writes a message; with an `id`, waits for the answer to it.
    pub(super) async fn exchange(&self, message: &Value, id: Option<u64>) -> Result<Value, String> {
        let (answer, wait) = oneshot::channel();
        {
            let mut running = self.running.lock().await;
            let running = running.as_mut().ok_or("the process does not run")?;
            if let Some(id) = id {
                let mut waiting = running.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                // Nobody waits any more for those whose time is over.
                waiting.retain(|_, answer| !answer.is_closed());
                waiting.insert(id, answer);
            }
            let line = format!("{message}\n");
            let written = running.input.write_all(line.as_bytes()).await;
            written.map_err(|error| format!("the process takes no message: {error}"))?;
        }
        match id {
            Some(_) => wait.await.map_err(|_| "the process ended without an answer".to_owned()),
            None => Ok(Value::Null),
        }
    }
}

/// Reads lines until the process ends or breaks the rules; whoever still waits hears that there is no answer.
async fn listen(output: ChildStdout, waiting: Waiting, alive: Arc<AtomicU64>, start: u64) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut output).take(LONGEST_LINE).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(1..)) || !line.ends_with(b"\n") {
            break;
        }
        let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
        let Some(id) = value["id"].as_u64().filter(|id| answers(&value, *id)) else { continue };
        let answer = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        // Who asked may have given up.
        let _ = answer.map(|answer| answer.send(value));
    }
    let _ = alive.compare_exchange(start, 0, Ordering::AcqRel, Ordering::Relaxed);
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
