//! A PostgreSQL of the test's own: made, started and removed by it, as a user that is not root, which PostgreSQL refuses.
//! Knows the programs `initdb` and `postgres`. Without them there is nothing, and the test says that it was skipped.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// "nobody" on every Linux.
const NOBODY: u32 = 65_534;

/// A running server with an empty database.
pub(crate) struct PostgresServer {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    child: Option<Child>,
    has_tls: bool,
}

impl PostgresServer {
    /// Starts one; `None`, with a word on standard error, where PostgreSQL is not installed.
    pub(crate) fn start(name: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("skipped: no initdb and postgres here; scripts/setup test installs PostgreSQL");
            return None;
        };
        let folder = std::env::temp_dir().join(format!("tandem-postgres-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        if rustix::process::geteuid().is_root() {
            chown(&folder, Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        let mut server = Self { programs, folder, port: free_port(), child: None, has_tls: false };
        let data = server.folder.join("data");
        let made = server
            .command("initdb")
            .args(["--auth=trust", "--username=tandem", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .output()
            .expect("initdb starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.run();
        Some(server)
    }

    /// What to write under `store.database`; the user needs no password.
    pub(crate) fn url(&self) -> String {
        format!("postgres://tandem@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    /// Starts it, again if it was stopped, and waits until it answers.
    pub(crate) fn run(&mut self) {
        let child = self
            .command("postgres")
            .args(["-c", "listen_addresses=127.0.0.1", "-c", "max_connections=40", "-c"])
            .arg(format!("unix_socket_directories={}", self.folder.display()))
            .args(["-c", if self.has_tls { "ssl=on" } else { "ssl=off" }])
            .args(["-p", &self.port.to_string(), "-D"])
            .arg(self.folder.join("data"))
            .spawn()
            .expect("postgres starts");
        self.child = Some(child);
        let begun = Instant::now();
        while self.psql("SELECT 1").is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60), "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// From its next start on it takes no connection without TLS. The certificate is for 127.0.0.1 and its own authority:
    /// the answer is its file.
    pub(crate) fn demand_tls(&mut self) -> PathBuf {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        let certificate = parameters.self_signed(&key).expect("signed");
        let data = self.folder.join("data");
        let authority = data.join("server.crt");
        for (name, text) in [
            ("server.crt", certificate.pem()),
            ("server.key", key.serialize_pem()),
            ("pg_hba.conf", "hostssl all all 127.0.0.1/32 trust\n".to_owned()),
        ] {
            let file = data.join(name);
            fs::write(&file, text).expect("a file");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
            if rustix::process::geteuid().is_root() {
                chown(&file, Some(NOBODY), Some(NOBODY)).expect("root may");
            }
        }
        self.has_tls = true;
        authority
    }

    /// The same server asked with TLS or not at all.
    pub(crate) fn tls_url(&self) -> String {
        self.url().replace("sslmode=disable", "sslmode=require")
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            self.signal(&child, rustix::process::Signal::QUIT);
            let _ = child.wait();
        }
    }

    /// All its processes stand still: connections are there, and nothing answers.
    pub(crate) fn hang(&self) {
        self.signal_all(rustix::process::Signal::STOP);
    }

    /// They go on.
    pub(crate) fn go_on(&self) {
        self.signal_all(rustix::process::Signal::CONT);
    }

    /// What a query answers, as text; `None` if it does not.
    pub(crate) fn psql(&self, sql: &str) -> Option<String> {
        let output = self
            .command("psql")
            .args(["-X", "-A", "-t", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", "tandem", "-d", "postgres", "-c", sql])
            .env("PGSSLMODE", if self.has_tls { "require" } else { "disable" })
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        // What stands in the user's own folder is not for this server.
        command
            .current_dir(&self.folder)
            .env("HOME", &self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn signal(&self, child: &Child, signal: rustix::process::Signal) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(child), signal);
    }

    /// The server and what it has forked.
    fn signal_all(&self, signal: rustix::process::Signal) {
        let Some(child) = &self.child else { return };
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let forked = fs::read_to_string(children).unwrap_or_default();
        self.signal(child, signal);
        for pid in forked.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, signal);
            }
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.go_on();
        self.stop();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Where the programs are: on the path, or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = debian.map(|version| version.path().join("bin"));
    let whole =
        |folder: &PathBuf| ["initdb", "postgres", "psql"].iter().all(|name| is_file(&folder.join(name)));
    debian.chain(std::env::split_paths(&path)).find(whole)
}

fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("it is bound").port()
}
