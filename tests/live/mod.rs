//! A server as its operator has it: the real program, a folder of its own, ports that the system chose.
//! Knows how to start, ask, call, signal and search it. What is expected of it is the tests' business.
#![allow(dead_code, reason = "each test file uses its part")]

use media::{Frame, SampleRate};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Long enough for the slowest machine; no passing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of its own, removed at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tandem-live-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file for the test");
        path
    }

    /// The demo agent, less talkative: nobody wants to wait for its greeting in every test.
    pub(crate) fn write_agent(&self) {
        let shorter = [("greeting", GREETING), ("trouble", TROUBLE), ("not_heard", "Pardon?")];
        let line = |line: &str| {
            let key = line.split(" = ").next().unwrap_or_default();
            match shorter.iter().find(|(name, _)| *name == key) {
                Some((name, text)) => format!("{name} = \"{text}\"\n"),
                None => format!("{line}\n"),
            }
        };
        let demo: String = include_str!("../../agents/demo.toml").lines().map(line).collect();
        for (name, text) in shorter {
            assert!(demo.contains(text), "the demo agent has no {name}");
        }
        self.write("agent.toml", &demo);
        self.write("agent.sql", include_str!("../../agents/demo.sql"));
        self.write("demo-hours.md", HOURS);
        std::fs::create_dir_all(self.0.join("demo-docs")).expect("a folder for the test");
        for (name, text) in DOCUMENTS {
            self.write(name, text);
        }
    }

    /// A config that listens where the system wants, followed by what the test is about.
    pub(crate) fn write_config(&self, rest: &str) -> PathBuf {
        self.write_agent();
        let [low, high] = rtp_ports();
        let common = format!(
            r#"
[server]
data_dir = "data"
ports = 20
drain_seconds = 0
[sip]
listen = ["udp:127.0.0.1:0"]
[rtp]
address = "127.0.0.1"
ports = "{low}-{high}"
cooling_seconds = 0
[http]
listen = "127.0.0.1:0"
[agent]
file = "agent.toml"
"#
        );
        self.write("tandem.toml", &format!("{common}{rest}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Ports for RTP that no other server of the tests has, below those that the kernel hands out by itself.
fn rtp_ports() -> [u32; 2] {
    const EACH: u32 = 200;
    const LOWEST: u32 = 10_000;
    const RANGES: u32 = 110;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let range = (std::process::id() * 17 + NEXT.fetch_add(1, Ordering::Relaxed)) % RANGES;
    [LOWEST + range * EACH, LOWEST + range * EACH + EACH - 1]
}

/// The program with these arguments.
pub(crate) fn tandem(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// Runs the program to its end: exit code, and what it wrote.
pub(crate) fn run(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().expect("the program starts");
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code().unwrap_or(-1), text)
}

/// A running server.
pub(crate) struct Live {
    child: Child,
    pub(crate) folder: Folder,
    pub(crate) sip: SocketAddr,
    pub(crate) http: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Live {
    /// Starts a server with this config and waits until it says that it is ready.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_in(Folder::new(), config, &[])
    }

    pub(crate) fn start_in(folder: Folder, config: &str, environment: &[(&str, &str)]) -> Self {
        let file = folder.write_config(config);
        Self::start_with(folder, &file, environment)
    }

    /// Starts a server with a config file that is there already.
    pub(crate) fn start_with(folder: Folder, file: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = tandem(&["serve", "--config", &file.display().to_string()]);
        command.envs(environment.iter().copied());
        Self::spawn(folder, command, true)
    }

    /// Starts a server of which nobody reads what it writes, once it has said where it is.
    pub(crate) fn start_unread(config: &str) -> Self {
        let folder = Folder::new();
        let file = folder.write_config(config);
        Self::spawn(folder, tandem(&["serve", "--config", &file.display().to_string()]), false)
    }

    fn spawn(folder: Folder, mut command: Command, goes_on_reading: bool) -> Self {
        let mut child =
            command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::with_capacity(4_096, child.stderr.take().expect("it is piped"));
        let mut addresses = BTreeMap::new();
        let mut line = String::new();
        while !line.contains("from any soft phone") {
            line.clear();
            let read = lines.read_line(&mut line).expect("text");
            lock(&log).push_str(&line);
            assert!(read > 0, "the server did not start:\n{}", lock(&log));
            for (name, prefix) in [("SIP", "udp:"), ("HTTP", "http://")] {
                let word = line.strip_prefix(&format!("  {name} ")).and_then(|l| l.split_whitespace().next());
                let address = word.and_then(|word| word.strip_prefix(prefix)?.parse::<SocketAddr>().ok());
                addresses.extend(address.map(|address| (name, address)));
            }
        }
        if goes_on_reading {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in lines.lines().map_while(Result::ok) {
                    lock(&log).push_str(&format!("{line}\n"));
                }
            });
        } else {
            // Open for as long as the test runs, and never read.
            Box::leak(Box::new(lines));
        }
        let (sip, http) = (addresses["SIP"], addresses["HTTP"]);
        Self { child, folder, sip, http, log }
    }

    /// What it has written so far.
    pub(crate) fn log(&self) -> String {
        lock(&self.log).clone()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.0.join("data")
    }

    /// Calls it and follows the steps of a script; what `tandem call --json` says.
    pub(crate) fn call(&self, steps: &str) -> Called {
        self.dial(steps).hung_up()
    }

    /// The same, while the test does other things.
    pub(crate) fn dial(&self, steps: &str) -> Dialled {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("script-{}.toml", NEXT.fetch_add(1, Ordering::Relaxed));
        let script = self.folder.write(&name, &format!("steps = [{steps}]"));
        let uri = format!("sip:agent@{}", self.sip);
        let api = format!("http://{}", self.http);
        let script = script.display().to_string();
        let wav = format!("{script}.wav");
        let mut command =
            tandem(&["call", &uri, "--api", &api, "--json", "--limit", "60", "--script", &script]);
        let command = command.args(["--out", &wav]).stdout(Stdio::piped()).stderr(Stdio::piped());
        Dialled { child: command.spawn().expect("it starts") }
    }

    /// The one call that is running, once it can be read.
    pub(crate) fn running_call(&self) -> String {
        eventually("a call is running", || {
            let (_, calls) = self.get("/calls?running=true");
            let calls: Value = serde_json::from_str(&calls).ok()?;
            let call = calls["calls"].get(0)?;
            call["answer_us"].is_i64().then(|| call["call"].as_str().expect("its name").to_owned())
        })
    }

    /// The newest call's record, once it has an end.
    pub(crate) fn last_record(&self) -> Value {
        eventually("the call has its record", || {
            let (_, record) = self.get("/calls/last");
            let record: Value = serde_json::from_str(&record).ok()?;
            record["end_cause"].is_string().then_some(record)
        })
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask("GET", path)
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = self.raw(request.as_bytes());
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        (status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned())
    }

    /// Sends bytes to the HTTP port and reads what comes, which may be nothing.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.http).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        let mut answer = Vec::new();
        // A server that refuses half a request may close before it has read the rest.
        if stream.write_all(request).is_ok() {
            let _ = stream.read_to_end(&mut answer);
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends bytes to the HTTP port and goes away.
    pub(crate) fn poke(&self, request: &[u8]) {
        let mut stream = TcpStream::connect(self.http).expect("it listens");
        // It may have heard enough before the end.
        let _ = stream.write_all(request);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }

    pub(crate) fn metrics(&self) -> String {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        text
    }

    /// The figure of the series that begins like this, summed over its labels.
    pub(crate) fn figure(&self, series: &str) -> f64 {
        let metrics = self.metrics();
        let lines = metrics.lines().filter(|line| line.starts_with(series));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process"), signal).expect("it is ours");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        eventually("the server ends", || self.child.try_wait().expect("it is ours"))
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }

    /// Ends it and gives its folder back, for the next one.
    pub(crate) fn into_folder(mut self) -> Folder {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::replace(&mut self.folder, Folder::new())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the server wrote:\n{}---", self.log());
        }
    }
}

/// A call under way.
pub(crate) struct Dialled {
    child: Child,
}

impl Dialled {
    /// Waits until the caller has hung up, or was hung up on.
    pub(crate) fn hung_up(self) -> Called {
        let Output { stdout, stderr, .. } = self.child.wait_with_output().expect("it ends");
        let json = serde_json::from_slice(&stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)));
        Called(json)
    }
}

/// A call that is over, as the caller saw it.
pub(crate) struct Called(pub(crate) Value);

impl Called {
    /// Whether it was answered and everything that the script expects has happened.
    pub(crate) fn is_good(&self) -> bool {
        self.0["ok"] == true
    }

    /// How often the caller heard a voiced packet after its own words.
    pub(crate) fn answers(&self) -> usize {
        self.0["answers_ms"].as_array().map_or(0, Vec::len)
    }

    /// How much of what the agent sent was to be heard: voiced frames after the first `skipped` of the call.
    pub(crate) fn voiced_after(&self, skipped: Duration) -> usize {
        let wav = self.0["recording"].as_str().expect("it was recorded");
        let mut wav = hound::WavReader::open(wav).expect("a WAV file");
        let agent: Vec<i16> = wav.samples::<i16>().map(|sample| sample.expect("a sample")).collect();
        let agent: Vec<i16> = agent.into_iter().skip(1).step_by(2).collect();
        let frames = agent.chunks(160).skip(usize::try_from(skipped.as_millis() / 20).unwrap_or(0));
        frames.filter(|frame| Frame::from_samples(SampleRate::Hz8000, frame).level_dbfs() > -45.0).count()
    }

    /// The events of this kind in its trace, one JSON text each.
    pub(crate) fn events(&self, kind: &str) -> Vec<String> {
        let events = self.0["trace"]["events"].as_array().map_or(&[][..], Vec::as_slice);
        events.iter().filter(|event| event["kind"] == kind).map(Value::to_string).collect()
    }
}

impl std::fmt::Debug for Called {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut json = self.0.clone();
        let events = json["trace"]["events"].take();
        writeln!(f, "{json:#}")?;
        let lines = events.as_array().map_or(&[][..], Vec::as_slice);
        lines.iter().filter(|event| event["kind"] != "heard").try_for_each(|event| writeln!(f, "{event}"))
    }
}

/// What the agent says first.
pub(crate) const GREETING: &str = "Hello.";
/// What it says when a provider has failed it.
pub(crate) const TROUBLE: &str = "One moment please.";

/// What it knows.
/// The documents of the demo agent, by where they stand beside it.
const DOCUMENTS: [(&str, &str); 2] = [
    ("demo-docs/services.md", include_str!("../../agents/demo-docs/services.md")),
    ("demo-docs/visits.md", include_str!("../../agents/demo-docs/visits.md")),
];

const HOURS: &str = "# Opening hours\n\nWe are open from nine to five.\n\n# Address and parking\n\nWe are near the station.\n";

/// A step of a script: waits until the agent has spoken.
pub(crate) const LISTEN: &str = r#"{ wait_for = "agent", within_ms = 20000 }"#;
/// A step of a script: waits until the agent hangs up.
pub(crate) const WAIT_FOR_THE_END: &str = r#"{ wait_for = "hang_up", within_ms = 20000 }"#;
/// A step of a script: asks something that the flow can answer.
pub(crate) const ASK: &str = r#"{ say = "opening hours please" }"#;

/// A script of so many questions, each with its answer.
pub(crate) fn questions(count: usize) -> String {
    let pairs = std::iter::repeat_n(format!("{ASK}, {LISTEN}"), count).collect::<Vec<_>>().join(", ");
    format!("{LISTEN}, {pairs}, {{ hang_up = true }}")
}

/// The same by a caller who bears silence in the middle of an answer for a while.
pub(crate) fn patient_questions(count: usize) -> String {
    let ask = format!("{ASK}, {LISTEN}, {{ pause_ms = 1800 }}");
    let pairs = std::iter::repeat_n(ask, count).collect::<Vec<_>>().join(", ");
    format!("{LISTEN}, {pairs}, {{ hang_up = true }}")
}

/// Looks again and again until there is something.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every file below a folder that holds this text.
pub(crate) fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).map(|entries| entries.flatten().map(|entry| entry.path()));
    let found = |path: PathBuf| {
        if path.is_dir() {
            return files_with(&path, text);
        }
        let bytes = std::fs::read(&path).unwrap_or_default();
        let holds = bytes.windows(text.len()).any(|window| window == text.as_bytes());
        if holds { vec![path] } else { Vec::new() }
    };
    entries.into_iter().flatten().flat_map(found).collect()
}

/// A phone that can say anything, sense or not.
pub(crate) struct RawPhone {
    socket: UdpSocket,
    server: SocketAddr,
    calls: u32,
    user: &'static str,
    /// The final response to the last request.
    pub(crate) answer: String,
}

impl RawPhone {
    pub(crate) fn new(server: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time");
        Self { socket, server, calls: 0, user: "agent", answer: String::new() }
    }

    /// Sends a request of a new dialog, again and again, until its final response comes, which is acknowledged.
    pub(crate) fn request(&mut self, method: &str, body: Option<&str>) -> u16 {
        self.request_to("agent", method, body)
    }

    /// The same, to somebody else.
    pub(crate) fn request_to(&mut self, user: &'static str, method: &str, body: Option<&str>) -> u16 {
        self.calls += 1;
        self.user = user;
        let request = self.message(method, "", "", body);
        eventually("a final response", || {
            self.socket.send_to(request.as_bytes(), self.server).expect("it is sent");
            loop {
                let text = self.read()?;
                let is_answer = text.contains(&format!("branch=z9hG4bKraw{};", self.calls))
                    || text.contains(&format!("branch=z9hG4bKraw{}\r", self.calls));
                let status: u16 = text.get(8..11).and_then(|status| status.parse().ok()).unwrap_or(0);
                if !is_answer || status < 200 {
                    continue;
                }
                if method == "INVITE" {
                    let to = text.lines().find(|line| line.starts_with("To:")).unwrap_or_default();
                    let tag =
                        to.split_once(";tag=").map_or_else(String::new, |(_, tag)| format!(";tag={tag}"));
                    // The ACK of a 2xx is a transaction of its own (RFC 3261 section 13.2.2.4).
                    let branch = if status < 300 { "ack" } else { "" };
                    let ack = self.message("ACK", branch, &tag, None);
                    self.socket.send_to(ack.as_bytes(), self.server).expect("it is sent");
                }
                self.answer = text;
                return Some(status);
            }
        })
    }

    fn message(&self, method: &str, branch: &str, to_tag: &str, body: Option<&str>) -> String {
        let (me, server, n) = (self.socket.local_addr().expect("it is bound"), self.server, self.calls);
        let user = self.user;
        let content = body.map_or("", |_| "Content-Type: application/sdp\r\n");
        let body = body.unwrap_or_default();
        format!(
            "{method} sip:{user}@{server} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bKraw{n}{branch}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:raw@{me}>;tag=r{n}\r\nTo: <sip:{user}@{server}>{to_tag}\r\n\
             Call-ID: raw{n}-{}@test\r\nCSeq: {n} {}\r\nContact: <sip:raw@{me}>\r\n{content}\
             Content-Length: {}\r\n\r\n{body}",
            me.port(),
            method,
            body.len()
        )
    }

    fn read(&self) -> Option<String> {
        let mut buffer = vec![0; 65_536];
        let (length, _) = self.socket.recv_from(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Waits for a BYE and answers it.
    pub(crate) fn is_hung_up_on(&self) -> String {
        eventually("a BYE", || {
            let bye = self.read().filter(|text| text.starts_with("BYE "))?;
            let copied = ["Via:", "From:", "To:", "Call-ID:", "CSeq:"];
            let lines = bye.lines().filter(|line| copied.iter().any(|name| line.starts_with(name)));
            let answer = lines.fold("SIP/2.0 200 OK\r\n".to_owned(), |text, line| text + line + "\r\n");
            let answer = answer + "Content-Length: 0\r\n\r\n";
            self.socket.send_to(answer.as_bytes(), self.server).expect("it is sent");
            Some(bye)
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
