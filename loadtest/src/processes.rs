//! The processes under test: a server and the simulators of its providers. Each ends with the value that stands for it.
//! Knows programs, addresses and files. What is measured is the figures' business.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// How long a process may take to be ready. A recogniser's model takes most of it, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server may take to stop.
const FAREWELL: Duration = Duration::from_secs(10);
/// Where the key that the simulators ask for is found: any key will do.
const KEY: &str = "TANDEM_LOADTEST_KEY";
/// Where in its folder a server's log is kept.
pub(crate) const LOG: &str = "log";
/// And its config.
const CONFIG: &str = "tandem.toml";
/// Between two looks at whether a server's output is to be read again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What the processes listen on.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) sip: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) simulators: SocketAddr,
    pub(crate) rtp: String,
    /// For SIP over TLS, where that is asked for.
    pub(crate) tls: Option<SocketAddr>,
}

/// Who hears, thinks and speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engines {
    /// The simulators.
    Simulated,
    /// Those inside the server.
    Embedded,
}

/// A process that ends with this value.
struct Process {
    child: Child,
    farewell: Duration,
}

impl Process {
    /// Ends it as a crash of the machine would: it is not told.
    fn kill(&mut self) {
        let _it_may_be_gone = self.child.kill();
        let _no_zombie_is_left = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whose end has been seen has no number any more: another process may have got it.
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        let pid = i32::try_from(self.child.id()).map(Pid::from_raw);
        let told = pid.is_ok_and(|pid| kill(pid, Signal::SIGTERM).is_ok());
        let patience = Instant::now() + self.farewell;
        while told && Instant::now() < patience {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }
}

/// Running simulators.
pub(crate) struct Simulators(Process);

impl Simulators {
    /// Starts this program's own simulators, with these further arguments.
    pub(crate) fn start(listen: SocketAddr, arguments: &[&str]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["simulators", "--listen", &listen.to_string()]).args(arguments);
        let (process, _) =
            start(command.stderr(Stdio::inherit()), Output::Standard, "listening on", Duration::ZERO)
                .map_err(|error| format!("the simulators: {error}"))?;
        Ok(Self(process))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.child.id()
    }
}

/// Another of this program's commands that serves, without a config: the SIP stack alone, a floor, an echo.
pub(crate) struct Bare(Process);

impl Bare {
    /// Starts this program's own.
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(arguments).stderr(Stdio::inherit());
        let (process, _) = start(&mut command, Output::Standard, "listening on", Duration::ZERO)
            .map_err(|error| format!("{}: {error}", arguments.join(" ")))?;
        Ok(Self(process))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.child.id()
    }
}

/// What a server is started with, beyond what every measurement's has.
#[derive(Clone, Default)]
pub(crate) struct Extras {
    /// At the end of its config.
    pub(crate) config: String,
    /// Its data directory, if it is not to be in its folder.
    pub(crate) data: Option<PathBuf>,
    /// What it logs, if not only warnings.
    pub(crate) log: Option<&'static str>,
    pub(crate) environment: Vec<(&'static str, String)>,
    /// While it is set, nobody reads what the server says.
    pub(crate) unread: Arc<AtomicBool>,
}

/// A running server with a data directory of its own.
pub(crate) struct Server {
    process: Process,
    /// From its start until it said that it was ready.
    pub(crate) ready_after: Duration,
    /// Its data directory.
    pub(crate) data: PathBuf,
    program: PathBuf,
    folder: PathBuf,
    extras: Extras,
}

impl Server {
    /// Starts a server in a new folder.
    pub(crate) fn start(
        program: &Path,
        addresses: &Addresses,
        engines: Engines,
        folder: &Path,
        extras: Extras,
    ) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", folder.display());
        let data = extras.data.clone().unwrap_or_else(|| folder.join("data"));
        std::fs::create_dir_all(&data).map_err(|error| failed(&error))?;
        let agent = folder.join("agent.toml");
        write(&agent, AGENT).map_err(|error| failed(&error))?;
        let mut text = config_text(addresses, engines, &data, &agent) + &extras.config;
        if let Some(level) = extras.log {
            text = text.replace("level = \"warn\"", &format!("level = \"{level}\""));
        }
        // Where there are pools, the ports are their sum.
        if extras.config.contains("[[pool]]") {
            text = text.replace("ports = 1100\n", "");
        }
        write(&folder.join(CONFIG), &text).map_err(|error| failed(&error))?;
        let (process, ready_after) = launch(program, folder, &extras)?;
        let (program, folder) = (program.to_owned(), folder.to_owned());
        Ok(Self { process, ready_after, data, program, folder, extras })
    }

    /// Ends it without a word, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again with what it left behind.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        self.process.kill();
        (self.process, self.ready_after) = launch(&self.program, &self.folder, &self.extras)?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }
}

fn launch(program: &Path, folder: &Path, extras: &Extras) -> Result<(Process, Duration), String> {
    let log = folder.join(LOG);
    let log = File::options().append(true).create(true).open(&log);
    let log = log.map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut command = Command::new(program);
    command.arg("serve").arg("--config").arg(folder.join(CONFIG));
    command.envs(extras.environment.iter().map(|(name, value)| (name, value)));
    command.env(KEY, "any").stdout(Stdio::null());
    let output = Output::Error(log, Arc::clone(&extras.unread));
    start(&mut command, output, "is ready", FAREWELL).map_err(|error| format!("the server: {error}"))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    File::create(path)?.write_all(text.as_bytes())
}

/// Where a process says that it is ready.
enum Output {
    Standard,
    /// What it says afterwards is kept in the file, and is not read as long as the switch says so.
    Error(File, Arc<AtomicBool>),
}

/// Starts a process and waits until a line of its output holds `ready`.
fn start(
    command: &mut Command,
    output: Output,
    ready: &'static str,
    farewell: Duration,
) -> Result<(Process, Duration), String> {
    match &output {
        Output::Standard => command.stdout(Stdio::piped()),
        Output::Error(..) => command.stderr(Stdio::piped()),
    };
    let started = Instant::now();
    let mut child = command.stdin(Stdio::null()).spawn().map_err(|error| error.to_string())?;
    let (stream, mut log): (Option<Box<dyn Read + Send>>, _) = match output {
        Output::Standard => (child.stdout.take().map(|stream| Box::new(stream) as _), None),
        Output::Error(log, unread) => {
            (child.stderr.take().map(|stream| Box::new(stream) as _), Some((log, unread)))
        }
    };
    let process = Process { child, farewell };
    let stream = stream.ok_or("it has no output")?;
    let (sender, lines) = mpsc::channel();
    // Reads on after that, so that the process never waits for us.
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some((log, unread)) = &mut log {
                while unread.load(Ordering::Relaxed) {
                    std::thread::sleep(LOOK_AGAIN);
                }
                let _a_full_disk_is_no_reason_to_stop_reading = writeln!(log, "{line}");
            }
            let _nobody_may_listen_any_more = sender.send((Instant::now(), line));
        }
    });
    let mut said = String::new();
    while let Ok((at, line)) = lines.recv_timeout(PATIENCE) {
        if line.contains(ready) {
            return Ok((process, at - started));
        }
        said = said + &line + "\n";
    }
    Err(format!("it did not get ready; it said: {said}"))
}

fn config_text(addresses: &Addresses, engines: Engines, data: &Path, agent: &Path) -> String {
    let Addresses { sip, http, simulators, rtp, tls } = addresses;
    let tls = tls.map(|address| format!(", \"tls:{address}\"")).unwrap_or_default();
    let common = format!(
        r#"
[server]
data_dir = "{data}"
ports = 1100
drain_seconds = 0
[sip]
listen = ["udp:{sip}", "tcp:{sip}"{tls}]
[rtp]
address = "{address}"
ports = "{rtp}"
[http]
listen = "{http}"
[log]
level = "warn"
"#,
        data = data.display(),
        address = sip.ip(),
    );
    if engines == Engines::Embedded {
        return common;
    }
    format!(
        r#"{common}
[agent]
file = "{agent}"
[stt.simulated]
provider = "deepgram"
api_key = "env:{KEY}"
model = "simulated"
base_url = "ws://{simulators}"
[llm.simulated]
provider = "openai"
api_key = "env:{KEY}"
model = "simulated"
base_url = "http://{simulators}/v1"
[tts.simulated]
provider = "elevenlabs"
api_key = "env:{KEY}"
model = "simulated"
voice = "simulated"
base_url = "ws://{simulators}"
[routes.stt.default]
targets = ["simulated"]
[routes.llm.default]
targets = ["simulated"]
[routes.tts.default]
targets = ["simulated"]
"#,
        agent = agent.display(),
    )
}

/// The agent that the simulated providers play. Its tool computes until it is stopped: there is something to wait for.
const AGENT: &str = r#"
[agent]
name = "figures"
greeting = "Hello, this is an agent that exists to be measured, and it goes on talking for a few seconds."
persona = "You are measured."

[[tool]]
name = "look_up"
description = "Looks something up, slowly."
kind = "sqlite"
args = []
sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS most FROM n"
returns = "row"
timeout_ms = 3000
"#;
