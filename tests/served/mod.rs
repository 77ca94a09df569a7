//! The real `tandem` on loopback, with a directory and ports of its own, and what tests ask of it.
//! Knows processes and addresses. Waits for what must happen; nothing here depends on how fast anything is.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Long enough for the slowest machine; no passing test waits for it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; it is killed, and its directory removed, when this is dropped.
pub struct Served {
    child: Child,
    folder: PathBuf,
    log: Arc<Mutex<String>>,
    /// Where it takes SIP over UDP.
    pub udp: SocketAddr,
    /// Where it takes SIP over TCP.
    pub tcp: SocketAddr,
    /// Where its API is.
    pub http: SocketAddr,
    /// Its RTP ports.
    pub rtp: std::ops::Range<u16>,
}

impl Served {
    /// Starts a server for `calls` calls with this config file.
    pub fn start(calls: u16, config: &str) -> Self {
        Self::start_in(folder(), calls, config)
    }

    /// The same, in a folder where another server has been.
    pub fn start_in(folder: PathBuf, calls: u16, config: &str) -> Self {
        std::fs::write(folder.join("tandem.toml"), config).expect("a config file");
        // Twice what the cap needs: the ports of a call that is over rest for a while.
        let rtp = free_ports(calls * 4);
        let mut child = Command::new(env!("CARGO_BIN_EXE_tandem"))
            .current_dir(&folder)
            .args(["serve", "--config", "tandem.toml", "--data-dir", "data", "--http", "127.0.0.1:0"])
            .args(["--sip", "udp:127.0.0.1:0", "--sip", "tcp:127.0.0.1:0"])
            .args(["--ports", &calls.to_string()])
            .args(["--rtp", &format!("127.0.0.1:{}-{}", rtp.start, rtp.end - 1)])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tandem starts");
        let stderr = BufReader::new(child.stderr.take().expect("asked for"));
        let (log, banner) = read_banner(stderr);
        let address = |before: &str| {
            let rest = banner.split(before).nth(1).and_then(|rest| rest.split_whitespace().next());
            rest.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no {before} in\n{banner}"))
        };
        let (udp, tcp, http) = (address("udp:"), address("tcp:"), address("http://"));
        Self { child, folder, log, udp, tcp, http, rtp }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What to dial.
    pub fn uri(&self) -> String {
        format!("sip:demo@{}", self.udp)
    }

    /// A path in the server's folder, for what a test writes.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Everything it has written to standard error.
    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    /// Whether the process is still there.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Runs `tandem` in the server's folder.
    pub fn tandem(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("tandem starts")
    }

    /// `tandem`, to be run in the server's folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.current_dir(&self.folder).args(arguments).stdin(Stdio::null());
        command
    }

    /// `tandem call` to this server, its report to be read from standard output as JSON.
    pub fn call(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&["call", &self.uri(), "--json", "--limit", "120"]);
        command.args(["--api", &format!("http://{}", self.http)]).args(arguments);
        command
    }

    /// `tandem trace … --json`.
    pub fn trace(&self, arguments: &[&str]) -> Value {
        let output = self.tandem(&[&["trace", "--json", "--data-dir", "data"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The records of all calls, oldest first.
    pub fn records(&self) -> Vec<Value> {
        let mut calls = self.trace(&["--limit", "1000"])["calls"].as_array().expect("a list").clone();
        calls.reverse();
        calls
    }

    /// The records, once there are `count` and all are closed.
    pub fn closed_records(&self, count: usize) -> Vec<Value> {
        wait_for("closed records", || {
            let records = self.records();
            let closed = records.iter().all(|record| record["end_cause"].is_string());
            (records.len() >= count && closed).then_some(records)
        })
    }

    /// Kills it, as a machine that fails would, and returns what it leaves behind.
    pub fn kill(mut self) -> PathBuf {
        let _may_have_ended = self.child.kill();
        let _already_reaped = self.child.wait();
        std::mem::take(&mut self.folder)
    }

    /// Stops it as a service manager would.
    pub fn stop(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
        wait_for("the end of the server", || self.child.try_wait().expect("it is ours"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _may_have_ended = self.child.kill();
        let _already_reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what the server said ---\n{}", self.log());
        }
        if !self.folder.as_os_str().is_empty() {
            let _leftovers_do_no_harm = std::fs::remove_dir_all(&self.folder);
        }
    }
}

/// Reads standard error up to the line that says that all is ready, and keeps the rest.
fn read_banner(mut stderr: BufReader<ChildStderr>) -> (Arc<Mutex<String>>, String) {
    let mut banner = String::new();
    while !banner.contains("any soft phone") {
        let read = stderr.read_line(&mut banner).expect("readable");
        assert!(read > 0, "the server ended before it was ready:\n{banner}");
    }
    let log = Arc::new(Mutex::new(banner.clone()));
    let writer = Arc::clone(&log);
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            let mut log = writer.lock().expect("not poisoned");
            log.push_str(&line);
            log.push('\n');
        }
    });
    (log, banner)
}

/// An empty folder.
pub fn folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("tandem-served-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).expect("a temporary directory");
    path
}

/// So many UDP ports in a row, the first one even. Below those that the system hands out by itself, and from a place
/// that differs from process to process.
pub fn free_ports(count: u16) -> std::ops::Range<u16> {
    const LOW: u16 = 10_000;
    const HIGH: u16 = 32_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let step = count.next_multiple_of(2);
    for _ in 0..2_000 {
        let begun = (std::process::id() % 400) as u16 * 50;
        let low = LOW + begun.wrapping_add(NEXT.fetch_add(step, Ordering::Relaxed)) % (HIGH - LOW - step);
        let low = low.next_multiple_of(2);
        let free = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
        if (low..low + step).map(free).collect::<Result<Vec<_>, _>>().is_ok() {
            return low..low + step;
        }
    }
    panic!("no {count} free UDP ports in a row");
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What the caller was understood to say, in order, one line for each turn.
pub fn heard(trace: &Value) -> Vec<String> {
    let turns = trace["turns"].as_array().expect("a list of turns");
    turns.iter().filter_map(|turn| turn["caller"]["text"].as_str().map(str::to_owned)).collect()
}

/// Everything the agent set out to say, in lower case.
pub fn said(trace: &Value) -> String {
    let turns = trace["turns"].as_array().expect("a list of turns");
    let sentences = turns.iter().filter_map(|turn| turn["sentences"].as_array()).flatten();
    sentences.filter_map(Value::as_str).collect::<Vec<_>>().join(" ").to_lowercase()
}

/// A file of this repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What to do about a program that is not installed.
pub fn missing(program: &str, package: &str) -> Option<String> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    (!found).then(|| format!("{program} is missing; install {package}: scripts/setup test"))
}

/// The level of 16-bit samples in dBFS.
pub fn level_dbfs(samples: &[i16]) -> f64 {
    let energy: f64 = samples.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    20.0 * ((energy / samples.len().max(1) as f64).sqrt().max(1.0) / 32_768.0).log10()
}
