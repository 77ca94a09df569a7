//! SIP stacks of other makes around the server: Kamailio in front of it and as its registrar, linphone, baresip
//! and pyVoIP as its phones. They are judged by what they note themselves and by the server's records;
//! nothing here depends on how fast anything is.

mod live;
mod served;
mod wire;

use live::{Folder, Live, eventually, run, tandem};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Who we are at Kamailio.
const PASSWORD: &str = "correct-horse";
/// Where a trunk reads it.
const VARIABLE: &str = "TANDEM_TEST_PEER_PASSWORD";

/// Whether a program can be used here; on a build server it must be.
fn have(program: &str, package: &str) -> bool {
    // Debian keeps servers where only root looks.
    let there = Path::new("/usr/sbin").join(program).is_file();
    let missing = served::missing(program, package).filter(|_| !there);
    assert!(missing.is_none() || std::env::var_os("CI").is_none(), "{missing:?}");
    if let Some(missing) = &missing {
        eprintln!("not tried: {missing}");
    }
    missing.is_none()
}

/// A program of somebody else's that writes what it notes into a file; ended when dropped, with its children.
struct Peer {
    child: Child,
    folder: Folder,
}

impl Peer {
    fn start(mut command: Command, folder: Folder) -> Self {
        let log = File::create(folder.0.join("log")).expect("a file");
        let copy = log.try_clone().expect("a second handle");
        command.current_dir(&folder.0).stdin(Stdio::piped()).stdout(copy).stderr(log);
        Self { child: command.spawn().expect("it starts"), folder }
    }

    /// What it has written so far.
    fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.folder.0.join("log")).expect("its log")).into_owned()
    }

    /// How often it has noted this.
    fn noted(&self, what: &str) -> usize {
        self.log().matches(what).count()
    }

    /// Waits until it has noted this at least so often.
    fn notes(&self, what: &str, times: usize) {
        let all = || (self.noted(what) >= times).then_some(());
        eventually(&format!("it notes {what:?} {times} times; it notes\n{}", self.log()), all);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Kamailio's children end with it only if it is asked to end.
        let ended = kill_process(Pid::from_child(&self.child), Signal::TERM)
            .map(|()| eventually("the peer ends", || self.child.try_wait().ok()));
        let _may_have_ended = ended;
        let _already_reaped = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what the peer said ---\n{}", self.log());
        }
    }
}

/// Kamailio on this port, in front of the server there.
fn kamailio(port: u16, server: &str, password: &str) -> Peer {
    let folder = Folder::new();
    let sbin = Path::new("/usr/sbin/kamailio");
    let mut command = Command::new(if sbin.is_file() { sbin } else { Path::new("kamailio") });
    command.arg("-f").arg(served::repository("loadtest/peers/kamailio.cfg"));
    command.args([
        "-l",
        &format!("udp:127.0.0.1:{port}"),
        "-l",
        &format!("tcp:127.0.0.1:{port}"),
        "-DD",
        "-E",
    ]);
    command.arg("-w").arg(&folder.0).arg("-Y").arg(&folder.0);
    command.args(["-P", "pid", "-m", "32", "-M", "8"]).env("TANDEM", server).env("PASSWORD", password);
    Peer::start(command, folder)
}

/// A trunk to Kamailio on this port.
fn trunk_to_kamailio(port: u16) -> String {
    format!(
        "[[trunk]]\nname = \"pbx\"\nprofile = \"kamailio\"\nsources = [\"127.0.0.1\"]\n\
         [trunk.signalling]\noutbound = [\"sip:127.0.0.1:{port};transport=udp\"]\n"
    )
}

/// The same, where we register and log in.
fn with_login(trunk: &str) -> String {
    format!("{trunk}[trunk.auth]\nregister = true\nusername = \"office\"\npassword = \"env:{VARIABLE}\"\n")
}

/// The first trunk, as `tandem trunks --json` shows it.
fn first_trunk(live: &Live) -> Value {
    let (code, text) = run(&mut tandem(&["trunks", "--json", "--api", &format!("http://{}", live.http)]));
    assert_eq!(code, 0, "{text}");
    serde_json::from_str::<Value>(&text).expect("JSON")["trunks"][0].clone()
}

/// Waits for a registration in this state.
fn until_registration(live: &Live, state: &str) -> Value {
    eventually(state, || Some(first_trunk(live)).filter(|trunk| trunk["registration"]["state"] == state))
}

/// Calls a number of this trunk, with these steps of a script.
fn call_by_trunk(folder: &Folder, number: &str, trunk: &str, password: &str, steps: &str) -> (i32, String) {
    let config = folder.write("call.toml", trunk).display().to_string();
    let script = folder.write("steps.toml", &format!("steps = [{steps}]")).display().to_string();
    let arguments =
        ["call", number, "--trunk", "pbx", "--config", &config, "--script", &script, "--limit", "60"];
    run(tandem(&arguments).args(["--api", "none"]).env(VARIABLE, password))
}

/// Hears the greeting and hangs up.
const CALLER_ENDS: &str = "{ wait_for = \"agent\" }, { hang_up = true }";
/// Hears the greeting and takes leave, whereupon the agent hangs up.
const AGENT_ENDS: &str = "{ wait_for = \"agent\" }, { say = \"Goodbye.\" }, { wait_for = \"hang_up\" }";

#[test]
fn kamailio_registers_us_by_digest_and_calls_reach_us_where_we_said_we_are() {
    if !have("kamailio", "kamailio") {
        return;
    }
    let port = served::free_ports(2).start;
    let kamailio = kamailio(port, "127.0.0.1:9", PASSWORD);
    let trunk = trunk_to_kamailio(port);
    let mut live = Live::start_in(Folder::new(), &with_login(&trunk), &[(VARIABLE, PASSWORD)]);
    let shown = until_registration(&live, "registered");
    assert!(shown["registration"]["until"].is_string(), "{shown}");
    eventually("it is reachable", || (first_trunk(&live)["reachable"] == true).then_some(()));
    kamailio.notes("seen: registered office", 1);

    let (code, text) = call_by_trunk(&Folder::new(), "office", &trunk, PASSWORD, CALLER_ENDS);
    assert_eq!(code, 0, "{text}");
    kamailio.notes("seen: INVITE to the contact", 1);
    let record = live.last_record();
    assert_eq!(
        (&record["trunk"], &record["end_cause"]),
        (&"pbx".into(), &"caller_hung_up".into()),
        "{record}"
    );

    live.signal(Signal::TERM);
    assert_eq!(live.ended().code(), Some(0));
    kamailio.notes("seen: registered office until 0", 1);
}

#[test]
fn kamailio_refuses_a_wrong_password_and_the_trunk_says_so() {
    if !have("kamailio", "kamailio") {
        return;
    }
    let port = served::free_ports(2).start;
    let kamailio = kamailio(port, "127.0.0.1:9", PASSWORD);
    let config = with_login(&trunk_to_kamailio(port));
    let live = Live::start_in(Folder::new(), &config, &[(VARIABLE, "incorrect-horse")]);
    let shown = until_registration(&live, "failed");
    let reason = shown["last_failure"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("REGISTER") && reason.contains("401") && !reason.contains("horse"), "{reason}");
    assert!(shown["registration"]["retry_at"].is_string(), "{shown}");
    kamailio.notes("seen: REGISTER refused", 1);
    assert_eq!(kamailio.noted("seen: registered"), 0, "{}", kamailio.log());
}

#[test]
fn calls_through_kamailio_follow_its_route_set_whoever_hangs_up() {
    if !have("kamailio", "kamailio") {
        return;
    }
    let port = served::free_ports(2).start;
    let trunk = trunk_to_kamailio(port);
    let live = Live::start(&trunk);
    let kamailio = kamailio(port, &live.sip.to_string(), PASSWORD);
    eventually("it is reachable", || (first_trunk(&live)["reachable"] == true).then_some(()));

    for (times, (steps, cause)) in
        [(CALLER_ENDS, "caller_hung_up"), (AGENT_ENDS, "agent_ended")].into_iter().enumerate()
    {
        let (code, text) = call_by_trunk(&Folder::new(), "agent", &trunk, PASSWORD, steps);
        assert_eq!(code, 0, "{text}");
        let record = live.last_record();
        assert_eq!((&record["trunk"], &record["end_cause"]), (&"pbx".into(), &cause.into()), "{record}");
        kamailio.notes("seen: ACK by the route set", times + 1);
        kamailio.notes("seen: BYE by the route set", times + 1);
    }
    assert_eq!(kamailio.noted("without a route set"), 0, "{}", kamailio.log());
}

/// Plays a scenario of SIPp to Kamailio on this port, and judges it by SIPp's exit code.
fn sipp_through(port: u16, scenario: &str, transport: &str) {
    let ports = served::free_ports(10);
    let mut sipp = Command::new("sipp");
    sipp.arg("-sf").arg(served::repository(&format!("loadtest/sipp/{scenario}.xml")));
    sipp.args(["-s", "demo", "-nostdin", "-i", "127.0.0.1", "-mi", "127.0.0.1", "-m", "1", "-t", transport]);
    sipp.args(["-timeout_error", "-timeout", "60s", "-p", &ports.start.to_string()]);
    sipp.args(["-mp", &(ports.start + 2).to_string(), &format!("127.0.0.1:{port}")]);
    let mut sipp = Peer::start(sipp, Folder::new());
    let ended = eventually("SIPp ends", || sipp.child.try_wait().expect("it is ours"));
    assert!(ended.success(), "{scenario} over {transport}: {}", sipp.log());
}

#[test]
fn whatever_sipp_does_in_a_dialog_through_kamailio_goes_by_the_route_set() {
    if !have("kamailio", "kamailio") || !have("sipp", "sip-tester") {
        return;
    }
    let port = served::free_ports(2).start;
    let live = Live::start("");
    let kamailio = kamailio(port, &live.sip.to_string(), PASSWORD);
    eventually("Kamailio listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    let played = [
        ("hold-resume", "u1"),
        ("hold-resume", "t1"),
        ("delayed-offer", "u1"),
        ("bye-before-ack", "u1"),
        ("refer", "u1"),
    ];
    for (scenario, transport) in played {
        sipp_through(port, scenario, transport);
    }
    assert_eq!(live.last_record()["end_cause"], "caller_hung_up");
    kamailio.notes("seen: INVITE by the route set", 4);
    kamailio.notes("seen: REFER by the route set", 1);
    kamailio.notes("seen: BYE by the route set", played.len());
    assert_eq!(kamailio.noted("without a route set"), 0, "{}", kamailio.log());
}

#[test]
fn a_call_of_ours_proves_who_we_are_to_kamailio_on_its_way() {
    if !have("kamailio", "kamailio") {
        return;
    }
    let port = served::free_ports(2).start;
    let live = Live::start("");
    let kamailio = kamailio(port, "127.0.0.1:9", PASSWORD);
    let trunk = format!(
        "[[trunk]]\nname = \"pbx\"\nprofile = \"kamailio\"\n[trunk.signalling]\noutbound = [\"sip:{}\"]\n\
         outbound_proxy = \"sip:127.0.0.1:{port};transport=udp\"\n\
         [trunk.auth]\nusername = \"office\"\npassword = \"env:{VARIABLE}\"\n",
        live.sip
    );
    let folder = Folder::new();
    let (code, text) = call_by_trunk(&folder, "agent", &trunk, "incorrect-horse", CALLER_ENDS);
    assert_ne!(code, 0, "{text}");
    assert!(text.contains("407") && !text.contains("horse"), "{text}");
    assert_eq!(kamailio.noted("proved its sender"), 0, "{}", kamailio.log());

    let (code, text) = call_by_trunk(&folder, "agent", &trunk, PASSWORD, CALLER_ENDS);
    assert_eq!(code, 0, "{text}");
    kamailio.notes("seen: INVITE that proved its sender", 1);
    kamailio.notes("seen: BYE by the route set", 1);
    assert_eq!(live.last_record()["end_cause"], "caller_hung_up");
}

/// A server with a certificate, with which a phone registers by digest and over whatever it likes.
struct Office {
    live: Live,
    authority: wire::Authority,
    tcp: SocketAddr,
    tls: SocketAddr,
}

/// Which proofs it asks for, and how audio may be encrypted.
struct Wanted {
    digest: &'static str,
    srtp: &'static str,
}

impl Office {
    fn start(wanted: &Wanted) -> Self {
        let authority = wire::Authority::new();
        let identity = authority.issue("server", &["localhost", "127.0.0.1"]);
        let trunk = format!(
            "[sip.tls]\ncertificate = {:?}\nkey = {:?}\n[[trunk]]\nname = \"office\"\n[trunk.media]\nsrtp = {:?}\n\
             [trunk.auth]\nregistrar = true\nusers = [{{ username = \"phone\", password = \"env:{VARIABLE}\" }}]\n",
            identity.certificate, identity.key, wanted.srtp
        );
        let folder = Folder::new();
        let file = folder.write_config(&trunk);
        let text = std::fs::read_to_string(&file).expect("its config");
        let listen = "listen = [\"udp:127.0.0.1:0\", \"tcp:127.0.0.1:0\", \"tls:127.0.0.1:0\"]";
        let text = text
            .replace("listen = [\"udp:127.0.0.1:0\"]", &format!("digest = {:?}\n{listen}", wanted.digest));
        let file = folder.write("tandem.toml", &text);
        let live = Live::start_with(folder, &file, &[(VARIABLE, PASSWORD)]);
        let log = live.log();
        let address = |name: &str| {
            let word = log.split_whitespace().find_map(|word| word.strip_prefix(name));
            word.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("no {name} in\n{log}"))
        };
        let (tcp, tls) = (address("tcp:"), address("tls:"));
        Self { live, authority, tcp, tls }
    }

    /// Waits until so many phones are registered.
    fn has_phones(&self, count: u32) {
        eventually(&format!("{count} phones are registered"), || {
            (first_trunk(&self.live)["bindings"] == count).then_some(())
        });
    }

    /// Waits until so many of our answers in this call have this direction, as its ladder shows them.
    fn answers(&self, call: &str, direction: &str, count: usize) {
        let api = format!("http://{}", self.live.http);
        eventually(&format!("{count} answers are {direction}"), || {
            let (_, ladder) = run(&mut tandem(&["trace", "--sip", call, "--api", &api]));
            let ours = ladder.lines().filter(|line| line.contains("200 OK ──") && line.contains(direction));
            (ours.count() >= count).then_some(())
        });
    }

    /// Waits until the caller has been understood and the agent has begun its answer.
    fn understands(&self, call: &str, words: &str) {
        eventually(&format!("it hears {words:?}"), || {
            let (_, trace) = self.live.get(&format!("/calls/{call}/trace"));
            let trace: Value = serde_json::from_str(&trace).ok()?;
            trace["turns"].is_array().then_some(())?;
            let heard = served::heard(&trace).iter().any(|text| text.contains(words));
            (heard && served::said(&trace).contains("from nine")).then_some(())
        });
    }

    /// The call is over, the phone hung it up, and this is how its audio went.
    fn was_hung_up(&self, codec: &str) {
        let record = self.live.last_record();
        assert_eq!(
            (&record["trunk"], &record["end_cause"], &record["codec"]),
            (&"office".into(), &"caller_hung_up".into(), &codec.into()),
            "{record}"
        );
    }
}

/// linphone's console: reads commands from standard input.
struct Linphone(Peer);

impl Linphone {
    /// Registers over this transport at this place.
    fn start(office: &Office, transport: &str, place: &str, encryption: &str) -> Self {
        let ports = served::free_ports(8);
        let port = |name: &str| if name == transport { ports.start } else { 0 };
        let config = format!(
            "[sip]\nbind_address=127.0.0.1\ncontact=sip:phone@127.0.0.1\nsip_port={}\nsip_tcp_port={}\nsip_tls_port={}\nroot_ca={}\n\
             media_encryption={encryption}\n[rtp]\naudio_rtp_port={}\n[net]\ndns_srv_enabled=0\n\
             [auth_info_0]\nusername=phone\npasswd={PASSWORD}\ndomain={}\n\
             [proxy_0]\nreg_proxy=<sip:{place};transport={transport}>\nreg_identity=sip:phone@{place}\n\
             reg_expires=300\nreg_sendregister=1\n",
            port("udp"),
            port("tcp"),
            port("tls"),
            office.authority.ca().display(),
            ports.start + 2,
            place.split(':').next().unwrap_or_default(),
        );
        let folder = Folder::new();
        let file = folder.write("linphonerc", &config);
        // Without a place for its database it does not begin.
        std::fs::create_dir_all(folder.0.join(".local/share/linphone")).expect("a folder");
        let mut command = Command::new("linphonec");
        command.arg("-c").arg(file).args(["-d", "0", "-l", "/dev/null"]).env("HOME", &folder.0);
        Self(Peer::start(command, folder))
    }

    fn tell(&mut self, command: &str) {
        let stdin = self.0.child.stdin.as_mut().expect("it is piped");
        writeln!(stdin, "{command}").expect("it reads");
    }
}

/// Registers, asks, holds, resumes, hangs up, un-registers.
fn linphone_does_it_all(wanted: &Wanted, transport: &str, encryption: &str, codec: &str) {
    if !have("linphonec", "linphone-cli") {
        return;
    }
    let office = Office::start(wanted);
    let place = match transport {
        "tcp" => office.tcp.to_string(),
        // It finds names in certificates, and no addresses.
        "tls" => format!("localhost:{}", office.tls.port()),
        _ => office.live.sip.to_string(),
    };
    let mut linphone = Linphone::start(&office, transport, &place, encryption);
    office.has_phones(1);
    let question = linphone.0.folder.0.join("question.wav");
    let question = question.display().to_string();
    let (code, text) =
        run(&mut tandem(&["say", "What are your opening hours?", "--pad-ms", "500", "--out", &question]));
    assert_eq!(code, 0, "{text}");
    linphone.tell("soundcard use files");
    linphone.tell("record heard.wav");
    linphone.tell(&format!("call sip:agent@{place};transport={transport}"));
    let call = office.live.running_call();
    // It drops what it is told before it has done with the last answer.
    linphone.0.notes("Media streams established", 1);
    linphone.tell("pause");
    linphone.0.notes("is now paused", 1);
    office.answers(&call, "recvonly", 1);
    linphone.tell("resume");
    linphone.0.notes("Media streams established", 2);
    office.answers(&call, "sendrecv", 2);
    linphone.tell(&format!("play {question}"));
    office.understands(&call, "opening hours");
    linphone.tell("terminate");
    office.was_hung_up(codec);
    linphone.tell("quit");
    office.has_phones(0);
}

#[test]
fn linphone_registers_asks_holds_and_resumes_over_udp() {
    linphone_does_it_all(&Wanted { digest: "md5", srtp: "off" }, "udp", "none", "opus");
}

/// It takes SHA-256 where that is offered.
#[test]
fn linphone_registers_asks_holds_and_resumes_over_tcp_encrypted() {
    linphone_does_it_all(&Wanted { digest: "both", srtp: "required" }, "tcp", "srtp", "opus srtp");
}

#[test]
fn linphone_registers_asks_holds_and_resumes_over_tls() {
    linphone_does_it_all(&Wanted { digest: "sha-256", srtp: "optional" }, "tls", "srtp", "opus srtp");
}

/// baresip, told what to do over a connection to it.
struct Baresip {
    peer: Peer,
    control: u16,
}

impl Baresip {
    /// Registers over TLS, and believes only the office's authority.
    fn start(office: &Office, password: &str) -> Self {
        let ports = served::free_ports(12);
        let modules =
            ["/usr/lib/baresip/modules", "/usr/lib64/baresip/modules", "/usr/local/lib/baresip/modules"];
        let modules = modules.into_iter().find(|path| Path::new(path).is_dir()).expect("baresip has modules");
        let folder = Folder::new();
        let control =
            TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback").port();
        let mut config = format!(
            "sip_listen 127.0.0.1:{}\nnet_interface 127.0.0.1\nsip_cafile {}\nrtp_ports {}-{}\n\
             audio_source aufile,{}\naudio_player aubridge,sink\naudio_alert aubridge,sink\n\
             module_path {modules}\nctrl_tcp_listen 127.0.0.1:{control}\n",
            ports.start,
            office.authority.ca().display(),
            ports.start + 4,
            ports.end - 1,
            write_silence(&folder),
        );
        for module in ["account", "uuid", "g711", "aufile", "aubridge"] {
            config.push_str(&format!("module {module}.so\n"));
        }
        config.push_str("module_app menu.so\nmodule_app ctrl_tcp.so\n");
        folder.write("config", &config);
        let account = format!(
            "<sip:phone@{};transport=tls>;auth_user=phone;auth_pass={password};regint=60\n",
            office.tls
        );
        folder.write("accounts", &account);
        folder.write("contacts", "");
        let mut command = Command::new("baresip");
        command.args(["-4", "-f"]).arg(&folder.0);
        Self { peer: Peer::start(command, folder), control }
    }

    /// A command of its menu, as a netstring of JSON.
    fn tell(&self, command: &str, parameters: &str) {
        let mut stream =
            eventually("it can be told", || TcpStream::connect(("127.0.0.1", self.control)).ok());
        let text = serde_json::json!({ "command": command, "params": parameters }).to_string();
        write!(stream, "{}:{text},", text.len()).expect("it reads");
        stream.set_read_timeout(Some(live::PATIENCE)).expect("a time");
        // It takes one connection at a time and forgets what it has not answered.
        let answered = stream.read(&mut [0; 1_024]).expect("it answers");
        assert!(answered > 0, "{}", self.peer.log());
    }
}

/// What its microphone hears. At the end of the file it would hang up.
fn write_silence(folder: &Folder) -> String {
    let path = folder.0.join("silence.wav");
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(&path, spec).expect("a file");
    for _ in 0..8_000 * 120 {
        wav.write_sample(0_i16).expect("there is room");
    }
    wav.finalize().expect("there is room");
    path.display().to_string()
}

#[test]
fn baresip_registers_calls_holds_and_resumes_over_tls() {
    if !have("baresip", "baresip-core") {
        return;
    }
    // Its version 1 reads the first challenge only, and knows only MD5.
    let office = Office::start(&Wanted { digest: "md5", srtp: "off" });
    let baresip = Baresip::start(&office, PASSWORD);
    office.has_phones(1);
    baresip.tell("dial", "agent");
    let call = office.live.running_call();
    office.answers(&call, "sendrecv", 1);
    for round in 1..=2 {
        baresip.tell("hold", "");
        office.answers(&call, "recvonly", round);
        baresip.tell("resume", "");
        office.answers(&call, "sendrecv", round + 1);
    }
    baresip.tell("hangup", "");
    office.was_hung_up("PCMU");
    baresip.tell("quit", "");
    office.has_phones(0);
}

#[test]
fn baresip_with_a_wrong_password_is_not_registered() {
    if !have("baresip", "baresip-core") {
        return;
    }
    let office = Office::start(&Wanted { digest: "md5", srtp: "off" });
    let baresip = Baresip::start(&office, "incorrect-horse");
    baresip.peer.notes("403 Forbidden", 1);
    assert_eq!(first_trunk(&office.live)["bindings"], 0);
}

/// pyVoIP is in no distribution: `loadtest/peers/setup` fetches it, and without PyPI it is not tried.
#[test]
fn pyvoip_registers_calls_and_hears_the_greeting() {
    let python = served::repository("target/peers/bin/python");
    if !python.is_file() {
        eprintln!("not tried: pyVoIP is missing: loadtest/peers/setup");
        return;
    }
    // Like many devices, it knows MD5 only and answers the wrong one of two challenges.
    let office = Office::start(&Wanted { digest: "md5", srtp: "off" });
    let own = served::free_ports(10).start.to_string();
    let mut command = Command::new(python);
    command.arg(served::repository("loadtest/peers/pyvoip_call.py"));
    command.args([&office.live.sip.port().to_string(), "phone", PASSWORD, "agent", &own]);
    let mut phone = Peer::start(command, Folder::new());
    phone.notes("registered", 1);
    phone.notes("answered", 1);
    let ended = eventually("pyVoIP ends", || phone.child.try_wait().expect("it is ours"));
    assert!(ended.success(), "it heard nothing: {}", phone.log());
    office.was_hung_up("PCMU");
    office.has_phones(0);
}
