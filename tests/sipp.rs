//! SIPp as a carrier: each scenario of `loadtest/sipp`, judged by SIPp's exit code and by the server's own records.
//! SIPp is a program of others' that plays its part by the clock; what the server makes of it is what counts.

mod served;

use serde_json::Value;
use served::{PATIENCE, Served, free_ports, heard, missing, repository, wait_for};
use std::{
    net::SocketAddr,
    ops::Range,
    process::{Child, Command, ExitStatus, Stdio},
};

/// SIPp with a scenario, on these ports of loopback.
fn sipp(name: &str, ports: &Range<u16>) -> Command {
    assert_eq!(missing("sipp", "sip-tester"), None);
    let mut sipp = Command::new("sipp");
    let scenario = repository(&format!("loadtest/sipp/{name}.xml"));
    sipp.arg("-sf").arg(scenario).args(["-s", "demo", "-nostdin"]);
    sipp.args(["-i", "127.0.0.1", "-mi", "127.0.0.1", "-timeout_error"]);
    sipp.args(["-timeout", &format!("{}s", PATIENCE.as_secs())]);
    sipp.args(["-p", &ports.start.to_string(), "-mp", &(ports.start + 2).to_string()]);
    sipp.stdin(Stdio::null()).stdout(Stdio::null());
    sipp
}

/// Plays scenarios at the same time, each over UDP and over TCP, and names those that fail.
fn play_each(server: &Served, scenarios: &[(&str, &[&str])]) {
    let mut playing = Vec::new();
    for (name, options) in scenarios {
        for (transport, address) in [("u1", server.udp), ("t1", server.tcp)] {
            let options = [&["-m", "1", "-t", transport], *options].concat();
            let played = Scenario::towards(server, address, name, &options);
            playing.push((format!("{name} over {transport}"), played));
        }
    }
    let ended = playing.into_iter().map(|(name, scenario)| (name, scenario.end()));
    let failed: Vec<String> = ended.filter(|(_, status)| !status.success()).map(|(name, _)| name).collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

/// A scenario that is being played; killed when dropped.
struct Scenario(Child);

impl Scenario {
    fn start(server: &Served, name: &str, options: &[&str]) -> Self {
        Self::towards(server, server.udp, name, options)
    }

    fn towards(server: &Served, address: SocketAddr, name: &str, options: &[&str]) -> Self {
        // A port for SIP, and room for the media ports of some calls.
        let ports = free_ports(80);
        let mut sipp = sipp(name, &ports);
        sipp.arg(address.to_string()).args(options).current_dir(server.path("."));
        Self(sipp.spawn().expect("SIPp starts"))
    }

    fn end(mut self) -> ExitStatus {
        wait_for("the end of SIPp", || self.0.try_wait().expect("it is ours"))
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        let _may_have_ended = self.0.kill();
        let _already_reaped = self.0.wait();
    }
}

fn say(server: &Served, text: &str) {
    let said = server.tandem(&["say", text, "--out", "speech.ulaw"]);
    assert!(said.status.success(), "{said:?}");
}

fn all(records: &[Value], key: &str, expected: &Value) {
    for record in records {
        assert_eq!(&record[key], expected, "{key} of {record:#}");
    }
}

#[test]
fn ten_callers_at_five_a_second_are_all_understood() {
    let server = Served::start(12, "");
    say(&server, "What are your opening hours?");
    assert!(Scenario::start(&server, "caller", &["-m", "10", "-r", "5"]).end().success());
    let records = server.closed_records(10);
    assert_eq!(records.len(), 10, "one record for each INVITE");
    all(&records, "end_cause", &"caller_hung_up".into());
    for record in &records {
        let trace = server.trace(&[record["call"].as_str().expect("a name")]);
        let words = heard(&trace);
        assert!(words.iter().any(|text| text.ends_with("opening hours")), "heard only {words:?}");
        assert!(served::said(&trace).contains("from nine"), "{trace:#}");
        let quality = &record["quality"];
        assert!(quality["received"].as_u64() > Some(50) && quality["sent"].as_u64() > Some(500), "{quality}");
    }
}

/// A capture of RTP with these µ-law bytes, one packet each 20 ms: Ethernet, IPv4, UDP (libpcap's classic format).
fn capture(ulaw: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let words = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    file.extend(words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1]));
    for (number, payload) in ulaw.chunks(160).enumerate() {
        let number = number as u32;
        let mut rtp = Vec::new();
        let (sequence, timestamp) = (number as u16, number * 160);
        let packet = media::RtpPacket {
            marker: number == 0,
            payload_type: 0,
            sequence,
            timestamp,
            ssrc: 0x51bb,
            payload,
        };
        packet.write(&mut rtp);
        let udp = rtp.len() as u16 + 8;
        let ip = udp + 20;
        let mut frame =
            [&[0; 12][..], &[8, 0, 0x45, 0], &ip.to_be_bytes(), &[0, 0, 0x40, 0, 64, 17, 0, 0]].concat();
        frame.extend([127, 0, 0, 1, 127, 0, 0, 1, 0x1f, 0x40, 0x1f, 0x42]);
        frame.extend(udp.to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(rtp);
        let micros = number * 20_000;
        let length = frame.len() as u32;
        file.extend(words(&[micros / 1_000_000, micros % 1_000_000, length, length]));
        file.extend(frame);
    }
    file
}

#[test]
fn a_capture_that_is_played_is_understood_word_for_word() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("SIPp plays captures from a raw socket, which only root may open");
    }
    let server = Served::start(2, "");
    say(&server, "What are your opening hours?");
    let speech = std::fs::read(server.path("speech.ulaw")).expect("just said");
    std::fs::write(server.path("speech.pcap"), capture(&speech)).expect("a file");
    assert!(Scenario::start(&server, "pcap", &["-m", "1"]).end().success());
    let record = &server.closed_records(1)[0];
    let words = heard(&server.trace(&["last"]));
    assert!(words.iter().any(|text| text.ends_with("opening hours")), "heard only {words:?}");
    let packets = speech.len().div_ceil(160) as u64;
    assert_eq!(
        (record["quality"]["received"].as_u64(), &record["quality"]["lost"]),
        (Some(packets), &0.into())
    );
}

#[test]
fn a_line_that_echoes_brings_back_what_was_sent() {
    let server = Served::start(2, "");
    assert!(Scenario::start(&server, "echo", &["-m", "1", "-rtp_echo"]).end().success());
    let quality = &server.closed_records(1)[0]["quality"];
    let count = |key: &str| quality[key].as_u64().unwrap_or_default();
    assert!(count("received") > 100 && count("received") <= count("sent"), "{quality}");
    assert!(count("received") * 10 >= (count("sent") - count("lost")) * 8, "{quality}");
    let trace = server.trace(&["last"]);
    let events = trace["events"].as_array().expect("a list of events");
    let voice = events.iter().any(|event| event["kind"] == "speech" && event["active"] == true);
    assert!(voice, "our own voice comes back as a voice");
}

#[test]
fn who_hangs_up_in_the_greeting_leaves_a_record_and_a_free_port() {
    let server = Served::start(20, "");
    assert!(Scenario::start(&server, "hang-up-early", &["-m", "20", "-r", "10"]).end().success());
    let records = server.closed_records(20);
    assert_eq!(records.len(), 20, "one record for each INVITE");
    all(&records, "end_cause", &"caller_hung_up".into());
    all(&records, "sip_status", &200.into());
    assert!(Scenario::start(&server, "hang-up-early", &["-m", "1"]).end().success());
}

#[test]
fn who_gives_up_while_it_rings_leaves_a_record_and_never_an_answer() {
    let server = Served::start(8, "[sip]\nring_ms = 20000\n");
    assert!(Scenario::start(&server, "cancel", &["-m", "6", "-r", "5"]).end().success());
    let records = server.closed_records(6);
    assert_eq!(records.len(), 6, "one record for each INVITE");
    all(&records, "end_cause", &"caller_cancelled".into());
    all(&records, "answer_us", &Value::Null);
    all(&records, "sip_status", &487.into());
}

#[test]
fn over_the_cap_the_caller_is_refused_at_once_and_the_others_talk_on() {
    let server = Served::start(2, "");
    say(&server, "What are your opening hours?");
    let held = Scenario::start(&server, "caller", &["-m", "2", "-r", "10"]);
    wait_for("two calls", || (server.records().len() == 2).then_some(()));
    assert!(Scenario::start(&server, "over-the-cap", &["-m", "5", "-r", "20"]).end().success());
    assert!(held.end().success(), "the calls that were held went on to their end");

    let records = server.closed_records(7);
    assert_eq!(records.len(), 7, "one record for each INVITE");
    let (talked, refused): (Vec<Value>, Vec<Value>) =
        records.into_iter().partition(|record| record["answer_us"].is_u64());
    assert_eq!((talked.len(), refused.len()), (2, 5));
    let ends = |records: &[Value]| records.iter().filter_map(|r| r["end_us"].as_i64()).collect::<Vec<_>>();
    assert!(ends(&refused).iter().max() < ends(&talked).iter().min(), "refused while the others talked");
    all(&talked, "end_cause", &"caller_hung_up".into());
    all(&refused, "end_cause", &"ports_full".into());
    all(&refused, "sip_status", &503.into());
    all(&refused, "port_slot", &Value::Null);
    for record in &talked {
        let words = heard(&server.trace(&[record["call"].as_str().expect("a name")]));
        assert!(words.iter().any(|text| text.ends_with("opening hours")), "heard only {words:?}");
    }
}

#[test]
fn the_command_that_readme_shows_runs_a_scenario() {
    let server = Served::start(2, "");
    assert_eq!(missing("sipp", "sip-tester"), None);
    let mut run = Command::new(repository("loadtest/sipp/run"));
    run.args(["hang-up-early", &server.udp.to_string()]).env("TANDEM", env!("CARGO_BIN_EXE_tandem"));
    let ports = free_ports(10);
    run.args(["-p", &ports.start.to_string(), "-mp", &(ports.start + 2).to_string()]);
    let ran = run.stdin(Stdio::null()).output().expect("bash is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    all(&server.closed_records(1), "end_cause", &"caller_hung_up".into());
}

#[test]
fn what_a_caller_does_inside_a_dialog_is_answered_as_the_rfcs_say() {
    let server = Served::start(24, "");
    let names = [
        "hold-resume",
        "hold-kinds",
        "delayed-offer",
        "session-timer-short",
        "bad-extension",
        "info-dtmf",
        "cancel-after-200",
        "bye-before-ack",
        "refer",
    ];
    play_each(&server, &names.map(|name| (name, &[] as &[&str])));
    play_each(&server, &[("session-timer", &["-d", "300", "-set", "rounds", "2"])]);
    // The endpoint itself refuses an unknown extension; every other scenario is a call that its caller ends.
    let calls = 2 * (names.len() - 1) + 2;
    let records = server.closed_records(calls);
    assert_eq!(records.len(), calls);
    all(&records, "end_cause", &"caller_hung_up".into());
}

#[test]
fn a_caller_who_requires_100rel_gets_reliable_ringing() {
    let server = Served::start(8, "[sip]\nring_ms = 1000\n");
    play_each(&server, &[("100rel-required", &[])]);
    all(&server.closed_records(2), "end_cause", &"caller_hung_up".into());
}

/// A trunk whose callers log in, and which takes registrations. SIPp knows only MD5, and reads only the first challenge.
const LOGIN: &str = r#"
[sip]
digest = "md5"
[[trunk]]
name = "pbx"
profile = "generic"
[trunk.auth]
users = [{ username = "pbx", password = "file:pbx.key" }]
registrar = true
"#;

#[test]
fn who_logs_in_is_answered_and_who_guesses_is_not() {
    let secrets = served::folder();
    let key = secrets.join("pbx.key");
    std::fs::write(&key, "secret-of-pbx").expect("a file");
    let server = Served::start(8, &LOGIN.replace("pbx.key", &key.to_string_lossy()));
    // SIPp proves that it may use the server, not that it may call this user: so do other old senders.
    play_each(&server, &[("digest-in", &[]), ("digest-in-wrong", &[]), ("register-in", &[])]);
    let records = server.records();
    let answered = records.iter().filter(|record| record["answer_us"].is_u64()).count();
    assert_eq!(answered, 2, "{records:#?}");
}

/// A trunk that asks us who we are.
fn asking(port: u16) -> String {
    format!(
        r#"
[[trunk]]
name = "asking"
profile = "generic"
[trunk.signalling]
outbound = ["sip:127.0.0.1:{port};transport=udp"]
[trunk.auth]
username = "account"
password = "file:account.key"
"#
    )
}

#[test]
fn a_trunk_that_asks_who_we_are_is_told_with_the_proof_that_it_checks() {
    let ports = free_ports(10);
    let server = Served::start(2, "");
    std::fs::write(server.path("account.key"), "secret-of-account").expect("a file");
    std::fs::write(server.path("asking.toml"), asking(ports.start)).expect("a file");
    let mut trunk = sipp("digest-out", &ports);
    let trunk = Scenario(trunk.args(["-m", "1"]).current_dir(server.path(".")).spawn().expect("SIPp starts"));
    let call =
        ["call", "100", "--trunk", "asking", "--config", "asking.toml", "--api", "none", "--limit", "6"];
    let called = server.tandem(&[&call[..], &["--say", "hello"]].concat());
    assert!(String::from_utf8_lossy(&called.stdout).contains("answered after"), "{called:?}");
    assert!(trunk.end().success(), "the call was hung up, although its caller gave up");
}
