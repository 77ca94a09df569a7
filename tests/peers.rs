//! Peers that others made, each in the part it plays in the field: Kamailio as the proxy in front of us and as the
//! registrar we register with, linphone and pyVoIP as phones that register with us by digest and call.
//! Knows programs and their words. A peer that is not installed is not tried; on a build server it must be there.

mod served;

use serde_json::Value;
use served::{PATIENCE, Served, free_ports, missing, repository, wait_for};
use std::{
    fmt::Write as _,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Whether a peer can be used here.
fn have(program: &str, package: &str) -> bool {
    let missing = missing(program, package);
    assert!(missing.is_none() || std::env::var_os("CI").is_none(), "{missing:?}");
    if let Some(missing) = &missing {
        eprintln!("not tried: {missing}");
    }
    missing.is_none()
}

/// A peer's process; asked to end when dropped, so that its own children end too.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.0);
        let _may_have_ended = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if self.0.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _it_had_its_time = self.0.kill();
        let _already_reaped = self.0.wait();
    }
}

/// Kamailio on this port of loopback, in front of a server.
fn kamailio(port: u16, server: &str, folder: PathBuf) -> Peer {
    let mut command = Command::new("kamailio");
    command
        .arg("-f")
        .arg(repository("loadtest/peers/kamailio.cfg"))
        .args(["-DD", "-E", "-m", "16", "-M", "4"]);
    command.args(["-A", &format!("PORT={port}"), "-A", &format!("TANDEM=\"sip:{server}\"")]);
    command.arg("-Y").arg(&folder).arg("-P").arg(folder.join("pid")).arg("-w").arg(&folder);
    let peer = Peer(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("Kamailio starts"));
    wait_for("Kamailio", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    peer
}

/// A folder of a test's own with a password in it, and how a config names that.
fn secret(text: &str) -> (PathBuf, String) {
    let folder = served::folder();
    let file = folder.join("password");
    std::fs::write(&file, text).expect("a file");
    (folder, format!("file:{}", file.display()))
}

fn sipp_through(port: u16, server: &Served, scenario: &str, transport: &str) {
    let ports = free_ports(10);
    let mut sipp = Command::new("sipp");
    sipp.arg(format!("127.0.0.1:{port}"))
        .arg("-sf")
        .arg(repository(&format!("loadtest/sipp/{scenario}.xml")));
    sipp.args(["-s", "demo", "-m", "1", "-nostdin", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-timeout_error"]);
    sipp.args(["-timeout", &format!("{}s", PATIENCE.as_secs()), "-t", transport]);
    sipp.args(["-p", &ports.start.to_string(), "-mp", &(ports.start + 2).to_string()]);
    let ended = sipp.current_dir(server.path(".")).stdin(Stdio::null()).stdout(Stdio::null()).status();
    assert!(ended.expect("SIPp starts").success(), "{scenario} over {transport}");
}

#[test]
fn behind_kamailio_every_request_of_a_call_goes_by_its_route() {
    if !have("kamailio", "kamailio") || !have("sipp", "sip-tester") {
        return;
    }
    let server = Served::start(8, "");
    let port = free_ports(2).start;
    let _kamailio = kamailio(port, &server.udp.to_string(), server.path("."));
    // SIPp sends what has a Route to Kamailio, which relays it only by that Route: without ours it would answer 404.
    let scenarios = ["hold-resume", "delayed-offer", "bye-before-ack", "refer"];
    for scenario in scenarios {
        sipp_through(port, &server, scenario, "u1");
    }
    sipp_through(port, &server, "hold-resume", "t1");
    let call = server.tandem(&[
        "call",
        &format!("sip:demo@127.0.0.1:{port}"),
        "--api",
        "none",
        "--say",
        "Goodbye.",
        "--limit",
        "60",
    ]);
    assert!(String::from_utf8_lossy(&call.stdout).contains("answered after"), "{call:?}");
    let records = server.closed_records(scenarios.len() + 2);
    assert!(records.iter().all(|record| record["sip_status"] == 200), "{records:#?}");
}

#[test]
fn we_register_with_kamailio_by_digest_and_are_called_through_it() {
    if !have("kamailio", "kamailio") {
        return;
    }
    let port = free_ports(2).start;
    let (folder, password) = secret("secret-of-account");
    let _kamailio = kamailio(port, "127.0.0.1:9", folder);
    let server = Served::start(
        4,
        &format!(
            "[[trunk]]\nname = \"proxy\"\nprofile = \"kamailio\"\n[trunk.signalling]\n\
             outbound = [\"sip:127.0.0.1:{port};transport=udp\"]\n[trunk.auth]\nregister = true\n\
             username = \"account\"\npassword = \"{password}\"\n"
        ),
    );
    wait_for("the registration", || {
        let trunks = server.tandem(&["trunks", "--json", "--api", &format!("http://{}", server.http)]);
        let trunks: Value = serde_json::from_slice(&trunks.stdout).ok()?;
        (trunks["trunks"][0]["registration"]["state"] == "registered").then_some(())
    });
    let uri = format!("sip:account@127.0.0.1:{port}");
    let call = server.tandem(&["call", &uri, "--api", "none", "--say", "Goodbye.", "--limit", "60"]);
    assert!(String::from_utf8_lossy(&call.stdout).contains("answered after"), "{call:?}");
    let record = server.closed_records(1).remove(0);
    assert_eq!((&record["trunk"], &record["sip_status"]), (&"proxy".into(), &200.into()), "{record:#}");
}

/// A server whose trunk takes registrations of one phone. Linphone knows SHA-256, pyVoIP MD5 alone.
fn registrar(password: &str, digest: &str) -> Served {
    let config = format!(
        "[sip]\ndigest = \"{digest}\"\n[[trunk]]\nname = \"phones\"\n[trunk.auth]\nregistrar = true\n\
         users = [{{ username = \"phone\", password = \"{password}\" }}]\n"
    );
    Served::start(4, &config)
}

/// A linphone that is told what to do, and what it has said so far.
struct Linphone {
    process: Child,
    said: PathBuf,
}

impl Linphone {
    fn start(folder: PathBuf) -> Self {
        let ports = free_ports(8).start;
        let mut config =
            String::from("[sip]\nguess_hostname=0\nuse_ipv6=0\nsip_tls_port=-1\nping_with_options=0\n");
        let _ = writeln!(config, "sip_port={ports}\nsip_tcp_port={}\ndefault_proxy=-1", ports + 1);
        let _ =
            writeln!(config, "contact=\"phone\" <sip:phone@127.0.0.1>\n[rtp]\naudio_rtp_port={}", ports + 2);
        config.push_str("[video]\nenabled=0\n");
        std::fs::write(folder.join("linphonerc"), config).expect("a file");
        for place in [".local/share/linphone", ".config/linphone"] {
            std::fs::create_dir_all(folder.join(place)).expect("a folder");
        }
        let said = folder.join("said");
        let output = std::fs::File::create(&said).expect("a file");
        let mut command = Command::new("linphonec");
        command.arg("-c").arg(folder.join("linphonerc")).env("HOME", &folder).current_dir(&folder);
        let command = command.stdin(Stdio::piped()).stdout(output).stderr(Stdio::null());
        let mut phone = Self { process: command.spawn().expect("linphone starts"), said };
        phone.tell("soundcard use files", "Using wav files");
        phone
    }

    fn text(&self) -> String {
        std::fs::read(&self.said)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Types a line, and waits until something is said after it.
    fn tell(&mut self, line: &str, answer: &str) {
        let before = self.text().len();
        let stdin = self.process.stdin.as_mut().expect("asked for");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it listens");
        if answer.is_empty() {
            return;
        }
        let begun = Instant::now();
        while !self.text().get(before..).is_some_and(|said| said.contains(answer)) {
            assert!(
                begun.elapsed() < PATIENCE,
                "linphone never said '{answer}' to '{line}':\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        let _may_have_ended = self.process.kill();
        let _already_reaped = self.process.wait();
    }
}

fn bindings(server: &Served) -> Option<u64> {
    let trunks = server.tandem(&["trunks", "--json", "--api", &format!("http://{}", server.http)]);
    let trunks: Value = serde_json::from_slice(&trunks.stdout).ok()?;
    trunks["trunks"][0]["bindings"].as_u64()
}

#[test]
fn linphone_registers_by_digest_calls_holds_and_resumes() {
    if !have("linphonec", "linphone-cli") {
        return;
    }
    let (folder, password) = secret("secret-of-phone");
    let server = registrar(&password, "both");
    let mut phone = Linphone::start(folder);
    let address = server.udp;
    phone.tell(&format!("register sip:phone@127.0.0.1 sip:{address} secret-of-phone"), "");
    wait_for("the registration", || (bindings(&server) == Some(1)).then_some(()));
    phone.tell(&format!("call sip:demo@{address}"), "Media streams established");
    phone.tell("pause", "is now paused");
    phone.tell("resume", "Media streams established");
    phone.tell("terminate", "ended");
    phone.tell("unregister", "");
    let record = server.closed_records(1).remove(0);
    assert_eq!(
        (&record["trunk"], &record["end_cause"]),
        (&"phones".into(), &"caller_hung_up".into()),
        "{record:#}"
    );
    wait_for("the end of the registration", || (bindings(&server) == Some(0)).then_some(()));
    phone.tell("quit", "");
}

/// A Python that has pyVoIP, if `loadtest/peers/setup` could fetch it: it is in no distribution.
fn python() -> Option<PathBuf> {
    let python = repository("target/peers/bin/python");
    let found = python.is_file();
    if !found {
        eprintln!("not tried: pyVoIP is missing: loadtest/peers/setup");
    }
    found.then_some(python)
}

#[test]
fn pyvoip_registers_by_digest_calls_and_hears_the_greeting() {
    let Some(python) = python() else { return };
    let (_folder, password) = secret("secret-of-phone");
    let server = registrar(&password, "md5");
    let own = free_ports(10).start.to_string();
    let mut command = Command::new(python);
    command.arg(repository("loadtest/peers/pyvoip_call.py"));
    command.args([&server.udp.port().to_string(), "phone", "secret-of-phone", "demo", &own]);
    let ended = command.stdin(Stdio::null()).output().expect("Python starts");
    assert!(
        ended.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    let record = server.closed_records(1).remove(0);
    assert_eq!((&record["trunk"], &record["sip_status"]), (&"phones".into(), &200.into()), "{record:#}");
}
